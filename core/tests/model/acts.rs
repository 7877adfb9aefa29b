//! What can happen beside what follows of itself.

use ferrolb_core::speaker::Sent;

use crate::world::{Loss, NODES, World};

/// One thing. Segments are by number, and so are machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// A machine loses its power.
    Crash(usize),
    /// It starts again; or a speaker does, whose machine lives.
    Start(usize),
    /// A speaker is killed; its machine lives.
    Kill(usize),
    /// A speaker is told to end: away, its machine staying, or leaving.
    End(usize, bool),
    /// A speaker is stopped.
    Stop(usize),
    /// It goes on.
    GoOn(usize),
    /// Nothing gets from the first to the second any more, nor back where both ways are cut.
    Cut(usize, usize, usize, bool),
    /// It does again, both ways.
    Heal(usize, usize, usize),
    /// One frame is lost.
    Lose(Loss),
    /// The API says something else, and does not reach one machine, if any, until that catches up.
    Publish(Option<usize>),
    /// What the API says reaches a machine again.
    CatchUp(usize),
}

/// What an act is, whoever is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Crash,
    Start,
    Kill,
    EndAway,
    EndLeaving,
    Stop,
    GoOn,
    Cut,
    Heal,
    Lose,
    Publish,
    PublishLate,
    CatchUp,
}

/// Of what acts there is a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// All.
    All,
    /// Those that the issue is about, without single frames, one-way cuts and ends in order.
    Coarse,
}

impl Act {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Act::Crash(_) => Kind::Crash,
            Act::Start(_) => Kind::Start,
            Act::Kill(_) => Kind::Kill,
            Act::End(_, true) => Kind::EndAway,
            Act::End(_, false) => Kind::EndLeaving,
            Act::Stop(_) => Kind::Stop,
            Act::GoOn(_) => Kind::GoOn,
            Act::Cut(..) => Kind::Cut,
            Act::Heal(..) => Kind::Heal,
            Act::Lose(_) => Kind::Lose,
            Act::Publish(None) => Kind::Publish,
            Act::Publish(Some(_)) => Kind::PublishLate,
            Act::CatchUp(_) => Kind::CatchUp,
        }
    }

    /// All that can happen now.
    pub(crate) fn possible(world: &World, choice: Choice) -> Vec<Act> {
        let all = choice == Choice::All;
        let mut acts = Vec::new();
        for (at, node) in world.nodes.iter().enumerate() {
            if !node.alive {
                acts.push(Act::Start(at));
                continue;
            }
            acts.push(Act::Crash(at));
            if node.speaker.is_none() {
                acts.push(Act::Start(at));
                continue;
            }
            acts.push(Act::Kill(at));
            acts.push(if node.stopped.is_some() { Act::GoOn(at) } else { Act::Stop(at) });
            if all && node.works() {
                acts.extend([Act::End(at, true), Act::End(at, false)]);
            }
        }
        for segment in 0..world.setting.segments {
            for (a, b) in (0..NODES).flat_map(|a| (0..NODES).map(move |b| (a, b))).filter(|(a, b)| a != b) {
                let (cut, back) = (world.cuts[segment][a][b], world.cuts[segment][b][a]);
                if a < b {
                    acts.push(if cut || back {
                        Act::Heal(segment, a, b)
                    } else {
                        Act::Cut(segment, a, b, true)
                    });
                }
                if !all {
                    continue;
                }
                if !cut && !back {
                    acts.push(Act::Cut(segment, a, b, false));
                }
                if !cut && world.nodes[a].speaker.is_some() && world.nodes[b].speaker.is_some() {
                    let loss = |what| Act::Lose(Loss { from: a, to: b, segment, what });
                    acts.extend([Sent::Hello, Sent::Claims, Sent::Question].map(loss));
                }
            }
        }
        match world.nodes.iter().position(|node| node.cut_off.is_some()) {
            Some(at) => acts.push(Act::CatchUp(at)),
            None => acts.extend((0..NODES).map(|at| Act::Publish(Some(at)))),
        }
        if all || world.nodes.iter().any(|node| node.cut_off.is_some()) {
            acts.push(Act::Publish(None));
        }
        acts
    }

    /// Does it. `calm` says that nothing has happened before, so that all is well.
    pub(crate) fn apply(self, world: &mut World, calm: bool) {
        world.note(|| format!("## {self:?}"));
        let mut judge = std::mem::take(&mut world.judge);
        judge.expect_nothing(match self {
            Act::Start(at) | Act::GoOn(at) if world.nodes[at].alive => Some(at),
            _ => None,
        });
        match self {
            Act::Kill(at) | Act::Stop(at) | Act::End(at, true) if calm => judge.expect_kept(world, at),
            Act::GoOn(at) => judge.expect_lost(world, at),
            _ => {}
        }
        world.judge = judge;
        match self {
            Act::Crash(at) => world.crash(at),
            Act::Start(at) => world.start(at),
            Act::Kill(at) => world.kill(at),
            Act::End(at, away) => world.end(at, away),
            Act::Stop(at) => world.stop(at),
            Act::GoOn(at) => {
                world.go_on(at);
                world.tell(at);
                world.act(at);
            }
            Act::Cut(segment, a, b, both) => {
                world.cuts[segment][a][b] = true;
                world.cuts[segment][b][a] |= both;
            }
            Act::Heal(segment, a, b) => {
                world.cuts[segment][a][b] = false;
                world.cuts[segment][b][a] = false;
            }
            Act::Lose(loss) => world.loss = Some(loss),
            Act::Publish(but) => {
                if let Some(at) = but {
                    world.nodes[at].cut_off = Some(world.now);
                }
                world.publish(1 - world.version);
            }
            Act::CatchUp(at) => world.catch_up(at),
        }
    }
}
