//! The controller's mind: what it knows, what it does next. No clock, no request, no task: inputs come in with the
//! time, effects go out as values.
//!
//! ```text
//!   watches ──► Input ─┐                         ┌─► Effect: write, claim the Lease, list anew, tell
//!   answers ──► Input ─┴─► Brain ── decide(now) ─┴─► when to come again
//! ```
//!
//! It is level-triggered: what it decides depends on what the cluster is, as far as that is known, never on single
//! events. Beside that it remembers only what is under way: writes without an answer, the Lease, and what makes it
//! do less (addresses at rest, the grace after pools went).

pub mod advertised;
mod conflicts;
mod messages;
pub mod notes;
pub mod pools;
mod reign;
pub mod shown;
mod statuses;
pub mod world;
pub mod writes;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ferrolb_core::allocate::{self, Grace, Plan, Verdict};
use ferrolb_core::lease::{Candidate, Claim, Step};
use ferrolb_core::service::ServiceKey;
use ferrolb_crds::ConfigurationState;
use ferrolb_runtime::Seen;
use kube::ResourceExt;

pub use conflicts::Report;
pub use messages::{Effect, Figures, Input, Now, Outcome};
pub use reign::Reign;
pub use shown::Shown;
use statuses::Statuses;
pub use world::{BadPool, World};
pub use writes::Write;

/// With so many writes under way nothing new is planned: what is decided now would only wait in line, and may be
/// out of date when its turn comes.
const BUSY: usize = 32;

/// The first pause after a write that failed; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// No failure is left alone for longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// After a failure of a watch its picture counts as unsure for so long, unless it shows something sooner: a watch that
/// goes on where it was cut does not say so.
const UNSURE: Duration = Duration::from_secs(30);

/// So soon after a write that did what was planned everything is looked at again, if nothing else happens before: there
/// is nothing to decide then, but what pools show may change.
const SETTLED: Duration = Duration::from_millis(100);

/// Everything is looked at again at least so often, changed or not.
const RESYNC: Duration = Duration::from_secs(60);

/// Whether an object is still what it was at the time of a write: the watch has shown nothing newer, neither the write's own
/// result nor what somebody else made of it since. Then the answer to the write stands in for the watch, else the watch knows
/// better.
fn is_version<K: ResourceExt>(known: &K, before: &K) -> bool {
    known.uid() == before.uid() && known.resource_version() == before.resource_version()
}

/// The controller's mind.
#[derive(Clone, Debug)]
pub struct Brain {
    /// What is known of the cluster.
    pub world: World,
    /// What the last plan came to.
    pub figures: Figures,
    lease: Candidate,
    reign: Reign,
    /// Numbers the lists of Services that were asked for.
    lists: u64,
    listed: BTreeSet<&'static str>,
    state: Option<ConfigurationState>,
    state_listed: bool,
    grace: Grace,
    /// Until then the picture of the pools is not sure to be right.
    pools_unsure_until: Duration,
    confirming: bool,
    looking: bool,
    look_not_before: Duration,
    /// Whether something changed since the last plan.
    dirty: bool,
    /// When a plan is due although nothing changed but by its own writes.
    due: Option<Duration>,
    /// Whether the last plan has more to do once its writes are done.
    unfinished: bool,
    flights: BTreeMap<ServiceKey, Flight>,
    /// Services whose write was refused: not tried again before this time, and how long the next pause is.
    pauses: BTreeMap<ServiceKey, (Duration, Duration)>,
    statuses: Statuses,
    last_plan: Duration,
    /// Takes over as one would without much thought: neither lists anew nor makes late writes fail.
    #[cfg(test)]
    naive: bool,
}

/// A write without a clear answer.
#[derive(Clone, Debug)]
struct Flight {
    write: Write,
    /// When it is sent again; `None` while it is under way.
    again: Option<Duration>,
    pause: Duration,
    /// A copy was sent whose outcome is not known.
    unclear: bool,
}

impl Brain {
    /// One that knows nothing yet, by the unique name `me`, for Services of the class `lb_class`.
    pub fn new(me: &str, lease: Duration, lb_class: Option<String>) -> Self {
        Brain {
            world: World::new(lb_class),
            figures: Figures::default(),
            lease: Candidate::new(me, lease),
            reign: Reign::Follower,
            lists: 0,
            listed: BTreeSet::new(),
            state: None,
            state_listed: false,
            grace: Grace::default(),
            pools_unsure_until: Duration::ZERO,
            confirming: false,
            looking: false,
            look_not_before: Duration::ZERO,
            dirty: true,
            due: None,
            unfinished: false,
            flights: BTreeMap::new(),
            pauses: BTreeMap::new(),
            statuses: Statuses::default(),
            last_plan: Duration::ZERO,
            #[cfg(test)]
            naive: false,
        }
    }

