//! What there is to show, made of a [`Look`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrolb_core::election::Nobody;
use ferrolb_core::net::Family;
use ferrolb_core::service::ServiceKey;
use serde::Serialize;

use crate::look::{Announced, Candidates, Look, Pod, Pools};
use crate::migrate::Product;

/// A cluster at a glance.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// FerroLB's namespace.
    pub namespace: String,
    /// The program that gives addresses.
    pub controller: Controller,
    /// Pools by name.
    pub pools: Vec<Pool>,
    /// Services that FerroLB serves, by name.
    pub services: Vec<Service>,
    /// Nodes by name.
    pub nodes: Vec<Node>,
    /// How many there are of what.
    pub counts: Counts,
    /// What is wrong beside single objects.
    pub problems: Vec<String>,
    /// What could not be read.
    pub unread: Vec<String>,
}

/// The controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Controller {
    /// How many pods of it are ready.
    pub ready: usize,
    /// How many there should be.
    pub wanted: usize,
    /// Its image.
    pub image: String,
}

/// A pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Its addresses as written.
    pub addresses: Vec<String>,
    /// Of each family that it has.
    pub usage: Vec<Usage>,
    /// Whether Services get addresses of it that do not ask for it.
    pub auto_assign: bool,
    /// Why it is not used; empty if it is.
    pub problem: String,
}

/// How full a pool is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// Addresses that Services have.
    pub used: u128,
    /// All that can be given.
    pub size: u128,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The addresses that its status shows.
    pub addresses: Vec<IpAddr>,
    /// The pool of the first.
    pub pool: String,
    /// Who announces it, and where.
    pub owners: Vec<Owner>,
    /// How it stands.
    pub state: State,
    /// The stable name of why, where something is wrong.
    pub reason: String,
    /// Why, in words.
    pub message: String,
}

/// A node that announces a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// The node.
    pub node: String,
    /// The links; all for an empty list.
    pub interfaces: Vec<String>,
}

/// How a Service stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum State {
    /// It has no address.
    Pending,
    /// It has one that nobody announces.
    NotAnnounced,
    /// Another host has its address.
    Conflict,
    /// It is announced.
    Announced,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Whether it is `Ready`.
    pub ready: bool,
    /// Whether it is kept from announcing by its label, or by what it runs.
    pub excluded: bool,
    /// Whether its speaker is ready.
    pub speaker: bool,
    /// Why not; or what is wrong all the same.
    pub problem: String,
    /// `Healthy`, `Unhealthy`, or `Unknown`: what the speaker says of the service proxy.
    pub proxy: String,
    /// How many Services it announces.
    pub announces: usize,
    /// Its links; empty where the speaker was not asked, or did not answer.
    pub links: Vec<Link>,
    /// Why there are none.
    pub untold: String,
}

/// A link of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its Ethernet address.
    pub mac: String,
    /// How many addresses are answered for on it.
    pub owned: usize,
    /// The nodes whose hellos count.
    pub hears: Vec<String>,
    /// Those of them that are heard by UDP only.
    pub by_udp: Vec<String>,
    /// Those that should be heard and are not.
    pub unheard: Vec<String>,
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Services of FerroLB.
    pub services: usize,
    /// Those of them that are announced, without a conflict.
    pub announced: usize,
    /// Those without an address.
    pub pending: usize,
    /// Those whose addresses nobody announces.
    pub not_announced: usize,
    /// Those whose address another host has.
    pub conflicts: usize,
    /// Services of another class.
    pub other_class: usize,
}

impl Status {
    /// What `look` shows.
    pub fn of(look: &Look) -> Self {
        let pools = Pools::of(&look.pools);
        let candidates = look.candidates();
        let services: Vec<Service> =
            look.ours().map(|(key, _)| service(look, &candidates, &pools, key)).collect();
        let count = |state| services.iter().filter(|service| service.state == state).count();
        let counts = Counts {
            services: services.len(),
            announced: count(State::Announced),
            pending: count(State::Pending),
            not_announced: count(State::NotAnnounced),
            conflicts: count(State::Conflict),
            other_class: look.services.len() - services.len(),
        };
        let wanted = look.workload(Product::FerrolbController);
        let controllers = || look.pods.iter().filter(|pod| !pod.speaker);
        let controller = Controller {
            ready: controllers().filter(|pod| pod.ready).count(),
            wanted: wanted.map_or(0, |it| usize::try_from(it.replicas).unwrap_or(0)),
            image: wanted.map_or_else(String::new, |it| it.image.clone()),
        };
        Status {
            namespace: look.namespace.clone(),
            problems: problems(look, &controller),
            controller,
            pools: usage(look, &pools),
            nodes: look.nodes.keys().map(|name| node(look, name)).collect(),
            services,
            counts,
            unread: look.unread.clone(),
        }
    }

