//! Events: what `kubectl describe` shows of a program's decisions about an object.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// So many events may wait for the API server; more are dropped. The object's status is what counts, and a server
/// that is slow needs no backlog.
const WAITING: usize = 1024;

/// A recorder remembers what it told for minutes, so that the same said again is counted on the first event. So many
/// are remembered; then it begins anew, or ten thousand Services at once would take tens of megabytes.
const REMEMBERED: usize = 256;

/// So many bytes of words the API server takes (`note` of `events.k8s.io/v1`); with more, the event is refused.
const LONGEST: usize = 1024;

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// The object. `kubectl describe` finds the event by its kind, name, namespace and uid; without the uid it does not.
    pub about: ObjectReference,
    /// Whether somebody has to do something.
    pub warning: bool,
    /// Whether it is so for all users, not for the owner of one object: then the log's line is a warning as well.
    pub for_operators: bool,
    /// The stable name, as MetalLB's users know it.
    pub reason: &'static str,
    /// What the program was doing.
    pub action: &'static str,
    /// What happened.
    pub note: String,
}

/// Sends events in the background.
#[derive(Clone, Debug)]
pub struct Events {
    queue: mpsc::Sender<Note>,
}

impl Events {
    /// Starts sending, in the name of `reporter` (`reportingController` of the event).
    pub fn start(client: Client, reporter: &'static str, shutdown: CancellationToken) -> Self {
        let (queue, mut waiting) = mpsc::channel::<Note>(WAITING);
        let sender = Sender { client, reporter, recorder: None, told: BTreeMap::new() };
        tokio::spawn(shutdown.run_until_cancelled_owned(async move {
            let mut sender = sender;
            while let Some(note) = waiting.recv().await {
                sender.send(note).await;
            }
        }));
        Events { queue }
    }

    /// Tells, in the log and as an event.
    pub fn tell(&self, note: Note) {
        let object = match (&note.about.namespace, &note.about.name) {
            (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
            (None, name) => name.clone().unwrap_or_default(),
            (Some(namespace), None) => namespace.clone(),
        };
        let kind = note.about.kind.as_deref().unwrap_or_default();
        if note.for_operators {
            tracing::warn!(kind, object, reason = note.reason, "{}", note.note);
        } else {
            tracing::info!(kind, object, reason = note.reason, "{}", note.note);
        }
        self.send(note);
    }

    /// Tells as an event alone: where the log says it already.
    pub fn send(&self, note: Note) {
        let reason = note.reason;
        if self.queue.try_send(note).is_err() {
            tracing::debug!(reason, "too many events are waiting; one is dropped");
        }
    }
}

/// Which events the API server counts as one: type, reason and object, whatever their words.
type Series = (bool, &'static str, Option<String>, Option<String>, Option<String>);

/// The one that sends.
struct Sender {
    client: Client,
    reporter: &'static str,
    recorder: Option<Recorder>,
    /// What was said last with the present recorder.
    told: BTreeMap<Series, String>,
}

impl Sender {
    async fn send(&mut self, note: Note) {
        let words = cut(note.note);
        let about = note.about;
        let series =
            (note.warning, note.reason, about.kind.clone(), about.namespace.clone(), about.name.clone());
        // A recorder repeats the first words of a series. Other words need one that has forgotten them.
        let said_otherwise = self.told.get(&series).is_some_and(|told| *told != words);
        if said_otherwise || self.told.len() >= REMEMBERED {
            self.recorder = None;
            self.told.clear();
        }
        let recorder = self.recorder.get_or_insert_with(|| {
            Recorder::new(self.client.clone(), Reporter::from(self.reporter.to_owned()))
        });
        self.told.insert(series, words.clone());
        let event = Event {
            type_: if note.warning { EventType::Warning } else { EventType::Normal },
            reason: note.reason.into(),
            note: Some(words),
            action: note.action.into(),
            secondary: None,
        };
        if let Err(error) = recorder.publish(&event, &about).await {
            tracing::debug!(%error, reason = event.reason, "an event was not recorded");
        }
    }
}

/// The words, as far as an event can hold them.
fn cut(mut words: String) -> String {
    if words.len() > LONGEST {
        words.truncate(words.floor_char_boundary(LONGEST - '…'.len_utf8()));
        words.push('…');
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_holds_1024_bytes() {
        assert_eq!(cut("é".repeat(512)), "é".repeat(512));
        let words = cut(format!("a{}", "é".repeat(512)));
        assert_eq!((words.len(), words.chars().last()), (1024, Some('…')));
    }
}
