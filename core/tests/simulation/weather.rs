//! Clusters of any kind in any weather, by seeds; and what must hold whatever happens.
//!
//! `FERROLB_SEED=n` runs one seed and prints its log; `FERROLB_SEEDS=n` runs so many.

mod gusts;
mod judge;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ferrolb_core::election::Interfaces;
use ferrolb_core::peers::Timing;
use ferrolb_core::speaker::{Speaker, Transports};

use crate::cluster::{CLIENT_AT, Cluster, Dice, Fault, INTERVAL, Version, keys, ms};

/// After so long without any news, everything is settled. In intervals:
/// silence is noticed (k + 0.1), somebody who has not heard anybody listens and settles (k + 0.5), an elected one that does not
/// claim is waited for (3), a dispute of views ends (10), a pause (k), and the slowest clock (2 %): 22.6 × 1.02, rounded up.
const QUIET: Duration = Duration::from_millis(2_400);

/// Where views differed for longer than a dispute takes, whoever lost by the hash claims once more so much later (50
/// intervals and the slowest clock).
const VIEWS: Duration = Duration::from_millis(5_200);

/// Nobody answers for no longer than this for each thing that goes wrong, while a fit machine is there that nothing happens to.
/// In intervals: silence is noticed (k + 0.1), an elected one that does not claim is waited for (3), a list of claims
/// that was lost is asked for again (1); and the slowest clock, and the client that asks once in a while.
const NOBODY: Duration = Duration::from_millis(760);

/// Whoever's hellos came late twice is missed as much later, by this at most: k intervals, and the slowest clock.
const PATIENCE: Duration = Duration::from_millis(306);

/// Two answer for no longer than this for each thing that happens. In intervals: a dispute of views ends (10), a claim that
/// was lost is noticed by the next hello and asked for (2), a pause (k).
const TWO: Duration = Duration::from_millis(1_600);

/// Whoever was stopped for longer than k - 1 intervals (and the slowest clock) knows that it was.
const NOTICED: Duration = Duration::from_millis(205);

/// Where frames do not get through, so much later speakers find each other by datagram: the last frame was ten intervals ago
/// (of the slowest clock), and a node is asked once a second, with a hello.
const FOUND: Duration = Duration::from_millis(2_200);

/// In one of eight seeds speakers use datagrams alone; in two, some or all frames of hellos never get through.
const DATAGRAMS: u64 = 2;

/// All pairs of so many. Two ports of one machine are not told by datagram of each other: its kernel sends nothing to itself.
fn pairs(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).flat_map(move |a| (0..count).map(move |b| (a, b))).filter(|(a, b)| a != b)
}

/// Something that happens.
#[derive(Clone, Debug)]
enum Gust {
    Crash(usize),
    Boot(usize),
    Kill(usize),
    Start(usize),
    End(usize, bool),
    Stop(usize, Duration),
    Suspend(usize, Duration),
    Cut(Vec<usize>),
    Deaf(usize),
    Mute(usize),
    Loss(f64),
    Storm,
    Publish,
    CutApi(usize),
    Serve(usize, bool),
    Plug(usize, usize, bool),
    Jump(usize, Duration),
    Replay(u64),
    /// The network drops the frames of hellos between these.
    Hush(BTreeSet<(usize, usize)>),
}

/// Who was stopped and went on.
struct Waking {
    who: usize,
    /// When, and until when nothing else happened that could give it something.
    woke: Duration,
    until: Duration,
    /// What it had lost by then.
    lost: BTreeSet<(usize, Ipv4Addr)>,
}

/// One seed.
struct Weather {
    seed: u64,
    cluster: Cluster,
    dice: Dice,
    addresses: Vec<Ipv4Addr>,
    /// The machines that something happened to since all was quiet.
    touched: BTreeSet<usize>,
    /// How much happened since then.
    gusts: u32,
    /// Whom nobody heard since it started, perhaps: those who were alone.
    owners: BTreeMap<(usize, Ipv4Addr), usize>,
    waking: Vec<Waking>,
    stopped: Vec<(usize, Duration)>,
    /// Whether the API's news stayed away from somebody.
    views_differed: bool,
    /// Whether the network fell apart since all was quiet.
    parted: bool,
    /// Between whom the network drops the frames of hellos in any weather.
    hushed: BTreeSet<(usize, usize)>,
}

