//! Metrics, under the names that MetalLB's users have in their dashboards.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use ferrolb_core::allocate::{Plan, Snapshot, Verdict};
use ferrolb_runtime::Context;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// The controller's metrics.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    total: Family<PoolLabel, Gauge>,
    in_use: Family<PoolLabel, Gauge>,
    /// Writes to Services that were done.
    pub updates: Counter,
    /// Writes to Services that failed.
    pub update_errors: Counter,
    pending: Gauge,
    /// How long the last round took to decide, in seconds.
    pub plan_seconds: Gauge<f64, AtomicU64>,
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
            allocator.register("addresses_total", "Addresses of the pool", all.total);
            allocator.register(
                "addresses_in_use_total",
                "Addresses of the pool that Services have",
                all.in_use,
            );
            let client = registry.sub_registry_with_prefix("metallb_k8s_client");
            client.register("updates", "Writes to Services that were done", all.updates);
            client.register("update_errors", "Writes to Services that failed", all.update_errors);
            let own = registry.sub_registry_with_prefix("ferrolb_controller");
            own.register("services_pending", "Services that wait for an address", all.pending);
            own.register("plan_seconds", "How long the last round took to decide", all.plan_seconds);
        });
        metrics
    }

    /// Shows what is in use once `plan` is written.
    pub fn show(&self, before: &Snapshot, snapshot: &Snapshot, plan: &Plan) {
        let mut in_use: BTreeMap<&str, i64> = BTreeMap::new();
        let mut pending = 0;
        for verdict in plan.verdicts.values() {
            match verdict {
                Verdict::Assigned(given) => {
                    *in_use.entry(&given.pool).or_default() +=
                        i64::try_from(given.addresses.len()).unwrap_or(i64::MAX);
                }
                Verdict::Pending(_) => pending += 1,
                Verdict::Untouched | Verdict::Released => {}
            }
        }
        self.pending.set(pending);
        for (name, pool) in &snapshot.pools {
            let label = PoolLabel { pool: name.clone() };
            let size = pool.ranges.iter().fold(0u128, |sum, range| sum.saturating_add(range.size()));
            self.total.get_or_create(&label).set(i64::try_from(size).unwrap_or(i64::MAX));
            self.in_use.get_or_create(&label).set(in_use.get(name.as_str()).copied().unwrap_or(0));
        }
        for name in before.pools.keys().filter(|name| !snapshot.pools.contains_key(*name)) {
            let label = PoolLabel { pool: name.clone() };
            self.total.remove(&label);
            self.in_use.remove(&label);
        }
    }
}
