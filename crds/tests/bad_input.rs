//! Input that is huge, or of the wrong type in every place: what becomes of it, and that it takes no more than its share
//! of time.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ferrolb_core::allocate::{Plan, Snapshot, Verdict, plan};
use ferrolb_core::pool::{Pool, without_overlaps};
use ferrolb_core::service as words;
use ferrolb_crds::view::Service;
use ferrolb_crds::{IPAddressPool, names};
use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// Nothing here may compute for longer; it is far above what it takes.
const LONGEST: Duration = Duration::from_secs(20);

/// Ten times the input may take so many times the time: well above 10, well below the 100 of something quadratic.
const LARGEST_RATIO: u32 = 40;

fn service(object: Value) -> words::Service {
    let service: Service = serde_json::from_value(object).expect("a Service is always read");
    service.to_core(None).expect("it has a name")
}

fn with_annotation(name: &str, value: &str) -> words::Service {
    service(json!({
        "metadata": {"name": "web", "namespace": "shop", "annotations": {name: value}},
        "spec": {"type": "LoadBalancer", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 80}]},
    }))
}

fn pool_of(spec: &Value) -> IPAddressPool {
    serde_json::from_value(json!({"metadata": {"name": "lan"}, "spec": spec})).expect("a pool is always read")
}

fn snapshot(pools: BTreeMap<String, Pool>, services: Vec<words::Service>) -> Snapshot {
    let services = services.into_iter().map(|service| (service.key.clone(), service)).collect();
    Snapshot { pools, pools_are_complete: true, services, ..Snapshot::default() }
}

fn small_pool() -> BTreeMap<String, Pool> {
    let pool = pool_of(&json!({"addresses": ["10.0.0.0/24"]})).to_core().expect("a good pool");
    [(pool.name.clone(), pool)].into()
}

/// What the only Service of a plan gets, as words.
fn verdict(plan: &Plan<'_>) -> String {
    match plan.verdicts.values().next() {
        Some(Verdict::Pending(why)) => format!("{}: {why}", why.reason()),
        Some(Verdict::Assigned(assignment)) => format!("{:?}", assignment.addresses),
        other => format!("{other:?}"),
    }
}

/// What this thread has computed so far. The time on the wall depends on who else is busy.
fn computed() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every thread has this clock").into()
}

/// How long `work` computes at best, in three runs. Fails if one takes too long.
fn time<T>(what: &str, mut work: impl FnMut() -> T) -> Duration {
    let run = || {
        let started = computed();
        std::hint::black_box(work());
        let took = computed().saturating_sub(started);
        assert!(took < LONGEST, "{what} took {took:?}");
        took
    };
    std::iter::repeat_with(run).take(3).min().unwrap_or_default()
}

/// Does `work` with a thousand and with ten thousand, and compares.
fn is_not_quadratic<T>(what: &str, work: impl Fn(u32) -> T) {
    let small = time(what, || work(1_000));
    let large = time(what, || work(10_000));
    println!("{what}: {small:?} for 1,000, {large:?} for 10,000");
    // What is too fast to be measured is no trouble either.
    let small = small.max(Duration::from_micros(200));
    assert!(large < small * LARGEST_RATIO, "{what}: {small:?} for 1,000, but {large:?} for 10,000");
}

#[test]
fn a_megabyte_in_an_annotation_is_read_and_refused_in_time() {
    let megabyte = |piece: &str| piece.repeat((1 << 20) / piece.len());
    for text in [
        megabyte("x"),
        megabyte(","),
        megabyte(" "),
        megabyte("10.0.0.1,"),
        megabyte("fd00::1,10.0.0.1,"),
        megabyte("\u{1f980}"),
        megabyte("\0"),
        format!("{}10.0.0.1", megabyte(" ")),
        format!("10.0.0.1{}", megabyte("0")),
    ] {
        for name in [names::LOAD_BALANCER_IPS, names::ADDRESS_POOL, names::ALLOW_SHARED_IP] {
            time(&format!("{name}: {:?}…", &text.get(..16)), || {
                let snapshot = snapshot(small_pool(), vec![with_annotation(name, &text)]);
                verdict(&plan(&snapshot)).len()
            });
        }
    }
}

