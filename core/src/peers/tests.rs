//! Peers, told frame by frame.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::wire::hello::{Claims, Digest, Flags, Hello, Sender, State, Voice};

const K: Timing = Timing { interval: Duration::from_millis(100), misses: 3 };
const LIMIT: Duration = Duration::from_secs(60);
const EPOCH: u64 = 7;
const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100));

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn me() -> StationId {
    StationId::of("me", "lan")
}

fn peers() -> Peers {
    Peers::new(me(), EPOCH, K, LIMIT)
}

fn mac(node: &str) -> Mac {
    Mac([2, 0, 0, 0, 0, node.as_bytes()[0]])
}

fn own(node: &str) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, node.as_bytes()[0]))
}

fn station(node: &str) -> StationId {
    StationId::of(node, "lan")
}

fn message(node: &str, epoch: u64, at: Duration, body: Body) -> Message {
    let sender = Sender {
        node: node.into(),
        interface: "lan".into(),
        mac: mac(node),
        epoch,
        sequence: sequence_at(at) + 1,
    };
    Message { sender, body }
}

/// Of a peer that does its work and hears these, in their sessions.
fn hello(node: &str, heard: &[(StationId, u64)]) -> Hello {
    Hello {
        interval: K.interval,
        misses: 3,
        state: State::Active,
        flags: Flags::default(),
        answers: None,
        addresses: vec![own(node)],
        loaded: Vec::new(),
        claims: Digest::default(),
        slice: 0,
        slices: 1,
        peers: heard.iter().map(|(station, epoch)| Heard::new(*station, *epoch, true)).collect(),
        routine: false,
    }
}

fn say(peers: &mut Peers, node: &str, at: Duration, hello: Hello) {
    peers.hear(&message(node, 1, at, Body::Hello(hello)), Transport::Ethernet, at);
}

/// A peer that counts, from `from` to `until`.
fn speak(peers: &mut Peers, node: &str, from: Duration, until: Duration) {
    let mut at = from;
    while at <= until {
        say(peers, node, at, hello(node, &[(me(), EPOCH)]));
        at += K.interval;
    }
}

/// Time goes on, with nobody saying anything.
fn wait(peers: &mut Peers, until: Duration) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(at) = peers.deadline().filter(|at| *at <= until) {
        peers.tick(at);
        events.extend(peers.take_events());
    }
    events
}

fn standing(peers: &Peers, node: &str) -> Option<Standing> {
    peers.standings().get(&station(node)).copied()
}

#[test]
fn our_own_words_count_for_nothing() {
    let mut peers = peers();
    say(&mut peers, "me", ms(0), hello("me", &[(me(), EPOCH)]));
    assert!(peers.is_unknown() && peers.take_events().is_empty());
}

#[test]
fn hearing_must_be_mutual_and_of_this_session() {
    let mut peers = peers();
    say(&mut peers, "a", ms(0), hello("a", &[]));
    assert_eq!((standing(&peers, "a"), peers.ever()), (None, false), "it does not hear us");
    assert!(peers.take_events().contains(&Event::Hello(Urgency::All)), "so that it soon does");
    say(&mut peers, "a", ms(100), hello("a", &[(me(), EPOCH - 1)]));
    assert_eq!((standing(&peers, "a"), peers.ever()), (None, false), "it heard our last session");
    say(&mut peers, "a", ms(200), hello("a", &[(me(), EPOCH)]));
    assert_eq!((standing(&peers, "a"), peers.ever()), (Some(Standing::Fit), true));
}

#[test]
fn a_peer_that_hears_us_no_longer_counts_no_longer() {
    let mut peers = peers();
    speak(&mut peers, "a", ms(0), ms(500));
    for at in [600, 700, 800, 900] {
        say(&mut peers, "a", ms(at), hello("a", &[]));
    }
    assert_eq!(standing(&peers, "a"), None);
    assert!(!peers.is_unheard(ms(900)));
    for at in [1000, 1100] {
        say(&mut peers, "a", ms(at), hello("a", &[]));
    }
    assert_eq!(peers.deadline(), Some(ms(1200)), "it is not left to the next hello");
    assert!(peers.is_unheard(ms(1200)), "nobody has heard us for k intervals");
}

