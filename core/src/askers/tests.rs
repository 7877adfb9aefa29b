//! Scenarios with a hand-moved clock, then the memory against a plain model, then random take-overs whose questions have to
//! keep the bounds. Tests named `asking_N_…` hold rule N of docs/conflicts.md.

use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;
use crate::wire::{arp, ndp};

const LAN: LinkIndex = LinkIndex(2);
const WAN: LinkIndex = LinkIndex(3);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn vip(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 + number).into()
}

fn vip6(number: u16) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number).into()
}

fn client(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a01_0000 + number).into()
}

fn client6(number: u16) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, number).into()
}

fn mac(number: u32) -> Mac {
    let [.., a, b] = number.to_be_bytes();
    Mac([2, 0, 0, 0, a, b])
}

fn question(number: u32, address: IpAddr) -> Question {
    Question { client: client(number), mac: mac(number), address }
}

fn askers() -> Askers {
    Askers::new(7, LATELY)
}

/// All questions up to `until`, each asked when it is due.
fn run(askers: &mut Askers, from: Duration, until: Duration) -> Vec<(u128, Ask)> {
    let (mut now, mut asked) = (from, Vec::new());
    loop {
        while let Some(ask) = askers.next_effect(now) {
            asked.push((now.as_millis(), ask));
        }
        match askers.next_deadline().filter(|at| *at <= until) {
            Some(at) => {
                assert!(at > now, "nothing to do at {now:?}, which was the deadline");
                now = at;
            }
            None => return asked,
        }
    }
}

/// Who is asked for what, in order.
fn pairs(asked: &[(u128, Ask)]) -> Vec<(IpAddr, IpAddr)> {
    asked.iter().map(|(_, ask)| (ask.address, ask.client)).collect()
}

#[test]
fn asking_1_who_asked_is_asked_back_and_its_answer_says_how_fast_it_learned() {
    let mut askers = askers();
    askers.heard(LAN, &question(1, vip(1)), ms(0));
    assert_eq!(askers.take_over(LAN, &[vip(1), vip(2)], ms(1000)), 1);
    assert_eq!(askers.answered(LAN, client(1), vip(1), ms(1000)), None, "it was not asked yet");
    let ask = Ask { link: LAN, address: vip(1), client: client(1), to: Some(mac(1)) };
    assert_eq!(run(&mut askers, ms(1002), ms(1005)), [(1002, ask)]);
    assert_eq!(askers.answered(LAN, client(1), vip(2), ms(1005)), None, "of another address");
    assert_eq!(askers.answered(WAN, client(1), vip(1), ms(1005)), None, "on another link");
    assert_eq!(askers.answered(LAN, client(1), vip(1), ms(1005)), Some(ms(3)));
    assert_eq!(askers.answered(LAN, client(1), vip(1), ms(1005)), None, "once");
    assert_eq!((askers.next_effect(ms(9000)), askers.next_deadline()), (None, None));
    assert_eq!(askers.counts(), Counts { asked: 1, confirmed: 1, unanswered: 0 });
}

#[test]
fn asking_2_without_an_answer_all_are_asked_once_more_and_then_nobody() {
    let mut askers = askers();
    askers.heard(LAN, &question(1, vip(1)), ms(0));
    askers.take_over(LAN, &[vip(1)], ms(1000));
    let ask = Ask { link: LAN, address: vip(1), client: client(1), to: Some(mac(1)) };
    let expected = [(1000, ask), (1100, Ask { to: None, ..ask })];
    assert_eq!(run(&mut askers, ms(1000), ms(1199)), expected);
    let mut late = askers;
    assert_eq!(run(&mut late, ms(1199), ms(9000)), []);
    assert_eq!(late.counts(), Counts { asked: 1, confirmed: 0, unanswered: 1 });
    assert_eq!(late.answered(LAN, client(1), vip(1), ms(1300)), None);
    assert_eq!((late.links[&LAN].pending, late.next_deadline()), (0, None));
}

#[test]
fn asking_2_an_answer_to_the_second_question_counts_from_the_first() {
    let mut askers = askers();
    askers.heard(LAN, &question(1, vip(1)), ms(0));
    askers.take_over(LAN, &[vip(1)], ms(1000));
    run(&mut askers, ms(1000), ms(1150));
    assert_eq!(askers.answered(LAN, client(1), vip(1), ms(1150)), Some(ms(150)));
}

