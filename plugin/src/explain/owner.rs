//! Who answers for a Service on which link, and the order behind that.

use std::collections::{BTreeMap, BTreeSet};

use ferrolb_core::election::{Nobody, Ranking};
use ferrolb_core::service::ServiceKey;

use super::path::{NAMED, Step, Verdict};
use crate::look::{Announced, Candidates, Look, Service};

/// The nodes that announce it, where that is known.
pub(super) fn owners(look: &Look, key: &ServiceKey) -> Vec<Announced> {
    let all = look.announced.get(key).into_iter().flatten();
    all.filter(|by| !by.held_back && (look.nodes.is_empty() || look.nodes.contains_key(&by.node)))
        .cloned()
        .collect()
}

/// Who answers on which link, and the order behind that.
pub(super) fn owner(look: &Look, candidates: &Candidates, key: &ServiceKey, service: &Service) -> Step {
    const NAME: &str = "owner";
    let owners = owners(look, key);
    let ranking = candidates.ranking(look, key);
    let mut step = if owners.is_empty() {
        unowned(look, key, &ranking)
    } else {
        let each = owners.iter().map(|by| format!("{} on {}", by.node, links(look, by)));
        let answer = if owners.len() == 1 { "answers" } else { "answer" };
        let each: Vec<String> = each.collect();
        Step::new(NAME, Verdict::Passes, format!("{} {answer} ARP and NDP for it", each.join(" and ")))
    };
    let first = service.words.held.first().copied();
    if let Some(Ok(ranking)) = &ranking {
        step.details.push(format!("the order: {}", order(ranking)));
        let by_api = &ranking.owner().name;
        if !owners.is_empty() && !owners.iter().any(|by| by.node == *by_api) {
            step.details
                .push(format!("{by_api} is first by the API and does not answer: {}", silent(look, by_api)));
        }
    }
    for (node, why) in left_out(look, candidates, key, &ranking) {
        step.details.push(format!("{node} may not: {why}"));
    }
    if first.is_some() && look.told.values().any(Result::is_err) {
        let names: Vec<&str> =
            look.told.iter().filter(|(_, told)| told.is_err()).map(|(n, _)| n.as_str()).collect();
        step.details.push(format!("not asked who hears whom: {}", names.join(", ")));
    }
    step
}

fn unowned(look: &Look, key: &ServiceKey, ranking: &Option<Result<Ranking<'_>, Nobody>>) -> Step {
    const NAME: &str = "owner";
    if let Some(by) = look.announced.get(key).into_iter().flatten().find(|by| by.held_back) {
        let says = format!("{} holds it back: another host has the address", by.node);
        return Step::new(NAME, Verdict::Ends, says).change(
            "give that host another address, or exclude the address from the pool (excludeAddresses)",
            "docs/conflicts.md#before-an-address-is-announced-for-the-first-time",
        );
    }
    match ranking {
        Some(Err(why)) => Step::new(NAME, Verdict::Ends, format!("nobody answers: it {why}"))
            .change(mend(*why), WHO_ANNOUNCES),
        Some(Ok(ranking)) => {
            let first = &ranking.owner().name;
            let says = format!("nobody says that it answers; {first} comes first: {}", silent(look, first));
            Step::new(NAME, Verdict::Ends, says).change(
                "kubectl ferrolb doctor looks at the speakers; the Service's events name interfaces that are missing",
                "docs/layer2.md#nobody-answers-step-by-step",
            )
        }
        None => Step::new(NAME, Verdict::Ends, "nobody says that it answers"),
    }
}

/// Where it is said who may announce.
pub(super) const WHO_ANNOUNCES: &str = "docs/layer2.md#who-announces";

fn mend(why: Nobody) -> &'static str {
    match why {
        Nobody::NoAddress | Nobody::UnreadableStatus => {
            "wait for the controller, which writes the status anew"
        }
        Nobody::NoPool => "put the addresses into one IPAddressPool, or let the controller give others",
        Nobody::NoEndpoint => "see to its pods: none is ready that spec.selector selects",
        Nobody::NotAdvertised => {
            "create an L2Advertisement for its pool, or correct ipAddressPools and serviceSelectors"
        }
        Nobody::NoNodeSelected => "correct nodeSelectors of its L2Advertisements, or label a node",
        Nobody::AllExcluded => {
            "remove the label node.kubernetes.io/exclude-from-external-load-balancers from a node, or run speakers with \
             --ignore-exclude-lb"
        }
        Nobody::NoNetwork => "see to the network plugin: the nodes have the condition NetworkUnavailable",
        Nobody::NoLocalEndpoint => {
            "run a pod of it on a node that may announce it, or set externalTrafficPolicy to Cluster"
        }
    }
}

