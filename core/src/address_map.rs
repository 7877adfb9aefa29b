//! What is known of addresses, by hash and in little space.
//!
//! Who asks for an address is to be answered in the same time whether it is one of ten or one of ten thousand. What takes time
//! then is memory that no cache has: a bisection of ten thousand reads a dozen places far apart, this one reads two.

use std::fmt;
use std::net::IpAddr;

/// A map of addresses, for questions: its order means nothing, but is the same for the same history.
///
/// The hash has no secret, as a chain can only be as long as what the caller put in. Entries lie side by side, and of the
/// table of places a fourth or more is free: 5 to 11 bytes for an address beside its entry.
#[derive(Clone)]
pub struct AddressMap<V> {
    /// Where an address is, by its hash or at the next free place behind: one more than its index, and 0 for free. As many as a
    /// power of two, or none.
    places: Box<[u32]>,
    entries: Vec<(IpAddr, V)>,
}

/// So many places there are at least, if any.
const FEWEST: usize = 8;

/// Entries grow by a sixteenth, by so many at least and at most.
const STEP: (usize, usize) = (4, 1024);

impl<V> Default for AddressMap<V> {
    fn default() -> Self {
        AddressMap { places: Box::default(), entries: Vec::new() }
    }
}

/// Spreads also what comes in order: pools are ranges. The factors are those of SplitMix64, which mixes well enough.
fn hash(address: IpAddr) -> u64 {
    let bits = match address {
        IpAddr::V4(four) => u64::from(four.to_bits()),
        IpAddr::V6(six) => {
            let (high, low) = ((six.to_bits() >> 64) as u64, six.to_bits() as u64);
            high.wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ low
        }
    };
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

impl<V> AddressMap<V> {
    /// How many addresses there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of this address.
    pub fn get(&self, address: IpAddr) -> Option<&V> {
        let (_, index) = self.find(address)?;
        self.entries.get(index).map(|(_, value)| value)
    }

    /// The value of this address, to be changed.
    pub fn get_mut(&mut self, address: IpAddr) -> Option<&mut V> {
        let (_, index) = self.find(address)?;
        self.entries.get_mut(index).map(|(_, value)| value)
    }

    /// Sets the value of this address; returns the one that it had.
    pub fn insert(&mut self, address: IpAddr, value: V) -> Option<V> {
        if let Some(known) = self.get_mut(address) {
            return Some(std::mem::replace(known, value));
        }
        let length = self.len();
        if (length + 1) * 4 > self.places.len() * 3 {
            self.place_all((self.places.len() * 2).max(FEWEST));
        }
        if length == self.entries.capacity() {
            self.entries.reserve_exact((length / 16).clamp(STEP.0, STEP.1));
        }
        self.entries.push((address, value));
        self.put(address, length);
        None
    }

    /// Takes the address out; returns its value.
    pub fn remove(&mut self, address: IpAddr) -> Option<V> {
        let (place, index) = self.find(address)?;
        self.free(place);
        let (_, value) = self.entries.swap_remove(index);
        // The last one has the index now.
        if let Some(moved) = self.entries.get(index).map(|(address, _)| *address) {
            let last = self.len() as u32 + 1;
            let mut place = self.home(moved);
            while self.places[place] != last {
                place = self.after(place);
            }
            self.places[place] = index as u32 + 1;
        }
        if self.places.len() > FEWEST && self.len() * 8 < self.places.len() {
            self.place_all(self.places.len() / 2);
            self.entries.shrink_to_fit();
        }
        if self.is_empty() {
            *self = AddressMap::default();
        }
        Some(value)
    }

    /// All of it, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, &V)> {
        self.entries.iter().map(|(address, value)| (*address, value))
    }

    /// The addresses of which this is so, ascending.
    pub fn sorted(&self, so: impl Fn(&V) -> bool) -> Vec<IpAddr> {
        let those = self.iter().filter(|(_, value)| so(value));
        let mut sorted: Vec<IpAddr> = those.map(|(address, _)| address).collect();
        sorted.sort_unstable();
        sorted
    }

    /// The place and the index of an address.
    fn find(&self, address: IpAddr) -> Option<(usize, usize)> {
        if self.places.is_empty() {
            return None;
        }
        let mut place = self.home(address);
        // A fourth is free, so this ends.
        loop {
            let index = self.places[place].checked_sub(1)? as usize;
            if self.entries[index].0 == address {
                return Some((place, index));
            }
            place = self.after(place);
        }
    }

    /// Where an address is looked for first. The upper bits are the ones that all of the address has a part in.
    fn home(&self, address: IpAddr) -> usize {
        (hash(address) >> (64 - self.places.len().trailing_zeros())) as usize
    }

    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.places.len() - 1)
    }

    /// Notes where an address is that has no place yet.
    fn put(&mut self, address: IpAddr, index: usize) {
        let mut place = self.home(address);
        while self.places[place] != 0 {
            place = self.after(place);
        }
        // There are fewer addresses than memory has room for, by far.
        self.places[place] = index as u32 + 1;
    }

    /// Frees a place: who stands behind it and could stand there moves up, so that no search ends too early.
    fn free(&mut self, mut hole: usize) {
        let mut place = hole;
        loop {
            place = self.after(place);
            let Some(index) = self.places[place].checked_sub(1) else { break };
            let home = self.home(self.entries[index as usize].0);
            let mask = self.places.len() - 1;
            // Counted from its home, the hole comes before where it stands.
            if (hole.wrapping_sub(home) & mask) < (place.wrapping_sub(home) & mask) {
                self.places[hole] = self.places[place];
                hole = place;
            }
        }
        self.places[hole] = 0;
    }

    fn place_all(&mut self, places: usize) {
        self.places = vec![0; places].into();
        for index in 0..self.len() {
            self.put(self.entries[index].0, index);
        }
    }
}

