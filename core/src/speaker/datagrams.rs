//! Who is told by datagram, beside or instead of frames.
//!
//! ```text
//!  a peer in doubt ────────────► knock        asked by datagram too, so that frames that are lost move nothing
//!  a node with a speaker, ─────► due_unheard  told once a second that we are there, and asked
//!  of which nothing is heard;
//!  a peer that does not hear us
//!  a peer that asked so, or ───► by_datagram  told all that is said
//!  speaks by datagram alone
//! ```
//!
//! Datagrams go to the addresses that a peer tells of itself, signed, and to those that the API has of a node: never to where
//! one seems to come from. They leave in one hop, to addresses of the link's own networks.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::announce::{Link, LinkIndex};
use crate::election::Member;
use crate::peers::{DEAF, Peer, TRY, Transport};
use crate::wire::hello::{Body, StationId};

use super::hello::To;
use super::{Effect, Segment, Sent, Speaker, Transports};

/// So many nodes of which nothing is heard are told at once; the next ones the next time. A speaker that starts tells all.
const AT_ONCE: usize = 32;

/// When nodes were told of which nothing is heard, and whose turn it is.
#[derive(Clone, Debug)]
pub(super) struct Tries {
    /// Since when anybody could have been heard.
    since: Duration,
    last: Option<Duration>,
    turn: usize,
    /// Who spoke by datagram and is to hear us before it counts: told with the next hello.
    strangers: BTreeSet<IpAddr>,
}

impl Tries {
    /// Nobody was told yet.
    pub(super) fn new(now: Duration) -> Self {
        Tries { since: now, last: None, turn: 0, strangers: BTreeSet::new() }
    }
}

/// Those of these addresses by which a node is reached from a link: of IPv4 if there are any, else of IPv6.
fn on_link<'a>(link: &'a Link, addresses: &'a [IpAddr]) -> impl Iterator<Item = IpAddr> + 'a {
    let reached = move || addresses.iter().copied().filter(|address| link.reaches(*address));
    let four = reached().any(|address| address.is_ipv4());
    reached().filter(move |address| address.is_ipv4() == four)
}

/// Where a peer is reached by datagram from a link: by what it tells of itself. Link-local addresses come last.
fn reach(link: &Link, peer: &Peer) -> Option<IpAddr> {
    let local = |address: &IpAddr| matches!(address, IpAddr::V6(six) if six.is_unicast_link_local());
    on_link(link, &peer.addresses).min_by_key(local)
}

impl Speaker {
    /// The peers that are told by datagram what is for these.
    pub(super) fn by_datagram(&self, link: LinkIndex, to: To, now: Duration) -> Vec<IpAddr> {
        let transports = self.config.transports;
        let Some(segment) = self.links.get(&link).filter(|_| transports != Transports::Ethernet) else {
            return Vec::new();
        };
        let meant = |station: StationId| match to {
            To::All => true,
            To::One(one, _) => one == station,
        };
        let peers = segment.peers.iter().filter(|(station, _)| meant(*station));
        let needs = |peer: &Peer| transports == Transports::Udp || peer.needs_udp(now);
        peers.filter(|(_, peer)| needs(peer)).filter_map(|(_, peer)| reach(&segment.link, peer)).collect()
    }

