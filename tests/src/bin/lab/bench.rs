//! `lab bench`: measures one part of FerroLB in a lab of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use ferrolb_tests::bench::report::Report;
use ferrolb_tests::bench::{self, allocation, failover, layer2, peers, resources, scale, suite};
use ferrolb_tests::lab::LabError;

/// What can be measured.
#[derive(Subcommand)]
pub(crate) enum What {
    /// Everything, in rounds: results, tables and plots in bench-results
    All {
        /// This figure or part alone, by name; may be given several times, or as a list with commas
        #[arg(long, value_name = "NAME", value_delimiter = ',')]
        only: Vec<String>,
        /// How often
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        rounds: u32,
        /// MetalLB too, in turn with FerroLB
        #[arg(long)]
        peers: bool,
        /// How many Services the larger bulk has
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(10..=60_000))]
        services: u32,
        /// How often each case of failover is tried in a round
        #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        trials: u32,
        /// End with an error if a figure got worse than in the last committed result by more than its noise
        #[arg(long)]
        fail_on_worse: bool,
        /// A folder of ready FerroLB programs, instead of building them
        #[arg(long, env = "FERROLB_PROGRAMS", value_name = "DIR")]
        programs: Option<PathBuf>,
    },
    /// Write docs/performance.md anew from bench-results/results.jsonl
    Document,
    /// The controller: latency, many Services, a restart, memory, what it writes
    Allocation {
        /// How many Services the larger bulk has
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
        services: u32,
        /// How many are created one by one
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        rounds: u32,
        /// MetalLB's controller too, afterwards
        #[arg(long)]
        metallb: bool,
        /// A folder of ready FerroLB programs, instead of building them
        #[arg(long, env = "FERROLB_PROGRAMS", value_name = "DIR")]
        programs: Option<PathBuf>,
        /// Write the figures to this file too, one JSON object a line
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// A whole cluster: from a Service's creation to the first HTTP answer, beside kube-proxy's own sync
    FirstAnswer {
        /// How many Services
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        services: u32,
        /// Whose
        #[arg(long, value_enum, default_value_t = failover::With::Ferrolb)]
        with: failover::With,
        /// Write the figures to this file too, one JSON object a line
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Each program beside no, 1,000 and many Services: its start, memory, processor, and what it hears and writes at rest
    Resources {
        /// How many Services there are at the end
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
        services: u32,
        /// MetalLB's programs too
        #[arg(long)]
        metallb: bool,
        /// A folder of ready FerroLB programs, instead of building them
        #[arg(long, env = "FERROLB_PROGRAMS", value_name = "DIR")]
        programs: Option<PathBuf>,
        /// Write the figures to this file too, one JSON object a line
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// The speaker: answers a second, latency, a flood, the first frame, memory, what it costs at rest
    Layer2 {
        /// How many Services there are at the end; 0 leaves out all that needs many
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(0..=60_000))]
        services: u32,
        /// How many rounds whoever is compared is asked in turn
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        rounds: u32,
        /// Measure this part alone; may be given several times
        #[arg(long, value_enum, value_name = "NAME")]
        only: Vec<layer2::Part>,
        /// A folder of ready FerroLB programs, instead of building them
        #[arg(long, env = "FERROLB_PROGRAMS", value_name = "DIR")]
        programs: Option<PathBuf>,
        /// One more flag of the speaker, as in --speaker-flag=--log-level=debug; may be given several times
        #[arg(long = "speaker-flag", value_name = "FLAG", allow_hyphen_values = true)]
        flags: Vec<String>,
        /// Write the figures to this file too, one JSON object a line
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// One speaker among many: processor, memory, network, beside a generator of signed peers
    Peers {
        /// Among so many peers; several with commas
        #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_values_t = [10, 100, 200],
              value_parser = clap::value_parser!(u16).range(1..=1_000))]
        peers: Vec<u16>,
        /// How long each is measured, in seconds
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
        seconds: u64,
        /// How many Services have addresses, which all nodes share
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(0..=60_000))]
        services: u32,
        /// A folder of ready FerroLB programs, instead of building them
        #[arg(long, env = "FERROLB_PROGRAMS", value_name = "DIR")]
        programs: Option<PathBuf>,
        /// One more flag of the speaker, as in --speaker-flag=--log-level=debug; may be given several times
        #[arg(long = "speaker-flag", value_name = "FLAG", allow_hyphen_values = true)]
        flags: Vec<String>,
        /// Write the figures to this file too, one JSON object a line
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Ten speakers at one API server: memory, processor, the API server's load, and how soon a dead node's addresses are elsewhere
    Scale {
        /// How many Services have addresses
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(10..=60_000))]
        services: u32,
        /// How many nodes die, one after the other
        #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(0..=1_000))]
        trials: u32,
        /// A folder of ready FerroLB programs, instead of building them
        #[arg(long, env = "FERROLB_PROGRAMS", value_name = "DIR")]
        programs: Option<PathBuf>,
        /// Write the figures to this file too, one JSON object a line
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// A whole cluster: how long an address is away when its owner dies, is restarted or is moved from; MetalLB's too
    Failover {
        /// Measure this case alone; may be given several times, or as a list with commas
        #[arg(long, value_enum, value_name = "CASE", value_delimiter = ',')]
        only: Vec<failover::Case>,
        /// How often each case is tried
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        trials: u32,
        /// Whose speakers
        #[arg(long, value_enum, default_value_t = failover::With::Ferrolb)]
        with: failover::With,
        /// With hellos each 30 ms
        #[arg(long)]
        fast: bool,
        /// How long nothing is to happen, in the cases that count false take-overs
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000))]
        minutes: u64,
        /// One more flag of FerroLB's speakers, as in --speaker-flag=--log-level=debug; may be given several times
        #[arg(long = "speaker-flag", value_name = "FLAG", allow_hyphen_values = true)]
        flags: Vec<String>,
        /// Write the figures to this file too, one JSON object a line
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// A whole cluster: from helm install until a waiting Service has an address, and until it answers
    Install {
        /// How often
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        trials: u32,
        /// Write the figures to this file too, one JSON object a line
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
}

