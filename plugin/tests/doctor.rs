//! Each check of the doctor: fine in a cluster in which all is well, and not where what it looks for is wrong.
//!
//! `FERROLB_WRITE_GOLDEN=1 cargo test -p ferrolb-plugin` writes the part of docs/plugin.md anew that is made of the checks.

#![allow(clippy::unwrap_used, reason = "a step that fails ends the test")]

mod support;

use std::collections::BTreeSet;

use ferrolb_crds::admin::Answer;
use ferrolb_fake_api::{ApiServer, Fault, On, Verb, Weather};
use ferrolb_plugin::doctor::{
    CHECKS, Facts, Hook, HostPort, Level, NamedRange, ProxyConfig, Report, Right, Rival, collect,
};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use k8s_openapi::api::core::v1::{Pod, Secret};
use serde_json::{Value, json};

use support::running::{SYSTEM, definition, facts, lease, node, pod, pool, running, service, state};

/// What is done to the cluster, or to what is known of it, so that a check is not fine.
enum Wrong {
    /// Objects are put.
    Put(Vec<Value>),
    /// Something else is done to the server.
    Api(fn(&ApiServer)),
    /// What is known is changed: what a server in memory cannot show.
    Facts(fn(&mut Facts)),
}

use Level::{Failed, Warning};
use Wrong::{Api, Facts as Known, Put};

fn ready(mut object: Value, ready: bool, why: &str) -> Value {
    object["status"]["conditions"][0]["status"] = json!(if ready { "True" } else { "False" });
    object["status"]["containerStatuses"][0]["state"] =
        json!({"waiting": {"reason": "CrashLoopBackOff", "message": why}});
    object
}

fn with(mut object: Value, change: impl FnOnce(&mut Value)) -> Value {
    change(&mut object);
    object
}

fn metallb(kind: &str, part: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": part, "namespace": "old", "labels": {"app": "metallb"}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "metallb"}}, "template": {"metadata": {},
            "spec": {"containers": [{"name": part, "image": "quay.io/metallb/x:v0.16.1"}]}}}})
}

fn link(facts: &mut Facts, change: impl FnOnce(&mut ferrolb_crds::admin::Link)) {
    change(&mut facts.look.told.get_mut("n1").unwrap().as_mut().unwrap().links[0]);
}

fn answer(address: &str, mac: &str, node: Option<&str>) -> Answer {
    Answer {
        address: address.parse().unwrap(),
        interface: "eth0".to_owned(),
        mac: mac.to_owned(),
        node: node.map(str::to_owned),
    }
}