#[test]
fn asking_3_the_newest_asker_then_gateways_then_the_others() {
    let mut askers = askers();
    askers.set_gateways(LAN, vec![client(200), client6(200), client(2)]);
    for (number, at) in [(1, 100), (2, 200), (3, 300), (4, 400)] {
        askers.heard(LAN, &question(number, vip(1)), ms(at));
    }
    // The first has asked again, and is the newest.
    askers.heard(LAN, &question(1, vip(1)), ms(500));
    assert_eq!(askers.take_over(LAN, &[vip(1)], ms(1000)), 5);
    let asked = run(&mut askers, ms(1000), ms(1050));
    assert_eq!(pairs(&asked), [1, 200, 2, 4, 3].map(|number| (vip(1), client(number))));
    let to: Vec<Option<Mac>> = asked.iter().map(|(_, ask)| ask.to).collect();
    assert_eq!(to, [Some(mac(1)), None, Some(mac(2)), Some(mac(4)), Some(mac(3))]);
}

#[test]
fn asking_3_who_was_silent_for_a_minute_is_not_asked() {
    let mut askers = askers();
    askers.heard(LAN, &question(1, vip(1)), ms(0));
    askers.heard(LAN, &question(2, vip(1)), ms(1));
    askers.set_gateways(LAN, vec![client(200)]);
    askers.take_over(LAN, &[vip(1)], ms(60_001));
    let asked = run(&mut askers, ms(60_001), ms(60_050));
    assert_eq!(pairs(&asked), [(vip(1), client(2)), (vip(1), client(200))]);
}

#[test]
fn asking_3_who_asked_for_many_may_use_any() {
    let mut askers = askers();
    for number in 0..5 {
        askers.heard(LAN, &question(1, vip(number)), ms(0));
        askers.heard(LAN, &question(2, vip(number % 4)), ms(0));
    }
    assert_eq!(askers.take_over(LAN, &[vip(77)], ms(1)), 1);
    assert_eq!(pairs(&run(&mut askers, ms(1), ms(50))), [(vip(77), client(1))]);
}

#[test]
fn asking_4_at_most_64_for_one_address() {
    let mut askers = askers();
    for number in 0..100 {
        askers.heard(LAN, &question(number, vip(1)), ms(u64::from(number)));
    }
    assert_eq!(askers.take_over(LAN, &[vip(1)], ms(1000)), 64);
    let asked = run(&mut askers, ms(1000), ms(1070));
    assert_eq!(pairs(&asked), (36..100).rev().map(|number| (vip(1), client(number))).collect::<Vec<_>>());
}

#[test]
fn asking_4_of_a_thousand_addresses_those_that_are_asked_for_come_first() {
    let mut askers = askers();
    let addresses: Vec<IpAddr> = (0..1000).map(vip).collect();
    askers.set_gateways(LAN, vec![client(200)]);
    for number in 0..40 {
        askers.heard(LAN, &question(number, vip(900 + number % 20)), ms(0));
    }
    assert_eq!(askers.take_over(LAN, &addresses, ms(1000)), 256);
    let asked = pairs(&run(&mut askers, ms(1000), ms(1000 + 255)));
    // Each first, then the gateway of each, then each second; a hundred ms later those are asked again, in between.
    let firsts: Vec<_> = (0..20).map(|number| (vip(900 + number), client(20 + number))).collect();
    assert_eq!(asked[..20], firsts);
    assert!(asked[20..40].iter().all(|(_, client_of)| *client_of == client(200)));
    let seconds: Vec<_> = (0..20).map(|number| (vip(900 + number), client(number))).collect();
    assert_eq!(asked[40..60], seconds);
    assert!(asked[60..100].iter().all(|(address, who)| *who == client(200) && *address < vip(900)));
}

