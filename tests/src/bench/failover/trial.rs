//! One trial: things are well, a fault, what followed, and the way back.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use super::case::Case;
use super::floor::Floor;
use super::outcome::Outcome;
use crate::chaos::stage::{EXCLUDE, RATHER};
use crate::chaos::{Stage, Watch};
use crate::judge::Verdict;
use crate::lab::network::Network;
use crate::lab::progress::wait;
use crate::lab::{LabError, fault, process};
use crate::scene::SYSTEM;

/// So many connections are held.
const HELD: usize = 50;

/// What is watched before the fault, so that the instruments are seen to work.
const BEFORE: Duration = Duration::from_millis(300);

/// So long all must be calm after a fault, for its consequences to be over.
pub(super) const CALM: Duration = Duration::from_secs(2);

/// How long the consequences of a fault may last, in seconds; what is longer is told as that long.
const PATIENCE: u64 = 120;

/// How long connections that wait at the end may take to be answered or to end, in seconds: Linux sends again after
/// 0.2 s, and twice as long each time.
const RESEND: u64 = 20;

/// A step of a trial by name, and what it showed.
pub(super) type Step = (&'static str, Outcome);

/// One trial of `case`; the stage is well before and after.
///
/// # Errors
/// When something could not be done, or things do not become well again.
pub(super) async fn trial(stage: &Stage, case: Case) -> Result<Vec<Step>, LabError> {
    let owner = stage.first().to_owned();
    let networks = stage.lab().config.networks();
    let lan = [Network::Lan];
    let mut steps = Vec::new();
    let names = case.steps();
    let aim = Aim { floor: case.has_floor(), ..Aim::default() };
    match case {
        Case::PowerLoss => {
            steps.push((names[0], observe(stage, aim, async || stage.power_off(&owner)).await?));
            stage.power_on(&owner).await?;
        }
        Case::BothPorts | Case::LanPort => {
            let which = if case == Case::LanPort { &lan[..] } else { &networks[..] };
            let outcome = observe(stage, aim, async || stage.cables(&owner, which, false)).await;
            stage.cables(&owner, which, true)?;
            steps.push((names[0], outcome?));
        }
        Case::SpeakerKill | Case::SpeakerTerm => {
            let signal = if case == Case::SpeakerKill { Signal::SIGKILL } else { Signal::SIGTERM };
            // Found before, so that the moment of the signal is known.
            let speaker = stage.balancer.speaker(stage.lab(), &owner)?;
            steps.push((names[0], observe(stage, aim, async || fault::signal(&[speaker], signal)).await?));
            stage.delete_speaker(&owner, true)?;
        }
        Case::PodDelete => {
            steps.push((names[0], observe(stage, aim, async || stage.delete_speaker(&owner, true)).await?));
        }
        Case::Rollout => {
            let outcome = observe(stage, aim, async || {
                let daemons = format!("daemonset/{}", stage.balancer.daemon_set());
                stage.kubectl(&["-n", SYSTEM, "rollout", "restart", &daemons])?;
                stage.balancer.ready(stage.lab()).await
            });
            steps.push((names[0], outcome.await?));
        }
        Case::Exclude | Case::Prefer => {
            let (node, key) =
                if case == Case::Exclude { (&stage.order[0], EXCLUDE) } else { (&stage.order[1], RATHER) };
            let moved = observe(stage, Aim { owner: Some(&stage.order[1]), ..aim }, async || {
                stage.label(node, key, Some("yes"))
            })
            .await;
            let back = match &moved {
                Ok(_) => {
                    observe(stage, Aim { owner: Some(&stage.order[0]), ..aim }, async || {
                        stage.label(node, key, None)
                    })
                    .await
                }
                Err(_) => stage.label(node, key, None).map(|()| Outcome::default()),
            };
            steps.push((names[0], moved?));
            steps.push((names[1], back?));
        }
        Case::Drain => {
            let drained = observe(stage, aim, async || shut_down(stage, &owner).await).await;
            if drained.is_err() {
                // It may have failed half way, with the kubelet stopped; a node that is off already stays off.
                let _ = stage.power_off(&owner);
            }
            stage.power_on(&owner).await?;
            stage.kubectl(&["uncordon", &owner])?;
            steps.push((names[0], drained?));
        }
        Case::Thousand | Case::Stop | Case::Busy | Case::Loss | Case::Beside => {
            return Err(LabError::State(format!("{case:?} has no trials of this kind")));
        }
    }
    stage.well().await?;
    Ok(steps)
}

/// Shuts a node down in order, as its kubelet does with graceful node shutdown: no new pods, Ready is False, SIGTERM to
/// what runs in its pods, and when they ended the power goes. The kubelet is stopped meanwhile, or it would start them
/// again and write Ready anew.
async fn shut_down(stage: &Stage, node: &str) -> Result<(), LabError> {
    /// How long pods get to end, in seconds: the usual grace period.
    const GRACE: u64 = 30;
    stage.kubectl(&["cordon", node])?;
    fault::signal(&fault::running(stage.lab(), node, "/run/programs/kubelet")?, Signal::SIGSTOP)?;
    let down = json!({"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "node is shutting down"});
    stage.condition(node, &down)?;
    for pid in fault::of_pods(stage.lab(), node) {
        // It may have ended meanwhile.
        let _ = fault::signal(&[pid], Signal::SIGTERM);
    }
    let speaker = stage.balancer.program();
    wait(&format!("the end of the speaker on {node}"), GRACE, async || {
        match fault::running(stage.lab(), node, speaker) {
            Err(_) => Ok(()),
            Ok(pids) => {
                Err(pids.iter().map(|pid| process::command_line(*pid)).collect::<Vec<_>>().join(", "))
            }
        }
    })
    .await?;
    stage.power_off(node)
}

/// What is to be seen besides how long the address is away.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Aim<'a> {
    /// Who is to have the address afterwards, if that is known.
    pub(super) owner: Option<&'a str>,
    /// Whether a process that only answers is asked beside.
    pub(super) floor: bool,
}

/// Watches the address during `fault` and until all is calm again.
///
/// # Errors
/// When the fault could not be made, or the instruments failed.
pub(super) async fn observe(
    stage: &Stage,
    Aim { owner, floor }: Aim<'_>,
    fault: impl AsyncFnOnce() -> Result<(), LabError>,
) -> Result<Outcome, LabError> {
    stage.forget_connections()?;
    let watch = Watch::begin(stage.lab(), stage.address, HELD)?;
    let floor = floor.then(|| Floor::start(stage, &stage.order[1])).transpose()?;
    wait("the instruments to see a calm address", PATIENCE, async || watch.calm_for(BEFORE)).await?;
    let at = watch.clock().now();
    fault().await?;
    let over = wait("calm after the fault", PATIENCE, async || match (watch.calm_for(CALM)?, owner) {
        (found, Some(owner)) if found != owner => Err(format!("{found} has the address and not {owner}")),
        _ if watch.clock().now() < at + CALM => Err("it has just begun".to_owned()),
        _ => Ok(()),
    })
    .await;
    if let Err(error) = over {
        eprintln!("{error}");
    }
    let waiting = wait("the end of those that wait", RESEND, async || match watch.fates().stalled {
        0 => Ok(()),
        stalled => Err(format!("{stalled} connections wait")),
    });
    // Those that still wait are counted.
    let _ = waiting.await;
    let watched = watch.end()?;
    // After the record, in which no question may be left without its answer.
    let floor = match floor {
        Some(floor) => floor.end().map(|()| Some(Floor::gap(&watched, at)))?,
        None => None,
    };
    if std::env::var_os("FERROLB_SHOW_TIMELINES").is_some() {
        let verdict: Verdict = watched.verdict_since(at);
        eprintln!("{verdict}");
    }
    Ok(Outcome { floor, ..Outcome::of(&watched, at) })
}
