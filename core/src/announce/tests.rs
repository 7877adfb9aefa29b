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
    Link { name: name.into(), mac, ups: 1, ipv6: true }
}

fn lan() -> BTreeMap<LinkIndex, Link> {
    [(LAN, link("lan", NODE))].into()
}

fn both() -> BTreeMap<LinkIndex, Link> {
    [(LAN, link("lan", NODE)), (WAN, link("wan", NODE_WAN))].into()
}

fn everywhere(addresses: &[Ipv4Addr]) -> BTreeMap<IpAddr, Interfaces> {
    addresses.iter().map(|address| ((*address).into(), Interfaces::All)).collect()
}

fn only(name: &str) -> Interfaces {
    Interfaces::Only([name.to_owned()].into())
}

/// The whole set of addresses, as their owner knows it.
fn desire(announcer: &mut Announcer, desired: &BTreeMap<IpAddr, Interfaces>, now: Duration) {
    let gone: Vec<IpAddr> =
        announcer.desired.keys().copied().filter(|address| !desired.contains_key(address)).collect();
    for address in gone {
        announcer.desire(address, None, now);
    }
    for (address, interfaces) in desired {
        announcer.desire(*address, Some(interfaces.clone()), now);
    }
}

/// An announcer with these links and addresses whose announcements are over, and the time at which.
fn settled(links: BTreeMap<LinkIndex, Link>, desired: BTreeMap<IpAddr, Interfaces>) -> (Announcer, Duration) {
    let mut announcer = Announcer::new(None);
    announcer.handle_links(links, ms(0));
    desire(&mut announcer, &desired, ms(0));
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

    desire(&mut announcer, &everywhere(&[ONE]), ms(1000));
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
    let (mut announcer, now) = settled(both(), everywhere(&[ONE, TWO]));
    desire(&mut announcer, &everywhere(&[ONE, TWO]), now);
    announcer.handle_links(both(), now);
    assert_eq!((effects(&mut announcer, now), announcer.next_deadline()), (vec![], None));
    // Nor does another address's change, or other words for the same links.
    desire(&mut announcer, &[(ONE.into(), Interfaces::All)].into(), now);
    assert_eq!(effects(&mut announcer, now), [announcing(TWO, &[])]);
    desire(&mut announcer, &[(ONE.into(), only("lan").union(only("wan")))].into(), now);
    assert_eq!((effects(&mut announcer, now), announcer.next_deadline()), (vec![], None));
}

#[test]
fn a_link_that_appears_is_announced_on_alone() {
    let (mut announcer, now) = settled(lan(), everywhere(&[ONE]));
    announcer.handle_links(both(), now);
    let mut expected = vec![announcing(ONE, &[LAN, WAN])];
    expected.extend(announced(WAN, NODE_WAN, ONE));
    assert_eq!(effects(&mut announcer, now), expected);
}

#[test]
fn arp_4_a_link_that_was_away_unseen_or_has_a_new_mac_is_announced_on_anew() {
    let (mut announcer, now) = settled(both(), everywhere(&[ONE]));
    let mut links = both();
    links.get_mut(&LAN).unwrap().ups = 2;
    announcer.handle_links(links.clone(), now);
    assert_eq!(effects(&mut announcer, now), announced(LAN, NODE, ONE));

    let other = Mac([0x02, 0, 0, 0, 0, 0x77]);
    links.get_mut(&WAN).unwrap().mac = other;
    announcer.handle_links(links, now + ms(500));
    assert_eq!(effects(&mut announcer, now + ms(500)), announced(WAN, other, ONE));
    // And answers carry it.
    assert_eq!(announcer.handle_frame(WAN, &request(ONE).build()), answer(other, &request(ONE)));
}

#[test]
fn a_link_that_goes_takes_its_announcements_along() {
    let mut announcer = Announcer::new(None);
    announcer.handle_links(both(), ms(0));
    desire(&mut announcer, &everywhere(&[ONE]), ms(0));
    effects(&mut announcer, ms(0));
    announcer.handle_links(lan(), ms(100));
    assert_eq!(effects(&mut announcer, ms(100)), [announcing(ONE, &[LAN])]);
    assert_eq!(effects(&mut announcer, ms(1100)), announced(LAN, NODE, ONE));
    announcer.handle_links([].into(), ms(1200));
    assert_eq!(effects(&mut announcer, ms(1200)), [announcing(ONE, &[])]);
    assert_eq!(announcer.next_deadline(), None);
}

