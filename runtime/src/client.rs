//! The connection to the API server.

use std::time::Duration;

use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tower::ServiceBuilder;

use crate::args::CommonArgs;
use crate::measured::Measured;
use crate::metrics::Common;
use crate::run::Context;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// After how long in which nothing came the other end of a connection is asked whether it is there (TCP keepalive), how long
/// after that again, and how often in all: one that is gone without a word is noticed in 6 s, one that does not know of the
/// connection any more in 3. A watch says nothing for a minute; the server's node may have lost its power, or a node on the way what it
/// knew of connections (conntrack), and nothing else would tell before the watch has its age.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(3), Duration::from_secs(1), 3);

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
/// Its requests are counted in the context's metrics.
///
/// # Errors
/// See [`ClientError`]. Whether the server answers is not asked here; watches report that.
pub async fn client(args: &CommonArgs, context: &Context) -> Result<kube::Client, ClientError> {
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
    let metrics = &context.metrics;
    let client = if config.proxy_url.is_some() {
        ClientBuilder::try_from(config).map(|builder| builder.with_layer(&metrics.layer()).build())
    } else {
        without_delay(config, metrics)
    };
    client.map_err(|error| ClientError::Client(Box::new(error)))
}

/// A client whose connections send at once (TCP_NODELAY) and notice that the other end is gone ([`KEEPALIVE`]), which kube's
/// own do not.
///
/// Without that the first request on a new connection waits for the server's delayed acknowledgement of the
/// TLS handshake: 40 ms and more, which is most of what a user sees when one Service is created after a quiet
/// time.
fn without_delay(config: kube::Config, metrics: &Common) -> Result<kube::Client, kube::Error> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    let (idle, again, often) = KEEPALIVE;
    connector.set_keepalive(Some(idle));
    connector.set_keepalive_interval(Some(again));
    connector.set_keepalive_retries(Some(often));
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer_fn(|inner| Measured::new(inner, metrics.clone()))
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(tower::BoxError::from)
        .service(http);
    Ok(kube::Client::new(service, config.default_namespace))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// What /proc/net/tcp says of the timer of this connection: its kind, 2 for keepalive, and hundredths of a second.
    fn timer(local: SocketAddr, remote: SocketAddr) -> Option<(u8, u64)> {
        let port = |field: &str| u16::from_str_radix(field.rsplit(':').next()?, 16).ok();
        let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
        table.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, from, to, _, _, timer, ..] = fields[..] else { return None };
            if (port(from)?, port(to)?) != (local.port(), remote.port()) {
                return None;
            }
            let (kind, when) = timer.split_once(':')?;
            Some((u8::from_str_radix(kind, 16).ok()?, u64::from_str_radix(when, 16).ok()?))
        })
    }

    #[tokio::test]
    async fn a_connection_on_which_nothing_is_said_is_probed_after_3_s() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let url = format!("http://{server}").parse().unwrap();
        let client = without_delay(kube::Config::new(url), &Common::default()).unwrap();
        let asked = tokio::spawn(async move { client.apiserver_version().await });
        let (mut connection, peer) = listener.accept().await.unwrap();
        connection.read_exact(&mut [0]).await.unwrap();
        // A watch begins like that, and then nothing comes for long.
        connection.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        let (kind, hundredths) = loop {
            let timer = timer(peer, server);
            // A moment for what was sent to be acknowledged: until then there is another timer.
            if timer.is_some_and(|(kind, _)| kind == 2) || std::time::Instant::now() > deadline {
                break timer.expect("the connection");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert_eq!(kind, 2, "no keepalive: timer {kind} in {hundredths} hundredths of a second");
        assert!(hundredths <= 300, "{hundredths} hundredths of a second");
        asked.abort();
    }
}
