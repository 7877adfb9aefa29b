//! Who asked on one link, the latest first, forgotten in the order in which they fell silent.

use std::collections::HashMap;
use std::hash::{BuildHasher, DefaultHasher, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use super::Question;
use crate::wire::Mac;

/// How many clients are remembered on a link. With all of them one link takes about 650 KB; a segment seldom has more than
/// a thousand hosts.
pub const MOST_CLIENTS: usize = 4096;

/// How many addresses are remembered that a client asked for, the latest ones. Whoever asks for more, such as a
/// router, is taken for one that may use any.
pub const MOST_ADDRESSES: usize = 4;

/// No client: the end of the list.
const NONE: u16 = u16::MAX;

/// Hashes with a seed, so that clients cannot choose addresses that fall together.
#[derive(Clone, Debug)]
struct Seeded(u64);

impl BuildHasher for Seeded {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

/// One who asked.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) ip: IpAddr,
    pub(super) mac: Mac,
    pub(super) seen: Duration,
    /// What it asked for, the latest first.
    addresses: [Option<IpAddr>; MOST_ADDRESSES],
    /// Whether it asked for more than these.
    pub(super) many: bool,
    /// Its neighbours in the order of time.
    newer: u16,
    older: u16,
}

impl Client {
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().flatten().copied()
    }

    fn asked(&mut self, question: &Question, now: Duration) {
        (self.mac, self.seen) = (question.mac, now);
        let same = self.addresses.iter().position(|known| *known == Some(question.address));
        let at = same.unwrap_or(MOST_ADDRESSES - 1);
        self.many |= same.is_none() && self.addresses[at].is_some();
        self.addresses[..=at].rotate_right(1);
        self.addresses[0] = Some(question.address);
    }
}

/// A list through the clients in the order of time, and an index into it; both grow with the clients, and no
/// further.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    most: usize,
    /// For questions only: its order means nothing.
    places: HashMap<IpAddr, u16, Seeded>,
    clients: Vec<Client>,
    newest: u16,
    oldest: u16,
}

impl Clients {
    /// Remembers at most `most` clients, [`MOST_CLIENTS`] or fewer.
    pub(super) fn new(seed: u64, most: usize) -> Self {
        let places = HashMap::with_hasher(Seeded(seed));
        Clients { most: most.clamp(1, MOST_CLIENTS), places, clients: Vec::new(), newest: NONE, oldest: NONE }
    }

    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    pub(super) fn mac(&self, client: IpAddr) -> Option<Mac> {
        self.places.get(&client).map(|place| self.clients[usize::from(*place)].mac)
    }

    pub(super) fn heard(&mut self, question: &Question, now: Duration) {
        let place = match self.places.get(&question.client) {
            Some(&place) => {
                self.unlink(place);
                self.clients[usize::from(place)].asked(question, now);
                place
            }
            None => self.add(question, now),
        };
        self.link_newest(place);
    }

    /// All clients, the latest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Client> {
        let first = self.clients.get(usize::from(self.newest));
        std::iter::successors(first, |client| self.clients.get(usize::from(client.older)))
    }

    /// A new client, in a new place or in that of the oldest; not in the list yet.
    fn add(&mut self, question: &Question, now: Duration) -> u16 {
        let mut addresses = [None; MOST_ADDRESSES];
        addresses[0] = Some(question.address);
        let Question { client: ip, mac, .. } = *question;
        let new = Client { ip, mac, seen: now, addresses, many: false, newer: NONE, older: NONE };
        let place = if self.clients.len() == self.most {
            let place = self.oldest;
            self.unlink(place);
            let old = std::mem::replace(&mut self.clients[usize::from(place)], new);
            self.places.remove(&old.ip);
            place
        } else {
            self.clients.push(new);
            // There are at most 4,096.
            (self.clients.len() - 1) as u16
        };
        self.places.insert(ip, place);
        place
    }

    fn unlink(&mut self, place: u16) {
        let Client { newer, older, .. } = self.clients[usize::from(place)];
        match self.clients.get_mut(usize::from(newer)) {
            Some(client) => client.older = older,
            None => self.newest = older,
        }
        match self.clients.get_mut(usize::from(older)) {
            Some(client) => client.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_newest(&mut self, place: u16) {
        let second = self.newest;
        match self.clients.get_mut(usize::from(second)) {
            Some(client) => client.newer = place,
            None => self.oldest = place,
        }
        let client = &mut self.clients[usize::from(place)];
        (client.newer, client.older) = (NONE, second);
        self.newest = place;
    }
}
