//! The speaker's metrics, under the names that MetalLB gave them.
//!
//! Those are counters without the suffix `_total` that the exposition format asks for, so they are shown as
//! of type `unknown`: dashboards and alerts find them under their old names, and `rate()` works as before.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ferrolb_core::announce::{self, Ignored, LinkIndex};
use ferrolb_core::dense::DenseMap;
use ferrolb_core::election::Contest;
use ferrolb_core::peers::Transport;
use ferrolb_core::service::ServiceKey;
use ferrolb_core::speaker::{Sent, Speaker};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// All of them. Clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    addresses: Arc<Addresses>,
    ignored: Family<Reason, Counter>,
    socket_errors: Family<Link, Counter>,
    group_errors: Family<Link, Counter>,
    netlink_overruns: Counter,
    proxy_healthy: Gauge,
    said: Family<Kind, Counter>,
    datagrams: Family<Kind, Counter>,
    peers: Family<Heard, Gauge>,
    unheard: Family<Link, Gauge>,
    standing_in: Gauge,
    pauses: Counter,
    conflicts: Family<Conflict, Gauge>,
    confirmed: Counter,
}

/// What is announced here, with its counters. Ten thousand addresses are no rarity, so a family of labels for each figure
/// would cost megabytes; and a frame costs one look-up.
#[derive(Debug)]
struct Addresses {
    node: Arc<str>,
    all: Mutex<DenseMap<IpAddr, State>>,
}

#[derive(Clone, Debug)]
struct State {
    /// Shared with the election, which names the Services.
    contest: Arc<Contest>,
    requests: u64,
    responses: u64,
    gratuitous: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Announced {
    service: Text<Arc<ServiceKey>>,
    protocol: &'static str,
    node: Text<Arc<str>>,
    ip: Text<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Address {
    ip: Text<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Link {
    interface: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Conflict {
    ip: Text<IpAddr>,
    interface: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Heard {
    interface: String,
    transport: &'static str,
}

/// The name of what is said to others; announcements are counted by address.
fn kind(what: Sent) -> Option<&'static str> {
    Some(match what {
        Sent::Announcement(_) => return None,
        Sent::Hello => "hello",
        Sent::Question => "question",
        Sent::Claims => "claims",
        Sent::Probe => "probe",
        Sent::Confirmation => "confirmation",
    })
}

/// A label that is written as its value displays itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Text<T>(T);

impl<T: fmt::Display> EncodeLabelValue for Text<T> {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        fmt::Write::write_fmt(encoder, format_args!("{}", self.0))
    }
}

/// The counter of one kind, with its words.
type Figure = (&'static str, &'static str, fn(&State) -> u64);

const FIGURES: [Figure; 3] = [
    (
        "metallb_layer2_requests_received",
        "ARP requests and neighbour solicitations received for an address that this node announces",
        |state| state.requests,
    ),
    (
        "metallb_layer2_responses_sent",
        "ARP replies and solicited neighbour advertisements sent for an address that this node announces",
        |state| state.responses,
    ),
    (
        "metallb_layer2_gratuitous_sent",
        "Gratuitous ARP frames and unsolicited neighbour advertisements sent for an address that this node announces",
        |state| state.gratuitous,
    ),
];

impl Collector for Addresses {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Copied, so that the frames that come in meanwhile do not wait for the text.
        let all = self.lock().clone();
        let words = "Addresses that this node announces, for each Service that has them: 1";
        let mut metric =
            encoder.encode_descriptor("metallb_speaker_announced", words, None, MetricType::Gauge)?;
        for (ip, state) in all.iter() {
            for service in &state.contest.services {
                let labels = Announced {
                    service: Text(service.key.clone()),
                    protocol: "layer2",
                    node: Text(self.node.clone()),
                    ip: Text(*ip),
                };
                metric.encode_family(&labels)?.encode_gauge(&1i64)?;
            }
        }
        for (name, words, figure) in FIGURES {
            let mut metric = encoder.encode_descriptor(name, words, None, MetricType::Unknown)?;
            for (ip, state) in all.iter() {
                // Of the encodings, a gauge's is the one that writes the value under the bare name.
                metric.encode_family(&Address { ip: Text(*ip) })?.encode_gauge(&figure(state))?;
            }
        }
        Ok(())
    }
}

impl Addresses {
    fn lock(&self) -> MutexGuard<'_, DenseMap<IpAddr, State>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, address: IpAddr, add: impl FnOnce(&mut State)) {
        if let Some(state) = self.lock().get_mut(&address) {
            add(state);
        }
    }
}

impl Metrics {
    /// Those of the speaker on `node`.
    pub fn new(node: &str) -> Self {
        let proxy_healthy = Gauge::default();
        proxy_healthy.set(1);
        Metrics {
            addresses: Arc::new(Addresses { node: node.into(), all: Mutex::default() }),
            ignored: Family::default(),
            socket_errors: Family::default(),
            group_errors: Family::default(),
            netlink_overruns: Counter::default(),
            proxy_healthy,
            said: Family::default(),
            datagrams: Family::default(),
            peers: Family::default(),
            unheard: Family::default(),
            standing_in: Gauge::default(),
            pauses: Counter::default(),
            conflicts: Family::default(),
            confirmed: Counter::default(),
        }
    }

