//! What a frame says of who uses an address.

use std::net::IpAddr;

use crate::wire::Mac;
use crate::wire::arp::{Operation, Packet};
use crate::wire::ndp::Message;

/// How a host shows that it uses an address, or would like to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It sends from the address: an ARP request or reply, a neighbour solicitation or an advertisement to one host.
    Sender,
    /// It tells everybody: gratuitous ARP, an unsolicited neighbour advertisement.
    Announcement,
    /// It asks whether anybody has the address, to use it: an ARP probe (RFC 5227 section 2.1.1), duplicate address
    /// detection (RFC 4862 section 5.4.2).
    Probe,
}

/// A host and an address that it uses, or wants to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The address.
    pub address: IpAddr,
    /// The Ethernet address that whoever hears the frame learns for it; for a stand-in that is the absent node's.
    pub mac: Mac,
    /// How it shows.
    pub kind: Kind,
}

impl Sighting {
    /// What an ARP packet says: of its sender address, or in a probe of its target. `None` where it speaks of no address.
    /// The target of an ordinary request shows nothing: a client asks.
    pub fn of_arp(packet: &Packet) -> Option<Sighting> {
        let (sender, target) = (packet.sender, packet.target.ip);
        let (address, kind) = match packet.operation {
            Operation::Request if sender.ip.is_unspecified() => (target, Kind::Probe),
            _ if sender.ip == target => (sender.ip, Kind::Announcement),
            _ => (sender.ip, Kind::Sender),
        };
        (!address.is_unspecified()).then_some(Sighting { address: address.into(), mac: sender.mac, kind })
    }

    /// What neighbour discovery says: an advertisement of its target; a solicitation of its source, or where that is
    /// `::` of its target.
    pub fn of_ndp(message: &Message) -> Sighting {
        let (address, link_layer, source, kind) = match message {
            Message::Advertisement(told) => {
                let to_all = told.recipient.is_multicast();
                let kind = if to_all { Kind::Announcement } else { Kind::Sender };
                (told.target, told.link_layer, told.source, kind)
            }
            Message::Solicitation(asked) if asked.sender.is_unspecified() => {
                (asked.target, None, asked.source, Kind::Probe)
            }
            Message::Solicitation(asked) => (asked.sender, asked.link_layer, asked.source, Kind::Sender),
        };
        Sighting { address: address.into(), mac: link_layer.unwrap_or(source), kind }
    }
}
