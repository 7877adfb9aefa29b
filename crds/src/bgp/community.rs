//! `Community`: names for BGP communities.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BGPStatus, MAX_NAME, unread};
use crate::rules;

/// Names for BGP communities. FerroLB sends none.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "Community",
    plural = "communities",
    namespaced,
    status = "BGPStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Names for BGP communities. Taken so that manifests for MetalLB apply; FerroLB does not speak BGP, and says so in the \
           condition NotSupported."
)]
pub struct CommunitySpec {
    /// The names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = rules::MAX_NAMES), default)]
    pub communities: Vec<CommunityAlias>,
}

/// One name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommunityAlias {
    /// The name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NAME))]
    pub name: Option<String>,
    /// The community: `a:b`, or `large:a:b:c`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NAME))]
    pub value: Option<String>,
}

unread!(CommunitySpec);
