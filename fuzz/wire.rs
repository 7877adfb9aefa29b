//! What has to hold for any frame. The fuzz targets call these functions, and so does `crds/tests/fuzz.rs`, on random
//! frames, with a stable compiler.

use ferrolb_core::wire::{Mac, arp, ndp};

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
