//! The few prefixes that hold many ranges.
//!
//! The kernel's filter on a packet socket lets pass what concerns the pools and nothing else, so that a flood for other
//! addresses never wakes the speaker. It is a list of comparisons, so the list is kept short: neighbouring ranges are
//! joined under the longest prefix that holds both, which lets some more pass, but never less.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets, Ipv6Net, Ipv6Subnets};

use crate::net::AddressRange;
use crate::ranges;

/// So many prefixes of a family are compared with each frame, at most.
pub const MOST_PREFIXES: usize = 16;

/// Prefixes that hold all addresses of some ranges; at most [`MOST_PREFIXES`] of each family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cover {
    /// Of IPv4, ascending; none holds another.
    pub v4: Vec<Ipv4Net>,
    /// Of IPv6, ascending; none holds another.
    pub v6: Vec<Ipv6Net>,
}

impl Cover {
    /// The cover of these ranges, which may overlap.
    pub fn of(all: &[AddressRange]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for range in ranges::union(all) {
            match (range.first(), range.last()) {
                (IpAddr::V4(first), IpAddr::V4(last)) => v4.extend(Ipv4Subnets::new(first, last, 0)),
                (IpAddr::V6(first), IpAddr::V6(last)) => v6.extend(Ipv6Subnets::new(first, last, 0)),
                // A range has two ends of one family.
                _ => {}
            }
        }
        Cover { v4: join(v4, common_v4, 32), v6: join(v6, common_v6, 128) }
    }

    /// Whether `address` passes.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(four) => self.v4.iter().any(|prefix| prefix.contains(&four)),
            IpAddr::V6(six) => self.v6.iter().any(|prefix| prefix.contains(&six)),
        }
    }

    /// All prefixes, for the log.
    pub fn prefixes(&self) -> impl Iterator<Item = IpNet> {
        self.v4.iter().copied().map(IpNet::V4).chain(self.v6.iter().copied().map(IpNet::V6))
    }
}

/// Joins neighbours in a sorted list, those with the most in common first, until it is short enough.
fn join<N: Copy>(mut prefixes: Vec<N>, common: impl Fn(N, N) -> (N, u8), longest: u8) -> Vec<N> {
    for length in (0..longest).rev() {
        if prefixes.len() <= MOST_PREFIXES {
            break;
        }
        let mut joined: Vec<N> = Vec::with_capacity(prefixes.len());
        for next in prefixes {
            match joined.last_mut() {
                Some(last) if common(*last, next).1 >= length => *last = common(*last, next).0,
                _ => joined.push(next),
            }
        }
        prefixes = joined;
    }
    prefixes
}

/// The longest prefix that holds both, and its length.
fn common_v4(a: Ipv4Net, b: Ipv4Net) -> (Ipv4Net, u8) {
    let alike = (a.network().to_bits() ^ b.network().to_bits()).leading_zeros() as u8;
    let length = alike.min(a.prefix_len()).min(b.prefix_len());
    let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
    let network = Ipv4Addr::from_bits(a.network().to_bits() & mask);
    (Ipv4Net::new(network, length).unwrap_or(a), length)
}

fn common_v6(a: Ipv6Net, b: Ipv6Net) -> (Ipv6Net, u8) {
    let alike = (a.network().to_bits() ^ b.network().to_bits()).leading_zeros() as u8;
    let length = alike.min(a.prefix_len()).min(b.prefix_len());
    let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
    let network = Ipv6Addr::from_bits(a.network().to_bits() & mask);
    (Ipv6Net::new(network, length).unwrap_or(a), length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cover(ranges: &[&str]) -> Vec<String> {
        let ranges: Vec<AddressRange> = ranges.iter().map(|text| text.parse().unwrap()).collect();
        Cover::of(&ranges).prefixes().map(|prefix| prefix.to_string()).collect()
    }

    #[test]
    fn few_ranges_are_covered_exactly() {
        assert_eq!(cover(&[]), [""; 0]);
        assert_eq!(cover(&["10.0.0.200-10.0.0.209"]), ["10.0.0.200/29", "10.0.0.208/31"]);
        assert_eq!(cover(&["10.0.0.0/24", "10.0.0.7/32", "fd00::/64"]), ["10.0.0.0/24", "fd00::/64"]);
        assert_eq!(cover(&["0.0.0.0/0", "::/0"]).len(), 2);
    }

    #[test]
    fn many_are_joined_where_least_is_added() {
        let mut ranges: Vec<String> = (0..20).map(|n| format!("10.0.0.{}/32", 2 * n)).collect();
        ranges.push("192.168.7.1/32".into());
        let texts: Vec<&str> = ranges.iter().map(String::as_str).collect();
        let joined = cover(&texts);
        assert!(joined.len() <= MOST_PREFIXES, "{joined:?}");
        assert!(joined.contains(&"192.168.7.1/32".to_owned()), "the lonely one stays as it is: {joined:?}");
        assert!(
            joined.iter().all(|prefix| prefix.starts_with("10.0.0.") || prefix.starts_with("192.168.7.1/"))
        );
    }

    fn any_range() -> impl Strategy<Value = AddressRange> {
        let four = (any::<u32>(), 0u32..5000).prop_map(|(first, size)| {
            let last = first.saturating_add(size);
            AddressRange::new(Ipv4Addr::from_bits(first).into(), Ipv4Addr::from_bits(last).into()).unwrap()
        });
        let six = (any::<u128>(), any::<u64>()).prop_map(|(first, size)| {
            let last = first.saturating_add(u128::from(size));
            AddressRange::new(Ipv6Addr::from_bits(first).into(), Ipv6Addr::from_bits(last).into()).unwrap()
        });
        // Crowded ones are joined with what lies between them.
        let near = (any::<u16>(), 0u32..4).prop_map(|(offset, size)| {
            let first = u32::from(Ipv4Addr::new(10, 0, 0, 0)) + u32::from(offset % 2048);
            AddressRange::new(Ipv4Addr::from_bits(first).into(), Ipv4Addr::from_bits(first + size).into())
                .unwrap()
        });
        prop_oneof![four, six, near]
    }

    proptest! {
        #[test]
        fn every_address_passes_and_the_list_is_short(ranges in prop::collection::vec(any_range(), 0..60)) {
            let cover = Cover::of(&ranges);
            prop_assert!(cover.v4.len() <= MOST_PREFIXES && cover.v6.len() <= MOST_PREFIXES);
            for range in &ranges {
                prop_assert!(cover.contains(range.first()) && cover.contains(range.last()), "{range}");
            }
            prop_assert!(cover.v4.windows(2).all(|pair| pair[0].broadcast() < pair[1].network()));
            prop_assert!(cover.v6.windows(2).all(|pair| pair[0].broadcast() < pair[1].network()));
        }
    }
}
