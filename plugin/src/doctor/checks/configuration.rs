//! Pools and advertisements.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrolb_core::net::{AddressRange, Family};
use ferrolb_core::pool::Pool;

use super::super::Facts;
use super::super::facts::NamedRange;
use super::Outcome;
use super::network::{all_links, untold};
use crate::look::Pools;

/// From so many hundredths on a pool is nearly full.
const NEARLY: u128 = 90;

fn usable(facts: &Facts) -> BTreeMap<String, Pool> {
    Pools::of(&facts.look.pools).usable
}

pub(super) fn pools(facts: &Facts) -> Outcome {
    if facts.look.pools.is_empty() {
        return Outcome::Warning(vec![format!(
            "there is no IPAddressPool in namespace {}",
            facts.look.namespace
        )]);
    }
    let unusable = Pools::of(&facts.look.pools).unusable;
    Outcome::failed(unusable.into_iter().map(|(name, why)| format!("IPAddressPool {name}: {why}")))
}

pub(super) fn space(facts: &Facts) -> Outcome {
    let pools = usable(facts);
    let taken: BTreeSet<IpAddr> = facts.addresses().into_keys().collect();
    let (mut full, mut nearly) = (Vec::new(), Vec::new());
    for pool in pools.values() {
        for family in [Family::V4, Family::V6].into_iter().filter(|family| pool.has_family(*family)) {
            let size = pool.size(family);
            let of_pool = |address: &&IpAddr| Family::of(**address) == family && pool.offers(**address);
            let used = taken.iter().filter(of_pool).count() as u128;
            let words =
                format!("IPAddressPool {}: {used} of {size} {family} addresses are in use", pool.name);
            if used >= size {
                full.push(words);
            } else if used.saturating_mul(100) >= size.saturating_mul(NEARLY) {
                nearly.push(words);
            }
        }
    }
    full.extend(nearly);
    Outcome::warning(full)
}

pub(super) fn host_bits(facts: &Facts) -> Outcome {
    let masked = facts.look.pools.iter().flat_map(|pool| {
        let name = pool.metadata.name.as_deref().unwrap_or_default();
        let entries = pool.masked_entries().into_iter();
        entries
            .map(move |(entry, range)| format!("IPAddressPool {name}: {entry} stands for {range}"))
            .collect::<Vec<_>>()
    });
    Outcome::warning(masked)
}

/// Each address that a pool may give and somebody else has.
fn hits<'a>(
    pools: &'a BTreeMap<String, Pool>,
    others: impl Iterator<Item = (IpAddr, String)> + 'a,
) -> impl Iterator<Item = String> + 'a {
    others.filter_map(|(address, of)| {
        let pool = pools.values().find(|pool| pool.offers(address))?;
        Some(format!("IPAddressPool {} has {address}, which is {of}", pool.name))
    })
}

pub(super) fn node_addresses(facts: &Facts) -> Outcome {
    let pools = usable(facts);
    let shown = facts.look.nodes.iter().flat_map(|(name, node)| {
        node.addresses().map(|address| (address, format!("an address of node {name}"))).collect::<Vec<_>>()
    });
    // Those that the API does not show, as of a second network.
    let told = all_links(facts).flat_map(|(node, link)| {
        link.addresses
            .iter()
            .map(|address| (*address, format!("an address of node {node}")))
            .collect::<Vec<_>>()
    });
    let found: BTreeSet<String> = hits(&pools, shown.chain(told)).collect();
    Outcome::warning(found)
}

pub(super) fn ranges(facts: &Facts, others: &[NamedRange]) -> Outcome {
    if others.is_empty() {
        return Outcome::Unknown("the API does not show that range".to_owned());
    }
    let pools = usable(facts);
    let clashes = pools.values().flat_map(|pool| {
        let clash = |range: &AddressRange| others.iter().find(|other| other.range.overlaps(range)).cloned();
        let found = pool.ranges.iter().filter_map(|range| Some((*range, clash(range)?))).collect::<Vec<_>>();
        found.into_iter().map(|(range, other)| {
            format!("IPAddressPool {}: {range} overlaps {}, which is of {}", pool.name, other.range, other.of)
        })
    });
    Outcome::failed(clashes)
}

pub(super) fn gateway(facts: &Facts) -> Outcome {
    if all_links(facts).next().is_none() {
        return untold();
    }
    let pools = usable(facts);
    let gateways = all_links(facts).flat_map(|(node, link)| {
        let of = format!("the gateway of {node} on {}", link.name);
        link.gateways.iter().map(|gateway| (*gateway, of.clone())).collect::<Vec<_>>()
    });
    let found: BTreeSet<String> = hits(&pools, gateways).collect();
    Outcome::failed(found)
}

pub(super) fn on_link(facts: &Facts) -> Outcome {
    if all_links(facts).next().is_none() {
        return untold();
    }
    let networks: Vec<AddressRange> =
        all_links(facts).flat_map(|(_, link)| &link.networks).filter_map(|cidr| cidr.parse().ok()).collect();
    let pools = usable(facts);
    let outside = pools.values().flat_map(|pool| {
        let inside = |range: &&AddressRange| {
            networks.iter().any(|net| net.contains(range.first()) && net.contains(range.last()))
        };
        let found: Vec<AddressRange> = pool.ranges.iter().filter(|range| !inside(range)).copied().collect();
        found
            .into_iter()
            .map(|range| format!("IPAddressPool {}: {range} is of no network of a node's link", pool.name))
    });
    Outcome::warning(outside)
}

pub(super) fn advertised(facts: &Facts) -> Outcome {
    let candidates = facts.look.candidates();
    let pools = usable(facts);
    let silent =
        pools.values().filter(|pool| !candidates.advertisements().iter().any(|ad| ad.covers_pool(pool)));
    Outcome::failed(silent.map(|pool| format!("no L2Advertisement speaks of IPAddressPool {}", pool.name)))
}

pub(super) fn advertisements(facts: &Facts) -> Outcome {
    let (mut wrong, mut partly) = (Vec::new(), Vec::new());
    for object in &facts.look.advertisements {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let conditions =
            object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        let effective = conditions.iter().find(|condition| condition.type_ == "Effective");
        match (object.to_core(), effective) {
            (Err(why), _) => wrong.push(format!("L2Advertisement {name} is not used: {why}")),
            (Ok(_), Some(said)) if said.status == "False" => {
                wrong.push(format!("L2Advertisement {name}: {}", said.message));
            }
            (Ok(_), Some(said)) if said.reason == "PartlyUnused" => {
                partly.push(format!("L2Advertisement {name}: {}", said.message));
            }
            _ => {}
        }
    }
    if wrong.is_empty() {
        return Outcome::warning(partly);
    }
    wrong.extend(partly);
    Outcome::Failed(wrong)
}

pub(super) fn elsewhere(facts: &Facts) -> Outcome {
    Outcome::warning(facts.elsewhere.iter().map(ToString::to_string))
}

pub(super) fn bgp(facts: &Facts) -> Outcome {
    Outcome::warning(facts.bgp.iter().map(ToString::to_string))
}
