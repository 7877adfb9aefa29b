//! Addresses that were freed a short while ago.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::pool::Pool;

/// When each address was freed that a Service had until a short while ago.
///
/// Clients, and caches on the way, may still take it for the old Service, so it rests before it is given
/// to another. This is best effort: it is forgotten when another controller takes over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    freed: BTreeMap<IpAddr, Duration>,
}

impl Rest {
    /// `address` was freed at `now`.
    pub fn freed(&mut self, address: IpAddr, now: Duration) {
        self.freed.insert(address, now);
    }

    /// Forgets what has rested for longer than any of `pools` asks.
    pub fn forget<'a>(&mut self, now: Duration, pools: impl IntoIterator<Item = &'a Pool>) {
        if !self.freed.is_empty() {
            let longest = pools.into_iter().map(|pool| pool.reuse_delay).max().unwrap_or_default();
            self.freed.retain(|_, since| now.saturating_sub(*since) < longest);
        }
    }

    /// All that may still rest, and since when.
    pub fn all(&self) -> &BTreeMap<IpAddr, Duration> {
        &self.freed
    }
}
