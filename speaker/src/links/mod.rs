//! The links that can be announced on, kept equal to what the kernel has.
//!
//! The kernel's events are only a signal to look again: after each burst of them all links are listed, and
//! what differs is passed on. So nothing is lost when events are (an overrun), and a minute's silence ends
//! with a look as well. What a list cannot show is a link that went and came back between two looks; the
//! kernel's count of carrier changes shows that, and each event that reports a link as gone is counted.
//!
//! Two connections are needed: the answer to a request on the connection that listens would be taken for
//! the request's, and never be reported as an event.

mod exclude;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ferrolb_core::announce::{Link, LinkIndex};
use ferrolb_core::wire::Mac;
use ferrolb_core::wire::hello::MOST_ADDRESSES;
use futures::{StreamExt, TryStreamExt};
use ipnet::IpNet;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use rtnetlink::{MulticastGroup, new_connection, new_multicast_connection};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

pub use exclude::{DEFAULT as DEFAULT_EXCLUDED, Excluded, ExcludedError};

/// How long without any event before the links are listed again.
const RESYNC: Duration = Duration::from_secs(60);
/// How long to wait before netlink is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long a list may take. After an overrun its end may never be told.
const LIST: Duration = Duration::from_secs(5);

/// What a link that frames can leave by is: administratively up, with carrier, and running. The last
/// comes after the second: for up to a second after the carrier the kernel may still throw away, without a
/// word, what is sent.
const UP: LinkFlags = LinkFlags::Up.union(LinkFlags::LowerUp).union(LinkFlags::Running);

/// The links that can be announced on; `None` until they were first listed.
pub type Links = Option<BTreeMap<LinkIndex, Link>>;

/// Why the links are not known.
#[derive(Debug, thiserror::Error)]
enum LinksError {
    #[error("cannot open a netlink socket: {0}")]
    Open(#[from] std::io::Error),
    #[error("cannot list the interfaces: {0}")]
    List(#[from] rtnetlink::Error),
    #[error("the kernel did not finish listing the interfaces within {} s", LIST.as_secs())]
    Late,
    #[error("a netlink socket was closed")]
    Closed,
}

/// Follows the links until `shutdown`, and sends each change to `links`.
pub async fn follow(
    excluded: Excluded,
    links: watch::Sender<Links>,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let mut downs = Downs::default();
    let mut failing = false;
    loop {
        let following = follow_once(&excluded, &links, &metrics, &mut downs, &mut failing);
        let Some(Err(error)) = shutdown.run_until_cancelled(following).await else { return };
        if !std::mem::replace(&mut failing, true) {
            tracing::warn!("{error}; trying again each second");
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(RETRY)).await.is_none() {
            return;
        }
    }
}

async fn follow_once(
    excluded: &Excluded,
    links: &watch::Sender<Links>,
    metrics: &Metrics,
    downs: &mut Downs,
    failing: &mut bool,
) -> Result<(), LinksError> {
    // Events first, then the list: what changes in between is then an event that waits.
    let (connection, _handle, mut events) = new_multicast_connection(&[
        MulticastGroup::Link,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
    ])?;
    let _events = Task(tokio::spawn(connection));
    let (connection, handle, _) = new_connection()?;
    let broken = CancellationToken::new();
    let _requests = Task(tokio::spawn(drive(connection, broken.clone())));
    loop {
        let list = async {
            let messages: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
            let addresses: Vec<AddressMessage> = handle.address().get().execute().try_collect().await?;
            Ok::<_, rtnetlink::Error>((messages, addresses))
        };
        let (messages, addresses) =
            tokio::time::timeout(LIST, list).await.map_err(|_| LinksError::Late)??;
        if broken.is_cancelled() {
            // The list broke off with its connection: what is missing from it may well be there.
            return Err(LinksError::Closed);
        }
        let addresses = by_link(&addresses);
        let usable = messages.iter().filter_map(|message| usable(message, excluded, &addresses));
        let usable: BTreeMap<_, _> = usable.map(|(index, link)| (index, downs.add_to(index, link))).collect();
        if std::mem::take(failing) {
            tracing::info!("following the interfaces again");
        }
        links.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&usable);
            if changed {
                tell(known.as_ref(), &usable);
                *known = Some(usable);
            }
            changed
        });

        let Ok(event) = tokio::time::timeout(RESYNC, events.next()).await else { continue };
        let (event, _) = event.ok_or(LinksError::Closed)?;
        let mut note = |payload: &NetlinkPayload<RouteNetlinkMessage>| {
            if matches!(payload, NetlinkPayload::Overrun(_)) {
                metrics.netlink_overrun();
            }
            downs.count(payload, excluded);
        };
        note(&event.payload);
        // One look does for all events that are there by now.
        while let Ok((event, _)) = events.try_recv() {
            note(&event.payload);
        }
    }
}

/// Runs a connection, and cancels `broken` when it ends: before it is dropped, which is what ends the answers
/// to its requests. Whoever sees an answer end can then tell whether that was all of it; whether the task
/// has finished would be known too late.
async fn drive(connection: impl Future<Output = ()>, broken: CancellationToken) {
    let mut connection = std::pin::pin!(connection);
    // Locals are dropped in reverse order, in a panic as well.
    let _broken = broken.drop_guard();
    connection.as_mut().await;
}

