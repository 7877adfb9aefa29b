//! What the API server has and lets FerroLB do.

use std::collections::BTreeSet;

use super::super::Facts;
use super::super::collect::DEFINITIONS;
use super::Outcome;
use crate::migrate::Product;

/// The oldest API server that takes the definitions.
const OLDEST: (u32, u32) = (1, 33);

/// The policies of `config/admission`.
const POLICIES: usize = 3;

pub(super) fn version(facts: &Facts) -> Outcome {
    match facts.server {
        None => Outcome::unread(),
        Some((major, minor)) if (major, minor) < OLDEST => Outcome::wrong(format!("it is {major}.{minor}")),
        Some((major, minor)) => Outcome::Says(format!("it is {major}.{minor}")),
    }
}

pub(super) fn definitions(facts: &Facts) -> Outcome {
    let Some(there) = &facts.definitions else { return Outcome::unread() };
    let missing = DEFINITIONS
        .iter()
        .filter(|plural| !there.iter().any(|definition| definition.plural == **plural))
        .map(|plural| format!("{plural}.metallb.io is not there"));
    let wrong = there.iter().filter_map(|definition| {
        let version = if definition.plural == "bgppeers" { "v1beta2" } else { "v1beta1" };
        let name = format!("{}.metallb.io", definition.plural);
        if !definition.served.iter().any(|served| served == version) {
            Some(format!("{name} does not serve {version}"))
        } else if !definition.established {
            Some(format!("{name} is not served (its condition Established is not True)"))
        } else if !definition.ours {
            Some(format!("{name} is not FerroLB's: it lacks excludeAddresses"))
        } else {
            None
        }
    });
    Outcome::failed(missing.chain(wrong))
}

pub(super) fn conversion(facts: &Facts) -> Outcome {
    let Some(there) = &facts.definitions else { return Outcome::unread() };
    let by_webhook = there.iter().filter(|definition| definition.webhook);
    Outcome::failed(
        by_webhook.map(|definition| format!("{}.metallb.io is converted by a webhook", definition.plural)),
    )
}

pub(super) fn webhooks(facts: &Facts) -> Outcome {
    let Some(hooks) = &facts.webhooks else { return Outcome::unread() };
    let metallb = facts
        .look
        .workloads
        .iter()
        .any(|workload| workload.product == Some(Product::MetallbController) && workload.replicas > 0);
    let found = hooks.iter().map(|hook| format!("{} calls {}", hook.configuration, hook.service));
    // With its controller it is what it is meant to be.
    if metallb { Outcome::warning(found) } else { Outcome::failed(found) }
}

pub(super) fn admission(facts: &Facts) -> Outcome {
    let Some((policies, bound)) = &facts.policies else { return Outcome::unread() };
    let unbound: BTreeSet<&String> = policies.difference(bound).collect();
    let few = (policies.len() < POLICIES).then(|| {
        format!("{} of {POLICIES} ValidatingAdmissionPolicies of FerroLB are there", policies.len())
    });
    Outcome::warning(
        few.into_iter()
            .chain(unbound.into_iter().map(|name| format!("ValidatingAdmissionPolicy {name} is not bound"))),
    )
}

pub(super) fn rights(facts: &Facts, program: &str) -> Outcome {
    let Some(rights) = &facts.rights else { return Outcome::unread() };
    let lacking = rights.iter().filter(|right| right.program == program && !right.allowed);
    Outcome::failed(lacking.map(ToString::to_string))
}

pub(super) fn namespace(facts: &Facts) -> Outcome {
    let name = &facts.look.namespace;
    let Some(found) = &facts.namespace else { return Outcome::unread() };
    let Some(labels) = found else { return Outcome::wrong(format!("there is no namespace {name}")) };
    let enforced = labels.get("pod-security.kubernetes.io/enforce");
    let refused = enforced
        .filter(|level| *level != "privileged")
        .map(|level| format!("{name} enforces the Pod Security level {level}, which refuses speakers"));
    // By the chart, policies name the namespace; by kustomize they look for the label.
    let helm = facts.look.workloads.iter().any(|workload| {
        workload.namespace == *name
            && workload.labels.get("app.kubernetes.io/managed-by").is_some_and(|by| by == "Helm")
    });
    let unlabelled = !labels.contains_key("ferrolb.io/configuration") && !helm;
    let policies = facts.policies.as_ref().is_some_and(|(policies, _)| !policies.is_empty());
    let unknown = (unlabelled && policies).then(|| {
        format!("{name} lacks the label ferrolb.io/configuration, so its policies refuse pools there")
    });
    Outcome::failed(refused.into_iter().chain(unknown))
}
