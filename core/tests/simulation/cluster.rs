//! The simulated cluster.

mod acts;
mod api;
mod run;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use ferrolb_core::announce::{Frame, Link, LinkIndex};
use ferrolb_core::election::{Change, Contest, Interfaces, Lost, Node as ApiNode, Roster};
use ferrolb_core::hello_key::{Key, Keys};
use ferrolb_core::peers::Timing;
use ferrolb_core::speaker::{Config, Effect, Speaker, Transports};
use ferrolb_core::wire::arp::{self, Operation};
use ferrolb_core::wire::hello::{Body, Flags, KIND_AT, ROUTINE_HELLO, ROUTINE_MASK, State, parse_payload};
use ferrolb_core::wire::{Mac, is_hello};
use ipnet::IpNet;

pub(crate) use crate::clock::{Clock, Dice};

pub(crate) const INTERVAL: Duration = Duration::from_millis(100);
/// In [`Cluster::cuts`], who is no machine but the client.
pub(crate) const CLIENT_AT: usize = usize::MAX;

pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A network card.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) link: LinkIndex,
    pub(crate) name: String,
    pub(crate) segment: usize,
    pub(crate) mac: Mac,
    pub(crate) ip: Ipv4Addr,
    pub(crate) up: bool,
    ups: u64,
}

/// What stands still.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frozen {
    since: Duration,
    until: Duration,
    /// The whole machine, with its clock; else its speaker alone.
    whole: bool,
}

/// One machine.
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) ports: Vec<Port>,
    /// The process of its speaker, while it runs.
    pub(crate) speaker: Option<Speaker>,
    /// Whether its kernel and ports work.
    pub(crate) alive: bool,
    pub(crate) frozen: Option<Frozen>,
    /// What waits in its sockets meanwhile, by port, and when it came.
    waiting: VecDeque<(usize, Packet, Duration)>,
    /// The hellos that say nothing new, by port, and when each came: they wait for its speaker to look.
    routine: VecDeque<(usize, Vec<u8>, Duration)>,
    /// When it looked last.
    read: Duration,
    /// What of the API's news has reached it: how many of all.
    news: usize,
    epochs: u64,
    /// Since when the API's news stay away.
    cut_since: Option<Duration>,
    pub(crate) cut_off: bool,
    /// How many answers it awaits to its question whether it knows what the API says.
    views: u32,
    pub(crate) fit: bool,
    /// The addresses that its service proxy may not serve yet.
    pending: BTreeSet<IpAddr>,
    pub(crate) clock: Clock,
    keys: Arc<Keys>,
    /// Whether its speaker said last that it has no key.
    keyless: bool,
}

/// What comes to a port.
#[derive(Clone)]
pub(crate) enum Packet {
    Frame(Vec<u8>),
    /// From an address.
    Datagram(IpAddr, Arc<[u8]>),
}

/// How long after a pause a speaker waits for its watches, before it trusts them.
const CATCH_UP: Duration = Duration::from_secs(1);

pub(crate) enum Happening {
    Arrives { at: usize, port: usize, packet: Packet },
    Reaches { segment: usize, frame: Vec<u8> },
    News { at: usize },
    Says { at: usize, keyless: bool },
    Looks { at: usize },
    Knows { at: usize, session: u64 },
    Asks { segment: usize, address: Ipv4Addr },
}

/// What the API says, one version after the other: the machines that may have an address, in order.
pub(crate) type Version = BTreeMap<IpAddr, Vec<usize>>;

/// An answer that the client got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) at: Duration,
    pub(crate) segment: usize,
    pub(crate) address: Ipv4Addr,
    /// When the client asked last.
    pub(crate) asked: Duration,
    /// The machine whose Ethernet address the answer names, and which.
    pub(crate) owner: usize,
    pub(crate) mac: Mac,
    /// The machine that sent it.
    pub(crate) by: usize,
}

/// What is wrong with a speaker on purpose, seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What waited while it was stopped is read as if it had never stopped: its clock is held back.
    NoPause,
    /// It is stopped again and again, and nothing is wrong with it.
    Stopped,
    /// Its claims reach nobody.
    NoClaims,
    /// Its hellos come to everybody's ear, and none comes to it; it answers the client.
    OneWay,
}

