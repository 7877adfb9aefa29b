//! What a test of layer 2 stands on: a scene, a family, addresses, and eyes on the wire.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Deref;
use std::process::Stdio;
use std::time::Duration;

use ferrolb_tests::host::Host;
use ferrolb_tests::judge::{Form, Judge, Prober, Seen, Verdict};
use ferrolb_tests::lab::network::Network;
use ferrolb_tests::lab::progress::wait;
use ferrolb_tests::lab::{Lab, LabError, process};
use ferrolb_tests::scene::{NewService, Scene, election_order};
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::{in_cluster, on_wire};

/// So long answers to one question are collected: a second node that answers would be seen.
const WINDOW: Duration = Duration::from_millis(150);

/// How long anything may take, in seconds, on a slow machine. The contract's own limits are 10 to 60 s.
pub(crate) const PATIENCE: u64 = 30;

/// How long silence is listened to, where there must be nobody.
const SILENCE: Duration = Duration::from_secs(1);

/// A move takes a watch event at two nodes. They act within 100 ms; the rest is a busy machine.
const MOVE: Duration = Duration::from_millis(500);

/// The label that keeps a node from announcing.
pub(crate) const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// As a Service names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }

    /// The address with this number, 0 to 79.
    pub(crate) fn address(self, number: u8) -> IpAddr {
        match self {
            Family::V4 => IpAddr::from([10, 10, 0, 120 + number]),
            Family::V6 => Ipv6Addr::new(0xfd10, 0, 0, 0, 0, 0, 0, 0x1000 + u16::from(number)).into(),
        }
    }
}

/// A stage in a lab.
pub(crate) struct Stage {
    pub(crate) scene: Scene,
    pub(crate) family: Family,
    first: u8,
}

impl Deref for Stage {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        &self.scene
    }
}

/// Runs `test` on a stage whose first address has the number `first`.
pub(crate) fn on_stage(
    id: &str,
    family: Family,
    first: u8,
    test: impl AsyncFnOnce(&Stage) -> Result<(), LabError>,
) {
    let name = format!("{id}-{}", family.name().to_lowercase());
    in_cluster(&name, async |scene| {
        assert!(
            scene.lab.config.segments == 3 && scene.lab.config.nodes == 3,
            "these tests need a lab that was brought up with --nodes 3 --segments 3"
        );
        test(&Stage { scene, family, first }).await
    });
}

impl Stage {
    /// The address with this number, of this stage's own.
    pub(crate) fn own(&self, number: u8) -> IpAddr {
        self.family.address(self.first + number)
    }

    /// A pool, named as the scene, of so many of its own addresses.
    pub(crate) async fn pool_of(&self, count: u8) -> Result<(), LabError> {
        let range = format!("{}-{}", self.own(0), self.own(count - 1));
        self.pool_written(&range).await
    }

    /// A pool, named as the scene, written like this.
    pub(crate) async fn pool_written(&self, addresses: &str) -> Result<(), LabError> {
        let spec = json!({"addresses": [addresses], "reuseDelay": "0s"});
        self.create("IPAddressPool", &self.namespace, &spec).await
    }

    /// An L2Advertisement of the scene's pool: `spec` without pools.
    pub(crate) async fn advertise(&self, name: &str, spec: Value) -> Result<(), LabError> {
        self.create("L2Advertisement", &self.named(name), &self.with_pool(spec)).await
    }

    /// Replaces an L2Advertisement that [`Stage::advertise`] made.
    pub(crate) async fn advertise_anew(&self, name: &str, spec: Value) -> Result<(), LabError> {
        self.change("L2Advertisement", &self.named(name), &self.with_pool(spec)).await
    }

    fn named(&self, name: &str) -> String {
        format!("{}-{name}", self.namespace)
    }

    fn with_pool(&self, mut spec: Value) -> Value {
        if spec.get("ipAddressPoolSelectors").is_none() {
            spec["ipAddressPools"] = json!([self.namespace]);
        }
        spec
    }

