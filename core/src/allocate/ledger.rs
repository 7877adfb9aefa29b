//! Who holds which address while a plan is made.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Bound;
use std::time::Duration;

use super::Snapshot;
use super::reason::{Lack, Pending, Taken};
use crate::net::Family;
use crate::pool::Pool;
use crate::ranges::{AddressSet, RangeMap};
use crate::selector::Labels;
use crate::service::{Port, Role, Service, ServiceKey, Sharing, SharingRule};

/// The addresses in use so far in one plan. Addresses are only ever added.
///
/// Its memory grows with the addresses in use, never with the size of the pools, and each question takes time by
/// the logarithm of that, also where ten thousand addresses in a row are taken.
#[derive(Clone, Debug)]
pub struct Ledger<'a> {
    snapshot: &'a Snapshot,
    no_labels: Labels,
    /// Which pool has an address, and in which of its ranges.
    places: RangeMap<Place<'a>>,
    /// Which pool excludes an address.
    excluded: RangeMap<&'a Pool>,
    /// Given to Services of ours.
    given: BTreeMap<IpAddr, Users<'a>>,
    /// In use by others: never given, but not taken from a Service that has it already, so that what
    /// one user writes on his Service costs no other user an address.
    aside: BTreeMap<IpAddr, Vec<Aside<'a>>>,
    /// What is not to be chosen now: given, set aside, avoided, or at rest.
    blocked: AddressSet,
    /// What rests, longest-free first, by pool.
    resting: BTreeMap<(&'a str, Family), BTreeSet<(Duration, IpAddr)>>,
    /// What rests, by the Service that had it.
    own: BTreeMap<&'a ServiceKey, Vec<IpAddr>>,
    /// Where the first range of a pool lies that may have something to choose.
    open: BTreeMap<(&'a str, Family), usize>,
    /// Addresses of Services with a sharing key, in the order of their pool.
    shared: BTreeMap<Group<'a>, BTreeSet<(usize, IpAddr)>>,
    /// Up to where the addresses of a group cannot be had on the same terms. They never can again in this plan.
    tried: BTreeMap<(Group<'a>, &'a Sharing), (usize, IpAddr)>,
}

/// A pool, a family, and a sharing key.
type Group<'a> = (&'a str, Family, &'a str);

#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    pool: &'a Pool,
    range: usize,
}

/// Who has an address: one Service, or some that share it.
#[derive(Clone, Debug)]
struct Users<'a> {
    /// The oldest, then first by name: it is named to those who cannot have the address.
    first: &'a Service,
    /// The ports of those that share it, and whose each is.
    ports: BTreeMap<&'a Port, &'a Service>,
    /// They should not share it: writes under way, or of unknown outcome, may leave that. Nobody joins them.
    at_odds: bool,
}

