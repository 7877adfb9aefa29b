//! The ConfigMap with the interfaces on which MetalLB's speakers never announce.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ConfigMap;
use serde::Deserialize;

/// Its name, however MetalLB was installed.
pub(crate) const CONFIG_MAP: &str = "metallb-excludel2";

/// What both leave out by themselves; a test holds it to the speaker's.
pub(crate) const DEFAULT: &str = "^docker.* ^cbr.* ^dummy.* ^virbr.* ^lxcbr.* ^veth.* ^lo$ ^cali.* ^tunl.* \
                                  ^flannel.* ^kube-ipvs.* ^cni.* ^nodelocaldns.* ^lxc.*";

/// The file in it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    announced_interfaces_to_exclude: Option<Vec<String>>,
}

/// The patterns; why they cannot be read, otherwise.
pub(crate) fn patterns(map: &ConfigMap) -> Result<Vec<String>, String> {
    let mut patterns = Vec::new();
    for text in map.data.iter().flatten().map(|(_, text)| text) {
        let file: File = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        patterns.extend(file.announced_interfaces_to_exclude.into_iter().flatten());
    }
    Ok(patterns)
}

/// The value of FerroLB's flag that leaves out the same; nothing where that is its default.
pub(crate) fn flag(patterns: &[String]) -> Option<String> {
    let given: BTreeSet<&str> = patterns.iter().map(String::as_str).collect();
    (given != DEFAULT.split(' ').collect()).then(|| patterns.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_speakers() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../speaker/src/links/exclude.rs");
        let text = std::fs::read_to_string(file).unwrap();
        let words = |text: &str| {
            let words = text.split(|c: char| c.is_whitespace() || "\"\\;".contains(c));
            words.filter(|word| word.starts_with('^')).map(str::to_owned).collect::<Vec<_>>()
        };
        let start = text.find("pub const DEFAULT").unwrap();
        let end = start + text[start..].find(';').unwrap();
        assert_eq!(words(&text[start..end]), words(DEFAULT));
    }

    #[test]
    fn only_a_changed_list_becomes_a_flag() {
        let mut map = ConfigMap::default();
        let lines: String = DEFAULT.split(' ').rev().map(|pattern| format!("- {pattern}\n")).collect();
        let text = format!("announcedInterfacesToExclude:\n{lines}");
        map.data = Some([("excludel2.yaml".to_owned(), text.clone())].into());
        assert_eq!(flag(&patterns(&map).unwrap()), None);
        map.data = Some([("excludel2.yaml".to_owned(), text + "- ^wlan.*\n")].into());
        assert!(flag(&patterns(&map).unwrap()).unwrap().ends_with("^docker.* ^wlan.*"));
        map.data = Some([("excludel2.yaml".to_owned(), "a: [".to_owned())].into());
        assert!(patterns(&map).is_err());
    }
}
