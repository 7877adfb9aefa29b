//! What is said to the other speakers.

use std::net::IpAddr;
use std::time::Duration;

use crate::announce::LinkIndex;
use crate::peers::{Question, sequence_at};
use crate::wire::hello::{
    self, Body, Claim, Claims, Flags, GROUP, Hello, MOST_ADDRESSES, Message, Sender, State, StationId, Voice,
};
use crate::wire::{Mac, arp, ndp};

use super::life::Life;
use super::{Effect, Segment, Sent, Speaker};

impl Speaker {
    /// Says hello on each link, where it is due.
    pub(super) fn say_hello(&mut self, now: Duration) {
        if self.hello_due > now || self.keys.is_empty() {
            return;
        }
        self.sequence = self.sequence.max(sequence_at(now));
        let links: Vec<LinkIndex> = self.links.keys().copied().collect();
        links.into_iter().for_each(|link| self.hello_to(link, None, now));
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

    /// Says hello to all on a link, or to one who asked.
    pub(super) fn hello_to(&mut self, link: LinkIndex, one: Option<(StationId, Mac, u64)>, now: Duration) {
        let Some(segment) = self.links.get_mut(&link) else { return };
        let (slice, slices, peers) = segment.peers.list(one.map(|(station, ..)| station), now);
        let state = match self.life {
            Life::Ending { away: true, .. } => State::Away,
            Life::Ending { away: false, .. } => State::Leaving,
            Life::Running if !self.informed || segment.listening > now => State::Starting,
            Life::Running => State::Active,
        };
        let unfit = self.unfit || segment.peers.is_unheard(now);
        let addresses = segment.link.addresses.iter().copied().take(MOST_ADDRESSES).collect();
        let body = Body::Hello(Hello {
            interval: self.config.timing.interval,
            misses: u8::try_from(self.config.timing.misses).unwrap_or(u8::MAX),
            state,
            flags: Flags { unfit, stale: self.stale, paused: self.pause.is_some() },
            answers: one.map(|(.., nonce)| nonce),
            addresses,
            loaded: self.keys.ids().collect(),
            claims: segment.own.digest(),
            slice,
            slices,
            peers,
        });
        self.send(link, one.map_or(GROUP, |(_, mac, _)| mac), body, Sent::Hello);
    }

    /// Asks a peer, or its kernel.
    pub(super) fn ask(&mut self, link: LinkIndex, mac: Mac, question: Question) {
        match question {
            Question::Ask => {
                let nonce = self.sequence + 1;
                self.send(link, mac, Body::Ask { nonce }, Sent::Question);
            }
            Question::Want(of_epoch) => self.send(link, mac, Body::Want { of_epoch }, Sent::Question),
            Question::Kernel(address) => {
                let Some(segment) = self.links.get(&link) else { return };
                if let Some(frame) = kernel_question(segment, mac, address) {
                    self.queue.push_back(Effect::Send { link, frame, what: Sent::Question });
                }
            }
        }
    }

    /// Tells what we claim no longer, or newly, since that was told last.
    pub(super) fn tell_changes(&mut self, link: LinkIndex) {
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
            self.send(link, GROUP, Body::Claims(claims), Sent::Claims);
        }
    }

    /// Tells all that we claim, to all; not twice within half an interval, so that many who ask cost no more than one.
    pub(super) fn tell_claims(&mut self, link: LinkIndex, now: Duration) {
        self.tell_changes(link);
        let half = self.config.timing.interval / 2;
        let Some(segment) = self.links.get_mut(&link) else { return };
        if segment.told.is_some_and(|told| now < told + half) {
            return;
        }
        segment.told = Some(now);
        for claims in Claims::whole(&segment.own.claims()) {
            self.send(link, GROUP, Body::Claims(claims), Sent::Claims);
        }
    }

    fn send(&mut self, link: LinkIndex, to: Mac, body: Body, what: Sent) {
        let Some(segment) = self.links.get(&link) else { return };
        let peers =
            || segment.peers.iter().map(|(_, peer)| peer.loaded.as_slice()).filter(|keys| !keys.is_empty());
        let Some(key) = self.keys.signing(peers()) else { return };
        self.sequence += 1;
        let sender = Sender {
            node: self.config.node.to_string(),
            interface: segment.link.name.clone(),
            mac: segment.link.mac,
            epoch: self.config.epoch,
            sequence: self.sequence,
        };
        // Names that do not fit were refused when the node and the link got them.
        if let Ok(payload) = hello::payload(&Message { sender, body }, key) {
            let frame = hello::frame(to, segment.link.mac, &payload);
            self.queue.push_back(Effect::Send { link, frame, what });
        }
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
