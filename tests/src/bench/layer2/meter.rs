//! Questions at full speed, at a pace, and a flood of what concerns nobody.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::bench::wire::Wire;

use super::frames::{ASKERS, Flood, Protocol, question};

/// The link of a client in the lab's LAN.
const LINK: &str = "eth0";

/// So many questions are open at most. More would not fit into a socket's usual buffer (`net.core.rmem_default`).
const WINDOW: usize = 128;

/// So many frames go to the kernel in one call.
const BATCH: usize = 32;

/// Questions that were not answered within that are lost.
const LOST: Duration = Duration::from_millis(50);

/// The pace at which latency is measured: 1,000 questions a second.
pub(super) const PACE: Duration = Duration::from_millis(1);

/// How long the last answers may take.
const LAST: Duration = Duration::from_millis(50);

/// A flood sleeps that long when it is ahead of its pace.
const BREATH: Duration = Duration::from_micros(100);

/// What came of questions at full speed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rate {
    /// Answers a second.
    pub(super) answers: f64,
    /// Questions without an answer.
    pub(super) lost: usize,
}

/// Asks for these addresses in turn with [`WINDOW`] questions open, for so long.
///
/// The generator and who answers share the machine; a flood without a window would take the processor from those who
/// answer, and measure that.
pub(super) fn saturate(addresses: &[IpAddr], time: Duration) -> io::Result<Rate> {
    let protocol = protocol(addresses)?;
    let wire = Wire::open(LINK, protocol.ethertype())?;
    let frames: Vec<Vec<u8>> =
        addresses.iter().map(|address| question(wire.mac, 0, *address)).collect::<io::Result<_>>()?;
    let is_answer = |frame: &[u8]| protocol.answered(frame, wire.mac).is_some();
    let started = Instant::now();
    let (mut next, mut open, mut asked, mut answers, mut lost) = (0, 0usize, 0, 0, 0);
    while started.elapsed() < time {
        let room = (WINDOW - open).min(BATCH).min(frames.len() - next);
        // Half a batch is waited for: single frames would cost a call each.
        if room >= (BATCH / 2).min(frames.len() - next) {
            let sent = wire.send(&frames[next..next + room])?;
            next = (next + sent) % frames.len();
            open += sent;
            asked += sent;
        }
        let came = wire.count(BATCH, is_answer)?;
        answers += came;
        // Answers to questions that were given up may still come.
        open = open.saturating_sub(came);
        if came == 0 && open + BATCH / 2 > WINDOW && !wire.wait(LOST)? {
            lost += open;
            open = 0;
        }
    }
    // Twice the answers would look like twice the speed.
    if answers > asked {
        return Err(io::Error::other(format!(
            "{answers} answers came to {asked} questions for {}…: two answer, or one twice",
            addresses[0]
        )));
    }
    Ok(Rate { answers: answers as f64 / started.elapsed().as_secs_f64(), lost })
}

/// Asks for these addresses in turn, one question each [`PACE`] or a little more, for so long; returns how long each answer took, and
/// `None` for a question without one.
///
/// From the call that sends the question to the time at which this host's kernel got the answer: twice the way
/// through the switch and all that the answering host did, but not how long this program takes to wake up.
pub(super) fn paced(addresses: &[IpAddr], time: Duration) -> io::Result<Vec<Option<Duration>>> {
    let protocol = protocol(addresses)?;
    let wire = Wire::open(LINK, protocol.ethertype())?.with_times()?;
    let mut open = Open::default();
    let started = Instant::now();
    let mut due = started;
    for number in 0.. {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let now = Instant::now();
        if now.duration_since(started) >= time {
            break;
        }
        // A generator that did not run for a while must not make up for it by a burst.
        due = now.max(due) + PACE;
        open.take(&wire, protocol)?;
        let frame = question(wire.mac, number, addresses[number % addresses.len()])?;
        let asked = SystemTime::now();
        if wire.send(&[frame])? == 1 {
            open.ask(asked);
        }
    }
    let end = Instant::now() + LAST;
    while open.waiting() > 0 && Instant::now() < end {
        wire.wait(end.saturating_duration_since(Instant::now()))?;
        open.take(&wire, protocol)?;
    }
    Ok(open.times)
}

