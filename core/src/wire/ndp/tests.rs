//! Golden bytes, written out by hand from RFC 4861, checked four ways: parse, build, round trip, refuse. Their
//! checksums were computed by a few lines of Python, not by the code under test.

use proptest::prelude::*;

use super::*;

const NODE: Mac = Mac([0x02, 0, 0, 0, 0, 0x01]);
/// The node that a stand-in answers for.
const ABSENT: Mac = Mac([0x02, 0, 0, 0, 0, 0x02]);
const CLIENT: Mac = Mac([0x02, 0, 0, 0, 0, 0x99]);
const VIP: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x0a0b, 0x0c0d);
const CLIENT_IP: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x99);
const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff0b, 0x0c0d);
const GROUP_MAC: Mac = Mac([0x33, 0x33, 0xff, 0x0b, 0x0c, 0x0d]);
const ALL_NODES_MAC: Mac = Mac([0x33, 0x33, 0, 0, 0, 1]);

/// Where the fields begin.
const LENGTH: usize = 18;
const SENDER: usize = 22;
const RECIPIENT: usize = 38;
const TYPE: usize = 54;
const CHECKSUM: usize = 56;
const FLAGS: usize = 58;
const TARGET: usize = 62;
const OPTIONS: usize = 78;

impl Message {
    fn build(&self) -> Vec<u8> {
        match self {
            Message::Solicitation(message) => message.build(),
            Message::Advertisement(message) => message.build(),
        }
    }
}

/// One frame and its meaning.
struct Golden {
    name: &'static str,
    bytes: Vec<u8>,
    meaning: Message,
}

fn question() -> Solicitation {
    Solicitation {
        destination: GROUP_MAC,
        source: CLIENT,
        sender: CLIENT_IP,
        recipient: GROUP,
        target: VIP,
        link_layer: Some(CLIENT),
    }
}

fn question_bytes() -> Vec<u8> {
    #[rustfmt::skip]
    let bytes = [
        0x33, 0x33, 0xff, 0x0b, 0x0c, 0x0d, 0x02, 0, 0, 0, 0, 0x99, 0x86, 0xdd,
        0x60, 0, 0, 0, 0, 32, 58, 255,
        0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x99,
        0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0xff, 0x0b, 0x0c, 0x0d,
        135, 0, 0x28, 0x03, 0, 0, 0, 0,
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0x0b, 0x0c, 0x0d,
        1, 1, 0x02, 0, 0, 0, 0, 0x99,
    ];
    bytes.to_vec()
}

fn probe() -> Solicitation {
    Solicitation { sender: Ipv6Addr::UNSPECIFIED, link_layer: None, ..question() }
}

fn probe_bytes() -> Vec<u8> {
    #[rustfmt::skip]
    let bytes = [
        0x33, 0x33, 0xff, 0x0b, 0x0c, 0x0d, 0x02, 0, 0, 0, 0, 0x99, 0x86, 0xdd,
        0x60, 0, 0, 0, 0, 24, 58, 255,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0xff, 0x0b, 0x0c, 0x0d,
        135, 0, 0x2a, 0xbf, 0, 0, 0, 0,
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0x0b, 0x0c, 0x0d,
    ];
    bytes.to_vec()
}

fn neighbour_still_there() -> Solicitation {
    Solicitation { destination: NODE, recipient: VIP, link_layer: None, ..question() }
}

fn answer() -> Advertisement {
    Advertisement {
        destination: CLIENT,
        source: NODE,
        sender: VIP,
        recipient: CLIENT_IP,
        target: VIP,
        router: false,
        solicited: true,
        overrides: true,
        link_layer: Some(NODE),
    }
}

fn answer_bytes() -> Vec<u8> {
    #[rustfmt::skip]
    let bytes = [
        0x02, 0, 0, 0, 0, 0x99, 0x02, 0, 0, 0, 0, 0x01, 0x86, 0xdd,
        0x60, 0, 0, 0, 0, 32, 58, 255,
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0x0b, 0x0c, 0x0d,
        0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x99,
        136, 0, 0x8c, 0xe6, 0x60, 0, 0, 0,
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0x0b, 0x0c, 0x0d,
        2, 1, 0x02, 0, 0, 0, 0, 0x01,
    ];
    bytes.to_vec()
}

