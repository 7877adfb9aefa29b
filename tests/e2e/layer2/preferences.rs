//! `PN-01` to `PN-08`: nodes that rather announce.

use ferrolb_tests::lab::LabError;
use serde_json::{Value, json};

use crate::both_families;
use crate::stage::{EXCLUDE, Stage};

both_families! {
    pn_01_a_preferred_label_wins_and_its_removal_returns_the_address = "pn-01" from 24: preferred_label;
    pn_02_preferences_for_nobody_and_for_all_change_nothing = "pn-02" from 25: for_nobody_and_for_all;
    pn_03_an_excluded_node_is_not_preferred_and_reclaims = "pn-03" from 26: excluded;
    pn_04_edited_preferences_elect_anew = "pn-04" from 27: edited;
    pn_05_preferences_order_what_the_selector_lets_through = "pn-05" from 28: inside_the_selector;
    pn_06_a_preferred_node_outside_the_selector_never_announces = "pn-06" from 29: outside_the_selector;
    pn_07_weights_of_several_advertisements_add_up = "pn-07" from 30: weights_add_up;
    pn_08_preferences_of_an_advertisement_for_some_services = "pn-08" from 31: for_some_services;
}

const RATHER: &str = "test.ferrolb.dev/rather";

fn preference(weight: u8, labels: Value) -> Value {
    json!({"weight": weight, "preference": {"matchLabels": labels}})
}

fn for_node(weight: u8, node: &str) -> Value {
    preference(weight, json!({"kubernetes.io/hostname": node}))
}

fn prefer(preferences: &[Value]) -> Value {
    json!({"preferredNodeSelectors": preferences})
}

async fn preferred_label(stage: &Stage) -> Result<(), LabError> {
    let address = stage.web_advertised(prefer(&[preference(100, json!({RATHER: "yes"}))])).await?;
    let order = stage.order(address);
    let watch = stage.watch_owned(address, &order[0]).await?;
    let marked = stage.label(&order[2], RATHER, "yes")?;
    stage.owned_by(address, &order[2]).await?;
    marked.end();
    stage.owned_by(address, &order[0]).await?;
    watch.moved_through(&[&order[0], &order[2], &order[0]]).await?;
    Ok(())
}

async fn for_nobody_and_for_all(stage: &Stage) -> Result<(), LabError> {
    let address = stage.web_advertised(json!({})).await?;
    let natural = stage.order(address)[0].clone();
    let watch = stage.watch_owned(address, &natural).await?;
    let all = json!({"weight": 50, "preference": {}});
    let nobody = preference(100, json!({RATHER: "nobody"}));
    for preferences in [vec![nobody.clone()], vec![all.clone()], vec![nobody, all]] {
        stage.advertise_anew("all", prefer(&preferences)).await?;
        stage.owned_by(address, &natural).await?;
    }
    // The last change is seen to have arrived by one more, which moves the address.
    let last = stage.order(address)[2].clone();
    stage.advertise_anew("all", prefer(&[for_node(10, &last)])).await?;
    stage.owned_by(address, &last).await?;
    watch.moved_through(&[&natural, &last]).await?;
    Ok(())
}

async fn excluded(stage: &Stage) -> Result<(), LabError> {
    stage.pool_of(1).await?;
    let order = stage.order(stage.own(0));
    stage.advertise("all", prefer(&[for_node(100, &order[1])])).await?;
    let address = stage.web().await?;
    let watch = stage.watch_owned(address, &order[1]).await?;
    let marked = stage.label(&order[1], EXCLUDE, "")?;
    stage.owned_by(address, &order[0]).await?;
    marked.end();
    stage.owned_by(address, &order[1]).await?;
    watch.moved_through(&[&order[1], &order[0], &order[1]]).await?;
    Ok(())
}

