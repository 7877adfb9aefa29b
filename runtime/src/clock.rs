//! The clock by which everything is timed.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The time since this machine was started, including the time that it was suspended: unlike
/// `CLOCK_MONOTONIC`, it shows that a while has passed unseen.
pub fn now() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("every Linux since 2.6.39 has CLOCK_BOOTTIME");
    Duration::from(time)
}
