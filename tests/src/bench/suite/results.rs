//! The values of figures over rounds, and what they come to.

use serde::{Deserialize, Serialize};

use crate::bench::report::{Samples, Who, percentile};

use super::machine::{Machine, Versions};
use super::methods::{At, Better, Bound, Chapter, Method, Target};

/// The values of one figure of one subject, round by round.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    /// The figure's name.
    pub(super) figure: String,
    /// Whose.
    pub(super) of: Who,
    /// Of what.
    pub(super) unit: String,
    /// The values of each round; none where a round had none.
    pub(super) rounds: Vec<Vec<f64>>,
}

/// All that was measured so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Collected {
    series: Vec<Series>,
}

impl Collected {
    /// Takes what a bench measured in a round, counted from 0. What was measured twice in one round, as a floor beside
    /// each of two, is of that round together.
    pub(super) fn add(&mut self, round: usize, samples: &[Samples]) {
        for Samples { figure, of, unit, values } in samples {
            let found = self.series.iter_mut().find(|one| one.figure == *figure && one.of == *of);
            let series = match found {
                Some(series) => series,
                None => {
                    let (figure, of, unit) = (figure.clone(), *of, (*unit).to_owned());
                    self.series.push(Series { figure, of, unit, rounds: Vec::new() });
                    let last = self.series.len() - 1;
                    &mut self.series[last]
                }
            };
            if series.rounds.len() <= round {
                series.rounds.resize(round + 1, Vec::new());
            }
            series.rounds[round].extend(values.iter().copied().filter(|value| value.is_finite()));
        }
    }

    /// One of them.
    pub(super) fn series(&self, figure: &str, of: Who) -> Option<&Series> {
        self.series.iter().find(|one| one.figure == figure && one.of == of)
    }

    /// The figures that nobody has described.
    pub(super) fn unknown<'a>(&'a self, methods: &'a [Method]) -> impl Iterator<Item = &'a str> {
        let known = |figure: &str| methods.iter().any(|method| method.figure == figure);
        self.series.iter().map(|one| one.figure.as_str()).filter(move |figure| !known(figure))
    }

    /// A line for each, in the order of the methods, with `services` put in for the larger bulk in titles.
    pub(super) fn lines(
        &self,
        methods: &[Method],
        services: usize,
        machine: &Machine,
        versions: &Versions,
    ) -> Vec<Line> {
        let mut lines = Vec::new();
        for method in methods {
            let mut here: Vec<&Series> =
                self.series.iter().filter(|one| one.figure == method.figure).collect();
            here.sort_by_key(|one| one.of);
            for series in here {
                let Some(summary) = Summary::of(&series.rounds) else { continue };
                let judge = |target: &Target| self.judge(series, &summary, *target);
                // Goals are this project's.
                let goals = if series.of == Who::Ferrolb { &method.goals[..] } else { &[] };
                let (mut machine, mut versions) = (machine.clone(), versions.clone());
                if series.of != Who::Metallb {
                    versions.metallb = None;
                }
                if series.of == Who::Floor {
                    versions.ferrolb = None;
                }
                machine.load_before = round_to(machine.load_before);
                lines.push(Line {
                    figure: series.figure.clone(),
                    of: series.of,
                    title: method.title(services),
                    unit: series.unit.clone(),
                    better: method.better,
                    p50: round_to(summary.p50),
                    p99: round_to(summary.p99),
                    max: round_to(summary.max),
                    n: summary.n,
                    rounds: summary.rounds.iter().copied().map(round_to).collect(),
                    goals: goals.iter().filter_map(judge).collect(),
                    machine,
                    versions,
                });
            }
        }
        lines
    }

    /// Whether a goal is met; `None` where that to which it is relative was not measured.
    fn judge(&self, series: &Series, summary: &Summary, target: Target) -> Option<Judged> {
        let value = match target.bound {
            Bound::Most(_) => summary.at(target.at),
            Bound::MostTimes(who, _) | Bound::LeastTimes(who, _) => {
                ratio(&series.rounds, &self.series(&series.figure, who)?.rounds)?
            }
        };
        let met = match target.bound {
            Bound::Most(most) | Bound::MostTimes(_, most) => value <= most,
            Bound::LeastTimes(_, least) => value >= least,
        };
        Some(Judged { goal: target.words(&series.unit), value: round_to(value), met })
    }
}

