//! The hello: how speakers hear each other, and tell what they claim, on the link that carries the addresses.
//!
//! ```text
//!  0                6                12     14
//! +----------------+----------------+------+------ Ethernet, which the UDP mode does without
//! | destination    | source         | 88b5 |
//! +----------+---+-+------+---------+------+------ header, 32 bytes, all integers big-endian
//! | "FLB"    | 1 | length | key id         |
//! +----------+---+--------+----------------+
//! | epoch of the sender, 8 bytes           |
//! +----------------------------------------+
//! | sequence, 8 bytes                      |
//! +------+---------------------------------+
//! | body | zero, 5 bytes                   |
//! +------+--------+---------------+--------+------ fields, as many as there are
//! | type | length | value         |
//! +------+--------+---------------+--------------- the last 32 bytes
//! | HMAC-SHA-256 over all from "FLB"       |
//! +----------------------------------------+------ padding, which `length` leaves out
//! ```
//!
//! `docs/hello.md` has every byte. Nothing behind the header is looked at, and nothing is allocated, before the tag was
//! found right: whoever has no key costs one HMAC a frame, at most.
//!
//! A newer speaker of the same version may add fields and kinds of bodies: what is unknown here is skipped. What would
//! change the meaning of what is known needs a new version.

mod build;
mod claims;
mod parse;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::Mac;
use crate::hello_key::KeyId;

pub use build::{BuildError, frame, payload};
pub use claims::{Claim, Claims, ClaimsKind, Digest, Voice};
pub use parse::{parse_frame, parse_payload};

/// IEEE 802 Local Experimental Ethertype 1: not to leave the network, and assigned to nobody.
pub const ETHERTYPE: u16 = 0x88b5;

/// The group of all speakers: multicast (lowest bit of the first octet) and locally administered (the next one).
pub const GROUP: Mac = Mac([0x03, 0x46, 0x4c, 0x42, 0x00, 0x01]);

/// The version of the frame that is built, and the only one that is read.
pub const VERSION: u8 = 1;

/// The longest payload, tag included: what UDP over IPv4 carries in an Ethernet frame of 1,500 bytes.
pub const MAX_PAYLOAD: usize = 1472;

/// The shortest and the longest interval between hellos.
pub const INTERVAL: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_millis(10_000);

/// How many hellos may be missed, at least and at most.
pub const MISSES: std::ops::RangeInclusive<u8> = 2..=20;

/// So many addresses of its own a node tells at most.
pub const MOST_ADDRESSES: usize = 4;

/// The longest name of a node (a DNS subdomain, RFC 1123) and of an interface (`IFNAMSIZ` of Linux less the zero byte).
pub const LONGEST_NODE: usize = 253;
/// See [`LONGEST_NODE`].
pub const LONGEST_INTERFACE: usize = 15;

/// What each payload begins with.
pub const MAGIC: [u8; 3] = *b"FLB";
/// Where in the payload the kind of body stands, one byte, and behind it a byte of hints for whoever reads it.
pub const KIND_AT: usize = 26;
/// These two bytes of a hello that is [`Hello::routine`], under [`ROUTINE_MASK`].
pub const ROUTINE_HELLO: u16 = (body::HELLO as u16) << 8 | ROUTINE as u16;
/// See [`ROUTINE_HELLO`].
pub const ROUTINE_MASK: u16 = 0xff00 | ROUTINE as u16;
/// The hint that a hello is routine.
const ROUTINE: u8 = 1;
const HEADER_LEN: usize = 32;
const TAG_LEN: usize = 32;
/// Type and length in front of each field.
const FIELD_LEN: usize = 3;

/// The types of fields. What is not here is skipped.
mod field {
    pub(super) const NODE: u8 = 1;
    pub(super) const INTERFACE: u8 = 2;
    pub(super) const MAC: u8 = 3;
    pub(super) const BEAT: u8 = 4;
    pub(super) const ANSWERS: u8 = 5;
    pub(super) const ADDRESSES: u8 = 6;
    pub(super) const LOADED: u8 = 7;
    pub(super) const DIGEST: u8 = 8;
    pub(super) const PEERS: u8 = 9;
    pub(super) const NONCE: u8 = 10;
    pub(super) const WHOLE: u8 = 11;
    pub(super) const CHANGE: u8 = 12;
    pub(super) const ENTRIES: u8 = 13;
    pub(super) const OF_EPOCH: u8 = 14;
    /// The highest.
    pub(super) const LAST: u8 = OF_EPOCH;
}