fn golden() -> Vec<Golden> {
    vec![
        Golden {
            name: "who has the VIP, tell fe80::99",
            bytes: question_bytes(),
            meaning: Message::Solicitation(question()),
        },
        Golden {
            name: "a second host probes for the VIP",
            bytes: probe_bytes(),
            meaning: Message::Solicitation(probe()),
        },
        Golden {
            name: "is the VIP still there, without a link-layer address",
            #[rustfmt::skip]
            bytes: vec![
                0x02, 0, 0, 0, 0, 0x01, 0x02, 0, 0, 0, 0, 0x99, 0x86, 0xdd,
                0x60, 0, 0, 0, 0, 24, 58, 255,
                0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x99,
                0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0x0b, 0x0c, 0x0d,
                135, 0, 0xf1, 0xf0, 0, 0, 0, 0,
                0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0x0b, 0x0c, 0x0d,
            ],
            meaning: Message::Solicitation(neighbour_still_there()),
        },
        Golden {
            name: "the VIP is at the node, to the asker",
            bytes: answer_bytes(),
            meaning: Message::Advertisement(answer()),
        },
        Golden {
            name: "the VIP is at the node, to everybody",
            #[rustfmt::skip]
            bytes: vec![
                0x33, 0x33, 0, 0, 0, 0x01, 0x02, 0, 0, 0, 0, 0x01, 0x86, 0xdd,
                0x60, 0, 0, 0, 0, 32, 58, 255,
                0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0x0b, 0x0c, 0x0d,
                0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01,
                136, 0, 0xcc, 0xfc, 0x20, 0, 0, 0,
                0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0x0b, 0x0c, 0x0d,
                2, 1, 0x02, 0, 0, 0, 0, 0x01,
            ],
            meaning: Message::Advertisement(announcement(NODE, VIP)),
        },
        Golden {
            name: "a router answers, without its link-layer address",
            #[rustfmt::skip]
            bytes: vec![
                0x02, 0, 0, 0, 0, 0x01, 0x02, 0, 0, 0, 0, 0x99, 0x86, 0xdd,
                0x60, 0, 0, 0, 0, 24, 58, 255,
                0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x99,
                0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x07,
                136, 0, 0x8b, 0xb8, 0xc0, 0, 0, 0,
                0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x99,
            ],
            meaning: Message::Advertisement(Advertisement {
                destination: NODE,
                source: CLIENT,
                sender: CLIENT_IP,
                recipient: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7),
                target: CLIENT_IP,
                router: true,
                solicited: true,
                overrides: false,
                link_layer: None,
            }),
        },
        Golden {
            name: "who has fe80::99, tell the VIP: to the client",
            #[rustfmt::skip]
            bytes: vec![
                0x02, 0, 0, 0, 0, 0x99, 0x02, 0, 0, 0, 0, 0x01, 0x86, 0xdd,
                0x60, 0, 0, 0, 0, 32, 58, 255,
                0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0x0b, 0x0c, 0x0d,
                0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x99,
                135, 0, 0x33, 0x9e, 0, 0, 0, 0,
                0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x99,
                1, 1, 0x02, 0, 0, 0, 0, 0x01,
            ],
            meaning: Message::Solicitation(confirmation(NODE, VIP, CLIENT_IP, Some(CLIENT))),
        },
        Golden {
            name: "who has fe80::99, tell the VIP: to its group",
            #[rustfmt::skip]
            bytes: vec![
                0x33, 0x33, 0xff, 0, 0, 0x99, 0x02, 0, 0, 0, 0, 0x01, 0x86, 0xdd,
                0x60, 0, 0, 0, 0, 32, 58, 255,
                0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0x0b, 0x0c, 0x0d,
                0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0xff, 0, 0, 0x99,
                135, 0, 0x34, 0x1a, 0, 0, 0, 0,
                0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x99,
                1, 1, 0x02, 0, 0, 0, 0, 0x01,
            ],
            meaning: Message::Solicitation(confirmation(NODE, VIP, CLIENT_IP, None)),
        },
        Golden {
            name: "our probe for the VIP",
            #[rustfmt::skip]
            bytes: vec![
                0x33, 0x33, 0xff, 0x0b, 0x0c, 0x0d, 0x02, 0, 0, 0, 0, 0x01, 0x86, 0xdd,
                0x60, 0, 0, 0, 0, 24, 58, 255,
                0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0xff, 0x0b, 0x0c, 0x0d,
                135, 0, 0x2a, 0xbf, 0, 0, 0, 0,
                0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0x0b, 0x0c, 0x0d,
            ],
            meaning: Message::Solicitation(super::probe(NODE, VIP)),
        },
        Golden {
            name: "fe80::99 is at the client, to the VIP",
            #[rustfmt::skip]
            bytes: vec![
                0x02, 0, 0, 0, 0, 0x01, 0x02, 0, 0, 0, 0, 0x99, 0x86, 0xdd,
                0x60, 0, 0, 0, 0, 32, 58, 255,
                0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x99,
                0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0x0b, 0x0c, 0x0d,
                136, 0, 0xd1, 0x05, 0x60, 0, 0, 0,
                0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x99,
                2, 1, 0x02, 0, 0, 0, 0, 0x99,
            ],
            meaning: Message::Advertisement(confirmation(NODE, VIP, CLIENT_IP, None).answer(CLIENT)),
        },
        Golden {
            name: "a stand-in says that the VIP is at the absent node",
            #[rustfmt::skip]
            bytes: vec![
                0x02, 0, 0, 0, 0, 0x99, 0x02, 0, 0, 0, 0, 0x01, 0x86, 0xdd,
                0x60, 0, 0, 0, 0, 32, 58, 255,
                0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0x0b, 0x0c, 0x0d,
                0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x99,
                136, 0, 0x8c, 0xe5, 0x60, 0, 0, 0,
                0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0x0b, 0x0c, 0x0d,
                2, 1, 0x02, 0, 0, 0, 0, 0x02,
            ],
            meaning: Message::Advertisement(question().answer_as(ABSENT, NODE)),
        },
    ]
}

