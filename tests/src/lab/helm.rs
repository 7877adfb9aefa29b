//! Helm, to test the chart with: built from its Go module when it is asked for, and not before.

use std::path::PathBuf;
use std::process::Command;

use super::progress::Progress;
use super::{Lab, LabError, programs};

/// The version in `programs/helm/go.mod`; a test holds the two together.
pub const VERSION: &str = "v4.3.1";

/// The folder of its Go module, within `tests`.
const MODULE: &str = "programs/helm";

/// The environment variable that names a ready helm, instead of one that is built.
pub const READY: &str = "FERROLB_HELM";

/// The program; built if it is not current.
///
/// # Errors
/// When the build fails.
pub fn program(progress: &Progress) -> Result<PathBuf, LabError> {
    if let Some(ready) = std::env::var_os(READY) {
        return Ok(PathBuf::from(ready));
    }
    let folder = programs::target().join("lab/helm");
    let version = "helm.sh/helm/v4/internal/version.version";
    let flags = format!("-s -w -X {version}={VERSION}");
    let built = programs::go_programs(
        MODULE,
        &folder,
        &[("helm", "helm.sh/helm/v4/cmd/helm")],
        &["-ldflags", &flags],
        progress,
    )?;
    Ok(built.join("helm"))
}

/// Helm with `lab`'s administrator, and with folders of its own: nothing of the user's configuration counts.
///
/// # Errors
/// When it has to be built, and that fails.
pub fn helm(lab: &Lab, progress: &Progress) -> Result<Command, LabError> {
    let mut helm = Command::new(program(progress)?);
    helm.env("KUBECONFIG", lab.paths.kubeconfig());
    for (name, folder) in
        [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
    {
        helm.env(name, lab.paths.root().join("helm").join(folder));
    }
    Ok(helm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_in_go_mod() {
        assert!(programs::pins(MODULE, &format!("helm.sh/helm/v4 {VERSION}")), "go.mod pins another version");
    }
}
