//! The key that speakers sign their hellos with, and which of several to use while it is replaced.
//!
//! All speakers of a cluster share one Secret. It may hold several keys: each of them is accepted, one is used to
//! sign. Which one follows from what every peer has loaded ([`Keys::signing`]), so a key is replaced without a gap,
//! whatever the order in which the nodes see the change:
//!
//! 1. Add the new key, as the current one at once or later. Nodes that have it go on to sign with the old one, as the
//!    others have only that.
//! 2. When all have the new one, and it is the current one, all sign with it.
//! 3. Remove the old key. Nodes that still have it have the new one too.
//!
//! A key that is put in the *place* of another breaks off the hearing between nodes that see the change and nodes that
//! do not yet.

use std::collections::BTreeMap;
use std::fmt;

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

/// The bytes of a key.
pub const KEY_LEN: usize = 32;

/// So many keys are held at most: one in use, one that comes, one that goes, and one by mistake. A hello names them
/// all.
pub const MOST_KEYS: usize = 4;

/// How the name of an entry that holds a key ends, in the data of the Secret.
pub const KEY_SUFFIX: &str = ".key";

/// The entry that names the current key.
pub const CURRENT: &str = "current";

/// What tells keys apart without telling them: the first 4 bytes of SHA-256 over `ferrolb key`, a zero byte and the
/// key. Shown in hexadecimal, as in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u32);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// A key of 32 random bytes. No form of output shows more of it than its id.
#[derive(Clone)]
pub struct Key {
    id: KeyId,
    bytes: [u8; KEY_LEN],
    /// HMAC-SHA-256 (RFC 2104) with the key taken in, which is half the work on a short message.
    prepared: Hmac<Sha256>,
}

impl Key {
    /// The key with these bytes.
    pub fn new(bytes: [u8; KEY_LEN]) -> Self {
        let hash = Sha256::new().chain_update(b"ferrolb key\0").chain_update(bytes).finalize();
        let id = KeyId(u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]));
        // HMAC takes a key of any length, and one shorter than a block is taken as if filled up with zeroes.
        let mut block = [0; 64];
        block[..KEY_LEN].copy_from_slice(&bytes);
        Key { id, bytes, prepared: Hmac::new(&block.into()) }
    }

    /// What the key is known by.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The tag of `bytes`: HMAC-SHA-256.
    pub fn tag(&self, bytes: &[u8]) -> [u8; 32] {
        self.prepared.clone().chain_update(bytes).finalize().into_bytes().into()
    }

    /// Whether `tag` is that of `bytes`. Takes the same time wherever they differ.
    pub(crate) fn verifies(&self, bytes: &[u8], tag: &[u8]) -> bool {
        self.prepared.clone().chain_update(bytes).verify_slice(tag).is_ok()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

/// The keys that a speaker has, at most [`MOST_KEYS`], in the order of their ids; and which of them the configuration
/// calls the current one. There is a current one unless there is none at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    keys: BTreeMap<KeyId, Key>,
    current: Option<KeyId>,
}

impl Keys {
    /// The current key and others that are accepted.
    ///
    /// # Errors
    /// [`KeyProblem::TooMany`], and [`KeyProblem::SameId`] for two that an id cannot tell apart. A key given twice
    /// counts once.
    pub fn new(current: Key, others: impl IntoIterator<Item = Key>) -> Result<Self, KeyProblem> {
        let mut keys = Keys { current: Some(current.id), keys: [(current.id, current)].into() };
        for key in others {
            keys.add(key)?;
        }
        Ok(keys)
    }

    fn add(&mut self, key: Key) -> Result<(), KeyProblem> {
        match self.keys.get(&key.id) {
            Some(known) if *known == key => Ok(()),
            Some(_) => Err(KeyProblem::SameId(key.id)),
            None if self.keys.len() == MOST_KEYS => Err(KeyProblem::TooMany),
            None => {
                self.keys.insert(key.id, key);
                Ok(())
            }
        }
    }

