//! A control plane without nodes: enough for programs that speak to the API alone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::lab::{Lab, LabError, Paths, down, process};
use crate::scene::SYSTEM;

/// How long the API server may take to serve a new definition.
const SERVED: Duration = Duration::from_secs(30);

/// The definitions that are waited for.
const KINDS: &str =
    "ipaddresspools,l2advertisements,configurationstates,bgppeers,bgpadvertisements,bfdprofiles,communities";

/// A control plane that is taken down at the end, also of a failure.
#[derive(Debug)]
pub struct Plane {
    /// Its lab.
    pub lab: Lab,
}

impl Plane {
    /// Brings one up as lab `name`, with our namespace in it. `lab_program` is the `lab` program.
    ///
    /// # Errors
    /// When it does not come up, or a lab of this name is up already.
    pub fn up(name: &str, lab_program: &Path) -> Result<Self, LabError> {
        process::run(Command::new(lab_program).args(["--name", name, "up", "--nodes", "0"]))?;
        let plane = Plane { lab: Lab::attach(name)? };
        plane.kubectl(&["create", "namespace", SYSTEM])?;
        Ok(plane)
    }

    /// Brings one up in the place of what an earlier run left that was killed.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn anew(name: &str, lab_program: &Path) -> Result<Self, LabError> {
        down::down(&Paths::of(name))?;
        Self::up(name, lab_program)
    }

    /// Runs kubectl and returns what it printed.
    ///
    /// # Errors
    /// What it said.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, LabError> {
        process::run(self.lab.kubectl().args(arguments))
    }

    /// A client with the rights of one of our ServiceAccounts and no more.
    ///
    /// # Errors
    /// When there is no client to be had.
    pub async fn client_as(&self, account: &str) -> Result<Client, LabError> {
        let failed = |error: &dyn std::fmt::Display| LabError::program("a client", error.to_string());
        let file = Kubeconfig::read_from(self.lab.paths.kubeconfig()).map_err(|error| failed(&error))?;
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
        let mut config = config.map_err(|error| failed(&error))?;
        config.auth_info.impersonate = Some(format!("system:serviceaccount:{SYSTEM}:{account}"));
        Client::try_from(config).map_err(|error| failed(&error))
    }

    /// Applies `crds/` and waits until the API server serves them.
    ///
    /// # Errors
    /// When it does not.
    pub fn apply_crds(&self) -> Result<(), LabError> {
        process::run(self.lab.kubectl().args(["apply", "-f"]).arg(project("crds")))?;
        for name in ["ipaddresspools.metallb.io", "l2advertisements.metallb.io"] {
            self.kubectl(&["wait", "--for=condition=Established", &format!("crd/{name}"), "--timeout=60s"])?;
        }
        // Established, but not served yet: the server says for a moment that its storage is being made.
        let started = Instant::now();
        loop {
            match self.kubectl(&["get", KINDS, "-A"]) {
                Ok(_) => return Ok(()),
                Err(error) if started.elapsed() > SERVED => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        let _ = down::down(&self.lab.paths);
    }
}

/// A file or folder of the project.
pub fn project(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).join(part)
}
