//! What the brain is told, and what it asks for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ferrolb_core::lease::{Answer, Claim, Record};
use ferrolb_crds::view::{Namespace, Node, Service};
use ferrolb_crds::{
    ConfigurationState, ConfigurationStateStatus, IPAddressPool, IPAddressPoolStatus, L2Advertisement,
    L2AdvertisementStatus,
};
use ferrolb_runtime::{Note, Seen};

use super::{Report, Write};

/// The time, by two clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Since the machine was started, suspended or not (`CLOCK_BOOTTIME`): everything is timed by this one.
    pub boot: Duration,
    /// Seconds since 1970, for people.
    pub wall: i64,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The watch of Services; with the number of the list that it began with.
    Services(u64, Seen<Service>),
    /// The watch of pools.
    Pools(Seen<IPAddressPool>),
    /// The watch of namespaces.
    Namespaces(Seen<Namespace>),
    /// The watch of nodes.
    Nodes(Seen<Node>),
    /// The watch of advertisements.
    Advertisements(Seen<L2Advertisement>),
    /// The watch of what speakers report of other hosts.
    Conflicts(Seen<Report>),
    /// The watch of our `ConfigurationState`.
    States(Seen<ConfigurationState>),
    /// The watch of the Lease: what it is, or that there is none.
    Lease(Option<Record>),
    /// What a look at the Lease showed, or that there is none; `Err` if that could not be learned.
    LookedAtLease(Result<Option<Record>, ()>),
    /// The answer to a claim.
    Claimed(Answer),
    /// What became of a write.
    Written(Box<Write>, Outcome),
    /// What became of the write of a pool's status, and the pool as it was before.
    PoolWritten(Arc<IPAddressPool>, Result<Box<IPAddressPool>, String>),
    /// What became of the write of an advertisement's status, and the advertisement as it was before.
    AdvertisementWritten(Arc<L2Advertisement>, Result<Box<L2Advertisement>, String>),
    /// What became of the write of our `ConfigurationState`.
    StateWritten(Result<Box<ConfigurationState>, String>),
    /// Whether there are no pools, straight from the API server; `None` if it did not say.
    PoolsConfirmed(Option<bool>),
}

/// What became of a write.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It was done; the object as it is now.
    Done(Arc<Service>),
    /// The object had changed before.
    Superseded,
    /// The object is gone.
    Gone,
    /// The server will not do it; the text says why.
    Refused(String),
    /// The server gave no clear answer; the text says what it gave.
    Unknown(String),
    /// It was not sent, as the Lease was about to end.
    NotSent,
}

impl Outcome {
    /// What metrics and traces call it.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Done(_) => "done",
            Outcome::Superseded => "superseded",
            Outcome::Gone => "gone",
            Outcome::Refused(_) => "refused",
            Outcome::Unknown(_) => "unknown",
            Outcome::NotSent => "not_sent",
        }
    }
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write to a Service, if this one still leads; answered by [`Input::Written`].
    Write(Box<Write>),
    /// Write a pool's status; answered by [`Input::PoolWritten`].
    WritePool(Arc<IPAddressPool>, Box<IPAddressPoolStatus>),
    /// Write an advertisement's status; answered by [`Input::AdvertisementWritten`].
    WriteAdvertisement(Arc<L2Advertisement>, Box<L2AdvertisementStatus>),
    /// Write our `ConfigurationState`; answered by [`Input::StateWritten`].
    WriteState(Box<ConfigurationStateStatus>),
    /// Write the Lease; answered by [`Input::Claimed`].
    Claim(Claim),
    /// Look at the Lease; answered by [`Input::LookedAtLease`].
    LookAtLease,
    /// End the watch of Services and begin a new one by a quorum list, with this number.
    Relist(u64),
    /// Ask the API server whether there are pools; answered by [`Input::PoolsConfirmed`].
    ConfirmPools,
    /// Tell.
    Tell(Note),
}

/// What the last plan came to, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Each usable pool with, by family (IPv4, IPv6), its size and what is in use.
    pub pools: BTreeMap<String, [(u128, i64); 2]>,
    /// How many Services have, or are about to get, addresses of each pool.
    pub services: BTreeMap<String, i64>,
    /// Services that wait for an address.
    pub pending: usize,
    /// Services of which another host has an address.
    pub conflicts: usize,
}