/// Each check, how it is to come out, a part of what it is to say, and what is done for it.
fn cases() -> Vec<(&'static str, Level, &'static str, Wrong)> {
    let empty = json!({"loadBalancer": {}});
    let no_pool = json!({"loadBalancer": {}, "conditions": [{"type": "ferrolb.io/AddressAssigned", "status": "False",
        "reason": "NoMatchingPool", "message": "no IPAddressPool serves this Service"}]});
    let at = |address: &str| json!({"loadBalancer": {"ingress": [{"ip": address}]}});
    vec![
        ("api-version", Failed, "1.32", Known(|facts| facts.server = Some((1, 32)))),
        (
            "definitions",
            Failed,
            "communities.metallb.io is not there",
            Known(|facts| {
                facts.definitions.as_mut().unwrap().retain(|definition| definition.plural != "communities");
            }),
        ),
        (
            "definitions",
            Failed,
            "is not FerroLB's",
            Put(vec![with(definition("ipaddresspools"), |it| {
                it["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"] =
                    json!({});
            })]),
        ),
        (
            "definitions",
            Failed,
            "does not serve v1beta1",
            Put(vec![with(definition("communities"), |it| {
                it["spec"]["versions"][0]["served"] = json!(false);
            })]),
        ),
        (
            "conversion",
            Failed,
            "bgppeers",
            Put(vec![with(definition("bgppeers"), |it| {
                it["spec"]["conversion"] = json!({"strategy": "Webhook"});
            })]),
        ),
        (
            "webhooks",
            Failed,
            "calls old/webhook-service",
            Known(|facts| {
                let configuration = "ValidatingWebhookConfiguration metallb".to_owned();
                facts.webhooks =
                    Some(vec![Hook { configuration, service: "old/webhook-service".to_owned() }]);
            }),
        ),
        (
            "webhooks",
            Failed,
            "metallb-webhook-configuration",
            Put(vec![json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "metallb-webhook-configuration"}, "webhooks": [{"name": "a.metallb.io",
                "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "clientConfig": {"service": {"namespace": "old", "name": "webhook-service"}},
                "rules": [{"apiGroups": ["metallb.io"], "resources": ["ipaddresspools"]}]}]})]),
        ),
        (
            "admission",
            Warning,
            "ferrolb-overlap is not bound",
            Api(|api| {
                assert!(api.remove::<ValidatingAdmissionPolicyBinding>("", "ferrolb-overlap"));
            }),
        ),
        (
            "rights-controller",
            Failed,
            "may not patch services/status everywhere",
            Known(|facts| {
                facts.rights = Some(vec![Right {
                    program: "controller",
                    verb: "patch".into(),
                    resource: "services/status".into(),
                    ..Right::default()
                }]);
            }),
        ),
        (
            "rights-speaker",
            Failed,
            "may not list nodes",
            Known(|facts| {
                facts.rights = Some(vec![Right {
                    program: "speaker",
                    verb: "list".into(),
                    resource: "nodes".into(),
                    ..Right::default()
                }]);
            }),
        ),
        (
            "namespace",
            Failed,
            "level baseline",
            Put(vec![json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": SYSTEM, "labels": {"pod-security.kubernetes.io/enforce": "baseline"}}})]),
        ),
        (
            "controller",
            Failed,
            "CrashLoopBackOff: it panicked",
            Put(vec![ready(pod("controller", "ferrolb-controller-a", "n1"), false, "it panicked")]),
        ),
        ("leader", Failed, "renewed it 6", Put(vec![lease(SYSTEM, "ferrolb-controller", 60)])),
        (
            "speakers",
            Failed,
            "node n2 has none",
            Api(|api| {
                assert!(api.remove::<Pod>(SYSTEM, "ferrolb-speaker-2"));
            }),
        ),
        (
            "versions",
            Warning,
            "1 of ferrolb:old",
            Put(vec![with(pod("speaker", "ferrolb-speaker-2", "n2"), |it| {
                it["spec"]["containers"][0]["image"] = json!("ferrolb:old");
            })]),
        ),
        (
            "settings",
            Failed,
            "--lb-class is \"\" for the controller and \"metal\"",
            Known(|facts| {
                let speaker = facts.look.workloads.iter_mut().find(|it| it.kind == "DaemonSet").unwrap();
                let setting = speaker.settings.iter_mut().find(|it| it.name == "FERROLB_ADMIN_PORT").unwrap();
                (setting.name, setting.value) = ("lb-class".to_owned(), "metal".to_owned());
            }),
        ),
        (
            "restarts",
            Warning,
            "started anew 9 times",
            Put(vec![with(pod("speaker", "ferrolb-speaker-2", "n2"), |it| {
                it["status"]["containerStatuses"][0]["restartCount"] = json!(9);
            })]),
        ),
        (
            "ports",
            Failed,
            "pod kube-system/other has port 17482 on node n2",
            Known(|facts| {
                let of = |port| HostPort { pod: "kube-system/other".into(), node: "n2".into(), port };
                facts.host_ports = Some(vec![of(80), of(17482)]);
            }),
        ),
        (
            "key",
            Failed,
            "there is no Secret ferrolb-hello",
            Api(|api| {
                assert!(api.remove::<Secret>(SYSTEM, "ferrolb-hello"));
            }),
        ),
        (
            "key",
            Warning,
            "the speaker of n2 has no key yet",
            Put(vec![state(2, &[("HelloKeyLoaded", "False", "no key for hellos")])]),
        ),
        ("clocks", Warning, "the clock of n2 is", Put(vec![lease("kube-node-lease", "n2", -3600)])),
        ("clocks", Warning, "behind", Put(vec![lease("kube-node-lease", "n1", 3600)])),
        (
            "asked",
            Warning,
            "n2: you may not",
            Known(|facts| {
                facts
                    .look
                    .told
                    .insert("n2".to_owned(), Err("you may not create pods/portforward".to_owned()));
            }),
        ),
        (
            "links",
            Failed,
            "the speaker of n1 has none",
            Known(|facts| {
                facts.look.told.get_mut("n1").unwrap().as_mut().unwrap().links.clear();
            }),
        ),
        (
            "mesh",
            Failed,
            "n1 hears nothing on eth0 of n2",
            Known(|facts| {
                link(facts, |link| {
                    link.peers.clear();
                    link.unheard.push("n2".to_owned());
                });
            }),
        ),
        (
            "mesh",
            Failed,
            "n1 hears n2 on eth0, which does not hear it",
            Known(|facts| link(facts, |link| link.peers[0].counts = false)),
        ),
        (
            "datagrams",
            Warning,
            "n1 hears on eth0 by UDP alone: n2",
            Known(|facts| link(facts, |link| link.peers[0].udp = true)),
        ),
        (
            "pauses",
            Warning,
            "the one of n1 did 99 times",
            Known(|facts| {
                facts.look.told.get_mut("n1").unwrap().as_mut().unwrap().pauses = 99;
            }),
        ),
        (
            "service-proxy",
            Failed,
            "n2: it says 503",
            Put(vec![state(2, &[("ServiceProxyHealthy", "False", "it says 503")])]),
        ),
        (
            "strict-arp",
            Failed,
            "ipvs.strictARP",
            Put(vec![json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "kube-proxy", "namespace": "kube-system"},
            "data": {"config.conf": "mode: ipvs\nipvs:\n  strictARP: false\n"}})]),
        ),
        (
            "strict-arp",
            Failed,
            "n1: the kernel answers",
            Known(|facts| {
                let told = facts.look.told.get_mut("n1").unwrap().as_mut().unwrap();
                told.remarks.push(("strictARP".to_owned(), "the kernel answers".to_owned()));
            }),
        ),
        (
            "excluded",
            Failed,
            "all are excluded: n1, n2",
            Put([1, 2]
                .map(|number| {
                    with(node(number), |it| {
                        it["metadata"]["labels"]["node.kubernetes.io/exclude-from-external-load-balancers"] =
                            json!("");
                    })
                })
                .into()),
        ),
        ("pools", Failed, "IPAddressPool odd", Put(vec![pool("odd", &["10.10.0.300/24"])])),
        ("pools", Failed, "overlaps", Put(vec![pool("second", &["10.10.0.109/32"])])),
        (
            "pool-space",
            Warning,
            "IPAddressPool one: 1 of 1",
            Put(vec![pool("one", &["10.10.0.200/32"]), service("full", &at("10.10.0.200"))]),
        ),
        (
            "host-bits",
            Warning,
            "10.10.0.5/30 stands for 10.10.0.4-10.10.0.7",
            Put(vec![pool("odd", &["10.10.0.5/30"])]),
        ),
        (
            "node-addresses",
            Warning,
            "IPAddressPool nodes has 10.10.0.12, which is an address of node n2",
            Put(vec![pool("nodes", &["10.10.0.12/32"])]),
        ),
        ("pod-range", Failed, "the pods of node n2", Put(vec![pool("pods", &["10.244.2.9-10.244.2.12"])])),
        ("service-range", Failed, "the cluster IPs", Put(vec![pool("inside", &["10.96.3.0/24"])])),
        (
            "service-range",
            Failed,
            "made up",
            Known(|facts| {
                let range = "10.10.0.0/24".parse().unwrap();
                facts.service_ranges = vec![NamedRange { of: "made up".to_owned(), range }];
            }),
        ),
        (
            "gateway",
            Failed,
            "IPAddressPool far has 10.10.0.254, which is the gateway of n1 on eth0",
            Put(vec![pool("far", &["10.10.0.250-10.10.0.254"])]),
        ),
        ("on-link", Warning, "of no network of a node's link", Put(vec![pool("away", &["192.0.2.0/24"])])),
        (
            "advertised",
            Failed,
            "no L2Advertisement speaks of IPAddressPool lan",
            Put(vec![json!({
            "apiVersion": "metallb.io/v1beta1", "kind": "L2Advertisement",
            "metadata": {"name": "all", "namespace": SYSTEM}, "spec": {"ipAddressPools": ["other"]}})]),
        ),
        (
            "advertisements",
            Failed,
            "matches no pool",
            Put(vec![json!({
            "apiVersion": "metallb.io/v1beta1", "kind": "L2Advertisement",
            "metadata": {"name": "second", "namespace": SYSTEM}, "spec": {"ipAddressPools": ["other"]},
            "status": {"conditions": [{"type": "Effective", "status": "False", "reason": "MatchesNoPool",
                "message": "it matches no pool", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})]),
        ),
        (
            "elsewhere",
            Warning,
            "IPAddressPool shop/lost",
            Put(vec![with(pool("lost", &["10.10.0.1/32"]), |it| {
                it["metadata"]["namespace"] = json!("shop");
            })]),
        ),
        (
            "bgp",
            Warning,
            "BGPPeer metallb-system/router",
            Put(vec![json!({"apiVersion": "metallb.io/v1beta2",
            "kind": "BGPPeer", "metadata": {"name": "router", "namespace": SYSTEM}, "spec": {}})]),
        ),
        ("metallb", Failed, "daemonset/speaker in namespace old", Put(vec![metallb("DaemonSet", "speaker")])),
        (
            "servicelb",
            Failed,
            "DaemonSet kube-system/svclb-web",
            Put(vec![json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": "svclb-web", "namespace": "kube-system", "labels": {"svccontroller.k3s.cattle.io/svcname": "web"}},
            "spec": {"selector": {}, "template": {"metadata": {}, "spec": {"containers": []}}}})]),
        ),
        (
            "rivals",
            Warning,
            "kube-vip",
            Put(vec![json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": "kube-vip-ds", "namespace": "kube-system"},
            "spec": {"selector": {}, "template": {"metadata": {}, "spec": {"containers": [
                {"name": "a", "image": "ghcr.io/kube-vip/kube-vip:v1"}]}}}})]),
        ),
        (
            "rivals",
            Warning,
            "Pod kube-system/vip",
            Known(|facts| {
                facts.rivals =
                    Some(vec![Rival { what: "kube-vip", object: "Pod kube-system/vip".to_owned() }]);
            }),
        ),
        (
            "foreign-addresses",
            Failed,
            "Service shop/other has 203.0.113.9",
            Put(vec![service("other", &at("203.0.113.9"))]),
        ),
        (
            "pending",
            Failed,
            "Service shop/waits: no IPAddressPool serves",
            Put(vec![service("waits", &no_pool)]),
        ),
        ("pending", Failed, "no controller has looked at it", Put(vec![service("new", &empty)])),
        (
            "unannounced",
            Failed,
            "Service shop/silent: it has no serving endpoint",
            Put(vec![service("silent", &at("10.10.0.105"))]),
        ),
        (
            "conflicts",
            Failed,
            "another host has it",
            Put(vec![service(
                "web",
                &json!({
            "loadBalancer": {"ingress": [{"ip": "10.10.0.100"}]}, "conditions": [{
                "type": "ferrolb.io/AddressConflict", "status": "True", "reason": "InUse", "message": "another host has it"}]}),
            )]),
        ),
        (
            "deprecated",
            Warning,
            "metallb.universe.tf/address-pool",
            Put(vec![with(service("web", &at("10.10.0.100")), |it| {
                it["metadata"]["annotations"] = json!({"metallb.universe.tf/address-pool": "lan"});
            })]),
        ),
        (
            "probe",
            Failed,
            "02:00:00:00:00:99 answers, which is of no node",
            Known(|facts| {
                let answers = vec![
                    answer("10.10.0.100", "02:00:00:00:00:01", Some("n1")),
                    answer("10.10.0.100", "02:00:00:00:00:99", None),
                ];
                facts.answers = Some([("n2".to_owned(), Ok(answers))].into());
            }),
        ),
        (
            "probe",
            Failed,
            "n1 and n2 answer n3 (eth0) on one link",
            Known(|facts| {
                let answers = vec![
                    answer("10.10.0.100", "02:00:00:00:00:01", Some("n1")),
                    answer("10.10.0.100", "02:00:00:00:00:02", Some("n2")),
                ];
                facts.answers = Some([("n3".to_owned(), Ok(answers))].into());
            }),
        ),
        (
            "probe",
            Failed,
            "10.10.0.100 (shop/web): nobody answers",
            Known(|facts| {
                facts.answers = Some(["n1", "n2"].map(|node| (node.to_owned(), Ok(Vec::new()))).into());
            }),
        ),
    ]
}

