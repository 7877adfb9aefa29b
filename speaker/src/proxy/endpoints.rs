//! Asks the service proxy of this node whether it has endpoints of a Service here, as it tells load balancers at the Service's
//! `spec.healthCheckNodePort`: with 200 if it has and works, with 503 if not. kube-proxy says so once its rules are renewed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

use super::health::ask_all;

/// For so many Services it is asked at once.
pub const AT_ONCE: usize = 32;

/// How often, and for how long.
#[derive(Clone, Copy, Debug)]
struct Timing {
    /// From an answer to the next question.
    every: Duration,
    /// For an answer.
    answer: Duration,
    /// In all: then it is as if it had said yes. It may tell nobody, and mostly needs a second at most.
    limit: Duration,
}

const TIMING: Timing = Timing {
    every: Duration::from_millis(20),
    answer: Duration::from_millis(500),
    limit: Duration::from_secs(3),
};

/// Waits until the proxy says at `port`, of one of `addresses` or the loopback, that it has endpoints of the Service on this node;
/// 3 s at most.
///
/// It may listen on some of the node's addresses alone (kube-proxy: `nodePortAddresses`), so it is asked on all at once.
pub async fn wait(addresses: &[IpAddr], port: u16, permits: &Semaphore) {
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let all = loopback.iter().chain(addresses).map(|address| SocketAddr::new(*address, port));
    wait_at(&all.collect::<Vec<_>>(), permits, TIMING).await;
}

async fn wait_at(addresses: &[SocketAddr], permits: &Semaphore, timing: Timing) {
    let began = Instant::now();
    let asking = async {
        loop {
            let answer = {
                let _permit = permits.acquire().await;
                ask_all(addresses, timing.answer).await
            };
            match answer {
                Ok(()) => return,
                Err(why) => tracing::trace!(?addresses, %why, "the proxy has no endpoint here yet"),
            }
            sleep(timing.every).await;
        }
    };
    let port = addresses.first().map_or(0, SocketAddr::port);
    match timeout_at(began + timing.limit, asking).await {
        Ok(()) => tracing::debug!(port, took = ?began.elapsed(), "the service proxy has the endpoints here"),
        Err(_) => tracing::debug!(port, "the service proxy does not say that it has the endpoints here"),
    }
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
        limit: Duration::from_secs(60),
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
            began.elapsed() >= TIMING.limit && began.elapsed() < 2 * TIMING.limit,
            "{:?}",
            began.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nor_is_the_end_of_many_other_questions() {
        let permits = Semaphore::new(1);
        let _taken = permits.acquire().await.unwrap();
        wait_at(&[nowhere().await], &permits, TIMING).await;
    }
}
