//! Which frames go out, and when, so that the network sends an address to this node.
//!
//! ```text
//!  desire ────────┐                       ┌─► Effect::Send         a frame for one link
//!  handle_links ──┼──► Announcer ─────────┼─► Effect::Join, Leave  a multicast group on one link
//!                 │    (one for a node)   └─► Effect::Announcing   where an address is now answered for
//!                 │      next_effect(now), next_deadline()
//!  answer ────────┴──► Answer, or Ignored (why)
//! ```
//!
//! Which addresses are answered for on which link is [`crate::ownership`]'s to say.
//!
//! The caller says what happened, then takes effects until there are none, then waits for the next input
//! or for [`Announcer::next_deadline`]. Nothing here knows the time but by `now`: the time since any fixed
//! moment, never going back.
//!
//! What is sent is one of three things. An *answer*, to an ARP request or a neighbour solicitation for an address
//! that is desired on that very link; it is returned at once and never waits in a queue. An *announcement*
//! (gratuitous ARP, unsolicited neighbour advertisement), when an address newly becomes ours on a link, when a
//! link comes up and when its Ethernet address changes; not on any other news. And nothing at all, from the call
//! on that takes an address away. For a node whose speaker is away, questions are answered with that node's Ethernet
//! address, from our own, and nothing is announced: nothing moves.
//!
//! Solicitations for an IPv6 address come to its solicited-node group, so that group is joined first; addresses that
//! share a group are counted. The node that is next in order for an address joins its group while another one has it.

mod cover;
mod schedule;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;

use crate::address_map::AddressMap;
use crate::wire::arp::{self, Operation};
use crate::wire::{Mac, is_ndp};
use crate::wire::{hello, ndp};

pub use cover::{Cover, MOST_PREFIXES};
use schedule::Schedule;
pub use schedule::{ARP_ROUNDS, NDP_ROUNDS, SPACING};

/// The kernel's number of a network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkIndex(pub u32);

impl fmt::Display for LinkIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A link that can be announced on: up, with carrier, Ethernet, and not left out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// The name, for `L2Advertisement.spec.interfaces`.
    pub name: String,
    /// The Ethernet address at present.
    pub mac: Mac,
    /// How often it has come up. A change says that it was away in between, however short, and that what
    /// its neighbours know may be stale.
    pub ups: u64,
    /// Whether it has IPv6: a link-local address, without which no neighbour discovery takes place on it.
    pub ipv6: bool,
    /// The node's own addresses on it, at most four, those first by which others reach its kernel.
    pub addresses: Box<[IpAddr]>,
    /// The networks that begin on it, by the node's own addresses there: who has an address of one is reached without a router.
    pub networks: Box<[IpNet]>,
}

impl Link {
    /// Whether an address is of a network that begins on this link.
    pub fn reaches(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send an announcement on `link`.
    Send {
        /// The link.
        link: LinkIndex,
        /// The address that the frame speaks for.
        address: IpAddr,
        /// The whole Ethernet frame.
        frame: Vec<u8>,
    },
    /// Listen to a solicited-node group on `link`; harmless where that is done already.
    Join(LinkIndex, Ipv6Addr),
    /// No longer listen to it.
    Leave(LinkIndex, Ipv6Addr),
    /// The links on which `address` is answered for have changed.
    Announcing {
        /// The address.
        address: IpAddr,
        /// All its links now; none when it is no longer answered for.
        links: BTreeSet<LinkIndex>,
    },
}

/// What to send back, on the link that a frame came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The address asked for.
    pub address: IpAddr,
    /// The whole Ethernet frame.
    pub frame: Vec<u8>,
}

