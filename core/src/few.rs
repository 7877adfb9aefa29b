//! One, mostly.

use std::ops::{Deref, DerefMut};

/// Some values, in their order; one takes no more room than itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Few<T> {
    /// This one.
    One([T; 1]),
    /// So many as there are: none, or two and more.
    More(Box<[T]>),
}

impl<T> Few<T> {
    /// Adds one before that at `index`, or at the end.
    pub fn insert(&mut self, index: usize, value: T) {
        let mut all = std::mem::take(self).into_vec();
        all.reserve_exact(1);
        all.insert(index.min(all.len()), value);
        *self = all.into();
    }

    /// Keeps only those that are so.
    pub fn retain(&mut self, so: impl FnMut(&T) -> bool) {
        let mut all = std::mem::take(self).into_vec();
        all.retain(so);
        *self = all.into();
    }

    /// The same values.
    pub fn into_vec(self) -> Vec<T> {
        match self {
            Few::One(one) => one.into(),
            Few::More(more) => more.into(),
        }
    }
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Few::More(Box::default())
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Few::One(one) => one,
            Few::More(more) => more,
        }
    }
}

impl<T> DerefMut for Few<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Few::One(one) => one,
            Few::More(more) => more,
        }
    }
}

impl<T> From<Vec<T>> for Few<T> {
    fn from(all: Vec<T>) -> Self {
        match <[T; 1]>::try_from(all) {
            Ok(one) => Few::One(one),
            Err(all) => Few::More(all.into()),
        }
    }
}

impl<T, const N: usize> From<[T; N]> for Few<T> {
    fn from(all: [T; N]) -> Self {
        Vec::from(all).into()
    }
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        all.into_iter().collect::<Vec<T>>().into()
    }
}

impl<'a, T> IntoIterator for &'a Few<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn one_more_and_one_less() {
        let mut few = Few::from(['b']);
        few.insert(0, 'a');
        few.insert(9, 'c');
        assert_eq!(*few, ['a', 'b', 'c']);
        few[1] = 'd';
        few.retain(|value| *value != 'a');
        assert_eq!(few, Few::More(['d', 'c'].into()));
        few.retain(|value| *value != 'd');
        assert_eq!(few, Few::One(['c']));
        few.retain(|_| false);
        assert_eq!(few, Few::default());
        few.insert(0, 'e');
        assert_eq!(few, Few::One(['e']), "what is equal is also kept alike");
    }

    #[test]
    fn one_takes_no_more_room_than_itself() {
        assert_eq!(size_of::<Few<Arc<str>>>(), 24);
        assert_eq!(size_of::<Few<Arc<u8>>>(), 16);
    }
}
