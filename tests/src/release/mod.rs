//! What is released, made so that the same source gives the same bytes: `docs/release.md`.
//!
//! - [`build`] builds static programs without a path of this machine in them.
//! - [`source`] says of which commit, and of which time, what is made.
//! - [`image`] is FerroLB's image; [`layout`] holds it for several architectures.
//! - [`sbom`] lists what is in the programs.
//! - [`reproducible`] builds twice in different places and compares.

pub mod build;
pub mod image;
pub mod layout;
mod lock;
pub mod reproducible;
pub mod sbom;
pub mod source;

use sha2::{Digest, Sha256};

/// Our programs: those that run in pods, and the plugin of kubectl.
pub const PROGRAMS: [&str; 3] = ["ferrolb-controller", SPEAKER, PLUGIN];

/// The one of them that opens packet sockets.
pub const SPEAKER: &str = "ferrolb-speaker";

/// The programs that run in pods; their packages have the same names.
pub const DAEMONS: [&str; 2] = ["ferrolb-controller", "ferrolb-speaker"];

/// The plugin of kubectl. Versions up to 0.1.0 do not have it in their images.
pub const PLUGIN: &str = "kubectl-ferrolb";

/// The packages that they are of, in the same order.
pub const PACKAGES: [&str; 3] = ["ferrolb-controller", "ferrolb-speaker", "ferrolb-plugin"];

/// The program of a package of ours.
pub(crate) fn program_of(package: &str) -> Option<&'static str> {
    PACKAGES.iter().position(|known| *known == package).map(|at| PROGRAMS[at])
}

/// The file beside the programs that lists what is in them.
pub const SBOM: &str = "ferrolb.cdx.json";

/// The architectures that are released: in the words of images, and in rustc's.
pub const ARCHITECTURES: [(&str, &str); 2] =
    [("amd64", "x86_64-unknown-linux-gnu"), ("arm64", "aarch64-unknown-linux-gnu")];

/// SHA-256 in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
