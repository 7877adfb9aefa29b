//! Hellos by datagram between two real kernels: two nodes, each in a network namespace of its own, and a cable.

#![allow(clippy::unwrap_used, reason = "a step that fails ends the test")]

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ferrolb_core::announce::{Cover, LinkIndex};
use ferrolb_core::election::{Node, Roster};
use ferrolb_core::hello_key::{Key, Keys};
use ferrolb_core::peers::Timing;
use ferrolb_core::speaker::{Config, Transports};
use ferrolb_core::wire::is_hello;
use ferrolb_runtime::Readiness;
use ferrolb_speaker::announcing::{self, Parts};
use ferrolb_speaker::cluster::News;
use ferrolb_speaker::links::{self, DEFAULT_EXCLUDED};
use ferrolb_speaker::metrics::Metrics;
use ferrolb_speaker::report::Report;
use ferrolb_speaker::socket::{Datalink, LinkSocket, PacketSockets, Port, Received};
use rtnetlink::LinkMessageBuilder;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use support::node::{shown, wait_until};
use support::*;

const PORT: u16 = 17482;

/// The real network, from which no hello gets out as a frame.
struct Hushed(bool);

struct HushedPort(LinkSocket, bool);

impl Datalink for Hushed {
    type Port = HushedPort;

    fn open(&self, link: LinkIndex, cover: &Cover) -> io::Result<HushedPort> {
        Ok(HushedPort(PacketSockets.open(link, cover)?, self.0))
    }
}

impl Port for HushedPort {
    fn poll_receive(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<Received>> {
        self.0.poll_receive(context, buffer)
    }

    fn send(&self, frame: &[u8]) -> io::Result<()> {
        if self.1 && is_hello(frame) { Ok(()) } else { self.0.send(frame) }
    }

    fn drain(&self) {
        self.0.drain();
    }

    fn narrow(&mut self, cover: &Cover) -> io::Result<()> {
        self.0.narrow(cover)
    }

    fn join(&mut self, group: Ipv6Addr) -> io::Result<()> {
        self.0.join(group)
    }

    fn leave(&mut self, group: Ipv6Addr) {
        self.0.leave(group);
    }

    fn open_datagrams(&mut self, name: &str, port: u16) -> io::Result<()> {
        self.0.open_datagrams(name, port)
    }

    fn close_datagrams(&mut self) {
        self.0.close_datagrams();
    }

    fn poll_datagram(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, IpAddr)>> {
        self.0.poll_datagram(context, buffer)
    }

    fn send_datagram(&self, to: IpAddr, payload: &[u8]) -> io::Result<()> {
        self.0.send_datagram(to, payload)
    }
}

/// The addresses of the two nodes, in one family.
#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn of(self, node: u8) -> (IpAddr, u8) {
        match self {
            Family::V4 => (Ipv4Addr::new(10, 9, 0, node).into(), 24),
            Family::V6 => (Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, node.into()).into(), 64),
        }
    }
}

/// The speaker of `node` in this thread's namespace, without an API server.
async fn speaker(
    node: u8,
    family: Family,
    transports: Transports,
    hushed: bool,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let (news, coming) = mpsc::unbounded_channel();
    let (standings, _standing) = mpsc::unbounded_channel();
    let (found, links) = watch::channel(None);
    let following =
        links::follow(DEFAULT_EXCLUDED.parse().unwrap(), found, metrics.clone(), shutdown.clone());
    let known = |number: u8| Node {
        name: format!("node-{number}"),
        ready: true,
        network_available: true,
        speaker: true,
        addresses: vec![family.of(number).0],
        ..Node::default()
    };
    let roster = Arc::new(Roster::default().follow(&[known(1), known(2)]));
    news.send(News { roster, changes: Vec::new(), cover: Some(Cover::default()) }).unwrap();
    let keys = Arc::new(Keys::new(Key::new([7; 32]), []).unwrap());
    let readiness = Readiness::default();
    let announcing = announcing::run(Parts {
        datalink: Hushed(hushed),
        hello_port: (transports != Transports::Ethernet).then_some(PORT),
        news: coming,
        links,
        report: Report::new(metrics.clone(), standings),
        metrics,
        config: Config {
            node: format!("node-{node}").into(),
            epoch: u64::from(node),
            timing: Timing::default(),
            refresh: None,
            stand_in_limit: Duration::from_secs(60),
            conflict_detection: false,
            transports,
        },
        keys: watch::channel(keys).1,
        unfit: watch::channel(false).1,
        going: watch::channel(false).1,
        keyless: watch::channel(true).0,
        findings: mpsc::unbounded_channel().1,
        questions: mpsc::unbounded_channel().0,
        inquiries: mpsc::unbounded_channel().1,
        ready: readiness.token("packet sockets"),
        clock: ferrolb_runtime::now,
        shutdown,
    });
    tokio::join!(following, announcing);
}

