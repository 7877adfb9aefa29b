//! From `helm install` to a Service that has an address and answers.
//!
//! Each trial is a cluster's first time: there are no definitions and no namespace. A Service of type LoadBalancer and its pods are
//! there and wait. The clock starts with Helm; a client applies a pool and an advertisement beside it, as soon as the
//! API server serves their definitions. The nodes have the image.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use kube::api::{ListParams, WatchEvent, WatchParams};
use serde_json::json;

use crate::lab::process::interrupted;
use crate::lab::progress::{Progress, wait};
use crate::lab::{Config, Lab, LabError, Proxy, down, helm, process, programs, up};
use crate::plane::project;
use crate::scene::{SYSTEM, Scene, shown};

use super::allocation::machine;
use super::report::{Report, Who, milliseconds, percentile};

/// The name of the release.
const RELEASE: &str = "ferrolb";

/// How long one trial may take, in seconds.
const PATIENCE: u32 = 120;

/// How long each part of a trial took, from the start of Helm on.
struct Times {
    returned: Duration,
    address: Duration,
    answer: Duration,
}

/// Measures in a lab of its own, which is taken down at the end.
///
/// # Errors
/// When something does not come about.
pub async fn install(name: &str, trials: usize, lab_program: &Path) -> Result<Report, LabError> {
    let progress = Progress::default();
    let mut report = Report::default();
    machine(&mut report);
    let image = programs::ferrolb_image(&progress)?;
    helm::program(&progress)?;
    let config = Config::new(name)?.proxy(Proxy::Nftables);
    let lab = up::up(&config, lab_program, None, &progress).await?;
    let result = tokio::select! {
        biased;
        () = interrupted() => Err(LabError::Interrupted),
        result = async {
            up::load_image(&lab, &image).await?;
            all(&lab, trials, &progress).await
        } => result,
    };
    let taken_down = down::down(&lab.paths);
    let times = result?;
    taken_down?;
    let mut tell = |what: &str, of: fn(&Times) -> Duration| {
        let times: Vec<f64> = times.iter().map(|times| milliseconds(of(times))).collect();
        report.tell(format!("helm install to {what}, p50 of {trials}"), percentile(&times, 50), "ms");
        report.tell(format!("helm install to {what}, longest"), percentile(&times, 100), "ms");
    };
    tell("its own end", |times| times.returned);
    tell("EXTERNAL-IP", |times| times.address);
    tell("an answer from outside", |times| times.answer);
    let mut sample = |figure: &str, of: fn(&Times) -> Duration| {
        let values: Vec<f64> = times.iter().map(|times| milliseconds(of(times))).collect();
        report.sample(figure, Who::Ferrolb, "ms", values);
    };
    sample("install-address", |times| times.address);
    sample("install-answer", |times| times.answer);
    Ok(report)
}

async fn all(lab: &Lab, trials: usize, progress: &Progress) -> Result<Vec<Times>, LabError> {
    let scene = Scene::in_lab(lab, "install").await?;
    scene.echo("web").replicas(i32::from(lab.config.nodes)).create().await?;
    let mut all = Vec::new();
    for trial in 1..=trials {
        let times = one(lab, &scene, &format!("web{trial}"), progress).await?;
        progress.say(&format!(
            "trial {trial}: EXTERNAL-IP after {:.0} ms, an answer after {:.0} ms",
            milliseconds(times.address),
            milliseconds(times.answer)
        ));
        all.push(times);
    }
    Ok(all)
}

/// One trial with a Service of this name; nothing of it is left.
async fn one(lab: &Lab, scene: &Scene, service: &str, progress: &Progress) -> Result<Times, LabError> {
    let kubectl = |arguments: &[&str]| process::run(lab.kubectl().args(arguments)).map(drop);
    kubectl(&["create", "namespace", SYSTEM])?;
    kubectl(&["label", "namespace", SYSTEM, "pod-security.kubernetes.io/enforce=privileged"])?;
    scene.service(service).with("selector", json!({"app": "web"})).create().await?;
    let client = scene.client_host()?;
    client.forget_neighbours().map_err(LabError::at("the client's neighbours"))?;
    let version = scene.services().list(&ListParams::default()).await.map_err(failed)?;
    let version = version.metadata.resource_version.unwrap_or_default();

    let mut install = helm::helm(lab, progress)?;
    install.args(["install", RELEASE, "--namespace", SYSTEM]).arg(project("charts/ferrolb"));
    let started = Instant::now();
    let returned = async {
        let ended = tokio::task::spawn_blocking(move || process::run(&mut install).map(drop)).await;
        ended.map_err(|error| LabError::State(error.to_string()))??;
        Ok(started.elapsed())
    };
    let pool = async {
        let pool = json!({"addresses": ["10.10.0.200-10.10.0.209"]});
        let objects = [("IPAddressPool", pool), ("L2Advertisement", json!({"ipAddressPools": ["lan"]}))];
        for (kind, spec) in &objects {
            wait(&format!("{kind} to be served"), u64::from(PATIENCE), async || {
                scene.create(kind, "lan", spec).await.map_err(|error| error.to_string())
            })
            .await?;
        }
        Ok(())
    };
    let answer = async {
        let address = address_of(scene, service, &version).await?;
        let seen = started.elapsed();
        let asked = tokio::task::spawn_blocking(move || {
            client.ask_until((address, 80).into(), u64::from(PATIENCE)).map_err(LabError::at("the answer"))
        });
        asked.await.map_err(|error| LabError::State(error.to_string()))??;
        Ok((seen, started.elapsed()))
    };
    let (returned, (), (address, answer)) = tokio::try_join!(returned, pool, answer)?;

    scene.delete_service(service).await?;
    process::run(helm::helm(lab, progress)?.args(["uninstall", RELEASE, "--namespace", SYSTEM, "--wait"]))?;
    // With the definitions go the pool and the advertisement, with the namespace the key of the hellos.
    kubectl(&["delete", "-f", &project("crds").to_string_lossy()])?;
    kubectl(&["delete", "namespace", SYSTEM])?;
    Ok(Times { returned, address, answer })
}

/// The first address that a watch from `version` on shows at a Service.
async fn address_of(scene: &Scene, service: &str, version: &str) -> Result<IpAddr, LabError> {
    let (services, params) = (scene.services(), WatchParams::default().timeout(PATIENCE));
    let mut events = std::pin::pin!(services.watch(&params, version).await.map_err(failed)?);
    while let Some(event) = events.try_next().await.map_err(failed)? {
        if let WatchEvent::Added(found) | WatchEvent::Modified(found) = event
            && found.metadata.name.as_deref() == Some(service)
            && let Some(address) = shown(&found).first()
        {
            return Ok(*address);
        }
    }
    let (what, seconds) = (format!("an address for {service}"), u64::from(PATIENCE));
    Err(LabError::Late { what, seconds, state: scene.state() })
}

fn failed(error: kube::Error) -> LabError {
    LabError::program("watching Services", error)
}
