//! FerroLB's own image: its static programs and nothing else.

use std::path::Path;

use super::source::Source;
use super::{PLUGIN, PROGRAMS, SBOM, SPEAKER};
use crate::image::Image;

/// The image of the programs in `folder`, under this name and tag.
#[must_use]
pub fn image(tag: &str, folder: &Path, architecture: &str, source: &Source) -> Image {
    let mut image = Image::new(tag).user("65534").architecture(architecture).created(&source.created());
    // Kubernetes hands no capability to another user than 0; a file of the image does (`config/non-root`).
    image = image.net_raw(SPEAKER);
    // An image of an earlier version is made by this too, for tests of upgrades.
    for name in PROGRAMS.into_iter().filter(|name| *name != PLUGIN || folder.join(name).is_file()) {
        image = image.file(&folder.join(name), name);
    }
    for (name, value) in labels(source) {
        image = image.label(&name, &value);
    }
    image
}

/// What is said of an image, whichever architecture it is for.
#[must_use]
pub fn labels(source: &Source) -> Vec<(String, String)> {
    let mut labels = vec![
        ("title", "FerroLB".to_owned()),
        ("description", "A load balancer for Kubernetes on bare metal, with MetalLB's API".to_owned()),
        ("licenses", "Apache-2.0".to_owned()),
        ("created", source.created()),
    ];
    if !source.revision.is_empty() {
        labels.push(("revision", source.revision.clone()));
    }
    labels.into_iter().map(|(name, value)| (format!("org.opencontainers.image.{name}"), value)).collect()
}

/// Whether `folder` has all that a release has of one architecture.
#[must_use]
pub fn is_complete(folder: &Path) -> bool {
    PROGRAMS.iter().chain([&SBOM]).all(|name| folder.join(name).is_file())
}
