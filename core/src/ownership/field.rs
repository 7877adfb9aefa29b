//! The stations of one link, as the election needs them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::election::{Contest, Interfaces, NodeId, Roster};
use crate::peers::{Peers, Standing};
use crate::wire::Mac;
use crate::wire::hello::{StationId, Voice};

/// One station that stands for election: ours, or a peer's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Runner {
    interface: Box<str>,
    pub(super) station: StationId,
    standing: Standing,
    pub(super) mac: Mac,
    ipv6: bool,
    /// Whether it does not know what the API server says now.
    pub(super) stale: bool,
    /// Whether it counts only because others hear it: what it says now does not come here.
    silent: bool,
}

/// Our own station.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Me {
    pub(super) node: Box<str>,
    pub(super) interface: Box<str>,
    pub(super) station: StationId,
    pub(super) mac: Mac,
    pub(super) ipv6: bool,
    pub(super) standing: Standing,
    pub(super) stale: bool,
}

/// All of them, by node, and by interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Field {
    nodes: BTreeMap<NodeId, Vec<Runner>>,
    /// Ours, where it is the API alone that decides.
    by_api: Option<NodeId>,
    /// The nodes that own by the API's order, as nobody can hear their speakers yet. Ours is none of them.
    keyless: BTreeSet<NodeId>,
    /// The name of our link.
    interface: Box<str>,
}

/// Who is to answer for an address on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Elected {
    /// Who speaks.
    pub(super) station: StationId,
    /// For whom, where that is another one that is away; and its Ethernet address.
    pub(super) absent: Option<(StationId, Mac)>,
    /// Whether it is a fit one, from whom a claim is to be expected.
    pub(super) fit: bool,
}

/// Who says that it answers for an address.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Claims<'a> {
    /// Of the others.
    pub(super) others: &'a [(StationId, Voice)],
    /// Our own station, where it owns the address.
    pub(super) mine: Option<StationId>,
}

impl Claims<'_> {
    fn owns(&self, station: StationId) -> bool {
        self.mine == Some(station) || self.others.contains(&(station, Voice::Own))
    }
}

impl Field {
    /// The stations that count on a link. `by_api` says that nobody was ever heard there.
    pub(super) fn of(me: &Me, peers: &Peers, roster: &Roster, by_api: bool) -> Self {
        let mut nodes: BTreeMap<NodeId, Vec<Runner>> = BTreeMap::new();
        let mine = roster.id(&me.node);
        if let Some(id) = mine {
            nodes.entry(id).or_default().push(Runner {
                interface: me.interface.clone(),
                station: me.station,
                standing: me.standing,
                mac: me.mac,
                ipv6: me.ipv6,
                stale: me.stale,
                silent: false,
            });
        }
        for (station, standing) in peers.standings() {
            let Some((peer, id)) = peers.get(*station).and_then(|peer| Some((peer, roster.id(&peer.node)?)))
            else {
                continue;
            };
            nodes.entry(id).or_default().push(Runner {
                interface: peer.interface.clone(),
                station: *station,
                standing: *standing,
                mac: peer.mac,
                ipv6: peer.has_ipv6(),
                stale: peer.stale,
                silent: peer.silent,
            });
        }
        nodes.values_mut().for_each(|runners| runners.sort_by(|a, b| a.interface.cmp(&b.interface)));
        let heard = |id| nodes.get(&id).into_iter().flatten().any(|r| r.standing != Standing::Starting);
        let keyless = roster.iter().filter(|(id, member)| {
            member.keyless && member.ready && !member.unfit && Some(*id) != mine && !heard(*id)
        });
        let keyless = keyless.map(|(id, _)| id).collect();
        Field { nodes, by_api: mine.filter(|_| by_api), keyless, interface: me.interface.clone() }
    }

    /// Who is elected for `address`; `None` where nobody may, or one that cannot be heard.
    ///
    /// Steps, in the order of the lines below:
    /// 1. where nobody was ever heard, the API's order decides, among nodes that it calls `Ready`;
    /// 2. it decides for a node, too, whose speaker says by the API that it has no key yet: that one goes by it, and would not
    ///    hear that another one answers. No fit station comes before it in the order, so it is its own. Its links are taken to be
    ///    called as ours are;
    /// 3. stations on interfaces that the advertisements do not name for their node do not run, nor do those without
    ///    IPv6 for an IPv6 address;
    /// 4. a station whose speaker is away and that owned the address keeps it, if no fit one comes before it: the
    ///    elected one stands in;
    /// 5. fit before passed over, starting, unfit, leaving; then the order of the contest; then, of one node, that of the
    ///    interfaces' names;
    /// 6. where the one that is away is the only one that may answer, as with `externalTrafficPolicy: Local` and one pod, any
    ///    other station stands in: what it says leads to the absent node, so that it is not its own turn does not matter.
    ///    The fittest does, then the one with the lowest short name, in which all agree.
    pub(super) fn elect(
        &self,
        contest: &Contest,
        address: IpAddr,
        claims: Claims<'_>,
        passed: &[StationId],
        roster: &Roster,
    ) -> Option<Elected> {
        if let Some(mine) = self.by_api {
            let owner = contest.owner_by_api(roster)?;
            let names = contest.interfaces_of(owner)?;
            let runner = self.nodes.get(&owner).filter(|_| owner == mine).and_then(|runners| runners.first());
            let runner = runner.filter(|r| names.contains(&r.interface) && (address.is_ipv4() || r.ipv6))?;
            return Some(Elected { station: runner.station, absent: None, fit: true });
        }
        self.best(contest, address, claims, passed, None)
    }

