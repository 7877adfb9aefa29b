//! An overlay with a namespace of its own, as docs/install.md has one: FerroLB serves there, with the rights that it needs.

use ferrolb_tests::lab::progress::{Progress, wait};
use ferrolb_tests::lab::{LabError, programs, up};
use ferrolb_tests::plane::project;
use ferrolb_tests::scene::Scene;

use crate::support::cluster::Cluster;

/// The namespace that the overlay chooses.
pub(crate) const NAMESPACE: &str = "lb";

const TIMEOUT: &str = "--timeout=120s";

/// How long a thing may take to show, in seconds. A kubelet brings a Secret that came after its Pod within a minute or two.
const PATIENCE: u64 = 180;

/// A Service gets an address of a pool there, is announced and answers; and what the programs write there is there.
pub(crate) async fn serves(cluster: &Cluster) -> Result<(), LabError> {
    up::load_image(&cluster.lab, &programs::ferrolb_image(&Progress::default())?).await?;
    // kustomize takes no absolute paths.
    let folder = tempfile::tempdir().map_err(LabError::at("a temporary folder"))?;
    let overlay = folder.path().join("overlay");
    std::os::unix::fs::symlink(project("config"), folder.path().join("config"))
        .and_then(|()| std::fs::create_dir(&overlay))
        .and_then(|()| std::fs::write(overlay.join("kustomization.yaml"), text()))
        .map_err(LabError::at(&overlay))?;
    cluster.kubectl(&["apply", "-f", &project("crds").to_string_lossy()])?;
    cluster.kubectl(&["apply", "-k", &overlay.to_string_lossy()])?;
    for workload in ["deployment/ferrolb-controller", "daemonset/ferrolb-speaker"] {
        cluster.kubectl(&["-n", NAMESPACE, "rollout", "status", workload, TIMEOUT])?;
    }

    let scene = Scene::in_lab(&cluster.lab, "release").await?.with_pools_in(NAMESPACE);
    scene.pool("10.10.0.200-10.10.0.209").await?;
    scene.echo("web").create().await?;
    scene.service("web").create().await?;
    let address = scene.address("web").await?;
    scene.client_host()?.ask_until((address, 80).into(), PATIENCE).map_err(LabError::at("the answer"))?;
    // The controller writes the Secret and the Lease, a speaker its state and who announces.
    let written = ["secret/ferrolb-hello", "lease/ferrolb-controller", "configurationstate/speaker-node1"];
    for object in written {
        wait(object, PATIENCE, async || {
            let found = cluster.kubectl(&["-n", NAMESPACE, "get", object, "-o", "name"]);
            found.map_err(|error| error.to_string())
        })
        .await?;
    }
    wait("the word of who announces", PATIENCE, async || {
        let statuses = scene.l2_statuses("web").await.map_err(|error| error.to_string())?;
        if statuses.len() == 1 { Ok(()) } else { Err(format!("{} ServiceL2Statuses", statuses.len())) }
    })
    .await?;
    scene.end().await
}

fn text() -> String {
    format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: {NAMESPACE}\nresources:\n\
         - ../config/default\ncomponents:\n- ../config/components/replicas\n"
    )
}
