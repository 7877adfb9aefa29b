//! The `ServiceL2Status` objects of this node, as the API server has them; little is kept of each.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use ferrolb_core::dense::DenseMap;
use ferrolb_core::few::Few;
use ferrolb_core::service::ServiceKey;
use ferrolb_crds::{
    ADDRESS_CONFLICT, CONFLICT_LABEL, HELD_BACK, IN_USE, SERVICE_NAME_LABEL, SERVICE_NAMESPACE_LABEL,
    ServiceL2Status,
};
use ferrolb_runtime::Seen;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, OwnerReference};

use super::plan::{Object, Said, Saying};
use super::settling::{Held, Settling};
use super::{Interfaces, PodRef, names};
use crate::report::Conflict;

/// Who we are.
#[derive(Clone, Debug)]
pub(crate) struct Me {
    /// The node's name.
    pub(crate) node: String,
    /// Its name as a label.
    pub(crate) label: String,
    /// The Pod to which belongs what we write.
    pub(crate) pod: Option<PodRef>,
}

impl Me {
    pub(crate) fn new(node: String, pod: Option<PodRef>) -> Self {
        let label = names::label(&node).into_owned();
        Me { node, label, pod }
    }

    /// What our objects name as their owners.
    pub(crate) fn owners(&self) -> Option<Vec<OwnerReference>> {
        self.pod.as_ref().map(|pod| {
            vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Pod".to_owned(),
                name: pod.name.clone(),
                uid: pod.uid.clone(),
                block_owner_deletion: None,
                controller: None,
            }]
        })
    }

    /// Whether these are the owners that our objects should have. Without a Pod there is nothing to compare with.
    pub(crate) fn owned(&self, owners: Option<&[OwnerReference]>) -> bool {
        let Some(pod) = &self.pod else { return true };
        matches!(owners, Some([owner]) if owner.uid == pod.uid)
    }
}

/// An object with its Service and version, as the watch or the answer to a write shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// By its labels.
    pub(crate) service: Arc<ServiceKey>,
    pub(crate) version: String,
    pub(crate) object: Object,
}

/// Makes [`Stored`] of whole objects.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    me: Arc<Me>,
    /// Sets of interfaces that were read: most objects have one of few.
    known: BTreeSet<Interfaces>,
}

/// So many sets of interfaces are remembered.
const SETS: usize = 64;

impl Reader {
    pub(crate) fn new(me: Arc<Me>) -> Self {
        Reader { me, known: BTreeSet::new() }
    }

    pub(crate) fn read(&mut self, object: ServiceL2Status) -> Stored {
        let metadata = object.metadata;
        let label = |name: &str| {
            let value = metadata.labels.as_ref().and_then(|labels| labels.get(name));
            value.cloned().unwrap_or_default()
        };
        let service = ServiceKey::new(label(SERVICE_NAMESPACE_LABEL), label(SERVICE_NAME_LABEL));
        let status = object.status.unwrap_or_default();
        let fields = [
            (&status.node, self.me.node.as_str()),
            (&status.service_name, service.name()),
            (&status.service_namespace, service.namespace()),
        ];
        let said = if fields.iter().any(|(is, wanted)| !is.is_empty() && *is != wanted) {
            Said::OfAnother
        } else if fields.iter().any(|(is, _)| is.is_empty())
            || !status.interfaces.is_sorted_by(|one, two| one < two)
        {
            Said::Incomplete
        } else if let Ok(conflict) = conflict(status.conditions) {
            let on = self.shared(status.interfaces.into_iter().map(|interface| interface.name).collect());
            Said::This(Saying { on, conflict })
        } else {
            Said::Incomplete
        };
        let service = Arc::new(service);
        Stored {
            version: metadata.resource_version.unwrap_or_default(),
            object: Object {
                name: metadata.name.unwrap_or_default().into(),
                said,
                marked: metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(CONFLICT_LABEL)),
                ours: self.me.owned(metadata.owner_references.as_deref()),
                ending: metadata.deletion_timestamp.is_some(),
            },
            service,
        }
    }

    fn shared(&mut self, interfaces: BTreeSet<String>) -> Interfaces {
        if let Some(known) = self.known.get(&interfaces) {
            return known.clone();
        }
        if self.known.len() >= SETS {
            self.known.clear();
        }
        let interfaces = Arc::new(interfaces);
        self.known.insert(interfaces.clone());
        interfaces
    }
}

