//! Addresses that were freed a short while ago.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::pool::Pool;
use crate::service::ServiceKey;

/// When each address was freed that a Service had until a short while ago.
///
/// Clients, and caches on the way, may still take it for the old Service, so it rests before it is given
/// to another; the one that had it gets it back at once. This is best effort: it is forgotten when another controller takes over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    freed: BTreeMap<IpAddr, (Duration, Option<ServiceKey>)>,
}

impl Rest {
    /// `address` was freed at `now` by `service`, which goes on; by `None` if it is gone.
    pub fn freed(&mut self, address: IpAddr, service: Option<&ServiceKey>, now: Duration) {
        self.freed.insert(address, (now, service.cloned()));
    }

    /// The Service is gone: a later one of its name is another one.
    pub fn gone(&mut self, service: &ServiceKey) {
        for (_, had) in self.freed.values_mut() {
            had.take_if(|had| had == service);
        }
    }

    /// Forgets what has rested for longer than any of `pools` asks.
    pub fn forget<'a>(&mut self, now: Duration, pools: impl IntoIterator<Item = &'a Pool>) {
        if !self.freed.is_empty() {
            let longest = pools.into_iter().map(|pool| pool.reuse_delay).max().unwrap_or_default();
            self.freed.retain(|_, (since, _)| now.saturating_sub(*since) < longest);
        }
    }

    /// All that may still rest: since when, and who had it and is still there.
    pub fn all(&self) -> &BTreeMap<IpAddr, (Duration, Option<ServiceKey>)> {
        &self.freed
    }
}
