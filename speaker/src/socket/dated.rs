//! Frames with the time at which the kernel received them (socket(7), `SO_TIMESTAMPNS`).

use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;
use std::time::{Duration, SystemTime};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use socket2::Socket;

use super::Received;

/// From now on, the kernel notes when a frame came.
pub(super) fn begin(socket: &Socket) -> io::Result<()> {
    Ok(setsockopt(socket, sockopt::ReceiveTimestampns, &true)?)
}

/// Reads one frame without waiting; `WouldBlock` where there is none.
///
/// The kernel tells the time by the clock of the day. Where that was set back meanwhile, the frame counts as new.
pub(super) fn read(socket: &Socket, buffer: &mut [u8]) -> io::Result<Received> {
    let mut parts = [IoSliceMut::new(buffer)];
    let mut control = nix::cmsg_space!(TimeSpec);
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let received = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(time) => Some(SystemTime::UNIX_EPOCH + Duration::from(time)),
        _ => None,
    });
    let age = received.and_then(|received| SystemTime::now().duration_since(received).ok());
    Ok((message.bytes, age.unwrap_or_default()))
}