    /// Adds them to what `/metrics` shows.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.addresses.clone()));
        let own = registry.sub_registry_with_prefix("ferrolb_speaker");
        own.register(
            "frames_ignored",
            "Frames that passed the kernel's filter and were not answered, by reason",
            self.ignored.clone(),
        );
        own.register(
            "socket_errors",
            "Errors of packet sockets, by interface: a frame that the kernel did not take, a link that went down",
            self.socket_errors.clone(),
        );
        own.register(
            "group_errors",
            "Solicited-node groups that could not be joined, by interface",
            self.group_errors.clone(),
        );
        own.register(
            "netlink_overruns",
            "Times that the kernel dropped events about interfaces; they are then listed anew",
            self.netlink_overruns.clone(),
        );
        own.register(
            "service_proxy_healthy",
            "Whether this node's service proxy (kube-proxy) works: 0 after 10 s of failure, else 1",
            self.proxy_healthy.clone(),
        );
        own.register(
            "frames_said",
            "Frames sent beside answers and announcements, by kind: hello, question and claims to other speakers, probe for an \
             address that is new, confirmation to a client at an address that moved",
            self.said.clone(),
        );
        own.register(
            "datagrams_said",
            "Hellos, questions and claims sent by UDP, to each node by itself",
            self.datagrams.clone(),
        );
        own.register(
            "peers",
            "Speakers that count in the election, by interface, and by whether they are heard by Ethernet or only by UDP",
            self.peers.clone(),
        );
        own.register(
            "unheard_nodes",
            "Nodes that by the API are Ready, have a speaker with a key and an address of the interface's networks, and of which no \
             hello comes in there",
            self.unheard.clone(),
        );
        own.register(
            "standing_in",
            "Addresses answered for on behalf of nodes whose speakers are away",
            self.standing_in.clone(),
        );
        own.register(
            "pauses",
            "Times that this speaker found that it had stood still, and asked the others before it went on",
            self.pauses.clone(),
        );
        own.register(
            "address_conflicts",
            "Addresses of this node that another host on the link has too: 1",
            self.conflicts.clone(),
        );
        own.register(
            "clients_confirmed",
            "Clients that were asked back at an address that had moved here, and answered",
            self.confirmed.clone(),
        );
    }

    /// `address` is announced here, for the Services that are named there. The counters begin at 0, or go on.
    pub fn announcing(&self, address: IpAddr, contest: Arc<Contest>) {
        let new = State { contest: contest.clone(), requests: 0, responses: 0, gratuitous: 0 };
        self.addresses.lock().or_insert_with(address, || new).contest = contest;
    }

    /// `address` is not announced here any more: its series vanish.
    pub fn forget(&self, address: IpAddr) {
        self.addresses.lock().remove(&address);
    }

    /// A request for `address` came that is answered; `sent` says whether the kernel took the answer.
    pub fn requested(&self, address: IpAddr, sent: bool) {
        self.addresses.count(address, |state| {
            state.requests += 1;
            state.responses += u64::from(sent);
        });
    }

    /// An announcement of `address` was sent.
    pub fn announced(&self, address: IpAddr) {
        self.addresses.count(address, |state| state.gratuitous += 1);
    }

