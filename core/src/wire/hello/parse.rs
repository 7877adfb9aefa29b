//! From the bytes to the meaning.

use std::net::IpAddr;
use std::time::Duration;

use pnet_packet::ethernet::{EtherType, EtherTypes};

use super::{
    Body, Claim, Claims, ClaimsKind, DIGEST_LEN, Digest, ETHERTYPE, Flags, GROUP, HEADER_LEN, HEARD_LEN,
    Heard, Hello, MAGIC, MAX_PAYLOAD, Message, ROUTINE, Received, Refusal, Sender, State, StationId, TAG_LEN,
    VERSION, Voice, body, field,
};
use crate::hello_key::{KeyId, Keys};
use crate::wire::Mac;
use crate::wire::ethernet::Ethernet;

/// Reads an Ethernet frame.
///
/// # Errors
/// The first [`Refusal`] that applies, in their order.
pub fn parse_frame(frame: &[u8], keys: &Keys) -> Result<Received, Refusal> {
    let ethernet = Ethernet::parse(frame).ok_or(Refusal::TooShort)?;
    match ethernet.ethertype {
        EtherType(ETHERTYPE) => {}
        EtherTypes::Vlan | EtherTypes::PBridge => return Err(Refusal::VlanTagged),
        _ => return Err(Refusal::NotHello),
    }
    let (source, destination) = (ethernet.source, ethernet.destination);
    if !source.is_station() {
        return Err(Refusal::Source);
    }
    if destination != GROUP && !destination.is_station() {
        return Err(Refusal::Destination);
    }
    let message = parse_payload(ethernet.payload, keys)?;
    Ok(Received { source, destination, message })
}

/// Reads a payload, of a frame or of a datagram; bytes behind the length that it names are padding and ignored.
///
/// 1. Magic and version: of what another version has behind them, nothing is known.
/// 2. The length that it names: enough for header and tag, no more than allowed, and all there.
/// 3. The key that it names: one that is loaded.
/// 4. The tag. So far nothing was allocated.
/// 5. The fields, and their values.
///
/// # Errors
/// The first [`Refusal`] that applies.
pub fn parse_payload(payload: &[u8], keys: &Keys) -> Result<Message, Refusal> {
    let (start, rest) = payload.split_at_checked(4).ok_or(Refusal::TooShort)?;
    if start[..3] != MAGIC {
        return Err(Refusal::Magic);
    }
    if start[3] != VERSION {
        return Err(Refusal::Version);
    }
    let length = usize::from(Reader(rest).u16().ok_or(Refusal::TooShort)?);
    if !(HEADER_LEN + TAG_LEN..=MAX_PAYLOAD).contains(&length) {
        return Err(Refusal::Length);
    }
    let whole = payload.get(..length).ok_or(Refusal::TooShort)?;
    let (signed, tag) = whole.split_at_checked(length - TAG_LEN).ok_or(Refusal::TooShort)?;
    let (header, fields) = signed.split_at_checked(HEADER_LEN).ok_or(Refusal::TooShort)?;
    let mut header = Reader(&header[6..]);
    let key = header.u32().and_then(|id| keys.get(KeyId(id))).ok_or(Refusal::UnknownKey)?;
    if !key.verifies(signed, tag) {
        return Err(Refusal::Tag);
    }
    let (epoch, sequence) = header.u64().zip(header.u64()).ok_or(Refusal::TooShort)?;
    let (kind, hints) = header.u8().zip(header.u8()).ok_or(Refusal::TooShort)?;
    let fields = Fields::find(fields)?;
    let sender = Sender {
        node: name(fields.need(field::NODE)?, Refusal::Node)?,
        interface: name(fields.need(field::INTERFACE)?, Refusal::Interface)?,
        mac: Mac(fields.exact(field::MAC)?),
        epoch,
        sequence,
    };
    let body = match kind {
        body::HELLO => Body::Hello(Hello { routine: hints & ROUTINE != 0, ..hello(&fields)? }),
        body::ASK => Body::Ask { nonce: u64::from_be_bytes(fields.exact(field::NONCE)?) },
        body::CLAIMS => Body::Claims(claims(&fields)?),
        body::WANT => Body::Want { of_epoch: u64::from_be_bytes(fields.exact(field::OF_EPOCH)?) },
        other => Body::Unknown(other),
    };
    let message = Message { sender, body };
    message.check()?;
    Ok(message)
}

fn name(bytes: &[u8], refusal: Refusal) -> Result<String, Refusal> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| refusal)
}