/// Gives the end of a cable its address, and waits until it can be used.
async fn ready(handle: &rtnetlink::Handle, link: LinkIndex, (address, length): (IpAddr, u8)) {
    change(handle, link, LinkMessageBuilder::up).await;
    handle.address().add(link.0, address, length).execute().await.unwrap();
    wait_until("the address", || UdpSocket::bind((address, 0)).is_ok()).await;
}

/// Whether another program has the port on one of the nodes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    No,
    /// Until the speaker has said something.
    AtFirst,
    Always,
}

/// Two speakers on one cable, both sides of which are `hushed`, until each one counts the other by this way, and `then`.
fn both(
    taken: Taken,
    family: Family,
    transports: Transports,
    hushed: bool,
    expected: &'static str,
    then: impl FnOnce(&Metrics),
) {
    if enter_namespace().is_none() {
        return;
    }
    let ours = this_namespace();
    let (metrics, others) = (Metrics::new("node-1"), Metrics::new("node-2"));
    let shutdown = CancellationToken::new();
    let (theirs, ended) = (others.clone(), shutdown.clone());
    let (plugged, cable) = std::sync::mpsc::channel();
    let other = std::thread::spawn(move || {
        enter_namespace().unwrap();
        on_this_thread(async {
            let handle = netlink();
            let lan = plug(&handle, &ours).await;
            plugged.send(()).unwrap();
            ready(&handle, lan, family.of(2)).await;
            speaker(2, family, transports, hushed, theirs, ended).await;
        });
    });
    cable.recv_timeout(PATIENCE).unwrap();
    on_this_thread(async {
        let handle = netlink();
        let out = find(&handle, "out").await;
        ready(&handle, out, family.of(1)).await;
        let bind = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).unwrap();
        let mut other_program = (taken != Taken::No).then(bind);
        let running = tokio::task::spawn_local(speaker(
            1,
            family,
            transports,
            hushed,
            metrics.clone(),
            shutdown.clone(),
        ));
        if taken == Taken::AtFirst {
            let said = "ferrolb_speaker_frames_said_total{kind=\"hello\"}";
            wait_until(said, || shown(&metrics).contains(said)).await;
            other_program = None;
        }
        for (metrics, interface) in [(&metrics, "out"), (&others, "lan")] {
            let line =
                format!("ferrolb_speaker_peers{{interface=\"{interface}\",transport=\"{expected}\"}} 1");
            wait_until(&line, || shown(metrics).lines().any(|shown| shown == line)).await;
        }
        then(&metrics);
        drop(other_program);
        shutdown.cancel();
        running.await.unwrap();
    });
    other.join().unwrap();
}

