//! Which nodes have an endpoint of which Service.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ferrolb_core::election::Endpoints;
use ferrolb_core::service::ServiceKey;
use ferrolb_crds::view::EndpointSlice;
use ferrolb_runtime::Seen;

/// What is kept of an EndpointSlice.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// Its namespace and name.
    key: ServiceKey,
    /// The Service whose endpoints these are, in the same namespace; `None` for a slice that belongs to none.
    service: Option<ServiceKey>,
    /// For each endpoint that can serve, its node.
    serving: Vec<Option<Box<str>>>,
}

impl Slice {
    pub(super) fn of(slice: &EndpointSlice) -> Self {
        let namespace = slice.metadata.namespace.clone().unwrap_or_default();
        Slice {
            key: ServiceKey::new(namespace, slice.metadata.name.clone().unwrap_or_default()),
            service: slice.service(),
            serving: slice.serving_nodes().map(|node| node.map(Into::into)).collect(),
        }
    }
}

/// So many different sets of nodes are kept to be shared.
const KNOWN: usize = 1024;

/// All slices, by Service. There is one for each Service at least, so little is kept of each.
#[derive(Debug, Default)]
pub(super) struct Slices {
    /// Of each Service: the names of its slices, with where each serves.
    of: BTreeMap<Arc<ServiceKey>, Vec<(Arc<str>, Endpoints)>>,
    /// The Service of each slice, by namespace and name: a slice may change hands.
    owners: HashMap<(Arc<str>, Arc<str>), Arc<ServiceKey>>,
    /// Namespaces, nodes and the like, each text once.
    texts: BTreeSet<Arc<str>>,
    /// Where slices serve: most are like others.
    known: BTreeSet<Endpoints>,
}

impl Slices {
    /// Takes note; returns the Services whose endpoints may have changed.
    pub(super) fn see(&mut self, seen: Seen<Slice>) -> BTreeSet<ServiceKey> {
        let mut touched = BTreeSet::new();
        match seen {
            Seen::Listed(all) => {
                let before = std::mem::take(self).of;
                touched.extend(before.into_keys().map(|key| (*key).clone()));
                for slice in all {
                    self.apply(slice, &mut touched);
                }
            }
            Seen::Applied(slice) => self.apply(slice, &mut touched),
            Seen::Deleted(slice) => self.remove(&slice.key, &mut touched),
            Seen::Failing => {}
        }
        touched
    }

    /// Where the Service's endpoints serve, over all its slices.
    pub(super) fn endpoints(&self, service: &ServiceKey) -> Endpoints {
        let mut all = Endpoints::default();
        self.of.get(service).into_iter().flatten().for_each(|(_, serving)| all.merge(serving));
        all
    }

    fn apply(&mut self, slice: Slice, touched: &mut BTreeSet<ServiceKey>) {
        let owner = self.owner(&slice.key);
        if owner.as_deref() != slice.service.as_ref() {
            self.remove(&slice.key, touched);
        }
        let Some(service) = slice.service else { return };
        let mut serving = Endpoints::default();
        for node in slice.serving {
            let node = node.map(|node| self.text(&node));
            serving.add(node);
        }
        let serving = self.shared(serving);
        let (name, key) = match owner.filter(|owner| **owner == service) {
            Some(owner) => (slice.key.name.as_str().into(), owner),
            None => {
                let known = self.of.get_key_value(&service).map(|(key, _)| key.clone());
                let key = known.unwrap_or_else(|| Arc::new(service.clone()));
                let name: Arc<str> = slice.key.name.as_str().into();
                let id = (self.text(&slice.key.namespace), name.clone());
                self.owners.insert(id, key.clone());
                (name, key)
            }
        };
        let slices = self.of.entry(key).or_default();
        match slices.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) if *known == serving => return,
            Some((_, known)) => *known = serving,
            None => {
                slices.reserve_exact(1);
                slices.push((name, serving));
            }
        }
        touched.insert(service);
    }

    /// The same as it is kept already, if it is.
    fn shared(&mut self, serving: Endpoints) -> Endpoints {
        match self.known.get(&serving) {
            Some(known) => known.clone(),
            None => {
                if self.known.len() < KNOWN {
                    self.known.insert(serving.clone());
                }
                serving
            }
        }
    }

    fn remove(&mut self, slice: &ServiceKey, touched: &mut BTreeSet<ServiceKey>) {
        let Some(service) = self.owner(slice) else { return };
        self.owners.remove(&id(slice));
        if let Some(slices) = self.of.get_mut(&service) {
            slices.retain(|(name, _)| **name != *slice.name);
            if slices.is_empty() {
                self.of.remove(&service);
            }
        }
        touched.insert((*service).clone());
    }

    /// The Service of a slice that is known.
    fn owner(&self, slice: &ServiceKey) -> Option<Arc<ServiceKey>> {
        self.owners.get(&id(slice)).cloned()
    }

    /// The same text as it is kept already, if it is. Those that nobody uses any more stay: there are few.
    fn text(&mut self, text: &str) -> Arc<str> {
        match self.texts.get(text) {
            Some(known) => known.clone(),
            None => {
                let new: Arc<str> = text.into();
                self.texts.insert(new.clone());
                new
            }
        }
    }
}