    /// Whether nothing is wrong, as far as it could be read.
    pub fn is_well(&self) -> bool {
        self.problems.is_empty()
            && self.unread.is_empty()
            && self.counts.announced == self.counts.services
            && self.pools.iter().all(|pool| pool.problem.is_empty())
            && self.nodes.iter().all(|node| node.problem.is_empty())
    }
}

/// What is wrong with the programs themselves.
fn problems(look: &Look, controller: &Controller) -> Vec<String> {
    let mut problems = Vec::new();
    if look.workload(Product::FerrolbController).is_none() && look.unread.is_empty() {
        problems.push(format!("there is no controller of FerroLB in namespace {}", look.namespace));
    } else if controller.ready == 0 && controller.wanted > 0 {
        let why = look.pods.iter().find(|pod| !pod.speaker).map_or("it has no pod", |pod| pod.why.as_str());
        problems.push(format!("the controller is not ready, so no Service gets an address: {why}"));
    } else if controller.wanted == 0 && look.workload(Product::FerrolbController).is_some() {
        problems.push("the controller has no replicas, so no Service gets an address".to_owned());
    }
    if look.workload(Product::FerrolbSpeaker).is_none() && look.unread.is_empty() {
        problems.push(format!("there are no speakers of FerroLB in namespace {}", look.namespace));
    }
    problems
}

fn usage(look: &Look, pools: &Pools) -> Vec<Pool> {
    let mut used: BTreeMap<(&str, Family), BTreeSet<IpAddr>> = BTreeMap::new();
    for (_, service) in look.ours() {
        for address in &service.words.held {
            if let Some(name) = holder(pools, *address) {
                used.entry((name, Family::of(*address))).or_default().insert(*address);
            }
        }
    }
    let made = look.pools.iter().map(|object| {
        let name = object.metadata.name.clone().unwrap_or_default();
        let of = |family| {
            let pool = pools.usable.get(&name).filter(|pool| pool.has_family(family))?;
            let used = used.get(&(pool.name.as_str(), family)).map_or(0, |all| all.len() as u128);
            Some(Usage { family: family.to_string(), used, size: pool.size(family) })
        };
        Pool {
            addresses: object.spec.addresses.clone(),
            usage: [Family::V4, Family::V6].into_iter().filter_map(of).collect(),
            auto_assign: object.spec.auto_assign,
            problem: pools.unusable.get(&name).cloned().unwrap_or_default(),
            name,
        }
    });
    made.collect()
}

fn holder(pools: &Pools, address: IpAddr) -> Option<&str> {
    let has = |pool: &&ferrolb_core::pool::Pool| pool.ranges.iter().any(|range| range.contains(address));
    pools.usable.values().find(has).map(|pool| pool.name.as_str())
}

fn service(look: &Look, candidates: &Candidates, pools: &Pools, key: &ServiceKey) -> Service {
    let seen = &look.services[key];
    let announced = look.announced.get(key).map_or(&[][..], Vec::as_slice);
    let pool = seen.words.held.first().and_then(|address| holder(pools, *address)).unwrap_or_default();
    let (state, reason, message) = stands(look, candidates, key, announced);
    let owner = |by: &Announced| Owner { node: by.node.clone(), interfaces: by.interfaces.clone() };
    Service {
        namespace: key.namespace().to_owned(),
        name: key.name().to_owned(),
        addresses: seen.words.held.clone(),
        pool: pool.to_owned(),
        owners: announced.iter().filter(|by| !by.held_back).map(owner).collect(),
        state,
        reason,
        message,
    }
}

/// How a Service stands, the name of why, and why: the first of these that is so.
fn stands(
    look: &Look,
    candidates: &Candidates,
    key: &ServiceKey,
    announced: &[Announced],
) -> (State, String, String) {
    let seen = &look.services[key];
    if seen.words.held.is_empty() {
        return match &seen.assigned {
            Some(condition) => (State::Pending, condition.reason.clone(), condition.message.clone()),
            None => {
                let why = "no controller has looked at it yet";
                (State::Pending, "NotSeen".to_owned(), why.to_owned())
            }
        };
    }
    let said = announced.iter().find_map(|by| by.conflict.clone());
    let conflict = said.or_else(|| seen.conflict.as_ref().map(|condition| condition.message.clone()));
    if let Some(words) = conflict {
        return (State::Conflict, "AddressConflict".to_owned(), words);
    }
    let gone = |by: &&Announced| !look.nodes.is_empty() && !look.nodes.contains_key(&by.node);
    if !announced.is_empty() && !announced.iter().all(|by| gone(&by)) {
        return (State::Announced, String::new(), String::new());
    }
    let (reason, message) = match candidates.ranking(look, key) {
        Some(Ok(ranking)) => {
            let node = &ranking.owner().name;
            let speaker = look.speakers().find(|pod| pod.node == *node);
            ("NotTold".to_owned(), not_told(node, speaker))
        }
        Some(Err(why)) => (name(why).to_owned(), format!("it {why}")),
        None => ("NotTold".to_owned(), "no speaker says that it announces it".to_owned()),
    };
    (State::NotAnnounced, reason, message)
}

