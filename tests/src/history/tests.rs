//! Histories, bad ones above all: each must be found.

use serde_json::{Value, json};

use super::*;

/// A Service to be changed, each change an event.
#[derive(Clone)]
struct Story(Value);

fn service(name: &str) -> Story {
    Story(json!({
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}")},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
    }))
}

impl Story {
    fn with(mut self, place: &str, value: Value) -> Self {
        let mut at = &mut self.0;
        for part in place.split('.') {
            at = &mut at[part];
        }
        *at = value;
        self
    }

    fn shared(self, key: &str) -> Self {
        self.with("metadata.annotations", json!({"metallb.io/allow-shared-ip": key}))
    }

    fn port(self, protocol: &str, port: u16) -> Self {
        self.with("spec.ports", json!([{"protocol": protocol, "port": port}]))
    }

    fn has(self, addresses: &[&str]) -> Self {
        let ingress: Vec<Value> = addresses.iter().map(|address| json!({"ip": address})).collect();
        self.with("status", json!({"loadBalancer": {"ingress": ingress}}))
    }

    fn at(&self, version: u64) -> Event {
        Event { version, service: serde_json::from_value(self.0.clone()).unwrap(), gone: false }
    }

    fn gone(&self, version: u64) -> Event {
        Event { gone: true, ..self.at(version) }
    }
}

fn faults(events: &[Event]) -> Vec<Fault> {
    check(events, |_| false)
}

/// The one fault, in words.
fn fault(events: &[Event]) -> String {
    let found = faults(events);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].to_string()
}

fn fine(events: &[Event]) {
    assert_eq!(faults(events), []);
}

const A: &[&str] = &["10.0.0.1"];
const B: &[&str] = &["10.0.0.2"];

#[test]
fn two_with_one_address_are_found() {
    let (one, two) = (service("one").has(A), service("two").has(A));
    let found = fault(&[one.at(1), two.at(2)]);
    assert!(found.starts_with("at 2: 10.0.0.1 is held by shop/one and by shop/two"), "{found}");
    // However the address is written, and if it is only one of two.
    let (one, two) = (service("one").has(&["fd00::1"]), service("two").has(&["10.0.0.9", "fd00:0::1"]));
    assert!(fault(&[one.at(1), two.at(2)]).contains("fd00::1"));
}

#[test]
fn an_address_is_free_from_the_event_on_that_ends_its_use() {
    let (one, two) = (service("one").has(A), service("two").has(A));
    fine(&[one.at(1), one.gone(2), two.at(3)]);
    // Whatever the status of another type shows, nobody announces it.
    let other_type = one.clone().with("spec.type", json!("ClusterIP"));
    fine(&[one.at(1), other_type.at(2), two.at(3)]);
    // One event too early.
    assert!(fault(&[one.at(1), two.at(2), one.gone(3)]).starts_with("at 2"));
    let still_shown = service("one").has(A).with("metadata.deletionTimestamp", json!("2026-01-01T00:00:00Z"));
    assert!(fault(&[one.at(1), still_shown.at(2), two.at(3)]).starts_with("at 3"));
}

#[test]
fn sharing_takes_one_key_and_different_ports() {
    let one = service("one").has(A);
    let two = service("two").has(A);
    let pair = |one: Story, two: Story| faults(&[one.at(1), two.at(2)]).len();
    let https = || two.clone().port("TCP", 443);
    assert_eq!(pair(one.clone().shared("k"), https().shared("k")), 0);
    assert_eq!(pair(one.clone().shared("k"), two.clone().port("UDP", 80).shared("k")), 0);
    assert_eq!(
        pair(one.clone().shared("k"), two.clone().shared("k")),
        1,
        "the same port; TCP is the default"
    );
    assert_eq!(pair(one.clone().shared("k"), https().shared("l")), 1, "another key");
    assert_eq!(pair(one.clone().shared(""), https().shared("")), 1, "empty keys");
    assert_eq!(pair(one.clone(), https().shared("k")), 1, "only one has a key");
    assert_eq!(pair(one, https()), 1, "no keys");
}

#[test]
fn an_edit_can_make_a_clash_and_a_clash_is_told_once() {
    let one = service("one").shared("k").has(A);
    let two = service("two").shared("k").port("TCP", 443).has(A);
    let edited = two.clone().port("TCP", 80);
    let found = fault(&[one.at(1), two.at(2), edited.at(3), edited.at(4), one.at(5)]);
    assert!(found.starts_with("at 3") && found.contains("TCP 80"), "{found}");
    // It ends and begins anew: that is another one.
    let again = faults(&[one.at(1), two.at(2), edited.at(3), two.at(4), edited.at(5)]);
    assert_eq!(again.len(), 2, "{again:?}");
    // A third one with both is two more.
    let three = service("three").has(A);
    assert_eq!(faults(&[one.at(1), two.at(2), three.at(3)]).len(), 2);
}

#[test]
fn a_lost_address_is_found() {
    let one = service("one").has(A);
    let found = fault(&[one.at(1), service("one").at(2)]);
    assert_eq!(found, "at 2: shop/one lost what it had: [10.0.0.1] became []");
    assert!(fault(&[one.at(1), service("one").has(B).at(2)]).contains("became [10.0.0.2]"));
    let both = service("one").has(&["10.0.0.1", "fd00::1"]);
    assert!(fault(&[both.at(1), one.at(2)]).contains("fd00::1"));
    fine(&[one.at(1), both.at(2)]);
}

#[test]
fn an_end_another_type_and_the_callers_reasons_are_no_loss() {
    let one = service("one").has(A);
    let other_type = service("one").with("spec.type", json!("NodePort"));
    fine(&[one.at(1), other_type.at(2), service("one").at(3), service("one").has(B).at(4)]);
    let ending = service("one").with("metadata.deletionTimestamp", json!("2026-01-01T00:00:00Z"));
    fine(&[one.at(1), ending.at(2), ending.gone(3)]);
    // The next of the same name is another Service.
    let next = service("one").with("metadata.uid", json!("later")).has(B);
    fine(&[one.at(1), one.gone(2), next.at(3)]);

    let losing = [one.at(1), service("one").has(B).at(7)];
    assert_eq!(check(&losing, |loss| loss.version == 7 && loss.service == "shop/one"), []);
    assert_eq!(check(&losing, |loss| loss.version == 8).len(), 1);
}

#[test]
fn a_record_with_holes_is_found() {
    let one = service("one").has(A);
    assert!(fault(&[one.at(2), one.at(2)]).contains("version"));
    assert!(fault(&[one.at(2), service("two").at(1)]).contains("version"));
    assert!(fault(&[one.gone(1)]).contains("never there"));
    let next = service("one").with("metadata.uid", json!("later"));
    assert!(fault(&[one.at(1), next.at(2)]).contains("has not ended"));
}
