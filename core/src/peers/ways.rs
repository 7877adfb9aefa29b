//! By which ways a peer is heard, and which it needs.
//!
//! Ethernet is the way: it shares the fate of what it vouches for, and one frame reaches all. Where a network drops such
//! frames, the same payload goes by datagram, to each node by itself. That costs a datagram for each peer, so it must end by itself
//! where it is not needed, and two that merely answer each other must not keep each other at it: only who asks by
//! datagram needs it, and that wears off.

use std::time::Duration;

use crate::wire::hello::{Body, StationId};

use super::{Peer, Peers, Urgency};

/// A way by which speakers hear each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Ethernet frames, to the group of all speakers or to one of them.
    Ethernet,
    /// Datagrams (UDP), to the address of each node.
    Udp,
}

/// Without any frame for so many of its intervals, a peer is not heard by Ethernet.
pub const DEAF: u32 = 10;

/// How often a node that is not heard by Ethernet is asked by datagram.
pub const TRY: Duration = Duration::from_secs(1);

/// Whoever asks by datagram is told all by datagram for so long: until a third question more was lost.
const WANTED: Duration = Duration::from_secs(3);

/// What is known of the ways between us and a peer.
#[derive(Clone, Debug)]
pub(super) struct Ways {
    /// When it was first heard.
    since: Duration,
    /// When a frame came from it last.
    ethernet: Option<Duration>,
    /// When a datagram came from it last.
    udp: Option<Duration>,
    /// Until when it needs datagrams, or we need its own.
    wanted: Duration,
    /// How it is heard, as it was last told.
    told: Transport,
}

impl Ways {
    /// Of a peer that is heard for the first time.
    pub(super) fn new(now: Duration) -> Self {
        Ways { since: now, ethernet: None, udp: None, wanted: Duration::ZERO, told: Transport::Ethernet }
    }

    /// Something came from it.
    pub(super) fn hear(&mut self, by: Transport, at: Duration) {
        match by {
            Transport::Ethernet => self.ethernet = self.ethernet.max(Some(at)),
            Transport::Udp => self.udp = self.udp.max(Some(at)),
        }
    }

    /// It asked by datagram, or is asked.
    pub(super) fn want(&mut self, now: Duration) {
        self.wanted = now + WANTED;
    }

    /// This node stood still: what was not heard meanwhile means nothing.
    pub(super) fn excuse(&mut self, now: Duration) {
        self.since = self.since.max(now);
        (self.ethernet, self.udp) = (self.ethernet.map(|_| now), self.udp.map(|_| now));
    }

    /// How it is heard, if that has changed.
    pub(super) fn judge(&mut self, interval: Duration, now: Duration) -> Option<Transport> {
        let lacks = self.lacks_ethernet(interval, now);
        let by = if lacks && self.udp.is_some() { Transport::Udp } else { Transport::Ethernet };
        (std::mem::replace(&mut self.told, by) != by).then_some(by)
    }

    /// Whether no frame came from it for [`DEAF`] intervals, though one could have.
    fn lacks_ethernet(&self, interval: Duration, now: Duration) -> bool {
        self.ethernet.unwrap_or(self.since) + interval * DEAF <= now
    }

    fn lately(at: Option<Duration>, interval: Duration, now: Duration) -> bool {
        at.is_some_and(|at| at + interval * DEAF > now)
    }
}

impl Peer {
    /// How it is heard: by Ethernet, if at all, else by datagram.
    pub fn transport(&self) -> Transport {
        self.ways.told
    }

    /// Whether anything came from it lately, by Ethernet or by datagram.
    pub fn is_heard_at_all(&self, now: Duration) -> bool {
        let lately = |at| Ways::lately(at, self.interval, now);
        lately(self.ways.ethernet) || lately(self.ways.udp)
    }

    /// Whether a datagram came from it lately.
    pub fn is_heard_by_udp(&self, now: Duration) -> bool {
        Ways::lately(self.ways.udp, self.interval, now)
    }

    /// Whether a frame came from it lately.
    pub(super) fn is_heard_by_ethernet(&self, now: Duration) -> bool {
        Ways::lately(self.ways.ethernet, self.interval, now)
    }

    /// Whether it is to be asked by datagram: no frame came from it for [`DEAF`] intervals.
    pub fn lacks_ethernet(&self, now: Duration) -> bool {
        self.ways.lacks_ethernet(self.interval, now)
    }

    /// Whether it is heard and has not heard us for [`DEAF`] intervals, or never did.
    pub fn ignores_us(&self, now: Duration) -> bool {
        self.is_heard_at_all(now) && self.listed.max(self.ways.since) + self.interval * DEAF <= now
    }

    /// Whether it is told all by datagram as well. In the order of the lines below: it asked for that, or we asked it so; or it
    /// speaks by datagram alone, and so may hear us by nothing else either.
    pub fn needs_udp(&self, now: Duration) -> bool {
        let lately = |at| Ways::lately(at, self.interval, now);
        self.ways.wanted > now || (lately(self.ways.udp) && !lately(self.ways.ethernet))
    }
}

impl Urgency {
    /// Somebody says something whose session does not count yet: it must hear us first, by the way that it uses.
    pub(super) fn of_stranger(body: &Body, by: Transport) -> Self {
        match (body, by) {
            (Body::Hello(hello), Transport::Udp) => Urgency::Stranger(hello.addresses.clone()),
            _ => Urgency::All,
        }
    }
}

impl Peers {
    /// A peer asks by datagram, or is asked, and so is to be told all by datagram. Whether it was not, before.
    pub fn want_udp(&mut self, station: StationId, now: Duration) -> bool {
        let Some(peer) = self.peers.get_mut(&station) else { return false };
        let new = !peer.needs_udp(now);
        peer.ways.want(now);
        new
    }
}
