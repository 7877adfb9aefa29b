//! A real API server: what the one in memory is held against, and bad weather in front of it.

#[path = "../api/tests/behaviour/mod.rs"]
mod behaviour;
mod support;

use std::process::Command;
use std::time::Duration;

use ferrolb_fake_api::{Fault, Lost, On, Verb};
use ferrolb_tests::lab::weather::Front;
use ferrolb_tests::lab::{Lab, Paths, process};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::{conditions, wait::await_condition, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use behaviour::{WIDGET, config_map, from, next, refusal};
use support::{block_on, left_out};

const LAB: &str = "testapi";

/// How long anything may take.
const SOON: Duration = Duration::from_secs(30);

/// A control plane that is taken down at the end, also of a failed test.
struct ControlPlane(Lab);

impl ControlPlane {
    fn up() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            left_out("the lab needs root");
            return None;
        }
        // An earlier run that was killed may have left one.
        ferrolb_tests::lab::down::down(&Paths::of(LAB)).expect("nothing in the way");
        let mut up = Command::new(env!("CARGO_BIN_EXE_lab"));
        process::run(up.args(["--name", LAB, "up", "--nodes", "0"])).expect("a control plane");
        Some(ControlPlane(Lab::attach(LAB).expect("the lab")))
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let _ = ferrolb_tests::lab::down::down(&Paths::of(LAB));
    }
}

/// The custom kind of the behaviours.
async fn install_widgets(client: &Client) {
    let (group, version, kind, plural) = WIDGET;
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": open, "status": open}}});
    let crd: CustomResourceDefinition = from(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural, "singular": "widget"},
            "versions": [{"name": version, "served": true, "storage": true, "schema": schema, "subresources": {"status": {}}}],
        },
    }));
    let name = format!("{plural}.{group}");
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    crds.patch(&name, &PatchParams::apply("tests"), &Patch::Apply(&crd)).await.expect("the CRD");
    let established = await_condition(crds, &name, conditions::is_crd_established());
    tokio::time::timeout(SOON, established).await.expect("soon").expect("the CRD");
}

async fn namespace(client: &Client, name: &str) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let object = from(json!({"metadata": {"name": name}}));
    namespaces.create(&PostParams::default(), &object).await.expect("the namespace");
}

#[test]
fn the_server_in_memory_is_like_the_real_one() {
    let Some(control_plane) = ControlPlane::up() else { return };
    block_on(async {
        let client = control_plane.0.client().await.expect("a client");
        install_widgets(&client).await;
        namespace(&client, "behaviour").await;
        behaviour::all(&client, "behaviour").await;
    });
}

#[test]
fn a_front_passes_all_on_in_fair_weather() {
    let Some(control_plane) = ControlPlane::up() else { return };
    block_on(async {
        let direct = control_plane.0.client().await.expect("a client");
        install_widgets(&direct).await;
        namespace(&direct, "fair").await;
        let front = Front::open(&control_plane.0, None).await.expect("a front");
        behaviour::all(&client_of(&front).await, "fair").await;
        assert!(front.weather().calls().iter().any(|call| call.verb == Verb::Watch));
    });
}

/// A client that knows the front's kubeconfig alone.
async fn client_of(front: &Front) -> Client {
    let file = kube::config::Kubeconfig::read_from(front.kubeconfig()).expect("a kubeconfig");
    let mut config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await.expect("a config");
    config.default_retry = false;
    config.proxy_url = None;
    Client::try_from(config).expect("a client")
}