/// Why a node that comes first does not answer, as far as that is known.
fn silent(look: &Look, node: &str) -> String {
    let Some(pod) = look.speakers().find(|pod| pod.node == node) else {
        return "it has no speaker".to_owned();
    };
    if !pod.ready {
        return format!("its speaker is not ready: {}", pod.why);
    }
    if let Some(why) = look.sick_proxy(node) {
        return format!("its service proxy fails, so it comes last: {why}");
    }
    let deaf = look.told.iter().filter_map(|(name, told)| {
        let links = &told.as_ref().ok()?.links;
        let hears = links.iter().any(|link| link.peers.iter().any(|peer| peer.node == node && peer.counts));
        (name != node && !hears).then_some(name.as_str())
    });
    let deaf: Vec<&str> = deaf.collect();
    if !deaf.is_empty() {
        return format!("not heard by {}", deaf.join(", "));
    }
    "it may have no interface that the L2Advertisements name, or another node has it for a moment".to_owned()
}

fn links(look: &Look, by: &Announced) -> String {
    if !by.interfaces.is_empty() {
        return by.interfaces.join(", ");
    }
    match look.told.get(&by.node) {
        Some(Ok(told)) if !told.links.is_empty() => {
            let names = told.links.iter().map(|link| format!("{} ({})", link.name, link.mac));
            names.collect::<Vec<_>>().join(", ")
        }
        _ => "all its links".to_owned(),
    }
}

fn order(ranking: &Ranking<'_>) -> String {
    let named = ranking.nodes().iter().take(NAMED).map(|node| {
        let mut notes = Vec::new();
        match ranking.preference(node) {
            0 => {}
            weight => notes.push(format!("preferred, {weight}")),
        }
        if node.unfit {
            notes.push("its service proxy fails".to_owned());
        }
        if node.keyless {
            notes.push("has no key for hellos yet".to_owned());
        }
        if notes.is_empty() { node.name.clone() } else { format!("{} ({})", node.name, notes.join("; ")) }
    });
    let mut text = named.collect::<Vec<_>>().join(", ");
    let more = ranking.nodes().len().saturating_sub(NAMED);
    if more > 0 {
        text += &format!(" and {more} more");
    }
    text + "; by preference, then by SHA-256 of node and address"
}

/// The nodes that may not answer, and why: what the election says of each alone.
fn left_out(
    look: &Look,
    candidates: &Candidates,
    key: &ServiceKey,
    ranking: &Option<Result<Ranking<'_>, Nobody>>,
) -> BTreeMap<String, String> {
    let may: BTreeSet<&str> = match ranking {
        Some(Ok(ranking)) => ranking.nodes().iter().map(|node| node.name.as_str()).collect(),
        // Said already, and the same for each node.
        Some(Err(Nobody::NoEndpoint | Nobody::NotAdvertised | Nobody::NoPool)) | None => {
            return BTreeMap::new();
        }
        Some(Err(_)) => BTreeSet::new(),
    };
    let others = candidates.nodes().iter().filter(|node| !may.contains(node.name.as_str()));
    let said = others.map(|node| {
        let why = match candidates.alone(&node.name).ranking(look, key) {
            Some(Err(Nobody::NoNodeSelected)) => "no L2Advertisement selects it",
            Some(Err(Nobody::AllExcluded)) => {
                "it has the label node.kubernetes.io/exclude-from-external-load-balancers"
            }
            Some(Err(Nobody::NoNetwork)) => "its network is unavailable",
            Some(Err(Nobody::NoLocalEndpoint)) => {
                "externalTrafficPolicy is Local, and no endpoint serves on it"
            }
            _ => "it is not Ready",
        };
        (node.name.clone(), why.to_owned())
    });
    said.take(NAMED).collect()
}
