//! Networks that drop the frames of hellos, where speakers hear each other by datagram.

use std::net::IpAddr;
use std::time::Duration;

use ferrolb_core::peers::{DEAF, Peers, TRY, Timing, Transport};
use ferrolb_core::speaker::{Speaker, Transports};

use crate::cluster::{Cluster, INTERVAL, ms};
use crate::scenes::{VIP, gap, owners};

/// So long it takes at most until speakers find each other by datagram: the last frame was so long ago, then a node is asked
/// so often; and an interval to say hello in.
const FOUND: Duration = Duration::from_millis(DEAF as u64 * 100 + TRY.as_millis() as u64 + 100);

/// Three machines on one segment; no speaker runs yet.
fn built(seed: u64, transports: Transports) -> Cluster {
    let mut cluster = Cluster::built(seed, Timing::default(), &vec![vec![("lan".to_owned(), 0)]; 3]);
    cluster.transports = transports;
    cluster.publish([(IpAddr::V4(VIP), vec![0, 1, 2])].into());
    cluster.ask(VIP);
    cluster
}

/// From nobody to nobody a frame with a hello gets.
fn hush(cluster: &mut Cluster) {
    let machines = cluster.machines.len();
    cluster.hushed = (0..machines).flat_map(|a| (0..machines).map(move |b| (a, b))).collect();
}

/// By which way a machine hears each other one, in their order; of those that count.
fn heard(cluster: &Cluster, at: usize) -> Vec<(String, Transport)> {
    let Some(speaker) = &cluster.machines[at].speaker else { return Vec::new() };
    let peers = speaker.peers().flat_map(|(_, peers)| {
        let counting = peers.iter().filter(|(station, _)| peers.standings().contains_key(station));
        counting.map(|(_, peer)| (peer.node.to_string(), peer.transport()))
    });
    let mut heard: Vec<_> = peers.collect();
    heard.sort();
    heard
}

/// Fails unless each machine hears all the others in this way.
fn all_hear(cluster: &Cluster, by: Transport) {
    for at in 0..cluster.machines.len() {
        let others = (0..cluster.machines.len()).filter(|other| *other != at);
        let expected: Vec<_> = others.map(|other| (format!("node{other}"), by)).collect();
        let heard = heard(cluster, at);
        if heard != expected {
            cluster.fail(&format!("machine {at} hears {heard:?}, not {expected:?}"));
        }
    }
}

/// Three machines that hear each other by datagram alone.
fn hushed(seed: u64, transports: Transports) -> Cluster {
    let mut cluster = built(seed, transports);
    hush(&mut cluster);
    for at in 0..3 {
        cluster.start(at);
        let wait = ms(cluster.dice.below(700));
        cluster.run(wait);
    }
    cluster.run(FOUND);
    let then = cluster.now;
    cluster.run(ms(1000));
    owners(&cluster, then, &[0]);
    all_hear(&cluster, Transport::Udp);
    cluster
}

#[test]
fn where_frames_do_not_get_through_speakers_find_each_other_by_datagram() {
    for seed in 0..12 {
        let mut cluster = hushed(seed, Transports::Auto);
        let then = cluster.now;
        cluster.crash(0);
        cluster.run(ms(3000));
        gap(&cluster, then, ms(325));
        owners(&cluster, then + ms(350), &[1]);
        // Who comes hears the others before it claims anything.
        let then = cluster.now;
        cluster.boot(0);
        cluster.run(ms(2000));
        gap(&cluster, then, ms(20));
        let back = cluster.since(then, VIP).into_iter().find(|told| told.owner == 0).unwrap().at;
        let late = cluster.since(back + ms(20), VIP).into_iter().find(|told| told.owner != 0);
        if let Some(late) = late {
            cluster.fail(&format!("seed {seed}: two owners since {back:?}: {late:?}"));
        }
        owners(&cluster, then + ms(600), &[0]);
        // A speaker that is killed is stood in for.
        let then = cluster.now;
        cluster.kill(0);
        cluster.run(ms(2000));
        cluster.start(0);
        cluster.run(ms(3000));
        gap(&cluster, then, ms(420));
        owners(&cluster, then, &[0]);
    }
}

