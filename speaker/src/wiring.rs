//! What the parts tell each other, translated on the way.
//!
//! ```text
//!  announcing ─► Standing (one Service) ──────► feed ──────► Board ───────────────► status
//!  cluster ────► problems, live nodes ─┐
//!  announcing ─► has it a key?           │
//!  proxy ──────► Health, strictARP ────┴──────► configure ─► Configuration, nodes ─► status
//!                                                         └► metrics, remarks of /readyz, an event on the Node
//! ```

use std::sync::Arc;
use std::time::Duration;

use ferrolb_core::election::Holder;
use ferrolb_runtime::{Context, Events, Note};
use k8s_openapi::api::core::v1::ObjectReference;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::cluster;
use crate::metrics::Metrics;
use crate::proxy::health::Health;
use crate::proxy::strict_arp::Problem;
use crate::report::{Standing, Told};
use crate::status::{Board, Configuration, Nodes, Proxy};

/// Puts on the board what is told of single Services, until the other end is gone. The announcing loop never waits for
/// whoever reads there.
pub(crate) async fn feed(mut told: mpsc::UnboundedReceiver<Told>, board: Arc<Board>) {
    while let Some(told) = told.recv().await {
        match told {
            Told::All => board.complete(),
            Told::Of(Standing { service: Holder { key, uid }, state, conflict }) => {
                board.stand(key, uid, state, conflict);
            }
        }
    }
}

/// A proxy that tells no health within so long is one that does not tell it at all.
const PROXY_SILENCE: Duration = Duration::from_secs(10);

/// Says of the proxy's health what the machine needs to know.
///
/// A node that boots must not take its addresses back before its proxy knows where to send the traffic: until the proxy
/// has told its health, or has not for ten seconds, the node comes last.
pub(crate) async fn judge(
    mut health: watch::Receiver<Health>,
    unfit: watch::Sender<bool>,
    shutdown: CancellationToken,
) {
    let first = tokio::time::timeout(PROXY_SILENCE, health.changed());
    let Some(_) = shutdown.run_until_cancelled(first).await else { return };
    loop {
        unfit.send_replace(!health.borrow_and_update().is_fit());
        let Some(Ok(())) = shutdown.run_until_cancelled(health.changed()).await else { return };
    }
}

/// What [`configure`] listens to.
pub(crate) struct Sources {
    pub(crate) cluster: watch::Receiver<Option<cluster::Configuration>>,
    pub(crate) health: watch::Receiver<Health>,
    pub(crate) strict_arp: watch::Receiver<Option<Problem>>,
    pub(crate) keyless: watch::Receiver<bool>,
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
        let keyless = *sources.keyless.borrow_and_update();
        outlets.metrics.proxy(health.is_fit());
        let proxy = match &health {
            Health::Unknown => Proxy::Unknown,
            Health::Healthy => Proxy::Healthy,
            Health::Unhealthy(why) => Proxy::Unhealthy(why.to_string()),
        };
        context.readiness.remark("service proxy", (!health.is_fit()).then(|| health.to_string()));
        context.readiness.remark("strictARP", problem.as_ref().map(ToString::to_string));
        if let Some(problem) = problem.as_ref().filter(|problem| said.as_ref() != Some(problem)) {
            outlets.events.send(about_node(&node, "StrictARPMissing", problem.to_string()));
        }
        said = problem;
        if let Some(cluster::Configuration { problems, live_nodes }) = cluster {
            context.configured(problems.is_empty());
            replace(&outlets.configuration, Configuration { problems, proxy, keyless });
            replace(&outlets.live, live_nodes);
        }
        let changed = async {
            // A source that ended has nothing more to say; all of them end with the program.
            tokio::select! {
                Ok(()) = sources.cluster.changed() => {}
                Ok(()) = sources.health.changed() => {}
                Ok(()) = sources.strict_arp.changed() => {}
                Ok(()) = sources.keyless.changed() => {}
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

/// A warning for the operator, about this node.
pub(crate) fn about_node(node: &str, reason: &'static str, note: String) -> Note {
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
        reason,
        action: "Announcing",
        note,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Announced, Conflict};
    use ferrolb_core::service::ServiceKey;

    #[tokio::test]
    async fn what_is_told_of_single_services_is_put_on_the_board() {
        let (tell, told) = mpsc::unbounded_channel();
        let board = Arc::<Board>::default();
        let key = |name: &str| Arc::new(ServiceKey::new("shop", name));
        let links = Arc::new(["lan".to_owned()].into());
        let stands = |name: &str, state| {
            let service = Holder { key: key(name), uid: format!("uid of {name}").into() };
            tell.send(Told::Of(Standing { service, state, conflict: None })).unwrap();
        };
        stands("web", Some(Announced::On(Arc::clone(&links))));
        stands("db", Some(Announced::Lacks(links.clone())));
        stands("old", Some(Announced::On(links.clone())));
        stands("old", None);
        let conflict = Some(Arc::new(Conflict { held_back: true, words: "words".to_owned(), since: 7 }));
        let held = Holder { key: key("held"), uid: "uid of held".into() };
        tell.send(Told::Of(Standing { service: held, state: None, conflict })).unwrap();
        assert!(!board.is_complete());
        tell.send(Told::All).unwrap();
        drop(tell);
        feed(told, board.clone()).await;
        assert!(board.is_complete());
        assert_eq!(board.announced(&key("web")), Some(links));
        assert_eq!((board.announced(&key("db")), board.announced(&key("old"))), (None, None));
        assert_eq!(board.wanted(&key("held")).unwrap().conflict.unwrap().words, "words");
        let uids: Vec<_> = board.take().into_iter().map(|change| change.uid.to_string()).collect();
        assert_eq!(uids, ["uid of db", "uid of held", "uid of old", "uid of web"]);
    }
}
