//! Asks the service proxy of this node for its health, as kube-proxy tells it (`healthzBindAddress` in its
//! configuration, by default port 10256 on all addresses).

mod verdict;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, join_all, select};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use verdict::Judge;
pub use verdict::{Failure, Health};

/// Where kube-proxy tells its health unless it is configured otherwise, seen from a Pod in the node's network
/// namespace: IPv4 and IPv6, as it may listen on one of them only.
pub const ADDRESSES: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10256),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 10256),
];

/// How often is asked, and how long is waited for what.
#[derive(Clone, Copy, Debug)]
struct Timing {
    /// From one question to the next.
    every: Duration,
    /// For an answer.
    limit: Duration,
    /// For an answer of 200, once there are failures.
    patience: Duration,
}

const TIMING: Timing = Timing {
    every: Duration::from_secs(1),
    limit: Duration::from_secs(1),
    patience: Duration::from_secs(10),
};

/// Asks each second at all of `addresses`, and publishes each change, until `shutdown`. The proxy works if one of
/// them answers 200 within a second.
///
/// While it is unhealthy, a change of [`Failure`] is published as well; [`Health::is_fit`] says what an election
/// needs. `clock` gives the time since any fixed moment.
pub async fn follow(
    addresses: Vec<SocketAddr>,
    clock: fn() -> Duration,
    health: watch::Sender<Health>,
    shutdown: CancellationToken,
) {
    shutdown.run_until_cancelled(ask_on(&addresses, clock, &health, TIMING)).await;
}

async fn ask_on(
    addresses: &[SocketAddr],
    clock: fn() -> Duration,
    health: &watch::Sender<Health>,
    timing: Timing,
) {
    let mut judge = Judge::new(timing.patience);
    let mut ticks = tokio::time::interval(timing.every);
    // After a pause of this program one question is enough.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let answer = ask_all(addresses, timing.limit).await;
        let now = judge.hear(clock(), answer);
        health.send_if_modified(|before| {
            let changed = before != now;
            if changed {
                tell(before, now, addresses, timing);
                before.clone_from(now);
            }
            changed
        });
    }
}

/// Whether the proxy at `address` answers that it does not work. One that cannot be reached, or is silent, says nothing:
/// it may not listen there at all.
pub(crate) async fn says_no(address: SocketAddr) -> bool {
    matches!(ask(address, TIMING.limit).await, Err(Failure::Status(_)))
}

/// Asks at all addresses at once. One success is enough; of the failures, the first of those that say most is told.
async fn ask_all(addresses: &[SocketAddr], limit: Duration) -> Result<(), Failure> {
    let answers = join_all(addresses.iter().map(|address| ask(*address, limit))).await;
    let one_of_two = |one: Result<(), Failure>, two: Result<(), Failure>| match (&one, &two) {
        (Ok(()), _) => one,
        (Err(first), Err(second)) if first.weight() >= second.weight() => one,
        _ => two,
    };
    let nowhere = || Err(Failure::Unreachable("there is no address to ask at".to_owned()));
    answers.into_iter().reduce(one_of_two).unwrap_or_else(nowhere)
}

/// Asks at one address, on a connection of its own: one that is kept would show a listener that still holds old
/// connections, and not whether it takes new ones.
pub(super) async fn ask(address: SocketAddr, limit: Duration) -> Result<(), Failure> {
    let asking = async {
        let stream = TcpStream::connect(address).await.map_err(|error| unreachable(address, error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(address, error))?;
        let request = Request::get("/healthz")
            .header(HOST, address.to_string())
            .header(CONNECTION, "close")
            .body(String::new())
            .map_err(|error| unreachable(address, error))?;
        // The connection moves the bytes of both; it may end before the answer is taken from it.
        let response = match select(pin!(sender.send_request(request)), pin!(connection)).await {
            Either::Left((response, _)) => response,
            Either::Right((_, response)) => response.await,
        };
        match response.map_err(|error| unreachable(address, error))?.status() {
            StatusCode::OK => Ok(()),
            status => Err(Failure::Status(status.as_u16())),
        }
    };
    tokio::time::timeout(limit, asking).await.unwrap_or(Err(Failure::Silent))
}

fn unreachable(address: SocketAddr, error: impl std::error::Error) -> Failure {
    match error.source() {
        Some(source) => Failure::Unreachable(format!("{address}: {error}: {source}")),
        None => Failure::Unreachable(format!("{address}: {error}")),
    }
}

/// A line for the log, where it is about to be another kind of health than before.
fn tell(before: &Health, now: &Health, addresses: &[SocketAddr], timing: Timing) {
    let addresses = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    match (before, now) {
        (Health::Unknown, Health::Healthy) => {
            tracing::info!(addresses, "the service proxy tells its health, which counts from now on");
        }
        (Health::Unhealthy(_), Health::Healthy) => {
            tracing::info!(addresses, "the service proxy is healthy again");
        }
        (Health::Healthy, Health::Unhealthy(failure)) => tracing::warn!(
            addresses,
            %failure,
            "the service proxy of this node worked and has not for {} s, so other nodes are preferred: look at \
             the kube-proxy Pod of this node and its log; if it was removed or moved on purpose, restart the \
             speaker's Pod on this node",
            timing.patience.as_secs()
        ),
        _ => tracing::debug!(addresses, health = %now, "the service proxy"),
    }
}

#[cfg(test)]
mod tests;
