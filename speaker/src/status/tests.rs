//! The whole task against an API server in memory, in fair and bad weather.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ferrolb_crds::{
    ConfigurationResult, ConfigurationState, NODE_LABEL, SERVICE_NAME_LABEL, SERVICE_NAMESPACE_LABEL,
    ServiceL2Status,
};
use ferrolb_fake_api::{ApiServer, Fault, Lost, On, Verb, Weather};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::*;

const SYSTEM: &str = "metallb-system";

/// Longer than anything takes that is to happen.
const SOON: Duration = Duration::from_secs(15);

/// An API server, weather, and the task of one speaker in it.
struct World {
    api: ApiServer,
    weather: Weather,
    shown: watch::Sender<Option<Arc<Shown>>>,
    configuration: watch::Sender<Option<Arc<Configuration>>>,
    live: watch::Sender<Option<Arc<Nodes>>>,
    context: Context,
    task: JoinHandle<()>,
}

fn server() -> ApiServer {
    ApiServer::new().with::<ServiceL2Status>().with::<ConfigurationState>().with::<Event>()
}

impl World {
    /// A speaker that knows nothing yet.
    fn start() -> Self {
        World::on(server(), "u1")
    }

    /// A speaker in the Pod of this uid, on an API server that is there already.
    fn on(api: ApiServer, uid: &str) -> Self {
        let (weather, context) = (Weather::new(), Context::default());
        let client = weather.client(api.clone());
        let (shown, shown_receiver) = watch::channel(None);
        let (configuration, configuration_receiver) = watch::channel(None);
        let (live, live_receiver) = watch::channel(None);
        let task = tokio::spawn(run(Parts {
            events: Events::start(client.clone(), "ferrolb-speaker", context.shutdown.clone()),
            client,
            namespace: SYSTEM.to_owned(),
            node: "n1".to_owned(),
            pod: Some(PodRef { name: "speaker-x".to_owned(), uid: uid.to_owned() }),
            shown: shown_receiver,
            configuration: configuration_receiver,
            live: live_receiver,
            uid: Arc::new(|service| Some(format!("uid of {service}"))),
            context: context.clone(),
        }));
        World { api, weather, shown, configuration, live, context, task }
    }

    /// Tells that this node announces these Services of `shop`, limited to these interfaces.
    fn show(&self, announced: &[(&str, &[&str])]) {
        self.shown.send_replace(Some(Arc::new(Shown { announced: services(announced), ..Shown::default() })));
    }

    fn nodes(&self, names: &[&str]) {
        self.live.send_replace(Some(Arc::new(names.iter().map(|name| (*name).to_owned()).collect())));
    }

    fn configure(&self, problems: &[&str], proxy: Proxy) {
        let problems = problems.iter().map(|line| (*line).to_owned()).collect();
        self.configuration.send_replace(Some(Arc::new(Configuration { problems, proxy })));
    }

    /// What is stored: node, Service and interfaces of each status, in order; `?` for what it does not say.
    fn stored(&self) -> Vec<String> {
        let mut all: Vec<String> = self.api.all::<ServiceL2Status>().iter().map(words).collect();
        all.sort();
        all
    }

    /// Waits until that is stored and nothing else.
    async fn stores(&self, expected: &[&str]) {
        let stored = || self.stored();
        eventually(|| stored() == expected, || format!("{:?} instead of {expected:?}", stored())).await;
    }

    /// What was said in events, in order.
    fn events(&self) -> Vec<String> {
        let mut events = self.api.all::<Event>();
        events.sort_by_key(|event| event.event_time.clone().map(|time| time.0));
        let said = |event: Event| {
            let regarding = event.regarding.unwrap_or_default();
            let times = event.series.map_or(1, |series| series.count);
            assert_eq!(event.reporting_controller.as_deref(), Some("ferrolb-speaker"));
            let text = |text: Option<String>| text.unwrap_or_default();
            assert_eq!(
                text(regarding.uid),
                format!("uid of {}/{}", text(regarding.namespace), text(regarding.name.clone())),
                "kubectl describe finds it by the uid"
            );
            let (kind, note) = (text(event.type_), text(event.note));
            format!("{kind} {} {} x{times}: {note}", text(event.reason), text(regarding.name))
        };
        events.into_iter().map(said).collect()
    }

    fn state(&self) -> Option<ConfigurationState> {
        self.api.get(SYSTEM, "speaker-n1")
    }

