//! The judge, judged: made-up captures, of which it is known what happened.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::{Form, Overlap, Pace, Port, Seen, TakeOver, TakeOvers, Verdict};
use crate::host::{ArpFrame, Frame, Mac, NdpFrame, NdpMessage};
use crate::lab::network::Network;

const VIP: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 120);
const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd10, 0, 0, 0, 0, 0, 0, 0x1000);
const ASKER: u8 = 101;

fn mac(number: u8) -> Mac {
    pnet_base::MacAddr(2, 0, 0, 0, 0, number)
}

/// Times are in tenths of a millisecond.
fn tenths(time: u64) -> Duration {
    Duration::from_micros(time * 100)
}

/// A capture that is being made up.
#[derive(Default)]
struct Story(Vec<Seen>);

impl Story {
    fn arp(
        &mut self,
        host: &str,
        time: u64,
        request: bool,
        sender: (Mac, Ipv4Addr),
        target: (Mac, Ipv4Addr),
    ) {
        let destination = if request { Mac::broadcast() } else { target.0 };
        let frame = ArpFrame { at: tenths(time), source: sender.0, destination, request, sender, target };
        let port = Port { host: host.to_owned(), network: Network::Lan };
        self.0.push(Seen { port, frame: Frame::Arp(frame) });
    }

    fn question(&mut self, time: u64) {
        self.question_of(ASKER, time);
    }

    fn question_of(&mut self, asker: u8, time: u64) {
        let own = (mac(asker), Ipv4Addr::new(10, 10, 0, asker));
        self.arp("client1", time, true, own, (Mac::zero(), VIP));
    }

    /// `node` answers the asker.
    fn answer(&mut self, node: u8, time: u64) {
        let asker = (mac(ASKER), Ipv4Addr::new(10, 10, 0, ASKER));
        self.arp(&format!("node{node}"), time, false, (mac(node), VIP), asker);
    }

    fn announce(&mut self, node: u8, time: u64) {
        self.arp(&format!("node{node}"), time, true, (mac(node), VIP), (Mac::zero(), VIP));
        self.arp(&format!("node{node}"), time, false, (mac(node), VIP), (mac(node), VIP));
    }

    /// Questions each 5 ms from `from` until before `until`, in ms, each answered by all `nodes` after 0.2 ms.
    fn run(&mut self, from: u64, until: u64, nodes: &[u8]) {
        for ms in (from..until).step_by(5) {
            self.question(ms * 10);
            for node in nodes {
                self.answer(*node, ms * 10 + 2);
            }
        }
    }

    fn verdict(&self) -> Verdict {
        self.verdict_of(VIP)
    }

    fn verdict_of(&self, address: impl Into<IpAddr>) -> Verdict {
        Verdict::of(&self.0, address.into(), Network::Lan, Duration::ZERO, Duration::from_secs(10))
    }
}

#[test]
fn one_owner() {
    let mut story = Story::default();
    story.announce(1, 0);
    story.run(0, 1000, &[1]);
    let verdict = story.verdict();
    assert_eq!((verdict.course(), verdict.counts()), (vec!["node1"], (200, 0)), "{verdict}");
    assert_eq!((verdict.overlaps.len(), verdict.stale.len()), (0, 0), "{verdict}");
    assert_eq!(verdict.longest_silence, tenths(2), "{verdict}");
    let forms: Vec<Form> = verdict.announcements.iter().map(|said| said.form).collect();
    assert_eq!(forms, [Form::Request, Form::Reply { moves: true }]);
    assert_eq!(verdict.owners().len(), 1);
}

#[test]
fn two_owners_at_once() {
    let mut story = Story::default();
    story.run(0, 100, &[1]);
    story.run(100, 200, &[1, 2]);
    story.run(200, 300, &[1]);
    let verdict = story.verdict();
    let [Overlap { from, to, owners }] = verdict.overlaps.as_slice() else { panic!("{verdict}") };
    assert_eq!((*from, *to, owners.len()), (tenths(1002), tenths(1952), 2), "{verdict}");
    assert_eq!(verdict.time_of_two(), Duration::from_millis(95), "{verdict}");
    assert_eq!(verdict.holders(), ["node1"], "the second never had it alone: {verdict}");
    assert!(verdict.to_string().contains("BOTH") && verdict.to_string().contains("TWO HAVE IT"), "{verdict}");
}

