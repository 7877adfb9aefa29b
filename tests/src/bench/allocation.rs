//! The controller's figures, from an empty cluster to ten thousand Services and back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::lab::process::interrupted;
use crate::lab::progress::Progress;
use crate::lab::{LabError, metallb, process, programs};
use crate::plane::Plane;
use crate::program::{Launch, Program, free_port};
use crate::scene::SYSTEM;

use super::bulk::{self, Bulk};
use super::lean::{NAMESPACE, Server};
use super::one_by_one::{Times, one_by_one};
use super::report::{Report, Who, megabytes, milliseconds, percentile};
use super::rest;

/// The addresses for all of them.
const ADDRESSES: &str = "10.0.0.0/16";

/// The smaller bulk.
pub(super) const SOME: usize = 1000;

/// How long MetalLB's addresses may take after the last Service was created, in seconds: it gives 31 a second on an idle
/// machine of two cores.
const METALLB_PATIENCE: u64 = 3600;

/// When MetalLB's controller is measured, with the same Services at the same API server. The two never run together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Before ours.
    First,
    /// After ours.
    Second,
}

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// The larger bulk of Services; 0 leaves out all that needs many.
    pub services: usize,
    /// So many are created one by one.
    pub rounds: usize,
    /// A folder of ready FerroLB programs, instead of building them.
    pub programs: Option<PathBuf>,
    /// Whether MetalLB's controller is measured too, and when.
    pub metallb: Option<Turn>,
}

/// Measures the controller in a lab of its own, named `name`, which is taken down at the end.
///
/// # Errors
/// When something does not come about.
pub async fn allocation(name: &str, options: &Options, lab_program: &Path) -> Result<Report, LabError> {
    let progress = Progress::default();
    let folder = match &options.programs {
        Some(folder) => folder.clone(),
        None => programs::ferrolb_programs(&progress)?,
    };
    let peer = match options.metallb {
        Some(turn) => Some((turn, metallb::built(&progress)?.join("controller"))),
        None => None,
    };
    progress.say("bringing up a control plane without nodes");
    let plane = Plane::up(name, lab_program)?;
    let controller = folder.join("ferrolb-controller");
    tokio::select! {
        biased;
        () = interrupted() => Err(LabError::Interrupted),
        report = measure(&plane, &controller, peer, options, &progress) => report,
    }
}

async fn measure(
    plane: &Plane,
    controller: &Path,
    peer: Option<(Turn, PathBuf)>,
    options: &Options,
    progress: &Progress,
) -> Result<Report, LabError> {
    plane.apply_crds()?;
    plane.kubectl(&["create", "namespace", NAMESPACE])?;
    create_pool(plane)?;
    let mut report = Report::default();
    machine(&mut report);
    if let Some((Turn::First, program)) = &peer {
        of_metallb(&mut report, plane, program, options, progress).await?;
    }
    ours(&mut report, plane, controller, options, progress).await?;
    if let Some((Turn::Second, program)) = &peer {
        of_metallb(&mut report, plane, program, options, progress).await?;
    }
    Ok(report)
}

