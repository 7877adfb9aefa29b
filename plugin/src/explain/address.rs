//! The address of a Service, or each pool and why not.

use ferrolb_core::allocate::consider;
use ferrolb_core::service::{Role, ServiceKey};

use super::path::{Step, Verdict};
use crate::look::{Look, Pools, Service};

/// The address, or each pool and why not.
pub(super) fn address(look: &Look, key: &ServiceKey, service: &Service) -> Step {
    const NAME: &str = "address";
    match service.words.role {
        Role::NotLoadBalanced => {
            return Step::new(NAME, Verdict::Ends, "it is not of type LoadBalancer, so it gets no address")
                .change("set spec.type to LoadBalancer", "docs/allocation.md#the-decision");
        }
        Role::Foreign => {
            return Step::new(NAME, Verdict::Ends, "its loadBalancerClass is not the one that FerroLB serves")
                .change(
                    "create it anew without the class, or with FerroLB's (--lb-class): the field cannot be changed",
                    "docs/allocation.md#the-decision",
                );
        }
        Role::Ours => {}
    }
    if service.words.held.is_empty() {
        return pending(look, key, service);
    }
    let addresses: Vec<String> = service.words.held.iter().map(ToString::to_string).collect();
    let pool = service.words.held.first().and_then(|address| look.pool_of(*address));
    let says = match &pool {
        Some(pool) => format!("{} of IPAddressPool {pool}", addresses.join(", ")),
        None => format!("{}, of no IPAddressPool that is there", addresses.join(", ")),
    };
    let conflict = look.announced.get(key).into_iter().flatten().find_map(|by| by.conflict.clone());
    let conflict = conflict.or_else(|| service.conflict.as_ref().map(|condition| condition.message.clone()));
    let remark = service.assigned.as_ref().filter(|condition| {
        condition.status != "True" || !matches!(condition.reason.as_str(), "Assigned" | "")
    });
    let mut step = Step::new(NAME, Verdict::Passes, says);
    if let Some(words) = conflict {
        step.verdict = Verdict::Doubtful;
        step.details.push(words);
        step = step.change(
            "give that host another address, or exclude the address from the pool (excludeAddresses)",
            "docs/conflicts.md#how-it-is-told",
        );
    } else if let Some(condition) = remark {
        step.verdict = Verdict::Doubtful;
        step.details.push(format!("{}: {}", condition.reason, condition.message));
        step.docs = "docs/allocation.md#what-a-service-shows";
    }
    step
}

fn pending(look: &Look, key: &ServiceKey, service: &Service) -> Step {
    let docs = "docs/allocation.md#what-a-service-shows";
    let (says, reason) = match &service.assigned {
        Some(condition) => (condition.message.clone(), condition.reason.as_str()),
        None => ("no controller has looked at it yet".to_owned(), "NotSeen"),
    };
    let mut step = Step::new("address", Verdict::Ends, format!("none ({reason}): {says}"));
    let allocation = look.allocation();
    let considered = consider(&allocation, key);
    let gives = considered.iter().find(|it| it.against.is_none()).map(|it| it.pool.to_owned());
    for it in &considered {
        let words =
            it.against.as_ref().map_or_else(|| "it has what is needed".to_owned(), ToString::to_string);
        step.details.push(format!("pool {}: {words}", it.pool));
    }
    for (name, why) in Pools::of(&look.pools).unusable {
        step.details.push(format!("pool {name}: not used: {why}"));
    }
    let controllers = look.pods.iter().filter(|pod| !pod.speaker);
    let working = controllers.clone().any(|pod| pod.ready);
    let change = match (&gives, working) {
        (_, false) => "the controller is not ready: kubectl ferrolb doctor says why".to_owned(),
        (Some(pool), true) => format!(
            "nothing: pool {pool} has what is needed; wait a moment, and look at the controller's log"
        ),
        (None, true) => remedy(reason).to_owned(),
    };
    step.change(change, docs)
}

/// What to do about a reason of the controller; docs/allocation.md has the same in its table.
fn remedy(reason: &str) -> &'static str {
    match reason {
        "NoPool" => "create an IPAddressPool",
        "NoMatchingPool" => {
            "name a pool by the annotation metallb.io/address-pool, or create one that serves it"
        }
        "PoolExhausted" => "add addresses to one of the pools, or delete Services",
        "FamilyUnavailable" => "add addresses of that family to a pool, or correct ipFamilyPolicy",
        "NoClusterIP" => "give it a cluster IP",
        "InvalidRequest" => "correct the annotation or spec.loadBalancerIP",
        "RequestedFamilyMismatch" => "ask for one address of each of its families",
        "PoolNotFound" => "correct the annotation metallb.io/address-pool, or create or mend that pool",
        "PoolNotAllowed" => "change the pool's serviceAllocation, or ask for another pool",
        "AddressNotInPool" => "add the address to a pool, or ask for another",
        "AddressNotInRequestedPool" => "remove one of the two annotations",
        "AddressExcluded" | "AddressInUse" => "ask for another address",
        "SharingRefused" => "make the two Services fit: the message names the rule",
        _ => "kubectl describe service says more",
    }
}
