//! What core says of a cluster: who may answer for a Service, and which pool would give to it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ferrolb_core::election::{Candidate, Contender, Nobody, Ranking, Snapshot, elect};
use ferrolb_core::pool::{Overlap, Pool, without_overlaps};
use ferrolb_core::service::ServiceKey;
use ferrolb_core::{allocate, election};
use ferrolb_crds::{IPAddressPool, names};

use super::Look;
use crate::migrate::Product;

/// The pools as the controller uses them.
#[derive(Clone, Debug, Default)]
pub struct Pools {
    /// Those that can be used, by name.
    pub usable: BTreeMap<String, Pool>,
    /// Those that are not, and why.
    pub unusable: BTreeMap<String, String>,
}

impl Pools {
    /// Of these objects: one that cannot be read is set aside, and so is the younger of two that overlap.
    pub fn of(objects: &[IPAddressPool]) -> Self {
        let (mut readable, mut unusable) = (Vec::new(), BTreeMap::new());
        for object in objects {
            let created =
                object.metadata.creation_timestamp.as_ref().map_or(i64::MAX, |time| time.0.as_second());
            match object.to_core() {
                Ok(pool) => readable.push((created, pool)),
                Err(why) => {
                    unusable.insert(object.metadata.name.clone().unwrap_or_default(), why.to_string());
                }
            }
        }
        let (usable, overlaps) = without_overlaps(readable);
        unusable
            .extend(overlaps.into_iter().map(|overlap: Overlap| (overlap.pool.clone(), overlap.to_string())));
        Pools { usable, unusable }
    }
}

/// All that elections depend on.
#[derive(Clone, Debug, Default)]
pub struct Candidates(Snapshot);

impl Candidates {
    /// Who may answer for a Service, in order, by the API; or why nobody may. `None` for one that is not there, or not FerroLB's.
    /// Where its endpoints were not looked for, one is taken to serve on each node.
    pub fn ranking(&self, look: &Look, key: &ServiceKey) -> Option<Result<Ranking<'_>, Nobody>> {
        let service = look.services.get(key)?;
        let endpoints = match &look.endpoints {
            Some(all) => all.get(key).cloned().unwrap_or_default(),
            None => {
                let mut anywhere = election::Endpoints::default();
                look.nodes.keys().for_each(|node| anywhere.add(Some(node.as_str().into())));
                anywhere
            }
        };
        let candidate = Candidate {
            key: Arc::new(key.clone()),
            service: Contender::of(service.words.clone(), &service.uid)?,
            endpoints,
        };
        Some(elect(&candidate, &self.0))
    }

    /// The same as if there were this node alone: why it is not among those that may, whatever the others are.
    pub fn alone(&self, node: &str) -> Candidates {
        let mut alone = self.clone();
        alone.0.nodes.retain(|known| known.name == node);
        alone
    }

    /// The nodes.
    pub fn nodes(&self) -> &[election::Node] {
        &self.0.nodes
    }

    /// The advertisements that could be read.
    pub fn advertisements(&self) -> &[ferrolb_core::advertisement::Advertisement] {
        &self.0.advertisements
    }
}

impl Look {
    /// What elections of this cluster depend on.
    pub fn candidates(&self) -> Candidates {
        let ignore = matches!(self.setting(Product::FerrolbSpeaker, "ignore-exclude-lb"), "true" | "1");
        let node = |(name, node): (&String, &ferrolb_crds::view::Node)| {
            Some(election::Node {
                unfit: self.sick_proxy(name).is_some(),
                keyless: self.denied(name, names::HELLO_KEY_LOADED).is_some(),
                speaker: self.state(name).is_some(),
                ..node.to_core(ignore)?
            })
        };
        let pools: Vec<Pool> = self.pools.iter().filter_map(|pool| pool.to_core().ok()).collect();
        Candidates(Snapshot {
            some_pools_unusable: pools.len() < self.pools.len(),
            pools,
            advertisements: self.advertisements.iter().filter_map(|ad| ad.to_core().ok()).collect(),
            services: Vec::new(),
            nodes: self.nodes.iter().filter_map(node).collect(),
        })
    }

    /// What allocation depends on, as far as it can be seen from outside: which addresses rest is not known.
    pub fn allocation(&self) -> allocate::Snapshot {
        let Pools { usable, unusable } = Pools::of(&self.pools);
        let addresses = |(name, node): (&String, &ferrolb_crds::view::Node)| {
            node.addresses().map(|address| (address, name.clone())).collect::<Vec<(IpAddr, String)>>()
        };
        allocate::Snapshot {
            pools: usable,
            pools_are_complete: unusable.is_empty(),
            namespaces: self.namespaces.clone(),
            services: self.services.iter().map(|(key, it)| (key.clone(), it.words.clone())).collect(),
            frozen: BTreeMap::new(),
            nodes: self.nodes.iter().flat_map(addresses).collect(),
            resting: BTreeMap::new(),
            now: Duration::ZERO,
        }
    }
}
