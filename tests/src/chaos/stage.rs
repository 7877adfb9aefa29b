//! What faults are done to: a Service with an address in a cluster, whose owner is known, and the way back to that.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::Api;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{Balancer, Watch};
use crate::lab::progress::wait;
use crate::lab::{Lab, LabError, fault, network, node, process, up};
use crate::scene::{SYSTEM, Scene, election_order};

/// How long it may take until all is well again, in seconds. A Node counts as gone after 40 s without a word, and a
/// container that ended several times waits for minutes.
const PATIENCE: u64 = 180;

/// So long one node alone must have answered, and every connection come about, for things to be well.
const WELL: Duration = Duration::from_secs(1);

/// The label that keeps a node from announcing.
pub const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// The label of nodes that rather announce, on this stage.
pub const RATHER: &str = "test.ferrolb.dev/rather";

/// Where the pods behind the address are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pods {
    /// One, on the node that is last in the election's order: whoever has the address sends connections there, and a
    /// fault of the first node does not touch it.
    Last,
    /// One on each node, and each node sends connections to its own (`externalTrafficPolicy: Local`): that a connection
    /// comes about shows that the owner of the address works.
    Everywhere,
}

/// An address and the cluster around it.
#[derive(Clone)]
pub struct Stage {
    /// The cluster.
    pub scene: Scene,
    /// Who announces.
    pub balancer: Balancer,
    /// The address.
    pub address: IpAddr,
    /// The nodes in the order in which they are elected for it.
    pub order: Vec<String>,
    lab_program: PathBuf,
}

impl Stage {
    /// Makes the Service and waits until its address answers.
    ///
    /// # Errors
    /// When something is refused or does not come about.
    pub async fn set(
        lab: &Lab,
        balancer: Balancer,
        name: &str,
        address: IpAddr,
        pods: Pods,
        lab_program: &Path,
    ) -> Result<Self, LabError> {
        let scene = Scene::in_lab(lab, name).await?;
        let order = election_order(lab, &address.to_string());
        let stage = Stage { scene, balancer, address, order, lab_program: lab_program.to_owned() };
        let scene = &stage.scene;
        let addresses = format!("{address}-{address}");
        // MetalLB asks a webhook of its own, which is there a while after its pod is ready.
        wait("a pool to be taken", PATIENCE, async || {
            let spec = json!({"addresses": [addresses]});
            scene.create("IPAddressPool", name, &spec).await.map_err(|error| error.to_string())
        })
        .await?;
        let mut spec = json!({"ipAddressPools": [name]});
        if balancer.has_preferences() {
            spec["preferredNodeSelectors"] =
                json!([{"weight": 100, "preference": {"matchLabels": {RATHER: "yes"}}}]);
        }
        scene.create("L2Advertisement", name, &spec).await?;
        let (echo, service) = (scene.echo("web"), scene.service("web").family("IPv4"));
        match pods {
            Pods::Last => {
                echo.on(&stage.order[stage.order.len() - 1]).create().await?;
                service.create().await?;
            }
            Pods::Everywhere => {
                echo.replicas(i32::from(lab.config.nodes)).create().await?;
                service.with("externalTrafficPolicy", json!("Local")).create().await?;
            }
        }
        let given = scene.address("web").await?;
        if given != address {
            return Err(LabError::State(format!("the Service has {given} instead of {address}")));
        }
        for node in &stage.order {
            stage.proxied(node, address)?;
        }
        stage.well().await?;
        Ok(stage)
    }

    /// Waits until the service proxy of `node` knows `address`. A connection that reaches a node before goes nowhere, and the
    /// node's kernel remembers that for two minutes after the last frame of it: each connection from the same port, be it of a
    /// later trial, is forwarded as if nobody had the address. So no client may ask earlier.
    ///
    /// # Errors
    /// When it does not come to know it.
    pub fn proxied(&self, node: &str, address: IpAddr) -> Result<(), LabError> {
        let to = SocketAddr::new(address, 80);
        match self.lab().host(node)?.ask_until(to, PATIENCE) {
            Ok(_) => Ok(()),
            Err(error) => Err(LabError::State(format!("{node}'s service proxy does not know {to}: {error}"))),
        }
    }

    /// The same, announced by another.
    #[must_use]
    pub fn announced_by(self, balancer: Balancer) -> Self {
        Stage { balancer, ..self }
    }

    /// The lab.
    pub fn lab(&self) -> &Lab {
        &self.scene.lab
    }

    /// The node that is first in order: it has the address when all is well.
    pub fn first(&self) -> &str {
        &self.order[0]
    }

    /// Waits until all is well: all nodes Ready, the speakers too, and the first node in order has the address, alone
    /// and steadily, and every connection comes about.
    ///
    /// # Errors
    /// When it does not become well, with how it stands.
    pub async fn well(&self) -> Result<(), LabError> {
        up::nodes_ready(self.lab(), &self.scene.client).await?;
        self.balancer.ready(self.lab()).await?;
        let watch = Watch::begin(self.lab(), self.address, 0)?;
        wait(&format!("{} to have {} alone", self.first(), self.address), PATIENCE, async || {
            match watch.calm_for(WELL)? {
                owner if owner == self.first() => Ok(()),
                owner => Err(format!("{owner} has it")),
            }
        })
        .await?;
        drop(watch);
        Ok(())
    }

