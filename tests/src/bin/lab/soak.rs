//! `lab soak`: an hour of faults in a cluster that works all the while.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use ferrolb_tests::chaos::Faults;
use ferrolb_tests::lab::progress::Progress;
use ferrolb_tests::lab::{Config, LabError, Proxy};
use ferrolb_tests::soak::{self, Options};

use crate::own::own;

/// How long, and with what.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// For so many minutes faults begin
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    minutes: u64,
    /// Do this fault, or two at once as in kill+loss, to the owner of the address, and no others; may be given several times
    #[arg(long, value_name = "NAME")]
    fault: Vec<Faults>,
    /// Whence the faults come: the same seed gives the same list
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// So many seconds from one fault to the next, at least: all is well before each
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    every: u64,
    /// Write the report to this file too, as Markdown
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// In the lab of this name if it is up, with FerroLB in it; else in one of its own, which is taken down afterwards.
pub(crate) fn soak(name: &str, args: &Args, lab_program: &Path) -> Result<ExitCode, LabError> {
    let progress = Progress::default();
    let options = Options {
        faults: args.fault.clone(),
        time: Duration::from_secs(60 * args.minutes),
        seed: args.seed,
        every: Duration::from_secs(args.every),
    };
    let config = Config::new(name)?.proxy(Proxy::Nftables);
    let report = own(&config, lab_program, &progress, async |lab| {
        let report = soak::soak(lab, options, lab_program, &progress).await?;
        // Before the lab goes: it may fail to.
        println!("{}", report.text);
        write(args.report.as_deref(), &report.text).map(|()| report)
    })?;
    Ok(if report.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes the report to where it is wanted.
fn write(file: Option<&Path>, text: &str) -> Result<(), LabError> {
    let Some(file) = file else { return Ok(()) };
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(LabError::at(folder))?;
    }
    std::fs::write(file, text).map_err(LabError::at(file))
}
