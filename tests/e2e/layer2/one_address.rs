//! `L2-01` to `L2-12`: one address, and whoever has it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use ferrolb_tests::host::Host;
use ferrolb_tests::lab::LabError;
use ferrolb_tests::lab::network::Network;
use ferrolb_tests::lab::progress::wait;
use ferrolb_tests::scene::SYSTEM;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use serde_json::json;

use crate::both_families;
use crate::stage::{EXCLUDE, Family, PATIENCE, Stage};
use crate::support::on_wire;

both_families! {
    l2_01_a_service_is_reached_from_outside = "l2-01" from 0: reached_from_outside;
    l2_02_a_status_names_the_announcing_node_stays_and_goes = "l2-02" from 1: status_names_the_node;
    l2_03_local_traffic_stays_on_the_node_that_answers = "l2-03" from 2: local_traffic_stays;
    l2_04_tcp_and_udp_on_one_address = "l2-04" from 3: tcp_and_udp;
    l2_05_an_unavailable_network_moves_the_address_and_back = "l2-05" from 4: unavailable_network;
    l2_06_the_exclude_label_moves_the_address_and_back = "l2-06" from 5: exclude_label;
    l2_07_a_pool_written_as_a_range = "l2-07" from 6: async |stage| {
        written(stage, &format!("{}-{}", stage.own(0), stage.own(1)), 2).await
    };
    l2_08_a_pool_written_as_a_cidr = "l2-08" from 8: async |stage| {
        let bits = if stage.family == Family::V4 { 30 } else { 126 };
        written(stage, &format!("{}/{bits}", stage.own(0)), 4).await
    };
    l2_09_and_10_sharers_are_announced_from_one_node = "l2-09" from 12: sharers_from_one_node;
    l2_11_and_12_metrics_of_the_owner_and_of_the_pool = "l2-11" from 13: metrics;
}

async fn reached_from_outside(stage: &Stage) -> Result<(), LabError> {
    stage.pool_of(1).await?;
    stage.advertise("all", json!({})).await?;
    stage.echo("web").create().await?;
    stage.service("web").family(stage.family.name()).create().await?;
    let address = stage.address("web").await?;
    let owner = stage.owner(address).await?;
    assert_eq!(owner, stage.order(address)[0], "the first of the election's order");
    let watch = stage.watch_owned(address, &owner).await?;
    let (client, web) = (stage.client()?, SocketAddr::new(address, 80));
    on_wire(client.ask_until(web, PATIENCE))?;
    for _ in 0..10 {
        on_wire(client.forget_neighbours())?;
        on_wire(client.ask(web))?;
    }
    let verdict = watch.moved_through(&[&owner]).await?;
    assert!(verdict.overlaps.is_empty(), "{verdict}");
    Ok(())
}

