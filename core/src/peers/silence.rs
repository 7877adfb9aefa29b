//! Silence: who is asked, who is away, who is gone, and how all stand.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::wire::Mac;
use crate::wire::hello::{State, StationId};

use super::{ASKS, Event, MOST_PEERS, Peer, Peers, Question, Standing};

impl Peers {
    /// The kernel of a node answered: the sender of an ARP reply or a neighbour advertisement for the node's own
    /// address has this Ethernet address.
    pub fn kernel(&mut self, mac: Mac, address: IpAddr, now: Duration) {
        for peer in self.peers.values_mut() {
            if peer.mac == mac && peer.addresses.contains(&address) {
                peer.kernel = now;
            }
        }
    }

    /// This node stood still: nobody's silence so far means anything.
    pub fn excuse(&mut self, now: Duration) {
        for peer in self.peers.values_mut() {
            (peer.heard, peer.asked) = (peer.heard.max(now), 0);
            peer.kernel = peer.kernel.max(now);
            peer.ways.excuse(now);
            peer.late.skip();
            peer.listed = peer.listed.max(now + self.timing.silence(peer.interval));
        }
        self.next = self.compute_deadline(now);
    }

    /// A node that is stood in for does not serve any more: its proxy says so.
    pub fn fail(&mut self, node: &str, now: Duration) {
        let failed = self.peers.iter().filter(|(_, peer)| peer.away.is_some() && &*peer.node == node);
        let failed: Vec<StationId> = failed.map(|(station, _)| *station).collect();
        failed.into_iter().for_each(|station| self.remove(station));
        self.tick(now);
    }

    /// Does what time asks for; to be called at [`deadline`](Self::deadline), and harmless at any other time.
    ///
    /// For each peer, in the order of the lines below:
    /// 1. in doubt, it is asked [`ASKS`] times in an interval, and its node's kernel each time;
    /// 2. silent, for longer where it came late before, it is away if the kernel answered in the meantime, and gone if not;
    /// 3. away, the kernel is asked each interval; after k intervals of its silence, or after the limit, it is gone.
    pub fn tick(&mut self, now: Duration) {
        let timing = self.timing;
        let mut gone = Vec::new();
        for (station, peer) in &mut self.peers {
            let interval = peer.interval;
            let doubt = peer.heard + timing.doubt(interval);
            if peer.fades.is_some_and(|at| at <= now) {
                peer.look_for_fading(now);
            }
            if peer.state == State::Away && peer.away.is_none() && !peer.listed.is_zero() {
                (peer.away, peer.kernel) = (Some(now), now);
            }
            if peer.away.is_none() {
                let due = doubt + interval * peer.asked / ASKS;
                if peer.asked < peer.asks(timing) && due <= now {
                    if peer.asked == 0 {
                        peer.asked_at = now;
                    }
                    peer.asked += 1;
                    self.events.push(Event::Send(*station, peer.mac, Question::Ask));
                    let kernel = peer.addresses.first();
                    self.events.extend(
                        kernel.map(|address| Event::Send(*station, peer.mac, Question::Kernel(*address))),
                    );
                }
            }
            let silent = peer.is_silent(timing, now);
            self.generation += u64::from(std::mem::replace(&mut peer.silent, silent) != silent);
            if silent && peer.away.is_none() {
                // What the kernel answered since it was asked counts; what it said before does not.
                if peer.kernel >= doubt && peer.known.count > 0 {
                    peer.away = Some(now);
                    peer.kernel_asked = now;
                } else {
                    gone.push(*station);
                }
            }
            if let Some(since) = peer.away {
                let speaks = peer.heard + peer.silence(timing) > now && peer.state != State::Away;
                if !speaks && peer.kernel_asked + timing.interval <= now {
                    peer.kernel_asked = now;
                    let kernel = peer.addresses.first();
                    self.events.extend(
                        kernel.map(|address| Event::Send(*station, peer.mac, Question::Kernel(*address))),
                    );
                }
                let silent =
                    !speaks && peer.kernel + timing.silence(timing.interval) + peer.patience(timing) <= now;
                if silent || since + self.limit <= now {
                    gone.push(*station);
                }
            }
        }
        self.forget(gone, now);
        self.compare_standings(now);
        self.next = self.compute_deadline(now);
    }

    /// Forgets who is gone, unless somebody who counts still hears it.
    pub(super) fn forget(&mut self, gone: Vec<StationId>, now: Duration) {
        for station in gone {
            let away = self.peers.get(&station).is_some_and(|peer| peer.away.is_some());
            if away || !self.is_vouched(station, now) {
                self.remove(station);
            }
        }
    }

