//! The name that an object never shares with another one.

use std::fmt;

/// A `metadata.uid`. The API server makes UUIDs, which take 16 bytes and no piece of memory of their own; whatever else
/// somebody may have put there is kept as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(Form);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Form {
    /// What is written in the form of RFC 9562 section 4, in small letters.
    Uuid([u8; 16]),
    Other(Box<str>),
}

impl Uid {
    /// Whether it is the empty text: there is none.
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Form::Other(text) if text.is_empty())
    }
}

impl Default for Uid {
    fn default() -> Self {
        Uid(Form::Other(Box::default()))
    }
}

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        let uuid = bytes(text).map(|bytes| Uid(Form::Uuid(bytes)));
        // In big letters, or with dashes elsewhere, it would come back as another text.
        uuid.filter(|uuid| uuid.to_string() == text).unwrap_or_else(|| Uid(Form::Other(text.into())))
    }
}

impl From<String> for Uid {
    fn from(text: String) -> Self {
        Uid::from(text.as_str())
    }
}

fn bytes(text: &str) -> Option<[u8; 16]> {
    let mut digits = text.bytes().filter(|byte| *byte != b'-');
    let mut digit = || (digits.next()? as char).to_digit(16);
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        *byte = (digit()? * 16 + digit()?) as u8;
    }
    Some(bytes)
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = match &self.0 {
            Form::Uuid(bytes) => bytes,
            Form::Other(text) => return f.write_str(text),
        };
        for (place, byte) in bytes.iter().enumerate() {
            if matches!(place, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back_as_it_was() {
        let uuid = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8ff";
        assert!(matches!(Uid::from(uuid).0, Form::Uuid(_)));
        let big = uuid.to_uppercase();
        let (undashed, more) = (uuid.replace('-', ""), format!("{uuid}0"));
        for text in [uuid, &big, &undashed, &more, "", "u1", "-", "uid of web", "ä"] {
            assert_eq!(Uid::from(text).to_string(), text);
            assert_eq!(Uid::from(text).is_empty(), text.is_empty());
        }
        assert_eq!(Uid::default(), Uid::from(""));
    }
}