#[tokio::test]
async fn where_all_is_well_every_check_is_fine() {
    let report = Report::of(&facts(&running()).await, &[]);
    let ill: Vec<_> = report.findings.iter().filter(|finding| finding.level > Level::Unknown).collect();
    assert!(ill.is_empty(), "{ill:#?}");
    let unknown: Vec<&str> =
        report.findings.iter().filter(|it| it.level == Level::Unknown).map(|it| it.check).collect();
    assert_eq!(unknown, ["probe"]);
    assert!(report.unread.is_empty(), "{:?}", report.unread);
}

#[tokio::test]
async fn each_check_is_not_fine_where_what_it_looks_for_is_wrong() {
    let mut covered = BTreeSet::new();
    for (check, level, says, wrong) in cases() {
        let api = running();
        match &wrong {
            Put(objects) => objects.iter().for_each(|object| drop(api.put(object))),
            Api(change) => change(&api),
            Known(_) => {}
        }
        let mut known = facts(&api).await;
        if let Known(change) = &wrong {
            change(&mut known);
        }
        let report = Report::of(&known, &[check.to_owned()]);
        let [finding] = report.findings.as_slice() else { panic!("no check {check}") };
        assert_eq!(finding.level, level, "{check} ({says}): {finding:#?}");
        assert!(
            finding.says.iter().any(|said| said.contains(says)),
            "{check}: {says:?} is not in {:#?}",
            finding.says
        );
        assert!(!finding.hint.is_empty() && finding.docs == format!("docs/plugin.md#{check}"), "{finding:?}");
        covered.insert(check);
    }
    let all: BTreeSet<&str> = CHECKS.iter().map(|check| check.name).collect();
    assert_eq!(covered, all, "each check has a case");
}

