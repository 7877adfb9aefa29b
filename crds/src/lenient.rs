//! Reading without refusing: a value of an unexpected type becomes the default of what was expected.
//!
//! A list of objects is read as one document, so one object that cannot be read would hide all the others.
//! The API server checks the types of what it stores; these helpers are for what a later version, or an
//! aggregated API, may send. What is then missing shows in the object's own verdict, not in everybody's.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer};
use serde_json::Value;

/// `T`, or its default where the value (`null` included) is no `T`.
pub(crate) fn value<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    Ok(read(Value::deserialize(deserializer)?))
}

/// The elements that are a `T`; nothing where the value is no list.
pub(crate) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let Value::Array(elements) = Value::deserialize(deserializer)? else {
        return Ok(Vec::new());
    };
    let mut list: Vec<T> = elements.into_iter().filter_map(|e| serde_json::from_value(e).ok()).collect();
    list.shrink_to_fit();
    Ok(list)
}

/// Reads the `spec` of a custom resource so that one object never spoils a list: absent, it is the default;
/// what does not follow the schema is noted in its field `unreadable`.
///
/// The type has `#[serde(remote = "Self")]`, which keeps what serde derives as plain functions of the type.
macro_rules! spec {
    ($spec:ty) => {
        impl serde::Serialize for $spec {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                <$spec>::serialize(self, serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $spec {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                // For a field that is missing serde asks for an option, and takes `None` for an answer.
                Ok(match Option::<serde_json::Value>::deserialize(deserializer)? {
                    None => <$spec>::default(),
                    Some(value) => <$spec>::deserialize(value).unwrap_or_else(|error| {
                        let unreadable = Some(error.to_string());
                        Self { unreadable, ..<$spec>::default() }
                    }),
                })
            }
        }
    };
}

/// Reads the `status` of a custom resource so that one object never spoils a list: what does not follow the
/// schema is the default, and is written anew by its owner.
macro_rules! status {
    ($status:ty) => {
        impl serde::Serialize for $status {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                <$status>::serialize(self, serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $status {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(<$status>::deserialize(serde_json::Value::deserialize(deserializer)?).unwrap_or_default())
            }
        }
    };
}

pub(crate) use {spec, status};

/// Metadata without what none of our programs reads: above all `managedFields`, often the larger half of an
/// object, and annotations other than those that `keep` accepts by name. Skipped while reading, so that a
/// list of thousands never holds it.
pub(crate) fn metadata<'de, D>(deserializer: D, keep: fn(&str) -> bool) -> Result<ObjectMeta, D::Error>
where
    D: Deserializer<'de>,
{
    let read = Metadata::deserialize(deserializer)?;
    let mut annotations = read.annotations;
    annotations.retain(|(name, _)| keep(name));
    Ok(ObjectMeta {
        name: read.name,
        namespace: read.namespace,
        uid: read.uid,
        resource_version: read.resource_version,
        creation_timestamp: read.creation_timestamp,
        deletion_timestamp: read.deletion_timestamp,
        labels: (!read.labels.is_empty()).then(|| read.labels.into_iter().collect()),
        annotations: (!annotations.is_empty()).then(|| annotations.into_iter().collect()),
        ..ObjectMeta::default()
    })
}

/// What is kept of `metadata`; every other field is skipped without being stored.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    #[serde(deserialize_with = "value")]
    name: Option<String>,
    #[serde(deserialize_with = "value")]
    namespace: Option<String>,
    #[serde(deserialize_with = "value")]
    uid: Option<String>,
    #[serde(deserialize_with = "value")]
    resource_version: Option<String>,
    #[serde(deserialize_with = "value")]
    creation_timestamp: Option<Time>,
    #[serde(deserialize_with = "value")]
    deletion_timestamp: Option<Time>,
    #[serde(deserialize_with = "texts")]
    labels: Vec<(String, String)>,
    #[serde(deserialize_with = "texts")]
    annotations: Vec<(String, String)>,
}

/// The entries of an object whose values are text.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, String)>, D::Error> {
    let Value::Object(entries) = Value::deserialize(deserializer)? else {
        return Ok(Vec::new());
    };
    let text = |(name, value)| match value {
        Value::String(value) => Some((name, value)),
        _ => None,
    };
    Ok(entries.into_iter().filter_map(text).collect())
}

fn read<T: DeserializeOwned + Default>(value: Value) -> T {
    serde_json::from_value(value).unwrap_or_default()
}
