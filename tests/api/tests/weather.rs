//! Each fault, as a client meets it.
#![allow(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::time::Duration;

use ferrolb_fake_api::{ApiServer, Fault, Lost, On, Verb, Weather};
use futures::{Stream, StreamExt, pin_mut};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::core::Status;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::time::{Instant, timeout};

/// Long against what happens at once, short against a test's patience; tokio's time is stopped here.
const A_WHILE: Duration = Duration::from_secs(30);

fn sky() -> (ApiServer, Weather, Client) {
    let (api, weather) = (ApiServer::new().with::<Service>().with::<ConfigMap>(), Weather::new());
    let client = weather.client(api.clone());
    (api, weather, client)
}

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "ns"}}),
    )
    .unwrap()
}

fn maps(client: &Client) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), "ns")
}

fn refusal<T: std::fmt::Debug>(answer: kube::Result<T>) -> Status {
    match answer {
        Err(kube::Error::Api(status)) => *status,
        other => panic!("not a refusal by the API server: {other:?}"),
    }
}

fn is_broken<T>(answer: &kube::Result<T>) -> bool {
    matches!(answer, Err(kube::Error::Service(error)) if error.to_string().contains("broke the connection"))
}

async fn next<S: Stream + Unpin>(stream: &mut S) -> S::Item {
    timeout(A_WHILE, stream.next()).await.expect("something comes").expect("the stream goes on")
}

