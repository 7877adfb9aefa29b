//! What is said of nodes that come first and do not answer.

use super::*;

fn before(desk: &Desk) -> Vec<(String, Hindrance)> {
    let me = desk.roster.id(&format!("node{}", desk.me)).unwrap();
    let contest = desk.contests.get(&desk.vip).unwrap();
    let before = desk.own.before(me, desk.vip, contest, &desk.roster);
    before.map(|(id, why)| (desk.roster.get(id).unwrap().name.to_string(), why)).collect()
}

fn said(words: &[(&str, Hindrance)]) -> Vec<(String, Hindrance)> {
    words.iter().map(|(name, why)| ((*name).to_owned(), *why)).collect()
}

#[test]
fn the_first_has_nobody_before_it() {
    assert_eq!(before(&among(0, &[0, 1, 2])), []);
}

#[test]
fn each_that_comes_first_is_named_with_what_keeps_it_from_answering() {
    let mut desk = among(2, &[3, 0, 1, 2]);
    assert_eq!(
        before(&desk),
        said(&[("node3", Hindrance::Unheard), ("node0", Hindrance::Passed), ("node1", Hindrance::Passed)])
    );
    desk.hear(0, State::Leaving, false, ms(100));
    desk.hear(1, State::Starting, false, ms(100));
    desk.stand(Standing::Fit, false, ms(100));
    assert_eq!(desk.phase(), Phase::Owner);
    assert_eq!(
        before(&desk),
        said(&[("node3", Hindrance::Unheard), ("node0", Hindrance::Leaving), ("node1", Hindrance::Starting)])
    );
}

#[test]
fn an_interface_that_is_missing_is_said() {
    let mut desk = among(1, &[0, 1]);
    let [first, second] = ["node0", "node1"].map(|name| desk.roster.id(name).unwrap());
    let elsewhere = Interfaces::Only(["dmz".to_owned()].into());
    let order = [(first, elsewhere), (second, Interfaces::All)];
    desk.contests.insert(VIP, Arc::new(Contest::limited(order, Vec::new())));
    assert_eq!(before(&desk), said(&[("node0", Hindrance::NoInterface)]));
}

#[test]
fn where_nobody_was_heard_it_is_the_api_that_says_so() {
    let mut desk = Desk::new(1, &[0, 1]);
    desk.stand(Standing::Fit, false, ms(0));
    assert_eq!(before(&desk), said(&[("node0", Hindrance::NotReady)]));
}

#[test]
fn the_other_owner_is_whoever_claims_to_own() {
    let mut desk = among(0, &[0, 1, 2]);
    assert_eq!(desk.own.owner(VIP), None);
    desk.claim(2, Voice::StandIn, ms(10));
    assert_eq!(desk.own.owner(VIP), None);
    desk.claim(1, Voice::Own, ms(10));
    assert_eq!(desk.own.owner(VIP), Some(id(1)));
}
