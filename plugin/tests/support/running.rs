//! A made-up cluster of two nodes in which FerroLB runs and all is well.

#![allow(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::collections::BTreeMap;

use ferrolb_crds::admin::{Link, Peer, Told};
use ferrolb_fake_api::{ApiServer, Kind};
use ferrolb_plugin::doctor::{Facts, Right, collect};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use serde_json::{Value, json};

/// FerroLB's namespace.
pub(crate) const SYSTEM: &str = "metallb-system";

/// A key of the hellos, and other things that nobody but their owners may see.
pub(crate) const SECRETS: [&str; 3] =
    ["AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "hunter2-of-bgp", "hunter2-of-a-variable"];

/// The server, with all of it.
pub(crate) fn running() -> ApiServer {
    let api = super::api()
        .with::<Namespace>()
        .with::<Secret>()
        .with::<Lease>()
        .with::<EndpointSlice>()
        .with::<ServiceCIDR>()
        .with::<ValidatingAdmissionPolicy>()
        .with::<ValidatingAdmissionPolicyBinding>();
    api.register_kind(Kind::new("metallb.io", "v1beta1", "ConfigurationState", "configurationstates", true));
    objects().into_iter().for_each(|object| drop(api.put(object)));
    api
}

/// What is known of it; the speakers told, which a server in memory cannot bring about.
pub(crate) async fn facts(api: &ApiServer) -> Facts {
    let mut facts = collect(&api.client(), None, false).await.expect("facts");
    facts.look.told = told();
    facts.rights = Some(vec![Right { allowed: true, ..Right::default() }]);
    // What this server does not tell, and does not select by.
    facts.host_ports.get_or_insert_default();
    facts.look.unread.retain(|unread| !unread.contains("spec.hostNetwork"));
    facts.time = facts.time.or(Some(k8s_openapi::jiff::Timestamp::now()));
    facts
}

/// What both speakers tell.
pub(crate) fn told() -> BTreeMap<String, Result<Told, String>> {
    let of = |me: u8, other: u8| {
        let link = Link {
            name: "eth0".to_owned(),
            mac: format!("02:00:00:00:00:0{me}"),
            addresses: vec![format!("10.10.0.1{me}").parse().unwrap()],
            networks: vec!["10.10.0.0/24".to_owned()],
            gateways: vec!["10.10.0.254".parse().unwrap()],
            owned: usize::from(me == 1),
            heard: true,
            peers: vec![Peer {
                node: format!("n{other}"),
                interface: "eth0".to_owned(),
                mac: format!("02:00:00:00:00:0{other}"),
                counts: true,
                standing: "fit".to_owned(),
                udp: false,
            }],
            unheard: vec![],
        };
        (format!("n{me}"), Ok(Told { node: format!("n{me}"), links: vec![link], ..Told::default() }))
    };
    [of(1, 2), of(2, 1)].into()
}

fn objects() -> Vec<Value> {
    let mut all = vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM, "labels": {
            "ferrolb.io/configuration": "read-here", "pod-security.kubernetes.io/enforce": "privileged"}}}),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ferrolb-hello", "namespace": SYSTEM,
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": SECRETS[0]}},
            "data": {"first.key": SECRETS[0]}}),
        workload(
            "Deployment",
            "controller",
            &json!([
            {"name": "FERROLB_LB_CLASS"}, {"name": "OTHER", "value": SECRETS[2]}]),
        ),
        workload(
            "DaemonSet",
            "speaker",
            &json!([{"name": "FERROLB_LB_CLASS"},
            {"name": "FERROLB_ADMIN_PORT", "value": "17481"}]),
        ),
        pod("controller", "ferrolb-controller-a", "n1"),
        pod("speaker", "ferrolb-speaker-1", "n1"),
        pod("speaker", "ferrolb-speaker-2", "n2"),
        pool("lan", &["10.10.0.100-10.10.0.109"]),
        json!({"apiVersion": "metallb.io/v1beta1", "kind": "L2Advertisement",
            "metadata": {"name": "all", "namespace": SYSTEM}, "spec": {}}),
        service(
            "web",
            &json!({"loadBalancer": {"ingress": [{"ip": "10.10.0.100"}]}, "conditions": [
            {"type": "ferrolb.io/AddressAssigned", "status": "True", "reason": "Assigned", "message": "it has"}]}),
        ),
        json!({"apiVersion": "metallb.io/v1beta1", "kind": "ServiceL2Status",
            "metadata": {"name": "l2-web", "namespace": SYSTEM},
            "status": {"node": "n1", "serviceNamespace": "shop", "serviceName": "web",
                "interfaces": [{"name": "eth0"}]}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "web-a", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
            "endpoints": [{"addresses": ["10.244.2.7"], "nodeName": "n2", "conditions": {"ready": true},
                "targetRef": {"kind": "Pod", "name": "web-1"}}]}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
            "spec": {"cidrs": ["10.96.0.0/16"]}}),
        lease(SYSTEM, "ferrolb-controller", 0),
        lease("kube-node-lease", "n1", 3),
        lease("kube-node-lease", "n2", 7),
    ];
    for plural in [
        "ipaddresspools",
        "l2advertisements",
        "servicel2statuses",
        "configurationstates",
        "bgppeers",
        "bgpadvertisements",
        "bfdprofiles",
        "communities",
    ] {
        all.push(definition(plural));
    }
    for name in ["ferrolb-elsewhere", "ferrolb-overlap", "ferrolb-services"] {
        let of = |kind| {
            json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": {"name": name}, "spec": {"policyName": name}})
        };
        all.extend([of("ValidatingAdmissionPolicy"), of("ValidatingAdmissionPolicyBinding")]);
    }
    for number in [1, 2] {
        all.push(node(number));
        all.push(state(number, &[("ServiceProxyHealthy", "True", "the service proxy answers")]));
    }
    all
}

