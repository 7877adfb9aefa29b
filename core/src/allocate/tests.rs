//! The cases of the contract, one by one.

use std::collections::BTreeSet;

use super::*;
use crate::net::Family;
use crate::pool::Pinning;
use crate::service::{Backends, FamilyPolicy, Port, Requested};

/// A pool named `name` of these ranges.
pub(super) fn pool(name: &str, ranges: &[&str]) -> Pool {
    Pool {
        name: name.into(),
        ranges: ranges.iter().map(|range| range.parse().unwrap()).collect(),
        ..Pool::default()
    }
}

/// An IPv4 Service `default/name`, created at `created`, that has nothing yet.
pub(super) fn service(name: &str, created: i64) -> Service {
    Service {
        key: ServiceKey::new("default", name),
        created,
        labels: Labels::new(),
        role: Role::Ours,
        families: vec![Family::V4],
        policy: FamilyPolicy::SingleStack,
        held: vec![],
        held_is_broken: false,
        allocated_from: None,
        requested_pool: None,
        requested: Requested::Nothing,
        sharing: None,
        granted_terms: None,
        marked: false,
        external_ips: BTreeSet::new(),
        local_traffic_only: false,
    }
}

fn key(name: &str) -> ServiceKey {
    ServiceKey::new("default", name)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|text| ip(text)).collect()
}

pub(super) fn snapshot(pools: Vec<Pool>, services: Vec<Service>) -> Snapshot {
    Snapshot {
        pools: pools.into_iter().map(|pool| (pool.name.clone(), pool)).collect(),
        pools_are_complete: true,
        services: services.into_iter().map(|service| (service.key.clone(), service)).collect(),
        ..Snapshot::default()
    }
}

