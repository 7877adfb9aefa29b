//! One thing at a time.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ferrolb_core::peers::Timing;

use crate::cluster::{CLIENT_AT, Cluster, INTERVAL, Machine, ms};

pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);

/// Three machines that have listened, an address that goes to them in their order, and a client that asks for it.
fn three(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(seed, 3, Timing::default());
    cluster.publish([(IpAddr::V4(VIP), vec![0, 1, 2])].into());
    cluster.run(ms(1500));
    cluster.ask(VIP);
    cluster.run(ms(50));
    let then = cluster.now;
    cluster.run(ms(500));
    owners(&cluster, then, &[0]);
    cluster
}

/// All answers since then name one of these machines, and there are some of each.
pub(crate) fn owners(cluster: &Cluster, then: Duration, expected: &[usize]) {
    let told = cluster.since(then, VIP);
    let mut owners: Vec<usize> = told.iter().map(|told| told.owner).collect();
    owners.sort();
    owners.dedup();
    if owners != expected {
        cluster.fail(&format!("owners {owners:?}, not {expected:?}"));
    }
}

pub(crate) fn gap(cluster: &Cluster, then: Duration, at_most: Duration) {
    let gap = cluster.gap(then, VIP);
    if gap > at_most {
        cluster.fail(&format!("no answer for {gap:?}, more than {at_most:?}"));
    }
}

#[test]
fn a_dead_machine_is_replaced_within_three_and_a_bit_intervals() {
    for seed in 0..12 {
        let mut cluster = three(seed);
        let phase = ms(cluster.dice.below(100));
        cluster.run(phase);
        let then = cluster.now;
        cluster.crash(0);
        cluster.run(ms(3000));
        gap(&cluster, then, ms(325));
        owners(&cluster, then + ms(350), &[1]);
    }
}

#[test]
fn a_killed_speaker_is_stood_in_for_with_the_same_ethernet_address() {
    for seed in 0..12 {
        let mut cluster = three(seed);
        let phase = ms(cluster.dice.below(100));
        cluster.run(phase);
        let then = cluster.now;
        cluster.kill(0);
        let back = ms(50 + cluster.dice.below(5000));
        cluster.run(back);
        cluster.start(0);
        cluster.run(ms(3000));
        gap(&cluster, then, ms(420));
        owners(&cluster, then, &[0]);
        let last = cluster.since(cluster.now - ms(100), VIP);
        assert!(last.iter().all(|told| told.by == 0), "seed {seed}: {:?}", cluster.log);
    }
}

#[test]
fn a_speaker_that_ends_in_order_is_stood_in_for_without_a_gap() {
    for seed in 0..12 {
        let mut cluster = three(seed);
        let then = cluster.now;
        cluster.end(0, true);
        cluster.run(ms(2000));
        assert!(cluster.machines[0].speaker.is_none());
        cluster.start(0);
        cluster.run(ms(2000));
        gap(&cluster, then, ms(20));
        owners(&cluster, then, &[0]);
    }
}

/// As with `externalTrafficPolicy: Local` and one pod: others may not announce the address, but they may say where it is.
#[test]
fn a_speaker_with_an_address_that_no_other_may_have_is_stood_in_for() {
    for seed in 0..12 {
        let mut cluster = three(seed);
        cluster.publish([(IpAddr::V4(VIP), vec![0])].into());
        cluster.run(ms(500));
        for (kills, at_most) in [(true, ms(420)), (false, ms(20))] {
            let phase = ms(cluster.dice.below(100));
            cluster.run(phase);
            let then = cluster.now;
            if kills {
                cluster.kill(0);
            } else {
                cluster.end(0, true);
            }
            cluster.run(ms(2000));
            let others = cluster.since(cluster.now - ms(500), VIP).iter().all(|told| told.by != 0);
            assert!(others, "seed {seed}: {:?}", cluster.log);
            cluster.start(0);
            cluster.run(ms(2000));
            gap(&cluster, then, at_most);
            owners(&cluster, then, &[0]);
            let last = cluster.since(cluster.now - ms(100), VIP);
            assert!(last.iter().all(|told| told.by == 0), "seed {seed}: {:?}", cluster.log);
        }
        // A node that is gone has nothing to be found.
        cluster.end(0, true);
        cluster.run(ms(2000));
        let then = cluster.now;
        cluster.crash(0);
        cluster.run(ms(2000));
        owners(&cluster, then + ms(450), &[]);
    }
}

