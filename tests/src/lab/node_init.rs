//! A node, from inside: `lab node-init`, twice.
//!
//! The outer process, already in the node's network namespace, makes the others (mounts, host name, IPC and
//! process ids) and starts itself again: that child is process 1 of the node. It prepares the mounts,
//! starts containerd, the kubelet and kube-proxy, starts them again when they end, and collects orphans. When
//! the outer process dies, the kernel kills process 1, and with it everything in the node.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, sethostname};

use super::{Lab, LabError, node};

/// A program that ended is started again after this time.
const RESTART: Duration = Duration::from_millis(500);

/// The outer process.
///
/// # Errors
/// When the kernel refuses a namespace, or the node ends.
pub fn outer(lab: &Lab, node: &str) -> Result<(), LabError> {
    let failed = |error: nix::Error| LabError::program("making the node's namespaces", error);
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWPID,
    )
    .map_err(failed)?;
    let program = std::env::current_exe().map_err(LabError::at("/proc/self/exe"))?;
    let status = Command::new(program)
        .args(["node-init", "--inner", "--name", &lab.config.name, node])
        .status()
        .map_err(|error| LabError::program("node-init", error))?;
    Err(LabError::program(node, format!("it ended: {status}")))
}

/// Process 1 of the node.
///
/// # Errors
/// When a mount fails or a program cannot be started.
pub fn inner(lab: &Lab, node: &str) -> Result<(), LabError> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(|error| LabError::program("prctl", error))?;
    mounts(lab).map_err(|error| LabError::program("mounting the node's file systems", error))?;
    sethostname(node).map_err(|error| LabError::program("sethostname", error))?;

    // Where root's programs lie, even if a user's PATH started the lab.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/local/sbin:/usr/sbin:/sbin";
    let programs = Path::new("/run/programs");
    let mut containerd = Command::new("containerd");
    containerd.arg(format!("--config=/run/lab/{node}/containerd.toml"));
    let mut kubelet = Command::new(programs.join("kubelet"));
    kubelet.args(node::kubelet_flags(node));
    let mut kube_proxy = Command::new(programs.join("kube-proxy"));
    kube_proxy.args(node::proxy_flags(&lab.config, node));

    let mut daemons = Vec::new();
    for (name, mut command) in [("containerd", containerd), ("kubelet", kubelet), ("kube-proxy", kube_proxy)]
    {
        let log = Path::new("/run/lab/logs").join(format!("{node}-{name}.log"));
        let log = fs::File::options().create(true).append(true).open(&log).map_err(LabError::at(&log))?;
        let errors = log.try_clone().map_err(LabError::at("a log"))?;
        command.env("PATH", &path).stdin(Stdio::null()).stdout(log).stderr(errors);
        daemons.push(Daemon { name, command, child: None, restart: Instant::now() });
    }
    loop {
        for daemon in &mut daemons {
            daemon.keep()?;
        }
        reap(&mut daemons);
        std::thread::sleep(Duration::from_millis(20));
    }
}

struct Daemon {
    name: &'static str,
    command: Command,
    child: Option<Child>,
    restart: Instant,
}

impl Daemon {
    fn keep(&mut self) -> Result<(), LabError> {
        if self.child.is_none() && Instant::now() >= self.restart {
            self.child = Some(self.command.spawn().map_err(|error| LabError::program(self.name, error))?);
        }
        Ok(())
    }
}

/// Collects everything that has ended: process 1 inherits all orphans.
fn reap(daemons: &mut [Daemon]) {
    while let Ok(status) = waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
        let pid = match status {
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _) => pid,
            WaitStatus::StillAlive => return,
            _ => continue,
        };
        let is = |daemon: &&mut Daemon| {
            daemon.child.as_ref().is_some_and(|child| i64::from(child.id()) == i64::from(pid.as_raw()))
        };
        if let Some(daemon) = daemons.iter_mut().find(is) {
            eprintln!("{} ended ({status:?}); starting it again", daemon.name);
            daemon.child = None;
            daemon.restart = Instant::now() + RESTART;
        }
    }
}

/// Settings of the kernel that the kubelet sets to these values unless it finds them so. They belong to the
/// whole machine (`panic` lets it start anew after a crash), so a node gets files in their places.
const SETTINGS: [(&str, u32); 6] = [
    ("vm/overcommit_memory", 1),
    ("vm/panic_on_oom", 0),
    ("kernel/panic", 10),
    ("kernel/panic_on_oops", 1),
    ("kernel/keys/root_maxkeys", 1_000_000),
    ("kernel/keys/root_maxbytes", 25_000_000),
];

/// The node's own file systems.
///
/// 1. What is mounted here stays here.
/// 2. A new /run, in which the lab's folder and its programs are found again: containerd's sockets and the
///    pods' network namespaces are then the node's own.
/// 3. The cgroups are set aside, /sys is mounted anew (it shows the network of whoever mounts it), and the
///    cgroups are put back. The old /sys goes first: the kubelet takes the first cgroup mount it finds.
/// 4. /proc of the node's own process ids, with [`SETTINGS`] that are not the machine's.
/// 5. A new /var/lib: the kubelet keeps its device sockets below it whatever its folder is, and
///    two nodes would fight over them. A new /var/log: it links the logs of containers there.
/// 6. Mounts are shared from here on, as pods' volumes need.
fn mounts(lab: &Lab) -> Result<(), String> {
    let none = None::<&str>;
    let bind = |from: &Path, to: &str| {
        fs::create_dir_all(to).map_err(|error| format!("{to}: {error}"))?;
        mount(Some(from), to, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
            .map_err(|error| format!("{to}: {error}"))
    };
    let fresh = |kind: &str, to: &str| {
        mount(Some(kind), to, Some(kind), MsFlags::empty(), none)
            .map_err(|error| format!("{kind} on {to}: {error}"))
    };
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(|error| format!("private: {error}"))?;

    let programs = lab.paths.programs_link().canonicalize().map_err(|error| format!("programs: {error}"))?;
    let root = lab.paths.root();
    fresh("tmpfs", "/run")?;
    bind(&root, "/run/lab")?;
    bind(&programs, "/run/programs")?;

    bind(Path::new("/sys/fs/cgroup"), "/run/cgroup")?;
    umount2("/sys", MntFlags::MNT_DETACH).map_err(|error| format!("/sys: {error}"))?;
    fresh("sysfs", "/sys")?;
    bind(Path::new("/run/cgroup"), "/sys/fs/cgroup")?;
    umount2("/run/cgroup", MntFlags::MNT_DETACH).map_err(|error| format!("/run/cgroup: {error}"))?;

    fresh("proc", "/proc")?;
    for (name, value) in SETTINGS {
        let to = Path::new("/proc/sys").join(name);
        // A kernel may be built without one of them; the kubelet then finds nothing to set either.
        if !to.exists() {
            continue;
        }
        let from = Path::new("/run/settings").join(name.replace('/', "."));
        fs::create_dir_all("/run/settings").map_err(|error| format!("/run/settings: {error}"))?;
        fs::write(&from, format!("{value}\n")).map_err(|error| format!("{}: {error}", from.display()))?;
        mount(Some(&from), &to, none, MsFlags::MS_BIND, none)
            .map_err(|error| format!("{}: {error}", to.display()))?;
    }
    fresh("tmpfs", "/var/lib")?;
    fresh("tmpfs", "/var/log")?;
    for folder in ["/var/lib/kubelet", "/var/lib/cni", "/run/containerd"] {
        fs::create_dir_all(folder).map_err(|error| format!("{folder}: {error}"))?;
    }
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SHARED, none)
        .map_err(|error| format!("shared: {error}"))
}
