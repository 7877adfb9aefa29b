//! `NS-01` to `NS-03`: advertisements limited to nodes.

use ferrolb_tests::lab::LabError;
use serde_json::{Value, json};

use crate::both_families;
use crate::stage::Stage;

both_families! {
    ns_01_the_announcer_follows_the_node_selector = "ns-01" from 21: follows_the_selector;
    ns_02_of_two_advertisements_the_node_with_the_endpoint_announces = "ns-02" from 22: node_with_the_endpoint;
    ns_03_a_selector_without_nodes_is_silent_until_one_is_labelled = "ns-03" from 23: selector_without_nodes;
}

/// An L2Advertisement for one node.
pub(crate) fn on_node(node: &str) -> Value {
    json!({"nodeSelectors": [{"matchLabels": {"kubernetes.io/hostname": node}}]})
}

async fn follows_the_selector(stage: &Stage) -> Result<(), LabError> {
    let address = stage.web_advertised(on_node("node1")).await?;
    let watch = stage.watch_owned(address, "node1").await?;
    for node in ["node2", "node3", "node1"] {
        stage.advertise_anew("all", on_node(node)).await?;
        stage.owned_by(address, node).await?;
    }
    watch.moved_through(&["node1", "node2", "node3", "node1"]).await?;
    Ok(())
}

async fn node_with_the_endpoint(stage: &Stage) -> Result<(), LabError> {
    stage.pool_of(1).await?;
    let order = stage.order(stage.own(0));
    // The endpoint is where nobody would be elected without it.
    stage.advertise("one-node", on_node(&order[0])).await?;
    stage.advertise("all-nodes", json!({})).await?;
    let watch = stage.watch_lan(stage.own(0))?;
    let address = stage
        .bare_service("web", &[&order[2]], |service| service.with("externalTrafficPolicy", json!("Local")))
        .await?;
    stage.owned_by(address, &order[2]).await?;
    let verdict = watch.end()?.remove(0);
    assert_eq!(verdict.course(), [order[2].as_str()], "{verdict}");
    Ok(())
}

async fn selector_without_nodes(stage: &Stage) -> Result<(), LabError> {
    let key = "test.ferrolb.dev/announces";
    let address = stage.web_advertised(json!({"nodeSelectors": [{"matchLabels": {key: "yes"}}]})).await?;
    stage.nobody(address).await?;
    let last = stage.order(address)[2].clone();
    let marked = stage.label(&last, key, "yes")?;
    stage.owned_by(address, &last).await?;
    marked.end();
    stage.answered_by(address, [None; 3]).await?;
    stage.nobody(address).await
}