pub(crate) struct Cluster {
    pub(crate) now: Duration,
    pub(crate) dice: Dice,
    pub(crate) machines: Vec<Machine>,
    pub(crate) segments: usize,
    happenings: BTreeMap<(Duration, u64), Happening>,
    count: u64,
    pub(crate) versions: Vec<Version>,
    /// On which links a machine may have an address, where not on all.
    pub(crate) limits: BTreeMap<(IpAddr, usize), Interfaces>,
    /// The nodes as the API shows them.
    nodes: Vec<ApiNode>,
    roster: Arc<Roster>,
    timing: Timing,
    pub(crate) lag: u64,
    /// How often the client asks for each address.
    pub(crate) asking: Duration,
    /// The percentage of frames lost on each way, much delayed, and doubled.
    pub(crate) loss: f64,
    pub(crate) late: f64,
    pub(crate) twice: f64,
    /// From whom to whom nothing gets.
    pub(crate) cuts: BTreeSet<(usize, usize)>,
    /// From whom to whom no frame with a hello gets: the network drops their ethertype.
    pub(crate) hushed: BTreeSet<(usize, usize)>,
    /// By which ways speakers are heard that are started from now on.
    pub(crate) transports: Transports,
    /// Whether each link has IPv6 too, and each port an address of that; datagrams do not go there.
    pub(crate) dual: bool,
    /// How many datagrams were sent.
    pub(crate) datagrams: u64,
    pub(crate) told: Vec<Told>,
    /// The client's neighbours by segment: whose Ethernet address, and since when.
    pub(crate) cache: BTreeMap<(usize, Ipv4Addr), (Mac, Duration)>,
    pub(crate) asked: BTreeMap<(usize, Ipv4Addr), Duration>,
    pub(crate) recorded: VecDeque<(usize, Packet)>,
    pub(crate) faults: Vec<(usize, Fault)>,
    pub(crate) limit: Duration,
    pub(crate) log: Vec<String>,
    /// Whether the log has what speakers say to each other.
    pub(crate) trace: bool,
}

/// Whether a frame is one that a kernel keeps until the speaker looks.
fn is_routine(frame: &[u8]) -> bool {
    let marked = frame.get(14 + KIND_AT..).and_then(|rest| rest.first_chunk());
    is_hello(frame) && marked.is_some_and(|two| u16::from_be_bytes(*two) & ROUTINE_MASK == ROUTINE_HELLO)
}

pub(crate) const CLIENT: Mac = Mac([2, 0, 0, 0, 0xff, 1]);

/// The set of keys with these; the first is the current one.
pub(crate) fn keys(of: &[u8]) -> Arc<Keys> {
    match of.split_first() {
        Some((first, rest)) => {
            Arc::new(Keys::new(Key::new([*first; 32]), rest.iter().map(|key| Key::new([*key; 32]))).unwrap())
        }
        None => Arc::default(),
    }
}

/// The address of a port of a machine.
fn ip(segment: usize, port: usize, machine: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, segment as u8, port as u8, machine as u8 + 1)
}

impl Cluster {
    /// Machines with one port each on one segment; their speakers run.
    pub(crate) fn new(seed: u64, machines: usize, timing: Timing) -> Self {
        let mut cluster = Cluster::built(seed, timing, &vec![vec![("lan".to_owned(), 0)]; machines]);
        (0..machines).for_each(|at| cluster.start(at));
        cluster
    }

    /// Machines with ports of these names on these segments; no speaker runs yet.
    pub(crate) fn built(seed: u64, timing: Timing, plan: &[Vec<(String, usize)>]) -> Self {
        let api = |n: usize| ApiNode {
            name: format!("node{n}"),
            ready: true,
            network_available: true,
            speaker: true,
            addresses: plan[n]
                .iter()
                .enumerate()
                .map(|(p, (_, segment))| ip(*segment, p, n).into())
                .collect(),
            ..ApiNode::default()
        };
        let nodes: Vec<ApiNode> = (0..plan.len()).map(api).collect();
        let now = Duration::from_secs(1000);
        let machine = |(n, ports): (usize, &Vec<(String, usize)>)| {
            let port = |(p, (name, segment)): (usize, &(String, usize))| Port {
                link: LinkIndex(p as u32 + 2),
                name: name.clone(),
                segment: *segment,
                mac: Mac([2, 0, 0, *segment as u8, n as u8, p as u8 + 1]),
                ip: ip(*segment, p, n),
                up: true,
                ups: 1,
            };
            Machine {
                name: format!("node{n}"),
                ports: ports.iter().enumerate().map(port).collect(),
                speaker: None,
                alive: true,
                frozen: None,
                waiting: VecDeque::new(),
                routine: VecDeque::new(),
                read: now,
                news: 0,
                epochs: 0,
                cut_since: None,
                cut_off: false,
                views: 0,
                fit: true,
                pending: BTreeSet::new(),
                clock: Clock::new(now),
                keys: keys(&[7]),
                keyless: false,
            }
        };
        Cluster {
            now,
            dice: Dice::new(seed),
            machines: plan.iter().enumerate().map(machine).collect(),
            segments: plan.iter().flatten().map(|(_, segment)| segment + 1).max().unwrap_or(0),
            happenings: BTreeMap::new(),
            count: 0,
            versions: vec![Version::new()],
            limits: BTreeMap::new(),
            roster: Arc::new(Roster::default().follow(&nodes)),
            nodes,
            timing,
            lag: 10,
            asking: ms(5),
            loss: 0.0,
            late: 0.0,
            twice: 0.0,
            cuts: BTreeSet::new(),
            hushed: BTreeSet::new(),
            transports: Transports::default(),
            dual: false,
            datagrams: 0,
            told: Vec::new(),
            cache: BTreeMap::new(),
            asked: BTreeMap::new(),
            recorded: VecDeque::new(),
            faults: Vec::new(),
            limit: Duration::from_secs(60),
            log: Vec::new(),
            trace: false,
        }
    }

