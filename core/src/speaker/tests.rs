//! The machine without others: links, the end, and other hosts. With others it is in `core/tests/simulation`.

use std::net::Ipv4Addr;

use super::*;
use crate::election::{Interfaces, Node};
use crate::wire::arp;

const LAN: LinkIndex = LinkIndex(2);
const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);
const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 9]);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn link(name: &str, ups: u64) -> BTreeMap<LinkIndex, Link> {
    let link = Link {
        name: name.to_owned(),
        mac: OURS,
        ups,
        ipv6: false,
        addresses: [].into(),
        networks: [].into(),
    };
    [(LAN, link)].into()
}

fn roster() -> Arc<Roster> {
    let node = Node { name: "ours".to_owned(), ready: true, ..Node::default() };
    Arc::new(Roster::default().follow(&[node]))
}

/// The address may be answered for by this node, on these links; or by nobody.
fn change(interfaces: Option<Interfaces>) -> Change {
    let contest = |names| Contest::among([roster().id("ours").unwrap()], Vec::new()).on(names);
    let contest = interfaces.map(|names| Arc::new(contest(names))).ok_or(crate::election::Lost::Released);
    Change { address: VIP.into(), contest }
}

/// One that nobody else is heard by, as it has no key.
fn speaker(conflict_detection: bool) -> Speaker {
    let mut speaker = Speaker::new(Config {
        node: "ours".into(),
        epoch: 1,
        timing: Timing::default(),
        refresh: None,
        stand_in_limit: Duration::from_secs(60),
        conflict_detection,
        transports: Transports::default(),
    });
    speaker.handle_links(link("lan", 1), ms(0));
    speaker.handle_news(roster(), &[], ms(0));
    speaker
}

fn answers(speaker: &mut Speaker, now: Duration) -> bool {
    let question = arp::request(CLIENT, Ipv4Addr::new(10, 0, 0, 9), VIP).build();
    speaker.handle_frame(LAN, &question, now).is_ok_and(|answer| answer.is_some())
}

/// What is sent until then, each with its time.
fn sent(speaker: &mut Speaker, from: Duration, until: Duration) -> Vec<(Duration, Sent)> {
    let (mut sent, mut now) = (Vec::new(), from);
    loop {
        while let Some(effect) = speaker.next_effect(now) {
            if let Effect::Send { what, .. } = effect {
                sent.push((now, what));
            }
        }
        match speaker.next_deadline().filter(|at| *at <= until) {
            Some(at) => now = at.max(now),
            None => return sent,
        }
    }
}

#[test]
fn a_link_that_takes_anothers_place_inherits_no_word_of_it() {
    let mut speaker = speaker(false);
    speaker.handle_news(roster(), &[change(Some(Interfaces::Only(["lan".to_owned()].into())))], ms(1));
    assert!(answers(&mut speaker, ms(1)));
    speaker.handle_links(link("other", 1), ms(2));
    assert!(!answers(&mut speaker, ms(2)), "it has another name");
    speaker.handle_links(link("lan", 1), ms(3));
    assert!(answers(&mut speaker, ms(3)));
    speaker.handle_links(link("lan", 2), ms(4));
    assert!(answers(&mut speaker, ms(4)), "it came up again, and nobody else was ever heard there");
    speaker.handle_links(BTreeMap::new(), ms(5));
    assert!(!answers(&mut speaker, ms(5)));
}

#[test]
fn a_new_address_is_probed_first_and_one_that_was_there_before_is_not() {
    let mut speaker = speaker(true);
    speaker.handle_news(roster(), &[change(Some(Interfaces::All))], ms(10));
    let frames = sent(&mut speaker, ms(10), ms(300));
    assert!(!frames.is_empty() && frames.iter().all(|(_, what)| *what == Sent::Probe), "{frames:?}");
    assert!(!answers(&mut speaker, ms(300)));
    sent(&mut speaker, ms(300), ms(600));
    assert!(answers(&mut speaker, ms(600)));
    // The link returns: nothing is probed for what has been ours.
    speaker.handle_links(link("lan", 2), ms(5000));
    assert!(answers(&mut speaker, ms(5000)));

    let mut before = Speaker::new(speaker.config.clone());
    before.handle_links(link("lan", 1), ms(0));
    before.handle_news(roster(), &[change(Some(Interfaces::All))], ms(0));
    assert!(answers(&mut before, ms(0)), "it was there when this speaker came");
}

