//! What each program takes of memory and processor, how soon it is ready, and what it hears and writes while nothing happens.
//!
//! Each is started where as many Services as asked for have addresses, on a host on which nothing else runs, and ended before
//! the next one is. So MetalLB's stand beside ours at the same API server and the same objects, and what comes in at the
//! host's link is theirs alone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::lab::process::interrupted;
use crate::lab::progress::Progress;
use crate::lab::{Lab, LabError, metallb, process, programs};
use crate::plane::Plane;
use crate::scene::SYSTEM;

use super::allocation::{SOME, Turn, machine};
use super::cluster::{self, Stock, four};
use super::counters::Counters;
use super::lean::Server;
use super::report::{Report, Who, megabytes, milliseconds};
use super::running::{self, Launch, Running};
use super::speaker::{self, HOST, NODE};

/// The ports of what runs on the host: an endpoint with /readyz, and MetalLB's metrics, which have one of their own.
const PORT: u16 = 17480;
const METRICS: u16 = 17481;

/// How long one may take to be ready, in seconds.
const PATIENCE: u64 = 300;

/// How long it may work on what it finds, in seconds; who works longer is measured as it is then.
const WORK: u64 = 600;

/// So long nothing happens.
const QUIET: Duration = Duration::from_secs(10);

/// The same with all Services: each watch is renewed, and says that it is alive, at least once in that time.
const LONG_QUIET: Duration = Duration::from_secs(60);

/// What controllers and speakers write, other than a Lease.
pub(super) const WRITTEN: [&str; 9] = [
    "services",
    "services/status",
    "ipaddresspools",
    "ipaddresspools/status",
    "servicel2statuses",
    "servicel2statuses/status",
    "configurationstates",
    "configurationstates/status",
    "events",
];

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// With so many Services at the end; 0 leaves out all that needs any.
    pub services: usize,
    /// A folder of ready FerroLB programs, instead of building them.
    pub programs: Option<PathBuf>,
    /// Whether MetalLB's programs are measured too, and when.
    pub metallb: Option<Turn>,
}

/// Measures in a lab of its own, named `name`, which is taken down at the end.
///
/// # Errors
/// When something does not come about.
pub async fn resources(name: &str, options: &Options, lab_program: &Path) -> Result<Report, LabError> {
    let progress = Progress::default();
    let ours = match &options.programs {
        Some(folder) => folder.clone(),
        None => programs::ferrolb_programs(&progress)?,
    };
    let theirs = options.metallb.map(|_| metallb::built(&progress)).transpose()?;
    progress.say("bringing up a control plane without nodes");
    // The API server is on the LAN, where the host is.
    process::run(Command::new(lab_program).args(["--name", name, "up", "--nodes", "0", "--one-nic"]))?;
    let plane = Plane { lab: Lab::attach(name)? };
    let mut subjects = vec![Subject::controller(&plane.lab, &ours), Subject::speaker(&plane.lab, &ours)];
    if let Some(theirs) = &theirs {
        let kubeconfig = plane.lab.paths.kubeconfig_of("admin");
        let flags = metallb::controller_flags(&kubeconfig, METRICS, PORT);
        subjects.push(Subject::theirs("controller", theirs, flags));
        let flags = metallb::speaker_flags(&kubeconfig, NODE, METRICS, PORT);
        subjects.push(Subject::theirs("speaker", theirs, flags));
    }
    if options.metallb == Some(Turn::First) {
        subjects.rotate_left(2);
    }
    tokio::select! {
        biased;
        () = interrupted() => Err(LabError::Interrupted),
        report = measure(&plane, &subjects, options, &progress) => report,
    }
}

/// A program that is measured.
#[derive(Clone, Debug)]
struct Subject {
    who: Who,
    /// `controller` or `speaker`, as in the names of figures.
    role: &'static str,
    launch: Launch,
}

impl Subject {
    fn controller(lab: &Lab, folder: &Path) -> Self {
        let mut environment = running::settings();
        environment.push(("FERROLB_POD_NAME", "bench".to_owned()));
        let launch = Launch {
            name: "controller".to_owned(),
            program: folder.join("ferrolb-controller"),
            flags: vec![running::kubeconfig(lab), format!("--admin-port={PORT}")],
            environment,
            port: PORT,
        };
        Subject { who: Who::Ferrolb, role: "controller", launch }
    }

