//! A speaker without its API server, in a namespace of its own, and orders for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ferrolb_core::announce::{Cover, LinkIndex};
use ferrolb_core::election::{Change, Contest, Holder as Service, Roster};
use ferrolb_core::peers::Timing;
use ferrolb_core::service::ServiceKey;
use ferrolb_core::speaker::{Config, Transports};
use ferrolb_core::wire::Mac;
use ferrolb_core::wire::arp::{Host, Operation, Packet, announcement};
use ferrolb_runtime::Readiness;
use ferrolb_speaker::announcing::{self, Parts};
use ferrolb_speaker::cluster::News;
use ferrolb_speaker::links::{self, DEFAULT_EXCLUDED};
use ferrolb_speaker::metrics::Metrics;
use ferrolb_speaker::report::Report;
use ferrolb_speaker::socket::PacketSockets;
use rtnetlink::{LinkBridge, LinkVeth};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::*;

pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub(crate) const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1);
pub(crate) const CLIENT_IP6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 2);
pub(crate) const NODE_IP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 9);
pub(crate) const CLIENT_IP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

pub(crate) fn request(target: Ipv4Addr) -> Packet {
    Packet {
        destination: Mac::BROADCAST,
        source: CLIENT,
        operation: Operation::Request,
        sender: Host { mac: CLIENT, ip: CLIENT_IP },
        target: Host { mac: Mac::ZERO, ip: target },
    }
}

