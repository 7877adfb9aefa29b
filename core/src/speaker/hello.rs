//! What is said to the other speakers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::announce::LinkIndex;
use crate::peers::{Question, sequence_at};
use crate::wire::hello::{
    self, Body, Claim, Claims, Flags, GROUP, Hello, MOST_ADDRESSES, Message, Sender, State, StationId, Voice,
};
use crate::wire::{Mac, arp, ndp};

use super::life::Life;
use super::{Effect, Segment, Sent, Speaker, Transports};

/// For whom something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    /// All on the link.
    All,
    /// One station, at this Ethernet address.
    One(StationId, Mac),
}

impl Speaker {
    /// Says hello on each link, where it is due.
    pub(super) fn say_hello(&mut self, now: Duration) {
        if self.hello_due > now || self.keys.is_empty() {
            return;
        }
        self.sequence = self.sequence.max(sequence_at(now));
        let links: Vec<LinkIndex> = self.links.keys().copied().collect();
        for link in links {
            let unheard = self.due_unheard(link, now);
            let mut strangers = self.strangers(link);
            let Some(hello) = self.hello_to(link, To::All, None, now) else { continue };
            strangers.extend(unheard.iter().flatten());
            self.tell_by_datagram(link, strangers, &hello, Sent::Hello);
            if let Some(unheard) = unheard {
                self.ask_unheard(link, &unheard, now);
            }
        }
        let interval = self.config.timing.interval;
        // In its last moments it says so more often: nobody will ask it again.
        let interval = if self.is_ending() { interval / 4 } else { interval };
        let due = self.hello_due + interval;
        self.hello_due = if due > now { due } else { now + interval };
        self.hello_sent = Some(now);
    }

    /// The next hello comes sooner, but not one after the other.
    pub(super) fn hasten(&mut self, now: Duration) {
        let earliest = self.hello_sent.map_or(now, |sent| sent + self.config.timing.interval / 4);
        self.hello_due = self.hello_due.min(earliest.max(now));
    }

    /// Says hello to all on a link, or to one, who asked by this nonce; the payload, if there is any.
    pub(super) fn hello_to(
        &mut self,
        link: LinkIndex,
        to: To,
        answers: Option<u64>,
        now: Duration,
    ) -> Option<Arc<[u8]>> {
        let station = match to {
            To::All => None,
            To::One(station, _) => Some(station),
        };
        let mut hello = self.hello(link, station, answers, now)?;
        if to == To::All {
            hello.routine = self.links.get_mut(&link)?.said.repeats(&hello);
        }
        self.send(link, to, Body::Hello(hello), Sent::Hello, now)
    }

    /// What there is to tell now, with this station in the list of peers in any case.
    pub(super) fn hello(
        &mut self,
        link: LinkIndex,
        station: Option<StationId>,
        answers: Option<u64>,
        now: Duration,
    ) -> Option<Hello> {
        let segment = self.links.get_mut(&link)?;
        let (slice, slices, peers) = segment.peers.list(station, now);
        let state = match self.life {
            Life::Ending { away: true, .. } => State::Away,
            Life::Ending { away: false, .. } => State::Leaving,
            Life::Running if !self.informed || segment.listening > now => State::Starting,
            Life::Running => State::Active,
        };
        let unfit = self.unfit || segment.peers.is_unheard(now);
        let addresses = segment.link.addresses.iter().copied().take(MOST_ADDRESSES).collect();
        Some(Hello {
            interval: self.config.timing.interval,
            misses: u8::try_from(self.config.timing.misses).unwrap_or(u8::MAX),
            state,
            flags: Flags { unfit, stale: self.stale, paused: self.pause.is_some() },
            answers,
            addresses,
            loaded: self.keys.ids().collect(),
            claims: segment.own.digest(),
            slice,
            slices,
            peers,
            routine: false,
        })
    }

    /// Asks a peer, or its kernel. Whether it is there is asked by datagram too: it may be the frames that are lost.
    pub(super) fn ask(
        &mut self,
        link: LinkIndex,
        (station, mac): (StationId, Mac),
        question: Question,
        now: Duration,
    ) {
        let to = To::One(station, mac);
        match question {
            Question::Ask => {
                self.knock(link, station, now);
                let nonce = self.sequence + 1;
                self.send(link, to, Body::Ask { nonce }, Sent::Question, now);
            }
            Question::Want(of_epoch) => {
                if self.pause.is_some() {
                    // Frames may have begun to be lost meanwhile, and what others claim now must be known.
                    self.knock(link, station, now);
                }
                self.send(link, to, Body::Want { of_epoch }, Sent::Question, now);
            }
            Question::Kernel(address) => {
                let Some(segment) = self.links.get(&link) else { return };
                if let Some(frame) = kernel_question(segment, mac, address) {
                    self.queue.push_back(Effect::Send { link, frame, what: Sent::Question });
                }
            }
        }
    }

