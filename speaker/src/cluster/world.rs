//! The cluster as this speaker knows it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ferrolb_core::announce::Cover;
use ferrolb_core::election::{Change, Contender, Elector, Node, Roster};
use ferrolb_core::service::ServiceKey;
use ferrolb_crds::view::Service;
use ferrolb_crds::{ConfigurationState, IPAddressPool, L2Advertisement};
use ferrolb_runtime::Seen;
use kube::ResourceExt;

use super::endpoints::{Slice, Slices};
use super::served::{Awaited, Question};

/// The condition by which a speaker says that its node's service proxy works, or not.
pub(crate) const PROXY_CONDITION: &str = ferrolb_crds::names::SERVICE_PROXY_HEALTHY;
/// The condition by which a speaker says that it has no key for hellos yet.
const KEY_CONDITION: &str = ferrolb_crds::names::HELLO_KEY_LOADED;
/// The label that names the node of a speaker's state.
const NODE_LABEL: &str = "metallb.io/node-name";

/// Something that a watch shows.
#[derive(Debug)]
pub enum Input {
    /// A Service, and what the election reads of it if it is ours.
    Services(Seen<(ServiceKey, Option<Contender>)>),
    /// A slice.
    Slices(Seen<Slice>),
    /// A node; `None` for one without a name.
    Nodes(Seen<Option<Node>>),
    /// A pool.
    Pools(Seen<IPAddressPool>),
    /// An advertisement.
    Advertisements(Seen<L2Advertisement>),
    /// What a speaker says of itself.
    States(Seen<ConfigurationState>),
    /// The service proxy of this node serves the endpoints here, or was asked for long enough: the answer to a [`Question`].
    Served(Arc<ServiceKey>, u64),
}

/// What this speaker makes of its configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// One line for each object that is not used.
    pub problems: BTreeSet<String>,
    /// The nodes that may announce: there, Ready.
    pub live_nodes: BTreeSet<String>,
}

/// The five kinds without which nothing is decided.
const KINDS: usize = 5;

/// Objects of one kind in core's words, or what is wrong with them.
type Read<T> = BTreeMap<String, Result<T, String>>;

/// All that the watches have shown.
#[derive(Debug)]
pub struct World {
    node: String,
    elector: Elector,
    slices: Slices,
    nodes: BTreeMap<String, Node>,
    pools: Read<ferrolb_core::pool::Pool>,
    advertisements: Read<ferrolb_core::advertisement::Advertisement>,
    /// The nodes that have a speaker, and what that one says of itself.
    speakers: BTreeMap<String, Says>,
    listed: BTreeSet<&'static str>,
    /// The Services whose endpoints on this node its proxy may not have yet, and what is to be asked about them.
    awaited: Awaited,
    questions: Vec<Question>,
    /// The problems that were logged.
    told: BTreeSet<String>,
}

/// What a speaker says of itself in its `ConfigurationState`.
#[derive(Clone, Copy, Debug, Default)]
struct Says {
    /// That traffic would end at its node.
    unfit: bool,
    /// That it has no key for hellos.
    keyless: bool,
}

/// What the election reads of a Service.
pub(crate) fn contender(service: &Service, lb_class: Option<&str>) -> (ServiceKey, Option<Contender>) {
    let key = ServiceKey::new(service.namespace().unwrap_or_default(), service.name_any());
    let core = service.to_core(lb_class);
    let contender =
        core.and_then(|core| Contender::of(core, service.metadata.uid.as_deref().unwrap_or_default()));
    let health_port = service.spec.health_check_node_port.unwrap_or_default();
    (key, contender.map(|contender| Contender { health_port, ..contender }))
}

impl World {
    /// One of the speaker on `node`, that knows nothing yet.
    pub fn new(node: String) -> Self {
        World {
            elector: Elector::default(),
            node,
            slices: Slices::default(),
            nodes: BTreeMap::new(),
            pools: Read::new(),
            advertisements: Read::new(),
            speakers: BTreeMap::new(),
            listed: BTreeSet::new(),
            awaited: Awaited::default(),
            questions: Vec::new(),
            told: BTreeSet::new(),
        }
    }

