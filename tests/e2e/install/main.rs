//! Installing FerroLB: by kubectl, by overlays, by Helm; what each sends is let in, and grants no more than is listed here.

#[path = "../support/mod.rs"]
mod support;

mod admitted;
mod overlay;
mod profiles;
mod release;
mod render;
mod rights;
mod same;
mod values;

use std::path::Path;
use std::time::Instant;

use ferrolb_tests::plane::{Plane, project};

use render::Renderer;
use support::cluster::Cluster;
use support::{block_on, left_out};

const LAB: &str = "testi";
const CLUSTER: &str = "testh";
const ELSEWHERE: &str = "testo";
const CONFINED: &str = "tests";

#[test]
fn the_api_server_takes_all_of_it_and_grants_no_more_than_is_listed() {
    if !nix::unistd::geteuid().is_root() {
        left_out("the lab needs root");
        return;
    }
    let renderer = Renderer::new().expect("the programs");
    let plane = Plane::anew(LAB, Path::new(env!("CARGO_BIN_EXE_lab"))).expect("a control plane");
    admitted::prepare(&plane).expect("definitions and namespaces");
    let mut last = Instant::now();
    let mut done = |what: &str, result: Result<String, String>| match result {
        Ok(said) => {
            println!("{what}: {said}in {:.1} s", last.elapsed().as_secs_f64());
            last = Instant::now();
        }
        Err(error) => panic!("{what}:\n{error}"),
    };
    done("strict decoding", admitted::strictly(&plane, &renderer).map(|()| String::new()));
    done("Pod Security", admitted::pod_security(&plane, &renderer).map(|()| String::new()));
    let rbac = project("config/default");
    plane.kubectl(&["apply", "-k", &rbac.to_string_lossy()]).expect("installed");
    let counts = block_on(rights::are_these(&plane));
    done("rights", counts.map(|[controller, speaker]| format!("{controller} verbs and {speaker} verbs, ")));
}

#[test]
fn a_release_lives_and_ends_and_no_address_moves() {
    if !nix::unistd::geteuid().is_root() {
        left_out("the lab needs root");
        return;
    }
    let cluster = Cluster::anew(CLUSTER).expect("a cluster");
    if let Err(error) = block_on(release::life(&cluster)) {
        panic!("{error}\n{}", cluster.state());
    }
}

#[test]
fn an_overlay_with_another_namespace_has_its_rights_there() {
    if !nix::unistd::geteuid().is_root() {
        left_out("the lab needs root");
        return;
    }
    let cluster = Cluster::anew(ELSEWHERE).expect("a cluster");
    if let Err(error) = block_on(overlay::serves(&cluster)) {
        panic!("{error}\n{}", cluster.state_in(overlay::NAMESPACE));
    }
}

#[test]
fn with_the_system_calls_of_its_profile_it_does_all_it_does() {
    if !nix::unistd::geteuid().is_root() {
        left_out("the lab needs root");
        return;
    }
    let cluster = Cluster::up(CONFINED, &["--proxy", "nftables"]).expect("a cluster");
    if let Err(error) = block_on(profiles::suffice(&cluster, Path::new(env!("CARGO_BIN_EXE_lab")))) {
        panic!("{error}\n{}", cluster.state());
    }
}
