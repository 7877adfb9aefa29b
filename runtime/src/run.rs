//! From `main` to an orderly end.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::Router;
use prometheus_client::registry::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::args::CommonArgs;
use crate::metrics::Common;
use crate::readiness::Readiness;
use crate::traces::Traces;
use crate::{admin, logging};

/// How long the body may take to end after SIGTERM. With the rest of the program's end it stays within
/// one second.
const END: Duration = Duration::from_millis(700);

/// What a program's parts share.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Cancelled by SIGTERM and SIGINT.
    pub shutdown: CancellationToken,
    /// What `/readyz` waits for.
    pub readiness: Readiness,
    pub(crate) metrics: Common,
    registry: Arc<Mutex<Registry>>,
    /// What the program adds for callers on the loopback, once it has.
    pub(crate) local: Arc<OnceLock<Router>>,
}

impl Context {
    /// Adds paths to the admin endpoint that are served to callers on this machine's loopback alone: what is not for all who
    /// may read metrics. Only the first call counts.
    pub fn serve_locally(&self, routes: Router) {
        let _ = self.local.set(routes);
    }

    /// That of a program which begins: not ready before it has said what it waits for, and with the metrics of all programs.
    fn starting() -> Self {
        let context = Context { readiness: Readiness::starting(), ..Context::default() };
        let metrics = context.metrics.clone();
        context.register(|registry| metrics.register(registry));
        context
    }

    /// Adds metrics to `/metrics`.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What `/metrics` shows: the text format of OpenMetrics 1.0.
    ///
    /// # Errors
    /// When a metric cannot be written, which would be a mistake in it.
    pub fn exposition(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }

    /// Pools and advertisements were read from the API server; whether all of them can be used.
    pub fn configured(&self, valid: bool) {
        self.metrics.configured(valid);
    }

    /// A context with the metrics of all programs in it, each with a member: for what is written about them.
    pub fn exemplary() -> Self {
        let context = Context::starting();
        context.metrics.exemplify();
        context
    }
}

/// Runs a program: starts logging and the admin endpoint, then `body`, until it returns or a signal
/// asks for the end.
///
/// The program is not ready before `body` has said what it waits for ([`Readiness::started`]).
///
/// `body` is to return soon after [`Context::shutdown`]; what has not ended by then is dropped. An error
/// of `body` is logged and becomes exit code 1.
pub fn run<F, E>(name: &'static str, args: &CommonArgs, body: impl FnOnce(Context) -> F) -> ExitCode
where
    F: Future<Output = Result<(), E>>,
    E: std::error::Error,
{
    // Fails only if a provider is already there, which is then the one to use.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("ferrolb-{name}: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let traces = args.traces_endpoint.as_ref();
    let traces =
        traces.map(|collector| Traces::start(collector, format!("ferrolb-{name}"), runtime.handle().clone()));
    let traces = match traces.transpose() {
        Ok(traces) => traces,
        Err(error) => {
            eprintln!("ferrolb-{name}: cannot send traces: {error}");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = logging::init(args, traces.as_ref()) {
        eprintln!("ferrolb-{name}: --log-level {:?} is no filter: {error}", args.log_level);
        return ExitCode::from(2);
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "ferrolb-{name} starts");
    let code = runtime.block_on(supervise(args, body));
    if let Some(traces) = traces {
        traces.end();
    }
    // A request in flight must not hold the end up.
    runtime.shutdown_timeout(Duration::from_millis(50));
    tracing::info!("ferrolb-{name} ends");
    code
}

async fn supervise<F, E>(args: &CommonArgs, body: impl FnOnce(Context) -> F) -> ExitCode
where
    F: Future<Output = Result<(), E>>,
    E: std::error::Error,
{
    let context = Context::starting();
    let (mut terminate, mut interrupt) =
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "cannot receive signals");
                return ExitCode::FAILURE;
            }
        };
    tokio::spawn(admin::serve(args.clone(), context.clone()));

    let shutdown = context.shutdown.clone();
    let mut body = std::pin::pin!(body(context));
    let result = tokio::select! {
        result = &mut body => result,
        _ = terminate.recv() => end(&shutdown, "SIGTERM", body).await,
        _ = interrupt.recv() => end(&shutdown, "SIGINT", body).await,
    };
    shutdown.cancel();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn end<E>(
    shutdown: &CancellationToken,
    signal: &str,
    body: impl Future<Output = Result<(), E>>,
) -> Result<(), E> {
    tracing::info!(signal, "asked to end");
    shutdown.cancel();
    tokio::time::timeout(END, body).await.unwrap_or_else(|_| {
        tracing::warn!("not everything ended in {} ms; leaving it", END.as_millis());
        Ok(())
    })
}
