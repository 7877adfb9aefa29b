//! Ranges of addresses by where they lie: which one holds an address, where the gaps are.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::net::{AddressRange, Family, MAPPED};

/// Values by ranges that have no address in common. Each question takes time by the logarithm of the number of
/// ranges, whatever their size.
#[derive(Clone, Debug)]
pub struct RangeMap<T> {
    /// By first address: the last address, and the value.
    entries: BTreeMap<IpAddr, (IpAddr, T)>,
}

impl<T> Default for RangeMap<T> {
    fn default() -> Self {
        RangeMap { entries: BTreeMap::new() }
    }
}

impl<T> RangeMap<T> {
    /// Adds `range`, which must overlap none that is there.
    pub fn insert(&mut self, range: AddressRange, value: T) {
        debug_assert!(self.overlapping(&range).is_none(), "{range} overlaps");
        self.entries.insert(range.first(), (range.last(), value));
    }

    /// The value of the range that holds `address`.
    pub fn get(&self, address: IpAddr) -> Option<&T> {
        // IPv4 orders before IPv6, so a range of the other family never reaches up to the address.
        let (_, (last, value)) = self.entries.range(..=address).next_back()?;
        (*last >= address).then_some(value)
    }

    /// The lowest range that has an address in common with `range`.
    pub fn overlapping(&self, range: &AddressRange) -> Option<(AddressRange, &T)> {
        let before = self.entries.range(..=range.first()).next_back();
        let before = before.filter(|(_, (last, _))| *last >= range.first());
        let (first, (last, value)) =
            before.or_else(|| self.entries.range(range.first()..=range.last()).next())?;
        Some((AddressRange::new(*first, *last).ok()?, value))
    }

    /// The parts of `range` that lie in none of the ranges, lowest first.
    pub fn gaps(&self, range: AddressRange) -> Vec<AddressRange> {
        let mut gaps = Vec::new();
        let mut rest = Some(range);
        while let Some(part) = rest {
            let Some((other, _)) = self.overlapping(&part) else {
                gaps.push(part);
                break;
            };
            let below = previous(other.first()).and_then(|last| AddressRange::new(part.first(), last).ok());
            gaps.extend(below);
            rest = next(other.last()).and_then(|first| AddressRange::new(first, part.last()).ok());
        }
        gaps
    }
}

/// A set of addresses that keeps neighbours together: a thousand addresses in a row are one entry.
#[derive(Clone, Debug, Default)]
pub struct AddressSet {
    /// The runs, which neither overlap nor touch: first address to last.
    runs: BTreeMap<IpAddr, IpAddr>,
}

impl AddressSet {
    /// Adds one address.
    pub fn insert(&mut self, address: IpAddr) {
        self.join((address, address));
    }

    /// Adds all addresses of `range`. What it costs is paid for by the runs that become one.
    pub fn insert_range(&mut self, range: AddressRange) {
        self.join((range.first(), range.last()));
    }

    fn join(&mut self, mut run: (IpAddr, IpAddr)) {
        let before = self.runs.range(..=run.0).next_back().map(|(first, last)| (*first, *last));
        if let Some((first, last)) = before {
            if last >= run.1 {
                return;
            }
            if last >= run.0 || next(last) == Some(run.0) {
                run.0 = first;
            }
        }
        // Those that begin in it, and the one that begins right after it.
        let end = next(run.1).unwrap_or(run.1);
        while let Some((first, last)) = self.runs.range(run.0..=end).next_back().map(|(a, b)| (*a, *b)) {
            self.runs.remove(&first);
            run.1 = run.1.max(last);
        }
        self.runs.insert(run.0, run.1);
    }

    /// The lowest address of `range` that is not in the set.
    pub fn first_absent(&self, range: AddressRange) -> Option<IpAddr> {
        let before = self.runs.range(..=range.first()).next_back();
        match before {
            Some((_, last)) if *last >= range.first() => {
                next(*last).filter(|address| range.contains(*address))
            }
            _ => Some(range.first()),
        }
    }

    /// The parts of `range` that are not in the set, lowest first.
    pub fn absent(&self, range: AddressRange) -> Vec<AddressRange> {
        let mut parts = Vec::new();
        let mut from = self.first_absent(range);
        while let Some(first) = from {
            let run = self.runs.range(first..=range.last()).next().map(|(first, last)| (*first, *last));
            let end = run.and_then(|(first, _)| previous(first)).unwrap_or(range.last());
            parts.extend(AddressRange::new(first, end).ok());
            from = run.and_then(|(_, last)| next(last)).filter(|address| range.contains(*address));
        }
        parts
    }

    /// Its runs, lowest first.
    pub fn ranges(&self) -> impl Iterator<Item = AddressRange> {
        self.runs.iter().filter_map(|(first, last)| AddressRange::new(*first, *last).ok())
    }
}

/// The ranges in their order, each address in one only: what an earlier range holds is cut out of the later
/// ones, and what `excluded` holds out of all; so are the IPv6 addresses that stand for IPv4 addresses.
pub fn disjoint(ranges: &[AddressRange], excluded: &[AddressRange]) -> Vec<AddressRange> {
    let mut taken = AddressSet::default();
    for range in excluded.iter().chain([&MAPPED]) {
        taken.insert_range(*range);
    }
    let mut kept = Vec::with_capacity(ranges.len());
    for range in ranges {
        kept.extend(taken.absent(*range));
        taken.insert_range(*range);
    }
    kept
}

/// The addresses of all `ranges`, in as few ranges as hold them, lowest first.
pub fn union(ranges: &[AddressRange]) -> Vec<AddressRange> {
    let mut set = AddressSet::default();
    for range in ranges {
        set.insert_range(*range);
    }
    set.ranges().collect()
}

