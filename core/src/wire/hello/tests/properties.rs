//! What holds for any message and any bytes.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::hello_key::MOST_KEYS;

prop_compose! {
    pub(super) fn any_sender()(
        node in "[a-z0-9.-]{1,253}", interface in "[a-zA-Z0-9.@_-]{1,15}", mac in any::<[u8; 6]>(),
        epoch in any::<u64>(), sequence in any::<u64>(),
    ) -> Sender {
        let mut mac = mac;
        mac[0] = mac[0] & 0xfe | 0x02;
        Sender { node, interface, mac: Mac(mac), epoch, sequence }
    }
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).into()),
        any::<u128>().prop_map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits)).to_canonical()),
    ]
}

fn any_voice() -> impl Strategy<Value = Voice> {
    prop_oneof![Just(Voice::Own), Just(Voice::StandIn), Just(Voice::Released)]
}

fn any_digest() -> impl Strategy<Value = Digest> {
    any::<(u32, u64)>().prop_map(|(count, sum)| Digest { count, sum })
}

prop_compose! {
    fn any_hello()(
        interval in 10u64..=10_000, misses in 2u8..=20, state in any::<u8>(), flags in any::<[bool; 3]>(),
        answers in any::<Option<u64>>(), addresses in prop::collection::vec(any_address(), 0..=MOST_ADDRESSES),
        loaded in prop::collection::vec(any::<u32>(), 0..=MOST_KEYS), claims in any_digest(),
        slice in any::<u8>(), slices in 1..=u8::MAX,
        peers in prop::collection::vec(any::<(u64, u64, bool)>(), 0..=MOST_HEARD), routine in any::<bool>(),
    ) -> Hello {
        Hello {
            interval: Duration::from_millis(interval),
            misses,
            state: State::of(state),
            flags: Flags { unfit: flags[0], stale: flags[1], paused: flags[2] },
            answers,
            addresses,
            loaded: loaded.into_iter().map(KeyId).collect(),
            claims,
            slice: slice % slices,
            slices,
            peers: peers.into_iter().map(|(id, epoch, mutual)| Heard::new(StationId(id), epoch, mutual)).collect(),
            routine,
        }
    }
}

fn any_changes(most: usize) -> impl Strategy<Value = Vec<Claim>> {
    let claim = (any_address(), any_voice()).prop_map(|(address, voice)| Claim { address, voice });
    prop::collection::vec(claim, 0..most)
}

fn any_claims() -> impl Strategy<Value = Claims> {
    let whole = (any_changes(60), any_digest(), any::<u16>(), 1..=u16::MAX).prop_map(
        |(entries, after, part, parts)| {
            let entries = entries.into_iter().filter(|claim| claim.voice != Voice::Released).collect();
            Claims { kind: ClaimsKind::Whole { part: part % parts, parts }, after, entries }
        },
    );
    let change = (any_changes(60), any_digest(), any_digest()).prop_map(|(entries, before, after)| Claims {
        kind: ClaimsKind::Change { before },
        after,
        entries,
    });
    prop_oneof![whole, change]
}

pub(super) fn any_message() -> impl Strategy<Value = Message> {
    let body = prop_oneof![
        any_hello().prop_map(Body::Hello),
        any::<u64>().prop_map(|nonce| Body::Ask { nonce }),
        any_claims().prop_map(Body::Claims),
        any::<u64>().prop_map(|of_epoch| Body::Want { of_epoch }),
        (5..=u8::MAX).prop_map(Body::Unknown),
    ];
    (any_sender(), body).prop_map(|(sender, body)| Message { sender, body })
}

