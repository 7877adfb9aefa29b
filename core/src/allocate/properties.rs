//! What must hold for every snapshot.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::tests::{pool, service, snapshot};
use super::*;
use crate::net::Family;
use crate::pool::without_overlaps;
use crate::service::{Backends, FamilyPolicy, Port, Requested};

/// What one Service of a world is made of.
type Traits = (i64, u8, Option<u8>, Option<u8>, u8, (u8, u8, bool), u8);

/// A small world, so that Services compete: 24 addresses in up to four pools that may overlap, and
/// Services that hold, ask for, want or share any of them.
fn worlds() -> impl Strategy<Value = Snapshot> {
    let pools =
        proptest::collection::vec((0u8..24, 0u8..6, any::<bool>(), any::<bool>(), any::<bool>()), 0..4);
    let traits = (
        0i64..4,
        0u8..4,
        proptest::option::of(0u8..28),
        proptest::option::of(0u8..28),
        0u8..12,
        (0u8..4, 0u8..4, any::<bool>()),
        0u8..8,
    );
    let services = proptest::collection::vec(traits, 0..14);
    let resting = proptest::collection::btree_map(0u8..28, 0u64..40, 0..8);
    (pools, services, resting, any::<bool>()).prop_map(|(pools, services, resting, complete)| {
        let pools = pools.into_iter().enumerate().map(|(index, (first, size, auto, six, buggy))| {
            let mut ranges = vec![format!("10.0.0.{first}-10.0.0.{}", first + size)];
            ranges.extend(six.then(|| format!("fd00::{index}:0-fd00::{index}:{size:x}")));
            let ranges: Vec<&str> = ranges.iter().map(String::as_str).collect();
            let name = format!("p{index}");
            Pool { auto_assign: auto || index == 0, avoid_buggy_ips: buggy, ..pool(&name, &ranges) }
        });
        let (usable, overlaps) = without_overlaps(pools.map(|pool| (0, pool)));
        let services: Vec<Service> =
            services.into_iter().enumerate().map(|(index, traits)| of_traits(index, traits)).collect();
        let frozen = services.iter().filter(|service| service.created == 3 && service.local_traffic_only);
        Snapshot {
            pools: usable,
            pools_are_complete: complete && overlaps.is_empty(),
            frozen: frozen.map(|service| (service.key.clone(), may_get(service))).collect(),
            nodes: [(v4(20), "node1".to_owned())].into(),
            resting: resting
                .into_iter()
                .map(|(n, at)| {
                    (
                        v4(n),
                        (
                            Duration::from_secs(at),
                            (n % 3 > 0).then(|| ServiceKey::new("default", format!("s{}", n % 7))),
                        ),
                    )
                })
                .collect(),
            now: Duration::from_secs(40),
            ..snapshot(vec![], services)
        }
    })
}

fn v4(n: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, n])
}

fn of_traits(index: usize, (created, kind, held, asked, role, (key, port, local), terms): Traits) -> Service {
    let (families, policy) = match kind {
        0 => (vec![Family::V4], FamilyPolicy::SingleStack),
        1 => (vec![Family::V6], FamilyPolicy::SingleStack),
        2 => (vec![Family::V4, Family::V6], FamilyPolicy::PreferDualStack),
        _ => (vec![Family::V6, Family::V4], FamilyPolicy::RequireDualStack),
    };
    let sharing = (key < 2).then(|| Sharing {
        key: format!("k{key}"),
        backends: if local { Backends::Local([("a".into(), "b".into())].into()) } else { Backends::Anywhere },
        ports: [Port { protocol: "TCP".into(), port: u16::from(port) + 1 }].into(),
    });
    Service {
        families,
        policy,
        held: held.map(v4).into_iter().collect(),
        requested: asked.filter(|n| *n < 8).map_or(Requested::Nothing, |n| Requested::Addresses(vec![v4(n)])),
        role: match role {
            0 => Role::Foreign,
            1 => Role::NotLoadBalanced,
            _ => Role::Ours,
        },
        granted_terms: match terms {
            0 => Some("other".into()),
            1 => sharing.as_ref().map(Sharing::terms),
            _ => None,
        },
        sharing,
        marked: terms == 2,
        external_ips: (role == 1).then(|| v4(index as u8)).into_iter().collect(),
        local_traffic_only: local,
        ..service(&format!("s{index}"), created)
    }
}

/// The snapshot after `plan` was written to the cluster.
fn written(snapshot: &Snapshot, plan: &Plan<'_>) -> Snapshot {
    let mut next = snapshot.clone();
    for (key, verdict) in &plan.verdicts {
        let service = next.services.get_mut(*key).unwrap();
        match verdict {
            Verdict::Assigned(assignment) => {
                service.held.clone_from(&assignment.addresses);
                service.granted_terms = service.sharing.as_ref().map(Sharing::terms);
            }
            Verdict::Released => {
                service.held.clear();
                service.marked = false;
            }
            Verdict::Pending(_) => {
                service.held.clear();
                service.granted_terms = None;
            }
            Verdict::Untouched => {}
        }
    }
    next
}

/// The addresses that each Service of ours has once the plan is written.
fn holdings<'a>(world: &'a Snapshot, plan: &Plan<'a>) -> Vec<(&'a Service, IpAddr)> {
    let mut all = Vec::new();
    for (key, verdict) in &plan.verdicts {
        let service = &world.services[*key];
        match verdict {
            Verdict::Assigned(assignment) => all.extend(assignment.addresses.iter().map(|a| (service, *a))),
            Verdict::Untouched if service.role == Role::Ours => {
                all.extend(service.held.iter().map(|a| (service, *a)));
                all.extend(world.frozen.get(*key).into_iter().flatten().map(|a| (service, *a)));
            }
            _ => {}
        }
    }
    all
}

