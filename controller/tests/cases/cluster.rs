//! The objects as an API server would hold them, and the writes that it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrolb_controller::brain::Write;
use ferrolb_crds::names;
use serde_json::{Map, Value, json};

use crate::format::{Pool, Service, ServiceFields};

/// The objects by name; Services by `namespace/name`.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) services: BTreeMap<String, Value>,
    pub(crate) pools: BTreeMap<String, Value>,
    pub(crate) namespaces: BTreeMap<String, Value>,
    pub(crate) nodes: BTreeMap<String, Value>,
    /// Counts versions, uids and cluster IPs.
    count: u64,
    /// The creation times given so far, of Services and of pools.
    places: (i64, i64),
}

/// A time of day that serves as the beginning.
const EPOCH: i64 = 1_700_000_000;

/// `web` is `default/web`.
pub(crate) fn full(name: &str) -> String {
    if name.contains('/') { name.to_owned() } else { format!("default/{name}") }
}

impl Cluster {
    /// Creates or edits a Service and its copies; returns their names.
    pub(crate) fn apply_service(&mut self, service: &Service) -> Result<Vec<String>, String> {
        let copies = service.fields.repeat.map_or_else(
            || vec![full(&service.name)],
            |count| (1..=count).map(|index| format!("{}-{index}", full(&service.name))).collect(),
        );
        for key in &copies {
            let (namespace, name) = key.split_once('/').ok_or("a Service without a namespace")?;
            if !self.namespaces.contains_key(namespace) {
                self.apply_namespace(namespace, &BTreeMap::new());
            }
            self.count += 1;
            let mut object = match self.services.remove(key) {
                Some(object) => object,
                None => self.new_service(namespace, name, &service.fields),
            };
            edit(&mut object, &service.fields, self.count).map_err(|words| format!("{key}: {words}"))?;
            object["metadata"]["resourceVersion"] = json!(self.count.to_string());
            self.services.insert(key.clone(), object);
        }
        Ok(copies)
    }

