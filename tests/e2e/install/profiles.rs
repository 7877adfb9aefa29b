//! The seccomp profiles in `config/components/seccomp`: what the programs do is in them, and nothing that is not is let through.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use ferrolb_tests::chaos::{self, Balancer, Faults, Pods, Stage};
use ferrolb_tests::lab::progress::{Progress, wait};
use ferrolb_tests::lab::{LabError, fault, node, programs, up};
use ferrolb_tests::plane::project;
use ferrolb_tests::scene::{self, SYSTEM};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::cluster::Cluster;

/// The programs that have one.
const PROGRAMS: [&str; 2] = ["controller", "speaker"];

/// Who asks for what is not in its profile is refused, and goes on; here it ends, so that it is seen.
const DEADLY: &str = "SCMP_ACT_KILL_PROCESS";

/// 128 and SIGSYS: how a process ends that was killed by its profile.
const KILLED: i64 = 159;

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 10, 0, 201));

/// What goes wrong meanwhile: the hellos go by UDP, links go and come, watches begin again, the lead goes over.
const FAULTS: [&str; 6] =
    ["hellos-dropped", "port-down", "both-ports", "api-away", "controller-gone", "stop"];

/// As whom the speaker runs here.
const NOBODY: u32 = 65534;

/// How long a thing may take to show, in seconds.
const PATIENCE: u64 = 60;

