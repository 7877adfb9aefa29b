//! What one speaker among others takes of a processor, without what its kernel takes to receive:
//! `cargo bench -p ferrolb-core --bench peers`.
//!
//! Ten seconds of hellos of so many peers that all hear each other, one hello each 100 ms, at even distances.

#![expect(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "what core must not do, a bench has to"
)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferrolb_core::announce::{Link, LinkIndex};
use ferrolb_core::election::{Node, Roster};
use ferrolb_core::hello_key::{Key, Keys};
use ferrolb_core::peers::{Timing, sequence_at};
use ferrolb_core::speaker::{Config, Effect, Sent, Speaker, Transports};
use ferrolb_core::wire::Mac;
use ferrolb_core::wire::hello::{
    Body, Digest, Flags, GROUP, Heard, Hello, MOST_HEARD, Message, Sender, State, StationId, frame, payload,
};

const LAN: LinkIndex = LinkIndex(2);
const SECONDS: u64 = 10;

fn mac(number: u16) -> Mac {
    let [high, low] = number.to_be_bytes();
    Mac([2, 0, 0, 0, high, low])
}

fn name(number: u16) -> String {
    format!("node-{number:03}")
}

fn station(number: u16) -> StationId {
    StationId::of(&name(number), "eth0")
}

/// The hello of a peer that hears all others and the speaker, which has the number 0.
fn hello(from: u16, peers: u16, at: Duration, key: &Key) -> Vec<u8> {
    let others: Vec<u16> = (0..=peers).filter(|other| *other != from).collect();
    let slices = others.len().div_ceil(MOST_HEARD);
    let slice = (at.as_millis() / 100) as usize % slices;
    // The speaker is in each, as whoever is waited for is.
    let part = others.chunks(MOST_HEARD).nth(slice).unwrap_or_default();
    let body = Body::Hello(Hello {
        interval: Duration::from_millis(100),
        misses: 3,
        state: State::Active,
        flags: Flags::default(),
        answers: None,
        addresses: vec![IpAddr::from(Ipv4Addr::new(10, 0, 1, from as u8))],
        loaded: vec![key.id()],
        claims: Digest::default(),
        slice: slice as u8,
        slices: slices as u8,
        peers: part.iter().map(|other| Heard::new(station(*other), 1000 + u64::from(*other), true)).collect(),
        routine: false,
    });
    let sender = Sender {
        node: name(from),
        interface: "eth0".into(),
        mac: mac(from),
        epoch: 1000 + u64::from(from),
        sequence: sequence_at(at),
    };
    frame(GROUP, mac(from), &payload(&Message { sender, body }, key).expect("it fits"))
}

fn main() {
    for peers in [10u16, 100] {
        let key = Key::new([7; 32]);
        let mut speaker = Speaker::new(Config {
            node: name(0).into(),
            epoch: 1000,
            timing: Timing::default(),
            refresh: None,
            stand_in_limit: Duration::from_secs(60),
            conflict_detection: true,
            transports: Transports::Ethernet,
        });
        let link = Link {
            name: "eth0".to_owned(),
            mac: mac(0),
            ups: 1,
            ipv6: false,
            addresses: [IpAddr::from([10, 0, 0, 1])].into(),
            networks: [].into(),
        };
        let start = Duration::from_secs(100);
        speaker.set_keys(Arc::new(Keys::new(key.clone(), []).expect("one key")), start);
        speaker.handle_links(BTreeMap::from([(LAN, link)]), start);
        let nodes: Vec<Node> =
            (0..=peers).map(|number| Node { name: name(number), ready: true, ..Node::default() }).collect();
        speaker.handle_news(Arc::new(Roster::default().follow(&nodes)), &[], start);
        let (mut took, mut bytes, mut hellos) = (Duration::ZERO, 0, 0u32);
        for beat in 0..SECONDS * 10 {
            for from in 1..=peers {
                let at = Duration::from_millis(beat * 100)
                    + Duration::from_millis(100) * u32::from(from) / u32::from(peers + 1);
                let frame = hello(from, peers, start + at, &key);
                let now = start + at;
                let started = Instant::now();
                let taken = speaker.handle_frame(LAN, &frame, now);
                while let Some(effect) = speaker.next_effect(now) {
                    if let Effect::Send { frame, what: Sent::Hello, .. } = effect {
                        (bytes, hellos) = (bytes + frame.len(), hellos + 1);
                    }
                }
                took += started.elapsed();
                assert!(taken.is_ok(), "{taken:?}");
            }
        }
        let counted = speaker.peers().map(|(_, peers)| peers.standings().len()).sum::<usize>();
        assert_eq!(counted, usize::from(peers), "all count");
        let each = took.as_secs_f64() * 1e6 / (f64::from(peers) * (SECONDS * 10) as f64);
        println!(
            "{peers} peers: {:.2} % of a core, {each:.1} µs for each hello heard; {hellos} hellos said, {} bytes each",
            took.as_secs_f64() * 100.0 / SECONDS as f64,
            bytes / hellos.max(1) as usize,
        );
    }
}
