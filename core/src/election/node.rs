//! What the election reads of nodes and endpoints.

use std::net::IpAddr;
use std::sync::Arc;

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
    /// Whether it is on its way out: cordoned (`spec.unschedulable`), or its kubelet says that it shuts down. When its speaker
    /// ends then, its addresses go elsewhere.
    pub going: bool,
    /// Whether its speaker says that traffic would end there (kube-proxy fails): it is elected only if all are.
    pub unfit: bool,
    /// Whether there is a speaker on it, by the speaker's own `ConfigurationState`. Says nothing about who may announce.
    pub speaker: bool,
    /// Whether that speaker says that it has no key for hellos yet, so that nobody can hear it: it owns by the API's order alone.
    pub keyless: bool,
    /// Its addresses (`status.addresses`, internal and external), by which its speaker is reached where frames do not get through.
    pub addresses: Vec<IpAddr>,
}

/// The endpoints of one Service that can take traffic, summed up over its EndpointSlices.
///
/// An endpoint serves when its condition `ready` is missing or true, or else when `serving` is true
/// (discovery/v1), so one that terminates but still serves counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoints {
    /// The nodes (`nodeName`) on which one serves; ascending, each once; `None` where none serves at all, on a known node or
    /// not. Shared, names and list: a cluster has thousands of these and few nodes.
    nodes: Option<Arc<[Arc<str>]>>,
}

impl Endpoints {
    /// Counts one more serving endpoint, on `node` where that is known.
    pub fn add(&mut self, node: Option<Arc<str>>) {
        self.nodes.get_or_insert_default();
        if let Some(node) = node
            && let Err(at) = self.nodes().binary_search(&node)
        {
            let mut nodes = self.nodes().to_vec();
            nodes.insert(at, node);
            self.nodes = Some(nodes.into());
        }
    }

    /// Counts all those of `other` too.
    pub fn merge(&mut self, other: &Endpoints) {
        if self.nodes().is_empty() && other.any() {
            self.nodes.clone_from(&other.nodes);
        } else {
            other.nodes().iter().for_each(|node| self.add(Some(node.clone())));
        }
    }

    /// Whether any endpoint serves, on a known node or not.
    pub fn any(&self) -> bool {
        self.nodes.is_some()
    }

    /// Whether one serves on `node`.
    pub fn serve_on(&self, node: &str) -> bool {
        self.nodes().binary_search_by(|known| (**known).cmp(node)).is_ok()
    }

    /// Whether there is a node on which endpoints of both serve.
    pub fn meet(&self, other: &Endpoints) -> bool {
        self.nodes().iter().any(|node| other.serve_on(node))
    }

    fn nodes(&self) -> &[Arc<str>] {
        self.nodes.as_deref().unwrap_or_default()
    }
}
