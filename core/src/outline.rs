//! Which states are the same.
//!
//! A search through all that can happen meets the same state again and again, at another time and in another session. What
//! decides how a speaker goes on is told here as numbers that depend on neither: times as the time since, or until; sessions by
//! names that the caller gives. A time that is so long ago that it makes no difference any more is told as just that.
//!
//! Each type tells its own fields, all of which are named there: a new field does not compile before somebody decided
//! whether it belongs to the state.

use std::hash::{Hash, Hasher};
use std::time::Duration;

/// Takes a state in, as seen at one moment.
pub struct Outline<'a, H> {
    now: Duration,
    session: &'a dyn Fn(u64) -> u64,
    into: &'a mut H,
}

impl<'a, H: Hasher> Outline<'a, H> {
    /// At `now`; `session` gives the name of an epoch, which is to be the same wherever states are to be the same.
    pub fn new(now: Duration, session: &'a dyn Fn(u64) -> u64, into: &'a mut H) -> Self {
        Outline { now, session, into }
    }

    /// Anything that is no time and no epoch.
    pub fn put(&mut self, what: impl Hash) {
        what.hash(self.into);
    }

    /// How long ago something was; from `most` on that makes no difference.
    pub fn since(&mut self, at: Duration, most: Duration) {
        self.put(self.now.saturating_sub(at).min(most));
    }

    /// The same of what may not have been; never is as long ago as can be.
    pub fn since_any(&mut self, at: Option<Duration>, most: Duration) {
        self.since(at.unwrap_or_default(), most);
    }

    /// How long it is until then; what is over makes no difference.
    pub fn until(&mut self, at: Duration) {
        self.put(at.saturating_sub(self.now));
    }

    /// An epoch.
    pub fn epoch(&mut self, epoch: u64) {
        self.put((self.session)(epoch));
    }

    /// The moment.
    pub fn now(&self) -> Duration {
        self.now
    }
}
