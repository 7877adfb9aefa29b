//! Coming from MetalLB and going back under traffic, by the very commands of docs/migrate.md.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use ferrolb_tests::chaos::Balancer;
use ferrolb_tests::host::Host;
use ferrolb_tests::judge::{Clock, Connector, Held};
use ferrolb_tests::lab::progress::{Progress, wait};
use ferrolb_tests::lab::{Lab, LabError, Paths, down, metallb, process, programs, up};
use ferrolb_tests::plane::project;
use ferrolb_tests::scene::{Scene, shown};
use serde_json::{Value, json};

use support::{block_on, left_out};

const LAB: &str = "testm";

/// How long anything may take, in seconds.
const PATIENCE: u64 = 120;

/// How often a connection to each address is begun.
const EVERY: Duration = Duration::from_millis(100);

/// So many connections to each address are held.
const HELD: usize = 2;

/// A second listener's port, of the Service that shares an address.
const SECOND: u16 = 81;

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
    if !nix::unistd::geteuid().is_root() {
        left_out("the lab needs root");
        return;
    }
    let outcome = block_on(async {
        down::down(&Paths::of(LAB))?;
        process::run(
            Command::new(env!("CARGO_BIN_EXE_lab")).args(["--name", LAB, "up", "--proxy", "nftables"]),
        )?;
        let cluster = Cluster(Lab::attach(LAB)?);
        let told = there_and_back(&cluster.0).await;
        told.map_err(|error| {
            let state = ["-n", "metallb-system", "get", "all,configurationstates", "-o", "wide"];
            let state = process::run(cluster.0.kubectl().args(state)).unwrap_or_default();
            LabError::State(format!("{error}\n{state}"))
        })
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

async fn there_and_back(lab: &Lab) -> Result<(), LabError> {
    let progress = Progress::default();
    Balancer::Metallb.install(lab, &[], &progress).await?;
    up::load_image(lab, &programs::ferrolb_image(&progress)?).await?;
    let scene = shop(lab).await?;
    let guide = Guide::new(lab)?;
    let before = State::of(&scene).await?;
    progress.say(&format!("{} addresses by MetalLB: {before:?}", before.0.len()));
    let traffic = Traffic::begin(lab, &before)?;

    let there = ["1.", "2.", "3.", "4.", "5.", "6.", "7."].map(|step| format!("### {step} "));
    let back = ["1.", "2.", "3.", "4."].map(|step| format!("### Back {step} "));
    guide.follow("## What there is in your cluster")?;
    guide.is_the_plan(&there[..6])?;
    guide.follow("## What stays and what does not")?;
    for (way, balancer) in [(&there[..], Balancer::Ferrolb), (&back[..], Balancer::Metallb)] {
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
        balancer.ready(lab).await?;
        // Each of MetalLB's speakers that begins takes itself for the only one at first, so on the way back an address may have
        // had another owner for a moment.
        let [reset, of] = traffic.reset();
        if balancer == Balancer::Ferrolb && reset > 0 {
            return Err(LabError::State(format!("of {of} connections {reset} were reset on the way there")));
        }
        gives_addresses(&scene, balancer).await?;
    }
    traffic.end(&progress)
}

/// A new Service gets an address, by whoever is there now.
async fn gives_addresses(scene: &Scene, balancer: Balancer) -> Result<(), LabError> {
    let name = format!("new-by-{}", balancer.name().to_lowercase());
    scene.service(&name).family("IPv4").with("selector", json!({"app": "shop"})).create().await?;
    let address = scene.address(&name).await?;
    scene.client_host()?.ask_until((address, 80).into(), PATIENCE).map_err(LabError::at(&name))?;
    scene.delete_service(&name).await
}

/// A Service by name, what it has beside the usual, and an annotation.
type Planned = (String, Value, Option<(&'static str, &'static str)>);

/// Twenty Services of all kinds.
async fn shop(lab: &Lab) -> Result<Scene, LabError> {
    let scene = Scene::in_lab(lab, "shop").await?;
    scene.echo("shop").replicas(3).create().await?;
    let pools = [
        ("IPAddressPool", "shop", json!({"addresses": ["10.10.0.200-10.10.0.239", "fd10::1000-fd10::103f"]})),
        ("IPAddressPool", "second", json!({"addresses": ["10.10.0.240/29"], "autoAssign": false})),
        ("L2Advertisement", "shop", json!({"ipAddressPools": ["shop"]})),
        (
            "L2Advertisement",
            "second",
            json!({"ipAddressPools": ["second"], "nodeSelectors": [{"matchLabels": {"kubernetes.io/hostname": "node3"}}]}),
        ),
    ];
    for (kind, name, spec) in &pools {
        // MetalLB's webhook refuses all until it has its certificate.
        wait(&format!("{kind} {name}"), PATIENCE, async || {
            scene.create(kind, name, spec).await.map_err(|error| error.to_string())
        })
        .await?;
    }
    let plain = |family: &'static str, count: usize| {
        (1..=count)
            .map(move |n| (format!("{}-{n}", family.to_lowercase()), json!({"ipFamilies": [family]}), None))
    };
    let mut services: Vec<Planned> = Vec::new();
    services.extend(plain("IPv4", 8).chain(plain("IPv6", 4)));
    let dual = json!({"ipFamilyPolicy": "RequireDualStack"});
    services.extend((1..=3).map(|n| (format!("dual-{n}"), dual.clone(), None)));
    let local = json!({"externalTrafficPolicy": "Local"});
    services.extend((1..=2).map(|n| (format!("local-{n}"), local.clone(), None)));
    let shared = Some(("metallb.universe.tf/allow-shared-ip", "till"));
    let port = json!({"ports": [{"name": "http", "port": SECOND, "targetPort": 8080}]});
    services.extend([("till-a".to_owned(), json!({}), shared), ("till-b".to_owned(), port, shared)]);
    services.push(("second".to_owned(), json!({}), Some(("metallb.io/address-pool", "second"))));
    assert_eq!(services.len(), 20);
    for (name, fields, annotation) in services {
        let mut service = scene.service(&name).with("selector", json!({"app": "shop"}));
        for (field, value) in fields.as_object().into_iter().flatten() {
            service = service.with(field, value.clone());
        }
        if let Some((key, value)) = annotation {
            service = service.annotated(key, value);
        }
        service.create().await?;
        scene.address(&name).await?;
    }
    Ok(scene)
}

/// Which Service has which addresses, and with which MAC each is answered for.
#[derive(Clone, PartialEq, Eq)]
struct State(BTreeMap<String, (Vec<IpAddr>, Vec<String>)>);

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0
            .iter()
            .try_for_each(|(name, (addresses, nodes))| write!(f, "{name} {addresses:?} at {nodes:?}; "))
    }
}

