//! The definitions as files: what `kubectl apply -f crds/` installs.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceConversion, CustomResourceDefinition, JSONSchemaProps,
};
use kube::CustomResourceExt;
use kube::core::crd::merge_crds;

use crate::bgp::{BFDProfile, BGPAdvertisement, BGPPeer, Community, EarlierBGPPeer};
use crate::{ConfigurationState, IPAddressPool, L2Advertisement, ServiceL2Status};

/// Writes the files anew; named in each of them.
pub const COMMAND: &str = "cargo run -p ferrolb-crds --bin gen-crds";

/// Why a definition could not be written out.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// YAML cannot express it.
    #[error("the definition {name} cannot be written as YAML: {source}")]
    Yaml {
        /// The file's name.
        name: String,
        /// What is wrong.
        source: serde_saphyr::ser::Error,
    },
    /// The versions of one kind do not belong together.
    #[error("the versions of a kind do not fit: {0}")]
    Versions(#[from] kube::core::crd::MergeError),
}

/// The definitions, in the order of their files.
///
/// # Errors
/// Versions of one kind that do not belong together, which a test excludes.
pub fn definitions() -> Result<Vec<CustomResourceDefinition>, GenerateError> {
    let pools = IPAddressPool::crd();
    let mut advertisements = L2Advertisement::crd();
    let mut states = ConfigurationState::crd();
    let mut announced = ServiceL2Status::crd();
    // Not converted: there is no webhook. What is stored in one version is served in the other as it is.
    let mut peers = merge_crds(vec![EarlierBGPPeer::crd(), BGPPeer::crd()], "v1beta2")?;
    peers.spec.conversion =
        Some(CustomResourceConversion { strategy: "None".to_owned(), ..CustomResourceConversion::default() });
    // An advertisement without a spec announces everything: a short and frequent manifest.
    for schema in schemas(&mut advertisements) {
        schema.required = None;
    }
    // All status, no spec at all.
    for schema in schemas(&mut states).chain(schemas(&mut announced)) {
        schema.required = None;
        schema.properties.as_mut().map(|properties| properties.remove("spec"));
    }
    let [mut profiles, mut routes, mut communities] =
        [BFDProfile::crd(), BGPAdvertisement::crd(), Community::crd()];
    for schema in [&mut profiles, &mut routes, &mut communities].into_iter().flat_map(schemas) {
        schema.required = None;
    }
    let mut all = vec![profiles, routes, peers, communities, states, pools, advertisements, announced];
    for definition in &mut all {
        definition.spec.names.list_kind = Some(format!("{}List", definition.spec.names.kind));
    }
    Ok(all)
}

fn schemas(definition: &mut CustomResourceDefinition) -> impl Iterator<Item = &mut JSONSchemaProps> {
    let versions = definition.spec.versions.iter_mut();
    versions.filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut())
}

/// The name and content of each file in the folder `crds/`.
///
/// # Errors
/// A definition that YAML cannot express, which a test excludes.
pub fn files() -> Result<Vec<(String, String)>, GenerateError> {
    definitions()?.iter().map(file).collect()
}