#[test]
fn a_request_behind_a_megabyte_of_blanks_is_still_read() {
    let text = format!("{}10.0.0.7{}", " ".repeat(1 << 19), "\n".repeat(1 << 19));
    let snapshot = snapshot(small_pool(), vec![with_annotation(names::LOAD_BALANCER_IPS, &text)]);
    assert_eq!(verdict(&plan(&snapshot)), "[10.0.0.7]");
}

/// The API server takes 256 KiB of annotations, but no event of more than 1 KiB, and a condition is there to be read.
#[test]
fn the_words_about_a_long_annotation_are_short() {
    for name in [names::LOAD_BALANCER_IPS, names::ADDRESS_POOL] {
        let snapshot = snapshot(small_pool(), vec![with_annotation(name, &"x".repeat(200_000))]);
        let words = verdict(&plan(&snapshot));
        assert!(words.len() <= 1024, "{} bytes about {name}", words.len());
    }
}

/// The entry of a pool, apart from others by a gap.
fn entry(index: u32, form: &str) -> String {
    let base = u32::from(Ipv4Addr::new(10, 0, 0, 0)) + index * 4;
    let address = |bits| IpAddr::V4(Ipv4Addr::from_bits(bits));
    match form {
        "cidr" => format!("{}/31", address(base)),
        "range" => format!("{}-{}", address(base), address(base + 1)),
        "ipv6" => format!("fd00::{index:x}:0/124"),
        // The next one begins before this one ends.
        "overlapping" => format!("{}-{}", address(base), address(base + 7)),
        // All begin alike, and each is longer.
        "nested" => format!("10.0.0.0-{}", address(base)),
        other => unreachable!("no form {other}"),
    }
}

fn entries(count: u32, form: &str, backwards: bool) -> Vec<String> {
    let mut all: Vec<String> = (0..count).map(|index| entry(index, form)).collect();
    if backwards {
        all.reverse();
    }
    all
}

#[test]
fn ten_thousand_entries_of_a_pool_are_read_in_time() {
    for form in ["cidr", "range", "ipv6", "overlapping", "nested"] {
        for backwards in [false, true] {
            is_not_quadratic(&format!("a pool, {form}, backwards {backwards}"), |count| {
                let pool = pool_of(&json!({"addresses": entries(count, form, backwards)}));
                let read = pool.to_core().map(|pool| pool.ranges.len());
                assert!(read.as_ref().is_ok_and(|ranges| *ranges > 0), "{read:?}");
            });
        }
    }
}

#[test]
fn ten_thousand_exclusions_are_read_in_time() {
    is_not_quadratic("a pool of one range, with exclusions", |count| {
        let spec = json!({"addresses": ["10.0.0.0/8"], "excludeAddresses": entries(count, "cidr", false)});
        let pool = pool_of(&spec).to_core().expect("a good pool");
        assert_eq!(pool.ranges.len(), usize::try_from(count).unwrap());
    });
    is_not_quadratic("a pool of one range, with exclusions each longer than the one before", |count| {
        let spec = json!({"addresses": ["10.0.0.0/8"], "excludeAddresses": entries(count, "nested", false)});
        let pool = pool_of(&spec).to_core().expect("a good pool");
        assert_eq!((pool.ranges.len(), pool.excluded.len()), (1, 1));
    });
    is_not_quadratic("a pool of many entries, with as many exclusions", |count| {
        let excluded: Vec<String> =
            (0..count).map(|index| entry(index, "range").replace('-', "/32-")).collect();
        let excluded: Vec<&str> = excluded.iter().filter_map(|text| text.split('-').next()).collect();
        let spec = json!({"addresses": entries(count, "cidr", true), "excludeAddresses": excluded});
        assert_eq!(
            pool_of(&spec).to_core().map(|pool| pool.ranges.len()),
            Ok(usize::try_from(count).unwrap())
        );
    });
}

