//! The API server is one that knows two tokens, and counts how often it is asked.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, Request, Response};
use serde_json::{Value, json};
use tower::BoxError;

use super::*;

/// One clock for each thread, so for each test.
fn clock() -> Duration {
    Duration::from_millis(NOW.with(|now| now.load(Ordering::Relaxed)))
}

thread_local! {
    static NOW: AtomicU64 = const { AtomicU64::new(1_000_000) };
}

fn passes(time: Duration) {
    let milliseconds = u64::try_from(time.as_millis()).unwrap();
    NOW.with(|now| now.fetch_add(milliseconds, Ordering::Relaxed));
}

#[derive(Clone, Default)]
struct Server {
    asked: Arc<AtomicUsize>,
    away: Arc<AtomicBool>,
}

impl Server {
    fn reviews(&self) -> Reviews {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let server = server.clone();
            async move { server.answer(request).await }
        });
        let warned = AtomicBool::new(false);
        Reviews { client: Client::new(service, "default"), clock, known: Mutex::default(), warned }
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Result<Response<Body>, BoxError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.away.load(Ordering::Relaxed) {
            return Err("away".into());
        }
        let path = request.uri().path().to_owned();
        let question = to_bytes(Body::new(request.into_body()), 1 << 20).await?;
        let mut answer: Value = serde_json::from_slice(&question)?;
        answer["status"] = match path.as_str() {
            "/apis/authentication.k8s.io/v1/tokenreviews" => match answer["spec"]["token"].as_str() {
                Some(token @ ("prometheus" | "somebody")) => json!({
                    "authenticated": true,
                    "user": {"username": token, "uid": "7", "groups": ["all"], "extra": {"pod": ["p"]}},
                }),
                _ => json!({"authenticated": false}),
            },
            "/apis/authorization.k8s.io/v1/subjectaccessreviews" => {
                assert_eq!(
                    answer["spec"]["nonResourceAttributes"],
                    json!({"path": "/metrics", "verb": "get"})
                );
                assert_eq!(answer["spec"]["groups"], json!(["all"]));
                assert_eq!(answer["spec"]["extra"], json!({"pod": ["p"]}));
                json!({"allowed": answer["spec"]["user"] == "prometheus"})
            }
            _ => panic!("{path}"),
        };
        let response = Response::builder().status(201).body(Body::from(answer.to_string()));
        Ok(response?)
    }

    fn asked(&self) -> usize {
        self.asked.swap(0, Ordering::Relaxed)
    }
}

fn shows(value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    headers
}

#[tokio::test]
async fn whoever_may_get_the_path_reads_and_nobody_else() -> Result<(), Infallible> {
    let server = Server::default();
    let reviews = server.reviews();
    for (headers, verdict, asked) in [
        (HeaderMap::new(), Err(Refusal::Nobody), 0),
        (shows("Basic cHJvbWV0aGV1czp4"), Err(Refusal::Nobody), 0),
        (shows("Bearer"), Err(Refusal::Nobody), 0),
        (shows("Bearer "), Err(Refusal::Nobody), 0),
        (shows("Bearer forged"), Err(Refusal::Nobody), 1),
        (shows("Bearer somebody"), Err(Refusal::Forbidden), 2),
        (shows("bearer prometheus"), Ok(()), 2),
    ] {
        assert_eq!(reviews.judge(&headers).await, verdict, "{headers:?}");
        assert_eq!(server.asked(), asked, "{headers:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_the_server_said_counts_for_a_while() {
    let server = Server::default();
    let reviews = server.reviews();
    let (prometheus, somebody) = (shows("Bearer prometheus"), shows("Bearer somebody"));
    assert_eq!(reviews.judge(&prometheus).await, Ok(()));
    assert_eq!(reviews.judge(&somebody).await, Err(Refusal::Forbidden));
    assert_eq!(server.asked(), 4);
    passes(REFUSED - Duration::from_millis(1));
    assert_eq!(reviews.judge(&prometheus).await, Ok(()));
    assert_eq!(reviews.judge(&somebody).await, Err(Refusal::Forbidden));
    assert_eq!(server.asked(), 0);
    passes(Duration::from_millis(1));
    assert_eq!(reviews.judge(&somebody).await, Err(Refusal::Forbidden));
    assert_eq!(server.asked(), 2);
    passes(ADMITTED);
    assert_eq!(reviews.judge(&prometheus).await, Ok(()));
    assert_eq!(server.asked(), 2);

    // While the server is away, whoever could read reads on; nobody else does.
    server.away.store(true, Ordering::Relaxed);
    passes(ADMITTED);
    assert_eq!(reviews.judge(&prometheus).await, Ok(()));
    assert_eq!(reviews.judge(&somebody).await, Err(Refusal::NotNow));
    passes(UNANSWERED);
    assert_eq!(reviews.judge(&prometheus).await, Err(Refusal::NotNow));
}

#[tokio::test]
async fn strangers_can_neither_make_the_server_busy_nor_drive_readers_out() {
    let server = Server::default();
    let reviews = server.reviews();
    let prometheus = shows("Bearer prometheus");
    assert_eq!(reviews.judge(&prometheus).await, Ok(()));
    for stranger in 0..1000 {
        let verdict = reviews.judge(&shows(&format!("Bearer {stranger}"))).await;
        let expected = if stranger + 1 < BURST { Refusal::Nobody } else { Refusal::TooMany };
        assert_eq!(verdict, Err(expected), "{stranger}");
    }
    assert_eq!(server.asked(), 2 + usize::try_from(BURST).unwrap() - 1);
    for stranger in 1000..1200 {
        passes(AGAIN);
        assert_eq!(reviews.judge(&shows(&format!("Bearer {stranger}"))).await, Err(Refusal::Nobody));
    }
    assert_eq!(reviews.lock().said.len(), KEPT);
    server.asked();
    assert_eq!(reviews.judge(&prometheus).await, Ok(()));
    assert_eq!(server.asked(), 0, "its verdict is kept");

    // Nor by taking each turn, for longer than an old verdict counts.
    let turns = u32::try_from(2 * UNANSWERED.as_millis() / AGAIN.as_millis()).unwrap();
    for turn in 0..turns {
        passes(AGAIN);
        for stranger in 0..2 {
            let _ = reviews.judge(&shows(&format!("Bearer {turn}-{stranger}"))).await;
        }
        if turn % 150 == 0 {
            assert_eq!(reviews.judge(&prometheus).await, Ok(()), "{turn}");
        }
    }
}
