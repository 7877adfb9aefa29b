//! What pools show of themselves: how full they are, and what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrolb_core::allocate::{Plan, Verdict};
use ferrolb_core::net::Family;
use ferrolb_core::service::Role;
use ferrolb_crds::{
    ConfigurationResult, ConfigurationState, ConfigurationStateStatus, IPAddressPool, IPAddressPoolStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::world::{BadPool, World};

/// The condition on a pool that says whether it can be read.
pub const VALID: &str = "Valid";
/// The condition on a pool that says whether it has addresses of an older one.
pub const OVERLAPPING: &str = "Overlapping";
/// The condition on a pool that says whether entries stand for more than the address that is written.
pub const HOST_BITS_MASKED: &str = "HostBitsMasked";

/// How many addresses of each pool are in use, by family.
pub type Usage<'a> = BTreeMap<&'a str, BTreeMap<Family, i64>>;

/// Counts what is in use once `plan` is written; an address that some share counts once. What a Service that is left
/// alone has, or may get by a write that is under way, is in use as well.
pub fn usage<'a>(world: &'a World, plan: &Plan<'a>) -> Usage<'a> {
    let mut usage = Usage::new();
    let mut shared: BTreeSet<IpAddr> = BTreeSet::new();
    // The plan has one verdict for each Service, in the same order; and neighbours are often of the same pool.
    let mut run: (&str, [i64; 2]) = ("", [0; 2]);
    let mut add = |(pool, counts): (&'a str, [i64; 2])| {
        for (family, count) in
            [Family::V4, Family::V6].into_iter().zip(counts).filter(|(_, count)| *count > 0)
        {
            *usage.entry(pool).or_default().entry(family).or_default() += count;
        }
    };
    for (service, verdict) in world.snapshot.services.values().zip(plan.verdicts.values()) {
        let assignment = match verdict {
            Verdict::Assigned(assignment) => assignment,
            Verdict::Untouched if service.role == Role::Ours => {
                let coming = world.snapshot.frozen.get(&service.key).into_iter().flatten();
                for address in service.held.iter().chain(coming) {
                    let pool = world.snapshot.pools.iter().find(|(_, pool)| pool.offers(*address));
                    if let Some((name, _)) = pool.filter(|_| shared.insert(*address)) {
                        add((name, if address.is_ipv6() { [0, 1] } else { [1, 0] }));
                    }
                }
                continue;
            }
            Verdict::Untouched | Verdict::Released | Verdict::Pending(_) => continue,
        };
        if assignment.pool != run.0 {
            add(std::mem::replace(&mut run, (assignment.pool, [0; 2])));
        }
        for address in &assignment.addresses {
            if service.sharing.is_none() || shared.insert(*address) {
                run.1[usize::from(address.is_ipv6())] += 1;
            }
        }
    }
    add(run);
    usage
}

/// How many Services have addresses of each pool once `plan` is written.
pub fn services<'a>(world: &'a World, plan: &Plan<'a>) -> BTreeMap<&'a str, i64> {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for (service, verdict) in world.snapshot.services.values().zip(plan.verdicts.values()) {
        let pool = match verdict {
            Verdict::Assigned(assignment) => Some(assignment.pool),
            Verdict::Untouched if service.role == Role::Ours => {
                let coming = world.snapshot.frozen.get(&service.key).into_iter().flatten();
                service.held.iter().chain(coming).find_map(|address| {
                    let pool = world.snapshot.pools.iter().find(|(_, pool)| pool.offers(*address));
                    pool.map(|(name, _)| name.as_str())
                })
            }
            Verdict::Untouched | Verdict::Released | Verdict::Pending(_) => None,
        };
        if let Some(pool) = pool {
            *counts.entry(pool).or_default() += 1;
        }
    }
    counts
}

/// The status that each pool is to show.
pub fn statuses(world: &World, usage: &Usage<'_>, wall: i64) -> BTreeMap<String, IPAddressPoolStatus> {
    let all = world.pools.iter();
    all.map(|(name, pool)| (name.clone(), status(world, name, pool, usage.get(name.as_str()), wall)))
        .collect()
}

fn status(
    world: &World,
    name: &str,
    pool: &IPAddressPool,
    usage: Option<&BTreeMap<Family, i64>>,
    wall: i64,
) -> IPAddressPoolStatus {
    let assigned = |family| usage.and_then(|usage| usage.get(&family)).copied().unwrap_or(0);
    let usable = world.snapshot.pools.get(name);
    let available = |family| {
        let size = usable.map_or(0, |pool| pool.size(family));
        i64::try_from(size).unwrap_or(i64::MAX).saturating_sub(assigned(family)).max(0)
    };
    let before = pool.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    IPAddressPoolStatus {
        assigned_ipv4: assigned(Family::V4),
        assigned_ipv6: assigned(Family::V6),
        available_ipv4: available(Family::V4),
        available_ipv6: available(Family::V6),
        conditions: conditions(world.bad_pools.get(name), pool)
            .into_iter()
            .map(|(kind, status, reason, message)| condition(before, kind, status, reason, message, wall))
            .collect(),
    }
}

/// Type, status, reason and message of each condition.
type Said = (&'static str, bool, &'static str, String);

fn conditions(bad: Option<&BadPool>, pool: &IPAddressPool) -> [Said; 3] {
    let valid = match bad {
        Some(BadPool::Invalid(why)) => (VALID, false, "Invalid", format!("not used: {why}")),
        _ => (VALID, true, "Accepted", "every field can be used".to_owned()),
    };
    let overlapping = match bad {
        Some(BadPool::Overlapping(overlap)) => {
            (OVERLAPPING, true, "OverlapsOlderPool", format!("not used: {overlap}"))
        }
        _ => (OVERLAPPING, false, "NoOverlap", "no older pool has any of its addresses".to_owned()),
    };
    let masked: Vec<String> =
        pool.masked_entries().iter().map(|(entry, range)| format!("{entry} stands for {range}")).collect();
    let host_bits = if masked.is_empty() {
        (HOST_BITS_MASKED, false, "NoHostBits", "every entry is what is written".to_owned())
    } else {
        (HOST_BITS_MASKED, true, "HostBitsSet", masked.join("; "))
    };
    [valid, overlapping, host_bits]
}

/// A condition. The time of its last transition stays unless its status changes; `wall` is the time of day in seconds
/// since 1970.
pub(super) fn condition(
    before: &[Condition],
    kind: &str,
    status: bool,
    reason: &str,
    message: String,
    wall: i64,
) -> Condition {
    let status = if status { "True" } else { "False" };
    let same = before.iter().find(|condition| condition.type_ == kind && condition.status == status);
    let since = same.map_or_else(
        || Time(Timestamp::from_second(wall).unwrap_or(Timestamp::UNIX_EPOCH)),
        |condition| condition.last_transition_time.clone(),
    );
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time: since,
        observed_generation: None,
    }
}

