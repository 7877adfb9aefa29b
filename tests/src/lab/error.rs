//! What can go wrong with a lab, each in one sentence that says what to do.

use std::path::{Path, PathBuf};

/// Why a lab cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The name is not usable.
    #[error("{0:?} is no name for a lab: 1 to 12 letters and digits")]
    Name(String),
    /// There is no such lab.
    #[error("there is no lab {0:?}: start it by `lab up --name {0}`")]
    NotUp(String),
    /// It is there already.
    #[error("lab {0:?} is up already: `lab down --name {0}` ends it")]
    AlreadyUp(String),
    /// Another process has it in hand.
    #[error(
        "another process is bringing lab {0:?} up or taking it down: wait for it, or end that one \
         (Ctrl-C takes down what it started)"
    )]
    Busy(String),
    /// It has no such host.
    #[error("the lab has no host {0:?}; it has {1}")]
    NoHost(String, String),
    /// A node is not running.
    #[error("{0} is not running: `lab node start {number}` starts it", number = .0.trim_start_matches("node"))]
    NodeOff(String),
    /// The machine cannot do it.
    #[error("{0}")]
    Machine(String),
    /// A program that was started did not do its work.
    #[error("{program} failed: {why}")]
    Program {
        /// Which one.
        program: String,
        /// What it said.
        why: String,
    },
    /// Something did not come about in time.
    #[error("{what} did not come about within {seconds} s: {state}")]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// How things stood then.
        state: String,
    },
    /// What the lab left on disk cannot be read.
    #[error("the lab's state cannot be used: {0}; `lab down` and `lab up` make it anew")]
    State(String),
    /// A file or folder.
    #[error("{path}: {error}", path = path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        error: std::io::Error,
    },
    /// It was interrupted.
    #[error("interrupted")]
    Interrupted,
}

impl LabError {
    /// Makes an error of an I/O error at `path`.
    pub fn at(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> LabError {
        let path = path.as_ref().to_owned();
        move |error| LabError::File { path, error }
    }

    pub(crate) fn program(program: &str, why: impl std::fmt::Display) -> Self {
        LabError::Program { program: program.to_owned(), why: why.to_string() }
    }
}