    fn speaker(lab: &Lab, folder: &Path) -> Self {
        let launch = speaker::launch(lab, &folder.join("ferrolb-speaker"), &[]);
        Subject { who: Who::Ferrolb, role: "speaker", launch }
    }

    fn theirs(role: &'static str, folder: &Path, flags: Vec<String>) -> Self {
        let launch = Launch {
            name: format!("metallb-{role}"),
            program: folder.join(role),
            flags,
            environment: Vec::new(),
            port: PORT,
        };
        Subject { who: Who::Metallb, role, launch }
    }
}

async fn measure(
    plane: &Plane,
    subjects: &[Subject],
    options: &Options,
    progress: &Progress,
) -> Result<Report, LabError> {
    plane.kubectl(&["create", "namespace", SYSTEM])?;
    let server = Server::of(&plane.lab).await?;
    let _heart = cluster::prepare(plane, &server, &[]).await?;
    let mut stock = Stock::new(server.clone(), progress.clone());
    let mut report = Report::default();
    machine(&mut report);
    let mut stages = vec![("idle", 0)];
    if options.services > 0 {
        stages.extend([("some", SOME.min(options.services)), ("all", options.services)]);
    }
    for (stage, count) in stages {
        progress.say(&format!("{count} Services with addresses and EndpointSlices"));
        let numbers = stock.create(count - stock.count()).await?;
        stock.assign(numbers, four).await?;
        for subject in subjects {
            let (who, role) = (subject.who.name(), subject.role);
            progress.say(&format!("{who}'s {role} beside {count} Services"));
            one(plane, &server, subject, stage, &mut report, progress).await?;
        }
    }
    Ok(report)
}

/// One program, from its start to its end.
async fn one(
    plane: &Plane,
    server: &Server,
    Subject { who, role, launch }: &Subject,
    stage: &str,
    report: &mut Report,
    progress: &Progress,
) -> Result<(), LabError> {
    let (who, name) = (*who, format!("{}, {role}, {stage}", who.name()));
    let running = Running::start(&plane.lab, HOST, launch)?;
    let ready = milliseconds(running.ready(PATIENCE).await?);
    report.tell(format!("{name}: start to ready"), ready, "ms");
    match stage {
        "idle" => report.sample(format!("start-{role}"), who, "ms", [ready]),
        "all" => report.sample(format!("start-{role}-all"), who, "ms", [ready]),
        _ => {}
    }
    match running.at_rest(WORK).await {
        Err(error @ LabError::Late { .. }) => {
            progress.say(&format!("{name} is measured while it works: {error}"));
        }
        rested => rested?,
    }
    let memory = running.memory()?;
    report.sample(format!("memory-{role}-{stage}"), who, "MB", [megabytes(memory.resident)]);
    report.tell(format!("{name}: resident memory"), megabytes(memory.resident), "MB");
    report.tell(format!("{name}: of it heap and stacks"), megabytes(memory.own), "MB");
    report.tell(format!("{name}: peak"), megabytes(memory.peak), "MB");

    let time = if stage == "all" { LONG_QUIET } else { QUIET };
    let before = Counters::read(server).await?;
    let (heard, worked, started) = (running.heard("eth0")?, running.processor_time()?, Instant::now());
    tokio::time::sleep(time).await;
    let heard = running.heard("eth0")? - heard;
    let worked = running.processor_time()?.saturating_sub(worked).as_secs_f64();
    let seconds = started.elapsed().as_secs_f64();
    let written = Counters::read(server).await?.since(&before);
    let load = 100.0 * worked / seconds;
    report.sample(format!("processor-{role}-{stage}"), who, "%", [load]);
    report.tell(format!("{name}: processor at rest"), load, "%");
    if stage == "all" {
        let hour = 3600.0 / seconds;
        let (kilobytes, writes) = (heard as f64 * hour / 1e3, hour * sum(&written));
        report.sample(format!("watch-{role}"), who, "kB/h", [kilobytes]);
        report.sample(format!("writes-{role}"), who, "/h", [writes]);
        report.tell(format!("{name}: heard at rest"), kilobytes, "kB/h");
        report.tell(format!("{name}: writes at rest"), writes, "/h");
    }
    Ok(())
}

/// All writes that count.
fn sum(written: &Counters) -> f64 {
    WRITTEN.iter().fold(0.0, |sum, resource| sum + written.writes(resource))
}
