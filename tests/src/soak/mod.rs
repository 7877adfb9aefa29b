//! An hour of faults in a cluster that works all the while, and what came of it.
//!
//! ```text
//!   churn:   Services made and deleted without end ──────────────► record of every change ─► history::check
//!   traffic: clients connect to five addresses, 500 times a second ─► Attempts ─┐
//!   faults:  one, or two at once, by seed, each judged on the wire ─► Outcomes ─┼─► Report
//!   looks:   memory of each program; its sockets and groups at both ends ───────┤
//!   logs:    warnings and errors, beside the fault that explains them ──────────┘
//! ```
//!
//! [`churn`], [`traffic`], [`programs`] and [`logs`] watch; [`mod@report`] is a function of what they saw.

pub mod churn;
pub mod logs;
pub mod programs;
pub mod report;
pub mod traffic;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::Service;
use kube::api::Api;
use serde_json::json;

use crate::chaos::{self, Balancer, Fault, Faults, Pods, Stage, Step};
use crate::judge::Clock;
use crate::lab::progress::{Progress, wait};
use crate::lab::{Lab, LabError};
use crate::recorder::Recorder;
use crate::scene::Scene;

use churn::Churn;
use logs::Logs;
use programs::Programs;
pub use report::Report;
use traffic::Traffic;

/// The address that the faults are done to the owner of.
pub const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 10, 0, 201));

/// So many more stay all the while; other nodes own them.
const STEADY: u8 = 4;

/// The first of those.
const FIRST_STEADY: u8 = 210;

/// How long the cluster may take to be as it was at the beginning, in seconds.
const PATIENCE: u64 = 180;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Options {
    /// These faults alone, in turn; all, as the dice fall, if there are none.
    pub faults: Vec<Faults>,
    /// For so long faults begin.
    pub time: Duration,
    /// Whence their list comes.
    pub seed: u64,
    /// From the beginning of one to that of the next, at least: all is well before each.
    pub every: Duration,
}

/// A fault that was borne, or not.
#[derive(Clone, Debug)]
pub struct Done {
    /// What was done.
    pub step: Step,
    /// From shortly before its beginning, on the soak's clock,
    pub from: Duration,
    /// until the address had worked after its end.
    pub until: Duration,
    /// From the beginning of the faults until the address worked; `None` if that was not asked.
    pub lasting: Option<Duration>,
    /// How long two answered at once.
    pub double: Duration,
    /// What was wrong.
    pub wrong: Vec<String>,
}

/// When which faults were there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// From then,
    pub from: Duration,
    /// until then.
    pub until: Duration,
    /// Which.
    pub faults: BTreeSet<Fault>,
}

impl Done {
    /// When it was, and what.
    pub fn span(&self) -> Span {
        let faults = self.step.faults.iter().map(|(fault, _)| *fault).collect();
        Span { from: self.from, until: self.until, faults }
    }
}

