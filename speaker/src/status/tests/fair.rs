//! What is written, corrected, deleted and told while all goes well.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_announced_is_shown_and_told_once() {
    let world = World::start();
    world.watches().await;
    assert_eq!(world.writes(), 0, "before anything is told");
    world.show(&[("web", &[]), ("db", &["eth1", "eth0"])]);
    world.stores(&["n1 shop/db [eth0+eth1]", "n1 shop/web []"]).await;
    let object = world.api.all::<ServiceL2Status>().remove(0);
    let owners = serde_json::to_value(object.owner_references()).unwrap();
    assert_eq!(owners, json!([{"apiVersion": "v1", "kind": "Pod", "name": "speaker-x", "uid": "u1"}]));
    let told = |name: &str| {
        format!("Normal nodeAssigned {name} x1: announcing from node \"n1\" with protocol \"layer2\"")
    };
    let patches = world.api.writes().get(&(Verb::Patch, "servicel2statuses".to_owned())).copied();
    assert_eq!(patches, None, "it is made whole, but for its status");
    let both = [told("db"), told("web")];
    eventually(|| world.events() == both, || format!("{:?}", world.events())).await;
    world.is_quiet().await;
    // On another interface: that is no news.
    world.show(&[("web", &[]), ("db", &["eth2"])]);
    world.stores(&["n1 shop/db [eth2]", "n1 shop/web []"]).await;
    world.show(&[("web", &[])]);
    world.stores(&["n1 shop/web []"]).await;
    assert_eq!(world.events(), both);
    // It comes back: it begins again, which is counted on the same event.
    world.show(&[("web", &[]), ("db", &["eth2"])]);
    world.stores(&["n1 shop/db [eth2]", "n1 shop/web []"]).await;
    let twice = [told("db").replace("x1", "x2"), told("web")];
    eventually(|| world.events() == twice, || format!("{:?}", world.events())).await;
    world.show(&[]);
    world.stores(&[]).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_writes_and_tells_nothing() {
    let world = World::start();
    world.show(&[("web", &[]), ("db", &["eth0"])]);
    world.configure(&["one"], Proxy::Healthy);
    world.nodes(&["n1", "n2"]);
    let expected = ["n1 shop/db [eth0]", "n1 shop/web []"];
    world.stores(&expected).await;
    eventually(|| world.events().len() == 2, || format!("{:?}", world.events())).await;
    let stated =
        || world.state().and_then(|state| state.status).is_some_and(|status| status.result.is_some());
    eventually(stated, || format!("{:?}", world.state())).await;
    let (state, api) = (world.state(), world.end().await);
    let (version, told) = (api.version(), api.all::<Event>().len());

    let world = World::on(api, "u1");
    world.configure(&["one"], Proxy::Healthy);
    world.nodes(&["n1", "n2"]);
    world.watches().await;
    // The election takes longer than the list: what is there stays until then.
    world.is_quiet().await;
    world.show(&[("web", &[]), ("db", &["eth0"])]);
    world.is_quiet().await;
    world.stores(&expected).await;
    assert_eq!((world.state(), world.api.version(), world.events().len()), (state, version, told));
    world.end().await;
}

