//! Events on Services and pools: what `kubectl describe` shows of our decisions.

use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::brain::Note;

/// So many events may wait for the API server; more are dropped. The condition is what counts, and a server
/// that is slow needs no backlog.
const WAITING: usize = 1024;

/// A recorder remembers what it told for minutes, so that the same said again is counted on the first event. So many
/// are remembered; then it begins anew, or ten thousand Services at once would take tens of megabytes.
const REMEMBERED: usize = 256;

/// So many bytes of words the API server takes (`note` of `events.k8s.io/v1`); with more, the event is refused.
const LONGEST: usize = 1024;

/// Sends events in the background.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Sender<Note>,
}

impl Events {
    /// Starts sending.
    pub fn start(client: Client, shutdown: CancellationToken) -> Self {
        let (queue, mut waiting) = mpsc::channel::<Note>(WAITING);
        let anew = move || Recorder::new(client.clone(), Reporter::from("ferrolb-controller".to_owned()));
        tokio::spawn(shutdown.run_until_cancelled_owned(async move {
            let (mut recorder, mut told) = (anew(), 0);
            while let Some(note) = waiting.recv().await {
                told += 1;
                if told > REMEMBERED {
                    (recorder, told) = (anew(), 1);
                }
                let event = Event {
                    type_: if note.warning { EventType::Warning } else { EventType::Normal },
                    reason: note.reason.into(),
                    note: Some(cut(note.note)),
                    action: note.action.into(),
                    secondary: None,
                };
                if let Err(error) = recorder.publish(&event, &note.about).await {
                    tracing::debug!(%error, reason = event.reason, "an event was not recorded");
                }
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
        if note.warning && note.reason == "InvalidPool" {
            tracing::warn!(kind, object, reason = note.reason, "{}", note.note);
        } else {
            tracing::info!(kind, object, reason = note.reason, "{}", note.note);
        }
        let reason = note.reason;
        if self.queue.try_send(note).is_err() {
            tracing::debug!(reason, "too many events are waiting; one is dropped");
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
