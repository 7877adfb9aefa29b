//! The status of made-up clusters: what is well, what is not, and ten thousand Services.

mod support;

use ferrolb_fake_api::{ApiServer, Fault, On, Verb, Weather};
use ferrolb_plugin::look::{Want, look};
use ferrolb_plugin::status::{State, Status};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use support::running::{SYSTEM, running, service, told};

async fn status(api: &ApiServer) -> Status {
    let want = Want { endpoints: true, ..Want::default() };
    let mut seen = look(&api.client(), want).await.expect("a look");
    seen.told = told();
    Status::of(&seen)
}

#[tokio::test]
async fn a_cluster_in_which_all_is_well() {
    let shown = status(&running()).await;
    assert!(shown.is_well(), "{shown:#?}");
    assert_eq!((shown.namespace.as_str(), shown.controller.ready, shown.controller.wanted), (SYSTEM, 1, 1));
    let [pool] = shown.pools.as_slice() else { panic!("{:?}", shown.pools) };
    assert_eq!((pool.name.as_str(), pool.usage[0].used, pool.usage[0].size), ("lan", 1, 10));
    let [web] = shown.services.as_slice() else { panic!("{:?}", shown.services) };
    assert_eq!((web.state, web.pool.as_str(), web.owners[0].node.as_str()), (State::Announced, "lan", "n1"));
    assert_eq!(web.owners[0].interfaces, ["eth0"]);
    let n1 = &shown.nodes[0];
    assert_eq!((n1.speaker, n1.proxy.as_str(), n1.announces), (true, "Healthy", 1));
    assert_eq!((n1.links[0].name.as_str(), n1.links[0].hears.as_slice()), ("eth0", &["n2".to_owned()][..]));
    let text = serde_json::to_string(&shown).unwrap();
    assert!(text.contains(r#""state":"Announced""#) && text.contains(r#""byUdp":[]"#), "{text}");
}

#[tokio::test]
async fn what_is_not_well_says_why() {
    let api = running();
    let at = |address: &str| json!({"loadBalancer": {"ingress": [{"ip": address}]}});
    api.put(service("silent", &at("10.10.0.103")));
    api.put(service(
        "waits",
        &json!({"loadBalancer": {}, "conditions": [{"type": "ferrolb.io/AddressAssigned",
        "status": "False", "reason": "PoolExhausted", "message": "no free IPv4 address"}]}),
    ));
    api.put(service("outside", &at("203.0.113.7")));
    assert!(api.remove::<Pod>(SYSTEM, "ferrolb-speaker-2"));
    let shown = status(&api).await;
    assert!(!shown.is_well());
    let of = |name: &str| shown.services.iter().find(|service| service.name == name).unwrap();
    assert_eq!((of("silent").state, of("silent").reason.as_str()), (State::NotAnnounced, "NoEndpoint"));
    assert_eq!((of("waits").state, of("waits").reason.as_str()), (State::Pending, "PoolExhausted"));
    assert_eq!(of("outside").reason, "AddressInNoPool");
    assert_eq!((shown.counts.services, shown.counts.announced, shown.counts.pending), (4, 1, 1));
    assert_eq!((shown.nodes[0].problem.as_str(), shown.nodes[1].problem.as_str()), ("", "it has no speaker"));
}

#[tokio::test]
async fn what_may_not_be_read_is_named() {
    let weather = Weather::new();
    weather.add(On::verb(Verb::List).resource("nodes"), Fault::status(403));
    let seen = look(&weather.client(running()), Want::default()).await.expect("a look");
    let shown = Status::of(&seen);
    assert!(!shown.is_well() && shown.services.len() == 1);
    assert!(shown.unread[0].starts_with("you may not read Nodes: "), "{:?}", shown.unread);
}

#[tokio::test]
async fn ten_thousand_services_cost_twenty_lists_and_no_request_for_each() {
    let api = running();
    for n in 0..10_000 {
        api.put(service(&format!("s{n:05}"), &json!({"loadBalancer": {}})));
    }
    let before = api.requests();
    let seen = look(&api.client(), Want { endpoints: true, ..Want::default() }).await.expect("a look");
    assert_eq!(Status::of(&seen).counts.pending, 10_000);
    let asked: usize = api.requests().iter().map(|(key, count)| count - before.get(key).unwrap_or(&0)).sum();
    assert!(asked < 40, "{asked}: {:?}", api.requests());
}
