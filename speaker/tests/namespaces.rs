//! The socket, the links and the loop against a real kernel: a node and a client, each in a network
//! namespace of its own, with a veth pair as the cable.

#![allow(clippy::unwrap_used, reason = "a step that fails ends the test")]

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::future::poll_fn;
use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::task::Poll;
use std::time::{Duration, Instant};

use ferrolb_core::announce::Cover;
use ferrolb_core::hello_key::Key;
use ferrolb_core::wire::Mac;
use ferrolb_core::wire::arp::{Host, Operation, Packet};
use ferrolb_core::wire::hello::{Body, Digest, Flags, GROUP, Hello, Message, Sender, State, frame, payload};
use ferrolb_core::wire::ndp;
use ferrolb_speaker::socket::{Datalink, FRAME, HELLO_FRAME, PacketSockets, Port, filter};
use socket2::SockFilter;

use support::node::*;
use support::*;

fn tagged(packet: &Packet, tag: u16) -> Vec<u8> {
    let mut frame = packet.build();
    let [high, low] = tag.to_be_bytes();
    frame.splice(12..12, [0x81, 0x00, high, low]);
    frame
}

/// A hello of another speaker, in a frame to the group.
fn hello(body: Body, key: &Key) -> Vec<u8> {
    let sender =
        Sender { node: "theirs".into(), interface: "lan".into(), mac: CLIENT, epoch: 1, sequence: 1 };
    frame(GROUP, CLIENT, &payload(&Message { sender, body }, key).unwrap())
}

#[test]
fn hellos_are_told_with_their_age_and_routine_ones_wake_nobody() {
    if enter_namespace().is_none() {
        return;
    }
    on_this_thread(async {
        let handle = netlink();
        let lan = plug(&handle, &this_namespace()).await;
        let out = find(&handle, "out").await;
        change(&handle, out, rtnetlink::LinkMessageBuilder::up).await;
        let open = |link| PacketSockets.open(link, &Cover::default()).unwrap();
        let (node, client) = (open(lan), open(out));
        let key = Key::new([7; 32]);
        let routine = hello(
            Body::Hello(Hello {
                interval: Duration::from_millis(100),
                misses: 3,
                state: State::Active,
                flags: Flags::default(),
                answers: None,
                addresses: Vec::new(),
                loaded: Vec::new(),
                claims: Digest::default(),
                slice: 0,
                slices: 1,
                peers: Vec::new(),
                routine: true,
            }),
            &key,
        );
        let ask = hello(Body::Ask { nonce: 7 }, &key);
        let mut buffer = [0; HELLO_FRAME];
        // It is the age that is asked about.
        let waited = Duration::from_millis(30);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let before = Instant::now();
            client.send(&routine).unwrap();
            client.send(&ask).unwrap();
            tokio::time::sleep(waited).await;

            let next = poll_fn(|context| node.poll_receive(context, &mut buffer));
            let (length, age) =
                tokio::time::timeout(PATIENCE, next).await.expect("the question arrives").unwrap();
            assert_eq!(&buffer[..length], &ask);
            let nothing =
                poll_fn(|context| Poll::Ready(node.poll_receive(context, &mut buffer).is_pending())).await;
            assert!(nothing, "the routine hello wakes nobody");
            let (length, old) = node.read_waiting(&mut buffer).unwrap().expect("the routine hello waits");
            assert_eq!(&buffer[..length], &routine);
            assert!(age.max(old) < before.elapsed(), "{age:?}, {old:?}");
            if age.min(old) >= waited {
                break;
            }
            // A kernel begins to note times some moments after it was asked to; until then a frame counts as new.
            assert!(Instant::now() < deadline, "the kernel notes no times: {age:?}, {old:?}");
        }
        assert_eq!(node.read_waiting(&mut buffer).unwrap(), None);
    });
}

