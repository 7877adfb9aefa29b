//! Addresses, their families, and the ranges that a pool is written in.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

use crate::quote::Quoted;

/// An IP address family. IPv4 orders before IPv6, as in a dual-stack status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of `address`.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// An inclusive range of addresses of one family, `first <= last`.
///
/// Written as a CIDR (`10.0.0.0/24`, host bits are accepted and masked) or as `first-last`, blanks around
/// the dash allowed: the two forms of `IPAddressPool.spec.addresses`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

/// The addresses of IPv6 that stand for IPv4 addresses (RFC 4291 section 2.5.5.2): `::ffff:0:0/96`. They read as those
/// everywhere, so none is ever given out as it is.
pub const MAPPED: AddressRange = AddressRange {
    first: IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0)),
    last: IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0xffff, 0xffff)),
};

/// Why an entry is not an [`AddressRange`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Neither form.
    #[error("{} is neither a CIDR (10.0.0.0/24) nor a range (10.0.0.1-10.0.0.9)", Quoted(.0))]
    Syntax(String),
    /// The ends are of different families.
    #[error("range {} mixes IPv4 and IPv6", Quoted(.0))]
    Mixed(String),
    /// The first address is above the last.
    #[error("range {} starts after its end", Quoted(.0))]
    Backwards(String),
    /// A network of IPv4-mapped IPv6 addresses (RFC 4291 section 2.5.5.2).
    #[error("{} is IPv4 in the notation of IPv6: write it as IPv4", Quoted(.0))]
    Mapped(String),
}

impl AddressRange {
    /// The range from `first` to `last`, both included.
    ///
    /// # Errors
    /// [`RangeError::Mixed`] and [`RangeError::Backwards`].
    pub fn new(first: IpAddr, last: IpAddr) -> Result<Self, RangeError> {
        let written = || format!("{first}-{last}");
        if Family::of(first) != Family::of(last) {
            return Err(RangeError::Mixed(written()));
        }
        if first > last {
            return Err(RangeError::Backwards(written()));
        }
        Ok(AddressRange { first, last })
    }

    /// The lowest address.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// The highest address.
    pub fn last(&self) -> IpAddr {
        self.last
    }

    /// The family of all its addresses.
    pub fn family(&self) -> Family {
        Family::of(self.first)
    }

    /// Whether `address` lies in the range. An address of the other family never does.
    pub fn contains(&self, address: IpAddr) -> bool {
        Family::of(address) == self.family() && self.first <= address && address <= self.last
    }

    /// Whether the two ranges have an address in common.
    pub fn overlaps(&self, other: &AddressRange) -> bool {
        self.contains(other.first) || other.contains(self.first)
    }

    /// How many addresses it holds, at least 1; saturates for the whole of IPv6.
    pub fn size(&self) -> u128 {
        (to_bits(self.last) - to_bits(self.first)).saturating_add(1)
    }

    /// All its addresses, lowest first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let family = self.family();
        (to_bits(self.first)..=to_bits(self.last)).map(move |bits| from_bits(family, bits))
    }

    /// The addresses from `start` on, lowest first; all of them when `start` is below the range.
    pub fn addresses_from(&self, start: IpAddr) -> impl Iterator<Item = IpAddr> + use<> {
        let family = self.family();
        let low = if Family::of(start) == family { start.max(self.first) } else { self.first };
        (to_bits(low)..=to_bits(self.last)).map(move |bits| from_bits(family, bits))
    }
}

impl FromStr for AddressRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        if let Some(net) = cidr(text.trim()) {
            let range = AddressRange { first: net.network(), last: net.broadcast() };
            if MAPPED.contains(range.first) && MAPPED.contains(range.last) {
                return Err(RangeError::Mapped(text.to_owned()));
            }
            return Ok(range);
        }
        let ends = text.split_once('-').and_then(|(a, b)| Some((address(a)?, address(b)?)));
        let Some((first, last)) = ends else {
            return Err(RangeError::Syntax(text.to_owned()));
        };
        // Errors show the entry as its author wrote it, so that it can be searched for.
        AddressRange::new(first, last).map_err(|error| match error {
            RangeError::Mixed(_) => RangeError::Mixed(text.to_owned()),
            _ => RangeError::Backwards(text.to_owned()),
        })
    }
}

