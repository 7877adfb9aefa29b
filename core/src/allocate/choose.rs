//! New addresses for a Service.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Assignment, Ledger, Pending, Remark};
use crate::net::Family;
use crate::pool::Pool;
use crate::service::{FamilyPolicy, Requested, Service};

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
pub(super) fn choose<'a>(ledger: &mut Ledger<'a>, service: &'a Service) -> Result<Assignment<'a>, Pending> {
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

/// Whether `wanted` has one address of each of the Service's families.
///
/// # Errors
/// That it has not; no pool can change that.
pub(super) fn fits(service: &Service, wanted: &[IpAddr]) -> Result<(), Pending> {
    let asked: BTreeSet<Family> = wanted.iter().map(|address| Family::of(*address)).collect();
    if asked == service.families.iter().copied().collect() {
        return Ok(());
    }
    Err(Pending::RequestedFamilies { asked, has: service.families.clone() })
}

/// Exactly the addresses that were asked for, in the order asked.
///
/// 1. They are of the Service's families.
/// 2. One pool has them all, and keeps none of them back.
/// 3. That is the pool asked for, if one was, and it admits the Service.
/// 4. Nobody has them, except a Service that shares them. That an address rests does not matter.
///
/// # Errors
/// Why they cannot be had.
fn requested<'a>(
    ledger: &Ledger<'a>,
    service: &Service,
    wanted: &[IpAddr],
) -> Result<Assignment<'a>, Pending> {
    fits(service, wanted)?;
    let mut lies_in: Option<&Pool> = None;
    for address in wanted {
        let pool = ledger.pool_of(*address).ok_or_else(|| match ledger.excluding(*address) {
            Some(pool) => Pending::RequestedExcluded { address: *address, pool: pool.name.clone() },
            None => Pending::RequestedNowhere(vec![*address]),
        })?;
        if pool.avoids(*address) {
            return Err(Pending::RequestedExcluded { address: *address, pool: pool.name.clone() });
        }
        if lies_in.is_some_and(|other| other.name != pool.name) {
            return Err(Pending::RequestedNowhere(wanted.to_vec()));
        }
        lies_in = Some(pool);
    }
    let pool = lies_in.ok_or_else(|| Pending::RequestedNowhere(wanted.to_vec()))?;
    if let Some(name) = &service.requested_pool
        && *name != pool.name
    {
        return Err(Pending::RequestedInOtherPool { asked: name.clone(), lies_in: pool.name.clone() });
    }
    if !ledger.admits(pool, service) {
        return Err(Pending::NotAdmitted(pool.name.clone()));
    }
    for address in wanted {
        if let Some(reason) = ledger.refusal(service, *address).or_else(|| ledger.reserved(service, *address))
        {
            return Err(reason);
        }
    }
    Ok(Assignment { addresses: wanted.to_vec(), pool: &pool.name, remark: None })
}

/// Addresses from the first of `pools` that has what the Service needs.
///
/// 1. One family, or both required: the first pool that has an address of each for it.
/// 2. Both preferred: the same; failing that, one of the Service's first family; failing that, of its
///    second.
///
/// # Errors
/// Names the pools that were tried.
fn from_pools<'a>(
    ledger: &mut Ledger<'a>,
    service: &'a Service,
    pools: &[&'a Pool],
) -> Result<Assignment<'a>, Pending> {
    let all = service.families.as_slice();
    let mut wishes = vec![all];
    if service.policy == FamilyPolicy::PreferDualStack && all.len() == 2 {
        wishes.extend([&all[..1], &all[1..]]);
    }
    for families in wishes {
        for pool in pools {
            let found: Option<Vec<IpAddr>> =
                families.iter().map(|family| ledger.first(pool, *family, service)).collect();
            if let Some(addresses) = found {
                let missing = all.iter().find(|family| !families.contains(family)).copied();
                return Ok(Assignment {
                    addresses,
                    pool: &pool.name,
                    remark: missing.map(Remark::OneFamily),
                });
            }
        }
    }
    Err(Pending::Exhausted {
        families: all.to_vec(),
        lacking: pools.iter().map(|pool| (pool.name.clone(), Vec::new())).collect(),
    })
}

/// What a RequireDualStack Service has, with a second address, if what it has is right but for that, and its pool has the
/// other; else `None`, and it is to choose anew.
pub(super) fn widen<'a>(ledger: &mut Ledger<'a>, service: &'a Service) -> Option<Assignment<'a>> {
    if service.policy != FamilyPolicy::RequireDualStack || service.families.len() != 2 {
        return None;
    }
    let kept = super::keep::right(ledger, service)?;
    Some(grow(ledger, service, kept)).filter(|grown| grown.addresses.len() == 2)
}

/// The second address of a PreferDualStack Service that has one, from the same pool; else what it has.
/// The first address stays first, so that nothing that points to it changes.
pub(super) fn grow<'a>(
    ledger: &mut Ledger<'a>,
    service: &'a Service,
    mut kept: Assignment<'a>,
) -> Assignment<'a> {
    let has = |family: Family| kept.addresses.iter().any(|address| Family::of(*address) == family);
    let Some(missing) = service.families.iter().copied().find(|family| !has(*family)) else { return kept };
    if service.requested != Requested::Nothing {
        return kept;
    }
    let found = ledger.pool(kept.pool).and_then(|pool| ledger.first(pool, missing, service));
    match found {
        Some(address) => kept.addresses.push(address),
        None => kept.remark = Some(Remark::OneFamily(missing)),
    }
    kept
}
