//! The acceptance lines on allocation, with the controller itself against a real API server without nodes.
//!
//! The table of cases beside the controller asks the same of its decisions; here it is asked of the whole: watches,
//! writes, restarts. The ids are those of the contract's acceptance list.

mod support;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use ferrolb_tests::lab::programs;
use ferrolb_tests::lab::progress::{Progress, wait};
use ferrolb_tests::plane::Plane;
use ferrolb_tests::program::{Launch, Program};
use ferrolb_tests::scene::{SYSTEM, shown};
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
    PostParams,
};
use serde_json::{Value, json};

use support::{block_on, left_out};

const LAB: &str = "testa";

/// How long anything may take, in seconds.
const PATIENCE: u64 = 60;

/// What the controller writes on a Service.
const CONDITION: &str = "ferrolb.io/AddressAssigned";

/// The API server, and a controller at work.
struct World {
    plane: Plane,
    client: kube::Client,
    controller: Option<Program>,
    /// The namespace of the present scene.
    namespace: String,
}

type Done = Result<(), String>;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl World {
    fn start(&mut self) -> Done {
        let folder = programs::ferrolb_programs(&Progress::default()).map_err(text)?;
        let launch = Launch::new(&folder.join("ferrolb-controller"), &self.plane.lab.paths.kubeconfig());
        let launch = launch.map_err(text)?.flags(&["--pod-name", "one", "--lease-duration", "5"]);
        self.controller = Some(launch.start().map_err(text)?);
        Ok(())
    }

    fn stop(&mut self) -> Done {
        match self.controller.take() {
            Some(controller) => controller.end().map(|_| ()).map_err(text),
            None => Ok(()),
        }
    }

    fn log(&self) -> String {
        self.controller.as_ref().map(Program::log).unwrap_or_default()
    }

    fn services(&self) -> Api<Service> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn custom(&self, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("metallb.io", "v1beta1", kind));
        Api::namespaced_with(self.client.clone(), SYSTEM, &resource)
    }

    /// An empty cluster for the next scene: no pools, no Services.
    async fn clear(&mut self, namespace: &str) -> Done {
        let all: Api<Service> = Api::all(self.client.clone());
        for service in all.list(&ListParams::default()).await.map_err(text)? {
            let (Some(name), Some(space)) = (service.metadata.name, service.metadata.namespace) else {
                continue;
            };
            if name != "kubernetes" {
                let api: Api<Service> = Api::namespaced(self.client.clone(), &space);
                api.delete(&name, &DeleteParams::default()).await.map_err(text)?;
            }
        }
        let pools = self.custom("IPAddressPool");
        for pool in pools.list(&ListParams::default()).await.map_err(text)? {
            pools
                .delete(pool.metadata.name.as_deref().unwrap_or_default(), &DeleteParams::default())
                .await
                .map_err(text)?;
        }
        self.namespace = namespace.to_owned();
        self.make_namespace(namespace, json!({})).await
    }

    async fn make_namespace(&self, name: &str, labels: Value) -> Done {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        let params = PatchParams::apply("test").force();
        api.patch(name, &params, &Patch::Apply(namespace)).await.map(|_| ()).map_err(text)
    }

    async fn pool_with(&self, name: &str, addresses: &[&str], more: Value) -> Done {
        let mut spec = json!({"addresses": addresses, "reuseDelay": "0s"});
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        let object = json!({"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", "metadata": {"name": name}, "spec": spec});
        let params = PatchParams::apply("test").force();
        self.custom("IPAddressPool")
            .patch(name, &params, &Patch::Apply(object))
            .await
            .map(|_| ())
            .map_err(text)
    }

    async fn pool(&self, name: &str, addresses: &[&str]) -> Done {
        self.pool_with(name, addresses, json!({})).await
    }

    async fn delete_pool(&self, name: &str) -> Done {
        self.custom("IPAddressPool").delete(name, &DeleteParams::default()).await.map(|_| ()).map_err(text)
    }

    async fn create_in(&self, namespace: &str, name: &str, metadata: Value, spec: Value) -> Done {
        let mut object = json!({
            "metadata": metadata,
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "selector": {"app": "web"}},
        });
        object["metadata"]["name"] = json!(name);
        for (key, value) in spec.as_object().into_iter().flatten() {
            object["spec"][key] = value.clone();
        }
        let service: Service = serde_json::from_value(object).map_err(text)?;
        let api: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        api.create(&PostParams::default(), &service)
            .await
            .map(|_| ())
            .map_err(|error| format!("{name}: {error}"))
    }

    async fn create(&self, name: &str, metadata: Value, spec: Value) -> Done {
        self.create_in(&self.namespace, name, metadata, spec).await
    }

    async fn plain(&self, name: &str) -> Done {
        self.create(name, json!({}), json!({})).await
    }

    async fn patch(&self, name: &str, patch: Value) -> Done {
        self.services()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .map(|_| ())
            .map_err(text)
    }

    async fn delete(&self, name: &str) -> Done {
        self.services().delete(name, &DeleteParams::default()).await.map(|_| ()).map_err(text)
    }

    /// Waits until the Service shows exactly these addresses.
    async fn has(&self, name: &str, addresses: &[&str]) -> Done {
        self.has_in(&self.namespace, name, addresses).await
    }

    async fn has_in(&self, namespace: &str, name: &str, addresses: &[&str]) -> Done {
        let api: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let what = format!("{name} to have {addresses:?}");
        let waited = wait(&what, PATIENCE, async || {
            let now = shown(&api.get(name).await.map_err(text)?);
            let now: Vec<String> = now.iter().map(IpAddr::to_string).collect();
            if now == addresses { Ok(()) } else { Err(format!("{now:?}")) }
        });
        waited.await.map_err(|error| format!("{error}\n{}", self.log()))
    }

    /// Waits until the Service waits for this reason, and shows no address.
    async fn waits(&self, name: &str, reason: &str) -> Done {
        let what = format!("{name} to be pending: {reason}");
        let waited = wait(&what, PATIENCE, async || {
            let service = self.services().get(name).await.map_err(text)?;
            let found = condition(&service);
            let right = found.as_ref().is_some_and(|(status, why)| status == "False" && why == reason);
            if right && shown(&service).is_empty() {
                Ok(())
            } else {
                Err(format!("{found:?} {:?}", shown(&service)))
            }
        });
        waited.await.map_err(|error| format!("{error}\n{}", self.log()))
    }

    async fn versions(&self) -> Result<BTreeMap<String, String>, String> {
        let all = self.services().list(&ListParams::default()).await.map_err(text)?;
        let each = all.into_iter().filter_map(|s| Some((s.metadata.name?, s.metadata.resource_version?)));
        Ok(each.collect())
    }

    async fn counts(&self, pool: &str, expected: [i64; 4]) -> Done {
        let names = ["assignedIPv4", "availableIPv4", "assignedIPv6", "availableIPv6"];
        wait(&format!("pool {pool} to count {expected:?}"), PATIENCE, async || {
            let status = self.custom("IPAddressPool").get(pool).await.map_err(text)?.data["status"].clone();
            let now = names.map(|name| status[name].as_i64().unwrap_or(-1));
            if now == expected { Ok(()) } else { Err(format!("{now:?}")) }
        })
        .await
        .map_err(text)
    }
}

