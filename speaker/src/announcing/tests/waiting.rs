//! Hellos that wake nobody.

use ferrolb_core::hello_key::Key;
use ferrolb_core::peers::sequence_at;
use ferrolb_core::wire::hello::{
    Body, Digest, Flags, GROUP, Heard, Hello, Message, Sender, State as Stage, StationId, frame, parse_frame,
    payload,
};
use ferrolb_core::wire::is_hello;

use super::*;

const PEER: Mac = Mac([2, 0, 0, 0, 0, 2]);

fn keys() -> Arc<Keys> {
    Arc::new(Keys::new(Key::new([7; 32]), []).unwrap())
}

/// What another speaker says now, as the message of this number in this millisecond.
fn says(body: Body, number: u64) -> Vec<u8> {
    let sender = Sender {
        node: "node-2".into(),
        interface: "lan".into(),
        mac: PEER,
        epoch: 9,
        sequence: sequence_at(clock()) + number,
    };
    frame(GROUP, PEER, &payload(&Message { sender, body }, &Key::new([7; 32])).unwrap())
}

/// That it hears us, as ever.
fn hello() -> Body {
    Body::Hello(Hello {
        interval: Duration::from_millis(100),
        misses: 3,
        state: Stage::Active,
        flags: Flags::default(),
        answers: None,
        addresses: vec![[10, 0, 0, 2].into()],
        loaded: Vec::new(),
        claims: Digest::default(),
        slice: 0,
        slices: 1,
        peers: vec![Heard::new(StationId::of("node-1", "lan"), 1, true)],
        routine: true,
    })
}

impl World {
    fn wait(&self, frame: Vec<u8>) {
        self.network.0.borrow_mut().waiting.entry(LAN).or_default().push_back((clock(), frame));
    }

    /// What was said to other speakers since this was last asked.
    fn said(&self) -> Vec<Body> {
        let sent = self.network.sent_frames();
        let hellos = sent.iter().filter(|frame| is_hello(frame));
        hellos.map(|frame| parse_frame(frame, &keys()).unwrap().message.body).collect()
    }
}

fn begin(world: &World) {
    world.keys.send_replace(keys());
    world.links.send_replace(lan());
    world.tell(Vec::new());
}

#[test]
fn hellos_that_wait_are_read_before_their_sender_counts_as_silent() {
    with_loop(|world| async move {
        begin(&world);
        for _ in 0..20 {
            world.wait(says(hello(), 1));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let asks = |bodies: Vec<Body>| bodies.iter().filter(|body| matches!(body, Body::Ask { .. })).count();
        assert_eq!(asks(world.said()), 0, "it was heard all the time");
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert!(asks(world.said()) > 0, "it is silent");
    });
}

/// Who is not known is not answered; its hello waits when its question comes.
#[test]
fn what_waits_comes_before_what_was_said_later() {
    with_loop(|world| async move {
        begin(&world);
        tokio::time::sleep(Duration::from_millis(30)).await;
        world.said();
        world.wait(says(hello(), 1));
        world.network.receive(LAN, Ok(says(Body::Ask { nonce: 77 }, 2)));
        settle().await;
        let answers = |body: &Body| matches!(body, Body::Hello(hello) if hello.answers == Some(77));
        let said = world.said();
        assert!(said.iter().any(answers), "{said:?}");
    });
}

/// A rolling update goes on to the next node then. One that has not listened does not know what that one has, so it could not
/// stand in for it, and would take it for its own.
#[test]
fn it_is_ready_once_it_has_listened() {
    with_loop(|world| async move {
        begin(&world);
        tokio::time::sleep(Duration::from_millis(340)).await;
        assert_eq!(world.readiness.waiting(), ["packet sockets"]);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(world.readiness.waiting(), [] as [&str; 0]);
        // A link that comes later is listened on as well, and what is said on the others goes on.
        world.links.send_replace(Some([(LAN, link("lan", 1)), (WAN, link("wan", 1))].into()));
        settle().await;
        assert_eq!(world.readiness.waiting(), [] as [&str; 0]);
    });
}
