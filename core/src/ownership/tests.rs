//! One address among three stations, told claim by claim.

mod hindrance;
mod standby;

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::election::{Interfaces, Node as ApiNode};
use crate::peers::Transport;
use crate::wire::hello::{Body, Flags, Heard, Hello, Message, Sender, State};

const K: Timing = Timing { interval: Duration::from_millis(100), misses: 3 };
const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100));

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn id(n: usize) -> StationId {
    StationId::of(&format!("node{n}"), "lan")
}

fn mac(n: usize) -> Mac {
    Mac([2, 0, 0, 0, 0, n as u8 + 1])
}

fn roster() -> Roster {
    let node =
        |n| ApiNode { name: format!("node{n}"), ready: true, network_available: true, ..ApiNode::default() };
    Roster::default().follow(&(0..4).map(node).collect::<Vec<_>>())
}

/// Station `me` and what it hears of the others.
struct Desk {
    me: usize,
    vip: IpAddr,
    roster: Roster,
    contests: Contests,
    peers: Peers,
    own: Ownership,
}

impl Desk {
    fn new(me: usize, order: &[usize]) -> Self {
        Desk::of(VIP, me, order)
    }

    fn of(vip: IpAddr, me: usize, order: &[usize]) -> Self {
        let roster = roster();
        let station = Station {
            node: format!("node{me}").into(),
            interface: "lan".into(),
            mac: mac(me),
            ipv6: vip.is_ipv6(),
        };
        let peers = Peers::new(id(me), 1, K, Duration::from_secs(60));
        let mut desk =
            Desk { me, vip, roster, contests: Contests::new(), peers, own: Ownership::new(station, K) };
        desk.contest(order, ms(0));
        desk
    }

    fn contest(&mut self, order: &[usize], now: Duration) {
        let ids: Vec<_> = order.iter().filter_map(|n| self.roster.id(&format!("node{n}"))).collect();
        let all = ids.into_iter().map(|id| (id, Interfaces::All));
        self.contests.insert(self.vip, Arc::new(Contest::limited(all, Vec::new())));
        let Desk { roster, contests, peers, own, .. } = self;
        own.contest(self.vip, Known { contests, roster, peers }, now);
    }

    fn hear(&mut self, n: usize, state: State, stale: bool, now: Duration) {
        self.hear_of(n, &[self.me], state, stale, now);
    }

    /// Station `n` says whom it hears mutually.
    fn hear_of(&mut self, n: usize, of: &[usize], state: State, stale: bool, now: Duration) {
        let hello = Hello {
            interval: K.interval,
            misses: 3,
            state,
            flags: Flags { stale, ..Flags::default() },
            answers: None,
            addresses: vec![self.vip],
            loaded: Vec::new(),
            claims: Digest::default(),
            slice: 0,
            slices: 1,
            peers: of.iter().map(|n| Heard::new(id(*n), 1, true)).collect(),
            routine: false,
        };
        let sender = Sender {
            node: format!("node{n}"),
            interface: "lan".into(),
            mac: mac(n),
            epoch: 1,
            sequence: crate::peers::sequence_at(now) + 1,
        };
        let message = Message { sender, body: Body::Hello(hello) };
        self.peers.hear(&message, Transport::Ethernet, now);
    }

    fn stand(&mut self, standing: Standing, stale: bool, now: Duration) {
        let by_api = self.peers.is_unknown();
        let Desk { roster, contests, peers, own, .. } = self;
        own.stand(standing, stale, by_api, Known { contests, roster, peers }, now);
    }

    fn claim(&mut self, n: usize, voice: Voice, now: Duration) {
        self.own.claimed(id(n), &[Claim { address: self.vip, voice }]);
        let Desk { roster, contests, peers, own, .. } = self;
        own.settle_touched(Known { contests, roster, peers }, now);
    }

    fn tick(&mut self, now: Duration) {
        let Desk { roster, contests, peers, own, .. } = self;
        own.tick(Known { contests, roster, peers }, now);
    }

    fn phase(&self) -> Phase {
        self.own.phase(self.vip)
    }
}

/// Station `me` among fit ones.
fn among(me: usize, order: &[usize]) -> Desk {
    among_for(VIP, me, order)
}

fn among_for(vip: IpAddr, me: usize, order: &[usize]) -> Desk {
    let mut desk = Desk::of(vip, me, order);
    for n in (0..3).filter(|n| *n != me) {
        desk.hear(n, State::Active, false, ms(0));
    }
    desk.stand(Standing::Fit, false, ms(0));
    desk
}

