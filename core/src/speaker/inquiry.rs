//! Who has an address? Asked of the network when a person wants to know, beside all that a speaker asks by itself.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::announce::LinkIndex;
use crate::conflict::{Kind, Sighting};
use crate::wire::{Mac, arp, ndp};

use super::{Effect, Sent, Speaker};

/// After this time nobody waits for the answers any more.
const LIMIT: Duration = Duration::from_secs(5);

/// So many answers are kept: whoever answers for everything fills no memory.
const MOST: usize = 4096;

/// What was asked, and who answered.
#[derive(Clone, Debug)]
pub(super) struct Inquiry {
    addresses: BTreeSet<IpAddr>,
    until: Duration,
    answers: BTreeSet<(IpAddr, LinkIndex, Mac)>,
}

/// A station that said that it has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The address.
    pub address: IpAddr,
    /// The link on which it said so.
    pub link: LinkIndex,
    /// The Ethernet address that it named.
    pub mac: Mac,
    /// The node whose link that is, if it is this one's or one that is heard.
    pub node: Option<Box<str>>,
}

impl Speaker {
    /// Asks on all links who has these addresses, by probes: they change no neighbour's cache, and whoever has one answers. A
    /// question that is under way is forgotten.
    pub fn inquire(&mut self, addresses: &[IpAddr], now: Duration) {
        let addresses: BTreeSet<IpAddr> = addresses.iter().copied().collect();
        for (link, segment) in &self.links {
            for address in &addresses {
                let frame = match address {
                    IpAddr::V4(four) => arp::probe(segment.link.mac, *four).build(),
                    IpAddr::V6(six) if segment.link.ipv6 => ndp::probe(segment.link.mac, *six).build(),
                    IpAddr::V6(_) => continue,
                };
                self.queue.push_back(Effect::Send { link: *link, frame, what: Sent::Probe });
            }
        }
        self.inquiry = Some(Box::new(Inquiry { addresses, until: now + LIMIT, answers: BTreeSet::new() }));
    }

    /// Who answered so far; the question is over.
    pub fn end_inquiry(&mut self) -> Vec<Answered> {
        let answers = self.inquiry.take().map(|inquiry| inquiry.answers).unwrap_or_default();
        let answered = |(address, link, mac)| Answered { address, link, mac, node: self.node_of(mac) };
        answers.into_iter().map(answered).collect()
    }

    /// Takes note of what a frame says, if it is about what was asked. This node's own frames do not come in.
    pub(super) fn note(&mut self, link: LinkIndex, sighting: &Sighting, now: Duration) {
        let Some(inquiry) = &mut self.inquiry else { return };
        if inquiry.until <= now {
            self.inquiry = None;
            return;
        }
        let asked = inquiry.addresses.contains(&sighting.address) && sighting.kind != Kind::Probe;
        if asked && inquiry.answers.len() < MOST {
            inquiry.answers.insert((sighting.address, link, sighting.mac));
        }
    }

    fn node_of(&self, mac: Mac) -> Option<Box<str>> {
        if self.links.values().any(|segment| segment.link.mac == mac) {
            return Some(self.config.node.clone());
        }
        let mut peers = self.links.values().flat_map(|segment| segment.peers.iter());
        peers.find(|(_, peer)| peer.mac == mac).map(|(_, peer)| (*peer.node).into())
    }
}
