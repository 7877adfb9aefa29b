//! Taking a lab down, whatever state it is in, and counting what is left of one.

use std::collections::BTreeSet;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::process::{command_line, in_namespaces};
use super::{LabError, Paths, cgroup};

/// Killed processes are gone after this time, or something holds them.
const PATIENCE: Duration = Duration::from_secs(10);

/// What there is of a lab on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// Processes in its namespaces or cgroups, with their command lines.
    pub processes: Vec<(i32, String)>,
    /// Its network namespaces.
    pub namespaces: Vec<String>,
    /// Mounts of this machine that lie in its folder.
    pub mounts: Vec<String>,
    /// Its cgroups, children first.
    pub cgroups: Vec<PathBuf>,
    /// Its folder, if it is there.
    pub folder: Option<PathBuf>,
}

impl Remains {
    /// Looks for them, by the lab's name and by what lives in its namespaces.
    ///
    /// Nothing is read from the lab's own notes, so it finds them too when those are missing or wrong.
    pub fn of(paths: &Paths) -> Self {
        let mut remains = Remains { cgroups: cgroup::of(paths), ..Remains::default() };
        let mut inodes = BTreeSet::new();
        for name in paths.netns_names() {
            if let Ok(file) = std::fs::metadata(Path::new("/run/netns").join(&name)) {
                inodes.insert(file.ino());
                remains.namespaces.push(name);
            }
        }
        let mut pids: BTreeSet<i32> = in_namespaces(&inodes).into_iter().collect();
        pids.extend(remains.cgroups.iter().flat_map(|folder| cgroup::processes(folder)));
        // A thread of whoever takes it down may still be in a group of the lab.
        pids.remove(&i32::try_from(std::process::id()).unwrap_or_default());
        remains.processes = pids.into_iter().map(|pid| (pid, command_line(pid))).collect();

        let root = paths.root();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let inside = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        remains.mounts =
            inside.filter(|to| PathBuf::from(to).starts_with(&root)).map(str::to_owned).collect();
        remains.folder = root.exists().then_some(root);
        remains
    }

    /// Whether there is nothing.
    pub fn is_none(&self) -> bool {
        *self == Remains::default()
    }
}

/// The right to bring a lab up or take it down; one process at a time has it.
#[derive(Debug)]
pub struct Lock {
    _socket: UnixListener,
}

impl Lock {
    /// Takes it, without waiting.
    ///
    /// # Errors
    /// When another process has it.
    pub fn take(paths: &Paths) -> Result<Self, LabError> {
        let address = SocketAddr::from_abstract_name(paths.lock()).map_err(LabError::at(paths.lock()))?;
        match UnixListener::bind_addr(&address) {
            Ok(socket) => Ok(Lock { _socket: socket }),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                Err(LabError::Busy(paths.lab().to_owned()))
            }
            Err(error) => Err(LabError::at(paths.lock())(error)),
        }
    }
}

/// Takes the lab down: processes, namespaces, mounts, cgroups, files. Without anything there it does nothing.
///
/// # Errors
/// When another process is bringing it up, or something stays, with what it is.
pub fn down(paths: &Paths) -> Result<(), LabError> {
    take_down(paths, &Lock::take(paths)?)
}

/// See [`down`]; for whoever has the lock.
pub(super) fn take_down(paths: &Paths, _lock: &Lock) -> Result<(), LabError> {
    // Taking down what is half up is the usual case, so nothing here relies on an order of things: it
    // kills and looks again until nothing is left.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let remains = Remains::of(paths);
        for (pid, _) in &remains.processes {
            // It may have ended by itself, or with the one before it.
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        if remains.processes.is_empty() {
            break;
        }
        if Instant::now() > deadline {
            let list: Vec<String> =
                remains.processes.iter().map(|(pid, line)| format!("{pid} {line}")).collect();
            return Err(LabError::Late {
                what: "the end of the lab's processes".into(),
                seconds: PATIENCE.as_secs(),
                state: list.join("; "),
            });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let remains = Remains::of(paths);
    for mount in remains.mounts.iter().rev() {
        let _ = nix::mount::umount2(mount.as_str(), nix::mount::MntFlags::MNT_DETACH);
    }
    for name in &remains.namespaces {
        let file = PathBuf::from("/run/netns").join(name);
        let _ = nix::mount::umount2(&file, nix::mount::MntFlags::MNT_DETACH);
        std::fs::remove_file(&file).map_err(LabError::at(&file))?;
    }
    for folder in &remains.cgroups {
        remove_cgroup(folder, deadline)?;
    }
    if let Some(folder) = remains.folder {
        std::fs::remove_dir_all(&folder).map_err(LabError::at(&folder))?;
    }
    let left = Remains::of(paths);
    if left.is_none() {
        return Ok(());
    }
    Err(LabError::State(format!("something of the lab stayed behind: {left:?}")))
}

/// The kernel takes a moment to notice that the last process of a cgroup is gone.
fn remove_cgroup(folder: &PathBuf, deadline: Instant) -> Result<(), LabError> {
    loop {
        match std::fs::remove_dir(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                if Instant::now() > deadline {
                    return Err(LabError::at(folder)(error));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            _ => return Ok(()),
        }
    }
}
