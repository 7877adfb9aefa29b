//! Plans of made-up clusters, each against the text beside it; and that the steps are those of docs/migrate.md.
//!
//! `FERROLB_WRITE_GOLDEN=1 cargo test -p ferrolb-plugin` writes the texts anew.

mod support;

use ferrolb_crds::names;
use ferrolb_fake_api::{Fault, On, Verb, Weather};
use ferrolb_plugin::migrate::{Plan, cluster};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::Service;
use serde_json::json;

use support::{api, change, file, load};

async fn plan(parts: &[&str]) -> Plan {
    Plan::of(&cluster(&load(parts).client(), None).await.expect("a cluster"))
}

fn golden(name: &str, plan: &Plan) {
    let (path, text) = (file(&format!("{name}.txt")), plan.to_string());
    if std::env::var_os("FERROLB_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &text).expect("a file");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == expected, "{path} is not what is said now:\n{text}");
}

const MANIFEST: [&str; 3] = ["definitions", "services", "manifest"];

#[tokio::test]
async fn metallb_from_its_manifest() {
    golden("manifest", &plan(&MANIFEST).await);
}

#[tokio::test]
async fn metallb_from_helm_with_bgp_and_settings_in_another_namespace() {
    golden("helm", &plan(&["definitions", "services", "helm"]).await);
}

#[tokio::test]
async fn a_cluster_without_metallb() {
    golden("nothing", &plan(&["services"]).await);
}

#[tokio::test]
async fn half_way() {
    let api = load(&MANIFEST);
    change(&api, "Deployment", "controller", |deployment| deployment["spec"]["replicas"] = json!(0));
    change(&api, "CustomResourceDefinition", "bgppeers.metallb.io", |crd| crd["spec"] = json!({}));
    change(&api, "ValidatingWebhookConfiguration", "metallb-webhook-configuration", |hooks| {
        hooks["webhooks"] = json!([]);
    });
    for document in support::documents("ferrolb") {
        api.put(document);
    }
    golden("half-way", &Plan::of(&cluster(&api.client(), None).await.unwrap()));
}

#[tokio::test]
async fn ferrolb_alone_with_a_webhook_left_behind() {
    let api = load(&["definitions", "services", "manifest", "ferrolb"]);
    assert!(api.remove::<Deployment>("metallb-system", "controller"));
    assert!(api.remove::<DaemonSet>("metallb-system", "speaker"));
    golden("ferrolb-alone", &Plan::of(&cluster(&api.client(), None).await.unwrap()));
}

#[tokio::test]
async fn what_may_not_be_read_is_said_and_the_rest_is_planned() {
    let (api, weather) = (load(&MANIFEST), Weather::new());
    for refused in
        ["validatingwebhookconfigurations", "customresourcedefinitions", "l2advertisements", "nodes"]
    {
        let verb = if refused.starts_with("custom") { Verb::Get } else { Verb::List };
        weather.add(On::verb(verb).resource(refused), Fault::status(403));
    }
    golden("refused", &Plan::of(&cluster(&weather.client(api), None).await.unwrap()));
}

#[tokio::test]
async fn the_steps_are_those_of_the_documentation() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/migrate.md")).unwrap();
    let section = |heading: &str| {
        let start = text.find(heading).unwrap_or_else(|| panic!("no heading {heading:?}")) + heading.len();
        let rest = &text[start..];
        let section = &rest[..rest.find("\n##").unwrap_or(rest.len())];
        let blocks = section.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
        blocks.flat_map(|block| block.lines().map(str::to_owned)).collect::<Vec<_>>()
    };
    let steps = plan(&MANIFEST).await.steps;
    assert_eq!(steps.len(), 8);
    for step in &steps[1..7] {
        assert_eq!(step.commands, section(&format!("### {}\n", step.title)), "{}", step.title);
    }
    let released = plan(&["definitions", "services", "chart"]).await.steps;
    for (n, step) in released.iter().enumerate().take(7).skip(1) {
        let heading = if (3..=6).contains(&n) { "### Helm " } else { "### " };
        // A command of several lines writes a file.
        let commands: Vec<_> = step.commands.iter().flat_map(|command| command.lines()).collect();
        assert_eq!(commands, section(&format!("{heading}{}\n", step.title)), "{}", step.title);
    }
    assert_eq!(steps[7], released[7]);
    let values = section("### Helm 0. Keep a copy of the values too");
    assert_eq!(released[0].commands, [&steps[0].commands[..], &values].concat());
    let others = [section("## What stays and what does not"), section("### 7. Compare")].concat();
    let commands = steps[0].commands.iter().chain(&steps[7].commands);
    for command in commands.filter(|command| !command.contains("ferrolb migrate")) {
        assert!(others.contains(command), "{command}");
    }
}

