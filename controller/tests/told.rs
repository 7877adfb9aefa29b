//! What users are told by the whole controller against an API server in memory: address conflicts that speakers report, and
//! advertisements that cannot work.

use std::time::{Duration, Instant};

use ferrolb_controller::Settings;
use ferrolb_controller::run::run_with;
use ferrolb_crds::{
    ADDRESS_CONFLICT, CONFLICT_LABEL, ConfigurationState, IPAddressPool, L2Advertisement, ServiceL2Status,
    names,
};
use ferrolb_fake_api::{ApiServer, Fault, On, Verb, Weather};
use ferrolb_runtime::Context;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Service};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde_json::{Value, json};

const SYSTEM: &str = "metallb-system";

/// Longer than anything takes that is to happen.
const SOON: Duration = Duration::from_secs(15);

struct World {
    api: ApiServer,
    weather: Weather,
    context: Context,
    controller: tokio::task::JoinHandle<()>,
}

impl World {
    /// With the pool `lan`, the node `n1`, and a Service `web` that has an address.
    async fn start() -> Self {
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
        api.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}));
        let world = World::on(api, Weather::new());
        world.node(&json!({"rack": "1"}));
        world.pool("lan", "10.0.0.0/29");
        world.service("web", &json!({}));
        world.settled("web").await;
        world
    }

    fn on(api: ApiServer, weather: Weather) -> Self {
        let context = Context::default();
        let settings = Settings { pod_name: "one".to_owned(), lease_duration: Duration::from_secs(15) };
        let client = weather.client(api.clone());
        let controller = tokio::spawn(run_with(client, SYSTEM.to_owned(), None, settings, context.clone()));
        World { api, weather, context, controller }
    }

    async fn end(self) -> ApiServer {
        self.context.shutdown.cancel();
        self.controller.await.expect("the controller ends");
        self.api
    }

    fn node(&self, labels: &Value) {
        self.api
            .put(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": labels}}));
    }

    fn pool(&self, name: &str, addresses: &str) {
        self.api.put(json!({
            "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
            "metadata": {"name": name, "namespace": SYSTEM}, "spec": {"addresses": [addresses]},
        }));
    }

    fn service(&self, name: &str, spec: &Value) {
        let mut object = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"type": "LoadBalancer", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 80}]},
        });
        for (field, value) in spec.as_object().into_iter().flatten() {
            object["spec"][field] = value.clone();
        }
        self.api.put(object);
    }

    fn advertisement(&self, name: &str, spec: &Value) {
        let before: Option<L2Advertisement> = self.api.get(SYSTEM, name);
        self.api.put(json!({
            "apiVersion": "metallb.io/v1beta1", "kind": "L2Advertisement",
            "metadata": {"name": name, "namespace": SYSTEM}, "spec": spec,
            "status": before.and_then(|before| before.status),
        }));
    }

    /// A speaker reports a conflict; `words` are those of its condition.
    fn report(&self, object: &str, service: &str, reason: &str, words: &str) {
        self.api.put(json!({
            "apiVersion": "metallb.io/v1beta1", "kind": "ServiceL2Status",
            "metadata": {"name": object, "namespace": SYSTEM, "labels": {CONFLICT_LABEL: "true"}},
            "status": {
                "node": object, "serviceName": service, "serviceNamespace": "shop",
                "conditions": [{
                    "type": ADDRESS_CONFLICT, "status": "True", "reason": reason, "message": words,
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }],
            },
        }));
    }

    fn of_service(&self, name: &str, kind: &str) -> Option<Condition> {
        let service: Service = self.api.get("shop", name)?;
        service.status?.conditions?.into_iter().find(|condition| condition.type_ == kind)
    }

    /// Reason and message of the condition about conflicts; nothing without it.
    fn conflict(&self, name: &str) -> String {
        let said = |condition: Condition| {
            assert_eq!(condition.status, "True");
            format!("{}: {}", condition.reason, condition.message)
        };
        self.of_service(name, names::ADDRESS_CONFLICT).map(said).unwrap_or_default()
    }

    async fn settled(&self, name: &str) {
        let has = || self.of_service(name, names::ADDRESS_ASSIGNED).is_some_and(|c| c.status == "True");
        eventually(has, || format!("{name} has no address")).await;
    }

    async fn shows(&self, name: &str, expected: &str) {
        let shown = || self.conflict(name);
        eventually(|| shown() == expected, || format!("{:?} instead of {expected:?}", shown())).await;
    }

    /// Status and reason of `Valid` and `Effective`; nothing before they are written.
    fn conditions(&self, name: &str) -> String {
        let object: Option<L2Advertisement> = self.api.get(SYSTEM, name);
        let all = object.and_then(|object| object.status).unwrap_or_default().conditions;
        let said: Vec<String> =
            all.iter().map(|c| format!("{}={} {}", c.type_, c.status, c.reason)).collect();
        said.join(", ")
    }

    fn message(&self, name: &str, kind: &str) -> String {
        let object: L2Advertisement = self.api.get(SYSTEM, name).expect("it is there");
        let all = object.status.unwrap_or_default().conditions;
        all.into_iter().find(|c| c.type_ == kind).map(|c| c.message).unwrap_or_default()
    }

    async fn says(&self, name: &str, expected: &str) {
        let shown = || self.conditions(name);
        eventually(|| shown() == expected, || format!("{name}: {:?}, not {expected:?}", shown())).await;
    }

    /// Events on advertisements: reason, name, how often.
    fn events(&self) -> Vec<String> {
        let all = self.api.all::<Event>();
        let said = all.into_iter().filter_map(|event| {
            let about = event.regarding?;
            let times = event.series.map_or(1, |series| series.count);
            matches!(about.kind.as_deref(), Some("L2Advertisement" | "IPAddressPool")).then(|| {
                assert_eq!(event.type_.as_deref(), Some("Warning"));
                let (name, reason) = (about.name.unwrap_or_default(), event.reason.unwrap_or_default());
                format!("{name} {reason} x{times}")
            })
        });
        let mut said: Vec<String> = said.collect();
        said.sort();
        said
    }

    /// How many writes to statuses of this kind arrived.
    fn writes(&self, resource: &str) -> usize {
        let key = (Verb::Patch, format!("{resource}/status"));
        self.api.writes().get(&key).map_or(0, |writes| writes.asked)
    }
}