    /// The addresses of other nodes of which nothing is heard on a link: neither of the node, nor, where it has two links there, from
    /// the one that has this address. Unless datagrams are the only way, only nodes count that have a speaker by the API.
    pub(super) fn unheard(&self, link: LinkIndex, now: Duration) -> Vec<IpAddr> {
        let transports = self.config.transports;
        let Some(segment) = self.links.get(&link).filter(|_| transports != Transports::Ethernet) else {
            return Vec::new();
        };
        let heard = segment.peers.iter().filter(|(_, peer)| peer.is_heard_at_all(now));
        let heard: Vec<&Peer> = heard.map(|(_, peer)| peer).collect();
        let nodes: BTreeSet<&str> = heard.iter().map(|peer| &*peer.node).collect();
        let told: BTreeSet<IpAddr> = heard.iter().flat_map(|peer| peer.addresses.iter().copied()).collect();
        let all = self.roster.iter().map(|(_, member)| member);
        let others = all.filter(|member| *member.name != *self.config.node);
        let others = others.filter(|member| member.speaker || transports == Transports::Udp);
        let unheard = |member: &'_ Member| {
            // Of several addresses each may be of another link of the node, with a voice of its own.
            let some = nodes.contains(&*member.name);
            let addresses = on_link(&segment.link, &member.addresses);
            let left = addresses.filter(|address| !some || !told.contains(address));
            left.collect::<Vec<IpAddr>>()
        };
        others.flat_map(unheard).collect()
    }

    /// The nodes of which nothing is heard on a link that they should be on: by the API they are `Ready`, have a speaker with a key,
    /// and an address of the link's networks. None while this speaker has no key itself, or has just begun to listen.
    pub fn unheard_nodes(&self, now: Duration) -> BTreeSet<(LinkIndex, Arc<str>)> {
        let links = self.links.iter().filter(|(_, segment)| !self.keys.is_empty() && segment.claiming <= now);
        let of = |(link, segment): (&LinkIndex, &Segment)| {
            let heard = segment.peers.iter().filter(|(_, peer)| peer.is_heard_at_all(now));
            let heard: BTreeSet<&str> = heard.map(|(_, peer)| &*peer.node).collect();
            let members = self.roster.iter().map(|(_, member)| member);
            let there = members.filter(|member| member.ready && member.speaker && !member.keyless);
            let unheard = there.filter(|member| {
                *member.name != *self.config.node
                    && !heard.contains(&*member.name)
                    && on_link(&segment.link, &member.addresses).next().is_some()
            });
            unheard.map(|member| (*link, member.name.clone())).collect::<Vec<_>>()
        };
        links.flat_map(of).collect()
    }

    /// Those of them to be told now that we are there, and the peers that are heard and do not hear us, if it is time for that:
    /// with each hello of a speaker that starts, so that it hears whom it can before it claims anything; later once a second, in
    /// turns where there are many.
    pub(super) fn due_unheard(&mut self, link: LinkIndex, now: Duration) -> Option<Vec<IpAddr>> {
        let segment = self.links.get(&link).filter(|_| self.informed && !self.is_ending())?;
        let starting = segment.claiming > now;
        if !starting && segment.tries.last.is_some_and(|last| last + TRY > now) {
            return None;
        }
        let mut all = self.unheard(link, now);
        let Segment { link, peers, tries, .. } = self.links.get_mut(&link)?;
        if self.config.transports == Transports::Auto {
            let deaf = peers.iter().filter(|(_, peer)| peer.ignores_us(now));
            all.extend(deaf.filter_map(|(_, peer)| reach(link, peer)));
        }
        tries.last = Some(now);
        if !starting && all.len() > AT_ONCE {
            tries.turn %= all.len();
            all.rotate_left(tries.turn);
            all.truncate(AT_ONCE);
            tries.turn += AT_ONCE;
        }
        Some(all)
    }

    /// Somebody who does not count yet spoke by datagram: it gets the next hello, soon.
    pub(super) fn greet(&mut self, link: LinkIndex, addresses: &[IpAddr], now: Duration) {
        if let Some(segment) = self.links.get_mut(&link)
            && segment.tries.strangers.len() < AT_ONCE
        {
            segment.tries.strangers.extend(on_link(&segment.link, addresses).next());
        }
        self.hasten(now);
    }

    /// Those who are to get the next hello, for this once.
    pub(super) fn strangers(&mut self, link: LinkIndex) -> BTreeSet<IpAddr> {
        self.links
            .get_mut(&link)
            .map(|segment| std::mem::take(&mut segment.tries.strangers))
            .unwrap_or_default()
    }

    /// The API says for the first time whom to tell by datagram: where nobody was heard yet, they are listened for, as a speaker that
    /// starts does, before anything is claimed.
    pub(super) fn listen_for_datagrams(&mut self, now: Duration) {
        let listening = now + self.config.timing.listening();
        let silent = self.links.iter().filter(|(_, segment)| segment.peers.is_unknown());
        let silent = silent.map(|(link, _)| *link).filter(|link| !self.unheard(*link, now).is_empty());
        let silent: Vec<LinkIndex> = silent.collect();
        if self.keys.is_empty() || silent.is_empty() {
            return;
        }
        for (_, segment) in self.links.iter_mut().filter(|(link, _)| silent.contains(link)) {
            let claiming = listening + self.config.timing.interval / 2;
            (segment.listening, segment.claiming) =
                (segment.listening.max(listening), segment.claiming.max(claiming));
        }
        self.hello_due = now;
    }

    /// Tells these nodes by datagram that we are there.
    pub(super) fn tell_by_datagram(
        &mut self,
        link: LinkIndex,
        to: impl IntoIterator<Item = IpAddr>,
        payload: &Arc<[u8]>,
        what: Sent,
    ) {
        for to in to {
            self.queue.push_back(Effect::Datagram { link, to, payload: payload.clone(), what });
        }
    }

    /// Asks nodes of which nothing is heard, and peers that no frame came from lately, so that they tell us all for a while. Where
    /// datagrams are the only way, nobody need be asked for them.
    pub(super) fn ask_unheard(&mut self, link: LinkIndex, unheard: &[IpAddr], now: Duration) {
        let deaf = self.config.timing.interval * DEAF;
        let Some(segment) = self.links.get(&link).filter(|segment| segment.tries.since + deaf <= now) else {
            return;
        };
        if self.config.transports != Transports::Auto {
            return;
        }
        let lacking = segment.peers.iter().filter(|(_, peer)| peer.lacks_ethernet(now));
        let lacking = lacking.filter_map(|(_, peer)| reach(&segment.link, peer));
        let asked: BTreeSet<IpAddr> = unheard.iter().copied().chain(lacking).collect();
        if asked.is_empty() {
            return;
        }
        let nonce = self.sequence + 1;
        if let Some(payload) = self.payload(link, Body::Ask { nonce }) {
            self.tell_by_datagram(link, asked, &payload, Sent::Question);
        }
    }

    /// A peer that is in doubt is asked by datagram as well. If it has had none from us it gets a hello first: it may have lost
    /// our frames as we lost its own.
    pub(super) fn knock(&mut self, link: LinkIndex, station: StationId, now: Duration) {
        if self.config.transports != Transports::Auto {
            return;
        }
        let Some(segment) = self.links.get_mut(&link) else { return };
        let Some(to) = segment.peers.get(station).and_then(|peer| reach(&segment.link, peer)) else { return };
        if !segment.peers.want_udp(station, now) {
            return;
        }
        let hello = self.hello(link, Some(station), None, now);
        if let Some(payload) = hello.and_then(|hello| self.payload(link, Body::Hello(hello))) {
            self.tell_by_datagram(link, [to], &payload, Sent::Hello);
        }
    }

    /// A peer is heard by another way than before.
    pub(super) fn tell_transport(&mut self, link: LinkIndex, station: StationId, by: Transport) {
        let peer = self.links.get(&link).and_then(|segment| segment.peers.get(station));
        let Some(peer) = peer else { return };
        let (node, interface) = (peer.node.clone(), peer.interface.clone());
        self.queue.push_back(Effect::Transport { link, node, interface, by });
    }
}