    /// A Service whose endpoints are written by hand, one on each of these nodes, to be completed: nothing but
    /// layer 2 is in question, and pods take seconds.
    pub(crate) async fn bare_service(
        &self,
        name: &str,
        nodes: &[&str],
        complete: impl FnOnce(NewService<'_>) -> NewService<'_>,
    ) -> Result<IpAddr, LabError> {
        let service = self.service(name).family(self.family.name()).with("selector", Value::Null);
        complete(service).create().await?;
        self.scene.endpoints(name, self.family.name(), nodes).await?;
        self.address(name).await
    }

    /// A Service `web`, with an endpoint on each node.
    pub(crate) async fn web(&self) -> Result<IpAddr, LabError> {
        self.bare_service("web", &["node1", "node2", "node3"], |service| service).await
    }

    /// A pool of one address, an L2Advertisement `all` with this spec, and `web`.
    pub(crate) async fn web_advertised(&self, spec: Value) -> Result<IpAddr, LabError> {
        self.pool_of(1).await?;
        self.advertise("all", spec).await?;
        self.web().await
    }

    /// The nodes in the order in which they are elected for `address`.
    pub(crate) fn order(&self, address: IpAddr) -> Vec<String> {
        election_order(&self.lab, &address.to_string())
    }

    /// Who asks, and has an ordinary kernel.
    pub(crate) fn client(&self) -> Result<Host, LabError> {
        self.client_host()
    }

    /// Asks once: the nodes that answer for `address` in `network`, by the MAC addresses of their links there.
    pub(crate) fn answering(&self, network: Network, address: IpAddr) -> Result<BTreeSet<String>, LabError> {
        let nodes = self.nodes_by_mac_in(network)?;
        let macs = on_wire(self.client()?.who_has_on(network.link(), address, WINDOW))?;
        Ok(macs.iter().map(|mac| nodes.get(mac).cloned().unwrap_or_else(|| mac.to_string())).collect())
    }

    /// Waits until in each segment those answer who are named for it, and nobody else.
    pub(crate) async fn answered_by(
        &self,
        address: IpAddr,
        expected: [Option<&str>; 3],
    ) -> Result<(), LabError> {
        wait(&format!("{expected:?} to answer for {address} in the three segments"), PATIENCE, async || {
            let mut found = Vec::new();
            for network in Network::SEGMENTS {
                found.push(self.answering(network, address).map_err(|error| error.to_string())?);
            }
            let right = expected.iter().zip(&found).all(|(expected, found)| {
                found.len() == usize::from(expected.is_some())
                    && expected.is_none_or(|node| found.contains(node))
            });
            if right { Ok(()) } else { Err(format!("{found:?} answer")) }
        })
        .await
    }

    /// Waits until `node` alone answers in the LAN.
    pub(crate) async fn owned_by(&self, address: IpAddr, node: &str) -> Result<(), LabError> {
        wait(&format!("{node} alone to answer for {address}"), PATIENCE, async || {
            let found = self.answering(Network::Lan, address).map_err(|error| error.to_string())?;
            if found == BTreeSet::from([node.to_owned()]) { Ok(()) } else { Err(format!("{found:?} answer")) }
        })
        .await
    }

    /// Waits for whoever is the only one to answer in the LAN.
    pub(crate) async fn owner(&self, address: IpAddr) -> Result<String, LabError> {
        wait(&format!("one node to answer for {address}"), PATIENCE, async || {
            let found = self.answering(Network::Lan, address).map_err(|error| error.to_string())?;
            match found.iter().collect::<Vec<_>>().as_slice() {
                [one] => Ok((*one).clone()),
                _ => Err(format!("{found:?} answer")),
            }
        })
        .await
    }

    /// Asks in all segments for a second: nobody may answer or announce anything.
    pub(crate) async fn nobody(&self, address: IpAddr) -> Result<(), LabError> {
        let watch = self.watch(address, &Network::SEGMENTS)?;
        tokio::time::sleep(SILENCE).await;
        for verdict in watch.end()? {
            assert!(verdict.counts().0 > 20, "too few questions\n{verdict}");
            assert!(verdict.course().is_empty() && verdict.announcements.is_empty(), "{verdict}");
        }
        Ok(())
    }

    /// Watches the LAN once `node` has `address`, and returns when it is seen to answer.
    pub(crate) async fn watch_owned(&self, address: IpAddr, node: &str) -> Result<Watch, LabError> {
        self.owned_by(address, node).await?;
        let watch = self.watch_lan(address)?;
        wait(&format!("the judge to see {node} answer for {address}"), PATIENCE, async || {
            let now = watch.judge.now();
            let so_far = |seen: &[Seen]| Verdict::of(seen, address, Network::Lan, Duration::ZERO, now);
            let verdict = watch.judge.so_far(so_far);
            if verdict.course() == [node] { Ok(()) } else { Err(verdict.to_string()) }
        })
        .await?;
        Ok(watch)
    }

    /// Watches the LAN from now on, and asks for `address` without end.
    pub(crate) fn watch_lan(&self, address: IpAddr) -> Result<Watch, LabError> {
        self.watch(address, &[Network::Lan])
    }

    /// The same in several segments.
    pub(crate) fn watch(&self, address: IpAddr, networks: &[Network]) -> Result<Watch, LabError> {
        let judge = Judge::watch(&self.lab)?;
        // Not the client whose kernel is looked at.
        let asker = self.lab.host("client2")?;
        let start = |network: &Network| on_wire(Prober::start(&asker, *network, address, Prober::EVERY));
        let probers = networks.iter().map(start).collect::<Result<_, _>>()?;
        Ok(Watch { judge, probers, address, networks: networks.to_vec() })
    }

    /// Sets a label of a node until the guard is dropped.
    pub(crate) fn label(&self, node: &str, key: &str, value: &str) -> Result<Marked, LabError> {
        let marked = Marked {
            lab: self.lab.clone(),
            undo: vec!["label".into(), "node".into(), node.into(), format!("{key}-")],
        };
        let label = format!("{key}={value}");
        process::run(self.lab.kubectl().args(["label", "--overwrite", "node", node, &label]))?;
        Ok(marked)
    }

    /// Says that the network of a node is not available. The condition is removed when the guard is dropped.
    pub(crate) fn network_unavailable(&self, node: &str) -> Result<Marked, LabError> {
        let removal = condition(node, json!({"type": "NetworkUnavailable", "$patch": "delete"}));
        let marked = Marked { lab: self.lab.clone(), undo: removal };
        self.network_condition(node, "True")?;
        Ok(marked)
    }

    /// Sets the condition NetworkUnavailable of a node.
    pub(crate) fn network_condition(&self, node: &str, status: &str) -> Result<(), LabError> {
        let set = condition(node, json!({"type": "NetworkUnavailable", "status": status, "reason": "Test"}));
        process::run(self.lab.kubectl().args(set)).map(|_| ())
    }

    /// Changes a label of a Service; `None` removes it.
    pub(crate) async fn label_service(
        &self,
        service: &str,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), LabError> {
        let patch = Patch::Merge(json!({"metadata": {"labels": {key: value}}}));
        let patched = self.services().patch(service, &PatchParams::default(), &patch).await;
        patched.map(|_| ()).map_err(|error| LabError::State(error.to_string()))
    }

    /// The one ServiceL2Status of a Service, once there is exactly one and it names `node`.
    pub(crate) async fn l2_status(&self, service: &str, node: &str) -> Result<DynamicObject, LabError> {
        wait(&format!("one ServiceL2Status of {service} that names {node}"), PATIENCE, async || {
            let found = self.l2_statuses(service).await.map_err(|error| error.to_string())?;
            let named = |object: &DynamicObject| object.data["status"]["node"] == node;
            match found.as_slice() {
                [one] if named(one) => Ok(one.clone()),
                others => Err(format!("{others:?}")),
            }
        })
        .await
    }

    /// The messages of a Service's events, once there are any.
    pub(crate) async fn told(
        &self,
        service: &str,
        kind: &str,
        reason: &str,
    ) -> Result<Vec<String>, LabError> {
        wait(&format!("an event {reason} of {service}"), PATIENCE, async || {
            let found = self.events(service, kind, reason).await.map_err(|error| error.to_string())?;
            if found.is_empty() { Err("there is none".to_owned()) } else { Ok(found) }
        })
        .await
    }
}

/// What kubectl is told to merge this into the conditions of a node.
fn condition(node: &str, condition: Value) -> Vec<String> {
    let patch = json!({"status": {"conditions": [condition]}}).to_string();
    let arguments = ["patch", "node", node, "--subresource=status", "--type=strategic", "-p", &patch];
    arguments.map(str::to_owned).to_vec()
}

/// Something about a node that ends with this.
pub(crate) struct Marked {
    lab: Lab,
    undo: Vec<String>,
}

impl Marked {
    /// Ends it.
    pub(crate) fn end(self) {}
}

impl Drop for Marked {
    fn drop(&mut self) {
        let undone = self.lab.kubectl().args(&self.undo).stdout(Stdio::null()).status();
        if !undone.is_ok_and(|status| status.success()) {
            eprintln!("this failed, so the next tests may fail too: kubectl {}", self.undo.join(" "));
        }
    }
}

/// Eyes on an address.
pub(crate) struct Watch {
    pub(crate) judge: Judge,
    probers: Vec<Prober>,
    address: IpAddr,
    networks: Vec<Network>,
}

impl Watch {
    /// Ends it: one verdict for each network.
    pub(crate) fn end(self) -> Result<Vec<Verdict>, LabError> {
        for prober in self.probers {
            on_wire(prober.stop())?;
        }
        let record = on_wire(self.judge.stop())?;
        Ok(self.networks.iter().map(|network| record.verdict(self.address, *network)).collect())
    }

