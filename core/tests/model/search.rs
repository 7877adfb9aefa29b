//! Breadth first through all that can happen, by the number of acts.
//!
//! Without an act one moment follows from the one before. So each act begins a chain of moments, which ends where it meets a
//! moment that was seen before, of its own or of an earlier chain. Acts are tried at each moment of each chain. A chain is kept as the
//! way to it, and its moments are computed again when they are needed: memory holds one number for each moment.
//!
//! Chains that meet have the same end. So of each moment it is known how long it takes until all is right for good.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::acts::{Act, Choice, Kind};
use crate::judge::is_right;
use crate::setting::{Flaw, Setting};
use crate::world::{NODES, STAND_IN_LIMIT, World, ms};

/// What is searched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    pub(crate) segments: usize,
    pub(crate) acts: usize,
    pub(crate) choice: Choice,
    /// The time between two moments at which something can be done.
    pub(crate) step: Duration,
    /// When the speakers start, in milliseconds.
    pub(crate) starts: [u64; NODES],
    pub(crate) flaw: Option<Flaw>,
    /// After so long a speaker knows that it does not get the API's news.
    pub(crate) stale_after: Duration,
}

/// What must not be exceeded.
pub(crate) struct Bounds {
    /// Nobody answers although somebody could, for each act.
    pub(crate) nobody: Duration,
    /// Two answer that hear each other, for each act.
    pub(crate) two: Duration,
    /// All is right after the last act, but for nodes without a speaker, which are stood in for.
    pub(crate) settled: Duration,
    /// The same where views differed.
    pub(crate) views: Duration,
}

/// What was seen after so many acts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Level {
    /// New moments.
    pub(crate) states: u64,
    /// Steps that were computed, but for those computed again.
    pub(crate) transitions: u64,
    /// The longest without an answer, with two, and until all was right.
    pub(crate) nobody: Duration,
    pub(crate) two: Duration,
    pub(crate) settled: Duration,
    /// The most steps from the beginning.
    pub(crate) depth: u64,
}

/// After so many steps of a moment, something is done.
type Way = Vec<(usize, Act)>;

/// What must not be, and how it came about.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) what: String,
    pub(crate) way: Way,
    pub(crate) log: Vec<String>,
}

pub(crate) struct Search {
    scope: Scope,
    bounds: Bounds,
    root: World,
    seen: HashMap<u64, u32>,
    /// Of each moment, after how many steps all is right for good; and whether it comes again and again.
    settle: Vec<(u16, bool)>,
    pub(crate) levels: Vec<Level>,
    /// Of each act at a moment when nothing was under way: the longest without an answer, with two, and until all was right.
    pub(crate) single: BTreeMap<Kind, [Duration; 3]>,
    /// The kind of the act whose chain is looked at, if that is one of those.
    quietly: Option<Kind>,
}

impl Search {
    pub(crate) fn new(scope: Scope, bounds: Bounds) -> Self {
        let root = World::new(Setting::new(scope.segments, scope.flaw, scope.stale_after), scope.starts);
        let (seen, settle, levels, single) = Default::default();
        Search { scope, bounds, root, seen, settle, levels, single, quietly: None }
    }

    /// Looks at everything; the numbers are in [`Search::levels`] then.
    pub(crate) fn run(&mut self) -> Result<(), Violation> {
        let mut chains = vec![(Way::new(), 0)];
        self.levels = vec![Level::default()];
        chains[0].1 = self.walk(self.root.clone(), &chains[0].0)?;
        for level in 1..=self.scope.acts {
            self.levels.push(Level::default());
            let mut next = Vec::new();
            for (way, moments) in std::mem::take(&mut chains) {
                let mut world = self.replay(&way, 0, false);
                for at in 0..moments {
                    let known = self.seen.get(&world.outline(self.scope.step));
                    let quiet = known.is_some_and(|known| self.settle[*known as usize].1);
                    for act in Act::possible(&world, self.scope.choice) {
                        let mut world = world.clone();
                        act.apply(&mut world, way.is_empty());
                        world.step(self.scope.step);
                        if world.loss.is_some() {
                            // There was no such frame.
                            continue;
                        }
                        let mut way = way.clone();
                        way.push((at, act));
                        self.quietly = quiet.then_some(act.kind());
                        self.check(&mut world, &way, 1)?;
                        let new = self.walk(world, &way)?;
                        if new > 0 && level < self.scope.acts {
                            next.push((way, new));
                        }
                    }
                    world.step(self.scope.step);
                }
            }
            chains = next;
        }
        Ok(())
    }

    /// Looks at one way alone, and at what follows from it.
    pub(crate) fn follow(&mut self, way: &[(usize, Act)]) -> Result<(), Violation> {
        self.levels = vec![Level::default()];
        let mut world = self.replay(way, 0, false);
        self.check(&mut world, way, 1)?;
        self.walk(world, way).map(drop)
    }

