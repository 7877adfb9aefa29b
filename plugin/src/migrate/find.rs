//! What of a cluster's Deployments and DaemonSets is MetalLB's, and what is FerroLB's.
//!
//! Names and namespaces are the user's own, so they do not count; labels do, and what the containers are.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::cluster::{Product, Setting, Workload};

/// One that is MetalLB's or FerroLB's.
pub(crate) fn deployment(object: Deployment) -> Option<Workload> {
    let spec = object.spec?;
    let pod = spec.template.spec?;
    let replicas = spec.replicas.unwrap_or(1);
    recognised("Deployment", object.metadata, &spec.selector, &pod)
        .map(|workload| Workload { replicas, ..workload })
}

/// The same.
pub(crate) fn daemon_set(object: DaemonSet) -> Option<Workload> {
    let spec = object.spec?;
    let pod = spec.template.spec?;
    recognised("DaemonSet", object.metadata, &spec.selector, &pod)
}

fn recognised(kind: &str, metadata: ObjectMeta, selector: &LabelSelector, pod: &PodSpec) -> Option<Workload> {
    let labels = metadata.labels.unwrap_or_default();
    let (product, container) =
        pod.containers.iter().find_map(|container| Some((product(kind, &labels, container)?, container)))?;
    let mut annotations = metadata.annotations.unwrap_or_default();
    annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    let owners = metadata.owner_references.unwrap_or_default();
    Some(Workload {
        product: Some(product),
        kind: kind.to_owned(),
        namespace: metadata.namespace.unwrap_or_default(),
        name: metadata.name.unwrap_or_default(),
        replicas: 0,
        selector: selector_text(selector),
        image: container.image.clone().unwrap_or_default(),
        settings: settings(container),
        labels,
        annotations,
        owners: owners.into_iter().map(|owner| format!("{} {}", owner.kind, owner.name)).collect(),
    })
}

/// What this container of such an object is.
///
/// FerroLB first: an overlay gives it MetalLB's names and labels.
fn product(kind: &str, labels: &BTreeMap<String, String>, container: &Container) -> Option<Product> {
    let label = |name: &str| labels.get(name).map_or("", String::as_str);
    let env = container.env.as_deref().unwrap_or_default();
    let has_env = |prefix: &str| env.iter().any(|variable| variable.name.starts_with(prefix));
    let (path, program) = image_parts(container.image.as_deref().unwrap_or_default());
    let command = container.command.as_deref().unwrap_or_default().first().map_or("", String::as_str);
    let command = command.rsplit('/').next().unwrap_or_default();
    let named = |part: &str| {
        [container.name.as_str(), command, program].iter().any(|name| {
            *name == part || name.strip_prefix("metallb-").or(name.strip_prefix("ferrolb-")) == Some(part)
        })
    };
    let part = match kind {
        "Deployment" if named("controller") => Some(Part::Controller),
        "DaemonSet" if named("speaker") => Some(Part::Speaker),
        _ => None,
    };
    if command.starts_with("ferrolb-") || has_env("FERROLB_") || label("app.kubernetes.io/name") == "ferrolb"
    {
        return Some(match part? {
            Part::Controller => Product::FerrolbController,
            Part::Speaker => Product::FerrolbSpeaker,
        });
    }
    if label("app.kubernetes.io/name") == "frr-k8s" || label("app") == "frr-k8s" {
        return Some(Product::FrrK8s);
    }
    let of_metallb = label("app") == "metallb"
        || label("app.kubernetes.io/name") == "metallb"
        || path.split('/').any(|folder| folder == "metallb")
        || program.starts_with("metallb-")
        || has_env("METALLB_");
    match part {
        Some(Part::Controller) if of_metallb => Some(Product::MetallbController),
        Some(Part::Speaker) if of_metallb => Some(Product::MetallbSpeaker),
        _ => None,
    }
}

/// Which of the two programs.
enum Part {
    Controller,
    Speaker,
}

/// The folders of an image's name, and its last part without tag and digest.
fn image_parts(image: &str) -> (&str, &str) {
    let (path, last) = image.split('@').next().unwrap_or_default().rsplit_once('/').unwrap_or(("", image));
    (path, last.split([':', '@']).next().unwrap_or_default())
}

