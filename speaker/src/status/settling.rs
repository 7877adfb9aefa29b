//! A write's result stands in for the object until the watch has shown it.
//!
//! A watch runs behind our own writes. What it shows in between is older, and to act on it would undo or repeat them.
//! Versions say only whether they are the same, so: the result counts until the watch shows that very version, or for
//! some seconds, after which the latest that the watch has shown counts.

use std::time::Duration;

/// So long a watch may be behind.
const BEHIND: Duration = Duration::from_secs(5);

/// A version that the watch has yet to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settling<T> {
    /// The one that the watch has yet to show; without it, any will do.
    version: Option<String>,
    until: Duration,
    held: Held<T>,
}

/// What the watch has shown in the meantime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Held<T> {
    /// Nothing: the result still stands.
    Nothing,
    /// Another version.
    Shows(T),
    /// A list without the object.
    Absent,
}

impl<T> Settling<T> {
    /// A write made this version.
    pub(crate) fn new(version: String, now: Duration) -> Self {
        Settling { version: Some(version), until: now + BEHIND, held: Held::Nothing }
    }

    /// Another write was sent since, and may have been done or not: whatever the watch shows counts again, and what it has
    /// shown already.
    pub(crate) fn unsure(&mut self) -> Option<T> {
        self.version = None;
        match std::mem::replace(&mut self.held, Held::Nothing) {
            Held::Shows(seen) => Some(seen),
            held => {
                self.held = held;
                None
            }
        }
    }

    /// The watch shows `version`: `seen` counts from now on, or is held back.
    pub(crate) fn see(&mut self, version: &str, seen: T, now: Duration) -> Option<T> {
        if self.version.as_deref().is_none_or(|wanted| wanted == version) || now >= self.until {
            return Some(seen);
        }
        self.held = Held::Shows(seen);
        None
    }

    /// A list lacks the object; returns whether that counts.
    pub(crate) fn miss(&mut self, now: Duration) -> bool {
        self.held = Held::Absent;
        now >= self.until
    }

    /// When it ends by itself.
    pub(crate) fn until(&self) -> Duration {
        self.until
    }

    /// What counts after the end.
    pub(crate) fn ended(self) -> Held<T> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_stands_until_the_watch_shows_it() {
        let now = Duration::from_secs(10);
        let new = || Settling::new("7".to_owned(), now);
        let mut settling = new();
        assert_eq!(settling.see("6", "older", now), None);
        assert_eq!(settling.see("7", "the result", now), Some("the result"));
        // It was never shown: a list came in between.
        let mut settling = new();
        assert_eq!(settling.see("9", "newer", now), None);
        assert_eq!(settling.until(), now + BEHIND);
        assert_eq!(settling.ended(), Held::Shows("newer"));
        let mut settling = new();
        assert!(!settling.miss(now), "the list may be older than the write");
        assert_eq!(settling.clone().ended(), Held::Absent);
        assert!(settling.miss(now + BEHIND));
        assert_eq!(new().see("9", "late", now + BEHIND), Some("late"));
        assert_eq!(new().ended(), Held::Nothing);
        // A write after it has an outcome that is not known.
        let mut settling = new();
        assert_eq!(settling.see("6", "shown meanwhile", now), None);
        assert_eq!(settling.unsure(), Some("shown meanwhile"));
        assert_eq!(settling.see("9", "newer", now), Some("newer"));
    }
}
