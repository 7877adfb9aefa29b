//! What was written and has not come back by the watch yet.
//!
//! A plan on a picture that lacks the controller's own last writes could give an address twice. So each
//! write's result stands in for the stored object until the watch has moved past the version that the
//! write was based on. Writes carry that version and fail if it is not the current one, so the first
//! version after it is the write itself: once the store shows any other version, it has caught up.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ferrolb_core::service::ServiceKey;
use ferrolb_crds::view::Service;
use kube::ResourceExt;

use crate::writes::Write;

/// The results of writes by Service.
#[derive(Clone, Debug, Default)]
pub struct Unseen {
    entries: BTreeMap<ServiceKey, Entry>,
}

#[derive(Clone, Debug)]
enum Entry {
    /// The object as it is after the write that was based on this version.
    Known { based_on: String, object: Arc<Service> },
    /// The server gave no clear answer: the write may or may not have been done, or may still be done.
    Uncertain(Write),
}

impl Unseen {
    /// The object is now `object`, after a write that was based on version `based_on`.
    pub fn known(&mut self, key: ServiceKey, based_on: String, object: Arc<Service>) {
        self.entries.insert(key, Entry::Known { based_on, object });
    }

    /// Whether `write` was done is not known. It is to be repeated, the same, until it is.
    pub fn uncertain(&mut self, write: Write) {
        self.entries.insert(write.key.clone(), Entry::Uncertain(write));
    }

    /// Nothing was written, or the object is gone.
    pub fn nothing(&mut self, key: &ServiceKey) {
        self.entries.remove(key);
    }

    /// The writes to repeat.
    pub fn to_repeat(&self) -> Vec<Write> {
        self.entries
            .values()
            .filter_map(|entry| match entry {
                Entry::Uncertain(write) => Some(write.clone()),
                Entry::Known { .. } => None,
            })
            .collect()
    }

    /// The addresses that a Service may have got by a write of unknown outcome; `None` if there is none.
    pub fn uncertain_addresses(&self, key: &ServiceKey) -> Option<Vec<IpAddr>> {
        match self.entries.get(key)? {
            Entry::Uncertain(write) => Some(write.addresses()),
            Entry::Known { .. } => None,
        }
    }

    /// Drops what concerns Services that are no longer there, or are others of the same name.
    pub fn forget_gone(&mut self, stored: &[Arc<Service>]) {
        if self.entries.is_empty() {
            return;
        }
        let there: BTreeMap<_, _> = stored.iter().map(|service| (key(service), service.uid())).collect();
        self.entries.retain(|key, entry| {
            let uid = match entry {
                Entry::Known { object, .. } => object.uid(),
                Entry::Uncertain(write) => Some(write.uid.clone()),
            };
            there.get(key).is_some_and(|now| *now == uid)
        });
    }

    /// The object as it stands in the API, as far as that is known: the stored one, or the result of a write
    /// that the store does not show yet.
    pub fn latest(&mut self, stored: Arc<Service>) -> Arc<Service> {
        let key = key(&stored);
        match self.entries.get(&key) {
            Some(Entry::Known { based_on, object })
                if stored.resource_version().as_ref() == Some(based_on) =>
            {
                object.clone()
            }
            Some(Entry::Known { .. }) => {
                self.entries.remove(&key);
                stored
            }
            Some(Entry::Uncertain(_)) | None => stored,
        }
    }
}

fn key(service: &Service) -> ServiceKey {
    ServiceKey::new(service.namespace().unwrap_or_default(), service.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(version: &str, uid: &str) -> Arc<Service> {
        let object =
            json!({"metadata": {"name": "web", "namespace": "shop", "resourceVersion": version, "uid": uid}});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn version(service: &Service) -> String {
        service.resource_version().unwrap()
    }

    #[test]
    fn a_write_stands_in_until_the_store_moves_on() {
        let mut unseen = Unseen::default();
        unseen.known(ServiceKey::new("shop", "web"), "1".into(), service("2", "a"));
        assert_eq!(version(&unseen.latest(service("1", "a"))), "2", "the store is behind");
        assert_eq!(version(&unseen.latest(service("2", "a"))), "2", "it has caught up");
        assert_eq!(version(&unseen.latest(service("1", "a"))), "1", "and the entry is gone");
        unseen.known(ServiceKey::new("shop", "web"), "2".into(), service("3", "a"));
        assert_eq!(version(&unseen.latest(service("7", "a"))), "7", "it is already further");
    }

    #[test]
    fn another_service_of_the_same_name_is_another_service() {
        let mut unseen = Unseen::default();
        unseen.known(ServiceKey::new("shop", "web"), "1".into(), service("2", "a"));
        unseen.forget_gone(&[service("1", "a")]);
        assert_eq!(version(&unseen.latest(service("1", "a"))), "2");
        unseen.forget_gone(&[service("1", "b")]);
        assert_eq!(version(&unseen.latest(service("1", "b"))), "1");
    }
}
