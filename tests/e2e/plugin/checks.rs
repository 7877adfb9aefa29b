//! Each check of the doctor, made to fail in a cluster, and mended.

use std::io::Write;
use std::process::Stdio;

use ferrolb_tests::lab::fault::{self, Drops};
use ferrolb_tests::lab::network::Network;
use ferrolb_tests::lab::progress::wait;
use ferrolb_tests::lab::{Lab, LabError, process};
use ferrolb_tests::plane::project;
use ferrolb_tests::scene::{SYSTEM, Scene, heard, ready};
use nix::sys::signal::Signal;

use crate::support::{answering, in_cluster, on_wire};
use crate::tool::Tool;

/// No node has this label: a DaemonSet that asks for it has no pods.
const NOWHERE: &str = "nodeSelector: {nowhere: x}";

/// What is done by kubectl in one case.
struct Hand<'a> {
    lab: &'a Lab,
    tool: Tool,
}

impl<'a> Hand<'a> {
    fn of(scene: &'a Scene) -> Result<Self, LabError> {
        Ok(Hand { lab: &scene.lab, tool: Tool::of(&scene.lab)? })
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String, LabError> {
        process::run(self.lab.kubectl().args(arguments))
    }

    /// The same, in FerroLB's namespace.
    fn system(&self, arguments: &[&str]) -> Result<String, LabError> {
        self.kubectl(&[&["-n", SYSTEM][..], arguments].concat())
    }

    fn apply(&self, manifest: &str) -> Result<(), LabError> {
        let mut child = self
            .lab
            .kubectl()
            .args(["apply", "-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .map_err(LabError::at("kubectl"))?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(manifest.as_bytes()).map_err(LabError::at("kubectl"))?;
        }
        let status = child.wait().map_err(LabError::at("kubectl"))?;
        if status.success() { Ok(()) } else { Err(LabError::State(format!("kubectl refused\n{manifest}"))) }
    }

    /// As FerroLB is installed.
    fn install(&self) -> Result<(), LabError> {
        let config = project("config/default").display().to_string();
        self.kubectl(&["apply", "-k", &config]).map(drop)
    }

    async fn fails(&self, check: &str, says: &str) -> Result<(), LabError> {
        self.tool.comes_to(check, "failed", says, &[]).await
    }

    async fn warns(&self, check: &str, says: &str) -> Result<(), LabError> {
        self.tool.comes_to(check, "warning", says, &[]).await
    }

    async fn is_fine(&self, check: &str) -> Result<(), LabError> {
        self.tool.comes_to(check, "ok", "", &[]).await
    }

    /// Is there `manifest`, the check comes to this; is it gone, it is fine again.
    async fn with(&self, manifest: &str, check: &str, level: &str, says: &str) -> Result<(), LabError> {
        self.apply(manifest)?;
        let outcome = self.tool.comes_to(check, level, says, &[]).await;
        let file = tempfile::NamedTempFile::new().map_err(LabError::at("a file"))?;
        std::fs::write(file.path(), manifest).map_err(LabError::at(file.path()))?;
        self.kubectl(&["delete", "--wait=true", "-f", &file.path().display().to_string()])?;
        outcome?;
        self.is_fine(check).await
    }
}

fn pool(name: &str, addresses: &str) -> String {
    format!(
        "{{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {{name: {name}, namespace: {SYSTEM}}}, \
         spec: {{autoAssign: false, addresses: [\"{addresses}\"]}}}}\n"
    )
}

fn daemon_set(namespace: &str, name: &str, labels: &str, image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{{labels}}}}}\nspec:\n  \
         selector: {{matchLabels: {{x: {name}}}}}\n  template:\n    metadata: {{labels: {{x: {name}}}}}\n    \
         spec: {{{NOWHERE}, containers: [{{name: speaker, image: \"{image}\"}}]}}\n"
    )
}

#[test]
fn what_the_api_server_has_and_allows() {
    in_cluster("doctor-api", async |scene| {
        let hand = Hand::of(&scene)?;
        for check in ["api-version", "definitions", "conversion", "webhooks", "admission", "namespace"] {
            hand.is_fine(check).await?;
        }
        hand.kubectl(&["delete", "crd", "communities.metallb.io"])?;
        let outcome = hand.fails("definitions", "communities.metallb.io is not there").await;
        let crds = project("crds").display().to_string();
        hand.kubectl(&["apply", "-f", &crds])?;
        outcome?;
        hand.is_fine("definitions").await?;

        let convert = r#"{"spec": {"conversion": {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
            "clientConfig": {"service": {"namespace": "old", "name": "webhook-service", "path": "/convert"}}}}}}"#;
        let none = r#"[{"op": "replace", "path": "/spec/conversion", "value": {"strategy": "None"}}]"#;
        hand.kubectl(&["patch", "crd", "bgppeers.metallb.io", "--type=merge", "-p", convert])?;
        let outcome = hand.fails("conversion", "bgppeers.metallb.io is converted by a webhook").await;
        hand.kubectl(&["patch", "crd", "bgppeers.metallb.io", "--type=json", "-p", none])?;
        outcome?;
        hand.is_fine("conversion").await?;

        let webhook = "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\n\
            metadata: {name: metallb-webhook-configuration}\nwebhooks:\n- name: nothing.metallb.io\n  admissionReviewVersions: [v1]\n  \
            sideEffects: None\n  clientConfig: {service: {namespace: old, name: webhook-service}}\n  \
            rules: [{apiGroups: [metallb.io], apiVersions: [v1beta1], operations: [CREATE], resources: [nothing]}]\n";
        hand.with(webhook, "webhooks", "failed", "calls old/webhook-service").await?;

        // Without the policies a pool can be where nobody reads it, and overlap another one.
        let bindings = hand.kubectl(&["get", "validatingadmissionpolicybindings", "-o", "name"])?;
        for binding in bindings.lines().filter(|name| name.contains("/ferrolb")) {
            hand.kubectl(&["delete", binding])?;
        }
        let outcome = async {
            hand.warns("admission", "is not bound").await?;
            scene.pool("10.10.0.230-10.10.0.233").await?;
            hand.is_fine("pools").await?;
            // The API server forgets a binding a moment after it is gone.
            wait("a pool elsewhere", 30, async || {
                hand.apply(&pool("lost", "10.10.0.1/32").replace(SYSTEM, "doctor-api"))
                    .map_err(|error| error.to_string())
            })
            .await?;
            hand.warns("elsewhere", "IPAddressPool doctor-api/lost").await?;
            hand.kubectl(&["-n", "doctor-api", "delete", "ipaddresspool", "lost"])?;
            hand.with(&pool("second", "10.10.0.233/32"), "pools", "failed", "overlaps").await
        }
        .await;
        hand.install()?;
        outcome?;
        for check in ["admission", "elsewhere"] {
            hand.is_fine(check).await?;
        }

        for (program, says) in [("controller", "patch services/status"), ("speaker", "list endpointslices")] {
            let check = format!("rights-{program}");
            hand.is_fine(&check).await?;
            hand.kubectl(&["delete", "clusterrolebinding", &format!("ferrolb-{program}")])?;
            let outcome = hand.fails(&check, &format!("the {program} may not {says}")).await;
            hand.install()?;
            outcome?;
            hand.is_fine(&check).await?;
        }
        hand.kubectl(&[
            "label",
            "namespace",
            SYSTEM,
            "--overwrite",
            "pod-security.kubernetes.io/enforce=baseline",
        ])?;
        let outcome = hand.fails("namespace", "level baseline").await;
        hand.install()?;
        outcome?;
        hand.is_fine("namespace").await?;

        // Somebody who may look, and not come near the speakers.
        let looker = "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: looker}, \
            rules: [{apiGroups: [\"*\"], resources: [\"*\"], verbs: [get, list]}]}\n---\n\
            {apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: looker}, \
            roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: looker}, \
            subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: looker}]}\n";
        hand.apply(looker)?;
        let folder = tempfile::tempdir().map_err(LabError::at("a folder"))?;
        let file = folder.path().join("kubeconfig");
        let mine =
            std::fs::read_to_string(scene.lab.paths.kubeconfig()).map_err(LabError::at("the kubeconfig"))?;
        let mut theirs: serde_json::Value =
            serde_saphyr::from_str(&mine).map_err(|error| LabError::State(error.to_string()))?;
        for user in theirs["users"].as_array_mut().into_iter().flatten() {
            user["user"]["as"] = "looker".into();
        }
        std::fs::write(&file, theirs.to_string()).map_err(LabError::at(&file))?;
        let outcome = hand
            .tool
            .with(file)
            .comes_to("asked", "warning", "you may not create pods/portforward", &[])
            .await;
        hand.kubectl(&["delete", "clusterrole,clusterrolebinding", "looker"])?;
        outcome?;
        hand.is_fine("asked").await
    });
}

