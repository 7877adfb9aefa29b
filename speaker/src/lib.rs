//! The speaker: makes the network send a Service's address to this node, while it is the one to answer.
//!
//! ```text
//!  API server ──► cluster ──► Change (ours, lost) ─┐
//!                                                  ├──► announcing ──► socket ──► the wire
//!  netlink ─────► links ────► Links ───────────────┘        │  ▲                     │
//!                                                           │  └─ ARP, NDP ◄─────────┘
//!                                                           └──► report ──► metrics, log
//! ```
//!
//! Two tasks find out what is so ([`cluster`], [`links`]). A third ([`announcing`]) owns core's announcer and the sockets
//! and does what it says. The decisions are all in `ferrolb_core`; what is here reads, sends and counts.
//!
//! It needs `CAP_NET_RAW` and no other privilege, and keeps announcing what it last knew while the API server is away.

pub mod announcing;
pub mod args;
pub mod cluster;
pub mod links;
pub mod metrics;
pub mod proxy;
pub mod report;
pub mod socket;
pub mod status;

use std::time::Duration;

use ferrolb_runtime::{ClientError, Context};
use tokio::sync::{mpsc, watch};

pub use args::Args;

/// Runs the speaker until the context's shutdown.
///
/// # Errors
/// When there is no configuration for a client of the API server. A server that does not answer is no
/// error: it is waited for.
pub async fn run(context: Context, args: Args) -> Result<(), ClientError> {
    let Args { node_name: node, exclude_interfaces, ignore_exclude_lb, refresh_interval, common } = args;
    let client = ferrolb_runtime::client(&common).await?;
    let metrics = metrics::Metrics::new(&node);
    context.register(|registry| metrics.register(registry));

    let (news, coming) = mpsc::unbounded_channel();
    let (configuration, _configured) = watch::channel(None);
    let outlets = cluster::Outlets { news, configuration };
    let deciding = cluster::follow(client, node, common, ignore_exclude_lb, outlets, context.clone());

    let (found, links) = watch::channel(None);
    let following = links::follow(exclude_interfaces, found, metrics.clone(), context.shutdown.clone());

    let (standings, _standing) = mpsc::unbounded_channel();
    let announcing = announcing::run(announcing::Parts {
        datalink: socket::PacketSockets,
        news: coming,
        links,
        report: report::Report::new(metrics.clone(), standings),
        metrics,
        refresh: (refresh_interval > 0).then(|| Duration::from_secs(refresh_interval)),
        ready: context.readiness.token("packet sockets"),
        clock: ferrolb_runtime::now,
        shutdown: context.shutdown.clone(),
    });

    context.readiness.started();

    // Deciding may take a while with many Services; answering must not wait for it.
    let deciding = tokio::spawn(deciding);
    let following = tokio::spawn(following);
    announcing.await;
    let _ = futures::join!(deciding, following);
    Ok(())
}