#[test]
fn who_began_while_another_still_answered_has_it_afterwards() {
    let mut story = Story::default();
    story.run(0, 100, &[1]);
    // Two ask, one shortly after the other: the first hears both, the second still the old owner alone.
    let late = 102;
    story.question(1000);
    story.question_of(late, 1002);
    story.arp("node1", 1003, false, (mac(1), VIP), (mac(ASKER), Ipv4Addr::new(10, 10, 0, ASKER)));
    story.arp("node1", 1004, false, (mac(1), VIP), (mac(late), Ipv4Addr::new(10, 10, 0, late)));
    story.question_of(late, 1005);
    story.arp("node2", 1006, false, (mac(2), VIP), (mac(late), Ipv4Addr::new(10, 10, 0, late)));
    story.answer(2, 1020);
    story.run(105, 400, &[2]);
    let verdict = story.verdict();
    assert_eq!(verdict.overlaps.len(), 1, "{verdict}");
    assert_eq!(verdict.steps(), [("node1", tenths(0)), ("node2", tenths(1050))], "{verdict}");
}

#[test]
fn two_cables_with_one_mac_are_two_owners() {
    let mut story = Story::default();
    story.run(0, 10, &[1]);
    story.question(100);
    for host in ["node1", "node3"] {
        let asker = (mac(ASKER), Ipv4Addr::new(10, 10, 0, ASKER));
        story.arp(host, 101, false, (mac(1), VIP), asker);
    }
    assert_eq!(story.verdict().overlaps.len(), 1, "{}", story.verdict());
}

#[test]
fn owners_that_take_turns_are_two() {
    let mut story = Story::default();
    story.run(0, 100, &[1]);
    story.run(100, 120, &[2]);
    story.run(120, 200, &[1]);
    let verdict = story.verdict();
    assert_eq!(verdict.course(), ["node1", "node2", "node1"]);
    assert_eq!(verdict.holders(), ["node1"]);
    let [Overlap { from, to, .. }] = verdict.overlaps.as_slice() else { panic!("{verdict}") };
    assert_eq!((*from, *to), (Duration::from_millis(100), Duration::from_millis(120)), "{verdict}");

    // There and back again takes a controller longer than that.
    let mut story = Story::default();
    story.run(0, 100, &[1]);
    story.run(100, 300, &[2]);
    story.run(300, 400, &[1]);
    let verdict = story.verdict();
    let steps = [("node1", tenths(0)), ("node2", tenths(1000)), ("node1", tenths(3000))];
    assert_eq!((verdict.overlaps.len(), verdict.steps()), (0, steps.to_vec()), "{verdict}");
}

#[test]
fn nobody() {
    let mut story = Story::default();
    story.run(0, 1000, &[]);
    let verdict = story.verdict();
    assert_eq!((verdict.course(), verdict.counts()), (vec![], (200, 200)), "{verdict}");
    assert_eq!(verdict.longest_silence, Duration::from_millis(995), "{verdict}");
    assert!(verdict.to_string().contains("NOBODY"), "{verdict}");
    // No question, no silence.
    assert_eq!(Story::default().verdict().longest_silence, Duration::ZERO);
}

#[test]
fn a_clean_move() {
    let mut story = Story::default();
    story.run(0, 100, &[1]);
    story.announce(2, 999);
    story.run(100, 200, &[2]);
    let verdict = story.verdict();
    assert_eq!(verdict.course(), ["node1", "node2"], "{verdict}");
    assert_eq!((verdict.overlaps.len(), verdict.stale.len()), (0, 0), "{verdict}");
    assert_eq!(verdict.longest_silence, tenths(2), "{verdict}");
    assert_eq!(verdict.first_announcement("node2").map(|said| said.at), Some(tenths(999)));
    assert_eq!(verdict.first_answer("node2"), Some(tenths(1002)));
}

#[test]
fn a_move_with_300_ms_of_silence() {
    let mut story = Story::default();
    story.run(0, 100, &[1]);
    story.run(100, 400, &[]);
    story.run(400, 500, &[2]);
    let verdict = story.verdict();
    assert_eq!(verdict.course(), ["node1", "node2"], "{verdict}");
    assert_eq!((verdict.longest_silence, verdict.silent_at), (tenths(3002), tenths(1000)), "{verdict}");
    let silent: Vec<_> = verdict.stints.iter().filter(|stint| stint.owners.is_empty()).collect();
    assert_eq!((silent.len(), silent[0].questions), (1, 60), "{verdict}");
    assert_eq!(verdict.overlaps, [], "{verdict}");
}

