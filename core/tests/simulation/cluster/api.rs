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

    /// From the next news on a machine's service proxy may not serve these addresses yet.
    pub(crate) fn pend(&mut self, at: usize, addresses: &[IpAddr]) {
        self.machines[at].pending.extend(addresses);
    }

    /// A machine's service proxy serves all.
    pub(crate) fn serve_all(&mut self, at: usize) {
        self.note(format!("the proxy of {at} serves all"));
        let pending = std::mem::take(&mut self.machines[at].pending);
        let last = &self.versions[self.machines[at].news];
        let changes: Vec<Change> = pending.iter().map(|address| self.change(at, *address, last)).collect();
        let now = self.at(at);
        let roster = self.roster.clone();
        if let Some(speaker) = &mut self.machines[at].speaker {
            speaker.handle_news(roster, &changes, now);
        }
        self.act(at);
    }

    /// What a machine makes of an address by this version.
    fn change(&self, at: usize, address: IpAddr, version: &Version) -> Change {
        let contest = version.get(&address).filter(|order| !order.is_empty()).map(|order| {
            let entry = |n: &usize| {
                let id = self.roster.id(&format!("node{n}")).unwrap();
                (id, self.limits.get(&(address, *n)).cloned().unwrap_or(Interfaces::All))
            };
            let contest = Contest::limited(order.iter().map(entry), Vec::new());
            Arc::new(contest.pending(self.machines[at].pending.contains(&address)))
        });
        Change { address, contest: contest.ok_or(Lost::Released) }
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
        if self.machines[at].cut_off || self.machines[at].speaker.is_none() {
            return;
        }
        let (before, after) =
            (&self.versions[self.machines[at].news], &self.versions[self.versions.len() - 1]);
        let addresses: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let changed = addresses.into_iter().filter(|address| before.get(address) != after.get(address));
        let changes: Vec<Change> = changed.map(|address| self.change(at, *address, after)).collect();
        let machine = &mut self.machines[at];
        machine.news = self.versions.len() - 1;
        let Some(speaker) = &mut machine.speaker else { return };
        speaker.handle_news(self.roster.clone(), &changes, now);
        self.act(at);
    }
}
