//! Figures, each beside its goal.

use std::fmt;
use std::time::Duration;

use serde_json::json;

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// It is to be at most that.
    pub goal: Option<f64>,
}

/// All figures of a run, in the order in which they were measured.
#[derive(Clone, Debug, Default)]
pub struct Report {
    figures: Vec<Figure>,
}

impl Report {
    /// A figure that has no goal.
    pub fn tell(&mut self, what: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure { what: what.into(), value, unit, goal: None });
    }

    /// A figure that is to be at most `goal`.
    pub fn at_most(&mut self, what: impl Into<String>, value: f64, unit: &'static str, goal: f64) {
        self.figures.push(Figure { what: what.into(), value, unit, goal: Some(goal) });
    }

    /// The figures as JSON, one a line.
    pub fn json_lines(&self) -> String {
        let lines = self.figures.iter().map(|figure| {
            let Figure { what, value, unit, goal } = figure;
            json!({"figure": what, "value": value, "unit": unit, "goal": goal, "met": figure.met()})
                .to_string()
                + "\n"
        });
        lines.collect()
    }
}

impl Figure {
    /// Whether the goal is met; `None` without a goal.
    pub fn met(&self) -> Option<bool> {
        self.goal.map(|goal| self.value <= goal)
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
                write!(f, "  goal {:>6}  {verdict}", short(*goal))?;
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

/// In milliseconds.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// KiB in MB (10^6 bytes).
pub fn megabytes(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}

/// The value below which `percent` of `times` lie (nearest rank); zero if there are none.
pub fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
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
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }

    #[test]
    fn a_report_says_which_goals_are_missed() {
        let mut report = Report::default();
        report.tell("taken", 12.345, "ms");
        report.at_most("kept", 1.0, "s", 1.0);
        report.at_most("exceeded", 1.5, "s", 1.0);
        let text = report.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].contains("12.3 ms") && !lines[0].contains("goal"), "{text}");
        assert!(lines[1].ends_with("met") && lines[2].ends_with("MISSED"), "{text}");
        let first = report.json_lines().lines().next().unwrap().to_owned();
        let first: serde_json::Value = serde_json::from_str(&first).unwrap();
        assert_eq!(first["figure"], "taken");
        assert_eq!(first["met"], serde_json::Value::Null);
    }
}
