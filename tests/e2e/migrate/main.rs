//! Coming from MetalLB and going back under traffic, by the very commands of docs/migrate.md: from MetalLB's manifest, and from its
//! Helm chart in a namespace of another name.

#[path = "../support/mod.rs"]
mod support;

mod guide;
mod shop;
mod traffic;

use std::process::Command;

use ferrolb_tests::chaos::Balancer;
use ferrolb_tests::lab::progress::{Progress, wait};
use ferrolb_tests::lab::{Lab, LabError, Paths, down, helm, metallb, process, programs, up};
use ferrolb_tests::scene::{SYSTEM, Scene};
use serde_json::json;

use guide::Guide;
use shop::{State, shop};
use support::{block_on, left_out};
use traffic::Traffic;

/// How long anything may take, in seconds.
const PATIENCE: u64 = 120;

/// The release of MetalLB's chart, and its namespace: those in the commands of docs/migrate.md.
const RELEASE: [&str; 2] = ["metallb", "lb"];

/// How MetalLB was installed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Manifest,
    Helm,
}

impl From {
    fn lab(self) -> &'static str {
        if self == From::Helm { "mghelm" } else { "mgplain" }
    }

    fn namespace(self) -> &'static str {
        if self == From::Helm { RELEASE[1] } else { SYSTEM }
    }

    /// The headings of the steps there and of those back, as they begin. Steps 1, 2 and 7 are the same in both ways.
    fn steps(self) -> [Vec<String>; 2] {
        let helm = self == From::Helm;
        let there = (1..=7).map(|n| match n {
            3..=6 if helm => format!("### Helm {n}. "),
            _ => format!("### {n}. "),
        });
        let back = if helm { "### Helm back" } else { "### Back" };
        [there.collect(), (1..=4).map(|n| format!("{back} {n}. ")).collect()]
    }
}

/// A cluster that is taken down at the end, also of a failure.
struct Cluster(Lab);

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = down::down(&self.0.paths);
    }
}

#[test]
#[ignore = "builds MetalLB; in make test-full"]
fn from_metallb_and_back_no_address_moves() {
    migrates(From::Manifest);
}

#[test]
#[ignore = "builds MetalLB and Helm; in make test-full"]
fn from_a_helm_release_in_another_namespace_and_back_no_address_moves() {
    migrates(From::Helm);
}

