//! Reads [`Facts`]. What the user may not read is said, and the rest is read all the same.

use std::collections::{BTreeMap, BTreeSet};

use ferrolb_core::net::AddressRange;
use ferrolb_crds::admin::{Asked, MOST_PROBED};
use http::Request;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, RuleWithOperations, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::coordination::v1 as coordination;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, PodSpec};
use k8s_openapi::api::networking::v1::ServiceCIDR;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::client::Body;
use kube::{Api, Client};

use super::facts::{Definition, Facts, Hook, HostPort, Lease, NamedRange, ProxyConfig, Rival};
use super::rights;
use crate::look::{self, Want, look};
use crate::migrate::Named;
use crate::read::{ReadError, dynamic, get, list, list_metadata, or_note};

/// The group of MetalLB's kinds.
const GROUP: &str = "metallb.io";

/// The definitions that FerroLB installs.
pub(super) const DEFINITIONS: [&str; 8] = [
    "ipaddresspools",
    "l2advertisements",
    "servicel2statuses",
    "configurationstates",
    "bgppeers",
    "bgpadvertisements",
    "bfdprofiles",
    "communities",
];

/// Objects of which nothing follows.
const BGP: [(&str, &str, &str); 4] = [
    ("v1beta2", "BGPPeer", "bgppeers"),
    ("v1beta1", "BGPAdvertisement", "bgpadvertisements"),
    ("v1beta1", "BFDProfile", "bfdprofiles"),
    ("v1beta1", "Community", "communities"),
];

/// The label that k3s puts on the DaemonSets of its ServiceLB.
const SERVICELB: &str = "svccontroller.k3s.cattle.io/svcname";

/// Parts of the names of images, and whose they are.
const RIVALS: [(&str, &str); 7] = [
    ("klipper-lb", "ServiceLB (k3s)"),
    ("kube-vip/kube-vip", "kube-vip"),
    ("purelb/", "PureLB"),
    ("openelb/", "OpenELB"),
    ("kubesphere/openelb", "OpenELB"),
    ("loxilb", "LoxiLB"),
    ("porter/", "OpenELB"),
];

/// Reads; with `probe`, speakers ask their networks too.
///
/// # Errors
/// When the API server cannot be asked.
pub async fn collect(client: &Client, system: Option<&str>, probe: bool) -> Result<Facts, ReadError> {
    let want = Want { namespace: system, endpoints: true, ..Want::default() };
    let mut facts = Facts { look: look(client, want).await?, ..Facts::default() };
    look::ask_speakers(client, &mut facts.look).await;
    (facts.server, facts.time) = server(client).await?;
    admission(client, &mut facts).await?;
    let namespace = facts.look.namespace.clone();
    let labels = get(&Api::<Namespace>::all(client.clone()), "Namespace", &namespace).await;
    facts.namespace = noted(labels, &mut facts)?
        .map(|found| found.map(|namespace| namespace.metadata.labels.unwrap_or_default()));
    facts.rights = rights::ask(client, &mut facts.look).await?;
    // Its metadata: what is in it is nobody's business here.
    let secrets = dynamic(client, ("", "v1", "Secret", "secrets"), Some(&namespace));
    let secret = secrets.get_metadata_opt("ferrolb-hello").await;
    let secret = secret.map_err(|error| ReadError::of("Secret ferrolb-hello", error));
    facts.key = noted(secret, &mut facts)?.map(|found| found.is_some());
    leases(client, &mut facts).await?;
    ranges(client, &mut facts).await?;
    let proxy: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    let proxy = get(&proxy, "ConfigMap", "kube-proxy").await;
    facts.proxy = noted(proxy, &mut facts)?.flatten().and_then(proxy_config);
    others(client, &mut facts).await?;
    if probe {
        facts.answers = Some(ask_around(client, &facts).await);
    }
    Ok(facts)
}

/// What was read, or nothing and a sentence.
fn noted<T>(outcome: Result<T, ReadError>, facts: &mut Facts) -> Result<Option<T>, ReadError> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(error) => or_note::<T>(Err(error), &mut facts.look.unread).map(|_| None),
    }
}

/// Version and time of the API server, which tells both with one answer.
async fn server(client: &Client) -> Result<(Option<(u32, u32)>, Option<Timestamp>), ReadError> {
    let Ok(request) = Request::get("/version").body(Body::empty()) else { return Ok((None, None)) };
    let answer =
        client.send(request).await.map_err(|error| ReadError::of("the API server's version", error))?;
    let date = answer.headers().get(http::header::DATE).and_then(|date| date.to_str().ok());
    let time = date.and_then(|date| k8s_openapi::jiff::fmt::rfc2822::parse(date).ok());
    let body = answer.into_body().collect_bytes().await.unwrap_or_default();
    let told: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    // `33+` of some distributions.
    let number = |name: &str| {
        let digits: String = told[name].as_str()?.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    };
    let version = number("major").and_then(|major| Some((major, number("minor")?)));
    Ok((version, time.map(|time| time.timestamp())))
}

