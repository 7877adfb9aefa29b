//! What a case is made of, as README.md beside this file describes it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// One case: what is at first, and what follows.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) id: Option<String>,
    pub(crate) known_bug: Option<String>,
    pub(crate) lb_class: Option<String>,
    pub(crate) steps: Vec<Step>,
}

/// What happens, and what everything is to show after that.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Step {
    /// Seconds that pass before.
    pub(crate) after: u64,
    pub(crate) grace: bool,
    pub(crate) restart: bool,
    pub(crate) gone: Gone,
    pub(crate) pools: Vec<Pool>,
    pub(crate) namespaces: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) nodes: BTreeMap<String, Vec<Value>>,
    pub(crate) services: Vec<Service>,
    pub(crate) expect: BTreeMap<String, Expected>,
    pub(crate) expect_pools: BTreeMap<String, PoolExpected>,
}

/// What is deleted first in a step, by name.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Gone {
    pub(crate) pools: Vec<String>,
    pub(crate) namespaces: Vec<String>,
    pub(crate) nodes: Vec<String>,
    pub(crate) services: Vec<String>,
}

/// An `IPAddressPool`; its spec is whatever was written.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) name: String,
    pub(crate) created: Option<i64>,
    pub(crate) labels: Option<Value>,
    pub(crate) status: Option<Value>,
    pub(crate) raw: Option<Value>,
    pub(crate) spec: Map<String, Value>,
}

/// A Service: what differs from the default, or from what it is already.
#[derive(Clone, Debug, Default)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) fields: ServiceFields,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ServiceFields {
    pub(crate) repeat: Option<usize>,
    pub(crate) created: Option<i64>,
    pub(crate) labels: Option<BTreeMap<String, String>>,
    pub(crate) annotations: BTreeMap<String, Option<String>>,
    #[serde(rename = "address-pool", deserialize_with = "present")]
    pub(crate) address_pool: Option<Option<String>>,
    #[serde(rename = "loadBalancerIPs", deserialize_with = "present")]
    pub(crate) load_balancer_ips: Option<Option<String>>,
    #[serde(rename = "allow-shared-ip", deserialize_with = "present")]
    pub(crate) allow_shared_ip: Option<Option<String>>,
    pub(crate) policy: Option<String>,
    pub(crate) families: Option<Vec<String>>,
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    pub(crate) class: Option<String>,
    #[serde(rename = "loadBalancerIP", deserialize_with = "present")]
    pub(crate) load_balancer_ip: Option<Option<String>>,
    #[serde(rename = "externalIPs")]
    pub(crate) external_ips: Option<Vec<String>>,
    pub(crate) etp: Option<String>,
    pub(crate) selector: Option<BTreeMap<String, String>>,
    pub(crate) ports: Option<Vec<Value>>,
    pub(crate) status: Option<Vec<Value>>,
    pub(crate) pool: Option<String>,
    pub(crate) marked: bool,
    pub(crate) raw: Option<Value>,
}

/// What a Service is to show after a step.
#[derive(Clone, Debug)]
pub(crate) enum Expected {
    /// Nothing was written to it in this step.
    Untouched,
    /// It shows nothing of ours: no address, annotation, condition.
    Released,
    Has(Has),
    Pending {
        reason: String,
        says: Option<String>,
    },
    /// Of the copies of a repeated Service the first so many have an address, the others wait.
    Many {
        assigned: usize,
        pending: Option<String>,
        pool: Option<String>,
    },
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Has {
    pub(crate) addresses: Vec<String>,
    pub(crate) pool: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) says: Option<String>,
}

/// What a pool is to show after a step.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PoolExpected {
    /// Assigned and available.
    pub v4: Option<(i64, i64)>,
    pub v6: Option<(i64, i64)>,
    pub(crate) invalid: Option<String>,
    pub(crate) overlaps: Option<String>,
    pub(crate) masked: Option<String>,
}

const POOL_SPEC: [&str; 6] =
    ["addresses", "autoAssign", "avoidBuggyIPs", "excludeAddresses", "reuseDelay", "serviceAllocation"];

/// Any value counts, `null` too: it takes away what is there.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The cases in the text of a file.
pub(crate) fn read(text: &str) -> Result<Vec<Case>, String> {
    // As Kubernetes reads YAML: only true and false are truth values, so a name may be n or on.
    let options = serde_saphyr::options! { strict_booleans: true };
    let cases: Vec<Map<String, Value>> = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| format!("not a list of cases: {error}"))?;
    cases.into_iter().map(case).collect()
}