    /// Takes note of what a watch shows.
    pub fn handle(&mut self, input: Input) {
        match input {
            Input::Services(seen) => {
                self.list("services", &seen);
                self.see_services(seen);
            }
            Input::Slices(seen) => {
                self.list("endpointslices", &seen);
                for service in self.slices.see(seen, |service| self.elector.key(service)) {
                    self.set_endpoints(&service);
                }
            }
            Input::Nodes(seen) => {
                self.list("nodes", &seen);
                follow(&mut self.nodes, seen, |node| node.map(|node| (node.name.clone(), node)));
                self.set_nodes();
            }
            Input::Pools(seen) => {
                self.list("ipaddresspools", &seen);
                follow(&mut self.pools, seen, |pool| {
                    Some((pool.name_any(), pool.to_core().map_err(|why| why.to_string())))
                });
                let usable = self.pools.values().filter_map(|pool| pool.clone().ok()).collect();
                self.elector.set_pools(usable, self.pools.values().any(Result::is_err));
            }
            Input::Advertisements(seen) => {
                self.list("l2advertisements", &seen);
                follow(&mut self.advertisements, seen, |ad| {
                    Some((ad.name_any(), ad.to_core().map_err(|why| why.to_string())))
                });
                let usable = self.advertisements.values().filter_map(|ad| ad.clone().ok()).collect();
                self.elector.set_advertisements(usable);
            }
            Input::States(seen) => {
                self.see_states(seen);
                self.set_nodes();
            }
            Input::Served(service, number) => {
                if self.awaited.end(&service, number) {
                    self.elector.set_pending(&service, false);
                }
            }
        }
    }

    /// What is to be asked of this node's service proxy; each is to be answered by [`Input::Served`].
    pub fn questions(&mut self) -> Vec<Question> {
        std::mem::take(&mut self.questions)
    }

    /// Hands on where a Service's endpoints serve.
    ///
    /// 1. With `externalTrafficPolicy: Local`, where endpoints here are new and a node goes on serving that served before, this
    ///    node's proxy is asked whether it has them. Not with the first list: that proxy is no newer than this speaker.
    /// 2. Where none is here any more, or the traffic may go to any node, nothing is waited for.
    /// 3. Until the proxy has them the address is [pending](Elector::set_pending) here: this node answers where no other can.
    fn set_endpoints(&mut self, service: &Arc<ServiceKey>) {
        let now = self.slices.endpoints(service);
        let Some(known) = self.elector.service(service) else { return };
        let (local, port) = (known.local_traffic_only, known.health_port);
        let here = local && now.serve_on(&self.node);
        let before = self.elector.endpoints(service);
        let new = before.is_some_and(|before| !before.serve_on(&self.node) && before.meet(&now));
        if here && new && port != 0 && self.listed.len() == KINDS && !self.awaited.has(service) {
            let number = self.awaited.begin(service.clone());
            let node = self.nodes.get(&self.node);
            let addresses = node.map(|node| node.addresses.clone()).unwrap_or_default();
            self.questions.push(Question { service: service.clone(), number, port, addresses });
        }
        if !here {
            self.awaited.forget(service);
        }
        self.elector.set_endpoints(service, now);
        self.elector.set_pending(service, self.awaited.has(service));
    }

    fn list<T>(&mut self, kind: &'static str, seen: &Seen<T>) {
        if matches!(seen, Seen::Listed(_)) {
            self.listed.insert(kind);
        }
    }

    fn see_services(&mut self, seen: Seen<(ServiceKey, Option<Contender>)>) {
        match seen {
            Seen::Listed(all) => {
                let there: BTreeSet<&ServiceKey> = all.iter().map(|(key, _)| key).collect();
                let known = self.elector.services();
                let gone: Vec<_> = known.filter(|key| !there.contains(&***key)).cloned().collect();
                gone.iter().for_each(|key| self.forget(key));
                all.into_iter().for_each(|(key, service)| self.set_service(key, service));
            }
            Seen::Applied((key, service)) => self.set_service(key, service),
            Seen::Deleted((key, _)) => self.set_service(key, None),
            Seen::Failing => {}
        }
    }

