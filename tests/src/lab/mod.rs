//! A real Kubernetes cluster in network namespaces, without a container engine.
//!
//! ```text
//!            namespace sw: bridges lan (lan2, lan3) and mgmt
//!        ┌───────────┬──────────┴┬────────────┬──────────┐
//!        cp         node1       node2 …     client1    client2
//!   etcd, API     containerd, kubelet,       whoever asks for
//!   server, …     kube-proxy, pods           an address
//! ```
//!
//! Nothing touches the machine's own network: all of it lies in namespaces that carry the lab's name,
//! and the only door is a port on 127.0.0.1 behind which the API server answers. A node is one process with
//! all that it started; killing it is a power failure.
//!
//! The modules, from the bottom up: [`paths`] (where everything lies), [`preflight`] (can this machine do
//! it), [`programs`] (building Kubernetes), [`pki`] and [`kubeconfig`](pki), [`network`], [`cgroup`],
//! [`control_plane`], [`node`] and [`node_init`], [`up`] and [`down`]. Beside them [`fault`], what can be done to a lab
//! that is up, [`weather`], faults in front of the API server, [`metallb`], to compare with, [`helm`] and
//! [`prometheus_operator`], to try the chart with, [`prometheus`], to read metrics with, and [`samples`], the programs of
//! `config/samples`.

pub mod cgroup;
pub mod control_plane;
pub mod down;
pub mod error;
pub mod fault;
pub mod forward;
pub mod helm;
pub mod metallb;
pub mod network;
pub mod node;
pub mod node_init;
pub mod paths;
pub mod pki;
pub mod preflight;
pub mod process;
pub mod programs;
pub mod progress;
pub mod prometheus;
pub mod prometheus_operator;
pub mod samples;
pub mod up;
pub mod weather;

use serde::{Deserialize, Serialize};

pub use error::LabError;
pub use paths::Paths;

/// How kube-proxy directs packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Proxy {
    /// `--proxy-mode=iptables`.
    Iptables,
    /// `--proxy-mode=nftables`.
    Nftables,
}

impl Proxy {
    /// The value of kube-proxy's flag.
    pub fn flag(self) -> &'static str {
        match self {
            Proxy::Iptables => "iptables",
            Proxy::Nftables => "nftables",
        }
    }
}

/// The most nodes that a lab can have.
pub const MAX_NODES: u8 = 9;

/// What a lab is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Its name: 1 to 12 letters and digits, in the names of all that belongs to it.
    pub name: String,
    /// How many nodes, 0 to 9; 0 is the control plane alone.
    pub nodes: u8,
    /// kube-proxy's mode.
    pub proxy: Proxy,
    /// Nodes have no network card for the API: it is reached over the LAN, as in a home lab.
    pub one_nic: bool,
    /// On how many segments nodes and clients are, 1 to [`network::MAX_SEGMENTS`]; on each by a link of its own.
    #[serde(default = "one")]
    pub segments: u8,
    /// How many clients there are, 2 to [`network::MAX_CLIENTS`].
    #[serde(default = "two")]
    pub clients: u8,
}

fn one() -> u8 {
    1
}

fn two() -> u8 {
    2
}

impl Config {
    /// A lab of three nodes with two networks and kube-proxy's iptables mode.
    ///
    /// # Errors
    /// When the name does not fit into the names of network links.
    pub fn new(name: &str) -> Result<Self, LabError> {
        let fits = (1..=12).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !fits {
            return Err(LabError::Name(name.to_owned()));
        }
        let name = name.to_owned();
        Ok(Config { name, nodes: 3, proxy: Proxy::Iptables, one_nic: false, segments: one(), clients: two() })
    }

    /// With `nodes` nodes.
    #[must_use]
    pub fn nodes(self, nodes: u8) -> Self {
        Config { nodes, ..self }
    }

    /// With kube-proxy in this mode.
    #[must_use]
    pub fn proxy(self, proxy: Proxy) -> Self {
        Config { proxy, ..self }
    }

    /// The networks in which clients are, and addresses are announced.
    pub fn segments(&self) -> impl Iterator<Item = network::Network> + use<> {
        network::Network::SEGMENTS.into_iter().take(usize::from(self.segments))
    }

