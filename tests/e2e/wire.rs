//! The lab's wires, its hosts on them and the judge, with kernels for owners: no Kubernetes is needed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ferrolb_tests::host::frame::{arp_request, solicitation};
use ferrolb_tests::host::{Frame, NdpMessage};
use ferrolb_tests::judge::{Judge, Prober, Verdict};
use ferrolb_tests::lab::Lab;
use ferrolb_tests::lab::network::Network;

use super::{must, refused, until};

/// So long answers are waited for.
const WINDOW: Duration = Duration::from_millis(200);

/// What a host sends is seen by another as it was; probes are answered; tables are read, written and emptied.
pub(crate) fn hosts_see_frames_and_keep_neighbours(name: &str) {
    let lab = Lab::attach(name).expect("the lab");
    let (one, two) = (lab.host("client1").expect("a host"), lab.host("client2").expect("a host"));
    let mac = two.mac("eth0").expect("a link");
    let (v4, v6) = (Ipv4Addr::new(10, 10, 0, 102), Ipv6Addr::new(0xfd10, 0, 0, 0, 0, 0, 0, 0x102));

    let capture = one.capture().expect("a capture");
    // For an address of nobody's, so that nothing else speaks of it.
    let (free4, free6) = (Ipv4Addr::new(10, 10, 0, 198), Ipv6Addr::new(0xfd10, 0, 0, 0, 0, 0, 0, 0x198));
    two.send_raw("eth0", &arp_request(mac, v4, free4)).expect("a frame");
    two.send_raw("eth0", &solicitation(mac, v6, free6)).expect("a frame");
    until("both frames to be seen", || {
        capture.so_far(|frames| {
            let arp = frames
                .iter()
                .cloned()
                .filter_map(Frame::arp)
                .any(|frame| frame.request && frame.sender == (mac, v4) && frame.target.1 == free4);
            let ndp = frames.iter().cloned().filter_map(Frame::ndp).any(|frame| {
                let option = NdpMessage::Solicitation { source_link: Some(mac) };
                frame.target == free6 && frame.from == v6 && frame.message == option && frame.sound
            });
            arp && ndp
        })
    });
    assert!(capture.stop().expect("the capture").len() >= 2);

    for (none, address) in
        [(IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(v4)), (Ipv6Addr::UNSPECIFIED.into(), v6.into())]
    {
        let found = one.who_has_from("eth0", none, address, WINDOW).expect("a probe");
        assert_eq!(found, [mac].into(), "a kernel defends {address}");
        let other = pnet_base::MacAddr::new(2, 0, 0, 0, 0, 9);
        let entry = || one.neighbour("eth0", address).expect("a table");
        one.set_neighbour("eth0", address, other, "stale").expect("an entry");
        assert_eq!(entry().map(|entry| (entry.mac, entry.state)), Some((Some(other), "STALE".into())));
        one.set_neighbour("eth0", address, mac, "probe").expect("an entry");
        until("the kernel to confirm the entry by itself", || {
            entry().is_some_and(|entry| entry.state == "REACHABLE" && entry.mac == Some(mac))
        });
        one.forget_neighbours().expect("no entries");
        assert!(entry().is_none_or(|entry| entry.mac.is_none()), "{:?}", entry());
    }
    assert!(one.finds_taken("eth0", v6).expect("a detection"), "{v6} is client2's");
    assert!(!one.finds_taken("eth0", free6).expect("a detection"), "{free6} is nobody's");
}

/// Hosts meet on each segment by its own addresses, of both families, and nowhere else.
pub(crate) fn each_segment_is_a_wire_of_its_own(name: &str) {
    let lab = Lab::attach(name).expect("the lab");
    let (one, two) = (lab.host("client1").expect("a host"), lab.host("client2").expect("a host"));
    let owners = |link: &str, address: &str| {
        let address: IpAddr = address.parse().expect("an address");
        one.who_has_on(link, address, Duration::from_millis(200)).expect("a question")
    };
    for (link, addresses) in [("eth0", ["10.10.0.102", "fd10::102"]), ("eth1", ["10.11.0.102", "fd11::102"])]
    {
        let mac = two.mac(link).expect("a link");
        for address in addresses {
            assert_eq!(owners(link, address), [mac].into(), "{address} on {link}");
        }
    }
    // The kernel answers for an IPv6 address on the link that has it alone.
    assert!(owners("eth1", "fd10::102").is_empty(), "the segments are connected");
    let said = refused(super::lab(name, &["exec", "client1", "ip", "link", "show", "eth2"]));
    assert!(said.contains("does not exist"), "{said}");
}

/// The judge on a real wire: kernels that have an address, both of them, and the other alone.
pub(crate) fn the_judge_tells_one_owner_from_two(name: &str) {
    let lab = Lab::attach(name).expect("the lab");
    let asker = lab.host("client1").expect("a host");
    for address in ["10.10.0.199", "fd10::199"] {
        let bare: IpAddr = address.parse().expect("an address");
        let (length, nodad) = if bare.is_ipv4() { ("32", None) } else { ("128", Some("nodad")) };
        let set = |host, link, what| {
            let full = format!("{address}/{length}");
            let mut arguments = vec!["exec", host, "ip", "addr", what, full.as_str(), "dev", link];
            arguments.extend(nodad.filter(|_| what == "add"));
            must(super::lab(name, &arguments));
        };
        let judge = Judge::watch(&lab).expect("the switch");
        let prober = Prober::start(&asker, Network::Lan, bare, Prober::EVERY).expect("a prober");
        let hosts = |expected: &[&str]| {
            until(&format!("answers of {expected:?} for {address}"), || {
                let verdict = judge.so_far(|seen| {
                    let now = judge.now();
                    let from = now.saturating_sub(Duration::from_millis(100));
                    Verdict::of(seen, bare, Network::Lan, from, now)
                });
                let stint = verdict.stints.iter().rev().find(|stint| stint.questions > 3);
                let owners =
                    stint.map(|stint| stint.owners.iter().map(|owner| owner.host.as_str()).collect());
                owners == Some(expected.to_vec())
            });
        };
        hosts(&[]);
        set("client2", "eth0", "add");
        hosts(&["client2"]);
        set("cp", "lan", "add");
        hosts(&["client2", "cp"]);
        set("client2", "eth0", "del");
        hosts(&["cp"]);
        set("cp", "lan", "del");
        hosts(&[]);
        let asked = prober.stop().expect("the prober").questions;
        let verdict = judge.stop().expect("the judge").verdict(bare, Network::Lan);
        assert!(verdict.counts().0 * 100 >= asked * 99, "{asked} were asked\n{verdict}");
        assert_eq!(verdict.course().first(), Some(&"client2"), "{verdict}");
        assert!(
            !verdict.overlaps.is_empty() && verdict.time_of_two() > Duration::from_millis(20),
            "{verdict}"
        );
        let macs: Vec<_> = verdict.owners().into_iter().map(|owner| owner.mac).collect();
        let real = |host, link| lab.host(host).expect("a host").mac(link).expect("a link");
        assert_eq!(macs, [real("client2", "eth0"), real("cp", "lan")], "{verdict}");
    }
}
