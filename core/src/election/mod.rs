//! Who answers for an address.
//!
//! Every speaker computes the owner alone, from what the API server shows, and all come to the same one:
//! the result depends on nothing else, not even on the order of the input. The order among eligible nodes
//! is MetalLB's, so a cluster that changes over keeps every address where it is.
//!
//! ```text
//!  Snapshot ──► decide ──► Outcome ──► desired(me): what this node answers for
//!                 │
//!                 └─ for each Service: its owner among the eligible nodes, or Nobody (why)
//!
//!  elect: the same for one Service, with all its eligible nodes in order (Ranking)
//!  Elector: of each address, who may answer for it and in which order (Contest), kept up to date as single objects
//!           change
//! ```
//!
//! Which of those that may is the owner on a link, speakers settle by hearing each other ([`crate::ownership`]). Where they
//! hear nobody, the API is the only witness of a node's health, and so a node that is not `Ready` is not elected. That
//! is what [`decide`] and [`Contest::owner_by_api`] say. Where no node left is `Ready`, though, readiness tells nothing
//! about which of them works (a single node whose kubelet has a hiccup still serves), and silence would help nobody: then
//! all of them count.

mod contender;
mod contest;
mod elector;
mod node;
mod outcome;
mod uid;

use std::cell::OnceCell;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use sha2::{Digest, Sha256};

use crate::advertisement::Advertisement;
use crate::pool::Pool;

pub use contender::Contender;
pub use contest::{Contest, Member, NodeId, Roster};
pub use elector::{Change, Elector, Lost};
pub use node::{Endpoints, Node};
pub use outcome::{Announcement, Candidate, Holder, Outcome, Owner, Snapshot, decide};
pub use uid::Uid;

/// The links on which an address is announced.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Interfaces {
    /// All links that the speaker uses at all.
    All,
    /// Those with exactly these names.
    Only(BTreeSet<String>),
}

impl Interfaces {
    /// Whether a link of this name is meant.
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Interfaces::All => true,
            Interfaces::Only(names) => names.contains(name),
        }
    }

    /// What either of the two means.
    pub fn union(self, other: Interfaces) -> Interfaces {
        match (self, other) {
            (Interfaces::Only(mut mine), Interfaces::Only(more)) => {
                mine.extend(more);
                Interfaces::Only(mine)
            }
            _ => Interfaces::All,
        }
    }
}

/// Why nobody answers for a Service's addresses. The text ends a sentence that begins with the Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Nobody {
    /// Its status has no address yet.
    NoAddress,
    /// Its status has an entry that is no address, or two of one family.
    UnreadableStatus,
    /// Its addresses do not all lie in one `IPAddressPool`.
    NoPool,
    /// No endpoint serves, on whatever node.
    NoEndpoint,
    /// No `L2Advertisement` speaks of its pool and of its labels.
    NotAdvertised,
    /// The advertisements' `nodeSelectors` match no node.
    NoNodeSelected,
    /// Each node left bears the label `node.kubernetes.io/exclude-from-external-load-balancers`.
    AllExcluded,
    /// Each node left has the condition `NetworkUnavailable`.
    NoNetwork,
    /// `externalTrafficPolicy: Local`, and no node left has a serving endpoint.
    NoLocalEndpoint,
}

impl fmt::Display for Nobody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Nobody::NoAddress => "has no address yet",
            Nobody::UnreadableStatus => "has a status with entries that are no addresses, or two of one family",
            Nobody::NoPool => "has addresses that do not all lie in one IPAddressPool",
            Nobody::NoEndpoint => "has no serving endpoint",
            Nobody::NotAdvertised => "is spoken of by no L2Advertisement (ipAddressPools, serviceSelectors)",
            Nobody::NoNodeSelected => "has advertisements whose nodeSelectors match no node",
            Nobody::AllExcluded => {
                "could go to excluded nodes only (label node.kubernetes.io/exclude-from-external-load-balancers)"
            }
            Nobody::NoNetwork => "could go to nodes with NetworkUnavailable only",
            Nobody::NoLocalEndpoint => {
                "has externalTrafficPolicy Local and no serving endpoint on a node that may announce it"
            }
        })
    }
}

/// The nodes that may answer for a Service, best first. There is at least one.
#[derive(Clone, Debug)]
pub struct Ranking<'a> {
    nodes: Vec<&'a Node>,
    advertisements: Vec<&'a Advertisement>,
}

