//! What must hold, in a storm and after it.

use super::*;

impl Weather {
    pub(super) fn running(&self, at: usize) -> bool {
        let machine = &self.cluster.machines[at];
        machine.alive && machine.speaker.is_some()
    }

    /// The stations of a machine on a segment that may have an address, by name.
    pub(super) fn ports(&self, at: usize, segment: usize, address: Ipv4Addr) -> Vec<usize> {
        let limit = self.cluster.limits.get(&(IpAddr::V4(address), at));
        let ports = self.cluster.machines[at].ports.iter().enumerate();
        let ports = ports.filter(|(_, port)| port.up && port.segment == segment);
        let ports = ports.filter(|(_, port)| limit.is_none_or(|limit| limit.contains(&port.name)));
        ports.map(|(at, _)| at).collect()
    }

    pub(super) fn order(&self, address: Ipv4Addr) -> Vec<usize> {
        self.cluster.versions[self.cluster.versions.len() - 1]
            .get(&IpAddr::V4(address))
            .cloned()
            .unwrap_or_default()
    }

    /// The machines that could answer, best first.
    pub(super) fn fit(&self, segment: usize, address: Ipv4Addr) -> Vec<usize> {
        let order = self.order(address).into_iter();
        let there = order.filter(|at| self.running(*at) && self.cluster.machines[*at].fit);
        there.filter(|at| !self.ports(*at, segment, address).is_empty()).collect()
    }

    /// Whether anybody on the segment hears anybody: if not, the API alone decides there.
    pub(super) fn is_heard(&self, segment: usize) -> bool {
        let on = |at: &usize| {
            let ports = self.cluster.machines[*at].ports.iter();
            self.running(*at) && ports.filter(|port| port.up && port.segment == segment).count() > 0
        };
        (0..self.cluster.machines.len()).filter(on).count() > 1
    }

    pub(super) fn fail(&self, why: &str) -> ! {
        let ports = |at: usize| {
            let ports = self.cluster.machines[at].ports.iter();
            ports.map(|port| format!("{} on {}", port.name, port.segment)).collect::<Vec<_>>().join(", ")
        };
        let machines: Vec<String> = (0..self.cluster.machines.len())
            .map(|at| {
                let machine = &self.cluster.machines[at];
                let (alive, runs, fit) = (machine.alive, machine.speaker.is_some(), machine.fit);
                format!("  machine {at}: {}; alive {alive}, speaker {runs}, fit {fit}", ports(at))
            })
            .collect();
        let limits = &self.cluster.limits;
        let mut machines = machines;
        for (at, machine) in self.cluster.machines.iter().enumerate() {
            let Some(speaker) = &machine.speaker else { continue };
            for (link, peers) in speaker.peers() {
                let standing = peers.iter().map(|(station, peer)| {
                    let port = format!("{}/{}", peer.node, peer.interface);
                    (port, peers.standings().get(&station))
                });
                let standing: Vec<_> = standing.collect();
                machines.push(format!(
                    "  {at}/{link} paused {}: {standing:?} {:?}",
                    speaker.is_paused(),
                    speaker.owned(link)
                ));
            }
        }
        self.cluster.fail(&format!("seed {}: {why}\n{}\n  {limits:?}", self.seed, machines.join("\n")))
    }

    /// All is quiet: of each address on each segment, one machine answers, with one Ethernet address, and it is the right one.
    pub(super) fn check_quiet(&mut self) {
        self.cluster.run(self.quiet());
        if std::mem::take(&mut self.views_differed) {
            self.cluster.run(VIEWS);
        }
        let then = self.cluster.now;
        self.cluster.run(ms(300));
        for segment in 0..self.cluster.segments {
            for address in self.addresses.clone() {
                self.check_address(segment, address, then);
            }
        }
        self.cluster.told.clear();
        self.waking.clear();
        self.touched.clear();
        self.gusts = 0;
        self.parted = false;
    }

