//! The figures of the suite.

use crate::bench::failover::{self, Case};
use crate::bench::report::Who;

use super::methods::{At, Better, Bound, Chapter, Method, Target};

fn p50(most: f64) -> Target {
    Target { at: At::P50, bound: Bound::Most(most) }
}

fn p99(most: f64) -> Target {
    Target { at: At::P99, bound: Bound::Most(most) }
}

fn max(most: f64) -> Target {
    Target { at: At::Max, bound: Bound::Most(most) }
}

fn times(who: Who, most: f64) -> Target {
    Target { at: At::P50, bound: Bound::MostTimes(who, most) }
}

/// All figures, in the order in which they are told.
pub(super) fn methods() -> Vec<Method> {
    let mut all = Vec::new();
    for (chapter, figures) in [
        (Chapter::Allocation, allocation()),
        (Chapter::FirstAnswer, first_answer()),
        (Chapter::Layer2, layer2()),
        (Chapter::Failover, failover()),
        (Chapter::Resources, resources()),
        (Chapter::Peers, peers()),
        (Chapter::Scale, scale()),
        (Chapter::Install, install()),
        (Chapter::Size, size()),
    ] {
        let method = |(figure, title, better, goals, method): Figure| Method {
            figure,
            chapter,
            title,
            better,
            goals,
            method,
        };
        all.extend(figures.into_iter().map(method));
    }
    all
}

