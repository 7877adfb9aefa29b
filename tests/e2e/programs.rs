//! The programs themselves, against a control plane without nodes: what they say, how they wait, how they end.

mod support;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ferrolb_tests::lab::programs;
use ferrolb_tests::lab::progress::{Progress, wait};
use ferrolb_tests::plane::{Plane, project};
use ferrolb_tests::program::{self, Launch};
use ferrolb_tests::scene::{SYSTEM, Scene, shown};
use serde_json::json;

use support::{block_on, left_out};

const LAB: &str = "testp";

/// A control plane that is taken down at the end, also of a failed test.
struct ControlPlane(Plane);

impl ControlPlane {
    fn up() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            left_out("the lab needs root");
            return None;
        }
        let plane = Plane::anew(LAB, Path::new(env!("CARGO_BIN_EXE_lab")));
        Some(ControlPlane(plane.expect("a control plane")))
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        self.0.kubectl(arguments).expect("kubectl")
    }

    fn apply_crds(&self) {
        self.0.apply_crds().expect("the definitions");
    }

    fn kubeconfig(&self) -> PathBuf {
        self.0.lab.paths.kubeconfig()
    }
}

/// One of our programs, for tests that wait in line.
struct Program(program::Program);

impl Program {
    fn start(name: &str, kubeconfig: &Path, port: u16, flags: &[&str]) -> Self {
        let folder = programs::ferrolb_programs(&Progress::default()).expect("the programs");
        let launch = Launch::new(&folder.join(name), kubeconfig).expect("a port");
        Program(launch.port(port).flags(flags).start().expect("the program"))
    }

    fn says(&self, words: &str) {
        if let Err(error) = block_on(self.0.says(words)) {
            panic!("{error}");
        }
    }

    fn get(&self, path: &str) -> String {
        self.0.get(path)
    }

    fn answers(&self, path: &str, status: &str) -> String {
        block_on(self.0.answers(path, status)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Sends SIGTERM and returns how long the program took to end.
    fn end(self) -> Duration {
        let (status, took) = self.0.end().expect("it was running");
        assert!(status.success(), "{status}");
        took
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port()
}

#[test]
fn the_programs_wait_for_what_is_missing_and_end_when_asked() {
    let Some(plane) = ControlPlane::up() else { return };
    let kubeconfig = plane.kubeconfig();

    // No definitions yet, and the port is taken.
    let busy = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = busy.local_addr().expect("a port").port();
    let controller = Program::start("ferrolb-controller", &kubeconfig, port, &[]);
    controller.says("the API server does not know ipaddresspools.metallb.io: kubectl apply -f crds/");
    controller.says("free the port or choose another by --admin-port");
    drop(busy);
    let late = controller.answers("/readyz", "503");
    assert!(late.contains("ipaddresspools"), "{late}");
    controller.answers("/healthz", "200");

    // The definitions come later, and it goes on by itself.
    plane.apply_crds();
    controller.says("watching again");
    controller.answers("/readyz", "200");
    block_on(async {
        let scene = Scene::in_lab(&plane.0.lab, "late").await.expect("a scene");
        scene.pool("10.10.0.200/32").await.expect("a pool");
        scene.service("web").create().await.expect("a Service");
        assert_eq!(scene.address("web").await.expect("an address").to_string(), "10.10.0.200");
        let metrics = controller.get("/metrics");
        assert!(metrics.contains("metallb_allocator_addresses_in_use_total{pool=\"late\"} 1"), "{metrics}");

        // Somebody clears the status by hand; what is missing comes back.
        let patch = kube::api::Patch::Merge(json!({"status": {"loadBalancer": {"ingress": null}}}));
        let services = scene.services();
        services.patch_status("web", &kube::api::PatchParams::default(), &patch).await.expect("a patch");
        scene.address("web").await.expect("the address again");

        // A Service that becomes another type loses what we wrote.
        let patch = kube::api::Patch::Merge(json!({"spec": {"type": "ClusterIP"}}));
        services.patch("web", &kube::api::PatchParams::default(), &patch).await.expect("a patch");
        wait("the Service to be released", 30, async || {
            let now = services.get("web").await.map_err(|error| error.to_string())?;
            let annotations = now.metadata.annotations.clone().unwrap_or_default();
            if shown(&now).is_empty() && annotations.is_empty() {
                Ok(())
            } else {
                Err(format!("{annotations:?}"))
            }
        })
        .await
        .expect("released");
    });

    let took = controller.end();
    assert!(took < Duration::from_secs(1), "SIGTERM took {took:?}");

    let speaker = Program::start("ferrolb-speaker", &kubeconfig, free_port(), &["--node-name", "node1"]);
    speaker.answers("/readyz", "200");
    let took = speaker.end();
    assert!(took < Duration::from_secs(1), "SIGTERM took {took:?}");
}

#[test]
fn a_missing_permission_is_named() {
    let Some(plane) = ControlPlane::up() else { return };
    plane.apply_crds();
    let text = std::fs::read_to_string(plane.kubeconfig()).expect("the kubeconfig");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("the kubeconfig");
    config["users"][0]["user"]["as"] = json!("system:serviceaccount:metallb-system:ferrolb-controller");
    let file = plane.0.lab.paths.root().join("as-controller.kubeconfig");
    std::fs::write(&file, config.to_string()).expect("a kubeconfig");

    let controller = Program::start("ferrolb-controller", &file, free_port(), &[]);
    controller.says("not allowed to read services: apply config/rbac");
    let late = controller.answers("/readyz", "503");
    assert!(late.contains("services"), "{late}");
    plane.kubectl(&["apply", "-k", project("config/rbac").to_str().expect("a path"), "-n", SYSTEM]);
    controller.answers("/readyz", "200");
    controller.end();
}