#[test]
fn a_number_that_is_not_higher_is_a_replay() {
    let mut peers = peers();
    speak(&mut peers, "a", ms(0), ms(500));
    let mut away = hello("a", &[(me(), EPOCH)]);
    away.state = State::Leaving;
    for at in [0, 300, 500] {
        peers.hear(&message("a", 1, ms(at), Body::Hello(away.clone())), Transport::Ethernet, ms(550));
    }
    assert_eq!(standing(&peers, "a"), Some(Standing::Fit));
}

#[test]
fn another_session_counts_when_it_hears_us_or_the_known_one_is_silent() {
    let mut peers = peers();
    speak(&mut peers, "a", ms(0), ms(500));
    let other = |at, heard: &[(StationId, u64)]| message("a", 2, at, Body::Hello(hello("a", heard)));
    peers.hear(&other(ms(550), &[]), Transport::Ethernet, ms(550));
    assert_eq!(peers.get(station("a")).map(|peer| peer.epoch), Some(1), "it may be a frame of the past");
    peers.hear(&other(ms(560), &[(me(), EPOCH)]), Transport::Ethernet, ms(560));
    assert_eq!(peers.get(station("a")).map(|peer| peer.epoch), Some(2));
    // And from then on nothing of the first one counts.
    peers.hear(
        &message("a", 1, ms(9000), Body::Hello(hello("a", &[(me(), EPOCH)]))),
        Transport::Ethernet,
        ms(600),
    );
    assert_eq!(peers.get(station("a")).map(|peer| peer.epoch), Some(2));
}

#[test]
fn the_sessions_of_who_was_forgotten_are_over_all_the_same() {
    let mut peers = peers();
    speak(&mut peers, "a", ms(0), ms(500));
    let old = message("a", 1, ms(450), Body::Hello(hello("a", &[(me(), EPOCH)])));
    wait(&mut peers, ms(2000));
    assert!(peers.get(station("a")).is_none());
    peers.hear(&old, Transport::Ethernet, ms(2000));
    assert!(peers.get(station("a")).is_none(), "the same session, and no higher number");
    // It starts again, and a frame of its first session comes once more.
    let new = |at| message("a", 2, at, Body::Hello(hello("a", &[(me(), EPOCH)])));
    peers.hear(&new(ms(2100)), Transport::Ethernet, ms(2100));
    peers.hear(&message("a", 1, ms(3000), old.body), Transport::Ethernet, ms(2150));
    peers.hear(&new(ms(2200)), Transport::Ethernet, ms(2200));
    let known = peers.get(station("a")).map(|peer| (peer.epoch, peer.heard));
    assert_eq!((known, standing(&peers, "a")), (Some((2, ms(2200))), Some(Standing::Fit)));
}

#[test]
fn only_a_hello_says_what_its_sender_claims_now() {
    let mut peers = peers();
    owner(&mut peers, "a", ms(0));
    assert!(!peers.get(station("a")).is_some_and(|peer| peer.is_known_since(ms(50))));
    peers.hear(&message("a", 1, ms(100), Body::Ask { nonce: 1 }), Transport::Ethernet, ms(100));
    assert!(!peers.get(station("a")).is_some_and(|peer| peer.is_known_since(ms(50))), "that was a question");
    let claims = Digest::of(&[Claim { address: VIP, voice: Voice::Own }]);
    say(&mut peers, "a", ms(200), Hello { claims, ..hello("a", &[(me(), EPOCH)]) });
    assert!(peers.get(station("a")).is_some_and(|peer| peer.is_known_since(ms(50))));
}

#[test]
fn in_its_last_interval_a_silent_peer_and_its_kernel_are_asked_three_times() {
    let mut peers = peers();
    speak(&mut peers, "a", ms(0), ms(0));
    peers.take_events();
    assert_eq!(wait(&mut peers, ms(199)), []);
    let events = wait(&mut peers, ms(299));
    let asked = |question| {
        events.iter().filter(|event| **event == Event::Send(station("a"), mac("a"), question)).count()
    };
    assert_eq!((asked(Question::Ask), asked(Question::Kernel(own("a")))), (3, 3), "{events:?}");
    assert_eq!(standing(&peers, "a"), Some(Standing::Fit));
    wait(&mut peers, ms(309));
    assert_eq!(standing(&peers, "a"), Some(Standing::Fit));
    wait(&mut peers, ms(310));
    assert_eq!((standing(&peers, "a"), peers.get(station("a")).is_none()), (None, true), "k + 0.1 intervals");
}

