//! Refusals, lost and late answers, watches that break.

use super::*;

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
