//! Time goes on, and all that happens in it.

use super::*;

impl Cluster {
    /// Takes what a speaker has to do.
    pub(crate) fn act(&mut self, at: usize) {
        if self.machines[at].frozen.is_some() {
            return;
        }
        let mut taken = 0;
        loop {
            if self.looks(at).is_some_and(|due| due <= self.now) {
                self.read(at);
            }
            let now = self.at(at);
            let Some(speaker) = &mut self.machines[at].speaker else { return };
            let Some(effect) = speaker.next_effect(now) else { break };
            taken += 1;
            if taken > 100_000 {
                self.fail("effects never end");
            }
            match effect {
                Effect::Send { frame, link, .. } => {
                    let port = self.machines[at].ports.iter().position(|port| port.link == link).unwrap();
                    let (up, segment) =
                        (self.machines[at].ports[port].up, self.machines[at].ports[port].segment);
                    if self.machines[at].alive && up {
                        self.send(Some((at, port)), segment, &frame);
                    }
                }
                Effect::Datagram { link, to, payload, .. } => {
                    let port = self.machines[at].ports.iter().position(|port| port.link == link).unwrap();
                    if self.machines[at].alive && self.machines[at].ports[port].up {
                        self.send_datagram((at, port), to, &payload);
                    }
                }
                Effect::Transport { node, interface, by, .. } => {
                    self.note(format!("{at} hears {node}/{interface} by {by:?}"));
                }
                Effect::Drain => {
                    self.machines[at].waiting.clear();
                    self.machines[at].routine.clear();
                }
                Effect::CheckView => {
                    let machine = &mut self.machines[at];
                    machine.views += 1;
                    let session = machine.epochs;
                    self.schedule(self.now + CATCH_UP, Happening::Knows { at, session });
                }
                Effect::Conflict { .. }
                | Effect::AskProxy { .. }
                | Effect::Join(..)
                | Effect::Leave(..)
                | Effect::Announcing { .. } => {}
            }
        }
        let now = self.at(at);
        if self.machines[at].speaker.as_ref().is_some_and(|speaker| speaker.is_done(now)) {
            self.note(format!("speaker {at} has ended"));
            self.machines[at].speaker = None;
        }
        let Some(speaker) = &self.machines[at].speaker else { return };
        let keyless = speaker.is_keyless(now);
        if std::mem::replace(&mut self.machines[at].keyless, keyless) != keyless {
            let write = ms(20 + self.dice.below(300));
            self.schedule(self.now + write, Happening::Says { at, keyless });
        }
    }

    pub(crate) fn arrives(&mut self, at: usize, port: usize, packet: Packet) {
        if !self.machines[at].alive || !self.machines[at].ports[port].up {
            return;
        }
        if self.machines[at].frozen.is_some_and(|frozen| frozen.whole) {
            // Its card holds few frames.
            if self.machines[at].waiting.len() < 64 {
                self.machines[at].waiting.push_back((port, packet, self.now));
            }
            return;
        }
        // The kernel's own answer.
        if let Packet::Frame(frame) = &packet
            && let Ok(Frame::Arp(question)) = Frame::parse(frame)
            && question.operation == Operation::Request
            && question.target.ip == self.machines[at].ports[port].ip
        {
            let answer = question.answer(self.machines[at].ports[port].mac).build();
            let segment = self.machines[at].ports[port].segment;
            self.send(Some((at, port)), segment, &answer);
        }
        if self.machines[at].frozen.is_some() {
            self.machines[at].waiting.push_back((port, packet, self.now));
            return;
        }
        self.handle(at, port, &packet, self.now);
    }

    /// When the speaker of a machine reads the hellos that wait, if nothing else happens.
    pub(crate) fn looks(&self, at: usize) -> Option<Duration> {
        let machine = &self.machines[at];
        let speaker = machine.speaker.as_ref()?;
        let reading = speaker.patience().map(|patience| machine.read + patience);
        let deadline = speaker.next_deadline().map(|deadline| machine.clock.when(deadline));
        reading.into_iter().chain(deadline).min()
    }

    /// The speaker of a machine reads the hellos that wait.
    pub(crate) fn read(&mut self, at: usize) {
        let now = self.at(at);
        let machine = &mut self.machines[at];
        machine.read = self.now;
        let Some(speaker) = &mut machine.speaker else { return };
        for (port, frame, came) in std::mem::take(&mut machine.routine) {
            let received = now.saturating_sub(self.now - came);
            let _ = speaker.handle_waiting(machine.ports[port].link, &frame, received, now);
        }
    }

