//! A cluster in which FerroLB runs, as far as its user may see it: one value, of which all that is said is a function.
//!
//! ```text
//!  lists, page by page ─► read ─► Look ◄─ speakers (told on their loopback, by port-forward)
//!                                  │
//!                                  ├─► elections, allocations: core's own words for why
//!                                  └─► status, explain, doctor
//! ```

mod judge;
mod read;
mod speakers;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ferrolb_core::election::Endpoints;
use ferrolb_core::selector::Labels;
use ferrolb_core::service::{self as core, Role, ServiceKey};
use ferrolb_crds::admin::Told;
use ferrolb_crds::view::{Node, ServiceCondition};
use ferrolb_crds::{ConfigurationState, IPAddressPool, L2Advertisement, names};

use crate::migrate::{Product, Workload};

pub use judge::{Candidates, Pools};
pub use read::{Want, look};
pub(crate) use speakers::{ask as ask_speakers, probe, text as ask_text};

/// What is known of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// What could not be read, in sentences.
    pub unread: Vec<String>,
    /// FerroLB's namespace; MetalLB's default where FerroLB was not found.
    pub namespace: String,
    /// Everything of MetalLB and FerroLB that has pods, of all namespaces.
    pub workloads: Vec<Workload>,
    /// The pods of FerroLB.
    pub pods: Vec<Pod>,
    /// The pools of the namespace.
    pub pools: Vec<IPAddressPool>,
    /// The advertisements of the namespace.
    pub advertisements: Vec<L2Advertisement>,
    /// The nodes by name.
    pub nodes: BTreeMap<String, Node>,
    /// What controller and speakers say of themselves.
    pub states: Vec<ConfigurationState>,
    /// Which nodes announce each Service.
    pub announced: BTreeMap<ServiceKey, Vec<Announced>>,
    /// The Services of type LoadBalancer; all, where that was asked for.
    pub services: BTreeMap<ServiceKey, Service>,
    /// The labels of namespaces, where that was asked for.
    pub namespaces: BTreeMap<String, Labels>,
    /// Where endpoints serve; nothing if they were not looked for.
    pub endpoints: Option<BTreeMap<ServiceKey, Endpoints>>,
    /// What the speakers told, by node, or why they did not.
    pub told: BTreeMap<String, Result<Told, String>>,
}

/// A Service.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// In core's words.
    pub words: core::Service,
    /// `metadata.uid`.
    pub uid: String,
    /// The controller's condition about its address.
    pub assigned: Option<ServiceCondition>,
    /// The controller's condition about a conflict.
    pub conflict: Option<Box<ServiceCondition>>,
    /// Annotations in their old spelling.
    pub deprecated: Vec<&'static str>,
}

/// A node that announces a Service, by its `ServiceL2Status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Announced {
    /// The node.
    pub node: String,
    /// The links; all for an empty list.
    pub interfaces: Vec<String>,
    /// Another host has an address of it; in words.
    pub conflict: Option<String>,
    /// It is not announced because of that.
    pub held_back: bool,
}

/// A pod of FerroLB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its node; empty while it has none.
    pub node: String,
    /// Whether it is a speaker's, and not the controller's.
    pub speaker: bool,
    /// Whether its container runs, ready or not: then it can be asked.
    pub running: bool,
    /// Whether it is ready.
    pub ready: bool,
    /// Why it is not, as far as the API says.
    pub why: String,
    /// Its ServiceAccount.
    pub account: String,
    /// Its image.
    pub image: String,
    /// How often its container was started anew.
    pub restarts: i32,
    /// The port of its admin endpoint.
    pub port: u16,
}

impl Look {
    /// FerroLB's workload of this kind, in its namespace.
    pub fn workload(&self, product: Product) -> Option<&Workload> {
        let mut all = self.workloads.iter().filter(|workload| workload.product == Some(product));
        all.find(|workload| workload.namespace == self.namespace)
    }

    /// The Services that FerroLB is to serve.
    pub fn ours(&self) -> impl Iterator<Item = (&ServiceKey, &Service)> {
        self.services.iter().filter(|(_, service)| service.words.role == Role::Ours)
    }

    /// The speakers' pods, by node.
    pub fn speakers(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(|pod| pod.speaker)
    }

    /// What the speaker of this node says of itself in the API.
    pub fn state(&self, node: &str) -> Option<&ConfigurationState> {
        let of = |state: &&ConfigurationState| {
            let labels = state.metadata.labels.as_ref();
            labels.and_then(|labels| labels.get(NODE_LABEL)).is_some_and(|name| name == node)
        };
        self.states.iter().find(of)
    }

    /// What the speaker of this node says is not so: the message of that condition.
    pub fn denied(&self, node: &str, condition: &str) -> Option<&str> {
        let conditions = &self.state(node)?.status.as_ref()?.conditions;
        let denied = conditions.iter().find(|known| known.type_ == condition && known.status == "False");
        denied.map(|known| known.message.as_str())
    }

    /// Why traffic would end at this node: its service proxy fails.
    pub fn sick_proxy(&self, node: &str) -> Option<&str> {
        self.denied(node, names::SERVICE_PROXY_HEALTHY)
    }

    /// The value of a setting of FerroLB, by flag or variable; empty if there is none.
    pub fn setting(&self, product: Product, flag: &str) -> &str {
        let variable = format!("FERROLB_{}", flag.to_uppercase().replace('-', "_"));
        let all = self.workload(product).into_iter().flat_map(|workload| &workload.settings);
        // A flag beats a variable.
        let mut found: Vec<_> =
            all.filter(|setting| setting.name == flag || setting.name == variable).collect();
        found.sort_by_key(|setting| setting.name != flag);
        found.first().map_or("", |setting| setting.value.as_str())
    }

    /// The pool that has this address, by name.
    pub fn pool_of(&self, address: IpAddr) -> Option<String> {
        let has = |pool: &&IPAddressPool| {
            pool.to_core().is_ok_and(|words| words.ranges.iter().any(|range| range.contains(address)))
        };
        self.pools.iter().find(has).and_then(|pool| pool.metadata.name.clone())
    }
}

/// The label that names the node of a speaker's state.
pub(crate) const NODE_LABEL: &str = "metallb.io/node-name";