#[test]
fn an_address_whose_advertisement_is_replaced_is_not_new() {
    let mut speaker = speaker(true);
    speaker.handle_news(roster(), &[change(Some(Interfaces::All))], ms(10));
    sent(&mut speaker, ms(10), ms(1000));
    assert!(answers(&mut speaker, ms(1000)));
    speaker.handle_news(roster(), &[change(None)], ms(1010));
    sent(&mut speaker, ms(1010), ms(1100));
    assert!(!answers(&mut speaker, ms(1100)));
    speaker.handle_news(roster(), &[change(Some(Interfaces::All))], ms(1200));
    assert!(answers(&mut speaker, ms(1200)), "at once");
}

#[test]
fn an_address_that_a_foreign_host_has_is_reported_and_not_announced() {
    let mut speaker = speaker(true);
    speaker.handle_news(roster(), &[change(Some(Interfaces::All))], ms(10));
    sent(&mut speaker, ms(10), ms(100));
    let theirs = arp::announcement(CLIENT, VIP)[1].build();
    assert!(speaker.handle_frame(LAN, &theirs, ms(100)).is_err());
    let mut told = None;
    while let Some(effect) = speaker.next_effect(ms(100)) {
        if let Effect::Conflict { address, mac, .. } = effect {
            told = Some((address, mac));
        }
    }
    assert_eq!(told, Some((VIP.into(), Some(CLIENT))));
    sent(&mut speaker, ms(100), ms(5000));
    assert!(!answers(&mut speaker, ms(5000)));
    // It is gone, so the next probing finds nobody.
    sent(&mut speaker, ms(5000), ms(15_000));
    assert!(answers(&mut speaker, ms(15_000)));
}

/// Who has been told of a conflict is told that it is over, however that came.
#[test]
fn a_reported_conflict_ends_with_the_address_or_the_link() {
    type Loss = fn(&mut Speaker);
    let losses: [(Loss, bool); 3] = [
        (|speaker| speaker.handle_news(roster(), &[change(None)], ms(200)), true),
        (|speaker| speaker.handle_links(BTreeMap::new(), ms(200)), true),
        (|speaker| speaker.handle_news(roster(), &[change(Some(Interfaces::All))], ms(200)), false),
    ];
    for (number, (lose, over)) in losses.into_iter().enumerate() {
        for in_use in [false, true] {
            let mut speaker = speaker(true);
            let news = if in_use { ms(0) } else { ms(10) };
            speaker.informed = !in_use;
            speaker.handle_news(roster(), &[change(Some(Interfaces::All))], news);
            sent(&mut speaker, ms(10), ms(100));
            assert_eq!(answers(&mut speaker, ms(100)), in_use);
            let theirs = arp::announcement(CLIENT, VIP)[1].build();
            let _ = speaker.handle_frame(LAN, &theirs, ms(100));
            let told = |speaker: &mut Speaker, now| {
                let mut told = Vec::new();
                while let Some(effect) = speaker.next_effect(now) {
                    if let Effect::Conflict { link, address, mac } = effect {
                        assert_eq!((link, address), (LAN, IpAddr::V4(VIP)));
                        told.push(mac);
                    }
                }
                told
            };
            assert_eq!(told(&mut speaker, ms(100)), [Some(CLIENT)]);
            lose(&mut speaker);
            let expected: &[Option<Mac>] = if over { &[None] } else { &[] };
            assert_eq!(told(&mut speaker, ms(200)), expected, "{number} {in_use}");
        }
    }
}

#[test]
fn without_others_the_end_is_at_once() {
    let mut speaker = speaker(false);
    assert!(!speaker.is_done(ms(1)));
    speaker.end(true, ms(1));
    assert!(speaker.is_done(ms(1)));
}

/// What another speaker with the same key says, as the message of this number.
fn says(body: crate::wire::hello::Body, sequence: u64) -> Vec<u8> {
    use crate::wire::hello::{Message, Sender, payload};
    let sender = Sender { node: "theirs".into(), interface: "lan".into(), mac: CLIENT, epoch: 2, sequence };
    payload(&Message { sender, body }, &crate::hello_key::Key::new([7; 32])).unwrap()
}

/// A hello of it, that says that it hears us.
fn datagram(sequence: u64) -> Vec<u8> {
    use crate::wire::hello::{Body, Digest, Flags, Heard, Hello, State, StationId};
    let body = Body::Hello(Hello {
        interval: Timing::default().interval,
        misses: 3,
        state: State::Active,
        flags: Flags::default(),
        answers: None,
        addresses: vec![[10, 0, 0, 9].into()],
        loaded: Vec::new(),
        claims: Digest::default(),
        slice: 0,
        slices: 1,
        peers: vec![Heard::new(StationId::of("ours", "lan"), 1, true)],
        routine: false,
    });
    says(body, sequence)
}

