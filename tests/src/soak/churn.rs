//! Services that come and go without end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kube::api::DeleteParams;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::judge::Clock;
use crate::lab::LabError;
use crate::scene::{Scene, shown};

/// One is made or deleted, or some are looked at, once in so long.
const EVERY: Duration = Duration::from_millis(250);

/// So many are there at most; half as many addresses more than that.
const MOST: usize = 12;

/// The addresses that they share.
const POOL: &str = "10.10.0.220-10.10.0.237,fd10::220-fd10::231";

/// Within so long a controller gives an address, on a busy machine too.
pub const LONG: Duration = Duration::from_secs(10);

/// Whoever makes and deletes them.
#[derive(Debug)]
pub struct Churn {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Churned>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Churned {
    /// So many were made.
    pub created: usize,
    /// So many were deleted.
    pub deleted: usize,
    /// From a create's return until an address was seen, looked for each 0.25 s; of those that were there long enough.
    pub waited: Vec<(Duration, Duration)>,
    /// Those that had none when they were deleted, or at the end: from their creation until then.
    pub without: Vec<(Duration, Duration)>,
    /// What the API server refused.
    pub refused: Vec<String>,
}

/// One that is there.
struct There {
    made: Duration,
    addressed: bool,
}

impl Churn {
    /// Begins, with a pool of its own.
    ///
    /// # Errors
    /// When the pool is refused.
    pub async fn begin(scene: &Scene, clock: Clock) -> Result<Self, LabError> {
        scene.pool(POOL).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(run(scene.clone(), clock, stop.clone()));
        Ok(Churn { stop, task })
    }

    /// Ends it; what is there stays.
    ///
    /// # Errors
    /// When it failed meanwhile.
    pub async fn end(self) -> Result<Churned, LabError> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.map_err(|error| LabError::program("making and deleting Services", error))
    }
}

async fn run(scene: Scene, clock: Clock, stop: Arc<AtomicBool>) -> Churned {
    let mut churned = Churned::default();
    let mut there: BTreeMap<String, There> = BTreeMap::new();
    let mut dice = fastrand::Rng::with_seed(1);
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(EVERY).await;
        look(&scene, clock, &mut there, &mut churned).await;
        let grows = there.is_empty() || (there.len() < MOST && dice.bool());
        let done = if grows {
            let name = format!("churn-{}", churned.created);
            create(&scene, &name, dice.usize(..3)).await.map(|()| {
                churned.created += 1;
                there.insert(name, There { made: clock.now(), addressed: false });
            })
        } else {
            let name = there.keys().nth(dice.usize(..there.len())).cloned().unwrap_or_default();
            let deleted = scene.services().delete(&name, &DeleteParams::default()).await;
            deleted.map_err(|error| LabError::program("deleting a Service", error)).map(|_| {
                churned.deleted += 1;
                let gone = there.remove(&name);
                let now = clock.now();
                churned.without.extend(gone.filter(|gone| !gone.addressed).map(|gone| (gone.made, now)));
            })
        };
        if let Err(error) = done {
            churned.refused.push(error.to_string());
        }
    }
    let now = clock.now();
    churned.without.extend(there.values().filter(|one| !one.addressed).map(|one| (one.made, now)));
    churned
}

async fn create(scene: &Scene, name: &str, kind: usize) -> Result<(), LabError> {
    let service = scene.service(name).annotated("metallb.io/address-pool", "churn");
    let service = match kind {
        0 => service.family("IPv4"),
        1 => service.family("IPv6"),
        _ => service.with("ipFamilyPolicy", json!("RequireDualStack")),
    };
    service.with("selector", json!({"app": "web"})).create().await.map(|_| ())
}

/// Which of them have an address by now.
async fn look(scene: &Scene, clock: Clock, there: &mut BTreeMap<String, There>, churned: &mut Churned) {
    if there.values().all(|one| one.addressed) {
        return;
    }
    let listed = scene.services().list(&kube::api::ListParams::default()).await;
    let listed = match listed {
        Ok(list) => list.items,
        Err(error) => return churned.refused.push(format!("listing Services: {error}")),
    };
    for service in listed.iter().filter(|service| !shown(service).is_empty()) {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        if let Some(one) = there.get_mut(name).filter(|one| !one.addressed) {
            one.addressed = true;
            churned.waited.push((one.made, clock.now()));
        }
    }
}
