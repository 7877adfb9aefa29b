//! What clients see of an API server. Each function is run against the one in memory and against a real one, so
//! that the first is known to be like the second.
//!
//! Each takes a namespace of its own, which exists and is empty.
#![allow(clippy::unwrap_used, reason = "a step that fails ends the test")]
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fmt::Debug;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt, pin_mut};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
    Preconditions, WatchEvent, WatchParams,
};
use kube::core::Status;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The custom kind of these tests: `widgets.weather.test`, with a status and no schema to speak of.
pub(crate) const WIDGET: (&str, &str, &str, &str) = ("weather.test", "v1", "Widget", "widgets");

/// How long anything may take.
const SOON: Duration = Duration::from_secs(20);

/// Runs everything below, and names all that failed.
pub(crate) async fn all(client: &Client, namespace: &str) {
    let list = watcher::Config::default().labels("follow=list");
    let streaming = watcher::Config::default().labels("follow=stream").streaming_lists();
    let behaviours: Vec<(&str, BoxFuture<'_, ()>)> = vec![
        ("creation", creation(client, namespace).boxed()),
        ("compare_and_swap", compare_and_swap(client, namespace).boxed()),
        ("writes_without_effect", writes_without_effect(client, namespace).boxed()),
        ("status_of_a_service", status_of_a_service(client, namespace).boxed()),
        ("status_of_a_custom_kind", status_of_a_custom_kind(client, namespace).boxed()),
        ("strategic_merge", strategic_merge(client, namespace).boxed()),
        ("preconditions_in_patches", preconditions_in_patches(client, namespace).boxed()),
        ("apply_owns_fields", apply_owns_fields(client, namespace).boxed()),
        ("apply_merges_conditions", apply_merges_conditions(client, namespace).boxed()),
        ("lists_in_pages", lists_in_pages(client, namespace).boxed()),
        ("lists_by_labels_and_names", lists_by_labels_and_names(client, namespace).boxed()),
        ("watch_by_labels", watch_by_labels(client, namespace).boxed()),
        ("watch_from_the_start", watch_from_the_start(client, namespace).boxed()),
        ("watcher_lists_and_follows", watcher_lists_and_follows(client, namespace, list).boxed()),
        ("watcher_streams_and_follows", watcher_lists_and_follows(client, namespace, streaming).boxed()),
        ("finalizers_hold", finalizers_hold(client, namespace).boxed()),
        ("unknown_paths", unknown_paths(client, namespace).boxed()),
    ];
    let mut failed = Vec::new();
    for (name, behaviour) in behaviours {
        if AssertUnwindSafe(behaviour).catch_unwind().await.is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "the server does not do as it should in: {failed:?}");
}

pub(crate) fn widgets(client: &Client, namespace: &str) -> Api<DynamicObject> {
    let (group, version, kind, plural) = WIDGET;
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    Api::namespaced_with(client.clone(), namespace, &resource)
}

pub(crate) fn widget(name: &str, spec: Value) -> DynamicObject {
    let (group, version, kind, _) = WIDGET;
    from(json!({
        "apiVersion": format!("{group}/{version}"), "kind": kind, "metadata": {"name": name}, "spec": spec,
    }))
}

pub(crate) fn service(name: &str) -> Service {
    from(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80}], "selector": {"app": "web"}},
    }))
}

pub(crate) fn config_map(name: &str, labels: Value, data: Value) -> ConfigMap {
    from(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": data,
    }))
}

pub(crate) fn from<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

pub(crate) fn json_of(object: &impl Serialize) -> Value {
    serde_json::to_value(object).unwrap()
}

/// The refusal that a request must get.
pub(crate) fn refusal<T: Debug>(answer: kube::Result<T>) -> Status {
    match answer {
        Err(kube::Error::Api(status)) => *status,
        other => panic!("not a refusal by the API server: {other:?}"),
    }
}

fn version(object: &impl ResourceExt) -> String {
    object.resource_version().expect("stored objects have versions")
}

