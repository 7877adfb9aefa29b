//! The list of what is in the programs, as CycloneDX 1.6 in JSON.
//!
//! Made from `cargo metadata`, `cargo tree` and `Cargo.lock`, for one machine: the crates that the programs depend on, what each may be
//! used under, and the checksum by which cargo took it. Procedural macros, and what only they need, ran in the compiler and
//! are not in the programs: their scope is `excluded`. Rust's standard library and the C library are in every program, so
//! they are listed too. The same source gives the same bytes.

mod crates;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::build::Place;
use super::source::Source;
use super::{PACKAGES, lock, program_of, sha256};
use crate::lab::{LabError, process};
use crates::Crates;

/// The list for the programs in `folder`, which were built in `place`.
///
/// # Errors
/// When cargo or rustc cannot be asked, or a file cannot be read.
pub fn sbom(place: &Place, folder: &Path, source: &Source) -> Result<Vec<u8>, LabError> {
    let read = |path: &Path| std::fs::read(path).map_err(LabError::at(path));
    let asked = ["metadata", "--locked", "--format-version", "1", "--filter-platform", &place.triple];
    let mut crates = Crates::parse(&process::run(&mut place.cargo(&asked))?)?;
    crates.keep(&built(place)?);
    let checksums = lock::checksums(&String::from_utf8_lossy(&read(&place.workspace.join("Cargo.lock"))?));

    let mut library = std_library(&process::run(Command::new("rustc").arg("-vV"))?);
    let mut components = Vec::new();
    for found in crates.of(&PACKAGES) {
        let mut component = found.component();
        let key = (found.name.clone(), found.version.clone());
        if let Some(sum) = checksums.get(&key) {
            component["hashes"] = json!([{"alg": "SHA-256", "content": sum}]);
        } else if let Some(name) = program_of(&found.name) {
            let program = read(&folder.join(name))?;
            component["type"] = json!("application");
            component["hashes"] = json!([{"alg": "SHA-256", "content": sha256(&program)}]);
            if let Some(libc) = c_library(&program).filter(|libc| !library.contains(libc)) {
                library.push(libc);
            }
        }
        components.push(component);
    }
    let version = crates.version(PACKAGES[0]);
    let dependencies = dependencies(&crates, &library);
    components.extend(library);
    let mut list = json!({
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "metadata": {
            "timestamp": source.created(),
            "component": {
                "type": "container", "bom-ref": "image", "name": "ferrolb", "version": version,
                "licenses": [{"expression": "Apache-2.0"}],
                "properties": [
                    {"name": "ferrolb:revision", "value": source.revision},
                    {"name": "ferrolb:target", "value": place.triple},
                ],
            },
        },
        "components": components, "dependencies": dependencies,
    });
    // A number of its own, as the format wants it, but not by chance.
    list["serialNumber"] = json!(format!("urn:uuid:{}", uuid(&sha256(list.to_string().as_bytes()))));
    let mut text = serde_json::to_vec_pretty(&list).map_err(|error| LabError::State(error.to_string()))?;
    text.push(b'\n');
    Ok(text)
}