#[test]
fn interfaces_limit_both_announcing_and_answering() {
    let desired = [(ONE.into(), only("wan")), (TWO.into(), only("gone"))];
    let (mut announcer, now) = settled(both(), desired.into());
    assert_eq!(announcer.links_of(ONE.into()), [WAN].into());
    assert_eq!(announcer.links_of(TWO.into()), [].into());
    assert_eq!(announcer.handle_frame(LAN, &request(ONE).build()), Err(Ignored::NotOurs));
    assert_eq!(announcer.handle_frame(WAN, &request(TWO).build()), Err(Ignored::NotOurs));
    assert_eq!(announcer.handle_frame(WAN, &request(ONE).build()), answer(NODE_WAN, &request(ONE)));

    // The advertisement moves to the other link.
    desire(&mut announcer, &[(ONE.into(), only("lan"))].into(), now);
    let mut expected = vec![announcing(ONE, &[LAN])];
    expected.extend(announced(LAN, NODE, ONE));
    assert_eq!(effects(&mut announcer, now), expected);

    // A link that is renamed is another one to `interfaces`.
    let renamed = [(LAN, link("lan0", NODE)), (WAN, link("lan", NODE_WAN))];
    announcer.handle_links(renamed.into(), now);
    let mut expected = vec![announcing(ONE, &[WAN])];
    expected.extend(announced(WAN, NODE_WAN, ONE));
    assert_eq!(effects(&mut announcer, now), expected);
}

#[test]
fn arp_5_nothing_leaves_for_an_address_that_was_taken_away() {
    let mut announcer = Announcer::new(None);
    announcer.handle_links(lan(), ms(0));
    desire(&mut announcer, &everywhere(&[ONE, TWO]), ms(0));
    // Both are due, and one second form is built.
    assert_eq!(announcer.next_effect(ms(0)), Some(announcing(ONE, &[LAN])));
    assert_eq!(announcer.next_effect(ms(0)), Some(announcing(TWO, &[LAN])));
    assert_eq!(announcer.next_effect(ms(0)), announced(LAN, NODE, ONE).first().cloned());
    assert_eq!(announcer.handle_frame(LAN, &request(ONE).build()), answer(NODE, &request(ONE)));
    desire(&mut announcer, &everywhere(&[TWO]), ms(1));
    let mut expected = vec![announcing(ONE, &[])];
    expected.extend(announced(LAN, NODE, TWO));
    assert_eq!(effects(&mut announcer, ms(1)), expected);
    assert_eq!(announcer.handle_frame(LAN, &request(ONE).build()), Err(Ignored::NotOurs));
    assert_eq!(effects(&mut announcer, ms(60_000)), announced(LAN, NODE, TWO));
}

#[test]
fn arp_3_a_frame_built_with_an_old_mac_does_not_leave() {
    let mut announcer = Announcer::new(None);
    announcer.handle_links(lan(), ms(0));
    desire(&mut announcer, &everywhere(&[ONE]), ms(0));
    announcer.next_effect(ms(0)).unwrap();
    assert_eq!(announcer.next_effect(ms(0)), announced(LAN, NODE, ONE).first().cloned());
    announcer.handle_links([(LAN, link("lan", NODE_WAN))].into(), ms(1));
    assert_eq!(effects(&mut announcer, ms(1)), announced(LAN, NODE_WAN, ONE));
}

#[test]
fn arp_1_probes_and_unicast_requests_are_answered() {
    let (announcer, _) = settled(lan(), everywhere(&[ONE]));
    let probe = Packet { sender: Host { mac: CLIENT, ip: Ipv4Addr::UNSPECIFIED }, ..request(ONE) };
    let unicast = Packet { destination: NODE, ..request(ONE) };
    for asked in [probe, unicast] {
        assert_eq!(announcer.handle_frame(LAN, &asked.build()), answer(NODE, &asked));
    }
}

#[test]
fn arp_2_what_is_not_answered_says_why() {
    let (announcer, _) = settled(both(), everywhere(&[ONE]));
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
        assert_eq!(announcer.handle_frame(LAN, &packet.build()), Err(why));
    }
    assert_eq!(announcer.handle_frame(LAN, &[]), Err(Ignored::Refused(arp::Refusal::TooShort)));
    assert_eq!(announcer.handle_frame(LinkIndex(9), &request(ONE).build()), Err(Ignored::UnknownLink));
}

const SIX: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
/// In one solicited-node group with SIX.
const TWIN: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 1);