/// The next item, soon.
pub(crate) async fn next<T>(stream: &mut (impl Stream<Item = T> + Unpin), what: &str) -> T {
    match tokio::time::timeout(SOON, stream.next()).await {
        Ok(Some(item)) => item,
        Ok(None) => panic!("the stream ended before {what}"),
        Err(_) => panic!("no {what} within {SOON:?}"),
    }
}

/// The next change; a server may send bookmarks at any time between them.
async fn next_change<K, S>(events: &mut S, what: &str) -> WatchEvent<K>
where
    K: Clone,
    S: Stream<Item = kube::Result<WatchEvent<K>>> + Unpin,
{
    loop {
        match next(events, what).await.unwrap() {
            WatchEvent::Bookmark(_) => {}
            change => return change,
        }
    }
}

async fn creation(client: &Client, namespace: &str) {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let (create, delete) = (PostParams::default(), DeleteParams::default());
    let first = maps.create(&create, &config_map("born", json!({}), json!({"a": "b"}))).await.unwrap();
    assert!(first.uid().is_some() && first.creation_timestamp().is_some(), "{first:?}");
    assert_eq!(first.namespace().as_deref(), Some(namespace));

    let again = refusal(maps.create(&create, &config_map("born", json!({}), json!({}))).await);
    assert_eq!((again.code, again.reason.as_str()), (409, "AlreadyExists"));
    assert_eq!(again.message, "configmaps \"born\" already exists");

    let mut named = config_map("x", json!({}), json!({}));
    (named.metadata.name, named.metadata.generate_name) = (None, Some("pre-".into()));
    let named = maps.create(&create, &named).await.unwrap();
    assert!(named.name_any().starts_with("pre-") && named.name_any().len() == 9, "{named:?}");
    maps.delete(&named.name_any(), &delete).await.unwrap();

    let missing = refusal(maps.get("nobody").await);
    assert_eq!((missing.code, missing.reason.as_str()), (404, "NotFound"));
    assert_eq!(missing.message, "configmaps \"nobody\" not found");
    let missing = refusal(widgets(client, namespace).get("nobody").await);
    assert_eq!(missing.message, "widgets.weather.test \"nobody\" not found");
    let details = missing.details.unwrap();
    assert_eq!(
        (details.name.as_str(), details.group.as_str(), details.kind.as_str()),
        ("nobody", "weather.test", "widgets")
    );

    let other =
        Preconditions { uid: Some("00000000-0000-0000-0000-000000000000".into()), ..Default::default() };
    let kept = refusal(maps.delete("born", &DeleteParams::default().preconditions(other)).await);
    assert_eq!((kept.code, kept.reason.as_str()), (409, "Conflict"), "{kept:?}");
    let mine = Preconditions { uid: first.uid(), resource_version: first.resource_version() };
    let gone = maps.delete("born", &DeleteParams::default().preconditions(mine)).await.unwrap();
    assert!(gone.right().is_some_and(|status| status.is_success()));
    assert_eq!(refusal(maps.delete("born", &delete).await).code, 404);
}

async fn compare_and_swap(client: &Client, namespace: &str) {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let put = PostParams::default();
    let mut first = maps.create(&put, &config_map("cas", json!({}), json!({"a": "1"}))).await.unwrap();
    let stale = first.clone();
    first.data.as_mut().unwrap().insert("a".into(), "2".into());
    let second = maps.replace("cas", &put, &first).await.unwrap();
    assert_ne!(version(&second), version(&stale));
    let lost = refusal(maps.replace("cas", &put, &stale).await);
    assert_eq!((lost.code, lost.reason.as_str()), (409, "Conflict"));
    assert_eq!(
        lost.message,
        "Operation cannot be fulfilled on configmaps \"cas\": the object has been modified; please apply your changes to the latest version and try again"
    );
    let mut blind = stale.clone();
    (blind.metadata.resource_version, blind.metadata.uid) = (None, None);
    maps.replace("cas", &put, &blind).await.expect("built-in kinds take writes without a version");
    let mut foreign = blind.clone();
    foreign.metadata.uid = Some("00000000-0000-0000-0000-000000000000".into());
    assert_eq!(refusal(maps.replace("cas", &put, &foreign).await).code, 409);

    let widgets = widgets(client, namespace);
    widgets.create(&put, &widget("cas", json!({"a": 1}))).await.unwrap();
    let blind = refusal(widgets.replace("cas", &put, &widget("cas", json!({"a": 2}))).await);
    assert_eq!((blind.code, blind.reason.as_str()), (422, "Invalid"), "{blind:?}");
    assert!(blind.message.contains("metadata.resourceVersion"), "{blind:?}");

    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let lease: Lease = from(json!({"metadata": {"name": "cas"}, "spec": {"holderIdentity": "a"}}));
    let held = leases.create(&put, &lease).await.unwrap();
    let blind = refusal(leases.replace("cas", &put, &lease).await);
    assert_eq!((blind.code, blind.reason.as_str()), (422, "Invalid"), "{blind:?}");
    assert_eq!(blind.message.split(':').next(), Some("leases.coordination.k8s.io \"cas\" is invalid"));
    let mut renewed = held.clone();
    renewed.spec.as_mut().unwrap().holder_identity = Some("b".into());
    leases.replace("cas", &put, &renewed).await.unwrap();
    assert_eq!(refusal(leases.replace("cas", &put, &held).await).code, 409);
}

