//! Other hosts that have an address: a condition and a label while it is so.

use ferrolb_crds::{ADDRESS_CONFLICT, CONFLICT_LABEL};

use super::*;
use crate::report::Conflict;

fn conflict(held_back: bool, words: &str, since: i64) -> Option<Arc<Conflict>> {
    Some(Arc::new(Conflict { held_back, words: words.to_owned(), since }))
}

impl World {
    fn stand(&self, name: &str, announced: Option<&[&str]>, conflict: Option<Arc<Conflict>>) {
        let key = ServiceKey::new("shop", name);
        let uid = format!("uid of {key}").into();
        let now = announced.map(|on| Announced::On(interfaces(on)));
        self.board.stand(Arc::new(key), uid, now, conflict);
    }

    /// What each object says of a conflict, in order: reason, words, since when, whether it has the label.
    fn conflicts(&self) -> Vec<String> {
        let said = |object: &ServiceL2Status| {
            let marked = object.labels().get(CONFLICT_LABEL).map_or("", String::as_str);
            let all = object.status.clone().unwrap_or_default().conditions;
            let words = all.iter().filter(|it| it.type_ == ADDRESS_CONFLICT).map(|it| {
                assert_eq!(it.status, "True");
                format!("{} {} {}", it.reason, it.message, it.last_transition_time.0.as_second())
            });
            format!("{} [{marked}]", words.collect::<String>())
        };
        let mut all: Vec<String> = self.api.all::<ServiceL2Status>().iter().map(said).collect();
        all.sort();
        all
    }

    async fn says(&self, expected: &[&str]) {
        let said = || self.conflicts();
        eventually(|| said() == expected, || format!("{:?} instead of {expected:?}", said())).await;
    }

    fn edit(&self, how: impl FnOnce(&mut Value)) {
        let object = self.api.all::<ServiceL2Status>().remove(0);
        let mut object = serde_json::to_value(object).unwrap();
        how(&mut object);
        self.api.put(object);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_is_shown_while_it_lasts() {
    let world = World::start();
    // Held back before it was ever announced: there is an object all the same, and nobody is said to announce.
    world.stand("web", None, conflict(true, "held", 7));
    world.board.complete();
    world.stores(&["n1 shop/web []"]).await;
    world.says(&["HeldBack held 7 [true]"]).await;
    world.is_quiet().await;
    assert_eq!(world.events(), [""; 0]);
    let made = world.api.all::<ServiceL2Status>().remove(0).name_any();
    // Other words, as the other host has another Ethernet address now.
    world.stand("web", None, conflict(true, "held by another", 7));
    world.says(&["HeldBack held by another 7 [true]"]).await;
    // It is gone, and the address announced.
    world.stand("web", Some(&["eth0"]), None);
    world.says(&[" []"]).await;
    world.stores(&["n1 shop/web [eth0]"]).await;
    eventually(|| world.events().len() == 1, || format!("{:?}", world.events())).await;
    // It is back.
    world.stand("web", Some(&["eth0"]), conflict(false, "used", 8));
    world.says(&["InUse used 8 [true]"]).await;
    world.stores(&["n1 shop/web [eth0]"]).await;
    world.is_quiet().await;
    let object = world.api.all::<ServiceL2Status>().remove(0);
    assert_eq!(object.name_any(), made, "it was one object all the time");
    world.stand("web", None, None);
    world.stores(&[]).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_edited_is_corrected() {
    let world = World::start();
    world.stand("web", Some(&[]), conflict(false, "used", 8));
    world.board.complete();
    let right = ["InUse used 8 [true]"];
    world.says(&right).await;
    world.edit(|object| object["metadata"]["labels"][CONFLICT_LABEL] = Value::Null);
    world.says(&right).await;
    world.edit(|object| object["status"]["conditions"] = json!([]));
    world.says(&right).await;
    world.edit(|object| object["status"]["conditions"][0]["status"] = "Unknown".into());
    eventually(
        || world.api.all::<ServiceL2Status>()[0].status.as_ref().unwrap().conditions[0].status == "True",
        || format!("{:?}", world.api.all::<ServiceL2Status>()),
    )
    .await;
    world.says(&right).await;
    world.is_quiet().await;
    world.end().await;
}

/// The speaker is replaced while an address is held back, and finds nobody else there any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_held_back_before_a_restart_begins_after_it() {
    let world = World::start();
    world.stand("web", None, conflict(true, "held", 7));
    world.board.complete();
    world.says(&["HeldBack held 7 [true]"]).await;
    let world = World::on(world.end().await, "u1");
    world.stand("web", Some(&[]), None);
    world.board.complete();
    world.says(&[" []"]).await;
    let told = || world.events();
    eventually(
        || told().len() == 1 && told()[0].starts_with("Normal nodeAssigned web"),
        || format!("{:?}", told()),
    )
    .await;
    world.end().await;
}

/// Each answer of the server to the write of the label, some times.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_label_in_bad_weather() {
    let faults = [
        Fault::status(404),
        Fault::status(409),
        Fault::status(500),
        Fault::Connection,
        Fault::AnswerLost(Lost::Status(500)),
        Fault::AnswerLost(Lost::Connection),
    ];
    let all = faults.map(|fault| {
        tokio::spawn(async move {
            let world = World::start();
            world.stand("web", Some(&[]), None);
            world.board.complete();
            world.stores(&["n1 shop/web []"]).await;
            let on = On::verb(Verb::Patch).resource("servicel2statuses").times(2);
            let rule = world.weather.add(on, fault);
            world.stand("web", Some(&[]), conflict(false, "used", 8));
            world.says(&["InUse used 8 [true]"]).await;
            world.stand("web", Some(&[]), None);
            world.says(&[" []"]).await;
            assert!(rule.hits() > 0, "nobody was out in it");
            world.is_quiet().await;
            world.end().await;
        })
    });
    for one in all {
        one.await.expect("it passes");
    }
}