/// One namespace with both ends of the cable: what is sent into `out` arrives at `lan`.
#[test]
fn only_what_concerns_the_pools_passes_the_filter() {
    if enter_namespace().is_none() {
        return;
    }
    on_this_thread(async {
        let handle = netlink();
        let lan = plug(&handle, &this_namespace()).await;
        let out = find(&handle, "out").await;
        change(&handle, out, rtnetlink::LinkMessageBuilder::up).await;
        let cover = Cover::of(&["10.9.1.0/24".parse().unwrap()]);
        let open = |link| PacketSockets.open(link, &cover).unwrap();
        let (node, client) = (open(lan), open(out));

        const FROM_NODE: u8 = 100;
        const LAST: u8 = 200;
        // Each case asks for an address of its own, so that what arrives tells which one it is.
        let ask = |number: u8| request(Ipv4Addr::new(10, 9, 1, number));
        let group = Mac([0x01, 0, 0x5e, 0, 0, 1]);
        let altered = |number, alter: fn(&mut Vec<u8>)| {
            let mut frame = ask(number).build();
            alter(&mut frame);
            frame
        };
        let outside: fn(&mut Vec<u8>) = |frame| frame[40] = 2;
        let from_inside: fn(&mut Vec<u8>) = |frame| {
            frame[40] = 2;
            frame[28..32].copy_from_slice(&[10, 9, 1, 77]);
        };
        let cases: [(&str, Vec<u8>, Option<u8>); 12] = [
            ("broadcast", ask(1).build(), Some(1)),
            ("to this station", Packet { destination: NODE, ..ask(2) }.build(), Some(2)),
            ("to another", Packet { destination: Mac([2, 0, 0, 0, 0, 7]), ..ask(3) }.build(), None),
            ("to a group", Packet { destination: group, ..ask(4) }.build(), None),
            ("a reply", Packet { operation: Operation::Reply, ..ask(5) }.build(), Some(5)),
            ("operation 3", altered(6, |frame| frame[21] = 3), None),
            ("not ARP", altered(7, |frame| frame[12..14].copy_from_slice(&[0x08, 0x00])), None),
            ("in VLAN 7", tagged(&ask(8), 7), None),
            ("with priority 5, no VLAN", tagged(&ask(9), 5 << 13), Some(9)),
            ("for an address of no pool", altered(11, outside), None),
            ("from an address of a pool, for another", altered(12, from_inside), Some(12)),
            ("padded", altered(10, |frame| frame.resize(60, 0)), Some(10)),
        ];
        // A socket for all protocols on all links sees frames before the kernel has looked at their tags
        // itself, so this one shows what the filter does alone.
        let filtered = everything();
        let program = filter::arp(&cover.v4)
            .into_iter()
            .map(|step| SockFilter::new(step.code, step.jt, step.jf, step.k));
        filtered.attach_filter(&program.collect::<Vec<_>>()).unwrap();
        for (_, frame, _) in &cases {
            client.send(frame).unwrap();
        }
        // What the node itself sends never comes back to it.
        node.send(&ask(FROM_NODE).build()).unwrap();
        client.send(&ask(LAST).build()).unwrap();

        let mut arrived = Vec::new();
        while arrived.last() != Some(&LAST) {
            let mut buffer = [0; FRAME];
            let next = poll_fn(|context| node.poll_receive(context, &mut buffer));
            let (length, _) = tokio::time::timeout(PATIENCE, next)
                .await
                .unwrap_or_else(|_| panic!("only {arrived:?} arrived"))
                .unwrap();
            arrived.push(Packet::parse(&buffer[..length]).unwrap().target.ip.octets()[3]);
        }
        let passes: Vec<u8> = cases.iter().filter_map(|(.., passes)| *passes).collect();
        let names: Vec<_> = cases.iter().map(|(name, ..)| name).collect();
        assert_eq!(arrived, [&passes[..], &[LAST]].concat(), "of {names:?}, numbered from 1");

        let mut arrived = Vec::new();
        while arrived.last() != Some(&LAST) {
            let mut buffer = [0; FRAME];
            let length = (&filtered).read(&mut buffer).unwrap_or_else(|_| panic!("only {arrived:?} arrived"));
            arrived.push(Packet::parse(&buffer[..length]).unwrap().target.ip.octets()[3]);
        }
        // The node's own frame may show at the other end of the cable, which is in this namespace as well.
        arrived.retain(|number| *number != FROM_NODE);
        assert_eq!(arrived, [&passes[..], &[LAST]].concat(), "of {names:?}, numbered from 1");
    });
}

