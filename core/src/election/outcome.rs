//! The whole cluster's election in one value.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::advertisement::Advertisement;
use crate::pool::Pool;
use crate::service::{Service, ServiceKey};

use super::{Endpoints, Interfaces, Nobody, Node, eligible, interfaces};

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

/// One Service's claim to its addresses.
struct Claim<'a> {
    service: &'a Service,
    owner: &'a Node,
    /// How many nodes are eligible.
    eligible: usize,
    advertisements: Vec<&'a Advertisement>,
}

/// Elects the owner of every address, each Service's as [`elect`](super::elect) does.
///
/// Services that share an address elect the same node, because they share the address that is hashed.
/// Where they do not (they are advertised differently, say, or hold different first addresses), the oldest
/// one's election decides, then the name: two nodes that answer for one address would be worse than
/// either.
pub fn decide(snapshot: &Snapshot) -> Outcome {
    let mut outcome = Outcome::default();
    let mut claims = Vec::new();
    for candidate in &snapshot.services {
        let service = &candidate.service;
        match eligible(candidate, snapshot) {
            Ok(found) => claims.push(Claim {
                service,
                owner: found.owner(),
                eligible: found.nodes.len(),
                advertisements: found.advertisements,
            }),
            Err(Nobody::NotOurs) => {}
            Err(why) => {
                outcome.nobody.insert(service.key.clone(), why);
            }
        }
    }
    let mut claimed: BTreeMap<IpAddr, Vec<&Claim<'_>>> = BTreeMap::new();
    for claim in &claims {
        for address in &claim.service.held {
            claimed.entry(*address).or_default().push(claim);
        }
    }
    for (address, claims) in claimed {
        outcome.owners.extend(settle(&claims).map(|owner| (address, owner)));
    }
    outcome
}

/// The one owner of an address that these Services have.
fn settle(claims: &[&Claim<'_>]) -> Option<Owner> {
    let decisive = claims.iter().min_by_key(|claim| (claim.service.created, &claim.service.key))?;
    let Claim { owner, eligible, .. } = decisive;
    let all = claims.iter().filter_map(|claim| interfaces(owner, &claim.advertisements));
    let interfaces = all.reduce(Interfaces::union)?;
    let services = claims.iter().map(|claim| claim.service.key.clone()).collect();
    Some(Owner {
        node: owner.name.clone(),
        eligible: *eligible,
        announcement: Announcement { interfaces, services },
    })
}
