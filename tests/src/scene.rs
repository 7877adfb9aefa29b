//! A cluster with FerroLB in it, in sentences.
//!
//! ```text
//!     let scene = Scene::in_lab(&lab, "shared-address").await?;
//!     scene.pool("10.10.0.200-10.10.0.209").await?;
//!     scene.echo("web").avoiding("node1").create().await?;
//!     scene.service("web").create().await?;
//!     let address = scene.address("web").await?;
//!     scene.client_host().ask(SocketAddr::new(address, 80))?;
//! ```
//!
//! Each scene has a Kubernetes namespace and pools of its own, so that scenes can follow each other in one
//! lab; [`Scene::end`] removes what would be in the next one's way.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, PostParams};
use serde_json::{Value, json};

use crate::host::{Host, Mac};
use crate::lab::network::Network;
use crate::lab::progress::{Progress, wait};
use crate::lab::{Lab, LabError, process, programs, up};

/// The namespace in which FerroLB runs and reads its pools.
pub const SYSTEM: &str = "metallb-system";

/// How long anything in a scene may take, in seconds, on a slow machine.
const PATIENCE: u64 = 60;

/// A cluster with FerroLB, and a namespace for one test.
#[derive(Clone)]
pub struct Scene {
    /// The lab.
    pub lab: Lab,
    /// A client of its API server.
    pub client: kube::Client,
    /// The Kubernetes namespace of this scene.
    pub namespace: String,
    /// The namespace whose pools are read: [`SYSTEM`], or what [`Scene::with_pools_in`] says.
    system: String,
}

/// Installs FerroLB in `lab` as a user does: the image, `crds/`, `config/default`. Waits until all of it is ready.
///
/// # Errors
/// When something is refused, or does not become ready.
pub async fn install(lab: &Lab, progress: &Progress) -> Result<(), LabError> {
    let image = programs::ferrolb_image(progress)?;
    up::load_image(lab, &image).await?;
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    process::run(lab.kubectl().arg("apply").arg("-f").arg(project.join("crds")))?;
    process::run(lab.kubectl().arg("apply").arg("-k").arg(project.join("config/default")))?;
    progress.say("kubectl apply -f crds/ and kubectl apply -k config/default: done");
    ready(lab).await
}

/// Waits until the controller and all speakers are ready.
///
/// # Errors
/// When they are not, with what their pods say.
pub async fn ready(lab: &Lab) -> Result<(), LabError> {
    let client = lab.client().await?;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), SYSTEM);
    let daemons: Api<DaemonSet> = Api::namespaced(client, SYSTEM);
    let nodes = i32::from(lab.config.nodes);
    let ready = wait("FerroLB to be ready", PATIENCE, async || {
        let controller =
            deployments.get("ferrolb-controller").await.map_err(|error| error.to_string())?.status;
        let controllers = controller.and_then(|status| status.available_replicas).unwrap_or_default();
        let speaker = daemons.get("ferrolb-speaker").await.map_err(|error| error.to_string())?.status;
        let speakers = speaker.map(|status| status.number_ready).unwrap_or_default();
        if controllers == 1 && speakers == nodes {
            return Ok(());
        }
        Err(format!("{controllers} of 1 controllers and {speakers} of {nodes} speakers are ready"))
    })
    .await;
    ready.map_err(|error| {
        let pods = process::run(lab.kubectl().args(["-n", SYSTEM, "describe", "pods"])).unwrap_or_default();
        let logs = process::run(lab.kubectl().args(["-n", SYSTEM, "logs", "-l", "app=ferrolb", "--tail=30"]));
        let state = format!("{error}\n{pods}\n{}", logs.unwrap_or_default());
        LabError::Late { what: "FerroLB".into(), seconds: PATIENCE, state }
    })
}

