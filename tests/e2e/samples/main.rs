//! Each folder of `config/samples` in a real cluster: what its README promises is asked from outside.
//!
//! `make e2e` runs these in a lab with two segments, and `home_lab` in one whose nodes have one network card. The manifests
//! are applied as they lie there, with the lab's addresses in place of a home's.

#[path = "../support/mod.rs"]
mod support;

mod ask;
mod names;
mod nodes;
mod stage;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ferrolb_tests::host::ipv4;
use ferrolb_tests::lab::progress::wait;
use ferrolb_tests::lab::{LabError, process};
use ferrolb_tests::plane::project;

use ask::{Way, ask_dns, get, of_client, page};
use stage::{addresses, socket, with_sample};
use support::{answering, on_wire};

/// Addresses like those of `config/samples/pool.yaml`.
const LAN: &str = "10.10.0.240-10.10.0.250";

/// The client of the scenes, in the LAN.
const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 10, 0, 101));

/// How long anything may take, in seconds.
const PATIENCE: u64 = 30;

/// So long answers to one question are collected.
const WINDOW: Duration = Duration::from_millis(150);

#[test]
fn ingress() {
    with_sample("ingress", LAN, async |scene, _| {
        // The lab has no DNS server for pods, which every cluster of a user has.
        let dns = project("tests/e2e/samples/cluster-dns.yaml");
        process::run(scene.lab.kubectl().arg("apply").arg("-f").arg(&dns))?;
        let proxy = socket(scene, "proxy", 80).await?;
        let client = scene.client_host()?;
        let ask = |name: &str, path: &str| get(&client, proxy, name, path);

        let first = wait("the proxy to find the shop", 2 * PATIENCE, async || {
            let page = ask("shop.example.org", "/wear/shoes").map_err(|error| error.to_string())?;
            if page.status == 200 { Ok(page) } else { Err(format!("{page:?}")) }
        })
        .await?;
        assert_eq!(first.value("Name"), "wear");
        assert_eq!(first.value("Asked"), "GET /shoes");
        assert_eq!(first.value("Forwarded for"), CLIENT.to_string(), "the proxy saw who asked: {first:?}");
        for (name, path, application) in
            [("shop.example.org", "/watch", "watch"), ("blog.example.org", "/wear", "blog")]
        {
            let page = on_wire(ask(name, path))?;
            assert_eq!((page.status, page.value("Name")), (200, application), "{name}{path}: {page:?}");
        }
        for (name, path) in [("shop.example.org", "/wearable"), ("elsewhere.example.org", "/wear")] {
            assert_eq!(on_wire(ask(name, path))?.status, 404, "{name}{path}");
        }
        for application in ["wear", "watch", "blog"] {
            assert_eq!(addresses(scene, application).await?, [] as [IpAddr; 0], "{application} needs none");
        }
        process::run(scene.lab.kubectl().args(["delete", "--wait=false", "-f"]).arg(&dns)).map(|_| ())
    });
}

#[test]
fn client_address() {
    with_sample("client-address", LAN, async |scene, _| {
        let client = scene.client_host()?;
        for (service, seen) in [("local", true), ("cluster", false)] {
            let server = socket(scene, service, 80).await?;
            page(&client, server).await?;
            for _ in 0..10 {
                let from = of_client(&client, server)?;
                assert_eq!(from == CLIENT, seen, "the pods behind {service} saw {from}");
            }
        }
        Ok(())
    });
}

#[test]
fn service_types() {
    with_sample("service-types", LAN, async |scene, _| {
        let client = scene.client_host()?;
        let balanced = socket(scene, "load-balancer", 80).await?;
        page(&client, balanced).await?;
        for node in [11, 12, 13] {
            page(&client, SocketAddr::from(([10, 10, 0, node], 30080))).await?;
        }
        page(&client, SocketAddr::from(([10, 10, 0, 11], 8081))).await?;
        let refused = get(&client, SocketAddr::from(([10, 10, 0, 12], 8081)), "anybody", "/");
        assert!(refused.is_err(), "an external IP is that one address: {refused:?}");

        let inside = scene.services().get("inside").await.expect("the Service is there").spec;
        let inside: IpAddr = inside.and_then(|spec| spec.cluster_ip?.parse().ok()).expect("a cluster IP");
        page(&scene.lab.host("node2")?, SocketAddr::new(inside, 80)).await?;
        let outside = get(&client, SocketAddr::new(inside, 80), "anybody", "/");
        assert!(outside.is_err(), "nobody outside reaches a cluster IP: {outside:?}");
        for service in ["inside", "node-port", "external-ips"] {
            assert_eq!(addresses(scene, service).await?, [] as [IpAddr; 0], "{service}");
        }
        Ok(())
    });
}