fn six(addresses: &[Ipv6Addr]) -> BTreeMap<IpAddr, Interfaces> {
    addresses.iter().map(|address| ((*address).into(), Interfaces::All)).collect()
}

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
    desire(&mut announcer, &six(&[SIX]), ms(0));
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
    let (mut announcer, now) = settled(lan(), six(&[SIX]));
    let group = ndp::solicited_node(SIX);
    assert_eq!(group, ndp::solicited_node(TWIN));
    desire(&mut announcer, &six(&[SIX, TWIN]), now);
    let joined = effects(&mut announcer, now);
    assert!(!joined.iter().any(|effect| matches!(effect, Effect::Join(..))), "it is joined: {joined:?}");

    let up_again = Link { ups: 2, ..link("lan", NODE) };
    announcer.handle_links([(LAN, up_again.clone())].into(), now);
    assert_eq!(announcer.next_effect(now), Some(Effect::Join(LAN, group)));
    let rest = effects(&mut announcer, now);
    assert_eq!(rest, [announced_six(LAN, NODE, SIX), announced_six(LAN, NODE, TWIN)]);

    desire(&mut announcer, &six(&[TWIN]), now);
    assert_eq!(effects(&mut announcer, now), [announcing_six(SIX, &[])]);
    desire(&mut announcer, &six(&[]), now);
    assert_eq!(effects(&mut announcer, now), [Effect::Leave(LAN, group), announcing_six(TWIN, &[])]);

    // A new link joins as well.
    desire(&mut announcer, &six(&[SIX]), now);
    effects(&mut announcer, now);
    announcer.handle_links([(LAN, up_again), (WAN, link("wan", NODE_WAN))].into(), now);
    assert_eq!(announcer.next_effect(now), Some(Effect::Join(WAN, group)));
}

#[test]
fn ipv6_is_announced_where_the_link_has_it() {
    let without = Link { ipv6: false, ..link("lan", NODE) };
    let (mut announcer, now) = settled([(LAN, without)].into(), six(&[SIX]));
    assert_eq!(announcer.links_of(SIX.into()), [].into());
    assert_eq!(announcer.handle_frame(LAN, &solicitation(SIX).build()), Err(Ignored::NotOurs));
    announcer.handle_links(lan(), now);
    let first = [
        Effect::Join(LAN, ndp::solicited_node(SIX)),
        announcing_six(SIX, &[LAN]),
        announced_six(LAN, NODE, SIX),
    ];
    assert_eq!(effects(&mut announcer, now), first);
}

#[test]
fn ndp_2_and_5_solicitations_duplicate_checks_and_neighbour_probes_are_answered() {
    let (announcer, _) = settled(lan(), six(&[SIX]));
    let usual = solicitation(SIX);
    let check = ndp::Solicitation { sender: Ipv6Addr::UNSPECIFIED, link_layer: None, ..usual };
    let probe = ndp::Solicitation { destination: NODE, recipient: SIX, ..usual };
    let short = ndp::Solicitation { link_layer: None, ..probe };
    for asked in [usual, check, probe, short] {
        let expected = Answer { address: SIX.into(), frame: asked.answer(NODE).build() };
        assert_eq!(announcer.handle_frame(LAN, &asked.build()), Ok(expected), "{asked:?}");
    }
    let told = ndp::Message::parse(&announcer.handle_frame(LAN, &check.build()).unwrap().frame).unwrap();
    let ndp::Message::Advertisement(told) = told else { panic!("{told:?}") };
    assert_eq!(
        (told.recipient, told.overrides),
        ("ff02::1".parse().unwrap(), true),
        "that is what defends it"
    );
}

#[test]
fn ndp_1_what_is_not_answered_says_why() {
    let (announcer, _) = settled(lan(), six(&[SIX]));
    let usual = solicitation(SIX);
    let cases = [
        (ndp::Solicitation { destination: NODE_WAN, ..usual }, Ignored::NotForUs),
        (ndp::Solicitation { source: NODE, ..usual }, Ignored::Own),
        (ndp::Solicitation { link_layer: Some(NODE), ..usual }, Ignored::Own),
        (solicitation(TWIN), Ignored::NotOurs),
    ];
    for (asked, why) in cases {
        assert_eq!(announcer.handle_frame(LAN, &asked.build()), Err(why), "{asked:?}");
    }
    let told = ndp::announcement(CLIENT, SIX).build();
    assert_eq!(announcer.handle_frame(LAN, &told), Err(Ignored::NotARequest));
    let mut far = usual.build();
    far[21] = 254;
    assert!(matches!(announcer.handle_frame(LAN, &far), Err(Ignored::RefusedNdp(_))), "hop limit");
}

