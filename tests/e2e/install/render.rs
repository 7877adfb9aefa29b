//! What kustomize and Helm make of `config/` and of `charts/ferrolb`, without a cluster.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use ferrolb_tests::lab::progress::Progress;
use ferrolb_tests::lab::{LabError, helm, process, programs};
use ferrolb_tests::plane::project;
use ferrolb_tests::scene::SYSTEM;
use serde_json::{Map, Value};

/// The name of the release, as users would choose it.
pub(crate) const RELEASE: &str = "ferrolb";

/// Overlays of `config/`, each with the values by which the chart makes the same.
pub(crate) const OVERLAYS: [(&str, &str); 8] = [
    ("config/default", ""),
    ("config/replicas", "controller.replicas=2"),
    (
        "config/prometheus",
        "prometheus.podMonitor.enabled=true,prometheus.serviceAccount=prometheus-k8s,prometheus.namespace=monitoring,\
         prometheus.prometheusRule.enabled=true,prometheus.grafanaDashboard.enabled=true",
    ),
    (
        "config/metrics-https",
        "prometheus.serviceMonitor.enabled=true,prometheus.serviceAccount=prometheus-k8s,prometheus.namespace=monitoring,\
         prometheus.prometheusRule.enabled=true,prometheus.grafanaDashboard.enabled=true,prometheus.https.enabled=true",
    ),
    ("config/network-policies", "networkpolicies.enabled=true"),
    ("config/metallb-names", "metallbNames=true"),
    (
        "config/non-root",
        "speaker.securityContext.runAsNonRoot=true,speaker.securityContext.runAsUser=65534,\
         speaker.securityContext.runAsGroup=65534",
    ),
    (
        "config/seccomp",
        "controller.securityContext.seccompProfile.type=Localhost,\
         controller.securityContext.seccompProfile.localhostProfile=ferrolb/controller.json,\
         speaker.securityContext.seccompProfile.type=Localhost,\
         speaker.securityContext.seccompProfile.localhostProfile=ferrolb/speaker.json",
    ),
];

/// The chart's folder.
pub(crate) fn chart() -> PathBuf {
    project("charts/ferrolb")
}

/// The programs that render.
pub(crate) struct Renderer {
    kubectl: PathBuf,
    helm: PathBuf,
    home: tempfile::TempDir,
}

impl Renderer {
    /// Builds helm if that has to be.
    pub(crate) fn new() -> Result<Self, LabError> {
        let progress = Progress::default();
        let kubectl = programs::programs(None, &progress)?.join("kubectl");
        let home = tempfile::tempdir().map_err(LabError::at("a temporary folder"))?;
        Ok(Renderer { kubectl, helm: helm::program(&progress)?, home })
    }

    /// What `kubectl apply -k` would send.
    pub(crate) fn kustomize(&self, folder: &str) -> Result<String, LabError> {
        process::run(Command::new(&self.kubectl).arg("kustomize").arg(project(folder)))
    }

    /// Runs helm without a cluster.
    pub(crate) fn helm(&self, arguments: &[&str]) -> Result<String, LabError> {
        let mut helm = Command::new(&self.helm);
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            helm.env(name, self.home.path());
        }
        process::run(helm.args(arguments))
    }

    /// What a release of the chart at `chart` would be, with these values: `path=value,…`, or `json:path=value`.
    pub(crate) fn template_of(&self, chart: &Path, sets: &[&str]) -> Result<String, LabError> {
        let chart = chart.to_string_lossy();
        let mut arguments = vec!["template", RELEASE, &chart, "--namespace", SYSTEM];
        for set in sets.iter().filter(|set| !set.is_empty()) {
            match set.strip_prefix("json:") {
                Some(set) => arguments.extend(["--set-json", set]),
                None => arguments.extend(["--set", set]),
            }
        }
        self.helm(&arguments)
    }

    /// What a release of the chart would be.
    pub(crate) fn template(&self, sets: &[&str]) -> Result<String, LabError> {
        self.template_of(&chart(), sets)
    }
}

/// Kind and name.
pub(crate) type Id = String;

/// The objects of a manifest by `Kind/name`, each in a form that can be compared: environment variables by their names.
pub(crate) fn objects(manifest: &str) -> Result<BTreeMap<Id, Value>, String> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(manifest).map_err(|error| error.to_string())?;
    let mut objects = BTreeMap::new();
    for mut object in documents.into_iter().filter(|document| !document.is_null()) {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let id = format!("{}/{}", word(&object["kind"]), word(&object["metadata"]["name"]));
        by_name(&mut object);
        if objects.insert(id.clone(), object).is_some() {
            return Err(format!("{id} is there twice"));
        }
    }
    Ok(objects)
}

fn by_name(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            if let Some(Value::Array(list)) = entries.get("env") {
                let named: Map<String, Value> = list
                    .iter()
                    .map(|variable| {
                        (variable["name"].as_str().unwrap_or_default().to_owned(), variable.clone())
                    })
                    .collect();
                entries.insert("env".to_owned(), Value::Object(named));
            }
            entries.values_mut().for_each(by_name);
        }
        Value::Array(list) => list.iter_mut().for_each(by_name),
        _ => {}
    }
}

/// The labels that Helm's users expect on every object, beside ours.
const RELEASE_LABELS: [&str; 4] = [
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "helm.sh/chart",
];

/// Takes away what says that an object belongs to a release.
pub(crate) fn without_release(objects: &mut BTreeMap<Id, Value>) {
    for (id, object) in objects.iter_mut() {
        let Some(labels) = object.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) else {
            continue;
        };
        for label in RELEASE_LABELS {
            assert!(labels.remove(label).is_some(), "{id} has no label {label}");
        }
    }
}

/// Where two values differ, as paths.
pub(crate) fn differences(path: &str, one: &Value, other: &Value, found: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
            for key in keys {
                let of = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                differences(&format!("{path}/{key}"), &of(one), &of(other), found);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                differences(&format!("{path}/{index}"), one, other, found);
            }
        }
        (one, other) if one == other => {}
        (one, other) => found.push(format!("{path}: {one} against {other}")),
    }
}
