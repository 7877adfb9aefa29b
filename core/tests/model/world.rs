//! Three machines, their kernels and speakers, and the network between them, at one moment.
//!
//! Nothing here is by chance: a frame takes a millisecond, clocks agree, and what happens beside that the search decides.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ferrolb_core::announce::{Frame, Link, LinkIndex};
use ferrolb_core::election::{Change, Contest, Lost};
use ferrolb_core::outline::Outline;
use ferrolb_core::peers::Timing;
use ferrolb_core::speaker::{Config, Effect, Sent, Speaker, Transports};
use ferrolb_core::wire::arp::Operation;
use ferrolb_core::wire::hello::{Body, Flags, State, parse_frame};
use ferrolb_core::wire::{Mac, is_hello};

use crate::judge::Judge;
use crate::setting::{Flaw, ORDERS, Setting, address, ip, mac};

pub(crate) const NODES: usize = 3;
pub(crate) const ADDRESSES: usize = 2;
pub(crate) const SEGMENTS: usize = 2;
pub(crate) const TIMING: Timing = Timing { interval: Duration::from_millis(100), misses: 3 };
/// How long a node is stood in for here: longer than it takes to notice silence, and short enough to see the end of it.
pub(crate) const STAND_IN_LIMIT: Duration = Duration::from_millis(600);
/// How long a frame takes.
const DELAY: Duration = Duration::from_millis(1);
/// A socket holds so many frames.
const WAITING: usize = 64;

pub(crate) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// One machine.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) speaker: Option<Speaker>,
    /// Whether its kernel works.
    pub(crate) alive: bool,
    /// Since when its speaker is stopped.
    pub(crate) stopped: Option<Duration>,
    /// Whether its speaker is ending.
    pub(crate) ending: bool,
    /// Since when the API's news stay away.
    pub(crate) cut_off: Option<Duration>,
    /// What came since, as far as it will be read.
    pub(crate) waiting: VecDeque<(usize, Arc<[u8]>)>,
    sessions: u64,
    version: Option<usize>,
    /// How far its clock is behind, by a flaw.
    behind: Duration,
    /// With whose Ethernet address it answers.
    pub(crate) answers: [[Option<usize>; ADDRESSES]; SEGMENTS],
}

impl Node {
    /// Whether it can own something now.
    pub(crate) fn works(&self) -> bool {
        self.alive && self.speaker.is_some() && self.stopped.is_none() && !self.ending
    }

    /// Whether any peer ever counted for it on a segment.
    pub(crate) fn has_heard(&self, segment: usize) -> bool {
        let link = LinkIndex(segment as u32);
        let speaker = self.speaker.as_ref();
        speaker.is_some_and(|speaker| speaker.peers().any(|(of, peers)| of == link && peers.ever()))
    }
}

/// A frame that is on its way.
#[derive(Clone)]
struct Flight {
    at: Duration,
    to: usize,
    segment: usize,
    frame: Arc<[u8]>,
}

/// A frame that is to be lost: the next of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) segment: usize,
    pub(crate) what: Sent,
}

/// One moment.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) setting: Arc<Setting>,
    pub(crate) now: Duration,
    pub(crate) nodes: [Node; NODES],
    /// From whom to whom nothing gets.
    pub(crate) cuts: [[[bool; NODES]; NODES]; SEGMENTS],
    pub(crate) version: usize,
    pub(crate) loss: Option<Loss>,
    flights: VecDeque<Flight>,
    pub(crate) judge: Judge,
    /// What happens, where somebody wants to read it.
    pub(crate) log: Option<Vec<String>>,
}