/// The name and version of each crate that cargo builds for the programs, with the features that they ask for.
fn built(place: &Place) -> Result<BTreeSet<(String, String)>, LabError> {
    let mut tree =
        place.cargo(&["tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    tree.args(["--target", &place.triple]);
    for name in PACKAGES {
        tree.args(["--package", name]);
    }
    let said = process::run(&mut tree)?;
    let words = said.lines().filter_map(|line| line.split_once(" v"));
    let version = |rest: &str| rest.split(' ').next().unwrap_or_default().to_owned();
    Ok(words.map(|(name, rest)| (name.to_owned(), version(rest))).collect())
}

/// What needs what; the image has the programs, and these have the libraries without a crate.
fn dependencies(crates: &Crates, library: &[Value]) -> Vec<Value> {
    let library: Vec<&str> = library.iter().filter_map(|component| component["bom-ref"].as_str()).collect();
    let mut programs = Vec::new();
    let mut all = Vec::new();
    for found in crates.of(&PACKAGES) {
        let mut needs = found.needs.clone();
        if PACKAGES.contains(&found.name.as_str()) {
            programs.push(found.purl());
            needs.extend(library.iter().map(|name| (*name).to_owned()));
        }
        all.push(json!({"ref": found.purl(), "dependsOn": needs}));
    }
    all.insert(0, json!({"ref": "image", "dependsOn": programs}));
    all
}

/// Rust's standard library, by what `rustc -vV` says.
fn std_library(said: &str) -> Vec<Value> {
    let value = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let (version, commit) = (value("release: "), value("commit-hash: "));
    let purl =
        format!("pkg:generic/rust-std@{version}?vcs_url=git%2Bhttps://github.com/rust-lang/rust%40{commit}");
    vec![json!({
        "type": "library", "bom-ref": purl, "name": "rust-std", "version": version, "scope": "required",
        "licenses": [{"expression": "MIT OR Apache-2.0"}], "purl": purl,
    })]
}

/// The C library, which says in each static program who it is.
fn c_library(program: &[u8]) -> Option<Value> {
    const BEGIN: &[u8] = b"GNU C Library (";
    let at = program.windows(BEGIN.len()).position(|window| window == BEGIN)? + BEGIN.len();
    let said: Vec<u8> = program[at..].iter().copied().take_while(|byte| *byte != b')').take(100).collect();
    let said = String::from_utf8(said).ok()?;
    let version = said.rsplit(' ').next()?;
    let kind = if said.starts_with("Debian") { "deb/debian" } else { "generic" };
    let purl = format!("pkg:{kind}/glibc@{}", version.replace('+', "%2B"));
    Some(json!({
        "type": "library", "bom-ref": purl, "name": "glibc", "version": version, "scope": "required",
        "licenses": [{"expression": "LGPL-2.1-or-later"}], "purl": purl,
    }))
}

/// A UUID of version 8 (made by whoever makes it, RFC 9562) of these hexadecimal digits.
fn uuid(hex: &str) -> String {
    format!("{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_program_says_which_c_library_it_has() {
        let program = b"\0\0GNU C Library (Debian GLIBC 2.36-9+deb12u14) stable release version 2.36.\0";
        let found = c_library(program).unwrap();
        assert_eq!(
            (&found["version"], &found["purl"]),
            (&json!("2.36-9+deb12u14"), &json!("pkg:deb/debian/glibc@2.36-9%2Bdeb12u14"))
        );
        assert!(c_library(b"nothing").is_none());
    }

    #[test]
    fn a_uuid_has_its_version_and_variant() {
        assert_eq!(uuid(&"0123456789abcdef".repeat(4)), "01234567-89ab-8def-8123-456789abcdef");
    }

    /// Against `cargo tree`, which finds them by itself.
    #[test]
    fn every_crate_that_the_programs_depend_on_is_listed_with_all_that_is_known() {
        let place = Place::here().unwrap();
        let folder = tempfile::tempdir().unwrap();
        for name in super::super::PROGRAMS {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let source = Source { revision: "abc".into(), epoch: 1 };
        let bytes = sbom(&place, folder.path(), &source).unwrap();
        assert_eq!(
            bytes,
            sbom(&place, folder.path(), &source).unwrap(),
            "the same source gives the same bytes"
        );
        let list: Value = serde_json::from_slice(&bytes).unwrap();
        let components = list["components"].as_array().unwrap();

        let mut tree = place.cargo(&["tree", "--locked", "--edges", "normal", "--prefix", "none"]);
        tree.args(["--format", "{p}|{l}", "--target", &place.triple]);
        for name in PACKAGES {
            tree.args(["--package", name]);
        }
        let said = process::run(&mut tree).unwrap();
        let lock = std::fs::read_to_string(place.workspace.join("Cargo.lock")).unwrap();
        let mut names = std::collections::BTreeSet::new();
        for line in said.lines().filter(|line| !line.is_empty()) {
            let (who, licence) = line.trim_end_matches(" (*)").split_once('|').unwrap();
            let mut words = who.split(' ');
            let (name, version) = (words.next().unwrap(), words.next().unwrap().trim_start_matches('v'));
            names.insert((name.to_owned(), version.to_owned()));
            let purl = format!("pkg:cargo/{name}@{version}");
            let component = components.iter().find(|component| component["purl"] == json!(purl));
            let component = component.unwrap_or_else(|| panic!("{purl} is not listed"));
            assert_eq!(
                component["licenses"],
                json!([{"expression": licence.trim_end_matches(" (*)").replace('/', " OR ")}]),
                "{purl}"
            );
            if who.contains("(proc-macro)") {
                assert_eq!(component["scope"], "excluded", "{purl}");
            }
            if name.starts_with("ferrolb-") {
                continue;
            }
            let sum = component["hashes"][0]["content"].as_str().unwrap();
            assert_eq!(sum.len(), 64, "{purl}");
            let block = format!("name = \"{name}\"\nversion = \"{version}\"\n");
            let (_, rest) = lock.split_once(&block).expect("it is in the lock");
            assert!(rest.split("[[package]]").next().unwrap().contains(sum), "{purl} has another checksum");
        }
        assert!(names.len() > 100, "{}", names.len());
        let crates =
            components.iter().filter_map(|component| component["purl"].as_str()?.strip_prefix("pkg:cargo/"));
        let more = |name: &&str| {
            !names.contains(&name.split_once('@').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap())
        };
        assert_eq!(crates.filter(more).collect::<Vec<_>>(), [""; 0], "nothing else is listed");
        let scope = |name: &str| {
            components.iter().find(|component| component["name"] == name).map(|component| &component["scope"])
        };
        assert_eq!(scope("ring"), Some(&json!("required")));
        assert_eq!(scope("syn"), Some(&json!("excluded")), "only procedural macros need it");
    }
}
