//! What must hold for every snapshot.

use proptest::prelude::*;

use super::tests::{pool, service, snapshot};
use super::*;
use crate::pool::without_overlaps;

/// A small world, so that Services compete: 24 addresses in up to four pools that may overlap, and
/// Services that hold, ask for, or want any of them.
fn worlds() -> impl Strategy<Value = Snapshot> {
    let pools = proptest::collection::vec((0u8..24, 0u8..6, any::<bool>(), any::<bool>()), 0..4);
    let services = proptest::collection::vec(
        (0i64..4, 0u8..4, proptest::option::of(0u8..28), proptest::option::of(0u8..28), 0u8..12),
        0..14,
    );
    (pools, services).prop_map(|(pools, services)| {
        let v4 = |n: u8| IpAddr::from([10, 0, 0, n]);
        let pools = pools.into_iter().enumerate().map(|(index, (first, size, auto, six))| {
            let mut ranges = vec![format!("10.0.0.{first}-10.0.0.{}", first + size)];
            ranges.extend(six.then(|| format!("fd00::{index}:0-fd00::{index}:{size:x}")));
            let ranges: Vec<&str> = ranges.iter().map(String::as_str).collect();
            Pool { auto_assign: auto || index == 0, ..pool(&format!("p{index}"), &ranges) }
        });
        let services = services.into_iter().enumerate().map(|(index, (created, kind, held, asked, role))| {
            let (families, policy) = match kind {
                0 => (vec![Family::V4], FamilyPolicy::SingleStack),
                1 => (vec![Family::V6], FamilyPolicy::SingleStack),
                2 => (vec![Family::V4, Family::V6], FamilyPolicy::PreferDualStack),
                _ => (vec![Family::V6, Family::V4], FamilyPolicy::RequireDualStack),
            };
            Service {
                families,
                policy,
                held: held.map(v4).into_iter().collect(),
                requested: asked
                    .filter(|n| *n < 8)
                    .map_or(Requested::Nothing, |n| Requested::Addresses(vec![v4(n)])),
                role: match role {
                    0 => Role::Foreign,
                    1 => Role::NotLoadBalanced,
                    _ => Role::Ours,
                },
                external_ips: (role == 1).then(|| v4(index as u8)).into_iter().collect(),
                ..service(&format!("s{index}"), created)
            }
        });
        let (usable, overlaps) = without_overlaps(pools.map(|pool| (0, pool)));
        Snapshot {
            pools: usable,
            some_pools_unusable: !overlaps.is_empty(),
            ..snapshot(vec![], services.collect())
        }
    })
}

/// The snapshot after `plan` was written to the cluster.
fn written(snapshot: &Snapshot, plan: &Plan) -> Snapshot {
    let mut next = snapshot.clone();
    for (key, verdict) in &plan.verdicts {
        let service = next.services.get_mut(key).unwrap();
        match verdict {
            Verdict::Assigned(assignment) => {
                service.held.clone_from(&assignment.addresses);
            }
            Verdict::Released | Verdict::Pending(_) => service.held.clear(),
            Verdict::Untouched => {}
        }
    }
    next
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_address_is_given_twice(world in worlds()) {
        let mut holders = BTreeMap::new();
        for (key, verdict) in &plan(&world).verdicts {
            let ours = world.services[key].role == Role::Ours;
            let addresses = match verdict {
                Verdict::Assigned(assignment) => &assignment.addresses,
                Verdict::Untouched if ours => &world.services[key].held,
                _ => continue,
            };
            for address in addresses {
                let before = holders.insert(*address, key.clone());
                prop_assert!(before.is_none(), "{address}: {key} and {before:?}");
                let newly = !world.services[key].held.contains(address);
                let used_by_others = world.services.values().any(|other| {
                    other.external_ips.contains(address)
                        || other.role == Role::Foreign && other.held.contains(address)
                });
                prop_assert!(!(newly && used_by_others), "{address} was given to {key}");
            }
        }
    }

    #[test]
    fn every_service_gets_a_verdict_and_what_is_given_fits(world in worlds()) {
        let plan = plan(&world);
        prop_assert_eq!(plan.verdicts.keys().collect::<Vec<_>>(), world.services.keys().collect::<Vec<_>>());
        for (key, verdict) in &plan.verdicts {
            let Verdict::Assigned(assignment) = verdict else { continue };
            let service = &world.services[key];
            let families: BTreeSet<_> = assignment.addresses.iter().map(|a| Family::of(*a)).collect();
            prop_assert_eq!(families.len(), assignment.addresses.len());
            prop_assert!(families.iter().all(|family| service.families.contains(family)));
            if service.policy != FamilyPolicy::PreferDualStack {
                prop_assert_eq!(families.len(), service.families.len());
            }
            for address in &assignment.addresses {
                prop_assert!(world.pools[&assignment.pool].offers(*address));
            }
        }
    }

    #[test]
    fn planning_its_own_result_changes_nothing(world in worlds()) {
        let first = plan(&world);
        let next = written(&world, &first);
        prop_assert_eq!(plan(&next), first);
    }

    #[test]
    fn a_newcomer_moves_nobody(world in worlds(), created in 0i64..4) {
        let settled = written(&world, &plan(&world));
        let mut joined = settled.clone();
        let newcomer = service("newcomer", created);
        joined.services.insert(newcomer.key.clone(), newcomer.clone());
        let (before, mut after) = (plan(&settled), plan(&joined));
        after.verdicts.remove(&newcomer.key);
        // It may take the last free address, which changes the words of those who wait for one.
        let addresses = |plan: Plan| -> Vec<_> {
            plan.verdicts.into_values().map(|v| if let Verdict::Pending(_) = v { None } else { Some(v) }).collect()
        };
        prop_assert_eq!(addresses(before), addresses(after));
    }
}