/// The addresses that the plan gives to `default/name`, or why it gives none.
fn given(snapshot: &Snapshot, name: &str) -> Result<Vec<IpAddr>, Pending> {
    match &plan(snapshot).verdicts[&key(name)] {
        Verdict::Assigned(assignment) => Ok(assignment.addresses.clone()),
        Verdict::Pending(pending) => Err(pending.clone()),
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn pools_in_name_order_addresses_in_the_order_written() {
    let pools = vec![pool("b", &["10.0.2.1/32"]), pool("a", &["10.0.1.9/32", "10.0.1.1-10.0.1.2"])];
    let services = vec![service("one", 1), service("two", 2), service("three", 3), service("four", 4)];
    let snapshot = snapshot(pools, services);
    let order: Vec<_> =
        ["one", "two", "three", "four"].iter().map(|name| given(&snapshot, name).unwrap()[0]).collect();
    assert_eq!(order, ips(&["10.0.1.9", "10.0.1.1", "10.0.1.2", "10.0.2.1"]));
}

#[test]
fn a_service_gets_addresses_of_its_family() {
    let pools = vec![pool("a", &["10.0.0.0/30"]), pool("b", &["fd00::/126"])];
    let six = Service { families: vec![Family::V6], ..service("six", 2) };
    let snapshot = snapshot(pools, vec![service("four", 1), six]);
    assert_eq!(given(&snapshot, "four"), Ok(ips(&["10.0.0.0"])));
    assert_eq!(given(&snapshot, "six"), Ok(ips(&["fd00::"])));
}

#[test]
fn dual_stack_comes_from_one_pool_in_the_order_of_the_service() {
    let four_only = pool("a", &["10.0.0.0/30"]);
    let both = pool("b", &["10.0.1.0/30", "fd00::/126"]);
    let dual = |name, policy| Service { families: vec![Family::V6, Family::V4], policy, ..service(name, 1) };
    let prefer = dual("prefer", FamilyPolicy::PreferDualStack);
    let require = dual("require", FamilyPolicy::RequireDualStack);

    let s = snapshot(vec![four_only.clone(), both], vec![prefer.clone(), require.clone()]);
    assert_eq!(given(&s, "prefer"), Ok(ips(&["fd00::", "10.0.1.0"])));
    assert_eq!(given(&s, "require"), Ok(ips(&["fd00::1", "10.0.1.1"])));

    let s = snapshot(vec![four_only], vec![prefer, require]);
    assert_eq!(given(&s, "prefer"), Ok(ips(&["10.0.0.0"])), "falls back to what there is");
    let why = given(&s, "require").unwrap_err().to_string();
    assert_eq!(why, "no free IPv6 and IPv4 address: IPAddressPool \"a\": has no IPv6 addresses");
}

#[test]
fn prefer_dual_stack_grows_when_its_pool_can_and_stays_put() {
    let has_one = Service {
        families: vec![Family::V4, Family::V6],
        policy: FamilyPolicy::PreferDualStack,
        held: ips(&["10.0.0.2"]),
        ..service("s", 1)
    };
    let four_only = vec![pool("a", &["10.0.0.0/30"]), pool("b", &["10.0.1.0/30", "fd00::/126"])];
    assert_eq!(given(&snapshot(four_only, vec![has_one.clone()]), "s"), Ok(ips(&["10.0.0.2"])));
    let grown = vec![pool("a", &["10.0.0.0/30", "fd00::/126"])];
    assert_eq!(given(&snapshot(grown, vec![has_one]), "s"), Ok(ips(&["10.0.0.2", "fd00::"])));
}

#[test]
fn what_is_held_and_valid_stays_and_the_older_of_two_holders_keeps() {
    let holder = |name, created| Service { held: ips(&["10.0.0.1"]), ..service(name, created) };
    let s = snapshot(
        vec![pool("a", &["10.0.0.0/30"])],
        vec![service("new", 0), holder("younger", 9), holder("older", 5)],
    );
    assert_eq!(given(&s, "older"), Ok(ips(&["10.0.0.1"])));
    // The address of a holder is settled before an older Service without one chooses.
    assert_eq!(given(&s, "new"), Ok(ips(&["10.0.0.0"])));
    assert_eq!(given(&s, "younger"), Ok(ips(&["10.0.0.2"])));
}

#[test]
fn an_address_outside_all_pools_is_chosen_anew() {
    let lost = Service { held: ips(&["10.9.9.9"]), ..service("s", 1) };
    assert_eq!(given(&snapshot(vec![pool("a", &["10.0.0.0/30"])], vec![lost]), "s"), Ok(ips(&["10.0.0.0"])));
}

#[test]
fn without_any_pool_nothing_is_cleared() {
    let holder = Service { held: ips(&["10.0.0.1"]), ..service("has", 1) };
    let snapshot =
        Snapshot { pools_are_complete: false, ..snapshot(vec![], vec![holder, service("new", 2)]) };
    let plan = plan(&snapshot);
    assert_eq!(plan.verdicts[&key("has")], Verdict::Untouched);
    assert_eq!(plan.verdicts[&key("new")], Verdict::Pending(Pending::NoPools));
}

#[test]
fn while_a_pool_cannot_be_used_what_may_be_its_is_not_cleared() {
    let held = |name, created, address| Service { held: ips(&[address]), ..service(name, created) };
    let services = vec![held("lost", 1, "10.9.9.9"), held("twin", 2, "10.9.9.9"), service("new", 3)];
    let mut s = snapshot(vec![pool("a", &["10.0.0.0/30"])], services);
    s.pools_are_complete = false;
    assert_eq!(plan(&s).verdicts[&key("lost")], Verdict::Untouched);
    assert_eq!(given(&s, "twin"), Ok(ips(&["10.0.0.0"])), "one address still has one holder");
    assert_eq!(given(&s, "new"), Ok(ips(&["10.0.0.1"])));
    s.pools_are_complete = true;
    assert_eq!(given(&s, "lost"), Ok(ips(&["10.0.0.0"])));
}

#[test]
fn external_ips_and_other_load_balancers_are_never_given_out() {
    let external = Service {
        role: Role::NotLoadBalanced,
        external_ips: ips(&["10.0.0.0"]).into_iter().collect(),
        ..service("external", 1)
    };
    let foreign = Service { role: Role::Foreign, held: ips(&["10.0.0.1"]), ..service("foreign", 2) };
    let asks = Service { requested: Requested::Addresses(ips(&["10.0.0.0"])), ..service("asks", 3) };
    let s = snapshot(vec![pool("a", &["10.0.0.0/30"])], vec![external, foreign, asks, service("s", 4)]);
    assert_eq!(given(&s, "s"), Ok(ips(&["10.0.0.2"])));
    let why = given(&s, "asks").unwrap_err().to_string();
    assert_eq!(why, "10.0.0.0 is in use: Service default/external lists it in spec.externalIPs");
    let verdicts = plan(&s).verdicts;
    assert_eq!(verdicts[&key("foreign")], Verdict::Untouched);
    assert_eq!(verdicts[&key("external")], Verdict::Released);
}

#[test]
fn an_external_ip_of_one_service_takes_nothing_from_another() {
    let external =
        Service { external_ips: ips(&["10.0.0.1"]).into_iter().collect(), ..service("external", 1) };
    let holder = Service { held: ips(&["10.0.0.1"]), ..service("holder", 2) };
    let s = snapshot(vec![pool("a", &["10.0.0.0/30"])], vec![external, holder]);
    assert_eq!(given(&s, "holder"), Ok(ips(&["10.0.0.1"])));
}

#[test]
fn pinned_pools_come_first_by_priority_and_never_serve_others() {
    let pin = |name: &str, range, priority, namespace: &str| Pool {
        pinned: Some(Pinning { priority, namespaces: [namespace.to_owned()].into(), ..Pinning::default() }),
        ..pool(name, &[range])
    };
    let s = snapshot(
        vec![
            pool("a", &["10.0.1.0/32"]),
            pin("b", "10.0.2.0/32", 20, "default"),
            pin("c", "10.0.3.0/32", 10, "default"),
            pin("d", "10.0.4.0/32", 0, "default"),
            pin("e", "10.0.5.0/32", 1, "elsewhere"),
        ],
        (1..=5).map(|n| service(&format!("s{n}"), n)).collect(),
    );
    let got: Vec<_> = (1..=4).map(|n| given(&s, &format!("s{n}")).unwrap()[0]).collect();
    assert_eq!(got, ips(&["10.0.3.0", "10.0.2.0", "10.0.4.0", "10.0.1.0"]));
    assert!(matches!(given(&s, "s5"), Err(Pending::Exhausted { lacking, .. }) if lacking.len() == 4));
}

#[test]
fn a_requested_pool_or_address_is_given_or_refused_with_the_reason() {
    let manual = Pool { auto_assign: false, ..pool("manual", &["10.0.1.0/30"]) };
    let by_pool = Service { requested_pool: Some("manual".into()), ..service("by-pool", 1) };
    let by_address =
        Service { requested: Requested::Addresses(ips(&["10.0.1.3"])), ..service("by-address", 2) };
    let unknown = Service { requested_pool: Some("nope".into()), ..service("unknown", 3) };
    let nowhere = Service { requested: Requested::Addresses(ips(&["10.9.0.1"])), ..service("nowhere", 4) };
    let family = Service { requested: Requested::Addresses(ips(&["fd00::1"])), ..service("family", 5) };
    let s =
        snapshot(vec![manual], vec![by_pool, by_address, unknown, nowhere, family, service("nothing", 6)]);
    assert_eq!(given(&s, "by-pool"), Ok(ips(&["10.0.1.0"])));
    assert_eq!(given(&s, "by-address"), Ok(ips(&["10.0.1.3"])));
    assert_eq!(given(&s, "unknown"), Err(Pending::UnknownPool("nope".into())));
    assert_eq!(given(&s, "nowhere"), Err(Pending::RequestedNowhere(ips(&["10.9.0.1"]))));
    assert!(matches!(given(&s, "family"), Err(Pending::RequestedFamilies { .. })));
    assert_eq!(given(&s, "nothing"), Err(Pending::NoPoolAdmits));
}

#[test]
fn an_unreadable_request_takes_nothing_away() {
    let words = || Requested::Unreadable("the annotation is no address".into());
    let has = Service { requested: words(), held: ips(&["10.0.0.1"]), ..service("has", 1) };
    let has_not = Service { requested: words(), ..service("has-not", 2) };
    let s = snapshot(vec![pool("a", &["10.0.0.0/30"])], vec![has, has_not]);
    assert_eq!(given(&s, "has"), Ok(ips(&["10.0.0.1"])));
    assert_eq!(given(&s, "has-not").unwrap_err().to_string(), "the annotation is no address");
}

/// A Service that shares by the key `k` and has `held`, under the terms that it has now.
fn sharer(name: &str, created: i64, port: u16, held: &[&str]) -> Service {
    let ports = [Port { protocol: "TCP".into(), port }].into();
    let sharing = Sharing { key: "k".into(), ports, backends: Backends::Anywhere };
    let granted_terms = (!held.is_empty()).then(|| sharing.terms());
    Service {
        held: ips(held),
        marked: !held.is_empty(),
        granted_terms,
        sharing: Some(sharing),
        ..service(name, created)
    }
}

#[test]
fn what_a_write_under_way_may_give_takes_nothing_from_its_holder() {
    let holder = sharer("holder", 2, 80, &["10.0.0.1"]);
    let (older, newcomer) = (sharer("older", 1, 80, &[]), sharer("newcomer", 3, 80, &[]));
    let mut s = snapshot(vec![pool("a", &["10.0.0.1-10.0.0.2"])], vec![holder, older, newcomer]);
    s.frozen.insert(key("older"), ips(&["10.0.0.1"]));
    assert_eq!(given(&s, "holder"), Ok(ips(&["10.0.0.1"])));
    assert_eq!(given(&s, "newcomer"), Ok(ips(&["10.0.0.2"])));
}

#[test]
fn one_that_is_about_to_lose_takes_nothing_along() {
    // It took the port of the holder, and its loss of the address is on its way.
    let changed = Service { granted_terms: Some("others".into()), ..sharer("changed", 1, 80, &["10.0.0.1"]) };
    let holder = sharer("holder", 2, 80, &["10.0.0.1"]);
    let mut s =
        snapshot(vec![pool("a", &["10.0.0.1-10.0.0.2"])], vec![changed, holder, service("newcomer", 3)]);
    s.frozen.insert(key("changed"), vec![]);
    assert_eq!(given(&s, "holder"), Ok(ips(&["10.0.0.1"])));
    assert_eq!(given(&s, "newcomer"), Ok(ips(&["10.0.0.2"])));
}

#[test]
fn a_holder_that_changed_waits_for_the_write_that_may_give_its_address_to_another() {
    let changed = Service { granted_terms: Some("others".into()), ..sharer("changed", 1, 80, &["10.0.0.1"]) };
    let mut s =
        snapshot(vec![pool("a", &["10.0.0.1-10.0.0.2"])], vec![changed, sharer("newcomer", 2, 80, &[])]);
    s.frozen.insert(key("newcomer"), ips(&["10.0.0.1"]));
    assert_eq!(plan(&s).verdicts[&key("changed")], Verdict::Untouched);
    s.frozen.insert(key("newcomer"), ips(&["10.0.0.2"]));
    assert_eq!(given(&s, "changed"), Ok(ips(&["10.0.0.1"])));
}
