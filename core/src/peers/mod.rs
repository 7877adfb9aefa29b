//! Who else speaks on a link: hellos heard, and what follows from silence.
//!
//! ```text
//!  hear(message) ─┐                  ┌─► Event::Claimed, Replaced   what a peer says that it answers for
//!                 ├──► Peers ────────┼─► Event::Standing            somebody came, went, or is fit no longer
//!  kernel(mac) ───┤  (one for each   └─► Event::Send                a question: are you there, what do you claim
//!  tick(now) ─────┘      link)
//! ```
//!
//! A peer *counts* while it is heard and says that it hears us, in its present session and in ours (mutual hearing). So a
//! node that is deaf or mute does not count, and frames of earlier sessions, replayed, change nothing. Where a peer that
//! counts still hears another one mutually, that one counts too: a frame lost on one way moves nothing.
//!
//! Silence is not yet absence. In the last interval the silent peer is asked, and so is the kernel of its node. A
//! speaker that is gone from a node that lives is *away*; only when the kernel is silent too, the node is gone.

mod outline;
mod peer;
mod timing;
mod ways;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::wire::Mac;
use crate::wire::hello::{
    Body, Claim, Claims, ClaimsKind, Digest, Heard, MOST_HEARD, Message, State, StationId,
};

pub use peer::Peer;
use peer::{Parts, Past};
pub use timing::{ASKS, Timing};
pub use ways::{DEAF, TRY, Transport};

/// The most peers on one link. More are not heard: memory is bounded, whatever holders of the key do.
pub const MOST_PEERS: usize = 1024;

/// The most messages that one list of claims may take.
const MOST_PARTS: u16 = 1024;

/// How a station stands in the election of its link. The first is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// It can own addresses.
    Fit,
    /// It listens and claims nothing yet.
    Starting,
    /// Traffic would end at its node, or its peers do not hear it.
    Unfit,
    /// It is giving its addresses up.
    Leaving,
    /// Its speaker ended and its node lives: what it owned stays its own, and somebody stands in.
    Away,
}

/// What follows from what was heard, or was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The standing of a station changed, or whether it is there at all.
    Standing,
    /// What changed of what a peer claims.
    Claimed(StationId, Vec<Claim>),
    /// All that a peer claims.
    Replaced(StationId, Vec<Claim>),
    /// A question for a peer.
    Send(StationId, Mac, Question),
    /// A hello is due now: somebody waits for it.
    Hello(Urgency),
    /// A peer is heard by another way than before; at first it is taken to be Ethernet.
    Transport(StationId, Transport),
    /// A peer's clock went on while ours did not: it was us who stood still.
    Frozen,
}

/// For whom a hello is due before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// All.
    All,
    /// All, and one who is not known yet and spoke by datagram, at one of these addresses of its own.
    Stranger(Vec<IpAddr>),
    /// This one, who asked with this nonce.
    One(StationId, Mac, u64),
}

/// What a peer is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Are you there?
    Ask,
    /// What do you claim, in this session?
    Want(u64),
    /// To its node's kernel: who has this address of yours?
    Kernel(IpAddr),
}

/// All other stations on one link.
#[derive(Clone, Debug)]
pub struct Peers {
    me: StationId,
    epoch: u64,
    timing: Timing,
    /// How long a node may be stood in for.
    limit: Duration,
    peers: BTreeMap<StationId, Peer>,
    /// The sessions of those who are forgotten, of at most [`MOST_PEERS`].
    past: BTreeMap<StationId, Past>,
    /// Whether any peer ever counted here.
    ever: bool,
    slice: usize,
    /// Since when there are peers of whom none hears us.
    unheard: Option<Duration>,
    /// Goes up with each change of who counts and of what an election reads of them.
    generation: u64,
    /// When all peers were looked at last, and how they stood.
    standings: BTreeMap<StationId, Standing>,
    events: Vec<Event>,
    next: Option<Duration>,
}

