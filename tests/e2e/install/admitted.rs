//! What the API server says to all that is installed: strict decoding, and Pod Security.

use std::path::{Path, PathBuf};

use ferrolb_tests::lab::{LabError, process, prometheus_operator};
use ferrolb_tests::plane::{Plane, project};
use ferrolb_tests::scene::SYSTEM;
use serde_json::{Value, json};

use crate::render::{OVERLAYS, Renderer, objects};

/// A namespace in which Pod Security lets only careful pods in.
const CAREFUL: &str = "careful";

/// A ready control plane with every definition, our namespace, and a careful one.
pub(crate) fn prepare(plane: &Plane) -> Result<(), LabError> {
    plane.apply_crds()?;
    for file in prometheus_operator::definitions()? {
        process::run(plane.lab.kubectl().args(["apply", "--server-side", "-f"]).arg(&file))?;
    }
    for name in ["podmonitors", "servicemonitors", "prometheusrules"] {
        let name = format!("crd/{name}.monitoring.coreos.com");
        plane.kubectl(&["wait", "--for=condition=Established", &name, "--timeout=60s"])?;
    }
    plane.kubectl(&["create", "namespace", CAREFUL])?;
    plane.kubectl(&["label", "namespace", CAREFUL, "pod-security.kubernetes.io/enforce=restricted"]).map(drop)
}

/// Every manifest, by what it is called: the files as they are, what kustomize makes, what Helm makes.
fn manifests(renderer: &Renderer) -> Result<Vec<(String, String)>, LabError> {
    let mut all = Vec::new();
    let mut folders = vec![project("config"), project("crds")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(LabError::at(&folder))? {
            let path: PathBuf = entry.map_err(LabError::at(&folder))?.path();
            let named = |ending: &str| path.to_string_lossy().ends_with(ending);
            if path.is_dir() && folder != project("crds") {
                folders.push(path);
            } else if named(".yaml") && !named("kustomization.yaml") {
                let text = std::fs::read_to_string(&path).map_err(LabError::at(&path))?;
                all.push((path.display().to_string(), text));
            }
        }
    }
    for (folder, values) in OVERLAYS {
        all.push((folder.to_owned(), renderer.kustomize(folder)?));
        all.push((format!("the chart with {values:?}"), renderer.template(&[values])?));
    }
    let services = "prometheus.serviceMonitor.enabled=true,prometheus.rbacPrometheus=false,prometheus.scrapeAnnotations=true";
    all.push(("the chart with ServiceMonitors".to_owned(), renderer.template(&[services])?));
    let more = "networkpolicies.enabled=true,networkpolicies.defaultDeny=true,controller.replicas=2,metallbNames=true,\
                speaker.hello.port=17499,speaker.standInLimit=0,speaker.tolerations[0].key=a,speaker.ignoreExcludeLB=true";
    all.push(("the chart with more".to_owned(), renderer.template(&[more])?));
    assert!(all.len() > 25, "only {} manifests", all.len());
    Ok(all)
}

/// What kubectl says to a manifest that is sent to be looked at strictly.
fn dry_run(plane: &Plane, file: &Path) -> Result<String, LabError> {
    let how = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts", "-f"];
    process::run(plane.lab.kubectl().args(how).arg(file))
}

/// The namespaces of a sample.
fn own_namespaces(text: &str) -> Result<Vec<String>, String> {
    let namespaces =
        objects(text)?.into_keys().filter_map(|id| id.strip_prefix("Namespace/").map(str::to_owned));
    Ok(namespaces.filter(|name| name.starts_with("sample-")).collect())
}

