//! Twenty Services with addresses, and who answers for each.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ferrolb_tests::lab::LabError;
use ferrolb_tests::lab::progress::wait;
use ferrolb_tests::scene::{Scene, shown};
use serde_json::{Value, json};

/// How long anything may take, in seconds.
const PATIENCE: u64 = 120;

/// The port of the Service that shares an address with another.
const SECOND: u16 = 81;

/// A Service by name, what it has beside the usual, and an annotation.
type Planned = (String, Value, Option<(&'static str, &'static str)>);

/// Twenty Services of all kinds, of both families, some with a shared address, some with `externalTrafficPolicy: Local`.
pub(crate) async fn shop(scene: Scene) -> Result<Scene, LabError> {
    scene.echo("shop").replicas(3).create().await?;
    let pools = [
        ("IPAddressPool", "shop", json!({"addresses": ["10.10.0.200-10.10.0.239", "fd10::1000-fd10::103f"]})),
        ("IPAddressPool", "second", json!({"addresses": ["10.10.0.240/29"], "autoAssign": false})),
        ("L2Advertisement", "shop", json!({"ipAddressPools": ["shop"]})),
        (
            "L2Advertisement",
            "second",
            json!({"ipAddressPools": ["second"], "nodeSelectors": [{"matchLabels": {"kubernetes.io/hostname": "node3"}}]}),
        ),
    ];
    for (kind, name, spec) in &pools {
        // MetalLB's webhook refuses all until it has its certificate.
        wait(&format!("{kind} {name}"), PATIENCE, async || {
            scene.create(kind, name, spec).await.map_err(|error| error.to_string())
        })
        .await?;
    }
    let plain = |family: &'static str, count: usize| {
        (1..=count)
            .map(move |n| (format!("{}-{n}", family.to_lowercase()), json!({"ipFamilies": [family]}), None))
    };
    let mut services: Vec<Planned> = Vec::new();
    services.extend(plain("IPv4", 8).chain(plain("IPv6", 4)));
    let dual = json!({"ipFamilyPolicy": "RequireDualStack"});
    services.extend((1..=3).map(|n| (format!("dual-{n}"), dual.clone(), None)));
    let local = json!({"externalTrafficPolicy": "Local"});
    services.extend((1..=2).map(|n| (format!("local-{n}"), local.clone(), None)));
    let shared = Some(("metallb.universe.tf/allow-shared-ip", "till"));
    let port = json!({"ports": [{"name": "http", "port": SECOND, "targetPort": 8080}]});
    services.extend([("till-a".to_owned(), json!({}), shared), ("till-b".to_owned(), port, shared)]);
    services.push(("second".to_owned(), json!({}), Some(("metallb.io/address-pool", "second"))));
    assert_eq!(services.len(), 20);
    for (name, fields, annotation) in services {
        let mut service = scene.service(&name).with("selector", json!({"app": "shop"}));
        for (field, value) in fields.as_object().into_iter().flatten() {
            service = service.with(field, value.clone());
        }
        if let Some((key, value)) = annotation {
            service = service.annotated(key, value);
        }
        service.create().await?;
        scene.address(&name).await?;
    }
    Ok(scene)
}

/// Which Service has which addresses, and with which MAC each is answered for.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct State(pub(crate) BTreeMap<String, (Vec<IpAddr>, Vec<String>)>);

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0
            .iter()
            .try_for_each(|(name, (addresses, nodes))| write!(f, "{name} {addresses:?} at {nodes:?}; "))
    }
}

impl State {
    pub(crate) async fn of(scene: &Scene) -> Result<Self, LabError> {
        wait("one node to answer for each address", PATIENCE, async || State::now(scene).await).await
    }

    async fn now(scene: &Scene) -> Result<Self, String> {
        let text = |error: LabError| error.to_string();
        let (client, nodes) = (scene.client_host().map_err(text)?, scene.nodes_by_mac().map_err(text)?);
        let list = scene.services().list(&kube::api::ListParams::default()).await;
        let mut state = BTreeMap::new();
        for service in list.map_err(|error| error.to_string())?.items {
            let name = service.metadata.name.clone().unwrap_or_default();
            let (addresses, mut owners) = (shown(&service), Vec::new());
            for address in &addresses {
                let macs = client.who_has(*address, Duration::from_millis(60));
                let macs = macs.map_err(|error| error.to_string())?;
                let names: Vec<_> =
                    macs.iter().map(|mac| nodes.get(mac).cloned().unwrap_or_default()).collect();
                match <[String; 1]>::try_from(names) {
                    Ok([one]) => owners.push(one),
                    Err(others) => return Err(format!("{others:?} answer for {address} of {name}")),
                }
            }
            state.insert(name, (addresses, owners));
        }
        Ok(State(state))
    }

    /// How many Services there are.
    pub(crate) fn services(&self) -> usize {
        self.0.len()
    }

    /// Each address with the port on which a Service of this name listens.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.0.iter().flat_map(|(name, (addresses, _))| {
            let port = if name == "till-b" { SECOND } else { 80 };
            addresses.iter().map(move |address| (name.as_str(), SocketAddr::new(*address, port)))
        })
    }

    /// Nothing is different from before.
    pub(crate) async fn stays(before: &State, scene: &Scene, when: &str) -> Result<(), LabError> {
        let now = State::of(scene).await?;
        if now == *before {
            return Ok(());
        }
        Err(LabError::State(format!("after {when:?}\nbefore: {before:?}\nnow: {now:?}")))
    }
}
