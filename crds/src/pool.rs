//! `IPAddressPool`: addresses that Services may get.

use std::net::IpAddr;
use std::time::Duration;

use ferrolb_core::net::{AddressRange, RangeError};
use ferrolb_core::pool::{Pinning, Pool, REUSE_DELAY};
use ferrolb_core::quote::Quoted;
use ferrolb_core::ranges::{disjoint, union};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::selector::{self, LabelSelector, SelectorProblem};
use crate::{duration, lenient, rules};

/// The longest `reuseDelay`.
const MAX_REUSE_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What an `IPAddressPool` asks for.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "IPAddressPool",
    plural = "ipaddresspools",
    namespaced,
    status = "IPAddressPoolStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A pool of addresses that Services of type LoadBalancer may get.",
    printcolumn(name = "Auto Assign", type_ = "boolean", json_path = ".spec.autoAssign"),
    printcolumn(name = "Avoid Buggy IPs", type_ = "boolean", json_path = ".spec.avoidBuggyIPs"),
    printcolumn(name = "Addresses", type_ = "string", json_path = ".spec.addresses"),
    printcolumn(
        name = "Valid",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Valid")].status"#,
        priority = 1
    ),
    printcolumn(
        name = "Overlapping",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Overlapping")].status"#,
        priority = 1
    ),
    printcolumn(name = "Assigned IPv4", type_ = "integer", json_path = ".status.assignedIPv4", priority = 1),
    printcolumn(
        name = "Available IPv4",
        type_ = "integer",
        json_path = ".status.availableIPv4",
        priority = 1
    ),
    printcolumn(name = "Assigned IPv6", type_ = "integer", json_path = ".status.assignedIPv6", priority = 1),
    printcolumn(
        name = "Available IPv6",
        type_ = "integer",
        json_path = ".status.availableIPv6",
        priority = 1
    )
)]
#[expect(clippy::duplicated_attributes, reason = "several columns of one type and priority")]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct IPAddressPoolSpec {
    /// The addresses, each entry a CIDR (10.0.0.0/24; bits after the prefix are ignored) or a range
    /// (10.0.0.1-10.0.0.9), of IPv4 or IPv6. They are given out in the order written here.
    #[schemars(schema_with = "rules::addresses")]
    pub addresses: Vec<String>,
    /// Whether Services that ask for nothing get addresses of this pool. False: only those that name the pool
    /// or one of its addresses.
    #[serde(default = "yes")]
    pub auto_assign: bool,
    /// Whether IPv4 addresses that end in .0 or .255 are never given out: some old home routers take them for
    /// network or broadcast addresses.
    #[serde(default, rename = "avoidBuggyIPs")]
    pub avoid_buggy_ips: bool,
    /// Addresses of the pool that are never given out, written as in addresses: those of a router or of hosts
    /// that have a fixed address in the range.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "rules::excluded_addresses")]
    pub exclude_addresses: Vec<String>,
    /// How long an address that a Service no longer has rests before another Service gets it, as a duration like
    /// 30s or 5m, up to 24h; 30s if absent. Where nothing else is free, it is given all the same. A Service that
    /// asks for the very address does not wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::reuse_delay")]
    pub reuse_delay: Option<String>,
    /// For which Services the pool is reserved; without it, for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ServiceAllocation")]
    pub service_allocation: Option<ServiceAllocation>,
    /// Why the spec could not be read, if so; never written.
    #[serde(skip)]
    pub unreadable: Option<String>,
}

/// For which Services a pool is reserved. Among the pools reserved for a Service the lowest priority wins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceAllocation {
    /// The order among reserved pools: lower first; 0, which is also the default, last.
    #[serde(skip_serializing_if = "is_zero")]
    pub priority: i64,
    /// Namespaces by name. A Service is meant when its namespace is named here or selected by
    /// namespaceSelectors; when both are empty, every namespace is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "rules::namespaces")]
    pub namespaces: Vec<String>,
    /// Namespaces by label; one matching selector is enough.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = rules::MAX_SELECTORS), extend("x-kubernetes-validations" = rules::unique("selector")))]
    pub namespace_selectors: Vec<LabelSelector>,
    /// Services by label, asked in addition to the namespace; one matching selector is enough.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = rules::MAX_SELECTORS), extend("x-kubernetes-validations" = rules::unique("selector")))]
    pub service_selectors: Vec<LabelSelector>,
}

