//! `kubectl ferrolb migrate`: what the way from MetalLB to FerroLB is in this cluster, and whether it moved anything.
//!
//! [`cluster()`] reads a [`Cluster`]; [`Plan::of`] says what follows from it, and a [`Snapshot`] which Service has which
//! addresses and owners. docs/migrate.md has the same steps for MetalLB as its manifest installs it; a test holds the two together.

mod announced;
mod cluster;
mod collect;
mod compare;
pub(crate) mod find;
mod helm;
mod interfaces;
mod plan;
mod settings;
mod snapshot;
mod steps;
mod text;
mod unsupported;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use kube::Client;

pub use cluster::{
    Cluster, Definition, Leftover, Listed, Named, OWNERS_BY_EVENTS, Pool, Product, Service, Setting, Workload,
};
pub use collect::{cluster, snapshot};
pub use compare::{Difference, differences};
pub use helm::Installed;
pub use plan::{Kept, KeptService, Metallb, Plan};
pub use settings::{Answer, Answered};
pub use snapshot::{Shown, Snapshot};
pub use steps::Step;
pub use unsupported::Unsupported;

use crate::Error;
use crate::output::print;

/// From MetalLB to FerroLB
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What can be asked.
#[derive(Debug, Subcommand)]
enum Command {
    /// What there is of MetalLB, what stays, what does not, and the steps. Only reads
    Plan {
        /// Also write which Service has which addresses and owners to a new file, for compare
        #[arg(long, value_name = "FILE")]
        save: Option<PathBuf>,

        /// The form of the plan
        #[arg(short, long, value_enum, default_value_t = Form::Text)]
        output: Form,

        /// The namespace of MetalLB, where there are several
        #[arg(short, long, value_name = "NAME")]
        namespace: Option<String>,
    },
    /// What is different from a file of plan --save. Exit code 0: nothing; 1: something; 2: it is not known
    Compare {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// How a plan is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people.
    Text,
    /// For programs, and with all names.
    Json,
}

/// Answers.
///
/// # Errors
/// When the cluster or a file cannot be read.
pub async fn run(client: &Client, args: Args) -> Result<ExitCode, Error> {
    match args.command {
        Command::Plan { save, output, namespace } => {
            // First, as it is what the other end of the way is compared with.
            if let Some(file) = save {
                snapshot(client).await?.save(&file)?;
            }
            let plan = Plan::of(&cluster(client, namespace.as_deref()).await?);
            print(&match output {
                Form::Text => plan.to_string(),
                Form::Json => json(&plan)?,
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Compare { file } => {
            let before = Snapshot::load(&file)?;
            let now = snapshot(client).await?;
            let differences = differences(&before, &now);
            print(&compare::text(&before, &now, &differences))?;
            Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
        }
    }
}

fn json(plan: &Plan) -> Result<String, Error> {
    let text = serde_json::to_string_pretty(plan).map_err(std::io::Error::from)?;
    Ok(text + "\n")
}
