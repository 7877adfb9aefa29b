//! Traces, for whoever wants them: spans to an OpenTelemetry collector, by OTLP over HTTP.
//!
//! A span is made with the target [`TRACES`]. Without a collector nobody asks for that target, and such a span costs the look at
//! one atomic.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::Uri;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

/// The target of all spans that are traced.
pub const TRACES: &str = "ferrolb_traces";

/// Where collectors take spans, if the address of one has no path (OTLP, "OTLP/HTTP Request").
const PATH: &str = "/v1/traces";

/// How long a collector may take for one answer.
const ANSWER: Duration = Duration::from_secs(5);

/// The longest answer that is read: a collector says which spans it did not take, if any.
const LONGEST: usize = 64 << 10;

/// How long the last spans may take at the end of the program.
const END: Duration = Duration::from_millis(100);

/// A collector: `http://ADDRESS:PORT`, with a path if it has another than `/v1/traces`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector(Uri);

impl Display for Collector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

impl FromStr for Collector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("it is no URL: {error}"))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        if uri.scheme_str() != Some("http") {
            return Err("only plain HTTP is spoken: it has to begin with http://".to_owned());
        }
        if host.parse::<IpAddr>().is_err() {
            return Err(format!(
                "the image has no resolver: instead of {host:?} it needs an address, such as the ClusterIP of the collector's Service"
            ));
        }
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let path = uri.path_and_query().map(ToString::to_string).filter(|path| path != "/");
        let whole = format!("http://{authority}{}", path.as_deref().unwrap_or(PATH));
        whole.parse().map(Collector).map_err(|error| format!("it is no URL: {error}"))
    }
}

/// What sends spans. It is to be ended ([`Traces::end`]), so that the last are not lost.
#[derive(Debug)]
pub(crate) struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// To this collector, as the service `name`; requests run on `runtime`.
    ///
    /// The standard variables `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER` and `OTEL_BSP_…` count.
    pub(crate) fn start(
        collector: &Collector,
        name: String,
        runtime: Handle,
    ) -> Result<Self, ExporterBuildError> {
        let sender = Sender {
            http: Client::builder(TokioExecutor::new()).build(HttpConnector::new()),
            runtime,
            failing: AtomicBool::new(false),
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(sender)
            .with_endpoint(collector.to_string())
            .with_timeout(ANSWER)
            .build()?;
        let resource = Resource::builder().with_service_name(name).build();
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        Ok(Traces { provider })
    }

    /// Takes the spans with the target [`TRACES`], and nothing else.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("ferrolb"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(TRACES, LevelFilter::TRACE))
    }

    /// Sends what is left.
    pub(crate) fn end(&self) {
        // What a collector does not take is told by the sender.
        let _ = self.provider.shutdown_with_timeout(END);
    }
}

/// Sends requests on a runtime, called from the thread of the exporter, which has none.
#[derive(Debug)]
struct Sender {
    http: Client<HttpConnector, Full<Bytes>>,
    runtime: Handle,
    /// Whether the last request failed: that is told when it begins and when it ends.
    failing: AtomicBool,
}

