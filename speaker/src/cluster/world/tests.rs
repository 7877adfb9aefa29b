//! What this node is to do, from objects as the API shows them.

use ferrolb_core::election::Lost;
use ferrolb_crds::view;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

const SERVICE: &str = "web";

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn service(class: Option<&str>) -> (ServiceKey, Option<Contender>) {
    let object: Service = read(json!({
        "metadata": {"name": SERVICE, "namespace": "shop", "uid": "u1"},
        "spec": {"type": "LoadBalancer", "loadBalancerClass": class},
        "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}},
    }));
    contender(&object, None)
}

fn slice() -> Slice {
    Slice::of(&read(json!({
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": SERVICE}},
        "endpoints": [{"nodeName": "n1"}],
    })))
}

fn node(name: &str, labels: &Value) -> Option<Node> {
    let ready = json!([{"type": "Ready", "status": "True"}]);
    let object: view::Node =
        read(json!({"metadata": {"name": name, "labels": labels}, "status": {"conditions": ready}}));
    object.to_core(false)
}

fn pool(name: &str, address: &str) -> IPAddressPool {
    read(json!({"metadata": {"name": name}, "spec": {"addresses": [address]}}))
}

fn advertisement(spec: &Value) -> L2Advertisement {
    read(json!({"metadata": {"name": "lan"}, "spec": spec}))
}

fn state(node: &str, healthy: &str) -> ConfigurationState {
    read(json!({
        "metadata": {"name": format!("speaker-{node}"), "labels": {NODE_LABEL: node}},
        "status": {"conditions": [{
            "type": PROXY_CONDITION, "status": healthy, "reason": "x", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]},
    }))
}

/// A world with two nodes in which n1 is the only Ready one.
fn world() -> World {
    let mut world = World::new("n1".into());
    world.handle(Input::Pools(Seen::Listed(vec![pool("lan", "10.0.0.0/24")])));
    world.handle(Input::Advertisements(Seen::Listed(vec![advertisement(&json!({}))])));
    world.handle(Input::Nodes(Seen::Listed(vec![node("n1", &json!({}))])));
    world.handle(Input::Slices(Seen::Listed(vec![slice()])));
    assert_eq!(world.update(), None, "Services are not listed yet");
    world.handle(Input::Services(Seen::Listed(vec![service(None)])));
    world
}

/// The one change: announced here, or why not.
fn change(world: &mut World) -> Result<(), Lost> {
    let changes = world.update().expect("all kinds are listed");
    let [change] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!(change.address.to_string(), "10.0.0.1");
    change.contest.as_ref().map(|_| ()).map_err(Clone::clone)
}

/// Who is elected where only the API counts.
fn owner(world: &mut World, contest: &mut Option<Arc<ferrolb_core::election::Contest>>) -> String {
    for change in world.update().expect("all kinds are listed") {
        *contest = change.contest.ok();
    }
    let roster = world.roster();
    let owner = contest.as_ref().and_then(|contest| contest.owner_by_api(&roster));
    owner.and_then(|owner| roster.get(owner)).map(|member| member.name.to_string()).unwrap_or_default()
}

#[test]
fn each_object_counts_as_it_comes_and_goes() {
    let mut world = world();
    assert_eq!(change(&mut world), Ok(()));
    let nobody = |world: &mut World| match change(world) {
        Err(Lost::Nobody(_, why)) => why.to_string(),
        other => panic!("{other:?}"),
    };
    world.handle(Input::Slices(Seen::Deleted(slice())));
    assert_eq!(nobody(&mut world), "has no serving endpoint");
    world.handle(Input::Slices(Seen::Applied(slice())));
    assert_eq!(change(&mut world), Ok(()));

    world.handle(Input::Services(Seen::Applied(service(Some("other")))));
    assert_eq!(change(&mut world), Err(Lost::Released), "it is of another class now");
    world.handle(Input::Services(Seen::Applied(service(None))));
    assert_eq!(change(&mut world), Ok(()), "its endpoints are still known");
    world.handle(Input::Services(Seen::Listed(vec![])));
    assert_eq!(change(&mut world), Err(Lost::Released));
    world.handle(Input::Services(Seen::Listed(vec![service(None)])));
    assert_eq!(change(&mut world), Ok(()));

    world.handle(Input::Advertisements(Seen::Deleted(advertisement(&json!({})))));
    assert!(nobody(&mut world).contains("L2Advertisement"));
    world.handle(Input::Advertisements(Seen::Applied(advertisement(&json!({})))));
    assert_eq!(change(&mut world), Ok(()));
    // An error says nothing about what is there.
    world.handle(Input::Services(Seen::Failing));
    assert_eq!(world.update(), Some(vec![]));
}

#[test]
fn a_node_whose_speaker_says_that_its_proxy_fails_comes_last() {
    let mut world = world();
    world.handle(Input::Nodes(Seen::Applied(node("n2", &json!({})))));
    // 10.0.0.1 is n1's or n2's by hash; what the other says decides either way.
    let mut contest = None;
    world.handle(Input::States(Seen::Listed(vec![state("n2", "False")])));
    assert_eq!(owner(&mut world, &mut contest), "n1");
    world.handle(Input::States(Seen::Listed(vec![state("n1", "False"), state("n2", "True")])));
    assert_eq!(owner(&mut world, &mut contest), "n2");
    world.handle(Input::States(Seen::Applied(state("n1", "True"))));
    world.handle(Input::States(Seen::Applied(state("n2", "False"))));
    assert_eq!(owner(&mut world, &mut contest), "n1");
    world.handle(Input::States(Seen::Applied(state("n1", "False"))));
    world.handle(Input::States(Seen::Deleted(state("n2", "False"))));
    assert_eq!(owner(&mut world, &mut contest), "n2", "a state that is gone says nothing");
}

/// A Service whose traffic stays on the node that gets it.
fn local(port: u16) -> (ServiceKey, Option<Contender>) {
    let object: Service = read(json!({
        "metadata": {"name": SERVICE, "namespace": "shop", "uid": "u1"},
        "spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": port},
        "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}},
    }));
    contender(&object, None)
}