impl Peers {
    /// Of the link `me` in the session `epoch`; nobody was heard yet.
    pub fn new(me: StationId, epoch: u64, timing: Timing, limit: Duration) -> Self {
        Peers {
            me,
            epoch,
            timing,
            limit,
            peers: BTreeMap::new(),
            past: BTreeMap::new(),
            ever: false,
            slice: 0,
            unheard: None,
            generation: 0,
            standings: BTreeMap::new(),
            events: Vec::new(),
            next: None,
        }
    }

    /// Takes what was received on the link, by this way.
    ///
    /// Steps, in the order of the lines below:
    /// 1. our own words (a hub, a bond) count for nothing;
    /// 2. a session that is over, and a number that is not higher than the last: a replay, or late. What is just as
    ///    new came by the other way before, and shows that this one works too. A new session counts from the first
    ///    hello on that says that it hears our present one;
    /// 3. the sender is heard: its silence ends;
    /// 4. a hello tells its state and whom it hears; the rest counts only from somebody who hears us;
    /// 5. what was asked is answered; whoever asks by datagram hears us by nothing else, and is told all so for a while.
    pub fn hear(&mut self, message: &Message, by: Transport, now: Duration) {
        let Message { sender, body } = message;
        let station = sender.station();
        if station == self.me {
            return;
        }
        let lists_me = match body {
            Body::Hello(hello) => hello.peers.iter().any(|heard| heard.is(self.me, self.epoch)),
            _ => false,
        };
        if let Some(peer) = self.peers.get_mut(&station) {
            let other = peer.epoch != sender.epoch;
            let over = other && peer.retired.contains(&sender.epoch);
            if over || !other && sender.sequence <= peer.sequence {
                let age = told_at(peer.sequence).saturating_sub(told_at(sender.sequence));
                if !other && age <= peer.interval * 2 {
                    peer.ways.hear(by, now);
                    if let (Body::Ask { nonce }, Transport::Udp) = (body, by)
                        && self.want_udp(station, now)
                    {
                        // The answer to the frame may not get through.
                        self.events.push(Event::Hello(Urgency::One(station, sender.mac, *nonce)));
                    }
                }
                return;
            }
            if other
                && !lists_me
                && (peer.heard + self.timing.silence(peer.interval) > now || peer.away.is_some())
            {
                // It does not hear us yet, or never will: the session that we know goes on until it does. It hears us
                // sooner if we say hello now.
                self.events.push(Event::Hello(Urgency::of_stranger(body, by)));
                return;
            }
        } else if self.peers.len() >= MOST_PEERS {
            return;
        } else {
            let Some(node) = Some(sender.node.as_str()).filter(|_| matches!(body, Body::Hello(_))) else {
                return;
            };
            if let Some(past) = self.past.get(&station) {
                let same = past.epoch == sender.epoch;
                if past.retired.contains(&sender.epoch) || same && sender.sequence <= past.sequence {
                    return;
                }
                if !same && !lists_me {
                    // It counts from its first word on that it hears us, as if it were still known.
                    self.events.push(Event::Hello(Urgency::of_stranger(body, by)));
                    return;
                }
            }
            let mut peer = Peer::new(node, &sender.interface, sender.mac, sender.epoch, sender.sequence, now);
            peer.clocks = (told_at(sender.sequence), now);
            if let Some(past) = self.past.remove(&station) {
                peer.resume(past);
            }
            self.peers.insert(station, peer);
            self.generation += 1;
            self.events.push(Event::Hello(Urgency::All));
        }
        let timing = self.timing;
        let Some(peer) = self.peers.get_mut(&station) else { return };
        let before = peer.stands_as();
        if peer.epoch != sender.epoch {
            // Its speaker ended without a word, and its node lives: what it owned is stood in for until it claims.
            let owned = peer.known.count > 0;
            peer.restart(sender.epoch, sender.sequence);
            peer.clocks = (told_at(sender.sequence), now);
            peer.away = peer.away.or(owned.then_some(now));
        }
        // Its clock went on, and ours did not.
        let told = told_at(sender.sequence);
        let (theirs, ours) = (told.saturating_sub(peer.clocks.0), now.saturating_sub(peer.clocks.1));
        let frozen = theirs > ours + timing.silence(peer.interval);
        if frozen {
            self.events.push(Event::Frozen);
        }
        // Over a short time, as no two clocks run alike; but over more than one message, as many may have waited for us.
        if frozen || ours > peer.interval * CLOCKS {
            peer.clocks = (told, now);
        }
        peer.sequence = sender.sequence;
        (peer.heard, peer.asked, peer.kernel) = (now, 0, now);
        peer.mac = sender.mac;
        peer.ways.hear(by, now);
        if by == Transport::Udp && matches!(body, Body::Ask { .. }) {
            peer.ways.want(now);
        }
        if let Body::Hello(hello) = body {
            peer.hear(hello, lists_me, timing, now);
            if lists_me {
                self.ever = true;
            }
        }
        self.generation += u64::from(before != peer.stands_as());
        let counts = peer.listed > now;
        let transport = peer.ways.judge(peer.interval, now);
        self.events.extend(transport.map(|transport| Event::Transport(station, transport)));
        match body {
            Body::Claims(claims) if counts => self.learn(station, claims),
            Body::Ask { nonce } => {
                self.events.push(Event::Hello(Urgency::One(station, sender.mac, *nonce)));
            }
            _ => {}
        }
        self.compare(station, now);
        self.tick(now);
    }

