//! `IF-01` to `IF-06`: advertisements limited to links, in three segments.

use std::time::Duration;

use ferrolb_tests::lab::LabError;
use ferrolb_tests::lab::network::Network;
use serde_json::json;

use crate::both_families;
use crate::stage::Stage;
use crate::support::on_wire;

both_families! {
    if_01_the_status_names_the_interface = "if-01" from 15: status_names_the_interface;
    if_02_the_address_has_the_mac_of_the_selected_interface = "if-02" from 16: mac_of_the_interface;
    if_03_switching_the_advertisement_through_interfaces = "if-03" from 17: switching_interfaces;
    if_04_an_unknown_interface_is_silent_and_told = "if-04" from 18: unknown_interface;
    if_05_two_advertisements_one_for_each_interface = "if-05" from 19: two_interfaces;
    if_06_an_interface_on_one_node_after_the_other = "if-06" from 20: interface_and_node;
}

async fn status_names_the_interface(stage: &Stage) -> Result<(), LabError> {
    let address = stage.web_advertised(json!({"interfaces": ["eth1"]})).await?;
    let owner = stage.order(address)[0].clone();
    stage.answered_by(address, [None, Some(&owner), None]).await?;
    let status = stage.l2_status("web", &owner).await?;
    assert_eq!(status.data["status"]["interfaces"], json!([{"name": "eth1"}]));
    Ok(())
}

async fn mac_of_the_interface(stage: &Stage) -> Result<(), LabError> {
    let address = stage.web_advertised(json!({"interfaces": ["eth1"]})).await?;
    let owner = stage.order(address)[0].clone();
    stage.answered_by(address, [None, Some(&owner), None]).await?;
    let mac = on_wire(stage.lab.host(&owner)?.mac("eth1"))?;
    let macs = on_wire(stage.client()?.who_has_on("eth1", address, Duration::from_millis(300)))?;
    assert_eq!(macs, [mac].into());
    Ok(())
}

async fn switching_interfaces(stage: &Stage) -> Result<(), LabError> {
    let address = stage.web_advertised(json!({"interfaces": ["eth2"]})).await?;
    let owner = stage.order(address)[0].clone();
    let only = |network: Network| Network::SEGMENTS.map(|other| (other == network).then_some(owner.as_str()));
    stage.answered_by(address, only(Network::Lan3)).await?;
    for network in Network::SEGMENTS {
        let watch = stage.watch(address, &Network::SEGMENTS)?;
        stage.advertise_anew("all", json!({"interfaces": [network.link()]})).await?;
        stage.answered_by(address, only(network)).await?;
        let verdicts = watch.end()?;
        for verdict in &verdicts {
            assert!(verdict.overlaps.is_empty() && verdict.stale.is_empty(), "{verdict}");
            if verdict.network == network {
                assert_eq!(verdict.course(), [owner.as_str()], "{verdict}");
                assert!(verdict.first_announcement(&owner).is_some(), "not announced\n{verdict}");
            }
        }
    }
    Ok(())
}

async fn unknown_interface(stage: &Stage) -> Result<(), LabError> {
    let watched = stage.watch(stage.own(0), &Network::SEGMENTS)?;
    stage.web_advertised(json!({"interfaces": ["eth9"]})).await?;
    stage.nobody(stage.own(0)).await?;
    stage.told("web", "Warning", "announceFailed").await?;
    for verdict in watched.end()? {
        assert!(verdict.course().is_empty() && verdict.announcements.is_empty(), "{verdict}");
    }
    Ok(())
}

async fn two_interfaces(stage: &Stage) -> Result<(), LabError> {
    stage.pool_of(1).await?;
    stage.advertise("one", json!({"interfaces": ["eth0"]})).await?;
    stage.advertise("two", json!({"interfaces": ["eth1"]})).await?;
    let address = stage.web().await?;
    let owner = stage.order(address)[0].clone();
    stage.answered_by(address, [Some(&owner), Some(&owner), None]).await
}

async fn interface_and_node(stage: &Stage) -> Result<(), LabError> {
    stage.pool_of(1).await?;
    let spec = |node: &str| json!({"interfaces": ["eth1"], "nodeSelectors": [{"matchLabels": {"kubernetes.io/hostname": node}}]});
    stage.advertise("all", spec("node1")).await?;
    let address = stage.web().await?;
    for node in stage.lab.config.node_names() {
        stage.advertise_anew("all", spec(&node)).await?;
        stage.answered_by(address, [None, Some(&node), None]).await?;
    }
    Ok(())
}