#[tokio::test]
async fn a_namespace_can_be_chosen_and_a_tool_that_undoes_steps_is_named() {
    let api = load(&["definitions", "manifest", "helm"]);
    change(&api, "DaemonSet", "speaker", |speaker| {
        speaker["metadata"]["annotations"] =
            json!({"argocd.argoproj.io/tracking-id": "lb:apps/DaemonSet:x/speaker"});
    });
    let client = api.client();
    let plan = Plan::of(&cluster(&client, None).await.unwrap());
    assert_eq!(plan.metallb.unwrap().namespace, "edge");
    assert!(plan.notes[0].starts_with("MetalLB is in namespaces edge, metallb-system."), "{:?}", plan.notes);
    let plan = Plan::of(&cluster(&client, Some("metallb-system")).await.unwrap());
    assert_eq!(plan.metallb.unwrap().namespace, "metallb-system");
    assert!(plan.notes[1].starts_with("Argo CD (Application lb) keeps MetalLB"), "{:?}", plan.notes);
}

#[tokio::test]
async fn nodes_without_a_speaker_are_told_only_while_they_would_announce() {
    let api = load(&MANIFEST);
    let node =
        |labels| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n3", "labels": labels}});
    api.put(node(json!({})));
    let found = cluster(&api.client(), None).await.unwrap();
    assert_eq!(found.without_speaker, ["n3"]);
    let step = &Plan::of(&found).steps[4];
    assert_eq!(step.commands[0], format!("kubectl label node n3 {}=", names::EXCLUDE_NODE));
    api.put(node(json!({names::EXCLUDE_NODE: ""})));
    assert!(cluster(&api.client(), None).await.unwrap().without_speaker.is_empty());
}

#[tokio::test]
async fn step_4_is_done_only_with_both_of_ferrolb_in_metallbs_namespace() {
    let done = async |change: fn(&ferrolb_fake_api::ApiServer)| {
        let api = load(&["definitions", "manifest", "ferrolb"]);
        change(&api);
        Plan::of(&cluster(&api.client(), None).await.unwrap()).steps[4].done
    };
    assert!(done(|_| {}).await);
    assert!(!done(|api| assert!(api.remove::<DaemonSet>("metallb-system", "ferrolb-speaker"))).await);
    let elsewhere = |api: &ferrolb_fake_api::ApiServer| {
        assert!(api.remove::<DaemonSet>("metallb-system", "ferrolb-speaker"));
        let mut speaker = support::documents("ferrolb").remove(1);
        speaker["metadata"]["namespace"] = json!("other");
        api.put(speaker);
    };
    assert!(!done(elsewhere).await);
}

/// Step 4 writes an overlay with MetalLB's namespace. kustomize carries it into the subject of a binding only where that has
/// the very namespace and name of a ServiceAccount.
#[test]
fn an_overlays_namespace_reaches_the_subjects_of_our_bindings() {
    for file in ["controller", "speaker"] {
        let path = format!("{}/../config/rbac/{file}.yaml", env!("CARGO_MANIFEST_DIR"));
        let objects: Vec<serde_json::Value> =
            serde_saphyr::from_multiple(&std::fs::read_to_string(path).unwrap()).unwrap();
        let accounts = objects.iter().filter(|object| object["kind"] == "ServiceAccount");
        let accounts: Vec<_> =
            accounts.map(|object| (&object["metadata"]["namespace"], &object["metadata"]["name"])).collect();
        let subjects = objects.iter().filter_map(|object| object["subjects"].as_array()).flatten();
        let subjects: Vec<_> = subjects.map(|subject| (&subject["namespace"], &subject["name"])).collect();
        assert_eq!(subjects.len(), 2);
        assert!(subjects.iter().all(|subject| accounts.contains(subject)), "{accounts:?} {subjects:?}");
    }
}

#[tokio::test]
async fn thousands_of_services_are_read_in_pages_and_json_names_all() {
    let api = api();
    for n in 0..1201 {
        api.put(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "many", "name": format!("s{n:04}")},
            "spec": {"type": "LoadBalancer"},
            "status": {"loadBalancer": {"ingress": [{"ip": format!("10.20.{}.{}", n / 250, n % 250)}]}},
        }));
    }
    let weather = Weather::new();
    let plan = Plan::of(&cluster(&weather.client(api.clone()), None).await.unwrap());
    assert_eq!(plan.kept.services.len(), 1201);
    assert!(plan.to_string().contains("and 1181 more: -o json names all"));
    assert!(serde_json::to_string(&plan).unwrap().contains("many/s1200"));
    let lists = api.requests();
    assert_eq!(lists.get(&(Verb::List, "services".to_owned())), Some(&3));
    assert_eq!(api.all::<Service>().len(), 1201);
}
