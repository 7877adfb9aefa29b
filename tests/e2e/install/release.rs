//! A release of the chart in a cluster: installed, upgraded, rolled back, removed, installed again, and taken over from
//! kubectl; under a Service that keeps its address, and under traffic.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ferrolb_tests::lab::progress::{Progress, wait};
use ferrolb_tests::lab::{LabError, helm, process, programs, up};
use ferrolb_tests::plane::project;
use ferrolb_tests::scene::{SYSTEM, Scene, shown};

use crate::render::{RELEASE, chart};
use crate::support::cluster::Cluster;
use crate::support::traffic::Traffic;

/// How long Helm waits for pods.
const TIMEOUT: &str = "--timeout=120s";

impl Cluster {
    /// Two nodes with FerroLB's image and no more of it.
    pub(crate) fn anew(name: &str) -> Result<Self, LabError> {
        Self::up(name, &["--nodes", "2"])
    }

    fn helm(&self, arguments: &[&str]) -> Result<String, LabError> {
        process::run(
            helm::helm(&self.lab, &Progress::default())?.args(["--namespace", SYSTEM]).args(arguments),
        )
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String, LabError> {
        process::run(self.lab.kubectl().args(arguments))
    }

    /// What there is, for whoever has only the output of a failed test.
    pub(crate) fn state(&self) -> String {
        self.state_in(SYSTEM)
    }

    /// The same, where ours is in this namespace.
    pub(crate) fn state_in(&self, ours: &str) -> String {
        let questions: [&[&str]; 3] = [
            &["get", "all,ipaddresspools,l2advertisements,events", "-n", ours, "-o", "wide"],
            &["get", "services,pods,events", "-n", "release", "-o", "wide"],
            &["logs", "-n", ours, "-l", "app=ferrolb", "--prefix", "--tail=100"],
        ];
        let told = questions.map(|question| self.kubectl(question).unwrap_or_else(|error| error.to_string()));
        told.join("\n---\n")
    }

    /// What is at `path` of an object of ours.
    fn field(&self, object: &str, path: &str) -> Result<String, LabError> {
        self.kubectl(&["-n", SYSTEM, "get", object, "-o", &format!("jsonpath={{{path}}}")])
    }

    /// Whether there is such an object.
    fn has(&self, object: &str) -> Result<bool, LabError> {
        Ok(!self.kubectl(&["-n", SYSTEM, "get", object, "--ignore-not-found", "-o", "name"])?.is_empty())
    }

    /// The namespace, as docs/install.md says to make it.
    fn namespace(&self) -> Result<(), LabError> {
        self.kubectl(&["create", "namespace", SYSTEM])?;
        self.kubectl(&["label", "namespace", SYSTEM, "pod-security.kubernetes.io/enforce=privileged"])
            .map(drop)
    }
}

/// What must stay through everything.
struct Kept<'a> {
    cluster: &'a Cluster,
    scene: &'a Scene,
    address: IpAddr,
}

impl Kept<'_> {
    /// The Service has its address, and the pool, the advertisement and the definitions are there.
    async fn holds(&self, when: &str) -> Result<(), LabError> {
        let fail = |why: String| LabError::Program { program: when.to_owned(), why };
        let service = self.scene.services().get("web").await.map_err(|error| fail(error.to_string()))?;
        if shown(&service) != [self.address] {
            return Err(fail(format!("the Service has {:?}, it had {}", shown(&service), self.address)));
        }
        let pool = format!("ipaddresspools/{}", self.scene.namespace);
        for object in
            [pool.as_str(), &pool.replace("ipaddresspools", "l2advertisements"), "secret/ferrolb-hello"]
        {
            if !self.cluster.has(object)? {
                return Err(fail(format!("{object} is gone")));
            }
        }
        Ok(())
    }

    /// And answers from outside.
    async fn answers(&self, when: &str) -> Result<(), LabError> {
        self.holds(when).await?;
        let client = self.scene.client_host()?;
        let address = (self.address, 80).into();
        wait(&format!("{} to answer, {when}", self.address), 60, async || {
            client.ask(address).map(drop).map_err(|error| error.to_string())
        })
        .await
    }
}

