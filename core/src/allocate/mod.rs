//! Which Service gets which address.
//!
//! [`plan`] looks at everything at once and gives one [`Verdict`] for each Service. Today's addresses are
//! part of its input, so its own result, once written, is its next input: planning again changes nothing,
//! and a controller that starts anew needs no memory.
//!
//! Two things that a plan may use are remembered beside the cluster, and both are only ever a reason to do less:
//! [`Grace`] (whether pools are known for long enough to clear what lies in none) and [`Rest`] (which addresses
//! were freed a short while ago).

mod choose;
mod consider;
mod grace;
mod keep;
mod ledger;
mod reason;
mod rest;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

pub use consider::{Against, Considered, consider};
pub use grace::Grace;
pub use ledger::Ledger;
pub use reason::{Pending, Remark, Taken};
pub use rest::Rest;

use crate::pool::Pool;
use crate::selector::Labels;
use crate::service::{Role, Service, ServiceKey, Sharing};

/// Everything that allocation depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The usable pools, by name; no two of them overlap ([`crate::pool::without_overlaps`]).
    pub pools: BTreeMap<String, Pool>,
    /// Whether these are all pools, for long enough to act on it: none is unreadable or set aside, and [`Grace`]
    /// is over. If not, an address outside all of them may be that of a pool that is missing.
    pub pools_are_complete: bool,
    /// The labels of each namespace.
    pub namespaces: BTreeMap<String, Labels>,
    /// All Services of the cluster, of whatever type.
    pub services: BTreeMap<ServiceKey, Service>,
    /// Services with a write under way, or one of unknown outcome, and the addresses that they may get by it. They
    /// are left alone, and nobody is given what they have or may get.
    pub frozen: BTreeMap<ServiceKey, Vec<IpAddr>>,
    /// The addresses of the nodes, and whose they are.
    pub nodes: BTreeMap<IpAddr, String>,
    /// Addresses that were freed: when, and by whom, if that Service is still there.
    pub resting: BTreeMap<IpAddr, (Duration, Option<ServiceKey>)>,
    /// The time by the same clock as in `resting`.
    pub now: Duration,
}

/// What each Service should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan<'a> {
    /// One verdict for each Service of the snapshot.
    pub verdicts: BTreeMap<&'a ServiceKey, Verdict<'a>>,
}

/// What is to become of one Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Nothing is written: it is another load balancer's, or what it has can't be judged now.
    Untouched,
    /// It is no Service of ours: whatever was written on it is taken back.
    Released,
    /// It has, or gets, these addresses.
    Assigned(Assignment<'a>),
    /// It gets none, and this is why.
    Pending(Pending),
}

/// The addresses of one Service, all from one pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment<'a> {
    /// One address, or one of each family; in the order in which the status shows them.
    pub addresses: Vec<IpAddr>,
    /// The name of the pool.
    pub pool: &'a str,
    /// What its owner should know all the same.
    pub remark: Option<Remark>,
}