impl<V: fmt::Debug> fmt::Debug for AddressMap<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn four(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a40_0000 + number).into()
    }

    fn six(number: u32) -> IpAddr {
        Ipv6Addr::from_bits((0xfd64 << 112) + u128::from(number)).into()
    }

    /// How far addresses stand from where they are looked for first.
    fn ways<V>(map: &AddressMap<V>) -> Vec<usize> {
        let way = |address| {
            let (place, _) = map.find(address).unwrap();
            place.wrapping_sub(map.home(address)) & (map.places.len() - 1)
        };
        map.iter().map(|(address, _)| way(address)).collect()
    }

    /// What is true of every map.
    fn check<V>(map: &AddressMap<V>) {
        let used = map.places.iter().filter(|place| **place != 0).count();
        assert_eq!(used, map.len());
        assert!(map.places.is_empty() || map.places.len().is_power_of_two());
        assert!(map.len() * 4 <= map.places.len() * 3, "{} in {}", map.len(), map.places.len());
        assert!(map.len() * 8 >= map.places.len() || map.places.len() == FEWEST);
        assert!(map.entries.capacity() <= map.len() * 4 + STEP.1);
    }

    proptest! {
        #[test]
        fn it_is_what_a_btree_map_is(
            steps in prop::collection::vec((0..4u8, 0..600u32, 1..200u32), 1..60)
        ) {
            let (mut map, mut model) = (AddressMap::default(), BTreeMap::new());
            for (value, (kind, from, many)) in steps.into_iter().enumerate() {
                let address = if kind % 2 == 0 { four } else { six };
                for address in (from..from + many).map(address) {
                    if kind < 2 {
                        prop_assert_eq!(map.insert(address, value), model.insert(address, value));
                    } else {
                        prop_assert_eq!(map.remove(address), model.remove(&address));
                    }
                }
                check(&map);
            }
            let everything = map.sorted(|_| true);
            prop_assert!(everything.iter().eq(model.keys()));
            prop_assert_eq!(map.iter().collect::<BTreeMap<_, _>>().len(), model.len());
            for address in (0..800).flat_map(|number| [four(number), six(number)]) {
                prop_assert_eq!(map.get(address), model.get(&address));
                prop_assert_eq!(map.get_mut(address), model.get_mut(&address));
            }
            for address in everything {
                prop_assert_eq!(map.remove(address), model.remove(&address));
                check(&map);
            }
            prop_assert_eq!((map.places.len(), map.entries.capacity()), (0, 0));
        }
    }

    /// Ranges as pools are, and addresses a power of two apart.
    #[test]
    fn addresses_stand_where_they_are_looked_for() {
        for stride in [1, 2, 4, 16, 256] {
            for address in [four, six] {
                let mut map = AddressMap::default();
                for number in 0..10_000 {
                    map.insert(address(number * stride), ());
                }
                let ways = ways(&map);
                let (mean, most) = (ways.iter().sum::<usize>() as f64 / 1e4, *ways.iter().max().unwrap());
                // With a perfect hash it is 0.8 at this load (Knuth, The Art of Computer Programming 3, section 6.4).
                assert!(mean < 1.2 && most < 64, "{mean} on the mean, {most} at most, for every {stride}th");
            }
        }
    }

    #[test]
    fn it_takes_little() {
        let mut map = AddressMap::default();
        (0..10_000).for_each(|number| {
            map.insert(four(number), [0u8; 7]);
        });
        let bytes = map.places.len() * 4 + map.entries.capacity() * 24;
        assert!(bytes < 10_000 * 33, "{bytes} bytes");
    }
}
