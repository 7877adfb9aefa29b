//! `lab demo`: from nothing to a Service that answers from outside, told as it happens.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use ferrolb_tests::host::ipv4;
use ferrolb_tests::lab::progress::Progress;
use ferrolb_tests::lab::{Config, Lab, LabError, down, up};
use ferrolb_tests::scene::{self, Scene, shown};
use futures::TryStreamExt;
use kube::api::{WatchEvent, WatchParams};

/// How often the address is asked.
const TIMES: usize = 5;

/// How long answers to one ARP request are collected: a second node that answers would be seen.
const WINDOW: Duration = Duration::from_millis(200);

/// Runs the demo; with `keep` the cluster stays.
pub(crate) async fn demo(name: &str, lab_program: &Path, keep: bool) -> Result<(), LabError> {
    let progress = Progress::default();
    let config = Config::new(name)?;
    let lab = up::up(&config, lab_program, None, &progress).await?;
    let told = tell(&lab, &progress).await;
    if let Err(error) = told {
        if keep {
            eprintln!("the lab is left up: lab --name {name} status, and then: lab --name {name} down");
        } else {
            down::down(&lab.paths)?;
        }
        return Err(error);
    }
    if keep {
        println!("\nThe cluster is up. What to try next:");
        println!("  export KUBECONFIG={}", lab.paths.kubeconfig().display());
        println!("  export PATH=$PATH:{}   # its kubectl", lab.paths.programs_link().display());
        println!("  kubectl -n demo describe service web");
        println!("  kubectl -n metallb-system logs -l app=ferrolb --prefix");
        println!("  {} --name {name} exec client1 curl -s http://ADDRESS/", lab_program.display());
        println!("  {} --name {name} down            # when you have seen enough", lab_program.display());
    } else {
        down::down(&lab.paths)?;
        progress.say("everything is taken down; KEEP=1 make demo leaves it up");
    }
    Ok(())
}

async fn tell(lab: &Lab, progress: &Progress) -> Result<(), LabError> {
    progress.say("installing FerroLB");
    scene::install(lab, progress).await?;
    progress.say("FerroLB is ready: one controller, a speaker on each node");

    let scene = Scene::in_lab(lab, "demo").await?;
    scene.echo("web").replicas(2).avoiding("node1").create().await?;
    progress.say("two pods of an echo server run");
    scene.pool("10.10.0.200-10.10.0.209").await?;
    progress.say("created IPAddressPool demo (10.10.0.200-10.10.0.209) and L2Advertisement demo");

    let (address, took) = create_and_watch(&scene).await?;
    println!("\n$ kubectl get service -n demo");
    let table = lab.kubectl().args(["get", "service", "-n", "demo"]).output();
    print!(
        "{}",
        table.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    );
    println!(
        "\nEXTERNAL-IP {address} was there {:.1} ms after the Service was created.\n",
        took.as_secs_f64() * 1e3
    );

    ask(&scene, address)
}

/// How long the first answer may take, in seconds.
const FIRST: u64 = 30;

/// Creates the Service and measures the time until a watch shows its address.
async fn create_and_watch(scene: &Scene) -> Result<(IpAddr, Duration), LabError> {
    let failed = |error: kube::Error| LabError::Program {
        program: "watching the Service".into(),
        why: error.to_string(),
    };
    let services = scene.services();
    let version = services.list(&kube::api::ListParams::default()).await.map_err(failed)?;
    let version = version.metadata.resource_version.unwrap_or_default();
    let mut events =
        std::pin::pin!(services.watch(&WatchParams::default().timeout(60), &version).await.map_err(failed)?);
    let started = Instant::now();
    scene.service("web").create().await?;
    while let Some(event) = events.try_next().await.map_err(failed)? {
        if let WatchEvent::Added(service) | WatchEvent::Modified(service) = event
            && let Some(address) = shown(&service).first()
        {
            return Ok((*address, started.elapsed()));
        }
    }
    Err(LabError::Late {
        what: "an address for Service web".into(),
        seconds: 60,
        state: "it has none".into(),
    })
}

/// Asks the address from outside, and says who answered ARP and who served.
fn ask(scene: &Scene, address: IpAddr) -> Result<(), LabError> {
    let client = scene.client_host()?;
    let nodes = scene.nodes_by_mac()?;
    let failed = |error: std::io::Error| LabError::Program {
        program: format!("asking {address}"),
        why: error.to_string(),
    };
    let started = Instant::now();
    client.ask_until(SocketAddr::new(address, 80), FIRST).map_err(failed)?;
    println!(
        "It answered from outside {:.0} ms later, when kube-proxy knew it too.\n",
        started.elapsed().as_secs_f64() * 1e3
    );
    println!("client1 asks http://{address}/ {TIMES} times, each time forgetting what it knew:");
    for round in 1..=TIMES {
        let macs = client.who_has(ipv4(address).map_err(failed)?, WINDOW).map_err(failed)?;
        let by: Vec<String> =
            macs.iter().map(|mac| nodes.get(mac).cloned().unwrap_or_else(|| mac.to_string())).collect();
        client.forget_neighbours().map_err(failed)?;
        let started = Instant::now();
        let answer = client.ask(SocketAddr::new(address, 80)).map_err(failed)?;
        println!(
            "  {round}: ARP answered by {}; served by pod {} on {} in {:.1} ms",
            by.join(" AND "),
            answer.pod,
            answer.node,
            started.elapsed().as_secs_f64() * 1e3
        );
    }
    println!();
    Ok(())
}