/// The kinds of bodies.
mod body {
    pub(super) const HELLO: u8 = 1;
    pub(super) const ASK: u8 = 2;
    pub(super) const CLAIMS: u8 = 3;
    pub(super) const WANT: u8 = 4;
}

const NODE_FIELD: usize = FIELD_LEN + LONGEST_NODE;
const INTERFACE_FIELD: usize = FIELD_LEN + LONGEST_INTERFACE;
const MAC_FIELD: usize = FIELD_LEN + 6;
const DIGEST_LEN: usize = 12;
const BEAT_LEN: usize = 7;
const HEARD_LEN: usize = 12;

/// What is left for a body beside the longest names.
const BODY_ROOM: usize = MAX_PAYLOAD - HEADER_LEN - TAG_LEN - NODE_FIELD - INTERFACE_FIELD - MAC_FIELD;

/// So many peers fit into a hello, whatever else is in it. More are told in slices.
pub const MOST_HEARD: usize = (BODY_ROOM
    - (FIELD_LEN + BEAT_LEN)
    - (FIELD_LEN + 8)
    - (FIELD_LEN + MOST_ADDRESSES * 17)
    - (FIELD_LEN + crate::hello_key::MOST_KEYS * 4)
    - (FIELD_LEN + DIGEST_LEN)
    - FIELD_LEN)
    / HEARD_LEN;

/// What stands for a node's interface in the lists of peers: the first 8 bytes of SHA-256 over `ferrolb station`, a zero
/// byte, the node's name, a zero byte and the interface's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StationId(pub u64);

impl StationId {
    /// That of the interface `interface` of the node `node`.
    pub fn of(node: &str, interface: &str) -> Self {
        let hash = Sha256::new().chain_update(b"ferrolb station\0").chain_update(node);
        let hash = hash.chain_update([0]).chain_update(interface).finalize();
        StationId(first_eight(&hash))
    }
}

impl fmt::Display for StationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

fn first_eight(hash: &[u8]) -> u64 {
    hash.iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// What one speaker says on one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub sender: Sender,
    /// What is said.
    pub body: Body,
}

/// Who says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The name of the node, 1 to [`LONGEST_NODE`] bytes without control characters.
    pub node: String,
    /// The name of the interface on that node, 1 to [`LONGEST_INTERFACE`] bytes without control characters.
    pub interface: String,
    /// The interface's Ethernet address, of one station. The source of the frame may be another one, where a bond
    /// rewrites it, and the UDP mode has none.
    pub mac: Mac,
    /// Chosen anew at each start of the speaker: what it said before counts no longer.
    pub epoch: u64,
    /// Higher in each message than in the one before, of the same epoch.
    pub sequence: u64,
}

impl Sender {
    /// What stands for the sender in the lists of peers.
    pub fn station(&self) -> StationId {
        StationId::of(&self.node, &self.interface)
    }
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// "I am here", at each interval.
    Hello(Hello),
    /// "Are you there?" To be answered by a hello with this nonce, to the asker, at once.
    Ask {
        /// A number that the asker has not used before.
        nonce: u64,
    },
    /// What the sender answers for on this link.
    Claims(Claims),
    /// "Tell all that you claim": for the speaker that has this epoch.
    Want {
        /// The epoch of the one who is asked.
        of_epoch: u64,
    },
    /// Something that only newer speakers say; the sender counts as heard all the same.
    Unknown(u8),
}

/// "I am here."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The next hello follows after so long; within [`INTERVAL`], told in milliseconds, rounded up.
    pub interval: Duration,
    /// After so many intervals without a hello the sender counts as gone; within [`MISSES`].
    pub misses: u8,
    /// What the sender is about.
    pub state: State,
    /// What keeps it from being a good owner.
    pub flags: Flags,
    /// The nonce of the [`Body::Ask`] that this answers.
    pub answers: Option<u64>,
    /// The node's own addresses on this link, at most [`MOST_ADDRESSES`].
    pub addresses: Vec<IpAddr>,
    /// The keys that the sender accepts, at most [`crate::hello_key::MOST_KEYS`].
    pub loaded: Vec<KeyId>,
    /// Of all that the sender claims on this link.
    pub claims: Digest,
    /// Which part of the list of peers this is: below `slices`.
    pub slice: u8,
    /// In how many hellos that list is told; at least 1.
    pub slices: u8,
    /// Those that the sender hears on this link, in this slice.
    pub peers: Vec<Heard>,
    /// Whether the sender told all the same in the hello before (of this slice), so that nobody is in a hurry to read it. It
    /// stands in the header, behind [`KIND_AT`], where a filter in the kernel finds it.
    pub routine: bool,
}

