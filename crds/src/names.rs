//! The names of annotations and labels that FerroLB reads or writes, each spelled once.
//!
//! MetalLB 0.14.9 moved its annotations from `metallb.universe.tf/` to `metallb.io/`. Both are read; the
//! new name wins where both are present, and only the new one is ever written.

use std::collections::BTreeMap;

/// The prefix of the annotations, with its slash.
pub const PREFIX: &str = "metallb.io/";
/// The prefix that MetalLB had before 0.14.9.
pub const DEPRECATED_PREFIX: &str = "metallb.universe.tf/";

/// Asks for a pool by name.
pub const ADDRESS_POOL: &str = "metallb.io/address-pool";
/// The old spelling of [`ADDRESS_POOL`].
pub const DEPRECATED_ADDRESS_POOL: &str = "metallb.universe.tf/address-pool";
/// Asks for one or two addresses, separated by a comma.
pub const LOAD_BALANCER_IPS: &str = "metallb.io/loadBalancerIPs";
/// The old spelling of [`LOAD_BALANCER_IPS`].
pub const DEPRECATED_LOAD_BALANCER_IPS: &str = "metallb.universe.tf/loadBalancerIPs";
/// Services with equal values may share an address.
pub const ALLOW_SHARED_IP: &str = "metallb.io/allow-shared-ip";
/// The old spelling of [`ALLOW_SHARED_IP`].
pub const DEPRECATED_ALLOW_SHARED_IP: &str = "metallb.universe.tf/allow-shared-ip";
/// Written by the controller: the pool from which the Service's addresses come.
pub const ALLOCATED_FROM_POOL: &str = "metallb.io/ip-allocated-from-pool";
/// The old spelling of [`ALLOCATED_FROM_POOL`]; MetalLB never cleans it up, so it may be found.
pub const DEPRECATED_ALLOCATED_FROM_POOL: &str = "metallb.universe.tf/ip-allocated-from-pool";

/// The prefix of what FerroLB adds to MetalLB's API.
pub const OWN_PREFIX: &str = "ferrolb.io/";
/// Written by the controller on a Service that may share its address: a digest of the terms under which it got it.
pub const SHARING_TERMS: &str = "ferrolb.io/sharing-terms";
/// Written by a controller that takes over, on Services that wait for an address: late writes of the one before
/// then fail, since the Service is no longer the one that they are based on.
pub const FENCE: &str = "ferrolb.io/fence";
/// The type of the condition on a Service that says whether it has an address, and why not.
pub const ADDRESS_ASSIGNED: &str = "ferrolb.io/AddressAssigned";
/// The type of the condition on a Service that is there while another host has an address of it.
pub const ADDRESS_CONFLICT: &str = "ferrolb.io/AddressConflict";

/// The condition of a speaker's `ConfigurationState` that says whether its node's service proxy works.
pub const SERVICE_PROXY_HEALTHY: &str = "ServiceProxyHealthy";
/// The condition of a speaker's `ConfigurationState` that says, while it is so, that it has no key for hellos.
pub const HELLO_KEY_LOADED: &str = "HelloKeyLoaded";

/// A node with this label, whatever its value, announces nothing.
pub const EXCLUDE_NODE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// What a node runs; its kubelet writes it.
pub const OS: &str = "kubernetes.io/os";
/// Ties an EndpointSlice to its Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The annotation `name`, or its old spelling where the new one is absent: which of the two, and its value.
pub fn annotation<'a>(
    annotations: Option<&'a BTreeMap<String, String>>,
    name: &'static str,
    deprecated: &'static str,
) -> Option<(&'static str, &'a str)> {
    let annotations = annotations?;
    [name, deprecated].into_iter().find_map(|name| Some((name, annotations.get(name)?.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_end_alike() {
        for (new, old) in [
            (ADDRESS_POOL, DEPRECATED_ADDRESS_POOL),
            (LOAD_BALANCER_IPS, DEPRECATED_LOAD_BALANCER_IPS),
            (ALLOW_SHARED_IP, DEPRECATED_ALLOW_SHARED_IP),
            (ALLOCATED_FROM_POOL, DEPRECATED_ALLOCATED_FROM_POOL),
        ] {
            assert_eq!(new.strip_prefix(PREFIX), old.strip_prefix(DEPRECATED_PREFIX));
            assert!(new.starts_with(PREFIX), "{new}");
        }
    }

    #[test]
    fn the_new_spelling_wins_even_when_empty() {
        let read = |pairs: &[(&str, &'static str)]| {
            let all: BTreeMap<String, String> =
                pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            annotation(Some(&all), ADDRESS_POOL, DEPRECATED_ADDRESS_POOL)
                .map(|(name, value)| (name, value.to_owned()))
        };
        let (new, old) = ((ADDRESS_POOL, "new"), (DEPRECATED_ADDRESS_POOL, "old"));
        assert_eq!(read(&[old]), Some((DEPRECATED_ADDRESS_POOL, "old".into())));
        assert_eq!(read(&[new, old]), Some((ADDRESS_POOL, "new".into())));
        assert_eq!(read(&[(ADDRESS_POOL, ""), old]), Some((ADDRESS_POOL, String::new())));
        assert_eq!(read(&[]), None);
        assert_eq!(annotation(None, ADDRESS_POOL, DEPRECATED_ADDRESS_POOL), None);
    }
}
