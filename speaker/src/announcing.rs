//! The loop that owns the announcer, the sockets and the timer.
//!
//! One task does all of it, so nothing is locked and the order of things is fixed. Each turn sends what is
//! due, at most twice `BURST` frames, answers before announcements; opens the sockets whose time has come to be
//! tried again; then takes one input, the first of:
//! 1. the end (SIGTERM): it drops the sockets, and with them every word about our addresses;
//! 2. news: another outcome of the election, other links. What is lost falls silent before any other frame
//!    is heard or sent;
//! 3. received frames, those that are there on one link, at most `BURST`: so that there is always room
//!    to answer them all and to announce as well, in the next turn;
//! 4. more to send;
//! 5. the timer: the next announcement, or the next try of a socket.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ferrolb_core::announce::{Announcer, Effect, Link, LinkIndex};
use ferrolb_core::election::{Announcement, Outcome};
use ferrolb_runtime::Token;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cluster::Elected;
use crate::links::Links;
use crate::metrics::Metrics;
use crate::report::Report;
use crate::socket::{Datalink, FRAME, Port};

/// How many frames are taken from one link before anything else is looked at.
const BURST: usize = 64;

/// How long to wait before a socket that could not be opened is tried again.
const REOPEN: Duration = Duration::from_secs(1);

/// What the loop is made of.
pub struct Parts<D> {
    /// This node's name.
    pub node: String,
    /// Where sockets come from.
    pub datalink: D,
    /// The election's outcome.
    pub elected: watch::Receiver<Elected>,
    /// The links.
    pub links: watch::Receiver<Links>,
    /// What is counted.
    pub metrics: Metrics,
    /// Ready while each link has its socket.
    pub ready: Token,
    /// The clock: the time since some fixed moment.
    pub clock: fn() -> Duration,
    /// The end.
    pub shutdown: CancellationToken,
}

/// Answers and announces until `shutdown`.
pub async fn run<D: Datalink>(parts: Parts<D>) {
    let Parts { node, datalink, mut elected, mut links, metrics, ready, clock, shutdown } = parts;
    let mut announcing = Announcing {
        announcer: Announcer::new(),
        ports: Ports { datalink, open: BTreeMap::new(), failed: BTreeMap::new(), last: None },
        report: Report::new(node.clone(), metrics.clone()),
        links: BTreeMap::new(),
        outcome: Arc::new(Outcome::default()),
        node,
        metrics,
        ready,
    };
    // What was sent before this task began to listen is news too.
    elected.mark_changed();
    links.mark_changed();
    loop {
        let more = announcing.act(clock());
        announcing.retry(clock());
        let wait = announcing.wait(clock());
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Ok(()) = elected.changed() => {
                let outcome = elected.borrow_and_update().clone();
                announcing.handle_outcome(outcome, clock());
            }
            Ok(()) = links.changed() => {
                let links = links.borrow_and_update().clone();
                announcing.handle_links(links, clock());
            }
            (link, result) = announcing.receive() => announcing.handle_received(link, result, clock()),
            // Through the scheduler, so that a backlog does not keep SIGTERM, which shares this task, from being seen.
            () = tokio::task::yield_now(), if more => {}
            // What is due is done at the top of the loop.
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
        }
    }
    announcing.report.ended();
}

struct Announcing<D: Datalink> {
    node: String,
    announcer: Announcer,
    ports: Ports<D>,
    report: Report,
    links: BTreeMap<LinkIndex, Link>,
    outcome: Arc<Outcome>,
    metrics: Metrics,
    ready: Token,
}

impl<D: Datalink> Announcing<D> {
    fn handle_outcome(&mut self, outcome: Elected, now: Duration) {
        let Some(outcome) = outcome else { return };
        self.outcome = outcome;
        let desired: BTreeMap<IpAddr, Announcement> = self.outcome.desired(&self.node);
        let interfaces = desired.iter().map(|(address, ours)| (*address, ours.interfaces.clone())).collect();
        self.announcer.handle_desired(interfaces, now);
        self.report.desired(desired, &self.announcer);
    }

