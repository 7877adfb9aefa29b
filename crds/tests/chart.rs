//! What `charts/ferrolb` has copies of. What Helm makes of it is tried with Helm, in the lab.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn project(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(part)
}

/// The YAML files in a folder, without those that tell kustomize what to do.
fn files(folder: &str) -> BTreeMap<String, String> {
    let entries = fs::read_dir(project(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let names =
        entries.map(|entry| entry.expect("a readable folder").file_name().to_string_lossy().into_owned());
    let yaml = names.filter(|name| name.ends_with(".yaml") && name != "kustomization.yaml");
    let read = |name: &String| fs::read_to_string(project(folder).join(name)).expect("a readable file");
    yaml.map(|name| (name.clone(), read(&name))).collect()
}

#[test]
fn the_charts_copies_are_those_of_today() {
    for (original, copy) in [
        ("crds", "charts/ferrolb/files/crds"),
        ("config/rbac", "charts/ferrolb/files/rbac"),
        ("config/admission", "charts/ferrolb/files/admission"),
    ] {
        let (originals, copies) = (files(original), files(copy));
        assert!(originals.len() >= 2, "{original}");
        assert_eq!(originals.keys().collect::<Vec<_>>(), copies.keys().collect::<Vec<_>>(), "make chart");
        for (name, text) in &originals {
            assert!(
                copies.get(name) == Some(text),
                "{copy}/{name} is not {original}/{name}: run `make chart`"
            );
        }
    }
}

#[test]
fn so_are_those_of_alerts_and_dashboard() {
    for name in ["rules.yaml", "dashboard.json"] {
        let read = |folder: &str| fs::read_to_string(project(folder).join(name)).expect(name);
        let (original, copy) =
            (read("config/components/prometheus"), read("charts/ferrolb/files/prometheus"));
        assert!(original == copy, "charts/ferrolb/files/prometheus/{name}: run `make chart`");
    }
}
