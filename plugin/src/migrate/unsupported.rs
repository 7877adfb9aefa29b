//! What of MetalLB's does not go on, object by object.

use serde::Serialize;

use super::announced::Announcements;
use super::cluster::{Cluster, Named, Service};

/// An object of which not all goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unsupported {
    /// Kind, namespace and name.
    pub object: Named,
    /// What that means.
    pub means: String,
}

/// All of them: Services first, as it is them that somebody misses.
pub(crate) fn all(
    cluster: &Cluster,
    services: &[&Service],
    announcements: &Announcements,
) -> Vec<Unsupported> {
    let mut all: Vec<Unsupported> =
        services.iter().filter_map(|service| of_service(service, announcements)).collect();
    for pool in &cluster.pools {
        let object = named("IPAddressPool", &pool.object.metadata);
        if let Err(problem) = pool.object.to_core() {
            let means = format!(
                "FerroLB cannot use it: {problem}. No Service gets an address of it; those that have one keep it"
            );
            all.push(Unsupported { object: object.clone(), means });
        }
        all.extend(pool.unknown.iter().map(|field| unknown(&object, field)));
    }
    for ad in &cluster.l2 {
        let object = named("L2Advertisement", &ad.object.metadata);
        if let Err(problem) = ad.object.to_core() {
            let means = format!("FerroLB cannot use it: {problem}. Nothing is announced by it");
            all.push(Unsupported { object: object.clone(), means });
        }
        all.extend(ad.unknown.iter().map(|field| unknown(&object, field)));
    }
    all.extend(
        cluster
            .others
            .iter()
            .map(|object| Unsupported { object: object.clone(), means: of_kind(&object.kind).into() }),
    );
    all
}

fn of_service(service: &Service, announcements: &Announcements) -> Option<Unsupported> {
    if service.addresses.is_empty() {
        return None;
    }
    let ways = announcements.ways(service);
    if ways.bgp.is_empty() {
        return None;
    }
    let addresses: Vec<String> = service.addresses.iter().map(ToString::to_string).collect();
    let (addresses, ads) = (addresses.join(", "), ways.bgp.join(", "));
    let pool = ways.pool.unwrap_or_default();
    let means = match ways.l2 {
        false => format!(
            "{addresses} is announced by BGP alone (pool {pool}, BGPAdvertisement {ads}): from step 5 on nobody announces it. \
             Where it is an address of the nodes' own network, an L2Advertisement for the pool would; else it needs MetalLB"
        ),
        true => format!(
            "{addresses} is announced by L2 and by BGP (pool {pool}, BGPAdvertisement {ads}): from step 5 on by L2 alone, and \
             routers forget their routes to it"
        ),
    };
    let key = &service.key;
    let object = Named { kind: "Service".into(), namespace: key.namespace().into(), name: key.name().into() };
    Some(Unsupported { object, means })
}

fn of_kind(kind: &str) -> &'static str {
    match kind {
        "BGPPeer" => "its session ends at step 5; the object stays, with the condition NotSupported",
        "BGPAdvertisement" => {
            "nothing is announced by it any more; the object stays, with the condition NotSupported"
        }
        "BFDProfile" => "nothing follows from it any more; the object stays, with the condition NotSupported",
        "Community" => "no route bears it any more; the object stays, with the condition NotSupported",
        _ => {
            "a kind of MetalLB before 0.13, which FerroLB does not read: write it as an IPAddressPool and an L2Advertisement \
             before step 1"
        }
    }
}

fn unknown(object: &Named, field: &str) -> Unsupported {
    let means = format!(
        "FerroLB does not know spec.{field}: it counts for nothing, and is dropped when the object is written again"
    );
    Unsupported { object: object.clone(), means }
}

fn named(kind: &str, metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Named {
    Named {
        kind: kind.to_owned(),
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
    }
}