/// What became of an `IPAddressPool`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct IPAddressPoolStatus {
    /// How many IPv4 addresses of the pool are in use.
    #[serde(rename = "assignedIPv4")]
    pub assigned_ipv4: i64,
    /// How many IPv6 addresses of the pool are in use.
    #[serde(rename = "assignedIPv6")]
    pub assigned_ipv6: i64,
    /// How many IPv4 addresses of the pool are free.
    #[serde(rename = "availableIPv4")]
    pub available_ipv4: i64,
    /// How many IPv6 addresses of the pool are free; 9223372036854775807 where there are more.
    #[serde(rename = "availableIPv6")]
    pub available_ipv6: i64,
    /// Valid: whether every field can be used. Overlapping: whether it is set aside because an older pool has some of
    /// its addresses. HostBitsMasked: whether an entry stands for more than its author may have meant, like
    /// 10.0.0.5/24 for 10.0.0.0/24.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Why a pool cannot be used. It is refused as a whole: with an entry left out, Services would get other
/// addresses than its author thinks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolProblem {
    /// The object does not follow the schema; the definitions in the cluster are not those of this version.
    #[error("spec cannot be read: {0}; correct it, and apply the CustomResourceDefinitions of this version")]
    Unreadable(String),
    /// No entry at all.
    #[error("spec.addresses is empty: add a CIDR (10.0.0.0/24) or a range (10.0.0.1-10.0.0.9)")]
    Empty,
    /// An entry that is no range.
    #[error("spec.addresses[{index}]: {source}; correct or remove this entry")]
    Entry {
        /// Its place in the list, from 0.
        index: usize,
        /// What is wrong with it.
        source: RangeError,
    },
    /// An entry of the exclusions that is no range.
    #[error("spec.excludeAddresses[{index}]: {source}; correct or remove this entry")]
    Excluded {
        /// Its place in the list, from 0.
        index: usize,
        /// What is wrong with it.
        source: RangeError,
    },
    /// Everything is excluded.
    #[error("spec.excludeAddresses leaves nothing of spec.addresses: remove entries")]
    NothingLeft,
    /// A time to rest that is none.
    #[error("spec.reuseDelay: {} is not a time from 0s to 24h like 30s or 5m; correct or remove it", Quoted(.0))]
    ReuseDelay(String),
    /// A selector that cannot be used.
    #[error("{place}: {source}")]
    Selector {
        /// Field and place in its list, from 0.
        place: String,
        /// What is wrong with it.
        source: SelectorProblem,
    },
}

impl IPAddressPool {
    /// In core's words: addresses behind a CIDR's prefix masked, and an address written twice kept where it
    /// stands first, so that the ranges have none in common.
    ///
    /// # Errors
    /// What its author has to mend.
    pub fn to_core(&self) -> Result<Pool, PoolProblem> {
        let spec = &self.spec;
        if let Some(why) = &spec.unreadable {
            return Err(PoolProblem::Unreadable(why.clone()));
        }
        if spec.addresses.is_empty() {
            return Err(PoolProblem::Empty);
        }
        let mut ranges = Vec::with_capacity(spec.addresses.len());
        for (index, entry) in spec.addresses.iter().enumerate() {
            ranges.push(entry.parse().map_err(|source| PoolProblem::Entry { index, source })?);
        }
        let mut excluded: Vec<AddressRange> = Vec::with_capacity(spec.exclude_addresses.len());
        for (index, entry) in spec.exclude_addresses.iter().enumerate() {
            excluded.push(entry.parse().map_err(|source| PoolProblem::Excluded { index, source })?);
        }
        let reuse_delay = match &spec.reuse_delay {
            None => REUSE_DELAY,
            Some(text) => duration::parse(text)
                .filter(|delay| *delay <= MAX_REUSE_DELAY)
                .ok_or_else(|| PoolProblem::ReuseDelay(text.clone()))?,
        };
        let ranges = disjoint(&ranges, &excluded);
        if ranges.is_empty() {
            return Err(PoolProblem::NothingLeft);
        }
        Ok(Pool {
            name: self.metadata.name.clone().unwrap_or_default(),
            labels: self.metadata.labels.clone().unwrap_or_default(),
            ranges,
            excluded: union(&excluded),
            auto_assign: spec.auto_assign,
            avoid_buggy_ips: spec.avoid_buggy_ips,
            reuse_delay,
            pinned: spec.service_allocation.as_ref().map(ServiceAllocation::to_core).transpose()?,
        })
    }

