//! What is told after the network knows.
//!
//! A node that dies may leave a thousand addresses to this one. A line in the log and a status cost more than the frames
//! that move clients, and what the status makes the API server do takes the processor from everybody on a small machine. So
//! both wait until nothing is due on the wire; and where there are many, until clients have had a moment to ask, too.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ferrolb_core::election::Contest;

use super::reasons::Place;
use super::{Report, names};

/// So many are told at once, before frames are looked at again.
const SOME: usize = 16;

/// More than so many at once wait for [`CALM`].
const MANY: usize = 64;

/// So long after the last of many they begin to be told.
const CALM: Duration = Duration::from_millis(250);

/// When more wait, the first is told at once: they take memory.
const MOST: usize = 4096;

/// Something that happened to an address.
#[derive(Debug)]
pub(super) struct Late {
    pub(super) address: IpAddr,
    pub(super) contest: Arc<Contest>,
    pub(super) what: What,
}

/// What it was.
#[derive(Debug)]
pub(super) enum What {
    /// It is announced, on these links, as this node has this place among those that may.
    Started(Arc<BTreeSet<String>>, Place),
    /// It is announced on other links than before.
    Moved(Arc<BTreeSet<String>>),
    /// It is announced no longer, for this reason.
    Stopped(String),
}

impl Report {
    /// Keeps it for when there is time.
    pub(super) fn put_off(&mut self, late: Late, now: Duration) {
        if self.late.len() >= MOST {
            self.tell_first();
        }
        self.late.push_back(late);
        self.telling = if self.late.len() > MANY { now + CALM } else { now };
    }

    /// When [`tell_some`](Self::tell_some) has something to tell; `None` for never.
    pub(crate) fn telling(&self) -> Option<Duration> {
        (!self.late.is_empty()).then_some(self.telling)
    }

    /// Tells some of what waits, if it is time to.
    pub(crate) fn tell_some(&mut self, now: Duration) {
        for _ in 0..SOME {
            if self.telling().is_none_or(|at| at > now) {
                return;
            }
            self.tell_first();
        }
    }

    /// Tells all that waits.
    pub(super) fn tell_rest(&mut self) {
        while self.tell_first() {}
    }

    fn tell_first(&mut self) -> bool {
        let Some(Late { address, contest, what }) = self.late.pop_front() else { return false };
        let services = names(&contest.services);
        let listed = |links: &BTreeSet<String>| links.iter().cloned().collect::<Vec<_>>().join(", ");
        match what {
            What::Started(links, place) => {
                let why = place.words(contest.order().len());
                tracing::info!(ip = %address, services, interfaces = listed(&links), why, "announcing");
            }
            What::Moved(links) => {
                let interfaces = listed(&links);
                tracing::info!(ip = %address, services, interfaces, "announcing on other interfaces");
            }
            What::Stopped(why) => tracing::info!(ip = %address, services, why, "no longer announcing"),
        }
        contest.services.iter().for_each(|service| self.tell(service));
        true
    }
}
