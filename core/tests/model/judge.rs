//! What must hold.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::setting::ORDERS;
use crate::world::{ADDRESSES, NODES, SEGMENTS, STAND_IN_LIMIT, TIMING, World, ms};

/// So long after it went on, a speaker that was stopped is watched.
const WATCHED: Duration = ms(500);

/// One address on one segment.
#[derive(Clone, Copy, Debug, Default)]
struct Spot {
    /// For how long nobody has answered although somebody could.
    nobody: Duration,
    /// For how long two have answered with different addresses who could hear each other.
    two: Duration,
    /// Whose address it keeps, and until when: its speaker went and its kernel did not.
    keeps: Option<(usize, Duration)>,
    /// Until when these were stopped and must not answer: somebody else has it.
    lost: [Option<Duration>; NODES],
}

/// Watches one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judge {
    spots: [[Spot; ADDRESSES]; SEGMENTS],
    /// The longest that was seen since that was last asked.
    pub(crate) nobody: Duration,
    pub(crate) two: Duration,
    pub(crate) wrong: Option<String>,
}

impl Judge {
    /// So much time passes in which nothing happens.
    pub(crate) fn pass(&mut self, world: &World, time: Duration) {
        if time.is_zero() {
            return;
        }
        for segment in 0..world.setting.segments {
            for of in 0..ADDRESSES {
                let spot = &mut self.spots[segment][of];
                let could = world.nodes.iter().any(|node| node.works() && node.has_heard(segment));
                let nobody = could && answers(world, segment, of).next().is_none();
                spot.nobody = if nobody { spot.nobody + time } else { Duration::ZERO };
                spot.two = if two(world, segment, of) { spot.two + time } else { Duration::ZERO };
                self.nobody = self.nobody.max(spot.nobody);
                self.two = self.two.max(spot.two);
            }
        }
    }

    /// A machine answers with the address of a machine.
    pub(crate) fn answered(&mut self, by: usize, segment: usize, of: usize, owner: usize, now: Duration) {
        let spot = &self.spots[segment][of];
        if let Some((keeper, _)) = spot.keeps.filter(|(keeper, until)| *until > now && *keeper != owner) {
            let why = format!(
                "{of} on {segment} was {keeper}'s, whose kernel lives, and {by} answers with the address of {owner}"
            );
            self.wrong.get_or_insert(why);
        }
        if spot.lost[by].is_some_and(|until| until > now) {
            let why = format!("{by} went on and answers for {of} on {segment}, which it had lost");
            self.wrong.get_or_insert(why);
        }
    }

    /// Something is done: what was expected before is so no longer, and what was seen before is asked of another.
    pub(crate) fn expect_nothing(&mut self, but_keep: Option<usize>) {
        (self.nobody, self.two) = Default::default();
        for spot in self.spots.iter_mut().flatten() {
            spot.keeps = spot.keeps.filter(|(keeper, _)| Some(*keeper) == but_keep);
            spot.lost = Default::default();
        }
    }

    /// The speaker of a machine goes or stops, all else being well: what it owns keeps its address.
    pub(crate) fn expect_kept(&mut self, world: &World, at: usize) {
        for (segment, spots) in self.spots.iter_mut().enumerate() {
            for (of, spot) in spots.iter_mut().enumerate() {
                if world.nodes[at].answers[segment][of] == Some(at) {
                    spot.keeps = Some((at, world.now + STAND_IN_LIMIT));
                }
            }
        }
    }

    /// A stopped speaker is about to go on: what others have by now, and are to have, is not its own any more.
    pub(crate) fn expect_lost(&mut self, world: &World, at: usize) {
        let long = world.nodes[at].stopped.is_some_and(|since| since + TIMING.pause() < world.now);
        let cut = world.cuts.iter().flatten().flatten().any(|cut| *cut);
        if !long || cut || world.nodes.iter().any(|node| node.cut_off.is_some()) {
            return;
        }
        for segment in 0..world.setting.segments {
            for (of, order) in ORDERS[world.version].into_iter().enumerate() {
                let others =
                    answers(world, segment, of).any(|(by, owner)| by == owner && world.nodes[by].works());
                let first = order.into_iter().find(|other| *other == at || world.nodes[*other].works());
                // What it is to take back, it must not answer for before it heard anything.
                let watched = if first == Some(at) { Duration::from_nanos(1) } else { WATCHED };
                if others {
                    self.spots[segment][of].lost[at] = Some(world.now + watched);
                }
            }
        }
    }

    pub(crate) fn outline(&self, now: Duration, into: &mut impl Hasher) {
        for Spot { nobody, two, keeps, lost } in self.spots.iter().flatten() {
            (nobody, two).hash(into);
            keeps.filter(|(_, until)| *until > now).map(|(keeper, until)| (keeper, until - now)).hash(into);
            lost.map(|until| until.map(|until| until.saturating_sub(now)).unwrap_or_default()).hash(into);
        }
    }
}

/// Who answers, with the address of which machine; where that is dead, it is no answer.
fn answers(world: &World, segment: usize, of: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
    let answers = world.nodes.iter().enumerate();
    let answers = answers.filter_map(move |(by, node)| Some((by, node.answers[segment][of]?)));
    answers.filter(|(_, owner)| world.nodes[*owner].alive)
}

fn two(world: &World, segment: usize, of: usize) -> bool {
    let cuts = &world.cuts[segment];
    answers(world, segment, of).any(|(a, mine)| {
        let mut others = answers(world, segment, of);
        others.any(|(b, theirs)| mine != theirs && !cuts[a][b] && !cuts[b][a])
    })
}

/// Whether all is as it is to be for good, as long as nothing happens.
///
/// Steps, in the order of the lines below:
/// 1. where one is alone that never heard anybody, the API alone decides: no claim here;
/// 2. where somebody is cut off, from others or from the API's news, somebody answers;
/// 3. else one alone answers, the first in order of those that work;
/// 4. with its own address, or with that of a machine before it in the order whose kernel lives and whose speaker does not work.
pub(crate) fn is_right(world: &World) -> bool {
    if world.nodes.iter().any(|node| node.ending) {
        return false;
    }
    (0..world.setting.segments).all(|segment| (0..ADDRESSES).all(|of| is_spot_right(world, segment, of)))
}

fn is_spot_right(world: &World, segment: usize, of: usize) -> bool {
    let works = |at: &usize| world.nodes[*at].works();
    let heard = |at: usize| world.nodes[at].has_heard(segment);
    let order = ORDERS[world.version][of];
    let working: Vec<usize> = order.into_iter().filter(works).collect();
    let all: Vec<(usize, usize)> = answers(world, segment, of).collect();
    if working.is_empty() || working.len() == 1 && !heard(working[0]) {
        return true;
    }
    let cut = world.cuts[segment].iter().flatten().any(|cut| *cut);
    if cut || world.nodes.iter().any(|node| node.cut_off.is_some()) {
        return !all.is_empty();
    }
    let [(by, owner)] = all[..] else { return false };
    let place = |at: usize| order.iter().position(|other| *other == at);
    by == working[0] && (owner == by || !works(&owner) && place(owner) < place(by))
}
