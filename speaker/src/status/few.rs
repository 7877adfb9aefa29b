//! One, mostly.

/// Some values, in their order; one takes no more room than itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Few<T> {
    One([T; 1]),
    More(Vec<T>),
}

impl<T> Few<T> {
    pub(crate) fn one(value: T) -> Self {
        Few::One([value])
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        match self {
            Few::One(one) => one,
            Few::More(more) => more,
        }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        match self {
            Few::One(one) => one,
            Few::More(more) => more,
        }
    }

    /// Adds one before that at `index`, or at the end.
    pub(crate) fn insert(self, index: usize, value: T) -> Self {
        let mut all = self.into_vec();
        all.insert(index.min(all.len()), value);
        Few::More(all)
    }

    /// Only those that are so; `None` for none.
    pub(crate) fn retain(self, so: impl FnMut(&T) -> bool) -> Option<Self> {
        let mut all = self.into_vec();
        all.retain(so);
        match <[T; 1]>::try_from(all) {
            Ok(one) => Some(Few::One(one)),
            Err(none) if none.is_empty() => None,
            Err(more) => Some(Few::More(more)),
        }
    }

    fn into_vec(self) -> Vec<T> {
        match self {
            Few::One(one) => one.into(),
            Few::More(more) => more,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_and_one_less() {
        let mut few = Few::one('b').insert(0, 'a').insert(9, 'c');
        assert_eq!(few.as_slice(), ['a', 'b', 'c']);
        few.as_mut_slice()[1] = 'd';
        let few = few.retain(|value| *value != 'a').unwrap();
        assert_eq!(few, Few::More(vec!['d', 'c']));
        let few = few.retain(|value| *value != 'd').unwrap();
        assert_eq!(few, Few::one('c'));
        assert_eq!(few.retain(|_| false), None);
    }
}
