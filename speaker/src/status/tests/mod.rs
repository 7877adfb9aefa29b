//! The whole task against an API server in memory, in fair and bad weather.

use std::time::{Duration, Instant};

use ferrolb_core::service::ServiceKey;
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
use crate::report::Announced;

mod conflicts;
mod fair;
mod recorded;
mod weather;

const SYSTEM: &str = "metallb-system";

/// Longer than anything takes that is to happen.
const SOON: Duration = Duration::from_secs(15);

/// An API server, weather, and the task of one speaker in it.
struct World {
    api: ApiServer,
    weather: Weather,
    board: Arc<Board>,
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
        World::of(api, "n1", PodRef { name: "speaker-x".to_owned(), uid: uid.to_owned() })
    }

    /// That of any node, in any Pod.
    fn of(api: ApiServer, node: &str, pod: PodRef) -> Self {
        let (weather, context) = (Weather::new(), Context::default());
        let client = weather.client(api.clone());
        let board = Arc::<Board>::default();
        let (configuration, configuration_receiver) = watch::channel(None);
        let (live, live_receiver) = watch::channel(None);
        let task = tokio::spawn(run(Parts {
            events: Events::start(client.clone(), "ferrolb-speaker", context.shutdown.clone()),
            client,
            namespace: SYSTEM.to_owned(),
            node: node.to_owned(),
            pod: Some(pod),
            board: board.clone(),
            configuration: configuration_receiver,
            live: live_receiver,
            context: context.clone(),
        }));
        World { api, weather, board, configuration, live, context, task }
    }

    /// Tells that this node announces these Services of `shop`, limited to these interfaces, and nothing else.
    fn show(&self, announced: &[(&str, &[&str])]) {
        self.show_all(announced, &[]);
    }

    /// The same, with those for which it lacks the interfaces.
    fn show_all(&self, announced: &[(&str, &[&str])], lacking: &[(&str, &[&str])]) {
        // What leads to writes comes last: whoever sees those knows that all of it was taken.
        let mut gone = self.board.lacking();
        gone.extend(self.board.wanted_where(|_, _| true));
        gone.retain(|known| !announced.iter().chain(lacking).any(|(name, _)| known.name() == *name));
        gone.into_iter().for_each(|service| self.board.set(service, "".into(), None));
        let set = |name: &str, now| {
            let service = ServiceKey::new("shop", name);
            let uid = format!("uid of {service}").into();
            self.board.set(Arc::new(service), uid, Some(now));
        };
        announced.iter().for_each(|(name, on)| set(name, Announced::On(interfaces(on))));
        lacking.iter().for_each(|(name, on)| set(name, Announced::Lacks(interfaces(on))));
        self.board.complete();
    }

    fn nodes(&self, names: &[&str]) {
        self.live.send_replace(Some(Arc::new(names.iter().map(|name| (*name).to_owned()).collect())));
    }

    fn configure(&self, problems: &[&str], proxy: Proxy) {
        let problems = problems.iter().map(|line| (*line).to_owned()).collect();
        self.configuration.send_replace(Some(Arc::new(Configuration { problems, proxy, keyless: false })));
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
        // A write that was done and whose answer was lost may be made again, after a second at most: what is stored does not
        // tell that it is still to come.
        const AGAIN: Duration = Duration::from_secs(2);
        let (started, mut last, mut since) = (Instant::now(), self.writes(), Instant::now());
        while since.elapsed() < AGAIN {
            assert!(started.elapsed() < SOON, "it never rests: {:?}", self.api.writes());
            tokio::time::sleep(Duration::from_millis(10)).await;
            let writes = self.writes();
            if std::mem::replace(&mut last, writes) != writes {
                since = Instant::now();
            }
        }
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

fn interfaces(names: &[&str]) -> Interfaces {
    Arc::new(names.iter().map(|name| (*name).to_owned()).collect())
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
