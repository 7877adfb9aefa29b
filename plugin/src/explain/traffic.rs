//! What the node that answers does with a packet, and where it goes from there.

use ferrolb_core::service::ServiceKey;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::owner::{WHO_ANNOUNCES, owners};
use super::path::{NAMED, Step, Verdict};
use crate::look::{Announced, Look, Service};

/// One endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// Its first address.
    pub address: String,
    /// Its node.
    pub node: Option<String>,
    /// Its pod.
    pub pod: Option<String>,
    /// Whether traffic goes there.
    pub serves: bool,
    /// Whether it is on its way out.
    pub ends: bool,
}

/// The endpoints of a slice.
pub(super) fn backends(slice: EndpointSlice) -> Vec<Backend> {
    let backend = |endpoint: k8s_openapi::api::discovery::v1::Endpoint| {
        let conditions = endpoint.conditions.unwrap_or_default();
        let can = ferrolb_crds::view::EndpointConditions {
            ready: conditions.ready,
            serving: conditions.serving,
            terminating: conditions.terminating,
        };
        Backend {
            address: endpoint.addresses.into_iter().next().unwrap_or_default(),
            node: endpoint.node_name,
            pod: endpoint.target_ref.and_then(|target| target.name),
            serves: can.can_serve(),
            ends: conditions.terminating == Some(true),
        }
    };
    slice.endpoints.into_iter().map(backend).collect()
}

/// What the node that answers does with the packet.
pub(super) fn node(look: &Look, key: &ServiceKey) -> Step {
    const NAME: &str = "node";
    let owners = owners(look, key);
    let sick = owners.iter().find_map(|by| Some((by.node.clone(), look.sick_proxy(&by.node)?.to_owned())));
    if let Some((node, why)) = sick {
        return Step::new(NAME, Verdict::Ends, format!("the service proxy of {node} fails: {why}")).change(
            format!("see to kube-proxy (or what stands in for it) on {node}: its pod, its log, port 10256"),
            "docs/layer2.md#nobody-answers-step-by-step",
        );
    }
    let not_ready: Vec<&str> = owners
        .iter()
        .filter(|by| look.nodes.get(&by.node).is_some_and(|node| !node.ready()))
        .map(|by| by.node.as_str())
        .collect();
    let names: Vec<&str> = owners.iter().map(|by| by.node.as_str()).collect();
    if !not_ready.is_empty() {
        let says = format!("{} announces it and is not Ready", not_ready.join(", "));
        return Step::new(NAME, Verdict::Doubtful, says)
            .change("see to the node's kubelet", "docs/failover.md#the-rules");
    }
    let told = |node: &&str| {
        let status = look.state(node).and_then(|state| state.status.as_ref());
        let conditions = status.map(|status| status.conditions.as_slice()).unwrap_or_default();
        conditions
            .iter()
            .any(|it| it.type_ == ferrolb_crds::names::SERVICE_PROXY_HEALTHY && it.status == "True")
    };
    if names.iter().all(told) {
        return Step::new(
            NAME,
            Verdict::Passes,
            format!("{} is Ready, and its service proxy is healthy", names.join(", ")),
        );
    }
    let says = format!("{} is Ready; its service proxy tells no health on port 10256", names.join(", "));
    Step::new(NAME, Verdict::Passes, says)
}

/// Where it goes from there.
pub(super) fn endpoints(service: &Service, owners: &[Announced], backends: &[Backend]) -> Step {
    const NAME: &str = "endpoints";
    let serving: Vec<&Backend> = backends.iter().filter(|backend| backend.serves).collect();
    if serving.is_empty() {
        let says = if backends.is_empty() { "there is none" } else { "none of them serves" };
        let mut step = Step::new(NAME, Verdict::Ends, says)
            .change("see to its pods: none is ready that spec.selector selects", WHO_ANNOUNCES);
        step.details = backends.iter().map(line).collect();
        return step;
    }
    let local = service.words.local_traffic_only;
    let reached: Vec<&&Backend> = serving
        .iter()
        .filter(|backend| {
            !local || owners.iter().any(|by| backend.node.as_deref().is_none_or(|node| node == by.node))
        })
        .collect();
    if reached.is_empty() {
        let says = "externalTrafficPolicy is Local, and no endpoint serves on the node that answers";
        return Step::new(NAME, Verdict::Ends, says)
            .change("wait for the address to move, or set externalTrafficPolicy to Cluster", WHO_ANNOUNCES);
    }
    let policy = if local { ", on the node that answers (externalTrafficPolicy: Local)" } else { "" };
    let mut step =
        Step::new(NAME, Verdict::Passes, format!("{} of {} serve{policy}", reached.len(), backends.len()));
    step.details = backends.iter().take(NAMED).map(line).collect();
    if backends.len() > NAMED {
        step.details.push(format!("and {} more", backends.len() - NAMED));
    }
    step
}

fn line(backend: &Backend) -> String {
    let state = match (backend.serves, backend.ends) {
        (true, false) => "serves",
        (true, true) => "serves, and is ending",
        (false, true) => "is ending",
        (false, false) => "is not ready",
    };
    let pod = backend.pod.as_deref().map(|pod| format!(" (pod {pod})")).unwrap_or_default();
    let node = backend.node.as_deref().map(|node| format!(" on {node}")).unwrap_or_default();
    format!("{}{node}{pod} {state}", backend.address)
}
