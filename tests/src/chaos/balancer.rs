//! Who announces addresses in the lab: FerroLB, or MetalLB to compare with.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use kube::api::Api;
use serde_json::json;

use crate::bench::report::Who;
use crate::lab::progress::{Progress, wait};
use crate::lab::{Lab, LabError, fault, metallb, process};
use crate::scene::{self, SYSTEM};

/// How long it may take to be ready, in seconds, on a slow machine. MetalLB's probes begin after 10 s.
const PATIENCE: u64 = 120;

/// A bare-metal load balancer that is in a lab. Both read the same API in the same namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balancer {
    /// This project's.
    Ferrolb,
    /// What it is compared with.
    Metallb,
}

impl Balancer {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Balancer::Ferrolb => "FerroLB",
            Balancer::Metallb => "MetalLB",
        }
    }

    /// Whose its figures are.
    pub fn who(self) -> Who {
        match self {
            Balancer::Ferrolb => Who::Ferrolb,
            Balancer::Metallb => Who::Metallb,
        }
    }

    /// The name of the speakers' DaemonSet.
    pub fn daemon_set(self) -> &'static str {
        match self {
            Balancer::Ferrolb => "ferrolb-speaker",
            Balancer::Metallb => "speaker",
        }
    }

    /// The name of the controller's Deployment.
    pub fn deployment(self) -> &'static str {
        match self {
            Balancer::Ferrolb => "ferrolb-controller",
            Balancer::Metallb => "controller",
        }
    }

    /// The labels of the speakers' pods, as a selector.
    pub fn speakers(self) -> &'static str {
        match self {
            Balancer::Ferrolb => "app=ferrolb,app.kubernetes.io/component=speaker",
            Balancer::Metallb => "app=metallb,component=speaker",
        }
    }

    /// The first word of a speaker's command line.
    pub fn program(self) -> &'static str {
        match self {
            Balancer::Ferrolb => "/ferrolb-speaker",
            Balancer::Metallb => "/speaker",
        }
    }

    /// Whether it knows `preferredNodeSelectors`, which came after MetalLB 0.16.1.
    pub fn has_preferences(self) -> bool {
        self == Balancer::Ferrolb
    }

    /// Installs it in a lab that is up and waits until it is ready. `flags` are added to the speakers' command line.
    ///
    /// # Errors
    /// When a build fails, something is refused, or it does not become ready.
    pub async fn install(self, lab: &Lab, flags: &[String], progress: &Progress) -> Result<(), LabError> {
        match self {
            Balancer::Ferrolb => scene::install(lab, progress).await?,
            Balancer::Metallb => metallb::install(lab, progress).await?,
        }
        if !flags.is_empty() {
            self.add_flags(lab, flags)?;
        }
        self.ready(lab).await?;
        if self == Balancer::Ferrolb { scene::heard(lab).await } else { Ok(()) }
    }

    fn add_flags(self, lab: &Lab, flags: &[String]) -> Result<(), LabError> {
        let list = if self == Balancer::Ferrolb { "command" } else { "args" };
        let path = format!("/spec/template/spec/containers/0/{list}/-");
        let patch: Vec<_> =
            flags.iter().map(|flag| json!({"op": "add", "path": path, "value": flag})).collect();
        let patch = json!(patch).to_string();
        let daemons = format!("daemonset/{}", self.daemon_set());
        process::run(lab.kubectl().args(["-n", SYSTEM, "patch", &daemons, "--type=json", "-p", &patch]))
            .map(|_| ())
    }

    /// Waits until the controller and the present generation of all speakers are ready, and one process of it runs on
    /// each node: what the API shows may be of the time before a node died.
    ///
    /// # Errors
    /// When they are not, with what their pods say.
    pub async fn ready(self, lab: &Lab) -> Result<(), LabError> {
        let client = lab.client().await?;
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), SYSTEM);
        let daemons: Api<DaemonSet> = Api::namespaced(client, SYSTEM);
        let nodes = i32::from(lab.config.nodes);
        let ready = wait(&format!("{} to be ready", self.name()), PATIENCE, async || {
            let controller =
                deployments.get(self.deployment()).await.map_err(|error| error.to_string())?.status;
            let controllers = controller.and_then(|status| status.available_replicas).unwrap_or_default();
            let daemon = daemons.get(self.daemon_set()).await.map_err(|error| error.to_string())?;
            let status = daemon.status.unwrap_or_default();
            let (updated, ready) = (status.updated_number_scheduled.unwrap_or_default(), status.number_ready);
            let current = status.observed_generation == daemon.metadata.generation;
            if controllers < 1 || updated != nodes || ready != nodes || !current {
                return Err(format!(
                    "{controllers} controllers; of {nodes} speakers {updated} are up to date, {ready} ready"
                ));
            }
            for node in lab.config.node_names() {
                let running =
                    fault::running(lab, &node, self.program()).map_err(|error| error.to_string())?;
                if running.len() > 1 {
                    return Err(format!("{} speakers run on {node}", running.len()));
                }
            }
            Ok(())
        })
        .await;
        ready.map_err(|error| {
            let pods = process::run(lab.kubectl().args(["-n", SYSTEM, "get", "pods", "-o", "wide"]));
            let logs = ["logs", "-l", self.speakers(), "--tail=20", "--prefix"];
            let logs = process::run(lab.kubectl().args(["-n", SYSTEM]).args(logs));
            let state = format!("{error}\n{}\n{}", pods.unwrap_or_default(), logs.unwrap_or_default());
            LabError::Late { what: self.name().into(), seconds: PATIENCE, state }
        })
    }

    /// Removes the speakers, and nothing else, as whoever goes over to another balancer does first.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn remove_speakers(self, lab: &Lab) -> Result<(), LabError> {
        let daemons = format!("daemonset/{}", self.daemon_set());
        process::run(lab.kubectl().args(["-n", SYSTEM, "delete", &daemons, "--wait=false"])).map(|_| ())
    }

    /// Waits until no speaker of it runs.
    ///
    /// # Errors
    /// When one stays.
    pub async fn gone(self, lab: &Lab) -> Result<(), LabError> {
        wait(&format!("the end of {}'s speakers", self.name()), PATIENCE, async || {
            let nodes = lab.config.node_names();
            let on: Vec<&String> =
                nodes.iter().filter(|node| fault::running(lab, node, self.program()).is_ok()).collect();
            if on.is_empty() { Ok(()) } else { Err(format!("they run on {on:?}")) }
        })
        .await
    }

    /// The process of the speaker on `node`.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn speaker(self, lab: &Lab, node: &str) -> Result<i32, LabError> {
        match fault::running(lab, node, self.program())?.as_slice() {
            [one] => Ok(*one),
            more => Err(LabError::State(format!("{} speakers run on {node}", more.len()))),
        }
    }
}
