//! What FerroLB reads of a Service, in its own words.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use sha2::{Digest, Sha256};

use crate::net::Family;
use crate::selector::Labels;

/// The name of a Service: namespace first, which is also the order in which they are listed. In one piece of memory, since
/// there are ten thousand.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ServiceKey {
    /// Both, one after the other.
    text: Box<str>,
    /// Where the name begins.
    name: u32,
}

impl ServiceKey {
    /// The key of the Service `name` in `namespace`.
    pub fn new(namespace: impl AsRef<str>, name: impl AsRef<str>) -> Self {
        let (namespace, name) = (namespace.as_ref(), name.as_ref());
        ServiceKey { text: [namespace, name].concat().into(), name: namespace.len() as u32 }
    }

    /// `metadata.namespace`.
    pub fn namespace(&self) -> &str {
        &self.text[..self.name as usize]
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        &self.text[self.name as usize..]
    }
}

impl Ord for ServiceKey {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.namespace(), self.name()).cmp(&(other.namespace(), other.name()))
    }
}

impl PartialOrd for ServiceKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace(), self.name())
    }
}

impl fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceKey")
            .field("namespace", &self.namespace())
            .field("name", &self.name())
            .finish()
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
    /// With whom it would share an address; `None` for nobody.
    pub sharing: Option<Sharing>,
    /// The [`Sharing::terms`] under which the controller gave it its addresses (`ferrolb.io/sharing-terms`).
    pub granted_terms: Option<String>,
    /// Whether it carries a mark that only our controller makes (the condition `ferrolb.io/AddressAssigned`).
    pub marked: bool,
    /// `spec.externalIPs`: addresses that the user routes to the Service, ours or not.
    pub external_ips: BTreeSet<IpAddr>,
    /// `spec.externalTrafficPolicy: Local`: only nodes with an endpoint may answer.
    pub local_traffic_only: bool,
}

/// Under which terms a Service shares an address: `metallb.io/allow-shared-ip` and what else decides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sharing {
    /// The value of the annotation, never empty.
    pub key: String,
    /// Where its traffic may end.
    pub backends: Backends,
    /// `spec.ports[]`.
    pub ports: BTreeSet<Port>,
}

/// The backends of a Service as far as sharing is concerned: one node answers for the address, so traffic of all that
/// share it must be able to end there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backends {
    /// `externalTrafficPolicy: Cluster`: any node passes traffic on.
    Anywhere,
    /// `externalTrafficPolicy: Local` with this `spec.selector`.
    Local(BTreeMap<String, String>),
    /// `externalTrafficPolicy: Local` without a selector: where its endpoints are is not known beforehand.
    Unknown,
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The number, 1 to 65535.
    pub port: u16,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.protocol, self.port)
    }
}

/// Why two Services may not share an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SharingRule {
    /// The other one shares with nobody.
    NoKey,
    /// The keys differ.
    OtherKey,
    /// Traffic of the two may have to end on different nodes.
    Backends,
    /// Both have this port.
    Port(Port),
}

impl fmt::Display for SharingRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SharingRule::NoKey => f.write_str("it has no annotation metallb.io/allow-shared-ip"),
            SharingRule::OtherKey => {
                f.write_str("the two have different values of the annotation metallb.io/allow-shared-ip")
            }
            SharingRule::Backends => {
                f.write_str("both need externalTrafficPolicy: Cluster, or both Local with the same selector")
            }
            SharingRule::Port(port) => write!(f, "both have port {port}"),
        }
    }
}

impl Sharing {
    /// Whether it may share an address with `other`.
    ///
    /// 1. Both have the same key.
    /// 2. Both take traffic on any node, or both send it to the same pods.
    /// 3. They have no port of one protocol in common.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn with(&self, other: Option<&Sharing>) -> Result<(), SharingRule> {
        let other = other.ok_or(SharingRule::NoKey)?;
        if self.key != other.key {
            return Err(SharingRule::OtherKey);
        }
        if self.backends != other.backends || self.backends == Backends::Unknown {
            return Err(SharingRule::Backends);
        }
        match self.ports.iter().find(|port| other.ports.contains(port)) {
            Some(port) => Err(SharingRule::Port(port.clone())),
            None => Ok(()),
        }
    }

    /// A short text that stands for these terms: the first 16 hexadecimal digits of a SHA-256. It is noted on
    /// the Service, so that of two that no longer fit together the one that changed is known.
    pub fn terms(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |part: &str| {
            // With its length, so that no two lists of parts run together.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        add(&self.key);
        match &self.backends {
            Backends::Anywhere => add("Cluster"),
            Backends::Unknown => add("Local"),
            Backends::Local(selector) => {
                add("Selector");
                selector.iter().flat_map(|(key, value)| [key, value]).for_each(|part| add(part));
            }
        }
        self.ports.iter().for_each(|port| add(&port.to_string()));
        hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sharing(key: &str, backends: Backends, ports: &[u16]) -> Sharing {
        let port = |port: &u16| Port { protocol: "TCP".into(), port: *port };
        Sharing { key: key.into(), backends, ports: ports.iter().map(port).collect() }
    }

    fn local(app: &str) -> Backends {
        Backends::Local([("app".to_owned(), app.to_owned())].into())
    }

    #[test]
    fn each_rule_of_sharing() {
        let a = sharing("k", Backends::Anywhere, &[80, 443]);
        let with = |other: &Sharing| a.with(Some(other));
        assert_eq!(a.with(None), Err(SharingRule::NoKey));
        assert_eq!(with(&sharing("l", Backends::Anywhere, &[81])), Err(SharingRule::OtherKey));
        assert_eq!(with(&sharing("k", local("a"), &[81])), Err(SharingRule::Backends));
        let port = Port { protocol: "TCP".into(), port: 443 };
        assert_eq!(with(&sharing("k", Backends::Anywhere, &[443])), Err(SharingRule::Port(port)));
        assert_eq!(with(&sharing("k", Backends::Anywhere, &[81])), Ok(()));
        let udp = Sharing {
            ports: [Port { protocol: "UDP".into(), port: 80 }].into(),
            ..sharing("k", Backends::Anywhere, &[])
        };
        assert_eq!(with(&udp), Ok(()), "TCP/80 and UDP/80 are two ports");
        assert_eq!(sharing("k", local("a"), &[1]).with(Some(&sharing("k", local("a"), &[2]))), Ok(()));
        let other = sharing("k", local("b"), &[2]);
        assert_eq!(sharing("k", local("a"), &[1]).with(Some(&other)), Err(SharingRule::Backends));
        let unknown = |port| sharing("k", Backends::Unknown, &[port]);
        assert_eq!(unknown(1).with(Some(&unknown(2))), Err(SharingRule::Backends));
    }

    #[test]
    fn terms_change_with_each_part() {
        let all = [
            sharing("k", Backends::Anywhere, &[80]),
            sharing("l", Backends::Anywhere, &[80]),
            sharing("k", Backends::Unknown, &[80]),
            sharing("k", local("a"), &[80]),
            sharing("k", local("b"), &[80]),
            sharing("k", Backends::Anywhere, &[80, 81]),
        ];
        let terms: BTreeSet<String> = all.iter().map(Sharing::terms).collect();
        assert_eq!(terms.len(), all.len());
        assert!(terms.iter().all(|text| text.len() == 16));
    }
}
