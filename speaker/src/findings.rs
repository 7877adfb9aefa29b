//! What the machine asks the world, off its own thread: the API server and other nodes' proxies.
//!
//! What the watches show is *stale* while the API server cannot be read. It is read every five seconds, by a list of one
//! object that the server takes from its store and not from a cache: a watch that is dead keeps quiet, too.

use std::net::SocketAddr;
use std::time::Duration;

use ferrolb_crds::L2Advertisement;
use ferrolb_runtime::Context;
use kube::Api;
use kube::api::ListParams;
use tokio::sync::mpsc;

use crate::announcing::{AskedFor, Finding};
use crate::proxy::health;

/// How often the API server is read.
const EVERY: Duration = Duration::from_secs(5);
/// How long a read may take.
const LIMIT: Duration = Duration::from_secs(3);
/// After a pause, watches get so long to show what the server had sent them in the meantime.
const CATCH_UP: Duration = Duration::from_secs(1);
/// Where kube-proxy tells its health on every node, unless it is configured otherwise.
const PROXY_PORT: u16 = 10256;

/// Answers `questions`, and looks by itself whether the API server can be read, until the context's shutdown.
pub(crate) async fn follow(
    client: kube::Client,
    namespace: String,
    mut questions: mpsc::UnboundedReceiver<AskedFor>,
    findings: mpsc::UnboundedSender<Finding>,
    context: Context,
) {
    let api: Api<L2Advertisement> = Api::namespaced(client, &namespace);
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            Some(question) = questions.recv() => match question {
                AskedFor::View => {
                    let stale = !can_read(&api).await;
                    if !stale {
                        tokio::time::sleep(CATCH_UP).await;
                    }
                    let _ = findings.send(Finding::View { stale });
                }
                AskedFor::Proxy(node, address) => {
                    let findings = findings.clone();
                    tokio::spawn(async move {
                        let address = SocketAddr::new(address, PROXY_PORT);
                        if health::says_no(address).await {
                            let _ = findings.send(Finding::ProxyFailed(node));
                        }
                    });
                }
            },
            _ = ticks.tick() => {
                let _ = findings.send(Finding::Stale(!can_read(&api).await));
            }
        }
    }
}

async fn can_read(api: &Api<L2Advertisement>) -> bool {
    let one = ListParams::default().limit(1);
    let read = tokio::time::timeout(LIMIT, api.list_metadata(&one)).await;
    // A server that refuses or does not know the kind can be read.
    matches!(read, Ok(Ok(_)) | Ok(Err(kube::Error::Api(_))))
}