/// A peer that counts and says hello at these times.
fn speak_at(peers: &mut Peers, node: &str, times: &[u64]) {
    times.iter().for_each(|at| say(peers, node, ms(*at), hello(node, &[(me(), EPOCH)])));
}

#[test]
fn who_was_late_twice_may_be_silent_for_as_much_longer_and_is_asked_all_the_while() {
    let mut peers = peers();
    speak_at(&mut peers, "a", &[0, 100, 350, 450, 690, 790]);
    peers.take_events();
    assert_eq!(peers.get(station("a")).unwrap().patience(K), ms(140), "the second longest of 150 and 140");
    let events = wait(&mut peers, ms(790 + 449));
    assert_eq!(standing(&peers, "a"), Some(Standing::Fit));
    let kernel = Event::Send(station("a"), mac("a"), Question::Kernel(own("a")));
    assert_eq!(events.iter().filter(|event| **event == kernel).count(), 8, "{events:?}");
    wait(&mut peers, ms(790 + 450));
    assert_eq!(standing(&peers, "a"), None, "k + 0.1 intervals, and 140 ms");
}

#[test]
fn who_was_late_and_is_forgotten_is_known_to_be_late_when_it_comes_again() {
    let mut peers = peers();
    speak_at(&mut peers, "a", &[0, 100, 350, 450]);
    wait(&mut peers, ms(1_000));
    assert_eq!(standing(&peers, "a"), None);
    speak_at(&mut peers, "a", &[1_050, 1_150]);
    assert_eq!(peers.get(station("a")).unwrap().patience(K), ms(150), "it was late once more, and by more");
}

/// Its own interval counts, not that of everybody else.
#[test]
fn who_comes_again_is_as_late_as_its_own_interval_says() {
    for (interval, silence, patience) in [(30, 170, 90), (30, 400, 0), (200, 900, 600), (200, 2_000, 0)] {
        let mut peers = peers();
        let mut at = 0;
        let speaks = |peers: &mut Peers, at: u64| {
            let hello = Hello { interval: ms(interval), ..hello("a", &[(me(), EPOCH)]) };
            say(peers, "a", ms(at), hello);
        };
        for _ in 0..3 {
            speaks(&mut peers, at);
            speaks(&mut peers, at + interval);
            wait(&mut peers, ms(at + interval + silence));
            at += interval + silence;
        }
        speaks(&mut peers, at);
        let found = peers.get(station("a")).unwrap().patience(K);
        assert_eq!(found, ms(patience), "each {interval} ms, silent for {silence} ms");
    }
}

#[test]
fn the_kernel_of_who_was_late_may_be_silent_for_as_much_longer() {
    let mut peers = peers();
    speak_at(&mut peers, "a", &[0, 250, 500]);
    owner(&mut peers, "a", ms(600));
    wait(&mut peers, ms(950));
    peers.kernel(mac("a"), own("a"), ms(950));
    wait(&mut peers, ms(1_100));
    assert_eq!(standing(&peers, "a"), Some(Standing::Away));
    wait(&mut peers, ms(950 + 459));
    assert_eq!(standing(&peers, "a"), Some(Standing::Away));
    wait(&mut peers, ms(950 + 460));
    assert_eq!(standing(&peers, "a"), None, "k + 0.1 intervals, and 150 ms");
}

#[test]
fn that_we_stood_still_makes_nobody_late() {
    let mut peers = peers();
    speak(&mut peers, "a", ms(0), ms(500));
    for at in [1_500, 3_000] {
        peers.excuse(ms(at - 50));
        speak(&mut peers, "a", ms(at), ms(at + 500));
    }
    assert_eq!(peers.get(station("a")).unwrap().patience(K), ms(0));
}

/// A peer that owns something, at `at`.
fn owner(peers: &mut Peers, node: &str, at: Duration) {
    let claims = Claims::whole(&[(VIP, Voice::Own)].into()).remove(0);
    let mut told = hello(node, &[(me(), EPOCH)]);
    told.claims = claims.after;
    peers.hear(&message(node, 1, at, Body::Hello(told)), Transport::Ethernet, at);
    let mut whole = message(node, 1, at, Body::Claims(claims));
    whole.sender.sequence += 1;
    peers.hear(&whole, Transport::Ethernet, at);
}