#[tokio::test]
async fn a_loose_kernel_is_wrong_only_in_ipvs_mode() {
    let mut known = facts(&running()).await;
    for (mode, strict_arp, level) in
        [("ipvs", true, Level::Ok), ("iptables", false, Level::Ok), ("ipvs", false, Failed)]
    {
        known.proxy = Some(ProxyConfig { mode: mode.to_owned(), strict_arp });
        assert_eq!(Report::of(&known, &["strict-arp".to_owned()]).worst(), level, "{mode} {strict_arp}");
    }
}

#[tokio::test]
async fn what_may_not_be_read_is_not_known_and_the_rest_is_looked_at() {
    let (api, weather) = (running(), Weather::new());
    for refused in ["leases", "secrets", "validatingadmissionpolicies", "namespaces"] {
        for verb in [Verb::Get, Verb::List] {
            weather.add(On::verb(verb).resource(refused), Fault::status(403));
        }
    }
    let known = collect(&weather.client(api), None, false).await.expect("facts");
    let report = Report::of(&known, &[]);
    for check in ["leader", "key", "admission", "namespace", "rights-controller", "mesh", "probe"] {
        assert_eq!(report.finding(check).unwrap().level, Level::Unknown, "{check}");
    }
    assert_eq!(report.finding("pools").unwrap().level, Level::Ok);
    assert!(
        report.unread.iter().any(|unread| unread.starts_with("you may not read Secret ferrolb-hello")),
        "{:?}",
        report.unread
    );
}

