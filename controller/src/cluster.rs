//! What the stores hold, in core's words.

use std::collections::BTreeMap;
use std::sync::Arc;

use ferrolb_core::allocate::Snapshot;
use ferrolb_core::pool::without_overlaps;
use ferrolb_core::service::{Role, ServiceKey};
use ferrolb_crds::IPAddressPool;
use ferrolb_crds::view::{Namespace, Service};
use ferrolb_runtime::Store;
use kube::ResourceExt;

use crate::unseen::Unseen;

/// The stores that the watches keep.
#[derive(Clone, Debug)]
pub struct Stores {
    /// All Services of the cluster.
    pub services: Store<Service>,
    /// The pools of our namespace.
    pub pools: Store<IPAddressPool>,
    /// All namespaces, for their labels.
    pub namespaces: Store<Namespace>,
}

/// Everything known at one moment.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// What core decides on.
    pub snapshot: Snapshot,
    /// The Services behind it, as they stand in the API.
    pub services: BTreeMap<ServiceKey, Arc<Service>>,
    /// Pools that cannot be used, and why.
    pub bad_pools: Vec<BadPool>,
}

/// A pool that is set aside; the others go on without it.
#[derive(Clone, Debug)]
pub struct BadPool {
    /// The object.
    pub pool: Arc<IPAddressPool>,
    /// What to change in it.
    pub why: String,
}

impl Cluster {
    /// Reads the stores.
    ///
    /// 1. Services: as last written where the watch has not caught up. One whose last write has an unknown
    ///    outcome is held as it is, with all the addresses that it may have.
    /// 2. Pools: unreadable ones are set aside; so is the younger of two that overlap.
    /// 3. Namespaces: their labels.
    pub fn read(stores: &Stores, unseen: &mut Unseen, lb_class: Option<&str>) -> Self {
        let mut cluster = Cluster::default();
        let services = stores.services.state();
        unseen.forget_gone(&services);
        for stored in services {
            let service = unseen.latest(stored);
            let Some(mut words) = service.to_core(lb_class) else { continue };
            if let Some(maybe) = unseen.uncertain_addresses(&words.key) {
                words.role = Role::Foreign;
                words.held.extend(maybe);
            }
            cluster.services.insert(words.key.clone(), service);
            cluster.snapshot.services.insert(words.key.clone(), words);
        }
        cluster.read_pools(&stores.pools.state());
        for namespace in stores.namespaces.state() {
            cluster.snapshot.namespaces.insert(namespace.name_any(), namespace.labels());
        }
        cluster
    }

    fn read_pools(&mut self, pools: &[Arc<IPAddressPool>]) {
        let mut readable = Vec::new();
        for pool in pools {
            match pool.to_core() {
                Ok(words) => readable.push((created(pool), words)),
                Err(problem) => self.bad_pools.push(BadPool { pool: pool.clone(), why: problem.to_string() }),
            }
        }
        let (usable, overlaps) = without_overlaps(readable);
        for overlap in overlaps {
            let object = pools.iter().find(|pool| pool.name_any() == overlap.pool);
            self.bad_pools
                .extend(object.map(|pool| BadPool { pool: pool.clone(), why: overlap.to_string() }));
        }
        self.snapshot.pools = usable;
        self.snapshot.some_pools_unusable = !self.bad_pools.is_empty();
    }
}

fn created(pool: &IPAddressPool) -> i64 {
    pool.metadata.creation_timestamp.as_ref().map_or(i64::MAX, |time| time.0.as_second())
}
