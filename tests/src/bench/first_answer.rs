//! From a Service's creation to the first HTTP answer.
//!
//! ```text
//!   this process: create ──► a watch shows the address ──┬─► client1 connects every 2 ms ──► first answer
//!                                                        └─► the owner's kernel does ──────► the floor
//! ```
//!
//! The pods are ready before. What a client waits for beside the address is kube-proxy's own sync, for which the kernel of
//! the node that has the address waits as well; but that one needs no announcement. So the difference is the balancer's,
//! in the same attempt and not between two.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use kube::api::{ListParams, WatchEvent, WatchParams};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::json;
use socket2::{Domain, Protocol, Socket, Type};

use crate::chaos::Balancer;
use crate::host::Host;
use crate::lab::process::interrupted;
use crate::lab::progress::{Progress, wait};
use crate::lab::{Config, Lab, LabError, Proxy, down, node, up};
use crate::scene::{Scene, election_order, shown};

use super::allocation::machine;
use super::report::{Report, Who, milliseconds, percentile};

/// A new connection is begun each so often.
const EVERY: Duration = Duration::from_millis(2);

/// How long one may take, in seconds.
const PATIENCE: u64 = 60;

/// An attempt that has no connection after that is given up: less than the second after which a lost SYN is sent again.
const GIVEN_UP: Duration = Duration::from_millis(200);

/// How long an answer may take on a connection that stands.
const ANSWER: Duration = Duration::from_secs(2);

/// So many do not count: caches and connections are warm then.
const WARM_UP: usize = 2;

/// The address that clients ask for; it is free again when a Service is deleted.
const ADDRESSES: &str = "10.10.0.200-10.10.0.249";

/// What one Service showed, from its creation on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    address: Duration,
    client: Duration,
    owner: Duration,
}

/// Measures `count` Services in a lab of its own, named `name`, which is taken down at the end.
///
/// # Errors
/// When something does not come about.
pub async fn first_answer(
    name: &str,
    balancer: Balancer,
    count: usize,
    lab_program: &Path,
) -> Result<Report, LabError> {
    let progress = Progress::default();
    let config = Config::new(name)?.proxy(Proxy::Nftables);
    let lab = up::up(&config, lab_program, None, &progress).await?;
    let result = tokio::select! {
        biased;
        () = interrupted() => Err(LabError::Interrupted),
        result = measure(&lab, balancer, count, &progress) => result,
    };
    let taken_down = down::down(&lab.paths);
    let times = result?;
    taken_down?;
    let mut report = Report::default();
    machine(&mut report);
    tell(&mut report, balancer, &times);
    Ok(report)
}

async fn measure(
    lab: &Lab,
    balancer: Balancer,
    count: usize,
    progress: &Progress,
) -> Result<Vec<Times>, LabError> {
    progress.say(&format!("installing {}", balancer.name()));
    let flags = match balancer {
        // How long it listens for other hosts before a first announcement is no cost of its own: it is a choice.
        Balancer::Ferrolb => vec!["--conflict-detection=off".to_owned()],
        Balancer::Metallb => Vec::new(),
    };
    balancer.install(lab, &flags, progress).await?;
    let scene = Scene::in_lab(lab, "firstanswer").await?;
    // MetalLB asks a webhook of its own, which is there a while after its pod is ready.
    wait("a pool to be taken", PATIENCE, async || {
        let spec = json!({"addresses": [ADDRESSES]});
        scene.create("IPAddressPool", "lan", &spec).await.map_err(|error| error.to_string())
    })
    .await?;
    scene.create("L2Advertisement", "lan", &json!({"ipAddressPools": ["lan"]})).await?;
    scene.echo("web").replicas(i32::from(lab.config.nodes)).create().await?;
    progress.say(&format!("{count} Services, one after the other"));
    let mut all = Vec::new();
    for number in 0..WARM_UP + count {
        let times = one(&scene, &format!("web{number}")).await?;
        if number >= WARM_UP {
            all.push(times);
        }
    }
    scene.end().await?;
    Ok(all)
}

/// One Service; nothing of it is left.
async fn one(scene: &Scene, service: &str) -> Result<Times, LabError> {
    let client = scene.client_host()?;
    client.forget_neighbours().map_err(LabError::at("the client's neighbours"))?;
    let version = scene.services().list(&ListParams::default()).await.map_err(failed)?;
    let version = version.metadata.resource_version.unwrap_or_default();
    let params = WatchParams::default().timeout(PATIENCE as u32);
    let services = scene.services();
    let mut events = std::pin::pin!(services.watch(&params, &version).await.map_err(failed)?);
    let started = Instant::now();
    scene.service(service).family("IPv4").with("selector", json!({"app": "web"})).create().await?;
    let mut found = None;
    while found.is_none() {
        let Some(event) = events.try_next().await.map_err(failed)? else { break };
        if let WatchEvent::Added(seen) | WatchEvent::Modified(seen) = event
            && seen.metadata.name.as_deref() == Some(service)
        {
            found = shown(&seen).first().copied();
        }
    }
    let address = started.elapsed();
    let found: IpAddr = found.ok_or_else(|| LabError::Late {
        what: format!("an address for {service}"),
        seconds: PATIENCE,
        state: scene.state(),
    })?;
    let owner = scene.lab.host(&election_order(&scene.lab, &found.to_string())[0])?;
    let to = SocketAddr::new(found, 80);
    let (client, owner) = tokio::try_join!(answered(client, to), answered(owner, to))?;
    scene.delete_service(service).await?;
    // The next Service may get the same address, and what a kernel remembers of a connection that went nowhere would be in
    // its way for two minutes.
    for name in scene.lab.config.node_names() {
        node::forget_connections(&scene.lab.paths, &name, found)?;
    }
    let since = |at: Instant| at.saturating_duration_since(started);
    Ok(Times { address, client: since(client), owner: since(owner) })
}