fn datagrams(metrics: &Metrics) -> u64 {
    let text = shown(metrics);
    let counts = text.lines().filter(|line| line.starts_with("ferrolb_speaker_datagrams_said_total"));
    counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn where_no_frame_gets_through_speakers_hear_each_other_by_datagram() {
    both(Taken::No, Family::V4, Transports::Auto, true, "udp", |metrics| assert!(datagrams(metrics) > 0));
}

#[test]
fn by_datagrams_alone_they_hear_each_other_in_both_families() {
    for family in [Family::V4, Family::V6] {
        both(Taken::No, family, Transports::Udp, false, "udp", |metrics| {
            let text = shown(metrics);
            assert!(!text.contains("frames_said_total{kind=\"hello\"}"), "{text}");
        });
    }
}

#[test]
fn where_frames_get_through_they_are_the_way() {
    both(Taken::No, Family::V4, Transports::Auto, false, "ethernet", |_| {});
    both(Taken::No, Family::V4, Transports::Ethernet, false, "ethernet", |metrics| {
        assert_eq!(datagrams(metrics), 0);
    });
}

#[test]
fn where_another_program_has_the_port_frames_go_on_and_it_is_tried_again() {
    both(Taken::Always, Family::V4, Transports::Auto, false, "ethernet", |metrics| {
        assert_eq!(datagrams(metrics), 0);
    });
    both(Taken::AtFirst, Family::V4, Transports::Auto, true, "udp", |_| {});
}

/// The socket: one hop, the link of arrival, nothing but what begins as a hello, and a port that is taken.
#[test]
fn a_socket_for_datagrams_hears_one_link_alone() {
    if enter_namespace().is_none() {
        return;
    }
    let ours: File = this_namespace();
    let (plugged, cable) = std::sync::mpsc::channel();
    let (finish, finished) = std::sync::mpsc::channel::<()>();
    let (opened_here, opened) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || {
        enter_namespace().unwrap();
        on_this_thread(async {
            let handle = netlink();
            let lan = plug(&handle, &ours).await;
            ready(&handle, lan, Family::V4.of(2)).await;
            plugged.send(()).unwrap();
            // What comes before nobody would keep.
            opened.recv_timeout(PATIENCE).unwrap();
            let sender = UdpSocket::bind((Family::V4.of(2).0, 0)).unwrap();
            for payload in [&b"GET / HTTP/1.1"[..], b"FLB\x02 other", b"FLB\x01 hello", b"FLB\x01 last"] {
                while sender.send_to(payload, (Family::V4.of(1).0, PORT)).is_err() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            finished.recv().unwrap();
        });
    });
    on_this_thread(async {
        let handle = netlink();
        let lo = find(&handle, "lo").await;
        change(&handle, lo, LinkMessageBuilder::up).await;
        let deadline = std::time::Instant::now() + PATIENCE;
        let out = loop {
            if let Some(out) = present(&handle, "out").await {
                break out;
            }
            assert!(std::time::Instant::now() < deadline, "no cable");
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        ready(&handle, out, Family::V4.of(1)).await;
        let open = || PacketSockets.open(out, &Cover::default()).unwrap();
        let mut port = open();
        assert_eq!(
            port.send_datagram(Family::V4.of(2).0, b"x").unwrap_err().kind(),
            io::ErrorKind::NotConnected
        );
        let taken = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).unwrap();
        let refused = port.open_datagrams("out", PORT).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        drop(taken);
        port.open_datagrams("out", PORT).unwrap();
        // The same port on another link, and again on this one.
        let mut loopback = PacketSockets.open(lo, &Cover::default()).unwrap();
        loopback.open_datagrams("lo", PORT).unwrap();
        assert_eq!(open().open_datagrams("out", PORT).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        // By loopback, so not to the socket of the cable.
        let own = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        own.send_to(b"FLB\x01 own", (Ipv4Addr::LOCALHOST, PORT)).unwrap();
        cable.recv_timeout(PATIENCE).unwrap();
        opened_here.send(()).unwrap();

        let mut buffer = [0; 64];
        let mut receive = async || {
            let next = std::future::poll_fn(|context| port.poll_datagram(context, &mut buffer));
            let (length, from) = tokio::time::timeout(PATIENCE, next).await.expect("a datagram").unwrap();
            (buffer[..length].to_vec(), from)
        };
        for expected in [&b"FLB\x01 hello"[..], b"FLB\x01 last"] {
            assert_eq!(receive().await, (expected.to_vec(), Family::V4.of(2).0));
        }
        let mut buffer = [0; 64];
        let next = std::future::poll_fn(|context| loopback.poll_datagram(context, &mut buffer));
        let (length, _) = tokio::time::timeout(PATIENCE, next).await.expect("our own").unwrap();
        assert_eq!(&buffer[..length], b"FLB\x01 own");

        // What waited is thrown away.
        own.send_to(b"FLB\x01 late", (Ipv4Addr::LOCALHOST, PORT)).unwrap();
        loopback.drain();
        own.send_to(b"FLB\x01 new", (Ipv4Addr::LOCALHOST, PORT)).unwrap();
        let mut buffer = [0; 64];
        let next = std::future::poll_fn(|context| loopback.poll_datagram(context, &mut buffer));
        let (length, _) = tokio::time::timeout(PATIENCE, next).await.expect("the new one").unwrap();
        assert_eq!(&buffer[..length], b"FLB\x01 new");
        finish.send(()).unwrap();
    });
    other.join().unwrap();
}