/// The same Services, as far as that says something, with MetalLB's controller.
async fn of_metallb(
    report: &mut Report,
    plane: &Plane,
    program: &Path,
    options: &Options,
    progress: &Progress,
) -> Result<(), LabError> {
    let (server, floor) = (Server::of(&plane.lab).await?, Server::of(&plane.lab).await?);
    let (metrics, health) = (free_port()?, free_port()?);
    let flags = metallb::controller_flags(&plane.lab.paths.kubeconfig(), metrics, health);
    let controller = Launch::of_another(program, health, flags).start()?;
    rest::ready(&controller).await?;
    progress.say(&format!("MetalLB one by one: {} Services, and as many for the floor", options.rounds));
    let words = |error: LabError| {
        LabError::program("MetalLB's controller", format!("{error}\n{}", last_lines(&controller.log())))
    };
    let times = one_by_one(&server, &floor, options.rounds).await.map_err(words)?;
    sample_times(report, Who::Metallb, &times);
    for (whose, times) in [("MetalLB", &times.ours), ("the floor beside MetalLB", &times.floor)] {
        for percent in [50, 99] {
            let time = milliseconds(percentile(times, percent));
            report.tell(format!("create to EXTERNAL-IP, one by one, {whose}, p{percent}"), time, "ms");
        }
    }
    bulk::delete(&server).await?;
    if options.services == 0 {
        return Ok(());
    }
    for (size, count) in [("some", SOME.min(options.services)), ("all", options.services)] {
        progress.say(&format!("MetalLB: {count} Services by 16 writers"));
        let prefix = format!("metallb{size}");
        let bulk = bulk::create(&server, &prefix, count, METALLB_PATIENCE).await.map_err(words)?;
        sample_bulk(report, Who::Metallb, size, count, &bulk);
        let behind = bulk.behind.as_secs_f64();
        report.tell(format!("MetalLB, {count} Services: the last create to all addresses"), behind, "s");
        if size == "all"
            && let Some(memory) = controller.memory()
        {
            let memory = megabytes(memory.resident);
            report.tell(format!("MetalLB, {count} Services: resident memory"), memory, "MB");
            report.sample("memory-controller-grown", Who::Metallb, "MB", [memory]);
        }
        progress.say("deleting them");
        bulk::delete(&server).await?;
    }
    Ok(())
}

fn sample_times(report: &mut Report, who: Who, times: &Times) {
    let values = |times: &[Duration]| times.iter().copied().map(milliseconds).collect::<Vec<_>>();
    report.sample("create", who, "ms", values(&times.ours));
    report.sample("create", Who::Floor, "ms", values(&times.floor));
}

fn sample_bulk(report: &mut Report, who: Who, size: &str, count: usize, bulk: &Bulk) {
    let all = (bulk.creating + bulk.behind).as_secs_f64();
    report.sample(format!("bulk-{size}-behind"), who, "s", [bulk.behind.as_secs_f64()]);
    report.sample(format!("bulk-{size}-rate"), who, "/s", [count as f64 / all]);
    if size == "all" {
        report.sample("bulk-all-writes", who, "", [bulk.status_writes / count as f64]);
    }
}

