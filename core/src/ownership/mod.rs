//! Who answers for an address on one link, settled among those who hear each other there.
//!
//! ```text
//!  Contest (API: who may, in which order) ─┐
//!  Peers   (wire: who is there, and how) ──┼─► elect ─► Elected ─┐
//!                                          │                     ├─► Phase of the address here ─► Act
//!  claims  (wire: who says that it does) ──┴─────────────────────┘        │
//!                                                                         └─► what we claim, told to all
//! ```
//!
//! The election says who *should* answer; claims say who does. Between the two, an address never falls silent and is
//! never given up too early (make before break): whoever has lost it answers until the one who won it says so.

mod dispute;
mod field;
mod hindrance;
mod outline;
mod phase;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use crate::dense::DenseMap;
use crate::election::{Contest, NodeId, Roster};
use crate::peers::{Peers, Standing, Timing};
use crate::wire::Mac;
use crate::wire::hello::{Claim, Digest, StationId, Voice};

use field::{Claims, Elected, Field, Me};
pub use hindrance::Hindrance;
pub use phase::Phase;
use phase::{Others, Spot};

/// What the announcer is to do on this link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Answer for the address with our own Ethernet address, and announce it: first after a probe, where it is `new` on
    /// this link and nobody claimed it.
    Own {
        /// The address.
        address: IpAddr,
        /// Nobody of us had it here.
        new: bool,
    },
    /// Answer for it with this Ethernet address, of a node that is away. Nothing moves, so nothing is announced.
    StandIn {
        /// The address.
        address: IpAddr,
        /// That of the absent node.
        mac: Mac,
    },
    /// Another one claimed it too, and does no longer: announce it once more.
    Again(IpAddr),
    /// No word about it any more.
    Stop(IpAddr),
    /// We are the next in order for this IPv6 address: listen to its group already. Nothing is answered.
    StandBy(Ipv6Addr),
    /// No longer.
    StandDown(Ipv6Addr),
}

/// For so many IPv6 addresses on one link at most we listen while somebody else has them. A kernel looks through all groups of
/// a link for each frame that comes to a group, and tells switches of each of them again and again.
pub const MOST_STANDBY: usize = 1024;

/// So many times longer than usual a claim is waited for of somebody who had the address and gave it up: what made it do so
/// is on its way to us, too.
const KNOWS_BETTER: u32 = 10;

/// All contests by address.
pub type Contests = DenseMap<IpAddr, Arc<Contest>>;

/// What settles the addresses of one link, beside what the link's own state says.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Who may answer for what.
    pub contests: &'a Contests,
    /// The nodes by number.
    pub roster: &'a Roster,
    /// Who else is there.
    pub peers: &'a Peers,
}

/// The addresses of one link.
#[derive(Clone, Debug)]
pub struct Ownership {
    me: Me,
    timing: Timing,
    field: Field,
    /// What the field was made of; the nodes' numbers beside.
    read: Option<(u64, Standing, bool, bool)>,
    spots: DenseMap<IpAddr, Spot>,
    /// In how many of them we stand in: it is asked at each turn, and hardly ever in any.
    stand_ins: usize,
    /// When to look again at an address whose elected station has not claimed it yet, or that is disputed.
    waits: BTreeSet<(Duration, IpAddr)>,
    /// What we claim, and what of it the others were not told yet: what was claimed before.
    digest: Digest,
    untold: BTreeMap<IpAddr, Option<Voice>>,
    /// The addresses that would be ours without the node that has them, at most [`MOST_STANDBY`].
    standby: BTreeSet<Ipv6Addr>,
    /// The addresses of which claims changed.
    touched: BTreeSet<IpAddr>,
    generation: u64,
    acts: Vec<Act>,
}

/// What our own station is.
#[derive(Clone, Debug)]
pub struct Station {
    /// The node's name.
    pub node: Box<str>,
    /// The link's name.
    pub interface: Box<str>,
    /// The link's Ethernet address.
    pub mac: Mac,
    /// Whether the link has IPv6.
    pub ipv6: bool,
}