async fn writes_without_effect(client: &Client, namespace: &str) {
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let (put, patch) = (PostParams::default(), PatchParams::default());
    let object = services.create(&put, &service("quiet")).await.unwrap();
    assert_eq!(version(&services.replace("quiet", &put, &object).await.unwrap()), version(&object));
    let same = json!({"metadata": {"labels": {"app": "web"}, "annotations": {"never": null}}});
    for patched in [
        services.patch("quiet", &patch, &Patch::Merge(&same)).await.unwrap(),
        services.patch("quiet", &patch, &Patch::Strategic(&same)).await.unwrap(),
        services.patch_status("quiet", &patch, &Patch::Strategic(json!({"status": {}}))).await.unwrap(),
        services
            .patch_status("quiet", &patch, &Patch::Merge(json!({"spec": {"type": "ClusterIP"}})))
            .await
            .unwrap(),
    ] {
        assert_eq!(version(&patched), version(&object));
    }
    let widgets = widgets(client, namespace);
    let object = widgets.create(&put, &widget("quiet", json!({"list": []}))).await.unwrap();
    assert_eq!(version(&widgets.replace("quiet", &put, &object).await.unwrap()), version(&object));
    let less = Patch::Merge(json!({"spec": {"list": null}}));
    let changed = widgets.patch("quiet", &patch, &less).await.unwrap();
    assert_ne!(version(&changed), version(&object), "an empty list of a custom kind is a value");
}

async fn status_of_a_service(client: &Client, namespace: &str) {
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let (put, patch) = (PostParams::default(), PatchParams::default());
    let mut object = service("status");
    let address = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
    object.status = from(address.clone());
    let created = services.create(&put, &object).await.unwrap();
    assert_eq!(json_of(&created)["status"], json!({"loadBalancer": {}}), "a creation takes no status");

    let mut whole = created.clone();
    whole.status = from(address);
    whole.spec.as_mut().unwrap().external_traffic_policy = Some("Local".into());
    let whole = services.replace("status", &put, &whole).await.unwrap();
    assert_eq!(json_of(&whole)["status"], json!({"loadBalancer": {}}), "nor does a write of the object");

    let both = json!({
        "metadata": {"annotations": {"pool": "a"}, "labels": {"more": "yes"}},
        "spec": {"externalTrafficPolicy": "Cluster"},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
    });
    let written = services.patch_status("status", &patch, &Patch::Strategic(&both)).await.unwrap();
    assert_eq!(written.annotations().get("pool").map(String::as_str), Some("a"), "a status write takes them");
    assert_eq!(written.labels().get("more").map(String::as_str), Some("yes"));
    assert_eq!(written.spec.as_ref().unwrap().external_traffic_policy.as_deref(), Some("Local"));
    let ingress = &json_of(&written)["status"]["loadBalancer"]["ingress"];
    assert_eq!(*ingress, json!([{"ip": "192.0.2.1", "ipMode": "VIP"}]));
    assert_eq!(json_of(&services.get_status("status").await.unwrap()), json_of(&written));

    // Its addresses go with its type, in the same write.
    let narrow = json!({"spec": {"type": "ClusterIP", "externalTrafficPolicy": null, "allocateLoadBalancerNodePorts": null}});
    let narrow = services.patch("status", &patch, &Patch::Strategic(narrow)).await.unwrap();
    assert_eq!(json_of(&narrow)["status"], json!({"loadBalancer": {}}));
    let refused = refusal(services.patch_status("status", &patch, &Patch::Strategic(&both)).await);
    assert_eq!((refused.code, refused.reason.as_str()), (422, "Invalid"), "{refused:?}");
    let why = "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'";
    assert!(refused.message.contains(why), "{refused:?}");
}