#[test]
fn a_kernel_that_answers_in_the_last_interval_makes_it_away_and_its_silence_ends_that() {
    let mut peers = peers();
    owner(&mut peers, "a", ms(0));
    wait(&mut peers, ms(250));
    peers.kernel(mac("b"), own("a"), ms(250));
    assert_eq!(peers.get(station("a")).map(|peer| peer.kernel), Some(ms(0)), "that was another node");
    peers.kernel(mac("a"), own("a"), ms(250));
    wait(&mut peers, ms(320));
    assert_eq!(standing(&peers, "a"), Some(Standing::Away));
    // The kernel goes on to answer, then falls silent.
    for at in [400, 500, 600] {
        wait(&mut peers, ms(at));
        peers.kernel(mac("a"), own("a"), ms(at));
    }
    wait(&mut peers, ms(909));
    assert_eq!(standing(&peers, "a"), Some(Standing::Away));
    let events = wait(&mut peers, ms(1000));
    assert_eq!(standing(&peers, "a"), None);
    assert!(events.contains(&Event::Gone(station("a"))), "it claims nothing any more: {events:?}");
}

#[test]
fn a_node_is_stood_in_for_no_longer_than_the_limit() {
    let mut peers = Peers::new(me(), EPOCH, K, ms(1000));
    owner(&mut peers, "a", ms(0));
    for at in (250..2000).step_by(50) {
        wait(&mut peers, ms(at));
        peers.kernel(mac("a"), own("a"), ms(at));
        let expected = (at <= 1300).then_some(Standing::Away);
        assert_eq!(standing(&peers, "a").filter(|_| at > 310), expected.filter(|_| at > 310), "at {at} ms");
    }
}

#[test]
fn a_node_whose_proxy_fails_is_stood_in_for_no_longer() {
    let mut peers = peers();
    owner(&mut peers, "a", ms(0));
    peers.fail("a", ms(50));
    assert_eq!(standing(&peers, "a"), Some(Standing::Fit), "it is not away");
    let mut away = hello("a", &[(me(), EPOCH)]);
    away.state = State::Away;
    say(&mut peers, "a", ms(100), away);
    assert_eq!(standing(&peers, "a"), Some(Standing::Away));
    peers.take_events();
    peers.fail("a", ms(150));
    assert_eq!(standing(&peers, "a"), None);
    assert!(peers.take_events().contains(&Event::Gone(station("a"))));
}

#[test]
fn somebody_who_still_hears_it_vouches_for_a_silent_peer() {
    let mut peers = peers();
    speak(&mut peers, "a", ms(0), ms(0));
    for at in [0, 100, 200, 300, 400] {
        say(&mut peers, "b", ms(at), hello("b", &[(me(), EPOCH), (station("a"), 1)]));
        wait(&mut peers, ms(at));
    }
    assert_eq!(standing(&peers, "a"), Some(Standing::Fit));
    for at in [500, 600, 700] {
        say(&mut peers, "b", ms(at), hello("b", &[(me(), EPOCH)]));
        wait(&mut peers, ms(at));
    }
    assert_eq!(standing(&peers, "a"), None);
}

#[test]
fn who_does_not_count_and_falls_silent_claims_nothing_any_more() {
    let mut peers = peers();
    owner(&mut peers, "a", ms(0));
    for at in [100, 200, 300, 400] {
        say(&mut peers, "a", ms(at), hello("a", &[]));
    }
    assert_eq!(standing(&peers, "a"), None);
    peers.take_events();
    let events = wait(&mut peers, ms(2000));
    assert!(events.contains(&Event::Gone(station("a"))), "{events:?}");
}

