//! Ten real speakers at one API server with many Services, each with several EndpointSlices: memory, processor, what is asked of
//! the API server, and how soon the addresses of a node that dies are answered for elsewhere.
//!
//! ```text
//!   client1 … client10: a ferrolb-speaker each ──┬── bridge ──── client11: sees who announces what
//!                                            API server          shows ten nodes without kubelets
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use crate::host::{Capture, Frame, Host, Mac, Tap};
use crate::lab::network::{self, Network};
use crate::lab::process::interrupted;
use crate::lab::progress::{Progress, wait};
use crate::lab::{Lab, LabError, process, programs};
use crate::plane::Plane;
use crate::scene::SYSTEM;

use super::allocation::machine;
use super::cluster::{self, FOUR, Stock, four};
use super::counters::Counters;
use super::lean::Server;
use super::report::{Report, Who, megabytes, milliseconds};
use super::resources::WRITTEN;
use super::speaker::{HOST, NODE, Speaker};

/// So many speakers, each on a client of its own.
const SPEAKERS: u8 = 10;

/// Who looks on.
const WITNESS: &str = "client11";

/// How many EndpointSlices each Service has.
const SLICES: u8 = 3;

/// How long the speakers may take to share the addresses, in seconds.
const PATIENCE: u64 = 180;

/// How often it is looked whether they have.
const LOOK: Duration = Duration::from_millis(250);

/// So long nothing happens.
const QUIET: Duration = Duration::from_secs(30);

/// The key of all. No lab has another one in its neighbourhood.
const KEY: [u8; 32] = *b"the key of a bench, for the lab.";

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// So many Services have addresses.
    pub services: usize,
    /// So many nodes die, one after the other.
    pub trials: usize,
    /// A folder of ready FerroLB programs, instead of building them.
    pub programs: Option<PathBuf>,
}

/// Measures in a lab of its own, named `name`, which is taken down at the end.
///
/// # Errors
/// When something does not come about.
pub async fn scale(name: &str, options: &Options, lab_program: &Path) -> Result<Report, LabError> {
    let progress = Progress::default();
    let folder = match &options.programs {
        Some(folder) => folder.clone(),
        None => programs::ferrolb_programs(&progress)?,
    };
    progress.say("bringing up a control plane without nodes");
    // The API server is on the LAN, where the speakers are.
    let clients = (SPEAKERS + 1).to_string();
    let flags = ["--name", name, "up", "--nodes", "0", "--one-nic", "--clients", &clients];
    process::run(Command::new(lab_program).args(flags))?;
    let plane = Plane { lab: Lab::attach(name)? };
    let program = folder.join("ferrolb-speaker");
    tokio::select! {
        biased;
        () = interrupted() => Err(LabError::Interrupted),
        report = measure(&plane, &program, options, &progress) => report,
    }
}

/// A host, the node that it is, and its address. One of them is the node that every bench has.
fn nodes() -> impl Iterator<Item = (String, String, Ipv4Addr)> {
    (1..=SPEAKERS).map(|number| {
        let host = format!("client{number}");
        let node = if host == HOST { NODE.to_owned() } else { format!("node-{number:02}") };
        (host, node, Ipv4Addr::new(10, 10, 0, 100 + number))
    })
}

