//! `kubectl ferrolb status`: pools, Services and nodes, and what is wrong with them.

mod screen;
pub(crate) mod text;
mod view;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use kube::Client;

pub use view::{Controller, Counts, Link, Node, Owner, Pool, Service, State, Status, Usage};

use crate::Error;
use crate::look::{self, Look, Want, look};
use crate::output::{Style, print, serialized};

/// Above so many speakers none is asked, unless that is wished: each is a connection through the API server.
const ASKED: usize = 50;

/// Pools, Services and nodes, and what is wrong with them
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The form of the answer
    #[arg(short, long, value_enum)]
    output: Option<Form>,

    /// A live screen: q ends it, arrows scroll, a shows all Services or only those with a problem
    #[arg(short, long, conflicts_with = "output")]
    watch: bool,

    /// How often the live screen looks, in seconds; less often where a look takes long
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..), value_name = "SECONDS")]
    interval: u64,

    /// FerroLB's namespace; without it, that of its DaemonSet
    #[arg(long, value_name = "NAME")]
    system: Option<String>,

    /// Whether speakers are asked who hears whom: auto is yes for up to 50 of them
    #[arg(long, value_enum, default_value_t = Ask::Auto, value_name = "yes|no|auto")]
    speakers: Ask,
}

/// How it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For programs.
    Json,
    /// The same.
    Yaml,
    /// For people, with every Service, and more of each.
    Wide,
}

/// Whether speakers are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ask {
    /// They are, if they are not too many.
    Auto,
    /// They are.
    Yes,
    /// They are not.
    No,
}

impl Ask {
    pub(crate) fn asks(self, look: &Look) -> bool {
        match self {
            Ask::Yes => true,
            Ask::No => false,
            Ask::Auto => look.speakers().count() <= ASKED,
        }
    }
}

/// Answers: 0 if all is well, 1 if something is not.
///
/// # Errors
/// When the cluster cannot be read.
pub async fn run(client: &Client, args: Args) -> Result<ExitCode, Error> {
    if args.watch {
        return screen::run(client, &args).await;
    }
    let status = Status::of(&read(client, &args).await?);
    let style = Style::of(std::io::stdout().is_terminal());
    print(&match args.output {
        Some(Form::Json) => serialized(&status, false)?,
        Some(Form::Yaml) => serialized(&status, true)?,
        form => text::whole(&status, form == Some(Form::Wide), style),
    })?;
    Ok(if status.is_well() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

async fn read(client: &Client, args: &Args) -> Result<Look, Error> {
    let want = Want { namespace: args.system.as_deref(), endpoints: true, ..Want::default() };
    let mut seen = look(client, want).await?;
    if args.speakers.asks(&seen) {
        look::ask_speakers(client, &mut seen).await;
    }
    Ok(seen)
}

impl Args {
    /// How long to wait between two looks, where one took `took`: nobody's API server is kept busy by a screen.
    fn pause(&self, took: Duration) -> Duration {
        Duration::from_secs(self.interval).max(took * 5)
    }
}
