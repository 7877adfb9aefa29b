//! What has to hold for any bytes. The fuzz targets call these functions, and so does `crds/tests/fuzz.rs`, on random
//! inputs, with a stable compiler.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrolb_core::allocate::{Snapshot, Verdict, plan};
use ferrolb_core::net::{AddressRange, Family};
use ferrolb_core::pool::{Pool, without_overlaps};
use ferrolb_core::quote::Quoted;
use ferrolb_core::service::{Requested, Role, Service, ServiceKey, Sharing};
use ferrolb_crds::IPAddressPool;
use ferrolb_crds::view;
use serde_json::{Value, json};

/// An entry of `spec.addresses`, as text.
///
/// 1. It is a range whose ends and size agree, and that reads back from its own words.
/// 2. Or the words of the error show the entry, and are short enough for an event.
pub(crate) fn range(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<AddressRange>() {
        Err(error) => {
            let shown = Quoted(text).to_string();
            assert!(error.to_string().contains(&shown), "{error} does not show {shown}");
            assert!(error.to_string().len() < 1024, "{error}");
        }
        Ok(range) => {
            let (first, last) = (range.first(), range.last());
            assert!(first <= last, "{text:?}");
            assert_eq!((Family::of(first), Family::of(last)), (range.family(), range.family()), "{text:?}");
            assert!(range.contains(first) && range.contains(last) && range.size() > 0, "{text:?}");
            assert_eq!(range.size() == 1, first == last, "{text:?}");
            assert_eq!(range.addresses().next(), Some(first), "{text:?}");
            assert!(range.overlaps(&range), "{text:?}");
            // A CIDR may end among the addresses that stand for IPv4 (::/80), which are never given out. Such an end
            // reads back as that IPv4 address.
            if [first, last].iter().all(|address| address.to_canonical() == *address) {
                assert_eq!(range.to_string().parse(), Ok(range), "{text:?}");
            }
        }
    }
}

/// An `IPAddressPool`: JSON if it begins with a brace, else its entries, one a line (those with `!` are excluded).
///
/// 1. Its ranges have no address in common, and none that is excluded.
/// 2. It overlaps itself, so that a younger copy is set aside.
/// 3. Or the error says something.
pub(crate) fn pool(data: &[u8]) {
    let Some(object) = pool_object(data) else { return };
    let _ = object.masked_entries();
    let pool = match object.to_core() {
        Ok(pool) => pool,
        Err(problem) => {
            assert!(problem.to_string().starts_with("spec"), "{problem}");
            return;
        }
    };
    assert!(!pool.ranges.is_empty());
    for (index, range) in pool.ranges.iter().enumerate() {
        let later = &pool.ranges[index + 1..];
        assert!(!later.iter().chain(&pool.excluded).any(|other| range.overlaps(other)), "{pool:?}");
        assert_eq!(pool.offers(range.first()), !pool.avoids(range.first()));
    }
    for family in [Family::V4, Family::V6] {
        assert_eq!(pool.size(family) > 0, has_one(&pool, family), "{pool:?}");
    }
    let copy = Pool { name: format!("{}-copy", pool.name), ..pool.clone() };
    let (usable, overlaps) = without_overlaps([(2, copy), (1, pool.clone())]);
    assert_eq!(usable.keys().collect::<Vec<_>>(), [&pool.name]);
    assert_eq!(overlaps.len(), 1);
}

fn has_one(pool: &Pool, family: Family) -> bool {
    let mut of_family = pool.ranges.iter().filter(|range| range.family() == family);
    // No three addresses in a row are all avoided.
    of_family.any(|range| range.addresses().take(3).any(|address| !pool.avoids(address)))
}

fn pool_object(data: &[u8]) -> Option<IPAddressPool> {
    let metadata = json!({"name": "pool", "creationTimestamp": "2026-01-01T00:00:00Z"});
    let spec: Value = if data.first() == Some(&b'{') {
        serde_json::from_slice(data).ok()?
    } else {
        let (excluded, addresses): (Vec<&str>, Vec<&str>) =
            std::str::from_utf8(data).ok()?.lines().partition(|line| line.starts_with('!'));
        let excluded: Vec<&str> = excluded.iter().map(|line| &line[1..]).collect();
        json!({"addresses": addresses, "excludeAddresses": excluded, "avoidBuggyIPs": data.len().is_multiple_of(2)})
    };
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).ok()
}

