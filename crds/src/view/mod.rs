//! The Kubernetes objects that our programs watch, cut down to the fields that they read.
//!
//! A speaker holds every Service and EndpointSlice of the cluster in memory; most of such an object
//! (`managedFields`, ports, selectors, addresses of pods) says nothing to it. The types here leave that out
//! while reading, so ten thousand Services stay small. They implement [`kube::Resource`] and so serve in
//! [`kube::Api`], watchers and stores as the full types do. They are for reading: a change is sent as a
//! patch, never by writing such an object back.
//!
//! Reading never fails because of one value: what has an unexpected type reads as absent.

mod endpoint_slice;
mod namespace;
mod node;
mod service;

pub use endpoint_slice::{Endpoint, EndpointConditions, EndpointSlice};
pub use namespace::Namespace;
pub use node::{Node, NodeAddress, NodeCondition, NodeStatus};
pub use service::{
    Ingress, LoadBalancerStatus, OwnConditions, Service, ServiceCondition, ServicePort, ServiceSpec,
    ServiceStatus,
};

/// Drops what no program of ours reads from the metadata of any object.
///
/// For the types of this module reading has done so already; it is for watched objects of full types, such
/// as our custom resources.
pub trait Trim {
    /// Drops `managedFields`, the copy of the manifest that `kubectl apply` keeps as an annotation,
    /// `selfLink`, `generateName`, finalizers and owner references.
    fn trim(&mut self);
}

impl<K: kube::Resource> Trim for K {
    fn trim(&mut self) {
        let metadata = self.meta_mut();
        metadata.managed_fields = None;
        metadata.self_link = None;
        metadata.generate_name = None;
        metadata.finalizers = None;
        metadata.owner_references = None;
        metadata.deletion_grace_period_seconds = None;
        if let Some(annotations) = &mut metadata.annotations {
            annotations.remove(LAST_APPLIED);
            if annotations.is_empty() {
                metadata.annotations = None;
            }
        }
    }
}

/// Where `kubectl apply` keeps a copy of the whole manifest.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Resource;
    use serde_json::json;

    #[test]
    fn trimming_keeps_what_identifies_and_selects() {
        let mut map: ConfigMap = serde_json::from_value(json!({
            "metadata": {
                "name": "a", "namespace": "b", "uid": "c", "resourceVersion": "7", "generation": 3,
                "labels": {"x": "y"}, "finalizers": ["f"], "managedFields": [{"manager": "kubectl"}],
                "annotations": {LAST_APPLIED: "{}"},
            }
        }))
        .unwrap();
        map.trim();
        let expected: ConfigMap = serde_json::from_value(json!({
            "metadata": {
                "name": "a", "namespace": "b", "uid": "c", "resourceVersion": "7", "generation": 3,
                "labels": {"x": "y"},
            }
        }))
        .unwrap();
        assert_eq!(map, expected);
    }

    #[test]
    fn each_view_is_found_where_its_full_type_is() {
        fn path<K: Resource<DynamicType = ()>>() -> (String, String) {
            (K::api_version(&()).into_owned(), K::plural(&()).into_owned())
        }
        let of = |version: &str, plural: &str| (version.to_owned(), plural.to_owned());
        assert_eq!(path::<Service>(), of("v1", "services"));
        assert_eq!(path::<Namespace>(), of("v1", "namespaces"));
        assert_eq!(path::<Node>(), of("v1", "nodes"));
        assert_eq!(path::<EndpointSlice>(), of("discovery.k8s.io/v1", "endpointslices"));
    }
}
