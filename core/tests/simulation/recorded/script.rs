//! What makes speakers say everything that there is to say.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ferrolb_core::hello_key::{Key, Keys};
use ferrolb_core::peers::Timing;
use ferrolb_core::speaker::Transports;
use ferrolb_core::wire::hello::{Body, ClaimsKind, Message, parse_payload};

use super::meaning::By;
use crate::cluster::{Cluster, Packet, Version, ms};

/// What has to be in a record: of each body, state, flag, voice and list, in each way in which it can be said.
const ALL: [&str; 45] = [
    "frame hello",
    "frame hello Starting",
    "frame hello Active",
    "frame hello Leaving",
    "frame hello Away",
    "frame hello unfit",
    "frame hello stale",
    "frame hello paused",
    "frame hello routine",
    "frame hello answers",
    "frame hello IPv4",
    "frame hello IPv6",
    "frame hello keys",
    "frame hello current key",
    "frame hello claims",
    "frame hello no peers",
    "frame hello mutual",
    "frame hello one-way",
    "frame hello slices",
    "frame hello other timing",
    "frame ask",
    "frame want",
    "frame claims whole",
    "frame claims part",
    "frame claims change",
    "frame claims Own IPv4",
    "frame claims Own IPv6",
    "frame claims StandIn IPv4",
    "frame claims StandIn IPv6",
    "frame claims Released IPv4",
    "frame claims Released IPv6",
    "datagram hello",
    "datagram hello Starting",
    "datagram hello Active",
    "datagram hello Away",
    "datagram hello answers",
    "datagram hello mutual",
    "datagram ask",
    "datagram want",
    "datagram claims whole",
    "datagram claims change",
    "datagram claims Own IPv4",
    "datagram claims StandIn IPv4",
    "datagram claims Released IPv4",
    "datagram claims part",
];

/// What is new in a message, in the words of [`ALL`].
fn traits(by: By, message: &Message, second_key: bool) -> Vec<String> {
    let mut traits = Vec::new();
    let mut has = |so: bool, what: &str| {
        if so {
            traits.push(what.to_owned());
        }
    };
    match &message.body {
        Body::Hello(hello) => {
            has(true, "hello");
            has(true, &format!("hello {:?}", hello.state));
            has(hello.flags.unfit, "hello unfit");
            has(hello.flags.stale, "hello stale");
            has(hello.flags.paused, "hello paused");
            has(hello.routine, "hello routine");
            has(hello.answers.is_some(), "hello answers");
            has(hello.addresses.iter().any(IpAddr::is_ipv4), "hello IPv4");
            has(hello.addresses.iter().any(IpAddr::is_ipv6), "hello IPv6");
            has(hello.loaded.len() > 1, "hello keys");
            has(second_key, "hello current key");
            has(hello.claims.count > 0, "hello claims");
            has(hello.peers.is_empty(), "hello no peers");
            has(hello.peers.iter().any(|heard| heard.mutual), "hello mutual");
            has(hello.peers.iter().any(|heard| !heard.mutual), "hello one-way");
            has(hello.slices > 1, "hello slices");
            has(hello.interval != Timing::default().interval, "hello other timing");
        }
        Body::Ask { .. } => has(true, "ask"),
        Body::Want { .. } => has(true, "want"),
        Body::Claims(claims) => {
            match claims.kind {
                ClaimsKind::Whole { parts, .. } => {
                    has(true, "claims whole");
                    has(parts > 1, "claims part");
                }
                ClaimsKind::Change { .. } => has(true, "claims change"),
            }
            for claim in &claims.entries {
                let family = if claim.address.is_ipv4() { "IPv4" } else { "IPv6" };
                has(true, &format!("claims {:?} {family}", claim.voice));
            }
        }
        Body::Unknown(_) => {}
    }
    traits.into_iter().map(|what| format!("{} {what}", by.word())).collect()
}

/// The keys that the speakers have, as bytes and as keys; the first one is the current one at first.
pub(super) fn keys() -> [([u8; 32], Key); 2] {
    [7, 8].map(|byte| ([byte; 32], Key::new([byte; 32])))
}

/// A message for each thing of [`ALL`] that none before it has, by what is new in it.
///
/// # Panics
/// When something of [`ALL`] was never said.
pub(super) fn said() -> Vec<(String, By, Vec<u8>)> {
    let mut record = Record::new();
    frames(&mut record);
    datagrams(&mut record);
    many(&mut record);
    let missing: Vec<&str> = ALL.into_iter().filter(|what| !record.seen.contains(*what)).collect();
    assert!(missing.is_empty(), "nobody said {missing:?}");
    record.said
}

/// The bytes in front of a frame's payload.
const ETHERNET: usize = 14;

struct Record {
    both: Keys,
    second: Keys,
    seen: BTreeSet<String>,
    said: Vec<(String, By, Vec<u8>)>,
}

