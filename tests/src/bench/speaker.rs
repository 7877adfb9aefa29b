//! The speaker, run on a host of the lab as config/default runs it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use crate::lab::progress::wait;
use crate::lab::{Lab, LabError};

use super::running::{self, Launch, Memory, Running};

/// On which host it runs.
pub(super) const HOST: &str = "client2";

/// The node that it is.
pub(super) const NODE: &str = "bench";

/// Its admin endpoint; the host is its alone.
const PORT: u16 = 17480;

/// How long it may take to be ready, in seconds.
const PATIENCE: u64 = 60;

/// How long it may work on what it was told, in seconds.
const WORK: u64 = 180;

/// How it is started.
pub(super) fn launch(lab: &Lab, program: &Path, flags: &[String]) -> Launch {
    launch_as(lab, NODE, program, flags)
}

/// How it is started as this node.
fn launch_as(lab: &Lab, node: &str, program: &Path, flags: &[String]) -> Launch {
    let mut all =
        vec![running::kubeconfig(lab), format!("--node-name={node}"), format!("--admin-port={PORT}")];
    // What is measured is the speaker, not how long it listens for other hosts before a first announcement.
    all.push("--conflict-detection=off".to_owned());
    all.extend_from_slice(flags);
    Launch {
        name: if node == NODE { "speaker".to_owned() } else { format!("speaker-{node}") },
        program: program.to_owned(),
        flags: all,
        environment: running::settings(),
        port: PORT,
    }
}

/// A speaker that runs. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Speaker(Running);

impl Speaker {
    /// Starts it and waits until it is ready.
    pub(super) async fn start(lab: &Lab, program: &Path, flags: &[String]) -> Result<Self, LabError> {
        Self::start_as(lab, HOST, NODE, program, flags).await
    }

    /// The same on this host, as this node.
    pub(super) async fn start_as(
        lab: &Lab,
        host: &str,
        node: &str,
        program: &Path,
        flags: &[String],
    ) -> Result<Self, LabError> {
        let running = Running::start(lab, host, &launch_as(lab, node, program, flags))?;
        running.ready(PATIENCE).await?;
        Ok(Speaker(running))
    }

    /// What it logged last.
    pub(super) fn last_words(&self) -> String {
        self.0.last_words()
    }

    /// Reads its metrics, as a monitoring system does; returns how long the text is.
    pub(super) fn scrape(&self) -> usize {
        self.0.get("/metrics").len()
    }

    /// The sum of the values of this metric whose labels have this text in them.
    pub(super) fn metric(&self, name: &str, label: &str) -> f64 {
        sum(&self.0.get("/metrics"), name, label)
    }

    /// How many addresses that start so it announces, as its metrics say.
    pub(super) fn announced(&self, prefix: &str) -> usize {
        announced(&self.0.get("/metrics"), prefix)
    }

    /// How many others it hears by frames, and the addresses that start so which it announces; of one look at its metrics.
    pub(super) fn share(&self, prefix: &str) -> (f64, BTreeSet<IpAddr>) {
        let metrics = self.0.get("/metrics");
        let peers = sum(&metrics, "ferrolb_speaker_peers", "transport=\"ethernet\"");
        (peers, addresses(&metrics, prefix).collect())
    }

    /// How many bytes came in at its host's link so far.
    pub(super) fn heard(&self) -> Result<u64, LabError> {
        self.0.heard("eth0")
    }

    /// Waits until it announces at least `count` addresses that start so, as its metrics say.
    pub(super) async fn announces(&self, count: usize, prefix: &str) -> Result<(), LabError> {
        wait(&format!("{count} addresses {prefix}… announced"), WORK, async || {
            let now = self.announced(prefix);
            if now >= count { Ok(()) } else { Err(format!("they are {now}\n{}", self.last_words())) }
        })
        .await
    }

    /// Waits until it has nothing more to do: its announcements are over, its statuses are written.
    pub(super) async fn at_rest(&self) -> Result<(), LabError> {
        self.0.at_rest(WORK).await
    }

    /// What it has in memory.
    pub(super) fn memory(&self) -> Result<Memory, LabError> {
        self.0.memory()
    }

    /// The processor time that it has taken so far, in user mode and in the kernel.
    pub(super) fn processor_time(&self) -> Result<Duration, LabError> {
        self.0.processor_time()
    }
}

/// How many addresses that start so are announced, by these metrics.
fn announced(metrics: &str, prefix: &str) -> usize {
    addresses(metrics, prefix).count()
}

/// The addresses that start so and are announced, by these metrics.
fn addresses(metrics: &str, prefix: &str) -> impl Iterator<Item = IpAddr> {
    let lines = metrics.lines().filter(|line| line.starts_with("metallb_speaker_announced{"));
    let announced = lines.filter(|line| line.ends_with("} 1"));
    announced.filter_map(move |line| {
        let (_, rest) = line.split_once("ip=\"")?;
        let (address, _) = rest.split_once('"')?;
        address.starts_with(prefix).then(|| address.parse().ok())?
    })
}

/// The sum of the values of the metric of this name with this text in their labels; a counter's name has its `_total`.
fn sum(metrics: &str, name: &str, label: &str) -> f64 {
    let lines = metrics.lines().filter_map(|line| line.strip_prefix(name));
    let labelled = lines.filter(|rest| rest.starts_with(['{', ' ']) && rest.contains(label));
    labelled.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_one_metric_are_added_up() {
        let metrics = "# TYPE a gauge\na{x=\"1\",y=\"2\"} 3\na{x=\"2\",y=\"2\"} 4\na_b{x=\"1\"} 5\nc 6\n";
        assert_eq!(
            (sum(metrics, "a", ""), sum(metrics, "a", "x=\"1\""), sum(metrics, "c", "")),
            (7.0, 3.0, 6.0)
        );
    }

    #[test]
    fn announced_addresses_are_counted_by_their_beginning() {
        let metrics = "metallb_speaker_announced{service=\"a/b\",protocol=\"layer2\",node=\"n\",ip=\"10.64.0.1\"} 1\n\
                       metallb_speaker_announced{service=\"a/c\",protocol=\"layer2\",node=\"n\",ip=\"fd64::1\"} 1\n\
                       metallb_layer2_requests_received{ip=\"10.64.0.1\"} 1\n";
        assert_eq!(
            (announced(metrics, "10.64."), announced(metrics, "fd64:"), announced(metrics, "")),
            (1, 1, 2)
        );
        let all: Vec<String> = addresses(metrics, "").map(|address| address.to_string()).collect();
        assert_eq!(all, ["10.64.0.1", "fd64::1"]);
    }
}
