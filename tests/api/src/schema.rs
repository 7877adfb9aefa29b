//! What the merges must know of the kinds: which lists are more than one value.

use serde_json::Value;

use crate::kind::Kind;

/// How a list is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lists {
    /// As one value.
    Atomic,
    /// Element by element; those with equal keys are the same.
    By(&'static [&'static str]),
    /// A set of plain values.
    Set,
}

/// How the list at `path` (names of fields, from the object's root) is merged.
pub(crate) fn lists(kind: &Kind, path: &[String]) -> Lists {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    match (kind.resource.plural.as_str(), names.as_slice()) {
        (_, ["metadata", "ownerReferences"]) => Lists::By(&["uid"]),
        (_, ["metadata", "finalizers"]) => Lists::Set,
        // Custom kinds say it in their schema; conditions are such a list by convention.
        (_, ["status", "conditions"]) => Lists::By(&["type"]),
        ("services", ["spec", "ports"]) => Lists::By(&["port", "protocol"]),
        ("nodes", ["status", "addresses"]) => Lists::By(&["type"]),
        ("nodes", ["spec", "podCIDRs"]) => Lists::Set,
        (_, [.., "containers" | "initContainers" | "volumes" | "env"]) if !kind.custom => {
            Lists::By(&["name"])
        }
        _ => Lists::Atomic,
    }
}

/// The defaults and rules that tests can see, of the kinds that this project writes to.
pub(crate) fn defaults(kind: &Kind, object: &mut Value) {
    match (kind.resource.group.as_str(), kind.resource.plural.as_str()) {
        ("", "services") => service(object),
        ("", "namespaces") => {
            let name = object["metadata"]["name"].clone();
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
        }
        _ => {}
    }
}

/// The one validation that a controller of load balancers can run into: the field and what is said of it.
pub(crate) fn check_status(kind: &Kind, object: &Value) -> Result<(), (&'static str, &'static str)> {
    let balanced = object["spec"]["type"] == "LoadBalancer";
    let given = object["status"]["loadBalancer"]["ingress"].as_array().is_some_and(|list| !list.is_empty());
    if kind.resource.qualified() == "services" && given && !balanced {
        let why = "Forbidden: may only be used when `spec.type` is 'LoadBalancer'";
        return Err(("status.loadBalancer.ingress", why));
    }
    Ok(())
}

fn service(object: &mut Value) {
    if !object["spec"].is_object() {
        object["spec"] = serde_json::json!({});
    }
    if object["spec"]["type"].is_null() {
        object["spec"]["type"] = "ClusterIP".into();
    }
    if let Some(ports) = object["spec"].get_mut("ports").and_then(Value::as_array_mut) {
        for port in ports.iter_mut().filter(|port| port.is_object()) {
            if port["protocol"].is_null() {
                port["protocol"] = "TCP".into();
            }
            if port["targetPort"].is_null() {
                port["targetPort"] = port["port"].clone();
            }
        }
    }
    let balanced = object["spec"]["type"] == "LoadBalancer";
    let status = &mut object["status"];
    // A Service that is no load balancer any more loses its addresses in the same write.
    if !balanced || !status["loadBalancer"].is_object() {
        status["loadBalancer"] = serde_json::json!({});
    }
    if let Some(ingress) = status["loadBalancer"].get_mut("ingress").and_then(Value::as_array_mut) {
        for entry in ingress.iter_mut().filter(|entry| entry.is_object()) {
            if entry["ip"].as_str().is_some_and(|ip| !ip.is_empty()) && entry["ipMode"].is_null() {
                entry["ipMode"] = "VIP".into();
            }
        }
    }
}
