//! Reads a cluster. What the user may not read is said in a sentence, and the rest is read all the same.

use std::collections::{BTreeMap, BTreeSet};

use ferrolb_core::net;
use ferrolb_core::service::ServiceKey;
use ferrolb_crds::view::Service as View;
use ferrolb_crds::{IPAddressPool, L2Advertisement, ServiceL2Status, names};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, RuleWithOperations, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Node, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, ListParams};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::cluster::{Cluster, Definition, Leftover, Listed, Named, Product, Service, Workload};
use super::helm::{self, Installed};
use super::snapshot::{Owners, Snapshot};
use super::{find, interfaces};
use crate::read::{ReadError, dynamic, get, list, list_metadata, or_note};

/// The group of MetalLB's kinds.
const GROUP: &str = "metallb.io";

/// Its kinds: kind, plural, version.
const KINDS: [(&str, &str, &str); 10] = [
    ("IPAddressPool", "ipaddresspools", "v1beta1"),
    ("L2Advertisement", "l2advertisements", "v1beta1"),
    ("BGPPeer", "bgppeers", "v1beta2"),
    ("BGPAdvertisement", "bgpadvertisements", "v1beta1"),
    ("BFDProfile", "bfdprofiles", "v1beta1"),
    ("Community", "communities", "v1beta1"),
    ("AddressPool", "addresspools", "v1beta1"),
    ("ServiceL2Status", "servicel2statuses", "v1beta1"),
    ("ServiceBGPStatus", "servicebgpstatuses", "v1beta1"),
    ("ConfigurationState", "configurationstates", "v1beta1"),
];

/// Those of which nothing follows: they are named, and no more.
const NAMED: [&str; 5] = ["BGPPeer", "BGPAdvertisement", "BFDProfile", "Community", "AddressPool"];

/// What a Helm release of MetalLB has, beside Deployments and DaemonSets: group, version, kind, plural, in a namespace.
const RELEASED: [(&str, &str, &str, &str, bool); 8] = [
    ("", "v1", "Service", "services", true),
    ("", "v1", "ConfigMap", "configmaps", true),
    ("", "v1", "ServiceAccount", "serviceaccounts", true),
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", true),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", true),
    ("rbac.authorization.k8s.io", "v1", "Role", "roles", true),
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", false),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", false),
];

/// All that a plan is made of; of MetalLB in `namespace` where it is given.
///
/// # Errors
/// When the API server cannot be asked.
pub async fn cluster(client: &Client, namespace: Option<&str>) -> Result<Cluster, ReadError> {
    let mut unread = Vec::new();
    let mut workloads = Vec::new();
    let found = list(&Api::all(client.clone()), "DaemonSets", ListParams::default(), find::daemon_set).await;
    workloads.extend(or_note::<Workload>(found, &mut unread)?);
    let found = list(&Api::all(client.clone()), "Deployments", ListParams::default(), find::deployment).await;
    workloads.extend(or_note::<Workload>(found, &mut unread)?);
    let mut cluster = Cluster { unread, workloads, ..Cluster::default() };
    cluster.namespace = namespace.map(str::to_owned).or_else(|| main_namespace(&cluster));

    definitions(client, &mut cluster).await?;
    webhooks(client, &mut cluster).await?;
    let notes = &mut cluster.unread;
    cluster.pools = objects::<IPAddressPool>(client, "IPAddressPool", notes, POOL_FIELDS).await?;
    cluster.l2 = objects::<L2Advertisement>(client, "L2Advertisement", notes, L2_FIELDS).await?;
    cluster.bgp = objects::<L2Advertisement>(client, "BGPAdvertisement", notes, &[]).await?;
    for kind in NAMED {
        cluster.others.extend(or_note(names_of(client, kind).await, notes)?);
    }
    cluster.others.sort();
    cluster.services = or_note(services(client).await, notes)?;
    if let Some(namespace) = cluster.namespace.clone() {
        of_namespace(client, &namespace, &mut cluster).await?;
    }
    Ok(cluster)
}

