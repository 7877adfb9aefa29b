//! What is read of a cluster: all that a plan is made of.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ferrolb_core::selector::Labels;
use ferrolb_core::service::ServiceKey;
use ferrolb_crds::{IPAddressPool, L2Advertisement};
use serde::Serialize;

/// In place of what ServiceL2Status objects say, where MetalLB is older than they are.
pub const OWNERS_BY_EVENTS: &str = "owners are from events, which the API server forgets after an hour: this MetalLB writes no ServiceL2Status";

/// A cluster as far as the way from MetalLB to FerroLB goes.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// What could not be read, in sentences.
    pub unread: Vec<String>,
    /// Everything of MetalLB and FerroLB that has pods.
    pub workloads: Vec<Workload>,
    /// Where the pools are read: MetalLB's namespace, else FerroLB's.
    pub namespace: Option<String>,
    /// Configurations of webhooks that are called for objects of metallb.io; nothing if they could not be read.
    pub webhooks: Option<Vec<Leftover>>,
    /// The definitions of metallb.io; nothing if they could not be read.
    pub definitions: Option<Vec<Definition>>,
    /// All IPAddressPools, of all namespaces.
    pub pools: Vec<Pool>,
    /// All L2Advertisements.
    pub l2: Vec<Listed<L2Advertisement>>,
    /// All BGPAdvertisements, as far as they say what an L2Advertisement can say as well.
    pub bgp: Vec<Listed<L2Advertisement>>,
    /// BGPPeers, BFDProfiles, Communities, and AddressPools of MetalLB before 0.13.
    pub others: Vec<Named>,
    /// All Services of type LoadBalancer.
    pub services: Vec<Service>,
    /// The patterns in the ConfigMap of excluded interfaces; an error if they cannot be read.
    pub excluded_interfaces: Option<Result<Vec<String>, String>>,
    /// What the Helm release has beside its workloads.
    pub release: Vec<Named>,
    /// NetworkPolicies that hold for every pod of the namespace.
    pub policies: Vec<String>,
    /// Nodes where no speaker of MetalLB runs.
    pub without_speaker: Vec<String>,
}

/// Whose something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Product {
    /// MetalLB's controller.
    MetallbController,
    /// MetalLB's speakers.
    MetallbSpeaker,
    /// FerroLB's controller.
    FerrolbController,
    /// FerroLB's speakers.
    FerrolbSpeaker,
    /// What speaks BGP for MetalLB.
    FrrK8s,
}

/// A Deployment or DaemonSet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// What it is.
    pub product: Option<Product>,
    /// `Deployment` or `DaemonSet`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How many pods a Deployment is to have.
    pub replicas: i32,
    /// By which its pods are found.
    pub selector: String,
    /// The image of the container that matters.
    pub image: String,
    /// Flags and variables of that container.
    pub settings: Vec<Setting>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations, but those of kubectl.
    pub annotations: BTreeMap<String, String>,
    /// Kinds and names of its owners.
    pub owners: Vec<String>,
}

/// A flag or an environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// `lb-class` of a flag, `METALLB_BGP_TYPE` of a variable.
    pub name: String,
    /// Its value; of a flag without one `true`.
    pub value: String,
    /// As it is written.
    pub written: String,
}

/// An object by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Named {
    /// Its kind.
    pub kind: String,
    /// Its namespace; empty for one without.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A configuration of webhooks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Leftover {
    /// `ValidatingWebhookConfiguration` or `MutatingWebhookConfiguration`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The Service that is called.
    pub service: String,
}

/// A definition of metallb.io.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definition {
    /// Its name, as `bgppeers.metallb.io`.
    pub name: String,
    /// Versions are converted by a webhook.
    pub webhook: bool,
    /// It is FerroLB's, as far as that can be seen.
    pub ours: bool,
}

/// An object of metallb.io, and the fields of its spec that FerroLB does not know.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed<K> {
    /// The object.
    pub object: K,
    /// Names of fields.
    pub unknown: Vec<String>,
}

/// A pool.
pub type Pool = Listed<IPAddressPool>;

/// A Service of type LoadBalancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub key: ServiceKey,
    /// The addresses in its status.
    pub addresses: Vec<IpAddr>,
    /// Its labels.
    pub labels: Labels,
    /// `spec.loadBalancerClass`; empty if there is none.
    pub class: String,
}

impl Cluster {
    /// What is of `product`.
    pub fn all(&self, product: Product) -> impl Iterator<Item = &Workload> {
        self.workloads.iter().filter(move |workload| workload.product == Some(product))
    }

    /// What is of `product` in the namespace that the plan is about.
    pub fn of(&self, product: Product) -> Option<&Workload> {
        self.all(product).find(|workload| Some(&workload.namespace) == self.namespace.as_ref())
    }

    /// MetalLB's controller and speakers that are there.
    pub fn metallb(&self) -> Vec<&Workload> {
        [Product::MetallbController, Product::MetallbSpeaker].into_iter().filter_map(|p| self.of(p)).collect()
    }

    /// Whether the definition of this plural is there; also if that is not known.
    pub fn defines(&self, plural: &str) -> bool {
        let name = format!("{plural}.metallb.io");
        self.definitions.as_ref().is_none_or(|all| all.iter().any(|definition| definition.name == name))
    }

    /// The class of the Services that MetalLB serves, or FerroLB where MetalLB is gone; empty for those without one.
    pub fn class(&self) -> &str {
        let settings = |products: [Product; 2]| {
            products
                .into_iter()
                .filter_map(|product| self.of(product))
                .flat_map(|workload| &workload.settings)
        };
        let theirs = settings([Product::MetallbController, Product::MetallbSpeaker]);
        let ours = settings([Product::FerrolbController, Product::FerrolbSpeaker]);
        let mut all = theirs.chain(ours);
        let class = all.find(|setting| ["lb-class", "FERROLB_LB_CLASS"].contains(&setting.name.as_str()));
        class.map_or("", |setting| &setting.value)
    }
}

impl Workload {
    /// `deployment/controller`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.kind.to_lowercase(), self.name)
    }

    /// The version, by its label or the tag of its image.
    pub fn version(&self) -> Option<String> {
        let image = self.image.split('@').next().unwrap_or_default();
        let last = image.rsplit('/').next().unwrap_or_default();
        let tag = last.split_once(':').map(|(_, tag)| tag.to_owned());
        tag.or_else(|| self.labels.get("app.kubernetes.io/version").cloned())
    }
}

impl Named {
    /// `bgppeer/router`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.kind.to_lowercase(), self.name)
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{} {}", self.kind, self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind, self.name),
        }
    }
}
