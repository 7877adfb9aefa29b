//! What is known of one other station: a speaker's link on our segment.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::hello_key::KeyId;
use crate::wire::Mac;
use crate::wire::hello::{Claim, Digest, Hello, State, StationId};

use super::late::Late;
use super::ways::Ways;
use super::{ASKS, Timing};

/// How many sessions of a station that are over are remembered, so that their frames never count again.
const RETIRED: usize = 64;

/// One other station. Its `epoch` names the session, from one start of its speaker to the next.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The node's name in the cluster.
    pub node: Arc<str>,
    /// The name of its link.
    pub interface: Box<str>,
    /// The Ethernet address of that link.
    pub mac: Mac,
    /// The node's own addresses on that link.
    pub addresses: Vec<IpAddr>,
    /// The keys that it has loaded.
    pub loaded: Vec<KeyId>,
    /// Its state, as last told.
    pub state: State,
    /// Whether traffic would end at its node.
    pub unfit: bool,
    /// Whether it does not know what the API server says now.
    pub stale: bool,
    /// Whether it stood still for so long that others had to act.
    pub(super) suspended: bool,
    pub(super) epoch: u64,
    pub(super) sequence: u64,
    pub(super) retired: VecDeque<u64>,
    /// How often it says hello.
    pub(super) interval: Duration,
    /// When it was heard last.
    pub(super) heard: Duration,
    /// Whether it fell silent here, so that what is known of its claims is of before; it may count all the same, as others
    /// still hear it.
    pub(crate) silent: bool,
    /// What its clock and ours showed when they were last compared.
    pub(super) clocks: (Duration, Duration),
    /// When its last hello was heard.
    pub(super) greeted: Duration,
    /// Until when its last word that it hears us counts.
    pub(super) listed: Duration,
    /// Whom it hears: until when that counts, and whether the other one hears it too.
    pub(super) hears: BTreeMap<StationId, (Duration, bool)>,
    /// When the first of that ends, at least as early as it does: in a large cluster each hears each.
    pub(super) fades: Option<Duration>,
    /// How often it was asked whether it is there, since it was heard last.
    pub(super) asked: u32,
    /// When the first time was, if it was asked.
    pub(super) asked_at: Duration,
    /// When its node's kernel was last known to live.
    pub(super) kernel: Duration,
    /// When the kernel was asked last.
    pub(super) kernel_asked: Duration,
    /// Since when its speaker is away while its node lives.
    pub(super) away: Option<Duration>,
    /// What it says that it claims, and what we know of that.
    pub(super) told: Digest,
    pub(super) known: Digest,
    pub(super) wanted: Option<Duration>,
    pub(super) parts: Option<Parts>,
    /// By which ways it is heard.
    pub(super) ways: Ways,
    /// How late it is.
    pub(super) late: Late,
}

/// What stays of a station that is forgotten, so that its frames of before count no more than if it were there.
#[derive(Clone, Debug)]
pub(super) struct Past {
    pub(super) epoch: u64,
    pub(super) sequence: u64,
    pub(super) retired: VecDeque<u64>,
    /// A node that is so busy that it was taken for gone will be late again.
    pub(super) late: Late,
    /// It may be heard to answer before it is heard to say hello.
    pub(super) mac: Mac,
    /// When it was heard last.
    pub(super) heard: Duration,
}

/// The parts of a whole list of claims that have come so far.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) after: Digest,
    pub(super) of: u16,
    pub(super) parts: BTreeMap<u16, Vec<Claim>>,
}

impl Peer {
    /// One that is heard for the first time.
    pub(super) fn new(
        node: &str,
        interface: &str,
        mac: Mac,
        epoch: u64,
        sequence: u64,
        now: Duration,
    ) -> Self {
        Peer {
            node: node.into(),
            interface: interface.into(),
            mac,
            addresses: Vec::new(),
            loaded: Vec::new(),
            state: State::Starting,
            unfit: false,
            stale: false,
            suspended: false,
            epoch,
            sequence,
            retired: VecDeque::new(),
            interval: Duration::from_millis(100),
            heard: now,
            silent: false,
            clocks: (Duration::ZERO, now),
            greeted: now,
            listed: Duration::ZERO,
            hears: BTreeMap::new(),
            fades: None,
            asked: 0,
            asked_at: Duration::ZERO,
            kernel: Duration::ZERO,
            kernel_asked: Duration::ZERO,
            away: None,
            told: Digest::default(),
            known: Digest::default(),
            wanted: None,
            parts: None,
            ways: Ways::new(now),
            late: Late::default(),
        }
    }