#[test]
fn by_datagrams_alone_all_is_the_same_from_the_start() {
    for seed in 0..12 {
        let mut cluster = built(seed, Transports::Udp);
        (0..3).for_each(|at| cluster.start(at));
        // Whoever sent a frame would be heard by it.
        cluster.run(ms(600));
        let then = cluster.now;
        cluster.run(FOUND);
        owners(&cluster, then, &[0]);
        all_hear(&cluster, Transport::Udp);
        let then = cluster.now;
        cluster.crash(0);
        cluster.run(ms(2000));
        gap(&cluster, then, ms(325));
        owners(&cluster, then + ms(350), &[1]);
    }
}

#[test]
fn a_network_that_begins_to_drop_frames_moves_nothing_and_datagrams_end_when_it_stops() {
    for seed in 0..12 {
        let mut cluster = built(seed, Transports::Auto);
        (0..3).for_each(|at| cluster.start(at));
        cluster.run(ms(1500));
        all_hear(&cluster, Transport::Ethernet);
        let phase = ms(cluster.dice.below(100));
        cluster.run(phase);
        let then = cluster.now;
        hush(&mut cluster);
        cluster.run(Duration::from_secs(20));
        gap(&cluster, then, ms(20));
        owners(&cluster, then, &[0]);
        all_hear(&cluster, Transport::Udp);
        let (then, before) = (cluster.now, cluster.datagrams);
        cluster.run(ms(1000));
        let rate = cluster.datagrams - before;
        // To two others each: a hello each interval; once a second a question, which one more hello answers.
        assert!((60..=80).contains(&rate), "{rate} datagrams in a second");
        cluster.hushed.clear();
        cluster.run(Duration::from_secs(5));
        let before = cluster.datagrams;
        cluster.run(Duration::from_secs(60));
        assert_eq!(cluster.datagrams - before, 0, "seed {seed}");
        owners(&cluster, then, &[0]);
        all_hear(&cluster, Transport::Ethernet);
    }
}

#[test]
fn frames_that_are_lost_between_some_or_on_one_way_are_made_up_for() {
    let cases: [&[(usize, usize)]; 4] =
        [&[(0, 1), (1, 0)], &[(0, 1), (0, 2)], &[(1, 0), (2, 0)], &[(0, 1), (1, 2), (2, 0)]];
    for (hushed, seed) in cases.into_iter().zip(0..).chain(cases.into_iter().zip(4..)) {
        // From the start, and later.
        let mut cluster = built(seed, Transports::Auto);
        let early = seed < 4;
        if early {
            cluster.hushed = hushed.iter().copied().collect();
        }
        (0..3).for_each(|at| cluster.start(at));
        cluster.run(FOUND + ms(1000));
        let mut then = cluster.now;
        cluster.hushed = hushed.iter().copied().collect();
        cluster.run(Duration::from_secs(10));
        gap(&cluster, then, ms(20));
        owners(&cluster, then, &[0]);
        for at in 0..3 {
            let by = |other: usize| match hushed.contains(&(other, at)) {
                true => Transport::Udp,
                false => Transport::Ethernet,
            };
            let others = (0..3).filter(|other| *other != at);
            let expected: Vec<_> = others.map(|other| (format!("node{other}"), by(other))).collect();
            assert_eq!(heard(&cluster, at), expected, "seed {seed}, {hushed:?}: machine {at}");
        }
        then = cluster.now;
        cluster.crash(0);
        cluster.run(ms(2000));
        gap(&cluster, then, ms(325));
        owners(&cluster, then + ms(350), &[1]);
    }
}

