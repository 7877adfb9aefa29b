//! Keeps connections open and uses them, so that it is seen which of them end.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::host::Host;

/// How often each connection asks.
const EVERY: Duration = Duration::from_millis(100);

/// How long a connection may take to come about and to be answered for the first time.
const OPENED: Duration = Duration::from_secs(5);

/// A connection that waits for an answer for longer than this at the end has stalled.
const STALLED: Duration = Duration::from_secs(1);

/// Connections that are open and in use. They end when dropped.
#[derive(Debug)]
pub struct Held {
    stop: watch::Sender<bool>,
    states: Arc<Mutex<Vec<State>>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// What became of the connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fates {
    /// How many there were.
    pub of: usize,
    /// How many were reset or ended by the other side.
    pub reset: usize,
    /// How many still wait for an answer, for longer than a second.
    pub stalled: usize,
    /// The longest that an answer took that came.
    pub longest: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Since when it waits for an answer.
    waiting: Option<Instant>,
    reset: bool,
    longest: Duration,
}

impl Held {
    /// `host` opens `count` connections to the echo server at `address` and asks on each ten times a second. Returns
    /// when each was answered once.
    ///
    /// # Errors
    /// When one of them does not come about.
    pub fn open(host: &Host, address: SocketAddr, count: usize) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let states = Arc::new(Mutex::new(vec![State::default(); count]));
        let (told, opened) = std::sync::mpsc::channel();
        let into = states.clone();
        let thread = host.start(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let connected = open(address, count).await;
                let streams = match connected {
                    Ok(streams) => streams,
                    Err(error) => return drop(told.send(Err(error))),
                };
                // Whoever waited for it may have given up.
                let _ = told.send(Ok(()));
                keep(streams, &into, stopped).await;
            });
            Ok(())
        });
        opened.recv().unwrap_or_else(|_| Err(io::Error::other("the host could not be entered")))?;
        Ok(Held { stop, states, thread: Some(thread) })
    }

    /// What became of them so far.
    pub fn so_far(&self) -> Fates {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        Fates {
            of: states.len(),
            reset: states.iter().filter(|state| state.reset).count(),
            stalled: states
                .iter()
                .filter(|state| state.waiting.is_some_and(|since| since.elapsed() > STALLED))
                .count(),
            longest: states.iter().map(|state| state.longest).max().unwrap_or_default(),
        }
    }

    /// Ends them and says what had become of them.
    ///
    /// # Errors
    /// When the host could not be entered.
    pub fn stop(mut self) -> io::Result<Fates> {
        let fates = self.so_far();
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the held connections panicked")))?;
        }
        Ok(fates)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

async fn open(address: SocketAddr, count: usize) -> io::Result<Vec<TcpStream>> {
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        let opened = tokio::time::timeout(OPENED, async {
            let mut stream = TcpStream::connect(address).await?;
            exchange(&mut stream).await?;
            Ok::<_, io::Error>(stream)
        });
        streams.push(opened.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?);
    }
    Ok(streams)
}

/// Uses the connections until all ended or it is to stop.
async fn keep(streams: Vec<TcpStream>, states: &Arc<Mutex<Vec<State>>>, mut stopped: watch::Receiver<bool>) {
    let mut uses = JoinSet::new();
    for (index, mut stream) in streams.into_iter().enumerate() {
        let states = states.clone();
        uses.spawn(async move {
            let change = |change: &dyn Fn(&mut State)| {
                change(&mut states.lock().unwrap_or_else(PoisonError::into_inner)[index]);
            };
            loop {
                let asked = Instant::now();
                change(&|state| state.waiting = Some(asked));
                if exchange(&mut stream).await.is_err() {
                    return change(&|state| (state.waiting, state.reset) = (None, true));
                }
                change(&|state| {
                    (state.waiting, state.longest) = (None, state.longest.max(asked.elapsed()));
                });
                tokio::time::sleep(EVERY).await;
            }
        });
    }
    // Dropped, the uses end and their connections with them.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// One request, and its answer to the end.
async fn exchange(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: echo\r\n\r\n").await?;
    let mut text = Vec::new();
    let mut buffer = [0; 1024];
    while !text.ends_with(b"\n") || !text.windows(7).any(|bytes| bytes == b"client=") {
        match stream.read(&mut buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => text.extend_from_slice(&buffer[..length]),
        }
    }
    Ok(())
}
