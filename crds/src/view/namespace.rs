//! A Namespace: its name and labels.

use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Deserializer};

use ferrolb_core::selector::Labels;

use crate::lenient;

/// A Namespace as pools select it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, kube::Resource)]
#[resource(inherit = v1::Namespace)]
pub struct Namespace {
    /// Name and labels.
    #[serde(default, deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
}

impl Namespace {
    /// `metadata.labels`.
    pub fn labels(&self) -> Labels {
        self.metadata.labels.clone().unwrap_or_default()
    }
}

fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    lenient::metadata(deserializer, |_| false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn name_and_labels_are_all_that_is_kept() {
        let namespace: Namespace = serde_json::from_value(json!({
            "metadata": {"name": "shop", "labels": {"tier": "web", "odd": 7}, "annotations": {"a": "b"}},
            "spec": {"finalizers": ["kubernetes"]},
        }))
        .unwrap();
        assert_eq!(namespace.metadata.name.as_deref(), Some("shop"));
        assert_eq!(namespace.metadata.annotations, None);
        assert_eq!(namespace.labels(), [("tier".to_owned(), "web".to_owned())].into());
    }
}
