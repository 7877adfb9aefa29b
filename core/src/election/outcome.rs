//! The whole cluster's election in one value.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::advertisement::Advertisement;
use crate::net::AddressRange;
use crate::pool::Pool;
use crate::selector::Labels;
use crate::service::{Service, ServiceKey};

use super::{Endpoints, Interfaces, Nobody, Node, elect};

/// All that is known, at one moment. The order within each list means nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The pools, by unique names.
    pub pools: Vec<Pool>,
    /// Whether there are more pools, that cannot be read. An address outside all pools may then be one of theirs.
    pub some_pools_unusable: bool,
    /// The advertisements.
    pub advertisements: Vec<Advertisement>,
    /// The Services, of any type.
    pub services: Vec<Candidate>,
    /// The nodes, by unique names.
    pub nodes: Vec<Node>,
}

/// A Service with its endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The Service.
    pub service: Service,
    /// Where its endpoints serve.
    pub endpoints: Endpoints,
}

/// Who answers for what, in the whole cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The owner of each address that has one. An address never has two.
    pub owners: BTreeMap<IpAddr, Owner>,
    /// The Services of ours whose addresses nobody answers for, and why.
    pub nobody: BTreeMap<ServiceKey, Nobody>,
}

/// The node that answers for one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub node: String,
    /// Among how many eligible nodes it is the first, itself included.
    pub eligible: usize,
    /// What it does for the address.
    pub announcement: Announcement,
}

/// What the owner of an address is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The links on which to answer.
    pub interfaces: Interfaces,
    /// The Services that have the address: one, or those that share it.
    pub services: BTreeSet<ServiceKey>,
}

impl Outcome {
    /// What the node `me` is to answer for.
    pub fn desired(&self, me: &str) -> BTreeMap<IpAddr, Announcement> {
        let mine = self.owners.iter().filter(|(_, owner)| owner.node == me);
        mine.map(|(address, owner)| (*address, owner.announcement.clone())).collect()
    }
}

/// One Service's claim to one address.
struct Claim<'a> {
    service: &'a Service,
    ranking: super::Ranking<'a>,
}

/// Elects the owner of every address.
///
/// The controller leaves an address alone while it cannot judge it: no pool is known at all, or some pool
/// cannot be read ([`crate::allocate::plan`]). Then an address outside all pools counts as one of the pool that
/// the controller noted on the Service, so that it does not fall silent. At any other time an address must lie
/// in a pool: whoever can write a Service's status could else make nodes answer for any address.
///
/// Services that share an address elect the same node, because they share the address that is hashed.
/// Where they do not (they are advertised differently, say, or hold different first addresses), the oldest
/// one's election decides, then the name: two nodes that answer for one address would be worse than
/// either.
pub fn decide(snapshot: &Snapshot) -> Outcome {
    let mut outcome = Outcome::default();
    let mut claims: BTreeMap<IpAddr, Vec<Claim<'_>>> = BTreeMap::new();
    for Candidate { service, endpoints } in &snapshot.services {
        let noted = noted_pool(snapshot, service);
        let pools = noted.as_slice();
        let pools = if pools.is_empty() { &snapshot.pools } else { pools };
        match elect(service, endpoints, pools, &snapshot.advertisements, &snapshot.nodes) {
            Ok(ranking) => {
                for address in &service.held {
                    claims.entry(*address).or_default().push(Claim { service, ranking: ranking.clone() });
                }
            }
            Err(Nobody::NotOurs) => {}
            Err(why) => {
                outcome.nobody.insert(service.key.clone(), why);
            }
        }
    }
    for (address, claims) in claims {
        outcome.owners.extend(settle(&claims).map(|owner| (address, owner)));
    }
    outcome
}

/// The pool that the controller noted on a Service whose addresses are of no known pool, while pools are missing.
/// Its labels are not known, so advertisements speak of it by name, or of all pools.
fn noted_pool(snapshot: &Snapshot, service: &Service) -> Option<Pool> {
    let missing = snapshot.pools.is_empty() || snapshot.some_pools_unusable;
    let known = |held: &IpAddr| {
        snapshot.pools.iter().any(|pool| pool.ranges.iter().any(|range| range.contains(*held)))
    };
    if !missing || service.held.iter().any(known) {
        return None;
    }
    Some(Pool {
        name: service.allocated_from.clone()?,
        labels: Labels::new(),
        ranges: service.held.iter().map(|held| AddressRange::from(*held)).collect(),
        auto_assign: false,
        avoid_buggy_ips: false,
        pinned: None,
    })
}

/// The one owner of an address that these Services have.
fn settle(claims: &[Claim<'_>]) -> Option<Owner> {
    let decisive = claims.iter().min_by_key(|claim| (claim.service.created, &claim.service.key))?;
    let owner = decisive.ranking.owner();
    let interfaces =
        claims.iter().filter_map(|claim| claim.ranking.interfaces(owner)).reduce(Interfaces::union)?;
    let services = claims.iter().map(|claim| claim.service.key.clone()).collect();
    Some(Owner {
        node: owner.name.clone(),
        eligible: decisive.ranking.nodes().len(),
        announcement: Announcement { interfaces, services },
    })
}
