//! Readiness as a set of tokens: ready when none is outstanding. Beside it, remarks: what an operator should know and
//! change, though the program does its work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// What the program still waits for, and what it has to remark.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    waiting: BTreeSet<String>,
    remarks: BTreeMap<String, String>,
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
        readiness.lock().waiting.insert(START.to_owned());
        readiness
    }

    /// All tokens that the program begins with are there; from now on they alone decide.
    pub fn started(&self) {
        self.lock().waiting.remove(START);
    }

    /// Something more to wait for, by the name that `/readyz` shows.
    pub fn token(&self, name: impl Into<String>) -> Token {
        let token = Token { name: name.into(), readiness: self.clone() };
        token.not_ready();
        token
    }

    /// What is not ready yet, in order.
    pub fn waiting(&self) -> Vec<String> {
        self.lock().waiting.iter().cloned().collect()
    }

    /// Sets the remark called `name`, or takes it back with `None`. `/readyz` shows it, ready or not; it does not
    /// make the program unready, as a restart or another node would not help.
    pub fn remark(&self, name: impl Into<String>, text: Option<String>) {
        let (name, mut state) = (name.into(), self.lock());
        match text {
            Some(text) => state.remarks.insert(name, text),
            None => state.remarks.remove(&name),
        };
    }

    /// The remarks by their names.
    pub fn remarks(&self) -> BTreeMap<String, String> {
        self.lock().remarks.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Token {
    /// It is ready now.
    pub fn ready(&self) {
        if self.readiness.lock().waiting.remove(&self.name) {
            tracing::debug!(what = self.name, "ready");
        }
    }

    /// It is not, or no longer.
    pub fn not_ready(&self) {
        self.readiness.lock().waiting.insert(self.name.clone());
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

    #[test]
    fn a_remark_stays_until_it_is_replaced_or_taken_back_and_keeps_nobody_waiting() {
        let readiness = Readiness::default();
        let told = |readiness: &Readiness| readiness.remarks().into_iter().collect::<Vec<_>>();
        let remark = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        readiness.remark("proxy", Some("is silent".to_owned()));
        readiness.clone().remark("ARP", Some("is loose".to_owned()));
        assert_eq!(told(&readiness), [remark("ARP", "is loose"), remark("proxy", "is silent")]);
        assert!(readiness.waiting().is_empty());
        readiness.remark("proxy", Some("is sick".to_owned()));
        readiness.remark("ARP", None);
        readiness.remark("ARP", None);
        assert_eq!(told(&readiness), [remark("proxy", "is sick")]);
    }
}