fn condition(service: &Service) -> Option<(String, String)> {
    let conditions = service.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == CONDITION)?;
    Some((found.status.clone(), found.reason.clone()))
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, now: T, expected: T) -> Done {
    if now == expected { Ok(()) } else { Err(format!("{what}: {now:?}, expected {expected:?}")) }
}

fn asks(what: &str, value: &str) -> Value {
    json!({"annotations": {format!("metallb.io/{what}"): value}})
}

fn dual(policy: &str) -> Value {
    json!({"ipFamilyPolicy": policy, "ipFamilies": ["IPv4", "IPv6"]})
}

async fn l2_13_to_16_requested_addresses(world: &mut World) -> Done {
    world.pool("auto", &["10.0.0.0/24", "fd00::/120"]).await?;
    world.plain("earlier").await?;
    world.has("earlier", &["10.0.0.0"]).await?;
    for (index, auto) in [true, false].into_iter().enumerate() {
        let (four, six) = (format!("10.1.{index}.7"), format!("fd0{}::7", index + 1));
        let name = format!("single-{index}");
        let ranges = [format!("{four}/32"), format!("{six}/128")];
        world.pool_with(&name, &[&ranges[0], &ranges[1]], json!({"autoAssign": auto})).await?;
        let (a, b) = (format!("four-{index}"), format!("six-{index}"));
        world.create(&a, asks("loadBalancerIPs", &four), json!({})).await?;
        world.has(&a, &[&four]).await?;
        world.create(&b, asks("loadBalancerIPs", &six), json!({"ipFamilies": ["IPv6"]})).await?;
        world.has(&b, &[&six]).await?;
        let annotations =
            world.services().get(&a).await.map_err(text)?.metadata.annotations.unwrap_or_default();
        same("the annotation", annotations.get("metallb.io/ip-allocated-from-pool"), Some(&name))?;
    }
    world.has("earlier", &["10.0.0.0"]).await
}

