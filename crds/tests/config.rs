//! What the manifests under `config/` must never contain, and what they must.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Every object in the YAML files under `config/`, with the path of its file.
fn objects() -> Vec<(PathBuf, Value)> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../config")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("config/ is part of the repository") {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml") {
                let text = fs::read_to_string(&path).expect("a readable file");
                let documents: Vec<Value> = serde_saphyr::from_multiple(&text)
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                found.extend(documents.into_iter().map(|document| (path.clone(), document)));
            }
        }
    }
    assert!(found.len() > 12, "only {} objects were found", found.len());
    found
}

fn named(kind: &str, name: &str) -> Value {
    let is = |object: &Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects().into_iter().map(|(_, object)| object).find(is).unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// All values under the key `key`, at any depth.
fn all<'a>(value: &'a Value, key: &str) -> Vec<&'a Value> {
    match value {
        Value::Object(entries) => {
            let here = entries.get(key).into_iter();
            here.chain(entries.values().flat_map(|inner| all(inner, key))).collect()
        }
        Value::Array(list) => list.iter().flat_map(|inner| all(inner, key)).collect(),
        _ => Vec::new(),
    }
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

/// Every rule of every role, with what names it in a message.
fn rules() -> Vec<(String, Value)> {
    let mut rules = Vec::new();
    for (_, object) in objects() {
        if matches!(object["kind"].as_str(), Some("Role" | "ClusterRole")) {
            let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
            let list = object["rules"].as_array().cloned().unwrap_or_default();
            rules.extend(list.into_iter().map(|rule| (name.clone(), rule)));
        }
    }
    assert!(rules.len() > 6, "only {} rules were found", rules.len());
    rules
}

#[test]
fn no_role_has_a_wildcard_or_touches_secrets_but_the_key_of_the_hellos() {
    let mut secrets = 0;
    for (name, rule) in rules() {
        if name == r#""ClusterRole" "ferrolb-metrics-reader""# {
            assert_eq!(rule, serde_json::json!({"nonResourceURLs": ["/metrics"], "verbs": ["get"]}));
            continue;
        }
        assert!(rule.get("nonResourceURLs").is_none(), "{name}: {rule}");
        for key in ["apiGroups", "resources", "verbs"] {
            let list = texts(&rule[key]);
            assert!(!list.is_empty(), "{name} has no {key}: {rule}");
            assert!(list.iter().all(|text| !text.contains('*')), "{name} has a wildcard in {key}: {rule}");
        }
        for resource in texts(&rule["resources"]) {
            if resource.split('/').next() == Some("secrets") {
                let of_one = name == r#""Role" "ferrolb-controller""#
                    && texts(&rule["resourceNames"]) == ["ferrolb-hello"];
                assert!(of_one && rule["resources"] == serde_json::json!(["secrets"]), "{name}: {rule}");
                assert_eq!(texts(&rule["verbs"]), ["get", "create", "patch"], "{name}");
                secrets += 1;
            }
        }
    }
    assert_eq!(secrets, 1);
}

