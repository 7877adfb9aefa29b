//! The verdict: a pure function of captured frames.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::Seen;
use crate::host::{Frame, Mac, NdpMessage};
use crate::lab::network::Network;

/// Who returns after somebody else had the address for less than this was never gone: both have it.
const FLICKER: Duration = Duration::from_millis(100);

/// Who announces an address answers for it within so long, or does not have it.
const FOLLOWS: Duration = Duration::from_millis(100);

/// Who asks again only after more than this does not know how long nobody would have answered.
const SELDOM: Duration = Duration::from_millis(50);

/// Who says that an address is his.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// The host from whose cable the frame came.
    pub host: String,
    /// The MAC address that it gives for the address.
    pub mac: Mac,
}

/// A question, and who answered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// When.
    pub at: Duration,
    /// Who asked.
    pub asker: Mac,
    /// The answers that came before the asker asked again.
    pub answers: Vec<(Duration, Owner)>,
}

impl Question {
    /// Who answered, if it was one alone.
    fn owner(&self) -> Option<&Owner> {
        let (_, first) = self.answers.first()?;
        self.answers.iter().all(|(_, owner)| owner == first).then_some(first)
    }
}

/// A run of questions that the same owners answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stint {
    /// The first question.
    pub from: Duration,
    /// The last answer, or the last question when nobody answered.
    pub to: Duration,
    /// Who answered each of them; nobody in a silence.
    pub owners: BTreeSet<Owner>,
    /// How many questions.
    pub questions: usize,
}

/// A time in which two had the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The first answer.
    pub from: Duration,
    /// The last answer.
    pub to: Duration,
    /// Who answered.
    pub owners: BTreeSet<Owner>,
}

/// How an address was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// An ARP request whose sender and target are the address.
    Request,
    /// An ARP reply whose sender and target are the address; `moves` says whether both MAC addresses are the same,
    /// without which Linux does not take it for gratuitous.
    Reply {
        /// See above.
        moves: bool,
    },
    /// An ARP request for somebody else that names the address as its sender.
    Question,
    /// An unsolicited neighbour advertisement; without `overrides` it moves no cache.
    Advertisement {
        /// Override is set, and the target link-layer option is there.
        overrides: bool,
    },
}

/// An announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// When.
    pub at: Duration,
    /// Whose.
    pub owner: Owner,
    /// In which form.
    pub form: Form,
}

/// What is to be said of one address on one network over a span of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The address.
    pub address: IpAddr,
    /// The network.
    pub network: Network,
    /// The beginning of the span.
    pub from: Duration,
    /// Its end.
    pub until: Duration,
    /// All questions of hosts that have an address; those of probes have none yet.
    pub questions: Vec<Question>,
    /// Who answered when.
    pub stints: Vec<Stint>,
    /// When two answered.
    pub overlaps: Vec<Overlap>,
    /// The longest time from a question that nobody answered to the next answer that its asker got; that anybody got,
    /// if the asker did not ask again soon; to the last question, if nobody got any. It is never less than the longest
    /// time that an answer took.
    pub longest_silence: Duration,
    /// When that began.
    pub silent_at: Duration,
    /// All announcements.
    pub announcements: Vec<Announcement>,
    /// Those of hosts that did not answer for the address then, while another did.
    pub stale: Vec<Announcement>,
}

/// What a frame is for the address in question.
pub(super) enum Role {
    Question { asker: Mac },
    Answer { to: Mac, owner: Mac },
    Announcement { owner: Mac, form: Form },
}

