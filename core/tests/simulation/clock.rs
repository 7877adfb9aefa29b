//! Time and chance of the simulation.

use std::time::Duration;

/// Numbers that look random (splitmix64): the same for the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Dice(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub(crate) fn chance(&mut self, percent: f64) -> bool {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64 * 100.0 < percent
    }

    /// One of these; there is at least one.
    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    pub(crate) fn shuffled<T: Copy>(&mut self, of: &[T]) -> Vec<T> {
        let mut all = of.to_vec();
        for at in (1..all.len()).rev() {
            all.swap(at, self.below(at as u64 + 1) as usize);
        }
        all
    }
}

/// A machine's clock: runs too fast or too slow, jumps, and stands still while the whole machine does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// The true time and the clock's own, once.
    known: (Duration, Duration),
    /// By how many millionths it runs too fast.
    pub(crate) fast: i64,
}

impl Clock {
    pub(crate) fn new(now: Duration) -> Self {
        Clock { known: (now, now), fast: 0 }
    }

    fn rate(&self) -> u128 {
        (1_000_000 + self.fast) as u128
    }

    /// What it shows at this true time.
    pub(crate) fn shows(&self, at: Duration) -> Duration {
        let passed = at.saturating_sub(self.known.0).as_nanos() * self.rate() / 1_000_000;
        self.known.1 + Duration::from_nanos(passed as u64)
    }

    /// At which true time it shows at least that.
    pub(crate) fn when(&self, shown: Duration) -> Duration {
        let passed = (shown.saturating_sub(self.known.1).as_nanos() * 1_000_000).div_ceil(self.rate());
        self.known.0 + Duration::from_nanos(passed as u64)
    }

    /// From `now` on it is this much later to it.
    pub(crate) fn jump(&mut self, now: Duration, by: Duration) {
        self.known = (now, self.shows(now) + by);
    }

    /// It stood still since then.
    pub(crate) fn stood(&mut self, since: Duration, now: Duration) {
        self.known = (now, self.shows(since));
    }

    pub(crate) fn run_at(&mut self, fast: i64, now: Duration) {
        self.known = (now, self.shows(now));
        self.fast = fast;
    }
}
