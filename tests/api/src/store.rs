//! The objects, and every version that they ever had.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::answer::{Failure, Result};
use crate::call::Verb;
use crate::kind::{Kind, Resource};
use crate::owners::Owners;
use crate::server::Writes;

/// What a commit did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The object is new.
    Added,
    /// It was there before.
    Modified,
    /// It is gone.
    Deleted,
}

/// One version of one object, as it was committed.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The resource version, which no other commit has.
    pub version: u64,
    /// The kind.
    pub resource: Resource,
    /// The namespace; empty for kinds that lie in none.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// What happened.
    pub change: Change,
    /// The object from here on; of a deletion, its last state, with the deletion's version.
    pub object: Arc<Value>,
    /// The object until here.
    pub previous: Option<Arc<Value>>,
}

/// A kind, and whether it is there.
#[derive(Clone, Debug)]
pub(crate) struct Registered {
    pub(crate) kind: Kind,
    pub(crate) served: bool,
}

#[derive(Clone, Debug)]
struct Stored {
    object: Arc<Value>,
    owners: Owners,
}

/// Where the time comes from.
pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

pub(crate) struct Store {
    kinds: BTreeMap<Resource, Registered>,
    /// By kind, then by `namespace/name`, which is the order of lists.
    objects: BTreeMap<Resource, BTreeMap<String, Stored>>,
    log: Vec<Arc<Commit>>,
    revision: u64,
    /// Of versions below this one nothing is known any more.
    oldest: u64,
    /// Counts what must be unlike everything before: uids, generated names.
    counter: u64,
    pub(crate) clock: Clock,
    pub(crate) requests: BTreeMap<(Verb, String), usize>,
    pub(crate) writes: BTreeMap<(Verb, String), Writes>,
}

/// Where an object lies among those of its kind.
pub(crate) fn place(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

impl Store {
    pub(crate) fn new(clock: Clock) -> Self {
        Store {
            kinds: BTreeMap::new(),
            objects: BTreeMap::new(),
            log: Vec::new(),
            // No object has version 1, so that an empty server too has one to watch from.
            revision: 1,
            oldest: 1,
            counter: 0,
            clock,
            requests: BTreeMap::new(),
            writes: BTreeMap::new(),
        }
    }

    pub(crate) fn register(&mut self, kind: Kind) {
        self.kinds.insert(kind.resource.clone(), Registered { kind, served: true });
    }

    /// Changes whether the kinds of this qualified name are there; how many there were.
    pub(crate) fn serve(&mut self, qualified: &str, served: bool) -> usize {
        let mut found = 0;
        for registered in self.kinds.values_mut().filter(|it| it.kind.resource.qualified() == qualified) {
            registered.served = served;
            found += 1;
        }
        found
    }

    pub(crate) fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.kinds.values().filter(|registered| registered.served).map(|registered| &registered.kind)
    }

    /// The kind of a path.
    pub(crate) fn kind(&self, resource: &Resource) -> Result<Kind> {
        match self.kinds.get(resource) {
            Some(registered) if registered.served => Ok(registered.kind.clone()),
            _ => Err(Failure::no_such_path()),
        }
    }

    pub(crate) fn is_served(&self, resource: &Resource) -> bool {
        self.kinds.get(resource).is_some_and(|registered| registered.served)
    }

    /// The kind of a manifest.
    pub(crate) fn kind_of(&self, api_version: &str, kind: &str) -> Option<Kind> {
        let mut all = self.kinds.values().map(|registered| &registered.kind);
        all.find(|known| known.kind == kind && known.resource.api_version() == api_version).cloned()
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn oldest(&self) -> u64 {
        self.oldest
    }

    pub(crate) fn compact(&mut self) {
        self.oldest = self.revision;
    }

    pub(crate) fn log(&self) -> &[Arc<Commit>] {
        &self.log
    }

    /// Where in the log the changes after `version` begin.
    pub(crate) fn after(&self, version: u64) -> usize {
        self.log.partition_point(|commit| commit.version <= version)
    }

    pub(crate) fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// The time, to the second, as `creationTimestamp` has it.
    pub(crate) fn now(&self) -> String {
        (self.clock)().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    pub(crate) fn object(&self, resource: &Resource, place: &str) -> Option<Arc<Value>> {
        Some(self.objects.get(resource)?.get(place)?.object.clone())
    }

    pub(crate) fn owners(&self, resource: &Resource, place: &str) -> Owners {
        let stored = self.objects.get(resource).and_then(|objects| objects.get(place));
        stored.map(|stored| stored.owners.clone()).unwrap_or_default()
    }

    /// Notes who set what, where the object itself did not change.
    pub(crate) fn own(&mut self, resource: &Resource, place: &str, owners: Owners) {
        if let Some(stored) = self.objects.get_mut(resource).and_then(|objects| objects.get_mut(place)) {
            stored.owners = owners;
        }
    }

    /// All objects of a kind with their places, in the order of lists.
    pub(crate) fn all(&self, resource: &Resource) -> Vec<(String, Arc<Value>)> {
        let objects = self.objects.get(resource).into_iter().flatten();
        objects.map(|(place, stored)| (place.clone(), stored.object.clone())).collect()
    }

    /// All objects of a kind as they were at `version`.
    pub(crate) fn all_at(&self, resource: &Resource, version: u64) -> Vec<(String, Arc<Value>)> {
        if version >= self.revision {
            return self.all(resource);
        }
        let mut objects = BTreeMap::new();
        for commit in self.log[..self.after(version)].iter().filter(|commit| commit.resource == *resource) {
            let place = place(&commit.namespace, &commit.name);
            match commit.change {
                Change::Deleted => objects.remove(&place),
                Change::Added | Change::Modified => objects.insert(place, commit.object.clone()),
            };
        }
        objects.into_iter().collect()
    }

    /// Makes `object` the next version of what lies at its place, or, of a deletion, its last.
    pub(crate) fn commit(
        &mut self,
        kind: &Kind,
        mut object: Value,
        owners: Owners,
        deleted: bool,
    ) -> Arc<Value> {
        self.revision += 1;
        let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let object = Arc::new(object);
        let objects = self.objects.entry(kind.resource.clone()).or_default();
        let place = place(&namespace, &name);
        let previous = if deleted {
            objects.remove(&place)
        } else {
            objects.insert(place, Stored { object: object.clone(), owners })
        };
        let change = match (&previous, deleted) {
            (_, true) => Change::Deleted,
            (Some(_), false) => Change::Modified,
            (None, false) => Change::Added,
        };
        self.log.push(Arc::new(Commit {
            version: self.revision,
            resource: kind.resource.clone(),
            namespace,
            name,
            change,
            object: object.clone(),
            previous: previous.map(|stored| stored.object),
        }));
        object
    }
}
