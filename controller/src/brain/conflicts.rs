//! What speakers report of other hosts that have a Service's address, for the Service's condition: a speaker may not write
//! to Services.
//!
//! A node's owner has its speaker's token and could report anything. So nothing is decided by a report, and no more of it
//! reaches a Service than some words.

use std::collections::{BTreeMap, BTreeSet};

use ferrolb_core::service::ServiceKey;
use ferrolb_crds::{ADDRESS_CONFLICT, HELD_BACK, IN_USE, ServiceL2Status};
use ferrolb_runtime::Seen;

/// So many bytes of words are shown on a Service.
const LONGEST: usize = 4096;

/// What one `ServiceL2Status` reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// `metadata.name` of the object.
    pub object: String,
    /// The conflict, if the object tells of one.
    pub conflict: Option<Conflict>,
}

/// Another host has an address of a Service, as a node sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// The Service.
    pub service: ServiceKey,
    /// Whether an address is not announced on account of it.
    pub held_back: bool,
    /// In words.
    pub words: String,
}

impl Report {
    /// What `object` reports.
    pub fn of(object: ServiceL2Status) -> Self {
        let status = object.status.unwrap_or_default();
        let mut conditions = status.conditions.into_iter();
        let condition = conditions.find(|c| c.type_ == ADDRESS_CONFLICT && c.status == "True");
        let service = ServiceKey::new(status.service_namespace, status.service_name);
        Report {
            object: object.metadata.name.unwrap_or_default(),
            conflict: condition.map(|condition| Conflict {
                service,
                held_back: condition.reason == HELD_BACK,
                words: cut(condition.message),
            }),
        }
    }
}

/// All conflicts.
#[derive(Clone, Debug, Default)]
pub(super) struct Conflicts {
    /// Whether there was a whole list. Before that, what Services show is left as it is.
    listed: bool,
    /// By object.
    all: BTreeMap<String, Conflict>,
    /// The objects of each Service.
    of: BTreeMap<ServiceKey, BTreeSet<String>>,
}

impl Conflicts {
    /// What the watch says; returns whether that is news.
    pub(super) fn see(&mut self, seen: Seen<Report>) -> bool {
        match seen {
            Seen::Listed(reports) => {
                let before = std::mem::take(&mut self.all);
                self.of.clear();
                for report in reports {
                    self.put(report);
                }
                !std::mem::replace(&mut self.listed, true) || self.all != before
            }
            Seen::Applied(report) => self.put(report),
            Seen::Deleted(report) => self.put(Report { conflict: None, ..report }),
            Seen::Failing => false,
        }
    }

    fn put(&mut self, Report { object, conflict }: Report) -> bool {
        if self.all.get(&object) == conflict.as_ref() {
            return false;
        }
        if let Some(before) = self.all.remove(&object)
            && let Some(objects) = self.of.get_mut(&before.service)
        {
            objects.remove(&object);
            if objects.is_empty() {
                self.of.remove(&before.service);
            }
        }
        if let Some(conflict) = conflict {
            self.of.entry(conflict.service.clone()).or_default().insert(object.clone());
            self.all.insert(object, conflict);
        }
        true
    }

    /// Of how many Services another host has an address.
    pub(super) fn services(&self) -> usize {
        self.of.len()
    }

    /// The reason and the message of the condition that a Service is to have, if any; `Err` while that is not known.
    pub(super) fn condition(&self, service: &ServiceKey) -> Result<Option<(&'static str, String)>, Unknown> {
        if !self.listed {
            return Err(Unknown);
        }
        let Some(objects) = self.of.get(service) else { return Ok(None) };
        let conflicts: BTreeSet<&Conflict> = objects.iter().filter_map(|name| self.all.get(name)).collect();
        let held_back = conflicts.iter().any(|conflict| conflict.held_back);
        let words: BTreeSet<&str> = conflicts.iter().map(|conflict| conflict.words.as_str()).collect();
        let words = words.into_iter().collect::<Vec<_>>().join("; ");
        Ok(Some((if held_back { HELD_BACK } else { IN_USE }, cut(words))))
    }
}

/// The reports were not listed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unknown;

fn cut(mut words: String) -> String {
    if words.len() > LONGEST {
        words.truncate(words.floor_char_boundary(LONGEST - '…'.len_utf8()));
        words.push('…');
    }
    words
}
