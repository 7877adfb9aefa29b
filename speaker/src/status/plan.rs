//! What is to be written so that the API shows what this node announces. Functions of their input.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Interfaces;
use super::board::{Change, Kind};
use crate::report::{Announced, Conflict};

/// What an object of ours is to say of its Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Saying {
    /// On which interfaces it is announced; empty for all, and where it is held back.
    pub(crate) on: Interfaces,
    /// Other hosts that have an address of it.
    pub(crate) conflict: Option<Arc<Conflict>>,
}

impl Saying {
    /// Whether it may be that the Service is not announced at all: one address of it is held back, and nothing tells of
    /// another one.
    pub(crate) fn may_be_silent(&self) -> bool {
        self.on.is_empty() && self.conflict.as_ref().is_some_and(|conflict| conflict.held_back)
    }
}

/// What the status of an object of ours says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// Not all that it should: not written yet, or edited.
    Incomplete,
    /// This node and this Service, and this of it.
    This(Saying),
    /// Another node or Service. Neither can be changed.
    OfAnother,
}

/// An object of ours for one Service, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    /// `metadata.name`.
    pub(crate) name: Box<str>,
    /// Its status.
    pub(crate) said: Said,
    /// It has the label by which conflicts are looked for.
    pub(crate) marked: bool,
    /// It belongs to our Pod and to nothing else, as far as that can be said.
    pub(crate) ours: bool,
    /// It is being deleted; a finalizer holds it.
    pub(crate) ending: bool,
}

/// One step towards what should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// Make the object and write its status.
    Create(Saying),
    /// Write the status of this object.
    Say(Box<str>, Saying),
    /// Give this object the label by which conflicts are looked for, or take it away.
    Mark(Box<str>, bool),
    /// Make this object that of our Pod: it would be deleted with the Pod before.
    Adopt(Box<str>),
    /// Delete this object.
    Delete(Box<str>),
}

/// The next step for one Service: `wanted` is what is to be said of it, if anything, and `objects` are those of ours
/// that there are, by name. Nothing, when all is as it should be.
///
/// 1. Of several objects one is kept: one that is right, else the first that can be corrected.
/// 2. Without one, it is made.
/// 3. What it says is corrected.
/// 4. It is marked if it tells of a conflict, and only then. (After it says so: who looks for the mark reads the words.)
/// 5. It is made that of our Pod.
/// 6. All others are deleted.
pub(crate) fn next(wanted: Option<&Saying>, objects: &[Object]) -> Option<Write> {
    let there = || objects.iter().filter(|object| !object.ending);
    let kept = match wanted {
        None => None,
        Some(wanted) => {
            let right = |object: &&Object| matches!(&object.said, Said::This(said) if said == wanted);
            let kept = there()
                .find(|object| right(object) && object.ours)
                .or_else(|| there().find(right))
                .or_else(|| there().find(|object| object.said != Said::OfAnother));
            let Some(kept) = kept else { return Some(Write::Create(wanted.clone())) };
            if !right(&kept) {
                return Some(Write::Say(kept.name.clone(), wanted.clone()));
            }
            if kept.marked != wanted.conflict.is_some() {
                return Some(Write::Mark(kept.name.clone(), wanted.conflict.is_some()));
            }
            if !kept.ours {
                return Some(Write::Adopt(kept.name.clone()));
            }
            Some(&kept.name)
        }
    };
    let other = there().find(|object| Some(&object.name) != kept);
    other.map(|object| Write::Delete(object.name.clone()))
}

/// Something to tell about a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News<'a> {
    /// This node begins to announce it.
    Announces,
    /// This node is elected, and has none of these interfaces.
    Lacks(&'a BTreeSet<String>),
}

