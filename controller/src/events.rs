//! Events on Services and pools: what `kubectl describe` shows of our decisions.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// So many events may wait for the API server; more are dropped. The status is what counts, and a server
/// that is slow needs no backlog.
const WAITING: usize = 1024;

/// Sends events in the background, each change of words once.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Sender<(Event, ObjectReference)>,
    /// The last complaint about each object, by uid.
    complaints: BTreeMap<String, String>,
}

impl Events {
    /// Starts sending.
    pub fn start(client: Client, shutdown: CancellationToken) -> Self {
        let (queue, mut waiting) = mpsc::channel::<(Event, ObjectReference)>(WAITING);
        let recorder = Recorder::new(client, Reporter::from("ferrolb-controller".to_owned()));
        tokio::spawn(shutdown.run_until_cancelled_owned(async move {
            while let Some((event, about)) = waiting.recv().await {
                if let Err(error) = recorder.publish(&event, &about).await {
                    tracing::debug!(%error, reason = event.reason, "an event was not recorded");
                }
            }
        }));
        Events { queue, complaints: BTreeMap::new() }
    }

    /// Something went well.
    pub fn normal(&self, about: ObjectReference, reason: &str, action: &str, note: String) {
        self.send(EventType::Normal, about, reason, action, note);
    }

    /// Something about the object needs a change by its owner. Says it once, until the words change or
    /// [`Events::settled`]. Returns whether it was news.
    pub fn complain(&mut self, about: ObjectReference, reason: &str, action: &str, note: &str) -> bool {
        let uid = about.uid.clone().unwrap_or_default();
        let news = self.complaints.get(&uid).is_none_or(|last| last != note);
        if news {
            self.complaints.insert(uid, note.to_owned());
            self.send(EventType::Warning, about, reason, action, note.to_owned());
        }
        news
    }

    /// There is nothing to complain about any more; the next complaint is news. Returns whether there was.
    pub fn settled(&mut self, uid: &str) -> bool {
        self.complaints.remove(uid).is_some()
    }

    /// Forgets complaints about objects whose uid is not among `there`, which is asked for only if there are any.
    pub fn keep_only(&mut self, there: impl FnOnce() -> BTreeSet<String>) {
        if !self.complaints.is_empty() {
            let there = there();
            self.complaints.retain(|uid, _| there.contains(uid));
        }
    }

    fn send(&self, type_: EventType, about: ObjectReference, reason: &str, action: &str, note: String) {
        let event =
            Event { type_, reason: reason.into(), note: Some(note), action: action.into(), secondary: None };
        if self.queue.try_send((event, about)).is_err() {
            tracing::debug!(reason, "too many events are waiting; one is dropped");
        }
    }
}
