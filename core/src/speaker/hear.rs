//! What comes in: frames, and datagrams.

use std::net::IpAddr;
use std::time::Duration;

use crate::announce::{Answer, Frame, Ignored, LinkIndex};
use crate::peers::Transport;
use crate::wire::hello::{Body, Claim, GROUP, Message, Voice, parse_frame, parse_payload};
use crate::wire::{Mac, is_hello, ndp};

use super::{Effect, Segment, Speaker, Transports};

/// So many routine hellos may wait on a link. The socket holds 90 of the longest or more by default (`net.core.rmem_default`, 208
/// KiB, of which a frame takes 2,304 bytes at most).
const WAITING: u32 = 50;

/// Who is woken by a frame and comes to it only after this part of an interval stood still meanwhile.
const LATE: u32 = 5;

impl Speaker {
    /// Takes a frame received on `link`; `Ok` with what to send back, at once, on the same link, if anything.
    ///
    /// Steps, in the order of the lines below:
    /// 1. after a pause, what waits is out of date;
    /// 2. a hello is for the peers of that link, unless too many were forged lately;
    /// 3. the kernel of a node that was asked whether it is there answers;
    /// 4. in a pause nothing is answered;
    /// 5. the rest is the announcer's: what it says back;
    /// 6. what the frame says of other hosts is remembered.
    ///
    /// # Errors
    /// [`Ignored`] says why nothing came of it.
    pub fn handle_frame(
        &mut self,
        link: LinkIndex,
        frame: &[u8],
        now: Duration,
    ) -> Result<Option<Answer>, Ignored> {
        self.look_for_pause(now);
        if self.pause.as_ref().is_some_and(|pause| !pause.drained) {
            return Err(Ignored::OutOfDate);
        }
        if is_hello(frame) {
            return self.hear_frame(link, frame, (now, now), now).map(|()| None);
        }
        let frame = Frame::parse(frame)?;
        self.hear_kernel(link, &frame, now);
        if self.pause.is_some() {
            return Err(Ignored::OutOfDate);
        }
        let answer = self.announcer.answer(link, &frame);
        self.hear_others(link, &frame, answer.is_ok(), now);
        answer.map(Some)
    }

    /// Takes the frame of a hello that is not [routine](crate::wire::hello::Hello::routine), for which this speaker was woken when
    /// it came in at `received`.
    ///
    /// Steps, in the order of the lines below:
    /// 1. after a pause, what waits is out of date;
    /// 2. it is heard now: what its sender says next has not come yet, so it is not silent.
    ///
    /// # Errors
    /// [`Ignored`] says why nothing came of it.
    pub fn handle_hello(
        &mut self,
        link: LinkIndex,
        frame: &[u8],
        received: Duration,
        now: Duration,
    ) -> Result<(), Ignored> {
        self.look_for_pause(now);
        if self.pause.as_ref().is_some_and(|pause| !pause.drained) {
            return Err(Ignored::OutOfDate);
        }
        self.hear_frame(link, frame, (received, now), now)
    }

    /// Takes the frame of a [routine](crate::wire::hello::Hello::routine) hello that came in at `received` and waited since.
    ///
    /// Steps, in the order of the lines below:
    /// 1. after a pause, what waits is out of date;
    /// 2. so is what waited until its sender could be silent;
    /// 3. it is heard as of the time at which it came.
    ///
    /// # Errors
    /// [`Ignored`] says why nothing came of it.
    pub fn handle_waiting(
        &mut self,
        link: LinkIndex,
        frame: &[u8],
        received: Duration,
        now: Duration,
    ) -> Result<(), Ignored> {
        self.look_for_pause(now);
        if self.pause.as_ref().is_some_and(|pause| !pause.drained || received < pause.since) {
            return Err(Ignored::OutOfDate);
        }
        if received + self.config.timing.silence(self.config.timing.interval) <= now {
            return Err(Ignored::OutOfDate);
        }
        let received = received.min(now);
        // Nobody was woken by it, so that it waited says nothing.
        self.hear_frame(link, frame, (now, received), now)
    }

    /// How long routine hellos may wait at most, where that is less than until the next deadline: in a pause they are waited
    /// for, and what is heard of many must not fill a socket.
    pub fn patience(&self) -> Option<Duration> {
        let interval = self.config.timing.interval;
        if self.pause.is_some() {
            return Some(interval / 10);
        }
        let peers = self.links.values().map(|segment| segment.peers.iter().count()).max()?;
        let peers = u32::try_from(peers).unwrap_or(u32::MAX);
        (peers > WAITING).then(|| interval * WAITING / peers)
    }

