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
    /// Where the service proxy of each node says whether it has endpoints of it there, with the policy `Local`.
    #[serde(deserialize_with = "lenient::value")]
    pub health_check_node_port: Option<u16>,
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
    /// The controller's conditions; those of others are not kept.
    #[serde(deserialize_with = "own_conditions")]
    pub conditions: OwnConditions,
}

/// The conditions that the controller sets on a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnConditions {
    /// Whether it has an address, and why not: [`names::ADDRESS_ASSIGNED`].
    pub assigned: Option<ServiceCondition>,
    /// That another host has one of its addresses: [`names::ADDRESS_CONFLICT`]. In a box, since hardly any Service has it.
    pub conflict: Option<Box<ServiceCondition>>,
}

/// A condition of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceCondition {
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
            marked: self.status.conditions.assigned.is_some(),
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
fn own_conditions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OwnConditions, D::Error> {
    let Value::Array(conditions) = Value::deserialize(deserializer)? else {
        return Ok(OwnConditions::default());
    };
    let mut own = OwnConditions::default();
    for condition in conditions {
        let read = |condition| serde_json::from_value(condition).ok();
        if own.assigned.is_none() && condition["type"] == names::ADDRESS_ASSIGNED {
            own.assigned = read(condition);
        } else if own.conflict.is_none() && condition["type"] == names::ADDRESS_CONFLICT {
            own.conflict = read(condition).map(Box::new);
        }
    }
    Ok(own)
}

#[cfg(test)]
mod tests;
