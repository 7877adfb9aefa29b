//! Many Services by many writers, and their deletion.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::lab::LabError;
use crate::lab::progress::wait;
use crate::program::{Launch, Program};

use super::counters::Counters;
use super::lean::Server;
use super::one_by_one::service;
use super::rest;

/// So many requests are under way at once.
const WRITERS: usize = 16;

/// How long addresses may take after the last Service was created, in seconds, where nothing else is said.
pub const PATIENCE: u64 = 300;

/// What came of a bulk of Services.
#[derive(Clone, Debug)]
pub struct Bulk {
    /// From the first create's start to the last one's return.
    pub creating: Duration,
    /// From the last create's return to the moment when all had addresses; zero if they had them before.
    pub behind: Duration,
    /// All requests to write a status of a Service.
    pub status_writes: f64,
    /// Those that the API server refused with 409.
    pub conflicts: f64,
}

/// Creates `count` Services named `prefix-N` and waits until each has an address, `patience` seconds at most after the last
/// was created. They stay.
///
/// # Errors
/// When one is refused, or gets no address.
pub async fn create(server: &Server, prefix: &str, count: usize, patience: u64) -> Result<Bulk, LabError> {
    let before = Counters::read(server).await?;
    let seen = Seen::watch(server, prefix, count).await?;
    let (creating, created) = create_side_by_side(server, prefix, count).await?;
    let last = seen.all(patience).await?;
    let after = Counters::at_rest(server, &["services/status"]).await?.since(&before);
    Ok(Bulk {
        creating,
        behind: last.saturating_duration_since(created),
        status_writes: after.writes("services/status"),
        conflicts: after.writes_with("services/status", 409),
    })
}

/// Creates `count` Services while no controller runs, then starts one; returns it, and the time from its start to
/// the moment when all have addresses. Here the controller alone is measured: nobody creates beside it.
///
/// # Errors
/// When one is refused, or gets no address.
pub async fn backlog(
    server: &Server,
    prefix: &str,
    count: usize,
    launch: &Launch,
) -> Result<(Program, Duration), LabError> {
    create_side_by_side(server, prefix, count).await?;
    let seen = Seen::watch(server, prefix, count).await?;
    let controller = launch.start()?;
    let last = seen.all(PATIENCE).await?;
    let took = last.saturating_duration_since(controller.started);
    Ok((controller, took))
}

async fn create_side_by_side(
    server: &Server,
    prefix: &str,
    count: usize,
) -> Result<(Duration, Instant), LabError> {
    let prefix = prefix.to_owned();
    side_by_side(server.clone(), count, move |server, number| {
        let body = service(&format!("{prefix}-{number}"), None);
        async move { server.create(&body).await }
    })
    .await
}

/// Sees when the last of many Services gets its address.
struct Seen {
    count: usize,
    last: JoinHandle<Option<Instant>>,
}

impl Seen {
    async fn watch(server: &Server, prefix: &str, count: usize) -> Result<Self, LabError> {
        let (_, version) = server.list().await?;
        let mut sights = server.watch(&version).await?;
        let mut missing: BTreeSet<String> = (0..count).map(|number| format!("{prefix}-{number}")).collect();
        let last = tokio::spawn(async move {
            let mut last = Instant::now();
            while !missing.is_empty() {
                let sight = sights.recv().await?;
                if sight.object.address().is_some() && missing.remove(&sight.object.metadata.name) {
                    last = sight.at;
                }
            }
            Some(last)
        });
        Ok(Seen { count, last })
    }

    async fn all(self, seconds: u64) -> Result<Instant, LabError> {
        let last = tokio::time::timeout(Duration::from_secs(seconds), self.last).await;
        last.ok().and_then(Result::ok).flatten().ok_or_else(|| LabError::Late {
            what: format!("an address for each of {} Services", self.count),
            seconds,
            state: "the watch does not show all of them".to_owned(),
        })
    }
}

/// Deletes all Services of the namespace; returns the time from the last one's return until the controller says
/// that the pool is empty.
///
/// # Errors
/// When one is not deleted, or the pool does not become empty.
pub async fn delete_all(server: &Server, controller: &Program) -> Result<Duration, LabError> {
    let deleted = delete(server).await?;
    wait("an empty pool", PATIENCE, async || match rest::in_use(controller) {
        Some(0.0) => Ok(()),
        other => Err(format!("the controller says that {other:?} addresses are in use")),
    })
    .await?;
    Ok(deleted.elapsed())
}

/// Deletes all Services of the namespace; returns when the last one was.
///
/// # Errors
/// When one is not deleted.
pub async fn delete(server: &Server) -> Result<Instant, LabError> {
    let (services, _) = server.list().await?;
    let names: Arc<Vec<String>> = Arc::new(services.into_keys().collect());
    let (_, deleted) = side_by_side(server.clone(), names.len(), move |server, number| {
        let names = names.clone();
        async move {
            match names.get(number) {
                Some(name) => server.delete(name).await,
                None => Ok(()),
            }
        }
    })
    .await?;
    Ok(deleted)
}

/// Does something `count` times by [`WRITERS`] writers; returns how long it took and when it ended.
pub(super) async fn side_by_side<F, R>(
    server: Server,
    count: usize,
    act: F,
) -> Result<(Duration, Instant), LabError>
where
    F: Fn(Server, usize) -> R + Clone + Send + 'static,
    R: Future<Output = Result<(), LabError>> + Send + 'static,
{
    let (next, started) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let (next, act, server) = (next.clone(), act.clone(), server.clone());
        writers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok(());
                }
                act(server.clone(), number).await?;
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.map_err(|error| LabError::State(error.to_string()))??;
    }
    let ended = Instant::now();
    Ok((ended.saturating_duration_since(started), ended))
}
