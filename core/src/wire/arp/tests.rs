//! Golden bytes, written out by hand from RFC 826, checked four ways: parse, build, round trip, refuse.

use proptest::prelude::*;

use super::*;

const NODE: Mac = Mac([0x02, 0, 0, 0, 0, 0x01]);
/// The node that a stand-in answers for.
const ABSENT: Mac = Mac([0x02, 0, 0, 0, 0, 0x02]);
const CLIENT: Mac = Mac([0x02, 0, 0, 0, 0, 0x99]);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const CLIENT_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 153);

/// One frame and its meaning.
struct Golden {
    name: &'static str,
    bytes: [u8; 42],
    meaning: Packet,
}

fn golden() -> Vec<Golden> {
    let client = Host { mac: CLIENT, ip: CLIENT_IP };
    let node = Host { mac: NODE, ip: VIP };
    let question = Packet {
        destination: Mac::BROADCAST,
        source: CLIENT,
        operation: Operation::Request,
        sender: client,
        target: Host { mac: Mac::ZERO, ip: VIP },
    };
    vec![
        Golden {
            name: "who has 10.0.0.1, tell 10.0.0.153",
            #[rustfmt::skip]
            bytes: [
                0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 0x99, 0x08, 0x06,
                0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 0x01,
                0x02, 0, 0, 0, 0, 0x99, 10, 0, 0, 153,
                0, 0, 0, 0, 0, 0, 10, 0, 0, 1,
            ],
            meaning: question,
        },
        Golden {
            name: "probe for 10.0.0.1",
            #[rustfmt::skip]
            bytes: [
                0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 0x99, 0x08, 0x06,
                0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 0x01,
                0x02, 0, 0, 0, 0, 0x99, 0, 0, 0, 0,
                0, 0, 0, 0, 0, 0, 10, 0, 0, 1,
            ],
            meaning: Packet { sender: Host { mac: CLIENT, ip: Ipv4Addr::UNSPECIFIED }, ..question },
        },
        Golden {
            name: "10.0.0.1 is at the node, to the asker",
            #[rustfmt::skip]
            bytes: [
                0x02, 0, 0, 0, 0, 0x99, 0x02, 0, 0, 0, 0, 0x01, 0x08, 0x06,
                0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 0x02,
                0x02, 0, 0, 0, 0, 0x01, 10, 0, 0, 1,
                0x02, 0, 0, 0, 0, 0x99, 10, 0, 0, 153,
            ],
            meaning: Packet {
                destination: CLIENT,
                source: NODE,
                operation: Operation::Reply,
                sender: node,
                target: client,
            },
        },
        Golden {
            name: "10.0.0.1 is at the node, to one who probes",
            #[rustfmt::skip]
            bytes: [
                0x02, 0, 0, 0, 0, 0x99, 0x02, 0, 0, 0, 0, 0x01, 0x08, 0x06,
                0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 0x02,
                0x02, 0, 0, 0, 0, 0x01, 10, 0, 0, 1,
                0x02, 0, 0, 0, 0, 0x99, 0, 0, 0, 0,
            ],
            meaning: Packet {
                destination: CLIENT,
                source: NODE,
                operation: Operation::Reply,
                sender: node,
                target: Host { mac: CLIENT, ip: Ipv4Addr::UNSPECIFIED },
            },
        },
        Golden {
            name: "announcement, request form",
            #[rustfmt::skip]
            bytes: [
                0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 0x01, 0x08, 0x06,
                0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 0x01,
                0x02, 0, 0, 0, 0, 0x01, 10, 0, 0, 1,
                0, 0, 0, 0, 0, 0, 10, 0, 0, 1,
            ],
            meaning: announcement(NODE, VIP)[0],
        },
        Golden {
            name: "announcement, reply form",
            #[rustfmt::skip]
            bytes: [
                0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 0x01, 0x08, 0x06,
                0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 0x02,
                0x02, 0, 0, 0, 0, 0x01, 10, 0, 0, 1,
                0x02, 0, 0, 0, 0, 0x01, 10, 0, 0, 1,
            ],
            meaning: announcement(NODE, VIP)[1],
        },
        Golden {
            name: "169.254.7.7 is at the node, to everybody",
            #[rustfmt::skip]
            bytes: [
                0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 0x01, 0x08, 0x06,
                0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 0x02,
                0x02, 0, 0, 0, 0, 0x01, 169, 254, 7, 7,
                0x02, 0, 0, 0, 0, 0x99, 10, 0, 0, 153,
            ],
            meaning: Packet { target: Host { mac: Mac::ZERO, ip: [169, 254, 7, 7].into() }, ..question }
                .answer(NODE),
        },
        Golden {
            name: "a stand-in says that 10.0.0.1 is at the absent node",
            #[rustfmt::skip]
            bytes: [
                0x02, 0, 0, 0, 0, 0x99, 0x02, 0, 0, 0, 0, 0x01, 0x08, 0x06,
                0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 0x02,
                0x02, 0, 0, 0, 0, 0x02, 10, 0, 0, 1,
                0x02, 0, 0, 0, 0, 0x99, 10, 0, 0, 153,
            ],
            meaning: question.answer_as(ABSENT, NODE),
        },
        Golden {
            name: "our probe for 10.0.0.1",
            #[rustfmt::skip]
            bytes: [
                0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 0x01, 0x08, 0x06,
                0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 0x01,
                0x02, 0, 0, 0, 0, 0x01, 0, 0, 0, 0,
                0, 0, 0, 0, 0, 0, 10, 0, 0, 1,
            ],
            meaning: probe(NODE, VIP),
        },
        Golden {
            name: "who has node 10.0.0.12, tell node 10.0.0.11",
            #[rustfmt::skip]
            bytes: [
                0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 0x01, 0x08, 0x06,
                0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 0x01,
                0x02, 0, 0, 0, 0, 0x01, 10, 0, 0, 11,
                0, 0, 0, 0, 0, 0, 10, 0, 0, 12,
            ],
            meaning: request(NODE, [10, 0, 0, 11].into(), [10, 0, 0, 12].into()),
        },
        Golden {
            name: "who has 10.0.0.153, tell 10.0.0.1: to the client",
            #[rustfmt::skip]
            bytes: [
                0x02, 0, 0, 0, 0, 0x99, 0x02, 0, 0, 0, 0, 0x01, 0x08, 0x06,
                0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 0x01,
                0x02, 0, 0, 0, 0, 0x01, 10, 0, 0, 1,
                0, 0, 0, 0, 0, 0, 10, 0, 0, 153,
            ],
            meaning: confirmation(NODE, VIP, CLIENT_IP, Some(CLIENT)),
        },
        Golden {
            name: "who has 10.0.0.153, tell 10.0.0.1: to all",
            #[rustfmt::skip]
            bytes: [
                0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 0x01, 0x08, 0x06,
                0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 0x01,
                0x02, 0, 0, 0, 0, 0x01, 10, 0, 0, 1,
                0, 0, 0, 0, 0, 0, 10, 0, 0, 153,
            ],
            meaning: confirmation(NODE, VIP, CLIENT_IP, None),
        },
        Golden {
            name: "10.0.0.153 is at the client, to 10.0.0.1",
            #[rustfmt::skip]
            bytes: [
                0x02, 0, 0, 0, 0, 0x01, 0x02, 0, 0, 0, 0, 0x99, 0x08, 0x06,
                0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 0x02,
                0x02, 0, 0, 0, 0, 0x99, 10, 0, 0, 153,
                0x02, 0, 0, 0, 0, 0x01, 10, 0, 0, 1,
            ],
            meaning: confirmation(NODE, VIP, CLIENT_IP, None).answer(CLIENT),
        },
    ]
}

