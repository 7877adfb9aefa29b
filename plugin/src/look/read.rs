//! Reads a [`Look`]: lists in pages, none for each Service. What the user may not read is said, and the rest is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use ferrolb_core::election::Endpoints;
use ferrolb_core::service::ServiceKey;
use ferrolb_crds::view::{EndpointSlice, Namespace, Node, Service as View};
use ferrolb_crds::{ADDRESS_CONFLICT, ConfigurationState, HELD_BACK, ServiceL2Status};
use k8s_openapi::api::core::v1 as core_v1;
use kube::api::ListParams;
use kube::{Api, Client};

use super::{Announced, Look, Pod, Service};
use crate::migrate::{Product, Workload, find};
use crate::read::{ReadError, list, or_note};

/// How much is to be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Want<'a> {
    /// FerroLB's namespace, where it is not to be looked for.
    pub namespace: Option<&'a str>,
    /// All Services, and not only those of type LoadBalancer; with it the labels of namespaces.
    pub allocation: bool,
    /// Endpoints, where a Service with an address is announced by nobody: ten thousand slices are long to read.
    pub endpoints: bool,
}

/// The port of the admin endpoint, where nothing else is said.
const SPEAKER_PORT: u16 = 17481;
const CONTROLLER_PORT: u16 = 17480;

/// Reads a cluster.
///
/// # Errors
/// When the API server cannot be asked at all, or Services cannot be read: nothing could be said then.
pub async fn look(client: &Client, want: Want<'_>) -> Result<Look, ReadError> {
    let mut look = Look::default();
    let notes = &mut look.unread;
    let found = list(&Api::all(client.clone()), "DaemonSets", ListParams::default(), find::daemon_set).await;
    look.workloads.extend(or_note::<Workload>(found, notes)?);
    let found = list(&Api::all(client.clone()), "Deployments", ListParams::default(), find::deployment).await;
    look.workloads.extend(or_note::<Workload>(found, notes)?);
    look.namespace = want.namespace.map_or_else(|| namespace(&look.workloads), str::to_owned);
    let here = look.namespace.clone();

    let pods: Api<core_v1::Pod> = Api::namespaced(client.clone(), &here);
    for product in [Product::FerrolbController, Product::FerrolbSpeaker] {
        let Some(workload) = look.workload(product).cloned() else { continue };
        let select = ListParams::default().labels(&workload.selector);
        let found = list(&pods, "FerroLB's Pods", select, |object| pod(object, &workload)).await;
        look.pods.extend(or_note(found, &mut look.unread)?);
    }
    look.pods.sort_by(|a, b| (a.speaker, &a.node, &a.name).cmp(&(b.speaker, &b.node, &b.name)));

    let notes = &mut look.unread;
    let pools =
        list(&Api::namespaced(client.clone(), &here), "IPAddressPools", ListParams::default(), Some).await;
    look.pools = or_note(pools, notes)?;
    let ads =
        list(&Api::namespaced(client.clone(), &here), "L2Advertisements", ListParams::default(), Some).await;
    look.advertisements = or_note(ads, notes)?;
    let states: Api<ConfigurationState> = Api::namespaced(client.clone(), &here);
    look.states = or_note(list(&states, "ConfigurationStates", ListParams::default(), Some).await, notes)?;
    let statuses: Api<ServiceL2Status> = Api::namespaced(client.clone(), &here);
    let found = list(&statuses, "ServiceL2Statuses", ListParams::default(), announced).await;
    for (key, announced) in or_note(found, notes)? {
        look.announced.entry(key).or_default().push(announced);
    }
    look.announced.values_mut().for_each(|all| all.sort());
    let nodes = list(&Api::all(client.clone()), "Nodes", ListParams::default(), |node: Node| {
        Some((node.metadata.name.clone()?, node))
    })
    .await;
    look.nodes = or_note(nodes, notes)?.into_iter().collect();

    let class = look.setting(Product::FerrolbController, "lb-class").to_owned();
    let read = |object: View| service(object, &class, want.allocation);
    let services =
        list(&Api::all(client.clone()), "Services of all namespaces", ListParams::default(), read).await;
    look.services = services?.into_iter().collect();
    if want.allocation {
        let labels = |namespace: Namespace| Some((namespace.metadata.name.clone()?, namespace.labels()));
        let found = list(&Api::all(client.clone()), "Namespaces", ListParams::default(), labels).await;
        look.namespaces = or_note(found, &mut look.unread)?.into_iter().collect();
    }
    let unanswered = |(key, service): (&ServiceKey, &Service)| {
        !service.words.held.is_empty() && !look.announced.contains_key(key)
    };
    if want.endpoints && look.ours().any(unanswered) {
        look.endpoints = endpoints(client, &mut look.unread).await?;
    }
    Ok(look)
}