/// A copy of the chart whose definitions of pools say `words`.
fn chart_that_says(folder: &Path, words: &str) -> Result<PathBuf, LabError> {
    let copy = folder.join("ferrolb");
    process::run(Command::new("cp").arg("-r").arg(chart()).arg(folder))?;
    let file = copy.join("files/crds/metallb.io_ipaddresspools.yaml");
    let text = std::fs::read_to_string(&file).map_err(LabError::at(&file))?;
    let changed = text.replacen("title: IPAddressPool\n", &format!("title: {words}\n"), 1);
    assert_ne!(changed, text, "the definition of pools has another form");
    std::fs::write(&file, changed).map_err(LabError::at(&file))?;
    Ok(copy)
}

const TITLE: &str = ".spec.versions[0].schema.openAPIV3Schema.title";
const POOLS: &str = "crd/ipaddresspools.metallb.io";
const DEFINITIONS: [&str; 5] = [
    POOLS,
    "crd/bgppeers.metallb.io",
    "crd/l2advertisements.metallb.io",
    "crd/servicel2statuses.metallb.io",
    "crd/configurationstates.metallb.io",
];

/// The whole life of a release.
pub(crate) async fn life(cluster: &Cluster) -> Result<(), LabError> {
    let progress = Progress::default();
    let image = programs::ferrolb_image(&progress)?;
    up::load_image(&cluster.lab, &image).await?;
    helm::program(&progress)?;
    cluster.namespace()?;
    let scene = Scene::in_lab(&cluster.lab, "release").await?;
    scene.echo("web").create().await?;
    scene.service("web").create().await?;
    let chart = chart().to_string_lossy().into_owned();

    let started = Instant::now();
    let said = cluster.helm(&["install", RELEASE, &chart])?;
    assert!(said.contains("FerroLB") && !said.contains("kubectl label namespace"), "{said}");
    let installed = started.elapsed();
    wait("the definitions to be served", 30, async || {
        scene.pool("10.10.0.200-10.10.0.209").await.map_err(|error| error.to_string())
    })
    .await?;
    let address = scene.address("web").await?;
    let given = started.elapsed();
    say("helm install returned", installed);
    say("helm install to the first EXTERNAL-IP", given);
    let kept = Kept { cluster, scene: &scene, address };
    // It is made when all else is done.
    wait("the key of the hellos", 60, async || match cluster.has("secret/ferrolb-hello") {
        Ok(true) => Ok(()),
        Ok(false) => Err("there is none".to_owned()),
        Err(error) => Err(error.to_string()),
    })
    .await?;
    kept.answers("after the install").await?;
    cluster.helm(&["status", RELEASE])?;
    let traffic = Traffic::to(&cluster.lab, [("web", (address, 80).into())])?;

    // Another number of replicas, speakers that are asked on the node's address, and new definitions.
    let folder = tempfile::tempdir().map_err(LabError::at("a temporary folder"))?;
    let newer = chart_that_says(folder.path(), "newer")?.to_string_lossy().into_owned();
    let set = "controller.replicas=2,speaker.logLevel=debug,prometheus.scrapeAnnotations=true";
    cluster.helm(&["upgrade", RELEASE, &newer, "--set", set, "--wait", TIMEOUT])?;
    kept.answers("after the upgrade").await?;
    assert_eq!(cluster.field("deployment/ferrolb-controller", ".status.readyReplicas")?, "2");
    assert_eq!(cluster.field(POOLS, TITLE)?, "newer");
    assert!(cluster.has("pdb/ferrolb-controller")?);

    cluster.helm(&["rollback", RELEASE, "1", "--wait", TIMEOUT])?;
    kept.answers("after the rollback").await?;
    assert_eq!(cluster.field("deployment/ferrolb-controller", ".spec.replicas")?, "1");
    assert_eq!(cluster.field(POOLS, TITLE)?, "IPAddressPool", "the rollback left the newer definitions");
    assert!(!cluster.has("pdb/ferrolb-controller")?);
    // All speakers were replaced twice: no connection failed meanwhile, and none that was there was reset.
    let [reset, of] = traffic.reset();
    assert_eq!(reset, 0, "of {of} connections through the upgrade and the rollback");
    let begun = traffic.end(&progress)?;
    println!(
        "upgrade and rollback: of {begun} connections none failed, of {of} that were held none was reset"
    );

    let said = cluster.helm(&["uninstall", RELEASE, "--wait", TIMEOUT])?;
    assert!(said.contains("ipaddresspools.metallb.io"), "Helm does not say what it keeps: {said}");
    kept.holds("after the uninstall").await?;
    for object in
        ["deployment/ferrolb-controller", "daemonset/ferrolb-speaker", "serviceaccount/ferrolb-speaker"]
    {
        assert!(!cluster.has(object)?, "{object} is left");
    }
    let ours =
        ["clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings"];
    let left = cluster.kubectl(&["get", ours[0], "-l", "app.kubernetes.io/name=ferrolb", "-o", "name"])?;
    assert_eq!(left, "");
    for definition in DEFINITIONS {
        assert!(cluster.has(definition)?, "{definition} is gone, and with it all of its objects");
    }

    // Under the same name it takes the definitions that it left.
    cluster.helm(&["install", RELEASE, &chart, "--wait", TIMEOUT])?;
    kept.answers("after a second install").await?;
    cluster.helm(&["uninstall", RELEASE, "--wait", TIMEOUT])?;

    // By kubectl, removed by kubectl without the namespace, and again.
    let (rbac, admission) = (project("config/rbac"), project("config/admission"));
    for round in 0..2 {
        cluster.kubectl(&["apply", "-f", &project("crds").to_string_lossy()])?;
        cluster.kubectl(&["apply", "-k", &project("config/default").to_string_lossy()])?;
        cluster.kubectl(&["-n", SYSTEM, "rollout", "status", "deployment/ferrolb-controller", TIMEOUT])?;
        cluster.kubectl(&["-n", SYSTEM, "rollout", "status", "daemonset/ferrolb-speaker", TIMEOUT])?;
        kept.answers("installed by kubectl").await?;
        if round == 0 {
            cluster.kubectl(&[
                "-n",
                SYSTEM,
                "delete",
                "deployment/ferrolb-controller",
                "daemonset/ferrolb-speaker",
            ])?;
            cluster.kubectl(&["delete", "-k", &rbac.to_string_lossy()])?;
            cluster.kubectl(&["delete", "-k", &admission.to_string_lossy()])?;
            kept.holds("removed by kubectl").await?;
        }
    }

    // Taken over by Helm: no pod is replaced.
    let pods = "jsonpath={.items[*].metadata.uid}";
    let pods = || cluster.kubectl(&["-n", SYSTEM, "get", "pods", "-l", "app=ferrolb", "-o", pods]);
    let before = pods()?;
    let refused = cluster.helm(&["install", RELEASE, &chart, "--wait", TIMEOUT]);
    let refused = refused.expect_err("what kubectl made is not Helm's").to_string();
    assert!(refused.contains("invalid ownership metadata"), "{refused}");
    cluster.helm(&[
        "install",
        RELEASE,
        &chart,
        "--take-ownership",
        "--force-conflicts",
        "--wait",
        TIMEOUT,
    ])?;
    kept.answers("taken over by Helm").await?;
    assert_eq!(pods()?, before, "pods were replaced");
    scene.end().await
}

fn say(what: &str, took: Duration) {
    println!("{what}: {:.1} s", took.as_secs_f64());
}
