//! The objects that the speaker sees: a Node that lives without a kubelet, a pool, and Services with addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::bench::bulk::side_by_side;
use crate::bench::lean::{NAMESPACE, Server};
use crate::bench::one_by_one::service;
use crate::lab::progress::{Progress, wait};
use crate::lab::{LabError, process};
use crate::plane::Plane;
use crate::scene::SYSTEM;

use super::speaker::NODE;

/// The pool of all addresses.
const POOL: &str = "bench";

/// Where a Node's heartbeat is.
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

/// Well below the time after which a Node without a heartbeat is not Ready any more
/// (`--node-monitor-grace-period`, 50 s).
const BEAT: Duration = Duration::from_secs(10);

/// How long the objects of a new cluster may take, in seconds.
const PATIENCE: u64 = 60;

/// Of many Services it is said each time that so many more are there.
const SAY: usize = 2000;

/// How long the speaker may take to write its statuses, in seconds.
const STATUSES: u64 = 300;

/// The IPv4 address with this number, of the pool; as many as 65,535.
pub(super) fn four(number: usize) -> IpAddr {
    let base = u32::from(Ipv4Addr::new(10, 64, 0, 0));
    Ipv4Addr::from(base + number as u32 + 1).into()
}

/// The IPv6 address with this number, of the pool.
pub(super) fn six(number: usize) -> IpAddr {
    let base = u128::from(Ipv6Addr::new(0xfd64, 0, 0, 0, 0, 0, 0, 0));
    Ipv6Addr::from(base + number as u128 + 1).into()
}

/// How all IPv4 addresses of the pool begin.
pub(super) const FOUR: &str = "10.64.";

/// How all IPv6 addresses of the pool begin.
pub(super) const SIX: &str = "fd64:";

/// A Node's heartbeat. It ends when dropped.
#[derive(Debug)]
pub(super) struct Heart(JoinHandle<()>);

impl Drop for Heart {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Creates the namespace, the Node, the pool and its advertisement; returns the heart of that Node and of `others`, which
/// need not be there yet.
pub(super) async fn prepare(plane: &Plane, server: &Server, others: &[String]) -> Result<Heart, LabError> {
    plane.apply_crds()?;
    plane.kubectl(&["create", "namespace", NAMESPACE])?;
    wait("the namespace of Leases of Nodes", PATIENCE, async || {
        server.create_at(LEASES, &lease(NODE)).await.map_err(|error| error.to_string())
    })
    .await?;
    server.create_at("/api/v1/nodes", &node(NODE, Ipv4Addr::new(10, 10, 0, 102))).await?;
    let ours = |plural: &str| format!("/apis/metallb.io/v1beta1/namespaces/{SYSTEM}/{plural}");
    let pool = json!({
        "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", "metadata": {"name": POOL},
        "spec": {"addresses": ["10.64.0.0/16", "fd64::/112"]},
    });
    server.create_at(&ours("ipaddresspools"), &pool).await?;
    let advertisement = json!({
        "apiVersion": "metallb.io/v1beta1", "kind": "L2Advertisement", "metadata": {"name": POOL},
        "spec": {"ipAddressPools": [POOL]},
    });
    server.create_at(&ours("l2advertisements"), &advertisement).await?;
    let beating = server.clone();
    let names: Vec<String> = others.iter().cloned().chain([NODE.to_owned()]).collect();
    Ok(Heart(tokio::spawn(async move {
        loop {
            tokio::time::sleep(BEAT).await;
            for name in &names {
                // A beat that fails is followed by another. Without any the Node is not Ready, which is seen.
                let _ = beating.merge_at(LEASES, name, &json!({"spec": {"renewTime": now()}})).await;
            }
        }
    })))
}

/// Creates another Node.
pub(super) async fn add_bare_node(server: &Server, name: &str, address: Ipv4Addr) -> Result<(), LabError> {
    server.create_at(LEASES, &lease(name)).await?;
    server.create_at("/api/v1/nodes", &node(name, address)).await
}

/// Creates another Node, with what the API shows of a speaker on it.
pub(super) async fn add_node(server: &Server, name: &str, address: Ipv4Addr) -> Result<(), LabError> {
    add_bare_node(server, name, address).await?;
    let states = format!("/apis/metallb.io/v1beta1/namespaces/{SYSTEM}/configurationstates");
    let state = json!({
        "apiVersion": "metallb.io/v1beta1", "kind": "ConfigurationState",
        "metadata": {"name": format!("speaker-{name}"), "labels": {"metallb.io/node-name": name}},
    });
    server.create_at(&states, &state).await
}

/// Gives a host an address that its kernel answers for, outside of the pool.
pub(super) fn add_address(plane: &Plane, host: &str, address: IpAddr) -> Result<(), LabError> {
    let mut ip = Command::new("ip");
    ip.args(["-n", &plane.lab.paths.netns_name(host), "address", "add", &address.to_string(), "dev", "eth0"]);
    if address.is_ipv6() {
        ip.arg("nodad");
    }
    process::run(&mut ip).map(|_| ())
}

/// Services with addresses, numbered as these are.
pub(super) struct Stock {
    server: Server,
    progress: Progress,
    count: usize,
    slices: u8,
}

impl Stock {
    /// None yet.
    pub(super) fn new(server: Server, progress: Progress) -> Self {
        Stock { server, progress, count: 0, slices: 1 }
    }

