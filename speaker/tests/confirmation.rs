//! Which frames teach a client that an address has moved, and which of them it answers: measured with the client's real
//! kernel. The wire's end of the cable plays the old owner, the new one, and a stand-in. The table that this prints is
//! in docs/conflicts.md.

#![allow(clippy::unwrap_used, reason = "a step that fails ends the test")]

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::{Duration, Instant};

use ferrolb_core::announce::LinkIndex;
use ferrolb_core::wire::arp::{self, Packet};
use ferrolb_core::wire::ndp::{self, Message};
use ferrolb_core::wire::{Mac, is_ndp};
use nix::sched::{CloneFlags, setns};
use rtnetlink::packet_route::neighbour::NeighbourState;
use rtnetlink::{Handle, LinkMessageBuilder};

use support::node::{CLIENT_IP, CLIENT_IP6};
use support::*;

const OLD: Mac = Mac([0x02, 0, 0, 0, 0, 0x0a]);
const NEW: Mac = Mac([0x02, 0, 0, 0, 0, 0x0b]);
/// Asks after each frame, so that its answer tells that the frame has been worked on.
const BARRIER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 250);

/// What the client knows of the address before the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    /// Nothing.
    Missing,
    /// That nobody answered, when it last asked.
    Failed,
    /// The old owner, who answered 0.2 s ago.
    Young,
}

/// What the frame did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outcome {
    /// What the client has for the address afterwards.
    entry: Option<Mac>,
    /// Where it sent its answer, if there was one.
    answered: Option<Mac>,
}

const MOVED: Outcome = Outcome { entry: Some(NEW), answered: None };
const CONFIRMED: Outcome = Outcome { entry: Some(NEW), answered: Some(NEW) };
const IGNORED: Outcome = Outcome { entry: None, answered: None };
const KEPT: Outcome = Outcome { entry: Some(OLD), answered: None };

/// The cable: this thread is at the wire's end, the client's kernel at the other.
struct Bench {
    tap: Tap,
    /// Of the client's namespace.
    handle: Handle,
    out: LinkIndex,
    client: File,
    here: File,
    sockets: [UdpSocket; 2],
    /// So that each case has an address of its own, of which the client has never heard.
    used: u8,
}

impl Bench {
    async fn new() -> Bench {
        let here = this_namespace();
        nix::sched::unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let client = this_namespace();
        setns(&here, CloneFlags::CLONE_NEWNET).unwrap();
        let lan = plug(&netlink(), &client).await;

        setns(&client, CloneFlags::CLONE_NEWNET).unwrap();
        let handle = netlink();
        let out = find(&handle, "out").await;
        // The client's address is usable at once.
        std::fs::write("/proc/sys/net/ipv6/conf/out/accept_dad", "0").unwrap();
        change(&handle, out, LinkMessageBuilder::up).await;
        handle.address().add(out.0, CLIENT_IP.into(), 24).execute().await.unwrap();
        handle.address().add(out.0, CLIENT_IP6.into(), 64).execute().await.unwrap();
        let sockets = [IpAddr::V4(CLIENT_IP), IpAddr::V6(CLIENT_IP6)].map(|address| {
            let deadline = Instant::now() + PATIENCE;
            loop {
                match UdpSocket::bind((address, 0)) {
                    Ok(socket) => return socket,
                    Err(error) => assert!(Instant::now() < deadline, "{address}: {error}"),
                }
            }
        });
        setns(&here, CloneFlags::CLONE_NEWNET).unwrap();
        let bench = Bench { tap: Tap::on(lan), handle, out, client, here, sockets, used: 10 };
        // The cable works.
        bench.tap.ask(&arp::request(OLD, BARRIER, CLIENT_IP));
        bench
    }

    /// Sets a kernel parameter of the client's.
    fn set(&self, parameter: &str, value: &str) {
        setns(&self.client, CloneFlags::CLONE_NEWNET).unwrap();
        let written = std::fs::write(format!("/proc/sys/net/{parameter}"), value);
        setns(&self.here, CloneFlags::CLONE_NEWNET).unwrap();
        written.unwrap_or_else(|error| panic!("{parameter}: {error}"));
    }

    /// What `form` does to the client's `entry`, for an IPv4 address.
    async fn v4(&mut self, entry: Entry, form: impl Fn(Ipv4Addr) -> Packet) -> Outcome {
        self.used += 1;
        let address = Ipv4Addr::new(10, 9, 0, self.used);
        self.prepare(address.into(), entry).await;
        self.outcome(address.into(), form(address).build()).await
    }