#[test]
fn programs_and_what_they_need() {
    in_cluster("doctor-programs", async |scene| {
        let hand = Hand::of(&scene)?;
        for check in ["controller", "leader", "speakers", "versions", "settings", "restarts", "ports"] {
            hand.is_fine(check).await?;
        }
        heard(&scene.lab).await?;
        hand.is_fine("key").await?;

        let secret = hand.system(&["get", "secret", "ferrolb-hello", "-o", "yaml"])?;
        hand.system(&["scale", "deployment/ferrolb-controller", "--replicas=0"])?;
        let outcome = async {
            hand.fails("controller", "has no replicas").await?;
            hand.fails("leader", "").await?;
            hand.system(&["delete", "secret", "ferrolb-hello"])?;
            hand.fails("key", "there is no Secret ferrolb-hello").await?;
            // Nobody takes it back while there is no controller.
            scene.pool("10.10.0.234/32").await?;
            scene.service("odd").create().await?;
            let status = r#"{"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}}}"#;
            hand.kubectl(&[
                "-n",
                "doctor-programs",
                "patch",
                "service",
                "odd",
                "--subresource=status",
                "--type=merge",
                "-p",
                status,
            ])?;
            hand.fails("foreign-addresses", "Service doctor-programs/odd has 203.0.113.9").await
        }
        .await;
        hand.apply(&secret)?;
        hand.system(&["scale", "deployment/ferrolb-controller", "--replicas=1"])?;
        outcome?;
        for check in ["controller", "leader", "key", "foreign-addresses"] {
            hand.is_fine(check).await?;
        }

        let only =
            r#"{"spec": {"template": {"spec": {"nodeSelector": {"kubernetes.io/hostname": "node1"}}}}}"#;
        hand.system(&["patch", "daemonset", "ferrolb-speaker", "-p", only])?;
        let outcome = hand.fails("speakers", "node node2 has none").await;
        let everywhere =
            r#"[{"op": "remove", "path": "/spec/template/spec/nodeSelector/kubernetes.io~1hostname"}]"#;
        hand.system(&["patch", "daemonset", "ferrolb-speaker", "--type=json", "-p", everywhere])?;
        outcome?;
        ready(&scene.lab).await?;
        hand.is_fine("speakers").await?;

        hand.system(&["set", "image", "deployment/ferrolb-controller", "controller=ferrolb:other"])?;
        let outcome = hand.warns("versions", "of ferrolb:other").await;
        hand.system(&["rollout", "undo", "deployment/ferrolb-controller"])?;
        outcome?;
        hand.is_fine("versions").await?;
        hand.system(&["set", "env", "deployment/ferrolb-controller", "FERROLB_LB_CLASS=metal"])?;
        let outcome = hand.fails("settings", "--lb-class is \"metal\" for the controller").await;
        hand.system(&["set", "env", "deployment/ferrolb-controller", "FERROLB_LB_CLASS="])?;
        outcome?;
        hand.is_fine("settings").await?;
        hand.install()?;
        ready(&scene.lab).await?;

        let taken = "{apiVersion: v1, kind: Pod, metadata: {name: taken, namespace: doctor-programs}, spec: {hostNetwork: true, \
            nodeName: node2, terminationGracePeriodSeconds: 0, containers: [{name: a, image: \"ferrolb:dev\", command: [/kubectl-ferrolb], \
            ports: [{containerPort: 17482, hostPort: 17482, protocol: UDP}]}]}}\n";
        let privileged = "pod-security.kubernetes.io/enforce=privileged";
        hand.kubectl(&["label", "namespace", "doctor-programs", privileged, "--overwrite"])?;
        hand.with(taken, "ports", "failed", "pod doctor-programs/taken has port 17482 on node node2").await
    });
}

