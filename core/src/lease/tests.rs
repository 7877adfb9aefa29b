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
    a.looked(None, at(0));
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
    a.looked(None, at(0));
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
    a.looked(server.record.clone(), at(21));
    assert_eq!(a.leads_until(), None);
    assert_eq!(a.holder(), Some("b"));
}

#[test]
fn what_was_given_back_is_taken_at_once() {
    let mut server = Server::default();
    let (mut a, mut b) = (Candidate::new("a", DURATION), Candidate::new("b", DURATION));
    a.looked(None, at(0));
    let created = claim(a.next(at(0)));
    a.answered(server.write(&created), at(0));
    b.observe(server.record.clone(), at(1));
    let back = a.give_back().unwrap();
    assert!(!a.leads(at(1)));
    server.write(&back);
    b.observe(server.record.clone(), at(2));
    let taken = claim(b.next(at(2)));
    let answer = server.write(&taken);
    // The watch is faster than the answer.
    b.observe(server.record.clone(), at(2));
    assert_eq!(b.answered(answer, at(2)), Some(Accession::Clean));
}

#[test]
fn the_same_pod_started_anew_need_not_wait() {
    let mut server = Server::default();
    let mut before = Candidate::new("a", DURATION);
    before.looked(None, at(0));
    let created = claim(before.next(at(0)));
    before.answered(server.write(&created), at(0));
    let mut after = Candidate::new("a", DURATION);
    after.looked(server.record.clone(), at(1));
    let taken = claim(after.next(at(1)));
    assert_eq!((taken.transitions, taken.renewal), (1, false), "it is another reign");
    assert_eq!(after.answered(server.write(&taken), at(1)), Some(Accession::Unclean));
}

#[test]
fn a_renewal_of_unknown_outcome_goes_on_if_it_was_done() {
    let mut server = Server::default();
    let mut a = Candidate::new("a", DURATION);
    a.looked(None, at(0));
    let created = claim(a.next(at(0)));
    a.answered(server.write(&created), at(0));
    let renewed = claim(a.next(at(3)));
    server.write(&renewed);
    assert_eq!(a.answered(Answer::Unknown, at(8)), None);
    assert!(a.wants_look());
    a.looked(server.record.clone(), at(9));
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
    a.looked(None, at(0));
    let created = claim(a.next(at(0)));
    a.answered(server.write(&created), at(0));
    let lost = claim(a.next(at(3)));
    a.answered(Answer::Unknown, at(60));
    assert!(lost.renewal && !a.leads(at(60)));
    a.looked(server.record.clone(), at(61));
    let renewed = claim(a.next(at(61)));
    assert_eq!(a.answered(server.write(&renewed), at(61)), None, "the same reign");
    assert!(a.leads(at(62)));
}

#[test]
fn a_watch_that_lags_ends_no_reign() {
    let mut server = Server::default();
    let (mut a, mut b) = (Candidate::new("a", DURATION), Candidate::new("b", DURATION));
    a.looked(None, at(0));
    let created = claim(a.next(at(0)));
    a.answered(server.write(&created), at(0));
    // That there was none is of before.
    a.observe(None, at(0));
    assert!(a.leads(at(1)), "it waits for a look");
    assert!(a.wants_look());
    a.looked(server.record.clone(), at(1));
    let renewed = claim(a.next(at(3)));
    let first = server.record.clone();
    a.answered(server.write(&renewed), at(3));
    a.observe(first, at(3));
    server.write(&a.give_back().expect("it leads"));
    // Another one looks at it, and begins a watch at the same time; the watch's list arrives after the claim's answer.
    let listed = server.record.clone();
    b.looked(server.record.clone(), at(4));
    let taken = claim(b.next(at(4)));
    assert_eq!(b.answered(server.write(&taken), at(4)), Some(Accession::Clean));
    b.observe(listed, at(4));
    assert!(b.leads(at(5)), "what was given back before its claim is no news");
    let renewed = claim(b.next(at(7)));
    assert!(renewed.renewal);
    assert_eq!(b.answered(server.write(&renewed), at(7)), None, "the same reign");
}

