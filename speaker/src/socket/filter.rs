//! The filters that the kernel applies before a frame reaches the speaker, in classic BPF.
//!
//! Both pass a frame only if
//! - it was sent to this station, to all, or (NDP) to a group; not by this station, not to another;
//! - it has no VLAN tag in its auxiliary data, or a priority tag only (VID 0). A tag that is still in the frame's bytes
//!   makes another ethertype of it, which is not passed either;
//! - it is an ARP request or reply; or a neighbour solicitation or advertisement right behind the IPv6 header;
//! - its target or its sender lies in one of the prefixes given; or it is an answer, sent to this station alone: of a
//!   client that is asked back, or of another node's kernel.
//!
//! A flood for other addresses so costs some comparisons in the kernel and wakes nobody. Everything else about a
//! frame is checked by the parsers in core.

use ferrolb_core::wire::hello;
use ipnet::{Ipv4Net, Ipv6Net};
use libc::sock_filter;

use super::{FRAME, HELLO_FRAME};

const ETHERNET_HEADER: u32 = 14;
const ETHERTYPE: u32 = 12;
const ARP_OPERATION: u32 = 20;
const ARP_SENDER: u32 = 28;
const ARP_TARGET: u32 = 38;
const IPV6_NEXT_HEADER: u32 = 20;
const IPV6_SOURCE: u32 = 22;
const ICMPV6_TYPE: u32 = 54;
const NDP_TARGET: u32 = 62;
const UDP_HEADER: u32 = 8;

const ARP_REPLY: u32 = 2;
const ICMPV6: u32 = 58;
const SOLICITATION: u32 = 135;
const ADVERTISEMENT: u32 = 136;

/// The filter of the socket for ARP.
pub fn arp(prefixes: &[Ipv4Net]) -> Vec<sock_filter> {
    let mut program = prologue(libc::PACKET_BROADCAST, libc::ETH_P_ARP);
    program.extend(to_us(load(libc::BPF_H, ARP_OPERATION), ARP_REPLY));
    program.push(load(libc::BPF_H, ARP_OPERATION));
    // 1 and 2, and nothing between or around them.
    program.extend(unless(libc::BPF_JGE, 1));
    program.extend([jump(libc::BPF_JGT, 2, 0, 1), give(0)]);
    for prefix in prefixes {
        for at in [ARP_TARGET, ARP_SENDER] {
            program.extend(block(&[word(at, prefix.network().to_bits(), prefix.netmask().to_bits())]));
        }
    }
    program.push(give(0));
    program
}

/// The filter of the socket for neighbour discovery.
pub fn ndp(prefixes: &[Ipv6Net]) -> Vec<sock_filter> {
    let mut program = prologue(libc::PACKET_MULTICAST, libc::ETH_P_IPV6);
    program.push(load(libc::BPF_B, IPV6_NEXT_HEADER));
    program.extend(unless(libc::BPF_JEQ, ICMPV6));
    program.extend(to_us(load(libc::BPF_B, ICMPV6_TYPE), ADVERTISEMENT));
    program.push(load(libc::BPF_B, ICMPV6_TYPE));
    program.extend(unless(libc::BPF_JGE, SOLICITATION));
    program.extend([jump(libc::BPF_JGT, ADVERTISEMENT, 0, 1), give(0)]);
    for prefix in prefixes {
        for at in [NDP_TARGET, IPV6_SOURCE] {
            let words = words(prefix.network().octets()).zip(words(prefix.netmask().octets()));
            let words: Vec<_> =
                (0u32..).zip(words).map(|(n, (value, mask))| word(at + 4 * n, value, mask)).collect();
            program.extend(block(&words));
        }
    }
    program.push(give(0));
    program
}

/// Goes on for frames of this ethertype to this station, or to as many as `widest` says, without a tag.
fn prologue(widest: u8, ethertype: i32) -> Vec<sock_filter> {
    let auxiliary = |field: i32| load(libc::BPF_W, (libc::SKF_AD_OFF + field) as u32);
    let mut program = vec![auxiliary(libc::SKF_AD_PKTTYPE)];
    // Packet types: 0 to this station, 1 to all, 2 to a group, 3 to another station, 4 sent by this one.
    program.extend([jump(libc::BPF_JGT, u32::from(widest), 0, 1), give(0)]);
    program.extend([auxiliary(libc::SKF_AD_VLAN_TAG), mask(0x0fff)]);
    program.extend(unless(libc::BPF_JEQ, 0));
    program.push(load(libc::BPF_H, ETHERTYPE));
    program.extend(unless(libc::BPF_JEQ, ethertype as u32));
    program
}

