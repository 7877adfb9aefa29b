//! What one answer takes of a processor, beside how many addresses, without what the kernel takes to receive and send:
//! `cargo bench -p ferrolb-core --bench answers`.
//!
//! Once with what the last answer left in the processor's caches, as in a flood, and once without: so it is at a thousand questions a
//! second, where other programs run in between.

#![expect(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "what core must not do, a bench has to"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferrolb_core::announce::{Link, LinkIndex};
use ferrolb_core::election::{Change, Contest, Node, Roster};
use ferrolb_core::peers::Timing;
use ferrolb_core::speaker::{Config, Speaker, Transports};
use ferrolb_core::wire::Mac;
use ferrolb_core::wire::arp::{Host, Operation, Packet};

const LAN: LinkIndex = LinkIndex(2);
const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);
const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 9]);

/// More than a processor's caches of its own have room for.
const CACHES: usize = 8 << 20;

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a40_0000 + number as u32)
}

/// A speaker that answers for so many addresses.
fn speaker(count: usize) -> Speaker {
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
        name: "eth0".to_owned(),
        mac: OURS,
        ups: 1,
        ipv6: false,
        addresses: [].into(),
        networks: [].into(),
    };
    let node = Node { name: "ours".into(), ready: true, ..Node::default() };
    let roster = Arc::new(Roster::default().follow(&[node]));
    let me = roster.id("ours").expect("it is the only one");
    let contest = Arc::new(Contest::among([me], vec![]));
    let change = |number| Change { address: address(number).into(), contest: Ok(contest.clone()) };
    let changes: Vec<Change> = (0..count).map(change).collect();
    speaker.handle_links(BTreeMap::from([(LAN, link)]), Duration::ZERO);
    speaker.handle_news(roster, &changes, Duration::ZERO);
    for now in (0..20_000).step_by(100).map(Duration::from_millis) {
        while speaker.next_effect(now).is_some() {}
    }
    speaker
}

/// The client with this number asks.
fn question(client: usize, target: Ipv4Addr) -> Vec<u8> {
    let packet = Packet {
        destination: Mac::BROADCAST,
        source: CLIENT,
        operation: Operation::Request,
        sender: Host { mac: CLIENT, ip: Ipv4Addr::new(10, 10, 0, client as u8) },
        target: Host { mac: Mac([0; 6]), ip: target },
    };
    packet.build()
}

/// The middle of what an answer took, in nanoseconds, over so many questions.
fn middle(speaker: &mut Speaker, count: usize, questions: usize, between: &mut dyn FnMut()) -> u128 {
    let now = Duration::from_secs(20);
    let mut times = Vec::new();
    for number in 0..questions {
        // A prime larger than the count: in no order that a processor could foresee.
        let target = address(number * 65_537 % count);
        let frame = question(128 + number % 64, target);
        between();
        let started = Instant::now();
        let answer = speaker.handle_frame(LAN, black_box(&frame), now);
        times.push(started.elapsed().as_nanos());
        let answer = answer.expect("it asks for ours").expect("there is an answer");
        assert_eq!(answer.address, IpAddr::V4(target));
    }
    times.sort_unstable();
    times[questions / 2]
}

fn main() {
    let mut caches = vec![1u8; CACHES];
    let mut sweep = || caches.iter_mut().step_by(64).for_each(|byte| *byte = black_box(byte.wrapping_add(1)));
    let mut both = [(1, speaker(1)), (9_798, speaker(9_798))];
    for (name, cold, questions) in [("warm", false, 200_000), ("cold", true, 4_000)] {
        let [one, all] = both.each_mut().map(|(count, speaker)| {
            middle(speaker, *count, questions, &mut || {
                if cold {
                    sweep();
                }
            })
        });
        println!("an answer, caches {name}: {one} ns beside 1 address, {all} ns beside 9798");
    }
}
