//! What a speaker tells on its admin endpoint beside health and metrics: what only it knows. It is told to callers on the node's
//! own loopback alone, as `kubectl port-forward` is one; docs/plugin.md says why.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Where [`Told`] is read, by GET.
pub const TOLD: &str = "/links";

/// Where [`Asked`] is sent to, by POST; the answer is [`Answers`].
pub const PROBE: &str = "/probe";

/// So many addresses are asked for at once.
pub const MOST_PROBED: usize = 256;

/// The links of a node and who is heard there, as its speaker knows them now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Told {
    /// The node.
    pub node: String,
    /// The version of the speaker.
    pub version: String,
    /// The links that it announces on, or would.
    pub links: Vec<Link>,
    /// How often it found that it had stood still.
    pub pauses: u64,
    /// What it has to remark (`/readyz`): by name, in words.
    pub remarks: Vec<(String, String)>,
}

/// One link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its Ethernet address.
    pub mac: String,
    /// The node's own addresses on it.
    pub addresses: Vec<IpAddr>,
    /// The networks that begin on it, as CIDRs.
    pub networks: Vec<String>,
    /// The gateways of default routes that lead over it.
    pub gateways: Vec<IpAddr>,
    /// How many addresses are answered for on it.
    pub owned: usize,
    /// Whether it is known by hellos who is there. If not, the API's order decides alone.
    pub heard: bool,
    /// The other speakers that are heard.
    pub peers: Vec<Peer>,
    /// Nodes that should be heard by the API, and of which no hello comes in.
    pub unheard: Vec<String>,
}

/// Another speaker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Peer {
    /// Its node.
    pub node: String,
    /// Its link.
    pub interface: String,
    /// The Ethernet address of that.
    pub mac: String,
    /// Whether it counts in the election: it is heard, and says that it hears us.
    pub counts: bool,
    /// How it stands: `fit`, `starting`, `unfit`, `leaving` or `away`; empty for one that does not count.
    pub standing: String,
    /// Whether only datagrams of it are heard.
    pub udp: bool,
}

/// Addresses to ask the network for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// At most [`MOST_PROBED`]; only those count that lie in a pool.
    pub addresses: Vec<IpAddr>,
}

/// Who answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// Each once for address, link and station.
    pub answers: Vec<Answer>,
}

/// One station that says that it has an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Answer {
    /// The address.
    pub address: IpAddr,
    /// The link on which it said so.
    pub interface: String,
    /// The Ethernet address that it named.
    pub mac: String,
    /// The node whose link that is, where it is one that the speaker hears.
    pub node: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_or_older_speaker_tells_is_read_as_far_as_it_is_known() {
        let told: Told = serde_json::from_str(
            r#"{"node": "n1", "new": 1, "links": [{"name": "eth0", "peers": [{"node": "n2", "x": 1}]}]}"#,
        )
        .unwrap();
        assert_eq!((told.node.as_str(), told.links[0].peers[0].node.as_str()), ("n1", "n2"));
    }
}
