//! The server in memory: what every API server does (`behaviour`), and what only this one can be told to do.
#![allow(clippy::unwrap_used, reason = "a step that fails ends the test")]

mod behaviour;

use std::time::Duration;

use ferrolb_fake_api::{ApiServer, Change, Kind, Verb, Writes};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use serde_json::json;

use behaviour::{WIDGET, config_map, next, refusal, service, widget, widgets};

fn server() -> ApiServer {
    let api = ApiServer::new().with::<ConfigMap>().with::<Service>().with::<Lease>().with::<Namespace>();
    let (group, version, kind, plural) = WIDGET;
    api.register_kind(Kind::new(group, version, kind, plural, true));
    api
}

#[tokio::test]
async fn it_behaves_like_an_api_server() {
    behaviour::all(&server().client(), "ns").await;
}

#[tokio::test]
async fn a_watcher_lists_anew_when_the_history_is_gone() {
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let api = server();
        let maps: Api<ConfigMap> = Api::namespaced(api.client(), "ns");
        maps.create(&PostParams::default(), &config_map("a", json!({}), json!({}))).await.unwrap();
        let start = api.version();
        let events = watcher::watcher(maps.clone(), config);
        pin_mut!(events);
        while !matches!(next(&mut events, "first list").await.unwrap(), watcher::Event::InitDone) {}
        // While no watch can run, the object is replaced by another and the history is forgotten.
        api.serve("configmaps", false);
        match next(&mut events, "refusal").await {
            Err(watcher::Error::WatchStartFailed(kube::Error::Api(status))) => assert_eq!(status.code, 404),
            other => panic!("{other:?}"),
        }
        assert!(api.remove::<ConfigMap>("ns", "a"));
        let mut other = config_map("b", json!({}), json!({}));
        other.metadata.namespace = Some("ns".into());
        api.put(other);
        api.compact();
        api.serve("configmaps", true);
        let Err(watcher::Error::WatchError(expired)) = next(&mut events, "expiry").await else {
            panic!("the watch goes on where nothing is known any more");
        };
        assert_eq!((expired.code, expired.reason.as_str()), (410, "Expired"), "{expired:?}");
        let mut names = Vec::new();
        loop {
            match next(&mut events, "second list").await.unwrap() {
                watcher::Event::InitApply(map) => names.push(map.name_any()),
                watcher::Event::InitDone => break,
                _ => {}
            }
        }
        assert_eq!(names, ["b"]);

        let old = ListParams::default().at(&start.to_string()).matching(kube::api::VersionMatch::Exact);
        let gone = refusal(maps.list(&old).await);
        assert_eq!((gone.code, gone.reason.as_str()), (410, "Expired"));
        let ahead = ListParams::default().at("99999");
        assert_eq!(refusal(maps.list(&ahead).await).code, 504);
    }
}

#[tokio::test]
async fn a_page_of_forgotten_history_is_refused() {
    let api = server();
    let maps: Api<ConfigMap> = Api::namespaced(api.client(), "ns");
    for name in ["a", "b", "c"] {
        maps.create(&PostParams::default(), &config_map(name, json!({}), json!({}))).await.unwrap();
    }
    let page = maps.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!(page.metadata.remaining_item_count, Some(1));
    let token = page.metadata.continue_.unwrap();
    let rest = ListParams::default().limit(2).continue_token(&token);
    assert_eq!(maps.list(&rest).await.unwrap().items.len(), 1);
    maps.delete("c", &DeleteParams::default()).await.unwrap();
    api.compact();
    assert_eq!(refusal(maps.list(&rest).await).code, 410);
}

#[tokio::test]
async fn bookmarks_come_when_called_and_move_a_watcher_past_what_is_forgotten() {
    let api = server();
    let maps: Api<ConfigMap> = Api::namespaced(api.client(), "ns");
    let start = maps.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let events = maps.watch(&WatchParams::default(), &start).await.unwrap();
    pin_mut!(events);
    // Something else changes, of which this watch is not told.
    Api::<Service>::namespaced(api.client(), "ns")
        .create(&PostParams::default(), &service("a"))
        .await
        .unwrap();
    api.bookmark();
    match next(&mut events, "bookmark").await.unwrap() {
        WatchEvent::Bookmark(bookmark) => {
            assert_eq!(bookmark.metadata.resource_version, api.version().to_string());
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_in_time_and_the_clock_is_that_of_tokio() {
    let api = server();
    api.set_time("2026-01-01T00:00:00Z".parse().unwrap());
    let maps: Api<ConfigMap> = Api::namespaced(api.client(), "ns");
    let before = tokio::time::Instant::now();
    let events = maps.watch(&WatchParams::default().timeout(290), "0").await.unwrap();
    let events: Vec<_> = events.collect().await;
    assert_eq!(before.elapsed().as_secs(), 290);
    assert_eq!(events.len(), 5, "bookmarks each minute and at the end");
    let map = maps.create(&PostParams::default(), &config_map("a", json!({}), json!({}))).await.unwrap();
    assert_eq!(map.creation_timestamp().unwrap().0.to_string(), "2026-01-01T00:04:50Z");
}

#[tokio::test]
async fn a_kind_can_come_and_go() {
    let api = server();
    let widgets = widgets(&api.client(), "ns");
    api.serve("widgets.weather.test", false);
    let missing = refusal(widgets.list(&ListParams::default()).await);
    assert_eq!((missing.code, missing.message.as_str()), (404, "404 page not found"));
    api.serve("widgets.weather.test", true);
    widgets.create(&PostParams::default(), &widget("a", json!({}))).await.unwrap();
    let events = widgets.watch(&WatchParams::default(), "0").await.unwrap();
    pin_mut!(events);
    next(&mut events, "the widget").await.unwrap();
    api.serve("widgets.weather.test", false);
    let end = tokio::time::timeout(Duration::from_secs(5), events.next()).await.expect("the watch ends");
    assert!(end.is_none());
}

#[tokio::test]
async fn history_and_counts_tell_what_was_done() {
    let api = server();
    let services: Api<Service> = Api::namespaced(api.client(), "ns");
    services.create(&PostParams::default(), &service("a")).await.unwrap();
    let status = Patch::Strategic(json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}));
    for _ in 0..3 {
        services.patch_status("a", &PatchParams::default(), &status).await.unwrap();
    }
    services.delete("a", &DeleteParams::default()).await.unwrap();
    let _ = services.delete("a", &DeleteParams::default()).await;

    let history = api.history();
    let changes: Vec<(Change, &str)> =
        history.iter().map(|commit| (commit.change, commit.name.as_str())).collect();
    assert_eq!(changes, [(Change::Added, "a"), (Change::Modified, "a"), (Change::Deleted, "a")]);
    assert!(history.is_sorted_by_key(|commit| commit.version));
    assert_eq!(history[1].object["status"]["loadBalancer"]["ingress"][0]["ip"], "192.0.2.1");
    let writes = api.writes();
    assert_eq!(writes[&(Verb::Patch, "services/status".into())], Writes { asked: 3, committed: 1 });
    assert_eq!(writes[&(Verb::Delete, "services".into())], Writes { asked: 2, committed: 1 });
    assert!(api.get::<Service>("ns", "a").is_none());
    let put = api.put(behaviour::json_of(&config_map("x", json!({}), json!({"a": "b"}))));
    assert_eq!(put["metadata"]["namespace"], "default");
    assert_eq!(api.all::<ConfigMap>().len(), 1);
    assert_eq!(api.writes(), writes, "what a test does past the API is not counted");
}