fn workload(kind: &str, part: &str, env: &Value) -> Value {
    let labels = json!({"app": "ferrolb", "app.kubernetes.io/component": part});
    json!({"apiVersion": "apps/v1", "kind": kind,
        "metadata": {"name": format!("ferrolb-{part}"), "namespace": SYSTEM, "labels": {"app.kubernetes.io/name": "ferrolb"}},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"containers": [{"name": part, "image": "ferrolb:dev", "command": [format!("/ferrolb-{part}")], "env": env}]}}}})
}

/// A pod that is ready.
pub(crate) fn pod(part: &str, name: &str, node: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": SYSTEM, "labels": {"app": "ferrolb", "app.kubernetes.io/component": part},
            "annotations": {"vendor.example/login": SECRETS[2]}},
        "spec": {"nodeName": node, "hostNetwork": part == "speaker", "serviceAccountName": format!("ferrolb-{part}"),
            "containers": [{"name": part, "image": "ferrolb:dev", "env": [{"name": "OTHER", "value": SECRETS[2]}]}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": part, "image": "ferrolb:dev", "imageID": "", "ready": true, "restartCount": 0}]}})
}

/// A node that is ready.
pub(crate) fn node(number: u8) -> Value {
    json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": format!("n{number}"), "labels": {"kubernetes.io/os": "linux"}},
        "spec": {"podCIDR": format!("10.244.{number}.0/24"), "podCIDRs": [format!("10.244.{number}.0/24")]},
        "status": {"conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": format!("10.10.0.1{number}")}]}})
}

/// What the speaker of a node says of itself.
pub(crate) fn state(number: u8, conditions: &[(&str, &str, &str)]) -> Value {
    let conditions = conditions.iter().map(|(kind, status, message)| {
        json!({"type": kind, "status": status, "reason": "Said", "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    });
    json!({"apiVersion": "metallb.io/v1beta1", "kind": "ConfigurationState",
        "metadata": {"name": format!("speaker-n{number}"), "namespace": SYSTEM,
            "labels": {"metallb.io/node-name": format!("n{number}")}},
        "status": {"result": "Valid", "conditions": conditions.collect::<Vec<_>>()}})
}

/// A pool of FerroLB's namespace.
pub(crate) fn pool(name: &str, addresses: &[&str]) -> Value {
    json!({"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
        "metadata": {"name": name, "namespace": SYSTEM}, "spec": {"addresses": addresses}})
}

/// A Service of type LoadBalancer in namespace `shop`.
pub(crate) fn service(name: &str, status: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop", "labels": {"app": name}},
        "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
            "selector": {"app": name}, "ports": [{"port": 80}]},
        "status": status})
}

/// A Lease, renewed so many seconds ago.
pub(crate) fn lease(namespace: &str, name: &str, ago: i64) -> Value {
    let at = k8s_openapi::jiff::Timestamp::now() - k8s_openapi::jiff::SignedDuration::from_secs(ago);
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name, "namespace": namespace},
        "spec": {"holderIdentity": format!("{name}-a"), "leaseDurationSeconds": 3, "renewTime": format!("{at:.6}")}})
}

/// A definition as FerroLB has it.
pub(crate) fn definition(plural: &str) -> Value {
    let version = if plural == "bgppeers" { "v1beta2" } else { "v1beta1" };
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.metallb.io")},
        "spec": {"group": "metallb.io", "scope": "Namespaced", "names": {"kind": "X", "plural": plural},
            "versions": [{"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object",
                    "properties": {"excludeAddresses": {"type": "array"}}}}}}}]},
        "status": {"conditions": [{"type": "Established", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z",
            "reason": "a", "message": "b"}]}})
}
