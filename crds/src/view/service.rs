//! A Service, and its conversion into core's words.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use ferrolb_core::net::{self, Family};
use ferrolb_core::quote::Quoted;
use ferrolb_core::service::{
    self as core, Backends, FamilyPolicy, Port, Requested, Role, ServiceKey, Sharing,
};

use crate::lenient;
use crate::names;

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, kube::Resource)]
#[resource(inherit = v1::Service)]
pub struct Service {
    /// Names, labels, and those annotations that start with one of the prefixes of [`names`].
    #[serde(default, deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// What the user asks for.
    #[serde(default, deserialize_with = "lenient::value")]
    pub spec: ServiceSpec,
    /// What it has.
    #[serde(default, deserialize_with = "lenient::value")]
    pub status: ServiceStatus,
}

/// `spec` of a Service; texts as written, since a value unknown to us must not make it unreadable.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpec {
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
    #[serde(rename = "type", deserialize_with = "lenient::value")]
    pub kind: Option<String>,
    /// Which load balancer is meant; none means the cluster's default one.
    #[serde(deserialize_with = "lenient::value")]
    pub load_balancer_class: Option<String>,
    /// One address asked for, the older way.
    #[serde(rename = "loadBalancerIP", deserialize_with = "lenient::value")]
    pub load_balancer_ip: Option<String>,
    /// The first of `clusterIPs`; `None` (the text) for a headless Service.
    #[serde(rename = "clusterIP", deserialize_with = "lenient::value")]
    pub cluster_ip: Option<String>,
    /// One address for each of its families, the primary first.
    #[serde(rename = "clusterIPs", deserialize_with = "lenient::list")]
    pub cluster_ips: Vec<String>,
    /// `SingleStack`, `PreferDualStack` or `RequireDualStack`.
    #[serde(deserialize_with = "lenient::value")]
    pub ip_family_policy: Option<String>,
    /// Addresses that the user routes to the nodes.
    #[serde(rename = "externalIPs", deserialize_with = "lenient::list")]
    pub external_ips: Vec<String>,
    /// `Cluster` or `Local`.
    #[serde(deserialize_with = "lenient::value")]
    pub external_traffic_policy: Option<String>,
    /// Its ports, once more than those of Services that share an address are read by nobody: see
    /// [`Service::trim_unshared`].
    #[serde(deserialize_with = "lenient::list")]
    pub ports: Vec<ServicePort>,
    /// The labels of its pods; see `ports`.
    #[serde(deserialize_with = "lenient::value")]
    pub selector: BTreeMap<String, String>,
}

/// One entry of `spec.ports`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServicePort {
    /// `TCP` (also if absent), `UDP` or `SCTP`.
    #[serde(deserialize_with = "lenient::value")]
    pub protocol: Option<String>,
    /// The port under which the Service is reached.
    #[serde(deserialize_with = "lenient::value")]
    pub port: u16,
}

/// `status` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceStatus {
    /// The addresses given.
    #[serde(deserialize_with = "lenient::value")]
    pub load_balancer: LoadBalancerStatus,
    /// The controller's condition, [`names::ADDRESS_ASSIGNED`]; those of others are not kept.
    #[serde(rename = "conditions", deserialize_with = "own_condition")]
    pub address_assigned: Option<AddressAssigned>,
}

/// The condition that says whether a Service has an address, and why not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AddressAssigned {
    /// `True` or `False`.
    #[serde(deserialize_with = "lenient::value")]
    pub status: String,
    /// The stable name of why.
    #[serde(deserialize_with = "lenient::value")]
    pub reason: String,
    /// Why, for people.
    #[serde(deserialize_with = "lenient::value")]
    pub message: String,
    /// When `status` changed last, as written.
    #[serde(deserialize_with = "lenient::value")]
    pub last_transition_time: String,
}

/// `status.loadBalancer` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LoadBalancerStatus {
    /// One entry for each address.
    #[serde(deserialize_with = "lenient::list")]
    pub ingress: Vec<Ingress>,
}