/// All figures of our controller.
async fn ours(
    report: &mut Report,
    plane: &Plane,
    controller: &Path,
    options: &Options,
    progress: &Progress,
) -> Result<(), LabError> {
    let server = Server::of(&plane.lab).await?;
    let launch = Launch::new(controller, &plane.lab.paths.kubeconfig())?;
    // As in config/default.
    let launch = launch.variable("FERROLB_POD_NAME", "bench").variable("MALLOC_ARENA_MAX", "1");
    let controller = launch.start()?;
    rest::ready(&controller).await?;
    rest::memory(report, &controller, "idle", 12.0);

    progress.say(&format!("one by one: {} Services, and as many for the floor", options.rounds));
    let floor = Server::of(&plane.lab).await?;
    let times = one_by_one(&server, &floor, options.rounds).await?;
    sample_times(report, Who::Ferrolb, &times);
    for percent in [50, 99] {
        let (ours, floor) = (percentile(&times.ours, percent), percentile(&times.floor, percent));
        report.tell(format!("create to EXTERNAL-IP, one by one, p{percent}"), milliseconds(ours), "ms");
        report.tell(format!("the floor, p{percent}"), milliseconds(floor), "ms");
        if percent == 50 {
            report.at_most("p50 in floors", ours.as_secs_f64() / floor.as_secs_f64(), "", 1.3);
        }
    }
    bulk::delete_all(&server, &controller).await?;

    if options.services == 0 {
        return Ok(());
    }
    let (some, all) = (SOME.min(options.services), options.services);
    many(report, &server, &controller, ("some", some), 1.0, progress).await?;
    progress.say("deleting them");
    let emptied = bulk::delete_all(&server, &controller).await?;
    report.sample("emptied-some", Who::Ferrolb, "ms", [milliseconds(emptied)]);
    report.tell("the last deletion to an empty pool", milliseconds(emptied), "ms");

    progress.say(&format!("{some} Services that wait for a controller"));
    controller.end()?;
    let (controller, took) = bulk::backlog(&server, "waiting", some, &launch).await?;
    report.tell(
        format!("{some} waiting Services: the controller's start to all addresses"),
        took.as_secs_f64(),
        "s",
    );
    report.sample("backlog", Who::Ferrolb, "s", [took.as_secs_f64()]);
    bulk::delete_all(&server, &controller).await?;

    many(report, &server, &controller, ("all", all), 3.0, progress).await?;
    rest::memory(report, &controller, &format!("{all} Services"), 50.0);
    let grown = controller.memory().map(|memory| megabytes(memory.resident));
    report.sample("memory-controller-grown", Who::Ferrolb, "MB", grown);
    progress.say("a quiet time");
    rest::quiet(report, &server).await?;
    progress.say("a restart");
    let controller = rest::restart(report, &server, controller, &launch).await?;
    rest::memory(report, &controller, &format!("{all} Services, restarted"), 50.0);
    progress.say(&format!("deleting {all} Services"));
    let emptied = bulk::delete_all(&server, &controller).await?;
    report.tell("the last deletion to an empty pool", milliseconds(emptied), "ms");
    report.sample("emptied-all", Who::Ferrolb, "ms", [milliseconds(emptied)]);
    Ok(())
}

/// One bulk.
async fn many(
    report: &mut Report,
    server: &Server,
    controller: &Program,
    (size, count): (&str, usize),
    goal: f64,
    progress: &Progress,
) -> Result<(), LabError> {
    progress.say(&format!("{count} Services by 16 writers"));
    let worked = controller.processor_time().unwrap_or_default();
    let bulk =
        bulk::create(server, &format!("bulk{size}"), count, bulk::PATIENCE).await.map_err(|error| {
            LabError::program("the bulk", format!("{error}\n{}", last_lines(&controller.log())))
        })?;
    sample_bulk(report, Who::Ferrolb, size, count, &bulk);
    report.tell(format!("{count} Services: creating them"), bulk.creating.as_secs_f64(), "s");
    let behind = bulk.behind.as_secs_f64();
    report.at_most(format!("{count} Services: the last create to all addresses"), behind, "s", goal);
    let each = bulk.status_writes / count as f64;
    report.at_most(format!("{count} Services: status writes for each"), each, "", 1.02);
    report.tell(format!("{count} Services: conflicts (409)"), bulk.conflicts, "");
    let worked = controller.processor_time().unwrap_or_default().saturating_sub(worked);
    report.tell(format!("{count} Services: processor time of the controller"), worked.as_secs_f64(), "s");
    Ok(())
}

/// On what it is measured.
pub(super) fn machine(report: &mut Report) {
    let cores = std::thread::available_parallelism().map_or(0.0, |n| n.get() as f64);
    report.tell("cores of this machine", cores, "");
    report.tell("its load average before (1 min)", load(), "");
}

/// How many processes were waiting to run of late: what others do on this machine is in the figures too.
fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

fn create_pool(plane: &Plane) -> Result<(), LabError> {
    let pool = json!({
        "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
        "metadata": {"name": rest::POOL, "namespace": SYSTEM}, "spec": {"addresses": [ADDRESSES]},
    });
    let file = plane.lab.paths.root().join("pool.json");
    std::fs::write(&file, pool.to_string()).map_err(LabError::at(&file))?;
    process::run(plane.lab.kubectl().args(["apply", "-f"]).arg(&file)).map(|_| ())
}
