//! `lab figures`: what FerroLB costs and how fast it is, measured in a lab in which it is installed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ferrolb_tests::lab::progress::Progress;
use ferrolb_tests::lab::{Lab, LabError, cgroup, process, programs};
use ferrolb_tests::release::PROGRAMS;
use ferrolb_tests::scene::{Scene, shown};
use futures::TryStreamExt;
use kube::api::{WatchEvent, WatchParams};

/// So many Services are created, one after the other.
const SERVICES: usize = 100;

/// Prints the figures.
pub(crate) async fn figures(lab: &Lab) -> Result<(), LabError> {
    println!("resident memory, idle:");
    print_memory(lab);
    println!("sizes:");
    let folder = programs::ferrolb_programs(&Progress::default())?;
    for name in PROGRAMS {
        print_size(name, &folder.join(name));
    }
    print_size("image", &programs::target().join("image/ferrolb.tar"));

    let scene = Scene::in_lab(lab, "figures").await?;
    scene.pool("10.10.0.128/25").await?;
    let mut times = create_one_by_one(&scene).await?;
    times.sort();
    println!(
        "create to EXTERNAL-IP, {SERVICES} Services one by one: p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        milliseconds(times[times.len() / 2]),
        milliseconds(times[times.len() * 99 / 100 - 1]),
        milliseconds(times[times.len() - 1])
    );
    println!("resident memory with {SERVICES} Services:");
    print_memory(lab);
    scene.end().await
}

/// Creates the Services and returns, for each, the time until a watch shows its address.
async fn create_one_by_one(scene: &Scene) -> Result<Vec<Duration>, LabError> {
    let failed = |error: kube::Error| LabError::Program {
        program: "watching Services".into(),
        why: error.to_string(),
    };
    let services = scene.services();
    let version =
        services.list(&kube::api::ListParams::default()).await.map_err(failed)?.metadata.resource_version;
    let params = WatchParams::default().timeout(280);
    let mut events =
        std::pin::pin!(services.watch(&params, &version.unwrap_or_default()).await.map_err(failed)?);
    let mut times = Vec::new();
    for number in 0..SERVICES {
        let name = format!("web{number}");
        let started = Instant::now();
        scene.service(&name).create().await?;
        loop {
            let Some(event) = events.try_next().await.map_err(failed)? else {
                return Err(LabError::Late {
                    what: format!("an address for {name}"),
                    seconds: 280,
                    state: String::new(),
                });
            };
            if let WatchEvent::Added(service) | WatchEvent::Modified(service) = event
                && service.metadata.name.as_ref() == Some(&name)
                && !shown(&service).is_empty()
            {
                times.push(started.elapsed());
                break;
            }
        }
    }
    Ok(times)
}

/// The resident memory of each of our processes, by kind.
fn print_memory(lab: &Lab) {
    let mut found: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for pid in cgroup::of(&lab.paths).iter().flat_map(|folder| cgroup::processes(folder)) {
        let line = process::command_line(pid);
        for name in ["ferrolb-controller", "ferrolb-speaker"] {
            if line.starts_with(&format!("/{name}")) {
                found.entry(name).or_default().push(resident(pid));
            }
        }
    }
    for (name, mut sizes) in found {
        sizes.sort_unstable();
        // Each hierarchy of cgroups lists the same processes.
        sizes.dedup();
        let list: Vec<String> = sizes.iter().map(|kib| format!("{:.1}", *kib as f64 / 1024.0)).collect();
        println!("  {name}: {} MiB", list.join(", "));
    }
}

/// The resident memory of a process in KiB (`VmRSS`).
fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

fn print_size(name: &str, file: &std::path::Path) {
    let size = std::fs::metadata(file).map(|file| file.len()).unwrap_or_default();
    println!("  {name}: {:.1} MB", size as f64 / 1e6);
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
