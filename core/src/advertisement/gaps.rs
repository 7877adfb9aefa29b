//! What an advertisement asks for that is not there: a name that is misspelled, a label that nothing bears.

use std::collections::BTreeMap;

use crate::pool::Pool;
use crate::quote::Quoted;
use crate::selector::Labels;

use super::Advertisement;

/// A part of an advertisement that matches nothing, in words that say what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Gap {
    /// A pool that does not exist.
    #[error(
        "spec.ipAddressPools: there is no IPAddressPool {}: create it, or correct the name",
        Quoted(.0)
    )]
    NoSuchPool(String),
    /// A pool that cannot be used itself.
    #[error("spec.ipAddressPools: IPAddressPool {} is not used: its conditions say why", Quoted(.0))]
    UnusedPool(String),
    /// A selector of pools, by its place in the list, from 0.
    #[error(
        "spec.ipAddressPoolSelectors[{0}] matches no IPAddressPool that is used: correct it, or label the pools that are \
         meant"
    )]
    PoolSelector(usize),
    /// A selector of nodes, by its place in the list, from 0.
    #[error("spec.nodeSelectors[{0}] matches no node: correct it, or label the nodes that are to announce")]
    NodeSelector(usize),
    /// A preference, by its place in the list, from 0.
    #[error(
        "spec.preferredNodeSelectors[{0}].preference matches no node: correct it, or label the nodes that are preferred"
    )]
    Preference(usize),
}

/// What an advertisement comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effectiveness {
    /// Whether it speaks of any pool. One that means all pools does, also while there is none.
    pub has_pools: bool,
    /// Whether any node may announce by it. One that means all nodes may, also while there is none.
    pub has_nodes: bool,
    /// Its parts that match nothing, in the order of its fields.
    pub gaps: Vec<Gap>,
}

impl Advertisement {
    /// What it comes to with these pools and nodes. `pools` are those that are used; `exists` says whether there is a pool of
    /// that name at all. Services are not looked at: those that it is for may be still to come. Nor are links, which
    /// only their nodes know.
    ///
    /// 1. Pools by name.
    /// 2. Pools by label.
    /// 3. Nodes by label.
    /// 4. Preferred nodes by label.
    pub fn effectiveness<'a>(
        &self,
        pools: &BTreeMap<String, Pool>,
        exists: impl Fn(&str) -> bool,
        nodes: impl Iterator<Item = &'a Labels> + Clone,
    ) -> Effectiveness {
        let mut gaps = Vec::new();
        for name in self.pools.iter().filter(|name| !pools.contains_key(*name)) {
            let gap = if exists(name) { Gap::UnusedPool } else { Gap::NoSuchPool };
            gaps.push(gap(name.clone()));
        }
        for (index, selector) in self.pool_selectors.iter().enumerate() {
            if !pools.values().any(|pool| selector.matches(&pool.labels)) {
                gaps.push(Gap::PoolSelector(index));
            }
        }
        for (index, selector) in self.node_selectors.iter().enumerate() {
            if !nodes.clone().any(|labels| selector.matches(labels)) {
                gaps.push(Gap::NodeSelector(index));
            }
        }
        for (index, preference) in self.preferences.iter().enumerate() {
            if !nodes.clone().any(|labels| preference.selector.matches(labels)) {
                gaps.push(Gap::Preference(index));
            }
        }
        let all_pools = self.pools.is_empty() && self.pool_selectors.is_empty();
        Effectiveness {
            has_pools: all_pools || pools.values().any(|pool| self.covers_pool(pool)),
            has_nodes: self.node_selectors.is_empty() || nodes.clone().any(|labels| self.covers_node(labels)),
            gaps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advertisement::Preference;
    use crate::selector::{LabelSelector, Requirement};

    fn labels(key: &str) -> Labels {
        [(key.to_owned(), String::new())].into()
    }

    fn exists(key: &str) -> LabelSelector {
        LabelSelector { requirements: [Requirement::Exists(key.to_owned())].into() }
    }

    /// With the pool `lan` (labelled `lan`), the pool `broken` that cannot be used, and a node labelled `rack`.
    fn looked_at(advertisement: &Advertisement) -> Effectiveness {
        let pool = Pool { name: "lan".to_owned(), labels: labels("lan"), ..Pool::default() };
        let nodes = [labels("rack")];
        let pools = [("lan".to_owned(), pool)].into();
        advertisement.effectiveness(&pools, |name| ["lan", "broken"].contains(&name), nodes.iter())
    }

    fn named(pools: &[&str]) -> Advertisement {
        let pools = pools.iter().map(|name| (*name).to_owned()).collect();
        Advertisement { pools, ..Advertisement::default() }
    }

    #[test]
    fn what_matches_has_no_gap() {
        let whole = Advertisement {
            pool_selectors: vec![exists("lan")],
            node_selectors: vec![exists("rack")],
            preferences: vec![Preference { weight: 1, selector: exists("rack") }],
            ..named(&["lan"])
        };
        for fine in [Advertisement::default(), named(&["lan"]), whole] {
            let expected = Effectiveness { has_pools: true, has_nodes: true, gaps: Vec::new() };
            assert_eq!(looked_at(&fine), expected);
        }
        // All that there is, is meant; that there is nothing yet is no mistake.
        let nothing = Advertisement::default().effectiveness(&BTreeMap::new(), |_| false, [].iter());
        assert!(nothing.has_pools && nothing.has_nodes && nothing.gaps.is_empty());
    }

    #[test]
    fn each_part_that_matches_nothing_is_named() {
        let found = looked_at(&named(&["broken", "lam"]));
        assert!(!found.has_pools && found.has_nodes);
        assert_eq!(found.gaps, [Gap::UnusedPool("broken".into()), Gap::NoSuchPool("lam".into())]);
        let found = looked_at(&Advertisement {
            pool_selectors: vec![exists("lan"), exists("wan")],
            node_selectors: vec![exists("ssd"), exists("gpu")],
            preferences: vec![Preference { weight: 1, selector: exists("ssd") }],
            ..Advertisement::default()
        });
        assert!(found.has_pools && !found.has_nodes);
        let expected = [Gap::PoolSelector(1), Gap::NodeSelector(0), Gap::NodeSelector(1), Gap::Preference(0)];
        assert_eq!(found.gaps, expected);
        // One that works is enough.
        let found = looked_at(&named(&["lam", "lan"]));
        assert!(found.has_pools && found.gaps == [Gap::NoSuchPool("lam".into())]);
    }

    #[test]
    fn the_words_say_what_to_change() {
        let words = Gap::NoSuchPool("lam".into()).to_string();
        assert_eq!(
            words,
            "spec.ipAddressPools: there is no IPAddressPool \"lam\": create it, or correct the name"
        );
        let words = Gap::NodeSelector(2).to_string();
        assert!(words.starts_with("spec.nodeSelectors[2] matches no node: correct it"), "{words}");
    }
}
