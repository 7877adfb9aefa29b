//! ARP and NDP frames, as they are on the wire.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use pnet_packet::Packet;
use pnet_packet::arp::{ArpHardwareTypes, ArpOperation, ArpOperations, ArpPacket, MutableArpPacket};
use pnet_packet::ethernet::{EtherType, EtherTypes, EthernetPacket, MutableEthernetPacket};
use pnet_packet::icmpv6::ndp::{
    MutableNeighborSolicitPacket, NdpOption, NdpOptionTypes, NeighborAdvertFlags, NeighborAdvertPacket,
    NeighborSolicitPacket,
};
use pnet_packet::icmpv6::{Icmpv6Code, Icmpv6Packet, Icmpv6Types, checksum};
use pnet_packet::ip::IpNextHeaderProtocols;
use pnet_packet::ipv6::{Ipv6Packet, MutableIpv6Packet};

use super::Mac;

/// All nodes of a link (RFC 4291 section 2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// An ARP or NDP frame that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// RFC 826.
    Arp(ArpFrame),
    /// A neighbour solicitation or advertisement of RFC 4861.
    Ndp(NdpFrame),
}

/// An ARP frame that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArpFrame {
    /// When, since the capture began.
    pub at: Duration,
    /// The source of the Ethernet frame.
    pub source: Mac,
    /// Its destination.
    pub destination: Mac,
    /// Whether it is a request; else it is a reply.
    pub request: bool,
    /// The sender that it names.
    pub sender: (Mac, Ipv4Addr),
    /// The target that it names.
    pub target: (Mac, Ipv4Addr),
}

/// A neighbour solicitation or advertisement that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NdpFrame {
    /// When, since the capture began.
    pub at: Duration,
    /// The source of the Ethernet frame.
    pub source: Mac,
    /// Its destination.
    pub destination: Mac,
    /// The source of the IPv6 packet.
    pub from: Ipv6Addr,
    /// Its destination.
    pub to: Ipv6Addr,
    /// Its hop limit, which must be 255.
    pub hop_limit: u8,
    /// Whether its checksum is right.
    pub sound: bool,
    /// The address in question.
    pub target: Ipv6Addr,
    /// What it says of it.
    pub message: NdpMessage,
}

/// What an NDP frame says of its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NdpMessage {
    /// A neighbour solicitation (RFC 4861 section 4.3).
    Solicitation {
        /// The source link-layer address option, if there is one.
        source_link: Option<Mac>,
    },
    /// A neighbour advertisement (RFC 4861 section 4.4).
    Advertisement {
        /// R: the sender is a router.
        router: bool,
        /// S: it answers a solicitation.
        solicited: bool,
        /// O: it replaces what is in a cache.
        overrides: bool,
        /// The target link-layer address option, if there is one.
        target_link: Option<Mac>,
    },
}

impl ArpFrame {
    /// Whether it announces `address`: sender and target are the same (RFC 5227 section 3).
    pub fn announces(&self, address: Ipv4Addr) -> bool {
        self.sender.1 == address && self.target.1 == address
    }
}

impl NdpFrame {
    /// The MAC address that it gives for its target, when it is an advertisement: that of the option, else the
    /// frame's.
    pub fn advertised(&self) -> Option<Mac> {
        match self.message {
            NdpMessage::Solicitation { .. } => None,
            NdpMessage::Advertisement { target_link, .. } => Some(target_link.unwrap_or(self.source)),
        }
    }
}

impl Frame {
    /// The frame in these bytes; `None` when they are neither ARP nor a neighbour solicitation or advertisement.
    pub fn parse(bytes: &[u8], at: Duration) -> Option<Frame> {
        let ethernet = EthernetPacket::new(bytes)?;
        match ethernet.get_ethertype() {
            EtherTypes::Arp => arp(&ethernet, at).map(Frame::Arp),
            EtherTypes::Ipv6 => ndp(&ethernet, at).map(Frame::Ndp),
            _ => None,
        }
    }

    /// The ARP frame that it is.
    pub fn arp(self) -> Option<ArpFrame> {
        match self {
            Frame::Arp(frame) => Some(frame),
            Frame::Ndp(_) => None,
        }
    }

    /// The NDP frame that it is.
    pub fn ndp(self) -> Option<NdpFrame> {
        match self {
            Frame::Arp(_) => None,
            Frame::Ndp(frame) => Some(frame),
        }
    }

