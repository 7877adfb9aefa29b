//! Coming from MetalLB and going back under traffic, by the very commands of docs/migrate.md: from MetalLB's manifest, and from its
//! Helm chart in a namespace of another name.

#[path = "../support/mod.rs"]
mod support;

mod guide;

use ferrolb_tests::chaos::Balancer;
use ferrolb_tests::lab::progress::{Progress, wait};
use ferrolb_tests::lab::{Lab, LabError, helm, metallb, process, programs, up};
use ferrolb_tests::scene::{SYSTEM, Scene};
use serde_json::json;

use guide::Guide;
use support::cluster::Cluster;
use support::shop::{State, shop};
use support::traffic::Traffic;
use support::{block_on, left_out};

/// How long anything may take, in seconds.
const PATIENCE: u64 = 120;

/// The release of MetalLB's chart, and its namespace: those in the commands of docs/migrate.md.
const RELEASE: [&str; 2] = ["metallb", "lb"];

/// How MetalLB was installed, and FerroLB is to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Both by their manifests.
    Manifests,
    /// MetalLB by its chart, FerroLB by an overlay.
    FromChart,
    /// Both by their charts.
    Charts,
}

impl Way {
    fn lab(self) -> &'static str {
        match self {
            Way::Manifests => "mgplain",
            Way::FromChart => "mghelm",
            Way::Charts => "mgcharts",
        }
    }

    fn namespace(self) -> &'static str {
        if self == Way::Manifests { SYSTEM } else { RELEASE[1] }
    }

    /// The headings of the steps there, as they begin. Steps 1, 2 and 7 are the same in all ways.
    fn there(self) -> Vec<String> {
        let there = (1..=7).map(|n| match (self, n) {
            (Way::Charts, 4) => "### Helm 4, by our chart".to_owned(),
            (Way::FromChart | Way::Charts, 3..=6) => format!("### Helm {n}. "),
            _ => format!("### {n}. "),
        });
        there.collect()
    }

    /// The headings of the steps back.
    fn back(self) -> Vec<String> {
        let steps = |begin: &str, last: u8| (1..=last).map(|n| format!("{begin} {n}. ")).collect();
        match self {
            Way::Manifests => steps("### Back", 4),
            Way::FromChart => steps("### Helm back", 4),
            Way::Charts => {
                let mut steps: Vec<String> = steps("### Helm back", 2);
                steps.push("### Helm back 3 and 4, by our chart".to_owned());
                steps
            }
        }
    }
}

#[test]
#[ignore = "builds MetalLB; in make test-full"]
fn from_metallb_and_back_no_address_moves() {
    migrates(Way::Manifests);
}

#[test]
#[ignore = "builds MetalLB and Helm; in make test-full"]
fn from_a_helm_release_in_another_namespace_and_back_no_address_moves() {
    migrates(Way::FromChart);
}

#[test]
#[ignore = "builds MetalLB and Helm; in make test-full"]
fn from_a_helm_release_to_our_own_and_back_no_address_moves() {
    migrates(Way::Charts);
}

fn migrates(way: Way) {
    if !nix::unistd::geteuid().is_root() {
        left_out("the lab needs root");
        return;
    }
    let name = way.lab();
    let outcome = block_on(async {
        let cluster = Cluster::up(name, &["--proxy", "nftables"])?;
        let told = there_and_back(&cluster.lab, way).await;
        told.map_err(|error| {
            let state = ["-n", way.namespace(), "get", "all,configurationstates", "-o", "wide"];
            let state = process::run(cluster.lab.kubectl().args(state)).unwrap_or_default();
            LabError::State(format!("{error}\n{state}"))
        })
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

async fn there_and_back(lab: &Lab, way: Way) -> Result<(), LabError> {
    let progress = Progress::default();
    let by_helm = way != Way::Manifests;
    if by_helm {
        metallb::install_chart(lab, RELEASE[0], RELEASE[1], &progress).await?;
    } else {
        Balancer::Metallb.install(lab, &[], &progress).await?;
    }
    up::load_image(lab, &programs::ferrolb_image(&progress)?).await?;
    let scene = shop(Scene::in_lab(lab, "shop").await?.with_pools_in(way.namespace())).await?;
    let guide = Guide::new(lab, by_helm)?;
    let before = State::of(&scene).await?;
    progress.say(&format!("{} Services have addresses by MetalLB: {before:?}", before.services()));
    let traffic = Traffic::begin(lab, &before)?;

    guide.follow("## What there is in your cluster")?;
    // The plan has an overlay, and names our chart beside it.
    let planned = if by_helm { Way::FromChart } else { way };
    guide.is_the_plan(&planned.there()[..6])?;
    guide.follow("## What stays and what does not")?;
    if by_helm {
        guide.follow("### Helm 0. ")?;
    }
    let mut may_reset = false;
    for (steps, balancer) in [(way.there(), Balancer::Ferrolb), (way.back(), Balancer::Metallb)] {
        for step in steps {
            guide.follow(&step)?;
            State::stays(&before, &scene, &step).await?;
            // Speakers write a moment later what they announce.
            wait("kubectl ferrolb migrate compare to find nothing", PATIENCE, async || guide.compares())
                .await?;
            let [reset, of] = traffic.reset();
            progress.say(&format!(
                "{}: all addresses and owners are the same; of {of} connections {reset} have been reset",
                step.trim_start_matches("### ").trim_end_matches(". ")
            ));
            // Of MetalLB's speakers one that ends later than another may take its addresses until then, and each that begins takes
            // itself for the only one. The first costs no connection while the nodes have processor time left.
            may_reset |= step.ends_with(" 5. ") && busy();
            let bound = if may_reset { of / 4 } else { 0 };
            if balancer == Balancer::Ferrolb && reset > bound {
                return Err(LabError::State(format!(
                    "of {of} connections {reset} were reset until {step:?}"
                )));
            }
        }
        alone(lab, balancer).await?;
        gives_addresses(&scene, balancer).await?;
        if by_helm && balancer == Balancer::Ferrolb {
            helm_has_forgotten(lab)?;
        }
    }
    traffic.end(&progress)?;
    if by_helm { helm_takes_the_pools(lab).await } else { Ok(()) }
}

/// Whether this machine has had more work of late than four times what it can do.
fn busy() -> bool {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
    load > 4.0 * cores
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