/// One entry of `status.loadBalancer.ingress`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Ingress {
    /// The address, as written.
    #[serde(deserialize_with = "lenient::value")]
    pub ip: Option<String>,
    /// A DNS name in its place, which other load balancers use.
    #[serde(deserialize_with = "lenient::value")]
    pub hostname: Option<String>,
    /// `VIP` or `Proxy`. The API server fills it in, so it is kept when an entry is written again.
    #[serde(deserialize_with = "lenient::value")]
    pub ip_mode: Option<String>,
    /// `ports`, which others may set; kept as it is.
    #[serde(deserialize_with = "lenient::value")]
    pub ports: Option<serde_json::Value>,
}

impl Service {
    /// In core's words; `None` for an object without a name or namespace, which the API never holds.
    ///
    /// `lb_class` is the `loadBalancerClass` that we serve; `None` or empty for Services without one.
    pub fn to_core(&self, lb_class: Option<&str>) -> Option<core::Service> {
        let (held, held_is_broken) = self.held();
        Some(core::Service {
            key: ServiceKey::new(self.metadata.namespace.as_ref()?, self.metadata.name.as_ref()?),
            // An object without a time never takes an address from one that has held it since long.
            created: self.metadata.creation_timestamp.as_ref().map_or(i64::MAX, |time| time.0.as_second()),
            labels: self.metadata.labels.clone().unwrap_or_default(),
            role: self.role(lb_class),
            families: self.families(),
            policy: match self.spec.ip_family_policy.as_deref() {
                Some("PreferDualStack") => FamilyPolicy::PreferDualStack,
                Some("RequireDualStack") => FamilyPolicy::RequireDualStack,
                _ => FamilyPolicy::SingleStack,
            },
            held,
            held_is_broken,
            allocated_from: self.allocated_from_pool().map(str::to_owned),
            requested_pool: self.requested_pool().map(str::to_owned),
            requested: self.requested(),
            sharing: self.sharing(),
            granted_terms: self.granted_terms().map(str::to_owned),
            marked: self.status.address_assigned.is_some(),
            external_ips: self.spec.external_ips.iter().filter_map(|text| stored_address(text)).collect(),
            local_traffic_only: self.spec.external_traffic_policy.as_deref() == Some("Local"),
        })
    }

    /// The pool that the annotation written by the controller names.
    pub fn allocated_from_pool(&self) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(names::ALLOCATED_FROM_POOL).map(String::as_str)
    }

    /// The terms of sharing noted by the controller.
    pub fn granted_terms(&self) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(names::SHARING_TERMS).map(String::as_str)
    }

    /// The annotations in their old spelling that it is asked for by.
    pub fn deprecated_annotations(&self) -> Vec<&'static str> {
        let annotations = self.metadata.annotations.as_ref();
        let known = [
            names::DEPRECATED_ADDRESS_POOL,
            names::DEPRECATED_LOAD_BALANCER_IPS,
            names::DEPRECATED_ALLOW_SHARED_IP,
        ];
        known.into_iter().filter(|name| annotations.is_some_and(|all| all.contains_key(*name))).collect()
    }

    /// Drops ports and selector of a Service that shares its address with nobody: ten thousand of them stay small.
    pub fn trim_unshared(&mut self) {
        if self.sharing_key().is_none() {
            self.spec.ports = Vec::new();
            self.spec.selector = BTreeMap::new();
        }
    }

    fn sharing_key(&self) -> Option<&str> {
        self.annotation(names::ALLOW_SHARED_IP, names::DEPRECATED_ALLOW_SHARED_IP).map(|(_, key)| key)
    }

    fn sharing(&self) -> Option<Sharing> {
        let key = self.sharing_key()?.to_owned();
        let backends = match self.spec.external_traffic_policy.as_deref() {
            Some("Local") if self.spec.selector.is_empty() => Backends::Unknown,
            Some("Local") => Backends::Local(self.spec.selector.clone()),
            _ => Backends::Anywhere,
        };
        let port = |port: &ServicePort| Port {
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            port: port.port,
        };
        Some(Sharing { key, backends, ports: self.spec.ports.iter().map(port).collect() })
    }

    fn role(&self, lb_class: Option<&str>) -> Role {
        if self.spec.kind.as_deref() != Some("LoadBalancer") {
            return Role::NotLoadBalanced;
        }
        let set = |class: &&str| !class.is_empty();
        if self.spec.load_balancer_class.as_deref().filter(set) == lb_class.filter(set) {
            Role::Ours
        } else {
            Role::Foreign
        }
    }

    fn families(&self) -> Vec<Family> {
        let addresses = match self.spec.cluster_ips.as_slice() {
            [] => self.spec.cluster_ip.as_slice(),
            addresses => addresses,
        };
        let mut families: Vec<Family> = Vec::new();
        for family in addresses.iter().filter_map(|text| stored_address(text)).map(Family::of) {
            if !families.contains(&family) {
                families.push(family);
            }
        }
        families
    }

    fn held(&self) -> (Vec<IpAddr>, bool) {
        let mut held: Vec<IpAddr> = Vec::new();
        let mut broken = false;
        for text in self.status.load_balancer.ingress.iter().filter_map(|entry| entry.ip.as_deref()) {
            match stored_address(text) {
                Some(address) => {
                    broken |= held.iter().any(|other| Family::of(*other) == Family::of(address));
                    held.push(address);
                }
                None => broken |= !text.is_empty(),
            }
        }
        (held, broken)
    }

    fn requested_pool(&self) -> Option<&str> {
        self.annotation(names::ADDRESS_POOL, names::DEPRECATED_ADDRESS_POOL).map(|(_, pool)| pool)
    }

    fn requested(&self) -> Requested {
        let annotation = self.annotation(names::LOAD_BALANCER_IPS, names::DEPRECATED_LOAD_BALANCER_IPS);
        let field = self.spec.load_balancer_ip.as_deref().filter(|text| !text.trim().is_empty());
        match (annotation, field) {
            (None, None) => Requested::Nothing,
            (Some((name, _)), Some(_)) => Requested::Unreadable(format!(
                "addresses are asked for twice: remove spec.loadBalancerIP, which is deprecated, or the \
                 annotation {name}"
            )),
            (Some((name, list)), None) => requested(&format!("annotation {name}"), list.split(',')),
            (None, Some(one)) => requested("spec.loadBalancerIP", std::iter::once(one)),
        }
    }

    /// The annotation in its new or old spelling, unless it is blank.
    fn annotation(&self, name: &'static str, deprecated: &'static str) -> Option<(&'static str, &str)> {
        names::annotation(self.metadata.annotations.as_ref(), name, deprecated)
            .filter(|(_, value)| !value.trim().is_empty())
    }
}