    /// It is not there any more, and claims nothing: should it return, it is new, and only its claims of then count. Its
    /// standing need not change by that, if it did not count before.
    pub(super) fn remove(&mut self, station: StationId) {
        if let Some(peer) = self.peers.remove(&station) {
            if self.past.len() >= MOST_PEERS {
                self.past.pop_first();
            }
            self.past.insert(station, peer.past());
            self.generation += 1;
        }
        self.events.push(Event::Gone(station));
    }

    /// Whether somebody says now that it hears `station`, and that it is heard there. It need not hear us any more, as long as
    /// it did in its session and ours: a node that nobody hears must not take itself for the only one.
    pub(super) fn is_vouched(&self, station: StationId, now: Duration) -> bool {
        let knows = |peer: &Peer| self.speaks(peer, now) && !peer.listed.is_zero();
        let others = self.peers.iter().filter(|(id, peer)| **id != station && knows(peer));
        let mut words = others.filter_map(|(_, peer)| peer.hears.get(&station));
        words.any(|(until, mutual)| *mutual && *until > now)
    }

    /// Whether it is heard.
    pub(super) fn speaks(&self, peer: &Peer, now: Duration) -> bool {
        !peer.is_silent(self.timing, now)
    }

    /// Whether it is heard, and hears us.
    pub(super) fn counts(&self, peer: &Peer, now: Duration) -> bool {
        // While it may still answer, what it said of us last counts as long as it would have.
        let said = peer.heard + self.timing.silence(peer.interval) - Duration::from_nanos(1);
        self.speaks(peer, now) && peer.listed > now.min(said)
    }

    /// How each station but ours stands; those that do not count are left out.
    pub(super) fn compute_standings(&self, now: Duration) -> BTreeMap<StationId, Standing> {
        let mut standings = BTreeMap::new();
        for (station, peer) in &self.peers {
            let counts = self.counts(peer, now);
            let standing = match (peer.away, peer.state) {
                (Some(_), _) => Standing::Away,
                _ if !counts && !self.is_vouched(*station, now) => continue,
                (None, State::Leaving) => Standing::Leaving,
                (None, _) if peer.unfit => Standing::Unfit,
                (None, State::Starting) => Standing::Starting,
                (None, _) if peer.suspended => Standing::Starting,
                (None, _) => Standing::Fit,
            };
            standings.insert(*station, standing);
        }
        standings
    }

    pub(super) fn compare_standings(&mut self, now: Duration) {
        let standings = self.compute_standings(now);
        let speaking = || self.peers.values().filter(|peer| peer.away.is_none() && self.speaks(peer, now));
        let lonely = speaking().next().is_some() && speaking().all(|peer| peer.listed <= now);
        self.unheard = if lonely { self.unheard.or(Some(now)) } else { None };
        if standings != self.standings {
            self.standings = standings;
            self.generation += 1;
            self.events.push(Event::Standing);
        }
    }

    pub(super) fn compute_deadline(&self, now: Duration) -> Option<Duration> {
        let timing = self.timing;
        // What one hears of another matters only where we do not hear that one ourselves.
        let vouching = self.peers.values().any(|peer| peer.away.is_none() && !self.counts(peer, now));
        let of = |peer: &Peer| {
            let silence = peer.heard + peer.silence(timing);
            let answer = (peer.asked > 0).then(|| peer.asked_at + peer.interval / ASKS);
            let asks = peer.heard + timing.doubt(peer.interval) + peer.interval * peer.asked / ASKS;
            let away = peer.away.map(|since| {
                let kernel = peer.kernel + timing.silence(timing.interval) + peer.patience(timing);
                kernel.min(since + self.limit).min(peer.kernel_asked + timing.interval)
            });
            let hears = peer.fades.filter(|until| vouching && *until > now);
            let asks = (peer.asked < peer.asks(timing) && peer.away.is_none()).then_some(asks);
            let all = [Some(silence), answer, (peer.listed > now).then_some(peer.listed), asks, away, hears];
            let next = all.into_iter().flatten().filter(|at| *at > now).min();
            // Something that is due and was not done is looked at once more in an interval.
            next.unwrap_or(now + timing.interval)
        };
        let unheard = self.unheard.map(|since| since + timing.listening()).filter(|at| *at > now);
        self.peers.values().map(of).chain(unheard).min()
    }
}
