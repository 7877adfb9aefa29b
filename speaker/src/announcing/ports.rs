//! The sockets of all links: opened, closed, tried again.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use ferrolb_core::announce::{Cover, Link, LinkIndex};

use crate::socket::{Datalink, Port};

/// How long to wait before a socket that could not be opened is tried again.
pub(super) const REOPEN: Duration = Duration::from_secs(1);

/// Whether a socket lives on after this error. A link that goes down says so once, and its socket works
/// again when it comes up; one whose link was deleted is replaced when netlink tells.
pub(super) fn is_passing(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    matches!(code, Some(libc::ENETDOWN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR | libc::EAGAIN))
}

/// Says in words why a socket cannot be opened, and what to do.
fn explain(interface: &str, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => format!(
            "not allowed to open a packet socket on {interface}: the container needs the capability NET_RAW, \
             and a user other than 0 needs it in the image's /ferrolb-speaker too (securityContext runAsUser: 0 does without); \
             trying again each second"
        ),
        _ => format!("cannot open a packet socket on {interface}: {error}; trying again each second"),
    }
}

/// Says in words why datagrams cannot be used, and what to do.
fn explain_datagrams(interface: &str, udp: u16, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => format!(
            "another program has the UDP port {udp} on {interface}, so no hello goes by UDP there: end it, or choose \
             another port for all speakers by --hello-port; trying again each second"
        ),
        _ => format!(
            "cannot open the UDP port {udp} on {interface}, so no hello goes by UDP there: {error}; trying again each \
             second"
        ),
    }
}

/// The sockets, one for each link.
pub(super) struct Ports<D: Datalink> {
    datalink: D,
    /// What the sockets let pass.
    cover: Cover,
    /// With how often the link had come up: a link that went and came back may be another one.
    open: BTreeMap<LinkIndex, (u64, D::Port)>,
    /// When to try again, and what was said of it last.
    failed: BTreeMap<LinkIndex, (Duration, String)>,
    /// The port of datagrams, if they are used.
    udp: Option<u16>,
    /// Links that have a socket but none for datagrams: when to try again, and what was said of it last.
    mute: BTreeMap<LinkIndex, (Duration, String)>,
    /// The link that was last heard.
    pub(super) last: Option<LinkIndex>,
}

impl<D: Datalink> Ports<D> {
    pub(super) fn new(datalink: D, udp: Option<u16>) -> Self {
        Ports {
            datalink,
            cover: Cover::default(),
            open: BTreeMap::new(),
            failed: BTreeMap::new(),
            udp,
            mute: BTreeMap::new(),
            last: None,
        }
    }

    /// Whether frames about this address come in at all: some pool may have it.
    pub(super) fn covers(&self, address: std::net::IpAddr) -> bool {
        self.cover.contains(address)
    }

    /// Lets pass only what concerns `cover`; returns the sockets that cannot, and so are of no use.
    pub(super) fn narrow(&mut self, cover: Cover) -> Vec<(LinkIndex, io::Error)> {
        self.cover = cover;
        let narrowed = self.open.iter_mut().map(|(link, (_, port))| (*link, port.narrow(&self.cover)));
        narrowed.filter_map(|(link, result)| Some((link, result.err()?))).collect()
    }

    /// Opens what is missing and closes what is not needed.
    pub(super) fn reconcile(&mut self, links: &BTreeMap<LinkIndex, Link>, now: Duration) {
        self.open.retain(|index, (ups, _)| links.get(index).is_some_and(|link| link.ups == *ups));
        self.failed.retain(|index, _| links.contains_key(index));
        for (index, link) in links {
            if self.open.contains_key(index) {
                continue;
            }
            match self.datalink.open(*index, &self.cover) {
                Ok(port) => {
                    self.open.insert(*index, (link.ups, port));
                    self.mute.insert(*index, (now, String::new()));
                    if self.failed.remove(index).is_some() {
                        tracing::info!(interface = link.name, "socket opened");
                    }
                }
                Err(error) => {
                    let text = explain(&link.name, &error);
                    let told = self.failed.insert(*index, (now + REOPEN, text.clone()));
                    if told.is_none_or(|(_, told)| told != text) {
                        tracing::error!("{text}");
                    }
                }
            }
        }
        self.open_datagrams(links, now);
    }

