//! The simulated cluster.

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
use ferrolb_core::wire::hello::{Body, Flags, State, parse_payload};
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
    /// What waits in its sockets meanwhile, by port.
    waiting: VecDeque<(usize, Packet)>,
    /// What of the API's news has reached it: how many of all.
    news: usize,
    epochs: u64,
    /// Since when the API's news stay away.
    cut_since: Option<Duration>,
    pub(crate) cut_off: bool,
    /// How many answers it awaits to its question whether it knows what the API says.
    views: u32,
    pub(crate) fit: bool,
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
                news: 0,
                epochs: 0,
                cut_since: None,
                cut_off: false,
                views: 0,
                fit: true,
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
        let link = |port: &Port| Link {
            name: port.name.clone(),
            mac: port.mac,
            ups: port.ups,
            ipv6: false,
            addresses: [IpAddr::V4(port.ip)].into(),
            networks: [IpNet::new(port.ip.into(), 16).unwrap()].into(),
        };
        up.map(|port| (port.link, link(port))).collect()
    }

    /// What the clock of a machine shows.
    fn at(&self, at: usize) -> Duration {
        self.machines[at].clock.shows(self.now)
    }

    /// Starts the speaker of a machine.
    pub(crate) fn start(&mut self, at: usize) {
        self.note(format!("speaker {at} starts"));
        let (now, links) = (self.at(at), self.links(at));
        let machine = &mut self.machines[at];
        machine.epochs += 1;
        let mut speaker = Speaker::new(Config {
            node: machine.name.as_str().into(),
            epoch: machine.epochs * 1000 + at as u64,
            timing: self.timing,
            refresh: None,
            stand_in_limit: self.limit,
            conflict_detection: false,
            transports: self.transports,
        });
        speaker.set_keys(machine.keys.clone(), now);
        speaker.handle_links(links, now);
        speaker.set_unfit(!machine.fit, now);
        (machine.speaker, machine.views) = (Some(speaker), 0);
        machine.news = 0;
        self.tell(at);
    }

    /// Ends the speaker of a machine without a word.
    pub(crate) fn kill(&mut self, at: usize) {
        self.note(format!("speaker {at} is killed"));
        self.machines[at].speaker = None;
        self.machines[at].waiting.clear();
        self.machines[at].frozen = None;
    }

    /// The machine loses its power.
    pub(crate) fn crash(&mut self, at: usize) {
        self.kill(at);
        self.note(format!("machine {at} dies"));
        self.machines[at].alive = false;
    }

    /// It starts again.
    pub(crate) fn boot(&mut self, at: usize) {
        self.machines[at].alive = true;
        self.start(at);
    }

    /// The speaker is stopped for so long.
    pub(crate) fn freeze(&mut self, at: usize, length: Duration) {
        self.note(format!("speaker {at} is stopped for {length:?}"));
        self.machines[at].frozen = Some(Frozen { since: self.now, until: self.now + length, whole: false });
    }

    /// The whole machine stands still, and its clock.
    pub(crate) fn suspend(&mut self, at: usize, length: Duration) {
        self.note(format!("machine {at} stands still for {length:?}"));
        self.machines[at].frozen = Some(Frozen { since: self.now, until: self.now + length, whole: true });
    }

    /// The speaker is asked to end, and does when it is done.
    pub(crate) fn end(&mut self, at: usize, away: bool) {
        self.note(format!("speaker {at} ends, away: {away}"));
        let now = self.at(at);
        if let Some(speaker) = &mut self.machines[at].speaker {
            speaker.end(away, now);
        }
        self.act(at);
    }

    /// Traffic that comes to the machine is served, or not.
    pub(crate) fn serve(&mut self, at: usize, fit: bool) {
        self.note(format!("machine {at} serves: {fit}"));
        self.machines[at].fit = fit;
        let now = self.at(at);
        if let Some(speaker) = &mut self.machines[at].speaker {
            speaker.set_unfit(!fit, now);
        }
        self.act(at);
    }

    /// A port loses its carrier, or has it again.
    pub(crate) fn plug(&mut self, at: usize, port: usize, up: bool) {
        self.note(format!("port {port} of machine {at} up: {up}"));
        let known = &mut self.machines[at].ports[port];
        known.ups += u64::from(up && !known.up);
        known.up = up;
        let (now, links) = (self.at(at), self.links(at));
        if let Some(speaker) = &mut self.machines[at].speaker {
            speaker.handle_links(links, now);
        }
        self.act(at);
    }

    /// The machine gets these keys.
    pub(crate) fn give(&mut self, at: usize, keys: Arc<Keys>) {
        let ids: Vec<String> = keys.ids().map(|id| id.to_string()).collect();
        self.note(format!("machine {at} has keys {ids:?}, current {:?}", keys.current().map(Key::id)));
        let now = self.at(at);
        self.machines[at].keys = keys.clone();
        if let Some(speaker) = &mut self.machines[at].speaker {
            speaker.set_keys(keys, now);
        }
        self.act(at);
    }

    /// The API server's news no longer reach a machine, or do again.
    pub(crate) fn cut_api(&mut self, at: usize, cut: bool) {
        self.note(format!("machine {at} is cut off from the API: {cut}"));
        self.machines[at].cut_off = cut;
        self.machines[at].cut_since = cut.then_some(self.now);
        if !cut {
            self.look(at);
        }
    }

    /// A machine's clock is ahead by so much more.
    pub(crate) fn jump(&mut self, at: usize, by: Duration) {
        self.note(format!("the clock of machine {at} jumps by {by:?}"));
        let now = self.now;
        self.machines[at].clock.jump(now, by);
    }

    /// Whether its view is out of date is asked each second.
    pub(crate) fn watch(&mut self) {
        for at in 0..self.machines.len() {
            self.schedule(self.now, Happening::Looks { at });
        }
    }

    fn look(&mut self, at: usize) {
        if self.machines[at].frozen.is_some() {
            return;
        }
        let now = self.at(at);
        let (cut_off, since) = (self.machines[at].cut_off, self.machines[at].cut_since);
        let stale = cut_off && since.is_none_or(|since| since + Duration::from_secs(5) <= self.now);
        let awaited = self.machines[at].views > 0;
        let Some(speaker) = &mut self.machines[at].speaker else { return };
        // After a pause only the answer to the question that was asked then counts.
        if !awaited && (stale || !cut_off) {
            speaker.set_stale(stale, now);
        }
        self.tell(at);
    }

    /// The API was read after a pause, and the watches had their time to show what waited.
    fn know(&mut self, at: usize, session: u64) {
        let now = self.at(at);
        let machine = &mut self.machines[at];
        let Some(speaker) = machine.speaker.as_mut().filter(|_| machine.epochs == session) else { return };
        machine.views -= 1;
        if machine.views == 0 && !machine.cut_off {
            speaker.set_stale(false, now);
        }
        self.tell(at);
    }

    /// From now on the API says this: for each address its nodes in order.
    pub(crate) fn publish(&mut self, version: Version) {
        self.note(format!("the API says {version:?}"));
        self.versions.push(version);
        self.spread();
    }

    /// The news come to each machine after a while.
    fn spread(&mut self) {
        for at in 0..self.machines.len() {
            let delay = Duration::from_micros(self.dice.below(self.lag * 1000));
            self.schedule(self.now + delay, Happening::News { at });
        }
    }

    /// Tells a speaker what the API says.
    pub(crate) fn tell(&mut self, at: usize) {
        let now = self.at(at);
        let machine = &mut self.machines[at];
        if machine.cut_off {
            return;
        }
        let Some(speaker) = &mut machine.speaker else { return };
        let (before, after) = (&self.versions[machine.news], &self.versions[self.versions.len() - 1]);
        let mut changes = Vec::new();
        for address in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
            if before.get(address) == after.get(address) {
                continue;
            }
            let contest = after.get(address).filter(|order| !order.is_empty()).map(|order| {
                let entry = |n: &usize| {
                    let id = self.roster.id(&format!("node{n}")).unwrap();
                    (id, self.limits.get(&(*address, *n)).cloned().unwrap_or(Interfaces::All))
                };
                Arc::new(Contest::limited(order.iter().map(entry), Vec::new()))
            });
            changes.push(Change { address: *address, contest: contest.ok_or(Lost::Released) });
        }
        machine.news = self.versions.len() - 1;
        speaker.handle_news(self.roster.clone(), &changes, now);
        self.act(at);
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

    /// Takes what a speaker has to do.
    pub(crate) fn act(&mut self, at: usize) {
        if self.machines[at].frozen.is_some() {
            return;
        }
        let mut taken = 0;
        loop {
            let now = self.at(at);
            let Some(speaker) = &mut self.machines[at].speaker else { return };
            let Some(effect) = speaker.next_effect(now) else { break };
            taken += 1;
            if taken > 100_000 {
                self.fail("effects never end");
            }
            match effect {
                Effect::Send { frame, link, .. } => {
                    let port = self.machines[at].ports.iter().position(|port| port.link == link).unwrap();
                    let (up, segment) =
                        (self.machines[at].ports[port].up, self.machines[at].ports[port].segment);
                    if self.machines[at].alive && up {
                        self.send(Some((at, port)), segment, &frame);
                    }
                }
                Effect::Datagram { link, to, payload, .. } => {
                    let port = self.machines[at].ports.iter().position(|port| port.link == link).unwrap();
                    if self.machines[at].alive && self.machines[at].ports[port].up {
                        self.send_datagram((at, port), to, &payload);
                    }
                }
                Effect::Transport { node, interface, by, .. } => {
                    self.note(format!("{at} hears {node}/{interface} by {by:?}"));
                }
                Effect::Drain => self.machines[at].waiting.clear(),
                Effect::CheckView => {
                    let machine = &mut self.machines[at];
                    machine.views += 1;
                    let session = machine.epochs;
                    self.schedule(self.now + CATCH_UP, Happening::Knows { at, session });
                }
                Effect::Conflict { .. }
                | Effect::AskProxy { .. }
                | Effect::Join(..)
                | Effect::Leave(..)
                | Effect::Announcing { .. } => {}
            }
        }
        let now = self.at(at);
        if self.machines[at].speaker.as_ref().is_some_and(|speaker| speaker.is_done(now)) {
            self.note(format!("speaker {at} has ended"));
            self.machines[at].speaker = None;
        }
        let Some(speaker) = &self.machines[at].speaker else { return };
        let keyless = speaker.is_keyless(now);
        if std::mem::replace(&mut self.machines[at].keyless, keyless) != keyless {
            let write = ms(20 + self.dice.below(300));
            self.schedule(self.now + write, Happening::Says { at, keyless });
        }
    }

    fn arrives(&mut self, at: usize, port: usize, packet: Packet) {
        if !self.machines[at].alive || !self.machines[at].ports[port].up {
            return;
        }
        if self.machines[at].frozen.is_some_and(|frozen| frozen.whole) {
            // Its card holds few frames.
            if self.machines[at].waiting.len() < 64 {
                self.machines[at].waiting.push_back((port, packet));
            }
            return;
        }
        // The kernel's own answer.
        if let Packet::Frame(frame) = &packet
            && let Ok(Frame::Arp(question)) = Frame::parse(frame)
            && question.operation == Operation::Request
            && question.target.ip == self.machines[at].ports[port].ip
        {
            let answer = question.answer(self.machines[at].ports[port].mac).build();
            let segment = self.machines[at].ports[port].segment;
            self.send(Some((at, port)), segment, &answer);
        }
        if self.machines[at].frozen.is_some() {
            self.machines[at].waiting.push_back((port, packet));
            return;
        }
        self.handle(at, port, &packet);
    }

    fn handle(&mut self, at: usize, port: usize, packet: &Packet) {
        let now = self.at(at);
        let (link, segment) = (self.machines[at].ports[port].link, self.machines[at].ports[port].segment);
        let Some(speaker) = &mut self.machines[at].speaker else { return };
        let frame = match packet {
            Packet::Datagram(from, payload) => {
                let _ = speaker.handle_datagram(link, *from, payload, now);
                return self.act(at);
            }
            Packet::Frame(frame) => frame,
        };
        if let Ok(Some(answer)) = speaker.handle_frame(link, frame, now) {
            self.send(Some((at, port)), segment, &answer.frame);
        } else if !is_hello(frame) && Frame::parse(frame).is_err() {
            return;
        }
        self.act(at);
    }

    /// A machine goes on that stood still.
    fn thaw(&mut self, at: usize, frozen: Frozen) {
        self.note(format!("{at} goes on"));
        let held = self.is_faulty(at, Fault::NoPause);
        if frozen.whole || held {
            let now = self.now;
            self.machines[at].clock.stood(frozen.since, now);
        }
        // What waited is read in its order; what is due may come first or later.
        if self.dice.chance(50.0) {
            self.act(at);
        }
        while let Some((port, packet)) = self.machines[at].waiting.pop_front() {
            if frozen.whole {
                self.arrives(at, port, packet);
            } else {
                self.handle(at, port, &packet);
            }
        }
        self.act(at);
    }

    /// Lets so much time pass.
    pub(crate) fn run(&mut self, length: Duration) {
        let end = self.now + length;
        let mut standing = (self.now, 0);
        loop {
            standing = if standing.0 == self.now { (self.now, standing.1 + 1) } else { (self.now, 0) };
            if standing.1 > 10_000 {
                self.fail("time stands still");
            }
            let happening = self.happenings.first_key_value().map(|((at, _), _)| *at);
            let wakes = self.machines.iter().enumerate().filter_map(|(at, machine)| {
                let time = match machine.frozen {
                    Some(frozen) => frozen.until,
                    None => machine.clock.when(machine.speaker.as_ref()?.next_deadline()?),
                };
                Some((time, at))
            });
            let wake = wakes.min();
            let next = [happening, wake.map(|(time, _)| time)].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if happening == Some(next) {
                if let Some((_, happening)) = self.happenings.pop_first() {
                    self.happen(happening);
                }
            } else if let Some((_, at)) = wake {
                match self.machines[at].frozen.take() {
                    Some(frozen) => self.thaw(at, frozen),
                    None => self.act(at),
                }
            }
        }
        self.now = end;
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrives { at, port, packet } => self.arrives(at, port, packet),
            Happening::Reaches { segment, frame } => self.reaches(segment, &frame),
            Happening::News { at } => match self.machines[at].frozen {
                Some(frozen) => {
                    self.schedule(frozen.until + Duration::from_micros(1), Happening::News { at });
                }
                None => self.tell(at),
            },
            Happening::Says { at, keyless } => {
                self.note(format!("the API says that machine {at} has no key: {keyless}"));
                self.nodes[at].keyless = keyless;
                self.roster = Arc::new(self.roster.follow(&self.nodes));
                self.spread();
            }
            Happening::Looks { at } => {
                self.look(at);
                self.schedule(self.now + Duration::from_secs(1), Happening::Looks { at });
            }
            Happening::Knows { at, session } => match self.machines[at].frozen {
                Some(frozen) => {
                    let then = frozen.until + Duration::from_micros(1);
                    self.schedule(then, Happening::Knows { at, session });
                }
                None => self.know(at, session),
            },
            Happening::Asks { segment, address } => {
                self.asked.insert((segment, address), self.now);
                let mine = Ipv4Addr::new(10, segment as u8, 0, 250);
                self.send(None, segment, &arp::request(CLIENT, mine, address).build());
                self.schedule(self.now + self.asking, Happening::Asks { segment, address });
            }
        }
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
