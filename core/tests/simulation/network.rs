//! What carries frames and datagrams, and loses them; and the client's neighbours.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ferrolb_core::announce::Frame;
use ferrolb_core::wire::arp::Operation;
use ferrolb_core::wire::{Mac, is_hello};

use crate::cluster::{CLIENT, CLIENT_AT, Cluster, Fault, Happening, Machine, Packet, Told};

/// So many hellos of the past can be replayed.
const RECORDED: usize = 400;
/// A neighbour entry that is younger is not overridden by an answer, but by an announcement (`locktime` of Linux).
const LOCKTIME: Duration = Duration::from_secs(1);

impl Cluster {
    fn delay(&mut self) -> Duration {
        let late = if self.dice.chance(self.late) { self.dice.below(30_000) } else { 0 };
        Duration::from_micros(20 + self.dice.below(300) + late)
    }

    /// Sends a frame from a port of a machine, or from the client, to all on the segment that it is for.
    pub(crate) fn send(&mut self, from: Option<(usize, usize)>, segment: usize, frame: &[u8]) {
        let to = Mac(frame[..6].try_into().unwrap());
        let sender = from.map_or(CLIENT_AT, |(at, _)| at);
        if is_hello(frame) {
            if self.is_faulty(sender, Fault::NoClaims) && frame[40] == 3 {
                return;
            }
            if self.trace {
                self.overhear(sender, segment, &to.to_string(), &frame[14..]);
            }
            self.record(segment, Packet::Frame(frame.to_vec()));
        }
        for at in 0..self.machines.len() {
            let hushed = || self.hushed.contains(&(sender, at)) || self.is_faulty(at, Fault::OneWay);
            if self.cuts.contains(&(sender, at)) || is_hello(frame) && hushed() {
                continue;
            }
            for port in 0..self.machines[at].ports.len() {
                let there = &self.machines[at].ports[port];
                let for_it = to.is_group() || to == there.mac;
                if Some((at, port)) == from
                    || !for_it
                    || there.segment != segment
                    || self.dice.chance(self.loss)
                {
                    continue;
                }
                for _ in 0..1 + u8::from(self.dice.chance(self.twice)) {
                    let delay = self.delay();
                    let packet = Packet::Frame(frame.to_vec());
                    self.schedule(self.now + delay, Happening::Arrives { at, port, packet });
                }
            }
        }
        if (to == CLIENT || to.is_group()) && sender != CLIENT_AT && !self.cuts.contains(&(sender, CLIENT_AT))
        {
            let Ok(Frame::Arp(packet)) = Frame::parse(frame) else { return };
            let has = |machine: &Machine| machine.ports.iter().any(|port| port.mac == packet.sender.mac);
            let owner = self.machines.iter().position(has).unwrap();
            if to == CLIENT {
                let key = (segment, packet.sender.ip);
                self.told.push(Told {
                    at: self.now,
                    segment,
                    address: packet.sender.ip,
                    asked: self.asked.get(&key).copied().unwrap_or_default(),
                    owner,
                    mac: packet.sender.mac,
                    by: sender,
                });
            } else if packet.sender.ip == packet.target.ip && packet.operation == Operation::Request {
                self.note(format!("{} announced by {sender} on segment {segment}", packet.sender.ip));
            }
            if !self.dice.chance(self.loss) {
                let delay = self.delay();
                self.schedule(self.now + delay, Happening::Reaches { segment, frame: frame.to_vec() });
            }
        }
    }

    fn record(&mut self, segment: usize, packet: Packet) {
        self.recorded.push_back((segment, packet));
        if self.recorded.len() > RECORDED {
            self.recorded.pop_front();
        }
    }

    /// Sends a datagram from a port of a machine to the port on its segment that has this address.
    pub(crate) fn send_datagram(&mut self, (sender, from): (usize, usize), to: IpAddr, payload: &Arc<[u8]>) {
        let (segment, source) =
            (self.machines[sender].ports[from].segment, self.machines[sender].ports[from].ip.into());
        self.datagrams += 1;
        if self.is_faulty(sender, Fault::NoClaims) && payload[26] == 3 {
            return;
        }
        if self.trace {
            self.overhear(sender, segment, &to.to_string(), payload);
        }
        self.record(segment, Packet::Datagram(source, payload.clone()));
        for at in 0..self.machines.len() {
            if self.cuts.contains(&(sender, at)) || self.is_faulty(at, Fault::OneWay) {
                continue;
            }
            for port in 0..self.machines[at].ports.len() {
                let there = &self.machines[at].ports[port];
                let for_it = there.segment == segment && to == IpAddr::V4(there.ip);
                if !for_it || self.dice.chance(self.loss) {
                    continue;
                }
                for _ in 0..1 + u8::from(self.dice.chance(self.twice)) {
                    let delay = self.delay();
                    let packet = Packet::Datagram(source, payload.clone());
                    self.schedule(self.now + delay, Happening::Arrives { at, port, packet });
                }
            }
        }
    }

    /// Frames of the past come once more.
    pub(crate) fn replay(&mut self, frames: u64) {
        self.note(format!("{frames} frames are replayed"));
        for _ in 0..frames.min(self.recorded.len() as u64) {
            let at = self.dice.below(self.recorded.len() as u64) as usize;
            let (segment, packet) = self.recorded[at].clone();
            for at in 0..self.machines.len() {
                for port in 0..self.machines[at].ports.len() {
                    let delay = Duration::from_micros(self.dice.below(20_000));
                    if self.machines[at].ports[port].segment == segment {
                        let packet = packet.clone();
                        self.schedule(self.now + delay, Happening::Arrives { at, port, packet });
                    }
                }
            }
        }
    }

    /// What a frame does to the client's neighbours, as Linux has it.
    pub(crate) fn reaches(&mut self, segment: usize, frame: &[u8]) {
        let Ok(Frame::Arp(packet)) = Frame::parse(frame) else { return };
        let (mac, address, now) = (packet.sender.mac, packet.sender.ip, self.now);
        if !self.asked.contains_key(&(segment, address)) {
            return;
        }
        let gratuitous = packet.sender.ip == packet.target.ip
            && (packet.operation == Operation::Request || packet.target.mac == mac);
        match self.cache.get_mut(&(segment, address)) {
            Some((known, since)) if *known != mac && (gratuitous || *since + LOCKTIME < now) => {
                (*known, *since) = (mac, now);
            }
            Some(_) => {}
            None if gratuitous => {}
            None => drop(self.cache.insert((segment, address), (mac, now))),
        }
    }
}
