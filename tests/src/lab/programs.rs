//! The programs of the cluster: built by Go from pinned modules, once, or ready-made.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::LabError;
use super::progress::Progress;
use crate::image::{self, Image};
use crate::release::build::Place;
use crate::release::image::image as released;
use crate::release::source::Source;
use crate::release::{PACKAGES as FERROLB_PACKAGES, PROGRAMS as FERROLB_PROGRAMS};

/// The environment variable that chooses another version of Kubernetes than the first of [`KUBERNETES`], by its minor
/// version: `1.33`.
pub const VERSION: &str = "FERROLB_KUBERNETES";

/// The versions of Kubernetes that are pinned, each with the folder of its Go module within `tests`; a test holds them
/// together. `tools/kubernetes-modules` makes such a folder.
pub const KUBERNETES: [(&str, &str); 2] =
    [("v1.36.3", "programs"), (OLDEST_KUBERNETES, "programs/kubernetes-1.33")];

/// The oldest version that FerroLB supports.
pub const OLDEST_KUBERNETES: &str = "v1.33.13";

/// What is built, and from which Go package. The last one has its version in `programs/go.mod`, whatever the others have.
const PROGRAMS: [(&str, &str); 7] = [
    ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
    ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
    ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
    ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    ("etcd", "go.etcd.io/etcd/server/v3"),
];

/// The environment variable that names a folder of ready programs. Other Kubernetes test tools use it too.
pub const READY_PROGRAMS: &str = "KUBEBUILDER_ASSETS";

/// The image of the pod's sandbox.
pub const PAUSE: &str = "localhost/ferrolb-lab/pause:1";

/// The image of the echo server.
pub const ECHO: &str = "localhost/ferrolb-lab/echo:1";

/// The environment variable that names a folder of ready FerroLB programs, to test or measure those. Those of the
/// lab's own pods are taken from there too if they are in it.
pub const READY: &str = "FERROLB_PROGRAMS";

/// FerroLB's own image, as `config/default` names it.
pub const FERROLB: &str = "docker.io/library/ferrolb:dev";

/// A build that says nothing for so long says that it is still there.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// The folder in which cargo and the lab build.
pub fn target() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), |dir| workspace.join(dir))
}

/// The folder of the cluster's programs: `given`, or [`READY_PROGRAMS`], or built here and cached.
///
/// # Errors
/// When a ready folder lacks one, or a build fails.
pub fn programs(given: Option<&Path>, progress: &Progress) -> Result<PathBuf, LabError> {
    let ready = given.map(Path::to_owned).or_else(|| std::env::var_os(READY_PROGRAMS).map(PathBuf::from));
    let Some(folder) = ready else { return build(progress) };
    let missing: Vec<&str> =
        PROGRAMS.iter().map(|(name, _)| *name).filter(|name| !folder.join(name).is_file()).collect();
    if missing.is_empty() {
        return folder.canonicalize().map_err(LabError::at(&folder));
    }
    Err(LabError::Machine(format!(
        "{} lacks {}: put them there, or leave the folder out and the lab builds its own",
        folder.display(),
        missing.join(", ")
    )))
}

/// Builds the cluster's programs, in the version that [`VERSION`] says.
fn build(progress: &Progress) -> Result<PathBuf, LabError> {
    let asked = std::env::var(VERSION).unwrap_or_default();
    let (kubernetes, module) = pinned(&asked)?;
    let flags = |kubernetes: &str| {
        let (minor, version) = (minor(kubernetes), "k8s.io/component-base/version");
        format!(
            "-s -w -X {version}.gitVersion={kubernetes} -X {version}.gitMajor=1 -X {version}.gitMinor={minor}"
        )
    };
    let usual = target().join("lab/programs");
    let (default, default_module) = KUBERNETES[0];
    if kubernetes == default {
        return go_programs(default_module, &usual, &PROGRAMS, &["-ldflags", &flags(default)], progress);
    }
    let folder = target().join(format!("lab/programs-1.{}", minor(kubernetes)));
    let (etcd, others) = PROGRAMS.split_last().unwrap_or((&PROGRAMS[0], &[]));
    go_programs(module, &folder, others, &["-ldflags", &flags(kubernetes)], progress)?;
    go_programs(default_module, &usual, &[*etcd], &["-ldflags", &flags(default)], progress)?;
    let copy = folder.join(etcd.0);
    // Not written over: a lab that is up may run it.
    if copy.exists() {
        std::fs::remove_file(&copy).map_err(LabError::at(&copy))?;
    }
    std::fs::hard_link(usual.join(etcd.0), &copy).map_err(LabError::at(&copy))?;
    Ok(folder)
}

