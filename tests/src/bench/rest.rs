//! What the controller takes and does when there is nothing to do: memory, a restart, a quiet time.

use std::time::{Duration, Instant};

use crate::lab::LabError;
use crate::program::{Launch, Program};

use super::counters::Counters;
use super::lean::Server;
use super::report::{Report, Who, megabytes, milliseconds};

/// The pool of the Services that are measured.
pub const POOL: &str = "bench";

/// How often a program that starts is asked whether it is ready.
const LOOK: Duration = Duration::from_millis(1);

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// So long after a restart everything that it writes is counted.
const AFTER_RESTART: Duration = Duration::from_secs(10);

/// So long a quiet time is.
const QUIET: Duration = Duration::from_secs(30);

/// What a controller writes, other than its lease.
const WRITTEN: [&str; 3] = ["services/status", "ipaddresspools/status", "events"];

/// How many addresses of the pool the controller says are in use; `None` before its first plan.
pub fn in_use(controller: &Program) -> Option<f64> {
    controller.metric(&format!("metallb_allocator_addresses_in_use_total{{pool=\"{POOL}\"}}"))
}

/// Its memory, now and at most.
pub fn memory(report: &mut Report, controller: &Program, when: &str, goal: f64) {
    if let Some(memory) = controller.memory() {
        report.at_most(format!("resident memory, {when}"), megabytes(memory.resident), "MB", goal);
        report.tell(format!("peak so far, {when}"), megabytes(memory.peak), "MB");
    }
}

/// Ends the controller by SIGTERM and starts it again; returns the new one.
///
/// # Errors
/// When it does not become ready, or the API server does not say what was written.
pub async fn restart(
    report: &mut Report,
    server: &Server,
    controller: Program,
    launch: &Launch,
) -> Result<Program, LabError> {
    let (before, _) = server.list().await?;
    let counted = Counters::at_rest(server, &WRITTEN).await?;
    let (_, ended) = controller.end()?;
    report.tell("SIGTERM to its end", milliseconds(ended), "ms");

    let controller = launch.start()?;
    let ready = until(&controller, "ready", |it| it.get("/readyz").starts_with("HTTP/1.1 200")).await?;
    report.tell("start to /readyz 200 (the lists have arrived)", milliseconds(ready), "ms");
    report.sample("restart-ready", Who::Ferrolb, "s", [ready.as_secs_f64()]);
    let held = before.values().flatten().count() as f64;
    let planned = until(&controller, "done with a first plan", |it| in_use(it) == Some(held)).await?;
    report.tell("start to the first plan done", milliseconds(planned), "ms");
    report.sample("restart-plan", Who::Ferrolb, "s", [planned.as_secs_f64()]);
    tokio::time::sleep(AFTER_RESTART).await;
    let written = Counters::read(server).await?.since(&counted);
    let seconds = AFTER_RESTART.as_secs();
    report.sample("restart-writes", Who::Ferrolb, "", [written.writes("services/status")]);
    report.at_most(
        format!("status writes within {seconds} s of a restart"),
        written.writes("services/status"),
        "",
        0.0,
    );
    let (after, _) = server.list().await?;
    let changed = before.iter().filter(|(name, address)| after.get(*name) != Some(*address)).count();
    report.at_most("addresses changed by a restart", changed as f64, "", 0.0);
    Ok(controller)
}

/// Waits until `is` of a program that was started; returns the time since its start.
async fn until(program: &Program, what: &str, is: impl Fn(&Program) -> bool) -> Result<Duration, LabError> {
    while !is(program) {
        if program.started.elapsed() > PATIENCE {
            return Err(LabError::Late {
                what: format!("a controller that is {what}"),
                seconds: PATIENCE.as_secs(),
                state: format!("{}\n{}", program.get("/readyz"), program.log()),
            });
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(program.started.elapsed())
}

/// Waits until a new program is ready.
///
/// # Errors
/// When it does not become ready.
pub async fn ready(program: &Program) -> Result<(), LabError> {
    until(program, "ready", |it| it.get("/readyz").starts_with("HTTP/1.1 200")).await.map(|_| ())
}

/// Counts all that is written while nothing happens.
///
/// # Errors
/// When the API server does not say.
pub async fn quiet(report: &mut Report, server: &Server) -> Result<(), LabError> {
    let before = Counters::at_rest(server, &WRITTEN).await?;
    let started = Instant::now();
    tokio::time::sleep(QUIET).await;
    let written = Counters::read(server).await?.since(&before);
    let sum = WRITTEN.iter().fold(0.0, |sum, resource| sum + written.writes(resource));
    let seconds = started.elapsed().as_secs();
    report.at_most(format!("writes within {seconds} s of nothing (status and events)"), sum, "", 0.0);
    Ok(())
}