/// Puts the right checksum on a frame whose length field is right: RFC 4443 section 2.3, RFC 8200 section 8.1,
/// without the code under test.
fn sum_up(frame: &mut [u8]) {
    let length = u16::from_be_bytes([frame[LENGTH], frame[LENGTH + 1]]);
    frame[CHECKSUM..CHECKSUM + 2].fill(0);
    let end = TYPE + usize::from(length);
    let octet = |at: Option<&u8>| u32::from(at.copied().unwrap_or_default());
    let words = frame[SENDER..end].chunks(2).map(|pair| octet(pair.first()) << 8 | octet(pair.get(1)));
    let mut sum = words.sum::<u32>() + u32::from(length) + 58;
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    frame[CHECKSUM..CHECKSUM + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// `frame` with other options, its length and checksum right.
fn with_options(mut frame: Vec<u8>, options: &[u8]) -> Vec<u8> {
    frame.truncate(OPTIONS);
    frame.extend(options);
    let length = u16::try_from(frame.len() - TYPE).unwrap();
    frame[LENGTH..LENGTH + 2].copy_from_slice(&length.to_be_bytes());
    sum_up(&mut frame);
    frame
}

/// `frame` with other bytes at a place, its checksum right.
fn with(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    sum_up(&mut frame);
    frame
}

/// What Linux 6.18 sent on a veth pair: a question for fd00::a0b:c0d, and the probe for its own fd00::99.
#[test]
fn ndp_1_the_frames_of_a_linux_host_are_understood() {
    let (vip, own) = ("fd00::a0b:c0d".parse().unwrap(), "fd00::99".parse().unwrap());
    #[rustfmt::skip]
    let asked = [
        0x33, 0x33, 0xff, 0x0b, 0x0c, 0x0d, 0x02, 0, 0, 0, 0, 0x99, 0x86, 0xdd,
        0x60, 0, 0, 0, 0, 0x20, 0x3a, 0xff,
        0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x99,
        0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0xff, 0x0b, 0x0c, 0x0d,
        0x87, 0, 0x5a, 0x3b, 0, 0, 0, 0,
        0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0x0b, 0x0c, 0x0d,
        0x01, 0x01, 0x02, 0, 0, 0, 0, 0x99,
    ];
    let meaning = Solicitation { sender: own, target: vip, ..question() };
    assert_eq!(Message::parse(&asked), Ok(Message::Solicitation(meaning)));
    assert_eq!(meaning.build(), asked, "ours are the same to the byte");

    #[rustfmt::skip]
    let probed = [
        0x33, 0x33, 0xff, 0, 0, 0x99, 0x02, 0, 0, 0, 0, 0x99, 0x86, 0xdd,
        0x60, 0, 0, 0, 0, 0x20, 0x3a, 0xff,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0xff, 0, 0, 0x99,
        0x87, 0, 0x16, 0x39, 0, 0, 0, 0,
        0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x99,
        0x0e, 0x01, 0x59, 0x35, 0xab, 0x1a, 0x53, 0xe3,
    ];
    let recipient = solicited_node(own);
    let meaning = Solicitation { destination: group_mac(recipient), recipient, target: own, ..probe() };
    assert_eq!(Message::parse(&probed), Ok(Message::Solicitation(meaning)));
}

#[test]
fn an_answer_tells_whose_it_is_and_who_asked() {
    let answer = confirmation(NODE, VIP, CLIENT_IP, Some(CLIENT)).answer(CLIENT);
    assert_eq!(answer.answered(), Some((CLIENT_IP, CLIENT, VIP)));
    let bare = Advertisement { link_layer: None, ..answer };
    assert_eq!(bare.answered(), Some((CLIENT_IP, CLIENT, VIP)), "from the frame's source");
    assert_eq!(announcement(NODE, VIP).answered(), None);
    assert_eq!(probe().answer(NODE).answered(), None);
}

#[test]
fn golden_bytes_are_parsed() {
    for Golden { name, bytes, meaning } in golden() {
        assert_eq!(Message::parse(&bytes), Ok(meaning), "{name}");
    }
}

#[test]
fn golden_meanings_are_built() {
    for Golden { name, bytes, meaning } in golden() {
        assert_eq!(meaning.build(), bytes, "{name}");
    }
}

#[test]
fn golden_frames_survive_padding() {
    for Golden { name, bytes, meaning } in golden() {
        for more in [1, 4, 8, 1400] {
            let mut padded = bytes.clone();
            padded.resize(bytes.len() + more, 0xa5);
            assert_eq!(Message::parse(&padded), Ok(meaning), "{name}, {more} bytes more");
        }
    }
}

#[test]
fn golden_frames_cut_short_are_refused() {
    for Golden { name, bytes, .. } in golden() {
        for length in 0..bytes.len() {
            assert_eq!(Message::parse(&bytes[..length]), Err(Refusal::TooShort), "{name}, {length} bytes");
        }
    }
}

#[test]
fn golden_payloads_cut_short_are_refused() {
    for Golden { name, bytes, meaning } in golden() {
        for length in 0..bytes.len() - TYPE {
            let mut frame = bytes.clone();
            frame[LENGTH..LENGTH + 2].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
            if length >= 4 {
                sum_up(&mut frame);
            }
            let got = Message::parse(&frame);
            match length {
                0..NDP_LEN => assert_eq!(got, Err(Refusal::TooShort), "{name}, {length} bytes"),
                // What is left is a whole message, but for the option.
                NDP_LEN => assert!(got.is_ok() && got != Ok(meaning), "{name}: {got:?}"),
                _ => assert_eq!(got, Err(Refusal::OptionLength), "{name}, {length} bytes"),
            }
        }
    }
}

/// What is wrong, in which frame, where, the bytes there, and how it is refused.
type Wrong<'a> = (&'a str, Vec<u8>, usize, &'a [u8], Refusal);

#[test]
fn ndp_1_each_wrong_field_is_refused_by_its_own_reason() {
    let zero: &[u8] = &[0; 16];
    let group = &GROUP.octets();
    let cases: [Wrong<'_>; 25] = [
        ("802.1Q tag", question_bytes(), 12, &[0x81, 0x00], Refusal::Tagged),
        ("802.1ad tag", question_bytes(), 12, &[0x88, 0xa8], Refusal::Tagged),
        ("IPv4", question_bytes(), 12, &[0x08, 0x00], Refusal::NotIpv6),
        ("broadcast source", question_bytes(), 6, &[0xff; 6], Refusal::SourceMac),
        ("multicast source", question_bytes(), 6, &[0x33, 0x33, 0, 0, 0, 1], Refusal::SourceMac),
        ("zero source", answer_bytes(), 6, &[0; 6], Refusal::SourceMac),
        ("version 4", question_bytes(), 14, &[0x40], Refusal::Version),
        ("hop-by-hop options", question_bytes(), 20, &[0], Refusal::NextHeader),
        ("fragment", question_bytes(), 20, &[44], Refusal::NextHeader),
        ("UDP", question_bytes(), 20, &[17], Refusal::NextHeader),
        ("hop limit 254", question_bytes(), 21, &[254], Refusal::HopLimit),
        ("hop limit 0", answer_bytes(), 21, &[0], Refusal::HopLimit),
        ("a group asks", question_bytes(), SENDER, group, Refusal::Sender),
        ("a group answers", answer_bytes(), SENDER, group, Refusal::Sender),
        ("router solicitation", question_bytes(), TYPE, &[133], Refusal::Type),
        ("redirect", question_bytes(), TYPE, &[137], Refusal::Type),
        ("code 1", question_bytes(), TYPE + 1, &[1], Refusal::Code),
        ("code 255", answer_bytes(), TYPE + 1, &[255], Refusal::Code),
        ("a group is asked for", question_bytes(), TARGET, group, Refusal::Target),
        ("a group is told of", answer_bytes(), TARGET, group, Refusal::Target),
        (":: is asked for", question_bytes(), TARGET, zero, Refusal::Target),
        ("broadcast link-layer address", question_bytes(), OPTIONS + 2, &[0xff; 6], Refusal::LinkLayer),
        (
            "multicast link-layer address",
            answer_bytes(),
            OPTIONS + 2,
            &[1, 0, 0x5e, 0, 0, 1],
            Refusal::LinkLayer,
        ),
        ("zero link-layer address", answer_bytes(), OPTIONS + 2, &[0; 6], Refusal::LinkLayer),
        ("solicited, to a group", answer_bytes(), RECIPIENT, &ALL_NODES.octets(), Refusal::SolicitedByGroup),
    ];
    for (name, frame, at, bytes, refusal) in cases {
        assert_eq!(Message::parse(&with(frame, at, bytes)), Err(refusal), "{name}");
    }
}

#[test]
fn ndp_1_a_wrong_checksum_is_refused() {
    // Each bit of what it covers: the addresses, the type, the target, the option. Some are refused for what
    // they then say.
    for Golden { name, bytes, .. } in golden() {
        for bit in SENDER * 8..bytes.len() * 8 {
            let mut frame = bytes.clone();
            frame[bit / 8] ^= 0x80 >> (bit % 8);
            let refusal = Message::parse(&frame).expect_err(name);
            let meant = match bit / 8 {
                SENDER..RECIPIENT => &[Refusal::Checksum, Refusal::Sender][..],
                TYPE => &[Refusal::Checksum, Refusal::Type],
                55 => &[Refusal::Code],
                _ => &[Refusal::Checksum],
            };
            assert!(meant.contains(&refusal), "{name}, bit {bit}: {refusal}");
        }
    }
}

#[test]
fn ndp_1_both_zeroes_of_the_checksum_are_right() {
    // One's complement has two; the sum with either is all ones. A reserved word makes the checksum 0.
    let sum = u16::from_be_bytes([0x28, 0x03]);
    let mut frame = with(question_bytes(), FLAGS + 2, &sum.to_be_bytes());
    assert_eq!(frame[CHECKSUM..CHECKSUM + 2], [0, 0]);
    assert_eq!(Message::parse(&frame), Ok(Message::Solicitation(question())), "reserved bits are ignored");
    frame[CHECKSUM..CHECKSUM + 2].fill(0xff);
    assert_eq!(Message::parse(&frame), Ok(Message::Solicitation(question())));
}

#[test]
fn ndp_1_what_is_wrong_with_options_is_refused() {
    let source = [1, 1, 2, 0, 0, 0, 0, 0x99];
    let cases: [(&str, Vec<u8>); 8] = [
        ("length 0", vec![1, 0, 2, 0, 0, 0, 0, 0x99]),
        ("length 0 of an unknown option", vec![253, 0, 0, 0, 0, 0, 0, 0]),
        ("length 0 after a right option", [&source[..], &[14, 0, 0, 0, 0, 0, 0, 0]].concat()),
        ("longer than what is left", vec![1, 2, 2, 0, 0, 0, 0, 0x99]),
        ("far longer than what is left", vec![253, 255, 0, 0, 0, 0, 0, 0]),
        ("one byte left", [&source[..], &[14]].concat()),
        ("seven bytes left", [&source[..], &[14, 1, 0, 0, 0, 0, 0]].concat()),
        ("a link-layer address of 14 bytes", [&source[..1], &[2], &[2; 14]].concat()),
    ];
    for (name, options) in cases {
        let frame = with_options(question_bytes(), &options);
        assert_eq!(Message::parse(&frame), Err(Refusal::OptionLength), "{name}");
    }
}

#[test]
fn options_without_a_meaning_here_are_passed_over() {
    let source = [1, 1, 2, 0, 0, 0, 0, 0x99];
    // As Linux sends with its probes (RFC 7527); and the target's option, which has no meaning in a question.
    let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
    let targets = [2, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let unknown = [253, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let second = [1, 1, 2, 0, 0, 0, 0, 0x77];
    let asked = with_options(question_bytes(), &[&nonce[..], &targets, &unknown, &source, &second].concat());
    assert_eq!(Message::parse(&asked), Ok(Message::Solicitation(question())));
    let probed = with_options(probe_bytes(), &nonce);
    assert_eq!(Message::parse(&probed), Ok(Message::Solicitation(probe())));
    let told = with_options(answer_bytes(), &source);
    let told_nothing = Advertisement { link_layer: None, ..answer() };
    assert_eq!(Message::parse(&told), Ok(Message::Advertisement(told_nothing)));
}

#[test]
fn ndp_1_a_probe_goes_to_the_solicited_node_group_and_says_no_link_layer_address() {
    for (name, recipient) in [
        ("to the target", VIP),
        ("to all nodes", ALL_NODES),
        ("to the group of another", solicited_node(CLIENT_IP)),
        ("to a group that ends alike", Ipv6Addr::new(0xff05, 0, 0, 0, 0, 1, 0xff0b, 0x0c0d)),
    ] {
        let frame = Solicitation { recipient, ..probe() }.build();
        assert_eq!(Message::parse(&frame), Err(Refusal::ProbeRecipient), "{name}");
        // A question may go there.
        assert!(Message::parse(&Solicitation { recipient, ..question() }.build()).is_ok(), "{name}");
    }
    let frame = Solicitation { link_layer: Some(CLIENT), ..probe() }.build();
    assert_eq!(Message::parse(&frame), Err(Refusal::ProbeLinkLayer));
}

#[test]
fn a_tagged_frame_is_refused_even_where_a_question_follows_the_tag() {
    let mut frame = question_bytes();
    frame.splice(12..12, [0x81, 0x00, 0x00, 0x07]);
    assert_eq!(Message::parse(&frame), Err(Refusal::Tagged));
}

#[test]
fn ndp_2_the_answer_to_a_question_goes_to_the_asker_alone() {
    assert_eq!(question().answer(NODE), answer());
    // Where the frame's source is not the link-layer address named, the named one gets the answer.
    let through_another = Solicitation { source: Mac([2, 0, 0, 0, 0, 7]), ..question() };
    assert_eq!(through_another.answer(NODE), answer());
}

#[test]
fn ndp_2_the_answer_to_a_probe_goes_to_everybody_and_is_not_solicited() {
    let answer = probe().answer(NODE);
    assert_eq!((answer.destination, answer.recipient), (ALL_NODES_MAC, ALL_NODES));
    assert_eq!((answer.router, answer.solicited, answer.overrides), (false, false, true));
    assert_eq!((answer.sender, answer.target, answer.link_layer), (VIP, VIP, Some(NODE)));
    assert_eq!(answer, announcement(NODE, VIP));
}

#[test]
fn ndp_3_the_unsolicited_form_says_override_and_where() {
    let bytes = announcement(NODE, VIP).build();
    assert_eq!(bytes[..6], ALL_NODES_MAC.0);
    assert_eq!(bytes[RECIPIENT..TYPE], ALL_NODES.octets());
    assert_eq!(bytes[FLAGS], 0x20, "R 0, S 0, O 1");
    assert_eq!(bytes[OPTIONS..], [2, 1, 2, 0, 0, 0, 0, 1]);
    assert_eq!(bytes[21], 255, "hop limit");
}

#[test]
fn ndp_4_groups_and_their_ethernet_addresses() {
    let cases = [
        ("2001:db8::a0b:c0d", "ff02::1:ff0b:c0d", "33:33:ff:0b:0c:0d"),
        ("fd00::1", "ff02::1:ff00:1", "33:33:ff:00:00:01"),
        ("fd00::ffff:ffff", "ff02::1:ffff:ffff", "33:33:ff:ff:ff:ff"),
        ("::", "ff02::1:ff00:0", "33:33:ff:00:00:00"),
    ];
    for (ip, group, mac) in cases {
        let ip: Ipv6Addr = ip.parse().unwrap();
        assert_eq!(solicited_node(ip), group.parse::<Ipv6Addr>().unwrap(), "{ip}");
        assert_eq!(group_mac(solicited_node(ip)), mac.parse().unwrap(), "{ip}");
    }
    assert_eq!(group_mac(ALL_NODES), ALL_NODES_MAC);
}

#[test]
fn ndp_5_a_unicast_probe_without_link_layer_address_is_answered_to_the_frames_source() {
    assert_eq!(neighbour_still_there().answer(NODE), answer());
}

#[test]
fn every_refusal_has_a_word_of_its_own() {
    let all = [
        Refusal::TooShort,
        Refusal::Tagged,
        Refusal::NotIpv6,
        Refusal::SourceMac,
        Refusal::Version,
        Refusal::NextHeader,
        Refusal::HopLimit,
        Refusal::Sender,
        Refusal::Type,
        Refusal::Code,
        Refusal::Checksum,
        Refusal::Target,
        Refusal::OptionLength,
        Refusal::LinkLayer,
        Refusal::ProbeRecipient,
        Refusal::ProbeLinkLayer,
        Refusal::SolicitedByGroup,
    ];
    let words: std::collections::BTreeSet<String> = all.iter().map(ToString::to_string).collect();
    assert_eq!(words.len(), all.len(), "{words:?}");
    let plain =
        |word: &String| word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    assert!(words.iter().all(plain), "{words:?}");
}

prop_compose! {
    fn any_station()(octets in any::<[u8; 6]>()) -> Mac {
        let mut octets = octets;
        octets[0] = octets[0] & 0xfc | 0x02;
        Mac(octets)
    }
}

prop_compose! {
    /// The address of one host.
    fn any_host()(octets in any::<[u8; 16]>()) -> Ipv6Addr {
        let mut octets = octets;
        octets[0] = octets[0] & 0x7f | 0x20;
        Ipv6Addr::from(octets)
    }
}

fn any_recipient() -> impl Strategy<Value = Ipv6Addr> {
    prop_oneof![any_host(), Just(ALL_NODES), any_host().prop_map(solicited_node)]
}

prop_compose! {
    fn any_solicitation()(
        destination in any::<[u8; 6]>(), source in any_station(),
        sender in prop_oneof![any_host(), Just(Ipv6Addr::UNSPECIFIED)],
        recipient in any_recipient(), target in any_host(), link_layer in prop::option::of(any_station()),
    ) -> Solicitation {
        let asked = Solicitation { destination: Mac(destination), source, sender, recipient, target, link_layer };
        match sender.is_unspecified() {
            true => Solicitation { recipient: solicited_node(target), link_layer: None, ..asked },
            false => asked,
        }
    }
}

prop_compose! {
    fn any_advertisement()(
        destination in any::<[u8; 6]>(), source in any_station(), sender in any_host(), recipient in any_recipient(),
        target in any_host(), flags in any::<[bool; 3]>(), link_layer in prop::option::of(any_station()),
    ) -> Advertisement {
        let [router, solicited, overrides] = flags;
        let solicited = solicited && !recipient.is_multicast();
        let destination = Mac(destination);
        Advertisement { destination, source, sender, recipient, target, router, solicited, overrides, link_layer }
    }
}

fn any_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        any_solicitation().prop_map(Message::Solicitation),
        any_advertisement().prop_map(Message::Advertisement)
    ]
}

proptest! {
    #[test]
    fn what_is_built_is_parsed_back(message in any_message(), padding in 0usize..40) {
        let mut frame = message.build();
        frame.resize(frame.len() + padding, 0xff);
        prop_assert_eq!(Message::parse(&frame), Ok(message));
    }

    #[test]
    fn what_is_cut_short_is_refused(message in any_message(), cut in any::<prop::sample::Index>()) {
        let frame = message.build();
        prop_assert_eq!(Message::parse(&frame[..cut.index(frame.len())]), Err(Refusal::TooShort));
    }

    #[test]
    fn the_checksum_is_that_of_the_rfc(message in any_message()) {
        let mut frame = message.build();
        sum_up(&mut frame);
        prop_assert_eq!(frame, message.build());
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..192)) {
        let _ = Message::parse(&bytes);
    }

    #[test]
    fn any_options_with_a_right_checksum_are_parsed_or_refused(
        question in any::<bool>(),
        options in prop::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..64),
    ) {
        let frame = with_options(if question { question_bytes() } else { answer_bytes() }, &options);
        // What is accepted means the same when it is built anew.
        if let Ok(message) = Message::parse(&frame) {
            prop_assert_eq!(Message::parse(&message.build()), Ok(message));
        }
    }

    #[test]
    fn an_answer_is_always_accepted_and_goes_to_one_station_unless_the_asker_has_no_address(
        asked in any_solicitation(), mac in any_station(),
    ) {
        let answer = asked.answer(mac);
        prop_assert_eq!(Message::parse(&answer.build()), Ok(Message::Advertisement(answer)));
        let probed = asked.sender.is_unspecified();
        prop_assert_eq!(answer.destination.is_group(), probed);
        prop_assert_eq!(answer.recipient.is_multicast(), probed);
        prop_assert_eq!(answer.solicited, !probed);
        prop_assert_eq!((answer.sender, answer.target), (asked.target, asked.target));
        prop_assert_eq!((answer.source, answer.link_layer), (mac, Some(mac)));
        prop_assert!(answer.overrides && !answer.router);
    }

    #[test]
    fn a_stand_in_answers_with_the_option_of_another_and_its_own_source(
        asked in any_solicitation(), payload in any_station(), source in any_station(),
    ) {
        let answer = asked.answer_as(payload, source);
        prop_assert_eq!((answer.link_layer, answer.source), (Some(payload), source));
        prop_assert_eq!(answer, Advertisement { source, ..asked.answer(payload) });
        prop_assert_eq!(Message::parse(&answer.build()), Ok(Message::Advertisement(answer)));
    }

    /// Whoever is asked and answers is recognised.
    #[test]
    fn a_confirmation_is_parsed_and_its_answer_recognised(
        mac in any_station(), address in any_host(), client in any_host(), to in prop::option::of(any_station()),
        other in any_station(),
    ) {
        let asked = confirmation(mac, address, client, to);
        prop_assert_eq!(Message::parse(&asked.build()), Ok(Message::Solicitation(asked)));
        prop_assert_eq!((asked.source, asked.link_layer, asked.sender), (mac, Some(mac), address));
        prop_assert_eq!(asked.destination.is_group(), to.is_none());
        let answer = asked.answer(other);
        prop_assert_eq!(Message::parse(&answer.build()), Ok(Message::Advertisement(answer)));
        prop_assert_eq!(answer.answered(), Some((client, other, address)));
    }
}