    /// Opens what is missing for datagrams, where it is time to. Without, frames go on.
    fn open_datagrams(&mut self, links: &BTreeMap<LinkIndex, Link>, now: Duration) {
        let Ports { open, mute, udp, .. } = self;
        let Some(udp) = udp else { return mute.clear() };
        mute.retain(|index, (again, told)| {
            let (Some((_, port)), Some(link)) = (open.get_mut(index), links.get(index)) else { return false };
            if *again > now {
                return true;
            }
            let Err(error) = port.open_datagrams(&link.name, *udp) else {
                if !told.is_empty() {
                    tracing::info!(interface = link.name, port = udp, "UDP port opened");
                }
                return false;
            };
            let text = explain_datagrams(&link.name, *udp, &error);
            if *told != text {
                tracing::warn!("{text}");
            }
            (*again, *told) = (now + REOPEN, text);
            true
        });
    }

    /// No datagrams on a link any more, until the socket for them is opened again.
    pub(super) fn close_datagrams(&mut self, link: LinkIndex, now: Duration) {
        if let Some((_, port)) = self.open.get_mut(&link) {
            port.close_datagrams();
            self.mute.insert(link, (now + REOPEN, String::new()));
        }
    }

    /// Closes one, to be opened again soon.
    pub(super) fn close(&mut self, link: LinkIndex, now: Duration) {
        self.open.remove(&link);
        self.failed.entry(link).or_insert((now + REOPEN, String::new()));
    }

    /// The links that have a socket: on others nothing is announced.
    pub(super) fn usable(&self, links: &BTreeMap<LinkIndex, Link>) -> BTreeMap<LinkIndex, Link> {
        let open = links.iter().filter(|(index, _)| self.open.contains_key(index));
        open.map(|(index, link)| (*index, link.clone())).collect()
    }

    /// When a socket that is missing is to be tried again.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.failed.values().chain(self.mute.values()).map(|(at, _)| *at).min()
    }

    pub(super) fn send(&self, link: LinkIndex, frame: &[u8]) -> io::Result<()> {
        let (_, port) = self.open.get(&link).ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        port.send(frame)
    }

    /// `NotConnected` where there is no socket for datagrams.
    pub(super) fn send_datagram(&self, link: LinkIndex, to: IpAddr, payload: &[u8]) -> io::Result<()> {
        let (_, port) = self.open.get(&link).ok_or(io::ErrorKind::NotConnected)?;
        port.send_datagram(to, payload)
    }

    /// Throws away all that was received and not read.
    pub(super) fn drain(&self) {
        self.open.values().for_each(|(_, port)| port.drain());
    }

    pub(super) fn join(&mut self, link: LinkIndex, group: Ipv6Addr) -> io::Result<()> {
        self.open.get_mut(&link).map_or(Ok(()), |(_, port)| port.join(group))
    }

    pub(super) fn leave(&mut self, link: LinkIndex, group: Ipv6Addr) {
        if let Some((_, port)) = self.open.get_mut(&link) {
            port.leave(group);
        }
    }

    /// Whether a link has no socket.
    pub(super) fn is_failing(&self) -> bool {
        !self.failed.is_empty()
    }

    /// All sockets.
    pub(super) fn iter(&self) -> impl Iterator<Item = (LinkIndex, &D::Port)> {
        self.open.iter().map(|(index, (_, port))| (*index, port))
    }

    /// All sockets, beginning with the one after the last that was heard.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = (LinkIndex, &D::Port)> {
        let after = |index: &LinkIndex| self.last.is_some_and(|last| *index > last);
        let later = self.open.iter().filter(move |(index, _)| after(index));
        let earlier = self.open.iter().filter(move |(index, _)| !after(index));
        later.chain(earlier).map(|(index, (_, port))| (*index, port))
    }
}