#[test]
fn an_answer_tells_whose_it_is_and_who_asked() {
    let client = Host { mac: CLIENT, ip: CLIENT_IP };
    let answer = confirmation(NODE, VIP, CLIENT_IP, Some(CLIENT)).answer(CLIENT);
    assert_eq!(answer.answered(), Some((client, VIP)));
    for (name, other) in [
        ("a request", confirmation(NODE, VIP, CLIENT_IP, None)),
        ("an announcement", announcement(NODE, VIP)[1]),
        ("an answer to a probe", probe(NODE, VIP).answer(CLIENT)),
        ("an answer from nowhere", request(NODE, VIP, Ipv4Addr::UNSPECIFIED).answer(CLIENT)),
    ] {
        assert_eq!(other.answered(), None, "{name}");
    }
}

#[test]
fn arp_6_a_confirmation_from_a_link_local_address_goes_to_all() {
    let packet = confirmation(NODE, [169, 254, 7, 7].into(), CLIENT_IP, Some(CLIENT));
    assert_eq!(packet.destination, Mac::BROADCAST);
}

fn question_bytes() -> Vec<u8> {
    golden()[0].bytes.to_vec()
}

#[test]
fn golden_bytes_are_parsed() {
    for Golden { name, bytes, meaning } in golden() {
        assert_eq!(Packet::parse(&bytes), Ok(meaning), "{name}");
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
        for length in [60, 64, 1514] {
            let mut padded = bytes.to_vec();
            padded.resize(length, 0xa5);
            assert_eq!(Packet::parse(&padded), Ok(meaning), "{name}, {length} bytes");
        }
    }
}