/// Definitions, webhooks, policies.
async fn admission(client: &Client, facts: &mut Facts) -> Result<(), ReadError> {
    // Each by its name, as those of a whole cluster are many megabytes.
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut definitions = Vec::new();
    for plural in DEFINITIONS {
        let found = get(&api, "CustomResourceDefinition", &format!("{plural}.{GROUP}")).await;
        let Some(found) = noted(found, facts)? else { break };
        definitions.extend(found.map(|object| definition(plural, object)));
        if plural == DEFINITIONS[DEFINITIONS.len() - 1] {
            facts.definitions = Some(std::mem::take(&mut definitions));
        }
    }
    let validating =
        list(&Api::all(client.clone()), "ValidatingWebhookConfigurations", ListParams::default(), |it| {
            let it: ValidatingWebhookConfiguration = it;
            let hooks = it.webhooks.into_iter().flatten().map(|hook| (hook.client_config, hook.rules));
            self::hook("ValidatingWebhookConfiguration", &it.metadata, hooks)
        })
        .await;
    let validating = noted(validating, facts)?;
    let mutating =
        list(&Api::all(client.clone()), "MutatingWebhookConfigurations", ListParams::default(), |it| {
            let it: MutatingWebhookConfiguration = it;
            let hooks = it.webhooks.into_iter().flatten().map(|hook| (hook.client_config, hook.rules));
            self::hook("MutatingWebhookConfiguration", &it.metadata, hooks)
        })
        .await;
    let mutating = noted(mutating, facts)?;
    facts.webhooks = validating.zip(mutating).map(|(one, other)| one.into_iter().chain(other).collect());

    let select = ListParams::default;
    let ours = |metadata: ObjectMeta| metadata.name.filter(|name| name.starts_with("ferrolb"));
    let policies = list(&Api::all(client.clone()), "ValidatingAdmissionPolicies", select(), |it| {
        let it: ValidatingAdmissionPolicy = it;
        ours(it.metadata)
    })
    .await;
    let policies = noted(policies, facts)?;
    let bindings = list(&Api::all(client.clone()), "ValidatingAdmissionPolicyBindings", select(), |it| {
        let it: ValidatingAdmissionPolicyBinding = it;
        it.spec?.policy_name.filter(|name| name.starts_with("ferrolb"))
    })
    .await;
    let bindings = noted(bindings, facts)?;
    facts.policies = policies.zip(bindings).map(|(policies, bound)| {
        (policies.into_iter().collect(), bound.into_iter().collect::<BTreeSet<String>>())
    });
    Ok(())
}

fn definition(plural: &str, object: CustomResourceDefinition) -> Definition {
    let conditions = object.status.and_then(|status| status.conditions).unwrap_or_default();
    let established = conditions.iter().any(|it| it.type_ == "Established" && it.status == "True");
    let webhook = object.spec.conversion.is_some_and(|conversion| conversion.strategy == "Webhook");
    let (mut served, mut ours) = (Vec::new(), plural != "ipaddresspools");
    for version in object.spec.versions {
        let schema = version.schema.and_then(|schema| schema.open_api_v3_schema);
        let spec = schema.and_then(|schema| schema.properties?.remove("spec"));
        // The one field of a pool that MetalLB does not have.
        ours |= spec.is_some_and(|spec| {
            spec.properties.is_some_and(|fields| fields.contains_key("excludeAddresses"))
        });
        if version.served {
            served.push(version.name);
        }
    }
    Definition { plural: plural.to_owned(), served, webhook, established, ours }
}

fn hook(
    kind: &str,
    metadata: &ObjectMeta,
    mut hooks: impl Iterator<Item = (WebhookClientConfig, Option<Vec<RuleWithOperations>>)>,
) -> Option<Hook> {
    let (config, _) = hooks.find(|(_, rules)| {
        let mut groups = rules.iter().flatten().flat_map(|rule| rule.api_groups.iter().flatten());
        groups.any(|group| group == GROUP)
    })?;
    let service = config.service.map(|service| format!("{}/{}", service.namespace, service.name));
    Some(Hook {
        configuration: format!("{kind} {}", metadata.name.as_deref().unwrap_or_default()),
        service: service.or(config.url).unwrap_or_default(),
    })
}

