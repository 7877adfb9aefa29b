//! Two controllers, of which one leads by a Lease, while the leader is killed, frozen for longer than its lease,
//! and ended, again and again, under a stream of Services that come, go and change type. The pool is small and
//! its addresses are given again at once, so whoever writes late writes into something.
//!
//! The oracle is the history of all Services as the API showed it: no two ever held one address, and none lost
//! one. `FERROLB_SEED=N` repeats the choices of a run; what the processes make of them is never quite the same.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use ferrolb_tests::history::{Event, check};
use ferrolb_tests::lab::progress::{Progress, wait};
use ferrolb_tests::lab::{LabError, programs};
use ferrolb_tests::plane::Plane;
use ferrolb_tests::program::{Launch, Program};
use ferrolb_tests::recorder::Recorder;
use ferrolb_tests::scene::{SYSTEM, Scene, shown};
use futures::future::try_join_all;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use nix::sys::signal::Signal;
use serde_json::json;

use support::{block_on, left_out};

const LAB: &str = "testr";

/// The Lease by which the controllers elect a leader, in the namespace of FerroLB.
const LEASE: &str = "ferrolb-controller";

/// How long a lease lasts without renewal, in seconds: short, so that much happens in a minute.
const LEASE_SECONDS: u64 = 3;

/// The pool, and how many addresses it has.
const POOL: &str = "10.10.0.200-10.10.0.211";
const ADDRESSES: usize = 12;

/// So many names there are: more than addresses, so that somebody always waits for one.
const NAMES: usize = 24;

/// So many do something to Services, side by side.
const HANDS: usize = 4;

/// Within this many seconds everybody who can have an address has one, once all is left in peace.
const PEACE: u64 = 30;

/// So often each of them is started anew at the end.
const RESTARTS: usize = 6;

/// At least so many addresses must have been given, or the run has shown nothing.
const ENOUGH: usize = 100;

#[test]
fn two_controllers_of_which_the_leader_is_shaken_give_no_address_twice() {
    shake(2, 7);
}

#[test]
fn one_controller_that_is_shaken_gives_no_address_twice() {
    shake(1, 4);
}

#[test]
#[ignore = "takes minutes; make test-full runs it"]
fn two_controllers_are_shaken_for_long() {
    shake(2, 100);
}

