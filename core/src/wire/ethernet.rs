//! Ethernet addresses and the header in front of every frame.

use std::fmt;
use std::str::FromStr;

use pnet_packet::ethernet::{EtherType, EthernetPacket, MutableEthernetPacket};

/// Destination, source and ethertype: 14 bytes.
pub(crate) const HEADER_LEN: usize = 14;

/// A 48-bit Ethernet address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// All ones: every station on the link.
    pub const BROADCAST: Mac = Mac([0xff; 6]);
    /// All zeroes: no station; what an ARP request carries for the address it asks about.
    pub const ZERO: Mac = Mac([0; 6]);

    /// Whether it names a group of stations, broadcast included (IEEE 802: lowest bit of the first octet).
    pub fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// Whether it can be the address of one station.
    pub fn is_station(self) -> bool {
        !self.is_group() && self != Mac::ZERO
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The text is not six pairs of hexadecimal digits with colons between them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an Ethernet address; write six pairs of hexadecimal digits, such as 02:00:00:00:00:01")]
pub struct MacError(String);

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let refuse = || MacError(text.to_owned());
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(refuse)?;
            if !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(refuse());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| refuse())?;
        }
        if parts.next().is_some() {
            return Err(refuse());
        }
        Ok(Mac(octets))
    }
}

/// Whether the frame is of IPv6 (0x86dd), and so for [`super::ndp`]; else it is for [`super::arp`].
pub fn is_ndp(frame: &[u8]) -> bool {
    frame.get(12..HEADER_LEN) == Some([0x86, 0xdd].as_slice())
}

/// Whether the frame is of the ethertype of [`super::hello`].
pub fn is_hello(frame: &[u8]) -> bool {
    frame.get(12..HEADER_LEN) == Some(super::hello::ETHERTYPE.to_be_bytes().as_slice())
}

/// An Ethernet II header, and what comes after it.
pub(crate) struct Ethernet<'a> {
    pub(crate) destination: Mac,
    pub(crate) source: Mac,
    pub(crate) ethertype: EtherType,
    pub(crate) payload: &'a [u8],
}

impl<'a> Ethernet<'a> {
    /// Reads the header; `None` when there are fewer than 14 bytes.
    pub(crate) fn parse(frame: &'a [u8]) -> Option<Self> {
        let view = EthernetPacket::new(frame)?;
        Some(Ethernet {
            destination: Mac(view.get_destination().octets()),
            source: Mac(view.get_source().octets()),
            ethertype: view.get_ethertype(),
            payload: frame.get(HEADER_LEN..)?,
        })
    }

    /// The frame's bytes: header, then payload.
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut frame = vec![0; HEADER_LEN + self.payload.len()];
        if let Some(mut view) = MutableEthernetPacket::new(&mut frame) {
            view.set_destination(self.destination.0.into());
            view.set_source(self.source.0.into());
            view.set_ethertype(self.ethertype);
            view.set_payload(self.payload);
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn groups_and_stations() {
        let cases = [
            ("ff:ff:ff:ff:ff:ff", true, false),
            ("01:00:5e:00:00:01", true, false),
            ("33:33:00:00:00:01", true, false),
            ("00:00:00:00:00:00", false, false),
            ("02:00:00:00:00:01", false, true),
            ("00:1b:21:00:00:01", false, true),
        ];
        for (text, group, station) in cases {
            let mac: Mac = text.parse().unwrap();
            assert_eq!((mac.is_group(), mac.is_station()), (group, station), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:01:02",
            "2:0:0:0:0:1",
            "+2:00:00:00:00:01",
            "zz:00:00:00:00:01",
        ] {
            assert_eq!(text.parse::<Mac>(), Err(MacError(text.into())), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(octets in any::<[u8; 6]>()) {
            prop_assert_eq!(Mac(octets).to_string().parse::<Mac>().unwrap(), Mac(octets));
        }
    }
}