#[test]
fn a_look_is_believed_also_where_it_goes_back() {
    let mut server = Server { version: 100, ..Server::default() };
    let mut a = Candidate::new("a", DURATION);
    a.looked(None, at(0));
    let created = claim(a.next(at(0)));
    a.answered(server.write(&created), at(0));
    // The cluster is restored from a backup, in which b holds it.
    let restored = Record { holder: "b".into(), duration: DURATION, transitions: 7, version: "9".into() };
    server.record = Some(restored.clone());
    a.observe(Some(restored.clone()), at(1));
    assert!(a.leads(at(1)), "from a watch it may be of before");
    let renewed = claim(a.next(at(3)));
    a.answered(server.write(&renewed), at(3));
    assert!(a.wants_look());
    a.looked(Some(restored), at(3));
    assert_eq!((a.leads_until(), a.holder()), (None, Some("b")));
    // Deleted while it leads: the watch alone does not say so.
    let mut c = Candidate::new("c", DURATION);
    c.looked(None, at(0));
    server.record = None;
    let created = claim(c.next(at(0)));
    c.answered(server.write(&created), at(0));
    c.observe(None, at(1));
    c.looked(None, at(1));
    assert_eq!(c.leads_until(), None);
    assert_eq!(claim(c.next(at(1))).replaces, None, "it is made anew");
}

#[test]
fn versions_are_numbers_of_any_length() {
    for (version, than, newer) in [
        ("10", "9", true),
        ("9", "10", false),
        ("9", "9", false),
        ("010", "9", true),
        ("100000000000000000000000000000", "99999999999999999999999999999", true),
        ("a", "b", true),
        ("b", "a", true),
        ("a", "a", false),
        ("", "1", true),
    ] {
        assert_eq!(is_newer(version, than), newer, "{version:?} {than:?}");
    }
}

proptest! {
    /// Three candidates with clocks of their own, whose looks and claims are answered late or never, and whose watches
    /// lag: at no moment do two lead.
    #[test]
    fn never_two_lead(steps in proptest::collection::vec((0usize..3, 0u8..10, 0u64..9), 1..300)) {
        let mut server = Server::default();
        let mut now = at(100);
        let mut all: Vec<Candidate> =
            ["a", "b", "c"].iter().map(|name| Candidate::new(*name, DURATION)).collect();
        let offset = |index: usize| at(1000 * index as u64);
        let mut looks: Vec<Option<Option<Record>>> = vec![None; 3];
        let mut answers: Vec<Option<Answer>> = vec![None; 3];
        let mut history: Vec<Record> = Vec::new();
        let mut shown = [0; 3];
        for (index, action, seconds) in steps {
            now += at(seconds);
            let (who, clock) = (&mut all[index], now + offset(index));
            match action {
                // A look is taken now, and arrives with a later step.
                0 => looks[index] = Some(server.record.clone()),
                1 | 2 => if let Some(record) = looks[index].take() { who.looked(record, clock) },
                3 => if let Some(answer) = answers[index].take() { who.answered(answer, clock); },
                4 if answers[index].is_some() => {
                    answers[index] = None;
                    who.answered(Answer::Unknown, clock);
                }
                5 if who.leads(clock) => if let Some(claim) = who.give_back() { server.write(&claim); },
                6 | 7 => if let Some(record) = history.get(shown[index]) {
                    shown[index] += 1;
                    who.observe(Some(record.clone()), clock);
                },
                _ => if let Step::Send(claim) = who.next(clock) { answers[index] = Some(server.write(&claim)); },
            }
            if let Some(record) = &server.record && history.last() != Some(record) {
                history.push(record.clone());
            }
            let leading = all.iter().enumerate().filter(|(i, who)| who.leads(now + offset(*i))).count();
            prop_assert!(leading <= 1, "{leading} lead");
        }
    }
}
