//! All figures in one run: each bench once a round, this project, its floor and MetalLB in turn, and what all rounds come to.
//!
//! ```text
//!   task ──► a bench ──► Report ──► Collected ──► Line: p50, p99, max, goals ──► results.jsonl, tables, plots
//!     ▲                                             │
//!   schedule: time left                             └──► compare: worse than the last committed result?
//! ```
//!
//! `task` starts the benches and `machine` looks around; all else is pure. What stands in `bench-results/results.jsonl` is enough for tables, plots and
//! `docs/performance.md`, so these can be made anew without measuring.

mod compare;
mod document;
mod figures;
mod machine;
mod methods;
mod plot;
mod results;
mod schedule;
mod task;

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::lab::progress::Progress;
use crate::lab::{LabError, metallb, programs};
use crate::plane::project;

pub use compare::Worse;
pub(crate) use machine::{Machine, Versions};
pub use methods::Chapter;
pub use task::Options;

use compare::compare;
use figures::methods;
use machine::committed;
use methods::Method;
use results::{Collected, Line};
use schedule::{Schedule, words};
use task::{Task, tasks};

/// Where results lie, within the project.
const RESULTS: &str = "bench-results";

/// The name of the file with all of them.
const LINES: &str = "results.jsonl";

/// The document that is made of them.
const DOCUMENT: &str = "docs/performance.md";

/// What has fewer rounds, or other numbers of Services, is no result to be compared with.
const ROUNDS: usize = 5;
const SERVICES: usize = 10_000;

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Where the results are.
    pub folder: PathBuf,
    /// What got worse than it was in the last committed result.
    pub worse: Vec<Worse>,
    /// What could not be measured, and why.
    pub failed: Vec<String>,
    /// The table.
    pub text: String,
}

/// Measures, in labs of their own named `name`, and writes results into `bench-results`: those of each whole part in the place of
/// its earlier ones, so that not all need be measured in one run; those of single figures or of few rounds into the folder
/// `partial`, which also has what was measured so far.
///
/// # Errors
/// When there is no such figure, a result cannot be written, or it is interrupted. A bench that fails is told in the outcome.
pub async fn suite(name: &str, options: &Options, lab_program: &Path) -> Result<Outcome, LabError> {
    let progress = Progress::default();
    let known = methods();
    let chapters = chapters(&known, &options.only)?;
    // Builds are in no figure, nor in the time that is left.
    programs::ferrolb_programs(&progress)?;
    if options.metallb {
        metallb::built(&progress)?;
    }
    let rounds = (0..options.rounds).map(|round| tasks(&chapters, options.metallb, round));
    let all: Vec<(usize, Task)> =
        rounds.enumerate().flat_map(|(round, of)| of.into_iter().map(move |task| (round, task))).collect();
    let mut schedule = Schedule::new(all.iter().map(|(_, task)| (task.name(), task.guess(options))));
    let mut run = Run {
        options,
        methods: known,
        machine: Machine::here(),
        versions: Versions::here(),
        collected: Collected::default(),
        failed: Vec::new(),
    };
    let partial = project(RESULTS).join("partial");
    for (number, (round, task)) in all.into_iter().enumerate() {
        progress.say(&format!(
            "=== round {} of {}, task {} of {}: {}; about {} left",
            round + 1,
            options.rounds,
            number + 1,
            schedule.len(),
            task.name(),
            words(schedule.left())
        ));
        let started = Instant::now();
        match task::run(name, task, round, options, lab_program).await {
            Ok(report) => run.collected.add(round, report.samples()),
            Err(LabError::Interrupted) => return Err(LabError::Interrupted),
            Err(error) => {
                progress.say(&format!("{} failed: {error}", task.name()));
                let why = error.to_string();
                let first = why.lines().next().unwrap_or_default();
                run.failed.push(format!("round {}, {} failed: {first}", round + 1, task.name()));
            }
        }
        schedule.took(number, started.elapsed());
        // What was measured is not lost if something fails later.
        run.write(&partial, &[])?;
    }
    let outcome = run.end(&partial)?;
    progress.say(&format!("results are in {}", outcome.folder.display()));
    Ok(outcome)
}

