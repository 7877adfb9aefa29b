//! A node, seen from outside: its files, its start and its end.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::process::{command_line, in_namespaces, in_netns, run, spawn};
use super::{Config, LabError, Paths, cgroup, network, preflight, programs};

/// A killed node is gone after this time, or something holds it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts `node`: writes its configuration and starts the one process that is the node.
///
/// # Errors
/// When a file cannot be written or the process cannot be started.
pub fn start(config: &Config, paths: &Paths, node: &str, lab_program: &Path) -> Result<(), LabError> {
    let folder = paths.node(node);
    for part in ["cni", "containerd", "logs"] {
        let part = folder.join(part);
        std::fs::create_dir_all(&part).map_err(LabError::at(&part))?;
    }
    cgroup::make(paths, node)?;
    let write = |file: &str, text: String| {
        let path = folder.join(file);
        std::fs::write(&path, text).map_err(LabError::at(path))
    };
    write("containerd.toml", containerd(node, &preflight::cni_folder()?))?;
    write("kubelet.json", kubelet(config, paths, node).to_string())?;

    let mut command = in_netns(&paths.netns(node), lab_program);
    command.args(["node-init", "--name", &config.name, node]);
    let child = spawn(command, &paths.logs().join(format!("{node}.log")))?;
    let file = folder.join("pid");
    std::fs::write(&file, child.id().to_string()).map_err(LabError::at(file))
}

