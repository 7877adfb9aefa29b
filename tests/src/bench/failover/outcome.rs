//! What a fault did to an address, in figures.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::case::figure;
use crate::bench::report::{Report, Who, milliseconds, percentile};
use crate::chaos::Watched;
use crate::judge::Pace;

/// What one trial showed, from the moment of the fault on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The longest time without an answer to ARP.
    pub answers: Duration,
    /// The longest time in which no new connection came about.
    pub connections: Duration,
    /// How many attempts at a new connection failed.
    pub failed: usize,
    /// How many connections were held.
    pub held: usize,
    /// How many of them were reset or ended.
    pub reset: usize,
    /// How many of them waited for an answer at the end.
    pub stalled: usize,
    /// How many MAC addresses were given for the address.
    pub macs: usize,
    /// For how long two were given at once.
    pub double: Duration,
    /// By whom.
    pub double_by: BTreeSet<String>,
    /// Announcements by hosts that did not have the address.
    pub stale: usize,
    /// Who answered, one after the other.
    pub course: Vec<String>,
    /// How exactly was asked.
    pub pace: Pace,
    /// The longest time without an answer of one who only answers, where there was one.
    pub floor: Option<Duration>,
}

impl Outcome {
    /// Of what was watched, when the fault was at `fault`.
    pub fn of(watched: &Watched, fault: Duration) -> Self {
        let verdict = watched.verdict_since(fault);
        let gap = watched.attempts.gap(fault);
        let (double, double_by) = verdict.double_answers();
        let fates = watched.fates.clone().unwrap_or_default();
        Outcome {
            answers: verdict.longest_silence,
            connections: gap.longest,
            failed: gap.failed,
            held: fates.of,
            reset: fates.reset,
            stalled: fates.stalled,
            macs: verdict.macs().len(),
            double,
            double_by: double_by.into_iter().map(str::to_owned).collect(),
            stale: verdict.stale.len(),
            course: verdict.course().into_iter().map(str::to_owned).collect(),
            pace: watched.pace,
            floor: None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = milliseconds;
        write!(
            f,
            "no ARP answer for {:.1} ms, no new connection for {:.1} ms ({} failed)",
            ms(self.answers),
            ms(self.connections),
            self.failed
        )?;
        if self.held > 0 {
            write!(f, "; of {} connections {} reset, {} stalled", self.held, self.reset, self.stalled)?;
        }
        if let Some(floor) = self.floor {
            write!(f, "; of who only answers for {:.1} ms", ms(floor))?;
        }
        write!(f, "; {}, {} MACs", self.course.join(" → "), self.macs)?;
        if !self.double.is_zero() {
            let by: Vec<&str> = self.double_by.iter().map(String::as_str).collect();
            write!(f, "; two answered for {:.1} ms: {}", ms(self.double), by.join(" and "))?;
        }
        if self.stale > 0 {
            write!(f, "; {} stale announcements", self.stale)?;
        }
        Ok(())
    }
}

/// What the outcomes of a case are to be; nothing where there is no goal.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Goals {
    /// The gap, in milliseconds, in the median.
    pub p50: Option<f64>,
    /// The gap that one in a hundred exceeds.
    pub p99: Option<f64>,
    /// The longest gap.
    pub max: Option<f64>,
    /// No MAC address but the one, and no connection lost.
    pub same: bool,
    /// For how long two may answer, in milliseconds.
    pub double: Option<f64>,
}

