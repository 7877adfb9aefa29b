//! Scenarios with a hand-moved clock, compared as whole lists of effects with their times; then random ones, whose effects
//! have to keep the bounds. Tests named `conflict_N_…` hold rule N of docs/conflicts.md.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::wire::{arp, ndp};

/// How many addresses are ours, in use or not.
fn held(conflicts: &Conflicts) -> usize {
    conflicts.entries.len() + conflicts.used.values().map(DenseMap::len).sum::<usize>()
}

const LAN: LinkIndex = LinkIndex(2);
const WAN: LinkIndex = LinkIndex(3);
const NODE: Mac = Mac([2, 0, 0, 0, 0, 1]);
const OTHER_LINK: Mac = Mac([2, 0, 0, 0, 0, 2]);
const SPEAKER: Mac = Mac([2, 0, 0, 0, 0, 0x10]);
const PRINTER: Mac = Mac([2, 0, 0, 0, 0, 0x77]);
const CAMERA: Mac = Mac([2, 0, 0, 0, 0, 0x78]);
const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 0x99]);
const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const TWO: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const SIX: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn whose(mac: Mac) -> Station {
    match mac {
        NODE | OTHER_LINK => Station::Ours,
        SPEAKER => Station::Speaker,
        _ => Station::Foreign,
    }
}

fn sighting(address: IpAddr, mac: Mac, kind: Kind) -> Sighting {
    Sighting { address, mac, kind }
}

fn see(conflicts: &mut Conflicts, address: IpAddr, mac: Mac, kind: Kind, now: Duration) -> Option<Seen> {
    conflicts.see(LAN, &sighting(address, mac, kind), whose, now)
}

/// An effect without its link, for short lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Did {
    Probe,
    Clear,
    Told(Mac),
    Resolved,
    Defend,
    Over,
    Again,
}

fn did(effect: Effect) -> (LinkIndex, IpAddr, Did) {
    match effect {
        Effect::SendProbe { link, address } => (link, address, Did::Probe),
        Effect::Clear { link, address } => (link, address, Did::Clear),
        Effect::Conflict { link, address, mac } => (link, address, Did::Told(mac)),
        Effect::Resolved { link, address } => (link, address, Did::Resolved),
        Effect::Defend { link, address } => (link, address, Did::Defend),
        Effect::Over { link, address } => (link, address, Did::Over),
        Effect::Reannounce { link, address } => (link, address, Did::Again),
    }
}

/// All effects up to `until`, each taken when it is due, with the milliseconds.
fn run(conflicts: &mut Conflicts, from: Duration, until: Duration) -> Vec<(u128, Did)> {
    let (mut now, mut seen) = (from, Vec::new());
    loop {
        while let Some(effect) = conflicts.next_effect(now) {
            seen.push((now.as_millis(), did(effect).2));
        }
        match conflicts.next_deadline().filter(|at| *at <= until) {
            Some(at) => now = now.max(at),
            None => return seen,
        }
    }
}

/// One address in use, probed for from 0 on.
fn cleared() -> Conflicts {
    let mut conflicts = Conflicts::new(true, 1);
    assert!(conflicts.probe(LAN, ONE, ms(0)));
    assert_eq!(run(&mut conflicts, ms(0), ms(500)).last().map(|(_, did)| *did), Some(Did::Clear));
    conflicts
}

/// One address that the printer was found to have, at 10 ms.
fn blocked() -> Conflicts {
    let mut conflicts = Conflicts::new(true, 1);
    conflicts.probe(LAN, ONE, ms(0));
    assert_eq!(run(&mut conflicts, ms(0), ms(9)), [(0, Did::Probe)]);
    let expected = Some(Seen::Conflict { address: ONE, mac: PRINTER });
    assert_eq!(see(&mut conflicts, ONE, PRINTER, Kind::Sender, ms(10)), expected);
    assert_eq!(run(&mut conflicts, ms(10), ms(10)), [(10, Did::Told(PRINTER))]);
    conflicts
}