    /// Takes claims of somebody who counts.
    fn learn(&mut self, station: StationId, claims: &Claims) {
        let Some(peer) = self.peers.get_mut(&station) else { return };
        match claims.kind {
            ClaimsKind::Change { before } => {
                // A change of something that we do not know is still true of the addresses that it names.
                peer.known = if peer.known == before { claims.after } else { UNKNOWN };
                peer.told = claims.after;
                self.events.push(Event::Claimed(station, claims.entries.clone()));
            }
            ClaimsKind::Whole { part, parts } if parts <= MOST_PARTS => {
                let fits = |known: &Parts| known.after == claims.after && known.of == parts;
                let mut whole = peer.parts.take().filter(fits);
                let whole_parts = whole.get_or_insert_with(|| Parts {
                    after: claims.after,
                    of: parts,
                    parts: BTreeMap::new(),
                });
                whole_parts.parts.insert(part, claims.entries.clone());
                if whole_parts.parts.len() < usize::from(parts) {
                    peer.parts = whole;
                    return;
                }
                let all: Vec<Claim> =
                    whole.into_iter().flat_map(|whole| whole.parts.into_values()).flatten().collect();
                if Digest::of(&all) == claims.after {
                    (peer.known, peer.told) = (claims.after, claims.after);
                    self.events.push(Event::Replaced(station, all));
                }
            }
            ClaimsKind::Whole { .. } => {}
        }
    }

    /// Where what a peer tells of its claims is not what is known of them, it is asked, once in an interval.
    fn compare(&mut self, station: StationId, now: Duration) {
        let Some(peer) = self.peers.get_mut(&station) else { return };
        let lately = peer.wanted.is_some_and(|at| now < at + self.timing.interval);
        // A speaker that is away claims nothing any more, and what it owned is still known.
        let settled = peer.known == peer.told || matches!(peer.state, State::Starting | State::Away);
        if settled || lately || peer.listed <= now {
            return;
        }
        if peer.told == Digest::default() {
            peer.known = peer.told;
            self.events.push(Event::Replaced(station, Vec::new()));
            return;
        }
        peer.wanted = Some(now);
        self.events.push(Event::Send(station, peer.mac, Question::Want(peer.epoch)));
    }

