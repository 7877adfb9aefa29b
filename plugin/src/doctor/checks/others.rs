//! Others that give addresses, or answer for them.

use super::super::Facts;
use super::Outcome;
use crate::migrate::Product;

/// What k3s has by default.
const SERVICELB: &str = "ServiceLB (k3s)";

pub(super) fn metallb(facts: &Facts) -> Outcome {
    let running = facts.look.workloads.iter().filter(|workload| match workload.product {
        Some(Product::MetallbController) => workload.replicas > 0,
        Some(Product::MetallbSpeaker) => true,
        _ => false,
    });
    Outcome::failed(
        running.map(|workload| format!("{} in namespace {}", workload.path(), workload.namespace)),
    )
}

pub(super) fn servicelb(facts: &Facts) -> Outcome {
    let Some(rivals) = &facts.rivals else { return Outcome::unread() };
    Outcome::failed(rivals.iter().filter(|rival| rival.what == SERVICELB).map(|rival| rival.object.clone()))
}

pub(super) fn rivals(facts: &Facts) -> Outcome {
    let Some(rivals) = &facts.rivals else { return Outcome::unread() };
    let others = rivals.iter().filter(|rival| rival.what != SERVICELB);
    Outcome::warning(others.map(|rival| format!("{}: {}", rival.what, rival.object)))
}

pub(super) fn foreign_addresses(facts: &Facts) -> Outcome {
    let foreign = facts.look.ours().flat_map(|(key, service)| {
        let outside = service.words.held.iter().filter(|address| facts.look.pool_of(**address).is_none());
        outside.map(|address| format!("Service {key} has {address}, of no pool")).collect::<Vec<_>>()
    });
    let broken = facts.look.ours().filter(|(_, service)| service.words.held_is_broken);
    let broken =
        broken.map(|(key, _)| format!("Service {key} has a status with entries that are no addresses"));
    Outcome::failed(foreign.chain(broken))
}
