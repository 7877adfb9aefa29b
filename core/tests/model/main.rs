//! The protocol by which speakers agree, looked at in all that can happen: three machines, two addresses, and an adversary.
//!
//! What runs is the code itself, `ferrolb_core::speaker`, and no sketch of it. `docs/failover.md`, "Model", says what is
//! covered and what was seen. `FERROLB_ACTS=n` looks at n acts of the adversary.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod acts;
mod judge;
mod same;
mod search;
mod setting;
mod world;

use acts::{Act, Choice, Kind};
use search::{Bounds, Scope, Search, Violation};
use setting::Flaw;
use world::ms;

/// One link, all acts, at each half interval.
const WIDE: Scope = Scope {
    segments: 1,
    acts: 1,
    choice: Choice::All,
    step: ms(50),
    starts: [0, 15, 70],
    flaw: None,
    stale_after: ms(5_000),
};

/// Fewer acts to choose from, at each interval, so that more of them can follow each other.
const DEEP: Scope = Scope { acts: 2, choice: Choice::Coarse, step: ms(100), stale_after: ms(1_500), ..WIDE };

/// What `docs/failover.md` says, and two milliseconds for the way of the frames.
///
/// Nobody answers, for each act: a node that dies while it is stood in for (410 ms) is the longest. Two answer: views differ
/// (10 intervals), and a list of claims that was lost is asked for by the next hello (2), and a pause (3). All is settled: the sum of the
/// bounds.
const BOUNDS: Bounds = Bounds { nobody: ms(412), two: ms(1_502), settled: ms(2_400), views: ms(5_200) };

/// Looks at all of it, and fails with a trace.
#[expect(clippy::disallowed_macros, reason = "how much was seen is for whoever runs it to read")]
fn hold(scope: Scope) -> Search {
    let mut search = Search::new(scope, BOUNDS);
    let result = search.run();
    println!("{scope:?}");
    for (acts, level) in search.levels.iter().enumerate() {
        println!("  {acts} acts: {level:?}");
    }
    for (kind, [nobody, two, settled]) in &search.single {
        println!("  {kind:?} when all is quiet: nobody {nobody:?}, two {two:?}, settled {settled:?}");
    }
    if let Err(Violation { what, way, log }) = result {
        panic!("{what}\nafter {way:?}\n{}", log.join("\n"));
    }
    search
}

#[expect(clippy::disallowed_methods, reason = "how long a test runs is not core's to say")]
fn acts(default: usize) -> usize {
    std::env::var("FERROLB_ACTS").ok().and_then(|acts| acts.parse().ok()).unwrap_or(default)
}

/// What one thing does that happens when nothing else is under way: how long nobody answers, and two, in milliseconds.
///
/// Silence is noticed after k + 0.1 intervals; what is said takes the way of a frame; views that differ are settled
/// after ten intervals.
fn single(kind: Kind) -> (u64, u64) {
    match kind {
        Kind::Crash | Kind::Kill | Kind::Stop => (312, 2),
        Kind::EndAway | Kind::Lose | Kind::Cut | Kind::Heal => (0, 0),
        Kind::Start | Kind::GoOn | Kind::EndLeaving | Kind::Publish | Kind::CatchUp => (0, 2),
        Kind::PublishLate => (0, 1_002),
    }
}

fn hold_single(search: &Search) {
    for (kind, [nobody, two, _]) in &search.single {
        let most = single(*kind);
        assert!(*nobody <= ms(most.0) && *two <= ms(most.1), "{kind:?}: nobody {nobody:?}, two {two:?}");
    }
}

#[test]
fn whatever_happens_once_is_over_within_its_bound() {
    for segments in [1, 2] {
        let search = hold(Scope { segments, ..WIDE });
        assert!(search.single.len() >= 9, "{:?}", search.single);
        hold_single(&search);
    }
}

#[test]
fn two_things_that_happen_leave_one_owner() {
    let search = hold(DEEP);
    assert!(search.levels[2].states > 20_000, "{:?}", search.levels);
    hold_single(&search);
}

/// What the search found once: 1 does not know that the address is 2's now, and the two no longer hear each other, while 0
/// hears both. Each gave way to what it knew of the other's claims.
#[test]
fn two_who_cannot_hear_each_other_do_not_both_give_way() {
    let mut search = Search::new(WIDE, BOUNDS);
    let way = [(0, Act::Publish(Some(1))), (60, Act::Cut(0, 1, 2, true))];
    if let Err(Violation { what, log, .. }) = search.follow(&way) {
        panic!("{what}\n{}", log.join("\n"));
    }
}

/// `make soak-core`.
#[test]
#[ignore = "takes long"]
fn soak() {
    hold(Scope { acts: acts(2), ..WIDE });
    hold(Scope { acts: acts(2) + 1, ..DEEP });
    hold(Scope { acts: acts(2) + 1, starts: [0, 20, 90], ..DEEP });
}

fn found(flaw: Flaw, acts: usize) -> String {
    let result = Search::new(Scope { acts, flaw: Some(flaw), ..DEEP }, BOUNDS).run();
    result.expect_err("it is to be found").what
}

#[test]
fn a_stopped_speaker_that_does_not_notice_is_found_out() {
    let what = found(Flaw::NoPause, 2);
    assert!(what.contains("which it had lost"), "{what}");
}

#[test]
fn claims_that_do_not_arrive_are_found_out() {
    let what = found(Flaw::NoClaims, 2);
    assert!(what.contains("two") || what.contains("for ever"), "{what}");
}

#[test]
fn a_kernel_that_does_not_answer_loses_its_address_and_that_is_found_out() {
    let what = found(Flaw::MuteKernels, 2);
    assert!(what.contains("whose kernel lives"), "{what}");
}

#[test]
fn a_stand_in_with_its_own_address_is_found_out() {
    let what = found(Flaw::OwnMac, 2);
    assert!(what.contains("whose kernel lives"), "{what}");
}

#[test]
fn who_goes_on_answering_is_found_out() {
    let what = found(Flaw::NoEnd, 2);
    assert!(what.contains("two") || what.contains("for ever"), "{what}");
}
