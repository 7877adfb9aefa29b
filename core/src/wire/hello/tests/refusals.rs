//! Each reason to refuse, and each message that cannot be said.

use std::collections::BTreeSet;

use super::golden::{OURS, golden};
use super::*;
use crate::hello_key::{KeyId, MOST_KEYS};

/// A field.
fn field(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[kind], length.as_slice(), value].concat()
}

/// The fields of the sender, one of them replaced or, without a value, left out.
fn sender_fields(other: u8, value: Option<&[u8]>) -> Vec<u8> {
    let all: [(u8, &[u8]); 3] = [(1, b"n1"), (2, b"eth0"), (3, &NODE.0)];
    let value = |kind, own| if kind == other { value } else { Some(own) };
    all.into_iter()
        .filter_map(|(kind, own)| Some(field(kind, value(kind, own)?)))
        .collect::<Vec<_>>()
        .concat()
}

/// A signed payload of these fields.
fn said(kind: u8, fields: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = golden()[0].bytes[..HEADER_LEN].to_vec();
    bytes[26] = kind;
    bytes.extend(fields.concat());
    sign(bytes)
}

/// What becomes of a body behind a right sender.
fn refusal(kind: u8, fields: &[Vec<u8>]) -> Option<Refusal> {
    let fields = [&[sender_fields(0, None)], fields].concat();
    parse_payload(&said(kind, &fields), &keys()).err()
}

const BEAT: &[u8] = &[0, 100, 3, 2, 0, 0, 1];
const NO_CLAIMS: &[u8] = &[0; 12];

/// A hello of the least fields, and others.
fn hello_refusal(beat: &[u8], others: &[Vec<u8>]) -> Option<Refusal> {
    refusal(1, &[&[field(4, beat), field(8, NO_CLAIMS)], others].concat())
}

fn claims_refusal(kind: (u8, &[u8]), entries: &[u8]) -> Option<Refusal> {
    refusal(3, &[field(kind.0, kind.1), field(8, NO_CLAIMS), field(13, entries)])
}