    /// Tells what we claim no longer, or newly, since that was told last.
    pub(super) fn tell_changes(&mut self, link: LinkIndex, now: Duration) {
        let away = matches!(self.life, Life::Ending { away: true, .. });
        let Some(segment) = self.links.get_mut(&link) else { return };
        let untold = segment.own.take_untold();
        if untold.is_empty() || away {
            // What is stood in for stays ours.
            return;
        }
        let changes: Vec<(Option<Voice>, Claim)> = untold
            .into_iter()
            .map(|(address, before)| {
                let voice = segment.own.voice(address).unwrap_or(Voice::Released);
                (before, Claim { address, voice })
            })
            .collect();
        // The digest before is the one now with the changes taken back.
        let mut before = segment.own.digest();
        for (had, claim) in &changes {
            before.remove(claim);
            had.iter().for_each(|voice| before.add(&Claim { voice: *voice, ..*claim }));
        }
        for claims in Claims::change(before, &changes) {
            self.send(link, To::All, Body::Claims(claims), Sent::Claims, now);
        }
    }

    /// Tells all that we claim, to all; not twice within half an interval, so that many who ask cost no more than one.
    pub(super) fn tell_claims(&mut self, link: LinkIndex, now: Duration) {
        self.tell_changes(link, now);
        let half = self.config.timing.interval / 2;
        let Some(segment) = self.links.get_mut(&link) else { return };
        if segment.told.is_some_and(|told| now < told + half) {
            return;
        }
        segment.told = Some(now);
        for claims in Claims::whole(&segment.own.claims()) {
            self.send(link, To::All, Body::Claims(claims), Sent::Claims, now);
        }
    }

    /// Says something, by Ethernet and to those who need it by datagram; the payload, if it was said.
    fn send(&mut self, link: LinkIndex, to: To, body: Body, what: Sent, now: Duration) -> Option<Arc<[u8]>> {
        let payload = self.payload(link, body)?;
        let segment = self.links.get(&link)?;
        if self.config.transports != Transports::Udp {
            let destination = match to {
                To::All => GROUP,
                To::One(_, mac) => mac,
            };
            let frame = hello::frame(destination, segment.link.mac, &payload);
            self.queue.push_back(Effect::Send { link, frame, what });
        }
        for address in self.by_datagram(link, to, now) {
            self.queue.push_back(Effect::Datagram { link, to: address, payload: payload.clone(), what });
        }
        Some(payload)
    }

    /// The next thing that this node says on a link, signed.
    pub(super) fn payload(&mut self, link: LinkIndex, body: Body) -> Option<Arc<[u8]>> {
        let segment = self.links.get(&link)?;
        let peers =
            || segment.peers.iter().map(|(_, peer)| peer.loaded.as_slice()).filter(|keys| !keys.is_empty());
        let key = self.keys.signing(peers())?;
        self.sequence += 1;
        let sender = Sender {
            node: self.config.node.to_string(),
            interface: segment.link.name.clone(),
            mac: segment.link.mac,
            epoch: self.config.epoch,
            sequence: self.sequence,
        };
        // Names that do not fit were refused when the node and the link got them.
        hello::payload(&Message { sender, body }, key).ok().map(Arc::from)
    }
}

/// What was said to all on a link last, slice by slice.
#[derive(Clone, Debug, Default)]
pub(super) struct Said(Vec<Option<Hello>>);

impl Said {
    /// Whether this hello says what was said before, so that it can wait to be read; what it says is noted. Of a speaker
    /// that begins or ends none can: it says so a few times only.
    fn repeats(&mut self, hello: &Hello) -> bool {
        let slices = usize::from(hello.slices);
        if self.0.len() != slices {
            self.0 = vec![None; slices];
        }
        let Some(said) = self.0.get_mut(usize::from(hello.slice)) else { return false };
        let same = said.as_ref() == Some(hello);
        if !same {
            *said = Some(hello.clone());
        }
        same && hello.state == State::Active
    }
}

/// "Who has ADDRESS", for the kernel of the station at `mac` alone; `None` where we have no address of our own to ask from.
fn kernel_question(segment: &Segment, mac: Mac, address: IpAddr) -> Option<Vec<u8>> {
    let own = segment.link.mac;
    match address {
        IpAddr::V4(target) => {
            let mine = segment.link.addresses.iter().find_map(|known| match known {
                IpAddr::V4(four) => Some(*four),
                IpAddr::V6(_) => None,
            });
            // Without one, a probe asks as well: the answer comes all the same (RFC 5227 section 2.1.1).
            let packet = arp::request(own, mine.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED), target);
            Some(arp::Packet { destination: mac, ..packet }.build())
        }
        IpAddr::V6(target) => {
            let mine = segment.link.addresses.iter().find_map(|known| match known {
                IpAddr::V6(six) => Some(*six),
                IpAddr::V4(_) => None,
            });
            Some(ndp::Solicitation { destination: mac, ..ndp::request(own, mine?, target) }.build())
        }
    }
}
