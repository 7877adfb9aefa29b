//! Why a Service has no address, in words that say what to change.
//!
//! Each reason has a stable CamelCase name for programs and alerts, listed in docs/allocation.md, and a sentence for
//! people. The sentences carry no counts that change by themselves, so that they are written once.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use crate::net::Family;
use crate::quote::Quoted;
use crate::service::{ServiceKey, SharingRule};

/// So many pools are named in one sentence.
const NAMED: usize = 8;

/// Who uses an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A Service of ours.
    Service(ServiceKey),
    /// A Service that lists it in `spec.externalIPs`.
    ExternalIp(ServiceKey),
    /// A Service of another load balancer.
    OtherLoadBalancer(ServiceKey),
    /// A node.
    Node(String),
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Taken::Service(key) => write!(f, "Service {key} has it"),
            Taken::ExternalIp(key) => write!(f, "Service {key} lists it in spec.externalIPs"),
            Taken::OtherLoadBalancer(key) => write!(f, "Service {key} has it from another load balancer"),
            Taken::Node(name) => write!(f, "it is an address of node {name}"),
        }
    }
}

/// Why a Service gets no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pending {
    /// There is no usable pool.
    NoPools,
    /// No pool serves it without being asked for.
    NoPoolAdmits,
    /// The Service has no cluster IP, which decides its families.
    NoClusterIp,
    /// RequireDualStack, but a cluster IP of this family only.
    NotDualStack(Family),
    /// The request cannot be read; the text says why.
    UnreadableRequest(String),
    /// The requested pool does not exist.
    UnknownPool(String),
    /// This pool is reserved for others by its `serviceAllocation`.
    NotAdmitted(String),
    /// The requested addresses are not of the Service's families.
    RequestedFamilies {
        /// The families asked for.
        asked: BTreeSet<Family>,
        /// Those of the cluster IPs.
        has: Vec<Family>,
    },
    /// No one pool has the requested addresses.
    RequestedNowhere(Vec<IpAddr>),
    /// The pool has the requested address, but never gives it out.
    RequestedExcluded {
        /// The address.
        address: IpAddr,
        /// The pool.
        pool: String,
    },
    /// The requested addresses lie in another pool than the requested one.
    RequestedInOtherPool {
        /// The pool asked for.
        asked: String,
        /// The pool that has the addresses.
        lies_in: String,
    },
    /// A requested address is in use.
    RequestedTaken {
        /// The address.
        address: IpAddr,
        /// Who uses it.
        by: Taken,
    },
    /// A requested address is in use, and the Service would share it, but may not.
    SharingRefused {
        /// The address.
        address: IpAddr,
        /// The Service that has it.
        by: ServiceKey,
        /// The rule that keeps them apart.
        rule: SharingRule,
    },
    /// No pool has free addresses of what is needed.
    Exhausted {
        /// What is needed.
        families: Vec<Family>,
        /// Each pool tried, with what it lacks.
        lacking: Vec<(String, Vec<Lack>)>,
    },
}

/// What a pool lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// It has no addresses of this family.
    Family(Family),
    /// All its addresses of this family are in use.
    Free(Family),
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lack::Family(family) => write!(f, "has no {family} addresses"),
            Lack::Free(family) => write!(f, "every {family} address is in use"),
        }
    }
}

