//! The whole cluster's election in one value.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::advertisement::Advertisement;
use crate::pool::Pool;
use crate::service::ServiceKey;

use super::{Contender, Contest, Eligible, Endpoints, Interfaces, Nobody, Node, Roster, Uid, eligible};

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
}

/// A Service that has an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder {
    /// Its name.
    pub key: Arc<ServiceKey>,
    /// `metadata.uid`, by which events are found.
    pub uid: Uid,
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
    pub(super) key: &'a Arc<ServiceKey>,
    pub(super) uid: &'a Uid,
    pub(super) created: i64,
    /// The address that is hashed.
    pub(super) first: IpAddr,
    /// Those that may answer, in no order; at least one.
    pub(super) nodes: Vec<&'a Node>,
    pub(super) advertisements: Vec<&'a Advertisement>,
    /// Whether this node's service proxy may not serve it yet.
    pub(super) pending: bool,
}

impl<'a> Claim<'a> {
    /// What the Service claims, with nothing pending.
    ///
    /// # Errors
    /// Why no node may answer for it.
    pub(super) fn of(
        key: &'a Arc<ServiceKey>,
        service: &'a Contender,
        endpoints: &Endpoints,
        snapshot: &'a Snapshot,
    ) -> Result<Self, Nobody> {
        let Eligible { first, nodes, advertisements } = eligible(service, endpoints, snapshot)?;
        let pending = false;
        Ok(Claim { key, uid: &service.uid, created: service.created, first, nodes, advertisements, pending })
    }
}

/// Elects the owner of every address, each Service's as [`elect`](super::elect) does; for a shared one, see
/// [`Contest`].
pub fn decide(snapshot: &Snapshot) -> Outcome {
    let mut outcome = Outcome::default();
    let mut claimed: BTreeMap<IpAddr, Vec<&Candidate>> = BTreeMap::new();
    for candidate in &snapshot.services {
        match eligible(&candidate.service, &candidate.endpoints, snapshot) {
            Ok(_) => {
                let held = candidate.service.held.iter();
                held.for_each(|address| claimed.entry(*address).or_default().push(candidate));
            }
            Err(why) => {
                outcome.nobody.insert((*candidate.key).clone(), why);
            }
        }
    }
    let roster = Roster::default().follow(&snapshot.nodes);
    for (address, candidates) in claimed {
        let claims: Vec<_> = candidates
            .into_iter()
            .filter_map(|c| Claim::of(&c.key, &c.service, &c.endpoints, snapshot).ok())
            .collect();
        let owner = Contest::of(&claims, &roster).and_then(|contest| {
            let node = contest.owner_by_api(&roster)?;
            let interfaces = contest.interfaces_of(node)?.clone();
            let announcement = Announcement { interfaces, services: contest.services.to_vec() };
            Some(Owner { node: roster.get(node)?.name.to_string(), announcement })
        });
        outcome.owners.extend(owner.map(|owner| (address, owner)));
    }
    outcome
}
