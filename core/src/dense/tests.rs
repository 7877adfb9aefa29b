use proptest::prelude::*;

use super::*;

/// What is true of every map.
fn check(map: &DenseMap<u16, u32>) {
    let lengths: Vec<usize> = map.chunks.iter().map(|chunk| chunk.keys.len()).collect();
    assert!(lengths.iter().all(|length| (1..=MOST).contains(length)), "{lengths:?}");
    assert_eq!(lengths.iter().sum::<usize>(), map.len());
    for chunk in &map.chunks {
        assert_eq!(chunk.keys.len(), chunk.values.len());
        assert!(
            chunk.keys.capacity() < chunk.keys.len() + 2 * STEP,
            "{} of {}",
            chunk.keys.len(),
            chunk.keys.capacity()
        );
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u16),
    Remove(u16),
    /// A run of keys, as an address range or a list brings them.
    Run(u16, u16),
    /// And away with it.
    Gap(u16, u16),
    Retain(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..2000u16;
    let step = prop_oneof![
        6 => key.clone().prop_map(Step::Insert),
        6 => key.clone().prop_map(Step::Remove),
        2 => (key.clone(), 1..600u16).prop_map(|(from, many)| Step::Run(from, many)),
        2 => (key, 1..600u16).prop_map(|(from, many)| Step::Gap(from, many)),
        1 => (2..9u16).prop_map(Step::Retain),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #[test]
    fn it_is_what_a_btree_map_is(steps in steps()) {
        let (mut map, mut model) = (DenseMap::new(), BTreeMap::new());
        let mut value = 0u32;
        for step in steps {
            value += 1;
            match step {
                Step::Insert(key) => prop_assert_eq!(map.insert(key, value), model.insert(key, value)),
                Step::Remove(key) => prop_assert_eq!(map.remove_entry(&key), model.remove_entry(&key)),
                Step::Run(from, many) => {
                    for key in from..from + many {
                        prop_assert_eq!(*map.or_insert_with(key, || value), *model.entry(key).or_insert(value));
                    }
                }
                Step::Gap(from, many) => {
                    for key in from..from + many {
                        prop_assert_eq!(map.remove(&key), model.remove(&key));
                    }
                }
                Step::Retain(by) => {
                    map.retain(|key, value| { *value += 1; key % by != 0 });
                    model.retain(|key, value| { *value += 1; key % by != 0 });
                }
            }
            check(&map);
            prop_assert!(map.iter().eq(model.iter()));
        }
        prop_assert!(map.keys().rev().eq(model.keys().rev()) && map.values().eq(model.values()));
        for key in (0..2700u16).step_by(37) {
            prop_assert_eq!(map.get_key_value(&key), model.get_key_value(&key));
            prop_assert_eq!(map.contains_key(&key), model.contains_key(&key));
            prop_assert_eq!(map.get_mut(&key), model.get_mut(&key));
            prop_assert!(map.range_from(&key).eq(model.range(key..)));
        }
        prop_assert_eq!(&DenseMap::from(model.clone()), &map);
        prop_assert!(map.clone().into_keys().eq(model.clone().into_keys()));
        prop_assert!(map.into_iter().eq(model));
    }
}

/// Filled in order, from the end, and in any order: hardly any room is left over.
#[test]
fn it_is_dense() {
    let mixed = (0..10_000u16).map(|number| number.wrapping_mul(40_503));
    for keys in [(0..10_000).collect::<Vec<u16>>(), (0..10_000).rev().collect(), mixed.collect()] {
        let map: DenseMap<u16, u32> = keys.into_iter().map(|key| (key, 0)).collect();
        check(&map);
        let room: usize = map.chunks.iter().map(|chunk| chunk.keys.capacity()).sum();
        assert!(room < map.len() + map.len() / 8, "room for {room}, for {} entries", map.len());
    }
}

#[test]
fn what_is_emptied_holds_nothing() {
    let mut map: DenseMap<u16, u32> = (0..1000).map(|key| (key, 0)).collect();
    for key in (0..1000).rev() {
        map.remove(&key);
    }
    assert_eq!((map.len(), map.chunks.capacity()), (0, 0));
}

#[test]
fn what_comes_in_order_fills_whole_chunks() {
    let map: DenseMap<u16, u32> = (0..1000).map(|key| (key, 0)).collect();
    assert_eq!(map.chunks.len(), 1000usize.div_ceil(MOST));
}