/// What a speaker is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It listens and claims nothing yet. (1)
    Starting,
    /// It does its work. (2)
    Active,
    /// It gives its addresses up: the node goes. (3)
    Leaving,
    /// It ends, and its node stays: somebody may stand in. (4)
    Away,
    /// Something that only newer speakers are about.
    Unknown(u8),
}

impl State {
    fn code(self) -> u8 {
        match self {
            State::Starting => 1,
            State::Active => 2,
            State::Leaving => 3,
            State::Away => 4,
            State::Unknown(code) => code,
        }
    }

    fn of(code: u8) -> Self {
        match code {
            1 => State::Starting,
            2 => State::Active,
            3 => State::Leaving,
            4 => State::Away,
            code => State::Unknown(code),
        }
    }
}

/// What keeps a speaker from being a good owner. Bits that are unknown here are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flags {
    /// Traffic that comes to the node would not be served. (bit 0)
    pub unfit: bool,
    /// What it knows from the API may be out of date. (bit 1)
    pub stale: bool,
    /// It found that it had been stopped for a while, and answers nothing yet. (bit 2)
    pub paused: bool,
}

impl Flags {
    fn bits(self) -> u8 {
        u8::from(self.unfit) | u8::from(self.stale) << 1 | u8::from(self.paused) << 2
    }

    fn of(bits: u8) -> Self {
        Flags { unfit: bits & 1 != 0, stale: bits & 2 != 0, paused: bits & 4 != 0 }
    }
}

/// A peer that the sender of a hello hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Heard {
    /// Which.
    pub station: StationId,
    /// The low 31 bits of its epoch; see [`Heard::new`].
    pub epoch: u32,
    /// Whether that peer's hellos list the sender.
    pub mutual: bool,
}

impl Heard {
    /// A peer with this epoch.
    pub fn new(station: StationId, epoch: u64, mutual: bool) -> Self {
        Heard { station, epoch: Heard::short(epoch), mutual }
    }

    /// The part of an epoch that lists of peers tell: the low 31 bits. Two starts of one speaker have epochs that differ
    /// in it.
    pub fn short(epoch: u64) -> u32 {
        // Masked, so that it fits.
        u32::try_from(epoch & u64::from(Heard::EPOCH)).unwrap_or(Heard::EPOCH)
    }

    /// Whether this is the interface `station` with its epoch `epoch`.
    pub fn is(&self, station: StationId, epoch: u64) -> bool {
        self.station == station && self.epoch == Heard::short(epoch)
    }

    const EPOCH: u32 = u32::MAX >> 1;
}

/// A message with where its frame came from and went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The Ethernet source, a station. The tag does not cover it.
    pub source: Mac,
    /// The Ethernet destination, [`GROUP`] or a station. The tag does not cover it.
    pub destination: Mac,
    /// What was said.
    pub message: Message,
}

/// Why bytes are no hello that anybody may act on.
///
/// The order is that of the checks: what is below [`Refusal::Tag`] was signed by somebody who has the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// Shorter than the Ethernet header, than header and tag, or than the length that it names.
    TooShort,
    /// Tagged in the buffer (802.1Q 0x8100 or 802.1ad 0x88a8): it belongs to another link than this.
    VlanTagged,
    /// Of another ethertype.
    NotHello,
    /// The Ethernet source is a group, broadcast or zero.
    Source,
    /// The Ethernet destination is neither the group of speakers nor a station.
    Destination,
    /// It does not begin with `FLB`: somebody else uses the ethertype or the port.
    Magic,
    /// Of another version than [`VERSION`].
    Version,
    /// It names a length that is less than header and tag, or more than [`MAX_PAYLOAD`].
    Length,
    /// Signed with a key that is not loaded.
    UnknownKey,
    /// The tag is wrong: forged, or changed on its way.
    Tag,
    /// A field goes beyond the end.
    FieldCut,
    /// A field is there twice.
    FieldRepeated,
    /// A field that such a message must have is not there.
    FieldMissing,
    /// A field has another length than its type.
    FieldLength,
    /// The node's name is empty, too long, not UTF-8, or has control characters.
    Node,
    /// The interface's name is.
    Interface,
    /// The sender's Ethernet address is a group, broadcast or zero.
    SenderMac,
    /// The interval is not within [`INTERVAL`].
    Interval,
    /// The number of misses is not within [`MISSES`].
    Misses,
    /// The slice is not below the number of slices.
    Slice,
    /// An address is cut, of no known family, or IPv4 in the notation of IPv6; or a node tells more than
    /// [`MOST_ADDRESSES`].
    Addresses,
    /// More keys are loaded than [`crate::hello_key::MOST_KEYS`].
    Loaded,
    /// An address is claimed in no known way, or one among all claims is told as released.
    Voice,
    /// The part is not below the number of parts.
    Part,
}

