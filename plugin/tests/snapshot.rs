//! Who has which addresses: read from a server, and compared with a file.

mod support;

use ferrolb_fake_api::{Fault, On, Verb, Weather};
use ferrolb_plugin::migrate::{Difference, OWNERS_BY_EVENTS, Snapshot, differences, snapshot};
use serde_json::{Value, json};

use support::{change, load};

const PARTS: [&str; 2] = ["services", "owners"];

fn of(snapshot: &Snapshot) -> Value {
    serde_json::to_value(&snapshot.services).expect("JSON")
}

#[tokio::test]
async fn services_have_addresses_and_owners() {
    let taken = snapshot(&load(&PARTS).client()).await.unwrap();
    let expected = json!({
        "shop/db": {"addresses": ["10.10.0.2"], "owners": ["n2"]},
        "shop/metal": {"addresses": ["10.10.0.3"], "owners": []},
        "shop/waits": {"addresses": [], "owners": []},
        "shop/web": {"addresses": ["10.10.0.1", "fd10::1"], "owners": ["n1"]},
    });
    assert_eq!((of(&taken), taken.notes.as_slice()), (expected, [].as_slice()));
}

#[tokio::test]
async fn what_moves_is_a_difference_to_the_file() {
    let api = load(&PARTS);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("before.json");
    snapshot(&api.client()).await.unwrap().save(&file).unwrap();
    let before = Snapshot::load(&file).unwrap();
    assert!(differences(&before, &snapshot(&api.client()).await.unwrap()).is_empty());

    change(&api, "ServiceL2Status", "l2-bbbbb", |status| status["status"]["node"] = json!("n1"));
    change(&api, "Service", "web", |service| {
        service["status"] = json!({"loadBalancer": {"ingress": [{"ip": "10.10.0.1"}]}});
    });
    let now = snapshot(&api.client()).await.unwrap();
    let expected = [("shop/db", vec![Difference::Owners]), ("shop/web", vec![Difference::Addresses])]
        .into_iter()
        .collect();
    assert_eq!(differences(&before, &now), expected);
}

#[tokio::test]
async fn where_there_is_no_status_events_tell_the_last_owner() {
    let api = load(&PARTS);
    api.serve("servicel2statuses.metallb.io", false);
    let event = |name: &str, node: &str, protocol: &str, time: &str| {
        json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"namespace": "shop", "name": name},
            "reason": "nodeAssigned", "lastTimestamp": time,
            "message": format!("announcing from node \"{node}\" with protocol \"{protocol}\""),
            "involvedObject": {"kind": "Service", "namespace": "shop", "name": "web"},
        })
    };
    api.put(event("a", "n2", "layer2", "2026-01-01T00:00:02Z"));
    api.put(event("b", "n1", "layer2", "2026-01-01T00:00:01Z"));
    api.put(event("c", "n9", "bgp", "2026-01-01T00:00:03Z"));
    let taken = snapshot(&api.client()).await.unwrap();
    assert_eq!(of(&taken)["shop/web"]["owners"], json!(["n2"]));
    assert_eq!(taken.notes, [OWNERS_BY_EVENTS]);
}

#[tokio::test]
async fn without_the_right_to_look_there_is_nothing_to_compare() {
    for (resource, what) in [("services", "Services"), ("servicel2statuses", "ServiceL2Statuses")] {
        let weather = Weather::new();
        weather.add(On::verb(Verb::List).resource(resource), Fault::status(403));
        let refused = snapshot(&weather.client(load(&PARTS))).await.unwrap_err().to_string();
        assert!(refused.starts_with(&format!("you may not read {what} of all namespaces: ")), "{refused}");
    }
    let weather = Weather::new();
    weather.add(On::any(), Fault::Connection);
    let away = snapshot(&weather.client(load(&PARTS))).await.unwrap_err().to_string();
    assert!(away.starts_with("cannot reach the API server: "), "{away}");
}

#[tokio::test]
async fn a_list_that_expires_between_two_pages_is_begun_anew() {
    let api = support::api();
    for n in 0..700 {
        api.put(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "many", "name": format!("s{n:03}")},
            "spec": {"type": "LoadBalancer"},
        }));
    }
    let weather = Weather::new();
    weather.add(On::verb(Verb::List).resource("services").after(1).times(1), Fault::status(410));
    assert_eq!(snapshot(&weather.client(api)).await.unwrap().services.len(), 700);
}