/// Who has which addresses, and who answers for them.
///
/// # Errors
/// When Services or their owners cannot be read: then nothing could be compared.
pub async fn snapshot(client: &Client) -> Result<Snapshot, ReadError> {
    let services = services(client).await?;
    let api: Api<ServiceL2Status> = Api::all(client.clone());
    let owner = |object: ServiceL2Status| {
        let status = object.status?;
        Some((ServiceKey::new(&status.service_namespace, &status.service_name), status.node))
    };
    let owners = match list(&api, "ServiceL2Statuses of all namespaces", ListParams::default(), owner).await {
        Ok(pairs) => Owners::of(pairs, false),
        Err(ReadError::Unknown { .. }) => Owners::of(owners_by_events(client).await?, true),
        Err(error) => return Err(error),
    };
    Ok(Snapshot::of(&services, owners))
}

/// The namespace of MetalLB, else of FerroLB.
fn main_namespace(cluster: &Cluster) -> Option<String> {
    let order = [
        Product::MetallbController,
        Product::MetallbSpeaker,
        Product::FerrolbController,
        Product::FerrolbSpeaker,
    ];
    order.into_iter().find_map(|product| cluster.all(product).map(|found| found.namespace.clone()).min())
}

/// The definitions of metallb.io: each by its name, as those of a whole cluster are many megabytes.
async fn definitions(client: &Client, cluster: &mut Cluster) -> Result<(), ReadError> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut definitions = Vec::new();
    for (_, plural, _) in KINDS {
        let name = format!("{plural}.{GROUP}");
        match get(&api, "CustomResourceDefinition", &name).await {
            Ok(found) => definitions.extend(found.map(|object| definition(name, object))),
            Err(error) => {
                // The others would say the same.
                or_note::<()>(Err(error), &mut cluster.unread)?;
                return Ok(());
            }
        }
    }
    cluster.definitions = Some(definitions);
    Ok(())
}

fn definition(name: String, object: CustomResourceDefinition) -> Definition {
    let webhook = object.spec.conversion.is_some_and(|conversion| conversion.strategy == "Webhook");
    let schemas = object.spec.versions.into_iter().filter_map(|version| version.schema?.open_api_v3_schema);
    let mut specs = schemas.filter_map(|schema| schema.properties?.remove("spec"));
    // The one field of a pool that MetalLB does not have.
    let ours =
        specs.any(|spec| spec.properties.is_some_and(|fields| fields.contains_key("excludeAddresses")));
    Definition { name, webhook, ours }
}

/// The webhooks that are called for objects of metallb.io.
async fn webhooks(client: &Client, cluster: &mut Cluster) -> Result<(), ReadError> {
    let before = cluster.unread.len();
    let what = "ValidatingWebhookConfigurations";
    let api = Api::all(client.clone());
    let found = list(&api, what, ListParams::default(), |object: ValidatingWebhookConfiguration| {
        let hooks = object.webhooks.into_iter().flatten().map(|hook| (hook.client_config, hook.rules));
        leftover("ValidatingWebhookConfiguration", object.metadata.name, hooks)
    });
    let mut webhooks = or_note(found.await, &mut cluster.unread)?;
    let what = "MutatingWebhookConfigurations";
    let api = Api::all(client.clone());
    let found = list(&api, what, ListParams::default(), |object: MutatingWebhookConfiguration| {
        let hooks = object.webhooks.into_iter().flatten().map(|hook| (hook.client_config, hook.rules));
        leftover("MutatingWebhookConfiguration", object.metadata.name, hooks)
    });
    webhooks.extend(or_note(found.await, &mut cluster.unread)?);
    cluster.webhooks = Some(webhooks).filter(|_| cluster.unread.len() == before);
    Ok(())
}

fn leftover(
    kind: &str,
    name: Option<String>,
    mut hooks: impl Iterator<Item = (WebhookClientConfig, Option<Vec<RuleWithOperations>>)>,
) -> Option<Leftover> {
    let (config, _) = hooks.find(|(_, rules)| {
        let mut groups = rules.iter().flatten().flat_map(|rule| rule.api_groups.iter().flatten());
        groups.any(|group| group == GROUP)
    })?;
    let service = config.service.map(|service| format!("{}/{}", service.namespace, service.name));
    Some(Leftover { kind: kind.to_owned(), name: name?, service: service.or(config.url).unwrap_or_default() })
}

/// The fields of an `IPAddressPool`'s spec.
const POOL_FIELDS: &[&str] =
    &["addresses", "autoAssign", "avoidBuggyIPs", "excludeAddresses", "reuseDelay", "serviceAllocation"];

