//! Records what controller and speakers of this version write in a real cluster, for the tests of all versions to come:
//! `cargo test -p ferrolb-tests --test fixtures -- --ignored` writes `tests/fixtures/VERSION/cluster.json`.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use ferrolb_tests::host::frame;
use ferrolb_tests::lab::progress::{Progress, wait};
use ferrolb_tests::lab::{Lab, LabError, process};
use ferrolb_tests::plane::project;
use ferrolb_tests::scene::{self, SYSTEM, Scene};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use serde_json::{Value, json};

use support::cluster::Cluster;
use support::shop::{State, shop};
use support::{block_on, left_out, on_wire};

const LAB: &str = "upf";

/// How long anything may take, in seconds.
const PATIENCE: u64 = 120;

/// What is recorded of our namespace, and of that of the Services.
const KINDS: [(&str, &str); 3] = [
    ("", "nodes,namespaces"),
    (
        SYSTEM,
        "ipaddresspools,l2advertisements,bgppeers,bgpadvertisements,servicel2statuses,configurationstates,secret/ferrolb-hello",
    ),
    ("shop", "services,endpointslices"),
];

#[test]
#[ignore = "writes tests/fixtures/VERSION/cluster.json of this version"]
fn record() {
    if !nix::unistd::geteuid().is_root() {
        left_out("the lab needs root");
        return;
    }
    let outcome = block_on(async {
        let cluster = Cluster::up(LAB, &["--proxy", "nftables"])?;
        let record = recorded(&cluster.lab).await?;
        let folder = project("tests/fixtures").join(env!("CARGO_PKG_VERSION"));
        std::fs::create_dir_all(&folder).map_err(LabError::at(&folder))?;
        let text =
            serde_json::to_string_pretty(&record).map_err(|error| LabError::State(error.to_string()))?;
        let file = folder.join("cluster.json");
        std::fs::write(&file, text + "\n").map_err(LabError::at(&file))
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

async fn recorded(lab: &Lab) -> Result<Value, LabError> {
    let progress = Progress::default();
    scene::install(lab, &progress).await?;
    scene::heard(lab).await?;
    let scene = shop(Scene::in_lab(lab, "shop").await?).await?;
    more(&scene).await?;
    let state = State::of(&scene).await?;
    let hellos = on_wire(hellos(lab))?;
    let listed = wait("everything to be told", PATIENCE, async || {
        let listed = objects(lab).map_err(|error| error.to_string())?;
        untold(&listed, &state).map_or(Ok(listed), Err)
    })
    .await?;
    let lease = ["-n", SYSTEM, "get", "lease/ferrolb-controller", "-o", "json"];
    let held = one(lab, &lease)?;
    let pods = ["-n", SYSTEM, "get", "pods", "-l", "app.kubernetes.io/component=controller", "-o", "name"];
    let holder = process::run(lab.kubectl().args(pods))?.trim().trim_start_matches("pod/").to_owned();
    process::run(lab.kubectl().args([
        "-n",
        SYSTEM,
        "scale",
        "deployment/ferrolb-controller",
        "--replicas=0",
    ]))?;
    let given_back = wait("the Lease to be given back", PATIENCE, async || {
        let lease = one(lab, &lease).map_err(|error| error.to_string())?;
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        if holder.is_empty() { Ok(lease) } else { Err(format!("{holder} has it")) }
    })
    .await?;
    let services = state.0.iter().map(|(name, (addresses, nodes))| {
        let interfaces: &[&str] = if name == WIRED { &["eth0"] } else { &[] };
        let means = json!({"addresses": addresses, "nodes": nodes, "interfaces": interfaces});
        (format!("{}/{name}", scene.namespace), means)
    });
    let services: BTreeMap<String, Value> = services.collect();
    Ok(json!({
        "means": {
            "services": services,
            "lease": {"holder": holder, "seconds": 15},
            "hellos": hellos.values().map(|bytes| hex(bytes)).collect::<Vec<_>>(),
        },
        "objects": listed.into_iter().chain([given_back]).collect::<Vec<_>>(),
        "heldLease": held,
    }))
}

/// The Service that is announced on one interface alone.
const WIRED: &str = "wired";

/// The Service that gets no address.
const WAITS: &str = "waits";

/// The Service of which another host has the address.
const CONTESTED: &str = "ipv4-1";

/// What a shop has not: a Service that waits, one on a single interface, an address that another host says it has, an
/// advertisement that cannot work, and objects for BGP.
async fn more(scene: &Scene) -> Result<(), LabError> {
    let objects = [
        ("IPAddressPool", "one", json!({"addresses": ["10.10.0.190/32"], "autoAssign": false})),
        ("L2Advertisement", "one", json!({"ipAddressPools": ["one"], "interfaces": ["eth0"]})),
        (
            "L2Advertisement",
            "nobody",
            json!({"nodeSelectors": [{"matchLabels": {"kubernetes.io/hostname": "gone"}}]}),
        ),
        ("BGPAdvertisement", "routes", json!({"ipAddressPools": ["shop"]})),
    ];
    for (kind, name, spec) in &objects {
        scene.create(kind, name, spec).await?;
    }
    let peer = json!({
        "apiVersion": "metallb.io/v1beta2", "kind": "BGPPeer", "metadata": {"name": "router", "namespace": SYSTEM},
        "spec": {"myASN": 64512, "peerASN": 64513, "peerAddress": "10.10.0.1"},
    });
    let file = tempfile::NamedTempFile::new().map_err(LabError::at("a file"))?;
    std::fs::write(file.path(), peer.to_string()).map_err(LabError::at(file.path()))?;
    process::run(scene.lab.kubectl().args(["apply", "-f"]).arg(file.path()))?;
    for name in [WIRED, WAITS] {
        let service = scene.service(name).with("selector", json!({"app": "shop"})).family("IPv4");
        service.annotated("metallb.io/address-pool", "one").create().await?;
        if name == WIRED {
            scene.address(name).await?;
        }
    }
    let std::net::IpAddr::V4(address) = scene.address(CONTESTED).await? else {
        return Err(LabError::State(format!("{CONTESTED} has no IPv4 address")));
    };
    let other = scene.lab.host("client2")?;
    let mac = on_wire(other.mac("eth0"))?;
    on_wire(other.send_raw("eth0", &frame::arp_request(mac, address, address)))
}

/// All objects, each cut to what a reader of another version may see of it.
fn objects(lab: &Lab) -> Result<Vec<Value>, LabError> {
    let mut all = Vec::new();
    for (namespace, kinds) in KINDS {
        for kind in kinds.split(',') {
            let mut get = lab.kubectl();
            if !namespace.is_empty() {
                get.args(["-n", namespace]);
            }
            let said = process::run(get.args(["get", kind, "-o", "json"]))?;
            let said: Value =
                serde_json::from_str(&said).map_err(|error| LabError::State(error.to_string()))?;
            match said["items"].as_array() {
                Some(items) => all.extend(items.iter().cloned()),
                None => all.push(said),
            }
        }
    }
    let own = |object: &Value| {
        object["kind"] != "Namespace"
            || ["shop", SYSTEM].iter().any(|name| object["metadata"]["name"] == *name)
    };
    all.retain(own);
    for object in &mut all {
        if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut)
        {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
        if object["kind"] == "Node" {
            // What a machine is made of is nothing that we write or read.
            if let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.remove("annotations");
            }
            let status = &object["status"];
            object["status"] = json!({"conditions": status["conditions"], "addresses": status["addresses"]});
        }
    }
    Ok(all)
}

/// What is not written yet.
fn untold(objects: &[Value], state: &State) -> Option<String> {
    let of = |kind: &'static str| objects.iter().filter(move |object| object["kind"] == kind);
    let said = |object: &Value, kind: &str| {
        let conditions = object["status"]["conditions"].as_array();
        conditions.into_iter().flatten().any(|condition| condition["type"] == kind)
    };
    for service in of("Service") {
        let name = service["metadata"]["name"].as_str().unwrap_or_default();
        if !said(service, "ferrolb.io/AddressAssigned") {
            return Some(format!("{name} has no condition"));
        }
        if name == CONTESTED && !said(service, "ferrolb.io/AddressConflict") {
            return Some(format!("{name} tells of no conflict"));
        }
    }
    for (kind, condition) in [
        ("L2Advertisement", "Effective"),
        ("BGPPeer", "NotSupported"),
        ("BGPAdvertisement", "NotSupported"),
        ("IPAddressPool", "Valid"),
    ] {
        if let Some(object) = of(kind).find(|object| !said(object, condition)) {
            return Some(format!(
                "{kind} {} does not say {condition}: {}",
                object["metadata"]["name"], object["status"]
            ));
        }
    }
    let expected: usize = state
        .0
        .values()
        .map(|(_, nodes)| nodes.iter().collect::<std::collections::BTreeSet<_>>().len())
        .sum();
    let found = of("ServiceL2Status").filter(|object| object["status"]["node"].is_string()).count();
    (found != expected).then(|| format!("{found} of {expected} ServiceL2Statuses are there"))
}

fn one(lab: &Lab, arguments: &[&str]) -> Result<Value, LabError> {
    let said = process::run(lab.kubectl().args(arguments))?;
    serde_json::from_str(&said).map_err(|error| LabError::State(error.to_string()))
}

/// The next hello of each node that comes to a client.
fn hellos(lab: &Lab) -> std::io::Result<BTreeMap<[u8; 6], Vec<u8>>> {
    let nodes = usize::from(lab.config.nodes);
    let client = lab.host("client1").map_err(std::io::Error::other)?;
    client.inside(move || {
        let socket =
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(100))?;
        let (started, mut heard) = (Instant::now(), BTreeMap::new());
        while heard.len() < nodes {
            if started.elapsed() > Duration::from_secs(PATIENCE) {
                return Err(std::io::Error::other(format!("hellos of {} nodes came", heard.len())));
            }
            let mut bytes = [0; 2048];
            let length = match recv(socket.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
                Ok(length) => length,
                Err(nix::Error::EAGAIN | nix::Error::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if let (Some([0x88, 0xb5]), Some(source)) = (bytes.get(12..14), bytes[6..].first_chunk::<6>()) {
                heard.entry(*source).or_insert_with(|| bytes[..length].to_vec());
            }
        }
        Ok(heard)
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
