//! The plan: what follows from a [`Cluster`].

use std::net::IpAddr;

use serde::Serialize;

use super::announced::Announcements;
use super::cluster::{Cluster, Leftover, Named, Product, Service, Workload};
use super::helm::{self, Installed};
use super::interfaces;
use super::settings::{self, Answered};
use super::steps::{self, Step};
use super::unsupported::{self, Unsupported};

/// What there is, what stays, what does not, and what to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// What could not be read: what is said below may lack that.
    pub unread: Vec<String>,
    /// MetalLB, if it is there.
    pub metallb: Option<Metallb>,
    /// FerroLB's Deployments and DaemonSets that are there already.
    pub ferrolb: Vec<Named>,
    /// What stays.
    pub kept: Kept,
    /// What does not, each by its name.
    pub unsupported: Vec<Unsupported>,
    /// What else to think of.
    pub notes: Vec<String>,
    /// What to do, in this order.
    pub steps: Vec<Step>,
}

/// MetalLB as it is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metallb {
    /// Where it is.
    pub namespace: String,
    /// Its version, if its labels or images tell.
    pub version: Option<String>,
    /// How it was installed.
    pub installed: Installed,
    /// Its Deployment.
    pub controller: Option<String>,
    /// Its DaemonSet.
    pub speaker: Option<String>,
    /// Flags and variables, and what of FerroLB's corresponds.
    pub settings: Vec<Answered>,
    /// Configurations of webhooks that nobody would answer.
    pub webhooks: Vec<Leftover>,
    /// Definitions whose versions a webhook converts.
    pub converted: Vec<String>,
    /// Both could be read; else step 1 has the usual names.
    pub webhooks_read: bool,
    /// The value of `FERROLB_EXCLUDE_INTERFACES`, where MetalLB's list was changed.
    pub excluded_interfaces: Option<String>,
    /// That list is there and could be read.
    pub interfaces_read: bool,
}

/// What stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// IPAddressPools by name.
    pub pools: Vec<String>,
    /// L2Advertisements by name.
    pub l2_advertisements: Vec<String>,
    /// Services with addresses.
    pub services: Vec<KeptService>,
    /// Services that wait for one.
    pub waiting: Vec<String>,
    /// How many are of another load balancer, by their class.
    pub foreign: usize,
}

/// A Service with addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptService {
    /// `namespace/name`.
    pub service: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The pool that has them.
    pub pool: Option<String>,
}

impl Plan {
    /// What follows from `cluster`.
    pub fn of(cluster: &Cluster) -> Self {
        let announcements = Announcements::of(cluster);
        let ours = |service: &&Service| service.class == cluster.class();
        let services: Vec<&Service> = cluster.services.iter().filter(ours).collect();
        let metallb = metallb(cluster);
        let ferrolb = [Product::FerrolbController, Product::FerrolbSpeaker];
        let ferrolb: Vec<&Workload> = ferrolb.into_iter().flat_map(|product| cluster.all(product)).collect();
        Plan {
            unread: cluster.unread.clone(),
            kept: kept(cluster, &services, &announcements),
            unsupported: unsupported::all(cluster, &services, &announcements),
            notes: notes(cluster, metallb.as_ref(), &ferrolb),
            steps: steps::all(cluster, metallb.as_ref()),
            ferrolb: ferrolb.into_iter().map(named).collect(),
            metallb,
        }
    }
}

fn named(workload: &Workload) -> Named {
    Named { kind: workload.kind.clone(), namespace: workload.namespace.clone(), name: workload.name.clone() }
}

fn metallb(cluster: &Cluster) -> Option<Metallb> {
    let (controller, speaker) = (cluster.of(Product::MetallbController), cluster.of(Product::MetallbSpeaker));
    let any = controller.or(speaker)?;
    let answers = |part, workload: Option<&Workload>| {
        let settings = workload.map(|workload| workload.settings.as_slice()).unwrap_or_default();
        settings::answers(part, settings, &any.namespace)
    };
    let patterns = cluster.excluded_interfaces.as_ref().and_then(|read| read.as_ref().ok());
    Some(Metallb {
        namespace: any.namespace.clone(),
        version: any.version(),
        installed: Installed::of(any),
        controller: controller.map(|workload| workload.name.clone()),
        speaker: speaker.map(|workload| workload.name.clone()),
        settings: [answers("controller", controller), answers("speaker", speaker)].concat(),
        webhooks: cluster.webhooks.clone().unwrap_or_default(),
        converted: steps::converted(cluster),
        webhooks_read: steps::known(cluster),
        interfaces_read: patterns.is_some(),
        excluded_interfaces: patterns.and_then(|patterns| interfaces::flag(patterns)),
    })
}

fn kept(cluster: &Cluster, services: &[&Service], announcements: &Announcements) -> Kept {
    let (with, without): (Vec<_>, Vec<_>) =
        services.iter().partition(|service| !service.addresses.is_empty());
    let here = |namespace: &Option<String>| *namespace == cluster.namespace;
    let name = |metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
        metadata.name.clone().filter(|_| here(&metadata.namespace))
    };
    let service = |service: &&Service| KeptService {
        service: service.key.to_string(),
        addresses: service.addresses.clone(),
        pool: announcements.ways(service).pool,
    };
    Kept {
        pools: cluster.pools.iter().filter_map(|pool| name(&pool.object.metadata)).collect(),
        l2_advertisements: cluster.l2.iter().filter_map(|ad| name(&ad.object.metadata)).collect(),
        services: with.into_iter().map(service).collect(),
        waiting: without.into_iter().map(|service| service.key.to_string()).collect(),
        foreign: cluster.services.len() - services.len(),
    }
}