#[test]
fn golden_frames_cut_short_are_refused() {
    for Golden { name, bytes, .. } in golden() {
        for length in 0..bytes.len() {
            assert_eq!(Packet::parse(&bytes[..length]), Err(Refusal::TooShort), "{name}, {length} bytes");
        }
    }
}

#[test]
fn arp_1_each_wrong_field_is_refused_by_its_own_reason() {
    let cases: [(&str, usize, &[u8], Refusal); 14] = [
        ("802.1Q tag", 12, &[0x81, 0x00], Refusal::Tagged),
        ("802.1ad tag", 12, &[0x88, 0xa8], Refusal::Tagged),
        ("IPv4", 12, &[0x08, 0x00], Refusal::NotArp),
        ("hardware type 6", 14, &[0, 6], Refusal::Hardware),
        ("hardware type 0x0101", 14, &[1, 1], Refusal::Hardware),
        ("protocol IPv6", 16, &[0x86, 0xdd], Refusal::Protocol),
        ("MAC length 8", 18, &[8], Refusal::Lengths),
        ("address length 16", 19, &[16], Refusal::Lengths),
        ("operation 0", 20, &[0, 0], Refusal::Operation),
        ("RARP request", 20, &[0, 3], Refusal::Operation),
        ("operation 0x0101", 20, &[1, 1], Refusal::Operation),
        ("broadcast sender", 22, &[0xff; 6], Refusal::SenderMac),
        ("multicast sender", 22, &[0x01, 0, 0x5e, 0, 0, 1], Refusal::SenderMac),
        ("zero sender", 22, &[0; 6], Refusal::SenderMac),
    ];
    for (name, at, bytes, refusal) in cases {
        let mut frame = question_bytes();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        assert_eq!(Packet::parse(&frame), Err(refusal), "{name}");
    }
}

#[test]
fn arp_2_a_tagged_frame_is_refused_even_where_arp_follows_the_tag() {
    let mut frame = question_bytes();
    frame.splice(12..12, [0x81, 0x00, 0x00, 0x07]);
    assert_eq!(Packet::parse(&frame), Err(Refusal::Tagged));
}

