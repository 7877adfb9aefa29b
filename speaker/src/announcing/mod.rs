//! The loop that owns the announcer, the sockets and the timer.
//!
//! One task does all of it, so nothing is locked and the order of things is fixed. Each turn does what is
//! due, at most `DUE` steps; opens the sockets whose time has come to be tried again; then takes one input, the first of:
//! 1. the end (SIGTERM): it drops the sockets, and with them every word about our addresses;
//! 2. news: addresses that are ours or no longer, other links. What is lost falls silent before any other frame
//!    is heard or sent, also before one that came earlier and waits;
//! 3. received frames, those that are there on one link, at most `BURST`; each is answered at once;
//! 4. more that is due;
//! 5. the timer: the next announcement, or the next try of a socket.

mod ports;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use ferrolb_core::announce::{Announcer, Effect, Link, LinkIndex};
use ferrolb_runtime::Token;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::cluster::News;
use crate::links::Links;
use crate::metrics::Metrics;
use crate::report::Report;
use crate::socket::{Datalink, FRAME, Port};

use ports::{Ports, is_passing};

/// How many frames are taken from one link before anything else is looked at.
const BURST: usize = 64;

/// How many frames are sent, or groups joined, before anything else is looked at.
const DUE: usize = 128;

/// What the loop is made of.
pub struct Parts<D> {
    /// Where sockets come from.
    pub datalink: D,
    /// What is ours, and no longer.
    pub news: mpsc::UnboundedReceiver<News>,
    /// The links.
    pub links: watch::Receiver<Links>,
    /// What is told of all this.
    pub report: Report,
    /// What is counted.
    pub metrics: Metrics,
    /// How often what is announced is announced again, if at all.
    pub refresh: Option<Duration>,
    /// Ready while each link has its socket.
    pub ready: Token,
    /// The clock: the time since some fixed moment.
    pub clock: fn() -> Duration,
    /// The end.
    pub shutdown: CancellationToken,
}

/// Answers and announces until `shutdown`.
pub async fn run<D: Datalink>(parts: Parts<D>) {
    let Parts { datalink, mut news, mut links, report, metrics, refresh, ready, clock, shutdown } = parts;
    let mut announcing = Announcing {
        announcer: Announcer::new(refresh),
        ports: Ports::new(datalink),
        links: BTreeMap::new(),
        report,
        metrics,
        ready,
        elected: false,
        known: false,
        complete: false,
    };
    // What was sent before this task began to listen is news too.
    links.mark_changed();
    loop {
        let more = announcing.act(clock());
        announcing.retry(clock());
        announcing.tell_complete(more);
        let wait = announcing.wait(clock());
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(news) = news.recv() => announcing.handle_news(news, clock()),
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
    announcer: Announcer,
    ports: Ports<D>,
    report: Report,
    links: BTreeMap<LinkIndex, Link>,
    metrics: Metrics,
    ready: Token,
    /// Whether the election was held.
    elected: bool,
    /// Whether the links are known.
    known: bool,
    /// Whether it was told that all there was at the start is announced.
    complete: bool,
}

impl<D: Datalink> Announcing<D> {
    /// Once the election was held and the links are known, and all is done that follows.
    fn tell_complete(&mut self, more: bool) {
        if !self.complete && self.elected && self.known && !more {
            self.complete = true;
            self.report.complete();
        }
    }

    fn handle_news(&mut self, news: News, now: Duration) {
        self.elected = true;
        if let Some(cover) = news.cover {
            let lost = self.ports.narrow(cover);
            lost.into_iter().for_each(|(link, error)| self.handle_received(link, Err(error), now));
        }
        for change in news.changes {
            let interfaces = change.ours.as_ref().ok().map(|ours| ours.interfaces.clone());
            self.announcer.desire(change.address, interfaces, now);
            self.report.changed(change, &self.announcer);
        }
    }

    fn handle_links(&mut self, links: Links, now: Duration) {
        let Some(links) = links else { return };
        self.known = true;
        self.links = links;
        self.ports.reconcile(&self.links, now);
        self.announcer.handle_links(self.ports.usable(&self.links), now);
        self.tell_readiness();
    }

    /// Does what is due, but not more than `DUE` steps; whether there may be more.
    fn act(&mut self, now: Duration) -> bool {
        for _ in 0..DUE {
            match self.announcer.next_effect(now) {
                Some(Effect::Send { link, address, frame }) => match self.ports.send(link, &frame) {
                    Ok(()) => self.metrics.announced(address),
                    Err(error) => self.not_sent(link, error, now),
                },
                Some(Effect::Join(link, group)) => {
                    if let Err(error) = self.ports.join(link, group) {
                        let interface = self.name(link);
                        tracing::warn!(interface, %group, %error, "cannot join the solicited-node group");
                        self.metrics.group_failed(interface);
                    }
                }
                Some(Effect::Leave(link, group)) => self.ports.leave(link, group),
                Some(Effect::Announcing { address, links }) => {
                    let name = |link| self.links.get(link).map(|link: &Link| link.name.as_str());
                    let names = links.iter().filter_map(name).collect();
                    self.report.announcing(address, &names);
                }
                None => return false,
            }
        }
        true
    }

    /// The asker asks again and an announcement is repeated, so what the kernel does not take now (a full queue, a link
    /// that has just gone down) is let go.
    fn not_sent(&mut self, link: LinkIndex, error: io::Error, now: Duration) {
        let interface = self.name(link);
        tracing::debug!(interface, %error, "a frame was not sent");
        self.handle_received(link, Err(error), now);
    }

    /// How long until something is due; `None` for ever.
    fn wait(&self, now: Duration) -> Option<Duration> {
        let deadline = self.announcer.next_deadline().into_iter().chain(self.ports.retry()).min()?;
        Some(deadline.saturating_sub(now))
    }

    /// Waits for frames and answers them: those that are there on one link, up to a burst.
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
                    let length = match port.poll_receive(context, &mut buffer) {
                        Poll::Ready(Ok(length)) => length,
                        Poll::Ready(Err(error)) => return Poll::Ready((link, Err(error))),
                        Poll::Pending => break,
                    };
                    handled += 1;
                    match announcer.handle_frame(link, &buffer[..length]) {
                        Ok(answer) => {
                            let sent = port.send(&answer.frame);
                            metrics.requested(answer.address, sent.is_ok());
                            if let Err(error) = sent {
                                return Poll::Ready((link, Err(error)));
                            }
                        }
                        Err(reason) => {
                            tracing::trace!(%link, %reason, "frame ignored");
                            metrics.ignored(reason);
                        }
                    }
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
        self.metrics.socket_failed(self.name(link));
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
        if !self.ports.is_failing() { self.ready.ready() } else { self.ready.not_ready() }
    }

    fn name(&self, link: LinkIndex) -> &str {
        self.links.get(&link).map_or("?", |link| link.name.as_str())
    }
}

#[cfg(test)]
mod tests;
