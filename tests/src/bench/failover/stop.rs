//! A speaker that is stopped while its addresses move, and goes on later: what it then says is stale.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::case::{Case, figure};
use super::trial::CALM;
use crate::bench::report::Report;
use crate::chaos::stage::EXCLUDE;
use crate::chaos::{Stage, Watch};
use crate::lab::progress::{Progress, wait};
use crate::lab::{LabError, fault};

/// For how long, one after the other, in milliseconds.
const STOPS: [u64; 7] = [100, 300, 1_000, 3_000, 10_000, 30_000, 60_000];

/// A speaker that is stopped for longer fails its liveness probe, and its kubelet ends it; so the kubelet is stopped too.
const NOTICED: Duration = Duration::from_secs(5);

/// How long a move may take, in seconds.
const PATIENCE: u64 = 120;

/// What was seen of one stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stale {
    answers: usize,
    announcements: usize,
}

/// Tries each length of a stop in turn, so many in all, and reports what the stopped speakers said afterwards.
///
/// # Errors
/// When something could not be done, or things do not become well again.
pub(super) async fn measure(
    stage: &Stage,
    trials: usize,
    goals: bool,
    report: &mut Report,
    progress: &Progress,
) -> Result<(), LabError> {
    let (mut most, mut all) = (Stale::default(), Vec::new());
    for number in 0..trials {
        let length = Duration::from_millis(STOPS[number % STOPS.len()]);
        let stale = one(stage, length).await?;
        progress.say(&format!(
            "{}, stopped for {:.1} s, {} of {trials}: {} stale answers and {} stale announcements",
            stage.balancer.name(),
            length.as_secs_f64(),
            number + 1,
            stale.answers,
            stale.announcements
        ));
        all.push((stale.answers + stale.announcements) as f64);
        most.answers = most.answers.max(stale.answers);
        most.announcements = most.announcements.max(stale.announcements);
        stage.well().await?;
    }
    let name = stage.balancer.name();
    report.sample(figure(Case::Stop.steps()[0], "stale"), stage.balancer.who(), "", all);
    report.tell(format!("{name}, SIGSTOP while the address moves: trials"), trials as f64, "");
    for (what, value) in [("answers", most.answers), ("announcements", most.announcements)] {
        let what = format!("{name}, SIGSTOP while the address moves: stale {what}, max");
        report.figure(what, value as f64, "", goals.then_some(0.0));
    }
    Ok(())
}

async fn one(stage: &Stage, length: Duration) -> Result<Stale, LabError> {
    let (owner, next) = (&stage.order[0], &stage.order[1]);
    let mut stopped = vec![stage.balancer.speaker(stage.lab(), owner)?];
    if length > NOTICED {
        stopped.extend(fault::running(stage.lab(), owner, "/run/programs/kubelet")?);
    }
    let watch = Watch::begin(stage.lab(), stage.address, 0)?;
    wait("the instruments to see a calm address", PATIENCE, async || watch.calm_for(CALM / 4)).await?;
    let began = watch.clock().now();
    fault::signal(&stopped, Signal::SIGSTOP)?;
    let moved = stage.label(owner, EXCLUDE, Some("yes"));
    // This long it is stopped, whatever else happens.
    tokio::time::sleep(length.saturating_sub(watch.clock().now().saturating_sub(began))).await;
    let went_on = watch.clock().now();
    fault::signal(&stopped, Signal::SIGCONT)?;
    moved?;
    let calm =
        wait(&format!("{next} to have the address"), PATIENCE, async || match watch.calm_for(CALM)? {
            found if found == *next => Ok(()),
            found => Err(format!("{found} has it")),
        })
        .await;
    // Before its address comes back to it by right.
    let watched = watch.end();
    stage.label(owner, EXCLUDE, None)?;
    calm?;
    let verdict = watched?.verdict_since(began);
    // Until the next one has it, it is still its own.
    let answers = verdict.first_answer(next);
    let announced = verdict.first_announcement(next).map(|said| said.at);
    let moved = answers.into_iter().chain(announced).min().unwrap_or(went_on);
    let (answers, announcements) = verdict.claims_of(owner, went_on.max(moved));
    if answers + announcements > 0 {
        eprintln!("{owner} went on at {went_on:?}, {next} had it at {moved:?}\n{verdict}");
    }
    Ok(Stale { answers, announcements })
}