async fn lc_01_another_class(world: &mut World) -> Done {
    world.pool("a", &["10.0.0.0/24"]).await?;
    world.create("foreign", json!({}), json!({"loadBalancerClass": "example.dev/foo"})).await?;
    let before = world.versions().await?;
    world.plain("ours").await?;
    world.has("ours", &["10.0.0.0"]).await?;
    same("its version", &world.versions().await?["foreign"], &before["foreign"])
}

async fn as_01_02_the_next_one_gets_a_freed_address(world: &mut World) -> Done {
    world.pool_with("one", &["10.0.0.1/32"], json!({"reuseDelay": "10m"})).await?;
    world.plain("first").await?;
    world.has("first", &["10.0.0.1"]).await?;
    world.plain("second").await?;
    world.waits("second", "PoolExhausted").await?;
    world.patch("first", json!({"spec": {"type": "ClusterIP"}})).await?;
    world.has("second", &["10.0.0.1"]).await?;
    world.has("first", &[]).await?;
    world.plain("third").await?;
    world.waits("third", "PoolExhausted").await?;
    world.delete("second").await?;
    world.has("third", &["10.0.0.1"]).await
}

async fn as_03_restarts_change_nothing(world: &mut World) -> Done {
    world.pool("two", &["10.0.0.1-10.0.0.2"]).await?;
    for name in ["a", "b", "c", "d"] {
        world.plain(name).await?;
        match name {
            "a" => world.has("a", &["10.0.0.1"]).await?,
            "b" => world.has("b", &["10.0.0.2"]).await?,
            _ => world.waits(name, "PoolExhausted").await?,
        }
    }
    let before = world.versions().await?;
    let mut logs = String::new();
    for _ in 0..5 {
        logs += &world.log();
        world.stop()?;
        world.start()?;
        // Its first write after the start shows that it has looked at everything.
        world.create("probe", asks("address-pool", "none"), json!({})).await?;
        world.waits("probe", "PoolNotFound").await?;
        world.delete("probe").await?;
    }
    same("versions after restarts", world.versions().await?, before)
        .map_err(|error| format!("{error}\n{logs}{}", world.log()))
}

async fn as_04_who_changes_loses_the_right_to_share(world: &mut World) -> Done {
    world.pool("a", &["10.0.0.1/32"]).await?;
    let key = || asks("allow-shared-ip", "k");
    world.create("a", key(), json!({"ports": [{"port": 80}]})).await?;
    world.has("a", &["10.0.0.1"]).await?;
    world.create("b", key(), json!({"ports": [{"port": 81}]})).await?;
    world.has("b", &["10.0.0.1"]).await?;
    let local = || json!({"spec": {"externalTrafficPolicy": "Local"}});
    // The older one changes, and is the one that loses.
    world.patch("a", local()).await?;
    world.waits("a", "PoolExhausted").await?;
    world.has("b", &["10.0.0.1"]).await?;
    world.patch("b", local()).await?;
    world.has("a", &["10.0.0.1"]).await?;
    world.has("b", &["10.0.0.1"]).await?;
    world.patch("b", json!({"spec": {"selector": {"app": "other"}}})).await?;
    world.waits("b", "PoolExhausted").await?;
    world.has("a", &["10.0.0.1"]).await?;
    world.patch("b", json!({"spec": {"selector": {"app": "web"}}})).await?;
    world.has("b", &["10.0.0.1"]).await
}

