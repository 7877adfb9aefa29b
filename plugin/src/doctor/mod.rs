//! `kubectl ferrolb doctor`: what is wrong with a cluster in which FerroLB runs, or is to run, and what to do about it.
//!
//! ```text
//!  collect ─► Facts ─► checks (functions of it, one after the other) ─► Report ─► text, JSON
//! ```

mod checks;
mod collect;
mod facts;
mod rights;
mod text;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::ValueEnum;
use kube::Client;
use serde::Serialize;

pub use checks::{CHECKS, Check, Outcome};
pub use collect::collect;
pub use facts::{Definition, Facts, Hook, HostPort, Lease, NamedRange, ProxyConfig, Rival};
pub use rights::Right;

use crate::Error;
use crate::output::{Style, print, serialized};

/// What is wrong, with a hint for each. Exit code 0: nothing; 1: something; 2: it could not be looked
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The form of the answer
    #[arg(short, long, value_enum)]
    output: Option<Form>,

    /// Also let the speakers ask their networks, by ARP and NDP, who answers for the addresses of Services
    #[arg(long)]
    probe: bool,

    /// Only these checks, by name; the names are in docs/plugin.md and in -o json
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    only: Vec<String>,

    /// FerroLB's namespace; without it, that of its DaemonSet
    #[arg(long, value_name = "NAME")]
    system: Option<String>,
}

/// How it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For programs.
    Json,
    /// The same.
    Yaml,
}

/// What all checks came to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// FerroLB's namespace.
    pub namespace: String,
    /// One for each check, in their order.
    pub findings: Vec<Finding>,
    /// What could not be read, in sentences.
    pub unread: Vec<String>,
}

/// What one check came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Its name.
    pub check: &'static str,
    /// To what it belongs.
    pub about: &'static str,
    /// What is so if all is well.
    pub title: &'static str,
    /// How it came out.
    pub level: Level,
    /// What was found, one sentence each.
    pub says: Vec<String>,
    /// What to do; empty where there is nothing to be done.
    pub hint: &'static str,
    /// Where the documentation says more.
    pub docs: String,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It could not be looked at, or was not asked for.
    Unknown,
    /// Worth a look; Services work.
    Warning,
    /// Something does not work, or will not when it is needed.
    Failed,
}

impl Report {
    /// What the checks of these names make of `facts`; all of them, where none are named.
    pub fn of(facts: &Facts, only: &[String]) -> Self {
        let wanted = |check: &&Check| only.is_empty() || only.iter().any(|name| name == check.name);
        Report {
            namespace: facts.look.namespace.clone(),
            findings: CHECKS.iter().filter(wanted).map(|check| check.run(facts)).collect(),
            unread: facts.look.unread.clone(),
        }
    }

    /// The worst that was found.
    pub fn worst(&self) -> Level {
        self.findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }

    /// What the check of this name came to.
    pub fn finding(&self, check: &str) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.check == check)
    }
}

/// A report as it is printed, without colours.
pub(crate) fn written(report: &Report) -> String {
    text::whole(report, Style::default())
}

/// Looks: 0 if nothing failed, 1 if something did.
///
/// # Errors
/// When the cluster cannot be read at all, or there is no check of a name.
pub async fn run(client: &Client, args: Args) -> Result<ExitCode, Error> {
    if let Some(unknown) = args.only.iter().find(|name| !CHECKS.iter().any(|check| check.name == **name)) {
        let names: Vec<&str> = CHECKS.iter().map(|check| check.name).collect();
        return Err(Error::Usage(format!("there is no check {unknown:?}; there are {}", names.join(", "))));
    }
    let facts = collect(client, args.system.as_deref(), args.probe).await?;
    let report = Report::of(&facts, &args.only);
    print(&match args.output {
        Some(Form::Json) => serialized(&report, false)?,
        Some(Form::Yaml) => serialized(&report, true)?,
        None => text::whole(&report, Style::of(std::io::stdout().is_terminal())),
    })?;
    Ok(if report.worst() == Level::Failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}