impl Pending {
    /// The stable name of the reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Pending::NoPools => "NoPool",
            Pending::NoPoolAdmits => "NoMatchingPool",
            Pending::NoClusterIp => "NoClusterIP",
            Pending::NotDualStack(_) => "FamilyUnavailable",
            Pending::UnreadableRequest(_) => "InvalidRequest",
            Pending::UnknownPool(_) => "PoolNotFound",
            Pending::NotAdmitted(_) => "PoolNotAllowed",
            Pending::RequestedFamilies { .. } => "RequestedFamilyMismatch",
            Pending::RequestedNowhere(_) => "AddressNotInPool",
            Pending::RequestedExcluded { .. } => "AddressExcluded",
            Pending::RequestedInOtherPool { .. } => "AddressNotInRequestedPool",
            Pending::RequestedTaken { .. } => "AddressInUse",
            Pending::SharingRefused { .. } => "SharingRefused",
            Pending::Exhausted { lacking, .. } => {
                let no_family = |lack: &Lack| matches!(lack, Lack::Family(_));
                let nowhere = lacking.iter().all(|(_, lacks)| lacks.iter().any(no_family));
                if nowhere { "FamilyUnavailable" } else { "PoolExhausted" }
            }
        }
    }
}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pending::NoPools => f.write_str("there is no IPAddressPool that can be used: create one"),
            Pending::NoPoolAdmits => f.write_str(
                "no IPAddressPool serves this Service: each has autoAssign: false or is reserved by serviceAllocation; \
                 name one by the annotation metallb.io/address-pool, or create one for it",
            ),
            Pending::NoClusterIp => f.write_str("the Service has no cluster IP, which decides its address family"),
            Pending::NotDualStack(family) => write!(
                f,
                "ipFamilyPolicy is RequireDualStack, but the Service has only an {family} cluster IP"
            ),
            Pending::UnreadableRequest(why) => f.write_str(why),
            Pending::UnknownPool(name) => {
                write!(f, "the annotation asks for IPAddressPool {}, which does not exist or cannot be used", Quoted(name))
            }
            Pending::NotAdmitted(name) => {
                write!(f, "IPAddressPool {name:?} is reserved for others by its serviceAllocation")
            }
            Pending::RequestedFamilies { asked, has } => {
                let (asked, has) = (join(asked, " and "), join(has, " and "));
                write!(f, "the requested addresses are {asked}, but the Service's cluster IPs are {has}: ask for one address of each")
            }
            Pending::RequestedNowhere(wanted) => {
                write!(f, "no one IPAddressPool has {}", join(wanted, " and "))
            }
            Pending::RequestedExcluded { address, pool } => {
                write!(f, "IPAddressPool {pool:?} never gives out {address}, by its excludeAddresses or avoidBuggyIPs")
            }
            Pending::RequestedInOtherPool { asked, lies_in } => {
                write!(f, "the requested address is of IPAddressPool {lies_in:?}, but the annotation asks for pool {}", Quoted(asked))
            }
            Pending::RequestedTaken { address, by } => write!(f, "{address} is in use: {by}"),
            Pending::SharingRefused { address, by, rule } => {
                write!(f, "{address} cannot be shared with Service {by}: {rule}")
            }
            Pending::Exhausted { families, lacking } => {
                write!(f, "no free {} address", join(families, " and "))?;
                for (index, (pool, lacks)) in lacking.iter().take(NAMED).enumerate() {
                    let mark = if index == 0 { ": " } else { "; " };
                    write!(f, "{mark}IPAddressPool {pool:?}: {}", join(lacks, ", "))?;
                }
                match lacking.len().saturating_sub(NAMED) {
                    0 => Ok(()),
                    more => write!(f, "; and {more} more"),
                }
            }
        }
    }
}

/// What the owner of a Service should know although it has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// What it asks for can never be had, so it keeps what it has; the text says what to change.
    RequestIgnored(String),
    /// It would like both families, but its pool has nothing of this one for it.
    OneFamily(Family),
}

impl Remark {
    /// The stable name of the reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Remark::RequestIgnored(_) => "RequestIgnored",
            Remark::OneFamily(_) => "SecondFamilyUnavailable",
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remark::RequestIgnored(why) => {
                write!(f, "the request cannot be met, so it keeps what it has: {why}")
            }
            Remark::OneFamily(family) => {
                write!(f, "the pool has no free {family} address; one is added when it has")
            }
        }
    }
}

fn join<T: fmt::Display>(items: impl IntoIterator<Item = T>, mark: &str) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(mark)
}
