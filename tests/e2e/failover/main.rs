//! An address under faults, in a real cluster, judged on the wire: a short list by name. `lab chaos` has all, by seed too.
//!
//! The lab must have three nodes with two network cards each. What must hold after each fault, and how soon, is in
//! `ferrolb_tests::chaos`: [`run`](chaos::run) and [`bounds`](chaos::bounds).

#[path = "../support/mod.rs"]
mod support;

mod datagrams;
mod endpoints;
mod told;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use ferrolb_tests::chaos::{self, Balancer, Faults, Pods, Stage, Watch, bounds};
use ferrolb_tests::lab::LabError;
use ferrolb_tests::lab::progress::{Progress, wait};
use ferrolb_tests::scene::SYSTEM;

use support::in_cluster;

/// The addresses of these tests begin here.
const FIRST: u8 = 202;

/// One test for each name of a fault, done to the owner of an address of its own.
macro_rules! borne {
    ($($name:ident = $faults:literal at $number:literal;)*) => { $(
        #[test]
        fn $name() {
            borne($faults, $number);
        }
    )* };
}

borne! {
    the_death_of_a_node = "kill" at 0;
    a_speaker_that_is_stopped = "stop" at 1;
    a_cable_of_the_lan_that_is_pulled = "port-down" at 2;
    a_deaf_node = "cut-in" at 3;
    a_mute_node = "cut-out" at 4;
    frames_that_are_lost = "loss" at 5;
    a_node_without_the_api = "api-cut" at 6;
    no_node_with_the_api = "api-away" at 7;
    a_kube_proxy_that_is_stopped = "proxy-stopped" at 8;
    no_controller = "controller-gone" at 9;
    a_client_that_restarts = "client-reboot" at 10;
    a_gateway_that_restarts = "gateway-reboot" at 11;
    a_node_that_dies_while_frames_are_lost = "kill+loss" at 12;
}

fn borne(faults: &str, number: u8) {
    let asked: Faults = faults.parse().expect("faults");
    on_stage(faults, number, Pods::Everywhere, async |stage| {
        let steps = chaos::plan(1, 1, &[asked], stage.order.len());
        let outcomes = chaos::run(stage, &steps, &Progress::default()).await?;
        for outcome in outcomes {
            assert!(outcome.wrong.is_empty(), "{outcome}");
        }
        Ok(())
    });
}

#[test]
fn data_flows_through_the_address_during_a_rolling_update() {
    /// So many connections are used all the time.
    const CONNECTIONS: usize = 20;
    /// How long an update may take, in seconds.
    const PATIENCE: u64 = 120;
    on_stage("rollout", 13, Pods::Last, async |stage| {
        let watch = Watch::begin(stage.lab(), stage.address, CONNECTIONS)?;
        let calm = Duration::from_secs(1);
        wait("the address to work before", PATIENCE, async || watch.calm_for(calm)).await?;
        let began = watch.clock().now();
        let daemons = format!("daemonset/{}", stage.balancer.daemon_set());
        stage.kubectl(&["-n", SYSTEM, "rollout", "restart", &daemons])?;
        stage.balancer.ready(stage.lab()).await?;
        wait("the address to work afterwards", PATIENCE, async || watch.calm_for(calm)).await?;
        let watched = watch.end()?;
        let (verdict, fates) = (watched.verdict_since(began), watched.fates.clone().unwrap_or_default());
        assert_eq!((fates.of, fates.reset, fates.stalled), (CONNECTIONS, 0, 0), "{fates:?}\n{verdict}");
        assert_eq!(verdict.macs().len(), 1, "the address moved\n{verdict}");
        assert!(verdict.double_answers().0.is_zero(), "{verdict}");
        assert!(verdict.longest_silence <= bounds::ROLLING_UPDATE, "nobody answered\n{verdict}");
        Ok(())
    });
}

pub(crate) fn on_stage(
    name: &str,
    number: u8,
    pods: Pods,
    test: impl AsyncFnOnce(&Stage) -> Result<(), LabError>,
) {
    let name = format!("failover-{}", name.replace('+', "-"));
    in_cluster(&name, async |scene| {
        let address = IpAddr::V4(Ipv4Addr::new(10, 10, 0, FIRST + number));
        let program = Path::new(env!("CARGO_BIN_EXE_lab"));
        let stage = Stage::set(&scene.lab, Balancer::Ferrolb, &name, address, pods, program).await?;
        test(&stage).await
    });
}