/// Why a received frame is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ignored {
    /// It is no ARP packet that anybody may act on.
    Refused(arp::Refusal),
    /// It is no neighbour solicitation or advertisement that anybody may act on.
    RefusedNdp(ndp::Refusal),
    /// It is no hello that anybody may act on.
    RefusedHello(hello::Refusal),
    /// It was received before or in a pause of this speaker: what it asks is answered by somebody else, or asked again.
    OutOfDate,
    /// It may be a hello, but too many forged ones came just before to look at it.
    TooManyForged,
    /// The link is not one that we use (any more).
    UnknownLink,
    /// It tells and does not ask: an ARP reply, a neighbour advertisement.
    NotARequest,
    /// It announces its sender's own address (gratuitous ARP).
    Announcement,
    /// Its Ethernet destination is another station's.
    NotForUs,
    /// It is our own: its sender is the link itself.
    Own,
    /// The address asked for is not ours on this link.
    NotOurs,
    /// It is a datagram that did not come from this link's own networks.
    NotOnLink,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ignored::Refused(refusal) => return refusal.fmt(f),
            Ignored::RefusedNdp(refusal) => return refusal.fmt(f),
            Ignored::RefusedHello(refusal) => return write!(f, "hello_{refusal}"),
            Ignored::OutOfDate => "out_of_date",
            Ignored::TooManyForged => "too_many_forged",
            Ignored::UnknownLink => "unknown_link",
            Ignored::NotARequest => "not_a_request",
            Ignored::Announcement => "announcement",
            Ignored::NotForUs => "not_for_us",
            Ignored::Own => "own",
            Ignored::NotOurs => "not_ours",
            Ignored::NotOnLink => "not_on_link",
        })
    }
}

/// With which Ethernet address an address is answered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speak {
    /// The link's own.
    Own,
    /// That of its owner, whose speaker is away.
    For(Mac),
    /// With none: the address is ours, and it is being found out whether somebody else has it. Its group is joined.
    Quiet,
}

/// A received frame, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// ARP.
    Arp(arp::Packet),
    /// Neighbour discovery.
    Ndp(ndp::Message),
}

impl Frame {
    /// Reads a whole Ethernet frame.
    ///
    /// # Errors
    /// [`Ignored::Refused`] or [`Ignored::RefusedNdp`], with the parser's reason.
    pub fn parse(frame: &[u8]) -> Result<Self, Ignored> {
        if is_ndp(frame) {
            ndp::Message::parse(frame).map(Frame::Ndp).map_err(Ignored::RefusedNdp)
        } else {
            arp::Packet::parse(frame).map(Frame::Arp).map_err(Ignored::Refused)
        }
    }
}

/// A link, and what is answered for on it.
#[derive(Clone, Debug)]
struct LinkState {
    link: Link,
    addresses: AddressMap<Speak>,
    /// The solicited-node groups, with how many of the addresses are in each.
    groups: BTreeMap<Ipv6Addr, u32>,
    /// The addresses of others whose groups are listened to already; counted there too.
    standby: BTreeSet<Ipv6Addr>,
}

/// Decides what this node sends. One for the whole node.
#[derive(Clone, Debug, Default)]
pub struct Announcer {
    links: BTreeMap<LinkIndex, LinkState>,
    schedule: Schedule,
    /// What is to be done first, in order: groups.
    queue: VecDeque<Effect>,
    /// The announcements of which the first form was sent, and the second was not. One that was taken back since is still here.
    seconds: VecDeque<(LinkIndex, Ipv4Addr)>,
    /// The addresses whose links have changed since that was last told.
    changed: BTreeSet<IpAddr>,
}

impl Announcer {
    /// An announcer that knows no link and desires nothing. What was announced is told again each `refresh`, if
    /// there is one: some switches forget after 300 s of silence.
    pub fn new(refresh: Option<Duration>) -> Self {
        Announcer { schedule: Schedule::new(refresh), ..Announcer::default() }
    }

    /// This node is to answer for `address` on `link`, or no longer. An address that is newly its own is announced.
    ///
    /// Where it was answered for already in that way, that goes on undisturbed: nothing is announced again. On a link that
    /// is not known nothing is done.
    pub fn desire(&mut self, link: LinkIndex, address: IpAddr, speak: Option<Speak>, now: Duration) {
        let Some(state) = self.links.get_mut(&link) else { return };
        let before = match speak {
            Some(speak) => state.addresses.insert(address, speak),
            None => state.addresses.remove(address),
        };
        if before == speak {
            return;
        }
        self.changed.insert(address);
        if before.is_some() != speak.is_some() {
            self.count_group(link, address, speak.is_some());
        }
        match speak {
            Some(Speak::Own) => self.schedule.start(link, address, now),
            _ => self.schedule.stop(link, address),
        }
    }

    /// Listens to the group of an address that another node has and that would be ours without it, or no longer. So a switch
    /// that sends each group only where it is asked for (RFC 4541) knows us before the address is ours.
    pub fn stand_by(&mut self, link: LinkIndex, address: Ipv6Addr, listen: bool) {
        let Some(state) = self.links.get_mut(&link) else { return };
        let changed = if listen { state.standby.insert(address) } else { state.standby.remove(&address) };
        if changed {
            self.count_group(link, address.into(), listen);
        }
    }