    pub(super) fn check_address(&mut self, segment: usize, address: Ipv4Addr, then: Duration) {
        let told = self.cluster.told.iter();
        let told = told.filter(|told| told.at >= then && told.segment == segment && told.address == address);
        let voices: BTreeSet<_> = told.map(|told| (told.owner, told.mac, told.by)).collect();
        let fit = self.fit(segment, address);
        let what = format!("{address} on segment {segment}: answers {voices:?}, in order {fit:?}");
        let heard = self.is_heard(segment);
        if voices.len() > 1 && heard {
            self.fail(&format!("{what}: one voice is enough"));
        }
        let Some((owner, mac, by)) = voices.first().copied() else {
            self.owners.remove(&(segment, address));
            if !fit.is_empty() && heard {
                self.fail(&format!("{what}: nobody answers"));
            }
            return;
        };
        self.owners.insert((segment, address), owner);
        if !heard {
            return;
        }
        let order = self.order(address);
        let place = |at: usize| order.iter().position(|known| *known == at);
        let absent = by != owner;
        if absent {
            // Somebody stands in for a node that lives without a speaker and comes first.
            let lives = self.cluster.machines[owner].alive && !self.running(owner);
            let first = fit.first().is_none_or(|first| place(owner) < place(*first));
            if !lives || !first || fit.first().is_some_and(|first| *first != by) {
                self.fail(&format!("{what}: not to be stood in for"));
            }
        } else if fit.first().is_some_and(|first| *first != owner) {
            self.fail(&format!("{what}: not the first"));
        }
        if let Some((known, _)) = self.cluster.cache.get(&(segment, address))
            && *known != mac
        {
            self.fail(&format!("{what}: the client still has {known}"));
        }
    }

    /// While things happened: nobody never for long, two never for long, three never; no answer out of date.
    pub(super) fn check_storm(&mut self, then: Duration, before: &BTreeMap<(usize, Ipv4Addr), Vec<usize>>) {
        let gusts = self.gusts.max(1);
        for segment in 0..self.cluster.segments {
            for address in self.addresses.clone() {
                let told = self.cluster.told.iter().copied().filter(|told| told.at >= then);
                let told: Vec<_> =
                    told.filter(|told| told.segment == segment && told.address == address).collect();
                let calm: Vec<usize> = before[&(segment, address)]
                    .iter()
                    .filter(|at| self.fit(segment, address).contains(at) && !self.touched.contains(at))
                    .copied()
                    .collect();
                if !calm.is_empty() && self.is_heard(segment) {
                    let mut last = then;
                    for at in told.iter().map(|told| told.at).chain([self.cluster.now]) {
                        if at - last > (NOBODY + self.patience()) * gusts {
                            let gap = at - last;
                            self.fail(&format!(
                                "{address} on segment {segment}: nobody for {gap:?} after {last:?}, while {calm:?} could"
                            ));
                        }
                        last = at;
                    }
                }
                let mut rounds: BTreeMap<Duration, BTreeSet<usize>> = BTreeMap::new();
                for told in &told {
                    rounds.entry(told.asked).or_default().insert(told.owner);
                }
                let mut since = None;
                for (at, owners) in &rounds {
                    since = if owners.len() > 1 { since.or(Some(*at)) } else { None };
                    if let Some(since) = since
                        && *at - since > TWO * gusts
                    {
                        self.fail(&format!("{address} on segment {segment}: {owners:?} since {since:?}"));
                    }
                }
                for Waking { who, woke, until, lost } in &self.waking {
                    let late = told.iter().find(|told| {
                        let when = *woke..*until;
                        told.by == *who && told.owner == *who && when.contains(&told.at)
                    });
                    if let Some(late) = late.filter(|_| lost.contains(&(segment, address))) {
                        self.fail(&format!(
                            "{who} went on at {woke:?} and gave an answer out of date: {late:?}"
                        ));
                    }
                }
            }
        }
    }
}
