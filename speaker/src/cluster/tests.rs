use super::*;

fn read<T: for<'de> serde::Deserialize<'de>>(value: serde_json::Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn service(name: &str, class: Option<&str>) -> Arc<Service> {
    read(serde_json::json!({
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"type": "LoadBalancer", "loadBalancerClass": class},
        "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}},
    }))
}

fn slice(name: &str, of: &str, endpoints: &serde_json::Value) -> Arc<EndpointSlice> {
    read(serde_json::json!({
        "metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": of}},
        "endpoints": endpoints,
    }))
}

#[test]
fn endpoints_are_summed_up_over_all_slices_of_a_service() {
    let services = [service("web", None), service("idle", None), service("foreign", Some("other"))];
    let slices = [
        slice(
            "web-1",
            "web",
            &serde_json::json!([{"nodeName": "n1"}, {"nodeName": "n2", "conditions": {"ready": false}}]),
        ),
        slice("web-2", "web", &serde_json::json!([{"nodeName": "n3"}])),
        slice("gone-1", "gone", &serde_json::json!([{"nodeName": "n4"}])),
    ];
    let found: Vec<_> = candidates(&services, &slices, None)
        .into_iter()
        .map(|candidate| (candidate.service.key.name, candidate.endpoints))
        .collect();
    let web = Endpoints { any: true, nodes: ["n1".to_owned(), "n3".to_owned()].into() };
    assert_eq!(found, [("idle".to_owned(), Endpoints::default()), ("web".to_owned(), web)]);
}

#[test]
fn a_broken_object_is_set_aside_alone() {
    let pool = |name: &str, addresses: serde_json::Value| -> Arc<IPAddressPool> {
        read(serde_json::json!({
            "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
            "metadata": {"name": name}, "spec": {"addresses": addresses},
        }))
    };
    let mut problems = Problems::default();
    let pools =
        vec![pool("good", serde_json::json!(["10.0.0.0/24"])), pool("bad", serde_json::json!(["10.0.0.9"]))];
    let usable = problems.usable("IPAddressPool", pools, IPAddressPool::to_core);
    assert_eq!(usable.iter().map(|pool| pool.name.as_str()).collect::<Vec<_>>(), ["good"]);
    let [told] = &problems.now.iter().collect::<Vec<_>>()[..] else { panic!("{problems:?}") };
    assert!(told.starts_with("IPAddressPool bad is not used: "), "{told}");
    problems.told();
    assert_eq!((problems.now.len(), problems.told.len()), (0, 1));
}

#[test]
fn a_speaker_whose_node_is_not_known_says_so_until_it_is() {
    let node = |name: &str| ferrolb_core::election::Node { name: name.into(), ..Default::default() };
    let with = |names: &[&str]| Snapshot {
        nodes: names.iter().map(|name| node(name)).collect(),
        ..Snapshot::default()
    };
    let mut problems = Problems::default();
    let mut told = |snapshot: &Snapshot| {
        problems.check_node("n1", snapshot);
        problems.told();
        problems.told.iter().cloned().collect::<Vec<_>>()
    };
    assert_eq!(told(&with(&["n0", "n1"])), [] as [String; 0]);
    for names in [&[][..], &["n1.example"]] {
        let [told] = &told(&with(names))[..] else { panic!("{names:?}: not one problem") };
        assert!(told.contains("\"n1\"") && told.contains("--node-name"), "{told}");
    }
    assert_eq!(told(&with(&["n1"])), [] as [String; 0], "forgotten, so that it would be said again");
}

/// A store that was listed.
fn store<K>(objects: &[Arc<K>]) -> Store<K>
where
    K: kube::Resource<DynamicType = ()> + Clone + 'static,
{
    use kube::runtime::{reflector, watcher::Event};
    let (reader, mut writer) = reflector::store();
    writer.apply_watcher_event(&Event::Init);
    objects.iter().for_each(|object| writer.apply_watcher_event(&Event::InitApply((**object).clone())));
    writer.apply_watcher_event(&Event::InitDone);
    reader
}

#[test]
fn a_pool_that_cannot_be_read_leaves_its_mark_on_the_snapshot() {
    let pool = |name: &str, addresses: &str| -> Arc<IPAddressPool> {
        read(serde_json::json!({
            "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
            "metadata": {"name": name}, "spec": {"addresses": [addresses]},
        }))
    };
    let (good, bad) = (pool("good", "10.0.0.0/24"), pool("bad", "10.0.1.9"));
    for (pools, usable, unusable) in [
        (vec![good.clone()], 1, false),
        (vec![good, bad.clone()], 1, true),
        (vec![bad], 0, true),
        (vec![], 0, false),
    ] {
        let stores = Stores {
            services: store(&[service("web", None)]),
            slices: store(&[]),
            nodes: store(&[]),
            pools: store(&pools),
            advertisements: store(&[]),
        };
        let snapshot = stores.snapshot(None, &mut Problems::default());
        assert_eq!((snapshot.pools.len(), snapshot.some_pools_unusable), (usable, unusable));
        assert_eq!(snapshot.services.len(), 1);
    }
}