/// A spawned task that ends with its owner.
struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How often each link was reported as gone or down. A vanished index stays known: it may be given again.
#[derive(Debug, Default)]
struct Downs(BTreeMap<LinkIndex, u64>);

impl Downs {
    fn count(&mut self, event: &NetlinkPayload<RouteNetlinkMessage>, excluded: &Excluded) {
        // Not all events carry all attributes (those of a radio do not), but the flags are always there.
        let gone = match event {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(message)) => message,
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(message))
                if !message.header.flags.contains(UP) =>
            {
                message
            }
            _ => return,
        };
        // Interfaces of containers come and go by the thousand; those do not matter.
        if name(gone).is_some_and(|name| !excluded.contains(name)) {
            *self.0.entry(LinkIndex(gone.header.index)).or_default() += 1;
        }
    }

    fn add_to(&self, index: LinkIndex, link: Link) -> Link {
        Link { ups: link.ups + self.0.get(&index).copied().unwrap_or_default(), ..link }
    }
}

/// The link that a netlink message describes, when it can be announced on: administratively up, with
/// carrier and running, Ethernet with broadcast and ARP, part of no bond or bridge, and not excluded by name.
///
/// `ups` is the kernel's own count of how often the carrier came.
fn usable(message: &LinkMessage, excluded: &Excluded, own: &BTreeMap<u32, Own>) -> Option<(LinkIndex, Link)> {
    let flags = message.header.flags;
    let able = flags.contains(UP | LinkFlags::Broadcast)
        && !flags.contains(LinkFlags::Noarp)
        && message.header.link_layer_type == LinkLayerType::Ether;
    let name = name(message).filter(|name| able && !excluded.contains(name))?;
    let (mut mac, mut ups) = (None, 0);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Controller(_) => return None,
            LinkAttribute::Address(bytes) => mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac),
            LinkAttribute::CarrierUpCount(count) => ups = u64::from(*count),
            _ => {}
        }
    }
    let mac = mac.filter(|mac| mac.is_station())?;
    let index = message.header.index;
    let Own { addresses, networks } = own.get(&index).cloned().unwrap_or_default();
    // A link-local address says that neighbour discovery takes place there (RFC 4861 section 4).
    let ipv6 = addresses.iter().any(is_link_local);
    let (addresses, networks) = (addresses.into(), networks.into());
    Some((LinkIndex(index), Link { name: name.to_owned(), mac, ups, ipv6, addresses, networks }))
}

/// What is the node's own on a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Own {
    addresses: Vec<IpAddr>,
    /// The networks that these are of.
    networks: Vec<IpNet>,
}

/// The most networks that are kept of a link.
const MOST_NETWORKS: usize = 64;

/// The node's own addresses on each link with all their networks; of the addresses at most [`MOST_ADDRESSES`]: one of IPv4, the link-local one of IPv6, then more.
/// Those that are still being probed or were found taken are nobody's (RFC 4862 section 5.4).
fn by_link(messages: &[AddressMessage]) -> BTreeMap<u32, Own> {
    let mut links: BTreeMap<u32, Own> = BTreeMap::new();
    for message in messages {
        let of = |attribute: &AddressAttribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        };
        // On Ethernet the local address and the address are the same.
        let Some(address) = message.attributes.iter().find_map(of) else { continue };
        let own = links.entry(message.header.index).or_default();
        own.addresses.push(address);
        // Behind an address that is a network of its own there is nobody else.
        let network = IpNet::new(address, message.header.prefix_len).ok().map(|network| network.trunc());
        own.networks.extend(network.filter(|network| network.prefix_len() < network.max_prefix_len()));
    }
    for Own { addresses, networks } in links.values_mut() {
        networks.sort();
        networks.dedup();
        networks.truncate(MOST_NETWORKS);
        addresses.sort_by_key(|address| (address.is_ipv6() && !is_link_local(address), *address));
        addresses.dedup();
        let first = addresses.iter().position(IpAddr::is_ipv4);
        let six = addresses.iter().position(is_link_local);
        let front: Vec<IpAddr> = first.into_iter().chain(six).map(|at| addresses[at]).collect();
        addresses.retain(|address| !front.contains(address));
        addresses.splice(0..0, front);
        addresses.truncate(MOST_ADDRESSES);
    }
    links
}

fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(six) if six.is_unicast_link_local())
}

fn name(message: &LinkMessage) -> Option<&str> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

/// Says in the log what is different now.
fn tell(known: Option<&BTreeMap<LinkIndex, Link>>, usable: &BTreeMap<LinkIndex, Link>) {
    let names = |links: &BTreeMap<LinkIndex, Link>| {
        links.values().map(|link| format!("{} ({})", link.name, link.mac)).collect::<Vec<_>>().join(", ")
    };
    if usable.is_empty() {
        tracing::warn!(
            "no interface can be announced on: none is up, with carrier, Ethernet, outside a bridge or \
             bond, and not named by --exclude-interfaces"
        );
    } else if known.map(names) != Some(names(usable)) {
        tracing::info!(interfaces = names(usable), "interfaces to announce on");
    }
}

#[cfg(test)]
mod tests;
