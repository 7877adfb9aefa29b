//! Links that come, go and change.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::announce::{Link, LinkIndex};
use crate::ownership::{Ownership, Station};
use crate::peers::Peers;

use super::datagrams::Tries;
use super::hello::Said;
use super::{Effect, Segment, Speaker};

impl Speaker {
    /// Takes the whole set of links that can be announced on.
    ///
    /// On a link that is new or came up again we listen for k intervals before we claim anything; not where nobody was ever
    /// heard, after the first time.
    pub fn handle_links(&mut self, links: BTreeMap<LinkIndex, Link>, now: Duration) {
        let began = self.hello_sent.is_none();
        let same = |known: &Segment, link: &Link| known.link.name == link.name && known.link.ups == link.ups;
        let there =
            |index: &LinkIndex, segment: &Segment| links.get(index).is_some_and(|link| same(segment, link));
        let gone = self.links.iter().filter(|(index, segment)| !there(index, segment));
        self.gone += gone.map(|(_, segment)| segment.own.generation() + 1).sum::<u64>();
        let gone: Vec<LinkIndex> = self
            .links
            .iter()
            .filter(|(index, segment)| !there(index, segment))
            .map(|(index, _)| *index)
            .collect();
        for link in gone {
            // Another link may have its number now: what was answered for on this one is nobody's word on that.
            if let Some(Segment { own, .. }) = self.links.remove(&link) {
                own.claims().into_keys().for_each(|address| self.stop(link, address, now));
                own.standby().iter().for_each(|address| self.announcer.stand_by(link, *address, false));
            }
            for address in self.conflicts.forget_link(link) {
                self.queue.push_back(Effect::Conflict { link, address, mac: None });
            }
            self.askers.forget_link(link);
        }
        for (index, link) in &links {
            if let Some(segment) = self.links.get_mut(index) {
                if segment.link != *link {
                    segment.link = link.clone();
                    segment.own.relink(link.mac, link.ipv6);
                    self.hello_due = now;
                }
                continue;
            }
            let station = Station {
                node: self.config.node.clone(),
                interface: link.name.as_str().into(),
                mac: link.mac,
                ipv6: link.ipv6,
            };
            let heard = self.heard_on.contains(&link.name);
            let deaf = self.keys.is_empty();
            let (listening, claiming) = if (began || heard) && !deaf {
                let listening = now + self.config.timing.listening();
                (listening, listening + self.config.timing.interval / 2)
            } else {
                (now, now)
            };
            let mut peers =
                Peers::new(station.id(), self.config.epoch, self.config.timing, self.config.stand_in_limit);
            if heard {
                peers.remember();
            }
            let own = Ownership::new(station, self.config.timing);
            let segment = Segment {
                link: link.clone(),
                peers,
                own,
                listening,
                claiming,
                by_api: Duration::ZERO,
                told: None,
                said: Said::default(),
                proxies: Duration::ZERO,
                gate: Default::default(),
                tries: Tries::new(now),
            };
            self.links.insert(*index, segment);
            self.hello_due = now;
        }
        self.announcer.handle_links(links, now);
        self.stand_all(now);
    }
}
