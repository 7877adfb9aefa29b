//! A machine of the lab: it asks, and it sees what is on the wire.
//!
//! A host is a network namespace. A thread that enters it does there what a program on that machine would do;
//! ARP is sent and captured as raw frames, so what is seen is what was on the wire and not what some
//! cache made of it.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use pnet_packet::Packet;
use pnet_packet::arp::{ArpHardwareTypes, ArpOperation, ArpOperations, ArpPacket, MutableArpPacket};
use pnet_packet::ethernet::{EtherTypes, EthernetPacket, MutableEthernetPacket};

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

/// An ARP frame that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArpFrame {
    /// When, since the capture began.
    pub at: Duration,
    /// The source of the Ethernet frame.
    pub source: Mac,
    /// Its destination.
    pub destination: Mac,
    /// Whether it is a request; else it is a reply.
    pub request: bool,
    /// The sender that it names.
    pub sender: (Mac, Ipv4Addr),
    /// The target that it names.
    pub target: (Mac, Ipv4Addr),
}

impl ArpFrame {
    /// Whether it announces `address`: sender and target are the same (RFC 5227 section 3).
    pub fn announces(&self, address: Ipv4Addr) -> bool {
        self.sender.1 == address && self.target.1 == address
    }
}

impl fmt::Display for ArpFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.request { "request" } else { "reply" };
        let ((sha, spa), (tha, tpa)) = (self.sender, self.target);
        let at = self.at.as_secs_f64();
        write!(
            f,
            "{at:.3} s {} > {} {word} sender {sha} {spa} target {tha} {tpa}",
            self.source, self.destination
        )
    }
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

    fn start<T: Send + 'static>(
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
        self.inside(move || Ok(link(&name)?.1))
    }

    /// Forgets what it learned of its neighbours, so that the next packet asks anew.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn forget_neighbours(&self) -> io::Result<()> {
        self.inside(|| {
            let status = std::process::Command::new("ip").args(["neigh", "flush", "dev", "eth0"]).status()?;
            if status.success() { Ok(()) } else { Err(io::Error::other(format!("ip neigh flush: {status}"))) }
        })
    }

    /// Asks on the wire who has `address` and returns the MAC addresses of all that answer within `window`.
    ///
    /// # Errors
    /// When frames cannot be sent or received.
    pub fn who_has(&self, address: Ipv4Addr, window: Duration) -> io::Result<BTreeSet<Mac>> {
        self.inside(move || {
            let socket = packet_socket()?;
            let (link, mac) = link("eth0")?;
            let own = own_address("eth0")?;
            sendto(socket.as_raw_fd(), &request(mac, own, address), &link, MsgFlags::empty())?;
            let started = Instant::now();
            let mut replies = BTreeSet::new();
            while started.elapsed() < window {
                let Some(frame) = receive(&socket, started)? else { continue };
                if !frame.request && frame.sender.1 == address && frame.destination == mac {
                    replies.insert(frame.sender.0);
                }
            }
            Ok(replies)
        })
    }

    /// Starts to capture all ARP frames.
    ///
    /// # Errors
    /// When no packet socket can be opened.
    pub fn capture_arp(&self) -> io::Result<Capture> {
        // The socket is opened before this returns: what happens next is seen.
        let socket = self.inside(packet_socket)?;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = stop.clone();
        let started = Instant::now();
        let thread = std::thread::spawn(move || {
            let mut frames = Vec::new();
            while !asked.load(Ordering::Relaxed) {
                frames.extend(receive(&socket, started)?);
            }
            Ok(frames)
        });
        Ok(Capture { stop, thread })
    }
}

/// A capture that is running.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Vec<ArpFrame>>>,
}

impl Capture {
    /// Ends it and returns what was seen.
    ///
    /// # Errors
    /// When receiving failed.
    pub fn stop(self) -> io::Result<Vec<ArpFrame>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the capture panicked")))
    }
}

/// A socket that gets every frame of the namespace.
fn packet_socket() -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(20))?;
    Ok(socket)
}

/// The next ARP frame; `None` if none came for a moment, or another one did.
fn receive(socket: &OwnedFd, started: Instant) -> io::Result<Option<ArpFrame>> {
    let mut buffer = [0; 2048];
    match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
        Ok(length) => Ok(parse(&buffer[..length], started.elapsed())),
        Err(nix::Error::EAGAIN | nix::Error::EINTR | nix::Error::ENETDOWN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn parse(bytes: &[u8], at: Duration) -> Option<ArpFrame> {
    let ethernet = EthernetPacket::new(bytes)?;
    if ethernet.get_ethertype() != EtherTypes::Arp {
        return None;
    }
    let arp = ArpPacket::new(ethernet.payload())?;
    Some(ArpFrame {
        at,
        source: ethernet.get_source(),
        destination: ethernet.get_destination(),
        request: arp.get_operation() == ArpOperations::Request,
        sender: (arp.get_sender_hw_addr(), arp.get_sender_proto_addr()),
        target: (arp.get_target_hw_addr(), arp.get_target_proto_addr()),
    })
}

/// The bytes of "who has `target`, tell `own`".
fn request(mac: Mac, own: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0; EthernetPacket::minimum_packet_size() + ArpPacket::minimum_packet_size()];
    if let Some(mut ethernet) = MutableEthernetPacket::new(&mut frame) {
        ethernet.set_destination(Mac::broadcast());
        ethernet.set_source(mac);
        ethernet.set_ethertype(EtherTypes::Arp);
    }
    if let Some(mut arp) = MutableArpPacket::new(&mut frame[EthernetPacket::minimum_packet_size()..]) {
        arp.set_hardware_type(ArpHardwareTypes::Ethernet);
        arp.set_protocol_type(EtherTypes::Ipv4);
        arp.set_hw_addr_len(6);
        arp.set_proto_addr_len(4);
        arp.set_operation(ArpOperation::new(1));
        arp.set_sender_hw_addr(mac);
        arp.set_sender_proto_addr(own);
        arp.set_target_proto_addr(target);
    }
    frame
}

/// The link of this name, to send to, and its MAC address.
fn link(name: &str) -> io::Result<(LinkAddr, Mac)> {
    for interface in nix::ifaddrs::getifaddrs()?.filter(|interface| interface.interface_name == name) {
        let Some(link) = interface.address.and_then(|address| address.as_link_addr().copied()) else {
            continue;
        };
        if let Some([a, b, c, d, e, f]) = link.addr() {
            return Ok((link, Mac::new(a, b, c, d, e, f)));
        }
    }
    Err(io::Error::other(format!("there is no link {name}")))
}

fn own_address(name: &str) -> io::Result<Ipv4Addr> {
    nix::ifaddrs::getifaddrs()?
        .filter(|interface| interface.interface_name == name)
        .find_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip()))
        .ok_or_else(|| io::Error::other(format!("{name} has no IPv4 address")))
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
