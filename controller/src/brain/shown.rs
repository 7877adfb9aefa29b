//! What a Service shows that no decision depends on but that a write needs.

use std::collections::BTreeMap;

use ferrolb_core::service::ServiceKey;
use ferrolb_crds::names;
use ferrolb_crds::view::{Ingress, OwnConditions, Service};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::ResourceExt;

/// The annotations that are ours to write.
const OURS: [&str; 3] = [names::ALLOCATED_FROM_POOL, names::SHARING_TERMS, names::FENCE];

/// The part of a Service that is kept beside core's words. It is small: there may be ten thousand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    /// `metadata.uid`.
    pub uid: Option<String>,
    /// `metadata.resourceVersion`.
    pub version: Option<String>,
    /// Our annotations, in the order of [`OURS`].
    annotations: [Option<Box<str>>; OURS.len()],
    /// Annotations in their old spelling.
    pub deprecated: Vec<&'static str>,
    /// `status.loadBalancer.ingress`.
    pub ingress: Vec<Ingress>,
    /// Our conditions.
    pub conditions: OwnConditions,
}

impl Shown {
    /// What `service` shows.
    pub fn of(service: &Service) -> Self {
        let value =
            |all: &BTreeMap<String, String>, name: &str| all.get(name).map(|text| text.as_str().into());
        let all = service.metadata.annotations.as_ref();
        Shown {
            uid: service.uid(),
            version: service.resource_version(),
            annotations: OURS.map(|name| value(all?, name)),
            deprecated: service.deprecated_annotations(),
            ingress: service.status.load_balancer.ingress.clone(),
            conditions: service.status.conditions.clone(),
        }
    }

    /// The value of an annotation of ours.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        let place = OURS.iter().position(|ours| *ours == name)?;
        self.annotations.get(place)?.as_deref()
    }

    /// The Service, for an event about it.
    pub fn about(&self, key: &ServiceKey) -> ObjectReference {
        ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Service".into()),
            namespace: Some(key.namespace().to_owned()),
            name: Some(key.name().to_owned()),
            uid: self.uid.clone(),
            resource_version: self.version.clone(),
            ..ObjectReference::default()
        }
    }
}
