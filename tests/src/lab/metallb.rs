//! MetalLB in the lab, to compare with: built from its Go module, run by its own manifest or its own Helm chart.
//!
//! Nothing here is built or fetched unless asked for. Its programs go into images under the names that the manifest
//! and the chart have, so both are used as they lie in the module.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::progress::Progress;
use super::{Lab, LabError, helm, process, programs, up};
use crate::image::{self, Image};
use crate::scene::SYSTEM;

/// The version in `programs/metallb/go.mod`; a test holds the two together.
pub const VERSION: &str = "v0.16.1";

/// The folder of its Go module, within `tests`.
const MODULE: &str = "programs/metallb";

/// Its programs, and the Go package of each.
const PROGRAMS: [(&str, &str); 2] =
    [("controller", "go.universe.tf/metallb/controller"), ("speaker", "go.universe.tf/metallb/speaker")];

/// Builds MetalLB, packs its images, loads them and applies its manifest.
///
/// # Errors
/// When a build fails or something is refused.
pub async fn install(lab: &Lab, progress: &Progress) -> Result<(), LabError> {
    for image in images(progress)? {
        up::load_image(lab, &image).await?;
    }
    // Larger than an annotation may be is one of its definitions: not by the client's way of applying.
    process::run(lab.kubectl().args(["apply", "--server-side", "--force-conflicts", "-f"]).arg(manifest()?))?;
    progress.say(&format!("MetalLB {VERSION}: its manifest is applied"));
    Ok(())
}

/// Builds MetalLB, packs its images, loads them and installs its chart as this release, in a new namespace that allows its
/// speakers the nodes' network. Without FRR and so without BGP, of which the lab has no images. Waits until all is ready.
///
/// # Errors
/// When a build fails, something is refused, or it does not become ready.
pub async fn install_chart(
    lab: &Lab,
    release: &str,
    namespace: &str,
    progress: &Progress,
) -> Result<(), LabError> {
    for image in images(progress)? {
        up::load_image(lab, &image).await?;
    }
    process::run(lab.kubectl().args(["create", "namespace", namespace]))?;
    let privileged = "pod-security.kubernetes.io/enforce=privileged";
    process::run(lab.kubectl().args(["label", "namespace", namespace, privileged]))?;
    let install = ["--set", "frrk8s.enabled=false", "--wait", "--timeout=180s"];
    process::run(
        helm::helm(lab, progress)?
            .args(["install", release, "--namespace", namespace])
            .arg(chart()?)
            .args(install),
    )?;
    progress.say(&format!("MetalLB {VERSION}: its chart is release {release} in namespace {namespace}"));
    Ok(())
}

/// The folder of its programs, `controller` and `speaker`; built if they are not current.
///
/// # Errors
/// When a build fails.
pub fn built(progress: &Progress) -> Result<PathBuf, LabError> {
    programs::go_programs(
        MODULE,
        &programs::target().join("lab/metallb"),
        &PROGRAMS,
        &programs::SMALL,
        progress,
    )
}

/// The flags with which its controller runs outside of a pod. Without its webhook, which the API server could not reach
/// there: no Service passes it.
pub fn controller_flags(kubeconfig: &Path, metrics: u16, health: u16) -> Vec<String> {
    let mut flags = common_flags(kubeconfig, metrics, health);
    flags.extend(["--webhook-mode=disabled", "--disable-cert-rotation"].map(str::to_owned));
    flags
}

/// The flags with which its speaker runs outside of a pod as that of this node. Without memberlist, as there is no other
/// speaker.
pub fn speaker_flags(kubeconfig: &Path, node: &str, metrics: u16, health: u16) -> Vec<String> {
    let mut flags = common_flags(kubeconfig, metrics, health);
    flags.extend([format!("--node-name={node}"), "--pod-name=bench".to_owned()]);
    flags
}

/// Those of both, as in its manifest as far as it has them.
fn common_flags(kubeconfig: &Path, metrics: u16, health: u16) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--namespace={SYSTEM}"),
        format!("--port={metrics}"),
        format!("--health-probe-port={health}"),
        "--log-level=info".to_owned(),
    ]
}

/// Its images, packed; built if they are not current.
///
/// # Errors
/// When a build fails or a file cannot be written.
pub fn images(progress: &Progress) -> Result<Vec<PathBuf>, LabError> {
    let folder = programs::target().join("lab/metallb");
    let built = built(progress)?;
    let mut files = Vec::new();
    for (name, _) in PROGRAMS {
        // Its own images run as root unless the manifest says otherwise.
        let tag = format!("quay.io/metallb/{name}:{VERSION}");
        let image = Image::new(&tag).file(&built.join(name), name).entrypoint(&format!("/{name}")).user("0");
        let file = folder.join(format!("{name}.tar"));
        image::write(&image, &file).map_err(|error| LabError::program("packing an image", error))?;
        files.push(file);
    }
    Ok(files)
}

/// The manifest in its module.
///
/// # Errors
/// When go does not know where the module lies.
pub fn manifest() -> Result<PathBuf, LabError> {
    Ok(module()?.join("config/manifests/metallb-native.yaml"))
}

/// The chart in its module.
///
/// # Errors
/// When go does not know where the module lies.
pub fn chart() -> Result<PathBuf, LabError> {
    Ok(module()?.join("charts/metallb"))
}

fn module() -> Result<PathBuf, LabError> {
    let mut go = Command::new("go");
    go.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(MODULE)).env("GOFLAGS", "-mod=readonly");
    let said = process::run(go.args(["list", "-m", "-f", "{{.Dir}}", "go.universe.tf/metallb"]))?;
    Ok(PathBuf::from(said.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_in_go_mod() {
        assert!(
            programs::pins(MODULE, &format!("go.universe.tf/metallb {VERSION}")),
            "go.mod pins another version"
        );
    }
}
