//! Real kernels as clients: their neighbour tables, their checks for an address that is taken.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ferrolb_tests::lab::LabError;
use ferrolb_tests::lab::progress::wait;
use serde_json::json;

use crate::both_families;
use crate::stage::{EXCLUDE, PATIENCE, Stage};
use crate::support::on_wire;

both_families! {
    a_clients_entry_that_is_0_2_s_old_moves_with_the_address = "entry" from 40: young_entry_moves;
    a_clients_own_check_of_its_entry_is_answered = "check" from 41: own_check_is_answered;
    a_host_that_probes_finds_the_address_taken = "probe" from 42: probe_is_answered;
}

/// Linux does not take a new MAC address for an entry that is younger, except from a gratuitous frame (`locktime`).
const LOCKED: Duration = Duration::from_secs(1);

async fn young_entry_moves(stage: &Stage) -> Result<(), LabError> {
    let address = stage.web_advertised(json!({})).await?;
    let order = stage.order(address);
    let client = stage.client()?;
    let mac = |node: &str| on_wire(stage.lab.host(node)?.mac("eth0"));
    let (old, new) = (mac(&order[0])?, mac(&order[1])?);

    let watch = stage.watch_owned(address, &order[0]).await?;
    let written = watch.judge.now();
    on_wire(client.set_neighbour("eth0", address, old, "reachable"))?;
    // The age that is in question, less what a change takes to get to the nodes.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let marked = stage.label(&order[0], EXCLUDE, "")?;
    let changed = wait("the client's kernel to take the new MAC address", PATIENCE, async || {
        let now = watch.judge.now();
        let entry = client.neighbour("eth0", address).map_err(|error| error.to_string())?;
        if entry.as_ref().is_some_and(|entry| entry.mac == Some(new)) {
            Ok(now)
        } else {
            Err(format!("{entry:?}"))
        }
    })
    .await?;
    let verdict = watch.moved_through(&[&order[0], &order[1]]).await?;
    let announced = verdict.first_announcement(&order[1]).map(|said| said.at).unwrap_or_default();
    let age = announced.saturating_sub(written);
    assert!(age < LOCKED, "the machine is too slow for this test: the entry was {age:?} old\n{verdict}");
    // The next round comes more than a second later: it was the first that did it.
    let took = changed.saturating_sub(announced);
    assert!(took < LOCKED, "the entry moved only {took:?} after the first announcement\n{verdict}");
    eprintln!("an entry {age:?} old moved, seen {took:?} after the first announcement");
    marked.end();
    stage.owned_by(address, &order[0]).await
}

async fn own_check_is_answered(stage: &Stage) -> Result<(), LabError> {
    let address = stage.web_advertised(json!({})).await?;
    let owner = stage.owner(address).await?;
    let client = stage.client()?;
    let mac = on_wire(stage.lab.host(&owner)?.mac("eth0"))?;
    // An entry in this state is asked for by unicast, three times, and then given up.
    on_wire(client.set_neighbour("eth0", address, mac, "probe"))?;
    wait("the entry to be confirmed", PATIENCE, async || {
        let entry = client.neighbour("eth0", address).map_err(|error| error.to_string())?;
        let confirmed =
            entry.as_ref().is_some_and(|entry| entry.state == "REACHABLE" && entry.mac == Some(mac));
        if confirmed { Ok(()) } else { Err(format!("{entry:?}")) }
    })
    .await
}

async fn probe_is_answered(stage: &Stage) -> Result<(), LabError> {
    let address = stage.web_advertised(json!({})).await?;
    let owner = stage.owner(address).await?;
    let mac = on_wire(stage.lab.host(&owner)?.mac("eth0"))?;
    let other = stage.lab.host("client2")?;
    let none: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let found = on_wire(other.who_has_from("eth0", none, address, Duration::from_millis(300)))?;
    assert_eq!(found, [mac].into(), "a probe");
    let free = stage.own(1);
    let found = on_wire(other.who_has_from("eth0", none, free, Duration::from_millis(300)))?;
    assert!(found.is_empty(), "{found:?} answer for {free}, which is free");
    // What a real kernel does with it: it has such a check for IPv6 alone.
    if let (IpAddr::V6(taken), IpAddr::V6(free)) = (address, free) {
        assert!(on_wire(other.finds_taken("eth0", taken))?, "duplicate address detection found {taken} free");
        assert!(!on_wire(other.finds_taken("eth0", free))?, "duplicate address detection found {free} taken");
        stage.owned_by(address, &owner).await?;
    }
    Ok(())
}
