//! JSON merge patch (RFC 7396) and Kubernetes' strategic merge patch.
//!
//! Of the strategic directives, `$patch: delete`, `$patch: replace` and `$deleteFromPrimitiveList` are obeyed;
//! `$setElementOrder` and `$retainKeys`, which only sort and tidy, are passed over.

use serde_json::{Map, Value};

use crate::answer::{Failure, Result};
use crate::kind::Kind;
use crate::schema::{self, Lists};

/// RFC 7396: objects are merged, null deletes, all else replaces.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Value::Object(target) = target {
        for (name, value) in patch {
            if value.is_null() {
                target.remove(name);
            } else {
                merge(target.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

/// A strategic merge patch of a whole object.
pub(crate) fn strategic(kind: &Kind, target: &mut Value, patch: &Value) -> Result<()> {
    object(kind, &mut Vec::new(), target, patch)
}

fn object(kind: &Kind, path: &mut Vec<String>, target: &mut Value, patch: &Value) -> Result<()> {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return Ok(());
    };
    match patch.get("$patch").and_then(Value::as_str) {
        None => {}
        Some("replace") => {
            let mut patch = patch.clone();
            patch.remove("$patch");
            *target = Value::Object(patch);
            return Ok(());
        }
        Some("delete") => {
            *target = Value::Object(Map::new());
            return Ok(());
        }
        Some("merge") => {}
        Some(other) => return Err(Failure::bad_request(format!("Unknown patch type found: {other}"))),
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return Ok(()) };
    for (name, value) in patch {
        if let Some(list) = name.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = value.as_array().cloned().unwrap_or_default();
            if let Some(items) = target.get_mut(list).and_then(Value::as_array_mut) {
                items.retain(|item| !gone.contains(item));
            }
            continue;
        }
        if name.starts_with('$') {
            continue;
        }
        if value.is_null() {
            target.remove(name);
            continue;
        }
        path.push(name.clone());
        let slot = target.entry(name.clone()).or_insert(Value::Null);
        match value {
            Value::Object(_) => object(kind, path, slot, value)?,
            Value::Array(items) => list(kind, path, slot, items)?,
            _ => *slot = value.clone(),
        }
        path.pop();
    }
    Ok(())
}

fn list(kind: &Kind, path: &mut Vec<String>, target: &mut Value, patch: &[Value]) -> Result<()> {
    let replaces = patch.iter().any(|item| item.get("$patch").is_some_and(|patch| patch == "replace"));
    if replaces {
        let kept = patch.iter().filter(|item| item.get("$patch").is_none()).cloned().collect();
        *target = Value::Array(kept);
        return Ok(());
    }
    if !target.is_array() {
        *target = Value::Array(Vec::new());
    }
    let Value::Array(items) = target else { return Ok(()) };
    match schema::lists(kind, path) {
        Lists::Atomic => *items = patch.to_vec(),
        Lists::Set => {
            for item in patch {
                if !items.contains(item) {
                    items.push(item.clone());
                }
            }
        }
        // A strategic merge knows one key for each list: the first.
        Lists::By(keys) => {
            for item in patch {
                let key = item.get(keys[0]).filter(|key| !key.is_null()).ok_or_else(|| {
                    let why = format!("{} does not contain declared merge key: {}", item, keys[0]);
                    Failure::bad_request(why)
                })?;
                let place = items.iter().position(|old| old.get(keys[0]) == Some(key));
                if item.get("$patch").is_some_and(|patch| patch == "delete") {
                    items.retain(|old| old.get(keys[0]) != Some(key));
                } else if let Some(place) = place {
                    object(kind, path, &mut items[place], item)?;
                } else {
                    let mut new = Value::Null;
                    object(kind, path, &mut new, item)?;
                    items.push(new);
                }
            }
        }
    }
    Ok(())
}

/// Takes out nulls everywhere, which the real server never stores.
pub(crate) fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

/// Without what is empty, at any depth: typed objects are stored like that.
pub(crate) fn pruned(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), pruned(value)));
            Value::Object(fields.filter(|(_, value)| !is_empty(value)).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(pruned).collect()),
        other => other.clone(),
    }
}

/// Null, `{}` or `[]`.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(target: Value, patch: &Value) -> Value {
        let kind = Kind::new("", "v1", "Service", "services", true);
        let mut target = target;
        strategic(&kind, &mut target, patch).unwrap();
        target
    }

    #[test]
    fn the_merge_is_that_of_rfc_7396() {
        let cases = [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ];
        for (mut target, patch, wanted) in cases {
            merge(&mut target, &patch);
            assert_eq!(target, wanted, "{patch}");
        }
    }

    #[test]
    fn conditions_are_merged_by_type_and_addresses_replaced() {
        let old = json!({"status": {
            "conditions": [{"type": "A", "status": "True", "reason": "r"}, {"type": "B", "status": "True"}],
            "loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}]},
        }});
        let patch = json!({"status": {
            "conditions": [{"type": "A", "status": "False"}, {"type": "C", "status": "True"}, {"type": "B", "$patch": "delete"}],
            "loadBalancer": {"ingress": [{"ip": "192.0.2.3"}]},
        }});
        let wanted = json!({"status": {
            "conditions": [{"type": "A", "status": "False", "reason": "r"}, {"type": "C", "status": "True"}],
            "loadBalancer": {"ingress": [{"ip": "192.0.2.3"}]},
        }});
        assert_eq!(service(old, &patch), wanted);
    }

    #[test]
    fn directives_are_obeyed_and_null_deletes() {
        let old = json!({"metadata": {"finalizers": ["a", "b"], "annotations": {"x": "1", "y": "2"}}, "status": {"conditions": [{"type": "A"}]}});
        let patch = json!({
            "metadata": {"finalizers": ["c"], "$deleteFromPrimitiveList/finalizers": ["a"], "annotations": {"x": null}},
            "status": {"conditions": [{"type": "Z"}, {"$patch": "replace"}], "$setElementOrder/conditions": []},
        });
        let wanted = json!({"metadata": {"finalizers": ["b", "c"], "annotations": {"y": "2"}}, "status": {"conditions": [{"type": "Z"}]}});
        assert_eq!(service(old, &patch), wanted);
    }
}