/// Waits until all speakers have the key of their hellos, and say nothing else any more. Until then the API's order decides, and a
/// move is not made before it is broken (docs/failover.md, rule 8).
///
/// # Errors
/// When one does not get it.
pub async fn heard(lab: &Lab) -> Result<(), LabError> {
    /// A kubelet brings a Secret that came after its Pod within a minute or two, in seconds.
    const KEY: u64 = 180;
    let resource =
        ApiResource::from_gvk(&GroupVersionKind::gvk("metallb.io", "v1beta1", "ConfigurationState"));
    let states: Api<DynamicObject> = Api::namespaced_with(lab.client().await?, SYSTEM, &resource);
    wait("the key of the hellos at each speaker", KEY, async || {
        let speakers = kube::api::ListParams::default().labels("metallb.io/component-type=speaker");
        let found = states.list(&speakers).await.map_err(|error| error.to_string())?.items;
        let keyless = |state: &&DynamicObject| {
            let conditions = state.data["status"]["conditions"].as_array();
            conditions.into_iter().flatten().any(|condition| condition["type"] == "HelloKeyLoaded")
        };
        let without: Vec<_> =
            found.iter().filter(keyless).filter_map(|state| state.metadata.name.clone()).collect();
        if found.len() == usize::from(lab.config.nodes) && without.is_empty() {
            return Ok(());
        }
        Err(format!("{} speakers tell their state; these have no key: {without:?}", found.len()))
    })
    .await
}

