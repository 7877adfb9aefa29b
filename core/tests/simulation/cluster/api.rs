//! What the API says, and who hears of it.

use super::*;

impl Cluster {
    /// Whether its view is out of date is asked each second.
    pub(crate) fn watch(&mut self) {
        for at in 0..self.machines.len() {
            self.schedule(self.now, Happening::Looks { at });
        }
    }

    pub(crate) fn look(&mut self, at: usize) {
        if self.machines[at].frozen.is_some() {
            return;
        }
        let now = self.at(at);
        let (cut_off, since) = (self.machines[at].cut_off, self.machines[at].cut_since);
        let stale = cut_off && since.is_none_or(|since| since + Duration::from_secs(5) <= self.now);
        let awaited = self.machines[at].views > 0;
        let Some(speaker) = &mut self.machines[at].speaker else { return };
        // After a pause only the answer to the question that was asked then counts.
        if !awaited && (stale || !cut_off) {
            speaker.set_stale(stale, now);
        }
        self.tell(at);
    }

    /// The API was read after a pause, and the watches had their time to show what waited.
    pub(crate) fn know(&mut self, at: usize, session: u64) {
        let now = self.at(at);
        let machine = &mut self.machines[at];
        let Some(speaker) = machine.speaker.as_mut().filter(|_| machine.epochs == session) else { return };
        machine.views -= 1;
        if machine.views == 0 && !machine.cut_off {
            speaker.set_stale(false, now);
        }
        self.tell(at);
    }

    /// From now on the API says this: for each address its nodes in order.
    pub(crate) fn publish(&mut self, version: Version) {
        self.note(format!("the API says {version:?}"));
        self.versions.push(version);
        self.spread();
    }

    /// The news come to each machine after a while.
    pub(crate) fn spread(&mut self) {
        for at in 0..self.machines.len() {
            let delay = Duration::from_micros(self.dice.below(self.lag * 1000));
            self.schedule(self.now + delay, Happening::News { at });
        }
    }

    /// Tells a speaker what the API says.
    pub(crate) fn tell(&mut self, at: usize) {
        let now = self.at(at);
        let machine = &mut self.machines[at];
        if machine.cut_off {
            return;
        }
        let Some(speaker) = &mut machine.speaker else { return };
        let (before, after) = (&self.versions[machine.news], &self.versions[self.versions.len() - 1]);
        let mut changes = Vec::new();
        for address in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
            if before.get(address) == after.get(address) {
                continue;
            }
            let contest = after.get(address).filter(|order| !order.is_empty()).map(|order| {
                let entry = |n: &usize| {
                    let id = self.roster.id(&format!("node{n}")).unwrap();
                    (id, self.limits.get(&(*address, *n)).cloned().unwrap_or(Interfaces::All))
                };
                Arc::new(Contest::limited(order.iter().map(entry), Vec::new()))
            });
            changes.push(Change { address: *address, contest: contest.ok_or(Lost::Released) });
        }
        machine.news = self.versions.len() - 1;
        speaker.handle_news(self.roster.clone(), &changes, now);
        self.act(at);
    }
}
