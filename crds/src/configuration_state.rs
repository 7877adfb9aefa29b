//! `ConfigurationState`: whether a program of ours could use its configuration, for tools that wait for that.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::de::{Deserializer, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::lenient;

/// Nothing: the object is all status.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "ConfigurationState",
    plural = "configurationstates",
    namespaced,
    status = "ConfigurationStateStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Whether a component could use its configuration. Written by the component, not by users.",
    printcolumn(name = "Result", type_ = "string", json_path = ".status.result"),
    printcolumn(name = "ErrorSummary", type_ = "string", json_path = ".status.errorSummary")
)]
#[expect(clippy::duplicated_attributes, reason = "two columns of one type")]
pub struct ConfigurationStateSpec {}

impl<'de> Deserialize<'de> for ConfigurationStateSpec {
    /// Reads anything, and nothing: for a field that is missing serde asks for an option, and takes `None`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<IgnoredAny>::deserialize(deserializer).map(|_| ConfigurationStateSpec {})
    }
}

/// What a component made of its configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct ConfigurationStateStatus {
    /// Whether all of it could be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ConfigurationResult")]
    pub result: Option<ConfigurationResult>,
    /// What is wrong, one line for each mistake; empty if nothing is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error_summary: String,
    /// What each part of the component says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Whether a configuration could be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConfigurationResult {
    /// All of it.
    Valid,
    /// Not all: errorSummary says what.
    Invalid,
    /// Not looked at yet.
    Unknown,
}

lenient::status!(ConfigurationStateStatus);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_without_a_spec_is_read() {
        let state: ConfigurationState = serde_json::from_value(json!({
            "metadata": {"name": "controller"}, "status": {"result": "Invalid", "errorSummary": "a\nb"},
        }))
        .unwrap();
        let status = state.status.unwrap();
        assert_eq!(status.result, Some(ConfigurationResult::Invalid));
        assert_eq!(status.error_summary, "a\nb");
    }
}