    fn handle_links(&mut self, links: Links, now: Duration) {
        let Some(links) = links else { return };
        self.links = links;
        self.ports.reconcile(&self.links, now);
        self.announcer.handle_links(self.ports.usable(&self.links), now);
        self.tell_readiness();
    }

    /// Sends what is due, but not more than two bursts; whether there may be more.
    fn act(&mut self, now: Duration) -> bool {
        for _ in 0..2 * BURST {
            match self.announcer.next_effect(now) {
                Some(Effect::Send { link, address, purpose, frame }) => match self.ports.send(link, &frame) {
                    Ok(()) => self.metrics.sent(address, purpose),
                    Err(error) => {
                        // The asker asks again and an announcement is repeated, so what the kernel does
                        // not take now (a full queue, a link that has just gone down) is let go.
                        let name = self.name(link);
                        tracing::debug!(interface = name, ip = %address, %error, "a frame was not sent");
                        self.metrics.send_failed(name);
                        if is_gone(&error) {
                            self.handle_received(link, Err(error), now);
                        }
                    }
                },
                Some(Effect::Announcing { address, links }) => {
                    let name = |link| self.links.get(link).map(|link: &Link| link.name.as_str());
                    let names: BTreeSet<&str> = links.iter().filter_map(name).collect();
                    self.report.announcing(address, &names, &self.outcome);
                }
                None => return false,
            }
        }
        true
    }

    /// How long until something is due; `None` for ever.
    fn wait(&self, now: Duration) -> Option<Duration> {
        let deadline = self.announcer.next_deadline().into_iter().chain(self.ports.retry()).min()?;
        Some(deadline.saturating_sub(now))
    }

    /// Waits for frames and hands them to the announcer: those that are there on one link, up to a burst.
    /// Links take turns, so that none keeps the others from being heard.
    ///
    /// May be dropped at any time: a frame that was taken was handled.
    async fn receive(&mut self) -> (LinkIndex, io::Result<()>) {
        let Announcing { ports, announcer, metrics, .. } = self;
        let mut buffer = [0; FRAME];
        let (link, result) = poll_fn(|context| {
            for (link, port) in ports.in_turn() {
                let mut handled = 0;
                while handled < BURST {
                    match port.poll_receive(context, &mut buffer) {
                        Poll::Ready(Ok(length)) => handle_frame(announcer, metrics, link, &buffer[..length]),
                        Poll::Ready(Err(error)) => return Poll::Ready((link, Err(error))),
                        Poll::Pending => break,
                    }
                    handled += 1;
                }
                if handled > 0 {
                    return Poll::Ready((link, Ok(())));
                }
            }
            Poll::Pending
        })
        .await;
        ports.last = Some(link);
        (link, result)
    }

    fn handle_received(&mut self, link: LinkIndex, result: io::Result<()>, now: Duration) {
        let Err(error) = result else { return };
        if is_passing(&error) {
            return;
        }
        tracing::info!(interface = self.name(link), %error, "socket lost; opening it again");
        self.ports.close(link, now);
        self.announcer.handle_links(self.ports.usable(&self.links), now);
        self.tell_readiness();
    }

    /// Opens again what could not be opened, when its time has come: at each turn, so that frames that never end
    /// on one link do not keep another one closed.
    fn retry(&mut self, now: Duration) {
        if self.ports.retry().is_some_and(|at| at <= now) {
            self.ports.reconcile(&self.links, now);
            self.announcer.handle_links(self.ports.usable(&self.links), now);
            self.tell_readiness();
        }
    }

    fn tell_readiness(&self) {
        if self.ports.failed.is_empty() { self.ready.ready() } else { self.ready.not_ready() }
    }

