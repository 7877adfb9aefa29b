//! Asks speakers for what only they know, with the rights of the user.
//!
//! They tell it on the loopback of their node alone. The way there is that of `kubectl port-forward`: API server, kubelet, the
//! pod's own loopback; it takes the right to create `pods/portforward`, and nothing more has to listen on any network. The API
//! server's pod proxy would come to the node's address, where everybody on the LAN can come to as well, and takes the
//! caller's credentials out of the request, so that nobody could be asked for them there.

use std::collections::BTreeMap;
use std::time::Duration;

use ferrolb_crds::admin::{self, Answer, Answers, Asked, Told};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1;
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use super::{Look, Pod};

/// How long one may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// So many are asked at once.
const AT_ONCE: usize = 16;

/// So much of an answer is read: a speaker that hears 200 others tells 50 kB.
const LONGEST: usize = 4 << 20;

/// Asks all speakers that run, also those that are not ready, as one without a link is; what they tell, or why they do not, goes into `look`.
pub(crate) async fn ask(client: &Client, look: &mut Look) {
    let pods: Vec<Pod> = look.speakers().filter(|pod| pod.running).cloned().collect();
    let namespace = look.namespace.clone();
    look.told = each(pods, |pod| {
        let (client, namespace) = (client.clone(), namespace.clone());
        async move { json::<Told>(&client, &namespace, &pod, Method::GET, admin::TOLD, Vec::new()).await }
    })
    .await;
}

/// Lets each of these speakers ask its networks who has the addresses.
pub(crate) async fn probe(
    client: &Client,
    namespace: &str,
    pods: Vec<Pod>,
    asked: &Asked,
) -> BTreeMap<String, Result<Vec<Answer>, String>> {
    let body = serde_json::to_vec(asked).unwrap_or_default();
    each(pods, |pod| {
        let (client, namespace, body) = (client.clone(), namespace.to_owned(), body.clone());
        async move {
            json::<Answers>(&client, &namespace, &pod, Method::POST, admin::PROBE, body)
                .await
                .map(|found| found.answers)
        }
    })
    .await
}

/// The body of an answer of any pod of FerroLB, and its status.
pub(crate) async fn text(
    client: &Client,
    namespace: &str,
    pod: &Pod,
    path: &str,
) -> Result<(StatusCode, String), String> {
    let asking = exchange(client, namespace, pod, Method::GET, path, Vec::new());
    let late = || format!("no answer within {} s", PATIENCE.as_secs());
    let (status, body) = tokio::time::timeout(PATIENCE, asking).await.map_err(|_| late())??;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// Does something with each pod, some at a time; the results by node.
async fn each<T: Send + 'static, F: Future<Output = Result<T, String>> + Send + 'static>(
    pods: Vec<Pod>,
    ask: impl Fn(Pod) -> F,
) -> BTreeMap<String, Result<T, String>> {
    let mut waiting = pods.into_iter();
    let (mut asking, mut told) = (JoinSet::new(), BTreeMap::new());
    loop {
        while asking.len() < AT_ONCE
            && let Some(pod) = waiting.next()
        {
            let (node, answer) = (pod.node.clone(), ask(pod));
            asking.spawn(async move {
                let answer = tokio::time::timeout(PATIENCE, answer).await;
                let late = |_| Err(format!("no answer within {} s", PATIENCE.as_secs()));
                (node, answer.unwrap_or_else(late))
            });
        }
        match asking.join_next().await {
            Some(Ok((node, answer))) => drop(told.insert(node, answer)),
            // A task that panicked told nothing.
            Some(Err(_)) => {}
            None => return told,
        }
    }
}

async fn json<T: DeserializeOwned>(
    client: &Client,
    namespace: &str,
    pod: &Pod,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<T, String> {
    let (status, body) = exchange(client, namespace, pod, method, path, body).await?;
    if status == StatusCode::NOT_FOUND {
        return Err("its version does not tell that".to_owned());
    }
    if !status.is_success() {
        return Err(format!("{status}: {}", String::from_utf8_lossy(&body).trim()));
    }
    serde_json::from_slice(&body).map_err(|error| format!("its answer cannot be read: {error}"))
}

async fn exchange(
    client: &Client,
    namespace: &str,
    pod: &Pod,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<(StatusCode, Bytes), String> {
    let pods: Api<v1::Pod> = Api::namespaced(client.clone(), namespace);
    let mut forwarder = pods.portforward(&pod.name, &[pod.port]).await.map_err(|error| match error {
        kube::Error::Api(status) if status.code == 403 => {
            format!("you may not create pods/portforward in {namespace}: {}", status.message.trim())
        }
        other => format!("no way to its port {}: {other}", pod.port),
    })?;
    let stream = forwarder.take_stream(pod.port).ok_or_else(|| "no way to its port".to_owned())?;
    let failed = |error: hyper::Error| format!("its port {} does not answer: {error}", pod.port);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let driving = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::HOST, "localhost")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), LONGEST).collect().await;
        body.map(|body| (status, body.to_bytes())).map_err(|error| format!("its answer broke off: {error}"))
    }
    .await;
    driving.abort();
    forwarder.abort();
    answer
}
