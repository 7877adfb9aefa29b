//! What the generator sends, and what it takes for an answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pnet_packet::ethernet::{EtherType, EtherTypes, EthernetPacket, MutableEthernetPacket};
use pnet_packet::ip::IpNextHeaderProtocols;
use pnet_packet::ipv4::{self, Ipv4Packet, MutableIpv4Packet};
use pnet_packet::udp::MutableUdpPacket;

use crate::host::{self, Mac, frame};

/// So many askers take turns, so that an answer says which of the last questions it answers.
pub(super) const ASKERS: u8 = 64;

/// The shortest frame, without its check sequence (IEEE 802.3).
const SHORTEST: usize = 60;

/// An ethertype that nobody serves: the second one for local experiments (IEEE 802).
const UNKNOWN: EtherType = EtherType(0x88b6);

/// A port that nobody serves (RFC 863, discard).
const DISCARD: u16 = 9;

/// How an address is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    /// RFC 826, for IPv4.
    Arp,
    /// RFC 4861, for IPv6.
    Ndp,
}

impl Protocol {
    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Protocol::Arp => "ARP",
            Protocol::Ndp => "NDP",
        }
    }

    /// The ethertype of its frames.
    pub(super) fn ethertype(self) -> u16 {
        match self {
            Protocol::Arp => EtherTypes::Arp.0,
            Protocol::Ndp => EtherTypes::Ipv6.0,
        }
    }

    /// The address of the asker with this number, on the lab's LAN; none of its hosts has it.
    pub(super) fn asker(self, number: usize) -> IpAddr {
        let number = (number % usize::from(ASKERS)) as u8;
        match self {
            Protocol::Arp => Ipv4Addr::new(10, 10, 0, 128 + number).into(),
            Protocol::Ndp => Ipv6Addr::new(0xfd10, 0, 0, 0, 0, 0, 1, u16::from(number)).into(),
        }
    }

    /// The number of the asker to whom this frame is an answer; `None` if it is none.
    ///
    /// Only what is needed is read: this runs for each frame of a flood.
    pub(super) fn answered(self, frame: &[u8], mac: Mac) -> Option<usize> {
        if frame.get(..6)? != mac.octets() {
            return None;
        }
        let number = match self {
            // Operation 2 is a reply; the target's address is the asker's.
            Protocol::Arp => (frame.get(12..14)? == [8, 6] && frame.get(20..22)? == [0, 2])
                .then(|| frame.get(38..42))??
                .strip_prefix(&[10, 10, 0])?
                .first()?
                .checked_sub(128)?,
            // ICMPv6 type 136 is an advertisement; the packet goes to the asker.
            Protocol::Ndp => {
                let right = frame.get(12..14)? == [0x86, 0xdd] && frame.get(54)? == &136;
                *right.then(|| frame.get(38..54))??.last()?
            }
        };
        (number < ASKERS).then_some(usize::from(number))
    }
}

/// The frame in which the asker with this number asks for `address`: broadcast, or to its solicited-node group with
/// the source link-layer option.
pub(super) fn question(mac: Mac, number: usize, address: IpAddr) -> std::io::Result<Vec<u8>> {
    let protocol = if address.is_ipv4() { Protocol::Arp } else { Protocol::Ndp };
    host::question(mac, protocol.asker(number), address)
}

/// What a flood is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flood {
    /// ARP requests for addresses outside of all pools.
    Arp,
    /// Those, an ethertype that nobody serves, and IPv4 broadcasts, in turn.
    Mix,
}

