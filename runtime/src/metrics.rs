//! Metrics that both programs have: the process, its requests to the API server, its watches.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::sync::Notify;

/// Seconds that requests take: from a server next door to one that is about to be given up.
const SECONDS: [f64; 10] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// All of them. Clones share their values.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    process: Arc<Process>,
    requests: Family<Request, Counter>,
    request_seconds: Family<Verb, Histogram, fn() -> Histogram>,
    watch_failures: Family<Kind, Counter>,
    watch_failing: Family<Kind, Gauge>,
    updates: Counter,
    update_errors: Counter,
    config_loaded: Gauge,
    config_stale: Gauge,
    /// By the plural of a kind: told when a watch of it is answered.
    answered: Arc<Mutex<BTreeMap<String, Arc<Notify>>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    verb: &'static str,
    code: Cow<'static, str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verb {
    verb: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: Cow<'static, str>,
}

impl Default for Common {
    fn default() -> Self {
        Common {
            process: Arc::new(Process::begins()),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            watch_failures: Family::default(),
            watch_failing: Family::default(),
            updates: Counter::default(),
            update_errors: Counter::default(),
            config_loaded: Gauge::default(),
            config_stale: Gauge::default(),
            answered: Arc::default(),
        }
    }
}

impl Common {
    /// Adds them to what `/metrics` shows.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.process.clone()));
        registry.register(
            "ferrolb_build",
            "The version of the program: 1",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        let client = registry.sub_registry_with_prefix("metallb_k8s_client");
        client.register(
            "updates",
            "Objects that watches showed as new, changed or deleted",
            self.updates.clone(),
        );
        client.register(
            "update_errors",
            "Writes to the API server that failed, but for those where an object had changed or gone meanwhile",
            self.update_errors.clone(),
        );
        client.register(
            "config_loaded_bool",
            "1 once pools and advertisements were read from the API server, else 0",
            self.config_loaded.clone(),
        );
        client.register(
            "config_stale_bool",
            "1 while an IPAddressPool or L2Advertisement is not used, as something is wrong with it, else 0",
            self.config_stale.clone(),
        );
        let own = registry.sub_registry_with_prefix("ferrolb");
        own.register(
            "api_requests",
            "Requests to the API server, by verb (get is also list) and by the code of the answer: none where there was none",
            self.requests.clone(),
        );
        own.register(
            "api_request_seconds",
            "How long the API server took to begin an answer, by verb",
            self.request_seconds.clone(),
        );
        own.register(
            "watch_failures",
            "Watches that failed and were begun again, by kind of object",
            self.watch_failures.clone(),
        );
        own.register(
            "watch_failing",
            "Watches of a kind of object that do not work now: what the API server has of it cannot be read",
            self.watch_failing.clone(),
        );
    }

    /// A request was answered with this code, or not at all; so long that took.
    pub(crate) fn requested(&self, verb: &'static str, code: Option<u16>, took: Duration) {
        let code = code.map_or(Cow::Borrowed("none"), |code| match code {
            200 => Cow::Borrowed("200"),
            201 => Cow::Borrowed("201"),
            code => Cow::Owned(code.to_string()),
        });
        if writes(verb) && !matches!(&*code, "200" | "201" | "202" | "404" | "409") {
            self.update_errors.inc();
        }
        self.requests.get_or_create(&Request { verb, code }).inc();
        self.request_seconds.get_or_create(&Verb { verb }).observe(took.as_secs_f64());
    }

    /// A watch of a kind shows objects.
    pub(crate) fn updated(&self, count: usize) {
        self.updates.inc_by(count as u64);
    }

    /// The figures of one watch.
    pub(crate) fn watch(&self, kind: Cow<'static, str>) -> WatchMetrics {
        let answered = self.answers(&kind);
        let kind = Kind { kind };
        let failing = self.watch_failing.get_or_create(&kind).clone();
        WatchMetrics {
            failures: self.watch_failures.get_or_create(&kind).clone(),
            failing,
            is_failing: AtomicBool::new(false),
            answered,
        }
    }

    fn answers(&self, plural: &str) -> Arc<Notify> {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.entry(plural.to_owned()).or_default().clone()
    }

    /// The API server has answered to a watch of what is at the end of this path.
    pub(crate) fn watch_answered(&self, path: &str) {
        let plural = path.rsplit('/').next().unwrap_or_default();
        let answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner).get(plural).cloned();
        if let Some(answered) = answered {
            answered.notify_waiters();
        }
    }

    /// Pools and advertisements were read; whether all of them can be used.
    pub(crate) fn configured(&self, valid: bool) {
        self.config_loaded.set(1);
        self.config_stale.set(i64::from(!valid));
    }

    /// Gives each family a member, so that its labels can be seen.
    pub(crate) fn exemplify(&self) {
        self.requested("get", Some(200), Duration::ZERO);
        self.watch("services".into());
    }
}

