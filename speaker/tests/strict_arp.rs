//! What the kernel really answers for in IPVS mode, beside what the speaker says about it.

#![allow(clippy::unwrap_used, reason = "a step that fails ends the test")]

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::path::Path;

use ferrolb_core::wire::Mac;
use ferrolb_core::wire::arp::{Host, Operation, Packet};
use ferrolb_speaker::proxy::strict_arp::{ROOT, look};
use rtnetlink::{LinkMessageBuilder, LinkVeth};

use support::*;

const NODE_IP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// Of the link's own subnet, as the addresses of Services mostly are.
const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 200);

/// The client asks in the name of `asker`.
fn request(asker: u8, target: Ipv4Addr) -> Packet {
    Packet {
        destination: Mac::BROADCAST,
        source: CLIENT,
        operation: Operation::Request,
        sender: Host { mac: CLIENT, ip: Ipv4Addr::new(10, 9, 0, asker) },
        target: Host { mac: Mac::ZERO, ip: target },
    }
}

/// Writes to the settings of this namespace.
fn set(link: &str, name: &str, value: u8) {
    std::fs::write(Path::new(ROOT).join(link).join(name), value.to_string()).unwrap();
}

#[test]
fn the_kernel_answers_for_every_service_exactly_where_a_problem_is_told() {
    if enter_namespace().is_none() {
        return;
    }
    on_this_thread(async {
        let handle = netlink();
        let lan = plug(&handle, &this_namespace()).await;
        let out = find(&handle, "out").await;
        change(&handle, out, LinkMessageBuilder::up).await;
        handle.address().add(lan.0, NODE_IP.into(), 24).execute().await.unwrap();
        for link in ["all", "lan", "out"] {
            set(link, "arp_ignore", 0);
            set(link, "arp_announce", 0);
        }
        let tap = Tap::on(out);
        tap.ask(&request(2, NODE_IP));
        assert_eq!(look(Path::new(ROOT), ["lan"]).unwrap(), None, "there is no IPVS");

        // kube-proxy's link is of type dummy, which not every kernel has; the address counts, not the type.
        handle.link().add(LinkVeth::new("kube-ipvs0", "ipvs-peer").build()).execute().await.unwrap();
        let ipvs = find(&handle, "kube-ipvs0").await;
        handle.address().add(ipvs.0, VIP.into(), 32).execute().await.unwrap();
        change(&handle, ipvs, LinkMessageBuilder::up).await;

        set("lan", "arp_announce", 2);
        let cases = [(0, 0), (0, 1), (1, 0), (0, 2), (2, 1), (0, 3), (3, 1), (0, 4), (0, 7), (0, 9)];
        for (asker, (all, own)) in (10..).zip(cases) {
            set("all", "arp_ignore", all);
            set("lan", "arp_ignore", own);
            // The kernel answers in order, and always for the address that is the link's own.
            tap.send(&request(asker, VIP).build());
            tap.send(&request(asker, NODE_IP).build());
            let answered = Cell::new(false);
            let to_asker = Host { mac: CLIENT, ip: Ipv4Addr::new(10, 9, 0, asker) };
            tap.expect("an answer for the node's own address", |packet| {
                let answer = packet.operation == Operation::Reply && packet.target == to_asker;
                answered.set(answered.get() || answer && packet.sender.ip == VIP);
                answer && packet.sender.ip == NODE_IP
            });
            let problem = look(Path::new(ROOT), ["lan"]).unwrap();
            let words = problem.map(|problem| problem.to_string());
            assert_eq!(words.is_some(), answered.get(), "arp_ignore {all} and {own}: {words:?}");
            if let Some(words) = words {
                let told = format!("lan has arp_ignore {} and arp_announce 2;", all.max(own));
                assert!(words.contains(&told), "{words}");
            }
        }
    });
}