/// Whom of other machines each link hears, where each machine has two on one segment.
fn heard_by_links(cluster: &Cluster) -> Vec<(String, usize)> {
    let links = cluster.machines.iter().flat_map(|machine| {
        let speaker = machine.speaker.as_ref();
        let of = |peers: &Peers| {
            let counting = peers.iter().filter(|(station, peer)| {
                *peer.node != *machine.name && peers.standings().contains_key(station)
            });
            counting.count()
        };
        let links = speaker.into_iter().flat_map(Speaker::peers);
        links.map(move |(link, peers)| (format!("{} {link}", machine.name), of(peers))).collect::<Vec<_>>()
    });
    links.collect()
}

#[test]
fn each_of_two_links_of_a_node_is_found_by_datagram() {
    // Among these is one that loses just the datagrams that matter.
    for seed in 28..36 {
        let plan = vec![vec![("lan0".to_owned(), 0), ("lan1".to_owned(), 0)]; 3];
        let mut cluster = Cluster::built(seed, Timing::default(), &plan);
        cluster.publish([(IpAddr::V4(VIP), vec![0, 1, 2])].into());
        cluster.ask(VIP);
        hush(&mut cluster);
        (0..3).for_each(|at| cluster.start(at));
        cluster.run(FOUND);
        cluster.crash(2);
        cluster.run(ms(3000));
        // Of what is said at first much is lost, so that some links hear one of a node's and not the other.
        cluster.loss = 0.8;
        cluster.boot(2);
        cluster.run(ms(500));
        cluster.loss = 0.0;
        cluster.run(FOUND + TRY);
        let deaf: Vec<_> = heard_by_links(&cluster).into_iter().filter(|(_, heard)| *heard != 4).collect();
        if !deaf.is_empty() {
            cluster.fail(&format!("seed {seed}: not four others are heard by {deaf:?}"));
        }
        let then = cluster.now;
        cluster.run(ms(1000));
        owners(&cluster, then, &[0]);
    }
}

#[test]
fn where_frames_get_through_datagrams_are_few_and_by_ethernet_alone_there_are_none() {
    for seed in 0..6 {
        let mut cluster = built(seed, Transports::Auto);
        (0..3).for_each(|at| cluster.start(at));
        cluster.run(ms(1000));
        // Those that start at once tell each other so.
        assert!(cluster.datagrams <= 12, "seed {seed}: {}", cluster.datagrams);
        let before = cluster.datagrams;
        cluster.run(Duration::from_secs(60));
        assert_eq!(cluster.datagrams, before, "seed {seed}");
        // A node that is gone is looked for once a second.
        cluster.crash(2);
        cluster.run(Duration::from_secs(60));
        let looked = cluster.datagrams - before;
        assert!((200..=400).contains(&looked), "seed {seed}: {looked}");

        let mut cluster = built(seed, Transports::Ethernet);
        (0..3).for_each(|at| cluster.start(at));
        hush(&mut cluster);
        cluster.run(Duration::from_secs(10));
        assert_eq!(cluster.datagrams, 0);
        assert_eq!(heard(&cluster, 0), []);
    }
}

/// With a pause, datagrams that waited are thrown away like frames.
#[test]
fn a_stopped_speaker_that_is_heard_by_datagram_gives_no_stale_answer() {
    for seed in 0..12 {
        let mut cluster = hushed(seed, Transports::Auto);
        let length = ms(500 + cluster.dice.below(3000));
        let then = cluster.now;
        cluster.freeze(0, length);
        cluster.run(ms(10));
        cluster.publish([(IpAddr::V4(VIP), vec![1, 2])].into());
        cluster.run(length + ms(1500));
        let late = cluster.since(then + length, VIP).into_iter().filter(|told| told.owner == 0);
        let late: Vec<_> = late.filter(|told| told.at > then + length + ms(15)).collect();
        if !late.is_empty() {
            cluster.fail(&format!("seed {seed}, stopped for {length:?}: {late:?}"));
        }
        owners(&cluster, cluster.now - INTERVAL * 5, &[1]);
    }
}