/// The condition of a `ConfigurationState` that the controller writes.
const POOL_RECONCILER: &str = "poolReconcilerValid";

/// What the object `controller` of kind `ConfigurationState` is to show.
pub fn state(world: &World, present: Option<&ConfigurationState>, wall: i64) -> ConfigurationStateStatus {
    let lines: Vec<String> = world
        .bad_pools
        .iter()
        .map(|(name, bad)| match bad {
            BadPool::Invalid(why) => format!("IPAddressPool {name:?}: {why}"),
            BadPool::Overlapping(overlap) => format!("IPAddressPool {name:?}: {overlap}"),
        })
        .collect();
    let valid = lines.is_empty();
    let (reason, message) = if valid {
        ("Reconciled", "all pools can be used".to_owned())
    } else {
        ("ConfigurationError", lines.join("\n"))
    };
    let before = present.and_then(|state| state.status.as_ref());
    let conditions = before.map(|status| status.conditions.as_slice()).unwrap_or_default();
    ConfigurationStateStatus {
        result: Some(if valid { ConfigurationResult::Valid } else { ConfigurationResult::Invalid }),
        error_summary: lines.join("\n"),
        conditions: vec![condition(conditions, POOL_RECONCILER, valid, reason, message, wall)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use ferrolb_core::allocate;
    use ferrolb_core::service::ServiceKey;
    use ferrolb_runtime::Seen;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn what_a_write_under_way_gives_is_in_use() {
        let mut world = World::new(None);
        let pool = json!({"metadata": {"name": "lan"}, "spec": {"addresses": ["10.0.0.1-10.0.0.9"]}});
        world.see_pools(Seen::Applied(serde_json::from_value(pool).unwrap()));
        let service = json!({
            "metadata": {"name": "web", "namespace": "shop", "resourceVersion": "1", "uid": "a"},
            "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.1", "ipFamilies": ["IPv4"]},
        });
        world.see_services(Seen::Applied(serde_json::from_value(service).unwrap()), Duration::ZERO);
        world.prepare(Duration::ZERO, true);
        let used = |world: &World| usage(world, &allocate::plan(&world.snapshot))["lan"][&Family::V4];
        assert_eq!(used(&world), 1, "it is to get one");
        let coming = vec!["10.0.0.1".parse().unwrap()];
        world.snapshot.frozen.insert(ServiceKey::new("shop", "web"), coming);
        assert_eq!(used(&world), 1, "it is about to get it");
        assert_eq!(services(&world, &allocate::plan(&world.snapshot)), BTreeMap::from([("lan", 1)]));
    }
}
