//! Other hosts on the link: those that have an address of ours too, and those that are to learn where it is now.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::announce::{Frame, LinkIndex, Speak};
use crate::askers::{Ask, Question};
use crate::conflict::{self, Seen, Sighting, Station};
use crate::wire::hello::Voice;
use crate::wire::ndp::Message;
use crate::wire::{Mac, arp, ndp};

use super::{Effect, Sent, Speaker};

/// So long an address is new in the cluster.
pub(super) const NEW: Duration = Duration::from_secs(2);

/// An address that nobody may answer for any more (its advertisement is being replaced, say) is not new again so soon.
pub(super) const LATELY: Duration = Duration::from_secs(60);

/// A claim that was sent before an announcement may be read after it, as they come by two sockets.
const CLAIM_COMES: Duration = Duration::from_millis(5);

impl Speaker {
    /// An address became ours on a link: found out first whether somebody else has it, where it is new in the cluster; else
    /// announced at once, and those who asked for it are asked whether they have learned.
    pub(super) fn begin(&mut self, link: LinkIndex, address: IpAddr, new: bool, now: Duration) {
        // On each of its links; but not where a link comes later, or nobody else is left.
        let fresh = new && self.fresh.get(&address).is_some_and(|at| *at + NEW > now);
        if fresh && self.conflicts.probe(link, address, now) {
            self.announcer.desire(link, address, Some(Speak::Quiet), now);
            return;
        }
        self.conflicts.adopt(link, address, now);
        self.announcer.desire(link, address, Some(Speak::Own), now);
        // Where nobody of us had it, nobody has anything to unlearn.
        if !new {
            self.askers.take_over(link, &[address], now);
        }
    }

    /// An address is ours no longer on a link. A conflict about it, that was reported, is not ours either any more.
    pub(super) fn stop(&mut self, link: LinkIndex, address: IpAddr, now: Duration) {
        self.announcer.desire(link, address, None, now);
        if self.conflicts.forget(link, address) {
            self.queue.push_back(Effect::Conflict { link, address, mac: None });
        }
        self.rivals.remove(&(link, address));
        self.askers.forget(link, address);
    }

    /// Takes what a frame says of other hosts, in the order of the lines below:
    /// 1. whoever asks all for an address of ours, anybody's of us, is to be told when it moves;
    /// 2. whoever answers to an address that moved has learned it;
    /// 3. whoever uses an address of ours is in conflict with us. A node of ours that announces one without a claim runs
    ///    another load balancer: ours is announced again.
    ///
    /// `answered`: the frame asks for what is ours, and is answered. That is found by hash, and this is on the way of each answer,
    /// so nothing is looked for among all addresses that this tells.
    pub(super) fn hear_others(&mut self, link: LinkIndex, frame: &Frame, answered: bool, now: Duration) {
        let (question, answer, sighting) = match frame {
            Frame::Arp(packet) => {
                let question = Question::of_arp(packet).filter(|_| packet.destination == Mac::BROADCAST);
                let answer = packet.answered().map(|(host, asker)| (IpAddr::V4(host.ip), IpAddr::V4(asker)));
                (question, answer, Sighting::of_arp(packet))
            }
            Frame::Ndp(message @ Message::Solicitation(asked)) => {
                (Question::of_ndp(asked), None, Some(Sighting::of_ndp(message)))
            }
            Frame::Ndp(message @ Message::Advertisement(told)) => {
                let answer = told.answered().map(|(host, _, asker)| (IpAddr::V6(host), IpAddr::V6(asker)));
                (None, answer, Some(Sighting::of_ndp(message)))
            }
        };
        let known = |question: &Question| answered || self.contests.contains_key(&question.address);
        if let Some(question) = question.filter(known) {
            self.askers.heard(link, &question, now);
        }
        if let Some((client, address)) = answer
            && self.askers.answered(link, client, address, now).is_some()
        {
            self.counts.confirmed += 1;
        }
        let Some(sighting) = sighting else { return };
        self.note(link, &sighting, now);
        // Most frames are questions of clients about what is ours, and no sighting of anybody else's.
        if self.announcer.speaks(link, sighting.address).is_none() {
            debug_assert!(!self.conflicts.knows(link, sighting.address));
            return;
        }
        let links = &self.links;
        let whose = |mac: Mac| {
            if links.values().any(|segment| segment.link.mac == mac) {
                Station::Ours
            } else if links.values().any(|segment| segment.peers.iter().any(|(_, peer)| peer.mac == mac)) {
                Station::Speaker
            } else if links.values().any(|segment| segment.peers.was_heard(mac, now)) {
                Station::Silent
            } else {
                Station::Foreign
            }
        };
        let seen = self.conflicts.see(link, &sighting, whose, now);
        if let Some(Seen::Rival { address, mac }) = seen {
            self.rivals.entry((link, address)).or_default().entry(mac).or_insert(now + CLAIM_COMES);
        }
    }

