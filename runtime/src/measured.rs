//! A client of the API server whose requests are counted and timed.

use std::task::{Context, Poll};
use std::time::Instant;

use axum::http::{Method, Request, Response};
use futures::FutureExt;
use futures::future::BoxFuture;
use tower::{Layer, Service};
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::metrics::Common;
use crate::traces::TRACES;

/// Counts what goes through it.
#[derive(Clone, Debug)]
pub(crate) struct Measured<S> {
    inner: S,
    metrics: Common,
}

impl<S> Measured<S> {
    pub(crate) fn new(inner: S, metrics: Common) -> Self {
        Measured { inner, metrics }
    }
}

/// Puts [`Measured`] around a service.
#[derive(Clone, Debug)]
pub(crate) struct Measuring(Common);

impl Common {
    pub(crate) fn layer(&self) -> Measuring {
        Measuring(self.clone())
    }
}

impl<S> Layer<S> for Measuring {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Measured::new(inner, self.0.clone())
    }
}

impl<S, A, B> Service<Request<A>> for Measured<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let (verb, began, metrics) = (verb(&request), Instant::now(), self.metrics.clone());
        let (method, path) = (request.method().as_str(), request.uri().path());
        let watched = (verb == "watch").then(|| path.to_owned());
        let span = tracing::info_span!(
            target: TRACES,
            "request",
            otel.name = format!("{method} {path}"),
            otel.kind = "client",
            otel.status_code = Empty,
            verb,
            http.request.method = method,
            url.path = path,
            http.response.status_code = Empty,
        );
        let answer = span.in_scope(|| self.inner.call(request));
        let mut sent = Sent { verb, began, metrics, span: span.clone(), code: None, watched };
        async move {
            let answer = answer.await;
            sent.code = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            drop(sent);
            answer
        }
        .instrument(span)
        .boxed()
    }
}

/// A request that is under way. It is counted when this is dropped, answered or not: whoever has waited for too long for an
/// answer drops it.
struct Sent {
    verb: &'static str,
    began: Instant,
    metrics: Common,
    span: Span,
    /// Of the answer, once it is there.
    code: Option<u16>,
    /// The path of what is watched.
    watched: Option<String>,
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.metrics.requested(self.verb, self.code, self.began.elapsed());
        if let (Some(200), Some(path)) = (self.code, &self.watched) {
            self.metrics.watch_answered(path);
        }
        if let Some(code) = self.code {
            self.span.record("http.response.status_code", code);
        }
        if self.code.is_none_or(|code| code >= 400) {
            self.span.record("otel.status_code", "ERROR");
        }
    }
}

/// What the API's rules call it, as far as that can be seen without knowing the path: `get` is also `list`.
fn verb<A>(request: &Request<A>) -> &'static str {
    let query = request.uri().query().unwrap_or_default();
    match *request.method() {
        Method::GET if query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1")) => "watch",
        Method::GET => "get",
        Method::POST => "create",
        Method::PATCH => "patch",
        Method::PUT => "update",
        Method::DELETE => "delete",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verb_is_seen_by_method_and_query() {
        for (method, path, expected) in [
            ("GET", "/api/v1/nodes?watch=true&resourceVersion=7", "watch"),
            ("GET", "/api/v1/nodes?resourceVersion=7&watch=1", "watch"),
            ("GET", "/api/v1/nodes?labelSelector=watch=truely", "get"),
            ("GET", "/api/v1/nodes", "get"),
            ("POST", "/api/v1/namespaces/a/events", "create"),
            ("PATCH", "/api/v1/namespaces/a/services/b/status", "patch"),
            ("PUT", "/a", "update"),
            ("DELETE", "/a", "delete"),
        ] {
            let request = Request::builder().method(method).uri(path).body(()).unwrap();
            assert_eq!(verb(&request), expected, "{method} {path}");
        }
    }

    #[tokio::test]
    async fn a_request_that_was_given_up_is_one_without_an_answer() {
        let hangs = tower::service_fn(|_: Request<()>| std::future::pending::<Result<Response<()>, ()>>());
        let common = Common::default();
        let mut client = Measured::new(hangs, common.clone());
        let write = Request::builder().method("PATCH").uri("/a").body(()).unwrap();
        let answer = tokio::time::timeout(std::time::Duration::from_millis(5), client.call(write)).await;
        assert!(answer.is_err(), "it has no answer");
        let text = common.text();
        for line in [
            r#"ferrolb_api_requests_total{verb="patch",code="none"} 1"#,
            "metallb_k8s_client_update_errors_total 1",
            r#"ferrolb_api_request_seconds_count{verb="patch"} 1"#,
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
        }
    }
}