/// One run: so many controllers, so many times something is done to the leader.
fn shake(count: usize, incidents: usize) {
    if !nix::unistd::geteuid().is_root() {
        left_out("the lab needs root");
        return;
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
    let seed = std::env::var("FERROLB_SEED").map_or(now.as_secs(), |text| text.parse().expect("a number"));
    eprintln!("FERROLB_SEED={seed}");
    let controller =
        programs::ferrolb_programs(&Progress::default()).expect("the programs").join("ferrolb-controller");
    let plane = Plane::anew(LAB, Path::new(env!("CARGO_BIN_EXE_lab"))).expect("a control plane");
    plane.apply_crds().expect("the definitions");

    let outcome = block_on(async {
        let scene = Scene::in_lab(&plane.lab, "shaken").await?;
        scene.create("IPAddressPool", "shaken", &json!({"addresses": [POOL], "reuseDelay": "0s"})).await?;
        let mut replicas = Replicas::start(&plane, &controller, count)?;
        let outcome = run(&scene, &mut replicas, incidents, seed).await;
        outcome
            .map_err(|why| Wrong::from(format!("{why}\nFERROLB_SEED={seed}; logs: {}", replicas.keep_logs())))
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

async fn run(scene: &Scene, replicas: &mut Replicas, incidents: usize, seed: u64) -> Result<(), Wrong> {
    let mut rng = Rng::with_seed(seed);
    let (progress, services) = (Progress::default(), scene.services());
    let recorder = Recorder::start(Api::all(scene.client.clone())).await?;
    replicas.leader(&scene.client).await?;

    let stop = Arc::new(AtomicBool::new(false));
    let hands: Vec<_> = (0..HANDS)
        .map(|_| {
            let hand = Hand { services: services.clone(), rng: rng.fork() };
            tokio::spawn(hand.work(stop.clone()))
        })
        .collect();
    let mut blows = Vec::new();
    for number in 1..=incidents {
        if blows.is_empty() {
            // In an order of chance, but none is left out.
            blows = Blow::ALL.to_vec();
            rng.shuffle(&mut blows);
        }
        let Some(blow) = blows.pop() else { break };
        pause(&mut rng, 300..2000).await;
        let what = replicas.strike(blow, &scene.client, &mut rng).await?;
        progress.say(&format!("{number}/{incidents}: {what}; {} events so far", recorder.len()));
    }
    pause(&mut rng, 300..1000).await;
    stop.store(true, Ordering::Relaxed);
    for hand in hands {
        hand.await??;
    }

    in_peace(&services).await?;
    replicas.all_run().await?;
    replicas.start_again_and_again().await?;
    // What was answered to the last request of the watch may still be on its way.
    let events = recorder.finish(PEACE).await?;
    let faults = check(&events, |_| false);
    if !faults.is_empty() {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        return Err(
            format!("{} faults in {} events:\n{}", lines.len(), events.len(), lines.join("\n")).into()
        );
    }
    let (given, again) = given(&events);
    progress.say(&format!(
        "{} events; {given} times an address was given, each address to {again} Services or more",
        events.len()
    ));
    if given < ENOUGH || again < 2 {
        return Err(format!("only {given} addresses were given, so this run has shown nothing").into());
    }
    Ok(())
}

type Wrong = Box<dyn std::error::Error + Send + Sync>;

/// A pause of a random length, in milliseconds.
async fn pause(rng: &mut Rng, milliseconds: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(rng.u64(milliseconds))).await;
}

/// What can happen to a leader.
#[derive(Clone, Copy)]
enum Blow {
    /// kill -9; it is started after a while, in which another one can take over.
    Kill,
    /// kill -9; it is started at once, in its own name.
    Replace,
    /// SIGTERM, and started after a while.
    End,
    /// SIGSTOP until its lease has run out, then SIGCONT: whatever it was about to write, it writes now.
    Freeze,
}

impl Blow {
    const ALL: [Blow; 4] = [Blow::Kill, Blow::Replace, Blow::End, Blow::Freeze];
}

/// The controllers, by number.
struct Replicas {
    all: Vec<Replica>,
}

struct Replica {
    name: String,
    launch: Launch,
    running: Option<Program>,
    /// The logs of the processes that ended.
    log: String,
}

impl Replicas {
    fn start(plane: &Plane, controller: &Path, count: usize) -> Result<Self, LabError> {
        let mut all = Vec::new();
        for number in 0..count {
            let name = format!("ferrolb-controller-{number}");
            let launch = Launch::new(controller, &plane.lab.paths.kubeconfig())?
                .variable("FERROLB_POD_NAME", &name)
                .variable("FERROLB_LEASE_DURATION", &LEASE_SECONDS.to_string())
                .variable("FERROLB_LOG_LEVEL", "debug");
            let running = Some(launch.start()?);
            all.push(Replica { name, launch, running, log: String::new() });
        }
        Ok(Replicas { all })
    }

    /// The one that leads; a single one needs no Lease for that.
    async fn leader(&self, client: &kube::Client) -> Result<usize, LabError> {
        if self.all.len() == 1 {
            return Ok(0);
        }
        self.elected(client, |_| true).await
    }

    /// Waits for a leader that is one of `whom`.
    async fn elected(&self, client: &kube::Client, whom: impl Fn(usize) -> bool) -> Result<usize, LabError> {
        let leases: Api<Lease> = Api::namespaced(client.clone(), SYSTEM);
        wait("a leader by the Lease", LEASE_SECONDS * 2 + 20, async || {
            let lease = leases.get_opt(LEASE).await.map_err(|error| error.to_string())?;
            let Some(lease) = lease else { return Err(format!("there is no Lease {SYSTEM}/{LEASE}")) };
            let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
            let number = self.all.iter().position(|replica| replica.name == holder);
            number.filter(|number| whom(*number)).ok_or_else(|| format!("its holder is {holder:?}"))
        })
        .await
    }

    /// Does this to the leader, and returns it in words.
    async fn strike(&mut self, blow: Blow, client: &kube::Client, rng: &mut Rng) -> Result<String, Wrong> {
        let leader = self.leader(client).await?;
        let away = LEASE_SECONDS * 1000;
        let what = match blow {
            Blow::Kill => {
                self.all[leader].kill();
                pause(rng, 0..away * 3 / 2).await;
                self.all[leader].start()?;
                "was killed (-9), and started after a while"
            }
            Blow::Replace => {
                self.all[leader].kill();
                self.all[leader].start()?;
                "was killed (-9), and started at once"
            }
            Blow::End => {
                self.all[leader].end()?;
                pause(rng, 0..away / 2).await;
                self.all[leader].start()?;
                "was ended (SIGTERM), and started anew"
            }
            Blow::Freeze if self.all.len() == 1 => {
                self.all[leader].signal(Signal::SIGSTOP)?;
                pause(rng, 0..away).await;
                self.all[leader].signal(Signal::SIGCONT)?;
                "was frozen (SIGSTOP)"
            }
            Blow::Freeze => {
                self.all[leader].signal(Signal::SIGSTOP)?;
                let other = self.elected(client, |other| other != leader).await;
                pause(rng, 0..away).await;
                self.all[leader].signal(Signal::SIGCONT)?;
                other?;
                "was frozen (SIGSTOP) until another one led, and went on then"
            }
        };
        Ok(format!("{} {what}", self.all[leader].name))
    }

    /// None has ended by itself, and each says that it is ready, whoever leads.
    async fn all_run(&mut self) -> Result<(), Wrong> {
        for replica in &mut self.all {
            if let Some(status) = replica.running.as_mut().and_then(Program::ended) {
                return Err(format!("{} ended by itself: {status}", replica.name).into());
            }
            replica.is_ready().await?;
        }
        Ok(())
    }

    /// However often one is started, it becomes ready: whether its lists or the lead come first.
    async fn start_again_and_again(&mut self) -> Result<(), Wrong> {
        for _ in 0..RESTARTS {
            for replica in &mut self.all {
                replica.end()?;
                replica.start()?;
                replica.is_ready().await?;
            }
        }
        Ok(())
    }

    /// Writes all logs to files and returns their folder.
    fn keep_logs(&mut self) -> String {
        let folder: PathBuf = programs::target().join("replicas");
        let kept = std::fs::create_dir_all(&folder).and_then(|()| {
            self.all.iter_mut().try_for_each(|replica| {
                replica.kill();
                std::fs::write(folder.join(format!("{}.log", replica.name)), &replica.log)
            })
        });
        kept.map_or_else(|error| error.to_string(), |()| folder.display().to_string())
    }
}

impl Replica {
    fn start(&mut self) -> Result<(), LabError> {
        self.running = Some(self.launch.start()?);
        Ok(())
    }

    fn kill(&mut self) {
        if let Some(program) = self.running.take() {
            self.log += &program.log();
            self.log += "--- killed\n";
        }
    }

    fn end(&mut self) -> Result<(), Wrong> {
        if let Some(program) = self.running.take() {
            self.log += &program.log();
            self.log += "--- ended\n";
            let (status, _) = program.end()?;
            if !status.success() {
                return Err(format!("{} ended badly: {status}", self.name).into());
            }
        }
        Ok(())
    }

    async fn is_ready(&self) -> Result<(), LabError> {
        let Some(program) = &self.running else { return Ok(()) };
        wait(&format!("{} to be ready", self.name), PEACE, async || {
            let answer = program.get("/readyz");
            if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(answer) }
        })
        .await
    }

    fn signal(&self, signal: Signal) -> Result<(), LabError> {
        self.running.as_ref().map_or(Ok(()), |program| program.signal(signal))
    }
}

/// One who creates, changes and deletes Services at random.
struct Hand {
    services: Api<Service>,
    rng: Rng,
}

impl Hand {
    async fn work(mut self, stop: Arc<AtomicBool>) -> Result<(), Wrong> {
        while !stop.load(Ordering::Relaxed) {
            let first = self.rng.usize(0..NAMES);
            match self.rng.u8(0..20) {
                0..8 => self.create(first).await?,
                8..14 => self.delete(first).await?,
                14..16 => self.set_type(first, "ClusterIP").await?,
                16..19 => self.set_type(first, "LoadBalancer").await?,
                // Many at once: the next round of the leader has many writes under way.
                _ => {
                    let some: BTreeSet<usize> = (0..8).map(|next| (first + next) % NAMES).collect();
                    try_join_all(some.iter().map(|name| self.delete(*name))).await?;
                    try_join_all(some.iter().map(|name| self.create(*name))).await?;
                }
            }
            pause(&mut self.rng, 0..60).await;
        }
        Ok(())
    }

    async fn create(&self, number: usize) -> Result<(), Wrong> {
        expected(self.services.create(&kube::api::PostParams::default(), &service(number)).await)
    }

    async fn delete(&self, number: usize) -> Result<(), Wrong> {
        expected(self.services.delete(&name(number), &DeleteParams::default()).await)
    }

    async fn set_type(&self, number: usize, to: &str) -> Result<(), Wrong> {
        let patch = Patch::Merge(json!({"spec": {"type": to}}));
        expected(self.services.patch(&name(number), &PatchParams::default(), &patch).await)
    }
}

fn name(number: usize) -> String {
    format!("web{number}")
}

/// Some of them may share an address: those have one key, and ports of their own.
fn service(number: usize) -> Service {
    let shares = number.is_multiple_of(4);
    let annotations: BTreeMap<&str, &str> =
        shares.then_some(("metallb.io/allow-shared-ip", "together")).into_iter().collect();
    let port = if shares { 8000 + number } else { 80 };
    serde_json::from_value(json!({
        "metadata": {"name": name(number), "annotations": annotations},
        "spec": {
            "type": "LoadBalancer", "ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"],
            "ports": [{"name": "http", "port": port}],
        },
    }))
    .expect("a Service")
}

/// Other hands are at work too: what one wants to change may be gone, there already, or changed meanwhile.
fn expected<T>(result: kube::Result<T>) -> Result<(), Wrong> {
    match result {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Nobody does anything any more: whoever can have an address gets one.
///
/// First nobody waits while an address is free; then so many are deleted that all fit, and all have one.
async fn in_peace(services: &Api<Service>) -> Result<(), Wrong> {
    wait("addresses, as far as there are any", PEACE, async || {
        let (with, without) = held(services).await?;
        let used: BTreeSet<IpAddr> = with.values().flatten().copied().collect();
        if without.is_empty() || used.len() == ADDRESSES {
            return Ok(());
        }
        Err(format!("{without:?} wait, but only {} of {ADDRESSES} addresses are in use", used.len()))
    })
    .await?;
    let (with, without) = held(services).await?;
    let all: Vec<String> = with.into_keys().chain(without).collect();
    for name in all.iter().skip(ADDRESSES) {
        services.delete(name, &DeleteParams::default()).await?;
    }
    wait("an address for everybody", PEACE, async || {
        let (_, without) = held(services).await?;
        if without.is_empty() { Ok(()) } else { Err(format!("{without:?} have none")) }
    })
    .await?;
    Ok(())
}

/// The Services of type LoadBalancer that show addresses, with these, and those that show none.
async fn held(services: &Api<Service>) -> Result<(BTreeMap<String, Vec<IpAddr>>, Vec<String>), String> {
    let list = services.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
    let (mut with, mut without) = (BTreeMap::new(), Vec::new());
    for service in list.items {
        let type_ = service.spec.as_ref().and_then(|spec| spec.type_.as_deref());
        let (name, addresses) = (service.metadata.name.clone().unwrap_or_default(), shown(&service));
        match (type_, addresses.is_empty()) {
            (Some("LoadBalancer"), true) => without.push(name),
            (Some("LoadBalancer"), false) => drop(with.insert(name, addresses)),
            _ => {}
        }
    }
    Ok((with, without))
}

/// How often a Service got an address, and how many Services had the address that the fewest had.
fn given(events: &[Event]) -> (usize, usize) {
    let mut had: BTreeSet<(IpAddr, String)> = BTreeSet::new();
    for event in events.iter().filter(|event| !event.gone) {
        let uid = event.service.metadata.uid.clone().unwrap_or_default();
        had.extend(shown(&event.service).into_iter().map(|address| (address, uid.clone())));
    }
    let mut each: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for (address, _) in &had {
        *each.entry(*address).or_default() += 1;
    }
    (had.len(), each.values().min().copied().unwrap_or_default())
}
