//! Multicast groups, joined by ordinary sockets.
//!
//! A packet socket can open the network card's filter for a group, but says nothing to switches. An `IPV6_ADD_MEMBERSHIP`
//! (RFC 3493 section 5.2) makes the kernel send MLD reports (RFC 3810), without which a switch that snoops
//! delivers no solicitation.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv6Addr;

use ferrolb_core::announce::LinkIndex;
use socket2::{Domain, Protocol, Socket, Type};

/// The groups of one link.
#[derive(Debug)]
pub(super) struct Groups {
    link: LinkIndex,
    /// A socket holds a limited number of memberships (`net.core.optmem_max`), so there may be several.
    sockets: Vec<Socket>,
    /// Each group's socket.
    joined: BTreeMap<Ipv6Addr, usize>,
}

impl Groups {
    pub(super) fn new(link: LinkIndex) -> Self {
        Groups { link, sockets: Vec::new(), joined: BTreeMap::new() }
    }

    pub(super) fn join(&mut self, group: Ipv6Addr) -> io::Result<()> {
        // The kernel may have forgotten: it does when IPv6 on the link ends. Then the old one is given up.
        self.leave(group);
        if let Some(last) = self.sockets.last() {
            match last.join_multicast_v6(&group, self.link.0) {
                Ok(()) => {
                    self.joined.insert(group, self.sockets.len() - 1);
                    return Ok(());
                }
                Err(error) if is_full(&error) => {}
                Err(error) => return Err(error),
            }
        }
        // Never bound to a port, so it receives nothing itself.
        let socket = Socket::new(Domain::IPV6, Type::DGRAM.cloexec(), Some(Protocol::UDP))?;
        socket.join_multicast_v6(&group, self.link.0)?;
        self.sockets.push(socket);
        self.joined.insert(group, self.sockets.len() - 1);
        Ok(())
    }

    pub(super) fn leave(&mut self, group: Ipv6Addr) {
        if let Some(socket) = self.joined.remove(&group).and_then(|index| self.sockets.get(index)) {
            // An error says that the kernel has left it already.
            let _ = socket.leave_multicast_v6(&group, self.link.0);
        }
        if self.joined.is_empty() {
            self.sockets.clear();
        }
    }
}

/// Whether the socket has no room for another membership.
fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM))
}