    /// Announces once more, from the first round, what is our own on `link`.
    pub fn announce(&mut self, link: LinkIndex, address: IpAddr, now: Duration) {
        if self.links.get(&link).is_some_and(|state| state.addresses.get(address) == Some(&Speak::Own)) {
            self.schedule.start(link, address, now);
        }
    }

    /// Takes the whole set of links that can be announced on.
    ///
    /// On a link that is new, came up again or has another Ethernet address, all its addresses are
    /// announced anew; and the groups of one that came up are joined again.
    pub fn handle_links(&mut self, links: BTreeMap<LinkIndex, Link>, now: Duration) {
        let gone: Vec<LinkIndex> =
            self.links.keys().copied().filter(|index| !links.contains_key(index)).collect();
        for index in gone {
            // Its socket is gone, and with it the groups.
            let state = self.links.remove(&index);
            for address in state.into_iter().flat_map(|state| state.addresses.sorted(|_| true)) {
                self.schedule.stop(index, address);
                self.changed.insert(address);
            }
            self.queue.retain(
                |effect| !matches!(effect, Effect::Join(link, _) | Effect::Leave(link, _) if *link == index),
            );
        }
        for (index, link) in links {
            self.handle_link(index, link, now);
        }
    }

    fn handle_link(&mut self, index: LinkIndex, link: Link, now: Duration) {
        let old = self.links.get(&index).map(|state| state.link.clone());
        if old.as_ref() == Some(&link) {
            return;
        }
        let fresh = old.as_ref().is_none_or(|old| (old.mac, old.ups) != (link.mac, link.ups));
        let returned = old.as_ref().is_some_and(|old| old.ups != link.ups);
        match self.links.get_mut(&index) {
            Some(state) => state.link = link,
            None => {
                let state = LinkState {
                    link,
                    addresses: AddressMap::default(),
                    groups: BTreeMap::new(),
                    standby: BTreeSet::new(),
                };
                self.links.insert(index, state);
            }
        }
        if returned && let Some(state) = self.links.get(&index) {
            self.queue.extend(state.groups.keys().map(|group| Effect::Join(index, *group)));
        }
        let Some(state) = self.links.get(&index) else { return };
        if fresh {
            // All of it begins anew, the first form first.
            self.seconds.retain(|(link, _)| *link != index);
            let own = state.addresses.sorted(|speak| *speak == Speak::Own);
            own.into_iter().for_each(|address| self.schedule.start(index, address, now));
        }
    }

    /// One address more, or less, in its solicited-node group.
    fn count_group(&mut self, index: LinkIndex, address: IpAddr, more: bool) {
        let Some(state) = self.links.get_mut(&index) else { return };
        let IpAddr::V6(six) = address else { return };
        let group = ndp::solicited_node(six);
        let members = state.groups.entry(group).or_default();
        if more {
            *members += 1;
            if *members == 1 {
                self.queue.push_back(Effect::Join(index, group));
            }
        } else {
            *members -= 1;
            if *members == 0 {
                state.groups.remove(&group);
                self.queue.retain(|effect| *effect != Effect::Join(index, group));
                self.queue.push_back(Effect::Leave(index, group));
            }
        }
    }

    /// Takes a frame received on `link`; `Ok` with what to send back, at once, on the same link.
    ///
    /// # Errors
    /// [`Ignored`] says why there is no answer.
    pub fn answer(&self, link: LinkIndex, frame: &Frame) -> Result<Answer, Ignored> {
        let state = self.links.get(&link).ok_or(Ignored::UnknownLink)?;
        match frame {
            Frame::Arp(packet) => state.answer_arp(packet),
            Frame::Ndp(message) => state.answer_ndp(message),
        }
    }

