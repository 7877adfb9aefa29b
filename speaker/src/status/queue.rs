//! Which Services are looked at, and when: in their order, a few at a time, after failures later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ferrolb_core::service::ServiceKey;

use super::pause::Pause;

/// So many writes are under way at once.
pub(crate) const WRITERS: usize = 8;

/// How a write failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The API server does not do this one.
    ThisOne,
    /// The object is not there. If that is so, the watch will say it; what it does not say is not believed.
    NotThere,
    /// There is one already, or it is not as it was.
    Conflict,
    /// It may do none now.
    All,
}

/// The Services that are to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Now.
    due: BTreeSet<Arc<ServiceKey>>,
    /// Those that failed, and how often.
    pauses: BTreeMap<Arc<ServiceKey>, Pause>,
    /// When to look at those again.
    later: BTreeSet<(Duration, Arc<ServiceKey>)>,
    /// Those with a write under way; after it they are looked at again anyhow.
    under_way: BTreeSet<Arc<ServiceKey>>,
    /// Until when nothing is written.
    all: Pause,
}

impl Queue {
    /// Something about this Service changed.
    pub(crate) fn touch(&mut self, service: Arc<ServiceKey>, now: Duration) {
        let paused = self.pauses.get(&service).is_some_and(|pause| pause.lasts(now).is_some());
        if !paused && !self.under_way.contains(&service) {
            self.due.insert(service);
        }
    }

    /// The next one that may be looked at now.
    pub(crate) fn next(&mut self, now: Duration) -> Option<Arc<ServiceKey>> {
        // After a failure one tries for all.
        let most = if self.all.is_failing() { 1 } else { WRITERS };
        if self.under_way.len() >= most || self.all.lasts(now).is_some() {
            return None;
        }
        // Those that failed come last: one that always fails must not be the one that tries for all.
        if let Some(service) = self.due.pop_first() {
            return Some(service);
        }
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            let (_, service) = self.later.pop_first()?;
            // It may have been looked at since its pause ended.
            if !self.under_way.contains(&service) {
                return Some(service);
            }
        }
        None
    }

    /// A write begins. Until it ended, its Service is not looked at.
    pub(crate) fn begins(&mut self, service: Arc<ServiceKey>) {
        self.under_way.insert(service);
    }

    /// A write ended well: what follows from it is to be looked at.
    pub(crate) fn succeeded(&mut self, service: Arc<ServiceKey>) {
        self.under_way.remove(&service);
        self.pauses.remove(&service);
        self.all.succeeded();
        self.due.insert(service);
    }

    /// A write failed.
    pub(crate) fn failed(&mut self, service: Arc<ServiceKey>, fault: Fault, now: Duration) {
        self.under_way.remove(&service);
        match fault {
            Fault::All => self.all.failed(now),
            // The API server answers.
            Fault::ThisOne | Fault::NotThere | Fault::Conflict => self.all.succeeded(),
        }
        let pause = self.pauses.entry(service.clone()).or_default();
        pause.failed(now);
        self.later.insert((pause.lasts(now).unwrap_or(now), service));
    }

    /// Nothing was to be done for this Service.
    pub(crate) fn settled(&mut self, service: &ServiceKey) {
        self.pauses.remove(service);
    }

    /// When to ask again, if nothing else happens.
    pub(crate) fn wakes(&self, now: Duration) -> Option<Duration> {
        let later = self.later.first().map(|(at, _)| *at);
        let waiting = !self.due.is_empty() || later.is_some_and(|at| at <= now);
        match self.all.lasts(now) {
            Some(until) if waiting => Some(until),
            Some(until) => later.map(|at| at.max(until)),
            None => later.filter(|at| *at > now),
        }
    }

    /// How many are waiting or under way.
    pub(crate) fn len(&self) -> usize {
        self.due.len() + self.later.len() + self.under_way.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(50);

    fn key(name: &str) -> Arc<ServiceKey> {
        Arc::new(ServiceKey::new("shop", name))
    }

    fn start(queue: &mut Queue, now: Duration) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(service) = queue.next(now) {
            names.push(service.name().to_owned());
            queue.begins(service);
        }
        names
    }

    #[test]
    fn eight_at_a_time_in_their_order() {
        let mut queue = Queue::default();
        for name in "jihgfedcba".chars() {
            queue.touch(key(&name.to_string()), NOW);
        }
        assert_eq!(start(&mut queue, NOW).concat(), "abcdefgh");
        queue.touch(key("b"), NOW);
        assert_eq!(queue.next(NOW), None);
        queue.succeeded(key("b"));
        assert_eq!(start(&mut queue, NOW), ["b"], "it is looked at again, before the later ones");
        queue.succeeded(key("c"));
        let looked = queue.next(NOW).unwrap();
        assert_eq!(looked, key("c"));
        queue.settled(&looked);
        assert_eq!(start(&mut queue, NOW), ["i"]);
    }

    #[test]
    fn one_that_fails_is_in_nobodys_way() {
        let mut queue = Queue::default();
        queue.touch(key("a"), NOW);
        assert_eq!(start(&mut queue, NOW), ["a"]);
        queue.failed(key("a"), Fault::ThisOne, NOW);
        queue.touch(key("a"), NOW);
        queue.touch(key("b"), NOW);
        assert_eq!(start(&mut queue, NOW), ["b"]);
        queue.succeeded(key("b"));
        assert_eq!(queue.next(NOW), Some(key("b")));
        let again = queue.wakes(NOW).unwrap();
        assert_eq!(again, NOW + Duration::from_millis(200));
        assert_eq!(start(&mut queue, again), ["a"]);
        queue.failed(key("a"), Fault::ThisOne, again);
        let again = again + Duration::from_millis(400);
        assert_eq!(queue.wakes(again - Duration::from_millis(400)), Some(again));
        assert_eq!(queue.len(), 1);
        // Something changes after its pause: it is not looked at twice at once.
        queue.touch(key("a"), again);
        assert_eq!(start(&mut queue, again), ["a"]);
    }

    #[test]
    fn when_the_api_server_fails_one_tries_for_all() {
        let mut queue = Queue::default();
        for name in "abcdefghij".chars() {
            queue.touch(key(&name.to_string()), NOW);
        }
        for name in start(&mut queue, NOW) {
            queue.failed(key(&name), Fault::All, NOW);
        }
        assert_eq!(queue.next(NOW), None);
        let again = queue.wakes(NOW).unwrap();
        assert_eq!(again, NOW + Duration::from_millis(200));
        assert_eq!(start(&mut queue, again), ["i"], "those that failed come last");
        assert_eq!(queue.wakes(again), None, "the answer wakes");
        queue.failed(key("i"), Fault::All, again);
        let again = queue.wakes(again).unwrap();
        assert_eq!(again, NOW + Duration::from_millis(600));
        assert_eq!(start(&mut queue, again), ["j"]);
        queue.succeeded(key("j"));
        assert_eq!(start(&mut queue, again).concat(), "jabcdefg");
    }
}