    /// Those who announced what is ours and do not claim it are answered. One that does, and counts, will give way, or be right;
    /// or it will count no more, as a node that hears nobody and took itself for the last one left. Nobody would tell the
    /// clients then, so it is looked at until that is known.
    fn answer_rivals(&mut self, now: Duration) {
        let (links, again) = (&self.links, now + self.config.timing.interval / 2);
        let mut answered = Vec::new();
        self.rivals.retain(|(link, address), rivals| {
            let before = rivals.len();
            rivals.retain(|mac, at| {
                let due = *at <= now;
                let claims =
                    || links.get(link).is_some_and(|segment| segment.own.is_claimed_by(*address, *mac));
                if due && claims() {
                    *at = again;
                }
                *at > now
            });
            if rivals.len() < before {
                answered.push((*link, *address));
            }
            !rivals.is_empty()
        });
        for (link, address) in answered {
            self.conflicts.answer_rival(link, address, now);
        }
    }

    /// What is due about other hosts.
    pub(super) fn others_effect(&mut self, now: Duration) -> Option<Effect> {
        self.answer_rivals(now);
        while let Some(effect) = self.conflicts.next_effect(now) {
            match effect {
                conflict::Effect::SendProbe { link, address } => {
                    let Some(mac) = self.mac(link) else { continue };
                    let frame = match address {
                        IpAddr::V4(four) => arp::probe(mac, four).build(),
                        IpAddr::V6(six) => ndp::probe(mac, six).build(),
                    };
                    return Some(Effect::Send { link, frame, what: Sent::Probe });
                }
                conflict::Effect::Clear { link, address } => self.use_at_last(link, address, now),
                conflict::Effect::Resolved { link, address } => {
                    self.use_at_last(link, address, now);
                    return Some(Effect::Conflict { link, address, mac: None });
                }
                conflict::Effect::Over { link, address } => {
                    return Some(Effect::Conflict { link, address, mac: None });
                }
                conflict::Effect::Conflict { link, address, mac } => {
                    return Some(Effect::Conflict { link, address, mac: Some(mac) });
                }
                conflict::Effect::Defend { link, address }
                | conflict::Effect::Reannounce { link, address } => {
                    self.announce_once(link, address);
                    if let Some(effect) = self.queue.pop_front() {
                        return Some(effect);
                    }
                }
            }
        }
        while let Some(Ask { link, address, client, to }) = self.askers.next_effect(now) {
            let Some(mac) = self.mac(link) else { continue };
            let frame = match (address, client) {
                (IpAddr::V4(ours), IpAddr::V4(client)) => arp::confirmation(mac, ours, client, to).build(),
                (IpAddr::V6(ours), IpAddr::V6(client)) => ndp::confirmation(mac, ours, client, to).build(),
                _ => continue,
            };
            return Some(Effect::Send { link, frame, what: Sent::Confirmation });
        }
        None
    }

    /// Nobody else has it.
    fn use_at_last(&mut self, link: LinkIndex, address: IpAddr, now: Duration) {
        let ours =
            self.links.get(&link).is_some_and(|segment| segment.own.voice(address) == Some(Voice::Own));
        if ours {
            self.announcer.desire(link, address, Some(Speak::Own), now);
        }
    }

    /// Announces what is in use, in both forms, without a schedule.
    fn announce_once(&mut self, link: LinkIndex, address: IpAddr) {
        let Some(mac) = self.mac(link) else { return };
        let frames = match address {
            IpAddr::V4(four) => arp::announcement(mac, four).iter().map(arp::Packet::build).collect(),
            IpAddr::V6(six) => vec![ndp::announcement(mac, six).build()],
        };
        for frame in frames {
            self.queue.push_back(Effect::Send { link, frame, what: Sent::Announcement(address) });
        }
    }

    fn mac(&self, link: LinkIndex) -> Option<Mac> {
        self.links.get(&link).map(|segment| segment.link.mac)
    }

    pub(super) fn others_deadline(&self) -> Option<Duration> {
        let rivals = self.rivals.values().flat_map(BTreeMap::values).copied();
        self.conflicts.next_deadline().into_iter().chain(self.askers.next_deadline()).chain(rivals).min()
    }
}
