//! What is done in a round: one bench of one subject, or of two that take turns in it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::bench::allocation::{self, Turn};
use crate::bench::failover::{self, Case, With};
use crate::bench::report::{Report, Who};
use crate::bench::{layer2, peers, resources, scale};
use crate::chaos::Balancer;
use crate::lab::LabError;

use super::figures::methods;
use super::methods::{Chapter, Method};

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// These alone, by the name of a figure or of a chapter; all if there are none.
    pub only: Vec<String>,
    /// How often, MetalLB and this project in turn.
    pub rounds: usize,
    /// Whether MetalLB is measured too.
    pub metallb: bool,
    /// How many Services the larger bulk has.
    pub services: usize,
    /// How often each case of failover is tried in a round.
    pub trials: usize,
    /// A folder of ready FerroLB programs, instead of building them.
    pub programs: Option<PathBuf>,
}

/// How many Services of each kind are created one by one in a round.
const ONE_BY_ONE: usize = 100;

/// How many first answers there are in a round.
const FIRST_ANSWERS: usize = 20;

/// How long a speaker among peers is measured.
const AMONG_PEERS: Duration = Duration::from_secs(20);

/// How many nodes die in a round, of ten.
const DEATHS: usize = 6;

/// How long nothing happens in those cases, in minutes.
const QUIET: u64 = 1;

/// One task of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) chapter: Chapter,
    /// Of whom, where the two cannot be measured in one cluster.
    pub(super) of: Option<Balancer>,
}

impl Task {
    /// For messages; those of the same name take equally long.
    pub(super) fn name(self) -> String {
        match self.of {
            Some(balancer) => format!("{}, {}", self.chapter.name(), balancer.name()),
            None => self.chapter.name().to_owned(),
        }
    }

    /// How long it might take on a machine of two cores.
    pub(super) fn guess(self, options: &Options) -> Duration {
        let (services, both) = (options.services as f64, options.metallb);
        let trials = options.trials as f64;
        // MetalLB gives 31 addresses a second, and everybody else takes a minute for ten thousand Services.
        let seconds = match self.chapter {
            Chapter::Allocation => 120.0 + services / 60.0 + if both { 60.0 + services / 25.0 } else { 0.0 },
            Chapter::FirstAnswer => 150.0,
            Chapter::Layer2 => 60.0 + services / 30.0,
            Chapter::Failover => 480.0 + 400.0 * trials,
            Chapter::Resources => {
                (if both { 2.0 } else { 1.0 }) * (160.0 + services / 60.0) + services / 60.0
            }
            Chapter::Peers => 150.0,
            Chapter::Scale => 120.0 + services / 40.0 + 15.0 * DEATHS as f64,
            Chapter::Install => 60.0,
            Chapter::Size => 5.0,
        };
        Duration::from_secs_f64(seconds)
    }
}

/// The tasks of a round, counted from 0. Who comes second may find the machine in another state, so the two take turns at
/// that from round to round.
pub(super) fn tasks(chapters: &[Chapter], metallb: bool, round: usize) -> Vec<Task> {
    let mut balancers = vec![Balancer::Ferrolb];
    if metallb {
        balancers.insert(usize::from(round.is_multiple_of(2)), Balancer::Metallb);
    }
    let of = |chapter: &Chapter| -> Vec<Option<Balancer>> {
        match chapter {
            Chapter::FirstAnswer | Chapter::Failover => balancers.iter().copied().map(Some).collect(),
            _ => vec![None],
        }
    };
    chapters
        .iter()
        .flat_map(|chapter| of(chapter).into_iter().map(|of| Task { chapter: *chapter, of }))
        .collect()
}