/// FerroLB's namespace by its workloads, else MetalLB's, else what both have by default.
fn namespace(workloads: &[Workload]) -> String {
    let order = [
        Product::FerrolbSpeaker,
        Product::FerrolbController,
        Product::MetallbSpeaker,
        Product::MetallbController,
    ];
    let of = |product| workloads.iter().filter(move |workload| workload.product == Some(product));
    let found = order.into_iter().find_map(|product| of(product).map(|it| it.namespace.clone()).min());
    found.unwrap_or_else(|| "metallb-system".to_owned())
}

fn pod(object: core_v1::Pod, workload: &Workload) -> Option<Pod> {
    let speaker = workload.product == Some(Product::FerrolbSpeaker);
    let (spec, status) = (object.spec.unwrap_or_default(), object.status.unwrap_or_default());
    let conditions = status.conditions.unwrap_or_default();
    let condition = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind);
    let ready = condition("Ready").is_some_and(|condition| condition.status == "True");
    let container = status.container_statuses.unwrap_or_default().into_iter().next();
    let running =
        container.as_ref().is_some_and(|it| it.state.as_ref().is_some_and(|state| state.running.is_some()));
    let waiting = container.as_ref().and_then(|it| it.state.as_ref()?.waiting.clone());
    let waiting =
        waiting.map(|it| [it.reason, it.message].into_iter().flatten().collect::<Vec<_>>().join(": "));
    let unscheduled = condition("PodScheduled").filter(|condition| condition.status == "False");
    let why = waiting
        .or_else(|| unscheduled.and_then(|condition| condition.message.clone()))
        .or_else(|| condition("Ready").filter(|_| !ready).and_then(|condition| condition.message.clone()))
        .unwrap_or_else(|| if ready { String::new() } else { status.phase.unwrap_or_default() });
    let settings = &workload.settings;
    let port = settings.iter().find(|it| ["admin-port", "FERROLB_ADMIN_PORT"].contains(&it.name.as_str()));
    let default = if speaker { SPEAKER_PORT } else { CONTROLLER_PORT };
    Some(Pod {
        name: object.metadata.name?,
        node: spec.node_name.unwrap_or_default(),
        speaker,
        running: running || ready,
        ready,
        why,
        account: spec.service_account_name.unwrap_or_default(),
        image: spec.containers.into_iter().next().and_then(|it| it.image).unwrap_or_default(),
        restarts: container.map_or(0, |it| it.restart_count),
        port: port.and_then(|setting| setting.value.parse().ok()).unwrap_or(default),
    })
}

fn announced(object: ServiceL2Status) -> Option<(ServiceKey, Announced)> {
    let status = object.status?;
    let conflict =
        status.conditions.iter().find(|known| known.type_ == ADDRESS_CONFLICT && known.status == "True");
    let announced = Announced {
        node: status.node,
        interfaces: status.interfaces.into_iter().map(|interface| interface.name).collect(),
        held_back: conflict.is_some_and(|conflict| conflict.reason == HELD_BACK),
        conflict: conflict.map(|conflict| conflict.message.clone()),
    };
    Some((ServiceKey::new(status.service_namespace, status.service_name), announced))
}

fn service(object: View, class: &str, all: bool) -> Option<(ServiceKey, Service)> {
    let balanced = object.spec.kind.as_deref() == Some("LoadBalancer");
    if !balanced && !all {
        return None;
    }
    let words = object.to_core(Some(class))?;
    let deprecated = if balanced { object.deprecated_annotations() } else { Vec::new() };
    let service = Service {
        words,
        uid: object.metadata.uid.unwrap_or_default(),
        assigned: object.status.conditions.assigned,
        conflict: object.status.conditions.conflict,
        deprecated,
    };
    Some((service.words.key.clone(), service))
}

async fn endpoints(
    client: &Client,
    notes: &mut Vec<String>,
) -> Result<Option<BTreeMap<ServiceKey, Endpoints>>, ReadError> {
    let api: Api<EndpointSlice> = Api::all(client.clone());
    let serving = |slice: EndpointSlice| {
        let nodes: Vec<Option<Arc<str>>> = slice.serving_nodes().map(|node| node.map(Arc::from)).collect();
        Some((slice.service()?, nodes))
    };
    let before = notes.len();
    let slices = or_note(list(&api, "EndpointSlices", ListParams::default(), serving).await, notes)?;
    if notes.len() > before {
        return Ok(None);
    }
    let mut all: BTreeMap<ServiceKey, Endpoints> = BTreeMap::new();
    for (key, nodes) in slices {
        let endpoints = all.entry(key).or_default();
        nodes.into_iter().for_each(|node| endpoints.add(node));
    }
    Ok(Some(all))
}
