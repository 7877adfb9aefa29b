//! The speaker's figures: what it costs, how many answers a second it gives, how soon it acts.
//!
//! ```text
//!   client1: generator, meter ──── bridge ──── client2: ferrolb-speaker, and a kernel that has addresses itself
//!                                    │                        │
//!                                  API server ────────────────┘     this process writes the Services' addresses
//! ```
//!
//! There is no controller, no kubelet and no other speaker: what is measured is one speaker, with a real API server, a
//! real kernel and frames on a bridge. Whoever is compared is asked in turn, in several rounds of one run.

mod answers;
mod first_frame;
mod frames;
mod meter;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::host::Host;
use crate::lab::process::interrupted;
use crate::lab::progress::Progress;
use crate::lab::{Lab, LabError, process, programs};
use crate::plane::Plane;
use crate::scene::SYSTEM;

use super::allocation::machine;
use super::cluster::{self, FOUR, SIX, Stock, four, six};
use super::counters::Counters;
use super::lean::Server;
use super::report::{Report, Who, megabytes};
use super::speaker::{self, Speaker};

use answers::Subject;
use frames::Protocol;

/// Whence the frames come.
const ASKER: &str = "client1";

/// So many Services are given their addresses one after the other.
const ONE_BY_ONE: usize = 200;

/// The addresses for which the kernel answers, on the LAN and outside of the pool.
const KERNEL: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 10, 0, 77)), IpAddr::V6(Ipv6Addr::new(0xfd10, 0, 0, 0, 0, 0, 0, 0x77))];

/// So long a quiet time is.
const QUIET: Duration = Duration::from_secs(30);

/// What a speaker writes.
const WRITTEN: [&str; 6] = [
    "servicel2statuses",
    "servicel2statuses/status",
    "configurationstates",
    "configurationstates/status",
    "events",
    "services/status",
];

/// A part of the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Resident memory.
    Memory,
    /// Answers a second and their latency, beside the kernel's.
    Answers,
    /// A flood of foreign frames.
    Flood,
    /// From a status to the first frame.
    FirstFrame,
    /// Processor time and writes while nothing happens.
    Quiet,
}

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// With so many Services at the end; 0 leaves that out.
    pub services: usize,
    /// So often whoever is compared is asked in turn.
    pub rounds: usize,
    /// These parts; all if there are none.
    pub only: Vec<Part>,
    /// A folder of ready FerroLB programs, instead of building them.
    pub programs: Option<PathBuf>,
    /// More flags of the speaker.
    pub flags: Vec<String>,
}

