//! What forged hellos may cost.
//!
//! To find that a tag is wrong takes an HMAC over the whole payload. Whoever sends enough of these would have a speaker do
//! nothing else, so after [`MOST`] in a [`WINDOW`] no more are looked at until it is over: those of strangers together,
//! and those in the name of each peer by themselves. So a flood from anywhere keeps no peer from being heard, and one that
//! takes a peer's Ethernet address that peer alone; who can do that can answer ARP in its name, too.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::wire::Mac;
use crate::wire::hello::Refusal;

use super::Segment;

/// So long wrong tags are counted.
pub(super) const WINDOW: Duration = Duration::from_millis(100);

/// So many are looked at in that time, of each. 640 a second take a thousandth of a processor or two.
pub(super) const MOST: u32 = 64;

/// The wrong tags of the present window, of each peer by its Ethernet address, and of strangers.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate {
    since: Duration,
    wrong: BTreeMap<Option<Mac>, u32>,
}

impl Gate {
    /// Whether there were too many.
    fn is_shut(&self, whose: Option<Mac>) -> bool {
        self.wrong.get(&whose).is_some_and(|wrong| *wrong >= MOST)
    }

    fn begin(&mut self, now: Duration) {
        if self.since + WINDOW <= now {
            self.since = now;
            self.wrong.clear();
        }
    }
}

impl Segment {
    /// Whether a frame with this Ethernet source is looked at.
    pub(super) fn admits(&mut self, source: Option<Mac>, now: Duration) -> bool {
        self.gate.begin(now);
        self.gate.wrong.is_empty() || !self.gate.is_shut(self.peer_with(source))
    }

    /// Whether a datagram from this address is.
    pub(super) fn admits_from(&mut self, from: IpAddr, now: Duration) -> bool {
        self.gate.begin(now);
        self.gate.wrong.is_empty() || !self.gate.is_shut(self.peer_at(from))
    }

    /// What came was refused.
    pub(super) fn refused(&mut self, source: Option<Mac>, why: Refusal) {
        if why == Refusal::Tag {
            let whose = self.peer_with(source);
            *self.gate.wrong.entry(whose).or_default() += 1;
        }
    }

    /// The same of a datagram.
    pub(super) fn refused_from(&mut self, from: IpAddr, why: Refusal) {
        let source = self.peer_at(from);
        self.refused(source, why);
    }

    fn peer_with(&self, mac: Option<Mac>) -> Option<Mac> {
        mac.filter(|mac| self.peers.iter().any(|(_, peer)| peer.mac == *mac))
    }

