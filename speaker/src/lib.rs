//! The speaker: makes the network send a Service's address to this node, while it is the one to answer.
//!
//! ```text
//!  API server ──► cluster ──► Outcome ─┐
//!                                      ├──► announcing ──► socket ──► the wire
//!  netlink ─────► links ────► Links ───┘        │  ▲                     │
//!                                               │  └──── ARP requests ◄──┘
//!                                               └──► metrics, log
//! ```
//!
//! Two tasks find out what is so ([`cluster`], [`links`]); each hands its latest finding on, whole. A third
//! ([`announcing`]) owns core's announcer and the sockets and does what it says. The decisions are all in
//! `ferrolb_core`; what is here reads, sends and counts.
//!
//! It writes nothing to the API server, needs `CAP_NET_RAW` and no other privilege, and keeps announcing
//! what it last knew while the API server is away.

pub mod announcing;
pub mod args;
pub mod cluster;
pub mod links;
pub mod metrics;
mod report;
pub mod socket;
pub mod status;

use ferrolb_runtime::{Changes, ClientError, Context, Watcher};
use tokio::sync::watch;

pub use args::Args;

/// Runs the speaker until the context's shutdown.
///
/// # Errors
/// When there is no configuration for a client of the API server. A server that does not answer is no
/// error: it is waited for.
pub async fn run(context: Context, args: Args) -> Result<(), ClientError> {
    let Args { node_name: node, exclude_interfaces, common } = args;
    let client = ferrolb_runtime::client(&common).await?;
    let metrics = metrics::Metrics::default();
    context.register(|registry| metrics.register(registry));

    let watcher = Watcher { context: context.clone(), changes: Changes::default() };
    let stores = cluster::Stores::watch(&client, &common, &watcher);
    let (elected, outcome) = watch::channel(None);
    let electing = cluster::elect(node.clone(), stores, common, watcher.changes, elected, context.clone());

    let (found, links) = watch::channel(None);
    let following = links::follow(exclude_interfaces, found, context.shutdown.clone());

    let announcing = announcing::run(announcing::Parts {
        node,
        datalink: socket::PacketSockets,
        elected: outcome,
        links,
        metrics,
        ready: context.readiness.token("packet sockets"),
        clock: ferrolb_runtime::now,
        shutdown: context.shutdown.clone(),
    });

    context.readiness.started();

    // Deciding may take a while with many Services; answering must not wait for it.
    let electing = tokio::spawn(electing);
    let following = tokio::spawn(following);
    announcing.await;
    let _ = futures::join!(electing, following);
    Ok(())
}
