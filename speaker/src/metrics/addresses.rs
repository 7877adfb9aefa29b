//! The addresses that this node announces, with what is counted of each.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ferrolb_core::address_map::AddressMap;
use ferrolb_core::election::Contest;
use ferrolb_core::service::ServiceKey;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;

use super::Text;

/// An address that this node announces, or would if it had the link for it.
#[derive(Clone, Debug)]
pub(crate) struct Ours {
    /// Who may answer for it. Shared with the election, which names the Services.
    pub(crate) contest: Arc<Contest>,
    /// The links on which it is announced, by name; none at all while there is no such link.
    pub(crate) links: Arc<BTreeSet<String>>,
}

impl Ours {
    /// Whether it is announced at all.
    pub(crate) fn is_announced(&self) -> bool {
        !self.links.is_empty()
    }
}

/// The counters of one address, as long as it is announced.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) requests: u64,
    pub(super) responses: u64,
    pub(super) gratuitous: u64,
}

#[derive(Clone, Debug)]
struct Address {
    ours: Ours,
    counters: Counters,
}

/// All of them. Ten thousand are no rarity, so there is one map for what is told and for what is counted, a family of labels for each
/// figure would cost megabytes, and a frame costs one look-up by hash.
#[derive(Debug)]
pub(crate) struct Addresses {
    node: Arc<str>,
    all: Mutex<AddressMap<Address>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Announced {
    service: Text<Arc<ServiceKey>>,
    protocol: &'static str,
    node: Text<Arc<str>>,
    ip: Text<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Label {
    ip: Text<IpAddr>,
}

/// The counter of one kind, with its words.
type Figure = (&'static str, &'static str, fn(&Counters) -> u64);

const FIGURES: [Figure; 3] = [
    (
        "metallb_layer2_requests_received",
        "ARP requests and neighbour solicitations received for an address that this node announces",
        |counters| counters.requests,
    ),
    (
        "metallb_layer2_responses_sent",
        "ARP replies and solicited neighbour advertisements sent for an address that this node announces",
        |counters| counters.responses,
    ),
    (
        "metallb_layer2_gratuitous_sent",
        "Gratuitous ARP frames and unsolicited neighbour advertisements sent for an address that this node announces",
        |counters| counters.gratuitous,
    ),
];

impl Addresses {
    /// None yet, of this node.
    pub(super) fn new(node: &str) -> Self {
        Addresses { node: node.into(), all: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, AddressMap<Address>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of an address.
    pub(crate) fn get(&self, address: IpAddr) -> Option<Ours> {
        self.lock().get(address).map(|known| known.ours.clone())
    }

    /// The address is ours in this way. Where it was announced and is, its counters go on; else they begin at 0.
    pub(crate) fn set(&self, address: IpAddr, ours: Ours) {
        let mut all = self.lock();
        let known = all.get(address).filter(|known| known.ours.is_announced() && ours.is_announced());
        let counters = known.map(|known| known.counters).unwrap_or_default();
        all.insert(address, Address { ours, counters });
    }

    /// It is ours in no way any more: its series vanish.
    pub(crate) fn remove(&self, address: IpAddr) -> Option<Ours> {
        self.lock().remove(address).map(|known| known.ours)
    }

    /// Those that are announced, ascending; or those that would be if there was a link for them.
    pub(crate) fn sorted(&self, announced: bool) -> Vec<IpAddr> {
        self.lock().sorted(|known| known.ours.is_announced() == announced)
    }

    /// Counts something of an address that is announced.
    pub(super) fn count(&self, address: IpAddr, add: impl FnOnce(&mut Counters)) {
        let mut all = self.lock();
        if let Some(known) = all.get_mut(address).filter(|known| known.ours.is_announced()) {
            add(&mut known.counters);
        }
    }

    /// What is announced, ascending.
    fn announced(&self) -> Vec<(IpAddr, Arc<Contest>, Counters)> {
        let all = self.lock();
        let announced = all.iter().filter(|(_, known)| known.ours.is_announced());
        let row =
            |(address, known): (IpAddr, &Address)| (address, known.ours.contest.clone(), known.counters);
        let mut rows: Vec<_> = announced.map(row).collect();
        drop(all);
        rows.sort_unstable_by_key(|(address, ..)| *address);
        rows
    }
}

impl Collector for Addresses {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Copied, so that the frames that come in meanwhile do not wait for the text.
        let all = self.announced();
        let words = "Addresses that this node announces, for each Service that has them: 1";
        let mut metric =
            encoder.encode_descriptor("metallb_speaker_announced", words, None, MetricType::Gauge)?;
        for (ip, contest, _) in &all {
            for service in &contest.services {
                let labels = Announced {
                    service: Text(service.key.clone()),
                    protocol: "layer2",
                    node: Text(self.node.clone()),
                    ip: Text(*ip),
                };
                metric.encode_family(&labels)?.encode_gauge(&1i64)?;
            }
        }
        for (name, words, figure) in FIGURES {
            let mut metric = encoder.encode_descriptor(name, words, None, MetricType::Unknown)?;
            for (ip, _, counters) in &all {
                // Of the encodings, a gauge's is the one that writes the value under the bare name.
                metric.encode_family(&Label { ip: Text(*ip) })?.encode_gauge(&figure(counters))?;
            }
        }
        Ok(())
    }
}
