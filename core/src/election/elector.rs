//! Who may answer for each address, kept up to date as single objects change.
//!
//! [`decide`](super::decide) says what is right where only the API counts; this says the same, of each address with all that may
//! answer for it in order, without computing anew what a change does not touch. A Service that changes costs the
//! contest of its own addresses; a node's labels, a pool or an advertisement cost all.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::advertisement::Advertisement;
use crate::announce::Cover;
use crate::dense::DenseMap;
use crate::few::Few;
use crate::net::AddressRange;
use crate::pool::Pool;
use crate::service::ServiceKey;

use super::outcome::Claim;
use super::{Contender, Contest, Endpoints, Nobody, Node, Roster, Snapshot};

/// What is different about one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The address.
    pub address: IpAddr,
    /// Who may answer for it; or why nobody may any longer.
    pub contest: Result<Arc<Contest>, Lost>,
}

/// Why nobody may answer for an address for which somebody did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Nobody answers for it, for the sake of this Service.
    Nobody(Arc<ServiceKey>, Nobody),
    /// No Service has it any more.
    Released,
}

/// What is known of one Service.
#[derive(Clone, Debug, Default)]
struct Entry {
    service: Contender,
    endpoints: Endpoints,
    pending: bool,
}

/// What is known of one address: a Service has it, or had it when it was last looked at.
#[derive(Clone, Debug, Default)]
struct Address {
    /// The Services whose status names it, ascending.
    holders: Few<Arc<ServiceKey>>,
    /// Who may answer for it, when it was last looked at.
    contest: Option<Arc<Contest>>,
}

/// Keeps who may answer for what.
#[derive(Clone, Debug, Default)]
pub struct Elector {
    /// Pools, advertisements and nodes; its Services are those below.
    field: Snapshot,
    services: DenseMap<Arc<ServiceKey>, Entry>,
    addresses: DenseMap<IpAddr, Address>,
    /// The names of pools that Services have their addresses from, each once. Those that no Service names any more stay: there
    /// are few.
    pools: BTreeSet<Arc<str>>,
    roster: Arc<Roster>,
    /// The cover of the pools, and the addresses with a contest outside of it.
    inside: Cover,
    outside: BTreeSet<IpAddr>,
    /// The addresses to look at anew.
    touched: BTreeSet<IpAddr>,
    all: bool,
}

impl Elector {
    /// The Service is this now, or gone. Its endpoints stay as they were told.
    pub fn set_service(&mut self, key: &Arc<ServiceKey>, service: Option<Contender>) {
        let known = self.services.get_key_value(key);
        let known = known.map(|(key, entry)| (key.clone(), entry.service.clone()));
        let key = known.as_ref().map_or(key, |(key, _)| key).clone();
        let before = known.map(|(_, known)| known);
        if before == service {
            return;
        }
        for address in before.iter().flat_map(|before| &before.held) {
            self.touched.insert(*address);
            if let Some(known) = self.addresses.get_mut(address) {
                known.holders.retain(|holder| *holder != key);
            }
        }
        let Some(mut service) = service else {
            self.services.remove(&key);
            return;
        };
        for address in &service.held {
            self.touched.insert(*address);
            let holders = &mut self.addresses.or_default(*address).holders;
            // A status may name an address twice.
            if let Err(at) = holders.binary_search(&key) {
                holders.insert(at, key.clone());
            }
        }
        service.allocated_from = service.allocated_from.map(|pool| self.shared(pool));
        self.services.or_default(key).service = service;
    }

    /// The same text as it is kept already, if it is.
    fn shared(&mut self, pool: Arc<str>) -> Arc<str> {
        match self.pools.get(&pool) {
            Some(known) => known.clone(),
            None => {
                self.pools.insert(pool.clone());
                pool
            }
        }
    }

    /// Where the Service's endpoints serve now. Nothing, for a Service that is not known.
    pub fn set_endpoints(&mut self, key: &ServiceKey, endpoints: Endpoints) {
        let Some(entry) = self.services.get_mut(key) else { return };
        if entry.endpoints != endpoints {
            entry.endpoints = endpoints;
            self.touched.extend(&entry.service.held);
        }
    }

    /// Whether this node's service proxy may not serve the Service's endpoints here yet: then whoever else serves is the one to
    /// answer. Nothing, for a Service that is not known.
    pub fn set_pending(&mut self, key: &ServiceKey, pending: bool) {
        let Some(entry) = self.services.get_mut(key) else { return };
        if entry.pending != pending {
            entry.pending = pending;
            self.touched.extend(&entry.service.held);
        }
    }

    /// Where the Service's endpoints serve, as it was told last; `None` for a Service that is not known.
    pub fn endpoints(&self, key: &ServiceKey) -> Option<&Endpoints> {
        self.services.get(key).map(|entry| &entry.endpoints)
    }

    /// The Services that are known.
    pub fn services(&self) -> impl Iterator<Item = &Arc<ServiceKey>> {
        self.services.keys()
    }

