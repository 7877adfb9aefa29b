//! How MetalLB was installed, and who keeps it as it is.
//!
//! `helm uninstall` deletes what is in the manifest that Helm stored with the release, and of that leaves only what carries
//! `helm.sh/resource-policy: keep` *there*; an annotation on the object in the cluster is not looked at. MetalLB's chart has its
//! definitions among its templates, so they are in that manifest, and with a definition go all its objects: every pool. `helm
//! upgrade` with `crds.enabled=false` does look at the object in the cluster, but it is a whole upgrade: it may restart the
//! speakers, and where one annotation is missing a definition is gone. So the plan lets Helm delete nothing: objects go by their names, and
//! then the records of the release, after which no `helm uninstall` finds it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;

use super::cluster::Workload;

const RELEASE_NAME: &str = "meta.helm.sh/release-name";
const RELEASE_NAMESPACE: &str = "meta.helm.sh/release-namespace";
const INSTANCE: &str = "app.kubernetes.io/instance";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// How MetalLB came into the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "camelCase")]
pub enum Installed {
    /// By its manifest, or something made of it.
    Manifest,
    /// By its chart.
    Helm {
        /// The name of the release.
        release: String,
        /// The namespace where Helm keeps the release's records; MetalLB's own, if they say no other.
        namespace: String,
        /// Helm did it; else a tool that only takes the chart's templates, and there are no records.
        recorded: bool,
    },
    /// An operator made it.
    Operator {
        /// Kind and name of the object that it was made of.
        owner: String,
    },
}

impl Installed {
    /// As this Deployment or DaemonSet tells.
    pub fn of(workload: &Workload) -> Self {
        if let Some(owner) = workload.owners.first() {
            return Installed::Operator { owner: owner.clone() };
        }
        let namespace = workload.annotations.get(RELEASE_NAMESPACE).unwrap_or(&workload.namespace).clone();
        if let Some(release) = workload.annotations.get(RELEASE_NAME) {
            return Installed::Helm { release: release.clone(), namespace, recorded: true };
        }
        let by_helm = workload.labels.get(MANAGED_BY).is_some_and(|tool| tool == "Helm");
        match workload.labels.get(INSTANCE).filter(|_| by_helm) {
            Some(release) => Installed::Helm { release: release.clone(), namespace, recorded: false },
            None => Installed::Manifest,
        }
    }
}

/// Whether an object is of `release`: by Helm's annotations where `namespace` is given, else by labels.
pub(crate) fn is_of(metadata: &ObjectMeta, release: &str, namespace: Option<&str>) -> bool {
    let is = |map: &Option<std::collections::BTreeMap<String, String>>, name: &str, value: &str| {
        map.as_ref().and_then(|map| map.get(name)).is_some_and(|text| text == value)
    };
    match namespace {
        Some(namespace) => {
            is(&metadata.annotations, RELEASE_NAME, release)
                && is(&metadata.annotations, RELEASE_NAMESPACE, namespace)
        }
        None => is(&metadata.labels, INSTANCE, release),
    }
}

/// The tool that would undo each step, as it keeps MetalLB as it is written elsewhere.
pub(crate) fn keeper(workload: &Workload) -> Option<String> {
    let label = |name: &str| workload.labels.get(name).or_else(|| workload.annotations.get(name));
    let flux = |kind: &str, tool: &str| {
        let name = label(&format!("{tool}.toolkit.fluxcd.io/name"))?;
        Some(format!("Flux ({kind} {name})"))
    };
    let argo = || {
        let tracked = label("argocd.argoproj.io/tracking-id").and_then(|id| id.split(':').next());
        let name = label("argocd.argoproj.io/instance").map(String::as_str).or(tracked)?;
        Some(format!("Argo CD (Application {name})"))
    };
    flux("HelmRelease", "helm").or_else(|| flux("Kustomization", "kustomize")).or_else(argo)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> Workload {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        Workload {
            namespace: "lb".into(),
            labels: map(labels),
            annotations: map(annotations),
            ..Workload::default()
        }
    }

    #[test]
    fn a_release_is_known_by_its_annotations_and_a_chart_by_its_labels() {
        let helm = |recorded| Installed::Helm { release: "m".into(), namespace: "lb".into(), recorded };
        let labels = [(MANAGED_BY, "Helm"), (INSTANCE, "m")];
        assert_eq!(Installed::of(&workload(&labels, &[(RELEASE_NAME, "m")])), helm(true));
        assert_eq!(Installed::of(&workload(&labels, &[])), helm(false));
        assert_eq!(Installed::of(&workload(&[("app", "metallb")], &[])), Installed::Manifest);
        let owned = Workload { owners: vec!["MetalLB metallb".into()], ..workload(&labels, &[]) };
        assert_eq!(Installed::of(&owned), Installed::Operator { owner: "MetalLB metallb".into() });
    }

    #[test]
    fn tools_that_keep_things_as_they_are_are_noticed() {
        let argo = workload(&[], &[("argocd.argoproj.io/tracking-id", "lb-app:apps/DaemonSet:lb/speaker")]);
        assert_eq!(keeper(&argo).as_deref(), Some("Argo CD (Application lb-app)"));
        let flux = workload(&[("helm.toolkit.fluxcd.io/name", "metallb")], &[]);
        assert_eq!(keeper(&flux).as_deref(), Some("Flux (HelmRelease metallb)"));
        assert_eq!(keeper(&workload(&[], &[])), None);
    }
}
