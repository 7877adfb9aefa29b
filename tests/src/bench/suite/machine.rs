//! On what was measured, and what.

use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::lab::{metallb, process, programs};
use crate::plane::project;

use super::{DOCUMENT, RESULTS};

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The processor's name.
    pub(crate) processor: String,
    /// How many of its cores are ours.
    pub(crate) cores: usize,
    /// Memory in GB (10^9 bytes).
    pub(super) memory: f64,
    /// The kernel's version.
    pub(crate) kernel: String,
    /// How many processes were waiting to run before the first round (1 min): what others do is in the figures too.
    pub(super) load_before: f64,
}

impl Machine {
    /// This one.
    pub(crate) fn here() -> Self {
        let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
        Machine {
            processor: field(&read("/proc/cpuinfo"), "model name")
                .unwrap_or_else(|| std::env::consts::ARCH.into()),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory: gigabytes(&read("/proc/meminfo")),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_before: read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|word| word.parse().ok())
                .unwrap_or(0.0),
        }
    }

    /// Whether figures of the two can be compared.
    pub(super) fn is_like(&self, other: &Machine) -> bool {
        (&self.processor, self.cores) == (&other.processor, other.cores)
    }
}

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Versions {
    /// The commit, with `-dirty` behind it if the work tree differs in more than what measuring writes.
    pub(crate) ferrolb: Option<String>,
    /// Of Kubernetes.
    pub(crate) kubernetes: String,
    /// Of MetalLB.
    pub(super) metallb: Option<String>,
}

impl Versions {
    /// Of this source.
    pub(crate) fn here() -> Self {
        Versions {
            ferrolb: commit(&project("")),
            kubernetes: programs::KUBERNETES[0].0.to_owned(),
            metallb: Some(metallb::VERSION.to_owned()),
        }
    }
}

/// The commit of the checkout at `folder`, with `-dirty` as [`Versions::ferrolb`] says; `None` without git.
fn commit(folder: &Path) -> Option<String> {
    let git = |args: &[&str]| process::run(Command::new("git").current_dir(folder).args(args)).ok();
    let mut commit = git(&["rev-parse", "--short=10", "HEAD"])?.trim().to_owned();
    let (results, document) = (format!(":!{RESULTS}"), format!(":!{DOCUMENT}"));
    let changed = git(&["status", "--porcelain", "--untracked-files=no", "--", ".", &results, &document])?;
    if !changed.trim().is_empty() {
        commit.push_str("-dirty");
    }
    Some(commit)
}

/// A file as it is in the last commit; `None` if it is not in it.
pub(super) fn committed(file: &Path) -> Option<String> {
    let mut git = Command::new("git");
    git.arg("-C").arg(project("")).arg("show").arg(format!("HEAD:{}", file.display()));
    process::run(&mut git).ok()
}

/// The value of a line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// All memory, by `/proc/meminfo`, to a tenth.
fn gigabytes(meminfo: &str) -> f64 {
    let kib = field(meminfo, "MemTotal").and_then(|value| value.split(' ').next()?.parse::<f64>().ok());
    (kib.unwrap_or_default() * 1024.0 / 1e8).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read() {
        assert_eq!(gigabytes("MemTotal:       16384000 kB\nMemFree: 1 kB\n"), 16.8);
        assert_eq!(gigabytes(""), 0.0);
        assert_eq!(field("model name\t: A B @ 2 GHz\n", "model name").as_deref(), Some("A B @ 2 GHz"));
        assert!(Machine::here().cores > 0);
    }

    #[test]
    fn results_of_an_earlier_chapter_do_not_make_the_source_another() {
        let folder = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| {
            let who = ["-c", "user.name=a", "-c", "user.email=a@b"];
            process::run(Command::new("git").current_dir(folder.path()).args(who).args(args)).unwrap()
        };
        let write = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        let results = format!("{RESULTS}/results.md");
        let files = [results.as_str(), DOCUMENT, "code.rs"];
        git(&["init", "--quiet"]);
        files.iter().for_each(|name| write(name, "before"));
        git(&["add", "."]);
        git(&["commit", "--quiet", "--message", "one"]);
        let clean = commit(folder.path()).unwrap();
        assert_eq!(clean.len(), 10);
        files[..2].iter().for_each(|name| write(name, "after"));
        assert_eq!(commit(folder.path()).unwrap(), clean);
        write("code.rs", "after");
        assert_eq!(commit(folder.path()).unwrap(), format!("{clean}-dirty"));
    }

    #[test]
    fn machines_are_alike_by_what_computes() {
        let here = Machine { processor: "a".into(), cores: 2, load_before: 1.0, ..Machine::default() };
        assert!(here.is_like(&Machine { load_before: 0.1, kernel: "6".into(), ..here.clone() }));
        assert!(!here.is_like(&Machine { cores: 4, ..here.clone() }));
    }
}
