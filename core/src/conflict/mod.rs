//! Other hosts that use an address of ours: probing before the first announcement, defence and report afterwards
//! (RFC 5227 sections 2.1.1 and 2.4 for IPv4, RFC 4862 section 5.4 for IPv6).
//!
//! ```text
//!                      nobody for 450 to 500 ms: Clear, Resolved
//!  probe ──► probing ────────────────────────────────────────► in use ◄── adopt
//!              │  ▲                                             │   ▲
//!   a foreign  │  │ 10 to 12 s later             a foreign host │   │ 60 s without a
//!   host has it│  │                              sends from it  │   │ sighting: Over
//!   : Conflict ▼  │                            Conflict, Defend ▼   │
//!             blocked                                         in use, disputed
//! ```
//!
//! One [`Conflicts`] for a node knows its addresses, by link. The caller tells what it uses, shows every frame that speaks
//! of an address ([`Sighting`]), says whose Ethernet addresses are whose ([`Station`]), takes effects until there
//! are none and waits for the next input or for [`Conflicts::next_deadline`]. `now` is the time since any fixed moment,
//! never going back.
//!
//! A caller that was held up reads what its sockets hold before it takes effects: else a probing could end while the answer
//! to it waits to be read.
//!
//! Frames of other speakers are no conflict, as those agree among themselves. But one that *announces* an address that is
//! in use here is a *rival*, such as MetalLB's speaker on another node during a change-over: the caller may
//! have the address announced again ([`Conflicts::answer_rival`]), at a bounded rate.
//!
//! `docs/conflicts.md` has the rules by number.

mod entry;
mod rivals;
mod sighting;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use crate::announce::LinkIndex;
use crate::dense::DenseMap;
use crate::wire::Mac;

pub use entry::{
    BLOCKED_FOR, BLOCKED_JITTER, CLEAR_JITTER, DEFEND_INTERVAL, OVER_AFTER, PROBE_SPACING, PROBES,
    REPORT_INTERVAL,
};
use entry::{Entry, Step};
use rivals::Rivals;
pub use rivals::{RIVAL_BURST, RIVAL_SPACING, RIVAL_WINDOW};
pub use sighting::{Kind, Sighting};

/// Whose an Ethernet address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Station {
    /// A link of this node, this one or another: two of them on one segment hear each other.
    Ours,
    /// A link of a node whose speaker is heard.
    Speaker,
    /// That of one that was heard lately and is not now. What it announces may be what it had, or may end with its next hello; each
    /// of two who do not hear each other would answer the other for ever.
    Silent,
    /// Any other host's.
    Foreign,
}

/// What a frame meant for an address of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A foreign host uses it, or wants to while we probe. What to do about it comes out as effects.
    Conflict {
        /// The address.
        address: IpAddr,
        /// The foreign host.
        mac: Mac,
    },
    /// Another speaker's node announces it, while it is in use here.
    Rival {
        /// The address.
        address: IpAddr,
        /// The other node.
        mac: Mac,
    },
}

/// Something to do, about one address on one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send `arp::probe` or `ndp::probe`. Before the first, join an IPv6 address's solicited-node group (RFC 4862 section
    /// 5.4.2): another host's probe for it comes there.
    SendProbe {
        /// The link.
        link: LinkIndex,
        /// The address.
        address: IpAddr,
    },
    /// The probing found nobody: announce it.
    Clear {
        /// The link.
        link: LinkIndex,
        /// The address.
        address: IpAddr,
    },
    /// A foreign host has it: report it with this Ethernet address. Told again where that has changed.
    Conflict {
        /// The link.
        link: LinkIndex,
        /// The address.
        address: IpAddr,
        /// The foreign host.
        mac: Mac,
    },
    /// A conflict that kept it from being announced is gone, as a whole probing found nobody: take the report back and
    /// announce it.
    Resolved {
        /// The link.
        link: LinkIndex,
        /// The address.
        address: IpAddr,
    },
    /// Announce it once, against the foreign host that was just seen to use it.
    Defend {
        /// The link.
        link: LinkIndex,
        /// The address.
        address: IpAddr,
    },
    /// A conflict about it, in use here, has not been seen for [`OVER_AFTER`]: take the report back.
    Over {
        /// The link.
        link: LinkIndex,
        /// The address.
        address: IpAddr,
    },
    /// Announce it once, against the rival.
    Reannounce {
        /// The link.
        link: LinkIndex,
        /// The address.
        address: IpAddr,
    },
}