impl Weather {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0x5eed);
        let machines = 2 + dice.below(5) as usize;
        let segments = 1 + dice.below(3.min(machines as u64 / 2)) as usize;
        // Each segment has two machines at least.
        let mut plan: Vec<Vec<(String, usize)>> =
            (0..machines).map(|n| vec![("lan0".to_owned(), n % segments)]).collect();
        for ports in &mut plan {
            if dice.chance(40.0) {
                ports.push(("lan1".to_owned(), dice.below(segments as u64) as usize));
            }
        }
        // Dice of its own: all else is as in the same seed without.
        let mut others = Dice::new(seed ^ 0xda7a);
        let ways = others.below(8);
        if ways == DATAGRAMS {
            plan.iter_mut().for_each(|ports| ports.dedup_by_key(|(_, segment)| *segment));
        }
        let mut cluster = Cluster::built(seed, Timing::default(), &plan);
        // A move that its time brings may come in any quiet window; a scene has it alone.
        cluster.limit = Duration::from_secs(3600);
        cluster.asking = ms(20);
        cluster.lag = dice.one(&[1, 10, 200]);
        for at in 0..machines {
            let fast = dice.below(40_001) as i64 - 20_000;
            let now = cluster.now;
            cluster.machines[at].clock.run_at(fast, now);
        }
        let addresses: Vec<Ipv4Addr> =
            (0..1 + dice.below(8) as u8).map(|n| Ipv4Addr::new(10, 99, 0, n + 1)).collect();
        for address in &addresses {
            for at in 0..machines {
                if dice.chance(10.0) {
                    let only = Interfaces::Only([dice.one(&["lan0", "lan1"]).to_owned()].into());
                    cluster.limits.insert((IpAddr::V4(*address), at), only);
                }
            }
        }
        let hushed: BTreeSet<_> = match ways {
            0 => pairs(machines).collect(),
            1 => pairs(machines).filter(|_| others.chance(40.0)).collect(),
            _ => BTreeSet::new(),
        };
        cluster.hushed = hushed.clone();
        if ways == DATAGRAMS {
            cluster.transports = Transports::Udp;
        }
        let mut weather = Weather {
            seed,
            cluster,
            dice,
            addresses,
            touched: BTreeSet::new(),
            gusts: 0,
            owners: BTreeMap::new(),
            waking: Vec::new(),
            stopped: Vec::new(),
            views_differed: false,
            parted: false,
            hushed,
        };
        weather.cluster.trace = number("FERROLB_SEED").is_some();
        let version = weather.version();
        weather.cluster.publish(version);
        weather
    }

    /// How long it takes until all is settled.
    fn quiet(&self) -> Duration {
        let found = !self.hushed.is_empty() || self.cluster.transports != Transports::Auto;
        QUIET + self.patience() + if found { FOUND } else { Duration::ZERO }
    }

    /// How much longer than others anybody may be silent now, because its hellos came late before.
    fn patience(&self) -> Duration {
        let speakers = self.cluster.machines.iter().filter_map(|machine| machine.speaker.as_ref());
        let peers = speakers.flat_map(Speaker::peers).flat_map(|(_, peers)| peers.iter());
        let patience = peers.map(|(_, peer)| peer.patience(Timing::default())).max().unwrap_or_default();
        assert!(patience <= PATIENCE, "{patience:?}");
        patience
    }

    /// Anything that the API could say.
    fn version(&mut self) -> Version {
        let all: Vec<usize> = (0..self.cluster.machines.len()).collect();
        let mut version = Version::new();
        for address in &self.addresses {
            let mut order = self.dice.shuffled(&all);
            if self.dice.chance(20.0) {
                order.truncate(1 + self.dice.below(all.len() as u64) as usize);
            }
            version.insert(IpAddr::V4(*address), order);
        }
        version
    }

    /// Starts all speakers, some without a key at first, and waits until all is settled.
    fn begin(&mut self) {
        for at in 0..self.cluster.machines.len() {
            let late = self.dice.chance(15.0);
            if late {
                self.cluster.give(at, keys(&[]));
            }
            self.cluster.start(at);
            let wait = ms(self.dice.below(300));
            self.cluster.run(wait);
            if late {
                self.cluster.give(at, keys(&[7]));
            }
        }
        self.cluster.watch();
        self.cluster.run(self.quiet());
        for segment in 0..self.cluster.segments {
            for address in self.addresses.clone() {
                self.cluster.ask_on(segment, address);
            }
        }
        self.check_quiet();
    }

    /// Lets time pass, and looks at who goes on.
    fn run(&mut self, length: Duration) {
        let end = self.cluster.now + length;
        loop {
            let next = self.stopped.iter().map(|(_, woke)| *woke).filter(|woke| *woke <= end).min();
            let Some(woke) = next else { break };
            let before = woke.saturating_sub(ms(1)).max(self.cluster.now);
            self.cluster.run(before - self.cluster.now);
            let who: Vec<usize> =
                self.stopped.iter().filter(|(_, when)| *when == woke).map(|(who, _)| *who).collect();
            self.stopped.retain(|(_, when)| *when != woke);
            for who in who {
                let mut lost = BTreeSet::new();
                for segment in 0..self.cluster.segments {
                    for address in &self.addresses {
                        let of = |told: &&crate::cluster::Told| {
                            told.segment == segment && told.address == *address
                        };
                        let last = self.cluster.told.iter().rev().find(of).map(|told| told.owner);
                        let first = self.fit(segment, *address).first().copied();
                        // Who was cut off has to hear first that it is no longer.
                        let calm = !self.parted && self.touched.iter().all(|touched| *touched == who);
                        let mine = first.is_none_or(|first| first == who);
                        if last.is_some_and(|last| last != who) && !mine && calm {
                            lost.insert((segment, *address));
                        }
                    }
                }
                self.waking.push(Waking { who, woke, until: woke + ms(500), lost });
            }
            self.cluster.run(woke.saturating_sub(self.cluster.now));
        }
        self.cluster.run(end - self.cluster.now);
    }

    /// The storm is over; what is dead stays so.
    fn clear(&mut self) {
        self.cluster.note("it clears up".into());
        self.cluster.cuts.clear();
        self.cluster.hushed = self.hushed.clone();
        (self.cluster.loss, self.cluster.late, self.cluster.twice) = (0.0, 0.0, 0.0);
        for at in 0..self.cluster.machines.len() {
            if self.cluster.machines[at].cut_off {
                self.cluster.cut_api(at, false);
            }
        }
        let frozen = |cluster: &Cluster| cluster.machines.iter().any(|machine| machine.frozen.is_some());
        while frozen(&self.cluster) {
            self.run(ms(100));
        }
    }

    fn storm(&mut self) {
        let then = self.cluster.now;
        let versions = self.cluster.versions.len();
        let mut before = BTreeMap::new();
        for segment in 0..self.cluster.segments {
            for address in &self.addresses {
                // Where nobody was heard before, the API alone decides, also for nodes that are not there.
                let fit = if self.is_heard(segment) { self.fit(segment, *address) } else { Vec::new() };
                before.insert((segment, *address), fit);
            }
        }
        let returning = self.owners.clone();
        let mut stopped = false;
        let gusts: Vec<Gust> = (0..1 + self.dice.below(3))
            .map(|_| {
                // Who is stopped may lose something meanwhile.
                let gust = if stopped { Gust::Publish } else { self.gust() };
                stopped = matches!(gust, Gust::Stop(..)) && self.dice.chance(50.0);
                self.apply(&gust);
                let longest = self.dice.one(&[300, 2500]);
                let wait = ms(self.dice.below(longest));
                self.run(wait);
                gust
            })
            .collect();
        let wait = ms(self.dice.below(3000));
        self.run(wait);
        self.clear();
        // Who may have it by all that the API said meanwhile.
        for ((_, address), fit) in &mut before {
            let orders = self.cluster.versions[versions - 1..].iter();
            let orders: Vec<_> = orders.map(|version| version.get(&IpAddr::V4(*address))).collect();
            fit.retain(|at| orders.iter().all(|order| order.is_some_and(|order| order.contains(at))));
        }
        self.check_storm(then, &before);
        self.check_quiet();
        // A return moves only what is its own.
        if let [Gust::Boot(at) | Gust::Start(at)] = gusts[..] {
            for (key, owner) in &self.owners {
                let known = returning.get(key);
                if known.is_some_and(|known| known != owner) && *owner != at {
                    self.fail(&format!("{at} came back, and {key:?} went from {known:?} to {owner}"));
                }
            }
        }
    }
}

