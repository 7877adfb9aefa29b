//! FerroLB in a real cluster, seen from outside: `make e2e` runs these in one lab for each mode of kube-proxy.
//!
//! Each test is a scene of its own in that lab. They run one after the other, since Services may take addresses
//! of any pool that is there.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use ferrolb_tests::host::{ArpFrame, ipv4};
use ferrolb_tests::lab::progress::wait;
use ferrolb_tests::lab::{LabError, process};
use ferrolb_tests::scene::{SYSTEM, shown};
use serde_json::json;

use support::{answering, in_cluster, on_wire};

/// So long answers to one request are collected: a second node that answers would be seen.
const WINDOW: Duration = Duration::from_millis(300);

#[test]
fn an_address_is_given_shown_and_answers_from_outside() {
    in_cluster("reachable", async |scene| {
        scene.pool("10.10.0.200-10.10.0.209").await?;
        scene.echo("web").replicas(2).create().await?;
        scene.service("web").create().await?;
        let address = scene.address("web").await?;
        assert_eq!(address.to_string(), "10.10.0.200", "the first of the pool");

        let service = scene.services().get("web").await.expect("the Service is there");
        assert_eq!(
            service.metadata.annotations.expect("annotations")["metallb.io/ip-allocated-from-pool"],
            "reachable"
        );
        let table = process::run(scene.lab.kubectl().args(["-n", "reachable", "get", "service", "web"]))?;
        assert!(table.contains("10.10.0.200"), "{table}");

        let client = scene.client_host()?;
        on_wire(client.ask_until(SocketAddr::new(address, 80), 30))?;
        for _ in 0..10 {
            on_wire(client.forget_neighbours())?;
            let answer = on_wire(client.ask(SocketAddr::new(address, 80)))?;
            assert!(answer.pod.starts_with("web-"), "{answer:?}");
        }
        Ok(())
    });
}

#[test]
fn exactly_one_node_answers_arp_and_announces_in_both_forms() {
    in_cluster("one-answer", async |scene| {
        scene.echo("web").create().await?;
        scene.pool("10.10.0.210/32").await?;
        let client = scene.client_host()?;
        let capture = on_wire(client.capture_arp())?;
        scene.service("web").create().await?;
        let address = on_wire(ipv4(scene.address("web").await?))?;
        let owner = answering(&scene, address).await?;
        for _ in 0..5 {
            assert_eq!(
                on_wire(client.who_has(address, WINDOW))?.len(),
                1,
                "more than one node answers, or none"
            );
        }
        let frames = on_wire(capture.stop())?;

        let nodes = scene.nodes_by_mac()?;
        let said: Vec<_> = frames.iter().filter(|frame| frame.sender.1 == address).collect();
        let log = || said.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(
            said.iter().all(|frame| nodes.get(&frame.sender.0) == Some(&owner)),
            "owner {owner}:\n{}",
            log()
        );
        assert!(said.iter().all(|frame| frame.source == frame.sender.0), "{}", log());
        let announced: Vec<_> = said.iter().filter(|frame| frame.announces(address)).collect();
        assert!(announced.iter().any(|frame| frame.request), "no gratuitous request:\n{}", log());
        let moves_caches = |frame: &ArpFrame| !frame.request && frame.target.0 == frame.sender.0;
        assert!(
            announced.iter().any(|frame| moves_caches(frame)),
            "no gratuitous reply with tha == sha:\n{}",
            log()
        );
        Ok(())
    });
}

#[test]
fn a_pod_on_another_node_than_the_owner_is_reached() {
    in_cluster("elsewhere", async |scene| {
        scene.pool("10.10.0.220/32").await?;
        // 10.10.0.220: the order of the election is known, so the pod can be put elsewhere beforehand.
        let order = ferrolb_tests::scene::election_order(&scene.lab, "10.10.0.220");
        scene.echo("web").avoiding(&order[0]).create().await?;
        scene.service("web").create().await?;
        let address = scene.address("web").await?;
        let owner = answering(&scene, on_wire(ipv4(address))?).await?;
        assert_eq!(owner, order[0], "the owner is the first of the order {order:?}");

        let answer = on_wire(scene.client_host()?.ask_until(SocketAddr::new(address, 80), 30))?;
        assert_ne!(answer.node, owner, "the pod is on another node");
        assert!(
            answer.client.starts_with("10.10.0.1") && answer.client != "10.10.0.101",
            "masqueraded: {answer:?}"
        );
        Ok(())
    });
}