    /// The kernel of a node answered: the sender of an ARP reply or a neighbour advertisement for the node's own
    /// address has this Ethernet address.
    pub fn kernel(&mut self, mac: Mac, address: IpAddr, now: Duration) {
        for peer in self.peers.values_mut() {
            if peer.mac == mac && peer.addresses.contains(&address) {
                peer.kernel = now;
            }
        }
    }

    /// A peer counted on this link before it went and came again.
    pub fn remember(&mut self) {
        self.ever = true;
    }

    /// This node stood still: nobody's silence so far means anything.
    pub fn excuse(&mut self, now: Duration) {
        for peer in self.peers.values_mut() {
            (peer.heard, peer.asked) = (peer.heard.max(now), 0);
            peer.kernel = peer.kernel.max(now);
            peer.ways.excuse(now);
            peer.listed = peer.listed.max(now + self.timing.silence(peer.interval));
        }
        self.next = self.compute_deadline(now);
    }

    /// A node that is stood in for does not serve any more: its proxy says so.
    pub fn fail(&mut self, node: &str, now: Duration) {
        let failed = self.peers.iter().filter(|(_, peer)| peer.away.is_some() && &*peer.node == node);
        let failed: Vec<StationId> = failed.map(|(station, _)| *station).collect();
        failed.into_iter().for_each(|station| self.remove(station));
        self.tick(now);
    }

    /// Does what time asks for; to be called at [`deadline`](Self::deadline), and harmless at any other time.
    ///
    /// For each peer, in the order of the lines below:
    /// 1. in doubt, it is asked [`ASKS`] times, and its node's kernel each time;
    /// 2. silent, it is away if the kernel answered in the meantime, and gone if not;
    /// 3. away, the kernel is asked each interval; after k intervals of its silence, or after the limit, it is gone.
    pub fn tick(&mut self, now: Duration) {
        let timing = self.timing;
        let mut gone = Vec::new();
        for (station, peer) in &mut self.peers {
            let interval = peer.interval;
            let doubt = peer.heard + timing.doubt(interval);
            let silent = peer.heard + timing.silence(interval) <= now;
            self.generation += u64::from(std::mem::replace(&mut peer.silent, silent) != silent);
            if peer.fades.is_some_and(|at| at <= now) {
                peer.look_for_fading(now);
            }
            if peer.state == State::Away && peer.away.is_none() && !peer.listed.is_zero() {
                (peer.away, peer.kernel) = (Some(now), now);
            }
            if peer.away.is_none() {
                let due = doubt + interval * peer.asked / ASKS;
                if peer.asked < ASKS && due <= now {
                    peer.asked += 1;
                    self.events.push(Event::Send(*station, peer.mac, Question::Ask));
                    let kernel = peer.addresses.first();
                    self.events.extend(
                        kernel.map(|address| Event::Send(*station, peer.mac, Question::Kernel(*address))),
                    );
                }
                if peer.silent {
                    // What the kernel answered since it was asked counts; what it said before does not.
                    if peer.kernel >= doubt && peer.known.count > 0 {
                        peer.away = Some(now);
                        peer.kernel_asked = now;
                    } else {
                        gone.push(*station);
                    }
                }
            }
            if let Some(since) = peer.away {
                let speaks = peer.heard + timing.silence(interval) > now && peer.state != State::Away;
                if !speaks && peer.kernel_asked + timing.interval <= now {
                    peer.kernel_asked = now;
                    let kernel = peer.addresses.first();
                    self.events.extend(
                        kernel.map(|address| Event::Send(*station, peer.mac, Question::Kernel(*address))),
                    );
                }
                let silent = !speaks && peer.kernel + timing.silence(timing.interval) <= now;
                if silent || since + self.limit <= now {
                    gone.push(*station);
                }
            }
        }
        self.forget(gone, now);
        self.compare_standings(now);
        self.next = self.compute_deadline(now);
    }

