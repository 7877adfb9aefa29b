//! Which nodes have an endpoint of which Service.

use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use ferrolb_core::dense::DenseMap;
use ferrolb_core::election::Endpoints;
use ferrolb_core::few::Few;
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
    pub(crate) fn of(slice: &EndpointSlice) -> Self {
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
    of: DenseMap<Arc<ServiceKey>, Few<(Box<str>, Endpoints)>>,
    /// The hashes of all namespaces and names of slices: one that is not among them is not looked for. They have 64 bits, so that
    /// of ten thousand no two have the same, but for one cluster in hundreds of billions.
    names: HashSet<u64>,
    /// The names of nodes, each once.
    texts: BTreeSet<Arc<str>>,
    /// Where slices serve: most are like others.
    known: BTreeSet<Endpoints>,
}

impl Slices {
    /// Takes note; returns the Services whose endpoints may have changed. `shared` is the name of a Service as others keep it, if
    /// they do.
    pub(super) fn see<'a>(
        &mut self,
        seen: Seen<Slice>,
        shared: impl Fn(&ServiceKey) -> Option<&'a Arc<ServiceKey>>,
    ) -> BTreeSet<Arc<ServiceKey>> {
        let mut touched = BTreeSet::new();
        match seen {
            Seen::Listed(all) => {
                touched.extend(std::mem::take(self).of.into_keys());
                for slice in all {
                    self.apply(slice, &shared, &mut touched);
                }
            }
            Seen::Applied(slice) => self.apply(slice, &shared, &mut touched),
            Seen::Deleted(slice) => {
                self.remove(&slice.key, slice.service.as_ref(), &mut touched);
            }
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

    /// The name of a Service as it is kept, if it has slices.
    pub(super) fn key(&self, service: &ServiceKey) -> Option<&Arc<ServiceKey>> {
        self.of.get_key_value(service).map(|(key, _)| key)
    }

    fn apply<'a>(
        &mut self,
        slice: Slice,
        shared: impl Fn(&ServiceKey) -> Option<&'a Arc<ServiceKey>>,
        touched: &mut BTreeSet<Arc<ServiceKey>>,
    ) {
        let Slice { key: slice, service, serving } = slice;
        let known = service.as_ref().is_some_and(|service| self.has(service, slice.name()));
        if !known {
            self.remove(&slice, None, touched);
        }
        let Some(service) = service else { return };
        let nodes = serving;
        let mut serving = Endpoints::default();
        for node in nodes {
            let node = node.map(|node| self.text(&node));
            serving.add(node);
        }
        let serving = self.shared(serving);
        let key = self.key(&service).or_else(|| shared(&service)).cloned();
        let key = key.unwrap_or_else(|| Arc::new(service));
        let slices = self.of.or_default(key.clone());
        match slices.iter_mut().find(|(name, _)| **name == *slice.name()) {
            Some((_, known)) if *known == serving => return,
            Some((_, known)) => *known = serving,
            None => {
                slices.insert(usize::MAX, (slice.name().into(), serving));
                self.names.insert(hash(&slice));
            }
        }
        touched.insert(key);
    }

    fn has(&self, service: &ServiceKey, slice: &str) -> bool {
        self.of.get(service).is_some_and(|slices| slices.iter().any(|(name, _)| **name == *slice))
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

    /// Takes a slice from its Service, which is this one, unless it changed hands.
    fn remove(
        &mut self,
        slice: &ServiceKey,
        service: Option<&ServiceKey>,
        touched: &mut BTreeSet<Arc<ServiceKey>>,
    ) {
        if !self.names.contains(&hash(slice)) {
            return;
        }
        let by_name =
            service.filter(|service| self.has(service, slice.name())).and_then(|service| self.key(service));
        let owner = by_name.or_else(|| {
            // Somebody relabelled it, so it is looked for everywhere.
            let theirs = |service: &&Arc<ServiceKey>| {
                service.namespace() == slice.namespace() && self.has(service, slice.name())
            };
            self.of.keys().find(theirs)
        });
        let Some(owner) = owner.cloned() else { return };
        self.names.remove(&hash(slice));
        if let Some(slices) = self.of.get_mut(&owner) {
            slices.retain(|(name, _)| **name != *slice.name());
            if slices.is_empty() {
                self.of.remove(&owner);
            }
        }
        touched.insert(owner);
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

fn hash(slice: &ServiceKey) -> u64 {
    let mut hasher = DefaultHasher::new();
    slice.hash(&mut hasher);
    hasher.finish()
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

    fn key(name: &str) -> Arc<ServiceKey> {
        Arc::new(ServiceKey::new("shop", name))
    }

    fn web() -> Arc<ServiceKey> {
        key("web")
    }

    fn see(slices: &mut Slices, seen: Seen<Slice>) -> BTreeSet<Arc<ServiceKey>> {
        slices.see(seen, |_| None)
    }

    fn on(slices: &Slices, service: &ServiceKey) -> Vec<&'static str> {
        let endpoints = slices.endpoints(service);
        ["n1", "n2", "n3", "n4"].into_iter().filter(|node| endpoints.serve_on(node)).collect()
    }

    #[test]
    fn endpoints_are_summed_up_over_all_slices_of_a_service() {
        let mut slices = Slices::default();
        let not_ready = json!([{"nodeName": "n1"}, {"nodeName": "n2", "conditions": {"ready": false}}]);
        let touched = see(
            &mut slices,
            Seen::Listed(vec![
                slice("web-1", "web", &not_ready),
                slice("web-2", "web", &json!([{"nodeName": "n3"}])),
                slice("gone-1", "gone", &json!([{"nodeName": "n4"}])),
            ]),
        );
        assert_eq!(touched, [key("gone"), web()].into());
        assert_eq!(on(&slices, &web()), ["n1", "n3"]);
        assert_eq!(slices.endpoints(&ServiceKey::new("shop", "idle")), Endpoints::default());

        let one = slice("web-2", "web", &json!([{"nodeName": "n4"}]));
        assert_eq!(see(&mut slices, Seen::Applied(one.clone())), [web()].into());
        assert_eq!(on(&slices, &web()), ["n1", "n4"]);
        assert_eq!(see(&mut slices, Seen::Applied(one.clone())), [].into(), "nothing new");
        see(&mut slices, Seen::Deleted(one));
        assert_eq!(on(&slices, &web()), ["n1"]);
    }

    #[test]
    fn a_slice_may_change_hands_and_a_list_replaces_all() {
        let mut slices = Slices::default();
        let on_n1 = json!([{"nodeName": "n1"}]);
        see(&mut slices, Seen::Applied(slice("x", "web", &on_n1)));
        let other = key("other");
        assert_eq!(
            see(&mut slices, Seen::Applied(slice("x", "other", &on_n1))),
            [other.clone(), web()].into()
        );
        assert_eq!((on(&slices, &web()), on(&slices, &other)), (vec![], vec!["n1"]));
        assert_eq!(see(&mut slices, Seen::Applied(slice("x", "", &on_n1))), [other.clone()].into());
        assert_eq!(on(&slices, &other), [""; 0]);

        see(&mut slices, Seen::Applied(slice("x", "web", &on_n1)));
        assert_eq!(see(&mut slices, Seen::Listed(vec![])), [web()].into());
        assert!(slices.of.is_empty() && slices.names.is_empty());
    }

    #[test]
    fn a_slice_goes_by_whatever_label_it_goes_and_names_are_kept_once() {
        let on_n1 = json!([{"nodeName": "n1"}]);
        let elsewhere = Slice { key: ServiceKey::new("yard", "x"), ..slice("x", "web", &on_n1) };
        let mut slices = Slices::default();
        let ours = web();
        let shared = |service: &ServiceKey| Some(&ours).filter(|ours| ***ours == *service);
        slices.see(Seen::Listed(vec![slice("x", "web", &on_n1), slice("y", "web", &on_n1)]), shared);
        assert!(Arc::ptr_eq(slices.key(&ours).unwrap(), &ours));
        assert_eq!(
            see(&mut slices, Seen::Deleted(elsewhere)),
            [].into(),
            "of that name, in another namespace"
        );
        // Relabelled and deleted while the watch was away.
        assert_eq!(see(&mut slices, Seen::Deleted(slice("x", "other", &on_n1))), [web()].into());
        assert_eq!(see(&mut slices, Seen::Deleted(slice("x", "web", &on_n1))), [].into(), "once");
        assert_eq!(on(&slices, &ours), ["n1"]);
        assert_eq!(see(&mut slices, Seen::Deleted(slice("y", "web", &on_n1))), [web()].into());
        assert!(slices.of.is_empty() && slices.names.is_empty());
    }
}