    /// What is to stay of it.
    pub(super) fn past(self) -> Past {
        let Peer { epoch, sequence, retired, late, mac, heard, .. } = self;
        Past { epoch, sequence, retired, late, mac, heard }
    }

    /// It was here before.
    pub(super) fn resume(&mut self, past: Past) {
        (self.retired, self.late) = (past.retired, past.late);
        if past.epoch != self.epoch {
            self.retire(past.epoch);
            self.late.skip();
        }
    }

    fn retire(&mut self, epoch: u64) {
        if self.retired.len() == RETIRED {
            self.retired.pop_front();
        }
        self.retired.push_back(epoch);
    }

    /// Goes over to a new session of the same station.
    pub(super) fn restart(&mut self, epoch: u64, sequence: u64) {
        self.retire(self.epoch);
        (self.epoch, self.sequence) = (epoch, sequence);
        self.listed = Duration::ZERO;
        self.hears.clear();
        self.fades = None;
        (self.wanted, self.parts) = (None, None);
        self.told = Digest::default();
        self.late.skip();
    }

    /// Whether its hello was heard since then, and all that it claims is known.
    pub fn is_known_since(&self, since: Duration) -> bool {
        self.greeted > since && self.known == self.told
    }

    /// Whether it is silent, in the order of the lines below: it was not heard for so long; and it had time to answer when it
    /// was asked, unless it said itself that it would be away. Whoever did not run for a moment asks late, and must not
    /// take what it did not read for silence.
    pub(super) fn is_silent(&self, timing: Timing, now: Duration) -> bool {
        self.heard + self.silence(timing) <= now
            && (self.away.is_some() || self.asked > 0 && self.asked_at + self.interval / ASKS <= now)
    }

    /// After so much silence it is gone, or away: later where its hellos came late before.
    pub(super) fn silence(&self, timing: Timing) -> Duration {
        timing.silence(self.interval) + self.patience(timing)
    }

    /// How much longer it may be silent than one whose hellos come in time, k intervals at most.
    pub fn patience(&self, timing: Timing) -> Duration {
        self.late.patience(timing, self.interval)
    }

    /// How often it is asked whether it is there: [`ASKS`] times in each interval before its silence counts.
    pub(super) fn asks(&self, timing: Timing) -> u32 {
        let patience = self.patience(timing);
        if patience.is_zero() {
            return ASKS;
        }
        let more = (patience * ASKS).as_nanos().div_ceil(self.interval.as_nanos().max(1));
        ASKS + u32::try_from(more).unwrap_or(u32::MAX)
    }

    /// What an election reads of it beside its standing, and beside what never changes.
    pub(super) fn stands_as(&self) -> (Mac, bool, bool) {
        (self.mac, self.has_ipv6(), self.stale)
    }

    /// Whether its link has IPv6.
    pub fn has_ipv6(&self) -> bool {
        self.addresses.iter().any(IpAddr::is_ipv6)
    }

    /// Takes the content of a hello that came at `at`.
    pub(super) fn hear(
        &mut self,
        hello: &Hello,
        lists_me: bool,
        timing: Timing,
        at: Duration,
        now: Duration,
    ) {
        self.interval = hello.interval;
        self.greeted = self.greeted.max(at);
        (self.unfit, self.stale) = (hello.flags.unfit, hello.flags.stale);
        self.state = hello.state;
        self.addresses.clone_from(&hello.addresses);
        self.loaded.clone_from(&hello.loaded);
        // A speaker that stood still is what it was, if nobody had noticed; else it is back when it answers again.
        self.suspended =
            hello.flags.paused && (self.suspended || self.away.is_some() || self.listed.is_zero());
        if self.away.is_some() && self.state == State::Active && !self.suspended {
            self.away = None;
        }
        if self.state != State::Away {
            self.told = hello.claims;
        }
        let valid = timing.silence(self.interval * u32::from(hello.slices));
        if lists_me {
            self.listed = self.listed.max(at + valid);
        }
        let until = at + self.interval * u32::from(hello.slices) + self.interval / 5;
        self.hears.retain(|_, (until, _)| *until > now);
        for heard in &hello.peers {
            self.hears.insert(heard.station, (until, heard.mutual));
        }
        // Whoever is in this slice no longer is not heard any more; in short lists all are in each.
        if hello.slices == 1 {
            let mut there: Vec<StationId> = hello.peers.iter().map(|heard| heard.station).collect();
            there.sort_unstable();
            self.hears.retain(|station, _| there.binary_search(station).is_ok());
        }
        self.look_for_fading(now);
    }

    /// Finds out when the first of what it hears ends.
    pub(super) fn look_for_fading(&mut self, now: Duration) {
        self.fades = self.hears.values().map(|(until, _)| *until).filter(|until| *until > now).min();
    }
}
