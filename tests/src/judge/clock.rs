//! The clock of a capture, for whatever else is to be put beside its frames.

use std::time::{Duration, SystemTime};

/// Counts from the beginning of a capture, as the times of its frames do.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: SystemTime,
}

impl Clock {
    /// One that counts from then.
    pub fn since(began: SystemTime) -> Self {
        Clock { began }
    }

    /// The time now.
    pub fn now(&self) -> Duration {
        self.began.elapsed().unwrap_or_default()
    }
}