    fn new_service(&mut self, namespace: &str, name: &str, fields: &ServiceFields) -> Value {
        self.places.0 = fields.created.unwrap_or(self.places.0 + 1);
        let mut object = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": name, "namespace": namespace, "uid": format!("service-{}", self.count),
                "creationTimestamp": rfc3339(EPOCH + self.places.0),
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
                "managedFields": [{"manager": "kubectl", "operation": "Update"}],
            },
            "spec": {
                "type": "LoadBalancer", "ipFamilyPolicy": "SingleStack", "selector": {"app": name},
                "ports": [{"protocol": "TCP", "port": 80, "targetPort": 8080, "nodePort": 30080}],
                "externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster",
                "allocateLoadBalancerNodePorts": true, "sessionAffinity": "None",
            },
            "status": {"loadBalancer": {}},
        });
        set_families(&mut object, &["v4".to_owned()], self.count).unwrap_or_default();
        object
    }

    /// Creates a pool, or writes another spec into it.
    pub(crate) fn apply_pool(&mut self, pool: &Pool) {
        self.count += 1;
        let before = self.pools.get(&pool.name);
        self.places.1 = match (pool.created, before) {
            (Some(created), _) => created,
            (None, None) => self.places.1 + 1,
            (None, Some(_)) => self.places.1,
        };
        let mut object = before.cloned().unwrap_or_else(|| {
            json!({
                "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
                "metadata": {
                    "name": pool.name, "namespace": "metallb-system", "uid": format!("pool-{}", self.count),
                    "creationTimestamp": rfc3339(EPOCH + self.places.1),
                },
            })
        });
        object["metadata"]["resourceVersion"] = json!(self.count.to_string());
        object["spec"] = Value::Object(pool.spec.clone());
        if let Some(labels) = &pool.labels {
            object["metadata"]["labels"] = labels.clone();
        }
        if let Some(status) = &pool.status {
            merge(&mut object["status"], status);
        }
        if let Some(raw) = &pool.raw {
            merge(&mut object, raw);
        }
        self.pools.insert(pool.name.clone(), object);
    }

    pub(crate) fn apply_namespace(&mut self, name: &str, labels: &BTreeMap<String, String>) {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": name, "uid": format!("namespace-{name}"), "labels": labels}});
        self.namespaces.insert(name.to_owned(), object);
    }

    /// A node by its addresses; one with a type is written as a map.
    pub(crate) fn apply_node(&mut self, name: &str, addresses: &[Value]) {
        let address = |value: &Value| match value {
            Value::String(text) => json!({"type": "InternalIP", "address": text}),
            other => other.clone(),
        };
        let mut all: Vec<Value> = addresses.iter().map(address).collect();
        all.push(json!({"type": "Hostname", "address": name}));
        let object = json!({"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "uid": format!("node-{name}")},
            "status": {"addresses": all, "conditions": [{"type": "Ready", "status": "True"}]}});
        self.nodes.insert(name.to_owned(), object);
    }

    /// Does a write as the API server does a strategic merge patch of `services/status`.
    pub(crate) fn write(&mut self, write: &Write) -> Result<&Value, String> {
        let key = write.key.to_string();
        let object = self.services.get_mut(&key).ok_or_else(|| format!("{key} does not exist"))?;
        let patch = write.patch();
        let metadata = &patch["metadata"];
        for name in ["uid", "resourceVersion"] {
            if metadata[name] != object["metadata"][name] {
                return Err(format!("{key}: {name} {} is out of date", metadata[name]));
            }
        }
        let known = |place: &Value, names: &[&str]| {
            place.as_object().is_none_or(|all| all.keys().all(|name| names.contains(&name.as_str())))
        };
        if !known(&patch, &["metadata", "status"])
            || !known(metadata, &["uid", "resourceVersion", "annotations"])
            || !known(&patch["status"], &["loadBalancer", "conditions"])
        {
            return Err(format!("{key}: the patch names what is not the controller's: {patch}"));
        }
        if metadata.get("annotations").is_some() {
            merge(&mut object["metadata"]["annotations"], &metadata["annotations"]);
        }
        if let Some(ingress) = patch["status"]["loadBalancer"].get("ingress") {
            let mut entries = ingress.as_array().cloned().unwrap_or_default();
            for entry in &mut entries {
                if entry.get("ip").is_some() && entry.get("ipMode").is_none() {
                    entry["ipMode"] = json!("VIP");
                }
            }
            object["status"]["loadBalancer"] =
                if entries.is_empty() { json!({}) } else { json!({ "ingress": entries }) };
        }
        for condition in patch["status"]["conditions"].as_array().into_iter().flatten() {
            let mut all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            all.retain(|other| other["type"] != condition["type"]);
            if condition.get("$patch").is_none() {
                all.push(condition.clone());
            }
            object["status"]["conditions"] = json!(all);
        }
        self.count += 1;
        object["metadata"]["resourceVersion"] = json!(self.count.to_string());
        Ok(object)
    }

    /// Writes the status of a pool.
    pub(crate) fn write_pool(&mut self, name: &str, status: &Value) -> Option<&Value> {
        self.count += 1;
        let object = self.pools.get_mut(name)?;
        object["status"] = status.clone();
        object["metadata"]["resourceVersion"] = json!(self.count.to_string());
        Some(object)
    }
}

/// Writes what `fields` names into a Service.
fn edit(object: &mut Value, fields: &ServiceFields, number: u64) -> Result<(), String> {
    let metadata = &mut object["metadata"];
    if let Some(labels) = &fields.labels {
        metadata["labels"] = json!(labels);
    }
    let mut annotations: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    annotations.extend(fields.annotations.iter().map(|(name, value)| (name.as_str(), value.as_deref())));
    for (name, value) in [
        (names::ADDRESS_POOL, &fields.address_pool),
        (names::LOAD_BALANCER_IPS, &fields.load_balancer_ips),
        (names::ALLOW_SHARED_IP, &fields.allow_shared_ip),
    ] {
        annotations.extend(value.as_ref().map(|value| (name, value.as_deref())));
    }
    annotations.extend(fields.pool.as_deref().map(|pool| (names::ALLOCATED_FROM_POOL, Some(pool))));
    merge(&mut metadata["annotations"], &json!(annotations));
    let spec = &mut object["spec"];
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            merge(spec, &json!({ name: value }));
        }
    };
    set("type", fields.kind.as_ref().map(|value| json!(value)));
    set("loadBalancerClass", fields.class.as_ref().map(|value| json!(value)));
    set("loadBalancerIP", fields.load_balancer_ip.as_ref().map(|value| json!(value)));
    set("externalIPs", fields.external_ips.as_ref().map(|value| json!(value)));
    set("externalTrafficPolicy", fields.etp.as_ref().map(|value| json!(value)));
    set("ipFamilyPolicy", fields.policy.as_ref().map(|value| json!(value)));
    if let Some(selector) = &fields.selector {
        spec["selector"] = json!(selector);
    }
    if let Some(ports) = &fields.ports {
        spec["ports"] = ports.iter().map(port).collect::<Result<Vec<_>, _>>()?.into();
    }
    if let Some(families) = &fields.families {
        set_families(object, families, number)?;
    }
    if let Some(entries) = &fields.status {
        let entry = |value: &Value| match value {
            Value::String(address) => json!({"ip": address, "ipMode": "VIP"}),
            other => other.clone(),
        };
        let entries: Vec<Value> = entries.iter().map(entry).collect();
        object["status"]["loadBalancer"] =
            if entries.is_empty() { json!({}) } else { json!({ "ingress": entries }) };
    }
    if fields.marked {
        object["status"]["conditions"] = json!([{"type": names::ADDRESS_ASSIGNED, "status": "True",
            "reason": "Assigned", "message": "earlier", "lastTransitionTime": rfc3339(EPOCH)}]);
    }
    if let Some(raw) = &fields.raw {
        merge(object, raw);
    }
    Ok(())
}

