//! What the API server knows, as an election's outcome.
//!
//! ```text
//!  Service, EndpointSlice, Node, IPAddressPool, L2Advertisement
//!     │ watches into stores; any number of changes is one wake-up
//!     ▼
//!  Snapshot ──► core: decide ──► Outcome ──► (tokio watch) ──► the announcing loop
//! ```
//!
//! The outcome is always computed from the stores as they are, never from events, and not before each of
//! them was listed completely: with half of the nodes in view, another one would be elected.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ferrolb_core::election::{Candidate, Endpoints, Outcome, Snapshot, decide};
use ferrolb_core::service::{Role, ServiceKey};
use ferrolb_crds::view::{EndpointSlice, Node, Service, Trim};
use ferrolb_crds::{IPAddressPool, L2Advertisement};
use ferrolb_runtime::{Changes, CommonArgs, Context, Store, Watcher};
use kube::Api;
use tokio::sync::watch;

/// How long without any change before the outcome is computed again all the same.
const RESYNC: Duration = Duration::from_secs(60);

/// The objects that are watched.
pub struct Stores {
    services: Store<Service>,
    slices: Store<EndpointSlice>,
    nodes: Store<Node>,
    pools: Store<IPAddressPool>,
    advertisements: Store<L2Advertisement>,
}

/// The outcome of the election; `None` until everything was listed once.
pub type Elected = Option<Arc<Outcome>>;

impl Stores {
    /// Starts the watches. Pools and advertisements are read in our namespace only.
    pub fn watch(client: &kube::Client, args: &CommonArgs, watcher: &Watcher) -> Self {
        let all = client.clone();
        Stores {
            services: watcher.watch(Api::all(all.clone()), Trim::trim),
            slices: watcher.watch(Api::all(all.clone()), Trim::trim),
            nodes: watcher.watch(Api::all(all.clone()), Trim::trim),
            pools: watcher.watch(Api::namespaced(all.clone(), &args.namespace), Trim::trim),
            advertisements: watcher.watch(Api::namespaced(all, &args.namespace), Trim::trim),
        }
    }

    /// Returns when each store was listed; never, when a watch ended before.
    async fn listed(&self) {
        let waits = futures::join!(
            self.services.wait_until_ready(),
            self.slices.wait_until_ready(),
            self.nodes.wait_until_ready(),
            self.pools.wait_until_ready(),
            self.advertisements.wait_until_ready(),
        );
        if !matches!(waits, (Ok(()), Ok(()), Ok(()), Ok(()), Ok(()))) {
            std::future::pending::<()>().await;
        }
    }

    fn snapshot(&self, lb_class: Option<&str>, problems: &mut Problems) -> Snapshot {
        let slices = self.slices.state();
        let stored = self.pools.state();
        let count = stored.len();
        let pools = problems.usable("IPAddressPool", stored, IPAddressPool::to_core);
        Snapshot {
            some_pools_unusable: pools.len() < count,
            pools,
            advertisements: problems.usable(
                "L2Advertisement",
                self.advertisements.state(),
                L2Advertisement::to_core,
            ),
            services: candidates(&self.services.state(), &slices, lb_class),
            nodes: self.nodes.state().iter().filter_map(|node| node.to_core()).collect(),
        }
    }
}

/// The Services of ours, each with its endpoints.
fn candidates(
    services: &[Arc<Service>],
    slices: &[Arc<EndpointSlice>],
    lb_class: Option<&str>,
) -> Vec<Candidate> {
    let ours = services.iter().filter_map(|service| service.to_core(lb_class));
    let ours = ours.filter(|service| service.role == Role::Ours);
    let mut candidates: BTreeMap<ServiceKey, Candidate> = ours
        .map(|service| (service.key.clone(), Candidate { service, endpoints: Endpoints::default() }))
        .collect();
    for slice in slices {
        let Some(candidate) = slice.service().and_then(|key| candidates.get_mut(&key)) else { continue };
        for node in slice.serving_nodes() {
            candidate.endpoints.add(node);
        }
    }
    candidates.into_values().collect()
}

/// Keeps `elected` equal to what the stores say, until `shutdown`. `node` is this node's name.
pub async fn elect(
    node: String,
    stores: Stores,
    args: CommonArgs,
    changes: Changes,
    elected: watch::Sender<Elected>,
    context: Context,
) {
    let mut problems = Problems::default();
    if context.shutdown.run_until_cancelled(stores.listed()).await.is_none() {
        return;
    }
    loop {
        let snapshot = stores.snapshot(args.lb_class(), &mut problems);
        problems.check_node(&node, &snapshot);
        let outcome = decide(&snapshot);
        problems.told();
        elected.send_if_modified(|known| {
            let changed = known.as_deref() != Some(&outcome);
            if changed {
                *known = Some(Arc::new(outcome));
            }
            changed
        });
        let next = tokio::time::timeout(RESYNC, changes.changed());
        if context.shutdown.run_until_cancelled(next).await.is_none() {
            return;
        }
    }
}

/// The objects that cannot be used, each named in the log once for each thing that is wrong with it.
#[derive(Debug, Default)]
struct Problems {
    told: BTreeSet<String>,
    now: BTreeSet<String>,
}

impl Problems {
    /// What can be used of `objects`; the rest is set aside and named.
    fn usable<K, T, E>(
        &mut self,
        kind: &str,
        objects: Vec<Arc<K>>,
        convert: impl Fn(&K) -> Result<T, E>,
    ) -> Vec<T>
    where
        K: kube::Resource,
        E: std::fmt::Display,
    {
        let mut usable = Vec::with_capacity(objects.len());
        for object in objects {
            match convert(&object) {
                Ok(made) => usable.push(made),
                Err(problem) => {
                    let name = object.meta().name.as_deref().unwrap_or_default();
                    self.now.insert(format!("{kind} {name} is not used: {problem}"));
                }
            }
        }
        usable
    }

    /// Whether there is a Node of this speaker's name: without one it never owns anything.
    fn check_node(&mut self, node: &str, snapshot: &Snapshot) {
        if !snapshot.nodes.iter().any(|known| known.name == node) {
            self.now.insert(format!(
                "no Node is called {node:?}, so this speaker announces nothing: set --node-name to this node's name \
                 in `kubectl get nodes`"
            ));
        }
    }

    /// Logs what is new, and forgets what is mended.
    fn told(&mut self) {
        let now = std::mem::take(&mut self.now);
        for problem in now.difference(&self.told) {
            tracing::warn!("{problem}");
        }
        self.told = now;
    }
}

#[cfg(test)]
mod tests;