/// What one p50 was as a multiple of another: the middle of what it was in each round that has both. The machine is not
/// the same in all rounds, but nearly so within one.
pub(super) fn ratio(ours: &[Vec<f64>], theirs: &[Vec<f64>]) -> Option<f64> {
    let both = ours.iter().zip(theirs).filter(|(a, b)| !a.is_empty() && !b.is_empty());
    let ratios = both.map(|(a, b)| percentile(a, 50) / percentile(b, 50));
    let ratios: Vec<f64> = ratios.filter(|ratio| ratio.is_finite()).collect();
    (!ratios.is_empty()).then(|| percentile(&ratios, 50))
}

/// What values come to.
#[derive(Clone, Debug, PartialEq)]
struct Summary {
    p50: f64,
    p99: f64,
    max: f64,
    n: usize,
    rounds: Vec<f64>,
}

impl Summary {
    fn of(rounds: &[Vec<f64>]) -> Option<Self> {
        let all: Vec<f64> = rounds.iter().flatten().copied().collect();
        if all.is_empty() {
            return None;
        }
        let rounds = rounds.iter().filter(|round| !round.is_empty());
        Some(Summary {
            p50: percentile(&all, 50),
            p99: percentile(&all, 99),
            max: percentile(&all, 100),
            n: all.len(),
            rounds: rounds.map(|round| percentile(round, 50)).collect(),
        })
    }

    fn at(&self, at: At) -> f64 {
        match at {
            At::P50 => self.p50,
            At::P99 => self.p99,
            At::Max => self.max,
        }
    }
}

/// One figure of one subject: a line of the results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Line {
    /// The figure's name.
    pub(super) figure: String,
    /// Whose.
    pub(super) of: Who,
    /// What it says.
    pub(super) title: String,
    /// Of what.
    pub(super) unit: String,
    /// Whether less or more of it is better.
    pub(super) better: Better,
    /// Half of the values are at most that.
    pub(super) p50: f64,
    /// 99 of 100 values are at most that.
    pub(super) p99: f64,
    /// All are at most that.
    pub(super) max: f64,
    /// How many values there are.
    pub(super) n: usize,
    /// The p50 of each round.
    pub(super) rounds: Vec<f64>,
    /// Its goals.
    pub(super) goals: Vec<Judged>,
    /// Where it was measured.
    pub(super) machine: Machine,
    /// Of what.
    pub(super) versions: Versions,
}

/// A goal, and whether it was met.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Judged {
    /// In words.
    pub(super) goal: String,
    /// What is to be compared with it.
    pub(super) value: f64,
    /// Whether it is met.
    pub(super) met: bool,
}

/// Results, of which some were replaced.
#[derive(Clone, Debug, Default)]
pub(super) struct Merged {
    /// In the order of the methods.
    pub(super) lines: Vec<Line>,
    /// What was measured anew, and yet is as it was.
    pub(super) kept: Vec<Chapter>,
}

/// The earlier results, with those of the parts that are whole in `now` in their place. A part is measured in one run or not at
/// all, so one that has MetalLB beside it is not replaced by one that has not.
pub(super) fn merged(before: Vec<Line>, now: Vec<Line>, methods: &[Method], whole: &[Chapter]) -> Merged {
    let place = |line: &Line| methods.iter().position(|method| method.figure == line.figure);
    let chapter = |line: &Line| place(line).map(|place| methods[place].chapter);
    let beside = |lines: &[Line], of: Chapter| {
        lines.iter().any(|line| line.of == Who::Metallb && chapter(line) == Some(of))
    };
    let (kept, taken): (Vec<Chapter>, Vec<Chapter>) =
        whole.iter().partition(|of| beside(&before, **of) && !beside(&now, **of));
    let is_taken = |line: &Line| chapter(line).is_some_and(|of| taken.contains(&of));
    // What is no figure any more goes.
    let before = before.into_iter().filter(|line| place(line).is_some() && !is_taken(line));
    let mut lines: Vec<Line> = before.chain(now.iter().filter(|line| is_taken(line)).cloned()).collect();
    lines.sort_by_key(|line| (place(line), line.of));
    Merged { lines, kept }
}

