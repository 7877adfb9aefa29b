//! Each value of the chart, set to something else, changes what it says; and what cannot work is refused in words.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::render::{Renderer, chart, objects};

/// A value, another value of it as JSON, where that shows, and as what. The object is `Kind/name`; `null` means that nothing is
/// there. What must be set besides for it to show comes last.
type Case = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

const CONTROLLER: &str = "Deployment/ferrolb-controller";
const SPEAKER: &str = "DaemonSet/ferrolb-speaker";
const POD: &str = "/spec/template/spec";
const MONITOR: &str = "prometheus.podMonitor.enabled=true,prometheus.rbacPrometheus=false";
const SERVICES: &str = "prometheus.serviceMonitor.enabled=true,prometheus.rbacPrometheus=false";

/// Without those of the two programs, which are alike.
const CASES: [Case; 74] = [
    ("fullnameOverride", "\"lb\"", "Deployment/lb-controller", "/spec/replicas", "1", ""),
    ("metallbNames", "true", "DaemonSet/speaker", "/spec/selector/matchLabels/component", "\"speaker\"", ""),
    ("imagePullSecrets", "[{\"name\":\"mine\"}]", SPEAKER, "POD/imagePullSecrets/0/name", "\"mine\"", ""),
    ("image.repository", "\"example.com/lb\"", CONTROLLER, "CONTAINER/image", "\"example.com/lb:dev\"", ""),
    ("image.tag", "\"v9\"", SPEAKER, "CONTAINER/image", "\"ferrolb:v9\"", ""),
    ("image.pullPolicy", "\"Always\"", SPEAKER, "CONTAINER/imagePullPolicy", "\"Always\"", ""),
    ("loadBalancerClass", "\"a.example/b\"", SPEAKER, "ENV/FERROLB_LB_CLASS/value", "\"a.example/b\"", ""),
    ("logFormat", "\"text\"", CONTROLLER, "ENV/FERROLB_LOG_FORMAT/value", "\"text\"", ""),
    (
        "tracesEndpoint",
        "\"http://10.96.0.7:4318\"",
        SPEAKER,
        "ENV/FERROLB_TRACES_ENDPOINT/value",
        "\"http://10.96.0.7:4318\"",
        "",
    ),
    ("rbac.create", "false", "ClusterRole/ferrolb-speaker", "/rules", "null", ""),
    ("crds.enabled", "false", "CustomResourceDefinition/ipaddresspools.metallb.io", "/spec", "null", ""),
    ("admission.enabled", "false", "ValidatingAdmissionPolicy/ferrolb-services", "/spec", "null", ""),
    (
        "prometheus.scrapeAnnotations",
        "true",
        SPEAKER,
        "/spec/template/metadata/annotations/prometheus.io~1port",
        "\"17481\"",
        "",
    ),
    ("prometheus.rbacPrometheus", "false", "RoleBinding/ferrolb-prometheus", "/roleRef", "null", RBAC),
    (
        "prometheus.serviceAccount",
        "\"other\"",
        "RoleBinding/ferrolb-prometheus",
        "/subjects/0/name",
        "\"other\"",
        RBAC,
    ),
    (
        "prometheus.namespace",
        "\"other\"",
        "RoleBinding/ferrolb-prometheus",
        "/subjects/0/namespace",
        "\"other\"",
        RBAC,
    ),
    (
        "prometheus.podMonitor.enabled",
        "true",
        "PodMonitor/ferrolb-speaker",
        "POD_ENDPOINT/port",
        "\"admin\"",
        NO_RBAC,
    ),
    (
        "prometheus.podMonitor.additionalLabels",
        "{\"a\":\"b\"}",
        "PodMonitor/ferrolb-controller",
        "/metadata/labels/a",
        "\"b\"",
        MONITOR,
    ),
    (
        "prometheus.podMonitor.annotations",
        "{\"a\":\"b\"}",
        "PodMonitor/ferrolb-speaker",
        "/metadata/annotations/a",
        "\"b\"",
        MONITOR,
    ),
    (
        "prometheus.podMonitor.jobLabel",
        "\"x\"",
        "PodMonitor/ferrolb-speaker",
        "/spec/jobLabel",
        "\"x\"",
        MONITOR,
    ),
    (
        "prometheus.podMonitor.interval",
        "\"7s\"",
        "PodMonitor/ferrolb-speaker",
        "POD_ENDPOINT/interval",
        "\"7s\"",
        MONITOR,
    ),
    (
        "prometheus.podMonitor.metricRelabelings",
        "[{\"action\":\"drop\"}]",
        "PodMonitor/ferrolb-speaker",
        "POD_ENDPOINT/metricRelabelings/0/action",
        "\"drop\"",
        MONITOR,
    ),
    (
        "prometheus.podMonitor.relabelings",
        "[{\"action\":\"drop\"}]",
        "PodMonitor/ferrolb-controller",
        "POD_ENDPOINT/relabelings/0/action",
        "\"drop\"",
        MONITOR,
    ),
    (
        "prometheus.serviceMonitor.enabled",
        "true",
        "Service/ferrolb-speaker-metrics",
        "/spec/ports/0/port",
        "17481",
        NO_RBAC,
    ),
    (
        "prometheus.serviceMonitor.controller.additionalLabels",
        "{\"a\":\"b\"}",
        "ServiceMonitor/ferrolb-controller",
        "/metadata/labels/a",
        "\"b\"",
        SERVICES,
    ),
    (
        "prometheus.serviceMonitor.controller.annotations",
        "{\"a\":\"b\"}",
        "ServiceMonitor/ferrolb-controller",
        "/metadata/annotations/a",
        "\"b\"",
        SERVICES,
    ),
    (
        "prometheus.serviceMonitor.speaker.additionalLabels",
        "{\"a\":\"b\"}",
        "ServiceMonitor/ferrolb-speaker",
        "/metadata/labels/a",
        "\"b\"",
        SERVICES,
    ),
    (
        "prometheus.serviceMonitor.speaker.annotations",
        "{\"a\":\"b\"}",
        "ServiceMonitor/ferrolb-speaker",
        "/metadata/annotations/a",
        "\"b\"",
        SERVICES,
    ),
    (
        "prometheus.serviceMonitor.jobLabel",
        "\"x\"",
        "ServiceMonitor/ferrolb-speaker",
        "/spec/jobLabel",
        "\"x\"",
        SERVICES,
    ),
    (
        "prometheus.serviceMonitor.interval",
        "\"7s\"",
        "ServiceMonitor/ferrolb-speaker",
        "/spec/endpoints/0/interval",
        "\"7s\"",
        SERVICES,
    ),
    (
        "prometheus.serviceMonitor.metricRelabelings",
        "[{\"action\":\"drop\"}]",
        "ServiceMonitor/ferrolb-speaker",
        "/spec/endpoints/0/metricRelabelings/0/action",
        "\"drop\"",
        SERVICES,
    ),
    (
        "prometheus.serviceMonitor.relabelings",
        "[{\"action\":\"drop\"}]",
        "ServiceMonitor/ferrolb-controller",
        "/spec/endpoints/0/relabelings/0/action",
        "\"drop\"",
        SERVICES,
    ),
    (
        "prometheus.prometheusRule.enabled",
        "true",
        "PrometheusRule/ferrolb",
        "/spec/groups/0/name",
        "\"ferrolb\"",
        "",
    ),
    (
        "prometheus.prometheusRule.additionalLabels",
        "{\"a\":\"b\"}",
        "PrometheusRule/ferrolb",
        "/metadata/labels/a",
        "\"b\"",
        RULE,
    ),
    (
        "prometheus.prometheusRule.annotations",
        "{\"a\":\"b\"}",
        "PrometheusRule/ferrolb",
        "/metadata/annotations/a",
        "\"b\"",
        RULE,
    ),
    (
        "prometheus.grafanaDashboard.enabled",
        "true",
        "ConfigMap/ferrolb-dashboard",
        "/metadata/labels/grafana_dashboard",
        "\"1\"",
        "",
    ),
    (
        "prometheus.grafanaDashboard.labels.grafana_dashboard",
        "\"yes\"",
        "ConfigMap/ferrolb-dashboard",
        "/metadata/labels/grafana_dashboard",
        "\"yes\"",
        DASHBOARD,
    ),
    (
        "prometheus.grafanaDashboard.annotations",
        "{\"a\":\"b\"}",
        "ConfigMap/ferrolb-dashboard",
        "/metadata/annotations/a",
        "\"b\"",
        DASHBOARD,
    ),
    ("prometheus.https.enabled", "true", SPEAKER, "ENV/FERROLB_METRICS_HTTPS/value", "\"true\"", ""),
    (
        "prometheus.https.tlsConfig.insecureSkipVerify",
        "false",
        "ServiceMonitor/ferrolb-speaker",
        "/spec/endpoints/0/tlsConfig/insecureSkipVerify",
        "false",
        "prometheus.serviceMonitor.enabled=true,prometheus.rbacPrometheus=false,prometheus.https.enabled=true,prometheus.speakerMetricsTLSSecret=mine",
    ),
    (
        "prometheus.controllerMetricsTLSSecret",
        "\"mine\"",
        CONTROLLER,
        "POD/volumes/0/secret/secretName",
        "\"mine\"",
        "prometheus.https.enabled=true",
    ),
    (
        "prometheus.speakerMetricsTLSSecret",
        "\"mine\"",
        SPEAKER,
        "CONTAINER/volumeMounts/1/mountPath",
        "\"/etc/ferrolb/metrics\"",
        "prometheus.https.enabled=true",
    ),
    ("speaker.metricsOnNode", "false", SPEAKER, "ENV/FERROLB_METRICS_ADDRESS", "null", ""),
    (
        "networkpolicies.enabled",
        "true",
        "NetworkPolicy/ferrolb-controller",
        "/spec/egress/0/ports/0/port",
        "6443",
        "",
    ),
    (
        "networkpolicies.defaultDeny",
        "true",
        "NetworkPolicy/ferrolb-default-deny",
        "/spec/podSelector",
        "{}",
        "networkpolicies.enabled=true",
    ),
    (
        "networkpolicies.apiPort",
        "443",
        "NetworkPolicy/ferrolb-controller",
        "/spec/egress/0/ports/0/port",
        "443",
        "networkpolicies.enabled=true",
    ),
    ("controller.replicas", "2", "PodDisruptionBudget/ferrolb-controller", "/spec/minAvailable", "1", ""),
    ("controller.leaseDuration", "30", CONTROLLER, "ENV/FERROLB_LEASE_DURATION/value", "\"30\"", ""),
    ("controller.strategy.type", "\"Recreate\"", CONTROLLER, "/spec/strategy/type", "\"Recreate\"", ""),
    (
        "controller.strategy.rollingUpdate.maxUnavailable",
        "1",
        CONTROLLER,
        "/spec/strategy/rollingUpdate/maxUnavailable",
        "1",
        "",
    ),
    (
        "controller.strategy.rollingUpdate.maxSurge",
        "2",
        CONTROLLER,
        "/spec/strategy/rollingUpdate/maxSurge",
        "2",
        "",
    ),
    (
        "controller.securityContext.runAsNonRoot",
        "false",
        CONTROLLER,
        "POD/securityContext/runAsNonRoot",
        "false",
        "",
    ),
    ("controller.securityContext.runAsUser", "7", CONTROLLER, "POD/securityContext/runAsUser", "7", ""),
    ("controller.securityContext.runAsGroup", "7", CONTROLLER, "POD/securityContext/runAsGroup", "7", ""),
    (
        "controller.securityContext.seccompProfile.type",
        "\"Localhost\"",
        CONTROLLER,
        "POD/securityContext/seccompProfile/type",
        "\"Localhost\"",
        "",
    ),
    ("speaker.securityContext.runAsUser", "7", SPEAKER, "POD/securityContext/runAsUser", "7", ""),
    ("speaker.securityContext.runAsGroup", "7", SPEAKER, "POD/securityContext/runAsGroup", "7", ""),
    ("speaker.securityContext.fsGroup", "7", SPEAKER, "POD/securityContext/fsGroup", "7", ""),
    (
        "speaker.securityContext.seccompProfile.type",
        "\"Localhost\"",
        SPEAKER,
        "POD/securityContext/seccompProfile/type",
        "\"Localhost\"",
        "",
    ),
    (
        "speaker.tolerateMaster",
        "false",
        SPEAKER,
        "POD/tolerations/1/key",
        "null",
        "json:speaker.tolerations=[{\"key\":\"a\",\"operator\":\"Exists\"}]",
    ),
    (
        "speaker.excludeInterfaces.enabled",
        "false",
        SPEAKER,
        "ENV/FERROLB_EXCLUDE_INTERFACES/value",
        "\"\"",
        "",
    ),
    (
        "speaker.excludeInterfaces.patterns",
        "[\"^lo$\",\"^wan.*\"]",
        SPEAKER,
        "ENV/FERROLB_EXCLUDE_INTERFACES/value",
        "\"^lo$ ^wan.*\"",
        "",
    ),
    ("speaker.ignoreExcludeLB", "true", SPEAKER, "ENV/FERROLB_IGNORE_EXCLUDE_LB/value", "\"true\"", ""),
    ("speaker.hello.interval", "250", SPEAKER, "ENV/FERROLB_HELLO_INTERVAL/value", "\"250\"", ""),
    ("speaker.hello.misses", "5", SPEAKER, "ENV/FERROLB_HELLO_MISSES/value", "\"5\"", ""),
    ("speaker.hello.transport", "\"udp\"", SPEAKER, "ENV/FERROLB_HELLO_TRANSPORT/value", "\"udp\"", ""),
    ("speaker.hello.port", "17499", SPEAKER, "ENV/FERROLB_HELLO_PORT/value", "\"17499\"", ""),
    ("speaker.standInLimit", "0", SPEAKER, "ENV/FERROLB_STAND_IN_LIMIT/value", "\"0\"", ""),
    ("speaker.refreshInterval", "300", SPEAKER, "ENV/FERROLB_REFRESH_INTERVAL/value", "\"300\"", ""),
    ("speaker.conflictDetection", "false", SPEAKER, "ENV/FERROLB_CONFLICT_DETECTION/value", "\"off\"", ""),
    ("speaker.updateStrategy.type", "\"OnDelete\"", SPEAKER, "/spec/updateStrategy/type", "\"OnDelete\"", ""),
    (
        "speaker.updateStrategy.rollingUpdate.maxUnavailable",
        "3",
        SPEAKER,
        "/spec/updateStrategy/rollingUpdate/maxUnavailable",
        "3",
        "",
    ),
    ("controller.adminPort", "9000", CONTROLLER, "CONTAINER/ports/0/containerPort", "9000", ""),
    ("speaker.adminPort", "9001", SPEAKER, "CONTAINER/ports/0/hostPort", "9001", ""),
];

