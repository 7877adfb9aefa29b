//! An earlier version of FerroLB, built from the history of this repository: what one upgrades from and goes back to.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::image;
use crate::lab::progress::Progress;
use crate::lab::{LabError, process, programs};
use crate::release::DAEMONS;
use crate::release::build::Place;
use crate::release::image::image as released;
use crate::release::source::Source;

/// The environment variable that names the earlier version: a tag, a branch or a commit.
pub const VARIABLE: &str = "FERROLB_PREVIOUS";

/// What is earlier while there is no release: the first commit whose speakers are ready only once they have listened. With one
/// from before, a rolling update back to it goes on too early, which is its own flaw (docs/upgrade.md); from this one to the present
/// manifests, metrics, and the rules of who is late or silent have changed.
const BEFORE_RELEASES: &str = "c3e896443843e60865f4bd56aee05d3441643f47";

/// An earlier version, unpacked.
#[derive(Clone, Debug)]
pub struct Previous {
    /// Its commit.
    pub revision: String,
    /// Its files, as in a checkout.
    pub source: PathBuf,
    epoch: i64,
}

impl Previous {
    /// The version that [`VARIABLE`] names, else the last tag before this commit, else a commit of the time before releases.
    ///
    /// # Errors
    /// When this clone has no such commit, or it cannot be unpacked.
    pub fn chosen() -> Result<Self, LabError> {
        let workspace = Place::here()?.workspace;
        let named = std::env::var(VARIABLE).ok().filter(|name| !name.is_empty());
        // A release that is being made has its own tag already.
        let tag = git(&workspace, &["describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "HEAD^"]).ok();
        let name = named.or(tag).unwrap_or_else(|| BEFORE_RELEASES.to_owned());
        Previous::of(&workspace, name.trim(), &programs::target().join("previous"))
    }

    /// The version of this name, unpacked below `folder` unless it is there already.
    fn of(workspace: &Path, name: &str, folder: &Path) -> Result<Self, LabError> {
        let revision =
            git(workspace, &["rev-parse", "--verify", "--end-of-options", &format!("{name}^{{commit}}")]);
        let revision = revision.map_err(|error| {
            LabError::Machine(format!(
                "this clone has no version {name:?} to upgrade from: fetch the whole history (git fetch --unshallow --tags), \
                 or name another one in {VARIABLE} ({error})"
            ))
        })?;
        let revision = revision.trim().to_owned();
        let epoch = git(workspace, &["log", "-1", "--format=%ct", &revision])?;
        let epoch = epoch.trim().parse().map_err(|error| LabError::program("git log", error))?;
        let source = folder.join(&revision).join("source");
        if !source.exists() {
            unpack(workspace, &revision, &source)?;
        }
        Ok(Previous { revision, source, epoch })
    }

    /// Its image under this name and tag, packed; its programs are built if they are not yet.
    ///
    /// # Errors
    /// When cargo fails or a file cannot be written.
    pub fn image(&self, tag: &str, progress: &Progress) -> Result<PathBuf, LabError> {
        let folder = self.source.parent().unwrap_or(&self.source);
        let place = Place { workspace: self.source.clone(), target: folder.join("target"), ..Place::here()? };
        let built = place.build(&DAEMONS, &DAEMONS, progress)?;
        let source = Source { revision: self.revision.clone(), epoch: self.epoch };
        let image = released(tag, &built, image::architecture(std::env::consts::ARCH), &source);
        let file = folder.join("ferrolb.tar");
        image::write(&image, &file).map_err(|error| LabError::program("packing the image", error))?;
        Ok(file)
    }
}

/// Puts the files of a commit into `folder`, all or none.
fn unpack(workspace: &Path, revision: &str, folder: &Path) -> Result<(), LabError> {
    let parent = folder.parent().unwrap_or(folder);
    std::fs::create_dir_all(parent).map_err(LabError::at(parent))?;
    let draft = tempfile::tempdir_in(parent).map_err(LabError::at(parent))?;
    let archive = draft.path().join("source.tar");
    let mut command = Command::new("git");
    command.current_dir(workspace).args(["archive", "--format=tar", "--output"]).arg(&archive).arg(revision);
    process::run(&mut command)?;
    let files = draft.path().join("source");
    let bytes = std::fs::File::open(&archive).map_err(LabError::at(&archive))?;
    tar::Archive::new(bytes).unpack(&files).map_err(LabError::at(&files))?;
    std::fs::rename(&files, folder).map_err(LabError::at(folder))
}

fn git(workspace: &Path, args: &[&str]) -> Result<String, LabError> {
    process::run(Command::new("git").current_dir(workspace).args(args))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A repository with one file in each of two commits.
    fn repository(folder: &Path) -> [String; 2] {
        git(folder, &["init", "--quiet"]).unwrap();
        ["one", "two"].map(|text| {
            std::fs::write(folder.join("file"), text).unwrap();
            git(folder, &["add", "file"]).unwrap();
            let who = ["-c", "user.name=test", "-c", "user.email=test@example.com"];
            git(folder, &[&who[..], &["commit", "--quiet", "-m", text]].concat()).unwrap();
            git(folder, &["rev-parse", "HEAD"]).unwrap().trim().to_owned()
        })
    }

    #[test]
    fn a_version_is_unpacked_by_any_of_its_names() {
        let (clone, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let [one, _] = repository(clone.path());
        git(clone.path(), &["tag", "v0.1.0", &one]).unwrap();
        for name in ["v0.1.0", "HEAD^", &one] {
            let previous = Previous::of(clone.path(), name, folder.path()).unwrap();
            assert_eq!((previous.revision.as_str(), previous.epoch > 0), (one.as_str(), true));
            assert_eq!(std::fs::read_to_string(previous.source.join("file")).unwrap(), "one");
        }
    }

    #[test]
    fn a_clone_without_the_version_says_what_to_do() {
        let (clone, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        repository(clone.path());
        let error = Previous::of(clone.path(), "v9.9.9", folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("\"v9.9.9\"") && error.contains("--unshallow") && error.contains(VARIABLE),
            "{error}"
        );
    }
}
