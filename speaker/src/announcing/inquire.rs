//! What people ask: who is heard where, and who on the network has an address.

use std::net::IpAddr;
use std::time::Duration;

use ferrolb_core::peers::{Standing, Transport};
use ferrolb_crds::admin::{Answer, Link, Peer, Told};
use tokio::sync::oneshot;

use crate::socket::Datalink;

use super::Announcing;

/// A question of a person. Whoever asked may be gone when the answer is there.
#[derive(Debug)]
pub enum Inquiry {
    /// Which links there are, and who is heard on each.
    Links(oneshot::Sender<Told>),
    /// Ask the network who has these addresses.
    Probe(Vec<IpAddr>),
    /// Who answered since then; that question is over.
    Answers(oneshot::Sender<Vec<Answer>>),
}

impl<D: Datalink> Announcing<D> {
    pub(super) fn inquire(&mut self, inquiry: Inquiry, now: Duration) {
        match inquiry {
            Inquiry::Links(to) => {
                let _ = to.send(self.told(now));
            }
            Inquiry::Probe(mut addresses) => {
                // Answers about others would not get through the filter; and the network is asked for nothing else.
                addresses.retain(|address| self.ports.covers(*address));
                self.speaker.inquire(&addresses, now);
            }
            Inquiry::Answers(to) => {
                let answers = self.speaker.end_inquiry().into_iter().map(|answered| Answer {
                    address: answered.address,
                    interface: self.name(answered.link).to_owned(),
                    mac: answered.mac.to_string(),
                    node: answered.node.map(String::from),
                });
                let _ = to.send(answers.collect());
            }
        }
    }

    fn told(&self, now: Duration) -> Told {
        let unheard = self.speaker.unheard_nodes(now);
        let links = self.speaker.peers().filter_map(|(index, peers)| {
            let link = self.links.get(&index)?;
            let peer = |(station, peer): (_, &ferrolb_core::peers::Peer)| {
                let standing = peers.standings().get(&station);
                Peer {
                    node: peer.node.to_string(),
                    interface: peer.interface.to_string(),
                    mac: peer.mac.to_string(),
                    counts: standing.is_some(),
                    standing: standing.map_or("", |standing| name(*standing)).to_owned(),
                    udp: peer.transport() == Transport::Udp,
                }
            };
            let nodes = unheard.iter().filter(|(of, _)| *of == index).map(|(_, node)| node.to_string());
            Some(Link {
                name: link.name.clone(),
                mac: link.mac.to_string(),
                addresses: link.addresses.to_vec(),
                networks: link.networks.iter().map(ToString::to_string).collect(),
                gateways: Vec::new(),
                owned: self.speaker.owned(index).len(),
                heard: peers.ever(),
                peers: peers.iter().map(peer).collect(),
                unheard: nodes.collect(),
            })
        });
        Told { links: links.collect(), pauses: self.speaker.counts().pauses, ..Told::default() }
    }
}

fn name(standing: Standing) -> &'static str {
    match standing {
        Standing::Fit => "fit",
        Standing::Starting => "starting",
        Standing::Unfit => "unfit",
        Standing::Leaving => "leaving",
        Standing::Away => "away",
    }
}
