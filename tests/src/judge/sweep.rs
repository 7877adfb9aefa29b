//! Asks for many addresses in turn, but for those that it is told to spare.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::prober::{at_once, is_passing};
use crate::host::{Host, Link, Sender, question};
use crate::lab::network::Network;

/// So often some are asked for.
const TICK: Duration = Duration::from_millis(5);

/// A host that asks for many addresses, each once in a round. It ends when dropped.
#[derive(Debug)]
pub struct Sweep {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    /// The addresses that are not asked for, by their places.
    spared: Vec<AtomicBool>,
}

impl Sweep {
    /// `host` begins to ask for all of `addresses` in `network`, once in each `round`.
    ///
    /// # Errors
    /// When the host has no link there, or none with an address of their family.
    pub fn start(host: &Host, network: Network, addresses: &[IpAddr], round: Duration) -> io::Result<Self> {
        Self::begin(host, network, addresses, round, false)
    }

    /// The same, but none is asked for until [`spare`](Self::spare) says so.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_sparing(
        host: &Host,
        network: Network,
        addresses: &[IpAddr],
        round: Duration,
    ) -> io::Result<Self> {
        Self::begin(host, network, addresses, round, true)
    }

    fn begin(
        host: &Host,
        network: Network,
        addresses: &[IpAddr],
        round: Duration,
        spared: bool,
    ) -> io::Result<Self> {
        let all = addresses.to_vec();
        let (sender, link, frames) = host.inside(move || {
            let link = Link::named(network.link())?;
            let frame = |address: &IpAddr| question(link.mac, link.asks_from(*address)?, *address);
            let frames: io::Result<Vec<Vec<u8>>> = all.iter().map(frame).collect();
            Ok((Sender::open()?, link, frames?))
        })?;
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            spared: addresses.iter().map(|_| AtomicBool::new(spared)).collect(),
        });
        let told = shared.clone();
        let thread = std::thread::spawn(move || {
            at_once();
            let mut places = (0..frames.len()).cycle();
            let batch = batch(frames.len(), milliseconds(round));
            while !told.stop.load(Ordering::Relaxed) {
                for place in places.by_ref().take(batch) {
                    if told.spared[place].load(Ordering::Relaxed) {
                        continue;
                    }
                    match sender.send(&link, &frames[place]) {
                        Err(error) if !is_passing(&error) => return Err(error),
                        _ => {}
                    }
                }
                std::thread::sleep(TICK);
            }
            Ok(())
        });
        Ok(Sweep { shared, thread: Some(thread) })
    }

    /// From now on those are not asked for of which this says so, in the order of the addresses.
    pub fn spare(&self, spared: impl IntoIterator<Item = bool>) {
        for (flag, spared) in self.shared.spared.iter().zip(spared) {
            flag.store(spared, Ordering::Relaxed);
        }
    }

    /// Ends it.
    ///
    /// # Errors
    /// When a frame could not be sent.
    pub fn stop(mut self) -> io::Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the sweep panicked")))
    }
}

impl Drop for Sweep {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

/// How many of `count` are asked for at each tick, so that all were after `round` milliseconds.
fn batch(count: usize, round: u64) -> usize {
    let ticks = (round / milliseconds(TICK)).max(1);
    count.div_ceil(usize::try_from(ticks).unwrap_or(usize::MAX))
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_over_in_its_time() {
        assert_eq!((batch(1000, 1000), batch(1000, 25), batch(1000, 1), batch(3, 1000)), (5, 200, 1000, 1));
    }
}