fn minor(version: &str) -> &str {
    version.split('.').nth(1).unwrap_or_default()
}

/// The version of Kubernetes, and the folder of its module, that is asked for as `1.33`; the usual one without a word.
fn pinned(asked: &str) -> Result<(&'static str, &'static str), LabError> {
    let wanted = |(version, _): &&(&str, &str)| asked == format!("1.{}", minor(version)) || asked == *version;
    if asked.is_empty() {
        return Ok(KUBERNETES[0]);
    }
    KUBERNETES.iter().find(wanted).copied().ok_or_else(|| {
        let known: Vec<String> =
            KUBERNETES.iter().map(|(version, _)| format!("1.{}", minor(version))).collect();
        LabError::Machine(format!(
            "{VERSION}={asked:?}: the lab has Kubernetes {}; tests/tools/kubernetes-modules pins another one",
            known.join(" and ")
        ))
    })
}

/// Arguments of `go build` for a program without what a debugger reads.
pub(super) const SMALL: [&str; 2] = ["-ldflags", "-s -w"];

/// Builds those of `programs` into `folder` that are not built yet, from the Go module in this folder of `tests`, with these
/// arguments of `go build`. A stamp of the pinned modules and the arguments tells what is current.
pub(super) fn go_programs(
    module: &str,
    folder: &Path,
    programs: &[(&str, &str)],
    arguments: &[&str],
    progress: &Progress,
) -> Result<PathBuf, LabError> {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join(module);
    std::fs::create_dir_all(folder).map_err(LabError::at(folder))?;
    let mut hash = Sha256::new();
    for file in ["go.mod", "go.sum"] {
        let path = modules.join(file);
        hash.update(std::fs::read(&path).map_err(LabError::at(&path))?);
    }
    hash.update(arguments.join(" "));
    let stamp: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();

    for (index, (name, package)) in programs.iter().enumerate() {
        let mark = folder.join(format!("{name}.stamp"));
        if folder.join(name).is_file() && std::fs::read_to_string(&mark).is_ok_and(|old| old == stamp) {
            continue;
        }
        let what = format!("building {name} ({}/{})", index + 1, programs.len());
        let mut go = Command::new("go");
        go.current_dir(&modules).env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=readonly -buildvcs=false");
        go.args(["build", "-trimpath"]).args(arguments).arg("-o").arg(folder.join(name)).arg(package);
        watched(&what, &mut go, progress)?;
        std::fs::write(&mark, &stamp).map_err(LabError::at(&mark))?;
    }
    Ok(folder.to_owned())
}

/// The images that the lab's own pods need, packed; built if they are not current or in the folder of [`READY`].
///
/// # Errors
/// When cargo fails or a file cannot be written.
pub fn images(progress: &Progress) -> Result<Vec<PathBuf>, LabError> {
    let ready = std::env::var_os(READY).map(PathBuf::from);
    let ready = ready.filter(|folder| ["pause", "echo"].iter().all(|name| folder.join(name).is_file()));
    let built = match ready {
        Some(folder) => folder,
        None => Place::here()?.build(&["ferrolb-lab-pods"], &["pause", "echo"], progress)?,
    };
    let folder = target().join("lab/images");
    let mut files = Vec::new();
    for (name, tag) in [("pause", PAUSE), ("echo", ECHO)] {
        let image =
            Image::new(tag).file(&built.join(name), name).entrypoint(&format!("/{name}")).user("65532");
        let file = folder.join(format!("{name}.tar"));
        image::write(&image, &file).map_err(|error| LabError::program("packing an image", error))?;
        files.push(file);
    }
    Ok(files)
}

