//! What the programs log as a warning or an error, and which fault explains it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Done;
use crate::chaos::Fault;
use crate::lab::Lab;
use crate::scene::SYSTEM;

/// So long after the end of a fault what it brought may still be said: a watch is opened anew with pauses up to that.
const AFTERWARDS: Duration = Duration::from_secs(120);

/// Reads what is new in the logs of all pods of ours, while their files are there.
#[derive(Debug)]
pub struct Logs {
    nodes: Vec<PathBuf>,
    read: BTreeMap<PathBuf, u64>,
    lines: Vec<Line>,
}

/// A line that is to be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When it was read: it was said since the look before.
    pub at: Duration,
    /// Since when it can have been said.
    pub since: Duration,
    /// Which program said it.
    pub program: String,
    /// What, from its level on.
    pub text: String,
}

/// Lines that mean the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// One of them.
    pub example: String,
    /// How many.
    pub count: usize,
    /// Why they were said, if that is known.
    pub why: Option<&'static str>,
}

/// Words that a fault explains.
struct Known {
    /// In the line.
    words: &'static str,
    /// What brings it; any fault if there is none.
    faults: &'static [Fault],
    why: &'static str,
}

/// Whatever keeps a node or a program from the API server for a while.
pub(super) const NO_API: &[Fault] =
    &[Fault::ApiCut, Fault::ApiAway, Fault::BothPorts, Fault::Kill, Fault::Stop, Fault::ControllerGone];

/// What takes a node's link away, or brings it anew.
const NO_LINK: &[Fault] = &[Fault::PortDown, Fault::BothPorts, Fault::Kill];

/// What makes a speaker unheard.
const UNHEARD: &[Fault] = &[
    Fault::Kill,
    Fault::BothPorts,
    Fault::PortDown,
    Fault::CutIn,
    Fault::CutOut,
    Fault::Stop,
    Fault::HellosDropped,
];

/// All that is explained. What is not in here is to be looked into.
const KNOWN: &[Known] = &[
    Known { words: "trying again", faults: NO_API, why: "the API server could not be reached" },
    Known { words: "no answer about the Lease", faults: NO_API, why: "the API server could not be reached" },
    Known { words: "no interface can be announced on", faults: NO_LINK, why: "the node had no link" },
    Known { words: "can use none of the interfaces", faults: NO_LINK, why: "the owner had no link" },
    Known { words: "no hello of the speaker on", faults: UNHEARD, why: "that speaker could not be heard" },
];

impl Logs {
    /// Begins where the logs end now.
    pub fn begin(lab: &Lab) -> Self {
        let nodes = lab.config.node_names().iter().map(|node| lab.paths.node(node).join("logs")).collect();
        let mut logs = Logs { nodes, read: BTreeMap::new(), lines: Vec::new() };
        logs.look(Duration::ZERO);
        logs.lines.clear();
        logs
    }

    /// Reads on. What a file's last line is to become is left for the next look.
    pub fn look(&mut self, at: Duration) {
        let since = self.lines.last().map_or(Duration::ZERO, |line| line.at);
        for (program, file) in self.nodes.iter().flat_map(|node| files(node)) {
            let from = self.read.entry(file.clone()).or_default();
            // It may have gone meanwhile.
            let Ok(text) = tail(&file, *from) else { continue };
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            *from += whole as u64;
            let lines = text[..whole].lines().filter_map(worth);
            let line = |text| Line { at, since, program: program.clone(), text };
            self.lines.extend(lines.map(line));
        }
    }

    /// All that was said.
    pub fn end(self) -> Vec<Line> {
        self.lines
    }
}

/// The logs of our pods in a kubelet's folder, each with the container's name.
fn files(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = |path: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let ours = format!("{SYSTEM}_ferrolb-");
    let pods = entries(folder).into_iter().filter(|pod| name(pod).starts_with(&ours));
    let containers = pods.flat_map(|pod| entries(&pod));
    containers
        .flat_map(|container| {
            let program = name(&container);
            entries(&container).into_iter().map(move |file| (program.clone(), file)).collect::<Vec<_>>()
        })
        .collect()
}

