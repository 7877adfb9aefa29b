//! How often an address is announced again because another node announces it too.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use super::Key;
use crate::announce::LinkIndex;

/// The least time between two announcements of one address against a rival.
pub const RIVAL_SPACING: Duration = Duration::from_millis(100);

/// The most announcements against rivals in a [`RIVAL_WINDOW`].
pub const RIVAL_BURST: usize = 100;

/// The time in which there are at most [`RIVAL_BURST`].
pub const RIVAL_WINDOW: Duration = Duration::from_secs(1);

/// The announcements against rivals that are to be sent, and the last ones that were.
#[derive(Clone, Debug, Default)]
pub(super) struct Rivals {
    /// From when on each may be sent, as far as its own address is concerned. Ordered by that, so that under a lasting
    /// flood each address has its turn.
    ready: BTreeSet<(Duration, LinkIndex, IpAddr)>,
    at: BTreeMap<Key, Duration>,
    /// What was sent, latest last; at most [`RIVAL_BURST`].
    sent: VecDeque<(Duration, Key)>,
}

impl Rivals {
    /// Has an address announced again. False where that is to be done anyway.
    pub(super) fn want(&mut self, key: Key, now: Duration) -> bool {
        if self.at.contains_key(&key) {
            return false;
        }
        let recent = self.sent.iter().rev().take_while(|(at, _)| *at + RIVAL_SPACING > now);
        let last = recent.filter(|(_, sent)| *sent == key).map(|(at, _)| *at).next();
        let at = last.map_or(now, |last| last + RIVAL_SPACING);
        self.at.insert(key, at);
        self.ready.insert((at, key.0, key.1));
        true
    }

    /// The next address to announce at `now`, if there is one.
    pub(super) fn pop(&mut self, now: Duration) -> Option<Key> {
        if self.deadline()? > now {
            return None;
        }
        let (_, link, address) = self.ready.pop_first()?;
        self.at.remove(&(link, address));
        if self.sent.len() == RIVAL_BURST {
            self.sent.pop_front();
        }
        self.sent.push_back((now, (link, address)));
        Some((link, address))
    }

    /// When the next one may be sent.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let (ready, ..) = *self.ready.first()?;
        let first = self.sent.front().filter(|_| self.sent.len() == RIVAL_BURST);
        Some(first.map_or(ready, |(at, _)| ready.max(*at + RIVAL_WINDOW)))
    }

    pub(super) fn forget(&mut self, key: Key) {
        if let Some(at) = self.at.remove(&key) {
            self.ready.remove(&(at, key.0, key.1));
        }
    }
}
