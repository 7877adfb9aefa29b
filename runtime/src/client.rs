//! The connection to the API server.

use std::time::Duration;

use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tower::ServiceBuilder;

use crate::args::CommonArgs;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

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
    config.connect_timeout = Some(CONNECT);
    // The retries built into the client go on for minutes inside one call. Every caller here
    // is level-triggered and comes again by itself, with fresh input.
    config.default_retry = false;
    let client =
        if config.proxy_url.is_some() { kube::Client::try_from(config) } else { without_delay(config) };
    client.map_err(|error| ClientError::Client(Box::new(error)))
}

/// A client whose connections send at once (TCP_NODELAY), which kube's own do not.
///
/// Without that the first request on a new connection waits for the server's delayed acknowledgement of the
/// TLS handshake: 40 ms and more, which is most of what a user sees when one Service is created after a quiet
/// time.
fn without_delay(config: kube::Config) -> Result<kube::Client, kube::Error> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(tower::BoxError::from)
        .service(http);
    Ok(kube::Client::new(service, config.default_namespace))
}
