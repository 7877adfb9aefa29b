//! What the parts tell each other, translated on the way.
//!
//! ```text
//!  announcing ─► Standing (one Service) ──────► feed ──────► Shown (all) ─────────► status
//!  cluster ────► problems, live nodes ─┐
//!  proxy ──────► Health, strictARP ────┴──────► configure ─► Configuration, nodes ─► status
//!                                                         └► metrics, remarks of /readyz, an event on the Node
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ferrolb_core::service::ServiceKey;
use ferrolb_runtime::{Context, Events, Note};
use k8s_openapi::api::core::v1::ObjectReference;
use tokio::sync::{mpsc, watch};

use crate::cluster;
use crate::metrics::Metrics;
use crate::proxy::health::Health;
use crate::proxy::strict_arp::Problem;
use crate::report::{Announced, Told};
use crate::status::{Configuration, Nodes, Proxy, Shown, UidOf};

/// Changes that come within so long are shown together: each picture holds all Services.
const TOGETHER: Duration = Duration::from_millis(20);

/// The uids of the Services that this node is elected for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Uids(Arc<Mutex<BTreeMap<Arc<ServiceKey>, Arc<str>>>>);

impl Uids {
    pub(crate) fn find(&self) -> UidOf {
        let uids = self.clone();
        Arc::new(move |service| {
            uids.lock().get(service).map(ToString::to_string).filter(|uid| !uid.is_empty())
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<ServiceKey>, Arc<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the whole picture of what is told of single Services, until the other end is gone. Nothing is shown before
/// the first picture is complete.
pub(crate) async fn feed(
    mut told: mpsc::UnboundedReceiver<Told>,
    shown: watch::Sender<Option<Arc<Shown>>>,
    uids: Uids,
) {
    let (mut picture, mut complete) = (Shown::default(), false);
    while let Some(first) = told.recv().await {
        let mut changed = false;
        let mut note = |told| match told {
            Told::All => {
                complete = true;
                true
            }
            Told::Of(standing) => {
                let key = standing.service.key;
                let (mut announced, mut failed) = (None, None);
                match standing.state {
                    Some(Announced::On(links)) => announced = Some(links),
                    Some(Announced::Lacks(links)) => failed = Some(links),
                    None => {}
                }
                if announced.is_some() || failed.is_some() {
                    uids.lock().insert(key.clone(), standing.service.uid);
                } else {
                    uids.lock().remove(&key);
                }
                let one = set(&mut picture.announced, &key, announced);
                let other = set(&mut picture.failed, &key, failed);
                one || other
            }
        };
        changed |= note(first);
        while let Ok(next) = told.try_recv() {
            changed |= note(next);
        }
        if changed && complete {
            shown.send_replace(Some(Arc::new(picture.clone())));
            tokio::time::sleep(TOGETHER).await;
        }
    }
}

/// Sets or removes; returns whether that changes anything.
fn set<V: PartialEq>(
    map: &mut BTreeMap<Arc<ServiceKey>, V>,
    key: &Arc<ServiceKey>,
    value: Option<V>,
) -> bool {
    if map.get(key) == value.as_ref() {
        return false;
    }
    match value {
        Some(value) => drop(map.insert(key.clone(), value)),
        None => drop(map.remove(key)),
    }
    true
}

/// What [`configure`] listens to.
pub(crate) struct Sources {
    pub(crate) cluster: watch::Receiver<Option<cluster::Configuration>>,
    pub(crate) health: watch::Receiver<Health>,
    pub(crate) strict_arp: watch::Receiver<Option<Problem>>,
}

/// Where [`configure`] tells what follows.
pub(crate) struct Outlets {
    pub(crate) configuration: watch::Sender<Option<Arc<Configuration>>>,
    pub(crate) live: watch::Sender<Option<Arc<Nodes>>>,
    pub(crate) metrics: Metrics,
    pub(crate) events: Events,
}

/// Hands on what is wrong with the configuration and with this node, until the context's shutdown.
pub(crate) async fn configure(node: String, mut sources: Sources, outlets: Outlets, context: Context) {
    let mut said: Option<Problem> = None;
    loop {
        let cluster = sources.cluster.borrow_and_update().clone();
        let health = sources.health.borrow_and_update().clone();
        let problem = sources.strict_arp.borrow_and_update().clone();
        outlets.metrics.proxy(health.is_fit());
        let proxy = match &health {
            Health::Unknown => Proxy::Unknown,
            Health::Healthy => Proxy::Healthy,
            Health::Unhealthy(why) => Proxy::Unhealthy(why.to_string()),
        };
        context.readiness.remark("service proxy", (!health.is_fit()).then(|| health.to_string()));
        context.readiness.remark("strictARP", problem.as_ref().map(ToString::to_string));
        if let Some(problem) = problem.as_ref().filter(|problem| said.as_ref() != Some(problem)) {
            outlets.events.send(about_node(&node, problem.to_string()));
        }
        said = problem;
        if let Some(cluster::Configuration { problems, live_nodes }) = cluster {
            replace(&outlets.configuration, Configuration { problems, proxy });
            replace(&outlets.live, live_nodes);
        }
        let changed = async {
            // A source that ended has nothing more to say; all of them end with the program.
            tokio::select! {
                Ok(()) = sources.cluster.changed() => {}
                Ok(()) = sources.health.changed() => {}
                Ok(()) = sources.strict_arp.changed() => {}
                else => std::future::pending().await,
            }
        };
        if context.shutdown.run_until_cancelled(changed).await.is_none() {
            return;
        }
    }
}

fn replace<T: PartialEq>(sender: &watch::Sender<Option<Arc<T>>>, value: T) {
    sender.send_if_modified(|known| {
        let changed = known.as_deref() != Some(&value);
        if changed {
            *known = Some(Arc::new(value));
        }
        changed
    });
}

fn about_node(node: &str, note: String) -> Note {
    Note {
        about: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            // kubectl looks for a Node's events by its name in this field (the kubelet writes them so).
            uid: Some(node.to_owned()),
            ..ObjectReference::default()
        },
        warning: true,
        for_operators: true,
        reason: "StrictARPMissing",
        action: "Announcing",
        note,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Standing;
    use ferrolb_core::election::Holder;

    fn standing(name: &str, state: Option<Announced>) -> Told {
        let key = Arc::new(ServiceKey::new("shop", name));
        Told::Of(Standing { service: Holder { key, uid: format!("uid of {name}").into() }, state })
    }

    fn on(link: &str) -> Announced {
        Announced::On(Arc::new([link.to_owned()].into()))
    }

    #[test]
    fn the_first_picture_is_complete_and_later_ones_follow() {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (tell, told) = mpsc::unbounded_channel();
            let (shown, mut watched) = watch::channel(None);
            let uids = Uids::default();
            let find = uids.find();
            let feeding = tokio::spawn(feed(told, shown, uids));
            let settle = || tokio::time::sleep(TOGETHER * 3);
            tell.send(standing("web", Some(on("lan")))).unwrap();
            settle().await;
            assert_eq!(*watched.borrow_and_update(), None, "half a picture");
            tell.send(Told::All).unwrap();
            settle().await;
            let web = ServiceKey::new("shop", "web");
            let picture = watched.borrow_and_update().clone().expect("a picture");
            assert_eq!(picture.announced.keys().map(|key| &**key).collect::<Vec<_>>(), [&web]);
            assert_eq!(find(&web).as_deref(), Some("uid of web"));

            tell.send(standing("web", Some(on("lan")))).unwrap();
            settle().await;
            assert!(!watched.has_changed().unwrap(), "the same again");
            let lacks = Some(Announced::Lacks(Arc::new(["dsl".to_owned()].into())));
            tell.send(standing("web", lacks)).unwrap();
            settle().await;
            let picture = watched.borrow_and_update().clone().expect("a picture");
            assert!(picture.announced.is_empty() && picture.failed.contains_key(&web));
            tell.send(standing("web", None)).unwrap();
            settle().await;
            assert_eq!(watched.borrow_and_update().as_deref(), Some(&Shown::default()));
            assert_eq!(find(&web), None);
            drop(tell);
            feeding.await.unwrap();
        });
    }
}
