//! Which Service gets which address.
//!
//! [`plan`] looks at everything at once and gives one [`Verdict`] for each Service. Today's addresses are
//! part of its input, so its own result, once written, is its next input: planning again changes nothing,
//! and a controller that starts anew needs no memory.

mod ledger;
mod reason;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

pub use reason::{Pending, Taken};

use crate::net::Family;
use crate::pool::Pool;
use crate::selector::Labels;
use crate::service::{FamilyPolicy, Requested, Role, Service, ServiceKey};
use ledger::Ledger;

/// Everything that allocation depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The usable pools, by name; no two of them overlap ([`crate::pool::without_overlaps`]).
    pub pools: BTreeMap<String, Pool>,
    /// Whether there are more pools, that cannot be used: unreadable, or overlapping an older one. An
    /// address outside all usable pools may then be one of theirs.
    pub some_pools_unusable: bool,
    /// The labels of each namespace.
    pub namespaces: BTreeMap<String, Labels>,
    /// All Services of the cluster, of whatever type.
    pub services: BTreeMap<ServiceKey, Service>,
}

/// What each Service should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// One verdict for each Service of the snapshot.
    pub verdicts: BTreeMap<ServiceKey, Verdict>,
}

/// What is to become of one Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is written: it is another load balancer's, or what it has can't be judged now.
    Untouched,
    /// It is no load-balanced Service: whatever was written on it is taken back.
    Released,
    /// It has, or gets, these addresses.
    Assigned(Assignment),
    /// It gets none, and this is why.
    Pending(Pending),
}

/// The addresses of one Service, all from one pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// One address, or one of each family; in the order in which the status shows them.
    pub addresses: Vec<IpAddr>,
    /// The name of the pool.
    pub pool: String,
}

