//! From a plan to the writes that make it so, without any moment at which two Services have one address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrolb_core::allocate::{Assignment, Plan, Verdict};
use ferrolb_core::net;
use ferrolb_core::service::{Role, Service as Words, ServiceKey, Sharing};
use ferrolb_crds::view::{Ingress, ServiceCondition};
use ferrolb_crds::{HELD_BACK, IN_USE, names};
use ferrolb_runtime::Note;
use serde_json::{Value, json};

use super::conflicts::{Conflicts, Unknown};
use super::notes;
use super::shown::Shown;
use super::world::World;

/// One write to the status of one Service.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// The Service.
    pub key: ServiceKey,
    /// Its uid: a later Service of the same name is another one.
    pub uid: String,
    /// The version that the write is based on; it fails if the Service has another one by then.
    pub based_on: String,
    /// The entries of the status, if they change.
    pub ingress: Option<Vec<Ingress>>,
    /// Annotations that change: a new value, or none.
    pub annotations: BTreeMap<&'static str, Option<String>>,
    /// The condition about its addresses, if it changes: a new one, or none.
    pub condition: Option<Option<ServiceCondition>>,
    /// The condition about other hosts that have one of them, if it changes: a new one, or none.
    pub conflict: Option<Option<ServiceCondition>>,
    /// What to tell once it is done.
    pub notes: Vec<Note>,
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
    /// The addresses that the Service has if it is done, as far as it names any.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.ingress.iter().flatten().filter_map(address_of).collect()
    }

    /// The write that only makes a Service another version: whatever was decided on the one before fails then.
    pub fn fence(key: &ServiceKey, service: &Shown, mark: &str) -> Option<Self> {
        Some(Write {
            key: key.clone(),
            uid: service.uid.clone()?,
            based_on: service.version.clone()?,
            ingress: None,
            annotations: [(names::FENCE, Some(mark.to_owned()))].into(),
            condition: None,
            conflict: None,
            notes: Vec::new(),
        })
    }

    /// The body of the strategic merge patch of `services/status`.
    ///
    /// One patch carries the addresses (an atomic list), the annotations, the conditions (merged by their type) and the
    /// version that it is based on. Nothing else is named, so nothing else is touched.
    pub fn patch(&self) -> Value {
        let mut patch = json!({ "metadata": { "uid": self.uid, "resourceVersion": self.based_on } });
        if !self.annotations.is_empty() {
            patch["metadata"]["annotations"] = json!(self.annotations);
        }
        if let Some(ingress) = &self.ingress {
            let entries: Vec<Value> = ingress.iter().map(entry).collect();
            patch["status"]["loadBalancer"]["ingress"] =
                if entries.is_empty() { Value::Null } else { entries.into() };
        }
        let ours = [(names::ADDRESS_ASSIGNED, &self.condition), (names::ADDRESS_CONFLICT, &self.conflict)];
        let conditions = ours.into_iter().filter_map(|(kind, condition)| {
            Some(match condition.as_ref()? {
                Some(condition) => json!({
                    "type": kind,
                    "status": condition.status,
                    "reason": condition.reason,
                    "message": condition.message,
                    "lastTransitionTime": condition.last_transition_time,
                }),
                None => json!({ "type": kind, "$patch": "delete" }),
            })
        });
        let conditions: Vec<Value> = conditions.collect();
        if !conditions.is_empty() {
            patch["status"]["conditions"] = conditions.into();
        }
        patch
    }
}

fn entry(ingress: &Ingress) -> Value {
    let mut entry = json!({});
    let texts = [("ip", &ingress.ip), ("hostname", &ingress.hostname), ("ipMode", &ingress.ip_mode)];
    for (name, value) in texts {
        if let Some(value) = value {
            entry[name] = json!(value);
        }
    }
    if let Some(ports) = &ingress.ports {
        entry["ports"] = ports.clone();
    }
    entry
}

/// The address of an entry of the status.
pub fn address_of(entry: &Ingress) -> Option<IpAddr> {
    net::address(entry.ip.as_deref()?)
}

