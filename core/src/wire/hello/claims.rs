//! What a speaker answers for, as it tells the others: all of it, or what changed; and the digest that shows whether two
//! sides know the same.

use std::collections::BTreeMap;
use std::net::IpAddr;

use sha2::{Digest as _, Sha256};

use super::{BODY_ROOM, DIGEST_LEN, FIELD_LEN, Refusal, first_eight};

/// How an address is answered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Voice {
    /// With the sender's own Ethernet address. (1)
    Own,
    /// With that of the absent owner. (2)
    StandIn,
    /// No longer at all; only in a change. (3)
    Released,
}

impl Voice {
    pub(super) fn code(self) -> u8 {
        match self {
            Voice::Own => 1,
            Voice::StandIn => 2,
            Voice::Released => 3,
        }
    }

    pub(super) fn of(code: u8) -> Option<Self> {
        match code {
            1 => Some(Voice::Own),
            2 => Some(Voice::StandIn),
            3 => Some(Voice::Released),
            _ => None,
        }
    }
}

/// One address and how it is answered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// The address. One of IPv4 in the notation of IPv6 is told as IPv4.
    pub address: IpAddr,
    /// How.
    pub voice: Voice,
}

impl Claim {
    /// The first 8 bytes of SHA-256 over `ferrolb claim`, a zero byte, the code of the voice and the 4 or 16 octets of the
    /// address.
    fn hash(&self) -> u64 {
        let hash = Sha256::new().chain_update(b"ferrolb claim\0").chain_update([self.voice.code()]);
        let hash = match self.address.to_canonical() {
            IpAddr::V4(address) => hash.chain_update(address.octets()),
            IpAddr::V6(address) => hash.chain_update(address.octets()),
        };
        first_eight(&hash.finalize())
    }
}

/// What stands for a set of claims: equal sets have equal digests, whatever the order in which they came about.
///
/// Two sets that differ are told apart but for one chance in 2^64. Somebody who has the key could choose claims that are
/// not; whoever has the key can lie anyway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    /// How many claims there are.
    pub count: u32,
    /// The sum of the hashes of all claims, modulo 2^64.
    pub sum: u64,
}

impl Digest {
    /// That of all these, each address being there once.
    pub fn of<'a>(claims: impl IntoIterator<Item = &'a Claim>) -> Self {
        let mut digest = Digest::default();
        claims.into_iter().for_each(|claim| digest.add(claim));
        digest
    }

    /// With one claim more. What is released is none.
    pub fn add(&mut self, claim: &Claim) {
        if claim.voice != Voice::Released {
            self.count = self.count.wrapping_add(1);
            self.sum = self.sum.wrapping_add(claim.hash());
        }
    }

    /// With one claim less, that is in it. What is released is none.
    pub fn remove(&mut self, claim: &Claim) {
        if claim.voice != Voice::Released {
            self.count = self.count.wrapping_sub(1);
            self.sum = self.sum.wrapping_sub(claim.hash());
        }
    }

    /// What `change` makes of the claims and of this, which is their digest.
    pub fn apply(&mut self, claimed: &mut BTreeMap<IpAddr, Voice>, change: &Claim) {
        let address = change.address.to_canonical();
        let before = match change.voice {
            Voice::Released => claimed.remove(&address),
            voice => claimed.insert(address, voice),
        };
        if let Some(voice) = before {
            self.remove(&Claim { address, voice });
        }
        self.add(change);
    }
}

/// What the sender answers for on this link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Whether this is all, or a change.
    pub kind: ClaimsKind,
    /// Of all that the sender claims, once all of this is known: the same in all parts of a whole.
    pub after: Digest,
    /// The addresses.
    pub entries: Vec<Claim>,
}

/// Whether claims are all that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimsKind {
    /// A part of all claims. Parts belong together where sender, epoch, number of parts and digest are the same.
    Whole {
        /// Which, from 0; below `parts`.
        part: u16,
        /// How many there are; at least 1.
        parts: u16,
    },
    /// What changed, in this order, since the claims had the digest `before`. Whoever knows others needs all.
    Change {
        /// Of what the sender claimed before this.
        before: Digest,
    },
}

/// What is left for the entries of claims beside everything else.
const ROOM: usize = BODY_ROOM - (FIELD_LEN + DIGEST_LEN) - (FIELD_LEN + DIGEST_LEN) - FIELD_LEN;

impl Claims {
    /// All claims, in as many messages as it takes, at least one; they fit whatever the names of the sender are.
    ///
    /// More than 65,535 messages (four million addresses) cannot be numbered: the rest is left out, and the digest
    /// shows it.
    pub fn whole(claimed: &BTreeMap<IpAddr, Voice>) -> Vec<Claims> {
        let claims = claimed.iter().map(|(address, voice)| Claim { address: *address, voice: *voice });
        let claims: Vec<Claim> = claims.filter(|claim| claim.voice != Voice::Released).collect();
        let after = Digest::of(&claims);
        let mut chunks = chunks(&claims);
        chunks.truncate(usize::from(u16::MAX));
        let parts = u16::try_from(chunks.len()).unwrap_or(u16::MAX);
        let numbered = (0..parts).zip(chunks);
        let whole = |(part, entries)| Claims { kind: ClaimsKind::Whole { part, parts }, after, entries };
        numbered.map(whole).collect()
    }

    /// What changes in claims whose digest is `before`, in as many messages as it takes, none where nothing does; they fit
    /// whatever the names of the sender are. Each change comes with what was claimed of its address so far. Each message has
    /// the digests of its own step, so each can be applied by itself, in their order.
    pub fn change(before: Digest, changes: &[(Option<Voice>, Claim)]) -> Vec<Claims> {
        let mut digest = before;
        let mut changes = changes.iter();
        let entries: Vec<Claim> = changes.clone().map(|(_, claim)| *claim).collect();
        let mut messages = Vec::new();
        for entries in chunks(&entries).into_iter().filter(|entries| !entries.is_empty()) {
            let before = digest;
            for (had, claim) in changes.by_ref().take(entries.len()) {
                had.iter().for_each(|voice| digest.remove(&Claim { voice: *voice, ..*claim }));
                digest.add(claim);
            }
            messages.push(Claims { kind: ClaimsKind::Change { before }, after: digest, entries });
        }
        messages
    }

    pub(super) fn check(&self) -> Result<(), Refusal> {
        if let ClaimsKind::Whole { part, parts } = self.kind {
            if self.entries.iter().any(|claim| claim.voice == Voice::Released) {
                return Err(Refusal::Voice);
            }
            if part >= parts {
                return Err(Refusal::Part);
            }
        }
        Ok(())
    }
}

/// The bytes that an entry takes: code of the voice and of the family, and the address.
fn size(claim: &Claim) -> usize {
    1 + super::build::address_size(claim.address)
}

/// In their order, cut where a message is full; one empty piece where there are none.
fn chunks(claims: &[Claim]) -> Vec<Vec<Claim>> {
    let (mut chunks, mut used) = (vec![Vec::new()], 0);
    for claim in claims {
        used += size(claim);
        if used > ROOM {
            chunks.push(Vec::new());
            used = size(claim);
        }
        if let Some(last) = chunks.last_mut() {
            last.push(*claim);
        }
    }
    chunks
}