/// The filter of the socket that wakes: all of the ethertype of hellos but what [`routine`] passes.
pub fn hello() -> Vec<sock_filter> {
    hellos([give(0), give(HELLO_FRAME as u32)])
}

/// The filter of the socket for hellos that say nothing new, and wait to be read.
pub fn routine() -> Vec<sock_filter> {
    hellos([give(HELLO_FRAME as u32), give(0)])
}

/// What becomes of a frame with a routine hello, and of any other of that ethertype.
fn hellos(becomes: [sock_filter; 2]) -> Vec<sock_filter> {
    let mut program = prologue(libc::PACKET_MULTICAST, i32::from(hello::ETHERTYPE));
    program.push(load(libc::BPF_H, ETHERNET_HEADER + hello::KIND_AT as u32));
    program.push(mask(hello::ROUTINE_MASK.into()));
    program.push(jump(libc::BPF_JEQ, hello::ROUTINE_HELLO.into(), 0, 1));
    program.extend(becomes);
    program
}

/// The filter of the socket for datagrams, which sees them from their UDP header on: those that begin as a hello does, of the
/// version that is read.
pub fn datagram() -> Vec<sock_filter> {
    let [a, b, c] = hello::MAGIC;
    let begin = u32::from_be_bytes([a, b, c, hello::VERSION]);
    vec![load(libc::BPF_W, UDP_HEADER), jump(libc::BPF_JEQ, begin, 1, 0), give(0), give(u32::MAX)]
}

/// Passes a frame to this station alone whose kind, as `kind` loads it, is this.
fn to_us(kind: sock_filter, answer: u32) -> Vec<sock_filter> {
    let packet_type = load(libc::BPF_W, (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32);
    vec![
        packet_type,
        jump(libc::BPF_JEQ, u32::from(libc::PACKET_HOST), 0, 3),
        kind,
        jump(libc::BPF_JEQ, answer, 0, 1),
        give(FRAME as u32),
    ]
}

/// A word of the frame that has to be `value` under `mask`.
struct Word {
    at: u32,
    value: u32,
    mask: u32,
}

fn word(at: u32, value: u32, mask: u32) -> Word {
    Word { at, value: value & mask, mask }
}

/// The words of an IPv6 address.
fn words(octets: [u8; 16]) -> impl Iterator<Item = u32> {
    (0..4).map(move |n| {
        u32::from_be_bytes([octets[4 * n], octets[4 * n + 1], octets[4 * n + 2], octets[4 * n + 3]])
    })
}

/// Passes the frame if all words are as they have to be; else goes on behind.
fn block(words: &[Word]) -> Vec<sock_filter> {
    let mut block = vec![give(FRAME as u32)];
    // From the end, since each test that fails jumps over all that follows.
    for word in words.iter().rev().filter(|word| word.mask != 0) {
        let rest = u8::try_from(block.len()).expect("a block has 13 instructions at most");
        block.push(jump(libc::BPF_JEQ, word.value, 0, rest));
        if word.mask != u32::MAX {
            block.push(mask(word.mask));
        }
        block.push(load(libc::BPF_W, word.at));
    }
    block.reverse();
    block
}

/// Goes on if the test holds; else the frame is dropped.
fn unless(test: u32, value: u32) -> [sock_filter; 2] {
    [jump(test, value, 1, 0), give(0)]
}

/// Jumps over so many instructions.
fn jump(test: u32, value: u32, yes: u8, no: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | test | libc::BPF_K) as u16, jt: yes, jf: no, k: value }
}

fn load(size: u32, at: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_LD | size | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: at }
}

fn mask(bits: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16, jt: 0, jf: 0, k: bits }
}

