//! The loop that owns the speaker's machine, the sockets and the timer.
//!
//! One task does all of it, so nothing is locked and the order of things is fixed. Each turn reads the hellos that wait, if anything
//! is due; does what is due, at most `DUE` steps; opens the sockets whose time has come to be tried again; then takes one input, the first of:
//! 1. the end (SIGTERM): it is told to the other speakers, and what is ours is answered for until another one does;
//! 2. news: addresses that are ours or no longer, other links, keys, the health of this node and of others. What is lost
//!    falls silent before any other frame is heard or sent, also before one that came earlier and waits;
//! 3. received frames, those that are there on one link, at most `BURST`; each is answered at once;
//! 4. more that is due, and what is to be told of it in the log and to the API;
//! 5. the timer: the next hello or announcement, or the next try of a socket.

mod act;
mod hear;
mod inquire;
mod ports;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ferrolb_core::announce::{Link, LinkIndex};
use ferrolb_core::hello_key::Keys;
use ferrolb_core::speaker::{Config, Speaker, Transports};
use ferrolb_runtime::Token;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::cluster::News;
use crate::links::Links;
use crate::metrics::Metrics;
use crate::report::Report;
use crate::socket::Datalink;

use hear::Lost;
pub use inquire::Inquiry;
use ports::{Ports, is_passing};

/// What the loop is made of.
pub struct Parts<D> {
    /// What the machine is told once.
    pub config: Config,
    /// Where sockets come from.
    pub datalink: D,
    /// The UDP port of hellos by datagram, if there are to be any.
    pub hello_port: Option<u16>,
    /// What the API says.
    pub news: mpsc::UnboundedReceiver<News>,
    /// The links.
    pub links: watch::Receiver<Links>,
    /// The keys of the hellos.
    pub keys: watch::Receiver<Arc<Keys>>,
    /// Whether traffic would end at this node.
    pub unfit: watch::Receiver<bool>,
    /// Whether this node is on its way out: what is ours goes to others when the program ends.
    pub going: watch::Receiver<bool>,
    /// Told whether this speaker cannot be heard yet, as it has no key: others read that from the API.
    pub keyless: watch::Sender<bool>,
    /// What is found out for the machine.
    pub findings: mpsc::UnboundedReceiver<Finding>,
    /// What is to be found out.
    pub questions: mpsc::UnboundedSender<AskedFor>,
    /// What people ask.
    pub inquiries: mpsc::UnboundedReceiver<Inquiry>,
    /// What is told of all this.
    pub report: Report,
    /// What is counted.
    pub metrics: Metrics,
    /// Ready once it has listened, while each link has its socket. Whoever replaces speakers one by one waits for that: one that
    /// has not listened does not know what the next one had.
    pub ready: Token,
    /// The clock: the time since some fixed moment, going on while the machine is suspended.
    pub clock: fn() -> Duration,
    /// The end.
    pub shutdown: CancellationToken,
}

/// Something that only others can find out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskedFor {
    /// Whether what the watches show is what the API server says now, after a pause.
    View,
    /// Whether the proxy of a node works, at this address.
    Proxy(Arc<str>, std::net::IpAddr),
}

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// What the watches show may be out of date, or not; found out by itself.
    Stale(bool),
    /// The answer to [`AskedFor::View`].
    View {
        /// Whether it is out of date.
        stale: bool,
    },
    /// The proxy of this node does not work.
    ProxyFailed(Arc<str>),
}

/// Answers and announces until `shutdown`, and until others do what is ours, for half a second at most.
pub async fn run<D: Datalink>(parts: Parts<D>) {
    let Parts {
        config,
        datalink,
        hello_port,
        mut news,
        mut links,
        mut keys,
        mut unfit,
        going,
        mut findings,
        mut inquiries,
        ..
    } = parts;
    let (report, metrics, ready, clock, shutdown) =
        (parts.report, parts.metrics, parts.ready, parts.clock, parts.shutdown);
    let mut announcing = Announcing {
        datagrams_alone: config.transports == Transports::Udp,
        speaker: Speaker::new(config),
        ports: Ports::new(datalink, hello_port),
        links: BTreeMap::new(),
        report,
        metrics,
        ready,
        questions: parts.questions,
        keyless: parts.keyless,
        views: 0,
        generation: 0,
        known: false,
        elected: false,
        complete: false,
        listened: false,
        read: Duration::ZERO,
    };
    // Without keys there is nothing to listen to.
    announcing.speaker.set_keys(keys.borrow_and_update().clone(), clock());
    // What was sent before this task began to listen is news too.
    links.mark_changed();
    unfit.mark_changed();
    let mut ending = false;
    loop {
        announcing.read_waiting(clock);
        let more = announcing.act(clock);
        announcing.retry(clock());
        // The log and the API come after the network.
        if !more {
            announcing.report.tell_some(clock());
        }
        announcing.tell_complete(more);
        announcing.look_for_readiness(clock());
        announcing.tell_keyless(clock());
        announcing.look_for_silence(clock());
        if ending && announcing.speaker.is_done(clock()) {
            break;
        }
        let wait = announcing.wait(clock());
        tokio::select! {
            biased;
            () = shutdown.cancelled(), if !ending => {
                ending = true;
                announcing.speaker.end(!*going.borrow(), clock());
            }
            Some(news) = news.recv() => announcing.handle_news(news, clock()),
            Ok(()) = links.changed() => {
                let links = links.borrow_and_update().clone();
                announcing.handle_links(links, clock());
            }
            Ok(()) = keys.changed() => {
                let keys = keys.borrow_and_update().clone();
                announcing.speaker.set_keys(keys, clock());
            }
            Ok(()) = unfit.changed() => {
                let unfit = *unfit.borrow_and_update();
                announcing.speaker.set_unfit(unfit, clock());
            }
            Some(finding) = findings.recv() => announcing.handle_finding(finding, clock()),
            Some(inquiry) = inquiries.recv() => announcing.inquire(inquiry, clock()),
            (link, result) = announcing.receive(clock) => match result {
                Ok(()) => {}
                Err(Lost::Frames(error)) => announcing.handle_received(link, Err(error), clock()),
                Err(Lost::Datagrams(error)) => announcing.lose_datagrams(link, &error, clock()),
            },
            // Through the scheduler, so that a backlog does not keep SIGTERM, which shares this task, from being seen.
            () = tokio::task::yield_now(), if more => {}
            // What is due is done at the top of the loop.
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
        }
    }
    announcing.report.ended();
}

