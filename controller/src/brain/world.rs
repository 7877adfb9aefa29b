//! What is known of the cluster, kept in core's words as it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ferrolb_core::allocate::{Rest, Snapshot};
use ferrolb_core::pool::{Overlap, without_overlaps};
use ferrolb_core::selector::Labels;
use ferrolb_core::service::{Role, Service as Words, ServiceKey};
use ferrolb_crds::IPAddressPool;
use ferrolb_crds::view::{Namespace, Node, Service};
use ferrolb_runtime::Seen;
use kube::ResourceExt;

use super::advertised::Advertised;
use super::conflicts::Conflicts;
use super::shown::Shown;

/// The objects, and the snapshot that core decides on.
///
/// The snapshot is never built anew: each change of an object changes its part. So a change among ten thousand
/// Services costs what that one costs.
#[derive(Clone, Debug, Default)]
pub struct World {
    lb_class: Option<String>,
    /// What core decides on, but for what a plan adds to it.
    pub snapshot: Snapshot,
    services: BTreeMap<ServiceKey, Entry>,
    /// The pools by name.
    pub pools: BTreeMap<String, Arc<IPAddressPool>>,
    /// The pools that are not used, and why.
    pub bad_pools: BTreeMap<String, BadPool>,
    nodes: BTreeMap<String, KnownNode>,
    /// The advertisements.
    pub advertised: Advertised,
    /// What speakers report of other hosts.
    pub(super) conflicts: Conflicts,
    rest: Rest,
}

/// What is kept of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KnownNode {
    addresses: BTreeSet<IpAddr>,
    labels: Labels,
}

/// Why a pool is not used; the others go on without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadPool {
    /// It cannot be read; what to change in it.
    Invalid(String),
    /// It has addresses of an older one.
    Overlapping(Overlap),
}

/// A Service as it stands in the API, as far as that is known.
#[derive(Clone, Debug)]
struct Entry {
    current: Shown,
    /// The versions before `current` that own writes were based on.
    ///
    /// Writes carry the version that they are based on and fail if it is not the current one, so the first version
    /// after it is the write itself. As long as the watch shows one of these, it is behind; once it shows any
    /// other, it has caught up.
    older: Vec<String>,
    /// Somebody else's write was before an own one: `current` is out of date, and what the Service is now will be
    /// learned from the watch. (Not from a look at it: that may be several versions ahead of the watch, and
    /// which of those to come are older cannot be told.)
    overtaken: bool,
}

impl World {
    /// An empty one, for Services of this `loadBalancerClass`.
    pub fn new(lb_class: Option<String>) -> Self {
        World { lb_class, ..World::default() }
    }

    /// The Service as it stands in the API, as far as that is known.
    pub fn service(&self, key: &ServiceKey) -> Option<&Shown> {
        self.services.get(key).map(|entry| &entry.current)
    }

