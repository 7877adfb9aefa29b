//! An ordered map in little space.
//!
//! A speaker keeps ten thousand addresses and Services in a dozen maps. The nodes of a `BTreeMap` that was filled in order are half
//! empty, and those of one filled in any order to a third; here at most one place in eight or so is.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};

/// So many entries are together at most. An insertion moves half of them; a look-up halves them seven times.
const MOST: usize = 128;

/// A chunk grows by so many entries.
const STEP: usize = 16;

/// A map ordered by its keys, as `BTreeMap` is, with the names of its methods. It is made for many entries that stay: they lie
/// side by side, without room for more than a few that may come.
///
/// All operations on one entry take time as the logarithm of the length and as the chunk's constant length, but for one in
/// many insertions and removals, which moves the list of chunks: a hundredth of the length.
#[derive(Clone)]
pub struct DenseMap<K, V> {
    /// Ascending; none is empty.
    chunks: Vec<Chunk<K, V>>,
    length: usize,
}

/// Keys and values apart, so that there is no gap between a key of 17 bytes and a value that is aligned to 8.
#[derive(Clone, Debug)]
struct Chunk<K, V> {
    /// Ascending, each once.
    keys: Vec<K>,
    values: Vec<V>,
}

impl<K: Ord + Hash, V: Hash> Hash for DenseMap<K, V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.length.hash(state);
        self.iter().for_each(|entry| entry.hash(state));
    }
}

impl<K, V> Default for DenseMap<K, V> {
    fn default() -> Self {
        DenseMap { chunks: Vec::new(), length: 0 }
    }
}

impl<K, V> Default for Chunk<K, V> {
    fn default() -> Self {
        Chunk { keys: Vec::new(), values: Vec::new() }
    }
}

impl<K, V> Chunk<K, V> {
    fn insert(&mut self, at: usize, key: K, value: V) {
        if self.keys.len() == self.keys.capacity() {
            // Most maps of a small cluster have a few entries.
            let more = if self.keys.len() < STEP { 4 } else { STEP };
            self.keys.reserve_exact(more);
            self.values.reserve_exact(more);
        }
        self.keys.insert(at, key);
        self.values.insert(at, value);
    }

    fn remove(&mut self, at: usize) -> (K, V) {
        let removed = (self.keys.remove(at), self.values.remove(at));
        if self.keys.capacity() >= self.keys.len() + 2 * STEP {
            self.shrink();
        }
        removed
    }

    /// Takes the entries from `at` on.
    fn split(&mut self, at: usize) -> Self {
        let rest = Chunk { keys: self.keys.split_off(at), values: self.values.split_off(at) };
        self.shrink();
        rest
    }

    fn append(&mut self, mut other: Self) {
        self.keys.reserve_exact(other.keys.len());
        self.values.reserve_exact(other.values.len());
        self.keys.append(&mut other.keys);
        self.values.append(&mut other.values);
    }

    fn shrink(&mut self) {
        self.keys.shrink_to_fit();
        self.values.shrink_to_fit();
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.keys.iter().zip(&self.values)
    }
}

/// Where a key is, or would be: the chunk, and the place in it.
type Place = (usize, usize);

impl<K: Ord, V> DenseMap<K, V> {
    /// Without entries; nothing is allocated.
    pub fn new() -> Self {
        DenseMap::default()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// `Ok` with where the key is; else where it is to be inserted. Where there is no chunk, that is in the first.
    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> Result<Place, Place>
    where
        K: Borrow<Q>,
    {
        let after = self
            .chunks
            .partition_point(|chunk| chunk.keys.first().is_some_and(|first| first.borrow() <= key));
        let chunk = after.saturating_sub(1);
        let keys = self.chunks.get(chunk).map(|chunk| chunk.keys.as_slice()).unwrap_or_default();
        match keys.binary_search_by(|known| known.borrow().cmp(key)) {
            Ok(at) => Ok((chunk, at)),
            Err(at) => Err((chunk, at)),
        }
    }

    /// The value of this key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.get_key_value(key).map(|(_, value)| value)
    }

