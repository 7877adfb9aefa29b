//! Who listens to the group of an IPv6 address that another one has.

use super::*;

const SIX: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x100);

fn desk(me: usize, order: &[usize]) -> Desk {
    among_for(SIX.into(), me, order)
}

fn all(desk: &Desk) -> Vec<Ipv6Addr> {
    desk.own.standby().iter().copied().collect()
}

#[test]
fn the_next_in_order_listens_and_nobody_else() {
    for (me, listens) in [(0, false), (1, true), (2, false)] {
        let mut desk = desk(me, &[0, 1, 2]);
        assert_eq!(desk.own.take_acts().contains(&Act::StandBy(SIX)), listens, "{me}");
        assert_eq!(all(&desk).len(), usize::from(listens), "{me}");
    }
    assert!(all(&among(1, &[0, 1, 2])).is_empty(), "a question for an IPv4 address comes to all");
}

#[test]
fn where_nobody_was_heard_nobody_listens_for_another_one() {
    let mut desk = Desk::of(SIX.into(), 1, &[0, 1, 2]);
    desk.stand(Standing::Fit, false, ms(0));
    assert!(all(&desk).is_empty());
}

#[test]
fn the_group_is_listened_to_without_a_break_when_the_address_comes() {
    let mut desk = desk(1, &[0, 1, 2]);
    assert_eq!(desk.own.take_acts(), [Act::StandBy(SIX)]);
    desk.hear(0, State::Leaving, false, ms(100));
    desk.stand(Standing::Fit, false, ms(100));
    assert_eq!(
        desk.own.take_acts(),
        [Act::Own { address: SIX.into(), new: true }, Act::StandDown(SIX)],
        "what counts the groups sees both"
    );
}

#[test]
fn the_group_is_listened_to_without_a_break_when_the_address_goes() {
    let mut desk = desk(0, &[0, 1, 2]);
    desk.own.take_acts();
    desk.contest(&[1, 0, 2], ms(100));
    desk.claim(1, Voice::Own, ms(101));
    assert_eq!(desk.own.take_acts(), [Act::StandBy(SIX), Act::Stop(SIX.into())]);
}

#[test]
fn another_one_is_the_next_when_the_next_one_goes() {
    let mut desk = desk(2, &[0, 1, 2]);
    assert!(all(&desk).is_empty());
    desk.hear(1, State::Leaving, false, ms(100));
    desk.stand(Standing::Fit, false, ms(100));
    assert_eq!(all(&desk), [SIX]);
    desk.contests.remove(&SIX.into());
    let Desk { roster, contests, peers, own, .. } = &mut desk;
    own.contest(SIX.into(), Known { contests, roster, peers }, ms(200));
    assert!(all(&desk).is_empty(), "the Service is gone");
}

#[test]
fn of_very_many_addresses_only_so_many_are_listened_for() {
    let mut desk = desk(1, &[0, 1, 2]);
    for number in 0..MOST_STANDBY as u16 + 10 {
        desk.vip = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, number).into();
        desk.contest(&[0, 1, 2], ms(100));
    }
    assert_eq!(all(&desk).len(), MOST_STANDBY);
    let acts = desk.own.take_acts();
    assert_eq!(acts.iter().filter(|act| matches!(act, Act::StandBy(_))).count(), MOST_STANDBY);
}
