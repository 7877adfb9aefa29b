//! In a cluster: a real Prometheus scrapes, each panel has data, an alert fires and ends; then the same by HTTPS.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ferrolb_tests::lab::progress::{Progress, wait};
use ferrolb_tests::lab::{Lab, LabError, process, prometheus_operator};
use ferrolb_tests::plane::project;
use ferrolb_tests::scene::{self, SYSTEM, Scene};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;

use crate::collector::Collector;
use crate::documents::expressions;
use crate::server::{Prometheus, Target};
use crate::support::cluster::Cluster;
use crate::support::{block_on, left_out};

const LAB: &str = "prom";

const TIMEOUT: &str = "--timeout=120s";

#[test]
#[ignore = "takes minutes: an alert waits before it fires"]
fn a_prometheus_reads_all_that_is_shown_and_an_alert_fires_and_ends() {
    if !nix::unistd::geteuid().is_root() {
        left_out("the lab needs root");
        return;
    }
    let outcome = block_on(async {
        let cluster = Cluster::up(LAB, &["--proxy", "nftables"])?;
        let tested = test(&cluster.lab).await;
        if tested.is_err() {
            let logs = ["-n", SYSTEM, "logs", "-l", "app=ferrolb", "--prefix", "--tail=40"];
            eprintln!("{}", process::run(cluster.lab.kubectl().args(logs)).unwrap_or_default());
        }
        tested
    });
    outcome.unwrap_or_else(|error: LabError| panic!("{error}"));
}

async fn test(lab: &Lab) -> Result<(), LabError> {
    scene::install(lab, &Progress::default()).await?;
    scene::heard(lab).await?;
    let scene = Scene::in_lab(lab, "metrics").await?;
    scene.pool("10.10.0.200-10.10.0.201").await?;
    scene.echo("web").create().await?;
    scene.service("web").create().await?;
    let address = scene.address("web").await?;
    let client = scene.client_host()?;
    client.ask_until((address, 80).into(), 60).map_err(LabError::at("the answer"))?;

    let folder = tempfile::tempdir().map_err(LabError::at("a temporary folder"))?;
    let targets = targets(&scene).await?;
    let server = Prometheus::start(lab, folder.path(), &targets, "")?;
    server.says_of_each(targets.len(), ": up").await?;
    let asking = async {
        loop {
            let _ = client.who_has(address, Duration::from_millis(20));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        () = asking => {}
        shown = shown(&server) => shown?,
    }
    full_pool(&scene, &server).await?;
    drop(server);
    by_https(lab, &scene).await?;
    traces(lab, &scene, address).await?;
    scene.end().await
}

/// All pods that are scraped, as the monitors have it: the port `admin` of the pod's address.
async fn targets(scene: &Scene) -> Result<Vec<Target>, LabError> {
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), SYSTEM);
    let list = ListParams::default().labels("app.kubernetes.io/name=ferrolb");
    let failed = |why: String| LabError::State(why);
    let pods = pods.list(&list).await.map_err(|error| failed(error.to_string()))?;
    let target = |pod: Pod| {
        let job = pod.metadata.labels?.get("app.kubernetes.io/component")?.clone();
        let ports = pod.spec?.containers.into_iter().next()?.ports?;
        let port = ports.into_iter().find(|port| port.name.as_deref() == Some("admin"))?.container_port;
        let address: IpAddr = pod.status?.pod_ip?.parse().ok()?;
        let address = SocketAddr::new(address, u16::try_from(port).ok()?).to_string();
        Some(Target { job, address })
    };
    let found: Vec<Target> = pods
        .items
        .into_iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .filter_map(target)
        .collect();
    let speakers = found.iter().filter(|target| target.job == "speaker").count();
    if speakers != usize::from(scene.lab.config.nodes) || found.len() != speakers + 1 {
        return Err(failed(format!("these pods are to be scraped: {found:?}")));
    }
    Ok(found)
}

/// Each query of each panel has data.
async fn shown(server: &Prometheus) -> Result<(), LabError> {
    let panels: Vec<(String, String)> = expressions()
        .into_iter()
        .filter(|(place, _)| place.starts_with("panel "))
        .flat_map(|(place, all)| all.into_iter().map(move |one| (place.clone(), one)))
        .collect();
    wait("data in each panel", 120, async || {
        let mut empty = Vec::new();
        for (place, expression) in &panels {
            // What Grafana puts in for this step.
            let expression = expression.replace("$__rate_interval", "30s");
            if server.query(&expression)?.is_empty() {
                empty.push(format!("{place}: {expression}"));
            }
        }
        if empty.is_empty() { Ok(()) } else { Err(empty.join("\n")) }
    })
    .await?;
    println!("{} queries of the dashboard have data", panels.len());
    Ok(())
}