#[tokio::test]
async fn nothing_of_the_secret_is_asked_for_but_its_metadata_and_nothing_of_that_is_told() {
    let api = running();
    let known = collect(&api.client(), None, false).await.expect("facts");
    let told = format!("{known:?}{}", serde_json::to_string(&Report::of(&known, &[])).unwrap());
    for secret in support::running::SECRETS.iter().filter(|secret| !secret.contains("variable")) {
        assert!(!told.contains(secret), "{secret}");
    }
}

#[test]
fn there_are_many_checks_each_with_a_name_of_its_own_and_a_place_in_the_documentation() {
    assert!(CHECKS.len() >= 20, "{}", CHECKS.len());
    let names: BTreeSet<&str> = CHECKS.iter().map(|check| check.name).collect();
    assert_eq!(names.len(), CHECKS.len());
    for check in CHECKS {
        let (file, anchor) = check.see.split_once('#').expect(check.name);
        let text = std::fs::read_to_string(docs(file)).expect(file);
        let headings = text.lines().filter(|line| line.starts_with('#'));
        let anchors: Vec<String> = headings.map(anchor_of).collect();
        assert!(
            anchors.iter().any(|known| known == anchor),
            "{}: {file} has no heading {anchor}: {anchors:#?}",
            check.name
        );
    }
}