#[test]
fn conflict_1_three_probes_then_clear_within_half_a_second() {
    for seed in 0..200 {
        let mut conflicts = Conflicts::new(true, seed);
        assert!(conflicts.probe(LAN, ONE, ms(1000)));
        assert!(!conflicts.may_announce(LAN, ONE));
        let seen = run(&mut conflicts, ms(1000), ms(60_000));
        let [probes @ .., (clear, Did::Clear)] = &seen[..] else { panic!("{seen:?}") };
        assert_eq!(probes, [1000, 1150, 1300].map(|at| (at, Did::Probe)));
        assert!((1450..=1500).contains(clear), "seed {seed}: at {clear}");
        assert!(conflicts.may_announce(LAN, ONE));
        assert_eq!((conflicts.next_deadline(), conflicts.counts().probes), (None, 3));
    }
}

#[test]
fn conflict_1_two_nodes_do_not_end_together() {
    let end = |seed| {
        let mut conflicts = Conflicts::new(true, seed);
        conflicts.probe(LAN, ONE, ms(0));
        run(&mut conflicts, ms(0), ms(1000)).last().copied()
    };
    let ends: BTreeSet<u128> = (0..100).map(|seed| end(seed).unwrap().0).collect();
    assert!(ends.len() > 20, "{ends:?}");
    assert_eq!(end(7), end(7));
}

#[test]
fn conflict_1_a_late_call_keeps_the_spacing() {
    let mut conflicts = Conflicts::new(true, 1);
    conflicts.probe(LAN, ONE, ms(0));
    let probe = Some(Effect::SendProbe { link: LAN, address: ONE });
    assert_eq!(conflicts.next_effect(ms(5000)), probe);
    assert_eq!((conflicts.next_effect(ms(5000)), conflicts.next_deadline()), (None, Some(ms(5150))));
}

#[test]
fn conflict_2_what_is_no_conflict_while_we_probe() {
    let mut conflicts = Conflicts::new(true, 1);
    conflicts.probe(LAN, ONE, ms(0));
    for (mac, kind) in [
        (NODE, Kind::Probe),
        (OTHER_LINK, Kind::Probe),
        (OTHER_LINK, Kind::Sender),
        (SPEAKER, Kind::Probe),
        (SPEAKER, Kind::Sender),
        (SPEAKER, Kind::Announcement),
    ] {
        assert_eq!(see(&mut conflicts, ONE, mac, kind, ms(1)), None, "{mac} {kind:?}");
    }
    assert_eq!(see(&mut conflicts, TWO, PRINTER, Kind::Sender, ms(1)), None, "not ours");
    let elsewhere = conflicts.see(WAN, &sighting(ONE, PRINTER, Kind::Sender), whose, ms(1));
    assert_eq!(elsewhere, None, "not ours on that link");
    let expected = [0, 150, 300].map(|at| (at, Did::Probe));
    assert_eq!(run(&mut conflicts, ms(0), ms(400)), expected);
}

#[test]
fn conflict_2_a_foreign_sender_or_probe_before_use_keeps_the_address_back() {
    for address in [ONE, SIX] {
        for kind in [Kind::Sender, Kind::Announcement, Kind::Probe] {
            for at in [0, 149, 300, 449] {
                let mut conflicts = Conflicts::new(true, 1);
                conflicts.probe(LAN, address, ms(0));
                run(&mut conflicts, ms(0), ms(at));
                let expected = Some(Seen::Conflict { address, mac: PRINTER });
                assert_eq!(see(&mut conflicts, address, PRINTER, kind, ms(at)), expected);
                assert_eq!(run(&mut conflicts, ms(at), ms(9000)), [(at.into(), Did::Told(PRINTER))]);
                assert!(!conflicts.may_announce(LAN, address));
                assert_eq!(conflicts.conflict(LAN, address), Some(PRINTER));
            }
        }
    }
}

