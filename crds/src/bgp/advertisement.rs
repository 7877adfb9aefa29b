//! `BGPAdvertisement`: which addresses are announced by BGP, to whom, and how.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::Serialize;

use super::{BGPStatus, MAX_NAME, unread};
use crate::rules;
use crate::selector::LabelSelector;

/// The longest community as text: `large:` and three numbers of 32 bits; or the name of an alias.
const MAX_COMMUNITY: u32 = MAX_NAME;

/// Which addresses are announced by BGP. FerroLB announces none that way.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "BGPAdvertisement",
    plural = "bgpadvertisements",
    namespaced,
    status = "BGPStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Announces the addresses of pools by BGP. Taken so that manifests for MetalLB apply; FerroLB does not speak BGP, and \
           says so in the condition NotSupported.",
    printcolumn(name = "IPAddressPools", type_ = "string", json_path = ".spec.ipAddressPools"),
    printcolumn(
        name = "IPAddressPool Selectors",
        type_ = "string",
        json_path = ".spec.ipAddressPoolSelectors"
    ),
    printcolumn(name = "Peers", type_ = "string", json_path = ".spec.peers"),
    printcolumn(name = "Node Selectors", type_ = "string", json_path = ".spec.nodeSelectors", priority = 10)
)]
#[expect(clippy::duplicated_attributes, reason = "columns of one type")]
#[serde(rename_all = "camelCase")]
pub struct BGPAdvertisementSpec {
    /// The length of the prefix of IPv4 to which addresses are rolled up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32), extend("default" = 32))]
    pub aggregation_length: Option<i32>,
    /// The length of the prefix of IPv6 to which addresses are rolled up.
    #[serde(rename = "aggregationLengthV6", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 128), extend("default" = 128))]
    pub aggregation_length_v6: Option<i32>,
    /// How much the route is preferred within the autonomous system (RFC 4271, section 5.1.5).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4_294_967_295_i64))]
    pub local_pref: Option<i64>,
    /// Communities: `a:b`, `large:a:b:c`, or the name of an alias from a Community.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = rules::MAX_NAMES), inner(length(max = MAX_COMMUNITY)), default)]
    pub communities: Vec<String>,
    /// The pools whose addresses are announced, by name. When this and ipAddressPoolSelectors are empty, all are meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = rules::MAX_NAMES), inner(length(max = MAX_NAME)), default)]
    pub ip_address_pools: Vec<String>,
    /// The pools whose addresses are announced, by label, in addition to those named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = rules::MAX_SELECTORS), default)]
    pub ip_address_pool_selectors: Vec<LabelSelector>,
    /// The nodes to which the addresses are routed; one matching selector is enough. Empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = rules::MAX_SELECTORS), default)]
    pub node_selectors: Vec<LabelSelector>,
    /// The Services whose addresses are announced; one matching selector is enough. Empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = rules::MAX_SELECTORS), default)]
    pub service_selectors: Vec<LabelSelector>,
    /// The BGPPeers that are told, by name. Empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = rules::MAX_NAMES), inner(length(max = MAX_NAME)), default)]
    pub peers: Vec<String>,
}

unread!(BGPAdvertisementSpec);
