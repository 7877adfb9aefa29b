//! `L2Advertisement`: which addresses are announced by ARP and NDP, from where.

use ferrolb_core::advertisement::{Advertisement, Preference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::selector::{self, LabelSelector, SelectorProblem};
use crate::{lenient, rules};

/// What an `L2Advertisement` asks for. Every empty list means all.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "L2Advertisement",
    plural = "l2advertisements",
    namespaced,
    status = "L2AdvertisementStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Announces the addresses of pools on the local network, by ARP and NDP.",
    printcolumn(name = "IPAddressPools", type_ = "string", json_path = ".spec.ipAddressPools"),
    printcolumn(
        name = "IPAddressPool Selectors",
        type_ = "string",
        json_path = ".spec.ipAddressPoolSelectors"
    ),
    printcolumn(name = "Interfaces", type_ = "string", json_path = ".spec.interfaces"),
    printcolumn(name = "Node Selectors", type_ = "string", json_path = ".spec.nodeSelectors", priority = 10)
)]
#[expect(clippy::duplicated_attributes, reason = "several columns of one type")]
#[serde(default, rename_all = "camelCase", remote = "Self")]
pub struct L2AdvertisementSpec {
    /// The pools whose addresses are announced, by name. When this and ipAddressPoolSelectors are empty, all
    /// pools are meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "rules::pool_names")]
    pub ip_address_pools: Vec<String>,
    /// The pools whose addresses are announced, by label, in addition to those named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = rules::MAX_SELECTORS), extend("x-kubernetes-validations" = rules::unique("selector")))]
    pub ip_address_pool_selectors: Vec<LabelSelector>,
    /// The nodes that may announce; one matching selector is enough. Empty: all nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = rules::MAX_SELECTORS), extend("x-kubernetes-validations" = rules::unique("selector")))]
    pub node_selectors: Vec<LabelSelector>,
    /// The network interfaces to announce on, by exact name. Empty: all. A node that has none of them is passed
    /// by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "rules::interfaces")]
    pub interfaces: Vec<String>,
    /// The Services whose addresses are announced; one matching selector is enough. Empty: all Services.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = rules::MAX_SELECTORS), extend("x-kubernetes-validations" = rules::unique("selector")))]
    pub service_selectors: Vec<LabelSelector>,
    /// Nodes that are preferred among those that may announce: the weights of all matching entries are added,
    /// and the largest sum wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = rules::MAX_SELECTORS))]
    pub preferred_node_selectors: Vec<PreferredNodeSelector>,
    /// Why the spec could not be read, if so; never written.
    #[serde(skip)]
    pub unreadable: Option<String>,
}

/// A preference for some nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreferredNodeSelector {
    /// How much these nodes are preferred, 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub weight: i32,
    /// The nodes meant; an empty selector means all.
    pub preference: LabelSelector,
}

/// What became of an `L2Advertisement`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct L2AdvertisementStatus {
    /// Valid: whether the advertisement can be read. Effective: whether there are pools and nodes that it matches, and
    /// which of its parts match nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Why an advertisement cannot be used. It is refused as a whole: without a selector it would announce more
/// than its author allows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdvertisementProblem {
    /// The object does not follow the schema; the definitions in the cluster are not those of this version.
    #[error("spec cannot be read: {0}; correct it, and apply the CustomResourceDefinitions of this version")]
    Unreadable(String),
    /// A selector that cannot be used.
    #[error("{place}: {source}")]
    Selector {
        /// Field and place in its list, from 0.
        place: String,
        /// What is wrong with it.
        source: SelectorProblem,
    },
    /// A weight out of range.
    #[error("spec.preferredNodeSelectors[{index}].weight is {weight}: write a number from 1 to 100")]
    Weight {
        /// Its place in the list, from 0.
        index: usize,
        /// What was written.
        weight: i32,
    },
}

impl L2Advertisement {
    /// In core's words.
    ///
    /// # Errors
    /// What its author has to mend.
    pub fn to_core(&self) -> Result<Advertisement, AdvertisementProblem> {
        let spec = &self.spec;
        if let Some(why) = &spec.unreadable {
            return Err(AdvertisementProblem::Unreadable(why.clone()));
        }
        let selectors = |field: &str, list: &[LabelSelector]| {
            selector::list(&format!("spec.{field}"), list)
                .map_err(|(place, source)| AdvertisementProblem::Selector { place, source })
        };
        let preferences = spec.preferred_node_selectors.iter().enumerate();
        Ok(Advertisement {
            name: self.metadata.name.clone().unwrap_or_default(),
            pools: spec.ip_address_pools.iter().cloned().collect(),
            pool_selectors: selectors("ipAddressPoolSelectors", &spec.ip_address_pool_selectors)?,
            node_selectors: selectors("nodeSelectors", &spec.node_selectors)?,
            interfaces: spec.interfaces.iter().cloned().collect(),
            service_selectors: selectors("serviceSelectors", &spec.service_selectors)?,
            preferences: preferences.map(|(index, entry)| entry.to_core(index)).collect::<Result<_, _>>()?,
        })
    }
}

