//! Vectors and the steps of eligibility, one by one.

use std::sync::Arc;

use super::*;
use crate::advertisement::Preference;
use crate::selector::{LabelSelector, Labels, PackedLabels, Requirement};
use crate::service::ServiceKey;

pub(super) fn node(name: &str) -> Node {
    Node {
        name: name.into(),
        labels: Labels::new(),
        ready: true,
        network_available: true,
        excluded: false,
        going: false,
        unfit: false,
        keyless: false,
        speaker: false,
        addresses: Vec::new(),
    }
}

fn labelled(name: &str, labels: &[&str]) -> Node {
    Node { labels: to_labels(labels), ..node(name) }
}

pub(super) fn to_labels(keys: &[&str]) -> Labels {
    keys.iter().map(|key| ((*key).to_owned(), String::new())).collect()
}

pub(super) fn packed(keys: &[&str]) -> PackedLabels {
    PackedLabels::pack(&to_labels(keys))
}

pub(super) fn exists(key: &str) -> LabelSelector {
    LabelSelector { requirements: [Requirement::Exists(key.to_owned())].into() }
}

pub(super) fn pool(name: &str, ranges: &[&str]) -> Pool {
    Pool {
        name: name.into(),
        ranges: ranges.iter().map(|range| range.parse().unwrap()).collect(),
        ..Pool::default()
    }
}

pub(super) fn service(held: &[&str]) -> Contender {
    let held = held.iter().map(|address| address.parse().unwrap()).collect();
    Contender { held, ..Contender::default() }
}

pub(super) fn key(name: &str) -> Arc<ServiceKey> {
    Arc::new(ServiceKey::new("default", name))
}

fn holder(name: &str) -> Holder {
    Holder { key: key(name), uid: "".into() }
}

pub(super) fn serving(nodes: &[&str]) -> Endpoints {
    let mut endpoints = Endpoints::default();
    endpoints.add(None);
    nodes.iter().for_each(|node| endpoints.add(Some((*node).into())));
    endpoints
}

/// A cluster in which everything goes, to be broken one step at a time.
struct World {
    service: Contender,
    endpoints: Endpoints,
    pools: Vec<Pool>,
    advertisements: Vec<Advertisement>,
    nodes: Vec<Node>,
}

impl World {
    fn new(address: &str, nodes: &[&str]) -> World {
        World {
            service: service(&[address]),
            endpoints: serving(&[]),
            pools: vec![pool("lan", &["0.0.0.0/0", "::/0"])],
            advertisements: vec![Advertisement::default()],
            nodes: nodes.iter().map(|name| node(name)).collect(),
        }
    }

    fn candidate_and_snapshot(&self) -> (Candidate, Snapshot) {
        let candidate =
            Candidate { key: key("web"), service: self.service.clone(), endpoints: self.endpoints.clone() };
        let snapshot = Snapshot {
            pools: self.pools.clone(),
            // Where it would matter, the Service would have to bear a note.
            some_pools_unusable: false,
            advertisements: self.advertisements.clone(),
            services: Vec::new(),
            nodes: self.nodes.clone(),
        };
        (candidate, snapshot)
    }

    fn elect(&self) -> Result<Vec<String>, Nobody> {
        let (candidate, snapshot) = self.candidate_and_snapshot();
        let ranking = elect(&candidate, &snapshot)?;
        Ok(ranking.nodes().iter().map(|node| node.name.clone()).collect())
    }

    fn interfaces(&self, name: &str) -> Option<Interfaces> {
        let (candidate, snapshot) = self.candidate_and_snapshot();
        let node = self.nodes.iter().find(|node| node.name == name).unwrap();
        elect(&candidate, &snapshot).unwrap().interfaces(node)
    }
}

/// MetalLB's own order, which a cluster that changes over must not notice.
#[test]
fn the_order_is_metallbs() {
    let vectors: [(&str, &[&str]); 6] = [
        ("10.0.0.1", &["node-b", "node-a", "node-c"]),
        ("10.0.0.2", &["node-b", "node-c", "node-a"]),
        ("10.20.30.1", &["node-b", "node-a"]),
        ("10.20.30.1", &["edge-b", "worker-a", "edge-a", "worker-b"]),
        ("10.20.30.1", &["iris2", "iris1"]),
        ("2001:db8::1", &["node-b", "node-a", "node-c"]),
    ];
    for (address, expected) in vectors {
        let mut sorted = expected.to_vec();
        sorted.sort_unstable();
        assert_eq!(World::new(address, &sorted).elect().unwrap(), expected, "{address}");
    }
}

