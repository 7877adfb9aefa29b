//! Two hosts and a cable between them, made of network namespaces that vanish with their threads.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use ferrolb_core::announce::{Cover, LinkIndex};
use ferrolb_core::wire::Mac;
use ferrolb_core::wire::arp::Packet;
use ferrolb_speaker::socket::{Datalink, LinkSocket, PacketSockets, Port};
use futures::TryStreamExt;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth};
use socket2::{Domain, Protocol, Socket, Type};

/// How long anything may take that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) const NODE: Mac = Mac([0x02, 0, 0, 0, 0, 0x01]);
pub(crate) const CLIENT: Mac = Mac([0x02, 0, 0, 0, 0, 0x99]);

/// Puts the calling thread into a network namespace of its own. `None`, with a loud line, without the
/// right to do so; where everything must run (`CI=true`) that is a failure.
pub(crate) fn enter_namespace() -> Option<()> {
    match nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
        Ok(()) => Some(()),
        Err(error) => {
            let why =
                format!("cannot make a network namespace ({error}): run as root, or under `unshare -Urn`");
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
            eprintln!("\n*** SKIPPED: {why} ***\n");
            None
        }
    }
}

pub(crate) fn this_namespace() -> File {
    File::open("/proc/thread-self/ns/net").expect("every thread is in a namespace")
}

/// Runs `body` on a runtime that stays on this thread, and so in its namespace.
pub(crate) fn on_this_thread<F: Future>(body: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, body)
}

/// A netlink connection of this thread's namespace.
pub(crate) fn netlink() -> Handle {
    let (connection, handle, _) = rtnetlink::new_connection().unwrap();
    tokio::spawn(connection);
    handle
}

/// Makes the cable: `lan` here, with the node's MAC, and `out` in `other`, with the client's.
pub(crate) async fn plug(handle: &Handle, other: &File) -> LinkIndex {
    handle.link().add(LinkVeth::new("lan", "out").build()).execute().await.unwrap();
    let (lan, out) = (find(handle, "lan").await, find(handle, "out").await);
    change(handle, lan, |link| link.address(NODE.0.into())).await;
    change(handle, out, |link| link.address(CLIENT.0.into()).setns_by_fd(other.as_raw_fd())).await;
    change(handle, lan, LinkMessageBuilder::up).await;
    lan
}

pub(crate) async fn change(
    handle: &Handle,
    link: LinkIndex,
    how: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
) {
    let message = how(LinkUnspec::new_with_index(link.0)).build();
    handle.link().change(message).execute().await.unwrap();
}

pub(crate) async fn find(handle: &Handle, name: &str) -> LinkIndex {
    let found: Vec<LinkMessage> =
        handle.link().get().match_name(name.to_owned()).execute().try_collect().await.unwrap();
    LinkIndex(found[0].header.index)
}

/// What the kernel of this namespace holds for the MAC of `address`.
pub(crate) async fn neighbour(handle: &Handle, address: IpAddr) -> Option<Mac> {
    let wanted = match address {
        IpAddr::V4(four) => NeighbourAddress::Inet(four),
        IpAddr::V6(six) => NeighbourAddress::Inet6(six),
    };
    let all: Vec<_> = handle.neighbours().get().execute().try_collect().await.unwrap();
    let entry = all
        .into_iter()
        .find(|entry| entry.attributes.contains(&NeighbourAttribute::Destination(wanted.clone())))?;
    entry.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => Some(Mac(<[u8; 6]>::try_from(bytes.as_slice()).ok()?)),
        _ => None,
    })
}

/// Whether the kernel of this namespace found `address`, which is its own, with another host.
pub(crate) async fn duplicate(handle: &Handle, address: Ipv6Addr) -> bool {
    let all: Vec<AddressMessage> = handle.address().get().execute().try_collect().await.unwrap();
    let found = |attribute: &AddressAttribute| matches!(attribute, AddressAttribute::Flags(flags) if flags.contains(AddressFlags::Dadfailed));
    all.iter().any(|message| {
        message.attributes.contains(&AddressAttribute::Address(address.into()))
            && message.attributes.iter().any(found)
    })
}

/// Takes an address from this namespace.
pub(crate) async fn remove(handle: &Handle, address: Ipv6Addr) {
    let all: Vec<AddressMessage> = handle.address().get().execute().try_collect().await.unwrap();
    let is =
        |message: &AddressMessage| message.attributes.contains(&AddressAttribute::Address(address.into()));
    for message in all.into_iter().filter(is) {
        handle.address().del(message).execute().await.unwrap();
    }
}

/// A socket that receives every frame of this namespace.
pub(crate) fn everything() -> Socket {
    let every = Protocol::from(i32::from((libc::ETH_P_ALL as u16).to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(every)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Sees every frame of its namespace and sends any.
pub(crate) struct Tap {
    receiver: Socket,
    sender: LinkSocket,
}

impl Tap {
    /// A tap on `link`, the only one of this namespace that carries anything.
    pub(crate) fn on(link: LinkIndex) -> Tap {
        let receiver = everything();
        receiver.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        Tap { receiver, sender: PacketSockets.open(link, &Cover::default()).unwrap() }
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        self.sender.send(frame).unwrap();
    }

    /// The next ARP packet that `wanted` accepts. Panics with all that was seen when none comes.
    pub(crate) fn expect(&self, what: &str, wanted: impl Fn(&Packet) -> bool) -> Packet {
        let (deadline, mut seen) = (Instant::now() + PATIENCE, Vec::new());
        while Instant::now() < deadline {
            if let Some(packet) = self.next() {
                if wanted(&packet) {
                    return packet;
                }
                seen.push(packet);
            }
        }
        panic!("{what}: not seen in {PATIENCE:?}, but {seen:#?}");
    }

    /// Asks as a client does, again and again (its own end of the cable may have come up just now, and then
    /// drops what it sends), until an answer comes.
    pub(crate) fn ask(&self, request: &Packet) -> Packet {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            self.send(&request.build());
            let again = Instant::now() + Duration::from_millis(100);
            while Instant::now() < again {
                if let Some(answer) = self.next().filter(|packet| packet.destination == request.sender.mac) {
                    return answer;
                }
            }
        }
        panic!("no answer in {PATIENCE:?} to {request:#?}");
    }

    /// All ARP packets from `sender` within `time`.
    pub(crate) fn from(&self, sender: Mac, time: Duration) -> Vec<Packet> {
        let deadline = Instant::now() + time;
        let mut seen = Vec::new();
        while Instant::now() < deadline {
            seen.extend(self.next().filter(|packet| packet.source == sender));
        }
        seen
    }

    fn next(&self) -> Option<Packet> {
        Packet::parse(&self.frame()?).ok()
    }

    fn frame(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 2048];
        let length = (&self.receiver).read(&mut buffer).ok()?;
        buffer.truncate(length);
        Some(buffer)
    }

    /// The first frame of which `wanted` makes something.
    pub(crate) fn find<T>(&self, what: &str, mut wanted: impl FnMut(&[u8]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(found) = self.frame().and_then(|frame| wanted(&frame)) {
                return found;
            }
        }
        panic!("{what}: not seen in {PATIENCE:?}");
    }
}
