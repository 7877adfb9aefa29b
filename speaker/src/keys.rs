//! The keys that hellos are signed with, as they are mounted: read, and followed while they change.
//!
//! The kubelet mounts a Secret as a folder in which each entry is a link through `..data`, which is itself a link. It
//! writes a new version beside the old one and swaps `..data`, so all entries change at once. There is no event that
//! tells of it on every file system, so the entries are read anew each second: a few small files in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ferrolb_core::hello_key::{EntryProblem, Keys};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often the folder is read.
pub const EVERY: Duration = Duration::from_secs(1);

/// The link that the kubelet swaps.
const DATA: &str = "..data";

/// So much of an entry is read: enough to tell that it is too long, whatever somebody puts there.
const LONGEST: u64 = 1024;

/// Why the keys are not known.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file or folder cannot be read.
    #[error("cannot read {}: {error}; mount the Secret ferrolb-hello there, readable", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// The kubelet writes a new version at this moment.
    #[error("{} changes while it is read, each time; it is to change only as the kubelet does it", .0.display())]
    Changed(PathBuf),
}

/// Reads the folder: all entries of one version of the Secret. Where there is no such folder, there are no keys.
///
/// # Errors
/// When something in it cannot be read; also when it changes while it is read.
pub fn read(folder: &Path) -> Result<(Keys, Vec<EntryProblem>), KeysError> {
    let version = version(folder)?;
    let found = entries(&version.as_ref().map_or(folder.to_owned(), |version| folder.join(version)));
    // The kubelet empties a version after it has swapped the link, so what was read before that is whole.
    if self::version(folder)? != version {
        return Err(KeysError::Changed(folder.to_owned()));
    }
    let entries = found?;
    Ok(Keys::read(entries.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))))
}

/// The folder of the present version; `None` where there is no link to one: a folder that no kubelet made.
fn version(folder: &Path) -> Result<Option<PathBuf>, KeysError> {
    let path = folder.join(DATA);
    match std::fs::read_link(&path) {
        Ok(version) => Ok(Some(version)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(KeysError::Read { path, error }),
    }
}

fn entries(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, KeysError> {
    let refuse = |path: &Path| {
        let path = path.to_owned();
        move |error| KeysError::Read { path, error }
    };
    let mut entries = BTreeMap::new();
    let files = match std::fs::read_dir(folder) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(entries),
        Err(error) => return Err(refuse(folder)(error)),
    };
    for file in files {
        let path = file.map_err(refuse(folder))?.path();
        // An entry of a Secret has a plain name; what begins with two dots is the kubelet's.
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if !name.starts_with("..") && path.metadata().map_err(refuse(&path))?.is_file() {
            let mut bytes = Vec::new();
            let file = std::fs::File::open(&path).map_err(refuse(&path))?;
            file.take(LONGEST).read_to_end(&mut bytes).map_err(refuse(&path))?;
            entries.insert(name.to_owned(), bytes);
        }
    }
    Ok(entries)
}

/// Reads the folder each second, and publishes each change, until `shutdown`. The log has a line for each change, and one
/// for each entry that cannot be used.
///
/// Keys that are there stay until others are there: a Secret that was deleted, or has no key left that can be used, would
/// otherwise make every speaker deaf. To take a key away, put another one beside it first.
pub async fn follow(dir: PathBuf, keys: watch::Sender<Arc<Keys>>, shutdown: CancellationToken) {
    let mut told = Told::default();
    while !shutdown.is_cancelled() {
        match read(&dir) {
            Ok((found, problems)) => {
                told.error = None;
                told.problems(problems);
                told.publish(found, &keys, &dir);
            }
            // What was read last stands.
            Err(error) => told.error(&error),
        }
        let _ = shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await;
    }
}

/// What the log has, so that nothing is said each second.
#[derive(Default)]
struct Told {
    problems: BTreeSet<EntryProblem>,
    error: Option<String>,
    /// That there are no keys.
    none: bool,
}

impl Told {
    fn problems(&mut self, problems: Vec<EntryProblem>) {
        let problems: BTreeSet<EntryProblem> = problems.into_iter().collect();
        for problem in problems.difference(&self.problems) {
            tracing::warn!("the Secret ferrolb-hello, {problem}");
        }
        self.problems = problems;
    }

    /// One that lasts: the first may be of a version that is just going.
    fn error(&mut self, error: &KeysError) {
        let words = error.to_string();
        let (before, lasts) = (self.error.as_deref(), Some(words.as_str()));
        if before == lasts {
            tracing::warn!("the keys of the hellos stay as they were: {words}");
            // Said; the empty text is no error's.
            self.error = Some(String::new());
        } else if before != Some("") {
            self.error = Some(words);
        }
    }

    fn publish(&mut self, found: Keys, keys: &watch::Sender<Arc<Keys>>, dir: &Path) {
        if found.is_empty() {
            if !std::mem::replace(&mut self.none, true) {
                let dir = dir.display();
                if keys.borrow().is_empty() {
                    tracing::warn!("no key for hellos in {dir}; the controller makes one: waiting");
                } else {
                    tracing::warn!(
                        "no key for hellos in {dir} any more; those before stay until there are others"
                    );
                }
            }
            return;
        }
        self.none = false;
        keys.send_if_modified(|before| {
            let changed = **before != found;
            if changed {
                let loaded: Vec<String> = found.ids().map(|id| id.to_string()).collect();
                let current = found.current().map(|key| key.id().to_string()).unwrap_or_default();
                tracing::info!(current, loaded = loaded.join(" "), "keys for hellos");
                *before = Arc::new(found);
            }
            changed
        });
    }
}

#[cfg(test)]
mod tests;
