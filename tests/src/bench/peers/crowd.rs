//! The peers that the generator is: who each of them is, and what it says.
//!
//! They say what core's speakers would say, built by core itself. Only what follows from hearing each other is taken for
//! granted: each lists all the others as heard and heard by. The speaker that is measured is listed once it was heard, and
//! as heard by once it lists them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use ferrolb_core::election::precedence;
use ferrolb_core::hello_key::Key;
use ferrolb_core::peers::sequence_at;
use ferrolb_core::wire::Mac;
use ferrolb_core::wire::hello::{
    Body, Claims, Digest, Flags, GROUP, Heard, Hello, MOST_HEARD, Message, Sender, State, StationId, Voice,
    frame, payload,
};

/// The time between two hellos of a peer.
pub(super) const INTERVAL: Duration = Duration::from_millis(100);

/// The name of each peer's link.
const LINK: &str = "eth0";

/// The name of the node with this number, from 1.
pub(super) fn name(number: usize) -> String {
    format!("worker-{number:03}")
}

/// Its address. It is not of the speaker's own networks, so that no hello goes there by UDP while the generator begins.
pub(super) fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 30, (number / 250) as u8, (number % 250) as u8 + 1)
}

/// The node that is first in order for an address, of these that all can have it.
pub(super) fn first<'a>(nodes: impl IntoIterator<Item = &'a str>, address: IpAddr) -> Option<&'a str> {
    nodes.into_iter().min_by_key(|node| precedence(node, address))
}

/// One peer.
#[derive(Debug)]
struct Peer {
    sender: Sender,
    station: StationId,
    addresses: Vec<IpAddr>,
    claimed: BTreeMap<IpAddr, Voice>,
    digest: Digest,
    /// Which part of its list it told last.
    slice: usize,
    /// What it said last, part by part.
    said: BTreeMap<u8, Hello>,
    /// When the speaker listed it last, as one that hears the speaker too, and in whatever way.
    listed: Option<(Instant, bool)>,
}

/// All peers, and what they know of the speaker.
#[derive(Debug)]
pub(super) struct Crowd {
    key: Key,
    peers: Vec<Peer>,
    /// All of them, as lists of peers tell them, by station.
    everybody: BTreeMap<StationId, Heard>,
    /// The speaker, once it was heard: what it is in lists, and in how many parts it tells its own.
    speaker: Option<(StationId, u64, u8)>,
}

