//! One node's speaker: all that it decides, from what it is told and hears.
//!
//! ```text
//!  contests, nodes (API) ─────┐                                  ┌─► Effect::Send       hellos, claims, announcements
//!  links (netlink) ───────────┤              for each link:      ├─► Effect::Join …     groups
//!  frames ─► hello ───────────┼─► Speaker ─► Peers ─► Ownership ─┼─► Effect::Announcing what is answered for where
//!         └─► ARP, NDP ───────┤                  └─► Announcer ──┼─► Effect::Drain      what waits is out of date
//!  time ──────────────────────┘                                  └─► Answer, at once
//! ```
//!
//! The caller says what happened, then takes effects until there are none, then waits for the next input or for
//! [`Speaker::next_deadline`]. `now` is the time since any fixed moment, never going back, and going on while the machine is
//! suspended.
//!
//! A speaker that was stopped for a while (SIGSTOP, a starved processor, a suspended machine) may have been replaced. It
//! finds out by itself, before each answer: was the last hello sent in time? If not, it throws away what waits, answers nothing,
//! and listens until each peer was heard.

mod datagrams;
mod effect;
mod follow;
mod gate;
mod hear;
mod hello;
mod inquiry;
mod life;
mod links;
mod others;
mod outline;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::announce::{self, Announcer, Link, LinkIndex};
use crate::askers::{Askers, LATELY};
use crate::conflict::Conflicts;
use crate::election::{Change, Contest, NodeId, Roster};
use crate::hello_key::Keys;
use crate::ownership::{Contests, Hindrance, Ownership};
use crate::peers::{Peers, Timing, sequence_at};
use crate::wire::Mac;

use datagrams::Tries;
pub use effect::{Effect, Sent};
pub use inquiry::Answered;
use life::{Life, Pause};

/// What a speaker is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name in the cluster.
    pub node: Box<str>,
    /// Names this session: another number at each start.
    pub epoch: u64,
    /// How often it says hello, and how many may be missed.
    pub timing: Timing,
    /// How often what is announced is announced again, if at all.
    pub refresh: Option<Duration>,
    /// How long a node is stood in for before its addresses move.
    pub stand_in_limit: Duration,
    /// Whether other hosts that have an address of ours are looked for, reported and answered.
    pub conflict_detection: bool,
    /// By which ways it is heard.
    pub transports: Transports,
}

/// By which ways a speaker is heard by others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transports {
    /// By Ethernet, and by datagrams where frames do not get through.
    #[default]
    Auto,
    /// By Ethernet alone.
    Ethernet,
    /// By datagrams alone.
    Udp,
}

/// One link, and who is there.
#[derive(Clone, Debug)]
struct Segment {
    link: Link,
    peers: Peers,
    own: Ownership,
    /// Until when we only listen.
    listening: Duration,
    /// Until when we tell that we are there before we claim anything.
    claiming: Duration,
    /// Until when the API's order alone decides, after the first key came: as it did until then.
    by_api: Duration,
    /// When all claims were told last.
    told: Option<Duration>,
    /// The last hellos to all.
    said: hello::Said,
    /// When the proxies of nodes that we stand in for were asked last.
    proxies: Duration,
    /// How many forged hellos came lately.
    gate: gate::Gate,
    /// Who is told by datagram beside those that are heard.
    tries: Tries,
}

/// Decides what this node says and answers. One for the whole node.
#[derive(Clone, Debug)]
pub struct Speaker {
    config: Config,
    keys: Arc<Keys>,
    sequence: u64,
    roster: Arc<Roster>,
    contests: Contests,
    /// Whether the API was heard at all.
    informed: bool,
    links: BTreeMap<LinkIndex, Segment>,
    /// The names of links on which a peer counted once.
    heard_on: BTreeSet<String>,
    /// Addresses that came up while this speaker was there, and when.
    fresh: BTreeMap<IpAddr, Duration>,
    /// When the last of them did.
    freshest: Duration,
    /// Addresses that nobody may answer for since then: one that returns soon is not new.
    lately: BTreeMap<IpAddr, Duration>,
    /// Who announced an address of ours, and when to see whether it has claimed it.
    rivals: BTreeMap<(LinkIndex, IpAddr), BTreeMap<Mac, Duration>>,
    announcer: Announcer,
    conflicts: Conflicts,
    askers: Askers,
    /// What a person wants to know of the network now.
    inquiry: Option<Box<inquiry::Inquiry>>,
    life: Life,
    pause: Option<Pause>,
    unfit: bool,
    stale: bool,
    hello_due: Duration,
    hello_sent: Option<Duration>,
    /// When it was last looked what is due.
    looked: Duration,
    queue: VecDeque<Effect>,
    counts: Counts,
    /// The generations of links that are gone.
    gone: u64,
}