#[derive(Clone, Copy, Debug)]
enum Aside<'a> {
    ExternalIp(&'a ServiceKey),
    OtherLoadBalancer(&'a ServiceKey),
    Node(&'a str),
}

impl<'a> Ledger<'a> {
    /// An empty ledger over the pools and nodes of `snapshot`.
    pub fn new(snapshot: &'a Snapshot) -> Self {
        let mut ledger = Ledger {
            snapshot,
            no_labels: Labels::new(),
            places: RangeMap::default(),
            excluded: RangeMap::default(),
            given: BTreeMap::new(),
            aside: BTreeMap::new(),
            blocked: AddressSet::default(),
            resting: BTreeMap::new(),
            own: BTreeMap::new(),
            open: BTreeMap::new(),
            shared: BTreeMap::new(),
            tried: BTreeMap::new(),
        };
        for pool in snapshot.pools.values() {
            for (range, addresses) in pool.ranges.iter().enumerate() {
                ledger.places.insert(*addresses, Place { pool, range });
            }
            for range in &pool.excluded {
                for gap in ledger.excluded.gaps(*range) {
                    ledger.excluded.insert(gap, pool);
                }
            }
        }
        for (address, node) in &snapshot.nodes {
            ledger.put_aside(*address, Aside::Node(node));
        }
        for (address, (since, had)) in &snapshot.resting {
            let Some(pool) = ledger.pool_of(*address) else { continue };
            if snapshot.now.saturating_sub(*since) < pool.reuse_delay {
                let resting = ledger.resting.entry((&pool.name, Family::of(*address))).or_default();
                resting.insert((*since, *address));
                if let Some(had) = had {
                    ledger.own.entry(had).or_default().push(*address);
                }
                ledger.blocked.insert(*address);
            }
        }
        ledger
    }

    /// All pools, in name order.
    pub(super) fn pools(&self) -> impl Iterator<Item = &'a Pool> + use<'a> {
        self.snapshot.pools.values()
    }

    /// Whether an address that no pool here has is no pool's at all.
    pub(super) fn pools_are_complete(&self) -> bool {
        self.snapshot.pools_are_complete
    }

    pub(super) fn pool(&self, name: &str) -> Option<&'a Pool> {
        self.snapshot.pools.get(name)
    }

    /// The pool that has `address` in one of its ranges.
    pub(super) fn pool_of(&self, address: IpAddr) -> Option<&'a Pool> {
        self.places.get(address).map(|place| place.pool)
    }

    /// The pool that excludes `address`.
    pub(super) fn excluding(&self, address: IpAddr) -> Option<&'a Pool> {
        self.excluded.get(address).copied()
    }

    /// Whether `address` is one of `pool`'s and may be given out.
    pub(super) fn offers(&self, pool: &Pool, address: IpAddr) -> bool {
        self.pool_of(address).is_some_and(|other| other.name == pool.name) && !pool.avoids(address)
    }

    /// Whether `pool` may serve `service`.
    pub(super) fn admits(&self, pool: &Pool, service: &Service) -> bool {
        let namespace = service.key.namespace();
        let labels = self.snapshot.namespaces.get(namespace).unwrap_or(&self.no_labels);
        pool.admits(namespace, labels, &service.labels)
    }

    /// Sets aside what `service` uses that is not ours to give.
    pub(super) fn set_aside(&mut self, service: &'a Service) {
        for address in &service.external_ips {
            self.put_aside(*address, Aside::ExternalIp(&service.key));
        }
        // What is ours on it is about to be taken back, and free then.
        if service.role == Role::Foreign && !service.marked {
            for address in &service.held {
                self.put_aside(*address, Aside::OtherLoadBalancer(&service.key));
            }
        }
    }

    fn put_aside(&mut self, address: IpAddr, by: Aside<'a>) {
        self.aside.entry(address).or_default().push(by);
        self.blocked.insert(address);
    }

    /// Gives `addresses` to `service`.
    pub fn take(&mut self, service: &'a Service, addresses: &[IpAddr]) {
        for address in addresses {
            let users = self.given.entry(*address).or_insert(Users {
                first: service,
                ports: BTreeMap::new(),
                at_odds: false,
            });
            users.at_odds |= users.first.key != service.key && !agree(users.first, service);
            if (service.created, &service.key) < (users.first.created, &users.first.key) {
                users.first = service;
            }
            let place = self.places.get(*address);
            if let Some(sharing) = &service.sharing {
                users.ports.extend(sharing.ports.iter().map(|port| (port, service)));
                if let Some(place) = place {
                    let group = (place.pool.name.as_str(), Family::of(*address), sharing.key.as_str());
                    self.shared.entry(group).or_default().insert((place.range, *address));
                    // It may lie before where the others of its group were tried up to.
                    self.tried.retain(|(other, _), upto| *other != group || *upto < (place.range, *address));
                }
            }
            if place.is_some() {
                self.blocked.insert(*address);
            }
        }
    }

    /// Why `service` cannot have `address` beside the Services of ours that have it; `None` if it can.
    pub(super) fn refusal(&self, service: &Service, address: IpAddr) -> Option<Pending> {
        let users = self.given.get(&address)?;
        if users.first.key == service.key {
            return None;
        }
        let by = |holder: &Service| Taken::Service(holder.key.clone());
        let Some(sharing) = service.sharing.as_ref().filter(|_| !users.at_odds) else {
            return Some(Pending::RequestedTaken { address, by: by(users.first) });
        };
        // All that share an address agree in key and backends, so the first speaks for them.
        let (holder, rule) = match sharing.with(users.first.sharing.as_ref()) {
            Err(rule @ (SharingRule::NoKey | SharingRule::OtherKey | SharingRule::Backends)) => {
                (users.first, rule)
            }
            Ok(()) | Err(SharingRule::Port(_)) => {
                let clash = sharing.ports.iter().find_map(|port| Some((port, *users.ports.get(port)?)));
                let (port, holder) = clash.filter(|(_, holder)| holder.key != service.key)?;
                (holder, SharingRule::Port(port.clone()))
            }
        };
        Some(Pending::SharingRefused { address, by: holder.key.clone(), rule })
    }

    /// Whether somebody else than a Service of ours uses `address`. That `service` itself lists it in its
    /// `spec.externalIPs` does not count.
    pub(super) fn reserved(&self, service: &Service, address: IpAddr) -> Option<Pending> {
        let own = |by: &&Aside<'_>| matches!(by, Aside::ExternalIp(key) if **key == service.key);
        let by = match *self.aside.get(&address)?.iter().find(|by| !own(by))? {
            Aside::ExternalIp(key) => Taken::ExternalIp(key.clone()),
            Aside::OtherLoadBalancer(key) => Taken::OtherLoadBalancer(key.clone()),
            Aside::Node(name) => Taken::Node(name.to_owned()),
        };
        Some(Pending::RequestedTaken { address, by })
    }

    /// The first address of `family` in the pool that `service` may have, in the order in which its ranges are
    /// written.
    ///
    /// 1. One that it had itself until a short while ago.
    /// 2. One that is free or that it may share, whichever comes first.
    /// 3. Failing that, of the free ones that rest, the one that was freed longest ago.
    pub fn first(&mut self, pool: &'a Pool, family: Family, service: &'a Service) -> Option<IpAddr> {
        let own = self.own.get(&service.key).into_iter().flatten().copied();
        let mut own = own.filter(|address| Family::of(*address) == family && self.offers(pool, *address));
        let free_own =
            own.find(|address| !self.given.contains_key(address) && !self.aside.contains_key(address));
        if free_own.is_some() {
            return free_own;
        }
        let free = self.free(pool, family);
        let shared =
            service.sharing.as_ref().and_then(|sharing| self.shareable(pool, family, service, sharing));
        free.into_iter().chain(shared).min().map(|(_, address)| address).or_else(|| self.rested(pool, family))
    }

    /// The first address that nobody has, and its range.
    fn free(&mut self, pool: &'a Pool, family: Family) -> Option<(usize, IpAddr)> {
        let open = self.open.entry((&pool.name, family)).or_default();
        while let Some(range) = pool.ranges.get(*open) {
            if range.family() == family {
                while let Some(address) = self.blocked.first_absent(*range) {
                    if !pool.avoids(address) {
                        return Some((*open, address));
                    }
                    self.blocked.insert(address);
                }
            }
            *open += 1;
        }
        None
    }

    /// The first address that others have and `service` may share.
    fn shareable(
        &mut self,
        pool: &'a Pool,
        family: Family,
        service: &Service,
        sharing: &'a Sharing,
    ) -> Option<(usize, IpAddr)> {
        let group = (pool.name.as_str(), family, sharing.key.as_str());
        let all = self.shared.get(&group)?;
        let tried = self.tried.get(&(group, sharing)).copied();
        let from = tried.map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = tried;
        let mut found = None;
        for (range, address) in all.range((from, Bound::Unbounded)).copied() {
            let refused = self.refusal(service, address).is_some() || self.aside.contains_key(&address);
            if !refused && !pool.avoids(address) {
                found = Some((range, address));
                break;
            }
            last = Some((range, address));
        }
        if let Some(last) = last {
            self.tried.insert((group, sharing), last);
        }
        found
    }

    /// Of the pool's addresses that rest, the one that has for longest.
    fn rested(&mut self, pool: &'a Pool, family: Family) -> Option<IpAddr> {
        let resting = self.resting.get_mut(&(pool.name.as_str(), family))?;
        while let Some((_, address)) = resting.first() {
            let taken = self.given.contains_key(address) || self.aside.contains_key(address);
            if !taken && !pool.avoids(*address) {
                return Some(*address);
            }
            resting.pop_first();
        }
        None
    }

    /// `reason` as things stand now: with what each pool lacks, and who has the address in the end.
    pub(super) fn complete(&mut self, service: &Service, mut reason: Pending) -> Pending {
        match &mut reason {
            Pending::Exhausted { families, lacking } => {
                for (pool, lack) in lacking {
                    *lack = self.lack(pool, families);
                }
            }
            Pending::RequestedTaken { address, .. } | Pending::SharingRefused { address, .. } => {
                let now = self.refusal(service, *address);
                reason = now.unwrap_or(reason);
            }
            _ => {}
        }
        reason
    }

    fn lack(&mut self, pool: &str, families: &[Family]) -> Vec<Lack> {
        let Some(pool) = self.pool(pool) else { return Vec::new() };
        let mut lack = Vec::new();
        for family in families {
            if !pool.has_family(*family) {
                lack.push(Lack::Family(*family));
            } else if self.free(pool, *family).is_none() && self.rested(pool, *family).is_none() {
                lack.push(Lack::Free(*family));
            }
        }
        lack
    }
}

/// Whether two Services that have one address agree in key and backends.
fn agree(one: &Service, other: &Service) -> bool {
    let rule = one.sharing.as_ref().map(|sharing| sharing.with(other.sharing.as_ref()));
    matches!(rule, Some(Ok(()) | Err(SharingRule::Port(_))))
}