impl State {
    async fn of(scene: &Scene) -> Result<Self, LabError> {
        wait("one node to answer for each address", PATIENCE, async || State::now(scene).await).await
    }

    async fn now(scene: &Scene) -> Result<Self, String> {
        let text = |error: LabError| error.to_string();
        let (client, nodes) = (scene.client_host().map_err(text)?, scene.nodes_by_mac().map_err(text)?);
        let list = scene.services().list(&kube::api::ListParams::default()).await;
        let mut state = BTreeMap::new();
        for service in list.map_err(|error| error.to_string())?.items {
            let name = service.metadata.name.clone().unwrap_or_default();
            let (addresses, mut owners) = (shown(&service), Vec::new());
            for address in &addresses {
                let macs = client.who_has(*address, Duration::from_millis(60));
                let macs = macs.map_err(|error| error.to_string())?;
                let names: Vec<_> =
                    macs.iter().map(|mac| nodes.get(mac).cloned().unwrap_or_default()).collect();
                match <[String; 1]>::try_from(names) {
                    Ok([one]) => owners.push(one),
                    Err(others) => return Err(format!("{others:?} answer for {address} of {name}")),
                }
            }
            state.insert(name, (addresses, owners));
        }
        Ok(State(state))
    }

    /// Nothing is different from before.
    async fn stays(before: &State, scene: &Scene, when: &str) -> Result<(), LabError> {
        let now = State::of(scene).await?;
        if now == *before {
            return Ok(());
        }
        Err(LabError::State(format!("after {when:?}\nbefore: {before:?}\nnow: {now:?}")))
    }
}

/// Connections to all addresses, held and new.
struct Traffic {
    streams: Vec<(SocketAddr, Connector, Held)>,
}

impl Traffic {
    fn begin(lab: &Lab, state: &State) -> Result<Self, LabError> {
        let (client, clock): (Host, Clock) = (lab.host("client1")?, Clock::since(SystemTime::now()));
        let mut streams = Vec::new();
        for (name, (addresses, _)) in &state.0 {
            let port = if name == "till-b" { SECOND } else { 80 };
            for address in addresses {
                let address = SocketAddr::new(*address, port);
                client.ask_until(address, PATIENCE).map_err(LabError::at(name))?;
                let held = Held::open(&client, address, HELD).map_err(LabError::at(name))?;
                streams.push((address, Connector::start(&client, address, EVERY, clock), held));
            }
        }
        Ok(Traffic { streams })
    }

    /// How many of the held connections were reset so far, and how many there are.
    fn reset(&self) -> [usize; 2] {
        let fates = self.streams.iter().map(|(_, _, held)| held.so_far());
        fates.fold([0, 0], |[reset, of], fates| [reset + fates.reset, of + fates.of])
    }