/// Its slice, with endpoints on these nodes.
fn on(nodes: &[&str]) -> Slice {
    let endpoints: Vec<Value> = nodes.iter().map(|node| json!({"nodeName": node})).collect();
    Slice::of(&read(json!({
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": SERVICE}},
        "endpoints": endpoints,
    })))
}

/// n1's world, with two nodes and this Service, all of whose endpoints are on n2.
fn served_by_n2(service: (ServiceKey, Option<Contender>)) -> World {
    let mut world = world();
    let mine = read::<view::Node>(json!({
        "metadata": {"name": "n1"}, "status": {
            "conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP", "address": "10.9.0.1"}],
        },
    }));
    world.handle(Input::Nodes(Seen::Listed(vec![mine.to_core(false), node("n2", &json!({}))])));
    world.handle(Input::Services(Seen::Applied(service)));
    world.handle(Input::Slices(Seen::Listed(vec![on(&["n2"])])));
    assert_eq!(world.questions(), []);
    world
}

/// Whether this node is passed over, as its proxy may not have the endpoints yet: what it was, with what is new.
fn waits(world: &mut World, before: bool) -> bool {
    let changes = world.update().expect("all kinds are listed");
    let contest = changes.last().map(|change| change.contest.clone().expect("somebody may have it"));
    contest.map_or(before, |contest| contest.is_pending())
}

#[test]
fn a_new_endpoint_here_waits_for_the_proxy() {
    let mut world = served_by_n2(local(31_000));
    assert!(!waits(&mut world, true));
    world.handle(Input::Slices(Seen::Applied(on(&["n1", "n2"]))));
    assert!(waits(&mut world, false));
    let [question] = world.questions().try_into().expect("one");
    assert_eq!((question.port, &question.addresses[..]), (31_000, &["10.9.0.1".parse().unwrap()][..]));
    // Whatever comes meanwhile is the same question.
    world.handle(Input::Slices(Seen::Listed(vec![on(&["n1", "n2"])])));
    world.handle(Input::Services(Seen::Applied(local(31_000))));
    assert!(world.questions().is_empty() && waits(&mut world, true));
    world.handle(Input::Served(question.service.clone(), question.number));
    assert!(!waits(&mut world, true));
    // Once the proxy has them it has, also as the only ones.
    world.handle(Input::Slices(Seen::Applied(on(&["n1"]))));
    world.handle(Input::Slices(Seen::Applied(on(&["n1", "n2"]))));
    assert!(world.questions().is_empty() && !waits(&mut world, false));
    // One that was away is new.
    world.handle(Input::Slices(Seen::Applied(on(&["n2"]))));
    world.handle(Input::Slices(Seen::Applied(on(&["n1", "n2"]))));
    assert!(world.questions().len() == 1 && waits(&mut world, false));
}

#[test]
fn an_answer_that_is_out_of_date_counts_for_nothing() {
    let mut world = served_by_n2(local(31_000));
    world.handle(Input::Slices(Seen::Applied(on(&["n1", "n2"]))));
    let [first] = world.questions().try_into().expect("one");
    world.handle(Input::Slices(Seen::Applied(on(&["n2"]))));
    world.handle(Input::Slices(Seen::Applied(on(&["n1", "n2"]))));
    let [second] = world.questions().try_into().expect("another");
    world.handle(Input::Served(first.service.clone(), first.number));
    assert!(waits(&mut world, false));
    world.handle(Input::Served(second.service, second.number));
    assert!(!waits(&mut world, true));
    // A Service that was gone meanwhile, by a deletion that only a new list shows.
    world.handle(Input::Slices(Seen::Applied(on(&["n2"]))));
    world.handle(Input::Slices(Seen::Applied(on(&["n1", "n2"]))));
    assert!(waits(&mut world, false));
    world.handle(Input::Services(Seen::Listed(vec![])));
    world.handle(Input::Services(Seen::Applied(local(31_000))));
    assert!(!waits(&mut world, true), "a new Service waits for nothing that the old one asked");
}