#[test]
fn conflict_3_a_blocked_address_is_probed_for_again_until_nobody_has_it() {
    let mut conflicts = blocked();
    let mut now = ms(10);
    for round in 0..5 {
        let again = conflicts.next_deadline().unwrap();
        assert!((ms(10_000)..=ms(12_000)).contains(&(again - now)), "{round}: after {:?}", again - now);
        assert_eq!(run(&mut conflicts, again, again), [(again.as_millis(), Did::Probe)]);
        now = again + ms(2);
        see(&mut conflicts, ONE, PRINTER, Kind::Sender, now);
        assert_eq!(run(&mut conflicts, now, now + ms(9000)), [], "it was told of already");
    }
    let seen = run(&mut conflicts, now, now + ms(13_000));
    let last: Vec<Did> = seen.iter().map(|(_, did)| *did).collect();
    assert_eq!(last, [Did::Probe, Did::Probe, Did::Probe, Did::Resolved]);
    assert!(conflicts.may_announce(LAN, ONE));
    assert_eq!((conflicts.conflict(LAN, ONE), conflicts.next_deadline()), (None, None));
}

#[test]
fn conflict_3_two_nodes_that_keep_each_other_from_an_address_end_so_soon() {
    // The worst are two that wait equally long the first time: only if the next times differ is there an end.
    let wait = |seed, attempt| jitter((seed, LAN, ONE, attempt), BLOCKED_JITTER);
    let mut waits = BTreeMap::new();
    let worst = (0..).find_map(|seed| Some([waits.insert((wait(seed, 0), wait(seed, 1)), seed)?, seed]));
    let pairs = (0..50).map(|seed| [2 * seed, 2 * seed + 1]).chain(worst);
    for seeds in pairs {
        let mut sides = seeds.map(|seed| Conflicts::new(true, seed));
        for side in &mut sides {
            side.probe(LAN, ONE, ms(0));
        }
        let mut now = ms(0);
        while !sides.iter().any(|side| side.may_announce(LAN, ONE)) {
            let mut probed = [false; 2];
            for (side, probed) in sides.iter_mut().zip(&mut probed) {
                while let Some(effect) = side.next_effect(now) {
                    *probed |= matches!(effect, Effect::SendProbe { .. });
                }
            }
            // Both are on the wire before either arrives.
            for (from, _) in probed.iter().enumerate().filter(|(_, probed)| **probed) {
                see(&mut sides[1 - from], ONE, [PRINTER, CAMERA][from], Kind::Probe, now + ms(1));
            }
            now = sides.iter().filter_map(Conflicts::next_deadline).min().unwrap().max(now + ms(1));
            assert!(now < ms(200_000), "{seeds:?}: no end");
        }
        assert!(!sides.iter().all(|side| side.may_announce(LAN, ONE)), "{seeds:?}: both");
    }
}

#[test]
fn conflict_4_in_use_it_is_defended_at_most_once_in_ten_seconds_and_kept() {
    let mut conflicts = cleared();
    let mut seen = Vec::new();
    for at in (1000..=31_000).step_by(1000) {
        assert!(see(&mut conflicts, ONE, PRINTER, Kind::Sender, ms(at)).is_some());
        seen.extend(run(&mut conflicts, ms(at), ms(at)));
    }
    let defences = [1000, 11_000, 21_000, 31_000].map(|at| (at, Did::Defend));
    assert_eq!(seen, [&[(1000, Did::Told(PRINTER))], &defences[..]].concat());
    assert!(conflicts.may_announce(LAN, ONE));
    assert_eq!((conflicts.counts().defences, conflicts.counts().conflicts), (4, 31));
}

#[test]
fn conflict_4_a_foreign_probe_for_an_address_in_use_is_no_conflict() {
    let mut conflicts = cleared();
    assert_eq!(see(&mut conflicts, ONE, PRINTER, Kind::Probe, ms(1000)), None);
    assert_eq!(conflicts.next_deadline(), None);
}

