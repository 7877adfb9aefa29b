//! `kubectl ferrolb` in a real cluster of three nodes: what it says of one that is well, and each check of the doctor, made to
//! fail and mended again.
//!
//! Not brought about here, as a cluster does not do that at a test's wish: an API server that is too old (`api-version`), a
//! program that was started anew many times (`restarts`), and one that stood still (`pauses`). For those there are
//! made-up clusters in `plugin/tests/doctor.rs`, as for all.

#[path = "../support/mod.rs"]
mod support;

mod checks;
mod tool;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ferrolb_tests::lab::progress::wait;
use ferrolb_tests::lab::{LabError, process};
use ferrolb_tests::plane::Plane;
use ferrolb_tests::scene::{SYSTEM, heard};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use support::{answering, block_on, in_cluster, left_out, on_wire};
use tool::Tool;

#[test]
fn status_shows_pools_services_and_who_hears_whom() {
    in_cluster("plugin-status", async |scene| {
        heard(&scene.lab).await?;
        let tool = Tool::of(&scene.lab)?;
        scene.pool("10.10.0.200-10.10.0.203").await?;
        scene.echo("web").create().await?;
        scene.service("web").create().await?;
        let address = on_wire(ferrolb_tests::host::ipv4(scene.address("web").await?))?;
        let owner = answering(&scene, address).await?;
        let shown = wait("status to show all of it", 30, async || {
            let (code, said, err) = tool.run(&["status", "-o", "json"]);
            let shown: Value =
                serde_json::from_str(&said).map_err(|error| format!("{error}: {said}{err}"))?;
            if code == 0 { Ok(shown) } else { Err(format!("exit code {code}: {said}")) }
        })
        .await?;
        let of = |list: &str, name: &str| -> Value {
            let all = shown[list].as_array().expect("a list");
            all.iter()
                .find(|one| one["name"] == name)
                .unwrap_or_else(|| panic!("no {name} in {shown:#}"))
                .clone()
        };
        let web = of("services", "web");
        assert_eq!((&web["state"], &web["pool"]), (&json!("Announced"), &json!("plugin-status")), "{web:#}");
        assert_eq!(web["owners"][0]["node"], json!(owner), "{web:#}");
        let usage = &of("pools", "plugin-status")["usage"][0];
        assert_eq!((&usage["used"], &usage["size"]), (&json!(1), &json!(4)));
        for (name, others) in [("node1", ["node2", "node3"]), ("node2", ["node1", "node3"])] {
            let node = of("nodes", name);
            let lan = node["links"].as_array().expect("links").iter().find(|link| link["name"] == "eth0");
            assert_eq!(lan.expect("eth0")["hears"], json!(others), "{node:#}");
            assert_eq!(node["proxy"], "Healthy");
        }
        let (code, said, _) = tool.run(&["status"]);
        assert_eq!(code, 0, "{said}");
        assert!(
            said.contains("█") && said.contains("plugin-status/web") && said.contains("hears node2, node3"),
            "{said}"
        );

        // One that waits: the exit code says so.
        scene.service("waits").annotated("metallb.io/address-pool", "none").create().await?;
        wait("status to say why", 30, async || {
            let (code, said, _) = tool.run(&["status"]);
            let fine = code == 1 && said.contains("plugin-status/waits") && said.contains("does not exist");
            if fine { Ok(()) } else { Err(format!("exit code {code}: {said}")) }
        })
        .await
    });
}

#[test]
fn explain_follows_a_packet_to_where_it_ends() {
    in_cluster("plugin-explain", async |scene| {
        let tool = Tool::of(&scene.lab)?;
        scene.pool("10.10.0.210-10.10.0.211").await?;
        scene.echo("web").replicas(2).create().await?;
        scene.service("web").create().await?;
        let address = scene.address("web").await?;
        let owner = answering(&scene, on_wire(ferrolb_tests::host::ipv4(address))?).await?;
        on_wire(scene.client_host()?.ask_until(SocketAddr::new(address, 80), 30))?;
        let order = ferrolb_tests::scene::election_order(&scene.lab, &address.to_string());
        let explained = wait("the path", 30, async || {
            let (code, said, err) = tool.run(&["explain", "plugin-explain/web"]);
            if code == 0 { Ok(said) } else { Err(format!("exit code {code}: {said}{err}")) }
        })
        .await?;
        for said in [
            "10.10.0.210 of IPAddressPool plugin-explain".to_owned(),
            format!("{owner} on eth0"),
            format!("the order: {}", order.join(", ")),
            "its service proxy is healthy".to_owned(),
            "2 of 2 serve".to_owned(),
        ] {
            assert!(explained.contains(&said), "{said}\nis not in\n{explained}");
        }
        let ends = async |service: &str, step: &str, says: &str| {
            wait(&format!("{service} to end at {step}"), 60, async || {
                let (code, said, err) = tool.run(&["explain", "-n", "plugin-explain", service, "-o", "json"]);
                let path: Value =
                    serde_json::from_str(&said).map_err(|error| format!("{error}: {said}{err}"))?;
                let last =
                    path["steps"].as_array().and_then(|steps| steps.last()).cloned().unwrap_or_default();
                let fine =
                    code == 1 && last["name"] == step && last["verdict"] == "Ends" && said.contains(says);
                if fine { Ok(()) } else { Err(format!("exit code {code}: {path:#}")) }
            })
            .await
        };
        scene.service("nobody").create().await?;
        ends("nobody", "owner", "has no serving endpoint").await?;
        scene.service("third").create().await?;
        ends("third", "address", "every IPv4 address is in use").await?;
        let (code, _, err) = tool.run(&["explain", "-n", "plugin-explain", "missing"]);
        assert!(code == 2 && err.contains("there is no Service plugin-explain/missing"), "{code}: {err}");
        Ok(())
    });
}

