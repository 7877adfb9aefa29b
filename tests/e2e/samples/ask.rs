//! A client of the samples: one request by HTTP, one question to a DNS server.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use ferrolb_tests::host::Host;
use ferrolb_tests::lab::LabError;
use ferrolb_tests::lab::progress::wait;

use crate::support::on_wire;

/// How long one answer may take.
const LIMIT: Duration = Duration::from_millis(500);

/// How long the first answer may take, in seconds: kube-proxy may come to know a Service after we do.
const PATIENCE: u64 = 60;

/// What a web server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Page {
    /// What stands behind `KEY: ` in the body.
    pub(crate) fn value(&self, key: &str) -> &str {
        let line = self.body.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.map(str::trim).unwrap_or_else(|| panic!("no {key} in {:?}", self.body))
    }

    /// From whom the request came, as the pod sees it.
    pub(crate) fn client(&self) -> IpAddr {
        self.value("Client").parse::<IpAddr>().expect("an address").to_canonical()
    }
}

/// Asks for a page once, on a new connection.
pub(crate) fn get(host: &Host, server: SocketAddr, name: &str, path: &str) -> io::Result<Page> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: {name}\r\n\r\n");
    host.inside(move || {
        let mut stream = TcpStream::connect_timeout(&server, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(request.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        match (status, body) {
            (Some(status), Some(body)) => Ok(Page { status, body }),
            _ => Err(io::Error::other(format!("no page: {text:?}"))),
        }
    })
}

/// Asks for `/` until a page comes.
pub(crate) async fn page(host: &Host, server: SocketAddr) -> Result<Page, LabError> {
    wait(&format!("a page of {server}"), PATIENCE, async || {
        match get(host, server, "anybody", "/").map_err(|error| error.to_string())? {
            page @ Page { status: 200, .. } => Ok(page),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

/// By what a question goes to a DNS server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Udp,
    Tcp,
}

/// Asks a DNS server for the IPv4 addresses of `name`, and returns the whole answer.
pub(crate) fn ask_dns(host: &Host, server: IpAddr, name: &str, way: Way) -> io::Result<Vec<u8>> {
    let question = question(name);
    host.inside(move || match way {
        Way::Udp => {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.set_read_timeout(Some(LIMIT))?;
            socket.connect((server, 53))?;
            socket.send(&question)?;
            let mut buffer = vec![0; 1500];
            let length = socket.recv(&mut buffer)?;
            buffer.truncate(length);
            Ok(buffer)
        }
        Way::Tcp => {
            let mut stream = TcpStream::connect_timeout(&SocketAddr::new(server, 53), LIMIT)?;
            stream.set_read_timeout(Some(LIMIT))?;
            let length = u16::try_from(question.len()).map_err(io::Error::other)?;
            stream.write_all(&length.to_be_bytes())?;
            stream.write_all(&question)?;
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut answer)?;
            Ok(answer)
        }
    })
}

/// The addresses of `name`, once the server has any.
pub(crate) async fn resolve(
    host: &Host,
    server: IpAddr,
    name: &str,
    way: Way,
) -> Result<Vec<Ipv4Addr>, LabError> {
    wait(&format!("an address of {name}"), PATIENCE, async || {
        let answer = ask_dns(host, server, name, way).map_err(|error| error.to_string())?;
        let found = addresses(&answer);
        if found.is_empty() { Err(format!("{answer:02x?}")) } else { Ok(found) }
    })
    .await
}

/// Waits until the server says that there is no such name.
pub(crate) async fn unknown(host: &Host, server: IpAddr, name: &str) -> Result<(), LabError> {
    const NO_SUCH_NAME: u8 = 3;
    wait(&format!("the end of the name {name}"), PATIENCE, async || {
        let answer = ask_dns(host, server, name, Way::Udp).map_err(|error| error.to_string())?;
        let code = answer.get(3).map(|byte| byte & 0x0f);
        if code == Some(NO_SUCH_NAME) { Ok(()) } else { Err(format!("{answer:02x?}")) }
    })
    .await
}

/// A question for the IPv4 addresses of `name` (RFC 1035 section 4).
fn question(name: &str) -> Vec<u8> {
    let mut bytes = vec![0x46, 0x4c, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("a label of a name is short"));
        bytes.extend(label.bytes());
    }
    // The end of the name; type A, class IN.
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// The IPv4 addresses in the answers.
fn addresses(message: &[u8]) -> Vec<Ipv4Addr> {
    let count = message.get(6..8).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    let mut found = Vec::new();
    // Behind the header, and the question's name, type and class.
    let mut at = behind_name(message, 12) + 4;
    for _ in 0..count {
        at = behind_name(message, at);
        // Type, class, time to live, length.
        let Some(&[kind_high, kind_low, _, _, _, _, _, _, length_high, length_low]) =
            message.get(at..at + 10)
        else {
            break;
        };
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        if let (1, Some(&[a, b, c, d])) =
            (u16::from_be_bytes([kind_high, kind_low]), message.get(at + 10..at + 10 + length))
        {
            found.push(Ipv4Addr::new(a, b, c, d));
        }
        at += 10 + length;
    }
    found
}

/// Where what follows the name at this place begins: behind its labels and their end, or behind a pointer to an earlier name.
fn behind_name(message: &[u8], mut at: usize) -> usize {
    const POINTER: u8 = 0xc0;
    loop {
        match message.get(at) {
            Some(length) if *length >= POINTER => return at + 2,
            Some(length) if *length > 0 => at += usize::from(*length) + 1,
            _ => return at + 1,
        }
    }
}

/// From whom `host` seems to come, as a pod behind `server` sees it.
pub(crate) fn of_client(host: &Host, server: SocketAddr) -> Result<IpAddr, LabError> {
    Ok(on_wire(get(host, server, "anybody", "/"))?.client())
}