/// Computed independently: for each node `printf %s 'node1#10.0.0.1' | sha256sum`, then `sort`.
#[test]
fn the_order_is_that_of_sha256_of_node_and_address() {
    let vectors = [
        ("10.0.0.1", ["node2", "node1", "node5", "node4", "node3"]),
        ("10.0.0.2", ["node2", "node3", "node5", "node1", "node4"]),
        ("10.0.0.3", ["node4", "node2", "node5", "node3", "node1"]),
        ("192.168.1.240", ["node5", "node3", "node4", "node1", "node2"]),
        ("192.168.1.241", ["node1", "node4", "node3", "node2", "node5"]),
        ("fd00:10::1", ["node3", "node1", "node2", "node5", "node4"]),
        ("2001:db8:0:0:1::", ["node5", "node2", "node3", "node4", "node1"]),
        ("2001:db8::ff00:42:8329", ["node3", "node5", "node2", "node1", "node4"]),
    ];
    for (address, expected) in vectors {
        let world = World::new(address, &["node1", "node2", "node3", "node4", "node5"]);
        assert_eq!(world.elect().unwrap(), expected, "{address}");
    }
}

/// `printf %s 'node1#10.0.0.1' | sha256sum`.
#[test]
fn the_hash_is_of_the_name_a_sharp_and_the_address_as_text() {
    let written: String =
        hash("node1", "10.0.0.1".parse().unwrap()).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(written, "414b4c5392caa413d81d44f63a055c8b42cd8cfd6c339c8525f16eebc27e271b");
}

#[test]
fn both_addresses_of_a_service_follow_the_first() {
    let mut world = World::new("10.0.0.2", &["node-a", "node-b", "node-c"]);
    world.service = service(&["10.0.0.2", "2001:db8::1"]);
    assert_eq!(world.elect().unwrap(), ["node-b", "node-c", "node-a"]);
    world.service.held.reverse();
    assert_eq!(world.elect().unwrap(), ["node-b", "node-a", "node-c"]);
}

#[test]
fn each_step_that_leaves_no_node_says_so() {
    type Break = fn(&mut World);
    let steps: [(Break, Nobody); 12] = [
        (|w| w.service.held = [].into(), Nobody::NoAddress),
        (|w| w.service.held_is_broken = true, Nobody::UnreadableStatus),
        (|w| w.pools.clear(), Nobody::NoPool),
        (|w| w.pools = vec![pool("other", &["10.0.0.2/32"])], Nobody::NoPool),
        (|w| w.endpoints = Endpoints::default(), Nobody::NoEndpoint),
        (|w| w.advertisements.clear(), Nobody::NotAdvertised),
        (|w| w.advertisements[0].pools = ["other".to_owned()].into(), Nobody::NotAdvertised),
        (|w| w.advertisements[0].service_selectors = vec![exists("public")], Nobody::NotAdvertised),
        (|w| w.advertisements[0].node_selectors = vec![exists("edge")], Nobody::NoNodeSelected),
        (|w| w.nodes.iter_mut().for_each(|node| node.excluded = true), Nobody::AllExcluded),
        (|w| w.nodes.iter_mut().for_each(|node| node.network_available = false), Nobody::NoNetwork),
        (|w| w.service.local_traffic_only = true, Nobody::NoLocalEndpoint),
    ];
    for (number, (break_it, why)) in steps.into_iter().enumerate() {
        let mut world = World::new("10.0.0.1", &["node-a", "node-b"]);
        assert!(world.elect().is_ok());
        break_it(&mut world);
        assert_eq!(world.elect(), Err(why), "step {number}");
    }
}

#[test]
fn addresses_in_two_pools_are_nobodys() {
    let mut world = World::new("10.0.0.1", &["node-a"]);
    world.service = service(&["10.0.0.1", "fd00::1"]);
    world.pools = vec![pool("four", &["10.0.0.0/24"]), pool("six", &["fd00::/64"])];
    assert_eq!(world.elect(), Err(Nobody::NoPool));
    world.pools.push(pool("both", &["10.0.0.0/24", "fd00::/64"]));
    assert!(world.elect().is_ok());
}

#[test]
fn one_bad_node_is_passed_over() {
    let bad = [
        |node: &mut Node| node.excluded = true,
        |node: &mut Node| node.network_available = false,
        |node: &mut Node| node.ready = false,
    ];
    for (number, spoil) in bad.into_iter().enumerate() {
        let mut world = World::new("10.0.0.1", &["node-a", "node-b", "node-c"]);
        spoil(&mut world.nodes[1]);
        assert_eq!(world.elect().unwrap(), ["node-a", "node-c"], "{number}");
    }
}

