//! The time from a Service's address in the API to the first frame that announces it, one Service after the other.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;

use crate::bench::cluster::{assignment, four, name};
use crate::bench::lean::{Server, Sight};
use crate::bench::report::{Report, Who, percentile};
use crate::host::{Capture, Frame, Host, Tap};
use crate::lab::LabError;

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often the capture is looked at. The frame has the kernel's time, so this is in no figure.
const LOOK: Duration = Duration::from_micros(500);

/// So many do not count: caches and connections are warm then.
const WARM_UP: usize = 5;

/// Gives these Services their addresses, one after the other, and tells how soon each was announced; the values from the
/// event on as those of this figure of the suite.
///
/// `by_writer` and `watcher` speak to the API server over connections of their own, which pass the lab's door; the
/// speaker's does not.
pub(super) async fn measure(
    report: &mut Report,
    asker: &Host,
    (writer, watcher): (&Server, &Server),
    numbers: Range<usize>,
    beside: &str,
    figure: &str,
) -> Result<(), LabError> {
    let (_, version) = watcher.list().await?;
    let mut sights = watcher.watch(&version).await?;
    let capture = capture(asker).map_err(|error| LabError::program("the capture", error))?;
    let (mut since_answer, mut since_event) = (Vec::new(), Vec::new());
    for (count, number) in numbers.enumerate() {
        let IpAddr::V4(address) = four(number) else { continue };
        writer.write_status(&name(number), &assignment(address.into())).await?;
        let answered = SystemTime::now();
        let seen = seen(&mut sights, &name(number)).await?;
        let announced = announced(&capture, address).await?;
        if count >= WARM_UP {
            since_answer.push(difference(announced, answered));
            since_event.push(difference(announced, seen));
        }
    }
    capture.stop().map_err(|error| LabError::program("the capture", error))?;
    report.sample(figure, Who::Ferrolb, "ms", since_event.iter().copied());
    for (what, times, goals) in [
        ("an event of a watch beside it", since_event, [Some(2.0), Some(5.0)]),
        ("the answer to the write", since_answer, [None, None]),
    ] {
        for (percent, goal) in [50, 99].into_iter().zip(goals) {
            let what = format!("{what} to the first announcement, {beside}, p{percent}");
            let time = percentile(&times, percent);
            match goal {
                Some(goal) => report.at_most(what, time, "ms", goal),
                None => report.tell(what, time, "ms"),
            }
        }
    }
    Ok(())
}

/// Captures on a host which address was announced by ARP when.
fn capture(host: &Host) -> io::Result<Capture<(Ipv4Addr, SystemTime)>> {
    let tap = host.inside(Tap::open)?;
    let began = tap.began();
    Ok(Capture::start(tap, move |received| match received.frame {
        Frame::Arp(frame) if frame.announces(frame.target.1) => Some((frame.target.1, began + frame.at)),
        _ => None,
    }))
}

/// When the Service was first seen with an address.
async fn seen(sights: &mut mpsc::UnboundedReceiver<Sight>, name: &str) -> Result<SystemTime, LabError> {
    let seen = tokio::time::timeout(PATIENCE, async {
        while let Some(sight) = sights.recv().await {
            if sight.object.metadata.name == name && sight.object.address().is_some() {
                return Some(clock(sight.at, Instant::now(), SystemTime::now()));
            }
        }
        None
    });
    seen.await.ok().flatten().ok_or_else(|| late(format!("an event for Service {name}"), "none came".into()))
}

/// When the address was first announced.
async fn announced(
    capture: &Capture<(Ipv4Addr, SystemTime)>,
    address: Ipv4Addr,
) -> Result<SystemTime, LabError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = capture
            .so_far(|seen| seen.iter().rev().filter(|(of, _)| *of == address).map(|(_, at)| *at).min());
        if let Some(at) = found {
            return Ok(at);
        }
        if Instant::now() > deadline {
            let others: BTreeMap<_, _> = capture.so_far(|seen| seen.iter().copied().collect());
            let state = format!("{} others were announced", others.len());
            return Err(late(format!("an announcement of {address}"), state));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn late(what: String, state: String) -> LabError {
    LabError::Late { what, seconds: PATIENCE.as_secs(), state }
}

/// A moment on the clock of frames, given that both clocks were read together.
fn clock(moment: Instant, now: Instant, clock: SystemTime) -> SystemTime {
    clock - now.saturating_duration_since(moment)
}

/// From `earlier` to `later` in milliseconds; below zero where it was the other way round.
fn difference(later: SystemTime, earlier: SystemTime) -> f64 {
    match later.duration_since(earlier) {
        Ok(after) => after.as_secs_f64() * 1e3,
        Err(before) => -before.duration().as_secs_f64() * 1e3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_may_be_below_zero() {
        let (at, ms) = (SystemTime::UNIX_EPOCH, Duration::from_millis(250));
        assert_eq!((difference(at + ms, at), difference(at, at + ms)), (250.0, -250.0));
    }

    #[test]
    fn a_moment_is_found_on_the_other_clock() {
        let (now, ms) = (Instant::now(), Duration::from_millis(250));
        assert_eq!(clock(now, now + ms, SystemTime::UNIX_EPOCH + ms), SystemTime::UNIX_EPOCH);
    }
}
