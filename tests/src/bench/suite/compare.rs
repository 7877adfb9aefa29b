//! Whether a figure got worse than it was, by more than its noise.

use std::fmt;

use crate::bench::report::Who;

use super::methods::Better;
use super::results::Line;

/// What changes by less is never called worse: a tenth of a megabyte more of a program is nobody's mistake.
const LITTLE: f64 = 0.03;

/// What came of a comparison.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Comparison {
    /// How many figures were compared.
    pub(super) compared: usize,
    /// Those that got worse.
    pub(super) worse: Vec<Worse>,
    /// Why some were not compared.
    pub(super) note: Option<&'static str>,
}

/// A figure that got worse.
#[derive(Clone, Debug, PartialEq)]
pub struct Worse {
    /// Its name.
    pub figure: String,
    /// What it says.
    pub title: String,
    /// Of what.
    pub unit: String,
    /// What its p50 was.
    pub before: f64,
    /// What it is.
    pub now: f64,
    /// By how much it may differ.
    pub noise: f64,
}

/// Compares this project's figures with those of an earlier result, if it is of a machine like this one. A figure that is
/// of other numbers of Services has another title, and is not compared.
pub(super) fn compare(now: &[Line], before: &[Line]) -> Comparison {
    let mut comparison = Comparison::default();
    for line in now.iter().filter(|line| line.of == Who::Ferrolb) {
        let same = |other: &&Line| {
            (&other.figure, other.of, &other.title) == (&line.figure, line.of, &line.title)
                && other.unit == line.unit
        };
        let Some(earlier) = before.iter().find(same) else { continue };
        if !line.machine.is_like(&earlier.machine) {
            comparison.note =
                Some("the last committed result is of another machine, so nothing is compared with it");
            continue;
        }
        comparison.compared += 1;
        let noise = noise(line).max(noise(earlier)).max(LITTLE * earlier.p50.abs());
        let lost = match line.better {
            Better::Less => line.p50 - earlier.p50,
            Better::More => earlier.p50 - line.p50,
        };
        if lost > noise {
            comparison.worse.push(Worse {
                figure: line.figure.clone(),
                title: line.title.clone(),
                unit: line.unit.clone(),
                before: earlier.p50,
                now: line.p50,
                noise,
            });
        }
    }
    comparison
}

/// How far a round's p50 was from that of all: what the next run may differ by, though nothing has changed.
pub(super) fn noise(line: &Line) -> f64 {
    line.rounds.iter().map(|round| (round - line.p50).abs()).fold(0.0, f64::max)
}

impl fmt::Display for Worse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Worse { figure, title, unit, before, now, noise } = self;
        write!(f, "WORSE: {title} ({figure}): {now} {unit}, it was {before}; its noise is {noise:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::suite::machine::{Machine, Versions};

    fn line(better: Better, p50: f64, rounds: &[f64]) -> Line {
        Line {
            figure: "create".into(),
            of: Who::Ferrolb,
            title: "create".into(),
            unit: "ms".into(),
            better,
            p50,
            p99: p50,
            max: p50,
            n: rounds.len(),
            rounds: rounds.to_vec(),
            goals: Vec::new(),
            machine: Machine::default(),
            versions: Versions::default(),
        }
    }

    /// Of each the p50 of all, and by how much that of each round differed from it.
    fn is_worse(better: Better, before: (f64, &[f64]), now: (f64, &[f64])) -> bool {
        let line = |(p50, noise): (f64, &[f64])| {
            let rounds: Vec<f64> = noise.iter().map(|noise| p50 + noise).collect();
            line(better, p50, &rounds)
        };
        let comparison = compare(&[line(now)], &[line(before)]);
        assert_eq!(comparison.compared, 1);
        !comparison.worse.is_empty()
    }

    const CALM: &[f64] = &[0.0, 0.0, 0.1];

    #[test]
    fn worse_is_what_differs_by_more_than_the_rounds_did() {
        let rough: &[f64] = &[-2.0, 0.0, 4.0];
        assert!(is_worse(Better::Less, (10.0, CALM), (11.0, CALM)));
        assert!(!is_worse(Better::Less, (10.0, CALM), (10.2, CALM)), "within what is called little");
        assert!(!is_worse(Better::Less, (10.0, rough), (13.0, CALM)), "the earlier was noisy");
        assert!(!is_worse(Better::Less, (10.0, CALM), (13.0, rough)), "this one is");
        assert!(is_worse(Better::Less, (10.0, rough), (15.0, rough)), "both are, but it is more than that");
        assert!(!is_worse(Better::Less, (10.0, CALM), (5.0, CALM)), "it is better");
    }

    #[test]
    fn where_more_is_better_less_is_worse() {
        assert!(is_worse(Better::More, (10.0, CALM), (9.0, CALM)));
        assert!(!is_worse(Better::More, (10.0, CALM), (20.0, CALM)));
    }

    #[test]
    fn one_where_there_was_none_is_worse() {
        assert!(is_worse(Better::Less, (0.0, &[0.0, 0.0]), (1.0, &[0.0, 0.0])));
    }

    #[test]
    fn other_machines_and_other_figures_are_not_compared() {
        let now = line(Better::Less, 20.0, &[20.0]);
        let mut before = line(Better::Less, 10.0, &[10.0]);
        before.machine.cores = 64;
        let comparison = compare(std::slice::from_ref(&now), &[before]);
        assert_eq!((comparison.compared, comparison.worse.len()), (0, 0));
        assert!(comparison.note.is_some());
        let other = Line { title: "create of 200".into(), ..line(Better::Less, 10.0, &[10.0]) };
        assert_eq!(compare(std::slice::from_ref(&now), &[other]), Comparison::default());
        let of_floor = Line { of: Who::Floor, ..now };
        assert_eq!(
            compare(std::slice::from_ref(&of_floor), std::slice::from_ref(&of_floor)),
            Comparison::default()
        );
    }
}