/// The part of docs/plugin.md that is made of the table of checks.
#[test]
fn the_documentation_has_every_check_with_its_hint() {
    let mut made = String::new();
    let mut about = "";
    for check in CHECKS {
        if check.about != about {
            about = check.about;
            made += &format!("\n### {about}\n");
        }
        made += &format!(
            "\n#### {}\n\nWell if {}. Else: {}\n**What to do:** {}. See [{}]({}).\n",
            check.name,
            check.title,
            check.matters,
            check.hint,
            check.see.split('.').next().unwrap_or_default(),
            check.see
        );
    }
    let (begin, end) = (
        "<!-- made of the table of checks: FERROLB_WRITE_GOLDEN=1 cargo test -p ferrolb-plugin -->\n",
        "\n<!-- end -->",
    );
    let file = docs("plugin.md");
    let text = std::fs::read_to_string(&file).expect("docs/plugin.md");
    let (before, rest) = text.split_once(begin).expect("the begin of the checks");
    let (_, after) = rest.split_once(end).expect("the end of the checks");
    let whole = format!("{before}{begin}{made}{end}{after}");
    if std::env::var_os("FERROLB_WRITE_GOLDEN").is_some() {
        std::fs::write(&file, &whole).expect("docs/plugin.md");
    }
    assert!(
        text == whole || std::env::var_os("FERROLB_WRITE_GOLDEN").is_some(),
        "docs/plugin.md has other checks"
    );
}

fn docs(file: &str) -> String {
    format!("{}/../docs/{file}", env!("CARGO_MANIFEST_DIR"))
}

/// As GitHub names it.
fn anchor_of(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