    /// The networks in which each node has a link.
    pub fn networks(&self) -> Vec<network::Network> {
        self.segments().chain((!self.one_nic).then_some(network::Network::Mgmt)).collect()
    }

    /// The names of the nodes.
    pub fn node_names(&self) -> Vec<String> {
        (1..=self.nodes).map(|number| format!("node{number}")).collect()
    }

    /// The names of all hosts, each of which is a network namespace.
    pub fn hosts(&self) -> Vec<String> {
        let mut hosts = vec!["sw".to_owned(), "cp".to_owned()];
        hosts.extend(self.node_names());
        hosts.extend(network::clients(self.clients));
        hosts
    }
}

/// A lab that is up.
#[derive(Clone, Debug)]
pub struct Lab {
    /// What it is.
    pub config: Config,
    /// Where it lies.
    pub paths: Paths,
}

impl Lab {
    /// The lab of this name, if one was started.
    ///
    /// # Errors
    /// When there is none, or what it left cannot be read.
    pub fn attach(name: &str) -> Result<Self, LabError> {
        let config = Config::new(name)?;
        let paths = Paths::of(&config.name);
        if !paths.config().exists() {
            return Err(LabError::NotUp(name.to_owned()));
        }
        let text = std::fs::read_to_string(paths.config()).map_err(LabError::at(paths.config()))?;
        let config = serde_json::from_str(&text).map_err(|error| LabError::State(error.to_string()))?;
        Ok(Lab { config, paths })
    }

    /// A client of its API server, as cluster administrator.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read.
    pub async fn client(&self) -> Result<kube::Client, LabError> {
        // Fails only if one is installed already, which is then the one to use.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let file = kube::config::Kubeconfig::read_from(self.paths.kubeconfig())
            .map_err(|error| LabError::State(error.to_string()))?;
        let options = kube::config::KubeConfigOptions::default();
        let mut config = kube::Config::from_custom_kubeconfig(file, &options)
            .await
            .map_err(|error| LabError::State(error.to_string()))?;
        config.default_retry = false;
        // The lab is on this machine, whatever proxy the environment names for the rest of the world.
        config.proxy_url = None;
        kube::Client::try_from(config).map_err(|error| LabError::State(error.to_string()))
    }

    /// `kubectl` for this lab, to be given its arguments.
    pub fn kubectl(&self) -> std::process::Command {
        let mut command = std::process::Command::new(self.paths.programs_link().join("kubectl"));
        command.env("KUBECONFIG", self.paths.kubeconfig());
        // Else it would fill the user's own folder, a little for each port of each lab.
        command.env("KUBECACHEDIR", self.paths.root().join("kubectl"));
        command
    }

    /// One of its hosts: `cp`, `sw`, `nodeN` or `clientN`.
    ///
    /// # Errors
    /// When it has none of that name.
    pub fn host(&self, name: &str) -> Result<crate::host::Host, LabError> {
        if !self.config.hosts().iter().any(|host| host == name) {
            return Err(LabError::NoHost(name.to_owned(), self.config.hosts().join(", ")));
        }
        Ok(crate::host::Host::new(name, &self.paths.netns(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_lab_saved_is_read_as_one_segment() {
        let saved = r#"{"name": "a", "nodes": 1, "proxy": "iptables", "one_nic": false}"#;
        assert_eq!(serde_json::from_str::<Config>(saved).unwrap(), Config::new("a").unwrap().nodes(1));
        let three = Config { segments: 3, clients: 5, ..Config::new("a").unwrap() };
        let text = serde_json::to_string(&three).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), three);
    }

    #[test]
    fn names_must_fit_into_link_names() {
        for name in ["", "a-b", "a/b", "../x", "averylongnamethatdoesnotfit", "ü"] {
            assert!(matches!(Config::new(name), Err(LabError::Name(_))), "{name:?}");
        }
        let lab = Config::new("e2e").unwrap().nodes(2);
        assert_eq!(lab.hosts(), ["sw", "cp", "node1", "node2", "client1", "client2"]);
        assert_eq!(lab.hosts()[4..], network::CLIENTS, "every lab has these");
        assert_eq!(Config { clients: 3, ..lab }.hosts().last().unwrap(), "client3");
    }
}
