//! Who set which field: what server-side apply needs to know.
//!
//! An object's [`Owners`] keep, for each manager, the leaves that it set. A leaf is a value that is merged as a
//! whole; the elements of keyed lists count as fields.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::answer::{Failure, Result};
use crate::kind::Kind;
use crate::schema::{self, Lists};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Field(String),
    /// An element of a keyed list, by its keys and their values as JSON.
    Key(Vec<(String, String)>),
    /// An element of a set, which is a text in all sets there are.
    Item(String),
}

type Path = Vec<Step>;

/// A manager: its name, whether it applies, and the subresource that it writes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Manager {
    pub(crate) name: String,
    pub(crate) applies: bool,
    pub(crate) subresource: String,
}

/// The managers of one object and their leaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Owners(BTreeMap<Manager, BTreeSet<Path>>);

impl Owners {
    /// Somebody wrote the object whole, or patched it: what changed is his now.
    pub(crate) fn written(&mut self, kind: &Kind, by: &Manager, old: &Value, new: &Value) {
        let (old, new) = (leaves(kind, old), leaves(kind, new));
        let changed: BTreeSet<Path> = new
            .iter()
            .filter(|(path, value)| old.get(*path) != Some(value))
            .map(|(path, _)| path.clone())
            .collect();
        for paths in self.0.values_mut() {
            paths.retain(|path| new.contains_key(path) && !changed.contains(path));
        }
        self.0.entry(by.clone()).or_default().extend(changed);
        self.0.retain(|_, paths| !paths.is_empty());
    }

    /// Applies `wanted` to `object`.
    pub(crate) fn apply(
        &mut self,
        kind: &Kind,
        by: &Manager,
        object: &mut Value,
        wanted: &Value,
        force: bool,
    ) -> Result<()> {
        let (live, set) = (leaves(kind, object), leaves(kind, wanted));
        let mut conflicts = Vec::new();
        for (path, value) in &set {
            if live.get(path) == Some(value) {
                continue;
            }
            for (other, paths) in &self.0 {
                if other != by && paths.contains(path) {
                    conflicts.push((other.name.clone(), path.clone()));
                }
            }
        }
        if !force && !conflicts.is_empty() {
            return Err(conflict(&conflicts));
        }
        for (_, path) in &conflicts {
            for (other, paths) in &mut self.0 {
                if other != by {
                    paths.remove(path);
                }
            }
        }
        let before = self.0.remove(by).unwrap_or_default();
        for path in before.iter().filter(|path| !set.contains_key(*path)) {
            // An element comes before its fields, and goes whole: without its key it could not be found.
            let others = self.0.values().any(|paths| paths.iter().any(|other| other.starts_with(path)));
            if !others && !set.keys().any(|mine| mine.starts_with(path)) {
                remove(object, path);
            }
        }
        put(kind, &mut Vec::new(), object, wanted);
        self.0.insert(by.clone(), set.into_keys().collect());
        self.0.retain(|_, paths| !paths.is_empty());
        Ok(())
    }
}

fn conflict(conflicts: &[(String, Path)]) -> Failure {
    let cause = |(name, path): &(String, Path)| {
        let message = format!("conflict with \"{name}\"");
        json!({"reason": "FieldManagerConflict", "message": message, "field": text(path)})
    };
    let described = match conflicts {
        [(name, path)] => format!("conflict with \"{name}\": {}", text(path)),
        _ => {
            let mut all = "conflicts".to_owned();
            for (name, path) in conflicts {
                let _ = write!(all, " with \"{name}\":\n- {}", text(path));
            }
            all
        }
    };
    Failure::apply_conflict(conflicts.len(), &described, conflicts.iter().map(cause).collect())
}

fn text(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        let _ = match step {
            Step::Field(name) => write!(text, ".{name}"),
            Step::Key(keys) => {
                let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(text, "[{}]", keys.join(","))
            }
            Step::Item(item) => write!(text, "[=\"{item}\"]"),
        };
    }
    text
}