    /// Takes the frame of a hello, for which this speaker was woken at `woken`, and which counts as heard at `heard`.
    fn hear_frame(
        &mut self,
        link: LinkIndex,
        frame: &[u8],
        (woken, heard): (Duration, Duration),
        now: Duration,
    ) -> Result<(), Ignored> {
        let segment = self.links.get_mut(&link).ok_or(Ignored::UnknownLink)?;
        let source = frame.get(6..12).and_then(|bytes| bytes.try_into().ok()).map(Mac);
        if !segment.admits(source, now) {
            return Err(Ignored::TooManyForged);
        }
        let read = parse_frame(frame, &self.keys).map_err(|why| {
            segment.refused(source, why);
            Ignored::RefusedHello(why)
        })?;
        if read.destination != GROUP && read.destination != segment.link.mac {
            return Err(Ignored::NotForUs);
        }
        self.hear(link, &read.message, Transport::Ethernet, (woken, heard), now);
        Ok(())
    }

    /// Takes a datagram that came from the address `from` and arrived on `link`.
    ///
    /// Steps, in the order of the lines below:
    /// 1. after a pause, what waits is out of date;
    /// 2. it counts on the link where it arrived, if it came from there: a datagram that a router passed on says nothing about
    ///    who shares the link;
    /// 3. it is read, unless too many were forged lately, and heard like a frame.
    ///
    /// # Errors
    /// [`Ignored`] says why nothing came of it.
    pub fn handle_datagram(
        &mut self,
        link: LinkIndex,
        from: IpAddr,
        payload: &[u8],
        now: Duration,
    ) -> Result<(), Ignored> {
        self.look_for_pause(now);
        if self.pause.as_ref().is_some_and(|pause| !pause.drained) {
            return Err(Ignored::OutOfDate);
        }
        let segment = self.links.get_mut(&link).ok_or(Ignored::UnknownLink)?;
        // What this node's own kernel brought did not go over the link, whatever socket it came to.
        let own = segment.link.addresses.contains(&from);
        if self.config.transports == Transports::Ethernet || own || !segment.link.reaches(from) {
            return Err(Ignored::NotOnLink);
        }
        if !segment.admits_from(from, now) {
            return Err(Ignored::TooManyForged);
        }
        let message = parse_payload(payload, &self.keys).map_err(|why| {
            segment.refused_from(from, why);
            Ignored::RefusedHello(why)
        })?;
        self.hear(link, &message, Transport::Udp, (now, now), now);
        Ok(())
    }

    /// Takes what another speaker said, for which this one was woken at `woken`, and which counts as heard at `heard`; and does
    /// what follows.
    fn hear(
        &mut self,
        link: LinkIndex,
        message: &Message,
        by: Transport,
        (woken, heard): (Duration, Duration),
        now: Duration,
    ) {
        let Some(segment) = self.links.get_mut(&link) else { return };
        segment.peers.hear_late(message, by, heard, now);
        if message.body == (Body::Want { of_epoch: self.config.epoch }) {
            self.tell_claims(link, now);
        }
        self.look_for_contradiction(link, woken, now);
        self.follow(link, now);
        self.look_for_end_of_pause(now);
    }

    /// Where another speaker claims what we have, and said so a while ago, it was us who stood still, too short for a pause, and
    /// what made it claim the address is on its way to us as well. So what we know of the API counts as out of date until it
    /// was asked, by which we give way.
    fn look_for_contradiction(&mut self, link: LinkIndex, woken: Duration, now: Duration) {
        if self.stale || now.saturating_sub(woken) < self.config.timing.interval / LATE {
            return;
        }
        let Some(Segment { own, peers, .. }) = self.links.get(&link) else { return };
        let ours = |claim: &Claim| claim.voice == Voice::Own && own.voice(claim.address) == Some(Voice::Own);
        if peers.new_claims().any(ours) {
            self.queue.push_back(Effect::CheckView);
            self.set_stale(true, now);
        }
    }

    /// A kernel's answer to a question for one of its own addresses.
    fn hear_kernel(&mut self, link: LinkIndex, frame: &Frame, now: Duration) {
        let told = match frame {
            Frame::Arp(packet) => packet.answered().map(|(host, _)| (IpAddr::V4(host.ip), host.mac)),
            Frame::Ndp(ndp::Message::Advertisement(told)) => {
                told.answered().map(|(address, mac, _)| (IpAddr::V6(address), mac))
            }
            Frame::Ndp(_) => None,
        };
        if let Some((address, mac)) = told
            && let Some(segment) = self.links.get_mut(&link)
        {
            segment.peers.kernel(mac, address, now);
        }
    }
}
