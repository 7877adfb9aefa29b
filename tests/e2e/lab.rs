//! The lab itself: it comes up, and whatever happens to it, `lab down` leaves nothing behind.

mod support;

use std::process::{Command, Stdio};

use ferrolb_tests::lab::Paths;
use ferrolb_tests::lab::down::Remains;
use ferrolb_tests::lab::progress::wait;

use support::{block_on, left_out};

/// A lab that is taken down at the end, also of a failed test.
struct Guard(&'static str);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = lab(self.0, &["down"]).status();
    }
}

fn lab(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.args(["--name", name]).args(arguments);
    command
}

fn must(mut command: Command) -> String {
    let output = command.output().expect("the lab program");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

fn root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        left_out("the lab needs root");
    }
    root
}

fn nothing_is_left(name: &str) {
    let remains = Remains::of(&Paths::of(name));
    assert!(remains.is_none(), "left behind: {remains:#?}");
}

#[test]
fn down_leaves_nothing_and_two_labs_live_side_by_side() {
    if !root() {
        return;
    }
    let (_one, _two) = (Guard("testa"), Guard("testb"));
    must(lab("testa", &["up", "--nodes", "1"]));
    must(lab("testb", &["up", "--nodes", "0"]));
    let nodes = |name| must(lab(name, &["kubectl", "get", "nodes", "-o", "name"]));
    assert_eq!((nodes("testa").trim(), nodes("testb").trim()), ("node/node1", ""));

    let again = lab("testa", &["up"]).output().expect("the lab program");
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(!again.status.success() && said.contains("is up already"), "{said}");

    must(lab("testb", &["down"]));
    nothing_is_left("testb");
    assert_eq!(nodes("testa").trim(), "node/node1", "the other lab lives on");
    let host = must(lab("testa", &["exec", "node1", "hostname"]));
    assert_eq!(host.trim(), "node1");
    must(lab("testa", &["down"]));
    nothing_is_left("testa");
}

#[test]
fn a_node_can_be_killed_and_started_and_its_cable_pulled() {
    if !root() {
        return;
    }
    let _guard = Guard("testn");
    must(lab("testn", &["up", "--nodes", "1", "--one-nic"]));
    let processes = || Remains::of(&Paths::of("testn")).processes;
    let has = |what: &str| processes().iter().any(|(_, line)| line.contains(what));
    let (kubelet, containerd) = ("/kubelet --config", "containerd --config");
    assert!(has(kubelet) && has(containerd));
    must(lab("testn", &["node", "kill", "1"]));
    until("the node's processes to end", || !has(kubelet) && !has(containerd) && !has("node-init"));
    must(lab("testn", &["node", "start", "1"]));
    until("the kubelet to run again", || has(kubelet));

    let carrier = || {
        let up = must(lab(
            "testn",
            &[
                "exec",
                "cp",
                "sh",
                "-c",
                "ping -c1 -W1 10.10.0.11 >/dev/null 2>&1; ip -n testn-sw link show node1-lan",
            ],
        ));
        up.contains("state UP")
    };
    until("the port to be up", carrier);
    must(lab("testn", &["link", "down", "node1"]));
    until("the port to be down", || !carrier());
    must(lab("testn", &["link", "up", "node1", "lan"]));
    until("the port to be up again", carrier);
    must(lab("testn", &["down"]));
    nothing_is_left("testn");
}

#[test]
fn what_a_killed_starter_leaves_is_taken_down() {
    if !root() {
        return;
    }
    let _guard = Guard("testk");
    let mut starter = lab("testk", &["up", "--nodes", "1"]);
    let mut starter = starter.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the lab program");
    // Killed in the middle: the node is there, and the starter waits for it.
    until("the node to be started", || {
        Remains::of(&Paths::of("testk")).processes.iter().any(|(_, line)| line.contains("/kubelet --config"))
    });
    starter.kill().expect("the starter is running");
    starter.wait().expect("the starter ends");
    assert!(!Remains::of(&Paths::of("testk")).is_none(), "there is something to take down");
    must(lab("testk", &["down"]));
    nothing_is_left("testk");
}

#[test]
fn a_failed_start_leaves_nothing_and_says_why() {
    if !root() {
        return;
    }
    let _guard = Guard("testf");
    // Programs that end at once: the API server never comes.
    let folder = tempfile::tempdir().expect("a folder");
    let names = [
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubelet",
        "kube-proxy",
        "kubectl",
        "etcd",
    ];
    for name in names {
        std::os::unix::fs::symlink("/bin/false", folder.path().join(name)).expect("a link");
    }
    let programs = folder.path().to_str().expect("a path");
    let mut starter = lab("testf", &["up", "--nodes", "1", "--programs", programs])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the lab program");
    until("the control plane to be tried", || {
        !Remains::of(&Paths::of("testf")).namespaces.is_empty() && Paths::of("testf").kubeconfig().exists()
    });
    // Whoever waits in vain presses Ctrl-C.
    let pid = nix::unistd::Pid::from_raw(i32::try_from(starter.id()).expect("a process id"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("the starter is running");
    let status = starter.wait().expect("the starter ends");
    assert!(!status.success(), "it failed");
    nothing_is_left("testf");

    std::fs::remove_file(folder.path().join("etcd")).expect("the link");
    let refused = lab("testf", &["up", "--programs", programs]).output().expect("the lab program");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("lacks etcd"), "{said}");
    nothing_is_left("testf");
}

#[test]
fn without_root_it_says_so_in_one_sentence() {
    if !root() {
        return;
    }
    let program = env!("CARGO_BIN_EXE_lab");
    // Nobody may not look into root's folders, so a copy lies where everybody may.
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("lab");
    std::fs::copy(program, &copy).expect("a copy");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).expect("permissions");
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&copy)
        .args(["--name", "testr", "up"])
        .output()
        .expect("setpriv");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("run it as root"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

/// Waits for a condition of the machine.
fn until(what: &str, condition: impl Fn() -> bool) {
    let waited =
        block_on(wait(what, 60, async || if condition() { Ok(()) } else { Err("not yet".to_owned()) }));
    waited.expect("it came about");
}