#[test]
fn a_machine_without_a_speaker_is_stood_in_for_no_longer_than_the_limit() {
    for seed in 0..12 {
        let mut cluster = three(seed);
        // Speakers read the limit when they start.
        cluster.limit = ms(5000);
        for at in [1, 2] {
            cluster.kill(at);
            cluster.start(at);
        }
        cluster.run(ms(2000));
        let then = cluster.now;
        cluster.end(0, true);
        cluster.run(ms(8000));
        gap(&cluster, then, ms(20));
        let moved = cluster.since(then, VIP).iter().find(|told| told.owner == 1).map(|told| told.at - then);
        if !moved.is_some_and(|moved| (ms(4900)..ms(5400)).contains(&moved)) {
            cluster.fail(&format!("moved after {moved:?}"));
        }
        owners(&cluster, then + ms(5400), &[1]);
    }
}

#[test]
fn a_machine_that_dies_while_it_is_stood_in_for_is_replaced() {
    for seed in 0..12 {
        let mut cluster = three(seed);
        cluster.end(0, true);
        cluster.run(ms(2000 + seed));
        let then = cluster.now;
        cluster.crash(0);
        cluster.run(ms(2000));
        owners(&cluster, then + ms(450), &[1]);
    }
}

#[test]
fn a_speaker_that_leaves_is_replaced_without_a_gap() {
    for seed in 0..12 {
        let mut cluster = three(seed);
        let then = cluster.now;
        cluster.end(0, false);
        cluster.run(ms(2000));
        gap(&cluster, then, ms(20));
        owners(&cluster, then + ms(20), &[1]);
    }
}

#[test]
fn a_planned_move_has_no_gap_and_at_most_the_lag_of_two_owners() {
    for seed in 0..12 {
        let mut cluster = three(seed);
        for order in [vec![1, 2], vec![0, 1, 2], vec![2, 0, 1]] {
            let then = cluster.now;
            cluster.publish([(IpAddr::V4(VIP), order.clone())].into());
            cluster.run(ms(1000));
            gap(&cluster, then, ms(20));
            owners(&cluster, then + ms(40), &[order[0]]);
        }
    }
}

/// What is gone for its owner is gone for those who hear of it later, too: nobody takes it up in between.
#[test]
fn an_address_that_its_owner_gave_up_is_not_taken_up_by_who_lags_behind() {
    for seed in 0..12 {
        let mut cluster = three(seed);
        cluster.machines[1].cut_off = true;
        cluster.machines[2].cut_off = true;
        let then = cluster.now;
        cluster.publish([].into());
        cluster.run(ms(1500));
        for lagging in 1..3 {
            cluster.machines[lagging].cut_off = false;
            cluster.tell(lagging);
        }
        cluster.run(ms(5000));
        let late = cluster.since(then + ms(50), VIP);
        assert!(late.is_empty(), "seed {seed}: {late:?}");
    }
}

#[test]
fn a_machine_that_returns_takes_its_own_back_without_a_gap() {
    for seed in 0..12 {
        let mut cluster = three(seed);
        cluster.crash(0);
        cluster.run(ms(1000));
        let then = cluster.now;
        cluster.boot(0);
        cluster.run(ms(2000));
        gap(&cluster, then, ms(20));
        owners(&cluster, then + ms(600), &[0]);
    }
}

#[test]
fn a_stopped_speaker_gives_no_stale_answer_when_it_goes_on() {
    for seed in 0..40 {
        let mut cluster = three(seed);
        let length = ms(20 + cluster.dice.below(3000));
        let then = cluster.now;
        cluster.freeze(0, length);
        // Its address goes to another one meanwhile.
        cluster.run(ms(10));
        cluster.publish([(IpAddr::V4(VIP), vec![1, 2])].into());
        cluster.run(length + ms(1500));
        let stale: Vec<_> = cluster
            .since(then + length, VIP)
            .into_iter()
            .filter(|told| told.owner == 0 && told.at > then + length + ms(15))
            .collect();
        if length > INTERVAL * 3 && !stale.is_empty() {
            cluster.fail(&format!("seed {seed}, stopped for {length:?}: stale {stale:?}"));
        }
        owners(&cluster, cluster.now - ms(500), &[1]);
    }
}