async fn as_05_all_pools_deleted(world: &mut World) -> Done {
    world.pool("a", &["10.0.0.1/32"]).await?;
    world.plain("web").await?;
    world.has("web", &["10.0.0.1"]).await?;
    world.delete_pool("a").await?;
    world.waits("web", "NoPool").await?;
    world.pool("a", &["10.0.0.1/32"]).await?;
    world.has("web", &["10.0.0.1"]).await
}

async fn as_06_the_holding_pool_deleted(world: &mut World) -> Done {
    world.pool("a", &["10.0.0.1/32"]).await?;
    world.pool("b", &["10.0.1.1/32"]).await?;
    world.plain("web").await?;
    world.has("web", &["10.0.0.1"]).await?;
    world.delete_pool("a").await?;
    world.has("web", &["10.0.1.1"]).await
}

async fn as_07_to_11_pinned_pools(world: &mut World) -> Done {
    let here = world.namespace.clone();
    world.make_namespace(&here, json!({"tier": "gold"})).await?;
    let pin = |priority: i64, more: Value| {
        let mut pin = json!({"priority": priority});
        for (key, value) in more.as_object().into_iter().flatten() {
            pin[key] = value.clone();
        }
        json!({"serviceAllocation": pin})
    };
    let by_label = json!({"serviceSelectors": [{"matchLabels": {"app": "web"}}]});
    let pools = [
        ("a-rest", "10.0.9.1/32", json!({})),
        ("b-names", "10.0.4.1/32", pin(30, json!({"namespaces": [here]}))),
        (
            "c-labels",
            "10.0.3.1/32",
            pin(25, json!({"namespaceSelectors": [{"matchLabels": {"tier": "gold"}}]})),
        ),
        ("d-service", "10.0.2.1/32", pin(20, by_label.clone())),
        ("e-service", "10.0.1.1/32", pin(10, by_label)),
        ("f-priority", "10.0.5.1/32", pin(40, json!({}))),
        ("g-last", "10.0.6.1/32", pin(0, json!({}))),
        ("h-others", "10.0.8.1/32", pin(1, json!({"namespaces": ["elsewhere"]}))),
    ];
    for (name, range, more) in pools {
        world.pool_with(name, &[range], more).await?;
    }
    let order = ["10.0.1.1", "10.0.2.1", "10.0.3.1", "10.0.4.1", "10.0.5.1", "10.0.6.1", "10.0.9.1"];
    for (index, address) in order.into_iter().enumerate() {
        let name = format!("s{index}");
        world.create(&name, json!({"labels": {"app": "web"}}), json!({})).await?;
        world.has(&name, &[address]).await?;
    }
    world.create("one-too-many", json!({"labels": {"app": "web"}}), json!({})).await?;
    world.waits("one-too-many", "PoolExhausted").await
}

async fn as_12_namespaces_by_label(world: &mut World) -> Done {
    let (one, two) = (format!("{}-one", world.namespace), format!("{}-two", world.namespace));
    world.make_namespace(&one, json!({"team": "one"})).await?;
    world.make_namespace(&two, json!({"team": "two"})).await?;
    let pin = |priority: i64, team: &str| {
        let selector = json!([{"matchLabels": {"team": team}}]);
        json!({"serviceAllocation": {"priority": priority, "namespaceSelectors": selector}})
    };
    world.pool_with("one", &["10.0.1.1/32"], pin(20, "one")).await?;
    world.pool_with("two", &["10.0.2.1/32"], pin(20, "two")).await?;
    world.pool_with("three", &["10.0.3.1/32"], pin(10, "three")).await?;
    world.pool("rest", &["10.0.9.0/24"]).await?;
    world.create_in(&one, "a", json!({}), json!({})).await?;
    world.has_in(&one, "a", &["10.0.1.1"]).await?;
    world.create_in(&two, "b", json!({}), json!({})).await?;
    world.has_in(&two, "b", &["10.0.2.1"]).await?;
    world.create_in(&two, "c", json!({}), json!({})).await?;
    world.has_in(&two, "c", &["10.0.9.0"]).await?;
    world.make_namespace(&two, json!({"team": "three"})).await?;
    // What it holds is of a pool that is not for it any more, and is chosen anew; a new one gets the rest.
    world.has_in(&two, "b", &["10.0.3.1"]).await?;
    world.create_in(&two, "d", json!({}), json!({})).await?;
    world.has_in(&two, "d", &["10.0.9.1"]).await?;
    world.has_in(&two, "c", &["10.0.9.0"]).await
}

