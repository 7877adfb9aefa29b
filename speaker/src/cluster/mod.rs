//! What the API server knows, as what this node is to do.
//!
//! ```text
//!  Service, EndpointSlice, Node, IPAddressPool, L2Advertisement, ConfigurationState
//!     │ watches, each object cut to what is read as it comes in
//!     ▼
//!  World ──► core: Elector ──► Change (an address: ours, or no longer, and why) ──► the announcing loop
//!     │ ▲
//!     ▼ │ new endpoints on this node: does its service proxy have them?
//!   proxy
//! ```
//!
//! Nothing is said before each kind was listed completely: with half of the nodes in view, another one would be
//! elected.

mod endpoints;
mod served;
mod world;

use std::sync::Arc;

use ferrolb_core::announce::Cover;
use ferrolb_core::election::{Change, Roster};
use ferrolb_crds::view::{EndpointSlice, Node, Service, Trim};
use ferrolb_crds::{ConfigurationState, IPAddressPool, L2Advertisement};
use ferrolb_runtime::{Context, How, WATCH_SECONDS, Watch, watch_as};
use kube::Api;
use kube::runtime::watcher::Config;
use tokio::sync::mpsc;
use tokio::sync::{Semaphore, watch};

use crate::metrics::Metrics;
use crate::{Args, proxy};

#[cfg(test)]
pub(crate) use endpoints::Slice;
pub use served::Question;
#[cfg(test)]
pub(crate) use world::contender;
pub use world::{Configuration, Input, World};

/// The speakers' own states, among which are those of others.
const SPEAKERS: &str = "metallb.io/component-type=speaker";

/// What the API says now and did not before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The nodes, by number.
    pub roster: Arc<Roster>,
    /// Who may answer for which address.
    pub changes: Vec<Change>,
    /// The prefixes outside of which nothing concerns any speaker, where they changed.
    pub cover: Option<Cover>,
}

/// Where the findings go.
pub struct Outlets {
    /// To the announcing loop.
    pub news: mpsc::UnboundedSender<News>,
    /// What is wrong with objects, and which nodes there are.
    pub configuration: watch::Sender<Option<Configuration>>,
    /// Whether this node is on its way out.
    pub going: watch::Sender<bool>,
    /// What is counted.
    pub metrics: Metrics,
}

/// Starts the watches. Custom resources are read in our namespace only.
fn watches(
    client: &kube::Client,
    args: &Args,
    context: &Context,
    inputs: &mpsc::UnboundedSender<Input>,
) -> [Watch; 6] {
    let how = || How { seconds: WATCH_SECONDS, gates_readiness: true, ..How::default() };
    let send = || inputs.clone();
    let (all, ours) = (client.clone(), args.common.namespace.as_str());
    let ignore_exclude = args.ignore_exclude_lb;
    let class = args.common.lb_class().map(str::to_owned);
    let (a, b, c, d, e, f) = (send(), send(), send(), send(), send(), send());
    // The receiver lives as long as the program does.
    [
        watch_as(
            context,
            Api::<Service>::all(all.clone()),
            how(),
            move |service| world::contender(&service, class.as_deref()),
            move |seen| drop(a.send(Input::Services(seen))),
        ),
        watch_as(
            context,
            Api::<EndpointSlice>::all(all.clone()),
            how(),
            |slice| endpoints::Slice::of(&slice),
            move |seen| drop(b.send(Input::Slices(seen))),
        ),
        watch_as(
            context,
            Api::<Node>::all(all.clone()),
            how(),
            move |node: Node| node.to_core(ignore_exclude),
            move |seen| drop(c.send(Input::Nodes(seen))),
        ),
        watch_as(context, Api::<IPAddressPool>::namespaced(all.clone(), ours), how(), trimmed, move |seen| {
            drop(d.send(Input::Pools(seen)));
        }),
        watch_as(
            context,
            Api::<L2Advertisement>::namespaced(all.clone(), ours),
            how(),
            trimmed,
            move |seen| drop(e.send(Input::Advertisements(seen))),
        ),
        watch_as(
            context,
            Api::<ConfigurationState>::namespaced(all, ours),
            // A cluster without this kind, or that forbids it, is served all the same.
            How { select: Config::default().labels(SPEAKERS), gates_readiness: false, ..how() },
            trimmed,
            move |seen| drop(f.send(Input::States(seen))),
        ),
    ]
}

fn trimmed<K: kube::Resource>(mut object: K) -> K {
    object.trim();
    object
}

/// Tells `outlets` what this node is to do, until the context's shutdown.
pub async fn follow(client: kube::Client, args: Args, outlets: Outlets, context: Context) {
    let (inputs, mut queue) = mpsc::unbounded_channel();
    let _watches = watches(&client, &args, &context, &inputs);
    let mut world = World::new(args.node_name.clone());
    let mut known: Option<Cover> = None;
    let mut roster: Option<Arc<Roster>> = None;
    let askers = Arc::new(Semaphore::new(proxy::endpoints::AT_ONCE));
    loop {
        let Some(Some(input)) = context.shutdown.run_until_cancelled(queue.recv()).await else { return };
        world.handle(input);
        // What is there already is taken together; nothing waits for more to come.
        while let Ok(input) = queue.try_recv() {
            world.handle(input);
        }
        for question in world.questions() {
            let (inputs, permits) = (inputs.clone(), askers.clone());
            let asking = async move {
                let Question { service, number, port, addresses } = question;
                proxy::endpoints::wait(&addresses, port, &permits).await;
                drop(inputs.send(Input::Served(service, number)));
            };
            tokio::spawn(context.shutdown.clone().run_until_cancelled_owned(asking));
        }
        let began = std::time::Instant::now();
        let Some(changes) = world.update() else { continue };
        outlets.metrics.elected(began.elapsed());
        let now = world.cover();
        let cover = (known.as_ref() != Some(&now)).then(|| now.clone());
        outlets.going.send_replace(world.is_going());
        let nodes = world.roster();
        let renamed = roster.as_ref().is_none_or(|roster| !Arc::ptr_eq(roster, &nodes));
        if !changes.is_empty() || cover.is_some() || renamed {
            known = Some(now);
            roster = Some(nodes.clone());
            if outlets.news.send(News { roster: nodes, changes, cover }).is_err() {
                return;
            }
        }
        let configuration = Some(world.configuration());
        outlets.configuration.send_if_modified(|known| {
            let changed = *known != configuration;
            *known = configuration;
            changed
        });
    }
}
