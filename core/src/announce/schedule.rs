//! When which address is announced again.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::LinkIndex;

/// The time between two rounds. It must exceed one second: a Linux neighbour entry that was just updated
/// ignores more news for `locktime` (1 s), and so do many switches.
pub const SPACING: Duration = Duration::from_millis(1_100);

/// How many rounds make one announcement: at 0, 1.1, 2.2, 3.3 and 4.4 s. A frame or two may be lost, and
/// a switch port takes a few seconds before it forwards (rapid spanning tree).
pub const ROUNDS: u8 = 5;

/// The announcements under way: for each address on each link, how many rounds are left and when the next
/// is due.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    due: BTreeMap<(Duration, LinkIndex, Ipv4Addr), u8>,
    next: BTreeMap<(LinkIndex, Ipv4Addr), Duration>,
}

impl Schedule {
    /// Announces `address` on `link` from `now` on, from the first round, also where one is under way.
    pub(super) fn start(&mut self, link: LinkIndex, address: Ipv4Addr, now: Duration) {
        self.stop(link, address);
        self.put(link, address, now, ROUNDS);
    }

    /// Announces `address` on `link` no more.
    pub(super) fn stop(&mut self, link: LinkIndex, address: Ipv4Addr) {
        if let Some(at) = self.next.remove(&(link, address)) {
            self.due.remove(&(at, link, address));
        }
    }

    /// The next round that is due at `now`, if there is one; it is then over.
    pub(super) fn pop(&mut self, now: Duration) -> Option<(LinkIndex, Ipv4Addr)> {
        let (&(at, link, address), &rounds) =
            self.due.first_key_value().filter(|((at, ..), _)| *at <= now)?;
        self.due.remove(&(at, link, address));
        self.next.remove(&(link, address));
        if rounds > 1 {
            // From now, not from when it was due: after a late call the spacing still holds.
            self.put(link, address, now + SPACING, rounds - 1);
        }
        Some((link, address))
    }

    /// When the next round is due.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.due.first_key_value().map(|((at, ..), _)| *at)
    }

    fn put(&mut self, link: LinkIndex, address: Ipv4Addr, at: Duration, rounds: u8) {
        self.due.insert((at, link, address), rounds);
        self.next.insert((link, address), at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: LinkIndex = LinkIndex(2);
    const ONE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const TWO: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// All rounds up to `until`, each taken exactly when it is due.
    fn rounds(schedule: &mut Schedule, until: Duration) -> Vec<(u128, Ipv4Addr)> {
        let mut seen = Vec::new();
        while let Some(at) = schedule.deadline().filter(|at| *at <= until) {
            let (_, address) = schedule.pop(at).expect("it is due");
            seen.push((at.as_millis(), address));
        }
        seen
    }

    #[test]
    fn five_rounds_more_than_a_second_apart_in_about_five_seconds() {
        let mut schedule = Schedule::default();
        schedule.start(LINK, ONE, ms(100));
        let expected = [100, 1200, 2300, 3400, 4500].map(|at| (at, ONE));
        assert_eq!(rounds(&mut schedule, ms(60_000)), expected);
        assert_eq!((schedule.deadline(), schedule.next.len()), (None, 0));
    }

    #[test]
    fn a_new_start_begins_anew_and_a_stop_ends() {
        let mut schedule = Schedule::default();
        schedule.start(LINK, ONE, ms(0));
        schedule.start(LINK, TWO, ms(0));
        assert_eq!(rounds(&mut schedule, ms(1100)), [(0, ONE), (0, TWO), (1100, ONE), (1100, TWO)]);
        schedule.start(LINK, ONE, ms(1500));
        schedule.stop(LINK, TWO);
        let expected = [1500, 2600, 3700, 4800, 5900].map(|at| (at, ONE));
        assert_eq!(rounds(&mut schedule, ms(60_000)), expected);
    }

    #[test]
    fn a_late_call_keeps_the_spacing() {
        let mut schedule = Schedule::default();
        schedule.start(LINK, ONE, ms(0));
        assert_eq!(schedule.pop(ms(10_000)), Some((LINK, ONE)));
        assert_eq!(schedule.pop(ms(10_000)), None);
        assert_eq!(schedule.deadline(), Some(ms(11_100)));
    }
}