const RBAC: &str = r#"json:prometheus={"podMonitor":{"enabled":true},"serviceAccount":"prometheus-k8s","namespace":"monitoring"}"#;
const NO_RBAC: &str = "prometheus.rbacPrometheus=false";
const RULE: &str = "prometheus.prometheusRule.enabled=true";
const DASHBOARD: &str = "prometheus.grafanaDashboard.enabled=true";

/// Those of both programs, below `controller` and `speaker`. `ACCOUNT` is the ServiceAccount, `SELF` the Deployment or DaemonSet.
const OF_EACH: [(&str, &str, &str, &str, &str); 27] = [
    ("enabled", "false", "SELF", "/spec", "null"),
    ("logLevel", "\"debug\"", "SELF", "ENV/FERROLB_LOG_LEVEL/value", "\"debug\""),
    ("image.repository", "\"own\"", "SELF", "CONTAINER/image", "\"own:dev\""),
    ("image.tag", "\"own\"", "SELF", "CONTAINER/image", "\"ferrolb:own\""),
    ("image.pullPolicy", "\"Never\"", "SELF", "CONTAINER/imagePullPolicy", "\"Never\""),
    ("serviceAccount.create", "false", "ACCOUNT", "/metadata", "null"),
    ("serviceAccount.name", "\"own\"", "SELF", "POD/serviceAccountName", "\"own\""),
    ("serviceAccount.annotations", "{\"a\":\"b\"}", "ACCOUNT", "/metadata/annotations/a", "\"b\""),
    ("resources.requests.cpu", "\"70m\"", "SELF", "CONTAINER/resources/requests/cpu", "\"70m\""),
    ("resources.requests.memory", "\"50Mi\"", "SELF", "CONTAINER/resources/requests/memory", "\"50Mi\""),
    ("resources.limits.memory", "\"1Gi\"", "SELF", "CONTAINER/resources/limits/memory", "\"1Gi\""),
    (
        "nodeSelector",
        "{\"a\":\"b\"}",
        "SELF",
        "POD/nodeSelector",
        "{\"a\":\"b\",\"kubernetes.io/os\":\"linux\"}",
    ),
    ("tolerations", "[{\"key\":\"a\",\"operator\":\"Exists\"}]", "SELF", "POD/tolerations/0/key", "\"a\""),
    ("priorityClassName", "\"own\"", "SELF", "POD/priorityClassName", "\"own\""),
    ("runtimeClassName", "\"own\"", "SELF", "POD/runtimeClassName", "\"own\""),
    ("affinity", "{\"podAffinity\":{}}", "SELF", "POD/affinity/podAffinity", "{}"),
    ("podAnnotations", "{\"a\":\"b\"}", "SELF", "/spec/template/metadata/annotations/a", "\"b\""),
    ("labels", "{\"a\":\"b\"}", "SELF", "/spec/template/metadata/labels/a", "\"b\""),
    ("livenessProbe.enabled", "false", "SELF", "CONTAINER/livenessProbe", "null"),
    ("livenessProbe.periodSeconds", "77", "SELF", "CONTAINER/livenessProbe/periodSeconds", "77"),
    ("livenessProbe.failureThreshold", "77", "SELF", "CONTAINER/livenessProbe/failureThreshold", "77"),
    ("livenessProbe.timeoutSeconds", "7", "SELF", "CONTAINER/livenessProbe/timeoutSeconds", "7"),
    ("readinessProbe.enabled", "false", "SELF", "CONTAINER/readinessProbe", "null"),
    ("readinessProbe.periodSeconds", "77", "SELF", "CONTAINER/readinessProbe/periodSeconds", "77"),
    ("readinessProbe.failureThreshold", "77", "SELF", "CONTAINER/readinessProbe/failureThreshold", "77"),
    ("readinessProbe.initialDelaySeconds", "7", "SELF", "CONTAINER/readinessProbe/initialDelaySeconds", "7"),
    ("readinessProbe.successThreshold", "7", "SELF", "CONTAINER/readinessProbe/successThreshold", "7"),
];

