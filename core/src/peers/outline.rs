//! What of the peers decides how things go on.

use std::hash::Hasher;
use std::time::Duration;

use crate::outline::Outline;

use super::peer::{Parts, Past};
use super::{ASKS, Peer, Peers, Timing};

impl Peers {
    /// Left out: numbers of messages, which only tell replays and late ones from others; the times of two clocks, which
    /// only tell whether ours stood still; and what is known of who is gone, which only tells them from foreign hosts.
    /// `paused` is since when this speaker has been waiting for its peers, if it does.
    pub(crate) fn outline<H: Hasher>(&self, out: &mut Outline<'_, H>, paused: Option<Duration>) {
        let Peers {
            me,
            epoch,
            timing,
            limit,
            peers,
            past,
            ever,
            slice,
            unheard,
            standings,
            events,
            next,
            generation: _,
        } = self;
        out.put((me, ever, slice, standings, events.len(), peers.len(), past.len()));
        out.epoch(*epoch);
        out.put(unheard.is_some());
        out.since_any(*unheard, timing.listening());
        out.put(next.is_some());
        out.until(next.unwrap_or_default());
        for (station, peer) in peers {
            out.put(station);
            peer.outline(out, *timing, *limit, paused);
        }
        for (station, Past { epoch, sequence: _, retired, late, mac: _, heard: _ }) in past {
            out.put((station, retired.len()));
            late.outline(out, *timing, timing.interval);
            out.epoch(*epoch);
            retired.iter().for_each(|epoch| out.epoch(*epoch));
        }
    }
}

impl Peer {
    fn outline<H: Hasher>(
        &self,
        out: &mut Outline<'_, H>,
        timing: Timing,
        limit: Duration,
        paused: Option<Duration>,
    ) {
        let Peer {
            node,
            interface: _,
            mac,
            addresses,
            loaded,
            state,
            unfit,
            stale,
            suspended,
            epoch,
            sequence: _,
            retired,
            interval,
            heard,
            silent,
            clocks: _,
            greeted,
            listed,
            hears,
            fades: _,
            asked,
            asked_at,
            kernel,
            kernel_asked,
            away,
            told,
            known,
            wanted,
            parts,
            ways: _,
            late,
        } = self;
        out.put((node, mac, addresses, loaded, state, unfit, stale, suspended, interval, asked));
        out.put((silent, told, known, retired.len(), paused.is_some_and(|since| *greeted > since)));
        out.epoch(*epoch);
        retired.iter().for_each(|epoch| out.epoch(*epoch));
        out.since(*heard, self.silence(timing));
        late.outline(out, timing, *interval);
        // That it was listed once counts for good.
        out.put(listed.is_zero());
        out.until(*listed);
        let now = out.now();
        for (station, (until, mutual)) in hears.iter().filter(|(_, (until, _))| *until > now) {
            out.put((station, mutual));
            out.until(*until);
        }
        out.put(*kernel >= *heard + timing.doubt(*interval));
        out.since(*kernel, timing.silence(timing.interval) + self.patience(timing));
        if *asked > 0 {
            out.since(*asked_at, *interval / ASKS);
        }
        out.since(*kernel_asked, timing.interval);
        out.put(away.is_some());
        out.since_any(*away, limit);
        out.since_any(*wanted, timing.interval);
        if let Some(Parts { after, of, parts }) = parts {
            out.put((after, of, parts));
        }
    }
}
