//! What goes into a bundle. What cannot be had is said in a file of its own, and the rest is collected all the same.

use k8s_openapi::api::core::v1;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DynamicObject, ListParams, LogParams};
use kube::{Api, Client};
use serde::Serialize;
use serde_json::Value;

use super::{Files, redact};
use crate::doctor::{self, Report};
use crate::look::{Pod, ask_text};
use crate::output::Style;
use crate::read::{ReadError, dynamic, get, list};
use crate::status::{Status, text};

/// Where objects of a kind are looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In FerroLB's namespace.
    Here,
    /// In all namespaces, or in none.
    Everywhere,
    /// In the namespace in which kubelets say that they live.
    NodeLeases,
}

/// Kinds: group, version, kind, plural, place. Secrets are none of them.
const KINDS: [(&str, &str, &str, &str, Place); 20] = [
    ("metallb.io", "v1beta1", "IPAddressPool", "ipaddresspools", Place::Everywhere),
    ("metallb.io", "v1beta1", "L2Advertisement", "l2advertisements", Place::Everywhere),
    ("metallb.io", "v1beta1", "ServiceL2Status", "servicel2statuses", Place::Everywhere),
    ("metallb.io", "v1beta1", "ConfigurationState", "configurationstates", Place::Everywhere),
    ("metallb.io", "v1beta2", "BGPPeer", "bgppeers", Place::Everywhere),
    ("metallb.io", "v1beta1", "BGPAdvertisement", "bgpadvertisements", Place::Everywhere),
    ("metallb.io", "v1beta1", "BFDProfile", "bfdprofiles", Place::Everywhere),
    ("metallb.io", "v1beta1", "Community", "communities", Place::Everywhere),
    ("apps", "v1", "DaemonSet", "daemonsets", Place::Here),
    ("apps", "v1", "Deployment", "deployments", Place::Here),
    ("", "v1", "Pod", "pods", Place::Here),
    ("", "v1", "Event", "events", Place::Here),
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", Place::Here),
    ("networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs", Place::Everywhere),
    ("coordination.k8s.io", "v1", "Lease", "leases", Place::Here),
    ("coordination.k8s.io", "v1", "Lease", "leases", Place::NodeLeases),
    ("", "v1", "Node", "nodes", Place::Everywhere),
    (
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingAdmissionPolicy",
        "validatingadmissionpolicies",
        Place::Everywhere,
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        Place::Everywhere,
    ),
    ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", Place::Everywhere),
];

/// Reasons of events that FerroLB writes about Services and Nodes, in their namespaces.
const REPORTERS: [&str; 2] = ["ferrolb-controller", "ferrolb-speaker"];

/// Collects.
///
/// # Errors
/// When the API server cannot be asked at all.
pub async fn collect(
    client: &Client,
    system: Option<&str>,
    log_lines: i64,
    now: Timestamp,
) -> Result<Files, ReadError> {
    let facts = doctor::collect(client, system, false).await?;
    let (report, status) = (Report::of(&facts, &[]), Status::of(&facts.look));
    let look = &facts.look;
    let mut bundle = Bundle { files: Files::new(), lacking: look.unread.clone() };
    let server =
        facts.server.map_or_else(|| "not known".to_owned(), |(major, minor)| format!("{major}.{minor}"));
    bundle.text(
        "about.txt",
        &format!(
            "kubectl-ferrolb {}\ncollected {now}\nnamespace {}\nKubernetes {server}\n",
            env!("CARGO_PKG_VERSION"),
            look.namespace
        ),
    );
    bundle.json("doctor.json", &report);
    bundle.text("doctor.txt", &doctor::written(&report));
    bundle.json("status.json", &status);
    bundle.text("status.txt", &text::whole(&status, true, Style::default()));
    bundle.json("speakers.json", &told(look));

    for (group, version, kind, plural, place) in KINDS {
        let namespace = match place {
            Place::Here => Some(look.namespace.as_str()),
            Place::Everywhere => None,
            Place::NodeLeases => Some("kube-node-lease"),
        };
        let api = dynamic(client, (group, version, kind, plural), namespace);
        let name = if place == Place::NodeLeases { "leases-of-nodes" } else { plural };
        // Only those of Services that have to do with us: of others it is nobody's business where they are.
        let ours = |object: &DynamicObject| {
            if kind != "EndpointSlice" {
                return true;
            }
            let labels = object.metadata.labels.as_ref();
            let service = labels.and_then(|labels| labels.get(ferrolb_crds::names::SERVICE_NAME));
            let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
            service.is_some_and(|service| {
                look.services.contains_key(&ferrolb_core::service::ServiceKey::new(namespace, service))
            })
        };
        bundle.objects(
            name,
            list(&api, plural, ListParams::default(), |object| ours(&object).then_some(object)).await,
        )?;
    }
    let services = dynamic(client, ("", "v1", "Service", "services"), None);
    let balanced = |object: DynamicObject| (object.data["spec"]["type"] == "LoadBalancer").then_some(object);
    bundle.objects("services", list(&services, "Services", ListParams::default(), balanced).await)?;
    let events = dynamic(client, ("events.k8s.io", "v1", "Event", "events"), None);
    let ours = |object: DynamicObject| {
        let by = object.data["reportingController"].as_str().unwrap_or_default();
        REPORTERS.contains(&by).then_some(object)
    };
    bundle.objects("events-of-ferrolb", list(&events, "Events", ListParams::default(), ours).await)?;
    definitions(client, &mut bundle).await?;
    let maps: Api<v1::ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    if let Ok(Some(map)) = get(&maps, "ConfigMap", "kube-proxy").await
        && let Some(words) = map.data.and_then(|mut data| data.remove("config.conf"))
    {
        bundle.text("kube-proxy.yaml", &words);
    }
    for pod in look.pods.clone() {
        logs(client, &look.namespace, &pod, log_lines, &mut bundle).await;
        if pod.running {
            endpoint(client, &look.namespace, &pod, &mut bundle).await;
        }
    }
    let lacking = bundle.lacking.join("\n");
    if !lacking.is_empty() {
        bundle.text("not-collected.txt", &lacking);
    }
    Ok(bundle.files)
}