/// One with the same key, and an address and a network on its link.
fn with_network(transports: Transports) -> Speaker {
    let mut speaker = Speaker::new(Config { transports, ..speaker(false).config });
    speaker.set_keys(Arc::new(Keys::new(crate::hello_key::Key::new([7; 32]), []).unwrap()), ms(0));
    let mut links = link("lan", 1);
    for link in links.values_mut() {
        link.addresses = [[10, 0, 0, 1].into()].into();
        link.networks = ["10.0.0.0/24".parse().unwrap()].into();
    }
    speaker.handle_links(links, ms(0));
    speaker
}

/// The same in a frame, said at `at`.
fn frame(at: Duration) -> Vec<u8> {
    use crate::wire::hello::{GROUP, frame};
    frame(GROUP, CLIENT, &datagram(sequence_at(at) + 1))
}

#[test]
fn a_hello_that_waited_counts_from_when_it_came() {
    let mut speaker = with_network(Transports::Ethernet);
    sent(&mut speaker, ms(0), ms(10));
    assert_eq!(speaker.handle_frame(LAN, &frame(ms(10)), ms(10)), Ok(None));
    for (came, read) in [(110, 190), (210, 290)] {
        sent(&mut speaker, ms(10), ms(read));
        assert_eq!(speaker.handle_waiting(LAN, &frame(ms(came)), ms(came), ms(read)), Ok(()));
    }
    // In doubt two intervals after it came.
    let asked = |frames: Vec<(Duration, Sent)>| {
        frames.into_iter().find(|(_, what)| *what == Sent::Question).map(|(at, _)| at)
    };
    assert_eq!(asked(sent(&mut speaker, ms(290), ms(450))), Some(ms(410)));
}

#[test]
fn a_hello_that_waited_for_too_long_or_through_a_pause_is_out_of_date() {
    use crate::announce::Ignored;
    let mut speaker = with_network(Transports::Ethernet);
    sent(&mut speaker, ms(0), ms(10));
    assert_eq!(speaker.patience(), None);
    assert_eq!(speaker.handle_frame(LAN, &frame(ms(10)), ms(10)), Ok(None));
    sent(&mut speaker, ms(10), ms(430));
    let mut wait = |came: u64, read: u64| {
        let outcome = speaker.handle_waiting(LAN, &frame(ms(came)), ms(came), ms(read));
        (outcome, speaker.patience())
    };
    assert_eq!(wait(100, 430).0, Err(Ignored::OutOfDate), "its sender may be silent since");
    assert_eq!(wait(430, 430).0, Ok(()));
    // Stopped, and on again: what waited is not read, and what comes is looked for soon.
    assert_eq!(wait(1990, 2000), (Err(Ignored::OutOfDate), Some(ms(10))));
    assert_eq!(speaker.next_effect(ms(2000)), Some(Effect::Drain));
    let mut wait = |came: u64, read: u64| speaker.handle_waiting(LAN, &frame(ms(came)), ms(came), ms(read));
    assert_eq!(wait(1995, 2001), Err(Ignored::OutOfDate));
    assert_eq!(wait(2001, 2001), Ok(()));
    assert_eq!(speaker.patience(), None, "all were heard");
}

#[test]
fn a_claim_for_what_is_ours_that_waited_has_the_api_asked_once() {
    use crate::wire::hello::{Body, Claims, GROUP, Voice, frame};
    let mut speaker = with_network(Transports::Ethernet);
    speaker.handle_news(roster(), &[change(Some(Interfaces::All))], ms(0));
    sent(&mut speaker, ms(0), ms(500));
    assert_eq!(speaker.handle_frame(LAN, &self::frame(ms(500)), ms(500)), Ok(None));
    assert!(answers(&mut speaker, ms(500)));
    let claims = Claims::whole(&[(VIP.into(), Voice::Own)].into()).remove(0);
    let claim = |number: u64| {
        frame(GROUP, CLIENT, &says(Body::Claims(claims.clone()), sequence_at(ms(500)) + number))
    };
    let mut asks = |number: u64, came: u64, read: u64| {
        assert_eq!(speaker.handle_hello(LAN, &claim(number), ms(came), ms(read)), Ok(()));
        let mut asks = false;
        while let Some(effect) = speaker.next_effect(ms(read)) {
            asks |= effect == Effect::CheckView;
        }
        asks
    };
    assert!(!asks(2, 510, 515), "who hears it at once has news of its own on the way");
    assert!(!asks(2, 516, 560), "one that is said again is not taken");
    assert!(asks(3, 530, 561));
    assert!(!asks(4, 535, 562), "it is asked already");
}

