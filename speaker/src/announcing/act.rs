//! What goes out: frames and datagrams, groups joined and left, and what is told and asked beside.

use std::io;
use std::time::Duration;

use ferrolb_core::announce::{Link, LinkIndex};
use ferrolb_core::peers::Transport;
use ferrolb_core::speaker::{Effect, Sent};

use crate::socket::Datalink;

use super::{Announcing, AskedFor};

/// How many frames are sent, or groups joined, before anything else is looked at.
const DUE: usize = 32;

impl<D: Datalink> Announcing<D> {
    /// Does what is due, but not more than `DUE` steps; whether there may be more.
    pub(super) fn act(&mut self, clock: fn() -> Duration) -> bool {
        for _ in 0..DUE {
            // Anew each time: a program that was stopped here must not say what it was about to say.
            let now = clock();
            match self.speaker.next_effect(now) {
                Some(Effect::Send { link, frame, what }) => match self.ports.send(link, &frame) {
                    Ok(()) => match what {
                        Sent::Announcement(address) => self.metrics.announced(address),
                        what => self.metrics.said(what),
                    },
                    Err(error) => self.not_sent(link, error, now),
                },
                Some(Effect::Datagram { link, to, payload, what }) => {
                    match self.ports.send_datagram(link, to, &payload) {
                        Ok(()) => self.metrics.said_by_datagram(what),
                        // That was told when it was not opened.
                        Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                        Err(error) => {
                            let interface = self.name(link);
                            tracing::debug!(interface, %to, %error, "a datagram was not sent");
                            self.metrics.socket_failed(interface);
                        }
                    }
                }
                Some(Effect::Transport { link, node, interface, by }) => {
                    self.tell_transport(link, &node, &interface, by);
                }
                Some(Effect::Join(link, group)) => {
                    if let Err(error) = self.ports.join(link, group) {
                        let interface = self.name(link);
                        tracing::warn!(interface, %group, %error, "cannot join the solicited-node group");
                        self.metrics.group_failed(interface);
                    }
                }
                Some(Effect::Leave(link, group)) => self.ports.leave(link, group),
                Some(Effect::Announcing { address, links }) => {
                    let name = |link| self.links.get(link).map(|link: &Link| link.name.as_str());
                    let names = links.iter().filter_map(name).collect();
                    self.report.announcing(address, &names, &self.speaker, now);
                }
                Some(Effect::Conflict { link, address, mac }) => {
                    let interface = self.name(link).to_owned();
                    self.report.conflict((link, &interface), address, mac, self.speaker.contest(address));
                }
                Some(Effect::Drain) => {
                    tracing::info!(
                        "this speaker stood still for a while; what came in meanwhile is thrown away"
                    );
                    self.ports.drain();
                }
                Some(Effect::CheckView) => {
                    self.views += 1;
                    let _ = self.questions.send(AskedFor::View);
                }
                Some(Effect::AskProxy { node, address }) => {
                    let _ = self.questions.send(AskedFor::Proxy(node, address));
                }
                None => {
                    self.look_around();
                    return false;
                }
            }
        }
        true
    }

    /// A peer is heard by another way than before.
    fn tell_transport(&self, link: LinkIndex, node: &str, peer: &str, by: Transport) {
        let interface = self.name(link);
        match by {
            Transport::Udp if self.datagrams_alone => {}
            Transport::Udp => tracing::info!(
                interface,
                node,
                peer,
                "hellos come by UDP, as no Ethernet frame of that speaker did lately: the network drops ethertype 0x88b5, or multicast"
            ),
            Transport::Ethernet => tracing::info!(interface, node, peer, "hellos come by Ethernet again"),
        }
        self.metrics.peers(&self.speaker, &self.links);
    }

    /// Who counts may have changed, and with that, for whom a link is missing.
    fn look_around(&mut self) {
        let generation = self.speaker.generation();
        if std::mem::replace(&mut self.generation, generation) == generation {
            return;
        }
        let lacking = self.report.lacking();
        for address in self.speaker.limited().chain(lacking).collect::<Vec<_>>() {
            self.report.look_for_lack(address, &self.speaker);
        }
        self.report.look_for_absent(&self.speaker);
        self.metrics.peers(&self.speaker, &self.links);
    }

    /// The asker asks again and an announcement is repeated, so what the kernel does not take now (a full queue, a link
    /// that has just gone down) is let go.
    fn not_sent(&mut self, link: LinkIndex, error: io::Error, now: Duration) {
        let interface = self.name(link);
        tracing::debug!(interface, %error, "a frame was not sent");
        self.handle_received(link, Err(error), now);
    }
}
