//! All that checks look at: a [`Look`], and what only they ask for. What could not be read is `None`, with a sentence in
//! [`Look::unread`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrolb_core::net::AddressRange;
use ferrolb_crds::admin::Answer;
use k8s_openapi::jiff::Timestamp;

use super::rights::Right;
use crate::look::Look;
use crate::migrate::Named;

/// What is known.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// What the other commands look at too.
    pub look: Look,
    /// Major and minor version of the API server.
    pub server: Option<(u32, u32)>,
    /// The API server's time, as it told with its version; and so to the second.
    pub time: Option<Timestamp>,
    /// The definitions of metallb.io that are there.
    pub definitions: Option<Vec<Definition>>,
    /// Webhooks that are called for objects of metallb.io.
    pub webhooks: Option<Vec<Hook>>,
    /// FerroLB's ValidatingAdmissionPolicies, and those of them that are bound.
    pub policies: Option<(BTreeSet<String>, BTreeSet<String>)>,
    /// The labels of FerroLB's namespace; `None` inside if it is not there.
    pub namespace: Option<Option<BTreeMap<String, String>>>,
    /// What FerroLB's ServiceAccounts need.
    pub rights: Option<Vec<Right>>,
    /// Whether the Secret with the keys of the hellos is there. Nobody looks into it.
    pub key: Option<bool>,
    /// The Lease of the controllers; `None` inside if there is none.
    pub lease: Option<Option<Lease>>,
    /// When each node's kubelet said last that it lives, by its own clock.
    pub heartbeats: BTreeMap<String, Timestamp>,
    /// Ranges of the pods' addresses, and whose they are.
    pub pod_ranges: Vec<NamedRange>,
    /// Ranges of cluster IPs.
    pub service_ranges: Vec<NamedRange>,
    /// How kube-proxy is configured, where its ConfigMap is there.
    pub proxy: Option<ProxyConfig>,
    /// Ports of hosts that pods other than FerroLB's take, on the host's network.
    pub host_ports: Option<Vec<HostPort>>,
    /// Other load balancers for bare metal.
    pub rivals: Option<Vec<Rival>>,
    /// Pools and advertisements in other namespaces, which nobody reads.
    pub elsewhere: Vec<Named>,
    /// Objects for BGP, of which nothing follows.
    pub bgp: Vec<Named>,
    /// Who answered to a probe, by the node that asked; `None` where none was asked for.
    pub answers: Option<BTreeMap<String, Result<Vec<Answer>, String>>>,
}

/// A definition of metallb.io.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definition {
    /// Its plural.
    pub plural: String,
    /// The versions that are served.
    pub served: Vec<String>,
    /// Whether versions are converted by a webhook.
    pub webhook: bool,
    /// Whether the API server serves it.
    pub established: bool,
    /// Whether it is FerroLB's, of this version or near.
    pub ours: bool,
}

/// A webhook for objects of metallb.io.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hook {
    /// Kind and name of its configuration.
    pub configuration: String,
    /// The Service that is called, as `namespace/name`.
    pub service: String,
}

/// Who of the controllers leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// Who; empty for nobody.
    pub holder: String,
    /// How long a renewal lasts, in seconds.
    pub seconds: i32,
    /// When it was renewed last, by its clock.
    pub renewed: Option<Timestamp>,
}

/// Addresses, and whose they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRange {
    /// `node node1`, say.
    pub of: String,
    /// The addresses.
    pub range: AddressRange,
}

/// What of kube-proxy's configuration matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyConfig {
    /// `iptables`, `nftables`, `ipvs`; empty for what it takes by itself.
    pub mode: String,
    /// `ipvs.strictARP`.
    pub strict_arp: bool,
}

/// A port on a node that somebody else has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The pod, as `namespace/name`.
    pub pod: String,
    /// Its node.
    pub node: String,
    /// The port.
    pub port: u16,
}

/// Another load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    /// What it is: `ServiceLB (k3s)`, `kube-vip`, …
    pub what: &'static str,
    /// What was found of it.
    pub object: String,
}

impl Facts {
    /// Each address of a Service of FerroLB's, with the first that has it.
    pub(super) fn addresses(&self) -> BTreeMap<IpAddr, String> {
        let mut all = BTreeMap::new();
        for (key, service) in self.look.ours() {
            for address in &service.words.held {
                all.entry(*address).or_insert_with(|| key.to_string());
            }
        }
        all
    }
}
