//! Scenarios with a hand-moved clock, compared as whole lists of effects.

use proptest::prelude::*;

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
    Link { name: name.into(), mac, ups: 1 }
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

/// An announcer with these links and addresses whose announcements are over, and the time at which.
fn settled(links: BTreeMap<LinkIndex, Link>, desired: BTreeMap<IpAddr, Interfaces>) -> (Announcer, Duration) {
    let mut announcer = Announcer::new();
    announcer.handle_links(links, ms(0));
    announcer.handle_desired(desired, ms(0));
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
    let send = |packet: Packet| Effect::Send {
        link,
        address: address.into(),
        purpose: Purpose::Announcement,
        frame: packet.build(),
    };
    announcement(mac, address).map(send).into()
}

fn announcing(address: Ipv4Addr, links: &[LinkIndex]) -> Effect {
    Effect::Announcing { address: address.into(), links: links.iter().copied().collect() }
}

fn answer(link: LinkIndex, mac: Mac, request: &Packet) -> Effect {
    Effect::Send {
        link,
        address: request.target.ip.into(),
        purpose: Purpose::Answer,
        frame: request.answer(mac).build(),
    }
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
fn a_new_address_is_announced_in_both_forms_five_times() {
    let mut announcer = Announcer::new();
    announcer.handle_links(lan(), ms(0));
    assert_eq!((effects(&mut announcer, ms(0)), announcer.next_deadline()), (vec![], None));

    announcer.handle_desired(everywhere(&[ONE]), ms(1000));
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
    announcer.handle_desired(everywhere(&[ONE, TWO]), now);
    announcer.handle_links(both(), now);
    assert_eq!((effects(&mut announcer, now), announcer.next_deadline()), (vec![], None));
    // Nor does another address's change, or other words for the same links.
    announcer.handle_desired([(ONE.into(), Interfaces::All)].into(), now);
    assert_eq!(effects(&mut announcer, now), [announcing(TWO, &[])]);
    announcer.handle_desired([(ONE.into(), only("lan").union(only("wan")))].into(), now);
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
fn a_link_that_was_away_unseen_or_has_a_new_mac_is_announced_on_anew() {
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
    assert_eq!(announcer.handle_frame(WAN, &request(ONE).build()), Ok(ONE.into()));
    assert_eq!(effects(&mut announcer, now + ms(500)), [answer(WAN, other, &request(ONE))]);
}

#[test]
fn a_link_that_goes_takes_its_announcements_along() {
    let mut announcer = Announcer::new();
    announcer.handle_links(both(), ms(0));
    announcer.handle_desired(everywhere(&[ONE]), ms(0));
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
    assert_eq!(announcer.handle_frame(WAN, &request(ONE).build()), Ok(ONE.into()));
    assert_eq!(effects(&mut announcer, now), [answer(WAN, NODE_WAN, &request(ONE))]);

    // The advertisement moves to the other link.
    announcer.handle_desired([(ONE.into(), only("lan"))].into(), now);
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
fn nothing_leaves_for_an_address_that_was_taken_away() {
    let mut announcer = Announcer::new();
    announcer.handle_links(lan(), ms(0));
    announcer.handle_desired(everywhere(&[ONE, TWO]), ms(0));
    // Both are due, one answer and one second form are built.
    assert_eq!(announcer.next_effect(ms(0)), Some(announcing(ONE, &[LAN])));
    assert_eq!(announcer.next_effect(ms(0)), Some(announcing(TWO, &[LAN])));
    assert_eq!(announcer.next_effect(ms(0)), announced(LAN, NODE, ONE).first().cloned());
    assert_eq!(announcer.handle_frame(LAN, &request(ONE).build()), Ok(ONE.into()));
    announcer.handle_desired(everywhere(&[TWO]), ms(1));
    let mut expected = vec![announcing(ONE, &[])];
    expected.extend(announced(LAN, NODE, TWO));
    assert_eq!(effects(&mut announcer, ms(1)), expected);
    assert_eq!(announcer.handle_frame(LAN, &request(ONE).build()), Err(Ignored::NotOurs));
    assert_eq!(effects(&mut announcer, ms(60_000)), announced(LAN, NODE, TWO));
}

#[test]
fn a_frame_built_with_an_old_mac_does_not_leave() {
    let (mut announcer, now) = settled(lan(), everywhere(&[ONE]));
    announcer.handle_frame(LAN, &request(ONE).build()).unwrap();
    announcer.handle_links([(LAN, link("lan", NODE_WAN))].into(), now);
    assert_eq!(effects(&mut announcer, now), announced(LAN, NODE_WAN, ONE));
}

#[test]
fn answers_come_before_announcements() {
    let mut announcer = Announcer::new();
    announcer.handle_links(lan(), ms(0));
    announcer.handle_desired(everywhere(&[ONE, TWO]), ms(0));
    announcer.handle_frame(LAN, &request(TWO).build()).unwrap();
    assert_eq!(announcer.next_effect(ms(0)), Some(answer(LAN, NODE, &request(TWO))));
}

#[test]
fn probes_and_unicast_requests_are_answered() {
    let (mut announcer, now) = settled(lan(), everywhere(&[ONE]));
    let probe = Packet { sender: Host { mac: CLIENT, ip: Ipv4Addr::UNSPECIFIED }, ..request(ONE) };
    let unicast = Packet { destination: NODE, ..request(ONE) };
    for asked in [probe, unicast] {
        assert_eq!(announcer.handle_frame(LAN, &asked.build()), Ok(ONE.into()));
        assert_eq!(effects(&mut announcer, now), [answer(LAN, NODE, &asked)]);
    }
}

#[test]
fn what_is_not_answered_says_why() {
    let (mut announcer, now) = settled(both(), everywhere(&[ONE]));
    let own = Packet { source: NODE, sender: Host { mac: NODE, ip: ONE }, ..request(ONE) };
    let multicast = Mac([0x01, 0, 0x5e, 0, 0, 1]);
    let cases = [
        (Packet { operation: Operation::Reply, ..request(ONE) }, Ignored::NotARequest),
        (Packet { destination: NODE_WAN, ..request(ONE) }, Ignored::NotForUs),
        (Packet { destination: multicast, ..request(ONE) }, Ignored::NotForUs),
        (own, Ignored::Own),
        (Packet { source: NODE, ..request(ONE) }, Ignored::Own),
        (request(TWO), Ignored::NotOurs),
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
    assert_eq!(effects(&mut announcer, now), []);
}

#[test]
fn ipv6_is_carried_and_said_but_not_sent() {
    let six: IpAddr = "fd00::1".parse().unwrap();
    let mut announcer = Announcer::new();
    announcer.handle_links(lan(), ms(0));
    announcer.handle_desired([(six, Interfaces::All)].into(), ms(0));
    assert_eq!((effects(&mut announcer, ms(0)), announcer.next_deadline()), (vec![], None));
    assert_eq!(announcer.unanswered().collect::<Vec<_>>(), [six]);
    assert_eq!(announcer.links_of(six), [].into());
}

/// Anything that can happen to an announcer.
#[derive(Clone, Debug)]
enum Step {
    Desire(BTreeMap<IpAddr, Interfaces>),
    Links(BTreeMap<LinkIndex, Link>),
    Frame(LinkIndex, Vec<u8>),
    Wait(u64),
}

fn any_address() -> impl Strategy<Value = Ipv4Addr> {
    (0u8..4).prop_map(|last| Ipv4Addr::new(10, 0, 0, last))
}

fn any_interfaces() -> impl Strategy<Value = Interfaces> {
    prop_oneof![Just(Interfaces::All), Just(only("lan")), Just(only("wan")), Just(only("gone"))]
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let broken = (any_address(), 0usize..42, any::<u8>()).prop_map(|(address, at, byte)| {
        let mut frame = request(address).build();
        frame[at] = byte;
        frame
    });
    prop_oneof![
        4 => any_address().prop_map(|address| request(address).build()),
        2 => broken,
        1 => prop::collection::vec(any::<u8>(), 0..64),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let index = prop::sample::select(vec![LAN, WAN]);
    let desire = prop::collection::btree_map(any_address().prop_map(IpAddr::V4), any_interfaces(), 0..4);
    let link =
        (prop::sample::select(vec!["lan", "wan"]), prop::sample::select(vec![NODE, NODE_WAN]), 0u64..2)
            .prop_map(|(name, mac, ups)| Link { ups, ..link(name, mac) });
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
    /// an answer only to the one who asked.
    #[test]
    fn frames_speak_only_for_owned_addresses(
        steps in prop::collection::vec((any_step(), 0usize..6), 1..40),
    ) {
        let mut announcer = Announcer::new();
        let (mut desired, mut links) = (BTreeMap::new(), BTreeMap::new());
        let mut now = ms(0);
        for (step, taken) in steps {
            match step {
                Step::Desire(new) => {
                    desired = new.clone();
                    announcer.handle_desired(new, now);
                }
                Step::Links(new) => {
                    links = new.clone();
                    announcer.handle_links(new, now);
                }
                Step::Frame(link, frame) => {
                    let _ = announcer.handle_frame(link, &frame);
                }
                Step::Wait(time) => now += ms(time),
            }
            for _ in 0..taken {
                match announcer.next_effect(now) {
                    Some(Effect::Send { link, address, purpose, frame }) => {
                        let at: &Link = links.get(&link).expect("a link that is there");
                        let interfaces: &Interfaces = desired.get(&address).expect("a desired address");
                        prop_assert!(interfaces.contains(&at.name));
                        let packet = Packet::parse(&frame).expect("what we send can be read");
                        prop_assert_eq!(IpAddr::V4(packet.sender.ip), address);
                        prop_assert_eq!((packet.source, packet.sender.mac), (at.mac, at.mac));
                        prop_assert_eq!(packet.destination.is_group(), purpose == Purpose::Announcement);
                        prop_assert!(purpose == Purpose::Announcement || packet.operation == Operation::Reply);
                    }
                    Some(Effect::Announcing { address, links: told }) => {
                        prop_assert_eq!(told, announcer.links_of(address));
                    }
                    None => break,
                }
            }
        }
        // What is told in the end is what is true: each desired address on each link that it names.
        for (index, link) in &links {
            for (address, interfaces) in &desired {
                prop_assert_eq!(announcer.links_of(*address).contains(index), interfaces.contains(&link.name));
            }
        }
    }
}
