//! Who is asked back for which address, and in which order.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::clients::Clients;
use crate::net::Family;

/// How long ago a client may have asked to be asked back, by default. A client that goes on using an address verifies its
/// entry with the owner alone (unicast probes), so others hear its broadcast at the beginning only: a longer
/// time asks more of those, and more that are gone.
pub const LATELY: Duration = Duration::from_secs(60);

/// How many are asked back for one address.
pub const MOST_FOR_ADDRESS: usize = 64;

/// Pairs of address and client, at most `room`, in the order to ask. In the order of the lines below:
/// 1. each address has its askers since `since`, newest first;
/// 2. behind the newest come the gateways, since all who are not on this link depend on them; and last those who asked
///    for more than is remembered;
/// 3. of an address that is asked for, at most [`MOST_FOR_ADDRESS`]; each address's first, then each one's second, and so on, lowest address first;
/// 4. then the addresses for which nobody asked: the gateways, and those who asked for many.
pub(super) fn plan(
    addresses: &[IpAddr],
    clients: &Clients,
    gateways: &[IpAddr],
    room: usize,
    since: Duration,
) -> Vec<(IpAddr, IpAddr)> {
    let mut askers: BTreeMap<IpAddr, Vec<IpAddr>> =
        addresses.iter().map(|address| (*address, Vec::new())).collect();
    let mut many = Vec::new();
    for client in clients.newest_first().take_while(|client| client.seen >= since) {
        for address in client.addresses() {
            if let Some(those) = askers.get_mut(&address).filter(|those| those.len() < MOST_FOR_ADDRESS) {
                those.push(client.ip);
            }
        }
        if client.many && many.len() < MOST_FOR_ADDRESS {
            many.push(client.ip);
        }
    }

    let (mut asked_for, mut unasked) = (Vec::new(), Vec::new());
    for (address, mut those) in askers {
        let list = if those.is_empty() { &mut unasked } else { &mut asked_for };
        // The first of each come before all others, so what is behind these has no room.
        if list.len() >= room {
            continue;
        }
        let rest = those.split_off(those.len().min(1));
        let of_family = |other: &&IpAddr| Family::of(**other) == Family::of(address);
        let others = gateways.iter().chain(&rest).chain(&many).filter(of_family);
        for other in others {
            if !those.contains(other) && those.len() < MOST_FOR_ADDRESS {
                those.push(*other);
            }
        }
        if !those.is_empty() {
            list.push((address, those));
        }
    }

    let mut plan = Vec::new();
    for list in [asked_for, unasked] {
        for rank in 0..MOST_FOR_ADDRESS {
            for (address, those) in &list {
                // An address is not asked whether it knows itself.
                let client = those.get(rank).filter(|client| *client != address);
                plan.extend(client.map(|client| (*address, *client)));
            }
            if plan.len() >= room {
                break;
            }
        }
    }
    plan.truncate(room);
    plan
}