#[test]
fn the_owner_answers_and_announces_and_a_former_owner_is_silent() {
    if enter_namespace().is_none() {
        return;
    }
    on_this_thread(async {
        let node = Node::start();
        let handle = netlink();
        let tap = Tap::on(client(&handle).await);
        node.tell(Order::AwaitReady);

        // Not elected yet: no answer.
        tap.send(&request(VIP).build());
        assert_eq!(tap.from(NODE, Duration::from_millis(300)), []);

        node.tell(Order::Elect("node-1"));
        round(&tap, NODE);

        // Asked by all, by name, or only probed for; and only for what is ours.
        let probe = Packet { sender: Host { mac: CLIENT, ip: Ipv4Addr::UNSPECIFIED }, ..request(VIP) };
        for asked in [request(VIP), Packet { destination: NODE, ..request(VIP) }, probe] {
            tap.send(&request(Ipv4Addr::new(10, 9, 0, 77)).build());
            assert_eq!(tap.ask(&asked), asked.answer(NODE));
        }

        // The client's kernel is convinced as well.
        UdpSocket::bind((CLIENT_IP, 0)).unwrap().send_to(b"?", (VIP, 9)).unwrap();
        learned(&handle, VIP.into(), NODE).await;

        // Another node wins: silence, though a round of announcements was still to come.
        node.tell(Order::Elect("node-2"));
        node.tell(Order::Await(false));
        tap.from(NODE, Duration::from_millis(50));
        tap.send(&request(VIP).build());
        assert_eq!(tap.from(NODE, Duration::from_millis(1500)), []);

        // And back; then the program ends, and is silent as well.
        node.tell(Order::Elect("node-1"));
        round(&tap, NODE);
        node.tell(Order::End);
        tap.from(NODE, Duration::from_millis(50));
        tap.send(&request(VIP).build());
        assert_eq!(tap.from(NODE, Duration::from_millis(300)), []);
    });
}

/// The groups that a report of MLD version 2 says are joined (RFC 3810 section 5.2), if the frame is one.
fn reported(frame: &[u8]) -> Option<Vec<Ipv6Addr>> {
    // Ethernet, IPv6 with a hop-by-hop header of 8 bytes (the router alert), ICMPv6 type 143.
    let is_report = frame.get(12..14)? == [0x86, 0xdd] && frame.get(20)? == &0 && frame.get(62)? == &143;
    let count = is_report.then_some(*frame.get(69)?)?;
    let (mut at, mut groups) = (70, Vec::new());
    for _ in 0..count {
        let sources = usize::from(u16::from_be_bytes([*frame.get(at + 2)?, *frame.get(at + 3)?]));
        // 2: exclude nothing; 4: changed to that, which is how a group is joined.
        if [2, 4].contains(frame.get(at)?) {
            groups.push(<[u8; 16]>::try_from(frame.get(at + 4..at + 20)?).ok()?.into());
        }
        at += 20 + 16 * sources;
    }
    Some(groups)
}

