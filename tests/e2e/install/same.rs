//! The chart and `config/` make the same objects.

use ferrolb_tests::plane::project;
use ferrolb_tests::scene::SYSTEM;
use serde_json::{Value, json};

use crate::render::{OVERLAYS, Renderer, differences, objects, without_release};

/// A release cannot make or label the namespace that it is put into, so it names its namespace where the files in `config/`
/// have a label.
fn expected_of_a_release(objects: &mut std::collections::BTreeMap<String, Value>) {
    assert!(objects.remove("Namespace/metallb-system").is_some());
    // Kustomize does not know that these belong to no namespace; the API server does.
    for (id, object) in objects.iter_mut().filter(|(id, _)| id.starts_with("ValidatingAdmissionPolicy")) {
        let removed = object["metadata"].as_object_mut().and_then(|metadata| metadata.remove("namespace"));
        assert!(removed.is_some(), "{id}");
    }
    let here =
        |operator| json!({"key": "kubernetes.io/metadata.name", "operator": operator, "values": [SYSTEM]});
    let selector = "/spec/matchResources/namespaceSelector/matchExpressions";
    let elsewhere =
        objects.get_mut("ValidatingAdmissionPolicyBinding/ferrolb-elsewhere").expect("the binding");
    let expressions = elsewhere.pointer_mut(selector).and_then(Value::as_array_mut).expect("a selector");
    expressions.push(here("NotIn"));
    let overlap = objects.get_mut("ValidatingAdmissionPolicyBinding/ferrolb-overlap").expect("the binding");
    *overlap.pointer_mut(selector).expect("a selector") = json!([here("In")]);
    let policy = objects.get_mut("ValidatingAdmissionPolicy/ferrolb-elsewhere").expect("the policy");
    let words = "'nobody reads %s objects in namespace %s: create it in namespace metallb-system, in which FerroLB \
                 runs'.format([request.kind.kind, request.namespace])";
    policy["spec"]["validations"][0]["messageExpression"] = words.into();
}

#[test]
fn the_chart_makes_the_objects_of_config() {
    let renderer = Renderer::new().expect("the programs");
    let mut found = Vec::new();
    for (folder, values) in OVERLAYS {
        let mut expected = objects(&renderer.kustomize(folder).expect(folder)).expect(folder);
        expected_of_a_release(&mut expected);
        let release = renderer.template(&[values, "crds.enabled=false"]).expect(values);
        let mut made = objects(&release).expect(values);
        without_release(&mut made);
        for id in expected.keys().chain(made.keys().filter(|id| !expected.contains_key(*id))) {
            let of =
                |map: &std::collections::BTreeMap<String, Value>| map.get(id).cloned().unwrap_or_default();
            differences(&format!("{folder}: {id}"), &of(&expected), &of(&made), &mut found);
        }
    }
    assert!(found.is_empty(), "config/ against the chart:\n{}", found.join("\n"));
}

#[test]
fn the_charts_definitions_are_those_in_crds_and_are_kept() {
    let renderer = Renderer::new().expect("the programs");
    let release = objects(&renderer.template(&[]).expect("the chart")).expect("YAML");
    let mut made: std::collections::BTreeMap<_, _> =
        release.into_iter().filter(|(id, _)| id.starts_with("CustomResourceDefinition/")).collect();
    for object in made.values_mut() {
        let metadata = object["metadata"].as_object_mut().expect("metadata");
        assert_eq!(metadata.remove("annotations"), Some(json!({"helm.sh/resource-policy": "keep"})));
        assert!(metadata.remove("labels").is_some());
    }
    let mut files = 0;
    for entry in std::fs::read_dir(project("crds")).expect("crds/") {
        let path = entry.expect("a file").path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            files += 1;
            for (id, object) in objects(&std::fs::read_to_string(&path).expect("a file")).expect("YAML") {
                assert_eq!(made.get(&id), Some(&object), "{id}");
            }
        }
    }
    assert_eq!(made.len(), files);
}