    /// The same for an IPv6 address.
    async fn v6(&mut self, entry: Entry, form: impl Fn(Ipv6Addr) -> Vec<u8>) -> Outcome {
        self.used += 1;
        let address = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, self.used.into());
        self.prepare(address.into(), entry).await;
        self.outcome(address.into(), form(address)).await
    }

    async fn prepare(&self, address: IpAddr, entry: Entry) {
        match entry {
            Entry::Missing => {}
            Entry::Failed => {
                let adding = self.handle.neighbours().add(self.out.0, address);
                adding.state(NeighbourState::Failed).execute().await.unwrap();
            }
            Entry::Young => {
                self.resolve(address, OLD, OLD).await;
                assert_eq!(neighbour(&self.handle, address).await, Some(OLD));
                // The age is what is measured.
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }

    /// Lets the client ask for `address`, and answers with `payload` from `source`.
    async fn resolve(&self, address: IpAddr, payload: Mac, source: Mac) {
        let socket = &self.sockets[usize::from(address.is_ipv6())];
        socket.send_to(b"?", (address, 9)).unwrap();
        let answer = self.tap.find("the client's question", |frame| match address {
            IpAddr::V4(address) => {
                let asked = Packet::parse(frame).ok().filter(|asked| asked.target.ip == address)?;
                Some(asked.answer_as(payload, source).build())
            }
            IpAddr::V6(address) => match Message::parse(frame) {
                Ok(Message::Solicitation(asked)) if asked.target == address => {
                    Some(asked.answer_as(payload, source).build())
                }
                _ => None,
            },
        });
        self.tap.send(&answer);
        self.barrier(|_| {});
    }

    async fn outcome(&self, address: IpAddr, frame: Vec<u8>) -> Outcome {
        self.tap.send(&frame);
        let mut answered = None;
        self.barrier(|frame| {
            let (to, asker) = if is_ndp(frame) {
                let Ok(Message::Advertisement(told)) = Message::parse(frame) else { return };
                let Some((client, CLIENT, asker)) = told.answered() else { return };
                assert_eq!(client, CLIENT_IP6);
                (told.destination, IpAddr::V6(asker))
            } else {
                let Ok(told) = Packet::parse(frame) else { return };
                let Some((client, asker)) = told.answered().filter(|(client, _)| client.mac == CLIENT) else {
                    return;
                };
                assert_eq!(client.ip, CLIENT_IP);
                (told.destination, IpAddr::V4(asker))
            };
            if asker == address {
                answered = Some(to);
            }
        });
        Outcome { entry: neighbour(&self.handle, address).await, answered }
    }

    /// Waits until the client has worked on all that was sent before, and shows what it sent meanwhile.
    fn barrier(&self, mut saw: impl FnMut(&[u8])) {
        self.tap.send(&arp::request(OLD, BARRIER, CLIENT_IP).build());
        self.tap.find("the answer to the barrier", |frame| {
            saw(frame);
            let (_, asker) = Packet::parse(frame).ok()?.answered()?;
            (asker == BARRIER).then_some(())
        });
    }
}

/// One line of the table.
fn show(family: &str, form: &str, outcomes: &[(Entry, Outcome)]) {
    let words = outcomes.iter().map(|(entry, outcome)| {
        let now = match outcome.entry {
            Some(NEW) => "new owner",
            Some(_) => "old owner",
            None => "nothing",
        };
        let answered = match outcome.answered {
            Some(NEW) => ", answers the new owner",
            Some(_) => ", answers the old owner",
            None => "",
        };
        format!("{entry:?}: {now}{answered}")
    });
    println!("{family} {form}: {}", words.collect::<Vec<_>>().join(" | "));
}

const ENTRIES: [Entry; 3] = [Entry::Missing, Entry::Failed, Entry::Young];

#[test]
fn which_frames_move_an_ipv4_client() {
    if enter_namespace().is_none() {
        return;
    }
    on_this_thread(async {
        let mut bench = Bench::new().await;
        type Form = fn(Ipv4Addr) -> Packet;
        let reply: Form = |vip| arp::request(CLIENT, CLIENT_IP, vip).answer(NEW);
        let cases: [(&str, Form, [Outcome; 3]); 5] = [
            ("confirmation to all", |vip| arp::confirmation(NEW, vip, CLIENT_IP, None), [CONFIRMED; 3]),
            ("confirmation", |vip| arp::confirmation(NEW, vip, CLIENT_IP, Some(CLIENT)), [CONFIRMED; 3]),
            ("announcement, request", |vip| arp::announcement(NEW, vip)[0], [IGNORED, MOVED, MOVED]),
            ("announcement, reply", |vip| arp::announcement(NEW, vip)[1], [IGNORED, MOVED, MOVED]),
            ("unicast reply", reply, [IGNORED, MOVED, KEPT]),
        ];
        for (name, form, expected) in cases {
            let mut outcomes = Vec::new();
            for entry in ENTRIES {
                outcomes.push((entry, bench.v4(entry, form).await));
            }
            show("IPv4", name, &outcomes);
            assert_eq!(outcomes, ENTRIES.into_iter().zip(expected).collect::<Vec<_>>(), "{name}");
        }

        // A client that was told to ignore what it did not ask for still moves.
        bench.set("ipv4/conf/out/drop_gratuitous_arp", "1");
        for form in 0..2 {
            let announced = bench.v4(Entry::Young, |vip| arp::announcement(NEW, vip)[form]).await;
            assert_eq!(announced, KEPT, "form {form}");
        }
        let asked = bench.v4(Entry::Young, |vip| arp::confirmation(NEW, vip, CLIENT_IP, Some(CLIENT))).await;
        assert_eq!(asked, CONFIRMED);
    });
}

#[test]
fn which_frames_move_an_ipv6_client() {
    if enter_namespace().is_none() {
        return;
    }
    on_this_thread(async {
        let mut bench = Bench::new().await;
        type Form = fn(Ipv6Addr) -> Vec<u8>;
        let no_option: Form = |vip| {
            let confirmation = ndp::confirmation(NEW, vip, CLIENT_IP6, Some(CLIENT));
            ndp::Solicitation { link_layer: None, ..confirmation }.build()
        };
        let answer: Form = |vip| ndp::request(CLIENT, CLIENT_IP6, vip).answer(NEW).build();
        let to_group: Form = |vip| ndp::confirmation(NEW, vip, CLIENT_IP6, None).build();
        let confirmation: Form = |vip| ndp::confirmation(NEW, vip, CLIENT_IP6, Some(CLIENT)).build();
        let announcement: Form = |vip| ndp::announcement(NEW, vip).build();
        let by_old_entry = Outcome { entry: Some(OLD), answered: Some(OLD) };
        let cases: [(&str, Form, [Outcome; 3]); 5] = [
            ("confirmation to the group", to_group, [CONFIRMED; 3]),
            ("confirmation", confirmation, [CONFIRMED; 3]),
            ("confirmation without option", no_option, [IGNORED, IGNORED, by_old_entry]),
            ("announcement", announcement, [IGNORED, IGNORED, MOVED]),
            ("solicited advertisement", answer, [IGNORED, IGNORED, MOVED]),
        ];
        for (name, form, expected) in cases {
            let mut outcomes = Vec::new();
            for entry in ENTRIES {
                outcomes.push((entry, bench.v6(entry, form).await));
            }
            show("IPv6", name, &outcomes);
            assert_eq!(outcomes, ENTRIES.into_iter().zip(expected).collect::<Vec<_>>(), "{name}");
        }

        // A client that was told to ignore what it did not ask for still moves.
        bench.set("ipv6/conf/out/drop_unsolicited_na", "1");
        assert_eq!(bench.v6(Entry::Young, announcement).await, KEPT);
        assert_eq!(bench.v6(Entry::Young, confirmation).await, CONFIRMED);
    });
}

/// The client takes the MAC in the payload, whatever the frame's source is.
#[test]
fn a_stand_in_is_believed() {
    if enter_namespace().is_none() {
        return;
    }
    on_this_thread(async {
        let bench = Bench::new().await;
        let addresses: [IpAddr; 2] = [[10, 9, 0, 1].into(), "fd09::1".parse().unwrap()];
        for address in addresses {
            bench.resolve(address, OLD, NEW).await;
            assert_eq!(neighbour(&bench.handle, address).await, Some(OLD), "{address}");
        }
    });
}

/// "Who has NODE, tell ME": the kernel of the host that has the address answers, as long as it lives.
#[test]
fn a_kernel_that_lives_answers_for_its_address() {
    if enter_namespace().is_none() {
        return;
    }
    on_this_thread(async {
        let bench = Bench::new().await;
        let mine = Ipv4Addr::new(10, 9, 0, 8);
        bench.tap.send(&arp::request(NEW, mine, CLIENT_IP).build());
        let (host, asker) = bench.tap.find("an ARP reply", |frame| Packet::parse(frame).ok()?.answered());
        assert_eq!((host, asker), (arp::Host { mac: CLIENT, ip: CLIENT_IP }, mine));
        let mine = "fe80::8".parse().unwrap();
        bench.tap.send(&ndp::request(NEW, mine, CLIENT_IP6).build());
        let answered = bench.tap.find("an advertisement", |frame| match Message::parse(frame) {
            Ok(Message::Advertisement(told)) => told.answered(),
            _ => None,
        });
        assert_eq!(answered, (CLIENT_IP6, CLIENT, mine));
    });
}
