//! From a plan to the writes that make it so, without any moment at which two Services have one address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ferrolb_core::allocate::{Assignment, Plan, Snapshot, Verdict};
use ferrolb_core::net;
use ferrolb_core::service::{Role, ServiceKey};
use ferrolb_crds::names;
use ferrolb_crds::view::{Ingress, Service};
use kube::ResourceExt;
use serde_json::{Value, json};

/// One write to the status of one Service.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// The Service.
    pub key: ServiceKey,
    /// Its uid: a later Service of the same name is another one.
    pub uid: String,
    /// The version that the write is based on; it fails if the Service has another one by then.
    pub based_on: String,
    /// What the Service is to have; `None` takes back what was given.
    pub give: Option<Given>,
}

/// What a Service gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// The entries of its status.
    pub ingress: Vec<Ingress>,
    /// The pool that they come from.
    pub pool: String,
}

/// What is to be done for a plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Writes {
    /// These may be done now, in any order and side by side.
    pub now: Vec<Write>,
    /// So many wait for one of those to free an address; they are found again by the next plan.
    pub later: usize,
}

impl Write {
    /// The addresses that it gives.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let entries = self.give.iter().flat_map(|given| &given.ingress);
        entries.filter_map(|entry| net::address(entry.ip.as_deref()?)).collect()
    }

    /// The body of the strategic merge patch of `services/status`.
    ///
    /// One patch carries the addresses (an atomic list), the annotation that names the pool, and
    /// the version that it is based on. Nothing else is named, so nothing else is touched.
    pub fn patch(&self) -> Value {
        let (ingress, pool) = match &self.give {
            Some(given) => (given.ingress.iter().map(entry).collect(), json!(given.pool)),
            None => (Value::Null, Value::Null),
        };
        json!({
            "metadata": {
                "uid": self.uid,
                "resourceVersion": self.based_on,
                "annotations": { names::ALLOCATED_FROM_POOL: pool },
            },
            "status": { "loadBalancer": { "ingress": ingress } },
        })
    }
}

fn entry(ingress: &Ingress) -> Value {
    let mut entry = json!({ "ip": ingress.ip });
    if let Some(mode) = &ingress.ip_mode {
        entry["ipMode"] = json!(mode);
    }
    entry
}

/// What differs between the plan and the API, as writes.
///
/// 1. A Service that shows what it should gets no write.
/// 2. A write that gives an address which another Service still shows has to wait for that one.
/// 3. If the waiting Service has something itself, that is taken back first: so two that are to
///    change places do not wait for each other for ever.
pub fn writes(services: &BTreeMap<ServiceKey, Arc<Service>>, snapshot: &Snapshot, plan: &Plan) -> Writes {
    let shown = shown(snapshot);
    let mut result = Writes::default();
    for (key, verdict) in &plan.verdicts {
        let (Some(service), Some(words)) = (services.get(key), snapshot.services.get(key)) else { continue };
        let give = match verdict {
            Verdict::Untouched => continue,
            // Without our annotation nothing on it is ours, whatever its status shows.
            Verdict::Released if service.allocated_from_pool().is_none() => continue,
            Verdict::Assigned(assignment) => Some(given(service, assignment)),
            Verdict::Released | Verdict::Pending(_) => None,
        };
        if !differs(service, give.as_ref()) {
            continue;
        }
        let (Some(uid), Some(based_on)) = (service.uid(), service.resource_version()) else { continue };
        let mut write = Write { key: key.clone(), uid, based_on, give };
        let held_elsewhere =
            |address: &IpAddr| shown.get(address).is_some_and(|keys| keys.iter().any(|other| *other != key));
        let waits = write.addresses().iter().any(|a| !words.held.contains(a) && held_elsewhere(a));
        if waits {
            result.later += 1;
            if words.held.is_empty() {
                continue;
            }
            write.give = None;
        }
        result.now.push(write);
    }
    result
}

/// Who shows each address in its status today.
fn shown(snapshot: &Snapshot) -> BTreeMap<IpAddr, BTreeSet<&ServiceKey>> {
    let mut shown: BTreeMap<IpAddr, BTreeSet<&ServiceKey>> = BTreeMap::new();
    for (key, service) in &snapshot.services {
        if service.role != Role::NotLoadBalanced {
            for address in &service.held {
                shown.entry(*address).or_default().insert(key);
            }
        }
    }
    shown
}

/// The assignment as entries of the status. An entry that is already there stays as it is, with the fields
/// that the API server or others set.
fn given(service: &Service, assignment: &Assignment) -> Given {
    let present = &service.status.load_balancer.ingress;
    let ingress = assignment.addresses.iter().map(|address| {
        let same = present.iter().find(|entry| address_of(entry) == Some(*address));
        same.cloned().unwrap_or_else(|| Ingress { ip: Some(address.to_string()), ..Ingress::default() })
    });
    Given { ingress: ingress.collect(), pool: assignment.pool.clone() }
}

fn address_of(entry: &Ingress) -> Option<IpAddr> {
    net::address(entry.ip.as_deref()?)
}

