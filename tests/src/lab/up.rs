//! Bringing a lab up, from nothing to a pod that runs.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

use super::control_plane::ControlPlane;
use super::down::{Lock, Remains, take_down};
use super::process::interrupted;
use super::progress::{Progress, wait};
use super::{Config, Lab, LabError, Paths, network, node, pki, preflight, process, programs};

/// How long one step may take, in seconds, on a slow machine.
const PATIENCE: u64 = 120;

/// Brings the lab up. `lab_program` is the `lab` program, which also is each node's first process.
///
/// On any error, and when interrupted, what was started is taken down again.
///
/// # Errors
/// The step that failed, and why.
pub async fn up(
    config: &Config,
    lab_program: &Path,
    ready_programs: Option<&Path>,
    progress: &Progress,
) -> Result<Lab, LabError> {
    preflight::check(config)?;
    let lab = Lab { config: config.clone(), paths: Paths::of(&config.name) };
    let lock = Lock::take(&lab.paths)?;
    let remains = Remains::of(&lab.paths);
    if !remains.processes.is_empty() {
        return Err(LabError::AlreadyUp(config.name.clone()));
    }
    let binaries = programs::programs(ready_programs, progress)?;
    let images = if config.nodes > 0 { programs::images(progress)? } else { Vec::new() };
    // What an interrupted start left behind would be in the way.
    take_down(&lab.paths, &lock)?;

    let started = tokio::select! {
        // In this order: signals are listened for before anything is started.
        biased;
        () = interrupted() => Err(LabError::Interrupted),
        result = start(&lab, lab_program, &binaries, &images, progress) => result,
    };
    match started {
        Ok(()) => Ok(lab),
        Err(error) => {
            let error = with_logs(error, &lab.paths);
            if let Err(left) = take_down(&lab.paths, &lock) {
                // The first error is the one to be told; this one says why another `lab down` is due.
                progress.say(&left.to_string());
            }
            Err(error)
        }
    }
}

/// The logs go with the lab, so their last lines go into the error.
fn with_logs(error: LabError, paths: &Paths) -> LabError {
    let LabError::Late { what, seconds, mut state } = error else { return error };
    for entry in std::fs::read_dir(paths.logs()).into_iter().flatten().flatten() {
        let tail = process::last_lines(&entry.path(), 5).replace('\n', "\n    ");
        state += &format!("\n  {}:\n    {tail}", entry.file_name().to_string_lossy());
    }
    LabError::Late { what, seconds, state }
}

async fn start(
    lab: &Lab,
    lab_program: &Path,
    binaries: &Path,
    images: &[PathBuf],
    progress: &Progress,
) -> Result<(), LabError> {
    let (config, paths) = (&lab.config, &lab.paths);
    // For root alone: whoever reads the administrator's key can start a privileged pod, and is root.
    let mut private = std::fs::DirBuilder::new();
    private.recursive(true).mode(0o700);
    for folder in [paths.root(), paths.pki(), paths.logs()] {
        private.create(&folder).map_err(LabError::at(&folder))?;
    }
    let text = serde_json::to_string_pretty(config).map_err(|error| LabError::State(error.to_string()))?;
    std::fs::write(paths.config(), text).map_err(LabError::at(paths.config()))?;
    let link = paths.programs_link();
    std::os::unix::fs::symlink(binaries, &link).map_err(LabError::at(&link))?;

    network::make(config, paths)?;
    pki::make(config, paths, &format!("https://{}:6443", network::api_server(config)))?;
    progress.say("networks and certificates are made; starting the control plane");
    let mut plane = ControlPlane::start(config, paths)?;
    for node in config.node_names() {
        node::start(config, paths, &node, lab_program)?;
    }
    open_door(lab, lab_program).await?;
    tokio::select! {
        result = api_server(lab, progress) => result?,
        error = plane.first_end() => return Err(error),
    }
    plane.start_controllers()?;
    tokio::select! {
        result = nodes(lab, images, progress) => result,
        error = plane.first_end() => Err(error),
    }
}

/// Waits for the API server.
async fn api_server(lab: &Lab, progress: &Progress) -> Result<(), LabError> {
    let client = lab.client().await?;
    wait("an API server that is ready", PATIENCE, async || {
        let request = http_request("/readyz");
        client.request_text(request).await.map(|_| ()).map_err(|error| error.to_string())
    })
    .await?;
    progress.say("the API server is ready");
    Ok(())
}

/// Waits until the rest is of use: the nodes, and a pod on one of them.
async fn nodes(lab: &Lab, images: &[PathBuf], progress: &Progress) -> Result<(), LabError> {
    let client = lab.client().await?;
    default_roles(&client).await?;
    if lab.config.nodes == 0 {
        return Ok(());
    }
    load_images(lab, images).await?;
    connect_nodes(lab, &client).await?;
    nodes_ready(lab, &client).await?;
    progress.say(&format!("{} nodes are Ready", lab.config.nodes));
    try_a_pod(&client).await?;
    progress.say("a pod runs");
    Ok(())
}

fn http_request(path: &str) -> http::Request<Vec<u8>> {
    let mut request = http::Request::new(Vec::new());
    *request.uri_mut() = path.parse().unwrap_or_default();
    request
}

