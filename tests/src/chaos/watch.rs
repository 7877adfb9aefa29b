//! Eyes on an address: the judge at the switch, one who asks, one who connects, and those who stay connected.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::judge::{Attempts, Clock, Connector, Fates, Held, Judge, Pace, Prober, Record, Seen, Verdict};
use crate::lab::network::Network;
use crate::lab::{Lab, LabError};

/// Who asks by frames. Its kernel's table is kept fresh by the answers, so it is not the one that connects.
pub const ASKER: &str = "client2";

/// Who connects. The nodes have it as their gateway.
pub const CONNECTS: &str = "client1";

/// Watches an address.
#[derive(Debug)]
pub struct Watch {
    judge: Judge,
    prober: Prober,
    connector: Connector,
    held: Option<Held>,
    address: IpAddr,
}

/// What a watch saw.
#[derive(Clone, Debug)]
pub struct Watched {
    /// All frames.
    pub record: Record,
    /// The new connections.
    pub attempts: Attempts,
    /// The ones that were held, if there were any.
    pub fates: Option<Fates>,
    /// How exactly was asked.
    pub pace: Pace,
    address: IpAddr,
}

impl Watch {
    /// Begins to watch `address`, with so many connections to its port 80 that stay open.
    ///
    /// # Errors
    /// When the switch or a client cannot be entered, or a connection that is to be held does not come about.
    pub fn begin(lab: &Lab, address: IpAddr, held: usize) -> Result<Self, LabError> {
        let to = SocketAddr::new(address, 80);
        let (asker, connects) = (lab.host(ASKER)?, lab.host(CONNECTS)?);
        let held = match held {
            0 => None,
            count => Some(Held::open(&connects, to, count).map_err(on_wire("opening connections"))?),
        };
        let judge = Judge::watch(lab)?;
        let connector = Connector::start(&connects, to, Connector::EVERY, judge.clock());
        let prober = Prober::start(&asker, Network::Lan, address, Prober::EVERY);
        let prober = prober.map_err(on_wire("asking"))?;
        Ok(Watch { judge, prober, connector, held, address })
    }

    /// Its clock.
    pub fn clock(&self) -> Clock {
        self.judge.clock()
    }

    /// The verdict on the time from `from` until now.
    pub fn verdict_since(&self, from: Duration) -> Verdict {
        let now = self.clock().now();
        self.judge.so_far(|seen: &[Seen]| {
            // Frames come nearly in order; what is older by a second need not be looked at.
            let first = seen.partition_point(|seen| seen.frame.at() + Duration::from_secs(1) < from);
            Verdict::of(&seen[first..], self.address, Network::Lan, from, now)
        })
    }

    /// The node that alone answered in the last `span`, without a silence, while each new connection came about.
    ///
    /// # Errors
    /// How things stand, while it is not so.
    pub fn calm_for(&self, span: Duration) -> Result<String, String> {
        self.mostly_for(span, 1.0)
    }

    /// The same, when at least this share of the new connections came about.
    ///
    /// # Errors
    /// How things stand, while it is not so.
    pub fn mostly_for(&self, span: Duration, share: f64) -> Result<String, String> {
        let from = self.clock().now().checked_sub(span).ok_or("the watch has just begun")?;
        let verdict = self.verdict_since(from);
        // A machine that is busy asks more seldom.
        let least = span.as_millis() / Prober::EVERY.as_millis() / 2;
        let owner = verdict.calm(usize::try_from(least).unwrap_or_default()).map(str::to_owned);
        let owner = owner.ok_or_else(|| verdict.to_string())?;
        let gap = self.connector.so_far().gap(from);
        // The latest attempts may be under way still.
        let least = span.as_millis() / Connector::EVERY.as_millis() / 4;
        let good = gap.attempts.saturating_sub(gap.failed) as f64 >= gap.attempts as f64 * share;
        if gap.attempts as u128 >= least && good {
            Ok(owner)
        } else {
            Err(format!("{owner} answers, but of {} connections {} failed", gap.attempts, gap.failed))
        }
    }

    /// What became of the connections that are held so far.
    pub fn fates(&self) -> Fates {
        self.held.as_ref().map(Held::so_far).unwrap_or_default()
    }

    /// Ends it.
    ///
    /// # Errors
    /// When a part of it failed, or the judge lost frames.
    pub fn end(self) -> Result<Watched, LabError> {
        let attempts = self.connector.stop().map_err(on_wire("connecting"))?;
        let fates = self.held.map(Held::stop).transpose().map_err(on_wire("holding connections"))?;
        self.prober.stop().map_err(on_wire("asking"))?;
        let record = self.judge.stop().map_err(on_wire("judging"))?;
        let pace = record.verdict(self.address, Network::Lan).pace(Prober::EVERY);
        Ok(Watched { record, attempts, fates, pace, address: self.address })
    }
}

impl Watched {
    /// The verdict on the time from `from` to the end.
    pub fn verdict_since(&self, from: Duration) -> Verdict {
        self.record.verdict_between(self.address, Network::Lan, from, self.record.until)
    }
}

fn on_wire(what: &str) -> impl FnOnce(std::io::Error) -> LabError {
    let what = what.to_owned();
    move |error| LabError::Program { program: what, why: error.to_string() }
}
