//! The definitions of the Prometheus operator's monitors and rules, out of its Go module: what ours are held against.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{LabError, process};

/// The folder of the Go module that pins it, within `tests`.
const MODULE: &str = "programs/prometheus-operator";

/// The Go module.
const OPERATOR: &str = "github.com/prometheus-operator/prometheus-operator";

/// The files with the definitions of PodMonitor, ServiceMonitor and PrometheusRule.
///
/// # Errors
/// When go cannot fetch the module.
pub fn definitions() -> Result<Vec<PathBuf>, LabError> {
    let mut go = Command::new("go");
    go.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(MODULE)).env("GOFLAGS", "-mod=readonly");
    let said = process::run(go.args(["mod", "download", "-json", OPERATOR]))?;
    let told: serde_json::Value =
        serde_json::from_str(&said).map_err(|error| LabError::program("go mod download", error))?;
    let folder = Path::new(told["Dir"].as_str().unwrap_or_default()).join("example/prometheus-operator-crd");
    let of = |kind: &str| folder.join(format!("monitoring.coreos.com_{kind}.yaml"));
    Ok(["podmonitors", "servicemonitors", "prometheusrules"].map(of).to_vec())
}
