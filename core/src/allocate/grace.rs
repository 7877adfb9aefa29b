//! How long to wait before what lies in no pool is taken back.

use std::time::Duration;

/// Whether the pools are known for long enough that an address outside all of them may be taken from its Service.
///
/// A re-installation deletes the pools and creates them anew, one by one; it must cost no Service its address. So
/// for [`Grace::PERIOD`] after the start, after the last pool went and after the first one came, nothing
/// is taken back. The time counts only while the list of pools is sure to be right: while the watch fails, or the
/// definition is missing, it stands still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grace {
    counted: Duration,
    /// When it was last looked at, if the list was right.
    counting_since: Option<Duration>,
    empty: bool,
    /// An independent look at the API server found no pools either.
    confirmed: bool,
}

impl Grace {
    /// How long.
    pub const PERIOD: Duration = Duration::from_secs(30);

    /// Takes note of what is known at `now`: whether the list of pools is right, and whether it is empty.
    ///
    /// 1. Pools that went, or came, start the time anew.
    /// 2. What has passed since the last look counts if the list was right then and is now.
    pub fn observe(&mut self, now: Duration, right: bool, empty: bool) {
        if empty != self.empty {
            *self = Grace { empty, ..Grace::default() };
        }
        if let Some(since) = self.counting_since.filter(|_| right) {
            self.counted = self.counted.saturating_add(now.saturating_sub(since)).min(Self::PERIOD);
        }
        self.counting_since = right.then_some(now);
    }

    /// Whether an address outside all pools may be taken back. Where there are no pools at all, only after
    /// [`Grace::confirm`].
    pub fn is_over(&self) -> bool {
        self.counting_since.is_some() && self.counted >= Self::PERIOD && (self.confirmed || !self.empty)
    }

    /// Whether it is time to ask the API server itself whether there are really no pools.
    pub fn wants_confirmation(&self) -> bool {
        self.empty && !self.confirmed && self.counting_since.is_some() && self.counted >= Self::PERIOD
    }

    /// What a list straight from the API server said: `None` if it could not be had. Only "no pools" counts;
    /// anything else starts the time anew.
    pub fn confirm(&mut self, empty: Option<bool>) {
        if empty == Some(true) {
            self.confirmed = true;
        } else {
            self.counted = Duration::ZERO;
        }
    }

    /// How long until it may be over, if nothing happens; `None` if that is not a matter of time.
    pub fn remaining(&self) -> Option<Duration> {
        let left = Self::PERIOD - self.counted;
        (self.counting_since.is_some() && !left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn time_counts_only_while_the_list_is_right() {
        let mut grace = Grace::default();
        grace.observe(at(0), true, false);
        grace.observe(at(29), true, false);
        assert!(!grace.is_over());
        assert_eq!(grace.remaining(), Some(at(1)));
        grace.observe(at(29), false, false);
        grace.observe(at(100), false, false);
        assert_eq!(grace.remaining(), None);
        grace.observe(at(200), true, false);
        assert!(!grace.is_over(), "what passed while the watch failed does not count");
        grace.observe(at(201), true, false);
        assert!(grace.is_over());
        grace.observe(at(202), false, false);
        assert!(!grace.is_over(), "and nothing is taken back while it fails");
    }

    #[test]
    fn no_pools_at_all_is_asked_for_twice() {
        let mut grace = Grace::default();
        grace.observe(at(0), true, true);
        grace.observe(at(30), true, true);
        assert!(grace.wants_confirmation() && !grace.is_over());
        grace.confirm(None);
        assert!(!grace.wants_confirmation(), "an error starts the time anew");
        grace.observe(at(60), true, true);
        grace.confirm(Some(false));
        assert!(!grace.is_over());
        grace.observe(at(90), true, true);
        grace.confirm(Some(true));
        assert!(grace.is_over());
    }

    #[test]
    fn the_first_pool_that_comes_back_starts_it_anew() {
        let mut grace = Grace::default();
        grace.observe(at(0), true, false);
        grace.observe(at(40), true, false);
        assert!(grace.is_over());
        grace.observe(at(50), true, true);
        grace.observe(at(60), true, false);
        assert!(!grace.is_over());
        grace.observe(at(89), true, false);
        assert!(!grace.is_over());
        grace.observe(at(90), true, false);
        assert!(grace.is_over());
    }
}