/// The fields of an `L2Advertisement`'s spec.
const L2_FIELDS: &[&str] = &[
    "ipAddressPools",
    "ipAddressPoolSelectors",
    "nodeSelectors",
    "interfaces",
    "serviceSelectors",
    "preferredNodeSelectors",
];

/// All objects of a kind, read as a `K`; of a spec with other fields than `known` those are noted, unless none are known.
async fn objects<K: DeserializeOwned>(
    client: &Client,
    kind: &str,
    notes: &mut Vec<String>,
    known: &[&str],
) -> Result<Vec<Listed<K>>, ReadError> {
    let api = api_of(client, kind);
    let read = |object: DynamicObject| {
        let fields =
            object.data.get("spec").and_then(Value::as_object).into_iter().flat_map(serde_json::Map::keys);
        let unknown = fields.filter(|field| !known.is_empty() && !known.contains(&field.as_str()));
        let unknown = unknown.cloned().collect();
        let object = serde_json::to_value(object).ok()?;
        Some(Listed { object: serde_json::from_value(object).ok()?, unknown })
    };
    or_note(list(&api, &format!("{kind}s"), ListParams::default(), read).await, notes)
}

/// The names of all objects of a kind.
async fn names_of(client: &Client, kind: &str) -> Result<Vec<Named>, ReadError> {
    let api = api_of(client, kind);
    list_metadata(&api, &format!("{kind}s"), ListParams::default(), |object| {
        named(kind, object.metadata.namespace, object.metadata.name)
    })
    .await
}

fn named(kind: &str, namespace: Option<String>, name: Option<String>) -> Option<Named> {
    Some(Named { kind: kind.to_owned(), namespace: namespace.unwrap_or_default(), name: name? })
}

fn api_of(client: &Client, kind: &str) -> Api<DynamicObject> {
    let known = KINDS.iter().find(|(known, _, _)| *known == kind);
    let (kind, plural, version) = known.copied().unwrap_or((kind, "", "v1beta1"));
    dynamic(client, (GROUP, version, kind, plural), None)
}

/// All Services of type LoadBalancer.
async fn services(client: &Client) -> Result<Vec<Service>, ReadError> {
    let mut services =
        list(&Api::all(client.clone()), "Services of all namespaces", ListParams::default(), service).await?;
    services.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(services)
}

fn service(object: View) -> Option<Service> {
    if object.spec.kind.as_deref() != Some("LoadBalancer") {
        return None;
    }
    let ingress = object.status.load_balancer.ingress.iter();
    Some(Service {
        key: ServiceKey::new(object.metadata.namespace?, object.metadata.name?),
        addresses: ingress.filter_map(|entry| net::address(entry.ip.as_deref()?)).collect(),
        labels: object.metadata.labels.unwrap_or_default(),
        class: object.spec.load_balancer_class.unwrap_or_default(),
    })
}

/// What is in the namespace of MetalLB, and has to do with its speakers.
async fn of_namespace(client: &Client, namespace: &str, cluster: &mut Cluster) -> Result<(), ReadError> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    match get(&api, "ConfigMap", interfaces::CONFIG_MAP).await {
        Ok(found) => cluster.excluded_interfaces = found.map(|map| interfaces::patterns(&map)),
        Err(error) => drop(or_note::<()>(Err(error), &mut cluster.unread)?),
    }
    let api: Api<NetworkPolicy> = Api::namespaced(client.clone(), namespace);
    let for_all = |policy: NetworkPolicy| {
        let selector = policy.spec?.pod_selector.unwrap_or_default();
        let all = selector.match_labels.is_none_or(|labels| labels.is_empty())
            && selector.match_expressions.is_none_or(|expressions| expressions.is_empty());
        policy.metadata.name.filter(|_| all)
    };
    let found = list(&api, "NetworkPolicies", ListParams::default(), for_all).await;
    cluster.policies = or_note(found, &mut cluster.unread)?;

    if let Some(speaker) = cluster.of(Product::MetallbSpeaker).cloned() {
        cluster.without_speaker = without_speaker(client, &speaker, &mut cluster.unread).await?;
    }
    let installed = cluster.metallb().first().map(|workload| Installed::of(workload));
    if let Some(Installed::Helm { release, namespace: records, recorded }) = installed {
        for (group, version, kind, plural, inside) in RELEASED {
            let api = dynamic(client, (group, version, kind, plural), inside.then_some(namespace));
            let select = ListParams::default().labels("app.kubernetes.io/managed-by=Helm");
            let found = list_metadata(&api, plural, select, |object| {
                let metadata = object.metadata;
                let is_of = helm::is_of(&metadata, &release, recorded.then_some(records.as_str()));
                is_of.then(|| named(kind, metadata.namespace, metadata.name)).flatten()
            });
            cluster.release.extend(or_note(found.await, &mut cluster.unread)?);
        }
    }
    Ok(())
}

