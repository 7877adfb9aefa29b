//! A switch that sends each multicast group only where somebody asked for it knows the next in order before the address moves.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::process::Command;

use ferrolb_tests::lab::network::Network;
use ferrolb_tests::lab::progress::wait;
use ferrolb_tests::lab::{LabError, process};
use serde_json::json;

use crate::stage::{Family, Stage, on_stage};

/// How long it may take, in seconds, on a busy machine.
const PATIENCE: u64 = 30;

#[test]
fn the_next_in_order_asks_for_the_group_before_the_address_is_its_own() {
    on_stage("standby", Family::V6, 60, next_in_order_listens);
}

async fn next_in_order_listens(stage: &Stage) -> Result<(), LabError> {
    let snooping = Snooping::begin(stage)?;
    let address = stage.web_advertised(json!({})).await?;
    let order = stage.order(address);
    let group = group(address)?;
    stage.owned_by(address, &order[0]).await?;
    let (first, second, third) = (order[0].as_str(), order[1].as_str(), order[2].as_str());
    wait("the first and the next to listen", PATIENCE, async || {
        let (listening, known) = (listening(stage, group)?, snooping.ports(group)?);
        let wanted = BTreeSet::from([first, second].map(str::to_owned));
        if listening == wanted && known == wanted {
            return Ok(());
        }
        Err(format!("{listening:?} listen and the switch knows {known:?}, of {order:?}"))
    })
    .await?;

    // The first one goes: the second has the address, and the third is the next.
    let excluded = stage.label(first, "node.kubernetes.io/exclude-from-external-load-balancers", "true")?;
    stage.owned_by(address, second).await?;
    wait("the second and the third to listen", PATIENCE, async || {
        let (listening, known) = (listening(stage, group)?, snooping.ports(group)?);
        if listening == BTreeSet::from([second, third].map(str::to_owned)) && known.contains(third) {
            return Ok(());
        }
        Err(format!("{listening:?} listen and the switch knows {known:?}, of {order:?}"))
    })
    .await?;
    excluded.end();
    stage.owned_by(address, first).await
}

/// The solicited-node group of an address (RFC 4291 section 2.7.1).
fn group(address: IpAddr) -> Result<Ipv6Addr, LabError> {
    let IpAddr::V6(six) = address else { return Err(LabError::State(format!("{address} is not of IPv6"))) };
    let [.., high, low] = six.segments();
    Ok(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | high & 0xff, low))
}

/// The nodes whose kernels are members of a group on the LAN.
fn listening(stage: &Stage, group: Ipv6Addr) -> Result<BTreeSet<String>, String> {
    let mut found = BTreeSet::new();
    for node in stage.lab.config.node_names() {
        let netns = stage.lab.paths.netns_name(&node);
        let show = ["-n", &netns, "-6", "maddress", "show", "dev", Network::Lan.link()];
        let text = process::run(Command::new("ip").args(show)).map_err(|error| error.to_string())?;
        if text.split_whitespace().any(|word| word.parse() == Ok(group)) {
            found.insert(node);
        }
    }
    Ok(found)
}

/// The switch looks at the reports of MLD (RFC 4541); it does no longer when this is dropped.
struct Snooping<'a>(&'a Stage);

impl<'a> Snooping<'a> {
    fn begin(stage: &'a Stage) -> Result<Self, LabError> {
        let snooping = Snooping(stage);
        snooping.set("1")?;
        Ok(snooping)
    }

    fn set(&self, to: &str) -> Result<(), LabError> {
        let netns = self.0.lab.paths.netns_name("sw");
        let set =
            ["-n", &netns, "link", "set", Network::Lan.bridge(), "type", "bridge", "mcast_snooping", to];
        process::run(Command::new("ip").args(set)).map(|_| ())
    }

    /// The nodes at whose ports the switch has seen a report for this group.
    fn ports(&self, group: Ipv6Addr) -> Result<BTreeSet<String>, String> {
        let netns = self.0.lab.paths.netns_name("sw");
        let show = ["-n", &netns, "mdb", "show", "dev", Network::Lan.bridge()];
        let text = process::run(Command::new("bridge").args(show)).map_err(|error| error.to_string())?;
        let of_group =
            text.lines().filter(|line| line.split_whitespace().any(|word| word.parse() == Ok(group)));
        let port = |line: &str| {
            let name = line.split_whitespace().skip_while(|word| *word != "port").nth(1)?;
            Some(name.strip_suffix("-lan")?.to_owned())
        };
        Ok(of_group.filter_map(port).collect())
    }
}

impl Drop for Snooping<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.set("0") {
            eprintln!("the switch goes on snooping: {error}");
        }
    }
}