/// Too short for a pause: what tells is that a claim had waited.
#[test]
fn a_speaker_that_was_stopped_for_a_moment_gives_no_stale_answer() {
    for seed in 0..40 {
        let mut cluster = three(seed);
        let length = ms(60 + cluster.dice.below(140));
        let then = cluster.now;
        cluster.freeze(0, length);
        cluster.run(ms(5));
        cluster.publish([(IpAddr::V4(VIP), vec![1, 2])].into());
        cluster.run(length + ms(1500));
        let claimed = cluster.since(then, VIP).into_iter().find(|told| told.owner == 1).map(|told| told.at);
        // Whoever is asked in the moment of the claim does not know yet.
        let known = claimed.is_some_and(|at| at + ms(25) < then + length);
        let answers = cluster.since(then + length, VIP).into_iter().filter(|told| told.owner == 0);
        let stale: Vec<_> = answers.collect();
        if known && !stale.is_empty() {
            cluster.fail(&format!("seed {seed}, stopped for {length:?}: stale {stale:?}"));
        }
        owners(&cluster, cluster.now - ms(500), &[1]);
    }
}

#[test]
fn a_speaker_that_was_stopped_gets_nothing_moved() {
    for seed in 0..12 {
        let mut cluster = three(seed);
        let then = cluster.now;
        let stopped = ms(600 + cluster.dice.below(5000));
        cluster.freeze(0, stopped);
        cluster.run(stopped + ms(4000));
        gap(&cluster, then, ms(420));
        owners(&cluster, then, &[0]);
    }
}

#[test]
fn five_percent_of_loss_move_nothing() {
    for seed in 0..3 {
        let mut cluster = three(seed);
        cluster.loss = 5.0;
        let then = cluster.now;
        cluster.run(Duration::from_secs(60));
        owners(&cluster, then, &[0]);
    }
}

#[test]
fn a_deaf_and_a_mute_machine_are_replaced() {
    for (deaf, seed) in [(true, 1), (false, 2), (true, 3), (false, 4)] {
        let mut cluster = three(seed);
        for other in 1..3 {
            cluster.cuts.insert(if deaf { (other, 0) } else { (0, other) });
        }
        cluster.run(ms(2000));
        let then = cluster.now;
        cluster.run(ms(500));
        let told = cluster.since(then, VIP);
        if !told.iter().any(|told| told.owner == 1) {
            cluster.fail(&format!("deaf: {deaf}: {told:?}"));
        }
        cluster.cuts.clear();
        cluster.run(ms(1500));
        owners(&cluster, cluster.now - ms(500), &[0]);
    }
}

#[test]
fn a_partition_has_one_owner_on_each_side_and_one_after_it() {
    for seed in 0..6 {
        let mut cluster = three(seed);
        for (a, b) in [(0, 1), (1, 0), (0, 2), (2, 0)] {
            cluster.cuts.insert((a, b));
        }
        cluster.run(ms(1500));
        let then = cluster.now;
        cluster.run(ms(300));
        owners(&cluster, then, &[0, 1]);
        cluster.cuts.clear();
        cluster.run(ms(1000));
        owners(&cluster, cluster.now - ms(500), &[0]);
    }
}

#[test]
fn an_address_that_the_first_does_not_know_is_announced_by_the_next() {
    for seed in 0..6 {
        let mut cluster = three(seed);
        cluster.machines[0].cut_off = true;
        let other = Ipv4Addr::new(10, 0, 0, 101);
        cluster.publish([(IpAddr::V4(VIP), vec![0, 1, 2]), (IpAddr::V4(other), vec![0, 1, 2])].into());
        cluster.ask(other);
        let then = cluster.now;
        cluster.run(ms(1000));
        let told = cluster.since(then, other);
        if told.is_empty() || told.iter().any(|told| told.owner != 1) {
            cluster.fail(&format!("{told:?}"));
        }
        // And when it knows, it is its own.
        cluster.machines[0].cut_off = false;
        cluster.tell(0);
        cluster.run(ms(200));
        let told = cluster.since(cluster.now - ms(100), other);
        assert!(!told.is_empty() && told.iter().all(|told| told.owner == 0), "{told:?}");
    }
}

