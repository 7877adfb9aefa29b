//! Objects of kinds that are taken and not acted on: each is told so, once.
//!
//! Nothing else depends on these objects, so this stands beside the brain: one task for each kind watches it and, while this
//! replica leads, writes the condition where it is missing.

use std::collections::BTreeMap;
use std::time::Duration;

use ferrolb_crds::bgp::{BFDProfile, BGPAdvertisement, BGPPeer, BGPStatus, Community, NO_BGP, NOT_SUPPORTED};
use ferrolb_runtime::{Context, How, Seen, watch_as};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::serde::Serialize;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::core::object::HasStatus;
use kube::runtime::watcher::Config;
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::writer;

/// So soon another try follows on one that failed.
const AGAIN: Duration = Duration::from_secs(5);

/// Whoever does not lead asks so often whether it does now. That is no request.
const LEAD: Duration = Duration::from_secs(1);

/// What an object is told.
const WORDS: &str = "FerroLB announces addresses by ARP and NDP alone, and takes BGPPeer, BGPAdvertisement, BFDProfile and Community \
                     objects only so that manifests apply: nothing follows from this one. To have addresses announced, write an L2Advertisement";

/// Starts one task for each kind, and returns them; they run until the context's shutdown.
pub fn start(
    client: &Client,
    namespace: &str,
    seconds: u32,
    leads: impl Fn() -> bool + Clone + Send + Sync + 'static,
    context: &Context,
) -> [JoinHandle<()>; 4] {
    [
        keep::<BGPPeer>(client, namespace, seconds, leads.clone(), context),
        keep::<BGPAdvertisement>(client, namespace, seconds, leads.clone(), context),
        keep::<BFDProfile>(client, namespace, seconds, leads.clone(), context),
        keep::<Community>(client, namespace, seconds, leads, context),
    ]
}

/// A kind of those.
trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + HasStatus<Status = BGPStatus>
    + Clone
    + DeserializeOwned
    + Serialize
    + std::fmt::Debug
    + Send
    + Sync
    + 'static
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + HasStatus<Status = BGPStatus>
        + Clone
        + DeserializeOwned
        + Serialize
        + std::fmt::Debug
        + Send
        + Sync
        + 'static
{
}

fn keep<K: Kind>(
    client: &Client,
    namespace: &str,
    seconds: u32,
    leads: impl Fn() -> bool + Send + Sync + 'static,
    context: &Context,
) -> JoinHandle<()> {
    let (client, api) = (client.clone(), Api::<K>::namespaced(client.clone(), namespace));
    // A cluster whose definitions are older has no such objects: that stops nobody.
    let how = How { select: Config::default(), seconds, gates_readiness: false };
    let (sender, mut seen) = mpsc::unbounded_channel();
    let watch = watch_as(
        context,
        api,
        how,
        |object: K| object,
        move |seen| {
            // The receiver ends with the program.
            let _ = sender.send(seen);
        },
    );
    let shutdown = context.shutdown.clone();
    let work = async move {
        let _watch = watch;
        let (mut untold, mut said) = (BTreeMap::new(), String::new());
        loop {
            let wait = match untold.is_empty() {
                true => None,
                false if !leads() => Some(LEAD),
                false => {
                    let problem = tell(&client, &mut untold).await;
                    if problem != said {
                        said = problem;
                        if !said.is_empty() {
                            tracing::warn!("cannot tell a {} that it is not supported: {said}", K::kind(&()));
                        }
                    }
                    Some(AGAIN).filter(|_| !untold.is_empty())
                }
            };
            tokio::select! {
                news = seen.recv() => match news {
                    Some(news) => take(&mut untold, news),
                    // The watch ends with the program.
                    None => return,
                },
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            }
        }
    };
    tokio::spawn(async move {
        shutdown.run_until_cancelled(work).await;
    })
}

/// Takes note of who is to be told.
fn take<K: Kind>(untold: &mut BTreeMap<String, K>, seen: Seen<K>) {
    let news = match seen {
        Seen::Listed(all) => {
            untold.clear();
            all
        }
        Seen::Applied(object) => vec![object],
        Seen::Deleted(object) => return drop(untold.remove(&object.name_any())),
        Seen::Failing => return,
    };
    for object in news {
        let name = object.name_any();
        match is_told(&object) {
            true => untold.remove(&name),
            false => untold.insert(name, object),
        };
    }
}

/// Tells each of them; those that could not be told stay, and the last one's reason is returned.
async fn tell<K: Kind>(client: &Client, untold: &mut BTreeMap<String, K>) -> String {
    let mut problem = String::new();
    for (name, object) in std::mem::take(untold) {
        let status = BGPStatus { conditions: vec![condition(Timestamp::now())] };
        if let Err(why) = writer::write_status(client, &object, &status).await {
            problem = format!("{name}: {why}");
            untold.insert(name, object);
        }
    }
    problem
}

fn is_told<K: Kind>(object: &K) -> bool {
    let conditions = object.status().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let wanted = condition(Timestamp::UNIX_EPOCH);
    let same = |known: &Condition| Condition {
        last_transition_time: wanted.last_transition_time.clone(),
        ..known.clone()
    };
    matches!(conditions, [known] if same(known) == wanted)
}

fn condition(since: Timestamp) -> Condition {
    Condition {
        type_: NOT_SUPPORTED.to_owned(),
        status: "True".to_owned(),
        reason: NO_BGP.to_owned(),
        message: WORDS.to_owned(),
        // The API has no parts of seconds.
        last_transition_time: Time(
            Timestamp::from_second(since.as_second()).unwrap_or(Timestamp::UNIX_EPOCH),
        ),
        observed_generation: None,
    }
}
