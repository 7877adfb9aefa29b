//! Bad weather: faults on demand between a client and an API server, be it in memory or real.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use ferrolb_fake_api::{ApiServer, Fault, On, Verb, Weather};
//! let (api, weather) = (ApiServer::new(), Weather::new());
//! let client = weather.client(api.clone());
//! // The next two writes of a status are refused as too many; then a watch goes silent for good.
//! let refused = weather.add(On::verb(Verb::Patch).resource("services/status").times(2), Fault::too_many(1));
//! weather.add(On::verb(Verb::Watch).resource("services"), Fault::WatchStuck);
//! # let _ = client;
//! assert_eq!(refused.hits(), 0);
//! ```
//!
//! The first rule that matches a request decides. Nothing here is random: the same requests in the same order
//! meet the same faults.

mod body;
mod layer;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::{Call, Verb};

pub use layer::Sky;

/// Which requests a rule is about.
#[derive(Clone, Debug, Default)]
pub struct On {
    verbs: Vec<Verb>,
    resource: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    skip: usize,
    times: Option<usize>,
}

impl On {
    /// Every request.
    pub fn any() -> Self {
        On::default()
    }

    /// Requests with this verb.
    pub fn verb(verb: Verb) -> Self {
        On { verbs: vec![verb], ..On::default() }
    }

    /// Requests with one of these verbs.
    pub fn verbs(verbs: &[Verb]) -> Self {
        On { verbs: verbs.to_vec(), ..On::default() }
    }

    /// Requests that change something.
    pub fn writes() -> Self {
        Self::verbs(&Verb::WRITES)
    }

    /// Only this resource: a plural (`services`), a plural with its subresource (`services/status`), or both
    /// (`services/*`).
    #[must_use]
    pub fn resource(self, target: &str) -> Self {
        On { resource: Some(target.to_owned()), ..self }
    }

    /// Only in this namespace.
    #[must_use]
    pub fn namespace(self, namespace: &str) -> Self {
        On { namespace: Some(namespace.to_owned()), ..self }
    }

    /// Only the object of this name. Of a creation, whose path has no name, it matches none.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        On { name: Some(name.to_owned()), ..self }
    }

    /// Lets the first `count` of them pass.
    #[must_use]
    pub fn after(self, count: usize) -> Self {
        On { skip: count, ..self }
    }

    /// Only the next `count` of them; else until the rule is removed.
    #[must_use]
    pub fn times(self, count: usize) -> Self {
        On { times: Some(count), ..self }
    }

    fn matches(&self, call: &Call) -> bool {
        let is = |wanted: &Option<String>, has: &Option<String>| wanted.is_none() || wanted == has;
        let target = self.resource.as_deref().is_none_or(|wanted| {
            let plural = call.resource.as_ref().map_or("", |resource| resource.plural.as_str());
            wanted == call.target() || wanted.strip_suffix("/*") == Some(plural)
        });
        (self.verbs.is_empty() || self.verbs.contains(&call.verb))
            && target
            && is(&self.namespace, &call.namespace)
            && is(&self.name, &call.name)
    }
}

/// How an answer is lost, after all was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// An error in its place, such as 500 or 504.
    Status(u16),
    /// The connection breaks.
    Connection,
    /// Nothing comes.
    Silence,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not done; the server answers with this code, in its own words for this request.
    Status {
        /// The HTTP status.
        code: u16,
        /// `Retry-After`, in seconds.
        retry_after: Option<u32>,
    },
    /// It is not done; the connection breaks.
    Connection,
    /// It is done after this time, if the client still waits.
    Delay(Duration),
    /// It is done at once, and answered after this time.
    SlowAnswer(Duration),
    /// It is not done, and nothing is ever answered.
    Hang,
    /// It waits until the rule is [released](Rule::release) or removed, and is done then, whether the client
    /// still waits or not.
    Hold,
    /// It is done, and the answer is lost.
    AnswerLost(Lost),
    /// The client gets nothing; after this time it is done nevertheless, as if it had been on its way so long.
    Late(Duration),
    /// A watch ends: one that runs, now; a new one, before its first event.
    WatchEnd,
    /// A watch stays open and delivers nothing more, ever, as after a silent failure of the network.
    WatchStuck,
    /// A watch delivers nothing while the rule stands, then goes on without loss, as from a slow server.
    WatchPause,
    /// A watch gets an ERROR event with 410 (expired) and ends.
    WatchExpired,
}

impl Fault {
    /// An answer with this code, without `Retry-After`.
    pub fn status(code: u16) -> Self {
        Fault::Status { code, retry_after: None }
    }

    /// 429 with `Retry-After`, in seconds.
    pub fn too_many(retry_after: u32) -> Self {
        Fault::Status { code: 429, retry_after: Some(retry_after) }
    }

    /// It is about the events of a watch; such a rule reaches watches that run already, too.
    fn is_of_watches(self) -> bool {
        matches!(self, Fault::WatchEnd | Fault::WatchStuck | Fault::WatchPause | Fault::WatchExpired)
    }
}

/// The weather: rules, which are empty at first. Clones share them.
///
/// As a [`tower::Layer`] it wraps any service that a [`kube::Client`] can be made of; [`Weather::client`] and
/// [`Weather::around`] do so.
#[derive(Clone, Default)]
pub struct Weather {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Says that rules changed, to watches that run and requests that are held.
    changes: watch::Sender<u64>,
}