/// What is neither an object that stays nor one that does not.
fn notes(cluster: &Cluster, metallb: Option<&Metallb>, ferrolb: &[&Workload]) -> Vec<String> {
    let mut notes = Vec::new();
    let namespaces = |products: [Product; 2]| {
        let all = products.into_iter().flat_map(|product| cluster.all(product));
        let names: std::collections::BTreeSet<&str> =
            all.map(|workload| workload.namespace.as_str()).collect();
        names.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let several = namespaces([Product::MetallbController, Product::MetallbSpeaker]);
    if several.len() > 1 {
        notes.push(format!(
            "MetalLB is in namespaces {}. This is the plan for {}; --namespace chooses another.",
            several.join(", "),
            cluster.namespace.as_deref().unwrap_or_default()
        ));
    }
    let Some(metallb) = metallb else { return notes };
    if let Some(other) = ferrolb.iter().find(|workload| workload.namespace != metallb.namespace) {
        notes.push(format!(
            "FerroLB is in namespace {}, MetalLB in {}: FerroLB reads the pools of its own namespace alone, so it has to be in {}.",
            other.namespace, metallb.namespace, metallb.namespace
        ));
    }
    let workloads = cluster.metallb();
    if let Some(keeper) = workloads.iter().find_map(|workload| helm::keeper(workload)) {
        notes.push(format!(
            "{keeper} keeps MetalLB as it is written elsewhere, and would undo each step. Suspend it before step 1, and take MetalLB \
             out of it without deleting what it made (no prune, no uninstall): with the definitions all pools would go."
        ));
    }
    match &metallb.installed {
        Installed::Operator { owner } => notes.push(format!(
            "An operator made MetalLB ({owner}) and would undo each step. Stop the operator itself before step 1 (scale its \
             Deployment to 0); do not delete {owner} before step 6 is done. This way was not tried."
        )),
        Installed::Helm { release, recorded: true, .. } => notes.push(format!(
            "Run neither helm uninstall nor helm upgrade on {release}, now or later. MetalLB's chart has its definitions among its \
             templates: helm uninstall deletes them, and with them every pool. The annotation helm.sh/resource-policy: keep on the \
             objects in the cluster does not help, as Helm looks for it in the manifest that it stored. So the steps delete by name, and \
             step 6 makes Helm forget {release}."
        )),
        Installed::Helm { .. } | Installed::Manifest => {}
    }
    if metallb.version.as_deref().is_some_and(older_than_crds) || !cluster.defines("ipaddresspools") {
        notes.push(
            "There are no IPAddressPools: this MetalLB is older than 0.13, or its definitions are gone. Bring MetalLB to a version \
             that has them first: FerroLB reads no ConfigMap."
                .to_owned(),
        );
    }
    if let Some(Err(why)) = &cluster.excluded_interfaces {
        notes.push(format!(
            "ConfigMap {}: {why}. Compare it with FerroLB's --exclude-interfaces by hand.",
            interfaces::CONFIG_MAP
        ));
    }
    for policy in &cluster.policies {
        notes.push(format!(
            "NetworkPolicy {policy} holds for every pod of {}, so also for FerroLB's controller, which has to reach the API server: \
             config/components/network-policies allows that.",
            metallb.namespace
        ));
    }
    for frr in cluster.all(Product::FrrK8s) {
        notes.push(format!(
            "{} {}/{} speaks BGP for MetalLB. No step touches it; delete it when nothing else uses it.",
            frr.kind, frr.namespace, frr.name
        ));
    }
    let elsewhere: Vec<String> = elsewhere(cluster);
    if !elsewhere.is_empty() {
        notes.push(format!(
            "Neither MetalLB nor FerroLB reads objects of other namespaces than {}: {}.",
            metallb.namespace,
            elsewhere.join(", ")
        ));
    }
    notes
}

fn elsewhere(cluster: &Cluster) -> Vec<String> {
    let pools = cluster.pools.iter().map(|pool| ("IPAddressPool", &pool.object.metadata));
    let ads = cluster.l2.iter().map(|ad| ("L2Advertisement", &ad.object.metadata));
    let outside = pools.chain(ads).filter(|(_, metadata)| metadata.namespace != cluster.namespace);
    let text = |metadata: &Option<String>| metadata.clone().unwrap_or_default();
    outside.map(|(kind, meta)| format!("{kind} {}/{}", text(&meta.namespace), text(&meta.name))).collect()
}

/// Whether a version is from before MetalLB had definitions.
fn older_than_crds(version: &str) -> bool {
    let mut numbers = version.trim_start_matches('v').split('.').map(str::parse::<u32>);
    matches!((numbers.next(), numbers.next()), (Some(Ok(0)), Some(Ok(..=12))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_before_0_13_had_a_config_map() {
        assert!(older_than_crds("v0.12.1") && older_than_crds("0.9"));
        assert!(!older_than_crds("v0.13.0") && !older_than_crds("v1.2.3") && !older_than_crds("main"));
    }
}
