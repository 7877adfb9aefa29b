//! The connection to the API server, as kubectl makes it.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};

/// How long a connection may take to come about, and how long an answer.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));

/// Which cluster, and who asks.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Connection {
    /// A kubeconfig file; without it KUBECONFIG, or ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// A context of the kubeconfig; without it the current one
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig is missing, or cannot be used.
    #[error("cannot use the kubeconfig: {0}; name one by --kubeconfig or KUBECONFIG")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The client cannot be made of a configuration that was read.
    #[error("cannot make a client for the API server: {0}")]
    Client(#[source] Box<kube::Error>),
}

/// The client that `connection` asks for.
pub(crate) async fn client(connection: &Connection) -> Result<kube::Client, ConnectError> {
    // Of no consequence where there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = KubeConfigOptions { context: connection.context.clone(), ..KubeConfigOptions::default() };
    let mut config = match &connection.kubeconfig {
        Some(file) => kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await?,
        None => kube::Config::from_kubeconfig(&options).await?,
    };
    (config.connect_timeout, config.read_timeout) = (Some(PATIENCE.0), Some(PATIENCE.1));
    // Else an API server that is away is waited for, for minutes.
    config.default_retry = false;
    kube::Client::try_from(config).map_err(|error| ConnectError::Client(Box::new(error)))
}
