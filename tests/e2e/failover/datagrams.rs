//! A switch that drops the frames by which speakers hear each other: they do so by UDP, and all goes on as before.

use std::time::Duration;

use ferrolb_tests::chaos::{self, Faults, Pods, Stage, Watch};
use ferrolb_tests::lab::LabError;
use ferrolb_tests::lab::fault::Drops;
use ferrolb_tests::lab::network::Network;
use ferrolb_tests::lab::progress::{Progress, wait};

use crate::on_stage;

/// How long it may take until the speakers that start have found each other, in seconds, on a busy machine.
const PATIENCE: u64 = 60;

/// So long one alone must answer.
const CALM: Duration = Duration::from_secs(3);

/// For how long nobody may answer while the switch begins or ends to drop frames: nothing is to move.
const UNNOTICED: Duration = Duration::from_millis(500);

async fn calm(watch: &Watch, what: &str) -> Result<String, LabError> {
    let mut owner = String::new();
    wait(what, PATIENCE, async || watch.calm_for(CALM).map(|alone| owner = alone)).await?;
    Ok(owner)
}

#[test]
fn a_switch_that_begins_to_drop_hellos_and_ends_to_moves_nothing() {
    on_stage("hellos-dropped", 14, Pods::Everywhere, async |stage: &Stage| {
        let watch = Watch::begin(stage.lab(), stage.address, 20)?;
        let before = calm(&watch, "the address to work before").await?;
        let began = watch.clock().now();
        let drops = Drops::hellos(stage.lab(), Network::Lan)?;
        let during = calm(&watch, "the address to work without frames").await?;
        drops.end()?;
        let after = calm(&watch, "the address to work with frames again").await?;
        assert_eq!((&during, &after), (&before, &before), "the address moved");
        let watched = watch.end()?;
        let (verdict, fates) = (watched.verdict_since(began), watched.fates.clone().unwrap_or_default());
        assert_eq!((fates.reset, fates.stalled), (0, 0), "{fates:?}\n{verdict}");
        assert_eq!(verdict.macs().len(), 1, "the address moved\n{verdict}");
        assert!(verdict.longest_silence <= UNNOTICED, "nobody answered\n{verdict}");
        Ok(())
    });
}

#[test]
fn faults_are_borne_where_the_switch_drops_hellos() {
    on_stage("faults-without-frames", 15, Pods::Everywhere, async |stage: &Stage| {
        let drops = Drops::hellos(stage.lab(), Network::Lan)?;
        // All speakers anew, so that none has ever heard a frame of another.
        let daemons = format!("daemonset/{}", stage.balancer.daemon_set());
        stage.kubectl(&["-n", ferrolb_tests::scene::SYSTEM, "rollout", "restart", &daemons])?;
        stage.balancer.ready(stage.lab()).await?;
        stage.well().await?;
        for fault in ["kill", "stop", "port-down"] {
            let asked: Faults = fault.parse().expect("a fault");
            let steps = chaos::plan(1, 1, &[asked], stage.order.len());
            for outcome in chaos::run(stage, &steps, &Progress::default()).await? {
                assert!(outcome.wrong.is_empty(), "{outcome}");
            }
        }
        drops.end()
    });
}
