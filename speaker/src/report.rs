//! What the log, the metrics and the API say of the addresses that this node announces.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ferrolb_core::announce::Announcer;
use ferrolb_core::election::{Announcement, Change, Holder, Interfaces, Lost};
use ferrolb_core::service::ServiceKey;
use tokio::sync::mpsc;

use crate::metrics::Metrics;

/// How a Service stands on this node, told when it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The Service.
    pub service: Holder,
    /// What this node does for it; `None` for nothing (any more).
    pub state: Option<Announced>,
}

/// What is told of the Services, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// How one stands now.
    Of(Standing),
    /// All that stand somehow since the start were told; once.
    All,
}

/// What this node does for a Service that it is elected for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announced {
    /// It announces addresses of it, on these links; on all for an empty set.
    On(Arc<BTreeSet<String>>),
    /// It has none of the links that the advertisements name.
    Lacks(Arc<BTreeSet<String>>),
}

/// So many sets of links are kept to be shared.
const SETS: usize = 64;

/// None is before this one.
const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// An address that the election gives this node.
#[derive(Debug)]
struct Ours {
    announcement: Arc<Announcement>,
    /// The links on which it is announced, by name; none at all while there is no such link.
    links: Arc<BTreeSet<String>>,
}

/// Keeps the metrics true and tells changes in the log, each once.
#[derive(Debug)]
pub struct Report {
    metrics: Metrics,
    told: mpsc::UnboundedSender<Told>,
    ours: BTreeMap<IpAddr, Ours>,
    /// The Services that have them, each with each of its addresses among them.
    services: BTreeSet<(Arc<ServiceKey>, IpAddr)>,
    /// Sets of links that were told: there are few, and each is that of many Services.
    known: BTreeSet<Arc<BTreeSet<String>>>,
    /// Why addresses are not ours any more, until that took effect.
    lost: BTreeMap<IpAddr, Lost>,
}

impl Report {
    /// Tells `told` what the API is to show.
    pub fn new(metrics: Metrics, told: mpsc::UnboundedSender<Told>) -> Self {
        Report {
            metrics,
            told,
            ours: BTreeMap::new(),
            services: BTreeSet::new(),
            known: BTreeSet::new(),
            lost: BTreeMap::new(),
        }
    }

    /// The election has given or taken an address; the announcer knows already.
    pub(crate) fn changed(&mut self, change: Change, announcer: &Announcer) {
        let Change { address, ours } = change;
        let before = self.announcement(address);
        let announcement = match ours {
            Ok(announcement) => announcement,
            Err(why) => {
                // When it was announced, that it is no more comes as an effect.
                let announced = self.ours.get(&address).is_some_and(|ours| !ours.links.is_empty());
                if announced {
                    self.lost.insert(address, why);
                } else {
                    self.remove(address);
                    holders(&before).iter().for_each(|service| self.tell(service));
                }
                return;
            }
        };
        self.lost.remove(&address);
        for service in holders(&before) {
            self.unlink(service, address);
        }
        for service in &announcement.services {
            self.services.insert((service.key.clone(), address));
        }
        let links = self.ours.remove(&address).map(|ours| ours.links);
        let links = links.unwrap_or_else(|| self.shared(BTreeSet::new()));
        let announced = !links.is_empty();
        if announced {
            self.metrics.announcing(address, announcement.clone());
        }
        let after = Some(announcement.clone());
        self.ours.insert(address, Ours { announcement, links });
        if !announced && announcer.links_of(address).is_empty() {
            self.lacking(address);
        }
        // What is announced from now on comes as an effect; Services may have come or gone, or `interfaces` changed.
        let touched: BTreeSet<&Holder> = holders(&before).iter().chain(holders(&after)).collect();
        if announced || announcer.links_of(address).is_empty() {
            touched.into_iter().for_each(|service| self.tell(service));
        }
    }

    /// `address` is now announced on these links; on none any more when they are empty.
    pub(crate) fn announcing(&mut self, address: IpAddr, links: &BTreeSet<&str>) {
        let announcement = self.announcement(address);
        let holders = holders(&announcement);
        if let Some(why) = self.lost.remove(&address) {
            self.metrics.forget(address);
            tracing::info!(ip = %address, services = names(holders), why = words(&why), "no longer announcing");
            self.remove(address);
        } else if links.is_empty() {
            self.metrics.forget(address);
            if let Some(ours) = self.ours.get_mut(&address).filter(|ours| !ours.links.is_empty()) {
                ours.links = Arc::default();
                let why = "no interface that its advertisements name can be used";
                tracing::info!(ip = %address, services = names(holders), why, "no longer announcing");
            }
        } else {
            self.started(address, links);
        }
        holders.iter().for_each(|service| self.tell(service));
    }