#[test]
fn deletion_frees_the_address_and_silences_arp() {
    in_cluster("deletion", async |scene| {
        scene.pool("10.10.0.230/32").await?;
        scene.echo("web").create().await?;
        scene.service("web").create().await?;
        let address = scene.address("web").await?;
        let bare = on_wire(ipv4(address))?;
        answering(&scene, bare).await?;

        scene.service("waiting").create().await?;
        let event = wait("an event that says why", 30, async || {
            let said = process::run(scene.lab.kubectl().args([
                "-n",
                "deletion",
                "get",
                "events",
                "--field-selector",
                "reason=AllocationFailed",
                "-o",
                "jsonpath={.items[*].message}",
            ]))
            .map_err(|error| error.to_string())?;
            if said.is_empty() { Err("there is none".to_owned()) } else { Ok(said) }
        })
        .await?;
        assert_eq!(event, "no free IPv4 address: IPAddressPool \"deletion\": every IPv4 address is in use");
        scene.delete_service("waiting").await?;

        scene.delete_service("web").await?;
        let client = scene.client_host()?;
        wait("silence", 10, async || {
            let macs = client.who_has(bare, WINDOW).map_err(|error| error.to_string())?;
            if macs.is_empty() { Ok(()) } else { Err(format!("{macs:?} answer")) }
        })
        .await?;
        let capture = on_wire(client.capture_arp())?;
        on_wire(client.who_has(bare, Duration::from_secs(2)))?;
        let after: Vec<_> =
            on_wire(capture.stop())?.into_iter().filter(|frame| frame.sender.1 == bare).collect();
        assert!(after.is_empty(), "frames for a freed address: {after:?}");

        scene.service("next").create().await?;
        assert_eq!(scene.address("next").await?, address, "it is free again");
        Ok(())
    });
}

#[test]
fn services_get_addresses_of_their_family() {
    in_cluster("families", async |scene| {
        scene.pool("10.10.0.240-10.10.0.241, fd10::f0-fd10::f1").await?;
        // One after the other: of Services that wait at the same moment, the name decides who is first.
        scene.service("four").family("IPv4").create().await?;
        assert_eq!(scene.address("four").await?.to_string(), "10.10.0.240");
        scene.service("six").family("IPv6").create().await?;
        assert_eq!(scene.address("six").await?.to_string(), "fd10::f0");
        let dual = scene.service("both").with("ipFamilyPolicy", json!("RequireDualStack"));
        dual.with("ipFamilies", json!(["IPv6", "IPv4"])).create().await?;
        scene.address("both").await?;
        let both = shown(&scene.services().get("both").await.expect("the Service is there"));
        let both: Vec<String> = both.iter().map(ToString::to_string).collect();
        assert_eq!(both, ["fd10::f1", "10.10.0.241"], "in the Service's order");
        Ok(())
    });
}

#[test]
fn a_node_port_service_stays_untouched_and_works() {
    in_cluster("nodeport", async |scene| {
        scene.pool("10.10.0.200-10.10.0.209").await?;
        scene.echo("web").create().await?;
        let service = scene.service("web").with("type", json!("NodePort")).create().await?;
        let version = service.metadata.resource_version;
        let port = service.spec.and_then(|spec| spec.ports?.first()?.node_port).expect("a node port");
        // A Service that comes later has been seen to by the time that this one would have been.
        scene.service("later").create().await?;
        scene.address("later").await?;

        let now = scene.services().get("web").await.expect("the Service is there");
        assert_eq!(now.metadata.resource_version, version, "somebody wrote to it");
        let port = u16::try_from(port).expect("a port");
        let answer = on_wire(scene.client_host()?.ask_until(SocketAddr::from(([10, 10, 0, 11], port)), 30))?;
        assert!(answer.pod.starts_with("web-"), "{answer:?}");
        Ok(())
    });
}

#[test]
fn external_ips_are_neither_given_out_nor_answered() {
    in_cluster("externalips", async |scene| {
        scene.echo("web").create().await?;
        let external = scene.service("external").with("type", json!("ClusterIP"));
        external.with("externalIPs", json!(["10.10.0.200"])).create().await?;
        scene.pool("10.10.0.200-10.10.0.201").await?;
        scene.service("web").create().await?;
        let address = scene.address("web").await?;
        assert_eq!(address.to_string(), "10.10.0.201", "the first is another Service's external IP");
        answering(&scene, on_wire(ipv4(address))?).await?;
        let macs = on_wire(scene.client_host()?.who_has([10, 10, 0, 200], WINDOW))?;
        assert!(macs.is_empty(), "{macs:?} answer for an external IP");
        Ok(())
    });
}

