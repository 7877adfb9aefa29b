//! Names of objects and values of labels that are made of a node's name.

use std::borrow::Cow;

/// The longest value of a label.
const LABEL: usize = 63;
/// The longest name of an object: a DNS subdomain (RFC 1123).
const NAME: usize = 253;

/// The node's name as the value of a label. A node's name may have 253 characters, a label 63: a longer one is cut, and
/// a digest of all of it makes it one of its own again.
pub(crate) fn label(node: &str) -> Cow<'_, str> {
    shortened(node, LABEL)
}

/// The name of the `ConfigurationState` of a node's speaker.
pub(crate) fn state(node: &str) -> String {
    shortened(&format!("speaker-{node}"), NAME).into_owned()
}

fn shortened(text: &str, longest: usize) -> Cow<'_, str> {
    if text.len() <= longest {
        return Cow::Borrowed(text);
    }
    let digest = format!("-{:08x}", fnv(text));
    let kept = text.floor_char_boundary(longest - digest.len());
    Cow::Owned(format!("{}{digest}", &text[..kept]))
}

/// FNV-1a with 32 bits: the same on every machine and in every version.
fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_and_stays_different_from_others() {
        assert_eq!(label("node-1.example"), "node-1.example");
        let exactly = "n".repeat(63);
        assert_eq!(label(&exactly), exactly);
        let (one, two) = (format!("{}a", "n".repeat(100)), format!("{}b", "n".repeat(100)));
        assert_eq!(label(&one).len(), 63);
        assert_ne!(label(&one), label(&two));
        assert_eq!(state("a"), "speaker-a");
        assert_eq!(state(&"n".repeat(253)).len(), 253);
        // The published vectors of FNV-1a.
        assert_eq!((fnv(""), fnv("a"), fnv("foobar")), (0x811c_9dc5, 0xe40c_292c, 0xbf9c_f968));
    }
}