impl Scene {
    /// A scene of this name in `lab`, with a new namespace. What an earlier one of the name left is removed.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn in_lab(lab: &Lab, name: &str) -> Result<Self, LabError> {
        let client = lab.client().await?;
        let scene = Scene { lab: lab.clone(), client, namespace: name.to_owned(), system: SYSTEM.to_owned() };
        scene.end().await?;
        let api: Api<Namespace> = Api::all(scene.client.clone());
        wait(&format!("the end of an earlier namespace {name}"), PATIENCE, async || {
            match api.get_opt(name).await {
                Ok(None) => Ok(()),
                Ok(Some(namespace)) => Err(format!("{:?}", namespace.status)),
                Err(error) => Err(error.to_string()),
            }
        })
        .await?;
        let namespace: Namespace = object(json!({"metadata": {"name": name}}))?;
        api.create(&PostParams::default(), &namespace).await.map_err(api_error("creating a namespace"))?;
        Ok(scene)
    }

    /// The same scene in a cluster whose balancer is in another namespace than [`SYSTEM`].
    #[must_use]
    pub fn with_pools_in(self, system: &str) -> Self {
        Scene { system: system.to_owned(), ..self }
    }

    /// Removes its pools and its Services, waits until those are gone, and lets its namespace end by itself: that
    /// takes the cluster seconds and is in nobody's way.
    ///
    /// # Errors
    /// When the Services do not go.
    pub async fn end(&self) -> Result<(), LabError> {
        for kind in ["L2Advertisement", "IPAddressPool"] {
            let api = self.custom(kind);
            let found = api.list(&self.labelled()).await.map(|list| list.items).unwrap_or_default();
            for name in found.into_iter().filter_map(|item| item.metadata.name) {
                let _ = api.delete(&name, &DeleteParams::default()).await;
            }
        }
        let list = kube::api::ListParams::default();
        let names = async || -> Result<Vec<String>, kube::Error> {
            let found = self.services().list(&list).await?;
            Ok(found.items.into_iter().filter_map(|service| service.metadata.name).collect())
        };
        for name in names().await.map_err(api_error("listing Services"))? {
            let _ = self.services().delete(&name, &DeleteParams::default()).await;
        }
        wait(&format!("the end of the Services in {}", self.namespace), PATIENCE, async || {
            match names().await.map_err(|error| error.to_string())?.as_slice() {
                [] => Ok(()),
                left => Err(format!("{left:?} are there")),
            }
        })
        .await?;
        let api: Api<Namespace> = Api::all(self.client.clone());
        let _ = api.delete(&self.namespace, &DeleteParams::default()).await;
        Ok(())
    }

    /// What a failed test leaves behind, to be read by whoever has only its output: the objects of this scene, its
    /// events, what everybody said in the last minute, and what `kubectl` said where it failed.
    pub fn state(&self) -> String {
        let named = format!("scene={}", self.namespace);
        let questions: [&[&str]; 5] = [
            &["-n", &self.namespace, "get", "services,endpointslices,pods,events", "-o", "wide"],
            &["-n", &self.system, "get", "ipaddresspools,l2advertisements", "-l", &named, "-o", "yaml"],
            &["-n", &self.system, "get", "pods,servicel2statuses", "-o", "wide"],
            &["get", "nodes", "-o", "wide"],
            &["-n", &self.system, "logs", "-l", "app=ferrolb", "--prefix", "--since=60s", "--tail=300"],
        ];
        let mut text = String::new();
        for question in questions {
            let told =
                process::run(self.lab.kubectl().args(question)).unwrap_or_else(|error| error.to_string());
            text += &format!("--- kubectl {}\n{told}\n", question.join(" "));
        }
        text
    }

    /// Creates an IPAddressPool of these ranges (comma list) and an L2Advertisement for it, both named as the
    /// scene.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn pool(&self, ranges: &str) -> Result<(), LabError> {
        let addresses: Vec<&str> = ranges.split(',').map(str::trim).collect();
        self.create("IPAddressPool", &self.namespace, &json!({"addresses": addresses, "reuseDelay": "0s"}))
            .await?;
        self.create("L2Advertisement", &self.namespace, &json!({"ipAddressPools": [self.namespace]})).await
    }

    /// Creates a custom resource of ours.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn create(&self, kind: &str, name: &str, spec: &Value) -> Result<(), LabError> {
        let object: DynamicObject = object(json!({
            "apiVersion": "metallb.io/v1beta1", "kind": kind,
            "metadata": {"name": name, "labels": {"scene": self.namespace}}, "spec": spec,
        }))?;
        let created = self.custom(kind).create(&PostParams::default(), &object).await;
        created.map(|_| ()).map_err(api_error(&format!("creating {kind} {name}")))
    }

    /// Replaces the `spec` of a custom resource of ours.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn change(&self, kind: &str, name: &str, spec: &Value) -> Result<(), LabError> {
        let (api, what) = (self.custom(kind), format!("changing {kind} {name}"));
        let mut object = api.get(name).await.map_err(api_error(&what))?;
        object.data["spec"] = spec.clone();
        api.replace(name, &PostParams::default(), &object).await.map(|_| ()).map_err(api_error(&what))
    }

    /// The ServiceL2Status objects of a Service, by the node that each is of.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn l2_statuses(&self, service: &str) -> Result<Vec<DynamicObject>, LabError> {
        let labels =
            format!("metallb.io/service-name={service},metallb.io/service-namespace={}", self.namespace);
        let list = kube::api::ListParams::default().labels(&labels);
        let found = self.custom("ServiceL2Status").list(&list).await;
        Ok(found.map_err(api_error("listing ServiceL2Status"))?.items)
    }

    /// The messages of a Service's events of this type and reason.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn events(&self, service: &str, kind: &str, reason: &str) -> Result<Vec<String>, LabError> {
        let api: Api<k8s_openapi::api::core::v1::Event> =
            Api::namespaced(self.client.clone(), &self.namespace);
        let fields =
            format!("involvedObject.kind=Service,involvedObject.name={service},type={kind},reason={reason}");
        let found = api.list(&kube::api::ListParams::default().fields(&fields)).await;
        let found = found.map_err(api_error("listing events"))?.items;
        Ok(found.into_iter().filter_map(|event| event.message).collect())
    }

    /// Gives a Service without selector ready endpoints, one on each of these nodes; behind them is nothing.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn endpoints(&self, service: &str, family: &str, nodes: &[&str]) -> Result<(), LabError> {
        let endpoints = nodes.iter().map(|node| {
            let number = node.trim_start_matches("node");
            let address =
                if family == "IPv4" { format!("10.244.{number}.250") } else { format!("fd44::{number}:250") };
            json!({"addresses": [address], "conditions": {"ready": true}, "nodeName": node})
        });
        let slice = object(json!({
            "metadata": {"name": format!("{service}-by-hand"), "labels": {"kubernetes.io/service-name": service}},
            "addressType": family, "endpoints": endpoints.collect::<Vec<_>>(),
            "ports": [{"name": "http", "port": 8080}],
        }))?;
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &self.namespace);
        api.create(&PostParams::default(), &slice)
            .await
            .map(|_| ())
            .map_err(api_error("creating an EndpointSlice"))
    }

    /// The custom resources of ours of a kind, of all scenes.
    pub fn custom(&self, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("metallb.io", "v1beta1", kind));
        Api::namespaced_with(self.client.clone(), &self.system, &resource)
    }

    fn labelled(&self) -> kube::api::ListParams {
        kube::api::ListParams::default().labels(&format!("scene={}", self.namespace))
    }

    /// An echo Deployment, to be completed.
    pub fn echo(&self, name: &str) -> Echo<'_> {
        Echo { scene: self, name: name.to_owned(), replicas: 1, nodes: None }
    }

    /// A Service of type LoadBalancer for the echo pods of the same name, to be completed.
    pub fn service(&self, name: &str) -> NewService<'_> {
        let spec = json!({
            "type": "LoadBalancer", "selector": {"app": name}, "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        });
        NewService {
            scene: self,
            name: name.to_owned(),
            spec,
            annotations: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    }

    /// The Services of this scene.
    pub fn services(&self) -> Api<Service> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The first address of a Service, once it has one.
    ///
    /// # Errors
    /// When it gets none in time.
    pub async fn address(&self, service: &str) -> Result<IpAddr, LabError> {
        wait(&format!("an address for Service {service}"), PATIENCE, async || {
            let found = self.services().get(service).await.map_err(|error| error.to_string())?;
            shown(&found).first().copied().ok_or_else(|| format!("its status is {:?}", found.status))
        })
        .await
    }

    /// Deletes a Service and waits until it is gone.
    ///
    /// # Errors
    /// When it does not go.
    pub async fn delete_service(&self, service: &str) -> Result<(), LabError> {
        let deleted = self.services().delete(service, &DeleteParams::default()).await;
        deleted.map_err(api_error("deleting a Service"))?;
        wait(&format!("the end of Service {service}"), PATIENCE, async || {
            match self.services().get_opt(service).await {
                Ok(None) => Ok(()),
                Ok(Some(_)) => Err("it is still there".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// The host from which the scene asks.
    ///
    /// # Errors
    /// Never for a lab that is up.
    pub fn client_host(&self) -> Result<Host, LabError> {
        self.lab.host("client1")
    }

    /// The nodes by the MAC address of their link in the LAN.
    ///
    /// # Errors
    /// When a node's link cannot be read.
    pub fn nodes_by_mac(&self) -> Result<BTreeMap<Mac, String>, LabError> {
        self.nodes_by_mac_in(Network::Lan)
    }

    /// The nodes by the MAC address of their link in `network`.
    ///
    /// # Errors
    /// When a node's link cannot be read.
    pub fn nodes_by_mac_in(&self, network: Network) -> Result<BTreeMap<Mac, String>, LabError> {
        let mut nodes = BTreeMap::new();
        for node in self.lab.config.node_names() {
            let mac = self.lab.host(&node)?.mac(network.link()).map_err(LabError::at(&node))?;
            nodes.insert(mac, node);
        }
        Ok(nodes)
    }
}

/// The addresses in a Service's status.
pub fn shown(service: &Service) -> Vec<IpAddr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|status| status.ingress.as_ref());
    ingress.into_iter().flatten().filter_map(|entry| entry.ip.as_deref()?.parse().ok()).collect()
}

/// An echo Deployment that is not created yet.
#[derive(Clone)]
pub struct Echo<'a> {
    scene: &'a Scene,
    name: String,
    replicas: i32,
    nodes: Option<(&'static str, String)>,
}

impl Echo<'_> {
    /// With so many pods, on different nodes as far as there are any.
    #[must_use]
    pub fn replicas(self, replicas: i32) -> Self {
        Echo { replicas, ..self }
    }

    /// With no pod on this node.
    #[must_use]
    pub fn avoiding(self, node: &str) -> Self {
        Echo { nodes: Some(("NotIn", node.to_owned())), ..self }
    }

    /// On this node alone.
    #[must_use]
    pub fn on(self, node: &str) -> Self {
        Echo { nodes: Some(("In", node.to_owned())), ..self }
    }

    /// Creates it and waits until its pods are ready.
    ///
    /// # Errors
    /// When they do not become ready.
    pub async fn create(self) -> Result<(), LabError> {
        let (name, replicas) = (&self.name, self.replicas);
        let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
        let mut affinity = json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
            "weight": 100,
            "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": name}}},
        }]}});
        if let Some((operator, node)) = &self.nodes {
            affinity["nodeAffinity"] = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{
                "matchExpressions": [{"key": "kubernetes.io/hostname", "operator": operator, "values": [node]}],
            }]}});
        }
        let deployment: Deployment = object(json!({
            "metadata": {"name": name},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 0, "affinity": affinity,
                    "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [{
                        "name": "echo", "image": programs::ECHO, "imagePullPolicy": "Never",
                        "env": [
                            {"name": "NODE_NAME", "valueFrom": field("spec.nodeName")},
                            {"name": "POD_NAME", "valueFrom": field("metadata.name")},
                        ],
                        "ports": [{"containerPort": 8080}],
                        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
                        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                    }],
                },
            }},
        }))?;
        let api: Api<Deployment> = Api::namespaced(self.scene.client.clone(), &self.scene.namespace);
        api.create(&PostParams::default(), &deployment).await.map_err(api_error("creating a Deployment"))?;
        wait(&format!("{replicas} pods of {name}"), PATIENCE, async || {
            let status = api.get(name).await.map_err(|error| error.to_string())?.status.unwrap_or_default();
            let ready = status.ready_replicas.unwrap_or_default();
            if ready == replicas {
                Ok(())
            } else {
                Err(format!("{ready} are ready: {:?}", status.conditions))
            }
        })
        .await
    }
}

