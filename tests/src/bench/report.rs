//! Figures, each beside its goal.

use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

/// Whose a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Who {
    /// This project's.
    Ferrolb,
    /// The least that anybody could do: what is above it is ours, what is in it is the machine's.
    Floor,
    /// Of what it is compared with.
    Metallb,
}

impl Who {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Who::Ferrolb => "FerroLB",
            Who::Floor => "floor",
            Who::Metallb => "MetalLB",
        }
    }
}

/// All that was measured of one figure in one run, for whoever puts several runs together. Percentiles of each run
/// would not do: the percentile of percentiles is none of what was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// The figure, by the name that it has in the suite.
    pub figure: String,
    /// Whose.
    pub of: Who,
    /// Of what.
    pub unit: &'static str,
    /// How much, each time.
    pub values: Vec<f64>,
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// What it is to be.
    pub goal: Option<Goal>,
}

/// What a figure is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// At most that.
    AtMost(f64),
    /// At least that.
    AtLeast(f64),
}

/// All figures of a run, in the order in which they were measured.
#[derive(Clone, Debug, Default)]
pub struct Report {
    figures: Vec<Figure>,
    samples: Vec<Samples>,
}

impl Report {
    /// A figure that has no goal.
    pub fn tell(&mut self, what: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure { what: what.into(), value, unit, goal: None });
    }

    /// A figure that is to be at most `goal`.
    pub fn at_most(&mut self, what: impl Into<String>, value: f64, unit: &'static str, goal: f64) {
        self.figures.push(Figure { what: what.into(), value, unit, goal: Some(Goal::AtMost(goal)) });
    }

    /// A figure that is to be at most `goal`, if there is one.
    pub fn figure(&mut self, what: impl Into<String>, value: f64, unit: &'static str, goal: Option<f64>) {
        self.figures.push(Figure { what: what.into(), value, unit, goal: goal.map(Goal::AtMost) });
    }

    /// A figure that is to be at least `goal`.
    pub fn at_least(&mut self, what: impl Into<String>, value: f64, unit: &'static str, goal: f64) {
        self.figures.push(Figure { what: what.into(), value, unit, goal: Some(Goal::AtLeast(goal)) });
    }

    /// All values of a figure of the suite. Nothing of it is printed.
    pub fn sample(
        &mut self,
        figure: impl Into<String>,
        of: Who,
        unit: &'static str,
        values: impl IntoIterator<Item = f64>,
    ) {
        let (figure, values) = (figure.into(), values.into_iter().collect());
        self.samples.push(Samples { figure, of, unit, values });
    }

    /// What was told by [`Report::sample`].
    pub fn samples(&self) -> &[Samples] {
        &self.samples
    }

    /// What another report has, behind what this one has.
    pub fn append(&mut self, other: Report) {
        self.figures.extend(other.figures);
        self.samples.extend(other.samples);
    }

    /// The figures as JSON, one a line.
    pub fn json_lines(&self) -> String {
        let lines = self.figures.iter().map(|figure| {
            let Figure { what, value, unit, goal } = figure;
            let (bound, goal) = goal.map(Goal::parts).unzip();
            json!({
                "figure": what, "value": value, "unit": unit,
                "bound": bound, "goal": goal, "met": figure.met(),
            })
            .to_string()
                + "\n"
        });
        lines.collect()
    }
}

impl Figure {
    /// Whether the goal is met; `None` without a goal.
    pub fn met(&self) -> Option<bool> {
        self.goal.map(|goal| match goal {
            Goal::AtMost(most) => self.value <= most,
            Goal::AtLeast(least) => self.value >= least,
        })
    }
}

impl Goal {
    /// The kind of bound, and the bound.
    fn parts(self) -> (&'static str, f64) {
        match self {
            Goal::AtMost(most) => ("at most", most),
            Goal::AtLeast(least) => ("at least", least),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.figures.iter().map(|figure| figure.what.chars().count()).max().unwrap_or_default();
        for figure in &self.figures {
            let Figure { what, value, unit, goal } = figure;
            write!(f, "{what:width$}  {:>10} {unit:<3}", short(*value))?;
            if let Some(goal) = goal {
                let verdict = if figure.met() == Some(true) { "met" } else { "MISSED" };
                let (bound, goal) = goal.parts();
                write!(f, "  goal {bound:>8} {:>6}  {verdict}", short(goal))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// With as many digits as mean something.
fn short(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value:.0}")
    } else if value.abs() < 10.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.1}")
    }
}

/// In microseconds.
pub fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// In milliseconds.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// KiB in MB (10^6 bytes).
pub fn megabytes(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}

/// The value below which `percent` of `values` lie (nearest rank); zero if there are none.
pub fn percentile<T: Copy + PartialOrd + Default>(values: &[T], percent: usize) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal));
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let times: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), Duration::from_millis(100));
        assert_eq!(percentile(&times, 99), Duration::from_millis(198));
        assert_eq!(percentile(&times[..1], 99), Duration::from_millis(200));
        assert_eq!(percentile::<Duration>(&[], 50), Duration::ZERO);
        assert_eq!(percentile(&[0.5, -1.5, 2.0], 50), 0.5, "a difference may be below zero");
    }

    #[test]
    fn a_report_says_which_goals_are_missed() {
        let mut report = Report::default();
        report.tell("taken", 12.345, "ms");
        report.at_most("kept", 1.0, "s", 1.0);
        report.at_most("exceeded", 1.5, "s", 1.0);
        report.at_least("reached", 0.7, "", 0.7);
        report.at_least("not reached", 0.69, "", 0.7);
        let text = report.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].contains("12.3 ms") && !lines[0].contains("goal"), "{text}");
        assert!(lines[1].ends_with("met") && lines[2].ends_with("MISSED"), "{text}");
        assert!(lines[3].ends_with("met") && lines[4].ends_with("MISSED"), "{text}");
        let first = report.json_lines().lines().next().unwrap().to_owned();
        let first: serde_json::Value = serde_json::from_str(&first).unwrap();
        assert_eq!(first["figure"], "taken");
        assert_eq!(first["met"], serde_json::Value::Null);
        let last: serde_json::Value =
            serde_json::from_str(report.json_lines().lines().last().unwrap()).unwrap();
        assert_eq!(
            (&last["bound"], &last["goal"], &last["met"]),
            (&"at least".into(), &0.7.into(), &false.into())
        );
    }
}
