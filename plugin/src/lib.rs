//! `kubectl ferrolb`: what a cluster looks like from the chair of whoever runs it.
//!
//! ```text
//! kubeconfig ─► connect ─► read (pages, refusals in words) ─┬► migrate::collect ─► Cluster ─► plan ─► text or JSON
//!                                                           │               └────► Snapshot ─► file ─► compare
//!                                                           └► look ─► Look ─┬► status ─► text, JSON, a live screen
//!                     speakers, by port-forward ─────────────────┘           ├► explain
//!                                                                            └► doctor ─► support-bundle
//! ```
//!
//! It reads, with the rights of its user, and never writes to a cluster: what is to be done is printed as commands.
//! What is read becomes a value first ([`migrate::Cluster`], [`look::Look`], [`doctor::Facts`]), and everything said is a
//! function of that value. Why a Service gets no address, and who may answer for it, core says.
//!
//! One module for each subcommand.

pub mod bundle;
pub mod doctor;
pub mod explain;
pub mod look;
pub mod migrate;
pub mod status;

mod connect;
mod output;
mod read;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use connect::{ConnectError, Connection};
pub use read::ReadError;

/// What FerroLB is and does in a cluster, seen from outside
#[derive(Debug, Parser)]
#[command(name = "kubectl-ferrolb", bin_name = "kubectl ferrolb", version)]
pub struct Args {
    #[command(flatten)]
    connection: Connection,

    #[command(subcommand)]
    command: Command,
}

/// One for each family.
#[derive(Debug, Subcommand)]
enum Command {
    /// Pools, Services and nodes, and what is wrong with them. Exit code 0: nothing; 1: something; 2: it is not known
    Status(status::Args),
    /// Where the packets to a Service go, where they end, and what to change
    Explain(explain::Args),
    /// What is wrong, with a hint for each. Exit code 0: nothing; 1: something; 2: it is not known
    Doctor(doctor::Args),
    /// From MetalLB to FerroLB
    Migrate(migrate::Args),
    /// All that somebody who is to help would ask for, in one file, without secrets
    SupportBundle(bundle::Args),
}

/// Why a command ends without an answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no way to the cluster.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The cluster does not tell.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file cannot be read or written.
    #[error("{file}: {why}")]
    File {
        /// Its path.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// What is asked for cannot be answered.
    #[error("{0}")]
    Usage(String),
    /// Nobody takes what is printed.
    #[error("cannot print: {0}")]
    Print(#[from] std::io::Error),
    /// The runtime does not start.
    #[error("cannot start: {0}")]
    Start(#[source] std::io::Error),
}

/// Runs what is asked for: 0, or 1 if that is the answer, or 2 after an error, which is printed.
pub fn run(args: Args) -> ExitCode {
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Start)
        .and_then(|runtime| runtime.block_on(act(args)));
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kubectl ferrolb: {error}");
            ExitCode::from(2)
        }
    }
}

async fn act(args: Args) -> Result<ExitCode, Error> {
    let client = connect::client(&args.connection).await?;
    match args.command {
        Command::Status(args) => status::run(&client, args).await,
        Command::Explain(args) => explain::run(&client, args).await,
        Command::Doctor(args) => doctor::run(&client, args).await,
        Command::Migrate(args) => migrate::run(&client, args).await,
        Command::SupportBundle(args) => bundle::run(&client, args).await,
    }
}
