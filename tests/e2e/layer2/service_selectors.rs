//! `SS-01` to `SS-04`: advertisements limited to Services.

use ferrolb_tests::lab::LabError;
use serde_json::{Value, json};

use crate::both_families;
use crate::nodes::on_node;
use crate::stage::Stage;

both_families! {
    ss_01_pool_and_service_selectors_must_both_match = "ss-01" from 33: pool_and_service;
    ss_02_of_two_advertisements_for_two_nodes_one_announces = "ss-02" from 34: one_of_two_nodes;
    ss_03_no_advertisement_matches_both_service_and_node = "ss-03" from 35: service_and_node_apart;
    ss_04_several_service_selectors_are_alternatives = "ss-04" from 36: alternatives;
}

const NODES: [&str; 3] = ["node1", "node2", "node3"];

fn of_app(app: &str) -> Value {
    json!({"matchLabels": {"app": app}})
}

async fn pool_and_service(stage: &Stage) -> Result<(), LabError> {
    stage.pool_of(1).await?;
    let spec = |pool: &str| {
        json!({
            "ipAddressPoolSelectors": [{"matchLabels": {"scene": pool}}],
            "serviceSelectors": [of_app("yes")],
        })
    };
    stage.advertise("all", spec(&stage.namespace)).await?;
    let address = stage.bare_service("web", &NODES, |service| service.labelled("app", "no")).await?;
    let owner = stage.order(address)[0].clone();
    stage.nobody(address).await?;
    for _ in 0..2 {
        stage.label_service("web", "app", Some("yes")).await?;
        stage.owned_by(address, &owner).await?;
        stage.label_service("web", "app", Some("no")).await?;
        stage.answered_by(address, [None; 3]).await?;
        stage.nobody(address).await?;
    }
    // The Service matches, the pool does not.
    stage.advertise_anew("all", spec("another")).await?;
    stage.label_service("web", "app", Some("yes")).await?;
    stage.nobody(address).await
}

async fn one_of_two_nodes(stage: &Stage) -> Result<(), LabError> {
    stage.pool_of(1).await?;
    let order = stage.order(stage.own(0));
    for node in &order[1..] {
        let mut spec = on_node(node);
        spec["serviceSelectors"] = json!([of_app("web")]);
        stage.advertise(node, spec).await?;
    }
    let watch = stage.watch_lan(stage.own(0))?;
    let address = stage.bare_service("web", &NODES, |service| service.labelled("app", "web")).await?;
    stage.owned_by(address, &order[1]).await?;
    let verdict = watch.end()?.remove(0);
    assert_eq!(verdict.course(), [order[1].as_str()], "{verdict}");
    assert!(verdict.overlaps.is_empty() && verdict.stale.is_empty(), "{verdict}");
    Ok(())
}

async fn service_and_node_apart(stage: &Stage) -> Result<(), LabError> {
    stage.pool_of(1).await?;
    stage
        .advertise(
            "service",
            json!({
                "serviceSelectors": [of_app("web")],
                "nodeSelectors": [{"matchLabels": {"kubernetes.io/hostname": "elsewhere"}}],
            }),
        )
        .await?;
    let mut nodes = on_node("node1");
    nodes["serviceSelectors"] = json!([of_app("another")]);
    stage.advertise("nodes", nodes).await?;
    let address = stage.bare_service("web", &NODES, |service| service.labelled("app", "web")).await?;
    stage.nobody(address).await?;
    // Either half alone was missing: with the other's Service it is announced from that node.
    stage.label_service("web", "app", Some("another")).await?;
    stage.owned_by(address, "node1").await
}

async fn alternatives(stage: &Stage) -> Result<(), LabError> {
    stage.pool_of(3).await?;
    stage.advertise("all", json!({"serviceSelectors": [of_app("one"), of_app("two")]})).await?;
    let mut addresses = Vec::new();
    for app in ["one", "two", "three"] {
        addresses.push(stage.bare_service(app, &NODES, |service| service.labelled("app", app)).await?);
    }
    for address in &addresses[..2] {
        stage.owned_by(*address, &stage.order(*address)[0]).await?;
    }
    stage.nobody(addresses[2]).await
}
