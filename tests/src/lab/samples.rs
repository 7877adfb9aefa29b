//! The programs of `config/samples` in the lab: built from their Go modules, and packed under the names that the manifests
//! have, so that those are used as they are.
//!
//! Nothing here is built or fetched unless asked for.

use std::path::PathBuf;

use super::progress::Progress;
use super::{Lab, LabError, programs, up};
use crate::image::{self, Image};

/// A program that samples use.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its image, as the manifests name it.
    pub image: &'static str,
    /// Its name, and that of the folder of its Go module within `tests/programs`.
    pub name: &'static str,
    /// Its Go package.
    pub package: &'static str,
    /// Where it lies in the image.
    pub place: &'static str,
}

/// What the samples use; a test holds them together.
pub const PROGRAMS: [Program; 2] = [
    Program {
        image: "docker.io/library/caddy:2.11.9",
        name: "caddy",
        package: "github.com/caddyserver/caddy/v2/cmd/caddy",
        place: "/usr/bin/caddy",
    },
    Program {
        image: "docker.io/coredns/coredns:1.14.7",
        name: "coredns",
        package: "github.com/coredns/coredns",
        place: "/coredns",
    },
];

/// Builds what is not built yet, packs it, and loads it into each node.
///
/// # Errors
/// When a build fails, or a node does not take an image.
pub async fn load_images(lab: &Lab, progress: &Progress) -> Result<(), LabError> {
    for program in PROGRAMS {
        up::load_image(lab, &pack(&program, progress)?).await?;
    }
    Ok(())
}

/// The image of a program; built if it is not current.
fn pack(program: &Program, progress: &Progress) -> Result<PathBuf, LabError> {
    let Program { image, name, package, place } = *program;
    let folder = programs::target().join("lab/samples");
    let module = format!("programs/{name}");
    let built = programs::go_programs(&module, &folder, &[(name, package)], &programs::SMALL, progress)?;
    // Like the public ones, as root unless the manifest says otherwise.
    let packed = Image::new(image).file(&built.join(name), place).entrypoint(place).user("0");
    let file = folder.join(format!("{name}.tar"));
    image::write(&packed, &file).map_err(|error| LabError::program("packing an image", error))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// Every image that a manifest under `folder` names.
    fn images(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                images(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "yaml") {
                let text = std::fs::read_to_string(&path).unwrap();
                let named = text.lines().filter_map(|line| line.trim().strip_prefix("image: "));
                found.extend(named.map(str::to_owned));
            }
        }
    }

    #[test]
    fn each_image_of_the_samples_is_built_here() {
        let mut named = BTreeSet::new();
        images(&crate::plane::project("config/samples"), &mut named);
        assert_eq!(named, PROGRAMS.map(|program| program.image.to_owned()).into());
    }

    #[test]
    fn the_versions_are_those_in_go_mod() {
        for Program { image, name, package, .. } in PROGRAMS {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("programs/{name}/go.mod"));
            let modules = std::fs::read_to_string(&file).unwrap();
            let version = image.rsplit_once(':').unwrap().1.trim_start_matches('v');
            let pinned = format!("{} v{version}", package.trim_end_matches("/cmd/caddy"));
            let pins =
                |line: &str| line.trim_start_matches("require ").trim().starts_with(&format!("{pinned} "));
            // What is built alone is called indirect there, in a comment behind the version.
            assert!(
                modules.lines().any(|line| pins(&format!("{line} "))),
                "{name}: go.mod does not pin {pinned}"
            );
        }
    }
}