    /// The moment after the last act of a way, and then some.
    fn replay(&self, way: &[(usize, Act)], more: usize, log: bool) -> World {
        let mut world = self.root.clone();
        world.log = log.then(Vec::new);
        for (n, (wait, act)) in way.iter().enumerate() {
            (0..*wait).for_each(|_| world.step(self.scope.step));
            act.apply(&mut world, n == 0);
            world.step(self.scope.step);
        }
        (0..more).for_each(|_| world.step(self.scope.step));
        world
    }

    /// Follows a chain from a moment to one that is known; says how many were new.
    fn walk(&mut self, mut world: World, way: &[(usize, Act)]) -> Result<usize, Violation> {
        let mut wrong = Vec::new();
        let first = self.settle.len();
        let join = loop {
            let next = self.settle.len();
            match self.seen.entry(world.outline(self.scope.step)) {
                Entry::Occupied(known) => break *known.get() as usize,
                Entry::Vacant(new) => new.insert(next as u32),
            };
            wrong.push(!is_right(&world));
            self.settle.push((0, false));
            world.step(self.scope.step);
            self.check(&mut world, way, wrong.len() + 1)?;
            if wrong.len() > 2_000 {
                return Err(self.violation("nothing comes to an end".into(), way, wrong.len()));
            }
        };
        // A circle of its own goes on for ever.
        let circle = join.checked_sub(first);
        if circle.is_some_and(|begin| wrong[begin..].contains(&true)) {
            return Err(self.violation("this goes on for ever, and is not right".into(), way, wrong.len()));
        }
        if let Some(begin) = circle {
            self.settle[first + begin..].iter_mut().for_each(|(_, quiet)| *quiet = true);
        }
        let mut steps = if circle.is_some() { 0 } else { self.settle[join].0 };
        for (n, wrong) in
            wrong.iter().enumerate().rev().filter(|(n, _)| circle.is_none_or(|begin| *n < begin))
        {
            steps = if *wrong || steps > 0 { steps + 1 } else { 0 };
            self.settle[first + n].0 = steps;
        }
        let settled = self.scope.step * u32::from(steps);
        self.count(Duration::ZERO, Duration::ZERO, settled);
        let Some(level) = self.levels.last_mut() else { return Ok(wrong.len()) };
        level.states += wrong.len() as u64;
        level.settled = level.settled.max(settled);
        let bound = self.settled_bound(way);
        if settled > bound {
            return Err(self.violation(
                format!("not right for {settled:?}, more than {bound:?}"),
                way,
                steps.into(),
            ));
        }
        Ok(wrong.len())
    }

    fn settled_bound(&self, way: &[(usize, Act)]) -> Duration {
        let views = way.iter().any(|(_, act)| matches!(act, Act::Publish(Some(_))));
        let absent = way.iter().any(|(_, act)| matches!(act, Act::Kill(_) | Act::Stop(_) | Act::End(..)));
        let Bounds { settled, views: more, .. } = self.bounds;
        settled + if views { more } else { ms(0) } + if absent { STAND_IN_LIMIT } else { ms(0) }
    }

    /// Looks at what happened in a step.
    fn check(&mut self, world: &mut World, way: &[(usize, Act)], steps: usize) -> Result<(), Violation> {
        let (nobody, two) = (std::mem::take(&mut world.judge.nobody), std::mem::take(&mut world.judge.two));
        let wrong = world.judge.wrong.take();
        let depth: usize = way.iter().map(|(wait, _)| wait + 1).sum::<usize>() + steps - 1;
        if let Some(level) = self.levels.last_mut() {
            level.transitions += 1;
            level.depth = level.depth.max(depth as u64);
            (level.nobody, level.two) = (level.nobody.max(nobody), level.two.max(two));
        }
        self.count(nobody, two, Duration::ZERO);
        let acts = way.len().max(1) as u32;
        let what = if let Some(wrong) = wrong {
            wrong
        } else if nobody > self.bounds.nobody * acts {
            format!("nobody for {nobody:?}, although somebody could")
        } else if two > self.bounds.two * acts {
            format!("two for {two:?}")
        } else {
            return Ok(());
        };
        Err(self.violation(what, way, steps))
    }

    fn count(&mut self, nobody: Duration, two: Duration, settled: Duration) {
        if let Some(kind) = self.quietly {
            let most = self.single.entry(kind).or_default();
            *most = [most[0].max(nobody), most[1].max(two), most[2].max(settled)];
        }
    }

    fn violation(&self, what: String, way: &[(usize, Act)], more: usize) -> Violation {
        let log = self.replay(way, more, true).log.unwrap_or_default();
        Violation { what, way: way.to_vec(), log }
    }
}
