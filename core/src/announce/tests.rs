//! Scenarios with a hand-moved clock, compared as whole lists of effects.

use proptest::prelude::*;

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::wire::arp::{Host, Packet, announcement};

const LAN: LinkIndex = LinkIndex(2);
const WAN: LinkIndex = LinkIndex(3);
const NODE: Mac = Mac([0x02, 0, 0, 0, 0, 0x01]);
const NODE_WAN: Mac = Mac([0x02, 0, 0, 0, 0, 0x02]);
const CLIENT: Mac = Mac([0x02, 0, 0, 0, 0, 0x99]);
const ONE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const TWO: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn link(name: &str, mac: Mac) -> Link {
    Link { name: name.into(), mac, ups: 1, ipv6: true, addresses: [].into(), networks: [].into() }
}

fn lan() -> BTreeMap<LinkIndex, Link> {
    [(LAN, link("lan", NODE))].into()
}

fn both() -> BTreeMap<LinkIndex, Link> {
    [(LAN, link("lan", NODE)), (WAN, link("wan", NODE_WAN))].into()
}

/// What is to be answered for, where and how.
type Desired = BTreeMap<(LinkIndex, IpAddr), Speak>;

/// These addresses, as our own, on these links.
fn own<A: Into<IpAddr> + Copy>(links: &[LinkIndex], addresses: &[A]) -> Desired {
    let on = |link: LinkIndex| addresses.iter().map(move |address| ((link, (*address).into()), Speak::Own));
    links.iter().flat_map(|link| on(*link)).collect()
}

/// The whole of what is desired, as its owner knows it.
fn desire(announcer: &mut Announcer, desired: &Desired, now: Duration) {
    let mut known = BTreeSet::new();
    for (link, state) in &announcer.links {
        known.extend(state.addresses.iter().map(|(address, _)| (*link, address)));
    }
    for (link, address) in known.into_iter().filter(|key| !desired.contains_key(key)) {
        announcer.desire(link, address, None, now);
    }
    for ((link, address), speak) in desired {
        announcer.desire(*link, *address, Some(*speak), now);
    }
}

/// What comes of a frame.
fn hear(announcer: &Announcer, link: LinkIndex, frame: &[u8]) -> Result<Answer, Ignored> {
    announcer.answer(link, &Frame::parse(frame)?)
}

/// An announcer with these links and addresses whose announcements are over, and the time at which.
fn settled(links: BTreeMap<LinkIndex, Link>, desired: &Desired) -> (Announcer, Duration) {
    let mut announcer = Announcer::new(None);
    announcer.handle_links(links, ms(0));
    desire(&mut announcer, desired, ms(0));
    let mut now = ms(0);
    loop {
        effects(&mut announcer, now);
        match announcer.next_deadline() {
            Some(deadline) => now = deadline,
            None => return (announcer, now + ms(1000)),
        }
    }
}

/// All there is to do at `now`.
fn effects(announcer: &mut Announcer, now: Duration) -> Vec<Effect> {
    std::iter::from_fn(|| announcer.next_effect(now)).collect()
}

fn announced(link: LinkIndex, mac: Mac, address: Ipv4Addr) -> Vec<Effect> {
    let send = |packet: Packet| Effect::Send { link, address: address.into(), frame: packet.build() };
    announcement(mac, address).map(send).into()
}

fn announcing(address: Ipv4Addr, links: &[LinkIndex]) -> Effect {
    Effect::Announcing { address: address.into(), links: links.iter().copied().collect() }
}

fn answer(mac: Mac, request: &Packet) -> Result<Answer, Ignored> {
    Ok(Answer { address: request.target.ip.into(), frame: request.answer(mac).build() })
}

fn request(target: Ipv4Addr) -> Packet {
    Packet {
        destination: Mac::BROADCAST,
        source: CLIENT,
        operation: Operation::Request,
        sender: Host { mac: CLIENT, ip: Ipv4Addr::new(10, 0, 0, 153) },
        target: Host { mac: Mac::ZERO, ip: target },
    }
}

