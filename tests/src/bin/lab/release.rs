//! `lab release`: what is released, made here.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use ferrolb_tests::lab::progress::Progress;
use ferrolb_tests::lab::{LabError, programs};
use ferrolb_tests::release::build::{self, Place};
use ferrolb_tests::release::image::{image, is_complete};
use ferrolb_tests::release::source::Source;
use ferrolb_tests::release::{ARCHITECTURES, PACKAGES, PROGRAMS, SBOM, layout, reproducible, sbom, sha256};

#[derive(Subcommand)]
pub(crate) enum What {
    /// The programs of one architecture, and the list of what is in them, in target/dist/ARCHITECTURE
    Programs {
        /// amd64 or arm64; without it this machine's. For the other one rustc needs its target, and Debian its compiler
        #[arg(long, value_parser = ["amd64", "arm64"])]
        arch: Option<String>,
    },
    /// The image of all architectures that are in target/dist, as target/dist/ferrolb-image.tar
    Image {
        /// What it is loaded as
        #[arg(long, default_value = programs::FERROLB)]
        tag: String,
        /// Where the source is, as an annotation
        #[arg(long, value_name = "URL")]
        source: Option<String>,
    },
    /// Build the last commit twice, in different places, and compare
    Reproducible {
        /// amd64 or arm64; without it this machine's
        #[arg(long, value_parser = ["amd64", "arm64"])]
        arch: Option<String>,
    },
}

pub(crate) fn release(what: What) -> Result<ExitCode, LabError> {
    let progress = Progress::default();
    match what {
        What::Programs { arch } => one_architecture(arch.as_deref(), &progress)?,
        What::Image { tag, source } => all_architectures(&tag, source.as_deref())?,
        What::Reproducible { arch } => return is_reproducible(arch.as_deref(), &progress),
    }
    Ok(ExitCode::SUCCESS)
}

fn dist() -> PathBuf {
    programs::target().join("dist")
}

/// This workspace, for the machine that is asked for.
fn place(arch: Option<&str>) -> Result<(Place, &'static str), LabError> {
    let here = Place::here()?;
    let wanted = |(name, triple): &&(&str, &str)| arch.map_or(*triple == here.triple, |asked| asked == *name);
    let Some((name, triple)) = ARCHITECTURES.iter().find(wanted) else {
        return Err(LabError::Machine(format!("nothing is released for {}: say --arch amd64", here.triple)));
    };
    Ok((Place { triple: (*triple).to_owned(), ..here }, *name))
}

fn one_architecture(arch: Option<&str>, progress: &Progress) -> Result<(), LabError> {
    let (place, name) = place(arch)?;
    if place.triple != build::host_triple()? {
        progress.say(&format!(
            "for another machine: this needs `rustup target add {}` and its C compiler",
            place.triple
        ));
    }
    let built = place.build(&PACKAGES, &PROGRAMS, progress)?;
    let folder = dist().join(name);
    std::fs::create_dir_all(&folder).map_err(LabError::at(&folder))?;
    let list = sbom::sbom(&place, &built, &Source::of(&place.workspace))?;
    std::fs::write(folder.join(SBOM), list).map_err(LabError::at(&folder))?;
    for program in PROGRAMS {
        let to = folder.join(program);
        std::fs::copy(built.join(program), &to).map_err(LabError::at(&to))?;
    }
    for file in PROGRAMS.iter().chain([&SBOM]) {
        show(&folder.join(file))?;
    }
    Ok(())
}

fn all_architectures(tag: &str, url: Option<&str>) -> Result<(), LabError> {
    let source = Source::of(&Place::here()?.workspace);
    let there = ARCHITECTURES.iter().filter(|(name, _)| is_complete(&dist().join(name)));
    let images: Vec<_> = there.map(|(name, _)| image(tag, &dist().join(name), name, &source)).collect();
    if images.is_empty() {
        let text = format!("{} has no programs: `lab release programs` makes them", dist().display());
        return Err(LabError::Machine(text));
    }
    let file = dist().join("ferrolb-image.tar");
    let written = layout::write(&images, tag, &source, url, &file).map_err(LabError::at(&file))?;
    println!("index {}", written.index);
    for (architecture, digest, compressed, size) in &written.images {
        println!("{architecture} {digest}, layer {compressed} bytes compressed, {size} unpacked");
    }
    show(&file)
}

fn is_reproducible(arch: Option<&str>, progress: &Progress) -> Result<ExitCode, LabError> {
    let (place, _) = place(arch)?;
    let folder = programs::target().join("reproducible");
    let builds = reproducible::twice(&place, &folder, progress)?;
    for (file, digest) in &builds[0] {
        println!("{digest}  {file}");
    }
    let differences = reproducible::differences(&builds);
    if differences.is_empty() {
        println!("two builds of {} in different places: the same bytes", place.triple);
        return Ok(ExitCode::SUCCESS);
    }
    println!("TWO BUILDS DIFFER:\n  {}", differences.join("\n  "));
    println!(
        "next: cmp -l of both, below {}; where text differs: strings FILE | grep -F {}",
        folder.display(),
        folder.display()
    );
    Ok(ExitCode::FAILURE)
}

/// A line of `sha256sum`, with the size.
fn show(file: &Path) -> Result<(), LabError> {
    let bytes = std::fs::read(file).map_err(LabError::at(file))?;
    println!("{}  {} ({} bytes)", sha256(&bytes), file.display(), bytes.len());
    Ok(())
}
