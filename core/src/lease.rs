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
///
/// It learns what the Lease is in three ways: from the answers to its claims, from a watch, and by a look at it (a
/// quorum read). A watch may lag: what it tells may be from before a claim that has been answered since.
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
    /// The claim under way.
    sent: Option<Sent>,
    /// After a claim that failed, the next one waits until then.
    not_before: Duration,
}

/// A claim under way.
#[derive(Clone, Debug)]
struct Sent {
    claim: Claim,
    at: Duration,
    /// Whether the Lease that it replaces was given back. Noted when it is sent: a watch may show what it made of the
    /// Lease before its answer is here.
    given_back: bool,
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

    /// Its name among all.
    pub fn name(&self) -> &str {
        &self.me
    }

    /// How often it is renewed: five times in its duration.
    fn period(&self) -> Duration {
        self.duration / 5
    }

    /// The watch says that the Lease is `record`; `None` if there is none.
    ///
    /// 1. While an answer to a claim is awaited, that there is none says nothing: the answer will tell.
    /// 2. A leader does not believe that there is none: this may be of before its claim. It wants a look.
    /// 3. What is not newer than what is known changes nothing: the time since that was seen first goes on.
    /// 4. A Lease that another holds ends the own reign.
    pub fn observe(&mut self, record: Option<Record>, now: Duration) {
        let Some(record) = record else {
            if self.sent.is_some() {
                return;
            }
            if self.reign.is_some() {
                self.known = false;
            } else {
                self.known = true;
                self.seen = None;
            }
            return;
        };
        if self.seen.as_ref().is_some_and(|(seen, _)| !is_newer(&record.version, &seen.version)) {
            return;
        }
        self.know(record, now);
    }

    /// A look at the Lease, as asked for by [`Candidate::wants_look`], shows `record`; `None` if there is none.
    ///
    /// 1. If the watch was faster, it is one more thing that may be of before.
    /// 2. Else it is believed whatever it says: that there is none, or one older than what was known, as after the
    ///    cluster was restored from a backup.
    pub fn looked(&mut self, record: Option<Record>, now: Duration) {
        if self.known || self.sent.is_some() {
            return self.observe(record, now);
        }
        match record {
            None => {
                // Somebody deleted it. Whoever creates it next leads.
                self.known = true;
                self.seen = None;
                self.reign = None;
            }
            Some(record) if self.seen.as_ref().is_some_and(|(seen, _)| *seen == record) => self.known = true,
            Some(record) => self.know(record, now),
        }
    }

    fn know(&mut self, record: Record, now: Duration) {
        self.known = true;
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
        let given_back = self.seen.as_ref().is_some_and(|(record, _)| record.holder.is_empty());
        self.sent = Some(Sent { claim: claim.clone(), at: now, given_back });
        Step::Send(claim)
    }

    /// The answer to the claim that [`Candidate::next`] asked to send. Returns how the reign began, if it did now.
    ///
    /// 1. Done: the lease counts from when the claim was sent.
    /// 2. Lost: what the Lease is now has to be observed before the next claim.
    /// 3. Unknown: the same; if it was done after all, the Lease in the own name is seen, and renewed.
    pub fn answered(&mut self, answer: Answer, now: Duration) -> Option<Accession> {
        let Sent { claim, at, given_back } = self.sent.take()?;
        match answer {
            Answer::Done(record) => {
                self.seen = Some((record, now));
                self.reign = Some((claim.transitions, at));
                self.not_before = Duration::ZERO;
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

/// Whether a `metadata.resourceVersion` is of after another of the same object: they are decimal numbers of any length,
/// and may be compared (Kubernetes API concepts, "Resource versions"). Two that are not such numbers are told apart
/// alone.
fn is_newer(version: &str, than: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if number(version) && number(than) {
        let [a, b] = [version, than].map(|text| text.trim_start_matches('0'));
        (a.len(), a) > (b.len(), b)
    } else {
        version != than
    }
}

#[cfg(test)]
mod tests;
