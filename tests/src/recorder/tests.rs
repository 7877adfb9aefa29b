//! The recorder before an API server that misbehaves as real ones do.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

fn service(version: u64) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": version.to_string()},
    })
}

fn told(kind: &str, object: &Value) -> String {
    json!({"type": kind, "object": object}).to_string() + "\n"
}

fn too_old() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 410,
           "reason": "Expired", "message": "too old resource version"})
}

/// An API server whose list has one Service at `version`, and whose watches are those of `watches`, one after
/// the other, each only for a request that asks for its version; later ones never say anything.
fn server(version: u64, watches: Vec<(u64, u16, String)>) -> Api<Service> {
    let list = json!({"kind": "ServiceList", "apiVersion": "v1", "items": [service(version)],
                      "metadata": {"resourceVersion": version.to_string()}});
    let (next, watches) = (Arc::new(AtomicUsize::new(0)), Arc::new(watches));
    let answer = tower::service_fn(move |request: Request<Body>| {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let (list, next, watches) = (list.to_string(), next.clone(), watches.clone());
        async move {
            if !query.contains("watch=true") {
                return Ok::<_, Infallible>(Response::new(Body::from(list.into_bytes())));
            }
            let number = next.fetch_add(1, Ordering::SeqCst);
            let Some((from, code, body)) = watches.get(number).cloned() else {
                return std::future::pending().await;
            };
            assert!(query.ends_with(&format!("resourceVersion={from}")), "watch {number}: {query}");
            let mut response = Response::new(Body::from(body.into_bytes()));
            *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
            Ok(response)
        }
    });
    Api::all(kube::Client::new(answer, "shop"))
}

async fn versions(recorder: Recorder) -> Result<Vec<(u64, bool)>, String> {
    let events = recorder.finish(2).await.map_err(|error| error.to_string())?;
    Ok(events.iter().map(|event| (event.version, event.gone)).collect())
}

#[tokio::test]
async fn a_watch_that_is_cut_goes_on_where_it_was() {
    let bookmark = json!({"kind": "Service", "apiVersion": "v1", "metadata": {"resourceVersion": "6"}});
    let first = told("ADDED", &service(3)) + &told("DELETED", &service(5)) + &told("BOOKMARK", &bookmark);
    let (busy, second) = (String::new(), told("ADDED", &service(9)));
    let api = server(9, vec![(2, 200, first), (6, 503, busy), (6, 200, second)]);
    let recorded = versions(Recorder::from(api, 2)).await;
    assert_eq!(recorded, Ok(vec![(3, false), (5, true), (9, false)]));
}

#[tokio::test]
async fn it_starts_with_what_a_list_shows() {
    let recorder = Recorder::start(server(4, Vec::new())).await.unwrap();
    assert_eq!(versions(recorder).await, Ok(vec![(4, false)]));
}

#[tokio::test]
async fn lost_events_end_the_recording_loudly() {
    let in_stream = vec![(4, 200, told("MODIFIED", &service(7)) + &told("ERROR", &too_old()))];
    let at_once = vec![(4, 410, too_old().to_string())];
    let torn = vec![(4, 200, "{\"type\": \"ADDED\", \"object\": 7}\n".to_owned())];
    for watches in [in_stream, at_once, torn] {
        // The list shows more than is recorded: a recorder that says nothing is found to be late, and no more.
        let error = versions(Recorder::from(server(9, watches.clone()), 4)).await;
        assert!(error.as_ref().is_err_and(|why| why.contains("are lost")), "{watches:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_record_that_is_behind_is_not_whole() {
    let late = versions(Recorder::from(server(9, Vec::new()), 2)).await;
    assert!(
        late.as_ref().is_err_and(|why| why.contains("0 Services in the record, 1 in the list")),
        "{late:?}"
    );
}
