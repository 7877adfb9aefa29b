//! Who holds which address while a plan is made.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Pending, Snapshot, Taken};
use crate::net::Family;
use crate::pool::Pool;
use crate::selector::Labels;
use crate::service::{Role, Service};

/// The addresses in use so far in one plan. Addresses are only ever added.
pub(super) struct Ledger<'a> {
    snapshot: &'a Snapshot,
    no_labels: Labels,
    /// Given to Services of ours.
    given: BTreeMap<IpAddr, Taken>,
    /// In use by others: never given, but not taken from a Service that has it already, so that what
    /// one user writes on his Service costs no other user an address.
    aside: BTreeMap<IpAddr, Taken>,
    /// For each range of each pool, an address below which everything is taken. It only moves up,
    /// so one plan walks each range once, not once for each Service.
    cursors: BTreeMap<(&'a str, usize), IpAddr>,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        Ledger {
            snapshot,
            no_labels: Labels::new(),
            given: BTreeMap::new(),
            aside: BTreeMap::new(),
            cursors: BTreeMap::new(),
        }
    }

    /// All pools, in name order.
    pub(super) fn pools(&self) -> impl Iterator<Item = &'a Pool> + use<'a> {
        self.snapshot.pools.values()
    }

    /// Whether an address that no pool here has may be a pool's all the same.
    pub(super) fn pools_are_incomplete(&self) -> bool {
        self.snapshot.pools.is_empty() || self.snapshot.some_pools_unusable
    }

    pub(super) fn pool(&self, name: &str) -> Option<&'a Pool> {
        self.snapshot.pools.get(name)
    }

    /// Whether `pool` may serve `service`.
    pub(super) fn admits(&self, pool: &Pool, service: &Service) -> bool {
        let namespace = &service.key.namespace;
        let labels = self.snapshot.namespaces.get(namespace).unwrap_or(&self.no_labels);
        pool.admits(namespace, labels, &service.labels)
    }

    /// Sets aside what `service` uses that is not ours to give.
    pub(super) fn set_aside(&mut self, service: &Service) {
        for address in &service.external_ips {
            self.aside.entry(*address).or_insert_with(|| Taken::ExternalIp(service.key.clone()));
        }
        if service.role == Role::Foreign {
            for address in &service.held {
                self.aside.entry(*address).or_insert_with(|| Taken::OtherLoadBalancer(service.key.clone()));
            }
        }
    }

    /// Gives `addresses` to `service`.
    pub(super) fn take(&mut self, service: &Service, addresses: &[IpAddr]) {
        for address in addresses {
            self.given.insert(*address, Taken::Service(service.key.clone()));
        }
    }

    /// Whether a Service of ours got `address` already.
    pub(super) fn is_given(&self, address: IpAddr) -> bool {
        self.given.contains_key(&address)
    }

    /// Who has `address`, if anybody.
    pub(super) fn holder(&self, address: IpAddr) -> Option<&Taken> {
        self.given.get(&address).or_else(|| self.aside.get(&address))
    }

    /// The first free address of `family` in the pool, in the order in which its ranges are written.
    pub(super) fn free(&mut self, pool: &str, family: Family) -> Option<IpAddr> {
        let pool = self.snapshot.pools.get(pool)?;
        for (index, range) in pool.ranges.iter().enumerate() {
            if range.family() != family {
                continue;
            }
            let cursor = self.cursors.entry((&pool.name, index)).or_insert(range.first());
            let mut candidates = range.addresses_from(*cursor);
            let found = candidates.find(|address| {
                !pool.avoids(*address)
                    && !self.given.contains_key(address)
                    && !self.aside.contains_key(address)
            });
            *cursor = found.unwrap_or(range.last());
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// `reason` with what each pool lacks, as things stand now.
    pub(super) fn complete(&mut self, mut reason: Pending) -> Pending {
        if let Pending::Exhausted { families, lacking } = &mut reason {
            for (pool, lack) in lacking {
                *lack = self.lack(pool, families);
            }
        }
        reason
    }

    fn lack(&mut self, pool: &str, families: &[Family]) -> String {
        let mut words = Vec::new();
        for family in families {
            if !self.pool(pool).is_some_and(|pool| pool.has_family(*family)) {
                words.push(format!("has no {family} addresses"));
            } else if self.free(pool, *family).is_none() {
                words.push(format!("every {family} address is in use"));
            }
        }
        words.join(", ")
    }
}
