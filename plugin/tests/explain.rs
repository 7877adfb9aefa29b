//! Where the packets to Services of made-up clusters end, and what is said of it.

#![allow(clippy::unwrap_used, reason = "a step that fails ends the test")]

mod support;

use ferrolb_core::election::Endpoints;
use ferrolb_core::service::ServiceKey;
use ferrolb_fake_api::ApiServer;
use ferrolb_plugin::explain::{Backend, Explanation, Verdict};
use ferrolb_plugin::look::{Want, look};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use support::running::{SYSTEM, node, pool, running, service, state, told};

/// One endpoint that serves on this node.
fn serving(node: &str) -> Vec<Backend> {
    vec![Backend {
        address: "10.244.0.7".into(),
        node: Some(node.into()),
        serves: true,
        ..Backend::default()
    }]
}

async fn explain(api: &ApiServer, name: &str, backends: Vec<Backend>) -> Explanation {
    let want = Want { allocation: true, ..Want::default() };
    let mut seen = look(&api.client(), want).await.expect("a look");
    seen.told = told();
    let key = ServiceKey::new("shop", name);
    let mut endpoints = Endpoints::default();
    let nodes = backends.iter().filter(|backend| backend.serves).map(|backend| backend.node.as_deref());
    nodes.for_each(|node| endpoints.add(node.map(Into::into)));
    seen.endpoints = Some([(key.clone(), endpoints)].into());
    Explanation::of(&seen, &key, backends)
}

fn end(explanation: &Explanation) -> (&'static str, String, String) {
    let last = explanation.steps.last().unwrap();
    assert_eq!(last.verdict, Verdict::Ends, "{explanation:#?}");
    (last.name, last.says.clone(), last.change.clone())
}

#[tokio::test]
async fn the_path_of_a_packet_that_arrives() {
    let explanation = explain(&running(), "web", serving("n2")).await;
    assert!(explanation.arrives(), "{explanation:#?}");
    let steps: Vec<_> = explanation.steps.iter().map(|step| (step.name, step.says.as_str())).collect();
    assert_eq!(
        steps,
        [
            ("address", "10.10.0.100 of IPAddressPool lan"),
            ("owner", "n1 on eth0 answers ARP and NDP for it"),
            ("node", "n1 is Ready, and its service proxy is healthy"),
            ("endpoints", "1 of 1 serve"),
        ]
    );
    let order = &explanation.steps[1].details[0];
    // SHA-256 of node and address, computed with sha256sum.
    assert!(order.starts_with("the order: n"), "{order}");
}

#[tokio::test]
async fn without_an_address_each_pool_says_why_not() {
    let api = running();
    api.put(pool("others", &["10.20.0.0/24"]));
    let mut reserved = pool("reserved", &["10.30.0.0/24"]);
    reserved["spec"]["serviceAllocation"] = json!({"namespaces": ["yard"]});
    api.put(reserved);
    api.put(pool("odd", &["10.10.0.109/32"]));
    let mut asks = service(
        "asks",
        &json!({"loadBalancer": {}, "conditions": [{"type": "ferrolb.io/AddressAssigned",
        "status": "False", "reason": "AddressInUse", "message": "10.10.0.100 is in use: Service shop/web has it"}]}),
    );
    asks["metadata"]["annotations"] = json!({"metallb.io/loadBalancerIPs": "10.10.0.100"});
    api.put(asks);
    let explanation = explain(&api, "asks", vec![]).await;
    let (step, says, change) = end(&explanation);
    assert_eq!((step, change.as_str()), ("address", "ask for another address"));
    assert_eq!(says, "none (AddressInUse): 10.10.0.100 is in use: Service shop/web has it");
    let details = explanation.steps[0].details.join("\n");
    for said in [
        "pool lan: 10.10.0.100 is in use: Service shop/web has it",
        "pool others: no one IPAddressPool has 10.10.0.100",
        "pool reserved: it is reserved for others by its serviceAllocation",
        "pool odd: not used: 10.10.0.109-10.10.0.109 overlaps",
    ] {
        assert!(details.contains(said), "{said}\nis not in\n{details}");
    }
}

#[tokio::test]
async fn it_ends_where_nobody_answers() {
    let at = |address: &str| json!({"loadBalancer": {"ingress": [{"ip": address}]}});
    let api = running();
    api.put(service("silent", &at("10.10.0.103")));
    let (step, says, change) = end(&explain(&api, "silent", vec![]).await);
    assert_eq!((step, says.as_str()), ("owner", "nobody answers: it has no serving endpoint"));
    assert!(change.contains("see to its pods"), "{change}");

    assert!(api.remove::<Pod>(SYSTEM, "ferrolb-speaker-1") && api.remove::<Pod>(SYSTEM, "ferrolb-speaker-2"));
    let (step, says, _) = end(&explain(&api, "silent", serving("n1")).await);
    assert_eq!(step, "owner");
    assert!(
        says.starts_with("nobody says that it answers; n") && says.ends_with("it has no speaker"),
        "{says}"
    );

    for number in [1, 2] {
        let mut excluded = node(number);
        excluded["metadata"]["labels"]["node.kubernetes.io/exclude-from-external-load-balancers"] = json!("");
        api.put(excluded);
    }
    let (_, says, change) = end(&explain(&api, "silent", serving("n1")).await);
    assert!(says.contains("excluded nodes only") && change.contains("remove the label"), "{says}: {change}");
}

#[tokio::test]
async fn it_ends_at_a_proxy_that_fails_and_at_endpoints_that_do_not_serve() {
    let api = running();
    api.put(state(1, &[("ServiceProxyHealthy", "False", "it says 503")]));
    let (step, says, _) = end(&explain(&api, "web", serving("n2")).await);
    assert_eq!((step, says.as_str()), ("node", "the service proxy of n1 fails: it says 503"));

    let api = running();
    let mut local = service("web", &json!({"loadBalancer": {"ingress": [{"ip": "10.10.0.100"}]}}));
    local["spec"]["externalTrafficPolicy"] = json!("Local");
    api.put(local);
    let explanation = explain(&api, "web", serving("n2")).await;
    let (step, says, _) = end(&explanation);
    assert_eq!(step, "endpoints", "n1 still says that it answers");
    assert!(says.starts_with("externalTrafficPolicy is Local"), "{says}");
    let details = explanation.steps[1].details.join("\n");
    assert!(
        details.contains("n1 may not: externalTrafficPolicy is Local, and no endpoint serves on it"),
        "{details}"
    );
}
