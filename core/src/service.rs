//! What FerroLB reads of a Service, in its own words.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use crate::net::Family;
use crate::selector::Labels;

/// The name of a Service: namespace first, which is also the order in which they are listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl ServiceKey {
    /// The key of the Service `name` in `namespace`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        ServiceKey { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A Service as far as addresses are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub key: ServiceKey,
    /// `metadata.creationTimestamp` in seconds since 1970: the older of two holders keeps an address.
    pub created: i64,
    /// `metadata.labels`.
    pub labels: Labels,
    /// Whether it wants an address of us.
    pub role: Role,
    /// The families of `spec.clusterIPs`, in their order; empty while there are none.
    pub families: Vec<Family>,
    /// `spec.ipFamilyPolicy`.
    pub policy: FamilyPolicy,
    /// `status.loadBalancer.ingress[].ip`: what it has today, in the order written.
    pub held: Vec<IpAddr>,
    /// Whether the status holds entries that are no address, or two of one family: to be written anew.
    pub held_is_broken: bool,
    /// The pool from which the controller says that it gave them (`metallb.io/ip-allocated-from-pool`).
    pub allocated_from: Option<String>,
    /// The pool asked for (`metallb.io/address-pool`).
    pub requested_pool: Option<String>,
    /// The addresses asked for.
    pub requested: Requested,
    /// `spec.externalIPs`: addresses that the user routes to the Service, ours or not.
    pub external_ips: BTreeSet<IpAddr>,
    /// `spec.externalTrafficPolicy: Local`: only nodes with an endpoint may answer.
    pub local_traffic_only: bool,
}

/// What a Service is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `type: LoadBalancer`, of our `loadBalancerClass`: it gets an address.
    Ours,
    /// `type: LoadBalancer`, of another class: never touched, and its addresses are never given out.
    Foreign,
    /// Of another type.
    NotLoadBalanced,
}

/// `spec.ipFamilyPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FamilyPolicy {
    /// One family.
    #[default]
    SingleStack,
    /// Both where that can be had.
    PreferDualStack,
    /// Both or nothing.
    RequireDualStack,
}

/// The addresses that a Service asks for, by `metallb.io/loadBalancerIPs` or `spec.loadBalancerIP`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Requested {
    /// None: any will do.
    #[default]
    Nothing,
    /// These, in this order.
    Addresses(Vec<IpAddr>),
    /// Something that cannot be read; the text says what and how to mend it.
    Unreadable(String),
}