impl Options {
    fn has(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

/// Measures the speaker in a lab of its own, named `name`, which is taken down at the end.
///
/// # Errors
/// When something does not come about.
pub async fn layer2(name: &str, options: &Options, lab_program: &Path) -> Result<Report, LabError> {
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

/// What the parts work with.
struct Bench<'a> {
    options: &'a Options,
    progress: &'a Progress,
    asker: Host,
    server: Server,
    watcher: Server,
    speaker: Speaker,
    stock: Stock,
    report: Report,
}

async fn measure(
    plane: &Plane,
    program: &Path,
    options: &Options,
    progress: &Progress,
) -> Result<Report, LabError> {
    plane.kubectl(&["create", "namespace", SYSTEM])?;
    let server = Server::of(&plane.lab).await?;
    let _heart = cluster::prepare(plane, &server, &[]).await?;
    for address in KERNEL {
        cluster::add_address(plane, speaker::HOST, address)?;
    }
    let mut bench = Bench {
        options,
        progress,
        asker: plane.lab.host(ASKER)?,
        watcher: Server::of(&plane.lab).await?,
        speaker: Speaker::start(&plane.lab, program, &options.flags).await?,
        stock: Stock::new(server.clone(), progress.clone()),
        server,
        report: Report::default(),
    };
    machine(&mut bench.report);
    let result = bench.run().await;
    let words = bench.speaker.last_words();
    result.map_err(|error| LabError::program("the bench", format!("{error}\nthe speaker said:\n{words}")))?;
    Ok(bench.report)
}

impl Bench<'_> {
    async fn run(&mut self) -> Result<(), LabError> {
        self.idle().await?;
        self.few().await?;
        if self.options.services > 0 {
            self.many().await?;
        }
        Ok(())
    }

    /// Nothing to announce.
    async fn idle(&mut self) -> Result<(), LabError> {
        if !self.options.has(Part::Memory) && !self.options.has(Part::Quiet) {
            return Ok(());
        }
        self.progress.say("a speaker without Services");
        self.speaker.at_rest().await?;
        if self.options.has(Part::Memory) {
            self.memory("idle", 8.0)?;
        }
        // With many Services there is more that could keep it busy.
        if self.options.has(Part::Quiet) && self.options.services == 0 {
            self.quiet("idle").await?;
        }
        Ok(())
    }

    /// One address of each family, then some more.
    async fn few(&mut self) -> Result<(), LabError> {
        if self.options.has(Part::Answers) || self.options.has(Part::Flood) {
            let numbers = self.stock.create(2).await?;
            self.stock.assign(numbers.start..numbers.start + 1, four).await?;
            self.stock.assign(numbers.start + 1..numbers.end, six).await?;
            self.speaker.announces(2, "").await?;
            self.speaker.at_rest().await?;
            let (four, six) = (four(numbers.start), six(numbers.start + 1));
            if self.options.has(Part::Answers) {
                self.beside_the_kernel(four, six).await?;
            }
            if self.options.has(Part::Flood) {
                self.progress.say(&format!("{} rounds of floods of foreign frames", self.options.rounds));
                let (report, rounds) = (&mut self.report, self.options.rounds);
                answers::flooded(report, &self.asker, &self.speaker, four, rounds).await?;
            }
        }
        if self.options.has(Part::FirstFrame) {
            self.first_frame("no others", "first-frame").await?;
        }
        Ok(())
    }

    /// One address of ours and one of the kernel's, of each family.
    async fn beside_the_kernel(&mut self, four: IpAddr, six: IpAddr) -> Result<(), LabError> {
        let rounds = self.options.rounds;
        self.progress.say(&format!("{rounds} rounds of ARP and NDP, the speaker's and the kernel's"));
        let names = ["ARP, the kernel", "ARP, the speaker", "NDP, the kernel", "NDP, the speaker"];
        let asked = [KERNEL[0], four, KERNEL[1], six];
        let subjects: Vec<_> =
            names.into_iter().zip(asked).map(|(name, address)| subject(name, [address], 256)).collect();
        let outcomes = answers::measure(&self.asker, &subjects, rounds).await?;
        for (index, (subject, outcome)) in subjects.iter().zip(&outcomes).enumerate() {
            outcome.tell(&mut self.report, &subject.name, index == 1);
        }
        let [arp_kernel, arp, ndp_kernel, ndp] = &outcomes[..] else { return Ok(()) };
        let report = &mut self.report;
        for (figures, ours, kernel) in
            [(["arp-rate", "arp-latency"], arp, arp_kernel), (["ndp-rate", "ndp-latency"], ndp, ndp_kernel)]
        {
            ours.sample(report, figures, Who::Ferrolb);
            kernel.sample(report, figures, Who::Floor);
        }
        report.at_least("ARP: the speaker's rate in the kernel's", arp.rate_in(arp_kernel), "", 0.7);
        report.tell("NDP: the speaker's rate in the kernel's", ndp.rate_in(ndp_kernel), "");
        report.at_least("the speaker's NDP rate in its ARP rate", ndp.rate_in(arp), "", 0.8);
        report.at_most("the speaker's NDP p50 in its ARP p50", ndp.time_in(arp), "", 1.2);
        Ok(())
    }

    async fn first_frame(&mut self, beside: &str, figure: &str) -> Result<(), LabError> {
        self.progress.say(&format!("{ONE_BY_ONE} Services one by one, beside {beside}"));
        let numbers = self.stock.create(ONE_BY_ONE).await?;
        // The new slices are read before the first address is written.
        self.speaker.at_rest().await?;
        let servers = (&self.server, &self.watcher);
        let beside = format!("beside {beside}");
        first_frame::measure(&mut self.report, &self.asker, servers, numbers, &beside, figure).await
    }

    /// As many addresses as asked for.
    async fn many(&mut self) -> Result<(), LabError> {
        let all = self.options.services.max(self.stock.count() + 1);
        let had = self.stock.count();
        self.progress.say(&format!("{all} Services with addresses and EndpointSlices, by 16 writers"));
        let numbers = self.stock.create(all - had).await?;
        let (worked, started) = (self.speaker.processor_time()?, Instant::now());
        self.stock.assign(numbers.clone(), four).await?;
        self.progress.say("the speaker writes its statuses, and announces");
        self.stock.shown().await?;
        let shown = started.elapsed().as_secs_f64();
        self.report.tell(
            format!("{all} Services: their addresses written to their statuses written"),
            shown,
            "s",
        );
        self.speaker.at_rest().await?;
        let worked = self.speaker.processor_time()?.saturating_sub(worked).as_secs_f64();
        self.report.tell(format!("{all} Services: the speaker's processor time for that"), worked, "s");
        let beside = format!("{all} Services");
        if self.options.has(Part::Memory) {
            self.memory(&beside, 20.0)?;
            let length = self.speaker.scrape();
            self.report.tell(format!("the length of /metrics, {beside}"), length as f64 / 1e6, "MB");
            let after = megabytes(self.speaker.memory()?.resident);
            self.report.tell(format!("resident memory after it was read once, {beside}"), after, "MB");
        }
        if self.options.has(Part::Quiet) {
            self.quiet(&beside).await?;
        }
        if self.options.has(Part::Answers) {
            self.spread(Protocol::Arp, numbers.clone()).await?;
        }
        if self.options.has(Part::FirstFrame) {
            self.first_frame(&beside, "first-frame-all").await?;
        }
        if self.options.has(Part::Answers) {
            self.progress.say(&format!("{} of them get IPv6 addresses", numbers.len()));
            self.stock.assign(numbers.clone(), six).await?;
            self.spread(Protocol::Ndp, numbers).await?;
        }
        Ok(())
    }

    /// Asks for one of these addresses, and for all of them in turn.
    async fn spread(&mut self, protocol: Protocol, numbers: std::ops::Range<usize>) -> Result<(), LabError> {
        let (address, prefix): (fn(usize) -> IpAddr, _) = match protocol {
            Protocol::Arp => (four, FOUR),
            Protocol::Ndp => (six, SIX),
        };
        let (count, name) = (numbers.len(), protocol.name());
        self.speaker.announces(count, prefix).await?;
        self.speaker.at_rest().await?;
        let rounds = self.options.rounds;
        self.progress.say(&format!("{rounds} rounds of {name}, one address and {count} of them"));
        let kernel = KERNEL[usize::from(protocol == Protocol::Ndp)];
        // Linux looks for a multicast group in a list, so where an IPv6 address stands in it counts: in the middle.
        let middle = address(numbers.start + count / 2);
        let subjects = [
            subject(&format!("{name} beside {count} addresses, one"), [middle], count),
            subject(
                &format!("{name} beside {count} addresses, all in turn"),
                scattered(numbers, address),
                count,
            ),
            subject(&format!("{name} beside {count} addresses, the kernel"), [kernel], count),
        ];
        let outcomes = answers::measure(&self.asker, &subjects, rounds).await?;
        for (index, (subject, outcome)) in subjects.iter().zip(&outcomes).enumerate() {
            outcome.tell(&mut self.report, &subject.name, index < 2 && protocol == Protocol::Arp);
        }
        let [one, all, kernel] = &outcomes[..] else { return Ok(()) };
        let report = &mut self.report;
        let figures = match protocol {
            Protocol::Arp => ["arp-rate-all", "arp-latency-all"],
            Protocol::Ndp => ["ndp-rate-all", "ndp-latency-all"],
        };
        all.sample(report, figures, Who::Ferrolb);
        kernel.sample(report, figures, Who::Floor);
        report.at_least(format!("{name}: {count} addresses' rate in one's"), all.rate_in(one), "", 0.95);
        report.at_most(format!("{name}: {count} addresses' p50 in one's"), all.time_in(one), "", 1.05);
        report.tell(format!("{name}: one's rate in the kernel's, beside {count}"), one.rate_in(kernel), "");
        Ok(())
    }

    fn memory(&mut self, when: &str, goal: f64) -> Result<(), LabError> {
        let memory = self.speaker.memory()?;
        self.report.at_most(format!("resident memory, {when}"), megabytes(memory.resident), "MB", goal);
        self.report.tell(format!("of it heap and stacks, {when}"), megabytes(memory.own), "MB");
        self.report.tell(format!("peak so far, {when}"), megabytes(memory.peak), "MB");
        Ok(())
    }

    /// Processor time and writes while nothing happens.
    async fn quiet(&mut self, when: &str) -> Result<(), LabError> {
        self.progress.say(&format!("a quiet time of {} s, {when}", QUIET.as_secs()));
        let before = Counters::at_rest(&self.server, &WRITTEN).await?;
        let (worked, started) = (self.speaker.processor_time()?, Instant::now());
        tokio::time::sleep(QUIET).await;
        let worked = self.speaker.processor_time()?.saturating_sub(worked);
        let seconds = started.elapsed().as_secs_f64();
        let written = Counters::read(&self.server).await?.since(&before);
        let sum = WRITTEN.iter().fold(0.0, |sum, resource| sum + written.writes(resource));
        let load = 100.0 * worked.as_secs_f64() / seconds;
        self.report.tell(format!("processor within {seconds:.0} s of nothing, {when}"), load, "%");
        self.report.at_most(format!("writes within {seconds:.0} s of nothing, {when}"), sum, "", 0.0);
        Ok(())
    }
}

/// These addresses, again and again until they are `length` questions: whoever is compared gives the generator as
/// much to read.
fn subject(name: &str, addresses: impl IntoIterator<Item = IpAddr>, length: usize) -> Subject {
    let addresses: Vec<_> = addresses.into_iter().collect();
    let length = length.max(addresses.len());
    Subject { name: name.to_owned(), addresses: addresses.into_iter().cycle().take(length).collect() }
}

/// The addresses with these numbers, in no order that a cache could follow.
fn scattered(numbers: std::ops::Range<usize>, address: fn(usize) -> IpAddr) -> Vec<IpAddr> {
    /// A prime larger than any count, so that each number comes once.
    const STRIDE: usize = 65_537;
    let (first, count) = (numbers.start, numbers.len());
    (0..count).map(|index| address(first + index * STRIDE % count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_are_asked_for_once_and_scattered() {
        for count in [1, 2, 500, 9_798, 60_000] {
            let all = scattered(7..7 + count, four);
            let distinct: std::collections::BTreeSet<_> = all.iter().collect();
            assert_eq!((distinct.len(), *distinct.first().unwrap()), (count, &four(7)), "{count}");
        }
        assert_ne!(scattered(0..500, four)[1], four(1));
    }

    #[test]
    fn one_address_makes_as_many_questions_as_many_do() {
        assert_eq!(subject("one", [four(0)], 3).addresses, [four(0); 3]);
        assert_eq!(subject("two", [four(0), four(1)], 1).addresses, [four(0), four(1)]);
    }

    #[test]
    fn all_parts_are_measured_unless_some_are_named() {
        let mut options = Options { services: 0, rounds: 1, only: vec![], programs: None, flags: vec![] };
        assert!(options.has(Part::Flood) && options.has(Part::Memory));
        options.only = vec![Part::Flood];
        assert!(options.has(Part::Flood) && !options.has(Part::Memory));
    }
}
