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

impl Readiness {
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
