//! Pauses after failures.

use std::time::Duration;

/// The first pause.
const SHORTEST: Duration = Duration::from_millis(200);
/// Pauses double up to this.
const LONGEST: Duration = Duration::from_secs(5);

/// How long to leave something alone that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pause {
    failures: u32,
    until: Duration,
}

impl Pause {
    /// It failed. What fails during a pause was begun before it, and makes it no longer.
    pub(crate) fn failed(&mut self, now: Duration) {
        if now >= self.until {
            self.until = now + SHORTEST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
            self.failures += 1;
        }
    }

    /// It worked.
    pub(crate) fn succeeded(&mut self) {
        *self = Pause::default();
    }

    /// Until when it lasts, if it does.
    pub(crate) fn lasts(&self, now: Duration) -> Option<Duration> {
        (now < self.until).then_some(self.until)
    }

    /// Whether it has failed since it worked last.
    pub(crate) fn is_failing(&self) -> bool {
        self.failures > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_200_ms_to_5_s() {
        let (mut pause, mut now) = (Pause::default(), Duration::from_secs(100));
        assert_eq!(pause.lasts(now), None);
        let mut lengths = Vec::new();
        for _ in 0..8 {
            pause.failed(now);
            pause.failed(now + Duration::from_millis(1));
            let until = pause.lasts(now).expect("it has just failed");
            lengths.push((until - now).as_millis());
            assert_eq!(pause.lasts(until), None);
            now = until;
        }
        assert_eq!(lengths, [200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        pause.succeeded();
        assert!(!pause.is_failing());
        pause.failed(now);
        assert_eq!(pause.lasts(now), Some(now + SHORTEST));
    }
}
