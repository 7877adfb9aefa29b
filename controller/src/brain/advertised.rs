//! What advertisements show of themselves: whether they can be read, and which of their parts match nothing.
//!
//! The speakers are who uses them. The controller looks at them because there is one of it: each mistake is told once, not by
//! every node. What only a node can see (whether it has an interface of that name) its speaker tells.

use std::collections::BTreeMap;
use std::sync::Arc;

use ferrolb_core::advertisement::{Effectiveness, Gap};
use ferrolb_crds::{L2Advertisement, L2AdvertisementStatus};
use ferrolb_runtime::{Note, Seen};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Resource, ResourceExt};

use super::is_version;
use super::pools::condition;
use super::world::World;

/// The condition that says whether an advertisement can be read.
pub const VALID: &str = "Valid";
/// The condition that says whether there are pools and nodes that it matches.
pub const EFFECTIVE: &str = "Effective";

/// The reason of [`EFFECTIVE`] where a part of the advertisement matches nothing and the rest works.
const PARTLY: &str = "PartlyUnused";

/// So many parts are named in a message.
const NAMED: usize = 10;

/// The advertisements.
#[derive(Clone, Debug, Default)]
pub struct Advertised {
    all: BTreeMap<String, Arc<L2Advertisement>>,
    /// Whether there is one that cannot be read.
    pub(super) invalid: bool,
    /// Whether something changed since they were judged: they, pools or nodes.
    pub(super) stale: bool,
}

impl Advertised {
    /// The one of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<L2Advertisement>> {
        self.all.get(name)
    }

    /// What the watch says.
    pub(super) fn see(&mut self, seen: Seen<L2Advertisement>) {
        match seen {
            Seen::Listed(all) => {
                self.all = all.into_iter().map(|one| (one.name_any(), Arc::new(one))).collect();
            }
            Seen::Applied(one) => drop(self.all.insert(one.name_any(), Arc::new(one))),
            Seen::Deleted(one) => drop(self.all.remove(&one.name_any())),
            Seen::Failing => return,
        }
        self.invalid = self.all.values().any(|one| one.to_core().is_err());
        self.stale = true;
    }

    /// The result of a write to one, which was `before` then, stands in until the watch shows it.
    pub(super) fn wrote(&mut self, before: &L2Advertisement, object: L2Advertisement) {
        let name = object.name_any();
        if self.all.get(&name).is_some_and(|known| is_version(&**known, before)) {
            self.all.insert(name, Arc::new(object));
            self.stale = true;
        }
    }
}

impl World {
    /// The status that each advertisement is to show; `None` if nothing changed since it was asked last.
    pub(super) fn judge_advertisements(
        &mut self,
        wall: i64,
    ) -> Option<BTreeMap<String, L2AdvertisementStatus>> {
        if !std::mem::take(&mut self.advertised.stale) {
            return None;
        }
        let exists = |name: &str| self.pools.contains_key(name);
        let judged = self.advertised.all.iter().map(|(name, object)| {
            let words = object.to_core().map_err(|problem| problem.to_string());
            let verdict =
                words.map(|words| words.effectiveness(&self.snapshot.pools, exists, self.node_labels()));
            (name.clone(), status(object, verdict, wall))
        });
        Some(judged.collect())
    }
}

fn status(
    object: &L2Advertisement,
    verdict: Result<Effectiveness, String>,
    wall: i64,
) -> L2AdvertisementStatus {
    let before = object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let (valid, effective) = match verdict {
        Err(why) => (
            (false, "Invalid", format!("not used: {why}")),
            (false, "Invalid", "not used: the condition Valid says why".to_owned()),
        ),
        Ok(found) => ((true, "Accepted", "every field can be used".to_owned()), effective(&found)),
    };
    let conditions = [(VALID, valid), (EFFECTIVE, effective)];
    let conditions = conditions
        .map(|(kind, (status, reason, message))| condition(before, kind, status, reason, message, wall));
    L2AdvertisementStatus { conditions: conditions.into() }
}

/// 1. Without a pool it announces nothing.
/// 2. Without a node nobody announces by it.
/// 3. Else it works, whatever part of it matches nothing.
fn effective(found: &Effectiveness) -> (bool, &'static str, String) {
    let gaps = || {
        let named: Vec<String> = found.gaps.iter().take(NAMED).map(Gap::to_string).collect();
        let more = match found.gaps.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        named.join("; ") + &more
    };
    if !found.has_pools {
        (false, "MatchesNoPool", format!("announces nothing: {}", gaps()))
    } else if !found.has_nodes {
        (false, "MatchesNoNode", format!("announced by nobody: {}", gaps()))
    } else if !found.gaps.is_empty() {
        (true, PARTLY, format!("works in part: {}", gaps()))
    } else {
        (true, "Matches", "there are pools and nodes for all of it".to_owned())
    }
}

/// Whether two statuses say the same, whenever that began.
pub(super) fn says_the_same(one: &L2AdvertisementStatus, other: &L2AdvertisementStatus) -> bool {
    let said = |status: &L2AdvertisementStatus| -> Vec<[String; 4]> {
        let conditions = status.conditions.iter();
        conditions.map(|c| [&c.type_, &c.status, &c.reason, &c.message].map(String::clone)).collect()
    };
    said(one) == said(other)
}

/// What to tell about an advertisement whose status changes: a mistake, when it is news.
pub(crate) fn note(object: &L2Advertisement, status: &L2AdvertisementStatus) -> Option<Note> {
    let before = object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let is_bad = |condition: &&Condition| condition.status == "False" || condition.reason == PARTLY;
    let now = status.conditions.iter().find(is_bad)?;
    let same = before.iter().filter(is_bad).any(|c| c.type_ == now.type_ && c.message == now.message);
    (!same).then(|| Note {
        about: object.object_ref(&()),
        warning: true,
        for_operators: true,
        reason: if now.type_ == VALID { "InvalidAdvertisement" } else { "AdvertisementMatchesNothing" },
        action: "Reading",
        note: now.message.clone(),
    })
}