    /// The speaker of a machine takes what came to a port then.
    pub(crate) fn handle(&mut self, at: usize, port: usize, packet: &Packet, came: Duration) {
        match packet {
            Packet::Frame(frame) if is_routine(frame) && self.machines[at].speaker.is_some() => {
                self.machines[at].routine.push_back((port, frame.clone(), came));
                return;
            }
            Packet::Frame(frame) if is_hello(frame) => self.read(at),
            _ => {}
        }
        let now = self.at(at);
        let (link, segment) = (self.machines[at].ports[port].link, self.machines[at].ports[port].segment);
        let Some(speaker) = &mut self.machines[at].speaker else { return };
        let frame = match packet {
            Packet::Datagram(from, payload) => {
                let _ = speaker.handle_datagram(link, *from, payload, now);
                return self.act(at);
            }
            Packet::Frame(frame) => frame,
        };
        if is_hello(frame) {
            let received = now.saturating_sub(self.now - came);
            let _ = speaker.handle_hello(link, frame, received, now);
            return self.act(at);
        }
        if let Ok(Some(answer)) = speaker.handle_frame(link, frame, now) {
            self.send(Some((at, port)), segment, &answer.frame);
        } else if Frame::parse(frame).is_err() {
            return;
        }
        self.act(at);
    }

    /// A machine goes on that stood still.
    pub(crate) fn thaw(&mut self, at: usize, frozen: Frozen) {
        self.note(format!("{at} goes on"));
        let held = self.is_faulty(at, Fault::NoPause);
        if frozen.whole || held {
            let now = self.now;
            self.machines[at].clock.stood(frozen.since, now);
        }
        // What waited is read in its order, where hellos have a socket of their own that is looked at first; what is due may
        // come before or after.
        if self.dice.chance(50.0) {
            self.act(at);
        }
        if !frozen.whole {
            let hello = |packet: &Packet| matches!(packet, Packet::Frame(frame) if is_hello(frame));
            self.machines[at].waiting.make_contiguous().sort_by_key(|(_, packet, _)| !hello(packet));
        }
        while let Some((port, packet, came)) = self.machines[at].waiting.pop_front() {
            if frozen.whole {
                self.arrives(at, port, packet);
            } else {
                self.handle(at, port, &packet, came);
            }
        }
        self.act(at);
    }

    /// Lets so much time pass.
    pub(crate) fn run(&mut self, length: Duration) {
        let end = self.now + length;
        let mut standing = (self.now, 0);
        loop {
            standing = if standing.0 == self.now { (self.now, standing.1 + 1) } else { (self.now, 0) };
            if standing.1 > 10_000 {
                self.fail("time stands still");
            }
            let happening = self.happenings.first_key_value().map(|((at, _), _)| *at);
            let wakes = self.machines.iter().enumerate().filter_map(|(at, machine)| {
                let time = match machine.frozen {
                    Some(frozen) => frozen.until,
                    None => self.looks(at)?,
                };
                Some((time, at))
            });
            let wake = wakes.min();
            let next = [happening, wake.map(|(time, _)| time)].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if happening == Some(next) {
                if let Some((_, happening)) = self.happenings.pop_first() {
                    self.happen(happening);
                }
            } else if let Some((_, at)) = wake {
                match self.machines[at].frozen.take() {
                    Some(frozen) => self.thaw(at, frozen),
                    None => self.act(at),
                }
            }
        }
        self.now = end;
    }

    pub(crate) fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrives { at, port, packet } => self.arrives(at, port, packet),
            Happening::Reaches { segment, frame } => self.reaches(segment, &frame),
            Happening::News { at } => match self.machines[at].frozen {
                // It is read by another thread than what came from the wire.
                Some(frozen) => {
                    let read = Duration::from_micros(1 + self.dice.below(10_000));
                    self.schedule(frozen.until + read, Happening::News { at });
                }
                None => self.tell(at),
            },
            Happening::Says { at, keyless } => {
                self.note(format!("the API says that machine {at} has no key: {keyless}"));
                self.nodes[at].keyless = keyless;
                self.roster = Arc::new(self.roster.follow(&self.nodes));
                self.spread();
            }
            Happening::Looks { at } => {
                self.look(at);
                self.schedule(self.now + Duration::from_secs(1), Happening::Looks { at });
            }
            Happening::Knows { at, session } => match self.machines[at].frozen {
                Some(frozen) => {
                    let then = frozen.until + Duration::from_micros(1);
                    self.schedule(then, Happening::Knows { at, session });
                }
                None => self.know(at, session),
            },
            Happening::Asks { segment, address } => {
                self.asked.insert((segment, address), self.now);
                let mine = Ipv4Addr::new(10, segment as u8, 0, 250);
                self.send(None, segment, &arp::request(CLIENT, mine, address).build());
                self.schedule(self.now + self.asking, Happening::Asks { segment, address });
            }
        }
    }
}
