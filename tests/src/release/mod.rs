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

/// Our programs; package and program have one name.
pub const PROGRAMS: [&str; 2] = ["ferrolb-controller", "ferrolb-speaker"];

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
