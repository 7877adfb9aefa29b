//! The sockets that see and send frames on one link.
//!
//! ```text
//!  Datalink::open ──► LinkSocket ─┬─ PacketSocket  hellos: ethertype 0x88b5, looked at first
//!                                 ├─ WaitingSocket  hellos that say nothing new: read when something is due
//!                                 ├─ PacketSocket  ARP: ethertype 0x0806
//!                                 ├─ PacketSocket  NDP: ethertype 0x86dd, while any pool has IPv6 addresses
//!                                 ├─ Groups        the solicited-node groups that were joined
//!                                 └─ DatagramSocket  hellos by UDP, if they are used
//! ```
//!
//! What is not ours never reaches this program: each socket is bound to one ethertype and has a filter in the kernel
//! ([`filter`]) that passes only what concerns the pools. It is attached before the socket is bound, while it
//! receives nothing, so not even the first frame slips past it.
//!
//! Needs `CAP_NET_RAW` and nothing else: no promiscuous mode, no address on the link.

mod datagram;
mod dated;
pub mod filter;
mod groups;
mod packet;
mod promptness;
mod waiting;

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::task::{Context, Poll};
use std::time::Duration;

use ferrolb_core::announce::{Cover, LinkIndex};
use ferrolb_core::wire::hello;

use datagram::DatagramSocket;
use groups::Groups;
use packet::PacketSocket;
pub use promptness::run_promptly;
use waiting::WaitingSocket;

/// The longest frame that is read: an ARP frame has 42 bytes, 60 with padding; a neighbour solicitation has 86, and more
/// with options that nobody needs.
pub const FRAME: usize = 512;

/// The longest hello that is read, with its Ethernet header.
pub const HELLO_FRAME: usize = 14 + ferrolb_core::wire::hello::MAX_PAYLOAD;

/// A frame's length, and how long ago it came; nothing where that is not asked for.
pub type Received = (usize, Duration);

/// Where frames come from and go to: a link, or in tests a pair of queues.
pub trait Port {
    /// Reads one frame into `buffer`; its length, cut to the buffer's, and of a hello how long ago it came.
    ///
    /// # Errors
    /// What the kernel reports: `ENETDOWN` when the link goes down, for example.
    fn poll_receive(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<Received>>;

    /// Reads one frame that waits for somebody to look, if there is one: its length, cut to the buffer's, and how long ago it
    /// came. Of these nobody is woken.
    ///
    /// # Errors
    /// What the kernel reports.
    fn read_waiting(&self, _buffer: &mut [u8]) -> io::Result<Option<Received>> {
        Ok(None)
    }

    /// Sends one whole frame, without waiting.
    ///
    /// # Errors
    /// What the kernel reports: `ENOBUFS` when a queue is full, for example.
    fn send(&self, frame: &[u8]) -> io::Result<()>;

    /// Throws away all that was received and not read.
    fn drain(&self);

    /// From now on, only frames that concern these prefixes are received.
    ///
    /// # Errors
    /// What the kernel reports.
    fn narrow(&mut self, cover: &Cover) -> io::Result<()>;

    /// Listens to a multicast group, and tells switches so (MLD); harmless where that is done already.
    ///
    /// # Errors
    /// What the kernel reports: `ENODEV` when the link has no IPv6, for example.
    fn join(&mut self, group: Ipv6Addr) -> io::Result<()>;

    /// No longer listens to it.
    fn leave(&mut self, group: Ipv6Addr);

    /// From now on, datagrams for this port are received and sent on the link, which has this name; what had been opened for them
    /// before is closed first.
    ///
    /// # Errors
    /// What the kernel reports: `EADDRINUSE` where another program has the port, for example.
    fn open_datagrams(&mut self, _name: &str, _port: u16) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// From now on, none are.
    fn close_datagrams(&mut self) {}

    /// Reads one datagram into `buffer`: its length, and where it came from.
    ///
    /// # Errors
    /// What the kernel reports.
    fn poll_datagram(
        &self,
        _context: &mut Context<'_>,
        _buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, IpAddr)>> {
        Poll::Pending
    }

    /// Sends a datagram to a node on the link, without waiting.
    ///
    /// # Errors
    /// What the kernel reports, and `NotConnected` where none are open.
    fn send_datagram(&self, _to: IpAddr, _payload: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::NotConnected.into())
    }
}

/// Opens ports: the real network, or a test's.
pub trait Datalink {
    /// What it opens.
    type Port: Port;

    /// Opens a port on `link`, for what concerns `cover`.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`; `ENODEV` or `ENXIO` when the link has just gone.
    fn open(&self, link: LinkIndex, cover: &Cover) -> io::Result<Self::Port>;
}

/// The kernel's packet sockets, in the network namespace of the calling thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct PacketSockets;