    /// A frame was not answered.
    pub fn ignored(&self, reason: Ignored) {
        self.ignored.get_or_create(&Reason { reason: reason.to_string() }).inc();
    }

    /// Another host has an address of ours on a link, or none any more: then the series vanishes.
    pub fn conflict(&self, address: IpAddr, interface: &str, there: bool) {
        let label = Conflict { ip: Text(address), interface: interface.to_owned() };
        if there {
            self.conflicts.get_or_create(&label).set(1);
        } else {
            self.conflicts.remove(&label);
        }
    }

    /// Something was said to the other speakers.
    pub fn said(&self, what: Sent) {
        if let Some(kind) = kind(what) {
            self.said.get_or_create(&Kind { kind }).inc();
        }
    }

    /// Something was said to one of them by datagram.
    pub fn said_by_datagram(&self, what: Sent) {
        if let Some(kind) = kind(what) {
            self.datagrams.get_or_create(&Kind { kind }).inc();
        }
    }

    /// Who counts on each link, and for whom is stood in.
    pub fn peers(&self, speaker: &Speaker, links: &BTreeMap<LinkIndex, announce::Link>) {
        for (link, peers) in speaker.peers() {
            let Some(link) = links.get(&link) else { continue };
            let counting = || peers.standings().keys().filter_map(|station| peers.get(*station));
            for (transport, name) in [(Transport::Ethernet, "ethernet"), (Transport::Udp, "udp")] {
                let count = counting().filter(|peer| peer.transport() == transport).count();
                let label = Heard { interface: link.name.clone(), transport: name };
                self.peers.get_or_create(&label).set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
        self.standing_in.set(i64::try_from(speaker.standing_in()).unwrap_or(i64::MAX));
        self.confirmed.inner().store(speaker.counts().confirmed, Ordering::Relaxed);
        self.pauses.inner().store(speaker.counts().pauses, Ordering::Relaxed);
    }

    /// So many nodes are not heard on each link that should be.
    pub fn unheard<'a>(&self, links: impl Iterator<Item = (&'a str, usize)>) {
        for (interface, count) in links {
            let label = Link { interface: interface.to_owned() };
            self.unheard.get_or_create(&label).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// A packet socket reported an error.
    pub fn socket_failed(&self, interface: &str) {
        self.socket_errors.get_or_create(&Link { interface: interface.to_owned() }).inc();
    }

    /// A group could not be joined.
    pub fn group_failed(&self, interface: &str) {
        self.group_errors.get_or_create(&Link { interface: interface.to_owned() }).inc();
    }

    /// The kernel dropped netlink events.
    pub fn netlink_overrun(&self) {
        self.netlink_overruns.inc();
    }

    /// Whether the service proxy works.
    pub fn proxy(&self, healthy: bool) {
        self.proxy_healthy.set(i64::from(healthy));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ferrolb_core::election::{Holder, NodeId};

    fn shown(metrics: &Metrics) -> String {
        let (mut registry, mut text) = (Registry::default(), String::new());
        metrics.register(&mut registry);
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn the_names_are_metallbs_and_series_vanish() {
        let (metrics, address) = (Metrics::new("node-1"), "10.0.0.1".parse().unwrap());
        let web = Holder { key: Arc::new(ServiceKey::new("shop", "web")), uid: "".into() };
        let web = Arc::new(Contest::among([NodeId(0)], vec![web]));
        metrics.announcing(address, web.clone());
        metrics.requested(address, true);
        metrics.requested(address, false);
        metrics.announced(address);
        metrics.announced(address);
        metrics.announcing(address, web);
        let text = shown(&metrics);
        for line in [
            r#"metallb_speaker_announced{service="shop/web",protocol="layer2",node="node-1",ip="10.0.0.1"} 1"#,
            r#"metallb_layer2_requests_received{ip="10.0.0.1"} 2"#,
            r#"metallb_layer2_responses_sent{ip="10.0.0.1"} 1"#,
            r#"metallb_layer2_gratuitous_sent{ip="10.0.0.1"} 2"#,
            "# TYPE metallb_layer2_gratuitous_sent unknown",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\nis not in\n{text}");
        }
        metrics.forget(address);
        metrics.requested(address, true);
        assert!(!shown(&metrics).contains("10.0.0.1"), "{}", shown(&metrics));
    }
}
