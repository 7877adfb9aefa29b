//! FerroLB's programs and what they need to run.

use std::collections::{BTreeMap, BTreeSet};

use ferrolb_crds::names;

use super::super::Facts;
use super::Outcome;
use crate::migrate::Product;

/// So many restarts are chance.
const RESTARTS: i32 = 5;

/// So long after the end of its time a Lease is not a late answer any more, in seconds.
const LATE: i64 = 10;

/// The ports of a speaker, unless it is told otherwise.
const HELLO_PORT: u16 = 17482;

pub(super) fn controller(facts: &Facts) -> Outcome {
    let look = &facts.look;
    let Some(workload) = look.workload(Product::FerrolbController) else {
        return Outcome::wrong(format!("there is no Deployment of it in namespace {}", look.namespace));
    };
    if workload.replicas == 0 {
        return Outcome::wrong(format!("Deployment {} has no replicas", workload.name));
    }
    let pods: Vec<_> = look.pods.iter().filter(|pod| !pod.speaker).collect();
    let ill = pods.iter().filter(|pod| !pod.ready).map(|pod| format!("pod {}: {}", pod.name, pod.why));
    if pods.is_empty() {
        return Outcome::wrong(format!(
            "Deployment {} has no pod: kubectl describe replicaset says why",
            workload.name
        ));
    }
    if pods.iter().any(|pod| pod.ready) { Outcome::warning(ill) } else { Outcome::failed(ill) }
}

pub(super) fn leader(facts: &Facts) -> Outcome {
    let Some(lease) = &facts.lease else { return Outcome::unread() };
    let Some(lease) = lease else { return Outcome::wrong("there is no Lease ferrolb-controller") };
    if lease.holder.is_empty() {
        return Outcome::wrong("nobody holds the Lease ferrolb-controller");
    }
    let age = facts.time.zip(lease.renewed).map(|(now, renewed)| now.as_second() - renewed.as_second());
    match age {
        Some(age) if age > i64::from(lease.seconds) + LATE => Outcome::wrong(format!(
            "{} holds the Lease, and renewed it {age} s ago for {} s",
            lease.holder, lease.seconds
        )),
        _ => Outcome::Says(format!("{} does", lease.holder)),
    }
}

pub(super) fn speakers(facts: &Facts) -> Outcome {
    let look = &facts.look;
    if look.workload(Product::FerrolbSpeaker).is_none() {
        return Outcome::wrong(format!("there is no DaemonSet of them in namespace {}", look.namespace));
    }
    let missing = look.nodes.iter().filter(|(name, node)| {
        let announces = node.to_core(false).is_some_and(|words| !words.excluded);
        announces && !look.speakers().any(|pod| pod.node == **name)
    });
    let missing = missing.map(|(name, _)| format!("node {name} has none"));
    let ill = look.speakers().filter(|pod| !pod.ready);
    let ill = ill.map(|pod| {
        let place = if pod.node.is_empty() { "no node".to_owned() } else { format!("node {}", pod.node) };
        format!("{} on {place} is not ready: {}", pod.name, pod.why)
    });
    Outcome::failed(missing.chain(ill))
}

pub(super) fn versions(facts: &Facts) -> Outcome {
    let mut images: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in &facts.look.pods {
        *images.entry(&pod.image).or_default() += 1;
    }
    if images.len() < 2 {
        return images.keys().next().map_or(Outcome::Ok, |image| Outcome::Says(format!("it is {image}")));
    }
    Outcome::warning(images.into_iter().map(|(image, count)| format!("{count} of {image}")))
}

pub(super) fn settings(facts: &Facts) -> Outcome {
    let look = &facts.look;
    let differs = |flag: &str| {
        let [controller, speaker] = [Product::FerrolbController, Product::FerrolbSpeaker]
            .map(|product| look.setting(product, flag).to_owned());
        let both = [Product::FerrolbController, Product::FerrolbSpeaker]
            .into_iter()
            .all(|product| look.workload(product).is_some());
        (both && controller != speaker).then(|| {
            format!("--{flag} is {controller:?} for the controller and {speaker:?} for the speakers")
        })
    };
    // A namespace that is written out, and not taken from the pod, may be another.
    let namespace = [Product::FerrolbController, Product::FerrolbSpeaker].into_iter().filter_map(|product| {
        let said = look.setting(product, "namespace");
        (!said.is_empty() && said != look.namespace)
            .then(|| format!("one of them reads pools of namespace {said} and runs in {}", look.namespace))
    });
    Outcome::failed(differs("lb-class").into_iter().chain(namespace))
}

pub(super) fn restarts(facts: &Facts) -> Outcome {
    let often = facts.look.pods.iter().filter(|pod| pod.restarts > RESTARTS);
    Outcome::warning(
        often.map(|pod| format!("{} on {} was started anew {} times", pod.name, pod.node, pod.restarts)),
    )
}

pub(super) fn ports(facts: &Facts) -> Outcome {
    let unscheduled = facts.look.speakers().filter(|pod| pod.why.contains("free ports"));
    let unscheduled: Vec<String> = unscheduled.map(|pod| format!("{}: {}", pod.name, pod.why)).collect();
    let Some(ports) = &facts.host_ports else {
        return if unscheduled.is_empty() { Outcome::unread() } else { Outcome::Failed(unscheduled) };
    };
    let admin = facts.look.speakers().next().map_or(17481, |pod| pod.port);
    let hello = facts.look.setting(Product::FerrolbSpeaker, "hello-port").parse().unwrap_or(HELLO_PORT);
    let taken = ports.iter().filter(|port| [admin, hello].contains(&port.port));
    let taken = taken.map(|port| format!("pod {} has port {} on node {}", port.pod, port.port, port.node));
    Outcome::failed(unscheduled.into_iter().chain(taken))
}

pub(super) fn key(facts: &Facts) -> Outcome {
    let look = &facts.look;
    let missing = (facts.key == Some(false))
        .then(|| format!("there is no Secret ferrolb-hello in namespace {}", look.namespace));
    let nodes: BTreeSet<&String> = look.nodes.keys().collect();
    let without = nodes.into_iter().filter(|node| look.denied(node, names::HELLO_KEY_LOADED).is_some());
    let without: Vec<String> = without.map(|node| format!("the speaker of {node} has no key yet")).collect();
    match (missing, facts.key) {
        (Some(missing), _) => Outcome::failed(std::iter::once(missing).chain(without)),
        (None, None) if without.is_empty() => Outcome::unread(),
        (None, _) => Outcome::warning(without),
    }
}