/// What is worth counting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How often this speaker found that it had stood still.
    pub pauses: u64,
    /// How many clients answered at an address that had moved here.
    pub confirmed: u64,
}

impl Speaker {
    /// One that knows nothing and no link.
    pub fn new(config: Config) -> Self {
        Speaker {
            announcer: Announcer::new(config.refresh),
            conflicts: Conflicts::new(config.conflict_detection, config.epoch),
            askers: Askers::new(config.epoch, LATELY),
            inquiry: None,
            fresh: BTreeMap::new(),
            freshest: Duration::ZERO,
            lately: BTreeMap::new(),
            rivals: BTreeMap::new(),
            config,
            keys: Arc::default(),
            sequence: 0,
            roster: Arc::default(),
            contests: Contests::new(),
            informed: false,
            links: BTreeMap::new(),
            heard_on: BTreeSet::new(),
            life: Life::Running,
            pause: None,
            unfit: false,
            stale: false,
            hello_due: Duration::ZERO,
            hello_sent: None,
            looked: Duration::ZERO,
            queue: VecDeque::new(),
            counts: Counts::default(),
            gone: 0,
        }
    }

    /// The keys that hellos are signed with and read by. Until there is one, nobody is heard; once there was one, none is
    /// the same as before.
    pub fn set_keys(&mut self, keys: Arc<Keys>, now: Duration) {
        if keys.is_empty() {
            // Without a key everybody would be alone, and own everything.
            return;
        }
        let first = self.keys.is_empty();
        self.keys = keys;
        self.hello_due = now;
        // What waited may be answered before the first hello, which otherwise sees to that.
        self.sequence = self.sequence.max(sequence_at(now));
        if first {
            // What others say could not be heard until now.
            let listening = now + self.config.timing.listening();
            let claiming = listening + self.config.timing.interval / 2;
            for segment in self.links.values_mut() {
                if segment.claiming <= now {
                    segment.by_api = claiming;
                }
                (segment.listening, segment.claiming) =
                    (segment.listening.max(listening), segment.claiming.max(claiming));
                segment.tries = Tries::new(now);
            }
        }
        self.stand_all(now);
    }

    /// What the API says is different: the nodes, and who may answer for what.
    pub fn handle_news(&mut self, roster: Arc<Roster>, changes: &[Change], now: Duration) {
        let renamed = !self.roster.settles_as(&roster);
        self.roster = roster;
        for change in changes {
            match &change.contest {
                Ok(contest) => {
                    let known = self.contests.insert(change.address, contest.clone());
                    let returns = self.lately.remove(&change.address).is_some();
                    if self.informed && known.is_none() && !returns {
                        self.fresh.insert(change.address, now);
                        self.freshest = now;
                    }
                }
                Err(_) => {
                    if self.contests.remove(&change.address).is_some() {
                        self.lately.insert(change.address, now);
                    }
                    self.fresh.remove(&change.address);
                }
            }
        }
        self.fresh.retain(|_, at| *at + others::NEW > now);
        self.lately.retain(|_, at| *at + others::LATELY > now);
        let first = !std::mem::replace(&mut self.informed, true);
        if first {
            self.listen_for_datagrams(now);
        }
        let links: Vec<LinkIndex> = self.links.keys().copied().collect();
        for link in links {
            if first || renamed {
                self.stand(link, renamed, now);
            }
            for change in changes {
                self.with(link, |own, known| own.contest(change.address, known, now));
            }
            self.act(link, now);
        }
    }