#[test]
fn each_wrong_value_is_refused_by_its_own_reason() {
    let of_sender = |kind, value: Option<&[u8]>| {
        parse_payload(&said(2, &[sender_fields(kind, value), field(10, &[0; 8])]), &keys()).err()
    };
    let hello = hello_refusal;
    let v4 = [4, 10, 0, 0, 1];
    let mapped = [&[6; 1], std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets().as_slice()].concat();
    let cases = [
        ("no node", of_sender(1, None), Refusal::FieldMissing),
        ("an empty node", of_sender(1, Some(b"")), Refusal::Node),
        ("a node of 254 bytes", of_sender(1, Some(&[b'n'; 254])), Refusal::Node),
        ("a node that is not UTF-8", of_sender(1, Some(&[0xff])), Refusal::Node),
        ("a node of two lines", of_sender(1, Some(b"n1\nn2")), Refusal::Node),
        (
            "a node with the byte that ends it in a station's id",
            of_sender(1, Some(b"n\0eth0")),
            Refusal::Node,
        ),
        ("no interface", of_sender(2, None), Refusal::FieldMissing),
        ("an empty interface", of_sender(2, Some(b"")), Refusal::Interface),
        ("an interface of 16 bytes", of_sender(2, Some(&[b'e'; 16])), Refusal::Interface),
        ("an interface that is not UTF-8", of_sender(2, Some(&[0xc3, 0x28])), Refusal::Interface),
        ("no MAC", of_sender(3, None), Refusal::FieldMissing),
        ("a MAC of 5 bytes", of_sender(3, Some(&[2; 5])), Refusal::FieldLength),
        ("a zero MAC", of_sender(3, Some(&[0; 6])), Refusal::SenderMac),
        ("a group as MAC", of_sender(3, Some(&GROUP.0)), Refusal::SenderMac),
        ("a hello without its beat", refusal(1, &[field(8, NO_CLAIMS)]), Refusal::FieldMissing),
        ("a hello without a digest", refusal(1, &[field(4, BEAT)]), Refusal::FieldMissing),
        ("a beat of 6 bytes", hello(&BEAT[1..], &[]), Refusal::FieldLength),
        ("a beat of 8 bytes", hello(&[0, 100, 3, 2, 0, 0, 1, 0], &[]), Refusal::FieldLength),
        ("9 ms", hello(&[0, 9, 3, 2, 0, 0, 1], &[]), Refusal::Interval),
        ("10,001 ms", hello(&[0x27, 0x11, 3, 2, 0, 0, 1], &[]), Refusal::Interval),
        ("1 miss", hello(&[0, 100, 1, 2, 0, 0, 1], &[]), Refusal::Misses),
        ("21 misses", hello(&[0, 100, 21, 2, 0, 0, 1], &[]), Refusal::Misses),
        ("slice 1 of 1", hello(&[0, 100, 3, 2, 0, 1, 1], &[]), Refusal::Slice),
        ("slice 0 of 0", hello(&[0, 100, 3, 2, 0, 0, 0], &[]), Refusal::Slice),
        ("an answer of 7 bytes", hello(BEAT, &[field(5, &[0; 7])]), Refusal::FieldLength),
        ("5 addresses", hello(BEAT, &[field(6, &v4.repeat(5))]), Refusal::Addresses),
        ("an address cut", hello(BEAT, &[field(6, &v4[..4])]), Refusal::Addresses),
        ("an address of family 5", hello(BEAT, &[field(6, &[5, 10, 0, 0, 1])]), Refusal::Addresses),
        ("an IPv4 address as IPv6", hello(BEAT, &[field(6, &mapped)]), Refusal::Addresses),
        ("5 keys", hello(BEAT, &[field(7, &[1; 20])]), Refusal::Loaded),
        ("half a key", hello(BEAT, &[field(7, &[1; 6])]), Refusal::FieldLength),
        ("half a peer", hello(BEAT, &[field(9, &[1; 18])]), Refusal::FieldLength),
        ("an ask without a nonce", refusal(2, &[]), Refusal::FieldMissing),
        ("claims that are neither", refusal(3, &[field(8, NO_CLAIMS)]), Refusal::FieldMissing),
        ("claims without a digest", refusal(3, &[field(11, &[0, 0, 0, 1])]), Refusal::FieldMissing),
        ("part 1 of 1", claims_refusal((11, &[0, 1, 0, 1]), &[]), Refusal::Part),
        ("part 0 of 0", claims_refusal((11, &[0; 4]), &[]), Refusal::Part),
        ("a part of 3 bytes", claims_refusal((11, &[0; 3]), &[]), Refusal::FieldLength),
        ("a digest of 4 bytes", claims_refusal((12, &[0; 4]), &[]), Refusal::FieldLength),
        ("released among all", claims_refusal((11, &[0, 0, 0, 1]), &[0x34, 10, 0, 0, 1]), Refusal::Voice),
        ("no voice", claims_refusal((12, NO_CLAIMS), &[0x04, 10, 0, 0, 1]), Refusal::Voice),
        ("a fourth voice", claims_refusal((12, NO_CLAIMS), &[0x44, 10, 0, 0, 1]), Refusal::Voice),
        (
            "an own address of no family",
            claims_refusal((12, NO_CLAIMS), &[0x15, 10, 0, 0, 1]),
            Refusal::Addresses,
        ),
        ("an own address cut", claims_refusal((12, NO_CLAIMS), &[0x16, 10, 0, 0, 1]), Refusal::Addresses),
        ("a want of nobody", refusal(4, &[]), Refusal::FieldMissing),
        ("a nonce twice", refusal(2, &[field(10, &[0; 8]), field(10, &[0; 8])]), Refusal::FieldRepeated),
        ("a field without a length", refusal(2, &[field(10, &[0; 8]), vec![77, 0]]), Refusal::FieldCut),
        ("a field beyond the end", refusal(2, &[field(10, &[0; 8]), vec![77, 0, 2, 1]]), Refusal::FieldCut),
    ];
    for (name, refused, expected) in &cases {
        assert_eq!(*refused, Some(*expected), "{name}");
        assert!(expected.was_signed());
    }
    let met: BTreeSet<Refusal> = cases.into_iter().map(|(_, _, refusal)| refusal).collect();
    let unmet: Vec<_> =
        Refusal::ALL.into_iter().filter(|one| one.was_signed() && !met.contains(one)).collect();
    assert!(unmet.is_empty(), "no case for {unmet:?}");
}

#[test]
fn the_values_at_the_ends_of_their_ranges_are_right() {
    for beat in [[0, 10, 2, 1, 0, 0, 1], [0x27, 0x10, 20, 4, 0xff, 254, 255]] {
        assert_eq!(hello_refusal(&beat, &[]), None, "{beat:?}");
    }
    let longest = [field(1, &[b'n'; 253]), field(2, &[b'e'; 15]), field(3, &NODE.0), field(10, &[0; 8])];
    assert!(parse_payload(&said(2, &longest), &keys()).is_ok());
}