/// All manifests pass; one with a field too many does not.
pub(crate) fn strictly(plane: &Plane, renderer: &Renderer) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file = folder.path().join("manifest.yaml");
    let mut wrong = Vec::new();
    for (name, text) in manifests(renderer).map_err(|error| error.to_string())? {
        // What is in a namespace that a manifest makes itself can be looked at only where that is there.
        for namespace in own_namespaces(&text)? {
            plane.kubectl(&["create", "namespace", &namespace]).map_err(|error| error.to_string())?;
        }
        std::fs::write(&file, &text).map_err(|error| error.to_string())?;
        match dry_run(plane, &file) {
            Ok(said) if said.contains("Warning") => wrong.push(format!("{name}: {said}")),
            Ok(_) => {}
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    let deployment =
        std::fs::read_to_string(project("config/default/controller.yaml")).expect("the manifest");
    std::fs::write(&file, deployment.replace("replicas: 1", "replicas: 1\n  replikas: 1")).expect("a file");
    match dry_run(plane, &file) {
        Err(error)
            if error.to_string().contains(".spec.replikas: field not declared in schema")
                || error.to_string().contains("unknown field \"spec.replikas\"") => {}
        other => wrong.push(format!("a field too many: {other:?}")),
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// Asks whether a pod of this template could be made in the careful namespace.
fn careful(plane: &Plane, pod: &Value) -> Result<(), String> {
    let mut pod = pod.clone();
    // These are there in its own namespace alone.
    pod.as_object_mut().map(|pod| pod.remove("serviceAccountName"));
    let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "trial", "namespace": CAREFUL}, "spec": pod});
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file = folder.path().join("pod.json");
    std::fs::write(&file, object.to_string()).map_err(|error| error.to_string())?;
    let created = process::run(plane.lab.kubectl().args(["create", "--dry-run=server", "-f"]).arg(&file));
    created.map(drop).map_err(|error| error.to_string())
}

/// The controller is of the level *restricted*, and the speaker is but for what being on its node's network takes, NET_RAW and, where
/// nothing else is asked for, user 0.
pub(crate) fn pod_security(plane: &Plane, renderer: &Renderer) -> Result<(), String> {
    for (folder, values) in OVERLAYS {
        for text in [renderer.kustomize(folder), renderer.template(&[values])] {
            let all = objects(&text.map_err(|error| error.to_string())?)?;
            let mut seen = 0;
            for (id, object) in &all {
                let mut pod = object["spec"]["template"]["spec"].clone();
                let Some(container) = pod.pointer_mut("/containers/0") else { continue };
                // Back to the form that the API server knows.
                let env: Vec<Value> = container["env"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(_, variable)| variable.clone())
                    .collect();
                container["env"] = env.into();
                seen += 1;
                if id.starts_with("Deployment/") {
                    careful(plane, &pod).map_err(|error| format!("{folder}: {id}: {error}"))?;
                    continue;
                }
                let said = careful(plane, &pod).err().unwrap_or_default();
                let needs =
                    ["host namespaces (hostNetwork=true)", "hostPort", "must not include \"NET_RAW\""];
                let root = folder != "config/non-root";
                if said.contains("runAs") != root {
                    return Err(format!("{folder}: {id}: whether it is root: {said}"));
                }
                if let Some(lacking) = needs.iter().find(|need| !said.contains(*need)) {
                    return Err(format!("{folder}: {id}: nothing about {lacking}: {said}"));
                }
                pod["hostNetwork"] = false.into();
                let container = &mut pod["containers"][0];
                container["ports"] = json!([]);
                // It listens on 127.0.0.1 of its node; a pod with a network of its own would be asked on its address.
                for probe in ["livenessProbe", "readinessProbe"] {
                    container[probe]["httpGet"]["port"] = 17481.into();
                    container[probe]["httpGet"].as_object_mut().map(|asked| asked.remove("host"));
                }
                let security = container["securityContext"].as_object_mut().ok_or("no securityContext")?;
                if security["capabilities"] != json!({"drop": ["ALL"], "add": ["NET_RAW"]}) {
                    return Err(format!("{folder}: {id}: {security:?}"));
                }
                security.insert("capabilities".into(), json!({"drop": ["ALL"]}));
                if root {
                    pod["securityContext"]["runAsUser"] = 65534.into();
                    pod["securityContext"]["runAsNonRoot"] = true.into();
                }
                careful(plane, &pod).map_err(|error| format!("{folder}: {id}: needs more: {error}"))?;
            }
            if seen != 2 {
                return Err(format!("{folder}: {seen} programs"));
            }
        }
    }
    let namespace = objects(&renderer.kustomize("config/default").map_err(|error| error.to_string())?)?;
    let level = &namespace[&format!("Namespace/{SYSTEM}")]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"];
    if level == "privileged" { Ok(()) } else { Err(format!("{SYSTEM} is {level}")) }
}