fn not_told(node: &str, speaker: Option<&Pod>) -> String {
    match speaker {
        None => format!("node {node} is the first that may announce it, and has no speaker"),
        Some(pod) if !pod.ready => {
            format!("node {node} is the first that may announce it; its speaker is not ready: {}", pod.why)
        }
        Some(_) => format!(
            "node {node} is the first that may announce it, and does not say that it does: has it the interfaces that its \
             L2Advertisements name?"
        ),
    }
}

/// A stable name for programs.
pub(crate) fn name(why: Nobody) -> &'static str {
    match why {
        Nobody::NoAddress => "NoAddress",
        Nobody::UnreadableStatus => "UnreadableStatus",
        Nobody::NoPool => "AddressInNoPool",
        Nobody::NoEndpoint => "NoEndpoint",
        Nobody::NotAdvertised => "NotAdvertised",
        Nobody::NoNodeSelected => "NoNodeSelected",
        Nobody::AllExcluded => "AllNodesExcluded",
        Nobody::NoNetwork => "NetworkUnavailable",
        Nobody::NoLocalEndpoint => "NoLocalEndpoint",
    }
}

fn node(look: &Look, name: &str) -> Node {
    let object = &look.nodes[name];
    let excluded = object.to_core(false).is_some_and(|words| words.excluded);
    let pod = look.speakers().find(|pod| pod.node == name);
    let mine = |all: &&Vec<Announced>| all.iter().any(|by| by.node == name && !by.held_back);
    let mut shown = Node {
        name: name.to_owned(),
        ready: object.ready(),
        excluded,
        speaker: pod.is_some_and(|pod| pod.ready),
        proxy: proxy(look, name).to_owned(),
        announces: look.announced.values().filter(mine).count(),
        ..Node::default()
    };
    match look.told.get(name) {
        Some(Ok(told)) => shown.links = told.links.iter().map(link).collect(),
        Some(Err(why)) => shown.untold = why.clone(),
        None => {}
    }
    let unheard: Vec<String> = shown
        .links
        .iter()
        .filter(|link| !link.unheard.is_empty())
        .map(|link| format!("on {} it does not hear {}", link.name, link.unheard.join(", ")))
        .collect();
    shown.problem = if !object.ready() {
        "the node is not Ready".to_owned()
    } else if let Some(pod) = pod.filter(|pod| !pod.ready) {
        format!("its speaker is not ready: {}", pod.why)
    } else if pod.is_none() && !excluded && look.workload(Product::FerrolbSpeaker).is_some() {
        "it has no speaker".to_owned()
    } else if let Some(why) = look.sick_proxy(name) {
        format!("its service proxy fails: {why}")
    } else {
        unheard.join("; ")
    };
    shown
}

fn proxy(look: &Look, node: &str) -> &'static str {
    let state = look.state(node).and_then(|state| state.status.as_ref());
    let conditions = state.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let said = conditions.iter().find(|it| it.type_ == ferrolb_crds::names::SERVICE_PROXY_HEALTHY);
    match said.map(|condition| condition.status.as_str()) {
        Some("True") => "Healthy",
        Some("False") => "Unhealthy",
        _ => "Unknown",
    }
}

fn link(told: &ferrolb_crds::admin::Link) -> Link {
    let counting = || told.peers.iter().filter(|peer| peer.counts);
    let names = |peers: &mut dyn Iterator<Item = &ferrolb_crds::admin::Peer>| -> Vec<String> {
        let names: BTreeSet<String> = peers.map(|peer| peer.node.clone()).collect();
        names.into_iter().collect()
    };
    Link {
        name: told.name.clone(),
        mac: told.mac.clone(),
        owned: told.owned,
        hears: names(&mut counting()),
        by_udp: names(&mut counting().filter(|peer| peer.udp)),
        unheard: told.unheard.clone(),
    }
}
