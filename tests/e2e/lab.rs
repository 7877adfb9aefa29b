//! The lab itself: it comes up, and whatever happens to it, `lab down` leaves nothing behind.

mod support;
mod wire;

use std::process::{Command, Stdio};

use ferrolb_tests::lab::down::Remains;
use ferrolb_tests::lab::progress::wait;
use ferrolb_tests::lab::{Paths, node};

use support::{block_on, left_out};

/// Whether the node is Ready, and since when the kubelet that says so.
const LAST_READY: &str =
    r#"jsonpath={range .status.conditions[?(@.type=="Ready")]}{.status} {.lastHeartbeatTime}{end}"#;

/// A lab that is taken down at the end, also of a failed test.
struct Guard(&'static str);

impl Guard {
    /// An earlier run that was killed may have left one; it is taken down first.
    fn new(name: &'static str) -> Self {
        must(lab(name, &["down"]));
        Guard(name)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = lab(self.0, &["down"]).status();
    }
}

pub(crate) fn lab(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.args(["--name", name]).args(arguments);
    command
}

pub(crate) fn must(mut command: Command) -> String {
    let output = command.output().expect("the lab program");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

/// What a command says that must be refused.
pub(crate) fn refused(mut command: Command) -> String {
    let output = command.output().expect("the lab program");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{command:?} should be refused: {said}");
    said
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
    let (_one, _two) = (Guard::new("testa"), Guard::new("testb"));
    must(lab("testa", &["up", "--nodes", "1"]));
    must(lab("testb", &["up", "--nodes", "0", "--segments", "2"]));
    let nodes = |name| must(lab(name, &["kubectl", "get", "nodes", "-o", "name"]));
    assert_eq!((nodes("testa").trim(), nodes("testb").trim()), ("node/node1", ""));

    let said = refused(lab("testa", &["up"]));
    assert!(said.contains("is up already"), "{said}");
    careful_as_a_real_cluster("testa");
    apart_from_the_machine("testa");
    wire::each_segment_is_a_wire_of_its_own("testb");
    wire::hosts_see_frames_and_keep_neighbours("testb");
    wire::the_judge_tells_one_owner_from_two("testb");

    must(lab("testb", &["down"]));
    nothing_is_left("testb");
    assert_eq!(nodes("testa").trim(), "node/node1", "the other lab lives on");
    let host = must(lab("testa", &["exec", "node1", "hostname"]));
    assert_eq!(host.trim(), "node1");
    must(lab("testa", &["down"]));
    nothing_is_left("testa");
}

/// What a pod, an account and a node may not do.
fn careful_as_a_real_cluster(name: &str) {
    let pod = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bad"}, "spec": {"hostNetwork": true,
        "containers": [{"name": "a", "image": "a", "securityContext": {"privileged": true}}]}}"#;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), pod).expect("a manifest");
    let said = refused(lab(name, &["kubectl", "create", "-f", file.path().to_str().expect("a path")]));
    assert!(said.contains("violates PodSecurity \"restricted"), "{said}");

    let may = |who: &str| {
        let account = format!("--as=system:serviceaccount:kube-system:{who}");
        let output = lab(name, &["kubectl", "auth", "can-i", "list", "secrets", &account]).output();
        String::from_utf8_lossy(&output.expect("the lab program").stdout).trim().to_owned()
    };
    assert_eq!(
        (may("default").as_str(), may("namespace-controller").as_str()),
        ("no", "yes"),
        "RBAC decides"
    );

    // Inside the lab, with node1's own certificate: a node says of itself what it likes, except where the
    // administrator says it.
    let paths = Paths::of(name);
    let (program, node1) = (paths.programs_link().join("kubectl"), paths.kubeconfig_of("node1"));
    let kubectl = [program.to_str().expect("a path"), "--kubeconfig", node1.to_str().expect("a path")];
    let label = |label| {
        let mut arguments = vec!["exec", "cp"];
        arguments.extend(kubectl);
        arguments.extend(["label", "node", "node1", label]);
        lab(name, &arguments)
    };
    must(label("colour=green"));
    let said = refused(label("node-restriction.kubernetes.io/colour=green"));
    assert!(said.contains("is not allowed to modify labels"), "{said}");
}

/// What the lab must not do to the machine it runs on.
fn apart_from_the_machine(name: &str) {
    // Whoever reads the administrator's key is root on this machine by way of a privileged pod.
    let paths = Paths::of(name);
    let mut reader = Command::new("setpriv");
    reader.args(["--reuid=65534", "--regid=65534", "--clear-groups", "cat"]).arg(paths.kubeconfig());
    let said = refused(reader);
    assert!(said.contains("Permission denied"), "{said}");

    // The kubelet sets what happens when the kernel panics. In a node that must not reach the machine.
    let setting = "/proc/sys/kernel/panic";
    let before = std::fs::read_to_string(setting).expect("a setting");
    let other = if before.trim() == "10" { "11" } else { "10" };
    must(lab(name, &["exec", "node1", "sh", "-c", &format!("echo {other} > {setting}")]));
    let after = std::fs::read_to_string(setting).expect("a setting");
    std::fs::write(setting, &before).expect("the setting as it was");
    assert_eq!(before, after, "a node reached the machine's own setting");

    // Folders that the kubelet and containerd fill wherever they run.
    for folder in ["/var/lib", "/var/log"] {
        let kind = must(lab(name, &["exec", "node1", "stat", "--file-system", "--format=%T", folder]));
        assert_eq!(kind.trim(), "tmpfs", "{folder} in a node is the machine's");
    }
    let opened =
        must(lab(name, &["exec", "node1", "ls", "/run/containerd/opt", "/var/lib/kubelet/volume-plugins"]));
    assert!(opened.contains("bin"), "{opened}");
}

