//! From an earlier version of FerroLB to this one and back, under traffic, by the very commands of docs/upgrade.md.

#[path = "support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ferrolb_tests::chaos::Balancer;
use ferrolb_tests::judge::{Judge, Record, Sweep, Verdict};
use ferrolb_tests::lab::network::Network;
use ferrolb_tests::lab::progress::Progress;
use ferrolb_tests::lab::{Lab, LabError, process, programs, up};
use ferrolb_tests::plane::project;
use ferrolb_tests::previous::Previous;
use ferrolb_tests::scene::{self, SYSTEM, Scene};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::json;

use support::cluster::Cluster;
use support::guide::{commands, put_program};
use support::shop::{State, shop};
use support::traffic::Traffic;
use support::{block_on, left_out, on_wire};

const LAB: &str = "upgrade";

/// How long a new Service may take to be answered, in seconds.
const PATIENCE: u64 = 60;

/// Each address is asked for once in this time, by frames.
const ROUND: Duration = Duration::from_millis(100);

/// So many of the longest silences are shown.
const SHOWN: usize = 3;

/// The image of the earlier version in the nodes; that of the present one has another tag.
const PREVIOUS: &str = "docker.io/library/ferrolb:previous";

#[test]
#[ignore = "builds an earlier version; in make test-full"]
fn from_an_earlier_version_and_back_no_address_moves() {
    if !nix::unistd::geteuid().is_root() {
        left_out("the lab needs root");
        return;
    }
    let outcome = block_on(async {
        let progress = Progress::default();
        // Before the lab is up: it takes minutes.
        let previous = Previous::chosen()?;
        let images = [previous.image(PREVIOUS, &progress)?, programs::ferrolb_image(&progress)?];
        let cluster = Cluster::up(LAB, &["--proxy", "nftables"])?;
        for image in &images {
            up::load_image(&cluster.lab, image).await?;
        }
        let told = there_and_back(&cluster.lab, &previous, &progress).await;
        told.map_err(|error| {
            let state = ["-n", SYSTEM, "get", "all,configurationstates", "-o", "wide"];
            let state = process::run(cluster.lab.kubectl().args(state)).unwrap_or_default();
            LabError::State(format!("{error}\n{state}"))
        })
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

async fn there_and_back(lab: &Lab, previous: &Previous, progress: &Progress) -> Result<(), LabError> {
    let guide = Guide::new(lab, previous)?;
    guide.run("kubectl apply -f old/crds/ && kubectl apply -k old/config/default")?;
    Balancer::Ferrolb.ready(lab).await?;
    scene::heard(lab).await?;
    let scene = shop(Scene::in_lab(lab, "shop").await?).await?;
    let before = State::of(&scene).await?;
    let versions = versions(&scene).await?;
    progress.say(&format!("{} Services by {}: {before:?}", before.services(), previous.revision));
    runs(lab, ":previous", ":previous").await?;

    let steps = [
        ("### 1. ", ":previous", ":previous"),
        ("### 2. ", ":dev", ":previous"),
        ("### 3. ", ":dev", ":dev"),
        ("### Back 1. ", ":dev", ":previous"),
        ("### Back 2. ", ":previous", ":previous"),
        ("### Back 3. ", ":previous", ":previous"),
    ];
    for (way, steps) in [("there", &steps[..3]), ("back", &steps[3..])] {
        let watch = Watch::begin(lab, &before)?;
        for (step, controller, speakers) in steps {
            guide.run(&commands(&guide.text, step))?;
            Balancer::Ferrolb.ready(lab).await?;
            runs(lab, controller, speakers).await?;
            State::stays(&before, &scene, step).await?;
            let [reset, of] = watch.traffic.reset();
            progress.say(&format!(
                "{}all addresses and owners are the same; of {of} connections {reset} have been reset",
                step.trim_start_matches("### ")
            ));
        }
        watch.end(&before, way, progress)?;
        let now = self::versions(&scene).await?;
        if now != versions {
            return Err(LabError::State(format!("{way}, Services were written: {versions:?}, now {now:?}")));
        }
        gives_addresses(&scene, way).await?;
    }
    Ok(())
}

/// The version of each Service: whoever understands what is written there writes nothing.
async fn versions(scene: &Scene) -> Result<BTreeMap<String, Option<String>>, LabError> {
    let list = scene.services().list(&ListParams::default()).await;
    let list = list.map_err(api_error)?.items;
    Ok(list.into_iter().map(|service| (service.name_any(), service.resource_version())).collect())
}

/// The pods of controller and speakers have images with these tags.
async fn runs(lab: &Lab, controller: &str, speakers: &str) -> Result<(), LabError> {
    let pods: Api<Pod> = Api::namespaced(lab.client().await?, SYSTEM);
    for (component, tag) in [("controller", controller), ("speaker", speakers)] {
        let select = ListParams::default().labels(&format!("app.kubernetes.io/component={component}"));
        let found = pods.list(&select).await.map_err(api_error)?.items;
        // One that ends may be there for a moment after its successor is.
        let staying = found.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let images: BTreeSet<String> = staying
            .flat_map(|pod| pod.spec.into_iter().flat_map(|spec| spec.containers))
            .filter_map(|container| container.image)
            .collect();
        if images.len() != 1 || !images.iter().all(|image| image.ends_with(tag)) {
            return Err(LabError::State(format!("the {component} runs {images:?}, not {tag}")));
        }
    }
    Ok(())
}

fn api_error(error: kube::Error) -> LabError {
    LabError::State(error.to_string())
}

/// A new Service gets an address, by whoever is there now.
async fn gives_addresses(scene: &Scene, way: &str) -> Result<(), LabError> {
    let name = format!("new-{way}");
    scene.service(&name).family("IPv4").with("selector", json!({"app": "shop"})).create().await?;
    let address = scene.address(&name).await?;
    scene.client_host()?.ask_until((address, 80).into(), PATIENCE).map_err(LabError::at(&name))?;
    scene.delete_service(&name).await
}

/// Eyes on all addresses: connections, questions by frames, and the judge at the switch.
struct Watch {
    traffic: Traffic,
    sweep: Sweep,
    judge: Judge,
}

impl Watch {
    fn begin(lab: &Lab, state: &State) -> Result<Self, LabError> {
        let traffic = Traffic::begin(lab, state)?;
        let judge = Judge::watch(lab)?;
        let sweep = on_wire(Sweep::start(&lab.host("client2")?, Network::Lan, &addresses(state), ROUND))?;
        Ok(Watch { traffic, sweep, judge })
    }

    /// Nothing was reset, nothing new failed, and of each address there was one MAC.
    fn end(self, state: &State, way: &str, progress: &Progress) -> Result<(), LabError> {
        on_wire(self.sweep.stop())?;
        let record = on_wire(self.judge.stop())?;
        let [reset, of] = self.traffic.reset();
        let begun = self.traffic.end(progress)?;
        let verdicts = one_mac_each(&record, &addresses(state))?;
        let (asked, unanswered) =
            verdicts.iter().map(Verdict::counts).fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        progress.say(&format!(
            "{way}: {begun} connections begun, none failed; of {of} held {reset} were reset; one MAC for each of {} addresses; \
             of {asked} questions {unanswered} were not answered",
            verdicts.len()
        ));
        for verdict in &verdicts[..SHOWN.min(verdicts.len())] {
            progress.say(&format!(
                "  {}: the longest silence {:.0?}, {:.1} s after the beginning",
                verdict.address,
                verdict.longest_silence,
                verdict.silent_at.as_secs_f64()
            ));
        }
        if reset > 0 {
            return Err(LabError::State(format!("{way}, {reset} of {of} connections were reset")));
        }
        Ok(())
    }
}

fn addresses(state: &State) -> Vec<IpAddr> {
    let all: BTreeSet<IpAddr> = state.sockets().map(|(_, socket)| socket.ip()).collect();
    all.into_iter().collect()
}

/// The verdicts on each address, the longest silence first; fails where more than one MAC answered for an address, or none.
fn one_mac_each(record: &Record, addresses: &[IpAddr]) -> Result<Vec<Verdict>, LabError> {
    let mut verdicts = Vec::new();
    for address in addresses {
        let verdict = record.verdict(*address, Network::Lan);
        let macs: BTreeSet<_> = verdict.owners().into_iter().map(|owner| owner.mac).collect();
        if macs.len() != 1 {
            return Err(LabError::State(format!("{address} had {macs:?}\n{verdict}")));
        }
        verdicts.push(verdict);
    }
    verdicts.sort_by_key(|verdict| std::cmp::Reverse(verdict.longest_silence));
    Ok(verdicts)
}

/// docs/upgrade.md, and where its commands run: the manifests of both versions lie there as `old` and `new`.
struct Guide {
    text: String,
    folder: tempfile::TempDir,
}

impl Guide {
    fn new(lab: &Lab, previous: &Previous) -> Result<Self, LabError> {
        let file = project("docs/upgrade.md");
        let text = std::fs::read_to_string(&file).map_err(LabError::at(&file))?;
        let folder = tempfile::tempdir().map_err(LabError::at("a folder"))?;
        put_program(&lab.kubectl(), &folder.path().join("kubectl"))?;
        for (name, source) in [("old", previous.source.as_path()), ("new", &project("."))] {
            let to = folder.path().join(name);
            std::fs::create_dir(&to).map_err(LabError::at(&to))?;
            for part in ["crds", "config"] {
                process::run(Command::new("cp").arg("-r").arg(source.join(part)).arg(to.join(part)))?;
            }
        }
        tag(&folder.path().join("old/config/default/kustomization.yaml"), "previous")?;
        Ok(Guide { text, folder })
    }

    fn run(&self, commands: &str) -> Result<String, LabError> {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", commands]).current_dir(self.folder.path());
        shell.env("PATH", format!("{}:{path}", self.folder.path().display()));
        process::run(&mut shell)
    }
}

/// Writes the image's tag into a kustomization that has that of development.
fn tag(file: &Path, tag: &str) -> Result<(), LabError> {
    let text = std::fs::read_to_string(file).map_err(LabError::at(file))?;
    let tagged = text.replace("newTag: dev", &format!("newTag: {tag}"));
    if tagged == text {
        return Err(LabError::State(format!("{} names no image with the tag dev", file.display())));
    }
    std::fs::write(file, tagged).map_err(LabError::at(file))
}
