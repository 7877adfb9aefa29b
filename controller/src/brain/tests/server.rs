//! A store with compare-and-swap and a history, and what is checked at each of its writes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ferrolb_core::lease::{Answer, Claim, Record};
use ferrolb_core::service::{Role, Service as Words, ServiceKey};
use ferrolb_crds::view::Service;
use ferrolb_crds::{IPAddressPool, names};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::super::Write;
use super::super::world::key_of;

/// The API server, as far as two controllers and their users need it.
#[derive(Debug, Default)]
pub(super) struct Server {
    version: u64,
    pub(super) services: BTreeMap<ServiceKey, Service>,
    /// Every change in order: the object, or `None` and the last object for a deletion.
    pub(super) history: Vec<(Service, bool)>,
    pub(super) lease: Option<Record>,
    /// Every state of the Lease, in order.
    pub(super) leases: Vec<Record>,
    pub(super) pools: Vec<IPAddressPool>,
    holders: BTreeMap<IpAddr, BTreeSet<ServiceKey>>,
    /// Services whose terms of sharing a user changed while they had an address, and no controller has seen it yet.
    /// They may clash with others by that, and give way.
    changed: BTreeSet<ServiceKey>,
    /// What went wrong.
    pub(super) faults: Vec<String>,
    pub(super) writes: u64,
}

impl Server {
    pub(super) fn with_pools(pools: Vec<IPAddressPool>) -> Self {
        Server { pools, ..Server::default() }
    }

    fn commit(&mut self, mut service: Service, by: &str) -> Service {
        self.version += 1;
        service.metadata.resource_version = Some(self.version.to_string());
        let key = key_of(&service);
        let words = words(&service);
        let before = self.services.get(&key).map(words_of).unwrap_or_default();
        for address in before.difference(&words_of(&service)) {
            let holders = self.holders.entry(*address).or_default();
            holders.remove(&key);
            // Of two that clash because of a change one has to give way. It may be the other one, if what was changed
            // was changed back meanwhile.
            let mut others = holders.iter().filter(|other| self.changed.contains(*other));
            let gives_way =
                self.changed.contains(&key) || others.any(|other| clash(&words, self.services.get(other)));
            if words.role == Role::Ours && !gives_way {
                self.faults.push(format!("{by} took {address} from {key} (version {})", self.version));
            }
        }
        for address in &words.held {
            let keys = self.holders.entry(*address).or_default();
            if keys.insert(key.clone()) {
                for other in keys.iter().filter(|other| **other != key && !self.changed.contains(other)) {
                    if clash(&words, self.services.get(other)) {
                        self.faults.push(format!(
                            "{by} gave {address} to {key}, but {other} has it (version {})",
                            self.version
                        ));
                    }
                }
            }
        }
        if words.held.is_empty() {
            self.changed.remove(&key);
        }
        self.services.insert(key, service.clone());
        self.history.push((service.clone(), false));
        service
    }

    /// A user creates a Service.
    pub(super) fn create(&mut self, name: &str, created: i64, extra: &Value) {
        let mut object = json!({
            "metadata": {
                "name": name, "namespace": "default", "uid": format!("{name}-{}", self.version),
                "creationTimestamp": super::super::notes::rfc3339(created), "annotations": {},
            },
            "spec": { "type": "LoadBalancer", "clusterIPs": ["10.96.0.1"] },
        });
        merge(&mut object, extra);
        if let Ok(service) = serde_json::from_value(object) {
            self.commit(service, "a user");
        }
    }

    /// A user changes the type of a Service.
    pub(super) fn change_type(&mut self, key: &ServiceKey, kind: &str) {
        if let Some(mut service) = self.services.get(key).cloned() {
            service.spec.kind = Some(kind.to_owned());
            self.commit(service, "a user");
        }
    }

