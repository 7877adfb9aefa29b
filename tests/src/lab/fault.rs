//! What can be done to a lab that is up: signals to what runs on a node, and frames that are dropped.
//!
//! Frames that a node sends are dropped before they leave it (nftables, family netdev, hook egress in its namespace), so
//! that a capture at the switch does not see what nobody gets. Frames to a node are dropped behind the capture, where
//! the switch would send them (family bridge, hook forward).

use std::io::Write;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::network::Network;
use super::process::{command_line, in_netns};
use super::{Lab, LabError, node};

/// Shares of frames are counted in these parts.
const PARTS: u32 = 1000;

/// The processes on `node` whose command line begins with `program`, such as `/ferrolb-speaker` or
/// `/run/programs/kube-proxy`.
///
/// # Errors
/// When there is none.
pub fn running(lab: &Lab, node: &str, program: &str) -> Result<Vec<i32>, LabError> {
    let all = node::processes(&lab.paths, node).into_iter();
    let found: Vec<i32> = all.filter(|pid| begins(&command_line(*pid), program)).collect();
    if found.is_empty() {
        return Err(LabError::State(format!("{program} does not run on {node}")));
    }
    Ok(found)
}

/// Whether `program` is the first word of a command line.
fn begins(line: &str, program: &str) -> bool {
    line.strip_prefix(program).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// Every process of the pods on `node` but the sandboxes' own.
pub fn of_pods(lab: &Lab, node: &str) -> Vec<i32> {
    let ours = |pid: &i32| {
        let group = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        group.contains("kubepods") && !begins(&command_line(*pid), "/pause")
    };
    node::processes(&lab.paths, node).into_iter().filter(ours).collect()
}

/// Sends `what` to all of them.
///
/// # Errors
/// When one is not there.
pub fn signal(processes: &[i32], what: Signal) -> Result<(), LabError> {
    processes.iter().try_for_each(|pid| {
        kill(Pid::from_raw(*pid), what).map_err(|error| LabError::program(what.as_str(), error))
    })
}

/// A rule that drops frames. It ends when dropped.
#[derive(Debug)]
pub struct Drops {
    lab: Lab,
    tables: Vec<Table>,
}

/// A table of nftables in the namespace of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Table {
    host: String,
    family: &'static str,
    name: String,
    script: String,
}

/// The direction in which a node is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What it sends gets nowhere: it is mute.
    Out,
    /// What others send does not reach it: it is deaf.
    In,
}

impl Drops {
    /// Drops a share of the frames, in thousandths, of these nodes in `network`, in these directions. Who receives
    /// them is not told, and cables stay up.
    ///
    /// # Errors
    /// When nft refuses.
    pub fn frames(
        lab: &Lab,
        network: Network,
        nodes: &[String],
        ways: &[Way],
        thousandths: u32,
    ) -> Result<Self, LabError> {
        let tables =
            nodes.iter().flat_map(|node| ways.iter().map(|way| frames(network, node, *way, thousandths)));
        Self::begin(lab, tables.collect())
    }

    /// Drops the frames by which speakers hear each other in `network`, at the switch, as one does that does not know their
    /// ethertype. All else gets through.
    ///
    /// # Errors
    /// When nft refuses.
    pub fn hellos(lab: &Lab, network: Network) -> Result<Self, LabError> {
        Self::begin(lab, lab.config.node_names().iter().map(|node| hellos(network, node)).collect())
    }

    /// Drops what these nodes send to the API server. Watches then end when their programs notice.
    ///
    /// # Errors
    /// When nft refuses, or in a lab with one network card for each node.
    pub fn api(lab: &Lab, nodes: &[String]) -> Result<Self, LabError> {
        if lab.config.one_nic {
            return Err(LabError::Machine(
                "the API cannot be cut off alone in a lab that was started with --one-nic".into(),
            ));
        }
        Self::begin(lab, nodes.iter().map(|node| api(node, nodes.len())).collect())
    }

    fn begin(lab: &Lab, tables: Vec<Table>) -> Result<Self, LabError> {
        let mut drops = Drops { lab: lab.clone(), tables: Vec::new() };
        for table in tables {
            // What a killed run left is replaced.
            let Table { host, family, name, script } = &table;
            nft(lab, host, &format!("add table {family} {name}\ndelete table {family} {name}\n{script}"))?;
            drops.tables.push(table);
        }
        Ok(drops)
    }

    /// Ends it.
    ///
    /// # Errors
    /// When nft refuses.
    pub fn end(mut self) -> Result<(), LabError> {
        self.remove()
    }

