//! Who leads: election by a `Lease` (`coordination.k8s.io/v1`), as a state machine.
//!
//! The Lease is one object in the API; a claim is a write that fails unless the object is still the one that the
//! claimant saw. Clocks are never compared between machines: a holder counts the lease from before it *sent* the
//! write that renewed it, a challenger from when it *saw* the last change. So the holder always stops first.
//!
//! A lease alone does not keep a leader that was paused between its check and its write from writing late. What
//! follows from that is the business of whoever leads: see the controller's take-over.

use std::time::Duration;

/// The Lease as it stands in the API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// `spec.holderIdentity`; empty when it was given back.
    pub holder: String,
    /// `spec.leaseDurationSeconds` of the holder.
    pub duration: Duration,
    /// `spec.leaseTransitions`: how often the holder changed.
    pub transitions: i32,
    /// `metadata.resourceVersion`.
    pub version: String,
}

/// A write of the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The new holder; empty to give it back.
    pub holder: String,
    /// `spec.leaseTransitions`.
    pub transitions: i32,
    /// `spec.leaseDurationSeconds`.
    pub duration: Duration,
    /// The version that it replaces; `None` creates the Lease.
    pub replaces: Option<String>,
    /// Whether the holder stays the same.
    pub renewal: bool,
}

/// What became of a [`Claim`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was done.
    Done(Record),
    /// Somebody else was faster: the Lease is another one now.
    Lost,
    /// It may or may not have been done.
    Unknown,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this, and report its [`Answer`].
    Send(Claim),
    /// Nothing before this time.
    Wait(Duration),
}

/// How one came to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accession {
    /// The one before gave the Lease back after all its writes had ended.
    Clean,
    /// The one before may still have writes on their way.
    Unclean,
}

/// One who would lead.
#[derive(Clone, Debug)]
pub struct Candidate {
    me: String,
    duration: Duration,
    /// The last state of the Lease that was seen, and when it was seen first.
    seen: Option<(Record, Duration)>,
    /// Whether the API was asked at all: before that, nothing is known, and "no Lease" is no fact.
    known: bool,
    /// While leading: the transitions of this reign, and when the write was sent that renewed it last.
    reign: Option<(i32, Duration)>,
    /// The claim under way, and when it was sent.
    sent: Option<(Claim, Duration)>,
    /// After a claim that failed, the next one waits until then.
    not_before: Duration,
}

impl Candidate {
    /// A candidate by the name `me`, unique among all, that leads for `duration` after each renewal.
    pub fn new(me: impl Into<String>, duration: Duration) -> Self {
        Candidate {
            me: me.into(),
            duration,
            seen: None,
            known: false,
            reign: None,
            sent: None,
            not_before: Duration::ZERO,
        }
    }

    /// How often it is renewed: five times in its duration.
    fn period(&self) -> Duration {
        self.duration / 5
    }

    /// The Lease is now `record`; `None` if there is none.
    ///
    /// 1. A state seen before changes nothing: the time since it was seen first goes on.
    /// 2. A Lease that another holds ends the own reign.
    pub fn observe(&mut self, record: Option<Record>, now: Duration) {
        self.known = true;
        let Some(record) = record else {
            self.seen = None;
            // Somebody deleted it. Whoever creates it next leads.
            if self.sent.is_none() {
                self.reign = None;
            }
            return;
        };
        if self.seen.as_ref().is_some_and(|(seen, _)| *seen == record) {
            return;
        }
        if let Some((transitions, _)) = self.reign
            && (record.holder != self.me || record.transitions != transitions)
        {
            self.reign = None;
        }
        self.seen = Some((record, now));
    }

    /// What to do at `now`.
    ///
    /// 1. One claim at a time.
    /// 2. A leader renews five times in the lease's duration.
    /// 3. No Lease, one that was given back, or one in the own name (the same Pod, started anew) is claimed at once.
    /// 4. One that another holds is claimed when it was not renewed for its duration since it was seen.
    pub fn next(&mut self, now: Duration) -> Step {
        if !self.known || self.sent.is_some() {
            return Step::Wait(now + self.period());
        }
        let from = match (&self.reign, &self.seen) {
            (Some((_, renewed)), Some(_)) => *renewed + self.period(),
            (None, Some((record, since))) if !record.holder.is_empty() && record.holder != self.me => {
                *since + record.duration
            }
            _ => now,
        };
        let from = from.max(self.not_before);
        if now < from {
            return Step::Wait(from);
        }
        let renewal = self.reign.is_some();
        let (transitions, replaces) = match &self.seen {
            Some((record, _)) => (record.transitions, Some(record.version.clone())),
            None => (0, None),
        };
        let transitions =
            if renewal || replaces.is_none() { transitions } else { transitions.saturating_add(1) };
        let claim =
            Claim { holder: self.me.clone(), transitions, duration: self.duration, replaces, renewal };
        self.sent = Some((claim.clone(), now));
        Step::Send(claim)
    }

