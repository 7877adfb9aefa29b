//! One node's part of the election, kept up to date as single objects change.
//!
//! [`decide`](super::decide) says what is right; this says the same, of one node, without computing anew what a change
//! does not touch. A Service that changes costs the election of its own addresses; a node, a pool or an
//! advertisement costs all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::advertisement::Advertisement;
use crate::announce::Cover;
use crate::net::AddressRange;
use crate::pool::Pool;
use crate::service::ServiceKey;

use super::outcome::{Claim, settle};
use super::{Announcement, Contender, Endpoints, Nobody, Node, Snapshot};

/// What this node is to do about one address from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The address.
    pub address: IpAddr,
    /// How to answer for it; or why no longer.
    pub ours: Result<Arc<Announcement>, Lost>,
}

/// Why this node does not answer for an address for which it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// This node is first now.
    To(String),
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
}

/// Keeps what one node is to answer for.
#[derive(Clone, Debug)]
pub struct Elector {
    me: String,
    /// Pools, advertisements and nodes; its Services are those below.
    field: Snapshot,
    services: BTreeMap<Arc<ServiceKey>, Box<Entry>>,
    holders: BTreeMap<IpAddr, Vec<Arc<ServiceKey>>>,
    mine: BTreeMap<IpAddr, Arc<Announcement>>,
    /// The cover of the pools, and what is mine outside of it.
    inside: Cover,
    outside: BTreeSet<IpAddr>,
    /// The addresses to look at anew.
    touched: BTreeSet<IpAddr>,
    all: bool,
}

impl Elector {
    /// One for the node `me`, that knows nothing yet.
    pub fn new(me: impl Into<String>) -> Self {
        Elector {
            me: me.into(),
            field: Snapshot::default(),
            services: BTreeMap::new(),
            holders: BTreeMap::new(),
            mine: BTreeMap::new(),
            inside: Cover::default(),
            outside: BTreeSet::new(),
            touched: BTreeSet::new(),
            all: false,
        }
    }

    /// The Service is this now, or gone. Its endpoints stay as they were told.
    pub fn set_service(&mut self, key: &ServiceKey, service: Option<Contender>) {
        let known = self.services.get_key_value(key);
        let known = known.map(|(key, entry)| (key.clone(), entry.service.clone()));
        let key = known.as_ref().map_or_else(|| Arc::new(key.clone()), |(key, _)| key.clone());
        let before = known.map(|(_, known)| known);
        if before == service {
            return;
        }
        for address in before.iter().flat_map(|before| &before.held) {
            self.touched.insert(*address);
            if let Some(holders) = self.holders.get_mut(address) {
                holders.retain(|holder| *holder != key);
                if holders.is_empty() {
                    self.holders.remove(address);
                }
            }
        }
        let Some(service) = service else {
            self.services.remove(&key);
            return;
        };
        for address in &service.held {
            self.touched.insert(*address);
            let holders = self.holders.entry(*address).or_default();
            // A status may name an address twice.
            if let Err(at) = holders.binary_search(&key) {
                holders.reserve_exact(1);
                holders.insert(at, key.clone());
            }
        }
        self.services.entry(key).or_default().service = service;
    }

    /// Where the Service's endpoints serve now. Nothing, for a Service that is not known.
    pub fn set_endpoints(&mut self, key: &ServiceKey, endpoints: Endpoints) {
        let Some(entry) = self.services.get_mut(key) else { return };
        if entry.endpoints != endpoints {
            entry.endpoints = endpoints;
            self.touched.extend(&entry.service.held);
        }
    }

    /// The Services that are known.
    pub fn services(&self) -> impl Iterator<Item = &Arc<ServiceKey>> {
        self.services.keys()
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
        let mine = self.mine.keys().copied();
        self.outside = mine.filter(|address| !self.inside.contains(*address)).collect();
    }

    /// All advertisements that can be used.
    pub fn set_advertisements(&mut self, advertisements: Vec<Advertisement>) {
        self.all |= self.field.advertisements != advertisements;
        self.field.advertisements = advertisements;
    }

    /// All nodes.
    pub fn set_nodes(&mut self, nodes: Vec<Node>) {
        self.all |= self.field.nodes != nodes;
        self.field.nodes = nodes;
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.field.nodes
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

    /// What is different for this node since the last call, by address.
    pub fn update(&mut self) -> Vec<Change> {
        if std::mem::take(&mut self.all) {
            self.touched.extend(self.holders.keys());
        }
        let mut changes = Vec::new();
        for address in std::mem::take(&mut self.touched) {
            let ours = self.elect(address).map(Arc::new);
            let changed = match &ours {
                Ok(announcement) => self.mine.get(&address) != Some(announcement),
                Err(_) => self.mine.contains_key(&address),
            };
            if !changed {
                continue;
            }
            match &ours {
                Ok(announcement) => {
                    if !self.inside.contains(address) {
                        self.outside.insert(address);
                    }
                    self.mine.insert(address, announcement.clone());
                }
                Err(_) => {
                    self.outside.remove(&address);
                    self.mine.remove(&address);
                }
            }
            changes.push(Change { address, ours });
        }
        changes
    }

    fn elect(&self, address: IpAddr) -> Result<Announcement, Lost> {
        let holders = self.holders.get(&address).ok_or(Lost::Released)?;
        let mut why = Lost::Released;
        let mut claims = Vec::with_capacity(holders.len());
        for key in holders.iter().rev() {
            let Some(entry) = self.services.get(key) else { continue };
            match Claim::of(key, &entry.service, &entry.endpoints, &self.field) {
                Ok(claim) => claims.push(claim),
                Err(nobody) => why = Lost::Nobody(key.clone(), nobody),
            }
        }
        match settle(&claims.iter().collect::<Vec<_>>()) {
            Some(owner) if owner.node == self.me => Ok(owner.announcement),
            Some(owner) => Err(Lost::To(owner.node)),
            None => Err(why),
        }
    }
}