/// How often what happened, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Probes to send.
    pub probes: u64,
    /// Sightings of foreign hosts.
    pub conflicts: u64,
    /// Announcements in defence.
    pub defences: u64,
    /// Announcements of rivals.
    pub rivals: u64,
    /// Announcements against rivals.
    pub reannouncements: u64,
    /// Rivals' announcements whose answer was already waiting to be sent, because of the limits.
    pub held_back: u64,
}

/// An address on a link.
type Key = (LinkIndex, IpAddr);

/// What is known of other hosts that use this node's addresses.
#[derive(Clone, Debug)]
pub struct Conflicts {
    enabled: bool,
    seed: u64,
    /// The addresses of ours that are in use, and of which there is nothing more to know: nearly all, and each is here or among
    /// the entries.
    used: BTreeMap<LinkIndex, DenseMap<IpAddr, ()>>,
    /// All other addresses of ours, so all else here is bounded by the number of both.
    entries: BTreeMap<Key, Entry>,
    /// When each of them has something to do.
    due: BTreeSet<(Duration, LinkIndex, IpAddr)>,
    rivals: Rivals,
    counts: Counts,
}

impl Conflicts {
    /// With no address yet. Where it is not `enabled`, nothing is probed, reported or defended; rivals are told of
    /// all the same. `seed` makes the waiting times of two nodes differ; any number will do.
    pub fn new(enabled: bool, seed: u64) -> Self {
        Conflicts {
            enabled,
            seed,
            used: BTreeMap::new(),
            entries: BTreeMap::new(),
            due: BTreeSet::new(),
            rivals: Rivals::default(),
            counts: Counts::default(),
        }
    }

    /// Begins to probe for an address that is new on `link`, before its first announcement. Whether to wait with that,
    /// until [`Effect::Clear`] or [`Effect::Resolved`]; false where detection is off or the address is already in use.
    pub fn probe(&mut self, link: LinkIndex, address: IpAddr, now: Duration) -> bool {
        if !self.enabled {
            self.adopt(link, address, now);
            return false;
        }
        self.change((link, address), |entry| {
            let entry = entry.get_or_insert_with(|| Entry::probing(now));
            !entry.in_use()
        })
    }

    /// Uses an address at once, without probing: after a fail-over or a restart, where waiting would only add to the
    /// outage. Ends a probing, and a wait for a foreign host to go.
    pub fn adopt(&mut self, link: LinkIndex, address: IpAddr, now: Duration) {
        self.change((link, address), |entry| entry.get_or_insert_with(Entry::used).adopt(now));
    }

    /// The address is no longer ours on `link`: all that is known of it is dropped, and what was to be done about it.
    /// Returns whether a conflict about it was reported and not taken back since: that is over for this node.
    pub fn forget(&mut self, link: LinkIndex, address: IpAddr) -> bool {
        self.rivals.forget((link, address));
        self.change((link, address), |entry| entry.take().is_some_and(|entry| entry.is_reported()))
    }

    /// The link is gone, with all its addresses. Returns those of which [`forget`](Self::forget) would say true.
    pub fn forget_link(&mut self, link: LinkIndex) -> Vec<IpAddr> {
        for address in self.used.remove(&link).into_iter().flat_map(DenseMap::into_keys) {
            self.rivals.forget((link, address));
        }
        let those: Vec<Key> = self.entries.keys().filter(|(index, _)| *index == link).copied().collect();
        let mut reported = Vec::new();
        for (link, address) in those {
            if self.forget(link, address) {
                reported.push(address);
            }
        }
        reported
    }

    /// Takes what a frame on `link` says of an address. In the order of the lines below:
    /// 1. an address that is not ours on this link is nobody's business;
    /// 2. what this node's own links send is no news;
    /// 3. a speaker that announces what is in use here is a rival; all else that speakers send is their agreement, and what one
    ///    sends that was heard lately may be;
    /// 4. a foreign host that sends from the address has it;
    /// 5. one that probes for it wants it: a conflict unless it is in use here, since then its probe is answered and
    ///    that host gives way.
    pub fn see(
        &mut self,
        link: LinkIndex,
        sighting: &Sighting,
        whose: impl FnOnce(Mac) -> Station,
        now: Duration,
    ) -> Option<Seen> {
        let Sighting { address, mac, kind } = *sighting;
        let in_use = self.entry((link, address))?.in_use();
        match whose(mac) {
            Station::Ours => return None,
            Station::Speaker if in_use && kind == Kind::Announcement => {
                self.counts.rivals += 1;
                return Some(Seen::Rival { address, mac });
            }
            Station::Speaker | Station::Silent => return None,
            Station::Foreign => {}
        }
        if !self.enabled || (in_use && kind == Kind::Probe) {
            return None;
        }
        self.counts.conflicts += 1;
        let seed = self.seed;
        self.change((link, address), |entry| {
            if let Some(entry) = entry {
                entry.see(mac, |attempt, most| jitter((seed, link, address, attempt), most), now);
            }
        });
        Some(Seen::Conflict { address, mac })
    }

