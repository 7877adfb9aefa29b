//! A real API server: what the one in memory is held against, and bad weather in front of it.

#[path = "../api/tests/behaviour/mod.rs"]
mod behaviour;
mod support;

use std::process::Command;

use ferrolb_tests::lab::{Lab, Paths, process};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::{conditions, wait::await_condition};
use kube::{Api, Client};
use serde_json::json;

use behaviour::{WIDGET, from};
use support::{block_on, left_out};

const LAB: &str = "hapi";

/// A control plane that is taken down at the end, also of a failed test.
struct ControlPlane(Lab);

impl ControlPlane {
    fn up() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            left_out("the lab needs root");
            return None;
        }
        // An earlier run that was killed may have left one.
        ferrolb_tests::lab::down::down(&Paths::of(LAB)).expect("nothing in the way");
        let mut up = Command::new(env!("CARGO_BIN_EXE_lab"));
        process::run(up.args(["--name", LAB, "up", "--nodes", "0"])).expect("a control plane");
        Some(ControlPlane(Lab::attach(LAB).expect("the lab")))
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let _ = ferrolb_tests::lab::down::down(&Paths::of(LAB));
    }
}

/// The custom kind of the behaviours.
async fn install_widgets(client: &Client) {
    let (group, version, kind, plural) = WIDGET;
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": open, "status": open}}});
    let crd: CustomResourceDefinition = from(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural, "singular": "widget"},
            "versions": [{"name": version, "served": true, "storage": true, "schema": schema, "subresources": {"status": {}}}],
        },
    }));
    let name = format!("{plural}.{group}");
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    crds.patch(&name, &PatchParams::apply("tests"), &Patch::Apply(&crd)).await.expect("the CRD");
    let established = await_condition(crds, &name, conditions::is_crd_established());
    tokio::time::timeout(std::time::Duration::from_secs(30), established)
        .await
        .expect("soon")
        .expect("the CRD");
}

async fn namespace(client: &Client, name: &str) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let object = from(json!({"metadata": {"name": name}}));
    namespaces.create(&PostParams::default(), &object).await.expect("the namespace");
}

#[test]
fn the_server_in_memory_is_like_the_real_one() {
    let Some(control_plane) = ControlPlane::up() else { return };
    block_on(async {
        let client = control_plane.0.client().await.expect("a client");
        install_widgets(&client).await;
        namespace(&client, "behaviour").await;
        behaviour::all(&client, "behaviour").await;
    });
}