/// Writes the figures of all trials of one step into the report.
pub(super) fn tell(report: &mut Report, who: Who, step: &str, outcomes: &[Outcome], goals: Goals) {
    sample(report, who, step, outcomes);
    let name = format!("{}, {step}", who.name());
    let times = |of: &dyn Fn(&Outcome) -> Duration| -> Vec<f64> {
        outcomes.iter().map(|outcome| milliseconds(of(outcome))).collect()
    };
    let most = |of: &dyn Fn(&Outcome) -> usize| outcomes.iter().map(of).max().unwrap_or_default() as f64;
    let mut figure = |what: String, value: f64, unit: &'static str, goal: Option<f64>| {
        report.figure(what, value, unit, goal);
    };
    figure(format!("{name}: trials"), outcomes.len() as f64, "", None);
    let kinds: [(&str, Vec<f64>); 2] =
        [("ARP gap", times(&|one| one.answers)), ("connection gap", times(&|one| one.connections))];
    for (kind, values) in kinds {
        let ranks = [("p50", 50, goals.p50), ("p99", 99, goals.p99), ("max", 100, goals.max)];
        for (rank, percent, goal) in ranks {
            figure(format!("{name}: {kind}, {rank}"), percentile(&values, percent), "ms", goal);
        }
    }
    let floors = floors(outcomes);
    if !floors.is_empty() {
        for (rank, percent) in [("p50", 50), ("max", 100)] {
            let value = percentile(&floors, percent);
            figure(format!("{name}: ARP gap of a process that only answers, {rank}"), value, "ms", None);
        }
    }
    let zero = goals.same.then_some(0.0);
    figure(format!("{name}: failed attempts at a connection, max"), most(&|one| one.failed), "", None);
    let held = most(&|one| one.held);
    if held > 0.0 {
        figure(format!("{name}: of {held:.0} connections reset, max"), most(&|one| one.reset), "", zero);
        figure(format!("{name}: of {held:.0} connections stalled, max"), most(&|one| one.stalled), "", zero);
    }
    figure(format!("{name}: MAC addresses, max"), most(&|one| one.macs), "", goals.same.then_some(1.0));
    let double = percentile(&times(&|one| one.double), 100);
    figure(format!("{name}: two MACs at once, max"), double, "ms", goals.double);
    let by: BTreeSet<usize> = outcomes.iter().map(|one| one.double_by.len()).collect();
    if let Some(by) = by.last().filter(|by| **by > 2) {
        figure(format!("{name}: hosts that answered at once, max"), *by as f64, "", Some(2.0));
    }
    figure(format!("{name}: stale announcements, max"), most(&|one| one.stale), "", None);
    let late = percentile(&times(&|one| one.pace.p99), 100);
    figure(format!("{name}: the prober's own error, p99"), late, "ms", None);
}

/// What a process that only answers showed in the same trials, in milliseconds.
fn floors(outcomes: &[Outcome]) -> Vec<f64> {
    outcomes.iter().filter_map(|outcome| outcome.floor).map(milliseconds).collect()
}

/// The same, trial by trial.
fn sample(report: &mut Report, who: Who, step: &str, outcomes: &[Outcome]) {
    let mut sample = |kind: &str, unit: &'static str, of: &dyn Fn(&Outcome) -> f64| {
        report.sample(figure(step, kind), who, unit, outcomes.iter().map(of));
    };
    sample("arp", "ms", &|one| milliseconds(one.answers));
    sample("connections", "ms", &|one| milliseconds(one.connections));
    sample("lost", "", &|one| (one.reset + one.stalled) as f64);
    sample("double", "ms", &|one| milliseconds(one.double));
    let floors = floors(outcomes);
    if !floors.is_empty() {
        report.sample(figure(step, "arp"), Who::Floor, "ms", floors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_trials_says_what_is_missed() {
        let one = Outcome { answers: Duration::from_millis(10), macs: 1, held: 50, ..Outcome::default() };
        let other = Outcome { answers: Duration::from_millis(30), macs: 2, reset: 50, ..one.clone() };
        let mut report = Report::default();
        let goals = Goals { max: Some(20.0), same: true, ..Goals::default() };
        tell(&mut report, Who::Ferrolb, "case", &[one, other], goals);
        let text = report.to_string();
        let line =
            |what: &str| text.lines().find(|line| line.starts_with(what)).unwrap_or_else(|| panic!("{text}"));
        assert!(line("FerroLB, case: ARP gap, p50").contains("10 ms"), "{text}");
        assert!(line("FerroLB, case: ARP gap, max").ends_with("MISSED"), "{text}");
        assert!(line("FerroLB, case: connection gap, max").ends_with("met"), "{text}");
        assert!(line("FerroLB, case: of 50 connections reset").ends_with("MISSED"), "{text}");
        assert!(line("FerroLB, case: of 50 connections stalled").ends_with("met"), "{text}");
        assert!(line("FerroLB, case: MAC addresses").ends_with("MISSED"), "{text}");
        let arp = report.samples().iter().find(|one| one.figure == "failover-case-arp").unwrap();
        assert_eq!((arp.of, &arp.values[..]), (Who::Ferrolb, &[10.0, 30.0][..]), "each trial by itself");
    }
}
