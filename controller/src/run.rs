//! The loop: look, plan, write, look again.

use std::time::{Duration, Instant};

use ferrolb_core::allocate::{self, Plan, Snapshot, Verdict};
use ferrolb_crds::IPAddressPool;
use ferrolb_crds::view::{Namespace, Service, Trim};
use ferrolb_runtime::{Changes, ClientError, CommonArgs, Context, Watcher, client};
use futures::{StreamExt, stream};
use kube::{Api, Client, Resource, ResourceExt};

use crate::cluster::{Cluster, Stores};
use crate::events::Events;
use crate::metrics::Metrics;
use crate::unseen::Unseen;
use crate::writer::{self, Outcome};
use crate::writes::{Write, writes};

/// So many requests are under way at once.
const WRITERS: usize = 16;

/// So many writes are done before the stores are looked at again.
const ROUND: usize = 256;

/// Everything is looked at again at least so often, changed or not.
const RESYNC: Duration = Duration::from_secs(60);

/// After a failed write the next try waits this long, doubled up to [`RESYNC`].
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// Runs the controller until `context.shutdown`.
///
/// # Errors
/// When there is no client to be had: nothing to watch, so nothing to retry.
pub async fn run(args: &CommonArgs, context: Context) -> Result<(), ClientError> {
    let client = client(args).await?;
    let watcher = Watcher { context: context.clone(), changes: Changes::default() };
    let stores = Stores {
        services: watcher.watch(Api::<Service>::all(client.clone()), Trim::trim),
        pools: watcher.watch(Api::<IPAddressPool>::namespaced(client.clone(), &args.namespace), Trim::trim),
        namespaces: watcher.watch(Api::<Namespace>::all(client.clone()), Trim::trim),
    };
    let mut controller = Controller {
        events: Events::start(client.clone(), context.shutdown.clone()),
        metrics: Metrics::new(&context),
        lb_class: args.lb_class().map(str::to_owned),
        client,
        stores,
        unseen: Unseen::default(),
        last: Snapshot::default(),
        retry: FIRST_RETRY,
    };
    let mut again = RESYNC;
    loop {
        tokio::select! {
            () = context.shutdown.cancelled() => return Ok(()),
            () = watcher.changes.changed() => {}
            () = tokio::time::sleep(again) => {}
        }
        // A plan on half a picture would take addresses for free that are not.
        if !context.readiness.waiting().is_empty() {
            again = RESYNC;
            continue;
        }
        tokio::select! {
            () = context.shutdown.cancelled() => return Ok(()),
            next = controller.round() => again = next,
        }
    }
}

struct Controller {
    client: Client,
    stores: Stores,
    lb_class: Option<String>,
    unseen: Unseen,
    events: Events,
    metrics: Metrics,
    /// The last snapshot, for the metrics of pools that are gone.
    last: Snapshot,
    retry: Duration,
}

impl Controller {
    /// One round; returns how long to wait for the next one if nothing changes.
    ///
    /// 1. Writes of unknown outcome are repeated until they are clear.
    /// 2. The stores are read and a plan is made.
    /// 3. Pools that cannot be used, and Services that get nothing, are told why.
    /// 4. What differs is written; what had to wait, or did not fit in, comes in the next round at once.
    async fn round(&mut self) -> Duration {
        let repeated = self.write_all(self.unseen.to_repeat()).await;

        let started = Instant::now();
        let cluster = Cluster::read(&self.stores, &mut self.unseen, self.lb_class.as_deref());
        let plan = allocate::plan(&cluster.snapshot);
        self.metrics.plan_seconds.set(started.elapsed().as_secs_f64());
        self.metrics.show(&self.last, &cluster.snapshot, &plan);

        self.tell(&cluster, &plan);

        let mut todo = writes(&cluster.services, &cluster.snapshot, &plan);
        let more = todo.later > 0 || todo.now.len() > ROUND;
        todo.now.truncate(ROUND);
        let wrote = !todo.now.is_empty();
        let written = self.write_all(todo.now).await;
        self.last = cluster.snapshot;

        if !repeated || !written {
            self.retry = (self.retry * 2).min(RESYNC);
            return self.retry;
        }
        self.retry = FIRST_RETRY;
        if more && wrote { Duration::ZERO } else { RESYNC }
    }

