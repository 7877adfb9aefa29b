//! When which address is announced again.

use std::net::IpAddr;
use std::time::Duration;

use super::LinkIndex;
use crate::dense::DenseMap;

/// The time between two rounds. It must exceed one second: a Linux neighbour entry that was just updated
/// ignores more news for `locktime` (1 s), and so do many switches; and unsolicited neighbour advertisements must
/// be a second apart (RFC 4861 section 7.2.6, RetransTimer).
pub const SPACING: Duration = Duration::from_millis(1_100);

/// How many rounds make one announcement by ARP: at 0, 1.1, 2.2, 3.3 and 4.4 s. A frame or two may be lost, and
/// a switch port takes a few seconds before it forwards (rapid spanning tree).
pub const ARP_ROUNDS: u8 = 5;

/// How many rounds make one announcement by NDP (RFC 4861 section 10, MAX_NEIGHBOR_ADVERTISEMENT).
pub const NDP_ROUNDS: u8 = 3;

/// The announcements under way: for each address on each link, how many rounds are left and when the next
/// is due.
#[derive(Clone, Debug, Default)]
pub(super) struct Schedule {
    /// How long after the last round there is one more, again and again.
    refresh: Option<Duration>,
    due: DenseMap<(Duration, LinkIndex, IpAddr), u8>,
    next: DenseMap<(LinkIndex, IpAddr), Duration>,
}

impl Schedule {
    pub(super) fn new(refresh: Option<Duration>) -> Self {
        // Shorter than the spacing it would break what the spacing is for.
        Schedule { refresh: refresh.map(|every| every.max(SPACING)), ..Schedule::default() }
    }

    /// Announces `address` on `link` from `now` on, from the first round, also where one is under way.
    pub(super) fn start(&mut self, link: LinkIndex, address: IpAddr, now: Duration) {
        self.stop(link, address);
        self.put(link, address, now, if address.is_ipv4() { ARP_ROUNDS } else { NDP_ROUNDS });
    }

    /// Announces `address` on `link` no more.
    pub(super) fn stop(&mut self, link: LinkIndex, address: IpAddr) {
        if let Some(at) = self.next.remove(&(link, address)) {
            self.due.remove(&(at, link, address));
        }
    }

    /// The next round that is due at `now`, if there is one; it is then over.
    pub(super) fn pop(&mut self, now: Duration) -> Option<(LinkIndex, IpAddr)> {
        let (&(at, link, address), &rounds) = self.due.iter().next().filter(|((at, ..), _)| *at <= now)?;
        self.due.remove(&(at, link, address));
        self.next.remove(&(link, address));
        // From now, not from when it was due: after a late call the spacing still holds.
        match (rounds, self.refresh) {
            (2.., _) => self.put(link, address, now + SPACING, rounds - 1),
            (_, Some(refresh)) => self.put(link, address, now + refresh, 1),
            (_, None) => {}
        }
        Some((link, address))
    }

    /// When the next round is due.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.due.iter().next().map(|((at, ..), _)| *at)
    }

    fn put(&mut self, link: LinkIndex, address: IpAddr, at: Duration, rounds: u8) {
        self.due.insert((at, link, address), rounds);
        self.next.insert((link, address), at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const LINK: LinkIndex = LinkIndex(2);
    const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const TWO: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// All rounds up to `until`, each taken exactly when it is due.
    fn rounds(schedule: &mut Schedule, until: Duration) -> Vec<(u128, IpAddr)> {
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
    fn ndp_3_three_rounds_at_least_a_second_apart() {
        let six = IpAddr::V6(Ipv6Addr::LOCALHOST);
        let mut schedule = Schedule::default();
        schedule.start(LINK, six, ms(0));
        assert_eq!(rounds(&mut schedule, ms(60_000)), [0, 1100, 2200].map(|at| (at, six)));
    }

    #[test]
    fn arp_4_a_refresh_goes_on_until_it_is_stopped() {
        let mut schedule = Schedule::new(Some(Duration::from_secs(60)));
        schedule.start(LINK, ONE, ms(0));
        let expected = [0, 1100, 2200, 3300, 4400, 64_400, 124_400].map(|at| (at, ONE));
        assert_eq!(rounds(&mut schedule, ms(150_000)), expected);
        schedule.stop(LINK, ONE);
        assert_eq!(schedule.deadline(), None);
        let mut hasty = Schedule::new(Some(Duration::ZERO));
        hasty.start(LINK, ONE, ms(0));
        rounds(&mut hasty, ms(4400));
        assert_eq!(hasty.deadline(), Some(ms(5500)), "never closer than the spacing");
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