impl World {
    /// Speakers start after so many milliseconds each, and three seconds pass.
    pub(crate) fn new(setting: Setting, starts: [u64; NODES]) -> Self {
        let node = Node {
            speaker: None,
            alive: true,
            stopped: None,
            ending: false,
            cut_off: None,
            waiting: VecDeque::new(),
            sessions: 0,
            version: None,
            behind: Duration::ZERO,
            answers: Default::default(),
        };
        let mut world = World {
            setting: Arc::new(setting),
            now: Duration::from_secs(1000),
            nodes: [node.clone(), node.clone(), node],
            cuts: Default::default(),
            version: 0,
            loss: None,
            flights: VecDeque::new(),
            judge: Judge::default(),
            log: None,
        };
        let begin = world.now;
        let mut order: Vec<usize> = (0..NODES).collect();
        order.sort_by_key(|at| starts[*at]);
        for at in order {
            world.run_until(begin + ms(starts[at]));
            world.start(at);
        }
        world.run_until(begin + Duration::from_secs(3));
        world.judge = Judge::default();
        world
    }

    pub(crate) fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            let at = (self.now.as_secs_f64() - 1000.0) * 1e3;
            log.push(format!("{at:>10.1} ms  {}", what()));
        }
    }

    fn clock(&self, at: usize) -> Duration {
        self.now - self.nodes[at].behind
    }

    /// Starts the speaker of a machine.
    pub(crate) fn start(&mut self, at: usize) {
        let now = self.clock(at);
        let node = &mut self.nodes[at];
        node.alive = true;
        node.sessions += 1;
        let mut speaker = Speaker::new(Config {
            node: format!("node{at}").into(),
            epoch: node.sessions * NODES as u64 + at as u64,
            timing: TIMING,
            refresh: None,
            stand_in_limit: STAND_IN_LIMIT,
            conflict_detection: false,
            transports: Transports::Ethernet,
        });
        speaker.set_keys(self.setting.keys.clone(), now);
        let link = |segment: usize| Link {
            name: format!("lan{segment}"),
            mac: mac(at, segment),
            ups: 1,
            ipv6: false,
            addresses: [IpAddr::V4(ip(at, segment))].into(),
            networks: Box::default(),
        };
        let links: BTreeMap<LinkIndex, Link> =
            (0..self.setting.segments).map(|segment| (LinkIndex(segment as u32), link(segment))).collect();
        speaker.handle_links(links, now);
        node.speaker = Some(speaker);
        node.version = None;
        self.tell(at);
        self.act(at);
    }

    /// Ends the speaker of a machine without a word.
    pub(crate) fn kill(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        (node.speaker, node.stopped, node.ending) = (None, None, false);
        node.waiting.clear();
        self.silence(at);
    }

    /// The machine loses its power.
    pub(crate) fn crash(&mut self, at: usize) {
        self.kill(at);
        self.nodes[at].alive = false;
    }

    pub(crate) fn stop(&mut self, at: usize) {
        self.nodes[at].stopped = Some(self.now);
        self.silence(at);
    }

    /// A stopped speaker goes on. A client's question has waited for it, and is the first that it reads.
    pub(crate) fn go_on(&mut self, at: usize) {
        let Some(since) = self.nodes[at].stopped.take() else { return };
        if self.setting.flaw == Some(Flaw::NoPause) {
            self.nodes[at].behind += self.now - since;
        }
        self.listen(at);
        while let Some((segment, frame)) = self.nodes[at].waiting.pop_front() {
            self.handle(at, segment, &frame);
        }
        self.act(at);
    }

    /// The speaker is asked to end, and does when it is done.
    pub(crate) fn end(&mut self, at: usize, away: bool) {
        let now = self.clock(at);
        self.nodes[at].ending = true;
        if let Some(speaker) = &mut self.nodes[at].speaker {
            speaker.end(away, now);
        }
        self.act(at);
    }

    /// Tells a speaker what the API says, if that reaches it.
    pub(crate) fn tell(&mut self, at: usize) {
        let now = self.clock(at);
        let World { setting, nodes, version, .. } = self;
        let node = &mut nodes[at];
        if node.cut_off.is_some() || node.stopped.is_some() || node.version == Some(*version) {
            return;
        }
        let Some(speaker) = &mut node.speaker else { return };
        let known = node.version.replace(*version);
        let contests = setting.contests[*version].iter().enumerate();
        let contests =
            contests.filter(|(of, _)| known.is_none_or(|known| ORDERS[known][*of] != ORDERS[*version][*of]));
        let change = |(of, contest): (usize, &Arc<Contest>)| Change {
            address: address(of).into(),
            contest: Ok::<_, Lost>(contest.clone()),
        };
        let changes: Vec<Change> = contests.map(change).collect();
        speaker.handle_news(setting.roster.clone(), &changes, now);
    }

    /// From now on the API says that; it reaches all who are not cut off.
    pub(crate) fn publish(&mut self, version: usize) {
        self.version = version;
        for at in 0..NODES {
            self.tell(at);
            self.act(at);
        }
    }

    /// Takes what a speaker has to do, and what it answers from then on.
    pub(crate) fn act(&mut self, at: usize) {
        let now = self.clock(at);
        for taken in 0.. {
            let node = &mut self.nodes[at];
            if node.stopped.is_some() {
                return;
            }
            let Some(speaker) = &mut node.speaker else { return };
            let Some(effect) = speaker.next_effect(now) else { break };
            assert!(taken < 10_000, "effects never end");
            match effect {
                Effect::Send { frame, link, what } => self.send(at, link.0 as usize, frame, what),
                Effect::Drain => self.nodes[at].waiting.clear(),
                Effect::CheckView if self.nodes[at].cut_off.is_none() => {
                    if let Some(speaker) = &mut self.nodes[at].speaker {
                        speaker.set_stale(false, now);
                    }
                    self.tell(at);
                }
                _ => {}
            }
        }
        if self.nodes[at].speaker.as_ref().is_some_and(|speaker| speaker.is_done(now)) {
            self.note(|| format!("speaker {at} has ended"));
            self.kill(at);
        }
        self.listen(at);
    }

    /// Sends what other speakers and kernels are to hear.
    fn send(&mut self, from: usize, segment: usize, frame: Vec<u8>, what: Sent) {
        if !matches!(what, Sent::Hello | Sent::Claims | Sent::Question) {
            self.note(|| format!("{from} on {segment}: {what:?}"));
            return;
        }
        if what == Sent::Claims && self.setting.flaw == Some(Flaw::NoClaims) {
            return;
        }
        if self.log.is_some() {
            self.overhear(from, segment, &frame);
        }
        let to = Mac(frame[..6].try_into().unwrap());
        let frame: Arc<[u8]> = frame.into();
        for at in (0..NODES).filter(|at| *at != from) {
            if to.is_group() || to == mac(at, segment) {
                self.fly(from, at, segment, frame.clone(), what);
            }
        }
    }

    fn fly(&mut self, from: usize, to: usize, segment: usize, frame: Arc<[u8]>, what: Sent) {
        if !self.nodes[to].alive || self.cuts[segment][from][to] {
            return;
        }
        if self.loss == Some(Loss { from, to, segment, what }) {
            self.note(|| format!("{what:?} from {from} to {to} on {segment} is lost"));
            self.loss = None;
            return;
        }
        self.flights.push_back(Flight { at: self.now + DELAY, to, segment, frame });
    }

    /// Notes what speakers say, but hellos in which nothing is special.
    fn overhear(&mut self, from: usize, segment: usize, frame: &[u8]) {
        let Ok(received) = parse_frame(frame, &self.setting.keys) else {
            self.note(|| format!("{from} on {segment} asks a kernel"));
            return;
        };
        let to = (0..NODES).find(|at| mac(*at, segment) == received.destination);
        let to = to.map_or(String::new(), |to| format!(" to {to}"));
        match received.message.body {
            Body::Hello(hello) if hello.state == State::Active && hello.flags == Flags::default() => {
                let mutual = hello.peers.iter().filter(|heard| heard.mutual).count();
                let (all, claims) = (hello.peers.len(), hello.claims.count);
                self.note(|| {
                    format!("{from} on {segment}{to}: hello, hears {all}, {mutual} mutually, claims {claims}")
                });
            }
            Body::Hello(hello) => {
                self.note(|| format!("{from} on {segment}{to}: hello, {:?}, {:?}", hello.state, hello.flags));
            }
            Body::Claims(claims) => {
                self.note(|| format!("{from} on {segment}{to}: {:?} {:?}", claims.kind, claims.entries));
            }
            other => self.note(|| format!("{from} on {segment}{to}: {other:?}")),
        }
    }

    fn arrives(&mut self, Flight { to, segment, frame, .. }: Flight) {
        if !self.nodes[to].alive {
            return;
        }
        if !is_hello(&frame) {
            // The kernel's own answer.
            if let Ok(Frame::Arp(packet)) = Frame::parse(&frame)
                && packet.operation == Operation::Request
                && packet.target.ip == ip(to, segment)
                && let Some(asker) = (0..NODES).find(|at| mac(*at, segment) == packet.source)
            {
                if self.setting.flaw != Some(Flaw::MuteKernels) {
                    let answer = packet.answer(mac(to, segment)).build();
                    self.note(|| format!("the kernel of {to} answers {asker} on {segment}"));
                    self.fly(to, asker, segment, answer.into(), Sent::Question);
                }
                return;
            }
        }
        if self.nodes[to].stopped.is_some() {
            self.wait(to, segment, frame);
            return;
        }
        self.handle(to, segment, &frame);
        self.act(to);
    }

    /// A frame for a stopped speaker. What will be thrown away unread is not kept.
    fn wait(&mut self, to: usize, segment: usize, frame: Arc<[u8]>) {
        let node = &mut self.nodes[to];
        let drains = (0..self.setting.segments).any(|segment| node.has_heard(segment));
        let long = node.stopped.is_some_and(|since| since + TIMING.pause() < self.now);
        if long && drains && self.setting.flaw != Some(Flaw::NoPause) {
            node.waiting.clear();
        } else if node.waiting.len() < WAITING {
            node.waiting.push_back((segment, frame));
        }
    }

    fn handle(&mut self, at: usize, segment: usize, frame: &[u8]) {
        let now = self.clock(at);
        if let Some(speaker) = &mut self.nodes[at].speaker {
            // What is refused is so for a reason, and nothing follows.
            let _ = speaker.handle_frame(LinkIndex(segment as u32), frame, now);
        }
    }

    /// What a machine answers a client that asks it now.
    fn listen(&mut self, at: usize) {
        let now = self.clock(at);
        let flaw = self.setting.flaw;
        for segment in 0..self.setting.segments {
            for of in 0..ADDRESSES {
                let World { setting, nodes, .. } = self;
                let Some(speaker) = &mut nodes[at].speaker else { return };
                let question = &setting.questions[segment][at][of];
                let answer = match speaker.handle_frame(LinkIndex(segment as u32), question, now) {
                    Ok(Some(answer)) => match Frame::parse(&answer.frame) {
                        Ok(Frame::Arp(packet)) => {
                            (0..NODES).find(|owner| mac(*owner, segment) == packet.sender.mac)
                        }
                        _ => None,
                    },
                    _ => None,
                };
                let answer = match (flaw, answer) {
                    (Some(Flaw::OwnMac), Some(_)) => Some(at),
                    (Some(Flaw::NoEnd), None) => self.nodes[at].answers[segment][of],
                    (_, answer) => answer,
                };
                self.answer(at, segment, of, answer);
            }
        }
    }

    /// It answers nothing.
    fn silence(&mut self, at: usize) {
        for segment in 0..self.setting.segments {
            (0..ADDRESSES).for_each(|of| self.answer(at, segment, of, None));
        }
    }

    fn answer(&mut self, at: usize, segment: usize, of: usize, answer: Option<usize>) {
        if self.nodes[at].answers[segment][of] != answer {
            self.nodes[at].answers[segment][of] = answer;
            self.note(|| match answer {
                Some(owner) => format!("=> {at} on {segment} answers for {of} with the address of {owner}"),
                None => format!("=> {at} on {segment} answers for {of} no more"),
            });
        }
        if let Some(owner) = answer {
            self.judge.answered(at, segment, of, owner, self.now);
        }
    }

    /// Lets time pass until then.
    pub(crate) fn run_until(&mut self, end: Duration) {
        while let Some((at, who)) = self.next().filter(|(at, _)| *at <= end) {
            self.pass(at);
            self.happens(who);
        }
        self.pass(end);
    }

    /// Lets so much time pass, and then what is on its way arrive.
    pub(crate) fn step(&mut self, length: Duration) {
        let end = self.now + length;
        self.run_until(end - self.late(length));
        (0..NODES).for_each(|at| self.read_api(at));
        for _ in 0..1000 {
            let Some((at, who)) = self.next().filter(|_| !self.flights.is_empty()) else { return };
            self.pass(at);
            self.happens(who);
        }
        panic!("frames never end");
    }

    /// Speakers read the API once in a while, and so find out whether its news stay away.
    fn read_api(&mut self, at: usize) {
        let now = self.clock(at);
        let node = &mut self.nodes[at];
        if let (Some(since), None, Some(speaker)) = (node.cut_off, node.stopped, &mut node.speaker)
            && since + self.setting.stale_after <= self.now
        {
            speaker.set_stale(true, now);
            self.act(at);
        }
    }

    /// The API's news reach a machine again, and it reads what they were.
    pub(crate) fn catch_up(&mut self, at: usize) {
        let now = self.clock(at);
        let node = &mut self.nodes[at];
        node.cut_off = None;
        if let (None, Some(speaker)) = (node.stopped, &mut node.speaker) {
            speaker.set_stale(false, now);
        }
        self.tell(at);
        self.act(at);
    }

    /// How much later than a whole number of steps it is.
    fn late(&self, length: Duration) -> Duration {
        Duration::from_nanos((self.now.as_nanos() % length.as_nanos()) as u64)
    }

    /// What comes next, and whose: nobody's is a frame's.
    fn next(&self) -> Option<(Duration, Option<usize>)> {
        let wakes = self.nodes.iter().enumerate().filter(|(_, node)| node.stopped.is_none());
        let wakes = wakes
            .filter_map(|(at, node)| Some((node.speaker.as_ref()?.next_deadline()? + node.behind, Some(at))));
        self.flights.front().map(|flight| (flight.at, None)).into_iter().chain(wakes).min()
    }

    fn happens(&mut self, who: Option<usize>) {
        match who {
            Some(at) => self.act(at),
            None => {
                if let Some(flight) = self.flights.pop_front() {
                    self.arrives(flight);
                }
            }
        }
    }

    fn pass(&mut self, to: Duration) {
        let to = to.max(self.now);
        let mut judge = std::mem::take(&mut self.judge);
        judge.pass(self, to - self.now);
        self.judge = judge;
        self.now = to;
    }

    /// What stands for this moment: the same for moments from which the same follows.
    pub(crate) fn outline(&self, step: Duration) -> u64 {
        let mut hasher = DefaultHasher::new();
        let session = |epoch: u64| {
            let (at, session) = (epoch as usize % NODES, epoch / NODES as u64);
            at as u64 + (self.nodes[at].sessions - session) * NODES as u64
        };
        (self.late(step), self.cuts, self.version, self.flights.len()).hash(&mut hasher);
        for (at, node) in self.nodes.iter().enumerate() {
            let Node {
                speaker,
                alive,
                stopped,
                ending,
                cut_off,
                waiting,
                sessions: _,
                version,
                behind,
                answers,
            } = node;
            (alive, ending, version, behind, answers, speaker.is_some()).hash(&mut hasher);
            stopped.map(|since| (self.now - since).min(TIMING.pause() + ms(1))).hash(&mut hasher);
            cut_off.map(|since| (self.now - since).min(self.setting.stale_after)).hash(&mut hasher);
            // Their numbers tell the time, so that hardly any two of these moments are the same.
            waiting.hash(&mut hasher);
            if let Some(speaker) = speaker {
                speaker.outline(&mut Outline::new(self.clock(at), &session, &mut hasher));
            }
        }
        self.judge.outline(self.now, &mut hasher);
        hasher.finish()
    }
}
