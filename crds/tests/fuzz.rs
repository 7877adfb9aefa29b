//! Drives the bodies of the fuzz targets on random inputs. The seed is printed; `FERROLB_FUZZ_SEED=…` repeats a run,
//! `FERROLB_FUZZ_INPUTS=…` sets how many inputs each body gets, and `FERROLB_FUZZ_KEEP=…` is a folder for them, by target:
//! `fuzz/run` begins with such ones.

#[path = "../../fuzz/bodies.rs"]
mod bodies;
#[path = "../../fuzz/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferrolb_core::wire::hello::{self, Body, Claim, Claims, Hello, Message, Voice};
use ferrolb_core::wire::{Mac, arp, ndp};

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap_or_default()
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

/// Pieces that addresses, ranges and their mistakes are made of.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    "10.0.0.", "10.0.0.1", "10.0.0.0", "10.0.1.0", "0.0.0.0", "255.255.255.255", "255", "256", "1", "0", "9", "fd00::",
    "fd00::1", "::", "::ffff:", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe80::1%eth0", ":", ".", "-", " - ", "–", "/",
    "/0", "/8", "/24", "/31", "/32", "/33", "/64", "/127", "/128", "/129", "/٢٤", ",", ", ", " ", "\t", "\u{200b}", "\u{a0}",
    "!", "\n", "x", "", "１", "010",
];

/// Whole lines that often mean something, so that more than refusals is met.
#[rustfmt::skip]
const LINES: &[&str] = &[
    "10.0.0.0/24", "10.0.0.7/28", "10.0.0.1-10.0.0.9", "10.0.0.9 - 10.0.1.3", "fd00::/64", "fd00::7/126", "::/0",
    "0.0.0.0/0", "::-::ff", "255.255.255.255/32", "!10.0.0.1/32", "!0.0.0.0/1", "!fd00::/65", "10.0.0.1", "10.0.0.2",
    "fd00::1", "fd00::2", "10.0.0.1,fd00::1", "fd00::2,10.0.0.2", "a", "b", "k", "Local", "Cluster", "",
];

/// Text: lines that mean something, and pieces strung together, with now and then a byte that is wrong.
fn input(random: &mut Random) -> Vec<u8> {
    let mut text = String::new();
    for line in 0..=random.below(9) {
        if line > 0 {
            text.push('\n');
        }
        if random.below(3) > 0 {
            text.push_str(random.of(LINES));
        } else {
            (0..random.below(7)).for_each(|_| text.push_str(random.of(PIECES)));
        }
    }
    let mut bytes = text.into_bytes();
    if random.below(8) == 0 && !bytes.is_empty() {
        let index = random.below(bytes.len());
        bytes[index] = random.next().to_le_bytes()[0];
    }
    bytes
}

/// One range.
fn line(random: &mut Random) -> Vec<u8> {
    if random.below(4) == 0 {
        return random.of(LINES).as_bytes().to_vec();
    }
    (0..random.below(6)).flat_map(|_| random.of(PIECES).bytes()).collect()
}

/// JSON with the names that the body reads, and values of any type.
fn object(random: &mut Random, names: &[&str], depth: usize) -> String {
    let fields: Vec<String> = (0..random.below(6))
        .map(|_| {
            let name = random.of(names);
            let value = value(random, names, depth);
            format!("{name:?}:{value}")
        })
        .collect();
    format!("{{{}}}", fields.join(","))
}

fn value(random: &mut Random, names: &[&str], depth: usize) -> String {
    let text = |random: &mut Random| {
        let text = if random.below(2) == 0 { random.of(LINES) } else { random.of(PIECES) };
        serde_json::to_string(text).unwrap_or_default()
    };
    match random.below(if depth == 0 { 4 } else { 7 }) {
        0 | 1 => text(random),
        2 => {
            random.of(&["null", "true", "false", "7", "-1", "1.5", "9223372036854775808", "1e99"]).to_owned()
        }
        3 => format!("[{}]", (0..random.below(4)).map(|_| text(random)).collect::<Vec<_>>().join(",")),
        4 => format!("[{}]", object(random, names, depth - 1)),
        _ => object(random, names, depth - 1),
    }
}

#[rustfmt::skip]
const POOL_NAMES: &[&str] = &[
    "addresses", "addresses", "addresses", "excludeAddresses", "autoAssign", "avoidBuggyIPs", "reuseDelay",
    "serviceAllocation", "priority", "namespaces", "namespaceSelectors", "serviceSelectors", "matchLabels",
    "matchExpressions", "key", "operator", "values", "other",
];

#[rustfmt::skip]
const SERVICE_NAMES: &[&str] = &[
    "metadata", "metadata", "spec", "spec", "spec", "status", "status", "annotations", "labels", "creationTimestamp", "type",
    "clusterIP", "clusterIPs", "loadBalancerIP", "loadBalancerClass", "externalIPs", "externalTrafficPolicy", "ports",
    "port", "protocol", "selector", "loadBalancer", "ingress", "ip", "hostname", "conditions", "ipFamilyPolicy",
    "metallb.io/loadBalancerIPs", "metallb.io/allow-shared-ip", "metallb.io/address-pool",
];

