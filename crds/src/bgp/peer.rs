//! `BGPPeer`: a router to speak BGP with, in both versions that manifests use.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BGPStatus, MAX_ADDRESS, MAX_NAME, MAX_TIME, unread};
use crate::rules;
use crate::selector::LabelSelector;

/// A router to speak BGP with. FerroLB does not.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[kube(
    group = "metallb.io",
    version = "v1beta2",
    kind = "BGPPeer",
    plural = "bgppeers",
    namespaced,
    status = "BGPStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A router to speak BGP with. Taken so that manifests for MetalLB apply; FerroLB does not speak BGP, and says so in \
           the condition NotSupported.",
    printcolumn(name = "Address", type_ = "string", json_path = ".spec.peerAddress"),
    printcolumn(name = "ASN", type_ = "string", json_path = ".spec.peerASN"),
    printcolumn(name = "BFD Profile", type_ = "string", json_path = ".spec.bfdProfile"),
    printcolumn(name = "Multi Hops", type_ = "string", json_path = ".spec.ebgpMultiHop")
)]
#[expect(clippy::duplicated_attributes, reason = "columns of one type")]
#[serde(rename_all = "camelCase")]
pub struct BGPPeerSpec {
    /// The number of our autonomous system.
    #[serde(rename = "myASN")]
    #[schemars(range(min = 0, max = 4_294_967_295_i64))]
    pub my_asn: i64,
    /// The number of the peer's autonomous system.
    #[serde(rename = "peerASN", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4_294_967_295_i64))]
    pub peer_asn: Option<i64>,
    /// In place of peerASN: the same as ours (internal), or any other (external).
    #[serde(rename = "dynamicASN", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["internal", "external"]))]
    pub dynamic_asn: Option<String>,
    /// The number that this peer is told in place of myASN.
    #[serde(rename = "localASN", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_i64))]
    pub local_asn: Option<i64>,
    /// The peer's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_ADDRESS))]
    pub peer_address: Option<String>,
    /// In place of peerAddress: the interface on which the peer is the only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NAME))]
    pub interface: Option<String>,
    /// The address to speak from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_ADDRESS))]
    pub source_address: Option<String>,
    /// The peer's TCP port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16384), extend("default" = 179))]
    pub peer_port: Option<i32>,
    /// After so long without a word the session is over (RFC 4271, section 4.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_TIME))]
    pub hold_time: Option<String>,
    /// How often a word is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_TIME))]
    pub keepalive_time: Option<String>,
    /// How long is waited between attempts to connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_TIME))]
    pub connect_time: Option<String>,
    /// The router ID to tell the peer.
    #[serde(rename = "routerID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_ADDRESS))]
    pub router_id: Option<String>,
    /// The nodes that speak with the peer; one matching selector is enough. Empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = rules::MAX_SELECTORS), default)]
    pub node_selectors: Vec<LabelSelector>,
    /// The session's password (RFC 2385).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NAME))]
    pub password: Option<String>,
    /// In place of password: the Secret that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_secret: Option<SecretReference>,
    /// The BFDProfile by which the peer's life is watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NAME))]
    pub bfd_profile: Option<String>,
    /// Whether routes stay while the speaker restarts (RFC 4724).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_graceful_restart: Option<bool>,
    /// Whether the peer is more than one hop away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ebgp_multi_hop: Option<bool>,
    /// The routing table (VRF) in which the session is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NAME))]
    pub vrf: Option<String>,
    /// Out of use.
    #[serde(rename = "disableMP", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub disable_mp: Option<bool>,
    /// Whether both address families go through one session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub dual_stack_address_family: Option<bool>,
}

/// A Secret by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretReference {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NAME))]
    pub name: Option<String>,
    /// Its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NAME))]
    pub namespace: Option<String>,
}

/// The same in the version before. It is served as it is stored: there is no webhook that would convert it.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "BGPPeer",
    root = "EarlierBGPPeer",
    plural = "bgppeers",
    namespaced,
    status = "BGPStatus",
    derive = "PartialEq",
    derive = "Default",
    deprecated = "metallb.io/v1beta1 BGPPeer is deprecated: use metallb.io/v1beta2",
    doc = "A router to speak BGP with. Taken so that manifests for MetalLB apply; FerroLB does not speak BGP, and says so in \
           the condition NotSupported.",
    printcolumn(name = "Address", type_ = "string", json_path = ".spec.peerAddress"),
    printcolumn(name = "ASN", type_ = "string", json_path = ".spec.peerASN"),
    printcolumn(name = "BFD Profile", type_ = "string", json_path = ".spec.bfdProfile"),
    printcolumn(name = "Multi Hops", type_ = "string", json_path = ".spec.ebgpMultiHop")
)]
#[expect(clippy::duplicated_attributes, reason = "columns of one type")]
#[serde(rename_all = "camelCase")]
pub struct EarlierBGPPeerSpec {
    /// The number of our autonomous system.
    #[serde(rename = "myASN")]
    #[schemars(range(min = 0, max = 4_294_967_295_i64))]
    pub my_asn: i64,
    /// The number of the peer's autonomous system.
    #[serde(rename = "peerASN")]
    #[schemars(range(min = 0, max = 4_294_967_295_i64))]
    pub peer_asn: i64,
    /// The peer's address.
    #[schemars(length(max = MAX_ADDRESS))]
    pub peer_address: String,
    /// The address to speak from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_ADDRESS))]
    pub source_address: Option<String>,
    /// The peer's TCP port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 16384))]
    pub peer_port: Option<i32>,
    /// After so long without a word the session is over (RFC 4271, section 4.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_TIME))]
    pub hold_time: Option<String>,
    /// How often a word is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_TIME))]
    pub keepalive_time: Option<String>,
    /// The router ID to tell the peer.
    #[serde(rename = "routerID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_ADDRESS))]
    pub router_id: Option<String>,
    /// The nodes that speak with the peer; one matching selector is enough. Empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = rules::MAX_SELECTORS), default)]
    pub node_selectors: Vec<EarlierNodeSelector>,
    /// The session's password (RFC 2385).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NAME))]
    pub password: Option<String>,
    /// The BFDProfile by which the peer's life is watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NAME))]
    pub bfd_profile: Option<String>,
    /// Whether the peer is more than one hop away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ebgp_multi_hop: Option<bool>,
}

/// Selects nodes by their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EarlierNodeSelector {
    /// Labels that must be there with exactly these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "rules::match_labels")]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements on labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = rules::MAX_REQUIREMENTS))]
    pub match_expressions: Vec<EarlierRequirement>,
}

/// One requirement on one label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EarlierRequirement {
    /// The label's name.
    #[schemars(schema_with = "rules::label_key")]
    pub key: String,
    /// How the label is compared with the values: In, NotIn, Exists or DoesNotExist.
    #[schemars(extend("enum" = ["In", "NotIn", "Exists", "DoesNotExist"]))]
    pub operator: String,
    /// The values meant, at least one.
    #[schemars(schema_with = "rules::label_values", length(min = 1))]
    pub values: Vec<String>,
}

unread!(BGPPeerSpec, EarlierBGPPeerSpec);