#[test]
fn claims_that_are_not_known_are_asked_for_once_in_an_interval() {
    let mut peers = peers();
    let mut told = hello("a", &[(me(), EPOCH)]);
    told.claims = Digest { count: 1, sum: 1 };
    let wants = |events: Vec<Event>| {
        events.iter().filter(|event| matches!(event, Event::Send(_, _, Question::Want(1)))).count()
    };
    say(&mut peers, "a", ms(0), told.clone());
    assert_eq!(wants(peers.take_events()), 1);
    say(&mut peers, "a", ms(50), told.clone());
    assert_eq!(wants(peers.take_events()), 0);
    say(&mut peers, "a", ms(100), told);
    assert_eq!(wants(peers.take_events()), 1);
    say(&mut peers, "a", ms(200), hello("a", &[(me(), EPOCH)]));
    let events = peers.take_events();
    assert!(events.is_empty() || events == [Event::Replaced(station("a"), vec![])], "{events:?}");
}

#[test]
fn whose_clock_went_on_while_ours_did_not_tells_us_that_we_stood_still() {
    let mut peers = peers();
    speak(&mut peers, "a", ms(0), ms(500));
    peers.take_events();
    let late = |told, now| (message("a", 1, ms(told), Body::Hello(hello("a", &[(me(), EPOCH)]))), ms(now));
    let (frame, now) = late(900, 600);
    peers.hear(&frame, Transport::Ethernet, now);
    assert!(!peers.take_events().contains(&Event::Frozen), "300 ms more may be delay");
    let (frame, now) = late(1400, 700);
    peers.hear(&frame, Transport::Ethernet, now);
    assert!(peers.take_events().contains(&Event::Frozen));
    // However much it said meanwhile.
    let (mut frame, now) = late(1500, 800);
    frame.sender.sequence += 10_000;
    peers.hear(&frame, Transport::Ethernet, now);
    assert!(!peers.take_events().contains(&Event::Frozen));
}

/// A hello of `node` that was said and came then, by this way.
fn come(peers: &mut Peers, node: &str, said: Duration, by: Transport, now: Duration) {
    let hello = hello(node, &[(me(), EPOCH)]);
    peers.hear(&message(node, 1, said, Body::Hello(hello)), by, now);
}

fn needs_udp(peers: &Peers, node: &str, now: Duration) -> bool {
    peers.get(station(node)).is_some_and(|peer| peer.needs_udp(now))
}

#[test]
fn what_comes_by_both_ways_counts_once_and_shows_that_both_work() {
    for first in [Transport::Ethernet, Transport::Udp] {
        let second = if first == Transport::Udp { Transport::Ethernet } else { Transport::Udp };
        let mut peers = peers();
        let mut changes = Vec::new();
        for beat in 0..50 {
            let said = ms(beat * 100);
            come(&mut peers, "a", said, first, said);
            let heard = peers.get(station("a")).map(|peer| (peer.heard, peer.sequence));
            changes.append(&mut peers.take_events());
            come(&mut peers, "a", said, second, said + ms(3));
            assert_eq!(peers.get(station("a")).map(|peer| (peer.heard, peer.sequence)), heard);
            assert_eq!(peers.take_events(), [], "{first:?}, beat {beat}");
            assert!(!needs_udp(&peers, "a", said + ms(3)), "{first:?}, beat {beat}");
        }
        assert!(!changes.iter().any(|event| matches!(event, Event::Transport(..))), "{changes:?}");
    }
}

#[test]
fn who_is_heard_by_datagram_alone_is_told_so_and_it_is_said_once() {
    let mut peers = peers();
    let mut changes = Vec::new();
    let mut hear = |peers: &mut Peers, by, from: u64, until: u64| {
        for beat in from..until {
            come(peers, "a", ms(beat * 100), by, ms(beat * 100));
            let told = peers.take_events().into_iter();
            changes.extend(told.filter_map(|event| match event {
                Event::Transport(_, by) => Some((beat, by)),
                _ => None,
            }));
        }
    };
    hear(&mut peers, Transport::Udp, 0, 30);
    assert!(needs_udp(&peers, "a", ms(2900)));
    // A frame comes: nothing more is needed, and it is the better way.
    hear(&mut peers, Transport::Ethernet, 30, 60);
    assert!(!needs_udp(&peers, "a", ms(5900)));
    hear(&mut peers, Transport::Udp, 60, 90);
    assert!(needs_udp(&peers, "a", ms(8900)));
    assert_eq!(changes, [(10, Transport::Udp), (30, Transport::Ethernet), (69, Transport::Udp)]);
}

