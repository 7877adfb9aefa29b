//! Who else speaks on a link: hellos heard, and what follows from silence.
//!
//! ```text
//!  hear(message) ─┐                  ┌─► Event::Claimed, Replaced, Gone   what a peer says that it answers for
//!                 ├──► Peers ────────┼─► Event::Standing                  somebody came, went, or is fit no longer
//!  kernel(mac) ───┤  (one for each   └─► Event::Send                      a question: are you there, what do you claim
//!  tick(now) ─────┘      link)
//! ```
//!
//! A peer *counts* while it is heard and says that it hears us, in its present session and in ours (mutual hearing). So a
//! node that is deaf or mute does not count, and frames of earlier sessions, replayed, change nothing. Where a peer that
//! counts still hears another one mutually, that one counts too: a frame lost on one way moves nothing.
//!
//! Silence is not yet absence. In the last interval the silent peer is asked, and so is the kernel of its node; one that was
//! late before is given more time, and asked for longer. A
//! speaker that is gone from a node that lives is *away*; only when the kernel is silent too, the node is gone.

mod claims;
mod late;
mod outline;
mod peer;
mod silence;
mod timing;
mod ways;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::wire::Mac;
use crate::wire::hello::{Body, Claim, Heard, MOST_HEARD, Message, StationId};

use peer::Past;
pub use peer::Peer;
pub use timing::{ASKS, Timing};
pub use ways::{DEAF, TRY, Transport};

/// The most peers on one link. More are not heard: memory is bounded, whatever holders of the key do.
pub const MOST_PEERS: usize = 1024;

/// So long a station that is silent is no foreign host.
pub const REMEMBERED: Duration = Duration::from_secs(60);

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
    /// A peer is gone, or as good as new: what it claimed it claims no more.
    Gone(StationId),
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

    /// Takes what comes in on the link now, by this way.
    pub fn hear(&mut self, message: &Message, by: Transport, now: Duration) {
        self.hear_late(message, by, now, now);
    }

    /// Takes what came in at `at` and waited since.
    ///
    /// Steps, in the order of the lines below:
    /// 1. our own words (a hub, a bond) count for nothing;
    /// 2. a session that is over, and a number that is not higher than the last: a replay, or late. What is just as
    ///    new came by the other way before, and shows that this one works too. A new session counts from the first
    ///    hello on that says that it hears our present one;
    /// 3. the sender is heard: its silence ends;
    /// 4. a hello tells its state and whom it hears; the rest counts only from somebody who hears us;
    /// 5. what was asked is answered; whoever asks by datagram hears us by nothing else, and is told all so for a while.
    pub fn hear_late(&mut self, message: &Message, by: Transport, at: Duration, now: Duration) {
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
                    peer.ways.hear(by, at);
                    if let (Body::Ask { nonce }, Transport::Udp) = (body, by)
                        && self.want_udp(station, now)
                    {
                        // The answer to the frame may not get through.
                        self.events.push(Event::Hello(Urgency::One(station, sender.mac, *nonce)));
                    }
                }
                return;
            }
            if other && !lists_me && (peer.heard + peer.silence(self.timing) > now || peer.away.is_some()) {
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
            let mut peer = Peer::new(node, &sender.interface, sender.mac, sender.epoch, sender.sequence, at);
            peer.clocks = (told_at(sender.sequence), at);
            if let Body::Hello(hello) = body {
                // How late it is depends on that.
                peer.interval = hello.interval;
            }
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
            peer.clocks = (told_at(sender.sequence), at);
            peer.away = peer.away.or(owned.then_some(now));
        }
        // Its clock went on, and ours did not.
        let told = told_at(sender.sequence);
        let (theirs, ours) = (told.saturating_sub(peer.clocks.0), at.saturating_sub(peer.clocks.1));
        let frozen = theirs > ours + timing.silence(peer.interval);
        if frozen {
            self.events.push(Event::Frozen);
        }
        // Over a short time, as no two clocks run alike; but over more than one message, as many may have waited for us.
        if frozen || ours > peer.interval * CLOCKS {
            peer.clocks = (told, at);
        }
        peer.sequence = sender.sequence;
        (peer.heard, peer.asked, peer.kernel) = (peer.heard.max(at), 0, peer.kernel.max(at));
        peer.mac = sender.mac;
        peer.ways.hear(by, at);
        // Whom no frame comes from speaks only to those who ask for it by datagram, for as long as they do.
        if peer.is_heard_by_ethernet(at) {
            peer.late.hear(timing, peer.interval, at);
        } else {
            peer.late.skip();
        }
        if by == Transport::Udp && matches!(body, Body::Ask { .. }) {
            peer.ways.want(now);
        }
        if let Body::Hello(hello) = body {
            peer.hear(hello, lists_me, timing, at, now);
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

    /// A peer counted on this link before it went and came again.
    pub fn remember(&mut self) {
        self.ever = true;
    }

    /// When [`tick`](Self::tick) has something to do, if nothing else happens.
    pub fn deadline(&self) -> Option<Duration> {
        self.next
    }

    /// The claims among what [`take_events`](Self::take_events) is to tell.
    pub fn new_claims(&self) -> impl Iterator<Item = &Claim> {
        let claims = self.events.iter().map(|event| match event {
            Event::Claimed(_, claims) | Event::Replaced(_, claims) => claims.as_slice(),
            _ => &[],
        });
        claims.flatten()
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

    /// Whether this is the Ethernet address of a station that was heard in the last [`REMEMBERED`], and is no peer now. A node that
    /// hears again, after it was cut off, hears others answer before they say hello.
    pub fn was_heard(&self, mac: Mac, now: Duration) -> bool {
        self.past.values().any(|past| past.mac == mac && now < past.heard + REMEMBERED)
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

#[cfg(test)]
mod tests;