/// Writes `docs/performance.md` from the committed results.
///
/// # Errors
/// When there are none yet, or they or the document cannot be read or written.
pub fn document() -> Result<PathBuf, LabError> {
    let lines = project(RESULTS).join(LINES);
    if !lines.exists() {
        return Err(LabError::State(format!(
            "there is no {RESULTS}/{LINES} yet, from which {DOCUMENT} is made: make bench PEERS=1 measures for hours"
        )));
    }
    let text = std::fs::read_to_string(&lines).map_err(LabError::at(&lines))?;
    let file = project(DOCUMENT);
    let before = file.exists().then(|| std::fs::read_to_string(&file)).transpose();
    let after = performance(&text, before.map_err(LabError::at(&file))?.as_deref())?;
    std::fs::write(&file, after).map_err(LabError::at(&file))?;
    Ok(file)
}

/// The document of these results.
fn performance(lines: &str, before: Option<&str>) -> Result<String, LabError> {
    let lines =
        results::from_json_lines(lines).map_err(|error| LabError::State(format!("{LINES}: {error}")))?;
    let generated = document::tables(&lines, &methods(), &format!("../{RESULTS}/"), &[]);
    document::put_in(before, &generated).map_err(|why| LabError::State(why.to_owned()))
}

/// The chapters that have what is asked for by name.
fn chapters(methods: &[Method], only: &[String]) -> Result<Vec<Chapter>, LabError> {
    if only.is_empty() {
        return Ok(Chapter::ALL.to_vec());
    }
    let mut found = Vec::new();
    for name in only {
        let chapter = Chapter::ALL.into_iter().find(|chapter| chapter.name() == name);
        let figure = || methods.iter().find(|method| method.figure == *name).map(|method| method.chapter);
        let Some(chapter) = chapter.or_else(figure) else {
            let chapters = Chapter::ALL.map(Chapter::name).join(" ");
            let figures: Vec<&str> = methods.iter().map(|method| method.figure.as_str()).collect();
            let figures = figures.join(" ");
            return Err(LabError::State(format!(
                "there is no figure {name}; parts: {chapters}; figures: {figures}"
            )));
        };
        found.push(chapter);
    }
    Ok(Chapter::ALL.into_iter().filter(|chapter| found.contains(chapter)).collect())
}

/// A run, and what it has measured so far.
struct Run<'a> {
    options: &'a Options,
    methods: Vec<Method>,
    machine: Machine,
    versions: Versions,
    collected: Collected,
    failed: Vec<String>,
}

