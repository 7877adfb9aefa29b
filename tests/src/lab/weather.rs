//! Bad weather in front of a lab's API server, for programs as they are.
//!
//! ```text
//!   program --kubeconfig F ─http─► Front on 127.0.0.1 ─► Weather ─► the lab's administrator ─► API server
//! ```
//!
//! The front takes requests by plain HTTP, lets the [`Weather`] at them and forwards them as the administrator, or
//! as a user whom he impersonates. Answers, watches included, stream back as they come.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ferrolb_fake_api::weather::Sky;
use ferrolb_fake_api::{Answer, Weather};
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue, Request, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tower::{BoxError, ServiceExt};

use super::{Lab, LabError};

/// What is between two neighbours on the way only.
const HOP_BY_HOP: [HeaderName; 5] = [CONNECTION, CONTENT_LENGTH, TE, TRANSFER_ENCODING, UPGRADE];

/// A door to a lab's API server that has weather. It closes when dropped, and its connections break.
pub struct Front {
    weather: Weather,
    address: SocketAddr,
    kubeconfig: PathBuf,
    serving: JoinHandle<Infallible>,
    // Holds the kubeconfig.
    _folder: tempfile::TempDir,
}

impl Front {
    /// Opens a door with fair weather.
    ///
    /// Requests are the administrator's, or those of `user`, such as
    /// `system:serviceaccount:metallb-system:controller`, whom RBAC then judges.
    ///
    /// # Errors
    /// When the lab has no client, or no port or file can be had.
    pub async fn open(lab: &Lab, user: Option<&str>) -> Result<Self, LabError> {
        let failed = |error: BoxError| LabError::program("weather before the API server", error);
        let user = user.map(HeaderValue::from_str).transpose().map_err(|error| failed(error.into()))?;
        let weather = Weather::new();
        let door = Door { sky: weather.sky_of(&lab.client().await?), user };
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| failed(error.into()))?;
        let address = listener.local_addr().map_err(|error| failed(error.into()))?;
        let folder = tempfile::tempdir().map_err(|error| failed(error.into()))?;
        let kubeconfig = folder.path().join("kubeconfig");
        write_kubeconfig(&kubeconfig, address).map_err(LabError::at(&kubeconfig))?;
        let serving = tokio::spawn(serve(listener, door));
        Ok(Front { weather, address, kubeconfig, serving, _folder: folder })
    }

    /// The weather, to be made bad.
    pub fn weather(&self) -> &Weather {
        &self.weather
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A kubeconfig file for programs, without any secret. It goes with the front.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn write_kubeconfig(path: &Path, address: SocketAddr) -> std::io::Result<()> {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "weather",
        "clusters": [{"name": "weather", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "weather", "user": {}}],
        "contexts": [{"name": "weather", "context": {"cluster": "weather", "user": "weather"}}],
    });
    std::fs::write(path, config.to_string())
}

/// Serves until it is aborted. The connections are tasks of its own, so they end with it.
async fn serve(listener: TcpListener, door: Door) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, door.clone()));
                }
                // Out of file descriptors, say: leave it time to get some back.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, door: Door) {
    // Small answers must not wait for acknowledgements.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| door.clone().pass(request));
    // An error of the service ends the connection without an answer: that is what a broken one looks like.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

#[derive(Clone)]
struct Door {
    sky: Sky,
    user: Option<HeaderValue>,
}

impl Door {
    async fn pass(self, request: Request<Incoming>) -> Result<Answer, BoxError> {
        let (mut parts, body) = request.into_parts();
        // Read whole at once: a write that is done late must not need its connection any more.
        let body = body.collect().await?.to_bytes();
        // The client behind knows the server; what counts here is the path.
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = path.parse::<Uri>()?;
        for name in HOP_BY_HOP.into_iter().chain([HOST, AUTHORIZATION]) {
            parts.headers.remove(name);
        }
        if let Some(user) = self.user {
            parts.headers.insert(HeaderName::from_static("impersonate-user"), user);
        }
        parts.version = http::Version::HTTP_11;
        let mut answer = self.sky.oneshot(Request::from_parts(parts, Body::from(body))).await?;
        for name in HOP_BY_HOP {
            answer.headers_mut().remove(name);
        }
        *answer.version_mut() = http::Version::HTTP_11;
        Ok(answer)
    }
}
