//! What all moments of a search have in common.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use ferrolb_core::election::{Contest, Node as ApiNode, Roster};
use ferrolb_core::hello_key::{Key, Keys};
use ferrolb_core::wire::{Mac, arp};

use crate::world::{ADDRESSES, NODES, SEGMENTS};

const CLIENT: Mac = Mac([2, 0, 0, 0, 0xff, 1]);

pub(crate) fn address(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 0, n as u8 + 1)
}

pub(crate) fn mac(node: usize, segment: usize) -> Mac {
    Mac([2, 0, 0, 0, segment as u8, node as u8])
}

pub(crate) fn ip(node: usize, segment: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, segment as u8, 0, node as u8 + 1)
}

/// What the API says, before and after a change: of each address, the nodes in order.
pub(crate) const ORDERS: [[[usize; NODES]; ADDRESSES]; 2] = [[[0, 1, 2], [1, 2, 0]], [[2, 0, 1], [1, 2, 0]]];

/// What is wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// A stopped speaker does not notice: its clock stands still meanwhile.
    NoPause,
    /// Nobody's claims arrive.
    NoClaims,
    /// Kernels do not answer whether they are there, so that nobody stands in.
    MuteKernels,
    /// Who stands in answers with its own Ethernet address.
    OwnMac,
    /// Who gives an address up goes on answering for it.
    NoEnd,
}

/// What all moments of a search have in common.
pub(crate) struct Setting {
    pub(crate) segments: usize,
    pub(crate) flaw: Option<Flaw>,
    /// After so long a speaker knows that it does not get the API's news.
    pub(crate) stale_after: Duration,
    pub(crate) keys: Arc<Keys>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) contests: [[Arc<Contest>; ADDRESSES]; 2],
    /// The client's question for each address, to each machine.
    pub(crate) questions: [[[Vec<u8>; ADDRESSES]; NODES]; SEGMENTS],
}

impl Setting {
    pub(crate) fn new(segments: usize, flaw: Option<Flaw>, stale_after: Duration) -> Self {
        let node = |n| ApiNode {
            name: format!("node{n}"),
            ready: true,
            network_available: true,
            ..ApiNode::default()
        };
        let roster = Roster::default().follow(&(0..NODES).map(node).collect::<Vec<_>>());
        let id = |n: &usize| roster.id(&format!("node{n}")).unwrap();
        let contest = |order: [usize; NODES]| Arc::new(Contest::among(order.iter().map(id), Vec::new()));
        let contests = ORDERS.map(|version| version.map(contest));
        let question = |segment: usize, node: usize, of: usize| {
            let asks = arp::request(CLIENT, Ipv4Addr::new(10, segment as u8, 0, 250), address(of));
            arp::Packet { destination: mac(node, segment), ..asks }.build()
        };
        let questions = std::array::from_fn(|segment| {
            std::array::from_fn(|node| std::array::from_fn(|of| question(segment, node, of)))
        });
        let keys = Arc::new(Keys::new(Key::new([7; 32]), []).unwrap());
        Setting { segments, flaw, stale_after, keys, roster: Arc::new(roster), contests, questions }
    }
}