/// A condition of ours that was edited.
struct Odd;

/// The conflict that these conditions tell of.
fn conflict(conditions: Vec<Condition>) -> Result<Option<Arc<Conflict>>, Odd> {
    let Some(condition) = conditions.into_iter().find(|condition| condition.type_ == ADDRESS_CONFLICT) else {
        return Ok(None);
    };
    let held_back = match (condition.status.as_str(), condition.reason.as_str()) {
        ("True", HELD_BACK) => true,
        ("True", IN_USE) => false,
        _ => return Err(Odd),
    };
    let since = condition.last_transition_time.0.as_second();
    Ok(Some(Arc::new(Conflict { held_back, words: condition.message, since })))
}

/// For which Services something changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    /// For any, after a list.
    Any,
    These(Vec<Arc<ServiceKey>>),
}

/// All of them, by Service. Ten thousand are no rarity, so there is nothing more of each that nothing happens to.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    /// Those of each Service, by name.
    of: DenseMap<Arc<ServiceKey>, Few<Object>>,
    /// The hashes of all names: one that is not among them is not looked for. They have 64 bits, so that of ten
    /// thousand names no two have the same, but for one cluster in hundreds of billions.
    names: HashSet<u64>,
    /// Whether there was a whole list.
    pub(crate) listed: bool,
    /// Of objects that we wrote, by name, the version that the watch has yet to show.
    settling: BTreeMap<Box<str>, Settling<Stored>>,
    /// Of Services with a write under way, the versions that the watch has shown since it began: it may be faster than
    /// the answer.
    writing: BTreeMap<Arc<ServiceKey>, Vec<String>>,
    /// The ends of what settles, in their order.
    ends: VecDeque<(Duration, Arc<ServiceKey>, Box<str>)>,
}

impl Objects {
    /// Those for one Service, by name.
    pub(crate) fn of(&self, service: &ServiceKey) -> &[Object] {
        self.of.get(service).map(|objects| &**objects).unwrap_or_default()
    }

