//! The body of a watch, in the weather.

use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::watch;
use tower::BoxError;

use super::{Acquainted, Fault, Shared};
use crate::answer::{self, Failure};
use crate::{AnswerBody, Call};

struct Watched {
    shared: Arc<Shared>,
    changes: watch::Receiver<u64>,
    call: Call,
    inner: AnswerBody,
    known: Acquainted,
    hits: usize,
    /// The last event was delivered in part: its rest must come before anything else.
    within_line: bool,
    ended: bool,
}

/// `inner`, the answer to the watch `call`, as long as the weather lets it.
pub(super) fn watched(shared: Arc<Shared>, call: Call, inner: AnswerBody) -> AnswerBody {
    let changes = shared.changes.subscribe();
    let known = Acquainted::default();
    let watched = Watched { shared, changes, call, inner, known, hits: 0, within_line: false, ended: false };
    let frames = stream::unfold(watched, async |mut watched| {
        let bytes = watched.next().await?;
        Some((bytes.map(Frame::data), watched))
    });
    StreamBody::new(frames).boxed_unsync()
}

impl Watched {
    async fn next(&mut self) -> Option<Result<Bytes, BoxError>> {
        loop {
            if self.ended {
                return None;
            }
            self.changes.borrow_and_update();
            let fault = self.shared.meet_watch(&self.call, &mut self.known);
            if self.known.taken.len() != self.hits {
                self.hits = self.known.taken.len();
                self.shared.changed();
            }
            match fault {
                Some(Fault::WatchEnd) => return None,
                Some(Fault::WatchStuck) => pending::<()>().await,
                Some(Fault::WatchPause) => {
                    // The sender lives as long as `shared`.
                    if self.changes.changed().await.is_err() {
                        return None;
                    }
                    continue;
                }
                Some(Fault::WatchExpired) if !self.within_line => {
                    self.ended = true;
                    let failure = Failure::expired("The resourceVersion for the provided watch is too old.");
                    return Some(Ok(answer::event("ERROR", &failure.status())));
                }
                _ => {}
            }
            let frame = tokio::select! {
                biased;
                changed = self.changes.changed() => {
                    if changed.is_err() {
                        return None;
                    }
                    continue;
                }
                frame = self.inner.frame() => frame,
            };
            match frame {
                None => return None,
                Some(Err(error)) => {
                    self.ended = true;
                    return Some(Err(error));
                }
                Some(Ok(frame)) => {
                    // Trailers, the other thing that a frame can be, mean nothing to a watch.
                    let Ok(mut bytes) = frame.into_data() else { continue };
                    if matches!(fault, Some(Fault::WatchExpired))
                        && let Some(end) = bytes.iter().position(|byte| *byte == b'\n')
                    {
                        bytes.truncate(end + 1);
                    }
                    if let Some(last) = bytes.last() {
                        self.within_line = *last != b'\n';
                    }
                    return Some(Ok(bytes));
                }
            }
        }
    }
}