#[test]
fn arp_4_a_new_address_is_announced_in_both_forms_five_times() {
    let mut announcer = Announcer::new(None);
    announcer.handle_links(lan(), ms(0));
    assert_eq!((effects(&mut announcer, ms(0)), announcer.next_deadline()), (vec![], None));

    desire(&mut announcer, &own(&[LAN], &[ONE]), ms(1000));
    let mut first = vec![announcing(ONE, &[LAN])];
    first.extend(announced(LAN, NODE, ONE));
    assert_eq!(effects(&mut announcer, ms(1000)), first);
    for at in [2100, 3200, 4300, 5400] {
        assert_eq!(announcer.next_deadline(), Some(ms(at)));
        assert_eq!(effects(&mut announcer, ms(at - 1)), []);
        assert_eq!(effects(&mut announcer, ms(at)), announced(LAN, NODE, ONE), "at {at} ms");
    }
    assert_eq!(announcer.next_deadline(), None);
}

#[test]
fn unchanged_news_announces_nothing() {
    let (mut announcer, now) = settled(both(), &own(&[LAN, WAN], &[ONE, TWO]));
    desire(&mut announcer, &own(&[LAN, WAN], &[ONE, TWO]), now);
    announcer.handle_links(both(), now);
    assert_eq!((effects(&mut announcer, now), announcer.next_deadline()), (vec![], None));
    // Nor does another address's change, or another name or address of the link.
    desire(&mut announcer, &own(&[LAN, WAN], &[ONE]), now);
    assert_eq!(effects(&mut announcer, now), [announcing(TWO, &[])]);
    let mut links = both();
    let link = links.get_mut(&LAN).unwrap();
    (link.name, link.addresses) = ("lan0".into(), ["10.0.0.77".parse().unwrap()].into());
    announcer.handle_links(links, now);
    assert_eq!((effects(&mut announcer, now), announcer.next_deadline()), (vec![], None));
}

#[test]
fn what_is_desired_on_one_more_link_is_announced_there_alone() {
    let (mut announcer, now) = settled(lan(), &own(&[LAN], &[ONE]));
    // On a link that is not there nothing can be desired.
    announcer.desire(WAN, ONE.into(), Some(Speak::Own), now);
    assert_eq!((effects(&mut announcer, now), announcer.next_deadline()), (vec![], None));
    announcer.handle_links(both(), now);
    assert_eq!((effects(&mut announcer, now), announcer.next_deadline()), (vec![], None));
    desire(&mut announcer, &own(&[LAN, WAN], &[ONE]), now);
    let mut expected = vec![announcing(ONE, &[LAN, WAN])];
    expected.extend(announced(WAN, NODE_WAN, ONE));
    assert_eq!(effects(&mut announcer, now), expected);
}

#[test]
fn what_is_ours_is_announced_once_more_from_the_first_round_when_that_is_asked_for() {
    let (mut announcer, now) = settled(lan(), &own(&[LAN], &[ONE]));
    announcer.announce(LAN, ONE.into(), now);
    assert_eq!(effects(&mut announcer, now), announced(LAN, NODE, ONE));
    assert_eq!(announcer.next_deadline(), Some(now + SPACING));
    // What is not ours there is not.
    announcer.announce(LAN, TWO.into(), now);
    announcer.announce(WAN, ONE.into(), now);
    assert_eq!(effects(&mut announcer, now), []);
}

