//! The speaker's metrics, under the names that MetalLB gave them.
//!
//! Those are counters without the suffix `_total` that the exposition format asks for, so they are shown as
//! of type `unknown`: dashboards and alerts find them under their old names, and `rate()` works as before.

mod addresses;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ferrolb_core::announce::{self, Ignored, LinkIndex};
use ferrolb_core::election::{Contest, Holder, NodeId};
use ferrolb_core::peers::Transport;
use ferrolb_core::service::ServiceKey;
use ferrolb_core::speaker::{Sent, Speaker};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use addresses::Addresses;
pub(crate) use addresses::Ours;

/// By which ways peers are heard, and how that is called.
const TRANSPORTS: [(Transport, &str); 2] = [(Transport::Ethernet, "ethernet"), (Transport::Udp, "udp")];

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
    /// By Ethernet and by UDP. No family: they come by the thousand a second.
    heard: [Counter; 2],
    begun: Family<Why, Counter>,
    ended: Family<Why, Counter>,
    elections: Counter,
    election_seconds: Histogram,
    datagrams: Family<Kind, Counter>,
    peers: Family<Heard, Gauge>,
    unheard: Family<Link, Gauge>,
    /// The interfaces that peers are shown of.
    links: Arc<Mutex<BTreeSet<String>>>,
    standing_in: Gauge,
    pauses: Counter,
    conflicts: Family<Conflict, Gauge>,
    confirmed: Counter,
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
struct Why {
    why: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Heard {
    interface: String,
    transport: &'static str,
}

/// Seconds that an election takes: from one address to ten thousand.
const ELECTING: [f64; 7] = [0.0001, 0.0005, 0.002, 0.01, 0.05, 0.2, 1.0];

/// Why an address is announced no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Another node announces it.
    Moved,
    /// No node may: no endpoints, no advertisement, no pool.
    Nobody,
    /// No Service has it any more.
    Released,
    /// No interface of this node may be used for it.
    NoInterface,
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

impl Metrics {
    /// Those of the speaker on `node`.
    pub fn new(node: &str) -> Self {
        let proxy_healthy = Gauge::default();
        proxy_healthy.set(1);
        Metrics {
            addresses: Arc::new(Addresses::new(node)),
            ignored: Family::default(),
            socket_errors: Family::default(),
            group_errors: Family::default(),
            netlink_overruns: Counter::default(),
            proxy_healthy,
            said: Family::default(),
            heard: <[Counter; 2]>::default(),
            begun: Family::default(),
            ended: Family::default(),
            elections: Counter::default(),
            election_seconds: Histogram::new(ELECTING),
            datagrams: Family::default(),
            peers: Family::default(),
            unheard: Family::default(),
            links: Arc::default(),
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
        self.register_elections(own);
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

    /// Adds those of what is heard and of who answers.
    fn register_elections(&self, own: &mut Registry) {
        own.register_collector(Box::new(Received(self.heard.clone())));
        own.register(
            "announcements_begun",
            "Addresses that this node began to announce, by what keeps the node before it in the order from that: unheard is a \
             take-over; first_in_order where there is none",
            self.begun.clone(),
        );
        own.register(
            "announcements_ended",
            "Addresses that this node announces no longer: moved to another node, nobody may announce it, released by its \
             Services, no_interface that may be used",
            self.ended.clone(),
        );
        own.register(
            "elections",
            "Times that it was decided anew which nodes may announce, as the API server showed something else",
            self.elections.clone(),
        );
        own.register(
            "election_seconds",
            "How long it took to decide which nodes may announce",
            self.election_seconds.clone(),
        );
    }

    /// The addresses that are announced here.
    pub(crate) fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// A request for `address` came that is answered; `sent` says whether the kernel took the answer.
    pub fn requested(&self, address: IpAddr, sent: bool) {
        self.addresses.count(address, |counters| {
            counters.requests += 1;
            counters.responses += u64::from(sent);
        });
    }

    /// An announcement of `address` was sent.
    pub fn announced(&self, address: IpAddr) {
        self.addresses.count(address, |counters| counters.gratuitous += 1);
    }

    /// A hello, a question or claims came that are to be believed.
    pub fn heard(&self, by: Transport) {
        self.heard[usize::from(by == Transport::Udp)].inc();
    }

    /// An address is announced from now on; why it is by this node.
    pub(crate) fn begun(&self, why: &'static str) {
        self.begun.get_or_create(&Why { why }).inc();
    }

    /// An address is announced no longer.
    pub(crate) fn ended(&self, why: Ended) {
        let why = match why {
            Ended::Moved => "moved",
            Ended::Nobody => "nobody",
            Ended::Released => "released",
            Ended::NoInterface => "no_interface",
        };
        self.ended.get_or_create(&Why { why }).inc();
    }

    /// An election was held, in so much time.
    pub(crate) fn elected(&self, took: Duration) {
        self.elections.inc();
        self.election_seconds.observe(took.as_secs_f64());
    }

    /// Gives each family a member, so that its labels can be seen: for what is written about them.
    pub fn exemplify(&self, address: IpAddr) {
        let web = Holder { key: Arc::new(ServiceKey::new("shop", "web")), uid: "".into() };
        let contest = Arc::new(Contest::among([NodeId(0)], vec![web]));
        let links = Arc::new(BTreeSet::from(["eth0".to_owned()]));
        self.addresses.set(address, Ours { contest, links });
        self.ignored(Ignored::NotOurs);
        self.socket_failed("eth0");
        self.group_failed("eth0");
        self.said(Sent::Hello);
        self.said_by_datagram(Sent::Hello);
        self.begun("first_in_order");
        self.ended(Ended::Moved);
        self.unheard([("eth0", 0)].into_iter());
        self.conflict(address, "eth0", true);
        let heard = Heard { interface: "eth0".to_owned(), transport: "ethernet" };
        self.peers.get_or_create(&heard).set(0);
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
        self.only(speaker.peers().filter_map(|(link, _)| links.get(&link)).map(|link| link.name.as_str()));
        for (link, peers) in speaker.peers() {
            let Some(link) = links.get(&link) else { continue };
            let counting = || peers.standings().keys().filter_map(|station| peers.get(*station));
            for (transport, name) in TRANSPORTS {
                let count = counting().filter(|peer| peer.transport() == transport).count();
                let label = Heard { interface: link.name.clone(), transport: name };
                self.peers.get_or_create(&label).set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
        self.standing_in.set(i64::try_from(speaker.standing_in()).unwrap_or(i64::MAX));
        self.confirmed.inner().store(speaker.counts().confirmed, Ordering::Relaxed);
        self.pauses.inner().store(speaker.counts().pauses, Ordering::Relaxed);
    }

    /// So many nodes are not heard on each link that should be: on these links, which are all that there are.
    pub fn unheard<'a>(&self, links: impl Iterator<Item = (&'a str, usize)>) {
        let links: Vec<_> = links.collect();
        self.only(links.iter().map(|(interface, _)| *interface));
        for (interface, count) in links {
            let label = Link { interface: interface.to_owned() };
            self.unheard.get_or_create(&label).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// There are these links. The series of one that is gone vanish: nobody is to be heard there.
    fn only<'a>(&self, interfaces: impl Iterator<Item = &'a str>) {
        let now: BTreeSet<String> = interfaces.map(str::to_owned).collect();
        let mut shown = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        for interface in shown.difference(&now) {
            self.unheard.remove(&Link { interface: interface.clone() });
            for (_, transport) in TRANSPORTS {
                self.peers.remove(&Heard { interface: interface.clone(), transport });
            }
        }
        *shown = now;
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

/// What was heard, by the way that it came.
#[derive(Debug)]
struct Received([Counter; 2]);

impl Collector for Received {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let words = "Hellos, questions and claims of other speakers that came in and were believed, by Ethernet and by UDP";
        let mut metric = encoder.encode_descriptor("frames_heard", words, None, self.0[0].metric_type())?;
        for (transport, counter) in [("ethernet", &self.0[0]), ("udp", &self.0[1])] {
            counter.encode(metric.encode_family(&[("transport", transport)])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(metrics: &Metrics) -> String {
        let (mut registry, mut text) = (Registry::default(), String::new());
        metrics.register(&mut registry);
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn of_a_link_that_is_gone_nothing_is_shown() {
        let metrics = Metrics::new("node-1");
        let unheard = |links: &[(&'static str, usize)]| {
            metrics.unheard(links.iter().copied());
            let text = shown(&metrics);
            let lines = text.lines().filter(|line| line.starts_with("ferrolb_speaker_unheard_nodes{"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let line = |link: &str, count: usize| {
            format!("ferrolb_speaker_unheard_nodes{{interface=\"{link}\"}} {count}")
        };
        let mut both = unheard(&[("lan", 0), ("vlan7", 2)]);
        both.sort();
        assert_eq!(both, [line("lan", 0), line("vlan7", 2)]);
        assert_eq!(unheard(&[("lan", 1)]), [line("lan", 1)]);
        assert_eq!(unheard(&[]), Vec::<String>::new());
    }

    #[test]
    fn the_names_are_metallbs_and_series_vanish() {
        let (metrics, address) = (Metrics::new("node-1"), "10.0.0.1".parse().unwrap());
        let web = Holder { key: Arc::new(ServiceKey::new("shop", "web")), uid: "".into() };
        let contest = Arc::new(Contest::among([NodeId(0)], vec![web]));
        let on = |links: &[&str]| {
            let links: BTreeSet<String> = links.iter().map(|link| (*link).to_owned()).collect();
            metrics.addresses().set(address, Ours { contest: contest.clone(), links: links.into() });
        };
        on(&["lan"]);
        metrics.requested(address, true);
        metrics.requested(address, false);
        metrics.announced(address);
        metrics.announced(address);
        on(&["lan", "wan"]);
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
        on(&[]);
        metrics.requested(address, true);
        assert!(!shown(&metrics).contains("10.0.0.1"), "{}", shown(&metrics));
        on(&["lan"]);
        let anew = r#"metallb_layer2_requests_received{ip="10.0.0.1"} 0"#;
        assert!(shown(&metrics).lines().any(|shown| shown == anew), "{}", shown(&metrics));
        metrics.addresses().remove(address);
        metrics.requested(address, true);
        assert!(!shown(&metrics).contains("10.0.0.1"), "{}", shown(&metrics));
    }

    #[test]
    fn addresses_are_shown_in_their_order() {
        let metrics = Metrics::new("node-1");
        let contest = Arc::new(Contest::among([NodeId(0)], vec![]));
        for last in [3, 200, 1, 40] {
            let ours = Ours { contest: contest.clone(), links: Arc::new(BTreeSet::from(["lan".to_owned()])) };
            metrics.addresses().set(IpAddr::from([10, 0, 0, last]), ours);
        }
        let text = shown(&metrics);
        let lines = text.lines().filter(|line| line.starts_with("metallb_layer2_responses_sent{"));
        let expected =
            [1, 3, 40, 200].map(|last| format!(r#"metallb_layer2_responses_sent{{ip="10.0.0.{last}"}} 0"#));
        assert!(lines.eq(expected.iter()), "{text}");
    }
}
