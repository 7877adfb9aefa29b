//! The least that anybody could do who answers from a process: one beside the speaker, on the node that is second in order, with
//! the same weight where both want the processor, answers ARP for an address of its own and does nothing else. Nothing ever
//! moves that address, so for as long as it has no answer the machine had no time for anybody.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::bench::wire::Wire;
use crate::chaos::watch::ASKER;
use crate::chaos::{Stage, Watched};
use crate::host::{Frame, frame};
use crate::judge::Prober;
use crate::lab::LabError;
use crate::lab::network::Network;

/// Its address.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 250);

/// How soon it sees that it is to end.
const LOOK: Duration = Duration::from_millis(200);

/// The ethertype of ARP (RFC 826).
const ARP: u16 = 0x0806;

/// Where the processor is shared, in version 1 of cgroups.
const GROUPS: &str = "/sys/fs/cgroup/cpu";

/// Who answers, and who asks as often as is asked for the address in question. It ends when dropped.
#[derive(Debug)]
pub(super) struct Floor {
    stop: Arc<AtomicBool>,
    answering: Option<JoinHandle<io::Result<()>>>,
    /// It asks until it is dropped.
    prober: Option<Prober>,
}

impl Floor {
    /// Starts it on `node`.
    ///
    /// # Errors
    /// When the node has no speaker, or the asker no link.
    pub(super) fn start(stage: &Stage, node: &str) -> Result<Self, LabError> {
        let lab = stage.lab();
        let beside = group(stage.balancer.speaker(lab, node)?);
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let answering = lab.host(node)?.start(move || {
            if let Some(beside) = beside {
                join(&beside)?;
            }
            answer_until(&stopping)
        });
        let mut floor = Floor { stop, answering: Some(answering), prober: None };
        let prober = Prober::start(&lab.host(ASKER)?, Network::Lan, ADDRESS, Prober::EVERY);
        floor.prober = Some(prober.map_err(LabError::at("who asks for the floor"))?);
        Ok(floor)
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it failed meanwhile.
    pub(super) fn end(mut self) -> Result<(), LabError> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.answering.take().map(JoinHandle::join);
        let ended =
            ended.and_then(Result::ok).unwrap_or_else(|| Err(io::Error::other("its thread panicked")));
        ended.map_err(|error| LabError::program("who answers for the floor", error))
    }

    /// The longest time from `from` on in which it gave no answer, by the record.
    pub(super) fn gap(watched: &Watched, from: Duration) -> Duration {
        let (record, address) = (&watched.record, IpAddr::V4(ADDRESS));
        record.verdict_between(address, Network::Lan, from, record.until).longest_silence
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.prober = None;
        // Its thread is in a group of the lab, and what is there ends with the lab.
        if let Some(answering) = self.answering.take() {
            let _ = answering.join();
        }
    }
}

fn answer_until(stop: &AtomicBool) -> io::Result<()> {
    let wire = Wire::open(Network::Lan.link(), ARP)?.with_times()?;
    let mut buffer = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        wire.wait(LOOK)?;
        while let Some((length, _)) = wire.receive(&mut buffer)? {
            let asked = Frame::parse(&buffer[..length], Duration::ZERO).and_then(Frame::arp);
            let Some(asked) = asked.filter(|asked| asked.request && asked.target.1 == ADDRESS) else {
                continue;
            };
            wire.send(&[frame::arp_reply(wire.mac, ADDRESS, asked.sender)])?;
        }
    }
    Ok(())
}

/// The group in which the kubelet keeps the pods of the kind of this process, and the weight of its pod. With version 2 of cgroups
/// a thread cannot be elsewhere than its process.
fn group(speaker: i32) -> Option<(PathBuf, String)> {
    let text = std::fs::read_to_string(format!("/proc/{speaker}/cgroup")).ok()?;
    let pod = Path::new(GROUPS).join(pod(&text)?);
    let weight = std::fs::read_to_string(pod.join("cpu.shares")).ok()?;
    Some((pod.parent()?.join("floor"), weight.trim().to_owned()))
}

/// The pod's folder, above the container's, from the hierarchy's root on.
fn pod(groups: &str) -> Option<PathBuf> {
    let line = groups.lines().find(|line| {
        line.split(':').nth(1).is_some_and(|names| names.split(',').any(|name| name == "cpu"))
    })?;
    let path = Path::new(line.splitn(3, ':').nth(2)?.trim_start_matches('/'));
    path.parent().map(Path::to_owned)
}

/// Puts this thread into the group, which is made if need be.
fn join((folder, weight): &(PathBuf, String)) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("cpu.shares"), weight)?;
    std::fs::write(folder.join("tasks"), nix::unistd::gettid().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_of_a_process_is_found() {
        let text = "12:pids:/x\n4:cpu,cpuacct:/lab-a-node1/kubepods/burstable/pod1/abc\n1:name=systemd:/y\n";
        assert_eq!(pod(text), Some(PathBuf::from("lab-a-node1/kubepods/burstable/pod1")));
        assert_eq!(pod("0::/lab-a-node1/kubepods/burstable/pod1/abc\n"), None, "version 2");
    }
}