    /// The address of which it speaks as its sender's own: the sender of an ARP frame, the target of an advertisement.
    pub fn claimed(&self) -> Option<(Mac, IpAddr)> {
        match self {
            Frame::Arp(frame) => Some((frame.sender.0, frame.sender.1.into())),
            Frame::Ndp(frame) => Some((frame.advertised()?, frame.target.into())),
        }
    }

    /// When it was seen, since the capture began.
    pub fn at(&self) -> Duration {
        match self {
            Frame::Arp(frame) => frame.at,
            Frame::Ndp(frame) => frame.at,
        }
    }
}

fn arp(ethernet: &EthernetPacket<'_>, at: Duration) -> Option<ArpFrame> {
    let arp = ArpPacket::new(ethernet.payload())?;
    Some(ArpFrame {
        at,
        source: ethernet.get_source(),
        destination: ethernet.get_destination(),
        request: arp.get_operation() == ArpOperations::Request,
        sender: (arp.get_sender_hw_addr(), arp.get_sender_proto_addr()),
        target: (arp.get_target_hw_addr(), arp.get_target_proto_addr()),
    })
}

fn ndp(ethernet: &EthernetPacket<'_>, at: Duration) -> Option<NdpFrame> {
    let ip = Ipv6Packet::new(ethernet.payload())?;
    if ip.get_next_header() != IpNextHeaderProtocols::Icmpv6 {
        return None;
    }
    // The payload length leaves the padding of short frames out.
    let bytes = ip.payload();
    let icmp = Icmpv6Packet::new(bytes)?;
    let (target, message) = match icmp.get_icmpv6_type() {
        Icmpv6Types::NeighborSolicit => {
            let target = NeighborSolicitPacket::new(bytes)?.get_target_addr();
            (target, NdpMessage::Solicitation { source_link: option(bytes, 1) })
        }
        Icmpv6Types::NeighborAdvert => {
            let packet = NeighborAdvertPacket::new(bytes)?;
            let flag = |bit| packet.get_flags() & bit != 0;
            let message = NdpMessage::Advertisement {
                router: flag(NeighborAdvertFlags::Router),
                solicited: flag(NeighborAdvertFlags::Solicited),
                overrides: flag(NeighborAdvertFlags::Override),
                target_link: option(bytes, 2),
            };
            (packet.get_target_addr(), message)
        }
        _ => return None,
    };
    Some(NdpFrame {
        at,
        source: ethernet.get_source(),
        destination: ethernet.get_destination(),
        from: ip.get_source(),
        to: ip.get_destination(),
        hop_limit: ip.get_hop_limit(),
        sound: icmp.get_checksum() == checksum(&icmp, &ip.get_source(), &ip.get_destination()),
        target,
        message,
    })
}

/// The link-layer address in the first option of this type (RFC 4861 section 4.6.1). Options follow 24 bytes of
/// message; each says its length in units of 8 bytes, and 0 is not allowed.
fn option(message: &[u8], kind: u8) -> Option<Mac> {
    let mut rest = message.get(24..)?;
    while let [found, length, data @ ..] = rest {
        if *length == 0 {
            return None;
        }
        if let (true, Some(&[a, b, c, d, e, f])) = (*found == kind, data.get(..6)) {
            return Some(Mac::new(a, b, c, d, e, f));
        }
        rest = rest.get(usize::from(*length) * 8..)?;
    }
    None
}

/// The bytes of "who has `target`, tell `own`"; a probe when `own` is 0.0.0.0 (RFC 5227 section 2.1.1).
pub fn arp_request(mac: Mac, own: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    arp_packet(1, Mac::broadcast(), (mac, own), (Mac::zero(), target))
}

/// The bytes of "`own` is at `mac`", to the one who asked.
pub fn arp_reply(mac: Mac, own: Ipv4Addr, to: (Mac, Ipv4Addr)) -> Vec<u8> {
    arp_packet(2, to.0, (mac, own), to)
}

