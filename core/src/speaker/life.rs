//! Pauses, and the end.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::announce::LinkIndex;
use crate::wire::hello::StationId;

use super::{Effect, Segment, Speaker};

/// How long a speaker that ends goes on answering for what nobody has taken.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(500);

/// What a speaker is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Its work.
    Running,
    /// Its end: `away` where the node stays and somebody is to stand in.
    Ending { away: bool, until: Duration },
}

impl Life {
    pub(super) fn deadline(self) -> Option<Duration> {
        match self {
            Life::Running => None,
            Life::Ending { until, .. } => Some(until),
        }
    }
}

/// This speaker stood still, and does not know yet what it missed.
#[derive(Clone, Debug)]
pub(super) struct Pause {
    /// It goes on at the latest then.
    pub(super) until: Duration,
    /// Who is to be heard first.
    pub(super) awaited: BTreeSet<(LinkIndex, StationId)>,
    pub(super) since: Duration,
    /// Whether what had been received before was thrown away.
    pub(super) drained: bool,
}

impl Speaker {
    /// Whether the last hello was sent so long ago that others may have stopped waiting.
    pub(super) fn look_for_pause(&mut self, now: Duration) {
        let Some(sent) = self.hello_sent else { return };
        let late = now.saturating_sub(sent) > self.config.timing.pause();
        if late && !self.keys.is_empty() && !self.links.is_empty() {
            // Also in a pause: hellos go on in it, so this is another one.
            self.pause = None;
            self.begin_pause(now);
        }
    }

    /// Answers nothing until each peer was heard again.
    pub(super) fn begin_pause(&mut self, now: Duration) {
        if self.pause.is_some() {
            return;
        }
        let mut awaited = BTreeSet::new();
        for (link, segment) in &mut self.links {
            let speaking = segment.peers.standings().iter();
            let speaking = speaking.filter(|(_, standing)| **standing != crate::peers::Standing::Away);
            awaited.extend(speaking.map(|(station, _)| (*link, *station)));
            segment.peers.excuse(now);
        }
        // Whoever had not listened to the end begins anew: nothing was heard meanwhile.
        let (listening, half) = (now + self.config.timing.listening(), self.config.timing.interval / 2);
        let mut began = false;
        let unfinished = |segment: &&mut Segment| self.hello_sent.is_some_and(|sent| segment.claiming > sent);
        for segment in self.links.values_mut().filter(unfinished) {
            (segment.listening, segment.claiming) = (listening, listening + half);
            began = true;
        }
        (self.hello_due, self.hello_sent) = (now, Some(now));
        if !began && awaited.is_empty() && !self.links.values().any(|segment| segment.peers.ever()) {
            // Nobody was ever there who could have taken anything.
            return;
        }
        self.counts.pauses += 1;
        let until = now + self.config.timing.listening();
        self.pause = Some(Pause { until, awaited, since: now, drained: false });
        self.queue.push_front(Effect::Drain);
        self.queue.push_back(Effect::CheckView);
        self.stale = true;
        self.stand_all(now);
    }

    /// A pause is over when each peer that counted was heard since, with claims that are known; or after k intervals.
    pub(super) fn look_for_end_of_pause(&mut self, now: Duration) {
        let Some(pause) = &mut self.pause else { return };
        let (links, since) = (&self.links, pause.since);
        pause.awaited.retain(|(link, station)| {
            let peer = links.get(link).and_then(|segment| segment.peers.get(*station));
            peer.is_some_and(|peer| !peer.is_known_since(since))
        });
        if pause.drained && (pause.awaited.is_empty() || pause.until <= now) {
            self.pause = None;
            self.hello_due = now;
            self.stand_all(now);
        }
    }

    /// Whether it has listened on each of its links, so that it knows what the others have.
    pub fn has_listened(&self, now: Duration) -> bool {
        self.links.values().all(|segment| segment.claiming <= now)
    }

    /// Whether a pause is going on.
    pub fn is_paused(&self) -> bool {
        self.pause.is_some()
    }

    /// Begins to end. `away`: the node stays, and its addresses stay with it; else they go to others.
    pub fn end(&mut self, away: bool, now: Duration) {
        if self.life == Life::Running {
            self.life = Life::Ending { away, until: now + LAST_WORDS };
            self.hello_due = now;
            self.stand_all(now);
        }
    }

    /// Whether nothing is left to say: all addresses have been taken by others, or none would, or the time is over.
    pub fn is_done(&self, now: Duration) -> bool {
        match self.life {
            Life::Running => false,
            Life::Ending { until, .. } => {
                let alone = self.keys.is_empty() || self.links.values().all(|segment| !segment.peers.any());
                until <= now
                    || alone
                    || self.hello_sent.is_some_and(|sent| sent + LAST_WORDS >= until)
                        && self.links.values().all(|segment| segment.own.is_silent())
            }
        }
    }

    pub(super) fn is_ending(&self) -> bool {
        self.life != Life::Running
    }
}
