//! An EndpointSlice: which nodes have a pod that can serve.

use k8s_openapi::api::discovery::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Deserializer};

use ferrolb_core::service::ServiceKey;

use crate::lenient;
use crate::names;

/// An EndpointSlice without ports and addresses.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, kube::Resource)]
#[resource(inherit = v1::EndpointSlice)]
pub struct EndpointSlice {
    /// Names, and of the labels the one that names the Service.
    #[serde(default, deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// One for each pod, or other backend.
    #[serde(default, deserialize_with = "lenient::list")]
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoint {
    /// The node that it runs on; absent for backends outside the cluster.
    #[serde(deserialize_with = "lenient::value")]
    pub node_name: Option<String>,
    /// What it can do now.
    #[serde(deserialize_with = "lenient::value")]
    pub conditions: EndpointConditions,
}

/// `conditions` of an endpoint; absent means unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct EndpointConditions {
    /// Takes traffic; unknown counts as yes.
    #[serde(deserialize_with = "lenient::value")]
    pub ready: Option<bool>,
    /// Could take traffic, even while it terminates.
    #[serde(deserialize_with = "lenient::value")]
    pub serving: Option<bool>,
    /// Is on its way out.
    #[serde(deserialize_with = "lenient::value")]
    pub terminating: Option<bool>,
}

impl EndpointConditions {
    /// Whether traffic may go there: ready, or serving while it terminates.
    pub fn can_serve(self) -> bool {
        self.ready.unwrap_or(true) || self.serving == Some(true)
    }
}

impl EndpointSlice {
    /// The Service whose endpoints these are; `None` for a slice that belongs to none.
    pub fn service(&self) -> Option<ServiceKey> {
        let name = self.metadata.labels.as_ref()?.get(names::SERVICE_NAME).filter(|name| !name.is_empty())?;
        Some(ServiceKey::new(self.metadata.namespace.as_ref()?, name))
    }

    /// One item for each endpoint that can serve: the node that it runs on, `None` where that is not said.
    pub fn serving_nodes(&self) -> impl Iterator<Item = Option<&str>> {
        self.endpoints
            .iter()
            .filter(|endpoint| endpoint.conditions.can_serve())
            .map(|endpoint| endpoint.node_name.as_deref())
    }
}

fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let mut metadata = lenient::metadata(deserializer, |_| false)?;
    if let Some(labels) = &mut metadata.labels {
        labels.retain(|name, _| name == names::SERVICE_NAME);
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn slice(labels: &Value, endpoints: &Value) -> EndpointSlice {
        serde_json::from_value(json!({
            "metadata": {"name": "web-x1", "namespace": "shop", "labels": labels},
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [{"port": 80}],
        }))
        .unwrap()
    }

    #[test]
    fn ready_or_unknown_or_serving_while_terminating_can_serve() {
        let cases = [
            (json!({}), true),
            (json!(null), true),
            (json!({"ready": null}), true),
            (json!({"ready": true}), true),
            (json!({"ready": false}), false),
            (json!({"ready": false, "serving": false, "terminating": true}), false),
            (json!({"ready": false, "serving": true, "terminating": true}), true),
            // Pods that publish while not ready: ready is true, serving tells the truth.
            (json!({"ready": true, "serving": false}), true),
        ];
        for (conditions, expected) in cases {
            let slice = slice(&json!({}), &json!([{"nodeName": "n1", "conditions": conditions}]));
            let nodes: Vec<_> = slice.serving_nodes().collect();
            assert_eq!(nodes, if expected { vec![Some("n1")] } else { vec![] }, "{conditions}");
        }
    }

    #[test]
    fn an_endpoint_without_a_node_and_one_that_cannot_be_read() {
        let slice = slice(&json!({}), &json!([{"addresses": ["10.1.0.1"]}, "odd", {"nodeName": 7}]));
        assert_eq!(slice.serving_nodes().collect::<Vec<_>>(), [None, None]);
        assert_eq!(super::EndpointSlice::default().serving_nodes().count(), 0);
    }

    #[test]
    fn the_label_and_the_namespace_name_the_service() {
        let of = |labels: Value| slice(&labels, &json!(null)).service();
        assert_eq!(
            of(json!({names::SERVICE_NAME: "web", "other": "x"})),
            Some(ServiceKey::new("shop", "web"))
        );
        assert_eq!(of(json!({names::SERVICE_NAME: ""})), None);
        assert_eq!(of(json!(null)), None);
    }
}