impl<'a> Ranking<'a> {
    /// The node that answers.
    pub fn owner(&self) -> &'a Node {
        self.nodes[0]
    }

    /// All eligible nodes in order, the owner first.
    pub fn nodes(&self) -> &[&'a Node] {
        &self.nodes
    }

    /// How much `node` is preferred: the sum of the matching weights of all advertisements that select it.
    pub fn preference(&self, node: &Node) -> u64 {
        preference(node, &self.advertisements)
    }

    /// The links on which `node` announces: the union over the advertisements that select it, where one
    /// without `interfaces` means all. `None` when no advertisement selects the node.
    pub fn interfaces(&self, node: &Node) -> Option<Interfaces> {
        interfaces(node, &self.advertisements)
    }
}

/// The links on which `node` announces by these advertisements; see [`Ranking::interfaces`].
fn interfaces(node: &Node, advertisements: &[&Advertisement]) -> Option<Interfaces> {
    advertisements
        .iter()
        .filter(|ad| ad.covers_node(&node.labels))
        .map(|ad| match ad.interfaces.is_empty() {
            true => Interfaces::All,
            false => Interfaces::Only(ad.interfaces.clone()),
        })
        .reduce(Interfaces::union)
}

/// The nodes that may answer for a Service, in order. Of the snapshot's Services only this one is read.
///
/// Eligibility, in the order of the lines below:
/// 1. its status has addresses, all readable, in one pool
///    (the pool's selectors are not asked again: whether the Service may have them is the controller's
///    question; nor is `spec.externalIPs`, which is never answered for);
/// 2. where no pool has any of them and pools are missing (none is known at all, or some cannot be read), the
///    pool is the one that the controller noted on the Service: the controller leaves such addresses alone
///    ([`crate::allocate::plan`]), so they must not fall silent either. Only then: whoever can write a Service's
///    status could else make nodes answer for any address;
/// 3. an endpoint serves, somewhere: else the address would lead nowhere;
/// 4. advertisements are those that speak of the pool and of the Service's labels; the labels of a pool that was
///    only noted are not known, so that they speak of it by its name, or of all pools;
/// 5. a node is selected by at least one of them;
/// 6. it does not bear the exclude label;
/// 7. its network is available;
/// 8. with `externalTrafficPolicy: Local`, an endpoint serves on it;
/// 9. it is `Ready`, if any node left is.
///
/// The order is: nodes whose speakers say that traffic would end there ([`Node::unfit`]) come last; then the higher
/// preference first (the sum of the matching weights over the advertisements that select the node), then SHA-256 of `node#address`, bytewise ascending, where the address is the
/// Service's first, as text. So a Service's two addresses go to one node, and so do Services that share
/// one. Equal hashes would need two nodes of one name.
///
/// # Errors
/// [`Nobody`] names the step after which no node was left.
pub fn elect<'a>(candidate: &Candidate, snapshot: &'a Snapshot) -> Result<Ranking<'a>, Nobody> {
    let Eligible { first, mut nodes, advertisements } =
        eligible(&candidate.service, &candidate.endpoints, snapshot)?;
    if nodes.iter().any(|node| node.ready) {
        nodes.retain(|node| node.ready);
    }
    let mut nodes = order(&nodes, &advertisements, first);
    nodes.sort_by_key(|node| node.unfit);
    Ok(Ranking { nodes, advertisements })
}

/// The nodes as MetalLB orders them: the higher preference first, then the hash.
fn order<'a>(nodes: &[&'a Node], advertisements: &[&Advertisement], first: IpAddr) -> Vec<&'a Node> {
    let mut nodes = nodes.to_vec();
    nodes.sort_by_cached_key(|node| (Reverse(preference(node, advertisements)), hash(&node.name, first)));
    nodes
}

/// What [`elect`] puts in order.
struct Eligible<'a> {
    /// The address that is hashed.
    first: IpAddr,
    /// At least one.
    nodes: Vec<&'a Node>,
    /// Those that speak of the Service.
    advertisements: Vec<&'a Advertisement>,
}