#[test]
fn nodes_and_who_hears_whom() {
    in_cluster("doctor-network", async |scene| {
        let hand = Hand::of(&scene)?;
        heard(&scene.lab).await?;
        for check in ["clocks", "asked", "links", "mesh", "datagrams", "service-proxy", "excluded"] {
            hand.is_fine(check).await?;
        }
        // A kubelet tells the time anew each ten seconds.
        let far = r#"{"spec": {"renewTime": "2099-01-01T00:00:00.000000Z"}}"#;
        wait("a clock that is ahead", 60, async || {
            let patch = ["-n", "kube-node-lease", "patch", "lease", "node2", "--type=merge", "-p", far];
            hand.kubectl(&patch).map_err(|error| error.to_string())?;
            let (level, says) = hand.tool.finding("clocks", &[])?;
            if level == "warning" && says.contains("the clock of node2 is") { Ok(()) } else { Err(says) }
        })
        .await?;
        hand.is_fine("clocks").await?;

        let drops = Drops::hellos(&scene.lab, Network::Lan)?;
        let outcome = hand.warns("datagrams", "by UDP alone").await;
        drops.end()?;
        outcome?;
        hand.is_fine("datagrams").await?;

        let deaf = Drops::frames(&scene.lab, Network::Lan, &["node2".to_owned()], &[fault::Way::Out], 1000)?;
        let outcome = hand.fails("mesh", "node2").await;
        deaf.end()?;
        outcome?;
        hand.is_fine("mesh").await?;

        let proxies = fault::running(&scene.lab, "node3", "/run/programs/kube-proxy")?;
        fault::signal(&proxies, Signal::SIGSTOP)?;
        let outcome = hand.fails("service-proxy", "node3").await;
        fault::signal(&proxies, Signal::SIGCONT)?;
        outcome?;
        hand.is_fine("service-proxy").await?;

        let loose = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kube-proxy, namespace: kube-system}\ndata:\n  config.conf: |\n    \
            mode: ipvs\n    ipvs: {strictARP: false}\n";
        hand.with(loose, "strict-arp", "failed", "ipvs.strictARP").await?;

        let label = "node.kubernetes.io/exclude-from-external-load-balancers";
        hand.kubectl(&["label", "nodes", "--all", &format!("{label}=")])?;
        let outcome = hand.fails("excluded", "all are excluded").await;
        hand.kubectl(&["label", "nodes", "--all", &format!("{label}-")])?;
        outcome?;
        hand.is_fine("excluded").await?;

        hand.system(&["set", "env", "daemonset/ferrolb-speaker", "FERROLB_EXCLUDE_INTERFACES=."])?;
        let outcome = hand.fails("links", "has none").await;
        hand.system(&["set", "env", "daemonset/ferrolb-speaker", "FERROLB_EXCLUDE_INTERFACES-"])?;
        outcome?;
        ready(&scene.lab).await?;
        hand.is_fine("links").await
    });
}