    /// All Services by key, each with what it shows and in core's words. One walk costs less than as many questions.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceKey, &Shown, &Words)> {
        let words = self.snapshot.services.iter();
        // The two have the same keys: they are only ever changed together.
        self.services.iter().zip(words).filter_map(|((key, entry), (other, words))| {
            debug_assert_eq!(key, other);
            (key == other).then_some((key, &entry.current, words))
        })
    }

    /// What the watch of Services says; returns whether that is news.
    pub fn see_services(&mut self, seen: Seen<Service>, now: Duration) -> bool {
        match seen {
            Seen::Listed(all) => {
                let mut gone: BTreeSet<ServiceKey> = self.services.keys().cloned().collect();
                for service in all {
                    gone.remove(&key_of(&service));
                    self.see_service(service, now);
                }
                for key in gone {
                    self.drop_service(&key, now);
                }
                true
            }
            Seen::Applied(service) => self.see_service(service, now),
            Seen::Deleted(service) => {
                let key = key_of(&service);
                // A later Service of the same name is another one.
                let known = self.service(&key).is_some_and(|known| known.uid == service.uid());
                if known {
                    self.drop_service(&key, now);
                }
                known
            }
            Seen::Failing => false,
        }
    }

    /// Returns whether it is news, and not what own writes have told.
    fn see_service(&mut self, service: Service, now: Duration) -> bool {
        let key = key_of(&service);
        if let Some(entry) = self.services.get_mut(&key)
            && entry.current.uid == service.uid()
            && let Some(version) = service.resource_version()
        {
            if entry.older.contains(&version) {
                return false;
            }
            if entry.current.version == Some(version) {
                entry.older = Vec::new();
                return false;
            }
        }
        let known = self.services.get(&key);
        if known.is_some_and(|entry| entry.overtaken) {
            self.snapshot.frozen.remove(&key);
        } else if known.is_none_or(|entry| entry.current.version != service.resource_version()) {
            // A write that is under way was based on the version before. Either it is part of what is seen now, or it
            // fails: it will give nothing more.
            self.snapshot.frozen.entry(key.clone()).and_modify(Vec::clear);
        }
        self.put(key, &service, Vec::new(), now);
        true
    }

    /// The result of a write that was based on version `based_on`. It stands in for what the watch shows until that
    /// has moved past `based_on`, so that nothing is decided on a picture older than the own writes.
    pub fn wrote(&mut self, key: &ServiceKey, based_on: &str, object: &Service, now: Duration) {
        let Some(entry) = self.services.get(key) else { return };
        let behind = entry.current.version.as_deref() == Some(based_on) && entry.current.uid == object.uid();
        if behind {
            let mut older = entry.older.clone();
            older.push(based_on.to_owned());
            self.put(key.clone(), object, older, now);
        }
    }

    /// The Service had changed, or was gone, before a write that was based on version `based_on`. If the watch has not shown that
    /// yet, the Service stays frozen until it does; returns whether so.
    pub fn overtaken(&mut self, key: &ServiceKey, based_on: &str) -> bool {
        let Some(entry) = self.services.get_mut(key) else { return false };
        entry.overtaken = entry.current.version.as_deref() == Some(based_on);
        if entry.overtaken {
            entry.older.push(based_on.to_owned());
        }
        entry.overtaken
    }

    /// A new reign begins: what was frozen for writes of an earlier one is not any more.
    pub fn thaw(&mut self) {
        self.snapshot.frozen.clear();
        self.services.values_mut().for_each(|entry| entry.overtaken = false);
    }

    fn put(&mut self, key: ServiceKey, service: &Service, older: Vec<String>, now: Duration) {
        let Some(words) = service.to_core(self.lb_class.as_deref()) else { return };
        if self.service(&key).is_some_and(|before| before.uid != service.uid()) {
            self.drop_service(&key, now);
        }
        self.free(&key, &words.held, Some(&key), now);
        self.snapshot.services.insert(key.clone(), words);
        self.services.insert(key, Entry { current: Shown::of(service), older, overtaken: false });
    }

    fn drop_service(&mut self, key: &ServiceKey, now: Duration) {
        self.free(key, &[], None, now);
        self.rest.gone(key);
        if self.services.get(key).is_some_and(|entry| entry.overtaken) {
            self.snapshot.frozen.remove(key);
        }
        self.snapshot.services.remove(key);
        self.services.remove(key);
    }

    /// Notes which addresses the Service no longer has.
    fn free(&mut self, key: &ServiceKey, held: &[IpAddr], goes_on: Option<&ServiceKey>, now: Duration) {
        let Some(before) = self.snapshot.services.get(key) else { return };
        if before.role == Role::Ours || before.marked {
            for address in before.held.iter().filter(|address| !held.contains(address)) {
                self.rest.freed(*address, goes_on, now);
            }
        }
    }

    /// What the watch of pools says.
    pub fn see_pools(&mut self, seen: Seen<IPAddressPool>) {
        match seen {
            Seen::Listed(all) => {
                self.pools = all.into_iter().map(|pool| (pool.name_any(), Arc::new(pool))).collect();
            }
            Seen::Applied(pool) => {
                self.pools.insert(pool.name_any(), Arc::new(pool));
            }
            Seen::Deleted(pool) => {
                self.pools.remove(&pool.name_any());
            }
            Seen::Failing => return,
        }
        self.read_pools();
    }

    /// 1. Pools that cannot be read are set aside.
    /// 2. So is the younger of two that overlap.
    fn read_pools(&mut self) {
        self.bad_pools.clear();
        let mut readable = Vec::new();
        for (name, pool) in &self.pools {
            match pool.to_core() {
                Ok(words) => readable.push((created(pool), words)),
                Err(problem) => {
                    self.bad_pools.insert(name.clone(), BadPool::Invalid(problem.to_string()));
                }
            }
        }
        let (usable, overlaps) = without_overlaps(readable);
        for overlap in overlaps {
            self.bad_pools.insert(overlap.pool.clone(), BadPool::Overlapping(overlap));
        }
        self.snapshot.pools = usable;
        self.advertised.stale = true;
    }

    /// What the watch of namespaces says; returns whether that concerns us.
    pub fn see_namespaces(&mut self, seen: Seen<Namespace>) -> bool {
        let all = &mut self.snapshot.namespaces;
        match seen {
            Seen::Listed(list) => {
                *all = list.into_iter().map(|namespace| (namespace.name_any(), namespace.labels())).collect();
                true
            }
            Seen::Applied(namespace) => {
                let labels = namespace.labels();
                all.insert(namespace.name_any(), labels.clone()) != Some(labels)
            }
            Seen::Deleted(namespace) => all.remove(&namespace.name_any()).is_some(),
            Seen::Failing => false,
        }
    }

    /// What the watch of nodes says; returns whether that concerns a plan. Heartbeats do not.
    pub fn see_nodes(&mut self, seen: Seen<Node>) -> bool {
        let known = |node: &Node| KnownNode {
            addresses: node.addresses().collect(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
        };
        let (addresses, labels) = match seen {
            Seen::Listed(list) => {
                self.nodes = list.iter().map(|node| (node.name_any(), known(node))).collect();
                (true, true)
            }
            Seen::Applied(node) => {
                let now = known(&node);
                let before = self.nodes.insert(node.name_any(), now.clone());
                before.map_or((true, true), |before| {
                    (before.addresses != now.addresses, before.labels != now.labels)
                })
            }
            Seen::Deleted(node) => {
                let known = self.nodes.remove(&node.name_any()).is_some();
                (known, known)
            }
            Seen::Failing => return false,
        };
        self.advertised.stale |= labels;
        if addresses {
            let nodes = self.nodes.iter();
            let all = nodes.flat_map(|(name, node)| node.addresses.iter().map(|a| (*a, name.clone())));
            self.snapshot.nodes = all.collect();
        }
        addresses
    }

    /// The labels of each node.
    pub(super) fn node_labels(&self) -> impl Iterator<Item = &Labels> + Clone {
        self.nodes.values().map(|node| &node.labels)
    }

    /// Makes the snapshot ready for a plan at `now`.
    pub fn prepare(&mut self, now: Duration, pools_are_known: bool) {
        self.rest.forget(now, self.snapshot.pools.values());
        self.snapshot.resting.clone_from(self.rest.all());
        self.snapshot.now = now;
        self.snapshot.pools_are_complete = pools_are_known && self.bad_pools.is_empty();
    }
}

