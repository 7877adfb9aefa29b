//! The Secret with the key of the hellos: made once, by whoever leads, and never changed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ferrolb_controller::hello_key::{ENTRY, Found, LOOK, NAME, ensure, keep, make};
use ferrolb_controller::run::run_with;
use ferrolb_controller::{Settings, lease};
use ferrolb_core::hello_key::{Key, Keys};
use ferrolb_crds::{ConfigurationState, IPAddressPool};
use ferrolb_fake_api::{ApiServer, Fault, Lost, On, Verb, Weather};
use ferrolb_runtime::{Context, Events};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Secret, Service};
use k8s_openapi::api::events::v1::Event;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const SYSTEM: &str = "metallb-system";

fn server() -> ApiServer {
    ApiServer::new().with::<Secret>().with::<Event>().with::<Lease>()
}

fn secret(api: &ApiServer) -> Option<Secret> {
    api.get(SYSTEM, NAME)
}

/// What a speaker reads from it.
fn keys(secret: &Secret) -> Keys {
    let entries = secret.data.iter().flatten().map(|(name, value)| (name.as_str(), value.0.as_slice()));
    let (keys, problems) = Keys::read(entries);
    assert_eq!(problems, []);
    keys
}

fn by_hand(api: &ApiServer, data: &Value) -> Secret {
    api.put(json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": NAME, "namespace": SYSTEM}, "data": data}));
    secret(api).expect("it was put")
}

/// How often the Secret was written.
fn writes(api: &ApiServer) -> usize {
    api.history().iter().filter(|commit| commit.resource.plural == "secrets").count()
}

async fn until(what: &str, api: &ApiServer, is: impl Fn(&ApiServer) -> bool) {
    let waiting = async {
        while !is(api) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    assert!(waited.is_ok(), "{what}: {:?}; requests: {:?}", secret(api), api.requests());
}

#[tokio::test]
async fn it_is_made_where_there_is_none() {
    let api = server();
    let Ok(Found::Made(id)) = ensure(&api.client(), SYSTEM).await else { panic!("{:?}", secret(&api)) };
    let made = secret(&api).expect("it was made");
    let keys = keys(&made);
    assert_eq!((keys.ids().collect::<Vec<_>>(), keys.current().map(Key::id)), (vec![id], Some(id)));
    assert_eq!(
        made.data.iter().flatten().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["current", ENTRY]
    );
    assert_eq!(ensure(&api.client(), SYSTEM).await, Ok(Found::There));
    assert_eq!(writes(&api), 1);
}

#[tokio::test]
async fn no_two_keys_are_alike() {
    let mut ids = BTreeSet::new();
    for _ in 0..20 {
        let Ok(Found::Made(id)) = ensure(&server().client(), SYSTEM).await else { panic!("not made") };
        ids.insert(id);
    }
    assert_eq!(ids.len(), 20);
}

/// Both have seen that there is none.
#[tokio::test]
async fn of_two_controllers_at_once_one_makes_it() {
    let api = server();
    assert!(matches!(make(&api.client(), SYSTEM).await, Ok(Found::Made(_))));
    let first = secret(&api);
    for _ in 0..3 {
        assert_eq!(make(&api.client(), SYSTEM).await, Ok(Found::There));
        assert_eq!(secret(&api), first);
    }
}

#[tokio::test]
async fn one_that_somebody_makes_in_the_same_moment_stays_as_it_is() {
    for data in [
        json!({"mine.key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}),
        json!({"mine.key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "current": "bWluZS5rZXk="}),
        json!({"first.key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}),
        json!({"readme": ""}),
    ] {
        let api = server();
        let object = json!({"metadata": {"name": NAME}, "data": data});
        let object = serde_json::from_value(object).expect("a Secret");
        let secrets = kube::Api::<Secret>::namespaced(api.client(), SYSTEM);
        let before = secrets.create(&kube::api::PostParams::default(), &object).await.expect("created");
        assert_eq!(make(&api.client(), SYSTEM).await, Ok(Found::There));
        let after = secret(&api).expect("it is there");
        assert_eq!(after.data, before.data);
        assert_eq!(after.metadata.labels.unwrap_or_default(), before.metadata.labels.unwrap_or_default());
    }
}

#[tokio::test]
async fn one_that_is_there_is_not_written_to() {
    for (data, usable) in [
        (json!({"mine.key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}), true),
        (json!({"mine.key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "old.key": ""}), true),
        (json!({"mine": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}), false),
        (json!({"mine.key": "AAECAw=="}), false),
        (json!(null), false),
    ] {
        let api = server();
        let before = by_hand(&api, &data);
        let found = ensure(&api.client(), SYSTEM).await;
        assert_eq!(found == Ok(Found::There), usable, "{data}");
        assert_eq!(matches!(found, Ok(Found::Unusable(_))), !usable, "{data}");
        assert_eq!(secret(&api), Some(before));
    }
}

fn events(api: &ApiServer) -> Vec<Event> {
    api.all()
}

/// By tokio's clock, which jumps to the next deadline while nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn the_leader_makes_it_again_when_somebody_deletes_it() {
    let api = server();
    let leads = Arc::new(AtomicBool::new(false));
    let shutdown = CancellationToken::new();
    let events = Events::start(api.client(), "ferrolb-controller", shutdown.clone());
    let asked = leads.clone();
    let leading = move || asked.load(Ordering::SeqCst);
    let keeping = tokio::spawn(keep(api.client(), SYSTEM.to_owned(), leading, events, shutdown.clone()));

    tokio::time::sleep(10 * LOOK).await;
    assert!(api.requests().is_empty(), "one who does not lead asks nothing: {:?}", api.requests());
    leads.store(true, Ordering::SeqCst);
    until("made", &api, |api| secret(api).is_some()).await;
    let first = secret(&api);

    let asked = |api: &ApiServer| api.requests().values().sum::<usize>();
    let before = asked(&api);
    tokio::time::sleep(100 * LOOK).await;
    assert!(asked(&api) - before <= 101, "{:?}", api.requests());
    assert_eq!(secret(&api), first);

    let started = tokio::time::Instant::now();
    api.remove::<Secret>(SYSTEM, NAME);
    until("made again", &api, |api| secret(api).is_some()).await;
    assert!(started.elapsed() <= LOOK + Duration::from_secs(1), "{:?}", started.elapsed());
    assert_ne!(secret(&api).and_then(|secret| secret.data), first.and_then(|secret| secret.data));

    leads.store(false, Ordering::SeqCst);
    api.remove::<Secret>(SYSTEM, NAME);
    tokio::time::sleep(10 * LOOK).await;
    assert_eq!(secret(&api), None, "another one leads");
    shutdown.cancel();
    keeping.await.expect("it ends");
}

#[tokio::test(start_paused = true)]
async fn one_without_a_usable_key_gets_an_event() {
    let api = server();
    by_hand(&api, &json!({"mine.key": "c2hvcnQ="}));
    let shutdown = CancellationToken::new();
    let recorder = Events::start(api.client(), "ferrolb-controller", shutdown.clone());
    let keeping = tokio::spawn(keep(api.client(), SYSTEM.to_owned(), || true, recorder, shutdown.clone()));
    until("an event", &api, |api| !events(api).is_empty()).await;
    tokio::time::sleep(20 * LOOK).await;
    let all = events(&api);
    assert_eq!(all.len(), 1, "{all:?}");
    let event = &all[0];
    assert!(event.series.is_none(), "said once: {event:?}");
    assert_eq!(
        (event.reason.as_deref(), event.type_.as_deref()),
        (Some("HelloKeyUnusable"), Some("Warning"))
    );
    let regarding = event.regarding.clone().unwrap_or_default();
    let named = (regarding.kind, regarding.name, regarding.namespace);
    assert_eq!(named, (Some("Secret".into()), Some(NAME.into()), Some(SYSTEM.into())));
    let note = event.note.clone().unwrap_or_default();
    assert!(note.contains("kubectl -n metallb-system delete secret ferrolb-hello"), "{note}");
    assert!(note.ends_with("base64)'\"}}'"), "the whole note is there: {note}");

    by_hand(&api, &json!({"mine.key": "c2hvcnQgYWdhaW4="}));
    until("of another version, another time", &api, |api| {
        events(api).iter().any(|event| event.series.is_some()) || events(api).len() > 1
    })
    .await;
    shutdown.cancel();
    keeping.await.expect("it ends");
}

#[tokio::test(start_paused = true)]
async fn bad_weather_ends_with_one_key() {
    let secrets = |verb| On::verb(verb).resource("secrets");
    let faults = [
        (secrets(Verb::Get), Fault::status(500)),
        (secrets(Verb::Get), Fault::Hang),
        (secrets(Verb::Patch), Fault::status(403)),
        (secrets(Verb::Patch), Fault::status(500)),
        (secrets(Verb::Patch), Fault::Connection),
        // It was made, and the answer is lost; or it is made when another try was under way.
        (secrets(Verb::Patch), Fault::AnswerLost(Lost::Status(500))),
        (secrets(Verb::Patch), Fault::AnswerLost(Lost::Connection)),
        (secrets(Verb::Patch), Fault::Late(Duration::from_secs(7))),
    ];
    for (on, fault) in faults {
        let name = format!("{fault:?}");
        let (api, weather, shutdown) = (server(), Weather::new(), CancellationToken::new());
        let rule = weather.add(on.times(1), fault);
        let client = weather.client(api.clone());
        let events = Events::start(client.clone(), "ferrolb-controller", shutdown.clone());
        let keeping = tokio::spawn(keep(client, SYSTEM.to_owned(), || true, events, shutdown.clone()));
        until(&name, &api, |api| secret(api).is_some()).await;
        let first = secret(&api);
        tokio::time::sleep(3 * LOOK).await;
        assert_eq!(rule.hits(), 1, "{name}");
        assert_eq!(secret(&api), first, "{name}");
        assert_eq!(writes(&api), 1, "{name}");
        shutdown.cancel();
        keeping.await.expect("it ends");
    }
}

/// The whole program, twice: as soon as one of them leads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_controllers_make_one() {
    let api = server()
        .with::<Service>()
        .with::<Namespace>()
        .with::<Node>()
        .with::<IPAddressPool>()
        .with::<ConfigurationState>();
    let context = Context::default();
    let run = |name: &str| {
        let settings = Settings { pod_name: name.to_owned(), lease_duration: Duration::from_secs(15) };
        tokio::spawn(run_with(api.client(), SYSTEM.to_owned(), None, settings, context.clone()))
    };
    let both = [run("one"), run("two")];
    until("made", &api, |api| secret(api).is_some()).await;
    let leader = api.get::<Lease>(SYSTEM, lease::NAME).and_then(|lease| lease.spec?.holder_identity);
    assert!(leader.is_some_and(|name| ["one", "two"].contains(&name.as_str())));
    assert_eq!(keys(&secret(&api).expect("made")).len(), 1);
    context.shutdown.cancel();
    for one in both {
        one.await.expect("it ends");
    }
    assert_eq!(writes(&api), 1);
}
