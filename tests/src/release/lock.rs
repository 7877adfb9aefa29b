//! The checksums of `Cargo.lock`, which `cargo metadata` does not say.

use std::collections::BTreeMap;

/// The checksum of each crate by its name and version; none for our own.
pub(super) fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    lock.split("[[package]]").filter_map(package).collect()
}

fn package(block: &str) -> Option<((String, String), String)> {
    let value = |name: &str| {
        let mut lines = block.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""));
        line.and_then(|rest| rest.strip_suffix('"')).map(str::to_owned)
    };
    Some(((value("name")?, value("version")?), value("checksum")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_has_its_checksum_and_ours_have_none() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"registry\"\nchecksum = \"ab\"\n\
                    \n[[package]]\nname = \"ours\"\nversion = \"0.1.0\"\ndependencies = [\n \"a\",\n]\n";
        let found = checksums(lock);
        assert_eq!(found, BTreeMap::from([(("a".to_owned(), "1.0.0".to_owned()), "ab".to_owned())]));
    }
}