fn leaves(kind: &Kind, object: &Value) -> BTreeMap<Path, Value> {
    let mut found = BTreeMap::new();
    collect(kind, &mut Vec::new(), &mut Vec::new(), object, &mut found);
    // Names and versions are nobody's.
    found.retain(|path, _| match path.as_slice() {
        [Step::Field(root), Step::Field(name), ..] if root == "metadata" => {
            matches!(name.as_str(), "labels" | "annotations" | "finalizers" | "ownerReferences")
        }
        [Step::Field(root)] => !matches!(root.as_str(), "apiVersion" | "kind" | "metadata"),
        _ => true,
    });
    found
}

/// `names` are the fields of `path` alone, by which the schema is asked.
fn collect(
    kind: &Kind,
    names: &mut Vec<String>,
    path: &mut Path,
    value: &Value,
    found: &mut BTreeMap<Path, Value>,
) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                names.push(name.clone());
                path.push(Step::Field(name.clone()));
                collect(kind, names, path, value, found);
                path.pop();
                names.pop();
            }
        }
        Value::Array(items) => match schema::lists(kind, names) {
            Lists::Atomic => {
                found.insert(path.clone(), value.clone());
            }
            Lists::Set => {
                for item in items {
                    path.push(Step::Item(item.as_str().unwrap_or_default().to_owned()));
                    found.insert(path.clone(), item.clone());
                    path.pop();
                }
            }
            Lists::By(keys) => {
                for item in items {
                    path.push(Step::Key(key(keys, item)));
                    // The element itself, so that it goes with the last of its fields.
                    found.insert(path.clone(), Value::Null);
                    collect(kind, names, path, item, found);
                    path.pop();
                }
            }
        },
        other => {
            found.insert(path.clone(), other.clone());
        }
    }
}

fn key(keys: &[&str], item: &Value) -> Vec<(String, String)> {
    let value = |name: &str| match (&item[name], name) {
        (Value::Null, "protocol") => json!("TCP").to_string(),
        (value, _) => value.to_string(),
    };
    keys.iter().map(|name| ((*name).to_owned(), value(name))).collect()
}

fn is_element(item: &Value, keys: &[(String, String)]) -> bool {
    let names: Vec<&str> = keys.iter().map(|(name, _)| name.as_str()).collect();
    key(&names, item) == keys
}

fn remove(value: &mut Value, path: &[Step]) {
    let Some((step, rest)) = path.split_first() else { return };
    match (step, value) {
        (Step::Field(name), Value::Object(fields)) => {
            if rest.is_empty() {
                fields.remove(name);
            } else if let Some(inner) = fields.get_mut(name) {
                remove(inner, rest);
                if crate::patch::is_empty(inner) && name != "status" && name != "spec" && name != "metadata" {
                    fields.remove(name);
                }
            }
        }
        (Step::Key(keys), Value::Array(items)) => {
            if rest.is_empty() {
                items.retain(|item| !is_element(item, keys));
            } else if let Some(item) = items.iter_mut().find(|item| is_element(item, keys)) {
                remove(item, rest);
            }
        }
        (Step::Item(gone), Value::Array(items)) => items.retain(|item| item != gone.as_str()),
        _ => {}
    }
}

fn put(kind: &Kind, names: &mut Vec<String>, target: &mut Value, wanted: &Value) {
    match wanted {
        Value::Object(fields) => {
            if !target.is_object() {
                *target = Value::Object(Map::new());
            }
            let Value::Object(target) = target else { return };
            for (name, value) in fields {
                names.push(name.clone());
                put(kind, names, target.entry(name.clone()).or_insert(Value::Null), value);
                names.pop();
            }
        }
        Value::Array(items) => {
            let how = schema::lists(kind, names);
            if how == Lists::Atomic || !target.is_array() {
                *target = Value::Array(Vec::new());
            }
            let Value::Array(target) = target else { return };
            for item in items {
                let place = match how {
                    Lists::Atomic => None,
                    Lists::Set => target.iter().position(|old| old == item),
                    Lists::By(keys) => target.iter().position(|old| key(keys, old) == key(keys, item)),
                };
                match place {
                    Some(place) => put(kind, names, &mut target[place], item),
                    None => target.push(item.clone()),
                }
            }
        }
        other => *target = other.clone(),
    }
}