#[test]
fn ten_thousand_pools_are_told_apart_in_time() {
    for (form, used) in [("cidr", 1), ("overlapping", 2)] {
        is_not_quadratic(&format!("pools of one entry each, {form}"), |count| {
            let pools = entries(count, form, false).into_iter().enumerate().map(|(index, entry)| {
                let pool = pool_of(&json!({ "addresses": [entry] })).to_core().expect("a good pool");
                (0, Pool { name: format!("pool-{index:05}"), ..pool })
            });
            let (usable, overlaps) = without_overlaps(pools);
            assert_eq!(usable.len(), usize::try_from(count / used).unwrap());
            assert_eq!(usable.len() + overlaps.len(), usize::try_from(count).unwrap());
        });
    }
}

/// Services that wait for an address, each of its own second.
fn waiting(count: u32, annotations: &Value) -> Vec<words::Service> {
    let one = |index: u32| {
        let made = service(json!({
            "metadata": {"name": format!("web-{index:05}"), "namespace": "shop", "annotations": annotations},
            "spec": {"type": "LoadBalancer", "clusterIPs": ["10.96.0.1"], "ports": [{"port": index % 60_000 + 1}]},
        }));
        words::Service { created: i64::from(index), ..made }
    };
    (0..count).map(one).collect()
}

fn assigned(plan: &Plan<'_>) -> usize {
    plan.verdicts.values().filter(|verdict| matches!(verdict, Verdict::Assigned(_))).count()
}

#[test]
fn a_plan_over_ten_thousand_ranges_takes_its_time_once() {
    // Ten Services each, so that what grows is the pool.
    for form in ["cidr", "range"] {
        let pools = |count| {
            let pool =
                pool_of(&json!({"addresses": entries(count, form, true)})).to_core().expect("a good pool");
            BTreeMap::from([(pool.name.clone(), pool)])
        };
        let (small, large) = (snapshot(pools(1_000), waiting(10, &json!({}))), pools(10_000));
        let large = snapshot(large, waiting(10, &json!({})));
        is_not_quadratic(&format!("a plan over ranges, {form}"), |count| {
            assert_eq!(assigned(&plan(if count == 1_000 { &small } else { &large })), 10);
        });
    }
}

#[test]
fn a_plan_for_ten_thousand_services_grows_with_them() {
    let range = |count: u32| format!("10.0.0.0-{}", Ipv4Addr::from_bits((10 << 24) + count - 1));
    let pool = |spec: Value| {
        let pool = pool_of(&spec).to_core().expect("a good pool");
        BTreeMap::from([(pool.name.clone(), pool)])
    };
    let key = json!({names::ALLOW_SHARED_IP: "k"});
    for (what, make) in [
        ("a free pool", (|count, _| (count, json!({}), count)) as fn(u32, &Value) -> (u32, Value, u32)),
        ("a pool for half of them", |count, _| (count / 2, json!({}), count / 2)),
        ("one address that all share", |count, key| (1, key.clone(), count)),
        ("a free pool for all that would share", |count, key| (count, key.clone(), count)),
    ] {
        is_not_quadratic(&format!("a plan for Services, {what}"), |count| {
            let (size, annotations, expected) = make(count, &key);
            let snapshot = snapshot(pool(json!({"addresses": [range(size)]})), waiting(count, &annotations));
            assert_eq!(assigned(&plan(&snapshot)), usize::try_from(expected).unwrap());
        });
    }
}

/// Values of every JSON type.
fn values() -> [Value; 9] {
    [
        json!(null),
        json!(true),
        json!(7),
        json!(-1.5),
        json!(u64::MAX),
        json!("text"),
        json!([]),
        json!([null, 7, "text", {}, []]),
        json!({"key": 7, "name": null, "other": []}),
    ]
}

/// Every place in `value`, as a JSON pointer.
fn places(value: &Value, here: &str) -> Vec<String> {
    let mut all = vec![here.to_owned()];
    let escape = |name: &str| name.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                all.extend(places(value, &format!("{here}/{}", escape(name))));
            }
        }
        Value::Array(elements) => {
            for (index, value) in elements.iter().enumerate() {
                all.extend(places(value, &format!("{here}/{index}")));
            }
        }
        _ => {}
    }
    all
}

