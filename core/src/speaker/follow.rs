//! What follows from what was heard, or was not: questions, who stands how, who owns what.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::announce::{LinkIndex, Speak};
use crate::ownership::{Act, Known, Ownership};
use crate::peers::{Event, Standing, Urgency};
use crate::wire::Mac;

use super::hello::To;
use super::life::Life;
use super::{Effect, PROXIES, Segment, Speaker};

impl Speaker {
    /// Calls `body` with a link's addresses and what settles them.
    pub(super) fn with(&mut self, link: LinkIndex, body: impl FnOnce(&mut Ownership, Known<'_>)) {
        let Speaker { links, contests, roster, .. } = self;
        let Some(Segment { own, peers, .. }) = links.get_mut(&link) else { return };
        body(own, Known { contests, roster, peers });
    }

    /// Does what follows from what the peers of a link said, or did not say.
    pub(super) fn follow(&mut self, link: LinkIndex, now: Duration) {
        loop {
            let Some(segment) = self.links.get_mut(&link) else { return };
            let events = segment.peers.take_events();
            if events.is_empty() {
                break;
            }
            for event in events {
                match event {
                    Event::Standing => {}
                    Event::Claimed(station, claims) => {
                        self.with(link, |own, _| own.claimed(station, &claims));
                    }
                    Event::Replaced(station, claims) => {
                        self.with(link, |own, _| own.replaced(station, &claims));
                    }
                    Event::Gone(station) => self.with(link, |own, _| own.gone(station)),
                    Event::Send(station, mac, question) => self.ask(link, (station, mac), question, now),
                    Event::Hello(Urgency::All) => self.hasten(now),
                    Event::Hello(Urgency::Stranger(addresses)) => self.greet(link, &addresses, now),
                    Event::Hello(Urgency::One(station, mac, nonce)) => {
                        self.hello_to(link, To::One(station, mac), Some(nonce), now);
                    }
                    Event::Transport(station, by) => self.tell_transport(link, station, by),
                    Event::Frozen => self.begin_pause(now),
                }
            }
        }
        // Who stands how and who claims what are one piece of news.
        self.stand(link, false, now);
        self.with(link, |own, known| own.settle_touched(known, now));
        self.act(link, now);
    }

    pub(super) fn stand_all(&mut self, now: Duration) {
        let links: Vec<LinkIndex> = self.links.keys().copied().collect();
        for link in links {
            self.stand(link, false, now);
            self.act(link, now);
        }
    }

    /// Takes who counts on a link, and how we stand there; `anew`: also where that is the same as before.
    pub(super) fn stand(&mut self, link: LinkIndex, anew: bool, now: Duration) {
        let Some(segment) = self.links.get(&link) else { return };
        let standing = self.standing(segment, now);
        let by_api = segment.peers.is_unknown() || segment.by_api > now;
        let stale = self.stale;
        self.with(link, |own, known| {
            if anew {
                own.renumber();
            }
            own.stand(standing, stale, by_api, known, now);
            if anew {
                own.settle_all(known, now);
            }
        });
    }

    /// How we stand on a link, in the order of the lines below: ending, starting, unfit, fit.
    pub(super) fn standing(&self, segment: &Segment, now: Duration) -> Standing {
        match self.life {
            Life::Ending { away: true, .. } => Standing::Away,
            Life::Ending { away: false, .. } => Standing::Leaving,
            // Whoever began at the same moment says now that it is there.
            Life::Running if !self.informed || segment.claiming > now => Standing::Starting,
            Life::Running if self.unfit || segment.peers.is_unheard(now) => Standing::Unfit,
            Life::Running => Standing::Fit,
        }
    }

    /// Hands on what a link's addresses ask for.
    pub(super) fn act(&mut self, link: LinkIndex, now: Duration) {
        let Some(segment) = self.links.get_mut(&link) else { return };
        if segment.peers.ever() && !self.heard_on.contains(&segment.link.name) {
            self.heard_on.insert(segment.link.name.clone());
        }
        for act in segment.own.take_acts() {
            match act {
                Act::Own { address, new } => self.begin(link, address, new, now),
                Act::StandIn { address, mac } => {
                    self.announcer.desire(link, address, Some(Speak::For(mac)), now);
                }
                Act::Again(address) => {
                    self.rivals.remove(&(link, address));
                    self.announcer.announce(link, address, now);
                }
                Act::Stop(address) => self.stop(link, address, now),
                Act::StandBy(address) => self.announcer.stand_by(link, address, true),
                Act::StandDown(address) => self.announcer.stand_by(link, address, false),
            }
        }
    }

    /// Of a node that is stood in for, the proxy is asked each second.
    pub(super) fn ask_proxies(&mut self, link: LinkIndex, now: Duration) {
        let Some(segment) = self.links.get_mut(&link) else { return };
        let absent: BTreeSet<Mac> = segment.own.absent();
        if absent.is_empty() || segment.proxies + PROXIES > now {
            return;
        }
        segment.proxies = now;
        let peers = segment.peers.iter().filter(|(_, peer)| absent.contains(&peer.mac));
        for (_, peer) in peers {
            let address = peer.addresses.first();
            self.queue.extend(
                address.map(|address| Effect::AskProxy { node: peer.node.clone(), address: *address }),
            );
        }
    }
}