impl Run<'_> {
    /// The lines of the figures that are asked for.
    fn lines(&self) -> Vec<Line> {
        let lines = self.collected.lines(&self.methods, self.options.services, &self.machine, &self.versions);
        let only = &self.options.only;
        let wanted = |line: &Line| {
            let of = |method: &&Method| method.figure == line.figure;
            let chapter = self.methods.iter().find(of).map(|method| method.chapter.name());
            only.is_empty() || only.iter().any(|name| *name == line.figure || Some(name.as_str()) == chapter)
        };
        lines.into_iter().filter(wanted).collect()
    }

    /// The parts of which every figure was measured, in as many rounds and with as many Services as it takes.
    fn whole(&self) -> Vec<Chapter> {
        let Options { only, rounds, services, .. } = self.options;
        if *rounds < ROUNDS || *services != SERVICES || !self.failed.is_empty() {
            return Vec::new();
        }
        let asked = |chapter: &Chapter| only.is_empty() || only.iter().any(|name| name == chapter.name());
        Chapter::ALL.into_iter().filter(asked).collect()
    }

    /// Writes what was measured so far, or in all, to where parts are; returns the table.
    fn write(&self, folder: &Path, remarks: &[String]) -> Result<String, LabError> {
        write(folder, &self.lines(), &self.methods, remarks)
    }

    /// Compares with the last committed result, and puts the parts that are a result by themselves in the place of the earlier.
    fn end(self, partial: &Path) -> Result<Outcome, LabError> {
        let mut remarks = self.failed.clone();
        let unknown: Vec<&str> = self.collected.unknown(&self.methods).collect();
        if !unknown.is_empty() {
            remarks.push(format!("measured, but not described: {}", unknown.join(", ")));
        }
        let earlier = committed(&Path::new(RESULTS).join(LINES)).map(|text| results::from_json_lines(&text));
        let mut worse = Vec::new();
        match earlier {
            Some(Ok(earlier)) => {
                let comparison = compare(&self.lines(), &earlier);
                remarks.extend(comparison.note.map(str::to_owned));
                remarks.extend(comparison.worse.iter().map(Worse::to_string));
                let (count, of) = (comparison.worse.len(), comparison.compared);
                remarks.push(format!("{count} of {of} figures that could be compared with the last committed result got worse by more than their noise"));
                worse = comparison.worse;
            }
            Some(Err(error)) => remarks.push(format!("the last committed result cannot be read: {error}")),
            None => remarks.push("there is no committed result to compare with".to_owned()),
        }
        let whole = self.whole();
        let mut folder = partial.to_owned();
        if !whole.is_empty() {
            let file = project(RESULTS).join(LINES);
            let before = if file.exists() {
                let text = std::fs::read_to_string(&file).map_err(LabError::at(&file))?;
                results::from_json_lines(&text)
                    .map_err(|error| LabError::State(format!("{}: {error}", file.display())))?
            } else {
                Vec::new()
            };
            let merged = results::merged(before, self.lines(), &self.methods, &whole);
            remarks.extend(merged.kept.iter().map(|chapter| {
                format!(
                    "the earlier result of {} stays: it has MetalLB beside it, and this one has not",
                    chapter.name()
                )
            }));
            if merged.kept.len() < whole.len() {
                folder = project(RESULTS);
                write(&folder, &merged.lines, &self.methods, &[])?;
                document()?;
            }
        }
        let text = self.write(partial, &remarks)?;
        Ok(Outcome { folder, worse, failed: self.failed, text })
    }
}

/// Writes lines, tables and plots into a folder; returns the table.
fn write(folder: &Path, lines: &[Line], methods: &[Method], remarks: &[String]) -> Result<String, LabError> {
    std::fs::create_dir_all(folder).map_err(LabError::at(folder))?;
    // Of an earlier run, which may have had more.
    for entry in std::fs::read_dir(folder).map_err(LabError::at(folder))?.flatten() {
        if entry.path().extension().is_some_and(|kind| kind == "svg") {
            std::fs::remove_file(entry.path()).map_err(LabError::at(entry.path()))?;
        }
    }
    let text = document::tables(lines, methods, "", remarks);
    let json = results::to_json_lines(lines).map_err(|error| LabError::State(error.to_string()))?;
    let mut files = document::plots(lines, methods);
    files.insert(LINES.to_owned(), json);
    files.insert("results.md".to_owned(), format!("# Results\n\n{text}"));
    for (name, content) in files {
        let file = folder.join(name);
        std::fs::write(&file, content).map_err(LabError::at(&file))?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_by_their_names_and_by_those_of_figures() {
        let of = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            chapters(&methods(), &names)
        };
        assert_eq!(of(&[]).unwrap(), Chapter::ALL);
        assert_eq!(
            of(&["size", "arp-rate", "create"]).unwrap(),
            [Chapter::Allocation, Chapter::Layer2, Chapter::Size]
        );
        let error = of(&["creat"]).unwrap_err().to_string();
        assert!(error.contains("no figure creat;") && error.contains("first-frame"), "{error}");
    }

    #[test]
    fn the_document_is_that_of_the_committed_results() {
        let lines = project(RESULTS).join(LINES);
        let Ok(lines) = std::fs::read_to_string(lines) else { return };
        let document = std::fs::read_to_string(project(DOCUMENT)).unwrap();
        assert_eq!(performance(&lines, Some(&document)).unwrap(), document, "make performance writes it");
    }
}
