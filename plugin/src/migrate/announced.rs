//! By which protocol a Service's addresses are announced, as far as pools and advertisements say so.

use ferrolb_core::advertisement::Advertisement;
use ferrolb_core::pool::Pool;
use ferrolb_crds::L2Advertisement;

use super::cluster::{Cluster, Listed, Service};

/// Pools and advertisements in core's words: those of MetalLB's namespace that can be used.
pub(crate) struct Announcements {
    pools: Vec<Pool>,
    l2: Vec<Advertisement>,
    bgp: Vec<Advertisement>,
}

/// How one Service is announced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ways {
    /// The pool of its addresses.
    pub(crate) pool: Option<String>,
    /// An L2Advertisement covers it.
    pub(crate) l2: bool,
    /// The BGPAdvertisements that cover it.
    pub(crate) bgp: Vec<String>,
}

impl Announcements {
    pub(crate) fn of(cluster: &Cluster) -> Self {
        let here = |namespace: &Option<String>| *namespace == cluster.namespace;
        let usable = |list: &[Listed<L2Advertisement>]| {
            let list = list.iter().filter(|listed| here(&listed.object.metadata.namespace));
            list.filter_map(|listed| listed.object.to_core().ok()).collect()
        };
        let pools = cluster.pools.iter().filter(|listed| here(&listed.object.metadata.namespace));
        Announcements {
            pools: pools.filter_map(|listed| listed.object.to_core().ok()).collect(),
            l2: usable(&cluster.l2),
            bgp: usable(&cluster.bgp),
        }
    }

    /// How `service` is announced. All addresses of a Service are of one pool.
    pub(crate) fn ways(&self, service: &Service) -> Ways {
        let has = |pool: &&Pool| {
            let mut addresses = service.addresses.iter();
            addresses.any(|address| pool.ranges.iter().any(|range| range.contains(*address)))
        };
        let Some(pool) = self.pools.iter().find(has) else { return Ways::default() };
        let covers = |ad: &&Advertisement| ad.covers_pool(pool) && ad.covers_service(&service.labels);
        Ways {
            pool: Some(pool.name.clone()),
            l2: self.l2.iter().any(|ad| covers(&ad)),
            bgp: self.bgp.iter().filter(covers).map(|ad| ad.name.clone()).collect(),
        }
    }
}