fn file(definition: &CustomResourceDefinition) -> Result<(String, String), GenerateError> {
    let names = &definition.spec.names;
    let name = format!("{}_{}.yaml", definition.spec.group, names.plural);
    match serde_saphyr::to_string(definition) {
        Ok(yaml) => {
            Ok((name, format!("# Generated from the Rust types by `{COMMAND}`; do not edit.\n---\n{yaml}")))
        }
        Err(source) => Err(GenerateError::Yaml { name, source }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use serde_json::Value;

    use super::*;

    fn schema(kind: &str, path: &str) -> Value {
        let definition = definitions().unwrap().into_iter().find(|d| d.spec.names.kind == kind).unwrap();
        let whole = serde_json::to_value(definition).unwrap();
        let found = whole.pointer(&format!("/spec/versions/0/{path}"));
        found.unwrap_or_else(|| panic!("no {path} in {kind}")).clone()
    }

    /// Every value of the key `name`, at any depth.
    fn all<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
        match value {
            Value::Object(entries) => {
                found.extend(entries.get(name));
                entries.values().for_each(|inner| all(inner, name, found));
            }
            Value::Array(list) => list.iter().for_each(|inner| all(inner, name, found)),
            _ => {}
        }
    }

    #[test]
    fn the_yaml_in_the_repository_is_current() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut there: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".yaml") || name.ends_with(".yml") || name.ends_with(".json"))
            .collect();
        there.sort();
        let files = files().unwrap();
        // `kubectl apply -f crds/` takes every such file in the folder.
        assert_eq!(there, files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>());
        for (name, yaml) in files {
            let stored = fs::read_to_string(folder.join(&name)).unwrap();
            assert!(stored == yaml, "{name} is stale: run `{COMMAND}`");
        }
    }

    #[test]
    fn names_scope_and_subresource() {
        let plurals = [
            "bfdprofiles",
            "bgpadvertisements",
            "bgppeers",
            "communities",
            "configurationstates",
            "ipaddresspools",
            "l2advertisements",
            "servicel2statuses",
        ];
        assert_eq!(definitions().unwrap().len(), plurals.len());
        for (definition, plural) in definitions().unwrap().iter().zip(plurals) {
            let spec = &definition.spec;
            assert_eq!((spec.group.as_str(), spec.scope.as_str()), ("metallb.io", "Namespaced"));
            assert_eq!((spec.names.plural.as_str(), &spec.names.short_names), (plural, &None));
            assert_eq!(spec.names.categories, None);
            let stored = if plural == "bgppeers" { "v1beta2" } else { "v1beta1" };
            for version in &spec.versions {
                assert!(version.served && version.storage == (version.name == stored), "{plural}");
                assert_eq!(version.deprecated == Some(true), version.name != stored, "{plural}");
                assert!(version.subresources.as_ref().is_some_and(|sub| sub.status.is_some()));
            }
            assert!(spec.versions.iter().any(|version| version.name == stored), "{plural}");
        }
    }

    /// MetalLB's definition asks its webhook to convert; that one is gone.
    #[test]
    fn nothing_is_converted() {
        for definition in definitions().unwrap() {
            let strategy = definition.spec.conversion.map(|conversion| conversion.strategy);
            assert!(strategy.is_none_or(|strategy| strategy == "None"));
        }
        assert_eq!(schema("BGPPeer", "name"), "v1beta2");
    }

    #[test]
    fn bounds_defaults_and_what_is_required() {
        let pool = |path: &str| schema("IPAddressPool", &format!("schema/openAPIV3Schema/{path}"));
        let ad = |path: &str| schema("L2Advertisement", &format!("schema/openAPIV3Schema/{path}"));
        assert_eq!(pool("required"), serde_json::json!(["spec"]));
        assert_eq!(pool("properties/spec/required"), serde_json::json!(["addresses"]));
        assert_eq!(pool("properties/spec/properties/addresses/minItems"), 1);
        assert_eq!(pool("properties/spec/properties/addresses/maxItems"), 4000);
        assert_eq!(pool("properties/spec/properties/addresses/items/maxLength"), 93);
        assert_eq!(pool("properties/spec/properties/autoAssign/default"), true);
        assert_eq!(pool("properties/spec/properties/avoidBuggyIPs/default"), false);
        assert_eq!(
            pool("properties/status/required"),
            serde_json::json!(["assignedIPv4", "assignedIPv6", "availableIPv4", "availableIPv6"])
        );
        let weight = "properties/spec/properties/preferredNodeSelectors/items/properties/weight";
        assert_eq!(ad(&format!("{weight}/minimum")), 1.0);
        assert_eq!(ad(&format!("{weight}/maximum")), 100.0);
        assert_eq!(
            ad("properties/spec/properties/preferredNodeSelectors/items/required"),
            serde_json::json!(["preference", "weight"])
        );
        // A manifest without a spec is in common use: it announces everything.
        assert_eq!(schema("L2Advertisement", "schema/openAPIV3Schema").get("required"), None);
        for status in [pool("properties/status"), ad("properties/status")] {
            let conditions = &status["properties"]["conditions"];
            assert_eq!(conditions["x-kubernetes-list-type"], "map");
            assert_eq!(conditions["x-kubernetes-list-map-keys"], serde_json::json!(["type"]));
        }
    }

    #[test]
    fn what_a_status_names_is_written_once() {
        let of = |path: &str| schema("ServiceL2Status", &format!("schema/openAPIV3Schema/properties/{path}"));
        for field in ["node", "serviceName", "serviceNamespace"] {
            let rules = of(&format!("status/properties/{field}/x-kubernetes-validations"));
            assert_eq!(rules[0]["rule"], "self == oldSelf", "{field}");
        }
        assert_eq!(of("status").pointer("/properties/interfaces/x-kubernetes-validations"), None);
        let columns = schema("ServiceL2Status", "additionalPrinterColumns");
        let names: Vec<&str> =
            columns.as_array().unwrap().iter().filter_map(|column| column["name"].as_str()).collect();
        assert_eq!(names, ["Allocated Node", "Service Name", "Service Namespace"]);
    }

    #[test]
    fn every_list_and_text_of_a_spec_has_a_bound() {
        fn walk(value: &Value, path: &str) {
            let Some(schema) = value.as_object() else { return };
            match schema.get("type").and_then(Value::as_str) {
                Some("array") => assert!(schema.contains_key("maxItems"), "{path} has no maxItems"),
                Some("string") => {
                    assert!(
                        schema.contains_key("maxLength") || schema.contains_key("enum"),
                        "{path}: no maxLength"
                    );
                }
                _ => {}
            }
            for (name, inner) in schema {
                walk(inner, &format!("{path}/{name}"));
            }
        }
        let written =
            ["IPAddressPool", "L2Advertisement", "BGPPeer", "BGPAdvertisement", "BFDProfile", "Community"];
        for kind in written {
            walk(&schema(kind, "schema/openAPIV3Schema/properties/spec"), kind);
        }
    }

    #[test]
    fn every_field_is_described() {
        for definition in definitions().unwrap() {
            let kind = &*definition.spec.names.kind;
            let whole = schema(kind, "schema/openAPIV3Schema");
            let mut properties = Vec::new();
            all(&whole, "properties", &mut properties);
            for (name, field) in properties.into_iter().filter_map(Value::as_object).flatten() {
                assert!(field.get("description").is_some(), "{kind}: {name} has no description");
            }
        }
    }

    #[test]
    fn no_rule_needs_a_newer_server_than_the_oldest_supported() {
        // Functions of the CEL list library that API servers take in new definitions only from 1.35 on.
        let newer =
            ["distinct(", ".sort(", "sortBy(", "flatten(", "slice(", "lists.range(", ".reverse(", "math."];
        // What users write; the others have few rules or none.
        let written = ["IPAddressPool", "L2Advertisement"];
        for definition in
            definitions().unwrap().into_iter().filter(|all| written.contains(&all.spec.names.kind.as_str()))
        {
            let whole = serde_json::to_value(definition).unwrap();
            let mut rules = Vec::new();
            all(&whole, "rule", &mut rules);
            all(&whole, "messageExpression", &mut rules);
            assert!(rules.len() > 10, "only {} rules were found", rules.len());
            for rule in rules.iter().filter_map(|rule| rule.as_str()) {
                assert!(newer.iter().all(|function| !rule.contains(function)), "{rule}");
            }
        }
    }
}