#[test]
fn asking_4_take_overs_one_by_one_ask_no_more_than_one_of_all() {
    let mut askers = askers();
    askers.set_gateways(LAN, vec![client(200)]);
    let planned: usize = (0..1000).map(|number| askers.take_over(LAN, &[vip(number)], ms(0))).sum();
    assert_eq!(planned, 256);
    assert_eq!(askers.take_over(LAN, &[vip(0)], ms(0)), 0, "it is under way");
    let asked = run(&mut askers, ms(0), ms(5000));
    assert_eq!(asked.len(), 512);
    for pair in asked.windows(2) {
        assert!(pair[1].0 > pair[0].0, "two at once: {pair:?}");
    }
    assert_eq!(askers.counts(), Counts { asked: 256, confirmed: 0, unanswered: 256 });
    assert_eq!(askers.take_over(LAN, &[vip(999)], ms(6000)), 1, "there is room again");
}

#[test]
fn asking_5_the_families_keep_apart() {
    let mut askers = askers();
    askers.set_gateways(LAN, vec![client(200), client6(200)]);
    let six = Question { client: client6(1), mac: mac(1), address: vip6(1) };
    askers.heard(LAN, &six, ms(0));
    askers.take_over(LAN, &[vip6(1), vip(1)], ms(1));
    let expected = [(vip6(1), client6(1)), (vip6(1), client6(200)), (vip(1), client(200))];
    assert_eq!(pairs(&run(&mut askers, ms(1), ms(50))), expected);
}

#[test]
fn asking_6_for_what_is_lost_nobody_is_asked() {
    let mut askers = askers();
    askers.heard(LAN, &question(1, vip(1)), ms(0));
    askers.heard(LAN, &question(1, vip(2)), ms(0));
    askers.heard(WAN, &question(1, vip(1)), ms(0));
    for link in [LAN, WAN] {
        askers.take_over(link, &[vip(1), vip(2)], ms(1));
    }
    askers.forget(LAN, vip(1));
    let asked = run(&mut askers, ms(1), ms(50));
    assert_eq!(
        asked.iter().map(|(_, ask)| (ask.link, ask.address)).collect::<Vec<_>>(),
        [(LAN, vip(2)), (WAN, vip(1))]
    );
    assert_eq!(askers.answered(LAN, client(1), vip(1), ms(50)), None);
    askers.forget_link(LAN);
    assert_eq!((askers.known(LAN), askers.known(WAN), askers.pending.len(), askers.due.len()), (0, 1, 1, 1));
    askers.forget_link(WAN);
    assert_eq!((askers.next_deadline(), askers.take_over(LAN, &[vip(1)], ms(60))), (None, 0));
}

#[test]
fn asking_7_questions_of_clients_count_and_nothing_else() {
    let [one, nine]: [Ipv4Addr; 2] = ["10.0.0.1".parse().unwrap(), "10.0.0.9".parse().unwrap()];
    let asked = arp::request(mac(9), nine, one);
    let expected = Question { client: nine.into(), mac: mac(9), address: one.into() };
    assert_eq!(Question::of_arp(&asked), Some(expected));
    for (name, packet) in [
        ("a probe", arp::probe(mac(9), one)),
        ("an answer", asked.answer(mac(1))),
        ("an announcement", arp::announcement(mac(9), one)[0]),
        ("from a group", arp::request(mac(9), "224.0.0.1".parse().unwrap(), one)),
        ("from everybody", arp::request(mac(9), Ipv4Addr::BROADCAST, one)),
    ] {
        assert_eq!(Question::of_arp(&packet), None, "{name}");
    }
    let [one, nine]: [Ipv6Addr; 2] = ["fd00::1".parse().unwrap(), "fe80::9".parse().unwrap()];
    let asked = ndp::request(mac(9), nine, one);
    let expected = Question { client: nine.into(), mac: mac(9), address: one.into() };
    assert_eq!(Question::of_ndp(&asked), Some(expected));
    assert_eq!(Question::of_ndp(&ndp::Solicitation { link_layer: None, ..asked }), Some(expected));
    assert_eq!(Question::of_ndp(&ndp::probe(mac(9), one)), None);
}

#[test]
fn asking_8_four_thousand_clients_are_known_and_no_more() {
    let mut askers = askers();
    let count = MOST_CLIENTS as u32;
    for number in 0..3 * count {
        askers.heard(LAN, &question(number, vip(1)), ms(0));
    }
    assert_eq!(askers.known(LAN), MOST_CLIENTS);
    let state = &askers.links[&LAN];
    assert_eq!(
        (state.clients.mac(client(2 * count - 1)), state.clients.newest_first().count()),
        (None, 4096)
    );
    assert!(state.clients.mac(client(2 * count)).is_some());
    // What MOST_CLIENTS says of memory.
    assert!(size_of::<clients::Client>() <= 112, "{}", size_of::<clients::Client>());
}