/// A Service: JSON if it begins with a brace, else the texts that a user can write on it, one a line.
///
/// 1. It is read, whatever is on it; what it asks for is one address of each family at most.
/// 2. A plan beside an older Service that has an address gives each what its pool offers, and neither what the other
///    has, unless they share it.
/// 3. A plan on the result of that plan is the same.
pub(crate) fn service_annotations(data: &[u8]) {
    let Some(object) = service_object(data) else { return };
    let Ok(read) = serde_json::from_value::<view::Service>(object) else { return };
    let Some(service) = read.to_core(None) else { return };
    if let Requested::Addresses(wanted) = &service.requested {
        let families: BTreeSet<Family> = wanted.iter().map(|address| Family::of(*address)).collect();
        assert!(!wanted.is_empty() && families.len() == wanted.len(), "{wanted:?}");
        assert!(wanted.iter().all(|address| address.to_string().parse() == Ok(*address)));
    }
    if let Some(sharing) = &service.sharing {
        assert!(!sharing.key.trim().is_empty());
        assert_eq!(sharing.terms().len(), 16);
    }
    let mut snapshot = beside_another(service.clone());
    let addresses = settle(&snapshot);
    for (key, given) in &addresses {
        let known = &mut snapshot.services;
        if let Some(service) = known.get_mut(key).filter(|service| service.role == Role::Ours) {
            service.held.clone_from(given);
            service.held_is_broken = false;
            service.granted_terms = service.sharing.as_ref().map(Sharing::terms);
        }
    }
    assert_eq!(settle(&snapshot), addresses, "a plan on its own result is another one: {service:?}");
}

/// What each Service is assigned, checked.
fn settle(snapshot: &Snapshot) -> BTreeMap<ServiceKey, Vec<IpAddr>> {
    let plan = plan(snapshot);
    let mut given: BTreeMap<IpAddr, &Service> = BTreeMap::new();
    let mut all = BTreeMap::new();
    for (key, verdict) in &plan.verdicts {
        let service = &snapshot.services[*key];
        let addresses = match verdict {
            Verdict::Assigned(assignment) => assignment.addresses.clone(),
            Verdict::Pending(why) => {
                assert!(!why.to_string().is_empty() && !why.reason().is_empty());
                Vec::new()
            }
            Verdict::Untouched | Verdict::Released => continue,
        };
        if let Verdict::Assigned(assignment) = verdict {
            assert!(!addresses.is_empty());
            let pool = &snapshot.pools[assignment.pool];
            assert!(addresses.iter().all(|address| pool.offers(*address)), "{assignment:?}");
        }
        for address in &addresses {
            if let Some(other) = given.insert(*address, service) {
                let may = service.sharing.as_ref().map(|sharing| sharing.with(other.sharing.as_ref()));
                assert_eq!(may, Some(Ok(())), "{address} is given to {key} and {}", other.key);
            }
        }
        all.insert((*key).clone(), addresses);
    }
    all
}

fn beside_another(service: Service) -> Snapshot {
    let pool = |name: &str, ranges: &[&str]| Pool {
        name: name.to_owned(),
        ranges: ranges.iter().filter_map(|range| range.parse().ok()).collect(),
        ..Pool::default()
    };
    let pools = [pool("a", &["10.0.0.0-10.0.0.3", "fd00::-fd00::3"]), pool("b", &["10.0.1.0-10.0.1.1"])];
    let older = json!({
        "metadata": {"name": "older", "namespace": "shop", "creationTimestamp": "1970-01-01T00:00:01Z",
            "annotations": {"metallb.io/allow-shared-ip": "k"}},
        "spec": {"type": "LoadBalancer", "clusterIPs": ["10.96.0.1", "fd00:96::1"],
            "ipFamilyPolicy": "RequireDualStack", "ports": [{"port": 80}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}},
    });
    let older = serde_json::from_value::<view::Service>(older).ok().and_then(|older| older.to_core(None));
    Snapshot {
        pools: pools.into_iter().map(|pool| (pool.name.clone(), pool)).collect(),
        pools_are_complete: true,
        services: older.into_iter().chain([service]).map(|service| (service.key.clone(), service)).collect(),
        ..Snapshot::default()
    }
}

fn service_object(data: &[u8]) -> Option<Value> {
    let metadata = json!({"name": "web", "namespace": "shop", "creationTimestamp": "1970-01-01T00:00:09Z"});
    if data.first() == Some(&b'{') {
        let mut object: Value = serde_json::from_slice(data).ok()?;
        if !object["metadata"].is_object() {
            object["metadata"] = json!({});
        }
        object["metadata"]["name"] = json!("web");
        object["metadata"]["namespace"] = json!("shop");
        return Some(object);
    }
    let mut lines = std::str::from_utf8(data).ok()?.split('\n').map(str::to_owned);
    let mut next = || lines.next().unwrap_or_default();
    let mut metadata = metadata;
    metadata["annotations"] = json!({
        "metallb.io/loadBalancerIPs": next(), "metallb.io/address-pool": next(), "metallb.io/allow-shared-ip": next(),
    });
    let policy = ["SingleStack", "PreferDualStack", "RequireDualStack"][data.len() % 3];
    let families: &[&str] =
        if policy == "SingleStack" { &["10.96.0.9"] } else { &["fd00:96::9", "10.96.0.9"] };
    Some(json!({
        "metadata": metadata,
        "spec": {"type": "LoadBalancer", "clusterIPs": families, "ipFamilyPolicy": policy,
            "loadBalancerIP": next(), "externalIPs": [next()],
            "externalTrafficPolicy": next(), "ports": [{"port": 80 + data.len() % 2}]},
        "status": {"loadBalancer": {"ingress": [{"ip": next()}, {"ip": next()}]}},
    }))
}