async fn eventually(so: impl Fn() -> bool, otherwise: impl Fn() -> String) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < SOON, "after {} s: {}", SOON.as_secs(), otherwise());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_is_shown_on_its_service_and_taken_back() {
    let world = World::start().await;
    world.service("other", &json!({}));
    world.settled("other").await;
    let other: Service = world.api.get("shop", "other").unwrap();
    world.report("n1", "web", "InUse", "10.0.0.1 is had by 02:01 on eth0 of n1");
    world.shows("web", "InUse: 10.0.0.1 is had by 02:01 on eth0 of n1").await;
    let began = world.of_service("web", names::ADDRESS_CONFLICT).unwrap().last_transition_time;
    // Of two nodes both are told; one that holds an address back weighs more.
    world.report("n2", "web", "HeldBack", "10.0.0.1 is had by 02:02 on eth0 of n2");
    let both = "HeldBack: 10.0.0.1 is had by 02:01 on eth0 of n1; 10.0.0.1 is had by 02:02 on eth0 of n2";
    world.shows("web", both).await;
    assert_eq!(world.of_service("web", names::ADDRESS_CONFLICT).unwrap().last_transition_time, began);
    let quiet = world.writes("services");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.writes("services"), quiet, "nothing is written again");
    world.api.remove::<ServiceL2Status>(SYSTEM, "n1");
    world.shows("web", "HeldBack: 10.0.0.1 is had by 02:02 on eth0 of n2").await;
    // It is over: the label goes, and the watch sees the object no more.
    world.api.put(json!({
        "apiVersion": "metallb.io/v1beta1", "kind": "ServiceL2Status",
        "metadata": {"name": "n2", "namespace": SYSTEM},
        "status": {"node": "n2", "serviceName": "web", "serviceNamespace": "shop"},
    }));
    world.shows("web", "").await;
    let assigned = world.of_service("web", names::ADDRESS_ASSIGNED).expect("the other condition stays");
    assert_eq!(assigned.status, "True");
    let now: Service = world.api.get("shop", "other").unwrap();
    assert_eq!(now.resource_version(), other.resource_version(), "nobody else's business");
    world.end().await;
}