/// The addresses in `items`; `place` says in messages where they are written.
fn requested<'a>(place: &str, items: impl Iterator<Item = &'a str>) -> Requested {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for item in items {
        let Some(address) = net::address(item) else {
            return Requested::Unreadable(format!(
                "{place}: {} is not an IP address; write one like 10.0.0.1 or fd00::1",
                Quoted(item.trim())
            ));
        };
        let family = Family::of(address);
        if let Some(other) = addresses.iter().find(|other| Family::of(**other) == family) {
            return Requested::Unreadable(format!(
                "{place}: {other} and {address} are both {family}; keep at most one address of each family"
            ));
        }
        addresses.push(address);
    }
    Requested::Addresses(addresses)
}

/// Parses an address that the API server has accepted.
///
/// Unlike users' annotations these may hold leading zeros (`010.0.0.1`): API servers took and kept them for
/// years, and read them, as kube-proxy does, in decimal.
fn stored_address(text: &str) -> Option<IpAddr> {
    net::address(text).or_else(|| {
        let octets: Vec<u8> = text
            .split('.')
            .map(|octet| octet.bytes().all(|b| b.is_ascii_digit()).then(|| octet.parse().ok()).flatten())
            .collect::<Option<_>>()?;
        <[u8; 4]>::try_from(octets).ok().map(IpAddr::from)
    })
}

fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    lenient::metadata(deserializer, |name| {
        [names::PREFIX, names::DEPRECATED_PREFIX, names::OWN_PREFIX]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    })
}

