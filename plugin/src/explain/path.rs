//! The path of a packet, step by step, as a function of a [`Look`].

use ferrolb_core::service::ServiceKey;
use serde::Serialize;

use super::address::address;
use super::owner::{owner, owners};
use super::traffic::{Backend, endpoints, node};
use crate::look::Look;

/// So many nodes or endpoints are named.
pub(super) const NAMED: usize = 12;

/// Where the packets to one Service go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// `namespace/name`.
    pub service: String,
    /// From the address to the endpoints, as far as they come.
    pub steps: Vec<Step>,
    /// What could not be read.
    pub unread: Vec<String>,
}

/// One step of the path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What it is about.
    pub name: &'static str,
    /// Whether packets get past it.
    pub verdict: Verdict,
    /// In one sentence.
    pub says: String,
    /// What is behind that.
    pub details: Vec<String>,
    /// What to change, where something is to be.
    pub change: String,
    /// A file and heading of FerroLB's documentation.
    pub docs: &'static str,
}

/// Whether packets get past a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// They do.
    Passes,
    /// They do, but something is not as it should be.
    Doubtful,
    /// They end here.
    Ends,
}

impl Step {
    /// One without details.
    pub(super) fn new(name: &'static str, verdict: Verdict, says: impl Into<String>) -> Self {
        Step { name, verdict, says: says.into(), details: Vec::new(), change: String::new(), docs: "" }
    }

    /// The same with what to change, and where to read.
    pub(super) fn change(self, change: impl Into<String>, docs: &'static str) -> Self {
        Step { change: change.into(), docs, ..self }
    }
}

impl Explanation {
    /// The path to this Service, which is there: it ends with the first step that no packet gets past.
    pub fn of(look: &Look, key: &ServiceKey, backends: Vec<Backend>) -> Self {
        let service = &look.services[key];
        let candidates = look.candidates();
        let mut steps = vec![address(look, key, service)];
        let passes = |steps: &[Step]| steps.iter().all(|step| step.verdict != Verdict::Ends);
        if passes(&steps) {
            steps.push(owner(look, &candidates, key, service));
        }
        if passes(&steps) {
            steps.push(node(look, key));
        }
        if passes(&steps) {
            steps.push(endpoints(service, &owners(look, key), &backends));
        }
        Explanation { service: key.to_string(), steps, unread: look.unread.clone() }
    }

    /// Whether packets arrive, as far as can be seen.
    pub fn arrives(&self) -> bool {
        self.steps.iter().all(|step| step.verdict != Verdict::Ends)
    }
}
