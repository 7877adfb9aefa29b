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
        Self::begin(host, network, vec![address.into()], every, 1)
    }

    /// The same for many addresses, each of which is asked for once in each `round`: some of them each 5 ms.
    ///
    /// # Errors
    /// See [`Prober::start`].
    pub fn start_many(
        host: &Host,
        network: Network,
        addresses: &[IpAddr],
        round: Duration,
    ) -> io::Result<Self> {
        let batches = round.as_nanos().div_ceil(Self::EVERY.as_nanos()).max(1);
        let batch = addresses.len().div_ceil(usize::try_from(batches).unwrap_or(usize::MAX));
        Self::begin(host, network, addresses.to_vec(), Self::EVERY, batch)
    }

    /// Asks for the next `batch` of `addresses` once in each period of `every`.
    fn begin(
        host: &Host,
        network: Network,
        addresses: Vec<IpAddr>,
        every: Duration,
        batch: usize,
    ) -> io::Result<Self> {
        let (sender, link, frames) = host.inside(move || {
            let link = Link::named(network.link())?;
            let frame = |address: &IpAddr| question(link.mac, link.asks_from(*address)?, *address);
            let frames: io::Result<Vec<Vec<u8>>> = addresses.iter().map(frame).collect();
            Ok((Sender::open()?, link, frames?))
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let ended = stop.clone();
        let thread = std::thread::spawn(move || {
            at_once();
            let (mut next, mut asked) = (Instant::now(), Asked::default());
            let mut frames = frames.iter().cycle();
            while !ended.load(Ordering::Relaxed) {
                for frame in frames.by_ref().take(batch) {
                    match sender.send(&link, frame) {
                        Ok(()) => asked.questions += 1,
                        // Its cable may be out for a while, or too many may wait at it: then it asks nobody.
                        Err(error) if is_passing(&error) => {}
                        Err(error) => return Err(error),
                    }
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
fn is_passing(error: &io::Error) -> bool {
    [nix::Error::ENETDOWN, nix::Error::ENOBUFS]
        .iter()
        .any(|passing| error.raw_os_error() == Some(*passing as i32))
}

/// Lets this thread run before all others, where the machine allows it: whoever measures must not wait for what it
/// measures. Where it does not, the figures of its pace say so.
fn at_once() {
    let this = nix::unistd::gettid().to_string();
    let chrt = std::process::Command::new("chrt").args(["--fifo", "--pid", "1", &this]).output();
    // Without the command, or the right to it, it is a thread as any other.
    let _ = chrt;
}
