//! The loop with made-up links and a clock that moves by itself when nothing else does.

mod conflicts;
mod waiting;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use ferrolb_core::announce::{ARP_ROUNDS, Cover, SPACING};
use ferrolb_core::election::{Change, Contest, Holder, Interfaces, Roster};
use ferrolb_core::peers::Timing;
use ferrolb_core::service::ServiceKey;
use ferrolb_core::wire::Mac;
use ferrolb_core::wire::arp::{Host, Operation, Packet, announcement};
use ferrolb_core::wire::ndp;
use ferrolb_runtime::Readiness;
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::hear::BURST;
use super::*;
use crate::report::{Announced, Told};
use crate::socket::{Port, Received};

const LAN: LinkIndex = LinkIndex(2);
const WAN: LinkIndex = LinkIndex(3);
const NODE: Mac = Mac([2, 0, 0, 0, 0, 1]);
const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 0x99]);
const VIP: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 0, 0, 1);

/// One made-up network: what each link received, what was sent, and what opening a socket brings.
#[derive(Clone, Default)]
struct Network(Rc<RefCell<State>>);

#[derive(Default)]
struct State {
    incoming: BTreeMap<LinkIndex, VecDeque<io::Result<Vec<u8>>>>,
    /// What wakes nobody, and when it came.
    waiting: BTreeMap<LinkIndex, VecDeque<(Duration, Vec<u8>)>>,
    waker: Option<Waker>,
    sent: Vec<(Duration, LinkIndex, Vec<u8>)>,
    /// Asked whenever something is sent, and its answers.
    witness: Option<Rc<dyn Fn() -> usize>>,
    witnessed: Vec<usize>,
    opened: Vec<LinkIndex>,
    /// Links on which no socket can be opened, and why.
    refusals: BTreeMap<LinkIndex, i32>,
    /// A link that always has one more request.
    flooded: Option<LinkIndex>,
    send_error: Option<i32>,
    joined: Vec<(LinkIndex, Ipv6Addr)>,
    /// What each open socket lets pass.
    covers: BTreeMap<LinkIndex, Cover>,
}

struct FakePort(Network, LinkIndex);

impl Datalink for Network {
    type Port = FakePort;

    fn open(&self, link: LinkIndex, cover: &Cover) -> io::Result<FakePort> {
        let mut state = self.0.borrow_mut();
        if let Some(code) = state.refusals.get(&link) {
            return Err(io::Error::from_raw_os_error(*code));
        }
        state.opened.push(link);
        state.covers.insert(link, cover.clone());
        Ok(FakePort(self.clone(), link))
    }
}

