//! Services, and what the network says of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::super::Facts;
use super::Outcome;
use crate::status::{State, Status};

/// The Services of `facts` that stand so, with why.
fn standing(facts: &Facts, state: State) -> impl Iterator<Item = String> {
    let status = Status::of(&facts.look);
    let found = status.services.into_iter().filter(move |service| service.state == state);
    found.map(|service| format!("Service {}/{}: {}", service.namespace, service.name, service.message))
}

pub(super) fn pending(facts: &Facts) -> Outcome {
    Outcome::failed(standing(facts, State::Pending))
}

pub(super) fn unannounced(facts: &Facts) -> Outcome {
    Outcome::failed(standing(facts, State::NotAnnounced))
}

pub(super) fn conflicts(facts: &Facts) -> Outcome {
    Outcome::failed(standing(facts, State::Conflict))
}

pub(super) fn deprecated(facts: &Facts) -> Outcome {
    let old = facts.look.ours().filter(|(_, service)| !service.deprecated.is_empty());
    Outcome::warning(old.map(|(key, service)| format!("Service {key}: {}", service.deprecated.join(", "))))
}

pub(super) fn probe(facts: &Facts) -> Outcome {
    let Some(answers) = &facts.answers else {
        return Outcome::Unknown("the network was not asked: --probe does".to_owned());
    };
    let services = facts.addresses();
    // Of each address, who answered where: by Ethernet address, since one that is no node's has no name.
    let mut seen: BTreeMap<IpAddr, BTreeMap<&str, Option<&str>>> = BTreeMap::new();
    for answer in answers.values().filter_map(|told| told.as_ref().ok()).flatten() {
        let known = seen.entry(answer.address).or_default().entry(&answer.mac).or_default();
        *known = known.or(answer.node.as_deref());
    }
    let name = |address: &IpAddr| services.get(address).map_or("no Service", String::as_str);
    let mut found = Vec::new();
    for (address, stations) in &seen {
        let strangers = stations.iter().filter(|(_, node)| node.is_none()).map(|(mac, _)| *mac);
        for mac in strangers {
            found.push(format!(
                "{address} ({}): {mac} answers, which is of no node that is heard",
                name(address)
            ));
        }
        for (asker, nodes) in of_one_link(answers, *address) {
            if nodes.len() > 1 {
                let nodes: Vec<&str> = nodes.into_iter().collect();
                found.push(format!(
                    "{address} ({}): {} answer {asker} on one link",
                    name(address),
                    nodes.join(" and ")
                ));
            }
        }
    }
    let failed = answers.iter().filter_map(|(node, told)| Some((node, told.as_ref().err()?)));
    let failed: Vec<String> = failed.map(|(node, why)| format!("{node} did not ask: {why}")).collect();
    if !found.is_empty() {
        found.extend(failed);
        return Outcome::Failed(found);
    }
    if !failed.is_empty() || answers.is_empty() {
        return Outcome::Unknown(if failed.is_empty() {
            "no speaker asked".to_owned()
        } else {
            failed.join("; ")
        });
    }
    // Whoever owns an address does not answer itself, so of a cluster with one node none is heard.
    let silent: Vec<String> = services
        .iter()
        .filter(|(address, _)| answers.len() > 1 && !seen.contains_key(*address))
        .map(|(address, service)| format!("{address} ({service}): nobody answers"))
        .collect();
    if silent.is_empty() {
        return Outcome::Says(format!("{} speakers asked for {} addresses", answers.len(), services.len()));
    }
    Outcome::Failed(silent)
}

/// The nodes that answered one asker on one of its links.
fn of_one_link(
    answers: &BTreeMap<String, Result<Vec<ferrolb_crds::admin::Answer>, String>>,
    address: IpAddr,
) -> BTreeMap<String, BTreeSet<&str>> {
    let mut links: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (asker, told) in answers {
        for answer in told.iter().flatten().filter(|answer| answer.address == address) {
            let nodes = links.entry(format!("{asker} ({})", answer.interface)).or_default();
            nodes.extend(answer.node.as_deref());
        }
    }
    links
}