impl Station {
    /// Its short name on the wire.
    pub fn id(&self) -> StationId {
        StationId::of(&self.node, &self.interface)
    }
}

impl Ownership {
    /// Of a link on which nothing is answered for yet; our standing there is to be told.
    pub fn new(station: Station, timing: Timing) -> Self {
        let id = station.id();
        let Station { node, interface, mac, ipv6 } = station;
        let me = Me { node, interface, station: id, mac, ipv6, standing: Standing::Starting, stale: false };
        Ownership {
            me,
            timing,
            field: Field::default(),
            read: None,
            spots: DenseMap::new(),
            stand_ins: 0,
            waits: BTreeSet::new(),
            digest: Digest::default(),
            untold: BTreeMap::new(),
            standby: BTreeSet::new(),
            touched: BTreeSet::new(),
            generation: 0,
            acts: Vec::new(),
        }
    }

    /// The link has another Ethernet address, or IPv6 came or went.
    pub fn relink(&mut self, mac: Mac, ipv6: bool) {
        (self.me.mac, self.me.ipv6) = (mac, ipv6);
        self.read = None;
    }

    /// Takes who counts now, and how we stand; looks at every address again where that is different. `by_api`: nobody was ever
    /// heard here, so that the API alone decides.
    pub fn stand(&mut self, standing: Standing, stale: bool, by_api: bool, known: Known<'_>, now: Duration) {
        (self.me.standing, self.me.stale) = (standing, stale);
        let read = (known.peers.generation(), standing, stale, by_api);
        if self.read.replace(read) == Some(read) {
            // Each hello comes here, and nearly none changes anything.
            debug_assert_eq!(self.field, Field::of(&self.me, known.peers, known.roster, by_api));
            return;
        }
        let field = Field::of(&self.me, known.peers, known.roster, by_api);
        if field == self.field {
            return;
        }
        self.field = field;
        self.generation += 1;
        self.forget_claimants(known.peers);
        self.settle_all(known, now);
    }

    /// Nodes have other numbers now; [`stand`](Self::stand) is to follow.
    pub fn renumber(&mut self) {
        self.read = None;
    }

    /// Whether anybody who counts on this link could answer for an address there.
    pub fn has_runner(&self, address: IpAddr, contest: &Contest) -> bool {
        self.field.has_runner(address, contest)
    }

