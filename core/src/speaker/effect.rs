//! What a speaker asks its caller to do.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::announce::LinkIndex;
use crate::peers::Transport;
use crate::wire::Mac;

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a frame on a link.
    Send {
        /// The link.
        link: LinkIndex,
        /// The whole Ethernet frame.
        frame: Vec<u8>,
        /// What it is.
        what: Sent,
    },
    /// Send a datagram from a link to a node on it, in one hop.
    Datagram {
        /// The link.
        link: LinkIndex,
        /// The node's address there.
        to: IpAddr,
        /// The payload.
        payload: Arc<[u8]>,
        /// What it is.
        what: Sent,
    },
    /// A peer is heard by another way than before; at first it is taken to be Ethernet.
    Transport {
        /// The link.
        link: LinkIndex,
        /// The peer's node.
        node: Arc<str>,
        /// The name of its link there.
        interface: Box<str>,
        /// The way.
        by: Transport,
    },
    /// Listen to a solicited-node group; harmless where that is done already.
    Join(LinkIndex, std::net::Ipv6Addr),
    /// No longer listen to it.
    Leave(LinkIndex, std::net::Ipv6Addr),
    /// The links on which `address` is answered for as our own have changed.
    Announcing {
        /// The address.
        address: IpAddr,
        /// All its links now.
        links: BTreeSet<LinkIndex>,
    },
    /// Another host has an address of ours on a link; or none has it any more, or it is not ours any more, or the link
    /// is gone.
    Conflict {
        /// The link.
        link: LinkIndex,
        /// The address.
        address: IpAddr,
        /// The other host.
        mac: Option<Mac>,
    },
    /// Throw away all frames that have been received and not handled.
    Drain,
    /// Find out whether what is known from the API server is what it says now, and tell by [`Speaker::set_stale`](super::Speaker::set_stale).
    CheckView,
    /// Ask a node's service proxy whether it is healthy (`/healthz`), and tell by [`Speaker::proxy_failed`](super::Speaker::proxy_failed) if it is not.
    AskProxy {
        /// The node.
        node: Arc<str>,
        /// One of its addresses.
        address: IpAddr,
    },
}

/// What a frame is sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// To announce an address.
    Announcement(IpAddr),
    /// A hello, or an answer by one.
    Hello,
    /// A question to a peer or to its kernel.
    Question,
    /// What we claim.
    Claims,
    /// To find out whether somebody else has an address.
    Probe,
    /// To a client: an address moved, has it learned that?
    Confirmation,
}