/// Of a list of conditions, the controller's.
fn own_condition<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<AddressAssigned>, D::Error> {
    let Value::Array(conditions) = Value::deserialize(deserializer)? else { return Ok(None) };
    let own = conditions.into_iter().find(|condition| condition["type"] == names::ADDRESS_ASSIGNED);
    Ok(own.and_then(|condition| serde_json::from_value(condition).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn service(spec: &Value, annotations: &Value, ingress: &Value) -> core::Service {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "annotations": annotations,
                "labels": {"app": "web"}, "creationTimestamp": "1970-01-01T00:01:40Z",
                "managedFields": [{"manager": "kubectl", "time": "not a time"}]},
            "spec": spec,
            "status": {"loadBalancer": {"ingress": ingress}},
        }))
        .unwrap();
        service.to_core(None).unwrap()
    }

    fn with_spec(spec: &Value) -> core::Service {
        service(spec, &json!({}), &json!([]))
    }

    fn with_annotations(annotations: &Value) -> core::Service {
        service(&json!({}), annotations, &json!([]))
    }

    fn addresses(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_whole_of_a_dual_stack_service() {
        let made = service(
            &json!({
                "type": "LoadBalancer", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00:96::7"],
                "ipFamilyPolicy": "PreferDualStack", "externalIPs": ["192.0.2.1", "010.0.0.2", "x"],
                "externalTrafficPolicy": "Local", "ports": [{"port": 80}],
            }),
            &json!({names::ADDRESS_POOL: "lan", names::ALLOCATED_FROM_POOL: "dmz", "other/one": "z"}),
            &json!([{"ip": "10.0.0.1", "ipMode": "VIP"}, {"ip": "fd00::1"}]),
        );
        assert_eq!(
            made,
            core::Service {
                key: ServiceKey::new("shop", "web"),
                created: 100,
                labels: [("app".to_owned(), "web".to_owned())].into(),
                role: Role::Ours,
                families: vec![Family::V4, Family::V6],
                policy: FamilyPolicy::PreferDualStack,
                held: addresses(&["10.0.0.1", "fd00::1"]),
                held_is_broken: false,
                allocated_from: Some("dmz".into()),
                requested_pool: Some("lan".into()),
                requested: Requested::Nothing,
                sharing: None,
                granted_terms: None,
                marked: false,
                external_ips: addresses(&["192.0.2.1", "10.0.0.2"]).into_iter().collect(),
                local_traffic_only: true,
            }
        );
    }

    #[test]
    fn the_role_follows_type_and_class() {
        let of = |spec: Value, flag: Option<&str>| {
            let service: Service = serde_json::from_value(json!({
                "metadata": {"name": "web", "namespace": "shop"}, "spec": spec,
            }))
            .unwrap();
            service.to_core(flag).unwrap().role
        };
        let plain = json!({"type": "LoadBalancer"});
        let classy = json!({"type": "LoadBalancer", "loadBalancerClass": "a/b"});
        assert_eq!(of(plain.clone(), None), Role::Ours);
        assert_eq!(of(plain.clone(), Some("")), Role::Ours);
        assert_eq!(of(plain, Some("a/b")), Role::Foreign);
        assert_eq!(of(classy.clone(), None), Role::Foreign);
        assert_eq!(of(classy.clone(), Some("")), Role::Foreign);
        assert_eq!(of(classy.clone(), Some("a/b")), Role::Ours);
        assert_eq!(of(classy, Some("a/c")), Role::Foreign);
        for kind in [json!("NodePort"), json!("Novelty"), json!(null), json!(7)] {
            assert_eq!(of(json!({"type": kind}), None), Role::NotLoadBalanced);
        }
    }

    #[test]
    fn families_come_from_the_cluster_addresses() {
        let of = |spec: Value| with_spec(&spec).families;
        assert_eq!(of(json!({"clusterIPs": ["fd00::1", "10.0.0.1"]})), [Family::V6, Family::V4]);
        assert_eq!(of(json!({"clusterIP": "10.0.0.1"})), [Family::V4]);
        assert_eq!(of(json!({"clusterIP": "10.0.0.1", "clusterIPs": ["fd00::1"]})), [Family::V6]);
        assert_eq!(of(json!({"clusterIP": "None", "clusterIPs": ["None"]})), []);
        assert_eq!(of(json!({"clusterIP": "", "clusterIPs": null})), []);
    }

    #[test]
    fn a_status_that_cannot_be_ours_is_broken() {
        let of = |ingress: Value| {
            let made = service(&json!({}), &json!({}), &ingress);
            (made.held, made.held_is_broken)
        };
        assert_eq!(
            of(json!([{"hostname": "lb.example.dev"}, {"ip": "10.0.0.1"}])),
            (addresses(&["10.0.0.1"]), false)
        );
        assert_eq!(of(json!([{"ip": "10.0.0.x"}, {"ip": "10.0.0.1"}])), (addresses(&["10.0.0.1"]), true));
        assert_eq!(
            of(json!([{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}])),
            (addresses(&["10.0.0.1", "10.0.0.2"]), true)
        );
        assert!(of(json!([{"ip": "10.0.0.1"}, {"ip": "fd00::1"}, {"ip": "fd00::2"}])).1);
        for odd in [json!(null), json!("x"), json!([{"ip": null}, {"ip": 7}, 7])] {
            assert_eq!(of(odd), (vec![], false));
        }
    }

    #[test]
    fn sharing_needs_a_key() {
        let of = |annotations: Value, policy: &str, selector: Value| {
            let ports = json!([{"port": 80}, {"port": 53, "protocol": "UDP"}]);
            let spec = json!({"externalTrafficPolicy": policy, "selector": selector, "ports": ports});
            service(&spec, &annotations, &json!([])).sharing
        };
        let key = json!({names::ALLOW_SHARED_IP: "k"});
        let pods = json!({"app": "web"});
        assert_eq!(of(json!({}), "Cluster", pods.clone()), None);
        assert_eq!(of(json!({names::ALLOW_SHARED_IP: " "}), "Cluster", pods.clone()), None);
        let made = of(json!({names::DEPRECATED_ALLOW_SHARED_IP: "k"}), "Cluster", pods.clone()).unwrap();
        let port = |protocol: &str, port| Port { protocol: protocol.into(), port };
        assert_eq!(made.ports, [port("TCP", 80), port("UDP", 53)].into());
        assert_eq!((made.key.as_str(), made.backends), ("k", Backends::Anywhere));
        let local = Backends::Local([("app".to_owned(), "web".to_owned())].into());
        assert_eq!(of(key.clone(), "Local", pods).unwrap().backends, local);
        assert_eq!(of(key, "Local", json!(null)).unwrap().backends, Backends::Unknown);
    }

    #[test]
    fn ports_are_kept_only_where_they_are_read() {
        for (annotations, ports) in [(json!({}), 0), (json!({names::ALLOW_SHARED_IP: "k"}), 1)] {
            let mut service: Service = serde_json::from_value(json!({
                "metadata": {"annotations": annotations}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}},
            }))
            .unwrap();
            service.trim_unshared();
            assert_eq!((service.spec.ports.len(), service.spec.selector.len()), (ports, ports));
        }
    }

    #[test]
    fn of_the_conditions_only_ours_is_kept() {
        let of = |conditions: Value| {
            let service: Service =
                serde_json::from_value(json!({"status": {"conditions": conditions}})).unwrap();
            service.status.address_assigned
        };
        let other = json!({"type": "x/Y", "status": "True"});
        let own = json!({"type": names::ADDRESS_ASSIGNED, "status": "False", "reason": "NoPool", "message": "m",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        assert_eq!(of(json!([other])), None);
        let found = of(json!([other, own])).unwrap();
        assert_eq!((found.status.as_str(), found.reason.as_str()), ("False", "NoPool"));
        for odd in [json!(null), json!(7), json!([7, {"type": 7}])] {
            assert_eq!(of(odd), None);
        }
    }

    #[test]
    fn requested_addresses_keep_their_order() {
        for name in [names::LOAD_BALANCER_IPS, names::DEPRECATED_LOAD_BALANCER_IPS] {
            let made = with_annotations(&json!({name: " fd00::1 , 10.0.0.1 "}));
            assert_eq!(made.requested, Requested::Addresses(addresses(&["fd00::1", "10.0.0.1"])));
        }
        let made = with_spec(&json!({"loadBalancerIP": "10.0.0.1"}));
        assert_eq!(made.requested, Requested::Addresses(addresses(&["10.0.0.1"])));
        let made = with_annotations(&json!({
            names::LOAD_BALANCER_IPS: "10.0.0.1", names::DEPRECATED_LOAD_BALANCER_IPS: "rubbish",
            names::ADDRESS_POOL: "new", names::DEPRECATED_ADDRESS_POOL: "old",
        }));
        assert_eq!(made.requested, Requested::Addresses(addresses(&["10.0.0.1"])));
        assert_eq!(made.requested_pool.as_deref(), Some("new"));
        // A blank annotation asks for nothing, and still hides its old spelling.
        let made = with_annotations(&json!({
            names::LOAD_BALANCER_IPS: " ", names::DEPRECATED_LOAD_BALANCER_IPS: "10.0.0.1", names::DEPRECATED_ADDRESS_POOL: "old",
        }));
        assert_eq!(made.requested, Requested::Nothing);
        assert_eq!(made.requested_pool.as_deref(), Some("old"));
    }

    #[test]
    fn a_request_that_cannot_be_met_says_what_to_change() {
        let of = |spec: Value, annotations: Value| match service(&spec, &annotations, &json!([])).requested {
            Requested::Unreadable(words) => words,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            of(json!({"loadBalancerIP": "10.0.0.1"}), json!({names::LOAD_BALANCER_IPS: "10.0.0.1"})),
            "addresses are asked for twice: remove spec.loadBalancerIP, which is deprecated, or the annotation \
             metallb.io/loadBalancerIPs"
        );
        assert_eq!(
            of(json!({}), json!({names::DEPRECATED_LOAD_BALANCER_IPS: "10.0.0.1, 10.0.0.300"})),
            "annotation metallb.universe.tf/loadBalancerIPs: \"10.0.0.300\" is not an IP address; write one \
             like 10.0.0.1 or fd00::1"
        );
        assert_eq!(
            of(json!({}), json!({names::LOAD_BALANCER_IPS: "10.0.0.1,10.0.0.2"})),
            "annotation metallb.io/loadBalancerIPs: 10.0.0.1 and 10.0.0.2 are both IPv4; keep at most one \
             address of each family"
        );
        assert!(of(json!({}), json!({names::LOAD_BALANCER_IPS: "10.0.0.1,"})).contains("\"\" is not an IP"));
        assert!(of(json!({"loadBalancerIP": "x"}), json!({})).starts_with("spec.loadBalancerIP: \"x\""));
    }

    #[test]
    fn only_our_annotations_are_kept() {
        let service: Service = serde_json::from_value(json!({"metadata": {"annotations": {
            names::ALLOCATED_FROM_POOL: "lan", "kubectl.kubernetes.io/last-applied-configuration": "{}",
            "metallb.io/address-pool": 7,
        }}}))
        .unwrap();
        assert_eq!(service.allocated_from_pool(), Some("lan"));
        assert_eq!(service.metadata.annotations.as_ref().unwrap().len(), 1);
        assert_eq!(service.to_core(None), None, "it has no name");
    }

    /// Any JSON, some of it shaped like a Service.
    fn json_values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            "[0-9a-f:., -]{0,20}".prop_map(Value::from),
        ];
        let key = prop_oneof![
            Just("name".to_owned()),
            Just("namespace".to_owned()),
            Just("ip".to_owned()),
            Just("clusterIPs".to_owned()),
            Just("loadBalancer".to_owned()),
            Just("ingress".to_owned()),
            Just("annotations".to_owned()),
            Just("labels".to_owned()),
            Just("creationTimestamp".to_owned()),
            Just(names::LOAD_BALANCER_IPS.to_owned()),
            Just("externalIPs".to_owned()),
            ".{0,6}",
        ];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key.clone(), inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn one_odd_object_never_hides_a_list(
            metadata in json_values(), spec in json_values(), status in json_values(),
        ) {
            let list = json!([
                {"metadata": metadata, "spec": spec, "status": status},
                {"metadata": {"name": "a", "namespace": "b"}},
            ]);
            // Metadata that is no object at all is the one thing that cannot be read around.
            prop_assume!(list[0]["metadata"].is_object());
            let list: Vec<Service> = serde_json::from_value(list).unwrap();
            let _ = list[0].to_core(None);
            prop_assert!(list[1].to_core(None).is_some());
        }

        #[test]
        fn no_text_in_a_request_panics(list in ".{0,40}", one in ".{0,40}", address in "[0-9.:a-f, ]{0,40}") {
            for text in [&list, &address] {
                let _ = service(
                    &json!({"loadBalancerIP": one, "clusterIP": text, "externalIPs": [text]}),
                    &json!({names::LOAD_BALANCER_IPS: text}),
                    &json!([{"ip": text}]),
                );
                let _ = with_annotations(&json!({names::LOAD_BALANCER_IPS: text}));
            }
        }
    }
}