async fn status_of_a_custom_kind(client: &Client, namespace: &str) {
    let widgets = widgets(client, namespace);
    let (put, patch) = (PostParams::default(), PatchParams::default());
    let mut object = widget("status", json!({"size": 1}));
    object.data["status"] = json!({"ready": true});
    let created = widgets.create(&put, &object).await.unwrap();
    assert_eq!((created.metadata.generation, &created.data["status"]), (Some(1), &Value::Null));
    let both =
        json!({"metadata": {"annotations": {"a": "b"}}, "spec": {"size": 2}, "status": {"ready": true}});
    let written = widgets.patch_status("status", &patch, &Patch::Merge(&both)).await.unwrap();
    assert_eq!(
        (&written.data["status"], &written.data["spec"]),
        (&json!({"ready": true}), &json!({"size": 1}))
    );
    assert!(written.annotations().is_empty(), "a status write of a custom kind takes the status alone");
    assert_eq!(written.metadata.generation, Some(1));
    let written = widgets.patch("status", &patch, &Patch::Merge(&both)).await.unwrap();
    assert_eq!((written.metadata.generation, &written.data["spec"]), (Some(2), &json!({"size": 2})));

    let strategic = refusal(widgets.patch("status", &patch, &Patch::Strategic(&both)).await);
    assert_eq!((strategic.code, strategic.reason.as_str()), (415, "UnsupportedMediaType"), "{strategic:?}");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    maps.create(&put, &config_map("status", json!({}), json!({}))).await.unwrap();
    assert_eq!(refusal(maps.patch_status("status", &patch, &Patch::Merge(&both)).await).code, 404);
}