#[test]
fn down_spares_what_only_sounds_like_the_lab() {
    if !root() {
        return;
    }
    // A container runtime calls the namespaces of its pods cni-…, and a lab may be called cni.
    let (name, foreign) = ("testx", "testx-1b4e28ba");
    let ip = |arguments: &[&str]| {
        let mut command = Command::new("ip");
        command.args(arguments);
        command
    };
    must(ip(&["netns", "add", foreign]));
    let mut inside = Command::new("nsenter");
    inside.arg(format!("--net=/run/netns/{foreign}")).args(["--", "sleep", "60"]);
    let mut inside = inside.spawn().expect("nsenter");
    let namespace =
        |path: &str| std::fs::metadata(path).map(|file| std::os::unix::fs::MetadataExt::ino(&file)).ok();
    let (own, there) = (format!("/proc/{}/ns/net", inside.id()), format!("/run/netns/{foreign}"));
    until("the process to be in its namespace", || namespace(&own) == namespace(&there));

    let down = lab(name, &["down"]).output().expect("the lab program");
    let lives = inside.try_wait().expect("a child").is_none();
    let _ = inside.kill();
    let _ = inside.wait();
    let stays = ip(&["netns", "delete", foreign]).status().expect("ip").success();
    assert!(down.status.success() && lives && stays, "process alive: {lives}, namespace there: {stays}");
}

#[test]
fn a_node_can_be_killed_and_started_and_its_cable_pulled() {
    if !root() {
        return;
    }
    let _guard = Guard::new("testn");
    must(lab("testn", &["up", "--nodes", "1", "--one-nic"]));
    let processes = || Remains::of(&Paths::of("testn")).processes;
    let has = |what: &str| processes().iter().any(|(_, line)| line.contains(what));
    let (kubelet, containerd) = ("/kubelet --config", "containerd --config");
    assert!(has(kubelet) && has(containerd));
    must(lab("testn", &["node", "kill", "1"]));
    let left = node::processes(&Paths::of("testn"), "node1");
    assert!(left.is_empty(), "when the command returns, nothing of the node runs: {left:?}");
    assert!(!has(kubelet) && !has(containerd) && !has("node-init"));
    let said = refused(lab("testn", &["exec", "node1", "true"]));
    assert!(said.contains("lab node start 1"), "{said}");
    // What the node said of itself last. It says it anew each time it starts.
    let boot = || must(lab("testn", &["kubectl", "get", "node", "node1", "-o", LAST_READY]));
    let before = boot();
    must(lab("testn", &["node", "start", "1"]));
    until("node1 to be Ready again", || boot() != before && boot().starts_with("True"));

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
    let _guard = Guard::new("testk");
    let mut starter = lab("testk", &["up", "--nodes", "1"]);
    let mut starter = starter.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the lab program");
    // Killed in the middle: the node is there, and the starter waits for it.
    until("the node to be started", || {
        Remains::of(&Paths::of("testk")).processes.iter().any(|(_, line)| line.contains("/kubelet --config"))
    });
    // As long as it lives, taking down what it makes would be a race.
    let said = refused(lab("testk", &["down"]));
    assert!(said.contains("another process is bringing lab \"testk\" up"), "{said}");
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
    let _guard = Guard::new("testf");
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
    let started = std::time::Instant::now();
    let said = refused(lab("testf", &["up", "--nodes", "1", "--programs", programs]));
    assert!(said.contains(" failed: it ended (exit status: 1)"), "{said}");
    assert!(started.elapsed().as_secs() < 30, "nobody waits for what has ended");
    nothing_is_left("testf");

    std::fs::remove_file(folder.path().join("etcd")).expect("the link");
    let refused = lab("testf", &["up", "--programs", programs]).output().expect("the lab program");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("lacks etcd"), "{said}");
    nothing_is_left("testf");
}

#[test]
fn an_interrupted_start_takes_down_what_it_started() {
    if !root() {
        return;
    }
    let _guard = Guard::new("testi");
    for signal in [nix::sys::signal::Signal::SIGINT, nix::sys::signal::Signal::SIGTERM] {
        let starter =
            lab("testi", &["up", "--nodes", "1"]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn();
        let starter = starter.expect("the lab program");
        until("the node to be started", || {
            Remains::of(&Paths::of("testi"))
                .processes
                .iter()
                .any(|(_, line)| line.contains("/kubelet --config"))
        });
        let pid = nix::unistd::Pid::from_raw(i32::try_from(starter.id()).expect("a process id"));
        nix::sys::signal::kill(pid, signal).expect("the starter is running");
        let output = starter.wait_with_output().expect("the starter ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("interrupted"), "{signal}: {said}");
        nothing_is_left("testi");
    }
}

#[test]
fn a_missing_command_is_named_with_its_package() {
    if !root() {
        return;
    }
    let mut up = lab("testp", &["up"]);
    up.env("PATH", "/nonexistent");
    let said = refused(up);
    assert!(said.contains("containerd") && said.contains("apt-get install containerd"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    nothing_is_left("testp");
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
pub(crate) fn until(what: &str, condition: impl Fn() -> bool) {
    let waited =
        block_on(wait(what, 60, async || if condition() { Ok(()) } else { Err("not yet".to_owned()) }));
    waited.expect("it came about");
}