/// The key of a Service.
pub fn key_of(service: &Service) -> ServiceKey {
    ServiceKey::new(service.namespace().unwrap_or_default(), service.name_any())
}

fn created(pool: &IPAddressPool) -> i64 {
    pool.metadata.creation_timestamp.as_ref().map_or(i64::MAX, |time| time.0.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: Duration = Duration::ZERO;

    fn service(version: &str, uid: &str) -> Service {
        let object =
            json!({"metadata": {"name": "web", "namespace": "shop", "resourceVersion": version, "uid": uid}});
        serde_json::from_value(object).unwrap()
    }

    fn version(world: &World) -> Option<String> {
        world.service(&ServiceKey::new("shop", "web"))?.version.clone()
    }

    #[test]
    fn a_write_stands_in_until_the_watch_moves_on() {
        let (mut world, key) = (World::new(None), ServiceKey::new("shop", "web"));
        let see = |world: &mut World, of| world.see_services(Seen::Applied(of), NOW);
        see(&mut world, service("1", "a"));
        world.wrote(&key, "1", &service("2", "a"), NOW);
        assert_eq!(version(&world).unwrap(), "2");
        world.wrote(&key, "2", &service("3", "a"), NOW);
        see(&mut world, service("1", "a"));
        see(&mut world, service("2", "a"));
        assert_eq!(version(&world).unwrap(), "3", "the watch is behind");
        world.see_services(Seen::Listed(vec![service("1", "a")]), NOW);
        assert_eq!(version(&world).unwrap(), "3", "so is a list");
        see(&mut world, service("7", "a"));
        assert_eq!(version(&world).unwrap(), "7", "it is already further");
        world.wrote(&key, "6", &service("8", "a"), NOW);
        assert_eq!(version(&world).unwrap(), "7", "an old write says nothing new");
    }

    #[test]
    fn an_overtaken_service_is_frozen_until_the_watch_moves_on() {
        let (mut world, key) = (World::new(None), ServiceKey::new("shop", "web"));
        let see = |world: &mut World, of| world.see_services(Seen::Applied(of), NOW);
        see(&mut world, service("1", "a"));
        world.snapshot.frozen.insert(key.clone(), vec![]);
        assert!(world.overtaken(&key, "1"));
        see(&mut world, service("1", "a"));
        assert!(world.snapshot.frozen.contains_key(&key), "the watch is behind");
        see(&mut world, service("2", "a"));
        assert!(!world.snapshot.frozen.contains_key(&key));
        assert!(!world.overtaken(&key, "1"), "the watch has shown it already");
    }

    #[test]
    fn another_service_of_the_same_name_is_another_service() {
        let (mut world, key) = (World::new(None), ServiceKey::new("shop", "web"));
        world.see_services(Seen::Applied(service("1", "a")), NOW);
        world.wrote(&key, "1", &service("2", "a"), NOW);
        world.see_services(Seen::Applied(service("1", "b")), NOW);
        assert_eq!(version(&world).unwrap(), "1");
        world.see_services(Seen::Deleted(service("2", "a")), NOW);
        assert!(version(&world).is_some(), "the deletion is that of the one before");
        world.see_services(Seen::Listed(vec![]), NOW);
        assert_eq!(version(&world), None);
    }
}
