//! Neighbour discovery for IPv6 over Ethernet: the solicitations and advertisements of RFC 4861, with duplicate
//! address detection of RFC 4862.
//!
//! ```text
//!  0                6                12     14
//! +----------------+----------------+------+------ Ethernet
//! | destination    | source         | 86dd |
//! +---+------------+--------+----+--+--+---+------ IPv6, 40 bytes
//! | 6 | class, flow label   | len| 58|255|
//! +---+---------------------+----+---+---+
//! | sender (16)             | recipient (16)
//! +------+------+-----------+--+-----------+------ ICMPv6, 24 bytes
//! | 135  | 0    | checksum     | reserved  |       solicitation
//! | 136  | 0    | checksum     | R S O     |       advertisement
//! +------+------+--------------+-----------+
//! | target (16)                            |
//! +------+------+--------------------------+------ options, each a multiple of 8 bytes
//! | 1, 2 | 1    | link-layer address (6)   |       of the source (1), of the target (2)
//! +------+------+--------------------------+------ padding, outside of `len`
//! ```

use std::fmt;
use std::net::Ipv6Addr;

use pnet_packet::ethernet::EtherTypes;
use pnet_packet::icmpv6::ndp::{
    Icmpv6Codes, MutableNeighborAdvertPacket, MutableNeighborSolicitPacket, NdpOptionType, NdpOptionTypes,
    NeighborAdvertFlags, NeighborAdvertPacket, NeighborSolicitPacket,
};
use pnet_packet::icmpv6::{Icmpv6Packet, Icmpv6Types, MutableIcmpv6Packet};
use pnet_packet::ip::IpNextHeaderProtocols;
use pnet_packet::ipv6::{Ipv6Packet, MutableIpv6Packet};
use pnet_packet::util::ipv6_checksum;

use super::Mac;
use super::ethernet::Ethernet;

/// The bytes of an IPv6 header.
const IPV6_LEN: usize = 40;
/// The bytes of a solicitation, or an advertisement, without options (RFC 4861 sections 4.3 and 4.4).
const NDP_LEN: usize = 24;
/// Options are counted in units of this many bytes (RFC 4861 section 4.6).
const OPTION_UNIT: usize = 8;
/// What no router can leave in a packet that it has passed on: the packet comes from this very link.
const HOP_LIMIT: u8 = 255;

/// All nodes of the link (RFC 4291 section 2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Who has the target address?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solicitation {
    /// Where the Ethernet frame goes.
    pub destination: Mac,
    /// Where the Ethernet frame comes from: one station's address, never a group or zero.
    pub source: Mac,
    /// The IPv6 source: `::` where the asker only wants to know whether the target is taken (RFC 4862
    /// section 5.4.2).
    pub sender: Ipv6Addr,
    /// The IPv6 destination: the target's group ([`solicited_node`]), or the target itself.
    pub recipient: Ipv6Addr,
    /// The address asked for.
    pub target: Ipv6Addr,
    /// The source link-layer address option: where the answer goes. Without it the answer goes to `source`.
    pub link_layer: Option<Mac>,
}

/// The target address is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// Where the Ethernet frame goes.
    pub destination: Mac,
    /// Where the Ethernet frame comes from: one station's address, never a group or zero.
    pub source: Mac,
    /// The IPv6 source.
    pub sender: Ipv6Addr,
    /// The IPv6 destination: the asker, or [`ALL_NODES`].
    pub recipient: Ipv6Addr,
    /// The address told of.
    pub target: Ipv6Addr,
    /// R: the sender is a router.
    pub router: bool,
    /// S: this answers a solicitation, and so confirms that the target can be reached.
    pub solicited: bool,
    /// O: replace the link-layer address that is known. Without it Linux keeps the one it has.
    pub overrides: bool,
    /// The target link-layer address option. Without it, nobody learns anything from an unsolicited one.
    pub link_layer: Option<Mac>,
}

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// ICMPv6 type 135.
    Solicitation(Solicitation),
    /// ICMPv6 type 136.
    Advertisement(Advertisement),
}

