//! A program of whatever maker, run on a host of the lab, and what the kernel says of it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use nix::unistd::{SysconfVar, sysconf};

use crate::host::Host;
use crate::lab::{Lab, LabError, process};

/// It is at rest when it took less than [`LITTLE`] of processor time in each of so many looks, one a second: longer than
/// lies between two announcements of an address (1.1 s).
const LOOKS: u32 = 3;

/// See [`LOOKS`].
const LITTLE: Duration = Duration::from_millis(30);

/// How long an answer of its endpoint may take.
const ANSWER: Duration = Duration::from_secs(10);

/// How often a program that starts is asked whether it is ready.
const LOOK: Duration = Duration::from_millis(2);

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

/// What is to be started.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    /// For messages, and the name of its log.
    pub(super) name: String,
    /// The program.
    pub(super) program: PathBuf,
    /// Its flags.
    pub(super) flags: Vec<String>,
    /// Its environment, beside ours.
    pub(super) environment: Vec<(&'static str, String)>,
    /// The port of its endpoint, on 127.0.0.1 of the host.
    pub(super) port: u16,
}

/// A program that runs. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    host: Host,
    name: String,
    log: PathBuf,
    port: u16,
    /// When it was started.
    pub(super) started: Instant,
}

impl Running {
    /// Starts it on this host.
    pub(super) fn start(lab: &Lab, host: &str, launch: &Launch) -> Result<Self, LabError> {
        let log = lab.paths.logs().join(format!("{}.log", launch.name));
        let mut command = process::in_netns(&lab.paths.netns(host), &launch.program);
        command.args(&launch.flags);
        command.envs(launch.environment.iter().map(|(name, value)| (name, value)));
        let (name, port, started) = (launch.name.clone(), launch.port, Instant::now());
        let child = process::spawn(command, &log)?;
        Ok(Running { child, host: lab.host(host)?, name, log, port, started })
    }

    /// Waits until it is ready; returns the time since its start.
    pub(super) async fn ready(&self, seconds: u64) -> Result<Duration, LabError> {
        loop {
            let answer = self.get("/readyz");
            if answer.starts_with("HTTP/1.1 200") {
                return Ok(self.started.elapsed());
            }
            // The last words alone would not say that it has gone.
            self.processor_time()?;
            if self.started.elapsed() > Duration::from_secs(seconds) {
                let what = format!("{} to be ready", self.name);
                let state = format!("{answer}\n{}", self.last_words());
                return Err(LabError::Late { what, seconds, state });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What it logged last.
    pub(super) fn last_words(&self) -> String {
        process::last_lines(&self.log, 10)
    }

    /// What its endpoint answers, with the head; an error is an answer too.
    pub(super) fn get(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let port = self.port;
        let answer = self.host.inside(move || {
            let mut stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_read_timeout(Some(ANSWER))?;
            stream.write_all(request.as_bytes())?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        });
        answer.unwrap_or_else(|error| error.to_string())
    }

    /// Waits until it has nothing more to do.
    pub(super) async fn at_rest(&self, seconds: u64) -> Result<(), LabError> {
        let mut worked = self.processor_time()?;
        let (mut still, mut last) = (0, Duration::ZERO);
        for _ in 0..seconds {
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
            what: format!("{} at rest", self.name),
            seconds,
            state: format!("it took {last:?} of processor time in the last second\n{}", self.last_words()),
        })
    }

    /// What it has in memory.
    pub(super) fn memory(&self) -> Result<Memory, LabError> {
        let text = self.read("status")?;
        memory(&text)
            .ok_or_else(|| LabError::State(format!("the memory of {} is not in {text:?}", self.name)))
    }

    /// The processor time that it has taken so far, in user mode and in the kernel.
    pub(super) fn processor_time(&self) -> Result<Duration, LabError> {
        let text = self.read("stat")?;
        let ticks = ticks(&text)
            .ok_or_else(|| LabError::State(format!("the time of {} is not in {text:?}", self.name)))?;
        let second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
        Ok(Duration::from_secs_f64(ticks as f64 / second as f64))
    }

    /// How many bytes came in on this link of its host so far, whoever they were for.
    pub(super) fn heard(&self, link: &str) -> Result<u64, LabError> {
        // Of this thread: /proc/net is of the process, which is on no host.
        let table = self.host.inside(|| std::fs::read_to_string("/proc/thread-self/net/dev"));
        let table = table.map_err(LabError::at("/proc/thread-self/net/dev"))?;
        heard(&table, link).ok_or_else(|| LabError::State(format!("{link} is not in {table:?}")))
    }

    fn read(&self, file: &str) -> Result<String, LabError> {
        let path = format!("/proc/{}/{file}", self.child.id());
        let gone = |error: io::Error| {
            LabError::program(&self.name, format!("it is gone ({error})\n{}", self.last_words()))
        };
        let text = std::fs::read_to_string(path).map_err(gone)?;
        // It is our child, so it stays in the list of processes when it has ended.
        if text.contains(") Z ") || text.contains("State:\tZ") {
            return Err(gone(io::Error::other("it has ended")));
        }
        Ok(text)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The flag for the kubeconfig that is good on any host of the lab.
pub(super) fn kubeconfig(lab: &Lab) -> String {
    format!("--kubeconfig={}", lab.paths.kubeconfig_of("admin").display())
}

/// The settings of our programs in config/default, as far as they are in the environment.
pub(super) fn settings() -> Vec<(&'static str, String)> {
    let thresholds = ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"];
    let mut all: Vec<_> = thresholds.map(|name| (name, "131072".to_owned())).to_vec();
    all.push(("MALLOC_ARENA_MAX", "1".to_owned()));
    all
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

/// The bytes that came in on a link, by the kernel's table of links: the first number behind its name.
fn heard(table: &str, link: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.trim().strip_prefix(link)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
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
    fn what_came_in_is_the_first_number() {
        let table = "Inter-|   Receive\n face |bytes    packets\n    lo:   10 1 0\n  eth0: 4711   12 0 0\n eth01: 5 1 0\n";
        assert_eq!((heard(table, "eth0"), heard(table, "eth1")), (Some(4711), None));
    }
}
