//! The whole controller against an API server in memory, in bad weather: each fault, and how soon all is well after
//! it ended.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ferrolb_controller::run::run_with;
use ferrolb_controller::{Settings, lease};
use ferrolb_core::lease::{Answer, Claim};
use ferrolb_crds::{ConfigurationState, IPAddressPool, L2Advertisement, ServiceL2Status};
use ferrolb_fake_api::{ApiServer, Fault, Lost, On, Verb, Weather};
use ferrolb_runtime::Context;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Service};
use k8s_openapi::api::events::v1::Event;
use serde_json::{Value, json};

const SYSTEM: &str = "metallb-system";

/// So soon after the end of bad weather everything is as it should be.
const HEALED: Duration = Duration::from_secs(5);

/// An API server, weather, and a controller in it.
struct World {
    api: ApiServer,
    weather: Weather,
    context: Context,
    controller: tokio::task::JoinHandle<()>,
}

impl World {
    /// With a pool of 8 addresses and a Service that has the first.
    async fn start(name: &'static str) -> Self {
        let world = World::without_pools(name);
        world.pool();
        world.create("first", &json!({}));
        world.settled("the first Service", &["first"]).await;
        world
    }

    fn without_pools(name: &'static str) -> Self {
        let api = ApiServer::new()
            .with::<Service>()
            .with::<Namespace>()
            .with::<Node>()
            .with::<Lease>()
            .with::<Event>()
            .with::<IPAddressPool>()
            .with::<L2Advertisement>()
            .with::<ServiceL2Status>()
            .with::<ConfigurationState>();
        api.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}));
        let (weather, context) = (Weather::new(), Context::default());
        let controller = start(name, &api, &weather, &context);
        World { api, weather, context, controller }
    }

    fn pool(&self) {
        self.api.put(json!({
            "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
            "metadata": {"name": "a", "namespace": SYSTEM}, "spec": {"addresses": ["10.0.0.0/29"]},
        }));
    }

    fn create(&self, name: &str, annotations: &Value) {
        self.api.put(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": "default", "annotations": annotations},
            "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"],
                "ports": [{"port": 80}]},
        }));
    }

    fn addresses(&self, name: &str) -> Vec<String> {
        let service: Option<Service> = self.api.get("default", name);
        let ingress = service.and_then(|service| service.status?.load_balancer?.ingress).unwrap_or_default();
        ingress.into_iter().filter_map(|entry| entry.ip).collect()
    }

    /// Waits until each of `names` has an address of its own; returns how long that took.
    async fn settled(&self, what: &str, names: &[&str]) -> Duration {
        let started = Instant::now();
        loop {
            let all: BTreeMap<String, &str> = names
                .iter()
                .filter_map(|name| Some((self.addresses(name).first()?.clone(), *name)))
                .collect();
            if all.len() == names.len() {
                return started.elapsed();
            }
            let late = started.elapsed() > Duration::from_secs(60);
            assert!(!late, "{what}: only {all:?} after 60 s; requests: {:?}", self.weather.calls());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The weather ends now: all of `names` are settled soon.
    async fn heals(self, what: &str, names: &[&str]) {
        self.weather.clear();
        let took = self.settled(what, names).await;
        assert!(took <= HEALED, "{what}: {:.1} s after the weather ended", took.as_secs_f64());
        self.end(what).await;
    }

    async fn end(self, what: &str) {
        self.context.shutdown.cancel();
        self.controller.await.expect("the controller ends");
        // Nobody ever had another's address.
        let mut holders: BTreeMap<String, String> = BTreeMap::new();
        for commit in self.api.history().iter().filter(|commit| commit.resource.plural == "services") {
            holders.retain(|_, name| *name != commit.name);
            let entries = commit.object["status"]["loadBalancer"]["ingress"].as_array().cloned();
            for entry in entries.unwrap_or_default() {
                let address = entry["ip"].as_str().unwrap_or_default().to_owned();
                let other = holders.insert(address.clone(), commit.name.clone());
                assert_eq!(other, None, "{what}: {address} of {}", commit.name);
            }
        }
    }
}

fn start(name: &str, api: &ApiServer, weather: &Weather, context: &Context) -> tokio::task::JoinHandle<()> {
    let settings = Settings { pod_name: name.to_owned(), lease_duration: Duration::from_secs(15) };
    let client = weather.client(api.clone());
    tokio::spawn(run_with(client, SYSTEM.to_owned(), None, settings, context.clone()))
}

fn status_writes() -> On {
    On::verb(Verb::Patch).resource("services/status")
}

/// Each answer of the server to writes, some times; also one that leaves open whether it was done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_are_refused_or_lost() {
    let faults: [(&'static str, Fault, usize); 10] = [
        ("409", Fault::status(409), 3),
        ("429", Fault::too_many(1), 3),
        ("500", Fault::status(500), 3),
        ("503", Fault::status(503), 3),
        ("401", Fault::status(401), 3),
        ("403", Fault::status(403), 3),
        ("422", Fault::status(422), 3),
        ("connection", Fault::Connection, 3),
        ("done, then 500", Fault::AnswerLost(Lost::Status(500)), 1),
        ("done, then cut off", Fault::AnswerLost(Lost::Connection), 1),
    ];
    let all = faults.map(|(name, fault, hits)| {
        tokio::spawn(async move {
            let world = World::start(name).await;
            let rule = world.weather.add(status_writes(), fault);
            world.create("second", &json!({}));
            rule.hit(hits).await;
            world.heals(name, &["first", "second"]).await;
        })
    });
    for one in all {
        one.await.expect("it heals");
    }
}

/// A write that the client gave up arrives later all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_arrives_late() {
    let world = World::start("late").await;
    let late = Fault::Late(Duration::from_secs(7));
    let rule = world.weather.add(status_writes().name("second").times(1), late);
    world.create("second", &json!({}));
    rule.hit(1).await;
    // Others do not wait for it.
    world.create("third", &json!({}));
    let took = world.settled("others beside a slow write", &["first", "third"]).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    world.settled("the late one", &["first", "second", "third"]).await;
    let version = world.api.get::<Service>("default", "second").and_then(|s| s.metadata.resource_version);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let now = world.api.get::<Service>("default", "second").and_then(|s| s.metadata.resource_version);
    assert_eq!(now, version, "the late write changed something");
    world.heals("late", &["first", "second", "third"]).await;
}