    pub(crate) fn note(&mut self, what: String) {
        self.log
            .push(format!("{:>10.3} ms  {what}", (self.now - Duration::from_secs(1000)).as_secs_f64() * 1e3));
    }

    fn links(&self, at: usize) -> BTreeMap<LinkIndex, Link> {
        let up = self.machines[at].ports.iter().filter(|port| port.up);
        let second = |port: &Port| self.dual.then(|| IpAddr::V6(port.ip.to_ipv6_compatible()));
        let link = |port: &Port| Link {
            name: port.name.clone(),
            mac: port.mac,
            ups: port.ups,
            ipv6: self.dual,
            addresses: [IpAddr::V4(port.ip)].into_iter().chain(second(port)).collect(),
            networks: [IpNet::new(port.ip.into(), 16).unwrap()].into(),
        };
        up.map(|port| (port.link, link(port))).collect()
    }

    /// What the clock of a machine shows.
    fn at(&self, at: usize) -> Duration {
        self.machines[at].clock.shows(self.now)
    }

    pub(crate) fn schedule(&mut self, at: Duration, what: Happening) {
        self.count += 1;
        self.happenings.insert((at, self.count), what);
    }

    /// Notes what speakers say beside hellos.
    pub(crate) fn overhear(&mut self, sender: usize, segment: usize, to: &str, payload: &[u8]) {
        let Ok(message) = parse_payload(payload, &keys(&[7, 8])) else { return };
        match message.body {
            Body::Claims(claims) => {
                self.note(format!("{sender} on {segment} to {to}: {:?} {:?}", claims.kind, claims.entries));
            }
            Body::Want { .. } => {
                self.note(format!("{sender} on {segment} asks {to} for its claims"));
            }
            Body::Hello(hello) if hello.state != State::Active || hello.flags != Flags::default() => {
                self.note(format!("{sender} on {segment} to {to}: {:?} {:?}", hello.state, hello.flags));
            }
            _ => {}
        }
    }

    pub(crate) fn is_faulty(&self, at: usize, fault: Fault) -> bool {
        self.faults.contains(&(at, fault))
    }

    /// The nodes that the speaker of a machine should hear and does not.
    pub(crate) fn unheard_by(&self, at: usize) -> BTreeSet<(LinkIndex, Arc<str>)> {
        self.machines[at]
            .speaker
            .as_ref()
            .map(|speaker| speaker.unheard_nodes(self.at(at)))
            .unwrap_or_default()
    }

    /// The client begins to ask for an address on the first segment.
    pub(crate) fn ask(&mut self, address: Ipv4Addr) {
        self.ask_on(0, address);
    }

    /// The same on any.
    pub(crate) fn ask_on(&mut self, segment: usize, address: Ipv4Addr) {
        self.asked.insert((segment, address), self.now);
        self.schedule(self.now, Happening::Asks { segment, address });
    }

    /// The answers since then.
    pub(crate) fn since(&self, then: Duration, address: Ipv4Addr) -> Vec<Told> {
        self.told.iter().filter(|told| told.at >= then && told.address == address).copied().collect()
    }

    /// The longest time without an answer since then, and until now.
    pub(crate) fn gap(&self, then: Duration, address: Ipv4Addr) -> Duration {
        let times = self.since(then, address).into_iter().map(|told| told.at);
        let mut last = then;
        let mut gap = Duration::ZERO;
        for at in times.chain([self.now]) {
            gap = gap.max(at - last);
            last = at;
        }
        gap
    }

    /// Fails with the log.
    pub(crate) fn fail(&self, why: &str) -> ! {
        let tail = self.log.len().saturating_sub(if self.trace { 4000 } else { 80 });
        panic!("{why}\n{}", self.log[tail..].join("\n"));
    }
}