struct Announcing<D: Datalink> {
    speaker: Speaker,
    ports: Ports<D>,
    report: Report,
    links: BTreeMap<LinkIndex, Link>,
    metrics: Metrics,
    ready: Token,
    questions: mpsc::UnboundedSender<AskedFor>,
    keyless: watch::Sender<bool>,
    /// Whether hellos go by datagram because a flag says so.
    datagrams_alone: bool,
    /// How many answers about the view are awaited.
    views: u32,
    /// The speaker's, when it was last looked for addresses without a link.
    generation: u64,
    /// Whether the election was held.
    elected: bool,
    /// Whether the links are known.
    known: bool,
    /// Whether it was told that all there was at the start is announced.
    complete: bool,
    /// Whether it has listened once: a link that comes later does not make it any less ready.
    listened: bool,
    /// When the hellos that wait were read last.
    read: Duration,
}

impl<D: Datalink> Announcing<D> {
    /// Once the election was held and the links are known, and all is done that follows.
    fn tell_complete(&mut self, more: bool) {
        let told = self.report.telling().is_none();
        if !self.complete && self.elected && self.known && !more && told {
            self.complete = true;
            self.report.complete();
        }
    }

    fn tell_keyless(&mut self, now: Duration) {
        let keyless = self.speaker.is_keyless(now);
        self.keyless.send_if_modified(|known| std::mem::replace(known, keyless) != keyless);
    }

    fn look_for_silence(&mut self, now: Duration) {
        let (links, speaker) = (&self.links, &self.speaker);
        let name = |link| links.get(&link).map_or("?", |link: &Link| link.name.as_str());
        self.report.look_for_silence(speaker, name, now);
    }

    fn handle_news(&mut self, news: News, now: Duration) {
        self.elected = true;
        if let Some(cover) = news.cover {
            let lost = self.ports.narrow(cover);
            lost.into_iter().for_each(|(link, error)| self.handle_received(link, Err(error), now));
        }
        self.speaker.handle_news(news.roster, &news.changes, now);
        for change in &news.changes {
            self.report.changed(change, &self.speaker);
        }
    }

    fn handle_finding(&mut self, finding: Finding, now: Duration) {
        match finding {
            // After a pause only an answer that was asked for after it counts.
            Finding::Stale(stale) if self.views == 0 => self.speaker.set_stale(stale, now),
            Finding::Stale(_) => {}
            Finding::View { stale } => {
                self.views = self.views.saturating_sub(1);
                if self.views == 0 {
                    self.speaker.set_stale(stale, now);
                }
            }
            Finding::ProxyFailed(node) => self.speaker.proxy_failed(&node, now),
        }
    }

    fn handle_links(&mut self, links: Links, now: Duration) {
        let Some(links) = links else { return };
        self.known = true;
        self.links = links;
        self.ports.reconcile(&self.links, now);
        self.speaker.handle_links(self.ports.usable(&self.links), now);
        self.tell_readiness();
    }

    /// How long until something is due; `None` for ever.
    fn wait(&self, now: Duration) -> Option<Duration> {
        let reading = self.speaker.patience().map(|patience| self.read + patience);
        let telling = self.report.telling();
        let others = self.ports.retry().into_iter().chain(reading).chain(telling);
        let deadline = self.speaker.next_deadline().into_iter().chain(others).min()?;
        Some(deadline.saturating_sub(now))
    }

    fn handle_received(&mut self, link: LinkIndex, result: io::Result<()>, now: Duration) {
        let Err(error) = result else { return };
        self.metrics.socket_failed(self.name(link));
        if is_passing(&error) {
            return;
        }
        tracing::info!(interface = self.name(link), %error, "socket lost; opening it again");
        self.ports.close(link, now);
        self.speaker.handle_links(self.ports.usable(&self.links), now);
        self.tell_readiness();
    }

    /// Opens again what could not be opened, when its time has come: at each turn, so that frames that never end
    /// on one link do not keep another one closed.
    fn retry(&mut self, now: Duration) {
        if self.ports.retry().is_some_and(|at| at <= now) {
            self.ports.reconcile(&self.links, now);
            self.speaker.handle_links(self.ports.usable(&self.links), now);
            self.tell_readiness();
        }
    }

    fn look_for_readiness(&mut self, now: Duration) {
        if !self.listened && self.known && self.speaker.has_listened(now) {
            self.listened = true;
            self.tell_readiness();
        }
    }

    fn tell_readiness(&self) {
        let ready = self.listened && !self.ports.is_failing();
        if ready { self.ready.ready() } else { self.ready.not_ready() }
    }

    fn name(&self, link: LinkIndex) -> &str {
        self.links.get(&link).map_or("?", |link| link.name.as_str())
    }
}

#[cfg(test)]
mod tests;