    fn remove(&mut self) -> Result<(), LabError> {
        let mut outcome = Ok(());
        for Table { host, family, name, .. } in std::mem::take(&mut self.tables) {
            outcome = outcome.and(nft(&self.lab, &host, &format!("delete table {family} {name}\n")));
        }
        outcome
    }
}

impl Drop for Drops {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            eprintln!("frames are still dropped: {error}");
        }
    }
}

fn frames(network: Network, node: &str, way: Way, thousandths: u32) -> Table {
    // Two faults may be there at once, and each ends for itself: all frames, and some of them, are tables of different names.
    let name = format!("ferrolb_{}_{thousandths}_{node}", if way == Way::Out { "out" } else { "in" });
    let some = if thousandths >= PARTS {
        String::new()
    } else {
        format!("numgen random mod {PARTS} < {thousandths} ")
    };
    let (host, family, hook, which) = match way {
        Way::Out => (node, "netdev", format!("hook egress device \"{}\"", network.link()), String::new()),
        Way::In => {
            ("sw", "bridge", "hook forward".to_owned(), format!("oifname \"{}\" ", network.port(node)))
        }
    };
    let script = format!(
        "table {family} {name} {{\nchain drops {{\ntype filter {hook} priority 0; policy accept;\n{which}{some}counter drop\n}}\n}}\n"
    );
    Table { host: host.to_owned(), family, name, script }
}

fn hellos(network: Network, node: &str) -> Table {
    let name = format!("ferrolb_hellos_{node}");
    let port = network.port(node);
    let ethertype = ferrolb_core::wire::hello::ETHERTYPE;
    let script = format!(
        "table bridge {name} {{\nchain drops {{\ntype filter hook forward priority 0; policy accept;\n\
         oifname \"{port}\" ether type {ethertype:#06x} counter drop\n}}\n}}\n"
    );
    Table { host: "sw".to_owned(), family: "bridge", name, script }
}

/// For one of so many nodes that do not reach it: one alone, and all of them, may be two faults at once.
fn api(node: &str, of: usize) -> Table {
    let name = format!("ferrolb_api_{of}_{node}");
    let port = Network::Mgmt.port(node);
    let script = format!(
        "table bridge {name} {{\nchain drops {{\ntype filter hook forward priority 0; policy accept;\n\
         iifname \"{port}\" tcp dport 6443 counter drop\noifname \"{port}\" tcp sport 6443 counter drop\n}}\n}}\n"
    );
    Table { host: "sw".to_owned(), family: "bridge", name, script }
}

fn nft(lab: &Lab, host: &str, script: &str) -> Result<(), LabError> {
    let failed = |why: String| LabError::program("nft", why);
    let mut child = in_netns(&lab.paths.netns(host), "nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(script.as_bytes()).map_err(|error| failed(error.to_string()))?;
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(format!("{} (on {host}, of {script:?})", String::from_utf8_lossy(&output.stderr).trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_the_first_word_of_its_command_line() {
        assert!(begins("/speaker --port=9120", "/speaker") && begins("/speaker", "/speaker"));
        assert!(!begins("/speaker2", "/speaker") && !begins("sh /speaker", "/speaker"));
    }

    #[test]
    fn faults_that_are_there_at_once_end_each_for_itself() {
        let all = [
            frames(Network::Lan, "node1", Way::In, PARTS),
            frames(Network::Lan, "node1", Way::In, 50),
            frames(Network::Lan, "node1", Way::Out, PARTS),
            frames(Network::Lan, "node1", Way::Out, 50),
            hellos(Network::Lan, "node1"),
            api("node1", 1),
            api("node1", 3),
        ];
        let names: std::collections::BTreeSet<_> = all.iter().map(|table| &table.name).collect();
        assert_eq!(names.len(), all.len(), "{names:?}");
    }

    #[test]
    fn what_a_node_sends_is_dropped_on_the_node_and_what_it_gets_at_the_switch() {
        let out = frames(Network::Lan, "node1", Way::Out, PARTS);
        assert_eq!((out.host.as_str(), out.family), ("node1", "netdev"));
        assert!(out.script.contains("device \"eth0\"") && !out.script.contains("numgen"), "{}", out.script);
        let into = frames(Network::Lan, "node2", Way::In, 50);
        assert_eq!((into.host.as_str(), into.family), ("sw", "bridge"));
        assert!(into.script.contains("oifname \"node2-lan\" numgen random mod 1000 < 50"), "{}", into.script);
        assert_ne!(out.name, into.name);
        assert!(
            hellos(Network::Lan, "node1")
                .script
                .contains("oifname \"node1-lan\" ether type 0x88b5 counter drop")
        );
        assert!(api("node3", 1).script.contains("iifname \"node3-mgmt\" tcp dport 6443"));
    }
}
