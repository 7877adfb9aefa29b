//! The speaker: makes the network send a Service's address to this node, while it is the one to answer.
//!
//! ```text
//!  API server ──► cluster ──► Change (ours, lost) ─┐
//!      ▲                                           ├──► announcing ──► socket ──► the wire
//!      │   netlink ─────► links ────► Links ───────┘        │  ▲                     │
//!      │                                                    │  └─ ARP, NDP ◄─────────┘
//!      │                                                    ▼
//!      └── status ◄── wiring ◄──────────────────────────── report ──► metrics, log
//!                       ▲
//!                       └── proxy: kube-proxy's health, strictARP
//! ```
//!
//! Two tasks find out what is so ([`cluster`], [`links`]). A third ([`announcing`]) owns core's announcer and the sockets
//! and does what it says. The decisions are all in `ferrolb_core`; what is here reads, sends and counts. What the API
//! is to show of it ([`status`]) is written beside, and nothing waits for that.
//!
//! It needs `CAP_NET_RAW` and no other privilege, and keeps announcing what it last knew while the API server is away.

pub mod announcing;
pub mod args;
pub mod cluster;
mod findings;
pub mod keys;
pub mod links;
#[cfg(test)]
mod memory;
pub mod metrics;
pub mod proxy;
#[cfg(test)]
mod recorded;
pub mod report;
pub mod socket;
pub mod status;
mod told;
mod wiring;

use std::sync::Arc;
use std::time::Duration;

use ferrolb_core::speaker::Config;
use ferrolb_runtime::{ClientError, Context, Events};
use tokio::sync::{mpsc, oneshot, watch};

pub use args::Args;

use proxy::{health, strict_arp};

/// Runs the speaker until the context's shutdown.
///
/// # Errors
/// When there is no configuration for a client of the API server, or no thread to be had. A server that does not
/// answer is no error: it is waited for.
pub async fn run(context: Context, args: Args) -> Result<(), SpeakerError> {
    let client = ferrolb_runtime::client(&args.common, &context).await?;
    let metrics = metrics::Metrics::new(&args.node_name);
    context.register(|registry| metrics.register(registry));
    let events = Events::start(client.clone(), "ferrolb-speaker", context.shutdown.clone());
    let shutdown = || context.shutdown.clone();

    let (news, coming) = mpsc::unbounded_channel();
    let (configured, cluster_configuration) = watch::channel(None);
    let (went, going) = watch::channel(false);
    let outlets = cluster::Outlets { news, configuration: configured, going: went, metrics: metrics.clone() };
    let deciding = cluster::follow(client.clone(), args.clone(), outlets, context.clone());

    let (found, links) = watch::channel(None);
    let following = links::follow(args.exclude_interfaces.clone(), found, metrics.clone(), shutdown());

    let (told, standings) = mpsc::unbounded_channel();
    let (proxy, health) = watch::channel(health::Health::default());
    let asking = health::follow(health::ADDRESSES.into(), ferrolb_runtime::now, proxy, shutdown());
    let (failing, unfit) = watch::channel(true);
    let judging = wiring::judge(health.clone(), failing, shutdown());
    let (loaded, keys) = watch::channel(Arc::default());
    // At once: what is known of the API must not find the speaker deaf.
    if let Ok((first, _)) = keys::read(&args.hello_key_dir) {
        loaded.send_replace(Arc::new(first));
    }
    let loading = keys::follow(args.hello_key_dir.clone(), loaded, shutdown());
    let (deaf, keyless) = watch::channel(keys.borrow().is_empty());
    let (found_out, findings) = mpsc::unbounded_channel();
    let (questions, asked) = mpsc::unbounded_channel();
    let finding =
        findings::follow(client.clone(), args.common.namespace.clone(), asked, found_out, context.clone());
    let (inquire, inquiries) = mpsc::unbounded_channel();
    context.serve_locally(told::routes(&args.node_name, context.readiness.clone(), inquire));
    let parts = announcing::Parts {
        config: config(&args),
        keys,
        unfit,
        going,
        keyless: deaf,
        findings,
        questions,
        inquiries,
        datalink: socket::PacketSockets,
        hello_port: args.hello_port(),
        news: coming,
        links: links.clone(),
        report: report::Report::new(metrics.clone(), told).with_events(events.clone(), &args.node_name),
        metrics: metrics.clone(),
        ready: context.readiness.token("packet sockets"),
        clock: ferrolb_runtime::now,
        shutdown: shutdown(),
    };

    let (loose, strict_arp) = watch::channel(None);
    let names = |links: &links::Links| {
        links.iter().flat_map(|links| links.values().map(|link| link.name.clone())).collect()
    };
    let looking = strict_arp::follow(strict_arp::ROOT.into(), links, names, loose, shutdown());

    let board = Arc::<status::Board>::default();
    let feeding = wiring::feed(standings, board.clone());
    let (configuration, configured) = watch::channel(None);
    let (live, living) = watch::channel(None);
    let configuring = wiring::configure(
        args.node_name.clone(),
        wiring::Sources { cluster: cluster_configuration, health, strict_arp, keyless },
        wiring::Outlets { configuration, live, metrics, events: events.clone() },
        context.clone(),
    );
    let writing = status::run(status::Parts {
        client,
        events,
        namespace: args.common.namespace.clone(),
        pod: args.pod(),
        node: args.node_name,
        board,
        configuration: configured,
        live: living,
        context: context.clone(),
    });

    context.readiness.started();

    // Deciding may take a while with many Services; answering must not wait for it, nor for anything else.
    let answering = apart("announcing", move || announcing::run(parts))?;
    let beside = [
        tokio::spawn(deciding),
        tokio::spawn(following),
        tokio::spawn(asking),
        tokio::spawn(looking),
        tokio::spawn(configuring),
        tokio::spawn(writing),
        tokio::spawn(feeding),
        tokio::spawn(judging),
        tokio::spawn(loading),
        tokio::spawn(finding),
    ];
    // An error says that the thread panicked, which ends a release build anyway.
    let _ = answering.await;
    futures::future::join_all(beside).await;
    Ok(())
}