async fn is_silent<S: Stream + Unpin>(stream: &mut S) -> bool {
    timeout(A_WHILE, stream.next()).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn an_answer_can_be_any_refusal() {
    let (api, weather, client) = sky();
    let (maps, put) = (maps(&client), PostParams::default());
    for (code, reason) in [
        (401, "Unauthorized"),
        (403, "Forbidden"),
        (404, "NotFound"),
        (409, "Conflict"),
        (410, "Expired"),
        (429, "TooManyRequests"),
        (500, "InternalError"),
        (503, "ServiceUnavailable"),
        (504, "Timeout"),
    ] {
        let rule = weather.add(On::verb(Verb::Get).resource("configmaps").times(1), Fault::status(code));
        let refused = refusal(maps.get("a").await);
        assert_eq!((refused.code, refused.reason.as_str(), rule.hits()), (code, reason, 1));
    }
    weather.add(On::verb(Verb::Create).times(1), Fault::status(409));
    assert_eq!(refusal(maps.create(&put, &map("a")).await).reason, "AlreadyExists");
    weather.add(On::verb(Verb::List).times(1), Fault::status(404));
    assert_eq!(refusal(maps.list(&ListParams::default()).await).message, "404 page not found");
    assert!(api.history().is_empty() && api.requests().is_empty(), "nothing of that reached the server");

    let answer = {
        weather.add(On::any().times(1), Fault::too_many(7));
        let request =
            http::Request::get("/api/v1/namespaces/ns/configmaps/a").body(kube::client::Body::empty());
        client.send(request.unwrap()).await.unwrap()
    };
    assert_eq!(answer.status().as_u16(), 429);
    assert_eq!(answer.headers()["retry-after"], "7");
}

#[tokio::test(start_paused = true)]
async fn rules_choose_their_requests() {
    let (_, weather, client) = sky();
    let (maps, put) = (maps(&client), PostParams::default());
    let services: Api<Service> = Api::namespaced(client.clone(), "ns");
    let others: Api<ConfigMap> = Api::namespaced(client.clone(), "other");
    for name in ["a", "b"] {
        maps.create(&put, &map(name)).await.unwrap();
    }
    let rule = weather.add(
        On::verbs(&[Verb::Get, Verb::Delete])
            .resource("configmaps")
            .namespace("ns")
            .name("a")
            .after(1)
            .times(2),
        Fault::status(500),
    );
    assert!(maps.get("a").await.is_ok(), "the first passes");
    assert!(maps.get("b").await.is_ok(), "another name");
    assert_eq!(refusal(others.get("a").await).code, 404, "another namespace");
    assert_eq!(refusal(services.get("a").await).code, 404, "another kind");
    assert!(maps.list(&ListParams::default()).await.is_ok(), "another verb");
    assert_eq!(refusal(maps.get("a").await).code, 500);
    assert_eq!(refusal(maps.delete("a", &DeleteParams::default()).await).code, 500);
    assert!(maps.get("a").await.is_ok(), "twice is over");
    assert_eq!(rule.hits(), 2);

    let status = weather.add(On::any().resource("services/status"), Fault::status(503));
    let both = weather.add(On::any().resource("services/*"), Fault::status(504));
    assert_eq!(refusal(services.get("a").await).code, 504);
    assert_eq!(refusal(services.get_status("a").await).code, 503, "the first rule decides");
    status.remove();
    assert_eq!(refusal(services.get_status("a").await).code, 504);
    weather.clear();
    assert_eq!(refusal(services.get_status("a").await).code, 404);
    assert_eq!((status.hits(), both.hits()), (1, 2));
    let last = weather.calls().pop().unwrap();
    assert_eq!(
        (last.verb, last.target(), last.name.as_deref()),
        (Verb::Get, "services/status".into(), Some("a"))
    );
}

#[tokio::test(start_paused = true)]
async fn connections_break_and_requests_hang() {
    let (api, weather, client) = sky();
    let maps = maps(&client);
    let put = PostParams::default();
    weather.add(On::writes().times(1), Fault::Connection);
    assert!(is_broken(&maps.create(&put, &map("a")).await));
    weather.add(On::writes().times(1), Fault::Hang);
    assert!(timeout(A_WHILE, maps.create(&put, &map("a"))).await.is_err());
    assert!(api.history().is_empty());
}

#[tokio::test(start_paused = true)]
async fn requests_and_answers_are_slow() {
    let (api, weather, client) = sky();
    let maps = maps(&client);
    let put = PostParams::default();
    let three = Duration::from_secs(3);
    weather.add(On::writes().times(1), Fault::Delay(three));
    let start = Instant::now();
    maps.create(&put, &map("a")).await.unwrap();
    assert_eq!(start.elapsed(), three);

    // A delayed request that is given up is never done; a slow answer is of what was done at once.
    weather.add(On::writes().times(1), Fault::Delay(three));
    assert!(timeout(Duration::from_secs(1), maps.create(&put, &map("b"))).await.is_err());
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(api.all::<ConfigMap>().len(), 1);
    weather.add(On::writes().times(1), Fault::SlowAnswer(three));
    assert!(timeout(Duration::from_secs(1), maps.create(&put, &map("b"))).await.is_err());
    assert_eq!(api.all::<ConfigMap>().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_held_request_is_done_when_released() {
    let (api, weather, client) = sky();
    let rule = weather.add(On::verb(Verb::Create), Fault::Hold);
    let create = |name: &'static str| {
        let maps = maps(&client);
        tokio::spawn(async move { maps.create(&PostParams::default(), &map(name)).await })
    };
    let first = create("a");
    rule.hit(1).await;
    tokio::time::sleep(A_WHILE).await;
    assert!(api.history().is_empty());
    rule.release();
    first.await.unwrap().unwrap();
    // What comes after is held again, and is done though its client is gone.
    let second = create("b");
    rule.hit(2).await;
    second.abort();
    assert!(second.await.is_err());
    assert_eq!(api.history().len(), 1);
    rule.remove();
    let done = async {
        while api.history().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(A_WHILE, done).await.expect("the second is done");
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_lost_after_all_was_done() {
    let (api, weather, client) = sky();
    let maps = maps(&client);
    let put = PostParams::default();
    weather.add(On::writes().times(1), Fault::AnswerLost(Lost::Connection));
    assert!(is_broken(&maps.create(&put, &map("a")).await));
    weather.add(On::writes().times(1), Fault::AnswerLost(Lost::Status(504)));
    assert_eq!(refusal(maps.create(&put, &map("b")).await).code, 504);
    weather.add(On::writes().times(1), Fault::AnswerLost(Lost::Silence));
    assert!(timeout(A_WHILE, maps.create(&put, &map("c"))).await.is_err());
    let names: Vec<String> = api.all::<ConfigMap>().iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_write_arrives_late_when_its_writer_has_gone_on() {
    let (api, weather, client) = sky();
    let maps = maps(&client);
    let first = maps.create(&PostParams::default(), &map("a")).await.unwrap();
    let note = |text: &str, version: Option<String>| {
        Patch::Merge(json!({"metadata": {"resourceVersion": version, "annotations": {"note": text}}}))
    };
    let patch = PatchParams::default();
    let noted = || api.get::<ConfigMap>("ns", "a").unwrap().annotations()["note"].clone();
    let late = Fault::Late(Duration::from_secs(10));
    weather.add(On::verb(Verb::Patch).times(2), late);
    let blind = note("late", None);
    assert!(timeout(Duration::from_secs(5), maps.patch("a", &patch, &blind)).await.is_err());
    let based = note("late and based", first.resource_version());
    assert!(timeout(Duration::from_secs(1), maps.patch("a", &patch, &based)).await.is_err());
    maps.patch("a", &patch, &note("newer", None)).await.unwrap();
    assert_eq!(noted(), "newer");
    tokio::time::sleep(Duration::from_secs(10)).await;
    // The blind one undid the newer; the one that names its version could not.
    assert_eq!(noted(), "late");
    assert_eq!(api.history().len(), 3);
}

/// The names of a watch's events.
fn name(event: kube::Result<WatchEvent<ConfigMap>>) -> String {
    match event.unwrap() {
        WatchEvent::Added(map) | WatchEvent::Modified(map) => map.name_any(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn watches_end_at_once_the_running_and_the_new() {
    let (api, weather, client) = sky();
    let maps = maps(&client);
    api.put(map("a"));
    let running = maps.watch(&WatchParams::default(), "0").await.unwrap();
    pin_mut!(running);
    assert_eq!(name(next(&mut running).await), "a");
    let rule = weather.add(On::verb(Verb::Watch).times(2), Fault::WatchEnd);
    assert!(timeout(A_WHILE, running.next()).await.unwrap().is_none(), "the running one ends");
    let new = maps.watch(&WatchParams::default(), "0").await.unwrap();
    pin_mut!(new);
    assert!(timeout(A_WHILE, new.next()).await.unwrap().is_none(), "a new one ends before its first event");
    let third = maps.watch(&WatchParams::default(), "0").await.unwrap();
    pin_mut!(third);
    assert_eq!(name(next(&mut third).await), "a");
    assert_eq!(rule.hits(), 2);
    let other = weather.add(On::verb(Verb::Watch).resource("services"), Fault::WatchEnd);
    api.put(map("b"));
    assert_eq!(name(next(&mut third).await), "b");
    assert_eq!(other.hits(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_watch_gets_stuck_for_good() {
    let (api, weather, client) = sky();
    let maps = maps(&client);
    let events = maps.watch(&WatchParams::default(), "0").await.unwrap();
    pin_mut!(events);
    assert!(is_silent(&mut events).await);
    let rule = weather.add(On::verb(Verb::Watch), Fault::WatchStuck);
    api.put(map("a"));
    assert!(is_silent(&mut events).await);
    rule.remove();
    assert!(is_silent(&mut events).await, "stuck is stuck");
    assert_eq!(rule.hits(), 1);
    // kube's watcher gives such a watch up after its own time and goes on where it was.
    let events = watcher::watcher(maps.clone(), watcher::Config::default().timeout(20));
    pin_mut!(events);
    while !matches!(next(&mut events).await.unwrap(), watcher::Event::InitDone) {}
    assert!(timeout(Duration::from_secs(1), events.next()).await.is_err());
    let rule = weather.add(On::verb(Verb::Watch).times(1), Fault::WatchStuck);
    api.put(map("b"));
    let start = Instant::now();
    match next(&mut events).await.unwrap() {
        watcher::Event::Apply(map) => assert_eq!(map.name_any(), "b"),
        other => panic!("{other:?}"),
    }
    assert!(start.elapsed() > Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(rule.hits(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_late_and_loses_nothing() {
    let (api, weather, client) = sky();
    let maps = maps(&client);
    let events = maps.watch(&WatchParams::default().disable_bookmarks(), "0").await.unwrap();
    pin_mut!(events);
    assert!(is_silent(&mut events).await);
    let rule = weather.add(On::verb(Verb::Watch), Fault::WatchPause);
    api.put(map("a"));
    api.put(map("b"));
    assert!(is_silent(&mut events).await);
    rule.remove();
    assert_eq!([name(next(&mut events).await), name(next(&mut events).await)], ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_told_that_it_expired() {
    let (api, weather, client) = sky();
    let maps = maps(&client);
    api.put(map("a"));
    let events = watcher::watcher(maps.clone(), watcher::Config::default());
    pin_mut!(events);
    while !matches!(next(&mut events).await.unwrap(), watcher::Event::InitDone) {}
    assert!(is_silent(&mut events).await);
    let rule = weather.add(On::verb(Verb::Watch).times(1), Fault::WatchExpired);
    match next(&mut events).await {
        Err(watcher::Error::WatchError(status)) => {
            assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(next(&mut events).await.unwrap(), watcher::Event::Init), "it lists anew");
    while !matches!(next(&mut events).await.unwrap(), watcher::Event::InitDone) {}
    assert_eq!(rule.hits(), 1);
}

/// A body whose frames cut an event in two, as those of a real connection may.
#[tokio::test(start_paused = true)]
async fn an_event_that_is_half_delivered_comes_whole() {
    use bytes::Bytes;
    use http_body::Frame;
    use http_body_util::{BodyExt, StreamBody};

    let event = format!("{}\n", json!({"type": "ADDED", "object": map("a")}));
    let (first, rest) = event.split_at(20);
    let (sender, receiver) = futures::channel::mpsc::unbounded::<Result<Frame<Bytes>, std::io::Error>>();
    let body = std::sync::Mutex::new(Some(receiver));
    let service = tower::service_fn(move |_: http::Request<kube::client::Body>| {
        let receiver = body.lock().unwrap().take().expect("one watch");
        async move { Ok::<_, tower::BoxError>(http::Response::new(StreamBody::new(receiver).boxed_unsync())) }
    });
    let weather = Weather::new();
    let maps = maps(&weather.client(service));
    let events = maps.watch(&WatchParams::default(), "0").await.unwrap();
    pin_mut!(events);
    sender.unbounded_send(Ok(Frame::data(Bytes::from(first.to_owned())))).unwrap();
    assert!(is_silent(&mut events).await);
    weather.add(On::verb(Verb::Watch), Fault::WatchExpired);
    assert!(is_silent(&mut events).await, "the rest of the event must come first");
    sender.unbounded_send(Ok(Frame::data(Bytes::from(format!("{rest}{{\"type\":"))))).unwrap();
    assert_eq!(name(next(&mut events).await), "a");
    match next(&mut events).await.unwrap() {
        WatchEvent::Error(status) => assert_eq!(status.code, 410),
        other => panic!("{other:?}"),
    }
    assert!(events.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn any_client_can_stand_in_the_weather() {
    let api = ApiServer::new().with::<ConfigMap>();
    let weather = Weather::new();
    let client = weather.around(&api.client());
    weather.add(On::verb(Verb::List).times(1), Fault::status(503));
    assert_eq!(refusal(maps(&client).list(&ListParams::default()).await).code, 503);
    assert!(maps(&client).list(&ListParams::default()).await.is_ok());
    // As a layer, for those who build their client themselves.
    let service = tower::ServiceBuilder::new().layer(weather.clone()).service(api.clone());
    let client = Client::new(service, "ns");
    weather.add(On::verb(Verb::List).times(1), Fault::Connection);
    assert!(is_broken(&maps(&client).list(&ListParams::default()).await));
}
