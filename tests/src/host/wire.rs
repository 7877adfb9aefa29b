//! Packet sockets: frames out, frames in, with the time at which the kernel got them.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6,
    recvmsg, sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeSpec, TimeVal, TimeValLike};

use super::{Frame, Mac};

/// What the kernel may hold for us while we do not run: on a busy machine a second of all frames of a cluster.
const BUFFER: usize = 64 << 20;

/// The kind of packet that a packet socket gives for what this host sends (packet(7)).
const OUTGOING: u8 = 4;

/// A socket that gets every frame of the namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct Tap {
    socket: OwnedFd,
    began: SystemTime,
    lost: u32,
}

/// A frame that came in.
pub(crate) struct Received {
    /// The link at which it came in, by its number in the namespace.
    pub(crate) link: usize,
    /// What it is.
    pub(crate) frame: Frame,
}

impl Tap {
    /// Opens one in the namespace of this thread. Times count from now.
    pub(crate) fn open() -> io::Result<Self> {
        let socket =
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(20))?;
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        setsockopt(&socket, sockopt::RxqOvfl, &1)?;
        Ok(Tap { socket, began: SystemTime::now(), lost: 0 })
    }

    /// When it was opened.
    pub(crate) fn began(&self) -> SystemTime {
        self.began
    }

    /// The time since it was opened, on the clock of its frames.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed().unwrap_or_default()
    }

    /// How many frames the kernel had no room for.
    pub(crate) fn lost(&self) -> u32 {
        self.lost
    }

    /// The next ARP or NDP frame that comes in; `None` if none came for a moment, or another one did.
    pub(crate) fn receive(&mut self) -> io::Result<Option<Received>> {
        let mut bytes = [0; 2048];
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let mut control = nix::cmsg_space!(TimeSpec, u32);
        let flags = MsgFlags::empty();
        let message =
            match recvmsg::<LinkAddr>(self.socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
                Ok(message) => message,
                Err(nix::Error::EAGAIN | nix::Error::EINTR | nix::Error::ENETDOWN) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
        let (mut at, mut lost) = (None, self.lost);
        for control in message.cmsgs()? {
            match control {
                ControlMessageOwned::ScmTimestampns(time) => at = Some(Duration::from(time)),
                ControlMessageOwned::RxqOvfl(count) => lost = count,
                _ => {}
            }
        }
        let (length, from) = (message.bytes, message.address);
        self.lost = lost;
        let began = self.began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // Only without a time stamp of the kernel's is it the time at which it was read.
        let at = at.map_or_else(|| self.elapsed(), |at| at.saturating_sub(began));
        let Some(from) = from.filter(|from| from.pkttype() != OUTGOING) else { return Ok(None) };
        Ok(Frame::parse(&bytes[..length], at).map(|frame| Received { link: from.ifindex(), frame }))
    }
}

/// A socket that only sends.
#[derive(Debug)]
pub(crate) struct Sender(OwnedFd);

impl Sender {
    /// Opens one in the namespace of this thread.
    pub(crate) fn open() -> io::Result<Self> {
        // Without a protocol it gets no frames.
        Ok(Sender(socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?))
    }

    /// Sends a frame on `link`.
    pub(crate) fn send(&self, link: &Link, frame: &[u8]) -> io::Result<()> {
        sendto(self.0.as_raw_fd(), frame, &link.address, MsgFlags::empty())?;
        Ok(())
    }
}

/// A capture that is running. It ends when dropped.
#[derive(Debug)]
pub struct Capture<T = Frame> {
    stop: Arc<AtomicBool>,
    shared: Arc<Mutex<Shared<T>>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

#[derive(Debug)]
struct Shared<T> {
    seen: Vec<T>,
    lost: u32,
    until: Duration,
}

impl<T: Send + 'static> Capture<T> {
    /// Captures from `tap` what `keep` makes of the frames.
    pub(crate) fn start(mut tap: Tap, keep: impl Fn(Received) -> Option<T> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let shared = Arc::new(Mutex::new(Shared { seen: Vec::new(), lost: 0, until: Duration::ZERO }));
        let (asked, into) = (stop.clone(), shared.clone());
        let thread = std::thread::spawn(move || {
            loop {
                // Before the frames are read: what came until this moment is in the buffer.
                let (last, until) = (asked.load(Ordering::Relaxed), tap.elapsed());
                let received = tap.receive()?;
                let mut shared = into.lock().unwrap_or_else(PoisonError::into_inner);
                if received.is_none() {
                    shared.until = until;
                }
                let end = last && received.is_none();
                shared.seen.extend(received.and_then(&keep));
                shared.lost = tap.lost();
                if end {
                    return Ok(());
                }
            }
        });
        Capture { stop, shared, thread: Some(thread) }
    }

    /// Ends it; returns what was seen, how many frames were lost, and until when.
    pub(crate) fn finish(mut self) -> io::Result<(Vec<T>, u32, Duration)> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the capture panicked")))?;
        }
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((std::mem::take(&mut shared.seen), shared.lost, shared.until))
    }

    /// Ends it and returns what was seen.
    ///
    /// # Errors
    /// When receiving failed, or the kernel had no room for some frames.
    pub fn stop(self) -> io::Result<Vec<T>> {
        match self.finish()? {
            (seen, 0, _) => Ok(seen),
            (_, lost, _) => Err(io::Error::other(format!("{lost} frames were not captured"))),
        }
    }

    /// What `look` makes of what was seen so far.
    pub fn so_far<R>(&self, look: impl FnOnce(&[T]) -> R) -> R {
        look(&self.shared.lock().unwrap_or_else(PoisonError::into_inner).seen)
    }
}

impl<T> Drop for Capture<T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A network card.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    address: LinkAddr,
    /// Its number in its namespace.
    pub(crate) index: usize,
    /// Its MAC address.
    pub(crate) mac: Mac,
    /// Its IPv4 address.
    pub(crate) ipv4: Option<Ipv4Addr>,
    /// Its link-local IPv6 address, else any other.
    pub(crate) ipv6: Option<Ipv6Addr>,
}

impl Link {
    /// The link of this name in the namespace of this thread.
    pub(crate) fn named(name: &str) -> io::Result<Self> {
        let (mut found, mut ipv4, mut ipv6) = (None, None, None::<Ipv6Addr>);
        for interface in nix::ifaddrs::getifaddrs()?.filter(|interface| interface.interface_name == name) {
            let Some(address) = interface.address else { continue };
            if let Some(v4) = address.as_sockaddr_in() {
                ipv4 = ipv4.or(Some(v4.ip()));
            }
            if let Some(v6) = address.as_sockaddr_in6().map(SockaddrIn6::ip)
                && (ipv6.is_none() || v6.is_unicast_link_local())
            {
                ipv6 = Some(v6);
            }
            if let Some(link) = address.as_link_addr()
                && let Some([a, b, c, d, e, f]) = link.addr()
            {
                found = Some((*link, Mac::new(a, b, c, d, e, f)));
            }
        }
        let (address, mac) = found.ok_or_else(|| io::Error::other(format!("there is no link {name}")))?;
        Ok(Link { address, index: address.ifindex(), mac, ipv4, ipv6 })
    }

    /// The address with which it asks for `address`: of the same family.
    pub(crate) fn asks_from(&self, address: IpAddr) -> io::Result<IpAddr> {
        let own = match address {
            IpAddr::V4(_) => self.ipv4.map(IpAddr::V4),
            IpAddr::V6(_) => self.ipv6.map(IpAddr::V6),
        };
        own.ok_or_else(|| io::Error::other(format!("the link {} cannot ask for {address}", self.mac)))
    }
}
