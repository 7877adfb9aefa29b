//! Prometheus and promtool, to try metrics and alerts with: built from their Go module when they are asked for, and not before.

use std::path::PathBuf;

use super::progress::Progress;
use super::{LabError, programs};

/// The version in `programs/prometheus/go.mod`, as Go has it; a test holds the two together.
pub const VERSION: &str = "v0.313.5";

/// The folder of their Go module, within `tests`.
const MODULE: &str = "programs/prometheus";

/// The program that checks and plays rules.
pub const PROMTOOL: (&str, &str) = ("promtool", "github.com/prometheus/prometheus/cmd/promtool");

/// The one that scrapes.
pub const PROMETHEUS: (&str, &str) = ("prometheus", "github.com/prometheus/prometheus/cmd/prometheus");

/// One of the two; built if it is not current.
///
/// # Errors
/// When the build fails.
pub fn program(which: (&str, &str), progress: &Progress) -> Result<PathBuf, LabError> {
    let folder = programs::target().join("lab/prometheus");
    // Without the ways to find targets in thirty clouds: they are most of what there is to compile, and no test needs one.
    let arguments = ["-tags", "remove_all_sd", "-ldflags", "-s -w"];
    Ok(programs::go_programs(MODULE, &folder, &[which], &arguments, progress)?.join(which.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_in_go_mod() {
        assert!(
            programs::pins(MODULE, &format!("github.com/prometheus/prometheus {VERSION}")),
            "go.mod pins another version"
        );
    }
}