impl Flood {
    /// What it is, for a figure.
    pub(super) fn name(self) -> &'static str {
        match self {
            Flood::Arp => "foreign ARP",
            Flood::Mix => "foreign ARP, unknown and IPv4 broadcasts",
        }
    }

    /// How its figures in the suite begin.
    pub(super) fn figure(self) -> &'static str {
        match self {
            Flood::Arp => "flood-arp",
            Flood::Mix => "flood-mix",
        }
    }

    /// Its frames, to be sent again and again.
    pub(super) fn frames(self, mac: Mac) -> Vec<Vec<u8>> {
        let own = Ipv4Addr::new(10, 10, 0, 101);
        let foreign = |n: u8| frame::arp_request(mac, own, Ipv4Addr::new(10, 200, 0, n));
        match self {
            Flood::Arp => (0..=255).map(foreign).collect(),
            Flood::Mix => (0..=255).flat_map(|n| [foreign(n), unknown(mac), datagram(mac, own)]).collect(),
        }
    }
}

/// A broadcast of an ethertype that nobody serves.
fn unknown(mac: Mac) -> Vec<u8> {
    broadcast(mac, UNKNOWN, SHORTEST)
}

/// A UDP datagram to 255.255.255.255, to a port that nobody serves.
fn datagram(mac: Mac, own: Ipv4Addr) -> Vec<u8> {
    let mut frame = broadcast(mac, EtherTypes::Ipv4, SHORTEST);
    let (at, header) = (EthernetPacket::minimum_packet_size(), Ipv4Packet::minimum_packet_size());
    let length = (SHORTEST - at) as u16;
    if let Some(mut ip) = MutableIpv4Packet::new(&mut frame[at..]) {
        ip.set_version(4);
        ip.set_header_length((header / 4) as u8);
        ip.set_total_length(length);
        ip.set_ttl(1);
        ip.set_next_level_protocol(IpNextHeaderProtocols::Udp);
        ip.set_source(own);
        ip.set_destination(Ipv4Addr::BROADCAST);
        ip.set_checksum(ipv4::checksum(&ip.to_immutable()));
    }
    // Without a checksum, as RFC 768 allows.
    if let Some(mut udp) = MutableUdpPacket::new(&mut frame[at + header..]) {
        udp.set_source(DISCARD);
        udp.set_destination(DISCARD);
        udp.set_length(length - header as u16);
    }
    frame
}