async fn measure(
    plane: &Plane,
    program: &Path,
    options: &Options,
    progress: &Progress,
) -> Result<Report, LabError> {
    plane.kubectl(&["create", "namespace", SYSTEM])?;
    let server = Server::of(&plane.lab).await?;
    let others: Vec<_> = nodes().filter(|(_, node, _)| node != NODE).collect();
    let names: Vec<String> = others.iter().map(|(_, node, _)| node.clone()).collect();
    let _heart = cluster::prepare(plane, &server, &names).await?;
    for (_, node, address) in &others {
        cluster::add_bare_node(&server, node, *address).await?;
    }
    let count = options.services;
    progress.say(&format!("{count} Services with addresses, and {SLICES} EndpointSlices each"));
    let mut stock = Stock::new(server.clone(), progress.clone()).with_slices(SLICES);
    let numbers = stock.create(count).await?;
    stock.assign(numbers, four).await?;
    let folder = plane.lab.paths.root().join("hello");
    std::fs::create_dir(&folder).map_err(LabError::at(&folder))?;
    std::fs::write(folder.join("first.key"), KEY).map_err(LabError::at(&folder))?;
    let flags = vec![format!("--hello-key-dir={}", folder.display())];
    let mut bench = Bench { plane, program, flags, server, count, progress, report: Report::default() };
    machine(&mut bench.report);
    let mut speakers = bench.start().await?;
    bench.rest(&speakers).await?;
    let hosts: Vec<String> = speakers.keys().cloned().collect();
    for (trial, host) in hosts.iter().cycle().take(options.trials).enumerate() {
        progress.say(&format!("node {} of {} dies", trial + 1, options.trials));
        bench.death(&mut speakers, host).await?;
    }
    Ok(bench.report)
}

/// What all that is measured has in common.
struct Bench<'a> {
    plane: &'a Plane,
    program: &'a Path,
    flags: Vec<String>,
    server: Server,
    /// How many addresses there are.
    count: usize,
    progress: &'a Progress,
    report: Report,
}

/// The speakers, by host.
type Speakers = BTreeMap<String, Speaker>;