impl Refusal {
    /// All of them, in their order.
    pub const ALL: [Refusal; 24] = [
        Refusal::TooShort,
        Refusal::VlanTagged,
        Refusal::NotHello,
        Refusal::Source,
        Refusal::Destination,
        Refusal::Magic,
        Refusal::Version,
        Refusal::Length,
        Refusal::UnknownKey,
        Refusal::Tag,
        Refusal::FieldCut,
        Refusal::FieldRepeated,
        Refusal::FieldMissing,
        Refusal::FieldLength,
        Refusal::Node,
        Refusal::Interface,
        Refusal::SenderMac,
        Refusal::Interval,
        Refusal::Misses,
        Refusal::Slice,
        Refusal::Addresses,
        Refusal::Loaded,
        Refusal::Voice,
        Refusal::Part,
    ];

    /// Whether whoever sent it has a key: what is wrong with it is a mistake and not an attack.
    pub fn was_signed(self) -> bool {
        self > Refusal::Tag
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::TooShort => "too_short",
            Refusal::VlanTagged => "vlan_tagged",
            Refusal::NotHello => "not_hello",
            Refusal::Source => "source_mac",
            Refusal::Destination => "destination_mac",
            Refusal::Magic => "magic",
            Refusal::Version => "version",
            Refusal::Length => "length",
            Refusal::UnknownKey => "unknown_key",
            Refusal::Tag => "tag",
            Refusal::FieldCut => "field_cut",
            Refusal::FieldRepeated => "field_repeated",
            Refusal::FieldMissing => "field_missing",
            Refusal::FieldLength => "field_length",
            Refusal::Node => "node",
            Refusal::Interface => "interface",
            Refusal::SenderMac => "sender_mac",
            Refusal::Interval => "interval",
            Refusal::Misses => "misses",
            Refusal::Slice => "slice",
            Refusal::Addresses => "addresses",
            Refusal::Loaded => "loaded",
            Refusal::Voice => "voice",
            Refusal::Part => "part",
        })
    }
}

/// A name is there, not too long, and can be shown on a line.
fn check_name(name: &str, longest: usize, refusal: Refusal) -> Result<(), Refusal> {
    let fine = !name.is_empty() && name.len() <= longest && !name.chars().any(char::is_control);
    if fine { Ok(()) } else { Err(refusal) }
}

impl Message {
    /// What is wrong with the values, in the order of [`Refusal`]; the same for what is built and what is read.
    fn check(&self) -> Result<(), Refusal> {
        let Sender { node, interface, mac, .. } = &self.sender;
        check_name(node, LONGEST_NODE, Refusal::Node)?;
        check_name(interface, LONGEST_INTERFACE, Refusal::Interface)?;
        if !mac.is_station() {
            return Err(Refusal::SenderMac);
        }
        match &self.body {
            Body::Hello(hello) => hello.check(),
            Body::Claims(claims) => claims.check(),
            Body::Ask { .. } | Body::Want { .. } | Body::Unknown(_) => Ok(()),
        }
    }
}

impl Hello {
    fn check(&self) -> Result<(), Refusal> {
        let all = [
            (INTERVAL.contains(&self.interval), Refusal::Interval),
            (MISSES.contains(&self.misses), Refusal::Misses),
            (self.slice < self.slices, Refusal::Slice),
            (self.addresses.len() <= MOST_ADDRESSES, Refusal::Addresses),
            (self.loaded.len() <= crate::hello_key::MOST_KEYS, Refusal::Loaded),
        ];
        all.into_iter().find(|(fine, _)| !fine).map_or(Ok(()), |(_, refusal)| Err(refusal))
    }
}

#[cfg(test)]
mod tests;
