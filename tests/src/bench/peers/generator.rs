//! The generator: says what the peers say, when they say it, and counts.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ferrolb_core::hello_key::Keys;
use ferrolb_core::wire::hello::{Body, ETHERTYPE, MAX_PAYLOAD, parse_frame};

use crate::bench::wire::Wire;
use crate::host::Host;
use crate::lab::LabError;

use super::crowd::{Crowd, INTERVAL};

/// The link of a client in the lab's LAN.
pub(super) const LINK: &str = "eth0";

/// The Ethernet header.
pub(super) const HEADER: usize = 14;

/// A hello that left later than this was late: the speaker asks from two intervals of silence on.
const LATE: Duration = INTERVAL;

/// What was counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Frames that the speaker got, and their bytes with the Ethernet header.
    pub(super) said: [u64; 2],
    /// Frames that the speaker sent, and their bytes.
    pub(super) heard: [u64; 2],
    /// Questions of the speaker: of a silent peer whether it is there, of one that claims what.
    pub(super) questions: u64,
    /// Hellos that left more than an interval late: this machine was busy.
    pub(super) late: u64,
}

#[derive(Debug, Default)]
struct Shared {
    said: [AtomicU64; 2],
    heard: [AtomicU64; 2],
    questions: AtomicU64,
    late: AtomicU64,
    listed: AtomicUsize,
    stop: AtomicBool,
}

/// A generator that runs. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Generator {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Generator {
    /// Starts to say on `host` what these peers say.
    pub(super) fn start(host: &Host, count: usize, mut crowd: Crowd, keys: Keys) -> Self {
        let shared = Arc::new(Shared::default());
        let own = shared.clone();
        let work = move || {
            let wire = Wire::open(LINK, ETHERTYPE)?.with_times()?;
            run(&wire, count, &mut crowd, &keys, &own)
        };
        Generator { shared, thread: Some(host.start(work)) }
    }

    /// How many peers the speaker lists, as those that hear it and are heard.
    pub(super) fn listed(&self) -> usize {
        self.shared.listed.load(Ordering::Relaxed)
    }

    /// What was counted so far.
    pub(super) fn counts(&self) -> Counts {
        let both = |of: &[AtomicU64; 2]| of.each_ref().map(|value| value.load(Ordering::Relaxed));
        Counts {
            said: both(&self.shared.said),
            heard: both(&self.shared.heard),
            questions: self.shared.questions.load(Ordering::Relaxed),
            late: self.shared.late.load(Ordering::Relaxed),
        }
    }

    /// Ends it.
    pub(super) fn stop(mut self) -> Result<(), LabError> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map_or(Ok(()), |thread| {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("its thread panicked")))
        });
        ended.map_err(|error| LabError::program("the generator", error))
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn run(wire: &Wire, count: usize, crowd: &mut Crowd, keys: &Keys, shared: &Shared) -> io::Result<()> {
    let started = Instant::now();
    let mut order = turns(count);
    order.sort_unstable();
    for beat in 0.. {
        for (offset, index) in &order {
            let due = started + INTERVAL * beat + *offset;
            loop {
                listen(wire, crowd, keys, started, shared)?;
                if shared.stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let left = due.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                // The kernel waits for frames in whole milliseconds.
                if left >= Duration::from_millis(1) {
                    wire.wait(left)?;
                } else {
                    std::thread::sleep(left);
                }
            }
            let now = Instant::now();
            shared.late.fetch_add(u64::from(now > due + LATE), Ordering::Relaxed);
            send(wire, crowd.hello(*index, now - started), shared)?;
        }
    }
    Ok(())
}

/// When in each interval each peer says hello: as the dice fall, like the starts of real speakers; the same each time.
fn turns(count: usize) -> Vec<(Duration, usize)> {
    let mut dice = fastrand::Rng::with_seed(count as u64);
    (0..count).map(|index| (INTERVAL.mul_f64(dice.f64()), index)).collect()
}

/// Takes what the speaker said meanwhile, and answers.
fn listen(wire: &Wire, crowd: &mut Crowd, keys: &Keys, started: Instant, shared: &Shared) -> io::Result<()> {
    let mut buffer = [0; HEADER + MAX_PAYLOAD];
    while let Some((length, _)) = wire.receive(&mut buffer)? {
        let frame = &buffer[..length];
        let Ok(received) = parse_frame(frame, keys) else { continue };
        count(&shared.heard, frame);
        let message = &received.message;
        let question = matches!(message.body, Body::Ask { .. } | Body::Want { .. });
        shared.questions.fetch_add(u64::from(question), Ordering::Relaxed);
        let now = Instant::now();
        send(wire, crowd.hear(message, received.destination, now, now - started), shared)?;
        shared.listed.store(crowd.listed(now), Ordering::Relaxed);
    }
    Ok(())
}

fn send(wire: &Wire, frames: impl IntoIterator<Item = Vec<u8>>, shared: &Shared) -> io::Result<()> {
    for frame in frames {
        if wire.send(&[frame.as_slice()])? == 1 {
            count(&shared.said, &frame);
        }
    }
    Ok(())
}

fn count([frames, bytes]: &[AtomicU64; 2], frame: &[u8]) {
    frames.fetch_add(1, Ordering::Relaxed);
    bytes.fetch_add(frame.len() as u64, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_has_its_turn_once_in_an_interval() {
        let turns = turns(100);
        let indices: std::collections::BTreeSet<usize> = turns.iter().map(|(_, index)| *index).collect();
        assert_eq!(indices.len(), 100);
        assert!(turns.iter().all(|(offset, _)| *offset < INTERVAL));
        assert_eq!(turns, super::turns(100));
    }
}