#[test]
fn conflict_5_a_conflict_in_use_is_over_a_minute_after_the_last_sighting() {
    let mut conflicts = cleared();
    see(&mut conflicts, ONE, PRINTER, Kind::Announcement, ms(1000));
    run(&mut conflicts, ms(1000), ms(1000));
    see(&mut conflicts, ONE, PRINTER, Kind::Announcement, ms(5000));
    assert_eq!(run(&mut conflicts, ms(5000), ms(64_999)), []);
    assert_eq!(conflicts.conflict(LAN, ONE), Some(PRINTER));
    assert_eq!(run(&mut conflicts, ms(64_999), ms(100_000)), [(65_000, Did::Over)]);
    assert_eq!((conflicts.conflict(LAN, ONE), conflicts.next_deadline()), (None, None));
    // Another one is told of and defended against anew.
    see(&mut conflicts, ONE, PRINTER, Kind::Announcement, ms(100_000));
    let expected = [(100_000, Did::Told(PRINTER)), (100_000, Did::Defend)];
    assert_eq!(run(&mut conflicts, ms(100_000), ms(100_000)), expected);
}

#[test]
fn conflict_5_another_foreign_host_is_reported_but_not_every_frame() {
    let mut conflicts = cleared();
    let mut seen = Vec::new();
    for at in (1000..21_000).step_by(100) {
        // Anybody can make up Ethernet addresses.
        let mac = Mac([2, 1, 0, 0, (at >> 8) as u8, at as u8]);
        see(&mut conflicts, ONE, mac, Kind::Sender, ms(at));
        seen.extend(run(&mut conflicts, ms(at), ms(at)));
    }
    let told: Vec<u128> =
        seen.iter().filter(|(_, did)| matches!(did, Did::Told(_))).map(|(at, _)| *at).collect();
    assert_eq!(told, [1000, 11_000]);
    // The last one is told of as well, once it is time.
    let last = Mac([2, 1, 0, 0, (20_900u32 >> 8) as u8, 20_900u32 as u8]);
    assert_eq!(run(&mut conflicts, ms(21_000), ms(30_000)), [(21_000, Did::Told(last))]);
}

#[test]
fn conflict_6_a_fail_over_does_not_wait_and_takes_over_what_is_known() {
    let mut conflicts = Conflicts::new(true, 1);
    conflicts.adopt(LAN, ONE, ms(0));
    assert!(conflicts.may_announce(LAN, ONE) && !conflicts.probe(LAN, ONE, ms(0)));
    assert_eq!(run(&mut conflicts, ms(0), ms(60_000)), []);

    let mut conflicts = blocked();
    conflicts.adopt(LAN, ONE, ms(5000));
    assert!(conflicts.may_announce(LAN, ONE));
    assert_eq!(run(&mut conflicts, ms(5000), ms(100_000)), [(65_000, Did::Over)]);
}

#[test]
fn conflict_6_without_detection_only_rivals_are_seen() {
    let mut conflicts = Conflicts::new(false, 1);
    assert!(!conflicts.probe(LAN, ONE, ms(0)));
    assert!(conflicts.may_announce(LAN, ONE));
    assert_eq!(see(&mut conflicts, ONE, PRINTER, Kind::Sender, ms(1)), None);
    assert_eq!(conflicts.next_deadline(), None);
    let rival = Some(Seen::Rival { address: ONE, mac: SPEAKER });
    assert_eq!(see(&mut conflicts, ONE, SPEAKER, Kind::Announcement, ms(1)), rival);
}

