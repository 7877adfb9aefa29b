//! What `cargo metadata` says of crates, and which of them programs depend on.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::lab::LabError;

/// All crates that cargo knows for one machine.
pub(super) struct Crates {
    packages: BTreeMap<String, Package>,
    /// What each needs of others when it runs; not what its tests and build scripts need.
    needs: BTreeMap<String, Vec<String>>,
}

/// A crate that a program depends on.
pub(super) struct Found {
    pub(super) name: String,
    pub(super) version: String,
    /// What it needs itself, by package URL.
    pub(super) needs: Vec<String>,
    licence: Option<String>,
    repository: Option<String>,
    /// Whether it is in the program: what only procedural macros need is not.
    linked: bool,
}

impl Found {
    pub(super) fn purl(&self) -> String {
        purl(&self.name, &self.version)
    }

    pub(super) fn component(&self) -> Value {
        let mut component = json!({
            "type": "library", "bom-ref": self.purl(), "name": self.name, "version": self.version,
            "scope": if self.linked { "required" } else { "excluded" }, "purl": self.purl(),
        });
        if let Some(licence) = &self.licence {
            // Some still write it in the old way.
            component["licenses"] = json!([{"expression": licence.replace('/', " OR ")}]);
        }
        if let Some(url) = &self.repository {
            component["externalReferences"] = json!([{"type": "vcs", "url": url}]);
        }
        component
    }
}

fn purl(name: &str, version: &str) -> String {
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    repository: Option<String>,
    targets: Vec<Target>,
}

impl Package {
    fn runs_in_the_compiler(&self) -> bool {
        self.targets.iter().any(|target| target.kind.iter().any(|kind| kind == "proc-macro"))
    }
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    /// `dev` and `build`; none for a dependency of the program itself.
    kind: Option<String>,
}

impl Crates {
    /// Reads what `cargo metadata --format-version 1` printed.
    pub(super) fn parse(said: &str) -> Result<Self, LabError> {
        let metadata: Metadata = serde_json::from_str(said).map_err(|error| LabError::Program {
            program: "cargo metadata".into(),
            why: error.to_string(),
        })?;
        let needs = metadata.resolve.nodes.into_iter().map(|node| {
            let deps = node.deps.into_iter().filter(|dep| dep.dep_kinds.iter().any(|of| of.kind.is_none()));
            (node.id, deps.map(|dep| dep.pkg).collect())
        });
        Ok(Crates {
            needs: needs.collect(),
            packages: metadata.packages.into_iter().map(|package| (package.id.clone(), package)).collect(),
        })
    }

    /// The version of a crate; empty if there is none of this name.
    pub(super) fn version(&self, name: &str) -> &str {
        self.packages.values().find(|package| package.name == name).map_or("", |package| &package.version)
    }

    /// Forgets what is not built, by name and version. `cargo metadata` also lists what some crate would need with a feature that
    /// nobody asks of it.
    pub(super) fn keep(&mut self, built: &BTreeSet<(String, String)>) {
        self.packages.retain(|_, package| built.contains(&(package.name.clone(), package.version.clone())));
    }

    /// What programs of these names depend on, they among it, by name and version.
    pub(super) fn of(&self, names: &[&str]) -> Vec<Found> {
        let roots = self.packages.values().filter(|package| names.contains(&package.name.as_str()));
        let roots: Vec<&str> = roots.map(|package| package.id.as_str()).collect();
        let linked = self.reached(&roots, |package| !package.runs_in_the_compiler());
        let all = self.reached(&roots, |_| true);
        let packages = all.iter().filter_map(|id| self.packages.get(*id));
        let mut found: Vec<Found> = packages.map(|package| self.found(package, &linked)).collect();
        found.sort_by(|left, right| (&left.name, &left.version).cmp(&(&right.name, &right.version)));
        found
    }

    fn found(&self, package: &Package, linked: &BTreeSet<&str>) -> Found {
        let needs = self.needs.get(&package.id).into_iter().flatten();
        let mut needs: Vec<String> = needs
            .filter_map(|id| self.packages.get(id).map(|package| purl(&package.name, &package.version)))
            .collect();
        needs.sort();
        Found {
            name: package.name.clone(),
            version: package.version.clone(),
            needs,
            licence: package.license.clone(),
            repository: package.repository.clone(),
            linked: linked.contains(package.id.as_str()),
        }
    }

    /// What is reached from `roots` by way of packages that pass.
    fn reached<'a>(&'a self, roots: &[&'a str], passes: impl Fn(&Package) -> bool) -> BTreeSet<&'a str> {
        let (mut seen, mut next) = (BTreeSet::new(), roots.to_vec());
        while let Some(id) = next.pop() {
            if self.packages.get(id).is_some_and(&passes) && seen.insert(id) {
                next.extend(self.needs.get(id).into_iter().flatten().map(String::as_str));
            }
        }
        seen
    }
}