    /// The station that is elected once the node `without` is gone; `None` where nobody is left, and where it is the API alone
    /// that decides.
    pub(super) fn next(
        &self,
        contest: &Contest,
        address: IpAddr,
        passed: &[StationId],
        without: NodeId,
    ) -> Option<StationId> {
        if self.by_api.is_some() {
            return None;
        }
        self.best(contest, address, Claims::default(), passed, Some(without)).map(|elected| elected.station)
    }

    /// Steps 2 to 6 of [`elect`](Self::elect), among all nodes but `without`.
    fn best(
        &self,
        contest: &Contest,
        address: IpAddr,
        claims: Claims<'_>,
        passed: &[StationId],
        without: Option<NodeId>,
    ) -> Option<Elected> {
        let mut best: Option<(Rank, Elected)> = None;
        let mut absent = None;
        for (place, id) in contest.order().iter().enumerate().filter(|(_, id)| Some(**id) != without) {
            if self.keyless.contains(id) && contest.interfaces(place).contains(&self.interface) {
                return None;
            }
            for runner in self.nodes.get(id).into_iter().flatten() {
                if !contest.interfaces(place).contains(&runner.interface)
                    || (address.is_ipv6() && !runner.ipv6)
                {
                    continue;
                }
                if runner.standing == Standing::Away {
                    if claims.owns(runner.station) && absent.is_none() {
                        absent = Some((runner.station, runner.mac));
                    }
                    continue;
                }
                let rank = rank(runner, passed);
                if best.as_ref().is_none_or(|(known, _)| rank < *known) {
                    let fit = rank == Rank::Fit;
                    best = Some((rank, Elected { station: runner.station, absent, fit }));
                }
            }
            if matches!(best, Some((Rank::Fit, _))) {
                break;
            }
        }
        let bystander = || {
            let absent = absent?;
            let others = self.nodes.values().flatten();
            let others = others.filter(|runner| {
                let ready =
                    !matches!(runner.standing, Standing::Away | Standing::Starting | Standing::Leaving);
                ready && (address.is_ipv4() || runner.ipv6)
            });
            let (rank, station) = others.map(|runner| (rank(runner, passed), runner.station)).min()?;
            Some(Elected { station, absent: Some(absent), fit: rank == Rank::Fit })
        };
        best.map(|(_, elected)| elected).or_else(bystander)
    }

    /// Whether any station that counts, or is away, may answer for an address at all.
    pub(super) fn has_runner(&self, address: IpAddr, contest: &Contest) -> bool {
        let mut places = contest.order().iter().enumerate();
        places.any(|(place, id)| {
            let mut runners = self.nodes.get(id).into_iter().flatten();
            runners.any(|r| contest.interfaces(place).contains(&r.interface) && (address.is_ipv4() || r.ipv6))
        })
    }

    /// Whether nobody was ever heard here, so that the API alone decides.
    pub(super) fn goes_by_api(&self) -> bool {
        self.by_api.is_some()
    }

    /// The stations of a node.
    pub(super) fn runners(&self, id: NodeId) -> impl Iterator<Item = &Runner> {
        self.nodes.get(&id).into_iter().flatten()
    }

    /// What is known of a station that counts.
    pub(super) fn runner(&self, station: StationId) -> Option<&Runner> {
        self.nodes.values().flatten().find(|runner| runner.station == station)
    }

    /// The node of a station.
    pub(super) fn node(&self, station: StationId) -> Option<NodeId> {
        let of =
            |(_, runners): &(&NodeId, &Vec<Runner>)| runners.iter().any(|runner| runner.station == station);
        self.nodes.iter().find(of).map(|(id, _)| *id)
    }
}

impl Runner {
    /// How it stands.
    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether it could answer for this address if it is to be on one of these interfaces.
    pub(super) fn is_able(&self, address: IpAddr, interfaces: &Interfaces) -> bool {
        interfaces.contains(&self.interface) && (address.is_ipv4() || self.ipv6)
    }

    /// Whether its claims count in a dispute: it can own anything now, and its word that it gave up would come here.
    pub(super) fn is_there(&self) -> bool {
        self.standing != Standing::Away && !self.silent
    }
}

/// In which order stations are elected. The first is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Fit,
    Passed,
    Starting,
    Unfit,
    Leaving,
}

fn rank(runner: &Runner, passed: &[StationId]) -> Rank {
    match runner.standing {
        Standing::Fit if passed.contains(&runner.station) => Rank::Passed,
        Standing::Fit => Rank::Fit,
        Standing::Starting => Rank::Starting,
        Standing::Unfit => Rank::Unfit,
        Standing::Leaving | Standing::Away => Rank::Leaving,
    }
}