/// What is to be told of a change. After a start a Service that is announced is no news if an object of ours is there
/// already, which `known` says.
pub(crate) fn news(change: &Change, known: bool) -> Option<News<'_>> {
    match &change.now {
        Some(Announced::On(_)) if change.before != Some(Kind::Announced) && !known => Some(News::Announces),
        Some(Announced::Lacks(interfaces)) if change.before != Some(Kind::Lacking) => {
            Some(News::Lacks(interfaces))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ferrolb_core::service::ServiceKey;

    use super::*;

    fn interfaces(names: &[&str]) -> Interfaces {
        Arc::new(names.iter().map(|name| (*name).to_owned()).collect())
    }

    fn on(names: &[&str]) -> Saying {
        Saying { on: interfaces(names), conflict: None }
    }

    fn clashing(names: &[&str], words: &str) -> Saying {
        let conflict = Conflict { held_back: true, words: words.to_owned(), since: 7 };
        Saying { conflict: Some(Arc::new(conflict)), ..on(names) }
    }

    fn object(name: &str, said: Said) -> Object {
        Object { name: name.into(), said, marked: false, ours: true, ending: false }
    }

    /// Does every step in memory until none is left; returns them.
    fn steps(wanted: Option<&Saying>, objects: &mut Vec<Object>) -> Vec<Write> {
        let mut done = Vec::new();
        while let Some(write) = next(wanted, objects) {
            match &write {
                Write::Create(saying) => {
                    let marked = saying.conflict.is_some();
                    objects.push(Object { marked, ..object("l2-new", Said::This(saying.clone())) });
                }
                Write::Say(name, saying) => {
                    objects.iter_mut().find(|o| o.name == *name).unwrap().said = Said::This(saying.clone());
                }
                Write::Mark(name, marked) => {
                    objects.iter_mut().find(|o| o.name == *name).unwrap().marked = *marked;
                }
                Write::Adopt(name) => objects.iter_mut().find(|o| o.name == *name).unwrap().ours = true,
                Write::Delete(name) => objects.retain(|o| o.name != *name),
            }
            done.push(write);
            assert!(done.len() < 20, "it does not end: {done:?}");
        }
        done
    }

    #[test]
    fn what_is_announced_has_one_object() {
        let wanted = on(&["eth0"]);
        let mut objects = Vec::new();
        assert_eq!(steps(Some(&wanted), &mut objects), [Write::Create(wanted.clone())]);
        assert_eq!(steps(Some(&wanted), &mut objects), [], "a steady state writes nothing");
        assert_eq!(steps(None, &mut objects), [Write::Delete("l2-new".into())]);
        assert_eq!(steps(None, &mut objects), []);
    }

    #[test]
    fn all_interfaces_is_not_some_interfaces() {
        let mut objects = vec![object("l2-a", Said::This(on(&["eth0"])))];
        assert_eq!(steps(Some(&on(&[])), &mut objects), [Write::Say("l2-a".into(), on(&[]))]);
        assert_eq!(steps(Some(&on(&["eth1"])), &mut objects), [Write::Say("l2-a".into(), on(&["eth1"]))]);
    }

    #[test]
    fn of_several_the_right_one_is_kept() {
        let wanted = on(&["eth0"]);
        let mut objects = vec![
            object("l2-a", Said::Incomplete),
            object("l2-b", Said::This(wanted.clone())),
            object("l2-c", Said::This(wanted.clone())),
        ];
        let deleted = ["l2-a", "l2-c"].map(|name| Write::Delete(name.into()));
        assert_eq!(steps(Some(&wanted), &mut objects), deleted);
    }

    #[test]
    fn one_that_can_be_corrected_is_corrected_and_one_that_cannot_is_replaced() {
        let wanted = on(&["eth0"]);
        let mut objects = vec![object("l2-a", Said::OfAnother), object("l2-b", Said::Incomplete)];
        let expected = [Write::Say("l2-b".into(), wanted.clone()), Write::Delete("l2-a".into())];
        assert_eq!(steps(Some(&wanted), &mut objects), expected);
        let mut objects = vec![object("l2-a", Said::OfAnother)];
        // First the new one: a Service that is announced is never without.
        let expected = [Write::Create(wanted.clone()), Write::Delete("l2-a".into())];
        assert_eq!(steps(Some(&wanted), &mut objects), expected);
    }

    #[test]
    fn one_of_the_pod_before_is_adopted() {
        let wanted = on(&[]);
        let mut objects = vec![Object { ours: false, ..object("l2-a", Said::This(wanted.clone())) }];
        assert_eq!(steps(Some(&wanted), &mut objects), [Write::Adopt("l2-a".into())]);
        let other = Object { ours: false, ..object("l2-a", Said::This(wanted.clone())) };
        let mut objects = vec![other, object("l2-b", Said::This(wanted.clone()))];
        assert_eq!(steps(Some(&wanted), &mut objects), [Write::Delete("l2-a".into())]);
    }

    #[test]
    fn one_that_is_being_deleted_is_left_alone_and_counts_for_nothing() {
        let wanted = on(&[]);
        let ending = Object { ending: true, ..object("l2-a", Said::This(wanted.clone())) };
        assert_eq!(next(None, std::slice::from_ref(&ending)), None);
        assert_eq!(next(Some(&wanted), &[ending]), Some(Write::Create(wanted)));
    }

    #[test]
    fn a_conflict_is_said_and_marked_and_both_are_taken_back() {
        let (fine, mut objects) = (on(&["eth0"]), Vec::new());
        let held = clashing(&[], "held");
        assert_eq!(steps(Some(&held), &mut objects), [Write::Create(held.clone())]);
        let other = clashing(&[], "another host");
        assert_eq!(steps(Some(&other), &mut objects), [Write::Say("l2-new".into(), other.clone())]);
        let over = [Write::Say("l2-new".into(), fine.clone()), Write::Mark("l2-new".into(), false)];
        assert_eq!(steps(Some(&fine), &mut objects), over);
        let used = clashing(&["eth0"], "used");
        let begins = [Write::Say("l2-new".into(), used.clone()), Write::Mark("l2-new".into(), true)];
        assert_eq!(steps(Some(&used), &mut objects), begins);
        assert_eq!(steps(None, &mut objects), [Write::Delete("l2-new".into())]);
        // Somebody took the mark away.
        let mut objects = vec![object("l2-a", Said::This(used.clone()))];
        assert_eq!(steps(Some(&used), &mut objects), [Write::Mark("l2-a".into(), true)]);
    }

    #[test]
    fn what_may_be_silent() {
        assert!(clashing(&[], "held").may_be_silent());
        assert!(!on(&[]).may_be_silent() && !clashing(&["eth0"], "held").may_be_silent());
    }

    #[test]
    fn a_beginning_is_told_once_and_what_is_missing_when_it_is_new() {
        let (announced, lacks) = (Announced::On(Arc::default()), Announced::Lacks(interfaces(&["eth7"])));
        let told = |before, now: Option<&Announced>, known| {
            let service = Arc::new(ServiceKey::new("shop", "web"));
            let change = Change { service, uid: "u1".into(), before, now: now.cloned() };
            news(&change, known).map(|news| format!("{news:?}"))
        };
        let (announces, missing) = (Some("Announces".to_owned()), Some(r#"Lacks({"eth7"})"#.to_owned()));
        assert_eq!(told(None, Some(&announced), false), announces);
        assert_eq!(told(Some(Kind::Lacking), Some(&announced), false), announces);
        assert_eq!(told(Some(Kind::Announced), Some(&announced), false), None, "on other interfaces");
        assert_eq!(told(Some(Kind::Announced), None, false), None);
        assert_eq!(told(None, Some(&announced), true), None, "it was told before the restart");
        for known in [false, true] {
            assert_eq!(told(None, Some(&lacks), known), missing);
            assert_eq!(told(Some(Kind::Announced), Some(&lacks), known), missing);
            assert_eq!(told(Some(Kind::Lacking), Some(&lacks), known), None);
        }
    }
}