    /// Reads the entries of the Secret; what is wrong with one of them hurts no other.
    ///
    /// 1. An entry whose name ends in `.key` is a key, if it has 32 bytes that are not all the same.
    /// 2. The entry `current` names one of them, white space around it ignored. Without it, and where it names none,
    ///    the first by name is the current one.
    /// 3. Of more than [`MOST_KEYS`] the current one is held and then the first by name.
    /// 4. Other entries are no concern of ours.
    pub fn read<'a>(entries: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> (Keys, Vec<EntryProblem>) {
        let entries: BTreeMap<&str, &[u8]> = entries.into_iter().collect();
        let mut problems = Vec::new();
        let mut problem = |entry: &str, why| problems.push(EntryProblem { entry: entry.to_owned(), why });
        let mut usable = BTreeMap::new();
        for (name, bytes) in entries.iter().filter(|(name, _)| name.ends_with(KEY_SUFFIX)) {
            match <[u8; KEY_LEN]>::try_from(*bytes) {
                Err(_) => problem(name, KeyProblem::Length(bytes.len())),
                Ok(bytes) if bytes.iter().all(|byte| *byte == bytes[0]) => {
                    problem(name, KeyProblem::Constant);
                }
                Ok(bytes) => {
                    usable.insert(*name, Key::new(bytes));
                }
            }
        }
        let mut current = usable.keys().next().copied();
        if let Some(value) = entries.get(CURRENT) {
            let named = value.trim_ascii();
            match usable.keys().find(|name| name.as_bytes() == named) {
                Some(name) => current = Some(*name),
                None => {
                    problem(CURRENT, KeyProblem::NoSuchKey(String::from_utf8_lossy(named).into_owned()));
                }
            }
        }
        let mut keys = Keys::default();
        if let Some(key) = current.and_then(|name| usable.get(name)) {
            keys.current = Some(key.id);
            keys.keys.insert(key.id, key.clone());
        }
        for (name, key) in usable {
            if let Err(why) = keys.add(key) {
                problem(name, why);
            }
        }
        (keys, problems)
    }

    /// The key of this id.
    pub fn get(&self, id: KeyId) -> Option<&Key> {
        self.keys.get(&id)
    }

    /// The one that the configuration calls the current one.
    pub fn current(&self) -> Option<&Key> {
        self.get(self.current?)
    }

    /// The ids of all, ascending: what a hello reports as loaded.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.keys.keys().copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key to sign with; `peers` is what each peer that is heard reports as loaded.
    ///
    /// 1. The current one, if every peer has it, which is so where there is no peer.
    /// 2. Else the first, by id, that every peer has: so all nodes with the same keys choose the same.
    /// 3. Else the current one: no key is right for all.
    pub fn signing<'a>(&self, peers: impl IntoIterator<Item = &'a [KeyId]>) -> Option<&Key> {
        let mut common = self.keys.clone();
        for loaded in peers {
            common.retain(|id, _| loaded.contains(id));
        }
        let chosen = self.current.filter(|id| common.contains_key(id));
        let chosen = chosen.or_else(|| common.keys().next().copied()).or(self.current);
        self.get(chosen?)
    }
}

/// What is wrong with one entry of the Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("entry {entry:?}: {why}")]
pub struct EntryProblem {
    /// The name of the entry.
    pub entry: String,
    /// What is wrong with it.
    #[source]
    pub why: KeyProblem,
}

/// What is wrong with a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum KeyProblem {
    /// It has so many bytes.
    #[error("a key has {KEY_LEN} bytes, this has {0}")]
    Length(usize),
    /// All its bytes are the same: anybody guesses such a key.
    #[error("all bytes are the same; take {KEY_LEN} random bytes")]
    Constant,
    /// There are [`MOST_KEYS`] already.
    #[error(
        "it is one more than the {MOST_KEYS} keys that are held at most; remove those that are no longer used"
    )]
    TooMany,
    /// Another key has the same id: one chance in four thousand million.
    #[error("it has the id {0} of another key; make another one")]
    SameId(KeyId),
    /// `current` names no usable key.
    #[error("there is no usable key {0:?}, so the first by name is the current one")]
    NoSuchKey(String),
}

#[cfg(test)]
mod tests;