fn give(bytes: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: bytes }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use ferrolb_core::announce::{Cover, MOST_PREFIXES};
    use ferrolb_core::net::AddressRange;
    use ferrolb_core::wire::Mac;
    use ferrolb_core::wire::arp::{Host, Operation, Packet};
    use ferrolb_core::wire::ndp;
    use proptest::prelude::*;

    use super::*;

    const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 0x99]);

    /// What the kernel does with a frame: whether it passes. Loads beyond the end drop it (bpf(4)).
    fn passes(program: &[sock_filter], frame: &[u8], packet_type: u8, tag: u32) -> bool {
        let (mut at, mut accumulator) = (0, 0u32);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            let (code, mut next) = (u32::from(code), at + 1);
            let jump = |holds: bool| at + 1 + usize::from(if holds { jt } else { jf });
            if code == libc::BPF_RET | libc::BPF_K {
                return k > 0;
            } else if code == libc::BPF_ALU | libc::BPF_AND | libc::BPF_K {
                accumulator &= k;
            } else if code & 0x07 == libc::BPF_JMP {
                next = match code & 0xf0 {
                    libc::BPF_JEQ => jump(accumulator == k),
                    libc::BPF_JGT => jump(accumulator > k),
                    libc::BPF_JGE => jump(accumulator >= k),
                    other => panic!("jump {other:x}"),
                };
            } else {
                let auxiliary = k.wrapping_sub(libc::SKF_AD_OFF as u32) as i32;
                let from = k as usize;
                let loaded = match code & 0x18 {
                    _ if auxiliary == libc::SKF_AD_PKTTYPE => Some(u32::from(packet_type)),
                    _ if auxiliary == libc::SKF_AD_VLAN_TAG => Some(tag),
                    libc::BPF_B => frame.get(from).map(|byte| u32::from(*byte)),
                    libc::BPF_H => frame
                        .get(from..from + 2)
                        .map(|two| u32::from(u16::from_be_bytes(two.try_into().unwrap()))),
                    _ => frame.get(from..from + 4).map(|four| u32::from_be_bytes(four.try_into().unwrap())),
                };
                let Some(loaded) = loaded else { return false };
                accumulator = loaded;
            }
            at = next;
        }
    }

    fn request(sender: Ipv4Addr, target: Ipv4Addr) -> Packet {
        Packet {
            destination: Mac::BROADCAST,
            source: CLIENT,
            operation: Operation::Request,
            sender: Host { mac: CLIENT, ip: sender },
            target: Host { mac: Mac::ZERO, ip: target },
        }
    }

    fn solicitation(sender: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
        let recipient = ndp::solicited_node(target);
        ndp::Solicitation {
            destination: ndp::group_mac(recipient),
            source: CLIENT,
            sender,
            recipient,
            target,
            link_layer: Some(CLIENT),
        }
        .build()
    }

    fn cover(ranges: &[&str]) -> Cover {
        Cover::of(&ranges.iter().map(|range| range.parse().unwrap()).collect::<Vec<AddressRange>>())
    }

    #[test]
    fn what_passes_beside_the_addresses() {
        let cover = cover(&["10.0.0.0/24", "fd00::/64"]);
        let (arp, ndp) = (arp(&cover.v4), ndp(&cover.v6));
        let asked = request([10, 9, 9, 9].into(), [10, 0, 0, 1].into()).build();
        let six = solicitation("fe80::1".parse().unwrap(), "fd00::1".parse().unwrap());
        for (packet_type, tag, arp_passes, ndp_passes) in [
            (libc::PACKET_HOST, 0, true, true),
            (libc::PACKET_BROADCAST, 0, true, true),
            (libc::PACKET_MULTICAST, 0, false, true),
            (libc::PACKET_OTHERHOST, 0, false, false),
            (libc::PACKET_OUTGOING, 0, false, false),
            (libc::PACKET_HOST, 7, false, false),
            (libc::PACKET_HOST, 5 << 13, true, true),
        ] {
            assert_eq!(passes(&arp, &asked, packet_type, tag), arp_passes, "{packet_type} {tag}");
            assert_eq!(passes(&ndp, &six, packet_type, tag), ndp_passes, "{packet_type} {tag}");
        }
        assert!(!passes(&arp, &six, 0, 0) && !passes(&ndp, &asked, 0, 0));
        for operation in 0..=3u8 {
            let mut frame = asked.clone();
            frame[21] = operation;
            assert_eq!(passes(&arp, &frame, 0, 0), [1, 2].contains(&operation), "operation {operation}");
        }
        for kind in [128, 133, 134, 135, 136, 137] {
            let mut frame = six.clone();
            frame[54] = kind;
            assert_eq!(passes(&ndp, &frame, 0, 0), [135, 136].contains(&kind), "type {kind}");
        }
        let mut udp = six.clone();
        udp[20] = 17;
        assert!(!passes(&ndp, &udp, 0, 0));
        for length in 0..42 {
            assert!(!passes(&arp, &asked[..length], 0, 0), "{length} bytes");
        }
    }

    #[test]
    fn nothing_passes_without_pools_and_everything_with_a_pool_of_everything() {
        let asked = request([10, 9, 9, 9].into(), [10, 0, 0, 1].into()).build();
        let six = solicitation("fe80::1".parse().unwrap(), "fd00::1".parse().unwrap());
        assert!(!passes(&arp(&[]), &asked, 0, 0) && !passes(&ndp(&[]), &six, 0, 0));
        let all = cover(&["0.0.0.0/0", "::/0"]);
        assert!(passes(&arp(&all.v4), &asked, 0, 0) && passes(&ndp(&all.v6), &six, 0, 0));
    }

    #[test]
    fn a_hello_wakes_or_waits() {
        let frame = |kind: u8, hints: u8| {
            let mut frame = vec![0; 100];
            frame[12..14].copy_from_slice(&hello::ETHERTYPE.to_be_bytes());
            (frame[40], frame[41]) = (kind, hints);
            frame
        };
        let both = |frame: &[u8]| [hello(), routine()].map(|program| passes(&program, frame, 2, 0));
        // What an older or newer speaker says in the other bits makes no difference.
        for (kind, hints, waits) in
            [(1, 0, false), (1, 1, true), (1, 0xff, true), (1, 0xfe, false), (2, 1, false), (3, 1, false)]
        {
            assert_eq!(both(&frame(kind, hints)), [!waits, waits], "kind {kind}, hints {hints}");
        }
        let (mut foreign, routine_hello) = (frame(1, 1), frame(1, 1));
        foreign[13] += 1;
        assert_eq!(both(&foreign), [false, false]);
        assert!(!passes(&routine(), &routine_hello, libc::PACKET_OUTGOING, 0));
        assert!(!passes(&routine(), &routine_hello, libc::PACKET_MULTICAST, 7));
    }

    /// The kernel takes 4,096 instructions at most.
    #[test]
    fn the_longest_program_is_far_from_what_the_kernel_takes() {
        let many = vec!["fd00::1/128".parse().unwrap(); MOST_PREFIXES];
        assert!(ndp(&many).len() < 1000);
    }

    fn near(range: &AddressRange, offset: i128) -> IpAddr {
        match range.first() {
            IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits().wrapping_add(offset as u32)).into(),
            IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits().wrapping_add(offset as u128)).into(),
        }
    }

    fn any_range() -> impl Strategy<Value = AddressRange> {
        let four = (any::<u32>(), 8u8..=32).prop_map(|(bits, length)| {
            format!("{}/{length}", Ipv4Net::new(bits.into(), length).unwrap().network()).parse().unwrap()
        });
        let six = (any::<u128>(), 8u8..=128).prop_map(|(bits, length)| {
            format!("{}/{length}", Ipv6Net::new(bits.into(), length).unwrap().network()).parse().unwrap()
        });
        prop_oneof![four, six]
    }

    proptest! {
        /// In the kernel passes what the cover holds, as target or as sender, and nothing else.
        #[test]
        fn the_programs_agree_with_the_cover(
            ranges in prop::collection::vec(any_range(), 1..40),
            which in any::<prop::sample::Index>(),
            offset in prop_oneof![-3i128..600, any::<i128>()],
            as_sender in any::<bool>(),
        ) {
            let cover = Cover::of(&ranges);
            let address = near(&ranges[which.index(ranges.len())], offset);
            let passed = match address {
                IpAddr::V4(four) => {
                    let other = Ipv4Addr::UNSPECIFIED;
                    prop_assume!(!cover.contains(other.into()));
                    let (sender, target) = if as_sender { (four, other) } else { (other, four) };
                    passes(&arp(&cover.v4), &request(sender, target).build(), 0, 0)
                }
                IpAddr::V6(six) => {
                    let other = Ipv6Addr::UNSPECIFIED;
                    prop_assume!(!cover.contains(other.into()));
                    let (sender, target) = if as_sender { (six, other) } else { (other, six) };
                    passes(&ndp(&cover.v6), &solicitation(sender, target), 0, 0)
                }
            };
            prop_assert_eq!(passed, cover.contains(address), "{} in {:?}", address, cover);
        }
    }
}