#[test]
fn neighbour_discovery_with_a_real_kernel() {
    if enter_namespace().is_none() {
        return;
    }
    on_this_thread(async {
        let node = Node::start();
        let handle = netlink();
        let out = client(&handle).await;
        let tap = Tap::on(out);
        handle.address().add(out.0, CLIENT_IP6.into(), 64).execute().await.unwrap();
        node.tell(Order::AwaitReady);
        node.tell(Order::Elect("node-1"));

        // ndp_4: the switch is told of the group; ndp_3: the announcement.
        let group = ndp::solicited_node(VIP6);
        tap.find("a report of the group", |frame| reported(frame)?.contains(&group).then_some(()));
        let told = ndp::announcement(NODE, VIP6).build();
        tap.find("an unsolicited advertisement", |frame| (frame == told).then_some(()));

        // The client's kernel asks, is answered and convinced. Its own address is usable once it has been checked.
        let deadline = Instant::now() + PATIENCE;
        let socket = loop {
            match UdpSocket::bind((CLIENT_IP6, 0)) {
                Ok(socket) => break socket,
                Err(error) => assert!(Instant::now() < deadline, "the client's address: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        socket.send_to(b"?", (VIP6, 9)).unwrap();
        learned(&handle, VIP6.into(), NODE).await;

        // ndp_5: a unicast probe, as a neighbour sends it that knows us.
        let probe = ndp::Solicitation {
            destination: NODE,
            source: CLIENT,
            sender: CLIENT_IP6,
            recipient: VIP6,
            target: VIP6,
            link_layer: None,
        };
        tap.send(&probe.build());
        let answer = probe.answer(NODE).build();
        tap.find("an answer to a unicast probe", |frame| (frame == answer).then_some(()));

        // ndp_2: the duplicate check of another host that takes the address fails.
        handle.address().add(out.0, VIP6.into(), 64).execute().await.unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !duplicate(&handle, VIP6).await {
            assert!(Instant::now() < deadline, "the client took the address");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }

        remove(&handle, VIP6.into()).await;

        // A link that was down is joined and announced on anew, with whatever MAC it has.
        let other = Mac([0x02, 0, 0, 0, 0, 0x55]);
        node.tell(Order::Link(false));
        node.tell(Order::Mac(other));
        node.tell(Order::Link(true));
        tap.find("a report of the group", |frame| reported(frame)?.contains(&group).then_some(()));
        let told = ndp::announcement(other, VIP6).build();
        tap.find("an advertisement of the new MAC", |frame| (frame == told).then_some(()));
        // Its kernel forgot everybody when the cable was out, and checks its own address once more before it asks.
        let deadline = Instant::now() + PATIENCE;
        while neighbour(&handle, VIP6.into()).await != Some(other) {
            assert!(Instant::now() < deadline, "the client has {:?}", neighbour(&handle, VIP6.into()).await);
            let _ = socket.send_to(b"?", (VIP6, 9));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        node.tell(Order::End);
    });
}

#[test]
fn bad_frames_are_not_answered_and_counted_by_their_reason() {
    if enter_namespace().is_none() {
        return;
    }
    on_this_thread(async {
        let node = Node::start();
        let handle = netlink();
        let tap = Tap::on(client(&handle).await);
        node.tell(Order::AwaitReady);
        node.tell(Order::Elect("node-1"));
        round(&tap, NODE);
        assert_eq!(tap.ask(&request(VIP)), request(VIP).answer(NODE));
        tap.from(NODE, Duration::from_millis(50));

        let good = request(VIP);
        let group = Mac([0x01, 0, 0x5e, 0, 0, 1]);
        let altered = |at: usize, bytes: &[u8]| {
            let mut frame = good.build();
            frame[at..at + bytes.len()].copy_from_slice(bytes);
            frame
        };
        let solicited = ndp::Solicitation {
            destination: ndp::group_mac(ndp::solicited_node(VIP6)),
            source: CLIENT,
            sender: CLIENT_IP6,
            recipient: ndp::solicited_node(VIP6),
            target: VIP6,
            link_layer: Some(CLIENT),
        };
        let six = |at: usize, byte: u8| {
            let mut frame = solicited.build();
            frame[at] = byte;
            frame
        };
        // What the kernel's filter lets pass is counted; the rest never arrives.
        let cases = [
            ("short", good.build()[..41].to_vec(), None),
            ("long", [good.build(), vec![0xa5; 400]].concat(), Some("answered")),
            ("hardware type", altered(14, &[0, 6]), Some("hardware_type")),
            ("protocol type", altered(16, &[0x86, 0xdd]), Some("protocol_type")),
            ("address lengths", altered(18, &[8, 4]), Some("address_lengths")),
            ("operation 3", altered(20, &[0, 3]), None),
            ("a group as sender", altered(22, &group.0), Some("sender_mac")),
            ("all as sender", altered(22, &[0xff; 6]), Some("sender_mac")),
            ("nobody as sender", altered(22, &[0; 6]), Some("sender_mac")),
            ("our own MAC as sender", altered(22, &NODE.0), Some("own")),
            ("our own MAC as source", altered(6, &NODE.0), Some("own")),
            ("in VLAN 7", tagged(&good, 7), None),
            ("a reply", altered(20, &[0, 2]), Some("not_a_request")),
            ("an announcement", altered(28, &VIP.octets()), Some("announcement")),
            ("another address of the pool", altered(38, &[10, 9, 0, 7]), Some("not_ours")),
            ("hop limit 64", six(21, 64), Some("hop_limit")),
            ("a wrong checksum", six(56, 1), Some("checksum")),
            ("code 1", six(55, 1), Some("icmpv6_code")),
            ("short", solicited.build()[..60].to_vec(), None),
        ];
        for (what, frame, counted) in cases {
            tap.send(&frame);
            match counted {
                Some("answered") => {
                    assert_eq!(tap.ask(&good), good.answer(NODE), "{what}");
                    tap.from(NODE, Duration::from_millis(50));
                }
                Some(reason) => node.tell(Order::AwaitIgnored(reason)),
                None => {}
            }
            assert_eq!(tap.answers(NODE, Duration::from_millis(30)), 0, "{what} is answered");
        }
        // It is all the same to it.
        assert_eq!(tap.ask(&good), good.answer(NODE));
        node.tell(Order::End);
    });
}
