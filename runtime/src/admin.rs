//! What is served: `/healthz`, `/readyz` and `/metrics`; and what a program adds, for callers on the loopback alone. Those are
//! whoever is on the machine, and whom the API server lets in by `kubectl port-forward`.
//!
//! ```text
//!  127.0.0.1          ─► /healthz, /readyz, /metrics, and what a program adds: always
//!  --admin-address    ─► /healthz, /readyz, and /metrics if there is no --metrics-address
//!  --metrics-address  ─► /metrics alone
//!                          │
//!                          └─ --metrics-https, but not on loopback: certificate ─► TLS ─► reviews ─► who may read
//! ```
//!
//! The addresses may be ones that anybody on the network reaches. So there is a bound on everything that a stranger can make
//! the program hold: connections, their time, what was read of a request, and texts that wait to be taken.

mod certificate;
mod connections;
mod reviews;

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::rustls::ServerConfig;
use tower::ServiceExt;

use crate::args::CommonArgs;
use crate::run::Context;

use reviews::{Refusal, Reviews};

/// How long to wait before a busy port is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// The content type of the OpenMetrics text format, version 1.0.0.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// So many texts with metrics are kept for readers at once: with ten thousand Services one is megabytes long.
const TEXTS: usize = 4;

/// A text is handed on in pieces of this size; the last one ends its stay.
const PIECE: usize = 32 * 1024;

/// Where something is served.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Door {
    address: SocketAddr,
    health: bool,
    metrics: bool,
    /// By HTTPS; and `/metrics` only for those whom the API server lets.
    secure: bool,
}

/// Where what is served: at the addresses asked for, and always on the loopback too. Who is to read metrics may come by the
/// network; `kubectl port-forward` comes by the loopback, where nothing needs to be hidden from whoever is on the machine.
fn doors(args: &CommonArgs) -> Vec<Door> {
    let (asked, other) = (args.admin_address, args.metrics_address);
    let door = |address: IpAddr, health: bool, metrics: bool| Door {
        address: SocketAddr::new(address, args.admin_port),
        health,
        metrics,
        secure: args.metrics_https && !address.is_loopback(),
    };
    let everywhere = asked.is_unspecified();
    let alone = other.is_none_or(|other| other == asked) || everywhere;
    let mut doors = vec![door(asked, true, asked.is_loopback() || alone)];
    if !asked.is_loopback() && !everywhere {
        doors.push(door(Ipv4Addr::LOCALHOST.into(), true, true));
    }
    doors.extend(other.filter(|other| !alone && !other.is_loopback()).map(|other| door(other, false, true)));
    doors
}

impl Door {
    fn paths(&self) -> &'static str {
        match (self.health, self.metrics) {
            (true, true) => "/healthz, /readyz and /metrics",
            (true, false) => "/healthz and /readyz",
            (false, _) => "/metrics",
        }
    }
}

#[derive(Clone)]
struct Admin {
    context: Context,
    texts: Arc<Semaphore>,
    reviews: Option<Arc<Reviews>>,
}

/// Serves until the context's shutdown.
pub(crate) async fn serve(args: CommonArgs, context: Context) {
    let texts = Arc::new(Semaphore::new(TEXTS));
    let serving = doors(&args).into_iter().map(|door| open(door, &args, &context, &texts));
    futures::future::join_all(serving).await;
}

/// Serves at one address. A port that cannot be had is named in the log and tried again: the program's real work does not
/// depend on it.
async fn open(door: Door, args: &CommonArgs, context: &Context, texts: &Arc<Semaphore>) {
    let mut admin = Admin { context: context.clone(), texts: texts.clone(), reviews: None };
    let mut tls = None;
    if door.secure {
        let client = match crate::client(args, context).await {
            Ok(client) => client,
            // The program itself cannot run without one, and says so.
            Err(error) => return tracing::debug!(%error, "nobody to ask who may read the metrics"),
        };
        admin.reviews = Some(Arc::new(Reviews::new(client)));
        match certificate::follow(args.metrics_cert_dir.clone(), door.address.ip(), &context.shutdown) {
            Ok(configuration) => tls = Some(configuration),
            Err(error) => return tracing::error!("metrics are not served: {error}"),
        }
    }
    listen(&door, router(&door, admin), tls, context).await;
}

