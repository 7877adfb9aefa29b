//! MetalLB's kinds that FerroLB takes and does not act on: manifests apply as they are, and each object says so.

mod support;

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use ferrolb_controller::unsupported;
use ferrolb_runtime::Context;
use ferrolb_tests::lab::progress::wait;
use ferrolb_tests::plane::{Plane, project};
use ferrolb_tests::scene::SYSTEM;

use support::{block_on, left_out};

const LAB: &str = "testkinds";

/// How long the condition may take, in seconds.
const PATIENCE: u64 = 30;

/// Each field that MetalLB documents, in both versions of a peer.
const ALL: &str = r#"
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata: {name: router}
spec:
  myASN: 64512
  peerASN: 4200000000
  localASN: 64513
  peerAddress: 10.0.0.1
  sourceAddress: 10.0.0.2
  peerPort: 1179
  holdTime: 3m0s
  keepaliveTime: 1m0s
  connectTime: 10s
  routerID: 10.10.10.10
  nodeSelectors: [{matchLabels: {rack: a}, matchExpressions: [{key: zone, operator: In, values: [b, c]}]}]
  passwordSecret: {name: bgp, namespace: metallb-system}
  bfdProfile: fast
  enableGracefulRestart: true
  ebgpMultiHop: true
  vrf: red
  disableMP: false
  dualStackAddressFamily: true
---
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata: {name: unnumbered}
spec: {myASN: 64512, dynamicASN: external, interface: eth1, password: secret}
---
apiVersion: metallb.io/v1beta1
kind: BGPPeer
metadata: {name: earlier}
spec:
  myASN: 64512
  peerASN: 64513
  peerAddress: fc00::1
  sourceAddress: fc00::2
  peerPort: 0
  holdTime: 90s
  keepaliveTime: 30s
  routerID: 10.10.10.10
  nodeSelectors: [{matchLabels: {rack: a}, matchExpressions: [{key: zone, operator: In, values: [b]}]}]
  password: secret
  bfdProfile: fast
  ebgpMultiHop: false
---
apiVersion: metallb.io/v1beta1
kind: BGPAdvertisement
metadata: {name: everything}
spec:
  aggregationLength: 26
  aggregationLengthV6: 124
  localPref: 100
  communities: [64512:1234, "large:64512:1:2", vpn-only]
  ipAddressPools: [first]
  ipAddressPoolSelectors: [{matchLabels: {team: a}}]
  nodeSelectors: [{matchLabels: {rack: a}}]
  serviceSelectors: [{matchLabels: {app: web}}]
  peers: [router]
---
apiVersion: metallb.io/v1beta1
kind: BGPAdvertisement
metadata: {name: bare}
---
apiVersion: metallb.io/v1beta1
kind: BFDProfile
metadata: {name: fast}
spec:
  receiveInterval: 380
  transmitInterval: 270
  detectMultiplier: 3
  echoInterval: 50
  echoMode: false
  passiveMode: true
  minimumTtl: 254
---
apiVersion: metallb.io/v1beta1
kind: Community
metadata: {name: names}
spec: {communities: [{name: vpn-only, value: "64512:1234"}]}
"#;

/// Applies these as a user does: a field that the definition lacks is refused.
fn apply(plane: &Plane, manifests: &str) -> Result<String, String> {
    let mut kubectl = plane.lab.kubectl();
    kubectl.args(["-n", SYSTEM, "apply", "--validate=strict", "-f", "-"]).stdin(Stdio::piped());
    let mut child = kubectl.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kubectl starts");
    child.stdin.take().expect("its input").write_all(manifests.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(said) } else { Err(said) }
}

#[test]
fn manifests_for_bgp_apply_and_each_object_says_that_nothing_follows() {
    if !nix::unistd::geteuid().is_root() {
        left_out("the lab needs root");
        return;
    }
    let plane = Plane::anew(LAB, Path::new(env!("CARGO_BIN_EXE_lab"))).expect("a control plane");
    plane.apply_crds().expect("the definitions");
    let rbac = project("config/rbac");
    plane.kubectl(&["apply", "-k", rbac.to_str().expect("a path"), "-n", SYSTEM]).expect("the rights");
    let said = apply(&plane, ALL).expect("every field is known");
    assert!(said.contains("metallb.io/v1beta1 BGPPeer is deprecated"), "{said}");
    let unknown = ALL.replace("  vrf: red", "  vfr: red");
    let refused = apply(&plane, &unknown).expect_err("a misspelled field");
    assert!(refused.contains("unknown field \"spec.vfr\""), "{refused}");
    for (right, wrong) in [("minimumTtl: 254", "minimumTtl: 255"), ("peerPort: 1179", "peerPort: 17900")] {
        apply(&plane, &ALL.replace(right, wrong)).expect_err(wrong);
    }

    block_on(async {
        let context = Context::default();
        let client = plane.client_as("ferrolb-controller").await.expect("a client");
        unsupported::start(&client, SYSTEM, 60, || true, &context);
        let what = "bgppeers,bgpadvertisements,bfdprofiles,communities";
        let path = "-o=jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=='NotSupported')].status} {end}";
        wait("each object to say so", PATIENCE, async || {
            let said =
                plane.kubectl(&["-n", SYSTEM, "get", what, path]).map_err(|error| error.to_string())?;
            let mut said: Vec<&str> = said.split_whitespace().collect();
            said.sort_unstable();
            let names = ["bare", "earlier", "everything", "fast", "names", "router", "unnumbered"];
            let expected = names.map(|name| format!("{name}=True"));
            if said == expected { Ok(()) } else { Err(format!("{said:?}")) }
        })
        .await
        .expect("the conditions");
        context.shutdown.cancel();
    });
    // As it was written, in the version in which it was.
    let stored = plane.kubectl(&[
        "-n",
        SYSTEM,
        "get",
        "bgppeers.v1beta1.metallb.io",
        "earlier",
        "-o=jsonpath={.spec.peerAddress}",
    ]);
    assert_eq!(stored.expect("the peer"), "fc00::1");
}
