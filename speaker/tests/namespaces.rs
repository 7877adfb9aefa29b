//! The socket, the links and the loop against a real kernel: a node and a client, each in a network
//! namespace of its own, with a veth pair as the cable.

#![allow(clippy::unwrap_used, reason = "a step that fails ends the test")]

mod support;

use std::future::poll_fn;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ferrolb_core::announce::{Cover, LinkIndex};
use ferrolb_core::election::{Announcement, Change, Holder as Service, Interfaces, Lost};
use ferrolb_core::service::ServiceKey;
use ferrolb_core::wire::Mac;
use ferrolb_core::wire::arp::{Host, Operation, Packet, announcement};
use ferrolb_core::wire::ndp;
use ferrolb_runtime::Readiness;
use ferrolb_speaker::announcing::{self, Parts};
use ferrolb_speaker::cluster::News;
use ferrolb_speaker::links::{self, DEFAULT_EXCLUDED};
use ferrolb_speaker::metrics::Metrics;
use ferrolb_speaker::report::Report;
use ferrolb_speaker::socket::{Datalink, FRAME, PacketSockets, Port, filter};
use socket2::SockFilter;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use support::*;

const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1);
const CLIENT_IP6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 2);
const CLIENT_IP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

fn request(target: Ipv4Addr) -> Packet {
    Packet {
        destination: Mac::BROADCAST,
        source: CLIENT,
        operation: Operation::Request,
        sender: Host { mac: CLIENT, ip: CLIENT_IP },
        target: Host { mac: Mac::ZERO, ip: target },
    }
}

fn tagged(packet: &Packet, tag: u16) -> Vec<u8> {
    let mut frame = packet.build();
    let [high, low] = tag.to_be_bytes();
    frame.splice(12..12, [0x81, 0x00, high, low]);
    frame
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
            let length = tokio::time::timeout(PATIENCE, next)
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

/// What the client's thread asks of the node's.
enum Order {
    Elect(&'static str),
    Link(bool),
    Mac(Mac),
    Delete,
    Plug,
    /// Waits until an address is announced, or is not.
    Await(bool),
    /// Waits until the program is ready.
    AwaitReady,
    /// Ends the program; the namespace stays.
    End,
}

/// The speaker without its API server, in a namespace of its own: links from netlink, real sockets. Its
/// thread and its namespace end when it is dropped.
struct Node {
    orders: tokio::sync::mpsc::UnboundedSender<Order>,
    done: mpsc::Receiver<()>,
}

impl Node {
    /// Starts it, with a cable to the calling thread's namespace.
    fn start() -> Node {
        let (orders, inbox) = tokio::sync::mpsc::unbounded_channel();
        let (done_out, done) = mpsc::channel();
        let client = this_namespace();
        std::thread::spawn(move || {
            enter_namespace().expect("the client's thread could, too");
            on_this_thread(node(client, inbox, done_out));
        });
        let node = Node { orders, done };
        node.wait();
        node
    }

    fn tell(&self, order: Order) {
        self.orders.send(order).unwrap();
        self.wait();
    }

    fn wait(&self) {
        self.done.recv_timeout(PATIENCE * 2).expect("the node's thread goes on");
    }
}

fn news(owner: &str) -> News {
    let service = Service { key: Arc::new(ServiceKey::new("shop", "web")), uid: "".into() };
    let announcement = Announcement { interfaces: Interfaces::All, services: vec![service], eligible: 2 };
    let ours = if owner == "node-1" { Ok(announcement) } else { Err(Lost::To(owner.to_owned())) };
    let changes = [VIP.into(), VIP6.into()].map(|address| Change { address, ours: ours.clone() });
    let cover = Cover::of(&["10.9.0.0/28".parse().unwrap(), "fd09::/120".parse().unwrap()]);
    News { changes: changes.into(), cover: Some(cover) }
}

fn announced(metrics: &Metrics) -> bool {
    let (mut registry, mut text) = (prometheus_client::registry::Registry::default(), String::new());
    metrics.register(&mut registry);
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text.contains("metallb_speaker_announced{")
}

async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn node(
    client: std::fs::File,
    mut orders: tokio::sync::mpsc::UnboundedReceiver<Order>,
    done: mpsc::Sender<()>,
) {
    let handle = netlink();
    let mut lan = plug(&handle, &client).await;
    let (metrics, shutdown, readiness) =
        (Metrics::new("node-1"), CancellationToken::new(), Readiness::default());
    let (told, coming) = tokio::sync::mpsc::unbounded_channel();
    let (standings, _standing) = tokio::sync::mpsc::unbounded_channel();
    let (found, links) = watch::channel(None);
    let following =
        links::follow(DEFAULT_EXCLUDED.parse().unwrap(), found, metrics.clone(), shutdown.clone());
    let announcing = announcing::run(Parts {
        datalink: PacketSockets,
        news: coming,
        links,
        report: Report::new(metrics.clone(), standings),
        metrics: metrics.clone(),
        refresh: None,
        ready: readiness.token("packet sockets"),
        clock: ferrolb_runtime::now,
        shutdown: shutdown.clone(),
    });
    let mut tasks = Some((tokio::task::spawn_local(following), tokio::task::spawn_local(announcing)));
    done.send(()).unwrap();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Elect(owner) => told.send(news(owner)).unwrap(),
            Order::Link(up) => {
                change(&handle, lan, |link| if up { link.up() } else { link.down() }).await;
            }
            Order::Mac(mac) => change(&handle, lan, |link| link.address(mac.0.into())).await,
            Order::Delete => handle.link().del(lan.0).execute().await.unwrap(),
            Order::Plug => lan = plug(&handle, &client).await,
            Order::Await(expected) => {
                wait_until("announcing", || announced(&metrics) == expected).await;
            }
            Order::AwaitReady => wait_until("ready", || readiness.waiting().is_empty()).await,
            Order::End => {
                shutdown.cancel();
                let (following, announcing) = tasks.take().expect("it ends once");
                following.await.unwrap();
                announcing.await.unwrap();
            }
        }
        done.send(()).unwrap();
    }
}

