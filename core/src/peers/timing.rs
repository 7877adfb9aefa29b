//! How long to wait for what.

use std::time::Duration;

/// How often this node says hello, and after how many missed ones a peer counts as silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The time between two hellos of this node; 10 ms to 10 s.
    pub interval: Duration,
    /// How many intervals of silence are too many (k); 2 to 20.
    pub misses: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Timing { interval: Duration::from_millis(100), misses: 3 }
    }
}

impl Timing {
    /// After so much silence, a peer that says hello each `interval` is gone: k intervals, and a tenth of one for the way.
    pub fn silence(&self, interval: Duration) -> Duration {
        interval * self.misses + interval / 10
    }

    /// After so much silence it is asked "are you there", the first of [`ASKS`] times: in the last interval.
    pub fn doubt(&self, interval: Duration) -> Duration {
        interval * (self.misses - 1)
    }

    /// A starting speaker listens so long before it claims anything.
    pub fn listening(&self) -> Duration {
        self.interval * self.misses
    }

    /// A speaker that said nothing for longer than this may have been replaced: it does not answer before it knows.
    pub fn pause(&self) -> Duration {
        self.interval * (self.misses - 1)
    }

    /// An elected node that has not claimed for so long is passed over.
    pub fn patience(&self) -> Duration {
        self.interval * 3
    }
}

/// How often a silent peer is asked, evenly over its last interval.
pub const ASKS: u32 = 3;