impl Port for FakePort {
    fn poll_receive(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<Received>> {
        // Like a real socket, it lets other tasks have their turn after a while.
        let budget = std::task::ready!(tokio::task::coop::poll_proceed(context));
        let mut state = self.0.0.borrow_mut();
        if state.flooded == Some(self.1) {
            state.incoming.entry(self.1).or_default().push_back(Ok(request().build()));
        }
        if state.incoming.get(&self.1).is_some_and(|frames| !frames.is_empty()) {
            budget.made_progress();
        }
        match state.incoming.entry(self.1).or_default().pop_front() {
            Some(Ok(frame)) => {
                buffer[..frame.len()].copy_from_slice(&frame);
                Poll::Ready(Ok((frame.len(), Duration::ZERO)))
            }
            Some(Err(error)) => Poll::Ready(Err(error)),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn read_waiting(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, Duration)>> {
        let mut state = self.0.0.borrow_mut();
        Ok(state.waiting.entry(self.1).or_default().pop_front().map(|(came, frame)| {
            buffer[..frame.len()].copy_from_slice(&frame);
            (frame.len(), clock() - came)
        }))
    }

    fn send(&self, frame: &[u8]) -> io::Result<()> {
        let mut state = self.0.0.borrow_mut();
        if let Some(code) = state.send_error {
            return Err(io::Error::from_raw_os_error(code));
        }
        if let Some(witness) = state.witness.clone() {
            state.witnessed.push(witness());
        }
        state.sent.push((clock(), self.1, frame.to_vec()));
        Ok(())
    }

    fn drain(&self) {
        let mut state = self.0.0.borrow_mut();
        state.incoming.remove(&self.1);
        state.waiting.remove(&self.1);
    }

    fn narrow(&mut self, cover: &Cover) -> io::Result<()> {
        self.0.0.borrow_mut().covers.insert(self.1, cover.clone());
        Ok(())
    }

    fn join(&mut self, group: Ipv6Addr) -> io::Result<()> {
        self.0.0.borrow_mut().joined.push((self.1, group));
        Ok(())
    }

    fn leave(&mut self, group: Ipv6Addr) {
        self.0.0.borrow_mut().joined.retain(|known| *known != (self.1, group));
    }
}

impl Network {
    fn receive(&self, link: LinkIndex, input: io::Result<Vec<u8>>) {
        let mut state = self.0.borrow_mut();
        state.incoming.entry(link).or_default().push_back(input);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// What was sent since this was last asked.
    fn sent(&self) -> Vec<(Duration, LinkIndex, Vec<u8>)> {
        std::mem::take(&mut self.0.borrow_mut().sent)
    }

    fn sent_frames(&self) -> Vec<Vec<u8>> {
        self.sent().into_iter().map(|(_, _, frame)| frame).collect()
    }
}

thread_local! {
    static START: RefCell<Option<Instant>> = const { RefCell::new(None) };
}

/// Tokio's clock, which the tests have stopped: it jumps to the next timer when all tasks wait.
fn clock() -> Duration {
    START.with_borrow_mut(|start| start.get_or_insert_with(Instant::now).elapsed())
}

struct World {
    told: RefCell<mpsc::UnboundedReceiver<Told>>,
    network: Network,
    news: mpsc::UnboundedSender<News>,
    links: watch::Sender<Links>,
    keys: watch::Sender<Arc<Keys>>,
    readiness: Readiness,
    shutdown: CancellationToken,
    metrics: Metrics,
}

/// Runs `test` beside the loop, then asks the loop to end and waits for that.
fn with_loop<F: Future<Output = ()>>(test: impl FnOnce(Rc<World>) -> F) {
    with_loop_that(false, test);
}

/// The same with detection of conflicts, or without.
fn with_loop_that<F: Future<Output = ()>>(conflict_detection: bool, test: impl FnOnce(Rc<World>) -> F) {
    let (news, coming) = mpsc::unbounded_channel();
    let (standings, told) = mpsc::unbounded_channel();
    let (links, links_in) = watch::channel(None);
    let (keys, keys_in) = watch::channel(Arc::default());
    let world = Rc::new(World {
        told: RefCell::new(told),
        network: Network::default(),
        news,
        links,
        keys,
        readiness: Readiness::default(),
        shutdown: CancellationToken::new(),
        metrics: Metrics::new("node-1"),
    });
    let parts = Parts {
        datalink: world.network.clone(),
        hello_port: None,
        news: coming,
        links: links_in,
        report: Report::new(world.metrics.clone(), standings),
        metrics: world.metrics.clone(),
        config: Config {
            node: "node-1".into(),
            epoch: 1,
            timing: Timing::default(),
            refresh: None,
            stand_in_limit: Duration::from_secs(60),
            conflict_detection,
            transports: Transports::Ethernet,
        },
        keys: keys_in,
        unfit: watch::channel(false).1,
        going: watch::channel(false).1,
        keyless: watch::channel(true).0,
        findings: mpsc::unbounded_channel().1,
        questions: mpsc::unbounded_channel().0,
        inquiries: mpsc::unbounded_channel().1,
        ready: world.readiness.token("packet sockets"),
        clock,
        shutdown: world.shutdown.clone(),
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(LocalSet::new().run_until(async move {
        let running = tokio::task::spawn_local(run(parts));
        test(world.clone()).await;
        world.shutdown.cancel();
        running.await.unwrap();
    }));
}

/// Lets the loop do all that it can do now.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn link(name: &str, ups: u64) -> Link {
    Link { name: name.into(), mac: NODE, ups, ipv6: true, addresses: [].into(), networks: [].into() }
}

fn lan() -> Links {
    Some([(LAN, link("lan", 1))].into())
}

fn change(address: IpAddr, node: &str) -> Change {
    // Each address is that of a Service of its own.
    let name = if address == IpAddr::from(VIP) { "web".to_owned() } else { address.to_string() };
    let service = Holder { key: Arc::new(ServiceKey::new("shop", name)), uid: "".into() };
    let other = if node == "node-1" { "node-2" } else { "node-1" };
    let order = [node, other].map(|name| roster().id(name).unwrap());
    Change { address, contest: Ok(Arc::new(Contest::among(order, vec![service]))) }
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

impl World {
    /// What was told of Services since this was last asked: `name on links`, or what else; `all` once.
    fn told(&self) -> Vec<String> {
        let mut words = Vec::new();
        while let Ok(told) = self.told.borrow_mut().try_recv() {
            let Told::Of(standing) = told else {
                words.push("all".to_owned());
                continue;
            };
            let name = standing.service.key.name();
            let conflict = match standing.conflict.map(|conflict| conflict.held_back) {
                None => "",
                Some(false) => ", in conflict",
                Some(true) => ", held back",
            };
            words.push(match standing.state {
                None => format!("{name} not{conflict}"),
                Some(Announced::On(links)) => format!("{name} on {links:?}{conflict}"),
                Some(Announced::Lacks(links)) => format!("{name} lacks {links:?}{conflict}"),
            });
        }
        words
    }

    fn tell(&self, changes: Vec<Change>) {
        self.news.send(News { roster: roster(), changes, cover: None }).unwrap();
    }

    fn elect(&self, node: &str) {
        self.tell(vec![change(VIP.into(), node)]);
    }
}

fn request() -> Packet {
    Packet {
        destination: Mac::BROADCAST,
        source: CLIENT,
        operation: Operation::Request,
        sender: Host { mac: CLIENT, ip: [10, 0, 0, 153].into() },
        target: Host { mac: Mac::ZERO, ip: VIP },
    }
}

fn announced() -> Vec<Vec<u8>> {
    announcement(NODE, VIP).iter().map(Packet::build).collect()
}

fn shown(metrics: &Metrics) -> String {
    let (mut registry, mut text) = (prometheus_client::registry::Registry::default(), String::new());
    metrics.register(&mut registry);
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text
}

/// A line in the log and a status cost more than the frames that move clients.
#[test]
fn the_network_is_told_before_the_api() {
    with_loop(|world| async move {
        world.links.send_replace(lan());
        settle().await;
        world.told();
        let told = Rc::downgrade(&world);
        let witness = move || told.upgrade().map_or(0, |world| world.told.borrow().len());
        world.network.0.borrow_mut().witness = Some(Rc::new(witness));
        let addresses = (0..200).map(|number| IpAddr::from([10, 0, 1, number]));
        world.tell(addresses.map(|address| change(address, "node-1")).collect());
        settle().await;
        assert_eq!(world.network.sent_frames().len(), 400);
        assert_eq!(world.network.0.borrow().witnessed, vec![0; 400]);
        // Many wait for a moment more.
        assert_eq!(world.told(), Vec::<String>::new());
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(world.told().len(), 201, "all, and that it is all");
        // One does not.
        world.elect("node-1");
        settle().await;
        assert_eq!(world.told(), ["web on {}"]);
    });
}

#[test]
fn it_announces_answers_and_falls_silent() {
    with_loop(|world| async move {
        world.links.send_replace(lan());
        world.elect("node-1");
        settle().await;
        assert_eq!(world.network.sent_frames(), announced());

        world.network.receive(LAN, Ok(request().build()));
        settle().await;
        assert_eq!(world.network.sent_frames(), [request().answer(NODE).build()]);
        let text = shown(&world.metrics);
        for name in
            ["speaker_announced{service=\"shop/web\"", "layer2_requests_received", "layer2_responses_sent"]
        {
            assert!(text.contains(&format!("metallb_{name}")), "{name}\n{text}");
        }

        // Another node wins: not a frame more, and no series.
        world.elect("node-2");
        world.network.receive(LAN, Ok(request().build()));
        tokio::time::sleep(SPACING * u32::from(ARP_ROUNDS)).await;
        assert_eq!(world.network.sent_frames(), [] as [Vec<u8>; 0]);
        assert!(!shown(&world.metrics).contains("10.0.0.1"));
    });
}

#[test]
fn announcements_are_repeated_on_schedule() {
    with_loop(|world| async move {
        world.links.send_replace(lan());
        world.elect("node-1");
        tokio::time::sleep(Duration::from_secs(60)).await;
        let sent = world.network.sent();
        let start = sent[0].0;
        let times: Vec<_> = sent.iter().map(|(at, ..)| (*at - start).as_millis() / 100).collect();
        assert_eq!(times, [0, 0, 11, 11, 22, 22, 33, 33, 44, 44]);
    });
}

#[test]
fn nothing_is_said_before_the_election_is_known() {
    with_loop(|world| async move {
        world.links.send_replace(lan());
        world.network.receive(LAN, Ok(request().build()));
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(world.network.sent_frames(), [] as [Vec<u8>; 0]);
    });
}

#[test]
fn without_permission_it_is_not_ready_and_tries_again() {
    with_loop(|world| async move {
        world.network.0.borrow_mut().refusals.insert(LAN, libc::EPERM);
        world.elect("node-1");
        world.links.send_replace(lan());
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(world.readiness.waiting(), ["packet sockets"]);
        assert_eq!(world.network.sent_frames(), [] as [Vec<u8>; 0]);

        world.network.0.borrow_mut().refusals.clear();
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert_eq!(world.readiness.waiting(), [] as [&str; 0]);
        assert_eq!(world.network.sent_frames()[..2], announced());
    });
}

#[test]
fn a_link_that_came_back_gets_a_new_socket_and_an_announcement() {
    with_loop(|world| async move {
        world.elect("node-1");
        world.links.send_replace(lan());
        tokio::time::sleep(Duration::from_secs(10)).await;
        world.network.sent();
        assert_eq!(world.network.0.borrow().opened, [LAN]);

        world.links.send_replace(Some([(LAN, link("lan", 2))].into()));
        settle().await;
        assert_eq!(world.network.0.borrow().opened, [LAN, LAN]);
        assert_eq!(world.network.sent_frames(), announced());
    });
}

#[test]
fn a_passing_error_keeps_the_socket_and_a_lasting_one_replaces_it() {
    with_loop(|world| async move {
        world.elect("node-1");
        world.links.send_replace(lan());
        tokio::time::sleep(Duration::from_secs(10)).await;
        world.network.sent();

        for code in [libc::ENETDOWN, libc::ENOBUFS] {
            world.network.receive(LAN, Err(io::Error::from_raw_os_error(code)));
            world.network.receive(LAN, Ok(request().build()));
            settle().await;
            assert_eq!(world.network.sent_frames(), [request().answer(NODE).build()]);
        }
        assert_eq!(world.network.0.borrow().opened, [LAN]);

        world.network.receive(LAN, Err(io::Error::from_raw_os_error(libc::ENXIO)));
        settle().await;
        assert_eq!(world.readiness.waiting(), ["packet sockets"]);
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert_eq!(world.network.0.borrow().opened, [LAN, LAN]);
        assert_eq!(world.network.sent_frames()[..2], announced());
        assert_eq!(world.readiness.waiting(), [] as [&str; 0]);
    });
}

#[test]
fn frames_that_the_kernel_does_not_take_are_counted_and_let_go() {
    with_loop(|world| async move {
        world.network.0.borrow_mut().send_error = Some(libc::ENOBUFS);
        world.elect("node-1");
        world.links.send_replace(lan());
        settle().await;
        assert!(shown(&world.metrics).contains(r#"ferrolb_speaker_socket_errors_total{interface="lan"} 2"#));
        world.network.0.borrow_mut().send_error = None;
        tokio::time::sleep(SPACING).await;
        assert_eq!(world.network.sent_frames(), announced());
    });
}

#[test]
fn a_backlog_lets_others_have_their_turn() {
    const ADDRESSES: u16 = 10_000;
    with_loop(|world| async move {
        let address = |number: u16| IpAddr::from([10, 1, number.to_be_bytes()[0], number.to_be_bytes()[1]]);
        world.tell((0..ADDRESSES).map(|number| change(address(number), "node-1")).collect());
        world.links.send_replace(lan());
        // Whoever shares the task with the loop, as SIGTERM does, gets a turn in the middle of the work.
        while world.network.0.borrow().sent.is_empty() {
            tokio::task::yield_now().await;
        }
        let sent = world.network.0.borrow().sent.len();
        assert!(sent < 2 * usize::from(ADDRESSES), "all {sent} announcements went out first");
        world.shutdown.cancel();
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        let after = world.network.0.borrow().sent.len();
        assert!(after < 2 * usize::from(ADDRESSES), "it went on after it was asked to end");
    });
}

#[test]
fn a_socket_whose_link_is_gone_is_opened_again() {
    with_loop(|world| async move {
        world.network.0.borrow_mut().send_error = Some(libc::ENXIO);
        world.elect("node-1");
        world.links.send_replace(lan());
        settle().await;
        assert_eq!(world.network.0.borrow().opened, [LAN]);
        world.network.0.borrow_mut().send_error = None;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(world.network.0.borrow().opened, [LAN, LAN]);
        assert!(!world.network.sent_frames().is_empty(), "it announces on the new socket");
    });
}

#[test]
fn a_flood_on_one_link_does_not_silence_another() {
    with_loop(|world| async move {
        world.elect("node-1");
        world.links.send_replace(Some([(LAN, link("lan", 1)), (WAN, link("wan", 1))].into()));
        tokio::time::sleep(Duration::from_secs(10)).await;
        world.network.sent();

        for _ in 0..10 * BURST {
            world.network.receive(LAN, Ok(request().build()));
        }
        world.network.receive(WAN, Ok(request().build()));
        settle().await;
        let sent = world.network.sent();
        assert_eq!(sent.len(), 10 * BURST + 1);
        let place = sent.iter().position(|(_, link, _)| *link == WAN).unwrap();
        assert!(place <= BURST, "the other link's answer was number {place}");
    });
}

#[test]
fn a_flood_on_one_link_does_not_keep_the_socket_of_another_closed() {
    with_loop(|world| async move {
        world.network.0.borrow_mut().refusals.insert(WAN, libc::EPERM);
        world.elect("node-1");
        world.links.send_replace(Some([(LAN, link("lan", 1)), (WAN, link("wan", 1))].into()));
        settle().await;
        assert_eq!(world.network.0.borrow().opened, [LAN]);

        world.network.0.borrow_mut().flooded = Some(LAN);
        world.network.receive(LAN, Ok(request().build()));
        world.network.0.borrow_mut().refusals.clear();
        // From here on the loop never waits, and the clock moves only when told.
        tokio::time::advance(ports::REOPEN).await;
        let turns = 100;
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.network.0.borrow().opened, [LAN, WAN], "after {turns} turns");
        let on_wan = |sent: Vec<(Duration, LinkIndex, Vec<u8>)>| {
            sent.into_iter()
                .filter(|(_, link, _)| *link == WAN)
                .map(|(_, _, frame)| frame)
                .collect::<Vec<_>>()
        };
        assert_eq!(on_wan(world.network.sent()), announced());
        assert_eq!(world.readiness.waiting(), [] as [&str; 0]);
    });
}

#[test]
fn sockets_are_narrowed_and_groups_joined() {
    with_loop(|world| async move {
        let six: Ipv6Addr = "fd00::1".parse().unwrap();
        world.links.send_replace(lan());
        settle().await;
        assert_eq!(world.network.0.borrow().covers[&LAN], Cover::default(), "nothing passes yet");
        let cover = Cover::of(&["10.0.0.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()]);
        world
            .news
            .send(News {
                roster: roster(),
                changes: vec![change(six.into(), "node-1")],
                cover: Some(cover.clone()),
            })
            .unwrap();
        settle().await;
        assert_eq!(world.network.0.borrow().covers[&LAN], cover);
        assert_eq!(world.network.0.borrow().joined, [(LAN, ndp::solicited_node(six))]);
        assert_eq!(world.network.sent_frames(), [ndp::announcement(NODE, six).build()]);

        // A link that comes later gets both at once.
        world.links.send_replace(Some([(LAN, link("lan", 1)), (WAN, link("wan", 1))].into()));
        settle().await;
        assert_eq!(world.network.0.borrow().covers[&WAN], cover);
        assert_eq!(world.network.0.borrow().joined.len(), 2);
        world.tell(vec![change(six.into(), "node-2")]);
        settle().await;
        assert_eq!(world.network.0.borrow().joined, []);
    });
}

#[test]
fn the_first_picture_is_told_as_whole_when_elected_and_links_are_known() {
    with_loop(|world| async move {
        world.links.send_replace(lan());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(world.told(), [""; 0], "nothing is known of the election");
        world.elect("node-1");
        settle().await;
        assert_eq!(world.told(), ["web on {}", "all"]);
    });
    with_loop(|world| async move {
        world.elect("node-1");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!world.told().contains(&"all".to_owned()), "nothing is known of the links");
        world.links.send_replace(lan());
        settle().await;
        assert_eq!(world.told(), ["web on {}", "all"]);
    });
}

#[test]
fn how_a_service_stands_is_told_as_it_changes() {
    with_loop(|world| async move {
        world.links.send_replace(lan());
        settle().await;
        let limited = |names: &[&str]| {
            let mut change = change(VIP.into(), "node-1");
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            change.contest = change.contest.map(|c| Arc::new((*c).clone().on(Interfaces::Only(names))));
            vec![change]
        };
        world.tell(limited(&["dsl", "lan"]));
        settle().await;
        assert_eq!(world.told(), [r#"web on {"lan"}"#, "all"]);
        world.tell(limited(&["dsl"]));
        settle().await;
        assert_eq!(world.told().last().unwrap(), r#"web lacks {"dsl"}"#);
        assert!(!shown(&world.metrics).contains("10.0.0.1"));
        // The link that it lacks comes.
        world.links.send_replace(Some([(LAN, link("lan", 1)), (WAN, link("dsl", 1))].into()));
        settle().await;
        assert_eq!(world.told(), [r#"web on {"dsl"}"#]);
        world.links.send_replace(lan());
        settle().await;
        assert_eq!(world.told(), [r#"web lacks {"dsl"}"#]);
        world.elect("node-2");
        settle().await;
        assert_eq!(world.told(), ["web not"]);
    });
}