    /// The key as it is kept, and its value.
    pub fn get_key_value<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        let (chunk, at) = self.find(key).ok()?;
        Some((&self.chunks[chunk].keys[at], &self.chunks[chunk].values[at]))
    }

    /// The value of this key, to be changed.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let (chunk, at) = self.find(key).ok()?;
        Some(&mut self.chunks[chunk].values[at])
    }

    /// Whether the key is there.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.find(key).is_ok()
    }

    /// Sets the value of this key; returns the one that it had. The key as it is kept stays.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.find(&key) {
            Ok((chunk, at)) => Some(std::mem::replace(&mut self.chunks[chunk].values[at], value)),
            Err(place) => {
                self.put(place, key, value);
                None
            }
        }
    }

    /// The value of this key, which is made where there is none.
    pub fn or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let (chunk, at) = match self.find(&key) {
            Ok(place) => place,
            Err(place) => self.put(place, key, make()),
        };
        &mut self.chunks[chunk].values[at]
    }

    /// The value of this key, which is its type's default where there is none.
    pub fn or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        self.or_insert_with(key, V::default)
    }

    /// Inserts where [`find`](Self::find) says; returns where that is now.
    fn put(&mut self, (mut chunk, mut at): Place, key: K, value: V) -> Place {
        if self.chunks.is_empty() {
            self.chunks.push(Chunk::default());
        }
        self.length += 1;
        let length = self.chunks[chunk].keys.len();
        if length == MOST {
            // What comes in order fills the chunks one after the other; else both halves have room.
            let last = chunk + 1 == self.chunks.len() && at == length;
            let middle = if last { length } else { length / 2 };
            let rest = self.chunks[chunk].split(middle);
            self.chunks.reserve_exact(if self.chunks.len() == self.chunks.capacity() { STEP } else { 0 });
            self.chunks.insert(chunk + 1, rest);
            if at >= middle && (last || at > middle) {
                (chunk, at) = (chunk + 1, at - middle);
            }
        }
        self.chunks[chunk].insert(at, key, value);
        (chunk, at)
    }

    /// Takes the key out; returns its value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.remove_entry(key).map(|(_, value)| value)
    }

    /// Takes the key out; returns it as it was kept, and its value.
    pub fn remove_entry<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
    {
        let (chunk, at) = self.find(key).ok()?;
        let removed = self.chunks[chunk].remove(at);
        self.length -= 1;
        if self.chunks[chunk].keys.is_empty() {
            self.chunks.remove(chunk);
        } else {
            self.join(chunk);
        }
        if self.chunks.is_empty() {
            self.chunks = Vec::new();
        }
        Some(removed)
    }

    /// Makes one of a chunk and one beside it, where both together fill no more than half of one.
    fn join(&mut self, chunk: usize) {
        let length = |at: usize| self.chunks.get(at).map_or(MOST, |chunk| chunk.keys.len());
        let first = [chunk.wrapping_sub(1), chunk].into_iter().find(|at| {
            let second = at.wrapping_add(1);
            length(*at) + length(second) <= MOST / 2
        });
        if let Some(first) = first {
            let rest = self.chunks.remove(first + 1);
            self.chunks[first].append(rest);
        }
    }

    /// Keeps only the entries that are so.
    pub fn retain(&mut self, mut so: impl FnMut(&K, &mut V) -> bool) {
        for chunk in &mut self.chunks {
            let kept: Vec<bool> =
                chunk.keys.iter().zip(&mut chunk.values).map(|(key, value)| so(key, value)).collect();
            let gone = kept.iter().filter(|kept| !**kept).count();
            if gone > 0 {
                self.length -= gone;
                let (mut keys, mut values) = (kept.iter(), kept.iter());
                chunk.keys.retain(|_| keys.next().is_some_and(|kept| *kept));
                chunk.values.retain(|_| values.next().is_some_and(|kept| *kept));
                chunk.shrink();
            }
        }
        self.chunks.retain(|chunk| !chunk.keys.is_empty());
        if self.chunks.len() > 1 + 4 * self.length / MOST {
            *self = std::mem::take(self).into_iter().collect();
        }
    }

    /// All entries, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.chunks.iter().flat_map(Chunk::iter)
    }

    /// The entries from this key on, ascending.
    pub fn range_from<'a, Q: Ord + ?Sized>(
        &'a self,
        key: &Q,
    ) -> impl Iterator<Item = (&'a K, &'a V)> + use<'a, Q, K, V>
    where
        K: Borrow<Q>,
    {
        let (Ok((chunk, at)) | Err((chunk, at))) = self.find(key);
        self.chunks.iter().skip(chunk).flat_map(Chunk::iter).skip(at)
    }

    /// All keys, ascending.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.chunks.iter().flat_map(|chunk| &chunk.keys)
    }

    /// All values, in the order of their keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.chunks.iter().flat_map(|chunk| &chunk.values)
    }

    /// All entries, ascending, their values to be changed.
    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = (&K, &mut V)> {
        self.chunks.iter_mut().flat_map(|chunk| chunk.keys.iter().zip(&mut chunk.values))
    }

    /// All keys, ascending.
    pub fn into_keys(self) -> impl Iterator<Item = K> {
        self.chunks.into_iter().flat_map(|chunk| chunk.keys)
    }
}

/// The entries of a map that is used up, ascending.
#[derive(Debug)]
pub struct IntoIter<K, V> {
    chunks: std::vec::IntoIter<Chunk<K, V>>,
    keys: std::vec::IntoIter<K>,
    values: std::vec::IntoIter<V>,
}

impl<K, V> Iterator for IntoIter<K, V> {
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        loop {
            if let Some(entry) = self.keys.next().zip(self.values.next()) {
                return Some(entry);
            }
            let Chunk { keys, values } = self.chunks.next()?;
            (self.keys, self.values) = (keys.into_iter(), values.into_iter());
        }
    }
}

impl<K, V> IntoIterator for DenseMap<K, V> {
    type Item = (K, V);
    type IntoIter = IntoIter<K, V>;

    fn into_iter(self) -> IntoIter<K, V> {
        IntoIter {
            chunks: self.chunks.into_iter(),
            keys: Vec::new().into_iter(),
            values: Vec::new().into_iter(),
        }
    }
}

impl<K: Ord, V> Extend<(K, V)> for DenseMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        entries.into_iter().for_each(|(key, value)| drop(self.insert(key, value)));
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for DenseMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = DenseMap::default();
        map.extend(entries);
        map
    }
}

impl<K: Ord, V> From<BTreeMap<K, V>> for DenseMap<K, V> {
    fn from(map: BTreeMap<K, V>) -> Self {
        map.into_iter().collect()
    }
}

impl<K: Ord, V: PartialEq> PartialEq for DenseMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.length == other.length && self.iter().eq(other.iter())
    }
}

impl<K: Ord, V: Eq> Eq for DenseMap<K, V> {}

impl<K: Ord + fmt::Debug, V: fmt::Debug> fmt::Debug for DenseMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests;
