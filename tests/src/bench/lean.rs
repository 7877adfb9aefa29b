//! Requests and a watch that cost this process as little as can be: it runs beside what it measures.
//!
//! Bodies that nobody reads are not parsed. Of a watch's lines only what the benches ask for is. Connections
//! send at once (TCP_NODELAY), as those of FerroLB's programs do.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use futures::AsyncBufReadExt;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Request, WatchParams};
use kube::client::{Body, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tower::ServiceBuilder;

use crate::lab::{Lab, LabError};

/// The namespace of the Services that are measured.
pub const NAMESPACE: &str = "bench";

/// The server ends a watch after so many seconds: after any bench.
const WATCH_SECONDS: u32 = 7200;

/// The API server, seen by one client with connections of its own.
#[derive(Clone)]
pub struct Server {
    client: kube::Client,
    services: Request,
}

impl Server {
    /// A new client of the lab's API server, as cluster administrator.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used.
    pub async fn of(lab: &Lab) -> Result<Self, LabError> {
        let wrong = |error: &dyn std::fmt::Display| LabError::State(error.to_string());
        // Fails only if one is installed already, which is then the one to use.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let file = Kubeconfig::read_from(lab.paths.kubeconfig()).map_err(|error| wrong(&error))?;
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(file, &options).await;
        let config = config.map_err(|error| wrong(&error))?;
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        let connector =
            config.rustls_https_connector_with_connector(connector).map_err(|error| wrong(&error))?;
        let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new()).build(connector);
        let service = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .option_layer(config.auth_layer().map_err(|error| wrong(&error))?)
            .map_err(tower::BoxError::from)
            .service(http);
        let client = kube::Client::new(service, config.default_namespace);
        let services = Request::new(format!("/api/v1/namespaces/{NAMESPACE}/services"));
        Ok(Server { client, services })
    }

    /// What is at this path, as text.
    ///
    /// # Errors
    /// When the server does not say.
    pub async fn get(&self, path: &str) -> Result<String, LabError> {
        let mut request = http::Request::new(Vec::new());
        *request.uri_mut() = path.parse().map_err(|error| failed(path)(Box::new(error)))?;
        self.client.request_text(request).await.map_err(|error| failed(path)(Box::new(error)))
    }

    /// Creates a Service.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn create(&self, service: &Value) -> Result<(), LabError> {
        let request = self.services.create(&PostParams::default(), service.to_string().into_bytes());
        self.send("creating a Service", request).await.map(|_| ())
    }

    /// Deletes a Service.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn delete(&self, name: &str) -> Result<(), LabError> {
        let request = self.services.delete(name, &DeleteParams::default());
        self.send("deleting a Service", request).await.map(|_| ())
    }

    /// Writes the status of a Service, by a strategic merge patch.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn write_status(&self, name: &str, patch: &Value) -> Result<(), LabError> {
        let patch = Patch::Strategic(patch);
        let request = self.services.patch_subresource("status", name, &PatchParams::default(), &patch);
        self.send("writing a status", request).await.map(|_| ())
    }

    /// Creates an object in the list at this path, as in `/api/v1/nodes`.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn create_at(&self, list: &str, object: &Value) -> Result<(), LabError> {
        let request = Request::new(list).create(&PostParams::default(), object.to_string().into_bytes());
        self.send(&format!("creating in {list}"), request).await.map(|_| ())
    }

    /// Changes an object in the list at this path, by a merge patch.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn merge_at(&self, list: &str, name: &str, patch: &Value) -> Result<(), LabError> {
        let request = Request::new(list).patch(name, &PatchParams::default(), &Patch::Merge(patch));
        self.send(&format!("changing {name} in {list}"), request).await.map(|_| ())
    }

    /// The Services that there are, by name, with their first address; and the list's version.
    ///
    /// # Errors
    /// When the server does not say.
    pub async fn list(&self) -> Result<(BTreeMap<String, Option<IpAddr>>, String), LabError> {
        let text = self.send("listing Services", self.services.list(&ListParams::default())).await?;
        let list: List = serde_json::from_str(&text).map_err(|error| LabError::State(error.to_string()))?;
        let items = list.items.into_iter().map(|item| (item.metadata.name.clone(), item.address()));
        Ok((items.collect(), list.metadata.resource_version))
    }

    async fn send<E: std::error::Error + 'static>(
        &self,
        what: &str,
        request: Result<http::Request<Vec<u8>>, E>,
    ) -> Result<String, LabError> {
        let request = request.map_err(|error| failed(what)(Box::new(error)))?;
        self.client.request_text(request).await.map_err(|error| failed(what)(Box::new(error)))
    }

    /// Watches Services from a version on. Each event comes with the time at which its line was read.
    ///
    /// The channel ends when the watch does.
    ///
    /// # Errors
    /// When the watch does not begin.
    pub async fn watch(&self, version: &str) -> Result<mpsc::UnboundedReceiver<Sight>, LabError> {
        let what = "watching Services";
        let params = WatchParams::default().timeout(WATCH_SECONDS);
        let request = self.services.watch(&params, version).map_err(|error| failed(what)(Box::new(error)))?;
        let mut lines =
            self.client.request_stream(request).await.map_err(|error| failed(what)(Box::new(error)))?;
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut line = Vec::new();
            loop {
                line.clear();
                match lines.read_until(b'\n', &mut line).await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => return,
                }
                let at = Instant::now();
                // An error (a version that is too old) has another form, and is the end too.
                let Ok(Line { kind, object }) = serde_json::from_slice(&line) else { return };
                if kind != Kind::Bookmark && sender.send(Sight { kind, object, at }).is_err() {
                    return;
                }
            }
        });
        Ok(receiver)
    }
}

