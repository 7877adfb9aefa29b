//! Nodes that should be heard and are not, as it is told to operators.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ferrolb_core::announce::LinkIndex;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(1);

/// A node that is silent for so long is told. Longer than a speaker takes to be replaced, shorter than a dead node stays `Ready`.
const PATIENCE: Duration = Duration::from_secs(30);

/// So many nodes are named.
const NAMED: usize = 10;

/// Since when which nodes are not heard.
#[derive(Debug, Default)]
pub(super) struct Unheard {
    since: BTreeMap<(LinkIndex, Arc<str>), Duration>,
    /// Those that were told.
    told: BTreeSet<(LinkIndex, Arc<str>)>,
    looked: Option<Duration>,
}

/// What is to be told of one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// These are not heard, for a while.
    Began(LinkIndex, Vec<Arc<str>>),
    /// All that were not heard are, or are no longer to be.
    Ended(LinkIndex),
}

impl Unheard {
    /// Whether it is time to look.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        let due = self.looked.is_none_or(|looked| looked + EVERY <= now);
        if due {
            self.looked = Some(now);
        }
        due
    }

    /// These are not heard now; returns what is news, by link: that there are more than were told, or none any more.
    pub(super) fn look(&mut self, unheard: BTreeSet<(LinkIndex, Arc<str>)>, now: Duration) -> Vec<Silence> {
        self.since.retain(|key, _| unheard.contains(key));
        unheard.into_iter().for_each(|key| {
            self.since.entry(key).or_insert(now);
        });
        let long = |since: &Duration| *since + PATIENCE <= now;
        let now_so: BTreeSet<_> =
            self.since.iter().filter(|(_, since)| long(since)).map(|(key, _)| key.clone()).collect();
        let before = std::mem::replace(&mut self.told, now_so);
        let links: BTreeSet<LinkIndex> = before.iter().chain(&self.told).map(|(link, _)| *link).collect();
        let of = |link: LinkIndex| {
            let mine = |all: &BTreeSet<(LinkIndex, Arc<str>)>| -> Vec<Arc<str>> {
                all.iter().filter(|(of, _)| *of == link).map(|(_, node)| node.clone()).collect()
            };
            let (was, is) = (mine(&before), mine(&self.told));
            if is.is_empty() {
                return Some(Silence::Ended(link));
            }
            is.iter().any(|node| !was.contains(node)).then_some(Silence::Began(link, is))
        };
        links.into_iter().filter_map(of).collect()
    }
}

/// In words, for an operator.
pub(super) fn words(nodes: &[Arc<str>], interface: &str) -> String {
    let named: Vec<&str> = nodes.iter().take(NAMED).map(|node| &**node).collect();
    let more = nodes.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(
        "no hello of the speaker on {}{more} comes in on {interface}, neither by Ethernet (EtherType 0x88b5) nor by UDP, for {} s: \
         let the switch and the nodes' firewalls pass one of them; while a node is not heard, others may answer for its addresses too",
        named.join(", "),
        PATIENCE.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAN: LinkIndex = LinkIndex(2);

    fn these(names: &[&str]) -> BTreeSet<(LinkIndex, Arc<str>)> {
        names.iter().map(|name| (LAN, Arc::from(*name))).collect()
    }

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_silence_is_told_once_when_it_lasts_and_once_when_it_ends() {
        let mut unheard = Unheard::default();
        assert_eq!(unheard.look(these(&["b"]), s(0)), []);
        assert_eq!(unheard.look(these(&["b"]), s(29)), []);
        assert_eq!(unheard.look(these(&["b"]), s(30)), [Silence::Began(LAN, vec!["b".into()])]);
        assert_eq!(unheard.look(these(&["b", "c"]), s(31)), []);
        assert_eq!(
            unheard.look(these(&["b", "c"]), s(61)),
            [Silence::Began(LAN, vec!["b".into(), "c".into()])]
        );
        assert_eq!(unheard.look(these(&["c"]), s(62)), [], "fewer is no news");
        assert_eq!(unheard.look(these(&[]), s(63)), [Silence::Ended(LAN)]);
        assert_eq!(unheard.look(these(&[]), s(64)), []);
    }

    #[test]
    fn a_short_silence_is_none() {
        let mut unheard = Unheard::default();
        for second in 0..100 {
            let names: &[&str] = if second % 20 == 19 { &[] } else { &["b"] };
            assert_eq!(unheard.look(these(names), s(second)), [], "at {second}");
        }
    }

    #[test]
    fn not_all_of_very_many_are_named() {
        let nodes: Vec<Arc<str>> = (0..30).map(|n| format!("n{n:02}").into()).collect();
        assert!(
            words(&nodes, "eth0").contains("n09 and 20 more comes in on eth0"),
            "{}",
            words(&nodes, "eth0")
        );
    }
}
