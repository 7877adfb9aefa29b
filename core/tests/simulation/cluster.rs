//! The simulated cluster.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use ferrolb_core::announce::{Frame, Link, LinkIndex};
use ferrolb_core::election::{Change, Contest, Lost, Node as ApiNode, NodeId, Roster};
use ferrolb_core::hello_key::{Key, Keys};
use ferrolb_core::peers::Timing;
use ferrolb_core::speaker::{Config, Effect, Speaker};
use ferrolb_core::wire::arp::{self, Operation};
use ferrolb_core::wire::{Mac, is_hello};

pub(crate) const LAN: LinkIndex = LinkIndex(2);
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);
/// How often the client asks for each address.
const ASKING: Duration = Duration::from_millis(5);

pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Numbers that look random (splitmix64): the same for the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Dice(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub(crate) fn chance(&mut self, percent: f64) -> bool {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64 * 100.0 < percent
    }
}

/// One machine.
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) mac: Mac,
    pub(crate) ip: Ipv4Addr,
    /// The process of its speaker, while it runs.
    pub(crate) speaker: Option<Speaker>,
    /// Whether its kernel and ports work.
    pub(crate) alive: bool,
    /// Until when its speaker is stopped.
    pub(crate) frozen: Option<Duration>,
    /// What waits in its sockets meanwhile.
    waiting: VecDeque<Vec<u8>>,
    /// What of the API's news has reached it: how many of all.
    news: usize,
    epochs: u64,
    /// What it lacks: the API's news stay away.
    pub(crate) cut_off: bool,
    pub(crate) fit: bool,
}

enum Happening {
    Arrives { at: usize, frame: Vec<u8> },
    News { at: usize },
    Asks(Ipv4Addr),
}

/// What the API says, one version after the other.
type Version = BTreeMap<IpAddr, Vec<usize>>;

/// An answer that the client got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) at: Duration,
    pub(crate) address: Ipv4Addr,
    /// The machine whose Ethernet address the answer names.
    pub(crate) owner: usize,
    /// The machine that sent it.
    pub(crate) by: usize,
}

pub(crate) struct Cluster {
    pub(crate) now: Duration,
    pub(crate) dice: Dice,
    pub(crate) machines: Vec<Machine>,
    happenings: BTreeMap<(Duration, u64), Happening>,
    count: u64,
    versions: Vec<Version>,
    roster: Arc<Roster>,
    keys: Arc<Keys>,
    timing: Timing,
    pub(crate) lag: u64,
    /// The percentage of frames lost on each way.
    pub(crate) loss: f64,
    /// From whom to whom nothing gets.
    pub(crate) cuts: BTreeSet<(usize, usize)>,
    pub(crate) told: Vec<Told>,
    pub(crate) announced: Vec<(Duration, usize, Ipv4Addr)>,
    pub(crate) asked: Vec<Ipv4Addr>,
    pub(crate) log: Vec<String>,
}

const CLIENT: Mac = Mac([2, 0, 0, 0, 0xff, 1]);

impl Cluster {
    pub(crate) fn new(seed: u64, machines: usize, timing: Timing) -> Self {
        let nodes: Vec<ApiNode> = (0..machines)
            .map(|n| ApiNode {
                name: format!("node{n}"),
                ready: true,
                network_available: true,
                ..ApiNode::default()
            })
            .collect();
        let machine = |n: usize| Machine {
            name: format!("node{n}"),
            mac: Mac([2, 0, 0, 0, 0, n as u8 + 1]),
            ip: Ipv4Addr::new(10, 0, 0, n as u8 + 1),
            speaker: None,
            alive: true,
            frozen: None,
            waiting: VecDeque::new(),
            news: 0,
            epochs: 0,
            cut_off: false,
            fit: true,
        };
        let mut cluster = Cluster {
            now: Duration::from_secs(1000),
            dice: Dice::new(seed),
            machines: (0..machines).map(machine).collect(),
            happenings: BTreeMap::new(),
            count: 0,
            versions: vec![Version::new()],
            roster: Arc::new(Roster::default().follow(&nodes)),
            keys: Arc::new(Keys::new(Key::new([7; 32]), []).unwrap()),
            timing,
            lag: 10,
            loss: 0.0,
            cuts: BTreeSet::new(),
            told: Vec::new(),
            announced: Vec::new(),
            asked: Vec::new(),
            log: Vec::new(),
        };
        for at in 0..machines {
            cluster.start(at);
        }
        cluster
    }