/// Does it; `round` is counted from 0.
pub(super) async fn run(
    name: &str,
    task: Task,
    round: usize,
    options: &Options,
    lab_program: &Path,
) -> Result<Report, LabError> {
    let turn = if round.is_multiple_of(2) { Turn::Second } else { Turn::First };
    let metallb = options.metallb.then_some(turn);
    let (services, programs) = (services(task.chapter, options), options.programs.clone());
    let balancer = task.of.unwrap_or(Balancer::Ferrolb);
    match task.chapter {
        Chapter::Allocation => {
            let options = allocation::Options { services, rounds: ONE_BY_ONE, programs, metallb };
            crate::bench::allocation(name, &options, lab_program).await
        }
        Chapter::FirstAnswer => crate::bench::first_answer(name, balancer, FIRST_ANSWERS, lab_program).await,
        Chapter::Layer2 => {
            let only = vec![layer2::Part::Answers, layer2::Part::Flood, layer2::Part::FirstFrame];
            let options = layer2::Options { services, rounds: 1, only, programs, flags: Vec::new() };
            crate::bench::layer2(name, &options, lab_program).await
        }
        Chapter::Failover => {
            let with = if balancer.who() == Who::Ferrolb { With::Ferrolb } else { With::Metallb };
            let (trials, flags) = (options.trials, Vec::new());
            let options =
                failover::Options { only: cases(options), trials, with, fast: false, minutes: QUIET, flags };
            crate::bench::failover(name, &options, lab_program).await
        }
        Chapter::Resources => {
            let options = resources::Options { services, programs, metallb };
            crate::bench::resources(name, &options, lab_program).await
        }
        Chapter::Peers => {
            let peers = vec![10, 100, 200];
            let options =
                peers::Options { peers, time: AMONG_PEERS, services: 200, programs, flags: Vec::new() };
            crate::bench::peers(name, &options, lab_program).await
        }
        Chapter::Scale => {
            let options = scale::Options { services, trials: DEATHS, programs };
            crate::bench::scale(name, &options, lab_program).await
        }
        Chapter::Install => crate::bench::install(name, 1, lab_program).await,
        Chapter::Size => crate::bench::size(options.metallb),
    }
}

/// How many Services a chapter needs: none where all figures that are asked for do without many.
fn services(chapter: Chapter, options: &Options) -> usize {
    let many = |method: &Method| method.title.contains("{all}") || method.title.contains("{some}");
    let asked = |method: &Method| {
        options.only.is_empty()
            || options.only.iter().any(|name| *name == method.figure || name == method.chapter.name())
    };
    let needed = methods().iter().any(|method| method.chapter == chapter && asked(method) && many(method));
    // All that this one measures is of many.
    let needed = needed || chapter == Chapter::Scale;
    if needed { options.services } else { 0 }
}

/// The cases of failover that have one of the figures that are asked for; all where none is.
fn cases(options: &Options) -> Vec<Case> {
    let has = |case: &Case| {
        let mut figures = case.steps().iter().map(|step| failover::figure(step, ""));
        figures.any(|start| options.only.iter().any(|name| name.starts_with(&start)))
    };
    if options.only.iter().any(|name| name == Chapter::Failover.name()) {
        return Vec::new();
    }
    Case::ALL.into_iter().filter(has).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(only: &[&str]) -> Options {
        let only = only.iter().map(|name| (*name).to_owned()).collect();
        Options { only, rounds: 5, metallb: true, services: 10_000, trials: 2, programs: None }
    }

    #[test]
    fn who_comes_first_changes_from_round_to_round() {
        let of = |round| {
            let tasks = tasks(&[Chapter::Size, Chapter::Failover], true, round);
            tasks.iter().map(|task| task.name()).collect::<Vec<_>>()
        };
        assert_eq!(of(0), ["size", "failover, FerroLB", "failover, MetalLB"]);
        assert_eq!(of(1), ["size", "failover, MetalLB", "failover, FerroLB"]);
        assert_eq!(tasks(&[Chapter::Failover], false, 0).len(), 1);
    }

    #[test]
    fn one_figure_of_failover_needs_its_case_alone() {
        assert_eq!(cases(&options(&["failover-power-loss-arp"])), [Case::PowerLoss]);
        assert_eq!(cases(&options(&["failover-exclude-label-off-double"])), [Case::Exclude]);
        assert!(cases(&options(&["failover"])).is_empty() && cases(&options(&[])).is_empty(), "all");
    }

    #[test]
    fn many_services_are_made_only_for_figures_of_many() {
        let of = |chapter, only: &[&str]| services(chapter, &options(only));
        assert_eq!(of(Chapter::Allocation, &["create"]), 0);
        assert_eq!(of(Chapter::Allocation, &["create", "restart-ready"]), 10_000);
        assert_eq!(of(Chapter::Layer2, &["layer2"]), 10_000);
        assert_eq!(of(Chapter::Resources, &[]), 10_000);
        assert_eq!(of(Chapter::Scale, &["scale-death-last"]), 10_000);
    }

    #[test]
    fn each_task_is_guessed_to_take_a_while() {
        for chapter in Chapter::ALL {
            assert!(Task { chapter, of: None }.guess(&options(&[])) >= Duration::from_secs(1));
        }
    }
}
