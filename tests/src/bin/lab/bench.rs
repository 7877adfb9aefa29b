//! `lab bench`: measures one part of FerroLB in a lab of its own.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use ferrolb_tests::bench::{self, Options};
use ferrolb_tests::lab::LabError;

/// What can be measured.
#[derive(Subcommand)]
pub(crate) enum What {
    /// The controller: latency, many Services, a restart, memory, what it writes
    Allocation {
        /// How many Services the larger bulk has
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
        services: u32,
        /// How many are created one by one
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        rounds: u32,
        /// A folder of ready FerroLB programs, instead of building them
        #[arg(long, env = "FERROLB_PROGRAMS", value_name = "DIR")]
        programs: Option<PathBuf>,
        /// Write the figures to this file too, one JSON object a line
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
}

/// Measures, and prints the figures.
pub(crate) fn bench(name: &str, what: What, lab_program: &Path) -> Result<(), LabError> {
    let What::Allocation { services, rounds, programs, json } = what;
    let options = Options { services: services as usize, rounds: rounds as usize, programs };
    // With threads: the writers, the watch and the floor are to stand in nobody's way.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| LabError::State(error.to_string()))?;
    let report = runtime.block_on(bench::allocation(name, &options, lab_program))?;
    println!("{report}");
    if let Some(file) = json {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).map_err(LabError::at(folder))?;
        }
        std::fs::write(&file, report.json_lines()).map_err(LabError::at(&file))?;
    }
    Ok(())
}