/// A frame that is right, or nearly: fields of other values, options strung together, bytes missing or too many.
fn frame(random: &mut Random, right: &[&[u8]]) -> Vec<u8> {
    let mut frame = right[random.below(right.len())].to_vec();
    for _ in 0..random.below(4) {
        let at = random.below(frame.len());
        let byte = [0, 1, 2, 0x33, 0x80, 0xff, random.next().to_le_bytes()[0]][random.below(7)];
        let to = if random.below(4) == 0 { (at + random.below(16)).min(frame.len() - 1) } else { at };
        frame[at..=to].fill(byte);
    }
    if random.below(3) == 0 {
        frame.truncate(random.below(frame.len() + 1));
    }
    for _ in 0..random.below(4) {
        // An option of neighbour discovery: type, length in units of 8 bytes, and mostly as many bytes.
        let units = random.below(4);
        frame.extend([random.next().to_le_bytes()[0] & 3, units.to_le_bytes()[0]]);
        frame.extend((0..(units * 8).saturating_sub(2)).map(|_| random.next().to_le_bytes()[0] & 0xfe));
        if random.below(8) == 0 {
            frame.pop();
        }
    }
    frame
}

/// Gives `body` many inputs; one that fails is shown with the seed.
fn drive(target: &str, name: &str, many: usize, make: impl Fn(&mut Random) -> Vec<u8>, body: fn(&[u8])) {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.subsec_nanos());
    let seed = number("FERROLB_FUZZ_SEED").unwrap_or(u64::from(clock));
    let many = number("FERROLB_FUZZ_INPUTS").and_then(|many| usize::try_from(many).ok()).unwrap_or(many);
    println!("{name}: {many} inputs, FERROLB_FUZZ_SEED={seed}");
    let keep = std::env::var_os("FERROLB_FUZZ_KEEP").map(|folder| Path::new(&folder).join(target));
    if let Some(folder) = &keep {
        std::fs::create_dir_all(folder).expect("a folder for inputs");
    }
    let mut random = Random(seed);
    for index in 0..many {
        let data = make(&mut random);
        if let Some(folder) = &keep {
            std::fs::write(folder.join(format!("{name} {index}")), &data).expect("an input kept");
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(&data))) {
            eprintln!(
                "{name}: input {index} of FERROLB_FUZZ_SEED={seed}: {:?}",
                String::from_utf8_lossy(&data)
            );
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn any_entry_is_a_range_or_refused() {
    drive("range", "range", 300_000, line, bodies::range);
}

#[test]
fn any_entries_are_a_pool_or_refused() {
    drive("pool", "pool of lines", 60_000, input, bodies::pool);
}

#[test]
fn any_json_is_a_pool_or_refused() {
    drive("pool", "pool of JSON", 60_000, |random| object(random, POOL_NAMES, 3).into_bytes(), bodies::pool);
}

#[test]
fn any_text_on_a_service_is_read() {
    drive("service_annotations", "Service of lines", 60_000, input, bodies::service_annotations);
}

#[test]
fn any_json_is_a_service() {
    let make = |random: &mut Random| object(random, SERVICE_NAMES, 4).into_bytes();
    drive("service_annotations", "Service of JSON", 60_000, make, bodies::service_annotations);
}

#[test]
fn any_frame_is_arp_or_refused() {
    let (node, client) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 9]));
    let [request, reply] = arp::announcement(node, Ipv4Addr::new(10, 0, 0, 1));
    let right = [request.build(), reply.build(), request.answer(client).build()];
    let right: Vec<&[u8]> = right.iter().map(Vec::as_slice).collect();
    drive("arp", "ARP", 300_000, |random| frame(random, &right), wire::arp);
}

#[test]
fn any_frame_is_neighbour_discovery_or_refused() {
    let (node, client) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 9]));
    let (sender, target) =
        (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
    let recipient = ndp::solicited_node(target);
    let destination = ndp::group_mac(recipient);
    let asked = ndp::Solicitation {
        destination,
        source: client,
        sender,
        recipient,
        target,
        link_layer: Some(client),
    };
    let probe = ndp::Solicitation { sender: Ipv6Addr::UNSPECIFIED, link_layer: None, ..asked };
    let right = [asked.build(), probe.build(), asked.answer(node).build(), probe.answer(node).build()];
    let right: Vec<&[u8]> = right.iter().map(Vec::as_slice).collect();
    drive("ndp", "neighbour discovery", 300_000, |random| frame(random, &right), wire::ndp);
}