#[test]
fn local_traffic_keeps_to_nodes_with_a_serving_endpoint() {
    let mut world = World::new("10.0.0.1", &["node-a", "node-b", "node-c"]);
    world.endpoints = serving(&["node-c", "gone"]);
    assert_eq!(world.elect().unwrap(), ["node-b", "node-a", "node-c"]);
    world.service.local_traffic_only = true;
    assert_eq!(world.elect().unwrap(), ["node-c"]);
    // An endpoint whose node is not known serves, but nowhere.
    world.endpoints = Endpoints::default();
    world.endpoints.add(None);
    assert_eq!(world.elect(), Err(Nobody::NoLocalEndpoint));
    world.endpoints.add(Some("node-a".into()));
    assert_eq!(world.elect().unwrap(), ["node-a"]);
}

fn preferring(weight: u32, label: &str) -> Advertisement {
    Advertisement {
        preferences: vec![Preference { weight, selector: exists(label) }],
        ..Advertisement::default()
    }
}

#[test]
fn weights_add_up_over_advertisements_and_beat_the_hash() {
    let mut world = World::new("10.0.0.1", &[]);
    world.nodes = vec![labelled("node-a", &["rack"]), node("node-b"), labelled("node-c", &["ssd", "new"])];
    world.advertisements = vec![preferring(60, "rack"), preferring(50, "ssd"), preferring(60, "new")];
    assert_eq!(world.elect().unwrap(), ["node-c", "node-a", "node-b"]);
    world.nodes[2].labels.remove("new");
    assert_eq!(world.elect().unwrap(), ["node-a", "node-c", "node-b"]);
    world.nodes.iter_mut().for_each(|node| node.labels.clear());
    assert_eq!(world.elect().unwrap(), ["node-b", "node-a", "node-c"]);
}

#[test]
fn a_preference_counts_only_where_its_advertisement_selects() {
    let mut world = World::new("10.0.0.1", &[]);
    world.nodes = vec![node("node-a"), node("node-b"), labelled("node-c", &["ssd"])];
    let elsewhere = Advertisement { node_selectors: vec![exists("edge")], ..preferring(100, "ssd") };
    let other_services = Advertisement { service_selectors: vec![exists("db")], ..preferring(100, "ssd") };
    world.advertisements = vec![Advertisement::default(), elsewhere, other_services];
    assert_eq!(world.elect().unwrap(), ["node-b", "node-a", "node-c"]);
    // And it never overrules a hard filter.
    world.advertisements =
        vec![Advertisement { node_selectors: vec![exists("edge")], ..preferring(100, "ssd") }];
    world.nodes[0].labels = to_labels(&["edge"]);
    assert_eq!(world.elect().unwrap(), ["node-a"]);
}

#[test]
fn interfaces_are_the_union_over_the_advertisements_of_the_node() {
    let on = |nic: &str, label: Option<&str>| Advertisement {
        interfaces: [nic.to_owned()].into(),
        node_selectors: label.map(exists).into_iter().collect(),
        ..Advertisement::default()
    };
    let only = |names: &[&str]| Some(Interfaces::Only(names.iter().map(|name| (*name).to_owned()).collect()));
    let mut world = World::new("10.0.0.1", &[]);
    world.nodes = vec![labelled("node-a", &["edge"]), node("node-b")];
    world.advertisements = vec![on("lan", None), on("wan", Some("edge"))];
    assert_eq!(world.interfaces("node-a"), only(&["lan", "wan"]));
    assert_eq!(world.interfaces("node-b"), only(&["lan"]));
    world
        .advertisements
        .push(Advertisement { node_selectors: vec![exists("edge")], ..Advertisement::default() });
    assert_eq!(world.interfaces("node-a"), Some(Interfaces::All));
    assert_eq!(world.interfaces("node-b"), only(&["lan"]));
    world.advertisements.remove(0);
    assert_eq!(world.interfaces("node-b"), None);
}

fn snapshot(services: Vec<Candidate>) -> Snapshot {
    Snapshot {
        pools: vec![pool("lan", &["10.0.0.0/24", "fd00::/64"])],
        advertisements: vec![Advertisement::default()],
        some_pools_unusable: false,
        services,
        nodes: ["node-a", "node-b", "node-c"].map(node).into(),
    }
}

