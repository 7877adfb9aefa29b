//! What the API says of one address: who may answer for it, in which order, and where.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::outcome::Claim;
use super::{Holder, Interfaces, Node, interfaces, order};
use crate::few::Few;

/// A node's number, in place of its name: thousands of addresses name each node. Given by the [`Elector`](super::Elector), the same
/// as long as the node is there; other speakers number them otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u16);

/// What the API says of a node itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// Whether the condition `Ready` is `True`.
    pub ready: bool,
    /// Whether its speaker says that traffic would end there; see [`Node::unfit`].
    pub unfit: bool,
    /// Whether there is a speaker on it; see [`Node::speaker`].
    pub speaker: bool,
    /// Whether its speaker has no key for hellos yet; see [`Node::keyless`].
    pub keyless: bool,
    /// Its addresses; see [`Node::addresses`].
    pub addresses: Box<[IpAddr]>,
}

/// The nodes by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Roster {
    ids: BTreeMap<Arc<str>, NodeId>,
    members: BTreeMap<NodeId, Member>,
}

impl Roster {
    /// The same nodes with what is known of them now: who stays keeps its number, who comes gets the lowest that is
    /// free. More nodes than numbers (65,536) are left out, the last in alphabetical order.
    #[must_use]
    pub fn follow(&self, nodes: &[Node]) -> Self {
        let mut next = Roster::default();
        let ordered: BTreeMap<&str, &Node> = nodes.iter().map(|node| (node.name.as_str(), node)).collect();
        let mut put = |name: Arc<str>, id: NodeId, node: &Node| {
            let member = Member {
                name: name.clone(),
                ready: node.ready,
                unfit: node.unfit,
                speaker: node.speaker,
                keyless: node.keyless,
                addresses: node.addresses.as_slice().into(),
            };
            next.members.insert(id, member);
            next.ids.insert(name, id);
        };
        for (name, id) in &self.ids {
            if let Some(node) = ordered.get(&**name) {
                put(name.clone(), *id, node);
            }
        }
        let mut free = (0..=u16::MAX).map(NodeId).filter(|id| !self.members.contains_key(id));
        for (name, node) in ordered.iter().filter(|(name, _)| !self.ids.contains_key(**name)) {
            // A number that is freed now may still be meant by what is under way, so it is given later.
            let Some(id) = free.next() else { break };
            put((*name).into(), id, node);
        }
        next
    }

    /// The number of the node of this name.
    pub fn id(&self, name: &str) -> Option<NodeId> {
        self.ids.get(name).copied()
    }

    /// What is known of it.
    pub fn get(&self, id: NodeId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// Whether contests are settled the same with either: speakers that can be heard and addresses are not part of that.
    pub fn settles_as(&self, other: &Roster) -> bool {
        let health = |roster: &Self| {
            let members = roster.members.iter();
            members.map(|(id, m)| (*id, m.ready, m.unfit, m.keyless)).collect::<Vec<_>>()
        };
        self.ids == other.ids && health(self) == health(other)
    }

    /// All nodes, by number.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        self.members.iter().map(|(id, member)| (*id, member))
    }
}

/// The nodes that may answer, best first: those of a small cluster without a piece of memory of their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Order {
    /// So many of these; the rest are 0.
    Short(u8, [NodeId; SHORT]),
    /// More than that.
    Long(Box<Box<[NodeId]>>),
}

/// So many fit beside two pointers' room, less what tells how many there are.
const SHORT: usize = 7;

impl FromIterator<NodeId> for Order {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        let nodes: Vec<NodeId> = nodes.into_iter().collect();
        let mut short = [NodeId(0); SHORT];
        match short.get_mut(..nodes.len()) {
            Some(those) => {
                those.copy_from_slice(&nodes);
                Order::Short(nodes.len() as u8, short)
            }
            None => Order::Long(Box::new(nodes.into())),
        }
    }
}

impl Order {
    fn as_slice(&self) -> &[NodeId] {
        match self {
            Order::Short(many, nodes) => &nodes[..usize::from(*many)],
            Order::Long(nodes) => nodes,
        }
    }
}

/// The links on which each of the nodes may announce.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Places {
    /// The same for all.
    Alike(Interfaces),
    /// In the order of the nodes.
    Each(Box<[Interfaces]>),
}

static ALL: Interfaces = Interfaces::All;

impl Places {
    fn alike(interfaces: Interfaces) -> Option<Box<Self>> {
        (interfaces != Interfaces::All).then(|| Box::new(Places::Alike(interfaces)))
    }
}