/// A Service in an event of a watch.
#[derive(Clone, Debug)]
pub struct Sight {
    /// What happened.
    pub kind: Kind,
    /// The Service, as far as it is read.
    pub object: Object,
    /// When it was seen.
    pub at: Instant,
}

/// What happened to a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Kind {
    /// It is new.
    Added,
    /// It changed.
    Modified,
    /// It is gone.
    Deleted,
    /// Nothing.
    Bookmark,
}

/// What the benches read of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Object {
    /// Its name and version.
    pub metadata: Metadata,
    /// Its class.
    #[serde(default)]
    pub spec: Spec,
    #[serde(default)]
    status: Status,
}

/// What the benches read of its metadata.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its version.
    pub resource_version: String,
}

/// What the benches read of its spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// Who is to serve it.
    pub load_balancer_class: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    load_balancer: LoadBalancer,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    ingress: Vec<Ingress>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Ingress {
    ip: Option<IpAddr>,
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: Kind,
    object: Object,
}

#[derive(Deserialize)]
struct List {
    metadata: Metadata,
    items: Vec<Object>,
}

impl Object {
    /// The first address in its status.
    pub fn address(&self) -> Option<IpAddr> {
        self.status.load_balancer.ingress.iter().find_map(|entry| entry.ip)
    }
}

fn failed(what: &str) -> impl FnOnce(Box<dyn std::error::Error>) -> LabError {
    move |error| LabError::program(what, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_watch_is_read() {
        let line = r#"{"type":"MODIFIED","object":{"kind":"Service","metadata":{"name":"web","uid":"u","resourceVersion":"7","managedFields":[{"a":{}}]},
            "spec":{"type":"LoadBalancer","loadBalancerClass":"a/b"},"status":{"loadBalancer":{"ingress":[{"ip":"10.0.0.7","ipMode":"VIP"}]}}}}"#;
        let Line { kind, object } = serde_json::from_str(line).unwrap();
        assert_eq!((kind, object.metadata.name.as_str()), (Kind::Modified, "web"));
        assert_eq!(object.address(), Some("10.0.0.7".parse().unwrap()));
        assert_eq!(object.spec.load_balancer_class.as_deref(), Some("a/b"));
        let bare =
            r#"{"type":"ADDED","object":{"metadata":{"name":"web"},"spec":{},"status":{"loadBalancer":{}}}}"#;
        let Line { object, .. } = serde_json::from_str(bare).unwrap();
        assert_eq!(object.address(), None);
    }
}
