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
    thread: Option<JoinHandle<io::Result<Asked>>>,
}

/// What a prober did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// How often it asked.
    pub questions: usize,
    /// How much later than it was to be its latest question was sent.
    pub latest: Duration,
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
        let ended = stop.clone();
        let thread = std::thread::spawn(move || {
            at_once();
            let (mut next, mut asked) = (Instant::now(), Asked::default());
            while !ended.load(Ordering::Relaxed) {
                match sender.send(&link, &frame) {
                    Ok(()) => asked.questions += 1,
                    // Its cable may be out for a while, or too many may wait at it: then it asks nobody.
                    Err(error) if is_passing(&error) => {}
                    Err(error) => return Err(error),
                }
                asked.latest = asked.latest.max(next.elapsed());
                next += every;
                let now = Instant::now();
                // What was missed is not asked in a burst.
                next = next.max(now);
                std::thread::sleep(next - now);
            }
            Ok(asked)
        });
        Ok(Prober { stop, thread: Some(thread) })
    }

    /// Ends it and says how often and how exactly it asked.
    ///
    /// # Errors
    /// When a frame could not be sent.
    pub fn stop(mut self) -> io::Result<Asked> {
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return Ok(Asked::default()) };
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the prober panicked")))
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Whether a frame could not be sent for a reason that passes.
pub(super) fn is_passing(error: &io::Error) -> bool {
    [nix::Error::ENETDOWN, nix::Error::ENOBUFS]
        .iter()
        .any(|passing| error.raw_os_error() == Some(*passing as i32))
}

/// Lets this thread run before all others, where the machine allows it: whoever measures must not wait for what it
/// measures. Where it does not, the figures of its pace say so.
pub(super) fn at_once() {
    let this = nix::unistd::gettid().to_string();
    let chrt = std::process::Command::new("chrt").args(["--fifo", "--pid", "1", &this]).output();
    // Without the command, or the right to it, it is a thread as any other.
    let _ = chrt;
}