#[test]
fn a_stand_in_answers_as_the_absent_owner_and_announces_nothing() {
    let absent = Mac([0x02, 0, 0, 0, 0, 0x55]);
    let mut announcer = Announcer::new(None);
    announcer.handle_links(both(), ms(0));
    desire(&mut announcer, &[((LAN, ONE.into()), Speak::For(absent))].into(), ms(0));
    assert_eq!(effects(&mut announcer, ms(0)), [announcing(ONE, &[])], "it is not ours");
    assert_eq!((announcer.next_deadline(), announcer.standing_in()), (None, 1));
    let told = hear(&announcer, LAN, &request(ONE).build()).unwrap();
    let told = Packet::parse(&told.frame).unwrap();
    assert_eq!((told.source, told.sender.mac, told.sender.ip), (NODE, absent, ONE), "no borrowed source");
    assert_eq!(hear(&announcer, WAN, &request(ONE).build()), Err(Ignored::NotOurs));
    // A link that comes up again has nothing of ours to announce.
    let mut links = both();
    links.get_mut(&LAN).unwrap().ups = 2;
    announcer.handle_links(links, ms(50));
    assert_eq!((effects(&mut announcer, ms(50)), announcer.next_deadline()), (vec![], None));

    // The node dies: it is ours, and announced.
    desire(&mut announcer, &own(&[LAN], &[ONE]), ms(100));
    let mut expected = vec![announcing(ONE, &[LAN])];
    expected.extend(announced(LAN, NODE, ONE));
    assert_eq!(effects(&mut announcer, ms(100)), expected);
    // And back, in the midst of the rounds: nothing more of it leaves.
    announcer.announce(LAN, ONE.into(), ms(200));
    assert_eq!(announcer.next_effect(ms(200)), announced(LAN, NODE, ONE).first().cloned());
    desire(&mut announcer, &[((LAN, ONE.into()), Speak::For(absent))].into(), ms(200));
    assert_eq!(effects(&mut announcer, ms(60_000)), [announcing(ONE, &[])]);
    assert_eq!(announcer.next_deadline(), None);
}

#[test]
fn arp_4_a_link_that_was_away_unseen_or_has_a_new_mac_is_announced_on_anew() {
    let (mut announcer, now) = settled(both(), &own(&[LAN, WAN], &[ONE]));
    let mut links = both();
    links.get_mut(&LAN).unwrap().ups = 2;
    announcer.handle_links(links.clone(), now);
    assert_eq!(effects(&mut announcer, now), announced(LAN, NODE, ONE));

    let other = Mac([0x02, 0, 0, 0, 0, 0x77]);
    links.get_mut(&WAN).unwrap().mac = other;
    announcer.handle_links(links, now + ms(500));
    assert_eq!(effects(&mut announcer, now + ms(500)), announced(WAN, other, ONE));
    // And answers carry it.
    assert_eq!(hear(&announcer, WAN, &request(ONE).build()), answer(other, &request(ONE)));
}

#[test]
fn a_link_that_goes_takes_its_announcements_along() {
    let mut announcer = Announcer::new(None);
    announcer.handle_links(both(), ms(0));
    desire(&mut announcer, &own(&[LAN, WAN], &[ONE]), ms(0));
    effects(&mut announcer, ms(0));
    announcer.handle_links(lan(), ms(100));
    assert_eq!(effects(&mut announcer, ms(100)), [announcing(ONE, &[LAN])]);
    assert_eq!(effects(&mut announcer, ms(1100)), announced(LAN, NODE, ONE));
    announcer.handle_links([].into(), ms(1200));
    assert_eq!(effects(&mut announcer, ms(1200)), [announcing(ONE, &[])]);
    assert_eq!(announcer.next_deadline(), None);
}

#[test]
fn an_address_is_answered_for_on_the_links_where_it_is_desired() {
    let (mut announcer, now) = settled(both(), &own(&[WAN], &[ONE]));
    assert_eq!((announcer.links_of(ONE.into()), announcer.links_of(TWO.into())), ([WAN].into(), [].into()));
    assert_eq!(hear(&announcer, LAN, &request(ONE).build()), Err(Ignored::NotOurs));
    assert_eq!(hear(&announcer, WAN, &request(TWO).build()), Err(Ignored::NotOurs));
    assert_eq!(hear(&announcer, WAN, &request(ONE).build()), answer(NODE_WAN, &request(ONE)));

    // It moves to the other link.
    desire(&mut announcer, &own(&[LAN], &[ONE]), now);
    let mut expected = vec![announcing(ONE, &[LAN])];
    expected.extend(announced(LAN, NODE, ONE));
    assert_eq!(effects(&mut announcer, now), expected);
    assert_eq!(hear(&announcer, WAN, &request(ONE).build()), Err(Ignored::NotOurs));
}