fn broadcast(mac: Mac, ethertype: EtherType, length: usize) -> Vec<u8> {
    let mut frame = vec![0; length];
    if let Some(mut ethernet) = MutableEthernetPacket::new(&mut frame) {
        ethernet.set_destination(Mac::broadcast());
        ethernet.set_source(mac);
        ethernet.set_ethertype(ethertype);
    }
    frame
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pnet_packet::Packet;
    use pnet_packet::udp::UdpPacket;

    use crate::host::Frame;

    use super::*;

    const CLIENT: Mac = pnet_base::MacAddr(2, 0, 0, 0, 0, 1);
    const OWNER: Mac = pnet_base::MacAddr(2, 0, 0, 0, 0, 9);

    /// A reply by the layout of RFC 826: to the asker, in a frame to `to`.
    fn reply(to: Mac, operation: u8, asker: [u8; 4]) -> Vec<u8> {
        let mut frame = to.octets().to_vec();
        frame.extend(OWNER.octets());
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
        frame.extend(OWNER.octets());
        frame.extend([10, 64, 0, 1]);
        frame.extend(to.octets());
        frame.extend(asker);
        frame
    }

    #[test]
    fn an_arp_reply_is_an_answer_to_the_asker_it_names_and_nothing_else_is() {
        let answered = |frame: &[u8]| Protocol::Arp.answered(frame, CLIENT);
        assert_eq!(answered(&reply(CLIENT, 2, [10, 10, 0, 128])), Some(0));
        assert_eq!(answered(&reply(CLIENT, 2, [10, 10, 0, 191])), Some(63));
        assert_eq!(answered(&reply(CLIENT, 2, [10, 10, 0, 192])), None, "no asker");
        assert_eq!(answered(&reply(CLIENT, 2, [10, 10, 0, 101])), None, "the host itself");
        assert_eq!(answered(&reply(CLIENT, 2, [10, 11, 0, 128])), None);
        assert_eq!(answered(&reply(CLIENT, 1, [10, 10, 0, 128])), None, "a request");
        assert_eq!(answered(&reply(Mac::broadcast(), 2, [10, 10, 0, 128])), None, "to all");
        for length in 0..42 {
            assert_eq!(answered(&reply(CLIENT, 2, [10, 10, 0, 128])[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn an_advertisement_is_an_answer_to_the_asker_to_whom_it_goes() {
        let mut frame = question(OWNER, 0, "fd64::1".parse().unwrap()).unwrap();
        frame[..6].copy_from_slice(&CLIENT.octets());
        let IpAddr::V6(asker) = Protocol::Ndp.asker(7) else { panic!("NDP asks from IPv6") };
        frame[38..54].copy_from_slice(&asker.octets());
        assert_eq!(Protocol::Ndp.answered(&frame, CLIENT), None, "a solicitation");
        frame[54] = 136;
        assert_eq!(Protocol::Ndp.answered(&frame, CLIENT), Some(7));
        assert_eq!(Protocol::Ndp.answered(&frame, OWNER), None, "to another");
        assert_eq!(Protocol::Ndp.answered(&frame[..54], CLIENT), None);
    }

    #[test]
    fn askers_take_turns_and_ask_as_hosts_do() {
        for (protocol, address) in [(Protocol::Arp, "10.64.0.1"), (Protocol::Ndp, "fd64::1")] {
            let address: IpAddr = address.parse().unwrap();
            let asked = |number| {
                let bytes = question(CLIENT, number, address).unwrap();
                Frame::parse(&bytes, Duration::ZERO).unwrap()
            };
            assert_eq!(asked(1), asked(1 + usize::from(ASKERS)));
            assert_ne!(asked(1), asked(2));
            match asked(5) {
                Frame::Arp(frame) => {
                    assert!(frame.request && frame.destination == Mac::broadcast());
                    assert_eq!(
                        (IpAddr::from(frame.sender.1), IpAddr::from(frame.target.1)),
                        (protocol.asker(5), address)
                    );
                }
                Frame::Ndp(frame) => {
                    assert!(frame.sound && frame.hop_limit == 255);
                    assert_eq!(frame.destination, Mac::new(0x33, 0x33, 0xff, 0, 0, 1));
                    assert_eq!(
                        (IpAddr::from(frame.from), IpAddr::from(frame.target)),
                        (protocol.asker(5), address)
                    );
                    let source_link = Some(CLIENT);
                    assert_eq!(frame.message, host::NdpMessage::Solicitation { source_link });
                }
            }
        }
    }

    #[test]
    fn a_flood_is_for_nobody() {
        let frames = Flood::Mix.frames(CLIENT);
        assert_eq!(frames.len(), 3 * 256);
        for frame in &frames {
            let ethernet = EthernetPacket::new(frame).unwrap();
            assert_eq!((ethernet.get_destination(), ethernet.get_source()), (Mac::broadcast(), CLIENT));
        }
        let Some(Frame::Arp(arp)) = Frame::parse(&frames[3], Duration::ZERO) else {
            panic!("{:?}", frames[3])
        };
        assert_eq!(arp.target.1, Ipv4Addr::new(10, 200, 0, 1));
        assert_eq!(EthernetPacket::new(&frames[1]).unwrap().get_ethertype(), UNKNOWN);
        let ip = Ipv4Packet::new(&frames[2][14..]).unwrap();
        assert_eq!(ip.get_checksum(), ipv4::checksum(&ip));
        let udp = UdpPacket::new(ip.payload()).unwrap();
        assert_eq!(usize::from(udp.get_length()), ip.payload().len());
        assert!(Flood::Arp.frames(CLIENT).iter().all(|frame| Frame::parse(frame, Duration::ZERO).is_some()));
    }
}
