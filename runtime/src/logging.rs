//! The log: to standard error, as text or JSON.

use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::{CommonArgs, LogFormat};

/// Starts logging.
///
/// # Errors
/// When `--log-level` is no filter.
pub(crate) fn init(args: &CommonArgs) -> Result<(), ParseError> {
    // kube logs each failed request as an error; whoever made the request says it in better words.
    let filter =
        args.log_level.parse::<Targets>()?.with_target("kube_client::client::builder", LevelFilter::OFF);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match args.log_format {
        LogFormat::Text => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            registry.with(layer.with_ansi(ansi)).init();
        }
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).init(),
    }
    Ok(())
}
