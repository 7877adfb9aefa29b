//! A support bundle: what is in it, and that no secret is.

mod support;

use std::io::Read;

use ferrolb_fake_api::{Fault, On, Verb, Weather};
use ferrolb_plugin::bundle::{archive, collect};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use support::running::{SECRETS, SYSTEM, running};

#[tokio::test]
async fn it_has_what_is_needed_and_no_secret() {
    let api = running();
    api.put(json!({"apiVersion": "metallb.io/v1beta2", "kind": "BGPPeer", "metadata": {"name": "router",
        "namespace": SYSTEM}, "spec": {"myASN": 1, "password": SECRETS[1], "passwordSecret": {"name": "bgp"}}}));
    api.put(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-proxy", "namespace": "kube-system"},
        "data": {"config.conf": format!("mode: nftables\npassword={}\n", SECRETS[1]), "kubeconfig.conf": SECRETS[1]}}));
    let now = Timestamp::now();
    // This server answers for a log with the pod.
    let weather = Weather::new();
    weather.add(On::verb(Verb::Get).resource("pods/log"), Fault::status(404));
    let files = collect(&weather.client(api), None, 100, now).await.expect("files");
    for name in [
        "about.txt",
        "doctor.json",
        "doctor.txt",
        "status.json",
        "status.txt",
        "speakers.json",
        "kube-proxy.yaml",
        "objects/ipaddresspools.json",
        "objects/servicel2statuses.json",
        "objects/services.json",
        "objects/pods.json",
        "objects/nodes.json",
        "objects/definitions.json",
        "objects/leases-of-nodes.json",
        "objects/bgppeers.json",
    ] {
        assert!(files.contains_key(name), "{name} is not in {:?}", files.keys());
    }
    assert!(!files.keys().any(|name| name.contains("secret")), "{:?}", files.keys());

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bundle.tar.gz");
    archive(&files, "ferrolb-support", now, std::fs::File::create(&file).unwrap()).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(std::fs::File::open(&file).unwrap()));
    let mut read = 0;
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        for secret in SECRETS {
            assert!(!content.contains(secret), "{secret} is in {name}");
        }
        read += 1;
    }
    assert_eq!(read, files.len());
    let peers = String::from_utf8(files["objects/bgppeers.json"].clone()).unwrap();
    assert!(peers.contains("\"passwordSecret\"") && peers.contains("(removed)"), "{peers}");
}

#[tokio::test]
async fn what_cannot_be_had_is_named_and_the_rest_is_there() {
    let weather = Weather::new();
    for refused in ["pods", "daemonsets", "nodes"] {
        weather.add(On::verb(Verb::List).resource(refused), Fault::status(403));
    }
    let files = collect(&weather.client(running()), None, 100, Timestamp::now()).await.expect("files");
    let lacking = String::from_utf8(files["not-collected.txt"].clone()).unwrap();
    assert!(
        lacking.contains("you may not read pods") && lacking.contains("you may not read Nodes"),
        "{lacking}"
    );
    assert!(files.contains_key("objects/ipaddresspools.json"));
}