    /// Its name in the Lease.
    pub fn name(&self) -> &str {
        self.lease.name()
    }

    /// Who leads, as far as is known.
    pub fn leader(&self) -> Option<&str> {
        self.lease.holder()
    }

    /// What this one is.
    pub fn reign(&self) -> &Reign {
        &self.reign
    }

    /// Whether all pools and advertisements can be used; `None` before the pools were listed.
    pub fn is_configured(&self) -> Option<bool> {
        let known = self.listed.contains("ipaddresspools");
        known.then_some(self.world.bad_pools.is_empty() && !self.world.advertised.invalid)
    }

    /// Until when it may send writes, by the boot clock; `None` if it does not lead.
    pub fn leads_until(&self) -> Option<Duration> {
        self.lease.leads_until()
    }

    /// Takes note of what happened.
    pub fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::Services(list, seen) => {
                // What a watch says that was ended for a new list is of before that.
                if list == self.lists {
                    let complete = self.list_began("services", &seen);
                    self.dirty |= self.world.see_services(seen, now.boot);
                    if complete {
                        self.services_listed(list);
                    }
                }
            }
            Input::Pools(seen) => {
                self.pools_unsure_until = match seen {
                    Seen::Failing => now.boot + UNSURE,
                    _ => Duration::ZERO,
                };
                self.list_began("ipaddresspools", &seen);
                self.world.see_pools(seen);
                self.dirty = true;
            }
            Input::Namespaces(seen) => {
                self.list_began("namespaces", &seen);
                self.dirty |= self.world.see_namespaces(seen);
            }
            Input::Nodes(seen) => {
                self.list_began("nodes", &seen);
                self.dirty |= self.world.see_nodes(seen);
            }
            // No address depends on these two, so nothing waits for them to be listed.
            Input::Advertisements(seen) => self.world.advertised.see(seen),
            Input::Conflicts(seen) => self.dirty |= self.world.conflicts.see(seen),
            Input::States(seen) => {
                self.state_listed |= matches!(seen, Seen::Listed(_));
                self.state = match seen {
                    Seen::Listed(all) => all.into_iter().next(),
                    Seen::Applied(state) => Some(state),
                    Seen::Deleted(_) => None,
                    Seen::Failing => return,
                };
                self.dirty = true;
            }
            Input::Lease(record) => self.lease.observe(record, now.boot),
            Input::LookedAtLease(looked) => {
                self.looking = false;
                match looked {
                    Ok(record) => self.lease.looked(record, now.boot),
                    Err(()) => self.look_not_before = now.boot + FIRST_PAUSE * 4,
                }
            }
            Input::Claimed(answer) => {
                if let Some(accession) = self.lease.answered(answer, now.boot) {
                    self.accede(accession);
                }
            }
            Input::Written(write, outcome) => self.written(*write, outcome, now),
            Input::PoolWritten(before, outcome) => {
                let (name, done) = (before.name_any(), outcome.is_ok());
                if let Ok(pool) = outcome
                    && self.world.pools.get(&name).is_some_and(|known| is_version(&**known, &*before))
                {
                    self.world.pools.insert(name.clone(), (*pool).into());
                }
                self.statuses.pool_written(&name, done, now);
            }
            Input::AdvertisementWritten(before, outcome) => {
                self.statuses.advertisement_written(&before.name_any(), outcome.is_ok(), now);
                if let Ok(object) = outcome {
                    self.world.advertised.wrote(&before, *object);
                }
            }
            Input::StateWritten(outcome) => {
                self.statuses.state_written(outcome.is_ok(), now);
                if let Ok(state) = outcome {
                    self.state = Some(*state);
                }
            }
            Input::PoolsConfirmed(empty) => {
                self.confirming = false;
                self.grace.confirm(empty);
                self.dirty = true;
            }
        }
    }

    /// Notes that a kind was listed; returns whether that was just now.
    fn list_began<K>(&mut self, kind: &'static str, seen: &Seen<K>) -> bool {
        let listed = matches!(seen, Seen::Listed(_));
        if listed {
            self.listed.insert(kind);
        }
        listed
    }

    /// Whether everything that a plan needs was listed at least once. A plan on half a picture would take addresses
    /// for free that are not.
    fn is_informed(&self) -> bool {
        self.listed.len() == 4
    }

    fn written(&mut self, write: Write, outcome: Outcome, now: Now) {
        let key = write.key.clone();
        let as_planned = matches!(outcome, Outcome::Done(_)) && !self.unfinished;
        self.dirty |= !as_planned;
        self.due = self.due.or(Some(now.boot + SETTLED));
        let ours = self.flights.get(&key).is_some_and(|flight| flight.write == write);
        let pause = self.flights.get(&key).map_or(FIRST_PAUSE, |flight| flight.pause);
        // That this copy is refused says nothing about one that was sent before.
        let unclear = ours && self.flights.get(&key).is_some_and(|flight| flight.unclear);
        let outcome = match outcome {
            Outcome::Refused(why) if unclear && !matches!(self.reign, Reign::Fencing { .. }) => {
                Outcome::Unknown(why)
            }
            outcome => outcome,
        };
        match outcome {
            Outcome::Done(object) => {
                self.world.wrote(&key, &write.based_on, &object, now.boot);
                self.pauses.remove(&key);
            }
            // An earlier copy may have been done before, and what the watch shows next may be just that.
            Outcome::Superseded | Outcome::Gone => {
                self.pauses.remove(&key);
                if ours && self.world.overtaken(&key, &write.based_on) {
                    self.flights.remove(&key);
                    self.fenced(&key);
                    return;
                }
            }
            Outcome::NotSent => {
                if let Some((until, _)) = self.pauses.get_mut(&key) {
                    *until = now.boot;
                }
                // A take-over waits for each of its writes; and an earlier copy of this one may still arrive.
                if let Some(flight) = self.flights.get_mut(&key).filter(|_| ours)
                    && (flight.unclear || matches!(self.reign, Reign::Fencing { .. }))
                {
                    flight.again = Some(now.boot + FIRST_PAUSE);
                    return;
                }
            }
            Outcome::Refused(_) => {
                let pause =
                    self.pauses.get(&key).map_or(FIRST_PAUSE, |(_, pause)| (*pause * 2).min(LONGEST_PAUSE));
                self.pauses.insert(key.clone(), (now.boot + pause, pause));
            }
            Outcome::Unknown(_) => {
                if let Some(flight) = self.flights.get_mut(&key).filter(|_| ours) {
                    flight.unclear = true;
                    flight.again = Some(now.boot + pause);
                    flight.pause = (pause * 2).min(LONGEST_PAUSE);
                }
                return;
            }
        }
        if ours {
            self.flights.remove(&key);
            self.world.snapshot.frozen.remove(&key);
            self.fenced(&key);
        }
    }

    /// What to do at `now`, and how long until there may be more without anything happening.
    ///
    /// 1. The Lease: looked at, claimed, renewed.
    /// 2. Nothing else without it.
    /// 3. The take-over, step by step.
    /// 4. Writes of unknown outcome are repeated, the same, until it is known.
    /// 5. A plan, if something changed and there is room; what differs is written.
    /// 6. What pools, our `ConfigurationState` and advertisements show.
    pub fn decide(&mut self, now: Now) -> (Vec<Effect>, Duration) {
        let mut effects = Vec::new();
        let mut wake = Wake { now: now.boot, at: now.boot + RESYNC };
        self.decide_lease(now, &mut effects, &mut wake);
        if !self.lease.leads(now.boot) {
            if self.lease.leads_until().is_none() {
                self.abdicate();
            }
            return (effects, wake.remaining());
        }
        wake.by(self.lease.leads_until());
        self.take_over(&mut effects);
        self.repeat(now, &mut effects, &mut wake);
        self.decide_grace(now, &mut effects, &mut wake);
        if self.reign == Reign::Leading && self.is_informed() {
            self.plan(now, &mut effects, &mut wake);
            self.write_pools(now, &mut effects, &mut wake);
            self.write_advertisements(now, &mut effects, &mut wake);
        }
        (effects, wake.remaining())
    }

    fn decide_lease(&mut self, now: Now, effects: &mut Vec<Effect>, wake: &mut Wake) {
        if self.lease.wants_look() && !self.looking {
            if now.boot >= self.look_not_before {
                self.looking = true;
                effects.push(Effect::LookAtLease);
            } else {
                wake.by(Some(self.look_not_before));
            }
        }
        match self.lease.next(now.boot) {
            Step::Send(claim) => effects.push(Effect::Claim(claim)),
            Step::Wait(until) => wake.by(Some(until)),
        }
    }

    fn repeat(&mut self, now: Now, effects: &mut Vec<Effect>, wake: &mut Wake) {
        for flight in self.flights.values_mut() {
            match flight.again {
                Some(at) if at <= now.boot => {
                    flight.again = None;
                    effects.push(Effect::Write(Box::new(flight.write.clone())));
                }
                at => wake.by(at),
            }
        }
    }

    fn decide_grace(&mut self, now: Now, effects: &mut Vec<Effect>, wake: &mut Wake) {
        let right = self.listed.contains("ipaddresspools") && now.boot >= self.pools_unsure_until;
        let over = self.grace.is_over();
        self.grace.observe(now.boot, right, self.world.pools.is_empty());
        if self.grace.wants_confirmation() && !self.confirming {
            self.confirming = true;
            effects.push(Effect::ConfirmPools);
        }
        self.dirty |= self.grace.is_over() != over;
        wake.by(self.grace.remaining().map(|left| now.boot + left));
        wake.by(Some(self.pools_unsure_until).filter(|until| *until > now.boot));
    }

    fn plan(&mut self, now: Now, effects: &mut Vec<Effect>, wake: &mut Wake) {
        let resync = self.due.unwrap_or(Duration::MAX).min(self.last_plan + RESYNC);
        let services = &self.world.snapshot.services;
        self.pauses.retain(|key, _| services.contains_key(key));
        let paused = self.pauses.values().any(|(until, _)| *until <= now.boot);
        if !(self.dirty || paused || now.boot >= resync) || self.flights.len() >= BUSY {
            self.pauses.values().for_each(|(until, _)| wake.by(Some(*until)));
            wake.by(Some(resync));
            return;
        }
        self.dirty = false;
        self.due = None;
        self.last_plan = now.boot;
        self.world.prepare(now.boot, self.grace.is_over());
        let plan = allocate::plan(&self.world.snapshot);
        let todo = writes::writes(&self.world, &plan, now.wall);
        self.unfinished = todo.later > 0;
        let usage = pools::usage(&self.world, &plan);
        self.statuses.pools = pools::statuses(&self.world, &usage, now.wall);
        self.statuses.state = Some(pools::state(&self.world, self.state.as_ref(), now.wall));
        self.figures = figures(&self.world, &usage, &plan);
        for write in todo.now {
            match self.pauses.get(&write.key) {
                Some((until, _)) if *until > now.boot => wake.by(Some(*until)),
                _ => {
                    let flight = self.launch(write);
                    effects.push(flight);
                }
            }
        }
    }

    /// The write is under way from now on, and its Service left alone.
    fn launch(&mut self, write: Write) -> Effect {
        let addresses: Vec<IpAddr> = write.addresses();
        self.world.snapshot.frozen.insert(write.key.clone(), addresses);
        if let Some((until, _)) = self.pauses.get_mut(&write.key) {
            *until = Duration::MAX;
        }
        let flight = Flight { write: write.clone(), again: None, pause: FIRST_PAUSE, unclear: false };
        self.flights.insert(write.key.clone(), flight);
        Effect::Write(Box::new(write))
    }

    /// Ends: nothing more is written. Returns the claim that gives the Lease back, once no write is under way.
    pub fn give_back(&mut self) -> Option<Claim> {
        if !self.flights.is_empty() || matches!(self.reign, Reign::Relisting { .. } | Reign::Fencing { .. }) {
            return None;
        }
        self.lease.give_back()
    }

    /// Whether answers are awaited, to writes or to a claim.
    pub fn is_waiting(&self) -> bool {
        self.lease.is_claiming() || self.flights.values().any(|flight| flight.again.is_none())
    }
}

fn figures(world: &World, usage: &pools::Usage<'_>, plan: &Plan<'_>) -> Figures {
    use ferrolb_core::net::Family;
    let of = |name: &str, family| {
        let used = usage.get(name).and_then(|used| used.get(&family)).copied().unwrap_or(0);
        (world.snapshot.pools.get(name).map_or(0, |pool| pool.size(family)), used)
    };
    let pools = world.snapshot.pools.keys();
    Figures {
        services: pools::services(world, plan)
            .into_iter()
            .map(|(name, count)| (name.to_owned(), count))
            .collect(),
        conflicts: world.conflicts.services(),
        pools: pools.map(|name| (name.clone(), [of(name, Family::V4), of(name, Family::V6)])).collect(),
        pending: plan.verdicts.values().filter(|verdict| matches!(verdict, Verdict::Pending(_))).count(),
    }
}

/// The earliest of some times.
struct Wake {
    now: Duration,
    at: Duration,
}

impl Wake {
    fn by(&mut self, at: Option<Duration>) {
        self.at = at.map_or(self.at, |at| at.min(self.at));
    }

    fn remaining(&self) -> Duration {
        self.at.saturating_sub(self.now)
    }
}
