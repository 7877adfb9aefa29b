//! How long an address is away when something happens to its owner, of FerroLB and of MetalLB in the same lab.
//!
//! ```text
//!   client2: asks by ARP each 5 ms ─┐               ┌─ node1: speaker, kubelet, kube-proxy, kernel
//!   client1: connects each 10 ms,   ├── switch ─────┼─ node2
//!            holds 50 connections ──┘     │         └─ node3
//!                                       judge            ▲ what happens to the owner of the address
//! ```
//!
//! Each trial begins with all well and ends with all well. Figures are of the time from the moment of the fault on, on the
//! kernel's clock at the switch. The prober's own error stands beside them.

mod beside;
mod calm;
mod case;
mod floor;
mod outcome;
mod quiet;
mod stop;
mod thousand;
mod trial;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use crate::chaos::{Balancer, Pods, Stage};
use crate::lab::process::interrupted;
use crate::lab::progress::Progress;
use crate::lab::{Config, Lab, LabError, Proxy, down, up};

use super::allocation::machine;
use super::report::Report;

pub use case::Case;
pub(in crate::bench) use case::figure;
pub use outcome::{Goals, Outcome};

/// The address in question.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 10, 0, 200));

/// What makes the speakers say hello each 30 ms.
const FAST: &str = "--hello-interval=30";

/// Of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum With {
    /// This project.
    Ferrolb,
    /// What it is compared with.
    Metallb,
    /// One after the other.
    Both,
}

impl With {
    /// The balancers, in order.
    pub fn balancers(self) -> Vec<Balancer> {
        match self {
            With::Ferrolb => vec![Balancer::Ferrolb],
            With::Metallb => vec![Balancer::Metallb],
            With::Both => vec![Balancer::Ferrolb, Balancer::Metallb],
        }
    }
}

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// These cases; all if there are none.
    pub only: Vec<Case>,
    /// So often.
    pub trials: usize,
    /// Of whom.
    pub with: With,
    /// With hellos each 30 ms.
    pub fast: bool,
    /// So many minutes, of cases in which nothing is to happen.
    pub minutes: u64,
    /// More flags of FerroLB's speakers.
    pub flags: Vec<String>,
}

impl Options {
    /// All flags of FerroLB's speakers.
    fn flags(&self) -> Vec<String> {
        self.fast.then(|| FAST.to_owned()).into_iter().chain(self.flags.iter().cloned()).collect()
    }

    fn has(&self, case: Case) -> bool {
        self.only.is_empty() || self.only.contains(&case)
    }
}

/// Measures in labs of their own, one for each balancer, which are taken down at the end. A lab that is up already is
/// used as it is, with the one balancer that is asked for in it, and left up.
///
/// # Errors
/// When something does not come about.
pub async fn failover(name: &str, options: &Options, lab_program: &Path) -> Result<Report, LabError> {
    let progress = Progress::default();
    let mut report = Report::default();
    machine(&mut report);
    for balancer in options.with.balancers() {
        if let Ok(lab) = Lab::attach(name) {
            if options.with == With::Both {
                return Err(LabError::AlreadyUp(name.to_owned()));
            }
            let bench =
                Bench { options, balancer, lab, lab_program: lab_program.to_owned(), progress: &progress };
            bench.run(&mut report).await?;
            continue;
        }
        let config = Config::new(name)?.proxy(Proxy::Nftables);
        let lab = up::up(&config, lab_program, None, &progress).await?;
        let paths = lab.paths.clone();
        let bench =
            Bench { options, balancer, lab, lab_program: lab_program.to_owned(), progress: &progress };
        let result = tokio::select! {
            biased;
            () = interrupted() => Err(LabError::Interrupted),
            result = bench.install_and_run(&mut report) => result,
        };
        let taken_down = down::down(&paths);
        // What was measured before something failed is not lost.
        if let Err(error) = &result {
            eprintln!("so far:\n{report}");
            progress.say(&format!("{}: {error}", balancer.name()));
        }
        result.and(taken_down)?;
    }
    Ok(report)
}

/// What the cases work with.
struct Bench<'a> {
    options: &'a Options,
    balancer: Balancer,
    lab: Lab,
    lab_program: PathBuf,
    progress: &'a Progress,
}

impl Bench<'_> {
    async fn install_and_run(&self, report: &mut Report) -> Result<(), LabError> {
        let flags = if self.balancer == Balancer::Ferrolb { self.options.flags() } else { Vec::new() };
        self.progress.say(&format!("installing {}", self.balancer.name()));
        self.balancer.install(&self.lab, &flags, self.progress).await?;
        self.run(report).await
    }

    async fn run(&self, report: &mut Report) -> Result<(), LabError> {
        let stage =
            Stage::set(&self.lab, self.balancer, "failover", ADDRESS, Pods::Last, &self.lab_program).await?;
        self.progress.say(&format!("{} has {ADDRESS}; all is well", stage.first()));
        for case in Case::ALL {
            if self.options.has(case) && case.suits(self.balancer) {
                self.measure(&stage, case, report).await?;
            }
        }
        stage.scene.end().await
    }

    async fn measure(&self, stage: &Stage, case: Case, report: &mut Report) -> Result<(), LabError> {
        let goals =
            if self.balancer == Balancer::Ferrolb { case.goals(self.options.fast) } else { Goals::default() };
        let (ours, trials, progress) =
            (self.balancer == Balancer::Ferrolb, self.options.trials, self.progress);
        match case {
            Case::Stop => return stop::measure(stage, trials, ours, report, progress).await,
            Case::Thousand => return thousand::measure(stage, trials, ours, report, progress).await,
            Case::Busy | Case::Loss => {
                let minutes = self.options.minutes;
                return quiet::measure(stage, case, minutes, ours, report, progress).await;
            }
            Case::Beside => return beside::measure(stage, &self.options.flags(), report, progress).await,
            _ => {}
        }
        let mut steps: Vec<(&str, Vec<Outcome>)> = Vec::new();
        for number in 1..=self.options.trials {
            for (name, outcome) in trial::trial(stage, case).await? {
                let (who, of) = (self.balancer.name(), self.options.trials);
                self.progress.say(&format!("{who}, {name}, {number} of {of}: {outcome}"));
                match steps.iter_mut().find(|(step, _)| *step == name) {
                    Some((_, outcomes)) => outcomes.push(outcome),
                    None => steps.push((name, vec![outcome])),
                }
            }
        }
        for (name, outcomes) in &steps {
            outcome::tell(report, self.balancer.who(), name, outcomes, goals);
        }
        Ok(())
    }
}
