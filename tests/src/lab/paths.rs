//! Where a lab lies on disk and what its parts are called.

use std::path::PathBuf;

use super::network;

/// The folder of all labs. It must not lie on an overlay file system, on which containerd's snapshots could
/// not be stacked.
const ROOT: &str = "/var/lib/ferrolb-lab";

/// The files of one lab.
#[derive(Clone, Debug)]
pub struct Paths {
    lab: String,
}

impl Paths {
    /// Of the lab of this name, started or not.
    pub fn of(lab: &str) -> Self {
        Paths { lab: lab.to_owned() }
    }

    /// The lab's name.
    pub fn lab(&self) -> &str {
        &self.lab
    }

    /// The lab's own folder.
    pub fn root(&self) -> PathBuf {
        PathBuf::from(ROOT).join(&self.lab)
    }

    /// What it is, as JSON.
    pub fn config(&self) -> PathBuf {
        self.root().join("lab.json")
    }

    /// Certificates and keys.
    pub fn pki(&self) -> PathBuf {
        self.root().join("pki")
    }

    /// The logs, one file a program.
    pub fn logs(&self) -> PathBuf {
        self.root().join("logs")
    }

    /// The administrator's kubeconfig, for use on this machine.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root().join("kubeconfig")
    }

    /// A kubeconfig for a program of the cluster.
    pub fn kubeconfig_of(&self, who: &str) -> PathBuf {
        self.pki().join(format!("{who}.kubeconfig"))
    }

    /// The folder of a node; inside the node it is `/run/lab/<node>`.
    pub fn node(&self, node: &str) -> PathBuf {
        self.root().join(node)
    }

    /// A link to the folder of programs that this lab runs.
    pub fn programs_link(&self) -> PathBuf {
        self.root().join("programs")
    }

    /// The name of a host's network namespace.
    pub fn netns_name(&self, host: &str) -> String {
        format!("{}-{host}", self.lab)
    }

    /// The file that stands for a host's network namespace.
    pub fn netns(&self, host: &str) -> PathBuf {
        PathBuf::from("/run/netns").join(self.netns_name(host))
    }

    /// The name of a node's cgroup, in every hierarchy.
    pub fn cgroup(&self, node: &str) -> String {
        format!("lab-{}-{node}", self.lab)
    }

    /// The names of all network namespaces that a lab of this name can have had.
    ///
    /// A list, not a prefix: the lab `cni` must not take `cni-1b4e28ba`, in which a pod of the machine's own
    /// container runtime lives, for one of its own.
    pub fn netns_names(&self) -> Vec<String> {
        let nodes = (1..=super::MAX_NODES).map(|number| format!("node{number}"));
        let hosts = ["sw", "cp"].into_iter().map(str::to_owned).chain(network::clients(network::MAX_CLIENTS));
        hosts.chain(nodes).map(|host| self.netns_name(&host)).collect()
    }

    /// The names of all cgroups that a lab of this name can have had.
    pub fn cgroup_names(&self) -> Vec<String> {
        (1..=super::MAX_NODES).map(|number| self.cgroup(&format!("node{number}"))).collect()
    }

    /// The name of the socket that only one process at a time can hold: the one that brings this lab up or
    /// takes it down. It lies in no file system, so nothing of it stays when that process is killed.
    pub(super) fn lock(&self) -> String {
        format!("ferrolb-lab/{}", self.lab)
    }
}
