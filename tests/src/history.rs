//! What the Services of a cluster showed, event by event, and whether it was ever wrong.
//!
//! ```text
//!   recorder: list, then a watch without gaps ──► [Event] ──► check ──► [Fault]
//! ```
//!
//! [`check`] is a function of the events alone. It knows nothing of how the controller decides, so it can be
//! wrong with it in no common way: it looks at what every other reader of the API saw, at every moment.
//!
//! - At no moment do two Services hold one address, unless both have the same `allow-shared-ip`, which is not
//!   empty, and no port of one protocol in common.
//! - A Service that has an address keeps it until it is deleted or becomes another type, or until something
//!   happens that the caller names: an edit of its pool, say.
//! - The events themselves are whole: in order, and none is missing that would show.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;

use crate::scene::shown;

/// Services with equal values may share an address; the second is the spelling before MetalLB 0.14.9.
const ALLOW_SHARED_IP: [&str; 2] = ["metallb.io/allow-shared-ip", "metallb.universe.tf/allow-shared-ip"];

/// One change of one Service.
#[derive(Clone, Debug)]
pub struct Event {
    /// The cluster's version (of etcd) at which it happened.
    pub version: u64,
    /// The Service as it was after it, or at its end.
    pub service: Service,
    /// Whether this is its end.
    pub gone: bool,
}

/// A Service that has an address less than before, at once and without an end of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// When.
    pub version: u64,
    /// Which Service, as namespace/name.
    pub service: String,
    /// What it had.
    pub had: Vec<IpAddr>,
    /// What it has now.
    pub has: Vec<IpAddr>,
}

/// Something that should never happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// From this version on two Services held one address, and may not share it.
    Clash {
        /// When it began.
        version: u64,
        /// The address.
        address: IpAddr,
        /// Both, in the order in which they got it.
        services: [String; 2],
        /// Why they may not share it.
        why: String,
    },
    /// A Service lost an address for no reason that is known here.
    Lost(Loss),
    /// The events are not all, or not in order: nothing can be said of such a history.
    Broken {
        /// At which event.
        version: u64,
        /// Of which Service.
        service: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Clash { version, address, services: [first, second], why } => {
                write!(f, "at {version}: {address} is held by {first} and by {second}, but {why}")
            }
            Fault::Lost(Loss { version, service, had, has }) => {
                write!(f, "at {version}: {service} lost what it had: {had:?} became {has:?}")
            }
            Fault::Broken { version, service, why } => {
                write!(f, "at {version}: the record of {service} is broken: {why}")
            }
        }
    }
}

/// All that was wrong, in order. `may_lose` says which losses had a reason.
///
/// A clash is told once, when it begins. Whoever edits `allow-shared-ip` or ports of Services that share an
/// address makes a clash by that, and finds it here.
pub fn check(events: &[Event], may_lose: impl Fn(&Loss) -> bool) -> Vec<Fault> {
    let mut checker = Checker::new(may_lose);
    for event in events {
        checker.step(event);
    }
    checker.faults
}

/// What matters of a Service.
#[derive(Clone, Debug)]
struct Seen {
    name: String,
    /// Of type LoadBalancer, and nobody asked for its deletion.
    stays: bool,
    /// What it holds: nothing, unless it is of type LoadBalancer.
    held: Vec<IpAddr>,
    sharing: String,
    ports: BTreeSet<(String, i32)>,
}

struct Checker<F> {
    may_lose: F,
    /// By uid: a later Service of the same name is another one.
    services: BTreeMap<String, Seen>,
    /// The uid of the Service that has this name now.
    names: BTreeMap<String, String>,
    /// Who holds each address, in the order in which they got it.
    holders: BTreeMap<IpAddr, Vec<String>>,
    /// The clashes of this moment, by address and both uids.
    clashes: BTreeSet<(IpAddr, String, String)>,
    version: u64,
    faults: Vec<Fault>,
}

impl<F: Fn(&Loss) -> bool> Checker<F> {
    fn new(may_lose: F) -> Self {
        Checker {
            may_lose,
            services: BTreeMap::new(),
            names: BTreeMap::new(),
            holders: BTreeMap::new(),
            clashes: BTreeSet::new(),
            version: 0,
            faults: Vec::new(),
        }
    }

