//! A take-over that is acknowledged: who asked lately for an address is asked back, by its new owner.
//!
//! ```text
//!  heard ────────► Clients (who asked for what, for each link) ─┐
//!  set_gateways ────────────────────────────────────────────────┴─► take_over ─► next_effect: Ask
//!  answered ◄── the client's answer: it has learned                              (twice at most)
//! ```
//!
//! An announcement tells everybody and hears from nobody. The question "who has CLIENT, tell ADDRESS" teaches the client too,
//! whether it has an entry for the address or none, and its answer proves that it has learned; `docs/conflicts.md`
//! says what was measured. So each speaker remembers who asks for any pool address, also for those of other owners,
//! and the one that takes an address over asks those back: the newest asker first, then the gateways, then the
//! other askers.
//!
//! Bounds, for each link: [`MOST_CLIENTS`] remembered, [`MOST_AT_ONCE`] questions under way; for an address
//! [`MOST_FOR_ADDRESS`]; and for all links together one question each [`SPACING`]. `now` is the time since any
//! fixed moment, never going back.

mod clients;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::announce::LinkIndex;
use crate::wire::Mac;
use crate::wire::arp::{Operation, Packet};
use crate::wire::ndp::Solicitation;

use clients::Clients;
pub use clients::{MOST_ADDRESSES, MOST_CLIENTS};
pub use plan::{LATELY, MOST_FOR_ADDRESS};

/// How many questions may be under way on a link, and so how many one take-over of many addresses may ask.
pub const MOST_AT_ONCE: usize = 256;

/// How many gateways are asked on a link; more than this many are left out.
pub const MOST_GATEWAYS: usize = 8;

/// The least time between two questions: at most 1,000 in a second.
pub const SPACING: Duration = Duration::from_millis(1);

/// How long an answer is waited for, each time. A host on the link answers within a few milliseconds.
pub const PATIENCE: Duration = Duration::from_millis(100);

/// How often a client is asked: a frame may be lost.
pub const TRIES: u8 = 2;

/// Somebody asked for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Who: where the answer goes.
    pub client: IpAddr,
    /// Its Ethernet address.
    pub mac: Mac,
    /// What it asked for.
    pub address: IpAddr,
}

impl Question {
    /// What an ARP request asks, if it is one that a client sends: no probe and no announcement.
    pub fn of_arp(packet: &Packet) -> Option<Question> {
        let (sender, address) = (packet.sender, packet.target.ip);
        let asks = packet.operation == Operation::Request && sender.ip != address;
        let one = !sender.ip.is_unspecified() && !sender.ip.is_multicast() && !sender.ip.is_broadcast();
        (asks && one).then_some(Question {
            client: sender.ip.into(),
            mac: sender.mac,
            address: address.into(),
        })
    }

    /// What a neighbour solicitation asks, if it is no probe.
    pub fn of_ndp(asked: &Solicitation) -> Option<Question> {
        let mac = asked.link_layer.unwrap_or(asked.source);
        let (client, address) = (asked.sender, asked.target);
        (!client.is_unspecified() && client != address).then_some(Question {
            client: client.into(),
            mac,
            address: address.into(),
        })
    }
}

/// Ask `client` back: send `arp::confirmation` or `ndp::confirmation` on `link`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The link.
    pub link: LinkIndex,
    /// The address of ours that the question speaks for.
    pub address: IpAddr,
    /// Who is asked.
    pub client: IpAddr,
    /// Where to send it; to all where that is not known, or where the first question was not answered.
    pub to: Option<Mac>,
}

/// How often what happened, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Clients asked back, each counted once for an address.
    pub asked: u64,
    /// Those that answered.
    pub confirmed: u64,
    /// Those that did not, asked [`TRIES`] times.
    pub unanswered: u64,
}

/// One question that is to be asked, or waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Pending {
    /// When the first question was sent; none yet if it was not.
    first: Option<Duration>,
    tries: u8,
    to: Option<Mac>,
    /// When it is asked, asked again, or given up.
    due: Duration,
    /// The order among those due at the same time.
    order: u64,
}

/// A client that is asked back for an address, on a link.
type Key = (LinkIndex, IpAddr, IpAddr);

/// Who asked, on one link, and whom else to ask.
#[derive(Clone, Debug)]
struct LinkState {
    clients: Clients,
    gateways: Vec<IpAddr>,
    /// How many questions are under way.
    pending: usize,
}

/// Who asked for which address, and the questions back that are under way.
#[derive(Clone, Debug)]
pub struct Askers {
    seed: u64,
    lately: Duration,
    links: BTreeMap<LinkIndex, LinkState>,
    pending: BTreeMap<Key, Pending>,
    due: BTreeSet<(Duration, u64, Key)>,
    /// How many questions were planned, ever.
    planned: u64,
    /// From when on the next question may be sent.
    free: Duration,
    counts: Counts,
}

impl Askers {
    /// Knows nobody yet. `seed` makes the hash of clients' addresses one that they cannot foresee; whoever asked longer ago
    /// than `lately`, by default [`LATELY`], is not asked back.
    pub fn new(seed: u64, lately: Duration) -> Self {
        Askers {
            seed,
            lately,
            links: BTreeMap::new(),
            pending: BTreeMap::new(),
            due: BTreeSet::new(),
            planned: 0,
            free: Duration::ZERO,
            counts: Counts::default(),
        }
    }

