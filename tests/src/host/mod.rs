//! A machine of the lab: it asks, and it sees what is on the wire.
//!
//! A host is a network namespace. A thread that enters it does there what a program on that machine would do;
//! ARP and NDP are sent and captured as raw frames, so what is seen is what was on the wire and not what some
//! cache made of it. [`frame`] reads and writes them; what its kernel made of them is in its neighbour table.

pub mod frame;
mod neighbours;
mod wire;

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};

pub use frame::{ArpFrame, Frame, NdpFrame, NdpMessage};
pub use neighbours::{Neighbour, Taken};
pub use wire::Capture;
pub(crate) use wire::{Link, Received, Sender, Tap};

/// The address of a network card, as the wire has it.
pub type Mac = pnet_base::MacAddr;

/// A host of a lab.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its name in the lab.
    pub name: String,
    netns: PathBuf,
}

/// What the echo server says.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Answer {
    /// The node on which the pod runs.
    pub node: String,
    /// The pod.
    pub pod: String,
    /// The client's address, as the pod sees it.
    pub client: String,
}

impl Host {
    pub(crate) fn new(name: &str, netns: &Path) -> Self {
        Host { name: name.to_owned(), netns: netns.to_owned() }
    }

    /// Does `work` on this host, in a thread of its own.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or what `work` returns.
    pub fn inside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        self.start(work).join().unwrap_or_else(|_| Err(io::Error::other("the thread on the host panicked")))
    }

    /// The same without waiting for its end.
    pub(crate) fn start<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> JoinHandle<io::Result<T>> {
        let netns = self.netns.clone();
        std::thread::spawn(move || {
            setns(std::fs::File::open(&netns)?, CloneFlags::CLONE_NEWNET)?;
            work()
        })
    }

    /// Asks the echo server at `address`, on new connections, until it answers.
    ///
    /// kube-proxy may come to know a Service after we do. A connection that was begun before stays
    /// without it for good, as the kernel remembers what it decided; a new one does not.
    ///
    /// # Errors
    /// When nothing answers within `seconds`; the last attempt's error.
    pub fn ask_until(&self, address: SocketAddr, seconds: u64) -> io::Result<Answer> {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        loop {
            match self.ask_within(address, Duration::from_millis(250)) {
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => {}
                answer => return answer,
            }
        }
    }

    /// Asks the echo server at `address`, once.
    ///
    /// # Errors
    /// When nothing answers within two seconds.
    pub fn ask(&self, address: SocketAddr) -> io::Result<Answer> {
        self.ask_within(address, Duration::from_secs(2))
    }

    fn ask_within(&self, address: SocketAddr, patience: Duration) -> io::Result<Answer> {
        self.inside(move || {
            let mut stream = TcpStream::connect_timeout(&address, patience)?;
            stream.set_read_timeout(Some(patience))?;
            write!(stream, "GET / HTTP/1.1\r\nHost: echo\r\n\r\n")?;
            let mut text = Vec::new();
            let mut buffer = [0; 4096];
            while !text.ends_with(b"\n") || !text.windows(7).any(|bytes| bytes == b"client=") {
                let length = stream.read(&mut buffer)?;
                if length == 0 {
                    break;
                }
                text.extend_from_slice(&buffer[..length]);
            }
            let text = String::from_utf8_lossy(&text);
            let value = |key: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
                line.map(str::to_owned).ok_or_else(|| io::Error::other(format!("no {key} in {text:?}")))
            };
            Ok(Answer { node: value("node")?, pod: value("pod")?, client: value("client")? })
        })
    }

    /// The MAC address of its link `name`.
    ///
    /// # Errors
    /// When it has none.
    pub fn mac(&self, name: &str) -> io::Result<Mac> {
        let name = name.to_owned();
        self.inside(move || Ok(Link::named(&name)?.mac))
    }

    /// Asks on the LAN who has `address` and returns the MAC addresses of all that answer within `window`.
    ///
    /// # Errors
    /// When frames cannot be sent or received.
    pub fn who_has(&self, address: impl Into<IpAddr>, window: Duration) -> io::Result<BTreeSet<Mac>> {
        self.who_has_on("eth0", address, window)
    }

    /// As [`Host::who_has`], on the link of this name: by an ARP request from its IPv4 address, or by a neighbour
    /// solicitation from its link-local one to the solicited-node group, with its source link-layer option.
    ///
    /// # Errors
    /// When frames cannot be sent or received.
    pub fn who_has_on(
        &self,
        link: &str,
        address: impl Into<IpAddr>,
        window: Duration,
    ) -> io::Result<BTreeSet<Mac>> {
        self.question(link, None, address.into(), window)
    }

    /// As [`Host::who_has_on`], from a source address of the caller's choice. The unspecified one makes it a probe as
    /// a host sends before it takes an address: RFC 5227 section 2.1.1, RFC 4862 section 5.4.2.
    ///
    /// # Errors
    /// When frames cannot be sent or received, or the addresses are of two families.
    pub fn who_has_from(
        &self,
        link: &str,
        own: IpAddr,
        address: impl Into<IpAddr>,
        window: Duration,
    ) -> io::Result<BTreeSet<Mac>> {
        self.question(link, Some(own), address.into(), window)
    }

    fn question(
        &self,
        link: &str,
        own: Option<IpAddr>,
        address: IpAddr,
        window: Duration,
    ) -> io::Result<BTreeSet<Mac>> {
        let name = link.to_owned();
        self.inside(move || {
            let link = Link::named(&name)?;
            let own = own.map_or_else(|| link.asks_from(address), Ok)?;
            let mut tap = Tap::open()?;
            Sender::open()?.send(&link, &question(link.mac, own, address)?)?;
            let started = Instant::now();
            let mut owners = BTreeSet::new();
            while started.elapsed() < window {
                let received = tap.receive()?.filter(|received| received.link == link.index);
                owners.extend(received.and_then(|received| answer_to(&received.frame, link.mac, address)));
            }
            Ok(owners)
        })
    }

    /// Sends these bytes as a frame on its link `link`, whatever they are.
    ///
    /// # Errors
    /// When there is no such link, or the kernel refuses.
    pub fn send_raw(&self, link: &str, bytes: &[u8]) -> io::Result<()> {
        let (link, bytes) = (link.to_owned(), bytes.to_owned());
        self.inside(move || Sender::open()?.send(&Link::named(&link)?, &bytes))
    }

    /// Starts to capture all ARP and NDP frames that come in on any of its links.
    ///
    /// # Errors
    /// When no packet socket can be opened.
    pub fn capture(&self) -> io::Result<Capture> {
        // The socket is opened before this returns: what happens next is seen.
        let tap = self.inside(Tap::open)?;
        Ok(Capture::start(tap, |received| Some(received.frame)))
    }

    /// Starts to capture all ARP frames that come in on its LAN link.
    ///
    /// # Errors
    /// When no packet socket can be opened.
    pub fn capture_arp(&self) -> io::Result<Capture<ArpFrame>> {
        let (tap, link) = self.inside(|| Ok((Tap::open()?, Link::named("eth0")?.index)))?;
        Ok(Capture::start(tap, move |received| received.frame.arp().filter(|_| received.link == link)))
    }
}

