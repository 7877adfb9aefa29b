//! What the programs log as a warning or an error, and which fault explains it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use super::Span;
use crate::chaos::Fault;
use crate::lab::Lab;
use crate::scene::SYSTEM;

/// So long after the end of a fault what it brought may still be said: a watch is opened anew with pauses up to that.
const AFTERWARDS: Duration = Duration::from_secs(90);

/// The files are read once in so long: those of a pod go with it.
const EVERY: Duration = Duration::from_millis(500);

/// Reads what is new in the logs of all pods of ours.
#[derive(Debug)]
pub struct Logs {
    stop: Arc<AtomicBool>,
    reader: JoinHandle<Reader>,
}

/// What has been read.
#[derive(Debug)]
struct Reader {
    nodes: Vec<PathBuf>,
    /// By a file's number, as a log that is full gets another name; and by when it was made, as the number of one that is gone is given
    /// again.
    read: BTreeMap<(u64, Option<SystemTime>), u64>,
    lines: Vec<Line>,
}

/// A line that is to be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When it was said, on the soak's clock.
    pub at: Duration,
    /// Which program said it.
    pub program: String,
    /// What, from its level on.
    pub text: String,
}

/// Lines that mean the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The first of them.
    pub example: String,
    /// When that was said, on the soak's clock.
    pub at: Duration,
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
const NO_API: &[Fault] =
    &[Fault::ApiCut, Fault::ApiAway, Fault::BothPorts, Fault::Kill, Fault::Stop, Fault::ControllerGone];

/// Whatever keeps answers of the API server away for so long that a controller ends without them.
const NO_ANSWER: &[Fault] = &[Fault::ApiCut, Fault::ApiAway, Fault::BothPorts, Fault::Kill];

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
    Known {
        words: "ferrolb_runtime::watch: cannot read",
        faults: NO_API,
        why: "the API server could not be reached",
    },
    Known { words: "complaint: cannot", faults: NO_API, why: "the API server could not be reached" },
    Known { words: "run: cannot write", faults: NO_API, why: "the API server could not be reached" },
    Known { words: "cannot read the Lease", faults: NO_API, why: "the API server could not be reached" },
    Known {
        words: "writes were still under way",
        faults: NO_ANSWER,
        why: "it ended while no answer of the API server came",
    },
    Known { words: "no answer about the Lease", faults: NO_API, why: "the API server could not be reached" },
    Known { words: "no interface can be announced on", faults: NO_LINK, why: "the node had no link" },
    Known { words: "can use none of the interfaces", faults: NO_LINK, why: "the owner had no link" },
    Known { words: "no hello of the speaker on", faults: UNHEARD, why: "that speaker could not be heard" },
];

impl Logs {
    /// Begins where the logs end now.
    pub fn begin(lab: &Lab, began: SystemTime) -> Self {
        let nodes = lab.config.node_names().iter().map(|node| lab.paths.node(node).join("logs")).collect();
        let mut reader = Reader { nodes, read: BTreeMap::new(), lines: Vec::new() };
        reader.look(began);
        reader.lines.clear();
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let reader = std::thread::spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                std::thread::sleep(EVERY);
                reader.look(began);
            }
            reader
        });
        Logs { stop, reader }
    }

    /// All that was said; nothing if the reader failed.
    pub fn end(self) -> Option<Vec<Line>> {
        self.stop.store(true, Ordering::Relaxed);
        self.reader.join().ok().map(|reader| reader.lines)
    }
}

