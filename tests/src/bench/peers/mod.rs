//! What one speaker among many costs: its processor time, its memory, and the network of each node.
//!
//! ```text
//!   client1: generator, N peers ──── bridge ──── client2: ferrolb-speaker
//!            each with its own MAC     │                 │
//!                                    API server ─────────┘   shows N + 1 nodes with speakers, and Services with addresses
//! ```
//!
//! The peers hear each other and the speaker, claim the addresses for which they are first in order, and answer questions.
//! What is measured begins when the speaker counts them all, they hear that it lists them all, and it announces its own
//! share of the addresses and no more.

mod crowd;
mod floor;
mod generator;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ferrolb_core::hello_key::{Key, Keys};

use crate::lab::process::interrupted;
use crate::lab::progress::{Progress, wait};
use crate::lab::{Lab, LabError, process, programs};
use crate::plane::Plane;
use crate::scene::SYSTEM;

use super::allocation::machine;
use super::bulk::side_by_side;
use super::cluster::{self, FOUR, Stock, four};
use super::lean::Server;
use super::report::{Report, Who, megabytes};
use super::speaker::{HOST, NODE, Speaker};

use crowd::Crowd;
use floor::Floor;
use generator::Generator;

/// Where the peers are.
const PEERS: &str = "client1";

/// How long the speaker may take to hear all, in seconds.
const PATIENCE: u64 = 60;

/// The last announcement of an address comes 1.1 s after the one before; so long there is to be none.
const CALM: Duration = Duration::from_secs(3);

/// The key of all. No lab has another one in its neighbourhood.
const KEY: [u8; 32] = *b"the key of a bench, for the lab.";

/// The goals: with at most so many peers, at most so many hundredths of a core.
const GOALS: [(usize, f64); 2] = [(10, 0.5), (100, 4.0)];

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Among so many peers each, ascending.
    pub peers: Vec<usize>,
    /// So long each.
    pub time: Duration,
    /// So many Services have addresses.
    pub services: usize,
    /// A folder of ready FerroLB programs, instead of building them.
    pub programs: Option<PathBuf>,
    /// More flags of the speaker.
    pub flags: Vec<String>,
}

/// Measures in a lab of its own, named `name`, which is taken down at the end.
///
/// # Errors
/// When something does not come about.
pub async fn peers(name: &str, options: &Options, lab_program: &Path) -> Result<Report, LabError> {
    let progress = Progress::default();
    let folder = match &options.programs {
        Some(folder) => folder.clone(),
        None => programs::ferrolb_programs(&progress)?,
    };
    progress.say("bringing up a control plane without nodes");
    // The API server is on the LAN, where the clients are.
    process::run(Command::new(lab_program).args(["--name", name, "up", "--nodes", "0", "--one-nic"]))?;
    let plane = Plane { lab: Lab::attach(name)? };
    let program = folder.join("ferrolb-speaker");
    tokio::select! {
        biased;
        () = interrupted() => Err(LabError::Interrupted),
        report = measure(&plane, &program, options, &progress) => report,
    }
}

async fn measure(
    plane: &Plane,
    program: &Path,
    options: &Options,
    progress: &Progress,
) -> Result<Report, LabError> {
    plane.kubectl(&["create", "namespace", SYSTEM])?;
    let server = Server::of(&plane.lab).await?;
    let mut counts = options.peers.clone();
    counts.sort_unstable();
    counts.dedup();
    let most = counts.last().copied().unwrap_or_default();
    let names: Vec<String> = (1..=most).map(crowd::name).collect();
    let mut stock = Stock::new(server.clone(), progress.clone());
    let _heart = cluster::prepare(plane, &server, &names).await?;
    progress.say(&format!("{} Services with addresses", options.services));
    let numbers = stock.create(options.services).await?;
    stock.assign(numbers.clone(), four).await?;
    let folder = plane.lab.paths.root().join("hello");
    std::fs::create_dir(&folder).map_err(LabError::at(&folder))?;
    std::fs::write(folder.join("first.key"), KEY).map_err(LabError::at(&folder))?;
    let mut flags = options.flags.clone();
    flags.push(format!("--hello-key-dir={}", folder.display()));
    let addresses = numbers.map(four).collect();
    let mut bench = Bench { options, progress, plane, program, addresses, flags, report: Report::default() };
    machine(&mut bench.report);
    let mut nodes = 0;
    for count in counts {
        let had = nodes;
        side_by_side(server.clone(), count - had, move |server, number| async move {
            let number = had + number + 1;
            cluster::add_node(&server, &crowd::name(number), crowd::address(number)).await
        })
        .await?;
        nodes = count;
        bench.among(count).await?;
    }
    Ok(bench.report)
}

/// What all that are measured have in common.
struct Bench<'a> {
    options: &'a Options,
    progress: &'a Progress,
    plane: &'a Plane,
    program: &'a Path,
    addresses: Vec<IpAddr>,
    flags: Vec<String>,
    report: Report,
}

