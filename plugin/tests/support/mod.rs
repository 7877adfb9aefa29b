//! Made-up clusters: objects in `clusters/*.yaml`, in an API server in memory.

#![allow(dead_code, reason = "not every test file uses all")]

pub(crate) mod running;

use ferrolb_fake_api::{ApiServer, Kind};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

/// MetalLB's kinds.
const METALLB: [(&str, &str, &str); 7] = [
    ("v1beta1", "IPAddressPool", "ipaddresspools"),
    ("v1beta1", "L2Advertisement", "l2advertisements"),
    ("v1beta2", "BGPPeer", "bgppeers"),
    ("v1beta1", "BGPAdvertisement", "bgpadvertisements"),
    ("v1beta1", "BFDProfile", "bfdprofiles"),
    ("v1beta1", "Community", "communities"),
    ("v1beta1", "ServiceL2Status", "servicel2statuses"),
];

/// A server that knows all kinds and has no objects.
pub(crate) fn api() -> ApiServer {
    let api = ApiServer::new()
        .with::<DaemonSet>()
        .with::<Deployment>()
        .with::<ConfigMap>()
        .with::<Event>()
        .with::<Node>()
        .with::<Pod>()
        .with::<Service>()
        .with::<ServiceAccount>()
        .with::<NetworkPolicy>()
        .with::<Role>()
        .with::<RoleBinding>()
        .with::<ClusterRole>()
        .with::<ClusterRoleBinding>()
        .with::<ValidatingWebhookConfiguration>()
        .with::<MutatingWebhookConfiguration>()
        .with::<CustomResourceDefinition>();
    for (version, kind, plural) in METALLB {
        api.register_kind(Kind::new("metallb.io", version, kind, plural, true));
    }
    api
}

/// A path in the folder of clusters.
pub(crate) fn file(name: &str) -> String {
    format!("{}/tests/clusters/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The objects of a file.
pub(crate) fn documents(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(file(&format!("{name}.yaml"))).expect(name);
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A server with the objects of these files.
pub(crate) fn load(parts: &[&str]) -> ApiServer {
    let api = api();
    for document in parts.iter().flat_map(|part| documents(part)) {
        api.put(document);
    }
    api
}

/// Puts an object of one of the files anew, changed.
pub(crate) fn change(api: &ApiServer, kind: &str, name: &str, change: impl FnOnce(&mut Value)) {
    let mut all = ["definitions", "services", "manifest", "helm", "owners"].into_iter().flat_map(documents);
    let mut found =
        all.find(|document| document["kind"] == kind && document["metadata"]["name"] == name).expect(name);
    change(&mut found);
    api.put(found);
}
