//! What one allocation costs, and a plan for ten thousand Services: `cargo bench -p ferrolb-core`.
//!
//! Prints medians of many rounds, and ratios within one run: machines differ, and the same one from minute to
//! minute.

#![expect(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "what core must not do, a bench has to"
)]

use std::collections::BTreeSet;
use std::hint::black_box;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ferrolb_core::allocate::{Ledger, Snapshot, plan};
use ferrolb_core::net::Family;
use ferrolb_core::pool::Pool;
use ferrolb_core::service::{FamilyPolicy, Requested, Role, Service, ServiceKey};

const IN_USE: usize = 10_000;

fn service(index: usize, family: Family) -> Service {
    Service {
        key: ServiceKey::new("default", format!("service-{index:05}")),
        created: (index / 100) as i64,
        labels: [("app".to_owned(), format!("web-{index}"))].into(),
        role: Role::Ours,
        families: vec![family],
        policy: FamilyPolicy::SingleStack,
        held: Vec::new(),
        held_is_broken: false,
        allocated_from: None,
        requested_pool: None,
        requested: Requested::Nothing,
        sharing: None,
        granted_terms: None,
        marked: true,
        external_ips: BTreeSet::new(),
        local_traffic_only: false,
    }
}

/// A pool of these ranges, and ten thousand Services that have their addresses.
fn world(ranges: &[&str], family: Family) -> Snapshot {
    let ranges = ranges.iter().map(|range| range.parse().expect("a range")).collect();
    let pool = Pool { name: "a".into(), ranges, ..Pool::default() };
    let services =
        (0..IN_USE).map(|index| service(index, family)).map(|service| (service.key.clone(), service));
    let mut snapshot = Snapshot {
        pools: [("a".to_owned(), pool)].into(),
        pools_are_complete: true,
        services: services.collect(),
        ..Snapshot::default()
    };
    let given: Vec<(ServiceKey, Vec<IpAddr>)> = plan(&snapshot)
        .verdicts
        .into_iter()
        .map(|(key, verdict)| match verdict {
            ferrolb_core::allocate::Verdict::Assigned(assignment) => (key.clone(), assignment.addresses),
            other => panic!("{key}: {other:?}"),
        })
        .collect();
    for (key, addresses) in given {
        if let Some(service) = snapshot.services.get_mut(&key) {
            service.held = addresses;
        }
    }
    snapshot
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn main() {
    println!("{IN_USE} addresses in use; medians");
    println!("{:<28} {:>16} {:>16} {:>16}", "pool", "one allocation", "a whole plan", "per Service");
    let pools: [(&str, &[&str], Family); 5] = [
        ("40 of /24 (10,240)", &["10.0.0.0-10.0.39.255"], Family::V4),
        ("/16", &["10.0.0.0/16"], Family::V4),
        ("/8", &["10.0.0.0/8"], Family::V4),
        ("IPv6 /64", &["fd00::/64"], Family::V6),
        ("IPv6 /32", &["fd00::/32"], Family::V6),
    ];
    let mut first = None;
    for (name, ranges, family) in pools {
        let snapshot = world(ranges, family);
        let newcomers: Vec<Service> = (0..200).map(|index| service(20_000 + index, family)).collect();
        let mut ledger = Ledger::new(&snapshot);
        for holder in snapshot.services.values() {
            ledger.take(holder, &holder.held);
        }
        let mut one = Vec::new();
        for _ in 0..50 {
            // What is given within a round goes back at its end.
            let mut ledger = ledger.clone();
            let started = Instant::now();
            for newcomer in &newcomers {
                let address = ledger.first(&snapshot.pools["a"], family, newcomer).expect("there is room");
                ledger.take(newcomer, &[address]);
                black_box(address);
            }
            one.push(started.elapsed() / newcomers.len() as u32);
        }
        let mut whole = Vec::new();
        for _ in 0..30 {
            let started = Instant::now();
            black_box(plan(&snapshot));
            whole.push(started.elapsed());
        }
        let (one, whole) = (median(one), median(whole));
        let base = *first.get_or_insert(one);
        println!(
            "{name:<28} {:>10} ns {:>2.1}x {:>13.2} ms {:>13} ns",
            one.as_nanos(),
            one.as_secs_f64() / base.as_secs_f64(),
            whole.as_secs_f64() * 1000.0,
            whole.as_nanos() / IN_USE as u128,
        );
    }
}
