//! Address pools: what an `IPAddressPool` means.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::net::{AddressRange, Family};
use crate::ranges::{self, RangeMap};
use crate::selector::{LabelSelector, Labels, any_or_empty};

/// A pool of addresses that Services may get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// `metadata.name`, unique among pools.
    pub name: String,
    /// `metadata.labels`, for `L2Advertisement.spec.ipAddressPoolSelectors`.
    pub labels: Labels,
    /// `spec.addresses` in the order written, in which addresses are given out: no address in two of them, and
    /// none that is excluded ([`crate::ranges::disjoint`]).
    pub ranges: Vec<AddressRange>,
    /// `spec.excludeAddresses`, in as few ranges as hold them: never given out. Kept for the words on a Service that asks for one.
    pub excluded: Vec<AddressRange>,
    /// `spec.autoAssign`: false means only on request.
    pub auto_assign: bool,
    /// `spec.avoidBuggyIPs`: never an IPv4 address that ends in .0 or .255, which some old home routers
    /// take for a network or broadcast address.
    pub avoid_buggy_ips: bool,
    /// `spec.reuseDelay`: so long an address that was freed rests before it is given to another Service, while
    /// the pool has others.
    pub reuse_delay: Duration,
    /// `spec.serviceAllocation`: for whom the pool is reserved; `None` for everybody.
    pub pinned: Option<Pinning>,
}

/// For which Services a pool is reserved (`spec.serviceAllocation`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pinning {
    /// The order among pinned pools: lower first, 0 last.
    pub priority: i64,
    /// Namespaces by name.
    pub namespaces: BTreeSet<String>,
    /// Namespaces by label; joined with `namespaces` by OR.
    pub namespace_selectors: Vec<LabelSelector>,
    /// Services by label; joined with the namespace test by AND.
    pub service_selectors: Vec<LabelSelector>,
}

/// How long a freed address rests where the pool says nothing.
pub const REUSE_DELAY: Duration = Duration::from_secs(30);

impl Default for Pool {
    /// A pool without addresses, with the defaults of an `IPAddressPool`.
    fn default() -> Self {
        Pool {
            name: String::new(),
            labels: Labels::new(),
            ranges: Vec::new(),
            excluded: Vec::new(),
            auto_assign: true,
            avoid_buggy_ips: false,
            reuse_delay: REUSE_DELAY,
            pinned: None,
        }
    }
}

impl Pool {
    /// Whether `address` is one of the pool's and may be given out.
    pub fn offers(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(address)) && !self.avoids(address)
    }

    /// Whether the pool has addresses of `family` at all.
    pub fn has_family(&self, family: Family) -> bool {
        self.ranges.iter().any(|range| range.family() == family)
    }

    /// Whether `avoidBuggyIPs` keeps `address` back.
    pub fn avoids(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.avoid_buggy_ips && matches!(v4.octets()[3], 0 | 255),
            IpAddr::V6(_) => false,
        }
    }

    /// How many addresses of `family` it can give out in all; saturates for the whole of IPv6.
    pub fn size(&self, family: Family) -> u128 {
        let of_family = self.ranges.iter().filter(|range| range.family() == family);
        let size = of_family.fold(0u128, |sum, range| sum.saturating_add(range.size()));
        let avoided =
            if self.avoid_buggy_ips && family == Family::V4 { ranges::buggy(&self.ranges) } else { 0 };
        size - avoided
    }

    /// Whether a Service with these labels, in a namespace of this name and these labels, may use the
    /// pool. A pool that is not pinned serves everybody.
    pub fn admits(&self, namespace: &str, namespace_labels: &Labels, service_labels: &Labels) -> bool {
        self.pinned.as_ref().is_none_or(|pin| pin.admits(namespace, namespace_labels, service_labels))
    }
}

impl Pinning {
    fn admits(&self, namespace: &str, namespace_labels: &Labels, service_labels: &Labels) -> bool {
        let anywhere = self.namespaces.is_empty() && self.namespace_selectors.is_empty();
        let here = anywhere
            || self.namespaces.contains(namespace)
            || self.namespace_selectors.iter().any(|selector| selector.matches(namespace_labels));
        here && any_or_empty(&self.service_selectors, service_labels)
    }

    /// The key that puts pinned pools in order: lower priority first, 0 last.
    pub fn rank(&self) -> (bool, i64) {
        (self.priority == 0, self.priority)
    }
}

