//! Answers: how many a second, how soon, and what a flood of foreign frames does to that.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::bench::report::{Report, Who, microseconds, milliseconds, percentile};
use crate::bench::speaker::Speaker;
use crate::host::Host;
use crate::lab::LabError;

use super::frames::Flood;
use super::meter::{self, Rate};

/// So long each measurement takes; there are several rounds of it.
const TIME: Duration = Duration::from_secs(1);

/// So long a flood lasts: the kernel counts processor time in hundredths of a second.
const FLOOD: Duration = Duration::from_secs(2);

/// A flood has at most so many frames a second.
const FLOOD_RATE: f64 = 160_000.0;

/// Who is asked, for what.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// For figures.
    pub(super) name: String,
    /// These are asked for in turn.
    pub(super) addresses: Vec<IpAddr>,
}

/// What came of asking, over all rounds.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// Answers a second at full speed, of each round.
    pub(super) rates: Vec<f64>,
    /// Questions at full speed without an answer.
    lost: usize,
    /// How long each answer took at the pace.
    times: Vec<Duration>,
    /// The middle of that in each round, in seconds.
    middles: Vec<f64>,
    /// Questions at the pace without an answer.
    unanswered: usize,
}

impl Outcome {
    /// Answers a second: that of the middle round.
    pub(super) fn rate(&self) -> f64 {
        percentile(&self.rates, 50)
    }

    /// The time below which so many percent of the answers came.
    pub(super) fn time(&self, percent: usize) -> Duration {
        percentile(&self.times, percent)
    }

    /// The rate as a multiple of that of `other`: the middle of what it was in each round.
    pub(super) fn rate_in(&self, other: &Outcome) -> f64 {
        middle_ratio(&self.rates, &other.rates)
    }

    /// The middle time as a multiple of that of `other`, in the same way.
    pub(super) fn time_in(&self, other: &Outcome) -> f64 {
        middle_ratio(&self.middles, &other.middles)
    }

    fn add(&mut self, rate: Rate, times: Vec<Option<Duration>>) {
        self.rates.push(rate.answers);
        self.lost += rate.lost;
        self.unanswered += times.iter().filter(|time| time.is_none()).count();
        let times: Vec<Duration> = times.into_iter().flatten().collect();
        if !times.is_empty() {
            self.middles.push(percentile(&times, 50).as_secs_f64());
        }
        self.times.extend(times);
    }

    /// Tells the values as those of these two figures of the suite.
    pub(super) fn sample(&self, report: &mut Report, [rate, latency]: [&str; 2], of: Who) {
        report.sample(rate, of, "/s", self.rates.iter().copied());
        report.sample(latency, of, "µs", self.times.iter().copied().map(microseconds));
    }

    /// Tells all of it; with goals if it is the speaker's.
    pub(super) fn tell(&self, report: &mut Report, name: &str, goals: bool) {
        report.tell(format!("{name}: answers a second, p50 of rounds"), self.rate(), "/s");
        for (percent, goal) in [(50, 50.0), (99, 200.0)] {
            let (what, time) = (format!("{name}: answer at 1,000/s, p{percent}"), self.time(percent));
            if goals {
                report.at_most(what, microseconds(time), "µs", goal);
            } else {
                report.tell(what, microseconds(time), "µs");
            }
        }
        if goals {
            let what = format!("{name}: no answer within 50 ms at 1,000/s");
            report.at_most(what, self.unanswered as f64, "", 0.0);
            report.tell(format!("{name}: no answer at full speed"), self.lost as f64, "");
        }
    }
}

/// The middle of what one was as a multiple of the other, round by round.
fn middle_ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a / b).collect();
    percentile(&ratios, 50)
}

/// Asks for each subject's addresses, all subjects in turn, in so many rounds.
pub(super) async fn measure(
    asker: &Host,
    subjects: &[Subject],
    rounds: usize,
) -> Result<Vec<Outcome>, LabError> {
    let mut outcomes = vec![Outcome::default(); subjects.len()];
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..subjects.len()).collect();
        // Whoever comes second may find the machine in another state.
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let addresses = subjects[index].addresses.clone();
            let work =
                on(asker, move || Ok((meter::saturate(&addresses, TIME)?, meter::paced(&addresses, TIME)?)));
            let (rate, times) = work.await?;
            if rate.answers == 0.0 {
                let name = &subjects[index].name;
                return Err(LabError::State(format!("nobody answered a question for {name}")));
            }
            outcomes[index].add(rate, times);
        }
    }
    Ok(outcomes)
}