/// What the machine is told of the flags. Time and process number make the epoch, so that each start has another.
fn config(args: &Args) -> Config {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let nanoseconds = u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX);
    Config {
        node: args.node_name.as_str().into(),
        epoch: nanoseconds ^ u64::from(std::process::id()),
        timing: args.timing(),
        refresh: (args.refresh_interval > 0).then(|| Duration::from_secs(args.refresh_interval)),
        stand_in_limit: Duration::from_secs(args.stand_in_limit),
        conflict_detection: args.conflict_detection == args::Switch::On,
        transports: args.hello_transport.into(),
    }
}

/// Runs a future on a thread of its own that waits for the sockets itself: a frame wakes one thread and not two, and
/// nothing else ever runs there; and it runs before what others do at length. The result tells when it ended.
fn apart<F: Future<Output = ()>>(
    name: &str,
    body: impl FnOnce() -> F + Send + 'static,
) -> Result<oneshot::Receiver<()>, SpeakerError> {
    let (done, ended) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(SpeakerError::Thread)?;
    let thread = std::thread::Builder::new().name(name.to_owned());
    let spawned = thread.spawn(move || {
        if let Err(error) = socket::run_promptly() {
            tracing::debug!(%error, "the kernel does not let this thread ask to run promptly");
        }
        runtime.block_on(body());
        // Whoever waited may be gone.
        let _ = done.send(());
    });
    spawned.map_err(SpeakerError::Thread)?;
    Ok(ended)
}

/// Why a speaker cannot run at all.
#[derive(Debug, thiserror::Error)]
pub enum SpeakerError {
    /// There is nobody to ask.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Without it nothing would be answered.
    #[error(
        "cannot start the thread that answers: {0}; raise the limit of threads or files of the container"
    )]
    Thread(#[source] std::io::Error),
}
