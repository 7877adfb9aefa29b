//! The speaker, run on a host of the lab as config/default runs it, and what the kernel says of it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use crate::host::Host;
use crate::lab::progress::wait;
use crate::lab::{Lab, LabError, process};

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

/// It is at rest when it took less than [`LITTLE`] of processor time in each of so many looks, one a second: longer than
/// lies between two announcements of an address (1.1 s).
const LOOKS: u32 = 3;

/// See [`LOOKS`].
const LITTLE: Duration = Duration::from_millis(30);

/// How long an answer of the admin endpoint may take.
const ANSWER: Duration = Duration::from_secs(10);

/// What a process has in memory, in KiB (proc_pid_status(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    /// Now (`VmRSS`).
    pub(super) resident: u64,
    /// At most so far (`VmHWM`).
    pub(super) peak: u64,
    /// Of it, its own: heap and stacks (`RssAnon`). The rest is pages of the program's file, which the kernel can drop.
    pub(super) own: u64,
}

/// A speaker that runs. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Speaker {
    child: Child,
    host: Host,
    log: PathBuf,
}

impl Speaker {
    /// Starts it and waits until it is ready.
    pub(super) async fn start(lab: &Lab, program: &Path, flags: &[String]) -> Result<Self, LabError> {
        let log = lab.paths.logs().join("speaker.log");
        let mut command = process::in_netns(&lab.paths.netns(HOST), program);
        command.arg("--kubeconfig").arg(lab.paths.kubeconfig_of("admin"));
        // What is measured is the speaker, not how long it listens for other hosts before a first announcement.
        command.args(["--node-name", NODE, "--admin-port", &PORT.to_string(), "--conflict-detection=off"]);
        command.args(flags);
        // As in config/default.
        command.env("MALLOC_ARENA_MAX", "1");
        command.env("MALLOC_MMAP_THRESHOLD_", "131072").env("MALLOC_TRIM_THRESHOLD_", "131072");
        let child = process::spawn(command, &log)?;
        let speaker = Speaker { child, host: lab.host(HOST)?, log };
        wait("a speaker that is ready", PATIENCE, async || {
            let answer = speaker.get("/readyz");
            let ready = answer.starts_with("HTTP/1.1 200");
            if ready { Ok(()) } else { Err(format!("{answer}\n{}", speaker.last_words())) }
        })
        .await?;
        Ok(speaker)
    }

    /// What it logged last.
    pub(super) fn last_words(&self) -> String {
        process::last_lines(&self.log, 10)
    }

    /// What its admin endpoint answers, with the head; an error is an answer too.
    fn get(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = self.host.inside(move || {
            let mut stream = TcpStream::connect(("127.0.0.1", PORT))?;
            stream.set_read_timeout(Some(ANSWER))?;
            stream.write_all(request.as_bytes())?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        });
        answer.unwrap_or_else(|error| error.to_string())
    }

    /// Reads its metrics, as a monitoring system does; returns how long the text is.
    pub(super) fn scrape(&self) -> usize {
        self.get("/metrics").len()
    }

    /// The sum of the values of this metric whose labels have this text in them.
    pub(super) fn metric(&self, name: &str, label: &str) -> f64 {
        sum(&self.get("/metrics"), name, label)
    }

    /// How many addresses that start so it announces, as its metrics say.
    pub(super) fn announced(&self, prefix: &str) -> usize {
        announced(&self.get("/metrics"), prefix)
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
        let mut worked = self.processor_time()?;
        let (mut still, mut last) = (0, Duration::ZERO);
        for _ in 0..WORK {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = self.processor_time()?;
            last = now.saturating_sub(worked);
            worked = now;
            still = if last <= LITTLE { still + 1 } else { 0 };
            if still == LOOKS {
                return Ok(());
            }
        }
        Err(LabError::Late {
            what: "a speaker at rest".to_owned(),
            seconds: WORK,
            state: format!("it took {last:?} of processor time in the last second\n{}", self.last_words()),
        })
    }

    /// What it has in memory.
    pub(super) fn memory(&self) -> Result<Memory, LabError> {
        let text = self.read("status")?;
        memory(&text).ok_or_else(|| LabError::State(format!("the speaker's memory is not in {text:?}")))
    }

    /// The processor time that it has taken so far, in user mode and in the kernel.
    pub(super) fn processor_time(&self) -> Result<Duration, LabError> {
        let text = self.read("stat")?;
        let ticks = ticks(&text)
            .ok_or_else(|| LabError::State(format!("the speaker's processor time is not in {text:?}")))?;
        let second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
        Ok(Duration::from_secs_f64(ticks as f64 / second as f64))
    }

    fn read(&self, file: &str) -> Result<String, LabError> {
        let path = format!("/proc/{}/{file}", self.child.id());
        let gone = |error: io::Error| {
            LabError::program("ferrolb-speaker", format!("it is gone ({error})\n{}", self.last_words()))
        };
        std::fs::read_to_string(path).map_err(gone)
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many addresses that start so are announced, by these metrics.
fn announced(metrics: &str, prefix: &str) -> usize {
    let lines = metrics.lines().filter(|line| line.starts_with("metallb_speaker_announced{"));
    let wanted = format!("ip=\"{prefix}");
    lines.filter(|line| line.contains(&wanted) && line.ends_with("} 1")).count()
}

/// The sum of the values of the metric of this name with this text in their labels; a counter's name has its `_total`.
fn sum(metrics: &str, name: &str, label: &str) -> f64 {
    let lines = metrics.lines().filter_map(|line| line.strip_prefix(name));
    let labelled = lines.filter(|rest| rest.starts_with(['{', ' ']) && rest.contains(label));
    labelled.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// What `/proc/PID/status` says of memory.
fn memory(status: &str) -> Option<Memory> {
    let value = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some(Memory { resident: value("VmRSS:")?, peak: value("VmHWM:")?, own: value("RssAnon:")? })
}

/// `utime` and `stime` of `/proc/PID/stat`, together, in clock ticks (proc_pid_stat(5)).
fn ticks(stat: &str) -> Option<u64> {
    // The program's name is in parentheses, and may have spaces and parentheses itself.
    let (_, rest) = stat.rsplit_once(')')?;
    // The third field is the first behind it; these are the 14th and the 15th.
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "4711 (a b) c) S 1 4711 4711 0 -1 4194560 900 0 1 0 250 31 7 8 20 0 5 0 99 1 2";
        assert_eq!(ticks(stat), Some(281));
        assert_eq!(ticks("4711 (a) S 1 2 3"), None);
    }

    #[test]
    fn memory_is_read() {
        let status = "Name:\tx\nVmPeak:\t  99 kB\nVmHWM:\t    9000 kB\nVmRSS:\t    7000 kB\nRssAnon:\t 3000 kB\nThreads:\t3\n";
        assert_eq!(memory(status), Some(Memory { resident: 7000, peak: 9000, own: 3000 }));
        assert_eq!(memory("Name:\tx\n"), None);
    }

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
    }
}