/// Why a frame is no neighbour discovery that anybody may act on (RFC 4861 sections 7.1.1 and 7.1.2, unless
/// another source is named).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Shorter than its headers, than the payload that the IPv6 header announces, or than 24 bytes of ICMPv6.
    TooShort,
    /// Tagged in the buffer (802.1Q 0x8100 or 802.1ad 0x88a8): it belongs to another link than this.
    Tagged,
    /// Of another ethertype.
    NotIpv6,
    /// The Ethernet source is a group, broadcast or zero: an answer to it would reach everybody or nobody.
    SourceMac,
    /// An IPv6 header of another version than 6.
    Version,
    /// What follows the IPv6 header is not ICMPv6. Extension headers count as that: nobody needs them here,
    /// and a fragment must be dropped (RFC 6980).
    NextHeader,
    /// A hop limit other than 255: it may come from far away.
    HopLimit,
    /// The sender is a group (RFC 4291 section 2.7).
    Sender,
    /// Neither solicitation nor advertisement.
    Type,
    /// An ICMPv6 code other than 0.
    Code,
    /// The checksum is wrong.
    Checksum,
    /// The target is not the address of one host.
    Target,
    /// An option of length 0, one that is longer than what is left, or a link-layer address that is not one of
    /// Ethernet (length 1, RFC 2464 section 6).
    OptionLength,
    /// The link-layer address of the option that counts is a group, broadcast or zero.
    LinkLayer,
    /// A solicitation from `::` to something else than the target's solicited-node group.
    ProbeRecipient,
    /// A solicitation from `::` that has a source link-layer address.
    ProbeLinkLayer,
    /// An advertisement to a group that says it was asked for.
    SolicitedByGroup,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::TooShort => "too_short",
            Refusal::Tagged => "vlan_tagged",
            Refusal::NotIpv6 => "not_ipv6",
            Refusal::SourceMac => "source_mac",
            Refusal::Version => "ip_version",
            Refusal::NextHeader => "next_header",
            Refusal::HopLimit => "hop_limit",
            Refusal::Sender => "sender",
            Refusal::Type => "icmpv6_type",
            Refusal::Code => "icmpv6_code",
            Refusal::Checksum => "checksum",
            Refusal::Target => "target",
            Refusal::OptionLength => "option_length",
            Refusal::LinkLayer => "link_layer_address",
            Refusal::ProbeRecipient => "probe_recipient",
            Refusal::ProbeLinkLayer => "probe_link_layer_address",
            Refusal::SolicitedByGroup => "solicited_by_group",
        })
    }
}

impl Message {
    /// Reads an Ethernet frame; bytes after the IPv6 payload are padding and ignored. Options that have no
    /// meaning in the message are ignored too (section 4.6), as is all but the first that has.
    ///
    /// # Errors
    /// The first [`Refusal`] that applies, from the outside in.
    pub fn parse(frame: &[u8]) -> Result<Message, Refusal> {
        let ethernet = Ethernet::parse(frame).ok_or(Refusal::TooShort)?;
        match ethernet.ethertype {
            EtherTypes::Ipv6 => {}
            EtherTypes::Vlan | EtherTypes::PBridge => return Err(Refusal::Tagged),
            _ => return Err(Refusal::NotIpv6),
        }
        if !ethernet.source.is_station() {
            return Err(Refusal::SourceMac);
        }
        let packet = Packet::parse(ethernet.payload)?;
        match packet.kind {
            Kind::Solicitation => solicitation(&ethernet, &packet).map(Message::Solicitation),
            Kind::Advertisement => advertisement(&ethernet, &packet).map(Message::Advertisement),
        }
    }
}

