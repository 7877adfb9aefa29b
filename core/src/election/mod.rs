//! Who answers for an address.
//!
//! Every speaker computes the owner alone, from what the API server shows, and all come to the same one:
//! the result depends on nothing else, not even on the order of the input. The order among eligible nodes
//! is MetalLB's, so a cluster that changes over keeps every address where it is.
//!
//! ```text
//!  Snapshot ──► decide ──► Outcome ──► desired(me): what this node answers for
//!                 │
//!                 └─ elect, for each Service: Ranking (eligible nodes, owner first) or Nobody (why)
//! ```
//!
//! Until speakers hear each other, the API is the only witness of a node's health, and so a node that is
//! not `Ready` is not eligible. That is stricter than MetalLB, whose speakers watch each other instead. Where
//! no node left is `Ready`, though, readiness tells nothing about which of them works (a single node whose
//! kubelet has a hiccup still serves), and silence would help nobody: then all of them count.

mod node;
mod outcome;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use sha2::{Digest, Sha256};

use crate::advertisement::Advertisement;
use crate::pool::Pool;
use crate::service::{Role, Service};

pub use node::{Endpoints, Node};
pub use outcome::{Announcement, Candidate, Outcome, Owner, Snapshot, decide};

/// The links on which an address is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// It is not of type LoadBalancer, or of another `loadBalancerClass`.
    NotOurs,
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
            Nobody::NotOurs => "is not a LoadBalancer Service of our class",
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

    /// The links on which `node` announces: the union over the advertisements that select it, where one
    /// without `interfaces` means all. `None` when no advertisement selects the node.
    pub fn interfaces(&self, node: &Node) -> Option<Interfaces> {
        self.advertisements
            .iter()
            .filter(|ad| ad.covers_node(&node.labels))
            .map(|ad| match ad.interfaces.is_empty() {
                true => Interfaces::All,
                false => Interfaces::Only(ad.interfaces.clone()),
            })
            .reduce(Interfaces::union)
    }
}

/// The nodes that may answer for `service`, in order.
///
/// Eligibility, in the order of the lines below:
/// 1. the Service is a LoadBalancer of our class, and its status has addresses, all readable, in one pool
///    (the pool's selectors are not asked again: whether the Service may have them is the controller's
///    question; nor is `spec.externalIPs`, which is never answered for);
/// 2. an endpoint serves, somewhere: else the address would lead nowhere;
/// 3. advertisements are those that speak of the pool and of the Service's labels;
/// 4. a node is selected by at least one of them;
/// 5. it does not bear the exclude label;
/// 6. its network is available;
/// 7. with `externalTrafficPolicy: Local`, an endpoint serves on it;
/// 8. it is `Ready`, if any node left is.
///
/// The order is: the higher preference first (the sum of the matching weights over the advertisements that
/// select the node), then SHA-256 of `node#address`, bytewise ascending, where the address is the
/// Service's first, as text. So a Service's two addresses go to one node, and so do Services that share
/// one. Equal hashes would need two nodes of one name.
///
/// # Errors
/// [`Nobody`] names the step after which no node was left.
pub fn elect<'a>(
    service: &Service,
    endpoints: &Endpoints,
    pools: &[Pool],
    advertisements: &'a [Advertisement],
    nodes: &'a [Node],
) -> Result<Ranking<'a>, Nobody> {
    let (pool, first) = held_pool(service, pools)?;
    if !endpoints.any {
        return Err(Nobody::NoEndpoint);
    }
    let advertisements: Vec<_> = advertisements
        .iter()
        .filter(|ad| ad.covers_pool(pool) && ad.covers_service(&service.labels))
        .collect();
    if advertisements.is_empty() {
        return Err(Nobody::NotAdvertised);
    }

    let mut nodes: Vec<&Node> = nodes.iter().collect();
    let selected = |node: &Node| advertisements.iter().any(|ad| ad.covers_node(&node.labels));
    let local = |node: &Node| !service.local_traffic_only || endpoints.nodes.contains(&node.name);
    keep(&mut nodes, selected, Nobody::NoNodeSelected)?;
    keep(&mut nodes, |node| !node.excluded, Nobody::AllExcluded)?;
    keep(&mut nodes, |node| node.network_available, Nobody::NoNetwork)?;
    keep(&mut nodes, local, Nobody::NoLocalEndpoint)?;
    if nodes.iter().any(|node| node.ready) {
        nodes.retain(|node| node.ready);
    }

    nodes.sort_by_cached_key(|node| (Reverse(preference(node, &advertisements)), hash(&node.name, first)));
    Ok(Ranking { nodes, advertisements })
}

/// The pool that holds all of the Service's addresses, and the first of them.
fn held_pool<'p>(service: &Service, pools: &'p [Pool]) -> Result<(&'p Pool, IpAddr), Nobody> {
    if service.role != Role::Ours {
        return Err(Nobody::NotOurs);
    }
    if service.held_is_broken {
        return Err(Nobody::UnreadableStatus);
    }
    let first = *service.held.first().ok_or(Nobody::NoAddress)?;
    let holds =
        |pool: &&Pool| service.held.iter().all(|held| pool.ranges.iter().any(|range| range.contains(*held)));
    // Pools that overlap are a mistake, but all speakers must read it alike.
    let pool = pools.iter().filter(holds).min_by(|a, b| a.name.cmp(&b.name)).ok_or(Nobody::NoPool)?;
    Ok((pool, first))
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

/// What puts equally preferred nodes in order; equal to MetalLB's.
fn hash(node: &str, address: IpAddr) -> [u8; 32] {
    Sha256::digest(format!("{node}#{address}")).into()
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
