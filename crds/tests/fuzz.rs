//! Drives the bodies of the fuzz targets on random inputs. The seed is printed; `FERROLB_FUZZ_SEED=…` repeats a run, and
//! `FERROLB_FUZZ_INPUTS=…` sets how many inputs each body gets.

#[path = "../../fuzz/bodies.rs"]
mod bodies;
#[path = "../../fuzz/wire.rs"]
mod wire;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{SystemTime, UNIX_EPOCH};

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
fn drive(name: &str, many: usize, make: impl Fn(&mut Random) -> Vec<u8>, body: fn(&[u8])) {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.subsec_nanos());
    let seed = number("FERROLB_FUZZ_SEED").unwrap_or(u64::from(clock));
    let many = number("FERROLB_FUZZ_INPUTS").and_then(|many| usize::try_from(many).ok()).unwrap_or(many);
    println!("{name}: {many} inputs, FERROLB_FUZZ_SEED={seed}");
    let mut random = Random(seed);
    for index in 0..many {
        let data = make(&mut random);
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
    drive("range", 300_000, line, bodies::range);
}

#[test]
fn any_entries_are_a_pool_or_refused() {
    drive("pool of lines", 60_000, input, bodies::pool);
}

#[test]
fn any_json_is_a_pool_or_refused() {
    drive("pool of JSON", 60_000, |random| object(random, POOL_NAMES, 3).into_bytes(), bodies::pool);
}

#[test]
fn any_text_on_a_service_is_read() {
    drive("Service of lines", 60_000, input, bodies::service_annotations);
}

#[test]
fn any_json_is_a_service() {
    let make = |random: &mut Random| object(random, SERVICE_NAMES, 4).into_bytes();
    drive("Service of JSON", 60_000, make, bodies::service_annotations);
}

#[test]
fn any_frame_is_arp_or_refused() {
    let (node, client) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 9]));
    let [request, reply] = arp::announcement(node, Ipv4Addr::new(10, 0, 0, 1));
    let right = [request.build(), reply.build(), request.answer(client).build()];
    let right: Vec<&[u8]> = right.iter().map(Vec::as_slice).collect();
    drive("ARP", 300_000, |random| frame(random, &right), wire::arp);
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
    drive("neighbour discovery", 300_000, |random| frame(random, &right), wire::ndp);
}