    /// Says what is wrong with pools and why Services wait, each once.
    fn tell(&mut self, cluster: &Cluster, plan: &Plan) {
        let bad = &cluster.bad_pools;
        let pools = self.stores.pools.state();
        self.events.keep_only(|| {
            let services = cluster.services.values().filter_map(|service| service.metadata.uid.clone());
            services.chain(pools.iter().filter_map(|pool| pool.metadata.uid.clone())).collect()
        });
        for pool in pools {
            let Some(uid) = pool.uid() else { continue };
            match bad.iter().find(|bad| bad.pool.uid().as_ref() == Some(&uid)) {
                Some(bad) => {
                    let note = format!("not used: {}", bad.why);
                    if self.events.complain(pool.object_ref(&()), "InvalidPool", "Reading", &note) {
                        tracing::warn!(pool = pool.name_any(), "{note}");
                    }
                }
                None => {
                    if self.events.settled(&uid) {
                        tracing::info!(pool = pool.name_any(), "the pool can be used now");
                    }
                }
            }
        }
        for (key, verdict) in &plan.verdicts {
            let Some(service) = cluster.services.get(key) else { continue };
            if let Verdict::Pending(why) = verdict {
                let note = why.to_string();
                if self.events.complain(service.object_ref(&()), "AllocationFailed", "Allocating", &note) {
                    tracing::info!(service = %key, "no address: {note}");
                }
            } else {
                self.events.settled(service.metadata.uid.as_deref().unwrap_or_default());
            }
        }
    }

    /// Does all `writes`, side by side; returns whether each one came to a clear end.
    async fn write_all(&mut self, writes: Vec<Write>) -> bool {
        let client = self.client.clone();
        let mut done = stream::iter(writes)
            .map(|write| {
                let client = client.clone();
                async move { (writer::write(&client, &write).await, write) }
            })
            .buffer_unordered(WRITERS);
        let mut clear = true;
        while let Some((outcome, write)) = done.next().await {
            clear &= self.note(outcome, write);
        }
        clear
    }

    /// Remembers and tells what became of `write`; returns whether that is clear.
    fn note(&mut self, outcome: Outcome, write: Write) -> bool {
        let (service, key) = (write.key.to_string(), &write.key);
        match outcome {
            Outcome::Done(object) => {
                self.metrics.updates.inc();
                self.announce(&write, &object);
                self.unseen.known(key.clone(), write.based_on, object);
            }
            Outcome::Superseded(object) => {
                tracing::debug!(service, "it changed meanwhile; looking again");
                self.unseen.known(key.clone(), write.based_on, object);
            }
            Outcome::Gone => self.unseen.nothing(key),
            Outcome::Refused(why) => {
                self.metrics.update_errors.inc();
                tracing::warn!(service, "the API server refuses to write its status: {why}; trying again");
                self.unseen.nothing(key);
                return false;
            }
            Outcome::Unknown(why) => {
                self.metrics.update_errors.inc();
                tracing::warn!(service, "cannot tell whether its status was written: {why}; trying again");
                self.unseen.uncertain(write);
                return false;
            }
        }
        true
    }

    /// The line that an operator wants to read, in the log and as an event.
    fn announce(&self, write: &Write, object: &Service) {
        let about = object.object_ref(&());
        let service = write.key.to_string();
        match &write.give {
            Some(given) => {
                let list: Vec<String> = write.addresses().iter().map(ToString::to_string).collect();
                let note = format!("assigned {} from pool {:?}", list.join(" and "), given.pool);
                tracing::info!(service, "{note}");
                self.events.normal(about, "IPAllocated", "Allocating", note);
            }
            None => {
                tracing::info!(service, "its address was taken back");
                let note = "its address was taken back: it may no longer have it".to_owned();
                self.events.normal(about, "ClearAssignment", "Releasing", note);
            }
        }
    }
}
