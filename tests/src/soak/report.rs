//! What came of a soak, and whether it was good.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use super::churn::Churned;
use super::logs::{self, Line, Said};
use super::programs::{Looks, Slope, slope};
use super::traffic::{self, Share};
use super::{ADDRESS, Done, Options, STEADY};
use crate::bench::{Machine, Versions};
use crate::chaos::Fault;
use crate::chaos::watch::{ASKER, CONNECTS};
use crate::history;

/// Memory may grow by so much, in MB an hour.
const GROWTH: f64 = 1.0;

/// Processes must have been looked at for so long for a slope to say anything, in hours.
const ENOUGH: f64 = 0.5;

/// A gap that is to be told by itself.
const LONG: Duration = Duration::from_millis(500);

/// Within so long a controller works again once it can.
const RETURNS: Duration = Duration::from_secs(30);

/// All that was seen.
#[derive(Debug)]
pub struct Seen {
    /// What was asked for.
    pub options: Options,
    /// What ended it early.
    pub broken: Option<String>,
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
        if let Some(why) = &seen.broken {
            self.wrong.push(format!("it ended early: {why}"));
        }
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
            row.worked.extend(one.outcome.lasting);
            row.double = row.double.max(one.outcome.double_answers());
            row.wrong += usize::from(!one.outcome.wrong.is_empty());
            for wrong in &one.outcome.wrong {
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
        let mut waited = waited.clone();
        waited.sort_unstable();
        let at = |part: f64| {
            let index = (waited.len() as f64 * part) as usize;
            waited
                .get(index.min(waited.len().saturating_sub(1)))
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
        self.wrong.extend(seen.history.iter().map(ToString::to_string));
        // While its node is off, or cut from the API server, there is no controller.
        let excused = |(made, gone): &(Duration, Duration)| {
            let during = seen.done.iter().filter(|one| one.from <= *gone && one.until + RETURNS >= *made);
            during.flat_map(|one| &one.step.faults).any(|(fault, _)| logs::NO_API.contains(fault))
        };
        let left: Vec<_> = without.iter().filter(|times| !excused(times)).collect();
        self.say(&format!(
            "{} were deleted without one after 10 s or more; {} of them while nothing kept the controller from the API.",
            without.len(),
            left.len(),
        ));
        if let Some((made, gone)) = left.first() {
            let times = format!("one from {} to {}", seconds(*made), seconds(*gone));
            self.wrong.push(format!("{} Services had no address after 10 s or more: {times}", left.len()));
        }
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
            if an_hour >= GROWTH && hours >= ENOUGH {
                self.wrong.push(format!("{program} grows by {an_hour:.2} MB an hour"));
            }
        }
        match &seen.leaked {
            None => self.say("\nAt the end no more sockets and multicast groups than at the beginning."),
            Some(leaked) => self.wrong.push(leaked.clone()),
        }
    }

    fn logs(&mut self, seen: &Seen) {
        let said = logs::explain(&seen.lines, &seen.done);
        self.say("\n## Warnings and errors in the logs\n\n| how many | an example | why |\n|---|---|---|");
        for Said { example, count, why } in &said {
            let example = example.replace('|', "\\|");
            self.say(&format!("| {count} | `{example}` | {} |", why.unwrap_or("**not explained**")));
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

    fn s(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn seen() -> Seen {
        Seen {
            options: Options { faults: Vec::new(), time: s(60), seed: 1, every: s(20) },
            broken: None,
            lasted: s(60),
            done: Vec::new(),
            traffic: traffic::Seen::default(),
            looks: Looks::new(),
            leaked: None,
            lines: Vec::new(),
            churned: Churned::default(),
            history: Vec::new(),
            events: 3,
        }
    }

    #[test]
    fn what_is_wrong_is_told_each_by_itself() {
        let good = Report::of(seen());
        assert!(good.wrong.is_empty() && good.text.contains("as it is to be"), "{}", good.text);
        let line = |text: &str| Line { at: s(1), since: s(0), program: "speaker".into(), text: text.into() };
        let many: Vec<(Duration, f64)> = (0..1000).map(|n| (s(n * 10), n as f64 / 36.0)).collect();
        let bad = Report::of(Seen {
            broken: Some("a node does not come back".into()),
            leaked: Some("node1 is in a group".into()),
            lines: vec![line("ERROR x: y")],
            churned: Churned {
                without: vec![(s(1), s(20))],
                refused: vec!["no".into()],
                ..Churned::default()
            },
            history: vec![history::Fault::Broken { version: 1, service: "a/b".into(), why: "gone" }],
            looks: [(("/ferrolb-speaker", 1), many)].into(),
            ..seen()
        });
        assert_eq!(bad.wrong.len(), 7, "{:#?}", bad.wrong);
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