fn hello(fields: &Fields<'_>) -> Result<Hello, Refusal> {
    let [interval @ .., misses, state, flags, slice, slices] = fields.exact::<7>(field::BEAT)?;
    let answers = match fields.get(field::ANSWERS) {
        Some(_) => Some(u64::from_be_bytes(fields.exact(field::ANSWERS)?)),
        None => None,
    };
    let mut addresses = Vec::new();
    let mut told = Reader(fields.get(field::ADDRESSES).unwrap_or_default());
    while let Some(first) = told.u8() {
        // The upper half is for those who come after; it is zero.
        addresses.push(told.address(first).ok_or(Refusal::Addresses)?);
    }
    Ok(Hello {
        interval: Duration::from_millis(u16::from_be_bytes(interval).into()),
        misses,
        state: State::of(state),
        flags: Flags::of(flags),
        answers,
        addresses,
        loaded: fields.each(field::LOADED, |id: [u8; 4]| KeyId(u32::from_be_bytes(id)))?,
        claims: digest(fields.exact(field::DIGEST)?),
        slice,
        slices,
        peers: fields.each(field::PEERS, heard)?,
        routine: false,
    })
}

fn heard(bytes: [u8; HEARD_LEN]) -> Heard {
    let [a, b, c, d, e, f, g, h, epoch @ ..] = bytes;
    let epoch = u32::from_be_bytes(epoch);
    let station = StationId(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
    Heard::new(station, epoch.into(), epoch >> 31 == 1)
}

fn digest(bytes: [u8; DIGEST_LEN]) -> Digest {
    let [a, b, c, d, sum @ ..] = bytes;
    Digest { count: u32::from_be_bytes([a, b, c, d]), sum: u64::from_be_bytes(sum) }
}

fn claims(fields: &Fields<'_>) -> Result<Claims, Refusal> {
    // All where it says both: that is the safe reading, as it needs nothing known before.
    let kind = if fields.get(field::WHOLE).is_some() {
        let [a, b, c, d] = fields.exact(field::WHOLE)?;
        ClaimsKind::Whole { part: u16::from_be_bytes([a, b]), parts: u16::from_be_bytes([c, d]) }
    } else {
        ClaimsKind::Change { before: digest(fields.exact(field::CHANGE)?) }
    };
    let mut entries = Vec::new();
    let mut told = Reader(fields.get(field::ENTRIES).unwrap_or_default());
    while let Some(first) = told.u8() {
        let voice = Voice::of(first >> 4).ok_or(Refusal::Voice)?;
        entries.push(Claim { address: told.address(first).ok_or(Refusal::Addresses)?, voice });
    }
    Ok(Claims { kind, after: digest(fields.exact(field::DIGEST)?), entries })
}

/// The fields that are known here, by their types.
struct Fields<'a>([Option<&'a [u8]>; field::LAST as usize + 1]);

impl<'a> Fields<'a> {
    fn find(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let mut found = Fields([None; field::LAST as usize + 1]);
        let mut rest = Reader(bytes);
        while let Some(kind) = rest.u8() {
            let length = rest.u16().ok_or(Refusal::FieldCut)?;
            let value = rest.take(length.into()).ok_or(Refusal::FieldCut)?;
            // What is not known is skipped, also where it is there twice.
            if let Some(place) = found.0.get_mut(usize::from(kind)).filter(|_| kind != 0)
                && place.replace(value).is_some()
            {
                return Err(Refusal::FieldRepeated);
            }
        }
        Ok(found)
    }

    fn get(&self, kind: u8) -> Option<&'a [u8]> {
        self.0.get(usize::from(kind)).copied().flatten()
    }

    fn need(&self, kind: u8) -> Result<&'a [u8], Refusal> {
        self.get(kind).ok_or(Refusal::FieldMissing)
    }

    /// The value of a field that has one length.
    fn exact<const N: usize>(&self, kind: u8) -> Result<[u8; N], Refusal> {
        self.need(kind)?.try_into().map_err(|_| Refusal::FieldLength)
    }

    /// The values of a list of items of one length; none where there is no such field.
    fn each<const N: usize, T>(&self, kind: u8, read: impl Fn([u8; N]) -> T) -> Result<Vec<T>, Refusal> {
        match self.get(kind).unwrap_or_default().as_chunks::<N>() {
            (items, []) => Ok(items.iter().map(|item| read(*item)).collect()),
            _ => Err(Refusal::FieldLength),
        }
    }
}

/// Bytes that are read from the front; `None` where there are too few.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// An address whose family the lower half of `first` tells. It has one notation only.
    fn address(&mut self, first: u8) -> Option<IpAddr> {
        let address = match first & 0x0f {
            4 => IpAddr::from(self.array::<4>()?),
            6 => IpAddr::from(self.array::<16>()?),
            _ => return None,
        };
        (address.to_canonical() == address).then_some(address)
    }
}
