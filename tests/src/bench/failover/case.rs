//! The cases, and what each is to reach.

use super::outcome::Goals;
use crate::chaos::Balancer;

/// What happens to the owner of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Case {
    /// The node's power fails: every process of it and its kernel are silent at once.
    PowerLoss,
    /// Both its cables are pulled.
    BothPorts,
    /// Its cable to the LAN alone is pulled; it still reaches the API server.
    LanPort,
    /// Its speaker gets SIGKILL.
    SpeakerKill,
    /// Its speaker gets SIGTERM.
    SpeakerTerm,
    /// Its speaker's pod is deleted.
    PodDelete,
    /// All speakers are replaced, one after the other.
    Rollout,
    /// It gets the label that excludes it, and loses it.
    Exclude,
    /// Another node gets the label of those that rather announce, and loses it.
    Prefer,
    /// It is drained, shut down in order, and powered off.
    Drain,
    /// It has a thousand addresses, and its power fails.
    Thousand,
    /// Its speaker is stopped while the address moves, and goes on later.
    Stop,
    /// Nothing happens, while the machine is busy.
    Busy,
    /// Nothing happens, but some frames are lost.
    Loss,
    /// MetalLB and FerroLB are both on all nodes, then MetalLB goes.
    Beside,
}

impl Case {
    /// All, in the order in which they are measured.
    pub const ALL: [Case; 15] = [
        Case::PowerLoss,
        Case::BothPorts,
        Case::LanPort,
        Case::SpeakerKill,
        Case::SpeakerTerm,
        Case::PodDelete,
        Case::Rollout,
        Case::Exclude,
        Case::Prefer,
        Case::Drain,
        Case::Stop,
        Case::Thousand,
        Case::Busy,
        Case::Loss,
        Case::Beside,
    ];

    /// Whether it can be measured of this balancer.
    pub fn suits(self, balancer: Balancer) -> bool {
        match self {
            Case::Prefer => balancer.has_preferences(),
            // It has both in it, so it is measured once.
            Case::Beside => balancer == Balancer::Metallb,
            _ => true,
        }
    }

    /// What happens in it, step by step, by the names that figures have.
    pub fn steps(self) -> &'static [&'static str] {
        match self {
            Case::PowerLoss => &["power loss"],
            Case::BothPorts => &["both ports down"],
            Case::LanPort => &["LAN port down"],
            Case::SpeakerKill => &["speaker SIGKILL"],
            Case::SpeakerTerm => &["speaker SIGTERM"],
            Case::PodDelete => &["pod deleted"],
            Case::Rollout => &["rolling update"],
            Case::Exclude => &["exclude label on", "exclude label off"],
            Case::Prefer => &["preferred label on", "preferred label off"],
            Case::Drain => &["drain with shutdown"],
            Case::Thousand => &["1,000 addresses on the dead node"],
            Case::Stop => &["SIGSTOP while the address moves"],
            Case::Busy => &["8 busy loops"],
            Case::Loss => &["5 % of frames lost"],
            Case::Beside => &["FerroLB installed beside MetalLB", "MetalLB removed beside FerroLB"],
        }
    }

    /// Whether it is a move that was planned, or none: so short a gap is that of whoever answers at all, on this machine.
    pub fn has_floor(self) -> bool {
        self.goals(false).max.is_some_and(|goal| goal <= 20.0)
    }

    /// What is to be reached, with the default interval of hellos or the `fast` one of 30 ms.
    pub fn goals(self, fast: bool) -> Goals {
        let none = Goals::default();
        match self {
            Case::PowerLoss | Case::BothPorts | Case::LanPort if fast => {
                Goals { p50: Some(150.0), p99: Some(150.0), ..none }
            }
            Case::PowerLoss | Case::BothPorts | Case::LanPort => {
                Goals { p50: Some(300.0), p99: Some(500.0), ..none }
            }
            Case::SpeakerKill => Goals { max: Some(400.0), same: true, ..none },
            Case::SpeakerTerm | Case::PodDelete | Case::Rollout => {
                Goals { max: Some(20.0), same: true, ..none }
            }
            Case::Exclude | Case::Prefer | Case::Drain => {
                Goals { max: Some(20.0), double: Some(50.0), ..none }
            }
            Case::Thousand | Case::Stop | Case::Busy | Case::Loss | Case::Beside => none,
        }
    }
}

/// The name in the suite of a figure of a step: what is seen of it is of this kind.
pub(in crate::bench) fn figure(step: &str, kind: &str) -> String {
    let words = step.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let step = words.collect::<Vec<_>>().join("-").to_ascii_lowercase();
    format!("failover-{step}-{kind}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn figures_have_plain_names() {
        assert_eq!(figure("5 % of frames lost", "take-overs"), "failover-5-of-frames-lost-take-overs");
    }

    #[test]
    fn all_cases_are_measured() {
        let mut all = Case::ALL;
        all.sort_unstable();
        let mut named = Case::value_variants().to_vec();
        named.sort_unstable();
        assert_eq!(all.to_vec(), named);
    }
}
