//! Two builds of one commit in different places, compared.
//!
//! The second has another folder for its source (of another depth), for its target and for cargo, another time zone and
//! other temporary files. Programs, the list of what is in them, and the image archives must be the same bytes.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::build::Place;
use super::image::image;
use super::source::Source;
use super::{ARCHITECTURES, PACKAGES, PROGRAMS, SBOM, layout, sbom, sha256};
use crate::lab::progress::Progress;
use crate::lab::{LabError, process};

/// The files of one build, each with its digest, in the order in which they came about.
pub type Digests = Vec<(String, String)>;

/// Builds the commit that `here` is at twice, below `folder`, and returns the digests of both.
///
/// # Errors
/// When git or cargo fails.
pub fn twice(here: &Place, folder: &Path, progress: &Progress) -> Result<[Digests; 2], LabError> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(LabError::at(folder))?;
    }
    std::fs::create_dir_all(folder).map_err(LabError::at(folder))?;
    let one = Place {
        workspace: folder.join("one/source"),
        target: folder.join("one/source/target"),
        ..here.clone()
    };
    let other = Place {
        workspace: folder.join("another/place of it/checkout"),
        target: folder.join("another/target"),
        home: folder.join("another/cargo"),
        triple: here.triple.clone(),
    };
    // The same crates by another way: nothing is downloaded twice.
    std::fs::create_dir_all(&other.home).map_err(LabError::at(&other.home))?;
    for entry in std::fs::read_dir(&here.home).map_err(LabError::at(&here.home))?.flatten() {
        let link = other.home.join(entry.file_name());
        std::os::unix::fs::symlink(entry.path(), &link).map_err(LabError::at(&link))?;
    }
    let mut digests = Vec::new();
    for place in [&one, &other] {
        progress.say(&format!("in {}", place.workspace.display()));
        let clone = ["clone", "--quiet", "--no-hardlinks"];
        process::run(Command::new("git").args(clone).arg(&here.workspace).arg(&place.workspace))?;
        digests.push(made(place, &folder.join("files").join(digests.len().to_string()), progress)?);
    }
    Ok([digests.remove(0), digests.remove(0)])
}

/// The lines in which two builds differ: the file, and both digests.
#[must_use]
pub fn differences(builds: &[Digests; 2]) -> Vec<String> {
    let pairs = builds[0].iter().zip(&builds[1]).filter(|(one, other)| one != other);
    pairs.map(|((file, one), (_, other))| format!("{file}: {one} and {other}")).collect()
}

/// Builds in `place` and returns the digest of each file.
fn made(place: &Place, folder: &Path, progress: &Progress) -> Result<Digests, LabError> {
    let built = place.build(&PACKAGES, &PROGRAMS, progress)?;
    let source = Source::of(&place.workspace);
    let read = |path: &PathBuf| std::fs::read(path).map_err(LabError::at(path));
    let mut digests = Vec::new();
    for name in PROGRAMS {
        digests.push((name.to_owned(), sha256(&read(&built.join(name))?)));
    }
    digests.push((SBOM.to_owned(), sha256(&sbom::sbom(place, &built, &source)?)));

    let architecture = ARCHITECTURES.iter().find(|(_, triple)| *triple == place.triple);
    let image = image("ferrolb:dev", &built, architecture.map_or("", |(name, _)| *name), &source);
    let packing = |error| LabError::program("packing the image", error);
    let (docker, oci) = (folder.join("ferrolb.tar"), folder.join("ferrolb-image.tar"));
    crate::image::write(&image, &docker).map_err(packing)?;
    layout::write(&[image], "ferrolb:dev", &source, None, &oci).map_err(packing)?;
    for (name, file) in [("the image as Docker's archive", docker), ("the image as an OCI layout", oci)] {
        digests.push((name.to_owned(), sha256(&read(&file)?)));
    }
    Ok(digests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_named_with_both_digests() {
        let file =
            |digest: &str| vec![("same".to_owned(), "0".to_owned()), ("a".to_owned(), digest.to_owned())];
        assert_eq!(differences(&[file("1"), file("2")]), ["a: 1 and 2"]);
        assert!(differences(&[file("1"), file("1")]).is_empty());
    }
}