#[test]
fn a_support_bundle_has_logs_and_what_speakers_hear_and_no_key() {
    in_cluster("plugin-bundle", async |scene| {
        heard(&scene.lab).await?;
        let tool = Tool::of(&scene.lab)?;
        let folder = tempfile::tempdir().map_err(LabError::at("a folder"))?;
        let file = folder.path().join("bundle.tar.gz");
        let (code, said, err) = tool.run(&["support-bundle", "--file", &file.display().to_string()]);
        assert_eq!(code, 0, "{said}{err}");
        let get = |path: &str| {
            process::run(scene.lab.kubectl().args([
                "-n",
                SYSTEM,
                "get",
                "secret",
                "ferrolb-hello",
                "-o",
                path,
            ]))
        };
        let key = get(r"jsonpath={.data.first\.key}")?;
        assert_eq!(key.len(), 44, "a key of 32 bytes");
        let packed = std::fs::File::open(&file).map_err(LabError::at(&file))?;
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
        let (mut names, mut speakers) = (Vec::new(), String::new());
        for entry in on_wire(archive.entries())? {
            let mut entry = on_wire(entry)?;
            let name = on_wire(entry.path().map(|path| path.display().to_string()))?;
            let mut content = String::new();
            on_wire(std::io::Read::read_to_string(&mut entry, &mut content))?;
            assert!(!content.contains(&key), "the key is in {name}");
            assert!(!content.contains("-----BEGIN"), "a certificate or key is in {name}");
            assert!(!content.contains("eyJhbGci"), "a token is in {name}");
            if name.ends_with("/speakers.json") {
                speakers = content;
            }
            names.push(name);
        }
        for part in [
            "/logs/ferrolb-controller-",
            "/logs/ferrolb-speaker-",
            "/metrics/ferrolb-speaker-",
            "/doctor.txt",
        ] {
            assert!(names.iter().any(|name| name.contains(part)), "{part} is not in {names:#?}");
        }
        assert!(speakers.contains("\"peers\"") && speakers.contains("node3"), "{speakers}");
        Ok(())
    });
}

/// How many Services the figure is about.
const MANY: usize = 10_000;

/// `status` with ten thousand Services, on a control plane alone: seconds, and memory of the program.
#[test]
#[ignore = "takes minutes: make test-full"]
fn status_of_ten_thousand_services() {
    if !nix::unistd::geteuid().is_root() {
        left_out("the lab needs root");
        return;
    }
    let plane = Plane::anew("testplugin", env!("CARGO_BIN_EXE_lab").as_ref()).expect("a control plane");
    plane.apply_crds().expect("definitions");
    block_on(async {
        let client = plane.lab.client().await.expect("a client");
        let api: Api<Service> = Api::namespaced(client, "default");
        stream::iter(0..MANY)
            .for_each_concurrent(16, |n| {
                let api = api.clone();
                async move {
                    let name = format!("s{n:05}");
                    let service = json!({"metadata": {"name": name}, "spec": {"type": "LoadBalancer",
                        "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80}]}});
                    let service = serde_json::from_value(service).expect("a Service");
                    api.create(&PostParams::default(), &service).await.expect("a Service is created");
                    let address = format!("10.32.{}.{}", n / 250, n % 250);
                    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": address}]}}});
                    let written =
                        api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await;
                    written.expect("it gets an address");
                }
            })
            .await;
    });
    let tool = Tool::of(&plane.lab).expect("the plugin");
    let mut times = Vec::new();
    for _ in 0..3 {
        let began = Instant::now();
        let (memory, said) = tool.measured(&["status", "-o", "json"]).expect("a status");
        times.push((began.elapsed(), memory));
        let shown: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(shown["counts"]["services"], json!(MANY));
    }
    println!("kubectl ferrolb status -o json with {MANY} Services (seconds, MB at most):");
    for (time, memory) in &times {
        println!("  {:.2} s, {:.1} MB", time.as_secs_f64(), *memory as f64 / 1024.0);
    }
    assert!(times.iter().all(|(time, _)| *time < Duration::from_secs(30)), "{times:?}");
}
