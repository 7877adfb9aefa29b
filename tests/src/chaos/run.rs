//! Does the faults of a list and has the wire judge decide after each.

use std::fmt;
use std::time::Duration;

use super::fault::{Begun, Fault, Step};
use super::{Stage, Watch, bounds};
use crate::judge::Verdict;
use crate::lab::LabError;
use crate::lab::progress::{Progress, wait};

/// So long one node alone must answer, with every connection, for the address to count as working.
const WORKS: Duration = Duration::from_millis(500);

/// What a step came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The step.
    pub step: String,
    /// From the beginning of the faults until the address worked; `None` if that was not asked.
    pub lasting: Option<Duration>,
    /// From their end until it worked.
    pub after: Duration,
    /// What was wrong.
    pub wrong: Vec<String>,
    /// What happened when.
    events: Vec<(Duration, String)>,
    verdict: Verdict,
}

/// Does each step and judges it:
///
/// 1. All is well: the first node in order has the address.
/// 2. The faults begin. Within the bound of [`bounds::while_it_lasts`] exactly one node answers and every connection
///    comes about; from then on, for as long as the step says, nobody else answers.
/// 3. The faults end. Within [`bounds::AFTER`] the same holds, and stays for as long.
///
/// # Errors
/// When a fault could not be made or ended, or all does not become well again.
pub async fn run(stage: &Stage, steps: &[Step], progress: &Progress) -> Result<Vec<Outcome>, LabError> {
    let mut outcomes = Vec::with_capacity(steps.len());
    for (number, step) in steps.iter().enumerate() {
        stage.well().await?;
        let outcome = one(stage, step).await?;
        progress.say(&format!("{} of {}: {}", number + 1, steps.len(), outcome.in_short()));
        if !outcome.wrong.is_empty() || std::env::var_os("FERROLB_SHOW_TIMELINES").is_some() {
            progress.say(&outcome.to_string());
        }
        outcomes.push(outcome);
    }
    stage.well().await?;
    Ok(outcomes)
}

/// Does one step, where all is well, and judges it.
///
/// # Errors
/// When a fault could not be made or ended.
pub(crate) async fn one(stage: &Stage, step: &Step) -> Result<Outcome, LabError> {
    let watch = Watch::begin(stage.lab(), stage.address, 0)?;
    wait("the address to work before the fault", bounds::AFTER.as_secs(), async || watch.calm_for(WORKS))
        .await?;
    let mut told = Told { watch: &watch, events: Vec::new(), wrong: Vec::new() };

    let began = watch.clock().now();
    let mut begun = Vec::new();
    let mut failed = None;
    for (fault, place) in &step.faults {
        let node = &stage.order[*place];
        told.event(format!("{fault:?} begins{}", at(*fault, node)));
        match Begun::begin(stage, *fault, node).await {
            Ok(fault) => begun.push((fault, node)),
            Err(error) => failed = Some(error),
        }
    }
    let of_owner: Vec<(Fault, bool)> =
        step.faults.iter().map(|(fault, place)| (*fault, *place == 0)).collect();
    let share = |lasting: bool| {
        let loss = lasting && step.faults.iter().any(|(fault, _)| *fault == Fault::Loss);
        if loss { bounds::SHARE_WITH_LOSS } else { 1.0 }
    };
    let bound = bounds::while_it_lasts(&of_owner).filter(|_| failed.is_none() && !step.is_short());
    let lasting = match bound {
        Some(bound) => told.works("while it lasts", (began, bound), step.lasts, share(true), None).await,
        None => {
            if failed.is_none() && !step.is_short() {
                tokio::time::sleep(step.lasts).await;
            }
            None
        }
    };
    // Whatever happened, what has begun is ended. Power comes back last: a node is back when the API server has heard of it.
    begun.sort_by_key(|(fault, _)| fault.fault() == Fault::Kill);
    for (fault, node) in begun {
        let what = format!("{:?} ends{}", fault.fault(), at(fault.fault(), node));
        let ended = fault.end(stage).await;
        told.event(what);
        failed = ended.err().or(failed);
    }
    if let Some(error) = failed {
        return Err(error);
    }
    let ended = watch.clock().now();
    // Whoever comes back takes its own back, once its proxy knows where traffic goes: that move is to be over.
    let first = Some(stage.first());
    let after = told.works("afterwards", (ended, bounds::AFTER), step.lasts, share(false), first).await;
    let Told { events, wrong, .. } = told;
    let watched = watch.end()?;
    let verdict = watched.verdict_since(began);
    Ok(Outcome {
        step: step.to_string(),
        lasting: lasting.map(|at| at.saturating_sub(began)),
        after: after.map_or(bounds::AFTER, |at| at.saturating_sub(ended)),
        wrong,
        events,
        verdict,
    })
}

