//! What has to hold for any frame. The fuzz targets call these functions, and so does `crds/tests/fuzz.rs`, on random
//! frames, with a stable compiler.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ferrolb_core::announce::{Announcer, Effect, Frame, Ignored, Link, LinkIndex, Speak};
use ferrolb_core::hello_key::{Key, Keys};
use ferrolb_core::peers::Timing;
use ferrolb_core::speaker::{Config, Speaker, Transports};
use ferrolb_core::wire::hello::{self, Refusal};
use ferrolb_core::wire::{Mac, arp, is_ndp, ndp};

/// Our own address in the answers.
const OURS: Mac = Mac([0x02, 0, 0, 0, 0, 0x01]);

/// An Ethernet frame, read as ARP.
///
/// 1. It is refused by a word, or it is untagged ARP from one station.
/// 2. What it means, built anew, means the same; so does it with padding.
/// 3. Its answer is a right frame, from us, to one station, unless the address is link-local.
pub(crate) fn arp(data: &[u8]) {
    let packet = match arp::Packet::parse(data) {
        Err(refusal) => return assert!(is_word(&refusal.to_string()), "{refusal}"),
        Ok(packet) => packet,
    };
    assert!(data.len() >= 42 && data[12..14] == [0x08, 0x06], "{packet:?}");
    assert!(packet.sender.mac.is_station(), "{packet:?}");
    let mut built = packet.build();
    assert_eq!(built, data[..42], "nothing of it is lost");
    built.resize(60, 0xa5);
    assert_eq!(arp::Packet::parse(&built), Ok(packet));
    let answer = packet.answer(OURS);
    assert_eq!(arp::Packet::parse(&answer.build()), Ok(answer));
    assert_eq!((answer.source, answer.sender.mac), (OURS, OURS));
    assert_eq!(answer.destination.is_station(), !packet.target.ip.is_link_local(), "{answer:?}");
}

/// An Ethernet frame, read as neighbour discovery: as it is, and once more with a right length and checksum, as hardly
/// any random frame would pass these.
///
/// 1. It is refused by a word, or it is untagged IPv6 from one station of this link, with a right checksum.
/// 2. What it means, built anew, means the same; so does it with padding.
/// 3. The answer to a solicitation is a right frame, from us, to one station, or to all where the asker has no address.
pub(crate) fn ndp(data: &[u8]) {
    neighbour(data);
    let mut repaired = data.to_vec();
    if let Some(body) = repaired.len().checked_sub(BODY).filter(|body| *body >= 4) {
        let length = u16::try_from(body).unwrap_or(u16::MAX);
        repaired[18..20].copy_from_slice(&length.to_be_bytes());
        repaired[56..58].fill(0);
        let sum = !sum(&repaired);
        repaired[56..58].copy_from_slice(&sum.to_be_bytes());
        neighbour(&repaired);
    }
}

/// Where the ICMPv6 message begins.
const BODY: usize = 54;

fn neighbour(data: &[u8]) {
    let message = match ndp::Message::parse(data) {
        Err(refusal) => return assert!(is_word(&refusal.to_string()), "{refusal}"),
        Ok(message) => message,
    };
    assert!(data[12..15] == [0x86, 0xdd, data[14] & 0x0f | 0x60] && data[20..22] == [58, 255], "{message:?}");
    assert_eq!(sum(data), 0xffff, "{message:?}");
    let (source, sender, target, mut built) = match &message {
        ndp::Message::Solicitation(asked) => {
            let right = asked.recipient == ndp::solicited_node(asked.target) && asked.link_layer.is_none();
            assert!(right || !asked.sender.is_unspecified(), "{asked:?}");
            (asked.source, asked.sender, asked.target, asked.build())
        }
        ndp::Message::Advertisement(told) => {
            assert!(!told.solicited || !told.recipient.is_multicast(), "{told:?}");
            (told.source, told.sender, told.target, told.build())
        }
    };
    assert!(source.is_station() && !sender.is_multicast(), "{message:?}");
    assert!(!target.is_multicast() && !target.is_unspecified(), "{message:?}");
    built.resize(built.len() + 7, 0xa5);
    assert_eq!(ndp::Message::parse(&built), Ok(message));
    if let ndp::Message::Solicitation(asked) = message {
        let answer = asked.answer(OURS);
        assert_eq!(ndp::Message::parse(&answer.build()), Ok(ndp::Message::Advertisement(answer)));
        let to_all = asked.sender.is_unspecified();
        assert_eq!((answer.source, answer.sender, answer.link_layer), (OURS, asked.target, Some(OURS)));
        assert_eq!(
            (answer.solicited, answer.destination.is_station(), answer.recipient.is_multicast()),
            (!to_all, !to_all, to_all)
        );
    }
}

