//! What came of a soak, and whether it was good.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use super::churn::{self, Churned};
use super::logs::{self, Line, Said};
use super::programs::{Looks, Slope, slope};
use super::traffic::{self, Share};
use super::{ADDRESS, Done, Options, STEADY, Span};
use crate::bench::{Machine, Versions};
use crate::chaos::Fault;
use crate::chaos::watch::{ASKER, CONNECTS};
use crate::history;

/// Memory may grow by so much, in MB an hour.
const GROWTH: f64 = 1.0;

/// Processes must have been looked at for so long for a slope to say anything, in hours.
const ENOUGH: f64 = 0.5;

/// A gap that is to be told by itself; between faults there is to be none.
const LONG: Duration = Duration::from_millis(500);

/// For no longer than that may an address be away, whatever happens: so long what speakers do takes, with much room.
const WORST: Duration = Duration::from_secs(5);

/// Between faults so much is to come about, in 100: a move back may break a handshake or two.
const CALM: f64 = 99.9;

/// Within so long a controller works again once it can.
const RETURNS: Duration = Duration::from_secs(30);

/// All that was seen.
#[derive(Debug)]
pub struct Seen {
    /// What was asked for.
    pub options: Options,
    /// What ended it early, or failed at the end.
    pub broken: Vec<String>,
    /// How long it was.
    pub lasted: Duration,
    /// The faults.
    pub done: Vec<Done>,
    /// What the clients saw.
    pub traffic: traffic::Seen,
    /// Memory.
    pub looks: Looks,
    /// Sockets and groups that stayed.
    pub leaked: Option<String>,
    /// Warnings and errors.
    pub lines: Vec<Line>,
    /// Services that came and went.
    pub churned: Churned,
    /// What was ever wrong with addresses.
    pub history: Vec<history::Fault>,
    /// So many changes of Services were looked at.
    pub events: usize,
}

/// A report.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Markdown.
    pub text: String,
    /// What was not as it should be, each in a sentence.
    pub wrong: Vec<String>,
}

/// One line of the table: the faults that were alike.
#[derive(Clone, Debug, Default)]
struct Row {
    times: usize,
    share: Share,
    worked: Vec<Duration>,
    double: Duration,
    wrong: usize,
}

impl Report {
    /// Of what was seen.
    pub fn of(seen: Seen) -> Self {
        let mut report = Report::default();
        report.head(&seen);
        report.faults(&seen);
        report.long(&seen);
        report.addresses(&seen);
        report.programs(&seen);
        report.logs(&seen);
        let verdict = if report.wrong.is_empty() {
            "All of it was as it is to be.\n".to_owned()
        } else {
            report.wrong.iter().fold("**Not as it is to be:**\n\n".to_owned(), |text, wrong| {
                text + "- " + &wrong.replace('\n', " ") + "\n"
            })
        };
        report.text += &format!("\n## Verdict\n\n{verdict}");
        report
    }

    fn say(&mut self, line: &str) {
        let _ = writeln!(self.text, "{line}");
    }

    fn head(&mut self, seen: &Seen) {
        let (machine, versions) = (Machine::here(), Versions::here());
        let minutes = seen.lasted.as_secs_f64() / 60.0;
        let commit = versions.ferrolb.unwrap_or_else(|| "unknown".into());
        self.say("# Soak\n");
        self.say(&format!(
            "`make soak-lab MINUTES={} SEED={}`: {minutes:.0} minutes, {} faults, one each {} s or later: all was well before \
             each. Three nodes on one machine of {} cores ({}, kernel {}), Kubernetes {}, FerroLB {commit}.",
            seen.options.time.as_secs() / 60,
            seen.options.seed,
            seen.done.len(),
            seen.options.every.as_secs(),
            machine.cores,
            machine.processor,
            machine.kernel,
            versions.kubernetes,
        ));
        self.wrong
            .extend(seen.broken.iter().map(|why| format!("it ended early, or failed at its end: {why}")));
    }