/// Reports of what is not there, or not ours, or without sense: nobody is hurt by them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_without_sense_hurt_nobody() {
    let world = World::start().await;
    world.service("foreign", &json!({"loadBalancerClass": "x/y"}));
    world.report("a", "gone", "InUse", "words");
    world.report("b", "foreign", "InUse", "words");
    world.report("c", "web", "No reason at all!", &"é".repeat(40_000));
    for status in [json!(null), json!(7), json!({"conditions": 7}), json!({"conditions": [{"type": 7}]})] {
        world.api.put(json!({
            "apiVersion": "metallb.io/v1beta1", "kind": "ServiceL2Status", "status": status,
            "metadata": {"name": format!("d-{}", world.api.version()), "namespace": SYSTEM,
                "labels": {CONFLICT_LABEL: "true"}},
        }));
    }
    eventually(|| !world.conflict("web").is_empty(), || "no condition".to_owned()).await;
    let shown = world.conflict("web");
    assert!(shown.starts_with("InUse: éé") && shown.ends_with('…') && shown.len() < 5000, "{}", shown.len());
    let quiet = world.writes("services");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((world.writes("services"), world.conflict("foreign").as_str()), (quiet, ""));
    world.service("late", &json!({}));
    world.settled("late").await;
    world.end().await;
}

/// What a Service shows stays until the reports are known: their definition, or the right to read them, may be missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_stays_until_the_reports_were_listed() {
    let world = World::start().await;
    world.report("n1", "web", "InUse", "words");
    world.shows("web", "InUse: words").await;
    let api = world.end().await;
    api.remove::<ServiceL2Status>(SYSTEM, "n1");
    let weather = Weather::new();
    let forbidden = weather.add(On::verb(Verb::List).resource("servicel2statuses"), Fault::status(403));
    let world = World::on(api, weather);
    world.service("second", &json!({}));
    world.settled("second").await;
    forbidden.hit(2).await;
    assert_eq!(world.conflict("web"), "InUse: words");
    world.weather.clear();
    world.shows("web", "").await;
    world.end().await;
}

