//! Going over from MetalLB: both on all nodes, then MetalLB's speakers go.

use super::case::Case;
use super::outcome::{Goals, tell};
use super::trial::{Aim, observe};
use crate::bench::report::{Report, Who};
use crate::chaos::{Balancer, Stage};
use crate::lab::LabError;
use crate::lab::progress::Progress;

/// Installs FerroLB beside the MetalLB that serves the stage, and removes MetalLB; no address may move.
///
/// # Errors
/// When something is refused or does not become ready.
pub(super) async fn measure(
    stage: &Stage,
    flags: &[String],
    report: &mut Report,
    progress: &Progress,
) -> Result<(), LabError> {
    let lab = stage.lab();
    let goals = Goals { same: true, ..Goals::default() };
    let names = Case::Beside.steps();
    let installed =
        observe(stage, Aim::default(), async || Balancer::Ferrolb.install(lab, flags, progress).await)
            .await?;
    progress.say(&format!("FerroLB installed beside MetalLB: {installed}"));
    tell(report, Who::Ferrolb, names[0], &[installed], goals);
    let removed = observe(stage, Aim::default(), async || {
        // Its webhook would refuse every change of a pool once its controller is gone.
        stage.kubectl(&["delete", "validatingwebhookconfiguration", "metallb-webhook-configuration"])?;
        Balancer::Metallb.remove_speakers(lab)?;
        stage.kubectl(&[
            "-n",
            crate::scene::SYSTEM,
            "delete",
            "deployment",
            Balancer::Metallb.deployment(),
        ])?;
        Balancer::Metallb.gone(lab).await
    });
    let removed = removed.await?;
    progress.say(&format!("MetalLB removed: {removed}"));
    tell(report, Who::Ferrolb, names[1], &[removed], goals);
    stage.clone().announced_by(Balancer::Ferrolb).well().await
}
