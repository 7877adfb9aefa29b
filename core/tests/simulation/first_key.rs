//! The first key, which comes to each node at another moment: the kubelet brings it within a minute or two.

use std::net::IpAddr;
use std::time::Duration;

use ferrolb_core::peers::Timing;

use crate::cluster::{Cluster, Dice, keys, ms};
use crate::scenes::{VIP, gap, owners};

/// Four machines without a key, an address that goes to them in this order, and a client that asks for it.
fn keyless(seed: u64, order: &[usize]) -> Cluster {
    let plan = vec![vec![("lan".to_owned(), 0)]; order.len()];
    let mut cluster = Cluster::built(seed, Timing::default(), &plan);
    for at in 0..order.len() {
        cluster.give(at, keys(&[]));
        cluster.start(at);
    }
    cluster.publish([(IpAddr::V4(VIP), order.to_vec())].into());
    cluster.run(ms(1500));
    cluster.ask(VIP);
    cluster.run(ms(50));
    cluster
}

#[test]
fn keys_that_come_one_by_one_move_nothing_and_nobody_answers_beside_another() {
    for seed in 0..24 {
        let mut dice = Dice::new(seed);
        let order = dice.shuffled(&[0, 1, 2, 3]);
        let mut cluster = keyless(seed, &order);
        let then = cluster.now;
        for at in dice.shuffled(&[0, 1, 2, 3]) {
            cluster.give(at, keys(&[7]));
            cluster.run(ms(dice.below(3000)));
        }
        cluster.run(ms(3000));
        owners(&cluster, then, &order[..1]);
        gap(&cluster, then, ms(20));
        // From here on it is the hellos that decide.
        cluster.crash(order[0]);
        let then = cluster.now;
        cluster.run(ms(2000));
        gap(&cluster, then, ms(325));
        owners(&cluster, then + ms(350), &order[1..2]);
    }
}

/// One that never gets its key keeps what is its own by the API's order; of the rest the hellos decide.
#[test]
fn one_without_a_key_slows_down_nobody_else() {
    for seed in 0..8 {
        let mut cluster = keyless(seed, &[0, 1, 2]);
        for at in 0..2 {
            cluster.give(at, keys(&[7]));
        }
        cluster.run(ms(3000));
        let then = cluster.now;
        cluster.run(ms(500));
        owners(&cluster, then, &[0]);
        // The next in order is heard, so it need not be said by the API that the first one is dead.
        cluster.crash(0);
        let then = cluster.now;
        cluster.run(ms(2000));
        gap(&cluster, then, ms(325));
        owners(&cluster, then + ms(350), &[1]);
    }
}

/// A speaker that starts with its key listens first, as ever, and takes what is its own.
#[test]
fn a_speaker_that_starts_with_a_key_beside_others_without_takes_its_own() {
    for seed in 0..8 {
        let mut cluster = keyless(seed, &[0, 1, 2]);
        cluster.give(1, keys(&[7]));
        cluster.run(ms(2000));
        cluster.kill(0);
        cluster.run(ms(20));
        cluster.give(0, keys(&[7]));
        cluster.start(0);
        cluster.run(ms(2000));
        let then: Duration = cluster.now;
        cluster.run(ms(500));
        owners(&cluster, then, &[0]);
    }
}

/// Who should be heard and is not: not one that the API knows to have no key, nor one that has just begun.
#[test]
fn whoever_should_be_heard_and_is_not_is_named() {
    let mut cluster = keyless(1, &[0, 1, 2]);
    let unheard = |cluster: &Cluster| -> Vec<String> {
        let all = cluster.unheard_by(0);
        all.into_iter().map(|(_, node)| node.to_string()).collect()
    };
    assert_eq!(unheard(&cluster), [] as [&str; 0], "nobody can be heard without a key");
    cluster.give(0, keys(&[7]));
    cluster.give(1, keys(&[7]));
    cluster.run(ms(2000));
    assert_eq!(unheard(&cluster), [] as [&str; 0], "the third has no key");
    cluster.give(2, keys(&[8]));
    cluster.run(ms(2000));
    assert_eq!(unheard(&cluster), ["node2"], "it has another one");
    cluster.give(2, keys(&[7]));
    cluster.run(ms(2000));
    assert_eq!(unheard(&cluster), [] as [&str; 0]);
    cluster.crash(1);
    cluster.run(ms(2000));
    assert_eq!(unheard(&cluster), ["node1"], "the API still calls it Ready");
}
