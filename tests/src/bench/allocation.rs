//! The controller's figures, from an empty cluster to ten thousand Services and back.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::lab::progress::Progress;
use crate::lab::{LabError, process, programs};
use crate::plane::Plane;
use crate::program::{Launch, Program};
use crate::scene::SYSTEM;

use super::lean::{NAMESPACE, Server};
use super::one_by_one::one_by_one;
use super::report::{Report, milliseconds, percentile};
use super::{bulk, rest};

/// The addresses for all of them.
const ADDRESSES: &str = "10.0.0.0/16";

/// The smaller bulk.
const SOME: usize = 1000;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// The larger bulk of Services.
    pub services: usize,
    /// So many are created one by one.
    pub rounds: usize,
    /// A folder of ready FerroLB programs, instead of building them.
    pub programs: Option<PathBuf>,
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
    progress.say("bringing up a control plane without nodes");
    let plane = Plane::up(name, lab_program)?;
    let controller = folder.join("ferrolb-controller");
    tokio::select! {
        biased;
        () = interrupted() => Err(LabError::Interrupted),
        report = measure(&plane, &controller, options, &progress) => report,
    }
}

async fn measure(
    plane: &Plane,
    controller: &Path,
    options: &Options,
    progress: &Progress,
) -> Result<Report, LabError> {
    plane.apply_crds()?;
    plane.kubectl(&["create", "namespace", NAMESPACE])?;
    create_pool(plane)?;
    let server = Server::of(&plane.lab).await?;
    let launch = Launch::new(controller, &plane.lab.paths.kubeconfig())?;
    // As in config/default.
    let launch = launch.variable("FERROLB_POD_NAME", "bench").variable("MALLOC_ARENA_MAX", "1");
    let controller = launch.start()?;
    rest::ready(&controller).await?;
    let mut report = Report::default();
    machine(&mut report);
    rest::memory(&mut report, &controller, "idle", 12.0);

    progress.say(&format!("one by one: {} Services, and as many for the floor", options.rounds));
    let floor = Server::of(&plane.lab).await?;
    let times = one_by_one(&server, &floor, options.rounds).await?;
    for percent in [50, 99] {
        let (ours, floor) = (percentile(&times.ours, percent), percentile(&times.floor, percent));
        report.tell(format!("create to EXTERNAL-IP, one by one, p{percent}"), milliseconds(ours), "ms");
        report.tell(format!("the floor, p{percent}"), milliseconds(floor), "ms");
        if percent == 50 {
            report.at_most("p50 in floors", ours.as_secs_f64() / floor.as_secs_f64(), "", 1.3);
        }
    }
    bulk::delete_all(&server, &controller).await?;

    let (some, all) = (SOME.min(options.services), options.services);
    many(&mut report, &server, &controller, some, 1.0, progress).await?;
    progress.say("deleting them");
    let emptied = bulk::delete_all(&server, &controller).await?;
    report.tell("the last deletion to an empty pool", milliseconds(emptied), "ms");

    progress.say(&format!("{some} Services that wait for a controller"));
    controller.end()?;
    let (controller, took) = bulk::backlog(&server, "waiting", some, &launch).await?;
    report.tell(
        format!("{some} waiting Services: the controller's start to all addresses"),
        took.as_secs_f64(),
        "s",
    );
    bulk::delete_all(&server, &controller).await?;

    many(&mut report, &server, &controller, all, 3.0, progress).await?;
    rest::memory(&mut report, &controller, &format!("{all} Services"), 50.0);
    progress.say("a quiet time");
    rest::quiet(&mut report, &server).await?;
    progress.say("a restart");
    let controller = rest::restart(&mut report, &server, controller, &launch).await?;
    rest::memory(&mut report, &controller, &format!("{all} Services, restarted"), 50.0);
    progress.say(&format!("deleting {all} Services"));
    let emptied = bulk::delete_all(&server, &controller).await?;
    report.tell("the last deletion to an empty pool", milliseconds(emptied), "ms");
    Ok(report)
}

/// One bulk.
async fn many(
    report: &mut Report,
    server: &Server,
    controller: &Program,
    count: usize,
    goal: f64,
    progress: &Progress,
) -> Result<(), LabError> {
    progress.say(&format!("{count} Services by 16 writers"));
    let worked = controller.processor_time().unwrap_or_default();
    let bulk = bulk::create(server, &format!("bulk{count}"), count).await.map_err(|error| {
        LabError::program("the bulk", format!("{error}\n{}", last_lines(&controller.log())))
    })?;
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

/// Returns when this process is asked to end.
pub(super) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        }
        _ => std::future::pending().await,
    }
}