    /// The Services for which there is any.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Arc<ServiceKey>> {
        self.of.keys()
    }

    /// Takes the names of Services from `shared`, where others keep the same.
    pub(crate) fn share(&mut self, shared: impl Fn(&Arc<ServiceKey>) -> Arc<ServiceKey>) {
        let all = std::mem::take(&mut self.of);
        self.of = all.into_iter().map(|(service, objects)| (shared(&service), objects)).collect();
    }

    /// Takes what the watch shows.
    pub(crate) fn see(&mut self, seen: Seen<Stored>, now: Duration) -> Touched {
        Touched::These(match seen {
            Seen::Failing => Vec::new(),
            Seen::Applied(stored) => self.apply(stored, now),
            Seen::Deleted(stored) => self.forget(&stored.service, &stored.object.name).into_iter().collect(),
            Seen::Listed(all) => {
                self.list(all, now);
                return Touched::Any;
            }
        })
    }

    fn apply(&mut self, stored: Stored, now: Duration) -> Vec<Arc<ServiceKey>> {
        if let Some(versions) = self.writing.get_mut(&stored.service) {
            versions.push(stored.version.clone());
        }
        let mut touched = Vec::new();
        let known = self.find(&stored.service, &stored.object.name).is_some();
        // Its labels may have been edited: then it was another Service's.
        if !known {
            touched.extend(self.forget_anywhere(&stored.object.name));
            let service = stored.service.clone();
            self.add(stored.service, stored.object);
            touched.push(service);
            return touched;
        }
        let stored = match self.settling.get_mut(&stored.object.name) {
            None => stored,
            Some(settling) => {
                let version = stored.version.clone();
                match settling.see(&version, stored, now) {
                    None => return touched,
                    Some(stored) => stored,
                }
            }
        };
        self.settling.remove(&stored.object.name);
        let Stored { service, object, .. } = stored;
        if let Some(known) = self.find(&service, &object.name)
            && *known != object
        {
            *known = object;
            touched.push(service);
        }
        touched
    }

    fn list(&mut self, all: Vec<Stored>, now: Duration) {
        self.listed = true;
        let there: BTreeSet<&str> = all.iter().map(|stored| &*stored.object.name).collect();
        let gone = |object: &&Object| !there.contains(&*object.name);
        let unlisted = self.of.iter().flat_map(|(service, objects)| {
            objects.iter().filter(gone).map(|object| (service.clone(), object.name.clone()))
        });
        let unlisted: Vec<_> = unlisted.collect();
        for (service, name) in unlisted {
            if self.settling.get_mut(&name).is_none_or(|settling| settling.miss(now)) {
                self.forget(&service, &name);
            }
        }
        for stored in all {
            self.apply(stored, now);
        }
    }

    /// A write about this Service begins. It ends with [`Objects::written`], [`Objects::deleted`] or [`Objects::unsure`].
    pub(crate) fn writing(&mut self, service: &Arc<ServiceKey>) {
        self.writing.insert(service.clone(), Vec::new());
    }

    /// A write made this version of an object.
    pub(crate) fn written(&mut self, stored: Stored, now: Duration) {
        let Stored { service, version, object } = stored;
        if self.writing.remove(&service).is_some_and(|shown| shown.contains(&version)) {
            // What the watch has shown since is newer.
            return;
        }
        let settling = Settling::new(version, now);
        self.ends.push_back((settling.until(), service.clone(), object.name.clone()));
        self.settling.insert(object.name.clone(), settling);
        match self.find(&service, &object.name) {
            Some(known) => *known = object,
            None => self.add(service, object),
        }
    }

    /// A write about this Service has an outcome that is not known: what the watch shows tells.
    pub(crate) fn unsure(&mut self, service: &ServiceKey, now: Duration) {
        self.writing.remove(service);
        let objects = self.of.get(service).map(|objects| &**objects).unwrap_or_default();
        let settling = &mut self.settling;
        let shown = objects.iter().filter_map(|object| settling.get_mut(&object.name)?.unsure());
        let shown: Vec<Stored> = shown.collect();
        for stored in shown {
            self.apply(stored, now);
        }
    }

    /// A write deleted this object.
    pub(crate) fn deleted(&mut self, service: &ServiceKey, name: &str) {
        self.writing.remove(service);
        self.forget(service, name);
    }

    /// The object is gone; returns its Service, if it was known.
    fn forget(&mut self, service: &ServiceKey, name: &str) -> Option<Arc<ServiceKey>> {
        if self.find(service, name).is_none() {
            return self.forget_anywhere(name);
        }
        self.settling.remove(name);
        self.names.remove(&hash(name));
        let service = self.of.get_key_value(service).map(|(service, _)| service.clone())?;
        if let Some(objects) = self.of.get_mut(&service) {
            objects.retain(|object| &*object.name != name);
            if objects.is_empty() {
                self.of.remove(&service);
            }
        }
        Some(service)
    }

    /// Looks through all: only for objects that somebody else relabelled.
    fn forget_anywhere(&mut self, name: &str) -> Option<Arc<ServiceKey>> {
        if !self.names.contains(&hash(name)) {
            return None;
        }
        let has = |objects: &Few<Object>| objects.iter().any(|object| &*object.name == name);
        let service = self.of.iter().find(|(_, objects)| has(objects))?.0.clone();
        self.forget(&service, name)
    }

    fn add(&mut self, service: Arc<ServiceKey>, object: Object) {
        self.names.insert(hash(&object.name));
        let objects = self.of.or_default(service);
        let at = objects.partition_point(|other| other.name < object.name);
        objects.insert(at, object);
    }

    fn find(&mut self, service: &ServiceKey, name: &str) -> Option<&mut Object> {
        self.of.get_mut(service)?.iter_mut().find(|object| &*object.name == name)
    }

    /// When to call [`Objects::settle`] next.
    pub(crate) fn settles(&self) -> Option<Duration> {
        self.ends.front().map(|(at, ..)| *at)
    }

    /// Ends what has waited for the watch long enough; returns the Services for which something changed.
    pub(crate) fn settle(&mut self, now: Duration) -> Vec<Arc<ServiceKey>> {
        let mut touched = Vec::new();
        while self.ends.front().is_some_and(|(at, ..)| *at <= now) {
            let Some((_, service, name)) = self.ends.pop_front() else { break };
            // It may have been written again since.
            if self.settling.get(&name).is_none_or(|settling| settling.until() > now) {
                continue;
            }
            match self.settling.remove(&name).map(Settling::ended) {
                None | Some(Held::Nothing) => {}
                Some(Held::Shows(stored)) => touched.extend(self.apply(stored, now)),
                Some(Held::Absent) => touched.extend(self.forget(&service, &name)),
            }
        }
        touched
    }
}

fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: Duration = Duration::from_secs(50);
    const LATER: Duration = Duration::from_secs(60);

    fn me() -> Arc<Me> {
        let pod = PodRef { name: "speaker-x".to_owned(), uid: "u1".to_owned() };
        Arc::new(Me::new("n1".to_owned(), Some(pod)))
    }

    fn read(name: &str, version: &str, service: &str, status: &Value) -> Stored {
        let object = json!({
            "metadata": {
                "name": name, "resourceVersion": version,
                "labels": {
                    "metallb.io/node": "n1", "metallb.io/service-name": service,
                    "metallb.io/service-namespace": "shop",
                },
                "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "speaker-x", "uid": "u1"}],
            },
            "status": status,
        });
        Reader::new(me()).read(serde_json::from_value(object).unwrap())
    }

    fn whole(interfaces: &[&str]) -> Value {
        let interfaces: Vec<Value> = interfaces.iter().map(|name| json!({"name": name})).collect();
        json!({"node": "n1", "serviceName": "web", "serviceNamespace": "shop", "interfaces": interfaces})
    }

    fn web() -> Arc<ServiceKey> {
        Arc::new(ServiceKey::new("shop", "web"))
    }

    #[test]
    fn what_a_status_says() {
        let said = |status: &Value| read("l2-a", "1", "web", status).object.said;
        assert!(matches!(said(&whole(&["eth0", "eth1"])), Said::This(Saying { on, .. }) if on.len() == 2));
        assert!(matches!(said(&whole(&[])), Said::This(Saying { on, conflict: None }) if on.is_empty()));
        for edited in
            [json!({}), json!(null), json!({"node": "n1"}), whole(&["eth1", "eth0"]), whole(&["a", "a"])]
        {
            assert_eq!(said(&edited), Said::Incomplete, "{edited}");
        }
        for (field, value) in [("node", "n2"), ("serviceName", "other"), ("serviceNamespace", "other")] {
            assert_eq!(said(&json!({(field): value})), Said::OfAnother, "{field}");
        }
    }

    #[test]
    fn what_a_status_says_of_a_conflict() {
        let said = |kind: &str, status: &str, reason: &str| {
            let mut whole = whole(&[]);
            whole["conditions"] = json!([{"type": "Other", "status": "True", "reason": "x", "message": "",
                "lastTransitionTime": "1970-01-01T00:00:09Z"}, {"type": kind, "status": status, "reason": reason,
                "message": "words", "lastTransitionTime": "1970-01-01T00:00:07Z"}]);
            read("l2-a", "1", "web", &whole).object.said
        };
        for (reason, held_back) in [(HELD_BACK, true), (IN_USE, false)] {
            let Said::This(Saying { conflict: Some(conflict), .. }) = said(ADDRESS_CONFLICT, "True", reason)
            else {
                panic!("no conflict");
            };
            assert_eq!(*conflict, Conflict { held_back, words: "words".to_owned(), since: 7 });
        }
        assert_eq!(said(ADDRESS_CONFLICT, "False", IN_USE), Said::Incomplete);
        assert_eq!(said(ADDRESS_CONFLICT, "True", "Edited"), Said::Incomplete);
        assert!(matches!(said("Foreign", "True", IN_USE), Said::This(Saying { conflict: None, .. })));
    }

    #[test]
    fn whose_object_it_is() {
        let owners = |uids: &[&str]| -> Vec<OwnerReference> {
            uids.iter()
                .map(|uid| OwnerReference { uid: (*uid).to_owned(), ..OwnerReference::default() })
                .collect()
        };
        assert!(me().owned(Some(&owners(&["u1"]))));
        for others in [owners(&[]), owners(&["u2"]), owners(&["u1", "u2"])] {
            assert!(!me().owned(Some(&others)));
        }
        assert!(!me().owned(None));
        assert!(Me::new("n1".to_owned(), None).owned(None), "without a Pod there is nothing to correct");
    }

    #[test]
    fn equal_sets_of_interfaces_are_kept_once() {
        let mut reader = Reader::new(me());
        let one = reader.shared(["eth0".to_owned()].into());
        let two = reader.shared(["eth0".to_owned()].into());
        assert!(Arc::ptr_eq(&one, &two));
    }

    #[test]
    fn the_watch_is_followed() {
        let mut objects = Objects::default();
        assert!(!objects.listed);
        let (a, b) = (read("l2-a", "1", "web", &whole(&[])), read("l2-b", "1", "other", &json!({})));
        assert_eq!(objects.see(Seen::Listed(vec![a.clone(), b.clone()]), NOW), Touched::Any);
        assert!(objects.listed);
        assert_eq!(objects.services().collect::<Vec<_>>(), [&b.service, &web()]);
        assert_eq!(objects.see(Seen::Applied(a.clone()), NOW), these(&[]), "the same again");
        objects.see(Seen::Listed(vec![a.clone()]), NOW);
        assert_eq!(objects.services().collect::<Vec<_>>(), [&web()]);
        // Somebody relabels it.
        let relabelled = read("l2-a", "2", "other", &whole(&[]));
        let both = these(&[web(), relabelled.service.clone()]);
        assert_eq!(objects.see(Seen::Applied(relabelled.clone()), NOW), both);
        assert_eq!(objects.see(Seen::Deleted(a), NOW), these(&[relabelled.service]));
        assert_eq!(objects.services().count(), 0);
    }

    fn these(services: &[Arc<ServiceKey>]) -> Touched {
        Touched::These(services.to_vec())
    }

    #[test]
    fn an_older_version_does_not_undo_a_write() {
        let mut objects = Objects::default();
        objects.see(Seen::Listed(Vec::new()), NOW);
        let written = read("l2-a", "8", "web", &whole(&[]));
        objects.written(written.clone(), NOW);
        // The watch shows the object as it was made, without a status; and a list from before is without it.
        assert_eq!(objects.see(Seen::Applied(read("l2-a", "7", "web", &json!({}))), NOW), these(&[]));
        objects.see(Seen::Listed(Vec::new()), NOW);
        assert_eq!(objects.of(&web()), std::slice::from_ref(&written.object));
        assert_eq!(objects.see(Seen::Applied(written), NOW), these(&[]));
        // From then on the watch counts again.
        let edited = read("l2-a", "9", "web", &json!({}));
        assert_eq!(objects.see(Seen::Applied(edited.clone()), NOW), these(&[web()]));
        assert_eq!(objects.of(&web()), [edited.object]);
        assert_eq!(objects.settle(LATER), []);
    }

    #[test]
    fn a_watch_that_is_faster_than_the_answer_is_right() {
        let mut objects = Objects::default();
        objects.writing(&web());
        let written = read("l2-a", "8", "web", &whole(&[]));
        objects.see(Seen::Applied(read("l2-a", "7", "web", &json!({}))), NOW);
        objects.see(Seen::Applied(written.clone()), NOW);
        let edited = read("l2-a", "9", "web", &json!({}));
        objects.see(Seen::Applied(edited.clone()), NOW);
        objects.written(written, NOW);
        assert_eq!(objects.of(&web()), [edited.object]);
        assert_eq!(objects.settles(), None, "there is nothing to wait for");
    }

    #[test]
    fn what_was_never_shown_counts_only_for_a_while() {
        // Somebody deleted it before a new list: no event ever says so.
        let mut objects = Objects::default();
        objects.written(read("l2-a", "8", "web", &whole(&[])), NOW);
        objects.see(Seen::Listed(Vec::new()), NOW);
        assert_eq!(objects.settle(NOW), []);
        assert_eq!(objects.settle(objects.settles().unwrap()), [web()]);
        assert_eq!(objects.of(&web()), &[]);
        // Somebody edited it before a new list.
        let mut objects = Objects::default();
        objects.written(read("l2-a", "8", "web", &whole(&[])), NOW);
        let edited = read("l2-a", "9", "web", &json!({}));
        objects.see(Seen::Listed(vec![edited.clone()]), NOW);
        assert_eq!(objects.settle(LATER), [web()]);
        assert_eq!(objects.of(&web()), [edited.object]);
        // A write after it failed, nobody knows how: what the watch shows counts at once.
        let mut objects = Objects::default();
        objects.written(read("l2-a", "8", "web", &json!({})), NOW);
        let done = read("l2-a", "9", "web", &whole(&[]));
        assert_eq!(objects.see(Seen::Applied(done.clone()), NOW), these(&[]));
        objects.unsure(&web(), NOW);
        assert_eq!(objects.of(&web()), [done.object]);
        // The watch is stuck: the result is all that is known.
        let mut objects = Objects::default();
        let written = read("l2-a", "8", "web", &whole(&[]));
        objects.written(written.clone(), NOW);
        assert_eq!(objects.settle(LATER), []);
        assert_eq!(objects.of(&web()), [written.object]);
    }
}