#[test]
fn a_stale_announcement_by_the_old_owner() {
    let mut story = Story::default();
    story.announce(1, 0);
    story.run(0, 100, &[1]);
    story.announce(2, 999);
    story.run(100, 1200, &[2]);
    story.announce(1, 11_000);
    let verdict = story.verdict();
    let stale: Vec<_> = verdict.stale.iter().map(|said| (said.owner.host.as_str(), said.at)).collect();
    assert_eq!(stale, [("node1", tenths(11_000)); 2], "{verdict}");
    assert!(verdict.to_string().contains("BY ONE WHO DOES NOT HAVE IT"), "{verdict}");
}

#[test]
fn who_announces_and_then_answers_has_it_though_the_other_answered_once_more() {
    let mut story = Story::default();
    story.run(0, 100, &[1]);
    story.announce(2, 990);
    story.run(100, 110, &[1]);
    story.run(110, 300, &[2]);
    let verdict = story.verdict();
    assert_eq!((verdict.stale.len(), verdict.holders()), (0, vec!["node1", "node2"]), "{verdict}");
}

#[test]
fn a_late_answer_is_a_short_silence_and_no_second_owner() {
    let mut story = Story::default();
    story.run(0, 100, &[1]);
    story.question(1000);
    story.question(1050);
    story.answer(1, 1060);
    story.answer(1, 1061);
    story.run(110, 200, &[1]);
    let verdict = story.verdict();
    assert_eq!((verdict.longest_silence, verdict.overlaps.len()), (tenths(60), 0), "{verdict}");
}

#[test]
fn each_asker_is_owed_its_own_answer() {
    let mut story = Story::default();
    for ms in (0..500).step_by(5) {
        story.question_of(102, ms * 10);
        story.question(ms * 10 + 1);
        story.answer(1, ms * 10 + 2);
    }
    let verdict = story.verdict();
    assert_eq!(verdict.counts(), (200, 100), "{verdict}");
    let silent = mac(102);
    assert!(
        verdict.questions.iter().all(|asked| asked.answers.is_empty() == (asked.asker == silent)),
        "{verdict}"
    );
    assert_eq!(verdict.longest_silence, tenths(4952), "the other asker's: {verdict}");
}

#[test]
fn who_asks_seldom_does_not_make_a_silence_long() {
    let mut story = Story::default();
    story.run(0, 100, &[1]);
    story.question_of(102, 1001);
    story.run(105, 115, &[]);
    story.run(115, 400, &[2]);
    story.question_of(102, 4001);
    let verdict = story.verdict();
    // From the seldom asker's question on, as nobody else asked then.
    assert_eq!((verdict.silent_at, verdict.longest_silence), (tenths(1001), tenths(151)), "{verdict}");
    // Its last question is all that there is, so no more is known.
    assert_eq!(verdict.counts().1, 4, "{verdict}");
}

#[test]
fn other_networks_other_addresses_other_times_and_probes_do_not_count() {
    let mut story = Story::default();
    story.run(0, 100, &[1]);
    let count = story.0.len();
    story.run(0, 100, &[2]);
    for seen in &mut story.0[count..] {
        seen.port.network = Network::Lan2;
    }
    // A probe, which has no address to be answered to, and what nobody asked.
    story.arp("node3", 500, true, (mac(3), Ipv4Addr::UNSPECIFIED), (Mac::zero(), VIP));
    let verdict = story.verdict();
    assert_eq!((verdict.course(), verdict.counts()), (vec!["node1"], (20, 0)), "{verdict}");
    assert!(story.verdict_of([10, 10, 0, 121]).questions.is_empty());
    let part = Verdict::of(&story.0, VIP.into(), Network::Lan, tenths(500), tenths(749));
    assert_eq!(part.counts(), (5, 0), "{part}");
}

#[test]
fn ndp_is_judged_alike() {
    let mut seen = Vec::new();
    let mut ndp = |host: &str, time, from: u8, to: u8, message| {
        let frame = NdpFrame {
            at: tenths(time),
            source: mac(from),
            destination: mac(to),
            from: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, u16::from(from)),
            to: Ipv6Addr::LOCALHOST,
            hop_limit: 255,
            sound: true,
            target: VIP6,
            message,
        };
        let port = Port { host: host.to_owned(), network: Network::Lan };
        seen.push(Seen { port, frame: Frame::Ndp(frame) });
    };
    let says = |node, solicited| NdpMessage::Advertisement {
        router: false,
        solicited,
        overrides: true,
        target_link: Some(mac(node)),
    };
    for ms in (0..1000).step_by(5) {
        ndp("client1", ms * 10, ASKER, 0, NdpMessage::Solicitation { source_link: Some(mac(ASKER)) });
        let node = if ms < 500 { 1 } else { 2 };
        ndp(&format!("node{node}"), ms * 10 + 2, node, ASKER, says(node, true));
    }
    ndp("node2", 4999, 2, 0, says(2, false));
    ndp("node1", 8000, 1, 0, says(1, false));
    let story = Story(seen);
    let verdict = story.verdict_of(VIP6);
    assert_eq!(verdict.course(), ["node1", "node2"], "{verdict}");
    assert_eq!((verdict.longest_silence, verdict.overlaps.len()), (tenths(2), 0), "{verdict}");
    assert_eq!(verdict.announcements[0].form, Form::Advertisement { overrides: true });
    assert_eq!(verdict.stale.len(), 1, "{verdict}");
    assert_eq!(verdict.stale[0].owner.host, "node1", "{verdict}");
}

