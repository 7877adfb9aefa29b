//! Metrics, under the names that MetalLB's users have in their dashboards.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ferrolb_runtime::Context;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::brain::{Brain, Figures, Outcome, Reign};

/// Seconds that a round takes to decide: from one Service to ten thousand.
const DECIDING: [f64; 7] = [0.0001, 0.0005, 0.002, 0.01, 0.05, 0.2, 1.0];

/// Seconds that a write waits for its turn.
const WAITING: [f64; 7] = [0.0005, 0.002, 0.01, 0.05, 0.2, 1.0, 5.0];

/// The controller's metrics. Clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    context: Context,
    /// Size and use of each pool: in all, IPv4, IPv6.
    total: [Family<PoolLabel, Gauge>; 3],
    in_use: [Family<PoolLabel, Gauge>; 3],
    services: Family<PoolLabel, Gauge>,
    updates: Family<Became, Counter>,
    under_way: Gauge,
    write_wait: Histogram,
    /// Writes to pools' statuses.
    pub(crate) pool_updates: Counter,
    pending: Gauge,
    conflicts: Gauge,
    leading: Gauge,
    deciding: Histogram,
    queue: Gauge,
    shown: Figures,
}

/// A write waits for its turn.
#[derive(Debug)]
pub(crate) struct Turn {
    since: Instant,
    waited: Histogram,
}