proptest! {
    #[test]
    fn what_is_built_is_parsed_back(message in any_message(), padding in 0usize..40) {
        let mut bytes = payload(&message, &key(0)).unwrap();
        prop_assert!(bytes.len() <= MAX_PAYLOAD);
        bytes.resize(bytes.len() + padding, 0xa5);
        prop_assert_eq!(parse_payload(&bytes, &keys()), Ok(message.clone()));
        let received = Received { source: NODE, destination: GROUP, message };
        prop_assert_eq!(parse_frame(&frame(GROUP, NODE, &bytes), &keys()), Ok(received));
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..1600)) {
        prop_assert!(parse_payload(&bytes, &keys()).is_err());
        prop_assert!(parse_frame(&bytes, &keys()).is_err());
    }

    /// As somebody who has the key may send them.
    #[test]
    fn any_signed_bytes_are_parsed_or_refused(kind in 0u8..6, fields in prop::collection::vec(any_field(), 0..12)) {
        let bytes = signed(kind, &fields.concat());
        match parse_payload(&bytes, &keys()) {
            Err(refusal) => prop_assert!(refusal.was_signed(), "{refusal}"),
            // What is accepted means the same when it is built anew.
            Ok(message) => {
                let built = payload(&message, &key(0)).unwrap();
                prop_assert_eq!(parse_payload(&built, &keys()), Ok(message));
            }
        }
    }

    #[test]
    fn a_list_of_claims_is_cut_into_messages_that_fit(changes in any_changes(700), sender in any_sender()) {
        let sender = Sender { node: "n".repeat(LONGEST_NODE), interface: "i".repeat(LONGEST_INTERFACE), ..sender };
        let said = |claims: &Claims| {
            let message = Message { sender: sender.clone(), body: Body::Claims(claims.clone()) };
            let read = parse_payload(&payload(&message, &key(0)).unwrap(), &keys());
            assert_eq!(read, Ok(message));
        };
        let (first, second) = changes.split_at(changes.len() / 2);
        let mut claimed = BTreeMap::new();
        let mut digest = Digest::default();
        first.iter().for_each(|change| digest.apply(&mut claimed, change));
        let whole = Claims::whole(&claimed);
        whole.iter().for_each(said);
        let told: Vec<Claim> = whole.iter().flat_map(|claims| claims.entries.clone()).collect();
        let all = |claimed: &BTreeMap<IpAddr, Voice>| -> Vec<Claim> {
            claimed.iter().map(|(address, voice)| Claim { address: *address, voice: *voice }).collect()
        };
        prop_assert_eq!(&told, &all(&claimed));
        prop_assert!(whole.iter().all(|claims| claims.after == digest && Digest::of(&told) == digest));

        let mut heard = claimed.clone();
        let mut walked = claimed.clone();
        let mut changes = Vec::new();
        for change in second {
            let address = change.address.to_canonical();
            let before = match change.voice {
                Voice::Released => walked.remove(&address),
                voice => walked.insert(address, voice),
            };
            changes.push((before, *change));
        }
        let messages = Claims::change(digest, &changes);
        prop_assert_eq!(messages.is_empty(), second.is_empty());
        messages.iter().for_each(said);
        for message in messages {
            prop_assert_eq!(message.kind, ClaimsKind::Change { before: digest });
            message.entries.iter().for_each(|change| digest.apply(&mut heard, change));
            prop_assert_eq!(message.after, digest);
        }
        second.iter().for_each(|change| { Digest::default().apply(&mut claimed, change); });
        prop_assert_eq!(&heard, &claimed);
        prop_assert_eq!(Digest::of(&all(&heard)), digest);
    }
}

/// A field of a known type, mostly of a length that is right for it.
fn any_field() -> impl Strategy<Value = Vec<u8>> {
    let lengths = prop_oneof![
        Just(2usize),
        Just(4),
        Just(5),
        Just(6),
        Just(7),
        Just(8),
        Just(12),
        Just(17),
        0usize..40
    ];
    (0u8..20, lengths, any::<[u8; 40]>(), any::<bool>()).prop_map(|(kind, length, value, printable)| {
        let value = value.map(|byte| if printable { b'a' + byte % 26 } else { byte });
        [&[kind, 0, u8::try_from(length).unwrap()], &value[..length]].concat()
    })
}

/// A payload with these fields, behind the names that all have, in a right header and with a right tag.
fn signed(kind: u8, fields: &[u8]) -> Vec<u8> {
    let message = Message { sender: sender(), body: Body::Unknown(9) };
    let mut bytes = payload(&message, &key(0)).unwrap();
    bytes.truncate(bytes.len() - TAG_LEN);
    bytes[26] = kind;
    bytes.extend(fields);
    super::sign(bytes)
}
