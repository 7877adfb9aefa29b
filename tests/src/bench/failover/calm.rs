//! Waiting until the machine has little to do.
//!
//! What a case is about is one thing that happens in a cluster at rest. After a thousand Services were made, or a node came back
//! among them, kube-proxy and the API server take both cores of a small machine for many seconds, and whoever answers for an
//! address then waits for them.

use std::time::Duration;

use crate::lab::LabError;
use crate::lab::progress::wait;

/// Over so long it is looked how busy the machine is. Longer than what comes once a second takes.
const SPAN: Duration = Duration::from_secs(2);

/// At rest at most so much of all processors is taken, in hundredths: that is what asking and answering takes.
const MOST: f64 = 40.0;

/// How long it may take, in seconds.
const PATIENCE: u64 = 300;

/// Time that all processors had so far, and of it that in which they had nothing to do, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    all: u64,
    idle: u64,
}

/// The first line of `/proc/stat` (proc_stat(5)): user, nice, system, idle, iowait, irq, softirq, steal; guests' times, which
/// follow, are among those of the users.
fn ticks(stat: &str) -> Option<Ticks> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let numbers: Vec<u64> = line.split_whitespace().take(8).map_while(|one| one.parse().ok()).collect();
    let idle = numbers.get(3)? + numbers.get(4)?;
    Some(Ticks { all: numbers.iter().sum(), idle })
}

/// How much of all processors was taken from `before` to `after`, in hundredths.
fn taken(before: Ticks, after: Ticks) -> f64 {
    let all = after.all.saturating_sub(before.all);
    let idle = after.idle.saturating_sub(before.idle);
    if all == 0 { 0.0 } else { 100.0 * (1.0 - idle as f64 / all as f64) }
}

fn now() -> Result<Ticks, String> {
    let stat = std::fs::read_to_string("/proc/stat").map_err(|error| format!("/proc/stat: {error}"))?;
    ticks(&stat).ok_or_else(|| "/proc/stat has no line of all processors".to_owned())
}

/// Waits until the machine is at rest.
///
/// # Errors
/// When something else keeps it busy for minutes.
pub(super) async fn calm() -> Result<(), LabError> {
    wait("the machine to be at rest", PATIENCE, async || {
        let before = now()?;
        tokio::time::sleep(SPAN).await;
        let taken = taken(before, now()?);
        if taken <= MOST { Ok(()) } else { Err(format!("{taken:.0} % of its processors are taken")) }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_idle_or_waits_for_a_disk_is_not_taken() {
        let before = ticks("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 1 1 1").unwrap();
        assert_eq!(before, Ticks { all: 1000, idle: 850 });
        let after = ticks("cpu  140 10 90 860 90 5 5 0 7 0\n").unwrap();
        assert_eq!(taken(before, after), 50.0);
        assert_eq!(taken(before, before), 0.0);
        assert_eq!(ticks("intr 1"), None);
        assert_eq!(ticks("cpu  1 2 3"), None);
    }
}
