//! `lab chaos`: faults by name or by seed, judged on the wire.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::ExitCode;

use ferrolb_tests::chaos::{self, Balancer, Faults, Pods, Stage};
use ferrolb_tests::lab::progress::Progress;
use ferrolb_tests::lab::{Config, Lab, LabError, Proxy};

use crate::own::own;

/// The address in question.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 10, 0, 201));

/// What is to go wrong.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Do this fault, or two at once as in kill+loss, to the owner of the address; may be given several times
    #[arg(long, value_name = "NAME")]
    fault: Vec<Faults>,
    /// Whence the list comes if no faults are named: the same seed gives the same list
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many; each of the named ones once unless given
    #[arg(long)]
    count: Option<usize>,
    /// Print the list and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// So many, where no faults are named.
const COUNT: usize = 10;

/// In the lab of this name if it is up, with FerroLB in it; else in one of its own, which is taken down afterwards.
pub(crate) fn chaos(name: &str, args: &Args, lab_program: &Path) -> Result<ExitCode, LabError> {
    let progress = Progress::default();
    let config = Config::new(name)?.proxy(Proxy::Nftables);
    let count = args.count.unwrap_or(if args.fault.is_empty() { COUNT } else { args.fault.len() });
    let list = |nodes: u8| chaos::plan(args.seed, count, &args.fault, usize::from(nodes));
    if args.dry_run {
        for step in list(config.nodes) {
            println!("{step}, for {:.1} s", step.lasts.as_secs_f64());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let wrong = own(&config, lab_program, &progress, async |lab| {
        go(lab, &list(lab.config.nodes), lab_program, &progress).await
    })?;
    if wrong == 0 {
        println!("all {count} steps were borne");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{wrong} of {count} steps were not borne; the same list again: --seed {}", args.seed);
    Ok(ExitCode::FAILURE)
}

/// Does the steps and returns how many of them were not borne.
async fn go(
    lab: &Lab,
    steps: &[chaos::Step],
    lab_program: &Path,
    progress: &Progress,
) -> Result<usize, LabError> {
    let stage = Stage::set(lab, Balancer::Ferrolb, "chaos", ADDRESS, Pods::Everywhere, lab_program).await?;
    let outcomes = chaos::run(&stage, steps, progress).await?;
    stage.scene.end().await?;
    Ok(outcomes.iter().filter(|outcome| !outcome.wrong.is_empty()).count())
}