struct Try {
    path: String,
    value: String,
    object: String,
    pointer: String,
    expected: Value,
    besides: String,
}

fn tries() -> Vec<Try> {
    let parse = |text: &str| serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let pointer = |text: &str| {
        let text = text.replace("POD_ENDPOINT", "/spec/podMetricsEndpoints/0");
        let text = text.replace("CONTAINER", "POD/containers/0").replace("ENV", "POD/containers/0/env");
        text.replace("POD", POD)
    };
    let mut all: Vec<Try> = CASES
        .iter()
        .map(|(path, value, object, at, expected, besides)| Try {
            path: (*path).to_owned(),
            value: (*value).to_owned(),
            object: (*object).to_owned(),
            pointer: pointer(at),
            expected: parse(expected),
            besides: (*besides).to_owned(),
        })
        .collect();
    for (program, itself) in [("controller", CONTROLLER), ("speaker", SPEAKER)] {
        for (path, value, object, at, expected) in OF_EACH {
            // One that is not made has to be there already, under a name.
            let there = path == "serviceAccount.create";
            let besides = if there { format!("{program}.serviceAccount.name=there") } else { String::new() };
            let account = if there { "there".to_owned() } else { format!("ferrolb-{program}") };
            all.push(Try {
                path: format!("{program}.{path}"),
                value: value.to_owned(),
                object: if object == "SELF" {
                    itself.to_owned()
                } else {
                    format!("ServiceAccount/{account}")
                },
                pointer: pointer(at),
                expected: parse(expected),
                besides,
            });
        }
    }
    all
}

