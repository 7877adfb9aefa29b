//! Nodes, their links, and who hears whom.

use std::collections::BTreeSet;

use ferrolb_crds::admin::{Link, Told};

use super::super::Facts;
use super::Outcome;

/// A clock may be so far ahead, in seconds: the API server tells its time in whole ones.
const AHEAD: i64 = 5;

/// A kubelet says every ten seconds that it lives. So many seconds after the last time its node would not be `Ready`, so it is the
/// clock that is late.
const BEHIND: i64 = 90;

/// So many pauses of a speaker since its start are chance.
const PAUSES: u64 = 10;

pub(super) fn clocks(facts: &Facts) -> Outcome {
    let Some(now) = facts.time else {
        return Outcome::Unknown("the API server does not tell its time".to_owned());
    };
    if facts.heartbeats.is_empty() {
        return Outcome::Unknown("the Leases of the nodes could not be read".to_owned());
    }
    let wrong = facts.heartbeats.iter().filter_map(|(node, at)| {
        let age = now.as_second() - at.as_second();
        let ready = facts.look.nodes.get(node)?.ready();
        if age < -AHEAD {
            Some(format!("the clock of {node} is {} s ahead of the API server's", -age))
        } else if age > BEHIND && ready {
            Some(format!("the clock of {node} is about {} s behind the API server's", age - 10))
        } else {
            None
        }
    });
    Outcome::warning(wrong)
}

/// What the speakers told, by node.
fn told(facts: &Facts) -> impl Iterator<Item = (&String, &Told)> {
    facts.look.told.iter().filter_map(|(node, told)| Some((node, told.as_ref().ok()?)))
}

/// Each link of each node.
pub(super) fn all_links(facts: &Facts) -> impl Iterator<Item = (&String, &Link)> {
    told(facts).flat_map(|(node, told)| told.links.iter().map(move |link| (node, link)))
}

/// That nobody told anything.
pub(super) fn untold() -> Outcome {
    Outcome::Unknown("no speaker told".to_owned())
}

pub(super) fn asked(facts: &Facts) -> Outcome {
    if facts.look.speakers().next().is_none() {
        return Outcome::Unknown("there are no speakers".to_owned());
    }
    let silent = facts.look.told.iter().filter_map(|(node, told)| Some((node, told.as_ref().err()?)));
    Outcome::warning(silent.map(|(node, why)| format!("{node}: {why}")))
}

pub(super) fn links(facts: &Facts) -> Outcome {
    if told(facts).next().is_none() {
        return untold();
    }
    Outcome::failed(
        told(facts)
            .filter(|(_, told)| told.links.is_empty())
            .map(|(node, _)| format!("the speaker of {node} has none")),
    )
}

pub(super) fn mesh(facts: &Facts) -> Outcome {
    if told(facts).next().is_none() {
        return untold();
    }
    let unheard = all_links(facts)
        .filter(|(_, link)| !link.unheard.is_empty())
        .map(|(node, link)| format!("{node} hears nothing on {} of {}", link.name, link.unheard.join(", ")));
    let one_way = all_links(facts).flat_map(|(node, link)| {
        let deaf = link.peers.iter().filter(|peer| !peer.counts);
        deaf.map(move |peer| format!("{node} hears {} on {}, which does not hear it", peer.node, link.name))
    });
    let found: Vec<String> = unheard.chain(one_way).collect();
    if found.is_empty() {
        let pairs: usize =
            all_links(facts).map(|(_, link)| link.peers.iter().filter(|peer| peer.counts).count()).sum();
        return Outcome::Says(format!("{} speakers told, of {pairs} that they hear", told(facts).count()));
    }
    Outcome::Failed(found)
}

pub(super) fn datagrams(facts: &Facts) -> Outcome {
    if told(facts).next().is_none() {
        return untold();
    }
    // Where datagrams were asked for nothing is amiss.
    let asked = facts.look.setting(crate::migrate::Product::FerrolbSpeaker, "hello-transport");
    if asked == "udp" {
        return Outcome::Says("--hello-transport is udp".to_owned());
    }
    let by_udp = all_links(facts).filter_map(|(node, link)| {
        let names: BTreeSet<&str> =
            link.peers.iter().filter(|peer| peer.counts && peer.udp).map(|peer| peer.node.as_str()).collect();
        let names: Vec<&str> = names.into_iter().collect();
        (!names.is_empty())
            .then(|| format!("{node} hears on {} by UDP alone: {}", link.name, names.join(", ")))
    });
    Outcome::warning(by_udp)
}

pub(super) fn pauses(facts: &Facts) -> Outcome {
    if told(facts).next().is_none() {
        return untold();
    }
    let often = told(facts).filter(|(_, told)| told.pauses > PAUSES);
    Outcome::warning(
        often.map(|(node, told)| format!("the one of {node} did {} times since it began", told.pauses)),
    )
}

pub(super) fn service_proxy(facts: &Facts) -> Outcome {
    let sick = facts.look.nodes.keys().filter_map(|node| Some((node, facts.look.sick_proxy(node)?)));
    Outcome::failed(sick.map(|(node, why)| format!("{node}: {why}")))
}

pub(super) fn strict_arp(facts: &Facts) -> Outcome {
    let loose = facts.proxy.as_ref().is_some_and(|proxy| proxy.mode == "ipvs" && !proxy.strict_arp);
    let configured =
        loose.then(|| "kube-proxy's ConfigMap has mode: ipvs, and not ipvs.strictARP: true".to_owned());
    let seen = told(facts).flat_map(|(node, told)| {
        let remarks = told.remarks.iter().filter(|(name, _)| name == "strictARP");
        remarks.map(move |(_, words)| format!("{node}: {words}"))
    });
    if facts.proxy.is_none() && told(facts).next().is_none() {
        return Outcome::Unknown("neither kube-proxy's ConfigMap nor a speaker told".to_owned());
    }
    Outcome::failed(configured.into_iter().chain(seen))
}

pub(super) fn excluded(facts: &Facts) -> Outcome {
    let nodes = &facts.look.nodes;
    if nodes.is_empty() {
        return Outcome::unread();
    }
    let candidates = facts.look.candidates();
    let excluded: Vec<&str> =
        candidates.nodes().iter().filter(|node| node.excluded).map(|node| node.name.as_str()).collect();
    if excluded.len() == candidates.nodes().len() {
        return Outcome::wrong(format!("all are excluded: {}", excluded.join(", ")));
    }
    if excluded.is_empty() {
        Outcome::Ok
    } else {
        Outcome::Says(format!("excluded: {}", excluded.join(", ")))
    }
}
