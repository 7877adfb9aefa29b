//! What an `L2Advertisement` says: which pools' addresses are announced, from which nodes and interfaces.

mod gaps;

use std::collections::BTreeSet;

use crate::pool::Pool;
use crate::selector::{LabelSelector, Labels, any_or_empty};

pub use gaps::{Effectiveness, Gap};

/// One `L2Advertisement`. Every empty list or set asks for nothing and so matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Advertisement {
    /// `metadata.name`.
    pub name: String,
    /// `spec.ipAddressPools`: pools by name; unknown names are ignored.
    pub pools: BTreeSet<String>,
    /// `spec.ipAddressPoolSelectors`: pools by label; joined with `pools` by OR.
    pub pool_selectors: Vec<LabelSelector>,
    /// `spec.nodeSelectors`: the nodes that may announce.
    pub node_selectors: Vec<LabelSelector>,
    /// `spec.interfaces`: exact names of the links to announce on; empty for all.
    pub interfaces: BTreeSet<String>,
    /// `spec.serviceSelectors`: the Services to which it applies.
    pub service_selectors: Vec<LabelSelector>,
    /// `spec.preferredNodeSelectors`: which nodes are preferred, and how much.
    pub preferences: Vec<Preference>,
}

/// One entry of `spec.preferredNodeSelectors`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Preference {
    /// 1 to 100, added up over all that match a node.
    pub weight: u32,
    /// The nodes meant; the empty selector means all.
    pub selector: LabelSelector,
}

impl Advertisement {
    /// Whether it speaks of `pool`.
    pub fn covers_pool(&self, pool: &Pool) -> bool {
        let all = self.pools.is_empty() && self.pool_selectors.is_empty();
        all || self.pools.contains(&pool.name)
            || self.pool_selectors.iter().any(|selector| selector.matches(&pool.labels))
    }

    /// Whether it speaks of a Service with these labels.
    pub fn covers_service(&self, labels: &Labels) -> bool {
        any_or_empty(&self.service_selectors, labels)
    }

    /// Whether a node with these labels may announce by it.
    pub fn covers_node(&self, labels: &Labels) -> bool {
        any_or_empty(&self.node_selectors, labels)
    }

    /// How much a node with these labels is preferred: the sum of the matching weights.
    pub fn preference(&self, labels: &Labels) -> u32 {
        self.preferences.iter().filter(|p| p.selector.matches(labels)).map(|p| p.weight).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::Requirement;

    fn pool(name: &str, label: &str) -> Pool {
        Pool { name: name.into(), labels: [(label.to_owned(), String::new())].into(), ..Pool::default() }
    }

    fn exists(key: &str) -> LabelSelector {
        LabelSelector { requirements: [Requirement::Exists(key.to_owned())].into() }
    }

    #[test]
    fn pools_by_name_or_by_label_and_all_when_neither_is_given() {
        let named = Advertisement { pools: ["a".to_owned()].into(), ..Advertisement::default() };
        let both = Advertisement { pool_selectors: vec![exists("lan")], ..named.clone() };
        assert!(named.covers_pool(&pool("a", "x")) && !named.covers_pool(&pool("b", "lan")));
        assert!(both.covers_pool(&pool("a", "x")) && both.covers_pool(&pool("b", "lan")));
        assert!(!both.covers_pool(&pool("c", "x")));
        assert!(Advertisement::default().covers_pool(&pool("c", "x")));
    }

    #[test]
    fn matching_weights_add_up() {
        let of = |weight, key: &str| Preference { weight, selector: exists(key) };
        let ad =
            Advertisement { preferences: vec![of(50, "ssd"), of(60, "rack")], ..Advertisement::default() };
        let labels: Labels = [("ssd".to_owned(), String::new()), ("rack".to_owned(), "1".into())].into();
        assert_eq!(ad.preference(&labels), 110);
        assert_eq!(ad.preference(&Labels::new()), 0);
    }
}
