//! Label selectors, with the meaning that Kubernetes gives them (`metav1.LabelSelector`).

use std::collections::{BTreeMap, BTreeSet};

/// The labels of an object.
pub type Labels = BTreeMap<String, String>;

/// A label selector: all of its requirements must hold, so the empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabelSelector {
    /// What is asked of the labels.
    pub requirements: BTreeSet<Requirement>,
}

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Requirement {
    /// The label is there, with one of these values.
    In(String, BTreeSet<String>),
    /// The label is not there, or has none of these values.
    NotIn(String, BTreeSet<String>),
    /// The label is there, with any value.
    Exists(String),
    /// The label is not there.
    DoesNotExist(String),
}

impl LabelSelector {
    /// Whether `labels` meet every requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| requirement.holds(labels))
    }
}

impl Requirement {
    fn holds(&self, labels: &Labels) -> bool {
        match self {
            Requirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::DoesNotExist(key) => !labels.contains_key(key),
        }
    }
}

/// Whether at least one of `selectors` matches; an empty list asks for nothing and so matches.
///
/// That is how every list of selectors in the `metallb.io` API is read.
pub fn any_or_empty(selectors: &[LabelSelector], labels: &Labels) -> bool {
    selectors.is_empty() || selectors.iter().any(|selector| selector.matches(labels))
}

/// Labels in little space, for whoever keeps those of ten thousand objects and seldom looks at them: a map of one
/// label takes more than half a kilobyte.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackedLabels(Option<Box<str>>);

impl PackedLabels {
    /// Stands for `labels`.
    pub fn pack(labels: &Labels) -> Self {
        let mut text = String::new();
        for (key, value) in labels {
            // Neither has this character (Kubernetes, "Labels and Selectors: Syntax and character set").
            text.extend([key, "\0", value, "\0"]);
        }
        PackedLabels((!text.is_empty()).then(|| text.into()))
    }

    /// The labels.
    pub fn unpack(&self) -> Labels {
        let mut parts = self.0.as_deref().unwrap_or_default().split('\0');
        let mut labels = Labels::new();
        while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
            labels.insert(key.to_owned(), value.to_owned());
        }
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn values(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|value| (*value).to_owned()).collect()
    }

    #[test]
    fn each_operator_as_kubernetes_reads_it() {
        let have = labels(&[("tier", "web")]);
        let cases = [
            (Requirement::In("tier".into(), values(&["web", "db"])), true),
            (Requirement::In("tier".into(), values(&["db"])), false),
            (Requirement::In("zone".into(), values(&["web"])), false),
            (Requirement::NotIn("tier".into(), values(&["db"])), true),
            (Requirement::NotIn("tier".into(), values(&["web"])), false),
            // A missing label is "not in" any list.
            (Requirement::NotIn("zone".into(), values(&["a"])), true),
            (Requirement::Exists("tier".into()), true),
            (Requirement::Exists("zone".into()), false),
            (Requirement::DoesNotExist("tier".into()), false),
            (Requirement::DoesNotExist("zone".into()), true),
        ];
        for (requirement, expected) in cases {
            assert_eq!(requirement.holds(&have), expected, "{requirement:?}");
        }
    }

    #[test]
    fn requirements_are_anded_and_lists_are_ored() {
        let web = LabelSelector { requirements: [Requirement::Exists("web".into())].into() };
        let db = LabelSelector { requirements: [Requirement::Exists("db".into())].into() };
        let both =
            LabelSelector { requirements: web.requirements.union(&db.requirements).cloned().collect() };
        let have = labels(&[("web", "")]);
        assert!(!both.matches(&have));
        assert!(any_or_empty(&[db.clone(), web], &have));
        assert!(!any_or_empty(&[db], &have));
        assert!(any_or_empty(&[], &have));
        assert!(LabelSelector::default().matches(&Labels::new()));
    }

    #[test]
    fn packed_labels_are_the_same_labels() {
        let labels = |pairs: &[(&str, &str)]| -> Labels {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        for pairs in [&[][..], &[("a", "")], &[("", "")], &[("app", "web"), ("tier", ""), ("x/y", "z")]] {
            let labels = labels(pairs);
            assert_eq!(PackedLabels::pack(&labels).unpack(), labels);
        }
    }
}
