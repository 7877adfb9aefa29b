//! How an address is answered for on one link, and what is known of it there.

use std::time::Duration;

use crate::wire::Mac;
use crate::wire::hello::{StationId, Voice};

/// How this node answers for an address on a link.
///
/// ```text
///            elected                     another one is elected
///  Silent ───────────► Owner ◄───────────────────────────► Yielding
///    │ ▲                 ▲ └── another one claims ──┐          │ the other one claims
///    │ │                 │ the absent one is gone   ▼          ▼
///    │ └──────────────────────────────────────── Silent ◄──────┘
///    └──────► StandIn ───┘   the absent one claims again ─► Silent
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not at all.
    #[default]
    Silent,
    /// With our own Ethernet address.
    Owner,
    /// The same, until the one to whom it goes claims it.
    Yielding,
    /// With that of its owner, whose speaker is away.
    StandIn(Mac),
}

impl Phase {
    /// What is claimed.
    pub fn voice(self) -> Option<Voice> {
        match self {
            Phase::Silent => None,
            Phase::Owner | Phase::Yielding => Some(Voice::Own),
            Phase::StandIn(_) => Some(Voice::StandIn),
        }
    }
}

/// What is known of one address on one link.
#[derive(Clone, Debug, Default)]
pub(super) struct Spot {
    pub(super) phase: Phase,
    /// Whether anybody of us ever answered for it here.
    pub(super) had: bool,
    /// In a box, because of ten thousand addresses that one node owns alone hardly any has one.
    pub(super) others: Option<Box<Others>>,
}

/// What is known of those who answer for an address, or should, beside us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Others {
    /// Who else says that it answers for it, ascending.
    pub(super) claimants: Vec<(StationId, Voice)>,
    /// Who is elected and has not claimed yet, and until when that is waited for.
    pub(super) wait: Option<(StationId, Duration)>,
    /// Who claimed it last and then gave it up of its own accord.
    pub(super) released: Option<StationId>,
    /// Those who were elected, did not claim, and are passed over; and we, while our node's service proxy may not serve it yet.
    pub(super) passed: Vec<StationId>,
    /// Since when somebody else claims what is ours.
    pub(super) dispute: Option<Duration>,
}

impl Others {
    /// A station is to be passed over, or no longer.
    pub(super) fn pass_over(&mut self, station: StationId, whether: bool) {
        self.passed.retain(|passed| *passed != station);
        if whether {
            self.passed.push(station);
        }
    }

    /// What a station claims.
    pub(super) fn claims(&self, station: StationId) -> Option<Voice> {
        self.claimants.iter().find(|(known, _)| *known == station).map(|(_, voice)| *voice)
    }
}

impl Spot {
    /// What a station claims of it.
    pub(super) fn claims(&self, station: StationId) -> Option<Voice> {
        self.others.as_ref()?.claims(station)
    }

    /// Who else says that it answers for it, ascending.
    pub(super) fn claimants(&self) -> &[(StationId, Voice)] {
        self.others.as_ref().map(|others| others.claimants.as_slice()).unwrap_or_default()
    }

    /// Changes what is known of others, if anything is.
    pub(super) fn change_others(&mut self, how: impl FnOnce(&mut Others)) {
        if let Some(others) = &mut self.others {
            how(others);
            self.others.take_if(|others| **others == Others::default());
        }
    }

    /// The same, also where nothing is known yet.
    pub(super) fn with_others<T>(&mut self, how: impl FnOnce(&mut Others) -> T) -> T {
        let mut others = self.others.take().unwrap_or_default();
        let result = how(&mut others);
        self.others = Some(others).filter(|others| **others != Others::default());
        result
    }

    pub(super) fn is_empty(&self) -> bool {
        self.phase == Phase::Silent && self.claimants().is_empty()
    }
}