#[test]
fn a_network_that_falls_apart_stops_nobody() {
    // Those who are left ask all the others at once, and their numbers run on.
    for seed in 0..3 {
        let mut cluster = Cluster::new(seed, 6, Timing::default());
        cluster.publish([(IpAddr::V4(VIP), vec![0, 1, 2, 3, 4, 5])].into());
        cluster.run(ms(1500));
        cluster.ask(VIP);
        cluster.run(ms(100));
        for a in 2..6 {
            for b in [0, 1, CLIENT_AT] {
                cluster.cuts.extend([(a, b), (b, a)]);
            }
        }
        let then = cluster.now;
        cluster.run(ms(3000));
        gap(&cluster, then, ms(20));
        let pauses = |at: &Machine| at.speaker.as_ref().map(|speaker| speaker.counts().pauses);
        let pauses: Vec<_> = cluster.machines.iter().filter_map(pauses).collect();
        assert_eq!(pauses, [0; 6], "seed {seed}");
    }
}

#[test]
fn a_machine_that_stood_still_with_its_clock_finds_that_out() {
    for seed in 0..6 {
        let mut cluster = three(seed);
        let length = ms(500 + 300 * seed);
        cluster.suspend(0, length);
        cluster.run(ms(400));
        cluster.publish([(IpAddr::V4(VIP), vec![1, 2])].into());
        cluster.run(length - ms(400));
        let woke = cluster.now;
        cluster.run(ms(1500));
        let paused = cluster.machines[0].speaker.as_ref().map(|speaker| speaker.counts().pauses);
        assert_eq!(paused, Some(1), "seed {seed}: {:?}", cluster.log);
        // By the first hello that it hears.
        owners(&cluster, woke + ms(110), &[1]);
    }
}

#[test]
fn who_knows_again_what_the_api_says_takes_its_own_back() {
    for seed in 0..6 {
        let mut cluster = three(seed);
        cluster.watch();
        cluster.publish([(IpAddr::V4(VIP), vec![1, 0, 2])].into());
        cluster.run(ms(500));
        cluster.cut_api(0, true);
        cluster.run(ms(500));
        cluster.publish([(IpAddr::V4(VIP), vec![0, 1, 2])].into());
        cluster.run(ms(7000));
        owners(&cluster, cluster.now - ms(500), &[1]);
        let then = cluster.now;
        cluster.cut_api(0, false);
        cluster.run(ms(7000));
        gap(&cluster, then, ms(20));
        owners(&cluster, cluster.now - ms(500), &[0]);
    }
}

#[test]
fn a_speaker_that_is_stopped_as_it_starts_listens_from_the_beginning_when_it_goes_on() {
    for seed in 0..20 {
        let mut cluster = three(seed);
        cluster.crash(1);
        cluster.run(ms(1500));
        cluster.publish([(IpAddr::V4(VIP), vec![0, 2])].into());
        cluster.run(ms(500));
        cluster.boot(1);
        cluster.freeze(1, ms(900 + seed));
        cluster.run(ms(200));
        cluster.publish([(IpAddr::V4(VIP), vec![0, 1, 2])].into());
        let then = cluster.now;
        cluster.run(ms(2000));
        owners(&cluster, then, &[0]);
    }
}

/// A node that is so busy that nothing leaves it for a while, again and again: its kernel does not answer either.
#[test]
fn who_is_late_again_and_again_keeps_its_addresses_and_is_replaced_somewhat_later_when_it_dies() {
    for seed in 0..12 {
        let mut cluster = three(seed);
        let then = cluster.now;
        for length in [200, 200, 290, 290] {
            let phase = ms(500 + cluster.dice.below(100));
            cluster.run(phase);
            cluster.cuts.extend([1, 2, CLIENT_AT].map(|other| (0, other)));
            cluster.run(ms(length));
            cluster.cuts.clear();
        }
        cluster.run(ms(1000));
        owners(&cluster, then, &[0]);
        let then = cluster.now;
        cluster.crash(0);
        cluster.run(ms(3000));
        gap(&cluster, then, ms(325 + 300));
        owners(&cluster, then + ms(650), &[1]);
    }
}