    /// Has an address that is in use announced again, because of a [`Seen::Rival`]: at once, but not sooner than
    /// [`RIVAL_SPACING`] after the last time, and at most [`RIVAL_BURST`] in any [`RIVAL_WINDOW`] for all addresses together.
    /// What the limits hold back is sent when they allow it, so that the last word is ours.
    pub fn answer_rival(&mut self, link: LinkIndex, address: IpAddr, now: Duration) {
        if self.may_announce(link, address) && !self.rivals.want((link, address), now) {
            self.counts.held_back += 1;
        }
    }

    /// The next thing to do at `now`; to be called until there is none.
    pub fn next_effect(&mut self, now: Duration) -> Option<Effect> {
        while let Some(&(_, link, address)) = self.due.first().filter(|(at, ..)| *at <= now) {
            let seed = self.seed;
            let step = self.change((link, address), |entry| {
                let jitter = |attempt, most| jitter((seed, link, address, attempt), most);
                entry.as_mut().and_then(|entry| entry.step(jitter, now))
            });
            if let Some(step) = step {
                return Some(self.effect(step, link, address));
            }
        }
        let (link, address) = self.rivals.pop(now)?;
        self.counts.reannouncements += 1;
        Some(Effect::Reannounce { link, address })
    }

    /// When to call [`next_effect`](Self::next_effect) next, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Duration> {
        let entries = self.due.first().map(|(at, ..)| *at);
        entries.into_iter().chain(self.rivals.deadline()).min()
    }

    /// Whether the address is ours on `link` and in use: neither probed for nor kept back by a conflict.
    pub fn may_announce(&self, link: LinkIndex, address: IpAddr) -> bool {
        self.entry((link, address)).is_some_and(Entry::in_use)
    }

    /// Whether the address is ours on `link`, in use or not.
    pub fn knows(&self, link: LinkIndex, address: IpAddr) -> bool {
        self.entry((link, address)).is_some()
    }

    /// The foreign host that was last seen to have the address, while that conflict lasts.
    pub fn conflict(&self, link: LinkIndex, address: IpAddr) -> Option<Mac> {
        self.entry((link, address))?.conflict()
    }

    /// How often what happened.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn effect(&mut self, step: Step, link: LinkIndex, address: IpAddr) -> Effect {
        match step {
            Step::Report(mac) => Effect::Conflict { link, address, mac },
            Step::Probe => {
                self.counts.probes += 1;
                Effect::SendProbe { link, address }
            }
            Step::Clear => Effect::Clear { link, address },
            Step::Resolved => Effect::Resolved { link, address },
            Step::Defend => {
                self.counts.defences += 1;
                Effect::Defend { link, address }
            }
            Step::Over => Effect::Over { link, address },
        }
    }

    fn entry(&self, key: Key) -> Option<&Entry> {
        static USED: Entry = Entry::used();
        let (link, address) = key;
        let used = || self.used.get(&link).is_some_and(|used| used.contains_key(&address));
        self.entries.get(&key).or_else(|| used().then_some(&USED))
    }

    /// Changes what is known of an address, and with it when it is due.
    fn change<T>(&mut self, key: Key, how: impl FnOnce(&mut Option<Entry>) -> T) -> T {
        let (link, address) = key;
        let used = |used: &mut DenseMap<IpAddr, ()>| used.remove(&address).map(|()| Entry::used());
        let mut entry = self.entries.remove(&key).or_else(|| self.used.get_mut(&link).and_then(used));
        if let Some(at) = entry.as_ref().and_then(Entry::deadline) {
            self.due.remove(&(at, link, address));
        }
        let result = how(&mut entry);
        match entry {
            Some(entry) if entry.is_plain() => {
                self.used.entry(link).or_default().insert(address, ());
            }
            Some(entry) => {
                self.due.extend(entry.deadline().map(|at| (at, link, address)));
                self.entries.insert(key, entry);
            }
            None => {}
        }
        result
    }
}

/// A time between nothing and `most`, whole milliseconds: the same for the same `of`.
fn jitter(of: (u64, LinkIndex, IpAddr, u8), most: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    let most = most.as_millis() as u64;
    Duration::from_millis(hasher.finish() % (most + 1))
}

#[cfg(test)]
mod tests;
