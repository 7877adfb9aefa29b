//! The weather as a layer around a service.

use std::future::{Future, pending};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::ACCEPT_ENCODING;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use tower::buffer::Buffer;
use tower::{BoxError, Layer, Service, ServiceExt};

use super::{Fault, Lost, Weather, body};
use crate::answer::Failure;
use crate::{Answer, Call, Verb};

type Reply = Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>>;

/// How many requests may wait for the service at once.
const WAITING: usize = 1024;

/// A service in some weather. Clones share the service.
#[derive(Clone)]
pub struct Sky {
    weather: Weather,
    inner: Buffer<Request<Body>, Reply>,
}

impl Sky {
    /// Puts a service into some weather. Must be called within a tokio runtime.
    pub fn new<S, B>(weather: Weather, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let service = service.map_err(Into::into).map_future(|answer| -> Reply {
            Box::pin(async move { Ok(answer.await?.map(|body| body.map_err(Into::into).boxed_unsync())) })
        });
        Sky { weather, inner: Buffer::new(service, WAITING) }
    }

    /// Does the request as if the weather were fair.
    fn forward(&self, request: Request<Body>) -> Reply {
        Box::pin(self.inner.clone().oneshot(request))
    }

    /// Does the request, whether or not anybody waits for it.
    async fn forward_surely(&self, request: Request<Body>) -> Result<Answer, BoxError> {
        let sky = self.clone();
        let done = tokio::spawn(async move { sky.forward(request).await });
        done.await.map_err(BoxError::from)?
    }

    async fn answer(self, request: Request<Body>) -> Result<Answer, BoxError> {
        let call = Call::of(request.method(), request.uri());
        let shared = &self.weather.shared;
        let hit = shared.meet(&call);
        if hit.is_some() {
            shared.changed();
        }
        let Some(hit) = hit else { return self.pass(call, request).await };
        match hit.fault {
            Fault::Status { code, retry_after } => Ok(Failure::in_trouble(&call, code, retry_after).answer()),
            Fault::Connection => Err(broken()),
            Fault::Hang => pending().await,
            Fault::Delay(time) => {
                tokio::time::sleep(time).await;
                self.pass(call, request).await
            }
            Fault::SlowAnswer(time) => {
                let sky = self.clone();
                // Done all the same when the client gives up meanwhile.
                let answer = tokio::spawn(async move { sky.pass(call, request).await });
                tokio::time::sleep(time).await;
                answer.await.map_err(BoxError::from)?
            }
            Fault::Hold => {
                let sky = self.clone();
                let held = tokio::spawn(async move {
                    sky.weather.shared.held(hit).await;
                    sky.pass(call, request).await
                });
                held.await.map_err(BoxError::from)?
            }
            Fault::Late(time) => {
                let sky = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(time).await;
                    sky.forward_whole(request).await
                });
                pending().await
            }
            Fault::AnswerLost(lost) => {
                let answer = self.forward_surely(request).await?;
                // Read to its end, so that it is done for sure; of a watch there is no end.
                if call.verb != Verb::Watch {
                    answer.into_body().collect().await?;
                }
                match lost {
                    Lost::Status(code) => Ok(Failure::in_trouble(&call, code, None).answer()),
                    Lost::Connection => Err(broken()),
                    Lost::Silence => pending().await,
                }
            }
            // Rules on watches meet the body, not the request.
            Fault::WatchEnd | Fault::WatchStuck | Fault::WatchPause | Fault::WatchExpired => {
                self.pass(call, request).await
            }
        }
    }

    async fn forward_whole(&self, request: Request<Body>) -> Result<(), BoxError> {
        self.forward(request).await?.into_body().collect().await?;
        Ok(())
    }

    /// Lets a request through; the events of a watch go on meeting the weather.
    async fn pass(&self, call: Call, mut request: Request<Body>) -> Result<Answer, BoxError> {
        if call.verb != Verb::Watch {
            return self.forward(request).await;
        }
        // Events must be readable to be told apart.
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let answer = self.forward(request).await?;
        if !answer.status().is_success() {
            return Ok(answer);
        }
        let shared = self.weather.shared.clone();
        Ok(answer.map(|inner| body::watched(shared, call, inner)))
    }
}

fn broken() -> BoxError {
    Box::new(io::Error::new(io::ErrorKind::ConnectionReset, "the weather broke the connection"))
}

impl Service<Request<Body>> for Sky {
    type Response = Answer;
    type Error = BoxError;
    type Future = Reply;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Each request waits for the service behind by itself, after its weather.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}

impl<S, B> Layer<S> for Weather
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Service = Sky;

    fn layer(&self, service: S) -> Sky {
        Sky::new(self.clone(), service)
    }
}