type Figure = (String, String, Better, Vec<Target>, &'static str);

/// One of which less is better.
fn less(figure: &str, title: &str, goals: &[Target], method: &'static str) -> Figure {
    (figure.to_owned(), title.to_owned(), Better::Less, goals.to_vec(), method)
}

/// One of which more is better.
fn more(figure: &str, title: &str, goals: &[Target], method: &'static str) -> Figure {
    (figure.to_owned(), title.to_owned(), Better::More, goals.to_vec(), method)
}

fn allocation() -> Vec<Figure> {
    const ONE: &str = "Services are created one after the other, in turn with as many for the floor: a client that sees each by a watch of its own and writes an \
        address at once, with neither pool nor plan. The time is from sending the create until a watch beside it shows the address.";
    const BULK: &str = "16 writers create the Services of a control plane without nodes, and a watch sees when each has its address. MetalLB's controller does the \
        same on the same API server in the same round, while ours does not run; who comes first changes from round to round.";
    const DELETED: &str = "16 writers delete all Services. The time is from the last one's return until the controller's metric says that the pool is empty.";
    const WAITING: &str = "The Services are created while no controller runs, and then it is started. The time is from its start until the last has its address, so nobody creates beside it.";
    const RESTART: &str = "The controller gets SIGTERM and is started again as soon as it has ended. The time is from its start; writes of statuses are counted by the API server's own \
        metric in the ten seconds after it.";
    vec![
        less("create", "create → EXTERNAL-IP, one by one", &[times(Who::Floor, 1.3)], ONE),
        less(
            "bulk-some-behind",
            "{some} Services by 16 writers: last create → last address",
            &[p50(1.0)],
            BULK,
        ),
        less(
            "bulk-all-behind",
            "{all} Services by 16 writers: last create → last address",
            &[p50(3.0)],
            BULK,
        ),
        more(
            "bulk-some-rate",
            "{some} Services by 16 writers: addresses given a second, from the first create on",
            &[],
            BULK,
        ),
        more(
            "bulk-all-rate",
            "{all} Services by 16 writers: addresses given a second, from the first create on",
            &[],
            BULK,
        ),
        less(
            "bulk-all-writes",
            "{all} Services by 16 writers: writes of a status for each",
            &[p50(1.02)],
            BULK,
        ),
        less("emptied-some", "{some} Services deleted: last deletion → the pool is empty", &[], DELETED),
        less("emptied-all", "{all} Services deleted: last deletion → the pool is empty", &[], DELETED),
        less("backlog", "{some} Services that wait: the controller's start → all addresses", &[], WAITING),
        less("restart-ready", "controller restart at {all} Services: start → ready", &[p50(2.0)], RESTART),
        less(
            "restart-plan",
            "controller restart at {all} Services: start → the first plan is done",
            &[],
            RESTART,
        ),
        less(
            "restart-writes",
            "controller restart at {all} Services: writes of a status",
            &[max(0.0)],
            RESTART,
        ),
    ]
}

fn first_answer() -> Vec<Figure> {
    const METHOD: &str = "In a cluster of three nodes with ready endpoints and conflict detection off, a client creates a Service, and from the moment when a watch shows its address on it begins a new \
        connection every 2 ms until the first HTTP answer. The floor is kube-proxy's own sync: the owner's kernel asks for the same address in the same way, for which no announcement is needed.";
    vec![
        less("first-answer", "create → first HTTP answer", &[], METHOD),
        less(
            "first-answer-above",
            "create → first HTTP answer, above kube-proxy's own sync",
            &[p50(10.0)],
            METHOD,
        ),
    ]
}

fn layer2() -> Vec<Figure> {
    const RATE: &str = "A generator on another host keeps 128 questions open for a second; the floor is the speaker's own kernel, asked in turn for an address that it has itself. \
        Both are asked in each round, in alternating order.";
    const LATENCY: &str = "1,000 questions a second from the same generator, for a second. The time is from the call that sends a question until the generator's kernel has the answer, so the way through the switch is in it twice.";
    const FLOOD: &str = "160,000 frames a second that concern nobody, for two seconds, while our address is asked for 1,000 times a second. The speaker's processor time is what the kernel says of its process.";
    const FIRST: &str = "A client writes the addresses of Services one after the other, as a controller would, with conflict detection off. The time is from the event of a watch beside the speaker's until the first gratuitous ARP is seen on another host's link.";
    let kernel = Target { at: At::P50, bound: Bound::LeastTimes(Who::Floor, 0.7) };
    vec![
        less("first-frame", "status → first gratuitous frame, few Services", &[p99(5.0)], FIRST),
        less("first-frame-all", "status → first gratuitous frame, beside {all} Services", &[p99(5.0)], FIRST),
        more("arp-rate", "ARP answers a second", &[kernel], RATE),
        less("arp-latency", "ARP: question → answer", &[p50(50.0), p99(200.0)], LATENCY),
        more("ndp-rate", "NDP answers a second", &[], RATE),
        less("ndp-latency", "NDP: question → answer", &[], LATENCY),
        more("arp-rate-all", "ARP answers a second, all of {all} addresses in turn", &[kernel], RATE),
        less(
            "arp-latency-all",
            "ARP: question → answer, all of {all} addresses in turn",
            &[p50(50.0), p99(200.0)],
            LATENCY,
        ),
        more("ndp-rate-all", "NDP answers a second, all of {all} addresses in turn", &[], RATE),
        less("ndp-latency-all", "NDP: question → answer, all of {all} addresses in turn", &[], LATENCY),
        less("flood-arp-processor", "a flood of foreign ARP: the speaker's processor", &[p50(20.0)], FLOOD),
        less("flood-arp-latency", "a flood of foreign ARP: question → answer for ours", &[p99(5.0)], FLOOD),
        less("flood-mix-processor", "a flood of all kinds: the speaker's processor", &[p50(20.0)], FLOOD),
        less("flood-mix-latency", "a flood of all kinds: question → answer for ours", &[p99(5.0)], FLOOD),
    ]
}

fn failover() -> Vec<Figure> {
    const GAP: &str = "In a cluster of three nodes a client asks for the address by ARP each 5 ms and another begins a connection each 10 ms, through the owner to a pod on another node; the judge sits at the switch with the kernel's clock. \
        The gap is the longest time without an answer, or in which no connection came about, from the moment of the fault on.";
    const LOST: &str = "50 connections through the address are held and used while the fault happens. Counted are those that were reset, or wait for an answer 20 seconds later.";
    const DOUBLE: &str = "The judge at the switch sees every answer for the address and who gave it. The time is that in which two nodes answered in turn.";
    const THOUSAND: &str = "A node that has a thousand addresses loses its power; each address is asked for every 50 ms from its announcement on. The time is from the first answer of another node to the last.";
    const STOP: &str = "The owner's speaker is stopped by SIGSTOP, the address moves by a label, and the speaker goes on after 0.1 to 60 s. Counted are frames by which it then still claims the address.";
    const QUIET: &str = "Nothing happens to the address for a minute, while eight loops keep the processor busy, or 5 % of all frames are lost. Counted are changes of its owner.";
    let mut all = Vec::new();
    for case in Case::ALL {
        let goals = case.goals(false);
        let gaps = [goals.p50.map(p50), goals.p99.map(p99), goals.max.map(max)].into_iter().flatten();
        let gaps: Vec<Target> = gaps.collect();
        let lost: Vec<Target> = goals.same.then_some(max(0.0)).into_iter().collect();
        let double: Vec<Target> = goals.double.map(max).into_iter().collect();
        for step in case.steps() {
            let mut add = |kind: &str, what: &str, goals: &[Target], method| {
                all.push(less(&failover::figure(step, kind), &format!("{step}: {what}"), goals, method));
            };
            match case {
                Case::Thousand => add("last", "the first answer → the last", &[p50(150.0)], THOUSAND),
                Case::Stop => add("stale", "stale frames", &[max(0.0)], STOP),
                Case::Busy | Case::Loss => add("take-overs", "false take-overs", &[max(0.0)], QUIET),
                _ => {
                    add("arp", "no ARP answer", &gaps, GAP);
                    add("connections", "no new connection", &gaps, GAP);
                    add("lost", "connections lost", &lost, LOST);
                    add("double", "two answer", &double, DOUBLE);
                }
            }
        }
    }
    all
}

fn resources() -> Vec<Figure> {
    const START: &str = "The program is started on a host of its own, with the settings of its manifest, and asked every 2 ms whether it is ready. The time is from its start to the first 200 of /readyz.";
    const MEMORY: &str = "VmRSS of the program's process once it is at rest, after a start beside so many Services that have addresses and three endpoints each. \
        MetalLB's controller and speaker run in the same place before or after ours, never beside them.";
    const GROWN: &str = "VmRSS of the controller after it gave all those addresses itself, Services having come and gone before. This is more than after a start, and what a cluster's controller has in the end.";
    const PROCESSOR: &str = "What the kernel says of the process's time, in user mode and in the kernel, while nothing happens, as a share of one core. It is taken over ten seconds, and over a minute with the most Services.";
    const REST: &str = "The bytes that come in at the host on which the program runs alone in a minute of nothing, with all Services there, times 60: watches and their renewal, with all headers. Writes are all to Services, statuses, \
        events and our own kinds by the API server's metric, times 60; the renewal of a Lease or a heartbeat is none of them.";
    let quarter = times(Who::Metallb, 0.25);
    let mut all = vec![
        less("start-speaker", "speaker: start → ready, no Services", &[p50(300.0)], START),
        less("start-controller", "controller: start → ready, no Services", &[p50(300.0)], START),
        less("start-speaker-all", "speaker: start → ready, {all} Services", &[], START),
        less("start-controller-all", "controller: start → ready, {all} Services", &[], START),
    ];
    for (program, goals) in
        [("speaker", [Some(8.0), None, Some(20.0)]), ("controller", [Some(12.0), None, Some(50.0)])]
    {
        let stages = [("idle", "no Services"), ("some", "{some} Services"), ("all", "{all} Services")];
        for ((stage, with), goal) in stages.into_iter().zip(goals) {
            let goals: Vec<Target> = goal.map(p50).into_iter().chain([quarter]).collect();
            all.push(less(
                &format!("memory-{program}-{stage}"),
                &format!("{program}: resident memory, {with}"),
                &goals,
                MEMORY,
            ));
        }
    }
    all.push(less(
        "memory-controller-grown",
        "controller: resident memory after {all} Services were made",
        &[p50(50.0)],
        GROWN,
    ));
    for program in ["speaker", "controller"] {
        for (stage, with) in [("idle", "no Services"), ("some", "{some} Services"), ("all", "{all} Services")]
        {
            all.push(less(
                &format!("processor-{program}-{stage}"),
                &format!("{program}: processor at rest, {with}"),
                &[],
                PROCESSOR,
            ));
        }
    }
    for program in ["speaker", "controller"] {
        all.push(less(
            &format!("watch-{program}"),
            &format!("{program}: from the API server at rest, {{all}} Services"),
            &[],
            REST,
        ));
        all.push(less(
            &format!("writes-{program}"),
            &format!("{program}: writes at rest, {{all}} Services"),
            &[max(0.0)],
            REST,
        ));
    }
    all
}

fn peers() -> Vec<Figure> {
    const METHOD: &str = "One speaker beside a generator of so many signed peers, each of which says a hello every 100 ms and hears all others. The floor is a thread on the same host that takes the same frames and does nothing with them.";
    let mut all = Vec::new();
    for (count, goal) in [(10, Some(0.5)), (100, Some(4.0)), (200, None)] {
        let goals: Vec<Target> = goal.map(p50).into_iter().collect();
        all.push(less(
            &format!("peers-{count}-processor"),
            &format!("{count} peers: the speaker's processor"),
            &goals,
            METHOD,
        ));
    }
    for count in [10, 100, 200] {
        all.push(less(
            &format!("peers-{count}-memory"),
            &format!("{count} peers: the speaker's resident memory"),
            &[],
            METHOD,
        ));
    }
    all
}

fn scale() -> Vec<Figure> {
    const START: &str = "Ten speakers start one after the other, each on a host of its own, at a control plane without kubelets that shows ten nodes, and three EndpointSlices of three endpoints for each Service. \
        The time is until each hears all others and all addresses are announced, each by one, looked at four times a second; the API server's is what it says of itself, until all speakers have been at rest for 3 s.";
    const REST: &str = "The same speakers, at rest for 30 s, each a value. What a node hears is all that comes in at its link: hellos, answers and watches.";
    const DEATH: &str = "A node's cable is pulled and its speaker killed, and another host sees the first announcement of each of its addresses by another node. Writes are all that the others then write, \
        for each address, and the API server's time is until they have been at rest for 3 s; each node comes back before the next one dies.";
    vec![
        less("scale-start", "{all} Services: speakers' start → all announced", &[], START),
        less("scale-start-server", "the API server's processor time for that", &[], START),
        less("scale-memory", "a speaker's resident memory, {all} Services", &[p50(20.0)], REST),
        less("scale-processor", "a speaker's processor", &[], REST),
        less("scale-heard", "a node hears", &[], REST),
        less("scale-writes", "writes to the API server in 30 s", &[max(0.0)], REST),
        less(
            "scale-death-first",
            "death → the first of its addresses announced",
            &[p50(300.0), p99(500.0)],
            DEATH,
        ),
        less("scale-death-last", "death → the last one", &[p99(500.0)], DEATH),
        less("scale-death-spread", "the first → the last", &[max(150.0)], DEATH),
        less("scale-death-writes", "writes to the API server for each address", &[], DEATH),
        less("scale-death-server", "the API server's processor time for that death", &[], DEATH),
    ]
}

fn install() -> Vec<Figure> {
    const METHOD: &str = "In a cluster of three nodes that have the image, without definitions or a namespace, Helm installs the chart; a Service and its pods wait, and a client applies a pool as soon as its kind is served. \
        The time is from Helm's start.";
    vec![
        less("install-address", "helm install → EXTERNAL-IP", &[], METHOD),
        less("install-answer", "helm install → an answer from outside", &[], METHOD),
    ]
}

fn size() -> Vec<Figure> {
    const PROGRAM: &str = "The file as it lies in the image: static, without symbols. MetalLB's are built from its module with -s -w.";
    const IMAGE: &str = "The layers with all programs, compressed as they are published, which is what a node pulls: ours by zstd, MetalLB's by gzip. MetalLB's is the sum of its two images, each with its one program and nothing else.";
    vec![
        less("size-speaker", "the speaker's program", &[p50(12.0)], PROGRAM),
        less("size-controller", "the controller's program", &[p50(12.0)], PROGRAM),
        less("size-plugin", "kubectl's plugin", &[p50(12.0)], PROGRAM),
        less("size-image", "the image, as it is pulled", &[p50(12.0)], IMAGE),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::ValueEnum;

    use super::*;

    #[test]
    fn each_figure_has_one_name_and_two_sentences() {
        let all = methods();
        let names: BTreeSet<_> = all.iter().map(|method| &method.figure).collect();
        assert_eq!(names.len(), all.len());
        for method in &all {
            let plain = method.figure.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            assert!(plain, "{}", method.figure);
            assert_eq!(sentences(method.method), 2, "{}: {}", method.figure, method.method);
            assert!(!method.method.contains("  "), "{}", method.method);
            assert!(!method.title(500).contains('{'), "{}", method.title);
        }
    }

    /// How many there are: each ends with a full stop before a space, or at the end.
    fn sentences(text: &str) -> usize {
        text.split(". ").count()
    }

    #[test]
    fn chapters_are_asked_for_by_their_names_and_told_in_their_order() {
        for chapter in Chapter::ALL {
            assert_eq!(Chapter::from_str(chapter.name(), false), Ok(chapter));
        }
        let order: Vec<_> = methods().iter().map(|method| method.chapter).collect();
        let of = |chapter: &Chapter| Chapter::ALL.iter().position(|one| one == chapter);
        assert!(order.is_sorted_by_key(of));
        assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), Chapter::ALL.len());
    }
}
