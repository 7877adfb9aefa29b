//! Answers over HTTP and UDP with who it is and whom it sees: `key=value` lines.
//!
//! Environment: `PORT` (8080), `NODE_NAME`, `POD_NAME`. Every HTTP request gets the same answer, so any
//! path serves as a readiness probe.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

fn main() -> std::io::Result<()> {
    let port: u16 = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8080);
    let who = format!(
        "node={}\npod={}\n",
        std::env::var("NODE_NAME").unwrap_or_default(),
        std::env::var("POD_NAME").unwrap_or_default()
    );
    let udp = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))?;
    let over_udp = who.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((_, client)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(answer(&over_udp, client).as_bytes(), client);
        }
    });
    // Bound to the IPv6 wildcard, Linux takes IPv4 too.
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
    for stream in listener.incoming().flatten() {
        let who = who.clone();
        std::thread::spawn(move || serve(stream, &who));
    }
    Ok(())
}

fn answer(who: &str, client: SocketAddr) -> String {
    format!("{who}client={}\n", client.ip().to_canonical())
}

/// Answers requests on one connection until the client ends it.
fn serve(mut stream: TcpStream, who: &str) -> std::io::Result<()> {
    let body = answer(who, stream.peer_addr()?);
    stream.set_read_timeout(Some(Duration::from_secs(600)))?;
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        request.extend_from_slice(&buffer[..length]);
        while let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            request.drain(..end + 4);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain";
            write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        }
    }
}