/// The controllers' Lease, and what kubelets say of when they lived last.
async fn leases(client: &Client, facts: &mut Facts) -> Result<(), ReadError> {
    let api: Api<coordination::Lease> = Api::namespaced(client.clone(), &facts.look.namespace);
    let found = get(&api, "Lease", "ferrolb-controller").await;
    facts.lease = noted(found, facts)?.map(|found| {
        let spec = found?.spec?;
        Some(Lease {
            holder: spec.holder_identity.unwrap_or_default(),
            seconds: spec.lease_duration_seconds.unwrap_or_default(),
            renewed: spec.renew_time.map(|time| time.0),
        })
    });
    let api: Api<coordination::Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let heartbeat = |lease: coordination::Lease| Some((lease.metadata.name?, lease.spec?.renew_time?.0));
    let found = list(&api, "Leases of nodes", ListParams::default(), heartbeat).await;
    facts.heartbeats = or_note(found, &mut facts.look.unread)?.into_iter().collect();
    Ok(())
}

/// Ranges that are not for pools.
async fn ranges(client: &Client, facts: &mut Facts) -> Result<(), ReadError> {
    let pods = |node: Node| {
        let (name, spec) = (node.metadata.name?, node.spec?);
        let one = spec.pod_cidr.filter(|_| spec.pod_cidrs.is_none());
        let all = spec.pod_cidrs.into_iter().flatten().chain(one);
        Some(all.filter_map(|cidr| named(&format!("the pods of node {name}"), &cidr)).collect::<Vec<_>>())
    };
    let found = list(&Api::all(client.clone()), "Nodes", ListParams::default(), pods).await;
    facts.pod_ranges = or_note(found, &mut facts.look.unread)?.into_iter().flatten().collect();
    let services = |object: ServiceCIDR| {
        let (name, cidrs) = (object.metadata.name?, object.spec?.cidrs?);
        let of = format!("the cluster IPs (ServiceCIDR {name})");
        Some(cidrs.iter().filter_map(|cidr| named(&of, cidr)).collect::<Vec<_>>())
    };
    let found = list(&Api::all(client.clone()), "ServiceCIDRs", ListParams::default(), services).await;
    facts.service_ranges = or_note(found, &mut facts.look.unread)?.into_iter().flatten().collect();
    Ok(())
}

fn named(of: &str, cidr: &str) -> Option<NamedRange> {
    Some(NamedRange { of: of.to_owned(), range: cidr.parse::<AddressRange>().ok()? })
}

/// What of the configuration in the ConfigMap matters: `mode`, and under `ipvs`, `strictARP`.
fn proxy_config(map: ConfigMap) -> Option<ProxyConfig> {
    let text = map.data?.remove("config.conf")?;
    let value: serde_json::Value = serde_saphyr::from_str(&text).ok()?;
    Some(ProxyConfig {
        mode: value["mode"].as_str().unwrap_or_default().to_owned(),
        strict_arp: value["ipvs"]["strictARP"].as_bool() == Some(true),
    })
}