/// An ARP packet for Ethernet and IPv4 (RFC 826), from the sender's MAC address.
fn arp_packet(operation: u16, destination: Mac, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut frame = ethernet(destination, sender.0, EtherTypes::Arp, ArpPacket::minimum_packet_size());
    if let Some(mut arp) = MutableArpPacket::new(&mut frame[EthernetPacket::minimum_packet_size()..]) {
        arp.set_hardware_type(ArpHardwareTypes::Ethernet);
        arp.set_protocol_type(EtherTypes::Ipv4);
        arp.set_hw_addr_len(6);
        arp.set_proto_addr_len(4);
        arp.set_operation(ArpOperation::new(operation));
        arp.set_sender_hw_addr(sender.0);
        arp.set_sender_proto_addr(sender.1);
        arp.set_target_hw_addr(target.0);
        arp.set_target_proto_addr(target.1);
    }
    frame
}

/// The bytes of a neighbour solicitation for `target` from `own`, to its solicited-node group; that of duplicate
/// address detection when `own` is `::`, which may have no source link-layer option (RFC 4862 section 5.4.2).
pub fn solicitation(mac: Mac, own: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let group = solicited_node(target);
    let [.., a, b, c, d] = group.octets();
    let options = if own.is_unspecified() { 0 } else { 8 };
    let length = NeighborSolicitPacket::minimum_packet_size() + options;
    let ip_at = EthernetPacket::minimum_packet_size();
    let icmp_at = ip_at + Ipv6Packet::minimum_packet_size();
    let mut frame =
        ethernet(Mac::new(0x33, 0x33, a, b, c, d), mac, EtherTypes::Ipv6, icmp_at - ip_at + length);
    if let Some(mut ip) = MutableIpv6Packet::new(&mut frame[ip_at..]) {
        ip.set_version(6);
        ip.set_payload_length(u16::try_from(length).unwrap_or_default());
        ip.set_next_header(IpNextHeaderProtocols::Icmpv6);
        ip.set_hop_limit(255);
        ip.set_source(own);
        ip.set_destination(group);
    }
    if let Some(mut message) = MutableNeighborSolicitPacket::new(&mut frame[icmp_at..]) {
        message.set_icmpv6_type(Icmpv6Types::NeighborSolicit);
        message.set_icmpv6_code(Icmpv6Code::new(0));
        message.set_target_addr(target);
        if options > 0 {
            let data = mac.octets().to_vec();
            message.set_options(&[NdpOption { option_type: NdpOptionTypes::SourceLLAddr, length: 1, data }]);
        }
    }
    let sum = Icmpv6Packet::new(&frame[icmp_at..]).map(|packet| checksum(&packet, &own, &group));
    if let Some(mut message) = MutableNeighborSolicitPacket::new(&mut frame[icmp_at..]) {
        message.set_checksum(sum.unwrap_or_default());
    }
    frame
}

/// The group that a host joins for `address`: ff02::1:ff and its last three bytes (RFC 4291 section 2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]))
}

fn ethernet(destination: Mac, source: Mac, kind: EtherType, payload: usize) -> Vec<u8> {
    let mut frame = vec![0; EthernetPacket::minimum_packet_size() + payload];
    if let Some(mut ethernet) = MutableEthernetPacket::new(&mut frame) {
        ethernet.set_destination(destination);
        ethernet.set_source(source);
        ethernet.set_ethertype(kind);
    }
    frame
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Frame::Arp(frame) => frame.fmt(f),
            Frame::Ndp(frame) => frame.fmt(f),
        }
    }
}

impl fmt::Display for ArpFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.request { "request" } else { "reply" };
        let ((sha, spa), (tha, tpa)) = (self.sender, self.target);
        let at = self.at.as_secs_f64();
        write!(
            f,
            "{at:.3} s {} > {} {word} sender {sha} {spa} target {tha} {tpa}",
            self.source, self.destination
        )
    }
}

