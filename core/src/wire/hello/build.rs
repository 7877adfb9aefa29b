//! From the meaning to the bytes.

use std::net::IpAddr;
use std::time::Duration;

use pnet_packet::ethernet::EtherType;

use super::{
    Body, Claims, ClaimsKind, Digest, ETHERTYPE, HEADER_LEN, Heard, Hello, MAGIC, MAX_PAYLOAD, Message,
    ROUTINE, Refusal, State, TAG_LEN, VERSION, body, field,
};
use crate::hello_key::Key;
use crate::wire::Mac;
use crate::wire::ethernet::Ethernet;

/// Why a message cannot be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// It would have so many bytes.
    #[error("a hello of {0} bytes is longer than {MAX_PAYLOAD}; tell less in one")]
    TooLong(usize),
    /// Everybody would refuse it for this.
    #[error("nobody would read such a hello: {0}")]
    Refused(Refusal),
    /// Something is called unknown by a code that has a name: it would be read as what the name says.
    #[error("the code {0} is not unknown: use its name")]
    Known(u8),
}

/// The payload that says `message`, signed with `key`; the same for the same message.
///
/// # Errors
/// See [`BuildError`]. Nothing is left out to make it fit.
pub fn payload(message: &Message, key: &Key) -> Result<Vec<u8>, BuildError> {
    message.check().map_err(BuildError::Refused)?;
    let sender = &message.sender;
    let mut bytes = Vec::with_capacity(MAX_PAYLOAD);
    bytes.extend(MAGIC);
    bytes.push(VERSION);
    bytes.extend([0, 0]);
    bytes.extend(key.id().0.to_be_bytes());
    bytes.extend(sender.epoch.to_be_bytes());
    bytes.extend(sender.sequence.to_be_bytes());
    bytes.push(body_code(&message.body)?);
    bytes.push(if matches!(&message.body, Body::Hello(hello) if hello.routine) { ROUTINE } else { 0 });
    bytes.resize(HEADER_LEN, 0);
    let mut fields = Fields(bytes);
    fields.add(field::NODE, |out| out.extend(sender.node.bytes()));
    fields.add(field::INTERFACE, |out| out.extend(sender.interface.bytes()));
    fields.add(field::MAC, |out| out.extend(sender.mac.0));
    match &message.body {
        Body::Hello(hello) => fields.hello(hello)?,
        Body::Ask { nonce } => fields.add(field::NONCE, |out| out.extend(nonce.to_be_bytes())),
        Body::Claims(claims) => fields.claims(claims),
        Body::Want { of_epoch } => fields.add(field::OF_EPOCH, |out| out.extend(of_epoch.to_be_bytes())),
        Body::Unknown(_) => {}
    }
    let mut bytes = fields.0;
    let total = bytes.len() + TAG_LEN;
    // A longest payload is far below what the two bytes hold, as is each field of one that is no longer.
    let length =
        u16::try_from(total).ok().filter(|_| total <= MAX_PAYLOAD).ok_or(BuildError::TooLong(total))?;
    bytes[4..6].copy_from_slice(&length.to_be_bytes());
    let tag = key.tag(&bytes);
    bytes.extend(tag);
    Ok(bytes)
}

/// The Ethernet frame with this payload, not padded: the driver does that.
pub fn frame(destination: Mac, source: Mac, payload: &[u8]) -> Vec<u8> {
    Ethernet { destination, source, ethertype: EtherType(ETHERTYPE), payload }.build()
}

fn body_code(body: &Body) -> Result<u8, BuildError> {
    match body {
        Body::Hello(_) => Ok(body::HELLO),
        Body::Ask { .. } => Ok(body::ASK),
        Body::Claims(_) => Ok(body::CLAIMS),
        Body::Want { .. } => Ok(body::WANT),
        Body::Unknown(code @ body::HELLO..=body::WANT) => Err(BuildError::Known(*code)),
        Body::Unknown(code) => Ok(*code),
    }
}

/// The bytes of an address: 4 or 16.
pub(super) fn address_size(address: IpAddr) -> usize {
    if address.to_canonical().is_ipv4() { 4 } else { 16 }
}

struct Fields(Vec<u8>);

impl Fields {
    /// A field whose value `write` appends.
    fn add(&mut self, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
        self.0.extend([kind, 0, 0]);
        let start = self.0.len();
        write(&mut self.0);
        // Longer than that, the whole is too long and is never sent.
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start - 2..start].copy_from_slice(&length.to_be_bytes());
    }

    /// The same, unless there is nothing to tell.
    fn list<T>(&mut self, kind: u8, items: &[T], mut write: impl FnMut(&mut Vec<u8>, &T)) {
        if !items.is_empty() {
            self.add(kind, |out| items.iter().for_each(|item| write(out, item)));
        }
    }

    fn hello(&mut self, hello: &Hello) -> Result<(), BuildError> {
        if let State::Unknown(code) = hello.state
            && State::of(code) != hello.state
        {
            return Err(BuildError::Known(code));
        }
        let interval = millis(hello.interval).to_be_bytes();
        let rest = [hello.misses, hello.state.code(), hello.flags.bits(), hello.slice, hello.slices];
        self.add(field::BEAT, |out| {
            out.extend(interval);
            out.extend(rest);
        });
        if let Some(nonce) = hello.answers {
            self.add(field::ANSWERS, |out| out.extend(nonce.to_be_bytes()));
        }
        self.list(field::ADDRESSES, &hello.addresses, |out, one| address(out, 0, *one));
        self.list(field::LOADED, &hello.loaded, |out, id| out.extend(id.0.to_be_bytes()));
        self.digest(field::DIGEST, hello.claims);
        self.list(field::PEERS, &hello.peers, heard);
        Ok(())
    }

    fn claims(&mut self, claims: &Claims) {
        match claims.kind {
            ClaimsKind::Whole { part, parts } => self.add(field::WHOLE, |out| {
                out.extend(part.to_be_bytes());
                out.extend(parts.to_be_bytes());
            }),
            ClaimsKind::Change { before } => self.digest(field::CHANGE, before),
        }
        self.digest(field::DIGEST, claims.after);
        self.list(field::ENTRIES, &claims.entries, |out, claim| {
            address(out, claim.voice.code(), claim.address);
        });
    }

    fn digest(&mut self, kind: u8, digest: Digest) {
        self.add(kind, |out| {
            out.extend(digest.count.to_be_bytes());
            out.extend(digest.sum.to_be_bytes());
        });
    }
}

/// An address behind one byte: `mark` in the upper half, 4 or 6 in the lower.
fn address(out: &mut Vec<u8>, mark: u8, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            out.push(mark << 4 | 4);
            out.extend(address.octets());
        }
        IpAddr::V6(address) => {
            out.push(mark << 4 | 6);
            out.extend(address.octets());
        }
    }
}

fn heard(out: &mut Vec<u8>, heard: &Heard) {
    out.extend(heard.station.0.to_be_bytes());
    let epoch = Heard::short(heard.epoch.into());
    out.extend((epoch | u32::from(heard.mutual) << 31).to_be_bytes());
}

/// Rounded up, so that nobody expects the next hello before it comes. It was checked to fit.
fn millis(interval: Duration) -> u16 {
    u16::try_from(interval.as_nanos().div_ceil(1_000_000)).unwrap_or(u16::MAX)
}