#[test]
fn what_newer_speakers_add_is_skipped() {
    let plain = parse_payload(&said(2, &[sender_fields(0, None), field(10, &[7; 8])]), &keys()).unwrap();
    // Unknown fields, before and behind and twice; the type 0; the bits and bytes that are zero today.
    let unknown = [field(200, &[1; 90]), field(0, &[]), field(15, &[2]), field(200, &[])].concat();
    let fields = [unknown.clone(), sender_fields(0, None), field(10, &[7; 8]), unknown];
    let mut bytes = said(2, &fields);
    bytes.truncate(bytes.len() - TAG_LEN);
    bytes[27..32].copy_from_slice(&[1, 2, 3, 4, 5]);
    assert_eq!(parse_payload(&sign(bytes), &keys()), Ok(plain));

    let fields = [sender_fields(0, None), field(4, &[0, 100, 3, 77, 0xf8, 0, 1]), field(8, NO_CLAIMS)];
    let Body::Hello(hello) = parse_payload(&said(1, &fields), &keys()).unwrap().body else {
        panic!("a hello")
    };
    assert_eq!((hello.state, hello.flags), (State::Unknown(77), Flags::default()));

    // Another kind of body: what it has, right or wrong, is not looked at.
    let fields = [sender_fields(0, None), field(4, &[]), field(13, &[9])];
    let heard = parse_payload(&said(77, &fields), &keys()).unwrap();
    assert_eq!(heard, Message { sender: sender(), body: Body::Unknown(77) });
}

#[test]
fn what_is_outside_of_the_payload_is_refused_first() {
    let right = frame(GROUP, NODE, golden()[0].bytes);
    let cases: [(&str, usize, &[u8], Refusal); 11] = [
        ("802.1Q tag", 12, &[0x81, 0x00], Refusal::VlanTagged),
        ("802.1ad tag", 12, &[0x88, 0xa8], Refusal::VlanTagged),
        ("ARP", 12, &[0x08, 0x06], Refusal::NotHello),
        ("the other local experimental ethertype", 12, &[0x88, 0xb6], Refusal::NotHello),
        ("a group as source", 6, &GROUP.0, Refusal::Source),
        ("no source", 6, &[0; 6], Refusal::Source),
        ("to everybody", 0, &[0xff; 6], Refusal::Destination),
        ("to another group", 0, &[0x33, 0x33, 0, 0, 0, 1], Refusal::Destination),
        ("something else of this ethertype", 14, b"flb", Refusal::Magic),
        ("version 0", 17, &[0], Refusal::Version),
        ("version 2", 17, &[2], Refusal::Version),
    ];
    for (name, at, bytes, refusal) in cases {
        let mut frame = right.clone();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        assert_eq!(parse_frame(&frame, &keys()), Err(refusal), "{name}");
    }
}

#[test]
fn a_length_that_cannot_be_is_refused() {
    let right = golden()[0].bytes;
    for (length, refusal) in [
        (0u16, Refusal::Length),
        (63, Refusal::Length),
        (64, Refusal::Tag),
        (u16::try_from(right.len()).unwrap() + 1, Refusal::TooShort),
        (1472, Refusal::TooShort),
        (1473, Refusal::Length),
        (u16::MAX, Refusal::Length),
    ] {
        let mut bytes = right.to_vec();
        bytes[4..6].copy_from_slice(&length.to_be_bytes());
        assert_eq!(parse_payload(&bytes, &keys()), Err(refusal), "{length}");
    }
    // Right in all but that it is longer than allowed.
    let long = said(2, &[sender_fields(0, None), field(10, &[0; 8]), field(99, &[0; 1400])]);
    assert_eq!(parse_payload(&long, &keys()), Err(Refusal::Length));
}

#[test]
fn whoever_has_another_key_is_not_heard() {
    for golden in golden() {
        assert_eq!(parse_payload(golden.bytes, &Keys::default()), Err(Refusal::UnknownKey));
        let other = Keys::new(key(1), []).unwrap();
        assert_eq!(parse_payload(golden.bytes, &other), Err(Refusal::UnknownKey));
        let both = Keys::new(key(1), [key(0)]).unwrap();
        assert_eq!(parse_payload(golden.bytes, &both), Ok(golden.meaning()));
        // The name of a key that is loaded does not help.
        let mut forged = payload(&golden.meaning(), &key(1)).unwrap();
        forged[6..10].copy_from_slice(&key(0).id().0.to_be_bytes());
        assert_eq!(parse_payload(&forged, &both), Err(Refusal::Tag));
    }
}