async fn status_names_the_node(stage: &Stage) -> Result<(), LabError> {
    let address = stage.web_advertised(json!({})).await?;
    let owner = stage.owner(address).await?;
    let first = stage.l2_status("web", &owner).await?;
    let labels = first.metadata.labels.clone().unwrap_or_default();
    for (key, value) in
        [("node", owner.as_str()), ("service-name", "web"), ("service-namespace", &stage.namespace)]
    {
        assert_eq!(labels.get(&format!("metallb.io/{key}")).map(String::as_str), Some(value), "{labels:?}");
    }
    let status = &first.data["status"];
    assert_eq!(
        (&status["serviceName"], &status["serviceNamespace"]),
        (&json!("web"), &json!(stage.namespace))
    );

    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        let now = stage.l2_statuses("web").await?;
        let versions: Vec<_> = now.iter().map(|object| &object.metadata.resource_version).collect();
        assert_eq!(versions, [&first.metadata.resource_version], "somebody wrote: {now:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stage.delete_service("web").await?;
    wait("the end of the status", PATIENCE, async || {
        let left = stage.l2_statuses("web").await.map_err(|error| error.to_string())?;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await
}

async fn local_traffic_stays(stage: &Stage) -> Result<(), LabError> {
    stage.pool_of(1).await?;
    stage.advertise("all", json!({})).await?;
    stage.echo("web").replicas(5).create().await?;
    let service = stage.service("web").family(stage.family.name());
    service.with("externalTrafficPolicy", json!("Local")).create().await?;
    let address = stage.address("web").await?;
    let owner = stage.owner(address).await?;
    let (client, web) = (stage.client()?, SocketAddr::new(address, 80));
    on_wire(client.ask_until(web, PATIENCE))?;
    for _ in 0..30 {
        let answer = on_wire(client.ask(web))?;
        assert_eq!(answer.node, owner, "{answer:?}");
        assert!(
            answer.client.contains(":101") || answer.client.ends_with(".101"),
            "not the client's own: {answer:?}"
        );
    }
    Ok(())
}

async fn tcp_and_udp(stage: &Stage) -> Result<(), LabError> {
    stage.pool_of(1).await?;
    stage.advertise("all", json!({})).await?;
    stage.echo("web").create().await?;
    let ports = json!([
        {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"},
        {"name": "echo", "port": 80, "targetPort": 8080, "protocol": "UDP"},
    ]);
    stage.service("web").family(stage.family.name()).with("ports", ports).create().await?;
    let address = stage.address("web").await?;
    stage.owner(address).await?;
    let web = SocketAddr::new(address, 80);
    on_wire(stage.client()?.ask_until(web, PATIENCE))?;
    let client = stage.client()?;
    wait("an answer over UDP", PATIENCE, async || ask_udp(&client, web).map_err(|error| error.to_string()))
        .await
}

fn ask_udp(client: &Host, address: SocketAddr) -> io::Result<()> {
    client.inside(move || {
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect(address)?;
        socket.set_read_timeout(Some(Duration::from_millis(300)))?;
        socket.send(b"who?")?;
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer)?;
        let said = String::from_utf8_lossy(&buffer[..length]);
        if said.contains("node=node") { Ok(()) } else { Err(io::Error::other(said.into_owned())) }
    })
}

async fn unavailable_network(stage: &Stage) -> Result<(), LabError> {
    let address = stage.web_advertised(json!({})).await?;
    let order = stage.order(address);
    let watch = stage.watch_owned(address, &order[0]).await?;
    let marked = stage.network_unavailable(&order[0])?;
    stage.owned_by(address, &order[1]).await?;
    stage.network_condition(&order[0], "False")?;
    stage.owned_by(address, &order[0]).await?;
    watch.moved_through(&[&order[0], &order[1], &order[0]]).await?;
    // A node without the condition is as good.
    marked.end();
    stage.owned_by(address, &order[0]).await
}

async fn exclude_label(stage: &Stage) -> Result<(), LabError> {
    let address = stage.web_advertised(json!({})).await?;
    let order = stage.order(address);
    let watch = stage.watch_owned(address, &order[0]).await?;
    let marked = stage.label(&order[0], EXCLUDE, "")?;
    stage.owned_by(address, &order[1]).await?;
    marked.end();
    stage.owned_by(address, &order[0]).await?;
    watch.moved_through(&[&order[0], &order[1], &order[0]]).await?;
    Ok(())
}

/// An address of a pool that is written like this, which has the stage's first `count` addresses.
async fn written(stage: &Stage, addresses: &str, count: u8) -> Result<(), LabError> {
    stage.pool_written(addresses).await?;
    stage.advertise("all", json!({})).await?;
    stage.echo("web").create().await?;
    stage.service("web").family(stage.family.name()).create().await?;
    let address = stage.address("web").await?;
    assert!((stage.own(0)..=stage.own(count - 1)).contains(&address), "{address} is not of {addresses}");
    on_wire(stage.client()?.ask_until(SocketAddr::new(address, 80), PATIENCE))?;
    Ok(())
}

async fn sharers_from_one_node(stage: &Stage) -> Result<(), LabError> {
    stage.pool_of(1).await?;
    stage.advertise("all", json!({})).await?;
    for (name, node, port) in [("one", "node1", 80), ("two", "node2", 81)] {
        let ports = json!([{"name": "http", "port": port, "targetPort": 8080}]);
        let address = stage
            .bare_service(name, &[node], |service| {
                service.annotated("metallb.io/allow-shared-ip", "yes").with("ports", ports)
            })
            .await?;
        assert_eq!(address, stage.own(0));
    }
    let owner = stage.owner(stage.own(0)).await?;
    let said = format!("announcing from node \"{owner}\" with protocol \"layer2\"");
    for name in ["one", "two"] {
        let told = stage.told(name, "Normal", "nodeAssigned").await?;
        assert!(told.iter().all(|message| *message == said), "{name}: {told:?} instead of {said:?}");
    }
    let watch = stage.watch_owned(stage.own(0), &owner).await?;
    stage.delete_service("one").await?;
    stage.owned_by(stage.own(0), &owner).await?;
    let verdict = watch.moved_through(&[&owner]).await?;
    assert!(verdict.overlaps.is_empty(), "{verdict}");
    Ok(())
}

async fn metrics(stage: &Stage) -> Result<(), LabError> {
    stage.pool_of(2).await?;
    stage.advertise("all", json!({})).await?;
    let pool = format!("pool=\"{}\"", stage.namespace);
    let allocator = async |name: &str, value: f64| {
        wait(&format!("{name} of the pool to be {value}"), PATIENCE, async || {
            let found = sample(&controller_metrics(stage).await?, name, &[&pool]);
            if found == Some(value) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await
    };
    allocator("metallb_allocator_addresses_total", 2.0).await?;
    allocator("metallb_allocator_addresses_in_use_total", 0.0).await?;
    let address = stage.web().await?;
    allocator("metallb_allocator_addresses_in_use_total", 1.0).await?;

    let service = format!("service=\"{}/web\"", stage.namespace);
    let ip = format!("ip=\"{address}\"");
    // Who answers is asked in each round: what is counted begins anew where an address comes to a node again, and
    // on a busy machine it may.
    let owner = wait("the owner's metrics", PATIENCE, async || {
        let owner = stage.owner(address).await.map_err(|error| error.to_string())?;
        let node = format!("node=\"{owner}\"");
        let text = speaker_metrics(stage, &owner)?;
        let found = [
            sample(&text, "metallb_speaker_announced", &[&service, "protocol=\"layer2\"", &node, &ip]),
            sample(&text, "metallb_layer2_requests_received", &[&ip]),
            sample(&text, "metallb_layer2_responses_sent", &[&ip]),
            sample(&text, "metallb_layer2_gratuitous_sent", &[&ip]),
        ];
        let right =
            found[0] == Some(1.0) && found[1..].iter().all(|count| count.is_some_and(|count| count >= 1.0));
        if right {
            Ok(owner)
        } else {
            Err(format!("{owner}: announced, requests, responses, gratuitous: {found:?}"))
        }
    })
    .await?;
    for other in stage.lab.config.node_names().into_iter().filter(|node| *node != owner) {
        let text = speaker_metrics(stage, &other).map_err(LabError::State)?;
        assert!(!text.contains(&ip), "{other} has series of {address}:\n{text}");
    }
    stage.delete_service("web").await?;
    allocator("metallb_allocator_addresses_in_use_total", 0.0).await?;
    wait("the end of the series", PATIENCE, async || {
        let text = speaker_metrics(stage, &owner)?;
        let left: Vec<&str> = text.lines().filter(|line| line.contains(&ip)).collect();
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    })
    .await?;
    assert!(stage.answering(Network::Lan, address)?.is_empty());
    Ok(())
}

/// The value of the series of this name that has all of these labels.
fn sample(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let line = text.lines().find(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'))
            && labels.iter().all(|label| line.contains(label))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

fn speaker_metrics(stage: &Stage, node: &str) -> Result<String, String> {
    let host = stage.lab.host(node).map_err(|error| error.to_string())?;
    fetch(&host, SocketAddr::from((Ipv4Addr::LOCALHOST, 17481))).map_err(|error| error.to_string())
}

/// Of whichever controller leads: the sum of what they say is his.
async fn controller_metrics(stage: &Stage) -> Result<String, String> {
    let pods: Api<Pod> = Api::namespaced(stage.scene.client.clone(), SYSTEM);
    let list = ListParams::default().labels("app=ferrolb,app.kubernetes.io/component=controller");
    let pods = pods.list(&list).await.map_err(|error| error.to_string())?;
    let plane = stage.lab.host("cp").map_err(|error| error.to_string())?;
    let mut text = String::new();
    for pod in pods {
        let address = pod.status.and_then(|status| status.pod_ip).ok_or("a controller without an address")?;
        let address = address.parse().map_err(|error| format!("{address}: {error}"))?;
        text += &fetch(&plane, SocketAddr::new(address, 17480)).map_err(|error| error.to_string())?;
    }
    Ok(text)
}

fn fetch(host: &Host, address: SocketAddr) -> io::Result<String> {
    host.inside(move || {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: metrics\r\nConnection: close\r\n\r\n")?;
        let mut text = Vec::new();
        stream.read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    })
}
