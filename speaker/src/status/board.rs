//! What this node announces, Service by Service, for those who write it to the API server.
//!
//! Whoever tells sets one Service at a time; whoever writes is woken, and takes the names of those that changed. So a change
//! among ten thousand Services costs what one costs, and everything is kept once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ferrolb_core::dense::DenseMap;
use ferrolb_core::election::Uid;
use ferrolb_core::service::ServiceKey;
use tokio::sync::watch;

#[cfg(test)]
use super::Interfaces;
use super::plan::Saying;
use crate::report::{Announced, Conflict};

/// Where a Service stands, and what changed since the changes were taken.
#[derive(Debug, Default)]
pub struct Board {
    state: Mutex<State>,
    wake: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Every Service that this node is elected for.
    all: DenseMap<Arc<ServiceKey>, Announced>,
    /// Those of which another host has an address, elected for or not. Apart, since hardly any has.
    conflicts: BTreeMap<Arc<ServiceKey>, Arc<Conflict>>,
    changed: BTreeMap<Arc<ServiceKey>, Note>,
    /// Whether all that there was at the start is told.
    complete: bool,
    /// How often a Service began to be announced.
    begun: u64,
}

/// Kept of a change until it is taken.
#[derive(Debug)]
struct Note {
    uid: Uid,
    before: Option<Kind>,
}

/// How a Service stands, without where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Announced,
    Lacking,
}

/// One Service that changed since changes were taken last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) service: Arc<ServiceKey>,
    /// Its `metadata.uid`, as it was told last.
    pub(crate) uid: Uid,
    /// How it stood when changes were taken last.
    pub(crate) before: Option<Kind>,
    /// How it stands now.
    pub(crate) now: Option<Announced>,
}

impl Board {
    /// This Service, of this `metadata.uid`, stands so now, and other hosts have addresses of it; `None` where nothing is done
    /// for it any more, and where no other host has one.
    pub fn stand(
        &self,
        service: Arc<ServiceKey>,
        uid: Uid,
        now: Option<Announced>,
        conflict: Option<Arc<Conflict>>,
    ) {
        let mut state = self.lock();
        let State { all, conflicts, changed, complete, begun } = &mut *state;
        let (service, before) = match all.get_key_value(&service) {
            Some((known, before)) => (known.clone(), Some(before)),
            None => (service, None),
        };
        if before == now.as_ref() && conflicts.get(&service) == conflict.as_ref() {
            return;
        }
        match conflict {
            Some(conflict) => drop(conflicts.insert(service.clone(), conflict)),
            None => drop(conflicts.remove(&service)),
        }
        let (before, after) = (before.map(kind), now.as_ref().map(kind));
        *begun += u64::from(after == Some(Kind::Announced) && before != after);
        let note = changed.entry(service.clone()).or_insert_with(|| Note { uid: uid.clone(), before });
        note.uid = uid;
        match now {
            Some(now) => drop(all.insert(service, now)),
            None => drop(all.remove(&service)),
        }
        let tell = *complete;
        drop(state);
        if tell {
            self.wake.send_replace(());
        }
    }

    /// The same without other hosts.
    #[cfg(test)]
    pub(crate) fn set(&self, service: Arc<ServiceKey>, uid: Uid, now: Option<Announced>) {
        self.stand(service, uid, now, None);
    }

    /// All that there was at the start is told. Until then nothing is to be read from what is missing.
    pub fn complete(&self) {
        self.lock().complete = true;
        self.wake.send_replace(());
    }

    /// Wakes at each change from [`Board::complete`] on.
    pub(crate) fn listen(&self) -> watch::Receiver<()> {
        self.wake.subscribe()
    }

    /// Whether all that there was at the start is told.
    pub(crate) fn is_complete(&self) -> bool {
        self.lock().complete
    }

    /// What changed since the last call, by name; nothing before all is told.
    pub(crate) fn take(&self) -> Vec<Change> {
        let mut state = self.lock();
        if !state.complete {
            return Vec::new();
        }
        let changed = std::mem::take(&mut state.changed);
        let change = |(service, Note { uid, before })| {
            let now = state.all.get(&service).cloned();
            Change { service, uid, before, now }
        };
        changed.into_iter().map(change).collect()
    }

    /// On which interfaces the Service is announced, if it is; empty for all.
    #[cfg(test)]
    pub(crate) fn announced(&self, service: &ServiceKey) -> Option<Interfaces> {
        match self.lock().all.get(service) {
            Some(Announced::On(interfaces)) => Some(interfaces.clone()),
            Some(Announced::Lacks(_)) | None => None,
        }
    }

    /// What the API is to show of the Service, if anything.
    pub(crate) fn wanted(&self, service: &ServiceKey) -> Option<Saying> {
        let state = self.lock();
        saying(state.all.get(service), state.conflicts.get(service))
    }

    /// The Services of which the API is to show something, and of which `so` is true.
    pub(crate) fn wanted_where(
        &self,
        so: impl Fn(&Arc<ServiceKey>, &Saying) -> bool,
    ) -> Vec<Arc<ServiceKey>> {
        let state = self.lock();
        let held = state.conflicts.keys().filter(|service| !state.all.contains_key(*service));
        let those = state.all.keys().chain(held).filter(|service| {
            let wanted = saying(state.all.get(*service), state.conflicts.get(*service));
            wanted.is_some_and(|wanted| so(service, &wanted))
        });
        those.cloned().collect()
    }

