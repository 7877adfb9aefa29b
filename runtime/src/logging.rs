//! The log: to standard error, as text or JSON. And beside it the traces, if they are wanted.

use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::{CommonArgs, LogFormat};
use crate::traces::{TRACES, Traces};

/// Starts logging; and tracing, if there is where to.
///
/// # Errors
/// When `--log-level` is no filter.
pub(crate) fn init(args: &CommonArgs, traces: Option<&Traces>) -> Result<(), ParseError> {
    let filter = args
        .log_level
        .parse::<Targets>()?
        // kube logs each failed request as an error; whoever made the request says it in better words.
        .with_target("kube_client::client::builder", LevelFilter::OFF)
        // A span is for traces. In the log it would be before each line that it is around.
        .with_target(TRACES, LevelFilter::OFF);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(traces.map(Traces::layer));
    match args.log_format {
        LogFormat::Text => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            registry.with(layer.with_ansi(ansi).with_filter(filter)).init();
        }
        LogFormat::Json => registry.with(layer.json().flatten_event(true).with_filter(filter)).init(),
    }
    Ok(())
}
