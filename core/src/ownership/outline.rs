//! What of a link's addresses decides how things go on.

use std::hash::Hasher;

use crate::outline::Outline;

use super::phase::{Others, Spot};
use super::{Ownership, dispute};

impl Ownership {
    /// Left out: whether anybody ever had an address, which only tells whether it is new in the network; what only counts; and
    /// for what we stand by, which follows from the rest.
    pub(crate) fn outline<H: Hasher>(&self, out: &mut Outline<'_, H>) {
        let Ownership {
            me,
            timing,
            field,
            spots,
            waits,
            digest,
            untold,
            touched,
            generation: _,
            acts,
            read: _,
            stand_ins: _,
            standby: _,
        } = self;
        out.put((me, field, digest, untold, touched, acts.len(), spots.len(), waits.len()));
        let none = Others::default();
        for (address, spot) in spots.iter() {
            let Spot { phase, had: _, others } = spot;
            let Others { claimants, wait, released, passed, dispute: since } =
                others.as_deref().unwrap_or(&none);
            out.put((address, phase, claimants, released, passed));
            out.put((wait.map(|(station, _)| station), since.is_some()));
            out.until(wait.map(|(_, until)| until).unwrap_or_default());
            out.since_any(*since, dispute::whole(timing));
        }
        for (at, address) in waits {
            out.put(address);
            out.until(*at);
        }
    }
}
