//! Connections of readers, each with a bound on its time and on what it makes us keep.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// So many connections at once; more wait in the kernel.
const MOST: usize = 64;

/// So many of them from one address; more are closed. Whoever keeps connections open must not keep out the kubelet, whose probe
/// would end the program then.
pub(super) const MOST_OF_ONE: usize = 8;

/// How long the TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// How long the head of a request may take, from when it is waited for: so long a connection may be idle, too.
const HEAD: Duration = Duration::from_secs(10);

/// After so long no further request is read on a connection: somebody else may wait for the place.
const LIFE: Duration = Duration::from_secs(60);

/// How long the answer that is under way then may still take.
const LAST: Duration = Duration::from_secs(5);

/// What is kept of a request that is not whole, and of an answer that is not taken.
const BUFFER: usize = 64 * 1024;

/// After a failure to accept, which is mostly one that lasts: no file descriptor is free.
const BREATH: Duration = Duration::from_millis(200);

/// Serves `router` to whoever comes, until `shutdown`.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    shutdown: CancellationToken,
) {
    let (room, acceptor) = (Arc::new(Semaphore::new(MOST)), tls.map(TlsAcceptor::from));
    let guests = Arc::new(Guests::default());
    let accept = async {
        loop {
            let Ok(place) = room.clone().acquire_owned().await else { return };
            let (stream, from) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection");
                    sleep(BREATH).await;
                    continue;
                }
            };
            let Some(guest) = Guests::admit(&guests, from.ip().to_canonical()) else {
                tracing::debug!(%from, "too many connections of one address");
                continue;
            };
            let (router, acceptor, shutdown) = (router.clone(), acceptor.clone(), shutdown.clone());
            tokio::spawn(async move {
                match acceptor {
                    None => attend(stream, from, router, &shutdown).await,
                    Some(acceptor) => match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                        Ok(Ok(stream)) => attend(stream, from, router, &shutdown).await,
                        Ok(Err(error)) => tracing::debug!(%error, "no TLS came about"),
                        Err(_) => tracing::debug!("a TLS handshake took too long"),
                    },
                }
                drop((place, guest));
            });
        }
    };
    shutdown.run_until_cancelled(accept).await;
}

/// How many connections each address has.
#[derive(Debug, Default)]
struct Guests(Mutex<BTreeMap<IpAddr, usize>>);

impl Guests {
    /// One more from this address, if it may have one.
    fn admit(guests: &Arc<Guests>, from: IpAddr) -> Option<Guest> {
        let mut count = guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has = count.entry(from).or_default();
        if *has >= MOST_OF_ONE {
            return None;
        }
        *has += 1;
        Some(Guest { guests: guests.clone(), from })
    }
}

/// A connection that counts until this is dropped.
#[derive(Debug)]
struct Guest {
    guests: Arc<Guests>,
    from: IpAddr,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut count = self.guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(has) = count.get_mut(&self.from) {
            *has -= 1;
            if *has == 0 {
                count.remove(&self.from);
            }
        }
    }
}

async fn attend<S>(stream: S, from: SocketAddr, router: Router, shutdown: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let router = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(from));
        request
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    tokio::select! {
        result = connection.as_mut() => {
            if let Err(error) = result {
                tracing::trace!(%error, "a connection ended early");
            }
            return;
        }
        () = sleep(LIFE) => {}
        () = shutdown.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    // Whoever has not taken the answer by then does not get the rest.
    let _ = timeout(LAST, connection).await;
}
