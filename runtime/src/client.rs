//! The connection to the API server.

use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::args::CommonArgs;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The kubeconfig file is missing or cannot be read.
    #[error("cannot use the kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// There is no kubeconfig and no service account.
    #[error(
        "not in a Pod with a service account ({0}), and neither --kubeconfig nor KUBECONFIG names a kubeconfig file"
    )]
    NotInCluster(#[from] kube::config::InClusterError),
    /// The client cannot be made of a configuration that was read.
    #[error("cannot make a client for the API server: {0}")]
    Client(#[source] Box<kube::Error>),
}

/// Makes the client: from `--kubeconfig`, else `KUBECONFIG`, else the Pod's environment and service
/// account.
///
/// In a Pod the API server is found by `KUBERNETES_SERVICE_HOST`, never by name: the image has no
/// resolver and a cluster's DNS may itself wait for an address.
///
/// # Errors
/// See [`ClientError`]. Whether the server answers is not asked here; watches report that.
pub async fn client(args: &CommonArgs) -> Result<kube::Client, ClientError> {
    let options = KubeConfigOptions::default();
    let mut config = if let Some(path) = &args.kubeconfig {
        kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?
    } else if std::env::var_os("KUBECONFIG").is_some() {
        kube::Config::from_kubeconfig(&options).await?
    } else {
        kube::Config::incluster_env()?
    };
    config.connect_timeout = Some(Duration::from_secs(5));
    // The retries built into the client go on for minutes inside one call. Every caller here
    // is level-triggered and comes again by itself, with fresh input.
    config.default_retry = false;
    kube::Client::try_from(config).map_err(|error| ClientError::Client(Box::new(error)))
}