#[test]
fn pools_and_advertisements() {
    in_cluster("doctor-pools", async |scene| {
        let hand = Hand::of(&scene)?;
        hand.warns("pools", "there is no IPAddressPool").await?;
        scene.pool("10.10.0.235-10.10.0.239").await?;
        for check in [
            "pools",
            "pool-space",
            "host-bits",
            "node-addresses",
            "pod-range",
            "service-range",
            "gateway",
            "on-link",
        ] {
            hand.is_fine(check).await?;
        }
        let route = on_wire(
            scene
                .lab
                .host("node1")?
                .inside(|| std::process::Command::new("ip").args(["route", "show", "default"]).output()),
        )?;
        let route = String::from_utf8_lossy(&route.stdout).into_owned();
        let gateway = route.split_whitespace().nth(2).unwrap_or_default().to_owned();
        let range = format!("{gateway}/32");
        for (check, level, addresses, says) in [
            ("host-bits", "warning", "10.10.0.5/30", "10.10.0.5/30 stands for 10.10.0.4-10.10.0.7"),
            ("node-addresses", "warning", "10.10.0.12/32", "10.10.0.12, which is an address of node node2"),
            ("pod-range", "failed", "10.244.0.0/20", "which is of the pods of node"),
            ("service-range", "failed", "10.96.200.0/28", "the cluster IPs"),
            ("gateway", "failed", range.as_str(), "is the gateway of node1 on eth0"),
            ("on-link", "warning", "192.0.2.0/28", "of no network of a node's link"),
            ("advertised", "failed", "10.10.0.250/32", "no L2Advertisement speaks of IPAddressPool doctored"),
        ] {
            hand.with(&pool("doctored", addresses), check, level, says).await?;
        }
        let nothing = format!(
            "{{apiVersion: metallb.io/v1beta1, kind: L2Advertisement, metadata: {{name: nothing, namespace: {SYSTEM}}}, \
             spec: {{ipAddressPools: [missing]}}}}\n"
        );
        hand.with(&nothing, "advertisements", "failed", "L2Advertisement nothing").await?;
        let community = format!(
            "{{apiVersion: metallb.io/v1beta1, kind: Community, metadata: {{name: one, namespace: {SYSTEM}}}, \
             spec: {{communities: [{{name: a, value: \"1:2\"}}]}}}}\n"
        );
        hand.with(&community, "bgp", "warning", "Community metallb-system/one").await
    });
}