async fn edited(stage: &Stage) -> Result<(), LabError> {
    let address = stage.web_advertised(json!({})).await?;
    let order = stage.order(address);
    let watch = stage.watch_owned(address, &order[0]).await?;
    for node in &order[1..] {
        stage.advertise_anew("all", prefer(&[for_node(20, node)])).await?;
        stage.owned_by(address, node).await?;
    }
    stage.advertise_anew("all", json!({})).await?;
    stage.owned_by(address, &order[0]).await?;
    watch.moved_through(&[&order[0], &order[1], &order[2], &order[0]]).await?;
    Ok(())
}

async fn inside_the_selector(stage: &Stage) -> Result<(), LabError> {
    stage.pool_of(1).await?;
    let order = stage.order(stage.own(0));
    let hostnames = json!([{"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": [order[1], order[2]]},
    ]}]);
    let mut spec = prefer(&[for_node(100, &order[2])]);
    spec["nodeSelectors"] = hostnames.clone();
    stage.advertise("all", spec).await?;
    let address = stage.web().await?;
    let watch = stage.watch_owned(address, &order[2]).await?;
    stage.advertise_anew("all", json!({"nodeSelectors": hostnames})).await?;
    stage.owned_by(address, &order[1]).await?;
    watch.moved_through(&[&order[2], &order[1]]).await?;
    Ok(())
}

async fn outside_the_selector(stage: &Stage) -> Result<(), LabError> {
    stage.pool_of(1).await?;
    let order = stage.order(stage.own(0));
    let mut spec = prefer(&[for_node(100, &order[0])]);
    spec["nodeSelectors"] = json!([{"matchLabels": {"kubernetes.io/hostname": order[1]}}]);
    let watch = stage.watch_lan(stage.own(0))?;
    stage.advertise("all", spec).await?;
    let address = stage.web().await?;
    stage.owned_by(address, &order[1]).await?;
    let verdict = watch.end()?.remove(0);
    assert_eq!(verdict.course(), [order[1].as_str()], "{verdict}");
    assert!(verdict.announcements.iter().all(|said| said.owner.host == order[1]), "{verdict}");
    Ok(())
}

async fn weights_add_up(stage: &Stage) -> Result<(), LabError> {
    let other = "test.ferrolb.dev/other";
    stage.pool_of(1).await?;
    let order = stage.order(stage.own(0));
    // The last of the order has 50 and 60, the one before 60.
    stage.advertise("one", prefer(&[preference(50, json!({RATHER: "yes"}))])).await?;
    stage.advertise("two", prefer(&[preference(60, json!({other: "yes"}))])).await?;
    let _first = stage.label(&order[2], RATHER, "yes")?;
    let second = stage.label(&order[2], other, "yes")?;
    let _third = stage.label(&order[1], other, "yes")?;
    let address = stage.web().await?;
    let watch = stage.watch_owned(address, &order[2]).await?;
    second.end();
    stage.owned_by(address, &order[1]).await?;
    watch.moved_through(&[&order[2], &order[1]]).await?;
    Ok(())
}

async fn for_some_services(stage: &Stage) -> Result<(), LabError> {
    stage.pool_of(2).await?;
    stage.advertise("plain", json!({})).await?;
    // Whichever address a Service gets, the node is not the one that it would have without the preference.
    let orders = [stage.order(stage.own(0)), stage.order(stage.own(1))];
    let picked = orders[0][1..].iter().find(|node| **node != orders[1][0]).cloned();
    let picked = picked.ok_or_else(|| LabError::State("three nodes are too few".into()))?;
    let mut spec = prefer(&[for_node(100, &picked)]);
    spec["serviceSelectors"] = json!([{"matchLabels": {"app": "picky"}}]);
    stage.advertise("picky", spec).await?;
    let nodes = ["node1", "node2", "node3"];
    let picky = stage.bare_service("picky", &nodes, |service| service.labelled("app", "picky")).await?;
    let plain = stage.bare_service("plain", &nodes, |service| service.labelled("app", "plain")).await?;
    stage.owned_by(picky, &picked).await?;
    stage.owned_by(plain, &stage.order(plain)[0]).await?;
    stage.label_service("picky", "app", None).await?;
    stage.owned_by(picky, &stage.order(picky)[0]).await
}