/// As JSON, one object a line.
///
/// # Errors
/// When a value has no form in JSON.
pub(super) fn to_json_lines(lines: &[Line]) -> Result<String, serde_json::Error> {
    let mut text = String::new();
    for line in lines {
        text += &serde_json::to_string(line)?;
        text.push('\n');
    }
    Ok(text)
}

/// The lines of such a text.
///
/// # Errors
/// When one is not of this form.
pub(super) fn from_json_lines(text: &str) -> Result<Vec<Line>, serde_json::Error> {
    text.lines().filter(|line| !line.trim().is_empty()).map(serde_json::from_str).collect()
}

/// With four digits that count, more than any figure here is good for.
fn round_to(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let digits = 3 - value.abs().log10().floor() as i32;
    let unit = 10_f64.powi(digits.max(0));
    (value * unit).round() / unit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(figure: &str, better: Better, goals: Vec<Target>) -> Method {
        let (chapter, title, method) = (Chapter::Allocation, format!("{figure} of {{all}}"), "So. And so.");
        Method { figure: figure.into(), chapter, title, better, goals, method }
    }

    fn sample(of: Who, values: &[f64]) -> Samples {
        Samples { figure: "create".into(), of, unit: "ms", values: values.to_vec() }
    }

    fn lines(collected: &Collected, goals: Vec<Target>) -> Vec<Line> {
        let methods = [method("create", Better::Less, goals)];
        collected.lines(&methods, 500, &Machine::default(), &Versions::default())
    }

    #[test]
    fn percentiles_are_of_all_samples_and_not_of_rounds() {
        let mut collected = Collected::default();
        collected.add(0, &[sample(Who::Ferrolb, &[1.0, 2.0, 90.0])]);
        collected.add(1, &[sample(Who::Ferrolb, &[3.0, 4.0]), sample(Who::Metallb, &[9.0])]);
        let lines = lines(&collected, Vec::new());
        let [ours, theirs] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((ours.p50, ours.p99, ours.max, ours.n), (3.0, 90.0, 90.0, 5));
        assert_eq!((&ours.rounds[..], &theirs.rounds[..]), (&[2.0, 3.0][..], &[9.0][..]));
        assert_eq!((ours.title.as_str(), theirs.of), ("create of 500", Who::Metallb));
    }

    #[test]
    fn what_is_measured_twice_in_a_round_is_of_that_round() {
        let mut collected = Collected::default();
        collected.add(0, &[sample(Who::Floor, &[1.0])]);
        collected.add(0, &[sample(Who::Floor, &[3.0, f64::NAN])]);
        assert_eq!(collected.series("create", Who::Floor).unwrap().rounds, [vec![1.0, 3.0]]);
    }

    #[test]
    fn a_goal_relative_to_the_floor_is_judged_within_rounds() {
        let mut collected = Collected::default();
        // The machine was half as fast in the second round, and somebody else's burst fell into the third.
        for (round, (ours, floor)) in [(12.0, 10.0), (24.0, 20.0), (90.0, 10.0)].into_iter().enumerate() {
            collected.add(round, &[sample(Who::Ferrolb, &[ours]), sample(Who::Floor, &[floor])]);
        }
        let goals = vec![
            Target { at: At::P50, bound: Bound::MostTimes(Who::Floor, 1.3) },
            Target { at: At::Max, bound: Bound::Most(50.0) },
            Target { at: At::P50, bound: Bound::MostTimes(Who::Metallb, 0.25) },
        ];
        let lines = lines(&collected, goals);
        let judged: Vec<(f64, bool)> = lines[0].goals.iter().map(|one| (one.value, one.met)).collect();
        assert_eq!(judged, [(1.2, true), (90.0, false)], "MetalLB was not measured");
        assert!(lines[1].goals.is_empty(), "a floor has no goals");
    }

    #[test]
    fn lines_are_the_same_after_writing_and_reading() {
        let mut collected = Collected::default();
        collected.add(2, &[sample(Who::Ferrolb, &[1.0 / 3.0, 12_345.678])]);
        let written = lines(&collected, vec![Target { at: At::P99, bound: Bound::Most(5.0) }]);
        let text = to_json_lines(&written).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert_eq!(from_json_lines(&text).unwrap(), written);
        assert!(from_json_lines("{}").is_err());
    }

    #[test]
    fn a_part_that_was_measured_takes_the_place_of_its_earlier_result() {
        let of = |chapter, figure: &str| Method { chapter, ..method(figure, Better::Less, Vec::new()) };
        let methods = [of(Chapter::Allocation, "create"), of(Chapter::Size, "image")];
        let lines = |values: &[(&str, Who, f64)]| {
            let mut collected = Collected::default();
            for (figure, of, value) in values {
                let values = vec![*value];
                collected.add(0, &[Samples { figure: (*figure).to_owned(), of: *of, unit: "ms", values }]);
            }
            collected.lines(&methods, 500, &Machine::default(), &Versions::default())
        };
        let (ours, theirs, floor) = (Who::Ferrolb, Who::Metallb, Who::Floor);
        let told = |merged: &Merged| -> Vec<(String, Who, f64)> {
            merged.lines.iter().map(|line| (line.figure.clone(), line.of, line.p50)).collect()
        };
        let words = |all: &[(&str, Who, f64)]| -> Vec<(String, Who, f64)> {
            all.iter().map(|(figure, of, value)| ((*figure).to_owned(), *of, *value)).collect()
        };
        let before = lines(&[
            ("create", ours, 1.0),
            ("create", floor, 1.0),
            ("image", ours, 9.0),
            ("image", theirs, 90.0),
        ]);
        // Of a part nothing of the earlier one stays, and others stay as they are.
        let anew = merged(before.clone(), lines(&[("create", ours, 2.0)]), &methods, &[Chapter::Allocation]);
        assert_eq!(
            told(&anew),
            words(&[("create", ours, 2.0), ("image", ours, 9.0), ("image", theirs, 90.0)])
        );
        assert!(anew.kept.is_empty());
        // Not in the place of one with MetalLB beside it; what is no whole part is not taken either.
        let alone = lines(&[("create", ours, 3.0), ("image", ours, 8.0)]);
        let kept = merged(before.clone(), alone, &methods, &[Chapter::Size]);
        assert_eq!(
            (told(&kept), &kept.kept[..]),
            (told(&merged(before.clone(), vec![], &methods, &[])), &[Chapter::Size][..])
        );
        let gone = merged(vec![Line { figure: "gone".into(), ..before[0].clone() }], vec![], &methods, &[]);
        assert_eq!(told(&gone), []);
        let first = merged(vec![], lines(&[("image", ours, 8.0)]), &methods, &[Chapter::Size]);
        assert_eq!(told(&first), words(&[("image", ours, 8.0)]));
    }

    #[test]
    fn values_have_four_digits() {
        let rounded: Vec<f64> = [0.0, 1.0 / 3.0, 12_345.678, 0.000_123_456, -2.5].map(round_to).to_vec();
        assert_eq!(rounded, [0.0, 0.3333, 12_346.0, 0.000_123_5, -2.5]);
    }

    #[test]
    fn a_figure_that_nobody_described_is_found() {
        let mut collected = Collected::default();
        collected.add(0, &[sample(Who::Ferrolb, &[1.0])]);
        assert_eq!(collected.unknown(&[]).collect::<Vec<_>>(), ["create"]);
        assert_eq!(collected.unknown(&[method("create", Better::Less, vec![])]).count(), 0);
    }
}