    /// The Services for which this node is elected and has none of the interfaces.
    #[cfg(test)]
    pub(crate) fn lacking(&self) -> Vec<Arc<ServiceKey>> {
        let state = self.lock();
        let those = state.all.iter().filter(|(_, now)| kind(now) == Kind::Lacking);
        those.map(|(service, _)| service.clone()).collect()
    }

    /// The name as it is kept already, if it is: ten thousand twice are a megabyte.
    pub(crate) fn shared(&self, service: &Arc<ServiceKey>) -> Arc<ServiceKey> {
        self.lock().all.get_key_value(service).map_or(service, |(known, _)| known).clone()
    }

    /// How often a Service began to be announced: by that one sees whether there are more.
    pub(crate) fn begun(&self) -> u64 {
        self.lock().begun
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the API is to show of a Service that stands so.
fn saying(now: Option<&Announced>, conflict: Option<&Arc<Conflict>>) -> Option<Saying> {
    let on = match now {
        Some(Announced::On(interfaces)) => Some(interfaces.clone()),
        Some(Announced::Lacks(_)) | None => None,
    };
    let says = on.is_some() || conflict.is_some();
    says.then(|| Saying { on: on.unwrap_or_default(), conflict: conflict.cloned() })
}

fn kind(announced: &Announced) -> Kind {
    match announced {
        Announced::On(_) => Kind::Announced,
        Announced::Lacks(_) => Kind::Lacking,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Arc<ServiceKey> {
        Arc::new(ServiceKey::new("shop", name))
    }

    fn on(link: &str) -> Option<Announced> {
        Some(Announced::On(Arc::new([link.to_owned()].into())))
    }

    fn change(name: &str, uid: &str, before: Option<Kind>, now: Option<Announced>) -> Change {
        Change { service: key(name), uid: uid.into(), before, now }
    }

    #[test]
    fn nothing_is_taken_before_all_is_told_and_then_each_change_once() {
        let board = Board::default();
        let mut woken = board.listen();
        board.set(key("web"), "u1".into(), on("lan"));
        assert_eq!((board.take(), woken.has_changed().unwrap()), (vec![], false), "half of it");
        board.complete();
        assert!(woken.has_changed().unwrap());
        woken.mark_unchanged();
        assert_eq!(board.take(), [change("web", "u1", None, on("lan"))]);
        assert_eq!(board.take(), []);
        board.set(key("web"), "u1".into(), on("lan"));
        assert_eq!((board.take(), woken.has_changed().unwrap()), (vec![], false), "the same again");
        let lacks = Some(Announced::Lacks(Arc::default()));
        board.set(key("web"), "u1".into(), on("dsl"));
        board.set(key("web"), "u2".into(), lacks.clone());
        assert!(woken.has_changed().unwrap());
        assert_eq!(board.take(), [change("web", "u2", Some(Kind::Announced), lacks)]);
        assert_eq!(board.announced(&key("web")), None);
        board.set(key("web"), "u2".into(), None);
        assert_eq!(board.take(), [change("web", "u2", Some(Kind::Lacking), None)]);
        assert_eq!(board.wanted_where(|_, _| true), []);
    }

    #[test]
    fn a_conflict_is_a_change_and_is_shown_without_an_announcement_too() {
        let board = Board::default();
        board.complete();
        let conflict =
            |words: &str| Some(Arc::new(Conflict { held_back: true, words: words.to_owned(), since: 7 }));
        board.stand(key("web"), "u1".into(), None, conflict("a"));
        assert_eq!(board.take(), [change("web", "u1", None, None)]);
        board.stand(key("web"), "u1".into(), None, conflict("a"));
        assert_eq!(board.take(), [], "the same again");
        board.stand(key("web"), "u1".into(), None, conflict("b"));
        assert_eq!(board.take().len(), 1);
        board.set(key("db"), "u1".into(), on("lan"));
        let lacks = Some(Announced::Lacks(Arc::default()));
        board.set(key("lost"), "u1".into(), lacks);
        assert_eq!(board.wanted_where(|_, _| true), [key("db"), key("web")]);
        let wanted = board.wanted(&key("web")).unwrap();
        assert_eq!((wanted.on.len(), wanted.conflict), (0, conflict("b")));
        // It is announced after all.
        board.stand(key("web"), "u1".into(), on("lan"), None);
        let wanted = board.wanted(&key("web")).unwrap();
        assert_eq!((wanted.on.len(), wanted.conflict), (1, None));
        board.set(key("web"), "u1".into(), None);
        assert_eq!(board.wanted(&key("web")), None);
    }

    #[test]
    fn beginnings_are_counted() {
        let board = Board::default();
        let begun = |now| {
            board.set(key("web"), "u1".into(), now);
            board.begun()
        };
        let lacks = Some(Announced::Lacks(Arc::default()));
        assert_eq!([on("lan"), on("dsl"), lacks, on("lan"), None].map(begun), [1, 1, 1, 2, 2]);
    }

    #[test]
    fn a_name_is_kept_once() {
        let board = Board::default();
        let (one, two) = (key("web"), key("web"));
        board.set(one.clone(), "u1".into(), on("lan"));
        assert!(Arc::ptr_eq(&board.shared(&two), &one));
        board.complete();
        board.take();
        board.set(two.clone(), "u1".into(), on("dsl"));
        assert!(Arc::ptr_eq(&board.take()[0].service, &one), "a change does not bring another copy");
        let other = key("other");
        assert!(Arc::ptr_eq(&board.shared(&other), &other));
    }
}