fn case(mut fields: Map<String, Value>) -> Result<Case, String> {
    let name: String = take(&mut fields, "name")?.ok_or("a case has no name")?;
    let about = |words: String| format!("case {name:?}: {words}");
    let mut read = || -> Result<Case, String> {
        let mut case = Case {
            name: name.clone(),
            id: take(&mut fields, "id")?,
            known_bug: take(&mut fields, "known_bug")?,
            lb_class: take(&mut fields, "lb_class")?,
            steps: Vec::new(),
        };
        let later: Vec<Value> = take(&mut fields, "steps")?.unwrap_or_default();
        let first = Value::Object(std::mem::take(&mut fields));
        for (index, step) in std::iter::once(first).chain(later).enumerate() {
            let step = serde_json::from_value(step).map_err(|e| format!("step {}: {e}", index + 1))?;
            case.steps.push(step);
        }
        Ok(case)
    };
    read().map_err(about)
}

fn take<T: for<'de> Deserialize<'de>>(
    fields: &mut Map<String, Value>,
    name: &str,
) -> Result<Option<T>, String> {
    let value = fields.remove(name);
    value.map(|value| serde_json::from_value(value).map_err(|error| format!("{name}: {error}"))).transpose()
}

impl<'de> Deserialize<'de> for Pool {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let mut fields = Map::deserialize(deserializer)?;
        let mut take = |name: &str| fields.remove(name);
        let name = match take("name") {
            Some(Value::String(name)) => name,
            other => return Err(D::Error::custom(format!("a pool needs a name, not {other:?}"))),
        };
        let pool = Pool {
            name,
            created: take("created").and_then(|value| value.as_i64()),
            labels: take("labels"),
            status: take("status"),
            raw: take("raw"),
            spec: fields,
        };
        match pool.spec.keys().find(|key| !POOL_SPEC.contains(&key.as_str())) {
            Some(key) => Err(D::Error::custom(format!("pool {:?} has no field {key:?}", pool.name))),
            None => Ok(pool),
        }
    }
}

impl<'de> Deserialize<'de> for Service {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let mut fields = match Value::deserialize(deserializer)? {
            Value::String(name) => return Ok(Service { name, ..Service::default() }),
            Value::Object(fields) => fields,
            other => return Err(D::Error::custom(format!("a Service is a name or a map, not {other}"))),
        };
        let Some(Value::String(name)) = fields.remove("name") else {
            return Err(D::Error::custom("a Service has no name"));
        };
        let fields = serde_json::from_value(Value::Object(fields))
            .map_err(|error| D::Error::custom(format!("Service {name:?}: {error}")))?;
        Ok(Service { name, fields })
    }
}

impl<'de> Deserialize<'de> for Expected {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        expected(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

fn expected(value: Value) -> Result<Expected, String> {
    let mut fields = match value {
        Value::String(word) if word == "untouched" => return Ok(Expected::Untouched),
        Value::String(word) if word == "released" => return Ok(Expected::Released),
        Value::Object(fields) => fields,
        addresses => return Ok(Expected::Has(Has { addresses: texts(addresses)?, ..Has::default() })),
    };
    let keys: BTreeSet<String> = fields.keys().cloned().collect();
    let only = |known: &[&str]| match keys.iter().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("{key:?} does not go with the other words of this expectation")),
        None => Ok(()),
    };
    if keys.contains("assigned") {
        only(&["assigned", "pending", "pool"])?;
        return Ok(Expected::Many {
            assigned: take(&mut fields, "assigned")?.unwrap_or_default(),
            pending: take(&mut fields, "pending")?,
            pool: take(&mut fields, "pool")?,
        });
    }
    if let Some(reason) = take(&mut fields, "pending")? {
        only(&["pending", "says"])?;
        return Ok(Expected::Pending { reason, says: take(&mut fields, "says")? });
    }
    only(&["has", "pool", "reason", "says"])?;
    let addresses = fields.remove("has").ok_or("an expectation needs has, pending or assigned")?;
    Ok(Expected::Has(Has {
        addresses: texts(addresses)?,
        pool: take(&mut fields, "pool")?,
        reason: take(&mut fields, "reason")?,
        says: take(&mut fields, "says")?,
    }))
}

/// One text, or a list of them.
fn texts(value: Value) -> Result<Vec<String>, String> {
    match value {
        Value::String(one) => Ok(vec![one]),
        other => serde_json::from_value(other).map_err(|error| format!("addresses: {error}")),
    }
}
