//! Plays a case: the objects go through the controller's own path, its writes into the objects, until it has no more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ferrolb_controller::brain::{World, pools, writes};
use ferrolb_core::allocate;
use ferrolb_core::service::ServiceKey;
use ferrolb_crds::view::Service as View;
use ferrolb_runtime::Seen;
use serde_json::Value;

use crate::cluster::{Cluster, full, is_marked, is_ours, may_share, shown};
use crate::compare;
use crate::format::{Case, Step};

/// A case that is not settled after so many rounds never is.
const ROUNDS: usize = 10;

/// The time of day that is written into conditions.
const WALL: i64 = 1_800_000_000;

/// A case under way.
pub(crate) struct Play<'a> {
    pub(crate) case: &'a Case,
    pub(crate) cluster: Cluster,
    world: World,
    now: Duration,
    /// How many writes each Service got in this step.
    pub(crate) writes: BTreeMap<String, usize>,
    /// The copies that a repeated Service stands for.
    pub(crate) copies: BTreeMap<String, Vec<String>>,
}

/// Plays a case to its end; what went wrong, in words.
pub(crate) fn play(case: &Case) -> Vec<String> {
    let mut play = Play {
        case,
        cluster: Cluster::default(),
        world: World::new(case.lb_class.clone()),
        now: Duration::from_secs(1000),
        writes: BTreeMap::new(),
        copies: BTreeMap::new(),
    };
    for (index, step) in case.steps.iter().enumerate() {
        let wrong = play.step(step, index == 0).unwrap_or_else(|words| vec![words]);
        if !wrong.is_empty() {
            return wrong.iter().map(|words| format!("step {}: {words}", index + 1)).collect();
        }
    }
    Vec::new()
}

/// Two Services that have one address and may not share it.
type Clash = (IpAddr, String, String);