#[test]
fn each_refusal_is_a_word_of_its_own() {
    let words: BTreeSet<String> = Refusal::ALL.iter().map(Refusal::to_string).collect();
    assert_eq!(words.len(), Refusal::ALL.len());
    assert!(
        words.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')),
        "{words:?}"
    );
    assert!(Refusal::ALL.is_sorted());
}

fn full_hello() -> Hello {
    let Body::Hello(hello) = golden().swap_remove(0).meaning().body else { panic!("the first is a hello") };
    hello
}

#[test]
fn a_full_list_of_peers_fits_beside_the_longest_of_everything() {
    const { assert!(MOST_HEARD >= 64) };
    let peers = |count: usize| vec![Heard::new(StationId(u64::MAX), u64::MAX, true); count];
    let longest = |count| {
        let (node, interface) = ("n".repeat(LONGEST_NODE), "e".repeat(LONGEST_INTERFACE));
        let sender = Sender { node, interface, ..sender() };
        let addresses = vec![IpAddr::from([0xfdu8; 16]); MOST_ADDRESSES];
        let loaded = vec![KeyId(1); MOST_KEYS];
        Message {
            sender,
            body: Body::Hello(Hello { addresses, loaded, peers: peers(count), ..full_hello() }),
        }
    };
    let bytes = payload(&longest(MOST_HEARD), &key(0)).unwrap();
    assert_eq!(parse_payload(&bytes, &keys()), Ok(longest(MOST_HEARD)));
    let error = payload(&longest(MOST_HEARD + 1), &key(0)).unwrap_err();
    assert_eq!(error, BuildError::TooLong(bytes.len() + 12));
    let far = payload(&longest(10_000), &key(0)).unwrap_err();
    assert!(matches!(far, BuildError::TooLong(120_000..)), "{far:?}");
}

#[test]
fn what_nobody_would_read_is_not_built() {
    let right = full_hello();
    let hello = |hello| Message { sender: sender(), body: Body::Hello(hello) };
    let from = |sender| Message { sender, body: Body::Ask { nonce: 1 } };
    let claims = |kind, voice| {
        let entries = vec![Claim { address: OURS, voice }];
        Message { sender: sender(), body: Body::Claims(Claims { kind, after: Digest::default(), entries }) }
    };
    let refused = [
        (from(Sender { node: String::new(), ..sender() }), Refusal::Node),
        (from(Sender { interface: "e".repeat(16), ..sender() }), Refusal::Interface),
        (from(Sender { mac: Mac::BROADCAST, ..sender() }), Refusal::SenderMac),
        (hello(Hello { interval: Duration::from_micros(9_999), ..right.clone() }), Refusal::Interval),
        (hello(Hello { interval: Duration::from_micros(10_000_001), ..right.clone() }), Refusal::Interval),
        (hello(Hello { misses: 1, ..right.clone() }), Refusal::Misses),
        (hello(Hello { slice: 2, ..right.clone() }), Refusal::Slice),
        (hello(Hello { addresses: vec![OURS; 5], ..right.clone() }), Refusal::Addresses),
        (hello(Hello { loaded: vec![KeyId(1); 5], ..right.clone() }), Refusal::Loaded),
        (claims(ClaimsKind::Whole { part: 0, parts: 1 }, Voice::Released), Refusal::Voice),
        (claims(ClaimsKind::Whole { part: 1, parts: 1 }, Voice::Own), Refusal::Part),
    ];
    for (message, refusal) in refused {
        assert_eq!(payload(&message, &key(0)), Err(BuildError::Refused(refusal)), "{message:?}");
    }
    let known = hello(Hello { state: State::Unknown(2), ..right.clone() });
    assert_eq!(payload(&known, &key(0)), Err(BuildError::Known(2)));
    let known = Message { sender: sender(), body: Body::Unknown(4) };
    assert_eq!(payload(&known, &key(0)), Err(BuildError::Known(4)));
}

#[test]
fn an_interval_is_told_in_milliseconds_rounded_up() {
    let told = |interval| {
        let body = Body::Hello(Hello { interval, ..full_hello() });
        let bytes = payload(&Message { sender: sender(), body }, &key(0)).unwrap();
        let Body::Hello(hello) = parse_payload(&bytes, &keys()).unwrap().body else { panic!("a hello") };
        hello.interval
    };
    assert_eq!(told(Duration::from_micros(33_333)), Duration::from_millis(34));
    assert_eq!(told(Duration::from_millis(10_000)), Duration::from_millis(10_000));
}
