//! `BFDProfile`: how a BGP peer's life is watched (RFC 5880).

use kube::CustomResource;
use schemars::JsonSchema;
use serde::Serialize;

use super::{BGPStatus, unread};

/// How a BGP peer's life is watched. FerroLB has no such peers.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "BFDProfile",
    plural = "bfdprofiles",
    namespaced,
    status = "BGPStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "How a BGP peer's life is watched. Taken so that manifests for MetalLB apply; FerroLB does not speak BGP, and says so \
           in the condition NotSupported.",
    printcolumn(name = "Passive Mode", type_ = "boolean", json_path = ".spec.passiveMode"),
    printcolumn(name = "Transmit Interval", type_ = "integer", json_path = ".spec.transmitInterval"),
    printcolumn(name = "Receive Interval", type_ = "integer", json_path = ".spec.receiveInterval"),
    printcolumn(name = "Multiplier", type_ = "integer", json_path = ".spec.detectMultiplier")
)]
#[expect(clippy::duplicated_attributes, reason = "columns of one type")]
#[serde(rename_all = "camelCase")]
pub struct BFDProfileSpec {
    /// The shortest time between packets that is borne, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 60000))]
    pub receive_interval: Option<i32>,
    /// The shortest time between packets that are sent, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 60000))]
    pub transmit_interval: Option<i32>,
    /// So many packets may be missed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 255))]
    pub detect_multiplier: Option<i32>,
    /// The shortest time between echo packets, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 60000))]
    pub echo_interval: Option<i32>,
    /// Whether echo packets are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub echo_mode: Option<bool>,
    /// Whether the peer begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passive_mode: Option<bool>,
    /// The least TTL of packets from a peer that is more than one hop away.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 254))]
    pub minimum_ttl: Option<i32>,
}

unread!(BFDProfileSpec);