/// A new Pod makes what the one before left its own, before it is deleted with that one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_pod_adopts_what_is_there() {
    let api = server();
    api.put(object("l2-a", "n1", "web", "u0", &status("n1", "web", &[])));
    let world = World::on(api, "u1");
    world.configure(&[], Proxy::Unknown);
    world.show(&[("web", &[])]);
    let owner = || {
        let object = world.api.get::<ServiceL2Status>(SYSTEM, "l2-a");
        object.and_then(|object| Some(object.owner_references().first()?.uid.clone()))
    };
    eventually(|| owner().as_deref() == Some("u1"), || format!("{:?}", owner())).await;
    world.stores(&["n1 shop/web []"]).await;
    let api = world.end().await;
    let world = World::on(api, "u2");
    world.configure(&[], Proxy::Unknown);
    let owner = || world.state().and_then(|state| Some(state.owner_references().first()?.uid.clone()));
    eventually(|| owner().as_deref() == Some("u2"), || format!("{:?}", owner())).await;
    assert!(world.events().is_empty(), "{:?}", world.events());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_corrected() {
    let api = server();
    // Left from before: announced no longer, twice the same, of another Service although labelled as this one's.
    api.put(object("l2-a", "n1", "old", "u1", &status("n1", "old", &[])));
    api.put(object("l2-b", "n1", "web", "u1", &json!({})));
    api.put(object("l2-c", "n1", "web", "u1", &status("n1", "web", &["eth0"])));
    api.put(object("l2-d", "n1", "db", "u1", &status("n2", "db", &[])));
    // Of a node that lives, so nobody's business.
    api.put(object("l2-e", "n2", "web", "u2", &status("n2", "web", &[])));
    let world = World::on(api, "u1");
    world.nodes(&["n1", "n2"]);
    world.show(&[("web", &["eth0"]), ("db", &[])]);
    let expected = ["n1 shop/db []", "n1 shop/web [eth0]", "n2 shop/web []"];
    world.stores(&expected).await;
    assert!(world.api.get::<ServiceL2Status>(SYSTEM, "l2-c").is_some(), "the right one of two is kept");
    // By hand, while it runs.
    world.api.put(object("l2-c", "n1", "web", "u1", &status("n1", "web", &["eth0", "eth9"])));
    world.stores(&expected).await;
    world.api.put(object("l2-c", "n1", "web", "u1", &json!({"node": "n1"})));
    world.stores(&expected).await;
    world.api.put(object("l2-c", "n1", "other", "u1", &status("n1", "web", &["eth0"])));
    world.stores(&expected).await;
    world.api.put(object("l2-f", "n1", "web", "u1", &status("n1", "web", &["eth0"])));
    eventually(|| world.stored() == expected, || format!("{:?}", world.stored())).await;
    for object in world.api.all::<ServiceL2Status>() {
        if object.labels().get(NODE_LABEL).is_some_and(|node| node == "n1") {
            world.api.remove::<ServiceL2Status>(SYSTEM, &object.name_any());
        }
    }
    world.stores(&expected).await;
    world.is_quiet().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_left_that_is_gone_is_deleted_by_the_next_owner() {
    let api = server();
    for service in ["web", "other"] {
        api.put(object(&format!("l2-{service}"), "n3", service, "u3", &status("n3", service, &[])));
        api.put(object(&format!("l2-2-{service}"), "n2", service, "u2", &status("n2", service, &[])));
    }
    let world = World::on(api, "u1");
    // Gone before we started, with no Node left to tell its name.
    world.show(&[("web", &[])]);
    world.nodes(&["n1", "n2"]);
    world.stores(&["n1 shop/web []", "n2 shop/other []", "n2 shop/web []", "n3 shop/other []"]).await;
    // It takes over more of it.
    world.show(&[("web", &[]), ("other", &[])]);
    world.stores(&["n1 shop/other []", "n1 shop/web []", "n2 shop/other []", "n2 shop/web []"]).await;
    // Another is gone while we run.
    world.nodes(&["n1"]);
    world.stores(&["n1 shop/other []", "n1 shop/web []"]).await;
    // Our own node is not Ready: what we say is true all the same.
    world.nodes(&[]);
    world.is_quiet().await;
    world.stores(&["n1 shop/other []", "n1 shop/web []"]).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_interfaces_are_told_once_and_other_words_anew() {
    let world = World::start();
    let fail = |names: &[&str]| world.show_all(&[], &[("web", names)]);
    fail(&["eth7"]);
    let said = |times: usize, named: &str| {
        let events = world.events();
        events.iter().any(|event| {
            event.starts_with(&format!("Warning announceFailed web x{times}: "))
                && event.contains(named)
                && event.contains("spec.interfaces")
        })
    };
    eventually(|| said(1, "(\"eth7\")"), || format!("{:?}", world.events())).await;
    world.show_all(&[("db", &[])], &[("web", &["eth7"])]);
    world.stores(&["n1 shop/db []"]).await;
    world.show(&[]);
    world.stores(&[]).await;
    fail(&["eth8"]);
    eventually(|| said(1, "(\"eth8\")"), || format!("{:?}", world.events())).await;
    assert!(said(1, "(\"eth7\")"), "{:?}", world.events());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_state() {
    let world = World::start();
    world.watches().await;
    assert!(world.state().is_none(), "before anything is told");
    world.configure(&["IPAddressPool \"a\": no addresses"], Proxy::Unknown);
    let said = || -> Vec<String> {
        let status = world.state().and_then(|state| state.status).unwrap_or_default();
        let conditions =
            status.conditions.iter().map(|it| format!("{}={} {}", it.type_, it.status, it.reason));
        [format!("{:?} {:?}", status.result, status.error_summary)].into_iter().chain(conditions).collect()
    };
    let says = async |expected: &[&str]| eventually(|| said() == expected, || format!("{:?}", said())).await;
    let invalid = [
        r#"Some(Invalid) "IPAddressPool \"a\": no addresses""#,
        "configReconcilerValid=False ConfigurationError",
    ];
    says(&invalid).await;
    let state = world.state().unwrap();
    let labels = [("metallb.io/component-type", "speaker"), ("metallb.io/node-name", "n1")];
    assert!(labels.iter().all(|(name, value)| state.labels().get(*name).is_some_and(|is| is == value)));
    assert_eq!(state.owner_references()[0].uid, "u1");
    world.is_quiet().await;
    let since = || world.state().and_then(|it| Some(it.status?.conditions[0].last_transition_time.clone()));
    let first = since();

    world.configure(&[], Proxy::Unhealthy("kube-proxy does not answer".to_owned()));
    let valid =
        [r#"Some(Valid) """#, "configReconcilerValid=True Reconciled", "ServiceProxyHealthy=False Unhealthy"];
    says(&valid).await;
    assert_ne!(since(), first, "it flipped");
    world.configure(&[], Proxy::Healthy);
    says(&[valid[0], valid[1], "ServiceProxyHealthy=True Healthy"]).await;
    let flipped = since();
    world.configure(&[], Proxy::Unknown);
    says(&valid[..2]).await;
    assert_eq!(since(), flipped, "it did not flip");

    // By hand: the status, a condition that is not ours, labels, all of it.
    let mut edited = serde_json::to_value(world.state().unwrap()).unwrap();
    edited["status"]["result"] = "Invalid".into();
    edited["status"]["errorSummary"] = "what?".into();
    edited["status"]["conditions"][0]["status"] = "False".into();
    let another = json!({"type": "Other", "status": "True", "reason": "A", "message": "", "lastTransitionTime": flipped});
    edited["status"]["conditions"].as_array_mut().unwrap().push(another);
    world.api.put(edited);
    says(&valid[..2]).await;
    let mut edited = serde_json::to_value(world.state().unwrap()).unwrap();
    edited["metadata"]["labels"] = json!({"mine": "stays"});
    world.api.put(edited);
    let labels = || world.state().map(|state| state.labels().clone()).unwrap_or_default();
    eventually(|| labels().len() == 3, || format!("{:?}", labels())).await;
    world.api.remove::<ConfigurationState>(SYSTEM, "speaker-n1");
    says(&valid[..2]).await;
    world.is_quiet().await;
    assert_eq!(world.state().and_then(|it| it.status?.result), Some(ConfigurationResult::Valid));
    world.end().await;
}