/// When a host got its first answer from there.
async fn answered(host: Host, to: SocketAddr) -> Result<Instant, LabError> {
    let name = format!("{}, asking {to}", host.name);
    let asked = tokio::task::spawn_blocking(move || host.inside(move || ask(to))).await;
    let asked = asked.map_err(|error| LabError::State(error.to_string()))?;
    asked.map_err(|error| LabError::program(&name, error))
}

/// Begins connections until one stands, asks on it, and returns when the answer began.
///
/// Several are under way at once: whoever waited for one that began too early would see the second after which Linux sends
/// its SYN again.
fn ask(to: SocketAddr) -> io::Result<Instant> {
    let deadline = Instant::now() + Duration::from_secs(PATIENCE);
    let mut open: Vec<(Socket, Instant)> = Vec::new();
    while Instant::now() < deadline {
        // It fails at once where there is no way yet.
        if let Ok(socket) = begin(to) {
            open.push((socket, Instant::now()));
        }
        open.retain(|(_, begun)| begun.elapsed() < GIVEN_UP);
        let next = Instant::now() + EVERY;
        while Instant::now() < next {
            let timeout = PollTimeout::try_from(EVERY).unwrap_or(PollTimeout::ZERO);
            let mut files: Vec<PollFd<'_>> =
                open.iter().map(|(socket, _)| PollFd::new(socket.as_fd(), PollFlags::POLLOUT)).collect();
            poll(&mut files, timeout).map_err(io::Error::from)?;
            let ready: Vec<bool> = files.iter().map(|file| file.any().unwrap_or(false)).collect();
            let mut ready = ready.into_iter();
            let (come, rest) = open.into_iter().partition(|_| ready.next().unwrap_or(false));
            open = rest;
            for (socket, _) in come {
                let stands = matches!(socket.take_error(), Ok(None));
                if stands && let Some(at) = answer(socket) {
                    return Ok(at);
                }
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {PATIENCE} s")))
}

fn begin(to: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(nix::Error::EINPROGRESS as i32) => Err(error),
        _ => Ok(socket),
    }
}

/// Asks on a connection that stands; returns when the answer began, if one came.
fn answer(socket: Socket) -> Option<Instant> {
    socket.set_nonblocking(false).ok()?;
    let mut stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: echo\r\nConnection: close\r\n\r\n").ok()?;
    let mut buffer = [0; 12];
    stream.read_exact(&mut buffer).ok()?;
    buffer.starts_with(b"HTTP/1.").then(Instant::now)
}

fn tell(report: &mut Report, balancer: Balancer, times: &[Times]) {
    let values = |of: &dyn Fn(&Times) -> f64| times.iter().map(of).collect::<Vec<_>>();
    let client = values(&|times| milliseconds(times.client));
    let owner = values(&|times| milliseconds(times.owner));
    // A client may be a little before the owner: each looks every 2 ms.
    let above = values(&|times| milliseconds(times.client) - milliseconds(times.owner));
    let name = balancer.name();
    for (what, values) in [
        ("create to EXTERNAL-IP", &values(&|times| milliseconds(times.address))),
        ("create to the first answer", &client),
        ("create to the owner's own first answer", &owner),
        ("the client's above the owner's", &above),
    ] {
        for percent in [50, 99] {
            report.tell(format!("{name}, {what}, p{percent}"), percentile(values, percent), "ms");
        }
    }
    report.sample("first-answer", balancer.who(), "ms", client);
    report.sample("first-answer", Who::Floor, "ms", owner);
    report.sample("first-answer-above", balancer.who(), "ms", above);
}

fn failed(error: kube::Error) -> LabError {
    LabError::program("watching Services", error)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_first_answer_is_the_first_of_a_server_that_comes_late() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = free.local_addr().unwrap();
        drop(free);
        let began = Instant::now();
        let server = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(60));
            let (mut stream, _) = TcpListener::bind(to).unwrap().accept().unwrap();
            let mut buffer = [0; 256];
            let _ = stream.read(&mut buffer);
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        });
        let at = ask(to).unwrap();
        server.join().unwrap();
        assert!(at.duration_since(began) >= Duration::from_millis(60));
    }
}