impl From<IpAddr> for AddressRange {
    fn from(address: IpAddr) -> Self {
        AddressRange { first: address, last: address }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// Parses an address as users write it: blanks around it are ignored, and an IPv4-mapped IPv6 address
/// (RFC 4291 section 2.5.5.2) is the IPv4 address that it stands for.
pub fn address(text: &str) -> Option<IpAddr> {
    text.trim().parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// Parses a CIDR as strictly as the API server does. ipnet's own parser takes `010.0.0.0/8`, which some
/// programs read as octal.
fn cidr(text: &str) -> Option<IpNet> {
    let (address, prefix) = text.split_once('/')?;
    if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    IpNet::new(address.parse().ok()?, prefix.parse().ok()?).ok()
}

fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn from_bits(family: Family, bits: u128) -> IpAddr {
    match family {
        // Only bits between two addresses of the family arrive here, so nothing is cut off.
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(bits as u32)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(bits)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(text: &str) -> AddressRange {
        text.parse().unwrap()
    }

    #[test]
    fn a_cidr_with_host_bits_is_the_whole_network() {
        assert_eq!(range("1.1.1.10/24"), range("1.1.1.0-1.1.1.255"));
        assert_eq!(range("fd00::7/126"), range("fd00::4 - fd00::7"));
        assert_eq!(range("10.0.0.9/32").size(), 1);
    }

    #[test]
    fn what_is_no_range_is_refused_with_the_entry_as_written() {
        for text in [
            "",
            "10.0.0.1",
            "10.0.0.300-10.0.0.1",
            "10.0.0.0/33",
            "a-b",
            "1.1.1.1-",
            "010.0.0.0/8",
            "10.0.0.0/+8",
            "10.0.0.0/",
        ] {
            assert_eq!(text.parse::<AddressRange>(), Err(RangeError::Syntax(text.into())), "{text}");
        }
        assert_eq!(
            "10.0.0.1 - fd00::1".parse::<AddressRange>(),
            Err(RangeError::Mixed("10.0.0.1 - fd00::1".into()))
        );
        assert_eq!(
            "10.0.0.9-10.0.0.1".parse::<AddressRange>(),
            Err(RangeError::Backwards("10.0.0.9-10.0.0.1".into()))
        );
    }

    #[test]
    fn the_families_never_mix() {
        assert!(!range("0.0.0.0/0").contains("::1".parse().unwrap()));
        assert!(!range("::/0").overlaps(&range("0.0.0.0/0")));
        assert_eq!(range("::/0").size(), u128::MAX);
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_address() {
        assert_eq!(address(" ::ffff:10.0.0.1 "), Some("10.0.0.1".parse().unwrap()));
        assert_eq!(address("fe80::1%eth0"), None);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,60}") {
            let _ = text.parse::<AddressRange>();
        }

        #[test]
        fn what_is_written_is_read_back(a in any::<u32>(), b in any::<u32>()) {
            let (low, high) = (Ipv4Addr::from_bits(a.min(b)), Ipv4Addr::from_bits(a.max(b)));
            let made = AddressRange::new(low.into(), high.into()).unwrap();
            prop_assert_eq!(made.to_string().parse::<AddressRange>().unwrap(), made);
        }

        #[test]
        fn overlap_is_a_common_address(a in 0u32..40, b in 0u32..40, c in 0u32..40, d in 0u32..40) {
            let make = |x: u32, y: u32| {
                AddressRange::new(Ipv4Addr::from_bits(x.min(y)).into(), Ipv4Addr::from_bits(x.max(y)).into()).unwrap()
            };
            let (left, right) = (make(a, b), make(c, d));
            let common = left.addresses().any(|address| right.contains(address));
            prop_assert_eq!(left.overlaps(&right), common);
            prop_assert_eq!(left.addresses().count() as u128, left.size());
        }
    }
}