/// Other load balancers, their ports, and objects that nobody acts upon.
async fn others(client: &Client, facts: &mut Facts) -> Result<(), ReadError> {
    let mut rivals = Vec::new();
    let sets = list(&Api::all(client.clone()), "DaemonSets", ListParams::default(), |set: DaemonSet| {
        let pod = set.spec.and_then(|spec| spec.template.spec);
        rival("DaemonSet", &set.metadata, pod.as_ref())
    })
    .await;
    let sets = noted(sets, facts)?;
    let deployments =
        list(&Api::all(client.clone()), "Deployments", ListParams::default(), |it: Deployment| {
            let pod = it.spec.and_then(|spec| spec.template.spec);
            rival("Deployment", &it.metadata, pod.as_ref())
        })
        .await;
    let deployments = noted(deployments, facts)?;
    let cilium = dynamic(
        client,
        ("cilium.io", "v2alpha1", "CiliumLoadBalancerIPPool", "ciliumloadbalancerippools"),
        None,
    );
    let cilium = list_metadata(&cilium, "CiliumLoadBalancerIPPools", ListParams::default(), |object| {
        let object = format!("CiliumLoadBalancerIPPool {}", object.metadata.name?);
        Some(Rival { what: "Cilium's LB IPAM", object })
    });
    rivals.extend(or_note(cilium.await, &mut facts.look.unread)?);
    let hosts = ListParams::default().fields("spec.hostNetwork=true");
    let of_hosts = list(&Api::all(client.clone()), "Pods", hosts, host_pod).await;
    if let Some(pods) = noted(of_hosts, facts)? {
        let ours: BTreeSet<String> =
            facts.look.pods.iter().map(|pod| format!("{}/{}", facts.look.namespace, pod.name)).collect();
        let mut ports = Vec::new();
        for (of_pod, found) in pods {
            // A static pod has no DaemonSet.
            rivals.extend(found);
            ports.extend(of_pod.into_iter().filter(|port| !ours.contains(&port.pod)));
        }
        facts.host_ports = Some(ports);
    }
    if let (Some(sets), Some(deployments)) = (sets, deployments) {
        rivals.extend(sets.into_iter().chain(deployments));
        rivals.sort_by(|a, b| (a.what, &a.object).cmp(&(b.what, &b.object)));
        rivals.dedup();
        facts.rivals = Some(rivals);
    }
    let here = facts.look.namespace.clone();
    for (kind, plural) in [("IPAddressPool", "ipaddresspools"), ("L2Advertisement", "l2advertisements")] {
        let api = dynamic(client, (GROUP, "v1beta1", kind, plural), None);
        let found = list_metadata(&api, plural, ListParams::default(), |object| {
            let namespace = object.metadata.namespace.filter(|namespace| *namespace != here)?;
            Some(Named { kind: kind.to_owned(), namespace, name: object.metadata.name? })
        });
        facts.elsewhere.extend(or_note(found.await, &mut facts.look.unread)?);
    }
    for (version, kind, plural) in BGP {
        let api = dynamic(client, (GROUP, version, kind, plural), Some(&here));
        let found = list_metadata(&api, plural, ListParams::default(), |object| {
            let namespace = object.metadata.namespace.unwrap_or_default();
            Some(Named { kind: kind.to_owned(), namespace, name: object.metadata.name? })
        });
        facts.bgp.extend(or_note(found.await, &mut facts.look.unread)?);
    }
    Ok(())
}

fn rival(kind: &str, metadata: &ObjectMeta, pod: Option<&PodSpec>) -> Option<Rival> {
    let labelled = metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(SERVICELB));
    let images = || pod.into_iter().flat_map(|pod| &pod.containers).filter_map(|it| it.image.as_deref());
    let by_image = RIVALS.iter().find(|(part, _)| images().any(|image| image.contains(part)));
    let what = if labelled { "ServiceLB (k3s)" } else { by_image?.1 };
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let name = metadata.name.as_deref().unwrap_or_default();
    Some(Rival { what, object: format!("{kind} {namespace}/{name}") })
}

/// The ports that a pod on the host's network takes, and what it is if it is another load balancer that nothing keeps.
fn host_pod(pod: Pod) -> Option<(Vec<HostPort>, Option<Rival>)> {
    let spec = pod.spec?;
    let name = format!("{}/{}", pod.metadata.namespace.as_deref()?, pod.metadata.name.as_deref()?);
    let kept = pod.metadata.owner_references.iter().flatten().any(|owner| owner.kind != "Node");
    let found = rival("Pod", &pod.metadata, Some(&spec)).filter(|_| !kept);
    let node = spec.node_name.unwrap_or_default();
    let ports = spec.containers.into_iter().flat_map(|container| container.ports.unwrap_or_default());
    let ports = ports.filter_map(|port| {
        let number = u16::try_from(port.host_port.unwrap_or(port.container_port)).ok()?;
        Some(HostPort { pod: name.clone(), node: node.clone(), port: number })
    });
    Some((ports.collect(), found))
}

/// Lets all speakers that are ready ask for all addresses, as many at a time as they take.
async fn ask_around(
    client: &Client,
    facts: &Facts,
) -> BTreeMap<String, Result<Vec<ferrolb_crds::admin::Answer>, String>> {
    let addresses: Vec<_> = facts.addresses().into_keys().collect();
    let pods: Vec<_> = facts.look.speakers().filter(|pod| pod.ready).cloned().collect();
    let mut all: BTreeMap<String, Result<Vec<_>, String>> = BTreeMap::new();
    for part in addresses.chunks(MOST_PROBED) {
        let asked = Asked { addresses: part.to_vec() };
        for (node, answers) in look::probe(client, &facts.look.namespace, pods.clone(), &asked).await {
            match (all.entry(node).or_insert_with(|| Ok(Vec::new())), answers) {
                (Ok(known), Ok(more)) => known.extend(more),
                (known @ Ok(_), Err(why)) => *known = Err(why),
                (Err(_), _) => {}
            }
        }
    }
    all
}
