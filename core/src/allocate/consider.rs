//! Each pool, and what keeps a Service from getting an address of it: for people who ask why.

use std::fmt;
use std::net::IpAddr;

use super::ledger::Ledger;
use super::reason::{Lack, Pending};
use super::{Snapshot, Verdict, plan};
use crate::pool::Pool;
use crate::service::{FamilyPolicy, Requested, Role, Service, ServiceKey};

/// One pool as a Service sees it that looks for addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered<'a> {
    /// The pool.
    pub pool: &'a str,
    /// What keeps the Service from getting its addresses there; `None` if nothing does.
    pub against: Option<Against>,
}

/// What keeps a Service from getting addresses of a pool. The text goes on a sentence that begins with the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Against {
    /// The Service asks for another one.
    AnotherAsked(String),
    /// Its `serviceAllocation` keeps it for others.
    Reserved,
    /// `autoAssign: false`, and the Service asks neither for it nor for an address of it.
    OnRequestOnly,
    /// The requested addresses cannot be had of it.
    Request(Pending),
    /// It lacks what is needed.
    Lacks(Vec<Lack>),
}

impl fmt::Display for Against {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Against::AnotherAsked(name) => write!(f, "the Service asks for pool {name:?}"),
            Against::Reserved => f.write_str("it is reserved for others by its serviceAllocation"),
            Against::OnRequestOnly => f.write_str("autoAssign is false, and the Service does not ask for it"),
            Against::Request(why) => why.fmt(f),
            Against::Lacks(lacks) => {
                let words: Vec<String> = lacks.iter().map(ToString::to_string).collect();
                f.write_str(&words.join(", "))
            }
        }
    }
}

/// What each usable pool has for the Service `key` once all others have what [`plan`] gives them, in the order in which pools
/// are tried: those reserved for it by priority, the others by name; last those that are not tried at all. Nothing for a
/// Service that is not there.
///
/// What is asked of a pool, in the order of the lines below:
/// 1. it is the one asked for, if one is;
/// 2. it admits the Service;
/// 3. it has all requested addresses, keeps none back, and nobody else has them;
/// 4. nothing is requested: it gives to those who do not ask for it;
/// 5. it has an address of each family (PreferDualStack: of one).
pub fn consider<'a>(snapshot: &'a Snapshot, key: &ServiceKey) -> Vec<Considered<'a>> {
    let Some(service) = snapshot.services.get(key) else { return Vec::new() };
    let mut ledger = settled(snapshot, service);
    let pools: Vec<&'a Pool> = ledger.pools().collect();
    let mut considered: Vec<_> = pools
        .into_iter()
        .map(|pool| {
            let against = against(&mut ledger, service, pool);
            let tried = !matches!(
                against,
                Some(Against::AnotherAsked(_) | Against::Reserved | Against::OnRequestOnly)
            );
            let rank = pool.pinned.as_ref().map_or((true, true, 0), |pin| {
                let (zero, priority) = pin.rank();
                (false, zero, priority)
            });
            ((!tried, rank), Considered { pool: &pool.name, against })
        })
        .collect();
    // Stable: within a rank the order of names stays.
    considered.sort_by_key(|(rank, _)| *rank);
    considered.into_iter().map(|(_, considered)| considered).collect()
}

/// A ledger in which all but this Service have what a plan gives them.
fn settled<'a>(snapshot: &'a Snapshot, service: &Service) -> Ledger<'a> {
    let mut ledger = Ledger::new(snapshot);
    snapshot.services.values().for_each(|other| ledger.set_aside(other));
    for (key, verdict) in plan(snapshot).verdicts {
        let Some(other) = snapshot.services.get(key).filter(|other| other.key != service.key) else {
            continue;
        };
        match verdict {
            Verdict::Assigned(assignment) => ledger.take(other, &assignment.addresses),
            Verdict::Untouched if other.role == Role::Ours => ledger.take(other, &other.held),
            Verdict::Untouched | Verdict::Released | Verdict::Pending(_) => {}
        }
    }
    ledger
}

fn against<'a>(ledger: &mut Ledger<'a>, service: &'a Service, pool: &'a Pool) -> Option<Against> {
    if let Some(asked) = service.requested_pool.as_ref().filter(|asked| **asked != pool.name) {
        return Some(Against::AnotherAsked(asked.clone()));
    }
    if !ledger.admits(pool, service) {
        return Some(Against::Reserved);
    }
    match &service.requested {
        Requested::Unreadable(why) => {
            return Some(Against::Request(Pending::UnreadableRequest(why.clone())));
        }
        Requested::Addresses(wanted) => return refused(ledger, service, pool, wanted).map(Against::Request),
        Requested::Nothing => {}
    }
    if service.requested_pool.is_none() && !pool.auto_assign {
        return Some(Against::OnRequestOnly);
    }
    let lacks: Vec<Lack> = service
        .families
        .iter()
        .filter(|family| ledger.first(pool, **family, service).is_none())
        .map(|family| if pool.has_family(*family) { Lack::Free(*family) } else { Lack::Family(*family) })
        .collect();
    let enough = lacks.is_empty()
        || service.policy == FamilyPolicy::PreferDualStack && lacks.len() < service.families.len();
    (!enough).then_some(Against::Lacks(lacks))
}

