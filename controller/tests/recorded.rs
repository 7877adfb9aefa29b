//! A controller of this version in a cluster in which one of an earlier version ran (`tests/fixtures/VERSION/cluster.json`):
//! what that one wrote is understood, so nothing of it is written anew.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ferrolb_controller::run::run_with;
use ferrolb_controller::{Settings, lease};
use ferrolb_crds::bgp::{BFDProfile, BGPAdvertisement, BGPPeer, Community};
use ferrolb_crds::{ConfigurationState, IPAddressPool, L2Advertisement, ServiceL2Status};
use ferrolb_fake_api::{ApiServer, Recorded};
use ferrolb_runtime::Context;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Secret, Service};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use serde_json::{Value, json};

const SYSTEM: &str = "metallb-system";

/// Longer than anything takes that is to happen.
const SOON: Duration = Duration::from_secs(30);

/// What a controller reads.
const KINDS: [&str; 11] = [
    "Namespace",
    "Node",
    "Service",
    "Lease",
    "Secret",
    "IPAddressPool",
    "L2Advertisement",
    "ServiceL2Status",
    "ConfigurationState",
    "BGPPeer",
    "BGPAdvertisement",
];

/// A server with all that was recorded.
fn server(recorded: &Recorded) -> ApiServer {
    let api = ApiServer::new()
        .with::<Namespace>()
        .with::<Node>()
        .with::<Service>()
        .with::<Lease>()
        .with::<Secret>()
        .with::<Event>()
        .with::<IPAddressPool>()
        .with::<L2Advertisement>()
        .with::<ServiceL2Status>()
        .with::<ConfigurationState>()
        .with::<BGPPeer>()
        .with::<BGPAdvertisement>()
        .with::<BFDProfile>()
        .with::<Community>();
    recorded.put(&api, &KINDS);
    api
}

async fn eventually(what: &str, so: impl Fn() -> bool) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < SOON, "after {} s not: {what}", SOON.as_secs());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What was written of each kind while a controller of this version ran, with the number of versions; its Lease and events
/// left out. It ended when what is put in at last, one of each kind that is told something, had been told.
async fn written(api: &ApiServer) -> BTreeMap<String, usize> {
    let before = api.history().len();
    let context = Context::default();
    let settings = Settings { pod_name: "another".to_owned(), lease_duration: Duration::from_secs(15) };
    let run = run_with(api.client(), SYSTEM.to_owned(), None, settings, context.clone());
    let controller = tokio::spawn(run);
    let leads = || {
        let lease: Option<Lease> = api.get(SYSTEM, lease::NAME);
        lease.and_then(|lease| lease.spec?.holder_identity).as_deref() == Some("another")
    };
    eventually("it leads", leads).await;
    // Whatever is to be written of the others is written before the last of these.
    let object = |kind: &str, version: &str, spec: Value| {
        api.put(json!({"apiVersion": version, "kind": kind, "metadata": {"name": LAST, "namespace": SYSTEM}, "spec": spec}));
    };
    object("BGPPeer", "metallb.io/v1beta2", json!({"myASN": 64512}));
    object("IPAddressPool", "metallb.io/v1beta1", json!({"addresses": ["10.9.0.0/30"], "autoAssign": false}));
    object("L2Advertisement", "metallb.io/v1beta1", json!({"ipAddressPools": [LAST]}));
    api.put(json!({
        "apiVersion": "v1", "kind": "Service", "spec": {"type": "LoadBalancer", "clusterIPs": ["10.96.9.9"], "ports": [{"port": 80}]},
        "metadata": {"name": LAST, "namespace": "shop", "annotations": {"metallb.io/address-pool": LAST}},
    }));
    let told = |object: Option<Value>| {
        object.is_some_and(|object| {
            object["status"]["conditions"].as_array().is_some_and(|all| !all.is_empty())
        })
    };
    fn as_json<T: serde::Serialize>(object: Option<T>) -> Option<Value> {
        object.and_then(|object| serde_json::to_value(object).ok())
    }
    eventually("a new Service is told", || told(as_json(api.get::<Service>("shop", LAST)))).await;
    eventually("a new pool is told", || told(as_json(api.get::<IPAddressPool>(SYSTEM, LAST)))).await;
    eventually("a new advertisement is told", || told(as_json(api.get::<L2Advertisement>(SYSTEM, LAST))))
        .await;
    eventually("a new peer is told", || told(as_json(api.get::<BGPPeer>(SYSTEM, LAST)))).await;
    context.shutdown.cancel();
    controller.await.expect("the controller ends");
    let mut written = BTreeMap::new();
    for commit in &api.history()[before..] {
        let name = commit.object["metadata"]["name"].as_str().unwrap_or_default();
        if name != LAST && !["leases", "events"].contains(&commit.resource.plural.as_str()) {
            *written.entry(format!("{} {name}", commit.resource.plural)).or_default() += 1;
        }
    }
    written
}

