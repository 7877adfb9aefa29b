//! Asks the service proxy of this node whether it has endpoints of a Service here, as it tells load balancers at the Service's
//! `spec.healthCheckNodePort`: with 200 if it has and works, with 503 if not. kube-proxy says so once its rules are renewed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

use super::health::{Failure, ask};

/// For so many Services it is asked at once; so, with one question each 20 ms for each of them, 800 times a second at most.
pub const AT_ONCE: usize = 16;

/// How often, and for how long.
#[derive(Clone, Copy, Debug)]
struct Timing {
    /// From an answer to the next question.
    every: Duration,
    /// For an answer.
    answer: Duration,
    /// In all where nobody answers: then it is as if the proxy had said yes, as it may tell nobody.
    silent: Duration,
    /// In all where it says no: it mostly needs a second at most, and longer with thousands of Services.
    denied: Duration,
}

const TIMING: Timing = Timing {
    every: Duration::from_millis(20),
    answer: Duration::from_millis(100),
    silent: Duration::from_secs(3),
    denied: Duration::from_secs(10),
};

/// Waits until the proxy says at `port`, of one of `addresses` or the loopback, that it has endpoints of the Service on this node:
/// 10 s at most, and 3 s where nobody answers.
///
/// It may listen on some of the node's addresses alone (kube-proxy: `nodePortAddresses`), so it is asked on all at once, and from
/// the first answer on where it gave one.
pub async fn wait(addresses: &[IpAddr], port: u16, permits: &Semaphore) {
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let all = loopback.iter().chain(addresses).map(|address| SocketAddr::new(*address, port));
    wait_at(&all.collect::<Vec<_>>(), permits, TIMING).await;
}

async fn wait_at(all: &[SocketAddr], permits: &Semaphore, timing: Timing) {
    let began = Instant::now();
    let asking = async {
        let (mut listening, mut denied) = (all.to_vec(), false);
        loop {
            let _permit = permits.acquire().await;
            match has_endpoints(&listening, timing.answer).await {
                Ok(()) => return true,
                Err(said_no) if said_no.is_empty() => listening = all.to_vec(),
                Err(said_no) => (listening, denied) = (said_no, true),
            }
            if !denied && began.elapsed() >= timing.silent {
                return false;
            }
            sleep(timing.every).await;
        }
    };
    let port = all.first().map_or(0, SocketAddr::port);
    if timeout_at(began + timing.denied, asking).await == Ok(true) {
        tracing::debug!(port, took = ?began.elapsed(), "the service proxy has the endpoints here");
    } else {
        tracing::debug!(port, "the service proxy does not say that it has the endpoints here");
    }
}

/// Asks at all of `addresses` at once; the first yes is enough.
///
/// # Errors
/// The addresses at which the answer was no, of a proxy that gave no other.
async fn has_endpoints(addresses: &[SocketAddr], limit: Duration) -> Result<(), Vec<SocketAddr>> {
    let each = addresses.iter().map(async |address| (*address, ask(*address, limit).await));
    let mut answers: FuturesUnordered<_> = each.collect();
    let mut said_no = Vec::new();
    while let Some((address, answer)) = answers.next().await {
        match answer {
            Ok(()) => return Ok(()),
            Err(Failure::Status(_)) => said_no.push(address),
            Err(why) => tracing::trace!(%address, %why, "no answer of the proxy"),
        }
    }
    Err(said_no)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const QUICK: Timing = Timing {
        every: Duration::from_millis(1),
        answer: Duration::from_secs(10),
        silent: Duration::from_secs(60),
        denied: Duration::from_secs(60),
    };

    /// A proxy that says no to so many questions and yes to all after these; and how often it was asked.
    async fn proxy(no: usize) -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let before = count.fetch_add(1, Ordering::SeqCst);
                let words = if before < no { "503 Service Unavailable" } else { "200 OK" };
                let _ = stream.read(&mut [0; 1024]).await;
                let answer = format!("HTTP/1.1 {words}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        (address, asked)
    }

    /// An address at which nobody listens.
    async fn nowhere() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn it_is_asked_until_it_says_yes_on_any_address() {
        let (address, asked) = proxy(3).await;
        wait_at(&[nowhere().await, address], &Semaphore::new(1), QUICK).await;
        assert_eq!(asked.load(Ordering::SeqCst), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_says_so_is_not_waited_for_for_ever() {
        let began = Instant::now();
        wait_at(&[nowhere().await], &Semaphore::new(1), TIMING).await;
        assert!(
            began.elapsed() >= TIMING.silent && began.elapsed() < 2 * TIMING.silent,
            "{:?}",
            began.elapsed()
        );
    }

    #[tokio::test]
    async fn who_says_no_is_waited_for_longer() {
        let quick = Timing { silent: Duration::ZERO, denied: Duration::from_millis(200), ..QUICK };
        let (address, asked) = proxy(usize::MAX).await;
        let began = Instant::now();
        wait_at(&[nowhere().await, address], &Semaphore::new(1), quick).await;
        assert!(began.elapsed() >= quick.denied, "{:?}", began.elapsed());
        assert!(asked.load(Ordering::SeqCst) > 1, "once it said no it is asked again");
    }

    /// An address of the node's at which questions go nowhere, as that by which it is known outside.
    #[tokio::test]
    async fn an_address_that_is_silent_does_not_keep_back_what_another_one_says() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, asked) = proxy(3).await;
        let short = Timing { answer: Duration::from_millis(500), ..QUICK };
        let began = Instant::now();
        wait_at(&[silent.local_addr().unwrap(), address], &Semaphore::new(1), short).await;
        assert_eq!(asked.load(Ordering::SeqCst), 4);
        let took = began.elapsed();
        assert!(took < 2 * short.answer, "it was waited for once at most: {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn nor_is_the_end_of_many_other_questions() {
        let permits = Semaphore::new(1);
        let _taken = permits.acquire().await.unwrap();
        wait_at(&[nowhere().await], &permits, TIMING).await;
    }
}
