//! ARP for IPv4 over Ethernet: RFC 826, with the announcements of RFC 5227 and the link-local rule of
//! RFC 3927.
//!
//! ```text
//!  0                6                12     14
//! +----------------+----------------+------+------ Ethernet
//! | destination    | source         | 0806 |
//! +------+------+--+--+------+------+------+------ ARP, 28 bytes
//! | hw 1 | 0800 | 6|4 | op   |
//! +------+------+--+--+------+------------+
//! | sender MAC             | sender IP     |
//! +------------------------+---------------+
//! | target MAC             | target IP     |
//! +------------------------+---------------+------ padding up to 60 bytes, or more
//! ```

use std::fmt;
use std::net::Ipv4Addr;

use pnet_packet::arp::{ArpHardwareTypes, ArpOperations, ArpPacket, MutableArpPacket};
use pnet_packet::ethernet::EtherTypes;

use super::Mac;
use super::ethernet::Ethernet;

/// The bytes of an ARP packet for IPv4 over Ethernet, without the Ethernet header.
const ARP_LEN: usize = 28;
const MAC_LEN: u8 = 6;
const IPV4_LEN: u8 = 4;

/// Whether a packet asks or tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address? (1)
    Request,
    /// The sender has the sender address. (2)
    Reply,
}

/// One of the two ends that an ARP packet speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its IPv4 address; 0.0.0.0 in the sender of a probe (RFC 5227 section 2.1.1).
    pub ip: Ipv4Addr,
}

/// A whole ARP frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where the Ethernet frame goes.
    pub destination: Mac,
    /// Where the Ethernet frame comes from. That can differ from `sender.mac`: a proxy, or a stand-in.
    pub source: Mac,
    /// Request or reply.
    pub operation: Operation,
    /// Who speaks: one station's address, never a group or zero.
    pub sender: Host,
    /// Who is spoken of.
    pub target: Host,
}

/// Why a frame is no ARP packet that anybody may act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Shorter than the Ethernet header, or than the ARP packet that it announces.
    TooShort,
    /// Tagged in the buffer (802.1Q 0x8100 or 802.1ad 0x88a8): it belongs to another link than this.
    Tagged,
    /// Of another ethertype.
    NotArp,
    /// Not Ethernet (hardware type 1).
    Hardware,
    /// Not IPv4 (protocol 0x0800).
    Protocol,
    /// Address lengths other than 6 and 4.
    Lengths,
    /// Neither request nor reply.
    Operation,
    /// The sender's Ethernet address is a group, broadcast or zero: an answer to it would reach everybody
    /// or nobody.
    SenderMac,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::TooShort => "too_short",
            Refusal::Tagged => "vlan_tagged",
            Refusal::NotArp => "not_arp",
            Refusal::Hardware => "hardware_type",
            Refusal::Protocol => "protocol_type",
            Refusal::Lengths => "address_lengths",
            Refusal::Operation => "operation",
            Refusal::SenderMac => "sender_mac",
        })
    }
}

impl Packet {
    /// Reads an Ethernet frame; bytes after the ARP packet are padding and ignored.
    ///
    /// # Errors
    /// The first [`Refusal`] that applies, from the outside in.
    pub fn parse(frame: &[u8]) -> Result<Packet, Refusal> {
        let ethernet = Ethernet::parse(frame).ok_or(Refusal::TooShort)?;
        match ethernet.ethertype {
            EtherTypes::Arp => {}
            EtherTypes::Vlan | EtherTypes::PBridge => return Err(Refusal::Tagged),
            _ => return Err(Refusal::NotArp),
        }
        let view = ArpPacket::new(ethernet.payload).ok_or(Refusal::TooShort)?;
        if view.get_hardware_type() != ArpHardwareTypes::Ethernet {
            return Err(Refusal::Hardware);
        }
        if view.get_protocol_type() != EtherTypes::Ipv4 {
            return Err(Refusal::Protocol);
        }
        if (view.get_hw_addr_len(), view.get_proto_addr_len()) != (MAC_LEN, IPV4_LEN) {
            return Err(Refusal::Lengths);
        }
        let operation = match view.get_operation() {
            ArpOperations::Request => Operation::Request,
            ArpOperations::Reply => Operation::Reply,
            _ => return Err(Refusal::Operation),
        };
        let sender = Host { mac: Mac(view.get_sender_hw_addr().octets()), ip: view.get_sender_proto_addr() };
        if !sender.mac.is_station() {
            return Err(Refusal::SenderMac);
        }
        Ok(Packet {
            destination: ethernet.destination,
            source: ethernet.source,
            operation,
            sender,
            target: Host { mac: Mac(view.get_target_hw_addr().octets()), ip: view.get_target_proto_addr() },
        })
    }