#[test]
fn who_asks_by_datagram_is_told_so_for_three_seconds_and_who_asks_by_both_ways_is_answered_by_both() {
    let mut peers = peers();
    speak(&mut peers, "a", ms(0), ms(500));
    peers.take_events();
    let ask = |at| message("a", 1, at, Body::Ask { nonce: 5 });
    let answers = |events: Vec<Event>| {
        events.iter().filter(|event| matches!(event, Event::Hello(Urgency::One(_, _, 5)))).count()
    };
    peers.hear(&ask(ms(550)), Transport::Ethernet, ms(550));
    assert_eq!(answers(peers.take_events()), 1);
    assert!(!needs_udp(&peers, "a", ms(550)));
    // The same question by the other way: its sender may hear no frame.
    peers.hear(&ask(ms(550)), Transport::Udp, ms(551));
    assert_eq!(answers(peers.take_events()), 1);
    assert!(needs_udp(&peers, "a", ms(551)));
    peers.hear(&ask(ms(550)), Transport::Udp, ms(552));
    assert_eq!(answers(peers.take_events()), 0, "a replay");
    speak(&mut peers, "a", ms(600), ms(3600));
    assert!(needs_udp(&peers, "a", ms(3551)) && !needs_udp(&peers, "a", ms(3552)));
    // One of long ago does nothing.
    peers.hear(&ask(ms(3000)), Transport::Udp, ms(3600));
    assert!(!needs_udp(&peers, "a", ms(3600)) && answers(peers.take_events()) == 0);
}

#[test]
fn after_a_pause_of_ours_nobody_is_silent_yet() {
    let mut peers = peers();
    speak(&mut peers, "a", ms(0), ms(500));
    peers.excuse(ms(5000));
    wait(&mut peers, ms(5200));
    assert_eq!(standing(&peers, "a"), Some(Standing::Fit));
    wait(&mut peers, ms(5310));
    assert_eq!(standing(&peers, "a"), None);
}

#[test]
fn there_are_at_most_so_many_peers() {
    let mut peers = peers();
    for n in 0..MOST_PEERS + 50 {
        say(&mut peers, &format!("n{n}"), ms(0), hello("n", &[(me(), EPOCH)]));
    }
    assert_eq!(peers.iter().count(), MOST_PEERS);
}

#[test]
fn the_list_of_peers_goes_round_in_slices() {
    let mut peers = peers();
    let count = MOST_HEARD + 10;
    for n in 0..count {
        say(&mut peers, &format!("n{n}"), ms(0), hello("n", &[(me(), EPOCH)]));
    }
    let told = [peers.list(None, ms(10)), peers.list(None, ms(10))];
    assert!(told.iter().all(|(_, slices, _)| *slices == 2));
    let mut all: Vec<StationId> =
        told.iter().flat_map(|(.., part)| part.iter().map(|heard| heard.station)).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
    // And whoever asked is in the part that it gets; whoever was not heard lately in none.
    let (.., part) = peers.list(Some(station("n7")), ms(10));
    assert!(part.iter().any(|heard| heard.station == station("n7")));
    assert_eq!(peers.list(None, ms(200)).2, []);
}