/// Whether the API shows something else than `give`.
fn differs(service: &Service, give: Option<&Given>) -> bool {
    let present = &service.status.load_balancer.ingress;
    match give {
        Some(given) => {
            present.iter().map(address_of).ne(given.ingress.iter().map(address_of))
                || service.allocated_from_pool() != Some(given.pool.as_str())
        }
        // Only what we wrote is ours to take back: an address, or the annotation.
        None => present.iter().any(|entry| entry.ip.is_some()) || service.allocated_from_pool().is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ferrolb_core::allocate::plan;
    use ferrolb_crds::IPAddressPool;

    fn cluster(pool: &[&str], services: &[Value]) -> (BTreeMap<ServiceKey, Arc<Service>>, Snapshot) {
        let pool: IPAddressPool = serde_json::from_value(json!({
            "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", "metadata": {"name": "a"},
            "spec": {"addresses": pool},
        }))
        .unwrap();
        let (mut objects, mut snapshot) = (BTreeMap::new(), Snapshot::default());
        snapshot.pools.insert("a".into(), pool.to_core().unwrap());
        for service in services {
            let service: Service = serde_json::from_value(service.clone()).unwrap();
            let words = service.to_core(None).unwrap();
            objects.insert(words.key.clone(), Arc::new(service));
            snapshot.services.insert(words.key.clone(), words);
        }
        (objects, snapshot)
    }

    fn service(
        name: &str,
        created: u32,
        request: Option<&str>,
        ingress: &Value,
        pool: Option<&str>,
    ) -> Value {
        let mut annotations = serde_json::Map::new();
        annotations.extend(request.map(|list| (names::LOAD_BALANCER_IPS.to_owned(), json!(list))));
        annotations.extend(pool.map(|pool| (names::ALLOCATED_FROM_POOL.to_owned(), json!(pool))));
        json!({
            "metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "7",
                "annotations": annotations, "creationTimestamp": format!("2026-01-01T00:00:0{created}Z")},
            "spec": {"type": "LoadBalancer", "clusterIPs": ["10.96.0.1"]},
            "status": {"loadBalancer": {"ingress": ingress}},
        })
    }

    fn planned(pool: &[&str], services: &[Value]) -> Writes {
        let (objects, snapshot) = cluster(pool, services);
        writes(&objects, &snapshot, &plan(&snapshot))
    }

    #[test]
    fn a_new_service_gets_one_patch_that_names_only_what_is_ours() {
        let writes = planned(&["10.0.0.0/30"], &[service("web", 1, None, &json!([]), None)]);
        assert_eq!(writes.later, 0);
        assert_eq!(
            writes.now[0].patch(),
            json!({
                "metadata": {"uid": "web", "resourceVersion": "7",
                    "annotations": {"metallb.io/ip-allocated-from-pool": "a"}},
                "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.0"}]}},
            })
        );
    }

    #[test]
    fn what_is_right_is_not_written_again() {
        let settled = service("web", 1, None, &json!([{"ip": "10.0.0.2", "ipMode": "VIP"}]), Some("a"));
        assert_eq!(planned(&["10.0.0.0/30"], &[settled]), Writes::default());
    }

    #[test]
    fn a_missing_annotation_is_written_and_the_entry_keeps_its_mode() {
        let bare = service("web", 1, None, &json!([{"ip": "10.0.0.2", "ipMode": "Proxy"}]), None);
        let writes = planned(&["10.0.0.0/30"], &[bare]);
        assert_eq!(
            writes.now[0].patch()["status"],
            json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.2", "ipMode": "Proxy"}]}})
        );
    }

    #[test]
    fn a_service_of_another_type_loses_our_annotation_and_one_without_it_is_left_alone() {
        let mut former = service("former", 1, None, &json!([]), Some("a"));
        former["spec"]["type"] = json!("ClusterIP");
        let mut plain = service("plain", 2, None, &json!([{"ip": "192.0.2.1"}]), None);
        plain["spec"]["type"] = json!("NodePort");
        let writes = planned(&["10.0.0.0/30"], &[former, plain]);
        assert_eq!(writes.now.len(), 1);
        assert_eq!(writes.now[0].key.name, "former");
        assert_eq!(
            writes.now[0].patch()["metadata"]["annotations"],
            json!({"metallb.io/ip-allocated-from-pool": null})
        );
    }

    #[test]
    fn an_address_is_given_only_once_its_holder_has_let_go() {
        // "b" asks for another address, which frees 10.0.0.1 for "c".
        let b = service("b", 1, Some("10.0.0.2"), &json!([{"ip": "10.0.0.1"}]), Some("a"));
        let c = service("c", 2, Some("10.0.0.1"), &json!([]), None);
        let writes = planned(&["10.0.0.0/30"], &[b, c]);
        assert_eq!(writes.now.iter().map(|write| write.key.name.as_str()).collect::<Vec<_>>(), ["b"]);
        assert_eq!(writes.later, 1);
    }

    #[test]
    fn two_that_change_places_both_let_go_first() {
        let b = service("b", 1, Some("10.0.0.2"), &json!([{"ip": "10.0.0.1"}]), Some("a"));
        let c = service("c", 2, Some("10.0.0.1"), &json!([{"ip": "10.0.0.2"}]), Some("a"));
        let writes = planned(&["10.0.0.0/30"], &[b, c]);
        assert!(writes.now.iter().all(|write| write.give.is_none()), "{writes:?}");
        assert_eq!((writes.now.len(), writes.later), (2, 2));
    }
}
