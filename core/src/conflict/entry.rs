//! One address on one link.

use std::time::Duration;

use crate::wire::Mac;

/// How many probes ask whether anybody has the address (RFC 5227 section 1.1, PROBE_NUM).
pub const PROBES: u8 = 3;

/// The time between two probes. The RFC's PROBE_MIN and PROBE_MAX are 1 and 2 s, made for networks of 2008; its section
/// 2.2 allows less where the network is faster. A host answers within a few milliseconds; three frames leave room for
/// a loss, and for a host that wakes up.
pub const PROBE_SPACING: Duration = Duration::from_millis(150);

/// The most that is added to the wait after the last probe, so that two hosts that began together do not end
/// together. The wait is [`PROBE_SPACING`] and this; the RFC's ANNOUNCE_WAIT is 2 s.
pub const CLEAR_JITTER: Duration = Duration::from_millis(50);

/// After a conflict, how long until the address is probed for again. RFC 5227's RATE_LIMIT_INTERVAL (60 s) is for hosts that try
/// one address after the other; this is one address, whose Service waits for it.
pub const BLOCKED_FOR: Duration = Duration::from_secs(10);

/// The most that is added to [`BLOCKED_FOR`], each time another: two hosts that probe for one address in the same
/// moment keep each other from it, and would again. In different moments, the later one does and the earlier gives way.
pub const BLOCKED_JITTER: Duration = Duration::from_secs(2);

/// The least time between two defences of an address (RFC 5227 section 1.1).
pub const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

/// How long a foreign host must be silent before a conflict about an address in use is over. Whoever uses an address
/// asks for its neighbours about once a minute or more often.
pub const OVER_AFTER: Duration = Duration::from_secs(60);

/// The least time between two reports about an address whose foreign host changes.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Report(Mac),
    Probe,
    Clear,
    Resolved,
    Defend,
    Over,
}

#[derive(Clone, Debug)]
enum Stage {
    /// Not announced: we ask whether anybody has it.
    Probing { sent: u8, next: Duration },
    /// Not announced: somebody has it.
    Blocked { until: Duration },
    /// Announced, or free to be.
    InUse,
}

/// What is known of a foreign host that has the address.
#[derive(Clone, Debug)]
struct Conflict {
    mac: Mac,
    seen: Duration,
    /// What was last reported, and when.
    told: Option<(Mac, Duration)>,
    /// When it was last defended.
    defended: Option<Duration>,
    /// Whether it is to be.
    defend: bool,
}

/// One address on one link. Of ten thousand that are in use hardly any is more than that: plain.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry(Option<Box<State>>);

/// What is known of an address that is not simply in use.
#[derive(Clone, Debug)]
struct State {
    stage: Stage,
    /// How often it was probed for; for the jitter only.
    attempt: u8,
    conflict: Option<Conflict>,
}

impl Entry {
    pub(super) fn probing(now: Duration) -> Self {
        let stage = Stage::Probing { sent: 0, next: now };
        Entry(Some(Box::new(State { stage, attempt: 0, conflict: None })))
    }

    pub(super) const fn used() -> Self {
        Entry(None)
    }

    /// Whether it is in use, and there is nothing more to know of it.
    pub(super) fn is_plain(&self) -> bool {
        self.0.is_none()
    }

    /// In use from now on; what is known of a foreign host stays known.
    pub(super) fn adopt(&mut self, now: Duration) {
        if let Some(state) = &mut self.0
            && !matches!(state.stage, Stage::InUse)
        {
            state.stage = Stage::InUse;
            if let Some(conflict) = &mut state.conflict {
                conflict.seen = now;
            }
        }
        self.tidy();
    }

    pub(super) fn in_use(&self) -> bool {
        self.0.as_ref().is_none_or(|state| matches!(state.stage, Stage::InUse))
    }

    /// Whether a conflict was reported that is not over.
    pub(super) fn is_reported(&self) -> bool {
        self.foreign().is_some_and(|conflict| conflict.told.is_some())
    }

    pub(super) fn conflict(&self) -> Option<Mac> {
        self.foreign().map(|conflict| conflict.mac)
    }