/// Why the requested addresses cannot be had of this pool.
fn refused(ledger: &Ledger<'_>, service: &Service, pool: &Pool, wanted: &[IpAddr]) -> Option<Pending> {
    wanted.iter().find_map(|address| {
        let excluded = || ledger.excluding(*address).is_some_and(|by| by.name == pool.name);
        if !ledger.offers(pool, *address) {
            return Some(if excluded() || pool.avoids(*address) {
                Pending::RequestedExcluded { address: *address, pool: pool.name.clone() }
            } else {
                Pending::RequestedNowhere(vec![*address])
            });
        }
        ledger.refusal(service, *address).or_else(|| ledger.reserved(service, *address))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Family;
    use crate::pool::Pinning;
    use crate::service::Service;

    fn service(name: &str, created: i64) -> Service {
        Service {
            key: ServiceKey::new("shop", name),
            created,
            labels: Default::default(),
            role: Role::Ours,
            families: vec![Family::V4],
            policy: FamilyPolicy::SingleStack,
            held: Vec::new(),
            held_is_broken: false,
            allocated_from: None,
            requested_pool: None,
            requested: Requested::Nothing,
            sharing: None,
            granted_terms: None,
            marked: false,
            external_ips: Default::default(),
            local_traffic_only: false,
        }
    }

    fn pool(name: &str, range: &str) -> Pool {
        Pool { name: name.into(), ranges: vec![range.parse().unwrap()], ..Pool::default() }
    }

    fn snapshot(pools: Vec<Pool>, services: Vec<Service>) -> Snapshot {
        Snapshot {
            pools: pools.into_iter().map(|pool| (pool.name.clone(), pool)).collect(),
            pools_are_complete: true,
            services: services.into_iter().map(|service| (service.key.clone(), service)).collect(),
            ..Snapshot::default()
        }
    }

    fn words(snapshot: &Snapshot, name: &str) -> Vec<(String, Option<String>)> {
        let all = consider(snapshot, &ServiceKey::new("shop", name));
        all.into_iter().map(|it| (it.pool.to_owned(), it.against.map(|why| why.to_string()))).collect()
    }

    fn no(pool: &str, why: &str) -> (String, Option<String>) {
        (pool.to_owned(), Some(why.to_owned()))
    }

    #[test]
    fn each_pool_says_why_not_and_those_that_are_tried_come_first() {
        let mut others = pool("a-reserved", "10.1.0.0/24");
        others.pinned = Some(Pinning { namespaces: ["yard".to_owned()].into(), ..Pinning::default() });
        let mut on_request = pool("b-on-request", "10.2.0.0/24");
        on_request.auto_assign = false;
        let six = pool("c-six", "fd00::/120");
        let mut mine = pool("z-mine", "10.3.0.0/32");
        mine.pinned = Some(Pinning { namespaces: ["shop".to_owned()].into(), ..Pinning::default() });
        let older = Service { held: vec!["10.3.0.0".parse().unwrap()], ..service("older", 1) };
        let full = snapshot(vec![others, on_request, six, mine], vec![older, service("web", 2)]);
        assert_eq!(
            words(&full, "web"),
            [
                no("z-mine", "every IPv4 address is in use"),
                no("c-six", "has no IPv4 addresses"),
                no("a-reserved", "it is reserved for others by its serviceAllocation"),
                no("b-on-request", "autoAssign is false, and the Service does not ask for it"),
            ]
        );
        assert!(matches!(plan(&full).verdicts[&ServiceKey::new("shop", "web")], Verdict::Pending(_)));
    }

    #[test]
    fn of_a_request_each_pool_says_what_it_makes_of_it() {
        let taken: IpAddr = "10.0.0.1".parse().unwrap();
        let older = Service { held: vec![taken], ..service("older", 1) };
        let asks = Service { requested: Requested::Addresses(vec![taken]), ..service("web", 2) };
        let pools = vec![pool("lan", "10.0.0.0/24"), pool("other", "10.9.0.0/24")];
        let made = snapshot(pools, vec![older, asks]);
        assert_eq!(
            words(&made, "web"),
            [
                no("lan", "10.0.0.1 is in use: Service shop/older has it"),
                no("other", "no one IPAddressPool has 10.0.0.1"),
            ]
        );
        let by_name = Service { requested_pool: Some("other".to_owned()), ..service("web", 2) };
        let made = snapshot(vec![pool("lan", "10.0.0.0/24"), pool("other", "10.9.0.0/24")], vec![by_name]);
        assert_eq!(
            words(&made, "web"),
            [("other".to_owned(), None), no("lan", "the Service asks for pool \"other\"")]
        );
    }

    #[test]
    fn one_family_is_enough_where_both_are_only_preferred() {
        let both = Service { families: vec![Family::V4, Family::V6], ..service("web", 1) };
        let of =
            |policy| snapshot(vec![pool("lan", "10.0.0.0/24")], vec![Service { policy, ..both.clone() }]);
        assert_eq!(words(&of(FamilyPolicy::PreferDualStack), "web"), [("lan".to_owned(), None)]);
        assert_eq!(words(&of(FamilyPolicy::RequireDualStack), "web"), [no("lan", "has no IPv6 addresses")]);
    }
}