/// One cluster IP for each family; a Service without any is headless.
fn set_families(object: &mut Value, families: &[String], number: u64) -> Result<(), String> {
    let address = |family: &String| match family.as_str() {
        "v4" => Ok((format!("10.96.{}.{}", number / 256 % 256, number % 256), "IPv4")),
        "v6" => Ok((format!("fd00:96::{number:x}"), "IPv6")),
        other => Err(format!("family {other:?} is neither v4 nor v6")),
    };
    let all: Vec<(String, &str)> = families.iter().map(address).collect::<Result<_, _>>()?;
    let spec = &mut object["spec"];
    let addresses: Vec<&str> =
        if all.is_empty() { vec!["None"] } else { all.iter().map(|(address, _)| address.as_str()).collect() };
    spec["clusterIP"] = json!(addresses[0]);
    spec["clusterIPs"] = json!(addresses);
    spec["ipFamilies"] = all.iter().map(|(_, name)| *name).collect();
    Ok(())
}

/// `80` or `UDP/53`.
fn port(value: &Value) -> Result<Value, String> {
    let written = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let (protocol, number) = written.split_once('/').unwrap_or(("TCP", &written));
    let number: u16 = number.parse().map_err(|_| format!("port {written:?} is not like 80 or UDP/53"))?;
    Ok(json!({"protocol": protocol, "port": number, "targetPort": number}))
}

/// RFC 7386.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    for (name, value) in patch {
        if value.is_null() {
            into.as_object_mut().map(|fields| fields.remove(name));
        } else {
            merge(&mut into[name], value);
        }
    }
}

fn rfc3339(seconds: i64) -> String {
    k8s_openapi::jiff::Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default()
}

/// The addresses in a Service's status, as far as they are any.
pub(crate) fn shown(service: &Value) -> Vec<IpAddr> {
    let entries = service["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten();
    entries.filter_map(|entry| entry["ip"].as_str()?.parse().ok()).collect()
}

/// Whether a Service is one that gets its address from us.
pub(crate) fn is_ours(service: &Value, lb_class: Option<&str>) -> bool {
    service["spec"]["type"] == "LoadBalancer"
        && service["spec"]["loadBalancerClass"].as_str().filter(|class| !class.is_empty()) == lb_class
}

/// Whether a Service has the condition that only our controller sets.
pub(crate) fn is_marked(service: &Value) -> bool {
    let conditions = service["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == names::ADDRESS_ASSIGNED)
}

/// Whether two Services may have one address, by the rules of `metallb.io/allow-shared-ip`. Written apart from the
/// code under test, on the objects as they are.
pub(crate) fn may_share(one: &Value, other: &Value) -> bool {
    let key = |service: &Value| {
        let annotations = &service["metadata"]["annotations"];
        let value = annotations
            .get(names::ALLOW_SHARED_IP)
            .or_else(|| annotations.get(names::DEPRECATED_ALLOW_SHARED_IP));
        value.and_then(Value::as_str).filter(|key| !key.trim().is_empty()).map(str::to_owned)
    };
    let ports = |service: &Value| -> BTreeSet<String> {
        let all = service["spec"]["ports"].as_array().into_iter().flatten();
        all.map(|port| format!("{}/{}", port["protocol"].as_str().unwrap_or("TCP"), port["port"])).collect()
    };
    let local = |service: &Value| service["spec"]["externalTrafficPolicy"] == "Local";
    let selector = |service: &Value| service["spec"]["selector"].as_object().cloned().unwrap_or_default();
    key(one).is_some()
        && key(one) == key(other)
        && local(one) == local(other)
        && (!local(one) || selector(one) == selector(other) && !selector(one).is_empty())
        && ports(one).is_disjoint(&ports(other))
}