impl Turn {
    /// It is sent now.
    pub(crate) fn came(self) {
        self.waited.observe(self.since.elapsed().as_secs_f64());
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabel {
    pool: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Became {
    outcome: &'static str,
}

impl Metrics {
    /// Makes them and adds them to `/metrics`.
    pub fn new(context: &Context) -> Self {
        let metrics = Metrics {
            context: context.clone(),
            total: <[Family<PoolLabel, Gauge>; 3]>::default(),
            in_use: <[Family<PoolLabel, Gauge>; 3]>::default(),
            services: Family::default(),
            updates: Family::default(),
            under_way: Gauge::default(),
            write_wait: Histogram::new(WAITING),
            pool_updates: Counter::default(),
            pending: Gauge::default(),
            conflicts: Gauge::default(),
            leading: Gauge::default(),
            deciding: Histogram::new(DECIDING),
            queue: Gauge::default(),
            shown: Figures::default(),
        };
        context.register(|registry| metrics.register(registry));
        metrics
    }

    fn register(&self, registry: &mut Registry) {
        let allocator = registry.sub_registry_with_prefix("metallb_allocator");
        let kinds = [("", "Addresses"), ("ipv4_", "IPv4 addresses"), ("ipv6_", "IPv6 addresses")];
        for (index, (prefix, what)) in kinds.into_iter().enumerate() {
            let total = self.total[index].clone();
            allocator.register(format!("{prefix}addresses_total"), format!("{what} of the pool"), total);
            let in_use = self.in_use[index].clone();
            let words = format!("{what} of the pool that Services have");
            allocator.register(format!("{prefix}addresses_in_use_total"), words, in_use);
        }
        let words = "Services that have addresses of the pool";
        allocator.register("services_allocated_total", words, self.services.clone());
        let own = registry.sub_registry_with_prefix("ferrolb_controller");
        own.register("services_pending", "Services that wait for an address", self.pending.clone());
        own.register(
            "services_in_conflict",
            "Services of which another host on the network has an address, as speakers report",
            self.conflicts.clone(),
        );
        own.register(
            "service_updates",
            "Writes to Services, by outcome: done, superseded (the Service had changed), gone, refused, unknown (no clear answer), \
             not_sent (the lead was about to end)",
            self.updates.clone(),
        );
        own.register(
            "service_updates_under_way",
            "Writes to Services that wait for their turn or for an answer",
            self.under_way.clone(),
        );
        own.register(
            "service_update_wait_seconds",
            "How long a write to a Service waited for its turn before it was sent",
            self.write_wait.clone(),
        );
        own.register("pool_updates", "Writes to the status of pools", self.pool_updates.clone());
        own.register("leading", "1 for the replica that decides, else 0", self.leading.clone());
        own.register("decide_seconds", "How long a round took to decide", self.deciding.clone());
        own.register(
            "queue_length",
            "What watches and answers told at once before the last round",
            self.queue.clone(),
        );
    }

    /// A write waits for its turn from now on.
    pub(crate) fn write_begins(&self) -> Turn {
        self.under_way.inc();
        Turn { since: Instant::now(), waited: self.write_wait.clone() }
    }

    /// It was answered, or was not sent after all.
    pub(crate) fn written(&self, outcome: &Outcome) {
        self.under_way.dec();
        self.updates.get_or_create(&Became { outcome: outcome.name() }).inc();
    }

    /// So much was told at once.
    pub(crate) fn told(&self, count: usize) {
        self.queue.set(number(count));
    }

    /// Shows what the brain came to in `took`.
    pub fn show(&mut self, brain: &Brain, took: Duration) {
        self.deciding.observe(took.as_secs_f64());
        self.leading.set(i64::from(*brain.reign() == Reign::Leading));
        if let Some(valid) = brain.is_configured() {
            self.context.configured(valid);
        }
        if self.shown != brain.figures {
            self.show_figures(&brain.figures);
        }
    }

    fn show_figures(&mut self, figures: &Figures) {
        self.pending.set(number(figures.pending));
        self.conflicts.set(number(figures.conflicts));
        for (name, [(v4, v4_used), (v6, v6_used)]) in &figures.pools {
            let label = PoolLabel { pool: name.clone() };
            let sizes = [v4.saturating_add(*v6), *v4, *v6];
            let used = [v4_used.saturating_add(*v6_used), *v4_used, *v6_used];
            for index in 0..3 {
                let size = i64::try_from(sizes[index]).unwrap_or(i64::MAX);
                self.total[index].get_or_create(&label).set(size);
                self.in_use[index].get_or_create(&label).set(used[index]);
            }
            let services = figures.services.get(name).copied().unwrap_or_default();
            self.services.get_or_create(&label).set(services);
        }
        let now: BTreeSet<&String> = figures.pools.keys().collect();
        for name in self.shown.pools.keys().filter(|name| !now.contains(name)) {
            let label = PoolLabel { pool: name.clone() };
            self.total.iter().chain(&self.in_use).chain([&self.services]).for_each(|family| {
                family.remove(&label);
            });
        }
        self.shown = figures.clone();
    }

    /// Gives each family a member, so that its labels can be seen: for what is written about them.
    pub fn exemplify(&mut self) {
        let pools = [("lan".to_owned(), [(1, 0), (0, 0)])];
        self.show_figures(&Figures { pools: pools.into(), ..Figures::default() });
        self.write_begins().came();
        self.written(&Outcome::NotSent);
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_goes_takes_its_series_with_it() {
        let context = Context::default();
        let mut metrics = Metrics::new(&context);
        let mut figures = Figures {
            pools: [("lan".to_owned(), [(4, 2), (8, 1)]), ("wan".to_owned(), [(1, 0), (0, 0)])].into(),
            services: [("lan".to_owned(), 2)].into(),
            pending: 3,
            conflicts: 1,
        };
        metrics.show_figures(&figures);
        let text = context.exposition().unwrap();
        for line in [
            r#"metallb_allocator_addresses_total{pool="lan"} 12"#,
            r#"metallb_allocator_addresses_in_use_total{pool="lan"} 3"#,
            r#"metallb_allocator_ipv6_addresses_in_use_total{pool="lan"} 1"#,
            r#"metallb_allocator_services_allocated_total{pool="lan"} 2"#,
            r#"metallb_allocator_services_allocated_total{pool="wan"} 0"#,
            "ferrolb_controller_services_pending 3",
            "ferrolb_controller_services_in_conflict 1",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\nis not in\n{text}");
        }
        figures.pools.remove("lan");
        metrics.show_figures(&figures);
        assert!(!context.exposition().unwrap().contains("lan"));
    }
}
