//! A packet socket on one link, for frames of one ethertype.
#![allow(
    unsafe_code,
    reason = "a packet socket's address has no safe constructor, and registering a descriptor with tokio \
              asks for a promise; the blocks say why each is kept"
)]

use std::io;
use std::os::fd::AsRawFd;
use std::task::{Context, Poll, ready};

use ferrolb_core::announce::LinkIndex;
use ferrolb_core::wire::Mac;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Received, dated};

/// Receives frames of one ethertype on one link, and sends whole Ethernet frames.
#[derive(Debug)]
pub(super) struct PacketSocket {
    fd: AsyncFd<Socket>,
}

impl PacketSocket {
    pub(super) fn open(link: LinkIndex, ethertype: i32, filter: &[libc::sock_filter]) -> io::Result<Self> {
        let socket = bound(link, ethertype, filter)?;
        // SAFETY: `AsyncFd` asks that the descriptor stays open and the same while it is registered. The
        // `AsyncFd` owns the socket, nothing here takes it out or swaps it, and dropping it deregisters
        // before it closes.
        let fd = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }
            .map_err(|error| error.into_parts().1)?;
        Ok(PacketSocket { fd })
    }

    /// One whose frames are read by [`poll_receive_dated`](Self::poll_receive_dated).
    pub(super) fn open_dated(
        link: LinkIndex,
        ethertype: i32,
        filter: &[libc::sock_filter],
    ) -> io::Result<Self> {
        let socket = Self::open(link, ethertype, filter)?;
        dated::begin(socket.fd.get_ref())?;
        Ok(socket)
    }

    /// Replaces the filter; no frame slips past in between.
    pub(super) fn narrow(&self, filter: &[libc::sock_filter]) -> io::Result<()> {
        self.fd.get_ref().attach_filter(&program(filter))
    }

    pub(super) fn poll_receive(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        // `Read for &Socket` fills an initialised buffer, which `Socket::recv` does not take.
        self.poll(context, |mut socket| io::Read::read(&mut socket, buffer))
    }

    pub(super) fn poll_receive_dated(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Received>> {
        self.poll(context, |socket| dated::read(socket, buffer))
    }

    fn poll<T>(
        &self,
        context: &mut Context<'_>,
        mut read: impl FnMut(&Socket) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(context))?;
            if let Ok(result) = guard.try_io(|fd| read(fd.get_ref())) {
                return Poll::Ready(result);
            }
        }
    }

    /// Throws away what was received; at most as much as a socket can hold, so that a flood does not keep it here.
    pub(super) fn drain(&self) {
        let mut byte = [0];
        for _ in 0..MOST_WAITING {
            if io::Read::read(&mut self.fd.get_ref(), &mut byte).is_err() {
                return;
            }
        }
    }

    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.fd.get_ref().send(frame).map(|_| ())
    }

    /// Opens the network card's filter for a group (packet(7), `PACKET_ADD_MEMBERSHIP`). Counted by the kernel.
    pub(super) fn add_membership(&self, link: LinkIndex, group: Mac) -> io::Result<()> {
        self.membership(libc::PACKET_ADD_MEMBERSHIP, link, group)
    }

    /// Takes that back.
    pub(super) fn drop_membership(&self, link: LinkIndex, group: Mac) {
        // An error says that there was none.
        let _ = self.membership(libc::PACKET_DROP_MEMBERSHIP, link, group);
    }

    fn membership(&self, what: libc::c_int, link: LinkIndex, group: Mac) -> io::Result<()> {
        let mut address = [0; 8];
        address[..6].copy_from_slice(&group.0);
        let request = libc::packet_mreq {
            mr_ifindex: index(link)?,
            mr_type: libc::PACKET_MR_MULTICAST as libc::c_ushort,
            mr_alen: 6,
            mr_address: address,
        };
        let length = size_of::<libc::packet_mreq>() as libc::socklen_t;
        // SAFETY: the descriptor is that of a socket which lives as long as `self`; the pointer is to a whole
        // packet_mreq on the stack, of the length given, which the kernel only reads during the call.
        let done = unsafe {
            libc::setsockopt(
                self.fd.get_ref().as_raw_fd(),
                libc::SOL_PACKET,
                what,
                (&raw const request).cast(),
                length,
            )
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// A socket that receives what passes the filter, from its first frame on.
pub(super) fn bound(link: LinkIndex, ethertype: i32, filter: &[libc::sock_filter]) -> io::Result<Socket> {
    // Protocol 0: nothing is received before the bind below names one.
    let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), Some(Protocol::from(0)))?;
    socket.attach_filter(&program(filter))?;
    socket.bind(&place(link, ethertype)?)?;
    Ok(socket)
}

/// More frames than the kernel keeps for a socket by default (`net.core.rmem_default`, 208 KiB; a frame takes 768 bytes or
/// more of it).
pub(super) const MOST_WAITING: usize = 4096;

/// The filter in the socket's own words.
fn program(filter: &[libc::sock_filter]) -> Vec<SockFilter> {
    filter.iter().map(|step| SockFilter::new(step.code, step.jt, step.jf, step.k)).collect()
}

fn index(link: LinkIndex) -> io::Result<i32> {
    i32::try_from(link.0).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// The address "frames of this ethertype on this link" (packet(7), `sockaddr_ll`).
fn place(link: LinkIndex, ethertype: i32) -> io::Result<SockAddr> {
    let ifindex = index(link)?;
    let init = |storage: *mut SockAddrStorage, length: *mut libc::socklen_t| {
        let address = storage.cast::<libc::sockaddr_ll>();
        // SAFETY: `storage` points to zeroed memory that is as large and aligned as any socket address
        // (sockaddr_storage), so a sockaddr_ll fits; all-zero bytes are a valid one.
        let address = unsafe { &mut *address };
        address.sll_family = libc::AF_PACKET as libc::sa_family_t;
        address.sll_protocol = (ethertype as u16).to_be();
        address.sll_ifindex = ifindex;
        // SAFETY: `length` points to the length of that memory, and we alone write it.
        unsafe { *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t };
        Ok(())
    };
    // SAFETY: `init` makes the memory a whole sockaddr_ll and sets its true length and family.
    let ((), address) = unsafe { SockAddr::try_init(init) }?;
    Ok(address)
}