#[test]
fn a_service_of_another_class_is_not_ours() {
    in_cluster("classes", async |scene| {
        scene.pool("10.10.0.200-10.10.0.209").await?;
        let other =
            scene.service("other").with("loadBalancerClass", json!("example.dev/other")).create().await?;
        scene.service("ours").create().await?;
        scene.address("ours").await?;
        let now = scene.services().get("other").await.expect("the Service is there");
        assert_eq!(now.metadata.resource_version, other.metadata.resource_version, "somebody wrote to it");
        Ok(())
    });
}

#[test]
fn a_label_on_the_owner_moves_the_address_and_its_removal_moves_it_back() {
    in_cluster("exclude", async |scene| {
        scene.pool("10.10.0.200/32").await?;
        scene.echo("web").create().await?;
        scene.service("web").create().await?;
        let address = on_wire(ipv4(scene.address("web").await?))?;
        let owner = answering(&scene, address).await?;
        let label = "node.kubernetes.io/exclude-from-external-load-balancers";
        let moves = async |to_other: bool| {
            wait("the address to move", 30, async || {
                let now = answering(&scene, address).await.map_err(|error| error.to_string())?;
                if (now != owner) == to_other { Ok(()) } else { Err(format!("{now} answers")) }
            })
            .await
        };
        process::run(scene.lab.kubectl().args(["label", "node", &owner, &format!("{label}=")]))?;
        let moved = moves(true).await;
        process::run(scene.lab.kubectl().args(["label", "node", &owner, &format!("{label}-")]))?;
        moved?;
        moves(false).await
    });
}

#[test]
fn a_new_controller_changes_nothing() {
    in_cluster("restart", async |scene| {
        scene.pool("10.10.0.200-10.10.0.209").await?;
        let mut before = Vec::new();
        for name in ["a", "b", "c"] {
            scene.service(name).create().await?;
            scene.address(name).await?;
        }
        for name in ["a", "b", "c"] {
            before.push(
                scene.services().get(name).await.expect("the Service is there").metadata.resource_version,
            );
        }
        process::run(scene.lab.kubectl().args([
            "-n",
            SYSTEM,
            "rollout",
            "restart",
            "deployment/ferrolb-controller",
        ]))?;
        process::run(scene.lab.kubectl().args([
            "-n",
            SYSTEM,
            "rollout",
            "status",
            "deployment/ferrolb-controller",
            "--timeout=60s",
        ]))?;
        scene.service("d").create().await?;
        assert_eq!(scene.address("d").await?.to_string(), "10.10.0.203", "the next free one");
        for (name, version) in ["a", "b", "c"].iter().zip(before) {
            let now = scene.services().get(name).await.expect("the Service is there");
            assert_eq!(now.metadata.resource_version, version, "{name} was written to");
        }
        Ok(())
    });
}

#[test]
#[ignore = "takes more than a minute: make test-full"]
fn a_dead_node_is_replaced_once_the_cluster_knows() {
    in_cluster("deadnode", async |scene| {
        scene.pool("10.10.0.200/32").await?;
        scene.echo("web").replicas(3).create().await?;
        scene.service("web").create().await?;
        let address = on_wire(ipv4(scene.address("web").await?))?;
        let owner = answering(&scene, address).await?;
        let number = owner.trim_start_matches("node").to_owned();
        support::lab(&scene.lab, &["node", "kill", &number])?;
        let moved = wait("another node to answer", 120, async || {
            let now = answering(&scene, address).await.map_err(|error| error.to_string())?;
            if now == owner { Err(format!("{now} answers")) } else { Ok(()) }
        })
        .await;
        support::lab(&scene.lab, &["node", "start", &number])?;
        moved?;
        wait("the first owner to answer again", 120, async || {
            let now = answering(&scene, address).await.map_err(|error| error.to_string())?;
            if now == owner { Ok(()) } else { Err(format!("{now} answers")) }
        })
        .await?;
        let ready = ferrolb_tests::scene::ready(&scene.lab).await;
        ready.map_err(|error| LabError::State(error.to_string()))
    });
}