    /// The next thing to do at `now`; to be called until there is none.
    ///
    /// Groups and changes of state come before announcements, which may be tens of thousands at once and
    /// are built one by one, when they are taken: the caller may look for input between them. Of each announcement by ARP the
    /// first form comes before the second of any: when a node dies that had a thousand addresses, the last is announced in half
    /// the time.
    pub fn next_effect(&mut self, now: Duration) -> Option<Effect> {
        if let Some(effect) = self.queue.pop_front() {
            return Some(effect);
        }
        if let Some(address) = self.changed.pop_first() {
            return Some(Effect::Announcing { address, links: self.links_of(address) });
        }
        let Some((link, address)) = self.schedule.pop(now) else { return self.next_second() };
        // Links that go take their part of the schedule with them, so this one is there.
        let mac = self.links.get(&link)?.link.mac;
        let frame = match address {
            IpAddr::V4(four) => {
                self.seconds.push_back((link, four));
                let [first, _] = arp::announcement(mac, four);
                first.build()
            }
            IpAddr::V6(six) => ndp::announcement(mac, six).build(),
        };
        Some(Effect::Send { link, address, frame })
    }

    /// The second form of an announcement whose address is still our own there, with the Ethernet address that the link has now.
    fn next_second(&mut self) -> Option<Effect> {
        while let Some((link, address)) = self.seconds.pop_front() {
            if self.speaks(link, address.into()) == Some(Speak::Own) {
                let [_, second] = arp::announcement(self.links.get(&link)?.link.mac, address);
                return Some(Effect::Send { link, address: address.into(), frame: second.build() });
            }
        }
        None
    }

    /// When to call [`next_effect`](Self::next_effect) next, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.schedule.deadline()
    }

    /// The links on which `address` is answered for as our own.
    pub fn links_of(&self, address: IpAddr) -> BTreeSet<LinkIndex> {
        let own = |state: &LinkState| state.addresses.get(address) == Some(&Speak::Own);
        self.links.iter().filter(|(_, state)| own(state)).map(|(index, _)| *index).collect()
    }

    /// How `address` is answered for on `link`.
    pub fn speaks(&self, link: LinkIndex, address: IpAddr) -> Option<Speak> {
        self.links.get(&link)?.addresses.get(address).copied()
    }

    /// How many addresses are answered for on behalf of nodes whose speakers are away, each link counted.
    pub fn standing_in(&self) -> usize {
        let speaks = self.links.values().flat_map(|state| state.addresses.iter());
        speaks.filter(|(_, speak)| matches!(speak, Speak::For(_))).count()
    }
}

impl LinkState {
    /// ARP, in the order of the lines below:
    /// 1. a packet that asks: not a reply, nor an announcement in the form of a request;
    /// 2. sent to all or to us;
    /// 3. not our own;
    /// 4. for an address that is ours on this link.
    fn answer_arp(&self, packet: &arp::Packet) -> Result<Answer, Ignored> {
        let mac = self.link.mac;
        if packet.operation != Operation::Request {
            return Err(Ignored::NotARequest);
        }
        if packet.destination != Mac::BROADCAST && packet.destination != mac {
            return Err(Ignored::NotForUs);
        }
        if packet.sender.mac == mac || packet.source == mac {
            return Err(Ignored::Own);
        }
        if packet.sender.ip == packet.target.ip {
            return Err(Ignored::Announcement);
        }
        let address = IpAddr::V4(packet.target.ip);
        let answer = match self.addresses.get(address).ok_or(Ignored::NotOurs)? {
            Speak::Own => packet.answer(mac),
            Speak::For(owner) => packet.answer_as(*owner, mac),
            Speak::Quiet => return Err(Ignored::NotOurs),
        };
        Ok(Answer { address, frame: answer.build() })
    }

    /// Neighbour discovery, the same: a solicitation comes to a group or, as a probe of a neighbour that knows us, to
    /// our own Ethernet address.
    fn answer_ndp(&self, message: &ndp::Message) -> Result<Answer, Ignored> {
        let mac = self.link.mac;
        let ndp::Message::Solicitation(asked) = message else { return Err(Ignored::NotARequest) };
        if !asked.destination.is_group() && asked.destination != mac {
            return Err(Ignored::NotForUs);
        }
        if asked.source == mac || asked.link_layer == Some(mac) {
            return Err(Ignored::Own);
        }
        let address = IpAddr::V6(asked.target);
        let answer = match self.addresses.get(address).ok_or(Ignored::NotOurs)? {
            Speak::Own => asked.answer(mac),
            Speak::For(owner) => asked.answer_as(*owner, mac),
            Speak::Quiet => return Err(Ignored::NotOurs),
        };
        Ok(Answer { address, frame: answer.build() })
    }
}

#[cfg(test)]
mod tests;
