//! What the election reads of a Service.

use std::net::IpAddr;
use std::sync::Arc;

use super::Uid;
use crate::few::Few;
use crate::selector::PackedLabels;
use crate::service::{Role, Service};

/// A Service of ours, as far as answering for its addresses is concerned. A speaker keeps one for each of the cluster,
/// so there is nothing more in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contender {
    /// `metadata.uid`, by which events are found.
    pub uid: Uid,
    /// `metadata.creationTimestamp` in seconds since 1970.
    pub created: i64,
    /// `metadata.labels`.
    pub labels: PackedLabels,
    /// `status.loadBalancer.ingress[].ip`, in the order written; the first is hashed.
    pub held: Few<IpAddr>,
    /// Whether the status holds entries that are no address, or two of one family.
    pub held_is_broken: bool,
    /// The pool from which the controller says that it gave them (`metallb.io/ip-allocated-from-pool`).
    /// Shared, since thousands come from one.
    pub allocated_from: Option<Arc<str>>,
    /// `spec.externalTrafficPolicy: Local`: only nodes with an endpoint may answer.
    pub local_traffic_only: bool,
    /// `spec.healthCheckNodePort`: where each node's service proxy says whether it has endpoints of it there; 0 for none. Nothing
    /// is elected by it.
    pub health_port: u16,
}

impl Contender {
    /// What the election reads of `service`; `None` for one that is not ours to answer for: of another type than
    /// LoadBalancer, or of another `loadBalancerClass`. Without its `health_port`.
    pub fn of(service: Service, uid: &str) -> Option<Self> {
        (service.role == Role::Ours).then(|| Contender {
            uid: uid.into(),
            created: service.created,
            labels: PackedLabels::pack(&service.labels),
            held: service.held.into(),
            held_is_broken: service.held_is_broken,
            allocated_from: service.allocated_from.map(Arc::from),
            local_traffic_only: service.local_traffic_only,
            health_port: 0,
        })
    }
}
