//! A lab for one command: the one that is up, or one of its own.

use std::path::Path;

use ferrolb_tests::chaos::Balancer;
use ferrolb_tests::lab::process::interrupted;
use ferrolb_tests::lab::progress::Progress;
use ferrolb_tests::lab::{Config, Lab, LabError, down, up};

/// Does `work` in the lab of `config`'s name if it is up, with FerroLB in it; else in one of its own, into which FerroLB is
/// installed, and which is taken down afterwards.
///
/// # Errors
///
/// Those of `work` and of the lab; [`LabError::Interrupted`] if the user had enough.
pub(crate) fn own<T>(
    config: &Config,
    lab_program: &Path,
    progress: &Progress,
    work: impl AsyncFnOnce(&Lab) -> Result<T, LabError>,
) -> Result<T, LabError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| LabError::State(error.to_string()))?;
    runtime.block_on(async {
        let attached = Lab::attach(&config.name).ok();
        let lab = match &attached {
            Some(lab) => lab.clone(),
            None => up::up(config, lab_program, None, progress).await?,
        };
        let all = async {
            if attached.is_none() {
                Balancer::Ferrolb.install(&lab, &[], progress).await?;
            }
            work(&lab).await
        };
        let outcome = tokio::select! {
            biased;
            () = interrupted() => Err(LabError::Interrupted),
            outcome = all => outcome,
        };
        if attached.is_none() {
            down::down(&lab.paths)?;
        }
        outcome
    })
}
