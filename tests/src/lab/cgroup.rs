//! A cgroup for each node, in which its kubelet makes those of its pods.
//!
//! Both versions are handled. Version 1 was tried; version 2 follows the kernel's documentation.

use std::path::{Path, PathBuf};

use super::{LabError, Paths};

const ROOT: &str = "/sys/fs/cgroup";

/// What the kubelet asks for, in version 1 as folders, in version 2 as controllers.
const CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// Version 2 alone: the root itself lists controllers.
fn unified() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// The hierarchies: one of version 2, or each mounted one of version 1.
fn hierarchies() -> Vec<PathBuf> {
    if unified() {
        return vec![PathBuf::from(ROOT)];
    }
    let Ok(entries) = std::fs::read_dir(ROOT) else { return Vec::new() };
    let folders = entries.flatten().map(|entry| entry.path());
    folders.filter(|path| !path.is_symlink() && path.join("cgroup.procs").exists()).collect()
}

/// The controllers that this machine lacks.
pub fn missing() -> Vec<&'static str> {
    let has = |controller: &&str| {
        if unified() {
            let list =
                std::fs::read_to_string(Path::new(ROOT).join("cgroup.controllers")).unwrap_or_default();
            list.split_whitespace().any(|word| word == *controller)
        } else {
            Path::new(ROOT).join(controller).join("cgroup.procs").exists()
        }
    };
    CONTROLLERS.iter().filter(|controller| !has(controller)).copied().collect()
}

/// Makes the cgroup of `node`.
///
/// # Errors
/// When the kernel refuses.
pub fn make(paths: &Paths, node: &str) -> Result<(), LabError> {
    for hierarchy in hierarchies() {
        let folder = hierarchy.join(paths.cgroup(node));
        std::fs::create_dir_all(&folder).map_err(LabError::at(&folder))?;
        if unified() {
            delegate(&hierarchy)?;
            delegate(&folder)?;
        }
        // A new cpuset of version 1 is empty, and nothing can run in it.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let from = hierarchy.join(file);
            if !unified() && from.exists() {
                let value = std::fs::read_to_string(&from).map_err(LabError::at(&from))?;
                let to = folder.join(file);
                std::fs::write(&to, value.trim()).map_err(LabError::at(&to))?;
            }
        }
    }
    Ok(())
}

/// Hands all controllers on to the children of `folder` (version 2): the kubelet wants each that the machine has,
/// hugetlb too.
fn delegate(folder: &Path) -> Result<(), LabError> {
    let file = folder.join("cgroup.subtree_control");
    let offered = std::fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
    for controller in offered.split_whitespace() {
        let handed = std::fs::write(&file, format!("+{controller}"));
        if CONTROLLERS.contains(&controller) {
            handed.map_err(LabError::at(&file))?;
        }
    }
    Ok(())
}

/// All cgroups of a lab, children before parents.
pub fn of(paths: &Paths) -> Vec<PathBuf> {
    named(&paths.cgroup_names())
}

/// The cgroups of these names in all hierarchies, with all below them, children before parents.
pub fn named(names: &[String]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for hierarchy in hierarchies() {
        for folder in names.iter().map(|name| hierarchy.join(name)).filter(|folder| folder.is_dir()) {
            children_first(&folder, &mut found);
        }
    }
    found
}

fn children_first(folder: &Path, found: &mut Vec<PathBuf>) {
    if let Ok(entries) = std::fs::read_dir(folder) {
        for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
            children_first(&entry.path(), found);
        }
    }
    found.push(folder.to_owned());
}

/// The processes in a cgroup.
pub fn processes(folder: &Path) -> Vec<i32> {
    let list = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    // The kernel writes 0 for a process that this one cannot name; to kill 0 would be to kill ourselves.
    list.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect()
}