#[test]
fn any_received_frame_is_answered_rightly_or_ignored() {
    let client = Mac([0x02, 0, 0, 0, 0, 0x99]);
    let asked = arp::Packet {
        destination: Mac::BROADCAST,
        source: client,
        operation: arp::Operation::Request,
        sender: arp::Host { mac: client, ip: [10, 0, 0, 9].into() },
        target: arp::Host { mac: Mac::ZERO, ip: [10, 0, 0, 1].into() },
    }
    .build();
    let target = [0xfd00, 0, 0, 0, 0, 0, 0, 1].into();
    let recipient = ndp::solicited_node(target);
    let solicited = ndp::Solicitation {
        destination: ndp::group_mac(recipient),
        source: client,
        sender: [0xfe80, 0, 0, 0, 0, 0, 0, 9].into(),
        recipient,
        target,
        link_layer: Some(client),
    }
    .build();
    let right: [&[u8]; 2] = [&asked, &solicited];
    drive("receive", "received frames", 100_000, |random| frame(random, &right), wire::receive);
}

/// One hello of each kind, in frames.
fn hellos() -> Vec<Vec<u8>> {
    let sender = hello::Sender {
        node: "node1".to_owned(),
        interface: "eth0".to_owned(),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        epoch: 7,
        sequence: 9,
    };
    let (own, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]));
    let claimed: BTreeMap<IpAddr, Voice> = [(own, Voice::Own), (other, Voice::StandIn)].into();
    let peers = (0..60).map(|peer| hello::Heard::new(hello::StationId(peer), peer, peer % 2 == 0));
    let beat = Hello {
        interval: Duration::from_millis(100),
        misses: 3,
        state: hello::State::Active,
        flags: hello::Flags::default(),
        answers: Some(1),
        addresses: vec![own, other],
        loaded: vec![wire::hello_key().id()],
        claims: hello::Digest::default(),
        slice: 0,
        slices: 1,
        peers: peers.collect(),
        routine: false,
    };
    let mut bodies = vec![Body::Hello(beat), Body::Ask { nonce: 1 }, Body::Want { of_epoch: 7 }];
    bodies.extend(Claims::whole(&claimed).into_iter().map(Body::Claims));
    let released = [(Some(Voice::Own), Claim { address: own, voice: Voice::Released })];
    let before =
        hello::Digest::of(&claimed.iter().map(|(a, v)| Claim { address: *a, voice: *v }).collect::<Vec<_>>());
    bodies.extend(Claims::change(before, &released).into_iter().map(Body::Claims));
    let built = bodies.into_iter().map(|body| {
        let message = Message { sender: sender.clone(), body };
        let payload = hello::payload(&message, &wire::hello_key()).expect("it fits");
        hello::frame(hello::GROUP, sender.mac, &payload)
    });
    built.collect()
}

/// A right hello, or nearly: fields of other values, fields strung together, bytes missing or too many; as one who has
/// heard many could make them.
fn forged(random: &mut Random, right: &[Vec<u8>]) -> Vec<u8> {
    let mut frame = right[random.below(right.len())].clone();
    // One half of a frame, the other of another one.
    if random.below(4) == 0 {
        let other = &right[random.below(right.len())];
        let at = random.below(frame.len().min(other.len()));
        frame.truncate(at);
        frame.extend(&other[at..]);
    }
    for _ in 0..random.below(4) {
        let at = random.below(frame.len());
        let byte = [0, 1, 2, 0x14, 0x36, 0xff, random.next().to_le_bytes()[0]][random.below(7)];
        let to = if random.below(4) == 0 { (at + random.below(16)).min(frame.len() - 1) } else { at };
        frame[at..=to].fill(byte);
    }
    if random.below(3) == 0 {
        frame.truncate(random.below(frame.len() + 1));
    }
    for _ in 0..random.below(4) {
        let length = [0, 4, 5, 7, 8, 12, random.below(40)][random.below(7)];
        frame.extend([random.next().to_le_bytes()[0] & 15, 0, length.to_le_bytes()[0]]);
        frame.extend((0..length).map(|_| random.next().to_le_bytes()[0]));
        if random.below(8) == 0 {
            frame.pop();
        }
    }
    frame
}

#[test]
fn any_frame_is_a_signed_hello_or_refused() {
    let right = hellos();
    let bare: Vec<Vec<u8>> = right.iter().map(|frame| frame[..frame.len() - 32].to_vec()).collect();
    let heard = |frame: &[u8]| {
        let keys = ferrolb_core::hello_key::Keys::new(wire::hello_key(), []).expect("one key");
        hello::parse_frame(frame, &keys).is_ok()
    };
    assert!(right.iter().all(|frame| heard(frame)));
    // Without their tags they become right ones when they are signed anew.
    let make = |random: &mut Random| {
        let of = if random.below(2) == 0 { &right } else { &bare };
        forged(random, of)
    };
    drive("hello", "hello", 20_000, make, wire::hello);
}
