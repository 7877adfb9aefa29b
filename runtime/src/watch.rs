//! Watches: one task a kind says what the API server has, and each change of it.

use std::borrow::Cow;
use std::fmt::Debug;
use std::time::{Duration, Instant};

use futures::StreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Config, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_events};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use crate::metrics::{Common, WatchMetrics};
use crate::readiness::Token;
use crate::run::Context;

/// The server ends each watch after so many seconds. A connection that died in silence is noticed that
/// late plus 5 s, so it is far below kube's default of 290.
pub const WATCH_SECONDS: u32 = 60;

/// The pauses after failures grow from the first to the second. Short, since one object a kind is asked for; spread, since
/// every node asks.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(3));

/// The same failure is logged again only after this time.
const REPEAT: Duration = Duration::from_secs(60);

/// What a watch shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen<K> {
    /// These are all objects: the watch begins, or began anew.
    Listed(Vec<K>),
    /// An object was created or changed.
    Applied(K),
    /// An object was deleted.
    Deleted(K),
    /// The watch does not work now. What it has shown may be out of date.
    Failing,
}

/// A watch that ends when this is dropped.
#[derive(Debug)]
pub struct Watch(tokio::task::JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How to watch.
#[derive(Clone, Debug, Default)]
pub struct How {
    /// What narrows the watch.
    pub select: Config,
    /// The age in seconds at which the server ends it, to be begun again where it was: a connection that died in
    /// silence is noticed that late plus 5 s.
    pub seconds: u32,
    /// Whether the program is not ready before the first complete list.
    pub gates_readiness: bool,
}

/// Watches objects of `api` and hands over what it sees, until the result is dropped or the program ends.
///
/// `trim` takes out of each object what nobody reads, before it is kept. Failures are logged in words that say what to
/// do, and tried again with growing pauses (0.2 s to 3 s) for ever.
pub fn watch_each<K>(
    context: &Context,
    api: Api<K>,
    how: How,
    trim: fn(&mut K),
    see: impl FnMut(Seen<K>) + Send + 'static,
) -> Watch
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let trimmed = move |mut object| {
        trim(&mut object);
        object
    };
    watch_as(context, api, how, trimmed, see)
}

/// The same, with each object made into what is kept of it as soon as it was read: a list of ten thousand is never
/// there as whole objects.
pub fn watch_as<K, T>(
    context: &Context,
    api: Api<K>,
    how: How,
    mut convert: impl FnMut(K) -> T + Send + 'static,
    mut see: impl FnMut(Seen<T>) + Send + 'static,
) -> Watch
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    T: Send + 'static,
{
    let shutdown = context.shutdown.clone();
    let token = how.gates_readiness.then(|| context.readiness.token(K::plural(&())));
    let report = Report::new(token, context.metrics.clone(), K::plural(&()));
    let mut listed = Vec::new();
    let following = follow(api, how.select, how.seconds, report, move |event| match event {
        Some(Event::Init) => listed = Vec::new(),
        Some(Event::InitApply(object)) => listed.push(convert(object)),
        Some(Event::InitDone) => see(Seen::Listed(std::mem::take(&mut listed))),
        Some(Event::Apply(object)) => see(Seen::Applied(convert(object))),
        Some(Event::Delete(object)) => see(Seen::Deleted(convert(object))),
        None => see(Seen::Failing),
    });
    Watch(tokio::spawn(async move {
        shutdown.run_until_cancelled_owned(following).await;
    }))
}

/// Watches for ever; `handle` gets each event, and `None` for a failure.
async fn follow<K>(
    api: Api<K>,
    select: Config,
    seconds: u32,
    mut report: Report,
    mut handle: impl FnMut(Option<Event<K>>),
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let events = watch_events(api, select.timeout(seconds)).backoff(Pauses::default());
    let mut events = std::pin::pin!(events);
    let answered = report.watch.answered();
    loop {
        // Before the watch is begun, so that no answer is missed.
        let mut again = std::pin::pin!(answered.notified());
        again.as_mut().enable();
        let event = tokio::select! {
            biased;
            event = events.next() => match event {
                Some(event) => event,
                None => return,
            },
            () = again, if report.failing => {
                report.answered(&K::plural(&()));
                continue;
            }
        };
        match &event {
            Ok(Event::Init) => {}
            Ok(Event::InitApply(_)) => report.metrics.updated(1),
            Ok(Event::InitDone) => report.listed(&K::plural(&())),
            Ok(Event::Apply(_) | Event::Delete(_)) => {
                report.metrics.updated(1);
                report.recovered(&K::plural(&()));
            }
            Err(error) => report.failed::<K>(error),
        }
        handle(event.ok());
    }
}

/// The pauses after failures, one after the other.
#[derive(Debug, Default)]
struct Pauses {
    failures: u32,
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let longest = PAUSES.0.saturating_mul(1 << self.failures.min(16)).min(PAUSES.1);
        self.failures += 1;
        // Between half and all of it. The nanoseconds of the clock are chance enough to spread programs.
        let chance = f64::from(crate::now().subsec_nanos() % 1000) / 1000.0;
        Some(longest.mul_f64(0.5 + chance / 2.0))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.failures = 0;
    }
}