#[test]
fn arp_5_nothing_leaves_for_an_address_that_was_taken_away() {
    let mut announcer = Announcer::new(None);
    announcer.handle_links(lan(), ms(0));
    desire(&mut announcer, &own(&[LAN], &[ONE, TWO]), ms(0));
    // Both are due, and of one the first form leaves.
    assert_eq!(announcer.next_effect(ms(0)), Some(announcing(ONE, &[LAN])));
    assert_eq!(announcer.next_effect(ms(0)), Some(announcing(TWO, &[LAN])));
    assert_eq!(announcer.next_effect(ms(0)), announced(LAN, NODE, ONE).first().cloned());
    assert_eq!(hear(&announcer, LAN, &request(ONE).build()), answer(NODE, &request(ONE)));
    desire(&mut announcer, &own(&[LAN], &[TWO]), ms(1));
    let mut expected = vec![announcing(ONE, &[])];
    expected.extend(announced(LAN, NODE, TWO));
    assert_eq!(effects(&mut announcer, ms(1)), expected);
    assert_eq!(hear(&announcer, LAN, &request(ONE).build()), Err(Ignored::NotOurs));
    assert_eq!(effects(&mut announcer, ms(60_000)), announced(LAN, NODE, TWO));
}

#[test]
fn of_many_the_first_form_of_each_leaves_before_the_second_of_any() {
    let many: Vec<Ipv4Addr> = (1..=100).map(|n| Ipv4Addr::new(10, 0, 0, n)).collect();
    let mut announcer = Announcer::new(None);
    announcer.handle_links(both(), ms(0));
    desire(&mut announcer, &own(&[LAN, WAN], &many), ms(0));
    let all = effects(&mut announcer, ms(0));
    let sent = all.into_iter().filter(|effect| matches!(effect, Effect::Send { .. }));
    let form = |n: usize| {
        let on = |(link, mac)| many.iter().map(move |address| announced(link, mac, *address)[n].clone());
        [(LAN, NODE), (WAN, NODE_WAN)].into_iter().flat_map(on).collect::<Vec<_>>()
    };
    assert_eq!(sent.collect::<Vec<_>>(), [form(0), form(1)].concat());
    // And so it goes on, in each round.
    assert_eq!(effects(&mut announcer, ms(1_100)).len(), 4 * many.len());
}

#[test]
fn arp_3_a_frame_built_with_an_old_mac_does_not_leave() {
    let mut announcer = Announcer::new(None);
    announcer.handle_links(lan(), ms(0));
    desire(&mut announcer, &own(&[LAN], &[ONE]), ms(0));
    announcer.next_effect(ms(0)).unwrap();
    assert_eq!(announcer.next_effect(ms(0)), announced(LAN, NODE, ONE).first().cloned());
    announcer.handle_links([(LAN, link("lan", NODE_WAN))].into(), ms(1));
    assert_eq!(effects(&mut announcer, ms(1)), announced(LAN, NODE_WAN, ONE));
}

#[test]
fn arp_1_probes_and_unicast_requests_are_answered() {
    let (announcer, _) = settled(lan(), &own(&[LAN], &[ONE]));
    let probe = Packet { sender: Host { mac: CLIENT, ip: Ipv4Addr::UNSPECIFIED }, ..request(ONE) };
    let unicast = Packet { destination: NODE, ..request(ONE) };
    for asked in [probe, unicast] {
        assert_eq!(hear(&announcer, LAN, &asked.build()), answer(NODE, &asked));
    }
}