/// The sum of RFC 4443 section 2.3 over addresses, length, next header and message: all ones where the checksum is right.
/// The frame must have the length that it names.
fn sum(frame: &[u8]) -> u16 {
    let length = u16::from_be_bytes([frame[18], frame[19]]);
    let octet = |at: Option<&u8>| u32::from(at.copied().unwrap_or_default());
    let covered = frame[22..BODY + usize::from(length)].chunks(2);
    let words = covered.map(|pair| octet(pair.first()) << 8 | octet(pair.get(1)));
    let mut sum = words.sum::<u32>() + u32::from(length) + 58;
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    u16::try_from(sum).unwrap_or_default()
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// The whole way of a received frame: what an announcer with two links and an address of each family sends back.
///
/// 1. It is ignored for a reason that is a word; always, on a link that is not known.
/// 2. Or it asks for an address that is ours on that link, and the answer speaks for that address, with the link's MAC.
/// 3. An address that was taken away is never answered for.
pub(crate) fn receive(data: &[u8]) {
    speaker(data);
    let (here, there) = (LinkIndex(2), LinkIndex(3));
    let link = |name: &str, mac| Link {
        name: name.to_owned(),
        mac,
        ups: 0,
        ipv6: true,
        addresses: [].into(),
        networks: [].into(),
    };
    let addresses: [IpAddr; 2] = [[10, 0, 0, 1].into(), [0xfd00, 0, 0, 0, 0, 0, 0, 1].into()];
    let now = Duration::ZERO;
    let mut announcer = Announcer::new(None);
    announcer.handle_links([(here, link("here", OURS)), (there, link("there", OTHERS))].into(), now);
    for address in addresses {
        announcer.desire(here, address, Some(Speak::Own), now);
    }
    let answer =
        |announcer: &Announcer, on| Frame::parse(data).and_then(|frame| announcer.answer(on, &frame));
    for (on, ours) in [(here, true), (there, false), (LinkIndex(9), false)] {
        match answer(&announcer, on) {
            Err(why) => assert!(is_word(&why.to_string()), "{why}"),
            Ok(answer) => {
                assert!(ours && addresses.contains(&answer.address), "{answer:?}");
                let (mac, told) = spoken(&answer.frame);
                assert_eq!((mac, told), (OURS, answer.address));
            }
        }
    }
    if Frame::parse(data).is_ok() {
        assert_eq!(answer(&announcer, LinkIndex(9)), Err(Ignored::UnknownLink));
    }
    for address in addresses {
        announcer.desire(here, address, None, now);
    }
    assert!(answer(&announcer, here).is_err());
    while let Some(effect) = announcer.next_effect(now) {
        assert!(!matches!(effect, Effect::Send { .. }), "{effect:?}");
    }
}

/// A whole speaker that has a link, a key and nothing to say: it may remember who spoke, and answers no other frame than a
/// question that is signed.
fn speaker(data: &[u8]) {
    let (link, now) = (LinkIndex(2), Duration::from_secs(1));
    let mut speaker = Speaker::new(Config {
        node: "ours".into(),
        epoch: 7,
        timing: Timing::default(),
        refresh: None,
        stand_in_limit: Duration::from_secs(60),
        conflict_detection: true,
        transports: Transports::default(),
    });
    speaker.set_keys(Arc::new(Keys::new(hello_key(), []).expect("one key")), now);
    let networks = ["10.0.0.1/24".parse().expect("a network")].into();
    let here =
        Link { name: "here".to_owned(), mac: OURS, ups: 0, ipv6: true, addresses: [].into(), networks };
    speaker.handle_links([(link, here)].into(), now);
    if let Ok(answer) = speaker.handle_frame(link, data, now) {
        assert_eq!(answer, None);
    }
    // The same bytes as a datagram; only what is signed gets an answer, so there may be one more.
    let _ = speaker.handle_datagram(link, [10, 0, 0, 2].into(), data, now);
    let mut steps = 0;
    while let Some(effect) = speaker.next_effect(now) {
        steps += 1;
        assert!(steps < 100, "{effect:?}");
    }
    assert!(speaker.next_deadline().is_some_and(|at| at > now));
}

/// The address of the other link.
const OTHERS: Mac = Mac([0x02, 0, 0, 0, 0, 0x02]);

/// The station that a frame of ours names, and the address.
fn spoken(frame: &[u8]) -> (Mac, IpAddr) {
    if is_ndp(frame) {
        match ndp::Message::parse(frame) {
            Ok(ndp::Message::Advertisement(told)) => {
                (told.link_layer.unwrap_or(Mac::ZERO), told.target.into())
            }
            other => panic!("{other:?}"),
        }
    } else {
        let packet = arp::Packet::parse(frame).expect("what we send can be read");
        (packet.sender.mac, packet.sender.ip.into())
    }
}

/// The key that right hellos are signed with.
pub(crate) fn hello_key() -> Key {
    Key::new(std::array::from_fn(|at| at.to_le_bytes()[0]))
}

/// An Ethernet frame, read as a hello: as it is, and once more with a right header, length and tag, as no other random
/// frame would pass these.
///
/// 1. It is refused by a word, or it is signed with our key, all of it but the padding.
/// 2. Whoever has other keys refuses it in any case, also where it names one of theirs.
/// 3. A signed one is refused for what is wrong with its fields, or what it means, built anew, means the same.
pub(crate) fn hello(data: &[u8]) {
    let keys = Keys::new(hello_key(), []).expect("one key");
    if let Some(message) = heard(data, &keys) {
        let payload = &data[14..];
        let (signed, rest) = payload.split_at(usize::from(u16::from_be_bytes([payload[4], payload[5]])) - 32);
        assert_eq!(hello_key().tag(signed), rest[..32], "{message:?}");
    }
    let other = Key::new([7; 32]);
    let others = Keys::new(other.clone(), []).expect("one key");
    let mut forged = data.to_vec();
    assert_eq!(heard(&forged, &others), None);
    if let Some(named) = forged.get_mut(20..24) {
        named.copy_from_slice(&other.id().0.to_be_bytes());
        assert_eq!(heard(&forged, &others), None);
    }
    let mut signed = data.to_vec();
    signed.truncate(14 + hello::MAX_PAYLOAD - 32);
    if signed.len() < 14 + 32 {
        return;
    }
    signed[..6].copy_from_slice(&hello::GROUP.0);
    signed[6..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    signed[14..18].copy_from_slice(b"FLB\x01");
    let length = u16::try_from(signed.len() - 14 + 32).expect("cut above").to_be_bytes();
    signed[18..20].copy_from_slice(&length);
    signed[20..24].copy_from_slice(&hello_key().id().0.to_be_bytes());
    let tag = hello_key().tag(&signed[14..]);
    signed.extend(tag);
    speaker(&signed);
    match hello::parse_frame(&signed, &keys) {
        Err(refusal) => assert!(refusal.was_signed() && is_word(&refusal.to_string()), "{refusal}"),
        Ok(received) => {
            let mut built =
                hello::payload(&received.message, &hello_key()).expect("what is read can be built");
            assert!(built.len() <= signed.len() - 14, "{received:?}");
            built.resize(built.len() + 7, 0xa5);
            assert_eq!(hello::parse_payload(&built, &keys), Ok(received.message));
        }
    }
}

/// What the frame says to somebody with these keys.
fn heard(frame: &[u8], keys: &Keys) -> Option<hello::Message> {
    match hello::parse_frame(frame, keys) {
        Ok(received) => Some(received.message),
        Err(refusal) => {
            assert!(is_word(&refusal.to_string()), "{refusal}");
            let named =
                keys.current().is_some_and(|key| frame.get(20..24) == Some(&key.id().0.to_be_bytes()));
            // What is behind the tag is looked at only where the tag is right.
            assert!(named || refusal <= Refusal::UnknownKey, "{refusal}");
            None
        }
    }
}