    fn faults(&mut self, seen: &Seen) {
        let mut rows: BTreeMap<String, Row> = BTreeMap::new();
        let mut faulty = Share::default();
        let mut times: Vec<(Duration, Duration)> = Vec::new();
        for one in &seen.done {
            let share = seen.traffic.between(one.from, one.until, &off(one));
            faulty = faulty.and(share);
            times.push((one.from, one.until));
            let row = rows.entry(one.step.to_string()).or_default();
            row.times += 1;
            row.share = row.share.and(share);
            row.worked.extend(one.lasting);
            row.double = row.double.max(one.double);
            row.wrong += usize::from(!one.wrong.is_empty());
            for wrong in &one.wrong {
                let at = one.from.as_secs();
                self.wrong.push(format!("{} at {at} s: {wrong}", one.step));
            }
        }
        self.say(&format!(
            "\n## Faults\n\nNew connections of two clients to {ADDRESS}, whose owner the faults are done to, and to {STEADY} other \
             addresses, each address once in 10 ms, and once more by the judge: {} were begun. A connection has 0.5 s. The longest gap is that of the \
             address that had the longest. *Worked* is from the fault's beginning until one node alone answered and every connection \
             came about, 0 if that was so all the while; clients that are off themselves are left out.\n",
            seen.traffic.attempts.iter().map(|(_, attempts)| attempts.0.len()).sum::<usize>(),
        ));
        self.say("| fault | times | came about | longest gap | worked after, longest | two answered, longest | not borne |");
        self.say("|---|---|---|---|---|---|---|");
        for (name, row) in &rows {
            let worked = row.worked.iter().max().map_or("–".to_owned(), |time| seconds(*time));
            self.say(&format!(
                "| {name} | {} | {} | {} | {worked} | {:.0} ms | {} |",
                row.times,
                available(row.share),
                seconds(row.share.longest),
                milliseconds(row.double),
                row.wrong,
            ));
        }
        let calm = gaps(&times, seen.lasted)
            .into_iter()
            .map(|(from, until)| seen.traffic.between(from, until, &BTreeSet::new()))
            .fold(Share::default(), Share::and);
        self.say(&format!(
            "| *all faults* | {} | {} | {} | | | |",
            seen.done.len(),
            available(faulty),
            seconds(faulty.longest)
        ));
        self.say(&format!("| *between them* | | {} | {} | | | |", available(calm), seconds(calm.longest)));
        self.judge_traffic(seen, calm);
    }

    /// Whether clients got through: between the faults nearly always, in each of them after a while, and to each address.
    fn judge_traffic(&mut self, seen: &Seen, calm: Share) {
        if seen.done.is_empty() {
            self.wrong.push("no fault was done".to_owned());
        }
        for (line, attempts) in &seen.traffic.attempts {
            if attempts.0.is_empty() {
                self.wrong.push(format!("{} never connected to {}", line.client, line.address));
            }
        }
        if seen.traffic.attempts.is_empty() {
            self.wrong.push("nobody connected to anything".to_owned());
        }
        if calm.available().is_some_and(|share| share < CALM) || calm.longest >= LONG {
            let (share, longest) = (available(calm), seconds(calm.longest));
            self.wrong.push(format!("between the faults {share} came about, and none for {longest}"));
        }
        for one in &seen.done {
            for (line, gap) in seen.traffic.gaps(one.from, one.until, &off(one)) {
                if gap.longest > WORST {
                    let (at, longest) = (one.from.as_secs(), seconds(gap.longest));
                    let to = format!("{} from {}", line.address, line.client);
                    self.wrong.push(format!("{} at {at} s: no connection to {to} for {longest}", one.step));
                }
            }
        }
    }

    /// Where it was long: which address, when.
    fn long(&mut self, seen: &Seen) {
        let mut lines = Vec::new();
        for one in &seen.done {
            for (line, gap) in seen.traffic.gaps(one.from, one.until, &off(one)) {
                if gap.longest >= LONG {
                    let after = gap.at.saturating_sub(one.from);
                    lines.push(format!(
                        "| {} | {} s | {} from {} | {} after its beginning | {} |",
                        one.step,
                        one.from.as_secs(),
                        line.address,
                        line.client,
                        seconds(after),
                        seconds(gap.longest),
                    ));
                }
            }
        }
        if !lines.is_empty() {
            self.say(&format!("\nThe gaps of {} and more:\n", seconds(LONG)));
            self.say("| fault | at | address | the gap began | longest |\n|---|---|---|---|---|");
            lines.iter().for_each(|line| self.say(line));
        }
    }