    /// Forgets who is gone, unless somebody who counts still hears it.
    fn forget(&mut self, gone: Vec<StationId>, now: Duration) {
        for station in gone {
            let away = self.peers.get(&station).is_some_and(|peer| peer.away.is_some());
            if away || !self.is_vouched(station, now) {
                self.remove(station);
            }
        }
    }

    /// It is not there any more, and claims nothing: should it return, it is new, and only its claims of then count. Its
    /// standing need not change by that, if it did not count before.
    fn remove(&mut self, station: StationId) {
        if let Some(peer) = self.peers.remove(&station) {
            if self.past.len() >= MOST_PEERS {
                self.past.pop_first();
            }
            self.past.insert(station, peer.past());
            self.generation += 1;
        }
        self.events.push(Event::Replaced(station, Vec::new()));
    }

    /// Whether somebody says now that it hears `station`, and that it is heard there. It need not hear us any more, as long as
    /// it did in its session and ours: a node that nobody hears must not take itself for the only one.
    fn is_vouched(&self, station: StationId, now: Duration) -> bool {
        let knows = |peer: &Peer| self.speaks(peer, now) && !peer.listed.is_zero();
        let others = self.peers.iter().filter(|(id, peer)| **id != station && knows(peer));
        let mut words = others.filter_map(|(_, peer)| peer.hears.get(&station));
        words.any(|(until, mutual)| *mutual && *until > now)
    }

    /// Whether it is heard.
    fn speaks(&self, peer: &Peer, now: Duration) -> bool {
        peer.heard + self.timing.silence(peer.interval) > now
    }

    /// Whether it is heard, and hears us.
    fn counts(&self, peer: &Peer, now: Duration) -> bool {
        self.speaks(peer, now) && peer.listed > now
    }

    /// How each station but ours stands; those that do not count are left out.
    fn compute_standings(&self, now: Duration) -> BTreeMap<StationId, Standing> {
        let mut standings = BTreeMap::new();
        for (station, peer) in &self.peers {
            let counts = self.counts(peer, now);
            let standing = match (peer.away, peer.state) {
                (Some(_), _) => Standing::Away,
                _ if !counts && !self.is_vouched(*station, now) => continue,
                (None, State::Leaving) => Standing::Leaving,
                (None, _) if peer.unfit => Standing::Unfit,
                (None, State::Starting) => Standing::Starting,
                (None, _) if peer.suspended => Standing::Starting,
                (None, _) => Standing::Fit,
            };
            standings.insert(*station, standing);
        }
        standings
    }

    fn compare_standings(&mut self, now: Duration) {
        let standings = self.compute_standings(now);
        let speaking = || self.peers.values().filter(|peer| peer.away.is_none() && self.speaks(peer, now));
        let lonely = speaking().next().is_some() && speaking().all(|peer| peer.listed <= now);
        self.unheard = if lonely { self.unheard.or(Some(now)) } else { None };
        if standings != self.standings {
            self.standings = standings;
            self.generation += 1;
            self.events.push(Event::Standing);
        }
    }

    /// When [`tick`](Self::tick) has something to do, if nothing else happens.
    pub fn deadline(&self) -> Option<Duration> {
        self.next
    }

    fn compute_deadline(&self, now: Duration) -> Option<Duration> {
        let timing = self.timing;
        let of = |peer: &Peer| {
            let silence = peer.heard + timing.silence(peer.interval);
            let asks = peer.heard + timing.doubt(peer.interval) + peer.interval * peer.asked / ASKS;
            let away = peer.away.map(|since| {
                let kernel = peer.kernel + timing.silence(timing.interval);
                kernel.min(since + self.limit).min(peer.kernel_asked + timing.interval)
            });
            let hears = peer.fades.filter(|until| *until > now);
            let asks = (peer.asked < ASKS && peer.away.is_none()).then_some(asks);
            let all = [Some(silence), (peer.listed > now).then_some(peer.listed), asks, away, hears];
            let next = all.into_iter().flatten().filter(|at| *at > now).min();
            // Something that is due and was not done is looked at once more in an interval.
            next.unwrap_or(now + timing.interval)
        };
        let unheard = self.unheard.map(|since| since + timing.listening()).filter(|at| *at > now);
        self.peers.values().map(of).chain(unheard).min()
    }

