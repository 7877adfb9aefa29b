//! How much memory ten thousand Services take, part by part, from the API server's objects to the frames.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ferrolb_core::announce::{Link, LinkIndex};
use ferrolb_core::speaker::{Config, Effect, Speaker};
use ferrolb_core::wire::Mac;
use ferrolb_crds::view;
use ferrolb_crds::{IPAddressPool, L2Advertisement, ServiceL2Status};
use ferrolb_runtime::Seen;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::cluster::{Input, Slice, World, contender};
use crate::metrics::Metrics;
use crate::report::{Report, Standing, Told};
use crate::status::Board;
use crate::status::objects::{Me, Objects, Reader};

const SERVICES: usize = 10_000;

/// The most that one Service may take, in bytes: twenty megabytes less what an idle speaker needs.
const MOST: f64 = 1_250.0;

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// The memory of this process that is not a file's, in bytes.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = text.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
}

fn name(number: usize) -> String {
    format!("web-{number:05}")
}

fn address(number: usize) -> String {
    format!("10.64.{}.{}", number / 256, number % 256)
}

fn uid(number: usize) -> String {
    format!("{number:08x}-0000-4000-8000-{number:012x}")
}

fn service(number: usize) -> view::Service {
    read(json!({
        "metadata": {
            "name": name(number), "namespace": "bench", "uid": uid(number), "labels": {"app": name(number)},
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {"metallb.io/ip-allocated-from-pool": "bench"},
        },
        "spec": {"type": "LoadBalancer", "ipFamilyPolicy": "SingleStack", "clusterIPs": ["10.96.0.1"]},
        "status": {"loadBalancer": {"ingress": [{"ip": address(number)}]}},
    }))
}

fn slice(number: usize) -> view::EndpointSlice {
    read(json!({
        "metadata": {
            "name": format!("{}-x7k2p", name(number)), "namespace": "bench",
            "labels": {"kubernetes.io/service-name": name(number)},
        },
        "endpoints": [{"nodeName": "n1"}],
    }))
}

fn status(number: usize) -> ServiceL2Status {
    read(json!({
        "metadata": {
            "name": format!("l2-{number:05x}"), "resourceVersion": format!("{}", 100_000 + number),
            "labels": {
                "metallb.io/node": "n1", "metallb.io/service-name": name(number),
                "metallb.io/service-namespace": "bench",
            },
        },
        "status": {"node": "n1", "serviceName": name(number), "serviceNamespace": "bench"},
    }))
}

/// What each part takes for one Service.
struct Meter {
    last: f64,
    all: f64,
}

impl Meter {
    fn told(&mut self, part: &str) {
        let now = resident();
        let each = (now - self.last) / SERVICES as f64;
        println!("{part:>40} {each:>7.0} bytes a Service");
        self.last = now;
        self.all += each;
    }
}

#[test]
#[ignore = "measures the whole process: run it alone, with --nocapture and the environment of config/default/speaker.yaml"]
fn ten_thousand_services_take_little() {
    let ms = Duration::from_millis;
    let mut meter = Meter { last: resident(), all: 0.0 };
    let mut world = World::new("n1".into());
    let pool: IPAddressPool =
        read(json!({"metadata": {"name": "bench"}, "spec": {"addresses": ["10.64.0.0/16"]}}));
    let all: L2Advertisement = read(json!({"metadata": {"name": "all"}, "spec": {}}));
    let node: view::Node = read(json!({
        "metadata": {"name": "n1"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }));
    world.handle(Input::Pools(Seen::Listed(vec![pool])));
    world.handle(Input::Advertisements(Seen::Listed(vec![all])));
    world.handle(Input::Nodes(Seen::Listed(vec![node.to_core(false)])));

    // As in a cluster that grows: one after the other.
    world.handle(Input::Services(Seen::Listed(Vec::new())));
    world.handle(Input::Slices(Seen::Listed(Vec::new())));
    for number in 0..SERVICES {
        world.handle(Input::Services(Seen::Applied(contender(&service(number), None))));
    }
    meter.told("Services");
    for number in 0..SERVICES {
        world.handle(Input::Slices(Seen::Applied(Slice::of(&slice(number)))));
    }
    meter.told("EndpointSlices");

    let mut speaker = Speaker::new(Config {
        node: "n1".into(),
        epoch: 1,
        timing: ferrolb_core::peers::Timing::default(),
        refresh: None,
        stand_in_limit: ms(60_000),
        conflict_detection: true,
        transports: ferrolb_core::speaker::Transports::default(),
    });
    let lan = Link {
        name: "lan".to_owned(),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        ups: 1,
        ipv6: true,
        addresses: [].into(),
        networks: Box::default(),
    };
    speaker.handle_links(BTreeMap::from([(LinkIndex(2), lan)]), ms(0));
    speaker.handle_news(world.roster(), &[], ms(0));
    let changes = world.update().unwrap();
    assert_eq!(changes.len(), SERVICES);
    meter.told("who may answer");
    speaker.handle_news(world.roster(), &changes, ms(0));
    drop(changes);
    meter.told("who answers");

    let metrics = Metrics::new("n1");
    let (told, mut standings) = mpsc::unbounded_channel();
    let mut report = Report::new(metrics.clone(), told);
    let board = Board::default();
    // Probes, then announcements, then the end of what was new.
    for now in (0..20_000).step_by(50).map(ms) {
        while let Some(effect) = speaker.next_effect(now) {
            if let Effect::Announcing { address, links } = effect {
                let names: BTreeSet<&str> = links.iter().map(|_| "lan").collect();
                report.announcing(address, &names, &speaker, now);
            }
            while report.telling().is_some_and(|at| at <= now) {
                report.tell_some(now);
            }
            while let Ok(Told::Of(Standing { service, state, conflict })) = standings.try_recv() {
                board.stand(service.key, service.uid, state, conflict);
            }
        }
    }
    board.complete();
    assert_eq!(board.take().len(), SERVICES);
    meter.told("what is told of it");

    let (mut objects, mut reader) = (Objects::default(), Reader::new(Arc::new(Me::new("n1".into(), None))));
    for number in 0..SERVICES {
        let stored = reader.read(status(number));
        let service = board.shared(&stored.service);
        objects.see(Seen::Applied(crate::status::objects::Stored { service, ..stored }), ms(0));
    }
    assert_eq!(objects.services().count(), SERVICES);
    meter.told("ServiceL2Statuses");
    println!("{:>40} {:>7.0}", "all", meter.all);
    assert!(meter.all < MOST, "{} bytes a Service, {MOST} at most", meter.all);
}