    /// Power comes back to `node`: waits until its kubelet has said so, as what the API shows is of the time before, the Service's
    /// pods there are started anew and Ready, and its service proxy knows the address.
    ///
    /// A kubelet that comes back may see at once that a pod answers, and tell the API server only when it looks at all
    /// pods again, a minute and a half later (seen: 108 s). Before that no node may take the address back for
    /// `externalTrafficPolicy: Local`.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn power_on(&self, node: &str) -> Result<(), LabError> {
        let (before, old) = (self.heartbeats().await?, self.containers(node).await?);
        node::power_on(&self.lab().config, &self.lab().paths, node, &self.lab_program)?;
        wait(&format!("a word of {node}"), PATIENCE, async || {
            let now = self.heartbeats().await.map_err(|error| error.to_string())?;
            if now.get(node) == before.get(node) { Err("its kubelet is silent".to_owned()) } else { Ok(()) }
        })
        .await?;
        wait(
            &format!("the pods of {} on {node} to be Ready anew", self.scene.namespace),
            PATIENCE,
            async || {
                let now = self.containers(node).await.map_err(|error| error.to_string())?;
                let late = now.iter().filter(|(pod, (id, ready))| {
                    !ready || id.is_none() || old.get(*pod).is_some_and(|(before, _)| before == id)
                });
                let late: Vec<&str> = late.map(|(pod, _)| pod.as_str()).collect();
                if late.is_empty() { Ok(()) } else { Err(format!("not yet: {}", late.join(", "))) }
            },
        )
        .await?;
        self.proxied(node, self.address)
    }

    /// The Service's pods on `node`: the container of each, and whether the pod is Ready.
    async fn containers(&self, node: &str) -> Result<BTreeMap<String, (Option<String>, bool)>, LabError> {
        let api: Api<Pod> = Api::namespaced(self.scene.client.clone(), &self.scene.namespace);
        let list = api.list(&kube::api::ListParams::default().fields(&format!("spec.nodeName={node}"))).await;
        let list = list.map_err(|error| LabError::program("listing pods", error))?;
        let said = |pod: Pod| {
            if pod.metadata.deletion_timestamp.is_some() {
                return None;
            }
            let status = pod.status.unwrap_or_default();
            let first = status.container_statuses.into_iter().flatten().next();
            let conditions = status.conditions.unwrap_or_default();
            let ready = conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True");
            Some((pod.metadata.name?, (first.and_then(|one| one.container_id), ready)))
        };
        Ok(list.items.into_iter().filter_map(said).collect())
    }

    /// When each node's kubelet last wrote the condition Ready.
    async fn heartbeats(&self) -> Result<BTreeMap<String, String>, LabError> {
        let api: Api<Node> = Api::all(self.scene.client.clone());
        let list = api.list(&kube::api::ListParams::default()).await;
        let list = list.map_err(|error| LabError::program("listing nodes", error))?;
        let said = |node: Node| {
            let conditions = node.status?.conditions?;
            let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready")?;
            Some((node.metadata.name?, format!("{} {:?}", ready.status, ready.last_heartbeat_time)))
        };
        Ok(list.items.into_iter().filter_map(said).collect())
    }

    /// The power of `node` fails: its cables are dead at the same moment, so its kernel answers nobody either.
    ///
    /// # Errors
    /// When it is not running.
    pub fn power_off(&self, node: &str) -> Result<(), LabError> {
        node::power_off(&self.lab().config, &self.lab().paths, node)
    }

    /// Makes the nodes' kernels forget all connections to the address. They remember one for two minutes after its end; a hundred new ones a second
    /// come to the same ports again before that, and what belongs to neither is forwarded as if nobody had the address.
    ///
    /// # Errors
    /// When a kernel refuses.
    pub fn forget_connections(&self) -> Result<(), LabError> {
        self.order.iter().try_for_each(|node| node::forget_connections(&self.lab().paths, node, self.address))
    }

    /// Plugs cables of `node` out, or in.
    ///
    /// # Errors
    /// When it has no such cable.
    pub fn cables(&self, node: &str, networks: &[network::Network], up: bool) -> Result<(), LabError> {
        network::set_ports(&self.lab().paths, node, networks, up)
    }

    /// Sends a signal to the speaker of `node`.
    ///
    /// # Errors
    /// When there is none.
    pub fn signal_speaker(&self, node: &str, signal: Signal) -> Result<(), LabError> {
        fault::signal(&[self.balancer.speaker(self.lab(), node)?], signal)
    }

    /// Sets a label of a node, or removes it.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn label(&self, node: &str, key: &str, value: Option<&str>) -> Result<(), LabError> {
        let label = value.map_or_else(|| format!("{key}-"), |value| format!("{key}={value}"));
        self.kubectl(&["label", "--overwrite", "node", node, &label])
    }

    /// Deletes the speaker's pod on `node`; the DaemonSet makes another. A pod whose container ended often waits longer
    /// and longer, a new one does not.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn delete_speaker(&self, node: &str, wait: bool) -> Result<(), LabError> {
        let on = format!("spec.nodeName={node}");
        let wait = format!("--wait={wait}");
        let what =
            ["-n", SYSTEM, "delete", "pod", "-l", self.balancer.speakers(), "--field-selector", &on, &wait];
        self.kubectl(&what)
    }

    /// Merges this into the conditions of a node.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn condition(&self, node: &str, condition: &Value) -> Result<(), LabError> {
        let patch = json!({"status": {"conditions": [condition]}}).to_string();
        self.kubectl(&["patch", "node", node, "--subresource=status", "--type=strategic", "-p", &patch])
    }

    /// Runs kubectl.
    ///
    /// # Errors
    /// What it said.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<(), LabError> {
        process::run(self.lab().kubectl().args(arguments)).map(|_| ())
    }
}