    /// The frame's bytes: 42, without padding, which the driver adds.
    pub fn build(&self) -> Vec<u8> {
        let mut payload = [0; ARP_LEN];
        if let Some(mut view) = MutableArpPacket::new(&mut payload) {
            view.set_hardware_type(ArpHardwareTypes::Ethernet);
            view.set_protocol_type(EtherTypes::Ipv4);
            view.set_hw_addr_len(MAC_LEN);
            view.set_proto_addr_len(IPV4_LEN);
            view.set_operation(match self.operation {
                Operation::Request => ArpOperations::Request,
                Operation::Reply => ArpOperations::Reply,
            });
            view.set_sender_hw_addr(self.sender.mac.0.into());
            view.set_sender_proto_addr(self.sender.ip);
            view.set_target_hw_addr(self.target.mac.0.into());
            view.set_target_proto_addr(self.target.ip);
        }
        Ethernet {
            destination: self.destination,
            source: self.source,
            ethertype: EtherTypes::Arp,
            payload: &payload,
        }
        .build()
    }

    /// The answer to this request, from a station `mac` that has the address asked for: unicast to the
    /// asker, also when it only probes (sender 0.0.0.0), because that is how another host's conflict
    /// detection learns that the address is taken.
    ///
    /// An address in 169.254/16 is answered by broadcast (RFC 3927 section 2.5).
    pub fn answer(&self, mac: Mac) -> Packet {
        self.answer_as(mac, mac)
    }

    /// The answer to this request by a stand-in: the packet says that the address asked for is at `payload`, the
    /// Ethernet frame comes from `source`, which sends it.
    ///
    /// The source is never borrowed: switches would learn the other station's address at this one's port, and
    /// send its traffic here.
    pub fn answer_as(&self, payload: Mac, source: Mac) -> Packet {
        let sender = Host { mac: payload, ip: self.target.ip };
        Packet {
            destination: destination_for(sender.ip, self.sender.mac),
            source,
            operation: Operation::Reply,
            sender,
            target: self.sender,
        }
    }

    /// Whose answer this is, and to which of the asker's addresses; `None` for a request, for an announcement in the
    /// form of a reply, and for an answer to a probe, which tells of no address of the asker.
    ///
    /// Linux sends it from the address that was asked for, to the address that asked.
    pub fn answered(&self) -> Option<(Host, Ipv4Addr)> {
        let (sender, asker) = (self.sender, self.target.ip);
        let tells = self.operation == Operation::Reply && sender.ip != asker;
        (tells && !sender.ip.is_unspecified() && !asker.is_unspecified()).then_some((sender, asker))
    }
}

/// The two frames that tell everybody on the link that `ip` is at `mac`, in the order to send them.
///
/// The request form is RFC 5227's announcement (section 2.3: sender and target address alike, target MAC
/// zero as in a probe). Linux takes it for gratuitous whatever its target MAC is; some devices look at
/// replies only, hence the second form. In it the target MAC equals the sender's: with any other, Linux
/// takes it for an ordinary reply and ignores it while its entry is younger than a second (`locktime`).
pub fn announcement(mac: Mac, ip: Ipv4Addr) -> [Packet; 2] {
    let sender = Host { mac, ip };
    let request = Packet {
        destination: Mac::BROADCAST,
        source: mac,
        operation: Operation::Request,
        sender,
        target: Host { mac: Mac::ZERO, ip },
    };
    [request, Packet { operation: Operation::Reply, target: sender, ..request }]
}

/// The question "who has `target`, tell `sender`", from a station `mac` that has the address `sender`. An answer proves
/// that the kernel of the host that has `target` is alive.
pub fn request(mac: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Packet {
    Packet {
        destination: Mac::BROADCAST,
        source: mac,
        operation: Operation::Request,
        sender: Host { mac, ip: sender },
        target: Host { mac: Mac::ZERO, ip: target },
    }
}

/// The question whether anybody has `ip`, by a station that wants to use it (RFC 5227 section 2.1.1). Its sender
/// address is 0.0.0.0, so that nobody learns anything from it.
pub fn probe(mac: Mac, ip: Ipv4Addr) -> Packet {
    request(mac, Ipv4Addr::UNSPECIFIED, ip)
}

/// The question "who has `client`, tell `address`", by which the new owner of `address` teaches `client` its Ethernet
/// address `mac`, and is told so.
///
/// Linux takes what the sender of a request for its own address says, whether it has an entry for that sender or
/// none, however young; and answers. To `to`, the client's own Ethernet address, where it is known, and else to all; from
/// a link-local address always to all (RFC 3927 section 2.5).
pub fn confirmation(mac: Mac, address: Ipv4Addr, client: Ipv4Addr, to: Option<Mac>) -> Packet {
    let destination = to.map_or(Mac::BROADCAST, |client| destination_for(address, client));
    Packet { destination, ..request(mac, address, client) }
}

/// Where a frame with the sender address `ip` goes when `asker` is to get it.
fn destination_for(ip: Ipv4Addr, asker: Mac) -> Mac {
    if ip.is_link_local() { Mac::BROADCAST } else { asker }
}

#[cfg(test)]
mod tests;
