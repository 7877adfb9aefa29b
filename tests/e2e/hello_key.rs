//! The Secret with the key of the hellos on a real API server, made with the rights that the controller's Role gives.

mod support;

use std::path::Path;

use ferrolb_controller::hello_key::{Found, NAME, ensure, keep, make};
use ferrolb_core::hello_key::Keys;
use ferrolb_runtime::{Context, Events};
use ferrolb_tests::lab::progress::wait;
use ferrolb_tests::plane::{Plane, project};
use ferrolb_tests::scene::SYSTEM;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use support::{block_on, left_out};

const LAB: &str = "testkey";

fn named(name: &str, data: &Value) -> Secret {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": data})).expect("a Secret")
}

fn keys(secret: &Secret) -> Keys {
    let entries = secret.data.iter().flatten().map(|(name, value)| (name.as_str(), value.0.as_slice()));
    Keys::read(entries).0
}

fn forbidden<T: std::fmt::Debug>(what: &str, answer: kube::Result<T>) {
    let refused = matches!(&answer, Err(kube::Error::Api(status)) if status.code == 403);
    assert!(refused, "{what}: {answer:?}");
}

#[test]
fn the_key_is_made_once_within_the_role() {
    if !nix::unistd::geteuid().is_root() {
        left_out("the lab needs root");
        return;
    }
    let plane = Plane::anew(LAB, Path::new(env!("CARGO_BIN_EXE_lab"))).expect("a control plane");
    block_on(async {
        let admin = plane.lab.client().await.expect("a client");
        let all: Api<Secret> = Api::namespaced(admin, SYSTEM);
        let ours = plane.client_as("ferrolb-controller").await.expect("a client");
        let words = ensure(&ours, SYSTEM).await.expect_err("nothing is allowed yet");
        assert!(words.contains("not allowed to read the Secret ferrolb-hello: apply config/rbac"), "{words}");
        let rbac = project("config/rbac");
        plane.kubectl(&["apply", "-k", rbac.to_str().expect("a path"), "-n", SYSTEM]).expect("the rights");
        wait("the rights to count", 30, async || ensure(&ours, SYSTEM).await.map(drop)).await.expect("made");

        let first = all.get(NAME).await.expect("it was made");
        assert_eq!((first.type_.as_deref(), keys(&first).len()), (Some("Opaque"), 1));
        assert_eq!(ensure(&ours, SYSTEM).await, Ok(Found::There));
        // As one who saw that there was none, before the other was faster.
        assert_eq!(make(&ours, SYSTEM).await, Ok(Found::There));
        assert_eq!(all.get(NAME).await.expect("it is there"), first);

        for round in 0..5 {
            all.delete(NAME, &DeleteParams::default()).await.expect("deleted");
            let at_once = futures::future::join_all((0..8).map(|_| make(&ours, SYSTEM))).await;
            let made: Vec<_> = at_once
                .iter()
                .filter_map(|one| if let Ok(Found::Made(id)) = one { Some(*id) } else { None })
                .collect();
            assert_eq!(made.len(), 1, "round {round}: {at_once:?}");
            let secret = all.get(NAME).await.expect("it was made");
            assert_eq!(keys(&secret).ids().collect::<Vec<_>>(), made, "round {round}: {at_once:?}");
        }

        // What somebody else made in the same moment stays as it is; also where nothing tells who owns what.
        let theirs = json!({"mine.key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="});
        let other = json!({"mine.key": theirs["mine.key"], "current": "bWluZS5rZXk="});
        for (data, known) in [(&theirs, true), (&theirs, false), (&other, true), (&other, false)] {
            all.delete(NAME, &DeleteParams::default()).await.expect("deleted");
            let before = all.create(&PostParams::default(), &named(NAME, data)).await.expect("created");
            if !known {
                let nobody = Patch::Merge(json!({"metadata": {"managedFields": [{}]}}));
                let cleared = all.patch(NAME, &PatchParams::default(), &nobody).await.expect("cleared");
                assert_eq!(cleared.metadata.managed_fields.unwrap_or_default(), []);
            }
            assert_eq!(make(&ours, SYSTEM).await, Ok(Found::There), "{data}");
            let after = all.get(NAME).await.expect("it is there");
            assert_eq!(
                (after.data, after.metadata.labels),
                (before.data, before.metadata.labels),
                "{data}, {known}"
            );
        }

        let mine: Api<Secret> = Api::namespaced(ours.clone(), SYSTEM);
        forbidden("a create", mine.create(&PostParams::default(), &named(NAME, &theirs)).await);
        forbidden("a list", mine.list(&ListParams::default()).await);
        forbidden("another one", mine.get("other").await);
        let apply = Patch::Apply(named("other", &theirs));
        forbidden("an apply of another one", mine.patch("other", &PatchParams::apply("tests"), &apply).await);
        forbidden("a delete", mine.delete(NAME, &DeleteParams::default()).await);
        let elsewhere: Api<Secret> = Api::namespaced(ours.clone(), "default");
        forbidden("one elsewhere", elsewhere.get(NAME).await);

        says_what_is_wrong(&plane, &all, ours).await;
    });
}

/// A Secret that holds no key gets an event, and a new one takes its place when it is deleted.
async fn says_what_is_wrong(plane: &Plane, all: &Api<Secret>, ours: Client) {
    all.delete(NAME, &DeleteParams::default()).await.expect("deleted");
    all.create(&PostParams::default(), &named(NAME, &json!({"a.key": ""}))).await.expect("created");
    let context = Context::default();
    let recorder = Events::start(ours.clone(), "ferrolb-controller", context.shutdown.clone());
    let keeping = tokio::spawn(keep(ours, SYSTEM.to_owned(), || true, recorder, context.shutdown.clone()));
    let events: Api<Event> = Api::namespaced(plane.lab.client().await.expect("a client"), SYSTEM);
    wait("an event", 30, async || {
        let list = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let told = list.iter().any(|event| event.reason.as_deref() == Some("HelloKeyUnusable"));
        if told { Ok(()) } else { Err(format!("{list:?}")) }
    })
    .await
    .expect("told");
    all.delete(NAME, &DeleteParams::default()).await.expect("deleted");
    wait("another one", 60, async || {
        let secret = all.get(NAME).await.map_err(|error| error.to_string())?;
        if keys(&secret).len() == 1 { Ok(()) } else { Err(format!("{secret:?}")) }
    })
    .await
    .expect("made again");
    context.shutdown.cancel();
    keeping.await.expect("it ends");
}