fn tail(file: &Path, from: u64) -> std::io::Result<String> {
    let mut file = File::open(file)?;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What is to be explained of a line of a container's log: warnings, errors, and what is no line of ours.
fn worth(line: &str) -> Option<String> {
    // As the container runtime writes it: time, stream, F or P for a part, text; the text is ours, with --log-format=json.
    let text = line.splitn(4, ' ').nth(3)?;
    let Ok(said) = serde_json::from_str::<serde_json::Value>(text) else { return Some(text.to_owned()) };
    let part = |name: &str| said[name].as_str().unwrap_or_default();
    match part("level") {
        "INFO" | "DEBUG" | "TRACE" => None,
        level => Some(format!("{level} {}: {}", part("target"), part("message"))),
    }
}

/// The lines by what they mean, each with its reason, if a fault explains it: those without come first.
pub fn explain(lines: &[Line], done: &[Done]) -> Vec<Said> {
    let mut said: BTreeMap<(bool, String), Said> = BTreeMap::new();
    for line in lines {
        let around = done.iter().filter(|one| one.from <= line.at && one.until + AFTERWARDS >= line.since);
        let faults: BTreeSet<Fault> =
            around.flat_map(|one| &one.step.faults).map(|(fault, _)| *fault).collect();
        let why = reason(&line.text, &faults);
        let kind = (why.is_some(), format!("{} {}", line.program, shape(&line.text)));
        let example = format!("{}: {}", line.program, line.text);
        said.entry(kind).or_insert(Said { example, count: 0, why }).count += 1;
    }
    said.into_values().collect()
}

fn reason(text: &str, faults: &BTreeSet<Fault>) -> Option<&'static str> {
    let known = KNOWN.iter().filter(|known| text.contains(known.words));
    let mut fits = known.filter(|known| known.faults.iter().any(|fault| faults.contains(fault)));
    fits.next().map(|known| known.why)
}

/// A line without its numbers, and no more of it than says what it is about.
fn shape(text: &str) -> String {
    const WORDS: usize = 12;
    let words = text.split_whitespace().filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
    words.take(WORDS).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_errors_and_what_is_no_line_of_ours_are_kept() {
        let line = |text: &str| worth(&format!("2026-11-22T10:00:00.1+00:00 stderr F {text}"));
        assert_eq!(line(r#"{"level":"INFO","message":"well","target":"a"}"#), None);
        let warned = line(r#"{"level":"WARN","message":"hm","target":"a"}"#);
        assert_eq!(warned.as_deref(), Some("WARN a: hm"));
        let panicked = "thread 'main' panicked at x.rs:1";
        assert_eq!(line(panicked).as_deref(), Some(panicked));
        assert_eq!(worth("cut"), None);
    }

    #[test]
    fn a_line_is_explained_by_a_fault_around_it_alone() {
        let faults = |all: &[Fault]| all.iter().copied().collect();
        let text = "WARN watch: cannot watch services: connection refused; trying again";
        assert!(reason(text, &faults(&[Fault::ApiAway])).is_some());
        assert_eq!(reason(text, &faults(&[Fault::ClientReboot])), None);
        assert_eq!(reason("thread 'main' panicked", &faults(&[Fault::ApiAway])), None);
    }

    #[test]
    fn lines_that_differ_in_numbers_are_one() {
        let line = |text: &str| Line {
            at: Duration::from_secs(1),
            since: Duration::ZERO,
            program: "speaker".into(),
            text: text.into(),
        };
        let lines = [line("WARN a: after 3 tries"), line("WARN a: after 4 tries"), line("WARN b: other")];
        let said = explain(&lines, &[]);
        assert_eq!(said.iter().map(|said| said.count).collect::<Vec<_>>(), [2, 1]);
        assert!(said.iter().all(|said| said.why.is_none()));
    }

    #[test]
    fn files_are_read_on_from_where_the_last_whole_line_ended() {
        let folder = std::env::temp_dir().join(format!("soak-logs-{}", std::process::id()));
        let container = folder.join(format!("{SYSTEM}_ferrolb-speaker-x_uid/speaker"));
        std::fs::create_dir_all(&container).unwrap();
        std::fs::create_dir_all(folder.join("other_pod_uid/web")).unwrap();
        let file = container.join("0.log");
        let line = |text: &str| format!("t stderr F {text}\n");
        std::fs::write(&file, line("one") + "t stderr F t").unwrap();
        let mut logs = Logs { nodes: vec![folder.clone()], read: BTreeMap::new(), lines: Vec::new() };
        logs.look(Duration::from_secs(1));
        std::fs::write(&file, line("one") + &line("two")).unwrap();
        logs.look(Duration::from_secs(2));
        std::fs::remove_dir_all(&folder).unwrap();
        let texts: Vec<&str> = logs.lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["one", "two"]);
    }
}