    /// Whether traffic would end at this node: kube-proxy fails.
    pub fn set_unfit(&mut self, unfit: bool, now: Duration) {
        if std::mem::replace(&mut self.unfit, unfit) != unfit {
            self.hello_due = now;
            self.stand_all(now);
        }
    }

    /// Whether what we know of the API may be out of date.
    pub fn set_stale(&mut self, stale: bool, now: Duration) {
        if std::mem::replace(&mut self.stale, stale) != stale {
            self.hello_due = now;
            self.stand_all(now);
        }
    }

    /// The service proxy of a node that is stood in for says that it serves no more.
    pub fn proxy_failed(&mut self, node: &str, now: Duration) {
        let links: Vec<LinkIndex> = self.links.keys().copied().collect();
        for link in links {
            if let Some(segment) = self.links.get_mut(&link) {
                segment.peers.fail(node, now);
            }
            self.follow(link, now);
        }
    }

    /// The next thing to do at `now`; to be called until there is none.
    pub fn next_effect(&mut self, now: Duration) -> Option<Effect> {
        self.look_for_pause(now);
        if let Some(effect) = self.queue.pop_front() {
            if effect == Effect::Drain
                && let Some(pause) = &mut self.pause
            {
                pause.drained = true;
            }
            return Some(effect);
        }
        if self.next_deadline().is_some_and(|at| at <= now) {
            self.do_what_is_due(now);
        }
        let links: Vec<LinkIndex> = self.links.keys().copied().collect();
        links.into_iter().for_each(|link| self.tell_changes(link, now));
        if let Some(effect) = self.queue.pop_front() {
            return Some(effect);
        }
        if self.pause.is_some() {
            return None;
        }
        if let Some(effect) = self.others_effect(now) {
            return Some(effect);
        }
        Some(match self.announcer.next_effect(now)? {
            announce::Effect::Send { link, address, frame } => {
                Effect::Send { link, frame, what: Sent::Announcement(address) }
            }
            announce::Effect::Join(link, group) => Effect::Join(link, group),
            announce::Effect::Leave(link, group) => Effect::Leave(link, group),
            announce::Effect::Announcing { address, links } => Effect::Announcing { address, links },
        })
    }

    /// What time asks for, in the order of the lines below: hellos; silence; who was waited for; the end of listening, of a
    /// pause, of this speaker; proxies of nodes that we stand in for; and the claims that changed by all this.
    fn do_what_is_due(&mut self, now: Duration) {
        if self.links.values().any(|segment| segment.listening > self.looked && segment.listening <= now) {
            self.hello_due = now;
        }
        self.say_hello(now);
        let links: Vec<LinkIndex> = self.links.keys().copied().collect();
        for link in links {
            let Some(segment) = self.links.get_mut(&link) else { continue };
            if segment.peers.deadline().is_some_and(|at| at <= now) {
                segment.peers.tick(now);
            }
            if segment.own.deadline().is_some_and(|at| at <= now) {
                self.with(link, |own, known| own.tick(known, now));
            }
            self.follow(link, now);
            self.ask_proxies(link, now);
        }
        self.look_for_end_of_pause(now);
        // Ten thousand that came at once are not to be kept until there is news again.
        if self.freshest + others::NEW <= now {
            self.fresh.clear();
        }
        self.looked = now;
    }