    fn set_service(&mut self, key: ServiceKey, service: Option<Contender>) {
        // One name of each, wherever it was seen first.
        let known = self.elector.key(&key).or_else(|| self.slices.key(&key)).cloned();
        let key = known.unwrap_or_else(|| Arc::new(key));
        if service.is_none() {
            return self.forget(&key);
        }
        self.elector.set_service(&key, service);
        self.set_endpoints(&key);
    }

    /// It is none of ours any more.
    fn forget(&mut self, service: &Arc<ServiceKey>) {
        self.elector.set_service(service, None);
        self.awaited.forget(service);
    }

    fn see_states(&mut self, seen: Seen<ConfigurationState>) {
        let node = |state: &ConfigurationState| state.labels().get(NODE_LABEL).cloned();
        let denies = |state: &ConfigurationState, condition: &str| {
            let conditions = state.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|known| known.type_ == condition && known.status == "False")
        };
        let says = |state: &ConfigurationState| Says {
            unfit: denies(state, PROXY_CONDITION),
            keyless: denies(state, KEY_CONDITION),
        };
        follow(&mut self.speakers, seen, |state| Some((node(&state)?, says(&state))));
    }

    fn set_nodes(&mut self) {
        let nodes = self.nodes.values().map(|node| {
            let speaker = self.speakers.get(&node.name);
            let Says { unfit, keyless } = speaker.copied().unwrap_or_default();
            Node { unfit, keyless, speaker: speaker.is_some(), ..node.clone() }
        });
        self.elector.set_nodes(nodes.collect());
    }

    /// The nodes by number.
    pub fn roster(&self) -> Arc<Roster> {
        self.elector.roster().clone()
    }

    /// Whether this speaker's own node is on its way out.
    pub fn is_going(&self) -> bool {
        self.nodes.get(&self.node).is_some_and(|node| node.going)
    }

    /// What is different; `None` while too little is known to say.
    pub fn update(&mut self) -> Option<Vec<Change>> {
        if self.listed.len() < KINDS {
            return None;
        }
        self.tell_problems();
        Some(self.elector.update())
    }

    /// The prefixes that hold every address that a speaker may answer for.
    pub fn cover(&self) -> Cover {
        self.elector.cover()
    }

    /// What is wrong with objects, and which nodes there are.
    pub fn configuration(&self) -> Configuration {
        let live = self.nodes.values().filter(|node| node.ready).map(|node| node.name.clone());
        Configuration { problems: self.problems(), live_nodes: live.collect() }
    }

    /// One line for each object that is not used.
    fn problems(&self) -> BTreeSet<String> {
        fn of<'a, T>(kind: &'a str, read: &'a Read<T>) -> impl Iterator<Item = String> + 'a {
            read.iter().filter_map(move |(name, object)| {
                object.as_ref().err().map(|why| format!("{kind} {name:?} is not used: {why}"))
            })
        }
        of("IPAddressPool", &self.pools).chain(of("L2Advertisement", &self.advertisements)).collect()
    }

    /// Names each problem in the log once, and forgets what is mended. Without a Node of this speaker's name it never
    /// owns anything.
    fn tell_problems(&mut self) {
        let mut now = self.problems();
        if !self.nodes.contains_key(&self.node) {
            now.insert(format!(
                "no Node is called {:?}, so this speaker announces nothing: set --node-name to this node's name in \
                 `kubectl get nodes`",
                self.node
            ));
        }
        for problem in now.difference(&self.told) {
            tracing::warn!("{problem}");
        }
        self.told = now;
    }
}

/// Keeps `known` equal to what a watch shows.
fn follow<K, T>(known: &mut BTreeMap<String, T>, seen: Seen<K>, read: impl Fn(K) -> Option<(String, T)>) {
    match seen {
        Seen::Listed(all) => *known = all.into_iter().filter_map(read).collect(),
        Seen::Applied(object) => known.extend(read(object)),
        Seen::Deleted(object) => {
            read(object).into_iter().for_each(|(name, _)| drop(known.remove(&name)));
        }
        Seen::Failing => {}
    }
}

#[cfg(test)]
mod tests;
