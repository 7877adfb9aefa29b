//! The checks, in the order in which they are shown: each a function of [`Facts`].
//!
//! docs/plugin.md has a section for each, made of this table; a test holds the two together.

mod api;
mod configuration;
mod network;
mod others;
mod programs;
mod services;
mod table;

use super::{Facts, Finding, Level};

pub use table::CHECKS;

/// One check.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// To what it belongs.
    pub about: &'static str,
    /// What is so if all is well.
    pub title: &'static str,
    /// What follows if it is not so.
    pub matters: &'static str,
    /// What to do then.
    pub hint: &'static str,
    /// Where the documentation says more, beside the section of this check: file and heading.
    pub see: &'static str,
    look: fn(&Facts) -> Outcome,
}

/// What a check comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is so.
    Ok,
    /// It is so; and there is something to say.
    Says(String),
    /// It could not be seen, and why.
    Unknown(String),
    /// Worth a look.
    Warning(Vec<String>),
    /// Wrong.
    Failed(Vec<String>),
}

impl Outcome {
    /// Failed by these, or ok if there is none.
    fn failed(found: impl IntoIterator<Item = String>) -> Self {
        let found: Vec<String> = found.into_iter().collect();
        if found.is_empty() { Outcome::Ok } else { Outcome::Failed(found) }
    }

    /// A warning of these, or ok if there is none.
    fn warning(found: impl IntoIterator<Item = String>) -> Self {
        let found: Vec<String> = found.into_iter().collect();
        if found.is_empty() { Outcome::Ok } else { Outcome::Warning(found) }
    }

    /// One sentence: wrong.
    fn wrong(said: impl Into<String>) -> Self {
        Outcome::Failed(vec![said.into()])
    }

    /// That it could not be read; [`Facts`] say why.
    fn unread() -> Self {
        Outcome::Unknown("it could not be read".to_owned())
    }
}

impl Check {
    /// What it makes of `facts`.
    pub fn run(&self, facts: &Facts) -> Finding {
        let (level, says) = match (self.look)(facts) {
            Outcome::Ok => (Level::Ok, Vec::new()),
            Outcome::Says(said) => (Level::Ok, vec![said]),
            Outcome::Unknown(why) => (Level::Unknown, vec![why]),
            Outcome::Warning(says) => (Level::Warning, says),
            Outcome::Failed(says) => (Level::Failed, says),
        };
        let hint = if level >= Level::Warning { self.hint } else { "" };
        Finding {
            check: self.name,
            about: self.about,
            title: self.title,
            level,
            says,
            hint,
            docs: format!("docs/plugin.md#{}", self.name),
        }
    }
}