/// The pool is full: the alert fires. It has more addresses: the alert ends.
async fn full_pool(scene: &Scene, server: &Prometheus) -> Result<(), LabError> {
    const ALERT: &str = "FerroLBAddressPoolExhausted";
    assert_eq!(server.alert(ALERT).map_err(LabError::State)?, None);
    let range = |last: u8| json!({"addresses": [format!("10.10.0.200-10.10.0.{last}")]});
    scene.change("IPAddressPool", &scene.namespace, &range(200)).await?;
    let full = Instant::now();
    let stands = async |how: Option<&str>| {
        wait(&format!("{ALERT} to be {how:?}"), 120, async || match server.alert(ALERT)? {
            state if state.as_deref() == how => Ok(()),
            state => Err(format!("{state:?}")),
        })
        .await
    };
    stands(Some("pending")).await?;
    stands(Some("firing")).await?;
    println!("{ALERT} fires {:.0} s after the pool was full", full.elapsed().as_secs_f64());
    // Nothing happened meanwhile but that watches came to their age, some of them twice.
    let quiet = ["-n", SYSTEM, "logs", "-l", "app=ferrolb", "--prefix", "--since=50s"];
    let logged = process::run(scene.lab.kubectl().args(quiet))?;
    assert_eq!(logged, "", "a quiet cluster is logged of");
    scene.change("IPAddressPool", &scene.namespace, &range(205)).await?;
    let roomy = Instant::now();
    stands(None).await?;
    println!("and ends {:.1} s after it had room", roomy.elapsed().as_secs_f64());
    Ok(())
}

/// By HTTPS who has the right reads, and nobody else, and nothing is in the clear.
async fn by_https(lab: &Lab, scene: &Scene) -> Result<(), LabError> {
    let kubectl = |arguments: &[&str]| process::run(lab.kubectl().args(arguments));
    for file in prometheus_operator::definitions()? {
        process::run(lab.kubectl().args(["apply", "--server-side", "-f"]).arg(&file))?;
    }
    for name in ["podmonitors", "servicemonitors", "prometheusrules"] {
        let name = format!("crd/{name}.monitoring.coreos.com");
        kubectl(&["wait", "--for=condition=Established", &name, "--timeout=60s"])?;
    }
    kubectl(&["create", "namespace", "monitoring"])?;
    for account in ["prometheus-k8s", "somebody"] {
        kubectl(&["-n", "monitoring", "create", "serviceaccount", account])?;
    }
    kubectl(&["apply", "-k", &project("config/metrics-https").to_string_lossy()])?;
    for workload in ["deployment/ferrolb-controller", "daemonset/ferrolb-speaker"] {
        kubectl(&["-n", SYSTEM, "rollout", "status", workload, TIMEOUT])?;
    }
    let secure = "  scheme: https\n  tls_config: {insecure_skip_verify: true}\n";
    let as_account = |account: &str| -> Result<String, LabError> {
        let token = kubectl(&["-n", "monitoring", "create", "token", account])?;
        Ok(format!("{secure}  authorization: {{credentials: {}}}\n", token.trim()))
    };
    let targets =
        wait("the old pods to be gone", 60, async || targets(scene).await.map_err(|error| error.to_string()))
            .await?;
    let cases = [
        (as_account("prometheus-k8s")?, ": up"),
        (as_account("somebody")?, "403 Forbidden"),
        (format!("{secure}  authorization: {{credentials: forged}}\n"), "401 Unauthorized"),
        (secure.to_owned(), "401 Unauthorized"),
        // In the clear there is nothing that an HTTP client could read.
        (String::new(), "/metrics\": \"Get"),
    ];
    for (how, words) in cases {
        let folder = tempfile::tempdir().map_err(LabError::at("a temporary folder"))?;
        let server = Prometheus::start(lab, folder.path(), &targets, &how)?;
        server.says_of_each(targets.len(), words).await?;
    }
    Ok(())
}

/// A collector is named: both programs send it what they did for a Service.
async fn traces(lab: &Lab, scene: &Scene, address: IpAddr) -> Result<(), LabError> {
    let kubectl = |arguments: &[&str]| process::run(lab.kubectl().args(arguments));
    let collector = Collector::start(lab)?;
    let variable = format!("FERROLB_TRACES_ENDPOINT=http://{}", collector.address);
    for workload in ["deployment/ferrolb-controller", "daemonset/ferrolb-speaker"] {
        kubectl(&["-n", SYSTEM, "set", "env", workload, &variable])?;
        kubectl(&["-n", SYSTEM, "rollout", "status", workload, TIMEOUT])?;
    }
    scene.service("traced").create().await?;
    let other = scene.address("traced").await?;
    assert_ne!(other, address);
    let expected =
        ["ferrolb-controller", "update Service", "metrics/traced", "ferrolb-speaker", "report Service"];
    wait("spans of both programs", 60, async || {
        let lacking: Vec<&str> = expected.into_iter().filter(|text| !collector.has(text)).collect();
        if lacking.is_empty() { Ok(()) } else { Err(format!("nothing came with {lacking:?}")) }
    })
    .await
}
