//! From follower to leader, so that no late write of the leader before can give an address that this one gives too.
//!
//! A leader can be paused between its check of the Lease and its write, for any time; a version on a Service guards
//! that Service, not two. So:
//!
//! 1. Services are listed anew by a quorum read, and the watch goes on from that list. The picture is then at least as
//!    new as the take-over.
//! 2. After an unclean take-over each Service of ours into which an address could still be written is written to
//!    once. Whatever the leader before decided about it was decided on an older version, and fails from now on.
//! 3. Only then addresses are given.
//!
//! What the leader before may still do after that is to take something back from a Service, at the version at
//! which it had it; this one sees that, and decides anew.

use std::collections::BTreeSet;

use ferrolb_core::allocate::Grace;
use ferrolb_core::lease::Accession;
use ferrolb_core::service::{Role, ServiceKey};

use super::{Brain, Effect, Figures, Write};

/// What a controller is among its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reign {
    /// Another one leads. It watches, so that it could.
    Follower,
    /// It took over, and waits for the list of this number; `None` until that is asked for.
    Relisting {
        /// How it took over.
        accession: Accession,
        /// The list, once it is asked for.
        list: Option<u64>,
    },
    /// It writes to each of these Services once.
    Fencing {
        /// Those whose outcome is not clear yet.
        left: BTreeSet<ServiceKey>,
        /// Whether the writes are still to be sent.
        unsent: bool,
    },
    /// It decides.
    Leading,
}

impl Brain {
    /// A reign begins. What was under way in an earlier one no longer counts: the take-over makes it fail.
    pub(super) fn accede(&mut self, accession: Accession) {
        let unsettled = !self.flights.is_empty();
        self.forget_flights();
        self.grace = Grace::default();
        let accession = if unsettled { Accession::Unclean } else { accession };
        self.reign = Reign::Relisting { accession, list: None };
        #[cfg(test)]
        if self.naive {
            self.reign = Reign::Leading;
        }
    }

    /// The reign is over. Writes under way are remembered: should it be this one's turn again, it is no clean one. Figures are those
    /// of whoever leads: ours would stay as they are now.
    pub(super) fn abdicate(&mut self) {
        self.reign = Reign::Follower;
        self.figures = Figures::default();
        self.statuses.clear();
        self.world.advertised.stale = true;
    }

    fn forget_flights(&mut self) {
        self.flights.clear();
        self.world.thaw();
        self.pauses.clear();
        self.statuses.forget_turns();
    }

    /// The list of Services with the number `list` is here.
    pub(super) fn services_listed(&mut self, list: u64) {
        let Reign::Relisting { accession, list: Some(wanted) } = self.reign else { return };
        if list != wanted {
            return;
        }
        self.dirty = true;
        self.reign = match accession {
            Accession::Clean => Reign::Leading,
            Accession::Unclean => {
                let services = self.world.snapshot.services.values();
                let open = services.filter(|service| {
                    let lacks = service.held.len() < service.families.len().max(1) || service.held_is_broken;
                    service.role == Role::Ours && lacks
                });
                Reign::Fencing { left: open.map(|service| service.key.clone()).collect(), unsent: true }
            }
        };
    }

    /// The steps of a take-over that can be done now.
    pub(super) fn take_over(&mut self, effects: &mut Vec<Effect>) {
        if let Reign::Relisting { list: list @ None, .. } = &mut self.reign {
            self.lists += 1;
            *list = Some(self.lists);
            effects.push(Effect::Relist(self.lists));
        }
        if let Reign::Fencing { left, unsent } = &mut self.reign {
            if std::mem::take(unsent) {
                let mark = self.lease.version().unwrap_or_default().to_owned();
                let write = |key| Write::fence(key, self.world.service(key)?, &mark);
                let writes: Vec<Write> = left.iter().filter_map(write).collect();
                *left = writes.iter().map(|write| write.key.clone()).collect();
                for write in writes {
                    effects.push(self.launch(write));
                }
            }
            if matches!(&self.reign, Reign::Fencing { left, .. } if left.is_empty()) {
                self.reign = Reign::Leading;
                self.dirty = true;
            }
        }
    }

    /// The write to this Service came to a clear end: done, overtaken by somebody else's, or refused. A server that
    /// refuses this one refuses the same to the leader before, who writes in the same name.
    pub(super) fn fenced(&mut self, key: &ServiceKey) {
        if let Reign::Fencing { left, .. } = &mut self.reign {
            left.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_leads_no_more_shows_no_figures() {
        let mut brain = Brain::new("one", Duration::from_secs(15), None);
        brain.figures.pending = 3;
        brain.figures.pools.insert("lan".into(), [(10, 4), (0, 0)]);
        brain.abdicate();
        assert_eq!(brain.figures, Figures::default());
    }
}
