//! What answers and failures of the proxy's health check mean, without I/O.

use std::fmt;
use std::time::Duration;

/// Whether this node's service proxy works, as far as it can be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It never answered. Many clusters have no kube-proxy, or one that tells its health elsewhere; so this
    /// says nothing against the node.
    #[default]
    Unknown,
    /// It answered 200.
    Healthy,
    /// It answered once, and has failed since for longer than it is given; this is how it failed last.
    Unhealthy(Failure),
}

impl Health {
    /// Whether the node is to be taken for one that delivers what arrives.
    pub fn is_fit(&self) -> bool {
        !matches!(self, Health::Unhealthy(_))
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Health::Unknown => f.write_str("unknown"),
            Health::Healthy => f.write_str("healthy"),
            Health::Unhealthy(failure) => write!(f, "unhealthy: {failure}"),
        }
    }
}

/// How a question for the proxy's health failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection, or one that broke; the words are the system's.
    #[error("{0}")]
    Unreachable(String),
    /// Connected, but no answer in time.
    #[error("it takes connections but does not answer")]
    Silent,
    /// An answer other than 200. kube-proxy says 503 when it cannot bring its rules up to date, and when its node
    /// is about to be deleted.
    #[error("it answers with HTTP status {0}")]
    Status(u16),
}

impl Failure {
    /// The greater, the more it says. Where several addresses are asked, most have no listener.
    pub(super) fn weight(&self) -> u8 {
        match self {
            Failure::Unreachable(_) => 0,
            Failure::Silent => 1,
            Failure::Status(_) => 2,
        }
    }
}

/// Turns answers into a [`Health`].
#[derive(Debug)]
pub(super) struct Judge {
    /// For how long failures may follow upon each other.
    patience: Duration,
    /// When the failures began that no success has followed yet.
    failing_since: Option<Duration>,
    health: Health,
}

impl Judge {
    pub(super) fn new(patience: Duration) -> Self {
        Judge { patience, failing_since: None, health: Health::Unknown }
    }

    /// Takes note of an answer that came, or failed to come, at `now`.
    pub(super) fn hear(&mut self, now: Duration, answer: Result<(), Failure>) -> &Health {
        match answer {
            Ok(()) => {
                self.failing_since = None;
                self.health = Health::Healthy;
            }
            // What never worked cannot have failed.
            Err(_) if self.health == Health::Unknown => {}
            Err(failure) => {
                // From the first failure and not from the last success: a node that was suspended in between
                // has not been failing all the while.
                let since = *self.failing_since.get_or_insert(now);
                if now.saturating_sub(since) >= self.patience {
                    self.health = Health::Unhealthy(failure);
                }
            }
        }
        &self.health
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn refused() -> Result<(), Failure> {
        Err(Failure::Unreachable("connection refused".to_owned()))
    }

    /// The health after each of these answers, given with the second at which they come.
    fn healths(answers: impl IntoIterator<Item = (u64, Result<(), Failure>)>) -> Vec<Health> {
        let mut judge = Judge::new(PATIENCE);
        let hear = |(second, answer)| judge.hear(Duration::from_secs(second), answer).clone();
        answers.into_iter().map(hear).collect()
    }

    #[test]
    fn one_that_never_answered_is_unknown_and_fit_however_long_it_fails() {
        let healths = healths((0..1000).map(|second| (second, refused())));
        assert!(healths.iter().all(|health| *health == Health::Unknown && health.is_fit()), "{healths:?}");
    }

    #[test]
    fn ten_seconds_of_failures_and_not_less_make_it_unhealthy() {
        let answers = [(0, Ok(())), (1, refused()), (6, refused()), (10, refused()), (11, refused())];
        let told = healths(answers);
        assert_eq!(told[..4], [Health::Healthy, Health::Healthy, Health::Healthy, Health::Healthy]);
        assert_eq!(told[4], Health::Unhealthy(Failure::Unreachable("connection refused".to_owned())));
        assert!(!told[4].is_fit());
    }

    #[test]
    fn a_success_in_between_begins_the_count_anew() {
        let answers =
            [(0, Ok(())), (1, refused()), (10, Ok(())), (11, refused()), (20, refused()), (21, refused())];
        let told: Vec<bool> = healths(answers).iter().map(Health::is_fit).collect();
        assert_eq!(told, [true, true, true, true, true, false]);
    }

    #[test]
    fn one_success_restores_it_at_once() {
        let answers = [(0, Ok(())), (1, refused()), (11, refused()), (12, Ok(())), (13, refused())];
        let told = healths(answers);
        assert!(!told[2].is_fit());
        assert_eq!(told[3..], [Health::Healthy, Health::Healthy]);
    }

    #[test]
    fn how_it_fails_is_told_as_it_is_now() {
        let answers =
            [(0, Ok(())), (1, refused()), (11, Err(Failure::Silent)), (12, Err(Failure::Status(503)))];
        let told = healths(answers);
        assert_eq!(told[2], Health::Unhealthy(Failure::Silent));
        assert_eq!(told[3], Health::Unhealthy(Failure::Status(503)));
    }

    #[test]
    fn an_hour_of_suspension_is_not_an_hour_of_failures() {
        let told = healths([(0, Ok(())), (3600, refused()), (3601, refused())]);
        assert!(told.iter().all(|health| *health == Health::Healthy), "{told:?}");
    }

    proptest! {
        /// Against the rule as it is told to users: unhealthy is who answered once, failed for ten seconds
        /// and did not answer since.
        #[test]
        fn the_rule_holds_for_any_answers(answers in prop::collection::vec((0u64..6, any::<bool>()), 0..60)) {
            let mut second = 0;
            let mut heard: Vec<(u64, bool)> = Vec::new();
            let mut judge = Judge::new(PATIENCE);
            for (pause, works) in answers {
                second += pause;
                heard.push((second, works));
                let answer = if works { Ok(()) } else { refused() };
                let health = judge.hear(Duration::from_secs(second), answer).clone();
                let last_success = heard.iter().rposition(|(_, works)| *works);
                let failing_since = last_success.and_then(|at| heard.get(at + 1)).map(|(second, _)| *second);
                let unhealthy = failing_since.is_some_and(|since| second - since >= 10);
                prop_assert_eq!(!health.is_fit(), unhealthy, "{:?}", heard);
                prop_assert_eq!(health == Health::Unknown, last_success.is_none(), "{:?}", heard);
            }
        }
    }
}