/// Floods the network with what concerns nobody, and asks for `address` all the while.
pub(super) async fn flooded(
    report: &mut Report,
    asker: &Host,
    speaker: &Speaker,
    address: IpAddr,
    rounds: usize,
) -> Result<(), LabError> {
    let kinds = [Flood::Arp, Flood::Mix];
    let mut rates = [Vec::new(), Vec::new()];
    let mut loads = rates.clone();
    let mut asked = [Outcome::default(), Outcome::default()];
    for _ in 0..rounds {
        for (index, kind) in kinds.into_iter().enumerate() {
            let stop = Arc::new(AtomicBool::new(false));
            let (worked, started) = (speaker.processor_time()?, Instant::now());
            let stopping = stop.clone();
            let sending = on(asker, move || meter::flood(kind, FLOOD_RATE, &stopping));
            let asking = on(asker, move || {
                let times = meter::paced(&[address], FLOOD);
                stop.store(true, Ordering::Relaxed);
                times
            });
            let (rate, times) = tokio::try_join!(sending, asking)?;
            let worked = speaker.processor_time()?.saturating_sub(worked);
            loads[index].push(100.0 * worked.as_secs_f64() / started.elapsed().as_secs_f64());
            rates[index].push(rate);
            asked[index].add(Rate::default(), times);
        }
    }
    for (index, kind) in kinds.into_iter().enumerate() {
        let (name, outcome) = (kind.name(), &asked[index]);
        report.tell(format!("flood of {name}: frames a second"), percentile(&rates[index], 50), "/s");
        let load = percentile(&loads[index], 50);
        let figure = kind.figure();
        let times = outcome.times.iter().copied().map(milliseconds);
        report.sample(format!("{figure}-processor"), Who::Ferrolb, "%", loads[index].iter().copied());
        report.sample(format!("{figure}-latency"), Who::Ferrolb, "ms", times);
        report.at_most(format!("flood of {name}: the speaker's processor"), load, "%", 20.0);
        let ours = format!("flood of {name}: ours at 1,000/s");
        report.tell(format!("{ours}, p50"), milliseconds(outcome.time(50)), "ms");
        report.at_most(format!("{ours}, p99"), milliseconds(outcome.time(99)), "ms", 5.0);
        report.at_most(format!("{ours}, without an answer"), outcome.unanswered as f64, "", 0.0);
    }
    Ok(())
}

/// Does what blocks, on a host.
async fn on<T: Send + 'static>(
    host: &Host,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, LabError> {
    let host = host.clone();
    let name = host.name.clone();
    let done = tokio::task::spawn_blocking(move || host.inside(work)).await;
    let done = done.map_err(|error| LabError::State(error.to_string()))?;
    done.map_err(|error| LabError::program(&format!("the generator on {name}"), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_compared_within_a_round() {
        let outcome = |rates: &[f64]| Outcome { rates: rates.to_vec(), ..Outcome::default() };
        // The machine was half as fast in the second round, and somebody else's burst fell into the third.
        let (ours, theirs) = (outcome(&[80.0, 40.0, 10.0]), outcome(&[100.0, 50.0, 100.0]));
        assert_eq!(ours.rate_in(&theirs), 0.8);
        assert_eq!(ours.rate(), 40.0);
    }

    #[test]
    fn times_are_compared_within_a_round_too() {
        let outcome = |rounds: &[u64]| {
            let mut outcome = Outcome::default();
            for us in rounds {
                outcome.add(Rate::default(), vec![Some(Duration::from_micros(*us)); 3]);
            }
            outcome
        };
        // Of all answers together it would be 40 to 10.
        assert_eq!(outcome(&[15, 60, 40]).time_in(&outcome(&[10, 40, 10])), 1.5);
    }

    #[test]
    fn questions_without_answers_are_no_times() {
        let mut outcome = Outcome::default();
        let ms = Duration::from_millis;
        outcome.add(Rate { answers: 7.0, lost: 2 }, vec![Some(ms(3)), None, Some(ms(1))]);
        assert_eq!((outcome.unanswered, outcome.lost, outcome.time(50)), (1, 2, ms(1)));
    }
}