/// Brings the client's end of the cable up, with an address of the VIP's network.
async fn client(handle: &rtnetlink::Handle) -> LinkIndex {
    let out = find(handle, "out").await;
    handle.address().add(out.0, CLIENT_IP.into(), 24).execute().await.unwrap();
    change(handle, out, rtnetlink::LinkMessageBuilder::up).await;
    out
}

/// Waits until the client's kernel has this MAC for the address.
async fn learned(handle: &rtnetlink::Handle, address: IpAddr, mac: Mac) {
    let deadline = Instant::now() + PATIENCE;
    while neighbour(handle, address).await != Some(mac) {
        assert!(Instant::now() < deadline, "the client has {:?}", neighbour(handle, address).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for one whole announcement: both forms, in their order.
fn round(tap: &Tap, mac: Mac) {
    for form in announcement(mac, VIP) {
        tap.expect("an announcement", |packet| *packet == form);
    }
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

#[test]
fn a_link_that_changes_is_followed_at_once() {
    if enter_namespace().is_none() {
        return;
    }
    on_this_thread(async {
        let node = Node::start();
        let handle = netlink();
        let tap = Tap::on(client(&handle).await);
        node.tell(Order::Elect("node-1"));
        round(&tap, NODE);

        node.tell(Order::Link(false));
        node.tell(Order::Await(false));
        let began = Instant::now();
        node.tell(Order::Link(true));
        round(&tap, NODE);
        let up = began.elapsed();

        // Down and up again before anybody could look. The next round would come after 1.1 s only.
        let began = Instant::now();
        node.tell(Order::Link(false));
        node.tell(Order::Link(true));
        round(&tap, NODE);
        let flap = began.elapsed();

        let other = Mac([0x02, 0, 0, 0, 0, 0x55]);
        let began = Instant::now();
        node.tell(Order::Mac(other));
        round(&tap, other);
        let changed = began.elapsed();
        assert_eq!(tap.ask(&request(VIP)), request(VIP).answer(other));

        for (what, time) in [("up", up), ("flap", flap), ("MAC", changed)] {
            println!("{what}: announced after {time:?}");
            // Not with the next round, which is more than a second later.
            assert!(time < Duration::from_secs(1), "{what}: announced after {time:?}");
        }

        // Deleted and made anew.
        node.tell(Order::Delete);
        node.tell(Order::Await(false));
        node.tell(Order::Plug);
        let tap = Tap::on(client(&handle).await);
        node.tell(Order::Await(true));
        assert_eq!(tap.ask(&request(VIP)), request(VIP).answer(NODE));
        node.tell(Order::End);
    });
}

/// The group that a report of MLD version 2 adds (RFC 3810 section 5.2), if the frame is one with a single record.
fn reported(frame: &[u8]) -> Option<Ipv6Addr> {
    // Ethernet, IPv6 with a hop-by-hop header of 8 bytes (the router alert), ICMPv6 type 143, the first record.
    let is_report = frame.get(12..14)? == [0x86, 0xdd] && frame.get(20)? == &0 && frame.get(62)? == &143;
    let mode = *frame.get(70)?;
    let group = <[u8; 16]>::try_from(frame.get(74..90)?).ok()?;
    // 4: changed to "exclude nothing", which is how a group is joined.
    (is_report && mode == 4).then(|| group.into())
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
        tap.find("a report of the group", |frame| (reported(frame)? == group).then_some(()));
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

        remove(&handle, VIP6).await;

        // A link that was down is joined and announced on anew, with whatever MAC it has.
        let other = Mac([0x02, 0, 0, 0, 0, 0x55]);
        node.tell(Order::Link(false));
        node.tell(Order::Mac(other));
        node.tell(Order::Link(true));
        tap.find("a report of the group", |frame| (reported(frame)? == group).then_some(()));
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