/// `whole` with each of [`values`] in each of its places but the outermost.
fn damaged(whole: &Value) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for place in places(whole, "").into_iter().filter(|place| !place.is_empty()) {
        for value in values() {
            let mut object = whole.clone();
            *object.pointer_mut(&place).expect("a place of the object") = value.clone();
            all.push((format!("{place}: {value}"), object));
        }
    }
    assert!(all.len() > 100);
    all
}

#[test]
fn a_pool_with_any_field_of_any_type_is_read_or_refused_by_itself() {
    let whole = json!({
        "metadata": {"name": "lan", "namespace": "metallb-system", "labels": {"site": "home"},
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "addresses": ["10.0.0.0/24", "fd00::1-fd00::9"], "excludeAddresses": ["10.0.0.1/32"],
            "autoAssign": true, "avoidBuggyIPs": true, "reuseDelay": "5m",
            "serviceAllocation": {
                "priority": 7, "namespaces": ["shop"],
                "namespaceSelectors": [{"matchLabels": {"tier": "web"}}],
                "serviceSelectors": [{"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}],
            },
        },
        "status": {"assignedIPv4": 1, "assignedIPv6": 0, "availableIPv4": 1, "availableIPv6": 1, "conditions": [
            {"type": "Valid", "status": "True", "reason": "Accepted", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    });
    let (mut read, mut refused) = (0, 0);
    for (what, object) in damaged(&whole) {
        let of_metadata = what.starts_with("/metadata");
        let pool: IPAddressPool = match serde_json::from_value(object) {
            Ok(pool) => pool,
            // The types of metadata are Kubernetes' own, which its API server checks.
            Err(error) => {
                assert!(of_metadata, "{what}: {error}");
                continue;
            }
        };
        match pool.to_core() {
            Ok(pool) => {
                assert!(!pool.ranges.is_empty(), "{what}");
                read += 1;
            }
            Err(problem) => {
                assert!(what.starts_with("/spec"), "{what}: {problem}");
                assert!(problem.to_string().starts_with("spec"), "{what}: {problem}");
                refused += 1;
            }
        }
        let _ = pool.masked_entries();
    }
    assert!(read > 50 && refused > 100, "{read} read, {refused} refused");
}

#[test]
fn a_service_with_any_field_of_any_type_is_read() {
    let whole = json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "7",
            "labels": {"app": "web"}, "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {names::LOAD_BALANCER_IPS: "10.0.0.7", names::ADDRESS_POOL: "lan",
                names::ALLOW_SHARED_IP: "k", names::ALLOCATED_FROM_POOL: "lan", names::SHARING_TERMS: "x"}},
        "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "loadBalancerIP": "",
            "externalIPs": ["192.0.2.1"], "externalTrafficPolicy": "Local", "selector": {"app": "web"},
            "ports": [{"port": 80, "protocol": "TCP"}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.7", "ipMode": "VIP", "ports": [{"port": 80}]}]},
            "conditions": [{"type": names::ADDRESS_ASSIGNED, "status": "True", "reason": "Assigned",
                "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    });
    let mut planned = 0;
    for (what, object) in damaged(&whole) {
        // A list with one odd object is still a list.
        let list = json!([object, whole]);
        let list: Vec<Service> = match serde_json::from_value(list) {
            Ok(list) => list,
            Err(error) => {
                assert!(what.starts_with("/metadata:"), "{what}: {error}");
                continue;
            }
        };
        assert!(list[1].to_core(None).is_some(), "{what}");
        let Some(odd) = list[0].to_core(None) else {
            let named = ["/metadata/name", "/metadata/namespace", "/metadata:"];
            assert!(named.iter().any(|place| what.starts_with(place)), "{what}");
            continue;
        };
        let snapshot = snapshot(small_pool(), vec![odd]);
        assert_eq!(plan(&snapshot).verdicts.len(), 1, "{what}");
        planned += 1;
    }
    assert!(planned > 200, "{planned} planned");
}
