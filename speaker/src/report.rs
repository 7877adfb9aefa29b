//! What the log and the metrics say of the addresses that this node announces.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrolb_core::announce::Announcer;
use ferrolb_core::election::{Announcement, Outcome};
use ferrolb_core::service::ServiceKey;

use crate::metrics::Metrics;

/// Keeps the metrics true and tells changes in the log, each once.
pub(crate) struct Report {
    node: String,
    metrics: Metrics,
    /// What the election gives this node.
    desired: BTreeMap<IpAddr, Announcement>,
    /// What it announces, with the Services that have it.
    announced: BTreeMap<IpAddr, BTreeSet<ServiceKey>>,
    /// The IPv6 addresses that were said not to be answered for.
    unanswered: BTreeSet<IpAddr>,
}

impl Report {
    pub(crate) fn new(node: String, metrics: Metrics) -> Self {
        Report {
            node,
            metrics,
            desired: BTreeMap::new(),
            announced: BTreeMap::new(),
            unanswered: BTreeSet::new(),
        }
    }

    /// The election has given this node these addresses.
    pub(crate) fn desired(&mut self, desired: BTreeMap<IpAddr, Announcement>, announcer: &Announcer) {
        self.desired = desired;
        // The Services of an address can change while it goes on being announced.
        for (address, ours) in &self.desired {
            if let Some(known) = self.announced.get_mut(address) {
                let told = std::mem::replace(known, ours.services.clone());
                told.difference(known)
                    .for_each(|service| self.metrics.stopped(service, &self.node, *address));
                known
                    .difference(&told)
                    .for_each(|service| self.metrics.started(service, &self.node, *address));
            }
        }
        let unanswered: BTreeSet<IpAddr> = announcer.unanswered().collect();
        let new: Vec<String> = unanswered.difference(&self.unanswered).map(IpAddr::to_string).collect();
        if !new.is_empty() {
            tracing::warn!(
                addresses = new.join(", "),
                "elected for IPv6 addresses, which nobody answers for: this version speaks ARP, not yet NDP"
            );
        }
        self.unanswered = unanswered;
    }

    /// `address` is now announced on these interfaces; on none any more when they are empty.
    pub(crate) fn announcing(&mut self, address: IpAddr, interfaces: &BTreeSet<&str>, outcome: &Outcome) {
        if interfaces.is_empty() {
            self.stopped(address, outcome);
        } else {
            self.started(address, interfaces, outcome);
        }
    }

    fn started(&mut self, address: IpAddr, interfaces: &BTreeSet<&str>, outcome: &Outcome) {
        let services = self.desired.get(&address).map(|ours| ours.services.clone()).unwrap_or_default();
        let eligible = outcome.owners.get(&address).map_or(0, |owner| owner.eligible);
        let on = interfaces.iter().copied().collect::<Vec<_>>().join(", ");
        let named = names(&services);
        if self.announced.contains_key(&address) {
            tracing::info!(ip = %address, services = named, interfaces = on, "announcing on other interfaces");
        } else {
            let why = format!("first of {eligible} eligible nodes");
            tracing::info!(ip = %address, services = named, interfaces = on, why, "announcing");
        }
        services.iter().for_each(|service| self.metrics.started(service, &self.node, address));
        self.announced.insert(address, services);
    }

    fn stopped(&mut self, address: IpAddr, outcome: &Outcome) {
        // Also of an address that was lost before it was announced: it may have been asked for.
        self.metrics.forget(address);
        let Some(services) = self.announced.remove(&address) else { return };
        services.iter().for_each(|service| self.metrics.stopped(service, &self.node, address));
        let why = self.why_not(address, &services, outcome);
        tracing::info!(ip = %address, services = names(&services), why, "no longer announcing");
    }

    /// Why this node does not announce an address that it announced until now.
    fn why_not(&self, address: IpAddr, services: &BTreeSet<ServiceKey>, outcome: &Outcome) -> String {
        if let Some(owner) = outcome.owners.get(&address) {
            return match owner.node == self.node {
                true => "no interface that its advertisements name can be used".to_owned(),
                false => format!("node {} is first now", owner.node),
            };
        }
        let nobody = |service: &ServiceKey| Some(format!("{service} {}", outcome.nobody.get(service)?));
        services.iter().find_map(nobody).unwrap_or_else(|| "no Service has it any more".to_owned())
    }

    /// The program ends.
    pub(crate) fn ended(&self) {
        for (address, services) in &self.announced {
            tracing::info!(ip = %address, services = names(services), why = "the speaker ends", "no longer announcing");
        }
    }
}

fn names(services: &BTreeSet<ServiceKey>) -> String {
    services.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