impl Datalink for PacketSockets {
    type Port = LinkSocket;

    fn open(&self, link: LinkIndex, cover: &Cover) -> io::Result<LinkSocket> {
        LinkSocket::open(link, cover)
    }
}

/// The sockets of one link.
#[derive(Debug)]
pub struct LinkSocket {
    link: LinkIndex,
    hello: PacketSocket,
    /// Hellos that say nothing new. Each frame that wakes costs more than to read ten.
    routine: WaitingSocket,
    arp: PacketSocket,
    /// Only while it is needed: it sees all IPv6 traffic of the node go past its filter.
    ndp: Option<PacketSocket>,
    groups: Groups,
    /// Only while it is asked for.
    datagrams: Option<DatagramSocket>,
    /// Whether NDP is looked at first: they take turns, so that neither keeps the other from being heard.
    ndp_first: Cell<bool>,
}

impl LinkSocket {
    fn open(link: LinkIndex, cover: &Cover) -> io::Result<Self> {
        let hello = PacketSocket::open_dated(link, i32::from(hello::ETHERTYPE), &filter::hello())?;
        hello.add_membership(link, hello::GROUP)?;
        Ok(LinkSocket {
            link,
            hello,
            routine: WaitingSocket::open(link, i32::from(hello::ETHERTYPE), &filter::routine())?,
            arp: PacketSocket::open(link, libc::ETH_P_ARP, &filter::arp(&cover.v4))?,
            ndp: ndp(link, cover)?,
            groups: Groups::new(link),
            datagrams: None,
            ndp_first: Cell::new(false),
        })
    }
}

fn ndp(link: LinkIndex, cover: &Cover) -> io::Result<Option<PacketSocket>> {
    let open = || PacketSocket::open(link, libc::ETH_P_IPV6, &filter::ndp(&cover.v6));
    (!cover.v6.is_empty()).then(open).transpose()
}

impl Port for LinkSocket {
    fn poll_receive(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<Received>> {
        // There are few of them, and none of the others is right if they are not known.
        if let Poll::Ready(received) = self.hello.poll_receive_dated(context, buffer) {
            return Poll::Ready(received);
        }
        let ndp_first = self.ndp_first.get();
        let order = if ndp_first {
            [self.ndp.as_ref(), Some(&self.arp)]
        } else {
            [Some(&self.arp), self.ndp.as_ref()]
        };
        for (place, socket) in order.into_iter().enumerate() {
            if let Some(Poll::Ready(received)) = socket.map(|socket| socket.poll_receive(context, buffer)) {
                self.ndp_first.set((place == 0) != ndp_first);
                return Poll::Ready(received.map(|length| (length, Duration::ZERO)));
            }
        }
        Poll::Pending
    }

    fn read_waiting(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        self.routine.read(buffer)
    }

    fn send(&self, frame: &[u8]) -> io::Result<()> {
        // A packet socket that is bound to a link sends whole frames of any type there.
        self.arp.send(frame)
    }

    fn drain(&self) {
        self.hello.drain();
        self.routine.drain();
        self.arp.drain();
        self.ndp.iter().for_each(PacketSocket::drain);
        self.datagrams.iter().for_each(DatagramSocket::drain);
    }

    fn narrow(&mut self, cover: &Cover) -> io::Result<()> {
        self.arp.narrow(&filter::arp(&cover.v4))?;
        match &self.ndp {
            Some(ndp) if !cover.v6.is_empty() => ndp.narrow(&filter::ndp(&cover.v6))?,
            _ => self.ndp = ndp(self.link, cover)?,
        }
        Ok(())
    }

    fn join(&mut self, group: Ipv6Addr) -> io::Result<()> {
        self.groups.join(group)?;
        // The join above makes the kernel tell switches, and opens the filter of the network card. Some drivers need to
        // be told by the packet socket too (packet(7), PACKET_ADD_MEMBERSHIP).
        self.arp.add_membership(self.link, ferrolb_core::wire::ndp::group_mac(group))
    }

    fn leave(&mut self, group: Ipv6Addr) {
        self.groups.leave(group);
        self.arp.drop_membership(self.link, ferrolb_core::wire::ndp::group_mac(group));
    }

    fn open_datagrams(&mut self, name: &str, port: u16) -> io::Result<()> {
        self.datagrams = None;
        self.datagrams = Some(DatagramSocket::open(self.link, name, port)?);
        Ok(())
    }

    fn close_datagrams(&mut self) {
        self.datagrams = None;
    }

    fn poll_datagram(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, IpAddr)>> {
        self.datagrams.as_ref().map_or(Poll::Pending, |socket| socket.poll_receive(context, buffer))
    }

    fn send_datagram(&self, to: IpAddr, payload: &[u8]) -> io::Result<()> {
        let socket = self.datagrams.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        socket.send(to, payload)
    }
}
