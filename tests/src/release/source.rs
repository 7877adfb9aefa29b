//! Of which commit, and of which time, a release is made: nothing of it comes from the clock.

use std::path::Path;
use std::process::Command;

use k8s_openapi::jiff::Timestamp;

use crate::lab::process;

/// The variable that tells builds which time to write (reproducible-builds.org), in seconds since 1970.
pub const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Where what is made comes from.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The commit; with `-dirty` where files differ from it, and empty without git.
    pub revision: String,
    /// Seconds since 1970: [`EPOCH`], or when the commit was made.
    pub epoch: i64,
}

impl Source {
    /// Of the checkout at `workspace`.
    #[must_use]
    pub fn of(workspace: &Path) -> Self {
        let git = |args: &[&str]| process::run(Command::new("git").current_dir(workspace).args(args)).ok();
        let mut revision = git(&["rev-parse", "HEAD"]).unwrap_or_default().trim().to_owned();
        if git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|said| !said.trim().is_empty())
        {
            revision.push_str("-dirty");
        }
        let told = std::env::var(EPOCH).ok();
        let epoch = told.or_else(|| git(&["log", "-1", "--format=%ct"]));
        Source { revision, epoch: epoch.and_then(|text| text.trim().parse().ok()).unwrap_or_default() }
    }

    /// The time as images and lists write it.
    #[must_use]
    pub fn created(&self) -> String {
        Timestamp::from_second(self.epoch).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_that_of_the_commit() {
        let source = Source { revision: String::new(), epoch: 1_700_000_000 };
        assert_eq!(source.created(), "2023-11-14T22:13:20Z");
        assert_eq!(Source::default().created(), "1970-01-01T00:00:00Z");
        assert_eq!(Source::of(Path::new("/")).revision, "", "without git there is no revision");
    }
}
