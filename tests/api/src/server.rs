//! The API server in memory.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::StreamExt;
use http::Request;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::client::Body;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;
use tower::{BoxError, Service};

use crate::answer::{self, Failure};
use crate::kind::{Kind, Resource};
use crate::owners::Owners;
use crate::read::{self, View};
use crate::store::{Clock, Commit, Store, place};
use crate::watching::{Access, Signal, Watching};
use crate::write::{self, Write};
use crate::{Answer, Call, Verb};

/// How often one verb was used on one resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    /// Requests that arrived, whatever became of them.
    pub asked: usize,
    /// Versions that they made. A write that changes nothing makes none.
    pub committed: usize,
}

/// An API server in memory. Clones are the same server.
///
/// It is a [`tower::Service`], so [`kube::Client::new`] takes it, alone or behind [`crate::Weather`].
#[derive(Clone)]
pub struct ApiServer {
    shared: Arc<Shared>,
}

struct Shared {
    store: Mutex<Store>,
    signal: watch::Sender<Signal>,
}

impl Access for Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        // A test that panics elsewhere may still want to see what is here.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ApiServer {
    fn default() -> Self {
        Self::new()
    }
}

impl ApiServer {
    /// A server that knows no kinds yet.
    ///
    /// Its clock starts at the present and goes on with tokio's, so a test that stops tokio's time stops
    /// this one.
    pub fn new() -> Self {
        let store = Store::new(ticking_from(Timestamp::now()));
        ApiServer {
            shared: Arc::new(Shared {
                store: Mutex::new(store),
                signal: watch::Sender::new(Signal::default()),
            }),
        }
    }

    /// Serves the kind of a Rust type.
    #[must_use]
    pub fn with<K>(self) -> Self
    where
        K: kube::Resource<DynamicType = ()>,
        K::Scope: 'static,
    {
        self.register::<K>();
        self
    }

    /// Serves the kind of a Rust type.
    pub fn register<K>(&self)
    where
        K: kube::Resource<DynamicType = ()>,
        K::Scope: 'static,
    {
        self.register_kind(Kind::of::<K>());
    }

    /// Serves a kind.
    pub fn register_kind(&self, kind: Kind) {
        self.shared.store().register(kind);
    }

    /// Serves the kinds of this name (`services`, `ipaddresspools.metallb.io`) or stops doing so, as when a
    /// CRD comes or goes. Its paths are then unknown (404) and its watches end; objects are kept.
    ///
    /// # Panics
    /// When no such kind was registered.
    pub fn serve(&self, name: &str, served: bool) {
        let found = self.shared.store().serve(name, served);
        assert!(found > 0, "no kind {name} was registered");
        self.signal(|_| {});
    }

