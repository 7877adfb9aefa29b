//! Objects of MetalLB's kinds for BGP are told that they are not acted on, by whoever leads, and once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ferrolb_controller::unsupported;
use ferrolb_crds::bgp::{BFDProfile, BGPAdvertisement, BGPPeer, Community};
use ferrolb_fake_api::{ApiServer, Fault, On, Verb, Weather};
use ferrolb_runtime::Context;
use serde_json::{Value, json};

const SYSTEM: &str = "metallb-system";

fn server() -> ApiServer {
    ApiServer::new().with::<BGPPeer>().with::<BGPAdvertisement>().with::<BFDProfile>().with::<Community>()
}

fn object(kind: &str, name: &str) -> Value {
    let version = if kind == "BGPPeer" { "v1beta2" } else { "v1beta1" };
    json!({"apiVersion": format!("metallb.io/{version}"), "kind": kind,
        "metadata": {"name": name, "namespace": SYSTEM}, "spec": {"myASN": 64512}})
}

/// Type, status and reason of the conditions of a peer.
fn said(api: &ApiServer, name: &str) -> Vec<[String; 3]> {
    let peer: Option<BGPPeer> = api.get(SYSTEM, name);
    let status = peer.and_then(|peer| peer.status).unwrap_or_default();
    status.conditions.into_iter().map(|it| [it.type_, it.status, it.reason]).collect()
}

fn told() -> Vec<[String; 3]> {
    vec![["NotSupported", "True", "NoBGP"].map(str::to_owned)]
}

async fn until(what: &str, api: &ApiServer, is: impl Fn() -> bool) {
    let waiting = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    assert!(waited.is_ok(), "{what}; requests: {:?}", api.requests());
}

#[tokio::test]
async fn each_object_is_told_once_and_by_who_leads() {
    let api = server();
    for kind in ["BGPPeer", "BGPAdvertisement", "BFDProfile", "Community"] {
        api.put(object(kind, "first"));
    }
    let (leads, context) = (Arc::new(AtomicBool::new(false)), Context::default());
    let asked = leads.clone();
    unsupported::start(&api.client(), SYSTEM, 60, move || asked.load(Ordering::SeqCst), &context);
    until("a list", &api, || api.requests().len() >= 4).await;
    assert_eq!(said(&api, "first"), [] as [[String; 3]; 0], "it does not lead");
    leads.store(true, Ordering::SeqCst);
    until("the first is told", &api, || said(&api, "first") == told()).await;
    let community = || api.get::<Community>(SYSTEM, "first").and_then(|it| it.status).unwrap_or_default();
    let profile = || api.get::<BFDProfile>(SYSTEM, "first").and_then(|it| it.status).unwrap_or_default();
    let route = || api.get::<BGPAdvertisement>(SYSTEM, "first").and_then(|it| it.status).unwrap_or_default();
    let all = || [community(), profile(), route()].iter().all(|status| status.conditions.len() == 1);
    until("all kinds are", &api, all).await;

    // What comes later; and what somebody takes back.
    api.put(object("BGPPeer", "second"));
    until("the second is told", &api, || said(&api, "second") == told()).await;
    let mut edited = object("BGPPeer", "second");
    edited["status"] = json!({"conditions": []});
    api.put(edited);
    until("it is told again", &api, || said(&api, "second") == told()).await;
    let writes = || {
        api.writes()
            .iter()
            .filter(|((_, what), _)| what == "bgppeers/status")
            .map(|(_, it)| it.asked)
            .sum::<usize>()
    };
    assert_eq!(writes(), 3);
    context.shutdown.cancel();
}

/// At the end of the program the watches may be over before these tasks are: that is no failure of theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_is_quiet() {
    for _ in 0..200 {
        let (api, context) = (server(), Context::default());
        let tasks = unsupported::start(&api.client(), SYSTEM, 60, || true, &context);
        until("a list", &api, || api.requests().len() >= 4).await;
        context.shutdown.cancel();
        for task in tasks {
            task.await.expect("it ends without a panic");
        }
    }
}

#[tokio::test]
async fn one_that_cannot_be_told_keeps_no_other_waiting() {
    let (api, weather) = (server(), Weather::default());
    api.put(object("BGPPeer", "a"));
    api.put(object("BGPPeer", "b"));
    let rule =
        weather.add(On::verb(Verb::Patch).resource("bgppeers/status").name("a").times(1), Fault::status(500));
    let context = Context::default();
    unsupported::start(&weather.client(api.clone()), SYSTEM, 60, || true, &context);
    until("the other one is told", &api, || said(&api, "b") == told()).await;
    assert_eq!(rule.hits(), 1);
    until("it is told when it can be", &api, || said(&api, "a") == told()).await;
    context.shutdown.cancel();
}