    /// What follows, in order.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// How the stations but ours stand.
    pub fn standings(&self) -> &BTreeMap<StationId, Standing> {
        &self.standings
    }

    /// Goes up with each change of who counts, how it stands, and what else an election reads of it.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What is known of a station.
    pub fn get(&self, station: StationId) -> Option<&Peer> {
        self.peers.get(&station)
    }

    /// All stations that were heard and are not gone.
    pub fn iter(&self) -> impl Iterator<Item = (StationId, &Peer)> {
        self.peers.iter().map(|(station, peer)| (*station, peer))
    }

    /// Whether nobody counts here, nobody ever did, and nobody is heard: the wire says nothing.
    pub fn is_unknown(&self) -> bool {
        !self.ever && self.peers.is_empty()
    }

    /// Whether any peer ever counted on this link since this speaker began. From then on it is the hellos that decide, also when
    /// all fall silent.
    pub fn ever(&self) -> bool {
        self.ever
    }

    /// Whether peers speak here of whom none has heard us for k intervals: our frames do not get through.
    pub fn is_unheard(&self, now: Duration) -> bool {
        self.unheard.is_some_and(|since| since + self.timing.listening() <= now)
    }

    /// Whether somebody counts whose speaker is not away.
    pub fn any(&self) -> bool {
        self.standings.values().any(|standing| *standing != Standing::Away)
    }

    /// The part of the list of peers whose turn it is: what to put into the next hello; `with` is in it in any case.
    pub fn list(&mut self, with: Option<StationId>, now: Duration) -> (u8, u8, Vec<Heard>) {
        // Whoever was not heard in the last but one interval is not vouched for: others may be waiting to know.
        let recent = |peer: &&Peer| peer.heard + self.timing.doubt(peer.interval) > now;
        let heard = |(station, peer): (StationId, &Peer)| Heard::new(station, peer.epoch, peer.listed > now);
        let all: Vec<Heard> = self.iter().filter(|(_, peer)| recent(peer)).map(heard).collect();
        let slices = all.len().div_ceil(MOST_HEARD).max(1);
        let slice = match with.and_then(|with| all.iter().position(|heard| heard.station == with)) {
            Some(at) => at / MOST_HEARD,
            None => {
                self.slice = (self.slice + 1) % slices;
                self.slice
            }
        };
        let part = all.chunks(MOST_HEARD).nth(slice).unwrap_or_default().to_vec();
        let number = |value: usize| u8::try_from(value).unwrap_or(u8::MAX);
        (number(slice), number(slices), part)
    }
}

/// Over so many intervals clocks are compared.
const CLOCKS: u32 = 10;

/// The lower bits of a sequence number count; those above tell the sender's time in milliseconds.
const COUNTING: u32 = 20;

/// The number from which a speaker that says hello at `now` counts on.
///
/// Numbers rise with the sender's clock, so that whoever hears two of them knows how much time passed at the sender
/// between them. A machine that stood still with its clock finds that out by the first hello that it hears.
pub fn sequence_at(now: Duration) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX).saturating_mul(1 << COUNTING)
}

/// What the sender's clock showed, roughly, when it gave this number.
fn told_at(sequence: u64) -> Duration {
    Duration::from_millis(sequence >> COUNTING)
}

/// A digest that nothing has: of a peer whose claims are known in part.
const UNKNOWN: Digest = Digest { count: u32::MAX, sum: u64::MAX };

#[cfg(test)]
mod tests;
