//! A speaker of this version in a cluster in which those of an earlier version ran (`tests/fixtures/VERSION/cluster.json`).

use std::collections::{BTreeMap, BTreeSet};

use ferrolb_core::wire::hello::parse_frame;
use ferrolb_crds::view::{EndpointSlice, Node, Service};
use ferrolb_fake_api::Recorded;
use ferrolb_runtime::Seen;
use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;

use crate::cluster::{Input, Slice, World, contender};

/// The nodes that answered on the wire for each address, as recorded.
fn answering(recorded: &Recorded) -> BTreeMap<String, String> {
    let services = recorded.means("services").as_object().expect("by name").values();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let pairs = services.flat_map(|service| {
        let list =
            |field: &str| service[field].as_array().expect("a list").iter().map(text).collect::<Vec<_>>();
        list("addresses").into_iter().zip(list("nodes"))
    });
    let pairs: BTreeMap<String, String> = pairs.collect();
    assert!(!pairs.is_empty());
    pairs
}

/// Each node's speaker elects for each address the node that answered for it.
#[test]
fn who_answered_in_an_earlier_version_is_elected() {
    for recorded in Recorded::all() {
        let expected = answering(&recorded);
        let nodes = recorded.read::<Node>("Node");
        for node in ["node1", "node2", "node3"] {
            let mut world = World::new(node.to_owned());
            let services = recorded.read::<Service>("Service");
            world.handle(Input::Nodes(Seen::Listed(nodes.iter().map(|node| node.to_core(false)).collect())));
            world.handle(Input::Pools(Seen::Listed(recorded.read("IPAddressPool"))));
            world.handle(Input::Advertisements(Seen::Listed(recorded.read("L2Advertisement"))));
            world.handle(Input::States(Seen::Listed(recorded.read("ConfigurationState"))));
            let slices = recorded.read::<EndpointSlice>("EndpointSlice");
            world.handle(Input::Slices(Seen::Listed(slices.iter().map(Slice::of).collect())));
            world.handle(Input::Services(Seen::Listed(
                services.iter().map(|it| contender(it, None)).collect(),
            )));
            let changes = world.update().expect("all kinds are listed");
            let roster = world.roster();
            let elected = changes.into_iter().filter_map(|change| {
                let owner = change.contest.ok()?.owner_by_api(&roster)?;
                Some((change.address.to_string(), roster.get(owner)?.name.to_string()))
            });
            assert_eq!(elected.collect::<BTreeMap<_, _>>(), expected, "{}, at {node}", recorded.version);
            assert!(world.configuration().problems.is_empty(), "{:?}", world.configuration());
            let members: Vec<_> =
                roster.iter().map(|(_, member)| (member.speaker, member.unfit, member.keyless)).collect();
            assert_eq!(members, vec![(true, false, false); nodes.len()], "{}: {roster:?}", recorded.version);
        }
    }
}

/// The Secret, mounted, opens what was said on the wire.
#[test]
fn the_key_of_an_earlier_version_opens_its_hellos() {
    for recorded in Recorded::all() {
        let secret = recorded.read::<Secret>("Secret").remove(0);
        let folder = tempfile::tempdir().expect("a folder");
        for (name, value) in secret.data.expect("entries") {
            std::fs::write(folder.path().join(name), value.0).expect("an entry");
        }
        let (keys, problems) = crate::keys::read(folder.path()).expect("a mounted Secret");
        assert_eq!(problems, [], "{}", recorded.version);
        let hellos = recorded.means("hellos").as_array().expect("hellos");
        let senders = hellos.iter().map(|hello| {
            let frame = unhex(hello.as_str().expect("text"));
            let received =
                parse_frame(&frame, &keys).unwrap_or_else(|why| panic!("{}: {why}", recorded.version));
            received.message.sender.node
        });
        let nodes = recorded.read::<Node>("Node");
        let nodes: BTreeSet<String> = nodes.into_iter().filter_map(|node| node.metadata.name).collect();
        assert_eq!(senders.collect::<BTreeSet<_>>(), nodes, "{}", recorded.version);
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("two hexadecimal digits");
    (0..text.len()).step_by(2).map(digit).collect()
}