fn candidate(name: &str, service: Contender) -> Candidate {
    Candidate { key: key(name), service, endpoints: serving(&[]) }
}

#[test]
fn the_outcome_names_owners_and_why_there_is_none() {
    let web = candidate("web", service(&["10.0.0.1", "fd00::1"]));
    let pending = candidate("pending", service(&[]));
    let other = candidate("other", service(&["10.0.0.2"]));
    let outcome = decide(&snapshot(vec![web, pending, other]));
    let owned: Vec<_> =
        outcome.owners.iter().map(|(address, owner)| (address.to_string(), owner.node.as_str())).collect();
    let expected = [("10.0.0.1", "node-b"), ("10.0.0.2", "node-b"), ("fd00::1", "node-b")];
    assert_eq!(owned, expected.map(|(address, node)| (address.to_owned(), node)));
    assert_eq!(outcome.nobody, [((*key("pending")).clone(), Nobody::NoAddress)].into());

    let announcement =
        |name: &str| Announcement { interfaces: Interfaces::All, services: vec![holder(name)] };
    let mine = [
        ("10.0.0.1".parse().unwrap(), announcement("web")),
        ("10.0.0.2".parse().unwrap(), announcement("other")),
        ("fd00::1".parse().unwrap(), announcement("web")),
    ];
    assert_eq!(outcome.desired("node-b"), mine.into());
    assert_eq!(outcome.desired("node-a"), [].into());
}

#[test]
fn an_unfit_node_is_the_last_whatever_is_preferred() {
    let mut world = World::new("10.0.0.1", &["node-a", "node-b", "node-c"]);
    world.nodes[1].unfit = true;
    assert_eq!(world.elect().unwrap(), ["node-a", "node-c", "node-b"]);
    world.nodes[1].labels = to_labels(&["ssd"]);
    world.advertisements = vec![preferring(100, "ssd")];
    assert_eq!(world.elect().unwrap(), ["node-a", "node-c", "node-b"]);
    world.nodes.iter_mut().for_each(|node| node.unfit = true);
    assert_eq!(world.elect().unwrap(), ["node-b", "node-a", "node-c"]);
}

#[test]
fn only_load_balancers_of_our_class_contend() {
    use crate::service::{FamilyPolicy, Requested, Role, Service};
    let of = |role| Service {
        key: (*key("web")).clone(),
        created: 7,
        labels: to_labels(&["a"]),
        role,
        families: vec![],
        policy: FamilyPolicy::SingleStack,
        held: vec!["10.0.0.1".parse().unwrap()],
        held_is_broken: false,
        allocated_from: Some("lan".into()),
        requested_pool: None,
        requested: Requested::Nothing,
        sharing: None,
        granted_terms: None,
        marked: false,
        external_ips: BTreeSet::new(),
        local_traffic_only: true,
    };
    assert_eq!(Contender::of(of(Role::Foreign), "u"), None);
    assert_eq!(Contender::of(of(Role::NotLoadBalanced), "u"), None);
    let expected = Contender {
        uid: "u".into(),
        created: 7,
        labels: packed(&["a"]),
        allocated_from: Some("lan".into()),
        local_traffic_only: true,
        ..service(&["10.0.0.1"])
    };
    assert_eq!(Contender::of(of(Role::Ours), "u"), Some(expected));
}

#[test]
fn where_no_node_is_ready_readiness_decides_nothing() {
    let mut world = World::new("10.0.0.1", &["node-a", "node-b", "node-c"]);
    world.nodes.iter_mut().for_each(|node| node.ready = false);
    assert_eq!(world.elect().unwrap(), ["node-b", "node-a", "node-c"]);
    // Those left count, not all: with Local traffic the one ready node has no endpoint.
    world.nodes[0].ready = true;
    assert_eq!(world.elect().unwrap(), ["node-a"]);
    world.endpoints = serving(&["node-c"]);
    world.service.local_traffic_only = true;
    assert_eq!(world.elect().unwrap(), ["node-c"]);
}