/// What the client's thread asks of the node's.
pub(crate) enum Order {
    Elect(&'static str),
    Link(bool),
    Mac(Mac),
    Delete,
    /// Makes the cable anew, with the index that it had.
    PlugAgain,
    Rename(&'static str),
    /// Changes the link so often that the kernel drops events about it, while nobody reads them.
    Storm,
    /// Adds an address of the node to the cable's end, or removes it.
    Address(bool),
    /// Makes a bridge of this MAC and puts the cable's end into it, or takes it out and the bridge away.
    Enslave(Option<Mac>),
    Plug,
    /// Waits until an address is announced, or is not.
    Await(bool),
    /// Waits until a frame was ignored for this reason.
    AwaitIgnored(&'static str),
    /// Waits until the program is ready.
    AwaitReady,
    /// Ends the program; the namespace stays.
    End,
}

/// The speaker without its API server, in a namespace of its own: links from netlink, real sockets. Its
/// thread and its namespace end when it is dropped.
pub(crate) struct Node {
    orders: tokio::sync::mpsc::UnboundedSender<Order>,
    done: mpsc::Receiver<()>,
}

impl Node {
    /// Starts it, with a cable to the calling thread's namespace.
    pub(crate) fn start() -> Node {
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

    pub(crate) fn tell(&self, order: Order) {
        self.orders.send(order).unwrap();
        self.wait();
    }

    pub(crate) fn wait(&self) {
        self.done.recv_timeout(PATIENCE * 2).expect("the node's thread goes on");
    }
}

pub(crate) fn news(owner: &str) -> News {
    let service = Service { key: Arc::new(ServiceKey::new("shop", "web")), uid: "".into() };
    let roster = roster();
    let other = if owner == "node-1" { "node-2" } else { "node-1" };
    let order = [owner, other].map(|name| roster.id(name).unwrap());
    let contest = Ok(Arc::new(Contest::among(order, vec![service])));
    let changes = [VIP.into(), VIP6.into()].map(|address| Change { address, contest: contest.clone() });
    let cover = Cover::of(&["10.9.0.0/28".parse().unwrap(), "fd09::/120".parse().unwrap()]);
    News { roster, changes: changes.into(), cover: Some(cover) }
}

/// Two nodes, both Ready.
fn roster() -> Arc<Roster> {
    let node = |name: &str| ferrolb_core::election::Node {
        name: name.to_owned(),
        ready: true,
        network_available: true,
        ..ferrolb_core::election::Node::default()
    };
    Arc::new(Roster::default().follow(&[node("node-1"), node("node-2")]))
}

pub(crate) fn shown(metrics: &Metrics) -> String {
    let (mut registry, mut text) = (prometheus_client::registry::Registry::default(), String::new());
    metrics.register(&mut registry);
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text
}

fn announced(metrics: &Metrics) -> bool {
    shown(metrics).contains("metallb_speaker_announced{")
}

pub(crate) async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) async fn node(
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
        hello_port: None,
        news: coming,
        links,
        report: Report::new(metrics.clone(), standings),
        metrics: metrics.clone(),
        config: Config {
            node: "node-1".into(),
            epoch: 1,
            timing: Timing::default(),
            refresh: None,
            stand_in_limit: Duration::from_secs(60),
            conflict_detection: false,
            transports: Transports::Ethernet,
        },
        keys: watch::channel(Arc::default()).1,
        unfit: watch::channel(false).1,
        going: watch::channel(false).1,
        keyless: watch::channel(true).0,
        findings: tokio::sync::mpsc::unbounded_channel().1,
        questions: tokio::sync::mpsc::unbounded_channel().0,
        inquiries: tokio::sync::mpsc::unbounded_channel().1,
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
            Order::PlugAgain => {
                let veth = LinkVeth::new("lan", "out").index(lan.0).build();
                handle.link().add(veth).execute().await.unwrap();
                connect(&handle, &client).await;
            }
            Order::Storm => {
                let namespace = this_namespace();
                let storm = std::thread::spawn(move || {
                    nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                    on_this_thread(async {
                        let handle = netlink();
                        for number in 0..1000 {
                            change(&handle, lan, |link| link.mtu(1400 + number % 2)).await;
                        }
                    });
                });
                // The speaker shares this thread, so it stands still meanwhile.
                storm.join().unwrap();
                let overrun = || !shown(&metrics).contains("netlink_overruns_total 0");
                wait_until("an overrun", overrun).await;
            }
            Order::Rename(name) => {
                // A link that is up can be renamed since Linux 6.2.
                change(&handle, lan, |link| link.name(name)).await;
            }
            Order::Address(true) => {
                handle.address().add(lan.0, NODE_IP.into(), 24).execute().await.unwrap();
            }
            Order::Address(false) => remove(&handle, NODE_IP.into()).await,
            Order::Enslave(Some(mac)) => {
                handle.link().add(LinkBridge::new("br0").build()).execute().await.unwrap();
                let bridge = find(&handle, "br0").await;
                change(&handle, bridge, |link| link.address(mac.0.into()).up()).await;
                change(&handle, lan, |link| link.controller(bridge.0)).await;
            }
            Order::Enslave(None) => {
                change(&handle, lan, rtnetlink::LinkMessageBuilder::nocontroller).await;
                let bridge = find(&handle, "br0").await;
                handle.link().del(bridge.0).execute().await.unwrap();
            }
            Order::Plug => lan = plug(&handle, &client).await,
            Order::Await(expected) => {
                wait_until("announcing", || announced(&metrics) == expected).await;
            }
            Order::AwaitIgnored(reason) => {
                let line = format!("frames_ignored_total{{reason=\"{reason}\"}}");
                wait_until(&line, || shown(&metrics).contains(&line)).await;
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
pub(crate) async fn client(handle: &rtnetlink::Handle) -> LinkIndex {
    let out = find(handle, "out").await;
    handle.address().add(out.0, CLIENT_IP.into(), 24).execute().await.unwrap();
    change(handle, out, rtnetlink::LinkMessageBuilder::up).await;
    out
}

/// Waits until the client's kernel has this MAC for the address.
pub(crate) async fn learned(handle: &rtnetlink::Handle, address: IpAddr, mac: Mac) {
    let deadline = Instant::now() + PATIENCE;
    while neighbour(handle, address).await != Some(mac) {
        assert!(Instant::now() < deadline, "the client has {:?}", neighbour(handle, address).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for one whole announcement: both forms, in their order.
pub(crate) fn round(tap: &Tap, mac: Mac) {
    for form in announcement(mac, VIP) {
        tap.expect("an announcement", |packet| *packet == form);
    }
}