#[test]
fn arp_2_what_is_not_answered_says_why() {
    let (announcer, _) = settled(both(), &own(&[LAN, WAN], &[ONE]));
    let own = Packet { source: NODE, sender: Host { mac: NODE, ip: ONE }, ..request(ONE) };
    let multicast = Mac([0x01, 0, 0x5e, 0, 0, 1]);
    let cases = [
        (Packet { operation: Operation::Reply, ..request(ONE) }, Ignored::NotARequest),
        (Packet { destination: NODE_WAN, ..request(ONE) }, Ignored::NotForUs),
        (Packet { destination: multicast, ..request(ONE) }, Ignored::NotForUs),
        (own, Ignored::Own),
        (Packet { source: NODE, ..request(ONE) }, Ignored::Own),
        (request(TWO), Ignored::NotOurs),
        (Packet { sender: Host { mac: CLIENT, ip: ONE }, ..request(ONE) }, Ignored::Announcement),
        (
            Packet { sender: Host { mac: multicast, ..request(ONE).sender }, ..request(ONE) },
            Ignored::Refused(arp::Refusal::SenderMac),
        ),
    ];
    for (packet, why) in cases {
        assert_eq!(hear(&announcer, LAN, &packet.build()), Err(why));
    }
    assert_eq!(hear(&announcer, LAN, &[]), Err(Ignored::Refused(arp::Refusal::TooShort)));
    assert_eq!(hear(&announcer, LinkIndex(9), &request(ONE).build()), Err(Ignored::UnknownLink));
}

const SIX: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
/// In one solicited-node group with SIX.
const TWIN: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 1);

fn announced_six(link: LinkIndex, mac: Mac, address: Ipv6Addr) -> Effect {
    Effect::Send { link, address: address.into(), frame: ndp::announcement(mac, address).build() }
}

fn announcing_six(address: Ipv6Addr, links: &[LinkIndex]) -> Effect {
    Effect::Announcing { address: address.into(), links: links.iter().copied().collect() }
}

fn solicitation(target: Ipv6Addr) -> ndp::Solicitation {
    let group = ndp::solicited_node(target);
    ndp::Solicitation {
        destination: ndp::group_mac(group),
        source: CLIENT,
        sender: "fd00::99".parse().unwrap(),
        recipient: group,
        target,
        link_layer: Some(CLIENT),
    }
}

#[test]
fn ndp_3_a_new_address_joins_its_group_and_is_announced_three_times() {
    let mut announcer = Announcer::new(None);
    announcer.handle_links(lan(), ms(0));
    desire(&mut announcer, &own(&[LAN], &[SIX]), ms(0));
    let group = "ff02::1:ff00:1".parse().unwrap();
    let first = [Effect::Join(LAN, group), announcing_six(SIX, &[LAN]), announced_six(LAN, NODE, SIX)];
    assert_eq!(effects(&mut announcer, ms(0)), first);
    for at in [1100, 2200] {
        assert_eq!(announcer.next_deadline(), Some(ms(at)));
        assert_eq!(effects(&mut announcer, ms(at)), [announced_six(LAN, NODE, SIX)]);
    }
    assert_eq!(announcer.next_deadline(), None);
}

#[test]
fn ndp_4_groups_are_counted_and_joined_again_on_returned_links() {
    let (mut announcer, now) = settled(lan(), &own(&[LAN], &[SIX]));
    let group = ndp::solicited_node(SIX);
    assert_eq!(group, ndp::solicited_node(TWIN));
    desire(&mut announcer, &own(&[LAN], &[SIX, TWIN]), now);
    let joined = effects(&mut announcer, now);
    assert!(!joined.iter().any(|effect| matches!(effect, Effect::Join(..))), "it is joined: {joined:?}");

    let up_again = Link { ups: 2, ..link("lan", NODE) };
    announcer.handle_links([(LAN, up_again.clone())].into(), now);
    assert_eq!(announcer.next_effect(now), Some(Effect::Join(LAN, group)));
    let rest = effects(&mut announcer, now);
    assert_eq!(rest, [announced_six(LAN, NODE, SIX), announced_six(LAN, NODE, TWIN)]);

    desire(&mut announcer, &own(&[LAN], &[TWIN]), now);
    assert_eq!(effects(&mut announcer, now), [announcing_six(SIX, &[])]);
    desire(&mut announcer, &Desired::new(), now);
    assert_eq!(effects(&mut announcer, now), [Effect::Leave(LAN, group), announcing_six(TWIN, &[])]);

    // A new link joins as well.
    desire(&mut announcer, &own(&[LAN], &[SIX]), now);
    effects(&mut announcer, now);
    announcer.handle_links([(LAN, up_again), (WAN, link("wan", NODE_WAN))].into(), now);
    desire(&mut announcer, &own(&[LAN, WAN], &[SIX]), now);
    assert_eq!(announcer.next_effect(now), Some(Effect::Join(WAN, group)));
}

