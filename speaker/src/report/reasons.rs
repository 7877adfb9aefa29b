//! Why it is this node that announces an address, in words for an operator and in one for metrics.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use ferrolb_core::ownership::Hindrance;
use ferrolb_core::speaker::Speaker;

/// So many nodes are named.
const NAMED: usize = 3;

/// The nodes that the API names before this one, each with what keeps it from answering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    before: Box<[(Arc<str>, Hindrance)]>,
}

impl Place {
    /// That of the speaker's node for an address that it announces.
    pub(super) fn of(address: IpAddr, speaker: &Speaker) -> Self {
        let link = speaker.links_of(address).into_iter().next();
        let before = link.map(|link| speaker.before(link, address)).unwrap_or_default();
        Place { before: before.into() }
    }

    /// What keeps the one just before this node; where there is none, this node is the first.
    pub(super) fn label(&self) -> &'static str {
        self.before.last().map_or("first_in_order", |(_, why)| why.label())
    }

    /// Why, where so many nodes may.
    pub(super) fn words(&self, nodes: usize) -> String {
        if self.before.is_empty() {
            return format!("first of {nodes} nodes that may");
        }
        let mut words = format!("place {} of {nodes} nodes that may: ", self.before.len() + 1);
        for (index, (node, why)) in self.before.iter().take(NAMED).enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            // Writing to a String cannot fail.
            let _ = write!(words, "{comma}{node} {why}");
        }
        if self.before.len() > NAMED {
            let _ = write!(words, ", and so on");
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(before: &[(&str, Hindrance)]) -> Place {
        Place { before: before.iter().map(|(node, why)| (Arc::from(*node), *why)).collect() }
    }

    #[test]
    fn the_reason_names_who_comes_first_and_what_keeps_it() {
        let first = place(&[]);
        assert_eq!((first.words(3).as_str(), first.label()), ("first of 3 nodes that may", "first_in_order"));
        let third = place(&[("node1", Hindrance::Leaving), ("node2", Hindrance::Unheard)]);
        assert_eq!(third.words(3), "place 3 of 3 nodes that may: node1 is leaving, node2 is not heard");
        assert_eq!(third.label(), "unheard");
        let fifth = place(&["a", "b", "c", "d"].map(|node| (node, Hindrance::Unheard)));
        let words = "place 5 of 9 nodes that may: a is not heard, b is not heard, c is not heard, and so on";
        assert_eq!(fifth.words(9), words);
    }
}