/// A Service that is not created yet.
#[derive(Clone)]
pub struct NewService<'a> {
    scene: &'a Scene,
    name: String,
    spec: Value,
    annotations: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
}

impl NewService<'_> {
    /// With this field of `spec`.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.spec[field] = value;
        self
    }

    /// With this annotation.
    #[must_use]
    pub fn annotated(mut self, name: &str, value: &str) -> Self {
        self.annotations.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With this label.
    #[must_use]
    pub fn labelled(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Of this family.
    #[must_use]
    pub fn family(self, family: &str) -> Self {
        self.with("ipFamilies", json!([family]))
    }

    /// Creates it.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn create(self) -> Result<Service, LabError> {
        let service: Service = object(json!({
            "metadata": {"name": self.name, "annotations": self.annotations, "labels": self.labels}, "spec": self.spec,
        }))?;
        let created = self.scene.services().create(&PostParams::default(), &service).await;
        created.map_err(api_error("creating a Service"))
    }
}

fn object<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, LabError> {
    serde_json::from_value(value).map_err(|error| LabError::State(error.to_string()))
}

fn api_error(what: &str) -> impl FnOnce(kube::Error) -> LabError {
    let what = what.to_owned();
    move |error| LabError::Program { program: what, why: error.to_string() }
}

/// The nodes of `lab` in the order in which they are elected for `address`: by SHA-256 of `node#address`, written
/// here once more so that the tests do not ask the code under test.
pub fn election_order(lab: &Lab, address: &str) -> Vec<String> {
    use sha2::{Digest, Sha256};
    let mut nodes = lab.config.node_names();
    nodes.sort_by_key(|node| Sha256::digest(format!("{node}#{address}")).to_vec());
    nodes
}