    fn addresses(&mut self, seen: &Seen) {
        let Churned { created, deleted, waited, without, refused } = &seen.churned;
        let mut times: Vec<Duration> = waited.iter().map(|(made, seen)| seen.saturating_sub(*made)).collect();
        times.sort_unstable();
        let at = |part: f64| {
            let index = (times.len() as f64 * part) as usize;
            times
                .get(index.min(times.len().saturating_sub(1)))
                .map_or("–".to_owned(), |time| seconds(*time))
        };
        self.say(&format!(
            "\n## Addresses\n\n{created} Services were created and {deleted} deleted meanwhile, IPv4, IPv6 and both. From their creation to an \
             address, looked for each 0.25 s: p50 {}, p99 {}, longest {} (where there is no controller nobody gives any). Of {} changes of \
             Services that a watch showed, {} had something wrong: an address changed, or two Services had one.",
            at(0.5),
            at(0.99),
            at(1.0),
            seen.events,
            seen.history.len(),
        ));
        if *created == 0 {
            self.wrong.push("no Service was created".to_owned());
        }
        // While its node is off, or cut from the API server, there is no controller.
        let away: Vec<Span> = seen
            .done
            .iter()
            .map(Done::span)
            .filter(|span| !span.faults.is_disjoint(&no_controller()))
            .collect();
        let long: Vec<_> = waited
            .iter()
            .chain(without)
            .map(|(made, until)| (made, until, left(*made, *until, &away)))
            .filter(|(_, _, left)| *left > churn::LONG)
            .collect();
        self.say(&format!(
            "Without those times in which no controller could work, {} of them waited for more than {}.",
            long.len(),
            seconds(churn::LONG),
        ));
        if let Some((made, until, _)) = long.first() {
            let times = format!("one from {} to {}", seconds(**made), seconds(**until));
            self.wrong.push(format!(
                "{} Services waited for more than {}: {times}",
                long.len(),
                seconds(churn::LONG)
            ));
        }
        self.wrong.extend(seen.history.iter().map(ToString::to_string));
        if let Some(first) = refused.first() {
            self.wrong.push(format!("{} requests of whoever makes Services failed: {first}", refused.len()));
        }
    }

    fn programs(&mut self, seen: &Seen) {
        self.say("\n## Memory, sockets, groups\n");
        self.say("| program | resident at most | slope | over |");
        self.say("|---|---|---|---|");
        for program in ["/ferrolb-controller", "/ferrolb-speaker"] {
            let Slope { an_hour, hours, most } = slope(&seen.looks, program);
            self.say(&format!(
                "| {} | {most:.1} MB | {an_hour:+.2} MB/h | {hours:.1} h of processes |",
                &program[1..]
            ));
            if most == 0.0 {
                self.wrong.push(format!("{program} was never looked at"));
            } else if hours < ENOUGH {
                self.say(&format!("| | | *too short to judge: less than {ENOUGH} h* | |"));
            } else if an_hour >= GROWTH {
                self.wrong.push(format!("{program} grows by {an_hour:.2} MB an hour"));
            }
        }
        match &seen.leaked {
            None => self.say("\nAt the end no more sockets and multicast groups than at the beginning."),
            Some(leaked) => self.wrong.push(leaked.clone()),
        }
    }

    fn logs(&mut self, seen: &Seen) {
        let said = logs::explain(&seen.lines, &seen.done.iter().map(Done::span).collect::<Vec<_>>());
        self.say("\n## Warnings and errors in the logs\n\n| how many | at first | an example | why |\n|---|---|---|---|");
        for Said { example, at, count, why } in &said {
            let example = example.replace('|', "\\|");
            self.say(&format!(
                "| {count} | {:.0} s | `{example}` | {} |",
                at.as_secs_f64(),
                why.unwrap_or("**not explained**")
            ));
        }
        let unexplained: Vec<&Said> = said.iter().filter(|said| said.why.is_none()).collect();
        if let Some(first) = unexplained.first() {
            self.wrong.push(format!(
                "{} kinds of warnings are not explained, such as {}",
                unexplained.len(),
                first.example
            ));
        }
    }
}

/// What keeps the controller from its work.
fn no_controller() -> BTreeSet<Fault> {
    [Fault::ApiCut, Fault::ApiAway, Fault::BothPorts, Fault::Kill, Fault::ControllerGone].into()
}

/// How much of this time there was a controller that could work, which is so from [`RETURNS`] after a fault on.
fn left(from: Duration, until: Duration, away: &[Span]) -> Duration {
    let (mut left, mut at) = (Duration::ZERO, from);
    for span in away {
        if span.from > at {
            left += span.from.min(until).saturating_sub(at);
        }
        at = at.max(span.until + RETURNS);
    }
    left + until.saturating_sub(at)
}

/// The clients that were off themselves.
fn off(done: &Done) -> BTreeSet<&'static str> {
    let client = |(fault, _): &(Fault, usize)| match fault {
        Fault::ClientReboot => Some(ASKER),
        Fault::GatewayReboot => Some(CONNECTS),
        _ => None,
    };
    done.step.faults.iter().filter_map(client).collect()
}

/// The times between these, which are in order.
fn gaps(times: &[(Duration, Duration)], end: Duration) -> Vec<(Duration, Duration)> {
    let mut since = Duration::ZERO;
    let mut gaps = Vec::new();
    for (from, until) in times.iter().copied().chain([(end, end)]) {
        if from > since {
            gaps.push((since, from));
        }
        since = since.max(until);
    }
    gaps
}