#[test]
fn conflict_7_what_is_lost_is_forgotten_with_all_that_was_to_be_done() {
    for by_link in [false, true] {
        let mut conflicts = blocked();
        conflicts.probe(WAN, ONE, ms(20));
        conflicts.adopt(LAN, TWO, ms(20));
        see(&mut conflicts, TWO, PRINTER, Kind::Sender, ms(20));
        conflicts.answer_rival(LAN, TWO, ms(20));
        // One is told of, the other not yet.
        if by_link {
            assert_eq!(conflicts.forget_link(LAN), [ONE]);
        } else {
            assert_eq!([ONE, TWO].map(|address| conflicts.forget(LAN, address)), [true, false]);
        }
        assert_eq!((held(&conflicts), conflicts.due.len()), (1, 1));
        assert_eq!(see(&mut conflicts, ONE, PRINTER, Kind::Sender, ms(21)), None);
        conflicts.forget(WAN, ONE);
        assert_eq!((conflicts.next_effect(ms(60_000)), conflicts.next_deadline()), (None, None));
        // What comes back begins anew.
        assert!(conflicts.probe(LAN, ONE, ms(60_000)));
        assert_eq!(conflicts.conflict(LAN, ONE), None);
    }
}

#[test]
fn conflict_8_a_rivals_two_forms_are_answered_at_once_and_once_more() {
    let mut conflicts = cleared();
    let mut seen = Vec::new();
    // As MetalLB does: two frames, each 1.1 s.
    for at in [1000, 1001, 2100, 2101] {
        let rival = Some(Seen::Rival { address: ONE, mac: SPEAKER });
        assert_eq!(see(&mut conflicts, ONE, SPEAKER, Kind::Announcement, ms(at)), rival);
        conflicts.answer_rival(LAN, ONE, ms(at));
        seen.extend(run(&mut conflicts, ms(at), ms(at)));
        assert_eq!(see(&mut conflicts, ONE, SPEAKER, Kind::Sender, ms(at)), None, "no announcement");
        if at % 2 == 1 {
            // The caller may take it up late; no earlier than this.
            seen.extend(run(&mut conflicts, ms(at), ms(at + 500)));
        }
    }
    // The last word is ours.
    assert_eq!(seen, [1000, 1100, 2100, 2200].map(|at| (at, Did::Again)));
    assert_eq!((conflicts.counts().rivals, conflicts.counts().reannouncements), (4, 4));
    assert_eq!((conflicts.counts().held_back, conflicts.conflict(LAN, ONE)), (0, None));
    conflicts.answer_rival(LAN, ONE, ms(3000));
    conflicts.answer_rival(LAN, ONE, ms(3000));
    assert_eq!(conflicts.counts().held_back, 1);
}

#[test]
fn conflict_8_a_thousand_rivals_are_answered_a_hundred_a_second_each_in_its_turn() {
    let mut conflicts = Conflicts::new(true, 1);
    let addresses: Vec<IpAddr> = (0..1000u32).map(|n| Ipv4Addr::from_bits(0x0a00_0000 + n).into()).collect();
    for address in &addresses {
        conflicts.adopt(LAN, *address, ms(0));
        conflicts.answer_rival(LAN, *address, ms(0));
    }
    let (mut now, mut answered) = (ms(0), BTreeMap::<IpAddr, Duration>::new());
    while now < ms(9500) {
        while let Some(effect) = conflicts.next_effect(now) {
            let (_, address, did) = did(effect);
            assert_eq!(did, Did::Again);
            answered.entry(address).or_insert(now);
            // The rival goes on about those that were answered.
            conflicts.answer_rival(LAN, address, now);
        }
        now = conflicts.next_deadline().unwrap();
    }
    assert_eq!(answered.len(), 1000, "each has its turn");
    assert_eq!(conflicts.counts().reannouncements, 1000);
    assert_eq!(answered.values().max(), Some(&ms(9000)));
}

