//! What the log, the metrics and the API say of the addresses that this node announces.

mod clashes;
mod late;
mod reasons;
mod unheard;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferrolb_core::announce::LinkIndex;
use ferrolb_core::dense::DenseMap;
use ferrolb_core::election::{Change, Contest, Holder, Interfaces, Lost, NodeId};
use ferrolb_core::service::ServiceKey;
use ferrolb_core::speaker::Speaker;
use ferrolb_core::wire::Mac;
use ferrolb_runtime::{Events, Note};
use k8s_openapi::api::core::v1::ObjectReference;
use tokio::sync::mpsc;

use crate::metrics::{Ended, Metrics, Ours};
use crate::wiring::about_node;

use clashes::Clashes;
pub use clashes::Conflict;
use late::{Late, What};
use reasons::Place;
use unheard::{Silence, Unheard};

/// How a Service stands on this node, told when it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The Service.
    pub service: Holder,
    /// What this node does for it; `None` for nothing (any more).
    pub state: Option<Announced>,
    /// Other hosts that have an address of it.
    pub conflict: Option<Arc<Conflict>>,
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

/// Keeps the metrics true and tells changes in the log, each once.
#[derive(Debug)]
pub struct Report {
    metrics: Metrics,
    told: mpsc::UnboundedSender<Told>,
    events: Option<Events>,
    /// This node's name.
    node: Arc<str>,
    /// This node's number.
    me: Option<NodeId>,
    /// The Services that have addresses that are ours, each with each of its addresses among them.
    services: DenseMap<(Arc<ServiceKey>, IpAddr), ()>,
    /// Other hosts that have addresses of ours, announced or not.
    clashes: Clashes,
    /// Nodes that should be heard and are not.
    unheard: Unheard,
    /// Sets of links that were told: there are few, and each is that of many Services.
    known: BTreeSet<Arc<BTreeSet<String>>>,
    /// Why addresses are not ours any more, until that took effect.
    lost: BTreeMap<IpAddr, Lost>,
    /// The nodes for which this one stands in, as it was told last.
    absent: BTreeSet<Arc<str>>,
    /// What is to be told when there is time, in order; and when that is.
    late: VecDeque<Late>,
    telling: Duration,
}

impl Report {
    /// Tells `told` what the API is to show.
    pub fn new(metrics: Metrics, told: mpsc::UnboundedSender<Told>) -> Self {
        Report {
            metrics,
            told,
            events: None,
            node: "".into(),
            me: None,
            services: DenseMap::new(),
            clashes: Clashes::default(),
            unheard: Unheard::default(),
            known: BTreeSet::new(),
            lost: BTreeMap::new(),
            absent: BTreeSet::new(),
            late: VecDeque::new(),
            telling: Duration::ZERO,
        }
    }

    /// Tells users of Services, too, in the name of this node.
    #[must_use]
    pub fn with_events(self, events: Events, node: &str) -> Self {
        Report { events: Some(events), node: node.into(), ..self }
    }

    /// The API says something else of an address; the speaker knows already. Only what is ours is kept: what is announced
    /// here, what would be if this node had a link that its advertisements name, and what another host has.
    pub(crate) fn changed(&mut self, change: &Change, speaker: &Speaker) {
        self.me = speaker.me();
        // Where nobody may have it any more, that the conflict is over comes as an effect.
        let contest = change.contest.as_ref().ok();
        let before = contest.and_then(|contest| self.clashes.follow(change.address, contest));
        self.follow(change, speaker);
        for contest in before.iter().chain(contest.filter(|_| before.is_some())) {
            contest.services.iter().for_each(|service| self.tell(service));
        }
    }