    /// The entries of `addresses` and `excludeAddresses` whose host bits are set, and what each stands for: legal,
    /// but its author may have meant one address.
    pub fn masked_entries(&self) -> Vec<(&str, AddressRange)> {
        let entries = self.spec.addresses.iter().chain(&self.spec.exclude_addresses);
        let masked = |entry: &'_ String| {
            let range: AddressRange = entry.parse().ok()?;
            let first: IpAddr = entry.split_once('/')?.0.trim().parse().ok()?;
            (first != range.first()).then_some(range)
        };
        entries.filter_map(|entry| Some((entry.as_str(), masked(entry)?))).collect()
    }
}

impl ServiceAllocation {
    fn to_core(&self) -> Result<Pinning, PoolProblem> {
        let selectors = |field: &str, list: &[LabelSelector]| {
            selector::list(&format!("spec.serviceAllocation.{field}"), list)
                .map_err(|(place, source)| PoolProblem::Selector { place, source })
        };
        Ok(Pinning {
            priority: self.priority,
            namespaces: self.namespaces.iter().cloned().collect(),
            namespace_selectors: selectors("namespaceSelectors", &self.namespace_selectors)?,
            service_selectors: selectors("serviceSelectors", &self.service_selectors)?,
        })
    }
}

impl Default for IPAddressPoolSpec {
    fn default() -> Self {
        IPAddressPoolSpec {
            addresses: Vec::new(),
            auto_assign: true,
            avoid_buggy_ips: false,
            exclude_addresses: Vec::new(),
            reuse_delay: None,
            service_allocation: None,
            unreadable: None,
        }
    }
}

