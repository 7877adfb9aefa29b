//! What peers claim, and whether all of it is known.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::wire::hello::{Claim, Claims, ClaimsKind, Digest, State, StationId};

use super::peer::Parts;
use super::{Event, Peers, Question};

/// The most messages that one list of claims may take.
const MOST_PARTS: u16 = 1024;

/// A digest that nothing has: of a peer whose claims are known in part.
const UNKNOWN: Digest = Digest { count: u32::MAX, sum: u64::MAX };

impl Peers {
    /// Takes claims of somebody who counts.
    pub(super) fn learn(&mut self, station: StationId, claims: &Claims) {
        let Some(peer) = self.peers.get_mut(&station) else { return };
        match claims.kind {
            ClaimsKind::Change { before } => {
                // A change of something that we do not know is still true of the addresses that it names.
                peer.known = if peer.known == before { claims.after } else { UNKNOWN };
                peer.told = claims.after;
                self.events.push(Event::Claimed(station, claims.entries.clone()));
            }
            ClaimsKind::Whole { part, parts } if parts <= MOST_PARTS => {
                let fits = |known: &Parts| known.after == claims.after && known.of == parts;
                let mut whole = peer.parts.take().filter(fits);
                let whole_parts = whole.get_or_insert_with(|| Parts {
                    after: claims.after,
                    of: parts,
                    parts: BTreeMap::new(),
                });
                whole_parts.parts.insert(part, claims.entries.clone());
                if whole_parts.parts.len() < usize::from(parts) {
                    peer.parts = whole;
                    return;
                }
                let all: Vec<Claim> =
                    whole.into_iter().flat_map(|whole| whole.parts.into_values()).flatten().collect();
                if Digest::of(&all) == claims.after {
                    (peer.known, peer.told) = (claims.after, claims.after);
                    self.events.push(Event::Replaced(station, all));
                }
            }
            ClaimsKind::Whole { .. } => {}
        }
    }

    /// Where what a peer tells of its claims is not what is known of them, it is asked, once in an interval.
    pub(super) fn compare(&mut self, station: StationId, now: Duration) {
        let Some(peer) = self.peers.get_mut(&station) else { return };
        let lately = peer.wanted.is_some_and(|at| now < at + self.timing.interval);
        // A speaker that is away claims nothing any more, and what it owned is still known.
        let settled = peer.known == peer.told || matches!(peer.state, State::Starting | State::Away);
        if settled || lately || peer.listed <= now {
            return;
        }
        if peer.told == Digest::default() {
            peer.known = peer.told;
            self.events.push(Event::Replaced(station, Vec::new()));
            return;
        }
        peer.wanted = Some(now);
        self.events.push(Event::Send(station, peer.mac, Question::Want(peer.epoch)));
    }
}
