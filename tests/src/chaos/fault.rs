//! The faults by name, and lists of them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use nix::sys::signal::Signal;

use super::watch::{ASKER, CONNECTS};
use super::{Balancer, Stage};
use crate::lab::fault::{self, Drops, Way};
use crate::lab::network::{self, Network};
use crate::lab::progress::wait;
use crate::lab::{Lab, LabError};
use crate::scene::SYSTEM;

/// The share of frames that [`Fault::Loss`] drops, in thousandths.
const LOSS: u32 = 50;

/// All frames, in thousandths.
const ALL: u32 = 1000;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Fault {
    /// A node's power fails; it ends when the node is Ready again.
    Kill,
    /// A speaker is stopped (SIGSTOP), and goes on.
    Stop,
    /// A node's cable to the LAN is pulled.
    PortDown,
    /// Both cables of a node are pulled.
    BothPorts,
    /// Nothing from the LAN reaches a node: it is deaf.
    CutIn,
    /// Nothing that a node sends gets into the LAN: it is mute.
    CutOut,
    /// One in twenty frames of all nodes in the LAN is lost, in each direction.
    Loss,
    /// The switch of the LAN drops the frames by which speakers hear each other, and nothing else: they do so by UDP.
    HellosDropped,
    /// A node does not reach the API server.
    ApiCut,
    /// No node reaches the API server.
    ApiAway,
    /// A node's kube-proxy is stopped.
    ProxyStopped,
    /// There is no controller.
    ControllerGone,
    /// The client who asks restarts: its neighbours are forgotten.
    ClientReboot,
    /// The host that is the nodes' gateway, and that connects, restarts.
    GatewayReboot,
}

impl Fault {
    /// Whether it is of one node.
    pub fn of_a_node(self) -> bool {
        !matches!(
            self,
            Fault::Loss
                | Fault::HellosDropped
                | Fault::ApiAway
                | Fault::ControllerGone
                | Fault::ClientReboot
                | Fault::GatewayReboot
        )
    }

    /// Whether all that it does is over in a moment, so that there is no time while it lasts.
    fn is_short(self) -> bool {
        matches!(self, Fault::ClientReboot | Fault::GatewayReboot)
    }

    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// One fault, or several at once, as they are asked for: `kill` or `kill+loss`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl FromStr for Faults {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let faults: Result<Vec<Fault>, String> = text
            .split('+')
            .map(|name| {
                Fault::from_str(name, false).map_err(|_| {
                    let all: Vec<String> = Fault::value_variants().iter().map(|fault| fault.name()).collect();
                    format!(
                        "there is no fault {name:?}; there are {}, and two of them with +",
                        all.join(", ")
                    )
                })
            })
            .collect();
        faults.map(Faults)
    }
}

/// Faults that begin at once, each at a node if it is of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What, and at which node by its place in the election's order: 0 has the address.
    pub faults: Vec<(Fault, usize)>,
    /// How long they last at least, after the address works.
    pub lasts: Duration,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |(fault, place): &(Fault, usize)| match (fault.of_a_node(), place) {
            (false, _) => fault.name(),
            (true, 0) => format!("{} of the owner", fault.name()),
            (true, place) => format!("{} of the node that is number {} in order", fault.name(), place + 1),
        };
        f.write_str(&self.faults.iter().map(one).collect::<Vec<_>>().join(" and "))
    }
}

/// A list of `count` steps: those asked for, again and again, or if none are, one fault or two at once as the dice fall.
/// The same seed gives the same list.
pub fn plan(seed: u64, count: usize, asked: &[Faults], nodes: usize) -> Vec<Step> {
    let mut dice = fastrand::Rng::with_seed(seed);
    let all = Fault::value_variants();
    let mut steps = Vec::with_capacity(count);
    for number in 0..count {
        let faults = match asked {
            [] => {
                let first = all[dice.usize(..all.len())];
                let second = all[dice.usize(..all.len())];
                // Two in one of four, and then different ones.
                if dice.u8(..4) == 0 && first != second { vec![first, second] } else { vec![first] }
            }
            asked => asked[number % asked.len()].0.clone(),
        };
        let mut places: Vec<usize> = (0..nodes).collect();
        // What is asked for is done to the owner first of all; else to whomever, mostly the owner.
        if asked.is_empty() && dice.u8(..3) == 0 {
            dice.shuffle(&mut places);
        }
        let faults = faults.into_iter().enumerate();
        let faults = faults.map(|(index, fault)| (fault, places[index % places.len().max(1)])).collect();
        steps.push(Step { faults, lasts: Duration::from_millis(dice.u64(1000..4000)) });
    }
    steps
}

/// A fault that has begun.
#[derive(Debug)]
pub struct Begun {
    fault: Fault,
    node: String,
    /// What drops frames ends with this.
    drops: Option<Drops>,
    /// The processes that are stopped.
    stopped: Vec<i32>,
}