    /// The name as it is kept, of a Service that is known: ten thousand twice are a megabyte.
    pub fn key(&self, key: &ServiceKey) -> Option<&Arc<ServiceKey>> {
        self.services.get_key_value(key).map(|(key, _)| key)
    }

    /// The Service of this name.
    pub fn service(&self, key: &ServiceKey) -> Option<&Contender> {
        self.services.get(key).map(|entry| &entry.service)
    }

    /// All pools that can be used, and whether there are more.
    pub fn set_pools(&mut self, pools: Vec<Pool>, some_pools_unusable: bool) {
        let known = (&self.field.pools, self.field.some_pools_unusable);
        self.all |= known != (&pools, some_pools_unusable);
        (self.field.pools, self.field.some_pools_unusable) = (pools, some_pools_unusable);
        let ranges: Vec<_> = self.field.pools.iter().flat_map(|pool| pool.ranges.iter().copied()).collect();
        self.inside = Cover::of(&ranges);
        let contested = self.addresses.iter().filter(|(_, known)| known.contest.is_some());
        let all = contested.map(|(address, _)| *address);
        self.outside = all.filter(|address| !self.inside.contains(*address)).collect();
    }

    /// All advertisements that can be used.
    pub fn set_advertisements(&mut self, advertisements: Vec<Advertisement>) {
        self.all |= self.field.advertisements != advertisements;
        self.field.advertisements = advertisements;
    }

    /// All nodes.
    pub fn set_nodes(&mut self, nodes: Vec<Node>) {
        let roster = self.roster.follow(&nodes);
        if roster != *self.roster {
            self.roster = Arc::new(roster);
        }
        // Health is for those who settle a contest, not for the contest.
        let rest = |node: &Node| Node {
            ready: true,
            unfit: false,
            keyless: false,
            going: false,
            speaker: false,
            addresses: Vec::new(),
            ..node.clone()
        };
        let nodes: Vec<Node> = nodes.iter().map(rest).collect();
        self.all |= self.field.nodes != nodes;
        self.field.nodes = nodes;
    }

    /// The nodes by number, and what the API says of each.
    pub fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    /// The prefixes that hold every address that anybody of us may answer for: those of the pools, and those that
    /// Services have outside of them.
    pub fn cover(&self) -> Cover {
        if self.outside.is_empty() {
            return self.inside.clone();
        }
        let pools = self.field.pools.iter().flat_map(|pool| pool.ranges.iter().copied());
        let ranges: Vec<_> = pools.chain(self.outside.iter().copied().map(AddressRange::from)).collect();
        Cover::of(&ranges)
    }

    /// What is different since the last call, by address.
    pub fn update(&mut self) -> Vec<Change> {
        if std::mem::take(&mut self.all) {
            self.touched.extend(self.addresses.keys());
        }
        let mut changes = Vec::new();
        for address in std::mem::take(&mut self.touched) {
            let contest = self.contest(address);
            let known = self.addresses.get_mut(&address);
            let before = known.as_ref().and_then(|known| known.contest.as_deref());
            let same = before == contest.as_ref().ok();
            let contest = contest.map(Arc::new);
            if let Some(known) = known {
                if !same {
                    known.contest = contest.as_ref().ok().cloned();
                }
                if known.holders.is_empty() {
                    self.addresses.remove(&address);
                }
            }
            if same {
                continue;
            }
            if contest.is_err() {
                self.outside.remove(&address);
            } else if !self.inside.contains(address) {
                self.outside.insert(address);
            }
            changes.push(Change { address, contest });
        }
        changes
    }

    fn contest(&self, address: IpAddr) -> Result<Contest, Lost> {
        let holders = &self.addresses.get(&address).ok_or(Lost::Released)?.holders;
        let mut why = Lost::Released;
        let mut claims = Vec::with_capacity(holders.len());
        for key in holders.iter().rev() {
            let Some(entry) = self.services.get(key) else { continue };
            match Claim::of(key, &entry.service, &entry.endpoints, &self.field) {
                Ok(claim) => claims.push(Claim { pending: entry.pending, ..claim }),
                Err(nobody) => why = Lost::Nobody(key.clone(), nobody),
            }
        }
        Contest::of(&claims, &self.roster).ok_or(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_of_what_is_gone() {
        let mut elector = Elector::default();
        let keys = ["web", "db"].map(|name| Arc::new(ServiceKey::new("shop", name)));
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let service = Contender { held: [address].into(), ..Contender::default() };
        for known in [true, false] {
            keys.iter().for_each(|key| elector.set_service(key, known.then(|| service.clone())));
            assert_eq!(elector.addresses.len(), 1, "until it is looked at");
            elector.update();
        }
        assert!(elector.addresses.is_empty() && elector.services.is_empty());
        // An address that is not the Service's any more, while the Service stays.
        elector.set_service(&keys[0], Some(service));
        elector.update();
        elector.set_service(&keys[0], Some(Contender { created: 7, ..Contender::default() }));
        elector.update();
        assert!(elector.addresses.is_empty() && elector.touched.is_empty());
    }
}