    /// The nodes before `me` in the API's order, each with what keeps it from answering for `address` here.
    pub fn before<'a>(
        &'a self,
        me: NodeId,
        address: IpAddr,
        contest: &'a Contest,
        roster: &'a Roster,
    ) -> impl Iterator<Item = (NodeId, Hindrance)> + 'a {
        self.field.before(me, address, contest, roster)
    }

    /// The station beside ours that owns an address, if any says so.
    pub fn owner(&self, address: IpAddr) -> Option<StationId> {
        let claimants = self.spots.get(&address)?.claimants();
        claimants.iter().find(|(_, voice)| *voice == Voice::Own).map(|(station, _)| *station)
    }

    /// Goes up with each change of who counts, or of how we stand.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Looks at every address again.
    pub fn settle_all(&mut self, known: Known<'_>, now: Duration) {
        let all: BTreeSet<IpAddr> = self.spots.keys().chain(known.contests.keys()).copied().collect();
        all.into_iter().for_each(|address| self.settle(address, known, now));
    }

    /// Claims of stations that are gone count no longer; and among others than before, disputes begin anew.
    fn forget_claimants(&mut self, peers: &Peers) {
        for (_, spot) in self.spots.iter_mut() {
            spot.change_others(|others| {
                others.claimants.retain(|(station, _)| peers.get(*station).is_some());
                others.dispute = None;
            });
        }
    }

    /// Looks at one address again: its contest changed.
    pub fn contest(&mut self, address: IpAddr, known: Known<'_>, now: Duration) {
        if let Some(spot) = self.spots.get_mut(&address) {
            spot.change_others(|others| {
                others.passed.clear();
                others.dispute = None;
            });
        }
        self.settle(address, known, now);
    }

    /// Takes a change of what a peer claims; [`settle_touched`](Self::settle_touched) is to follow.
    pub fn claimed(&mut self, station: StationId, claims: &[Claim]) {
        claims.iter().for_each(|claim| self.put(station, claim));
    }

    /// Takes all that a peer claims; [`settle_touched`](Self::settle_touched) is to follow.
    pub fn replaced(&mut self, station: StationId, claims: &[Claim]) {
        let all: BTreeMap<IpAddr, &Claim> = claims.iter().map(|claim| (claim.address, claim)).collect();
        let before = self.spots.iter().filter(|(_, spot)| spot.claims(station).is_some());
        let touched: BTreeSet<IpAddr> =
            before.map(|(address, _)| *address).chain(all.keys().copied()).collect();
        for address in touched {
            let claim = all.get(&address).copied().copied();
            self.put(station, &claim.unwrap_or(Claim { address, voice: Voice::Released }));
        }
    }

    /// A peer is gone, and its claims with it; [`settle_touched`](Self::settle_touched) is to follow. It gave nothing up. Where it
    /// answered in place of somebody who did, that one is waited for no longer than others are: nobody answers meanwhile.
    pub fn gone(&mut self, station: StationId) {
        let Ownership { timing, spots, waits, touched, .. } = self;
        for (address, spot) in spots.iter_mut().filter(|(_, spot)| spot.claims(station).is_some()) {
            touched.insert(*address);
            spot.change_others(|others| {
                others.claimants.retain(|(known, _)| *known != station);
                if let Some((elected, until)) = &mut others.wait
                    && others.released.take() == Some(*elected)
                {
                    *until = until.saturating_sub(timing.patience() * (KNOWS_BETTER - 1));
                    waits.insert((*until, *address));
                }
            });
        }
    }

    /// Looks again at the addresses of which claims changed.
    pub fn settle_touched(&mut self, known: Known<'_>, now: Duration) {
        for address in std::mem::take(&mut self.touched) {
            self.settle(address, known, now);
        }
    }

    fn put(&mut self, station: StationId, claim: &Claim) {
        self.touched.insert(claim.address);
        let spot = self.spots.or_default(claim.address);
        let disputed = spot.phase == Phase::Owner && spot.claims(station) == Some(Voice::Own);
        if disputed && claim.voice == Voice::Released {
            self.acts.push(Act::Again(claim.address));
        }
        spot.had = true;
        spot.with_others(|others| {
            others.released = match claim.voice {
                Voice::Released => others.claims(station).map(|_| station).or(others.released),
                _ => None,
            };
            others.claimants.retain(|(known, _)| *known != station);
            if claim.voice != Voice::Released {
                others.claimants.push((station, claim.voice));
                others.claimants.sort();
                others.passed.retain(|passed| *passed != station);
            }
        });
    }

    /// Looks again at what waited until now.
    pub fn tick(&mut self, known: Known<'_>, now: Duration) {
        while let Some((_, address)) = self.waits.first().copied().filter(|(at, _)| *at <= now) {
            self.waits.pop_first();
            self.settle(address, known, now);
        }
    }

    /// When [`tick`](Self::tick) has something to do.
    pub fn deadline(&self) -> Option<Duration> {
        self.waits.first().map(|(at, _)| *at)
    }

    /// Brings one address to where it belongs.
    ///
    /// Steps, in the order of the lines below:
    /// 1. the election, with disputes settled ([`dispute`]); we are passed over while our node's service proxy may not serve the
    ///    address yet ([`Contest::is_pending`]), and an elected station that is fit and has not claimed within three intervals (thirty,
    ///    where it had the address and gave it up) is until it does;
    /// 2. nobody: no word any more, at once;
    /// 3. ours: answer, with our own Ethernet address or that of the absent owner;
    /// 4. another's: what we answer for we go on answering for, until the other one claims it.
    ///
    /// Before the first of these we begin to stand by, and after the last we end it: so a group that is needed both before and
    /// after is never left.
    fn settle(&mut self, address: IpAddr, known: Known<'_>, now: Duration) {
        let elected = self.elected(address, known, now);
        let next = self.is_next(address, elected, known);
        if let Some((six, true)) = next {
            self.stand_by(six);
        }
        self.follow(address, elected);
        if let Some((six, false)) = next
            && self.standby.remove(&six)
        {
            self.acts.push(Act::StandDown(six));
        }
        if self.spots.get(&address).is_some_and(Spot::is_empty) && !known.contests.contains_key(&address) {
            self.spots.remove(&address);
        }
    }

    /// Steps 2 to 4 of [`settle`](Self::settle).
    fn follow(&mut self, address: IpAddr, elected: Option<Elected>) {
        let spot = self.spots.or_default(address);
        let phase = spot.phase;
        match elected {
            None => self.enter(address, Phase::Silent),
            Some(Elected { station, absent, .. }) if station == self.me.station => match absent {
                _ if self.me.standing == Standing::Starting => {}
                // Whoever owns it already does not change its voice for somebody who is away.
                Some((_, mac)) if phase != Phase::Owner && phase != Phase::Yielding => {
                    self.enter(address, Phase::StandIn(mac));
                }
                _ => self.enter(address, Phase::Owner),
            },
            Some(Elected { station, .. }) => {
                let claimed = spot.claims(station).is_some();
                match phase {
                    Phase::Silent => {}
                    _ if claimed => self.enter(address, Phase::Silent),
                    Phase::Owner => self.enter(address, Phase::Yielding),
                    Phase::Yielding | Phase::StandIn(_) => {}
                }
            }
        }
    }

    /// Of an IPv6 address: whether it would be ours without the node that is elected. `None` where that is not asked: of
    /// IPv4, whose questions come to all, and while we end.
    fn is_next(
        &self,
        address: IpAddr,
        elected: Option<Elected>,
        known: Known<'_>,
    ) -> Option<(Ipv6Addr, bool)> {
        let IpAddr::V6(six) = address else { return None };
        if matches!(self.me.standing, Standing::Away | Standing::Leaving) {
            return None;
        }
        let next = || {
            let other = elected.filter(|elected| elected.station != self.me.station)?;
            let (contest, node) = (known.contests.get(&address)?, self.field.node(other.station)?);
            let others = self.spots.get(&address).and_then(|spot| spot.others.as_deref());
            let passed = others.map(|others| others.passed.as_slice()).unwrap_or_default();
            self.field.next(contest, address, passed, node)
        };
        Some((six, next() == Some(self.me.station)))
    }

    /// Listens to the group of an address, if there is room. If there is none, it is listened to when it is ours.
    fn stand_by(&mut self, address: Ipv6Addr) {
        if self.standby.len() < MOST_STANDBY && self.standby.insert(address) {
            self.acts.push(Act::StandBy(address));
        }
    }

    /// The addresses for which we listen while another node has them.
    pub fn standby(&self) -> &BTreeSet<Ipv6Addr> {
        &self.standby
    }

    /// The election of one address, and what it waits for.
    fn elected(&mut self, address: IpAddr, known: Known<'_>, now: Duration) -> Option<Elected> {
        let contest = known.contests.get(&address)?;
        let Ownership { me, timing, field, spots, waits, .. } = self;
        let spot = spots.or_default(address);
        let phase = spot.phase;
        let mut elect = |others: &mut Others| loop {
            let mine = matches!(phase, Phase::Owner | Phase::Yielding).then_some(me.station);
            let claims = Claims { others: &others.claimants, mine };
            let elected = field.elect(contest, address, claims, &others.passed, known.roster);
            let Some(elected) = elected else {
                others.wait = None;
                return None;
            };
            if elected.station == me.station {
                others.wait = None;
                let other = dispute::decide(me, field, (phase, others), address, timing, known.roster, now);
                if let Some(again) = other.again {
                    waits.insert((again, address));
                }
                return Some(other.defer_to.map_or(elected, |station| Elected {
                    station,
                    absent: None,
                    fit: true,
                }));
            }
            others.dispute = None;
            if others.claims(elected.station).is_some() || !elected.fit {
                others.wait = None;
                return Some(elected);
            }
            match others.wait {
                Some((station, until)) if station == elected.station => {
                    if until > now {
                        return Some(elected);
                    }
                    others.passed.push(station);
                    others.wait = None;
                }
                _ => {
                    // Who had it, gave it up and knows the API's present state has seen something that we have not yet.
                    let live = field.runner(elected.station).is_some_and(|runner| !runner.stale);
                    let gave_up = live && others.released == Some(elected.station);
                    let until = now + timing.patience() * if gave_up { KNOWS_BETTER } else { 1 };
                    others.wait = Some((elected.station, until));
                    waits.insert((until, address));
                    return Some(elected);
                }
            }
        };
        spot.with_others(|others| {
            others.pass_over(me.station, contest.is_pending());
            elect(others)
        })
    }

    /// Changes how an address is answered for, and notes what is to be told of that.
    fn enter(&mut self, address: IpAddr, phase: Phase) {
        let spot = self.spots.or_default(address);
        let before = std::mem::replace(&mut spot.phase, phase);
        if before == phase {
            return;
        }
        self.stand_ins += usize::from(matches!(phase, Phase::StandIn(_)));
        self.stand_ins -= usize::from(matches!(before, Phase::StandIn(_)));
        let new = before == Phase::Silent && spot.claimants().is_empty() && !spot.had;
        spot.had = true;
        match (before, phase) {
            (Phase::Yielding, Phase::Owner) | (Phase::Owner, Phase::Yielding) => {}
            (_, Phase::Owner | Phase::Yielding) => self.acts.push(Act::Own { address, new }),
            (_, Phase::StandIn(mac)) => self.acts.push(Act::StandIn { address, mac }),
            (_, Phase::Silent) => self.acts.push(Act::Stop(address)),
        }
        let (had, has) = (before.voice(), phase.voice());
        if had != has {
            if let Some(voice) = had {
                self.digest.remove(&Claim { address, voice });
            }
            if let Some(voice) = has {
                self.digest.add(&Claim { address, voice });
            }
            self.untold.entry(address).or_insert(had);
        }
    }

    /// What the announcer is to do, in order.
    pub fn take_acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.acts)
    }

    /// What changed of what we claim since that was taken last: each address with what was claimed before.
    pub fn take_untold(&mut self) -> BTreeMap<IpAddr, Option<Voice>> {
        let mut untold = std::mem::take(&mut self.untold);
        untold.retain(|address, before| self.voice(*address) != *before);
        untold
    }

    /// The digest of all that we claim.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What we claim of this address.
    pub fn voice(&self, address: IpAddr) -> Option<Voice> {
        self.spots.get(&address)?.phase.voice()
    }

    /// Whether the station with this Ethernet address claims the address.
    pub fn is_claimed_by(&self, address: IpAddr, mac: Mac) -> bool {
        let claimants = self.spots.get(&address).map(Spot::claimants).unwrap_or_default();
        claimants
            .iter()
            .any(|(station, _)| self.field.runner(*station).is_some_and(|runner| runner.mac == mac))
    }

    /// All that we claim.
    pub fn claims(&self) -> BTreeMap<IpAddr, Voice> {
        let voice = |(address, spot): (&IpAddr, &Spot)| Some((*address, spot.phase.voice()?));
        self.spots.iter().filter_map(voice).collect()
    }

    /// How an address is answered for.
    pub fn phase(&self, address: IpAddr) -> Phase {
        self.spots.get(&address).map_or(Phase::Silent, |spot| spot.phase)
    }

    /// Whether nothing is answered for.
    pub fn is_silent(&self) -> bool {
        self.spots.values().all(|spot| spot.phase == Phase::Silent)
    }

    /// The stations for which we stand in.
    pub fn absent(&self) -> BTreeSet<Mac> {
        let mac = |spot: &Spot| match spot.phase {
            Phase::StandIn(mac) => Some(mac),
            _ => None,
        };
        if self.stand_ins == 0 {
            return BTreeSet::new();
        }
        self.spots.values().filter_map(mac).collect()
    }
}

#[cfg(test)]
mod tests;