/// The nodes where none of MetalLB's speakers runs, and one of FerroLB's would announce.
async fn without_speaker(
    client: &Client,
    speaker: &Workload,
    notes: &mut Vec<String>,
) -> Result<Vec<String>, ReadError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &speaker.namespace);
    let select = ListParams::default().labels(&speaker.selector);
    let (before, name) = (notes.len(), |pod: Pod| pod.spec?.node_name);
    let with: BTreeSet<String> =
        or_note(list(&api, "Pods of MetalLB's speaker", select, name).await, notes)?.into_iter().collect();
    let api: Api<Node> = Api::all(client.clone());
    let name = |mut node: Node| {
        let labels = node.metadata.labels.take().unwrap_or_default();
        let announces = !labels.contains_key(names::EXCLUDE_NODE);
        node.metadata
            .name
            .filter(|_| announces && labels.get(names::OS).is_none_or(|system| system == "linux"))
    };
    let nodes = or_note(list(&api, "Nodes", ListParams::default(), name).await, notes)?;
    if notes.len() > before {
        notes.push(
            "so it is not known which nodes have no speaker of MetalLB; FerroLB's run on every node, and addresses would move there: \
             look at them before step 4"
                .to_owned(),
        );
        return Ok(Vec::new());
    }
    // Of speakers that do not run at all nothing follows.
    if with.is_empty() {
        return Ok(Vec::new());
    }
    Ok(nodes.into_iter().filter(|node| !with.contains(node)).collect())
}

/// Who said last that it announces which Service on the local network.
async fn owners_by_events(client: &Client) -> Result<Vec<(ServiceKey, String)>, ReadError> {
    let api: Api<Event> = Api::all(client.clone());
    let told = |event: Event| {
        let node = announcer(&event.message.filter(|_| event.reason.as_deref() == Some("nodeAssigned"))?)?;
        let when = event.last_timestamp.map(|time| time.0).or(event.event_time.map(|time| time.0));
        let key = ServiceKey::new(event.involved_object.namespace?, event.involved_object.name?);
        Some((key, when, node))
    };
    let events = list(&api, "Events of all namespaces", ListParams::default(), told).await?;
    let mut last = BTreeMap::new();
    for (key, when, node) in events {
        let known: &mut (_, String) = last.entry(key).or_insert((None, String::new()));
        if when >= known.0 {
            *known = (when, node);
        }
    }
    Ok(last.into_iter().map(|(key, (_, node))| (key, node)).collect())
}

/// The node in `announcing from node "n1" with protocol "layer2"`.
fn announcer(message: &str) -> Option<String> {
    let rest = message.split_once("from node ")?.1;
    let (node, protocol) = rest.split_once(" with protocol ")?;
    (protocol.trim_matches('"') == "layer2").then(|| node.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_tells_who_announces_on_the_local_network() {
        let node = announcer("announcing from node \"n1\" with protocol \"layer2\"");
        assert_eq!(node.as_deref(), Some("n1"));
        assert_eq!(announcer("announcing from node \"n1\" with protocol \"bgp\""), None);
        assert_eq!(announcer("something else"), None);
    }

    #[test]
    fn all_fields_of_our_specs_are_known() {
        let pool = serde_json::json!({
            "addresses": ["10.0.0.0/24"], "excludeAddresses": ["10.0.0.1"], "reuseDelay": "1s",
            "serviceAllocation": {"priority": 1},
        });
        let pool: ferrolb_crds::IPAddressPoolSpec = serde_json::from_value(pool).unwrap();
        let Value::Object(fields) = serde_json::to_value(pool).unwrap() else { panic!("no object") };
        assert_eq!(
            fields.keys().map(String::as_str).collect::<BTreeSet<_>>(),
            POOL_FIELDS.iter().copied().collect()
        );
    }
}