proptest! {
    /// The memory is that of a plain list, whose front is the latest.
    #[test]
    fn asking_8_the_memory_is_a_list_by_time(
        most in 1usize..20,
        heard in prop::collection::vec((0u32..30, 0u32..8, 0u64..3), 0..300),
    ) {
        let (mut clients, mut model) = (Clients::new(3, most), Vec::<(IpAddr, Duration, Vec<IpAddr>)>::new());
        let mut now = ms(0);
        for (number, address, wait) in heard {
            now += ms(wait);
            clients.heard(&question(number, vip(address)), now);
            let known = model.iter().position(|(ip, ..)| *ip == client(number)).map(|at| model.remove(at));
            let mut addresses = known.map(|(.., addresses)| addresses).unwrap_or_default();
            addresses.retain(|known| *known != vip(address));
            addresses.insert(0, vip(address));
            addresses.truncate(MOST_ADDRESSES);
            model.insert(0, (client(number), now, addresses));
            model.truncate(most);
        }
        let all: Vec<_> =
            clients.newest_first().map(|known| (known.ip, known.seen, known.addresses().collect())).collect();
        prop_assert_eq!(all, model);
    }

    /// Whatever is heard, taken over, answered and lost: nobody is asked for what is not ours, or more than twice; no more than
    /// the bounds say; and every one that was asked is accounted for in the end.
    #[test]
    fn asking_4_the_bounds_hold(
        events in prop::collection::vec((0u64..80, 0u8..10, 0u32..30, 0u32..12), 1..150),
        gateways in prop::collection::vec(0u32..40, 0..12),
    ) {
        let mut askers = askers();
        askers.set_gateways(LAN, gateways.into_iter().map(client).collect());
        let mut ours: BTreeMap<IpAddr, BTreeMap<IpAddr, u8>> = BTreeMap::new();
        let (mut now, mut last, mut lost) = (ms(0), None::<Duration>, 0);
        for (wait, what, who, which) in events {
            let until = now + ms(wait);
            while let Some(at) = askers.next_deadline().filter(|at| *at <= until) {
                now = now.max(at);
                let Some(ask) = askers.next_effect(now) else { continue };
                prop_assert!(last.is_none_or(|last| now - last >= SPACING));
                last = Some(now);
                let Some(times) = ours.get_mut(&ask.address) else {
                    return Err(TestCaseError::fail(format!("{ask:?} is not for ours")));
                };
                let times = times.entry(ask.client).or_default();
                *times += 1;
                prop_assert!(*times <= TRIES);
                prop_assert_eq!(*times > 1 && ask.to.is_some(), false);
            }
            now = until;
            match what {
                0..4 => askers.heard(LAN, &question(who, vip(which)), now),
                4..7 => {
                    // Asked anew only where nothing is under way.
                    if !askers.pending.keys().any(|(_, address, _)| *address == vip(which)) {
                        ours.insert(vip(which), BTreeMap::new());
                        prop_assert!(askers.take_over(LAN, &[vip(which)], now) <= MOST_FOR_ADDRESS);
                    }
                }
                7..9 => {
                    if let Some(after) = askers.answered(LAN, client(who), vip(which), now) {
                        prop_assert!(after <= (PATIENCE + ms(80)) * u32::from(TRIES));
                    }
                }
                _ => {
                    let before = askers.pending.len();
                    askers.forget(LAN, vip(which));
                    lost += (before - askers.pending.len()) as u64;
                    ours.remove(&vip(which));
                }
            }
            prop_assert_eq!(askers.links[&LAN].pending, askers.pending.len());
            prop_assert_eq!(askers.due.len(), askers.pending.len());
            prop_assert!(askers.pending.len() <= MOST_AT_ONCE);
            let Counts { asked, confirmed, unanswered } = askers.counts();
            prop_assert_eq!(asked, confirmed + unanswered + lost + askers.pending.len() as u64);
        }
    }
}
