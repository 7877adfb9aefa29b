//! The socket that sees and sends ARP frames on one link.
//!
//! What is not ours never reaches this program: the socket is bound to the ARP ethertype, so other traffic
//! costs nothing, and a filter in the kernel passes only requests that were sent to this station or to all,
//! without a VLAN tag. It is attached before the socket is bound, while it receives nothing, so not even
//! the first frame slips past it.
//!
//! Needs `CAP_NET_RAW` and nothing else: no promiscuous mode, no address on the link.
#![allow(
    unsafe_code,
    reason = "a packet socket's address has no safe constructor, and registering a descriptor with tokio \
              asks for a promise; the blocks say why each is kept"
)]

use std::io;
use std::task::{Context, Poll, ready};

use ferrolb_core::announce::LinkIndex;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The longest frame that is read: an ARP frame has 42 bytes, 60 with padding.
pub const FRAME: usize = 128;

/// Where frames come from and go to: a link, or in tests a pair of queues.
pub trait Port {
    /// Reads one frame into `buffer`; its length, cut to the buffer's.
    ///
    /// # Errors
    /// What the kernel reports: `ENETDOWN` when the link goes down, for example.
    fn poll_receive(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Sends one whole frame, without waiting.
    ///
    /// # Errors
    /// What the kernel reports: `ENOBUFS` when a queue is full, for example.
    fn send(&self, frame: &[u8]) -> io::Result<()>;
}

/// Opens ports: the real network, or a test's.
pub trait Datalink {
    /// What it opens.
    type Port: Port;

    /// Opens a port on `link`.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`; `ENODEV` or `ENXIO` when the link has just gone.
    fn open(&self, link: LinkIndex) -> io::Result<Self::Port>;
}

/// The kernel's packet sockets, in the network namespace of the calling thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct PacketSockets;

impl Datalink for PacketSockets {
    type Port = ArpSocket;

    fn open(&self, link: LinkIndex) -> io::Result<ArpSocket> {
        ArpSocket::open(link)
    }
}

/// A packet socket that receives ARP requests on one link, and sends whole Ethernet frames.
#[derive(Debug)]
pub struct ArpSocket {
    fd: AsyncFd<Socket>,
}

impl ArpSocket {
    fn open(link: LinkIndex) -> io::Result<Self> {
        // Protocol 0: nothing is received before the bind below names one.
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), Some(Protocol::from(0)))?;
        socket.attach_filter(&arp_requests())?;
        socket.bind(&arp_on(link)?)?;
        // SAFETY: `AsyncFd` asks that the descriptor stays open and the same while it is registered. The
        // `AsyncFd` owns the socket, nothing here takes it out or swaps it, and dropping it deregisters
        // before it closes.
        let fd = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }
            .map_err(|error| error.into_parts().1)?;
        Ok(ArpSocket { fd })
    }
}

impl Port for ArpSocket {
    fn poll_receive(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(context))?;
            // `Read for &Socket` fills an initialised buffer, which `Socket::recv` does not take.
            let received = guard.try_io(|fd| io::Read::read(&mut fd.get_ref(), buffer));
            if let Ok(result) = received {
                return Poll::Ready(result);
            }
        }
    }

    fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.fd.get_ref().send(frame).map(|_| ())
    }
}

/// The address "ARP on this link" (packet(7), `sockaddr_ll`).
fn arp_on(link: LinkIndex) -> io::Result<SockAddr> {
    let ifindex = i32::try_from(link.0).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let init = |storage: *mut SockAddrStorage, length: *mut libc::socklen_t| {
        let address = storage.cast::<libc::sockaddr_ll>();
        // SAFETY: `storage` points to zeroed memory that is as large and aligned as any socket address
        // (sockaddr_storage), so a sockaddr_ll fits; all-zero bytes are a valid one.
        let address = unsafe { &mut *address };
        address.sll_family = libc::AF_PACKET as libc::sa_family_t;
        address.sll_protocol = (libc::ETH_P_ARP as u16).to_be();
        address.sll_ifindex = ifindex;
        // SAFETY: `length` points to the length of that memory, and we alone write it.
        unsafe { *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t };
        Ok(())
    };
    // SAFETY: `init` makes the memory a whole sockaddr_ll and sets its true length and family.
    let ((), address) = unsafe { SockAddr::try_init(init) }?;
    Ok(address)
}

/// The filter that each [`ArpSocket`] has, in classic BPF: passes a frame that
/// - was sent to this station or to all (packet type 0 or 1), not by it, to another or to a group;
/// - has no VLAN tag in its auxiliary data, or a priority tag only (VID 0);
/// - is ARP, and a request.
///
/// A tag that is still in the frame's bytes makes another ethertype of it, which is not passed either.
pub fn arp_requests() -> [SockFilter; 11] {
    const PASS: u8 = 9;
    const DROP: u8 = 10;
    // Jumps are relative to the next instruction, so each names its own number.
    let jump = |number: u8, test: u32, value: u32, yes: u8, no: u8| {
        SockFilter::new((libc::BPF_JMP | test | libc::BPF_K) as u16, yes - number - 1, no - number - 1, value)
    };
    let load = |size: u32, at: u32| SockFilter::new((libc::BPF_LD | size | libc::BPF_ABS) as u16, 0, 0, at);
    let auxiliary = |field: i32| load(libc::BPF_W, (libc::SKF_AD_OFF + field) as u32);
    let mask = |bits| SockFilter::new((libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16, 0, 0, bits);
    let give = |bytes| SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, bytes);
    [
        auxiliary(libc::SKF_AD_PKTTYPE),
        jump(1, libc::BPF_JGT, libc::PACKET_BROADCAST as u32, DROP, 2),
        auxiliary(libc::SKF_AD_VLAN_TAG),
        mask(0x0fff),
        jump(4, libc::BPF_JEQ, 0, 5, DROP),
        load(libc::BPF_H, 12),
        jump(6, libc::BPF_JEQ, libc::ETH_P_ARP as u32, 7, DROP),
        load(libc::BPF_H, 20),
        jump(8, libc::BPF_JEQ, 1, PASS, DROP),
        give(FRAME as u32),
        give(0),
    ]
}