#[test]
fn the_first_fit_one_owns_and_the_next_one_does_not() {
    assert_eq!(among(0, &[0, 1, 2]).phase(), Phase::Owner);
    assert_eq!(among(1, &[0, 1, 2]).phase(), Phase::Silent);
    let mut desk = among(1, &[0, 1, 2]);
    desk.hear(0, State::Leaving, false, ms(100));
    desk.stand(Standing::Fit, false, ms(100));
    assert_eq!(desk.phase(), Phase::Owner);
}

#[test]
fn where_nobody_was_heard_the_api_decides() {
    for (me, phase) in [(0, Phase::Owner), (1, Phase::Silent)] {
        let mut desk = Desk::new(me, &[0, 1, 2]);
        desk.stand(Standing::Fit, false, ms(0));
        assert_eq!(desk.phase(), phase);
    }
}

#[test]
fn a_loser_answers_until_the_winner_claims() {
    let mut desk = among(0, &[0, 1, 2]);
    desk.contest(&[1, 0, 2], ms(100));
    assert_eq!((desk.phase(), desk.own.voice(VIP)), (Phase::Yielding, Some(Voice::Own)));
    desk.claim(1, Voice::Own, ms(101));
    assert_eq!(desk.phase(), Phase::Silent);
    assert_eq!(desk.own.take_acts(), [Act::Own { address: VIP, new: true }, Act::Stop(VIP)]);
}

#[test]
fn where_nobody_may_it_stops_at_once() {
    let mut desk = among(0, &[0, 1, 2]);
    desk.contest(&[], ms(100));
    assert_eq!(desk.phase(), Phase::Silent);
}

#[test]
fn an_elected_one_that_does_not_claim_is_passed_over_until_it_does() {
    let mut desk = among(1, &[0, 1, 2]);
    desk.tick(ms(299));
    assert_eq!(desk.phase(), Phase::Silent);
    desk.tick(ms(300));
    assert_eq!(desk.phase(), Phase::Owner);
    desk.claim(0, Voice::Own, ms(500));
    assert_eq!(desk.phase(), Phase::Silent);
}

#[test]
fn what_an_absent_one_owned_is_stood_in_for_by_the_elected_one() {
    let mut desk = among(1, &[0, 1, 2]);
    desk.claim(0, Voice::Own, ms(10));
    desk.hear(0, State::Away, false, ms(100));
    desk.stand(Standing::Fit, false, ms(100));
    assert_eq!(desk.phase(), Phase::StandIn(mac(0)));
    assert_eq!(desk.own.absent(), [mac(0)].into());
    // What it did not own goes to the next.
    let mut other = among(1, &[0, 1, 2]);
    other.hear(0, State::Away, false, ms(100));
    other.stand(Standing::Fit, false, ms(100));
    assert_eq!(other.phase(), Phase::Owner);
}

/// Of an address that one node alone may announce, as of a Service with `externalTrafficPolicy: Local` and one pod.
#[test]
fn where_only_the_absent_one_may_answer_one_other_stands_in() {
    let mut standing_in = Vec::new();
    for me in [1, 2] {
        let mut desk = among(me, &[0]);
        desk.claim(0, Voice::Own, ms(10));
        assert_eq!(desk.phase(), Phase::Silent);
        desk.hear(0, State::Away, false, ms(100));
        desk.stand(Standing::Fit, false, ms(100));
        if desk.phase() != Phase::Silent {
            assert_eq!(desk.phase(), Phase::StandIn(mac(0)));
            standing_in.push(me);
            // It returns.
            let mut back = desk.own.clone();
            desk.hear(0, State::Active, false, ms(200));
            desk.own.replaced(id(0), &[]);
            desk.stand(Standing::Fit, false, ms(200));
            assert_eq!(desk.phase(), Phase::StandIn(mac(0)), "until it claims");
            desk.claim(0, Voice::Own, ms(201));
            assert_eq!(desk.phase(), Phase::Silent);
            // The pod goes.
            std::mem::swap(&mut desk.own, &mut back);
            desk.contest(&[], ms(202));
            assert_eq!(desk.phase(), Phase::Silent);
        }
        // What it did not own nobody may have.
        let mut other = among(me, &[0]);
        other.hear(0, State::Away, false, ms(100));
        other.stand(Standing::Fit, false, ms(100));
        assert_eq!(other.phase(), Phase::Silent);
    }
    assert_eq!(standing_in.len(), 1, "{standing_in:?}");
}