fn migrates(from: From) {
    if !nix::unistd::geteuid().is_root() {
        left_out("the lab needs root");
        return;
    }
    let name = from.lab();
    let outcome = block_on(async {
        down::down(&Paths::of(name))?;
        process::run(
            Command::new(env!("CARGO_BIN_EXE_lab")).args(["--name", name, "up", "--proxy", "nftables"]),
        )?;
        let cluster = Cluster(Lab::attach(name)?);
        let told = there_and_back(&cluster.0, from).await;
        told.map_err(|error| {
            let state = ["-n", from.namespace(), "get", "all,configurationstates", "-o", "wide"];
            let state = process::run(cluster.0.kubectl().args(state)).unwrap_or_default();
            LabError::State(format!("{error}\n{state}"))
        })
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

async fn there_and_back(lab: &Lab, from: From) -> Result<(), LabError> {
    let progress = Progress::default();
    match from {
        From::Manifest => Balancer::Metallb.install(lab, &[], &progress).await?,
        From::Helm => metallb::install_chart(lab, RELEASE[0], RELEASE[1], &progress).await?,
    }
    up::load_image(lab, &programs::ferrolb_image(&progress)?).await?;
    let scene = shop(Scene::in_lab(lab, "shop").await?.with_pools_in(from.namespace())).await?;
    let guide = Guide::new(lab, from == From::Helm)?;
    let before = State::of(&scene).await?;
    progress.say(&format!("{} Services have addresses by MetalLB: {before:?}", before.services()));
    let traffic = Traffic::begin(lab, &before)?;

    let [there, back] = from.steps();
    guide.follow("## What there is in your cluster")?;
    guide.is_the_plan(&there[..6])?;
    guide.follow("## What stays and what does not")?;
    if from == From::Helm {
        guide.follow("### Helm 0. ")?;
    }
    for (way, balancer) in [(&there, Balancer::Ferrolb), (&back, Balancer::Metallb)] {
        for step in way {
            guide.follow(step)?;
            State::stays(&before, &scene, step).await?;
            // Speakers write a moment later what they announce.
            wait("kubectl ferrolb migrate compare to find nothing", PATIENCE, async || guide.compares())
                .await?;
            let [reset, of] = traffic.reset();
            progress.say(&format!(
                "{}all addresses and owners are the same; of {of} connections {reset} have been reset",
                step.trim_start_matches("### ")
            ));
        }
        alone(lab, balancer).await?;
        // Each of MetalLB's speakers that begins takes itself for the only one at first, so on the way back an address may have
        // had another owner for a moment.
        let [reset, of] = traffic.reset();
        if balancer == Balancer::Ferrolb && reset > 0 {
            return Err(LabError::State(format!("of {of} connections {reset} were reset on the way there")));
        }
        gives_addresses(&scene, balancer).await?;
        if (from, balancer) == (From::Helm, Balancer::Ferrolb) {
            helm_has_forgotten(lab)?;
        }
    }
    traffic.end(&progress)?;
    if from == From::Helm { helm_takes_the_pools(lab).await } else { Ok(()) }
}

/// One speaker of `balancer` runs on each node, and none of the other.
async fn alone(lab: &Lab, balancer: Balancer) -> Result<(), LabError> {
    let other = if balancer == Balancer::Ferrolb { Balancer::Metallb } else { Balancer::Ferrolb };
    other.gone(lab).await?;
    for node in lab.config.node_names() {
        balancer.speaker(lab, &node)?;
    }
    Ok(())
}

/// A new Service gets an address, by whoever is there now.
async fn gives_addresses(scene: &Scene, balancer: Balancer) -> Result<(), LabError> {
    let name = format!("new-by-{}", balancer.name().to_lowercase());
    scene.service(&name).family("IPv4").with("selector", json!({"app": "shop"})).create().await?;
    let address = scene.address(&name).await?;
    scene.client_host()?.ask_until((address, 80).into(), PATIENCE).map_err(LabError::at(&name))?;
    scene.delete_service(&name).await
}

/// Runs helm in the namespace of the release.
fn run_helm(lab: &Lab, arguments: &[&str]) -> Result<String, LabError> {
    process::run(helm::helm(lab, &Progress::default())?.args(["--namespace", RELEASE[1]]).args(arguments))
}

/// Nobody can uninstall MetalLB any more, and take the definitions with it.
fn helm_has_forgotten(lab: &Lab) -> Result<(), LabError> {
    match run_helm(lab, &["uninstall", RELEASE[0]]) {
        Err(error) if error.to_string().contains("not found") => Ok(()),
        other => Err(LabError::State(format!("helm uninstall: {other:?}"))),
    }
}

/// What docs/migrate.md warns of: the end of MetalLB's own release takes the definitions and with them the pools, though each
/// definition in the cluster bears the word that is to keep it.
async fn helm_takes_the_pools(lab: &Lab) -> Result<(), LabError> {
    const DEFINITION: &str = "crd/ipaddresspools.metallb.io";
    let kubectl = |arguments: &[&str]| process::run(lab.kubectl().args(arguments));
    let pools = kubectl(&["get", "ipaddresspools", "-A", "-o", "name"])?;
    if pools.lines().count() != 2 {
        return Err(LabError::State(format!("the pools after the way back: {pools:?}")));
    }
    kubectl(&["annotate", "--overwrite", DEFINITION, "helm.sh/resource-policy=keep"])?;
    run_helm(lab, &["uninstall", RELEASE[0]])?;
    wait("the definition of pools to go with the release", PATIENCE, async || {
        match kubectl(&["get", DEFINITION, "--ignore-not-found", "-o", "name"]) {
            Ok(left) if left.is_empty() => Ok(()),
            Ok(left) => Err(format!("{left} is there: then docs/migrate.md warns of nothing")),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
}
