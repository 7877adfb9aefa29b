use std::net::IpAddr;
use std::path::PathBuf;

use clap::Parser;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::*;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    common: CommonArgs,
}

fn args(flags: &[&str]) -> CommonArgs {
    Flags::parse_from(["program"].iter().chain(flags)).common
}

#[test]
fn metrics_are_where_they_are_to_be_and_in_the_clear_only_where_that_is_wanted() {
    let door = |text: &str| -> Vec<(String, bool, bool, bool)> {
        let flags: Vec<&str> = text.split_whitespace().collect();
        let doors = doors(&args(&flags));
        doors.iter().map(|it| (it.address.to_string(), it.health, it.metrics, it.secure)).collect()
    };
    let here = |secure| ("127.0.0.1:17480".to_owned(), true, true, secure);
    assert_eq!(door(""), [here(false)]);
    assert_eq!(door("--metrics-https"), [here(false)]);
    let node = |secure| ("10.0.0.1:17480".to_owned(), false, true, secure);
    assert_eq!(door("--metrics-address 10.0.0.1"), [here(false), node(false)]);
    assert_eq!(door("--metrics-address 10.0.0.1 --metrics-https"), [here(false), node(true)]);
    let pod = |metrics, secure| ("10.0.0.2:9".to_owned(), true, metrics, secure);
    let local = || ("127.0.0.1:9".to_owned(), true, true, false);
    assert_eq!(door("--admin-address 10.0.0.2 --admin-port 9"), [pod(true, false), local()]);
    assert_eq!(door("--admin-address 10.0.0.2 --admin-port 9 --metrics-https"), [pod(true, true), local()]);
    assert_eq!(
        door("--admin-address 10.0.0.2 --admin-port 9 --metrics-address 10.0.0.2"),
        [pod(true, false), local()]
    );
    let everywhere = ("0.0.0.0:9".to_owned(), true, true, false);
    assert_eq!(door("--admin-address 0.0.0.0 --admin-port 9 --metrics-address 10.0.0.2"), [everywhere]);
    let six = ("[fd00::1]:9".to_owned(), false, true, false);
    assert_eq!(
        door("--admin-address 10.0.0.2 --admin-port 9 --metrics-address fd00::1"),
        [pod(false, false), local(), six]
    );
}