    fn foreign(&self) -> Option<&Conflict> {
        self.0.as_ref()?.conflict.as_ref()
    }

    /// Keeps nothing of what is simply in use.
    fn tidy(&mut self) {
        self.0.take_if(|state| matches!(state.stage, Stage::InUse) && state.conflict.is_none());
    }

    /// A foreign host has it, or wants it while we probe.
    pub(super) fn see(&mut self, mac: Mac, jitter: impl Fn(u8, Duration) -> Duration, now: Duration) {
        let used = || Box::new(State { stage: Stage::InUse, attempt: 0, conflict: None });
        let State { stage, attempt, conflict } = &mut **self.0.get_or_insert_with(used);
        let first = Conflict { mac, seen: now, told: None, defended: None, defend: false };
        let conflict = conflict.get_or_insert(first);
        (conflict.mac, conflict.seen) = (mac, now);
        match stage {
            Stage::Probing { .. } => {
                *attempt = attempt.wrapping_add(1);
                let until = now + BLOCKED_FOR + jitter(*attempt, BLOCKED_JITTER);
                *stage = Stage::Blocked { until };
            }
            Stage::Blocked { .. } => {}
            Stage::InUse => {
                conflict.defend |= conflict.defended.is_none_or(|at| at + DEFEND_INTERVAL <= now);
            }
        }
    }

    /// When there is something to do.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let State { stage, conflict, .. } = &**self.0.as_ref()?;
        let conflict = conflict.as_ref();
        let stage = match stage {
            Stage::Probing { next, .. } => Some(*next),
            Stage::Blocked { until } => Some(*until),
            Stage::InUse => conflict.map(Conflict::over_at),
        };
        let report = conflict.and_then(Conflict::report_at);
        let defence = conflict.and_then(|conflict| conflict.defend.then_some(conflict.seen));
        stage.into_iter().chain(report).chain(defence).min()
    }

    /// The next thing to do at `now`, in the order of the lines below: report, then defend; then what the stage has, each
    /// step of which begins the wait for the next.
    pub(super) fn step(&mut self, jitter: impl Fn(u8, Duration) -> Duration, now: Duration) -> Option<Step> {
        let step = self.0.as_mut()?.step(jitter, now);
        self.tidy();
        step
    }
}

impl State {
    fn step(&mut self, jitter: impl Fn(u8, Duration) -> Duration, now: Duration) -> Option<Step> {
        if let Some(conflict) = &mut self.conflict {
            if conflict.report_at().is_some_and(|at| at <= now) {
                conflict.told = Some((conflict.mac, now));
                return Some(Step::Report(conflict.mac));
            }
            if std::mem::take(&mut conflict.defend) {
                conflict.defended = Some(now);
                return Some(Step::Defend);
            }
        }
        match self.stage {
            Stage::Probing { sent, next } if next <= now => {
                if sent == PROBES {
                    self.stage = Stage::InUse;
                    let resolved = self.conflict.take().is_some();
                    return Some(if resolved { Step::Resolved } else { Step::Clear });
                }
                // From now, not from when it was due: after a late call the spacing still holds.
                let last = sent + 1 == PROBES;
                let more = if last { jitter(self.attempt, CLEAR_JITTER) } else { Duration::ZERO };
                self.stage = Stage::Probing { sent: sent + 1, next: now + PROBE_SPACING + more };
                Some(Step::Probe)
            }
            Stage::Blocked { until } if until <= now => {
                self.stage = Stage::Probing { sent: 0, next: now };
                self.step(jitter, now)
            }
            Stage::InUse => self.conflict.take_if(|conflict| conflict.over_at() <= now).map(|_| Step::Over),
            _ => None,
        }
    }
}

impl Conflict {
    /// When to report it, where its host is not the one last told of.
    fn report_at(&self) -> Option<Duration> {
        match self.told {
            None => Some(self.seen),
            Some((mac, at)) => (mac != self.mac).then_some(at + REPORT_INTERVAL),
        }
    }

    fn over_at(&self) -> Duration {
        self.seen + OVER_AFTER
    }
}