impl Verdict {
    /// Judges `address` by the frames on `network` between `from` and `until`.
    pub fn of(seen: &[Seen], address: IpAddr, network: Network, from: Duration, until: Duration) -> Self {
        let mut seen: Vec<&Seen> = seen
            .iter()
            .filter(|seen| seen.port.network == network && (from..=until).contains(&seen.frame.at()))
            .collect();
        // Of several processors each brings its frames in order, but not all of them together.
        seen.sort_by_key(|seen| seen.frame.at());
        let mut questions: Vec<Question> = Vec::new();
        let mut last: BTreeMap<[u8; 6], usize> = BTreeMap::new();
        let mut answers: Vec<(Duration, Owner)> = Vec::new();
        let mut announcements = Vec::new();
        for seen in seen {
            let at = seen.frame.at();
            let owner = |mac| Owner { host: seen.port.host.clone(), mac };
            match role(&seen.frame, address) {
                Some(Role::Question { asker }) => {
                    last.insert(asker.octets(), questions.len());
                    questions.push(Question { at, asker, answers: Vec::new() });
                }
                Some(Role::Answer { to, owner: mac }) => {
                    answers.push((at, owner(mac)));
                    if let Some(&index) = last.get(&to.octets()) {
                        questions[index].answers.push((at, owner(mac)));
                    }
                }
                Some(Role::Announcement { owner: mac, form }) => {
                    announcements.push(Announcement { at, owner: owner(mac), form });
                }
                None => {}
            }
        }
        let stints = stints(&questions);
        let (longest_silence, silent_at) = silence(&questions);
        let stale = announcements.iter().filter(|said| is_stale(said, &answers)).cloned().collect();
        let overlaps = overlaps(&questions, &stints);
        Verdict {
            address,
            network,
            from,
            until,
            questions,
            stints,
            overlaps,
            longest_silence,
            silent_at,
            announcements,
            stale,
        }
    }

    /// Who answered, in the order of their first answers.
    pub fn owners(&self) -> Vec<Owner> {
        let mut owners: Vec<Owner> = Vec::new();
        for (_, owner) in self.questions.iter().flat_map(|question| &question.answers) {
            if !owners.contains(owner) {
                owners.push(owner.clone());
            }
        }
        owners
    }

    /// The hosts of the stints, one after the other: `["node1", "node2"]` for a move. Silences, and runs of one host
    /// that they part, do not count.
    pub fn course(&self) -> Vec<&str> {
        let hosts = self.stints.iter().flat_map(|stint| &stint.owners).map(|owner| owner.host.as_str());
        let mut course: Vec<&str> = hosts.collect();
        course.dedup();
        course
    }

    /// The hosts that had the address alone, one after the other: as [`Verdict::course`], without the moments in which
    /// two had it.
    pub fn holders(&self) -> Vec<&str> {
        self.steps().into_iter().map(|(host, _)| host).collect()
    }

    /// The same, each with the question with which its time alone begins.
    pub fn steps(&self) -> Vec<(&str, Duration)> {
        let within =
            |at: Duration| self.overlaps.iter().any(|overlap| (overlap.from..overlap.to).contains(&at));
        let outside = self.questions.iter().filter(|question| !within(question.at));
        let mut steps: Vec<(&str, Duration)> =
            outside.filter_map(|question| Some((question.owner()?.host.as_str(), question.at))).collect();
        steps.dedup_by_key(|(host, _)| *host);
        steps
    }

    /// How long two had the address, in all.
    pub fn time_of_two(&self) -> Duration {
        self.overlaps.iter().map(|overlap| overlap.to.saturating_sub(overlap.from)).sum()
    }

    /// How many questions were asked, and how many of them nobody answered.
    pub fn counts(&self) -> (usize, usize) {
        (self.questions.len(), self.questions.iter().filter(|question| question.answers.is_empty()).count())
    }

    /// The first announcement of `host`.
    pub fn first_announcement(&self, host: &str) -> Option<&Announcement> {
        self.announcements.iter().find(|said| said.owner.host == host)
    }

    /// The first answer of `host`.
    pub fn first_answer(&self, host: &str) -> Option<Duration> {
        let answers = self.questions.iter().flat_map(|question| &question.answers);
        answers.filter(|(_, owner)| owner.host == host).map(|(at, _)| *at).min()
    }
}

pub(super) fn role(frame: &Frame, address: IpAddr) -> Option<Role> {
    match frame {
        Frame::Arp(arp) => {
            let (sender, target) = (IpAddr::V4(arp.sender.1), IpAddr::V4(arp.target.1));
            let owner = arp.sender.0;
            match (arp.request, sender == address, target == address) {
                (true, true, true) => Some(Role::Announcement { owner, form: Form::Request }),
                (false, true, true) => {
                    let form = Form::Reply { moves: arp.target.0 == owner };
                    Some(Role::Announcement { owner, form })
                }
                (true, true, false) => Some(Role::Announcement { owner, form: Form::Question }),
                (true, false, true) if !arp.sender.1.is_unspecified() => {
                    Some(Role::Question { asker: arp.source })
                }
                (false, true, false) => Some(Role::Answer { to: arp.destination, owner }),
                _ => None,
            }
        }
        Frame::Ndp(ndp) if IpAddr::V6(ndp.target) != address => None,
        Frame::Ndp(ndp) => match ndp.message {
            NdpMessage::Solicitation { .. } if ndp.from.is_unspecified() => None,
            NdpMessage::Solicitation { .. } => Some(Role::Question { asker: ndp.source }),
            NdpMessage::Advertisement { solicited, overrides, target_link, .. } => {
                let owner = target_link.unwrap_or(ndp.source);
                if solicited {
                    return Some(Role::Answer { to: ndp.destination, owner });
                }
                let form = Form::Advertisement { overrides: overrides && target_link.is_some() };
                Some(Role::Announcement { owner, form })
            }
        },
    }
}

