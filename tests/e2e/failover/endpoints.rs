//! An address of a Service with `externalTrafficPolicy: Local` follows the Service's endpoints, and none of that is seen by clients.

use std::time::Duration;

use ferrolb_tests::chaos::{Pods, Stage, Watch};
use ferrolb_tests::lab::LabError;
use ferrolb_tests::lab::progress::wait;

use super::on_stage;

/// How often an endpoint goes and comes back.
const ROUNDS: usize = 3;

/// How long a thing may take to show, in seconds.
const PATIENCE: u64 = 60;

/// It works when it has for so long. kube-proxy renews its rules at most once a second, so that long is behind it then.
const CALM: Duration = Duration::from_millis(1500);

/// One handshake may be under way at the instant of the move: begun with one node, ended with another.
const UNDER_WAY: usize = 1;

/// Adds to these pods of the Service a label, or takes it away.
fn label(stage: &Stage, which: &[&str], label: &str) -> Result<(), LabError> {
    let all = ["-n", &stage.scene.namespace, "label", "--overwrite", "pods", "-l", "app=web", label];
    stage.kubectl(&all.into_iter().chain(which.iter().copied()).collect::<Vec<_>>())
}

#[test]
fn an_address_comes_to_a_new_endpoint_once_the_proxy_has_it() {
    on_stage("endpoints", 15, Pods::Everywhere, async |stage| {
        let first = stage.first();
        let [here, last] =
            [first, stage.order.last().expect("a node")].map(|node| format!("spec.nodeName={node}"));
        let [here, last] = [&here, &last].map(|node| ["--field-selector", node.as_str()]);
        // From now on only pods with a label of their own belong to the Service.
        label(stage, &[], "in=yes")?;
        let patch = r#"{"spec":{"selector":{"in":"yes"}}}"#;
        stage.kubectl(&["-n", &stage.scene.namespace, "patch", "service", "web", "-p", patch])?;
        for round in 1..=ROUNDS {
            let watch = Watch::begin(stage.lab(), stage.address, 0)?;
            let answers = async |who: &str, is: bool| {
                wait(who, PATIENCE, async || match watch.calm_for(CALM) {
                    Ok(owner) if (owner == first) == is => Ok(()),
                    Ok(owner) => Err(format!("{owner} answers")),
                    Err(why) => Err(why),
                })
                .await
            };
            label(stage, &here, "in-")?;
            answers("another node to answer", false).await?;
            let began = watch.clock().now();
            // Its rules are renewed for this, and not for another second.
            label(stage, &last, "in-")?;
            label(stage, &here, "in=yes")?;
            answers("the first node to answer again", true).await?;
            label(stage, &last, "in=yes")?;
            let watched = watch.end()?;
            let (gap, verdict) = (watched.attempts.gap(began), watched.verdict_since(began));
            println!("round {round}: {gap:?}");
            assert!(gap.failed <= UNDER_WAY, "round {round}: {gap:?}\n{verdict}");
        }
        Ok(())
    });
}