#[test]
fn sightings_of_arp() {
    let (one, client) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 9));
    let [request_form, reply_form] = arp::announcement(PRINTER, one);
    let asked = arp::request(CLIENT, client, one);
    let of = |address: Ipv4Addr, mac, kind| Some(sighting(address.into(), mac, kind));
    for (name, packet, expected) in [
        ("a client asks for it", asked, of(client, CLIENT, Kind::Sender)),
        ("it asks", arp::request(PRINTER, one, client), of(one, PRINTER, Kind::Sender)),
        ("it answers", asked.answer(PRINTER), of(one, PRINTER, Kind::Sender)),
        ("it answers a probe", arp::probe(NODE, one).answer(PRINTER), of(one, PRINTER, Kind::Sender)),
        ("a stand-in answers", asked.answer_as(SPEAKER, NODE), of(one, SPEAKER, Kind::Sender)),
        ("it announces", request_form, of(one, PRINTER, Kind::Announcement)),
        ("it announces in a reply", reply_form, of(one, PRINTER, Kind::Announcement)),
        ("it probes", arp::probe(PRINTER, one), of(one, PRINTER, Kind::Probe)),
        ("nobody for nothing", arp::probe(PRINTER, Ipv4Addr::UNSPECIFIED), None),
        ("nobody answers", arp::probe(NODE, Ipv4Addr::UNSPECIFIED).answer(PRINTER), None),
    ] {
        assert_eq!(Sighting::of_arp(&packet), expected, "{name}");
    }
}

#[test]
fn sightings_of_ndp() {
    let [one, client]: [Ipv6Addr; 2] = ["fd00::1".parse().unwrap(), "fd00::9".parse().unwrap()];
    let asked = ndp::request(CLIENT, client, one);
    let bare = ndp::Solicitation { link_layer: None, ..ndp::request(PRINTER, one, client) };
    let (told, asks) = (ndp::Message::Advertisement, ndp::Message::Solicitation);
    for (name, message, (address, mac, kind)) in [
        ("a client asks for it", asks(asked), (client, CLIENT, Kind::Sender)),
        ("it asks", asks(ndp::request(PRINTER, one, client)), (one, PRINTER, Kind::Sender)),
        ("it asks without option", asks(bare), (one, PRINTER, Kind::Sender)),
        ("it answers", told(asked.answer(PRINTER)), (one, PRINTER, Kind::Sender)),
        (
            "it answers a probe",
            told(ndp::probe(NODE, one).answer(PRINTER)),
            (one, PRINTER, Kind::Announcement),
        ),
        ("a stand-in answers", told(asked.answer_as(SPEAKER, NODE)), (one, SPEAKER, Kind::Sender)),
        ("it announces", told(ndp::announcement(PRINTER, one)), (one, PRINTER, Kind::Announcement)),
        ("it probes", asks(ndp::probe(PRINTER, one)), (one, PRINTER, Kind::Probe)),
    ] {
        assert_eq!(Sighting::of_ndp(&message), sighting(address.into(), mac, kind), "{name}");
    }
}

/// Something that happens to one of two addresses on one of two links.
#[derive(Clone, Copy, Debug)]
enum Event {
    Probe,
    Adopt,
    Forget,
    ForgetLink,
    See(Mac, Kind),
    Rival,
}

fn any_event() -> impl Strategy<Value = Event> {
    let mac = prop::sample::select(vec![NODE, SPEAKER, PRINTER, CAMERA]);
    let kind = prop::sample::select(vec![Kind::Sender, Kind::Announcement, Kind::Probe]);
    prop_oneof![
        3 => Just(Event::Probe),
        1 => Just(Event::Adopt),
        1 => Just(Event::Forget),
        1 => Just(Event::ForgetLink),
        4 => (mac, kind).prop_map(|(mac, kind)| Event::See(mac, kind)),
        4 => Just(Event::Rival),
    ]
}

/// What the property keeps of an address, since it became ours.
#[derive(Default)]
struct Known {
    probes: Vec<Duration>,
    foreign: Option<Duration>,
    told: Option<Mac>,
    defended: Option<Duration>,
    again: Option<Duration>,
}