/// What was last said of a watch, so that the log names a lasting failure once and its end once.
struct Report {
    token: Option<Token>,
    metrics: Common,
    watch: WatchMetrics,
    /// It does not work now.
    failing: bool,
    /// That was said, and its end was not.
    told: bool,
    /// What was said last, and when.
    failure: Option<(String, Instant)>,
}

impl Report {
    fn new(token: Option<Token>, metrics: Common, plural: Cow<'static, str>) -> Self {
        let watch = metrics.watch(plural);
        Report { token, metrics, watch, failing: false, told: false, failure: None }
    }

    fn listed(&mut self, plural: &str) {
        if let Some(token) = &self.token {
            token.ready();
        }
        self.recovered(plural);
    }

    /// Events come again.
    fn recovered(&mut self, plural: &str) {
        self.answered(plural);
        self.failure = None;
    }

    /// The API server has answered to a watch that goes on where the last one was cut: it shows no event until there is news. What was
    /// said of its failure is not said again soon: it may fail as soon as it is answered, each time.
    fn answered(&mut self, plural: &str) {
        self.watch.works();
        self.failing = false;
        if std::mem::take(&mut self.told) {
            tracing::info!(kind = plural, "watching again");
        }
    }

    fn failed<K: Resource<DynamicType = ()>>(&mut self, error: &watcher::Error) {
        let (plural, text) = (K::plural(&()), explain_watch::<K>(error));
        // A watch that the server ended for its age is everyday life.
        if let watcher::Error::WatchError(status) = error
            && status.code == 410
        {
            tracing::debug!(kind = %plural, "the watch was too old; listing anew");
            return;
        }
        self.watch.failed();
        self.failing = true;
        let news = self.failure.as_ref().is_none_or(|(last, at)| *last != text || at.elapsed() > REPEAT);
        if news {
            tracing::warn!(kind = %plural, "{text}; trying again");
            self.told = true;
            self.failure = Some((text, Instant::now()));
        }
    }
}

fn explain_watch<K: Resource<DynamicType = ()>>(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => explain::<K>(error),
        other => format!("cannot watch {}: {other}", K::plural(&())),
    }
}

/// Says in words what an API error on kind `K` means and what to do about it.
pub fn explain<K: Resource<DynamicType = ()>>(error: &kube::Error) -> String {
    let (plural, group) = (K::plural(&()), K::group(&()));
    match error {
        kube::Error::Api(status) if status.is_forbidden() => {
            format!("not allowed to read {plural}: apply config/rbac ({})", status.message)
        }
        kube::Error::Api(status) if status.code == 404 && !group.is_empty() => {
            format!("the API server does not know {plural}.{group}: kubectl apply -f crds/")
        }
        // A new CustomResourceDefinition is served after a moment; until then its server says "too many".
        kube::Error::Api(status) => format!("cannot read {plural} yet: {}", status.message),
        other => format!("cannot read {plural}: {}", chain(other)),
    }
}

/// An error with its causes: kube's own text often leaves out the one that matters.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::body::Body;
    use axum::http::{Request, Response};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::client::Body as Sent;
    use tower::Layer;

    use super::*;

    /// An API server without any ConfigMap. The first watch of them ends, the second is refused, all others go on without news.
    fn server(watches: Arc<AtomicUsize>) -> impl Fn(Request<Sent>) -> Response<Body> + Clone {
        move |request| {
            let (status, body) = if !request.uri().query().unwrap_or_default().contains("watch=true") {
                let list = r#"{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[]}"#;
                (200, Body::from(list))
            } else {
                match watches.fetch_add(1, Ordering::Relaxed) {
                    0 => (200, Body::empty()),
                    1 => {
                        (500, Body::from(r#"{"kind":"Status","status":"Failure","code":500,"message":"no"}"#))
                    }
                    _ => {
                        let quiet = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
                        (200, Body::from_stream(quiet))
                    }
                }
            };
            let mut answer = Response::new(body);
            *answer.status_mut() = axum::http::StatusCode::from_u16(status).unwrap_or_default();
            answer
        }
    }

    #[tokio::test]
    async fn a_watch_that_goes_on_without_news_works() {
        let (common, watches) = (Common::default(), Arc::new(AtomicUsize::new(0)));
        let answer = server(watches.clone());
        let service =
            tower::service_fn(move |request| std::future::ready(Ok::<_, std::io::Error>(answer(request))));
        let client = kube::Client::new(common.layer().layer(service), "default");
        let report = Report::new(None, common.clone(), "configmaps".into());
        let following = follow(Api::<ConfigMap>::all(client), Config::default(), 60, report, |_| {});
        let figure = |name: &str| {
            let name = format!("ferrolb_{name}{{kind=\"configmaps\"}} ");
            let text = common.text();
            text.lines().find_map(|line| line.strip_prefix(&name)).map(str::to_owned)
        };
        let looking = async {
            loop {
                let shown = (figure("watch_failures_total"), figure("watch_failing"));
                if watches.load(Ordering::Relaxed) > 2 && shown == (Some("1".into()), Some("0".into())) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(20), async {
            tokio::select! { () = following => panic!("it ended"), () = looking => {} }
        });
        let count = watches.load(Ordering::Relaxed);
        assert!(ended.await.is_ok(), "{count} watches\n{}", common.text());
    }
}
