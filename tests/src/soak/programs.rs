//! Memory and sockets of our programs, and the groups that nodes have joined for them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::chaos::Balancer;
use crate::judge::Clock;
use crate::lab::{Lab, LabError, fault};

/// The programs are looked at once in so long.
const EVERY: Duration = Duration::from_secs(5);

/// A process that is younger has not yet seen all that it will need.
pub const WARM_UP: Duration = Duration::from_secs(120);

/// The programs, by the first words of their command lines.
const NAMES: [&str; 2] = ["/ferrolb-controller", "/ferrolb-speaker"];

/// Looks at all processes of ours.
#[derive(Debug)]
pub struct Programs {
    task: JoinHandle<()>,
    looks: std::sync::Arc<std::sync::Mutex<Looks>>,
}

/// What was seen of each process: resident memory in MB (10^6 bytes), by time.
pub type Looks = BTreeMap<(&'static str, i32), Vec<(Duration, f64)>>;

impl Programs {
    /// Begins.
    pub fn begin(lab: &Lab, clock: Clock) -> Self {
        let looks = std::sync::Arc::new(std::sync::Mutex::new(Looks::new()));
        let (lab, into) = (lab.clone(), looks.clone());
        let task = tokio::spawn(async move {
            loop {
                let at = clock.now();
                for (name, _, pid) in processes(&lab) {
                    let Some(memory) = resident(pid) else { continue };
                    let mut looks = into.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    looks.entry((name, pid)).or_default().push((at, memory));
                }
                tokio::time::sleep(EVERY).await;
            }
        });
        Programs { task, looks }
    }

    /// Ends it.
    pub fn end(self) -> Looks {
        self.task.abort();
        let mut looks = self.looks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        std::mem::take(&mut looks)
    }
}

/// Every process of ours: its program, its node, its number.
fn processes(lab: &Lab) -> Vec<(&'static str, String, i32)> {
    let mut found = Vec::new();
    for node in lab.config.node_names() {
        for name in NAMES {
            // None runs there.
            let running = fault::running(lab, &node, name).unwrap_or_default();
            found.extend(running.into_iter().map(|pid| (name, node.clone(), pid)));
        }
    }
    found
}

/// `VmRSS` of proc_pid_status(5).
fn resident(pid: i32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}

/// What is open and joined while nothing happens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AtRest {
    /// How many sockets the program of each node has open.
    sockets: BTreeMap<(String, &'static str), usize>,
    /// Link-layer multicast addresses that each node hears on its LAN links (`/proc/net/dev_mcast`).
    groups: BTreeMap<String, BTreeSet<String>>,
}

/// Looks at it.
///
/// # Errors
/// When a node cannot be entered.
pub fn at_rest(lab: &Lab, balancer: Balancer) -> Result<AtRest, LabError> {
    let mut found = AtRest::default();
    for node in lab.config.node_names() {
        let pid = balancer.speaker(lab, &node)?;
        found.sockets.insert((node.clone(), "/ferrolb-speaker"), sockets(pid));
        let groups = lab.host(&node)?.inside(|| {
            // Of this thread: /proc/net is of the process, which is on no host.
            std::fs::read_to_string("/proc/thread-self/net/dev_mcast")
        });
        let groups = groups.map_err(LabError::at("/proc/thread-self/net/dev_mcast"))?;
        found.groups.insert(node.clone(), joined(&groups));
    }
    for (name, node, pid) in processes(lab).into_iter().filter(|(name, ..)| *name == "/ferrolb-controller") {
        found.sockets.insert((node, name), sockets(pid));
    }
    Ok(found)
}

/// How many sockets a process has open.
fn sockets(pid: i32) -> usize {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    let links = entries.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

/// The addresses joined on links whose names begin with `eth`, as `link address`.
fn joined(table: &str) -> BTreeSet<String> {
    let line = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (link, address) = (words.next()?, words.nth(2)?);
        link.starts_with("eth").then(|| format!("{link} {address}"))
    };
    table.lines().filter_map(line).collect()
}

impl AtRest {
    /// In words, what there is that was not there `before`. A controller may be on another node than it was.
    pub fn more_than(&self, before: &AtRest) -> Vec<String> {
        /// A connection to the API server more or less is not a leak: one that is idle is closed after a while.
        const IDLE: usize = 2;
        let sum = |at: &AtRest, of: &dyn Fn(&(String, &'static str)) -> bool| -> Option<usize> {
            let counts: Vec<usize> =
                at.sockets.iter().filter(|(key, _)| of(key)).map(|(_, count)| *count).collect();
            (!counts.is_empty()).then(|| counts.iter().sum())
        };
        let mut more = Vec::new();
        let mut compare = |what: String, of: &dyn Fn(&(String, &'static str)) -> bool| match (
            sum(before, of),
            sum(self, of),
        ) {
            (Some(_), None) => more.push(format!("{what} does not run")),
            (had, Some(has)) if has > had.unwrap_or_default() + IDLE => {
                more.push(format!("{what} has {has} sockets open, and had {}", had.unwrap_or_default()));
            }
            _ => {}
        };
        compare("the controller".to_owned(), &|(_, program)| *program == NAMES[0]);
        for node in before.groups.keys() {
            compare(format!("the speaker of {node}"), &|(at, program)| at == node && *program == NAMES[1]);
        }
        for (node, groups) in &self.groups {
            let had = before.groups.get(node);
            let new: Vec<&String> =
                groups.iter().filter(|group| had.is_none_or(|had| !had.contains(*group))).collect();
            if !new.is_empty() {
                more.push(format!("{node} is in these groups still: {new:?}"));
            }
        }
        more
    }
}

/// How memory grows with time, of one program.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slope {
    /// In MB an hour.
    pub an_hour: f64,
    /// Over so many hours of processes that were warm.
    pub hours: f64,
    /// The most that one had, in MB.
    pub most: f64,
}

/// The slope of `program`: the least squares of all its processes, each around its own mean, [`WARM_UP`] after it was first seen.
pub fn slope(looks: &Looks, program: &str) -> Slope {
    let (mut above, mut below, mut slope) = (0.0, 0.0, Slope::default());
    for ((_, _), all) in looks.iter().filter(|((name, _), _)| *name == program) {
        let first = all.first().map(|(at, _)| *at).unwrap_or_default();
        slope.most = all.iter().fold(slope.most, |most, (_, memory)| most.max(*memory));
        let warm: Vec<(f64, f64)> = all
            .iter()
            .filter(|(at, _)| *at >= first + WARM_UP)
            .map(|(at, memory)| (at.as_secs_f64() / 3600.0, *memory))
            .collect();
        let (Some(begin), Some(end)) = (warm.first(), warm.last()) else { continue };
        slope.hours += end.0 - begin.0;
        let count = warm.len() as f64;
        let mean = |part: fn(&(f64, f64)) -> f64| warm.iter().map(part).sum::<f64>() / count;
        let (time, memory) = (mean(|look| look.0), mean(|look| look.1));
        for (at, has) in &warm {
            above += (at - time) * (has - memory);
            below += (at - time) * (at - time);
        }
    }
    slope.an_hour = if below > 0.0 { above / below } else { 0.0 };
    slope
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(growth: f64, from: f64) -> Vec<(Duration, f64)> {
        let at = |n: u64| Duration::from_secs(n * 10);
        (0..200).map(|n| (at(n), from + growth * at(n).as_secs_f64() / 3600.0)).collect()
    }

    #[test]
    fn the_slope_is_of_each_process_around_its_own_mean() {
        let mut all = Looks::new();
        all.insert(("/a", 1), looks(2.0, 5.0));
        all.insert(("/a", 2), looks(2.0, 50.0));
        all.insert(("/b", 3), looks(90.0, 1.0));
        let found = slope(&all, "/a");
        assert!((found.an_hour - 2.0).abs() < 1e-6, "{found:?}");
        assert!((found.hours - 2.0 * (1990.0 - 120.0) / 3600.0).abs() < 1e-6, "{found:?}");
        assert_eq!(slope(&all, "/c"), Slope::default());
    }

    #[test]
    fn a_process_that_grew_while_it_was_cold_does_not_grow() {
        let mut one = looks(0.0, 5.0);
        one[3].1 = 1.0;
        let found = slope(&[(("/a", 1), one)].into(), "/a");
        assert!(found.an_hour.abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn joined_groups_are_read_and_what_is_new_is_told() {
        let table =
            "2    eth0            1     0     333300000001\n3    eth1  1 0 01005e000001\n9 cni0 1 0 0102\n";
        let one = AtRest { groups: [("node1".to_owned(), joined(table))].into(), ..AtRest::default() };
        assert_eq!(one.groups["node1"].len(), 2);
        let more = AtRest {
            groups: [("node1".to_owned(), joined(&format!("{table}2 eth0 1 0 3333ff000001\n")))].into(),
            sockets: [(("node1".to_owned(), "/ferrolb-speaker"), 9)].into(),
        };
        assert_eq!(one.more_than(&more), ["the speaker of node1 does not run"], "less is not a leak");
        let told = more.more_than(&one);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[1].contains("eth0 3333ff000001"), "{told:?}");
    }
}