#[test]
fn while_pools_are_missing_the_noted_pool_counts_and_else_it_does_not() {
    let noted = Contender { allocated_from: Some("gone".into()), ..service(&["10.9.0.1"]) };
    let held: IpAddr = "10.9.0.1".parse().unwrap();
    let mut world = snapshot(vec![candidate("web", noted.clone())]);
    assert_eq!(decide(&world).nobody[&key("web")], Nobody::NoPool, "all pools are known, and none has it");

    world.some_pools_unusable = true;
    assert_eq!(decide(&world).owners[&held].node, "node-b", "the order is that of any address");
    world.advertisements[0].pools = ["other".to_owned()].into();
    assert_eq!(
        decide(&world).nobody[&key("web")],
        Nobody::NotAdvertised,
        "the advertisement is of another pool"
    );
    world.advertisements[0].pools = ["gone".to_owned()].into();
    assert!(decide(&world).owners.contains_key(&held));

    world.some_pools_unusable = false;
    world.pools.clear();
    assert!(decide(&world).owners.contains_key(&held), "no pool is known at all");
    world.services[0].service.allocated_from = None;
    assert_eq!(decide(&world).nobody[&key("web")], Nobody::NoPool, "the controller did not give it");
}

/// A selector can match by what a pool lacks; what a pool that cannot be read lacks is not known.
#[test]
fn a_noted_pool_is_advertised_by_name_or_with_all_pools() {
    let held: IpAddr = "10.9.0.1".parse().unwrap();
    let noted = Contender { allocated_from: Some("gone".into()), ..service(&["10.9.0.1"]) };
    let without = |key: &str| LabelSelector { requirements: [Requirement::DoesNotExist(key.into())].into() };
    let named = |name: &str| Advertisement { pools: [name.to_owned()].into(), ..Advertisement::default() };
    let by = |selector: LabelSelector| Advertisement {
        pool_selectors: vec![selector],
        ..Advertisement::default()
    };
    let cases = [
        ("all pools", Advertisement::default(), true),
        ("its name", named("gone"), true),
        ("another name", named("lan"), false),
        ("a label", by(exists("public")), false),
        ("no label", by(without("private")), false),
        ("any labels", by(LabelSelector::default()), true),
        (
            "its name or no label",
            Advertisement { pools: ["gone".to_owned()].into(), ..by(without("x")) },
            true,
        ),
    ];
    for (what, advertisement, covered) in cases {
        let mut world = snapshot(vec![candidate("web", noted.clone())]);
        world.some_pools_unusable = true;
        world.advertisements = vec![advertisement];
        assert_eq!(decide(&world).owners.contains_key(&held), covered, "{what}");
    }
}

/// Part of a status that no pool has says that somebody else wrote it: the controller does not leave it alone.
#[test]
fn a_known_pool_that_has_some_of_the_addresses_is_not_replaced_by_a_note() {
    let noted = Contender { allocated_from: Some("gone".into()), ..service(&["10.0.0.1", "2001:db8::1"]) };
    let mut world = snapshot(vec![candidate("web", noted.clone())]);
    world.some_pools_unusable = true;
    assert_eq!(decide(&world).nobody[&key("web")], Nobody::NoPool);
    // A pool that can be read and has the addresses counts, whatever the note says.
    world.services[0].service.held = service(&["10.0.0.1"]).held;
    world.advertisements[0].pools = ["lan".to_owned()].into();
    assert_eq!(decide(&world).owners.len(), 1);
}

#[test]
fn services_that_share_an_address_have_one_owner() {
    let share = |name: &str, created, labels: &[&str]| {
        candidate(name, Contender { created, labels: packed(labels), ..service(&["10.0.0.1"]) })
    };
    let mut world = snapshot(vec![share("a-young", 2, &["web"]), share("z-old", 1, &["db"])]);
    let keys = vec![holder("a-young"), holder("z-old")];
    let owner = |world: &Snapshot| decide(world).owners.remove(&"10.0.0.1".parse().unwrap()).unwrap();
    assert_eq!((owner(&world).node.as_str(), owner(&world).announcement.services), ("node-b", keys));

    // Advertised from different nodes: the older one's election decides.
    let from = |node_label: &str, service_label: &str, nic: &str| Advertisement {
        node_selectors: vec![exists(node_label)],
        service_selectors: vec![exists(service_label)],
        interfaces: [nic.to_owned()].into(),
        ..Advertisement::default()
    };
    world.nodes[0].labels = to_labels(&["a"]);
    world.nodes[2].labels = to_labels(&["c"]);
    world.advertisements = vec![from("a", "web", "lan"), from("c", "db", "wan")];
    let settled = owner(&world);
    assert_eq!(settled.node, "node-c");
    assert_eq!(settled.announcement.interfaces, Interfaces::Only(["wan".to_owned()].into()));

    // When the older one has nobody, the younger one's does.
    world.services[1].endpoints = Endpoints::default();
    assert_eq!(owner(&world).node, "node-a");
}