fn id(slice: &ServiceKey) -> (Arc<str>, Arc<str>) {
    (slice.namespace.as_str().into(), slice.name.as_str().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn slice(name: &str, of: &str, endpoints: &Value) -> Slice {
        Slice::of(
            &serde_json::from_value(json!({
                "metadata": {
                    "name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": of},
                },
                "endpoints": endpoints,
            }))
            .unwrap(),
        )
    }

    fn web() -> ServiceKey {
        ServiceKey::new("shop", "web")
    }

    fn on(slices: &Slices, service: &ServiceKey) -> Vec<&'static str> {
        let endpoints = slices.endpoints(service);
        ["n1", "n2", "n3", "n4"].into_iter().filter(|node| endpoints.serve_on(node)).collect()
    }

    #[test]
    fn endpoints_are_summed_up_over_all_slices_of_a_service() {
        let mut slices = Slices::default();
        let not_ready = json!([{"nodeName": "n1"}, {"nodeName": "n2", "conditions": {"ready": false}}]);
        let touched = slices.see(Seen::Listed(vec![
            slice("web-1", "web", &not_ready),
            slice("web-2", "web", &json!([{"nodeName": "n3"}])),
            slice("gone-1", "gone", &json!([{"nodeName": "n4"}])),
        ]));
        assert_eq!(touched, [ServiceKey::new("shop", "gone"), web()].into());
        assert_eq!(on(&slices, &web()), ["n1", "n3"]);
        assert_eq!(slices.endpoints(&ServiceKey::new("shop", "idle")), Endpoints::default());

        let one = slice("web-2", "web", &json!([{"nodeName": "n4"}]));
        assert_eq!(slices.see(Seen::Applied(one.clone())), [web()].into());
        assert_eq!(on(&slices, &web()), ["n1", "n4"]);
        assert_eq!(slices.see(Seen::Applied(one.clone())), [].into(), "nothing new");
        slices.see(Seen::Deleted(one));
        assert_eq!(on(&slices, &web()), ["n1"]);
    }

    #[test]
    fn a_slice_may_change_hands_and_a_list_replaces_all() {
        let mut slices = Slices::default();
        let on_n1 = json!([{"nodeName": "n1"}]);
        slices.see(Seen::Applied(slice("x", "web", &on_n1)));
        let other = ServiceKey::new("shop", "other");
        assert_eq!(slices.see(Seen::Applied(slice("x", "other", &on_n1))), [other.clone(), web()].into());
        assert_eq!((on(&slices, &web()), on(&slices, &other)), (vec![], vec!["n1"]));
        assert_eq!(slices.see(Seen::Applied(slice("x", "", &on_n1))), [other.clone()].into());
        assert_eq!(on(&slices, &other), [""; 0]);

        slices.see(Seen::Applied(slice("x", "web", &on_n1)));
        assert_eq!(slices.see(Seen::Listed(vec![])), [web()].into());
        assert!(slices.of.is_empty() && slices.owners.is_empty());
    }
}