/// The questions that were asked at a pace.
#[derive(Debug, Default)]
struct Open {
    asked: Vec<SystemTime>,
    times: Vec<Option<Duration>>,
}

impl Open {
    /// One more was asked, by the asker whose turn it is.
    fn ask(&mut self, at: SystemTime) {
        self.asked.push(at);
        self.times.push(None);
    }

    /// How many of the last ones have no answer yet.
    fn waiting(&self) -> usize {
        self.times.iter().rev().take(usize::from(ASKERS)).filter(|time| time.is_none()).count()
    }

    /// The asker with this number got an answer. It is to the last question of that asker.
    fn answer(&mut self, asker: usize, at: SystemTime) {
        let askers = usize::from(ASKERS);
        let Some(last) = self.asked.len().checked_sub(1).filter(|last| *last >= asker) else { return };
        let question = last - (last - asker) % askers;
        // A second answer is not the first one's time.
        if self.times[question].is_none() {
            self.times[question] = Some(at.duration_since(self.asked[question]).unwrap_or_default());
        }
    }

    /// Takes the answers that have come.
    fn take(&mut self, wire: &Wire, protocol: Protocol) -> io::Result<()> {
        let mut buffer = [0; 128];
        while let Some((length, at)) = wire.receive(&mut buffer)? {
            if let Some(asker) = protocol.answered(&buffer[..length], wire.mac) {
                self.answer(asker, at);
            }
        }
        Ok(())
    }
}

/// Sends a flood of at most `rate` frames a second until told to stop; returns how many a second it was.
pub(super) fn flood(flood: Flood, rate: f64, stop: &AtomicBool) -> io::Result<f64> {
    // Of its own ethertype nothing comes back.
    let wire = Wire::open(LINK, 0)?;
    let frames = flood.frames(wire.mac);
    let started = Instant::now();
    let (mut sent, mut next) = (0usize, 0);
    while !stop.load(Ordering::Relaxed) {
        let due = (started.elapsed().as_secs_f64() * rate) as usize;
        let missing = due.saturating_sub(sent).min(2 * BATCH).min(frames.len() - next);
        if missing == 0 {
            std::thread::sleep(BREATH);
            continue;
        }
        let now = wire.send(&frames[next..next + missing])?;
        sent += now;
        next = (next + now) % frames.len();
    }
    Ok(sent as f64 / started.elapsed().as_secs_f64())
}

/// How these addresses are asked for.
fn protocol(addresses: &[IpAddr]) -> io::Result<Protocol> {
    match addresses.first() {
        Some(IpAddr::V4(_)) => Ok(Protocol::Arp),
        Some(IpAddr::V6(_)) => Ok(Protocol::Ndp),
        None => Err(io::Error::other("there is no address to ask for")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
    }

    #[test]
    fn an_answer_belongs_to_the_last_question_of_its_asker() {
        let mut open = Open::default();
        open.answer(0, at(0));
        assert!(open.times.is_empty(), "nothing was asked");
        let askers = u64::from(ASKERS);
        (0..askers + 3).for_each(|number| open.ask(at(number)));
        assert_eq!(open.waiting(), usize::from(ASKERS));
        open.answer(1, at(askers + 5));
        open.answer(1, at(askers + 9));
        open.answer(5, at(9));
        assert_eq!(open.times[1], None);
        assert_eq!(open.times[usize::from(ASKERS) + 1], Some(Duration::from_millis(4)));
        assert_eq!(open.times[5], Some(Duration::from_millis(4)));
        assert_eq!(open.waiting(), usize::from(ASKERS) - 2);
        open.answer(63, at(63));
        assert_eq!(open.times[63], Some(Duration::ZERO));
    }
}
