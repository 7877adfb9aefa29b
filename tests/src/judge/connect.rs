//! Begins new connections without end, so that it is seen for how long none comes about.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::Clock;
use crate::host::Host;

/// An attempt that takes longer has failed: it is less than the second after which Linux sends a lost SYN again, so that
/// a connection that comes about by a second SYN counts as one that did not.
const LIMIT: Duration = Duration::from_millis(500);

/// A connection that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When.
    pub at: Duration,
    /// How long the handshake took; `None` if none came about.
    pub took: Option<Duration>,
}

/// Attempts, in the order in which they were begun.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempts(pub Vec<Attempt>);

/// For how long no new connection came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// From the first attempt that failed to the end of the first handshake begun after it; never less than the longest
    /// handshake took.
    pub longest: Duration,
    /// When that began.
    pub at: Duration,
    /// How many attempts there were.
    pub attempts: usize,
    /// How many of them failed.
    pub failed: usize,
}

impl Attempts {
    /// The longest time from `from` on in which no connection came about.
    pub fn gap(&self, from: Duration) -> Gap {
        let mut gap = Gap::default();
        let mut open: Option<Duration> = None;
        let longer = |gap: &mut Gap, since: Duration, until: Duration| {
            if until.saturating_sub(since) > gap.longest {
                (gap.longest, gap.at) = (until.saturating_sub(since), since);
            }
        };
        for attempt in self.0.iter().filter(|attempt| attempt.at >= from) {
            gap.attempts += 1;
            match attempt.took {
                Some(took) => {
                    let since = open.take().unwrap_or(attempt.at);
                    longer(&mut gap, since, attempt.at + took);
                }
                None => {
                    gap.failed += 1;
                    let since = *open.get_or_insert(attempt.at);
                    longer(&mut gap, since, attempt.at);
                }
            }
        }
        gap
    }
}

/// A host that begins a connection again and again. It ends when dropped.
#[derive(Debug)]
pub struct Connector {
    stop: Arc<AtomicBool>,
    attempts: Arc<Mutex<Vec<Attempt>>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Connector {
    /// How often it begins one, where nothing else is said.
    pub const EVERY: Duration = Duration::from_millis(10);

    /// `host` begins a connection to `address`, through its own kernel's neighbour table, once in each period of
    /// `every`, and ends it when it stands.
    pub fn start(host: &Host, address: SocketAddr, every: Duration, clock: Clock) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let attempts = Arc::new(Mutex::new(Vec::new()));
        let (ended, into) = (stop.clone(), attempts.clone());
        // The namespace is the thread's, so one thread does it all.
        let thread = host.start(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(connect_until(&ended, &into, address, every, clock));
            Ok(())
        });
        Connector { stop, attempts, thread: Some(thread) }
    }

    /// The attempts of which the outcome is known so far.
    pub fn so_far(&self) -> Attempts {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        attempts.sort_by_key(|attempt| attempt.at);
        Attempts(attempts)
    }

    /// Ends it; the attempts under way come to their ends first.
    ///
    /// # Errors
    /// When the host could not be entered.
    pub fn stop(mut self) -> io::Result<Attempts> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the connector panicked")))?;
        }
        Ok(self.so_far())
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

async fn connect_until(
    ended: &AtomicBool,
    attempts: &Mutex<Vec<Attempt>>,
    address: SocketAddr,
    every: Duration,
    clock: Clock,
) {
    let note = |attempt| attempts.lock().unwrap_or_else(PoisonError::into_inner).push(attempt);
    let mut under_way = JoinSet::new();
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !ended.load(Ordering::Relaxed) {
        ticks.tick().await;
        under_way.spawn(async move {
            let at = clock.now();
            let connected = tokio::time::timeout(LIMIT, TcpStream::connect(address)).await;
            let took = matches!(connected, Ok(Ok(_))).then(|| clock.now().saturating_sub(at));
            Attempt { at, took }
        });
        while let Some(Ok(attempt)) = under_way.try_join_next() {
            note(attempt);
        }
    }
    while let Some(Ok(attempt)) = under_way.join_next().await {
        note(attempt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Attempts each 10 ms, from 0 on: `.` takes 1 ms, `x` fails, `s` takes 40 ms.
    fn attempts(text: &str) -> Attempts {
        let took = |kind| match kind {
            '.' => Some(ms(1)),
            's' => Some(ms(40)),
            _ => None,
        };
        Attempts(
            (0..).zip(text.chars()).map(|(n, kind)| Attempt { at: ms(n * 10), took: took(kind) }).collect(),
        )
    }

    #[test]
    fn a_gap_is_from_the_first_that_failed_to_the_next_that_stands() {
        let gap = attempts("..xxx..x.").gap(Duration::ZERO);
        assert_eq!(gap, Gap { longest: ms(31), at: ms(20), attempts: 9, failed: 4 });
    }

    #[test]
    fn a_slow_handshake_is_a_gap_too() {
        let gap = attempts("..s..").gap(Duration::ZERO);
        assert_eq!((gap.longest, gap.at, gap.failed), (ms(40), ms(20), 0));
    }

    #[test]
    fn a_gap_without_an_end_lasts_to_the_last_attempt() {
        let gap = attempts(".xxx").gap(Duration::ZERO);
        assert_eq!((gap.longest, gap.failed), (ms(20), 3));
    }

    #[test]
    fn what_was_before_does_not_count() {
        let attempts = attempts("xx....");
        assert_eq!(attempts.gap(ms(20)).failed, 0);
        assert_eq!(attempts.gap(ms(10)).failed, 1);
    }
}