/// One seed from its beginning to its end, with a machine that does something wrong on purpose, if any.
fn weather(seed: u64, fault: Option<Fault>) {
    let mut weather = Weather::new(seed);
    weather.begin();
    // The first in order of something, so that it matters.
    let first = weather.owners.values().next().copied();
    weather.cluster.faults.extend(first.zip(fault));
    for round in 0..6 {
        weather.storm();
        if round == 2 {
            let owners = weather.owners.clone();
            weather.rotate(7, 8);
            weather.check_quiet();
            if owners != weather.owners {
                weather.fail("a new key moved something");
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "how long a test runs is not core's to say")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs the seeds, and fails at the end with the first that failed; says which others did.
fn seeds(default: u64) {
    if let Some(seed) = number("FERROLB_SEED") {
        weather(seed, None);
        return;
    }
    let first = number("FERROLB_FIRST").unwrap_or(0);
    for seed in first..first + number("FERROLB_SEEDS").unwrap_or(default) {
        weather(seed, None);
    }
}

#[test]
fn any_weather_leaves_one_owner() {
    seeds(3);
}

/// Whether any of the first seeds fails with a machine that has this fault.
fn is_noticed(fault: Fault) -> bool {
    (0..40).any(|seed| std::panic::catch_unwind(|| weather(seed, Some(fault))).is_err())
}

#[test]
fn a_speaker_that_does_not_notice_that_it_was_stopped_is_found_out() {
    assert!(is_noticed(Fault::NoPause));
    assert!(!is_noticed(Fault::Stopped));
}

#[test]
fn a_speaker_whose_claims_nobody_gets_is_found_out() {
    assert!(is_noticed(Fault::NoClaims));
}

#[test]
fn a_speaker_that_answers_and_hears_nobody_is_found_out() {
    assert!(is_noticed(Fault::OneWay));
}

/// `make soak-core`.
#[test]
#[ignore = "takes long"]
fn soak() {
    seeds(20_000);
}