#[test]
fn a_front_has_weather() {
    let Some(control_plane) = ControlPlane::up() else { return };
    block_on(async {
        let direct = control_plane.0.client().await.expect("a client");
        namespace(&direct, "foul").await;
        let front = Front::open(&control_plane.0, None).await.expect("a front");
        let weather = front.weather().clone();
        let client = client_of(&front).await;
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "foul");
        let behind: Api<ConfigMap> = Api::namespaced(direct.clone(), "foul");
        let (put, patch) = (PostParams::default(), PatchParams::default());
        let create = |name: &str| config_map(name, json!({}), json!({}));

        weather.add(On::writes().times(1), Fault::too_many(1));
        assert_eq!(refusal(maps.create(&put, &create("a")).await).code, 429);
        weather.add(On::writes().times(1), Fault::Connection);
        let broken = maps.create(&put, &create("a")).await;
        assert!(matches!(broken, Err(kube::Error::Service(_) | kube::Error::HyperError(_))), "{broken:?}");
        assert_eq!(refusal(behind.get("a").await).code, 404, "nothing of that was done");
        weather.add(On::writes().times(1), Fault::AnswerLost(Lost::Connection));
        assert!(maps.create(&put, &create("a")).await.is_err());
        assert!(behind.get("a").await.is_ok(), "it was done");

        // A client gives up; what it asked for is done later, though its connection is gone.
        let late = weather.add(On::verb(Verb::Patch).times(1), Fault::Late(Duration::from_secs(2)));
        let note = |text: &str| Patch::Merge(json!({"metadata": {"annotations": {"note": text}}}));
        let given_up =
            tokio::time::timeout(Duration::from_millis(200), maps.patch("a", &patch, &note("late"))).await;
        assert!(given_up.is_err() && late.hits() == 1);
        maps.patch("a", &patch, &note("newer")).await.expect("a patch");
        let is_late = |map: Option<&ConfigMap>| {
            map.and_then(|map| map.annotations().get("note")).is_some_and(|note| note == "late")
        };
        let arrives = await_condition(behind.clone(), "a", is_late);
        tokio::time::timeout(SOON, arrives).await.expect("the late write arrives").expect("a watch");

        // A watch that runs is paused, goes on, is told that it expired; another is ended.
        let events = watcher::watcher(maps.clone(), watcher::Config::default());
        pin_mut!(events);
        while !matches!(next(&mut events, "list").await.expect("a list"), watcher::Event::InitDone) {}
        // The kube-root-ca.crt of the namespace may come at any time; a paused watch is silent.
        maps.create(&put, &create("b")).await.expect("a map");
        while !matches!(next(&mut events, "b").await, Ok(watcher::Event::Apply(map)) if map.name_any() == "b")
        {
        }
        let pause = weather.add(On::verb(Verb::Watch).resource("configmaps"), Fault::WatchPause);
        pause.hit(1).await;
        maps.create(&put, &create("c")).await.expect("a map");
        let silent = tokio::time::timeout(Duration::from_secs(1), events.next()).await;
        assert!(silent.is_err(), "{silent:?}");
        pause.remove();
        while !matches!(next(&mut events, "c").await, Ok(watcher::Event::Apply(map)) if map.name_any() == "c")
        {
        }
        weather.add(On::verb(Verb::Watch).times(1), Fault::WatchExpired);
        match next(&mut events, "expiry").await {
            Err(watcher::Error::WatchError(status)) => assert_eq!(status.code, 410),
            other => panic!("{other:?}"),
        }
        while !matches!(next(&mut events, "list").await.expect("a list"), watcher::Event::InitDone) {}
        let end = weather.add(On::verb(Verb::Watch).times(1), Fault::WatchEnd);
        maps.create(&put, &create("d")).await.expect("a map");
        while !matches!(next(&mut events, "d").await, Ok(watcher::Event::Apply(map)) if map.name_any() == "d")
        {
        }
        assert_eq!(end.hits(), 1);

        // RBAC judges whom the front speaks for.
        let user = "system:serviceaccount:foul:default";
        let humble = Front::open(&control_plane.0, Some(user)).await.expect("a front");
        let refused = refusal(
            Api::<ConfigMap>::namespaced(client_of(&humble).await, "foul").list(&Default::default()).await,
        );
        assert!(refused.code == 403 && refused.message.contains(user), "{refused:?}");
        // kubectl lives in it as well.
        let mut kubectl = control_plane.0.kubectl();
        kubectl.env("KUBECONFIG", front.kubeconfig()).args([
            "get",
            "configmap",
            "d",
            "-n",
            "foul",
            "-o",
            "name",
        ]);
        let shown = tokio::task::spawn_blocking(move || process::run(&mut kubectl)).await.expect("a thread");
        assert_eq!(shown.expect("kubectl").trim(), "configmap/d");
    });
}
