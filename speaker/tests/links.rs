//! Links that come, go and change, with a real kernel, under a stream of requests.

#![allow(clippy::unwrap_used, reason = "a step that fails ends the test")]

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ferrolb_core::wire::Mac;

use support::node::*;
use support::*;

#[test]
fn a_link_that_changes_is_followed_at_once() {
    if enter_namespace().is_none() {
        return;
    }
    on_this_thread(async {
        let node = Node::start();
        let handle = netlink();
        let tap = Tap::on(client(&handle).await);
        node.tell(Order::Elect("node-1"));
        round(&tap, NODE);

        node.tell(Order::Link(false));
        node.tell(Order::Await(false));
        let began = Instant::now();
        node.tell(Order::Link(true));
        round(&tap, NODE);
        let up = began.elapsed();

        // Down and up again before anybody could look. The next round would come after 1.1 s only.
        let began = Instant::now();
        node.tell(Order::Link(false));
        node.tell(Order::Link(true));
        round(&tap, NODE);
        let flap = began.elapsed();

        let other = Mac([0x02, 0, 0, 0, 0, 0x55]);
        let began = Instant::now();
        node.tell(Order::Mac(other));
        round(&tap, other);
        let changed = began.elapsed();
        assert_eq!(tap.ask(&request(VIP)), request(VIP).answer(other));

        for (what, time) in [("up", up), ("flap", flap), ("MAC", changed)] {
            println!("{what}: announced after {time:?}");
            // Not with the next round, which is more than a second later.
            assert!(time < Duration::from_secs(1), "{what}: announced after {time:?}");
        }

        // Deleted and made anew.
        node.tell(Order::Delete);
        node.tell(Order::Await(false));
        node.tell(Order::Plug);
        let tap = Tap::on(client(&handle).await);
        node.tell(Order::Await(true));
        assert_eq!(tap.ask(&request(VIP)), request(VIP).answer(NODE));
        node.tell(Order::End);
    });
}

/// Asks for the address each 2 ms, from the calling thread's namespace, until it is dropped.
struct Stream {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Stream {
    fn start() -> Stream {
        let namespace = this_namespace();
        let stop = Arc::new(AtomicBool::new(false));
        let asked = stop.clone();
        let thread = std::thread::spawn(move || {
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            on_this_thread(async {
                let handle = netlink();
                while !asked.load(Ordering::Relaxed) {
                    // The cable's end goes and comes, and is another link each time.
                    if let Some(out) = present(&handle, "out").await {
                        Tap::try_on(out)
                            .into_iter()
                            .for_each(|tap| drop(tap.try_send(&request(VIP).build())));
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            });
        });
        Stream { stop, thread: Some(thread) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the stream ran to its end");
        }
    }
}

#[test]
fn links_change_in_all_ways_under_a_stream_of_requests() {
    if enter_namespace().is_none() {
        return;
    }
    on_this_thread(async {
        let node = Node::start();
        let handle = netlink();
        let tap = Tap::on(client(&handle).await);
        node.tell(Order::AwaitReady);
        node.tell(Order::Elect("node-1"));
        round(&tap, NODE);
        let _stream = Stream::start();
        let answered_by = |tap: &Tap, mac| assert_eq!(tap.ask(&request(VIP)), request(VIP).answer(mac));
        answered_by(&tap, NODE);

        // An address of the node's own comes and goes: nothing is announced, and answers go on.
        node.tell(Order::Address(true));
        answered_by(&tap, NODE);
        node.tell(Order::Address(false));
        answered_by(&tap, NODE);

        // Another name, another link, as far as L2Advertisements go; this one names none.
        node.tell(Order::Rename("wan"));
        answered_by(&tap, NODE);
        node.tell(Order::Rename("lan"));
        answered_by(&tap, NODE);

        // Into a bridge: the bridge answers, with its own MAC, and the port does not.
        let bridge = Mac([0x02, 0, 0, 0, 0, 0x66]);
        node.tell(Order::Enslave(Some(bridge)));
        round(&tap, bridge);
        tap.answers(NODE, Duration::from_millis(100));
        assert_eq!(tap.answers(NODE, Duration::from_millis(300)), 0, "the port answers beside its bridge");
        answered_by(&tap, bridge);
        node.tell(Order::Enslave(None));
        round(&tap, NODE);
        answered_by(&tap, NODE);

        // Gone, and another one with the same index.
        node.tell(Order::Delete);
        node.tell(Order::Await(false));
        node.tell(Order::PlugAgain);
        let tap = Tap::on(client(&handle).await);
        round(&tap, NODE);
        answered_by(&tap, NODE);

        // The same, before anybody could look.
        drop(tap);
        node.tell(Order::Delete);
        node.tell(Order::PlugAgain);
        let tap = Tap::on(client(&handle).await);
        round(&tap, NODE);
        answered_by(&tap, NODE);
        node.tell(Order::End);
    });
}

#[test]
fn events_that_the_kernel_drops_are_survived_and_counted() {
    if enter_namespace().is_none() {
        return;
    }
    on_this_thread(async {
        let node = Node::start();
        let handle = netlink();
        let tap = Tap::on(client(&handle).await);
        node.tell(Order::AwaitReady);
        node.tell(Order::Elect("node-1"));
        round(&tap, NODE);
        node.tell(Order::Storm);
        let other = Mac([0x02, 0, 0, 0, 0, 0x55]);
        node.tell(Order::Mac(other));
        round(&tap, other);
        assert_eq!(tap.ask(&request(VIP)), request(VIP).answer(other));
        node.tell(Order::End);
    });
}
