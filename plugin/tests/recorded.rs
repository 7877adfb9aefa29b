//! Clusters in which FerroLB of each version ran (`tests/fixtures/VERSION/cluster.json`), as this plugin sees them.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use ferrolb_fake_api::Recorded;
use ferrolb_plugin::migrate::snapshot;
use serde_json::json;

#[tokio::test]
async fn services_have_the_addresses_and_owners_that_were_seen_on_the_wire() {
    for recorded in Recorded::all() {
        let api = support::api();
        recorded.put(&api, &["Service", "ServiceL2Status"]);
        let taken = snapshot(&api.client()).await.expect("a snapshot");
        let set = |list: &serde_json::Value| -> BTreeSet<String> {
            list.as_array().expect("a list").iter().map(|it| it.as_str().expect("text").to_owned()).collect()
        };
        let means = recorded.means("services").as_object().expect("by name");
        let expected: BTreeMap<String, [BTreeSet<String>; 2]> = means
            .iter()
            .map(|(name, means)| (name.clone(), [set(&means["addresses"]), set(&means["nodes"])]))
            .collect();
        let found = json!(taken.services);
        let found: BTreeMap<String, [BTreeSet<String>; 2]> = found
            .as_object()
            .expect("by name")
            .iter()
            .map(|(name, shown)| (name.clone(), [set(&shown["addresses"]), set(&shown["owners"])]))
            .collect();
        assert_eq!(found, expected, "{}", recorded.version);
        assert!(taken.notes.is_empty(), "{}: {:?}", recorded.version, taken.notes);
    }
}