    /// How many writes arrived.
    fn writes(&self) -> usize {
        let all = self.api.writes();
        all.iter().filter(|((_, resource), _)| resource != "events").map(|(_, writes)| writes.asked).sum()
    }

    /// Waits until the watch of our objects has been begun, and so their list was read.
    async fn watches(&self) {
        let begun = || {
            let calls = self.weather.calls();
            let of = |call: &&ferrolb_fake_api::Call| {
                call.verb == Verb::Watch
                    && call.resource.as_ref().is_some_and(|resource| resource.plural == "servicel2statuses")
            };
            calls.iter().filter(of).count() > 0
        };
        eventually(begun, || format!("no watch in {:?}", self.weather.calls())).await;
    }

    /// Nothing is written for so long; longer than any watch is behind.
    async fn is_quiet(&self) {
        let before = self.writes();
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(self.writes(), before, "{:?}", self.api.writes());
    }

    async fn end(self) -> ApiServer {
        self.context.shutdown.cancel();
        let ended = tokio::time::timeout(SOON, self.task).await;
        ended.expect("it ends soon").expect("it does not panic");
        self.api
    }
}

fn services(pairs: &[(&str, &[&str])]) -> BTreeMap<ServiceKey, Interfaces> {
    let interfaces =
        |names: &[&str]| -> BTreeSet<String> { names.iter().map(|name| (*name).to_owned()).collect() };
    pairs.iter().map(|(name, names)| (ServiceKey::new("shop", *name), Arc::new(interfaces(names)))).collect()
}

fn words(object: &ServiceL2Status) -> String {
    let labels = object.labels();
    assert!(object.name_any().starts_with("l2-"), "{}", object.name_any());
    let label = |name: &str| labels.get(name).map_or("?", String::as_str);
    let status = object.status.clone().unwrap_or_default();
    let service = format!("{}/{}", label(SERVICE_NAMESPACE_LABEL), label(SERVICE_NAME_LABEL));
    let interfaces: Vec<String> = status.interfaces.into_iter().map(|interface| interface.name).collect();
    let said = status.node == label(NODE_LABEL)
        && service == format!("{}/{}", status.service_namespace, status.service_name);
    let said = if said { interfaces.join("+") } else { "?".to_owned() };
    format!("{} {service} [{said}]", label(NODE_LABEL))
}

async fn eventually(so: impl Fn() -> bool, otherwise: impl Fn() -> String) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < SOON, "after {} s: {}", SOON.as_secs(), otherwise());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The object of another speaker, or one that ours left before.
fn object(name: &str, node: &str, service: &str, uid: &str, status: &Value) -> Value {
    json!({
        "apiVersion": "metallb.io/v1beta1", "kind": "ServiceL2Status",
        "metadata": {
            "name": name, "namespace": SYSTEM,
            "labels": {(NODE_LABEL): node, (SERVICE_NAME_LABEL): service, (SERVICE_NAMESPACE_LABEL): "shop"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "speaker-x", "uid": uid}],
        },
        "status": status,
    })
}