/// Ours and theirs, by the API.
fn two() -> Arc<Roster> {
    let node = |name: &str| Node { name: name.to_owned(), ready: true, ..Node::default() };
    Arc::new(Roster::default().follow(&[node("ours"), node("theirs")]))
}

/// One that has the address, and has heard another one until then, each interval.
fn owner_beside_another(until: u64) -> Speaker {
    let mut speaker = with_network(Transports::Ethernet);
    speaker.conflicts = Conflicts::new(true, 1);
    let two = two();
    let contest = Contest::among([two.id("ours").unwrap(), two.id("theirs").unwrap()], Vec::new());
    let change = Change { address: VIP.into(), contest: Ok(Arc::new(contest.on(Interfaces::All))) };
    speaker.handle_news(two, &[change], ms(0));
    for at in (100..=until).step_by(100) {
        sent(&mut speaker, ms(at - 100), ms(at));
        assert_eq!(speaker.handle_frame(LAN, &frame(ms(at)), ms(at)), Ok(None));
    }
    assert!(answers(&mut speaker, ms(until)));
    speaker
}

/// What it sends until then, from then on, of announcements and conflicts.
fn said_of_it(speaker: &mut Speaker, from: u64, until: u64) -> (usize, usize) {
    let (mut announced, mut conflicts, mut now) = (0, 0, ms(from));
    loop {
        while let Some(effect) = speaker.next_effect(now) {
            announced += usize::from(matches!(effect, Effect::Send { what: Sent::Announcement(_), .. }));
            conflicts += usize::from(matches!(effect, Effect::Conflict { .. }));
        }
        match speaker.next_deadline().filter(|at| *at <= ms(until)) {
            Some(at) => now = at.max(now),
            None => return (announced, conflicts),
        }
    }
}

/// A node that hears nobody takes itself for the last one left, and announces what others have.
#[test]
fn what_another_one_announced_is_announced_again_when_that_one_counts_no_more() {
    use crate::wire::hello::{Body, Claim, Claims, Digest, GROUP, Hello, Voice, frame, parse_frame};
    let mut speaker = owner_beside_another(20_000);
    assert_eq!(said_of_it(&mut speaker, 20_000, 20_050), (0, 0), "all is calm");
    let claims = Claims::whole(&[(VIP.into(), Voice::Own)].into()).remove(0);
    let has = Digest::of(&[Claim { address: VIP.into(), voice: Voice::Own }]);
    let said = |body: Body, at: u64| frame(GROUP, CLIENT, &says(body, sequence_at(ms(at)) + 1));
    let heard = speaker.handle_frame(LAN, &said(Body::Claims(claims), 20_050), ms(20_050));
    assert_eq!(heard, Ok(None));
    for announcement in arp::announcement(CLIENT, VIP) {
        let _ = speaker.handle_frame(LAN, &announcement.build(), ms(20_051));
    }
    assert_eq!(said_of_it(&mut speaker, 20_051, 20_080), (0, 0), "it may have reason to");
    // It lists nobody, and says what it has.
    let Body::Hello(hello) = parse_frame(&self::frame(ms(20_100)), &speaker.keys).unwrap().message.body
    else {
        panic!("a hello")
    };
    let mut announced = Vec::new();
    for at in (20_100..21_000).step_by(100) {
        let deaf = Body::Hello(Hello { peers: Vec::new(), claims: has, ..hello.clone() });
        assert_eq!(speaker.handle_frame(LAN, &said(deaf, at), ms(at)), Ok(None));
        announced.push(said_of_it(&mut speaker, at, at + 99).0);
    }
    // What it said of us last counts for k intervals.
    assert_eq!(announced, [0, 0, 2, 0, 0, 0, 0, 0, 0], "once, in both forms");
}