/// Who may answer for an address, by the API alone; there is at least one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Contest {
    order: Order,
    /// `None` for all links of each node: so it is nearly always.
    places: Option<Box<Places>>,
    /// Whether the service proxy of this very node may not serve the address yet; see
    /// [`Elector::set_pending`](super::Elector::set_pending). What speakers elsewhere see differs in this.
    pending: bool,
    /// The Services that have the address, ascending: one, or those that share it.
    pub services: Few<Holder>,
}

impl Contest {
    /// Of the Services that have the address, the oldest one's order decides, then its name.
    ///
    /// Services that share an address come to the same order, because they share the address that is hashed. Where they
    /// do not (they are advertised differently, say), two nodes that answer for one address would be worse than either.
    pub(super) fn of(claims: &[Claim<'_>], roster: &Roster) -> Option<Self> {
        let decisive = claims.iter().min_by_key(|claim| (claim.created, claim.key))?;
        let nodes = order(&decisive.nodes, &decisive.advertisements, decisive.first);
        let (mut ids, mut places) = (Vec::new(), Vec::new());
        for node in nodes {
            let all = claims.iter().filter_map(|claim| interfaces(node, &claim.advertisements));
            if let (Some(id), Some(names)) = (roster.id(&node.name), all.reduce(Interfaces::union)) {
                ids.push(id);
                places.push(names);
            }
        }
        let alike = places.windows(2).all(|pair| pair[0] == pair[1]);
        let places = match places.first()? {
            first if alike => Places::alike(first.clone()),
            _ => Some(Box::new(Places::Each(places.into()))),
        };
        let holder = |claim: &Claim<'_>| Holder { key: claim.key.clone(), uid: claim.uid.clone() };
        let mut services: Vec<Holder> = claims.iter().map(holder).collect();
        services.sort();
        let pending = claims.iter().any(|claim| claim.pending);
        Some(Contest { order: ids.into_iter().collect(), places, pending, services: services.into() })
    }

    /// These nodes in this order, on all links.
    pub fn among(order: impl IntoIterator<Item = NodeId>, services: Vec<Holder>) -> Self {
        Contest {
            order: order.into_iter().collect(),
            places: None,
            pending: false,
            services: services.into(),
        }
    }

    /// The same, on these links only.
    #[must_use]
    pub fn on(self, interfaces: Interfaces) -> Self {
        Contest { places: Places::alike(interfaces), ..self }
    }

    /// One for tests and simulations: these nodes in this order, each on these links.
    pub fn limited(order: impl IntoIterator<Item = (NodeId, Interfaces)>, services: Vec<Holder>) -> Self {
        let (order, each): (Vec<NodeId>, Vec<Interfaces>) = order.into_iter().unzip();
        let places = Some(Box::new(Places::Each(each.into())));
        Contest { order: order.into_iter().collect(), places, pending: false, services: services.into() }
    }

    /// One for tests and simulations: the same, of a node whose service proxy may not serve the address yet, or does.
    #[must_use]
    pub fn pending(self, pending: bool) -> Self {
        Contest { pending, ..self }
    }

    /// Whether the service proxy of this very node may not serve the address yet.
    pub fn is_pending(&self) -> bool {
        self.pending
    }

    /// The nodes, best first: MetalLB's order.
    pub fn order(&self) -> &[NodeId] {
        self.order.as_slice()
    }

    /// The links on which the node at this place of the order may announce.
    pub fn interfaces(&self, place: usize) -> &Interfaces {
        match self.places.as_deref() {
            None => &ALL,
            Some(Places::Alike(names)) => names,
            Some(Places::Each(each)) => &each[place],
        }
    }

    /// The links on which this node may announce; `None` for a node that may not.
    pub fn interfaces_of(&self, node: NodeId) -> Option<&Interfaces> {
        let place = self.order().iter().position(|id| *id == node)?;
        Some(self.interfaces(place))
    }

    /// Whether the advertisements name interfaces, for any node.
    pub fn is_limited(&self) -> bool {
        self.places.is_some()
    }

    /// The owner where the API is the only witness of a node's health.
    ///
    /// Steps, in the order of the lines below:
    /// 1. nodes that are `Ready` count; where none of them is, readiness tells nothing about which of them works, and
    ///    all count;
    /// 2. nodes whose speakers say that traffic would end there come last;
    /// 3. then the order decides.
    pub fn owner_by_api(&self, roster: &Roster) -> Option<NodeId> {
        let members = || self.order().iter().filter_map(|id| Some((*id, roster.get(*id)?)));
        let any_ready = members().any(|(_, member)| member.ready);
        let counting = members().filter(|(_, member)| member.ready || !any_ready);
        counting.min_by_key(|(_, member)| member.unfit).map(|(id, _)| id)
    }
}