async fn connected(address: SocketAddr) -> TcpStream {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        match TcpStream::connect(address).await {
            Ok(stream) => return stream,
            Err(error) if tokio::time::Instant::now() > deadline => panic!("no answer on {address}: {error}"),
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str, more: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{more}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    // Whoever closes TLS without a word is forgiven.
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

async fn get(address: SocketAddr, path: &str) -> String {
    ask(connected(address).await, path, "").await
}

fn free() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn a_busy_port_is_waited_for_and_readiness_is_told() {
    let (busy, address) = free();
    let context = Context::default();
    let readiness = &context.readiness;
    let token = readiness.token("pools");
    let args = args(&["--admin-port", &address.port().to_string()]);
    let server = tokio::spawn(serve(args, context.clone()));
    // The first try must meet the busy port before it is freed.
    tokio::task::yield_now().await;
    drop(busy);

    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    let late = get(address, "/readyz").await;
    assert!(late.starts_with("HTTP/1.1 503") && late.contains("waiting for: pools"), "{late}");
    token.ready();
    let ready = get(address, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200") && ready.ends_with("\r\n\r\nready\n"), "{ready}");
    assert!(get(address, "/metrics").await.contains("# EOF"));

    // Remarks are told beside both, a line for each, and change neither.
    readiness.remark("proxy", Some("is silent".to_owned()));
    readiness.remark("ARP", Some("is loose\non eth0".to_owned()));
    let remarks = "remark: ARP: is loose on eth0\nremark: proxy: is silent\n";
    let ready = get(address, "/readyz").await;
    let body = format!("\r\n\r\nready\n{remarks}");
    assert!(ready.starts_with("HTTP/1.1 200") && ready.ends_with(&body), "{ready}");
    token.not_ready();
    let late = get(address, "/readyz").await;
    let body = format!("\r\n\r\nwaiting for: pools\n{remarks}");
    assert!(late.starts_with("HTTP/1.1 503") && late.ends_with(&body), "{late}");

    context.shutdown.cancel();
    server.await.unwrap();
}

/// A context whose metrics are longer than what the kernel keeps of a connection.
fn talkative() -> Context {
    let context = Context::default();
    let words = "words ".repeat(1000);
    context.register(|registry| {
        for number in 0..3000 {
            let counter = prometheus_client::metrics::counter::Counter::<u64>::default();
            registry.register(format!("number_{number}"), words.clone(), counter);
        }
    });
    context
}

#[tokio::test]
async fn whoever_takes_no_answer_makes_us_keep_few_texts_and_keeps_no_probe_out() {
    let (busy, address) = free();
    drop(busy);
    let context = talkative();
    let args = args(&["--admin-port", &address.port().to_string()]);
    let server = tokio::spawn(serve(args, context.clone()));
    let mut greedy = Vec::new();
    for _ in 0..TEXTS {
        let mut stream = connected(address).await;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut first = [0; 16];
        stream.read_exact(&mut first).await.unwrap();
        assert!(first.starts_with(b"HTTP/1.1 200"));
        greedy.push(stream);
    }
    let more = get(address, "/metrics").await;
    assert!(more.starts_with("HTTP/1.1 503") && more.contains("too many readers"), "{more}");
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    // One who takes it whole makes room.
    let mut last = greedy.pop().unwrap();
    let mut all = Vec::new();
    last.read_to_end(&mut all).await.unwrap();
    let text = String::from_utf8(all).unwrap();
    assert!(text.ends_with("# EOF\n") && text.len() > 10_000_000, "{}", text.len());
    let again = tokio::time::timeout(Duration::from_secs(20), async {
        while !get(address, "/metrics").await.starts_with("HTTP/1.1 200") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    again.await.expect("the place of the one who took all");

    context.shutdown.cancel();
    server.await.unwrap();
}

#[tokio::test]
async fn whoever_keeps_connections_open_keeps_nobody_else_out() {
    let (busy, address) = free();
    drop(busy);
    let context = Context::default();
    let args = args(&["--admin-port", &address.port().to_string()]);
    let server = tokio::spawn(serve(args, context.clone()));
    let mut idle = Vec::new();
    for _ in 0..2 * connections::MOST_OF_ONE {
        idle.push(connected(address).await);
    }
    // Those within the bound are idle, and are closed for it; those above it are closed before any of them.
    let (within, above) = idle.split_at_mut(connections::MOST_OF_ONE);
    let above = async {
        for stream in above {
            assert!(matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_)), "nobody says anything");
        }
    };
    let first = within.iter_mut().map(|stream| Box::pin(async { stream.read(&mut [0; 1]).await.map(drop) }));
    let first = futures::future::select_all(first);
    tokio::select! {
        // A test that was stopped for ten seconds sees all of them closed at once.
        biased;
        () = above => {}
        _ = first => panic!("one within the bound was closed, and those above it are still open"),
        () = tokio::time::sleep(Duration::from_secs(60)) => panic!("none of them was closed"),
    }
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut probe = other.connect(address).await.unwrap();
    probe.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut said = String::new();
    probe.read_to_string(&mut said).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");

    context.shutdown.cancel();
    server.await.unwrap();
}

/// Takes any certificate.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tokio_rustls::rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[tokio::test]
async fn by_https_only_whom_the_api_server_lets_reads_and_nothing_is_in_the_clear() {
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let (busy, address) = free();
    drop(busy);
    let here: IpAddr = address.ip();
    let context = Context::default();
    let client = kube::Client::new(
        tower::service_fn(async |request: axum::http::Request<kube::client::Body>| {
            let path = request.uri().path().to_owned();
            let body = axum::body::to_bytes(Body::new(request.into_body()), 1 << 20).await?;
            let mut answer: serde_json::Value = serde_json::from_slice(&body)?;
            let user = serde_json::json!({"username": "prometheus"});
            answer["status"] = if path.ends_with("/tokenreviews") {
                serde_json::json!({"authenticated": answer["spec"]["token"] == "good", "user": user})
            } else {
                serde_json::json!({"allowed": true})
            };
            let response = Response::builder().status(201).body(Body::from(answer.to_string()));
            Ok::<_, tower::BoxError>(response?)
        }),
        "default",
    );
    let admin = Admin {
        context: context.clone(),
        texts: Arc::new(Semaphore::new(TEXTS)),
        reviews: Some(Arc::new(Reviews::new(client))),
    };
    let tls = certificate::follow(None::<PathBuf>, here, &context.shutdown).unwrap();
    let door = Door { address, health: true, metrics: true, secure: true };
    let router = router(&door, admin);
    let (shared, context2) = (door.clone(), context.clone());
    let server = tokio::spawn(async move { listen(&shared, router, Some(tls), &context2).await });

    let configuration = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting))
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(configuration));
    let secure = async |path: &str, more: &str| {
        let stream = connected(address).await;
        let name = ServerName::IpAddress(here.into());
        ask(connector.connect(name, stream).await.unwrap(), path, more).await
    };
    let none = secure("/metrics", "").await;
    assert!(none.starts_with("HTTP/1.1 401") && none.contains("www-authenticate: Bearer"), "{none}");
    let forged = secure("/metrics", "Authorization: Bearer bad\r\n").await;
    assert!(forged.starts_with("HTTP/1.1 401") && !forged.contains("# EOF"), "{forged}");
    let good = secure("/metrics", "Authorization: Bearer good\r\n").await;
    assert!(good.starts_with("HTTP/1.1 200") && good.ends_with("# EOF\n"), "{good}");
    assert!(secure("/healthz", "").await.starts_with("HTTP/1.1 200"), "the kubelet has no token");
    let clear = get(address, "/metrics").await;
    assert!(!clear.contains("HTTP/1.1"), "{clear}");

    context.shutdown.cancel();
    server.await.unwrap();
}

#[tokio::test]
async fn what_a_program_adds_is_told_on_the_loopback_alone() {
    // Any address of this machine but the loopback; without one there is nothing to be told apart.
    let outside = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    let (busy, address) = free();
    drop(busy);
    let port = address.port();
    let context = Context::default();
    let args = args(&["--admin-address", "0.0.0.0", "--admin-port", &port.to_string()]);
    let server = tokio::spawn(serve(args, context.clone()));
    assert!(get(address, "/links").await.starts_with("HTTP/1.1 404"), "nothing is added yet");
    context.serve_locally(Router::new().route("/links", axum::routing::get(async || "told")));
    let told = get(address, "/links").await;
    assert!(told.starts_with("HTTP/1.1 200") && told.ends_with("told"), "{told}");
    assert!(get(address, "/other").await.starts_with("HTTP/1.1 404"));
    if let Ok(outside) = outside.map(|outside| SocketAddr::new(outside.ip(), port)) {
        let refused = get(outside, "/links").await;
        assert!(refused.starts_with("HTTP/1.1 403") && !refused.ends_with("told"), "{refused}");
        assert!(get(outside, "/healthz").await.starts_with("HTTP/1.1 200"));
    }
    context.shutdown.cancel();
    server.await.unwrap();
}
