//! What of a speaker decides who owns what, and when.

use std::hash::Hasher;

use crate::outline::Outline;

use super::life::{LAST_WORDS, Life, Pause};
use super::{Segment, Speaker};

impl Speaker {
    /// Two speakers of one configuration that are alike in this own the same from now on, whatever happens to both, as long
    /// as all messages come in their order and once, and no clock stands still. Effects are to be taken first.
    ///
    /// Left out beside what [`crate::peers`] and [`crate::ownership`] say: what is announced and when, who asked, what
    /// foreign hosts do, how many hellos were forged lately, when the proxies of absent nodes were asked, and whether our next hello says
    /// anything new (here each is read at once). None of these has a say in who owns an address.
    /// By which ways peers hear each other is left out too, so this is for speakers without datagrams
    /// ([`Transports::Ethernet`](super::Transports)).
    pub fn outline<H: Hasher>(&self, out: &mut Outline<'_, H>) {
        let Speaker {
            config: _,
            keys,
            sequence: _,
            roster,
            contests,
            informed,
            links,
            heard_on,
            fresh: _,
            freshest: _,
            lately: _,
            rivals: _,
            announcer: _,
            conflicts: _,
            askers: _,
            inquiry: _,
            life,
            pause,
            unfit,
            stale,
            hello_due,
            hello_sent,
            looked,
            queue,
            counts: _,
            gone: _,
        } = self;
        let now = out.now();
        keys.ids().for_each(|id| out.put(id));
        out.put((roster, contests, informed, heard_on, unfit, stale, queue.len(), links.len()));
        out.put(hello_sent.is_some());
        out.since_any(*hello_sent, self.config.timing.pause() + std::time::Duration::from_nanos(1));
        out.until(*hello_due);
        // Something that is due and was not done, as the speaker was stopped.
        out.put(self.deciding_deadline().is_some_and(|at| at <= now));
        if let Life::Ending { away, until } = life {
            out.put((away, hello_sent.is_some_and(|sent| sent + LAST_WORDS >= *until)));
            out.until(*until);
        }
        if let Some(Pause { until, awaited, since: _, drained }) = pause {
            out.put((awaited, drained));
            out.until(*until);
        }
        for (link, segment) in links {
            let Segment {
                link: what,
                peers,
                own,
                listening,
                claiming,
                by_api,
                told,
                said: _,
                proxies: _,
                tries: _,
                gate: _,
            } = segment;
            out.put((link, what));
            out.put((*listening > *looked, hello_sent.is_some_and(|sent| *claiming > sent)));
            out.until(*listening);
            out.until(*claiming);
            out.until(*by_api);
            out.since_any(*told, self.config.timing.interval / 2);
            peers.outline(out, pause.as_ref().map(|pause| pause.since));
            own.outline(out);
        }
    }
}