/// Decides for all Services.
///
/// 1. Addresses that are not ours to give are set aside: those in any Service's `spec.externalIPs`, those of
///    other load balancers, and those of nodes.
/// 2. Services that have addresses are settled first, oldest first (then by namespace and name): each
///    keeps what it has if that is still right and no older one holds it. One that changed its terms of sharing
///    since it got its addresses comes after those that did not: who changes, gives way.
/// 3. What one has that is of no usable pool is left alone while pools may be missing (a re-installation, a
///    slip in one edit): that must not clear all that came from them.
/// 4. What Services with a write under way are about to get, or to lose, is nobody else's to get; but it takes
///    nothing from one that has it, as the write may fail. One that has it and changed its terms meanwhile, so that
///    they could not share, is left alone until that is known: if the write is done, it gives way.
/// 5. One that has one right address and requires two keeps it, if the other can be had.
/// 6. Then the others get theirs, oldest first; and PreferDualStack Services with one address
///    get their second, if it can be had.
/// 7. What a pool lacks for those that got none is said last, when everybody else is settled: the
///    words then depend on the outcome, not on who came when.
pub fn plan(snapshot: &Snapshot) -> Plan<'_> {
    let mut ledger = Ledger::new(snapshot);
    let mut plan = Plan::default();
    let mut ours: Vec<&Service> = Vec::new();
    for service in snapshot.services.values() {
        ledger.set_aside(service);
        let frozen = snapshot.frozen.contains_key(&service.key);
        if frozen {
            plan.decide(service, Verdict::Untouched);
        }
        match service.role {
            Role::Ours => ours.push(service),
            _ if frozen => {}
            Role::Foreign if !service.marked => plan.decide(service, Verdict::Untouched),
            Role::Foreign | Role::NotLoadBalanced => plan.decide(service, Verdict::Released),
        }
    }
    // Stable: within a second the order of the map, by namespace and name, stays.
    ours.sort_by_cached_key(|service| (changed_terms(service), service.created));
    let mut unsettled = Vec::new();
    for service in &ours {
        if snapshot.frozen.contains_key(&service.key) {
            let kept = keep::right(&ledger, service).map(|kept| kept.addresses);
            ledger.take(service, &kept.unwrap_or_default());
            continue;
        }
        match keep::keep(&ledger, service) {
            Some(kept) => {
                ledger.take(service, &kept.addresses);
                if changed_terms(service) && is_contested(snapshot, service, &kept.addresses) {
                    plan.decide(service, Verdict::Untouched);
                } else if kept.addresses.len() < service.families.len() {
                    unsettled.push((*service, Some(kept)));
                } else {
                    plan.decide(service, Verdict::Assigned(kept));
                }
            }
            None if keep::cannot_be_judged(&ledger, service) => {
                ledger.take(service, &service.held);
                plan.decide(service, Verdict::Untouched);
            }
            None => unsettled.push((*service, None)),
        }
    }
    for (key, maybe) in &snapshot.frozen {
        if let Some(service) = snapshot.services.get(key) {
            ledger.take(service, &service.held);
            ledger.take(service, maybe);
        }
    }
    unsettled.sort_by_key(|(service, _)| (service.created, &service.key));
    let mut pending = Vec::new();
    let mut open = Vec::new();
    for (service, kept) in unsettled {
        match kept.is_none().then(|| choose::widen(&mut ledger, service)).flatten() {
            Some(widened) => {
                ledger.take(service, &widened.addresses);
                plan.decide(service, Verdict::Assigned(widened));
            }
            None => open.push((service, kept)),
        }
    }
    for (service, kept) in open {
        let assignment = match kept {
            Some(kept) => choose::grow(&mut ledger, service, kept),
            None => match choose::choose(&mut ledger, service) {
                Ok(assignment) => assignment,
                Err(reason) => {
                    pending.push((service, reason));
                    continue;
                }
            },
        };
        ledger.take(service, &assignment.addresses);
        plan.decide(service, Verdict::Assigned(assignment));
    }
    for (service, reason) in pending {
        plan.decide(service, Verdict::Pending(ledger.complete(service, reason)));
    }
    plan
}

impl<'a> Plan<'a> {
    fn decide(&mut self, service: &'a Service, verdict: Verdict<'a>) {
        self.verdicts.insert(&service.key, verdict);
    }
}

/// Whether a Service with a write under way may get one of the `addresses`, and could not share it with this one.
fn is_contested(snapshot: &Snapshot, service: &Service, addresses: &[IpAddr]) -> bool {
    let may_get = |maybe: &[IpAddr]| maybe.iter().any(|address| addresses.contains(address));
    let mut others = snapshot.frozen.iter().filter(|(key, maybe)| **key != service.key && may_get(maybe));
    others.any(|(key, _)| {
        let other = snapshot.services.get(key).and_then(|other| other.sharing.as_ref());
        service.sharing.as_ref().is_none_or(|sharing| sharing.with(other).is_err())
    })
}

/// Whether the Service shares on other terms than those under which it got its addresses. What it got of us carries a
/// note of them if it shares; without our mark it comes from elsewhere, and nothing is known.
fn changed_terms(service: &Service) -> bool {
    let granted = service.granted_terms.as_ref();
    let known = granted.is_some() || service.marked;
    known && granted != service.sharing.as_ref().map(Sharing::terms).as_ref()
}