#[test]
fn two_networks() {
    with_sample("two-networks", "", async |scene, _| {
        let client = scene.client_host()?;
        for (service, link, other) in [("for-office", "eth0", "eth1"), ("for-machines", "eth1", "eth0")] {
            let server = socket(scene, service, 80).await?;
            page(&client, server).await?;
            assert_eq!(
                on_wire(client.who_has_on(link, server.ip(), WINDOW))?.len(),
                1,
                "{service} on {link}"
            );
            // Asked on the other link the address is nobody's: the client asks from its address there.
            let others = on_wire(client.who_has_on(other, server.ip(), WINDOW))?;
            assert!(others.is_empty(), "{others:?} answer for {service} on {other}");
        }
        Ok(())
    });
}

#[test]
fn dual_stack() {
    with_sample("dual-stack", "", async |scene, _| {
        let client = scene.client_host()?;
        scene.address("web").await?;
        let both = addresses(scene, "web").await?;
        let [IpAddr::V4(_), IpAddr::V6(_)] = both[..] else { panic!("not one of each family: {both:?}") };
        for address in both {
            let page = page(&client, SocketAddr::new(address, 80)).await?;
            assert_eq!(page.client().is_ipv4(), address.is_ipv4(), "{page:?}");
        }
        Ok(())
    });
}

#[test]
fn tcp_and_udp() {
    with_sample("tcp-and-udp", LAN, async |scene, _| {
        let client = scene.client_host()?;
        let address = scene.address("dns-udp").await?;
        assert_eq!(scene.address("dns-tcp").await?, address, "they share it");
        for (way, told) in [(Way::Udp, b"\x04_udp"), (Way::Tcp, b"\x04_tcp")] {
            wait(&format!("an answer by {way:?}"), 2 * PATIENCE, async || {
                let answer = ask_dns(&client, address, "anything.example.org", way);
                let answer = answer.map_err(|error| error.to_string())?;
                let says = answer.windows(told.len()).any(|bytes| bytes == told);
                if says { Ok(()) } else { Err(format!("{answer:02x?}")) }
            })
            .await?;
        }
        Ok(())
    });
}

#[test]
fn port_forward() {
    with_sample("port-forward", "", async |scene, sample| {
        let client = scene.client_host()?;
        let server = socket(scene, "web", 80).await?;
        assert_eq!(server.to_string(), "10.10.0.251:80");
        assert_eq!(page(&client, server).await?.client(), CLIENT);

        // Its address is not given away while it is gone for a moment, not even to one that would take any.
        scene.delete_service("web").await?;
        scene.service("other").create().await?;
        wait("a word on the other one's wait", PATIENCE, async || {
            let told = scene.events("other", "Warning", "AllocationFailed").await;
            let told = told.map_err(|error| error.to_string())?;
            if told.is_empty() { Err("there is no event".to_owned()) } else { Ok(()) }
        })
        .await?;
        sample.again()?;
        assert_eq!(socket(scene, "web", 80).await?, server);
        page(&client, server).await?;
        assert_eq!(addresses(scene, "other").await?, [] as [IpAddr; 0]);
        Ok(())
    });
}

/// In a lab of its own, whose nodes have one network card.
#[test]
#[ignore = "in a lab with --one-nic: tests/e2e/run"]
fn home_lab() {
    with_sample("home-lab", "", async |scene, _| {
        assert!(scene.lab.config.one_nic, "this test needs a lab that was brought up with --one-nic");
        let client = scene.client_host()?;
        let server = socket(scene, "web", 80).await?;
        assert_eq!(server.to_string(), "10.10.0.240:80", "the first of the pool");
        page(&client, server).await?;

        // The same card carries the address and the way to the API; both are gone at once.
        let owner = answering(scene, on_wire(ipv4(server.ip()))?).await?;
        support::lab(&scene.lab, &["link", "down", &owner])?;
        let moved = wait("another node to answer", PATIENCE, async || {
            let bare = ipv4(server.ip()).map_err(|error| error.to_string())?;
            let now = answering(scene, bare).await.map_err(|error| error.to_string())?;
            if now == owner { Err(format!("{now} answers")) } else { Ok(()) }
        })
        .await;
        support::lab(&scene.lab, &["link", "up", &owner])?;
        moved?;
        page(&client, server).await.map(|_| ())
    });
}