/// What one Service is to show.
struct Desired<'a> {
    addresses: Vec<IpAddr>,
    pool: Option<&'a str>,
    terms: Option<String>,
    condition: Option<(bool, &'static str, String)>,
    conflict: Option<(&'static str, String)>,
}

/// What differs between the plan and the API, as writes. `wall` is the time of day in seconds since 1970.
///
/// 1. A Service that shows what it should gets no write.
/// 2. A change of addresses is two writes: the old ones are taken back, then the new ones are given. So an address is
///    only ever written into a Service that lacks one, at the very version at which it lacks it. (Taking one of
///    two back, or adding a second one, changes nothing of what stays.)
/// 3. An address that another Service still shows and is to lose has to wait for that one.
/// 4. So has one that is to be shared with a Service whose terms of sharing have changed, until they are noted on it:
///    should they change back meanwhile, that one gives way then, and not the newcomer.
pub fn writes(world: &World, plan: &Plan<'_>, wall: i64) -> Writes {
    let losing = losing(world, plan);
    let unnoted = unnoted(world);
    let sharers = notes::sharers(world);
    let mut result = Writes::default();
    // The plan has one verdict for each Service, in the same order.
    for ((key, service, words), (of, verdict)) in world.services().zip(&plan.verdicts) {
        debug_assert_eq!(key, *of);
        if key != *of {
            continue;
        }
        let Some(mut desired) = desired(&world.conflicts, service, words, verdict) else { continue };
        let held = &words.held;
        let added: Vec<&IpAddr> =
            desired.addresses.iter().filter(|address| !held.contains(address)).collect();
        let removes = held.iter().any(|address| !desired.addresses.contains(address)) || words.held_is_broken;
        if removes && !added.is_empty() {
            result.later += 1;
            desired = moving(&desired);
        } else if added
            .iter()
            .any(|address| losing.has_other(address, key) || unnoted.has_other(address, key))
        {
            result.later += 1;
            result.now.extend(note_terms(key, service, words));
            continue;
        }
        result.now.extend(write(&sharers, key, service, words, desired, wall));
    }
    result
}

/// What the verdict asks the Service to show; `None` for one that is left alone.
fn desired<'a>(
    conflicts: &Conflicts,
    service: &Shown,
    words: &Words,
    verdict: &Verdict<'a>,
) -> Option<Desired<'a>> {
    match verdict {
        Verdict::Untouched => None,
        Verdict::Released => {
            // Without a mark of ours nothing on it is ours, whatever its status shows.
            let ours = words.marked || words.role == Role::NotLoadBalanced && words.allocated_from.is_some();
            ours.then(|| Desired {
                addresses: Vec::new(),
                pool: None,
                terms: None,
                condition: None,
                conflict: None,
            })
        }
        Verdict::Assigned(assignment) => Some(Desired {
            addresses: assignment.addresses.clone(),
            pool: Some(assignment.pool),
            terms: words.sharing.as_ref().map(Sharing::terms),
            condition: Some(assigned(assignment)),
            conflict: conflicts.condition(&words.key).unwrap_or_else(|Unknown| {
                // As it is.
                let shown = service.conditions.conflict.as_deref()?;
                let reason = [HELD_BACK, IN_USE].into_iter().find(|reason| *reason == shown.reason)?;
                Some((reason, shown.message.clone()))
            }),
        }),
        Verdict::Pending(why) => Some(Desired {
            addresses: Vec::new(),
            pool: None,
            terms: None,
            condition: Some((false, why.reason(), why.to_string())),
            conflict: None,
        }),
    }
    .filter(|_| service.uid.is_some())
}

fn assigned(assignment: &Assignment<'_>) -> (bool, &'static str, String) {
    let message = format!("{} from IPAddressPool {:?}", notes::list(&assignment.addresses), assignment.pool);
    match &assignment.remark {
        None => (true, "Assigned", message),
        Some(remark) => (true, remark.reason(), format!("{message}; {remark}")),
    }
}

/// What a Service shows between its old and its new addresses.
fn moving<'a>(to: &Desired<'a>) -> Desired<'a> {
    let message = format!("what it had may no longer be used; {} follows", notes::list(&to.addresses));
    Desired {
        addresses: Vec::new(),
        pool: None,
        terms: None,
        condition: Some((false, "Reassigning", message)),
        conflict: None,
    }
}

/// The Services that show an address which they are to lose.
fn losing<'a>(world: &'a World, plan: &Plan<'_>) -> Holders<'a> {
    let mut losing = Holders::default();
    for ((key, service), verdict) in world.snapshot.services.iter().zip(plan.verdicts.values()) {
        let keeps = match verdict {
            Verdict::Assigned(assignment) => assignment.addresses.as_slice(),
            Verdict::Pending(_) => &[],
            Verdict::Released if service.marked || service.allocated_from.is_some() => &[],
            Verdict::Released | Verdict::Untouched => continue,
        };
        for address in service.held.iter().filter(|address| !keeps.contains(address)) {
            losing.0.entry(*address).or_default().insert(key);
        }
    }
    losing
}