fn status(node: &str, service: &str, interfaces: &[&str]) -> Value {
    let interfaces: Vec<Value> = interfaces.iter().map(|name| json!({"name": name})).collect();
    json!({"node": node, "serviceName": service, "serviceNamespace": "shop", "interfaces": interfaces})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_announced_is_shown_and_told_once() {
    let world = World::start();
    world.watches().await;
    assert_eq!(world.writes(), 0, "before anything is told");
    world.show(&[("web", &[]), ("db", &["eth1", "eth0"])]);
    world.stores(&["n1 shop/db [eth0+eth1]", "n1 shop/web []"]).await;
    let object = world.api.all::<ServiceL2Status>().remove(0);
    let owners = serde_json::to_value(object.owner_references()).unwrap();
    assert_eq!(owners, json!([{"apiVersion": "v1", "kind": "Pod", "name": "speaker-x", "uid": "u1"}]));
    let told = |name: &str| {
        format!("Normal nodeAssigned {name} x1: announcing from node \"n1\" with protocol \"layer2\"")
    };
    let patches = world.api.writes().get(&(Verb::Patch, "servicel2statuses".to_owned())).copied();
    assert_eq!(patches, None, "it is made whole, but for its status");
    let both = [told("db"), told("web")];
    eventually(|| world.events() == both, || format!("{:?}", world.events())).await;
    world.is_quiet().await;
    // On another interface: that is no news.
    world.show(&[("web", &[]), ("db", &["eth2"])]);
    world.stores(&["n1 shop/db [eth2]", "n1 shop/web []"]).await;
    world.show(&[("web", &[])]);
    world.stores(&["n1 shop/web []"]).await;
    assert_eq!(world.events(), both);
    // It comes back: it begins again, which is counted on the same event.
    world.show(&[("web", &[]), ("db", &["eth2"])]);
    world.stores(&["n1 shop/db [eth2]", "n1 shop/web []"]).await;
    let twice = [told("db").replace("x1", "x2"), told("web")];
    eventually(|| world.events() == twice, || format!("{:?}", world.events())).await;
    world.show(&[]);
    world.stores(&[]).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_writes_and_tells_nothing() {
    let world = World::start();
    world.show(&[("web", &[]), ("db", &["eth0"])]);
    world.configure(&["one"], Proxy::Healthy);
    world.nodes(&["n1", "n2"]);
    let expected = ["n1 shop/db [eth0]", "n1 shop/web []"];
    world.stores(&expected).await;
    eventually(|| world.events().len() == 2, || format!("{:?}", world.events())).await;
    let stated =
        || world.state().and_then(|state| state.status).is_some_and(|status| status.result.is_some());
    eventually(stated, || format!("{:?}", world.state())).await;
    let (state, api) = (world.state(), world.end().await);
    let (version, told) = (api.version(), api.all::<Event>().len());

    let world = World::on(api, "u1");
    world.configure(&["one"], Proxy::Healthy);
    world.nodes(&["n1", "n2"]);
    world.watches().await;
    // The election takes longer than the list: what is there stays until then.
    world.is_quiet().await;
    world.show(&[("web", &[]), ("db", &["eth0"])]);
    world.is_quiet().await;
    world.stores(&expected).await;
    assert_eq!((world.state(), world.api.version(), world.events().len()), (state, version, told));
    world.end().await;
}

/// A new Pod makes what the one before left its own, before it is deleted with that one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_pod_adopts_what_is_there() {
    let api = server();
    api.put(object("l2-a", "n1", "web", "u0", &status("n1", "web", &[])));
    let world = World::on(api, "u1");
    world.configure(&[], Proxy::Unknown);
    world.show(&[("web", &[])]);
    let owner = || {
        let object = world.api.get::<ServiceL2Status>(SYSTEM, "l2-a");
        object.and_then(|object| Some(object.owner_references().first()?.uid.clone()))
    };
    eventually(|| owner().as_deref() == Some("u1"), || format!("{:?}", owner())).await;
    world.stores(&["n1 shop/web []"]).await;
    let api = world.end().await;
    let world = World::on(api, "u2");
    world.configure(&[], Proxy::Unknown);
    let owner = || world.state().and_then(|state| Some(state.owner_references().first()?.uid.clone()));
    eventually(|| owner().as_deref() == Some("u2"), || format!("{:?}", owner())).await;
    assert!(world.events().is_empty(), "{:?}", world.events());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_corrected() {
    let api = server();
    // Left from before: announced no longer, twice the same, of another Service although labelled as this one's.
    api.put(object("l2-a", "n1", "old", "u1", &status("n1", "old", &[])));
    api.put(object("l2-b", "n1", "web", "u1", &json!({})));
    api.put(object("l2-c", "n1", "web", "u1", &status("n1", "web", &["eth0"])));
    api.put(object("l2-d", "n1", "db", "u1", &status("n2", "db", &[])));
    // Of a node that lives, so nobody's business.
    api.put(object("l2-e", "n2", "web", "u2", &status("n2", "web", &[])));
    let world = World::on(api, "u1");
    world.nodes(&["n1", "n2"]);
    world.show(&[("web", &["eth0"]), ("db", &[])]);
    let expected = ["n1 shop/db []", "n1 shop/web [eth0]", "n2 shop/web []"];
    world.stores(&expected).await;
    assert!(world.api.get::<ServiceL2Status>(SYSTEM, "l2-c").is_some(), "the right one of two is kept");
    // By hand, while it runs.
    world.api.put(object("l2-c", "n1", "web", "u1", &status("n1", "web", &["eth0", "eth9"])));
    world.stores(&expected).await;
    world.api.put(object("l2-c", "n1", "web", "u1", &json!({"node": "n1"})));
    world.stores(&expected).await;
    world.api.put(object("l2-c", "n1", "other", "u1", &status("n1", "web", &["eth0"])));
    world.stores(&expected).await;
    world.api.put(object("l2-f", "n1", "web", "u1", &status("n1", "web", &["eth0"])));
    eventually(|| world.stored() == expected, || format!("{:?}", world.stored())).await;
    for object in world.api.all::<ServiceL2Status>() {
        if object.labels().get(NODE_LABEL).is_some_and(|node| node == "n1") {
            world.api.remove::<ServiceL2Status>(SYSTEM, &object.name_any());
        }
    }
    world.stores(&expected).await;
    world.is_quiet().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_left_that_is_gone_is_deleted_by_the_next_owner() {
    let api = server();
    for service in ["web", "other"] {
        api.put(object(&format!("l2-{service}"), "n3", service, "u3", &status("n3", service, &[])));
        api.put(object(&format!("l2-2-{service}"), "n2", service, "u2", &status("n2", service, &[])));
    }
    let world = World::on(api, "u1");
    // Gone before we started, with no Node left to tell its name.
    world.show(&[("web", &[])]);
    world.nodes(&["n1", "n2"]);
    world.stores(&["n1 shop/web []", "n2 shop/other []", "n2 shop/web []", "n3 shop/other []"]).await;
    // It takes over more of it.
    world.show(&[("web", &[]), ("other", &[])]);
    world.stores(&["n1 shop/other []", "n1 shop/web []", "n2 shop/other []", "n2 shop/web []"]).await;
    // Another is gone while we run.
    world.nodes(&["n1"]);
    world.stores(&["n1 shop/other []", "n1 shop/web []"]).await;
    // Our own node is not Ready: what we say is true all the same.
    world.nodes(&[]);
    world.is_quiet().await;
    world.stores(&["n1 shop/other []", "n1 shop/web []"]).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_interfaces_are_told_once_and_other_words_anew() {
    let world = World::start();
    let fail = |names: &[&str]| {
        let shown = Shown { failed: services(&[("web", names)]), ..Shown::default() };
        world.shown.send_replace(Some(Arc::new(shown)));
    };
    fail(&["eth7"]);
    let said = |times: usize, named: &str| {
        let events = world.events();
        events.iter().any(|event| {
            event.starts_with(&format!("Warning announceFailed web x{times}: "))
                && event.contains(named)
                && event.contains("spec.interfaces")
        })
    };
    eventually(|| said(1, "(\"eth7\")"), || format!("{:?}", world.events())).await;
    world.shown.send_replace(Some(Arc::new(Shown {
        announced: services(&[("db", &[])]),
        failed: services(&[("web", &["eth7"])]),
    })));
    world.stores(&["n1 shop/db []"]).await;
    world.show(&[]);
    world.stores(&[]).await;
    fail(&["eth8"]);
    eventually(|| said(1, "(\"eth8\")"), || format!("{:?}", world.events())).await;
    assert!(said(1, "(\"eth7\")"), "{:?}", world.events());
    world.end().await;
}

/// Each answer of the server to writes, some times; also one that leaves open whether it was done.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_weather_passes() {
    let faults: [(&str, Fault, usize); 10] = [
        ("404", Fault::status(404), 3),
        ("409", Fault::status(409), 3),
        ("422", Fault::status(422), 3),
        ("403", Fault::status(403), 3),
        ("429", Fault::too_many(1), 3),
        ("500", Fault::status(500), 3),
        ("cut off", Fault::Connection, 3),
        ("done, then 500", Fault::AnswerLost(Lost::Status(500)), 3),
        ("done, then cut off", Fault::AnswerLost(Lost::Connection), 3),
        ("late", Fault::SlowAnswer(Duration::from_millis(700)), 3),
    ];
    let verbs = [
        On::verb(Verb::Create),
        On::verb(Verb::Patch).resource("servicel2statuses/status"),
        On::verb(Verb::Patch).resource("servicel2statuses"),
        On::verb(Verb::Delete),
    ];
    let mut all = Vec::new();
    for on in verbs {
        for (name, fault, times) in faults {
            let on = on.clone();
            all.push(tokio::spawn(async move {
                let api = server();
                api.put(object("l2-a", "n1", "old", "u1", &status("n1", "old", &[])));
                api.put(object("l2-b", "n1", "kept", "u0", &status("n1", "kept", &[])));
                let world = World::on(api, "u1");
                let rule = world.weather.add(on.times(times), fault);
                world.nodes(&["n1"]);
                world.show(&[("kept", &[]), ("web", &["eth0"])]);
                world.stores(&["n1 shop/kept []", "n1 shop/web [eth0]"]).await;
                let adopted = || {
                    let kept = world.api.get::<ServiceL2Status>(SYSTEM, "l2-b");
                    kept.is_none_or(|kept| kept.owner_references().iter().all(|owner| owner.uid == "u1"))
                };
                eventually(adopted, || format!("{name}: not adopted")).await;
                world.is_quiet().await;
                world.stores(&["n1 shop/kept []", "n1 shop/web [eth0]"]).await;
                assert!(rule.hits() > 0, "{name}: nobody was out in it");
                world.end().await;
            }));
        }
    }
    for one in all {
        one.await.expect("it passes");
    }
}

/// The watch shows a write before its answer comes: edits after it are seen at once all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_after_the_watch() {
    let world = World::start();
    world.watches().await;
    let on = On::verb(Verb::Patch).resource("servicel2statuses/status").times(1);
    let rule = world.weather.add(on, Fault::SlowAnswer(Duration::from_secs(1)));
    world.show(&[("web", &[])]);
    rule.hit(1).await;
    world.stores(&["n1 shop/web []"]).await;
    let name = world.api.all::<ServiceL2Status>()[0].name_any();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let started = Instant::now();
    world.api.put(object(&name, "n1", "web", "u1", &status("n1", "web", &["eth9"])));
    world.stores(&["n1 shop/web []"]).await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    world.end().await;
}

/// A Service whose object cannot be written is in nobody's way, and it is not tried without end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_fails_for_ever_delays_no_other() {
    let api = server();
    api.put(object("l2-a", "n1", "bad", "u1", &json!({})));
    let world = World::on(api, "u1");
    let refused = On::verb(Verb::Patch).resource("servicel2statuses/status").name("l2-a");
    let rule = world.weather.add(refused, Fault::status(500));
    world.show(&[("bad", &[])]);
    rule.hit(2).await;
    let started = Instant::now();
    world.show(&[("bad", &[]), ("web", &[])]);
    world.stores(&["n1 shop/bad [?]", "n1 shop/web []"]).await;
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    tokio::time::sleep(Duration::from_secs(4)).await;
    // 0.2, 0.4, 0.8, 1.6 s.
    assert!(rule.hits() <= 7, "{} tries", rule.hits());
    rule.remove();
    world.stores(&["n1 shop/bad []", "n1 shop/web []"]).await;
    world.end().await;
}

/// However many there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_server_gets_eight_writes_at_a_time() {
    let world = World::start();
    let rule = world.weather.add(On::verb(Verb::Create).resource("servicel2statuses"), Fault::Hold);
    let names: Vec<String> = (0..40).map(|number| format!("s{number:02}")).collect();
    let all: Vec<(&str, &[&str])> = names.iter().map(|name| (name.as_str(), [].as_slice())).collect();
    world.show(&all);
    rule.hit(8).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(rule.hits(), 8);
    rule.remove();
    let made = || world.stored().len() == 40;
    eventually(made, || format!("{} are made", world.stored().len())).await;
    // Made in their order, as far as eight at a time have one.
    let history = world.api.history();
    let first = |service: &str| {
        let of = |labels: &Value| labels[SERVICE_NAME_LABEL] == service;
        history.iter().position(|commit| of(&commit.object["metadata"]["labels"])).expect("it was made")
    };
    assert!(first("s00") < first("s20") && first("s10") < first("s39"));
    world.end().await;
}

