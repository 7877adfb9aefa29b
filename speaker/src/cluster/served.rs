//! Endpoints on this node that its service proxy may not know yet.
//!
//! With `externalTrafficPolicy: Local` the proxy of a node delivers to the endpoints on that node alone, and drops all that comes
//! while it knows of none. It learns of a new one by a watch of its own and renews its rules now and then (kube-proxy: at most once a
//! second), so an address that moves here with the news of the endpoint would be answered for and not served for up to that long.
//! While another node serves nothing is lost by waiting: its speaker answers until this one claims (`docs/failover.md`, rule 13).
//! Where no other one can, or does, this node answers at once.
//!
//! What the proxy has it says itself, at the Service's `spec.healthCheckNodePort`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ferrolb_core::service::ServiceKey;

/// To be asked of this node's proxy: whether it serves a Service's endpoints here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The Service.
    pub service: Arc<ServiceKey>,
    /// Its number: an answer to an earlier question about the same Service counts no more.
    pub number: u64,
    /// Where it is asked: `spec.healthCheckNodePort`.
    pub port: u16,
    /// The addresses of this node.
    pub addresses: Vec<IpAddr>,
}

/// The Services whose endpoints on this node its proxy may not have yet.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    of: BTreeMap<Arc<ServiceKey>, u64>,
    last: u64,
}

impl Awaited {
    /// From now on an answer to the question of the number returned is waited for.
    pub(super) fn begin(&mut self, service: Arc<ServiceKey>) -> u64 {
        self.last += 1;
        self.of.insert(service, self.last);
        self.last
    }

    /// Whether one is.
    pub(super) fn has(&self, service: &ServiceKey) -> bool {
        self.of.contains_key(service)
    }

    /// There is nothing to wait for any more.
    pub(super) fn forget(&mut self, service: &ServiceKey) {
        self.of.remove(service);
    }

    /// The question of this number was answered; returns whether it is the last one about the Service.
    pub(super) fn end(&mut self, service: &ServiceKey, number: u64) -> bool {
        self.of.get(service) == Some(&number) && self.of.remove(service).is_some()
    }
}