impl Bench<'_> {
    async fn speaker(&self, host: &str) -> Result<Speaker, LabError> {
        let found = nodes().find(|(of, ..)| of == host);
        let (_, node, _) = found.ok_or_else(|| LabError::State(format!("{host} is no node")))?;
        Speaker::start_as(&self.plane.lab, host, &node, self.program, &self.flags).await
    }

    /// All of them, one after the other, until they have shared the addresses.
    async fn start(&mut self) -> Result<Speakers, LabError> {
        self.progress.say(&format!("{SPEAKERS} speakers start"));
        let (before, began) = (Seen::now(&self.server).await?, Instant::now());
        let mut speakers = Speakers::new();
        for (host, ..) in nodes() {
            let speaker = self.speaker(&host).await?;
            speakers.insert(host, speaker);
        }
        shared(&speakers, self.count).await?;
        let took = began.elapsed();
        at_rest(&speakers).await?;
        let after = Seen::now(&self.server).await?;
        let report = &mut self.report;
        report.sample("scale-start", Who::Ferrolb, "s", [took.as_secs_f64()]);
        report.tell("the first speaker's start to the last announced address", took.as_secs_f64(), "s");
        let worked = after.processor - before.processor;
        report.sample("scale-start-server", Who::Ferrolb, "s", [worked]);
        report.tell("  meanwhile, and until the last status: the API server's processor time", worked, "s");
        report.tell("  its memory then", after.memory, "MB");
        Ok(speakers)
    }

    /// What they cost while nothing happens.
    async fn rest(&mut self, speakers: &Speakers) -> Result<(), LabError> {
        self.progress.say(&format!("{} s in which nothing happens", QUIET.as_secs()));
        let before = Seen::now(&self.server).await?;
        let mut was = Vec::new();
        for speaker in speakers.values() {
            was.push((speaker.processor_time()?, speaker.heard()?));
        }
        let began = Instant::now();
        tokio::time::sleep(QUIET).await;
        let took = began.elapsed().as_secs_f64();
        let (mut loads, mut memories, mut own, mut heard) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (speaker, (worked, bytes)) in speakers.values().zip(was) {
            loads.push(100.0 * speaker.processor_time()?.saturating_sub(worked).as_secs_f64() / took);
            let memory = speaker.memory()?;
            memories.push(megabytes(memory.resident));
            own.push(megabytes(memory.own));
            heard.push(speaker.heard()?.saturating_sub(bytes) as f64 / took / 1e3);
        }
        let after = Seen::now(&self.server).await?;
        let writes = after.writes_since(&before);
        let report = &mut self.report;
        let each = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        report.figure("a speaker's resident memory", each(&memories), "MB", Some(20.0));
        report.tell("  of it its own: heap and stacks", each(&own), "MB");
        report.tell("a speaker's processor", each(&loads), "%");
        report.tell("a node hears", each(&heard), "kB/s");
        report.figure("writes to the API server", writes, "", Some(0.0));
        let worked = 100.0 * (after.processor - before.processor) / took;
        report.tell("the API server's processor", worked, "%");
        report.sample("scale-memory", Who::Ferrolb, "MB", memories);
        report.sample("scale-processor", Who::Ferrolb, "%", loads);
        report.sample("scale-heard", Who::Ferrolb, "kB/s", heard);
        report.sample("scale-writes", Who::Ferrolb, "", [writes]);
        Ok(())
    }

    /// A node dies: its cable is pulled and its speaker killed. Others announce its addresses; then it comes back, and has them
    /// again.
    async fn death(&mut self, speakers: &mut Speakers, host: &str) -> Result<(), LabError> {
        let gone = speakers.remove(host).ok_or_else(|| LabError::State(format!("{host} has no speaker")))?;
        let (_, addresses) = gone.share(FOUR);
        if addresses.is_empty() {
            return Err(LabError::State(format!("{host} announces no address: there are too few")));
        }
        let capture = capture(&self.plane.lab.host(WITNESS)?).map_err(|error| failed(error.to_string()))?;
        let before = Seen::now(&self.server).await?;
        let died = SystemTime::now();
        network::set_ports(&self.plane.lab.paths, host, &[Network::Lan], false)?;
        drop(gone);
        let elsewhere = |capture: &Capture<Said>| -> BTreeMap<IpAddr, SystemTime> {
            capture.so_far(|said| {
                let later = said.iter().filter(|(of, _, at)| *at > died && addresses.contains(of));
                let mut first = BTreeMap::new();
                later.for_each(|(of, _, at)| _ = first.entry(*of).or_insert(*at));
                first
            })
        };
        wait("others to announce the addresses of a dead node", PATIENCE, async || {
            let found = elsewhere(&capture).len();
            if found == addresses.len() { Ok(()) } else { Err(format!("{found} of {}", addresses.len())) }
        })
        .await?;
        let times: Vec<f64> = elsewhere(&capture)
            .into_values()
            .map(|at| milliseconds(at.duration_since(died).unwrap_or_default()))
            .collect();
        let (first, last) =
            times.iter().fold((f64::MAX, 0.0_f64), |(a, b), time| (a.min(*time), b.max(*time)));
        // By others: what a dead node has said is not heard.
        let by: BTreeSet<Mac> = capture.so_far(|said| {
            said.iter()
                .filter(|(of, _, at)| *at > died && addresses.contains(of))
                .map(|(_, mac, _)| *mac)
                .collect()
        });
        capture.stop().map_err(|error| failed(error.to_string()))?;
        at_rest(speakers).await?;
        let after = Seen::now(&self.server).await?;
        let writes = after.writes_since(&before);
        let report = &mut self.report;
        report.tell(
            format!("a node with {} addresses dies: the first is announced", addresses.len()),
            first,
            "ms",
        );
        report.tell(format!("  the last, by one of {} nodes", by.len()), last, "ms");
        report.tell("  writes to the API server", writes, "");
        report.tell("  the API server's processor time", after.processor - before.processor, "s");
        report.sample("scale-death-first", Who::Ferrolb, "ms", [first]);
        report.sample("scale-death-last", Who::Ferrolb, "ms", [last]);
        report.sample("scale-death-spread", Who::Ferrolb, "ms", [last - first]);
        report.sample("scale-death-writes", Who::Ferrolb, "", [writes / addresses.len().max(1) as f64]);
        report.sample("scale-death-server", Who::Ferrolb, "s", [after.processor - before.processor]);

        network::set_ports(&self.plane.lab.paths, host, &[Network::Lan], true)?;
        let back = self.speaker(host).await?;
        speakers.insert(host.to_owned(), back);
        shared(speakers, self.count).await?;
        at_rest(speakers).await
    }
}