    /// Waits until the last of these nodes is seen to have the address alone and to announce it, and ends it; the address
    /// went through the hands of these nodes in the LAN, each move short, nobody had it without being the owner,
    /// and each owner announced it.
    pub(crate) async fn moved_through(self, course: &[&str]) -> Result<Verdict, LabError> {
        // What makes a test think that it is over (a client's cache, say) may come before the last question.
        let arrived = wait("the judge to see the end of the moves", PATIENCE, async || {
            let now = self.judge.now();
            let look = |seen: &[Seen]| Verdict::of(seen, self.address, Network::Lan, Duration::ZERO, now);
            let verdict = self.judge.so_far(look);
            let last = verdict.steps().into_iter().next_back();
            let moved = verdict.holders().len() > 1;
            match last {
                Some((node, at))
                    if Some(&node) == course.last() && (!moved || missing(&verdict, node, at).is_empty()) =>
                {
                    Ok(())
                }
                _ => Err(verdict.to_string()),
            }
        });
        arrived.await?;
        let verdicts = self.end()?;
        let verdict =
            verdicts.into_iter().next().ok_or_else(|| LabError::State("nothing was watched".into()))?;
        assert_eq!(verdict.holders(), course, "{verdict}");
        assert!(verdict.longest_silence < MOVE, "silence\n{verdict}");
        assert!(
            verdict.overlaps.iter().all(|overlap| overlap.to - overlap.from < MOVE),
            "two had it\n{verdict}"
        );
        assert!(verdict.stale.is_empty(), "{verdict}");
        for (node, at) in verdict.steps().into_iter().skip(1) {
            let missing = missing(&verdict, node, at);
            assert!(
                missing.is_empty(),
                "{node} had it from {at:?} on and did not announce it by {missing:?}\n{verdict}"
            );
        }
        eprintln!("{}", Figures(&verdict));
        Ok(verdict)
    }
}

/// The forms by which `node` did not announce what it had from `at` on.
fn missing(verdict: &Verdict, node: &str, at: Duration) -> Vec<Form> {
    let near = at.saturating_sub(MOVE)..at + MOVE;
    let said = verdict.announcements.iter().filter(|said| said.owner.host == node && near.contains(&said.at));
    let forms: BTreeSet<Form> = said.map(|said| said.form).collect();
    let wanted: &[Form] = match verdict.address {
        IpAddr::V4(_) => &[Form::Request, Form::Reply { moves: true }],
        IpAddr::V6(_) => &[Form::Advertisement { overrides: true }],
    };
    wanted.iter().filter(|form| !forms.contains(form)).copied().collect()
}

struct Figures<'a>(&'a Verdict);

impl fmt::Display for Figures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verdict, ms) = (self.0, |time: Duration| time.as_secs_f64() * 1e3);
        write!(
            f,
            "{}: {}; the longest silence {:.1} ms, two for {:.1} ms",
            verdict.address,
            verdict.course().join(" → "),
            ms(verdict.longest_silence),
            ms(verdict.time_of_two())
        )
    }
}
