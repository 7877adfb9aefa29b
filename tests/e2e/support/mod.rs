//! What the end-to-end tests share.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod cluster;
pub(crate) mod guide;
pub(crate) mod shop;
pub(crate) mod traffic;

use std::net::Ipv4Addr;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use ferrolb_tests::lab::progress::wait;
use ferrolb_tests::lab::{Lab, LabError, process};
use ferrolb_tests::scene::Scene;
use futures::FutureExt;

/// Names the lab in which the tests of the cluster run.
const LAB: &str = "FERROLB_E2E_LAB";

/// If it is set, the scene of a failed test is left in the cluster, to be looked at.
const KEEP: &str = "FERROLB_KEEP";

/// Runs `test` in a scene of this name, in the lab that `make e2e` has prepared.
///
/// Without one it says so in a loud line, and with `CI=true` it fails.
pub(crate) fn in_cluster(name: &str, test: impl AsyncFnOnce(Scene) -> Result<(), LabError>) {
    let Ok(lab) = std::env::var(LAB) else {
        left_out(&format!("{LAB} names no lab; make e2e prepares one"));
        return;
    };
    let outcome = block_on(async {
        let lab = Lab::attach(&lab)?;
        let scene = Scene::in_lab(&lab, name).await?;
        let tested = AssertUnwindSafe(test(scene.clone())).catch_unwind().await;
        if !matches!(tested, Ok(Ok(()))) {
            eprintln!("{}", scene.state());
            if std::env::var_os(KEEP).is_some() {
                eprintln!("{KEEP} is set: the scene {name} is left as it is; the next of its name clears it");
                return Ok(tested);
            }
        }
        // Also after a failure: what is left would be in the way of the next tests.
        let ended = scene.end().await;
        Ok(tested.map(|tested| tested.and(ended)))
    });
    match outcome {
        Ok(Ok(Ok(()))) => {}
        Err(error) | Ok(Ok(Err(error))) => panic!("{error}"),
        Ok(Err(failed)) => resume_unwind(failed),
    }
}

/// Says loudly that a test was not run; fails where nothing may be left out.
pub(crate) fn left_out(why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "with CI=true nothing is left out: {why}");
    eprintln!("##### NOT RUN: {why} #####");
}

/// Runs a future to its end.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

/// The error of something done on a host, as one of the lab.
pub(crate) fn on_wire<T>(result: std::io::Result<T>) -> Result<T, LabError> {
    result.map_err(|error| LabError::Program { program: "on the wire".into(), why: error.to_string() })
}

/// The node that answers ARP for `address`, once exactly one does.
pub(crate) async fn answering(scene: &Scene, address: Ipv4Addr) -> Result<String, LabError> {
    let (client, nodes) = (scene.client_host()?, scene.nodes_by_mac()?);
    wait(&format!("one node to answer ARP for {address}"), 30, async || {
        let macs = client.who_has(address, Duration::from_millis(100)).map_err(|error| error.to_string())?;
        let names: Vec<_> =
            macs.iter().map(|mac| nodes.get(mac).cloned().unwrap_or_else(|| mac.to_string())).collect();
        match names.as_slice() {
            [one] => Ok(one.clone()),
            others => Err(format!("{others:?} answer")),
        }
    })
    .await
}

/// Runs the `lab` program for `lab`.
pub(crate) fn lab(lab: &Lab, arguments: &[&str]) -> Result<String, LabError> {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lab"));
    process::run(command.args(["--name", &lab.config.name]).args(arguments))
}