    fn end(self, progress: &Progress) -> Result<(), LabError> {
        let (mut begun, mut wrong) = (0, Vec::new());
        for (address, connector, held) in self.streams {
            let attempts = connector.stop().map_err(LabError::at("the connector"))?;
            let fates = held.stop().map_err(LabError::at("the held connections"))?;
            let gap = attempts.gap(Duration::ZERO);
            begun += gap.attempts;
            if gap.failed > 0 || fates.stalled > 0 {
                wrong.push(format!("{address}: {gap:?}, {fates:?}"));
            }
        }
        progress.say(&format!(
            "{begun} connections were begun there and back; some failed at {} addresses",
            wrong.len()
        ));
        if wrong.is_empty() { Ok(()) } else { Err(LabError::State(wrong.join("\n"))) }
    }
}

/// docs/migrate.md, and where its commands run.
struct Guide {
    text: String,
    folder: tempfile::TempDir,
    manifest: String,
}

impl Guide {
    fn new(lab: &Lab) -> Result<Self, LabError> {
        let file = project("docs/migrate.md");
        let text = std::fs::read_to_string(&file).map_err(LabError::at(&file))?;
        let folder = tempfile::tempdir().map_err(LabError::at("a folder"))?;
        let kubectl = lab.kubectl();
        let words: Vec<_> = [kubectl.get_program()].into_iter().chain(kubectl.get_args()).collect();
        let words: Vec<_> = words.iter().map(|word| format!("'{}'", word.to_string_lossy())).collect();
        let variables = kubectl.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let variables: String = variables
            .map(|(name, value)| format!("export {}='{}'\n", name.to_string_lossy(), value.to_string_lossy()))
            .collect();
        let at = folder.path();
        let script = format!("#!/bin/sh\n{variables}exec {} \"$@\"\n", words.join(" "));
        write_program(&at.join("kubectl"), &script).map_err(LabError::at("kubectl"))?;
        for name in ["crds", "config"] {
            symlink(project(name), at.join(name)).map_err(LabError::at(name))?;
        }
        process::run(
            Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
                .current_dir(project("."))
                .args(["build", "--quiet", "--locked", "--package", "ferrolb-plugin"]),
        )?;
        let plugin = "kubectl-ferrolb";
        symlink(programs::target().join("debug").join(plugin), at.join(plugin))
            .map_err(LabError::at(plugin))?;
        Ok(Guide { text, folder, manifest: metallb::manifest()?.to_string_lossy().into_owned() })
    }

    /// Runs the commands under the heading that begins so.
    fn follow(&self, heading: &str) -> Result<(), LabError> {
        self.run(&self.commands(heading)).map(drop)
    }

    /// The commands under the heading that begins so.
    fn commands(&self, heading: &str) -> String {
        let start = self.text.find(heading).unwrap_or_else(|| panic!("no heading {heading:?}"));
        let section = &self.text[start + heading.len()..];
        let section = &section[..section.find("\n##").unwrap_or(section.len())];
        let blocks: Vec<&str> =
            section.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(!blocks.is_empty(), "no commands under {heading:?}");
        blocks.join("\n")
    }

    /// `kubectl ferrolb migrate plan` says the same commands for this cluster as these headings have.
    fn is_the_plan(&self, headings: &[String]) -> Result<(), LabError> {
        let said = self.run("kubectl ferrolb migrate plan -o json")?;
        let plan: Value =
            serde_json::from_str(&said).map_err(|error| LabError::State(format!("{error}: {said}")))?;
        for (n, heading) in headings.iter().enumerate() {
            let planned = plan["steps"][n + 1]["commands"].as_array().into_iter().flatten();
            let planned: Vec<&str> = planned.filter_map(Value::as_str).collect();
            let written = self.commands(heading);
            if planned != written.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>() {
                return Err(LabError::State(format!("{heading:?} is not what the plan says: {plan:#}")));
            }
        }
        Ok(())
    }

    /// Addresses and owners are what they were when the plan was made, as the API tells.
    fn compares(&self) -> Result<(), String> {
        let said = self.run("kubectl ferrolb migrate compare before.json || { echo \"exit code $?\"; }");
        let said = said.map_err(|error| error.to_string())?;
        if said.starts_with("no difference since ") { Ok(()) } else { Err(said) }
    }

    fn run(&self, commands: &str) -> Result<String, LabError> {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", commands]).current_dir(self.folder.path());
        shell.env("PATH", format!("{}:{path}", self.folder.path().display())).env("METALLB", &self.manifest);
        process::run(&mut shell)
    }
}

fn write_program(file: &Path, text: &str) -> std::io::Result<()> {
    std::fs::write(file, text)?;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755))
}
