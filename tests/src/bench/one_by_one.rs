//! The time from sending the creation of a Service until a watch shows its address, one Service after the other.
//!
//! Beside it, in turn with it, the floor: a client in this process that does the least that any controller must.
//! It sees the Service by a watch of its own and writes an address, with neither pool nor plan. What is above it
//! is ours; what is in it is the API server's and the machine's.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::lab::LabError;

use super::lean::{Kind, Server, Sight};

/// The class of the Services that the floor serves; no other controller does.
const FLOOR: &str = "bench.ferrolb.example/floor";

/// So many Services of each kind are created before it counts: caches and connections are warm then.
const WARM_UP: usize = 10;

/// How long one Service may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The times of both.
#[derive(Clone, Debug, Default)]
pub struct Times {
    /// With the controller.
    pub ours: Vec<Duration>,
    /// With the floor.
    pub floor: Vec<Duration>,
}

/// Creates `rounds` Services for each of the two, in turn. They stay.
///
/// # Errors
/// When one gets no address.
pub async fn one_by_one(server: &Server, floor: &Server, rounds: usize) -> Result<Times, LabError> {
    let (_, version) = server.list().await?;
    let mut sights = server.watch(&version).await?;
    let floor = Floor::start(floor.clone(), &version).await?;
    let mut times = Times::default();
    for round in 0..WARM_UP + rounds {
        // Who is second may find something of the first's still to be done, so they take turns at that too.
        let order = if round % 2 == 0 { [false, true] } else { [true, false] };
        for by_floor in order {
            let name = format!("{}-{round}", if by_floor { "floor" } else { "ours" });
            let body = service(&name, by_floor.then_some(FLOOR));
            let sent = Instant::now();
            server.create(&body).await?;
            let seen = address_of(&mut sights, &name).await?;
            if round >= WARM_UP {
                let list = if by_floor { &mut times.floor } else { &mut times.ours };
                list.push(seen.saturating_duration_since(sent));
            }
        }
    }
    drop(floor);
    Ok(times)
}

/// A Service of type LoadBalancer that needs nothing else of the cluster: no node ports, of which there are not
/// enough for ten thousand, and no endpoints.
pub fn service(name: &str, class: Option<&str>) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "loadBalancerClass": class,
            "ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}],
        },
    })
}

/// When the Service was first seen with an address.
async fn address_of(sights: &mut mpsc::UnboundedReceiver<Sight>, name: &str) -> Result<Instant, LabError> {
    let seen = tokio::time::timeout(PATIENCE, async {
        while let Some(sight) = sights.recv().await {
            if sight.object.metadata.name == name && sight.object.address().is_some() {
                return Some(sight.at);
            }
        }
        None
    });
    seen.await.ok().flatten().ok_or_else(|| LabError::Late {
        what: format!("an address for Service {name}"),
        seconds: PATIENCE.as_secs(),
        state: "the watch shows none".to_owned(),
    })
}

/// The least that any controller must do. It ends when dropped.
struct Floor(JoinHandle<()>);

impl Floor {
    async fn start(server: Server, version: &str) -> Result<Self, LabError> {
        let mut sights = server.watch(version).await?;
        Ok(Floor(tokio::spawn(async move {
            let mut next = u32::from(Ipv4Addr::new(10, 255, 0, 1));
            while let Some(Sight { kind, object, .. }) = sights.recv().await {
                if kind != Kind::Added || object.spec.load_balancer_class.as_deref() != Some(FLOOR) {
                    continue;
                }
                let ip = Ipv4Addr::from(next).to_string();
                next += 1;
                let patch = json!({
                    "metadata": {
                        "uid": object.metadata.uid,
                        "resourceVersion": object.metadata.resource_version,
                        "annotations": {"metallb.io/ip-allocated-from-pool": "floor"},
                    },
                    "status": {"loadBalancer": {"ingress": [{"ip": ip}]}},
                });
                // A failure shows as an address that does not come.
                let _ = server.write_status(&object.metadata.name, &patch).await;
            }
        })))
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.0.abort();
    }
}