#[test]
fn a_node_that_was_not_heard_for_a_while_is_no_foreign_host() {
    for (silence, announced, conflicts) in [(1_000, 0, 0), (59_000, 0, 0), (62_000, 2, 1)] {
        let mut speaker = owner_beside_another(20_000);
        let now = 20_000 + silence;
        said_of_it(&mut speaker, 20_000, now);
        assert!(answers(&mut speaker, ms(now)));
        for announcement in arp::announcement(CLIENT, VIP) {
            let _ = speaker.handle_frame(LAN, &announcement.build(), ms(now));
        }
        // Two who do not hear each other would answer each other without end.
        let told = said_of_it(&mut speaker, now, now + 500);
        assert_eq!(told, (announced, conflicts), "after {silence} ms: announced against it, and reported");
    }
}

/// Nobody is woken by what it knows.
#[test]
fn a_hello_is_routine_if_it_says_what_the_last_one_said() {
    use crate::wire::hello::{Body, State, parse_frame};
    let mut speaker = with_network(Transports::Ethernet);
    speaker.handle_news(roster(), &[], ms(0));
    let said = |speaker: &mut Speaker, from: u64, until: u64| -> Vec<(State, bool)> {
        let (mut said, mut now) = (Vec::new(), ms(from));
        while now < ms(until) {
            while let Some(effect) = speaker.next_effect(now) {
                if let Effect::Send { frame, what: Sent::Hello, .. } = effect {
                    let message = parse_frame(&frame, &speaker.keys).unwrap().message;
                    let Body::Hello(hello) = message.body else { panic!("{message:?}") };
                    said.push((hello.state, hello.routine));
                }
            }
            now = speaker.next_deadline().unwrap().max(now).min(ms(until));
        }
        said
    };
    let starting = (State::Starting, false);
    let [new, routine] = [(State::Active, false), (State::Active, true)];
    // Also who listens says so only a few times.
    assert_eq!(said(&mut speaker, 0, 650), [starting, starting, starting, new, routine, routine, routine]);
    // A peer is heard: the list is another one, for all, and its answer is for it alone.
    assert_eq!(speaker.handle_frame(LAN, &frame(ms(650)), ms(650)), Ok(None));
    assert_eq!(said(&mut speaker, 650, 800), [new, routine]);
    speaker.set_unfit(true, ms(810));
    assert_eq!(speaker.handle_frame(LAN, &frame(ms(810)), ms(810)), Ok(None));
    assert_eq!(said(&mut speaker, 810, 950), [new, routine]);
    speaker.end(true, ms(950));
    let last = said(&mut speaker, 950, 1050);
    assert!(last.len() > 2 && last.iter().all(|said| *said == (State::Away, false)), "{last:?}");
}

#[test]
fn a_datagram_that_waited_while_this_speaker_stood_still_is_out_of_date() {
    use crate::announce::Ignored;
    let mut speaker = with_network(Transports::Auto);
    let from = IpAddr::from([10, 0, 0, 9]);
    sent(&mut speaker, ms(0), ms(10));
    assert_eq!(speaker.handle_datagram(LAN, from, &datagram(1), ms(10)), Ok(()));
    sent(&mut speaker, ms(10), ms(100));
    assert_eq!(speaker.handle_datagram(LAN, from, &datagram(2), ms(900)), Err(Ignored::OutOfDate));
    assert_eq!(speaker.next_effect(ms(900)), Some(Effect::Drain));
    // What comes from now on is not.
    assert_eq!(speaker.handle_datagram(LAN, from, &datagram(3), ms(901)), Ok(()));
}

#[test]
fn a_datagram_counts_only_from_the_links_own_networks_and_from_another_node() {
    let mut speaker = with_network(Transports::Auto);
    let mut from =
        |text: &str, payload: &[u8]| speaker.handle_datagram(LAN, text.parse().unwrap(), payload, ms(1));
    use crate::announce::Ignored;
    use crate::wire::hello::Refusal;
    assert_eq!(from("10.0.1.9", &datagram(1)), Err(Ignored::NotOnLink), "a router passed it on");
    assert_eq!(from("10.0.0.1", &datagram(1)), Err(Ignored::NotOnLink), "this node's own kernel did");
    let mut forged = datagram(1);
    forged[40] ^= 1;
    assert_eq!(from("10.0.0.9", &forged), Err(Ignored::RefusedHello(Refusal::Tag)));
    assert_eq!(from("10.0.0.9", &datagram(1)), Ok(()));
    let heard = |speaker: &Speaker| speaker.peers().map(|(_, peers)| peers.iter().count()).sum::<usize>();
    assert_eq!(heard(&speaker), 1);
    let unknown = speaker.handle_datagram(LinkIndex(9), [10, 0, 0, 9].into(), &datagram(2), ms(1));
    assert_eq!(unknown, Err(Ignored::UnknownLink));
    let mut other = with_network(Transports::Ethernet);
    let refused = other.handle_datagram(LAN, [10, 0, 0, 9].into(), &datagram(1), ms(1));
    assert_eq!((refused, heard(&other)), (Err(Ignored::NotOnLink), 0));
}

