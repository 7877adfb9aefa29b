//! etcd, kube-apiserver, kube-controller-manager and kube-scheduler, in the namespace `cp`.

use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use super::network::api_server;
use super::process::{in_netns, last_lines, spawn};
use super::{Config, LabError, Paths};

/// Pods may do nothing special unless their namespace says so: what a careful cluster looks like.
const ADMISSION: &str = r#"apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults: {enforce: restricted, enforce-version: latest}
    exemptions: {namespaces: [kube-system]}
"#;

/// How often it is looked whether all programs still run.
const LOOK: Duration = Duration::from_millis(50);

/// The programs that were started.
#[derive(Debug)]
pub struct ControlPlane {
    paths: Paths,
    programs: Vec<(&'static str, Child)>,
}

impl ControlPlane {
    /// Starts etcd and the API server. They find each other when they are ready; who waits is [`super::up`].
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start(config: &Config, paths: &Paths) -> Result<Self, LabError> {
        let admission = paths.root().join("admission.yaml");
        std::fs::write(&admission, ADMISSION).map_err(LabError::at(&admission))?;
        let mut plane = ControlPlane { paths: paths.clone(), programs: Vec::new() };
        plane.run("etcd", etcd(paths))?;
        plane.run("kube-apiserver", apiserver(config, paths))?;
        Ok(plane)
    }

    /// Starts the controllers and the scheduler, once the API server answers: kube-controller-manager gives
    /// up when it does not within ten seconds, and a busy machine can take longer.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start_controllers(&mut self) -> Result<(), LabError> {
        self.run("kube-controller-manager", controller_manager(&self.paths))?;
        self.run("kube-scheduler", scheduler(&self.paths))
    }

    fn run(&mut self, program: &'static str, flags: Vec<String>) -> Result<(), LabError> {
        let mut command = in_netns(&self.paths.netns("cp"), self.paths.programs_link().join(program));
        command.args(flags);
        self.programs.push((program, spawn(command, &log(&self.paths, program))?));
        Ok(())
    }

    /// Returns when a program ends, with what it said last: waiting for the others would be in vain.
    pub async fn first_end(&mut self) -> LabError {
        loop {
            for (program, child) in &mut self.programs {
                let status = match child.try_wait() {
                    Ok(None) => continue,
                    Ok(Some(status)) => status.to_string(),
                    Err(error) => error.to_string(),
                };
                let said = last_lines(&log(&self.paths, program), 10);
                return LabError::program(program, format!("it ended ({status})\n{said}"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn log(paths: &Paths, program: &str) -> PathBuf {
    paths.logs().join(format!("{program}.log"))
}

fn etcd(paths: &Paths) -> Vec<String> {
    vec![
        format!("--data-dir={}", paths.root().join("etcd").display()),
        "--listen-client-urls=http://127.0.0.1:2379".into(),
        "--advertise-client-urls=http://127.0.0.1:2379".into(),
        "--listen-peer-urls=http://127.0.0.1:2380".into(),
        // A lab that loses power is thrown away.
        "--unsafe-no-fsync".into(),
        "--log-level=warn".into(),
    ]
}

fn apiserver(config: &Config, paths: &Paths) -> Vec<String> {
    let pki = |file: &str| paths.pki().join(file).display().to_string();
    vec![
        "--etcd-servers=http://127.0.0.1:2379".into(),
        "--bind-address=0.0.0.0".into(),
        "--secure-port=6443".into(),
        format!("--advertise-address={}", api_server(config)),
        format!("--client-ca-file={}", pki("ca.crt")),
        format!("--tls-cert-file={}", pki("apiserver.crt")),
        format!("--tls-private-key-file={}", pki("apiserver.key")),
        format!("--kubelet-client-certificate={}", pki("apiserver-kubelet.crt")),
        format!("--kubelet-client-key={}", pki("apiserver-kubelet.key")),
        "--kubelet-preferred-address-types=InternalIP".into(),
        format!("--service-account-key-file={}", pki("service-accounts.pub")),
        format!("--service-account-signing-key-file={}", pki("service-accounts.key")),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        "--service-cluster-ip-range=10.96.0.0/16,fd96::/108".into(),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        format!("--admission-control-config-file={}", paths.root().join("admission.yaml").display()),
        "--allow-privileged=true".into(),
        // There is no kube-proxy beside the API server: it reaches webhooks by their endpoints.
        "--enable-aggregator-routing=true".into(),
    ]
}

fn controller_manager(paths: &Paths) -> Vec<String> {
    let pki = |file: &str| paths.pki().join(file).display().to_string();
    vec![
        format!("--kubeconfig={}", paths.kubeconfig_of("controller-manager").display()),
        format!("--root-ca-file={}", pki("ca.crt")),
        format!("--service-account-private-key-file={}", pki("service-accounts.key")),
        "--use-service-account-credentials=true".into(),
        // It makes this folder, by default in the machine's own /usr.
        format!("--flex-volume-plugin-dir={}", paths.root().join("volume-plugins").display()),
        "--allocate-node-cidrs=true".into(),
        "--cluster-cidr=10.244.0.0/16,fd44::/48".into(),
        "--service-cluster-ip-range=10.96.0.0/16,fd96::/108".into(),
        "--node-cidr-mask-size-ipv4=24".into(),
        "--node-cidr-mask-size-ipv6=64".into(),
        "--leader-elect=false".into(),
    ]
}

fn scheduler(paths: &Paths) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", paths.kubeconfig_of("scheduler").display()),
        "--leader-elect=false".into(),
    ]
}