/// A Service whose write fails for ever, or gets no answer, is in nobody's way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_service_delays_no_other() {
    let world = World::start("bad").await;
    let rule = world.weather.add(status_writes().name("bad"), Fault::status(500));
    let slow = world.weather.add(status_writes().name("slow"), Fault::Hang);
    world.create("bad", &json!({}));
    world.create("slow", &json!({}));
    rule.hit(2).await;
    slow.hit(1).await;
    for name in ["a", "b", "c"] {
        world.create(name, &json!({}));
        let took = world.settled(name, &["first", name]).await;
        assert!(took < Duration::from_secs(1), "{name} took {took:?}");
    }
    world.heals("bad", &["first", "a", "b", "c", "bad"]).await;
}

/// Watches that end, expire, or cannot be begun.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_that_break() {
    let watch = || On::verbs(&[Verb::List, Verb::Watch]);
    let faults: [(&'static str, On, Fault); 6] = [
        ("watch ended", On::verb(Verb::Watch), Fault::WatchEnd),
        ("watch expired", On::verb(Verb::Watch), Fault::WatchExpired),
        ("list and watch 500", watch(), Fault::status(500)),
        ("list and watch 403", watch(), Fault::status(403)),
        ("list and watch 429", watch(), Fault::too_many(1)),
        ("list and watch cut off", watch(), Fault::Connection),
    ];
    let all = faults.map(|(name, on, fault)| {
        tokio::spawn(async move {
            let world = World::start(name).await;
            let rule = world.weather.add(on, fault);
            world.api.end_watches();
            rule.hit(3).await;
            world.create("second", &json!({}));
            world.api.compact();
            world.heals(name, &["first", "second"]).await;
        })
    });
    for one in all {
        one.await.expect("it heals");
    }
}

/// A watch that stays open and says nothing: it is begun anew after its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_is_stuck_in_silence() {
    let world = World::start("stuck").await;
    let rule = world.weather.add(On::verb(Verb::Watch).resource("services").times(1), Fault::WatchStuck);
    rule.hit(1).await;
    world.create("second", &json!({}));
    let took = world.settled("stuck", &["first", "second"]).await;
    // The age of a watch, and 5 s.
    assert!(took <= Duration::from_secs(30), "{took:?}");
    world.end("stuck").await;
}

/// The definitions are missing at the start, and come later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_that_come_later() {
    let world = World::without_pools("crd");
    world.api.serve("ipaddresspools.metallb.io", false);
    world.create("first", &json!({}));
    let missing = On::verb(Verb::List).resource("ipaddresspools");
    let rule = world.weather.add(missing, Fault::status(404));
    rule.hit(4).await;
    world.api.serve("ipaddresspools.metallb.io", true);
    world.pool();
    world.heals("definitions", &["first"]).await;
}

