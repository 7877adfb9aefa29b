//! Clients that connect to addresses again and again, all the while.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::judge::{Attempts, Clock, Connector, Gap};
use crate::lab::network::CLIENTS;
use crate::lab::{Lab, LabError};

/// Each client begins a connection to each of its addresses once in so long.
const EVERY: Duration = Duration::from_millis(10);

/// Clients at work. Each address has one client, by turns.
#[derive(Debug)]
pub struct Traffic {
    connectors: Vec<(Line, Connector)>,
}

/// A client and an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Who connects.
    pub client: &'static str,
    /// To what.
    pub address: IpAddr,
}

/// What the clients saw, each address by itself.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Who connects to what, and what became of it.
    pub attempts: Vec<(Line, Attempts)>,
}

/// What came of the attempts of some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// So many were begun.
    pub attempts: usize,
    /// So many of them failed.
    pub failed: usize,
    /// The longest time in which none came about to one of the addresses.
    pub longest: Duration,
}

impl Traffic {
    /// Begins to connect to port 80 of `addresses`.
    ///
    /// # Errors
    /// When a client cannot be entered.
    pub fn begin(lab: &Lab, addresses: &[IpAddr], clock: Clock) -> Result<Self, LabError> {
        let mut connectors = Vec::new();
        for (address, client) in addresses.iter().zip(CLIENTS.iter().cycle()) {
            let to = SocketAddr::new(*address, 80);
            let line = Line { client, address: *address };
            connectors.push((line, Connector::start(&lab.host(client)?, to, EVERY, clock)));
        }
        Ok(Traffic { connectors })
    }

    /// Ends it.
    ///
    /// # Errors
    /// When a client failed.
    pub fn end(self) -> Result<Seen, LabError> {
        let stopped = self.connectors.into_iter().map(|(line, connector)| {
            let attempts = connector.stop().map_err(|error| LabError::program("connecting", error))?;
            Ok((line, attempts))
        });
        Ok(Seen { attempts: stopped.collect::<Result<_, LabError>>()? })
    }
}

impl Seen {
    /// Each line by itself, of the time between, without the clients that were off then themselves.
    pub fn gaps(&self, from: Duration, until: Duration, off: &BTreeSet<&str>) -> Vec<(Line, Gap)> {
        let on = self.attempts.iter().filter(|(line, _)| !off.contains(line.client));
        let gap = |(line, attempts): &(Line, Attempts)| {
            let all = &attempts.0;
            let first = all.partition_point(|attempt| attempt.at < from);
            let last = all.partition_point(|attempt| attempt.at < until);
            (*line, Attempts(all[first..last.max(first)].to_vec()).gap(from))
        };
        on.map(gap).collect()
    }

    /// All of them together.
    pub fn between(&self, from: Duration, until: Duration, off: &BTreeSet<&str>) -> Share {
        let mut share = Share::default();
        for (_, gap) in self.gaps(from, until, off) {
            share.attempts += gap.attempts;
            share.failed += gap.failed;
            share.longest = share.longest.max(gap.longest);
        }
        share
    }
}

impl Share {
    /// The share of the attempts that came about, in 100; `None` where there were none.
    pub fn available(&self) -> Option<f64> {
        let good = self.attempts.saturating_sub(self.failed);
        (self.attempts > 0).then(|| 100.0 * good as f64 / self.attempts as f64)
    }

    /// With those of another time.
    #[must_use]
    pub fn and(self, other: Share) -> Share {
        Share {
            attempts: self.attempts + other.attempts,
            failed: self.failed + other.failed,
            longest: self.longest.max(other.longest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Attempt;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn line(client: &'static str) -> Line {
        Line { client, address: IpAddr::from([10, 10, 0, 1]) }
    }

    /// Attempts each 10 ms, of which those in `failed` fail.
    fn attempts(failed: std::ops::Range<u64>) -> Attempts {
        let attempt = |n: u64| Attempt { at: ms(n * 10), took: (!failed.contains(&n)).then_some(ms(1)) };
        Attempts((0..100).map(attempt).collect())
    }

    #[test]
    fn a_time_is_cut_out_and_clients_that_are_off_are_left_out() {
        let seen =
            Seen { attempts: vec![(line("client1"), attempts(10..20)), (line("client2"), attempts(50..80))] };
        let all = seen.between(ms(0), ms(1_000), &BTreeSet::new());
        assert_eq!(all, Share { attempts: 200, failed: 40, longest: ms(301) });
        assert_eq!(all.available(), Some(80.0));
        let first = seen.between(ms(0), ms(500), &BTreeSet::new());
        assert_eq!(first, Share { attempts: 100, failed: 10, longest: ms(101) });
        let off = seen.between(ms(0), ms(1_000), &["client2"].into());
        assert_eq!(off, Share { attempts: 100, failed: 10, longest: ms(101) });
        assert_eq!(seen.between(ms(2_000), ms(3_000), &BTreeSet::new()).available(), None);
        assert_eq!(first.and(off).attempts, 200);
    }
}