/// `a=b,c=d`, as kubectl takes it.
fn selector_text(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.iter().flatten();
    labels.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

/// Flags and variables with a value of their own.
fn settings(container: &Container) -> Vec<Setting> {
    let words = || container.command.iter().flatten().skip(1).chain(container.args.iter().flatten());
    let mut settings = Vec::new();
    let mut words = words().map(String::as_str).peekable();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix("--").or(word.strip_prefix('-')) else { continue };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => {
                let value = words.next_if(|next| !next.starts_with('-'));
                (flag, value.unwrap_or("true").to_owned())
            }
        };
        settings.push(Setting { name: name.to_owned(), value, written: word.to_owned() });
    }
    for variable in container.env.iter().flatten() {
        let known = ["METALLB_", "FERROLB_", "FRR_", "FRRK8S_"]
            .iter()
            .any(|prefix| variable.name.starts_with(prefix));
        if let Some(value) = variable.value.as_ref().filter(|_| known) {
            let written = format!("{}={value}", variable.name);
            settings.push(Setting { name: variable.name.clone(), value: value.clone(), written });
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn speaker(labels: Value, container: Value) -> Option<Workload> {
        daemon_set(
            serde_json::from_value(json!({
                "metadata": {"name": "any", "namespace": "lb", "labels": labels},
                "spec": {
                    "selector": {"matchLabels": {"b": "2", "a": "1"}},
                    "template": {"spec": {"containers": [{"name": "proxy", "image": "x"}, container]}},
                },
            }))
            .unwrap(),
        )
    }

    fn kind_of(labels: Value, container: Value) -> Option<Product> {
        speaker(labels, container).and_then(|workload| workload.product)
    }

    #[test]
    fn metallb_is_known_by_its_labels_its_image_or_its_variables() {
        let metallb = Some(Product::MetallbSpeaker);
        assert_eq!(kind_of(json!({"app": "metallb"}), json!({"name": "speaker", "image": "x"})), metallb);
        let helm = json!({"app.kubernetes.io/name": "metallb"});
        assert_eq!(kind_of(helm, json!({"name": "metallb-speaker", "image": "x"})), metallb);
        let image = "quay.io/metallb/speaker:v0.16.1@sha256:0";
        assert_eq!(kind_of(json!({}), json!({"name": "a", "image": image})), metallb);
        let image = "registry.example.com:5000/mirror/metallb-speaker:1";
        assert_eq!(kind_of(json!({}), json!({"name": "a", "image": image})), metallb);
        let env = json!([{"name": "METALLB_NODE_NAME", "value": "n"}]);
        assert_eq!(kind_of(json!({}), json!({"name": "speaker", "image": "x", "env": env})), metallb);
        assert_eq!(kind_of(json!({}), json!({"name": "speaker", "image": "loud/speaker"})), None);
    }

    #[test]
    fn ferrolb_with_metallbs_labels_is_ferrolb() {
        let labels = json!({"app": "metallb", "component": "speaker"});
        let container = json!({"name": "speaker", "image": "ferrolb:dev", "command": ["/ferrolb-speaker"]});
        assert_eq!(kind_of(labels, container), Some(Product::FerrolbSpeaker));
    }

    #[test]
    fn flags_are_read_however_they_are_written() {
        let container = json!({
            "name": "speaker", "image": "quay.io/metallb/speaker:v0.16.1",
            "args": ["--lb-class", "metal", "--ignore-exclude-lb", "-port=7472"],
            "env": [{"name": "METALLB_BGP_TYPE", "value": "native"}, {"name": "GOGC", "value": "50"},
                    {"name": "METALLB_HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}],
        });
        let found = speaker(json!({}), container).unwrap();
        let settings: Vec<_> =
            found.settings.iter().map(|setting| (setting.name.as_str(), setting.value.as_str())).collect();
        let expected = [
            ("lb-class", "metal"),
            ("ignore-exclude-lb", "true"),
            ("port", "7472"),
            ("METALLB_BGP_TYPE", "native"),
        ];
        assert_eq!(settings, expected);
        assert_eq!((found.selector.as_str(), found.version().as_deref()), ("a=1,b=2", Some("v0.16.1")));
    }
}
