//! An endpoint that is new on a node whose service proxy does not know it yet (`externalTrafficPolicy: Local`).

use std::net::IpAddr;

use ferrolb_core::peers::Timing;

use crate::cluster::{Cluster, keys, ms};
use crate::scenes::{VIP, gap, owners};

/// Machines that have listened, an address that those of `before` may have, and a client that asks for it. Then `after` may, of
/// which the proxies of `pending` do not serve it yet.
fn moved(seed: u64, before: &[usize], after: &[usize], pending: &[usize]) -> Cluster {
    let mut cluster = Cluster::new(seed, 4, Timing::default());
    cluster.publish([(IpAddr::V4(VIP), before.to_vec())].into());
    cluster.run(ms(1500));
    cluster.ask(VIP);
    cluster.run(ms(500));
    pending.iter().for_each(|at| cluster.pend(*at, &[IpAddr::V4(VIP)]));
    cluster.publish([(IpAddr::V4(VIP), after.to_vec())].into());
    cluster
}

#[test]
fn it_goes_to_the_node_once_that_serves_and_nobody_is_without_an_answer() {
    for seed in 0..12 {
        let mut cluster = moved(seed, &[1, 2], &[0, 1, 2], &[0]);
        let then = cluster.now;
        let wait = ms(cluster.dice.below(3000));
        cluster.run(wait);
        owners(&cluster, then, &[1]);
        cluster.serve_all(0);
        let served = cluster.now;
        cluster.run(ms(1000));
        gap(&cluster, then, ms(20));
        owners(&cluster, served + ms(50), &[0]);
    }
}

#[test]
fn a_node_that_dies_meanwhile_is_replaced_by_one_that_serves_or_by_the_only_one_left() {
    for seed in 0..12 {
        for (left, next) in [(&[0, 1, 2][..], 2), (&[0, 1], 0)] {
            let mut cluster = moved(seed, &left[1..], left, &[0]);
            let wait = ms(cluster.dice.below(3000));
            cluster.run(wait);
            let then = cluster.now;
            cluster.crash(1);
            cluster.run(ms(2000));
            // Two in order wait for the first in order, as it could claim; the first does not wait where there is nobody else.
            gap(&cluster, then, if next == 2 { ms(645) } else { ms(325) });
            owners(&cluster, then + ms(650), &[next]);
        }
    }
}

/// Who had it before, and got its endpoint back, is waited for longer; not once nobody answers.
#[test]
fn nor_does_that_take_longer_where_the_first_had_it_before() {
    for seed in 0..12 {
        let mut cluster = moved(seed, &[0, 1, 2], &[1, 2], &[]);
        cluster.run(ms(500));
        cluster.pend(0, &[IpAddr::V4(VIP)]);
        cluster.publish([(IpAddr::V4(VIP), vec![0, 1, 2])].into());
        let wait = ms(cluster.dice.below(1000));
        cluster.run(wait);
        let then = cluster.now;
        cluster.crash(1);
        cluster.run(ms(2000));
        gap(&cluster, then, ms(645));
        owners(&cluster, then + ms(650), &[2]);
    }
}

/// As when all pods move at once: nobody who serves is left to wait for.
#[test]
fn of_those_who_all_wait_one_answers_soon() {
    for seed in 0..12 {
        let mut cluster = moved(seed, &[3], &[0, 1], &[0, 1]);
        let then = cluster.now;
        cluster.run(ms(1000));
        gap(&cluster, then, ms(20));
        owners(&cluster, then + ms(400), &[0]);
        cluster.serve_all(1);
        cluster.serve_all(0);
        cluster.run(ms(1000));
        owners(&cluster, then + ms(400), &[0]);
    }
}

/// Where the API's order decides, all others have given it up already.
#[test]
fn where_nobody_was_ever_heard_it_does_not_wait() {
    for seed in 0..4 {
        let mut cluster = Cluster::built(seed, Timing::default(), &vec![vec![("lan".to_owned(), 0)]; 2]);
        (0..2).for_each(|at| {
            cluster.give(at, keys(&[]));
            cluster.start(at);
        });
        cluster.pend(0, &[IpAddr::V4(VIP)]);
        cluster.publish([(IpAddr::V4(VIP), vec![0, 1])].into());
        cluster.run(ms(1500));
        cluster.ask(VIP);
        cluster.run(ms(50));
        let then = cluster.now;
        cluster.run(ms(500));
        owners(&cluster, then, &[0]);
    }
}