fn profile(program: &str) -> Value {
    let file = project("config/components/seccomp").join(format!("{program}.json"));
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The names of the system calls that a profile lets through, with and without conditions.
fn names(profile: &Value) -> Vec<String> {
    let rules = profile["syscalls"].as_array().expect("rules");
    assert!(rules.iter().all(|rule| rule["action"] == "SCMP_ACT_ALLOW"));
    let names = rules.iter().flat_map(|rule| rule["names"].as_array().expect("names"));
    names.map(|name| name.as_str().expect("a name").to_owned()).collect()
}

#[test]
fn a_profile_lists_what_is_allowed_and_the_controller_may_do_less() {
    let [controller, speaker] = PROGRAMS.map(profile);
    for profile in [&controller, &speaker] {
        assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
        assert_eq!(profile["architectures"], json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"]));
        let all = names(profile);
        let mut sorted: Vec<String> = profile["syscalls"][0]["names"]
            .as_array()
            .expect("names")
            .iter()
            .map(|name| name.as_str().expect("a name").to_owned())
            .collect();
        let before = sorted.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(before, sorted, "in order, and each once");
        for never in
            ["ptrace", "bpf", "mount", "setns", "unshare", "io_uring_setup", "execveat", "fork", "kexec_load"]
        {
            assert!(!all.iter().any(|name| name == never), "{never}");
        }
    }
    let of = |profile| names(profile).into_iter().collect::<BTreeSet<_>>();
    assert!(of(&controller).is_subset(&of(&speaker)), "{:?}", of(&controller).difference(&of(&speaker)));
    // A packet socket is what only the speaker may open: PF_PACKET is 17.
    let packet = json!(17);
    let may = |profile: &Value| {
        let rules = profile["syscalls"].as_array().expect("rules");
        rules.iter().any(|rule| rule["names"] == json!(["socket"]) && rule["args"][0]["value"] == packet)
    };
    assert_eq!([may(&controller), may(&speaker)], [false, true]);
}

/// Writes the profiles to where the kubelet of each node looks for them.
fn put(cluster: &Cluster) -> Result<(), LabError> {
    for name in cluster.lab.config.node_names() {
        let init = node::init(&cluster.lab.paths, &name).ok_or_else(|| node::not_running(&name))?;
        let folder = format!("/proc/{init}/root/var/lib/kubelet/seccomp/ferrolb");
        let folder = Path::new(&folder);
        std::fs::create_dir_all(folder).map_err(LabError::at(folder))?;
        for program in PROGRAMS {
            let mut profile = profile(program);
            profile["defaultAction"] = DEADLY.into();
            profile.as_object_mut().map(|profile| profile.remove("defaultErrnoRet"));
            let file = folder.join(format!("{program}.json"));
            std::fs::write(&file, profile.to_string()).map_err(LabError::at(&file))?;
        }
    }
    Ok(())
}

/// A container of ours that has ended once: its program, and with which code.
type End = (String, i64);

/// The containers that have ended, of the pods that are there.
fn ends(cluster: &Cluster) -> Result<Vec<End>, LabError> {
    let pods = cluster.kubectl(&["-n", SYSTEM, "get", "pods", "-o", "json"])?;
    let pods: Value = serde_json::from_str(&pods).map_err(|error| LabError::State(error.to_string()))?;
    let containers = pods["items"].as_array().into_iter().flatten().flat_map(|pod| {
        let of = pod["status"]["containerStatuses"].as_array();
        of.into_iter().flatten()
    });
    let states = containers.flat_map(|container| {
        ["state", "lastState"].map(|state| (&container["name"], &container[state]["terminated"]["exitCode"]))
    });
    let ended = states.filter_map(|(name, code)| Some((name.as_str()?.to_owned(), code.as_i64()?)));
    Ok(ended.collect())
}

/// None has ended: nothing that is done here ends one, so it was its profile.
fn none_ended(cluster: &Cluster, when: &str) -> Result<(), LabError> {
    let ends = ends(cluster)?;
    if ends.is_empty() {
        return Ok(());
    }
    let killed = if ends.iter().any(|(_, code)| *code == KILLED) { ": killed by its profile" } else { "" };
    Err(LabError::State(format!("{when}, these have ended: {ends:?}{killed}")))
}

/// With the profiles, but so that a call too many is the end of the program, and a speaker that is not root: all of it comes up,
/// serves, bears faults, and ends when it is asked to.
pub(crate) async fn suffice(cluster: &Cluster, lab_program: &Path) -> Result<(), LabError> {
    let (lab, progress) = (&cluster.lab, Progress::default());
    put(cluster)?;
    up::load_image(lab, &programs::ferrolb_image(&progress)?).await?;
    cluster.kubectl(&["apply", "-f", &project("crds").to_string_lossy()])?;
    cluster.kubectl(&["apply", "-k", &project("config/seccomp").to_string_lossy()])?;
    // A program with a file capability begins otherwise: the C library looks for /etc/suid-debug.
    let user = json!({"runAsNonRoot": true, "runAsUser": NOBODY, "runAsGroup": NOBODY});
    let patch = json!({"spec": {"template": {"spec": {"securityContext": user}}}}).to_string();
    cluster.kubectl(&["-n", SYSTEM, "patch", "daemonset", "ferrolb-speaker", "--patch", &patch])?;
    Balancer::Ferrolb.ready(lab).await?;
    scene::heard(lab).await?;

    let stage = Stage::set(lab, Balancer::Ferrolb, "release", ADDRESS, Pods::Everywhere, lab_program).await?;
    none_ended(cluster, "after the start")?;
    for name in lab.config.node_names() {
        let speakers = fault::running(lab, &name, "/ferrolb-speaker")?;
        assert_eq!(speakers.len(), 1, "{name}");
        let status = format!("/proc/{}/status", speakers[0]);
        let status = std::fs::read_to_string(&status).map_err(LabError::at(Path::new(&status)))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default().split_whitespace().next().unwrap_or_default().to_owned()
        };
        let raw = format!("{:016x}", 1 << 13);
        assert_eq!(
            ["Uid", "CapPrm", "CapEff", "NoNewPrivs"].map(field),
            [&NOBODY.to_string(), &raw, &raw, "1"]
        );
    }
    let faults: Vec<Faults> = FAULTS.iter().map(|name| name.parse().expect("a fault")).collect();
    for step in chaos::plan(1, faults.len(), &faults, stage.order.len()) {
        for outcome in chaos::run(&stage, std::slice::from_ref(&step), &progress).await? {
            assert!(outcome.wrong.is_empty(), "{outcome}");
        }
        none_ended(cluster, &format!("after {step}"))?;
    }

    // Where they are: a pod that goes takes with it how it ended.
    stage.signal_speaker(stage.first(), Signal::SIGTERM)?;
    let nodes = lab.config.node_names().into_iter();
    let controllers =
        nodes.filter_map(|node| fault::running(lab, &node, "/ferrolb-controller").ok()).flatten();
    fault::signal(&controllers.collect::<Vec<_>>(), Signal::SIGTERM)?;
    let well: Vec<End> = PROGRAMS.map(|program| (program.to_owned(), 0)).into();
    wait("a controller and a speaker to end well", PATIENCE, async || match ends(cluster) {
        Ok(mut ends) => {
            ends.sort();
            if ends == well { Ok(()) } else { Err(format!("they end so: {ends:?}")) }
        }
        Err(error) => Err(error.to_string()),
    })
    .await?;
    Balancer::Ferrolb.ready(lab).await?;
    stage.well().await?;
    stage.scene.end().await
}