async fn strategic_merge(client: &Client, namespace: &str) {
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let patch = PatchParams::default();
    services.create(&PostParams::default(), &service("merge")).await.unwrap();
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let patched = async |change: Value| {
        json_of(&services.patch_status("merge", &patch, &Patch::Strategic(change)).await.unwrap())
    };
    let kinds = |object: &Value| -> Vec<(String, String)> {
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        conditions.iter().map(|condition| (text(&condition["type"]), text(&condition["status"]))).collect()
    };
    let pair = |kind: &str, status: &str| (kind.to_owned(), status.to_owned());

    patched(json!({"status": {"conditions": [condition("A", "True")]}})).await;
    let two = patched(json!({"status": {"conditions": [condition("B", "True")]}})).await;
    let mut found = kinds(&two);
    found.sort();
    assert_eq!(found, [pair("A", "True"), pair("B", "True")], "conditions are merged by type");
    let changed = patched(json!({"status": {"conditions": [{"type": "A", "status": "False"}]}})).await;
    assert!(kinds(&changed).contains(&pair("A", "False")), "{changed}");
    let reasons = changed["status"]["conditions"].as_array().unwrap().iter().all(|it| it["reason"] == "R");
    assert!(reasons, "what a patch does not name stays: {changed}");
    let one = patched(json!({"status": {"conditions": [{"type": "A", "$patch": "delete"}]}})).await;
    assert_eq!(kinds(&one), [pair("B", "True")]);
    let replaced = json!({"status": {"conditions": [{"$patch": "replace"}, condition("C", "True")]}});
    assert_eq!(kinds(&patched(replaced).await), [pair("C", "True")]);

    let ingress = |object: &Value| object["status"]["loadBalancer"]["ingress"].clone();
    patched(json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}]}}}))
        .await;
    let now = patched(json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.3"}]}}})).await;
    assert_eq!(ingress(&now), json!([{"ip": "192.0.2.3", "ipMode": "VIP"}]), "addresses are one value");
    let none = patched(
        json!({"metadata": {"annotations": {"gone": null}}, "status": {"loadBalancer": {"ingress": null}}}),
    )
    .await;
    assert_eq!(ingress(&none), Value::Null);
    assert_eq!(kinds(&none), [pair("C", "True")]);

    // Ports by port, finalizers as a set, labels by name.
    let change = json!({"metadata": {"labels": {"app": null, "x": "y"}}, "spec": {"ports": [{"port": 443, "name": "tls"}, {"port": 80, "name": "web"}]}});
    let object = json_of(&services.patch("merge", &patch, &Patch::Strategic(change)).await.unwrap());
    let mut ports: Vec<i64> = object["spec"]["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| port["port"].as_i64().unwrap())
        .collect();
    ports.sort_unstable();
    assert_eq!((ports, &object["metadata"]["labels"]), (vec![80, 443], &json!({"x": "y"})));
}

async fn preconditions_in_patches(client: &Client, namespace: &str) {
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let patch = PatchParams::default();
    let object = services.create(&PostParams::default(), &service("based")).await.unwrap();
    let based = |version: &str, pool: &str| json!({"metadata": {"resourceVersion": version, "annotations": {"pool": pool}}, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
    let first = version(&object);
    services.patch_status("based", &patch, &Patch::Strategic(based(&first, "a"))).await.unwrap();
    let stale = refusal(services.patch_status("based", &patch, &Patch::Strategic(based(&first, "b"))).await);
    assert_eq!((stale.code, stale.reason.as_str()), (409, "Conflict"), "{stale:?}");
    let stale = refusal(services.patch("based", &patch, &Patch::Merge(based(&first, "b"))).await);
    assert_eq!((stale.code, stale.reason.as_str()), (409, "Conflict"), "{stale:?}");
    let other =
        json!({"metadata": {"uid": "00000000-0000-0000-0000-000000000000", "annotations": {"pool": "c"}}});
    let other = refusal(services.patch_status("based", &patch, &Patch::Strategic(other)).await);
    assert_eq!((other.code, other.reason.as_str()), (422, "Invalid"), "{other:?}");
    let gone = refusal(services.patch_status("nobody", &patch, &Patch::Strategic(based(&first, "a"))).await);
    assert_eq!(gone.code, 404);
}

async fn apply_owns_fields(client: &Client, namespace: &str) {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let wanted = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": data});
    let by = PatchParams::apply;
    let applied = async |params: PatchParams, data: Value| {
        maps.patch("applied", &params, &Patch::Apply(wanted(data)))
            .await
            .map(|map| json_of(&map)["data"].clone())
    };
    assert_eq!(applied(by("one"), json!({"a": "1", "b": "1"})).await.unwrap(), json!({"a": "1", "b": "1"}));
    let before = maps.get("applied").await.unwrap();
    applied(by("one"), json!({"a": "1", "b": "1"})).await.unwrap();
    assert_eq!(version(&maps.get("applied").await.unwrap()), version(&before), "the same again is no write");
    // A second manager beside the first, and against it.
    assert_eq!(applied(by("two"), json!({"c": "2"})).await.unwrap(), json!({"a": "1", "b": "1", "c": "2"}));
    let conflict = refusal(applied(by("two"), json!({"a": "2", "c": "2"})).await);
    assert_eq!((conflict.code, conflict.reason.as_str()), (409, "Conflict"));
    assert_eq!(conflict.message, "Apply failed with 1 conflict: conflict with \"one\": .data.a");
    let forced = applied(by("two").force(), json!({"a": "2", "c": "2"})).await.unwrap();
    assert_eq!(forced, json!({"a": "2", "b": "1", "c": "2"}));
    // What one no longer applies goes, unless another has it.
    assert_eq!(applied(by("two"), json!({"a": "2"})).await.unwrap(), json!({"a": "2", "b": "1"}));
    applied(by("one"), json!({"a": "2", "b": "1"})).await.unwrap();
    assert_eq!(applied(by("two"), json!({"z": "2"})).await.unwrap(), json!({"a": "2", "b": "1", "z": "2"}));
    // A plain write takes ownership of what it changes.
    let params = PatchParams { field_manager: Some("hand".into()), ..PatchParams::default() };
    maps.patch("applied", &params, &Patch::Merge(json!({"data": {"b": "hand"}}))).await.unwrap();
    let conflict = refusal(applied(by("one"), json!({"a": "2", "b": "1"})).await);
    assert!(
        conflict.message.starts_with("Apply failed with 1 conflict: conflict with \"hand\""),
        "{conflict:?}"
    );
    assert_eq!(
        applied(by("one"), json!({"a": "2"})).await.unwrap(),
        json!({"a": "2", "b": "hand", "z": "2"})
    );
}

async fn apply_merges_conditions(client: &Client, namespace: &str) {
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    services.create(&PostParams::default(), &service("applied")).await.unwrap();
    let applied = async |manager: &str, status: Value| {
        let wanted =
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "applied"}, "status": status});
        let patch = Patch::Apply(wanted);
        json_of(&services.patch_status("applied", &PatchParams::apply(manager), &patch).await.unwrap())["status"].clone()
    };
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "R", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let kinds = |status: &Value| -> Vec<String> {
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let mut kinds: Vec<String> =
            conditions.iter().map(|condition| condition["type"].as_str().unwrap().to_owned()).collect();
        kinds.sort();
        kinds
    };
    applied("one", json!({"conditions": [condition("A")]})).await;
    let two = applied(
        "two",
        json!({"conditions": [condition("B")], "loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}),
    )
    .await;
    assert_eq!(kinds(&two), ["A", "B"]);
    let one = applied("two", json!({})).await;
    assert_eq!((kinds(&one), &one["loadBalancer"]), (vec!["A".to_owned()], &json!({})));
}

async fn lists_in_pages(client: &Client, namespace: &str) {
    let widgets = widgets(client, namespace);
    for name in ["page-b", "page-a", "page-d", "page-c"] {
        let mut object = widget(name, json!({}));
        object.metadata.labels = Some([("paged".to_owned(), "yes".to_owned())].into());
        widgets.create(&PostParams::default(), &object).await.unwrap();
    }
    let names = |list: &kube::core::ObjectList<DynamicObject>| -> Vec<String> {
        list.items.iter().map(ResourceExt::name_any).collect()
    };
    let params = ListParams::default().labels("paged=yes");
    let all = widgets.list(&params).await.unwrap();
    assert_eq!(names(&all), ["page-a", "page-b", "page-c", "page-d"], "lists are in the order of names");
    let cached = widgets.list(&params.clone().match_any()).await.unwrap();
    assert_eq!(names(&cached).len(), 4);

    let first = widgets.list(&params.clone().limit(3)).await.unwrap();
    assert_eq!(names(&first), ["page-a", "page-b", "page-c"]);
    let token = first.metadata.continue_.clone().expect("there is more");
    widgets.delete("page-d", &DeleteParams::default()).await.unwrap();
    let rest = widgets.list(&params.clone().limit(3).continue_token(&token)).await.unwrap();
    assert_eq!(names(&rest), ["page-d"], "all pages are of the time of the first");
    assert_eq!(rest.metadata.resource_version, first.metadata.resource_version);
    assert!(rest.metadata.continue_.is_none_or(|token| token.is_empty()));
    let then =
        params.clone().at(&first.metadata.resource_version.unwrap()).matching(kube::api::VersionMatch::Exact);
    assert_eq!(names(&widgets.list(&then).await.unwrap()).len(), 4, "the past can be listed");
    assert_eq!(names(&widgets.list(&params).await.unwrap()).len(), 3);
}

async fn lists_by_labels_and_names(client: &Client, namespace: &str) {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    for (name, labels) in
        [("sel-a", json!({"sel": "1", "x": "y"})), ("sel-b", json!({"sel": "2"})), ("sel-c", json!({}))]
    {
        maps.create(&PostParams::default(), &config_map(name, labels, json!({}))).await.unwrap();
    }
    let names = async |params: ListParams| -> Vec<String> {
        let list = maps.list(&params).await.unwrap();
        list.items.iter().map(ResourceExt::name_any).filter(|name| name.starts_with("sel-")).collect()
    };
    let labels = |text: &str| ListParams::default().labels(text);
    assert_eq!(names(labels("sel=1")).await, ["sel-a"]);
    assert_eq!(names(labels("sel")).await, ["sel-a", "sel-b"]);
    assert_eq!(names(labels("sel,x!=y")).await, ["sel-b"]);
    assert_eq!(names(labels("!sel")).await, ["sel-c"]);
    assert_eq!(names(ListParams::default().fields("metadata.name=sel-b")).await, ["sel-b"]);
    let metadata = maps.list_metadata(&labels("sel=1")).await.unwrap();
    assert_eq!(metadata.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["sel-a"]);
}

async fn watch_by_labels(client: &Client, namespace: &str) {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let (put, patch) = (PostParams::default(), PatchParams::default());
    let params = ListParams::default().labels("watched=yes");
    let start = maps.list(&params).await.unwrap().metadata.resource_version.unwrap();
    let events = maps.watch(&WatchParams::default().labels("watched=yes"), &start).await.unwrap();
    pin_mut!(events);
    let labelled = |value: &str| Patch::Merge(json!({"metadata": {"labels": {"watched": value}}}));
    maps.create(&put, &config_map("seen", json!({"watched": "no"}), json!({}))).await.unwrap();
    let entered = maps.patch("seen", &patch, &labelled("yes")).await.unwrap();
    let changed = maps.patch("seen", &patch, &Patch::Merge(json!({"data": {"a": "b"}}))).await.unwrap();
    let left = maps.patch("seen", &patch, &labelled("no")).await.unwrap();
    maps.delete("seen", &DeleteParams::default()).await.unwrap();
    let last = maps.create(&put, &config_map("last", json!({"watched": "yes"}), json!({}))).await.unwrap();
    let mut seen = Vec::new();
    while seen.last().is_none_or(|(_, version)| *version != last.resource_version()) {
        match next_change(&mut events, "event").await {
            WatchEvent::Added(map) => seen.push(("added", map.resource_version())),
            WatchEvent::Modified(map) => seen.push(("modified", map.resource_version())),
            WatchEvent::Deleted(map) => {
                assert_eq!(
                    json_of(&map)["metadata"]["labels"]["watched"],
                    "yes",
                    "the last state that matched"
                );
                seen.push(("deleted", map.resource_version()));
            }
            other => panic!("{other:?}"),
        }
    }
    let wanted = [
        ("added", entered.resource_version()),
        ("modified", changed.resource_version()),
        ("deleted", left.resource_version()),
        ("added", last.resource_version()),
    ];
    assert_eq!(seen, wanted, "as the selector sees it");
    maps.delete("last", &DeleteParams::default()).await.unwrap();
    match next_change(&mut events, "deletion").await {
        WatchEvent::Deleted(map) => assert_ne!(map.resource_version(), last.resource_version()),
        other => panic!("{other:?}"),
    }
}

async fn watch_from_the_start(client: &Client, namespace: &str) {
    let widgets = widgets(client, namespace);
    let named = |name: &str| {
        let mut object = widget(name, json!({}));
        object.metadata.labels = Some([("begun".to_owned(), "yes".to_owned())].into());
        object
    };
    widgets.create(&PostParams::default(), &named("start-a")).await.unwrap();
    widgets.create(&PostParams::default(), &named("start-b")).await.unwrap();
    // Without a version: the state first, then what changes. It ends when the client wants it to.
    let params = WatchParams::default().labels("begun=yes").timeout(1);
    let events: Vec<WatchEvent<DynamicObject>> =
        tokio::time::timeout(SOON, widgets.watch(&params, "0").await.unwrap().try_collect())
            .await
            .unwrap()
            .unwrap();
    let added = |event: &WatchEvent<DynamicObject>| match event {
        WatchEvent::Added(object) => Some(object.name_any()),
        WatchEvent::Bookmark(_) => None,
        other => panic!("{other:?}"),
    };
    let mut names: Vec<String> = events.iter().filter_map(added).collect();
    names.sort();
    assert_eq!(names, ["start-a", "start-b"]);

    let params = WatchParams::default().labels("begun=yes").timeout(10).initial_events();
    let events = widgets.watch(&params, "0").await.unwrap();
    pin_mut!(events);
    let mut names = Vec::new();
    let end = loop {
        match next(&mut events, "initial event").await.unwrap() {
            WatchEvent::Added(object) => names.push(object.name_any()),
            WatchEvent::Bookmark(bookmark) => break bookmark,
            other => panic!("{other:?}"),
        }
    };
    names.sort();
    assert_eq!(names, ["start-a", "start-b"]);
    assert_eq!(end.metadata.annotations.get("k8s.io/initial-events-end").map(String::as_str), Some("true"));
    let new = widgets.create(&PostParams::default(), &named("start-c")).await.unwrap();
    match next_change(&mut events, "new object").await {
        WatchEvent::Added(object) => assert_eq!(object.resource_version(), new.resource_version()),
        other => panic!("{other:?}"),
    }
}

async fn watcher_lists_and_follows(client: &Client, namespace: &str, config: watcher::Config) {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let value = config.label_selector.clone().unwrap().split_once('=').unwrap().1.to_owned();
    let map = |name: &str| config_map(&format!("{value}-{name}"), json!({"follow": value}), json!({}));
    let name = |name: &str| format!("{value}-{name}");
    maps.create(&PostParams::default(), &map("a")).await.unwrap();
    let events = watcher::watcher(maps.clone(), config);
    pin_mut!(events);
    let mut seen: Vec<String> = Vec::new();
    let mut step = 0;
    while step < 4 {
        match next(&mut events, "event of the watcher").await.unwrap() {
            watcher::Event::Init => seen.push("init".into()),
            watcher::Event::InitApply(map) => seen.push(format!("init {}", map.name_any())),
            watcher::Event::InitDone => {
                seen.push("done".into());
                maps.create(&PostParams::default(), &map("b")).await.unwrap();
                step += 1;
            }
            watcher::Event::Apply(map) => {
                seen.push(format!("apply {}", map.name_any()));
                step += 1;
                if step == 2 {
                    let change = Patch::Merge(json!({"data": {"a": "b"}}));
                    maps.patch(&name("b"), &PatchParams::default(), &change).await.unwrap();
                } else {
                    maps.delete(&name("b"), &DeleteParams::default()).await.unwrap();
                }
            }
            watcher::Event::Delete(map) => {
                seen.push(format!("delete {}", map.name_any()));
                step += 1;
            }
        }
    }
    let (a, b) = (name("a"), name("b"));
    let wanted = [
        "init".into(),
        format!("init {a}"),
        "done".into(),
        format!("apply {b}"),
        format!("apply {b}"),
        format!("delete {b}"),
    ];
    assert_eq!(seen, wanted);
}

async fn finalizers_hold(client: &Client, namespace: &str) {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let mut map = config_map("held", json!({}), json!({}));
    map.metadata.finalizers = Some(vec!["weather.test/held".into()]);
    maps.create(&PostParams::default(), &map).await.unwrap();
    let marked = maps.delete("held", &DeleteParams::default()).await.unwrap();
    assert!(marked.left().is_some_and(|map| map.metadata.deletion_timestamp.is_some()));
    let there = maps.get("held").await.unwrap();
    assert!(there.metadata.deletion_timestamp.is_some());
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("held", &PatchParams::default(), &free).await.unwrap();
    assert_eq!(refusal(maps.get("held").await).code, 404);
}

async fn unknown_paths(client: &Client, namespace: &str) {
    let gvk = GroupVersionKind::gvk("nowhere.test", "v1", "Nothing");
    let resource = ApiResource::from_gvk_with_plural(&gvk, "nothings");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    assert_eq!(refusal(api.list(&ListParams::default()).await).code, 404);
    let info = client.apiserver_version().await.unwrap();
    assert_eq!(info.major, "1");
    let resources = client.list_api_group_resources("weather.test/v1").await.unwrap();
    assert!(resources.resources.iter().any(|resource| resource.name == "widgets/status"), "{resources:?}");
}