/// The bytes with which `own` asks for `address`.
pub(crate) fn question(mac: Mac, own: IpAddr, address: IpAddr) -> io::Result<Vec<u8>> {
    match (own, address) {
        (IpAddr::V4(own), IpAddr::V4(address)) => Ok(frame::arp_request(mac, own, address)),
        (IpAddr::V6(own), IpAddr::V6(address)) => Ok(frame::solicitation(mac, own, address)),
        _ => Err(io::Error::other(format!("{own} cannot ask for {address}: the families differ"))),
    }
}

/// The owner of `address` whom this frame names, if it is an answer to a question of the host with `mac`.
fn answer_to(frame: &Frame, mac: Mac, address: IpAddr) -> Option<Mac> {
    let (owner, claimed) = frame.claimed()?;
    let to_us = match frame {
        Frame::Arp(frame) => !frame.request && frame.destination == mac,
        // The answer to a probe goes to all: the asker has no address yet.
        Frame::Ndp(frame) => frame.destination == mac || frame.to == frame::ALL_NODES,
    };
    (to_us && claimed == address).then_some(owner)
}

/// The IPv4 address in `address`.
///
/// # Errors
/// When it is an IPv6 address.
pub fn ipv4(address: IpAddr) -> io::Result<Ipv4Addr> {
    match address {
        IpAddr::V4(v4) => Ok(v4),
        IpAddr::V6(v6) => Err(io::Error::other(format!("{v6} is no IPv4 address"))),
    }
}
