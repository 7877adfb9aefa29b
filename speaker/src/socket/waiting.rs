//! A packet socket whose frames wait until they are asked for: nobody is woken by them.

use std::io;

use ferrolb_core::announce::LinkIndex;
use socket2::Socket;

use super::packet::{self, MOST_WAITING};
use super::{Received, dated};

/// Keeps frames of one ethertype on one link, each with the time at which the kernel received it.
#[derive(Debug)]
pub(super) struct WaitingSocket {
    socket: Socket,
}

impl WaitingSocket {
    pub(super) fn open(link: LinkIndex, ethertype: i32, filter: &[libc::sock_filter]) -> io::Result<Self> {
        let socket = packet::bound(link, ethertype, filter)?;
        dated::begin(&socket)?;
        Ok(WaitingSocket { socket })
    }

    /// Reads one frame, if there is one: its length, cut to the buffer's, and how long ago it came.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        match dated::read(&self.socket, buffer) {
            Ok(received) => Ok(Some(received)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
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
