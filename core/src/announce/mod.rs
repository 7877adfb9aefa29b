//! Which frames go out, and when, so that the network sends an address to this node.
//!
//! ```text
//!  handle_desired ─┐                       ┌─► Effect::Send      a frame for one link
//!  handle_links  ──┼──► Announcer ─────────┤
//!  handle_frame  ──┘    (one for a node)   └─► Effect::Announcing  where an address is now answered for
//!                         next_effect(now), next_deadline()
//! ```
//!
//! The caller says what happened, then takes effects until there are none, then waits for the next input
//! or for [`Announcer::next_deadline`]. Nothing here knows the time but by `now`: the time since any fixed
//! moment, never going back.
//!
//! What is sent is one of three things. An *answer*, to an ARP request for an address that is desired on
//! that very link. An *announcement* (gratuitous ARP), when an address newly becomes ours on a link, when
//! a link comes up and when its Ethernet address changes; not on any other news. And nothing at all, from
//! the call on that takes an address away: frames for it that were not taken yet are dropped.
//!
//! IPv6 addresses are carried ([`Announcer::unanswered`]) but nothing is sent for them: NDP is not built
//! yet.

mod schedule;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::election::Interfaces;
use crate::wire::Mac;
use crate::wire::arp::{self, Operation};

use schedule::Schedule;
pub use schedule::{ROUNDS, SPACING};

/// The kernel's number of a network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkIndex(pub u32);

impl fmt::Display for LinkIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A link that can be announced on: up, with carrier, Ethernet, and not left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The name, for `L2Advertisement.spec.interfaces`.
    pub name: String,
    /// The Ethernet address at present.
    pub mac: Mac,
    /// How often it has come up. A change says that it was away in between, however short, and that what
    /// its neighbours know may be stale.
    pub ups: u64,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send `frame` on `link`.
    Send {
        /// The link.
        link: LinkIndex,
        /// The address that the frame speaks for.
        address: IpAddr,
        /// What for.
        purpose: Purpose,
        /// The whole Ethernet frame.
        frame: Vec<u8>,
    },
    /// The links on which `address` is answered for have changed.
    Announcing {
        /// The address.
        address: IpAddr,
        /// All its links now; none when it is no longer answered for.
        links: BTreeSet<LinkIndex>,
    },
}

/// What a frame is sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// It answers a request.
    Answer,
    /// It tells everybody (gratuitous).
    Announcement,
}

/// Why a received frame is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ignored {
    /// It is no ARP packet that anybody may act on.
    Refused(arp::Refusal),
    /// The link is not one that we use (any more).
    UnknownLink,
    /// It is a reply.
    NotARequest,
    /// Its Ethernet destination is neither broadcast nor our address.
    NotForUs,
    /// It is our own: its sender is the link itself.
    Own,
    /// The address asked for is not ours on this link.
    NotOurs,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ignored::Refused(refusal) => return refusal.fmt(f),
            Ignored::UnknownLink => "unknown_link",
            Ignored::NotARequest => "not_a_request",
            Ignored::NotForUs => "not_for_us",
            Ignored::Own => "own",
            Ignored::NotOurs => "not_ours",
        })
    }
}

/// A link, and what is answered for on it.
#[derive(Debug)]
struct LinkState {
    link: Link,
    addresses: BTreeSet<Ipv4Addr>,
}

/// Decides what this node sends. One for the whole node.
#[derive(Debug, Default)]
pub struct Announcer {
    desired: BTreeMap<IpAddr, Interfaces>,
    links: BTreeMap<LinkIndex, LinkState>,
    schedule: Schedule,
    /// Frames that are built but not taken yet.
    queue: VecDeque<Effect>,
    /// The addresses whose links have changed since that was last told.
    changed: BTreeSet<Ipv4Addr>,
}

impl Announcer {
    /// An announcer that knows no link and desires nothing.
    pub fn new() -> Self {
        Announcer::default()
    }

    /// Takes the whole set of addresses that this node is to answer for, and where.
    ///
    /// What was desired before and still is goes on undisturbed: nothing is announced again.
    pub fn handle_desired(&mut self, desired: BTreeMap<IpAddr, Interfaces>, now: Duration) {
        self.desired = desired;
        self.reconcile(&BTreeSet::new(), now);
    }

    /// Takes the whole set of links that can be announced on.
    ///
    /// On a link that is new, came up again or has another Ethernet address, all its addresses are
    /// announced anew.
    pub fn handle_links(&mut self, links: BTreeMap<LinkIndex, Link>, now: Duration) {
        let fresh: BTreeSet<LinkIndex> = links
            .iter()
            .filter(|(index, link)| {
                let known = self.links.get(index).map(|state| &state.link);
                known.is_none_or(|known| (known.mac, known.ups) != (link.mac, link.ups))
            })
            .map(|(index, _)| *index)
            .collect();
        let mut old = std::mem::take(&mut self.links);
        for (index, link) in links {
            let addresses = old.remove(&index).map(|state| state.addresses).unwrap_or_default();
            self.links.insert(index, LinkState { link, addresses });
        }
        for (index, gone) in old {
            for address in gone.addresses {
                self.schedule.stop(index, address);
                self.changed.insert(address);
            }
        }
        self.reconcile(&fresh, now);
    }

