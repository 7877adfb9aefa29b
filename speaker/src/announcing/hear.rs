//! What comes in: frames, those of hellos that wait, and datagrams.

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use ferrolb_core::announce::LinkIndex;
use ferrolb_core::peers::Transport;
use ferrolb_core::speaker::Speaker;
use ferrolb_core::wire::is_hello;

use crate::metrics::Metrics;
use crate::socket::{Datalink, HELLO_FRAME, Port};

use super::Announcing;
use super::ports::is_passing;

/// How many frames are taken from one link before anything else is looked at.
pub(super) const BURST: usize = 64;

/// How many hellos that waited are read from one link at a time: more than its socket holds.
const WAITING: usize = 512;

/// What could not be read from.
pub(super) enum Lost {
    Frames(io::Error),
    Datagrams(io::Error),
}

impl<D: Datalink> Announcing<D> {
    /// Where something is due: what waits is heard first. A silence that is over must not be acted on.
    pub(super) fn read_waiting(&mut self, clock: fn() -> Duration) {
        let now = clock();
        if self.wait(now).is_none_or(|wait| !wait.is_zero()) {
            return;
        }
        self.read = now;
        let Announcing { ports, speaker, metrics, .. } = self;
        let read = |(link, port)| Some((link, read_waiting(speaker, metrics, (link, port), clock).err()?));
        let lost: Vec<(LinkIndex, io::Error)> = ports.iter().filter_map(read).collect();
        lost.into_iter().for_each(|(link, error)| self.handle_received(link, Err(error), now));
    }

    /// Waits for frames and datagrams, and answers frames: those that are there on one link, up to a burst of each.
    /// Links take turns, so that none keeps the others from being heard.
    ///
    /// May be dropped at any time: a frame that was taken was handled.
    pub(super) async fn receive(&mut self, clock: fn() -> Duration) -> (LinkIndex, Result<(), Lost>) {
        let Announcing { ports, speaker, metrics, .. } = self;
        let mut buffer = [0; HELLO_FRAME];
        let (link, result) = poll_fn(|context| {
            for (link, port) in ports.in_turn() {
                let mut datagrams = 0;
                while datagrams < BURST {
                    let (length, from) = match port.poll_datagram(context, &mut buffer) {
                        Poll::Ready(Ok(received)) => received,
                        Poll::Ready(Err(error)) => return Poll::Ready((link, Err(Lost::Datagrams(error)))),
                        Poll::Pending => break,
                    };
                    datagrams += 1;
                    match speaker.handle_datagram(link, from, &buffer[..length], clock()) {
                        Ok(()) => metrics.heard(Transport::Udp),
                        Err(reason) => {
                            tracing::trace!(%link, %from, %reason, "datagram ignored");
                            metrics.ignored(reason);
                        }
                    }
                }
                let mut frames = 0;
                while frames < BURST {
                    let (length, age) = match port.poll_receive(context, &mut buffer) {
                        Poll::Ready(Ok(received)) => received,
                        Poll::Ready(Err(error)) => return Poll::Ready((link, Err(Lost::Frames(error)))),
                        Poll::Pending => break,
                    };
                    frames += 1;
                    let handled = if is_hello(&buffer[..length]) {
                        // What its sender said before comes first: messages count in their order.
                        if let Err(error) = read_waiting(speaker, metrics, (link, port), clock) {
                            return Poll::Ready((link, Err(Lost::Frames(error))));
                        }
                        let now = clock();
                        let received = now.saturating_sub(age);
                        let heard = speaker.handle_hello(link, &buffer[..length], received, now);
                        heard.map(|()| {
                            metrics.heard(Transport::Ethernet);
                            None
                        })
                    } else {
                        speaker.handle_frame(link, &buffer[..length], clock())
                    };
                    match handled {
                        Ok(None) => {}
                        Ok(Some(answer)) => {
                            let sent = port.send(&answer.frame);
                            metrics.requested(answer.address, sent.is_ok());
                            if let Err(error) = sent {
                                return Poll::Ready((link, Err(Lost::Frames(error))));
                            }
                        }
                        Err(reason) => {
                            tracing::trace!(%link, %reason, "frame ignored");
                            metrics.ignored(reason);
                        }
                    }
                }
                if frames + datagrams > 0 {
                    return Poll::Ready((link, Ok(())));
                }
            }
            Poll::Pending
        })
        .await;
        ports.last = Some(link);
        (link, result)
    }

    pub(super) fn lose_datagrams(&mut self, link: LinkIndex, error: &io::Error, now: Duration) {
        self.metrics.socket_failed(self.name(link));
        if !is_passing(error) {
            tracing::info!(interface = self.name(link), %error, "socket for datagrams lost; opening it again");
            self.ports.close_datagrams(link, now);
        }
    }
}

/// Hears the hellos that wait on a link; at most `WAITING`, so that a flood of forged ones does not keep it here.
fn read_waiting<P: Port>(
    speaker: &mut Speaker,
    metrics: &Metrics,
    (link, port): (LinkIndex, &P),
    clock: fn() -> Duration,
) -> io::Result<()> {
    let mut buffer = [0; HELLO_FRAME];
    for _ in 0..WAITING {
        let Some((length, age)) = port.read_waiting(&mut buffer)? else { break };
        let now = clock();
        let received = now.saturating_sub(age);
        match speaker.handle_waiting(link, &buffer[..length], received, now) {
            Ok(()) => metrics.heard(Transport::Ethernet),
            Err(reason) => {
                tracing::trace!(%link, %reason, "frame ignored");
                metrics.ignored(reason);
            }
        }
    }
    Ok(())
}