    fn step(&mut self, event: &Event) {
        let now = Seen::of(&event.service);
        let uid = event.service.metadata.uid.clone().unwrap_or_default();
        self.is_whole(event, &uid, &now.name);

        let before = self.services.remove(&uid);
        self.names.remove(&now.name);
        let held = if event.gone { Vec::new() } else { now.held.clone() };
        if let Some(before) = before {
            self.kept(event, &before, &now);
            for address in before.held.iter().filter(|address| !held.contains(address)) {
                if let Some(holders) = self.holders.get_mut(address) {
                    holders.retain(|holder| *holder != uid);
                }
            }
        }
        for address in held {
            let holders = self.holders.entry(address).or_default();
            if !holders.contains(&uid) {
                holders.push(uid.clone());
            }
        }
        if !event.gone {
            self.names.insert(now.name.clone(), uid.clone());
            self.services.insert(uid.clone(), now);
        }
        self.shares(event.version, &uid);
    }

    /// Looks for what shows that events are missing.
    fn is_whole(&mut self, event: &Event, uid: &str, name: &str) {
        let mut broken = |why| {
            let service = name.to_owned();
            self.faults.push(Fault::Broken { version: event.version, service, why });
        };
        if event.version <= self.version {
            broken("its version is not above that of the event before");
        }
        self.version = event.version;
        if event.gone && !self.services.contains_key(uid) {
            broken("it ended, but was never there");
        }
        if self.names.get(name).is_some_and(|other| other != uid) {
            broken("another one of its name has not ended");
        }
    }

    /// Looks for a loss.
    fn kept(&mut self, event: &Event, before: &Seen, now: &Seen) {
        let lost = before.held.iter().any(|address| !now.held.contains(address));
        if event.gone || !before.stays || !now.stays || !lost {
            return;
        }
        let loss = Loss {
            version: event.version,
            service: now.name.clone(),
            had: before.held.clone(),
            has: now.held.clone(),
        };
        if !(self.may_lose)(&loss) {
            self.faults.push(Fault::Lost(loss));
        }
    }

    /// Looks at everyone with whom this Service holds an address; forgets the clashes that have ended.
    fn shares(&mut self, version: u64, uid: &str) {
        let before = std::mem::take(&mut self.clashes);
        let (ours, others): (BTreeSet<_>, BTreeSet<_>) =
            before.into_iter().partition(|(_, one, other)| one == uid || other == uid);
        self.clashes = others;
        let Some(seen) = self.services.get(uid) else { return };
        for address in &seen.held {
            for holder in self.holders.get(address).into_iter().flatten().filter(|holder| *holder != uid) {
                let Some(other) = self.services.get(holder) else { continue };
                let Some(why) = seen.may_not_share(other) else { continue };
                let (one, two) = (holder.clone().min(uid.to_owned()), holder.clone().max(uid.to_owned()));
                let clash = (*address, one, two);
                if !ours.contains(&clash) {
                    let services = [other.name.clone(), seen.name.clone()];
                    self.faults.push(Fault::Clash { version, address: *address, services, why });
                }
                self.clashes.insert(clash);
            }
        }
    }
}

impl Seen {
    fn of(service: &Service) -> Self {
        let (metadata, spec) = (&service.metadata, service.spec.as_ref());
        let balanced = spec.and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer");
        let annotations = metadata.annotations.as_ref();
        let sharing = ALLOW_SHARED_IP.iter().find_map(|name| annotations?.get(*name));
        let ports = spec.into_iter().flat_map(|spec| spec.ports.iter().flatten());
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        Seen {
            name: format!("{namespace}/{}", metadata.name.as_deref().unwrap_or_default()),
            stays: balanced && metadata.deletion_timestamp.is_none(),
            held: if balanced { shown(service) } else { Vec::new() },
            sharing: sharing.cloned().unwrap_or_default(),
            ports: ports
                .map(|port| (port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()), port.port))
                .collect(),
        }
    }

    /// Why these two may not have one address; `None` if they may.
    fn may_not_share(&self, other: &Seen) -> Option<String> {
        if self.sharing.is_empty() || self.sharing != other.sharing {
            return Some(format!(
                "their allow-shared-ip is {:?} and {:?}: not the same, or empty",
                other.sharing, self.sharing
            ));
        }
        let (protocol, port) = self.ports.intersection(&other.ports).next()?;
        Some(format!("both have port {protocol} {port}"))
    }
}

#[cfg(test)]
mod tests;
