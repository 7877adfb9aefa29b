//! A sample in a lab: its manifest as it is, but for the addresses.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use ferrolb_tests::lab::progress::Progress;
use ferrolb_tests::lab::{Lab, LabError, process, samples};
use ferrolb_tests::plane::project;
use ferrolb_tests::scene::{Scene, shown};
use tempfile::NamedTempFile;
use tokio::sync::OnceCell;

use crate::support::in_cluster;

/// The networks in the manifests, and those of the lab.
const NETWORKS: [(&str, &str); 3] =
    [("192.168.1.", "10.10.0."), ("192.168.2.", "10.11.0."), ("fd00:1::", "fd10::")];

/// The images are in the nodes of the lab.
static LOADED: OnceCell<()> = OnceCell::const_new();

/// A sample that was applied. It is deleted when dropped.
pub(crate) struct Sample {
    lab: Lab,
    manifest: NamedTempFile,
}

/// Applies `config/samples/NAME`, waits until its pods are ready, and runs `test` in a scene that has the sample's
/// namespace. `ranges`, if any, are the addresses of a pool that is there before, like `config/samples/pool.yaml`.
pub(crate) fn with_sample(
    name: &str,
    ranges: &str,
    test: impl AsyncFnOnce(&Scene, &Sample) -> Result<(), LabError>,
) {
    in_cluster(&format!("sample-{name}"), async |scene| {
        LOADED.get_or_try_init(async || samples::load_images(&scene.lab, &Progress::default()).await).await?;
        if !ranges.is_empty() {
            scene.pool(ranges).await?;
        }
        let sample = Sample::apply(&scene.lab, &project("config/samples").join(name))?;
        process::run(scene.lab.kubectl().args([
            "-n",
            &scene.namespace,
            "wait",
            "--for=condition=Available",
            "deployment",
            "--all",
            "--timeout=180s",
        ]))?;
        test(&scene, &sample).await
    });
}

impl Sample {
    /// Applies every manifest in `folder`.
    fn apply(lab: &Lab, folder: &Path) -> Result<Self, LabError> {
        let mut manifest = NamedTempFile::with_suffix(".yaml").map_err(LabError::at(folder))?;
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
            .map_err(LabError::at(folder))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
            .collect();
        files.sort();
        for file in files {
            let mut text = std::fs::read_to_string(&file).map_err(LabError::at(&file))?;
            for (theirs, ours) in NETWORKS {
                text = text.replace(theirs, ours);
            }
            writeln!(manifest, "---\n{text}").map_err(LabError::at(&file))?;
        }
        let sample = Sample { lab: lab.clone(), manifest };
        sample.again()?;
        Ok(sample)
    }

    /// Applies it once more.
    pub(crate) fn again(&self) -> Result<(), LabError> {
        process::run(self.lab.kubectl().args(["apply", "-f"]).arg(self.manifest.path())).map(|_| ())
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        let delete = ["delete", "--ignore-not-found", "--wait=false", "-f"];
        if let Err(error) = process::run(self.lab.kubectl().args(delete).arg(self.manifest.path())) {
            eprintln!("the sample is still there, so the next tests may fail too: {error}");
        }
    }
}

/// Where a Service of the scene is reached: its first address, and this port.
pub(crate) async fn socket(scene: &Scene, service: &str, port: u16) -> Result<SocketAddr, LabError> {
    Ok(SocketAddr::new(scene.address(service).await?, port))
}

/// All addresses that a Service shows.
pub(crate) async fn addresses(scene: &Scene, service: &str) -> Result<Vec<IpAddr>, LabError> {
    let found = scene.services().get(service).await;
    found.map(|service| shown(&service)).map_err(|error| LabError::State(error.to_string()))
}