/// Anything that can happen to an announcer.
#[derive(Clone, Debug)]
enum Step {
    Desire(BTreeMap<IpAddr, Interfaces>),
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

fn any_interfaces() -> impl Strategy<Value = Interfaces> {
    prop_oneof![Just(Interfaces::All), Just(only("lan")), Just(only("wan")), Just(only("gone"))]
}

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
    let desire = prop::collection::btree_map(any_address(), any_interfaces(), 0..4);
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
        2 => links.prop_map(Step::Links),
        4 => (index, any_frame()).prop_map(|(index, frame)| Step::Frame(index, frame)),
        2 => (0u64..2000).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever happens in whatever order, and however few of the effects are taken in between: a frame
    /// leaves only for an address that is desired, on a link where it is desired, with that link's MAC;
    /// an answer only to the one who asked. Groups are joined before and left after what needs them.
    #[test]
    fn frames_speak_only_for_owned_addresses(
        steps in prop::collection::vec((any_step(), 0usize..6), 1..40),
    ) {
        let mut announcer = Announcer::new(None);
        let (mut desired, mut links) = (BTreeMap::new(), BTreeMap::<LinkIndex, Link>::new());
        let mut joined: BTreeSet<(LinkIndex, Ipv6Addr)> = BTreeSet::new();
        let mut now = ms(0);
        for (step, taken) in steps.into_iter().chain([(Step::Wait(0), usize::MAX)]) {
            match step {
                Step::Desire(new) => {
                    desired = new.clone();
                    desire(&mut announcer, &new, now);
                }
                Step::Links(new) => {
                    // A port is opened anew for a link that came up again.
                    let ups = |of: &BTreeMap<LinkIndex, Link>, index: &LinkIndex| of.get(index).map(|link| link.ups);
                    joined.retain(|(index, _)| new.contains_key(index) && ups(&new, index) == ups(&links, index));
                    links = new.clone();
                    announcer.handle_links(new, now);
                }
                Step::Frame(link, frame) => if let Ok(answer) = announcer.handle_frame(link, &frame) {
                    let (sender, address, to) = spoken(&answer.frame);
                    let at = links.get(&link).expect("a link that is there");
                    let interfaces: &Interfaces = desired.get(&answer.address).expect("a desired address");
                    prop_assert!(interfaces.contains(&at.name));
                    prop_assert_eq!((sender, address), (at.mac, answer.address));
                    prop_assert!(!to.is_group() || to == ndp::group_mac("ff02::1".parse().unwrap()));
                },
                Step::Wait(time) => now += ms(time),
            }
            for _ in 0..taken {
                match announcer.next_effect(now) {
                    Some(Effect::Send { link, address, frame }) => {
                        let at: &Link = links.get(&link).expect("a link that is there");
                        let interfaces: &Interfaces = desired.get(&address).expect("a desired address");
                        prop_assert!(interfaces.contains(&at.name));
                        let (sender, of, to) = spoken(&frame);
                        prop_assert_eq!((sender, of), (at.mac, address));
                        prop_assert!(to.is_group());
                    }
                    Some(Effect::Join(link, group)) => {
                        prop_assert!(links.get(&link).is_some_and(|link| link.ipv6));
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
        // What is told in the end is what is true: each desired address on each link that it names.
        let mut groups = BTreeSet::new();
        for (index, link) in &links {
            for (address, interfaces) in &desired {
                let wanted = interfaces.contains(&link.name) && (address.is_ipv4() || link.ipv6);
                prop_assert_eq!(announcer.links_of(*address).contains(index), wanted);
                if let (IpAddr::V6(six), true) = (address, wanted) {
                    groups.insert((*index, ndp::solicited_node(*six)));
                }
            }
        }
        prop_assert_eq!(joined, groups);
    }
}

/// Whose MAC a frame tells, for which address, and to whom it goes.
fn spoken(frame: &[u8]) -> (Mac, IpAddr, Mac) {
    if is_ndp(frame) {
        match ndp::Message::parse(frame).expect("what we send can be read") {
            ndp::Message::Advertisement(told) => {
                assert_eq!(Some(told.source), told.link_layer);
                (told.source, told.target.into(), told.destination)
            }
            other => panic!("{other:?}"),
        }
    } else {
        let packet = Packet::parse(frame).expect("what we send can be read");
        assert_eq!(packet.source, packet.sender.mac);
        (packet.source, packet.sender.ip.into(), packet.destination)
    }
}