#[test]
fn ndp_2_and_5_solicitations_duplicate_checks_and_neighbour_probes_are_answered() {
    let (announcer, _) = settled(lan(), &own(&[LAN], &[SIX]));
    let usual = solicitation(SIX);
    let check = ndp::Solicitation { sender: Ipv6Addr::UNSPECIFIED, link_layer: None, ..usual };
    let probe = ndp::Solicitation { destination: NODE, recipient: SIX, ..usual };
    let short = ndp::Solicitation { link_layer: None, ..probe };
    for asked in [usual, check, probe, short] {
        let expected = Answer { address: SIX.into(), frame: asked.answer(NODE).build() };
        assert_eq!(hear(&announcer, LAN, &asked.build()), Ok(expected), "{asked:?}");
    }
    let told = ndp::Message::parse(&hear(&announcer, LAN, &check.build()).unwrap().frame).unwrap();
    let ndp::Message::Advertisement(told) = told else { panic!("{told:?}") };
    assert_eq!(
        (told.recipient, told.overrides),
        ("ff02::1".parse().unwrap(), true),
        "that is what defends it"
    );
}

#[test]
fn ndp_1_what_is_not_answered_says_why() {
    let (announcer, _) = settled(lan(), &own(&[LAN], &[SIX]));
    let usual = solicitation(SIX);
    let cases = [
        (ndp::Solicitation { destination: NODE_WAN, ..usual }, Ignored::NotForUs),
        (ndp::Solicitation { source: NODE, ..usual }, Ignored::Own),
        (ndp::Solicitation { link_layer: Some(NODE), ..usual }, Ignored::Own),
        (solicitation(TWIN), Ignored::NotOurs),
    ];
    for (asked, why) in cases {
        assert_eq!(hear(&announcer, LAN, &asked.build()), Err(why), "{asked:?}");
    }
    let told = ndp::announcement(CLIENT, SIX).build();
    assert_eq!(hear(&announcer, LAN, &told), Err(Ignored::NotARequest));
    let mut far = usual.build();
    far[21] = 254;
    assert!(matches!(hear(&announcer, LAN, &far), Err(Ignored::RefusedNdp(_))), "hop limit");
}

/// Anything that can happen to an announcer.
#[derive(Clone, Debug)]
enum Step {
    Desire(Desired),
    Again(LinkIndex, IpAddr),
    Links(BTreeMap<LinkIndex, Link>),
    Frame(LinkIndex, Vec<u8>),
    Wait(u64),
}

fn any_four() -> impl Strategy<Value = Ipv4Addr> {
    (0u8..4).prop_map(|last| Ipv4Addr::new(10, 0, 0, last))
}

fn any_six() -> impl Strategy<Value = Ipv6Addr> {
    (0u16..2, 0u16..2).prop_map(|(net, last)| Ipv6Addr::new(0xfd00, 0, 0, net, 0, 0, 0, last))
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any_four().prop_map(IpAddr::V4), any_six().prop_map(IpAddr::V6)]
}

fn any_speak() -> impl Strategy<Value = Speak> {
    prop_oneof![2 => Just(Speak::Own), 1 => Just(Speak::For(ABSENT)), 1 => Just(Speak::Quiet)]
}

