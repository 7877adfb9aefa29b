//! How late a peer is.
//!
//! A node whose processor is taken, or whose link is, says hello late before it says hello too late. So whoever is late
//! again and again is given as much more time before its silence means anything: a failure detector that adapts, but only
//! to one side, and with a bound. A peer that is in time is noticed when it dies as fast as the rules say.

use std::hash::Hasher;
use std::time::Duration;

use crate::outline::Outline;

use super::Timing;

/// How late a peer was is remembered for this long at least, and for twice as long at most.
const MEMORY: Duration = Duration::from_secs(30);

/// How late a peer was, of late.
#[derive(Clone, Debug, Default)]
pub(super) struct Late {
    /// When it was heard last, if we have listened since.
    last: Option<Duration>,
    /// When the present time to remember began; it means something only if anything is remembered.
    since: Duration,
    /// The longest two delays since then.
    present: [Duration; 2],
    /// The longest two of the time to remember before.
    past: [Duration; 2],
    /// The second longest of all of these: it is asked for each peer with each hello, and hardly ever changes.
    second: Duration,
}

impl Late {
    /// A peer that says hello each `interval` was heard at `at`. Any word of it counts, as for its silence.
    ///
    /// Only a silence in which it was in doubt counts as a delay. Shorter ones are everybody's, and so is a frame that is lost.
    /// Nor does one count that no patience would have borne: whoever was silent for so long was away, and not late. A node
    /// whose cable is pulled again and again, or whose power fails, is to be missed as soon as ever.
    ///
    /// Steps, in the order of the lines below:
    /// 1. what was longer ago than [`MEMORY`] is forgotten, a half at a time;
    /// 2. after a silence in which it could be asked and answer, and that could have been borne, the delay is what it came
    ///    later than its interval.
    pub(super) fn hear(&mut self, timing: Timing, interval: Duration, at: Duration) {
        self.forget(at);
        let last = self.last.replace(self.last.map_or(at, |last| last.max(at)));
        let Some(gap) = last.and_then(|last| at.checked_sub(last)) else { return };
        if gap <= timing.doubt(interval) + interval / 4 || gap > borne(timing, interval) {
            return;
        }
        if !self.remembers() {
            self.since = at;
        }
        self.present = longest(self.present.into_iter().chain([gap - interval]));
        self.compare();
    }

    /// We did not listen, or the peer speaks otherwise, or began anew: when it was heard last says nothing.
    pub(super) fn skip(&mut self) {
        self.last = None;
    }

    /// How much longer than others it may be silent: as long as the second longest delay, as anybody may be late once, and a
    /// frame may be lost once; and no longer than the time in which others are missed.
    pub(super) fn patience(&self, timing: Timing, interval: Duration) -> Duration {
        if self.second.is_zero() { Duration::ZERO } else { self.second.min(most(timing, interval)) }
    }

    fn compare(&mut self) {
        self.second = longest(self.present.into_iter().chain(self.past))[1];
    }

    fn remembers(&self) -> bool {
        (self.present, self.past) != Default::default()
    }

    fn forget(&mut self, now: Duration) {
        if self.remembers() && now >= self.since + MEMORY {
            self.past = if now >= self.since + MEMORY * 2 { Default::default() } else { self.present };
            self.present = Default::default();
            self.since = now;
            self.compare();
        }
    }

    /// Left out is when anything will be forgotten: that only takes away.
    pub(super) fn outline<H: Hasher>(&self, out: &mut Outline<'_, H>, timing: Timing, interval: Duration) {
        let Late { last, since: _, present, past, second: _ } = self;
        // No delay counts for more than the most that it can give.
        let most = most(timing, interval);
        out.put(longest(present.iter().chain(past).map(|delay| (*delay).min(most))));
        out.put(last.is_some());
        // One moment longer than what is borne is as good as any longer time.
        out.since_any(*last, borne(timing, interval) + Duration::from_nanos(1));
    }
}

/// The most patience that there is: the time in which others are missed.
fn most(timing: Timing, interval: Duration) -> Duration {
    interval * timing.misses
}

/// The longest silence that anybody's may be, with the most patience.
fn borne(timing: Timing, interval: Duration) -> Duration {
    timing.silence(interval) + most(timing, interval)
}

/// The longest two, the longest first.
fn longest(delays: impl Iterator<Item = Duration>) -> [Duration; 2] {
    delays
        .fold([Duration::ZERO; 2], |[first, second], delay| [first.max(delay), second.max(first.min(delay))])
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: Timing = Timing { interval: Duration::from_millis(100), misses: 3 };

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// Of one who spoke after each of these gaps.
    fn late(gaps: &[u64]) -> (Late, Duration) {
        let mut late = Late::default();
        let mut at = ms(1_000);
        late.hear(K, K.interval, at);
        for gap in gaps {
            at += ms(*gap);
            late.hear(K, K.interval, at);
        }
        (late, at)
    }

    fn patience(gaps: &[u64]) -> Duration {
        late(gaps).0.patience(K, K.interval)
    }

    #[test]
    fn who_is_in_time_gets_no_more() {
        assert_eq!(patience(&[100; 50]), ms(0));
        assert_eq!(patience(&[90, 200, 80, 225, 75, 225]), ms(0), "it was asked, and answered at once");
    }

    #[test]
    fn once_is_nothing_and_twice_gives_the_shorter() {
        assert_eq!(patience(&[100, 400, 100, 100]), ms(0));
        assert_eq!(patience(&[100, 400, 100, 260, 100]), ms(160));
        assert_eq!(patience(&[260, 100, 350, 100, 270]), ms(170), "the second longest");
    }

    #[test]
    fn it_is_never_more_than_the_time_that_others_get() {
        assert_eq!(patience(&[600, 100, 610]), ms(300));
    }

    #[test]
    fn who_was_away_was_not_late() {
        assert_eq!(patience(&[2_000, 100, 5_000, 100, 611, 100, 7_000]), ms(0));
        assert_eq!(patience(&[2_000, 100, 400, 100, 5_000, 100, 350]), ms(250), "what is late still counts");
    }

    #[test]
    fn it_is_forgotten_after_half_a_minute_to_a_minute() {
        let (mut late, from) = late(&[300, 350]);
        let mut at = from;
        let mut ended = None;
        while ended.is_none() {
            at += K.interval;
            late.hear(K, K.interval, at);
            ended = (late.patience(K, K.interval) == ms(0)).then_some(at - from);
        }
        assert!((MEMORY..=MEMORY * 2).contains(&ended.unwrap()), "{ended:?}");
    }

    #[test]
    fn who_goes_on_being_late_is_not_forgotten() {
        let mut late = Late::default();
        for n in 0..2_000_u64 {
            late.hear(K, K.interval, ms(n * 250));
            assert!(n < 2 || late.patience(K, K.interval) == ms(150), "after {n}");
        }
    }

    #[test]
    fn a_gap_in_which_we_did_not_listen_is_not_the_peers() {
        let (mut late, at) = late(&[300, 100]);
        late.skip();
        late.hear(K, K.interval, at + ms(900));
        assert_eq!(late.patience(K, K.interval), ms(0));
        late.hear(K, K.interval, at + ms(1_150));
        assert_eq!(late.patience(K, K.interval), ms(150));
    }
}