#[test]
fn each_value_does_what_it_says() {
    let renderer = Renderer::new().expect("the programs");
    let render = |sets: &[&str]| -> Result<BTreeMap<String, Value>, String> {
        objects(&renderer.template(sets).map_err(|error| error.to_string())?)
    };
    let mut usual = BTreeMap::new();
    let mut wrong = Vec::new();
    for one in tries() {
        // The definitions are most of the chart, and no value is about their content.
        let lean = if one.path.starts_with("crds.") { "" } else { "crds.enabled=false" };
        let seen = |made: &Result<BTreeMap<String, Value>, String>| {
            let made = made.as_ref().map_err(String::clone)?;
            Ok::<_, String>(
                made.get(&one.object).and_then(|all| all.pointer(&one.pointer)).cloned().unwrap_or_default(),
            )
        };
        let base = usual.entry((one.besides.clone(), lean)).or_insert_with(|| render(&[&one.besides, lean]));
        let set = format!("{}={}", one.path, one.value);
        let (before, after) = (seen(base), seen(&render(&[&one.besides, lean, &format!("json:{set}")])));
        if before.as_ref() == Ok(&one.expected) || after.as_ref() != Ok(&one.expected) {
            wrong.push(format!(
                "{set}: {} {}: {before:?} became {after:?}, not {}",
                one.object, one.pointer, one.expected
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn values_of_a_release_from_before_leave_the_speaker_its_seccomp_profile() {
    let renderer = Renderer::new().expect("the programs");
    // So it is where `helm upgrade --reuse-values` brings values without it.
    for values in ["speaker.securityContext=null", "speaker.securityContext.seccompProfile=null"] {
        let made = renderer.template(&["crds.enabled=false", values]).expect(values);
        let pod = &objects(&made).expect(values)[SPEAKER]["spec"]["template"]["spec"];
        let expected = json!({
            "runAsUser": 0, "runAsGroup": 0, "fsGroup": 65534,
            "seccompProfile": {"type": "RuntimeDefault"},
        });
        assert_eq!(pod["securityContext"], expected, "{values}");
    }
}

/// The alerts of a release with these values.
fn alerts(renderer: &Renderer, values: &str) -> BTreeSet<String> {
    let rule = "prometheus.prometheusRule.enabled=true,crds.enabled=false";
    let made = renderer.template(&[rule, values]).expect(values);
    let made = objects(&made).expect(values);
    let groups = made["PrometheusRule/ferrolb"]["spec"]["groups"].as_array().expect("groups");
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().expect("rules"));
    rules.map(|rule| rule["alert"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn nobody_is_told_that_a_program_is_away_that_the_release_does_not_have() {
    let renderer = Renderer::new().expect("the programs");
    let all = alerts(&renderer, "");
    for (value, alert) in
        [("controller.enabled=false", "FerroLBNoController"), ("speaker.enabled=false", "FerroLBNoSpeaker")]
    {
        let less = alerts(&renderer, value);
        assert_eq!(all.difference(&less).collect::<Vec<_>>(), [alert], "{value}");
    }
}

/// The paths of all values in `values`, and what they are.
fn leaves(path: &str, value: &Value, found: &mut Vec<(String, Value)>) {
    match value.as_object().filter(|map| !map.is_empty()) {
        Some(map) => {
            for (key, inner) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                leaves(&path, inner, found);
            }
        }
        None => found.push((path.to_owned(), value.clone())),
    }
}

fn documented() -> Vec<(String, Value)> {
    let text = std::fs::read_to_string(chart().join("values.yaml")).expect("values.yaml");
    let values: Value = serde_saphyr::from_str(&text).expect("YAML");
    let mut found = Vec::new();
    leaves("", &values, &mut found);
    assert!(found.len() > 100, "only {} values", found.len());
    found
}

#[test]
fn no_value_is_left_untried() {
    let tried: BTreeSet<String> = tries().into_iter().map(|one| one.path).collect();
    for (path, _) in documented() {
        assert!(tried.contains(&path), "{path} is in values.yaml and in no case here");
    }
}

#[test]
fn the_table_in_the_documents_is_values_yaml() {
    let text =
        std::fs::read_to_string(ferrolb_tests::plane::project("docs/install.md")).expect("docs/install.md");
    let table: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| {
            let (path, rest) = line.split_once("` | `")?;
            Some((path, rest.split_once("` |")?.0))
        })
        .filter(|(path, value)| !path.contains('`') && !value.contains('`'))
        .collect();
    let expected: Vec<(String, String)> =
        documented().into_iter().map(|(path, value)| (path, value.to_string())).collect();
    let missing: Vec<_> =
        expected.iter().filter(|(path, value)| !table.contains(&(path.as_str(), value.as_str()))).collect();
    assert!(missing.is_empty(), "not in docs/install.md, or with another default: {missing:?}");
    for (path, value) in &table {
        assert!(
            expected.iter().any(|(known, _)| known == path),
            "docs/install.md has {path} ({value}), values.yaml has not"
        );
    }
}

#[test]
fn what_cannot_work_is_refused_in_words() {
    let renderer = Renderer::new().expect("the programs");
    let cases = [
        // Not known to either chart.
        ("json:speaker.frrr={}", "at '/speaker': additional properties 'frrr' not allowed"),
        ("json:speaker.hello.intervall=100", "additional properties 'intervall' not allowed"),
        // Known, but not so.
        ("json:controller.replicas=\"two\"", "at '/controller/replicas': got string, want integer"),
        ("json:speaker.hello.interval=5", "at '/speaker/hello/interval': minimum: got 5, want 10"),
        ("json:speaker.hello.transport=\"smoke\"", "at '/speaker/hello/transport': value must be one of"),
        ("json:speaker.excludeInterfaces.patterns=[\"a b\"]", "at '/speaker/excludeInterfaces/patterns/0'"),
        // MetalLB's alone.
        ("json:speaker.frr={\"enabled\":true}", "speaker.frr: BGP is not supported yet; leave it out"),
        ("json:frrk8s={\"enabled\":true}", "frrk8s: BGP is not supported yet; set frrk8s.enabled to false"),
        ("json:speaker.memberlist={\"mlSecretKeyPath\":\"x\"}", "speaker.memberlist: there is no memberlist"),
        (
            "json:speaker.secretName=\"mine\"",
            "speaker.secretName: speakers sign their hellos with the key in the Secret",
        ),
        ("json:controller.webhookMode=\"disabled\"", "unless admission.enabled is false"),
        ("json:crds.validationFailurePolicy=\"Ignore\"", "set admission.enabled to false"),
        ("json:prometheus.metricsPort=7472", "controller.adminPort and speaker.adminPort"),
        (
            "prometheus.https.enabled=true,prometheus.podMonitor.enabled=true,prometheus.rbacPrometheus=false",
            "a PodMonitor cannot show the token of Prometheus",
        ),
        (
            "prometheus.speakerMetricsTLSSecret=mine",
            "are certificates for HTTPS: set prometheus.https.enabled",
        ),
        ("tracesEndpoint=http://collector:4318", "it needs to be http:// and an address"),
        ("speaker.metricsOnNode=false,prometheus.scrapeAnnotations=true", "so no Prometheus can read"),
        ("json:nameOverride=\"x\"", "objects are named by fullnameOverride alone"),
        ("json:configInline={\"peers\":[]}", "pools are objects of their own"),
        (
            "json:controller.image.repository=\"quay.io/metallb/controller\"",
            "is an image of MetalLB: leave it out",
        ),
        // Against each other.
        ("prometheus.podMonitor.enabled=true", "set prometheus.serviceAccount and prometheus.namespace"),
        (
            "prometheus.podMonitor.enabled=true,prometheus.serviceMonitor.enabled=true,prometheus.rbacPrometheus=false",
            "both enabled, and each sample would be there twice",
        ),
        ("metallbNames=true,fullnameOverride=x", "both say what objects are called"),
        ("networkpolicies.defaultDeny=true", "without networkpolicies.enabled does nothing"),
        ("speaker.serviceAccount.create=false", "set speaker.serviceAccount.name to one that is there"),
        (
            "speaker.hello.transport=ethernet,speaker.hello.port=1000",
            "which speaker.hello.transport ethernet does not use",
        ),
        ("controller.adminPort=17481", "are the same: choose two"),
        ("controller.replicas=2,controller.strategy.type=Recreate", "ends all replicas at once"),
        (
            "speaker.excludeInterfaces.enabled=false,speaker.excludeInterfaces.patterns[0]=x",
            "patterns are given, but speaker.excludeInterfaces.enabled is false",
        ),
    ];
    let mut wrong = Vec::new();
    for (set, words) in cases {
        match renderer.template(&[set]) {
            Err(error) if error.to_string().contains(words) => {}
            Err(error) => wrong.push(format!("{set}: {error}")),
            Ok(_) => wrong.push(format!("{set} is taken")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // All of them are told at once.
    let error = renderer.template(&["json:nameOverride=\"x\"", "networkpolicies.defaultDeny=true"]);
    let error = error.expect_err("two mistakes").to_string();
    assert!(error.contains("nameOverride") && error.contains("defaultDeny"), "{error}");
}

/// What a MetalLB user's file has that switches something off, or repeats a default.
#[test]
fn values_of_metallb_that_change_nothing_are_taken() {
    let renderer = Renderer::new().expect("the programs");
    let usual = renderer.template(&[]).expect("the chart");
    let theirs = json!({
        "controller.webhookMode": "enabled", "crds.validationFailurePolicy": "Fail", "prometheus.metricsPort": 9120,
        "speaker.memberlist": {"enabled": true, "mlBindPort": 7946}, "speaker.frr": {"enabled": false},
        "frrk8s": {"enabled": false}, "speaker.startupProbe": {"enabled": false}, "nameOverride": "",
    });
    let sets: Vec<String> = theirs
        .as_object()
        .into_iter()
        .flatten()
        .map(|(path, value)| format!("json:{path}={value}"))
        .collect();
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    assert_eq!(renderer.template(&sets).expect("taken"), usual);
    let levels = renderer.template(&["controller.logLevel=all,speaker.logLevel=none"]).expect("taken");
    assert!(levels.contains("\"trace\"") && levels.contains("\"off\""));
}

#[test]
fn lint_has_nothing_to_say() {
    let renderer = Renderer::new().expect("the programs");
    let said = renderer.helm(&["lint", "--strict", &chart().to_string_lossy()]).expect("helm lint");
    assert!(said.contains("1 chart(s) linted, 0 chart(s) failed") && !said.contains("[WARNING]"), "{said}");
}