/// A Service that is given away takes no condition of ours with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_no_longer_balanced_has_no_conflict() {
    let world = World::start().await;
    world.report("n1", "web", "InUse", "words");
    world.shows("web", "InUse: words").await;
    let mut service = serde_json::to_value(world.api.get::<Service>("shop", "web").unwrap()).unwrap();
    service["spec"]["type"] = json!("ClusterIP");
    service["apiVersion"] = json!("v1");
    service["kind"] = json!("Service");
    world.api.put(service);
    world.shows("web", "").await;
    assert_eq!(world.of_service("web", names::ADDRESS_ASSIGNED), None);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_advertisement_that_cannot_work_says_why() {
    let fine = "Valid=True Accepted, Effective=True Matches";
    let world = World::start().await;
    world.advertisement("all", &json!({}));
    world.advertisement("misspelled", &json!({"ipAddressPools": ["lam"]}));
    world.advertisement("partly", &json!({"ipAddressPools": ["lam", "lan"]}));
    world.advertisement("nowhere", &json!({"nodeSelectors": [{"matchLabels": {"rack": "2"}}]}));
    world.advertisement(
        "broken",
        &json!({"nodeSelectors": [{"matchExpressions": [
        {"key": "rack", "operator": "in", "values": ["1"]}]}]}),
    );
    world.says("all", fine).await;
    world.says("misspelled", "Valid=True Accepted, Effective=False MatchesNoPool").await;
    world.says("partly", "Valid=True Accepted, Effective=True PartlyUnused").await;
    world.says("nowhere", "Valid=True Accepted, Effective=False MatchesNoNode").await;
    world.says("broken", "Valid=False Invalid, Effective=False Invalid").await;
    let words = world.message("misspelled", "Effective");
    assert_eq!(
        words,
        "announces nothing: spec.ipAddressPools: there is no IPAddressPool \"lam\": create it, or correct the name"
    );
    let words = world.message("broken", "Valid");
    assert!(words.starts_with("not used: spec.nodeSelectors[0]: operator \"in\""), "{words}");
    let events = [
        "broken InvalidAdvertisement x1",
        "misspelled AdvertisementMatchesNothing x1",
        "nowhere AdvertisementMatchesNothing x1",
        "partly AdvertisementMatchesNothing x1",
    ];
    eventually(|| world.events() == events, || format!("{:?}", world.events())).await;
    assert_eq!(world.writes("l2advertisements"), 5, "each is written once");

    // What is edited by hand is corrected, and that is no news either.
    let object: L2Advertisement = world.api.get(SYSTEM, "misspelled").unwrap();
    let mut object = serde_json::to_value(object).unwrap();
    object["status"]["conditions"].as_array_mut().unwrap().remove(0);
    world.api.put(object);
    world.says("misspelled", "Valid=True Accepted, Effective=False MatchesNoPool").await;
    assert_eq!(world.writes("l2advertisements"), 6);

    // What is mended is well again, and that is no event.
    world.pool("lam", "10.0.1.0/29");
    world.node(&json!({"rack": "2"}));
    for mended in ["misspelled", "partly", "nowhere"] {
        world.says(mended, fine).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((world.events(), world.writes("l2advertisements")), (events.map(str::to_owned).into(), 9));

    // A restart finds all as it should be.
    let api = world.end().await;
    let world = World::on(api, Weather::new());
    world.service("second", &json!({}));
    world.settled("second").await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!((world.events(), world.writes("l2advertisements")), (events.map(str::to_owned).into(), 9));
    // A pool that is set aside helps nobody.
    world.pool("lam", "10.0.0.4/32");
    world.says("misspelled", "Valid=True Accepted, Effective=False MatchesNoPool").await;
    assert!(world.message("misspelled", "Effective").contains("\"lam\" is not used: its conditions say why"));
    world.end().await;
}

/// The watch may show a write before its answer comes, and even what was edited after it: the mistake is told all the same, and
/// what the answer says is not taken for the present.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_after_the_watch() {
    let world = World::start().await;
    let late = |resource: &str| {
        let on = On::verb(Verb::Patch).resource(resource).times(1);
        world.weather.add(on, Fault::SlowAnswer(Duration::from_secs(2)))
    };
    let (advertisement, pool) = (late("l2advertisements/status"), late("ipaddresspools/status"));
    world.advertisement("edited", &json!({"ipAddressPools": ["lam"]}));
    advertisement.hit(1).await;
    world.says("edited", "Valid=True Accepted, Effective=False MatchesNoPool").await;
    world.advertisement("edited", &json!({"ipAddressPools": ["lan"]}));
    world.pool("mended", "10.9.0.0/33");
    pool.hit(1).await;
    let valid = || {
        let pool: Option<IPAddressPool> = world.api.get(SYSTEM, "mended");
        let conditions = pool.and_then(|pool| pool.status).unwrap_or_default().conditions;
        conditions.into_iter().find(|it| it.type_ == "Valid").map(|it| it.status).unwrap_or_default()
    };
    eventually(|| valid() == "False", valid).await;
    world.pool("mended", "10.9.0.0/29");
    let events = ["edited AdvertisementMatchesNothing x1", "mended InvalidPool x1"];
    eventually(|| world.events() == events, || format!("{:?}", world.events())).await;
    world.says("edited", "Valid=True Accepted, Effective=True Matches").await;
    eventually(|| valid() == "True", valid).await;
    world.end().await;
}

/// Manifests name the advertisement first and the pool afterwards; nobody is warned of that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_a_change_is_no_mistake() {
    let world = World::start().await;
    world.advertisement("dmz", &json!({"ipAddressPools": ["dmz"]}));
    tokio::time::sleep(Duration::from_millis(700)).await;
    world.pool("dmz", "10.0.2.0/29");
    world.says("dmz", "Valid=True Accepted, Effective=True Matches").await;
    // Taken away in the other order.
    world.api.remove::<IPAddressPool>(SYSTEM, "dmz");
    tokio::time::sleep(Duration::from_millis(700)).await;
    world.api.remove::<L2Advertisement>(SYSTEM, "dmz");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((world.events(), world.writes("l2advertisements")), (vec![], 1));
    world.end().await;
}

/// One whose status cannot be written is in nobody's way, and it is not tried without end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_advertisement_that_cannot_be_written_delays_nobody() {
    let world = World::start().await;
    let refused = On::verb(Verb::Patch).resource("l2advertisements/status").name("bad");
    let rule = world.weather.add(refused, Fault::status(500));
    world.advertisement("bad", &json!({}));
    rule.hit(2).await;
    world.advertisement("good", &json!({}));
    world.service("second", &json!({}));
    world.settled("second").await;
    world.says("good", "Valid=True Accepted, Effective=True Matches").await;
    // 0.25, 0.5, 1, 2, 4 s.
    assert!(rule.hits() <= 6, "{} tries", rule.hits());
    rule.remove();
    world.says("bad", "Valid=True Accepted, Effective=True Matches").await;
    world.end().await;
}
