//! How large the files are that a node pulls and runs.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::lab::progress::Progress;
use crate::lab::{LabError, metallb, programs};
use crate::release::{PLUGIN, layout::compress};

use super::report::{Report, Who};

/// Tells the sizes of the programs and of the images; MetalLB's too if asked for.
///
/// # Errors
/// When a build fails or a file cannot be read.
pub fn size(with_metallb: bool) -> Result<Report, LabError> {
    let progress = Progress::default();
    let mut report = Report::default();
    let ours = programs::ferrolb_programs(&progress)?;
    let image = programs::ferrolb_image(&progress)?;
    let names = [("speaker", "ferrolb-speaker"), ("controller", "ferrolb-controller"), ("plugin", PLUGIN)];
    tell(&mut report, Who::Ferrolb, &names.map(|(role, file)| (role, ours.join(file))), &[image])?;
    if with_metallb {
        let folder = metallb::built(&progress)?;
        let programs = ["speaker", "controller"].map(|role| (role, folder.join(role)));
        tell(&mut report, Who::Metallb, &programs, &metallb::images(&progress)?)?;
    }
    Ok(report)
}

fn tell(
    report: &mut Report,
    who: Who,
    programs: &[(&str, impl AsRef<Path>)],
    images: &[impl AsRef<Path>],
) -> Result<(), LabError> {
    for (role, file) in programs {
        let file = file.as_ref();
        let size = std::fs::metadata(file).map_err(LabError::at(file))?.len() as f64 / 1e6;
        report.tell(format!("{}, the {role}'s program", who.name()), size, "MB");
        report.sample(format!("size-{role}"), who, "MB", [size]);
    }
    let mut pulled = 0;
    for file in images {
        pulled += compressed(file.as_ref(), who).map_err(LabError::at(file.as_ref()))?;
    }
    let pulled = pulled as f64 / 1e6;
    report.tell(format!("{}, images as they are pulled", who.name()), pulled, "MB");
    report.sample("size-image", who, "MB", [pulled]);
    Ok(())
}

/// How many bytes an image has when a registry keeps it, compressed as it is published.
fn compressed(file: &Path, who: Who) -> io::Result<u64> {
    if who == Who::Ferrolb {
        return Ok(compress(&std::fs::read(file)?)?.len() as u64);
    }
    let mut encoder = GzEncoder::new(Count(0), Compression::default());
    io::copy(&mut File::open(file)?, &mut encoder)?;
    Ok(encoder.finish()?.0)
}

/// Counts what is written to it.
#[derive(Debug)]
struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_always_the_same_takes_little() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("zeros");
        std::fs::write(&file, vec![0; 1_000_000]).unwrap();
        for who in [Who::Ferrolb, Who::Metallb] {
            let size = compressed(&file, who).unwrap();
            assert!((10..5_000).contains(&size), "{size}");
        }
    }
}