#[test]
fn the_answer_goes_to_the_arp_sender_and_swaps_the_ends() {
    let [question, probe, reply, probe_reply, ..] = &golden()[..] else { panic!("the first four") };
    assert_eq!(question.meaning.answer(NODE), reply.meaning);
    assert_eq!(probe.meaning.answer(NODE), probe_reply.meaning);
    // Where the frame's source is not its ARP sender (a proxy asked), the sender gets the answer.
    let proxied = Packet { source: Mac([2, 0, 0, 0, 0, 7]), ..question.meaning };
    assert_eq!(proxied.answer(NODE), reply.meaning);
}

prop_compose! {
    fn any_station()(octets in any::<[u8; 6]>()) -> Mac {
        let mut octets = octets;
        octets[0] = octets[0] & 0xfc | 0x02;
        Mac(octets)
    }
}

prop_compose! {
    fn any_packet()(
        destination in any::<[u8; 6]>(), source in any::<[u8; 6]>(), request in any::<bool>(),
        sender in any_station(), sender_ip in any::<u32>(), target in any::<[u8; 6]>(), target_ip in any::<u32>(),
    ) -> Packet {
        Packet {
            destination: Mac(destination),
            source: Mac(source),
            operation: if request { Operation::Request } else { Operation::Reply },
            sender: Host { mac: sender, ip: Ipv4Addr::from_bits(sender_ip) },
            target: Host { mac: Mac(target), ip: Ipv4Addr::from_bits(target_ip) },
        }
    }
}

proptest! {
    #[test]
    fn what_is_built_is_parsed_back(packet in any_packet(), padding in 0usize..40) {
        let mut frame = packet.build();
        frame.resize(frame.len() + padding, 0xff);
        prop_assert_eq!(Packet::parse(&frame), Ok(packet));
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
        let _ = Packet::parse(&bytes);
    }

    #[test]
    fn any_bytes_after_a_true_beginning_are_parsed_or_refused(
        keep in 0usize..42,
        tail in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut frame = question_bytes();
        frame.truncate(keep);
        frame.extend(tail);
        // What is accepted means the same when it is built anew.
        if let Ok(packet) = Packet::parse(&frame) {
            prop_assert_eq!(Packet::parse(&packet.build()), Ok(packet));
        }
    }

    #[test]
    fn arp_6_an_answer_goes_to_one_station_unless_the_address_is_link_local(packet in any_packet(), mac in any_station()) {
        let answer = packet.answer(mac);
        prop_assert_eq!(answer.source, answer.sender.mac);
        prop_assert_eq!(answer.destination.is_group(), packet.target.ip.is_link_local());
        prop_assert_eq!(answer.sender.ip, packet.target.ip);
    }

    #[test]
    fn arp_3_a_stand_in_answers_with_the_payload_of_another_and_its_own_source(
        packet in any_packet(), payload in any_station(), source in any_station(),
    ) {
        let answer = packet.answer_as(payload, source);
        prop_assert_eq!((answer.sender.mac, answer.source), (payload, source));
        prop_assert_eq!(answer, Packet { source, ..packet.answer(payload) });
        prop_assert_eq!(Packet::parse(&answer.build()), Ok(answer));
    }

    /// Whoever is asked and answers is recognised; the asker's own MAC stands in both headers (arp 3).
    #[test]
    fn a_confirmation_is_parsed_and_its_answer_recognised(
        mac in any_station(), address in 1..u32::MAX, client in 1..u32::MAX, to in prop::option::of(any_station()),
        other in any_station(),
    ) {
        prop_assume!(address != client);
        let (address, client) = (Ipv4Addr::from_bits(address), Ipv4Addr::from_bits(client));
        let asked = confirmation(mac, address, client, to);
        prop_assert_eq!(Packet::parse(&asked.build()), Ok(asked));
        prop_assert_eq!((asked.source, asked.sender), (mac, Host { mac, ip: address }));
        let answer = Packet::parse(&asked.answer(other).build()).unwrap();
        prop_assert_eq!(answer.answered(), Some((Host { mac: other, ip: client }, address)));
        prop_assert_eq!(asked.answered(), None);
    }
}
