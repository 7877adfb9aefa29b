//! A packet socket that sends and receives many frames at a time, at a fixed place in the network.
//!
//! The lab's other sockets see everything and keep it. This one is for hundreds of thousands of frames a second: it
//! sees one ethertype, and nothing that this host sends.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, SystemTime};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    ControlMessageOwned, LinkAddr, MsgFlags, MultiHeaders, bind, recvmmsg, recvmsg, sendmmsg, setsockopt,
    sockopt,
};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, Socket, Type};

use crate::host::Mac;

/// What the kernel may hold for us while we do not run.
const BUFFER: usize = 8 << 20;

/// No frame of ours is longer, and of a longer one the beginning is enough.
const LONGEST: usize = 128;

/// A socket for frames of one ethertype, on one link.
#[derive(Debug)]
pub(super) struct Wire {
    socket: Socket,
    /// The link's own address.
    pub(super) mac: Mac,
}

impl Wire {
    /// Opens one on the link of this name, in the namespace of this thread.
    pub(super) fn open(link: &str, ethertype: u16) -> io::Result<Self> {
        let (address, mac) = address(link)?;
        let protocol = Protocol::from(i32::from(ethertype.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW.cloexec(), Some(protocol))?;
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
        // The address names no protocol, so the socket keeps its own (packet(7)).
        bind(socket.as_raw_fd(), &address)?;
        Ok(Wire { socket, mac })
    }

    /// With the kernel's time on each frame that is received one by one.
    pub(super) fn with_times(self) -> io::Result<Self> {
        setsockopt(&self.socket, sockopt::ReceiveTimestampns, &true)?;
        Ok(self)
    }

    /// Sends these frames; returns how many the kernel took.
    pub(super) fn send<F: AsRef<[u8]>>(&self, frames: &[F]) -> io::Result<usize> {
        let parts: Vec<_> = frames.iter().map(|frame| [IoSlice::new(frame.as_ref())]).collect();
        let mut headers = MultiHeaders::<()>::preallocate(parts.len(), None);
        let nobody = vec![None::<()>; parts.len()];
        let flags = MsgFlags::empty();
        match sendmmsg(self.socket.as_raw_fd(), &mut headers, &parts, nobody, [], flags) {
            Ok(sent) => Ok(sent.count()),
            Err(nix::Error::ENOBUFS | nix::Error::EINTR | nix::Error::EAGAIN) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes what has come in, at most `most` frames, and returns for how many `is` holds. It does not wait.
    pub(super) fn count(&self, most: usize, is: impl Fn(&[u8]) -> bool) -> io::Result<usize> {
        let mut buffers = vec![[0; LONGEST]; most];
        let mut parts: Vec<_> = buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let mut headers = MultiHeaders::<()>::preallocate(most, None);
        let flags = MsgFlags::MSG_DONTWAIT;
        let lengths: Vec<usize> =
            match recvmmsg(self.socket.as_raw_fd(), &mut headers, &mut parts, flags, None) {
                Ok(received) => received.map(|message| message.bytes).collect(),
                Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Ok(0),
                Err(error) => return Err(error.into()),
            };
        let frames = buffers.iter().zip(lengths).map(|(buffer, length)| &buffer[..length]);
        Ok(frames.filter(|frame| is(frame)).count())
    }

    /// Takes one frame that has come in, with the kernel's time; it does not wait.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, SystemTime)>> {
        let mut parts = [IoSliceMut::new(buffer)];
        let mut control = nix::cmsg_space!(TimeSpec);
        let flags = MsgFlags::MSG_DONTWAIT;
        let message = match recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
            Ok(message) => message,
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let at = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(time) => Some(SystemTime::UNIX_EPOCH + Duration::from(time)),
            _ => None,
        });
        let at = at.ok_or_else(|| io::Error::other("the kernel gave a frame no time: open it with_times"))?;
        Ok(Some((message.bytes, at)))
    }

    /// Waits until something has come in, or so long; returns whether it has.
    pub(super) fn wait(&self, most: Duration) -> io::Result<bool> {
        let timeout = PollTimeout::try_from(most).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(ready) => Ok(ready > 0),
            Err(nix::Error::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Where a link is, for packet sockets, and its MAC address.
fn address(link: &str) -> io::Result<(LinkAddr, Mac)> {
    let found = nix::ifaddrs::getifaddrs()?.filter(|interface| interface.interface_name == link);
    let mut addresses = found.filter_map(|interface| Some(*interface.address?.as_link_addr()?));
    let found = addresses.find_map(|address| Some((address, Mac::from(address.addr()?))));
    found.ok_or_else(|| io::Error::other(format!("there is no link {link}")))
}
