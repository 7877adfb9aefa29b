//! What holds for any cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::tests::{exists, key, node, packed, pool, service, to_labels};
use super::*;
use crate::advertisement::Preference;
use crate::service::ServiceKey;

const LABELS: [&str; 3] = ["a", "b", "c"];

prop_compose! {
    fn any_node(name: String)(
        labels in prop::sample::subsequence(LABELS.to_vec(), 0..=3),
        ready in prop::bool::weighted(0.8),
        network_available in prop::bool::weighted(0.9),
        excluded in prop::bool::weighted(0.1),
        unfit in prop::bool::weighted(0.1),
    ) -> Node {
        Node { labels: to_labels(&labels), ready, network_available, excluded, unfit, ..node(&name) }
    }
}

fn any_nodes() -> impl Strategy<Value = Vec<Node>> {
    (0usize..8)
        .prop_flat_map(|count| (0..count).map(|number| any_node(format!("node{number}"))).collect::<Vec<_>>())
}

prop_compose! {
    fn any_advertisement()(
        named in prop::option::weighted(0.2, prop::sample::select(vec!["lan", "other"])),
        node_label in prop::option::weighted(0.3, prop::sample::select(LABELS.to_vec())),
        service_label in prop::option::weighted(0.3, prop::sample::select(LABELS.to_vec())),
        interface in prop::option::weighted(0.3, prop::sample::select(vec!["lan", "wan"])),
        preferences in prop::collection::vec((1u32..=100, prop::sample::select(LABELS.to_vec())), 0..3),
    ) -> Advertisement {
        Advertisement {
            pools: named.map(str::to_owned).into_iter().collect(),
            node_selectors: node_label.map(exists).into_iter().collect(),
            service_selectors: service_label.map(exists).into_iter().collect(),
            interfaces: interface.map(str::to_owned).into_iter().collect(),
            preferences: preferences
                .into_iter()
                .map(|(weight, label)| Preference { weight, selector: exists(label) })
                .collect(),
            ..Advertisement::default()
        }
    }
}

prop_compose! {
    fn any_candidate(name: String)(
        held in prop::sample::subsequence(vec!["10.0.0.1", "10.0.0.2", "fd00::1"], 0..=2),
        labels in prop::sample::subsequence(LABELS.to_vec(), 0..=3),
        local_traffic_only in any::<bool>(),
        created in 0i64..3,
        any in prop::bool::weighted(0.9),
        nodes in prop::sample::subsequence(vec!["node0", "node1", "node2", "node3", "node4"], 0..=5),
    ) -> Candidate {
        let service =
            Contender { labels: packed(&labels), local_traffic_only, created, ..service(&held) };
        let mut endpoints = Endpoints::default();
        if any {
            endpoints.add(None);
            nodes.into_iter().for_each(|node| endpoints.add(Some(node.into())));
        }
        Candidate { key: key(&name), service, endpoints }
    }
}

fn any_snapshot() -> impl Strategy<Value = Snapshot> {
    let candidates = (0usize..5).prop_flat_map(|count| {
        (0..count).map(|number| any_candidate(format!("web{number}"))).collect::<Vec<_>>()
    });
    let advertisements = prop::collection::vec(any_advertisement(), 0..4);
    (candidates, advertisements, any_nodes()).prop_map(|(services, advertisements, nodes)| Snapshot {
        some_pools_unusable: false,
        pools: vec![pool("lan", &["10.0.0.0/24", "fd00::/64"]), pool("other", &["10.0.0.2/32"])],
        advertisements,
        services,
        nodes,
    })
}

/// The snapshot, and the same with every list in another order.
fn shuffled() -> impl Strategy<Value = (Snapshot, Snapshot)> {
    any_snapshot().prop_flat_map(|snapshot| {
        let Snapshot { pools, some_pools_unusable, advertisements, services, nodes } = snapshot.clone();
        let other = (
            Just(pools).prop_shuffle(),
            Just(advertisements).prop_shuffle(),
            Just(services).prop_shuffle(),
            Just(nodes).prop_shuffle(),
        )
            .prop_map(move |(pools, advertisements, services, nodes)| Snapshot {
                pools,
                some_pools_unusable,
                advertisements,
                services,
                nodes,
            });
        (Just(snapshot), other)
    })
}