/// The name of what is put in at last.
const LAST: &str = "last";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_version_wrote_is_not_written_anew() {
    for recorded in Recorded::all() {
        let api = server(&recorded);
        let written = written(&api).await;
        assert!(written.is_empty(), "{}: {written:?}", recorded.version);
        let means = recorded.means("services").as_object().expect("by name");
        for service in api.all::<Service>().iter().filter(|service| service.name_any() != LAST) {
            let key = format!("{}/{}", service.namespace().unwrap_or_default(), service.name_any());
            let status = serde_json::to_value(&service.status).expect("JSON");
            let ingress = status["loadBalancer"]["ingress"].as_array().cloned().unwrap_or_default();
            let shown: Vec<&Value> = ingress.iter().map(|entry| &entry["ip"]).collect();
            assert_eq!(json!(shown), means[&key]["addresses"], "{}: {key}", recorded.version);
        }
        let shown = api.all::<Service>().len() - 1;
        assert_eq!(shown, means.len(), "{}: all Services were looked at", recorded.version);
    }
}

/// The test above sees what it is to see.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_understood_is_written_anew() {
    let api = server(&Recorded::all()[0]);
    let change = |kind: &str, change: &dyn Fn(&mut Value) -> bool| {
        let recorded = Recorded::all();
        let mut found = recorded[0].of(kind).into_iter().cloned();
        let changed = found.find_map(|mut object| change(&mut object).then_some(object));
        api.put(changed.unwrap_or_else(|| panic!("no {kind} can be changed so")));
    };
    let unsaid = |object: &mut Value| {
        let conditions = object["status"]["conditions"].as_array_mut();
        conditions.is_some_and(|all| !std::mem::take(all).is_empty())
    };
    for kind in ["IPAddressPool", "L2Advertisement", "BGPPeer", "Service"] {
        change(kind, &unsaid);
    }
    let written = written(&api).await;
    let kinds: Vec<&str> = written.keys().filter_map(|key| key.split(' ').next()).collect();
    assert_eq!(kinds, ["bgppeers", "ipaddresspools", "l2advertisements", "services"], "{written:?}");
}

#[test]
fn a_lease_that_an_earlier_version_holds_is_one_that_it_holds() {
    for recorded in Recorded::all() {
        let read = |lease: &Value| -> Lease { serde_json::from_value(lease.clone()).expect("a Lease") };
        let (held, means) = (lease::record(&read(recorded.held_lease())), recorded.means("lease"));
        assert_eq!(json!(held.holder), means["holder"], "{}", recorded.version);
        assert_eq!(json!(held.duration.as_secs()), means["seconds"], "{}", recorded.version);
        let given_back = lease::record(&read(recorded.of("Lease")[0]));
        assert_eq!(given_back.holder, "", "{}", recorded.version);
        assert_eq!(given_back.transitions, held.transitions, "{}", recorded.version);
    }
}