const ABSENT: Mac = Mac([0x02, 0, 0, 0, 0, 0x55]);

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let asked = |address| match address {
        IpAddr::V4(four) => request(four).build(),
        IpAddr::V6(six) => solicitation(six).build(),
    };
    let broken = (any_address(), 0usize..42, any::<u8>()).prop_map(move |(address, at, byte)| {
        let mut frame = asked(address);
        frame[at] = byte;
        frame
    });
    prop_oneof![
        4 => any_address().prop_map(asked),
        2 => broken,
        1 => prop::collection::vec(any::<u8>(), 0..64),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let index = prop::sample::select(vec![LAN, WAN]);
    let desire = prop::collection::btree_map((index.clone(), any_address()), any_speak(), 0..8);
    let link = (
        prop::sample::select(vec!["lan", "wan"]),
        prop::sample::select(vec![NODE, NODE_WAN]),
        0u64..2,
        any::<bool>(),
    )
        .prop_map(|(name, mac, ups, ipv6)| Link { ups, ipv6, ..link(name, mac) });
    let links = prop::collection::btree_map(index.clone(), link, 0..3);
    prop_oneof![
        2 => desire.prop_map(Step::Desire),
        1 => (index.clone(), any_address()).prop_map(|(index, address)| Step::Again(index, address)),
        2 => links.prop_map(Step::Links),
        4 => (index, any_frame()).prop_map(|(index, frame)| Step::Frame(index, frame)),
        2 => (0u64..2000).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever happens in whatever order, and however few of the effects are taken in between: a frame
    /// leaves only for an address that is desired, on a link where it is desired, with that link's MAC, or in an answer
    /// for a node that is away with that node's; an answer only to the one who asked; an announcement only of what is our
    /// own. Groups are joined before and left after what needs them.
    #[test]
    fn frames_speak_only_for_owned_addresses(
        steps in prop::collection::vec((any_step(), 0usize..6), 1..40),
    ) {
        let mut announcer = Announcer::new(None);
        let (mut desired, mut links) = (Desired::new(), BTreeMap::<LinkIndex, Link>::new());
        let mut joined: BTreeSet<(LinkIndex, Ipv6Addr)> = BTreeSet::new();
        let mut now = ms(0);
        for (step, taken) in steps.into_iter().chain([(Step::Wait(0), usize::MAX)]) {
            match step {
                Step::Desire(new) => {
                    desire(&mut announcer, &new, now);
                    // Nothing can be desired where there is no link.
                    desired = new.into_iter().filter(|((link, _), _)| links.contains_key(link)).collect();
                }
                Step::Again(link, address) => announcer.announce(link, address, now),
                Step::Links(new) => {
                    // A port is opened anew for a link that came up again.
                    let ups = |of: &BTreeMap<LinkIndex, Link>, index: &LinkIndex| of.get(index).map(|link| link.ups);
                    joined.retain(|(index, _)| new.contains_key(index) && ups(&new, index) == ups(&links, index));
                    desired.retain(|(index, _), _| new.contains_key(index));
                    links = new.clone();
                    announcer.handle_links(new, now);
                }
                Step::Frame(link, frame) => if let Ok(answer) = hear(&announcer, link, &frame) {
                    let Spoken { source, told, address, to } = spoken(&answer.frame);
                    let at = links.get(&link).expect("a link that is there");
                    let mac = match desired.get(&(link, answer.address)).expect("a desired address") {
                        Speak::Own => at.mac,
                        Speak::For(owner) => *owner,
                        Speak::Quiet => panic!("an answer for what is only probed"),
                    };
                    prop_assert_eq!((source, told, address), (at.mac, mac, answer.address));
                    prop_assert!(!to.is_group() || to == ndp::group_mac("ff02::1".parse().unwrap()));
                },
                Step::Wait(time) => now += ms(time),
            }
            for _ in 0..taken {
                match announcer.next_effect(now) {
                    Some(Effect::Send { link, address, frame }) => {
                        let at: &Link = links.get(&link).expect("a link that is there");
                        prop_assert_eq!(desired.get(&(link, address)), Some(&Speak::Own));
                        let Spoken { source, told, address: of, to } = spoken(&frame);
                        prop_assert_eq!((source, told, of), (at.mac, at.mac, address));
                        prop_assert!(to.is_group());
                    }
                    Some(Effect::Join(link, group)) => {
                        prop_assert!(links.contains_key(&link));
                        joined.insert((link, group));
                    }
                    Some(Effect::Leave(link, group)) => {
                        joined.remove(&(link, group));
                    }
                    Some(Effect::Announcing { address, links: told }) => {
                        prop_assert_eq!(told, announcer.links_of(address));
                    }
                    None => break,
                }
            }
        }
        // What is told in the end is what is true.
        let mut groups = BTreeSet::new();
        let mut own: BTreeMap<IpAddr, BTreeSet<LinkIndex>> = BTreeMap::new();
        for ((index, address), speak) in &desired {
            if *speak == Speak::Own {
                own.entry(*address).or_default().insert(*index);
            }
            if let IpAddr::V6(six) = address {
                groups.insert((*index, ndp::solicited_node(*six)));
            }
        }
        for address in desired.keys().map(|(_, address)| *address) {
            prop_assert_eq!(announcer.links_of(address), own.get(&address).cloned().unwrap_or_default());
        }
        prop_assert_eq!(announcer.standing_in(), desired.values().filter(|speak| matches!(speak, Speak::For(_))).count());
        prop_assert_eq!(joined, groups);
    }
}

/// What a frame says.
struct Spoken {
    /// The Ethernet source.
    source: Mac,
    /// Whose MAC it tells, for which address.
    told: Mac,
    address: IpAddr,
    /// To whom it goes.
    to: Mac,
}

fn spoken(frame: &[u8]) -> Spoken {
    if is_ndp(frame) {
        match ndp::Message::parse(frame).expect("what we send can be read") {
            ndp::Message::Advertisement(told) => Spoken {
                source: told.source,
                told: told.link_layer.expect("always with the option"),
                address: told.target.into(),
                to: told.destination,
            },
            other => panic!("{other:?}"),
        }
    } else {
        let packet = Packet::parse(frame).expect("what we send can be read");
        let address = packet.sender.ip.into();
        Spoken { source: packet.source, told: packet.sender.mac, address, to: packet.destination }
    }
}

#[test]
fn ndp_standing_by_is_listening_and_nothing_else() {
    let six = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 7);
    let group = ndp::solicited_node(six);
    let mut announcer = Announcer::new(None);
    announcer.stand_by(LAN, six, true);
    assert_eq!(effects(&mut announcer, ms(0)), [], "there is no such link");
    announcer.handle_links(lan(), ms(0));
    announcer.stand_by(LAN, six, true);
    announcer.stand_by(LAN, six, true);
    assert_eq!(effects(&mut announcer, ms(0)), [Effect::Join(LAN, group)]);
    assert_eq!((announcer.speaks(LAN, six.into()), announcer.next_deadline()), (None, None));

    // It becomes ours, and goes again: the group stays.
    announcer.desire(LAN, six.into(), Some(Speak::Own), ms(10));
    announcer.stand_by(LAN, six, false);
    announcer.stand_by(LAN, six, true);
    announcer.desire(LAN, six.into(), None, ms(11));
    let groups = |effect: &Effect| matches!(effect, Effect::Join(..) | Effect::Leave(..));
    assert_eq!(effects(&mut announcer, ms(11)).iter().filter(|effect| groups(effect)).count(), 0);

    // A link that came up again joins all of its groups.
    let mut again = lan();
    again.values_mut().for_each(|link| link.ups += 1);
    announcer.handle_links(again, ms(20));
    assert_eq!(effects(&mut announcer, ms(20)), [Effect::Join(LAN, group)]);
    announcer.stand_by(LAN, six, false);
    announcer.stand_by(LAN, six, false);
    assert_eq!(effects(&mut announcer, ms(30)), [Effect::Leave(LAN, group)]);
}
