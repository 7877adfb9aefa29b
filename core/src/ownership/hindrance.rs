//! Why a node that the API names first does not answer for an address: for the log and the metrics, nothing follows from it.

use std::fmt;
use std::net::IpAddr;

use crate::election::{Contest, NodeId, Roster};
use crate::peers::Standing;

use super::field::Field;

/// What keeps a node from answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hindrance {
    /// No hello of its speaker comes in.
    Unheard,
    /// It was elected and claimed nothing in time.
    Passed,
    /// Its speaker only begins to listen.
    Starting,
    /// Traffic would end there: its service proxy fails, or nobody hears its speaker.
    Unfit,
    /// Its speaker ends for good.
    Leaving,
    /// Its speaker ended, and the time for which others stand in is over.
    Away,
    /// It has no interface here that the advertisements name, or none with IPv6 for an IPv6 address.
    NoInterface,
    /// Nobody was ever heard here, and the API says that it is not Ready, or that traffic would end there.
    NotReady,
}

impl Hindrance {
    /// In one word, for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Hindrance::Unheard => "unheard",
            Hindrance::Passed => "passed_over",
            Hindrance::Starting => "starting",
            Hindrance::Unfit => "unfit",
            Hindrance::Leaving => "leaving",
            Hindrance::Away => "away",
            Hindrance::NoInterface => "no_interface",
            Hindrance::NotReady => "not_ready",
        }
    }
}

/// What is to be said of the node: `node1 …`.
impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hindrance::Unheard => "is not heard",
            Hindrance::Passed => "did not claim it in time",
            Hindrance::Starting => "only starts",
            Hindrance::Unfit => "is unfit, as its service proxy fails or nobody hears it",
            Hindrance::Leaving => "is leaving",
            Hindrance::Away => "has had no speaker for too long",
            Hindrance::NoInterface => "has no interface for it",
            Hindrance::NotReady => "is not Ready",
        })
    }
}

impl Field {
    /// The nodes before `me` in the order, each with what keeps it from answering for `address`.
    pub(super) fn before<'a>(
        &'a self,
        me: NodeId,
        address: IpAddr,
        contest: &'a Contest,
        roster: &'a Roster,
    ) -> impl Iterator<Item = (NodeId, Hindrance)> + 'a {
        let places = contest.order().iter().copied().enumerate();
        let before = places.take_while(move |(_, id)| *id != me).filter(|(_, id)| roster.get(*id).is_some());
        before.map(move |(place, id)| (id, self.hindrance(place, id, address, contest)))
    }

    fn hindrance(&self, place: usize, id: NodeId, address: IpAddr, contest: &Contest) -> Hindrance {
        if self.goes_by_api() {
            return Hindrance::NotReady;
        }
        let mut heard = self.runners(id).peekable();
        if heard.peek().is_none() {
            return Hindrance::Unheard;
        }
        let able = heard.filter(|runner| runner.is_able(address, contest.interfaces(place)));
        let standings = able.map(|runner| match runner.standing() {
            // Else it would have been elected.
            Standing::Fit => Hindrance::Passed,
            Standing::Starting => Hindrance::Starting,
            Standing::Unfit => Hindrance::Unfit,
            Standing::Leaving => Hindrance::Leaving,
            Standing::Away => Hindrance::Away,
        });
        standings.min().unwrap_or(Hindrance::NoInterface)
    }
}
