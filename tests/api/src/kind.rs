//! The kinds that a server knows.

use std::any::TypeId;
use std::fmt;

use k8s_openapi::NamespaceResourceScope;

/// Which kind, as paths name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    /// The API group; empty for the core group.
    pub group: String,
    /// The version, such as `v1`.
    pub version: String,
    /// The plural in lower case, such as `services`.
    pub plural: String,
}

impl Resource {
    /// `services`, `leases.coordination.k8s.io`: as errors name it.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `v1`, `coordination.k8s.io/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.qualified())
    }
}

/// A kind of objects, and how its API server treats it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Group, version and plural.
    pub resource: Resource,
    /// The name in manifests, such as `Service`.
    pub kind: String,
    /// Objects lie in namespaces.
    pub namespaced: bool,
    /// There is a `/status` subresource, and other writes leave the status alone.
    pub status: bool,
    /// `metadata.generation` counts the changes of what the user asks for.
    pub generation: bool,
    /// It comes from a CustomResourceDefinition: no strategic merge, no write without a version, and a status
    /// write takes the status alone.
    pub custom: bool,
}

/// Groups that are built into the API server beside those without a dot.
const BUILT_IN: [&str; 12] = [
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

/// Built-in kinds without a status.
const WITHOUT_STATUS: [&str; 11] = [
    "clusterrolebindings",
    "clusterroles",
    "configmaps",
    "endpoints",
    "endpointslices",
    "events",
    "leases",
    "rolebindings",
    "roles",
    "secrets",
    "serviceaccounts",
];

impl Kind {
    /// A kind by its names. Status, generation and the rest are as the real server has them for its own kinds;
    /// any other kind has a status and a generation.
    pub fn new(group: &str, version: &str, kind: &str, plural: &str, namespaced: bool) -> Self {
        let custom = group.contains('.') && !BUILT_IN.contains(&group);
        let counted = !group.is_empty() && group != "coordination.k8s.io" && group != "events.k8s.io";
        Kind {
            resource: Resource { group: group.into(), version: version.into(), plural: plural.into() },
            kind: kind.into(),
            namespaced,
            status: custom || !WITHOUT_STATUS.contains(&plural),
            generation: counted,
            custom,
        }
    }

    /// The kind of a Rust type.
    pub fn of<K>() -> Self
    where
        K: kube::Resource<DynamicType = ()>,
        K::Scope: 'static,
    {
        let namespaced = TypeId::of::<K::Scope>() == TypeId::of::<NamespaceResourceScope>();
        Kind::new(&K::group(&()), &K::version(&()), &K::kind(&()), &K::plural(&()), namespaced)
    }

    /// Without a `/status` subresource.
    #[must_use]
    pub fn without_status(self) -> Self {
        Kind { status: false, ..self }
    }

    /// Writes without a resource version are taken (they overwrite).
    pub(crate) fn unconditional(&self) -> bool {
        !self.custom && self.resource.group != "coordination.k8s.io"
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::Lease;
    use k8s_openapi::api::core::v1::{Node, Service};

    use super::*;

    #[test]
    fn a_type_tells_its_kind() {
        let service = Kind::of::<Service>();
        assert_eq!((service.resource.qualified().as_str(), service.namespaced), ("services", true));
        assert!(service.status && !service.custom);
        assert!(!Kind::of::<Node>().namespaced);
        let lease = Kind::of::<Lease>();
        assert_eq!(lease.resource.qualified(), "leases.coordination.k8s.io");
        assert!(!lease.status && !lease.unconditional());
        assert!(Kind::new("metallb.io", "v1beta1", "IPAddressPool", "ipaddresspools", true).custom);
    }
}