fn writes(verb: &str) -> bool {
    !matches!(verb, "get" | "watch")
}

#[cfg(test)]
impl Common {
    /// All of them as text.
    pub(crate) fn text(&self) -> String {
        let (mut registry, mut text) = (Registry::default(), String::new());
        self.register(&mut registry);
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap_or_default();
        text
    }
}

/// What is counted of one watch.
#[derive(Debug)]
pub(crate) struct WatchMetrics {
    failures: Counter,
    failing: Gauge,
    is_failing: AtomicBool,
    answered: Arc<Notify>,
}

impl WatchMetrics {
    /// It failed.
    pub(crate) fn failed(&self) {
        self.failures.inc();
        self.set(true);
    }

    /// It works.
    pub(crate) fn works(&self) {
        self.set(false);
    }

    /// Whoever is told when the API server has answered to a watch of this kind.
    pub(crate) fn answered(&self) -> Arc<Notify> {
        self.answered.clone()
    }

    /// One kind may be watched in more than one way: then the number of watches that fail is shown.
    fn set(&self, failing: bool) {
        if self.is_failing.swap(failing, Ordering::Relaxed) != failing {
            self.failing.inc_by(if failing { 1 } else { -1 });
        }
    }
}

impl Drop for WatchMetrics {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// What every process says of itself, under the names that all have.
#[derive(Debug)]
struct Process {
    /// When it began, in seconds since 1970.
    started: f64,
}

impl Process {
    fn begins() -> Self {
        Process { started: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from).unwrap_or_default();
        let cpu = ConstCounter::new(time.as_secs_f64());
        let words = "Processor time that the process has taken";
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", words, None, cpu.metric_type())?)?;
        let started = ConstGauge::new(self.started);
        let words = "When the process began, in seconds since 1970";
        started.encode(encoder.encode_descriptor(
            "process_start_time_seconds",
            words,
            None,
            started.metric_type(),
        )?)?;
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = ConstGauge::new(kibibytes(&status, "VmRSS:") * 1024);
        let words = "What the process has in memory";
        resident.encode(encoder.encode_descriptor(
            "process_resident_memory_bytes",
            words,
            None,
            resident.metric_type(),
        )?)?;
        let open = std::fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or_default();
        // The folder that is being read is open, too.
        let open = ConstGauge::new(i64::try_from(open).unwrap_or(i64::MAX).saturating_sub(1));
        let words = "Files and sockets that the process has open";
        open.encode(encoder.encode_descriptor("process_open_fds", words, None, open.metric_type())?)
    }
}

fn kibibytes(status: &str, name: &str) -> i64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(common: &Common, name_and_labels: &str) -> f64 {
        let text = common.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name_and_labels)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name_and_labels} is not in\n{text}")).parse().unwrap()
    }

    #[test]
    fn a_write_that_failed_is_an_error_and_one_that_came_too_late_is_none() {
        let common = Common::default();
        for (verb, code) in [
            ("patch", Some(200)),
            ("patch", Some(409)),
            ("delete", Some(404)),
            ("create", Some(201)),
            ("get", Some(500)),
            ("watch", None),
            ("patch", Some(500)),
            ("create", Some(403)),
            ("patch", None),
        ] {
            common.requested(verb, code, Duration::from_millis(3));
        }
        assert_eq!(value(&common, "metallb_k8s_client_update_errors_total"), 3.0);
        assert_eq!(value(&common, r#"ferrolb_api_requests_total{verb="patch",code="none"}"#), 1.0);
        assert_eq!(value(&common, r#"ferrolb_api_request_seconds_bucket{le="0.005",verb="patch"}"#), 4.0);
        assert_eq!(value(&common, r#"ferrolb_api_request_seconds_bucket{le="0.002",verb="patch"}"#), 0.0);
    }

    #[test]
    fn a_kind_fails_while_any_watch_of_it_does() {
        let common = Common::default();
        let (one, other) = (common.watch("services".into()), common.watch("services".into()));
        let failing = || value(&common, r#"ferrolb_watch_failing{kind="services"}"#);
        one.failed();
        one.failed();
        other.failed();
        assert_eq!(failing(), 2.0);
        one.works();
        assert_eq!(failing(), 1.0);
        drop(other);
        assert_eq!(failing(), 0.0);
        assert_eq!(value(&common, r#"ferrolb_watch_failures_total{kind="services"}"#), 3.0);
    }

    #[test]
    fn the_process_tells_of_itself() {
        let common = Common::default();
        assert!(value(&common, "process_resident_memory_bytes") > 1e6);
        assert!(value(&common, "process_cpu_seconds_total") > 0.0);
        assert!(value(&common, "process_open_fds") >= 3.0);
        assert!(value(&common, "process_start_time_seconds") > 1.7e9);
    }
}