/// Whether another load balancer serves it.
fn is_anothers(service: &Service) -> bool {
    service.role == Role::Foreign && !service.marked
}

/// What a Service with a write under way is about to get, if it has nothing.
fn may_get(service: &Service) -> Vec<IpAddr> {
    let number = service.key.name().bytes().map(u16::from).sum::<u16>() % 28;
    if service.held.is_empty() && service.role == Role::Ours { vec![v4(number as u8)] } else { vec![] }
}

fn is_frozen(world: &Snapshot, service: &Service) -> bool {
    world.frozen.contains_key(&service.key)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_address_is_on_two_services_that_may_not_share_it(world in worlds()) {
        let all = holdings(&world, &plan(&world));
        for (index, (service, address)) in all.iter().enumerate() {
            for (other, _) in all[..index].iter().filter(|(_, same)| same == address) {
                // What one with a write under way has or may get is settled when that is known; until then nobody is
                // given it, and nobody who has it loses it.
                let known = |one: &Service| is_frozen(&world, one) || one.held.contains(address);
                let open = (is_frozen(&world, service) || is_frozen(&world, other)) && known(service) && known(other);
                let shares = service.sharing.as_ref().is_some_and(|s| s.with(other.sharing.as_ref()).is_ok());
                prop_assert!(shares || open, "{address}: {} and {}", service.key, other.key);
            }
            let newly = !service.held.contains(address) && !is_frozen(&world, service);
            let used_by_others = world.nodes.contains_key(address)
                || world.services.values().any(|other| {
                    other.external_ips.contains(address) || is_anothers(other) && other.held.contains(address)
                });
            prop_assert!(!(newly && used_by_others), "{address} was given to {}", service.key);
        }
    }

    #[test]
    fn every_service_gets_a_verdict_and_what_is_given_fits(world in worlds()) {
        let plan = plan(&world);
        prop_assert!(plan.verdicts.keys().copied().eq(world.services.keys()));
        for (key, verdict) in &plan.verdicts {
            let Verdict::Assigned(assignment) = verdict else { continue };
            let service = &world.services[*key];
            let families: BTreeSet<_> = assignment.addresses.iter().map(|a| Family::of(*a)).collect();
            prop_assert_eq!(families.len(), assignment.addresses.len());
            prop_assert!(families.iter().all(|family| service.families.contains(family)));
            if service.policy != FamilyPolicy::PreferDualStack {
                prop_assert_eq!(families.len(), service.families.len());
            }
            for address in &assignment.addresses {
                prop_assert!(world.pools[assignment.pool].offers(*address));
            }
        }
    }

    #[test]
    fn planning_its_own_result_changes_nothing(world in worlds()) {
        let mut first = plan(&world);
        let next = written(&world, &first);
        for (key, verdict) in &mut first.verdicts {
            // Once nothing of ours is left on it, there is nothing to take back.
            if *verdict == Verdict::Released && world.services[*key].role == Role::Foreign {
                *verdict = Verdict::Untouched;
            }
        }
        prop_assert_eq!(&plan(&next), &first);
    }

    #[test]
    fn a_newcomer_moves_nobody(world in worlds(), created in 0i64..4, shares in any::<bool>()) {
        let settled = written(&world, &plan(&world));
        let mut joined = settled.clone();
        let sharing = shares.then(|| Sharing {
            key: "k1".into(), backends: Backends::Anywhere, ports: [Port { protocol: "TCP".into(), port: 2 }].into(),
        });
        let newcomer = Service { sharing, ..service("newcomer", created) };
        joined.services.insert(newcomer.key.clone(), newcomer.clone());
        let (before, mut after) = (plan(&settled), plan(&joined));
        after.verdicts.remove(&newcomer.key);
        // It may take the last free address, which changes the words of those who wait for one.
        fn addresses(plan: Plan<'_>) -> Vec<Option<Verdict<'_>>> {
            plan.verdicts.into_values().map(|v| if let Verdict::Pending(_) = v { None } else { Some(v) }).collect()
        }
        prop_assert_eq!(addresses(before), addresses(after));
    }

    #[test]
    fn who_waits_for_a_family_waits_because_there_is_none(world in worlds()) {
        let plan = plan(&world);
        let mut used: BTreeSet<IpAddr> = holdings(&world, &plan).into_iter().map(|(_, address)| address).collect();
        used.extend(world.services.values().filter(|s| is_frozen(&world, s)).flat_map(|s| s.held.iter().copied()));
        used.extend(world.frozen.values().flatten().copied());
        for (key, verdict) in &plan.verdicts {
            let Verdict::Pending(Pending::Exhausted { families, lacking }) = verdict else { continue };
            let family = families[0];
            if families.len() > 1 {
                continue;
            }
            for (name, _) in lacking {
                let ranges = world.pools[name].ranges.iter().filter(|range| range.family() == family);
                let free = ranges.flat_map(crate::net::AddressRange::addresses).find(|address| {
                    let reserved = world.nodes.contains_key(address) || world.services.values().any(|other| {
                        other.external_ips.contains(address) || is_anothers(other) && other.held.contains(address)
                    });
                    world.pools[name].offers(*address) && !used.contains(address) && !reserved
                });
                prop_assert_eq!(free, None, "{} waits", key);
            }
        }
    }
}
