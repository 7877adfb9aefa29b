//! A verdict as text, for whoever looks at a failed test.

use std::fmt;
use std::time::Duration;

use super::{Announcement, Form, Owner, Stint, Verdict};

/// So many announcements are printed; the rest is counted.
const ANNOUNCEMENTS: usize = 40;

fn seconds(time: Duration) -> String {
    format!("{:.4}", time.as_secs_f64())
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.host, self.mac)
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Form::Request => "gratuitous request",
            Form::Reply { moves: true } => "gratuitous reply",
            Form::Reply { moves: false } => "gratuitous reply that moves no cache",
            Form::Question => "asks as the owner",
            Form::Advertisement { overrides: true } => "unsolicited advertisement",
            Form::Advertisement { overrides: false } => "unsolicited advertisement that moves no cache",
        })
    }
}

impl fmt::Display for Stint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>10} to {:>10} s  {:>6} questions  ",
            seconds(self.from),
            seconds(self.to),
            self.questions
        )?;
        if self.owners.is_empty() {
            return f.write_str("NOBODY");
        }
        let owners: Vec<String> = self.owners.iter().map(ToString::to_string).collect();
        let both = if owners.len() > 1 { "  BOTH" } else { "" };
        write!(f, "{}{both}", owners.join(" and "))
    }
}

impl fmt::Display for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>10} s  {}: {}", seconds(self.at), self.owner, self.form)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (asked, unanswered) = self.counts();
        writeln!(
            f,
            "{} on {}, {} to {} s: {asked} questions, {unanswered} without an answer; the longest silence {:.1} ms, \
             from {} s; two answered for {:.1} ms in all",
            self.address,
            self.network.bridge(),
            seconds(self.from),
            seconds(self.until),
            self.longest_silence.as_secs_f64() * 1e3,
            seconds(self.silent_at),
            self.time_of_two().as_secs_f64() * 1e3,
        )?;
        for stint in &self.stints {
            writeln!(f, "  {stint}")?;
        }
        for overlap in &self.overlaps {
            let owners: Vec<&str> = overlap.owners.iter().map(|owner| owner.host.as_str()).collect();
            let (from, to) = (seconds(overlap.from), seconds(overlap.to));
            writeln!(f, "  {from:>10} to {to:>10} s  TWO HAVE IT: {}", owners.join(" and "))?;
        }
        writeln!(f, "  {} announcements:", self.announcements.len())?;
        for said in self.announcements.iter().take(ANNOUNCEMENTS) {
            let stale = if self.stale.contains(said) { "  BY ONE WHO DOES NOT HAVE IT" } else { "" };
            writeln!(f, "  {said}{stale}")?;
        }
        match self.announcements.len().saturating_sub(ANNOUNCEMENTS) {
            0 => Ok(()),
            more => {
                writeln!(f, "  … and {more} more, {} of all by one who does not have it", self.stale.len())
            }
        }
    }
}
