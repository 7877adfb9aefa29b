//! Watches: the log from some version on, as it grows, and bookmarks.

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, stream};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::Call;
use crate::answer::{self, Failure, Result};
use crate::kind::Kind;
use crate::read::View;
use crate::selector::Filter;
use crate::store::{Change, Commit, Store};

/// How often a quiet watch gets a bookmark, as from the real server.
const BOOKMARKS: Duration = Duration::from_secs(60);

/// The annotation of the bookmark that ends the initial events of a streaming list.
const INITIAL_END: &str = "k8s.io/initial-events-end";

/// What watches wait for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Signal {
    /// Changes with every commit and every other news.
    pub(crate) news: u64,
    /// How often bookmarks were called for.
    pub(crate) bookmarks: u64,
    /// How often all watches were ended.
    pub(crate) ends: u64,
}

/// Gives access to the store, however it is locked.
pub(crate) trait Access: Send + Sync + 'static {
    fn store(&self) -> MutexGuard<'_, Store>;
}

pub(crate) struct Watching<A> {
    access: Arc<A>,
    signal: watch::Receiver<Signal>,
    seen: Signal,
    kind: Kind,
    view: View,
    filter: Filter,
    bookmarks: bool,
    /// What comes next in the log.
    next: usize,
    /// The version up to which the watcher has all.
    version: u64,
    ready: VecDeque<Bytes>,
    deadline: Option<Instant>,
    next_bookmark: Instant,
    ended: bool,
}

impl<A: Access> Watching<A> {
    /// Begins a watch.
    pub(crate) fn begin(
        access: Arc<A>,
        signal: watch::Receiver<Signal>,
        kind: &Kind,
        call: &Call,
        view: View,
    ) -> Result<Self> {
        let seen = *signal.borrow();
        let guard = access.store();
        let store = &*guard;
        let filter = Filter::of(call)?;
        let flag = |name: &str| call.parameter(name) == Some("true");
        let bookmarks = flag("allowWatchBookmarks");
        let initial = call.parameter("sendInitialEvents").map(|value| value == "true");
        check_initial(call, initial)?;
        let asked = crate::read::asked_version(store, call)?;
        let seconds = match call.parameter("timeoutSeconds") {
            Some(text) => {
                text.parse().map_err(|_| Failure::bad_request(format!("invalid timeoutSeconds: {text}")))?
            }
            None => 0_u64,
        };
        let mut ready = VecDeque::new();
        let mut ended = false;
        let mut version = asked.unwrap_or_else(|| store.revision());
        let from_now = asked.is_none() && initial != Some(false);
        if initial == Some(true) || (from_now && initial.is_none()) {
            // As one picture of now: the state first, then what changes.
            version = store.revision();
            for (_, object) in store.all(&kind.resource) {
                if filter.matches(&object) {
                    ready.push_back(answer::event("ADDED", &view.show(&object)));
                }
            }
            if initial == Some(true) {
                ready.push_back(bookmark(&view, version, true));
            }
        } else if version < store.oldest() {
            let message = format!("too old resource version: {version} ({})", store.oldest());
            ready.push_back(answer::event("ERROR", &Failure::expired(message).status()));
            ended = true;
        }
        let next = store.after(version);
        drop(guard);
        let now = Instant::now();
        Ok(Watching {
            access,
            signal,
            seen,
            kind: kind.clone(),
            view,
            filter,
            bookmarks,
            next,
            version,
            ready,
            deadline: (seconds > 0).then(|| now + Duration::from_secs(seconds)),
            next_bookmark: now + BOOKMARKS,
            ended,
        })
    }

    /// The lines of the answer.
    pub(crate) fn lines(self) -> impl Stream<Item = Bytes> + Send {
        stream::unfold(self, async |mut watching| {
            let line = watching.line().await?;
            Some((line, watching))
        })
    }

    async fn line(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if self.ended {
                return None;
            }
            let signal = *self.signal.borrow_and_update();
            self.take_news();
            let called = signal.bookmarks != self.seen.bookmarks;
            if called {
                self.bookmark();
            }
            if signal.ends != self.seen.ends {
                self.ended = true;
            }
            self.seen = signal;
            if self.ended || !self.ready.is_empty() {
                continue;
            }
            let until = self.deadline.unwrap_or(self.next_bookmark).min(self.next_bookmark);
            tokio::select! {
                changed = self.signal.changed() => if changed.is_err() {
                    // The server is gone, and no news will ever come.
                    self.ended = true;
                },
                () = sleep_until(until) => {
                    self.bookmark();
                    self.ended = self.deadline.is_some_and(|deadline| deadline <= until);
                }
            }
        }
    }

    fn bookmark(&mut self) {
        self.next_bookmark = Instant::now() + BOOKMARKS;
        if self.bookmarks {
            self.ready.push_back(bookmark(&self.view, self.version, false));
        }
    }

    fn take_news(&mut self) {
        let access = self.access.clone();
        let store = access.store();
        let log = store.log();
        for commit in &log[self.next..] {
            if commit.resource == self.kind.resource
                && let Some(line) = self.event(commit)
            {
                self.ready.push_back(line);
            }
        }
        self.next = log.len();
        self.version = self.version.max(store.revision());
        // A kind that is taken away ends its watches.
        self.ended |= !store.is_served(&self.kind.resource);
    }

    /// A commit as this watcher sees it: an object may enter or leave what the selectors match.
    fn event(&self, commit: &Commit) -> Option<Bytes> {
        let before = commit.previous.as_deref().is_some_and(|object| self.filter.matches(object));
        let after = commit.change != Change::Deleted && self.filter.matches(&commit.object);
        let (kind, object) = match (before, after) {
            (false, false) => return None,
            (false, true) => ("ADDED", self.view.show(&commit.object)),
            (true, true) => ("MODIFIED", self.view.show(&commit.object)),
            (true, false) => {
                // The last state that matched, at the version at which it ended.
                let last = commit.previous.as_deref().unwrap_or(&commit.object);
                let mut object = self.view.show(last);
                object["metadata"]["resourceVersion"] = commit.version.to_string().into();
                ("DELETED", object)
            }
        };
        Some(answer::event(kind, &object))
    }
}

/// The conditions of the real server for streaming lists.
fn check_initial(call: &Call, initial: Option<bool>) -> Result<()> {
    let matched = call.parameter("resourceVersionMatch");
    let forbidden = |field: &str, why: &str| {
        Err(Failure::invalid("ListOptions.meta.k8s.io", "", field, &format!("Forbidden: {why}")))
    };
    match (initial, matched) {
        (None, Some(_)) => forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        (Some(_), matched) if matched != Some("NotOlderThan") => forbidden(
            "resourceVersionMatch",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
        _ => Ok(()),
    }
}

fn bookmark(view: &View, version: u64, initial_end: bool) -> Bytes {
    let mut metadata = json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
    if initial_end {
        metadata["annotations"] = json!({INITIAL_END: "true"});
    }
    let object: Value = json!({"kind": view.kind(), "apiVersion": view.api_version(), "metadata": metadata});
    answer::event("BOOKMARK", &object)
}