/// Decides for all Services.
///
/// 1. Addresses that are not ours to give are set aside: those in any Service's `spec.externalIPs` and
///    those of other load balancers.
/// 2. Services that have addresses are settled first, oldest first (then by namespace and name): each
///    keeps what it has if that is still right and no older one holds it.
/// 3. What one has that is of no usable pool is left alone while no pool is known at all (an empty list
///    is far more often a re-installation than a wish to clear every Service), or while some pool
///    cannot be used (a slip in one edit must not clear all that came from it).
/// 4. Then the others get theirs, in the same order; and PreferDualStack Services with one address
///    get their second, if it can be had.
/// 5. What a pool lacks for those that got none is said last, when everybody else is settled: the
///    words then depend on the outcome, not on who came when.
pub fn plan(snapshot: &Snapshot) -> Plan {
    let mut ledger = Ledger::new(snapshot);
    let mut plan = Plan::default();
    let mut ours: Vec<&Service> = Vec::new();
    for service in snapshot.services.values() {
        ledger.set_aside(service);
        match service.role {
            Role::Ours => ours.push(service),
            Role::Foreign => plan.decide(service, Verdict::Untouched),
            Role::NotLoadBalanced => plan.decide(service, Verdict::Released),
        }
    }
    ours.sort_by_key(|service| (service.created, &service.key));
    let mut unsettled = Vec::new();
    for service in ours {
        match keep(&ledger, service) {
            Some(kept) => {
                ledger.take(service, &kept.addresses);
                unsettled.extend(
                    (kept.addresses.len() < service.families.len()).then_some((service, Some(kept.clone()))),
                );
                plan.decide(service, Verdict::Assigned(kept));
            }
            None if cannot_be_judged(&ledger, service) => {
                ledger.take(service, &service.held);
                plan.decide(service, Verdict::Untouched);
            }
            None => unsettled.push((service, None)),
        }
    }
    let mut pending = Vec::new();
    for (service, kept) in unsettled {
        let assignment = match kept {
            Some(kept) => grow(&mut ledger, service, kept),
            None => match choose(&mut ledger, service) {
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
        plan.decide(service, Verdict::Pending(ledger.complete(reason)));
    }
    plan
}

impl Plan {
    fn decide(&mut self, service: &Service, verdict: Verdict) {
        self.verdicts.insert(service.key.clone(), verdict);
    }
}

/// Today's addresses, if they are still right.
///
/// 1. The status is readable and shows an address.
/// 2. The families fit: each is one of the Service's, none twice, and RequireDualStack has both.
/// 3. All lie in one pool that offers them and admits the Service.
/// 4. That pool is the one asked for, and the addresses are those asked for, where something was asked
///    for. A request that cannot be read takes nothing away.
/// 5. No Service settled before has them.
fn keep(ledger: &Ledger<'_>, service: &Service) -> Option<Assignment> {
    let held = &service.held;
    if held.is_empty() || service.held_is_broken {
        return None;
    }
    let families: BTreeSet<Family> = held.iter().map(|address| Family::of(*address)).collect();
    let complete = service.policy != FamilyPolicy::RequireDualStack || families.len() == 2;
    let fits =
        families.len() == held.len() && families.iter().all(|family| service.families.contains(family));
    if !fits || !complete {
        return None;
    }
    let pool = ledger.pools().find(|pool| held.iter().all(|address| pool.offers(*address)))?;
    if !ledger.admits(pool, service) {
        return None;
    }
    if service.requested_pool.as_ref().is_some_and(|wanted| *wanted != pool.name) {
        return None;
    }
    if let Requested::Addresses(wanted) = &service.requested
        && wanted != held
    {
        return None;
    }
    if held.iter().any(|address| ledger.is_given(*address)) {
        return None;
    }
    Some(Assignment { addresses: held.clone(), pool: pool.name.clone() })
}

/// Whether the Service has addresses that may be right although no usable pool has them, and that no
/// Service settled before has.
fn cannot_be_judged(ledger: &Ledger<'_>, service: &Service) -> bool {
    let unknown = |address: &IpAddr| {
        !ledger.is_given(*address)
            && !ledger.pools().any(|pool| pool.ranges.iter().any(|r| r.contains(*address)))
    };
    ledger.pools_are_incomplete() && !service.held.is_empty() && service.held.iter().all(unknown)
}

/// The second address of a PreferDualStack Service that has one, from the same pool; else what it has.
/// The first address stays first, so that nothing that points to it changes.
fn grow(ledger: &mut Ledger<'_>, service: &Service, mut kept: Assignment) -> Assignment {
    let missing = service
        .families
        .iter()
        .find(|family| !kept.addresses.iter().any(|address| Family::of(*address) == **family));
    if let Some(family) = missing
        && service.requested == Requested::Nothing
        && let Some(address) = ledger.free(&kept.pool, *family)
    {
        kept.addresses.push(address);
    }
    kept
}

/// New addresses for a Service.
///
/// 1. There must be a pool at all; its families must be known, and both for RequireDualStack.
/// 2. Requested addresses: exactly those.
/// 3. A requested pool: only that one, whatever its `autoAssign`.
/// 4. Pools reserved for Services like this one, by priority (0 last), then by name.
/// 5. The other pools with `autoAssign`, by name.
///
/// # Errors
/// Why there is none.
fn choose(ledger: &mut Ledger<'_>, service: &Service) -> Result<Assignment, Pending> {
    if ledger.pools().next().is_none() {
        return Err(Pending::NoPools);
    }
    if service.families.is_empty() {
        return Err(Pending::NoClusterIp);
    }
    if service.policy == FamilyPolicy::RequireDualStack && service.families.len() < 2 {
        return Err(Pending::NotDualStack(service.families[0]));
    }
    match &service.requested {
        Requested::Unreadable(why) => return Err(Pending::UnreadableRequest(why.clone())),
        Requested::Addresses(wanted) => return requested(ledger, service, wanted),
        Requested::Nothing => {}
    }
    if let Some(name) = &service.requested_pool {
        let pool = ledger.pool(name).ok_or_else(|| Pending::UnknownPool(name.clone()))?;
        if !ledger.admits(pool, service) {
            return Err(Pending::NotAdmitted(name.clone()));
        }
        return from_pools(ledger, service, &[pool]);
    }
    let mut pools: Vec<&Pool> =
        ledger.pools().filter(|pool| pool.auto_assign && ledger.admits(pool, service)).collect();
    // Stable: within a rank the name order of the map stays.
    pools.sort_by_key(|pool| {
        pool.pinned.as_ref().map_or((true, true, 0), |pin| (false, pin.rank().0, pin.rank().1))
    });
    if pools.is_empty() {
        return Err(Pending::NoPoolAdmits);
    }
    from_pools(ledger, service, &pools)
}

/// Exactly the addresses that were asked for, in the order asked.
///
/// # Errors
/// Why they cannot be had.
fn requested(ledger: &Ledger<'_>, service: &Service, wanted: &[IpAddr]) -> Result<Assignment, Pending> {
    let asked: BTreeSet<Family> = wanted.iter().map(|address| Family::of(*address)).collect();
    if asked != service.families.iter().copied().collect() {
        return Err(Pending::RequestedFamilies { asked, has: service.families.clone() });
    }
    let pool = ledger
        .pools()
        .find(|pool| wanted.iter().all(|address| pool.offers(*address)))
        .ok_or_else(|| Pending::RequestedNowhere(wanted.to_vec()))?;
    if let Some(name) = &service.requested_pool
        && *name != pool.name
    {
        return Err(Pending::RequestedInOtherPool { asked: name.clone(), lies_in: pool.name.clone() });
    }
    if !ledger.admits(pool, service) {
        return Err(Pending::NotAdmitted(pool.name.clone()));
    }
    for address in wanted {
        if let Some(holder) = ledger.holder(*address) {
            return Err(Pending::RequestedTaken { address: *address, by: holder.clone() });
        }
    }
    Ok(Assignment { addresses: wanted.to_vec(), pool: pool.name.clone() })
}

/// Addresses from the first of `pools` that has what the Service needs.
///
/// 1. One family, or both required: the first pool that has a free address of each.
/// 2. Both preferred: the same; failing that, one of the Service's first family; failing that, of its
///    second.
///
/// # Errors
/// Names the pools that were tried.
fn from_pools(ledger: &mut Ledger<'_>, service: &Service, pools: &[&Pool]) -> Result<Assignment, Pending> {
    let all = service.families.as_slice();
    let mut wishes = vec![all];
    if service.policy == FamilyPolicy::PreferDualStack && all.len() == 2 {
        wishes.extend([&all[..1], &all[1..]]);
    }
    for families in wishes {
        for pool in pools {
            let found: Option<Vec<IpAddr>> =
                families.iter().map(|family| ledger.free(&pool.name, *family)).collect();
            if let Some(addresses) = found {
                return Ok(Assignment { addresses, pool: pool.name.clone() });
            }
        }
    }
    Err(Pending::Exhausted {
        families: all.to_vec(),
        lacking: pools.iter().map(|pool| (pool.name.clone(), String::new())).collect(),
    })
}
