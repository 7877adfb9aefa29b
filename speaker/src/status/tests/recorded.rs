//! A speaker of this version that begins in the Pod of one of an earlier version (`tests/fixtures/VERSION/cluster.json`): what
//! that one wrote is what this one would write, so nothing is written.

use ferrolb_crds::ADDRESS_CONFLICT;
use ferrolb_fake_api::Recorded;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::*;
use crate::report::Conflict;

/// The nodes of the recorded clusters.
const NODES: [&str; 3] = ["node1", "node2", "node3"];

/// A server with the statuses of all speakers.
fn recorded_server(recorded: &Recorded) -> ApiServer {
    let api = server();
    recorded.put(&api, &["ServiceL2Status", "ConfigurationState"]);
    api
}

/// The Pod of the speaker of this node.
fn pod(recorded: &Recorded, node: &str) -> PodRef {
    let states = recorded.read::<ConfigurationState>("ConfigurationState");
    let own = states.iter().find(|state| state.name_any() == names::state(node));
    let owner = own.expect("the state of the node's speaker").owner_references()[0].clone();
    PodRef { name: owner.name, uid: owner.uid }
}

/// The conflict that a node's status of a Service tells of.
fn conflict(recorded: &Recorded, node: &str, service: &str) -> Option<Arc<Conflict>> {
    let of = |status: &ServiceL2Status| {
        let status = status.status.clone().unwrap_or_default();
        let same =
            status.node == node && format!("{}/{}", status.service_namespace, status.service_name) == service;
        let is = |condition: &Condition| condition.type_ == ADDRESS_CONFLICT && condition.status == "True";
        status.conditions.into_iter().find(|condition| same && is(condition))
    };
    let condition = recorded.read::<ServiceL2Status>("ServiceL2Status").iter().find_map(of)?;
    let since = condition.last_transition_time.0.as_second();
    Some(Arc::new(Conflict { held_back: condition.reason == "HeldBack", words: condition.message, since }))
}

/// The speaker of `node`, which announces what was answered for by that node.
fn speaker(recorded: &Recorded, node: &str, api: ApiServer) -> World {
    let world = World::of(api, node, pod(recorded, node));
    world.nodes(&NODES);
    let services = recorded.means("services").as_object().expect("by name");
    let lists = |value: &Value, name: &str| value.as_array().expect("a list").iter().any(|item| item == name);
    let mut own = 0;
    for (name, means) in services.iter().filter(|(_, means)| lists(&means["nodes"], node)) {
        let (namespace, short) = name.split_once('/').expect("namespace and name");
        let on = means["interfaces"].as_array().expect("a list").iter().filter_map(Value::as_str);
        let on: Vec<&str> = on.collect();
        let announced = Some(Announced::On(interfaces(&on)));
        let key = Arc::new(ServiceKey::new(namespace, short));
        world.board.stand(key, format!("uid of {name}").into(), announced, conflict(recorded, node, name));
        own += 1;
    }
    assert!(own > 0, "{}: {node} answered for nothing", recorded.version);
    world.configure(&[], Proxy::Healthy);
    world.board.complete();
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_version_wrote_is_not_written_anew() {
    for recorded in Recorded::all() {
        let quiet = NODES.map(|node| {
            let recorded = &recorded;
            async move {
                let world = speaker(recorded, node, recorded_server(recorded));
                world.watches().await;
                world.is_quiet().await;
                assert_eq!(world.writes(), 0, "{}, {node}: {:?}", recorded.version, world.api.writes());
                // It would have written: it does so as soon as there is a reason.
                world.configure(&["something is wrong"], Proxy::Healthy);
                eventually(|| world.writes() > 0, || format!("{:?}", world.weather.calls())).await;
                world.end().await;
            }
        });
        futures::future::join_all(quiet).await;
    }
}

/// The test above sees what it is to see.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_understood_is_written_anew() {
    let recorded = Recorded::all().remove(0);
    let api = recorded_server(&recorded);
    let mut own = recorded.of("ServiceL2Status").into_iter().cloned();
    let mut one = own.find(|status| status["status"]["node"] == NODES[0]).expect("a status of the node");
    one["status"]["interfaces"] = json!([{"name": "eth9"}]);
    api.put(one.clone());
    let world = speaker(&recorded, NODES[0], api);
    let name = one["metadata"]["name"].as_str().expect("a name");
    let found = || {
        let status: ServiceL2Status = world.api.get(SYSTEM, name)?;
        Some(status.status?.interfaces.iter().map(|it| it.name.clone()).collect::<Vec<_>>())
    };
    eventually(|| found().is_none_or(|on| on != ["eth9"]), || format!("{:?}", found())).await;
    world.end().await;
}
