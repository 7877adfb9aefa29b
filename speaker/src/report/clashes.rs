//! Other hosts that have addresses of this node's Services, as it is told to users.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ferrolb_core::announce::LinkIndex;
use ferrolb_core::election::{Contest, Holder};
use ferrolb_core::service::ServiceKey;
use ferrolb_core::wire::Mac;

use super::FIRST;

/// Other hosts have addresses of one Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// Whether one of the addresses is not announced on account of it, on some link.
    pub held_back: bool,
    /// Which address, which host, where, and what to do.
    pub words: String,
    /// When the first of them was found out, in seconds since 1970.
    pub since: i64,
}

/// One other host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Clash {
    pub(super) interface: String,
    pub(super) mac: Mac,
    /// In seconds since 1970.
    since: i64,
}

impl Clash {
    /// In words, for the owner of a Service that has `address`.
    pub(super) fn words(&self, node: &str, address: IpAddr, held_back: bool) -> String {
        let Clash { interface, mac, .. } = self;
        let place = format!("on interface {interface} of node {node}");
        let todo = "give that host another address, or take this one out of its IPAddressPool";
        if held_back {
            format!(
                "{address} is not announced: another host has it, with the Ethernet address {mac} {place}; {todo}; it is \
                 announced soon after that host is gone"
            )
        } else {
            format!(
                "{address} is used by another host too, which has the Ethernet address {mac} {place}: {todo}"
            )
        }
    }
}

/// All of them. There are few, but a router that answers for every address makes as many as there are addresses: so nothing
/// here is looked through for one Service.
#[derive(Debug, Default)]
pub(super) struct Clashes {
    of: BTreeMap<IpAddr, Clashing>,
    /// The Services that have those addresses.
    services: BTreeSet<(Arc<ServiceKey>, IpAddr)>,
}

/// The other hosts that have one address.
#[derive(Debug)]
struct Clashing {
    contest: Arc<Contest>,
    on: BTreeMap<LinkIndex, Clash>,
}

impl Clashes {
    /// Another host, with this Ethernet address, has the address on a link; `wall` is the time of day in seconds since 1970.
    pub(super) fn begin(
        &mut self,
        (link, interface): (LinkIndex, &str),
        (address, mac): (IpAddr, Mac),
        contest: &Arc<Contest>,
        wall: i64,
    ) -> &Clash {
        self.follow(address, contest);
        for holder in &contest.services {
            self.services.insert((holder.key.clone(), address));
        }
        let clashing = self
            .of
            .entry(address)
            .or_insert_with(|| Clashing { contest: contest.clone(), on: BTreeMap::new() });
        let clash = clashing.on.entry(link).or_insert_with(|| Clash {
            interface: interface.to_owned(),
            mac,
            since: wall,
        });
        clash.mac = mac;
        clash
    }

    /// No other host has the address on that link any more. Returns what there was, and whose Services it concerned.
    pub(super) fn end(&mut self, link: LinkIndex, address: IpAddr) -> Option<(Clash, Arc<Contest>)> {
        let clashing = self.of.get_mut(&address)?;
        let clash = clashing.on.remove(&link)?;
        let contest = clashing.contest.clone();
        if clashing.on.is_empty() {
            self.of.remove(&address);
            for holder in &contest.services {
                self.services.remove(&(holder.key.clone(), address));
            }
        }
        Some((clash, contest))
    }

    /// Others have the address of which there is a clash; returns who had it.
    pub(super) fn follow(&mut self, address: IpAddr, contest: &Arc<Contest>) -> Option<Arc<Contest>> {
        let clashing = self.of.get_mut(&address)?;
        let before = std::mem::replace(&mut clashing.contest, contest.clone());
        for holder in &before.services {
            self.services.remove(&(holder.key.clone(), address));
        }
        for holder in &contest.services {
            self.services.insert((holder.key.clone(), address));
        }
        Some(before)
    }

