//! A cluster of a test's own.

use std::process::Command;

use ferrolb_tests::lab::{Lab, LabError, Paths, down, process};

/// One that is taken down at the end, also of a failure.
pub(crate) struct Cluster {
    pub(crate) lab: Lab,
}

impl Cluster {
    /// Brought up by `lab up` with these flags; what an earlier run left of it is taken down before.
    pub(crate) fn up(name: &str, flags: &[&str]) -> Result<Self, LabError> {
        down::down(&Paths::of(name))?;
        process::run(Command::new(env!("CARGO_BIN_EXE_lab")).args(["--name", name, "up"]).args(flags))?;
        Ok(Cluster { lab: Lab::attach(name)? })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = down::down(&self.lab.paths);
    }
}
