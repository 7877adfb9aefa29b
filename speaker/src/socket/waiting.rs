//! A packet socket whose frames wait until they are asked for: nobody is woken by them.

use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;
use std::time::{Duration, SystemTime};

use ferrolb_core::announce::LinkIndex;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use socket2::Socket;

use super::packet::{self, MOST_WAITING};

/// Keeps frames of one ethertype on one link, each with the time at which the kernel received it.
#[derive(Debug)]
pub(super) struct WaitingSocket {
    socket: Socket,
}

impl WaitingSocket {
    pub(super) fn open(link: LinkIndex, ethertype: i32, filter: &[libc::sock_filter]) -> io::Result<Self> {
        let socket = packet::bound(link, ethertype, filter)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        Ok(WaitingSocket { socket })
    }

    /// Reads one frame, if there is one: its length, cut to the buffer's, and how long ago it came.
    ///
    /// The kernel tells that by the clock of the day. Where that was set back meanwhile, the frame counts as new.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, Duration)>> {
        let mut parts = [IoSliceMut::new(buffer)];
        let mut control = nix::cmsg_space!(TimeSpec);
        let flags = MsgFlags::MSG_DONTWAIT;
        let message = match recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
            Ok(message) => message,
            Err(nix::Error::EAGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let received = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(time) => Some(SystemTime::UNIX_EPOCH + Duration::from(time)),
            _ => None,
        });
        let age = received.and_then(|received| SystemTime::now().duration_since(received).ok());
        Ok(Some((message.bytes, age.unwrap_or_default())))
    }

    /// Throws away what was received; at most as much as a socket can hold.
    pub(super) fn drain(&self) {
        let mut byte = [0];
        for _ in 0..MOST_WAITING {
            if io::Read::read(&mut &self.socket, &mut byte).is_err() {
                return;
            }
        }
    }
}