    /// Remembers who asked, on `link`, for an address of any pool: the caller leaves out what is in no pool. The cost
    /// is the same however many are known; beyond [`MOST_CLIENTS`] whoever was silent for longest is forgotten.
    pub fn heard(&mut self, link: LinkIndex, question: &Question, now: Duration) {
        self.link(link).clients.heard(question, now);
    }

    /// The routers of `link`, asked back in every take-over; the first [`MOST_GATEWAYS`] of them.
    pub fn set_gateways(&mut self, link: LinkIndex, mut gateways: Vec<IpAddr>) {
        gateways.truncate(MOST_GATEWAYS);
        self.link(link).gateways = gateways;
    }

    /// Plans to ask back on `link` for addresses that became ours there at `now`; how many are to be asked. Those
    /// under way already count towards [`MOST_AT_ONCE`].
    pub fn take_over(&mut self, link: LinkIndex, addresses: &[IpAddr], now: Duration) -> usize {
        let Some(state) = self.links.get_mut(&link) else { return 0 };
        let room = MOST_AT_ONCE.saturating_sub(state.pending);
        let plan =
            plan::plan(addresses, &state.clients, &state.gateways, room, now.saturating_sub(self.lately));
        let mut added = 0;
        for (address, client) in plan {
            let key = (link, address, client);
            if self.pending.contains_key(&key) {
                continue;
            }
            let to = state.clients.mac(client);
            let pending = Pending { first: None, tries: 0, to, due: now, order: self.planned };
            self.due.insert((pending.due, pending.order, key));
            self.pending.insert(key, pending);
            self.planned += 1;
            added += 1;
        }
        state.pending += added;
        self.counts.asked += added as u64;
        added
    }

    /// Takes a client's answer to the owner of `address`; how long after the first question it came, where one waited for
    /// it.
    pub fn answered(
        &mut self,
        link: LinkIndex,
        client: IpAddr,
        address: IpAddr,
        now: Duration,
    ) -> Option<Duration> {
        let key = (link, address, client);
        // What was not asked yet cannot be answered.
        let first = self.pending.get(&key)?.first?;
        self.drop_pending(key);
        self.counts.confirmed += 1;
        Some(now.saturating_sub(first))
    }

    /// The next question to ask at `now`; to be called until there is none.
    pub fn next_effect(&mut self, now: Duration) -> Option<Ask> {
        while let Some(&(due, order, key)) = self.due.first().filter(|(due, ..)| *due <= now) {
            let (link, address, client) = key;
            let pending = self.pending.get_mut(&key)?;
            if pending.tries == TRIES {
                self.drop_pending(key);
                self.counts.unanswered += 1;
                continue;
            }
            if self.free > now {
                return None;
            }
            self.free = now + SPACING;
            // It may have another Ethernet address by now, so the second time all are asked.
            let to = pending.to.filter(|_| pending.tries == 0);
            pending.first.get_or_insert(now);
            pending.tries += 1;
            pending.due = now + PATIENCE;
            self.due.remove(&(due, order, key));
            self.due.insert((pending.due, order, key));
            return Some(Ask { link, address, client, to });
        }
        None
    }

    /// When to call [`next_effect`](Self::next_effect) next, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Duration> {
        let (due, _, key) = self.due.first()?;
        let gives_up = self.pending.get(key).is_some_and(|pending| pending.tries == TRIES);
        Some(if gives_up { *due } else { (*due).max(self.free) })
    }

    /// The address is no longer ours on `link`: nobody is asked back for it any more.
    pub fn forget(&mut self, link: LinkIndex, address: IpAddr) {
        // The lowest of all addresses: IPv4 comes first.
        let from = (link, address, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let those =
            self.pending.range(from..).take_while(|((index, of, _), _)| (*index, *of) == (link, address));
        for key in those.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.drop_pending(key);
        }
    }

    /// The link is gone: its askers may be on another when it returns.
    pub fn forget_link(&mut self, link: LinkIndex) {
        let those: Vec<Key> = self.pending.keys().filter(|(index, ..)| *index == link).copied().collect();
        for key in those {
            self.drop_pending(key);
        }
        self.links.remove(&link);
    }

    /// How often what happened.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How many clients are known on `link`.
    pub fn known(&self, link: LinkIndex) -> usize {
        self.links.get(&link).map_or(0, |state| state.clients.len())
    }

    fn link(&mut self, link: LinkIndex) -> &mut LinkState {
        let seed = self.seed;
        let new =
            || LinkState { clients: Clients::new(seed, MOST_CLIENTS), gateways: Vec::new(), pending: 0 };
        self.links.entry(link).or_insert_with(new)
    }

    fn drop_pending(&mut self, key: Key) {
        if let Some(pending) = self.pending.remove(&key) {
            self.due.remove(&(pending.due, pending.order, key));
            if let Some(state) = self.links.get_mut(&key.0) {
                state.pending -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
