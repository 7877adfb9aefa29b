//! Two who claim one address.
//!
//! Both are there and each thinks that it is elected. That is so for some milliseconds when a change has reached one of
//! them earlier than the other; and for longer only when one of them does not get the API server's news.

use std::net::IpAddr;
use std::time::Duration;

use crate::election::{Roster, precedence};
use crate::peers::Timing;
use crate::wire::hello::{StationId, Voice};

use super::field::{Field, Me};
use super::phase::{Others, Phase};

/// So many intervals views may differ before it is no longer the views that decide.
const GRACE: u32 = 10;

/// So many intervals whoever lost by that leaves it to the other one, before it claims once more: views that still differ
/// by then are found to be out of date, as each speaker asks the API server as often.
const REST: u32 = 50;

/// A dispute that has gone on for so long begins anew.
pub(super) fn whole(timing: &Timing) -> Duration {
    timing.interval * (GRACE + REST)
}

/// What is to be done about another claim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The other one is right.
    pub(super) defer_to: Option<StationId>,
    /// When to look again.
    pub(super) again: Option<Duration>,
}

/// What to do where we are elected and somebody else, who is there, claims the address too.
///
/// Steps, in the order of the lines below:
/// 1. nobody else does whom we hear: no dispute. Of one that only others hear we would not know that it gave up, and two
///    would give way to each other's old claims;
/// 2. of two of whom one knows what the API server says now and the other does not, the first is right; who stands in claims it for
///    its owner, which we may be, and so does not contradict;
/// 3. we are elected, so the other one will hear our claim, find the same and stop. Both answer for that moment;
/// 4. where it has not stopped after ten intervals, it will not: the hash of node and address decides, that both know;
///    whoever loses by that tries again after fifty.
pub(super) fn decide(
    me: &Me,
    field: &Field,
    (phase, known): (Phase, &mut Others),
    address: IpAddr,
    timing: &Timing,
    roster: &Roster,
    now: Duration,
) -> Outcome {
    let there = |station: &StationId| field.runner(*station).is_some_and(super::field::Runner::is_there);
    let others = known.claimants.iter().map(|(station, _)| *station).filter(there);
    let others: Vec<StationId> = others.filter(|station| *station != me.station).collect();
    if others.is_empty() {
        known.dispute = None;
        return Outcome::default();
    }
    let live = |station: &&StationId| field.runner(**station).is_some_and(|runner| !runner.stale);
    let owns = |station: &&StationId| known.claims(**station) == Some(Voice::Own);
    if me.stale
        && let Some(station) = others.iter().filter(owns).find(live)
    {
        // Once we know again what it says now, the other one has its time to hear us.
        known.dispute = None;
        return Outcome { defer_to: Some(*station), again: None };
    }
    let mut since = *known.dispute.get_or_insert(now);
    if since + whole(timing) <= now {
        since = now;
        known.dispute = Some(now);
    }
    let until = since + timing.interval * GRACE;
    if now < until {
        // Only what we say ourselves can be heard.
        let again = (phase != Phase::Silent).then_some(until);
        return Outcome { defer_to: None, again: again.or(Some(until)) };
    }
    let name = |station: StationId| {
        field.node(station).and_then(|id| roster.get(id)).map(|member| precedence(&member.name, address))
    };
    let mine = name(me.station);
    let rivals = others.iter().filter(|station| me.stale || live(station));
    let first = rivals.filter_map(|station| Some((name(*station)?, *station))).min();
    let wins = first.filter(|(theirs, _)| mine.as_ref().is_none_or(|mine| theirs < mine));
    let again = wins.is_some().then_some(until + timing.interval * REST);
    Outcome { defer_to: wins.map(|(_, station)| station), again }
}