    fn peer_at(&self, address: IpAddr) -> Option<Mac> {
        self.peers.iter().find(|(_, peer)| peer.addresses.contains(&address)).map(|(_, peer)| peer.mac)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use crate::announce::{Ignored, Link, LinkIndex};
    use crate::hello_key::{Key, Keys};
    use crate::peers::{Timing, sequence_at};
    use crate::speaker::{Config, Speaker, Transports};
    use crate::wire::hello::{
        Body, Digest, Flags, GROUP, Heard, Hello, Message, Sender, State, StationId, frame, payload,
    };

    use super::*;

    const LAN: LinkIndex = LinkIndex(2);
    const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const THEIRS: Mac = Mac([2, 0, 0, 0, 0, 2]);
    const FOREIGN: Mac = Mac([2, 0, 0, 0, 0, 9]);

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn speaker() -> Speaker {
        let mut speaker = Speaker::new(Config {
            node: "ours".into(),
            epoch: 1,
            timing: Timing::default(),
            refresh: None,
            stand_in_limit: Duration::from_secs(60),
            conflict_detection: true,
            transports: Transports::Ethernet,
        });
        let link = Link {
            name: "lan".to_owned(),
            mac: OURS,
            ups: 1,
            ipv6: false,
            addresses: [].into(),
            networks: [].into(),
        };
        speaker.set_keys(Arc::new(Keys::new(Key::new([7; 32]), []).unwrap()), ms(0));
        speaker.handle_links(BTreeMap::from([(LAN, link)]), ms(0));
        speaker
    }

    /// The hello of another speaker that hears us, signed with this key.
    fn hello(at: Duration, key: u8) -> Vec<u8> {
        let sender = Sender {
            node: "theirs".into(),
            interface: "lan".into(),
            mac: THEIRS,
            epoch: 2,
            sequence: sequence_at(at) + 1,
        };
        let body = Body::Hello(Hello {
            interval: ms(100),
            misses: 3,
            state: State::Active,
            flags: Flags::default(),
            answers: None,
            addresses: Vec::new(),
            loaded: Vec::new(),
            claims: Digest::default(),
            slice: 0,
            slices: 1,
            peers: vec![Heard::new(StationId::of("ours", "lan"), 1, true)],
            routine: false,
        });
        frame(GROUP, THEIRS, &payload(&Message { sender, body }, &Key::new([key; 32])).unwrap())
    }

    /// Says and does all that is due.
    fn act(speaker: &mut Speaker, now: Duration) {
        while speaker.next_effect(now).is_some() {}
    }

    fn counts(speaker: &Speaker) -> usize {
        speaker.peers().map(|(_, peers)| peers.standings().len()).sum()
    }

    /// A million frames in a hundred seconds, from all over the place: forged in a peer's name and in a stranger's, cut, signed
    /// with another key, and true ones of before.
    #[test]
    fn a_million_forged_hellos_change_nothing_cost_little_and_leave_nothing() {
        let mut speaker = speaker();
        let (mut looked_at, mut replayed, mut before) = (0, 0, 0);
        for interval in 0..1000u64 {
            let now = ms(interval * 100);
            let right = hello(now, 7);
            assert_eq!(speaker.handle_frame(LAN, &right, now), Ok(None), "the peer is heard, at {now:?}");
            act(&mut speaker, now);
            let others = hello(now, 8);
            for number in 0..1000usize {
                let at = now + Duration::from_micros(99 * number as u64);
                let mut frame = if number % 4 == 2 { others.clone() } else { right.clone() };
                let bit = (number * 7919 + interval as usize) % ((frame.len() - 24) * 8);
                match number % 4 {
                    0 => frame[24 + bit / 8] ^= 1 << (bit % 8),
                    1 => {
                        frame[6..12].copy_from_slice(&FOREIGN.0);
                        frame[24 + bit / 8] ^= 1 << (bit % 8);
                    }
                    2 => frame.truncate(if number % 8 == 2 { 14 + bit / 8 } else { frame.len() }),
                    _ => {}
                }
                match speaker.handle_frame(LAN, &frame, at) {
                    Ok(None) if number % 4 == 3 => replayed += 1,
                    Ok(answer) => panic!("accepted {number} at {at:?}: {answer:?}"),
                    Err(Ignored::RefusedHello(Refusal::Tag)) => looked_at += 1,
                    Err(_) => {}
                }
            }
            act(&mut speaker, now + ms(99));
            assert_eq!(counts(&speaker), 1);
            let size = format!("{speaker:?}").len();
            if interval == 20 {
                before = size;
            }
            assert!(
                interval <= 20 || size < before + 200,
                "it grows: {size} bytes in words, {before} before"
            );
        }
        assert!(
            replayed > 10_000 && looked_at > 10_000,
            "the test does what it says: {replayed}, {looked_at}"
        );
        assert!(looked_at <= 2 * 64 * 1001, "{looked_at} HMACs in 100 s");
    }

    #[test]
    fn a_flood_of_strangers_keeps_no_peer_from_being_heard() {
        let mut speaker = speaker();
        for interval in 0..20u64 {
            let now = ms(interval * 100);
            let mut forged = hello(now, 7);
            forged[6..12].copy_from_slice(&FOREIGN.0);
            *forged.last_mut().unwrap() ^= 1;
            let all: Vec<_> = (0..500).map(|_| speaker.handle_frame(LAN, &forged, now)).collect();
            if interval > 0 {
                assert_eq!(all.iter().filter(|said| **said != Err(Ignored::TooManyForged)).count(), 64);
                assert_eq!(speaker.handle_frame(LAN, &hello(now, 7), now), Ok(None));
            } else {
                assert_eq!(speaker.handle_frame(LAN, &hello(now, 7), now), Err(Ignored::TooManyForged));
                assert_eq!(
                    speaker.handle_frame(LAN, &hello(ms(99), 7), now + WINDOW - ms(1)),
                    Err(Ignored::TooManyForged)
                );
                assert_eq!(speaker.handle_frame(LAN, &hello(ms(99), 7), now + WINDOW), Ok(None));
            }
            act(&mut speaker, now);
        }
        assert_eq!(counts(&speaker), 1);
    }
}