impl Solicitation {
    /// The frame's bytes.
    pub fn build(&self) -> Vec<u8> {
        let mut body = body(NdpOptionTypes::SourceLLAddr, self.link_layer);
        if let Some(mut view) = MutableNeighborSolicitPacket::new(&mut body) {
            view.set_icmpv6_type(Icmpv6Types::NeighborSolicit);
            view.set_target_addr(self.target);
        }
        frame(self.destination, self.source, self.sender, self.recipient, body)
    }

    /// The answer to this solicitation, from a station `mac` that has the address asked for (section 7.2.4).
    ///
    /// To the asker alone; but one that only probes has no address yet, so everybody hears that the address
    /// is taken, which ends the probing.
    pub fn answer(&self, mac: Mac) -> Advertisement {
        self.answer_as(mac, mac)
    }

    /// The answer to this solicitation by a stand-in: the target link-layer option says that the address asked for is
    /// at `payload`, the Ethernet frame comes from `source`, which sends it.
    ///
    /// The source is never borrowed: switches would learn the other station's address at this one's port, and
    /// send its traffic here.
    pub fn answer_as(&self, payload: Mac, source: Mac) -> Advertisement {
        let to_all = Advertisement { source, ..announcement(payload, self.target) };
        if self.sender.is_unspecified() {
            return to_all;
        }
        Advertisement {
            destination: self.link_layer.unwrap_or(self.source),
            recipient: self.sender,
            solicited: true,
            ..to_all
        }
    }
}

impl Advertisement {
    /// The frame's bytes.
    pub fn build(&self) -> Vec<u8> {
        let mut body = body(NdpOptionTypes::TargetLLAddr, self.link_layer);
        if let Some(mut view) = MutableNeighborAdvertPacket::new(&mut body) {
            view.set_icmpv6_type(Icmpv6Types::NeighborAdvert);
            let flags = [
                (self.router, NeighborAdvertFlags::Router),
                (self.solicited, NeighborAdvertFlags::Solicited),
                (self.overrides, NeighborAdvertFlags::Override),
            ];
            view.set_flags(flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, flag)| all | flag));
            view.set_target_addr(self.target);
        }
        frame(self.destination, self.source, self.sender, self.recipient, body)
    }

    /// Whose answer this is, as address and Ethernet address, and to which of the asker's addresses; `None` for what nobody asked
    /// for.
    ///
    /// An answer to a unicast solicitation may lack the option; it then comes from the frame's source (section 7.2.4).
    pub fn answered(&self) -> Option<(Ipv6Addr, Mac, Ipv6Addr)> {
        self.solicited.then_some((self.target, self.link_layer.unwrap_or(self.source), self.recipient))
    }
}

/// The frame that tells everybody on the link that `ip` is at `mac` (section 7.2.6): unsolicited, with Override.
pub fn announcement(mac: Mac, ip: Ipv6Addr) -> Advertisement {
    Advertisement {
        destination: group_mac(ALL_NODES),
        source: mac,
        sender: ip,
        recipient: ALL_NODES,
        target: ip,
        router: false,
        solicited: false,
        overrides: true,
        link_layer: Some(mac),
    }
}

/// The question "who has `target`, tell `sender`", from a station `mac` that has the address `sender` (section 7.2.2). An
/// answer proves that the kernel of the host that has `target` is alive.
pub fn request(mac: Mac, sender: Ipv6Addr, target: Ipv6Addr) -> Solicitation {
    let recipient = solicited_node(target);
    Solicitation {
        destination: group_mac(recipient),
        source: mac,
        sender,
        recipient,
        target,
        link_layer: Some(mac),
    }
}

/// The question whether anybody has `ip`, by a station that wants to use it (RFC 4862 section 5.4.2). Its sender is
/// `::`, so that nobody learns anything from it, and the answer goes to all nodes.
pub fn probe(mac: Mac, ip: Ipv6Addr) -> Solicitation {
    Solicitation { link_layer: None, ..request(mac, Ipv6Addr::UNSPECIFIED, ip) }
}