    /// The answer to the claim that [`Candidate::next`] asked to send. Returns how the reign began, if it did now.
    ///
    /// 1. Done: the lease counts from when the claim was sent.
    /// 2. Lost: what the Lease is now has to be observed before the next claim.
    /// 3. Unknown: the same; if it was done after all, the Lease in the own name is seen, and renewed.
    pub fn answered(&mut self, answer: Answer, now: Duration) -> Option<Accession> {
        let (claim, sent) = self.sent.take()?;
        match answer {
            Answer::Done(record) => {
                let before = self.seen.replace((record, now));
                self.reign = Some((claim.transitions, sent));
                self.not_before = Duration::ZERO;
                let given_back = before.is_some_and(|(record, _)| record.holder.is_empty());
                (!claim.renewal).then_some(if given_back { Accession::Clean } else { Accession::Unclean })
            }
            Answer::Lost | Answer::Unknown => {
                self.known = false;
                self.not_before = now + self.period() / 3;
                None
            }
        }
    }

    /// Until when this one may act as leader; `None` if it does not lead. Two thirds of the duration: what it sends
    /// at the very end has the last third to arrive.
    pub fn leads_until(&self) -> Option<Duration> {
        self.reign.map(|(_, renewed)| renewed + self.duration * 2 / 3)
    }

    /// Whether this one may act as leader at `now`.
    pub fn leads(&self, now: Duration) -> bool {
        self.leads_until().is_some_and(|until| now < until)
    }

    /// Whether a claim is under way.
    pub fn is_claiming(&self) -> bool {
        self.sent.is_some()
    }

    /// Whether what the Lease is has to be asked for.
    pub fn wants_look(&self) -> bool {
        !self.known && self.sent.is_none()
    }

    /// Who holds it, as far as is known.
    pub fn holder(&self) -> Option<&str> {
        self.seen.as_ref().map(|(record, _)| record.holder.as_str()).filter(|holder| !holder.is_empty())
    }

    /// The version of the Lease by which this one leads: different for each reign.
    pub fn version(&self) -> Option<&str> {
        self.seen.as_ref().map(|(record, _)| record.version.as_str())
    }