/// The definitions come later than the speaker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_may_come_later() {
    let api = server();
    for name in ["servicel2statuses.metallb.io", "configurationstates.metallb.io"] {
        api.serve(name, false);
    }
    let world = World::on(api, "u1");
    let lists =
        world.weather.add(On::verb(Verb::List).resource("servicel2statuses"), Fault::Delay(Duration::ZERO));
    world.show(&[("web", &[])]);
    world.nodes(&["n1"]);
    world.configure(&[], Proxy::Unknown);
    lists.hit(3).await;
    assert_eq!(world.writes(), 0);
    for name in ["servicel2statuses.metallb.io", "configurationstates.metallb.io"] {
        world.api.serve(name, true);
    }
    world.stores(&["n1 shop/web []"]).await;
    eventually(|| world.state().is_some(), || "no ConfigurationState".to_owned()).await;
    world.end().await;
}

/// Watches that end and versions that expire lose nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_that_break() {
    for fault in [Fault::WatchEnd, Fault::WatchExpired] {
        let world = World::start();
        world.show(&[("web", &[])]);
        world.stores(&["n1 shop/web []"]).await;
        let rule = world.weather.add(On::verb(Verb::Watch), fault);
        world.api.end_watches();
        rule.hit(2).await;
        let name = world.api.all::<ServiceL2Status>()[0].name_any();
        world.api.remove::<ServiceL2Status>(SYSTEM, &name);
        world.api.compact();
        rule.remove();
        world.stores(&["n1 shop/web []"]).await;
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_state() {
    let world = World::start();
    world.watches().await;
    assert!(world.state().is_none(), "before anything is told");
    world.configure(&["IPAddressPool \"a\": no addresses"], Proxy::Unknown);
    let said = || -> Vec<String> {
        let status = world.state().and_then(|state| state.status).unwrap_or_default();
        let conditions =
            status.conditions.iter().map(|it| format!("{}={} {}", it.type_, it.status, it.reason));
        [format!("{:?} {:?}", status.result, status.error_summary)].into_iter().chain(conditions).collect()
    };
    let says = async |expected: &[&str]| eventually(|| said() == expected, || format!("{:?}", said())).await;
    let invalid = [
        r#"Some(Invalid) "IPAddressPool \"a\": no addresses""#,
        "configReconcilerValid=False ConfigurationError",
    ];
    says(&invalid).await;
    let state = world.state().unwrap();
    let labels = [("metallb.io/component-type", "speaker"), ("metallb.io/node-name", "n1")];
    assert!(labels.iter().all(|(name, value)| state.labels().get(*name).is_some_and(|is| is == value)));
    assert_eq!(state.owner_references()[0].uid, "u1");
    world.is_quiet().await;
    let since = || world.state().and_then(|it| Some(it.status?.conditions[0].last_transition_time.clone()));
    let first = since();

    world.configure(&[], Proxy::Unhealthy("kube-proxy does not answer".to_owned()));
    let valid =
        [r#"Some(Valid) """#, "configReconcilerValid=True Reconciled", "ServiceProxyHealthy=False Unhealthy"];
    says(&valid).await;
    assert_ne!(since(), first, "it flipped");
    world.configure(&[], Proxy::Healthy);
    says(&[valid[0], valid[1], "ServiceProxyHealthy=True Healthy"]).await;
    let flipped = since();
    world.configure(&[], Proxy::Unknown);
    says(&valid[..2]).await;
    assert_eq!(since(), flipped, "it did not flip");

    // By hand: the status, a condition that is not ours, labels, all of it.
    let mut edited = serde_json::to_value(world.state().unwrap()).unwrap();
    edited["status"]["result"] = "Invalid".into();
    edited["status"]["errorSummary"] = "what?".into();
    edited["status"]["conditions"][0]["status"] = "False".into();
    let another = json!({"type": "Other", "status": "True", "reason": "A", "message": "", "lastTransitionTime": flipped});
    edited["status"]["conditions"].as_array_mut().unwrap().push(another);
    world.api.put(edited);
    says(&valid[..2]).await;
    let mut edited = serde_json::to_value(world.state().unwrap()).unwrap();
    edited["metadata"]["labels"] = json!({"mine": "stays"});
    world.api.put(edited);
    let labels = || world.state().map(|state| state.labels().clone()).unwrap_or_default();
    eventually(|| labels().len() == 3, || format!("{:?}", labels())).await;
    world.api.remove::<ConfigurationState>(SYSTEM, "speaker-n1");
    says(&valid[..2]).await;
    world.is_quiet().await;
    assert_eq!(world.state().and_then(|it| it.status?.result), Some(ConfigurationResult::Valid));
    world.end().await;
}

/// Each answer of the server to writes of the state.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_configuration_state_in_bad_weather() {
    let faults = [
        ("404", Fault::status(404)),
        ("409", Fault::status(409)),
        ("500", Fault::status(500)),
        ("cut off", Fault::Connection),
        ("done, then 500", Fault::AnswerLost(Lost::Status(500))),
    ];
    let all = faults.map(|(name, fault)| {
        tokio::spawn(async move {
            let world = World::start();
            let rule = world.weather.add(On::writes().times(5), fault);
            world.configure(&["a"], Proxy::Healthy);
            let so = || world.state().and_then(|state| Some(state.status?.conditions.len())) == Some(2);
            eventually(so, || format!("{name}: {:?}", world.state())).await;
            eventually(|| rule.hits() == 5 || so(), || format!("{name}: {} hits", rule.hits())).await;
            world.is_quiet().await;
            world.end().await;
        })
    });
    for one in all {
        one.await.expect("it passes");
    }
}
