//! What controllers and speakers of each version wrote, kept in `tests/fixtures/VERSION/cluster.json`: whoever reads the API has
//! to understand what an earlier version left there.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::ApiServer;

/// A cluster in which one version ran.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The version.
    pub version: String,
    record: Value,
}

impl Recorded {
    /// The clusters of all versions that were recorded, in order.
    ///
    /// # Panics
    /// When there is none, or one cannot be read.
    pub fn all() -> Vec<Self> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
        let entries =
            std::fs::read_dir(&folder).expect("tests/fixtures").map(|entry| entry.expect("an entry").path());
        let mut all: Vec<Self> = entries
            .filter(|path| path.is_dir())
            .map(|path| {
                let file = path.join("cluster.json");
                let text = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
                let version = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let record = serde_json::from_slice(&text);
                Recorded {
                    version,
                    record: record.unwrap_or_else(|error| panic!("{}: {error}", file.display())),
                }
            })
            .collect();
        assert!(!all.is_empty(), "{} has no version", folder.display());
        all.sort_by(|one, other| one.version.cmp(&other.version));
        all
    }

    /// The objects of this kind.
    ///
    /// # Panics
    /// When there is none: then nothing of that kind would be shown.
    pub fn of(&self, kind: &str) -> Vec<&Value> {
        let objects = self.record["objects"].as_array().expect("a list of objects");
        let found: Vec<&Value> = objects.iter().filter(|object| object["kind"] == kind).collect();
        assert!(!found.is_empty(), "{}: no {kind} was recorded", self.version);
        found
    }

    /// The same, as their type.
    ///
    /// # Panics
    /// When there is none, or one cannot be read.
    pub fn read<T: DeserializeOwned>(&self, kind: &str) -> Vec<T> {
        let read = |object: &Value| {
            serde_json::from_value(object.clone())
                .unwrap_or_else(|error| panic!("{}: {error}: {object}", self.version))
        };
        self.of(kind).into_iter().map(read).collect()
    }

    /// Puts the objects of these kinds into a server that knows the kinds.
    ///
    /// # Panics
    /// When there is none of a kind, or the server does not know it.
    pub fn put(&self, api: &ApiServer, kinds: &[&str]) {
        kinds.iter().flat_map(|kind| self.of(kind)).for_each(|object| drop(api.put(object)));
    }

    /// What was so, as seen from outside: on the wire, and by who was asked for what.
    pub fn means(&self, what: &str) -> &Value {
        let value = &self.record["means"][what];
        assert!(!value.is_null(), "{}: {what} was not recorded", self.version);
        value
    }

    /// The Lease while it was held.
    pub fn held_lease(&self) -> &Value {
        &self.record["heldLease"]
    }
}