/// Does faults for as long as asked, and reports. An error that ends it early is in the report, which is of the time before then.
///
/// # Errors
/// When it cannot begin.
pub async fn soak(
    lab: &Lab,
    options: Options,
    lab_program: &Path,
    progress: &Progress,
) -> Result<Report, LabError> {
    let stage = Stage::set(lab, Balancer::Ferrolb, "soak", ADDRESS, Pods::Everywhere, lab_program).await?;
    let steady = steady(&stage).await?;
    let scene = Scene::in_lab(lab, "churn").await?;
    let began = SystemTime::now();
    let (clock, logs) = (Clock::since(began), Logs::begin(lab, began));
    stage.well().await?;
    let before = programs::at_rest(lab, Balancer::Ferrolb)?;

    progress.say("all is well; traffic, churn and faults begin");
    let recorder = Recorder::start(Api::<Service>::all(lab.client().await?)).await?;
    let churn = Churn::begin(&scene, clock).await?;
    let mut targets = vec![ADDRESS];
    targets.extend(steady);
    let traffic = Traffic::begin(lab, &targets, clock)?;
    let looks = Programs::begin(lab, clock);

    let mut done = Vec::new();
    let mut broken = Vec::new();
    if let Err(error) = faults(&stage, &options, clock, &mut done, progress).await {
        progress.say(&format!("the soak ends here: {error}"));
        broken.push(error.to_string());
    }
    progress.say("traffic and churn end");
    let looks = looks.end();
    // Whatever fails from here on, what was seen is told.
    let traffic = told(traffic.end(), &mut broken);
    let churned = told(churn.end().await, &mut broken);
    let events = told(recorder.finish(PATIENCE).await, &mut broken);
    told(scene.end().await, &mut broken);
    // What nobody needs any more is left behind: groups within the time in which others might still ask.
    let rested = wait("sockets and groups as at the beginning", PATIENCE, async || {
        let after = programs::at_rest(lab, Balancer::Ferrolb).map_err(|error| error.to_string())?;
        let more = after.more_than(&before);
        if more.is_empty() { Ok(()) } else { Err(more.join("; ")) }
    })
    .await;
    let lines = logs.end().unwrap_or_else(|| {
        broken.push("the reader of the logs failed".to_owned());
        Vec::new()
    });
    let report = Report::of(report::Seen {
        options,
        broken,
        lasted: clock.now(),
        done,
        traffic,
        looks,
        leaked: rested.err().map(|error| error.to_string()),
        lines,
        churned,
        history: crate::history::check(&events, |_| false),
        events: events.len(),
    });
    // The next one clears what is left.
    if let Err(error) = stage.scene.end().await {
        progress.say(&error.to_string());
    }
    Ok(report)
}

/// What came of it; nothing if it failed, which is to be told.
fn told<T: Default>(outcome: Result<T, LabError>, broken: &mut Vec<String>) -> T {
    outcome.unwrap_or_else(|error| {
        broken.push(error.to_string());
        T::default()
    })
}

/// Services that stay, on the pods of the stage's own; returns their addresses.
async fn steady(stage: &Stage) -> Result<Vec<IpAddr>, LabError> {
    let scene = &stage.scene;
    let last = FIRST_STEADY + STEADY - 1;
    let spec = json!({"addresses": [format!("10.10.0.{FIRST_STEADY}-10.10.0.{last}")]});
    scene.create("IPAddressPool", "steady", &spec).await?;
    scene.create("L2Advertisement", "steady", &json!({"ipAddressPools": ["steady"]})).await?;
    let mut addresses = Vec::new();
    for number in 1..=STEADY {
        let name = format!("steady-{number}");
        let service = scene.service(&name).family("IPv4").with("selector", json!({"app": "web"}));
        let service = service.with("externalTrafficPolicy", json!("Local"));
        service.annotated("metallb.io/address-pool", "steady").create().await?;
        addresses.push(scene.address(&name).await?);
    }
    for address in &addresses {
        for node in &stage.order {
            stage.proxied(node, *address)?;
        }
    }
    Ok(addresses)
}

/// One fault after the other, until the time is over.
async fn faults(
    stage: &Stage,
    options: &Options,
    clock: Clock,
    done: &mut Vec<Done>,
    progress: &Progress,
) -> Result<(), LabError> {
    // More than there can be time for.
    let most = options.time.as_millis() / options.every.as_millis().max(1) + 1;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let began = clock.now();
    for step in chaos::plan(options.seed, most, &options.faults, stage.order.len()) {
        stage.well().await?;
        if let Some(Done { from, .. }) = done.last() {
            tokio::time::sleep((*from + options.every).saturating_sub(clock.now())).await;
        }
        let from = clock.now();
        let left = (began + options.time).saturating_sub(from);
        if left.is_zero() {
            break;
        }
        let outcome = chaos::run::one(stage, &step).await?;
        let until = clock.now();
        let minutes = left.as_secs_f64() / 60.0;
        progress.say(&format!("{minutes:.0} min left; {}", outcome.in_short()));
        if !outcome.wrong.is_empty() {
            progress.say(&outcome.to_string());
        }
        let double = outcome.double_answers();
        done.push(Done { step, from, until, lasting: outcome.lasting, double, wrong: outcome.wrong });
    }
    stage.well().await
}