    /// A client of this server.
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.clone(), "default")
    }

    /// Sets the clock to `now`; it goes on with tokio's.
    pub fn set_time(&self, now: Timestamp) {
        self.shared.store().clock = ticking_from(now);
    }

    /// The server's time.
    pub fn now(&self) -> Timestamp {
        (self.shared.store().clock)()
    }

    /// The version of the last commit.
    pub fn version(&self) -> u64 {
        self.shared.store().revision()
    }

    /// Forgets the history: a watch or list from an older version gets 410. [`ApiServer::history`] keeps it.
    pub fn compact(&self) {
        self.shared.store().compact();
    }

    /// Sends a bookmark to every watch that takes them.
    pub fn bookmark(&self) {
        self.signal(|signal| signal.bookmarks += 1);
    }

    /// Ends every watch that runs, as a server that restarts.
    pub fn end_watches(&self) {
        self.signal(|signal| signal.ends += 1);
    }

    /// Every commit, in order.
    pub fn history(&self) -> Vec<Arc<Commit>> {
        self.shared.store().log().to_vec()
    }

    /// How often each verb arrived for each resource (`services`, `services/status`).
    pub fn requests(&self) -> BTreeMap<(Verb, String), usize> {
        self.shared.store().requests.clone()
    }

    /// The writes among them, with what they committed.
    pub fn writes(&self) -> BTreeMap<(Verb, String), Writes> {
        self.shared.store().writes.clone()
    }

    /// One object, read past the API. `namespace` is empty for kinds that lie in none.
    ///
    /// # Panics
    /// When it cannot be read as a `K`.
    pub fn get<K>(&self, namespace: &str, name: &str) -> Option<K>
    where
        K: kube::Resource<DynamicType = ()> + DeserializeOwned,
    {
        self.shared.store().object(&resource::<K>(), &place(namespace, name)).map(|object| typed(&object))
    }

    /// All objects of a kind, read past the API, in the order of lists.
    ///
    /// # Panics
    /// When one cannot be read as a `K`.
    pub fn all<K>(&self) -> Vec<K>
    where
        K: kube::Resource<DynamicType = ()> + DeserializeOwned,
    {
        self.shared.store().all(&resource::<K>()).iter().map(|(_, object)| typed(object)).collect()
    }

    /// Stores an object whole, with its status, past the API and all its checks, as if somebody else had done
    /// so; new or in place of what is there. It counts as no request. Returns what is stored.
    ///
    /// # Panics
    /// When its kind was not registered.
    pub fn put(&self, object: impl Serialize) -> Value {
        let mut new = serde_json::to_value(object).expect("an object of the API is JSON");
        let stored = {
            let mut store = self.shared.store();
            let text = |name: &str| new[name].as_str().unwrap_or_default().to_owned();
            let (api_version, kind) = (text("apiVersion"), text("kind"));
            let kind = store
                .kind_of(&api_version, &kind)
                .unwrap_or_else(|| panic!("no kind {kind} of {api_version} was registered"));
            let text = |name: &str| new["metadata"][name].as_str().map(str::to_owned);
            let namespace = text("namespace").unwrap_or_else(|| "default".to_owned());
            let name = text("name").expect("an object has a name");
            let place = place(if kind.namespaced { &namespace } else { "" }, &name);
            let old = store.object(&kind.resource, &place);
            let owners = store.owners(&kind.resource, &place);
            let times =
                (new["metadata"].get("creationTimestamp").cloned(), new["metadata"].get("uid").cloned());
            new = write::newborn(&mut store, &kind, &namespace, new);
            if let Some(old) = old {
                for name in ["uid", "creationTimestamp", "generation"] {
                    new["metadata"][name] = old["metadata"][name].clone();
                }
            } else {
                // A fixture may say how old it is, and who it is.
                for (name, value) in [("creationTimestamp", times.0), ("uid", times.1)] {
                    if let Some(value) = value.filter(|value| !value.is_null()) {
                        new["metadata"][name] = value;
                    }
                }
            }
            store.commit(&kind, new, owners, false)
        };
        self.signal(|_| {});
        stored.as_ref().clone()
    }

    /// Takes an object away past the API, finalizers or not; whether it was there.
    pub fn remove<K>(&self, namespace: &str, name: &str) -> bool
    where
        K: kube::Resource<DynamicType = ()>,
        K::Scope: 'static,
    {
        let there = {
            let mut store = self.shared.store();
            let kind = Kind::of::<K>();
            let object = store.object(&kind.resource, &place(namespace, name));
            if let Some(object) = &object {
                store.commit(&kind, object.as_ref().clone(), Owners::default(), true);
            }
            object.is_some()
        };
        self.signal(|_| {});
        there
    }

    fn signal(&self, change: impl FnOnce(&mut Signal)) {
        self.shared.signal.send_modify(|signal| {
            signal.news += 1;
            change(signal);
        });
    }

    async fn answer(self, request: Request<Body>) -> Result<Answer, BoxError> {
        let (parts, body) = request.into_parts();
        let call = Call::of(&parts.method, &parts.uri);
        let body = body.collect().await?.to_bytes();
        let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let outcome = self.handle(&call, header(ACCEPT), header(CONTENT_TYPE), header(USER_AGENT), &body);
        Ok(outcome.unwrap_or_else(|failure| failure.answer()))
    }

    fn handle(
        &self,
        call: &Call,
        accept: &str,
        content_type: &str,
        agent: &str,
        body: &[u8],
    ) -> answer::Result<Answer> {
        let key = (call.verb, call.target());
        let Some(resource) = &call.resource else {
            return Ok(answer::json_answer(200, &read::other(&self.shared.store(), call)?));
        };
        let kind = {
            let mut store = self.shared.store();
            *store.requests.entry(key.clone()).or_default() += 1;
            if call.verb.writes() {
                store.writes.entry(key.clone()).or_default().asked += 1;
            }
            store.kind(resource)?
        };
        // All namespaces at once can be read, and no more.
        let in_none = kind.namespaced && call.namespace.is_none();
        if in_none && !matches!(call.verb, Verb::List | Verb::Watch) {
            return Err(Failure::method_not_allowed());
        }
        let view = View::new(&kind, accept);
        if call.verb == Verb::Watch {
            return self.watch(&kind, call, view);
        }
        let mut store = self.shared.store();
        let before = store.revision();
        let write = Write { kind: &kind, call, content_type, agent, body };
        let (code, value) = match call.verb {
            Verb::Get => (200, read::get(&store, &kind, call, &view)?),
            Verb::List => (200, read::list(&store, &kind, call, &view)?),
            Verb::Delete => write::delete(&mut store, &write)?,
            Verb::DeleteCollection => {
                write::delete_all(&mut store, &write)?;
                (200, read::list(&store, &kind, call, &view)?)
            }
            verb => {
                let (code, object) = write::write(&mut store, &write, verb)?;
                (code, view.show(&object))
            }
        };
        let committed = store.revision() - before;
        if committed > 0 {
            store.writes.entry(key).or_default().committed +=
                usize::try_from(committed).unwrap_or(usize::MAX);
            drop(store);
            self.signal(|_| {});
        }
        Ok(answer::json_answer(code, &value))
    }

    fn watch(&self, kind: &Kind, call: &Call, view: View) -> answer::Result<Answer> {
        let watching =
            Watching::begin(self.shared.clone(), self.shared.signal.subscribe(), kind, call, view)?;
        let frames = watching.lines().map(|line| Ok::<_, BoxError>(Frame::data(line)));
        let mut answer = http::Response::new(StreamBody::new(frames).boxed_unsync());
        let json = http::HeaderValue::from_static("application/json");
        answer.headers_mut().insert(CONTENT_TYPE, json);
        Ok(answer)
    }
}

impl Service<Request<Body>> for ApiServer {
    type Response = Answer;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}

/// A clock that says `now` now and goes on with tokio's.
fn ticking_from(now: Timestamp) -> Clock {
    let start = tokio::time::Instant::now();
    Arc::new(move || {
        let gone = SignedDuration::try_from(start.elapsed()).unwrap_or(SignedDuration::ZERO);
        now.checked_add(gone).unwrap_or(now)
    })
}

fn resource<K: kube::Resource<DynamicType = ()>>() -> Resource {
    Resource {
        group: K::group(&()).into_owned(),
        version: K::version(&()).into_owned(),
        plural: K::plural(&()).into_owned(),
    }
}

fn typed<K: DeserializeOwned>(object: &Value) -> K {
    serde_json::from_value(object.clone())
        .unwrap_or_else(|error| panic!("a stored object does not fit its type: {error}: {object}"))
}