/// Starts the forwarder and writes the administrator's kubeconfig.
async fn open_door(lab: &Lab, lab_program: &Path) -> Result<(), LabError> {
    let port_file = lab.paths.root().join("port");
    let mut command = std::process::Command::new(lab_program);
    command.args(["forward", "--name", &lab.config.name]).arg(&port_file);
    process::spawn(command, &lab.paths.logs().join("forward.log"))?;
    let port = wait("the forwarder", PATIENCE, async || {
        std::fs::read_to_string(&port_file).map_err(|error| error.to_string())
    })
    .await?;
    pki::admin(&lab.paths, &format!("https://127.0.0.1:{port}"))
}

/// Waits until the API server has made the roles of the cluster's programs, and bound them to the users that
/// their certificates name.
async fn default_roles(client: &kube::Client) -> Result<(), LabError> {
    let api: Api<k8s_openapi::api::rbac::v1::ClusterRoleBinding> = Api::all(client.clone());
    wait("the API server's default roles", PATIENCE, async || {
        api.get("system:node-proxier").await.map(|_| ()).map_err(|error| error.to_string())
    })
    .await
}

/// Loads the images of the lab's own pods into each node.
async fn load_images(lab: &Lab, images: &[PathBuf]) -> Result<(), LabError> {
    for image in images {
        load_image(lab, image).await?;
    }
    Ok(())
}

/// Loads an image (a docker-archive) into every node.
///
/// # Errors
/// When a node does not take it.
pub async fn load_image(lab: &Lab, image: &Path) -> Result<(), LabError> {
    // In the lab's folder every node sees it; a name of its own lets several be loaded at once.
    let copy = tempfile::NamedTempFile::new_in(lab.paths.root()).map_err(LabError::at(lab.paths.root()))?;
    std::fs::copy(image, copy.path()).map_err(LabError::at(image))?;
    let inside = Path::new("/run/lab").join(copy.path().file_name().unwrap_or_default());
    let nodes = lab.config.node_names().into_iter().map(|node| {
        let (lab, inside) = (lab.clone(), inside.clone());
        async move {
            wait(&format!("{node} to take the image"), PATIENCE, async || {
                let init =
                    node::init(&lab.paths, &node).ok_or_else(|| node::not_running(&node).to_string())?;
                let mut command = tokio::process::Command::new("nsenter");
                command.args(["--target", &init.to_string(), "--mount", "--net", "--pid", "--"]);
                command.args([
                    "ctr",
                    "--address",
                    "/run/containerd/containerd.sock",
                    "--namespace",
                    "k8s.io",
                ]);
                command.args(["images", "import"]).arg(&inside).kill_on_drop(true);
                let output = command.output().await.map_err(|error| error.to_string())?;
                if output.status.success() {
                    return Ok(());
                }
                Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
            })
            .await
        }
    });
    futures::future::try_join_all(nodes).await?;
    copy.close().map_err(LabError::at(image))
}

/// Gives each node's pods the ranges that its Node object has, and routes them.
async fn connect_nodes(lab: &Lab, client: &kube::Client) -> Result<(), LabError> {
    let nodes: Api<Node> = Api::all(client.clone());
    for name in lab.config.node_names() {
        let ranges = wait(&format!("the pod ranges of {name}"), PATIENCE, async || {
            let node = nodes.get(&name).await.map_err(|error| error.to_string())?;
            let ranges = node.spec.and_then(|spec| spec.pod_cidrs).unwrap_or_default();
            if ranges.is_empty() { Err("the Node has none yet".to_owned()) } else { Ok(ranges) }
        })
        .await?;
        node::configure_pods(&lab.paths, &name, &ranges)?;
        network::route_pods(&lab.config, &lab.paths, &name, &ranges)?;
    }
    Ok(())
}

/// Waits until all nodes are Ready.
///
/// # Errors
/// When one is not, with what it says.
pub async fn nodes_ready(lab: &Lab, client: &kube::Client) -> Result<(), LabError> {
    let nodes: Api<Node> = Api::all(client.clone());
    for name in lab.config.node_names() {
        wait(&format!("{name} to be Ready"), PATIENCE, async || {
            let node = nodes.get(&name).await.map_err(|error| error.to_string())?;
            let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
            match conditions.into_iter().find(|condition| condition.type_ == "Ready") {
                Some(condition) if condition.status == "True" => Ok(()),
                Some(condition) => Err(condition.message.unwrap_or_default()),
                None => Err("it says nothing yet".to_owned()),
            }
        })
        .await?;
    }
    Ok(())
}

/// Runs a pod as careful clusters allow it, and removes it.
async fn try_a_pod(client: &kube::Client) -> Result<(), LabError> {
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    wait("the default ServiceAccount", PATIENCE, async || {
        accounts.get("default").await.map(|_| ()).map_err(|error| error.to_string())
    })
    .await?;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let failed = |error: kube::Error| LabError::program("running a pod", error);
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "lab-trial"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "trial", "image": programs::PAUSE, "imagePullPolicy": "Never",
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsUser": 65532},
            }],
        },
    }))
    .map_err(|error| LabError::program("running a pod", error))?;
    pods.create(&PostParams::default(), &pod).await.map_err(failed)?;
    wait("a pod to run", PATIENCE, async || {
        let status = pods.get("lab-trial").await.map_err(|error| error.to_string())?.status;
        let phase = status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
        if phase == "Running" {
            return Ok(());
        }
        let containers = status.and_then(|status| status.container_statuses);
        let waiting = containers.into_iter().flatten().filter_map(|one| one.state?.waiting).next();
        Err(format!("{phase}: {:?}", waiting.and_then(|waiting| waiting.message.or(waiting.reason))))
    })
    .await?;
    pods.delete("lab-trial", &DeleteParams::default().grace_period(0)).await.map_err(failed)?;
    Ok(())
}