    /// A user changes the ports of a Service, or what it shares by.
    pub(super) fn change_terms(&mut self, key: &ServiceKey, port: usize, shares: bool) {
        let Some(mut service) = self.services.get(key).cloned() else { return };
        let annotations = service.metadata.annotations.get_or_insert_default();
        if shares {
            annotations.insert("metallb.io/allow-shared-ip".into(), "k".into());
        } else {
            annotations.remove("metallb.io/allow-shared-ip");
        }
        service.spec.ports = serde_json::from_value(json!([{ "port": port }])).expect("ports");
        if !words(&service).held.is_empty() {
            self.changed.insert(key.clone());
        }
        self.commit(service, "a user");
    }

    /// A user touches a label, so that the version moves.
    pub(super) fn relabel(&mut self, key: &ServiceKey) {
        if let Some(mut service) = self.services.get(key).cloned() {
            let version = self.version.to_string();
            service.metadata.labels.get_or_insert_default().insert("seen".into(), version);
            self.commit(service, "a user");
        }
    }

    /// A user deletes a Service.
    pub(super) fn delete(&mut self, key: &ServiceKey) {
        self.changed.remove(key);
        if let Some(mut service) = self.services.remove(key) {
            for address in words_of(&service) {
                if let Some(keys) = self.holders.get_mut(&address) {
                    keys.remove(key);
                }
            }
            self.version += 1;
            service.metadata.resource_version = Some(self.version.to_string());
            self.history.push((service, true));
        }
    }

    /// A controller's write arrives: `Ok` and the object, or `Err` if the version is another one by now.
    pub(super) fn write(&mut self, write: &Write, by: &str) -> Result<Arc<Service>, ()> {
        let Some(mut service) = self.services.get(&write.key).cloned() else { return Err(()) };
        if service.resource_version().as_ref() != Some(&write.based_on)
            || service.uid().as_ref() != Some(&write.uid)
        {
            return Err(());
        }
        self.writes += 1;
        if let Some(ingress) = &write.ingress {
            service.status.load_balancer.ingress.clone_from(ingress);
        }
        if let Some(condition) = &write.condition {
            service.status.conditions.assigned.clone_from(condition);
        }
        let annotations = service.metadata.annotations.get_or_insert_default();
        for (name, value) in &write.annotations {
            match value {
                Some(value) => annotations.insert((*name).to_owned(), value.clone()),
                None => annotations.remove(*name),
            };
        }
        let service = self.commit(service, by);
        // As long as it clashes with another that was changed too, it is open which of them gives way.
        if write.annotations.contains_key(names::SHARING_TERMS) && !self.clashes(&write.key, &service) {
            self.changed.remove(&write.key);
        }
        Ok(Arc::new(service))
    }

    /// Whether another Service has an address of this one, and may not share it.
    fn clashes(&self, key: &ServiceKey, service: &Service) -> bool {
        let words = words(service);
        let others = words.held.iter().flat_map(|address| self.holders.get(address).into_iter().flatten());
        others.filter(|other| *other != key).any(|other| clash(&words, self.services.get(other)))
    }

    /// A claim of the Lease arrives.
    pub(super) fn claim(&mut self, claim: &Claim) -> Answer {
        if claim.replaces != self.lease.as_ref().map(|record| record.version.clone()) {
            return Answer::Lost;
        }
        self.version += 1;
        let record = Record {
            holder: claim.holder.clone(),
            duration: claim.duration,
            transitions: claim.transitions,
            version: self.version.to_string(),
        };
        self.lease = Some(record.clone());
        self.leases.push(record.clone());
        Answer::Done(record)
    }
}

/// Whether these two may not share an address.
fn clash(words: &Words, other: Option<&Service>) -> bool {
    let other = other.map(self::words);
    let theirs = other.as_ref().and_then(|other| other.sharing.as_ref());
    words.sharing.as_ref().is_none_or(|sharing| sharing.with(theirs).is_err())
}

fn words(service: &Service) -> Words {
    service.to_core(None).expect("it has a name")
}

fn words_of(service: &Service) -> BTreeSet<IpAddr> {
    words(service).held.into_iter().collect()
}

fn merge(into: &mut Value, extra: &Value) {
    match (into, extra) {
        (Value::Object(into), Value::Object(extra)) => {
            for (key, value) in extra {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, extra) => *into = extra.clone(),
    }
}