fn failed(why: String) -> LabError {
    LabError::program("the capture", why)
}

/// Waits until none of them has anything more to do: all is announced, and all statuses are written.
async fn at_rest(speakers: &Speakers) -> Result<(), LabError> {
    futures::future::try_join_all(speakers.values().map(Speaker::at_rest)).await.map(drop)
}

/// Waits until each hears all others, and all addresses are announced, each by one.
async fn shared(speakers: &Speakers, count: usize) -> Result<(), LabError> {
    wait("the speakers to share all addresses", PATIENCE, async || {
        // Their metrics have a line for each address, and they run on the processors that are measured.
        tokio::time::sleep(LOOK).await;
        let peers = (speakers.len() - 1) as f64;
        let (heard, announced): (Vec<f64>, Vec<BTreeSet<IpAddr>>) =
            speakers.values().map(|one| one.share(FOUR)).unzip();
        let (sum, union): (usize, BTreeSet<&IpAddr>) =
            (announced.iter().map(BTreeSet::len).sum(), announced.iter().flatten().collect());
        if heard.iter().all(|number| *number == peers) && sum == count && union.len() == count {
            return Ok(());
        }
        let shares: Vec<usize> = announced.iter().map(BTreeSet::len).collect();
        Err(format!("of {count} addresses they announce {shares:?}, and hear {heard:?} of {peers} others"))
    })
    .await
}

/// Which address was announced by which station, and when.
type Said = (IpAddr, Mac, SystemTime);

fn capture(host: &Host) -> std::io::Result<Capture<Said>> {
    let tap = host.inside(Tap::open)?;
    let began = tap.began();
    Ok(Capture::start(tap, move |received| match received.frame {
        Frame::Arp(frame) if frame.announces(frame.target.1) => {
            Some((frame.target.1.into(), frame.sender.0, began + frame.at))
        }
        _ => None,
    }))
}

/// What the API server says of itself, and of what it was asked: to ask it costs as well, so all of it is of one answer.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    /// Its processor time so far, in seconds.
    processor: f64,
    /// Its resident memory, in MB.
    memory: f64,
    counters: Counters,
}

impl Seen {
    async fn now(server: &Server) -> Result<Self, LabError> {
        Ok(Self::parse(&server.get("/metrics").await?))
    }

    fn parse(text: &str) -> Self {
        let value = |name: &str| {
            let of = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse::<f64>().ok();
            text.lines().find_map(of).unwrap_or_default()
        };
        let memory = value("process_resident_memory_bytes") / 1e6;
        Seen { processor: value("process_cpu_seconds_total"), memory, counters: Counters::parse(text) }
    }

    /// What our programs can have written since then.
    fn writes_since(&self, before: &Seen) -> f64 {
        let since = self.counters.since(&before.counters);
        WRITTEN.iter().map(|resource| since.writes(resource)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_speaker_has_a_host_and_a_node_of_its_own() {
        let all: Vec<_> = nodes().collect();
        let hosts: BTreeSet<_> = all.iter().map(|(host, ..)| host).collect();
        let names: BTreeSet<_> = all.iter().map(|(_, node, _)| node).collect();
        assert_eq!((hosts.len(), names.len()), (10, 10));
        assert!(!hosts.contains(&WITNESS.to_owned()));
        assert!(all.iter().any(|(host, node, address)| {
            (host.as_str(), node.as_str(), *address) == (HOST, NODE, Ipv4Addr::new(10, 10, 0, 102))
        }));
    }

    #[test]
    fn the_server_says_what_it_takes() {
        let text = "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 12.5\n\
                    process_resident_memory_bytes 3.5e+08\nprocess_cpu_seconds_total_x 9\n";
        let counters = Counters::default();
        assert_eq!(Seen::parse(text), Seen { processor: 12.5, memory: 350.0, counters });
    }
}