/// Measures, and prints the figures.
pub(crate) fn bench(name: &str, what: What, lab_program: &Path) -> Result<(), LabError> {
    // With threads: the writers, the watch and the floor are to stand in nobody's way.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| LabError::State(error.to_string()))?;
    let (report, json) = match what {
        What::All { only, rounds, peers, services, trials, fail_on_worse, programs } => {
            let (rounds, services, trials) = (rounds as usize, services as usize, trials as usize);
            let options = suite::Options { only, rounds, metallb: peers, services, trials, programs };
            let outcome = runtime.block_on(bench::suite(name, &options, lab_program))?;
            return all(&outcome, fail_on_worse);
        }
        What::Document => {
            println!("{}", suite::document()?.display());
            return Ok(());
        }
        What::FirstAnswer { services, with, json } => {
            let mut report = Report::default();
            for balancer in with.balancers() {
                let bench = bench::first_answer(name, balancer, services as usize, lab_program);
                report.append(runtime.block_on(bench)?);
            }
            (report, json)
        }
        What::Resources { services, metallb, programs, json } => {
            let metallb = metallb.then_some(allocation::Turn::Second);
            let options = resources::Options { services: services as usize, programs, metallb };
            (runtime.block_on(bench::resources(name, &options, lab_program))?, json)
        }
        What::Allocation { services, rounds, metallb, programs, json } => {
            let (services, rounds) = (services as usize, rounds as usize);
            let metallb = metallb.then_some(allocation::Turn::Second);
            let options = bench::Options { services, rounds, programs, metallb };
            (runtime.block_on(bench::allocation(name, &options, lab_program))?, json)
        }
        What::Layer2 { services, rounds, only, programs, flags, json } => {
            let (services, rounds) = (services as usize, rounds as usize);
            let options = layer2::Options { services, rounds, only, programs, flags };
            (runtime.block_on(bench::layer2(name, &options, lab_program))?, json)
        }
        What::Peers { peers, seconds, services, programs, flags, json } => {
            let (peers, services) = (peers.into_iter().map(usize::from).collect(), services as usize);
            let time = Duration::from_secs(seconds);
            let options = peers::Options { peers, time, services, programs, flags };
            (runtime.block_on(bench::peers(name, &options, lab_program))?, json)
        }
        What::Scale { services, trials, programs, json } => {
            let options = scale::Options { services: services as usize, trials: trials as usize, programs };
            (runtime.block_on(bench::scale(name, &options, lab_program))?, json)
        }
        What::Failover { only, trials, with, fast, minutes, flags, json } => {
            let options = failover::Options { only, trials: trials as usize, with, fast, minutes, flags };
            (runtime.block_on(bench::failover(name, &options, lab_program))?, json)
        }
        What::Install { trials, json } => {
            (runtime.block_on(bench::install(name, trials as usize, lab_program))?, json)
        }
    };
    println!("{report}");
    if let Some(file) = json {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).map_err(LabError::at(folder))?;
        }
        std::fs::write(&file, report.json_lines()).map_err(LabError::at(&file))?;
    }
    Ok(())
}

/// Says what came of all figures.
fn all(outcome: &suite::Outcome, fail_on_worse: bool) -> Result<(), LabError> {
    println!("{}", outcome.text);
    let said = |count: usize, what: &str| {
        LabError::State(format!("{count} {what}; see {}", outcome.folder.join("results.md").display()))
    };
    match (outcome.failed.len(), outcome.worse.len()) {
        (failed @ 1.., _) => Err(said(failed, "benches failed")),
        (0, worse @ 1..) if fail_on_worse => Err(said(worse, "figures got worse")),
        _ => Ok(()),
    }
}