impl Record {
    fn new() -> Self {
        let [first, second] = keys().map(|(_, key)| key);
        let (both, second) = (Keys::new(first, [second.clone()]), Keys::new(second, []));
        Record {
            both: both.expect("two keys"),
            second: second.expect("a key"),
            seen: BTreeSet::new(),
            said: Vec::new(),
        }
    }

    /// Lets time pass, and takes what is said meanwhile.
    fn run(&mut self, cluster: &mut Cluster, length: Duration) {
        let end = cluster.now + length;
        while cluster.now < end {
            cluster.run(ms(10));
            for (_, packet) in std::mem::take(&mut cluster.recorded) {
                match packet {
                    Packet::Frame(frame) => self.take(By::Frame, frame),
                    Packet::Datagram(_, payload) => self.take(By::Datagram, payload.to_vec()),
                }
            }
        }
    }

    fn take(&mut self, by: By, bytes: Vec<u8>) {
        let payload = match by {
            By::Frame => &bytes[ETHERNET..],
            By::Datagram => &bytes[..],
        };
        let message = parse_payload(payload, &self.both).expect("what speakers say is understood");
        let traits = traits(by, &message, parse_payload(payload, &self.second).is_ok());
        let new: Vec<&str> = ALL
            .into_iter()
            .filter(|what| traits.iter().any(|said| said == what) && !self.seen.contains(*what))
            .collect();
        if new.is_empty() {
            return;
        }
        self.seen.extend(new.iter().map(|what| (*what).to_owned()));
        self.said.push((new.join(", "), by, bytes));
    }
}

/// So many addresses do not fit into one message, of each family.
const MANY: u8 = 200;

/// Addresses of both families that go to the machines in this order.
fn version(count: u8, order: &[usize]) -> Version {
    let of = |n: u8| {
        [
            IpAddr::from(Ipv4Addr::new(10, 0, 9, n)),
            IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 9, n.into())),
        ]
    };
    (1..=count).flat_map(of).map(|address| (address, order.to_vec())).collect()
}

/// Three machines that end, die, are stopped, lose the API and their service proxy, and get another key.
fn frames(record: &mut Record) {
    let plan = vec![vec![("lan".to_owned(), 0)]; 3];
    let mut cluster = Cluster::built(1, Timing::default(), &plan);
    cluster.dual = true;
    cluster.watch();
    cluster.publish(version(2, &[0, 1, 2]));
    for at in 0..3 {
        cluster.start(at);
        record.run(&mut cluster, ms(70));
    }
    record.run(&mut cluster, ms(2000));
    everything(record, &mut cluster);
    let turned = [crate::cluster::keys(&[7, 8]), crate::cluster::keys(&[8, 7])];
    for keys in turned {
        (0..3).for_each(|at| cluster.give(at, keys.clone()));
        record.run(&mut cluster, ms(1000));
    }
    // One way alone.
    cluster.cuts.insert((1, 2));
    record.run(&mut cluster, ms(1000));
    cluster.cuts.clear();
    cluster.serve(2, false);
    record.run(&mut cluster, ms(1000));
    cluster.cut_api(2, true);
    record.run(&mut cluster, Duration::from_secs(8));
    cluster.cut_api(2, false);
    cluster.freeze(1, ms(400));
    record.run(&mut cluster, ms(2000));
    cluster.end(0, false);
    record.run(&mut cluster, ms(2000));
}

/// Three machines that hear each other by datagram alone.
fn datagrams(record: &mut Record) {
    let plan = vec![vec![("lan".to_owned(), 0)]; 3];
    let mut cluster = Cluster::built(2, Timing::default(), &plan);
    cluster.transports = Transports::Udp;
    cluster.publish(version(2, &[0, 1, 2]));
    (0..3).for_each(|at| cluster.start(at));
    record.run(&mut cluster, Duration::from_secs(4));
    everything(record, &mut cluster);
}

/// What a speaker lives through by whichever way it is heard.
fn everything(record: &mut Record, cluster: &mut Cluster) {
    // A change that is too long for one message, and what is gone afterwards.
    cluster.publish(version(MANY, &[0, 1, 2]));
    record.run(cluster, ms(1000));
    // One who missed it asks for all.
    cluster.cuts.insert((0, 2));
    cluster.publish(version(MANY - 1, &[0, 1, 2]));
    record.run(cluster, ms(150));
    cluster.cuts.clear();
    record.run(cluster, ms(1000));
    cluster.publish(version(2, &[0, 1, 2]));
    record.run(cluster, ms(1000));
    cluster.kill(0);
    record.run(cluster, ms(1500));
    cluster.start(0);
    record.run(cluster, ms(2000));
    cluster.end(0, true);
    record.run(cluster, ms(1500));
    cluster.start(0);
    record.run(cluster, ms(2000));
}

/// More machines than one hello can list, and another interval than the usual.
fn many(record: &mut Record) {
    let timing = Timing { interval: ms(250), misses: 5 };
    let plan = vec![vec![("lan".to_owned(), 0)]; 90];
    let mut cluster = Cluster::built(3, timing, &plan);
    (0..90).for_each(|at| cluster.start(at));
    record.run(&mut cluster, ms(600));
}