impl Reader {
    /// Reads on. What a file's last line is to become is left for the next look.
    fn look(&mut self, began: SystemTime) {
        for (program, file) in self.nodes.iter().flat_map(|node| files(node)) {
            // It may have gone meanwhile.
            let Ok(known) = std::fs::metadata(&file) else { continue };
            let from = self.read.entry((known.ino(), known.created().ok())).or_default();
            let Ok(text) = tail(&file, *from) else { continue };
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            *from += whole as u64;
            let line = |text: &str| {
                let (at, text) = worth(text, began)?;
                Some(Line { at, program: program.clone(), text })
            };
            self.lines.extend(text[..whole].lines().filter_map(line));
        }
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
            let plain = entries(&container)
                .into_iter()
                .filter(|file| file.extension().is_none_or(|kind| kind != "gz"));
            plain.map(move |file| (program.clone(), file)).collect::<Vec<_>>()
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

/// What is to be explained of a line of a container's log, and when it was said: warnings, errors, and what is no line of ours.
fn worth(line: &str, began: SystemTime) -> Option<(Duration, String)> {
    // As the container runtime writes it: time, stream, F or P for a part, text; the text is ours, with --log-format=json.
    let mut parts = line.splitn(4, ' ');
    let (said, text) = (parts.next()?, parts.nth(2)?);
    let said: Option<SystemTime> = said.parse::<k8s_openapi::jiff::Timestamp>().ok().map(SystemTime::from);
    let at = said.and_then(|said| said.duration_since(began).ok()).unwrap_or_default();
    let Ok(said) = serde_json::from_str::<serde_json::Value>(text) else {
        return Some((at, text.to_owned()));
    };
    let part = |name: &str| said[name].as_str().unwrap_or_default();
    match part("level") {
        "INFO" | "DEBUG" | "TRACE" => None,
        level => Some((at, format!("{level} {}: {}", part("target"), part("message")))),
    }
}

/// The lines by what they mean, each with its reason, if a fault explains it: those without come first.
pub fn explain(lines: &[Line], spans: &[Span]) -> Vec<Said> {
    let mut said: BTreeMap<(bool, String), Said> = BTreeMap::new();
    for line in lines {
        let around = spans.iter().filter(|one| one.from <= line.at && one.until + AFTERWARDS >= line.at);
        let faults: BTreeSet<Fault> = around.flat_map(|one| &one.faults).copied().collect();
        let why = reason(&line.text, &faults);
        let kind = (why.is_some(), format!("{} {}", line.program, shape(&line.text)));
        let example = format!("{}: {}", line.program, line.text);
        said.entry(kind).or_insert(Said { example, at: line.at, count: 0, why }).count += 1;
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

    fn began() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)
    }

    #[test]
    fn warnings_errors_and_what_is_no_line_of_ours_are_kept_with_their_time() {
        let line = |text: &str| worth(&format!("2001-09-09T03:46:42.5+02:00 stderr F {text}"), began());
        let at = Duration::from_millis(2_500);
        assert_eq!(line(r#"{"level":"INFO","message":"well","target":"a"}"#), None);
        assert_eq!(
            line(r#"{"level":"WARN","message":"hm","target":"a"}"#),
            Some((at, "WARN a: hm".to_owned()))
        );
        let panicked = "thread 'main' panicked at x.rs:1";
        assert_eq!(line(panicked), Some((at, panicked.to_owned())));
        assert_eq!(worth("cut", began()), None);
    }

    fn line(at: u64, text: &str) -> Line {
        Line { at: Duration::from_secs(at), program: "speaker".into(), text: text.into() }
    }

    /// A fault from then until then.
    fn span(fault: Fault, from: u64, until: u64) -> Span {
        let (from, until) = (Duration::from_secs(from), Duration::from_secs(until));
        Span { from, until, faults: [fault].into() }
    }

    #[test]
    fn a_line_is_explained_by_a_fault_around_it_alone() {
        let text = "WARN ferrolb_runtime::watch: cannot read nodes: connection refused; trying again";
        for (at, fault, explained) in [
            (1_005, Fault::ApiAway, true),
            (1_099, Fault::ApiAway, true),
            (1_101, Fault::ApiAway, false),
            (999, Fault::ApiAway, false),
            (1_005, Fault::ClientReboot, false),
        ] {
            let said = explain(&[line(at, text)], &[span(fault, 1_000, 1_010)]);
            assert_eq!(said[0].why.is_some(), explained, "{at} {fault:?}");
        }
        for text in ["thread 'main' panicked", "WARN ferrolb_speaker::links: cannot open; trying again"] {
            let said = explain(&[line(1_005, text)], &[span(Fault::ApiAway, 1_000, 1_010)]);
            assert_eq!(said[0].why, None, "{text}");
        }
    }

    #[test]
    fn lines_that_differ_in_numbers_are_one() {
        let lines =
            [line(1, "WARN a: after 3 tries"), line(2, "WARN a: after 4 tries"), line(3, "WARN b: other")];
        let said = explain(&lines, &[]);
        assert_eq!(said.iter().map(|said| said.count).collect::<Vec<_>>(), [2, 1]);
        assert!(said.iter().all(|said| said.why.is_none()));
    }

    #[test]
    fn files_are_read_on_from_where_the_last_whole_line_ended_under_whatever_name() {
        let folder = tempfile::tempdir().unwrap();
        let container = folder.path().join(format!("{SYSTEM}_ferrolb-speaker-x_uid/speaker"));
        std::fs::create_dir_all(&container).unwrap();
        std::fs::create_dir_all(folder.path().join("other_pod_uid/web")).unwrap();
        let file = container.join("0.log");
        let text = |text: &str| format!("2001-09-09T01:46:41Z stderr F {text}\n");
        let append = |text: &str| {
            let mut file = File::options().create(true).append(true).open(&file).unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        };
        append(&(text("one") + "2001"));
        let mut reader =
            Reader { nodes: vec![folder.path().to_owned()], read: BTreeMap::new(), lines: Vec::new() };
        reader.look(began());
        append("-09-09T01:46:41Z stderr F two\n");
        reader.look(began());
        std::fs::rename(&file, container.join("0.log.20010909")).unwrap();
        append(&text("three"));
        reader.look(began());
        let texts: Vec<&str> = reader.lines.iter().map(|line| line.text.as_str()).collect();
        let texts: BTreeSet<&str> = texts.into_iter().collect();
        assert_eq!((reader.lines.len(), texts), (3, ["one", "two", "three"].into()));
    }

    #[test]
    fn a_file_that_gets_the_number_of_one_that_is_gone_is_read_from_its_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let container = folder.path().join(format!("{SYSTEM}_ferrolb-speaker-x_uid/speaker"));
        std::fs::create_dir_all(&container).unwrap();
        let file = container.join("0.log");
        let mut reader =
            Reader { nodes: vec![folder.path().to_owned()], read: BTreeMap::new(), lines: Vec::new() };
        // File systems that give numbers again (ext4) do so at once, others never.
        for count in 0..20 {
            std::fs::write(&file, format!("2001-09-09T01:46:41Z stderr F line {count} of one\n")).unwrap();
            reader.look(began());
            std::fs::remove_file(&file).unwrap();
            // A file system tells times in steps of some milliseconds.
            std::thread::sleep(Duration::from_millis(10));
        }
        let texts: Vec<String> = reader.lines.iter().map(|line| line.text.clone()).collect();
        assert_eq!(texts, (0..20).map(|count| format!("line {count} of one")).collect::<Vec<_>>());
    }
}