#[test]
fn what_a_role_may_write_is_this_and_no_more() {
    let mut writes: Vec<(String, String, String)> = Vec::new();
    for (name, rule) in rules() {
        for verb in texts(&rule["verbs"]) {
            if !["get", "list", "watch"].contains(&verb) {
                for resource in texts(&rule["resources"]) {
                    writes.push((name.clone(), verb.to_owned(), resource.to_owned()));
                }
            }
        }
    }
    writes.sort();
    let expected = [
        (r#""ClusterRole" "ferrolb-controller""#, "create", "events"),
        (r#""ClusterRole" "ferrolb-controller""#, "patch", "events"),
        (r#""ClusterRole" "ferrolb-controller""#, "patch", "services/status"),
        // Only where metrics are served by HTTPS: who shows this token, and may they?
        (r#""ClusterRole" "ferrolb-metrics-reviewer""#, "create", "subjectaccessreviews"),
        (r#""ClusterRole" "ferrolb-metrics-reviewer""#, "create", "tokenreviews"),
        // Speakers write nothing on Services: a token from one node must not move anybody's address.
        (r#""ClusterRole" "ferrolb-speaker""#, "create", "events"),
        (r#""ClusterRole" "ferrolb-speaker""#, "patch", "events"),
        (r#""Role" "ferrolb-controller""#, "create", "configurationstates"),
        (r#""Role" "ferrolb-controller""#, "create", "leases"),
        (r#""Role" "ferrolb-controller""#, "create", "secrets"),
        (r#""Role" "ferrolb-controller""#, "patch", "bfdprofiles/status"),
        (r#""Role" "ferrolb-controller""#, "patch", "bgpadvertisements/status"),
        (r#""Role" "ferrolb-controller""#, "patch", "bgppeers/status"),
        (r#""Role" "ferrolb-controller""#, "patch", "communities/status"),
        (r#""Role" "ferrolb-controller""#, "patch", "configurationstates"),
        (r#""Role" "ferrolb-controller""#, "patch", "configurationstates/status"),
        (r#""Role" "ferrolb-controller""#, "patch", "ipaddresspools/status"),
        (r#""Role" "ferrolb-controller""#, "patch", "l2advertisements/status"),
        (r#""Role" "ferrolb-controller""#, "patch", "leases"),
        (r#""Role" "ferrolb-controller""#, "patch", "secrets"),
        // What nobody acts upon. Words of it are shown on Services.
        (r#""Role" "ferrolb-speaker""#, "create", "configurationstates"),
        (r#""Role" "ferrolb-speaker""#, "create", "servicel2statuses"),
        (r#""Role" "ferrolb-speaker""#, "delete", "configurationstates"),
        (r#""Role" "ferrolb-speaker""#, "delete", "servicel2statuses"),
        (r#""Role" "ferrolb-speaker""#, "patch", "configurationstates"),
        (r#""Role" "ferrolb-speaker""#, "patch", "configurationstates/status"),
        (r#""Role" "ferrolb-speaker""#, "patch", "servicel2statuses"),
        (r#""Role" "ferrolb-speaker""#, "patch", "servicel2statuses/status"),
    ];
    let expected =
        expected.map(|(name, verb, resource)| (name.to_owned(), verb.to_owned(), resource.to_owned()));
    assert_eq!(writes, expected);
}

#[test]
fn no_label_is_one_that_metallbs_webhook_service_selects() {
    for (path, object) in objects() {
        for labels in ["labels", "matchLabels"].iter().flat_map(|key| all(&object, key)) {
            assert!(labels.get("component").is_none(), "{}: {labels}", path.display());
        }
    }
}

#[test]
fn the_speaker_has_net_raw_alone() {
    let speaker = named("DaemonSet", "ferrolb-speaker");
    let containers = all(&speaker, "containers");
    assert_eq!(containers.len(), 1);
    for container in containers[0].as_array().unwrap() {
        let security = &container["securityContext"];
        assert_eq!(security["capabilities"]["add"], serde_json::json!(["NET_RAW"]));
        hardened(security);
    }
    let pod = &speaker["spec"]["template"]["spec"];
    assert_eq!(pod["hostNetwork"], true);
    for namespace in ["hostPID", "hostIPC", "initContainers"] {
        assert!(pod.get(namespace).is_none(), "{namespace}");
    }
}

#[test]
fn the_speaker_mounts_the_key_of_the_hellos_and_nothing_else() {
    let speaker = named("DaemonSet", "ferrolb-speaker");
    let pod = &speaker["spec"]["template"]["spec"];
    // Optional, as the controller may run on a node that needs the speaker first.
    let secret = serde_json::json!({"secretName": "ferrolb-hello", "optional": true, "defaultMode": 0o400});
    assert_eq!(pod["volumes"], serde_json::json!([{"name": "hello-key", "secret": secret}]));
    let container = &pod["containers"][0];
    let mount =
        serde_json::json!([{"name": "hello-key", "mountPath": "/etc/ferrolb/hello", "readOnly": true}]);
    assert_eq!(container["volumeMounts"], mount);
    let env = container["env"].as_array().unwrap();
    let folder = env.iter().find(|variable| variable["name"] == "FERROLB_HELLO_KEY_DIR");
    assert_eq!(folder.map(|variable| &variable["value"]), Some(&mount[0]["mountPath"]));
}

#[test]
fn the_speaker_knows_its_pod_and_node() {
    let speaker = named("DaemonSet", "ferrolb-speaker");
    let env = speaker["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
    for (name, path) in [
        ("FERROLB_POD_NAME", "metadata.name"),
        ("FERROLB_POD_UID", "metadata.uid"),
        ("FERROLB_NODE_NAME", "spec.nodeName"),
    ] {
        let variable = env.iter().find(|variable| variable["name"] == name);
        let variable = variable.unwrap_or_else(|| panic!("the speaker has no {name}"));
        assert_eq!(variable["valueFrom"]["fieldRef"]["fieldPath"], path, "{name}");
    }
}

#[test]
fn the_controller_is_nobody_and_hands_over_without_a_gap() {
    let controller = named("Deployment", "ferrolb-controller");
    assert_eq!(controller["spec"]["replicas"], 1);
    let rolling = &controller["spec"]["strategy"]["rollingUpdate"];
    assert_eq!((&rolling["maxUnavailable"], &rolling["maxSurge"]), (&0.into(), &1.into()));
    let pod = &controller["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["runAsUser"], 65534);
    assert!(pod.get("hostNetwork").is_none());
    for container in pod["containers"].as_array().unwrap() {
        assert!(container["securityContext"]["capabilities"].get("add").is_none());
        hardened(&container["securityContext"]);
    }
}

fn hardened(security: &Value) {
    assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]));
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert!(security.get("privileged").is_none());
}

#[test]
fn the_admin_port_is_the_one_that_is_probed() {
    for (kind, name, port) in
        [("Deployment", "ferrolb-controller", 17480), ("DaemonSet", "ferrolb-speaker", 17481)]
    {
        let object = named(kind, name);
        let container = &object["spec"]["template"]["spec"]["containers"][0];
        let env = container["env"].as_array().unwrap();
        let value = env.iter().find(|variable| variable["name"] == "FERROLB_ADMIN_PORT").unwrap();
        assert_eq!(value["value"], port.to_string());
        assert_eq!(container["ports"][0]["containerPort"], port);
        for probe in ["livenessProbe", "readinessProbe"] {
            assert_eq!(container[probe]["httpGet"]["port"], container["ports"][0]["name"]);
        }
    }
}

#[test]
fn the_samples_are_pools_and_advertisements_that_can_be_used() {
    let mut seen = 0;
    for (path, object) in objects() {
        let result = match object["kind"].as_str() {
            Some("IPAddressPool") => serde_json::from_value::<ferrolb_crds::IPAddressPool>(object)
                .map_err(|error| error.to_string())
                .and_then(|pool| pool.to_core().map(drop).map_err(|problem| problem.to_string())),
            Some("L2Advertisement") => serde_json::from_value::<ferrolb_crds::L2Advertisement>(object)
                .map_err(|error| error.to_string())
                .and_then(|ad| ad.to_core().map(drop).map_err(|problem| problem.to_string())),
            _ => continue,
        };
        seen += 1;
        assert_eq!(result, Ok(()), "{}", path.display());
    }
    assert!(seen >= 4, "only {seen}");
}

#[test]
fn of_the_speaker_the_node_s_networks_see_metrics_alone() {
    let speaker = named("DaemonSet", "ferrolb-speaker");
    let container = &speaker["spec"]["template"]["spec"]["containers"][0];
    let env = container["env"].as_array().unwrap();
    let variable = |name: &str| env.iter().find(|variable| variable["name"] == name).unwrap();
    assert_eq!(variable("FERROLB_ADMIN_ADDRESS")["value"], "127.0.0.1");
    assert_eq!(variable("FERROLB_METRICS_ADDRESS")["valueFrom"]["fieldRef"]["fieldPath"], "status.hostIP");
    for probe in ["livenessProbe", "readinessProbe"] {
        assert_eq!(container[probe]["httpGet"]["host"], "127.0.0.1");
    }
}

#[test]
fn only_who_serves_metrics_by_https_may_ask_about_others() {
    for (path, object) in objects() {
        let reviews = all(&object, "resources");
        let reviews =
            reviews.iter().any(|list| texts(list).iter().any(|resource| resource.ends_with("reviews")));
        assert!(!reviews || path.ends_with("components/metrics-https/rbac.yaml"), "{}", path.display());
    }
}
