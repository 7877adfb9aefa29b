//! Whether this machine can run a lab; if not, one sentence that says what is missing and how to get it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Config, LabError, Paths, Proxy};

/// Commands that a lab runs, and the Debian package of each.
const COMMANDS: &[(&str, &str)] = &[
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("iptables", "iptables"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
];

/// Where CNI plugins may lie: Debian's folder, and that of everybody else.
const CNI_FOLDERS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

/// The CNI plugins that a node needs.
const CNI_PLUGINS: [&str; 3] = ["bridge", "host-local", "loopback"];

/// Checks everything that can be checked without starting anything.
///
/// 1. Root. 2. The commands and the CNI plugins. 3. What the kernel must be able to do: namespaces,
///    bridges and veth pairs, and kube-proxy's kind of rules.
///
/// # Errors
/// The first thing that is missing.
pub fn check(config: &Config) -> Result<(), LabError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(LabError::Machine("the lab makes network namespaces and mounts: run it as root".into()));
    }
    let missing: Vec<&(&str, &str)> =
        COMMANDS.iter().filter(|(command, _)| find(command).is_none()).collect();
    if !missing.is_empty() {
        let commands: Vec<&str> = missing.iter().map(|(command, _)| *command).collect();
        let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
        packages.sort_unstable();
        packages.dedup();
        return Err(LabError::Machine(format!(
            "{} not found: `make setup`, or apt-get install {}",
            commands.join(", "),
            packages.join(" ")
        )));
    }
    if config.nodes > 0 {
        cni_folder()?;
        cgroups()?;
        stackable(&Paths::of(&config.name))?;
    }
    kernel(config)
}

/// Layers of images cannot be stacked on a file system that is itself stacked, such as a container's root.
fn stackable(paths: &Paths) -> Result<(), LabError> {
    let root = paths.root();
    let nearest = root.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let kind = nix::sys::statfs::statfs(nearest).map_err(|error| LabError::at(nearest)(error.into()))?;
    if kind.filesystem_type() != nix::sys::statfs::OVERLAYFS_SUPER_MAGIC {
        return Ok(());
    }
    Err(LabError::Machine(format!(
        "{} lies on an overlay file system, on which images cannot be unpacked: mount a disk or a tmpfs there, \
         in a container by --tmpfs /var/lib/ferrolb-lab:exec or a volume",
        nearest.display()
    )))
}

/// The folder of CNI plugins that this machine has.
///
/// # Errors
/// When no folder has all that are needed.
pub fn cni_folder() -> Result<PathBuf, LabError> {
    let complete = |folder: &PathBuf| CNI_PLUGINS.iter().all(|plugin| folder.join(plugin).exists());
    CNI_FOLDERS.iter().map(PathBuf::from).find(complete).ok_or_else(|| {
        LabError::Machine(format!(
            "the CNI plugins {} are neither in {}: `make setup`, or apt-get install containernetworking-plugins",
            CNI_PLUGINS.join(", "),
            CNI_FOLDERS.join(" nor in ")
        ))
    })
}

/// Where a command lies; also looks where root's programs lie when PATH has only a user's.
pub fn find(command: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(command)).find(|file| file.is_file())
}

fn cgroups() -> Result<(), LabError> {
    let missing = super::cgroup::missing();
    if missing.is_empty() {
        return Ok(());
    }
    Err(LabError::Machine(format!(
        "the kernel's cgroups lack {}, which the kubelet needs: mount them, or boot with them enabled",
        missing.join(", ")
    )))
}

/// Tries in a namespace of its own, which ends with the command, what the lab will do for real.
fn kernel(config: &Config) -> Result<(), LabError> {
    let trial = |what: &str, script: &str, cure: &str| {
        let output = Command::new("unshare").args(["--net", "--mount", "sh", "-c", script]).output();
        match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                Err(LabError::Machine(format!("{what} ({}): {cure}", said.trim())))
            }
            Err(error) => {
                Err(LabError::Machine(format!("unshare cannot be run ({error}): apt-get install util-linux")))
            }
        }
    };
    trial(
        "cannot make network namespaces",
        "true",
        "the machine or container must allow CAP_SYS_ADMIN and CAP_NET_ADMIN",
    )?;
    trial(
        "cannot make a bridge with veth pairs",
        "ip link add name lab0 type bridge && ip link add name lab1 type veth peer name lab2",
        "the kernel needs CONFIG_BRIDGE and CONFIG_VETH (modprobe bridge veth)",
    )?;
    if config.nodes == 0 {
        return Ok(());
    }
    trial(
        "cannot mount an overlay file system",
        "mount -t tmpfs none /tmp && mkdir /tmp/l /tmp/u /tmp/w /tmp/m && \
         mount -t overlay none -o lowerdir=/tmp/l,upperdir=/tmp/u,workdir=/tmp/w /tmp/m",
        "the kernel needs CONFIG_OVERLAY_FS (modprobe overlay)",
    )?;
    match config.proxy {
        Proxy::Iptables => trial(
            "cannot use iptables as kube-proxy does",
            "for command in iptables ip6tables; do \
             $command -t nat -A PREROUTING -m comment --comment x -j RETURN && \
             $command -t nat -A POSTROUTING -m statistic --mode random --probability 0.5 -j MASQUERADE || exit 1; \
             done",
            "the kernel needs the nat table of IPv4 and IPv6 and the comment, statistic and masquerade modules; \
             or try --proxy nftables",
        ),
        Proxy::Nftables => trial(
            "cannot use nftables as kube-proxy does",
            "nft 'add table ip t; add chain ip t c { type nat hook postrouting priority 100; }; \
             add rule ip t c numgen random mod 2 vmap { 0 : return }; add rule ip t c masquerade'",
            "the kernel needs nf_tables with nat, numgen and masquerade (modprobe nf_tables nft_chain_nat); \
             or try --proxy iptables",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_where_they_are() {
        assert!(find("sh").is_some());
        assert!(find("no-such-command-anywhere").is_none());
    }
}