async fn as_13_to_19_dual_stack(world: &mut World) -> Done {
    world.pool("a-four", &["10.0.0.1/32"]).await?;
    world.pool("b-both", &["10.0.1.1/32", "fd01::1/128"]).await?;
    world.create("both", json!({}), dual("PreferDualStack")).await?;
    world.has("both", &["10.0.1.1", "fd01::1"]).await?;
    world.delete("both").await?;
    world.delete_pool("b-both").await?;
    world.pool("b-six", &["fd02::1/128"]).await?;
    world.create("four", json!({}), dual("PreferDualStack")).await?;
    world.has("four", &["10.0.0.1"]).await?;
    let six_first = json!({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6", "IPv4"]});
    world.create("six", json!({}), six_first).await?;
    world.has("six", &["fd02::1"]).await?;
    // A dual pool that appears later moves nobody.
    world.pool("c-both", &["10.0.3.0/30", "fd03::/126"]).await?;
    world.plain("later").await?;
    world.has("later", &["10.0.3.0"]).await?;
    world.has("four", &["10.0.0.1"]).await?;
    // The own pool gains the other family: it is added, the first stays.
    world.pool("a-four", &["10.0.0.1/32", "fd00::1/128"]).await?;
    world.has("four", &["10.0.0.1", "fd00::1"]).await?;
    // And loses one: both are chosen anew, of one pool.
    world.pool("a-four", &["fd00::1/128"]).await?;
    world.has("four", &["10.0.3.1", "fd03::"]).await?;
    // All or nothing.
    world.patch("six", json!({"spec": {"ipFamilyPolicy": "RequireDualStack"}})).await?;
    world.has("six", &["fd03::1", "10.0.3.2"]).await?;
    world.create("require", json!({}), dual("RequireDualStack")).await?;
    world.has("require", &["10.0.3.3", "fd03::2"]).await?;
    world.create("more", json!({}), dual("RequireDualStack")).await?;
    world.waits("more", "PoolExhausted").await?;
    world.patch("more", json!({"spec": {"ipFamilyPolicy": "PreferDualStack"}})).await?;
    world.has("more", &["fd00::1"]).await
}

async fn as_17_require_clears_and_prefer_restores(world: &mut World) -> Done {
    world.pool("four", &["10.0.0.1/32"]).await?;
    world.create("web", json!({}), dual("PreferDualStack")).await?;
    world.has("web", &["10.0.0.1"]).await?;
    world.patch("web", json!({"spec": {"ipFamilyPolicy": "RequireDualStack"}})).await?;
    world.waits("web", "FamilyUnavailable").await?;
    world.patch("web", json!({"spec": {"ipFamilyPolicy": "PreferDualStack"}})).await?;
    world.has("web", &["10.0.0.1"]).await
}

async fn as_20_pools_count(world: &mut World) -> Done {
    world.pool("a", &["10.0.0.0/30", "fd00::/126"]).await?;
    world.counts("a", [0, 4, 0, 4]).await?;
    world.create("web", json!({}), dual("RequireDualStack")).await?;
    world.counts("a", [1, 3, 1, 3]).await?;
    world.pool("a", &["10.0.0.0/29", "fd00::/125"]).await?;
    world.counts("a", [1, 7, 1, 7]).await?;
    world.delete("web").await?;
    world.counts("a", [0, 8, 0, 8]).await?;
    let patch = Patch::Merge(json!({"status": {"assignedIPv4": 5}}));
    let pools = world.custom("IPAddressPool");
    pools.patch_status("a", &PatchParams::default(), &patch).await.map_err(text)?;
    world.counts("a", [0, 8, 0, 8]).await
}

/// What users and others write on a status.
async fn statuses_written_by_others(world: &mut World) -> Done {
    world.pool("a", &["10.0.0.0/29"]).await?;
    world.plain("holder").await?;
    world.has("holder", &["10.0.0.0"]).await?;
    // Another controller replaces the whole status: the condition is put back.
    let mut service = world.services().get("holder").await.map_err(text)?;
    service.status.as_mut().map(|status| status.conditions.take());
    world.services().replace_status("holder", &PostParams::default(), &service).await.map_err(text)?;
    wait("the condition to be put back", PATIENCE, async || {
        let service = world.services().get("holder").await.map_err(text)?;
        condition(&service)
            .filter(|(status, _)| status == "True")
            .map(|_| ())
            .ok_or("it is not there".to_owned())
    })
    .await
    .map_err(text)?;
    let now = world.services().get("holder").await.map_err(text)?;
    let ingress = now.status.and_then(|status| status.load_balancer?.ingress).unwrap_or_default();
    let mode = ingress.first().and_then(|entry| entry.ip_mode.as_deref());
    same("what the API server adds", mode, Some("VIP"))?;
    // A free address by hand is kept; another's, or one of no pool, is not.
    let write = async |name: &str, address: &str| {
        let patch = Patch::Merge(json!({"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}));
        world.services().patch_status(name, &PatchParams::default(), &patch).await.map(|_| ()).map_err(text)
    };
    world.plain("by-hand").await?;
    world.has("by-hand", &["10.0.0.1"]).await?;
    write("by-hand", "10.0.0.5").await?;
    world.plain("latecomer").await?;
    world.has("latecomer", &["10.0.0.1"]).await?;
    world.has("by-hand", &["10.0.0.5"]).await?;
    write("latecomer", "10.0.0.0").await?;
    world.has("latecomer", &["10.0.0.1"]).await?;
    world.has("holder", &["10.0.0.0"]).await?;
    write("latecomer", "192.0.2.1").await?;
    world.has("latecomer", &["10.0.0.1"]).await
}

#[test]
fn the_acceptance_lines_hold_on_a_real_api_server() {
    if !nix::unistd::geteuid().is_root() {
        left_out("the lab needs root");
        return;
    }
    let plane = Plane::anew(LAB, Path::new(env!("CARGO_BIN_EXE_lab"))).expect("a control plane");
    plane.apply_crds().expect("the definitions");
    block_on(async {
        let client = plane.lab.client().await.expect("a client");
        let mut world = World { plane, client, controller: None, namespace: String::new() };
        world.start().expect("the controller");
        let mut wrong = Vec::new();
        macro_rules! scenes {
            ($($scene:ident),* $(,)?) => {$(
                let name = stringify!($scene).replace('_', "-");
                let started = std::time::Instant::now();
                let done = match world.clear(&name).await {
                    Ok(()) => $scene(&mut world).await,
                    Err(error) => Err(error),
                };
                println!("{:>5.1} s  {name}: {}", started.elapsed().as_secs_f64(), if done.is_ok() { "ok" } else { "WRONG" });
                if let Err(error) = done {
                    wrong.push(format!("{name}: {error}"));
                }
            )*};
        }
        scenes!(
            l2_13_to_16_requested_addresses,
            lc_01_another_class,
            as_01_02_the_next_one_gets_a_freed_address,
            as_03_restarts_change_nothing,
            as_04_who_changes_loses_the_right_to_share,
            as_05_all_pools_deleted,
            as_06_the_holding_pool_deleted,
            as_07_to_11_pinned_pools,
            as_12_namespaces_by_label,
            as_13_to_19_dual_stack,
            as_17_require_clears_and_prefer_restores,
            as_20_pools_count,
            statuses_written_by_others,
        );
        world.stop().expect("the controller ends");
        assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    });
}
