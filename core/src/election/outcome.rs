//! The whole cluster's election in one value.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::advertisement::Advertisement;
use crate::pool::Pool;
use crate::service::ServiceKey;

use super::{Contender, Endpoints, Interfaces, Nobody, Node, eligible, interfaces};

/// All that is known, at one moment. The order within each list means nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The pools, by unique names.
    pub pools: Vec<Pool>,
    /// Whether there are more pools, that cannot be read. An address outside all pools may then be one of theirs.
    pub some_pools_unusable: bool,
    /// The advertisements.
    pub advertisements: Vec<Advertisement>,
    /// The Services of ours.
    pub services: Vec<Candidate>,
    /// The nodes, by unique names.
    pub nodes: Vec<Node>,
}

/// A Service with its endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub key: Arc<ServiceKey>,
    /// The Service.
    pub service: Contender,
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
    /// What it does for the address.
    pub announcement: Announcement,
}

/// What the owner of an address is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The links on which to answer.
    pub interfaces: Interfaces,
    /// The Services that have the address, ascending: one, or those that share it.
    pub services: Vec<Holder>,
    /// Among how many eligible nodes the owner is the first, itself included.
    pub eligible: usize,
}

/// A Service that has an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// Its name.
    pub key: Arc<ServiceKey>,
    /// `metadata.uid`, by which events are found.
    pub uid: Arc<str>,
}

impl Outcome {
    /// What the node `me` is to answer for.
    pub fn desired(&self, me: &str) -> BTreeMap<IpAddr, Announcement> {
        let mine = self.owners.iter().filter(|(_, owner)| owner.node == me);
        mine.map(|(address, owner)| (*address, owner.announcement.clone())).collect()
    }
}

/// One Service's claim to its addresses.
pub(super) struct Claim<'a> {
    key: &'a Arc<ServiceKey>,
    uid: &'a Arc<str>,
    created: i64,
    owner: &'a Node,
    /// How many nodes are eligible.
    eligible: usize,
    advertisements: Vec<&'a Advertisement>,
}

impl<'a> Claim<'a> {
    /// What the Service claims.
    ///
    /// # Errors
    /// Why no node may answer for it.
    pub(super) fn of(
        key: &'a Arc<ServiceKey>,
        service: &'a Contender,
        endpoints: &Endpoints,
        snapshot: &'a Snapshot,
    ) -> Result<Self, Nobody> {
        let found = eligible(service, endpoints, snapshot)?;
        let owner = found.owner();
        let (eligible, advertisements) = (found.nodes.len(), found.advertisements);
        Ok(Claim { key, uid: &service.uid, created: service.created, owner, eligible, advertisements })
    }
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
    for Candidate { key, service, endpoints } in &snapshot.services {
        match Claim::of(key, service, endpoints, snapshot) {
            Ok(claim) => claims.push((&service.held, claim)),
            Err(why) => {
                outcome.nobody.insert((**key).clone(), why);
            }
        }
    }
    let mut claimed: BTreeMap<IpAddr, Vec<&Claim<'_>>> = BTreeMap::new();
    for (held, claim) in &claims {
        held.iter().for_each(|address| claimed.entry(*address).or_default().push(claim));
    }
    for (address, claims) in claimed {
        outcome.owners.extend(settle(&claims).map(|owner| (address, owner)));
    }
    outcome
}

/// The one owner of an address that these Services have; `None` when none of them claims it.
pub(super) fn settle(claims: &[&Claim<'_>]) -> Option<Owner> {
    let decisive = claims.iter().min_by_key(|claim| (claim.created, claim.key))?;
    let Claim { owner, eligible, .. } = decisive;
    let all = claims.iter().filter_map(|claim| interfaces(owner, &claim.advertisements));
    let interfaces = all.reduce(Interfaces::union)?;
    let holder = |claim: &&Claim<'_>| Holder { key: claim.key.clone(), uid: claim.uid.clone() };
    let mut services: Vec<Holder> = claims.iter().map(holder).collect();
    services.sort();
    Some(Owner {
        node: owner.name.clone(),
        announcement: Announcement { interfaces, services, eligible: *eligible },
    })
}