    /// Takes a frame received on `link`; `Ok` with the address that it asks for when it is answered.
    ///
    /// # Errors
    /// [`Ignored`] says why there is no answer.
    pub fn handle_frame(&mut self, link: LinkIndex, frame: &[u8]) -> Result<IpAddr, Ignored> {
        let state = self.links.get(&link).ok_or(Ignored::UnknownLink)?;
        let mac = state.link.mac;
        let packet = arp::Packet::parse(frame).map_err(Ignored::Refused)?;
        if packet.operation != Operation::Request {
            return Err(Ignored::NotARequest);
        }
        if packet.destination != Mac::BROADCAST && packet.destination != mac {
            return Err(Ignored::NotForUs);
        }
        if packet.sender.mac == mac || packet.source == mac {
            return Err(Ignored::Own);
        }
        if !state.addresses.contains(&packet.target.ip) {
            return Err(Ignored::NotOurs);
        }
        let address = IpAddr::V4(packet.target.ip);
        let frame = packet.answer(mac).build();
        self.queue.push_back(Effect::Send { link, address, purpose: Purpose::Answer, frame });
        Ok(address)
    }

    /// The next thing to do at `now`; to be called until there is none.
    ///
    /// Answers and changes of state come before announcements, which may be tens of thousands at once and
    /// are built one by one, when they are taken: the caller may look for input between them.
    pub fn next_effect(&mut self, now: Duration) -> Option<Effect> {
        if let Some(effect) = self.queue.pop_front() {
            return Some(effect);
        }
        if let Some(address) = self.changed.pop_first().map(IpAddr::V4) {
            return Some(Effect::Announcing { address, links: self.links_of(address) });
        }
        let (link, address) = self.schedule.pop(now)?;
        // Links that go take their part of the schedule with them, so this one is there.
        let mac = self.links.get(&link)?.link.mac;
        let [first, second] = arp::announcement(mac, address).map(|packet| Effect::Send {
            link,
            address: address.into(),
            purpose: Purpose::Announcement,
            frame: packet.build(),
        });
        self.queue.push_back(second);
        Some(first)
    }

    /// When to call [`next_effect`](Self::next_effect) next, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.schedule.deadline()
    }

    /// The links on which `address` is answered for.
    pub fn links_of(&self, address: IpAddr) -> BTreeSet<LinkIndex> {
        let IpAddr::V4(v4) = address else { return BTreeSet::new() };
        self.links
            .iter()
            .filter(|(_, state)| state.addresses.contains(&v4))
            .map(|(index, _)| *index)
            .collect()
    }

    /// The addresses that are desired but that nothing is sent for, because they are IPv6.
    pub fn unanswered(&self) -> impl Iterator<Item = IpAddr> {
        self.desired.keys().copied().filter(IpAddr::is_ipv6)
    }

    /// Makes each link's addresses what is desired there; those of `fresh` links are announced anew.
    fn reconcile(&mut self, fresh: &BTreeSet<LinkIndex>, now: Duration) {
        for (index, state) in &mut self.links {
            let wanted: BTreeSet<Ipv4Addr> = wanted(&self.desired, &state.link.name).collect();
            for address in state.addresses.difference(&wanted) {
                self.schedule.stop(*index, *address);
                self.changed.insert(*address);
            }
            for address in &wanted {
                let new = !state.addresses.contains(address);
                if new || fresh.contains(index) {
                    self.schedule.start(*index, *address, now);
                }
                if new {
                    self.changed.insert(*address);
                }
            }
            state.addresses = wanted;
        }
        // What was built for an address that is gone, or with an Ethernet address that is, must not leave.
        let links = &self.links;
        self.queue.retain(|effect| match effect {
            Effect::Send { link, address: IpAddr::V4(address), .. } => {
                !fresh.contains(link)
                    && links.get(link).is_some_and(|state| state.addresses.contains(address))
            }
            _ => true,
        });
    }
}

/// The addresses that are desired on a link of this name.
fn wanted<'a>(
    desired: &'a BTreeMap<IpAddr, Interfaces>,
    name: &'a str,
) -> impl Iterator<Item = Ipv4Addr> + 'a {
    desired.iter().filter_map(move |(address, interfaces)| match address {
        IpAddr::V4(v4) => interfaces.contains(name).then_some(*v4),
        IpAddr::V6(_) => None,
    })
}

#[cfg(test)]
mod tests;