/// A pool that is not used because an older one has some of its addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{range} overlaps {other_range} of the older IPAddressPool {other:?}: take the common addresses out of one of them"
)]
pub struct Overlap {
    /// The pool that is not used.
    pub pool: String,
    /// Its range.
    pub range: AddressRange,
    /// The older pool, which is used.
    pub other: String,
    /// The older pool's range.
    pub other_range: AddressRange,
}

/// The pools that can be used side by side, by name, and those that cannot.
///
/// Each comes with its creation time; the oldest (then the first by name) is taken first, and a pool that
/// overlaps one already taken is set aside whole, as no address may belong to two pools.
pub fn without_overlaps(
    pools: impl IntoIterator<Item = (i64, Pool)>,
) -> (BTreeMap<String, Pool>, Vec<Overlap>) {
    let mut by_age: Vec<(i64, Pool)> = pools.into_iter().collect();
    by_age.sort_by(|(a, left), (b, right)| (a, &left.name).cmp(&(b, &right.name)));
    let (mut usable, mut overlaps) = (BTreeMap::new(), Vec::new());
    let mut taken: RangeMap<String> = RangeMap::default();
    for (_, pool) in by_age {
        let clash = pool.ranges.iter().find_map(|range| {
            let (other_range, other) = taken.overlapping(range)?;
            Some(Overlap { pool: pool.name.clone(), range: *range, other: other.clone(), other_range })
        });
        match clash {
            Some(overlap) => overlaps.push(overlap),
            None => {
                for range in &pool.ranges {
                    taken.insert(*range, pool.name.clone());
                }
                usable.insert(pool.name.clone(), pool);
            }
        }
    }
    (usable, overlaps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::Requirement;

    fn exists(key: &str) -> LabelSelector {
        LabelSelector { requirements: [Requirement::Exists(key.to_owned())].into() }
    }

    fn labelled(key: &str) -> Labels {
        [(key.to_owned(), String::new())].into()
    }

    #[test]
    fn namespaces_are_ored_and_service_selectors_anded() {
        let pin = Pinning {
            namespaces: ["shop".to_owned()].into(),
            namespace_selectors: vec![exists("public")],
            service_selectors: vec![exists("web")],
            ..Pinning::default()
        };
        let (web, none) = (labelled("web"), Labels::new());
        assert!(pin.admits("shop", &none, &web));
        assert!(pin.admits("other", &labelled("public"), &web));
        assert!(!pin.admits("other", &none, &web));
        assert!(!pin.admits("shop", &labelled("public"), &none));
    }

    #[test]
    fn an_empty_pinning_admits_all_and_priority_zero_is_last() {
        assert!(Pinning::default().admits("any", &Labels::new(), &Labels::new()));
        let rank = |priority| Pinning { priority, ..Pinning::default() }.rank();
        assert!(rank(10) < rank(20) && rank(20) < rank(0) && rank(-1) < rank(10));
    }

    #[test]
    fn buggy_addresses_are_not_offered() {
        let pool = Pool {
            name: "a".into(),
            ranges: vec!["10.0.0.0/24".parse().unwrap(), "fd00::/120".parse().unwrap()],
            avoid_buggy_ips: true,
            ..Pool::default()
        };
        assert!(!pool.offers("10.0.0.0".parse().unwrap()));
        assert!(!pool.offers("10.0.0.255".parse().unwrap()));
        assert!(pool.offers("10.0.0.1".parse().unwrap()));
        assert!(pool.offers("fd00::ff".parse().unwrap()));
        assert!(!Pool { avoid_buggy_ips: true, ..pool.clone() }.offers("10.0.1.1".parse().unwrap()));
        assert!(Pool { avoid_buggy_ips: false, ..pool }.offers("10.0.0.255".parse().unwrap()));
    }

    #[test]
    fn of_two_overlapping_pools_the_older_is_used() {
        let of = |name: &str, range: &str| Pool {
            name: name.into(),
            ranges: vec![range.parse().unwrap()],
            ..Pool::default()
        };
        let (a, b, c) = (of("a", "10.0.0.0/28"), of("b", "10.0.0.15-10.0.0.20"), of("c", "10.0.0.21/32"));
        let (usable, overlaps) = without_overlaps([(2, a), (1, b), (3, c)]);
        assert_eq!(usable.keys().collect::<Vec<_>>(), ["b", "c"]);
        let words: Vec<_> = overlaps.iter().map(ToString::to_string).collect();
        assert_eq!(
            words,
            ["10.0.0.0-10.0.0.15 overlaps 10.0.0.15-10.0.0.20 of the older IPAddressPool \"b\": \
              take the common addresses out of one of them"]
        );
    }
}