impl Bench<'_> {
    /// A speaker among so many peers.
    async fn among(&mut self, count: usize) -> Result<(), LabError> {
        self.progress.say(&format!("a speaker among {count} peers"));
        let key = Key::new(KEY);
        let keys = Keys::new(key.clone(), []).map_err(|why| LabError::State(format!("{why:?}")))?;
        let crowd = Crowd::new(count, NODE, &self.addresses, key);
        let generator = Generator::start(&self.plane.lab.host(PEERS)?, count, crowd, keys);
        let speaker = Speaker::start(&self.plane.lab, self.program, &self.flags).await?;
        let result = self.measure(count, &generator, &speaker).await;
        let words = speaker.last_words();
        let ended = generator.stop();
        result
            .and(ended)
            .map_err(|error| LabError::program("the bench", format!("{error}\nthe speaker said:\n{words}")))
    }

    async fn measure(
        &mut self,
        count: usize,
        generator: &Generator,
        speaker: &Speaker,
    ) -> Result<(), LabError> {
        let names: Vec<String> = (1..=count).map(crowd::name).collect();
        let nodes = || names.iter().map(String::as_str).chain([NODE]);
        let share =
            self.addresses.iter().filter(|address| crowd::first(nodes(), **address) == Some(NODE)).count();
        wait("all to hear each other", PATIENCE, async || state(count, share, generator, speaker)).await?;
        self.calm(speaker).await?;
        let seconds = self.options.time.as_secs();
        self.progress.say(&format!("  they hear each other; {seconds} s are measured"));
        let pauses = speaker.metric("ferrolb_speaker_pauses_total", "");
        let floor = Floor::start(&self.plane.lab.host(HOST)?);
        let (before, worked, started) = (generator.counts(), speaker.processor_time()?, Instant::now());
        tokio::time::sleep(self.options.time).await;
        let worked = speaker.processor_time()?.saturating_sub(worked);
        let (after, took) = (generator.counts(), started.elapsed().as_secs_f64());
        let least = 100.0 * floor.stop()?.as_secs_f64() / took;
        // What is measured was so at the end too.
        state(count, share, generator, speaker).map_err(LabError::State)?;
        let load = 100.0 * worked.as_secs_f64() / took;
        let each = |of: fn(&generator::Counts) -> u64| (of(&after) - of(&before)) as f64;
        let said = each(|counts| counts.said[0]);
        let goal = GOALS.iter().find(|(most, _)| count <= *most).map(|(_, goal)| *goal);
        let report = &mut self.report;
        let name = format!("{count} peers");
        report.sample(format!("peers-{count}-processor"), Who::Ferrolb, "%", [load]);
        report.sample(format!("peers-{count}-processor"), Who::Floor, "%", [least]);
        let memory = megabytes(speaker.memory()?.resident);
        report.sample(format!("peers-{count}-memory"), Who::Ferrolb, "MB", [memory]);
        report.figure(format!("{name}: processor"), load, "%", goal);
        report.tell(format!("{name}: processor of who only takes the frames"), least, "%");
        report.tell(
            format!("{name}: processor for each frame heard"),
            worked.as_secs_f64() * 1e6 / said,
            "µs",
        );
        report.tell(format!("{name}: resident memory"), memory, "MB");
        report.tell(format!("{name}: a node hears, frames"), said / took, "/s");
        let kilobytes = |bytes: f64| bytes / took / 1e3;
        report.tell(format!("{name}: a node hears"), kilobytes(each(|counts| counts.said[1])), "kB/s");
        report.tell(format!("{name}: a node says, frames"), each(|counts| counts.heard[0]) / took, "/s");
        report.tell(format!("{name}: a node says"), kilobytes(each(|counts| counts.heard[1])), "kB/s");
        report.tell(format!("{name}: questions of the speaker"), each(|counts| counts.questions), "");
        report.tell(
            format!("{name}: hellos of the generator that were late"),
            each(|counts| counts.late),
            "",
        );
        let paused = speaker.metric("ferrolb_speaker_pauses_total", "") - pauses;
        report.tell(format!("{name}: times that the speaker was stopped by others' work"), paused, "");
        Ok(())
    }

    /// Waits until all that begins with an address has been said.
    async fn calm(&self, speaker: &Speaker) -> Result<(), LabError> {
        let announcements = || speaker.metric("metallb_layer2_gratuitous_sent", "");
        let mut last = (announcements(), Instant::now());
        wait("the last announcement", PATIENCE, async || {
            let now = announcements();
            if now != last.0 {
                last = (now, Instant::now());
            }
            if last.1.elapsed() >= CALM { Ok(()) } else { Err(format!("{now} frames were sent")) }
        })
        .await
    }
}

/// Whether all hear each other, and each has its own addresses; what is missing if not.
fn state(count: usize, share: usize, generator: &Generator, speaker: &Speaker) -> Result<(), String> {
    let counting = speaker.metric("ferrolb_speaker_peers", "transport=\"ethernet\"");
    let (listed, announced) = (generator.listed(), speaker.announced(FOUR));
    if counting == count as f64 && listed == count && announced == share {
        return Ok(());
    }
    Err(format!(
        "the speaker counts {counting} of {count} peers, lists {listed}, and announces {announced} addresses \
         instead of {share}"
    ))
}
