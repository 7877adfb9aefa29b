//! Datagrams with hellos, on one link.
//!
//! One socket for each link, bound to that link (`SO_BINDTODEVICE`) and one port, for both families. So it is the kernel that
//! says where a datagram arrived and where it leaves, as with the packet sockets: no control messages, and none of the `unsafe`
//! that those take; and a link that goes takes its socket with it.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket as StdSocket};
use std::task::{Context, Poll, ready};

use ferrolb_core::announce::LinkIndex;
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

use super::{filter, packet};

/// Receives datagrams that arrive on one link, and sends them there, in one hop.
#[derive(Debug)]
pub(super) struct DatagramSocket {
    socket: UdpSocket,
    link: LinkIndex,
    port: u16,
    /// Whether it is of IPv6, and IPv4 addresses are written so.
    both: bool,
}

impl DatagramSocket {
    /// One on the link of this name, for this port. Where the kernel has no IPv6 it is for IPv4 alone.
    pub(super) fn open(link: LinkIndex, name: &str, port: u16) -> io::Result<Self> {
        match Self::bind(link, name, port, true) {
            Err(error) if lacks_ipv6(&error) => Self::bind(link, name, port, false),
            opened => opened,
        }
    }

    fn bind(link: LinkIndex, name: &str, port: u16, both: bool) -> io::Result<Self> {
        let domain = if both { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
        let program = filter::datagram();
        let program: Vec<SockFilter> =
            program.iter().map(|step| SockFilter::new(step.code, step.jt, step.jf, step.k)).collect();
        socket.attach_filter(&program)?;
        // Before it has a port: sockets of other links have the same.
        socket.bind_device(Some(name.as_bytes()))?;
        let any: IpAddr = if both {
            socket.set_only_v6(false)?;
            socket.set_unicast_hops_v6(1)?;
            Ipv6Addr::UNSPECIFIED.into()
        } else {
            Ipv4Addr::UNSPECIFIED.into()
        };
        // It is for who shares the link: no router is to pass it on.
        socket.set_ttl_v4(1)?;
        socket.bind(&SocketAddr::new(any, port).into())?;
        let socket = UdpSocket::from_std(StdSocket::from(socket))?;
        Ok(DatagramSocket { socket, link, port, both })
    }

    /// Reads one datagram into `buffer`: its length, and where it came from.
    pub(super) fn poll_receive(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, IpAddr)>> {
        let mut buffer = ReadBuf::new(buffer);
        let from = ready!(self.socket.poll_recv_from(context, &mut buffer))?;
        Poll::Ready(Ok((buffer.filled().len(), from.ip().to_canonical())))
    }

    /// Sends one to a node on the link, without waiting.
    pub(super) fn send(&self, to: IpAddr, payload: &[u8]) -> io::Result<()> {
        let to = match to {
            IpAddr::V4(four) if self.both => SocketAddr::new(four.to_ipv6_mapped().into(), self.port),
            IpAddr::V4(_) => SocketAddr::new(to, self.port),
            // A link-local address needs the link beside it.
            IpAddr::V6(six) => SocketAddrV6::new(six, self.port, 0, self.link.0).into(),
        };
        // Past tokio, which says that a socket is full until it has looked once.
        SockRef::from(&self.socket).send_to(payload, &to.into()).map(|_| ())
    }

    /// Throws away what was received; at most as much as a socket can hold, so that a flood does not keep it here.
    pub(super) fn drain(&self) {
        let (socket, mut byte) = (SockRef::from(&self.socket), [MaybeUninit::uninit()]);
        for _ in 0..packet::MOST_WAITING {
            if socket.recv(&mut byte).is_err() {
                return;
            }
        }
    }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT))
}