#[test]
fn others_that_give_addresses() {
    in_cluster("doctor-others", async |scene| {
        let hand = Hand::of(&scene)?;
        let here = "doctor-others";
        for (check, level, name, labels, image, says) in [
            (
                "metallb",
                "failed",
                "speaker",
                "app: metallb",
                "quay.io/metallb/speaker:v0.16.1",
                "daemonset/speaker",
            ),
            (
                "servicelb",
                "failed",
                "svclb-web",
                "svccontroller.k3s.cattle.io/svcname: web",
                "x",
                "svclb-web",
            ),
            ("rivals", "warning", "vip", "a: b", "ghcr.io/kube-vip/kube-vip:v1", "kube-vip: DaemonSet"),
        ] {
            hand.is_fine(check).await?;
            hand.with(&daemon_set(here, name, labels, image), check, level, says).await?;
        }
        Ok(())
    });
}

#[test]
fn services_and_the_network() {
    in_cluster("doctor-services", async |scene| {
        let hand = Hand::of(&scene)?;
        scene.pool("10.10.0.240-10.10.0.241").await?;
        scene.echo("web").replicas(2).create().await?;
        scene.service("web").create().await?;
        let address = scene.address("web").await?;
        answering(&scene, on_wire(ferrolb_tests::host::ipv4(address))?).await?;
        for check in ["pending", "unannounced", "conflicts", "deprecated", "pool-space"] {
            hand.is_fine(check).await?;
        }
        let probe =
            async |level: &str, says: &str| hand.tool.comes_to("probe", level, says, &["--probe"]).await;
        probe("ok", "3 speakers asked for 1 addresses").await?;
        let client = scene.client_host()?;
        let taken = on_wire(client.take("eth0", address))?;
        let mac = on_wire(client.mac("eth0"))?;
        let outcome = async {
            probe("failed", &format!("{mac} answers, which is of no node that is heard")).await?;
            hand.fails("conflicts", "Service doctor-services/web").await
        }
        .await;
        drop(taken);
        outcome?;
        probe("ok", "").await?;

        scene.service("silent").create().await?;
        scene.address("silent").await?;
        hand.fails("unannounced", "Service doctor-services/silent: it has no serving endpoint").await?;
        hand.warns("pool-space", "2 of 2 IPv4 addresses are in use").await?;
        scene.service("waits").annotated("metallb.universe.tf/address-pool", "missing").create().await?;
        hand.fails("pending", "Service doctor-services/waits").await?;
        hand.warns("deprecated", "metallb.universe.tf/address-pool").await
    });
}
