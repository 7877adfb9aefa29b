//! A machine of the lab, and what it sees on the wire.

use std::path::{Path, PathBuf};

/// A host of a lab: a network namespace.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its name in the lab.
    pub name: String,
    netns: PathBuf,
}

impl Host {
    pub(crate) fn new(name: &str, netns: &Path) -> Self {
        Host { name: name.to_owned(), netns: netns.to_owned() }
    }
}