    fn name(&self, link: LinkIndex) -> &str {
        self.links.get(&link).map_or("?", |link| link.name.as_str())
    }
}

fn handle_frame(announcer: &mut Announcer, metrics: &Metrics, link: LinkIndex, frame: &[u8]) {
    match announcer.handle_frame(link, frame) {
        Ok(address) => metrics.requested(address),
        Err(reason) => {
            tracing::trace!(%link, %reason, "frame ignored");
            metrics.ignored(reason);
        }
    }
}

/// Whether a socket lives on after this error. A link that goes down says so once, and its socket works
/// again when it comes up; one whose link was deleted is replaced when netlink tells.
fn is_passing(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    matches!(code, Some(libc::ENETDOWN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR | libc::EAGAIN))
}

/// Whether the error says that the socket's link was deleted. Another one of its index is another link.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ENODEV))
}

/// Says in words why a socket cannot be opened, and what to do.
fn explain(interface: &str, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => format!(
            "not allowed to open a packet socket on {interface}: the container needs the capability NET_RAW; \
             trying again each second"
        ),
        _ => format!("cannot open a packet socket on {interface}: {error}; trying again each second"),
    }
}

/// The sockets, one for each link.
struct Ports<D: Datalink> {
    datalink: D,
    /// With how often the link had come up: a link that went and came back may be another one.
    open: BTreeMap<LinkIndex, (u64, D::Port)>,
    /// When to try again, and what was said of it last.
    failed: BTreeMap<LinkIndex, (Duration, String)>,
    /// The link that was last heard.
    last: Option<LinkIndex>,
}

impl<D: Datalink> Ports<D> {
    /// Opens what is missing and closes what is not needed.
    fn reconcile(&mut self, links: &BTreeMap<LinkIndex, Link>, now: Duration) {
        self.open.retain(|index, (ups, _)| links.get(index).is_some_and(|link| link.ups == *ups));
        self.failed.retain(|index, _| links.contains_key(index));
        for (index, link) in links {
            if self.open.contains_key(index) {
                continue;
            }
            match self.datalink.open(*index) {
                Ok(port) => {
                    self.open.insert(*index, (link.ups, port));
                    if self.failed.remove(index).is_some() {
                        tracing::info!(interface = link.name, "socket opened");
                    }
                }
                Err(error) => {
                    let text = explain(&link.name, &error);
                    let told = self.failed.insert(*index, (now + REOPEN, text.clone()));
                    if told.is_none_or(|(_, told)| told != text) {
                        tracing::error!("{text}");
                    }
                }
            }
        }
    }

    /// Closes one, to be opened again soon.
    fn close(&mut self, link: LinkIndex, now: Duration) {
        self.open.remove(&link);
        self.failed.entry(link).or_insert((now + REOPEN, String::new()));
    }

    /// The links that have a socket: on others nothing is announced.
    fn usable(&self, links: &BTreeMap<LinkIndex, Link>) -> BTreeMap<LinkIndex, Link> {
        let open = links.iter().filter(|(index, _)| self.open.contains_key(index));
        open.map(|(index, link)| (*index, link.clone())).collect()
    }

    /// When a socket that is missing is to be tried again.
    fn retry(&self) -> Option<Duration> {
        self.failed.values().map(|(at, _)| *at).min()
    }

    fn send(&self, link: LinkIndex, frame: &[u8]) -> io::Result<()> {
        let (_, port) = self.open.get(&link).ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        port.send(frame)
    }

    /// All sockets, beginning with the one after the last that was heard.
    fn in_turn(&self) -> impl Iterator<Item = (LinkIndex, &D::Port)> {
        let after = |index: &LinkIndex| self.last.is_some_and(|last| *index > last);
        let later = self.open.iter().filter(move |(index, _)| after(index));
        let earlier = self.open.iter().filter(move |(index, _)| !after(index));
        later.chain(earlier).map(|(index, (_, port))| (*index, port))
    }
}

#[cfg(test)]
mod tests;