impl Default for Shared {
    fn default() -> Self {
        Shared { state: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

#[derive(Default)]
struct State {
    next: u64,
    rules: Vec<Ruling>,
    calls: Vec<Call>,
}

struct Ruling {
    id: u64,
    on: On,
    fault: Fault,
    passed: usize,
    hits: usize,
    released: usize,
    removed: bool,
}

impl Ruling {
    /// Takes a request that matches: whether the fault is for it.
    fn take(&mut self) -> bool {
        if self.passed < self.on.skip {
            self.passed += 1;
            return false;
        }
        if self.on.times.is_some_and(|times| self.hits >= times) {
            return false;
        }
        self.hits += 1;
        true
    }
}

/// A fault that met a request.
#[derive(Clone, Copy, Debug)]
struct Hit {
    rule: u64,
    fault: Fault,
    /// The how-manieth hit of the rule this is, from 1 on.
    number: usize,
}

/// What one watch has had to do with rules so far.
#[derive(Debug, Default)]
struct Acquainted {
    /// Rules that let it pass.
    passed: BTreeSet<u64>,
    /// Rules that took it.
    taken: BTreeSet<u64>,
}

impl Weather {
    /// Fair weather.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule, behind those there are. It stays when the returned handle is dropped.
    pub fn add(&self, on: On, fault: Fault) -> Rule {
        let id = {
            let mut state = self.shared.state();
            state.next += 1;
            let id = state.next;
            state.rules.push(Ruling { id, on, fault, passed: 0, hits: 0, released: 0, removed: false });
            id
        };
        self.shared.changed();
        Rule { shared: self.shared.clone(), id }
    }

    /// Removes all rules.
    pub fn clear(&self) {
        for rule in &mut self.shared.state().rules {
            rule.removed = true;
        }
        self.shared.changed();
    }

    /// Every request that came by, in order, whatever became of it.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.state().calls.clone()
    }

    /// A client of a service, such as [`crate::ApiServer`], in this weather. Its default namespace is `default`.
    pub fn client<S, B>(&self, service: S) -> kube::Client
    where
        S: tower::Service<http::Request<kube::client::Body>, Response = http::Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<tower::BoxError>,
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<tower::BoxError>,
    {
        kube::Client::new(Sky::new(self.clone(), service), "default")
    }

    /// A client like `client`, in this weather.
    pub fn around(&self, client: &kube::Client) -> kube::Client {
        kube::Client::new(self.sky_of(client), client.default_namespace())
    }

    /// The service behind [`Weather::around`], for those who forward requests of others.
    pub fn sky_of(&self, client: &kube::Client) -> Sky {
        let inner = client.clone();
        let send = move |request| {
            let client = inner.clone();
            async move { client.send(request).await }
        };
        Sky::new(self.clone(), tower::service_fn(send))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// A new request: what it meets.
    fn meet(&self, call: &Call) -> Option<Hit> {
        let mut state = self.state();
        state.calls.push(call.clone());
        let mut rules = state.rules.iter_mut();
        rules.find_map(|rule| {
            let applies =
                !rule.removed && !rule.fault.is_of_watches() && rule.on.matches(call) && rule.take();
            applies.then_some(Hit { rule: rule.id, fault: rule.fault, number: rule.hits })
        })
    }

    /// A watch that runs: what it meets now. Each rule counts a watch once.
    fn meet_watch(&self, call: &Call, known: &mut Acquainted) -> Option<Fault> {
        let mut state = self.state();
        state.rules.iter_mut().find_map(|rule| {
            if rule.removed || !rule.fault.is_of_watches() || !rule.on.matches(call) {
                return None;
            }
            if !known.taken.contains(&rule.id) {
                if known.passed.contains(&rule.id) {
                    return None;
                }
                if !rule.take() {
                    known.passed.insert(rule.id);
                    return None;
                }
                known.taken.insert(rule.id);
            }
            Some(rule.fault)
        })
    }

    /// Waits until a held request may go on.
    async fn held(&self, hit: Hit) {
        let mut changes = self.changes.subscribe();
        loop {
            let free = {
                let state = self.state();
                let rule = state.rules.iter().find(|rule| rule.id == hit.rule);
                rule.is_none_or(|rule| rule.removed || rule.released >= hit.number)
            };
            // The sender lives as long as `self`.
            if free || changes.changed().await.is_err() {
                return;
            }
        }
    }
}

/// A rule that was added.
#[derive(Clone)]
pub struct Rule {
    shared: Arc<Shared>,
    id: u64,
}

impl Rule {
    /// How many requests it met; a watch counts once.
    pub fn hits(&self) -> usize {
        self.with(|rule| rule.hits)
    }

    /// Waits until it met `count` requests.
    pub async fn hit(&self, count: usize) {
        let mut changes = self.shared.changes.subscribe();
        while self.hits() < count {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Lets all go on that it [holds](Fault::Hold) now.
    pub fn release(&self) {
        self.with(|rule| rule.released = rule.hits);
        self.shared.changed();
    }

    /// Removes it. What it holds or pauses goes on; what it hangs, stops or delays does not change.
    pub fn remove(&self) {
        self.with(|rule| rule.removed = true);
        self.shared.changed();
    }

    fn with<T>(&self, look: impl FnOnce(&mut Ruling) -> T) -> T {
        let mut state = self.shared.state();
        let rule = state.rules.iter_mut().find(|rule| rule.id == self.id);
        look(rule.expect("rules are marked as removed, never taken out"))
    }
}
