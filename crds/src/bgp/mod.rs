//! MetalLB's kinds for BGP: taken as they are, and not acted on.
//!
//! A repository with manifests for MetalLB must apply, so these kinds are there with all fields that MetalLB documents, and
//! what the schema of one field can refuse is refused. FerroLB does not speak BGP: each object is told so by its condition
//! [`NOT_SUPPORTED`], and nothing else follows from it. So their specs are written by users and read by nobody: reading one gives
//! none of it.

mod advertisement;
mod bfd_profile;
mod community;
mod peer;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lenient;

pub use advertisement::{BGPAdvertisement, BGPAdvertisementSpec};
pub use bfd_profile::{BFDProfile, BFDProfileSpec};
pub use community::{Community, CommunityAlias, CommunitySpec};
pub use peer::{
    BGPPeer, BGPPeerSpec, EarlierBGPPeer, EarlierBGPPeerSpec, EarlierNodeSelector, EarlierRequirement,
    SecretReference,
};

/// The type of the condition that says that FerroLB does not act on an object: it is True, with the reason [`NO_BGP`].
pub const NOT_SUPPORTED: &str = "NotSupported";
/// The reason of [`NOT_SUPPORTED`].
pub const NO_BGP: &str = "NoBGP";

/// What becomes of such an object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct BGPStatus {
    /// NotSupported: True, as FerroLB does not speak BGP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

lenient::status!(BGPStatus);

/// The longest name of an object (RFC 1123), and of anything that is given here by name.
const MAX_NAME: u32 = 253;
/// The longest address as text: IPv6 with a link's name.
const MAX_ADDRESS: u32 = 64;
/// The longest time as text, as `1m30s`.
const MAX_TIME: u32 = 32;

/// Reads a spec as nothing, whatever it says: nobody acts on it.
macro_rules! unread {
    ($($spec:ty),*) => { $(
        impl<'de> serde::Deserialize<'de> for $spec {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Option::<serde::de::IgnoredAny>::deserialize(deserializer).map(|_| Self::default())
            }
        }
    )* };
}

use unread;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn whatever_a_spec_says_the_object_is_read() {
        let peer: BGPPeer = serde_json::from_value(json!({
            "metadata": {"name": "router", "generation": 3}, "spec": {"myASN": "no number", "later": [1]},
            "status": {"conditions": 7},
        }))
        .unwrap();
        assert_eq!(peer.metadata.generation, Some(3));
        assert_eq!((peer.spec, peer.status), (BGPPeerSpec::default(), Some(BGPStatus::default())));
        let without: Community = serde_json::from_value(json!({"metadata": {"name": "empty"}})).unwrap();
        assert_eq!(without.spec, CommunitySpec::default());
    }
}