    /// When to call [`next_effect`](Self::next_effect) next, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Duration> {
        let sending = self.announcer.next_deadline().into_iter().chain(self.others_deadline()).min();
        let announcer = sending.filter(|_| self.pause.is_none());
        self.deciding_deadline().into_iter().chain(announcer).min()
    }

    /// The same, but for what is only sent to hosts that are no speakers.
    fn deciding_deadline(&self) -> Option<Duration> {
        let hello = (!self.links.is_empty() && !self.keys.is_empty()).then_some(self.hello_due);
        let of = |segment: &Segment| {
            let (listening, settling) = (segment.listening, segment.claiming);
            let proxies = (!segment.own.absent().is_empty()).then(|| segment.proxies + PROXIES);
            [segment.peers.deadline(), segment.own.deadline(), Some(listening), Some(settling), proxies]
        };
        let links = self.links.values().flat_map(of).flatten();
        // What was done is not waited for.
        let links = links.filter(|at| *at > self.looked);
        let pause = self.pause.as_ref().map(|pause| pause.until);
        links.chain(hello).chain(pause).chain(self.life.deadline()).min()
    }

    /// Whether others are to take it from the API ([`Node::keyless`](crate::election::Node::keyless)) that this speaker goes by the
    /// API's order: it has no key, or got its first one a moment ago, and not all have heard yet that it has begun.
    pub fn is_keyless(&self, now: Duration) -> bool {
        let told = self.config.timing.listening();
        let lately = |segment: &Segment| segment.by_api > Duration::ZERO && segment.by_api + told > now;
        self.keys.is_empty() || self.links.values().any(lately)
    }

    /// This node's number.
    pub fn me(&self) -> Option<NodeId> {
        self.roster.id(&self.config.node)
    }

    /// Whether this node is the one that the API names first for an address, and no link that its advertisements name is there,
    /// neither here nor at anybody who is heard: so that somebody tells why nobody answers.
    pub fn lacks(&self, address: IpAddr) -> bool {
        let Some(contest) = self.contests.get(&address) else { return false };
        let mine = self.informed && contest.owner_by_api(&self.roster) == self.me();
        mine && self.links.values().all(|segment| !segment.own.has_runner(address, contest))
    }

    /// Goes up with each change of who counts, or of how we stand.
    pub fn generation(&self) -> u64 {
        self.links.values().map(|segment| segment.own.generation()).sum::<u64>() + self.gone
    }

    /// All addresses whose advertisements name interfaces.
    pub fn limited(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.contests.iter().filter(|(_, contest)| contest.is_limited()).map(|(address, _)| *address)
    }

    /// The contest of an address.
    pub fn contest(&self, address: IpAddr) -> Option<&Arc<Contest>> {
        self.contests.get(&address)
    }

    /// The links on which `address` is answered for as our own.
    pub fn links_of(&self, address: IpAddr) -> BTreeSet<LinkIndex> {
        self.announcer.links_of(address)
    }

    /// How many addresses are answered for on behalf of absent nodes, each link counted.
    pub fn standing_in(&self) -> usize {
        self.announcer.standing_in()
    }

    /// The nodes that the API names before this one for `address`, each with what keeps it from answering on `link`.
    pub fn before(&self, link: LinkIndex, address: IpAddr) -> Vec<(Arc<str>, Hindrance)> {
        let known = || Some((self.links.get(&link)?, self.contests.get(&address)?, self.me()?));
        let Some((segment, contest, me)) = known() else { return Vec::new() };
        let before = segment.own.before(me, address, contest, &self.roster);
        before.filter_map(|(id, why)| Some((self.roster.get(id)?.name.clone(), why))).collect()
    }

    /// The node beside this one that says that it owns an address, on any link.
    pub fn other_owner(&self, address: IpAddr) -> Option<&Arc<str>> {
        let owner = |segment: &'_ Segment| segment.own.owner(address);
        let mut links = self.links.values();
        links.find_map(|segment| Some(&segment.peers.get(owner(segment)?)?.node))
    }

    /// The nodes for which this one stands in.
    pub fn stood_in_for(&self) -> BTreeSet<Arc<str>> {
        let of = |segment: &Segment| {
            let absent = segment.own.absent();
            let peers = segment.peers.iter().filter(|(_, peer)| absent.contains(&peer.mac));
            peers.map(|(_, peer)| peer.node.clone()).collect::<Vec<_>>()
        };
        self.links.values().flat_map(of).collect()
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The peers of each link.
    pub fn peers(&self) -> impl Iterator<Item = (LinkIndex, &Peers)> {
        self.links.iter().map(|(link, segment)| (*link, &segment.peers))
    }

    /// The addresses that are answered for on a link, in whatever way.
    pub fn owned(&self, link: LinkIndex) -> BTreeMap<IpAddr, crate::wire::hello::Voice> {
        self.links.get(&link).map(|segment| segment.own.claims()).unwrap_or_default()
    }
}

/// How often the proxy of a node that is stood in for is asked.
const PROXIES: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