/// FerroLB's own image, packed, under the tag that `config/default` names.
///
/// # Errors
/// When cargo fails or a file cannot be written.
pub fn ferrolb_image(progress: &Progress) -> Result<PathBuf, LabError> {
    let built = ferrolb_programs(progress)?;
    let source = Source::of(&Place::here()?.workspace);
    let image = released(FERROLB, &built, image::architecture(std::env::consts::ARCH), &source);
    let file = target().join("image/ferrolb.tar");
    image::write(&image, &file).map_err(|error| LabError::program("packing the image", error))?;
    Ok(file)
}

/// The folder of FerroLB's own programs, static as in the image: [`READY`], or built.
///
/// # Errors
/// When cargo fails.
pub fn ferrolb_programs(progress: &Progress) -> Result<PathBuf, LabError> {
    if let Some(folder) = std::env::var_os(READY) {
        return Ok(PathBuf::from(folder));
    }
    Place::here()?.build(&FERROLB_PACKAGES, &FERROLB_PROGRAMS, progress)
}

/// Runs a build; says what it is when it takes longer than a moment, and then that it goes on.
pub(crate) fn watched(what: &str, command: &mut Command, progress: &Progress) -> Result<(), LabError> {
    let log = tempfile::NamedTempFile::new().map_err(LabError::at(std::env::temp_dir()))?;
    let output = || log.reopen().map_err(LabError::at(log.path()));
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output()?)
        .stderr(std::fs::File::options().append(true).open(log.path()).map_err(LabError::at(log.path()))?)
        .spawn()
        .map_err(|error| {
            LabError::Machine(format!("{what} needs `{program}`, which cannot be run: {error}"))
        })?;
    let started = Instant::now();
    let (mut told, mut last) = (false, started);
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| LabError::program(what, error))? {
            break status;
        }
        if !told && started.elapsed() > Duration::from_secs(1) {
            told = true;
            progress.say(&format!("{what} …"));
        }
        if last.elapsed() > HEARTBEAT {
            last = Instant::now();
            // Such as `Blocking waiting for file lock on package cache`, or what is being compiled.
            let doing = super::process::last_lines(log.path(), 1);
            progress.say(&format!("{what} … {} s {}", started.elapsed().as_secs(), doing.trim()));
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    if !status.success() {
        let tail = super::process::last_lines(log.path(), 40);
        return Err(LabError::program(what, format!("{status}\n{tail}")));
    }
    if told {
        progress.say(&format!("{what}: done in {} s", started.elapsed().as_secs()));
    }
    Ok(())
}

/// Whether the go.mod of a module of ours says so.
#[cfg(test)]
pub(super) fn pins(module: &str, what: &str) -> bool {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(module).join("go.mod");
    std::fs::read_to_string(file).unwrap_or_default().contains(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_are_those_in_go_mod() {
        for (index, (version, module)) in KUBERNETES.iter().enumerate() {
            let pinned = format!("k8s.io/kubernetes {version}");
            assert!(pins(module, &pinned), "{module} pins another version");
            for (name, package) in PROGRAMS {
                let there = pins(module, package) || index > 0 && name == "etcd";
                assert!(there, "{module} has no tool {package}");
            }
        }
    }

    #[test]
    fn a_version_is_asked_for_by_its_minor_version() {
        assert_eq!(pinned("").unwrap(), KUBERNETES[0]);
        assert_eq!(pinned("1.36").unwrap(), KUBERNETES[0]);
        assert_eq!(pinned("1.33").unwrap().0, OLDEST_KUBERNETES);
        let error = pinned("1.3").unwrap_err().to_string();
        assert!(error.contains("1.36 and 1.33") && error.contains("kubernetes-modules"), "{error}");
    }

    #[test]
    fn a_ready_folder_must_have_all_programs() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("etcd"), "").unwrap();
        let error = programs(Some(folder.path()), &Progress::default()).unwrap_err().to_string();
        assert!(error.contains("lacks kube-apiserver") && !error.contains("etcd:"), "{error}");
    }
}
