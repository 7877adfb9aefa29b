//! A Node: may it announce?

use std::net::IpAddr;

use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Deserializer};

use ferrolb_core::{election, net};

use crate::lenient;
use crate::names;

/// A Node as the election sees it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, kube::Resource)]
#[resource(inherit = v1::Node)]
pub struct Node {
    /// Name and labels.
    #[serde(default, deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// What administrators say.
    #[serde(default, deserialize_with = "lenient::value")]
    pub spec: NodeSpec,
    /// What the kubelet and the network report.
    #[serde(default, deserialize_with = "lenient::value")]
    pub status: NodeStatus,
}

/// `spec` of a Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct NodeSpec {
    /// Whether it is cordoned: no new Pods.
    #[serde(default, deserialize_with = "lenient::value")]
    pub unschedulable: bool,
}

/// `status` of a Node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct NodeStatus {
    /// The conditions `Ready` and `NetworkUnavailable`; others are not kept.
    #[serde(default, deserialize_with = "conditions")]
    pub conditions: Vec<NodeCondition>,
    /// Its addresses and names.
    #[serde(default, deserialize_with = "lenient::list")]
    pub addresses: Vec<NodeAddress>,
}

/// One entry of `status.addresses` of a Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct NodeAddress {
    /// `InternalIP`, `ExternalIP`, `Hostname`, …
    #[serde(default, rename = "type", deserialize_with = "lenient::value")]
    pub kind: String,
    /// The address or name.
    #[serde(default, deserialize_with = "lenient::value")]
    pub address: String,
}

/// One condition of a Node. Its times are left out: they change with every heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct NodeCondition {
    /// `Ready` or `NetworkUnavailable`.
    #[serde(default, rename = "type", deserialize_with = "lenient::value")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    #[serde(default, deserialize_with = "lenient::value")]
    pub status: String,
    /// In words.
    #[serde(default, deserialize_with = "lenient::value")]
    pub message: String,
}

const READY: &str = "Ready";
const NETWORK_UNAVAILABLE: &str = "NetworkUnavailable";

impl Node {
    /// In core's words; `None` for an object without a name, which the API never holds. With `ignore_exclude`, the
    /// label [`names::EXCLUDE_NODE`] means nothing.
    pub fn to_core(&self, ignore_exclude: bool) -> Option<election::Node> {
        Some(election::Node {
            name: self.metadata.name.clone()?,
            labels: self.metadata.labels.clone().unwrap_or_default(),
            ready: self.ready(),
            network_available: self.network_available(),
            excluded: (self.excluded() && !ignore_exclude) || self.runs_no_speaker(),
            going: self.spec.unschedulable || self.shuts_down(),
            unfit: false,
            keyless: false,
            speaker: false,
            addresses: self.addresses().collect(),
        })
    }

    /// Its IP addresses: no Service may have one of these.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let ips = self.status.addresses.iter().filter(|address| address.kind.ends_with("IP"));
        ips.filter_map(|address| net::address(&address.address))
    }

    /// Whether the condition `Ready` is `True`.
    pub fn ready(&self) -> bool {
        self.condition(READY)
    }

    /// Whether no network plugin says `NetworkUnavailable`; a node without that condition is available.
    pub fn network_available(&self) -> bool {
        !self.condition(NETWORK_UNAVAILABLE)
    }

    /// Whether the label [`names::EXCLUDE_NODE`] is there, with any value.
    pub fn excluded(&self) -> bool {
        self.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(names::EXCLUDE_NODE))
    }

    /// Whether its kubelet shuts it down gracefully: it says so in the message of `Ready`, and nowhere else.
    fn shuts_down(&self) -> bool {
        let ready = self.status.conditions.iter().find(|condition| condition.kind == READY);
        ready.is_some_and(|ready| ready.status != "True" && ready.message.contains("shutting down"))
    }

    /// Whether the node is known to run something else than Linux, where there is no speaker.
    fn runs_no_speaker(&self) -> bool {
        let system = self.metadata.labels.as_ref().and_then(|labels| labels.get(names::OS));
        system.is_some_and(|system| system != "linux")
    }

    fn condition(&self, kind: &str) -> bool {
        self.status.conditions.iter().any(|condition| condition.kind == kind && condition.status == "True")
    }
}

fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    lenient::metadata(deserializer, |_| false)
}

fn conditions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NodeCondition>, D::Error> {
    let mut conditions: Vec<NodeCondition> = lenient::list(deserializer)?;
    conditions.retain(|condition| [READY, NETWORK_UNAVAILABLE].contains(&condition.kind.as_str()));
    conditions.shrink_to_fit();
    Ok(conditions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(labels: &Value, conditions: &Value) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n1", "labels": labels},
            "status": {"conditions": conditions, "images": [{"names": ["big"]}]},
        }))
        .unwrap()
    }

    #[test]
    fn only_true_counts_as_ready_or_unavailable() {
        for (ready, unavailable, expected) in [
            ("True", "False", (true, true)),
            ("Unknown", "Unknown", (false, true)),
            ("False", "True", (false, false)),
        ] {
            let node = node(
                &json!({}),
                &json!([{"type": "Ready", "status": ready, "lastHeartbeatTime": "x"},
                        {"type": "NetworkUnavailable", "status": unavailable},
                        {"type": "DiskPressure", "status": "True"}]),
            );
            assert_eq!((node.ready(), node.network_available()), expected);
            assert_eq!(node.status.conditions.len(), 2);
        }
    }

    #[test]
    fn a_node_without_conditions_is_not_ready_but_has_its_network() {
        for conditions in [json!([]), json!(null), json!("odd"), json!([7, {"type": 7}])] {
            let node = node(&json!({}), &conditions);
            assert!(!node.ready() && node.network_available(), "{conditions}");
        }
    }

    #[test]
    fn a_node_that_does_not_run_linux_has_no_speaker() {
        let of = |labels| node(&labels, &json!([])).to_core(true).unwrap().excluded;
        assert!(of(json!({names::OS: "windows"})));
        assert!(!of(json!({names::OS: "linux"})) && !of(json!({})));
    }

    #[test]
    fn in_cores_words() {
        let made = node(&json!({"zone": "a"}), &json!([{"type": "Ready", "status": "True"}])).to_core(false);
        let expected = election::Node {
            name: "n1".into(),
            labels: [("zone".to_owned(), "a".to_owned())].into(),
            ready: true,
            network_available: true,
            excluded: false,
            going: false,
            unfit: false,
            keyless: false,
            speaker: false,
            addresses: Vec::new(),
        };
        assert_eq!(made, Some(expected));
        assert_eq!(Node::default().to_core(false), None);
    }

    #[test]
    fn its_speaker_is_reached_by_its_ip_addresses() {
        let addresses = json!([
            {"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "10.0.0.1"},
            {"type": "InternalIP", "address": "fd00::1"}, {"type": "ExternalIP", "address": "192.0.2.1"},
            {"type": "InternalIP", "address": "odd"},
        ]);
        let node: Node =
            serde_json::from_value(json!({"metadata": {"name": "n1"}, "status": {"addresses": addresses}}))
                .unwrap();
        let expected: Vec<IpAddr> =
            ["10.0.0.1", "fd00::1", "192.0.2.1"].map(|address| address.parse().unwrap()).into();
        assert_eq!(node.to_core(false).unwrap().addresses, expected);
    }

    #[test]
    fn the_exclude_label_counts_with_any_value() {
        assert!(node(&json!({names::EXCLUDE_NODE: "false"}), &json!([])).excluded());
        assert!(!node(&json!({"other": ""}), &json!([])).excluded());
        let left_out = node(&json!({names::EXCLUDE_NODE: ""}), &json!([]));
        assert!(left_out.to_core(false).unwrap().excluded && !left_out.to_core(true).unwrap().excluded);
    }
}
