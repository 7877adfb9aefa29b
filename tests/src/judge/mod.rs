//! The wire judge: who answered for an address, when, and whether ever two did or nobody.
//!
//! ```text
//!    Prober on a client ──asks each 5 ms──►┐
//!                                          │  switch namespace: each bridge port is one host's cable
//!    Judge ◄── every ARP and NDP frame, the port at which it came in, the kernel's time
//!      │
//!      └─► Record ─► Verdict of an address: stints, overlaps, silences, announcements
//! ```
//!
//! Beside it stand those who see what a user sees: [`Connector`] begins a new connection again and again, [`Held`] keeps
//! connections open and uses them.
//!
//! It captures where the frames come in at the switch, so each is seen once, and its port says which host sent it,
//! whatever the frame says. [`Verdict`] is a pure function of what was captured. It prints as a timeline.

mod clock;
mod connect;
mod held;
mod measure;
mod prober;
mod sweep;
mod timeline;
mod verdict;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

pub use clock::Clock;
pub use connect::{Attempt, Attempts, Connector, Gap};
pub use held::{Fates, Held};
pub use measure::{Pace, TakeOver, TakeOvers};
pub use prober::{Asked, Prober};
pub use sweep::Sweep;
pub use verdict::{Announcement, Form, Overlap, Owner, Question, Stint, Verdict};

use crate::host::{Capture, Frame, Tap};
use crate::lab::network::Network;
use crate::lab::{Lab, LabError};

/// Where a frame came in at the switch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The host at the other end of the cable.
    pub host: String,
    /// The network.
    pub network: Network,
}

/// A frame that came in at the switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where.
    pub port: Port,
    /// What, and when.
    pub frame: Frame,
}

/// Watches all ports of a lab's switch.
#[derive(Debug)]
pub struct Judge {
    capture: Capture<Seen>,
    began: SystemTime,
}

/// What a judge saw.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The frames, in the order in which they came.
    pub seen: Vec<Seen>,
    /// Until when was watched, since the beginning.
    pub until: Duration,
}

impl Judge {
    /// Begins to watch. What happens after this returns is seen.
    ///
    /// # Errors
    /// When the switch cannot be entered.
    pub fn watch(lab: &Lab) -> Result<Self, LabError> {
        Self::watch_hosts(lab, &lab.config.hosts())
    }

    /// The same of what these hosts send alone.
    ///
    /// # Errors
    /// When the switch cannot be entered.
    pub fn watch_hosts(lab: &Lab, hosts: &[String]) -> Result<Self, LabError> {
        let names = hosts.iter().cloned().flat_map(|host| {
            Network::SEGMENTS.map(|network| (network.port(&host), Port { host: host.clone(), network }))
        });
        let names: BTreeMap<String, Port> = names.collect();
        let opened = lab.host("sw")?.inside(move || {
            // The ports alone: a bridge itself gets a copy of every broadcast.
            let index =
                |name: String| Some((nix::net::if_::if_nametoindex(name.as_str()).ok()? as usize, name));
            let ports: BTreeMap<usize, Port> =
                names.into_iter().filter_map(|(name, port)| Some((index(name)?.0, port))).collect();
            Ok((Tap::open()?, ports))
        });
        let (tap, ports) = opened.map_err(LabError::at("the switch"))?;
        let keep = move |received: crate::host::Received| {
            Some(Seen { port: ports.get(&received.link)?.clone(), frame: received.frame })
        };
        let began = tap.began();
        Ok(Judge { capture: Capture::start(tap, keep), began })
    }

    /// The time on the clock of its frames.
    pub fn now(&self) -> Duration {
        self.began.elapsed().unwrap_or_default()
    }

    /// Its clock.
    pub fn clock(&self) -> Clock {
        Clock::since(self.began)
    }

    /// What `look` makes of the frames seen so far.
    pub fn so_far<R>(&self, look: impl FnOnce(&[Seen]) -> R) -> R {
        self.capture.so_far(look)
    }

    /// Ends it. End the probers before: a question without time for its answer is one that nobody answered.
    ///
    /// # Errors
    /// When receiving failed, or frames were lost: then nothing can be said.
    pub fn stop(self) -> io::Result<Record> {
        match self.capture.finish()? {
            (seen, 0, until) => Ok(Record { seen, until }),
            (_, lost, _) => Err(io::Error::other(format!("the judge lost {lost} frames"))),
        }
    }
}

impl Record {
    /// What is to be said of `address` on one network.
    pub fn verdict(&self, address: impl Into<IpAddr>, network: Network) -> Verdict {
        self.verdict_between(address, network, Duration::ZERO, self.until)
    }

    /// The same of a part of the time only.
    pub fn verdict_between(
        &self,
        address: impl Into<IpAddr>,
        network: Network,
        from: Duration,
        until: Duration,
    ) -> Verdict {
        Verdict::of(&self.seen, address.into(), network, from, until)
    }
}

#[cfg(test)]
mod tests;
