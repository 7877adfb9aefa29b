//! `core` decides and does nothing else. This holds its manifest and its sources to that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// All crates that may be linked into `core`, with what each one is for. None of them opens sockets or files,
/// reads clocks or starts threads.
const ALLOWED: &[(&str, &str)] = &[
    ("ipnet", "CIDR arithmetic"),
    ("serde_core", "of ipnet, whose serde feature the crds crate uses"),
    ("serde", "of ipnet, whose serde feature the crds crate uses"),
    ("pnet_packet", "layouts of ARP and Ethernet"),
    ("pnet_base", "of pnet_packet"),
    ("pnet_macros_support", "of pnet_packet"),
    ("no-std-net", "of pnet_base"),
    ("hmac", "the tag of a hello"),
    ("subtle", "of hmac: compares in constant time"),
    ("sha2", "the hash of the election, and of the tag of a hello"),
    ("digest", "of sha2"),
    ("block-buffer", "of sha2"),
    ("crypto-common", "of sha2"),
    ("generic-array", "of sha2"),
    ("typenum", "of sha2"),
    ("cfg-if", "of sha2"),
    ("cpufeatures", "of sha2: reads what the processor can"),
    ("libc", "of cpufeatures, for its constants on some processors"),
    ("thiserror", "error types"),
];

fn crate_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn core_links_nothing_impure() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked", "--manifest-path"])
        .arg(crate_root().join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();

    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    let mut proc_macros: BTreeSet<&str> = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        let id = package["id"].as_str().unwrap();
        names.insert(id, package["name"].as_str().unwrap());
        let is_macro = package["targets"]
            .as_array()
            .unwrap()
            .iter()
            .any(|target| target["kind"].as_array().unwrap().iter().any(|kind| kind == "proc-macro"));
        if is_macro {
            proc_macros.insert(id);
        }
    }
    let mut needs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in metadata["resolve"]["nodes"].as_array().unwrap() {
        let deps = node["deps"].as_array().unwrap().iter();
        let linked =
            deps.filter(|dep| dep["dep_kinds"].as_array().unwrap().iter().any(|k| k["kind"].is_null()));
        needs.insert(node["id"].as_str().unwrap(), linked.map(|dep| dep["pkg"].as_str().unwrap()).collect());
    }
    let core = names.iter().find(|(_, name)| **name == "ferrolb-core").map(|(id, _)| *id).unwrap();
    let (mut seen, mut todo) = (BTreeSet::new(), vec![core]);
    while let Some(id) = todo.pop() {
        // What a procedural macro needs runs in the compiler, not in core.
        for dep in needs[id].iter().filter(|dep| !proc_macros.contains(*dep)) {
            if seen.insert(*dep) {
                todo.push(dep);
            }
        }
    }
    let linked: BTreeSet<&str> = seen.iter().map(|id| names[id]).collect();
    assert!(linked.contains("sha2") && linked.contains("pnet_packet"), "the walk found only {linked:?}");
    let allowed: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    let surplus: Vec<_> = linked.difference(&allowed).collect();
    assert!(
        surplus.is_empty(),
        "core links {surplus:?}; if they are pure, say so in ALLOWED, else keep them out"
    );
}

#[test]
fn core_reads_no_clock_and_no_environment() {
    // The lints of core/clippy.toml know the usual functions; this knows whole modules.
    let banned = [
        "std::time::Instant",
        "std::time::SystemTime",
        "std::env",
        "std::fs",
        "std::process",
        "std::thread",
        "std::io",
    ];
    let mut files = Vec::new();
    sources(&crate_root().join("src"), &mut files);
    assert!(files.len() > 10, "only {files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for word in banned {
            assert!(!text.contains(word), "{}: core must not use {word}", file.display());
        }
    }
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
