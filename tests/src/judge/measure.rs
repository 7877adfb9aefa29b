//! Figures of a verdict, and of many addresses at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::verdict::{Role, role};
use super::{Seen, Verdict};
use crate::bench::report::percentile;
use crate::host::Mac;
use crate::lab::network::Network;

/// How exactly a prober asked: how far the times between its questions were from what they were to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// The median.
    pub p50: Duration,
    /// The error that one in a hundred exceeds.
    pub p99: Duration,
    /// The greatest.
    pub max: Duration,
}

/// When an address was first seen at another host than before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakeOver {
    /// The first frame that announced it.
    pub announced: Option<Duration>,
    /// The first answer.
    pub answered: Option<Duration>,
}

impl Verdict {
    /// The MAC addresses that were given for the address.
    pub fn macs(&self) -> BTreeSet<Mac> {
        self.owners().into_iter().map(|owner| owner.mac).collect()
    }

    /// How long two answered with different MAC addresses, and the hosts that did. One who stands in for another and
    /// gives its MAC address is no double answer: no cache changes.
    pub fn double_answers(&self) -> (Duration, BTreeSet<&str>) {
        let mut hosts = BTreeSet::new();
        let mut time = Duration::ZERO;
        for overlap in &self.overlaps {
            let macs: BTreeSet<Mac> = overlap.owners.iter().map(|owner| owner.mac).collect();
            if macs.len() > 1 {
                time += overlap.to.saturating_sub(overlap.from);
                hosts.extend(overlap.owners.iter().map(|owner| owner.host.as_str()));
            }
        }
        (time, hosts)
    }

    /// How often `host` claimed the address from `since` on: by an answer, and by an announcement.
    pub fn claims_of(&self, host: &str, since: Duration) -> (usize, usize) {
        let answers = self.questions.iter().flat_map(|question| &question.answers);
        let answers = answers.filter(|(at, owner)| *at >= since && owner.host == host).count();
        let said = self.announcements.iter().filter(|said| said.at >= since && said.owner.host == host);
        (answers, said.count())
    }

    /// How exactly was asked, of a prober that was to ask once in each period of `every`. Of several askers there is
    /// no such figure: it is that of the first.
    pub fn pace(&self, every: Duration) -> Pace {
        let asker = self.questions.first().map(|question| question.asker);
        let times: Vec<Duration> = self
            .questions
            .iter()
            .filter(|question| Some(question.asker) == asker)
            .map(|question| question.at)
            .collect();
        let errors: Vec<Duration> =
            times.windows(2).map(|pair| pair[1].saturating_sub(pair[0]).abs_diff(every)).collect();
        Pace { p50: percentile(&errors, 50), p99: percentile(&errors, 99), max: percentile(&errors, 100) }
    }

    /// How often the address changed hands, by who had it alone.
    pub fn moves(&self) -> usize {
        self.holders().len().saturating_sub(1)
    }

    /// The host that alone answered, if at least `least` questions were asked and no silence was longer than a busy machine
    /// makes one. A single question that goes unanswered is none: a frame may be lost, and an answer that comes after
    /// the next question counts as that one's.
    pub fn calm(&self, least: usize) -> Option<&str> {
        /// Twenty questions.
        const BUSY: Duration = Duration::from_millis(100);
        let owners = self.owners();
        let [one] = owners.as_slice() else { return None };
        let enough = self.questions.len() >= least && self.longest_silence <= BUSY;
        self.questions
            .iter()
            .flat_map(|question| &question.answers)
            .find(|(_, owner)| enough && owner == one)
            .map(|(_, owner)| owner.host.as_str())
    }
}

/// Follows how addresses are taken over by other hosts than one.
#[derive(Clone, Debug)]
pub struct TakeOvers {
    network: Network,
    before: String,
    since: Duration,
    found: BTreeMap<IpAddr, TakeOver>,
    /// So many frames were looked at.
    read: usize,
}

impl TakeOvers {
    /// Of `addresses` in `network`, by other hosts than `before`, from `since` on.
    pub fn new(
        network: Network,
        addresses: impl IntoIterator<Item = IpAddr>,
        before: &str,
        since: Duration,
    ) -> Self {
        let found = addresses.into_iter().map(|address| (address, TakeOver::default())).collect();
        TakeOvers { network, before: before.to_owned(), since, found, read: 0 }
    }

    /// Looks at those of `seen` that are new since the last time. Links are read side by side, so frames are in order but for
    /// less than a second.
    pub fn go_on(&mut self, seen: &[Seen]) {
        if self.read == 0 {
            self.read = seen.partition_point(|seen| seen.frame.at() + Duration::from_secs(1) < self.since);
        }
        let new = seen.get(self.read..).unwrap_or_default();
        self.read += new.len();
        let of_others = new.iter().filter(|seen| {
            seen.port.network == self.network
                && seen.port.host != self.before
                && seen.frame.at() >= self.since
        });
        for seen in of_others {
            let Some((_, address)) = seen.frame.claimed() else { continue };
            let Some(take_over) = self.found.get_mut(&address) else { continue };
            let first = match role(&seen.frame, address) {
                Some(Role::Announcement { .. }) => &mut take_over.announced,
                Some(Role::Answer { .. }) => &mut take_over.answered,
                _ => continue,
            };
            let at = seen.frame.at();
            *first = Some(first.map_or(at, |before| before.min(at)));
        }
    }

    /// For each address: when it was first announced, and first answered for.
    pub fn found(&self) -> &BTreeMap<IpAddr, TakeOver> {
        &self.found
    }
}
