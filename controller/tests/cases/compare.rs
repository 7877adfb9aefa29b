//! What is shown against what a step expects.

use std::collections::BTreeSet;

use ferrolb_crds::names;
use serde_json::Value;

use crate::cluster::{full, shown};
use crate::format::{Expected, Has, PoolExpected, Step};
use crate::play::Play;

/// What differs, in words. Each Service has to be expected, by its own name or by that of what it is a copy of.
pub(crate) fn step(play: &Play<'_>, step: &Step) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expected: BTreeSet<String> = BTreeSet::new();
    for (name, wanted) in &step.expect {
        let key = full(name);
        let copies = play.copies.get(&key);
        let keys = copies.cloned().unwrap_or_else(|| vec![key.clone()]);
        match wanted {
            Expected::Many { assigned, pending, pool } => {
                if copies.is_none() {
                    wrong.push(format!("{key} is not repeated, so it has no number of addresses"));
                }
                wrong.extend(many(play, &keys, *assigned, pending.as_deref(), pool.as_deref()));
            }
            one => {
                for key in &keys {
                    match play.cluster.services.get(key) {
                        None => wrong.push(format!("{key} is expected, but there is no such Service")),
                        Some(service) => wrong.extend(service_differs(play, key, service, one)),
                    }
                }
            }
        }
        expected.extend(keys);
    }
    for key in play.cluster.services.keys().filter(|key| !expected.contains(*key)) {
        wrong.push(format!("what is expected of {key} is missing"));
    }
    for name in step.expect_pools.keys().filter(|name| !play.cluster.pools.contains_key(*name)) {
        wrong.push(format!("pool {name:?} is expected, but there is no such pool"));
    }
    let usual = PoolExpected::default();
    for (name, pool) in &play.cluster.pools {
        wrong.extend(pool_differs(name, pool, step.expect_pools.get(name).unwrap_or(&usual)));
    }
    wrong
}

/// A Service in words: its addresses, its pool, its condition.
pub(crate) fn describe(service: &Value) -> String {
    let (status, reason, message) = condition(service);
    let addresses: Vec<String> = shown(service).iter().map(ToString::to_string).collect();
    let pool = annotation(service, names::ALLOCATED_FROM_POOL).unwrap_or("none");
    format!("[{}] of pool {pool}, {status:?} {reason}: {message}", addresses.join(", "))
}

fn annotation<'a>(service: &'a Value, name: &str) -> Option<&'a str> {
    service["metadata"]["annotations"].get(name)?.as_str()
}

/// Status, reason and message of the controller's condition; empty if there is none.
fn condition(service: &Value) -> (&str, &str, &str) {
    let all = service["status"]["conditions"].as_array().into_iter().flatten();
    let mut own = all.filter(|condition| condition["type"] == names::ADDRESS_ASSIGNED);
    own.next().map_or(("", "", ""), |condition| {
        let text = |name: &str| condition[name].as_str().unwrap_or_default();
        (text("status"), text("reason"), text("message"))
    })
}

fn service_differs(play: &Play<'_>, key: &str, service: &Value, wanted: &Expected) -> Option<String> {
    let holds = match wanted {
        Expected::Untouched => play.writes.get(key).is_none_or(|count| *count == 0),
        Expected::Released => is_released(service),
        Expected::Has(has) => has_them(play, service, has),
        Expected::Pending { reason, says } => is_pending(service, reason, says.as_deref()),
        Expected::Many { .. } => false,
    };
    (!holds).then(|| {
        let writes = play.writes.get(key).copied().unwrap_or(0);
        format!("{key}: wanted {wanted:?}, got {} ({writes} writes)", describe(service))
    })
}

fn is_released(service: &Value) -> bool {
    shown(service).is_empty()
        && condition(service) == ("", "", "")
        && [names::ALLOCATED_FROM_POOL, names::SHARING_TERMS, names::FENCE]
            .iter()
            .all(|name| annotation(service, name).is_none())
}

fn has_them(play: &Play<'_>, service: &Value, has: &Has) -> bool {
    let addresses: Vec<String> = shown(service).iter().map(ToString::to_string).collect();
    let pool = annotation(service, names::ALLOCATED_FROM_POOL);
    let (status, reason, message) = condition(service);
    !addresses.is_empty()
        && addresses == has.addresses
        && pool.is_some_and(|pool| play.cluster.pools.contains_key(pool))
        && has.pool.as_deref().is_none_or(|wanted| pool == Some(wanted))
        && status == "True"
        && reason == has.reason.as_deref().unwrap_or("Assigned")
        && has.says.as_deref().is_none_or(|words| message.contains(words))
}

fn is_pending(service: &Value, wanted: &str, says: Option<&str>) -> bool {
    let (status, reason, message) = condition(service);
    let noted = [names::ALLOCATED_FROM_POOL, names::SHARING_TERMS];
    shown(service).is_empty()
        && noted.iter().all(|name| annotation(service, name).is_none())
        && (status, reason) == ("False", wanted)
        && says.is_none_or(|words| message.contains(words))
}

/// The first `assigned` of the copies have an address, the others none.
fn many(
    play: &Play<'_>,
    keys: &[String],
    assigned: usize,
    pending: Option<&str>,
    pool: Option<&str>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        let Some(service) = play.cluster.services.get(key) else { continue };
        let holds = if index < assigned {
            let from = annotation(service, names::ALLOCATED_FROM_POOL);
            !shown(service).is_empty() && pool.is_none_or(|pool| from == Some(pool))
        } else {
            pending.is_some_and(|reason| is_pending(service, reason, None))
        };
        if !holds {
            let wanted = if index < assigned { "an address" } else { pending.unwrap_or("an address") };
            wrong.push(format!("{key}: wanted {wanted}, got {}", describe(service)));
        }
    }
    wrong.truncate(3);
    wrong
}

fn pool_differs(name: &str, pool: &Value, wanted: &PoolExpected) -> Vec<String> {
    let status = &pool["status"];
    let said = |kind: &str| {
        let all = status["conditions"].as_array().into_iter().flatten();
        let found = all.filter(|condition| condition["type"] == kind).collect::<Vec<_>>();
        let text = |name: &str| found.first().and_then(|c| c[name].as_str()).unwrap_or_default().to_owned();
        (text("status"), text("message"))
    };
    let mut wrong = Vec::new();
    for (kind, when_bad, words) in [
        ("Valid", "False", &wanted.invalid),
        ("Overlapping", "True", &wanted.overlaps),
        ("HostBitsMasked", "True", &wanted.masked),
    ] {
        let (status, message) = said(kind);
        let is_bad = status == when_bad;
        let known = ["True", "False"].contains(&status.as_str());
        if !known || is_bad != words.is_some() || words.as_ref().is_some_and(|words| !message.contains(words))
        {
            wrong.push(format!("pool {name:?}: wanted {kind} {words:?}, got {status:?} {message}"));
        }
    }
    for (wanted, family) in [(wanted.v4, "IPv4"), (wanted.v6, "IPv6")] {
        let count = |what: &str| status[format!("{what}{family}")].as_i64().unwrap_or(-1);
        let got = (count("assigned"), count("available"));
        if wanted.is_some_and(|wanted| wanted != got) {
            wrong.push(format!(
                "pool {name:?}: wanted {family} {wanted:?} (assigned, available), got {got:?}"
            ));
        }
    }
    wrong
}