/// Definitions that go, with all pools, take no address: neither at once nor after the grace.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_that_go_take_no_address() {
    let world = World::start("gone").await;
    world.api.serve("ipaddresspools.metallb.io", false);
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(world.addresses("first"), ["10.0.0.0"]);
    world.api.serve("ipaddresspools.metallb.io", true);
    world.create("second", &json!({}));
    world.heals("gone", &["first", "second"]).await;
}

/// The Lease cannot be read or written: nothing is given; then it can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_cannot_be_had() {
    let world = World::without_pools("lease");
    let rule = world.weather.add(On::any().resource("leases"), Fault::status(403));
    world.pool();
    world.create("first", &json!({}));
    rule.hit(6).await;
    assert!(world.addresses("first").is_empty(), "nothing is given without the Lease");
    world.heals("lease", &["first"]).await;
}

/// Two replicas that find no Lease at the same moment: one of them makes it, and only that one leads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_make_the_lease_one_leads() {
    let client = Weather::new().client(ApiServer::new().with::<Lease>());
    let of = |holder: &str| Claim {
        holder: holder.to_owned(),
        transitions: 0,
        duration: Duration::from_secs(15),
        replaces: None,
        renewal: false,
    };
    let (first, second) = (of("one"), of("two"));
    let (first, second) =
        tokio::join!(lease::claim(&client, SYSTEM, &first), lease::claim(&client, SYSTEM, &second));
    let done = [&first.0, &second.0].into_iter().filter(|answer| matches!(answer, Answer::Done(_))).count();
    let lost = [&first.0, &second.0].into_iter().filter(|answer| matches!(answer, Answer::Lost)).count();
    assert_eq!((done, lost), (1, 1), "{first:?} and {second:?}");
}

/// Two replicas: the second takes over at once from one that ends, and gives nothing twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_end_is_taken_over_at_once() {
    let world = World::start("one").await;
    let (context, weather) = (Context::default(), Weather::new());
    let second = start("two", &world.api, &weather, &context);
    let started = Instant::now();
    while !weather.calls().iter().any(|call| {
        call.verb == Verb::Watch && call.resource.as_ref().is_some_and(|resource| resource.plural == "leases")
    }) {
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", weather.calls());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.context.shutdown.cancel();
    world.create("second", &json!({}));
    let took = world.settled("the second leader", &["first", "second"]).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    context.shutdown.cancel();
    second.await.expect("it ends");
    world.end("clean").await;
}

/// The lead may come before the first list is whole: it is ready all the same, once the next one is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lead_that_comes_before_the_first_list() {
    let world = World::without_pools("early");
    let slow = Fault::SlowAnswer(Duration::from_secs(3));
    world.weather.add(On::verb(Verb::List).resource("services").times(1), slow);
    world.pool();
    world.create("first", &json!({}));
    world.settled("after a slow list", &["first"]).await;
    let started = Instant::now();
    while !world.context.readiness.waiting().is_empty() {
        let waiting = world.context.readiness.waiting();
        assert!(started.elapsed() < Duration::from_secs(15), "still waiting for {waiting:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.end("early").await;
}

/// A quiet cluster costs no writes but those of the Lease, and a restart none at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_cluster_costs_no_writes() {
    let world = World::start("quiet").await;
    world.create("unhappy", &json!({"metallb.io/address-pool": "none"}));
    let writes = |world: &World| -> usize {
        let all = world.api.writes();
        all.iter().filter(|((_, resource), _)| resource != "leases").map(|(_, writes)| writes.asked).sum()
    };
    // Until all has been written that there is to write.
    let started = Instant::now();
    loop {
        let pool: Option<IPAddressPool> = world.api.get(SYSTEM, "a");
        let counted = pool.and_then(|pool| pool.status).is_some_and(|status| status.assigned_ipv4 == 1);
        let state: Option<ConfigurationState> = world.api.get(SYSTEM, "controller");
        let stated = state.and_then(|state| state.status).is_some_and(|status| status.result.is_some());
        let unhappy: Option<Service> = world.api.get("default", "unhappy");
        let told = unhappy.and_then(|service| service.status?.conditions).is_some_and(|all| !all.is_empty());
        if counted && stated && told && world.api.all::<Event>().len() == 2 {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", world.api.writes());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let before = writes(&world);
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(writes(&world), before, "quiet: {:?}", world.api.writes());
    let World { api, weather, context, controller } = world;
    context.shutdown.cancel();
    controller.await.expect("it ends");
    let context = Context::default();
    let controller = start("quiet-again", &api, &weather, &context);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let world = World { api, weather, context, controller };
    let last: Vec<_> = world.api.history().iter().rev().take(4).map(|commit| commit.object.clone()).collect();
    assert_eq!(writes(&world), before, "{:?}\n{last:?}", world.api.writes());
    world.end("quiet").await;
}