    /// With so many EndpointSlices for each, at most 10.
    pub(super) fn with_slices(self, slices: u8) -> Self {
        Stock { slices, ..self }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Creates `count` more, each with its EndpointSlices, that have no addresses yet; returns their numbers.
    pub(super) async fn create(&mut self, count: usize) -> Result<std::ops::Range<usize>, LabError> {
        let (numbers, slices) = (self.count..self.count + count, self.slices);
        self.each(numbers.clone(), "created", move |server, number| async move {
            server.create(&service(&name(number), None)).await?;
            let list = format!("/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices");
            for part in 0..slices {
                server.create_at(&list, &slice(number, part)).await?;
            }
            Ok(())
        })
        .await?;
        self.count = numbers.end;
        Ok(numbers)
    }

    /// Writes the addresses of these, as a controller would.
    pub(super) async fn assign(
        &self,
        numbers: std::ops::Range<usize>,
        address: fn(usize) -> IpAddr,
    ) -> Result<(), LabError> {
        self.each(numbers, "assigned", move |server, number| async move {
            server.write_status(&name(number), &assignment(address(number))).await
        })
        .await
    }

    async fn each<F, R>(&self, numbers: std::ops::Range<usize>, done: &str, act: F) -> Result<(), LabError>
    where
        F: Fn(Server, usize) -> R + Clone + Send + 'static,
        R: Future<Output = Result<(), LabError>> + Send + 'static,
    {
        let ready = Arc::new(AtomicUsize::new(0));
        let (count, first) = (numbers.len(), numbers.start);
        let (progress, done) = (self.progress.clone(), done.to_owned());
        side_by_side(self.server.clone(), count, move |server, number| {
            let (act, ready) = (act.clone(), ready.clone());
            let (progress, done) = (progress.clone(), done.clone());
            async move {
                act(server, first + number).await?;
                let ready = ready.fetch_add(1, Ordering::Relaxed) + 1;
                if ready.is_multiple_of(SAY) {
                    progress.say(&format!("  {ready} of {count} {done}"));
                }
                Ok(())
            }
        })
        .await
        .map(|_| ())
    }

    /// Waits until the speaker has written a status for each of them.
    pub(super) async fn shown(&self) -> Result<(), LabError> {
        let path = format!("/apis/metallb.io/v1beta1/namespaces/{SYSTEM}/servicel2statuses?limit=1");
        wait(&format!("{} ServiceL2Status objects", self.count), STATUSES, async || {
            let list = self.server.get(&path).await.map_err(|error| error.to_string())?;
            match listed(&list) {
                Some(count) if count == self.count => Ok(()),
                other => Err(format!("there are {other:?}")),
            }
        })
        .await
    }
}

/// How many objects a list has of which one was asked for.
fn listed(list: &str) -> Option<usize> {
    let list: Value = serde_json::from_str(list).ok()?;
    let rest = list["metadata"]["remainingItemCount"].as_u64().unwrap_or_default();
    Some(list["items"].as_array()?.len() + rest as usize)
}

/// The Service with this number.
pub(super) fn name(number: usize) -> String {
    format!("web-{number}")
}

/// A change that gives a Service this address.
pub(super) fn assignment(address: IpAddr) -> Value {
    json!({
        "metadata": {"annotations": {"metallb.io/ip-allocated-from-pool": POOL}},
        "status": {"loadBalancer": {"ingress": [{"ip": address, "ipMode": "VIP"}]}},
    })
}

/// A part of its endpoints: three, one of which is on the node.
fn slice(number: usize, part: u8) -> Value {
    let service = name(number);
    let endpoints = [NODE, "another", "third"].into_iter().zip(1u8..).map(|(node, last)| {
        let pod = format!("{service}-5d9c7b8f6d-{node}{part}");
        let net = 244 + part;
        json!({
            "addresses": [Ipv4Addr::new(10, net, (number / 80) as u8, (number % 80) as u8 * 3 + last)],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": node, "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": pod},
        })
    });
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("{service}-a1b2{part:x}"),
            "labels": {
                "kubernetes.io/service-name": service,
                "endpointslice.kubernetes.io/managed-by": "bench.ferrolb.example",
            },
        },
        "endpoints": endpoints.collect::<Vec<_>>(),
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    })
}

fn node(name: &str, address: Ipv4Addr) -> Value {
    let now = Timestamp::now().to_string();
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}],
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "the bench says so",
                "lastHeartbeatTime": now, "lastTransitionTime": now,
            }],
        },
    })
}

fn lease(name: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now()},
    })
}

/// As a Lease has it: with microseconds.
fn now() -> MicroTime {
    MicroTime(Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_the_pool_in_order() {
        assert_eq!(four(0), IpAddr::from([10, 64, 0, 1]));
        assert_eq!(four(255), IpAddr::from([10, 64, 1, 0]));
        assert_eq!(six(0xffff - 1), "fd64::ffff".parse::<IpAddr>().unwrap());
        for number in [0, 10_000, 60_400] {
            assert!(four(number).to_string().starts_with(FOUR) && six(number).to_string().starts_with(SIX));
        }
    }

    #[test]
    fn a_list_of_one_says_how_many_there_are() {
        assert_eq!(listed(r#"{"metadata": {"remainingItemCount": 41}, "items": [{}]}"#), Some(42));
        assert_eq!(listed(r#"{"metadata": {}, "items": []}"#), Some(0));
        assert_eq!(listed("no"), None);
    }

    #[test]
    fn the_pods_of_different_services_have_different_addresses() {
        let of =
            |number, part| slice(number, part)["endpoints"][2]["addresses"][0].as_str().unwrap().to_owned();
        let all: std::collections::BTreeSet<_> =
            (0..10_000).flat_map(|number| [of(number, 0), of(number, 2)]).collect();
        assert_eq!(all.len(), 20_000);
    }
}
