//! The least that hearing costs: a program that takes the same frames on the same host and does nothing with them. What it
//! takes of the processor is the kernel's waking and copying, on this machine, as busy as it is now.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ferrolb_core::wire::hello::{ETHERTYPE, MAX_PAYLOAD};

use crate::bench::wire::Wire;
use crate::host::Host;
use crate::lab::LabError;

use super::generator::{HEADER, LINK};

/// How soon it sees that it is to end.
const LOOK: Duration = Duration::from_millis(200);

/// It runs until it is stopped, or dropped.
#[derive(Debug)]
pub(super) struct Floor {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<Duration>>>,
}

impl Floor {
    /// Starts it on `host`.
    pub(super) fn start(host: &Host) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let work = move || {
            let wire = Wire::open(LINK, ETHERTYPE)?.with_times()?;
            let (mut buffer, before) = ([0; HEADER + MAX_PAYLOAD], worked()?);
            while !stopping.load(Ordering::Relaxed) {
                wire.wait(LOOK)?;
                while wire.receive(&mut buffer)?.is_some() {}
            }
            Ok(worked()?.saturating_sub(before))
        };
        Floor { stop, thread: Some(host.start(work)) }
    }

    /// Ends it; returns the processor time that it took.
    pub(super) fn stop(mut self) -> Result<Duration, LabError> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        let worked =
            ended.and_then(Result::ok).unwrap_or_else(|| Err(io::Error::other("its thread panicked")));
        worked.map_err(|error| LabError::program("who only takes the frames", error))
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The processor time of this thread so far: the first number of its schedstat, in nanoseconds.
fn worked() -> io::Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = text.split_whitespace().next().and_then(|word| word.parse().ok());
    nanoseconds.map(Duration::from_nanos).ok_or_else(|| io::Error::other(format!("no time in {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_thread_is_its_own() {
        let busy = || (0..3_000_000_u64).fold(0, |sum, number| sum ^ std::hint::black_box(number));
        let (before, _) = (worked().unwrap(), busy());
        assert!(worked().unwrap() > before);
    }
}