    /// The write that gives the Lease back, so that the next one need not wait. For a leader whose writes have all
    /// ended; `None` if this one does not lead or has a claim under way.
    pub fn give_back(&mut self) -> Option<Claim> {
        if self.sent.is_some() {
            return None;
        }
        let (transitions, _) = self.reign.take()?;
        let (record, _) = self.seen.as_ref()?;
        Some(Claim {
            holder: String::new(),
            transitions,
            duration: Duration::from_secs(1),
            replaces: Some(record.version.clone()),
            renewal: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn claim(step: Step) -> Claim {
        match step {
            Step::Send(claim) => claim,
            Step::Wait(until) => panic!("waits until {until:?}"),
        }
    }

    /// The Lease in an API server.
    #[derive(Default)]
    struct Server {
        record: Option<Record>,
        version: u64,
    }

    impl Server {
        fn write(&mut self, claim: &Claim) -> Answer {
            if claim.replaces != self.record.as_ref().map(|record| record.version.clone()) {
                return Answer::Lost;
            }
            self.version += 1;
            let record = Record {
                holder: claim.holder.clone(),
                duration: claim.duration,
                transitions: claim.transitions,
                version: self.version.to_string(),
            };
            self.record = Some(record.clone());
            Answer::Done(record)
        }
    }

    #[test]
    fn the_first_one_creates_it_and_renews_it() {
        let (mut server, mut a) = (Server::default(), Candidate::new("a", DURATION));
        assert!(a.wants_look());
        assert!(matches!(a.next(at(0)), Step::Wait(_)), "nothing before the API was asked");
        a.observe(None, at(0));
        let created = claim(a.next(at(1)));
        assert_eq!(created.replaces, None);
        assert!(!a.leads(at(1)), "not before the answer");
        assert_eq!(a.answered(server.write(&created), at(3)), Some(Accession::Unclean));
        assert!(a.leads(at(10)) && !a.leads(at(11)), "it counts from when the claim was sent");
        assert_eq!(a.next(at(3)), Step::Wait(at(4)));
        let renewed = claim(a.next(at(4)));
        assert!(renewed.renewal);
        assert_eq!(a.answered(server.write(&renewed), at(5)), None);
        assert_eq!(a.leads_until(), Some(at(14)));
    }

    #[test]
    fn a_challenger_waits_from_when_it_saw_the_last_change() {
        let mut server = Server::default();
        let (mut a, mut b) = (Candidate::new("a", DURATION), Candidate::new("b", DURATION));
        a.observe(None, at(0));
        let created = claim(a.next(at(0)));
        a.answered(server.write(&created), at(0));
        b.observe(server.record.clone(), at(5));
        b.observe(server.record.clone(), at(12));
        assert_eq!(b.next(at(12)), Step::Wait(at(20)));
        let taken = claim(b.next(at(20)));
        assert_eq!((taken.transitions, taken.renewal), (1, false));
        assert_eq!(b.answered(server.write(&taken), at(20)), Some(Accession::Unclean));
        // The one before renews too late, and learns it.
        let late = claim(a.next(at(21)));
        assert_eq!(a.answered(server.write(&late), at(21)), None);
        a.observe(server.record.clone(), at(21));
        assert_eq!(a.leads_until(), None);
        assert_eq!(a.holder(), Some("b"));
    }

    #[test]
    fn what_was_given_back_is_taken_at_once() {
        let mut server = Server::default();
        let (mut a, mut b) = (Candidate::new("a", DURATION), Candidate::new("b", DURATION));
        a.observe(None, at(0));
        let created = claim(a.next(at(0)));
        a.answered(server.write(&created), at(0));
        b.observe(server.record.clone(), at(1));
        let back = a.give_back().unwrap();
        assert!(!a.leads(at(1)));
        server.write(&back);
        b.observe(server.record.clone(), at(2));
        let taken = claim(b.next(at(2)));
        assert_eq!(b.answered(server.write(&taken), at(2)), Some(Accession::Clean));
    }

    #[test]
    fn the_same_pod_started_anew_need_not_wait() {
        let mut server = Server::default();
        let mut before = Candidate::new("a", DURATION);
        before.observe(None, at(0));
        let created = claim(before.next(at(0)));
        before.answered(server.write(&created), at(0));
        let mut after = Candidate::new("a", DURATION);
        after.observe(server.record.clone(), at(1));
        let taken = claim(after.next(at(1)));
        assert_eq!((taken.transitions, taken.renewal), (1, false), "it is another reign");
        assert_eq!(after.answered(server.write(&taken), at(1)), Some(Accession::Unclean));
    }

    #[test]
    fn a_renewal_of_unknown_outcome_goes_on_if_it_was_done() {
        let mut server = Server::default();
        let mut a = Candidate::new("a", DURATION);
        a.observe(None, at(0));
        let created = claim(a.next(at(0)));
        a.answered(server.write(&created), at(0));
        let renewed = claim(a.next(at(3)));
        server.write(&renewed);
        assert_eq!(a.answered(Answer::Unknown, at(8)), None);
        assert!(a.wants_look());
        a.observe(server.record.clone(), at(9));
        assert!(a.leads(at(9)) && !a.leads(at(10)), "what is not known does not count");
        let again = claim(a.next(at(9)));
        assert!(again.renewal);
        assert_eq!(a.answered(server.write(&again), at(9)), None, "and it is the same reign");
        assert!(a.leads(at(18)));
    }

    #[test]
    fn after_an_outage_the_reign_goes_on_if_nobody_took_over() {
        let mut server = Server::default();
        let mut a = Candidate::new("a", DURATION);
        a.observe(None, at(0));
        let created = claim(a.next(at(0)));
        a.answered(server.write(&created), at(0));
        let lost = claim(a.next(at(3)));
        a.answered(Answer::Unknown, at(60));
        assert!(lost.renewal && !a.leads(at(60)));
        a.observe(server.record.clone(), at(61));
        let renewed = claim(a.next(at(61)));
        assert_eq!(a.answered(server.write(&renewed), at(61)), None, "the same reign");
        assert!(a.leads(at(62)));
    }

    proptest! {
        /// Three candidates with clocks of their own, whose looks and claims are answered late or never: at no
        /// moment do two lead.
        #[test]
        fn never_two_lead(steps in proptest::collection::vec((0usize..3, 0u8..8, 0u64..9), 1..300)) {
            let mut server = Server::default();
            let mut now = at(100);
            let mut all: Vec<Candidate> =
                ["a", "b", "c"].iter().map(|name| Candidate::new(*name, DURATION)).collect();
            let offset = |index: usize| at(1000 * index as u64);
            let mut looks: Vec<Option<Option<Record>>> = vec![None; 3];
            let mut answers: Vec<Option<Answer>> = vec![None; 3];
            for (index, action, seconds) in steps {
                now += at(seconds);
                let (who, clock) = (&mut all[index], now + offset(index));
                match action {
                    // A look is taken now, and arrives with a later step.
                    0 => looks[index] = Some(server.record.clone()),
                    1 | 2 => if let Some(record) = looks[index].take() { who.observe(record, clock) },
                    3 => if let Some(answer) = answers[index].take() { who.answered(answer, clock); },
                    4 if answers[index].is_some() => {
                        answers[index] = None;
                        who.answered(Answer::Unknown, clock);
                    }
                    5 if who.leads(clock) => if let Some(claim) = who.give_back() { server.write(&claim); },
                    _ => if let Step::Send(claim) = who.next(clock) { answers[index] = Some(server.write(&claim)); },
                }
                let leading = all.iter().enumerate().filter(|(i, who)| who.leads(now + offset(*i))).count();
                prop_assert!(leading <= 1, "{leading} lead");
            }
        }
    }
}
