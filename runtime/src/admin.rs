//! The admin endpoint: `/healthz`, `/readyz` and `/metrics` over plain HTTP; and what a program adds, for callers on the
//! loopback alone. Those are whoever is on the machine, and whom the API server lets in by `kubectl port-forward`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::readiness::Readiness;

/// How long to wait before a busy port is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// The content type of the OpenMetrics text format, version 1.0.0.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is served.
#[derive(Clone, Default)]
pub(crate) struct Admin {
    pub(crate) readiness: Readiness,
    pub(crate) registry: Arc<Mutex<Registry>>,
    /// What the program adds, once it has.
    pub(crate) local: Arc<OnceLock<Router>>,
}

/// Serves until `shutdown`. A port that cannot be had is named in the log and tried again: the
/// program's real work does not depend on it.
pub(crate) async fn serve(address: SocketAddr, admin: Admin, shutdown: CancellationToken) {
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(local)
        .with_state(admin)
        .into_make_service_with_connect_info::<SocketAddr>();
    let mut told = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                tracing::info!(%address, "serving /healthz, /readyz and /metrics");
                let stop = shutdown.clone().cancelled_owned();
                match axum::serve(listener, router.clone()).with_graceful_shutdown(stop).await {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::warn!(%address, %error, "the admin endpoint ended; starting it again");
                    }
                }
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
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

/// Ready or not in the first line, then each remark in a line of its own.
async fn readyz(State(admin): State<Admin>) -> Response {
    let waiting = admin.readiness.waiting();
    let (status, mut text) = if waiting.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {}\n", waiting.join(", ")))
    };
    for (name, remark) in admin.readiness.remarks() {
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
    let Some(routes) = admin.local.get() else { return StatusCode::NOT_FOUND.into_response() };
    if !from.ip().to_canonical().is_loopback() {
        let why = "told on the loopback of this node alone: use kubectl port-forward\n";
        return (StatusCode::FORBIDDEN, why).into_response();
    }
    match routes.clone().oneshot(request).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let mut text = String::new();
    let registry = admin.registry.lock().unwrap_or_else(PoisonError::into_inner);
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    async fn get(address: SocketAddr, path: &str) -> String {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        let mut stream = loop {
            match TcpStream::connect(address).await {
                Ok(stream) => break stream,
                Err(error) if tokio::time::Instant::now() > deadline => {
                    panic!("no answer on {address}: {error}")
                }
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_busy_port_is_waited_for_and_readiness_is_told() {
        let busy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = busy.local_addr().unwrap();
        let (readiness, shutdown) = (Readiness::default(), CancellationToken::new());
        let token = readiness.token("pools");
        let admin = Admin { readiness: readiness.clone(), ..Admin::default() };
        let server = tokio::spawn(serve(address, admin, shutdown.clone()));
        // The first try must meet the busy port before it is freed.
        tokio::task::yield_now().await;
        drop(busy);

        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        let late = get(address, "/readyz").await;
        assert!(late.starts_with("HTTP/1.1 503") && late.contains("waiting for: pools"), "{late}");
        token.ready();
        let ready = get(address, "/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 200") && ready.ends_with("\r\n\r\nready\n"), "{ready}");
        assert!(get(address, "/metrics").await.contains("# EOF"));

        // Remarks are told beside both, a line for each, and change neither.
        readiness.remark("proxy", Some("is silent".to_owned()));
        readiness.remark("ARP", Some("is loose\non eth0".to_owned()));
        let remarks = "remark: ARP: is loose on eth0\nremark: proxy: is silent\n";
        let ready = get(address, "/readyz").await;
        let body = format!("\r\n\r\nready\n{remarks}");
        assert!(ready.starts_with("HTTP/1.1 200") && ready.ends_with(&body), "{ready}");
        token.not_ready();
        let late = get(address, "/readyz").await;
        let body = format!("\r\n\r\nwaiting for: pools\n{remarks}");
        assert!(late.starts_with("HTTP/1.1 503") && late.ends_with(&body), "{late}");

        shutdown.cancel();
        server.await.unwrap();
    }

    #[tokio::test]
    async fn what_a_program_adds_is_told_on_the_loopback_alone() {
        // Any address of this machine but the loopback; without one there is nothing to be told apart.
        let outside = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
            socket.connect("192.0.2.1:9")?;
            socket.local_addr()
        });
        let free = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let (admin, shutdown) = (Admin::default(), CancellationToken::new());
        let address = SocketAddr::from(([0, 0, 0, 0], port));
        let server = tokio::spawn(serve(address, admin.clone(), shutdown.clone()));
        let here = SocketAddr::from(([127, 0, 0, 1], port));
        assert!(get(here, "/links").await.starts_with("HTTP/1.1 404"), "nothing is added yet");
        assert!(admin.local.set(Router::new().route("/links", axum::routing::get(async || "told"))).is_ok());
        let told = get(here, "/links").await;
        assert!(told.starts_with("HTTP/1.1 200") && told.ends_with("told"), "{told}");
        assert!(get(here, "/other").await.starts_with("HTTP/1.1 404"));
        if let Ok(outside) = outside.map(|outside| SocketAddr::new(outside.ip(), port)) {
            let refused = get(outside, "/links").await;
            assert!(refused.starts_with("HTTP/1.1 403") && !refused.ends_with("told"), "{refused}");
            assert!(get(outside, "/healthz").await.starts_with("HTTP/1.1 200"));
        }
        shutdown.cancel();
        server.await.unwrap();
    }
}
