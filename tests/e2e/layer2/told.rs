//! What users are told: another host that has an address, and an advertisement that cannot work.

use std::net::IpAddr;

use ferrolb_tests::host::frame;
use ferrolb_tests::lab::LabError;
use ferrolb_tests::lab::network::Network;
use ferrolb_tests::lab::progress::wait;
use serde_json::{Value, json};

use crate::both_families;
use crate::stage::{PATIENCE, Stage};
use crate::support::on_wire;

both_families! {
    an_address_that_another_host_has_is_held_back_and_told = "conflict" from 44: another_host;
    an_advertisement_that_matches_nothing_says_so = "effective" from 46: advertisement;
}

/// The label of a `ServiceL2Status` that tells of a conflict.
const LABEL: &str = "ferrolb.io/address-conflict";

/// Reason and message of the condition of the Service web about conflicts; empty for none.
async fn said(stage: &Stage) -> Result<(String, String), String> {
    let web = stage.services().get("web").await.map_err(|error| error.to_string())?;
    let all = web.status.and_then(|status| status.conditions).unwrap_or_default();
    let found = all.into_iter().find(|condition| condition.type_ == "ferrolb.io/AddressConflict");
    Ok(found.map(|it| (it.reason, it.message)).unwrap_or_default())
}

/// Waits until that condition has this reason.
async fn conflict(stage: &Stage, reason: &str) -> Result<(), LabError> {
    wait(&format!("the conflict of web to be {reason:?}"), PATIENCE, async || {
        let (is, message) = said(stage).await?;
        if is == reason { Ok(()) } else { Err(format!("{is:?}: {message}")) }
    })
    .await
}

/// Waits until the Service and the status of its owner tell of the conflict in the same words, with all these parts. The other
/// host answers on every link, as Linux does: so there is a conflict on each of them, and the words grow until the last.
async fn told_alike(stage: &Stage, owner: &str, parts: &[String]) -> Result<(), LabError> {
    wait("the Service and its status to tell alike of the conflict", PATIENCE, async || {
        let (_, words) = said(stage).await?;
        let status = stage.l2_status("web", owner).await.map_err(|error| error.to_string())?;
        let written = &status.data["status"]["conditions"][0]["message"];
        let labelled = status.metadata.labels.iter().any(|labels| labels.contains_key(LABEL));
        if *written == json!(words) && labelled && parts.iter().all(|part| words.contains(part)) {
            Ok(())
        } else {
            Err(format!("the Service {words:?}, its status {written}, labels {:?}", status.metadata.labels))
        }
    })
    .await
}

async fn another_host(stage: &Stage) -> Result<(), LabError> {
    let address = stage.own(0);
    let other = stage.lab.host("client2")?;
    let mac = on_wire(other.mac("eth0"))?;
    let taken = on_wire(other.take("eth0", address))?;
    assert_eq!(stage.web_advertised(json!({})).await?, address, "it is given all the same");
    let owner = stage.order(address)[0].clone();

    // Before its first announcement: held back where that host is, and told.
    conflict(stage, "HeldBack").await?;
    let parts = [address.to_string(), mac.to_string(), "interface eth0".to_owned(), owner.clone()];
    told_alike(stage, &owner, &parts).await?;
    let found = stage.answering(Network::Lan, address)?;
    assert_eq!(found, [mac.to_string()].into(), "nobody but that host answers in its segment");
    stage.told("web", "Warning", "addressConflict").await?;

    // That host is gone: announced, and all words taken back.
    drop(taken);
    stage.owned_by(address, &owner).await?;
    conflict(stage, "").await?;
    let status = stage.l2_status("web", &owner).await?;
    assert_eq!(status.data["status"].get("conditions").unwrap_or(&Value::Null), &Value::Null);

    // In use: told, and kept.
    if let IpAddr::V4(four) = address {
        on_wire(other.send_raw("eth0", &frame::arp_request(mac, four, four)))?;
        conflict(stage, "InUse").await?;
        stage.owned_by(address, &owner).await?;
    }
    Ok(())
}

/// Waits until the condition `Effective` of the advertisement is so; returns its message.
async fn effective(stage: &Stage, name: &str, expected: [&str; 2]) -> Result<String, LabError> {
    wait(&format!("the advertisement {name} to be {expected:?}"), PATIENCE, async || {
        let object = stage.custom("L2Advertisement").get(name).await.map_err(|error| error.to_string())?;
        let all = object.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = all.iter().find(|condition| condition["type"] == "Effective");
        let found = found.ok_or_else(|| format!("{all:?}"))?;
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        if [text("status"), text("reason")] == expected {
            Ok(text("message"))
        } else {
            Err(found.to_string())
        }
    })
    .await
}

async fn advertisement(stage: &Stage) -> Result<(), LabError> {
    stage.pool_of(1).await?;
    let name = format!("{}-misspelled", stage.namespace);
    let pool = format!("{}-later", stage.namespace);
    stage.create("L2Advertisement", &name, &json!({"ipAddressPools": [pool]})).await?;
    let words = effective(stage, &name, ["False", "MatchesNoPool"]).await?;
    assert!(words.contains(&format!("there is no IPAddressPool {pool:?}")), "{words}");
    // The other one goes on.
    stage.advertise("all", json!({})).await?;
    let address = stage.web().await?;
    stage.owner(address).await?;
    let all = format!("{}-all", stage.namespace);
    effective(stage, &all, ["True", "Matches"]).await?;
    // What is missing comes later.
    let later = stage.own(1);
    stage
        .create(
            "IPAddressPool",
            &pool,
            &json!({"addresses": [format!("{later}-{later}")], "reuseDelay": "0s"}),
        )
        .await?;
    effective(stage, &name, ["True", "Matches"]).await?;
    stage
        .change("L2Advertisement", &name, &json!({"nodeSelectors": [{"matchLabels": {"no": "node"}}]}))
        .await?;
    effective(stage, &name, ["False", "MatchesNoNode"]).await?;
    Ok(())
}
