//! Why a Service has no address, in words that say what to change.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use crate::net::Family;
use crate::service::ServiceKey;

/// Who uses an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A Service of ours.
    Service(ServiceKey),
    /// A Service that lists it in `spec.externalIPs`.
    ExternalIp(ServiceKey),
    /// A Service of another load balancer.
    OtherLoadBalancer(ServiceKey),
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Taken::Service(key) => write!(f, "Service {key} has it"),
            Taken::ExternalIp(key) => write!(f, "Service {key} lists it in spec.externalIPs"),
            Taken::OtherLoadBalancer(key) => write!(f, "Service {key} has it from another load balancer"),
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
    /// No one pool offers the requested addresses.
    RequestedNowhere(Vec<IpAddr>),
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
    /// No pool has free addresses of what is needed.
    Exhausted {
        /// What is needed.
        families: Vec<Family>,
        /// Each pool tried, with what it lacks.
        lacking: Vec<(String, String)>,
    },
}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pending::NoPools => f.write_str("there is no IPAddressPool: create one"),
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
                write!(f, "the annotation asks for IPAddressPool {name:?}, which does not exist or cannot be used")
            }
            Pending::NotAdmitted(name) => {
                write!(f, "IPAddressPool {name:?} is reserved for others by its serviceAllocation")
            }
            Pending::RequestedFamilies { asked, has } => {
                let (asked, has) = (join(asked, " and "), join(has, " and "));
                write!(f, "the requested addresses are {asked}, but the Service's cluster IPs are {has}: ask for one address of each")
            }
            Pending::RequestedNowhere(wanted) => {
                write!(f, "no one IPAddressPool offers {}", join(wanted, " and "))
            }
            Pending::RequestedInOtherPool { asked, lies_in } => {
                write!(f, "the requested address is of IPAddressPool {lies_in:?}, but the annotation asks for pool {asked:?}")
            }
            Pending::RequestedTaken { address, by } => write!(f, "{address} is in use: {by}"),
            Pending::Exhausted { families, lacking } => {
                write!(f, "no free {} address", join(families, " and "))?;
                for (index, (pool, lack)) in lacking.iter().enumerate() {
                    let mark = if index == 0 { ": " } else { "; " };
                    write!(f, "{mark}IPAddressPool {pool:?}: {lack}")?;
                }
                Ok(())
            }
        }
    }
}

fn join<T: fmt::Display>(items: impl IntoIterator<Item = T>, mark: &str) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(mark)
}
