//! What the election reads of nodes and endpoints.

use std::collections::BTreeSet;

use crate::selector::Labels;

/// A node of the cluster, as far as announcing is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// `metadata.name`; part of what is hashed.
    pub name: String,
    /// `metadata.labels`, for `nodeSelectors` and `preferredNodeSelectors` of an `L2Advertisement`.
    pub labels: Labels,
    /// Whether the condition `Ready` is `True`.
    pub ready: bool,
    /// Whether the condition `NetworkUnavailable` is anything but `True`; a missing one counts as available.
    pub network_available: bool,
    /// Whether the label `node.kubernetes.io/exclude-from-external-load-balancers` is there, with any value.
    pub excluded: bool,
}

/// The endpoints of one Service that can take traffic, summed up over its EndpointSlices.
///
/// An endpoint serves when its condition `ready` is missing or true, or else when `serving` is true
/// (discovery/v1), so one that terminates but still serves counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Whether any endpoint serves, on a known node or not.
    pub any: bool,
    /// The nodes (`nodeName`) on which one serves.
    pub nodes: BTreeSet<String>,
}

impl Endpoints {
    /// Counts one more serving endpoint, on `node` where that is known.
    pub fn add(&mut self, node: Option<&str>) {
        self.any = true;
        self.nodes.extend(node.map(str::to_owned));
    }
}