/// The question "who has `client`, tell `address`", by which the new owner of `address` teaches `client` its Ethernet
/// address `mac`, and is told so.
///
/// Linux takes the source link-layer option of a solicitation for its own address, whether it has an entry for the
/// sender or none, however young, and then answers by that very entry: an answer that arrives here proves that the
/// entry is right. To `to`, the client's own Ethernet address, where it is known, and else to the client's group.
pub fn confirmation(mac: Mac, address: Ipv6Addr, client: Ipv6Addr, to: Option<Mac>) -> Solicitation {
    let to_group = request(mac, address, client);
    match to {
        Some(destination) => Solicitation { destination, recipient: client, ..to_group },
        None => to_group,
    }
}

/// The group in which the holder of `ip` is asked for: ff02::1:ffXX:XXXX with the last 24 bits of `ip`
/// (RFC 4291 section 2.7.1).
pub fn solicited_node(ip: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = ip.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low)
}

/// The Ethernet address of an IPv6 group: 33:33 and the group's last 32 bits (RFC 2464 section 7).
pub fn group_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

/// Which of the two messages.
enum Kind {
    Solicitation,
    Advertisement,
}

/// An IPv6 packet that is neighbour discovery, with what both messages have in common.
struct Packet<'a> {
    kind: Kind,
    sender: Ipv6Addr,
    recipient: Ipv6Addr,
    /// From the type to the end of the options. Whoever reads the target sees that it is there.
    body: &'a [u8],
}

impl<'a> Packet<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let header = Ipv6Packet::new(bytes).ok_or(Refusal::TooShort)?;
        if header.get_version() != 6 {
            return Err(Refusal::Version);
        }
        if header.get_next_header() != IpNextHeaderProtocols::Icmpv6 {
            return Err(Refusal::NextHeader);
        }
        if header.get_hop_limit() != HOP_LIMIT {
            return Err(Refusal::HopLimit);
        }
        let (sender, recipient) = (header.get_source(), header.get_destination());
        if sender.is_multicast() {
            return Err(Refusal::Sender);
        }
        let end = IPV6_LEN + usize::from(header.get_payload_length());
        let body = bytes.get(IPV6_LEN..end).ok_or(Refusal::TooShort)?;
        let icmpv6 = Icmpv6Packet::new(body).ok_or(Refusal::TooShort)?;
        let kind = match icmpv6.get_icmpv6_type() {
            Icmpv6Types::NeighborSolicit => Kind::Solicitation,
            Icmpv6Types::NeighborAdvert => Kind::Advertisement,
            _ => return Err(Refusal::Type),
        };
        if icmpv6.get_icmpv6_code() != Icmpv6Codes::NoCode {
            return Err(Refusal::Code);
        }
        // Summed up with its checksum, a right packet gives all ones: nothing remains.
        if checksum(body, usize::MAX, sender, recipient) != 0 {
            return Err(Refusal::Checksum);
        }
        Ok(Packet { kind, sender, recipient, body })
    }

    /// The link-layer address in the first option of type `wanted`, once all options are seen to be whole.
    fn link_layer(&self, wanted: NdpOptionType) -> Result<Option<Mac>, Refusal> {
        let mut rest = self.body.get(NDP_LEN..).unwrap_or_default();
        let mut found = None;
        while !rest.is_empty() {
            let [kind, units, ..] = *rest else { return Err(Refusal::OptionLength) };
            let length = usize::from(units) * OPTION_UNIT;
            if length == 0 || length > rest.len() {
                return Err(Refusal::OptionLength);
            }
            let (option, after) = rest.split_at(length);
            rest = after;
            if NdpOptionType(kind) == wanted {
                let [_, _, mac @ ..] = option else { return Err(Refusal::OptionLength) };
                let mac = Mac(mac.try_into().map_err(|_| Refusal::OptionLength)?);
                found = found.or(Some(mac));
            }
        }
        match found {
            Some(mac) if !mac.is_station() => Err(Refusal::LinkLayer),
            found => Ok(found),
        }
    }
}

