//! What is told of other hosts that have an address.

use super::*;

/// A frame of a host that has the address.
fn theirs() -> Vec<u8> {
    announcement(CLIENT, VIP)[1].build()
}

fn other() -> IpAddr {
    IpAddr::from([10, 0, 0, 2])
}

fn gauge(metrics: &Metrics) -> bool {
    shown(metrics).contains(r#"ferrolb_speaker_address_conflicts{ip="10.0.0.1",interface="lan"} 1"#)
}

#[test]
fn a_conflict_is_told_of_its_service_until_it_is_over() {
    with_loop_that(true, |world| async move {
        world.links.send_replace(lan());
        // What is there at the start is not probed for.
        world.tell(vec![change(other(), "node-1")]);
        settle().await;
        world.told();
        world.elect("node-1");
        settle().await;
        world.network.receive(LAN, Ok(theirs()));
        settle().await;
        assert_eq!(world.told(), ["web not, held back"]);
        assert!(gauge(&world.metrics));
        // That host is gone: it is announced, and nothing more to be told.
        tokio::time::sleep(Duration::from_secs(15)).await;
        assert_eq!(world.told().last().unwrap(), "web on {}");
        assert!(!gauge(&world.metrics));
        // It is back, and seen once in use: told for a minute.
        world.network.receive(LAN, Ok(theirs()));
        settle().await;
        assert_eq!(world.told(), ["web on {}, in conflict"]);
        tokio::time::sleep(Duration::from_secs(59)).await;
        assert_eq!(world.told(), [""; 0]);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(world.told(), ["web on {}"]);
    });
}

#[test]
fn a_conflict_ends_with_the_address_and_with_the_link() {
    type Loss = fn(&World);
    let losses: [(Loss, &str); 2] = [
        (|world| world.elect("node-2"), "web not"),
        (|world| drop(world.links.send_replace(Some([].into()))), "web lacks {}"),
    ];
    for (lose, now) in losses {
        with_loop_that(true, |world| async move {
            world.links.send_replace(lan());
            world.elect("node-1");
            settle().await;
            world.network.receive(LAN, Ok(theirs()));
            settle().await;
            assert_eq!(world.told().last().unwrap(), "web on {}, in conflict");
            lose(&world);
            settle().await;
            assert_eq!(world.told().last().unwrap(), now);
            assert!(!shown(&world.metrics).contains(r#"address_conflicts{ip="10.0.0.1""#));
        });
    }
}

/// The address goes from one Service to another while that host has it.
#[test]
fn a_conflict_is_told_of_who_has_the_address() {
    with_loop_that(true, |world| async move {
        world.links.send_replace(lan());
        world.elect("node-1");
        settle().await;
        world.network.receive(LAN, Ok(theirs()));
        settle().await;
        world.told();
        let service = Holder { key: Arc::new(ServiceKey::new("shop", "db")), uid: "".into() };
        let order = ["node-1", "node-2"].map(|name| roster().id(name).unwrap());
        let contest = Arc::new(Contest::among(order, vec![service]));
        world.tell(vec![Change { address: VIP.into(), contest: Ok(contest) }]);
        settle().await;
        let told = world.told();
        // Nothing in between is told: it could be written.
        for words in &told {
            assert!(["web not", "db on {}, in conflict"].contains(&words.as_str()), "{told:?}");
        }
        assert!(told.iter().any(|words| words.starts_with("db")) && told.contains(&"web not".to_owned()));
    });
}
