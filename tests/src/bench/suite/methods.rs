//! What there is to know of a figure: what it says, what it is to be, how it is measured.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::bench::report::Who;

/// A part of the suite: what one bench measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Chapter {
    /// The controller: addresses for Services, and a restart.
    Allocation,
    /// From a Service's creation to an answer.
    FirstAnswer,
    /// The speaker on the wire: answers, a flood, the first frame.
    Layer2,
    /// When the owner of an address goes, or the address moves.
    Failover,
    /// Starts, memory, processor time, and what is said to the API server while nothing happens.
    Resources,
    /// A speaker among many.
    Peers,
    /// Ten real speakers, and many Services.
    Scale,
    /// The first installation.
    Install,
    /// Files.
    Size,
}

impl Chapter {
    /// All, in the order in which they are measured and told.
    pub const ALL: [Chapter; 9] = [
        Chapter::Allocation,
        Chapter::FirstAnswer,
        Chapter::Layer2,
        Chapter::Failover,
        Chapter::Resources,
        Chapter::Peers,
        Chapter::Scale,
        Chapter::Install,
        Chapter::Size,
    ];

    /// How it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Chapter::Allocation => "allocation",
            Chapter::FirstAnswer => "first-answer",
            Chapter::Layer2 => "layer2",
            Chapter::Failover => "failover",
            Chapter::Resources => "resources",
            Chapter::Peers => "peers",
            Chapter::Scale => "scale",
            Chapter::Install => "install",
            Chapter::Size => "size",
        }
    }

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Chapter::Allocation => "Addresses for Services",
            Chapter::FirstAnswer => "The first answer",
            Chapter::Layer2 => "On the wire",
            Chapter::Failover => "When the owner of an address goes, or the address moves",
            Chapter::Resources => "Starts, memory, processor, and the API server at rest",
            Chapter::Peers => "A speaker among many",
            Chapter::Scale => "Ten speakers and many Services",
            Chapter::Install => "The first installation",
            Chapter::Size => "Sizes",
        }
    }
}

/// What is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Better {
    /// Less of it.
    Less,
    /// More of it.
    More,
}

/// Of which of its values a goal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// The middle.
    P50,
    /// That which one of a hundred exceeds.
    P99,
    /// The largest.
    Max,
}

/// How much it may be, or must.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound {
    /// At most that.
    Most(f64),
    /// At most that many times what another's is; always of the middle of both.
    MostTimes(Who, f64),
    /// At least that many times what another's is; always of the middle of both.
    LeastTimes(Who, f64),
}

/// What a figure is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Target {
    /// Of which value.
    pub(super) at: At,
    /// How much.
    pub(super) bound: Bound,
}

impl Target {
    /// In words.
    pub(super) fn words(self, unit: &str) -> String {
        let at = match self.at {
            At::P50 => "p50",
            At::P99 => "p99",
            At::Max => "max",
        };
        let space = if unit.is_empty() { "" } else { " " };
        match self.bound {
            Bound::Most(most) => format!("{at} ≤ {most}{space}{unit}"),
            Bound::MostTimes(who, most) => format!("{at} ≤ {most} × {}", who.name()),
            Bound::LeastTimes(who, least) => format!("{at} ≥ {least} × {}", who.name()),
        }
    }
}

/// A figure.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Method {
    /// Its name: that by which benches tell its values, and users ask for it.
    pub(super) figure: String,
    /// In which part it is measured.
    pub(super) chapter: Chapter,
    /// What it says; `{all}` and `{some}` stand for the numbers of Services.
    pub(super) title: String,
    /// What is better.
    pub(super) better: Better,
    /// What it is to be.
    pub(super) goals: Vec<Target>,
    /// How it is measured, in two sentences.
    pub(super) method: &'static str,
}

impl Method {
    /// What it says, with this number of Services in the larger bulk.
    pub(super) fn title(&self, services: usize) -> String {
        let some = services.min(crate::bench::allocation::SOME);
        self.title.replace("{all}", &services.to_string()).replace("{some}", &some.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_said_in_words() {
        let words = |at, bound, unit| Target { at, bound }.words(unit);
        assert_eq!(words(At::P99, Bound::Most(5.0), "ms"), "p99 ≤ 5 ms");
        assert_eq!(words(At::P50, Bound::MostTimes(Who::Floor, 1.3), "ms"), "p50 ≤ 1.3 × floor");
        assert_eq!(words(At::P50, Bound::LeastTimes(Who::Floor, 0.7), "/s"), "p50 ≥ 0.7 × floor");
        assert_eq!(words(At::Max, Bound::Most(0.0), ""), "max ≤ 0");
    }

    #[test]
    fn titles_say_how_many_services_there_were() {
        let title = |services| {
            let title = "{some} of {all}".to_owned();
            let (figure, chapter, better) = (String::new(), Chapter::Size, Better::Less);
            Method { figure, chapter, title, better, goals: Vec::new(), method: "" }.title(services)
        };
        assert_eq!((title(10_000), title(200)), ("1000 of 10000".to_owned(), "200 of 200".to_owned()));
    }
}
