//! Label and field selectors.

use serde_json::Value;

use crate::Call;
use crate::answer::{Failure, Result};

/// Which objects a list or watch is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    namespace: Option<String>,
    labels: Vec<Requirement>,
    fields: Vec<(String, bool, String)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Requirement {
    Is(String, String),
    IsNot(String, String),
    Has(String),
    HasNot(String),
}

impl Filter {
    pub(crate) fn of(call: &Call) -> Result<Self> {
        let labels = call.parameter("labelSelector").unwrap_or_default();
        let fields = call.parameter("fieldSelector").unwrap_or_default();
        let parts = |text: &str| -> Vec<String> {
            text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
        };
        Ok(Filter {
            namespace: call.namespace.clone(),
            labels: parts(labels).iter().map(|part| requirement(part)).collect::<Result<_>>()?,
            fields: parts(fields).iter().map(|part| field(part)).collect::<Result<_>>()?,
        })
    }

    /// There is a selector, so that what is left cannot be counted cheaply.
    pub(crate) fn selects(&self) -> bool {
        !self.labels.is_empty() || !self.fields.is_empty()
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let metadata = &object["metadata"];
        let text = |name: &str| metadata[name].as_str().unwrap_or_default();
        let label = |name: &str| metadata["labels"].get(name).and_then(Value::as_str);
        self.namespace.as_deref().is_none_or(|namespace| namespace == text("namespace"))
            && self.fields.iter().all(|(name, wanted, value)| (text(name) == value) == *wanted)
            && self.labels.iter().all(|requirement| match requirement {
                Requirement::Is(name, value) => label(name) == Some(value),
                Requirement::IsNot(name, value) => label(name) != Some(value),
                Requirement::Has(name) => label(name).is_some(),
                Requirement::HasNot(name) => label(name).is_none(),
            })
    }
}

fn requirement(part: &str) -> Result<Requirement> {
    let owned = |text: &str| text.trim().to_owned();
    if part.contains(['(', ')']) {
        // Sets would need a real parser; nobody here asks for them.
        return Err(Failure::bad_request(format!("this server knows selectors by equality only: {part}")));
    }
    Ok(if let Some((name, value)) = part.split_once("!=") {
        Requirement::IsNot(owned(name), owned(value))
    } else if let Some((name, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        Requirement::Is(owned(name), owned(value))
    } else if let Some(name) = part.strip_prefix('!') {
        Requirement::HasNot(owned(name))
    } else {
        Requirement::Has(owned(part))
    })
}

fn field(part: &str) -> Result<(String, bool, String)> {
    let (name, wanted, value) = if let Some((name, value)) = part.split_once("!=") {
        (name, false, value)
    } else if let Some((name, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        (name, true, value)
    } else {
        return Err(Failure::bad_request(format!("invalid field selector: {part}")));
    };
    match name.trim() {
        "metadata.name" => Ok(("name".into(), wanted, value.trim().into())),
        "metadata.namespace" => Ok(("namespace".into(), wanted, value.trim().into())),
        other => Err(Failure::bad_request(format!("field label not supported: {other}"))),
    }
}