/// The Services that have addresses, and share them on other terms than those noted on them.
fn unnoted(world: &World) -> Holders<'_> {
    let mut unnoted = Holders::default();
    for (key, service) in &world.snapshot.services {
        let terms = service.sharing.as_ref().map(Sharing::terms);
        if service.role == Role::Ours && !service.held.is_empty() && service.granted_terms != terms {
            for address in &service.held {
                unnoted.0.entry(*address).or_default().insert(key);
            }
        }
    }
    unnoted
}

/// Services by the addresses that they have.
#[derive(Default)]
struct Holders<'a>(BTreeMap<IpAddr, BTreeSet<&'a ServiceKey>>);

impl Holders<'_> {
    /// Whether another Service than `key` has `address`.
    fn has_other(&self, address: &IpAddr, key: &ServiceKey) -> bool {
        self.0.get(address).is_some_and(|keys| keys.iter().any(|other| *other != key))
    }
}

/// The write that notes the present terms on a Service that waits for a second address: two of them could wait for each
/// other's. `None` if that is not needed.
fn note_terms(key: &ServiceKey, service: &Shown, words: &Words) -> Option<Write> {
    let terms = words.sharing.as_ref().map(Sharing::terms);
    if words.held.is_empty() || words.granted_terms == terms {
        return None;
    }
    Some(Write {
        key: key.clone(),
        uid: service.uid.clone()?,
        based_on: service.version.clone()?,
        ingress: None,
        annotations: [(names::SHARING_TERMS, terms)].into(),
        condition: None,
        conflict: None,
        notes: Vec::new(),
    })
}

/// The write that makes the Service show what it should; `None` if it does.
fn write(
    sharers: &notes::Sharers<'_>,
    key: &ServiceKey,
    service: &Shown,
    words: &Words,
    desired: Desired<'_>,
    wall: i64,
) -> Option<Write> {
    let present = &service.ingress;
    let shown = present.iter().filter(|entry| entry.ip.is_some()).map(address_of);
    let ingress =
        shown.ne(desired.addresses.iter().copied().map(Some)).then(|| entries(present, &desired.addresses));
    let mut annotations = BTreeMap::new();
    let mut set = |name: &'static str, value: Option<&str>| {
        let present = service.annotation(name);
        if present != value {
            annotations.insert(name, value.map(str::to_owned));
        }
    };
    set(names::ALLOCATED_FROM_POOL, desired.pool);
    set(names::SHARING_TERMS, desired.terms.as_deref());
    if !desired.addresses.is_empty() || desired.condition.is_none() {
        set(names::FENCE, None);
    }
    let conflict = desired.conflict.map(|(reason, message)| (true, reason, message));
    let conflict = condition(service.conditions.conflict.as_deref(), conflict.as_ref(), wall);
    let condition = condition(service.conditions.assigned.as_ref(), desired.condition.as_ref(), wall);
    if ingress.is_none() && annotations.is_empty() && condition.is_none() && conflict.is_none() {
        return None;
    }
    let notes = notes::of(sharers, service, words, &desired.addresses, desired.pool, condition.as_ref());
    Some(Write {
        key: key.clone(),
        uid: service.uid.clone()?,
        based_on: service.version.clone()?,
        ingress,
        annotations,
        condition,
        conflict,
        notes,
    })
}

/// The addresses as entries of the status. An entry that is already there stays as it is, with the fields that the
/// API server or others set; so does one without an address, which is another's.
fn entries(present: &[Ingress], addresses: &[IpAddr]) -> Vec<Ingress> {
    let given = addresses.iter().map(|address| {
        let same = present.iter().find(|entry| address_of(entry) == Some(*address));
        same.cloned().unwrap_or_else(|| Ingress { ip: Some(address.to_string()), ..Ingress::default() })
    });
    let others = present.iter().filter(|entry| entry.ip.is_none() && entry.hostname.is_some()).cloned();
    given.chain(others).collect()
}

/// The condition that is to be written; `None` if it is there already. The time of its last transition stays unless
/// its status changes.
fn condition(
    present: Option<&ServiceCondition>,
    desired: Option<&(bool, &'static str, String)>,
    wall: i64,
) -> Option<Option<ServiceCondition>> {
    let Some((status, reason, message)) = desired else { return present.map(|_| None) };
    let status = if *status { "True" } else { "False" };
    let same = |present: &&ServiceCondition| {
        present.status == status && present.reason == *reason && present.message == *message
    };
    if present.is_some_and(|present| same(&present)) {
        return None;
    }
    let since = present.filter(|present| present.status == status).map(|p| p.last_transition_time.clone());
    Some(Some(ServiceCondition {
        status: status.to_owned(),
        reason: (*reason).to_owned(),
        message: message.clone(),
        last_transition_time: since.filter(|time| !time.is_empty()).unwrap_or_else(|| notes::rfc3339(wall)),
    }))
}
