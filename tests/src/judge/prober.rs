//! Asks without end, so that silence can be measured.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::host::{Host, Link, Sender, question};
use crate::lab::network::Network;

/// A host that asks who has an address, again and again. It ends when dropped.
#[derive(Debug)]
pub struct Prober {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<usize>>>,
}

impl Prober {
    /// How often it asks, where nothing else is said.
    pub const EVERY: Duration = Duration::from_millis(5);

    /// `host` begins to ask for `address` in `network`, once in each period of `every`, by frames of its own making:
    /// its kernel's tables have no part in it.
    ///
    /// # Errors
    /// When the host has no link there, or none with an address of that family.
    pub fn start(
        host: &Host,
        network: Network,
        address: impl Into<IpAddr>,
        every: Duration,
    ) -> io::Result<Self> {
        let address = address.into();
        let (sender, link, frame) = host.inside(move || {
            let link = Link::named(network.link())?;
            let frame = question(link.mac, link.asks_from(address)?, address)?;
            Ok((Sender::open()?, link, frame))
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let asked_to_stop = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut next, mut sent) = (Instant::now(), 0);
            while !asked_to_stop.load(Ordering::Relaxed) {
                match sender.send(&link, &frame) {
                    Ok(()) => sent += 1,
                    // Its cable may be out for a while: then it asks nobody.
                    Err(error) if error.raw_os_error() == Some(nix::Error::ENETDOWN as i32) => {}
                    Err(error) => return Err(error),
                }
                next += every;
                let now = Instant::now();
                // What was missed is not asked in a burst.
                next = next.max(now);
                std::thread::sleep(next - now);
            }
            Ok(sent)
        });
        Ok(Prober { stop, thread: Some(thread) })
    }

    /// Ends it and says how often it asked.
    ///
    /// # Errors
    /// When a frame could not be sent.
    pub fn stop(mut self) -> io::Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return Ok(0) };
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the prober panicked")))
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
