//! Whether moments that look the same are.
//!
//! The search follows only one of them. So here both are followed, with the same acts.

use std::collections::HashMap;

use crate::acts::{Act, Choice};
use crate::setting::Setting;
use crate::world::{World, ms};

/// Numbers that look random (splitmix64): the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end.max(1) as u64) as usize
    }
}

/// Lets time pass for both and does the same to both, and compares them at each step.
fn compare(mut a: World, mut b: World, dice: &mut Dice) {
    let step = ms(100);
    let apart = a.now.abs_diff(b.now);
    let mut done = Vec::new();
    for _ in 0..3 {
        for _ in 0..=dice.below(12) {
            for world in [&mut a, &mut b] {
                world.step(step);
                world.loss = None;
            }
            let answers = |world: &World| world.nodes.each_ref().map(|node| node.answers);
            assert_eq!(answers(&a), answers(&b), "{apart:?} apart, after {done:?}");
            // What waits unread has numbers that tell the time: no two of these moments look the same.
            if a.nodes.iter().all(|node| node.waiting.is_empty()) {
                assert_eq!(a.outline(step), b.outline(step), "{apart:?} apart, after {done:?}");
            }
        }
        let acts = Act::possible(&a, Choice::All);
        assert_eq!(acts, Act::possible(&b, Choice::All), "after {done:?}");
        let act = acts[dice.below(acts.len())];
        done.push(act);
        for world in [&mut a, &mut b] {
            act.apply(world, false);
        }
    }
}

#[test]
fn moments_that_look_the_same_go_on_the_same() {
    look(6, 500, Choice::Coarse);
}

/// `make soak-core`.
#[test]
#[ignore = "takes long"]
fn soak() {
    for seed in 0..4 {
        look(seed, 2_000, Choice::Coarse);
        look(seed, 2_000, Choice::All);
    }
}

/// So many ways by chance, of few acts, so that their moments are met again on other ways.
fn look(seed: u64, ways: usize, choice: Choice) {
    let step = ms(100);
    let root = World::new(Setting::new(1, None, ms(1_500)), [0, 15, 70]);
    let mut dice = Dice(seed);
    let mut met = 0;
    let mut seen: HashMap<u64, (usize, World)> = HashMap::new();
    for way in 0..ways {
        let mut world = root.clone();
        for _ in 0..=dice.below(3) {
            let acts = Act::possible(&world, choice);
            acts[dice.below(acts.len())].apply(&mut world, false);
            for _ in 0..=dice.below(9) {
                world.step(step);
                world.loss = None;
                let (of, same) = seen.entry(world.outline(step)).or_insert_with(|| (way, world.clone()));
                // Most often it is the same way so far, or the same circle.
                let other = same.now != world.now && *of != way;
                if dice.below(if other { 4 } else { 400 }) == 0 {
                    met += usize::from(other);
                    compare(same.clone(), world.clone(), &mut dice);
                }
            }
        }
    }
    assert!(met > ways / 20, "only {met} met");
}