    fn started(&mut self, address: IpAddr, links: &BTreeSet<&str>) {
        let names = self.shared(links.iter().map(|name| (*name).to_owned()).collect());
        let Some(ours) = self.ours.get_mut(&address) else { return };
        self.metrics.announcing(address, ours.announcement.clone());
        let services = &ours.announcement.services;
        let interfaces = links.iter().copied().collect::<Vec<_>>().join(", ");
        let named = self::names(services);
        if ours.links.is_empty() {
            let why = format!("first of {} eligible nodes", ours.announcement.eligible);
            tracing::info!(ip = %address, services = named, interfaces, why, "announcing");
        } else {
            tracing::info!(ip = %address, services = named, interfaces, "announcing on other interfaces");
        }
        ours.links = names;
    }

    /// The same set as it is kept already.
    fn shared(&mut self, links: BTreeSet<String>) -> Arc<BTreeSet<String>> {
        if let Some(known) = self.known.get(&links) {
            return known.clone();
        }
        let links = Arc::new(links);
        if self.known.len() < SETS {
            self.known.insert(links.clone());
        }
        links
    }

    fn lacking(&self, address: IpAddr) {
        let Some(ours) = self.ours.get(&address) else { return };
        let why = "no interface that its advertisements name can be used";
        tracing::info!(ip = %address, services = names(&ours.announcement.services), why, "not announcing");
    }

    fn announcement(&self, address: IpAddr) -> Option<Arc<Announcement>> {
        self.ours.get(&address).map(|ours| ours.announcement.clone())
    }

    fn remove(&mut self, address: IpAddr) {
        let removed = self.ours.remove(&address).map(|ours| ours.announcement);
        for service in holders(&removed) {
            self.unlink(service, address);
        }
    }

    fn unlink(&mut self, service: &Holder, address: IpAddr) {
        self.services.remove(&(service.key.clone(), address));
    }

    /// Tells how a Service stands. Whether that is new is for the listener to see.
    fn tell(&mut self, service: &Holder) {
        let all = self.services.range((service.key.clone(), FIRST)..);
        let addresses = all.take_while(|(key, _)| *key == service.key).map(|(_, address)| address);
        let ours: Vec<&Ours> = addresses.filter_map(|address| self.ours.get(address)).collect();
        let announced = || ours.iter().filter(|ours| !ours.links.is_empty());
        let is_announced = announced().next().is_some();
        let links: BTreeSet<String> =
            if announced().any(|ours| ours.announcement.interfaces == Interfaces::All) {
                BTreeSet::new()
            } else if is_announced {
                announced().flat_map(|ours| ours.links.iter().cloned()).collect()
            } else {
                let named = ours.iter().filter_map(|ours| match &ours.announcement.interfaces {
                    Interfaces::Only(names) => Some(names.iter().cloned()),
                    Interfaces::All => None,
                });
                named.flatten().collect()
            };
        let elected = !ours.is_empty();
        let links = self.shared(links);
        let state =
            elected.then_some(if is_announced { Announced::On(links) } else { Announced::Lacks(links) });
        // Nobody listens any more when the program ends.
        let _ = self.told.send(Told::Of(Standing { service: service.clone(), state }));
    }

    /// All there was to announce at the start is announced.
    pub(crate) fn complete(&self) {
        let _ = self.told.send(Told::All);
    }

    /// The program ends.
    pub(crate) fn ended(&self) {
        for (address, ours) in self.ours.iter().filter(|(_, ours)| !ours.links.is_empty()) {
            let services = names(&ours.announcement.services);
            tracing::info!(ip = %address, services, why = "the speaker ends", "no longer announcing");
        }
    }
}

/// Why this node does not announce an address that it announced until now.
fn words(lost: &Lost) -> String {
    match lost {
        Lost::To(node) => format!("node {node} is first now"),
        Lost::Nobody(service, why) => format!("{service} {why}"),
        Lost::Released => "no Service has it any more".to_owned(),
    }
}

fn holders(announcement: &Option<Arc<Announcement>>) -> &[Holder] {
    announcement.as_ref().map_or(&[], |announcement| &announcement.services)
}

fn names(services: &[Holder]) -> String {
    services.iter().map(|holder| holder.key.to_string()).collect::<Vec<_>>().join(", ")
}
