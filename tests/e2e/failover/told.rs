//! What operators are told of speakers that do not hear each other.

use ferrolb_tests::chaos::{Pods, Stage};
use ferrolb_tests::lab::fault::{Drops, Way};
use ferrolb_tests::lab::network::Network;
use ferrolb_tests::lab::progress::wait;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, ListParams};

use crate::on_stage;

/// Half a minute of silence is told.
const PATIENCE: u64 = 90;

#[test]
fn a_node_that_is_not_heard_is_told_on_the_nodes_that_do_not_hear_it() {
    on_stage("unheard", 16, Pods::Everywhere, async |stage: &Stage| {
        let mute = std::slice::from_ref(&stage.order[2]);
        let drops = Drops::frames(stage.lab(), Network::Lan, mute, &[Way::Out], 1000)?;
        let events: Api<Event> = Api::namespaced(stage.scene.client.clone(), "default");
        for node in &stage.order[..2] {
            let about = format!("involvedObject.kind=Node,involvedObject.name={node},reason=HellosUnheard");
            wait(&format!("an event on {node}"), PATIENCE, async || {
                let found = events.list(&ListParams::default().fields(&about)).await;
                let found = found.map_err(|error| error.to_string())?.items;
                let said: Vec<String> = found.into_iter().filter_map(|event| event.message).collect();
                let words = [format!("the speaker on {} comes in on eth0", mute[0]), "0x88b5".to_owned()];
                let told = said.iter().any(|line| words.iter().all(|word| line.contains(word)));
                if told { Ok(()) } else { Err(format!("{said:?}")) }
            })
            .await?;
        }
        drops.end()?;
        stage.well().await
    });
}
