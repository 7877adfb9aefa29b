//! Label selectors as the `metallb.io` API writes them, and what they mean.

use std::collections::{BTreeMap, BTreeSet};

use ferrolb_core::quote::Quoted;
use ferrolb_core::selector as core;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules;

/// Selects objects by their labels; all that is asked must hold, and an empty selector selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that must be there with exactly these values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "rules::match_labels")]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements on labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = rules::MAX_REQUIREMENTS), extend("x-kubernetes-validations" = rules::unique("requirement")))]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// One requirement on one label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::requirement()))]
pub struct LabelSelectorRequirement {
    /// The label's name.
    #[schemars(schema_with = "rules::label_key")]
    pub key: String,
    /// How the label is compared with the values: In, NotIn, Exists or DoesNotExist.
    #[schemars(extend("enum" = ["In", "NotIn", "Exists", "DoesNotExist"]))]
    pub operator: String,
    /// The values meant; at least one for In and NotIn, none for Exists and DoesNotExist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "rules::label_values")]
    pub values: Vec<String>,
}

/// Why a selector cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorProblem {
    /// None of the four operators.
    #[error(
        "operator {} for label {} is unknown: write In, NotIn, Exists or DoesNotExist",
        Quoted(operator),
        Quoted(key)
    )]
    Operator {
        /// The label.
        key: String,
        /// What was written.
        operator: String,
    },
    /// In or NotIn without values.
    #[error("operator {operator} for label {} needs at least one value", Quoted(key))]
    NoValues {
        /// The label.
        key: String,
        /// What was written.
        operator: String,
    },
    /// Exists or DoesNotExist with values.
    #[error(
        "operator {operator} for label {} takes no values: remove them, or write In or NotIn",
        Quoted(key)
    )]
    Values {
        /// The label.
        key: String,
        /// What was written.
        operator: String,
    },
}

impl LabelSelector {
    /// In core's words.
    ///
    /// # Errors
    /// An operator that does not exist, or that does not go with its values.
    pub fn to_core(&self) -> Result<core::LabelSelector, SelectorProblem> {
        let labels = self
            .match_labels
            .iter()
            .map(|(key, value)| Ok(core::Requirement::In(key.clone(), [value.clone()].into())));
        let expressions = self.match_expressions.iter().map(LabelSelectorRequirement::to_core);
        Ok(core::LabelSelector { requirements: labels.chain(expressions).collect::<Result<_, _>>()? })
    }
}

impl LabelSelectorRequirement {
    fn to_core(&self) -> Result<core::Requirement, SelectorProblem> {
        let (key, operator) = (self.key.clone(), self.operator.clone());
        let values: BTreeSet<String> = self.values.iter().cloned().collect();
        match (operator.as_str(), values.is_empty()) {
            ("In", false) => Ok(core::Requirement::In(key, values)),
            ("NotIn", false) => Ok(core::Requirement::NotIn(key, values)),
            ("Exists", true) => Ok(core::Requirement::Exists(key)),
            ("DoesNotExist", true) => Ok(core::Requirement::DoesNotExist(key)),
            ("In" | "NotIn", true) => Err(SelectorProblem::NoValues { key, operator }),
            ("Exists" | "DoesNotExist", false) => Err(SelectorProblem::Values { key, operator }),
            _ => Err(SelectorProblem::Operator { key, operator }),
        }
    }
}

/// The selectors of the list `field`, in core's words; a problem names its place in the list.
pub(crate) fn list(
    field: &str,
    selectors: &[LabelSelector],
) -> Result<Vec<core::LabelSelector>, (String, SelectorProblem)> {
    let place = |index| move |problem| (format!("{field}[{index}]"), problem);
    selectors.iter().enumerate().map(|(index, selector)| selector.to_core().map_err(place(index))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn read(selector: Value) -> Result<core::LabelSelector, SelectorProblem> {
        serde_json::from_value::<LabelSelector>(selector).unwrap().to_core()
    }

    #[test]
    fn labels_and_expressions_together() {
        let made = read(json!({
            "matchLabels": {"tier": "web"},
            "matchExpressions": [
                {"key": "zone", "operator": "NotIn", "values": ["b", "a", "b"]},
                {"key": "ssd", "operator": "Exists"},
                {"key": "old", "operator": "DoesNotExist", "values": []},
            ],
        }));
        let expected = core::LabelSelector {
            requirements: [
                core::Requirement::In("tier".into(), ["web".to_owned()].into()),
                core::Requirement::NotIn("zone".into(), ["a".to_owned(), "b".to_owned()].into()),
                core::Requirement::Exists("ssd".into()),
                core::Requirement::DoesNotExist("old".into()),
            ]
            .into(),
        };
        assert_eq!(made, Ok(expected));
        assert_eq!(read(json!({})), Ok(core::LabelSelector::default()));
    }

    #[test]
    fn what_cannot_be_used_is_refused_in_words() {
        let of = |operator: &str, values: Value| {
            let expression = json!({"key": "zone", "operator": operator, "values": values});
            read(json!({"matchExpressions": [expression]})).unwrap_err().to_string()
        };
        assert_eq!(of("In", json!([])), "operator In for label \"zone\" needs at least one value");
        assert_eq!(
            of("Exists", json!(["a"])),
            "operator Exists for label \"zone\" takes no values: remove them, or write In or NotIn"
        );
        assert_eq!(
            of("exists", json!([])),
            "operator \"exists\" for label \"zone\" is unknown: write In, NotIn, Exists or DoesNotExist"
        );
    }

    #[test]
    fn a_problem_names_its_place() {
        let bad = LabelSelectorRequirement { key: "a".into(), operator: "In".into(), values: vec![] };
        let selectors = [
            LabelSelector::default(),
            LabelSelector { match_expressions: vec![bad], ..LabelSelector::default() },
        ];
        assert_eq!(list("spec.nodeSelectors", &selectors).unwrap_err().0, "spec.nodeSelectors[1]");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(
            key in ".{0,20}", operator in "In|NotIn|Exists|DoesNotExist|.{0,10}",
            values in prop::collection::vec(".{0,10}", 0..3),
        ) {
            let requirement = LabelSelectorRequirement { key, operator, values };
            let selector =
                LabelSelector { match_expressions: vec![requirement], ..LabelSelector::default() };
            let _ = selector.to_core();
        }
    }
}