proptest! {
    #[test]
    fn the_order_of_the_input_means_nothing((one, other) in shuffled()) {
        prop_assert_eq!(decide(&one), decide(&other));
    }

    #[test]
    fn a_node_that_owns_nothing_can_go_without_moving_an_address(snapshot in any_snapshot()) {
        let before = decide(&snapshot);
        for index in 0..snapshot.nodes.len() {
            let mut without = snapshot.clone();
            let gone = without.nodes.remove(index);
            let after = decide(&without);
            for (address, owner) in &before.owners {
                if owner.node != gone.name {
                    prop_assert_eq!(after.owners.get(address).map(|owner| &owner.node), Some(&owner.node));
                }
            }
        }
    }

    #[test]
    fn the_owner_is_one_of_the_eligible_nodes(snapshot in any_snapshot()) {
        for candidate in &snapshot.services {
            let Candidate { service, endpoints, .. } = candidate;
            let elected = elect(candidate, &snapshot);
            // Eligibility said once more, in other words: what must be true of every node in the ranking.
            let able: Vec<_> = snapshot.nodes.iter().filter(|node| {
                node.network_available && !node.excluded
                    && (!service.local_traffic_only || endpoints.serve_on(&node.name))
                    && snapshot.advertisements.iter().any(|ad| {
                        // "lan" covers all addresses of this world and comes first by name.
                        (ad.pools.is_empty() || ad.pools.contains("lan"))
                            && ad.covers_service(&service.labels.unpack()) && ad.covers_node(&node.labels)
                    })
            }).collect();
            let some_ready = able.iter().any(|node| node.ready);
            let eligible: BTreeSet<&str> =
                able.iter().filter(|node| node.ready || !some_ready).map(|node| node.name.as_str()).collect();
            match elected {
                Ok(ranking) => {
                    let ranked: BTreeSet<&str> = ranking.nodes().iter().map(|node| node.name.as_str()).collect();
                    prop_assert_eq!(&ranked, &eligible);
                    prop_assert_eq!(ranked.len(), ranking.nodes().len());
                    prop_assert!(ranking.interfaces(ranking.owner()).is_some());
                }
                Err(_) => prop_assert!(service.held.is_empty() || !endpoints.any() || eligible.is_empty()),
            }
        }
    }

    #[test]
    fn the_owner_is_the_first_of_the_ranking(snapshot in any_snapshot()) {
        for candidate in &snapshot.services {
            // Alone, so that no other Service decides for a shared address.
            let outcome = decide(&Snapshot { services: vec![candidate.clone()], ..snapshot.clone() });
            let Ok(ranking) = elect(candidate, &snapshot) else {
                prop_assert!(outcome.owners.is_empty());
                continue;
            };
            prop_assert_eq!(outcome.owners.len(), candidate.service.held.len());
            for owner in outcome.owners.values() {
                prop_assert_eq!(&owner.node, &ranking.owner().name);
                let interfaces = ranking.interfaces(ranking.owner());
                prop_assert_eq!(Some(&owner.announcement.interfaces), interfaces.as_ref());
            }
        }
    }

    #[test]
    fn an_address_is_desired_by_one_node_at_most(snapshot in any_snapshot()) {
        let outcome = decide(&snapshot);
        let mut seen = BTreeSet::new();
        for node in &snapshot.nodes {
            for address in outcome.desired(&node.name).into_keys() {
                prop_assert!(seen.insert(address), "{address} is desired by two nodes");
            }
        }
        prop_assert_eq!(seen.len(), outcome.owners.len());
    }

    /// Told of one change after the other, in whatever way, the elector of each node says what a decision on the whole says.
    #[test]
    fn an_elector_that_is_told_of_changes_says_what_a_whole_decision_says(
        worlds in prop::collection::vec(any_snapshot(), 1..6),
        mut order in prop::collection::vec(0usize..5, 0..30),
    ) {
        let mut elector = Elector::default();
        let mut told: BTreeMap<IpAddr, Arc<Contest>> = BTreeMap::new();
        let mut now = Snapshot::default();
        for world in worlds {
            // One kind after the other, some of them twice; then what is left.
            for kind in order.drain(..order.len().min(6)).chain(0..5).collect::<Vec<_>>() {
                match kind {
                    0 => {
                        elector.set_nodes(world.nodes.clone());
                        now.nodes = world.nodes.clone();
                    }
                    1 => {
                        elector.set_advertisements(world.advertisements.clone());
                        now.advertisements = world.advertisements.clone();
                    }
                    2 => {
                        elector.set_pools(world.pools.clone(), world.some_pools_unusable);
                        now.pools = world.pools.clone();
                    }
                    3 => {
                        let key = |candidate: &Candidate| candidate.key.clone();
                        let gone: Vec<_> = now.services.iter().map(key).collect();
                        for key in gone.iter().filter(|known| world.services.iter().all(|c| c.key != **known)) {
                            elector.set_service(key, None);
                        }
                        for candidate in &world.services {
                            elector.set_service(&candidate.key, Some(candidate.service.clone()));
                        }
                        let known = |key: &Arc<ServiceKey>| now.services.iter().find(|c| c.key == *key);
                        let endpoints = |key| known(key).map(|c| c.endpoints.clone()).unwrap_or_default();
                        now.services = world
                            .services
                            .iter()
                            .map(|c| Candidate { endpoints: endpoints(&c.key), ..c.clone() })
                            .collect();
                    }
                    _ => {
                        for candidate in &world.services {
                            elector.set_endpoints(&candidate.key, candidate.endpoints.clone());
                            let known = now.services.iter_mut().find(|c| c.key == candidate.key);
                            known.into_iter().for_each(|c| c.endpoints = candidate.endpoints.clone());
                        }
                    }
                }
                for change in elector.update() {
                    match change.contest {
                        Ok(contest) => told.insert(change.address, contest),
                        Err(_) => told.remove(&change.address),
                    };
                }
                let roster = elector.roster();
                let by_api = |(address, contest): (&IpAddr, &Arc<Contest>)| {
                    let node = contest.owner_by_api(roster).unwrap();
                    let interfaces = contest.interfaces_of(node).unwrap().clone();
                    let announcement = Announcement { interfaces, services: contest.services.to_vec() };
                    (*address, Owner { node: roster.get(node).unwrap().name.to_string(), announcement })
                };
                let owners: BTreeMap<IpAddr, Owner> = told.iter().map(by_api).collect();
                prop_assert_eq!(owners, decide(&now).owners);
                prop_assert!(told.keys().all(|address| elector.cover().contains(*address)));
                prop_assert_eq!(elector.update(), []);
            }
        }
    }
}