proptest! {
    /// Frames of the past, in any order and at any time, change nothing for a listener that has heard them, nor let a
    /// peer count with one that was started since.
    #[test]
    fn replays_are_never_accepted(
        past in prop::collection::vec((0u64..20, 0u8..4), 1..30), gaps in prop::collection::vec(0u64..90, 30),
    ) {
        let frame = |n: u64, state: u8| {
            let mut hello = hello("a", &[(me(), EPOCH)]);
            hello.state = [State::Starting, State::Active, State::Leaving, State::Away][usize::from(state)];
            message("a", 1, ms(n * 100), Body::Hello(hello))
        };
        let mut known = peers();
        speak(&mut known, "a", ms(0), ms(2000));
        let mut fresh = Peers::new(me(), EPOCH + 1, K, LIMIT);
        let mut now = ms(2001);
        for ((n, state), gap) in past.iter().zip(gaps) {
            known.hear(&frame(*n, *state), Transport::Ethernet, now);
            fresh.hear(&frame(*n, *state), Transport::Ethernet, now);
            prop_assert_eq!(fresh.standings().len(), 0);
            prop_assert!(!fresh.ever());
            now += ms(gap);
        }
        prop_assert_eq!(known.get(station("a")).map(|peer| (peer.heard, peer.state)), Some((ms(2000), State::Active)));
    }

    /// Whatever of the claims is lost on the way, in the end both sides know the same, by asking.
    #[test]
    fn what_is_told_is_known_in_the_end(
        changes in prop::collection::vec((0u8..6, 0u8..3, any::<bool>()), 1..40),
    ) {
        let mut peers = peers();
        let mut claims: BTreeMap<IpAddr, Voice> = BTreeMap::new();
        let mut known: BTreeMap<IpAddr, Voice> = BTreeMap::new();
        let (mut sequence, mut now) = (1, ms(0));
        let take = |peers: &mut Peers, known: &mut BTreeMap<IpAddr, Voice>| {
            let mut wanted = false;
            for event in peers.take_events() {
                match event {
                    Event::Claimed(_, list) => for claim in list {
                        match claim.voice {
                            Voice::Released => drop(known.remove(&claim.address)),
                            voice => drop(known.insert(claim.address, voice)),
                        }
                    },
                    Event::Replaced(_, list) => {
                        *known = list.into_iter().map(|claim| (claim.address, claim.voice)).collect();
                    }
                    Event::Gone(_) => known.clear(),
                    Event::Send(_, _, Question::Want(_)) => wanted = true,
                    _ => {}
                }
            }
            wanted
        };
        let mut tell = |peers: &mut Peers, body: Body, now: Duration| {
            sequence += 1;
            let mut frame = message("a", 1, ms(0), body);
            frame.sender.sequence = sequence_at(now) + sequence;
            peers.hear(&frame, Transport::Ethernet, now);
        };
        let hello_with = |claims: &BTreeMap<IpAddr, Voice>| {
            let all: Vec<Claim> = claims.iter().map(|(address, voice)| Claim { address: *address, voice: *voice }).collect();
            Body::Hello(Hello { claims: Digest::of(&all), ..hello("a", &[(me(), EPOCH)]) })
        };
        tell(&mut peers, hello_with(&claims), now);
        for (address, voice, lost) in changes {
            let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, address));
            let voice = [Voice::Own, Voice::StandIn, Voice::Released][usize::from(voice)];
            let all: Vec<Claim> = claims.iter().map(|(address, voice)| Claim { address: *address, voice: *voice }).collect();
            let had = claims.get(&address).copied();
            match voice {
                Voice::Released => drop(claims.remove(&address)),
                voice => drop(claims.insert(address, voice)),
            }
            if !lost {
                for change in Claims::change(Digest::of(&all), &[(had, Claim { address, voice })]) {
                    tell(&mut peers, Body::Claims(change), now);
                }
            }
            now += K.interval;
        }
        for _ in 0..3 {
            tell(&mut peers, hello_with(&claims), now);
            if take(&mut peers, &mut known) {
                for whole in Claims::whole(&claims) {
                    tell(&mut peers, Body::Claims(whole), now);
                }
                take(&mut peers, &mut known);
            }
            now += K.interval;
        }
        prop_assert_eq!(known, claims);
        let digests = peers.get(station("a")).map(|peer| peer.known == peer.told);
        prop_assert_eq!(digests, Some(true));
    }
}

/// It did not run, and what came meanwhile lies in its sockets: the questions go out first, and there is time for answers.
#[test]
fn whoever_looks_late_asks_before_it_believes_a_silence() {
    for answers in [false, true] {
        let mut peers = peers();
        owner(&mut peers, "a", ms(0));
        peers.take_events();
        peers.tick(ms(310));
        let asks = peers.take_events();
        assert!(asks.iter().any(|event| matches!(event, Event::Send(_, _, Question::Kernel(_)))), "{asks:?}");
        assert_eq!(standing(&peers, "a"), Some(Standing::Fit));
        assert!(peers.deadline().is_some_and(|at| at > ms(310) && at <= ms(344)), "{:?}", peers.deadline());
        if answers {
            let peer = peers.get(station("a")).unwrap();
            let (mac, address) = (peer.mac, peer.addresses[0]);
            peers.kernel(mac, address, ms(311));
        }
        wait(&mut peers, ms(344));
        assert_eq!(standing(&peers, "a"), answers.then_some(Standing::Away));
    }
}