impl Sender {
    fn tell(&self, to: &Uri, answer: &Result<Response<Bytes>, HttpError>) {
        let why = match answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(answer.status().to_string()),
            Err(error) => Some(error.to_string()),
        };
        match (self.failing.swap(why.is_some(), Ordering::Relaxed), why) {
            (false, Some(why)) => {
                tracing::warn!(collector = %to, "traces are lost: the collector does not take them: {why}");
            }
            (true, None) => tracing::info!(collector = %to, "the collector takes traces again"),
            _ => {}
        }
    }
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let to = request.uri().clone();
        let asked = self.http.request(request.map(Full::new));
        let answered = async move {
            let (head, body) = asked.await?.into_parts();
            let body = Limited::new(body, LONGEST).collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(head, body))
        };
        let answered = self.runtime.spawn(async move { tokio::time::timeout(ANSWER, answered).await });
        let answer = match answered.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(format!("no answer within {} s", ANSWER.as_secs()).into()),
            Err(error) => Err(error.into()),
        };
        self.tell(&to, &answer);
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::body::Bytes as Body;
    use axum::routing::post;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message;
    use tracing::Instrument;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn a_collector_is_named_by_address() {
        for (text, expected) in [
            ("http://10.96.0.7:4318", "http://10.96.0.7:4318/v1/traces"),
            ("http://10.96.0.7:4318/", "http://10.96.0.7:4318/v1/traces"),
            ("http://[fd00::7]:4318", "http://[fd00::7]:4318/v1/traces"),
            ("http://10.96.0.7/otlp/traces", "http://10.96.0.7/otlp/traces"),
        ] {
            assert_eq!(text.parse::<Collector>().unwrap().to_string(), expected);
        }
        for (text, word) in [
            ("", "no URL"),
            ("10.96.0.7:4318", "http://"),
            ("https://10.96.0.7:4318", "http://"),
            ("http://collector:4318", "\"collector\""),
            ("http://", "no URL"),
        ] {
            let refused = text.parse::<Collector>().unwrap_err();
            assert!(refused.contains(word), "{text}: {refused}");
        }
    }

    /// Name, parent's name, and attributes of each span that came.
    type Came = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

    async fn collector() -> (Collector, Came) {
        let came = Came::default();
        let kept = came.clone();
        let take = move |body: Body| async move {
            kept.lock().unwrap().push(ExportTraceServiceRequest::decode(body).unwrap());
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, Router::new().route(PATH, post(take))).await });
        (format!("http://{address}").parse().unwrap(), came)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn spans_come_to_the_collector_and_nothing_else_does() {
        let (collector, came) = collector().await;
        let traces = Traces::start(&collector, "ferrolb-test".to_owned(), Handle::current()).unwrap();
        let subscriber = tracing_subscriber::registry().with(traces.layer());
        let guard = tracing::subscriber::set_default(subscriber);
        async {
            let of_others = tracing::info_span!("of a library");
            async {
                tracing::info_span!(target: TRACES, "inner", answer = 42).in_scope(|| tracing::info!("told"));
            }
            .instrument(of_others)
            .await;
        }
        .instrument(tracing::info_span!(target: TRACES, "outer", service = "default/web"))
        .await;
        drop(guard);
        tokio::task::spawn_blocking(move || traces.provider.shutdown_with_timeout(Duration::from_secs(10)))
            .await
            .unwrap()
            .unwrap();
        let came = came.lock().unwrap();
        let groups: Vec<_> = came.iter().flat_map(|request| &request.resource_spans).collect();
        let resource = groups[0].resource.as_ref().unwrap();
        let name = resource.attributes.iter().find(|attribute| attribute.key == "service.name").unwrap();
        assert!(format!("{:?}", name.value).contains("ferrolb-test"), "{name:?}");
        let spans: Vec<_> =
            groups.iter().flat_map(|group| &group.scope_spans).flat_map(|one| &one.spans).collect();
        let by_name: BTreeMap<&str, _> = spans.iter().map(|span| (span.name.as_str(), span)).collect();
        assert_eq!(by_name.keys().copied().collect::<Vec<_>>(), ["inner", "outer"]);
        assert_eq!(by_name["inner"].parent_span_id, by_name["outer"].span_id);
        assert_eq!(by_name["inner"].trace_id, by_name["outer"].trace_id);
        let attributes = format!("{:?}", by_name["outer"].attributes);
        assert!(attributes.contains("default/web"), "{attributes}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_collector_that_is_not_there_holds_nothing_up() {
        // Nobody listens where somebody has just ceased to.
        let address =
            tokio::net::TcpListener::bind("127.0.0.1:0").await.and_then(|one| one.local_addr()).unwrap();
        let collector = format!("http://{address}").parse().unwrap();
        let traces = Traces::start(&collector, "ferrolb-test".to_owned(), Handle::current()).unwrap();
        let subscriber = tracing_subscriber::registry().with(traces.layer());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info_span!(target: TRACES, "lost").in_scope(|| {});
        });
        let began = std::time::Instant::now();
        tokio::task::spawn_blocking(move || traces.end()).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
}
