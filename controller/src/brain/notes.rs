//! What is told about a Service: events, which are also the lines of the log.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrolb_core::service::{Service as Words, ServiceKey};
use ferrolb_crds::view::ServiceCondition;
use ferrolb_runtime::Note;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::shown::Shown;
use super::world::World;

/// What to tell about a write that changes the Service's addresses or condition.
///
/// 1. Addresses that it gets, and with whom it shares them.
/// 2. Addresses that it loses.
/// 3. Why it has none, or not what it asks for, when that is news.
/// 4. Annotations in their old spelling.
pub(super) fn of(
    sharing: &Sharers<'_>,
    service: &Shown,
    words: &Words,
    addresses: &[IpAddr],
    pool: Option<&str>,
    condition: Option<&Option<ServiceCondition>>,
) -> Vec<Note> {
    let about = service.about(&words.key);
    let mut notes = Vec::new();
    let mut say = |warning: bool, reason: &'static str, action: &'static str, note: String| {
        notes.push(Note { about: about.clone(), warning, for_operators: false, reason, action, note });
    };
    let added: Vec<IpAddr> = addresses.iter().filter(|a| !words.held.contains(a)).copied().collect();
    let removed: Vec<IpAddr> = words.held.iter().filter(|a| !addresses.contains(a)).copied().collect();
    if let (false, Some(pool)) = (added.is_empty(), pool) {
        let more = if added.len() < addresses.len() { "additional " } else { "" };
        let mut note = format!("assigned {more}{} from IPAddressPool {pool:?}", list(&added));
        let others = added.iter().flat_map(|address| sharing.get(address).into_iter().flatten());
        let others: BTreeSet<String> =
            others.filter(|key| **key != &words.key).map(ToString::to_string).collect();
        if !others.is_empty() {
            note.push_str(&format!(", shared with {}", others.into_iter().collect::<Vec<_>>().join(", ")));
        }
        say(false, "IPAllocated", "Allocating", note);
    }
    if !removed.is_empty() {
        say(false, "ClearAssignment", "Releasing", format!("{} may no longer be used", list(&removed)));
    }
    let before = service.conditions.assigned.as_ref();
    if let Some(Some(now)) = condition
        && before.is_none_or(|before| (&before.reason, &before.message) != (&now.reason, &now.message))
    {
        let message = now.message.clone();
        match (now.status.as_str(), now.reason.as_str()) {
            (_, "Reassigning") => {}
            ("False", _) => say(true, "AllocationFailed", "Allocating", message),
            (_, "RequestIgnored") => say(true, "LoadBalancerFailed", "Allocating", message),
            (_, "SecondFamilyUnavailable") => say(false, "AdditionalAssignFailed", "Allocating", message),
            _ => {}
        }
    }
    if pool.is_some() && condition.is_some() {
        for name in &service.deprecated {
            let new = name.replacen("metallb.universe.tf/", "metallb.io/", 1);
            let note = format!("annotation {name} is the old spelling: write {new}");
            say(true, "deprecatedAnnotation", "Reading", note);
        }
    }
    notes
}

/// The Services that may share what they have, by address.
pub(super) type Sharers<'a> = BTreeMap<IpAddr, Vec<&'a ServiceKey>>;

/// Who has which address, among the Services that may share theirs.
pub(super) fn sharers(world: &World) -> Sharers<'_> {
    let mut all = Sharers::new();
    for service in world.snapshot.services.values().filter(|service| service.sharing.is_some()) {
        for address in &service.held {
            all.entry(*address).or_default().push(&service.key);
        }
    }
    all
}

/// Addresses in a sentence.
pub(super) fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

/// A time of day as the API writes it.
pub(super) fn rfc3339(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    serde_json::to_value(Time(time)).ok().and_then(|text| Some(text.as_str()?.to_owned())).unwrap_or_default()
}