lenient::spec!(IPAddressPoolSpec);
lenient::status!(IPAddressPoolStatus);

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn pool(spec: &Value) -> IPAddressPool {
        serde_json::from_value(json!({
            "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
            "metadata": {"name": "lan", "labels": {"site": "home"}}, "spec": spec,
        }))
        .unwrap()
    }

    fn ranges(entries: &[&str]) -> Vec<AddressRange> {
        entries.iter().map(|entry| entry.parse().unwrap()).collect()
    }

    fn problem(spec: &Value) -> String {
        pool(spec).to_core().unwrap_err().to_string()
    }

    #[test]
    fn the_whole_of_a_pool() {
        let made = pool(&json!({
            "addresses": ["10.0.0.7/29", "fd00::1 - fd00::9"], "autoAssign": false, "avoidBuggyIPs": true,
            "excludeAddresses": ["10.0.0.3/32"], "reuseDelay": "5m",
            "serviceAllocation": {
                "priority": 20, "namespaces": ["shop"],
                "namespaceSelectors": [{"matchLabels": {"tier": "web"}}], "serviceSelectors": [{}],
            },
        }));
        let web = ferrolb_core::selector::Requirement::In("tier".into(), ["web".to_owned()].into());
        let expected = Pool {
            name: "lan".into(),
            labels: [("site".to_owned(), "home".to_owned())].into(),
            ranges: ranges(&["10.0.0.0-10.0.0.2", "10.0.0.4-10.0.0.7", "fd00::1-fd00::9"]),
            auto_assign: false,
            avoid_buggy_ips: true,
            excluded: ranges(&["10.0.0.3/32"]),
            reuse_delay: Duration::from_secs(300),
            pinned: Some(Pinning {
                priority: 20,
                namespaces: ["shop".to_owned()].into(),
                namespace_selectors: vec![ferrolb_core::selector::LabelSelector {
                    requirements: [web].into(),
                }],
                service_selectors: vec![ferrolb_core::selector::LabelSelector::default()],
            }),
        };
        assert_eq!(made.to_core(), Ok(expected));
    }

    #[test]
    fn the_defaults() {
        let made = pool(&json!({"addresses": ["10.0.0.0/24"]})).to_core().unwrap();
        assert!(made.auto_assign && !made.avoid_buggy_ips && made.pinned.is_none());
        // An empty reservation is one, for everybody.
        let made = pool(&json!({"addresses": ["10.0.0.0/24"], "serviceAllocation": {}})).to_core().unwrap();
        assert_eq!(made.pinned, Some(Pinning::default()));
    }

    #[test]
    fn a_problem_names_the_entry_and_what_to_do() {
        assert_eq!(
            problem(&json!({"addresses": ["10.0.0.0/24", "10.0.1.9-10.0.1.1"]})),
            "spec.addresses[1]: range \"10.0.1.9-10.0.1.1\" starts after its end; correct or remove this entry"
        );
        assert!(problem(&json!({"addresses": []})).starts_with("spec.addresses is empty: add"));
        assert_eq!(
            problem(&json!({"addresses": ["10.0.0.0/24"], "serviceAllocation": {"serviceSelectors": [
                {}, {"matchExpressions": [{"key": "a", "operator": "In"}]}]}})),
            "spec.serviceAllocation.serviceSelectors[1]: operator In for label \"a\" needs at least one value"
        );
    }

    #[test]
    fn an_object_of_another_schema_is_a_problem_of_its_own() {
        for spec in [json!({"addresses": "10.0.0.0/24"}), json!({"addresses": [7]}), json!({}), json!(7)] {
            let words = problem(&spec);
            assert!(words.starts_with("spec cannot be read: "), "{words}");
        }
        let without: IPAddressPool = serde_json::from_value(json!({"metadata": {"name": "a"}})).unwrap();
        assert_eq!(without.to_core(), Err(PoolProblem::Empty));
        let odd_status: IPAddressPool = serde_json::from_value(json!({
            "metadata": {"name": "a"}, "spec": {"addresses": ["10.0.0.0/24"]}, "status": {"conditions": 7},
        }))
        .unwrap();
        assert_eq!(odd_status.status, Some(IPAddressPoolStatus::default()));
    }

    #[test]
    fn what_is_read_is_written_back_without_additions() {
        for spec in [
            json!({"addresses": ["10.0.0.0/24"], "autoAssign": true, "avoidBuggyIPs": false}),
            json!({"addresses": ["10.0.0.0/24"], "autoAssign": false, "avoidBuggyIPs": false,
                "serviceAllocation": {"priority": 3, "namespaces": ["a"]}}),
        ] {
            assert_eq!(serde_json::to_value(&pool(&spec).spec).unwrap(), spec);
        }
    }

    #[test]
    fn exclusions_and_times_that_cannot_be_are_problems() {
        let with = |field: &str, value: Value| {
            let mut spec = json!({"addresses": ["10.0.0.0/30"]});
            spec[field] = value;
            problem(&spec)
        };
        assert!(
            with("excludeAddresses", json!(["10.0.0.1/32", "x"])).starts_with("spec.excludeAddresses[1]: ")
        );
        assert!(with("excludeAddresses", json!(["10.0.0.0/24"])).starts_with("spec.excludeAddresses leaves"));
        for text in ["-1s", "25h", "soon"] {
            assert!(with("reuseDelay", json!(text)).starts_with("spec.reuseDelay: "), "{text}");
        }
    }

    #[test]
    fn masked_entries_are_found() {
        let made =
            pool(&json!({"addresses": ["10.0.0.7/29", "10.0.1.0/24", "10.0.2.1-10.0.2.2", "fd00::1/64"]}));
        let found: Vec<&str> = made.masked_entries().into_iter().map(|(entry, _)| entry).collect();
        assert_eq!(found, ["10.0.0.7/29", "fd00::1/64"]);
    }

    proptest! {
        #[test]
        fn any_text_is_a_pool_or_a_problem(addresses in prop::collection::vec(".{0,40}", 0..4)) {
            let _ = pool(&json!({"addresses": addresses})).to_core();
        }
    }
}