impl fmt::Display for NdpFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.as_secs_f64();
        write!(f, "{at:.3} s {} > {} {} > {} ", self.source, self.destination, self.from, self.to)?;
        let link = |link: Option<Mac>| link.map_or_else(|| "no link".to_owned(), |mac| mac.to_string());
        match self.message {
            NdpMessage::Solicitation { source_link } => {
                write!(f, "solicitation for {} ({})", self.target, link(source_link))?;
            }
            NdpMessage::Advertisement { router, solicited, overrides, target_link } => {
                write!(f, "advertisement of {} ({})", self.target, link(target_link))?;
                for (set, name) in [(router, " R"), (solicited, " S"), (overrides, " O")] {
                    f.write_str(if set { name } else { "" })?;
                }
            }
        }
        let wrong = if self.sound { "" } else { ", wrong checksum" };
        write!(f, ", hop limit {}{wrong}", self.hop_limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = pnet_base::MacAddr(2, 0, 0, 0, 0, 0x0a);

    #[test]
    fn a_request_is_read_as_it_was_built() {
        let (own, target) = (Ipv4Addr::new(10, 10, 0, 101), Ipv4Addr::new(10, 10, 0, 120));
        let Some(Frame::Arp(frame)) = Frame::parse(&arp_request(MAC, own, target), Duration::ZERO) else {
            panic!("no ARP frame");
        };
        assert!(frame.request && frame.destination.is_broadcast() && !frame.announces(target));
        assert_eq!((frame.source, frame.sender, frame.target.1), (MAC, (MAC, own), target));
    }

    #[test]
    fn a_solicitation_has_the_bytes_of_the_rfc() {
        let (own, target): (Ipv6Addr, Ipv6Addr) =
            ("fe80::1".parse().unwrap(), "fd10::1:abcd".parse().unwrap());
        let bytes = solicitation(MAC, own, target);
        assert_eq!(&bytes[..14], [0x33, 0x33, 0xff, 1, 0xab, 0xcd, 2, 0, 0, 0, 0, 0x0a, 0x86, 0xdd]);
        assert_eq!(&bytes[14..22], [0x60, 0, 0, 0, 0, 32, 58, 255], "version, length, ICMPv6, hop limit");
        assert_eq!(bytes[38..54], solicited_node(target).octets());
        assert_eq!(&bytes[54..56], [135, 0]);
        assert_eq!(&bytes[78..], [1, 1, 2, 0, 0, 0, 0, 0x0a], "the source link-layer option");
        // By hand: the sum over the pseudo-header and the message, checksum included, is all ones.
        let words = bytes[22..].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let mut sum: u32 = words.sum::<u32>() + 32 + 58;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        assert_eq!(sum, 0xffff);

        let frame = Frame::parse(&bytes, Duration::ZERO).and_then(Frame::ndp).expect("a solicitation");
        assert_eq!((frame.from, frame.target, frame.sound), (own, target, true));
        assert_eq!(frame.message, NdpMessage::Solicitation { source_link: Some(MAC) });

        let probe = solicitation(MAC, Ipv6Addr::UNSPECIFIED, target);
        let frame = Frame::parse(&probe, Duration::ZERO).and_then(Frame::ndp).expect("a solicitation");
        assert_eq!((probe.len(), frame.sound), (78, true));
        assert_eq!(frame.message, NdpMessage::Solicitation { source_link: None });
    }

    #[test]
    fn an_advertisement_is_read_behind_other_options_and_padding() {
        let target: Ipv6Addr = "fd10::1000".parse().unwrap();
        let mut bytes = solicitation(MAC, target, target);
        // Flags R, S and O, and another option before the one that counts.
        bytes[54] = 136;
        bytes[58] = 0xe0;
        bytes[19] = 40;
        bytes.splice(78..78, [14, 1, 9, 9, 9, 9, 9, 9]);
        bytes[86] = 2;
        bytes.extend([7; 10]);
        let frame = Frame::parse(&bytes, Duration::ZERO).and_then(Frame::ndp).expect("an advertisement");
        assert_eq!(
            frame.message,
            NdpMessage::Advertisement {
                router: true,
                solicited: true,
                overrides: true,
                target_link: Some(MAC)
            }
        );
        assert!(!frame.sound, "its checksum is that of what it was made of");
        // An option without length would never end.
        bytes[79] = 0;
        let frame = Frame::parse(&bytes, Duration::ZERO).and_then(Frame::ndp).expect("an advertisement");
        assert_eq!(frame.advertised(), Some(MAC), "the frame's own");
        assert!(matches!(frame.message, NdpMessage::Advertisement { target_link: None, .. }));
    }

    #[test]
    fn whatever_the_bytes_are_nothing_panics() {
        let whole = solicitation(MAC, "fe80::1".parse().unwrap(), "fd10::1000".parse().unwrap());
        for length in 0..whole.len() {
            let _ = Frame::parse(&whole[..length], Duration::ZERO);
        }
        assert_eq!(Frame::parse(&[0; 60], Duration::ZERO), None);
    }
}
