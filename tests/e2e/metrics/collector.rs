//! What takes spans, as an OpenTelemetry collector does, on the host of a lab's control plane.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use ferrolb_tests::lab::network::CONTROL_PLANE_MGMT;
use ferrolb_tests::lab::{Lab, LabError};

/// One that listens. Its threads end with the test.
pub(crate) struct Collector {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    came: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    /// Begins to listen.
    pub(crate) fn start(lab: &Lab) -> Result<Self, LabError> {
        let address: Ipv4Addr =
            CONTROL_PLANE_MGMT.parse().map_err(|error| LabError::State(format!("an address: {error}")))?;
        let listener = lab
            .host("cp")?
            .inside(move || TcpListener::bind((address, 4318)))
            .map_err(LabError::at("a listener for traces"))?;
        let address = listener.local_addr().map_err(LabError::at("a listener for traces"))?;
        let came = Arc::<Mutex<Vec<u8>>>::default();
        let kept = came.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = kept.clone();
                std::thread::spawn(move || serve(&stream, &kept));
            }
        });
        Ok(Collector { address, came })
    }

    /// Whether this text is in what came. Protocol Buffers have text as it is.
    pub(crate) fn has(&self, text: &str) -> bool {
        let came = self.came.lock().unwrap_or_else(PoisonError::into_inner);
        came.windows(text.len()).any(|part| part == text.as_bytes())
    }
}

/// Keeps the bodies of what is posted to the path of traces, one request after the other.
fn serve(stream: &TcpStream, kept: &Mutex<Vec<u8>>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let status = if request.starts_with("POST /v1/traces ") { "200 OK" } else { "404 Not Found" };
        if status.starts_with("200") {
            kept.lock().unwrap_or_else(PoisonError::into_inner).extend(body);
        }
        let mut stream = stream;
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")?;
    }
}