    /// What is to be told of this Service; `announced` says whether an address is announced on an interface.
    pub(super) fn conflict(
        &self,
        service: &Holder,
        node: &str,
        announced: impl Fn(IpAddr, &str) -> bool,
    ) -> Option<Arc<Conflict>> {
        let all = self.services.range((service.key.clone(), FIRST)..);
        let addresses = all.take_while(|(key, _)| *key == service.key).map(|(_, address)| *address);
        let mut conflict: Option<Conflict> = None;
        for address in addresses {
            for clash in self.of.get(&address).into_iter().flat_map(|clashing| clashing.on.values()) {
                let held_back = !announced(address, &clash.interface);
                let words = clash.words(node, address, held_back);
                match &mut conflict {
                    None => conflict = Some(Conflict { held_back, words, since: clash.since }),
                    Some(conflict) => {
                        conflict.held_back |= held_back;
                        conflict.words.push_str("; ");
                        conflict.words.push_str(&words);
                        conflict.since = conflict.since.min(clash.since);
                    }
                }
            }
        }
        conflict.map(Arc::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAN: LinkIndex = LinkIndex(2);
    const WAN: LinkIndex = LinkIndex(3);
    const PRINTER: Mac = Mac([2, 0, 0, 0, 0, 9]);

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn holder(name: &str) -> Holder {
        Holder { key: Arc::new(ServiceKey::new("shop", name)), uid: "u".into() }
    }

    fn of(names: &[&str]) -> Arc<Contest> {
        let holders = names.iter().map(|name| holder(name)).collect();
        Arc::new(Contest::among([], holders))
    }

    fn told(clashes: &Clashes, name: &str) -> Option<Conflict> {
        // On `wan` it is announced.
        let announced = |_, interface: &str| interface == "wan";
        clashes.conflict(&holder(name), "n1", announced).map(|conflict| (*conflict).clone())
    }

    #[test]
    fn a_service_is_told_of_all_that_concerns_it() {
        let mut clashes = Clashes::default();
        assert_eq!(told(&clashes, "web"), None);
        clashes.begin((WAN, "wan"), (address(1), PRINTER), &of(&["web"]), 50);
        let one = "10.0.0.1 is used by another host too, which has the Ethernet address 02:00:00:00:00:09 on interface \
                   wan of node n1: give that host another address, or take this one out of its IPAddressPool";
        let expected = Conflict { held_back: false, words: one.to_owned(), since: 50 };
        assert_eq!(told(&clashes, "web"), Some(expected));
        assert_eq!(told(&clashes, "other"), None);
        clashes.begin((LAN, "lan"), (address(2), PRINTER), &of(&["web", "db"]), 40);
        let both = told(&clashes, "web").unwrap();
        assert!(
            both.held_back && both.since == 40 && both.words.starts_with(&format!("{one}; 10.0.0.2 is not"))
        );
        assert!(both.words.ends_with("; it is announced soon after that host is gone"));
        // Another Ethernet address: since when is as before.
        clashes.begin((LAN, "lan"), (address(2), Mac([2, 0, 0, 0, 0, 8])), &of(&["web", "db"]), 60);
        let db = told(&clashes, "db").unwrap();
        assert!(db.since == 40 && db.words.contains("02:00:00:00:00:08"), "{db:?}");
    }

    #[test]
    fn what_ends_is_told_no_more_and_leaves_nothing() {
        let mut clashes = Clashes::default();
        for (link, name) in [(LAN, "lan"), (WAN, "wan")] {
            clashes.begin((link, name), (address(1), PRINTER), &of(&["web"]), 50);
        }
        let (ended, contest) = clashes.end(LAN, address(1)).unwrap();
        assert_eq!((ended.interface.as_str(), contest.services.len()), ("lan", 1));
        assert!(told(&clashes, "web").is_some_and(|conflict| !conflict.held_back));
        assert_eq!(clashes.end(LAN, address(1)), None, "once");
        clashes.end(WAN, address(1)).unwrap();
        assert_eq!(told(&clashes, "web"), None);
        assert!(clashes.of.is_empty() && clashes.services.is_empty());
    }

    #[test]
    fn a_clash_goes_with_its_address() {
        let mut clashes = Clashes::default();
        assert_eq!(clashes.follow(address(1), &of(&["web"])), None);
        clashes.begin((LAN, "lan"), (address(1), PRINTER), &of(&["web"]), 50);
        assert_eq!(clashes.follow(address(1), &of(&["db"])), Some(of(&["web"])));
        assert_eq!(told(&clashes, "web"), None);
        assert!(told(&clashes, "db").is_some());
        clashes.end(LAN, address(1)).unwrap();
        assert!(clashes.of.is_empty() && clashes.services.is_empty());
    }
}