fn solicitation(ethernet: &Ethernet<'_>, packet: &Packet<'_>) -> Result<Solicitation, Refusal> {
    let view = NeighborSolicitPacket::new(packet.body).ok_or(Refusal::TooShort)?;
    let target = of_one_host(view.get_target_addr())?;
    let link_layer = packet.link_layer(NdpOptionTypes::SourceLLAddr)?;
    if packet.sender.is_unspecified() {
        if packet.recipient != solicited_node(target) {
            return Err(Refusal::ProbeRecipient);
        }
        if link_layer.is_some() {
            return Err(Refusal::ProbeLinkLayer);
        }
    }
    Ok(Solicitation {
        destination: ethernet.destination,
        source: ethernet.source,
        sender: packet.sender,
        recipient: packet.recipient,
        target,
        link_layer,
    })
}

fn advertisement(ethernet: &Ethernet<'_>, packet: &Packet<'_>) -> Result<Advertisement, Refusal> {
    let view = NeighborAdvertPacket::new(packet.body).ok_or(Refusal::TooShort)?;
    let target = of_one_host(view.get_target_addr())?;
    let has = |flag| view.get_flags() & flag != 0;
    let solicited = has(NeighborAdvertFlags::Solicited);
    if solicited && packet.recipient.is_multicast() {
        return Err(Refusal::SolicitedByGroup);
    }
    Ok(Advertisement {
        destination: ethernet.destination,
        source: ethernet.source,
        sender: packet.sender,
        recipient: packet.recipient,
        target,
        router: has(NeighborAdvertFlags::Router),
        solicited,
        overrides: has(NeighborAdvertFlags::Override),
        link_layer: packet.link_layer(NdpOptionTypes::TargetLLAddr)?,
    })
}

fn of_one_host(target: Ipv6Addr) -> Result<Ipv6Addr, Refusal> {
    if target.is_multicast() || target.is_unspecified() { Err(Refusal::Target) } else { Ok(target) }
}

/// Room for a message with its only option: all zeroes but the option.
fn body(option: NdpOptionType, link_layer: Option<Mac>) -> Vec<u8> {
    let mut body = vec![0; NDP_LEN];
    if let Some(mac) = link_layer {
        body.extend([option.0, 1]);
        body.extend(mac.0);
    }
    body
}

/// The whole frame around a message, whose checksum is set here.
fn frame(destination: Mac, source: Mac, sender: Ipv6Addr, recipient: Ipv6Addr, mut body: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&body, 1, sender, recipient);
    if let Some(mut view) = MutableIcmpv6Packet::new(&mut body) {
        view.set_checksum(sum);
    }
    let mut payload = vec![0; IPV6_LEN + body.len()];
    if let Some(mut view) = MutableIpv6Packet::new(&mut payload) {
        view.set_version(6);
        view.set_payload_length(
            u16::try_from(body.len()).expect("a message has at most one option of 8 bytes"),
        );
        view.set_next_header(IpNextHeaderProtocols::Icmpv6);
        view.set_hop_limit(HOP_LIMIT);
        view.set_source(sender);
        view.set_destination(recipient);
        view.set_payload(&body);
    }
    Ethernet { destination, source, ethertype: EtherTypes::Ipv6, payload: &payload }.build()
}

/// The checksum of `body` without the 16-bit word number `skipped` (RFC 4443 section 2.3).
fn checksum(body: &[u8], skipped: usize, sender: Ipv6Addr, recipient: Ipv6Addr) -> u16 {
    ipv6_checksum(body, skipped, &[], &sender, &recipient, IpNextHeaderProtocols::Icmpv6)
}

#[cfg(test)]
mod tests;
