//! Metrics, under the names that MetalLB's users have in their dashboards.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ferrolb_runtime::Context;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::brain::{Brain, Figures, Reign};

/// The controller's metrics.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Size and use of each pool: in all, IPv4, IPv6.
    total: [Family<PoolLabel, Gauge>; 3],
    in_use: [Family<PoolLabel, Gauge>; 3],
    /// Writes to Services that were done.
    pub updates: Counter,
    /// Writes to Services that failed.
    pub update_errors: Counter,
    /// Writes to pools' statuses.
    pub pool_updates: Counter,
    pending: Gauge,
    leading: Gauge,
    plan_seconds: Gauge<f64, AtomicU64>,
    shown: Figures,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabel {
    pool: String,
}

impl Metrics {
    /// Makes them and adds them to `/metrics`.
    pub fn new(context: &Context) -> Self {
        let metrics = Metrics::default();
        let all = metrics.clone();
        context.register(|registry| {
            let allocator = registry.sub_registry_with_prefix("metallb_allocator");
            let kinds = [("", "Addresses"), ("ipv4_", "IPv4 addresses"), ("ipv6_", "IPv6 addresses")];
            for (index, (prefix, what)) in kinds.into_iter().enumerate() {
                let total = all.total[index].clone();
                allocator.register(format!("{prefix}addresses_total"), format!("{what} of the pool"), total);
                let in_use = all.in_use[index].clone();
                let words = format!("{what} of the pool that Services have");
                allocator.register(format!("{prefix}addresses_in_use_total"), words, in_use);
            }
            let client = registry.sub_registry_with_prefix("metallb_k8s_client");
            client.register("updates", "Writes to Services that were done", all.updates);
            client.register("update_errors", "Writes to Services that failed", all.update_errors);
            let own = registry.sub_registry_with_prefix("ferrolb_controller");
            own.register("services_pending", "Services that wait for an address", all.pending);
            own.register("pool_updates", "Writes to the status of pools", all.pool_updates);
            own.register("leading", "1 for the replica that decides, else 0", all.leading);
            own.register("decide_seconds", "How long the last round took to decide", all.plan_seconds);
        });
        metrics
    }

    /// Shows what the brain came to in `took`.
    pub fn show(&mut self, brain: &Brain, took: Duration) {
        self.plan_seconds.set(took.as_secs_f64());
        self.leading.set(i64::from(*brain.reign() == Reign::Leading));
        if self.shown == brain.figures {
            return;
        }
        self.pending.set(i64::try_from(brain.figures.pending).unwrap_or(i64::MAX));
        for (name, [(v4, v4_used), (v6, v6_used)]) in &brain.figures.pools {
            let label = PoolLabel { pool: name.clone() };
            let sizes = [v4.saturating_add(*v6), *v4, *v6];
            let used = [v4_used.saturating_add(*v6_used), *v4_used, *v6_used];
            for index in 0..3 {
                let size = i64::try_from(sizes[index]).unwrap_or(i64::MAX);
                self.total[index].get_or_create(&label).set(size);
                self.in_use[index].get_or_create(&label).set(used[index]);
            }
        }
        let now: BTreeSet<&String> = brain.figures.pools.keys().collect();
        for name in self.shown.pools.keys().filter(|name| !now.contains(name)) {
            let label = PoolLabel { pool: name.clone() };
            self.total.iter().chain(&self.in_use).for_each(|family| {
                family.remove(&label);
            });
        }
        self.shown = brain.figures.clone();
    }
}