proptest! {
    /// Whatever happens: nothing is done about an address that is not ours; none is cleared but after three probes, the
    /// last of them 150 ms ago, since a foreign host was seen; the limits hold; the machine never stands still
    /// with something due; what it holds is bounded.
    #[test]
    fn the_bounds_hold(
        seed in any::<u64>(),
        enabled in prop::bool::weighted(0.9),
        events in prop::collection::vec((0u64..400, any::<bool>(), any::<bool>(), any_event()), 1..200),
    ) {
        let mut conflicts = Conflicts::new(enabled, seed);
        let mut known: BTreeMap<Key, Known> = BTreeMap::new();
        let (mut now, mut all) = (ms(0), Vec::new());
        for (wait, other_link, other_address, event) in events {
            let until = now + ms(wait * wait / 10);
            while let Some(at) = conflicts.next_deadline().filter(|at| *at <= until) {
                now = now.max(at);
                let effect = conflicts.next_effect(now);
                prop_assert!(effect.is_some(), "due at {:?}, nothing to do at {:?}", at, now);
                let (link, address, did) = did(effect.unwrap());
                let Some(it) = known.get_mut(&(link, address)) else {
                    return Err(TestCaseError::fail(format!("{did:?} for {address}, which is not ours")));
                };
                match did {
                    Did::Probe => it.probes.push(now),
                    Did::Clear | Did::Resolved => {
                        prop_assert_eq!(did == Did::Resolved, it.told.is_some());
                        prop_assert!(it.probes.len() >= 3 && now - *it.probes.last().unwrap() >= ms(150));
                        prop_assert!(conflicts.may_announce(link, address));
                        it.told = None;
                    }
                    Did::Told(mac) => {
                        prop_assert!(it.told != Some(mac));
                        it.told = Some(mac);
                    }
                    Did::Defend => {
                        prop_assert!(it.defended.is_none_or(|at| now - at >= DEFEND_INTERVAL));
                        prop_assert!(it.told.is_some() && conflicts.may_announce(link, address));
                        it.defended = Some(now);
                    }
                    Did::Over => {
                        prop_assert!(it.foreign.is_none_or(|at| now - at >= OVER_AFTER));
                        prop_assert!(it.told.take().is_some());
                    }
                    Did::Again => {
                        prop_assert!(it.again.is_none_or(|at| now - at >= RIVAL_SPACING));
                        it.again = Some(now);
                        all.push(now);
                        let within = all.iter().filter(|at| **at + RIVAL_WINDOW > now).count();
                        prop_assert!(within <= RIVAL_BURST);
                    }
                }
            }
            now = until;
            let link = if other_link { WAN } else { LAN };
            let address = if other_address { SIX } else { ONE };
            match event {
                Event::Probe => {
                    let wait = conflicts.probe(link, address, now);
                    prop_assert_eq!(wait, !conflicts.may_announce(link, address));
                    known.entry((link, address)).or_default();
                }
                Event::Adopt => {
                    conflicts.adopt(link, address, now);
                    prop_assert!(conflicts.may_announce(link, address));
                    known.entry((link, address)).or_default();
                }
                Event::Forget => {
                    conflicts.forget(link, address);
                    known.remove(&(link, address));
                }
                Event::ForgetLink => {
                    conflicts.forget_link(link);
                    known.retain(|(index, _), _| *index != link);
                }
                Event::See(mac, kind) => {
                    let seen = conflicts.see(link, &sighting(address, mac, kind), whose, now);
                    if let Some(it) = known.get_mut(&(link, address)) {
                        if matches!(seen, Some(Seen::Conflict { .. })) {
                            prop_assert!(enabled && whose(mac) == Station::Foreign);
                            it.foreign = Some(now);
                            it.probes.clear();
                        }
                    } else {
                        prop_assert_eq!(seen, None);
                    }
                }
                Event::Rival => conflicts.answer_rival(link, address, now),
            }
            prop_assert!(conflicts.due.len() <= conflicts.entries.len());
            prop_assert!(conflicts.entries.values().all(|entry| !entry.is_plain()));
            prop_assert_eq!(held(&conflicts), known.len());
        }
    }
}