#[test]
fn who_stands_in_with_the_mac_of_another_is_no_double_answer() {
    let mut story = Story::default();
    for ms in (0..100).step_by(5) {
        story.question(ms * 10);
        for host in ["node1", "node3"] {
            let asker = (mac(ASKER), Ipv4Addr::new(10, 10, 0, ASKER));
            story.arp(host, ms * 10 + 2, false, (mac(1), VIP), asker);
        }
    }
    let verdict = story.verdict();
    assert_eq!((verdict.overlaps.len(), verdict.macs().len()), (1, 1), "{verdict}");
    assert_eq!(verdict.double_answers(), (Duration::ZERO, BTreeSet::new()), "{verdict}");

    let mut story = Story::default();
    story.run(0, 100, &[1]);
    story.run(100, 200, &[1, 2]);
    let verdict = story.verdict();
    assert_eq!(verdict.double_answers(), (Duration::from_millis(95), ["node1", "node2"].into()), "{verdict}");
}

#[test]
fn claims_are_counted_from_a_moment_on() {
    let mut story = Story::default();
    story.run(0, 100, &[1]);
    story.run(100, 200, &[2]);
    story.answer(1, 1502);
    story.announce(1, 1503);
    let verdict = story.verdict();
    assert_eq!(verdict.claims_of("node1", Duration::from_millis(100)), (1, 2), "{verdict}");
    assert_eq!(verdict.claims_of("node1", Duration::ZERO).0, 21, "{verdict}");
}

#[test]
fn a_prober_that_was_late_is_told() {
    let mut story = Story::default();
    story.run(0, 500, &[1]);
    assert_eq!(story.verdict().pace(Duration::from_millis(5)), Pace::default());
    story.question(5200);
    let pace = story.verdict().pace(Duration::from_millis(5));
    assert_eq!(
        (pace.p50, pace.max),
        (Duration::ZERO, Duration::from_millis(20)),
        "asked 25 ms after the last: {pace:?}"
    );
}

#[test]
fn calm_is_one_owner_without_a_silence() {
    let mut story = Story::default();
    story.run(0, 200, &[1]);
    // A frame was lost, or the answer is under way.
    story.question(2000);
    let verdict = story.verdict();
    assert_eq!((verdict.calm(20), verdict.calm(100)), (Some("node1"), None), "{verdict}");

    story.run(205, 295, &[]);
    story.run(295, 500, &[1]);
    assert_eq!(story.verdict().calm(20), Some("node1"), "95 ms are a busy machine: {}", story.verdict());
    story.run(500, 610, &[]);
    assert_eq!(story.verdict().calm(20), None, "a silence: {}", story.verdict());

    let mut story = Story::default();
    story.run(0, 200, &[1]);
    story.run(200, 300, &[2]);
    assert_eq!(story.verdict().calm(20), None, "two owners: {}", story.verdict());
    assert_eq!(Story::default().verdict().calm(0), None);
}

#[test]
fn take_overs_are_told_address_by_address() {
    let other = Ipv4Addr::new(10, 10, 0, 121);
    let mut story = Story::default();
    story.announce(1, 0);
    story.run(0, 100, &[1]);
    story.announce(2, 2000);
    story.run(200, 210, &[2]);
    story.arp("node3", 3000, true, (mac(3), other), (Mac::zero(), other));
    let addresses: [IpAddr; 3] = [VIP.into(), other.into(), IpAddr::from([10, 10, 0, 122])];
    let mut take_overs = TakeOvers::new(Network::Lan, addresses, "node1", tenths(1000));
    for until in [0, 1, story.0.len() - 1, story.0.len()] {
        take_overs.go_on(&story.0[..until]);
    }
    let told: Vec<TakeOver> = take_overs.found().values().copied().collect();
    assert_eq!(
        told,
        [
            TakeOver { announced: Some(tenths(2000)), answered: Some(tenths(2002)) },
            TakeOver { announced: Some(tenths(3000)), answered: None },
            TakeOver::default(),
        ]
    );
}
