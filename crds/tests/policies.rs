//! What the policies in `config/admission` must hold to before an API server sees them. What they refuse is tried
//! on one, in the lab.

use std::fs;
use std::path::Path;

use ferrolb_crds::names;
use serde_json::{Value, json};

const LABEL: &str = "ferrolb.io/configuration";

/// The objects in the YAML files of `folder`, a folder of `config/`.
fn objects(folder: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").join(folder);
    let entries = fs::read_dir(folder).expect("config/ is part of the repository");
    let read = |path| fs::read_to_string(path).expect("a readable file");
    let texts = entries.map(|entry| read(entry.expect("a readable folder").path()));
    texts.flat_map(|text| serde_saphyr::from_multiple::<Value>(&text).expect("YAML")).collect()
}

fn of_kind(kind: &str) -> Vec<Value> {
    let found: Vec<_> = objects("admission").into_iter().filter(|object| object["kind"] == kind).collect();
    assert!(found.len() >= 3, "only {} objects of {kind}", found.len());
    found
}

/// Every text under `keys`, at any depth.
fn texts<'a>(value: &'a Value, keys: &[&str], found: &mut Vec<&'a str>) {
    match value {
        Value::Object(entries) => {
            for (key, inner) in entries {
                found.extend(inner.as_str().filter(|_| keys.contains(&key.as_str())));
                texts(inner, keys, found);
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| texts(inner, keys, found)),
        _ => {}
    }
}

#[test]
fn each_policy_is_bound_once_and_denies() {
    let policies = of_kind("ValidatingAdmissionPolicy");
    let bindings = of_kind("ValidatingAdmissionPolicyBinding");
    assert_eq!(policies.len(), bindings.len());
    for policy in policies {
        let name = policy["metadata"]["name"].as_str().unwrap();
        assert!(name.starts_with("ferrolb-"), "{name}");
        let bound: Vec<_> = bindings.iter().filter(|all| all["spec"]["policyName"] == name).collect();
        assert_eq!(bound.len(), 1, "{name}");
        assert_eq!(bound[0]["metadata"]["name"], name);
        assert_eq!(bound[0]["spec"]["validationActions"], json!(["Deny"]), "{name}");
        // After a reinstall API servers find no parameter of a built-in kind any more (kubernetes/kubernetes#130887).
        if let Some(kind) = policy["spec"].get("paramKind") {
            assert_eq!(kind["apiVersion"], "metallb.io/v1beta1", "{name}");
            assert_eq!(bound[0]["spec"]["paramRef"]["parameterNotFoundAction"], "Allow", "{name}");
            assert_eq!(policy["spec"]["failurePolicy"], "Ignore", "{name}");
        }
    }
}

#[test]
fn ours_is_the_namespace_with_the_label_and_no_file_names_one() {
    let default = objects("default");
    let namespace = default.iter().find(|object| object["kind"] == "Namespace").unwrap();
    assert_eq!(namespace["metadata"]["labels"][LABEL], "read-here");
    for binding in of_kind("ValidatingAdmissionPolicyBinding") {
        let operator = match binding["metadata"]["name"].as_str().unwrap() {
            "ferrolb-elsewhere" => json!("DoesNotExist"),
            "ferrolb-overlap" => json!("Exists"),
            _ => continue,
        };
        let selector = &binding["spec"]["matchResources"]["namespaceSelector"];
        assert_eq!(*selector, json!({"matchExpressions": [{"key": LABEL, "operator": operator}]}));
    }
}

#[test]
fn the_annotations_are_those_that_the_controller_reads() {
    let policies = of_kind("ValidatingAdmissionPolicy");
    let policy = policies.iter().find(|policy| policy["metadata"]["name"] == "ferrolb-services").unwrap();
    let mut found = Vec::new();
    texts(policy, &["expression"], &mut found);
    let all = found.join("\n");
    let quoted: std::collections::BTreeSet<_> =
        all.split('\'').filter(|text| text.starts_with("metallb.") && text.contains('/')).collect();
    let read = [
        names::LOAD_BALANCER_IPS,
        names::DEPRECATED_LOAD_BALANCER_IPS,
        names::ADDRESS_POOL,
        names::DEPRECATED_ADDRESS_POOL,
    ];
    assert_eq!(quoted, read.into_iter().collect());
}

#[test]
fn no_expression_needs_a_newer_server_than_the_oldest_supported() {
    // Functions of the CEL list library that API servers take in new policies only from 1.35 on.
    let newer = ["distinct(", "sort(", "sortBy(", "flatten(", "slice(", "lists.range(", "reverse(", "math."];
    for policy in of_kind("ValidatingAdmissionPolicy") {
        let mut found = Vec::new();
        texts(&policy, &["expression", "messageExpression"], &mut found);
        assert!(!found.is_empty());
        for expression in found {
            assert!(newer.iter().all(|function| !expression.contains(function)), "{expression}");
        }
    }
}

#[test]
fn each_refusal_has_words_for_when_the_better_ones_are_too_long() {
    for policy in of_kind("ValidatingAdmissionPolicy") {
        for validation in policy["spec"]["validations"].as_array().unwrap() {
            let words = validation["message"].as_str().unwrap_or_default();
            assert!(words.len() > 30 && !words.contains('\n'), "{validation}");
            assert!(validation["messageExpression"].is_string(), "{validation}");
        }
    }
}
