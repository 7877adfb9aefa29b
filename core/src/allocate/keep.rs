//! What a Service has already: is it still right?

use std::collections::BTreeSet;

use super::{Assignment, Ledger, Remark};
use crate::net::Family;
use crate::service::{FamilyPolicy, Requested, Service};

/// Today's addresses, if they are still right.
///
/// 1. The status is readable and shows an address.
/// 2. The families fit: none twice. An address of a family that the Service no longer has is dropped, the other
///    stays.
/// 3. All lie in one pool that offers them and admits the Service.
/// 4. That pool is the one asked for, and the addresses are those asked for, in that order, where something was
///    asked for. A request that can never be met (unreadable, or of other families) takes nothing away.
/// 5. No Service settled before has them, except one that shares them.
/// 6. RequireDualStack has both.
pub(super) fn keep<'a>(ledger: &Ledger<'a>, service: &Service) -> Option<Assignment<'a>> {
    let complete =
        |kept: &Assignment<'_>| service.policy != FamilyPolicy::RequireDualStack || kept.addresses.len() == 2;
    right(ledger, service).filter(complete)
}

/// Today's addresses, if rules 1 to 5 of [`keep`] hold for them.
pub(super) fn right<'a>(ledger: &Ledger<'a>, service: &Service) -> Option<Assignment<'a>> {
    if service.held.is_empty() || service.held_is_broken {
        return None;
    }
    let mut held = service.held.clone();
    held.retain(|address| service.families.contains(&Family::of(*address)));
    let families: BTreeSet<Family> = held.iter().map(|address| Family::of(*address)).collect();
    if held.is_empty() || families.len() != held.len() {
        return None;
    }
    let pool = ledger.pool_of(held[0])?;
    if !held.iter().all(|address| ledger.offers(pool, *address)) || !ledger.admits(pool, service) {
        return None;
    }
    if service.requested_pool.as_ref().is_some_and(|wanted| *wanted != pool.name) {
        return None;
    }
    let mut remark = None;
    match &service.requested {
        Requested::Nothing => {}
        Requested::Unreadable(why) => remark = Some(Remark::RequestIgnored(why.clone())),
        Requested::Addresses(wanted) => match super::choose::fits(service, wanted) {
            Err(why) => remark = Some(Remark::RequestIgnored(why.to_string())),
            Ok(()) if held.len() == wanted.len() && wanted.iter().all(|address| held.contains(address)) => {
                held.clone_from(wanted);
            }
            Ok(()) => return None,
        },
    }
    if held.iter().any(|address| ledger.refusal(service, *address).is_some()) {
        return None;
    }
    Some(Assignment { addresses: held, pool: &pool.name, remark })
}

/// Whether the Service has addresses that may be right although no usable pool has them, and that no
/// Service settled before has.
pub(super) fn cannot_be_judged(ledger: &Ledger<'_>, service: &Service) -> bool {
    let mut held = service.held.iter();
    !ledger.pools_are_complete()
        && !service.held.is_empty()
        && held
            .all(|address| ledger.pool_of(*address).is_none() && ledger.refusal(service, *address).is_none())
}
