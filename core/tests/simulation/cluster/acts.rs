//! What is done to machines.

use super::*;

impl Cluster {
    /// Starts the speaker of a machine.
    pub(crate) fn start(&mut self, at: usize) {
        self.note(format!("speaker {at} starts"));
        let (now, links) = (self.at(at), self.links(at));
        let machine = &mut self.machines[at];
        machine.epochs += 1;
        let mut speaker = Speaker::new(Config {
            node: machine.name.as_str().into(),
            epoch: machine.epochs * 1000 + at as u64,
            timing: self.timing,
            refresh: None,
            stand_in_limit: self.limit,
            conflict_detection: false,
            transports: self.transports,
        });
        speaker.set_keys(machine.keys.clone(), now);
        speaker.handle_links(links, now);
        speaker.set_unfit(!machine.fit, now);
        (machine.speaker, machine.views) = (Some(speaker), 0);
        machine.routine.clear();
        machine.news = 0;
        self.tell(at);
    }

    /// Ends the speaker of a machine without a word.
    pub(crate) fn kill(&mut self, at: usize) {
        self.note(format!("speaker {at} is killed"));
        self.machines[at].speaker = None;
        self.machines[at].waiting.clear();
        self.machines[at].frozen = None;
    }

    /// The machine loses its power.
    pub(crate) fn crash(&mut self, at: usize) {
        self.kill(at);
        self.note(format!("machine {at} dies"));
        self.machines[at].alive = false;
    }

    /// It starts again.
    pub(crate) fn boot(&mut self, at: usize) {
        self.machines[at].alive = true;
        self.start(at);
    }

    /// The speaker is stopped for so long.
    pub(crate) fn freeze(&mut self, at: usize, length: Duration) {
        self.note(format!("speaker {at} is stopped for {length:?}"));
        self.machines[at].frozen = Some(Frozen { since: self.now, until: self.now + length, whole: false });
    }

    /// The whole machine stands still, and its clock.
    pub(crate) fn suspend(&mut self, at: usize, length: Duration) {
        self.note(format!("machine {at} stands still for {length:?}"));
        self.machines[at].frozen = Some(Frozen { since: self.now, until: self.now + length, whole: true });
    }

    /// The speaker is asked to end, and does when it is done.
    pub(crate) fn end(&mut self, at: usize, away: bool) {
        self.note(format!("speaker {at} ends, away: {away}"));
        let now = self.at(at);
        if let Some(speaker) = &mut self.machines[at].speaker {
            speaker.end(away, now);
        }
        self.act(at);
    }

    /// Traffic that comes to the machine is served, or not.
    pub(crate) fn serve(&mut self, at: usize, fit: bool) {
        self.note(format!("machine {at} serves: {fit}"));
        self.machines[at].fit = fit;
        let now = self.at(at);
        if let Some(speaker) = &mut self.machines[at].speaker {
            speaker.set_unfit(!fit, now);
        }
        self.act(at);
    }

    /// A port loses its carrier, or has it again.
    pub(crate) fn plug(&mut self, at: usize, port: usize, up: bool) {
        self.note(format!("port {port} of machine {at} up: {up}"));
        let known = &mut self.machines[at].ports[port];
        known.ups += u64::from(up && !known.up);
        known.up = up;
        let (now, links) = (self.at(at), self.links(at));
        if let Some(speaker) = &mut self.machines[at].speaker {
            speaker.handle_links(links, now);
        }
        self.act(at);
    }

    /// The machine gets these keys.
    pub(crate) fn give(&mut self, at: usize, keys: Arc<Keys>) {
        let ids: Vec<String> = keys.ids().map(|id| id.to_string()).collect();
        self.note(format!("machine {at} has keys {ids:?}, current {:?}", keys.current().map(Key::id)));
        let now = self.at(at);
        self.machines[at].keys = keys.clone();
        if let Some(speaker) = &mut self.machines[at].speaker {
            speaker.set_keys(keys, now);
        }
        self.act(at);
    }

    /// The API server's news no longer reach a machine, or do again.
    pub(crate) fn cut_api(&mut self, at: usize, cut: bool) {
        self.note(format!("machine {at} is cut off from the API: {cut}"));
        self.machines[at].cut_off = cut;
        self.machines[at].cut_since = cut.then_some(self.now);
        if !cut {
            self.look(at);
        }
    }

    /// A machine's clock is ahead by so much more.
    pub(crate) fn jump(&mut self, at: usize, by: Duration) {
        self.note(format!("the clock of machine {at} jumps by {by:?}"));
        let now = self.now;
        self.machines[at].clock.jump(now, by);
    }
}