struct Bundle {
    files: Files,
    lacking: Vec<String>,
}

impl Bundle {
    fn text(&mut self, name: &str, words: &str) {
        self.files.insert(name.to_owned(), redact::text(words).into_bytes());
    }

    fn json<T: Serialize>(&mut self, name: &str, value: &T) {
        let mut value = serde_json::to_value(value).unwrap_or_default();
        redact::object(&mut value);
        let words = serde_json::to_string_pretty(&value).unwrap_or_default();
        self.files.insert(name.to_owned(), words.into_bytes());
    }

    /// A list of objects, each without what could be a secret. A kind that is not there has no file.
    fn objects(&mut self, name: &str, found: Result<Vec<DynamicObject>, ReadError>) -> Result<(), ReadError> {
        match found {
            Ok(objects) => {
                let mut all = Vec::with_capacity(objects.len());
                for object in objects {
                    let mut value = serde_json::to_value(object).unwrap_or_default();
                    redact::object(&mut value);
                    all.push(value);
                }
                let words = serde_json::to_string_pretty(&Value::from(all)).unwrap_or_default();
                self.files.insert(format!("objects/{name}.json"), words.into_bytes());
            }
            Err(ReadError::Unknown { .. }) => {}
            Err(error @ (ReadError::Refused { .. } | ReadError::Other { .. })) => {
                self.lacking.push(error.to_string());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// What the speakers told, by node, or why they did not.
fn told(look: &crate::look::Look) -> Value {
    let told = look.told.iter().map(|(node, told)| {
        let value = match told {
            Ok(told) => serde_json::to_value(told).unwrap_or_default(),
            Err(why) => Value::from(why.as_str()),
        };
        (node.clone(), value)
    });
    Value::Object(told.collect())
}

/// The definitions of metallb.io, without their schemas.
async fn definitions(client: &Client, bundle: &mut Bundle) -> Result<(), ReadError> {
    let api = dynamic(
        client,
        ("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions"),
        None,
    );
    let mut found = Vec::new();
    for plural in
        ["ipaddresspools", "l2advertisements", "servicel2statuses", "configurationstates", "bgppeers"]
    {
        match get(&api, "CustomResourceDefinition", &format!("{plural}.metallb.io")).await {
            Ok(Some(mut object)) => {
                for version in object.data["spec"]["versions"].as_array_mut().into_iter().flatten() {
                    if let Some(fields) = version.as_object_mut() {
                        fields.remove("schema");
                    }
                }
                found.push(object);
            }
            Ok(None) => {}
            Err(error) => return bundle.objects("definitions", Err(error)),
        }
    }
    bundle.objects("definitions", Ok(found))
}

/// The log of a pod, and that of its last life where it had one.
async fn logs(client: &Client, namespace: &str, pod: &Pod, lines: i64, bundle: &mut Bundle) {
    let api: Api<v1::Pod> = Api::namespaced(client.clone(), namespace);
    for previous in [false, true] {
        if previous && pod.restarts == 0 {
            continue;
        }
        let params =
            LogParams { tail_lines: Some(lines), timestamps: true, previous, ..LogParams::default() };
        let ending = if previous { ".previous.log" } else { ".log" };
        match api.logs(&pod.name, &params).await {
            Ok(words) => bundle.text(&format!("logs/{}{ending}", pod.name), &words),
            Err(error) => {
                let why = ReadError::of(&format!("the log of {}", pod.name), error);
                bundle.lacking.push(why.to_string());
            }
        }
    }
}

/// What its admin endpoint says: metrics, and whether it is ready.
async fn endpoint(client: &Client, namespace: &str, pod: &Pod, bundle: &mut Bundle) {
    for path in ["readyz", "metrics"] {
        match ask_text(client, namespace, pod, &format!("/{path}")).await {
            Ok((_, words)) => bundle.text(&format!("{path}/{}.txt", pod.name), &words),
            Err(why) => {
                bundle.lacking.push(format!("/{path} of {}: {why}", pod.name));
                // The other one would not be had either.
                return;
            }
        }
    }
}
