//! `ServiceL2Status`: which node announces a Service by ARP and NDP, and on which of its interfaces.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::de::{Deserializer, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{lenient, rules};

/// The label with the node that announces. One of a name that is too long for a label has a shortened one here.
pub const NODE_LABEL: &str = "metallb.io/node";
/// The label with the Service's name.
pub const SERVICE_NAME_LABEL: &str = "metallb.io/service-name";
/// The label with the Service's namespace.
pub const SERVICE_NAMESPACE_LABEL: &str = "metallb.io/service-namespace";

/// The label of an object with the condition [`ADDRESS_CONFLICT`], so that whoever looks for those need not read
/// all. Its value is `true`.
pub const CONFLICT_LABEL: &str = "ferrolb.io/address-conflict";

/// The type of the condition that is there while another host has an address of the Service. Its reason is
/// [`HELD_BACK`] or [`IN_USE`], its message has the address, the other host's Ethernet address and the interface.
pub const ADDRESS_CONFLICT: &str = "AddressConflict";
/// The reason of [`ADDRESS_CONFLICT`] while an address is not announced because of it.
pub const HELD_BACK: &str = "HeldBack";
/// The reason of [`ADDRESS_CONFLICT`] while all of the Service's addresses are announced all the same.
pub const IN_USE: &str = "InUse";

/// The longest name of an object: that of a node, a DNS subdomain (RFC 1123).
const MAX_NAME: u32 = 253;
/// The longest name of an interface: `IFNAMSIZ`, without the zero at its end.
const MAX_INTERFACE_NAME: u32 = 15;

/// A rule for a field that is written once. While it is not set, the rule does not apply.
fn never_changes() -> Value {
    json!([{ "rule": "self == oldSelf", "message": "does not change: delete the object, its speaker makes it anew" }])
}

/// Nothing: the object is all status.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "ServiceL2Status",
    plural = "servicel2statuses",
    namespaced,
    status = "ServiceL2StatusStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Which node announces a Service by ARP and NDP, or would if no other host had its address. Written by that node's \
           speaker, not by users.",
    printcolumn(name = "Allocated Node", type_ = "string", json_path = ".status.node"),
    printcolumn(name = "Service Name", type_ = "string", json_path = ".status.serviceName"),
    printcolumn(name = "Service Namespace", type_ = "string", json_path = ".status.serviceNamespace")
)]
#[expect(clippy::duplicated_attributes, reason = "columns of one type")]
pub struct ServiceL2StatusSpec {}

impl<'de> Deserialize<'de> for ServiceL2StatusSpec {
    /// Reads anything, and nothing: for a field that is missing serde asks for an option, and takes `None`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<IgnoredAny>::deserialize(deserializer).map(|_| ServiceL2StatusSpec {})
    }
}

/// Who announces what, and where.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct ServiceL2StatusStatus {
    /// The node that announces the Service. It never changes: of another node there is another object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = MAX_NAME), extend("x-kubernetes-validations" = never_changes()))]
    pub node: String,
    /// The Service's name. It never changes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = MAX_NAME), extend("x-kubernetes-validations" = never_changes()))]
    pub service_name: String,
    /// The Service's namespace. It never changes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = MAX_NAME), extend("x-kubernetes-validations" = never_changes()))]
    pub service_namespace: String,
    /// The interfaces on which it is announced, sorted by name; empty if on all that can be used, or if it is held back
    /// on account of a conflict, which the condition AddressConflict says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = rules::MAX_NAMES))]
    pub interfaces: Vec<InterfaceInfo>,
    /// What else is to be known: AddressConflict while another host has an address of the Service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// An interface of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceInfo {
    /// Its name, as `ip link` shows it.
    #[serde(default)]
    #[schemars(length(max = MAX_INTERFACE_NAME))]
    pub name: String,
}

lenient::status!(ServiceL2StatusStatus);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_metallb_wrote_is_read() {
        let object: ServiceL2Status = serde_json::from_value(json!({
            "metadata": {"generateName": "l2-", "name": "l2-7xk2p", "labels": {NODE_LABEL: "n1"}},
            "spec": {},
            "status": {
                "node": "n1", "serviceName": "web", "serviceNamespace": "shop", "interfaces": [{"name": "eth1"}],
            },
        }))
        .unwrap();
        let expected = ServiceL2StatusStatus {
            node: "n1".to_owned(),
            service_name: "web".to_owned(),
            service_namespace: "shop".to_owned(),
            interfaces: vec![InterfaceInfo { name: "eth1".to_owned() }],
            conditions: Vec::new(),
        };
        assert_eq!(object.status, Some(expected));
    }

    #[test]
    fn a_status_that_cannot_be_read_is_empty_and_spoils_no_list() {
        let object: ServiceL2Status =
            serde_json::from_value(json!({"metadata": {"name": "l2-a"}, "status": {"interfaces": 7}}))
                .unwrap();
        assert_eq!(object.status, Some(ServiceL2StatusStatus::default()));
    }
}
