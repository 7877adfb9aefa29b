//! What one hello costs: to read, to build, and to refuse. `cargo bench -p ferrolb-core --bench hello`.
//!
//! Prints the best of many rounds, and ratios within one run: machines differ, and the same one from minute to minute.

#![expect(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "what core must not do, a bench has to"
)]

use std::hint::black_box;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ferrolb_core::hello_key::{Key, Keys};
use ferrolb_core::wire::Mac;
use ferrolb_core::wire::hello::{
    Body, Digest, Flags, GROUP, Heard, Hello, Message, Sender, State, StationId, frame, parse_frame, payload,
};

const NODE: Mac = Mac([2, 0, 0, 0, 0, 1]);
const ROUNDS: usize = 200;
const EACH: u32 = 500;

fn key(first: u8) -> Key {
    Key::new(std::array::from_fn(|at| first.wrapping_add(at.to_le_bytes()[0])))
}

fn hello(peers: u64) -> Message {
    let sender = Sender { node: "node1".into(), interface: "eth0".into(), mac: NODE, epoch: 7, sequence: 9 };
    let body = Body::Hello(Hello {
        interval: Duration::from_millis(100),
        misses: 3,
        state: State::Active,
        flags: Flags::default(),
        answers: None,
        addresses: vec![IpAddr::from([10, 0, 0, 1]), IpAddr::from([0xfd; 16])],
        loaded: vec![key(0).id()],
        claims: Digest::default(),
        slice: 0,
        slices: 1,
        peers: (0..peers).map(|peer| Heard::new(StationId(peer), peer, true)).collect(),
        routine: false,
    });
    Message { sender, body }
}

/// The best of the rounds, in nanoseconds for one call.
fn nanos(mut call: impl FnMut()) -> f64 {
    let round = |_| {
        let started = Instant::now();
        (0..EACH).for_each(|_| call());
        started.elapsed().as_secs_f64() * 1e9 / f64::from(EACH)
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}

fn main() {
    let keys = Keys::new(key(0), [key(1)]).expect("two keys");
    let strangers = Keys::new(key(2), []).expect("one key");
    for peers in [3, 100] {
        let message = hello(peers);
        let right = frame(GROUP, NODE, &payload(&message, &key(0)).expect("it fits"));
        let signing = key(0);
        let mut forged = right.clone();
        *forged.last_mut().expect("a frame") ^= 1;
        assert!(parse_frame(&right, &keys).is_ok() && parse_frame(&forged, &keys).is_err());
        let read = nanos(|| drop(black_box(parse_frame(black_box(&right), &keys))));
        let all = [
            ("built", nanos(|| drop(black_box(payload(black_box(&message), &signing))))),
            ("refused for its tag", nanos(|| drop(black_box(parse_frame(black_box(&forged), &keys))))),
            ("refused for its key", nanos(|| drop(black_box(parse_frame(black_box(&right), &strangers))))),
        ];
        println!("hello of {peers} peers, {} bytes: read in {read:.0} ns", right.len());
        for (what, took) in all {
            println!("  {what} in {took:.0} ns, {:.2} of that", took / read);
        }
    }
}