    /// Looks once a second for nodes that should be heard and are not; `name` names links.
    pub(crate) fn look_for_silence<'a>(
        &mut self,
        speaker: &Speaker,
        name: impl Fn(LinkIndex) -> &'a str,
        now: Duration,
    ) {
        if !self.unheard.is_due(now) {
            return;
        }
        let unheard = speaker.unheard_nodes(now);
        self.metrics.unheard(
            speaker
                .peers()
                .map(|(link, _)| (name(link), unheard.iter().filter(|(of, _)| *of == link).count())),
        );
        for silence in self.unheard.look(unheard, now) {
            match silence {
                Silence::Began(link, nodes) => {
                    let note = unheard::words(&nodes, name(link));
                    tracing::warn!("{note}");
                    if let Some(events) = &self.events {
                        events.send(about_node(&self.node, "HellosUnheard", note));
                    }
                }
                Silence::Ended(link) => {
                    tracing::info!(interface = name(link), "all speakers that should be heard are heard");
                }
            }
        }
    }

    /// Tells for which nodes this one stands in, where that changed: once for each, not for each address.
    pub(crate) fn look_for_absent(&mut self, speaker: &Speaker) {
        if speaker.standing_in() == 0 && self.absent.is_empty() {
            return;
        }
        let absent = speaker.stood_in_for();
        for node in absent.difference(&self.absent) {
            let what = "standing in for a node whose speaker is away: its addresses stay where they are";
            tracing::info!(node = &**node, "{what}");
        }
        for node in self.absent.difference(&absent) {
            tracing::info!(node = &**node, "no longer standing in for it");
        }
        self.absent = absent;
    }

    fn follow(&mut self, change: &Change, speaker: &Speaker) {
        let address = change.address;
        let Some(ours) = self.ours(address) else {
            self.look_for_lack(address, speaker);
            return;
        };
        let announced = ours.is_announced();
        let Ours { contest: before, links } = ours;
        match &change.contest {
            Err(why) if announced => {
                // That it is announced no more comes as an effect.
                self.lost.insert(address, why.clone());
            }
            Ok(contest) if announced || speaker.lacks(address) => {
                self.lost.remove(&address);
                self.unlink(&before, address);
                self.link(contest.clone(), links, address);
                let touched: BTreeSet<&Holder> = before.services.iter().chain(&*contest.services).collect();
                touched.into_iter().for_each(|service| self.tell(service));
            }
            _ => self.remove(address),
        }
    }

    /// This node may have come to lack a link, or not to lack it any more.
    pub(crate) fn look_for_lack(&mut self, address: IpAddr, speaker: &Speaker) {
        self.me = speaker.me();
        let lacking = speaker.contest(address).filter(|_| speaker.lacks(address)).cloned();
        match (lacking, self.ours(address)) {
            (Some(contest), None) => {
                let why = "no interface that its advertisements name can be used";
                tracing::info!(ip = %address, services = names(&contest.services), why, "not announcing");
                self.link(contest.clone(), Arc::default(), address);
                contest.services.iter().for_each(|service| self.tell(service));
            }
            (None, Some(ours)) if !ours.is_announced() => self.remove(address),
            _ => {}
        }
    }

    /// The addresses of which it was told that there is no link for them.
    pub(crate) fn lacking(&self) -> Vec<IpAddr> {
        self.metrics.addresses().sorted(false)
    }

    /// `address` is now announced on these links; on none any more when they are empty. It is counted from now on, and told by
    /// [`tell_some`](Self::tell_some).
    pub(crate) fn announcing(
        &mut self,
        address: IpAddr,
        links: &BTreeSet<&str>,
        speaker: &Speaker,
        now: Duration,
    ) {
        self.me = speaker.me();
        if !links.is_empty() {
            self.started(address, links, speaker, now);
            return;
        }
        let Some(ours) = self.ours(address).filter(Ours::is_announced) else { return };
        let (ended, why) = match self.lost.remove(&address) {
            Some(why @ Lost::Nobody(..)) => (Ended::Nobody, words(&why)),
            Some(why @ Lost::Released) => (Ended::Released, words(&why)),
            None if speaker.lacks(address) => {
                (Ended::NoInterface, "no interface that its advertisements name can be used".to_owned())
            }
            None => match speaker.other_owner(address) {
                Some(node) => (Ended::Moved, format!("{node} announces it now")),
                None => (Ended::Moved, "another node announces it now".to_owned()),
            },
        };
        self.metrics.ended(ended);
        if speaker.lacks(address) {
            self.link(ours.contest.clone(), Arc::default(), address);
        } else {
            self.metrics.addresses().remove(address);
            self.unlink(&ours.contest, address);
        }
        self.put_off(Late { address, contest: ours.contest, what: What::Stopped(why) }, now);
    }

    fn started(&mut self, address: IpAddr, links: &BTreeSet<&str>, speaker: &Speaker, now: Duration) {
        let Some(contest) = speaker.contest(address).cloned() else { return };
        let links = self.shared(links.iter().map(|name| (*name).to_owned()).collect());
        let known = self.ours(address).is_some_and(|ours| ours.is_announced());
        self.lost.remove(&address);
        self.link(contest.clone(), links.clone(), address);
        let what = if known {
            What::Moved(links)
        } else {
            let place = Place::of(address, speaker);
            self.metrics.begun(place.label());
            What::Started(links, place)
        };
        self.put_off(Late { address, contest, what }, now);
    }

    fn ours(&self, address: IpAddr) -> Option<Ours> {
        self.metrics.addresses().get(address)
    }

    fn link(&mut self, contest: Arc<Contest>, links: Arc<BTreeSet<String>>, address: IpAddr) {
        for service in &contest.services {
            self.services.insert((service.key.clone(), address), ());
        }
        self.metrics.addresses().set(address, Ours { contest, links });
    }

    fn unlink(&mut self, contest: &Contest, address: IpAddr) {
        for service in &contest.services {
            self.services.remove(&(service.key.clone(), address));
        }
    }

    /// It is ours in no way any more.
    fn remove(&mut self, address: IpAddr) {
        if let Some(ours) = self.metrics.addresses().remove(address) {
            self.unlink(&ours.contest, address);
            ours.contest.services.iter().for_each(|service| self.tell(service));
        }
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

    /// Tells how a Service stands. Whether that is new is for the listener to see.
    fn tell(&mut self, service: &Holder) {
        let all = self.services.range_from(&(service.key.clone(), FIRST)).map(|(key, ())| key);
        let addresses = all.take_while(|(key, _)| *key == service.key).map(|(_, address)| address);
        let ours: Vec<Ours> = addresses.filter_map(|address| self.ours(*address)).collect();
        let announced = || ours.iter().filter(|ours| ours.is_announced());
        let is_announced = announced().next().is_some();
        let me = self.me;
        fn named(ours: &Ours, me: Option<NodeId>) -> Option<&Interfaces> {
            ours.contest.interfaces_of(me?)
        }
        let links: BTreeSet<String> =
            if announced().any(|ours| named(ours, me).is_none_or(|names| *names == Interfaces::All)) {
                BTreeSet::new()
            } else if is_announced {
                announced().flat_map(|ours| ours.links.iter().cloned()).collect()
            } else {
                let named = ours.iter().filter_map(|ours| match named(ours, me)? {
                    Interfaces::Only(names) => Some(names.iter().cloned()),
                    Interfaces::All => None,
                });
                named.flatten().collect()
            };
        let elected = !ours.is_empty();
        let links = self.shared(links);
        let state =
            elected.then_some(if is_announced { Announced::On(links) } else { Announced::Lacks(links) });
        let conflict = self.clashes.conflict(service, &self.node, |address, interface| {
            self.ours(address).is_some_and(|ours| ours.links.contains(interface))
        });
        // Nobody listens any more when the program ends.
        let _ = self.told.send(Told::Of(Standing { service: service.clone(), state, conflict }));
    }

    fn warn(&self, holder: &Holder, note: String) {
        let Some(events) = &self.events else { return };
        events.send(Note {
            about: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Service".to_owned()),
                namespace: Some(holder.key.namespace().to_owned()),
                name: Some(holder.key.name().to_owned()),
                uid: Some(holder.uid.to_string()).filter(|uid| !uid.is_empty()),
                ..ObjectReference::default()
            },
            warning: true,
            for_operators: true,
            reason: "addressConflict",
            action: "Announcing",
            note,
        });
    }

    /// Another host has the address on a link, by this name; or none any more, by whatever name.
    pub(crate) fn conflict(
        &mut self,
        (link, interface): (LinkIndex, &str),
        address: IpAddr,
        mac: Option<Mac>,
        contest: Option<&Arc<Contest>>,
    ) {
        let Some(mac) = mac else {
            // The link may be gone, and its name with it.
            let Some((clash, contest)) = self.clashes.end(link, address) else { return };
            let interface = clash.interface;
            tracing::info!(ip = %address, interface, "no other host has this address of ours any more");
            self.metrics.conflict(address, &interface, false);
            contest.services.iter().for_each(|holder| self.tell(holder));
            return;
        };
        // Of an address that nobody may have, the end of its conflict was told.
        let Some(contest) = contest else { return };
        let what = "another host has this address: give it another one, or take it out of the pool";
        tracing::warn!(ip = %address, interface, %mac, "{what}");
        self.metrics.conflict(address, interface, true);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let wall = i64::try_from(wall).unwrap_or(i64::MAX);
        // While it is only probed, it is not announced, and so not among what is ours.
        let announced = self.ours(address).is_some_and(|ours| ours.links.contains(interface));
        let clash = self.clashes.begin((link, interface), (address, mac), contest, wall);
        let note = clash.words(&self.node, address, !announced);
        for holder in &*contest.services {
            self.warn(holder, note.clone());
            self.tell(holder);
        }
    }

    /// All there was to announce at the start is announced.
    pub(crate) fn complete(&self) {
        let _ = self.told.send(Told::All);
    }

    /// The program ends.
    pub(crate) fn ended(&mut self) {
        self.tell_rest();
        for address in self.metrics.addresses().sorted(true) {
            let services = self.ours(address).map(|ours| names(&ours.contest.services)).unwrap_or_default();
            tracing::info!(ip = %address, services, why = "the speaker ends", "no longer announcing");
        }
    }
}

/// Why this node does not announce an address that it announced until now.
fn words(lost: &Lost) -> String {
    match lost {
        Lost::Nobody(service, why) => format!("{service} {why}"),
        Lost::Released => "no Service has it any more".to_owned(),
    }
}

fn names(services: &[Holder]) -> String {
    services.iter().map(|holder| holder.key.to_string()).collect::<Vec<_>>().join(", ")
}
