//! Readiness as a set of tokens: ready when none is outstanding.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// What the program still waits for.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    waiting: Arc<Mutex<BTreeSet<String>>>,
}

/// One thing to wait for. Dropping it without [`Token::ready`] leaves the program not ready: a task that
/// died has not become ready.
#[derive(Debug)]
pub struct Token {
    name: String,
    readiness: Readiness,
}

/// What a program waits for that has not said yet what it waits for.
const START: &str = "start";

impl Readiness {
    /// That of a program which begins: not ready before [`Readiness::started`].
    pub fn starting() -> Self {
        let readiness = Readiness::default();
        readiness.lock().insert(START.to_owned());
        readiness
    }

    /// All tokens that the program begins with are there; from now on they alone decide.
    pub fn started(&self) {
        self.lock().remove(START);
    }

    /// Something more to wait for, by the name that `/readyz` shows.
    pub fn token(&self, name: impl Into<String>) -> Token {
        let token = Token { name: name.into(), readiness: self.clone() };
        token.not_ready();
        token
    }

    /// What is not ready yet, in order.
    pub fn waiting(&self) -> Vec<String> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Token {
    /// It is ready now.
    pub fn ready(&self) {
        if self.readiness.lock().remove(&self.name) {
            tracing::debug!(what = self.name, "ready");
        }
    }

    /// It is not, or no longer.
    pub fn not_ready(&self) {
        self.readiness.lock().insert(self.name.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_not_ready_before_it_said_what_it_waits_for() {
        let readiness = Readiness::starting();
        assert_eq!(readiness.waiting(), ["start"]);
        let pools = readiness.token("pools");
        readiness.started();
        assert_eq!(readiness.waiting(), ["pools"]);
        pools.ready();
        assert!(readiness.waiting().is_empty());
    }

    #[test]
    fn ready_when_every_token_is() {
        let readiness = Readiness::default();
        let (pools, services) = (readiness.token("pools"), readiness.token("services"));
        assert_eq!(readiness.waiting(), ["pools", "services"]);
        pools.ready();
        drop(services);
        assert_eq!(readiness.waiting(), ["services"], "a dropped token is not a ready one");
        pools.not_ready();
        assert_eq!(readiness.waiting(), ["pools", "services"]);
    }
}