/// Many nodes of which nothing is heard are told in turns; a cluster whose speakers are on few nodes costs nothing.
#[test]
fn nodes_of_which_nothing_is_heard_are_told_in_turns_and_only_where_there_is_a_speaker() {
    for (transports, with_speaker) in
        [(Transports::Auto, true), (Transports::Auto, false), (Transports::Udp, false)]
    {
        let mut speaker = Speaker::new(Config { transports, ..speaker(false).config });
        speaker.set_keys(Arc::new(Keys::new(crate::hello_key::Key::new([7; 32]), []).unwrap()), ms(0));
        let mut links = link("lan", 1);
        for link in links.values_mut() {
            link.networks = ["10.0.0.0/16".parse().unwrap()].into();
        }
        speaker.handle_links(links, ms(0));
        let node = |n: u8| Node {
            name: if n == 0 { "ours".to_owned() } else { format!("n{n}") },
            speaker: with_speaker,
            // The second is elsewhere, the third is for those who have none of IPv4 here.
            addresses: vec![[10, 0, 1, n].into(), [10, 1, 1, n].into(), "fd00::1".parse().unwrap()],
            ..Node::default()
        };
        let roster = Roster::default().follow(&(0..=100).map(node).collect::<Vec<_>>());
        speaker.handle_news(Arc::new(roster), &[], ms(0));
        let mut told: BTreeMap<u64, BTreeSet<IpAddr>> = BTreeMap::new();
        let mut now = ms(0);
        while now < ms(6000) {
            while let Some(effect) = speaker.next_effect(now) {
                if let Effect::Datagram { to, .. } = effect {
                    told.entry(now.as_secs()).or_default().insert(to);
                }
            }
            now = speaker.next_deadline().unwrap().max(now);
        }
        if transports == Transports::Auto && !with_speaker {
            assert!(told.is_empty(), "{told:?}");
            continue;
        }
        assert_eq!(told[&0].len(), 100, "whoever starts tells all");
        let later: Vec<usize> = (1..6).map(|second| told[&second].len()).collect();
        assert_eq!(later, [32; 5], "{transports:?}");
        let all: BTreeSet<&IpAddr> = (2..6).flat_map(|second| &told[&second]).collect();
        assert_eq!(all.len(), 100, "all have had their turn");
    }
}

#[test]
fn who_answers_to_a_question_of_a_person_is_told_until_it_is_over() {
    let mut speaker = speaker(true);
    let reply = |mac: u8, address| {
        let from = Mac([2, 0, 0, 0, 0, mac]);
        let [announcement, _] = arp::announcement(from, address);
        arp::Packet { destination: OURS, operation: arp::Operation::Reply, ..announcement }.build()
    };
    let other = Ipv4Addr::new(10, 0, 0, 101);
    let _ = speaker.handle_frame(LAN, &reply(8, VIP), ms(0));
    speaker.inquire(&[VIP.into(), VIP.into()], ms(1));
    let probes = sent(&mut speaker, ms(1), ms(2));
    assert_eq!(probes.iter().filter(|(_, what)| *what == Sent::Probe).count(), 1, "{probes:?}");
    for mac in [9, 9, 1] {
        let _ = speaker.handle_frame(LAN, &reply(mac, VIP), ms(3));
    }
    let _ = speaker.handle_frame(LAN, &reply(9, other), ms(3));
    let probe = arp::probe(CLIENT, VIP).build();
    let _ = speaker.handle_frame(LAN, &probe, ms(3));
    let told: Vec<_> = speaker.end_inquiry().into_iter().map(|it| (it.address, it.mac, it.node)).collect();
    let ours = (VIP.into(), OURS, Some("ours".into()));
    assert_eq!(told, [ours, (VIP.into(), CLIENT, None)]);
    let _ = speaker.handle_frame(LAN, &reply(9, VIP), ms(4));
    assert!(speaker.end_inquiry().is_empty(), "nobody asks any more");
    // Whoever asked went away: what comes much later is nobody's answer.
    speaker.inquire(&[VIP.into()], ms(10));
    let _ = speaker.handle_frame(LAN, &reply(9, VIP), ms(6_000));
    assert!(speaker.end_inquiry().is_empty());
}