/// The steps of eligibility, which [`elect`] lists, but the last.
fn eligible<'a>(
    service: &Contender,
    endpoints: &Endpoints,
    snapshot: &'a Snapshot,
) -> Result<Eligible<'a>, Nobody> {
    let (pool, first) = held_pool(service, snapshot)?;
    if !endpoints.any() {
        return Err(Nobody::NoEndpoint);
    }
    let labels = OnceCell::new();
    let covers = |ad: &&Advertisement| {
        // Most advertisements have no selectors for Services, so their labels are seldom needed.
        let all = ad.service_selectors.is_empty();
        pool.is_covered_by(ad) && (all || ad.covers_service(labels.get_or_init(|| service.labels.unpack())))
    };
    let advertisements: Vec<_> = snapshot.advertisements.iter().filter(covers).collect();
    if advertisements.is_empty() {
        return Err(Nobody::NotAdvertised);
    }

    let mut nodes: Vec<&Node> = snapshot.nodes.iter().collect();
    let selected = |node: &Node| advertisements.iter().any(|ad| ad.covers_node(&node.labels));
    let local = |node: &Node| !service.local_traffic_only || endpoints.serve_on(&node.name);
    keep(&mut nodes, selected, Nobody::NoNodeSelected)?;
    keep(&mut nodes, |node| !node.excluded, Nobody::AllExcluded)?;
    keep(&mut nodes, |node| node.network_available, Nobody::NoNetwork)?;
    keep(&mut nodes, local, Nobody::NoLocalEndpoint)?;
    Ok(Eligible { first, nodes, advertisements })
}

/// The pool of a Service's addresses.
enum HeldPool<'a> {
    /// It holds them all.
    Known(&'a Pool),
    /// The controller noted this name; the pool itself cannot be read, or does not hold them as far as it can.
    Noted(&'a str),
}

impl HeldPool<'_> {
    fn is_covered_by(&self, ad: &Advertisement) -> bool {
        match self {
            HeldPool::Known(pool) => ad.covers_pool(pool),
            HeldPool::Noted(name) => {
                // An empty selector matches all labels; what another one makes of unknown labels, nobody can say.
                let all = ad.pools.is_empty() && ad.pool_selectors.is_empty()
                    || ad.pool_selectors.iter().any(|selector| selector.requirements.is_empty());
                all || ad.pools.contains(*name)
            }
        }
    }
}

/// The pool of all of the Service's addresses, and the first of them.
fn held_pool<'p>(service: &'p Contender, snapshot: &'p Snapshot) -> Result<(HeldPool<'p>, IpAddr), Nobody> {
    if service.held_is_broken {
        return Err(Nobody::UnreadableStatus);
    }
    let first = *service.held.first().ok_or(Nobody::NoAddress)?;
    let pools = &snapshot.pools;
    let contains = |pool: &Pool, held: &IpAddr| pool.ranges.iter().any(|range| range.contains(*held));
    let holds_all = |pool: &&Pool| service.held.iter().all(|held| contains(pool, held));
    // Pools that overlap are a mistake, but all speakers must read it alike.
    if let Some(pool) = pools.iter().filter(holds_all).min_by(|a, b| a.name.cmp(&b.name)) {
        return Ok((HeldPool::Known(pool), first));
    }
    let incomplete = pools.is_empty() || snapshot.some_pools_unusable;
    let known = |held: &IpAddr| pools.iter().any(|pool| contains(pool, held));
    match &service.allocated_from {
        Some(name) if incomplete && !service.held.iter().any(known) => Ok((HeldPool::Noted(name), first)),
        _ => Err(Nobody::NoPool),
    }
}

/// Keeps the nodes for which `test` holds; `otherwise` when none is left.
fn keep(nodes: &mut Vec<&Node>, test: impl Fn(&Node) -> bool, otherwise: Nobody) -> Result<(), Nobody> {
    nodes.retain(|node| test(node));
    if nodes.is_empty() { Err(otherwise) } else { Ok(()) }
}

/// How much the node is preferred, summed over the advertisements that select it.
fn preference(node: &Node, advertisements: &[&Advertisement]) -> u64 {
    let covering = advertisements.iter().filter(|ad| ad.covers_node(&node.labels));
    covering.map(|ad| u64::from(ad.preference(&node.labels))).sum()
}

/// What puts equally preferred nodes in order for one address: the lower comes first. All speakers know it, whatever the API
/// server shows them.
pub fn precedence(node: &str, address: IpAddr) -> [u8; 32] {
    hash(node, address)
}

/// What puts equally preferred nodes in order; equal to MetalLB's.
fn hash(node: &str, address: IpAddr) -> [u8; 32] {
    Sha256::digest(format!("{node}#{address}")).into()
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