/// The address after `address` in its family.
pub fn next(address: IpAddr) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits().checked_add(1)?).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits().checked_add(1)?).into(),
    })
}

/// The address before `address` in its family.
pub fn previous(address: IpAddr) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits().checked_sub(1)?).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits().checked_sub(1)?).into(),
    })
}

/// How many IPv4 addresses in `ranges` end in .0 or .255.
pub fn buggy(ranges: &[AddressRange]) -> u128 {
    let ends_in = |range: &AddressRange, octet: u32| {
        let (IpAddr::V4(first), IpAddr::V4(last)) = (range.first(), range.last()) else { return 0 };
        // Those up to an address, counted from 0.0.0.0.
        let up_to = |bits: u64| (bits + 256 - u64::from(octet)) / 256;
        let below = u64::from(first.to_bits()).checked_sub(1).map_or(0, up_to);
        u128::from(up_to(u64::from(last.to_bits())) - below)
    };
    let v4 = ranges.iter().filter(|range| range.family() == Family::V4);
    v4.map(|range| ends_in(range, 0) + ends_in(range, 255)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(first: u8, last: u8) -> AddressRange {
        AddressRange::new(IpAddr::from([10, 0, 0, first]), IpAddr::from([10, 0, 0, last])).unwrap()
    }

    fn parse(list: &[&str]) -> Vec<AddressRange> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn an_address_counts_where_it_stands_first_and_never_where_it_is_excluded() {
        let ranges = parse(&["10.0.0.2/31", "10.0.0.0/29", "::1/128"]);
        assert_eq!(disjoint(&ranges, &[]), parse(&["10.0.0.2/31", "10.0.0.0/31", "10.0.0.4/30", "::1/128"]));
        let excluded = parse(&["10.0.0.3/32", "10.0.0.3-10.0.0.4", "::/64"]);
        assert_eq!(disjoint(&ranges, &excluded), parse(&["10.0.0.2/32", "10.0.0.0/31", "10.0.0.5-10.0.0.7"]));
    }

    #[test]
    fn the_ends_of_the_address_space_are_addresses_like_others() {
        let all = parse(&["0.0.0.0/0", "::/0"]);
        assert_eq!(disjoint(&all, &all), vec![]);
        let ends = parse(&[
            "0.0.0.0/32",
            "255.255.255.255/32",
            "::/128",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
        ]);
        let inner = disjoint(&all, &ends);
        assert_eq!(inner[0], "0.0.0.1-255.255.255.254".parse().unwrap());
        assert_eq!(inner[1], "::1-::fffe:ffff:ffff".parse().unwrap(), "then come those that stand for IPv4");
        assert_eq!(inner[2], "::1:0:0:0-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe".parse().unwrap());
        let mut set = AddressSet::default();
        for end in &ends {
            assert_eq!(set.first_absent(*end), Some(end.first()));
            set.insert(end.first());
            assert_eq!(set.first_absent(*end), None);
        }
        assert_eq!(set.first_absent(all[0]), Some(IpAddr::from([0, 0, 0, 1])));
    }

    #[test]
    fn buggy_addresses_are_counted_without_a_walk() {
        for (text, count) in [
            ("10.0.0.0/24", 2),
            ("10.0.0.1-10.0.0.254", 0),
            ("10.0.0.255-10.0.1.0", 2),
            ("0.0.0.0/32", 1),
            ("255.255.255.255/32", 1),
            ("0.0.0.0/0", 1 << 25),
            ("::/0", 0),
        ] {
            assert_eq!(buggy(&parse(&[text])), count, "{text}");
        }
    }

    proptest! {
        #[test]
        fn disjoint_ranges_are_the_same_addresses(
            ranges in proptest::collection::vec((0u8..60, 0u8..8), 0..10),
            excluded in proptest::collection::vec((0u8..60, 0u8..8), 0..4),
        ) {
            let make = |list: Vec<(u8, u8)>| -> Vec<_> { list.into_iter().map(|(a, n)| range(a, a + n)).collect() };
            let (ranges, excluded) = (make(ranges), make(excluded));
            let made = disjoint(&ranges, &excluded);
            let mut expected = Vec::new();
            for address in ranges.iter().flat_map(AddressRange::addresses) {
                if !expected.contains(&address) && !excluded.iter().any(|range| range.contains(address)) {
                    expected.push(address);
                }
            }
            let listed: Vec<_> = made.iter().flat_map(AddressRange::addresses).collect();
            prop_assert_eq!(listed, expected);
        }

        #[test]
        fn a_union_is_the_same_addresses_in_few_ranges(
            ranges in proptest::collection::vec((0u8..60, 0u8..8), 0..10),
        ) {
            let ranges: Vec<_> = ranges.into_iter().map(|(a, n)| range(a, a + n)).collect();
            let made = union(&ranges);
            let expected: std::collections::BTreeSet<_> = ranges.iter().flat_map(AddressRange::addresses).collect();
            let listed: Vec<_> = made.iter().flat_map(AddressRange::addresses).collect();
            prop_assert_eq!(listed, expected.into_iter().collect::<Vec<_>>());
            prop_assert!(made.windows(2).all(|two| next(two[0].last()) != Some(two[1].first())));
        }

        #[test]
        fn the_first_absent_address_is_found(
            addresses in proptest::collection::vec(0u8..30, 0..40), first in 0u8..30, size in 0u8..10,
        ) {
            let mut set = AddressSet::default();
            for address in &addresses {
                set.insert(IpAddr::from([10, 0, 0, *address]));
            }
            let range = range(first, first + size);
            let expected = range.addresses()
                .find(|address| !addresses.iter().any(|a| IpAddr::from([10, 0, 0, *a]) == *address));
            prop_assert_eq!(set.first_absent(range), expected);
        }
    }
}
