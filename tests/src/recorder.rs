//! Records every change of the Services of a cluster, without gaps, for [`crate::history`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use tokio::task::JoinHandle;

use crate::history::Event;
use crate::lab::LabError;
use crate::lab::progress::wait;

/// A watch that was cut goes on where it was after this pause.
const AGAIN: Duration = Duration::from_millis(100);

/// The server ends each watch after so many seconds; the next goes on at the same version.
const WATCH_SECONDS: u32 = 290;

/// A recording that runs.
///
/// A watch tells each version of each object, in order; one that is cut is continued from the last version
/// that it told. Only when the server no longer knows that version (410) are events lost for ever, and that
/// ends the recording with an error.
#[derive(Debug)]
pub struct Recorder {
    api: Api<Service>,
    record: Arc<Mutex<Record>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Record {
    events: Vec<Event>,
    /// Up to where all is known.
    version: u64,
    failure: Option<String>,
}

impl Recorder {
    /// Starts with the Services of `api` as they are now.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn start(api: Api<Service>) -> Result<Self, LabError> {
        let list = api.list(&ListParams::default()).await.map_err(failed)?;
        let version = version(list.metadata.resource_version.as_deref()).map_err(broken)?;
        let mut events = Vec::with_capacity(list.items.len());
        for service in list.items {
            events.push(event(service, false).map_err(broken)?);
        }
        events.sort_by_key(|event| event.version);
        Ok(Self::go_on(api, Record { events, version, failure: None }))
    }

    /// Starts at a version of the past, from which on all changes are told.
    pub fn from(api: Api<Service>, version: u64) -> Self {
        Self::go_on(api, Record { version, ..Record::default() })
    }

    fn go_on(api: Api<Service>, record: Record) -> Self {
        let record = Arc::new(Mutex::new(record));
        let task = tokio::spawn(follow(api.clone(), record.clone()));
        Recorder { api, record, task }
    }

    /// How many events there are so far.
    pub fn len(&self) -> usize {
        self.look(|record| record.events.len())
    }

    /// Whether there are none yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends the recording, once it shows the Services as a list shows them: nothing of the past is missing then.
    ///
    /// # Errors
    /// When the watch failed, or does not come so far within `seconds`.
    pub async fn finish(self, seconds: u64) -> Result<Vec<Event>, LabError> {
        let caught_up = wait("the record to show what a list shows", seconds, async || {
            if let Some(why) = self.look(|record| record.failure.clone()) {
                return Ok(Err(why));
            }
            let list = self.api.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            let mut listed = BTreeMap::new();
            for service in list.items {
                let event = event(service, false)?;
                listed.insert(event.service.metadata.uid.clone().unwrap_or_default(), event.version);
            }
            let shown = self.look(|record| standing(&record.events));
            if listed == shown {
                return Ok(Ok(()));
            }
            let (listed, shown) = (listed.len(), shown.len());
            Err(format!("{shown} Services in the record, {listed} in the list, or others of their versions"))
        })
        .await?;
        self.task.abort();
        caught_up.map_err(broken)?;
        Ok(self.look(|record| std::mem::take(&mut record.events)))
    }

    fn look<T>(&self, look: impl FnOnce(&mut Record) -> T) -> T {
        look(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The Services that are there after `events`, by uid, and the version of each.
fn standing(events: &[Event]) -> BTreeMap<String, u64> {
    let mut standing = BTreeMap::new();
    for event in events {
        let uid = event.service.metadata.uid.clone().unwrap_or_default();
        if event.gone {
            standing.remove(&uid);
        } else {
            standing.insert(uid, event.version);
        }
    }
    standing
}

/// Follows the changes until something is lost.
async fn follow(api: Api<Service>, record: Arc<Mutex<Record>>) {
    let lock = || record.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let from = lock().version;
        let watched = watch(&api, from, |new, event| {
            let mut record = lock();
            record.version = new;
            record.events.extend(event);
        })
        .await;
        if let Err(why) = watched {
            lock().failure = Some(why);
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// One watch, from a version on, to its end; an error means that events are lost.
async fn watch(
    api: &Api<Service>,
    from: u64,
    mut tell: impl FnMut(u64, Option<Event>),
) -> Result<(), String> {
    let params = WatchParams::default().timeout(WATCH_SECONDS);
    let stream = match api.watch(&params, &from.to_string()).await {
        Ok(stream) => stream,
        Err(kube::Error::Api(status)) if status.code == 410 => return Err(lost(from, &status.message)),
        // The server is away, or does not want to now.
        Err(_) => return Ok(()),
    };
    let mut stream = std::pin::pin!(stream);
    loop {
        let told = match stream.try_next().await {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(()),
            // A line that is no event: kube takes it for a status if it can.
            Err(error @ (kube::Error::SerdeError(_) | kube::Error::Api(_))) => {
                return Err(lost(from, &error.to_string()));
            }
            // The connection was cut.
            Err(_) => return Ok(()),
        };
        let event = match told {
            WatchEvent::Added(service) | WatchEvent::Modified(service) => event(service, false)?,
            WatchEvent::Deleted(service) => event(service, true)?,
            WatchEvent::Bookmark(bookmark) => {
                tell(version(Some(&bookmark.metadata.resource_version))?, None);
                continue;
            }
            WatchEvent::Error(status) if status.code == 410 => return Err(lost(from, &status.message)),
            WatchEvent::Error(_) => return Ok(()),
        };
        tell(event.version, Some(event));
    }
}

fn event(mut service: Service, gone: bool) -> Result<Event, String> {
    let version = version(service.metadata.resource_version.as_deref())?;
    // The largest part of it, and of no use here.
    service.metadata.managed_fields = None;
    Ok(Event { version, service, gone })
}

fn version(text: Option<&str>) -> Result<u64, String> {
    let text = text.unwrap_or_default();
    text.parse().map_err(|_| format!("the resourceVersion {text:?} is no number"))
}

fn lost(from: u64, why: &str) -> String {
    format!("events after version {from} are lost: {why}")
}

fn broken(why: String) -> LabError {
    LabError::Program { program: "recording Services".into(), why }
}

fn failed(error: kube::Error) -> LabError {
    broken(error.to_string())
}

#[cfg(test)]
mod tests;
