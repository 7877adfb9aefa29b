//! The log: to standard error, as text or JSON.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::args::{CommonArgs, LogFormat};

/// Starts logging.
///
/// # Errors
/// When `--log-level` is no filter.
pub(crate) fn init(args: &CommonArgs) -> Result<(), ParseError> {
    // kube logs each failed request as an error; whoever made the request says it in better words.
    let filter = EnvFilter::try_new(format!("{},kube_client::client::builder=off", args.log_level))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}