impl Play<'_> {
    fn step(&mut self, step: &Step, first: bool) -> Result<Vec<String>, String> {
        self.now += Duration::from_secs(step.after);
        self.writes.clear();
        self.change(step)?;
        if first || step.restart {
            self.world = self.fresh()?;
        }
        let before: BTreeSet<Clash> = self.clashes();
        self.settle(step.grace, &before)?;
        let mut wrong: Vec<String> = Vec::new();
        wrong.extend(self.clashes().into_iter().map(|clash| format!("in the end {}", words(&clash))));
        wrong.extend(compare::step(self, step));
        wrong.extend(self.restarted(step.grace)?);
        Ok(wrong)
    }

    /// Does what the step says, and shows it to the controller as watches do.
    fn change(&mut self, step: &Step) -> Result<(), String> {
        for name in &step.gone.services {
            let gone = self.cluster.services.remove(&full(name)).ok_or(format!("no Service {name:?}"))?;
            self.world.see_services(Seen::Deleted(view(&gone)?), self.now);
        }
        for name in &step.gone.pools {
            let gone = self.cluster.pools.remove(name).ok_or(format!("no pool {name:?}"))?;
            self.world.see_pools(Seen::Deleted(read(&gone)?));
        }
        for name in &step.gone.namespaces {
            let gone = self.cluster.namespaces.remove(name).ok_or(format!("no namespace {name:?}"))?;
            self.world.see_namespaces(Seen::Deleted(read(&gone)?));
        }
        for name in &step.gone.nodes {
            let gone = self.cluster.nodes.remove(name).ok_or(format!("no node {name:?}"))?;
            self.world.see_nodes(Seen::Deleted(read(&gone)?));
        }
        for (name, labels) in &step.namespaces {
            self.cluster.apply_namespace(name, labels);
            self.world.see_namespaces(Seen::Applied(read(&self.cluster.namespaces[name])?));
        }
        for (name, addresses) in &step.nodes {
            self.cluster.apply_node(name, addresses);
            self.world.see_nodes(Seen::Applied(read(&self.cluster.nodes[name])?));
        }
        for pool in &step.pools {
            self.cluster.apply_pool(pool);
            self.world.see_pools(Seen::Applied(read(&self.cluster.pools[&pool.name])?));
        }
        for service in &step.services {
            let known: BTreeSet<String> = self.cluster.namespaces.keys().cloned().collect();
            let copies = self.cluster.apply_service(service)?;
            for (name, namespace) in &self.cluster.namespaces {
                if !known.contains(name) {
                    self.world.see_namespaces(Seen::Applied(read(namespace)?));
                }
            }
            for key in &copies {
                self.world.see_services(Seen::Applied(view(&self.cluster.services[key])?), self.now);
            }
            if service.fields.repeat.is_some() {
                self.copies.insert(full(&service.name), copies);
            }
        }
        self.copies.retain(|_, copies| copies.iter().all(|key| self.cluster.services.contains_key(key)));
        Ok(())
    }

    /// A controller that has just started on what the API holds.
    fn fresh(&self) -> Result<World, String> {
        let mut world = World::new(self.case.lb_class.clone());
        world.see_namespaces(Seen::Listed(all(&self.cluster.namespaces)?));
        world.see_nodes(Seen::Listed(all(&self.cluster.nodes)?));
        world.see_pools(Seen::Listed(all(&self.cluster.pools)?));
        let services = self.cluster.services.values().map(view).collect::<Result<_, _>>()?;
        world.see_services(Seen::Listed(services), self.now);
        Ok(world)
    }

    /// Plans and writes until there is nothing to write. In each round:
    ///
    /// 1. No address is written that another Service shows at that moment, or showed when the round began, unless the
    ///    two may share it: writes of one round are done in any order. That Service may be one that was ours.
    /// 2. What was wrong when the step began may last a while, but nothing new goes wrong.
    fn settle(&mut self, grace: bool, before: &BTreeSet<Clash>) -> Result<(), String> {
        for round in 1..=ROUNDS {
            self.world.prepare(self.now, !grace);
            let plan = allocate::plan(&self.world.snapshot);
            let todo = writes::writes(&self.world, &plan, WALL);
            let statuses = pools::statuses(&self.world, &pools::usage(&self.world, &plan), WALL);
            if todo.now.is_empty() && todo.later > 0 {
                return Err(format!("round {round}: {} writes wait, and none is done", todo.later));
            }
            let mut settled = todo.now.is_empty();
            let showed = self.holders(is_marked);
            for write in &todo.now {
                let key = write.key.to_string();
                let had = self.cluster.services.get(&key).map(shown).unwrap_or_default();
                for address in write.addresses().iter().filter(|address| !had.contains(address)) {
                    for other in showed.get(address).into_iter().flatten().filter(|other| **other != key) {
                        if !may_share(&self.cluster.services[&key], &self.cluster.services[other]) {
                            return Err(format!(
                                "round {round}: {address} goes to {key} while {other} has it"
                            ));
                        }
                    }
                }
                let object = view(self.cluster.write(write)?)?;
                self.world.wrote(&write.key, &write.based_on, &object, self.now);
                self.world.see_services(Seen::Applied(object), self.now);
                *self.writes.entry(key).or_default() += 1;
            }
            for (name, status) in &statuses {
                if self.world.pools[name].status.as_ref() != Some(status) {
                    settled = false;
                    let status = serde_json::to_value(status).map_err(|error| error.to_string())?;
                    let object = self.cluster.write_pool(name, &status).ok_or("no such pool")?;
                    self.world.see_pools(Seen::Applied(read(object)?));
                }
            }
            if let Some(clash) = self.clashes().difference(before).next() {
                return Err(format!("round {round}: {}", words(clash)));
            }
            if settled {
                return Ok(());
            }
        }
        Err(format!("never settles: {ROUNDS} rounds were not enough; {}", self.all_shown()))
    }

    /// Which Services show which address: those that are ours, and those that `also` are meant.
    fn holders(&self, also: impl Fn(&Value) -> bool) -> BTreeMap<IpAddr, Vec<String>> {
        let mut holders: BTreeMap<IpAddr, Vec<String>> = BTreeMap::new();
        for (key, service) in &self.cluster.services {
            if is_ours(service, self.case.lb_class.as_deref()) || also(service) {
                for address in shown(service) {
                    holders.entry(address).or_default().push(key.clone());
                }
            }
        }
        holders
    }

    fn clashes(&self) -> BTreeSet<Clash> {
        let mut clashes = BTreeSet::new();
        for (address, keys) in self.holders(|_| false) {
            for (index, one) in keys.iter().enumerate() {
                for other in &keys[index + 1..] {
                    let (left, right) = (&self.cluster.services[one], &self.cluster.services[other]);
                    if one != other && !may_share(left, right) {
                        clashes.insert((address, one.clone(), other.clone()));
                    }
                }
            }
        }
        clashes
    }

    fn all_shown(&self) -> String {
        let all = self.cluster.services.iter().take(8);
        all.map(|(key, service)| format!("{key}: {}", compare::describe(service)))
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// A controller that starts anew knows the same, and writes nothing.
    fn restarted(&self, grace: bool) -> Result<Vec<String>, String> {
        let mut wrong = Vec::new();
        let mut world = self.fresh()?;
        world.prepare(self.now, !grace);
        let known = allocate::Snapshot { resting: BTreeMap::new(), ..self.world.snapshot.clone() };
        if world.snapshot != known {
            wrong.push("a controller that starts anew has another picture of the cluster".to_owned());
        }
        let plan = allocate::plan(&world.snapshot);
        let todo = writes::writes(&world, &plan, WALL);
        for write in &todo.now {
            wrong.push(format!("a controller that starts anew writes {}: {}", write.key, write.patch()));
        }
        let statuses = pools::statuses(&world, &pools::usage(&world, &plan), WALL);
        for (name, status) in statuses {
            if world.pools[&name].status.as_ref() != Some(&status) {
                wrong.push(format!("a controller that starts anew counts otherwise in pool {name:?}"));
            }
        }
        for key in self.cluster.services.keys() {
            let (namespace, name) = key.split_once('/').unwrap_or_default();
            if !plan.verdicts.contains_key(&ServiceKey::new(namespace, name)) {
                wrong.push(format!("{key} has no verdict"));
            }
        }
        Ok(wrong)
    }
}

fn words((address, one, other): &Clash) -> String {
    format!("{one} and {other} have {address}, and may not share it")
}

fn read<T: serde::de::DeserializeOwned>(object: &Value) -> Result<T, String> {
    serde_json::from_value(object.clone()).map_err(|error| format!("cannot be read: {error}: {object}"))
}

/// As the watch of Services hands it on.
fn view(object: &Value) -> Result<View, String> {
    let mut view: View = read(object)?;
    view.trim_unshared();
    Ok(view)
}

fn all<T: serde::de::DeserializeOwned>(objects: &BTreeMap<String, Value>) -> Result<Vec<T>, String> {
    objects.values().map(read).collect()
}