impl Crowd {
    /// So many peers, which share these addresses with the node `speaker`: each claims those for which it is the first.
    pub(super) fn new(count: usize, speaker: &str, addresses: &[IpAddr], key: Key) -> Self {
        let names: Vec<String> = (1..=count).map(name).collect();
        let mut claimed: BTreeMap<&str, BTreeMap<IpAddr, Voice>> = BTreeMap::new();
        for of in addresses {
            let nodes = names.iter().map(String::as_str).chain([speaker]);
            first(nodes, *of).map(|node| claimed.entry(node).or_default().insert(*of, Voice::Own));
        }
        let peers: Vec<Peer> = (1..=count)
            .map(|number| {
                let [high, low] = (number as u16).to_be_bytes();
                let node = name(number);
                let claimed = claimed.remove(node.as_str()).unwrap_or_default();
                let digest = Claims::whole(&claimed).first().map(|whole| whole.after).unwrap_or_default();
                let mac = Mac([2, 0x46, 0x4c, 0, high, low]);
                let local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x0046, 0x4cff, 0xfe00, number as u16);
                Peer {
                    station: StationId::of(&node, LINK),
                    sender: Sender {
                        node,
                        interface: LINK.to_owned(),
                        mac,
                        epoch: 1_000_000 + number as u64,
                        sequence: 0,
                    },
                    addresses: vec![address(number).into(), local.into()],
                    claimed,
                    digest,
                    slice: 0,
                    said: BTreeMap::new(),
                    listed: None,
                }
            })
            .collect();
        let heard = |peer: &Peer| (peer.station, Heard::new(peer.station, peer.sender.epoch, true));
        let everybody = peers.iter().map(heard).collect();
        Crowd { key, peers, everybody, speaker: None }
    }

    /// How many the speaker listed of late as those that hear it and are heard.
    pub(super) fn listed(&self, now: Instant) -> usize {
        // A list in several parts takes as many intervals; a little more for a hello that was late.
        let slices = self.speaker.map_or(1, |(_, _, slices)| u32::from(slices));
        let lately = INTERVAL * (slices + 2);
        let lately = |(at, mutual): &(Instant, bool)| *mutual && now.duration_since(*at) < lately;
        self.peers.iter().filter(|peer| peer.listed.as_ref().is_some_and(lately)).count()
    }

    /// The frame of the next hello of the peer with this index.
    pub(super) fn hello(&mut self, index: usize, now: Duration) -> Option<Vec<u8>> {
        self.hello_to(index, None, now)
    }

    /// The same, as an answer to whoever asked with this nonce.
    fn hello_to(
        &mut self,
        index: usize,
        asked: Option<(StationId, Mac, u64)>,
        now: Duration,
    ) -> Option<Vec<u8>> {
        let peer = self.peers.get(index)?;
        let mut list = self.everybody.clone();
        list.remove(&peer.station);
        if let Some((station, epoch, _)) = self.speaker {
            list.insert(station, Heard::new(station, epoch, peer.listed.is_some()));
        }
        let slices = list.len().div_ceil(MOST_HEARD).max(1);
        let slice = match asked.and_then(|(asker, ..)| list.keys().position(|station| *station == asker)) {
            Some(at) => at / MOST_HEARD,
            None => (peer.slice + 1) % slices,
        };
        let part = list.into_values().skip(slice * MOST_HEARD).take(MOST_HEARD).collect();
        let mut hello = Hello {
            interval: INTERVAL,
            misses: 3,
            state: State::Active,
            flags: Flags::default(),
            answers: asked.map(|(.., nonce)| nonce),
            addresses: peer.addresses.clone(),
            loaded: vec![self.key.id()],
            claims: peer.digest,
            slice: slice as u8,
            slices: slices as u8,
            peers: part,
            routine: false,
        };
        let to = asked.map_or(GROUP, |(_, mac, _)| mac);
        if asked.is_none() {
            let peer = self.peers.get_mut(index)?;
            peer.slice = slice;
            let said = peer.said.insert(hello.slice, hello.clone());
            hello.routine = said.as_ref() == Some(&hello);
        }
        self.frame(index, to, Body::Hello(hello), now)
    }

    fn frame(&mut self, index: usize, to: Mac, body: Body, now: Duration) -> Option<Vec<u8>> {
        let peer = self.peers.get_mut(index)?;
        peer.sender.sequence = (peer.sender.sequence + 1).max(sequence_at(now));
        let message = Message { sender: peer.sender.clone(), body };
        let payload = payload(&message, &self.key).ok()?;
        Some(frame(to, message.sender.mac, &payload))
    }

    /// Takes what the speaker said to `to`; returns the frames that answer it.
    pub(super) fn hear(&mut self, message: &Message, to: Mac, at: Instant, now: Duration) -> Vec<Vec<u8>> {
        let Message { sender, body } = message;
        let station = sender.station();
        match body {
            Body::Hello(hello) => {
                if self.speaker.is_none_or(|(_, epoch, _)| epoch != sender.epoch) {
                    self.peers.iter_mut().for_each(|peer| peer.listed = None);
                }
                self.speaker = Some((station, sender.epoch, hello.slices));
                let listed: BTreeMap<StationId, &Heard> =
                    hello.peers.iter().map(|heard| (heard.station, heard)).collect();
                for peer in &mut self.peers {
                    let heard = listed.get(&peer.station);
                    if let Some(heard) = heard.filter(|heard| heard.is(peer.station, peer.sender.epoch)) {
                        peer.listed = Some((at, heard.mutual));
                    }
                }
                Vec::new()
            }
            Body::Ask { nonce } => {
                let asked = self.peers.iter().position(|peer| peer.sender.mac == to);
                let answer =
                    asked.and_then(|index| self.hello_to(index, Some((station, sender.mac, *nonce)), now));
                answer.into_iter().collect()
            }
            Body::Want { of_epoch } => {
                let Some(index) = self.peers.iter().position(|peer| peer.sender.epoch == *of_epoch) else {
                    return Vec::new();
                };
                let whole = Claims::whole(&self.peers[index].claimed);
                whole
                    .into_iter()
                    .filter_map(|claims| self.frame(index, GROUP, Body::Claims(claims), now))
                    .collect()
            }
            Body::Claims(_) | Body::Unknown(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use ferrolb_core::hello_key::Keys;
    use ferrolb_core::wire::hello::parse_frame;

    use super::*;

    const SPEAKER: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn crowd(count: usize) -> (Crowd, Keys) {
        let key = Key::new([7; 32]);
        let addresses: Vec<IpAddr> = (0..50u8).map(|last| [10, 64, 0, last].into()).collect();
        let keys = Keys::new(key.clone(), []).expect("one key");
        (Crowd::new(count, "bench", &addresses, key), keys)
    }

    fn said(frame: &[u8], keys: &Keys) -> (Message, Mac) {
        let received = parse_frame(frame, keys).expect("a frame that speakers read");
        (received.message, received.destination)
    }

    fn speaker(body: Body) -> Message {
        let sender =
            Sender { node: "bench".into(), interface: "eth0".into(), mac: SPEAKER, epoch: 42, sequence: 1 };
        Message { sender, body }
    }

    fn hello_of_the_speaker(peers: Vec<Heard>) -> Message {
        speaker(Body::Hello(Hello {
            interval: INTERVAL,
            misses: 3,
            state: State::Active,
            flags: Flags::default(),
            answers: None,
            addresses: Vec::new(),
            loaded: Vec::new(),
            claims: Digest::default(),
            slice: 0,
            slices: 1,
            peers,
            routine: false,
        }))
    }

    #[test]
    fn all_tell_all_others_and_the_speaker_once_it_is_heard() {
        let (mut crowd, keys) = crowd(200);
        let me = StationId::of("bench", "eth0");
        let told = |crowd: &mut Crowd| {
            let hellos = (0..3).map(|n| said(&crowd.hello(0, INTERVAL * n).unwrap(), &keys).0);
            let lists = hellos.map(|message| match message.body {
                Body::Hello(hello) => (hello.slices, hello.peers),
                other => panic!("{other:?}"),
            });
            let lists: Vec<_> = lists.collect();
            assert!(lists.iter().all(|(slices, _)| *slices == 3));
            lists.into_iter().flat_map(|(_, peers)| peers).collect::<Vec<_>>()
        };
        assert_eq!(told(&mut crowd).len(), 199);
        let now = Instant::now();
        crowd.hear(&hello_of_the_speaker(vec![]), GROUP, now, INTERVAL);
        let list = told(&mut crowd);
        assert_eq!(list.len(), 200);
        assert!(list.iter().any(|heard| heard.is(me, 42) && !heard.mutual), "it does not hear us");
        let first = StationId::of(&name(1), "eth0");
        crowd.hear(&hello_of_the_speaker(vec![Heard::new(first, 1_000_001, true)]), GROUP, now, INTERVAL);
        assert!(told(&mut crowd).iter().any(|heard| heard.is(me, 42) && heard.mutual));
        assert_eq!((crowd.listed(now), crowd.listed(now + INTERVAL * 4)), (1, 0));
    }

    #[test]
    fn questions_are_answered_by_whom_they_are_for() {
        let (mut crowd, keys) = crowd(3);
        let (now, at) = (Instant::now(), INTERVAL);
        crowd.hear(&hello_of_the_speaker(vec![]), GROUP, now, at);
        let second = crowd.peers[1].sender.mac;
        let answers = crowd.hear(&speaker(Body::Ask { nonce: 5 }), second, now, at);
        let (message, to) = said(&answers[0], &keys);
        assert_eq!((message.sender.node.as_str(), to, answers.len()), ("worker-002", SPEAKER, 1));
        assert!(matches!(&message.body, Body::Hello(hello) if hello.answers == Some(5)));
        let answers = crowd.hear(&speaker(Body::Want { of_epoch: 1_000_003 }), GROUP, now, at);
        let (message, to) = said(&answers[0], &keys);
        assert_eq!((message.sender.node.as_str(), to), ("worker-003", GROUP));
        let Body::Claims(claims) = message.body else { panic!("{message:?}") };
        assert_eq!(
            (claims.after, claims.entries.len()),
            (crowd.peers[2].digest, crowd.peers[2].claimed.len())
        );
        assert!(crowd.hear(&speaker(Body::Want { of_epoch: 9 }), GROUP, now, at).is_empty());
    }

    #[test]
    fn each_address_has_one_owner_of_all_nodes() {
        let (crowd, _) = crowd(4);
        let claimed: usize = crowd.peers.iter().map(|peer| peer.claimed.len()).sum();
        let names: Vec<String> = (1..=4).map(name).collect();
        let nodes = || names.iter().map(String::as_str).chain(["bench"]);
        let speakers =
            (0..50u8).filter(|last| first(nodes(), [10, 64, 0, *last].into()) == Some("bench")).count();
        assert!(speakers > 0);
        assert_eq!(claimed + speakers, 50);
    }
}