    fn note(&mut self, what: String) {
        self.log
            .push(format!("{:>10.3} ms  {what}", (self.now - Duration::from_secs(1000)).as_secs_f64() * 1e3));
    }

    /// Starts the speaker of a machine.
    pub(crate) fn start(&mut self, at: usize) {
        self.note(format!("speaker {at} starts"));
        let machine = &mut self.machines[at];
        machine.epochs += 1;
        let mut speaker = Speaker::new(Config {
            node: machine.name.as_str().into(),
            epoch: machine.epochs * 1000 + at as u64,
            timing: self.timing,
            refresh: None,
            stand_in_limit: Duration::from_secs(60),
        });
        let link = Link {
            name: "lan".to_owned(),
            mac: machine.mac,
            ups: 1,
            ipv6: false,
            addresses: [IpAddr::V4(machine.ip)].into(),
        };
        speaker.set_keys(self.keys.clone(), self.now);
        speaker.handle_links([(LAN, link)].into(), self.now);
        speaker.set_unfit(!machine.fit, self.now);
        machine.speaker = Some(speaker);
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

    /// The speaker is stopped until then.
    pub(crate) fn freeze(&mut self, at: usize, length: Duration) {
        self.note(format!("speaker {at} is stopped for {length:?}"));
        self.machines[at].frozen = Some(self.now + length);
    }

    /// The speaker is asked to end, and does when it is done.
    pub(crate) fn end(&mut self, at: usize, away: bool) {
        self.note(format!("speaker {at} ends, away: {away}"));
        let now = self.now;
        if let Some(speaker) = &mut self.machines[at].speaker {
            speaker.end(away, now);
        }
        self.act(at);
    }

    /// From now on the API says this: for each address its nodes in order.
    pub(crate) fn publish(&mut self, version: Version) {
        self.note(format!("the API says {version:?}"));
        self.versions.push(version);
        for at in 0..self.machines.len() {
            let delay = Duration::from_micros(self.dice.below(self.lag * 1000));
            self.schedule(self.now + delay, Happening::News { at });
        }
    }

    /// Tells a speaker what the API says.
    pub(crate) fn tell(&mut self, at: usize) {
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
                let ids = order.iter().map(|n| self.roster.id(&format!("node{n}")).unwrap());
                Arc::new(Contest::among(ids.collect::<Vec<NodeId>>(), Vec::new()))
            });
            changes.push(Change { address: *address, contest: contest.ok_or(Lost::Released) });
        }
        machine.news = self.versions.len() - 1;
        speaker.handle_news(self.roster.clone(), &changes, self.now);
        self.act(at);
    }

    fn schedule(&mut self, at: Duration, what: Happening) {
        self.count += 1;
        self.happenings.insert((at, self.count), what);
    }

    /// Sends a frame from a machine, or from the client, to all that it is for.
    fn send(&mut self, from: Option<usize>, frame: &[u8]) {
        let to = Mac(frame[..6].try_into().unwrap());
        for at in 0..self.machines.len() {
            let for_it = to.is_group() || to == self.machines[at].mac;
            if Some(at) == from || !for_it || from.is_some_and(|from| self.cuts.contains(&(from, at))) {
                continue;
            }
            if self.dice.chance(self.loss) {
                continue;
            }
            let delay = Duration::from_micros(20 + self.dice.below(300));
            self.schedule(self.now + delay, Happening::Arrives { at, frame: frame.to_vec() });
        }
        if let Some(from) = from
            && (to == CLIENT || to.is_group())
            && let Ok(Frame::Arp(packet)) = Frame::parse(frame)
        {
            let owner = self.machines.iter().position(|machine| machine.mac == packet.sender.mac).unwrap();
            if to == CLIENT {
                self.told.push(Told { at: self.now, address: packet.sender.ip, owner, by: from });
            } else if packet.sender.ip == packet.target.ip && packet.operation == Operation::Request {
                self.announced.push((self.now, from, packet.sender.ip));
                let name = format!("{} announced by {from}", packet.sender.ip);
                self.note(name);
            }
        }
    }

    /// Takes what a speaker has to do.
    fn act(&mut self, at: usize) {
        if self.machines[at].frozen.is_some() {
            return;
        }
        let mut taken = 0;
        loop {
            let now = self.now;
            let Some(speaker) = &mut self.machines[at].speaker else { return };
            let Some(effect) = speaker.next_effect(now) else { break };
            taken += 1;
            assert!(taken < 100_000, "effects never end");
            match effect {
                Effect::Send { frame, .. } => {
                    if self.machines[at].alive {
                        self.send(Some(at), &frame);
                    }
                }
                Effect::Drain => self.machines[at].waiting.clear(),
                Effect::CheckView => {
                    let cut_off = self.machines[at].cut_off;
                    let speaker = self.machines[at].speaker.as_mut().unwrap();
                    if !cut_off {
                        speaker.set_stale(false, now);
                    }
                    self.tell(at);
                }
                Effect::AskProxy { .. }
                | Effect::Join(..)
                | Effect::Leave(..)
                | Effect::Announcing { .. } => {}
            }
        }
        if self.machines[at].speaker.as_ref().is_some_and(|speaker| speaker.is_done(self.now)) {
            self.note(format!("speaker {at} has ended"));
            self.machines[at].speaker = None;
        }
    }

    fn arrives(&mut self, at: usize, frame: Vec<u8>) {
        if !self.machines[at].alive {
            return;
        }
        // The kernel's own answer.
        if let Ok(Frame::Arp(packet)) = Frame::parse(&frame)
            && packet.operation == Operation::Request
            && packet.target.ip == self.machines[at].ip
        {
            let answer = packet.answer(self.machines[at].mac).build();
            self.send(Some(at), &answer);
        }
        if self.machines[at].frozen.is_some() {
            self.machines[at].waiting.push_back(frame);
            return;
        }
        self.handle(at, &frame);
    }

    fn handle(&mut self, at: usize, frame: &[u8]) {
        let now = self.now;
        let Some(speaker) = &mut self.machines[at].speaker else { return };
        if let Ok(Some(answer)) = speaker.handle_frame(LAN, frame, now) {
            self.send(Some(at), &answer.frame);
        } else if !is_hello(frame) && Frame::parse(frame).is_err() {
            return;
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
                    Some(until) => until,
                    None => machine.speaker.as_ref()?.next_deadline()?,
                };
                Some((time, at))
            });
            let wake = wakes.min();
            let next = [happening, wake.map(|(time, _)| time)].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if happening == Some(next) {
                let ((_, _), happening) = self.happenings.pop_first().unwrap();
                match happening {
                    Happening::Arrives { at, frame } => self.arrives(at, frame),
                    Happening::News { at } => {
                        if self.machines[at].frozen.is_some() {
                            let later = self.machines[at].frozen.unwrap() + Duration::from_micros(1);
                            self.schedule(later, Happening::News { at });
                        } else {
                            self.tell(at);
                        }
                    }
                    Happening::Asks(address) => {
                        if self.asked.contains(&address) {
                            let question =
                                arp::request(CLIENT, Ipv4Addr::new(10, 0, 0, 250), address).build();
                            self.send(None, &question);
                            self.schedule(self.now + ASKING, Happening::Asks(address));
                        }
                    }
                }
            } else if let Some((_, at)) = wake {
                if self.machines[at].frozen.take().is_some() {
                    self.note(format!("speaker {at} goes on"));
                    // What waited is read in its order; what is due may come first or later.
                    let waiting = std::mem::take(&mut self.machines[at].waiting);
                    let first = self.dice.chance(50.0);
                    if first {
                        self.machines[at].waiting = waiting;
                        self.act(at);
                        let waiting = std::mem::take(&mut self.machines[at].waiting);
                        waiting.iter().for_each(|frame| self.handle(at, frame));
                    } else {
                        self.machines[at].waiting = waiting;
                        while let Some(frame) = self.machines[at].waiting.pop_front() {
                            self.handle(at, &frame);
                        }
                        self.act(at);
                    }
                } else {
                    self.act(at);
                }
            }
        }
        self.now = end;
    }

    /// The client begins to ask for an address.
    pub(crate) fn ask(&mut self, address: Ipv4Addr) {
        self.asked.push(address);
        self.schedule(self.now, Happening::Asks(address));
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
        let tail = self.log.len().saturating_sub(80);
        panic!("{why}\n{}", self.log[tail..].join("\n"));
    }
}
