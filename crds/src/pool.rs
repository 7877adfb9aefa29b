//! `IPAddressPool`: addresses that Services may get.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ferrolb_core::net::{AddressRange, RangeError};
use ferrolb_core::pool::{Pinning, Pool};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::selector::{self, LabelSelector, SelectorProblem};
use crate::{lenient, rules};

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
    /// Whether the pool can be used, and why not.
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
        Ok(Pool {
            name: self.metadata.name.clone().unwrap_or_default(),
            labels: self.metadata.labels.clone().unwrap_or_default(),
            ranges: disjoint(ranges),
            auto_assign: spec.auto_assign,
            avoid_buggy_ips: spec.avoid_buggy_ips,
            pinned: spec.service_allocation.as_ref().map(ServiceAllocation::to_core).transpose()?,
        })
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

/// The same addresses in the same order, each in one range only: what an earlier range holds is cut out of
/// the later ones.
fn disjoint(ranges: Vec<AddressRange>) -> Vec<AddressRange> {
    let mut kept: Vec<AddressRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        let mut before: Vec<AddressRange> =
            kept.iter().filter(|other| other.overlaps(&range)).copied().collect();
        before.sort_unstable();
        let mut rest = Some(range);
        for other in before {
            let Some(part) = rest else { break };
            kept.extend(span(part.first(), previous(other.first())));
            rest = span_from(next(other.last()), part.last());
        }
        kept.extend(rest);
    }
    kept
}

fn span(first: IpAddr, last: Option<IpAddr>) -> Option<AddressRange> {
    AddressRange::new(first, last?).ok()
}

fn span_from(first: Option<IpAddr>, last: IpAddr) -> Option<AddressRange> {
    AddressRange::new(first?, last).ok()
}

fn next(address: IpAddr) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits().checked_add(1)?).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits().checked_add(1)?).into(),
    })
}

fn previous(address: IpAddr) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits().checked_sub(1)?).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits().checked_sub(1)?).into(),
    })
}

impl Default for IPAddressPoolSpec {
    fn default() -> Self {
        IPAddressPoolSpec {
            addresses: Vec::new(),
            auto_assign: true,
            avoid_buggy_ips: false,
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
            "serviceAllocation": {
                "priority": 20, "namespaces": ["shop"],
                "namespaceSelectors": [{"matchLabels": {"tier": "web"}}], "serviceSelectors": [{}],
            },
        }));
        let web = ferrolb_core::selector::Requirement::In("tier".into(), ["web".to_owned()].into());
        let expected = Pool {
            name: "lan".into(),
            labels: [("site".to_owned(), "home".to_owned())].into(),
            ranges: ranges(&["10.0.0.0-10.0.0.7", "fd00::1-fd00::9"]),
            auto_assign: false,
            avoid_buggy_ips: true,
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
    fn an_address_counts_where_it_stands_first() {
        let made = pool(&json!({"addresses": ["10.0.0.2/31", "10.0.0.0/29"]})).to_core().unwrap();
        assert_eq!(made.ranges, ranges(&["10.0.0.2/31", "10.0.0.0/31", "10.0.0.4/30"]));
        let made =
            disjoint(ranges(&["10.0.0.4-10.0.0.6", "10.0.0.8/32", "10.0.0.0/28", "10.0.0.4/32", "::1/128"]));
        let expected = ranges(&[
            "10.0.0.4-10.0.0.6",
            "10.0.0.8/32",
            "10.0.0.0-10.0.0.3",
            "10.0.0.7/32",
            "10.0.0.9-10.0.0.15",
            "::1/128",
        ]);
        assert_eq!(made, expected);
        let all = ranges(&["0.0.0.0/0", "255.255.255.255/32", "0.0.0.0/32", "::/0", "::/0"]);
        assert_eq!(disjoint(all), ranges(&["0.0.0.0/0", "::/0"]));
    }

    proptest! {
        #[test]
        fn any_text_is_a_pool_or_a_problem(addresses in prop::collection::vec(".{0,40}", 0..4)) {
            let _ = pool(&json!({"addresses": addresses})).to_core();
        }

        #[test]
        fn cutting_keeps_every_address_once_and_in_order(ends in prop::collection::vec((0u8..40, 0u8..12), 0..8)) {
            let written: Vec<AddressRange> = ends
                .iter()
                .map(|(first, more)| format!("10.0.0.{first}-10.0.0.{}", first + more).parse().unwrap())
                .collect();
            let mut expected: Vec<IpAddr> = Vec::new();
            for address in written.iter().flat_map(AddressRange::addresses) {
                if !expected.contains(&address) {
                    expected.push(address);
                }
            }
            let made: Vec<IpAddr> = disjoint(written).iter().flat_map(AddressRange::addresses).collect();
            prop_assert_eq!(made, expected);
        }
    }
}