impl PreferredNodeSelector {
    fn to_core(&self, index: usize) -> Result<Preference, AdvertisementProblem> {
        let weight = match u32::try_from(self.weight) {
            Ok(weight @ 1..=100) => weight,
            _ => return Err(AdvertisementProblem::Weight { index, weight: self.weight }),
        };
        let selector = self.preference.to_core().map_err(|source| {
            let place = format!("spec.preferredNodeSelectors[{index}].preference");
            AdvertisementProblem::Selector { place, source }
        })?;
        Ok(Preference { weight, selector })
    }
}

lenient::spec!(L2AdvertisementSpec);
lenient::status!(L2AdvertisementStatus);

#[cfg(test)]
mod tests {
    use super::*;
    use ferrolb_core::selector as core;
    use serde_json::{Value, json};

    fn advertisement(spec: &Value) -> L2Advertisement {
        serde_json::from_value(json!({
            "apiVersion": "metallb.io/v1beta1", "kind": "L2Advertisement",
            "metadata": {"name": "lan"}, "spec": spec,
        }))
        .unwrap()
    }

    fn problem(spec: &Value) -> String {
        advertisement(spec).to_core().unwrap_err().to_string()
    }

    #[test]
    fn the_whole_of_an_advertisement() {
        let made = advertisement(&json!({
            "ipAddressPools": ["a", "b", "a"],
            "ipAddressPoolSelectors": [{"matchLabels": {"x": "1"}}],
            "nodeSelectors": [{"matchLabels": {"x": "2"}}],
            "interfaces": ["eth1", "eth0"],
            "serviceSelectors": [{"matchLabels": {"x": "3"}}],
            "preferredNodeSelectors": [{"weight": 100, "preference": {"matchLabels": {"x": "4"}}}],
        }));
        let x = |value: &str| core::LabelSelector {
            requirements: [core::Requirement::In("x".into(), [value.to_owned()].into())].into(),
        };
        let expected = Advertisement {
            name: "lan".into(),
            pools: ["a".to_owned(), "b".to_owned()].into(),
            pool_selectors: vec![x("1")],
            node_selectors: vec![x("2")],
            interfaces: ["eth0".to_owned(), "eth1".to_owned()].into(),
            service_selectors: vec![x("3")],
            preferences: vec![Preference { weight: 100, selector: x("4") }],
        };
        assert_eq!(made.to_core(), Ok(expected));
    }

    #[test]
    fn without_a_spec_it_announces_everything() {
        let everything = Advertisement { name: "lan".into(), ..Advertisement::default() };
        let without: L2Advertisement = serde_json::from_value(json!({"metadata": {"name": "lan"}})).unwrap();
        assert_eq!(without.to_core(), Ok(everything.clone()));
        assert_eq!(advertisement(&json!(null)).to_core(), Ok(everything.clone()));
        assert_eq!(advertisement(&json!({})).to_core(), Ok(everything));
        assert_eq!(serde_json::to_value(&without.spec).unwrap(), json!({}));
    }

    #[test]
    fn a_problem_names_the_entry_and_what_to_do() {
        let bad = json!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]});
        for field in ["ipAddressPoolSelectors", "nodeSelectors", "serviceSelectors"] {
            let words = problem(&json!({field: [{}, bad]}));
            assert!(words.starts_with(&format!("spec.{field}[1]: operator \"Gt\"")), "{words}");
        }
        assert_eq!(
            problem(&json!({"preferredNodeSelectors": [{"weight": 101, "preference": {}}]})),
            "spec.preferredNodeSelectors[0].weight is 101: write a number from 1 to 100"
        );
        let words = problem(&json!({"preferredNodeSelectors": [{"weight": 1, "preference": bad}]}));
        assert!(words.starts_with("spec.preferredNodeSelectors[0].preference: operator"), "{words}");
    }

    #[test]
    fn an_object_of_another_schema_is_a_problem_of_its_own() {
        for spec in [
            json!({"nodeSelectors": {}}),
            json!({"preferredNodeSelectors": [{"weight": 1}]}),
            json!({"preferredNodeSelectors": [{"weight": "1", "preference": {}}]}),
            json!(7),
        ] {
            let words = problem(&spec);
            assert!(words.starts_with("spec cannot be read: "), "{words}");
        }
    }
}