#[test]
fn where_nothing_is_won_by_waiting_nothing_waits() {
    let waits_after = |service, nodes: &[&str]| {
        let mut world = served_by_n2(service);
        world.update();
        world.handle(Input::Slices(Seen::Applied(on(nodes))));
        let asks = !world.questions().is_empty();
        let waits = waits(&mut world, false);
        assert_eq!(asks, waits, "what waits is asked about");
        waits
    };
    assert!(waits_after(local(31_000), &["n1", "n2"]));
    assert!(!waits_after(local(31_000), &["n1"]), "nobody else serves any more");
    assert!(!waits_after(local(31_000), &["n1", "n3"]), "who serves else is as new");
    assert!(!waits_after(local(0), &["n1", "n2"]), "there is no port to ask at");
    assert!(!waits_after(service(None), &["n1", "n2"]), "each node passes traffic on");
    let mut first = served_by_n2(local(31_000));
    first.handle(Input::Slices(Seen::Deleted(on(&[]))));
    first.handle(Input::Slices(Seen::Applied(on(&["n1", "n2"]))));
    assert!(first.questions().is_empty(), "nobody served before");
    // It may go to any node from now on.
    let mut changed = served_by_n2(local(31_000));
    changed.handle(Input::Slices(Seen::Applied(on(&["n1", "n2"]))));
    changed.handle(Input::Services(Seen::Applied(service(None))));
    assert!(!waits(&mut changed, true));
}

#[test]
fn a_broken_object_is_set_aside_alone_and_named() {
    let mut world = world();
    assert_eq!(change(&mut world), Ok(()));
    world.handle(Input::Pools(Seen::Applied(pool("bad", "10.0.1.9"))));
    world.handle(Input::Advertisements(Seen::Applied(read(json!({
        "metadata": {"name": "bad"}, "spec": {"nodeSelectors": {}},
    })))));
    assert_eq!(world.update(), Some(vec![]));
    let problems: Vec<String> = world.configuration().problems.into_iter().collect();
    assert!(problems[0].starts_with("IPAddressPool \"bad\" is not used: "), "{problems:?}");
    assert!(problems[1].starts_with("L2Advertisement \"bad\" is not used: "), "{problems:?}");
    assert_eq!(world.configuration().live_nodes, ["n1".to_owned()].into());
    assert!(world.cover().contains("10.0.0.77".parse().unwrap()));
}

#[test]
fn a_node_has_a_speaker_while_that_ones_state_is_there() {
    let mut world = world();
    let speakers = |world: &mut World| {
        world.update();
        let with = |member: &ferrolb_core::election::Member| member.speaker.then(|| member.name.to_string());
        world.roster().iter().filter_map(|(_, member)| with(member)).collect::<Vec<_>>()
    };
    assert_eq!(speakers(&mut world), [] as [&str; 0]);
    world.handle(Input::States(Seen::Listed(vec![state("n1", "True")])));
    assert_eq!(speakers(&mut world), ["n1"]);
    let unfit = |world: &World| world.roster().iter().any(|(_, member)| member.unfit);
    world.handle(Input::States(Seen::Applied(state("n1", "False"))));
    assert!(speakers(&mut world) == ["n1"] && unfit(&world));
    let keyless = |world: &World| world.roster().iter().any(|(_, member)| member.keyless);
    assert!(!keyless(&world));
    let mut waiting = state("n1", "False");
    waiting
        .status
        .iter_mut()
        .flat_map(|it| &mut it.conditions)
        .for_each(|it| it.type_ = "HelloKeyLoaded".to_owned());
    world.handle(Input::States(Seen::Applied(waiting)));
    assert!(keyless(&world) && !unfit(&world));
    world.handle(Input::States(Seen::Deleted(state("n1", "False"))));
    assert!(speakers(&mut world).is_empty() && !unfit(&world));
}

/// Ten thousand names twice are a megabyte.
#[test]
fn a_service_has_one_name_whatever_is_seen_first() {
    let one_name = |world: &World| {
        let key = ServiceKey::new("shop", SERVICE);
        Arc::ptr_eq(world.elector.key(&key).expect("a Service"), world.slices.key(&key).expect("its slice"))
    };
    let mut world = world();
    assert!(one_name(&world), "the slice was first");
    world.handle(Input::Slices(Seen::Deleted(slice())));
    world.handle(Input::Slices(Seen::Applied(slice())));
    assert!(one_name(&world), "the Service was first");
    world.handle(Input::Services(Seen::Applied(service(Some("other")))));
    world.handle(Input::Services(Seen::Applied(service(None))));
    assert!(one_name(&world), "it was another class's for a while");
    for _ in 0..2 {
        world.handle(Input::Slices(Seen::Listed(vec![slice()])));
        assert!(one_name(&world), "slices are listed anew");
        world.handle(Input::Services(Seen::Listed(vec![service(None)])));
        assert!(one_name(&world), "Services are listed anew");
    }
}
