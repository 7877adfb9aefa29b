//! The manifests in `tests/admission`, read by our own types. The API server's verdict on them is asked in
//! the lab; here the two verdicts are kept from drifting apart where a program would see the object.

use std::fs;
use std::path::{Path, PathBuf};

use ferrolb_core::service::Requested;
use ferrolb_crds::view::Service;
use ferrolb_crds::{ConfigurationState, IPAddressPool, L2Advertisement, ServiceL2Status};
use serde_json::Value;

fn manifests(verdict: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/admission").join(verdict);
    let entries = fs::read_dir(folder).expect("the manifests are part of the repository");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    let read = |path: PathBuf| (path.clone(), fs::read_to_string(path).expect("a readable file"));
    paths.into_iter().map(read).collect()
}

/// Whether the object is usable to our programs, or why not.
fn usable(text: &str) -> Result<(), String> {
    let object: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    match object["kind"].as_str() {
        Some("IPAddressPool") => {
            let pool: IPAddressPool = serde_json::from_value(object).map_err(|error| error.to_string())?;
            pool.to_core().map(drop).map_err(|problem| problem.to_string())
        }
        Some("L2Advertisement") => {
            let ad: L2Advertisement = serde_json::from_value(object).map_err(|error| error.to_string())?;
            ad.to_core().map(drop).map_err(|problem| problem.to_string())
        }
        Some("ConfigurationState") => {
            serde_json::from_value::<ConfigurationState>(object).map(drop).map_err(|error| error.to_string())
        }
        Some("ServiceL2Status") => {
            serde_json::from_value::<ServiceL2Status>(object).map(drop).map_err(|error| error.to_string())
        }
        Some("Service") => {
            let service: Service = serde_json::from_value(object).map_err(|error| error.to_string())?;
            let balanced = service.spec.kind.as_deref() == Some("LoadBalancer");
            match service.to_core(None).ok_or("no name")?.requested {
                Requested::Unreadable(words) if balanced => Err(words),
                _ => Ok(()),
            }
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_accepted_can_be_used() {
    let accepted = manifests("accepted");
    assert!(accepted.len() >= 15);
    for (path, text) in accepted {
        // `field: null` never reaches a program: kubectl drops it.
        if !text.contains("null") && !path.ends_with("l2-null-lists.yaml") {
            assert_eq!(usable(&text), Ok(()), "{}", path.display());
        }
    }
}

#[test]
fn what_is_refused_says_what_to_expect() {
    let refused = manifests("refused");
    assert!(refused.len() >= 50);
    for (path, text) in refused {
        let expected = text.lines().next().and_then(|line| line.strip_prefix("# expect: "));
        assert!(expected.is_some_and(|words| words.len() > 10), "{}", path.display());
    }
}