fn router(door: &Door, admin: Admin) -> Router {
    let mut router = Router::new();
    if door.health {
        router = router.route("/healthz", get(async || "ok\n")).route("/readyz", get(readyz)).fallback(local);
    }
    if door.metrics {
        router = router.route("/metrics", get(metrics));
    }
    router.with_state(admin)
}

async fn listen(door: &Door, router: Router, tls: Option<Arc<ServerConfig>>, context: &Context) {
    let (address, mut told) = (door.address, false);
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let by = if door.secure { "HTTPS" } else { "HTTP" };
                tracing::info!(%address, by, "serving {}", door.paths());
                return connections::serve(listener, tls, router, context.shutdown.clone()).await;
            }
            Err(error) if !told => {
                told = true;
                tracing::warn!(
                    %address, %error,
                    "cannot listen there, trying again every {} s: free the port or choose another by --admin-port",
                    RETRY.as_secs()
                );
            }
            Err(error) => tracing::debug!(%address, %error, "still cannot listen there"),
        }
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

/// Ready or not in the first line, then each remark in a line of its own.
async fn readyz(State(admin): State<Admin>) -> Response {
    let readiness = &admin.context.readiness;
    let waiting = readiness.waiting();
    let (status, mut text) = if waiting.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {}\n", waiting.join(", ")))
    };
    for (name, remark) in readiness.remarks() {
        text.extend(["remark: ", &name, ": ", &remark.replace('\n', " "), "\n"]);
    }
    (status, text).into_response()
}

/// What the program adds, to whoever is on this machine.
async fn local(
    State(admin): State<Admin>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let Some(routes) = admin.context.local.get() else { return StatusCode::NOT_FOUND.into_response() };
    if !from.ip().to_canonical().is_loopback() {
        let why = "told on the loopback of this node alone: use kubectl port-forward\n";
        return (StatusCode::FORBIDDEN, why).into_response();
    }
    match routes.clone().oneshot(request).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
}

async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    if let Some(reviews) = &admin.reviews
        && let Err(refusal) = reviews.judge(&headers).await
    {
        return refused(refusal);
    }
    let Ok(permit) = admin.texts.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many readers at once\n").into_response();
    };
    match admin.context.exposition() {
        Ok(text) => {
            let length = text.len().to_string();
            let headers = [(header::CONTENT_TYPE, OPENMETRICS), (header::CONTENT_LENGTH, &length)];
            (headers, in_pieces(text, permit)).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// The text, piece by piece; the permit is given back with the last one.
fn in_pieces(text: String, permit: OwnedSemaphorePermit) -> Body {
    let pieces = futures::stream::unfold((Bytes::from(text), permit), |(mut rest, permit)| async move {
        if rest.is_empty() {
            return None;
        }
        let piece = rest.split_to(rest.len().min(PIECE));
        Some((Ok::<_, Infallible>(piece), (rest, permit)))
    });
    Body::from_stream(pieces)
}

fn refused(refusal: Refusal) -> Response {
    let status = match refusal {
        Refusal::Nobody => StatusCode::UNAUTHORIZED,
        Refusal::Forbidden => StatusCode::FORBIDDEN,
        Refusal::TooMany => StatusCode::TOO_MANY_REQUESTS,
        Refusal::NotNow => StatusCode::SERVICE_UNAVAILABLE,
    };
    let headers = match refusal {
        Refusal::Nobody => Some([(header::WWW_AUTHENTICATE, "Bearer")]),
        _ => None,
    };
    let mut response = (status, format!("{refusal}\n")).into_response();
    response.headers_mut().extend(headers.into_iter().flatten().map(|(name, value)| {
        let value = header::HeaderValue::from_static(value);
        (name, value)
    }));
    response
}

#[cfg(test)]
mod tests;