#[test]
fn the_only_one_that_may_answer_answers_until_somebody_stands_in() {
    let mut desk = among(0, &[0]);
    assert_eq!(desk.phase(), Phase::Owner);
    desk.stand(Standing::Away, false, ms(100));
    assert_eq!(desk.phase(), Phase::Yielding);
    let other = [1, 2].into_iter().min_by_key(|n| id(*n)).unwrap();
    desk.claim(other, Voice::StandIn, ms(101));
    assert_eq!(desk.phase(), Phase::Silent);
    // Where the node goes, and where nobody is, there is nobody to wait for.
    let mut leaving = among(0, &[0]);
    leaving.stand(Standing::Leaving, false, ms(100));
    assert_eq!(leaving.phase(), Phase::Owner, "nobody else may");
}

#[test]
fn of_two_who_claim_the_one_that_is_out_of_date_gives_way() {
    let mut desk = among(0, &[0, 1, 2]);
    desk.claim(1, Voice::Own, ms(100));
    assert_eq!(desk.phase(), Phase::Owner);
    desk.stand(Standing::Fit, true, ms(200));
    assert_eq!(desk.phase(), Phase::Silent);
    desk.stand(Standing::Fit, false, ms(5000));
    assert_eq!(desk.phase(), Phase::Owner, "and takes its own back when it knows again");
}

#[test]
fn a_dispute_ends_by_the_hash_and_is_tried_again() {
    let order = [precedence_of(0), precedence_of(1)];
    let (loser, winner) = if order[0] < order[1] { (1, 0) } else { (0, 1) };
    let mut desk = among(loser, &[loser, winner, 2]);
    desk.claim(winner, Voice::Own, ms(100));
    desk.tick(ms(1099));
    assert_eq!(desk.phase(), Phase::Owner);
    desk.tick(ms(1100));
    assert_eq!(desk.phase(), Phase::Silent);
    desk.tick(ms(6099));
    assert_eq!(desk.phase(), Phase::Silent);
    desk.tick(ms(6100));
    assert_eq!(desk.phase(), Phase::Owner);
}

/// Its word that it gave up would not come here: two who wait for each other's old claims would leave nobody.
#[test]
fn who_is_heard_by_others_only_wins_no_dispute() {
    let mut desk = among(0, &[0, 1, 2]);
    desk.claim(1, Voice::Own, ms(10));
    desk.stand(Standing::Fit, true, ms(20));
    assert_eq!(desk.phase(), Phase::Silent, "who is out of date gives way");
    for at in [100, 200, 300, 400] {
        desk.hear_of(2, &[0, 1], State::Active, false, ms(at));
        desk.peers.tick(ms(at));
        desk.stand(Standing::Fit, true, ms(at));
    }
    assert!(desk.peers.standings().contains_key(&id(1)), "it counts, as it is heard by one who does");
    assert_eq!(desk.phase(), Phase::Owner);
    desk.hear(1, State::Active, false, ms(450));
    desk.stand(Standing::Fit, true, ms(450));
    assert_eq!(desk.phase(), Phase::Silent, "it is heard again, and its claims with it");
}

fn precedence_of(n: usize) -> [u8; 32] {
    crate::election::precedence(&format!("node{n}"), VIP)
}

proptest! {
    /// Stations that know the same come to the same owner, and there is one where anybody may.
    #[test]
    fn all_who_know_the_same_elect_the_same(
        order in Just(vec![0usize, 1, 2]).prop_shuffle(), states in prop::array::uniform3(0u8..3), length in 1usize..=3,
    ) {
        let order = &order[..length];
        let state = |n: usize| [State::Active, State::Starting, State::Leaving][usize::from(states[n])];
        let standing = |n: usize| [Standing::Fit, Standing::Starting, Standing::Leaving][usize::from(states[n])];
        let mut elected = BTreeSet::new();
        for me in 0..3 {
            let mut desk = Desk::new(me, order);
            for n in (0..3).filter(|n| *n != me) {
                desk.hear(n, state(n), false, ms(0));
            }
            desk.stand(standing(me), false, ms(0));
            let contest = desk.contests.get(&VIP).expect("it is contested");
            let owner = desk.own.field.elect(contest, VIP, Claims::default(), &[], &desk.roster);
            elected.insert(owner.map(|elected| elected.station));
        }
        prop_assert_eq!(elected.len(), 1, "{:?}", elected);
        prop_assert!(!elected.contains(&None));
    }
}
