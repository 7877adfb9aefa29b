//! What this speaker tells people who ask it on the loopback: its links with who is heard there, and who on the network
//! answers for an address. `kubectl ferrolb` asks, by `kubectl port-forward`'s way.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use ferrolb_crds::admin::{self, Answers, Asked, MOST_PROBED, Told};
use ferrolb_runtime::Readiness;
use serde::Serialize;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::announcing::Inquiry;

/// How long answers to a probe are waited for. A host on a LAN answers within milliseconds.
const ANSWERS: Duration = Duration::from_secs(1);

/// Where the kernel shows its routes.
const PROC: &str = "/proc/net";

#[derive(Clone)]
struct Ways {
    node: String,
    readiness: Readiness,
    inquiries: mpsc::UnboundedSender<Inquiry>,
    /// One question to the network at a time, whoever asks: so no more than its limit of frames a second.
    turn: Arc<Mutex<()>>,
}

/// The paths, of the speaker on `node`, which is asked by `inquiries`.
pub(crate) fn routes(node: &str, readiness: Readiness, inquiries: mpsc::UnboundedSender<Inquiry>) -> Router {
    let ways = Ways { node: node.to_owned(), readiness, inquiries, turn: Arc::default() };
    Router::new().route(admin::TOLD, get(links)).route(admin::PROBE, post(probe)).with_state(ways)
}

async fn links(State(ways): State<Ways>) -> Response {
    let (to, told) = oneshot::channel();
    let _ = ways.inquiries.send(Inquiry::Links(to));
    let Ok(mut told) = told.await else { return ending() };
    let mut gateways = gateways(Path::new(PROC));
    for link in &mut told.links {
        link.gateways = gateways.remove(&link.name).unwrap_or_default();
    }
    json(&Told {
        node: ways.node,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        remarks: ways.readiness.remarks().into_iter().collect(),
        ..told
    })
}

async fn probe(State(ways): State<Ways>, body: Bytes) -> Response {
    let asked: Asked = match serde_json::from_slice(&body) {
        Ok(asked) => asked,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    if asked.addresses.len() > MOST_PROBED {
        let why = format!("at most {MOST_PROBED} addresses at once\n");
        return (StatusCode::PAYLOAD_TOO_LARGE, why).into_response();
    }
    let _turn = ways.turn.lock().await;
    let _ = ways.inquiries.send(Inquiry::Probe(asked.addresses));
    tokio::time::sleep(ANSWERS).await;
    let (to, answers) = oneshot::channel();
    let _ = ways.inquiries.send(Inquiry::Answers(to));
    match answers.await {
        Ok(answers) => json(&Answers { answers }),
        Err(_) => ending(),
    }
}

fn ending() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the speaker ends\n").into_response()
}

fn json<T: Serialize>(value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// The gateways of default routes by interface, as the kernel shows them now (`route`, `ipv6_route`).
fn gateways(folder: &Path) -> BTreeMap<String, Vec<IpAddr>> {
    let read = |name| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    let (four, six) = (read("route"), read("ipv6_route"));
    let mut gateways: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for (interface, gateway) in
        four.lines().filter_map(ipv4_gateway).chain(six.lines().filter_map(ipv6_gateway))
    {
        let known = gateways.entry(interface.to_owned()).or_default();
        if !gateway.is_unspecified() && !known.contains(&gateway) {
            known.push(gateway);
        }
    }
    gateways
}

/// Interface, destination, gateway, flags, …, mask in the eighth column; addresses as the processor holds them.
fn ipv4_gateway(line: &str) -> Option<(&str, IpAddr)> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let number = |at: usize| u32::from_str_radix(columns.get(at)?, 16).ok();
    let default = number(1)? == 0 && number(7)? == 0;
    default.then_some((*columns.first()?, IpAddr::from(Ipv4Addr::from(number(2)?.to_ne_bytes()))))
}

/// Destination and its length, source and its length, next hop, …, the interface last.
fn ipv6_gateway(line: &str) -> Option<(&str, IpAddr)> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let number = |at: usize| u128::from_str_radix(columns.get(at)?, 16).ok();
    let default = number(0)? == 0 && number(1)? == 0;
    default.then_some((*columns.last()?, IpAddr::from(Ipv6Addr::from(number(4)?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_of_default_routes_are_read_as_the_kernel_shows_them() {
        let folder = tempfile::tempdir().unwrap();
        let route = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                     eth0\t00000000\tFE000A0A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                     eth0\t00000A0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                     ppp0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n";
        // As a little-endian machine shows it.
        #[cfg(target_endian = "little")]
        std::fs::write(folder.path().join("route"), route).unwrap();
        let zero = "0".repeat(32);
        let six = format!(
            "{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n\
             fd100000000000000000000000000000 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001     eth0\n"
        );
        std::fs::write(folder.path().join("ipv6_route"), six).unwrap();
        let found = gateways(folder.path());
        let eth0: Vec<String> = found["eth0"].iter().map(ToString::to_string).collect();
        #[cfg(target_endian = "little")]
        assert_eq!(eth0, ["10.10.0.254", "fe80::1"]);
        assert!(found.values().flatten().count() == eth0.len(), "{found:?}");
        assert!(gateways(Path::new("/no/such")).is_empty());
    }
}
