//! The speaker's metrics, under the names that MetalLB gave them.
//!
//! Those are counters without the suffix `_total` that the exposition format asks for, so they are shown as
//! of type `unknown`: dashboards and alerts find them under their old names, and `rate()` works as before.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use ferrolb_core::announce::{Ignored, Purpose};
use ferrolb_core::service::ServiceKey;
use prometheus_client::encoding::{
    EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder, MetricEncoder,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

/// All of them. Clones share their values.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    announced: Family<Announced, Gauge>,
    requests: Family<Address, BareCounter>,
    responses: Family<Address, BareCounter>,
    gratuitous: Family<Address, BareCounter>,
    ignored: Family<Reason, Counter>,
    send_errors: Family<Link, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Announced {
    service: String,
    protocol: &'static str,
    node: String,
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

/// A label that is written as its value displays itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Text<T>(T);

impl<T: fmt::Display> EncodeLabelValue for Text<T> {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        fmt::Write::write_fmt(encoder, format_args!("{}", self.0))
    }
}

/// A counter whose name stays as it is.
#[derive(Debug, Default)]
struct BareCounter(AtomicU64);

impl BareCounter {
    fn inc(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl TypedMetric for BareCounter {
    const TYPE: MetricType = MetricType::Unknown;
}

impl EncodeMetric for BareCounter {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        // Of the encodings, a gauge's is the one that writes the value under the bare name.
        encoder.encode_gauge(&self.0.load(Ordering::Relaxed))
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl Metrics {
    /// Adds them to what `/metrics` shows.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "metallb_speaker_announced",
            "Addresses that this node announces, for each Service that has them: 1",
            self.announced.clone(),
        );
        registry.register(
            "metallb_layer2_requests_received",
            "ARP requests received for an address that this node announces",
            self.requests.clone(),
        );
        registry.register(
            "metallb_layer2_responses_sent",
            "ARP replies sent for an address that this node announces",
            self.responses.clone(),
        );
        registry.register(
            "metallb_layer2_gratuitous_sent",
            "Gratuitous ARP frames sent for an address that this node announces",
            self.gratuitous.clone(),
        );
        registry.register(
            "ferrolb_speaker_frames_ignored",
            "Frames that passed the kernel's filter and were not answered, by reason",
            self.ignored.clone(),
        );
        registry.register(
            "ferrolb_speaker_send_errors",
            "Frames that the kernel did not take, by interface",
            self.send_errors.clone(),
        );
    }

    /// `service` has `address`, which `node` announces.
    pub fn started(&self, service: &ServiceKey, node: &str, address: IpAddr) {
        self.announced.get_or_create(&announced(service, node, address)).set(1);
    }

    /// `service` does not have `address` any more, or `node` does not announce it.
    pub fn stopped(&self, service: &ServiceKey, node: &str, address: IpAddr) {
        self.announced.remove(&announced(service, node, address));
    }

    /// `address` is not announced here any more: its counters vanish.
    pub fn forget(&self, address: IpAddr) {
        for counters in [&self.requests, &self.responses, &self.gratuitous] {
            counters.remove(&Address { ip: Text(address) });
        }
    }

    /// A request for `address` came that is answered.
    pub fn requested(&self, address: IpAddr) {
        self.requests.get_or_create(&Address { ip: Text(address) }).inc();
    }

    /// A frame for `address` was sent.
    pub fn sent(&self, address: IpAddr, purpose: Purpose) {
        let counters = match purpose {
            Purpose::Answer => &self.responses,
            Purpose::Announcement => &self.gratuitous,
        };
        counters.get_or_create(&Address { ip: Text(address) }).inc();
    }

    /// A frame was not answered.
    pub fn ignored(&self, reason: Ignored) {
        self.ignored.get_or_create(&Reason { reason: reason.to_string() }).inc();
    }

    /// The kernel did not take a frame.
    pub fn send_failed(&self, interface: &str) {
        self.send_errors.get_or_create(&Link { interface: interface.to_owned() }).inc();
    }
}

fn announced(service: &ServiceKey, node: &str, address: IpAddr) -> Announced {
    Announced { service: service.to_string(), protocol: "layer2", node: node.to_owned(), ip: Text(address) }
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
    fn the_names_are_metallbs_and_series_vanish() {
        let (metrics, address) = (Metrics::default(), "10.0.0.1".parse().unwrap());
        let web = ServiceKey::new("shop", "web");
        metrics.started(&web, "node-1", address);
        metrics.requested(address);
        metrics.sent(address, Purpose::Answer);
        metrics.sent(address, Purpose::Announcement);
        metrics.sent(address, Purpose::Announcement);
        let text = shown(&metrics);
        for line in [
            r#"metallb_speaker_announced{service="shop/web",protocol="layer2",node="node-1",ip="10.0.0.1"} 1"#,
            r#"metallb_layer2_requests_received{ip="10.0.0.1"} 1"#,
            r#"metallb_layer2_responses_sent{ip="10.0.0.1"} 1"#,
            r#"metallb_layer2_gratuitous_sent{ip="10.0.0.1"} 2"#,
            "# TYPE metallb_layer2_gratuitous_sent unknown",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\nis not in\n{text}");
        }
        metrics.stopped(&web, "node-1", address);
        metrics.forget(address);
        assert!(!shown(&metrics).contains("10.0.0.1"), "{}", shown(&metrics));
    }
}