fn available(share: Share) -> String {
    share.available().map_or("–".to_owned(), |share| format!("{share:.2} %"))
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::Step;
    use crate::judge::{Attempt, Attempts};

    fn s(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    /// Attempts each 10 ms for a minute, of which those in `failed` fail.
    fn attempts(failed: std::ops::Range<u64>) -> Attempts {
        let took = |n| (!failed.contains(&n)).then_some(Duration::from_millis(1));
        Attempts((0..6_000).map(|n| Attempt { at: Duration::from_millis(n * 10), took: took(n) }).collect())
    }

    /// A minute with one fault from 20 s to 30 s, and these attempts.
    fn seen(attempts: Attempts) -> Seen {
        let line = traffic::Line { client: "client1", address: ADDRESS };
        let step = Step { faults: vec![(Fault::PortDown, 0)], lasts: s(1) };
        let looks = ["/ferrolb-controller", "/ferrolb-speaker"].map(|name| ((name, 1), vec![(s(1), 8.0)]));
        Seen {
            options: Options { faults: Vec::new(), time: s(60), seed: 1, every: s(20) },
            broken: Vec::new(),
            lasted: s(60),
            done: vec![Done {
                step,
                from: s(20),
                until: s(30),
                lasting: None,
                double: s(0),
                wrong: Vec::new(),
            }],
            traffic: traffic::Seen { attempts: vec![(line, attempts)] },
            looks: looks.into(),
            leaked: None,
            lines: Vec::new(),
            churned: Churned { created: 3, deleted: 3, waited: vec![(s(1), s(2))], ..Churned::default() },
            history: Vec::new(),
            events: 3,
        }
    }

    #[test]
    fn what_is_wrong_is_told_each_by_itself() {
        let good = Report::of(seen(attempts(2_100..2_140)));
        assert!(
            good.wrong.is_empty() && good.text.contains("as it is to be"),
            "{:#?}\n{}",
            good.wrong,
            good.text
        );
        let line = |text: &str| Line { at: s(1), program: "speaker".into(), text: text.into() };
        let many: Vec<(Duration, f64)> = (0..1000).map(|n| (s(n * 10), n as f64 / 36.0)).collect();
        let fresh = || seen(attempts(0..0));
        let one_by_one: [(&str, Seen); 12] = [
            ("ended early", Seen { broken: vec!["a node does not come back".into()], ..fresh() }),
            ("in a group", Seen { leaked: Some("node1 is in a group".into()), ..fresh() }),
            ("not explained", Seen { lines: vec![line("ERROR x: y")], ..fresh() }),
            (
                "waited for more",
                Seen {
                    churned: Churned { created: 1, without: vec![(s(1), s(19))], ..Churned::default() },
                    ..fresh()
                },
            ),
            (
                "requests of whoever",
                Seen {
                    churned: Churned { created: 1, refused: vec!["no".into()], ..Churned::default() },
                    ..fresh()
                },
            ),
            ("no Service was created", Seen { churned: Churned::default(), ..fresh() }),
            (
                "is broken",
                Seen {
                    history: vec![history::Fault::Broken { version: 1, service: "a/b".into(), why: "gone" }],
                    ..fresh()
                },
            ),
            (
                "grows by",
                Seen {
                    looks: [(("/ferrolb-speaker", 1), many), (("/ferrolb-controller", 2), vec![(s(1), 8.0)])]
                        .into(),
                    ..fresh()
                },
            ),
            (
                "never looked at",
                Seen { looks: [(("/ferrolb-speaker", 1), vec![(s(1), 8.0)])].into(), ..fresh() },
            ),
            ("between the faults", seen(attempts(4_000..4_060))),
            ("no connection to", seen(attempts(2_100..2_700))),
            ("nobody connected", Seen { traffic: traffic::Seen::default(), ..fresh() }),
        ];
        for (words, seen) in one_by_one {
            let report = Report::of(seen);
            let told = report.wrong.iter().filter(|wrong| wrong.contains(words)).count();
            assert_eq!((told, report.wrong.len()), (1, 1), "{words}: {:#?}", report.wrong);
        }
    }

    #[test]
    fn a_time_without_a_controller_is_not_waited() {
        let away = |from, until| Span { from: s(from), until: s(until), faults: BTreeSet::new() };
        // It is back 30 s after the fault.
        assert_eq!(left(s(10), s(70), &[away(20, 25)]), s(25));
        assert_eq!(left(s(30), s(50), &[away(20, 25)]), s(0));
        assert_eq!(left(s(10), s(200), &[away(20, 25), away(30, 40), away(100, 101)]), s(10 + 30 + 69));
        assert_eq!(left(s(10), s(15), &[away(20, 25)]), s(5));
        assert_eq!(left(s(10), s(15), &[]), s(5));
    }

    #[test]
    fn the_times_between_faults_are_what_is_left() {
        assert_eq!(
            gaps(&[(s(1), s(2)), (s(2), s(5)), (s(7), s(8))], s(9)),
            [(s(0), s(1)), (s(5), s(7)), (s(8), s(9))]
        );
        assert_eq!(gaps(&[], s(9)), [(s(0), s(9))]);
    }
}