fn at(fault: Fault, node: &str) -> String {
    if fault.of_a_node() { format!(" at {node}") } else { String::new() }
}

/// What is to be told of a step.
struct Told<'a> {
    watch: &'a Watch,
    events: Vec<(Duration, String)>,
    wrong: Vec<String>,
}

impl Told<'_> {
    fn event(&mut self, what: String) {
        self.events.push((self.watch.clock().now(), what));
    }

    /// Waits for at most `bound` from `since` on until the address works, at the node `whose` if that is said, and then for `stays`:
    /// nobody else may answer. Returns when it began to work.
    async fn works(
        &mut self,
        when: &str,
        (since, bound): (Duration, Duration),
        stays: Duration,
        share: f64,
        whose: Option<&str>,
    ) -> Option<Duration> {
        let left = (since + bound).saturating_sub(self.watch.clock().now());
        // At least until it can have been seen to work.
        let seconds = (left.max(WORKS) + WORKS).as_secs() + 1;
        let worked = wait("the address to work", seconds, async || {
            if self.watch.clock().now() < since + WORKS {
                return Err("it is too early to say".to_owned());
            }
            match (self.watch.mostly_for(WORKS, share)?, whose) {
                (owner, Some(whose)) if owner != whose => Err(format!("{owner} has it, and not {whose}")),
                (owner, _) => Ok(owner),
            }
        })
        .await;
        let owner = match worked {
            Ok(owner) => owner,
            Err(error) => {
                self.wrong.push(format!("{when}: {error}"));
                return None;
            }
        };
        let at = self.watch.clock().now().saturating_sub(WORKS);
        self.event(format!("{when}, {owner} has the address and it works"));
        tokio::time::sleep(stays).await;
        let verdict = self.watch.verdict_since(at);
        let (double, by) = verdict.double_answers();
        if !double.is_zero() {
            self.wrong.push(format!("{when}, after it worked: {by:?} answered at once, for {double:?}"));
        }
        Some(at)
    }
}

impl Outcome {
    /// How long two answered at once, from the beginning of the faults on.
    pub fn double_answers(&self) -> Duration {
        self.verdict.double_answers().0
    }

    /// In one line.
    pub fn in_short(&self) -> String {
        let lasting =
            self.lasting.map_or("not asked".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()));
        let verdict = if self.wrong.is_empty() { "good" } else { "WRONG" };
        format!(
            "{}: {verdict}; worked while it lasted after {lasting}, afterwards after {:.2} s; {}",
            self.step,
            self.after.as_secs_f64(),
            self.verdict.course().join(" → ")
        )
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.in_short())?;
        for wrong in &self.wrong {
            writeln!(f, "  WRONG: {wrong}")?;
        }
        writeln!(f, "  what was done, on the clock of the frames:")?;
        for (at, what) in &self.events {
            writeln!(f, "    {:>9.4} s  {what}", at.as_secs_f64())?;
        }
        write!(f, "{}", self.verdict)
    }
}