impl Begun {
    /// Begins `fault`, at `node` if it is of one.
    ///
    /// # Errors
    /// When it cannot be done.
    pub async fn begin(stage: &Stage, fault: Fault, node: &str) -> Result<Self, LabError> {
        let lab = stage.lab();
        let mut begun = Begun { fault, node: node.to_owned(), drops: None, stopped: Vec::new() };
        let this = [node.to_owned()];
        match fault {
            Fault::Kill => stage.power_off(node)?,
            Fault::Stop => begun.stop(vec![stage.balancer.speaker(lab, node)?])?,
            Fault::ProxyStopped => begun.stop(fault::running(lab, node, "/run/programs/kube-proxy")?)?,
            Fault::PortDown => stage.cables(node, &[Network::Lan], false)?,
            Fault::BothPorts => stage.cables(node, &lab.config.networks(), false)?,
            Fault::CutIn => begun.drops = Some(Drops::frames(lab, Network::Lan, &this, &[Way::In], ALL)?),
            Fault::CutOut => begun.drops = Some(Drops::frames(lab, Network::Lan, &this, &[Way::Out], ALL)?),
            Fault::Loss => begun.drops = Some(loss(lab, LOSS)?),
            Fault::HellosDropped => begun.drops = Some(Drops::hellos(lab, Network::Lan)?),
            Fault::ApiCut => begun.drops = Some(Drops::api(lab, &this)?),
            Fault::ApiAway => begun.drops = Some(Drops::api(lab, &lab.config.node_names())?),
            Fault::ControllerGone => scale(stage, 0).await?,
            Fault::ClientReboot => network::set_client(&lab.paths, ASKER, Network::Lan, false)?,
            Fault::GatewayReboot => network::set_client(&lab.paths, CONNECTS, Network::Lan, false)?,
        }
        Ok(begun)
    }

    fn stop(&mut self, processes: Vec<i32>) -> Result<(), LabError> {
        fault::signal(&processes, Signal::SIGSTOP)?;
        self.stopped = processes;
        Ok(())
    }

    /// Which it is.
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub async fn end(mut self, stage: &Stage) -> Result<(), LabError> {
        let lab = stage.lab();
        for pid in std::mem::take(&mut self.stopped) {
            // Its kubelet may have ended it meanwhile, as it did not answer.
            let _ = fault::signal(&[pid], Signal::SIGCONT);
        }
        if let Some(drops) = self.drops.take() {
            drops.end()?;
        }
        match self.fault {
            Fault::Kill => stage.power_on(&self.node).await,
            Fault::PortDown => stage.cables(&self.node, &[Network::Lan], true),
            Fault::BothPorts => stage.cables(&self.node, &lab.config.networks(), true),
            Fault::ControllerGone => scale(stage, 1).await,
            Fault::ClientReboot => network::set_client(&lab.paths, ASKER, Network::Lan, true),
            Fault::GatewayReboot => network::set_client(&lab.paths, CONNECTS, Network::Lan, true),
            _ => Ok(()),
        }
    }
}

/// Drops a share of the frames of all nodes in the LAN, in thousandths, in both directions.
///
/// # Errors
/// When nft refuses.
pub fn loss(lab: &Lab, thousandths: u32) -> Result<Drops, LabError> {
    Drops::frames(lab, Network::Lan, &lab.config.node_names(), &[Way::Out, Way::In], thousandths)
}

/// Waits until so many controllers run.
async fn scale(stage: &Stage, to: usize) -> Result<(), LabError> {
    /// How long a pod may take to come or go, in seconds.
    const PATIENCE: u64 = 60;
    let deployment = format!("deployment/{}", stage.balancer.deployment());
    stage.kubectl(&["-n", SYSTEM, "scale", &deployment, &format!("--replicas={to}")])?;
    let program = if stage.balancer == Balancer::Ferrolb { "/ferrolb-controller" } else { "/controller" };
    wait(&format!("{to} controllers"), PATIENCE, async || {
        let lab = stage.lab();
        let of =
            |node: String| fault::running(lab, &node, program).map(|found| found.len()).unwrap_or_default();
        let running: usize = lab.config.node_names().into_iter().map(of).sum();
        if running == to { Ok(()) } else { Err(format!("{running} run")) }
    })
    .await
}

impl Step {
    /// Whether there is a time while it lasts.
    pub fn is_short(&self) -> bool {
        self.faults.iter().all(|(fault, _)| fault.is_short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_list() {
        assert_eq!(plan(7, 200, &[], 3), plan(7, 200, &[], 3));
        assert_ne!(plan(7, 200, &[], 3), plan(8, 200, &[], 3));
        let steps = plan(1, 500, &[], 3);
        let all: std::collections::BTreeSet<Fault> =
            steps.iter().flat_map(|step| &step.faults).map(|(fault, _)| *fault).collect();
        assert_eq!(all.len(), Fault::value_variants().len(), "every fault comes");
        assert!(steps.iter().any(|step| step.faults.len() == 2), "two at once come");
        for step in &steps {
            if let [(one, place), (other, second)] = step.faults.as_slice() {
                assert!(one != other && place != second, "one node is left without a fault: {step}");
            }
        }
    }

    #[test]
    fn what_is_asked_for_is_done_to_the_owner() {
        let asked = [Faults(vec![Fault::Kill]), "stop+loss".parse().unwrap()];
        let steps = plan(3, 3, &asked, 3);
        let told: Vec<String> = steps.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["kill of the owner", "stop of the owner and loss", "kill of the owner"]);
    }

    #[test]
    fn an_unknown_fault_is_told_with_those_that_there_are() {
        let error = "kill+flood".parse::<Faults>().unwrap_err();
        assert!(error.contains("\"flood\"") && error.contains("api-away"), "{error}");
    }
}
