//! Words of users, repeated in ours.

use std::fmt;

/// So many characters of what a user wrote are repeated. An annotation may have 256 KiB, while an event is refused
/// above 1 KiB (`EventList.events.k8s.io`, field `note`) and a condition is there to be read.
const SHOWN: usize = 80;

/// A text in quotes, with what is not printable escaped, and cut with an ellipsis where it is long.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(SHOWN) {
            None => write!(f, "{:?}", self.0),
            Some((end, _)) => write!(f, "{:?}…", self.0.get(..end).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_are_whole_and_long_ones_are_cut_between_characters() {
        assert_eq!(Quoted("a \"b\"\n").to_string(), r#""a \"b\"\n""#);
        assert_eq!(Quoted(&"é".repeat(80)).to_string(), format!("\"{}\"", "é".repeat(80)));
        assert_eq!(Quoted(&"é".repeat(81)).to_string(), format!("\"{}\"…", "é".repeat(80)));
    }
}