fn stints(questions: &[Question]) -> Vec<Stint> {
    let mut stints: Vec<Stint> = Vec::new();
    for question in questions {
        let owners: BTreeSet<Owner> = question.answers.iter().map(|(_, owner)| owner.clone()).collect();
        let to = question.answers.iter().map(|(at, _)| *at).max().unwrap_or(question.at);
        match stints.last_mut() {
            Some(stint) if stint.owners == owners => {
                stint.to = stint.to.max(to);
                stint.questions += 1;
            }
            _ => stints.push(Stint { from: question.at, to, owners, questions: 1 }),
        }
    }
    stints
}

fn overlaps(questions: &[Question], stints: &[Stint]) -> Vec<Overlap> {
    let mut overlaps = Vec::new();
    for stint in stints.iter().filter(|stint| stint.owners.len() > 1) {
        let of_it = questions.iter().filter(|asked| (stint.from..=stint.to).contains(&asked.at));
        let first = of_it.flat_map(|asked| &asked.answers).map(|(at, _)| *at).min();
        overlaps.push(Overlap {
            from: first.unwrap_or(stint.from),
            to: stint.to,
            owners: stint.owners.clone(),
        });
    }
    let answered: Vec<&Stint> = stints.iter().filter(|stint| stint.owners.len() == 1).collect();
    for window in answered.windows(3) {
        let [before, between, after] = window else { continue };
        let short = after.from.saturating_sub(between.from) < FLICKER;
        if before.owners == after.owners && before.owners != between.owners && short {
            let owners = before.owners.union(&between.owners).cloned().collect();
            overlaps.push(Overlap { from: between.from, to: after.from, owners });
        }
    }
    overlaps.sort_by_key(|overlap| overlap.from);
    overlaps
}

/// The longest silence, and when it began.
fn silence(questions: &[Question]) -> (Duration, Duration) {
    let end = questions.last().map(|question| question.at).unwrap_or_default();
    let mut answers: Vec<Duration> =
        questions.iter().flat_map(|question| &question.answers).map(|(at, _)| *at).collect();
    answers.sort();
    let mut by_asker: BTreeMap<[u8; 6], Vec<&Question>> = BTreeMap::new();
    for question in questions {
        by_asker.entry(question.asker.octets()).or_default().push(question);
    }
    let (mut longest, mut began) = (Duration::ZERO, Duration::ZERO);
    for asked in by_asker.values() {
        let mut open = None;
        for (index, question) in asked.iter().enumerate() {
            let since = *open.get_or_insert(question.at);
            let next = asked.get(index + 1).filter(|next| next.at - question.at <= SELDOM);
            let until = match (question.answers.iter().map(|(at, _)| *at).min(), next) {
                (Some(answer), _) => answer,
                (None, Some(_)) => continue,
                (None, None) => {
                    answers[answers.partition_point(|at| *at < question.at)..].first().copied().unwrap_or(end)
                }
            };
            open = None;
            if until.saturating_sub(since) > longest {
                (longest, began) = (until.saturating_sub(since), since);
            }
        }
    }
    (longest, began)
}

/// Whether it was made by one who did not have the address: the answer before is another's, and what follows
/// shortly is others' alone.
fn is_stale(said: &Announcement, answers: &[(Duration, Owner)]) -> bool {
    let before = answers.iter().rev().find(|(at, _)| *at <= said.at);
    if before.is_none_or(|(_, owner)| *owner == said.owner) {
        return false;
    }
    let mut next = answers.iter().filter(|(at, _)| *at > said.at && *at <= said.at + FOLLOWS).peekable();
    next.peek().is_some() && next.all(|(_, owner)| *owner != said.owner)
}