/// Ends `node` as a power failure does: first its cables are dead, then every process of it at once. Returns
/// when all of them are gone, and what its kernel knew: the rules of its service proxy, and its connections.
///
/// # Errors
/// When the node is not running, or a process of it stays.
pub fn power_off(config: &Config, paths: &Paths, node: &str) -> Result<(), LabError> {
    let outer = running(paths, node).ok_or_else(|| not_running(node))?;
    cables(config, paths, node, false)?;
    // With its process 1 the kernel ends the whole node. The outer process goes after it, or before: it
    // alone is there while the node is being made.
    for pid in init(paths, node).into_iter().chain([outer]) {
        // It may have ended with the one before it.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = processes(paths, node);
        if left.is_empty() {
            return forget(paths, node);
        }
        if Instant::now() > deadline {
            let lines = left.into_iter().map(|pid| format!("{pid} {}", command_line(pid)));
            return Err(LabError::Late {
                what: format!("the end of {node}"),
                seconds: PATIENCE.as_secs(),
                state: lines.collect::<Vec<_>>().join("; "),
            });
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Makes the kernel of a node forget what no kernel knows after a start. Its namespace stays, and with it all that is in it.
fn forget(paths: &Paths, node: &str) -> Result<(), LabError> {
    run(in_netns(&paths.netns(node), "nft").args(["flush", "ruleset"]))?;
    run(in_netns(&paths.netns(node), "conntrack").arg("-F")).map(|_| ())
}

/// Makes the kernel of a node forget the connections to `address` through it, and no others: the node's own to the API server go
/// through it too.
///
/// # Errors
/// When it refuses.
pub fn forget_connections(paths: &Paths, node: &str, address: IpAddr) -> Result<(), LabError> {
    /// One that ends by itself meanwhile makes the program stop half way.
    const TRIES: usize = 50;
    let mut said = String::new();
    for _ in 0..TRIES {
        let mut conntrack = in_netns(&paths.netns(node), "conntrack");
        let done = conntrack.args(["-D", "--orig-dst", &address.to_string()]).output();
        let done = done.map_err(|error| LabError::program("conntrack", error))?;
        said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
        // It fails where there is none.
        if done.status.success() || said.contains(" 0 flow entries") {
            return Ok(());
        }
        if !said.contains("does not exist") {
            break;
        }
    }
    Err(LabError::State(format!("conntrack on {node}: {said}")))
}

/// Starts `node` again after [`power_off`], and plugs it in.
///
/// # Errors
/// When it is running, or see [`start`].
pub fn power_on(config: &Config, paths: &Paths, node: &str, lab_program: &Path) -> Result<(), LabError> {
    if running(paths, node).is_some() {
        return Err(LabError::State(format!("{node} is running")));
    }
    cables(config, paths, node, true)?;
    start(config, paths, node, lab_program)
}

fn cables(config: &Config, paths: &Paths, node: &str, up: bool) -> Result<(), LabError> {
    network::set_ports(paths, node, &config.networks(), up)
}

/// What to say of a node that is off.
pub fn not_running(node: &str) -> LabError {
    LabError::NodeOff(node.to_owned())
}

/// Every process of `node`: in its network namespace, in that of a pod of it (by cgroup).
pub fn processes(paths: &Paths, node: &str) -> BTreeSet<i32> {
    let namespace = std::fs::metadata(paths.netns(node)).map(|file| file.ino());
    let mut pids: BTreeSet<i32> = in_namespaces(&namespace.into_iter().collect()).into_iter().collect();
    let cgroups = cgroup::named(&[paths.cgroup(node)]);
    pids.extend(cgroups.iter().flat_map(|folder| cgroup::processes(folder)));
    pids
}

/// The process id of `node`, if it runs.
pub fn running(paths: &Paths, node: &str) -> Option<i32> {
    let pid: i32 = std::fs::read_to_string(paths.node(node).join("pid")).ok()?.trim().parse().ok()?;
    // The number may belong to another process by now, even to a node of another lab.
    let inside = std::fs::metadata(format!("/proc/{pid}/ns/net")).ok()?.ino();
    let namespace = std::fs::metadata(paths.netns(node)).ok()?.ino();
    (inside == namespace && command_line(pid).contains("node-init")).then_some(pid)
}

/// The process that is process 1 inside `node`, through which its namespaces are entered.
pub fn init(paths: &Paths, node: &str) -> Option<i32> {
    let outer = running(paths, node)?;
    let children = std::fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Writes the network configuration of the node's pods, from the ranges that its Node object has.
///
/// # Errors
/// When the file cannot be written.
pub fn configure_pods(paths: &Paths, node: &str, ranges: &[String]) -> Result<(), LabError> {
    let subnets: Vec<_> = ranges.iter().map(|range| json!([{ "subnet": range }])).collect();
    let routes: Vec<_> = ranges
        .iter()
        .map(|range| json!({ "dst": if range.contains(':') { "::/0" } else { "0.0.0.0/0" } }))
        .collect();
    let list = json!({
        "cniVersion": "0.4.0", "name": "lab",
        "plugins": [{
            "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
            "ipam": { "type": "host-local", "ranges": subnets, "routes": routes, "dataDir": "/var/lib/cni/networks" },
        }],
    });
    let path = paths.node(node).join("cni/10-lab.conflist");
    std::fs::write(&path, list.to_string()).map_err(LabError::at(path))
}

fn containerd(node: &str, plugins: &Path) -> String {
    format!(
        r#"version = 2
root = "/run/lab/{node}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[plugins."io.containerd.internal.v1.opt"]
  path = "/run/containerd/opt"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "/run/lab/{node}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"#,
        pause = programs::PAUSE,
        plugins = plugins.display(),
    )
}

fn kubelet(config: &Config, paths: &Paths, node: &str) -> serde_json::Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "failCgroupV1": false, "cgroupDriver": "cgroupfs", "cgroupRoot": format!("/{}", paths.cgroup(node)),
        "failSwapOn": false, "enforceNodeAllocatable": [], "localStorageCapacityIsolation": false,
        "authentication": {
            "anonymous": { "enabled": false }, "webhook": { "enabled": false },
            "x509": { "clientCAFile": "/run/lab/pki/ca.crt" },
        },
        "authorization": { "mode": "AlwaysAllow" },
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "podLogsDir": format!("/run/lab/{node}/logs"),
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        // Where a cluster has its DNS server by custom; the lab has none unless a test puts one there.
        "resolvConf": "", "clusterDomain": "cluster.local", "clusterDNS": [network::CLUSTER_DNS],
        // A full disk of the machine is not the lab's affair.
        "evictionHard": { "memory.available": "1Mi" }, "imageGCHighThresholdPercent": 100,
        "serializeImagePulls": false, "maxPods": 250,
        "providerID": format!("lab://{}/{node}", config.name),
    })
}

/// The kubelet's flags, which have no place in its file.
pub(super) fn kubelet_flags(node: &str) -> Vec<String> {
    let number: u8 = node.trim_start_matches("node").parse().unwrap_or_default();
    vec![
        format!("--config=/run/lab/{node}/kubelet.json"),
        format!("--kubeconfig=/run/lab/pki/{node}.kubeconfig"),
        format!("--hostname-override={node}"),
        format!("--node-ip={}", network::node_addresses(number)),
        "--root-dir=/var/lib/kubelet".into(),
    ]
}

/// kube-proxy's flags.
pub(super) fn proxy_flags(config: &Config, node: &str) -> Vec<String> {
    vec![
        "--kubeconfig=/run/lab/pki/proxy.kubeconfig".into(),
        format!("--hostname-override={node}"),
        format!("--proxy-mode={}", config.proxy.flag()),
        "--cluster-cidr=10.244.0.0/16,fd44::/48".into(),
        // These settings belong to the whole machine, not to a namespace.
        "--conntrack-max-per-core=0".into(),
        "--conntrack-tcp-timeout-established=0".into(),
        "--conntrack-tcp-timeout-close-wait=0".into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pods_of_a_node_get_its_ranges() {
        let config = Config::new("a").unwrap();
        let text = kubelet(&config, &Paths::of("a"), "node2").to_string();
        assert!(text.contains("/lab-a-node2"), "{text}");
        assert!(kubelet_flags("node2").contains(&"--node-ip=10.10.0.12,fd10::12".to_owned()));
    }
}
