//! Against real servers on loopback ports.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use hyper::body::Incoming;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Method, Response};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

const LIMIT: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(100);
const QUICK: Timing = Timing { every: Duration::from_millis(5), limit: LIMIT, patience: SHORT };
/// No answer at all.
const SILENT: u16 = 0;

/// A proxy's health check.
struct Proxy {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    asked: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Proxy {
    async fn start(address: &str, status: u16) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (status, asked) = (Arc::new(AtomicU16::new(status)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, status.clone(), asked.clone()));
        Proxy { address, status, asked, tasks }
    }

    /// Ends it; from then on nobody listens.
    async fn stop(mut self) {
        self.tasks.shutdown().await;
    }

    fn says(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// Waits until it was asked some times more.
    async fn asked_again(&self) {
        let enough = self.asked.load(Ordering::SeqCst) + 3;
        let asked = async {
            while self.asked.load(Ordering::SeqCst) < enough {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let times = || self.asked.load(Ordering::SeqCst);
        tokio::time::timeout(LIMIT, asked)
            .await
            .unwrap_or_else(|_| panic!("asked {} times, not {enough}", times()));
    }
}

async fn serve(listener: TcpListener, status: Arc<AtomicU16>, asked: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (status, asked) = (status.clone(), asked.clone());
        let answer = service_fn(move |request: Request<Incoming>| {
            asked.fetch_add(1, Ordering::SeqCst);
            let status = status.load(Ordering::SeqCst);
            async move {
                if status == SILENT {
                    std::future::pending::<()>().await;
                }
                let right = (request.method(), request.uri().path()) == (&Method::GET, "/healthz");
                let host = request.headers().get(HOST).is_some();
                let status = if right && host { status } else { 400 };
                let body = r#"{"lastUpdated":"…","healthy":true}"#.to_owned();
                Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
            }
        });
        connections.spawn(async move {
            // A client that leaves is no failure of the server.
            let _ = server::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

/// A port of this machine where nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn one_address_is_asked() {
    let proxy = Proxy::start("127.0.0.1:0", 200).await;
    assert_eq!(ask(proxy.address, LIMIT).await, Ok(()));
    for status in [503, 500, 404, 204, 301] {
        proxy.says(status);
        assert_eq!(ask(proxy.address, LIMIT).await, Err(Failure::Status(status)));
    }
    proxy.says(SILENT);
    assert_eq!(ask(proxy.address, SHORT).await, Err(Failure::Silent));
    let address = proxy.address;
    proxy.stop().await;
    let refused = ask(address, LIMIT).await.unwrap_err();
    let words = refused.to_string();
    assert!(matches!(refused, Failure::Unreachable(_)), "{refused:?}");
    assert!(words.contains(&address.to_string()) && words.contains("refused"), "{words}");
}

#[tokio::test]
async fn a_listener_that_takes_nothing_from_its_queue_is_silent() {
    // What a stopped process looks like: the kernel connects for it.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    assert_eq!(ask(listener.local_addr().unwrap(), SHORT).await, Err(Failure::Silent));
}

#[tokio::test]
async fn what_is_no_http_is_a_failure() {
    for words in ["", "200 OK\r\n\r\n", "HTTP/1.1 999999 what\r\n\r\n", "\0\0\0\0\r\n\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The asker may have gone by then.
            let _ = stream.write_all(words.as_bytes()).await;
        };
        let (answer, ()) = futures::join!(ask(address, LIMIT), answering);
        assert!(matches!(answer, Err(Failure::Unreachable(_))), "{words:?}: {answer:?}");
    }
}

#[tokio::test]
async fn one_address_of_several_is_enough_and_the_failure_that_says_most_is_told() {
    let (works, sick) = (Proxy::start("127.0.0.1:0", 200).await, Proxy::start("127.0.0.1:0", 503).await);
    let silent = Proxy::start("127.0.0.1:0", SILENT).await;
    let (works, sick, silent) = (works.address, sick.address, silent.address);
    let (none, other) = (nobody().await, nobody().await);
    for addresses in [[works, none], [none, works], [sick, works], [works, sick], [silent, works]] {
        assert_eq!(ask_all(&addresses, SHORT).await, Ok(()), "{addresses:?}");
    }
    for addresses in [[sick, none], [none, sick], [silent, sick], [sick, silent]] {
        assert_eq!(ask_all(&addresses, SHORT).await, Err(Failure::Status(503)), "{addresses:?}");
    }
    assert_eq!(ask_all(&[none, silent], SHORT).await, Err(Failure::Silent));
    for addresses in [[none, other], [other, none]] {
        let words = ask_all(&addresses, SHORT).await.unwrap_err().to_string();
        assert!(words.starts_with(&addresses[0].to_string()), "{words}");
    }
    assert!(ask_all(&[], SHORT).await.is_err());
}

async fn until(health: &mut watch::Receiver<Health>, what: &str, is: impl Fn(&Health) -> bool) {
    let waiting = health.wait_for(|now| is(now));
    let in_time =
        tokio::time::timeout(LIMIT, waiting).await.map(|found| drop(found.expect("the asker runs on")));
    assert!(in_time.is_ok(), "not {what} within {LIMIT:?}, but {}", *health.borrow());
}

#[tokio::test]
async fn a_proxy_that_comes_falls_sick_recovers_dies_and_returns_is_followed() {
    let proxy = Proxy::start("127.0.0.1:0", 503).await;
    let (address, none) = (proxy.address, nobody().await);
    let (sender, mut health) = watch::channel(Health::Unknown);
    let mut asker = JoinSet::new();
    asker.spawn(async move { ask_on(&[none, address], ferrolb_runtime::now, &sender, QUICK).await });

    proxy.asked_again().await;
    assert_eq!(*health.borrow(), Health::Unknown, "it never answered 200");
    proxy.says(200);
    until(&mut health, "healthy", |health| *health == Health::Healthy).await;
    proxy.says(503);
    until(&mut health, "sick", |health| *health == Health::Unhealthy(Failure::Status(503))).await;
    proxy.says(200);
    until(&mut health, "healthy again", |health| *health == Health::Healthy).await;

    proxy.stop().await;
    let dead = |health: &Health| matches!(health, Health::Unhealthy(Failure::Unreachable(_)));
    until(&mut health, "unreachable", dead).await;
    let proxy = Proxy::start(&address.to_string(), 200).await;
    until(&mut health, "back", |health| *health == Health::Healthy).await;

    // What stays as it is wakes nobody.
    health.mark_unchanged();
    proxy.asked_again().await;
    assert!(!health.has_changed().unwrap());
}

#[tokio::test]
async fn failures_shorter_than_the_patience_change_nothing() {
    let proxy = Proxy::start("127.0.0.1:0", 200).await;
    let address = proxy.address;
    let (sender, mut health) = watch::channel(Health::Unknown);
    let patient = Timing { patience: Duration::from_secs(3600), ..QUICK };
    let mut asker = JoinSet::new();
    asker.spawn(async move { ask_on(&[address], ferrolb_runtime::now, &sender, patient).await });
    until(&mut health, "healthy", |health| *health == Health::Healthy).await;
    proxy.says(503);
    proxy.asked_again().await;
    assert_eq!(*health.borrow(), Health::Healthy);
}

#[tokio::test]
async fn following_ends_with_its_token_also_while_it_waits_for_an_answer() {
    let proxy = Proxy::start("127.0.0.1:0", SILENT).await;
    let shutdown = CancellationToken::new();
    let (sender, health) = watch::channel(Health::Unknown);
    let following = tokio::spawn(follow(vec![proxy.address], ferrolb_runtime::now, sender, shutdown.clone()));
    let asked = async {
        while proxy.asked.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LIMIT, asked).await.expect("the proxy is asked");
    shutdown.cancel();
    tokio::time::timeout(LIMIT, following).await.expect("it ends").unwrap();
    assert!(health.has_changed().is_err(), "its sender is gone");
}
